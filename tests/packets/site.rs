//! The stage: a data plane of its own for each test, a small site in its tables, and frames through
//! BPF_PROG_TEST_RUN, whose verdict, frame and counters are all compared.
//!
//! The one port is `lo` (the kernel wants an interface that exists; nothing is attached to it and no
//! frame leaves). Where a redirect goes to is not visible here, but by the MAC of the port, where a test has
//! two; the end-to-end tests see that.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lbd::config::*;
pub use lbd::core::forwarding::Family::{self, V4, V6};
use lbd::core::forwarding::{Dest, DestKey, ForwardingState, Port, ServerEntry, Service, ServiceKey, Weight};
use lbd::core::network::Place;
use lbd::dataplane::flows::{Connection, ConnectionReader};
use lbd::dataplane::lease::LeaseWriter;
use lbd::dataplane::reasons::{REASONS, Verdict};
use lbd::dataplane::{ConnectionCounts, DataPlane, ResetStep};

use super::frame::{self, Frame};

pub const BOTH: [Family; 2] = [V4, V6];
pub const LO: u32 = 1;
/// The balancer's.
pub const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Of the router before the clients.
pub const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0x99];
/// Somebody else's.
pub const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 0x77];

/// The data plane's clock is a coarse one: CONFIG_HZ is 100 or more.
pub const TICK: Duration = Duration::from_millis(20);

pub const DROP: u32 = 1;
pub const PASS: u32 = 2;
pub const REDIRECT: u32 = 4;

fn ip(family: Family, v4: &str, v6: &str) -> IpAddr {
    if family == V4 { v4 } else { v6 }.parse().unwrap()
}

/// The `n`th virtual address.
pub fn vip(family: Family, n: u8) -> IpAddr {
    ip(family, &format!("192.0.2.{n}"), &format!("2001:db8::{n:x}"))
}

pub fn client(family: Family, n: u16) -> IpAddr {
    ip(family, &format!("198.51.{}.{}", 100 + n / 256, n % 256), &format!("2001:db8:c:{n:x}::7"))
}

pub fn server(family: Family, n: u8) -> IpAddr {
    ip(family, &format!("10.1.0.{}", 10 + n), &format!("fd00:1::{:x}", 0x10 + n))
}

/// The floating inside address, the servers' gateway.
pub fn inside(family: Family) -> IpAddr {
    ip(family, "10.1.0.1", "fd00:1::1")
}

/// The source-nat address.
pub fn snat(family: Family) -> IpAddr {
    ip(family, "10.1.0.5", "fd00:1::5")
}

pub fn server_mac(n: u8) -> [u8; 6] {
    [2, 0, 0, 0, 1, n]
}

pub fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A service with its pool, in both families at the first virtual address, unless said otherwise.
#[derive(Clone)]
pub struct Pool {
    pub name: &'static str,
    pub vip: u8,
    pub protocol: Protocol,
    pub ports: Ports,
    pub data_ports: Vec<Ports>,
    pub active: Option<u16>,
    pub mode: Mode,
    pub scheduler: Scheduler,
    /// Number and weight.
    pub servers: Vec<(u8, u32)>,
    pub server_port: Option<u16>,
    pub persistence: Option<Persistence>,
    pub timeouts: Timeouts,
    pub udp: UdpLife,
    pub on_failure: OnFailure,
}

impl Pool {
    pub fn tcp(name: &'static str, port: u16, mode: Mode) -> Self {
        Self {
            name,
            vip: 1,
            protocol: Protocol::Tcp,
            ports: Ports::single(port),
            data_ports: vec![],
            active: None,
            mode,
            scheduler: Scheduler::RoundRobin,
            servers: vec![(1, 1)],
            server_port: None,
            persistence: None,
            timeouts: Timeouts::default(),
            udp: UdpLife::Idle,
            on_failure: OnFailure::Reset,
        }
    }

    pub fn udp(name: &'static str, port: u16, mode: Mode) -> Self {
        Self { protocol: Protocol::Udp, ..Self::tcp(name, port, mode) }
    }

    pub fn servers(self, numbers: impl IntoIterator<Item = u8>) -> Self {
        Self { servers: numbers.into_iter().map(|n| (n, 1)).collect(), ..self }
    }

    pub fn scheduler(self, scheduler: Scheduler) -> Self {
        Self { scheduler, ..self }
    }
}

/// What became of one frame.
#[derive(Debug)]
pub struct Outcome {
    pub verdict: u32,
    pub frame: Vec<u8>,
    /// Names of the counters that moved, those of the table's book-keeping left out.
    pub counted: Vec<&'static str>,
}

/// Counters of what enters and leaves the table: held against the table after the fact, see
/// `assert_counts_are_true`.
const KEEPING_BOOKS: [&str; 2] = ["flow-entered", "flow-removed"];

pub struct Site {
    pub dp: DataPlane,
    pub state: ForwardingState,
    /// The port by which frames come in.
    pub ingress: u32,
    counters: Vec<u64>,
}

pub fn small_limits() -> Limits {
    Limits { connections: 4096, embryonic: 4096, persistence: 1024, fragments: 256 }
}

impl Site {
    /// One port, the inside address, and nothing else.
    pub fn empty() -> Self {
        Self::with_limits(&small_limits())
    }

    pub fn with_limits(limits: &Limits) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests load the XDP program into the kernel: run them as root (`make test` does)"
        );
        let dp = DataPlane::load(limits, None).unwrap_or_else(|e| panic!("{e}"));
        let mut state = ForwardingState::default();
        state.ports.insert(LO, Port { mac: Mac(OWN), forwarding: true, running: true });
        state.inside = BOTH.map(|f| Prefix { address: inside(f), length: if f == V4 { 24 } else { 64 } }).into();
        let mut site = Self { dp, state, ingress: LO, counters: vec![] };
        site.apply();
        site.dp.own_alone();
        site.counters = site.dp.reasons().unwrap();
        site
    }

    pub fn new(pools: impl IntoIterator<Item = Pool>) -> Self {
        let mut site = Self::empty();
        pools.into_iter().for_each(|pool| site.add(&pool));
        site
    }

    pub fn add(&mut self, pool: &Pool) {
        for family in BOTH {
            self.add_in(pool, family);
        }
        self.apply();
    }

    fn add_in(&mut self, pool: &Pool, family: Family) {
        let service = Self::service_key(pool.name, family);
        let weights: BTreeMap<Name, Weight> =
            pool.servers.iter().map(|(n, weight)| (server_name(*n), Weight(weight * 1000))).collect();
        self.state.vips.insert(vip(family, pool.vip));
        for (n, _) in &pool.servers {
            let entry: &mut ServerEntry = self.state.servers.entry(server_name(*n)).or_default();
            entry.addresses.insert(server(family, *n));
            let dest = Dest {
                address: server(family, *n),
                port: pool.server_port,
                mode: pool.mode,
                place: Ok(Place { mac: Mac(server_mac(*n)), port: LO, vlan: 0 }),
                down: false,
            };
            self.state.dests.insert(DestKey { service: service.clone(), server: server_name(*n) }, dest);
        }
        let settings = Service {
            addresses: [vip(family, pool.vip)].into(),
            protocol: pool.protocol,
            ports: pool.ports,
            data_ports: pool.data_ports.clone(),
            active: pool.active,
            persistence: pool.persistence.clone(),
            timeouts: pool.timeouts.clone(),
            udp: pool.udp,
            on_failure: pool.on_failure,
            scheduler: pool.scheduler,
            members: weights.clone(),
            schedule: weights,
            migration: None,
        };
        self.state.services.insert(service, settings);
    }

    /// Lets full NAT use these ports of the source-nat addresses.
    pub fn source_nat(&mut self, first: u16, last: u16) {
        self.state.source_nat =
            BOTH.map(|f| SourceNat { address: snat(f), ports: Ports { first, last } }).into_iter().collect();
        self.apply();
    }

    pub fn lease(&self) -> LeaseWriter {
        self.dp.lease_writer().unwrap()
    }

    pub fn apply(&mut self) {
        self.dp.apply_tables(&self.state).unwrap();
    }

    pub fn change(&mut self, change: impl FnOnce(&mut ForwardingState)) {
        change(&mut self.state);
        self.apply();
    }

    fn service_key(service: &str, family: Family) -> ServiceKey {
        ServiceKey { virtual_server: name("site"), service: name(service), family }
    }

    pub fn key(service: &str, family: Family, n: u8) -> DestKey {
        DestKey { service: Self::service_key(service, family), server: server_name(n) }
    }

    pub fn service(&mut self, service: &str, family: Family) -> &mut Service {
        self.state.services.get_mut(&Self::service_key(service, family)).unwrap()
    }

    pub fn dest(&mut self, service: &str, family: Family, n: u8) -> &mut Dest {
        self.state.dests.get_mut(&Self::key(service, family, n)).unwrap()
    }

    /// Puts a server of all services into a VLAN; 0 is untagged.
    pub fn server_vlan(&mut self, n: u8, vlan: u16) {
        for (_, dest) in self.state.dests.iter_mut().filter(|(key, _)| key.server == server_name(n)) {
            dest.place = Ok(Place { mac: Mac(server_mac(n)), port: LO, vlan });
        }
        self.apply();
    }

    /// The server fails: down, and out of the schedule.
    pub fn fail(&mut self, service: &str, n: u8) {
        for family in BOTH {
            self.dest(service, family, n).down = true;
            self.service(service, family).schedule.remove(&server_name(n));
        }
        self.apply();
    }

    /// The server takes no new connections.
    pub fn drain(&mut self, service: &str, n: u8) {
        for family in BOTH {
            self.service(service, family).schedule.remove(&server_name(n));
        }
        self.apply();
    }

    /// Walks over the table until nothing is left to reset; the frames that would be sent, with the port of each.
    /// `meanwhile` happens while they are being sent.
    pub fn resets(&mut self, mut meanwhile: impl FnMut(&mut Self)) -> Vec<(u32, Vec<u8>)> {
        let mut frames = vec![];
        loop {
            let batch = match self.dp.reset_step().unwrap() {
                ResetStep::Idle => return frames,
                ResetStep::Finished(_) => continue,
                ResetStep::Batch(batch) => batch,
            };
            frames.extend(batch.frames.iter().cloned());
            meanwhile(self);
            self.dp.reset_done(batch).unwrap();
        }
    }

    /// Ends what a destination owns: it fails, is reset, and is as before. How many entries went.
    pub fn cut(&mut self, key: &DestKey) -> usize {
        let before = self.connections().len();
        let was_down = std::mem::replace(&mut self.state.dests.get_mut(key).unwrap().down, true);
        self.apply();
        self.dp.force_reset(&key.server);
        self.resets(|_| ());
        // Those of DSR stay as closed ones, and go with the next sweep.
        let timeouts = &mut self.state.services.get_mut(&key.service).unwrap().timeouts;
        let before_cut = std::mem::replace(timeouts, Timeouts { closed: Duration::ZERO, ..timeouts.clone() });
        self.apply();
        std::thread::sleep(TICK);
        while !self.dp.sweep_step().unwrap() {}
        self.state.services.get_mut(&key.service).unwrap().timeouts = before_cut;
        self.state.dests.get_mut(key).unwrap().down = was_down;
        self.apply();
        before - self.connections().len()
    }

    pub fn counts(&self, service: &str, family: Family, n: u8) -> ConnectionCounts {
        self.dp.connections().get(&Self::key(service, family, n)).copied().unwrap()
    }

    /// Active and pending connections of a destination.
    pub fn live(&self, service: &str, family: Family, n: u8) -> (u64, u64) {
        let counts = self.counts(service, family, n);
        (counts.active, counts.pending)
    }

    /// What the table of established connections holds, ended ones that still lie there included.
    pub fn connections(&self) -> Vec<Connection> {
        let mut reader = ConnectionReader::default();
        let chunks = std::iter::from_fn(|| self.dp.read_connections(&mut reader).unwrap());
        chunks.flatten().collect()
    }

    /// The promise of exact counts: what is counted is what the table holds, and nothing has gone below zero.
    pub fn assert_counts_are_true(&self) {
        let mut walked = self.dp.count_by_walk().unwrap();
        let mut by_server: BTreeMap<Name, u64> = BTreeMap::new();
        for (key, counts) in self.dp.connections() {
            assert_eq!(counts.active, walked.remove(&key).unwrap_or(0), "active connections of {key:?}");
            assert!(counts.pending < 1 << 32, "pending connections of {key:?} are below zero: {}", counts.pending);
            *by_server.entry(key.server).or_default() += counts.active;
        }
        assert!(walked.is_empty(), "connections of unknown destinations: {walked:?}");
        let reasons = self.dp.reasons().unwrap();
        let counter = |name| reasons[REASONS.iter().position(|(.., n, _)| *n == name).unwrap()];
        let [entered, removed] = KEEPING_BOOKS.map(counter);
        assert_eq!(entered - removed, self.connections().len() as u64, "entered {entered}, removed {removed}");
        for (server, active) in by_server {
            assert_eq!(self.dp.server_connections(&server), Some(active), "connections of {server}");
        }
    }

    /// Sends a frame through the program. Whatever it is: it never ends as XDP_ABORTED, and exactly one
    /// counter tells its fate.
    pub fn send_bytes(&mut self, description: &str, bytes: &[u8]) -> Outcome {
        let run = self.dp.run(bytes, self.ingress, 1).unwrap_or_else(|e| panic!("{description}: {e}"));
        let counters = self.dp.reasons().unwrap();
        let mut counted = vec![];
        let mut fates = 0;
        for (i, (_, verdict, reason, _)) in REASONS.iter().enumerate() {
            let by = counters[i] - self.counters[i];
            if KEEPING_BOOKS.contains(reason) {
                continue;
            }
            counted.extend(std::iter::repeat_n(*reason, usize::try_from(by).unwrap()));
            if *verdict == Verdict::Event {
                continue;
            }
            fates += by;
            let fits = match verdict {
                Verdict::Passed => run.verdict == PASS,
                Verdict::Answered | Verdict::Forwarded => run.verdict == REDIRECT,
                _ => run.verdict == DROP,
            };
            assert!(by == 0 || fits, "{description}: verdict {} was counted as {reason}", run.verdict);
        }
        self.counters = counters;
        assert_eq!(fates, 1, "{description}: one counter tells a packet's fate, not {counted:?}");
        Outcome { verdict: run.verdict, frame: run.frame, counted }
    }

    /// Sends many frames, whatever becomes of them; by how much each counter moved.
    pub fn flood(&mut self, frames: impl IntoIterator<Item = Frame>) -> BTreeMap<&'static str, u64> {
        for frame in frames {
            self.dp.run(&frame.bytes(), LO, 1).unwrap();
        }
        let before = std::mem::replace(&mut self.counters, self.dp.reasons().unwrap());
        let moved =
            REASONS.iter().zip(&self.counters).zip(before).map(|(((.., name, _), now), then)| (*name, now - then));
        moved.filter(|(_, by)| *by > 0).collect()
    }

    pub fn send(&mut self, frame: &Frame) -> Outcome {
        self.send_bytes("a frame", &frame.bytes())
    }

    /// `reasons`: the counters that move, separated by spaces.
    pub fn passes_bytes(&mut self, description: &str, bytes: &[u8], reasons: &str) {
        let outcome = self.send_bytes(description, bytes);
        assert_counted(description, &outcome, PASS, reasons);
        assert_same(description, &outcome.frame, bytes);
    }

    pub fn passes(&mut self, description: &str, frame: &Frame, reasons: &str) {
        self.passes_bytes(description, &frame.bytes(), reasons);
    }

    pub fn drops(&mut self, description: &str, frame: &Frame, reasons: &str) {
        let outcome = self.send_bytes(description, &frame.bytes());
        assert_counted(description, &outcome, DROP, reasons);
    }

    /// The frame leaves as `expected`, byte for byte.
    pub fn sends(&mut self, description: &str, frame: &Frame, reasons: &str, expected: &Frame) {
        self.sends_bytes(description, &frame.bytes(), reasons, &expected.bytes());
    }

    pub fn sends_bytes(&mut self, description: &str, bytes: &[u8], reasons: &str, expected: &[u8]) {
        let outcome = self.send_bytes(description, bytes);
        assert_counted(description, &outcome, REDIRECT, reasons);
        assert_same(description, &outcome.frame, expected);
        assert_eq!(frame::check(&outcome.frame), Ok(()), "{description}");
    }

    /// The number of the server that a frame is sent to, by its MAC.
    pub fn server_for(&mut self, frame: &Frame) -> u8 {
        let outcome = self.send(frame);
        assert_eq!(outcome.verdict, REDIRECT, "{outcome:?}");
        let mac = outcome.frame[..6].to_vec();
        (0..=255)
            .find(|n| server_mac(*n) == mac[..])
            .unwrap_or_else(|| panic!("to no server: {mac:02x?} {:?}", outcome.counted))
    }
}

pub fn server_name(n: u8) -> Name {
    name(&format!("pc{n}"))
}

pub fn second() -> Duration {
    Duration::from_secs(1)
}

fn assert_counted(description: &str, outcome: &Outcome, verdict: u32, reasons: &str) {
    let wanted: Vec<&str> = reasons.split_whitespace().collect();
    assert_eq!((outcome.verdict, &outcome.counted[..]), (verdict, &wanted[..]), "{description}");
}

fn assert_same(description: &str, got: &[u8], expected: &[u8]) {
    if got != expected {
        let at = got.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(got.len().min(expected.len()));
        panic!("{description}: frames differ from byte {at} on\n     got {got:02x?}\nexpected {expected:02x?}");
    }
}
