//! Ports that belong to no bridge: each answers with its own MAC, and nothing is switched between them.

use lbd::lab::Plan;
use lbd::lab::customer::Visit;
use lbd::lab::mail::{self, BALANCER, CLIENT};
use lbd::lab::servers::{Kind, http};

use super::stage::{MEMBERSHIPS, Mode, Stage, TRANSLATED, services};
use super::transfers::transfer;

/// A cable to the customer and one to each server, with the balancer as the router between them.
fn plan() -> Plan {
    let mut plan = Plan::new();
    plan.router(BALANCER);
    plan.cable("client:eth0", "lb1:up0").cable("lb1:p1", "pc1:eth0").cable("lb1:p2", "pc2:eth0");
    plan.address("client:eth0", "192.0.2.10/24").address("client:eth0", "2001:db8::10/64");
    plan.address("lb1:up0", "192.0.2.2/24").address("lb1:up0", "2001:db8::2/64");
    for pc in ["pc1", "pc2"] {
        // Behind one switch a server that speaks for the virtual address would take customers past the balancer.
        plan.sysctl(pc, "net.ipv4.conf.all.arp_ignore", "1").sysctl(pc, "net.ipv4.conf.all.arp_announce", "2");
    }
    // One network on two cables: 10.1.0.11 and 10.1.0.12 cannot reach each other.
    for n in [1_u8, 2] {
        let (pc, port) = (format!("pc{n}"), format!("p{n}"));
        let (four, six) = (mail::pc_address(n), mail::pc_address6(n));
        plan.address(&format!("{pc}:eth0"), &format!("{four}/24")).address(&format!("{pc}:eth0"), &format!("{six}/64"));
        plan.ip(&pc, &format!("addr add {}/32 dev lo", Mode::Dsr.vip(false)));
        plan.ip(&pc, &format!("addr add {}/128 dev lo nodad", Mode::Dsr.vip(true)));
        plan.ip(&pc, "route add default via 10.1.0.1").ip(&pc, "-6 route add default via fd00:1::1");
        plan.address(&format!("lb1:{port}"), "10.1.0.2/32").address(&format!("lb1:{port}"), "fd00:1::2/128");
        plan.ip(BALANCER, &format!("route add {four}/32 dev {port} src 10.1.0.2"));
        plan.ip(BALANCER, &format!("-6 route add {six}/128 dev {port} src fd00:1::2"));
    }
    plan
}

#[test]
fn single_ports_balance_and_each_answers_with_its_own_mac() {
    const SIZE: u64 = 5_000_000;
    let stage = Stage::bare(&plan(), &[1, 2]);
    let interfaces = "interfaces: {ports: [up0, p1, p2], inside: [10.1.0.1/24, \"fd00:1::1/64\"]}
source-nat: [{address: 10.1.0.9}, {address: \"fd00:1::9\"}]
";
    let stage = stage.balance(&(interfaces.to_owned() + &services(&[1, 2], "round-robin")), 2 * MEMBERSHIPS);
    let expected = http::bytes_digest(SIZE);
    for (mode, v6) in [(Mode::Nat, false), (Mode::Nat, true), (Mode::FullNat, false), (Mode::FullNat, true)] {
        let visit = Visit::new(Kind::Echo, mode.at(v6, 7)).times(200);
        let tally = stage.visit(visit.clone());
        assert_eq!((tally.of("pc1"), tally.of("pc2")), (100, 100), "{mode:?} {v6}: {tally:?}");
        stage.visit(visit.by_udp());
        let target = mode.at(v6, TRANSLATED);
        let (_, down, up) = stage.host(CLIENT).enter(move || transfer(None, target, SIZE)).unwrap().unwrap();
        assert_eq!((&down, &up), (&expected, &expected), "{target}, {mode:?}");
    }
    for (host, device, port, address) in [
        (CLIENT, "eth0", "up0", Mode::Nat.vip(false).to_string()),
        (CLIENT, "eth0", "up0", Mode::FullNat.vip(true).to_string()),
        ("pc1", "eth0", "p1", "10.1.0.1".to_owned()),
        ("pc2", "eth0", "p2", "fd00:1::1".to_owned()),
    ] {
        let [a, b, c, d, e, f] = stage.mac(BALANCER, port);
        let own = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        let entry = stage.said(host, &["ip", "neigh", "show", &address, "dev", device]);
        assert!(entry.contains(&own), "{address} as {host} has it: {entry}, not {own}");
    }
    stage.end(&[]);
}
