//! Counters of traffic never step back: not when the daemon dies, and not when another release takes over.

use std::collections::BTreeMap;

use super::conf::Conf;
use super::stage::{LBD, Stage};

const NAT: &str = "192.0.2.25:7";

/// What lives in the kernel, by series.
fn lasting(stage: &Stage) -> BTreeMap<String, f64> {
    const FAMILIES: [&str; 7] = [
        "lbd_service_connections_scheduled_total",
        "lbd_service_packets_total",
        "lbd_service_bytes_total",
        "lbd_packets_total",
        "lbd_events_total",
        "lbd_table_inserts_total",
        "lbd_table_removals_total",
    ];
    let reply = stage.api().request("GET", "/metrics", "").unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    let series = reply.body.lines().filter_map(|line| line.rsplit_once(' '));
    let lasting = series.filter(|(name, _)| FAMILIES.contains(&name.split('{').next().unwrap()));
    lasting.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// None is gone or less; how much the sum has grown.
fn grown(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> f64 {
    for (series, value) in before {
        let now = after.get(series).unwrap_or_else(|| panic!("{series} is gone"));
        assert!(now >= value, "{series} has stepped back from {value} to {now}");
    }
    after.values().sum::<f64>() - before.values().sum::<f64>()
}

#[test]
fn counters_of_traffic_do_not_step_back_when_the_daemon_dies_or_is_replaced() {
    let conf = Conf::new(2)
        .pool("echo", "members: [pc1, pc2], scheduler: round-robin")
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "echo", "port: 7, pool: echo, mode: nat");
    let mut stage = Stage::new(2, &conf);
    assert_eq!(stage.ask(NAT, 50).served_count(), 50);
    let mut before = lasting(&stage);
    let scheduled = before.iter().filter(|(series, _)| series.starts_with("lbd_service_connections_scheduled_total"));
    assert!(scheduled.map(|(_, value)| value).sum::<f64>() >= 50.0, "{before:?}");

    stage.kill_balancer();
    assert_eq!(stage.ask(NAT, 50).served_count(), 50, "nobody counts but the data plane");
    stage.start();
    let after = lasting(&stage);
    assert!(grown(&before, &after) >= 50.0 * 4.0, "what came meanwhile is counted");
    stage.wait("in service again", |s| s.0["adopted"] == true && s.all_scheduled());
    grown(&after, &lasting(&stage));

    // An upgrade: another file of the program, which loads its own data plane onto the maps.
    before = lasting(&stage);
    let other = stage.dir().join("lbd-next");
    std::fs::copy(LBD, &other).unwrap();
    stage.stop_balancer();
    assert_eq!(stage.ask(NAT, 20).served_count(), 20);
    stage.start_program(&other);
    let after = lasting(&stage);
    assert!(grown(&before, &after) >= 20.0 * 4.0);
    stage.wait("in service again", |s| s.0["adopted"] == true && s.all_scheduled());
    assert_eq!(stage.ask(NAT, 20).served_count(), 20);
    grown(&after, &lasting(&stage));
}
