//! The daemon dies and comes back; traffic does not notice.

use std::time::Duration;

use super::api::State;
use super::conf::Conf;
use super::peer::Peer;
use super::stage::{Stage, until};
use super::talk::{Newcomers, Talkers};

const NAT: &str = "192.0.2.25:7";
const DSR: &str = "192.0.2.110:7";

fn both_modes(pcs: u8, members: &str) -> Conf {
    Conf::new(pcs)
        .pool("echo", &format!("members: [{members}], scheduler: round-robin"))
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "echo", "port: 7, pool: echo, mode: nat, timeouts: {closed: 1s}")
        .virtual_server("w", &["192.0.2.110"])
        .service("w", "echo", "port: 7, pool: echo, mode: dsr, timeouts: {closed: 1s}")
}

/// What is counted is what is in the table; in NAT also what the server itself has.
fn counts_are_true(stage: &Stage, servers: &[&str], nat: &Talkers, dsr: &Talkers) {
    for server in servers {
        let (in_nat, in_dsr) = (nat.on(server) as u64, dsr.on(server) as u64);
        stage.wait(&format!("the counts of {server} are {in_nat} and {in_dsr}"), |s| {
            s.active("v/echo", server) == in_nat && s.active("w/echo", server) == in_dsr
        });
        let api = stage.api();
        assert_eq!(
            (api.live("v/echo", server, false), api.live("w/echo", server, true)),
            (in_nat, in_dsr),
            "{server}: the table"
        );
        // Both modes come to the same port: the server has the sum.
        assert_eq!(stage.sockets(server, "established", 7), in_nat + in_dsr, "{server}: its own sockets");
        assert_eq!(stage.state().of_server(server), in_nat + in_dsr, "{server}: over all services");
    }
}

#[test]
fn a_killed_daemon_costs_no_connection_and_finds_the_truth_when_it_returns() {
    let mut stage = Stage::new(3, &both_modes(3, "pc1, pc2, pc3"));
    let client = stage.client().clone();
    let [nat, dsr] = [NAT, DSR].map(|target| Talkers::open(&client, target, 90, &[]));
    let newcomers = [NAT, DSR].map(|target| Newcomers::start(&client, target, Duration::from_millis(20)));

    stage.kill_balancer();
    for target in [NAT, DSR] {
        let tally = stage.ask(target, 60);
        assert_eq!(tally.failed_count(), 0, "{tally:?}");
        assert!(["pc1", "pc2", "pc3"].iter().all(|pc| tally.of(pc) >= 10), "balanced without the daemon: {tally:?}");
    }
    let held = Talkers::open(&client, NAT, 30, &[]);
    for newcomers in newcomers {
        newcomers.end_all_served();
    }
    for talkers in [&nat, &dsr, &held] {
        talkers.all_talk();
    }
    for talkers in [&nat, &dsr, &held] {
        talkers.none_is_lost();
    }
    assert_eq!(stage.syns_repeated(), 0, "no packet was lost");
    held.end();

    // A server dies while nobody watches.
    stage.kill_server("pc3");
    for talkers in [&nat, &dsr] {
        until("those on pc3 are closed by its kernel", || talkers.lost().len() == talkers.on("pc3"));
    }
    stage.start();
    let state = stage.state();
    assert_eq!(state.0["adopted"], true);
    assert_eq!(state.services().len(), 2, "it tells what there is before it has asked the servers");
    stage.wait("pc3 is known to be down", |s| {
        s.health("v/echo", "pc3") == "down" && s.health("w/echo", "pc3") == "down"
    });
    for target in [NAT, DSR] {
        let tally = stage.ask(target, 30);
        assert_eq!((tally.of("pc3"), tally.served_count()), (0, 30), "{tally:?}");
    }
    for talkers in [&nat, &dsr] {
        talkers.all_talk();
    }
    counts_are_true(&stage, &["pc1", "pc2"], &nat, &dsr);
    // In DSR the resets of a dying server are not seen: what it had counts until it has been idle for too long.
    stage.wait("in NAT nothing is left on pc3", |s| s.active("v/echo", "pc3") == 0);
    for talkers in [nat, dsr] {
        let on_pc3 = talkers.those_on("pc3");
        assert_eq!(talkers.finish().into_keys().collect::<Vec<_>>(), on_pc3, "exactly those on the dead server");
    }
    stage.wait("everyone has gone", |s| {
        s.of_service("v/echo", "active") == 0 && s.active("w/echo", "pc1") == 0 && s.active("w/echo", "pc2") == 0
    });
}

#[test]
fn restart_after_restart_and_one_with_another_configuration_move_nobody() {
    let mut stage = Stage::new(3, &both_modes(3, "pc1, pc2"));
    let client = stage.client().clone();
    let [nat, dsr] = [NAT, DSR].map(|target| Talkers::open(&client, target, 60, &[]));
    let newcomers = [NAT, DSR].map(|target| Newcomers::start(&client, target, Duration::from_millis(25)));
    for turn in 0..3 {
        stage.kill_balancer();
        stage.start();
        stage.wait("the members are in service again", |s| s.0["adopted"] == true && s.all_scheduled());
        if turn == 1 {
            // Died before its first plan: what it adopted goes on as it was.
            stage.kill_balancer();
            stage.start();
            stage.kill_balancer();
            stage.start();
        }
        for talkers in [&nat, &dsr] {
            talkers.all_talk();
        }
    }
    stage.wait("the members are in service again", |s| s.all_scheduled());
    counts_after_newcomers(&stage, newcomers);
    counts_are_true(&stage, &["pc1", "pc2"], &nat, &dsr);

    // A server more and one less than when it died.
    let newcomers = [NAT, DSR].map(|target| Newcomers::start(&client, target, Duration::from_millis(25)));
    stage.kill_balancer();
    stage.configure(&both_modes(3, "pc2, pc3"));
    stage.start();
    stage.wait("the new members are in service", |s| s.all_scheduled());
    for target in [NAT, DSR] {
        let tally = stage.ask(target, 40);
        assert_eq!((tally.of("pc1"), tally.failed_count()), (0, 0), "{tally:?}");
        assert!(tally.of("pc3") >= 10, "{tally:?}");
    }
    counts_after_newcomers(&stage, newcomers);
    assert_eq!(stage.api().live("v/echo", "pc1", false), nat.on("pc1") as u64, "pc1 drains");
    for talkers in [nat, dsr] {
        talkers.end();
    }
    assert_eq!(stage.syns_repeated(), 0, "no packet was lost");
}

#[test]
fn a_single_failed_probe_after_a_restart_resets_nobody() {
    // The probes go to a port of their own, which is closed while the daemon starts.
    let check = "slow-start: 0s, check: {type: tcp, port: 2000, interval: 500ms, timeout: 500ms, rise: 1, fall: 5}";
    let conf = Conf::new(1)
        .pool("echo", &format!("members: [pc1], {check}"))
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "echo", "port: 7, pool: echo, mode: nat");
    let mut stage = Stage::without_balancer(1);
    stage.configure(&conf);
    let probed = Peer::start(stage.host("pc1"), 2000);
    stage.start();
    stage.wait("in service", State::all_scheduled);
    let talkers = Talkers::open(stage.client(), NAT, 10, &[]);
    stage.kill_balancer();
    drop(probed);
    stage.start();
    let failures = |s: &State| s.member("v/echo", "pc1")["checks"][0]["failures"].as_u64();
    stage.wait("a probe has failed", |s| failures(s) >= Some(1));
    let _probed = Peer::start(stage.host("pc1"), 2000);
    stage.wait("in service again", State::all_scheduled);
    talkers.end();
    assert_eq!(stage.ask(NAT, 10).of("pc1"), 10);
}

fn counts_after_newcomers(stage: &Stage, newcomers: [Newcomers; 2]) {
    for newcomers in newcomers {
        let served = newcomers.end_all_served();
        assert!(served.len() >= 2, "{served:?}");
    }
    stage.wait("the newcomers have gone", |s| {
        s.of_service("v/echo", "pending") == 0 && s.of_service("w/echo", "pending") == 0
    });
}
