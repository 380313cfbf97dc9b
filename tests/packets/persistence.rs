//! A client stays with its server: by prefix, for a time, over the services of a group.

use std::thread::sleep;
use std::time::Duration;

use lbd::config::{Mode, Name, Persistence, Scheduler};

use super::frame::*;
use super::site::*;

fn tcp(family: Family, client_number: u16, client_port: u16, port: u16, flags: u8) -> Frame {
    Frame::tcp(at(client(family, client_number), client_port), at(vip(family, 1), port), flags)
}

fn pool(name: &'static str, port: u16, persistence: Persistence) -> Pool {
    Pool { persistence: Some(persistence), ..Pool::tcp(name, port, Mode::Dsr).servers(1..=3) }
}

fn minutes() -> Persistence {
    Persistence::default()
}

fn grouped(group: &str) -> Persistence {
    Persistence { group: Some(Name::new(group).unwrap()), ..minutes() }
}

/// A connection up to its ACK; the server's number.
fn connect(site: &mut Site, family: Family, client_number: u16, client_port: u16, port: u16) -> u8 {
    let n = site.server_for(&tcp(family, client_number, client_port, port, SYN));
    assert_eq!(site.server_for(&tcp(family, client_number, client_port, port, ACK)), n);
    n
}

#[test]
fn a_client_stays_and_others_take_their_turns() {
    let mut site = Site::new([pool("pop3", 110, minutes())]);
    for family in BOTH {
        let first = connect(&mut site, family, 1, 4000, 110);
        let others: Vec<u8> = (2..5).map(|number| connect(&mut site, family, number, 4000, 110)).collect();
        assert_eq!(others, [first % 3 + 1, (first + 1) % 3 + 1, first]);
        for i in 1..6 {
            assert_eq!(connect(&mut site, family, 1, 4000 + i, 110), first);
        }
    }
    site.assert_counts_are_true();
}

#[test]
fn clients_of_one_prefix_count_as_one() {
    let wide = Persistence { prefix4: 24, prefix6: 48, ..minutes() };
    let narrow = Persistence { prefix4: 32, prefix6: 128, ..minutes() };
    let mut site = Site::new([pool("wide", 110, wide), pool("narrow", 143, narrow)]);
    for family in BOTH {
        // Numbers below 256 differ in the last byte of IPv4, and in bits 48 to 64 of IPv6.
        let wide: Vec<u8> = (1..7).map(|number| connect(&mut site, family, number, 4000, 110)).collect();
        assert_eq!(wide, vec![wide[0]; 6]);
        let narrow: Vec<u8> = (1..4).map(|number| connect(&mut site, family, number, 4000, 143)).collect();
        assert_eq!(narrow, [1, 2, 3]);
    }
}

#[test]
fn services_of_a_group_send_a_client_to_one_server_and_others_do_not() {
    let mut site = Site::new([
        pool("pop3", 110, grouped("mailbox")),
        pool("pop3s", 995, grouped("mailbox")),
        pool("http", 80, grouped("webmail")),
        pool("imap", 143, minutes()),
    ]);
    for family in BOTH {
        // The turns of each service are its own: to be sent together, clients must be bound.
        let first = connect(&mut site, family, 1, 4000, 110);
        let second = connect(&mut site, family, 2, 4000, 110);
        assert_ne!(first, second);
        assert_eq!(connect(&mut site, family, 2, 4001, 995), second);
        assert_eq!(connect(&mut site, family, 1, 4001, 995), first);
        assert_eq!(connect(&mut site, family, 2, 4002, 80), first, "another group begins with its own first turn");
        assert_eq!(connect(&mut site, family, 2, 4003, 143), first, "and so does a service by itself");
        assert_eq!(connect(&mut site, family, 2, 4004, 995), second);
    }
}

#[test]
fn a_binding_ends_when_no_connection_came_for_its_time() {
    let mut site = Site::new([pool("pop3", 110, Persistence { timeout: second(), ..minutes() })]);
    let first = connect(&mut site, V4, 1, 4000, 110);
    sleep(Duration::from_millis(700));
    assert_eq!(connect(&mut site, V4, 1, 4001, 110), first, "a new connection prolongs it");
    sleep(Duration::from_millis(700));
    assert_eq!(connect(&mut site, V4, 1, 4002, 110), first);
    sleep(Duration::from_millis(1100));
    assert_ne!(connect(&mut site, V4, 1, 4003, 110), first, "the next turn");
}

#[test]
fn a_binding_to_a_server_that_takes_nothing_new_gives_way_to_another() {
    for fails in [false, true] {
        let mut site = Site::new([pool("pop3", 110, minutes())]);
        for family in BOTH {
            let first = connect(&mut site, family, 1, 4000, 110);
            if fails {
                site.fail("pop3", first);
            } else {
                site.drain("pop3", first);
            }
            let next = connect(&mut site, family, 1, 4001, 110);
            assert_ne!(next, first);
            assert_eq!(connect(&mut site, family, 1, 4002, 110), next, "bound anew");
            if !fails {
                assert_eq!(site.server_for(&tcp(family, 1, 4000, 110, ACK)), first, "the old connection stays");
            }
        }
    }
}

#[test]
fn a_binding_to_a_full_server_gives_way_to_another() {
    let mut site = Site::new([pool("pop3", 110, minutes())]);
    let first = connect(&mut site, V4, 1, 4000, 110);
    site.change(|state| state.servers.get_mut(&server_name(first)).unwrap().max_connections = 1);
    assert_ne!(connect(&mut site, V4, 1, 4001, 110), first);
}

/// In DSR what an empty table would answer by chance follows the binding.
#[test]
fn a_later_packet_of_an_unknown_connection_follows_the_binding_unless_the_server_is_down() {
    for scheduler in [Scheduler::RoundRobin, Scheduler::Maglev] {
        let mut site = Site::new([pool("pop3", 110, minutes()).scheduler(scheduler)]);
        for family in BOTH {
            let bound = connect(&mut site, family, 1, 4000, 110);
            for i in 0..20 {
                let outcome = site.send(&tcp(family, 1, 6000 + i, 110, ACK));
                assert_eq!((outcome.counted, &outcome.frame[..6]), (vec!["hashed"], &server_mac(bound)[..]));
            }
            site.drain("pop3", bound);
            let outcome = site.send(&tcp(family, 1, 6000, 110, ACK));
            assert_eq!(outcome.frame[..6], server_mac(bound), "draining: its connections are still there");
            site.fail("pop3", bound);
            let outcome = site.send(&tcp(family, 1, 6000, 110, ACK));
            match scheduler {
                Scheduler::RoundRobin => assert_eq!(outcome.counted, ["rst-no-flow"]),
                _ => assert_ne!(outcome.frame[..6], server_mac(bound)),
            }
            site.dest("pop3", family, bound).down = false;
        }
    }
}

/// What a flood of newcomers can overwrite is apart from what complete handshakes have bound.
#[test]
fn a_flood_of_first_packets_unbinds_nobody_who_has_connected() {
    let mut site = Site::new([pool("pop3", 110, minutes())]);
    for family in BOTH {
        let bound: Vec<u8> = (0..30).map(|number| connect(&mut site, family, number, 4000, 110)).collect();
        let newcomer = site.server_for(&tcp(family, 99, 4000, 110, SYN));
        assert_eq!(site.server_for(&tcp(family, 99, 4001, 110, SYN)), newcomer, "bound by its first packet");
        // Ten times what both tables hold together.
        site.flood((0..20_480).map(|number| tcp(family, 256 + number, 4000, 110, SYN)));
        for (number, n) in (0..).zip(&bound) {
            assert_eq!(connect(&mut site, family, number, 5000, 110), *n);
        }
    }
    site.assert_counts_are_true();
}
