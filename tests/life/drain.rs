//! Servers taken out of service by the operator, and put back.

use super::conf::{Conf, echo};
use super::stage::{Stage, until};
use super::talk::Talkers;

const V: &str = "192.0.2.25:7";

#[test]
fn a_drained_server_keeps_its_connections_gets_no_new_ones_and_comes_back_when_enabled() {
    let stage = Stage::new(2, &echo(2, "nat"));
    let talkers = Talkers::open(stage.client(), V, 60, &[]);
    stage.api().set("pc1", "draining");
    let tally = stage.ask(V, 60);
    assert_eq!((tally.of("pc2"), tally.failed_count()), (60, 0), "{tally:?}");
    talkers.all_talk();
    talkers.none_is_lost();
    let state = stage.state();
    assert!(state.member("v/echo", "pc1")["why"].as_str().unwrap().starts_with("draining"));
    assert_eq!(state.active("v/echo", "pc1"), talkers.on("pc1") as u64);

    // The last one may not go, unless the operator insists.
    let refused = stage.api().admin("pc2", "draining", false);
    assert_eq!((refused.status, refused.kind.as_str()), (409, "application/problem+json"), "{refused:?}");
    assert_eq!(refused.json()["services"], serde_json::json!(["v/echo"]), "{refused:?}");
    assert_eq!(stage.ask(V, 10).of("pc2"), 10, "nothing has changed");
    assert_eq!(stage.api().admin("pc2", "draining", true).status, 200);
    let tally = stage.ask(V, 5);
    assert_eq!(tally.failed.get("refused"), Some(&5), "nobody is left: {tally:?}");
    talkers.all_talk();

    stage.api().set("pc2", "enabled");
    stage.api().set("pc1", "enabled");
    let tally = stage.ask(V, 60);
    assert_eq!((tally.of("pc1"), tally.of("pc2")), (30, 30), "{tally:?}");
    talkers.end();
}

#[test]
fn a_drain_outlives_the_daemon() {
    let mut stage = Stage::new(2, &echo(2, "dsr"));
    stage.api().set("pc1", "draining");
    stage.kill_balancer();
    assert_eq!(stage.ask(V, 20).of("pc2"), 20);
    stage.start();
    stage.wait("pc2 is in service", |s| s.scheduled("v/echo", "pc2"));
    assert_eq!(stage.state().member("v/echo", "pc1")["admin"], "draining");
    assert_eq!(stage.ask(V, 20).of("pc2"), 20);
}

#[test]
fn the_connections_of_a_disabled_server_are_reset_or_kept_as_their_pool_says() {
    let conf = Conf::new(2)
        .pool("echo", "members: [pc1, pc2], scheduler: round-robin")
        .pool("kept", "members: [pc1, pc2], scheduler: round-robin, on-failure: keep")
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "reset", "port: 7, pool: echo, mode: nat")
        .service("v", "keep", "port: 110, pool: kept, mode: nat")
        .virtual_server("w", &["192.0.2.110"])
        .service("w", "reset", "port: 7, pool: echo, mode: dsr");
    let stage = Stage::new(2, &conf);
    let open = |target| Talkers::open(stage.client(), target, 20, &[]);
    let (nat, keep, dsr) = (open("192.0.2.25:7"), open("192.0.2.25:110"), open("192.0.2.110:7"));
    stage.api().set("pc1", "disabled");
    for talkers in [&nat, &dsr] {
        until("everyone on pc1 was told", || talkers.lost().len() == talkers.on("pc1"));
        let lost = talkers.lost();
        assert!(lost.iter().all(|(n, why)| talkers.servers[*n] == "pc1" && why == "reset"), "{lost:?}");
        assert_eq!(lost.len(), 10);
    }
    assert_eq!(stage.ask("192.0.2.25:110", 20).of("pc2"), 20, "new ones go elsewhere");
    stage.wait("what was reset counts no more", |s| {
        s.active("v/reset", "pc1") == 0 && s.active("w/reset", "pc1") == 0 && s.active("v/keep", "pc1") == 10
    });
    // Those that were kept hang meanwhile, and go on when the server is back.
    let dropped = stage.state().packets("down");
    until("they try", || stage.state().packets("down") > dropped);
    keep.none_is_lost();
    stage.api().set("pc1", "enabled");
    keep.end();
    for talkers in [nat, dsr] {
        talkers.all_talk();
        assert_eq!(talkers.finish().len(), 10);
    }
}

#[test]
fn a_server_that_is_none_is_named_with_a_guess() {
    let stage = Stage::new(1, &echo(1, "nat"));
    let reply = stage.api().admin("pc", "draining", false);
    assert_eq!((reply.status, &reply.json()["suggestion"]), (404, &serde_json::json!("pc1")), "{reply:?}");
}
