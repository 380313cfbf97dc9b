use etherparse::{Icmpv6Type, LaxPacketHeaders, NetHeaders, PacketHeaders, PayloadSlice, TransportHeader};

use super::*;

const MAC: Mac = Mac([2, 0, 0, 0, 0xab, 1]);

#[test]
fn a_gratuitous_arp_is_a_broadcast_request_for_the_senders_own_address() {
    let vip = Ipv4Addr::new(192, 0, 2, 10);
    let frame = gratuitous_arp(MAC, vip);
    let headers = PacketHeaders::from_ethernet_slice(&frame).unwrap();
    let ethernet = headers.link.clone().unwrap().ethernet2().unwrap();
    assert_eq!(ethernet.source, MAC.0);
    assert_eq!(ethernet.destination, [0xff; 6]);
    let Some(NetHeaders::Arp(arp)) = &headers.net else { panic!("not ARP: {headers:?}") };
    let arp = arp.try_eth_ipv4().unwrap();
    assert_eq!(arp.operation, etherparse::ArpOperation::REQUEST);
    assert_eq!(arp.sender_mac, MAC.0);
    assert_eq!(arp.sender_ipv4, vip.octets());
    assert_eq!(arp.target_mac, [0; 6]);
    assert_eq!(arp.target_ipv4, vip.octets());
}

#[test]
fn a_gratuitous_arp_is_padded_to_the_shortest_ethernet_frame_with_zeros() {
    let frame = gratuitous_arp(MAC, Ipv4Addr::new(192, 0, 2, 10));
    assert_eq!(frame.len(), 60);
    assert!(frame[42..].iter().all(|byte| *byte == 0));
}

#[test]
fn an_unsolicited_advertisement_goes_to_all_nodes_and_overrides_what_they_know() {
    let vip: Ipv6Addr = "2001:db8::10".parse().unwrap();
    let frame = unsolicited_na(MAC, vip);
    let headers = PacketHeaders::from_ethernet_slice(&frame).unwrap();
    let ethernet = headers.link.clone().unwrap().ethernet2().unwrap();
    assert_eq!(ethernet.source, MAC.0);
    assert_eq!(ethernet.destination, [0x33, 0x33, 0, 0, 0, 1]);
    let Some(NetHeaders::Ipv6(ip, _)) = &headers.net else { panic!("not IPv6: {headers:?}") };
    assert_eq!(ip.hop_limit, 255);
    assert_eq!(ip.source, vip.octets());
    assert_eq!(ip.destination, ALL_NODES.octets());
    let Some(TransportHeader::Icmpv6(icmp)) = &headers.transport else { panic!("not ICMPv6: {headers:?}") };
    let Icmpv6Type::NeighborAdvertisement(flags) = icmp.icmp_type else {
        panic!("not an advertisement: {icmp:?}");
    };
    assert!(flags.r#override && !flags.solicited && !flags.router);
    let PayloadSlice::Icmpv6(payload) = headers.payload else { panic!("no payload") };
    assert_eq!(payload[..16], vip.octets());
    assert_eq!(payload[16..], [2, 1, 2, 0, 0, 0, 0xab, 1]);
    let computed = icmp.icmp_type.calc_checksum(ip.source, ip.destination, payload).unwrap();
    assert_eq!(icmp.checksum, computed, "checksum, by an independent implementation");
}

#[test]
fn a_tagged_announcement_carries_the_vlan_and_is_otherwise_the_same() {
    let frame = gratuitous_arp(MAC, Ipv4Addr::new(192, 0, 2, 10));
    let with_tag = tagged(&frame, 100);
    let headers = LaxPacketHeaders::from_ethernet(&with_tag).unwrap();
    assert_eq!(headers.vlan_ids().as_slice(), [etherparse::VlanId::try_new(100).unwrap()]);
    assert_eq!(with_tag.len(), 64);
    assert_eq!(with_tag[..12], frame[..12]);
    assert_eq!(with_tag[16..], frame[12..]);
}

#[test]
fn tagging_something_shorter_than_a_header_does_not_panic() {
    assert_eq!(tagged(&[1, 2, 3], 5), [1, 2, 3, 0x81, 0, 0, 5]);
}
