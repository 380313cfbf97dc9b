//! Frames that a machine without a network stack sends and reads: ARP and neighbour discovery, and the beginning of a
//! TCP connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::Packet;
use pnet::packet::arp::{Arp, ArpHardwareTypes, ArpOperation, ArpOperations, ArpPacket, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet::packet::icmpv6::ndp::{
    NdpOption, NdpOptionType, NdpOptionTypes, NeighborAdvertPacket, NeighborSolicitPacket,
};
use pnet::packet::icmpv6::{Icmpv6Packet, Icmpv6Types};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{self, Ipv4Packet, MutableIpv4Packet};
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet::packet::tcp::{self, MutableTcpPacket, TcpFlags, TcpPacket};
use pnet::util::MacAddr;

use crate::config::Mac;
use crate::os::arp;

/// Of an Ethernet, an IP and a TCP header without options, in bytes.
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: usize = 20;
const ARP: usize = 28;

/// What is read from a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Somebody asks who has `target`.
    Asked { by: (IpAddr, MacAddr), target: IpAddr },
    /// Somebody says that `address` is at `mac`, to `to`. An announcement is one to itself.
    Told { address: IpAddr, mac: MacAddr, to: IpAddr },
    /// A SYN was answered.
    Accepted { from: (IpAddr, u16), to: (IpAddr, u16), sequence: u32, acknowledged: u32 },
    /// A SYN was refused, or a connection reset.
    Reset { from: (IpAddr, u16), to: (IpAddr, u16) },
}

fn arp_packet(
    operation: ArpOperation,
    from: (Ipv4Addr, MacAddr),
    to: (Ipv4Addr, MacAddr),
    frame_to: MacAddr,
) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET + ARP];
    header(&mut frame, from.1, frame_to, EtherTypes::Arp);
    if let Some(mut packet) = frame.get_mut(ETHERNET..).and_then(MutableArpPacket::new) {
        packet.populate(&Arp {
            hardware_type: ArpHardwareTypes::Ethernet,
            protocol_type: EtherTypes::Ipv4,
            hw_addr_len: 6,
            proto_addr_len: 4,
            operation,
            sender_hw_addr: from.1,
            sender_proto_addr: from.0,
            target_hw_addr: to.1,
            target_proto_addr: to.0,
            payload: Vec::new(),
        });
    }
    frame
}

/// A question to all (RFC 826), or to those who may be it (RFC 4861); both addresses are of one family.
pub fn who_has(asker: (IpAddr, MacAddr), target: IpAddr) -> Vec<u8> {
    match (asker.0, target) {
        (IpAddr::V4(own), IpAddr::V4(target)) => {
            arp_packet(ArpOperations::Request, (own, asker.1), (target, MacAddr::zero()), MacAddr::broadcast())
        }
        (IpAddr::V6(own), IpAddr::V6(target)) => arp::solicitation(mac(asker.1), own, target),
        _ => Vec::new(),
    }
}

/// The answer.
pub fn is_at(own: (IpAddr, MacAddr), asker: (IpAddr, MacAddr)) -> Vec<u8> {
    match (own.0, asker.0) {
        (IpAddr::V4(address), IpAddr::V4(to)) => {
            arp_packet(ArpOperations::Reply, (address, own.1), (to, asker.1), asker.1)
        }
        (IpAddr::V6(address), IpAddr::V6(to)) => arp::solicited_na(mac(own.1), address, (to, mac(asker.1))),
        _ => Vec::new(),
    }
}

fn mac(address: MacAddr) -> Mac {
    Mac(address.octets())
}

fn header(frame: &mut [u8], from: MacAddr, to: MacAddr, kind: pnet::packet::ethernet::EtherType) {
    if let Some(mut ethernet) = MutableEthernetPacket::new(frame) {
        ethernet.set_source(from);
        ethernet.set_destination(to);
        ethernet.set_ethertype(kind);
    }
}

/// A TCP segment without data; both addresses are of one family.
pub fn segment(macs: (MacAddr, MacAddr), from: (IpAddr, u16), to: (IpAddr, u16), flags: u8, sequence: u32) -> Vec<u8> {
    let (mut frame, ip) = match (from.0, to.0) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (ipv4_header(macs, from, to), IPV4),
        (IpAddr::V6(from), IpAddr::V6(to)) => (ipv6_header(macs, from, to), IPV6),
        _ => return Vec::new(),
    };
    if let Some(mut packet) = frame.get_mut(ETHERNET + ip..).and_then(MutableTcpPacket::new) {
        packet.set_source(from.1);
        packet.set_destination(to.1);
        packet.set_sequence(sequence);
        packet.set_data_offset(5);
        packet.set_flags(flags);
        packet.set_window(64_240);
        let segment = packet.to_immutable();
        let checksum = match (from.0, to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => tcp::ipv4_checksum(&segment, &from, &to),
            (IpAddr::V6(from), IpAddr::V6(to)) => tcp::ipv6_checksum(&segment, &from, &to),
            _ => 0,
        };
        packet.set_checksum(checksum);
    }
    frame
}

/// A frame with room for a TCP header.
fn ipv4_header(macs: (MacAddr, MacAddr), from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET + IPV4 + TCP];
    header(&mut frame, macs.0, macs.1, EtherTypes::Ipv4);
    if let Some(mut packet) = frame.get_mut(ETHERNET..).and_then(MutableIpv4Packet::new) {
        packet.set_version(4);
        packet.set_header_length(5);
        packet.set_total_length((IPV4 + TCP) as u16);
        packet.set_flags(ipv4::Ipv4Flags::DontFragment);
        packet.set_ttl(64);
        packet.set_next_level_protocol(IpNextHeaderProtocols::Tcp);
        packet.set_source(from);
        packet.set_destination(to);
        packet.set_checksum(ipv4::checksum(&packet.to_immutable()));
    }
    frame
}

/// A frame with room for a TCP header.
fn ipv6_header(macs: (MacAddr, MacAddr), from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET + IPV6 + TCP];
    header(&mut frame, macs.0, macs.1, EtherTypes::Ipv6);
    if let Some(mut packet) = frame.get_mut(ETHERNET..).and_then(MutableIpv6Packet::new) {
        packet.set_version(6);
        packet.set_payload_length(TCP as u16);
        packet.set_next_header(IpNextHeaderProtocols::Tcp);
        packet.set_hop_limit(64);
        packet.set_source(from);
        packet.set_destination(to);
    }
    frame
}

pub fn syn(macs: (MacAddr, MacAddr), from: (IpAddr, u16), to: (IpAddr, u16)) -> Vec<u8> {
    segment(macs, from, to, TcpFlags::SYN, 1)
}

pub fn reset(macs: (MacAddr, MacAddr), from: (IpAddr, u16), to: (IpAddr, u16), sequence: u32) -> Vec<u8> {
    segment(macs, from, to, TcpFlags::RST, sequence)
}

/// What a frame says; `None` if nothing of this.
pub fn read(frame: &[u8]) -> Option<Heard> {
    let ethernet = EthernetPacket::new(frame)?;
    match ethernet.get_ethertype() {
        EtherTypes::Arp => {
            let packet = ArpPacket::new(ethernet.payload())?;
            let by = (IpAddr::from(packet.get_sender_proto_addr()), packet.get_sender_hw_addr());
            let target = IpAddr::from(packet.get_target_proto_addr());
            // Announcements come as either.
            let told = packet.get_operation() == ArpOperations::Reply || by.0 == target;
            let asked = Heard::Asked { by, target };
            Some(if told { Heard::Told { address: by.0, mac: by.1, to: target } } else { asked })
        }
        EtherTypes::Ipv4 => {
            let packet = Ipv4Packet::new(ethernet.payload())?;
            let is_tcp = packet.get_next_level_protocol() == IpNextHeaderProtocols::Tcp;
            let ends = (packet.get_source().into(), packet.get_destination().into());
            if is_tcp { read_tcp(packet.payload(), ends) } else { None }
        }
        EtherTypes::Ipv6 => {
            let packet = Ipv6Packet::new(ethernet.payload())?;
            let (from, to) = (packet.get_source(), packet.get_destination());
            match packet.get_next_header() {
                IpNextHeaderProtocols::Tcp => read_tcp(packet.payload(), (from.into(), to.into())),
                IpNextHeaderProtocols::Icmpv6 => read_discovery(packet.payload(), from, to, ethernet.get_source()),
                _ => None,
            }
        }
        _ => None,
    }
}

fn read_tcp(bytes: &[u8], (from, to): (IpAddr, IpAddr)) -> Option<Heard> {
    let segment = TcpPacket::new(bytes)?;
    let (from, to) = ((from, segment.get_source()), (to, segment.get_destination()));
    let (sequence, acknowledged) = (segment.get_sequence(), segment.get_acknowledgement());
    let flags = segment.get_flags();
    if flags & TcpFlags::RST != 0 {
        return Some(Heard::Reset { from, to });
    }
    let both = TcpFlags::SYN | TcpFlags::ACK;
    (flags & both == both).then_some(Heard::Accepted { from, to, sequence, acknowledged })
}

/// Neighbour discovery (RFC 4861); `sender` is believed where a message names no MAC.
fn read_discovery(bytes: &[u8], from: Ipv6Addr, to: Ipv6Addr, sender: MacAddr) -> Option<Heard> {
    match Icmpv6Packet::new(bytes)?.get_icmpv6_type() {
        Icmpv6Types::NeighborSolicit if !from.is_unspecified() => {
            let packet = NeighborSolicitPacket::new(bytes)?;
            let mac = named(&packet.get_options(), NdpOptionTypes::SourceLLAddr).unwrap_or(sender);
            Some(Heard::Asked { by: (from.into(), mac), target: packet.get_target_addr().into() })
        }
        Icmpv6Types::NeighborAdvert => {
            let packet = NeighborAdvertPacket::new(bytes)?;
            let mac = named(&packet.get_options(), NdpOptionTypes::TargetLLAddr).unwrap_or(sender);
            let address = packet.get_target_addr();
            let to = if to.is_multicast() { address } else { to };
            Some(Heard::Told { address: address.into(), mac, to: to.into() })
        }
        _ => None,
    }
}

/// The MAC that an option of this kind names.
fn named(options: &[NdpOption], kind: NdpOptionType) -> Option<MacAddr> {
    let option = options.iter().find(|option| option.option_type == kind)?;
    let octets: [u8; 6] = option.data.get(..6)?.try_into().ok()?;
    Some(octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    type End = (IpAddr, MacAddr);

    /// A machine and a balancer, by IPv4 and by IPv6.
    fn ends() -> [[End; 2]; 2] {
        let (a, b) = (MacAddr(2, 0, 0, 0, 0, 1), MacAddr(2, 0, 0, 0, 0, 2));
        [["192.0.2.200", "192.0.2.25"], ["2001:db8::1:c8", "2001:db8::25"]]
            .map(|[one, two]| [(one.parse().unwrap(), a), (two.parse().unwrap(), b)])
    }

    #[test]
    fn questions_answers_and_announcements_are_told_apart() {
        for [a, b] in ends() {
            assert_eq!(read(&who_has(a, b.0)), Some(Heard::Asked { by: a, target: b.0 }));
            assert_eq!(read(&is_at(b, a)), Some(Heard::Told { address: b.0, mac: b.1, to: a.0 }));
            let announced = arp::announcement(mac(b.1), b.0);
            assert_eq!(read(&announced), Some(Heard::Told { address: b.0, mac: b.1, to: b.0 }));
        }
    }

    #[test]
    fn who_looks_whether_an_address_is_free_tells_nobody_his_own() {
        assert_eq!(read(&arp::solicitation(Mac([2; 6]), Ipv6Addr::UNSPECIFIED, "2001:db8::25".parse().unwrap())), None);
    }

    #[test]
    fn an_accepted_connection_is_told_from_its_syn_and_from_a_reset() {
        for [a, b] in ends() {
            let (from, to) = ((a.0, 1_000), (b.0, 7));
            assert_eq!(read(&syn((a.1, b.1), from, to)), None);
            let accepted = segment((b.1, a.1), to, from, TcpFlags::SYN | TcpFlags::ACK, 9);
            let heard = Heard::Accepted { from: to, to: from, sequence: 9, acknowledged: 0 };
            assert_eq!(read(&accepted), Some(heard));
            assert_eq!(read(&reset((b.1, a.1), to, from, 2)), Some(Heard::Reset { from: to, to: from }));
            for length in 0..accepted.len() {
                assert_eq!(read(&accepted[..length]), None, "a part of a frame");
            }
        }
    }
}
