//! What cannot be served: refused by a RST that the client accepts, or dropped and counted.

use std::net::SocketAddr;

use lbd::config::{Mode, OnFailure, Scheduler};

use super::frame::*;
use super::site::*;

const SEQ: u32 = 0xffff_ffff;
const ACKED: u32 = 0x8000_0001;

fn tcp(c: SocketAddr, v: SocketAddr, flags: u8) -> Frame {
    let frame = Frame::tcp(c, v, flags).seq(SEQ);
    if flags & ACK != 0 { frame.ack(ACKED) } else { frame }
}

/// The RST that answers `frame` (RFC 9293, 3.5.2): with the number that the peer acknowledged, or else
/// acknowledging what it sent.
fn rst(frame: &Frame) -> Frame {
    let Body::Tcp { ports, seq, ack, flags, .. } = frame.body else { panic!() };
    let (from, to) = (at(frame.dst, ports.1), at(frame.src, ports.0));
    let answer = if flags & ACK != 0 {
        Frame::tcp(from, to, RST).seq(ack).ack(0)
    } else {
        Frame::tcp(from, to, RST | ACK).seq(0).ack(seq.wrapping_add(1))
    };
    Frame { df: true, ..answer }.window(0).id(0).ttl(64).between(OWN, ROUTER).tag(frame.tag)
}

fn refuses(site: &mut Site, what: &str, frame: &Frame, reason: &str) {
    site.sends(what, frame, reason, &rst(frame));
}

#[test]
fn a_port_of_a_vip_without_a_service_answers_tcp_by_a_rst_and_udp_not() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    for family in BOTH {
        let (c, v) = (at(client(family, 1), 4000), at(vip(family, 1), 26));
        for (what, flags) in
            [("SYN", SYN), ("ACK", ACK), ("FIN", FIN | ACK), ("SYN ACK", SYN | ACK), ("FIN alone", FIN)]
        {
            refuses(&mut site, what, &tcp(c, v, flags), "rst-no-service");
            refuses(&mut site, what, &tcp(c, v, flags).tag(0x6007), "rst-no-service");
        }
        refuses(&mut site, "data", &tcp(c, v, ACK).data(&[9; 1000]), "rst-no-service");
        refuses(&mut site, "data, odd", &tcp(c, v, ACK).data(&[9; 999]), "rst-no-service");
        site.drops("a RST is never answered", &tcp(c, v, RST), "no-service");
        site.drops("nor one with an ACK", &tcp(c, v, RST | ACK), "no-service");
        site.drops("UDP", &Frame::udp(c, v, b"x"), "no-service");
        site.drops("UDP to a port of TCP", &Frame::udp(c, at(vip(family, 1), 25), b"x"), "no-service");
    }
}

#[test]
fn a_rst_is_bare_whatever_headers_the_packet_had() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    let frame = tcp(at(client(V4, 1), 4000), at(vip(V4, 1), 26), SYN);
    refuses(&mut site, "IPv4 options", &frame.options(&[148, 4, 0, 0]), "rst-no-service");
    let frame = tcp(at(client(V6, 1), 4000), at(vip(V6, 1), 26), SYN);
    let pad = [0, 0, 1, 4, 0, 0, 0, 0];
    let frame = frame.extension(HOP_BY_HOP, &pad).extension(DESTINATION_OPTIONS, &pad);
    refuses(&mut site, "IPv6 extension headers", &frame, "rst-no-service");
}

#[test]
fn nat_a_later_packet_of_an_unknown_connection_is_reset() {
    for mode in [Mode::Nat, Mode::FullNat] {
        for scheduler in [Scheduler::Maglev, Scheduler::RoundRobin] {
            let mut site = Site::new([Pool::tcp("smtp", 25, mode).scheduler(scheduler)]);
            for family in BOTH {
                let (c, v) = (at(client(family, 1), 4000), at(vip(family, 1), 25));
                for flags in [ACK, FIN | ACK, SYN | ACK] {
                    refuses(&mut site, "later packet", &tcp(c, v, flags), "rst-no-flow");
                }
                site.drops("RST", &tcp(c, v, RST), "no-flow");
                assert_eq!((site.live("smtp", family, 1), site.counts("smtp", family, 1).total), ((0, 0), 0));
            }
        }
    }
}

#[test]
fn dsr_a_later_packet_of_an_unknown_connection_goes_where_its_first_would_have_gone() {
    for scheduler in [Scheduler::Maglev, Scheduler::SourceHash] {
        let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr).servers(1..=4).scheduler(scheduler)]);
        for family in BOTH {
            for i in 0..100 {
                let (c, v) = (at(client(family, i), 4000 + i), at(vip(family, 1), 25));
                let later = site.send(&tcp(c, v, ACK));
                assert_eq!((later.verdict, &later.counted[..]), (REDIRECT, &["hashed"][..]));
                let reset = site.send(&tcp(c, v, RST));
                assert_eq!((reset.verdict, &reset.counted[..]), (REDIRECT, &["hashed"][..]));
                assert_eq!(later.frame[..12], reset.frame[..12]);
                let n = site.server_for(&tcp(c, v, SYN));
                assert_eq!(later.frame, tcp(c, v, ACK).between(OWN, server_mac(n)).bytes());
            }
        }
        let pending: u64 = site.dp.connections().values().map(|counts| counts.pending).sum();
        assert_eq!(pending, 200, "only first packets were entered");
        site.assert_counts_are_true();
    }
}

#[test]
fn dsr_without_a_consistent_hash_a_later_packet_of_an_unknown_connection_is_reset() {
    for scheduler in [Scheduler::RoundRobin, Scheduler::LeastConnections] {
        let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr).servers(1..=2).scheduler(scheduler)]);
        for family in BOTH {
            let (c, v) = (at(client(family, 1), 4000), at(vip(family, 1), 25));
            refuses(&mut site, "ACK", &tcp(c, v, ACK), "rst-no-flow");
            site.drops("RST", &tcp(c, v, RST), "no-flow");
        }
    }
}

#[test]
fn without_a_server_tcp_is_reset_and_udp_dropped() {
    for mode in [Mode::Dsr, Mode::Nat] {
        for scheduler in [Scheduler::Maglev, Scheduler::RoundRobin, Scheduler::LeastConnections, Scheduler::SourceHash]
        {
            let smtp = Pool::tcp("smtp", 25, mode).scheduler(scheduler);
            let dns = Pool::udp("dns", 53, mode).scheduler(scheduler);
            let mut site = Site::new([smtp, dns]);
            site.drain("smtp", 1);
            site.drain("dns", 1);
            for family in BOTH {
                let (c, v) = (at(client(family, 1), 4000), at(vip(family, 1), 25));
                refuses(&mut site, "SYN", &tcp(c, v, SYN), "rst-no-server");
                refuses(&mut site, "ACK", &tcp(c, v, ACK), "rst-no-flow");
                site.drops("a datagram", &Frame::udp(c, at(vip(family, 1), 53), b"x"), "no-server");
            }
        }
    }
}

/// An established connection of client port 4000; the number of its server.
fn establish(site: &mut Site, family: Family, mode: Mode, client_port: u16) -> u8 {
    let (c, v) = (at(client(family, 1), client_port), at(vip(family, 1), 25));
    let n = site.server_for(&tcp(c, v, SYN));
    if mode != Mode::Dsr {
        site.send(&Frame::tcp(at(server(family, n), 25), c, SYN | ACK).between(server_mac(n), OWN));
    }
    site.send(&tcp(c, v, ACK));
    assert_eq!(site.live("smtp", family, n), (1, 0));
    n
}

#[test]
fn a_failed_servers_connection_is_reset_at_its_next_packet_and_the_next_one_goes_elsewhere() {
    for mode in [Mode::Dsr, Mode::Nat] {
        for family in BOTH {
            let mut site = Site::new([Pool::tcp("smtp", 25, mode).servers(1..=2)]);
            let failed = establish(&mut site, family, mode, 4000);
            site.fail("smtp", failed);
            let (c, v) = (at(client(family, 1), 4000), at(vip(family, 1), 25));
            refuses(&mut site, "data", &tcp(c, v, ACK).data(b"MAIL FROM:<>\r\n"), "rst-down");
            assert_eq!(site.live("smtp", family, failed), (0, 0));
            refuses(&mut site, "data again", &tcp(c, v, ACK).data(b"MAIL FROM:<>\r\n"), "rst-down");
            site.drops("the client's own RST", &tcp(c, v, RST), "down");
            assert_eq!(site.server_for(&tcp(c, v, SYN)), 3 - failed);
            assert_eq!(site.live("smtp", family, 3 - failed), (0, 1));
            site.assert_counts_are_true();
        }
    }
}

#[test]
fn a_handshake_with_a_server_that_fails_begins_anew_with_another() {
    for mode in [Mode::Dsr, Mode::Nat] {
        for family in BOTH {
            let mut site = Site::new([Pool::tcp("smtp", 25, mode).servers(1..=2)]);
            let (c, v) = (at(client(family, 1), 4000), at(vip(family, 1), 25));
            let failed = site.server_for(&tcp(c, v, SYN));
            site.fail("smtp", failed);
            assert_eq!(site.server_for(&tcp(c, v, SYN)), 3 - failed);
            assert_eq!((site.live("smtp", family, 1).1, site.live("smtp", family, 2).1), {
                if failed == 1 { (0, 1) } else { (1, 0) }
            });
            site.assert_counts_are_true();
        }
    }
}

#[test]
fn datagrams_to_a_failed_server_are_scheduled_anew() {
    for mode in [Mode::Dsr, Mode::Nat] {
        for packets in [1, 4] {
            let mut site = Site::new([Pool::udp("dns", 53, mode).servers(1..=2)]);
            for family in BOTH {
                let question = Frame::udp(at(client(family, 1), 5000), at(vip(family, 1), 53), b"question");
                let failed = (0..packets).map(|_| site.server_for(&question)).last().unwrap();
                site.dest("dns", family, failed).down = true;
                site.service("dns", family).schedule.remove(&server_name(failed));
                site.apply();
                assert_eq!(site.server_for(&question), 3 - failed);
            }
            site.assert_counts_are_true();
        }
    }
}

#[test]
fn a_pool_that_keeps_its_connections_drops_their_packets_until_the_server_is_back() {
    for mode in [Mode::Dsr, Mode::Nat] {
        for family in BOTH {
            let mut site =
                Site::new([Pool { on_failure: OnFailure::Keep, ..Pool::tcp("smtp", 25, mode).servers(1..=2) }]);
            let failed = establish(&mut site, family, mode, 4000);
            site.fail("smtp", failed);
            let (c, v) = (at(client(family, 1), 4000), at(vip(family, 1), 25));
            site.drops("data", &tcp(c, v, ACK).data(b"x"), "down");
            assert_eq!(site.live("smtp", family, failed), (1, 0));
            site.dest("smtp", family, failed).down = false;
            site.apply();
            assert_eq!(site.server_for(&tcp(c, v, ACK)), failed);
            site.assert_counts_are_true();
        }
    }
}

#[test]
fn a_pool_that_keeps_its_connections_keeps_its_datagrams_flows_too() {
    let pool = Pool { on_failure: OnFailure::Keep, ..Pool::udp("dns", 53, Mode::Dsr).servers(1..=2) };
    let mut site = Site::new([pool]);
    for family in BOTH {
        let question = Frame::udp(at(client(family, 1), 5000), at(vip(family, 1), 53), b"question");
        let failed = (0..4).map(|_| site.server_for(&question)).last().unwrap();
        site.dest("dns", family, failed).down = true;
        site.apply();
        site.drops("while it is down", &question, "down");
        site.dest("dns", family, failed).down = false;
        site.apply();
        assert_eq!(site.server_for(&question), failed);
    }
    site.assert_counts_are_true();
}
