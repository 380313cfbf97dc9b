//! Who has an address: ARP requests (RFC 826) and neighbour solicitations (RFC 4861), and their answers, as frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::Packet;
use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket};
use pnet::packet::icmpv6::ndp::{
    MutableNeighborSolicitPacket, NdpOption, NdpOptionPacket, NdpOptionTypes, NeighborAdvertPacket,
};
use pnet::packet::icmpv6::{self, Icmpv6Code, Icmpv6Packet, Icmpv6Types};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet::packet::vlan::VlanPacket;
use pnet::util::MacAddr;

use crate::config::Mac;
use crate::core::check::{Failure, FailureKind, Verdict};
use crate::os::arp::{ARP, ETHERNET, IPV6, ethernet, mac_addr};

/// A solicitation, without its option: bytes.
const SOLICIT: usize = 24;
/// The option with the sender's link-layer address (RFC 4861, 4.6.1), bytes.
const SOURCE_OPTION: usize = 8;

/// A frame that asks who has `address`. `mac` and `from` are the asker's own, and `from` of the same family; the
/// unspecified address makes it one that changes no receiver's tables (RFC 5227, 2.1.1; RFC 4862, 5.4.2).
pub fn request(mac: Mac, from: IpAddr, address: IpAddr) -> Vec<u8> {
    match (from, address) {
        (IpAddr::V4(from), IpAddr::V4(address)) => arp_request(mac, from, address),
        (IpAddr::V6(from), IpAddr::V6(address)) => solicitation(mac, from, address),
        (IpAddr::V6(_), IpAddr::V4(address)) => arp_request(mac, Ipv4Addr::UNSPECIFIED, address),
        (IpAddr::V4(_), IpAddr::V6(address)) => solicitation(mac, Ipv6Addr::UNSPECIFIED, address),
    }
}

fn arp_request(mac: Mac, from: Ipv4Addr, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(mac, MacAddr::broadcast(), EtherTypes::Arp, ARP);
    if let Some(mut arp) = frame.get_mut(ETHERNET..).and_then(MutableArpPacket::new) {
        arp.set_hardware_type(ArpHardwareTypes::Ethernet);
        arp.set_protocol_type(EtherTypes::Ipv4);
        arp.set_hw_addr_len(6);
        arp.set_proto_addr_len(4);
        arp.set_operation(ArpOperations::Request);
        arp.set_sender_hw_addr(mac_addr(mac));
        arp.set_sender_proto_addr(from);
        arp.set_target_proto_addr(address);
    }
    frame
}

/// To the solicited-node multicast address (RFC 4291, 2.7.1), and its MAC (RFC 2464, section 7).
fn solicitation(mac: Mac, from: Ipv6Addr, address: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = address.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    // A source that is unspecified has no link-layer address to give (RFC 4861, 4.3).
    let length = if from.is_unspecified() { SOLICIT } else { SOLICIT + SOURCE_OPTION };
    let mut frame = ethernet(mac, MacAddr(0x33, 0x33, 0xff, a, b, c), EtherTypes::Ipv6, IPV6 + length);
    if let Some(mut ip) = frame.get_mut(ETHERNET..).and_then(MutableIpv6Packet::new) {
        ip.set_version(6);
        ip.set_payload_length(length as u16);
        ip.set_next_header(IpNextHeaderProtocols::Icmpv6);
        ip.set_hop_limit(255);
        ip.set_source(from);
        ip.set_destination(group);
    }
    if let Some(mut solicit) = frame.get_mut(ETHERNET + IPV6..).and_then(MutableNeighborSolicitPacket::new) {
        solicit.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
        solicit.set_icmpv6_code(Icmpv6Code(0));
        solicit.set_target_addr(address);
        if length > SOLICIT {
            let option = NdpOption { option_type: NdpOptionTypes::SourceLLAddr, length: 1, data: mac.0.to_vec() };
            solicit.set_options(&[option]);
        }
        if let Some(packet) = Icmpv6Packet::new(solicit.packet()) {
            let checksum = icmpv6::checksum(&packet, &from, &group);
            solicit.set_checksum(checksum);
        }
    }
    frame
}

/// Whose answer a frame is to the question who has `address`: the MAC that it names; `None`: it is no such
/// answer. The frame may have one VLAN tag.
pub fn answer(frame: &[u8], address: IpAddr) -> Option<Mac> {
    let ethernet = EthernetPacket::new(frame)?;
    let (kind, payload) = match ethernet.get_ethertype() {
        EtherTypes::Vlan => {
            let tag = VlanPacket::new(ethernet.payload())?;
            (tag.get_ethertype(), frame.get(ETHERNET + VlanPacket::minimum_packet_size()..)?)
        }
        kind => (kind, frame.get(ETHERNET..)?),
    };
    match (kind, address) {
        (EtherTypes::Arp, IpAddr::V4(address)) => arp_reply(payload, address),
        (EtherTypes::Ipv6, IpAddr::V6(address)) => advertisement(payload, address, ethernet.get_source()),
        _ => None,
    }
}

fn arp_reply(payload: &[u8], address: Ipv4Addr) -> Option<Mac> {
    let arp = ArpPacket::new(payload)?;
    let sound = arp.get_hardware_type() == ArpHardwareTypes::Ethernet
        && arp.get_protocol_type() == EtherTypes::Ipv4
        && (arp.get_hw_addr_len(), arp.get_proto_addr_len()) == (6, 4)
        && arp.get_operation() == ArpOperations::Reply;
    (sound && arp.get_sender_proto_addr() == address).then(|| mac_of(arp.get_sender_hw_addr()))
}

/// RFC 4861, 7.1.2 says what makes an advertisement valid. It may leave out the option with the MAC when it
/// answers a unicast question: then it is the frame's.
fn advertisement(payload: &[u8], address: Ipv6Addr, source: MacAddr) -> Option<Mac> {
    let ip = Ipv6Packet::new(payload)?;
    let length = usize::from(ip.get_payload_length());
    let message = payload.get(IPV6..IPV6 + length)?;
    let icmp = Icmpv6Packet::new(message)?;
    let sound = ip.get_next_header() == IpNextHeaderProtocols::Icmpv6
        && ip.get_hop_limit() == 255
        && (icmp.get_icmpv6_type(), icmp.get_icmpv6_code()) == (Icmpv6Types::NeighborAdvert, Icmpv6Code(0))
        && icmp.get_checksum() == icmpv6::checksum(&icmp, &ip.get_source(), &ip.get_destination());
    let advert = NeighborAdvertPacket::new(message)?;
    if !sound || advert.get_target_addr() != address {
        return None;
    }
    match target_option(message.get(SOLICIT..)?) {
        Ok(named) => Some(named.unwrap_or(mac_of(source))),
        Err(Unsound) => None,
    }
}

/// An option of length 0, or one that reaches beyond the packet: it must be dropped (RFC 4861, 7.1.2).
struct Unsound;

/// The MAC in the option with the target's link-layer address, if there is one.
fn target_option(mut options: &[u8]) -> Result<Option<Mac>, Unsound> {
    let mut named = None;
    while !options.is_empty() {
        let option = NdpOptionPacket::new(options).ok_or(Unsound)?;
        let size = usize::from(option.get_length()) * 8;
        let Some((this, rest)) = options.split_at_checked(size).filter(|_| size > 0) else { return Err(Unsound) };
        if option.get_option_type() == NdpOptionTypes::TargetLLAddr {
            named = this.get(2..8).and_then(|mac| Some(Mac(mac.try_into().ok()?))).or(named);
        }
        options = rest;
    }
    Ok(named)
}

fn mac_of(MacAddr(a, b, c, d, e, f): MacAddr) -> Mac {
    Mac([a, b, c, d, e, f])
}

/// The verdict for an address that was answered for.
pub fn answered(by: Mac) -> Verdict {
    Verdict::Success(format!("answered by {by}"))
}

pub fn timed_out(address: IpAddr) -> Failure {
    let words = match address {
        IpAddr::V4(_) => "no answer to ARP requests: is it on this network, and switched on?",
        IpAddr::V6(_) => "no answer to neighbour solicitations: is it on this network, and switched on?",
    };
    Failure { kind: FailureKind::Unreachable, words: words.into() }
}

#[cfg(test)]
#[path = "neighbour_tests.rs"]
mod tests;
