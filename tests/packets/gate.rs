//! Before anything is balanced: the port, the lease, the destination MAC, and what is not for us.

use lbd::config::Mode;
use nix::time::{ClockId, clock_gettime};

use super::frame::*;
use super::site::*;

fn syn(family: Family) -> Frame {
    Frame::tcp(at(client(family, 1), 4000), at(vip(family, 1), 25), SYN)
}

fn arp_for_vip() -> Arp {
    let (asker, vip) = ([198, 51, 100, 1], [192, 0, 2, 1]);
    Arp { to: [0xff; 6], from: ROUTER, tag: None, operation: 1, sender: (ROUTER, asker), target: ([0; 6], vip) }
}

#[test]
fn without_a_lease_everything_goes_to_the_kernel() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    site.lease().set_until(0);
    for family in BOTH {
        let echo = Frame::icmp(client(family, 1), vip(family, 1), if family == V4 { 8 } else { 128 }, 0, 1, b"ping");
        site.passes("a first packet", &syn(family), "not-owner");
        site.passes("a ping", &echo, "not-owner");
    }
    site.passes_bytes("who-has", &arp_for_vip().bytes(), "not-owner");
    site.assert_counts_are_true();
    assert_eq!(site.counts("smtp", V4, 1).total, 0);
}

#[test]
fn the_lease_runs_on_the_clock_that_suspend_does_not_stop() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap();
    let now = u64::try_from(now.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap();
    site.lease().set_until(now - 1);
    site.passes("a lease that has just ended", &syn(V4), "not-owner served-late");
    site.lease().set_until(now + 3_600_000_000_000);
    site.sends("a lease for an hour", &syn(V4), "to-server", &syn(V4).between(OWN, server_mac(1)));
    site.dp.own_alone();
    site.sends("a lease without end", &syn(V4), "to-server", &syn(V4).between(OWN, server_mac(1)));
    site.lease().set_until(1);
    site.passes("a lease of long ago", &syn(V4), "not-owner");
}

#[test]
fn a_port_that_is_not_ours_or_does_not_forward_neither_takes_nor_sends() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    site.change(|state| state.ports.get_mut(&LO).unwrap().forwarding = false);
    site.passes("blocked by the bridge", &syn(V4), "port");
    site.passes_bytes("who-has on a blocked port", &arp_for_vip().bytes(), "port");
    site.change(|state| state.ports.get_mut(&LO).unwrap().forwarding = true);
    site.sends("forwarding again", &syn(V4), "to-server", &syn(V4).between(OWN, server_mac(1)));
    site.change(|state| state.ports.clear());
    site.passes("not a port of ours", &syn(V4), "port");
}

#[test]
fn a_server_without_a_place_or_behind_a_port_that_is_gone_gets_nothing() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    site.dest("smtp", V4, 1).place = Err(lbd::core::network::Nowhere::NoNeighbour);
    site.apply();
    site.drops("its MAC is not known", &syn(V4), "no-place");
    let mac = lbd::config::Mac(server_mac(1));
    site.dest("smtp", V4, 1).place = Ok(lbd::core::network::Place { mac, port: 4_000_000, vlan: 0 });
    site.apply();
    site.drops("its port is none of ours", &syn(V4), "egress");
}

#[test]
fn what_has_another_destination_mac_is_switched() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr), Pool::udp("dns", 53, Mode::Nat)]);
    for family in BOTH {
        for to in [STRANGER, [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
            let (c, v) = (client(family, 1), vip(family, 1));
            let kind = if family == V4 { 8 } else { 128 };
            site.passes("TCP", &syn(family).between(ROUTER, to), "switched");
            site.passes("UDP", &Frame::udp(at(c, 1), at(v, 53), b"q").between(ROUTER, to), "switched");
            site.passes("a ping", &Frame::icmp(c, v, kind, 0, 1, b"").between(ROUTER, to), "switched");
        }
    }
}

#[test]
fn what_is_not_for_a_virtual_address_goes_to_the_kernel() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat)]);
    for family in BOTH {
        let (c, s) = (client(family, 1), server(family, 1));
        site.passes("to a server's own address", &Frame::tcp(at(c, 4000), at(s, 25), SYN), "other");
        site.passes("from a server, of no flow", &Frame::tcp(at(s, 25), at(c, 4000), SYN | ACK), "other");
        site.passes("a server's own connection", &Frame::tcp(at(s, 4000), at(c, 25), SYN), "other");
        site.passes("to the inside address", &Frame::tcp(at(s, 4000), at(inside(family), 22), SYN), "other");
        site.passes("through us", &Frame::udp(at(c, 1), at(client(family, 2), 2), b"x"), "other");
    }
}

#[test]
fn what_is_neither_ip_nor_arp_or_has_two_tags_goes_to_the_kernel() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    let mut stp = [[1, 0x80, 0xc2, 0, 0, 0], STRANGER].concat();
    stp.extend([0, 38, 0x42, 0x42, 3]);
    stp.resize(60, 0);
    site.passes_bytes("spanning tree", &stp, "other");
    let plain = syn(V4).bytes();
    for outer in [[0x88, 0xa8], [0x81, 0x00]] {
        let mut tagged = plain[..12].to_vec();
        tagged.extend(outer);
        tagged.extend([0, 5, 0x81, 0x00, 0, 7]);
        tagged.extend(&plain[12..]);
        site.passes_bytes("two tags", &tagged, "other");
    }
}

#[test]
fn other_protocols_to_a_virtual_address_are_dropped_and_other_icmp_passes() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    for family in BOTH {
        let (c, v) = (client(family, 1), vip(family, 1));
        site.drops("GRE", &Frame::raw(c, v, 47, &[0; 24]), "protocol");
        site.drops("SCTP", &Frame::raw(c, v, 132, &[0; 24]), "protocol");
        let kind = if family == V4 { 13 } else { 130 };
        site.passes("another ICMP message", &Frame::icmp(c, v, kind, 0, 0, &[0; 16]), "other");
    }
    site.drops("ICMPv6 in IPv4", &Frame::raw(client(V4, 1), vip(V4, 1), 58, &[128, 0, 0, 0, 0, 0, 0, 0]), "protocol");
    site.drops("ICMP in IPv6", &Frame::raw(client(V6, 1), vip(V6, 1), 1, &[8, 0, 0, 0, 0, 0, 0, 0]), "protocol");
}

#[test]
fn a_malformed_packet_is_left_to_the_kernel() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    let change = |family, byte: usize, value: u8| {
        let mut bytes = syn(family).bytes();
        bytes[byte] = value;
        bytes
    };
    site.passes_bytes("version 5 in an IPv4 frame", &change(V4, 14, 0x55), "malformed");
    site.passes_bytes("a header of 16 bytes", &change(V4, 14, 0x44), "malformed");
    site.passes_bytes("version 4 in an IPv6 frame", &change(V6, 14, 0x40), "malformed");
    site.passes_bytes("options beyond the end", &change(V4, 14, 0x4f), "malformed");
    site.passes_bytes("an extension header beyond the end", &change(V6, 20, DESTINATION_OPTIONS), "malformed");
}

/// `::ffff:a.b.c.d` is how the tables hold IPv4, and never on the wire (RFC 4291, 2.5.5.2).
#[test]
fn an_ipv6_packet_that_poses_as_ipv4_is_left_to_the_kernel() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat)]);
    let mapped = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        v6 => v6,
    };
    let (c, v) = (client(V4, 1), vip(V4, 1));
    site.passes("to a VIP", &Frame::tcp(at(mapped(c), 4000), at(mapped(v), 25), SYN), "malformed");
    site.passes("from a client", &Frame::tcp(at(mapped(c), 4000), at(vip(V6, 1), 25), SYN), "malformed");
    assert_eq!(site.counts("smtp", V4, 1).total, 0);
}
