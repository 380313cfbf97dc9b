//! Floods and full tables: an established connection is never pushed out.

use lbd::config::{Limits, Mode, Scheduler};

use super::frame::*;
use super::site::*;

/// The smallest tables that a configuration can ask for.
fn smallest() -> Limits {
    Limits { connections: 1024, embryonic: 1024, persistence: 1024, fragments: 256 }
}

/// Slots of the embryonic table: two for each connection, because NAT uses two.
const EMBRYO_SLOTS: u64 = 2048;

fn tcp(family: Family, number: u16, port: u16, flags: u8) -> Frame {
    Frame::tcp(at(client(family, number), port), at(vip(family, 1), 25), flags)
}

fn site(mode: Mode) -> Site {
    let mut site = Site::with_limits(&smallest());
    site.add(&Pool::tcp("smtp", 25, mode).servers(1..=2).scheduler(Scheduler::Maglev));
    site.source_nat(1024, 65535);
    site
}

/// A connection up to its ACK; its server, and the address and port under which that knows the client.
fn connect(site: &mut Site, mode: Mode, family: Family, number: u16, port: u16) -> (u8, std::net::SocketAddr) {
    let syn = site.send(&tcp(family, number, port, SYN));
    assert_eq!(syn.verdict, REDIRECT, "{syn:?}");
    let (n, mut known) = (syn.frame[5], at(client(family, number), port));
    if mode == Mode::FullNat {
        let l4 = if family == V4 { 34 } else { 54 };
        known = at(snat(family), u16::from_be_bytes([syn.frame[l4], syn.frame[l4 + 1]]));
    }
    if mode != Mode::Dsr {
        let reply = Frame::tcp(at(server(family, n), 25), known, SYN | ACK).between(server_mac(n), OWN);
        assert_eq!(site.send(&reply).counted, ["to-client"]);
    }
    assert_eq!(site.server_for(&tcp(family, number, port, ACK)), n);
    (n, known)
}

fn active(site: &Site) -> u64 {
    site.dp.connections().values().map(|counts| counts.active).sum()
}

fn pending(site: &Site) -> u64 {
    site.dp.connections().values().map(|counts| counts.pending).sum()
}

#[test]
fn a_flood_of_ten_times_the_embryonic_table_evicts_no_established_connection() {
    for mode in [Mode::Dsr, Mode::Nat, Mode::FullNat] {
        let mut site = site(mode);
        for family in BOTH {
            let before = active(&site);
            let flows: Vec<_> = (0..200).map(|i| (i, connect(&mut site, mode, family, i, 4000))).collect();
            assert_eq!(active(&site), before + 200);

            let flood = (0..20_480u16).map(|i| tcp(family, 1000 + i, 1024 + i, SYN));
            let moved = site.flood(flood);
            assert_eq!(moved["to-server"], 20_480, "a flood is balanced like anything else: {moved:?}");
            assert!(moved["embryo-evicted"] >= 20_480 - EMBRYO_SLOTS, "{moved:?}");
            assert!(pending(&site) <= EMBRYO_SLOTS, "{}", pending(&site));
            assert_eq!(active(&site), before + 200, "{mode:?} {family:?}");

            for (i, (n, known)) in flows {
                assert_eq!(site.server_for(&tcp(family, i, 4000, ACK)), n);
                if mode != Mode::Dsr {
                    let reply = Frame::tcp(at(server(family, n), 25), known, ACK).between(server_mac(n), OWN);
                    let expected = reply.clone().now_from(at(vip(family, 1), 25)).now_to(at(client(family, i), 4000));
                    site.sends("a reply", &reply, "to-client", &expected.hop().between(OWN, ROUTER));
                }
            }
            connect(&mut site, mode, family, 300, 4000);
            assert_eq!(active(&site), before + 201, "who completes the handshake gets in, flood or not");
            site.assert_counts_are_true();
        }
    }
}

#[test]
fn a_flood_of_acks_enters_nothing() {
    for mode in [Mode::Dsr, Mode::Nat] {
        let mut site = site(mode);
        let moved = site.flood((0..5000).map(|i| tcp(V4, i, 4000, ACK)));
        assert_eq!(moved, [(if mode == Mode::Dsr { "hashed" } else { "rst-no-flow" }, 5000)].into());
        assert_eq!((active(&site), pending(&site)), (0, 0));
    }
}

#[test]
fn a_flood_of_finished_handshakes_fills_the_table_and_pushes_nobody_out() {
    for mode in [Mode::Dsr, Mode::Nat, Mode::FullNat] {
        let mut site = site(mode);
        let flows: Vec<_> = (0..1024).map(|i| connect(&mut site, mode, V4, i, 4000)).collect();
        assert_eq!(active(&site), 1024);
        assert_eq!(site.dp.capacity(), 1024);

        // Beyond that: served, counted, and not entered.
        let (n, known) = {
            let syn = site.send(&tcp(V4, 2000, 4000, SYN));
            assert_eq!(syn.counted, ["to-server"]);
            let known = match mode {
                Mode::FullNat => at(snat(V4), u16::from_be_bytes([syn.frame[34], syn.frame[35]])),
                _ => at(client(V4, 2000), 4000),
            };
            (syn.frame[5], known)
        };
        let reply = Frame::tcp(at(server(V4, n), 25), known, SYN | ACK).between(server_mac(n), OWN);
        if mode != Mode::Dsr {
            assert_eq!(site.send(&reply).counted, ["to-client"]);
        }
        for _ in 0..5 {
            let outcome = site.send(&tcp(V4, 2000, 4000, ACK).data(b"x"));
            assert_eq!((outcome.counted, outcome.frame[5]), (vec!["to-server", "table-full"], n), "{mode:?}");
            if mode != Mode::Dsr {
                assert_eq!(site.send(&reply).counted, ["to-client"]);
            }
        }
        assert_eq!((active(&site), pending(&site)), (1024, 1));
        for (i, (n, _)) in (0..).zip(&flows) {
            assert_eq!(site.server_for(&tcp(V4, i, 4000, ACK)), *n);
        }
        site.assert_counts_are_true();

        // As soon as there is room, it is entered.
        let key = Site::key("smtp", V4, flows[0].0);
        assert!(site.cut(&key) > 0);
        assert_eq!(site.send(&tcp(V4, 2000, 4000, ACK)).counted, ["to-server"]);
        assert_eq!(pending(&site), 0, "{mode:?}");
        site.assert_counts_are_true();
    }
}

#[test]
fn dsr_a_connection_that_was_closed_while_the_table_was_full_does_not_count_when_it_is_entered() {
    let mut site = site(Mode::Dsr);
    let flows: Vec<_> = (0..1024).map(|i| connect(&mut site, Mode::Dsr, V4, i, 4000).0).collect();
    site.send(&tcp(V4, 2000, 4000, SYN));
    assert_eq!(site.send(&tcp(V4, 2000, 4000, FIN | ACK)).counted, ["to-server", "table-full"]);
    site.cut(&Site::key("smtp", V4, flows[0]));
    let before = active(&site);
    assert_eq!(site.send(&tcp(V4, 2000, 4000, ACK)).counted, ["to-server"]);
    assert_eq!((active(&site), pending(&site)), (before, 0));
    site.assert_counts_are_true();
}

/// Even when it has been pushed out of the embryonic table as well, the hash finds its server.
#[test]
fn dsr_with_both_tables_full_a_connection_goes_on_by_the_hash() {
    let mut site = site(Mode::Dsr);
    for i in 0..1024 {
        connect(&mut site, Mode::Dsr, V4, i, 4000);
    }
    let beyond: Vec<u8> = (0..50).map(|i| site.server_for(&tcp(V4, 2000 + i, 4000, SYN))).collect();
    site.flood((0..20_480u16).map(|i| tcp(V4, 3000 + i, 1024 + i, SYN)));
    let mut hashed = 0;
    for (i, n) in (0..).zip(&beyond) {
        let outcome = site.send(&tcp(V4, 2000 + i, 4000, ACK));
        assert_eq!(outcome.frame[5], *n);
        hashed += usize::from(outcome.counted == ["hashed"]);
    }
    assert!(hashed >= 40, "most had been pushed out: {hashed}");
    assert_eq!(active(&site), 1024);
    site.assert_counts_are_true();
}

/// Neither one that overwrites handshakes, nor one that only exceeds the limit.
#[test]
fn a_flood_of_handshakes_does_not_close_a_server_with_a_limit() {
    let mut site = site(Mode::Dsr);
    for n in [1, 2] {
        site.change(|state| state.servers.get_mut(&server_name(n)).unwrap().max_connections = 100);
    }
    let moved = site.flood((0..20_480u16).map(|i| tcp(V4, 1000 + i, 1024 + i, SYN)));
    assert_eq!(moved.get("rst-no-server"), None, "{moved:?}");
    connect(&mut site, Mode::Dsr, V4, 1, 4000);
    assert_eq!(active(&site), 1);
}

#[test]
fn fragments_of_others_are_lost_before_those_of_now() {
    let mut site = Site::with_limits(&smallest());
    site.add(&Pool::udp("radius", 1812, Mode::Dsr));
    let datagram = |i: u16| Frame::udp(at(client(V4, i), 5000), at(vip(V4, 1), 1812), &[0; 2000]).id(u32::from(i));
    // A flood of first fragments whose rest never comes.
    site.flood((0..2560).map(|i| datagram(1000 + i).fragments(1000).remove(0)));
    for fragment in datagram(1).fragments(1000) {
        let outcome = site.send(&fragment);
        assert!(outcome.counted.contains(&"to-server"), "{outcome:?}");
    }
}
