//! What the benches share: a small site, frames of its customers and servers, and the programs of
//! `bench.bpf.c` that send them on their way.
#![allow(dead_code, reason = "each bench uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, bail, ensure};
use etherparse::PacketBuilder;
use lbd::config::{Limits, Mac, Mode, Name, OnFailure, Ports, Protocol, Scheduler, Timeouts, UdpLife};
use lbd::core::forwarding::{Dest, DestKey, Family, ForwardingState, Port, ServerEntry, Service, ServiceKey, Weight};
use lbd::core::network::{IfIndex, Place};
use lbd::dataplane::DataPlane;
use lbd::dataplane::reasons::{REASONS, Verdict};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, OpenObject, ProgramInput, ProgramMut};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns, unshare};

#[allow(clippy::all, unused_imports)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/bench.skel.rs"));
}
pub use generated::BenchSkel;
use generated::types::orders;

pub const FRAME_BYTES: usize = 80;
/// The flows in scattered order: odd, and so large that neighbours in time are none in memory (2^32 divided
/// by the golden ratio).
pub const SCATTERED: u32 = 2_654_435_769;
/// The flows one after the other.
pub const IN_TURN: u32 = 1;
/// Flows that are in a handshake at once while a table is filled. In NAT each has two of the 2^21 slots, by a hash
/// into sets of four. With 16,384 at once one filling of a million in four can be expected to overflow a set, which
/// costs a handshake (Poisson: five in one set); with so many, one in ten thousand.
const AT_ONCE: u32 = 2_048;

pub const OWN_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 99];
const DSR_PORT: u16 = 25;
const NAT_PORT: u16 = 110;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const ACK: u8 = 16;

/// Who sends a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Client,
    Server,
}

/// One service in one address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub mode: Mode,
    pub family: Family,
}

impl Case {
    pub fn name(self) -> &'static str {
        match (self.mode, self.family) {
            (Mode::Dsr, Family::V4) => "DSR, IPv4",
            (Mode::Dsr, Family::V6) => "DSR, IPv6",
            (_, Family::V4) => "NAT, IPv4",
            (_, Family::V6) => "NAT, IPv6",
        }
    }

    fn port(self) -> u16 {
        if self.mode == Mode::Dsr { DSR_PORT } else { NAT_PORT }
    }
}

pub fn vip(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, 25).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x25).into(),
    }
}

/// The servers are 1 to 4.
pub fn server_address(server: u8, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(172, 16, 0, 10 + server).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(server)).into(),
    }
}

/// A site with a DSR service of four servers and a NAT service of one (so that the sender of each reply is
/// known), in both families. Customers are behind port `outside`; all servers have one MAC on port `inside`.
pub fn site(outside: IfIndex, inside: IfIndex, server_mac: Mac, timeouts: &Timeouts) -> Result<ForwardingState> {
    let mut state = ForwardingState::default();
    for port in [outside, inside] {
        state.ports.insert(port, Port { mac: OWN_MAC, forwarding: true, running: true });
    }
    for server in 1..=4 {
        let addresses = [Family::V4, Family::V6].map(|family| server_address(server, family)).into();
        state.servers.insert(server_name(server)?, ServerEntry { addresses, max_connections: 0 });
    }
    for family in [Family::V4, Family::V6] {
        state.vips.insert(vip(family));
        for (mode, servers) in [(Mode::Dsr, 1..=4), (Mode::Nat, 1..=1)] {
            let case = Case { mode, family };
            let key = service_key(case)?;
            let mut members = BTreeMap::new();
            for server in servers {
                members.insert(server_name(server)?, Weight(1000));
                let place = Ok(Place { mac: server_mac, port: inside, vlan: 0 });
                let dest = Dest { address: server_address(server, family), port: None, mode, place, down: false };
                state.dests.insert(DestKey { service: key.clone(), server: server_name(server)? }, dest);
            }
            let service = Service {
                addresses: BTreeSet::from([vip(family)]),
                protocol: Protocol::Tcp,
                ports: Ports::single(case.port()),
                data_ports: Vec::new(),
                active: None,
                persistence: None,
                timeouts: timeouts.clone(),
                udp: UdpLife::Idle,
                on_failure: OnFailure::Reset,
                scheduler: Scheduler::Maglev,
                members: members.clone(),
                schedule: members,
                migration: None,
            };
            state.services.insert(key, service);
        }
    }
    Ok(state)
}

fn name(text: &str) -> Result<Name> {
    Name::new(text).map_err(|e| anyhow::anyhow!("{text}: {e:?}"))
}

fn server_name(server: u8) -> Result<Name> {
    name(&format!("pc{server}"))
}

fn service_key(case: Case) -> Result<ServiceKey> {
    let service = name(if case.mode == Mode::Dsr { "smtp" } else { "pop3" })?;
    Ok(ServiceKey { virtual_server: name("mail")?, service, family: case.family })
}

/// Established connections of a case's service, as the table's counters have them.
pub fn established(plane: &DataPlane, case: Case) -> Result<u64> {
    let service = service_key(case)?;
    Ok(plane.connections().iter().filter(|(key, _)| key.service == service).map(|(_, c)| c.active).sum())
}

/// Limits for `flows` established connections: a table that they fill.
pub fn limits(flows: u32) -> Limits {
    Limits { connections: flows.max(1024), embryonic: 1_048_576, ..Limits::default() }
}

/// What the next packets are.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub case: Case,
    pub from: From,
    pub flags: u8,
    pub ack: u32,
    /// They are of flows numbered below this, a power of two,
    pub flows: u32,
    /// from this one on,
    pub first: u32,
    /// in this order (odd).
    pub step: u32,
}

/// The frame of a flow whose client's address and port are the first of all.
fn template(order: &Order) -> Result<orders> {
    let Order { case, from, flags, ack, .. } = *order;
    let v4 = case.family == Family::V4;
    let client: IpAddr = if v4 {
        Ipv4Addr::new(10, 0, 0, 0).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0xa00, 0).into()
    };
    let (source, destination, ports) = match from {
        From::Client => (client, vip(case.family), (0x4000, case.port())),
        From::Server => (server_address(1, case.family), client, (case.port(), 0x4000)),
    };
    let ethernet = PacketBuilder::ethernet2(ROUTER_MAC, OWN_MAC.0);
    let ip = match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => ethernet.ipv4(s.octets(), d.octets(), 64),
        (IpAddr::V6(s), IpAddr::V6(d)) => ethernet.ipv6(s.octets(), d.octets(), 64),
        _ => bail!("addresses of two families"),
    };
    let mut tcp = ip.tcp(ports.0, ports.1, 1000, 8192);
    if flags & SYN != 0 {
        tcp = tcp.syn();
    }
    if flags & ACK != 0 {
        tcp = tcp.ack(ack);
    }
    let l4 = if v4 { 34 } else { 54 };
    if flags & FIN != 0 {
        tcp = tcp.fin();
    }
    let mut bytes = Vec::new();
    tcp.write(&mut bytes, &vec![0; FRAME_BYTES - l4 as usize - 20])?;
    let mut frame = [0; FRAME_BYTES / 8];
    for (word, eight) in frame.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(eight.try_into()?);
    }
    let (address_at, port_at) = match (v4, from) {
        (true, From::Client) => (26, l4),
        (true, From::Server) => (30, l4 + 2),
        (false, From::Client) => (34, l4),
        (false, From::Server) => (50, l4 + 2),
    };
    let ip_check_at = if v4 { 24 } else { 0 };
    Ok(orders {
        frame,
        counter: order.first,
        step: order.step,
        mask: order.flows - 1,
        address_at,
        port_at,
        ip_check_at,
        l4_check_at: l4 + 16,
        target: 0,
    })
}

/// Who gets the frames of the wrapper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Bare,
    Lbd,
}

/// The loaded programs of `bench.bpf.c`.
pub struct Programs {
    pub skel: BenchSkel<'static>,
    _anchor: Anchor,
}

/// The wrapper on the loopback device of a network namespace that has nothing else in it.
///
/// The kernel calls XDP programs by a list of direct jumps (`bpf_dispatcher`), into which BPF_PROG_TEST_RUN enters the
/// program and from which it takes it again, unless it is attached somewhere. Each time the kernel waits until no
/// processor uses the old list: some 10 ms, however short the run.
struct Anchor {
    _link: Link,
    _namespace: File,
}

impl Anchor {
    fn new(wrapper: &ProgramMut<'_>) -> Result<Self> {
        const OWN: &str = "/proc/thread-self/ns/net";
        let before = File::open(OWN)?;
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace (root?)")?;
        let attached = File::open(OWN).map_err(anyhow::Error::from).and_then(|namespace| {
            let link = wrapper.attach_xdp(i32::try_from(if_nametoindex("lo")?)?)?;
            Ok(Self { _link: link, _namespace: namespace })
        });
        setns(before, CloneFlags::CLONE_NEWNET)?;
        attached
    }
}

impl Programs {
    pub fn load() -> Result<Self> {
        // The skeleton borrows it for as long as the process lives.
        let object: &'static mut MaybeUninit<OpenObject> = Box::leak(Box::new(MaybeUninit::uninit()));
        let skel = generated::BenchSkelBuilder::default()
            .open(object)?
            .load()
            .context("the bench's programs cannot be loaded (root?)")?;
        let anchor = Anchor::new(&skel.progs.wrapper)?;
        Ok(Self { skel, _anchor: anchor })
    }

    /// Makes `plane` the target of `Target::Lbd`.
    pub fn aim_at(&self, plane: &DataPlane) -> Result<()> {
        use std::os::fd::{AsFd, AsRawFd};
        for (target, fd) in
            [(Target::Bare, self.skel.progs.bare.as_fd().as_raw_fd()), (Target::Lbd, plane.program().as_raw_fd())]
        {
            self.skel.maps.programs.update(&(target as u32).to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY)?;
        }
        Ok(())
    }

    /// Sets what the next packets are.
    pub fn order(&mut self, order: Order) -> Result<()> {
        let bss = self.skel.maps.bss_data.as_deref_mut().context("the bench's programs have no variables")?;
        bss.orders = template(&order)?;
        Ok(())
    }

    /// Runs the wrapper `count` times, as if the frames had come in by `port`; mean time in nanoseconds.
    pub fn run(&mut self, target: Target, port: IfIndex, count: u32) -> Result<f64> {
        let bss = self.skel.maps.bss_data.as_deref_mut().context("the bench's programs have no variables")?;
        bss.orders.target = target as u32;
        let verdict = if target == Target::Bare { libbpf_sys::XDP_TX } else { libbpf_sys::XDP_REDIRECT };
        let (got, time) = test_run(&self.skel.progs.wrapper, port, count, 0)?;
        ensure!(got == verdict, "{target:?} answers {got} instead of {verdict}");
        Ok(time)
    }

    /// Brings flows 0 to `flows` into the table, past the handshake and past what a flow must show to be
    /// proven; fails unless exactly these are established then.
    pub fn establish(&mut self, plane: &DataPlane, case: Case, port: IfIndex, flows: u32) -> Result<()> {
        for first in (0..flows).step_by(AT_ONCE as usize) {
            let count = AT_ONCE.min(flows - first);
            let mut send = |from, flags, ack| {
                self.order(Order { case, from, flags, ack, flows, first, step: IN_TURN })?;
                self.run(Target::Lbd, port, count).with_context(|| filling(plane, case))
            };
            send(From::Client, SYN, 0)?;
            if case.mode == Mode::Nat {
                send(From::Server, SYN | ACK, 1)?;
            }
            for ack in 1..=5 {
                send(From::Client, ACK, ack)?;
            }
        }
        let (counted, service) = (established(plane, case)?, service_key(case)?);
        let walked: u64 = plane.count_by_walk()?.iter().filter(|(key, _)| key.service == service).map(|(_, n)| n).sum();
        ensure!(
            counted == u64::from(flows) && walked == counted,
            "{}: {flows} flows were to be established; counted {counted}, in the table {walked}",
            case.name()
        );
        Ok(())
    }
}

/// What to say of a table that could not be filled.
fn filling(plane: &DataPlane, case: Case) -> String {
    let counts = plane.reasons().unwrap_or_default();
    let moved: Vec<_> =
        REASONS.iter().zip(counts).filter(|(_, n)| *n > 0).map(|((.., name, _), n)| (name, n)).collect();
    format!("{}: all fates: {moved:?}", case.name())
}

/// Runs an XDP program on a frame of the bench's length; last verdict, and mean time in nanoseconds.
pub fn test_run(program: &ProgramMut<'_>, port: IfIndex, count: u32, flags: u32) -> Result<(u32, f64)> {
    let frame = [0u8; FRAME_BYTES];
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let mut context: Vec<u8> = [0, FRAME_BYTES as u32, 0, port, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    let input = ProgramInput {
        context_in: Some(&mut context),
        data_in: Some(&frame),
        repeat: count,
        flags,
        ..ProgramInput::default()
    };
    let output = program.test_run(input).context("BPF_PROG_TEST_RUN")?;
    Ok((output.return_value, output.duration.as_nanos() as f64))
}

/// Names and growth of the counters that have changed, events (which are no packet's fate) apart.
pub fn fates(before: &[u64], after: &[u64]) -> Vec<(&'static str, u64)> {
    REASONS
        .iter()
        .zip(before.iter().zip(after))
        .filter(|((_, verdict, ..), (b, a))| *verdict != Verdict::Event && a != b)
        .map(|((_, _, name, _), (b, a))| (*name, a - b))
        .collect()
}

/// Lower quartile, median and upper quartile.
pub fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |quarter: usize| values.get((values.len() - 1) * quarter / 4).copied().unwrap_or(f64::NAN);
    [at(1), at(2), at(3)]
}

/// The machine, for the heading of a table.
pub fn machine() -> Result<String> {
    let kernel = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let cpus = std::thread::available_parallelism()?;
    let info = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map_or("unknown", |m| m.1);
    Ok(format!("{model}, {cpus} processors, Linux {kernel}"))
}
