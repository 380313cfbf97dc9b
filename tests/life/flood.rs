//! More than there is room for.

use std::time::Duration;

use super::conf::Conf;
use super::frames::{self, Syns};
use super::stage::Stage;
use super::talk::{Newcomers, Talkers};

const NAT: &str = "192.0.2.25:7";
const DSR: &str = "192.0.2.110:7";

fn conf(limits: &str) -> Conf {
    Conf::new(2)
        .head(&format!("limits: {{{limits}}}"))
        .pool("echo", "members: [pc1, pc2], scheduler: round-robin")
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "echo", "port: 7, pool: echo, mode: nat, timeouts: {embryonic: 1s, closed: 1s}")
        .virtual_server("w", &["192.0.2.110"])
        .service("w", "echo", "port: 7, pool: echo, mode: dsr, timeouts: {embryonic: 1s, closed: 1s}")
}

#[test]
fn a_flood_of_first_packets_evicts_nobody_who_is_established() {
    const FLOOD: u32 = 100_000;
    let stage = Stage::new(2, &conf("connections: 4096, embryonic: 1024"));
    frames::swallow_answers(&stage);
    let router = frames::router_mac(&stage);
    let client = stage.client().clone();
    let talkers = [NAT, DSR].map(|target| Talkers::open(&client, target, 40, &[]));
    let newcomers = [NAT, DSR].map(|target| Newcomers::start(&client, target, Duration::from_millis(100)));
    for target in [[192, 0, 2, 25], [192, 0, 2, 110]] {
        let sent = frames::send(&client, router, Syns { target: (target.into(), 7), count: FLOOD });
        assert!(sent > FLOOD / 2, "only {sent} frames left");
        for talkers in &talkers {
            talkers.all_talk();
        }
    }
    for newcomers in newcomers {
        let attempts = newcomers.end();
        let served = attempts.iter().filter(|a| a.outcome.is_ok()).count();
        // No number is promised: a thousand places, and a hundred times as many first packets. But the service
        // is not closed to those who try.
        assert!(served * 2 >= attempts.len(), "{served} of {} newcomers got in", attempts.len());
    }
    let state = stage.state();
    assert!(state.packets("embryo-evicted") > 10_000, "{}", state.packets("embryo-evicted"));
    assert_eq!(state.packets("table-full"), 0);
    stage.wait("handshakes that nobody went on with are forgotten, and nothing else", |s| {
        let counted =
            ["v/echo", "w/echo"].map(|service| (s.of_service(service, "pending"), s.of_service(service, "active")));
        counted == [(0, 40), (0, 40)]
    });
    for (talkers, service) in talkers.into_iter().zip(["v/echo", "w/echo"]) {
        for server in ["pc1", "pc2"] {
            assert_eq!(stage.state().active(service, server), talkers.on(server) as u64, "{service} {server}");
        }
        talkers.end();
    }
}

#[test]
fn a_full_table_turns_nobody_out_says_so_and_counts_it() {
    // Those above the table's size live among the handshakes, in sets of four places: so many sets that five
    // meet in one of them in a run out of 100,000 only.
    let stage = Stage::new(2, &conf("connections: 1024, embryonic: 65536"));
    let client = stage.client().clone();
    let pace = Duration::from_secs(2);
    let first = Talkers::open_at_pace(&client, NAT, 900, &[], pace);
    let state = stage.state();
    assert_eq!((state.table("capacity"), state.packets("table-full")), (1024, 0));
    assert!(state.warnings().contains("the connection table holds 9"), "{}", state.warnings());
    let second = Talkers::open_at_pace(&client, NAT, 600, &[], pace);
    let state = stage.state();
    assert!(state.packets("table-full") > 0);
    assert!(state.table("entries") <= 1024);
    assert!(state.warnings().contains("of 1024 entries"), "{}", state.warnings());
    for talkers in [&first, &second] {
        talkers.all_talk();
        talkers.none_is_lost();
    }
    second.end();
    first.end();
    stage.wait("there is room again", |s| s.table("entries") == 0 && s.of_service("v/echo", "active") == 0);
    assert_eq!(stage.ask(NAT, 20).served_count(), 20);
}
