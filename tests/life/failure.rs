//! Servers die, and come back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::conf::{Conf, FALL, INTERVAL_MS, TIMEOUT_MS};
use super::stage::{Stage, until};
use super::talk::{Newcomers, Talkers};

const NAT: &str = "192.0.2.25:7";
const DSR: &str = "192.0.2.110:7";
/// Promised: one interval times the fall count, and one time-out.
const OUT_WITHIN: Duration = Duration::from_millis(INTERVAL_MS * FALL + TIMEOUT_MS);
/// What a busy machine adds to it.
const SLACK: Duration = Duration::from_millis(1500);

fn both_modes(pcs: u8, pool: &str) -> Conf {
    let members: Vec<String> = (1..=pcs).map(|n| format!("pc{n}")).collect();
    Conf::new(pcs)
        .pool("echo", &format!("members: [{}], scheduler: round-robin{pool}", members.join(", ")))
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "echo", "port: 7, pool: echo, mode: nat")
        .virtual_server("w", &["192.0.2.110"])
        .service("w", "echo", "port: 7, pool: echo, mode: dsr")
}

fn is_down(stage: &Stage) -> Duration {
    stage.wait("pc1 is down", |s| s.health("v/echo", "pc1") == "down" && !s.scheduled("w/echo", "pc1"))
}

#[test]
fn a_killed_server_is_out_in_time_and_gets_no_connection_afterwards() {
    let mut stage = Stage::new(2, &both_modes(2, ""));
    let client = stage.client().clone();
    let newcomers = [NAT, DSR].map(|target| Newcomers::start(&client, target, Duration::from_millis(20)));
    let talkers = Talkers::open(&client, NAT, 20, &[]);
    let killed = Instant::now();
    stage.kill_server("pc1");
    is_down(&stage);
    let out = Instant::now();
    assert!(out - killed < OUT_WITHIN + SLACK, "{:?}", out - killed);
    until("newcomers come after that", || out.elapsed() > Duration::from_millis(500));
    for newcomers in newcomers {
        let attempts = newcomers.end();
        let failed = attempts.iter().filter(|a| a.outcome.is_err());
        let late: Vec<_> = failed.clone().filter(|a| a.started > out).collect();
        assert!(late.is_empty(), "turned away after it was out: {late:?}");
        assert!(failed.clone().any(|a| a.outcome == Err("refused".into())), "before that, some were refused");
        let elsewhere = attempts.iter().filter(|a| a.started > out && a.outcome == Ok("pc2".into()));
        assert!(elsewhere.count() > 5);
    }
    talkers.all_talk();
    let lost = talkers.finish();
    assert_eq!(lost.len(), 10, "those that it had, and no other: {lost:?}");
}

#[test]
fn a_host_that_falls_silent_is_out_in_time_and_its_customers_are_told() {
    let stage = Stage::new(2, &both_modes(2, ""));
    let client = stage.client().clone();
    let talkers = [NAT, DSR].map(|target| Talkers::open(&client, target, 20, &[]));
    // The cable is in, and nothing answers: neither TCP nor ARP.
    let start = Instant::now();
    stage.site.ip("pc1", "link set eth0 arp off\naddr del 10.1.0.11/24 dev eth0\n").unwrap();
    for vip in ["192.0.2.25", "192.0.2.110"] {
        stage.site.ip("pc1", &format!("addr del {vip}/32 dev lo\n")).unwrap();
    }
    is_down(&stage);
    assert!(start.elapsed() < OUT_WITHIN + SLACK, "{:?}", start.elapsed());
    for target in [NAT, DSR] {
        assert_eq!(stage.ask(target, 20).of("pc2"), 20);
    }
    for talkers in talkers {
        until("everyone on pc1 was told", || talkers.lost().len() == talkers.on("pc1"));
        assert!(talkers.lost().iter().all(|(n, why)| talkers.servers[*n] == "pc1" && why == "reset"));
        talkers.all_talk();
        talkers.finish();
    }
}

#[test]
fn a_server_whose_cable_is_pulled_gets_nothing_new_at_once() {
    let stage = Stage::new(2, &both_modes(2, ""));
    stage.site.ip("pc1", "link set eth0 down\n").unwrap();
    let took = stage.wait("pc1 has no place", |s| !s.scheduled("v/echo", "pc1") && !s.scheduled("w/echo", "pc1"));
    assert!(took < Duration::from_millis(1500), "{took:?}: a change of the wire is followed within a second");
    for target in [NAT, DSR] {
        assert_eq!(stage.ask(target, 20).of("pc2"), 20);
    }
    stage.site.ip("pc1", "link set eth0 up\nroute add default via 10.1.0.1\n").unwrap();
    stage.wait("pc1 is back", |s| s.all_scheduled());
    assert_eq!(stage.ask(NAT, 20).of("pc1"), 10);
}

#[test]
fn a_server_that_comes_back_gets_its_share_step_by_step() {
    let mut stage = Stage::new(2, &both_modes(2, ", slow-start: 6s"));
    stage.kill_server("pc1");
    is_down(&stage);
    stage.start_server("pc1");
    stage.wait("pc1 is back", |s| s.scheduled("v/echo", "pc1"));
    let start = Instant::now();
    let share = |stage: &Stage| {
        let before = stage.state().member("v/echo", "pc1")["effective_weight"].as_f64().unwrap();
        let tally = stage.ask(NAT, 50);
        assert_eq!(tally.failed_count(), 0, "{tally:?}");
        let after = stage.state().member("v/echo", "pc1")["effective_weight"].as_f64().unwrap();
        (before, tally.of("pc1") as f64 / 50.0, after)
    };
    let mut shares = BTreeMap::new();
    let mut weight = 0.0;
    while weight < 1.0 {
        let (before, measured, after) = share(&stage);
        assert!(weight <= before && before <= after, "it only grows");
        // Of two servers with the same full weight.
        let part = |w: f64| w / (1.0 + w);
        assert!(
            (part(before) - 0.06..part(after) + 0.06).contains(&measured),
            "at weights from {before} to {after} it got {measured}"
        );
        weight = after;
        shares.insert(start.elapsed().as_millis(), (before, measured));
        assert!(start.elapsed() < Duration::from_secs(20), "{shares:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let (first, _) = shares.values().next().unwrap();
    assert!(*first < 0.5, "it began small: {shares:?}");
    assert!(start.elapsed() > Duration::from_secs(4), "it took its time: {shares:?}");
    assert!((0.46..=0.54).contains(&share(&stage).1), "an equal share in the end");
}
