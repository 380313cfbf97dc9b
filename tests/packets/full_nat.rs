//! Full NAT: the source too, from the pool of addresses; by mode, and for clients inside (hairpin).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use lbd::config::Mode;

use super::frame::*;
use super::site::*;

fn site(mode: Mode, first: u16, last: u16) -> Site {
    let mut site = Site::new([Pool { server_port: Some(2525), ..Pool::tcp("smtp", 25, mode) }]);
    site.source_nat(first, last);
    site
}

/// Source and destination of a TCP or UDP frame without tag, options and extensions.
pub fn ends_of(frame: &[u8]) -> (SocketAddr, SocketAddr) {
    let four = |i: usize| IpAddr::from(<[u8; 4]>::try_from(&frame[i..i + 4]).unwrap());
    let sixteen = |i: usize| IpAddr::from(<[u8; 16]>::try_from(&frame[i..i + 16]).unwrap());
    let port = |i: usize| u16::from_be_bytes([frame[i], frame[i + 1]]);
    if frame[12..14] == [0x08, 0x00] {
        (at(four(26), port(34)), at(four(30), port(36)))
    } else {
        (at(sixteen(22), port(54)), at(sixteen(38), port(56)))
    }
}

/// Sends a client's frame and returns the source under which it reaches the server.
fn there(site: &mut Site, frame: &Frame, server: SocketAddr) -> SocketAddr {
    let outcome = site.send(frame);
    assert_eq!(outcome.counted, ["to-server"]);
    let (ours, _) = ends_of(&outcome.frame);
    let expected = frame.clone().now_from(ours).now_to(server).hop().between(OWN, server_mac(1));
    assert_eq!(outcome.frame, expected.bytes());
    assert_eq!(check(&outcome.frame), Ok(()));
    ours
}

fn back(site: &mut Site, what: &str, reply: Frame, vip: SocketAddr, client: SocketAddr, client_mac: [u8; 6]) {
    let reply = reply.between(server_mac(1), OWN);
    let expected = reply.clone().now_from(vip).now_to(client).hop().between(OWN, client_mac);
    site.sends(what, &reply, "to-client", &expected);
}

#[test]
fn a_connection_is_translated_both_ways_with_one_source_from_first_to_last() {
    let mut site = site(Mode::FullNat, 40000, 40999);
    for family in BOTH {
        let (c, v, s) = (at(client(family, 1), 4000), at(vip(family, 1), 25), at(server(family, 1), 2525));
        let ours = there(&mut site, &Frame::tcp(c, v, SYN), s);
        assert_eq!(ours.ip(), snat(family));
        assert!((40000..=40999).contains(&ours.port()), "{ours}");
        assert_eq!(there(&mut site, &Frame::tcp(c, v, SYN), s), ours, "a repeated SYN keeps the port");
        back(&mut site, "SYN ACK", Frame::tcp(s, ours, SYN | ACK), v, c, ROUTER);
        assert_eq!(there(&mut site, &Frame::tcp(c, v, ACK), s), ours, "the handshake is complete");
        back(&mut site, "data", Frame::tcp(s, ours, ACK).data(b"220 pc1\r\n"), v, c, ROUTER);
        assert_eq!(there(&mut site, &Frame::tcp(c, v, ACK).data(b"QUIT\r\n"), s), ours);
        assert_eq!(site.live("smtp", family, 1), (1, 0));
        back(&mut site, "FIN", Frame::tcp(s, ours, FIN | ACK), v, c, ROUTER);
        assert_eq!(there(&mut site, &Frame::tcp(c, v, FIN | ACK), s), ours);
        assert_eq!(site.live("smtp", family, 1), (0, 0));
    }
    site.assert_counts_are_true();
}

/// A client on the servers' own segment would be answered past the balancer.
#[test]
fn in_nat_mode_a_client_inside_gets_full_nat_and_others_do_not() {
    let mut site = site(Mode::Nat, 40000, 40999);
    for family in BOTH {
        let (v, s) = (at(vip(family, 1), 25), at(server(family, 1), 2525));
        let neighbour = at(server(family, 8), 4000); // in the inside network, and no server of ours
        let mac = server_mac(8);
        let syn = Frame::tcp(neighbour, v, SYN).between(mac, OWN);
        let ours = there(&mut site, &syn, s);
        assert_eq!(ours.ip(), snat(family));
        back(&mut site, "SYN ACK", Frame::tcp(s, ours, SYN | ACK), v, neighbour, mac);
        assert_eq!(there(&mut site, &Frame::tcp(neighbour, v, ACK).between(mac, OWN), s), ours);
        back(&mut site, "data", Frame::tcp(s, ours, ACK).data(b"220\r\n"), v, neighbour, mac);

        // A server that is a client of its own VIP, and may be sent to itself.
        let itself = at(server(family, 1), 4000);
        let ours = there(&mut site, &Frame::tcp(itself, v, SYN).between(server_mac(1), OWN), s);
        assert_eq!(ours.ip(), snat(family));
        back(&mut site, "SYN ACK", Frame::tcp(s, ours, SYN | ACK), v, itself, server_mac(1));

        let outside = at(client(family, 1), 4000);
        assert_eq!(there(&mut site, &Frame::tcp(outside, v, SYN), s), outside, "plain NAT");
    }
}

#[test]
fn a_client_inside_without_source_nat_addresses_is_counted() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat)]);
    for family in BOTH {
        let syn = Frame::tcp(at(server(family, 8), 4000), at(vip(family, 1), 25), SYN);
        site.drops("hairpin", &syn, "source-nat-exhausted");
        assert_eq!((site.live("smtp", family, 1), site.counts("smtp", family, 1).total), ((0, 0), 0));
    }
}

#[test]
fn thousands_of_connections_to_one_server_port_all_have_sources_of_their_own() {
    let mut site = site(Mode::FullNat, 1024, 65535);
    for family in BOTH {
        let (v, s) = (at(vip(family, 1), 25), at(server(family, 1), 2525));
        let mut sources = BTreeSet::new();
        let mut clients = vec![];
        for i in 0..1500u16 {
            let c = at(client(family, i / 40), 1000 + i % 40);
            let ours = there(&mut site, &Frame::tcp(c, v, SYN), s);
            back(&mut site, "SYN ACK", Frame::tcp(s, ours, SYN | ACK), v, c, ROUTER);
            assert_eq!(there(&mut site, &Frame::tcp(c, v, ACK), s), ours);
            assert!(sources.insert(ours), "{ours} was given twice");
            clients.push((c, ours));
        }
        for (c, ours) in clients {
            back(&mut site, "to the right client", Frame::tcp(s, ours, ACK), v, c, ROUTER);
        }
        assert_eq!(site.live("smtp", family, 1), (1500, 0));
    }
    site.assert_counts_are_true();
}

#[test]
fn when_all_ports_are_taken_new_connections_are_counted_and_old_ones_go_on() {
    let mut site = site(Mode::FullNat, 50000, 50003);
    for family in BOTH {
        let (v, s) = (at(vip(family, 1), 25), at(server(family, 1), 2525));
        let mut held = vec![];
        for i in 0..4 {
            let c = at(client(family, i), 4000);
            let ours = there(&mut site, &Frame::tcp(c, v, SYN), s);
            back(&mut site, "SYN ACK", Frame::tcp(s, ours, SYN | ACK), v, c, ROUTER);
            // Two of them established, two in their handshake: both kinds hold their port.
            if i % 2 == 0 {
                there(&mut site, &Frame::tcp(c, v, ACK), s);
            }
            held.push((c, ours));
        }
        let taken: BTreeSet<u16> = held.iter().map(|(_, ours)| ours.port()).collect();
        assert_eq!(taken, (50000..=50003).collect());
        let fifth = Frame::tcp(at(client(family, 9), 4000), v, SYN);
        site.drops("a fifth", &fifth, "source-nat-exhausted");
        assert_eq!(site.live("smtp", family, 1), (2, 2));
        for (c, ours) in &held {
            assert_eq!(there(&mut site, &Frame::tcp(*c, v, ACK), s), *ours);
            back(&mut site, "data", Frame::tcp(s, *ours, ACK), v, *c, ROUTER);
        }
        // The end of one makes room when its time after the end is over; a reset handshake's at once.
        let reset = Frame::tcp(s, held[1].1, RST | ACK);
        back(&mut site, "reset", reset, v, held[1].0, ROUTER);
        site.drops("an established one's port is not free yet", &fifth, "source-nat-exhausted");
    }
    site.assert_counts_are_true();
}

#[test]
fn a_refused_handshake_gives_its_port_back_at_once() {
    let mut site = site(Mode::FullNat, 50000, 50000);
    for family in BOTH {
        let (v, s) = (at(vip(family, 1), 25), at(server(family, 1), 2525));
        for i in 0..5 {
            let c = at(client(family, i), 4000);
            let ours = there(&mut site, &Frame::tcp(c, v, SYN), s);
            back(&mut site, "RST", Frame::tcp(s, ours, RST | ACK), v, c, ROUTER);
            assert_eq!(site.live("smtp", family, 1), (0, 0));
        }
        let c = at(client(family, 7), 4000);
        there(&mut site, &Frame::tcp(c, v, SYN), s);
        there(&mut site, &Frame::tcp(c, v, RST).seq(SEQ + 1), s);
        assert_eq!(site.live("smtp", family, 1), (0, 0), "the client gave up");
        there(&mut site, &Frame::tcp(at(client(family, 8), 4000), v, SYN), s);
    }
}

#[test]
fn one_source_port_serves_as_many_connections_as_there_are_servers() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::FullNat).servers(1..=3)]);
    site.source_nat(50000, 50000);
    for family in BOTH {
        let v = at(vip(family, 1), 25);
        let mut servers = BTreeSet::new();
        for i in 0..3 {
            let outcome = site.send(&Frame::tcp(at(client(family, i), 4000), v, SYN));
            assert_eq!(outcome.counted, ["to-server"]);
            let (ours, server) = ends_of(&outcome.frame);
            assert_eq!(ours, at(snat(family), 50000));
            servers.insert(server);
        }
        assert_eq!(servers.len(), 3);
        site.drops("one more", &Frame::tcp(at(client(family, 9), 4000), v, SYN), "source-nat-exhausted");
    }
}

#[test]
fn a_source_nat_address_that_is_taken_away_keeps_its_connections() {
    let mut site = site(Mode::FullNat, 50000, 50999);
    for family in BOTH {
        let (c, v, s) = (at(client(family, 1), 4000), at(vip(family, 1), 25), at(server(family, 1), 2525));
        site.source_nat(50000, 50999);
        let ours = there(&mut site, &Frame::tcp(c, v, SYN), s);
        back(&mut site, "SYN ACK", Frame::tcp(s, ours, SYN | ACK), v, c, ROUTER);
        there(&mut site, &Frame::tcp(c, v, ACK), s);
        site.change(|state| state.source_nat.clear());
        assert_eq!(there(&mut site, &Frame::tcp(c, v, ACK), s), ours);
        back(&mut site, "data", Frame::tcp(s, ours, ACK), v, c, ROUTER);
        site.drops("a new one", &Frame::tcp(at(client(family, 2), 1), v, SYN), "source-nat-exhausted");
    }
}

#[test]
fn a_packet_whose_time_is_over_is_dropped_on_either_way() {
    let mut site = site(Mode::FullNat, 50000, 50999);
    for family in BOTH {
        let (c, v, s) = (at(client(family, 1), 4000), at(vip(family, 1), 25), at(server(family, 1), 2525));
        let ours = there(&mut site, &Frame::tcp(c, v, SYN), s);
        site.drops("to the server", &Frame::tcp(c, v, ACK).ttl(1), "ttl");
        site.drops("to the client", &Frame::tcp(s, ours, ACK).ttl(1).between(server_mac(1), OWN), "ttl");
    }
}

#[test]
fn datagrams_are_translated_both_ways() {
    let mut site = Site::new([Pool { server_port: Some(5353), ..Pool::udp("dns", 53, Mode::FullNat) }]);
    site.source_nat(50000, 50999);
    for family in BOTH {
        let (c, v, s) = (at(client(family, 1), 4000), at(vip(family, 1), 53), at(server(family, 1), 5353));
        let ours = there(&mut site, &Frame::udp(c, v, b"question"), s);
        back(&mut site, "answer", Frame::udp(s, ours, b"an answer"), v, c, ROUTER);
        assert_eq!(there(&mut site, &Frame::udp(c, v, b"another"), s), ours);
        assert_eq!(site.live("dns", family, 1), (1, 0));
        back(&mut site, "answer", Frame::udp(s, ours, b""), v, c, ROUTER);
    }
}
