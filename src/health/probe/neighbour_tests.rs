use etherparse::{Icmpv6Type, NetHeaders, PacketHeaders, PayloadSlice, TransportHeader};

use super::*;
use crate::os::arp::{gratuitous_arp, tagged, unsolicited_na};

const OURS: Mac = Mac([2, 0, 0, 0, 0xab, 1]);
const THEIRS: Mac = Mac([2, 0, 0, 0, 0xcd, 2]);

fn v4(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The frame that answers an ARP request, made from it as RFC 826 says.
fn reply(request: &[u8]) -> Vec<u8> {
    let mut frame = request.to_vec();
    frame[..6].copy_from_slice(&OURS.0);
    frame[6..12].copy_from_slice(&THEIRS.0);
    frame[21] = 2;
    let (asked, asker) = (request[38..42].to_vec(), request[22..32].to_vec());
    frame[22..28].copy_from_slice(&THEIRS.0);
    frame[28..32].copy_from_slice(&asked);
    frame[32..42].copy_from_slice(&asker);
    frame
}

#[test]
fn an_arp_request_asks_everybody_who_has_the_address() {
    for (from, sender) in [("10.1.0.1", [10, 1, 0, 1]), ("0.0.0.0", [0; 4])] {
        let frame = request(OURS, v4(from), v4("10.1.0.25"));
        assert_eq!(frame.len(), 60);
        let headers = PacketHeaders::from_ethernet_slice(&frame).unwrap();
        let ethernet = headers.link.clone().unwrap().ethernet2().unwrap();
        assert_eq!((ethernet.source, ethernet.destination), (OURS.0, [0xff; 6]));
        let Some(NetHeaders::Arp(arp)) = &headers.net else { panic!("not ARP: {headers:?}") };
        let arp = arp.try_eth_ipv4().unwrap();
        assert_eq!(arp.operation, etherparse::ArpOperation::REQUEST);
        assert_eq!((arp.sender_mac, arp.sender_ipv4), (OURS.0, sender));
        assert_eq!((arp.target_mac, arp.target_ipv4), ([0; 6], [10, 1, 0, 25]));
    }
}

#[test]
fn a_solicitation_goes_to_the_group_of_the_address_and_names_the_asker() {
    let target: Ipv6Addr = "2001:db8::12:3456".parse().unwrap();
    for (from, option) in [("2001:db8::1", true), ("::", false)] {
        let frame = request(OURS, v4(from), target.into());
        let headers = PacketHeaders::from_ethernet_slice(&frame).unwrap();
        let ethernet = headers.link.clone().unwrap().ethernet2().unwrap();
        assert_eq!(ethernet.destination, [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let Some(NetHeaders::Ipv6(ip, _)) = &headers.net else { panic!("not IPv6: {headers:?}") };
        assert_eq!(ip.hop_limit, 255);
        assert_eq!(Ipv6Addr::from(ip.destination), "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
        let Some(TransportHeader::Icmpv6(icmp)) = &headers.transport else { panic!("not ICMPv6: {headers:?}") };
        assert_eq!(icmp.icmp_type, Icmpv6Type::NeighborSolicitation);
        let PayloadSlice::Icmpv6(payload) = headers.payload else { panic!("no payload") };
        assert_eq!(payload[..16], target.octets());
        let expected: &[u8] = if option { &[1, 1, 2, 0, 0, 0, 0xab, 1] } else { &[] };
        assert_eq!(&payload[16..], expected);
        let computed = icmp.icmp_type.calc_checksum(ip.source, ip.destination, payload).unwrap();
        assert_eq!(icmp.checksum, computed, "checksum, by an independent implementation");
    }
}

#[test]
fn an_arp_reply_names_who_has_the_address_also_in_a_vlan() {
    let frame = reply(&request(OURS, v4("10.1.0.1"), v4("10.1.0.25")));
    assert_eq!(answer(&frame, v4("10.1.0.25")), Some(THEIRS));
    assert_eq!(answer(&tagged(&frame, 100), v4("10.1.0.25")), Some(THEIRS));
    assert_eq!(answer(&frame, v4("10.1.0.26")), None, "another address");
    assert_eq!(answer(&frame, v4("2001:db8::25")), None, "another family");
}

#[test]
fn questions_and_announcements_by_request_are_no_answers() {
    let address = v4("10.1.0.25");
    assert_eq!(answer(&request(OURS, address, address), address), None);
    assert_eq!(answer(&gratuitous_arp(THEIRS, "10.1.0.25".parse().unwrap()), address), None);
    let target = v4("2001:db8::25");
    assert_eq!(answer(&request(OURS, target, target), target), None);
}

#[test]
fn an_advertisement_names_who_has_the_address_and_must_be_valid() {
    let target: Ipv6Addr = "2001:db8::25".parse().unwrap();
    let frame = unsolicited_na(THEIRS, target);
    assert_eq!(answer(&frame, target.into()), Some(THEIRS));
    assert_eq!(answer(&tagged(&frame, 100), target.into()), Some(THEIRS));
    assert_eq!(answer(&frame, v4("2001:db8::26")), None, "another address");
    // A byte of what is summed up, of the hop limit, of type and code: not of the Ethernet header, nor of what
    // a receiver ignores.
    for at in [21, 20, 22, 38, 54, 55, 56, 62, 80] {
        let mut broken = frame.clone();
        broken[at] ^= 1;
        assert_eq!(answer(&broken, target.into()), None, "byte {at}");
    }
}

#[test]
fn an_advertisement_without_the_option_speaks_for_the_frames_sender_and_a_broken_option_for_nobody() {
    let target: Ipv6Addr = "2001:db8::25".parse().unwrap();
    let with = |options: &[u8]| {
        let mut frame = unsolicited_na(THEIRS, target);
        frame.truncate(ETHERNET + IPV6 + ADVERT);
        frame.extend_from_slice(options);
        let length = u16::try_from(ADVERT + options.len()).unwrap();
        frame[18..20].copy_from_slice(&length.to_be_bytes());
        let (source, destination) = (target, "ff02::1".parse().unwrap());
        let sum = icmpv6::checksum(&Icmpv6Packet::new(&frame[ETHERNET + IPV6..]).unwrap(), &source, &destination);
        frame[56..58].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    assert_eq!(answer(&with(&[]), target.into()), Some(THEIRS));
    assert_eq!(
        answer(&with(&[5, 1, 0, 0, 0, 0, 5, 220, 2, 1, 2, 3, 4, 5, 6, 7]), target.into()),
        Some(Mac([2, 3, 4, 5, 6, 7]))
    );
    for broken in [&[2, 0, 1, 2, 3, 4, 5, 6][..], &[2, 2, 1, 2, 3, 4, 5, 6], &[2], &[2, 1, 1]] {
        assert_eq!(answer(&with(broken), target.into()), None, "{broken:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_frame_panics(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120), kind in 0..4_usize,
    ) {
        let mut frame = bytes;
        let kinds: [[u8; 2]; 4] = [[8, 6], [0x86, 0xdd], [0x81, 0], [0, 0]];
        if let Some(field) = frame.get_mut(12..14) {
            field.copy_from_slice(&kinds[kind]);
        }
        let _ = answer(&frame, v4("10.1.0.25"));
        let _ = answer(&frame, v4("2001:db8::25"));
    }
}
