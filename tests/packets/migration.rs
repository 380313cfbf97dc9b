//! Clients who move to another pool: a share of them, or those named; always the same ones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lbd::config::{Mode, Persistence, Prefix, Scheduler};
use lbd::core::forwarding::{Dest, Migration, ServerEntry, Weight};
use lbd::core::network::Place;

use super::frame::*;
use super::site::*;

/// The first server of the pool that is moved to.
const NEW: u8 = 11;

/// Two servers, and two others to which `share` of the clients move.
fn site(pool: Pool, share: u16, clients: &[&str]) -> Site {
    let mut site = Site::new([pool.clone().servers(1..=2)]);
    for family in BOTH {
        for n in [NEW, NEW + 1] {
            let entry: &mut ServerEntry = site.state.servers.entry(server_name(n)).or_default();
            entry.addresses.insert(server(family, n));
            let dest = Dest {
                address: server(family, n),
                port: pool.server_port,
                mode: pool.mode,
                place: Ok(Place { mac: lbd::config::Mac(server_mac(n)), port: LO, vlan: 0 }),
                down: false,
            };
            site.state.dests.insert(Site::key(pool.name, family, n), dest);
        }
    }
    migrate(&mut site, pool.name, share, clients);
    site
}

fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').unwrap();
    Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
}

fn migrate(site: &mut Site, service: &str, share: u16, clients: &[&str]) {
    for family in BOTH {
        let servers: BTreeMap<_, _> = [NEW, NEW + 1].map(|n| (server_name(n), Weight(1000))).into();
        let scheduler = site.service(service, family).scheduler;
        let clients: BTreeSet<Prefix> = clients.iter().map(|text| prefix(text)).collect();
        site.service(service, family).migration =
            Some(Migration { share, clients, scheduler, members: servers.clone(), schedule: servers });
    }
    site.apply();
}

fn smtp(scheduler: Scheduler) -> Pool {
    Pool::tcp("smtp", 25, Mode::Dsr).scheduler(scheduler)
}

/// Client `n` of many: spread over addresses, as customers are.
fn someone(family: Family, n: u32) -> IpAddr {
    match family {
        V4 => IpAddr::from((0x0b00_0000 + n * 7).to_be_bytes()),
        V6 => IpAddr::from((0x2001_0db8_0001_0000_u128 << 64 | u128::from(n) << 64 | 7).to_be_bytes()),
    }
}

fn syn(from: IpAddr, port: u16) -> Frame {
    Frame::tcp(at(from, port), at(vip(if from.is_ipv4() { V4 } else { V6 }, 1), 25), SYN)
}

/// Those of the first `count` clients that are sent to the new pool.
fn movers(site: &mut Site, family: Family, count: u32, port: u16) -> BTreeSet<u32> {
    (0..count).filter(|n| site.server_for(&syn(someone(family, *n), port)) >= NEW).collect()
}

#[test]
fn a_share_of_the_clients_moves_always_the_same_and_a_larger_share_only_adds() {
    const COUNT: u32 = 20_000;
    for family in BOTH {
        let mut site = site(smtp(Scheduler::SourceHash), 0, &[]);
        assert_eq!(movers(&mut site, family, 1000, 4000), BTreeSet::new(), "a share of nothing");
        let mut before = BTreeSet::new();
        for (round, share) in [500, 2500, 5000, 10_000].into_iter().enumerate() {
            migrate(&mut site, "smtp", share, &[]);
            let port = 4001 + u16::try_from(round).unwrap();
            let moved = movers(&mut site, family, COUNT, port);
            let percent = moved.len() as f64 * 100.0 / f64::from(COUNT);
            assert!((percent - f64::from(share) / 100.0).abs() <= 1.0, "{family:?}: {percent} % at {share}");
            assert!(moved.is_superset(&before), "{family:?}: nobody moves back");
            // From another port, the same.
            let again: BTreeSet<u32> = moved.iter().copied().filter(|n| *n < 500).collect();
            assert_eq!(movers(&mut site, family, 500, port + 100), again);
            before = moved;
        }
        assert_eq!(before.len(), COUNT as usize, "everybody");
        migrate(&mut site, "smtp", 2500, &[]);
        let fewer = movers(&mut site, family, 500, 5000);
        assert!(!fewer.is_empty() && fewer.len() < 250, "a smaller share takes some back: {}", fewer.len());
    }
}

/// Else half of the new pool's servers would get nobody.
#[test]
fn who_moves_says_nothing_about_the_server() {
    let mut site = site(smtp(Scheduler::SourceHash), 5000, &[]);
    let mut spread: BTreeMap<u8, u32> = BTreeMap::new();
    (0..8000).for_each(|n| *spread.entry(site.server_for(&syn(someone(V4, n), 4000))).or_default() += 1);
    assert_eq!(spread.keys().copied().collect::<Vec<_>>(), [1, 2, NEW, NEW + 1]);
    // 2,000 each, standard deviation 39.
    assert!(spread.values().all(|n| (1750..2250).contains(n)), "{spread:?}");
}

#[test]
fn named_prefixes_move_whole_and_nobody_else() {
    for scheduler in [Scheduler::Maglev, Scheduler::RoundRobin, Scheduler::LeastConnections] {
        let named = ["198.51.100.0/24", "198.51.101.7/32", "2001:db8:c:40::/58"];
        let mut site = site(smtp(scheduler), 0, &named);
        let is_new = |site: &mut Site, family, n| site.server_for(&syn(client(family, n), 4000)) >= NEW;
        for n in 0..=255 {
            assert!(is_new(&mut site, V4, n), "198.51.100.{n}");
        }
        for n in 256..300 {
            assert_eq!(is_new(&mut site, V4, n), n == 256 + 7, "198.51.101.{}", n - 256);
        }
        for n in 0..=255u16 {
            assert_eq!(is_new(&mut site, V6, n), (0x40..0x80).contains(&n), "2001:db8:c:{n:x}::7");
        }
        // What is no longer named stays.
        migrate(&mut site, "smtp", 0, &["198.51.101.7/32"]);
        let is_new = |site: &mut Site, family, n| site.server_for(&syn(client(family, n), 5000)) >= NEW;
        assert!(!is_new(&mut site, V4, 1) && is_new(&mut site, V4, 263) && !is_new(&mut site, V6, 0x41));
        // Nor does a migration leave anything behind.
        BOTH.into_iter().for_each(|family| site.service("smtp", family).migration = None);
        site.apply();
        let is_new = |site: &mut Site, n| site.server_for(&syn(client(V4, n), 6000)) >= NEW;
        assert!(!is_new(&mut site, 263));
    }
}

#[test]
fn everybody_of_either_family_can_be_named() {
    let mut site = site(smtp(Scheduler::Maglev), 0, &["0.0.0.0/0"]);
    assert!(site.server_for(&syn(client(V4, 1), 4000)) >= NEW);
    assert!(site.server_for(&syn(client(V6, 1), 4000)) < NEW);
    migrate(&mut site, "smtp", 0, &["::/0"]);
    assert!(site.server_for(&syn(client(V4, 1), 5000)) < NEW);
    assert!(site.server_for(&syn(client(V6, 1), 5000)) >= NEW);
}

#[test]
fn established_connections_stay_when_their_client_moves() {
    let mut site = site(smtp(Scheduler::RoundRobin), 0, &[]);
    let ack = |n| Frame::tcp(at(client(V4, n), 4000), at(vip(V4, 1), 25), ACK);
    let servers: Vec<u8> = (0..20).map(|n| site.server_for(&syn(client(V4, n), 4000))).collect();
    (0..20).for_each(|n| assert_eq!(site.server_for(&ack(n)), servers[usize::from(n)]));
    migrate(&mut site, "smtp", 10_000, &[]);
    (0..20).for_each(|n| assert_eq!(site.server_for(&ack(n)), servers[usize::from(n)]));
    (0..20).for_each(|n| assert!(site.server_for(&syn(client(V4, n), 5000)) >= NEW));
    site.assert_counts_are_true();
}

#[test]
fn a_later_packet_without_an_entry_goes_where_the_first_went() {
    let mut site = site(smtp(Scheduler::Maglev), 5000, &[]);
    let mut pools = BTreeSet::new();
    for n in 0..200 {
        let from = at(someone(V4, n), 4000);
        let first = site.server_for(&syn(from.ip(), from.port()));
        pools.insert(first >= NEW);
        // The same client's later packet, had its entry been lost: its SYN's embryo is ended by a RST.
        site.send(&Frame::tcp(from, at(vip(V4, 1), 25), RST).seq(SEQ + 1));
        let later = Frame::tcp(from, at(vip(V4, 1), 25), ACK);
        let outcome = site.send(&later);
        assert_eq!(outcome.counted, ["hashed"]);
        assert_eq!(outcome.frame[..6], server_mac(first), "client {n}");
    }
    assert_eq!(pools.len(), 2);
}

#[test]
fn a_migrated_client_is_not_guessed_at_by_the_old_pool() {
    let mut site = site(smtp(Scheduler::Maglev), 10_000, &[]);
    BOTH.into_iter()
        .for_each(|f| site.service("smtp", f).migration.as_mut().unwrap().scheduler = Scheduler::RoundRobin);
    site.apply();
    let later = Frame::tcp(at(client(V4, 1), 4000), at(vip(V4, 1), 25), ACK);
    assert_eq!(site.send(&later).counted, ["rst-no-flow"]);
}

#[test]
fn while_nobody_in_the_new_pool_can_take_a_client_the_old_one_serves() {
    for scheduler in [Scheduler::Maglev, Scheduler::RoundRobin, Scheduler::LeastConnections, Scheduler::SourceHash] {
        let mut site = site(smtp(scheduler), 10_000, &[]);
        BOTH.into_iter().for_each(|family| site.service("smtp", family).migration.as_mut().unwrap().schedule.clear());
        site.apply();
        let outcome = site.send(&syn(client(V4, 1), 4000));
        assert_eq!(outcome.counted, ["to-server", "not-migrated"], "{scheduler:?}");
        // Full is as good as away.
        migrate(&mut site, "smtp", 10_000, &[]);
        site.change(|state| {
            for n in [NEW, NEW + 1] {
                state.servers.get_mut(&server_name(n)).unwrap().max_connections = 1;
            }
        });
        for port in [4001, 4002] {
            assert!(site.server_for(&syn(client(V4, 2), port)) >= NEW, "{scheduler:?}");
            site.send(&Frame::tcp(at(client(V4, 2), port), at(vip(V4, 1), 25), ACK));
        }
        let taken: u64 = [NEW, NEW + 1].iter().map(|n| site.live("smtp", V4, *n).0).sum();
        if taken == 2 {
            assert_eq!(site.send(&syn(client(V4, 2), 4003)).counted, ["to-server", "not-migrated"], "{scheduler:?}");
        } else {
            panic!("{scheduler:?}: {taken} of 2 connections were taken");
        }
    }
}

#[test]
fn persistence_binds_within_the_pool_that_the_client_belongs_to() {
    let persistence = Some(Persistence::default());
    let mut site = site(Pool { persistence, ..smtp(Scheduler::RoundRobin) }, 0, &[]);
    for family in BOTH {
        let connect = |site: &mut Site, port: u16| {
            let n = site.server_for(&syn(client(family, 1), port));
            let ack = Frame::tcp(at(client(family, 1), port), at(vip(family, 1), 25), ACK);
            assert_eq!(site.server_for(&ack), n);
            n
        };
        migrate(&mut site, "smtp", 0, &[]);
        let old = connect(&mut site, 4000);
        assert!(old < NEW && connect(&mut site, 4001) == old);
        migrate(&mut site, "smtp", 10_000, &[]);
        let new = connect(&mut site, 4002);
        assert!(new >= NEW, "the binding to a server of the old pool is none");
        (4003..4006).for_each(|port| assert_eq!(connect(&mut site, port), new, "and is replaced"));
        // The new pool goes away: bound to one server of the old.
        site.service("smtp", family).migration.as_mut().unwrap().schedule.clear();
        site.apply();
        let back = connect(&mut site, 4007);
        assert!(back < NEW);
        (4008..4011).for_each(|port| assert_eq!(connect(&mut site, port), back));
    }
}

#[test]
fn clients_of_one_persistence_prefix_move_as_one() {
    let persistence = Some(Persistence { prefix4: 24, prefix6: 48, ..Persistence::default() });
    let mut site = site(Pool { persistence, ..smtp(Scheduler::Maglev) }, 5000, &[]);
    let mut pools = BTreeSet::new();
    for net in 0..40u8 {
        let of_net = |host: u8| IpAddr::from([198, 18, net, host]);
        let first = site.server_for(&syn(of_net(1), 4000)) >= NEW;
        pools.insert(first);
        (2..10).for_each(|host| assert_eq!(site.server_for(&syn(of_net(host), 4000)) >= NEW, first));
    }
    assert_eq!(pools.len(), 2);
}
