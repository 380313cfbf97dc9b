//! Two boxes without a balancer on them, a router that is a switch too, a PC behind each box:
//!
//! ```text
//!          ┌─ e1 ─── up0  lb1  p1 ─── pc1
//!   router ┤               x0
//!          └─ e2 ─── up0  lb2  p1 ─── pc3
//! ```

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lbd::config::{Mac, Prefix};
use lbd::core::gates::Gates;
use lbd::core::network::IfIndex;
use lbd::lab::{Host, Plan, Site};
use lbd::os::bridge::{Bridge, Outcome, Record, Seen, Wanted};

pub const LB1: Mac = Mac([2, 0, 0, 0, 1, 1]);
pub const LB2: Mac = Mac([2, 0, 0, 0, 1, 2]);
pub const PC1: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
pub const PC3: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 13);
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 254);
const ECHO: u16 = 7;

pub fn site() -> Site {
    let mut plan = Plan::new();
    plan.cable("router:e1", "lb1:up0").cable("router:e2", "lb2:up0").cable("lb1:x0", "lb2:x0");
    plan.cable("lb1:p1", "pc1:eth0").cable("lb2:p1", "pc3:eth0");
    plan.bridge("router:br0", "02:00:00:00:00:fe", &["e1", "e2"]);
    for box_ in ["lb1", "lb2"] {
        for port in ["up0", "x0", "p1"] {
            // Ports say nothing by themselves.
            plan.ip(box_, &format!("link set {port} addrgenmode none"));
            plan.ip(box_, &format!("addr flush dev {port} scope link"));
        }
    }
    plan.address("router:br0", "10.1.0.254/24");
    plan.address("pc1:eth0", "10.1.0.11/24").address("pc3:eth0", "10.1.0.13/24");
    Site::build(&plan).expect("these tests need root, and network namespaces")
}

pub fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').unwrap();
    Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
}

pub fn wanted(mac: Mac, ports: &[&str], own: &str) -> Wanted {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
    Wanted {
        bridge: "br0".to_owned(),
        mac,
        ports: names(ports),
        addresses: [prefix(own)].into(),
        gated: names(&["up0", "x0"]),
        ..Wanted::default()
    }
}

/// Brings a host's bridge to what is wanted.
pub fn bring(host: &Host, wanted: &Wanted, gates: &Arc<Gates>, record: &mut Record) -> Outcome {
    let (wanted, gates, mut known) = (wanted.clone(), gates.clone(), record.clone());
    let (outcome, known) = host
        .block_on(move || async move {
            let outcome = Bridge::open().unwrap().reconcile(&wanted, &gates, &mut known, |_| Ok(())).await;
            (outcome, known)
        })
        .unwrap();
    *record = known;
    outcome
}

/// As [`bring`], and all is well.
pub fn set_up(host: &Host, wanted: &Wanted, gates: &Arc<Gates>) -> Record {
    let mut record = Record::default();
    let outcome = bring(host, wanted, gates, &mut record);
    assert_eq!(outcome.problems, Vec::<String>::new());
    record
}

pub fn seen(host: &Host) -> Seen {
    host.block_on(|| async { Bridge::open().unwrap().seen().await.unwrap() }).unwrap()
}

pub fn index(host: &Host, name: &str) -> IfIndex {
    let name = name.to_owned();
    host.enter(move || nix::net::if_::if_nametoindex(name.as_str()).unwrap()).unwrap()
}

/// What a program in a host says.
pub fn said(host: &Host, command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let output = host.command(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Frames that an interface has taken in.
pub fn received(host: &Host, device: &str) -> u64 {
    let text = said(host, &format!("ip -s -j link show dev {device}"));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
}

/// Answers every datagram at port 7 until it is dropped.
pub struct Echo {
    stop: Arc<AtomicBool>,
}

impl Echo {
    pub fn on(host: &Host) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = host.spawn(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, ECHO)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            ready.send(()).unwrap();
            let mut buffer = [0; 64];
            while !ended.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        });
        is_ready.recv().unwrap();
        drop(thread);
        Self { stop }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One datagram after the other, until one is answered or patience is at its end.
pub fn talks(from: &Host, to: Ipv4Addr, patience: Duration) -> bool {
    from.enter(move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let until = Instant::now() + patience;
        let mut buffer = [0; 64];
        while Instant::now() < until {
            let _ = socket.send_to(b"?", SocketAddr::new(IpAddr::V4(to), ECHO));
            if socket.recv(&mut buffer).is_ok() {
                return true;
            }
        }
        false
    })
    .unwrap()
}

/// Asks every millisecond for so long; the longest time between two answers.
pub fn silence(from: &Host, to: Ipv4Addr, how_long: Duration) -> std::thread::JoinHandle<Duration> {
    let host = from.clone();
    std::thread::spawn(move || {
        host.enter(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let (begun, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
            let mut buffer = [0; 64];
            while begun.elapsed() < how_long {
                let _ = socket.send_to(b"?", SocketAddr::new(IpAddr::V4(to), ECHO));
                if socket.recv(&mut buffer).is_ok() {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
            }
            longest.max(last.elapsed())
        })
        .unwrap()
    })
}

pub const PATIENCE: Duration = Duration::from_secs(5);
pub const BRIEFLY: Duration = Duration::from_millis(400);
