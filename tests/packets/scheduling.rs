//! Who gets a new connection: the four schedulers, weights, limits, drain and backups.

use std::collections::BTreeMap;

use lbd::config::{Mode, Scheduler};

use super::frame::*;
use super::site::*;

fn syn(family: Family, client_number: u16, port: u16) -> Frame {
    Frame::tcp(at(client(family, client_number), port), at(vip(family, 1), 25), SYN)
}

fn ack(family: Family, client_number: u16, port: u16) -> Frame {
    Frame {
        body: Frame::tcp(at(client(family, 1), port), at(client(family, 1), 25), ACK).body,
        ..syn(family, client_number, port)
    }
}

fn site(scheduler: Scheduler, servers: &[(u8, u32)]) -> Site {
    Site::new([Pool { servers: servers.to_vec(), ..Pool::tcp("smtp", 25, Mode::Dsr).scheduler(scheduler) }])
}

fn tally(servers: impl IntoIterator<Item = u8>) -> BTreeMap<u8, usize> {
    let mut tally = BTreeMap::new();
    servers.into_iter().for_each(|n| *tally.entry(n).or_default() += 1);
    tally
}

#[test]
fn round_robin_takes_turns() {
    let mut site = site(Scheduler::RoundRobin, &[(1, 1), (2, 1), (3, 1)]);
    for family in BOTH {
        let order: Vec<u8> = (0..9).map(|i| site.server_for(&syn(family, 1, 4000 + i))).collect();
        assert_eq!(order, [1, 2, 3, 1, 2, 3, 1, 2, 3]);
        assert_eq!(site.server_for(&syn(family, 1, 4000)), 1, "a repeated first packet takes no turn");
        assert_eq!(site.server_for(&syn(family, 1, 4009)), 1);
    }
}

#[test]
fn round_robin_gives_turns_by_weight_and_spreads_them() {
    let mut site = site(Scheduler::RoundRobin, &[(1, 5), (2, 1), (3, 1)]);
    let order: Vec<u8> = (0..14).map(|i| site.server_for(&syn(V4, 1, 4000 + i))).collect();
    assert_eq!(tally(order[..7].to_vec()), [(1, 5), (2, 1), (3, 1)].into());
    assert_eq!(order[..7], order[7..]);
    assert!(!order[..7].windows(5).any(|five| five == [1; 5]), "{order:?}");
}

#[test]
fn least_connections_fills_the_emptiest_in_proportion_to_weights() {
    let mut site = site(Scheduler::LeastConnections, &[(1, 1), (2, 3)]);
    for family in BOTH {
        let spread = tally((0..40).map(|i| {
            let n = site.server_for(&syn(family, 1, 4000 + i));
            site.send(&ack(family, 1, 4000 + i)); // established ones and handshakes both count
            n
        }));
        assert_eq!(spread, [(1, 10), (2, 30)].into());
    }
    // Connections of server 2 end; it gets the next ones.
    let ended: Vec<u16> = (0..40).filter(|i| site.server_for(&ack(V4, 1, 4000 + i)) == 2).take(6).collect();
    for i in &ended {
        site.send(&Frame {
            body: Frame::tcp(at(client(V4, 1), 4000 + i), at(vip(V4, 1), 25), RST).seq(SEQ + 1).body,
            ..syn(V4, 1, 1)
        });
    }
    assert_eq!(site.live("smtp", V4, 2), (24, 0));
    let next = tally((0..6).map(|i| site.server_for(&syn(V4, 1, 5000 + i))));
    assert_eq!(next, [(2, 6)].into());
    site.assert_counts_are_true();
}

#[test]
fn source_hash_sends_all_connections_of_a_client_to_one_server() {
    let mut site = site(Scheduler::SourceHash, &[(1, 1), (2, 1), (3, 1)]);
    for family in BOTH {
        let mut firsts = vec![];
        for number in 0..90 {
            let first = site.server_for(&syn(family, number, 4000));
            (1..4).for_each(|i| assert_eq!(site.server_for(&syn(family, number, 4000 + i)), first));
            firsts.push(first);
        }
        // 90 clients by a hash over three: some 30 each; 5 or less has a chance below 1 in 10^8.
        let spread = tally(firsts);
        assert!(spread.len() == 3 && spread.values().all(|n| *n > 5), "{spread:?}");
    }
}

#[test]
fn maglev_spreads_the_connections_of_one_client_by_weight() {
    let mut site = site(Scheduler::Maglev, &[(1, 1), (2, 3)]);
    for family in BOTH {
        let spread = tally((0..1000).map(|i| site.server_for(&syn(family, 1, 4000 + i))));
        // 250 and 750, standard deviation 14: beyond 100 has a chance below 1 in 10^11.
        assert!((150..=350).contains(&spread[&1]), "{spread:?}");
    }
}

#[test]
fn a_server_that_leaves_the_schedule_gets_nothing_new_and_keeps_what_it_has() {
    for scheduler in [Scheduler::Maglev, Scheduler::SourceHash, Scheduler::RoundRobin, Scheduler::LeastConnections] {
        let mut site = site(scheduler, &[(1, 1), (2, 1), (3, 1)]);
        let flows: Vec<(u16, u8)> = (0..120).map(|i| (i, site.server_for(&syn(V4, i, 4000)))).collect();
        for (i, n) in &flows {
            assert_eq!(site.server_for(&ack(V4, *i, 4000)), *n);
        }
        assert!(flows.iter().any(|(_, n)| *n == 2), "{scheduler:?}: the server has connections to lose");
        site.drain("smtp", 2);
        for (i, n) in &flows {
            assert_eq!(site.server_for(&ack(V4, *i, 4000)), *n, "{scheduler:?}: an established connection moved");
        }
        let new = tally((0..120).map(|i| site.server_for(&syn(V4, i, 5000))));
        assert!(!new.contains_key(&2), "{scheduler:?}: {new:?}");
        site.assert_counts_are_true();
    }
}

#[test]
fn a_connection_limit_counts_all_services_of_a_server() {
    for scheduler in [Scheduler::Maglev, Scheduler::SourceHash, Scheduler::RoundRobin, Scheduler::LeastConnections] {
        let mut site = site(scheduler, &[(1, 1), (2, 1)]);
        site.add(&Pool::tcp("imap", 143, Mode::Dsr));
        site.change(|state| state.servers.get_mut(&server_name(1)).unwrap().max_connections = 3);
        for i in 0..3 {
            let imap = |flags| Frame::tcp(at(client(V4, 1), 3000 + i), at(vip(V4, 1), 143), flags);
            assert_eq!(site.server_for(&imap(SYN)), 1);
            assert_eq!(site.server_for(&imap(ACK)), 1);
        }
        let spread = tally((0..50).map(|i| site.server_for(&syn(V4, i, 4000))));
        assert_eq!(spread, [(2, 50)].into(), "{scheduler:?}");
        let refused = site.send(&Frame::tcp(at(client(V4, 1), 3100), at(vip(V4, 1), 143), SYN));
        assert_eq!(refused.counted, ["rst-no-server"]);
        // One ends, one more fits.
        site.send(&Frame::tcp(at(client(V4, 1), 3000), at(vip(V4, 1), 143), RST).seq(SEQ + 1));
        let next = |port, flags| Frame::tcp(at(client(V4, 1), port), at(vip(V4, 1), 143), flags);
        assert_eq!(site.server_for(&next(3101, SYN)), 1);
        assert_eq!(site.server_for(&next(3101, ACK)), 1);
        let refused = site.send(&next(3102, SYN));
        assert_eq!(refused.counted, ["rst-no-server"]);
        assert_eq!(site.dp.server_connections(&server_name(1)), Some(3));
        site.assert_counts_are_true();
    }
}

/// Handshakes under way close no server, however many they are; the limit holds when they complete.
#[test]
fn of_a_burst_of_handshakes_those_above_the_limit_are_reset_as_they_complete() {
    let mut site = site(Scheduler::RoundRobin, &[(1, 1)]);
    site.change(|state| state.servers.get_mut(&server_name(1)).unwrap().max_connections = 2);
    (0..5).for_each(|i| assert_eq!(site.server_for(&syn(V4, 1, 4000 + i)), 1));
    (0..2).for_each(|i| assert_eq!(site.server_for(&ack(V4, 1, 4000 + i)), 1));
    for i in 2..5 {
        assert_eq!(site.send(&ack(V4, 1, 4000 + i)).counted, ["rst-no-server"]);
    }
    assert_eq!(site.live("smtp", V4, 1), (2, 0));
    site.assert_counts_are_true();
}

#[test]
fn a_limit_does_not_stop_the_connections_that_are_there() {
    let mut site = site(Scheduler::RoundRobin, &[(1, 1)]);
    for i in 0..5 {
        site.send(&syn(V4, 1, 4000 + i));
        site.send(&ack(V4, 1, 4000 + i));
    }
    site.change(|state| state.servers.get_mut(&server_name(1)).unwrap().max_connections = 2);
    (0..5).for_each(|i| assert_eq!(site.server_for(&ack(V4, 1, 4000 + i)), 1));
    assert_eq!(site.send(&syn(V4, 1, 5000)).counted, ["rst-no-server"]);
    site.change(|state| state.servers.get_mut(&server_name(1)).unwrap().max_connections = 0);
    assert_eq!(site.server_for(&syn(V4, 1, 5000)), 1);
}

#[test]
fn a_backup_gets_connections_only_while_it_is_in_the_schedule() {
    let mut site = site(Scheduler::Maglev, &[(1, 1), (2, 1), (9, 1)]);
    site.drain("smtp", 9); // a member, as a backup is, and not scheduled
    let spread = tally((0..200).map(|i| site.server_for(&syn(V4, 1, 4000 + i))));
    assert_eq!(spread.keys().copied().collect::<Vec<_>>(), [1, 2]);
    for n in [1, 2] {
        site.fail("smtp", n);
    }
    site.change(|_| ());
    let weight = lbd::core::forwarding::Weight(1000);
    site.service("smtp", V4).schedule.insert(server_name(9), weight);
    site.apply();
    let spread = tally((0..200).map(|i| site.server_for(&syn(V4, 1, 5000 + i))));
    assert_eq!(spread, [(9, 200)].into());
}
