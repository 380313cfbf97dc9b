//! Who gets the next connection.

use super::conf::Conf;
use super::stage::Stage;
use super::talk::Talkers;

const V: &str = "192.0.2.25:7";

fn conf(pool: &str) -> Conf {
    Conf::new(3).pool("echo", pool).virtual_server("v", &["192.0.2.25", "2001:db8::25"]).service(
        "v",
        "echo",
        "port: 7, pool: echo, mode: nat, timeouts: {closed: 1s}",
    )
}

#[test]
fn round_robin_is_exact_and_weights_are_kept_to_the_connection() {
    let stage = Stage::new(3, &conf("members: [pc1, pc2, pc3], scheduler: round-robin"));
    for target in [V, "[2001:db8::25]:7"] {
        let tally = stage.ask(target, 99);
        assert_eq!(["pc1", "pc2", "pc3"].map(|pc| tally.of(pc)), [33, 33, 33], "{target}: {tally:?}");
    }
    let weights = "{server: pc1, weight: 1}, {server: pc2, weight: 2}, {server: pc3, weight: 3}";
    for scheduler in ["round-robin", "maglev", "least-connections"] {
        stage.configure(&conf(&format!("members: [{weights}], scheduler: {scheduler}")));
        assert_eq!(stage.api().reload().status, 200);
        // Kept open: what is equal is the number of connections at the same time.
        let talkers = Talkers::open(stage.client(), V, 120, &[]);
        let got = ["pc1", "pc2", "pc3"].map(|pc| talkers.on(pc));
        // The hash spreads as chance does: three deviations of a binomial with n = 120, p = 1/2 are 16.
        let most = if scheduler == "maglev" { 17 } else { 1 };
        for (got, due) in got.into_iter().zip([20_usize, 40, 60]) {
            assert!(got.abs_diff(due) <= most, "{scheduler}: {got} instead of {due}");
        }
        talkers.end();
        stage.wait("all have gone", |s| s.of_service("v/echo", "active") == 0);
    }
}

#[test]
fn least_connections_fills_up_who_has_fewest() {
    let stage = Stage::new(3, &conf("members: [pc1, pc2], scheduler: least-connections"));
    let first = Talkers::open(stage.client(), V, 40, &[]);
    assert_eq!((first.on("pc1"), first.on("pc2")), (20, 20));
    stage.configure(&conf("members: [pc1, pc2, pc3], scheduler: least-connections"));
    assert_eq!(stage.api().reload().status, 200);
    stage.wait("pc3 is in service", |s| s.scheduled("v/echo", "pc3"));
    let second = Talkers::open(stage.client(), V, 20, &[]);
    assert_eq!(second.on("pc3"), 20, "{:?}", second.servers);
    let third = Talkers::open(stage.client(), V, 30, &[]);
    assert_eq!(["pc1", "pc2", "pc3"].map(|pc| third.on(pc)), [10, 10, 10]);
    for talkers in [first, second, third] {
        talkers.end();
    }
}

#[test]
fn a_server_at_its_limit_gets_no_more_and_one_that_is_left_makes_room() {
    let conf = conf("members: [pc1, pc2], scheduler: round-robin").server(1, "max-connections: 10");
    let stage = Stage::new(3, &conf);
    let talkers = Talkers::open(stage.client(), V, 50, &[]);
    assert_eq!((talkers.on("pc1"), talkers.on("pc2")), (10, 40));
    talkers.end();
    stage.wait("they have gone", |s| s.of_server("pc1") == 0);
    let tally = stage.ask(V, 20);
    assert_eq!(tally.served_count(), 20);
    assert!(tally.of("pc1") >= 5, "{tally:?}");

    // All at their limit: refused, not queued.
    let conf = conf.server(2, "max-connections: 10");
    stage.configure(&conf);
    assert_eq!(stage.api().reload().status, 200);
    stage.wait("they have gone", |s| s.of_server("pc1") == 0 && s.of_server("pc2") == 0);
    let talkers = Talkers::open(stage.client(), V, 20, &[]);
    assert_eq!(stage.ask(V, 5).failed.get("refused"), Some(&5));
    talkers.end();
}

#[test]
fn backups_take_over_when_nobody_else_can_and_give_back() {
    let mut stage =
        Stage::new(3, &conf("members: [pc1, {server: pc2}, {server: pc3, backup: true}], scheduler: round-robin"));
    assert_eq!(stage.ask(V, 20).of("pc3"), 0);
    stage.api().set("pc1", "draining");
    assert_eq!(stage.ask(V, 20).of("pc2"), 20);
    stage.kill_server("pc2");
    stage.wait("the backup has taken over", |s| s.scheduled("v/echo", "pc3"));
    assert_eq!(stage.ask(V, 20).of("pc3"), 20);
    let talkers = Talkers::open(stage.client(), V, 10, &[]);
    stage.api().set("pc1", "enabled");
    assert_eq!(stage.ask(V, 20).of("pc1"), 20, "given back at once");
    assert!(!stage.state().scheduled("v/echo", "pc3"));
    assert_eq!(talkers.on("pc3"), 10);
    talkers.end();
}
