//! Clients that stay with their server.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use lbd::lab::customer::Visit;
use lbd::lab::servers::Kind;

use super::conf::Conf;
use super::stage::{Stage, address, customer_address};

/// Round robin would spread every single connection.
fn conf(persistence: &str) -> Conf {
    let service =
        |port: u16, mode: &str| format!("port: {port}, pool: echo, mode: {mode}, persistence: {{{persistence}}}");
    Conf::new(3)
        .pool("echo", "members: [pc1, pc2, pc3], scheduler: round-robin")
        .virtual_server("mailbox", &["192.0.2.110"])
        .service("mailbox", "pop3", &service(110, "nat"))
        .service("mailbox", "pop3s", &service(995, "nat"))
        .virtual_server("webmail", &["192.0.2.80"])
        .service("webmail", "http", &service(80, "dsr"))
        .service("webmail", "https", &service(443, "nat"))
}

/// Who answers one client.
fn servers(stage: &Stage, from: IpAddr, targets: &[&str], times: usize) -> BTreeSet<String> {
    let mut by = BTreeSet::new();
    for target in targets {
        let tally = stage.visit(Visit::new(Kind::Echo, address(target)).times(times).from(vec![from]));
        assert_eq!(tally.failed_count(), 0, "{target}: {tally:?}");
        by.extend(tally.served.into_keys());
    }
    by
}

#[test]
fn a_client_meets_the_same_server_in_all_services_of_a_group_and_only_there() {
    let mut conf = conf("group: everything");
    // By itself: no part of the group.
    conf = conf.service("webmail", "alone", "port: 7, pool: echo, mode: nat, persistence: {}");
    let mut stage = Stage::new(3, &conf);
    let group = ["192.0.2.110:110", "192.0.2.110:995", "192.0.2.80:80", "192.0.2.80:443"];
    // So that its turns are others than the group's.
    servers(&stage, customer_address(20), &["192.0.2.80:7"], 1);
    let mut homes = BTreeSet::new();
    let mut elsewhere = 0;
    for n in 0..12 {
        let own = servers(&stage, customer_address(n), &group, 4);
        assert_eq!(own.len(), 1, "client {n} is served by {own:?}");
        let alone = servers(&stage, customer_address(n), &["192.0.2.80:7"], 4);
        assert_eq!(alone.len(), 1, "client {n} is served by {alone:?} in the service by itself");
        elsewhere += usize::from(alone != own);
        homes.extend(own);
    }
    assert_eq!(homes.len(), 3, "the clients are spread");
    assert!(elsewhere > 0, "a service by itself follows no group");

    // A daemon that is new, and a server that drains: the first moves nobody, the second its own.
    let home: Vec<BTreeSet<String>> = (0..12).map(|n| servers(&stage, customer_address(n), &group, 1)).collect();
    stage.kill_balancer();
    stage.start();
    stage.wait("in service again", |s| s.all_scheduled());
    stage.api().set("pc1", "draining");
    for (n, home) in home.iter().enumerate() {
        let now = servers(&stage, customer_address(n), &group, 2);
        assert_eq!(now.len(), 1, "client {n} is served by {now:?}");
        assert!(if home.contains("pc1") { !now.contains("pc1") } else { now == *home }, "{n}: {home:?} -> {now:?}");
    }
}

#[test]
fn clients_of_one_prefix_are_one_until_the_time_is_over() {
    let stage = Stage::new(3, &conf("group: everything, prefix4: 28, timeout: 2s"));
    // 203.0.113.64 to .79, and .80 to .95.
    let of = |first: usize| (first..first + 16).map(|n| customer_address(n - 50)).collect::<Vec<_>>();
    let mut at = BTreeSet::new();
    for network in [of(64), of(80)] {
        let tally = stage.visit(Visit::new(Kind::Echo, address("192.0.2.110:110")).times(16).from(network));
        assert_eq!((tally.served.len(), tally.served_count()), (1, 16), "{tally:?}");
        at.extend(tally.served.into_keys());
    }
    assert_eq!(at.len(), 2, "two networks, two servers in turn");

    // Time runs from the latest new connection: a client that comes back in time stays for ever.
    let visit = || servers(&stage, customer_address(100), &["192.0.2.110:995"], 1);
    let home = visit();
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(visit(), home);
    }
    // One that stays away for longer is a new one, whose turn comes at another server.
    let mut homes = BTreeSet::new();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(2200));
        homes.extend(visit());
    }
    assert_eq!(homes.len(), 3, "in turn: {homes:?}");
}
