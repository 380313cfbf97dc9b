//! The stage of these tests: the lab's network, its servers, and `lbd run` between them.
//!
//! What differs from the lab: three virtual IPs that offer the same services, one for each mode, so
//! that a test says once what it wants of all of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lbd::lab::customer::{self, Tally, Visit};
use lbd::lab::mail::{self, BALANCER, CLIENT};
use lbd::lab::process::raise_file_limit;
use lbd::lab::servers::{Kind, Responder};
use lbd::lab::{Host, Plan, Process, Site};
use serde_json::Value;

use super::wire::{Mac, mac};

pub const LBD: &str = env!("CARGO_BIN_EXE_lbd");
/// Until the balancer schedules whom it shall, on a machine that builds other things meanwhile.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Of one request to the balancer's API.
const API_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Dsr,
    Nat,
    FullNat,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Dsr, Self::Nat, Self::FullNat];

    pub fn word(self) -> &'static str {
        match self {
            Self::Dsr => "dsr",
            Self::Nat => "nat",
            Self::FullNat => "full-nat",
        }
    }

    /// The lab's PCs have the first of these on their loopback, and the others nowhere.
    pub fn vip(self, v6: bool) -> IpAddr {
        let (four, six) = match self {
            Self::Dsr => (25, 0x25),
            Self::Nat => (200, 0x200),
            Self::FullNat => (201, 0x201),
        };
        if v6 { Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, six).into() } else { Ipv4Addr::new(192, 0, 2, four).into() }
    }

    pub fn at(self, v6: bool, port: u16) -> SocketAddr {
        SocketAddr::new(self.vip(v6), port)
    }
}

/// Every mode in both address families.
pub fn ways() -> impl Iterator<Item = (Mode, bool)> {
    Mode::ALL.into_iter().flat_map(|mode| [(mode, false), (mode, true)])
}

/// A port at which nobody listens on any server.
pub const CLOSED: u16 = 9;
/// Served at the servers' port 80, where the mode can translate ports.
pub const TRANSLATED: u16 = 8000;

/// Of each server: four services by DSR, five by NAT and five by full NAT, in two address families.
pub const MEMBERSHIPS: usize = 28;

/// The part of the configuration that names this machine's interfaces: `up0` and `p1` to `p<pcs>`.
pub fn interfaces(pcs: u8, xdp: &str) -> String {
    let ports: String = (1..=pcs).fold("up0".to_owned(), |text, n| format!("{text}, p{n}"));
    let [four, six] = mail::SOURCE_NAT;
    format!(
        "hostname: lb1
interfaces:
  bridge: br0
  ports: [{ports}]
  mac: \"{}\"
  inside: [10.1.0.1/24, \"fd00:1::1/64\"]
  xdp: {xdp}
source-nat: [{{address: {four}}}, {{address: \"{six}\"}}]
",
        mail::BALANCER_MAC
    )
}

/// Those PCs as servers behind a virtual IP for each mode: echo and HTTP.
pub fn services(pcs: &[u8], scheduler: &str) -> String {
    let mut text = "servers:\n".to_owned();
    for n in pcs {
        let (four, six) = (mail::pc_address(*n), mail::pc_address6(*n));
        let _ = writeln!(text, "  pc{n}: {{address: {four}, address6: \"{six}\"}}");
    }
    let members = pcs.iter().map(|n| format!("pc{n}")).collect::<Vec<_>>().join(", ");
    // Impatient with a start, patient with a machine that is busy with other tests.
    let check = "interval: 300ms, timeout: 300ms, rise: 1, fall: 10";
    let pool = |name: &str, more: &str| {
        format!("  {name}: {{members: [{members}], scheduler: {scheduler}, slow-start: 0s, {more}}}\n")
    };
    text += "pools:\n";
    text += &pool("echo", &format!("check: {{type: tcp, port: 7, {check}}}"));
    text += &pool("http", &format!("check: {{type: tcp, port: 80, {check}}}"));
    text += &pool("at-80", &format!("port: 80, check: {{type: tcp, {check}}}"));
    text += &pool("unprobed", "check: {type: none}");
    text += "virtual-servers:\n";
    for mode in Mode::ALL {
        let (word, four, six) = (mode.word(), mode.vip(false), mode.vip(true));
        let _ = write!(
            text,
            "  {word}:
    addresses: [{four}, \"{six}\"]
    services:
      echo: {{protocol: tcp, port: 7, pool: echo, mode: {word}}}
      echo-udp: {{protocol: udp, port: 7, pool: echo, mode: {word}}}
      http: {{protocol: tcp, port: 80, pool: http, mode: {word}}}
      closed: {{protocol: udp, port: {CLOSED}, pool: unprobed, mode: {word}}}
"
        );
        if mode != Mode::Dsr {
            let _ =
                writeln!(text, "      translated: {{protocol: tcp, port: {TRANSLATED}, pool: at-80, mode: {word}}}");
        }
    }
    text
}

/// A site with its balancer. Ends with [`Stage::end`], which looks for losses; forgotten, the test fails.
#[derive(Debug)]
pub struct Stage {
    servers: BTreeMap<String, Process>,
    balancer: Option<Process>,
    /// By port, what its driver had lost when the first customer came. A host speaks to the far end of a
    /// cable as soon as it has a carrier, a moment before that end takes anything in.
    lost_before: BTreeMap<String, u64>,
    ended: bool,
    // Last: it removes what the processes stand on.
    pub site: Site,
}

impl Stage {
    /// The usual one: so many PCs, all of them servers.
    pub fn of(pcs: u8, scheduler: &str) -> Self {
        let all: Vec<u8> = (1..=pcs).collect();
        let stage = Self::bare(&mail::plan(pcs), &all);
        stage.balance(&(interfaces(pcs, "auto") + &services(&all, scheduler)), MEMBERSHIPS * usize::from(pcs))
    }

    /// Network and servers, without a balancer yet.
    pub fn bare(plan: &Plan, servers: &[u8]) -> Self {
        raise_file_limit().unwrap();
        let site = Site::build(plan).expect("these tests need root, and network namespaces");
        let (running, lost_before) = (BTreeMap::new(), BTreeMap::new());
        let mut stage = Self { servers: running, balancer: None, lost_before, ended: false, site };
        for host in stage.site.hosts() {
            // As the lab has it for IPv4: bursts of refusals are no attack.
            host.sysctl("net.ipv6.icmp.ratelimit", "0").unwrap();
        }
        for n in servers {
            stage.serve(&format!("pc{n}"));
        }
        stage
    }

    /// Starts the servers of a host.
    pub fn serve(&mut self, host: &str) {
        let serve = [Kind::Echo, Kind::Http].map(|kind| Responder { kind, port: kind.default_port() });
        let process = mail::start_server(&self.site, host, Path::new(LBD), &serve).unwrap();
        self.servers.insert(host.to_owned(), process);
    }

    /// Starts `lbd run` with this configuration; returns when so many members are scheduled.
    pub fn balance(mut self, config: &str, members: usize) -> Self {
        let dir = self.site.dir();
        let (path, log) = (dir.join("lb1.yaml"), dir.join("lb1.log"));
        std::fs::write(&path, config).unwrap();
        let output = File::create(&log).unwrap();
        let mut command = self.host(BALANCER).command(LBD);
        command.arg("run").arg("--config").arg(&path);
        command.arg("--state-dir").arg(dir.join("lb1-state")).arg("--run-dir").arg(dir.join("lb1-run"));
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        self.balancer = Some(self.site.start(BALANCER, command).unwrap());
        self.until(START_PATIENCE, &format!("{members} members are scheduled"), |stage| {
            let scheduled = stage.members().into_iter().filter(|m| m["scheduled"] == true).count();
            (scheduled == members).then_some(()).ok_or(format!("{scheduled} are"))
        });
        self.lost_before = self.lost();
        self
    }

    /// Frames lost after a redirect, by port.
    pub fn lost(&self) -> BTreeMap<String, u64> {
        let lost = |p: &Value| (p["name"].as_str().unwrap().to_owned(), p["lost_after_redirect"].as_u64().unwrap());
        self.ports().iter().map(lost).collect()
    }

    /// The ports, with counters that have been read since this was asked.
    pub fn ports(&self) -> Vec<Value> {
        let asked = std::time::Instant::now();
        loop {
            // They are read every second: what has happened until now is in a reading that begins now.
            let state = self.state();
            let ports = state["interfaces"].as_array().expect("the state has the ports");
            assert!(!ports.is_empty());
            let waited = asked.elapsed();
            if ports.iter().all(|p| p["counted_seconds_ago"].as_f64().is_some_and(|ago| ago < waited.as_secs_f64())) {
                return ports.clone();
            }
            assert!(waited < std::time::Duration::from_secs(20), "the counters are read no more");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    pub fn host(&self, name: &str) -> &Host {
        self.site.host(name).unwrap()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.site.dir().join("lb1.log")).unwrap_or_default()
    }

    /// What a program in a host says.
    pub fn said(&self, host: &str, command: &[&str]) -> String {
        let output = self.host(host).command(command[0]).args(&command[1..]).output().unwrap();
        assert!(output.status.success(), "{command:?} in {host}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The MAC of a host's interface.
    pub fn mac(&self, host: &str, device: &str) -> Mac {
        let text = self.said(host, &["ip", "-o", "link", "show", "dev", device]);
        let (_, rest) = text.split_once("link/ether ").unwrap();
        mac(rest.split(' ').next().unwrap())
    }

    /// Visits as the client; a failed conversation fails the test.
    pub fn visit(&self, visit: Visit) -> Tally {
        let wanted = (visit.count, visit.kind, visit.target);
        let tally = self.host(CLIENT).block_on(move || customer::visit(visit, |_| {})).unwrap();
        assert_eq!(tally.failed, BTreeMap::new(), "{wanted:?}");
        assert_eq!(tally.served_count(), wanted.0, "{wanted:?}");
        tally
    }

    /// Waits for what must become so; the test fails with what it last was.
    pub fn until<T>(&mut self, patience: Duration, what: &str, so: impl Fn(&Self) -> Result<T, String>) -> T {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.balancer.as_mut().and_then(|process| process.ended().unwrap());
            assert!(ended.is_none(), "the balancer has ended: {ended:?}\n{}", self.log());
            match so(self) {
                Ok(value) => return value,
                Err(last) => assert!(Instant::now() < deadline, "not in {patience:?}: {what}; {last}\n{}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `GET /api/v1/state`; null as long as nobody answers.
    pub fn state(&self) -> Value {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], 8080)), API_PATIENCE)?;
            stream.set_read_timeout(Some(API_PATIENCE))?;
            stream.write_all(b"GET /api/v1/state HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply)?;
            Ok(reply)
        };
        let Ok(reply) = self.host(BALANCER).enter(ask).unwrap() else { return Value::Null };
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_default();
        assert!(head.contains(" 200 "), "{head}");
        serde_json::from_str(body).unwrap()
    }

    /// Every member of every service, with the service's `mode` and `family` besides.
    pub fn members(&self) -> Vec<Value> {
        let state = self.state();
        let mut members = Vec::new();
        for service in state["services"].as_array().into_iter().flatten() {
            for member in service["members"].as_array().into_iter().flatten() {
                let mut member = member.clone();
                for key in ["mode", "family", "service"] {
                    member[key] = service[key].clone();
                }
                members.push(member);
            }
        }
        members
    }

    /// What became of packets so far: `dropped/ttl` and the like.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let state = self.state();
        let packets = state["packets"].as_array().expect("the state counts packets");
        let name = |p: &Value| format!("{}/{}", p["verdict"].as_str().unwrap(), p["reason"].as_str().unwrap());
        packets.iter().map(|p| (name(p), p["count"].as_u64().unwrap())).collect()
    }

    pub fn count(&self, reason: &str) -> u64 {
        *self.counts().get(reason).unwrap_or_else(|| panic!("no counter {reason}"))
    }

    /// Fails if a packet was lost, or met a fate that no packet of a sound network should, but those `expected`.
    pub fn end(self, expected: &[&str]) {
        assert_eq!(self.close(expected), Vec::<String>::new());
    }

    /// What is to complain about.
    pub fn close(mut self, expected: &[&str]) -> Vec<String> {
        self.ended = true;
        let process = self.balancer.as_mut().expect("a balancer was started");
        assert!(process.ended().unwrap().is_none(), "the balancer has ended\n{}", self.log());
        let bad = |reason: &str| {
            let others = ["passed/malformed", "passed/port", "event/table-full", "event/embryo-evicted"];
            reason.starts_with("dropped/") || reason.starts_with("answered/rst-") || others.contains(&reason)
        };
        let counts = self.counts();
        assert!(expected.iter().all(|reason| counts.contains_key(*reason)), "{expected:?} of {counts:?}");
        let moved = counts.iter().filter(|(reason, count)| bad(reason) && **count > 0);
        let moved = moved.filter(|(reason, _)| !expected.contains(&reason.as_str()));
        let mut complaints: Vec<String> = moved.map(|(reason, count)| format!("{count} packets {reason}")).collect();
        for (port, lost) in self.lost() {
            let before = self.lost_before.get(&port).copied().unwrap_or(0);
            if lost != before {
                complaints.push(format!("{} frames lost after a redirect at {port}", lost - before));
            }
        }
        complaints.extend(self.state()["warnings"].as_array().into_iter().flatten().map(|warning| warning.to_string()));
        let log = self.log();
        if log.contains(" ERROR ") || log.contains("panicked") {
            complaints.push(log);
        }
        complaints
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        assert!(self.ended || std::thread::panicking(), "a test must end its stage with `end`");
    }
}
