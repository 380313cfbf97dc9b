//! Fragments: RADIUS with EAP and DNS over UDP send them. Only the first carries the ports.

use lbd::config::{Mode, UdpLife};

use super::frame::*;
use super::site::*;

const SIZE: usize = 1000;

fn datagram(family: Family, id: u32) -> Frame {
    let data: Vec<u8> = (0..2500u32).map(|i| (i % 251) as u8).collect();
    Frame::udp(at(client(family, 1), 5000), at(vip(family, 1), 1812), &data).id(id)
}

fn site(mode: Mode) -> Site {
    let mut site = Site::new([Pool { server_port: None, ..Pool::udp("radius", 1812, mode).servers(1..=2) }]);
    site.source_nat(50000, 50999);
    site
}

#[test]
fn dsr_all_fragments_follow_the_first_as_they_are() {
    let mut site = site(Mode::Dsr);
    for family in BOTH {
        for id in 1..5 {
            let fragments = datagram(family, id).fragments(SIZE);
            assert_eq!(fragments.len(), 3);
            let n = site.server_for(&fragments[0]);
            for later in &fragments[1..] {
                site.sends("later", later, "to-server", &later.clone().between(OWN, server_mac(n)));
            }
        }
    }
    site.assert_counts_are_true();
}

#[test]
fn nat_a_fragmented_datagram_arrives_whole_both_ways() {
    for server_port in [None, Some(11812)] {
        let mut site = Site::new([Pool { server_port, ..Pool::udp("radius", 1812, Mode::Nat) }]);
        for family in BOTH {
            let (c, v) = (at(client(family, 1), 5000), at(vip(family, 1), 1812));
            let s = at(server(family, 1), server_port.unwrap_or(1812));
            let there = datagram(family, 7);
            let translated = there.clone().now_to(s).hop().between(OWN, server_mac(1));
            pass(&mut site, "to-server", &there, &translated);
            let back = Frame { src: s.ip(), dst: c.ip(), ..there }.between(server_mac(1), OWN);
            let back = back.now_from(s).now_to(c);
            let translated = back.clone().now_from(v).hop().between(OWN, ROUTER);
            pass(&mut site, "to-client", &back, &translated);
        }
    }
}

#[test]
fn full_nat_a_fragmented_datagram_arrives_whole_both_ways() {
    let mut site = Site::new([Pool::udp("radius", 1812, Mode::FullNat)]);
    site.source_nat(50000, 50000);
    for family in BOTH {
        let (c, v, s) = (at(client(family, 1), 5000), at(vip(family, 1), 1812), at(server(family, 1), 1812));
        let ours = at(snat(family), 50000);
        let there = datagram(family, 7);
        let translated = there.clone().now_from(ours).now_to(s).hop().between(OWN, server_mac(1));
        pass(&mut site, "to-server", &there, &translated);
        let back = there.now_from(s).now_to(ours).between(server_mac(1), OWN);
        let translated = back.clone().now_from(v).now_to(c).hop().between(OWN, ROUTER);
        pass(&mut site, "to-client", &back, &translated);
    }
}

/// Sends a datagram in fragments; they leave as those of `expected`, and make a datagram with a right checksum.
fn pass(site: &mut Site, reason: &str, datagram: &Frame, expected: &Frame) {
    let mut arrived = vec![];
    for (fragment, expected) in datagram.fragments(SIZE).iter().zip(expected.fragments(SIZE)) {
        site.sends("fragment", fragment, reason, &expected);
        arrived.push(site.send(fragment).frame);
    }
    assert_eq!(check(&reassemble(&arrived)), Ok(()));
}

#[test]
fn fragments_in_front_of_extension_headers_and_options_are_found() {
    let mut site = site(Mode::Nat);
    for family in BOTH {
        let mut whole = datagram(family, 9);
        whole = match family {
            V4 => whole.options(&[148, 4, 0, 0]),
            V6 => whole.extension(HOP_BY_HOP, &[0, 0, 5, 2, 0, 0, 1, 0]),
        };
        let n = site.server_for(&whole.fragments(SIZE)[0]);
        let translated = whole.clone().now_to(at(server(family, n), 1812)).hop().between(OWN, server_mac(n));
        for (fragment, expected) in whole.fragments(SIZE).iter().zip(translated.fragments(SIZE)) {
            site.sends("fragment", fragment, "to-server", &expected);
        }
    }
}

/// Every datagram has its own server, and all of its fragments have that one.
#[test]
fn per_packet_the_fragments_of_a_datagram_stay_together() {
    for mode in [Mode::Dsr, Mode::Nat] {
        let mut site = Site::new([Pool { udp: UdpLife::PerPacket, ..Pool::udp("radius", 1812, mode).servers(1..=3) }]);
        for family in BOTH {
            let mut firsts = vec![];
            for id in 1..=6 {
                let servers: Vec<u8> =
                    datagram(family, id).fragments(500).iter().map(|fragment| site.server_for(fragment)).collect();
                assert_eq!(servers, vec![servers[0]; 6], "{mode:?} {family:?}");
                firsts.push(servers[0]);
            }
            assert_eq!(firsts[..3], firsts[3..]);
            firsts.sort_unstable();
            assert_eq!(firsts, [1, 1, 2, 2, 3, 3], "{mode:?} {family:?}");
        }
        site.assert_counts_are_true();
    }
}

#[test]
fn a_later_fragment_without_its_first_is_dropped_and_counted() {
    let mut site = site(Mode::Nat);
    for family in BOTH {
        let fragments = datagram(family, 1).fragments(SIZE);
        site.drops("before the first", &fragments[1], "fragment");
        site.send(&fragments[0]);
        assert_eq!(site.send(&fragments[2]).counted, ["to-server"], "out of order, after the first");
        assert_eq!(site.send(&fragments[1]).counted, ["to-server"]);
        site.drops("of another datagram", &datagram(family, 2).fragments(SIZE)[1], "fragment");
        let other = Frame { src: client(family, 2), ..fragments[1].clone() };
        site.drops("of another client", &other, "fragment");
        let tcp = Frame { body: Body::Raw(6, vec![0; 64]), ..fragments[1].clone() };
        site.drops("of another protocol", &tcp, "fragment");
    }
}

#[test]
fn later_fragments_to_or_from_others_go_to_the_kernel() {
    let mut site = site(Mode::Nat);
    for family in BOTH {
        let whole = datagram(family, 1);
        let from_server = Frame { src: server(family, 1), dst: client(family, 1), ..whole.clone() };
        site.passes("from a server, without its first", &from_server.fragments(SIZE)[1], "other");
        let switched = whole.clone().between(ROUTER, STRANGER);
        for fragment in switched.fragments(SIZE) {
            site.passes("to another's MAC", &fragment, "switched");
        }
        site.drops("it has left no trace", &whole.fragments(SIZE)[1], "fragment");
    }
}

#[test]
fn a_fragmented_ping_is_dropped_whole() {
    let mut site = site(Mode::Nat);
    for family in BOTH {
        let kind = if family == V4 { 8 } else { 128 };
        let ping = Frame::icmp(client(family, 1), vip(family, 1), kind, 0, 1, &[0; 2000]);
        for fragment in ping.fragments(SIZE) {
            site.drops("a piece of a ping", &fragment, "fragment");
        }
    }
}

#[test]
fn a_whole_datagram_with_an_ipv6_fragment_header_is_no_fragment() {
    let mut site = site(Mode::Dsr);
    let atomic = Frame { fragment: Some((0, false)), ..datagram(V6, 5).data(b"short") };
    let n = site.server_for(&atomic);
    site.sends("RFC 6946", &atomic, "to-server", &atomic.clone().between(OWN, server_mac(n)));
}

#[test]
fn a_tcp_connection_may_be_fragmented_too() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat)]);
    for family in BOTH {
        let (c, v, s) = (at(client(family, 1), 4000), at(vip(family, 1), 25), at(server(family, 1), 25));
        site.send(&Frame::tcp(c, v, SYN));
        let data = Frame::tcp(c, v, ACK).data(&[7; 1400]);
        let translated = data.clone().now_to(s).hop().between(OWN, server_mac(1));
        for (fragment, expected) in data.fragments(512).iter().zip(translated.fragments(512)) {
            site.sends("in the handshake", fragment, "to-server", &expected);
        }
        site.send(&Frame::tcp(s, c, SYN | ACK).between(server_mac(1), OWN));
        for (fragment, expected) in data.fragments(512).iter().zip(translated.fragments(512)) {
            site.sends("established", fragment, "to-server", &expected);
        }
        assert_eq!(site.live("smtp", family, 1), (1, 0));
    }
    site.assert_counts_are_true();
}
