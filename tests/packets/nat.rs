//! NAT: the destination becomes the server, on the way back the source becomes the VIP again.

use std::net::SocketAddr;

use lbd::config::{Mac, Mode, Ports};

use super::frame::*;
use super::site::*;

/// A connection's three ends.
struct Ends {
    client: SocketAddr,
    vip: SocketAddr,
    server: SocketAddr,
}

fn ends(family: Family, port: u16, server_port: u16) -> Ends {
    Ends {
        client: at(client(family, 1), 4000),
        vip: at(vip(family, 1), port),
        server: at(server(family, 1), server_port),
    }
}

impl Ends {
    /// A frame from the client arrives at the server under the server's address.
    fn there(&self, site: &mut Site, what: &str, frame: Frame) {
        let expected = frame.clone().now_to(self.server).hop().between(OWN, server_mac(1));
        site.sends(what, &frame, "to-server", &expected);
    }

    /// A frame from the server arrives at the client under the VIP's.
    fn back(&self, site: &mut Site, what: &str, frame: Frame) {
        let frame = frame.between(server_mac(1), OWN);
        let expected = frame.clone().now_from(self.vip).hop().between(OWN, ROUTER);
        site.sends(what, &frame, "to-client", &expected);
    }

    fn tcp(&self, flags: u8) -> Frame {
        Frame::tcp(self.client, self.vip, flags)
    }

    fn tcp_back(&self, flags: u8) -> Frame {
        Frame::tcp(self.server, self.client, flags)
    }
}

#[test]
fn a_connection_is_translated_both_ways_from_first_to_last_packet() {
    for server_port in [None, Some(2525)] {
        let mut site = Site::new([Pool { server_port, ..Pool::tcp("smtp", 25, Mode::Nat) }]);
        for family in BOTH {
            let ends = ends(family, 25, server_port.unwrap_or(25));
            ends.there(&mut site, "SYN", ends.tcp(SYN));
            ends.there(&mut site, "SYN again", ends.tcp(SYN));
            ends.back(&mut site, "SYN ACK", ends.tcp_back(SYN | ACK));
            ends.there(&mut site, "ACK", ends.tcp(ACK));
            ends.back(&mut site, "greeting", ends.tcp_back(ACK).data(b"220 pc1 ESMTP\r\n"));
            ends.there(&mut site, "data", ends.tcp(ACK).data(b"EHLO client\r\n"));
            ends.there(&mut site, "odd length", ends.tcp(ACK).data(&[0xff; 1441]));
            ends.back(&mut site, "a full segment", ends.tcp_back(ACK).data(&[0xa5; 1440]));
            ends.back(&mut site, "the server's FIN", ends.tcp_back(FIN | ACK));
            ends.there(&mut site, "the client's FIN", ends.tcp(FIN | ACK));
            ends.back(&mut site, "the last ACK", ends.tcp_back(ACK));
            assert_eq!(site.counts("smtp", family, 1).total, 1);
        }
        site.assert_counts_are_true();
    }
}

#[test]
fn checksums_stay_right_for_any_contents() {
    let mut site = Site::new([Pool { server_port: Some(8025), ..Pool::tcp("smtp", 25, Mode::Nat) }]);
    for family in BOTH {
        let ends = ends(family, 25, 8025);
        ends.there(&mut site, "SYN", ends.tcp(SYN));
        ends.back(&mut site, "SYN ACK", ends.tcp_back(SYN | ACK));
        // Every sequence number's low half once in 61: the sum passes 0 and 0xffff on the way.
        for i in 0..=1075u32 {
            ends.there(&mut site, "ACK", ends.tcp(ACK).seq(i * 61).id(i));
            ends.back(&mut site, "ACK", ends.tcp_back(ACK).seq(i * 61).id(i * 61 % 65536));
        }
    }
}

#[test]
fn a_udp_checksum_of_zero_stays_and_a_sum_of_zero_is_written_as_all_ones() {
    let mut site = Site::new([Pool { server_port: Some(5353), ..Pool::udp("dns", 53, Mode::Nat) }]);
    for family in BOTH {
        let ends = ends(family, 53, 5353);
        let there = |data: &[u8]| Frame::udp(ends.client, ends.vip, data);
        let back = |data: &[u8]| Frame::udp(ends.server, ends.client, data);
        ends.there(&mut site, "a question", there(b"question"));
        ends.back(&mut site, "an answer", back(b"an answer"));
        if family == V4 {
            // IPv6 forbids it (RFC 8200, 8.1).
            ends.there(&mut site, "no checksum", there(b"question").unsummed());
            ends.back(&mut site, "no checksum", back(b"an answer").unsummed());
        }
        // One of all 16-bit words makes the translated packet's sum zero, each way.
        let (mut all_ones_there, mut all_ones_back) = (0, 0);
        for word in 0..=u16::MAX {
            let word = word.to_be_bytes();
            let udp_at = if family == V4 { 34 } else { 54 };
            let is_all_ones = |frame: Frame| frame.bytes()[udp_at + 6..udp_at + 8] == [0xff, 0xff];
            if is_all_ones(there(&word).now_to(ends.server)) {
                all_ones_there += 1;
                ends.there(&mut site, "all ones", there(&word));
            }
            if is_all_ones(back(&word).now_from(ends.vip)) {
                all_ones_back += 1;
                ends.back(&mut site, "all ones", back(&word));
            }
        }
        assert_eq!((all_ones_there, all_ones_back), (1, 1), "the case was met");
    }
}

#[test]
fn options_and_extension_headers_are_passed_over() {
    let mut site = Site::new([Pool { server_port: Some(2525), ..Pool::tcp("smtp", 25, Mode::Nat) }]);
    let ends4 = ends(V4, 25, 2525);
    ends4.there(&mut site, "router alert", ends4.tcp(SYN).options(&[148, 4, 0, 0]));
    ends4.back(&mut site, "the other way", ends4.tcp_back(SYN | ACK).options(&[148, 4, 0, 0]));
    ends4.there(&mut site, "as many options as can be", ends4.tcp(ACK).options(&[1; 40]));
    let ends6 = ends(V6, 25, 2525);
    let pad = [0, 0, 1, 4, 0, 0, 0, 0];
    let long = [vec![0, 0, 1, 20], vec![0; 20]].concat();
    let with = |frame: Frame| frame.extension(HOP_BY_HOP, &long).extension(DESTINATION_OPTIONS, &pad);
    ends6.there(&mut site, "both headers", with(ends6.tcp(SYN)));
    ends6.back(&mut site, "both headers", with(ends6.tcp_back(SYN | ACK)));
    ends6.there(&mut site, "hop-by-hop", ends6.tcp(ACK).extension(HOP_BY_HOP, &pad).data(b"x"));
}

#[test]
fn a_packet_whose_time_is_over_is_dropped_on_either_way() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat)]);
    for family in BOTH {
        let ends = ends(family, 25, 25);
        ends.there(&mut site, "TTL 2", ends.tcp(SYN).ttl(2));
        ends.back(&mut site, "TTL 2", ends.tcp_back(SYN | ACK).ttl(2));
        for ttl in [0, 1] {
            site.drops("to the server", &ends.tcp(ACK).ttl(ttl), "ttl");
            site.drops("to the client", &ends.tcp_back(ACK).between(server_mac(1), OWN).ttl(ttl), "ttl");
        }
        ends.there(&mut site, "TTL 255", ends.tcp(ACK).ttl(255));
    }
}

#[test]
fn replies_follow_a_router_that_gets_another_mac() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat)]);
    for family in BOTH {
        let ends = ends(family, 25, 25);
        ends.there(&mut site, "SYN", ends.tcp(SYN));
        ends.back(&mut site, "SYN ACK", ends.tcp_back(SYN | ACK));
        ends.there(&mut site, "ACK", ends.tcp(ACK));
        let other = [2, 0, 0, 0, 0, 0x98];
        let moved = ends.tcp(ACK).between(other, OWN).tag(7);
        let expected = ends.tcp(ACK).now_to(ends.server).hop().between(OWN, server_mac(1));
        site.sends("from the new router", &moved, "to-server", &expected);
        let reply = ends.tcp_back(ACK).between(server_mac(1), OWN);
        let expected = reply.clone().now_from(ends.vip).hop().between(OWN, other).tag(7);
        site.sends("back by the new router", &reply, "to-client", &expected);
    }
}

#[test]
fn what_a_server_sends_of_no_connection_of_ours_is_not_translated() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat)]);
    for family in BOTH {
        let ends = ends(family, 25, 25);
        ends.there(&mut site, "SYN", ends.tcp(SYN));
        let other_port = Frame::tcp(at(server(family, 1), 26), ends.client, SYN | ACK);
        site.passes("from another port", &other_port, "other");
        let other_client = Frame::tcp(ends.server, at(client(family, 1), 4001), SYN | ACK);
        site.passes("to another port", &other_client, "other");
        site.passes("UDP of the same ports", &Frame::udp(ends.server, ends.client, b"x"), "other");
        let stranger = Frame::tcp(at(server(family, 9), 25), ends.client, SYN | ACK);
        site.passes("from someone else", &stranger, "other");
    }
}

#[test]
fn a_range_of_ports_keeps_the_clients_port() {
    let ports = Ports { first: 30000, last: 30099 };
    let mut site = Site::new([Pool { ports, ..Pool::tcp("passive-ftp", 0, Mode::Nat) }]);
    for family in BOTH {
        for port in [30000, 30050, 30099] {
            let ends = ends(family, port, port);
            ends.there(&mut site, "SYN", ends.tcp(SYN));
            ends.back(&mut site, "SYN ACK", ends.tcp_back(SYN | ACK));
        }
        for port in [29999, 30100] {
            let outcome = site.send(&Frame::tcp(at(client(family, 1), 4000), at(vip(family, 1), port), SYN));
            assert_eq!(outcome.counted, ["rst-no-service"]);
        }
    }
}

#[test]
fn packets_and_bytes_are_counted_both_ways() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat)]);
    let ends = ends(V4, 25, 25);
    ends.there(&mut site, "SYN", ends.tcp(SYN));
    ends.back(&mut site, "SYN ACK", ends.tcp_back(SYN | ACK));
    ends.there(&mut site, "ACK", ends.tcp(ACK));
    ends.back(&mut site, "data", ends.tcp_back(ACK).data(&[0; 1000]));
    let traffic = site.dp.traffic().unwrap()[&Site::key("smtp", V4, 1)];
    assert_eq!((traffic.packets_in, traffic.bytes_in), (2, 80));
    assert_eq!((traffic.packets_out, traffic.bytes_out), (2, 1080));
    let seen: Vec<Mac> = site.dp.seen_macs().unwrap().iter().map(|seen| seen.mac).collect();
    assert_eq!(seen, [Mac(ROUTER), Mac(server_mac(1))], "both sides are hidden from the bridge");
}

/// Two VIPs, one server and port behind both: the server cannot tell two connections from one client
/// port apart.
#[test]
fn a_client_port_that_the_server_sees_already_gets_another_by_full_nat_or_is_counted() {
    let second = Pool { vip: 2, ..Pool::tcp("second", 25, Mode::Nat) };
    for established in [false, true] {
        let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat), second.clone()]);
        for family in BOTH {
            let one = ends(family, 25, 25);
            one.there(&mut site, "SYN to the first", one.tcp(SYN));
            one.back(&mut site, "SYN ACK", one.tcp_back(SYN | ACK));
            if established {
                one.there(&mut site, "ACK", one.tcp(ACK));
            }
            let two = at(vip(family, 2), 25);
            let syn = Frame::tcp(one.client, two, SYN);
            site.drops("SYN to the second, without source-nat", &syn, "nat-collision");
            assert_eq!(site.counts("second", family, 1).total, 0, "nothing was entered for it");
            assert_eq!(site.live("second", family, 1), (0, 0));

            site.source_nat(50000, 50000);
            let ours = at(snat(family), 50000);
            let expected = syn.clone().now_from(ours).now_to(one.server).hop().between(OWN, server_mac(1));
            site.sends("SYN to the second, with source-nat", &syn, "to-server", &expected);
            let reply = Frame::tcp(one.server, ours, SYN | ACK).between(server_mac(1), OWN);
            let expected = reply.clone().now_from(two).now_to(one.client).hop().between(OWN, ROUTER);
            site.sends("SYN ACK of the second", &reply, "to-client", &expected);
            one.back(&mut site, "the first goes on", one.tcp_back(SYN | ACK));
            site.change(|state| state.source_nat.clear());
        }
        site.assert_counts_are_true();
    }
}
