//! MACs change under connections, and servers that have none get no customers.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use lbd::lab::Plan;
use lbd::lab::customer::{self, Held, Visit};
use lbd::lab::mail::{self, CLIENT, ROUTER};
use lbd::lab::servers::md5::Md5;
use lbd::lab::servers::{Kind, http};

use super::stage::{CLOSED, MEMBERSHIPS, Mode, Stage, interfaces, services, ways};
use super::transfers::{connect, datagrams};

const NEW_MAC: &str = "02:00:00:00:77:01";
const HELD: usize = 10;
/// Between 50 kB and the next 50 kB: 20 MB take 1.6 s at least.
const PACE: Duration = Duration::from_millis(4);

/// So that a host tells its neighbours when its MAC changes.
fn tells_its_neighbours(plan: &mut Plan, host: &str) {
    plan.sysctl(host, "net.ipv4.conf.all.arp_notify", "1").sysctl(host, "net.ipv6.conf.all.ndisc_notify", "1");
}

/// Connections in every way, after their greeting.
fn hold(stage: &Stage) -> Vec<Held> {
    let mut all = Vec::new();
    for (mode, v6) in ways() {
        let visit = Visit::new(Kind::Echo, mode.at(v6, 7)).times(HELD);
        all.extend(stage.host(CLIENT).block_on(move || customer::hold(visit)).unwrap().unwrap());
    }
    all
}

/// All of them still are answered.
fn assert_alive(stage: &Stage, held: Vec<Held>) {
    let count = held.len();
    let check = stage.host(CLIENT).block_on(move || customer::check(held, Duration::from_secs(10))).unwrap();
    assert_eq!((check.0.len(), check.1.failed_count()), (count, 0), "{:?}", check.1);
}

/// Sends so many bytes: the MD5 of what was sent, and of what the server says that it got.
fn upload(target: SocketAddr, size: usize) -> (String, String) {
    let mut stream = connect(None, target).unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: site\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut sent = Md5::new();
    for start in (0..size).step_by(50_000) {
        let part: Vec<u8> = (start..size.min(start + 50_000)).map(|n| http::byte_at(n as u64)).collect();
        sent.update(&part);
        stream.write_all(&part).unwrap();
        // The pace of the transfer, which shall not be over before something happens.
        std::thread::sleep(PACE);
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let received = answer.trim_end().rsplit('\n').next().unwrap_or_default().to_owned();
    (sent.hex(), received)
}

#[test]
fn connections_go_on_when_the_router_gets_another_mac() {
    const SIZE: usize = 20_000_000;
    let mut plan = mail::plan(2);
    tells_its_neighbours(&mut plan, ROUTER);
    let stage = Stage::bare(&plan, &[1, 2]);
    let mut stage = stage.balance(&(interfaces(2, "auto") + &services(&[1, 2], "round-robin")), 2 * MEMBERSHIPS);
    let held = hold(&stage);
    // One of them in the middle of something.
    let target = Mode::Nat.at(false, 80);
    let running = stage.host(CLIENT).spawn(move || upload(target, SIZE));
    stage.until(Duration::from_secs(10), "the transfer is under way", |stage| {
        let bytes = |m: &serde_json::Value| m["traffic"]["bytes_in"].as_u64().unwrap();
        let sent: u64 = stage.members().iter().filter(|m| m["service"] == "http").map(bytes).sum();
        if sent > 1_000_000 { Ok(()) } else { Err(format!("{sent} bytes so far")) }
    });
    stage.site.ip(ROUTER, &format!("link set lan address {NEW_MAC}\n")).unwrap();
    assert!(!running.is_finished(), "the MAC changed too late to be of interest");
    assert_alive(&stage, held);
    let (sent, received) = running.join().unwrap().unwrap();
    assert_eq!(sent, received);
    for (mode, v6) in ways() {
        stage.visit(Visit::new(Kind::Echo, mode.at(v6, 7)).times(50));
    }
    stage.end(&[]);
}

#[test]
fn a_server_that_gets_another_mac_is_followed_within_a_second() {
    let mut plan = mail::plan(2);
    tells_its_neighbours(&mut plan, "pc1");
    let stage = Stage::bare(&plan, &[1, 2]);
    let mut stage = stage.balance(&(interfaces(2, "auto") + &services(&[1, 2], "round-robin")), 2 * MEMBERSHIPS);
    let held = hold(&stage);
    stage.site.ip("pc1", &format!("link set eth0 address {NEW_MAC}\n")).unwrap();
    stage.until(Duration::from_secs(1), "pc1 is known by its new MAC in every service", |stage| {
        let of_pc1: Vec<_> = stage.members().into_iter().filter(|m| m["server"] == "pc1").collect();
        assert_eq!(of_pc1.len(), MEMBERSHIPS);
        match of_pc1.into_iter().find(|m| m["mac"] != NEW_MAC || m["scheduled"] != true) {
            None => Ok(()),
            Some(member) => Err(member.to_string()),
        }
    });
    assert_alive(&stage, held);
    for (mode, v6) in ways() {
        let tally = stage.visit(Visit::new(Kind::Echo, mode.at(v6, 7)).times(100));
        assert!(tally.of("pc1") > 30 && tally.of("pc2") > 30, "{mode:?} {v6}: {tally:?}");
    }
    stage.end(&[]);
}

#[test]
fn a_server_without_a_mac_is_not_scheduled_and_the_state_says_why() {
    // pc9 is in the configuration, and nowhere else.
    let stage = Stage::bare(&mail::plan(2), &[1, 2]);
    let mut stage = stage.balance(&(interfaces(2, "auto") + &services(&[1, 2, 9], "round-robin")), 2 * MEMBERSHIPS);
    let why = "not scheduled: its MAC is not known: it does not answer ARP or neighbour discovery";
    stage.until(Duration::from_secs(5), "the state says why", |stage| {
        let members = stage.members();
        let of_pc9: Vec<_> = members.iter().filter(|m| m["server"] == "pc9").collect();
        assert_eq!(of_pc9.len(), MEMBERSHIPS);
        assert!(of_pc9.iter().all(|m| m["scheduled"] == false && m["mac"].is_null()), "{of_pc9:?}");
        // Where it is not probed; elsewhere the probe's failure is told first.
        let unprobed: Vec<_> =
            of_pc9.iter().filter(|m| m["service"] == "closed").map(|m| m["why"].to_string()).collect();
        assert_eq!(unprobed.len(), 6);
        if unprobed.iter().all(|words| words.contains(why)) { Ok(()) } else { Err(format!("{unprobed:?}")) }
    });
    for (mode, v6) in ways() {
        stage.visit(Visit::new(Kind::Echo, mode.at(v6, 7)).times(60));
        // Whoever is asked exists, and says that nobody listens.
        let target = mode.at(v6, CLOSED);
        let heard = stage.host(CLIENT).enter(move || {
            let answers = (0..9).map(|_| {
                let socket = datagrams(None, target);
                socket.send(b"anybody?").unwrap();
                socket.recv(&mut [0; 64]).map_err(|e| e.kind())
            });
            answers.collect::<Vec<_>>()
        });
        assert_eq!(heard.unwrap(), [Err(ErrorKind::ConnectionRefused); 9], "{mode:?} {v6}");
    }
    stage.end(&[]);
}
