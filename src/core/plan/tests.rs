use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::fixture::{BRIDGE, PORTS, Site, at, dest, key, mac, member, pool, server, v4, v6, virtual_server};
use super::*;
use crate::config::Scheduler;
use crate::config::{Link, Mac, Prefix, SourceNat};
use crate::core::admin::Subject;
use crate::core::check::{FailureKind, Verdict};
use crate::core::network::LinkKind;

const V4: Family = Family::V4;
const V6: Family = Family::V6;

/// Who is scheduled in service 0, with their weights.
fn scheduled(plan: &Plan, family: Family) -> Vec<(String, u32)> {
    let service = &plan.state.services[&key(0, family)];
    service.schedule.iter().map(|(name, weight)| (name.to_string(), weight.0)).collect()
}

fn names(plan: &Plan) -> Vec<String> {
    scheduled(plan, V4).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_healthy_site_schedules_every_member_at_full_weight_in_both_families() {
    let mut site = Site::new(3, 1);
    site.config.interfaces.inside = vec![Prefix { address: "10.1.0.254".parse().unwrap(), length: 24 }];
    let plan = site.plan();
    for family in [V4, V6] {
        let all = [("pc0".to_owned(), 1000), ("pc1".to_owned(), 1000), ("pc2".to_owned(), 1000)];
        assert_eq!(scheduled(&plan, family), all);
        let service = &plan.state.services[&key(0, family)];
        assert_eq!(service.members, service.schedule);
    }
    let two = &plan.state.dests[&dest(0, V6, 2)];
    let place = Place { mac: mac(2), port: PORTS[0], vlan: 0 };
    assert_eq!(two, &Dest { address: v6(2), port: None, mode: Mode::Dsr, place: Ok(place), down: false });
    assert_eq!(plan.state.vips.len(), 2);
    assert_eq!(plan.state.inside.len(), 1);
    assert_eq!(plan.state.servers[&server(1)].addresses, BTreeSet::from([v4(1), v6(1)]));
    assert_eq!(plan.members.len(), 6);
    assert!(plan.members.values().all(|s| *s == Standing::Scheduled { percent: 100, backup: false }));
    assert_eq!((plan.problems, plan.next), (vec![], None));
}

#[test]
fn a_draining_server_gets_nothing_new_and_keeps_its_destination() {
    let mut site = Site::new(3, 1);
    site.admin.set(&server(1), AdminState::Draining, site.now);
    let plan = site.plan();
    assert_eq!(names(&plan), ["pc0", "pc2"]);
    assert!(!plan.state.dests[&dest(0, V4, 1)].down);
    assert_eq!(plan.members[&dest(0, V4, 1)], Standing::Draining);
    assert_eq!(plan.state.services[&key(0, V4)].members.len(), 3);
}

#[test]
fn a_disabled_server_is_handled_as_a_failed_one() {
    let mut site = Site::new(3, 1);
    site.admin.set(&server(1), AdminState::Disabled, site.now);
    let plan = site.plan();
    assert_eq!(names(&plan), ["pc0", "pc2"]);
    assert!(plan.state.dests[&dest(0, V4, 1)].down);
    assert_eq!(plan.members[&dest(0, V4, 1)], Standing::Disabled);
}

#[test]
fn a_server_that_fails_in_one_family_is_down_in_that_one_and_says_why() {
    let mut site = Site::new(3, 1);
    site.probe(1, V6, &Verdict::failure(FailureKind::Refused, "connection refused"), 3);
    let plan = site.plan();
    assert_eq!(names(&plan), ["pc0", "pc1", "pc2"]);
    assert_eq!(scheduled(&plan, V6).len(), 2);
    assert!(plan.state.dests[&dest(0, V6, 1)].down);
    assert!(!plan.state.dests[&dest(0, V4, 1)].down);
    assert_eq!(plan.members[&dest(0, V6, 1)], Standing::Down(Some("connection refused".into())));
    site.probe(1, V6, &Verdict::Success(String::new()), 1);
    assert_eq!(site.plan().members[&dest(0, V6, 1)], Standing::Down(None));
}

#[test]
fn a_draining_server_that_fails_is_down() {
    let mut site = Site::new(3, 1);
    site.admin.set(&server(1), AdminState::Draining, site.now);
    site.fail(1);
    let plan = site.plan();
    assert!(plan.state.dests[&dest(0, V4, 1)].down);
    assert_eq!(plan.members[&dest(0, V4, 1)].word(), "down");
}

#[test]
fn a_server_whose_first_probe_is_out_is_neither_scheduled_nor_down() {
    let mut site = Site::new(3, 1);
    site.health = Health::new(&crate::core::target::targets(&site.config), at(0));
    let plan = site.plan();
    assert!(names(&plan).is_empty());
    assert!(plan.members.values().all(|standing| *standing == Standing::Unprobed));
    assert!(plan.state.dests.values().all(|dest| !dest.down));
}

#[test]
fn a_server_without_a_place_is_not_scheduled_and_says_what_is_missing() {
    let mut site = Site::new(4, 1);
    site.network.neighbours.remove(&v4(0));
    site.network.fdb.remove(&(mac(1), 0));
    site.network.links.get_mut(&PORTS[1]).unwrap().kind = LinkKind::BridgePort { bridge: BRIDGE, forwarding: false };
    let plan = site.plan();
    assert_eq!(names(&plan), ["pc2"]);
    for (index, nowhere) in [(0, Nowhere::NoNeighbour), (1, Nowhere::NoPort), (3, Nowhere::PortBlocked)] {
        assert_eq!(plan.members[&dest(0, V4, index)], Standing::NoPlace(nowhere));
        let dest = &plan.state.dests[&dest(0, V4, index)];
        assert_eq!((dest.place, dest.down), (Err(nowhere), false));
    }
    assert!(!plan.state.ports[&PORTS[1]].forwarding);
}

#[test]
fn a_server_behind_an_interface_that_is_not_a_port_is_not_scheduled() {
    let mut site = Site::new(2, 1);
    site.config.interfaces.ports = vec!["p0".into()];
    let plan = site.plan();
    assert_eq!(names(&plan), ["pc0"]);
    assert_eq!(plan.members[&dest(0, V4, 1)], Standing::NoPlace(Nowhere::ForeignPort));
}

#[test]
fn a_configured_link_is_believed_before_the_kernel_and_needs_a_working_port() {
    let mut site = Site::new(2, 1);
    let link = Link { mac: Mac([2, 9, 9, 9, 9, 9]), port: "p1".into(), vlan: Some(7) };
    site.server_mut(0).link = Some(link.clone());
    let place = Place { mac: link.mac, port: PORTS[1], vlan: 7 };
    assert_eq!(site.plan().state.dests[&dest(0, V4, 0)].place, Ok(place));
    site.network.links.get_mut(&PORTS[1]).unwrap().running = false;
    assert_eq!(site.plan().members[&dest(0, V4, 0)], Standing::NoPlace(Nowhere::PortDown));
    site.server_mut(0).link = Some(Link { port: "p9".into(), ..link });
    assert_eq!(site.plan().members[&dest(0, V4, 0)], Standing::NoPlace(Nowhere::PortDown));
}

#[test]
fn a_server_without_an_address_of_the_family_has_no_destination_in_it() {
    let mut site = Site::new(2, 1);
    site.server_mut(1).address6 = None;
    let plan = site.plan();
    assert_eq!(names(&plan), ["pc0", "pc1"]);
    assert_eq!(plan.members[&dest(0, V6, 1)], Standing::NoAddress(V6));
    assert!(!plan.state.dests.contains_key(&dest(0, V6, 1)));
    assert_eq!(plan.state.services[&key(0, V6)].members.len(), 1);
}

#[test]
fn a_virtual_server_with_addresses_of_one_family_has_its_services_in_that_one() {
    let mut site = Site::new(2, 1);
    site.config.virtual_servers.get_mut(&virtual_server(0)).unwrap().addresses.retain(IpAddr::is_ipv6);
    let plan = site.plan();
    assert_eq!(plan.state.services.keys().collect::<Vec<_>>(), [&key(0, V6)]);
    assert!(plan.state.vips.iter().all(IpAddr::is_ipv6));
}

#[test]
fn backups_are_idle_until_no_other_member_can_be_scheduled() {
    let mut site = Site::new(3, 1);
    site.pool_mut(0).members[2].backup = true;
    assert_eq!(names(&site.plan()), ["pc0", "pc1"]);
    assert_eq!(site.plan().members[&dest(0, V4, 2)], Standing::BackupIdle);
    site.fail(0);
    assert_eq!(names(&site.plan()), ["pc1"]);
    site.admin.set(&server(1), AdminState::Draining, site.now);
    assert_eq!(names(&site.plan()), ["pc2"]);
    assert_eq!(site.plan().members[&dest(0, V4, 2)], Standing::Scheduled { percent: 100, backup: true });
    site.recover(0);
    assert_eq!(names(&site.plan()), ["pc0"]);
}

#[test]
fn a_server_that_comes_back_starts_slowly_and_the_plan_says_when_it_changes_by_itself() {
    let mut site = Site::new(2, 1);
    site.fail(1);
    site.recover(1);
    let mut before = 0;
    let mut steps = 0;
    loop {
        let plan = site.plan();
        let (_, weight) = scheduled(&plan, V4)[1];
        assert!(weight > before, "{weight} after {before}");
        before = weight;
        let Some(next) = plan.next else { break };
        assert_eq!(plan.members[&dest(0, V4, 1)].word(), "slow-start");
        site.now = next;
        steps += 1;
    }
    assert_eq!((before, steps, site.now), (1000, u32::from(SLOW_START_STEPS), at(1090)));
}

#[test]
fn a_server_that_is_enabled_again_starts_slowly_too() {
    let mut site = Site::new(2, 1);
    site.admin.set(&server(1), AdminState::Draining, site.now);
    site.admin.set(&server(1), AdminState::Enabled, site.now);
    assert_eq!(scheduled(&site.plan(), V4)[1].1, 100);
    site.now = at(1090);
    assert_eq!(scheduled(&site.plan(), V4)[1].1, 1000);
}

#[test]
fn a_members_weight_comes_before_its_servers() {
    let mut site = Site::new(2, 1);
    site.server_mut(0).weight = 7;
    site.server_mut(1).weight = 7;
    site.pool_mut(0).members[1].weight = Some(1000);
    let weights: Vec<u32> = scheduled(&site.plan(), V4).into_iter().map(|(_, weight)| weight).collect();
    assert_eq!(weights, [7000, 1_000_000]);
}

#[test]
fn ports_are_rewritten_in_nat_and_kept_in_direct_server_return() {
    let mut site = Site::new(2, 1);
    site.pool_mut(0).port = Some(2525);
    site.pool_mut(0).members[1].port = Some(2526);
    site.probe_all();
    assert!(site.plan().state.dests.values().all(|dest| dest.port.is_none()));
    site.service_mut(0).mode = Mode::Nat;
    let plan = site.plan();
    assert_eq!(plan.state.dests[&dest(0, V4, 0)].port, Some(2525));
    assert_eq!(plan.state.dests[&dest(0, V4, 1)].port, Some(2526));
}

#[test]
fn a_member_that_is_not_probed_is_scheduled_as_long_as_its_place_is_known() {
    let mut site = Site::new(2, 1);
    site.pool_mut(0).check.kind = config::CheckKind::None;
    site.health = Health::default();
    assert_eq!(names(&site.plan()), ["pc0", "pc1"]);
    site.network.neighbours.remove(&v4(0));
    assert_eq!(names(&site.plan()), ["pc1"]);
}

#[test]
fn least_connections_takes_the_first_256_by_name_and_says_so_to_the_others() {
    let mut site = Site::new(260, 1);
    let pool = site.pool_mut(0);
    pool.scheduler = Scheduler::LeastConnections;
    pool.members = (0..260).map(member).collect();
    site.probe_all();
    let plan = site.plan();
    assert_eq!(names(&plan).len(), 256);
    let left: Vec<_> = plan.members.iter().filter(|(_, s)| **s == Standing::TooMany).map(|(k, _)| k).collect();
    assert_eq!(left.len(), 8);
    assert!(left.iter().all(|key| key.server >= server(96)));
}

#[test]
fn a_port_that_does_not_exist_is_reported_and_the_others_work() {
    let mut site = Site::new(2, 1);
    site.config.interfaces.ports.push("p9".into());
    site.config.interfaces.ports.push("br0".into());
    let plan = site.plan();
    assert_eq!(plan.state.ports.keys().copied().collect::<Vec<_>>(), PORTS);
    assert_eq!(plan.problems, [Problem::NoSuchPort { port: "p9".into() }, Problem::NotAPort { port: "br0".into() }]);
    assert_eq!(plan.problems[0].to_string(), "there is no interface \"p9\"; it is used when it appears");
    assert_eq!(names(&plan).len(), 2);
}

#[test]
fn the_box_answers_with_the_configured_mac_else_the_bridges_else_the_ports_own() {
    let mut site = Site::new(2, 1);
    let macs = |site: &Site| site.plan().state.ports.values().map(|port| port.mac.0[5]).collect::<Vec<_>>();
    assert_eq!(macs(&site), [0xb0, 0xb0]);
    site.config.interfaces.mac = Some(Mac([2, 0, 0, 0, 0, 0xcc]));
    assert_eq!(macs(&site), [0xcc, 0xcc]);
    site.config.interfaces.mac = None;
    site.config.interfaces.bridge = None;
    // Ports of a bridge all the same: frames for this host come to the bridge's MAC.
    assert_eq!(macs(&site), [0xb0, 0xb0]);
    site.network.links.get_mut(&PORTS[1]).unwrap().kind = LinkKind::Single;
    assert_eq!(macs(&site), [0xb0, 2]);
    site.config.interfaces.bridge = Some("br0".into());
    assert_eq!(site.plan().problems, [Problem::NotInBridge { port: "p1".into(), bridge: "br0".into() }]);
    site.config.interfaces.bridge = Some("br9".into());
    assert_eq!(site.plan().problems, [Problem::NoSuchBridge { bridge: "br9".into() }]);
    site.config.interfaces.bridge = Some("p0".into());
    assert_eq!(site.plan().problems, [Problem::NotABridge { bridge: "p0".into() }]);
}

#[test]
fn one_server_is_drained_in_all_of_its_pools() {
    let mut site = Site::new(4, 3);
    site.admin.set(&server(2), AdminState::Draining, site.now);
    let plan = site.plan();
    assert_eq!(plan.state.services.len(), 6);
    assert!(plan.state.services.values().all(|service| !service.schedule.contains_key(&server(2))));
    assert_eq!(plan.members.values().filter(|standing| **standing == Standing::Draining).count(), 6);
}

#[test]
fn a_member_is_drained_in_its_own_pool_and_nowhere_else() {
    let mut site = Site::new(4, 3);
    let (pool, server) = (pool(1), server(2));
    let services: Vec<ServiceKey> = site.plan().state.services.into_keys().collect();
    let uses = |key: &ServiceKey| site.config.virtual_servers[&key.virtual_server].services[&key.service].pool == pool;
    let of_it: Vec<bool> = services.iter().map(uses).collect();
    let subject = Subject::Member { pool: pool.clone(), server: server.clone() };
    site.admin.set(subject.clone(), AdminState::Draining, site.now);
    let plan = site.plan();
    for (key, drained) in services.iter().zip(&of_it) {
        assert_eq!(plan.state.services[key].schedule.contains_key(&server), !drained, "{key:?}");
    }
    assert!(of_it.contains(&true) && of_it.contains(&false));
    // When its deadline is over it counts as failed, there alone.
    let down =
        |plan: &Plan| plan.state.dests.iter().filter(|(_, d)| d.down).map(|(k, _)| k.clone()).collect::<Vec<_>>();
    assert_eq!(down(&plan), []);
    site.admin.set_overdue(&subject);
    let down = down(&site.plan());
    assert_eq!(down.len(), of_it.iter().filter(|drained| **drained).count());
    assert!(down.iter().all(|dest| dest.server == server));
}

/// The Maglev table of service 0, by name.
fn hashed(plan: &Plan) -> Vec<String> {
    crate::core::scheduler::table(&plan.state.services[&key(0, V4)]).slots().map(ToString::to_string).collect()
}

#[test]
fn a_server_that_drains_fails_or_starts_slowly_leaves_the_others_in_their_slots() {
    // Three members want a larger table than two: the size must follow the pool, not who is up.
    for count in [3, 8] {
        let mut site = Site::new(count, 1);
        let before = hashed(&site.plan());
        let check = |site: &Site, what: &str| {
            let after = hashed(&site.plan());
            assert_eq!(after.len(), before.len(), "{what}");
            let moved = before.iter().zip(&after).filter(|(a, b)| a != b && *a != "pc1" && *b != "pc1").count();
            assert!(moved * 100 < before.len() * 3, "{what}: {moved} of {} slots", before.len());
        };
        site.admin.set(&server(1), AdminState::Draining, site.now);
        assert!(!hashed(&site.plan()).contains(&"pc1".to_owned()));
        check(&site, "draining");
        site.admin.set(&server(1), AdminState::Enabled, site.now);
        assert!(hashed(&site.plan()).contains(&"pc1".to_owned()));
        check(&site, "slow start");
        site.fail(1);
        check(&site, "failed");
    }
}

#[test]
fn a_reordered_configuration_gives_the_same_plan() {
    let mut site = Site::new(6, 2);
    let plan = site.plan();
    for index in 0..2 {
        site.pool_mut(index).members.reverse();
    }
    assert_eq!(site.plan(), plan);
}

#[test]
fn a_thousand_servers_in_a_thousand_services_are_planned() {
    let mut site = Site::new(1000, 1000);
    // 8 members per family: 16,000 destinations, half of what the data plane holds.
    site.network = super::fixture::network(1000);
    let begun = Instant::now();
    let plan = site.plan();
    println!("a plan of {} destinations took {:?}", plan.state.dests.len(), begun.elapsed());
    assert_eq!(plan.state.dests.len(), 16_000);
    assert!(plan.members.values().all(Standing::is_scheduled));
    let begun = Instant::now();
    let slots: usize = plan.state.services.values().map(|s| crate::core::scheduler::table(s).slots().count()).sum();
    println!("their {} tables of {slots} slots took {:?}", plan.state.services.len(), begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn equal_questions_share_one_probe_whatever_service_asks() {
    let mut site = Site::new(1, 3);
    super::fixture::set_mode(&mut site.config, Mode::Nat);
    site.probe_all();
    let asked: Vec<SocketAddr> = site.health.iter().map(|(target, _)| target.question.address).collect();
    let expected = [v4(0), v6(0)].map(|address| SocketAddr::new(address, 25));
    assert_eq!(asked, expected);
    assert_eq!(site.config.pools.len(), 3);
    assert!(site.config.pools.contains_key(&pool(2)));
}

#[test]
fn without_a_source_nat_address_hairpin_flows_leave_from_the_inside_address() {
    let mut site = Site::new(2, 1);
    let inside: Prefix = Prefix { address: "10.9.0.1".parse().unwrap(), length: 24 };
    site.config.interfaces.inside = vec![inside];
    site.config.source_nat.clear();
    let sources: Vec<_> = site.plan().state.source_nat.iter().map(|s| s.address).collect();
    assert_eq!(sources, [inside.address]);
    let own = SourceNat { address: "10.9.0.9".parse().unwrap(), ports: SourceNat::PORTS_DEFAULT };
    site.config.source_nat = vec![own.clone()];
    assert_eq!(site.plan().state.source_nat, [own], "the operator's choice stands alone");
}
