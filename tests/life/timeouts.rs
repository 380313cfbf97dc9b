//! Idle connections go, each state after its own time; those that are used stay.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::conf::Conf;
use super::stage::{PATIENCE, Stage, address};
use super::talk::Talkers;

/// Between two walks of the sweeper, and some for a busy machine.
const SWEEP: f64 = 3.0 + 3.0;

fn conf(times: &str) -> Conf {
    Conf::new(1)
        .pool("echo", "members: [pc1]")
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "nat", &format!("port: 7, pool: echo, mode: nat, {times}"))
        .service("v", "udp", "protocol: udp, port: 7, pool: echo, mode: nat, timeouts: {udp: 2s}")
        .virtual_server("w", &["192.0.2.110"])
        .service("w", "dsr", &format!("port: 7, pool: echo, mode: dsr, {times}"))
}

/// A connection after its greeting.
struct Open(BufReader<TcpStream>);

impl Open {
    fn new(stage: &Stage, target: &str) -> Self {
        let target = address(target);
        let stream = stage.client().enter(move || TcpStream::connect(target)).unwrap().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut open = Self(BufReader::new(stream));
        assert!(open.line().starts_with("pc1 "));
        open
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    fn talk(&mut self) {
        self.0.get_mut().write_all(b"hello\n").unwrap();
        assert!(self.line().ends_with(" hello\r\n"));
    }

    fn port(&self) -> u64 {
        self.0.get_ref().local_addr().unwrap().port().into()
    }
}

fn row(stage: &Stage, port: u64) -> Option<Value> {
    stage.api().connections().into_iter().find(|row| row["client_port"] == port)
}

/// Waits until all these rows have gone; the state and the idle seconds in which each was seen last.
fn last_seen(stage: &Stage, ports: &[u64]) -> BTreeMap<u64, (String, f64)> {
    let mut seen = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let rows = stage.api().connections();
        let of = |row: &&Value| ports.iter().any(|port| row["client_port"] == *port);
        let here: Vec<&Value> = rows.iter().filter(of).collect();
        for row in &here {
            let (state, idle) = (row["state"].as_str().unwrap(), row["idle_seconds"].as_f64().unwrap());
            seen.insert(row["client_port"].as_u64().unwrap(), (state.to_owned(), idle));
        }
        if here.is_empty() {
            return seen;
        }
        assert!(Instant::now() < deadline, "still there: {here:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn each_state_has_its_own_time_and_a_connection_in_use_outlives_them_all() {
    let stage =
        Stage::new(1, &conf("timeouts: {established: 6s, unproven: 2s, closing: 3s, closed: 1s, embryonic: 1s}"));
    let talkers = ["192.0.2.25:7", "192.0.2.110:7"]
        .map(|target| Talkers::open_at_pace(stage.client(), target, 3, &[], Duration::from_millis(400)));
    // Opened all at once, and then left alone.
    let unproven = Open::new(&stage, "192.0.2.110:7");
    let mut established = [Open::new(&stage, "192.0.2.25:7"), Open::new(&stage, "192.0.2.110:7")];
    let mut closing = Open::new(&stage, "192.0.2.110:7");
    for open in established.iter_mut().chain([&mut closing]) {
        (0..4).for_each(|_| open.talk());
    }
    let expected = [
        (unproven.port(), "unproven", 2.0),
        (established[0].port(), "established", 6.0),
        (established[1].port(), "established", 6.0),
        // In DSR the server's FIN is not seen.
        (closing.port(), "closing", 3.0),
    ];
    drop(closing);
    let seen = last_seen(&stage, &expected.map(|(port, ..)| port));
    for (port, state, after) in expected {
        let (was, idle) = seen.get(&port).unwrap_or_else(|| panic!("{state} was never seen"));
        assert_eq!(was, state);
        // It was seen half a second before its time is over, or later.
        assert!((after - 0.5..after + SWEEP).contains(idle), "{state} was seen last after {idle} s, not {after}");
    }
    stage.wait("only those in use are left", |s| s.table("entries") == 6);
    for talkers in talkers {
        talkers.end();
    }
    stage.wait("the closed ones go as well", |s| s.table("entries") == 0 && s.table("embryonic") == 0);
    assert_eq!(stage.state().of_server("pc1"), 0);
}

#[test]
fn a_udp_flow_goes_when_it_is_idle_and_stays_while_it_is_used() {
    let stage = Stage::new(1, &conf("timeouts: {}"));
    let target = address("192.0.2.25:7");
    let socket = stage.client().enter(move || -> std::io::Result<UdpSocket> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(socket)
    });
    let socket = socket.unwrap().unwrap();
    let port = u64::from(socket.local_addr().unwrap().port());
    let ask = || {
        socket.send(b"hello").unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"pc1 hello");
    };
    ask();
    ask();
    let begun = row(&stage, port).expect("answered, so established")["age_seconds"].as_f64().unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(6) {
        ask();
        std::thread::sleep(Duration::from_millis(400));
    }
    let age = row(&stage, port).expect("used, so it stays")["age_seconds"].as_f64().unwrap();
    assert!(age - begun > 5.5, "the same entry all the time, {age} s old");
    stage.wait("an idle one goes", |_| row(&stage, port).is_none());
    stage.wait("and is counted no more", |s| s.of_service("v/udp", "active") == 0);
}
