//! What a box's data plane answers to its peer over a real cable: with its daemon, without it, and on a port that
//! the bridge blocks. The router plays the peer.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use lbd::config::Mac;
use lbd::dataplane::question::{Answer, Between, Holds, PairId, parse_answer, question};
use lbd::lab::mail::{BALANCER, ROUTER};
use lbd::os::asking::Asking;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::conf::Conf;
use super::stage::{Stage, until};

const SERVICE: &str = "192.0.2.25:7";
/// `mail::BALANCER_MAC`.
const BALANCER_MAC: Mac = Mac([2, 0, 0, 0, 1, 1]);
const PEER: Mac = Mac([2, 0, 0, 0, 2, 2]);
const ETHERTYPE: u16 = 0x88b5;
/// An answer takes microseconds; a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks over the router's port to the balancer, in a VLAN or none.
fn ask(stage: &Stage, nonce: u64, vlan: u16) -> Option<Answer> {
    let asked = move || {
        let port = nix::net::if_::if_nametoindex("lan").unwrap();
        let asking = Asking::open(port, ETHERTYPE).unwrap();
        asking.ask(&question(Between { from: PEER, to: BALANCER_MAC, vlan }, PairId::NONE, nonce)).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut ready = [PollFd::new(asking.as_fd(), PollFlags::POLLIN)];
            poll(&mut ready, PollTimeout::from(100u8)).unwrap();
            while let Some(frame) = asking.next().unwrap() {
                if let Some(answer) = parse_answer(&frame, 0) {
                    assert_eq!((answer.way.from, answer.way.to), (BALANCER_MAC, PEER));
                    assert_eq!(answer.nonce, nonce);
                    return Some(answer);
                }
            }
        }
        None
    };
    stage.host(ROUTER).enter(asked).unwrap()
}

fn holds(stage: &Stage, nonce: u64) -> Option<Holds> {
    ask(stage, nonce, 0).map(|answer| answer.holds)
}

const LISTENING: &str = "1";
const FORWARDING: &str = "3";

/// Sets the state of a bridge's port (<linux/if_bridge.h>). Not 4, blocking: without spanning tree the kernel makes
/// 3 of it.
fn set_state(stage: &Stage, host: &str, port: &str, state: &str) {
    stage.run(host, "ip", &["link", "set", "dev", port, "type", "bridge_slave", "state", state]);
}

#[test]
fn a_data_plane_answers_its_peer_also_without_its_daemon_and_through_blocked_ports() {
    let conf = Conf::new(1)
        .pool("echo", "members: [pc1], scheduler: maglev")
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "echo", "port: 7, pool: echo, mode: dsr");
    let mut stage = Stage::new(1, &conf);
    let told = ask(&stage, 1, 0).expect("an answer from a living daemon's data plane");
    assert_eq!((told.holds, told.pair), (Holds::Endlessly, PairId::NONE));
    assert!(told.owned_for < stage_age(), "{told:?}");
    assert_eq!(ask(&stage, 2, 7).map(|answer| answer.holds), Some(Holds::Endlessly), "in a VLAN");

    // Blocked, as a pair's uplink in standby: the daemon has told the data plane, which serves there no more.
    set_state(&stage, BALANCER, "up0", LISTENING);
    stage.wait("the data plane knows that the port is blocked", |state| {
        state.0["interfaces"].as_array().unwrap().iter().any(|port| port["forwarding"] == false)
    });
    assert_eq!(holds(&stage, 3), Some(Holds::Endlessly), "on a blocked port");

    // Through a blocked port of the asker, too.
    stage.run(ROUTER, "ip", &["link", "add", "brx", "type", "bridge"]);
    stage.run(ROUTER, "ip", &["link", "set", "lan", "master", "brx"]);
    stage.run(ROUTER, "ip", &["link", "set", "brx", "up"]);
    set_state(&stage, ROUTER, "lan", LISTENING);
    assert_eq!(holds(&stage, 4), Some(Holds::Endlessly), "both ends blocked");
    stage.run(ROUTER, "ip", &["link", "set", "lan", "nomaster"]);
    stage.run(ROUTER, "ip", &["link", "del", "brx"]);

    set_state(&stage, BALANCER, "up0", FORWARDING);
    until("served again", || stage.ask(SERVICE, 1).served_count() == 1);
    stage.kill_balancer();
    let told = ask(&stage, 5, 0).expect("an answer of a dead daemon's data plane");
    assert_eq!(told.holds, Holds::Endlessly);
    assert!(told.owned_for > Duration::ZERO && told.owned_for < stage_age(), "{told:?}");

    // A daemon that comes back leaves the age as it was.
    stage.start();
    stage.wait("in service", |state| state.all_scheduled());
    let later = ask(&stage, 6, 0).expect("an answer");
    assert!(later.owned_for > told.owned_for, "{later:?} after {told:?}");
}

/// No test runs for so long.
fn stage_age() -> Duration {
    Duration::from_secs(300)
}
