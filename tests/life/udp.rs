//! How long the datagrams of one client port go to one server.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::conf::Conf;
use super::stage::{Stage, address};

const IDLE: &str = "192.0.2.25:7";
const MAX_AGE: &str = "192.0.2.25:1813";
const PER_PACKET: &str = "192.0.2.25:110";

fn conf(mode: &str) -> Conf {
    let service =
        |port: u16, udp: &str| format!("protocol: udp, port: {port}, pool: echo, mode: {mode}, udp: {{{udp}}}");
    Conf::new(3)
        .pool("echo", "members: [pc1, pc2, pc3], scheduler: round-robin")
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "idle", &service(7, "life: idle"))
        .service("v", "max-age", &service(1813, "life: max-age, max-age: 1s"))
        .service("v", "per-packet", &service(110, "life: per-packet"))
}

/// A client that sends from one port for ever.
struct Nas(UdpSocket);

impl Nas {
    fn new(stage: &Stage, target: &str) -> Self {
        let target = address(target);
        let open = move || -> std::io::Result<UdpSocket> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(target)?;
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            Ok(socket)
        };
        Self(stage.client().enter(open).unwrap().unwrap())
    }

    /// Who answers; `None`: nobody.
    fn ask(&self) -> Option<String> {
        self.0.send(b"hello").unwrap();
        let mut buffer = [0; 64];
        let length = self.0.recv(&mut buffer).ok()?;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        Some(text.strip_suffix(" hello").unwrap_or_else(|| panic!("{text:?}")).to_owned())
    }
}

/// Who answered, how often, and how often it was another than the one before.
fn asked(nas: &Nas, time: Duration, pause: Duration) -> (BTreeMap<String, usize>, usize) {
    let (mut by, mut moves, mut before) = (BTreeMap::new(), 0, None);
    let end = Instant::now() + time;
    while Instant::now() < end {
        let server = nas.ask().expect("an answer");
        *by.entry(server.clone()).or_default() += 1;
        moves += usize::from(before.as_ref().is_some_and(|before| *before != server));
        before = Some(server);
        std::thread::sleep(pause);
    }
    (by, moves)
}

fn the_lives(mode: &str) {
    let mut stage = Stage::new(3, &conf(mode));
    let nas = Nas::new(&stage, PER_PACKET);
    let mut by: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..30 {
        *by.entry(nas.ask().expect("an answer")).or_default() += 1;
    }
    assert_eq!(by.into_values().collect::<Vec<_>>(), [10, 10, 10], "per packet, in turn");

    let nas = Nas::new(&stage, MAX_AGE);
    let (by, moves) = asked(&nas, Duration::from_millis(4500), Duration::from_millis(50));
    assert_eq!(by.len(), 3, "spread over all servers: {by:?}");
    assert!((3..=4).contains(&moves), "moved {moves} times in four and a half seconds of a second each");

    let idle: Vec<Nas> = (0..9).map(|_| Nas::new(&stage, IDLE)).collect();
    let homes: Vec<String> = idle.iter().map(|nas| nas.ask().expect("an answer")).collect();
    for _ in 0..20 {
        let now: Vec<String> = idle.iter().map(|nas| nas.ask().expect("an answer")).collect();
        assert_eq!(now, homes, "an idle flow stays where it is");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(homes.iter().filter(|home| *home == "pc1").count(), 3, "and new ones are spread: {homes:?}");

    // A server dies: its flows go elsewhere as soon as it is known to be down, the others stay.
    stage.kill_server("pc1");
    stage.wait("pc1 is down", |s| s.health("v/idle", "pc1") == "down");
    for (nas, home) in idle.iter().zip(&homes) {
        let now = nas.ask().expect("an answer at once");
        assert!(if home == "pc1" { now != "pc1" } else { now == *home }, "{home} -> {now}");
    }
    stage.wait("none is counted on the dead one", |s| s.active("v/idle", "pc1") == 0);
}

#[test]
fn in_nat_a_udp_flow_lives_as_its_service_says() {
    the_lives("nat");
}

#[test]
fn in_dsr_a_udp_flow_lives_as_its_service_says() {
    the_lives("dsr");
}
