//! What YAML cannot bring, but another notation or a bug could. What it can
//! bring is in the golden files of `yaml`.

use std::time::Duration;

use super::*;
use crate::config::diagnostic::Severity;
use crate::config::model::*;
use crate::config::testing;

fn errors(config: &Config) -> Vec<(String, String)> {
    let errors = validate(config).into_iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| (finding.at.to_string(), finding.complaint.message)).collect()
}

/// One server, pool, virtual server and service, with names `a`, `p`, `v`, `s`.
fn config() -> Config {
    let text = "interfaces: {ports: [eth1]}\nservers: {a: {address: 10.0.0.1}}\npools: {p: {members: [a]}}\n\
                virtual-servers: {v: {addresses: [192.0.2.1], services: {s: {port: 25, pool: p, mode: dsr}}}}\n";
    crate::config::parse("lb.yaml", text).unwrap_or_else(|refused| panic!("{refused}")).config
}

fn only<T>(map: &mut std::collections::BTreeMap<Name, T>) -> &mut T {
    map.values_mut().next().unwrap()
}

#[test]
fn any_configuration_of_the_generator_is_valid() {
    for seed in 0..300 {
        assert_eq!(errors(&testing::config(seed, 6)), [], "seed {seed}");
    }
}

#[test]
fn a_time_that_no_notation_can_write_is_refused() {
    let mut config = config();
    only(&mut config.pools).slow_start = Duration::from_micros(1_500);
    assert_eq!(errors(&config), [("pools/p/slow-start".into(), "times are whole milliseconds".into())]);
}

#[test]
fn numbers_out_of_range_are_refused_wherever_they_come_from() {
    let mut config = config();
    config.limits.fragments = 255;
    only(&mut config.servers).weight = 0;
    let pool = only(&mut config.pools);
    pool.members[0].weight = Some(1_001);
    pool.check.rise = 0;
    pool.check.port = Some(0);
    let service = only(&mut only(&mut config.virtual_servers).services);
    service.timeouts.established = Duration::from_secs(86_401);
    service.persistence = Some(Persistence { prefix4: 33, prefix6: 0, ..Persistence::default() });
    let mut places: Vec<String> = errors(&config).into_iter().map(|(at, _)| at).collect();
    places.sort();
    let service = "virtual-servers/v/services/s";
    let expected = [
        "limits/fragments".to_owned(),
        "pools/p/check/port".to_owned(),
        "pools/p/check/rise".to_owned(),
        "pools/p/members/0/weight".to_owned(),
        "servers/a/weight".to_owned(),
        format!("{service}/persistence/prefix4"),
        format!("{service}/persistence/prefix6"),
        format!("{service}/timeouts/established"),
    ];
    assert_eq!(places, expected);
}

#[test]
fn ports_that_are_no_ports_are_refused() {
    let mut config = config();
    let service = only(&mut only(&mut config.virtual_servers).services);
    service.ports = Ports { first: 0, last: 0 };
    assert_eq!(errors(&config).len(), 1);
    let service = only(&mut only(&mut config.virtual_servers).services);
    service.ports = Ports { first: 10, last: 9 };
    assert_eq!(
        errors(&config),
        [("virtual-servers/v/services/s/port".into(), "the range ends before it begins".into())]
    );
}

#[test]
fn each_size_of_the_data_plane_is_held() {
    let text = |n: usize, line: &dyn Fn(usize) -> String| (0..n).map(line).collect::<String>();
    let ports = "interfaces: {ports: [eth1]}\n";
    let services = |n| text(n, &|i| format!("      s{i}: {{port: {}, pool: p, mode: dsr}}\n", i + 1));
    let servers = |n| text(n, &|i| format!("  s{i}: {{address: 10.0.{}.{}}}\n", i / 250, i % 250 + 1));
    let members = |n| text(n, &|i| format!("s{i}, "));
    // Each builder makes a file with this many of a thing: the maximum is accepted, one more is refused.
    type File<'a> = &'a dyn Fn(usize) -> String;
    let cases: [(&str, usize, File); 8] = [
        ("ports", 256, &|n| format!("interfaces: {{ports: [{}]}}\n", text(n, &|i| format!("e{i}, ")))),
        ("inside addresses", 256, &|n| {
            let list = text(n, &|i| format!("10.1.{}.{}/16, ", i / 250, i % 250 + 1));
            format!("interfaces: {{ports: [eth1], inside: [{list}]}}\n")
        }),
        ("entries of `source-nat`", 256, &|n| {
            format!("{ports}source-nat:\n{}", text(n, &|i| format!("  - {{address: 10.0.0.9, ports: {}}}\n", i + 1)))
        }),
        ("servers", 4_096, &|n| format!("{ports}servers:\n{}", servers(n))),
        ("virtual addresses", 1_024, &|n| {
            let list = text(n, &|i| format!("10.2.{}.{}, ", i / 250, i % 250 + 1));
            format!("{ports}virtual-servers: {{v: {{addresses: [{list}]}}}}\n")
        }),
        ("services with an IPv4 address", 4_096, &|n| {
            format!(
                "{ports}pools: {{p: {{}}}}\nvirtual-servers:\n  v:\n    addresses: [192.0.2.1]\n    services:\n{}",
                services(n)
            )
        }),
        ("members of a pool with `least-connections`", 256, &|n| {
            let pool = format!("pools: {{p: {{scheduler: least-connections, members: [{}]}}}}\n", members(n));
            format!("{ports}servers:\n{}{pool}", servers(n))
        }),
        ("bound ports, counted at each address,", 65_536, &|n| {
            // 65,535 ports at one address, and the rest at another.
            let service = |name: &str, address: &str, last: usize| {
                let service = format!("s: {{port: 1-{last}, pool: p, mode: dsr}}");
                format!("  {name}: {{addresses: [{address}], services: {{{service}}}}}\n")
            };
            let (all, rest) = (service("v", "192.0.2.1", 65_535), service("w", "192.0.2.2", n - 65_535));
            format!("{ports}pools: {{p: {{}}}}\nvirtual-servers:\n{all}{rest}")
        }),
    ];
    for (what, max, file) in cases {
        let full = crate::config::parse("lb.yaml", &file(max));
        assert!(full.is_ok(), "{what}: {}", full.unwrap_err());
        let over = crate::config::parse("lb.yaml", &file(max + 1)).expect_err(what);
        let expected = format!("{} {what} are too many", max + 1);
        assert!(over.diagnostics.iter().any(|d| d.message == expected), "{what}: {over}");
    }
    // 16,384 members: 64 services of a pool of 256, and one of a single member.
    let entries = |extra: &str| {
        let pools = format!("pools:\n  p: {{members: [{}]}}\n  q: {{members: [s0]}}\n", members(256));
        let services = services(64);
        let head = format!("{ports}servers:\n{}{pools}", servers(256));
        format!("{head}virtual-servers:\n  v:\n    addresses: [192.0.2.1]\n    services:\n{services}{extra}")
    };
    assert!(crate::config::parse("lb.yaml", &entries("")).is_ok());
    let over = crate::config::parse("lb.yaml", &entries("      t: {port: 999, pool: q, mode: dsr}\n")).unwrap_err();
    assert!(over.to_string().contains("16385 members"), "{over}");
}
