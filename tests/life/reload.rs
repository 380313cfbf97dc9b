//! The configuration changes while customers are connected.

use std::time::Duration;

use serde_json::Value;

use super::api::State;
use super::conf::{Conf, echo};
use super::stage::{Stage, until};
use super::talk::{Newcomers, Talkers};

const NAT: &str = "192.0.2.25:7";
const DSR: &str = "192.0.2.110:7";
/// So that the end of a connection is seen soon.
const TIMES: &str = "timeouts: {closing: 1s, closed: 1s}";

/// Two services on one pool, one in each mode.
fn both_modes(pcs: u8, pool: &str) -> Conf {
    Conf::new(pcs)
        .pool("echo", pool)
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "echo", &format!("port: 7, pool: echo, mode: nat, {TIMES}"))
        .virtual_server("w", &["192.0.2.110"])
        .service("w", "echo", &format!("port: 7, pool: echo, mode: dsr, {TIMES}"))
}

/// What the tables know by name, from a dump of the pinned map.
fn names(stage: &Stage) -> String {
    let path = stage.bpf_dir().join("names");
    stage.run("lb1", "bpftool", &["map", "dump", "pinned", path.to_str().unwrap()])
}

#[test]
fn a_change_of_the_configuration_under_load_moves_nobody_and_turns_nobody_away() {
    let mut stage = Stage::new(3, &both_modes(3, "members: [pc1, pc2], scheduler: round-robin"));
    let client = stage.client().clone();
    let talkers = [NAT, DSR].map(|target| Talkers::open(&client, target, 120, &[]));
    let newcomers = [NAT, DSR].map(|target| Newcomers::start(&client, target, Duration::from_millis(10)));

    // A server more, by SIGHUP.
    let conf = both_modes(3, "members: [pc1, pc2, pc3], scheduler: round-robin");
    stage.configure(&conf);
    stage.hang_up();
    stage.wait("pc3 is scheduled", |s| s.revision() == 2 && s.all_scheduled());
    for target in [NAT, DSR] {
        assert!(stage.ask(target, 30).of("pc3") > 0, "{target}");
    }

    // Another scheduler, other weights, by POST.
    let conf = both_modes(3, "members: [pc1, {server: pc2, weight: 5}, pc3], scheduler: least-connections");
    stage.configure(&conf);
    let reply = stage.api().reload();
    assert_eq!((reply.status, &reply.json()["changed"]), (200, &Value::Bool(true)), "{reply:?}");
    let conf = both_modes(3, "members: [pc1, pc2, pc3], scheduler: maglev");
    stage.configure(&conf);
    assert_eq!(stage.api().reload().status, 200);

    // A server less: it keeps what it has and gets nothing new from the moment of the answer.
    let conf = both_modes(3, "members: [pc2, pc3], scheduler: round-robin");
    stage.configure(&conf);
    assert_eq!(stage.api().reload().status, 200);
    for target in [NAT, DSR] {
        let tally = stage.ask(target, 40);
        assert_eq!((tally.of("pc1"), tally.failed_count()), (0, 0), "{tally:?}");
    }
    assert!(talkers.iter().all(|t| t.on("pc1") >= 55), "pc1 had its share");
    talkers.iter().for_each(Talkers::all_talk);
    let kept = stage.api().live("v/echo", "pc1", false);
    assert_eq!(kept, talkers[0].on("pc1") as u64, "the connections of a server that was removed are told");

    // A virtual address more, and less.
    let more = conf.clone().virtual_server("v", &["192.0.2.25", "192.0.2.80"]);
    stage.configure(&more);
    assert_eq!(stage.api().reload().status, 200);
    assert_eq!(stage.ask("192.0.2.80:7", 20).served_count(), 20);
    stage.configure(&conf);
    assert_eq!(stage.api().reload().status, 200);
    let mut gone = lbd::lab::customer::Visit::new(lbd::lab::servers::Kind::Echo, "192.0.2.80:7".parse().unwrap());
    gone.timeout = Duration::from_millis(500);
    assert_eq!(stage.visit(gone).served_count(), 0, "an address that was removed");

    for newcomers in newcomers {
        let served = newcomers.end_all_served();
        assert!(served.values().sum::<usize>() > 60, "{served:?}");
    }
    assert!(names(&stage).contains("v/echo/4/pc1"), "the number of a server that still has connections is in use");
    for talkers in talkers {
        talkers.end();
    }
    assert_eq!(stage.syns_repeated(), 0, "no packet was lost");
    until("the numbers of the server that left are free again", || !names(&stage).contains("/pc1"));
    assert!(stage.stop_balancer().success());
}

#[test]
fn a_server_that_moves_to_another_address_keeps_its_connections_at_the_old_one() {
    let conf = both_modes(2, "members: [pc1, pc2], scheduler: round-robin");
    let stage = Stage::new(2, &conf);
    let talkers = [NAT, DSR].map(|target| Talkers::open(stage.client(), target, 20, &[]));
    stage.site.ip("pc1", "addr add 10.1.0.111/24 dev eth0\n").unwrap();
    let mut moved = conf.clone();
    moved.servers.insert("pc1".into(), "address: 10.1.0.111".into());
    stage.configure(&moved);
    assert_eq!(stage.api().reload().status, 200);
    stage.wait("pc1 is in service at its new address", State::all_scheduled);
    assert_eq!(stage.state().member("v/echo", "pc1")["address"], "10.1.0.111");
    for (talkers, target) in talkers.iter().zip([NAT, DSR]) {
        talkers.all_talk();
        talkers.none_is_lost();
        assert_eq!(stage.ask(target, 20).of("pc1"), 10);
    }
    assert_eq!(stage.api().live("v/echo", "pc1", false), 10);
    // And back again, while the first are still there.
    stage.configure(&conf);
    assert_eq!(stage.api().reload().status, 200);
    stage.wait("pc1 is in service at its old address", State::all_scheduled);
    for (talkers, target) in talkers.into_iter().zip([NAT, DSR]) {
        assert_eq!(stage.ask(target, 20).of("pc1"), 10);
        talkers.end();
    }
}

#[test]
fn a_server_that_is_removed_and_put_back_has_its_connections_all_the_time() {
    let both = both_modes(2, "members: [pc1, pc2], scheduler: round-robin");
    let mut one = both_modes(2, "members: [pc2], scheduler: round-robin");
    one.servers.remove("pc1");
    let stage = Stage::new(2, &both);
    let talkers = [NAT, DSR].map(|target| Talkers::open(stage.client(), target, 20, &[]));
    for conf in [&one, &both, &one, &both] {
        stage.configure(conf);
        assert_eq!(stage.api().reload().status, 200);
        stage.wait("the change is in force", State::all_scheduled);
        talkers.iter().for_each(Talkers::all_talk);
    }
    for (service, target) in [("v/echo", NAT), ("w/echo", DSR)] {
        assert_eq!(stage.state().active(service, "pc1"), 10);
        assert_eq!(stage.ask(target, 20).of("pc1"), 10);
    }
    for talkers in talkers {
        talkers.end();
    }
}

/// A state without what time and traffic change by themselves.
fn lasting(state: &Value) -> Value {
    const PASSING: [&str; 23] = [
        "uptime_seconds",
        "last_reload_at",
        "last_reload_ok",
        "since_seconds",
        "last_age_seconds",
        "last_duration_seconds",
        "last",
        "next_seconds",
        "success_ratio",
        "latency",
        "failures_by_kind",
        "successes",
        "failures",
        "packets",
        "traffic",
        "sweep",
        "lost_after_redirect",
        "counted_seconds_ago",
        "received",
        "sent",
        "probes",
        "daemon",
        "clock",
    ];
    match state {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !PASSING.contains(&key.as_str()));
            Value::Object(kept.map(|(key, value)| (key.clone(), lasting(value))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(lasting).collect()),
        other => other.clone(),
    }
}

#[test]
fn a_refused_file_changes_nothing_and_is_told_with_line_and_column() {
    let conf = echo(2, "nat");
    let good = conf.text();
    let stage = Stage::new(2, &conf);
    let talkers = Talkers::open(stage.client(), NAT, 20, &[]);
    let before = lasting(&stage.state().0);
    let dangling = conf.clone().pool("echo", "members: [pc1, pc3], scheduler: round-robin");
    let cases = [
        ("a tab", good.replace("  bridge: br0", "\tbridge: br0")),
        ("an unknown key", good.replace("scheduler:", "schedular:")),
        ("a scheduler that is none", good.replace("round-robin", "round-robbin")),
        ("a server that is none", dangling.text()),
        ("a weight out of range", conf.clone().server(2, "weight: 1001").text()),
        ("a port bound twice", conf.clone().service("v", "again", "port: 7, pool: echo, mode: nat").text()),
        ("an address twice", conf.clone().virtual_server("w", &["192.0.2.25"]).text()),
        ("a key twice", good.replace("hostname: lb1", "hostname: lb1\nhostname: lb2")),
        ("half a file", good[..good.len() / 2].to_owned()),
        ("not loopback", conf.clone().head("http: {listen: \"0.0.0.0:8080\"}").text()),
    ];
    for (what, text) in &cases {
        assert_ne!(*text, good, "{what}");
        stage.configure_text(text);
        let reply = stage.api().reload();
        assert_eq!((reply.status, reply.kind.as_str()), (422, "application/problem+json"), "{what}: {reply:?}");
        let problem = reply.json();
        let diagnostic = &problem["diagnostics"][0];
        let (line, column) = (diagnostic["line"].as_u64().unwrap(), diagnostic["column"].as_u64().unwrap());
        let place = format!("lb1.yaml:{line}:{column}");
        assert!(line > 0 && column > 0 && problem["detail"].as_str().unwrap().contains(&place), "{what}: {problem:#}");

        let told = stage.log().matches(&place).count();
        stage.hang_up();
        until("the refusal is in the log", || stage.log().matches(&place).count() > told);
        assert_eq!(lasting(&stage.state().0), before, "{what}");
        assert_eq!(stage.state().0["config"]["last_reload_ok"], false, "{what}");
    }
    std::fs::remove_file(stage.config_file()).unwrap();
    let reply = stage.api().reload();
    assert_eq!(reply.status, 422, "{reply:?}");
    assert!(reply.json()["detail"].as_str().unwrap().contains("lb1.yaml"), "{reply:?}");
    assert_eq!(lasting(&stage.state().0), before);

    stage.configure(&conf);
    let reply = stage.api().reload().json();
    assert_eq!((&reply["changed"], &reply["revision"]), (&Value::Bool(false), &Value::from(1)), "{reply}");
    assert_eq!(stage.state().0["config"]["last_reload_ok"], true);

    // What can only be changed by a restart is taken, and told until it is in force or taken back.
    stage.configure(&conf.clone().head("limits: {connections: 2048}"));
    let reply = stage.api().reload().json();
    assert!(reply["notes"][0].as_str().unwrap().contains("restart lbd"), "{reply}");
    assert!(stage.state().warnings().contains("restart lbd"));
    stage.configure(&conf);
    assert_eq!(stage.api().reload().json()["changed"], true);
    assert!(!stage.state().warnings().contains("restart lbd"));
    talkers.end();
}
