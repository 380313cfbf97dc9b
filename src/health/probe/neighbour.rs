//! Who has an address: ARP requests (RFC 826) and neighbour solicitations (RFC 4861), and their answers, as frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::Packet;
use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket};
use pnet::packet::icmpv6::ndp::{NdpOptionPacket, NdpOptionTypes, NeighborAdvertPacket};
use pnet::packet::icmpv6::{self, Icmpv6Code, Icmpv6Packet, Icmpv6Types};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv6::Ipv6Packet;
use pnet::packet::vlan::VlanPacket;
use pnet::util::MacAddr;

use crate::config::Mac;
use crate::core::check::{Failure, FailureKind, Verdict};
use crate::os::arp::{ETHERNET, IPV6, arp_request, solicitation};

/// A neighbour advertisement without options, bytes.
const ADVERT: usize = 24;

/// A frame that asks who has `address`. `mac` and `from` are the asker's own, and `from` of the same family; the
/// unspecified address, or one of the other family, makes it a question from which no receiver learns (RFC 5227, 2.1.1; RFC
/// 4862, 5.4.2).
pub fn request(mac: Mac, from: IpAddr, address: IpAddr) -> Vec<u8> {
    match (from, address) {
        (IpAddr::V4(from), IpAddr::V4(address)) => arp_request(mac, from, address),
        (IpAddr::V6(from), IpAddr::V6(address)) => solicitation(mac, from, address),
        (IpAddr::V6(_), IpAddr::V4(address)) => arp_request(mac, Ipv4Addr::UNSPECIFIED, address),
        (IpAddr::V4(_), IpAddr::V6(address)) => solicitation(mac, Ipv6Addr::UNSPECIFIED, address),
    }
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
    match target_option(message.get(ADVERT..)?) {
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
