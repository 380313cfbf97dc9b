//! Frames that a machine without a network stack sends and reads: ARP, and the beginning of a TCP connection.

use std::net::Ipv4Addr;

use pnet::packet::Packet;
use pnet::packet::arp::{Arp, ArpHardwareTypes, ArpOperation, ArpOperations, ArpPacket, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{self, Ipv4Packet, MutableIpv4Packet};
use pnet::packet::tcp::{self, MutableTcpPacket, TcpFlags, TcpPacket};
use pnet::util::MacAddr;

/// Of an Ethernet, an IPv4 and a TCP header without options, in bytes.
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const TCP: usize = 20;
const ARP: usize = 28;

/// What is read from a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Somebody asks who has `target`.
    Asked { by: (Ipv4Addr, MacAddr), target: Ipv4Addr },
    /// Somebody says that `address` is at `mac`, to `to`. An announcement is one to itself.
    Told { address: Ipv4Addr, mac: MacAddr, to: Ipv4Addr },
    /// A SYN was answered.
    Accepted { from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), sequence: u32, acknowledged: u32 },
    /// A SYN was refused, or a connection reset.
    Reset { from: (Ipv4Addr, u16), to: (Ipv4Addr, u16) },
}

fn arp(operation: ArpOperation, from: (Ipv4Addr, MacAddr), to: (Ipv4Addr, MacAddr), frame_to: MacAddr) -> Vec<u8> {
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

/// A broadcast question (RFC 826).
pub fn who_has(asker: (Ipv4Addr, MacAddr), target: Ipv4Addr) -> Vec<u8> {
    arp(ArpOperations::Request, asker, (target, MacAddr::zero()), MacAddr::broadcast())
}

/// The answer.
pub fn is_at(own: (Ipv4Addr, MacAddr), asker: (Ipv4Addr, MacAddr)) -> Vec<u8> {
    arp(ArpOperations::Reply, own, asker, asker.1)
}

fn header(frame: &mut [u8], from: MacAddr, to: MacAddr, kind: pnet::packet::ethernet::EtherType) {
    if let Some(mut ethernet) = MutableEthernetPacket::new(frame) {
        ethernet.set_source(from);
        ethernet.set_destination(to);
        ethernet.set_ethertype(kind);
    }
}

/// A TCP segment without data.
pub fn segment(
    macs: (MacAddr, MacAddr),
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    flags: u8,
    sequence: u32,
) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET + IPV4 + TCP];
    header(&mut frame, macs.0, macs.1, EtherTypes::Ipv4);
    if let Some(mut packet) = frame.get_mut(ETHERNET..).and_then(MutableIpv4Packet::new) {
        packet.set_version(4);
        packet.set_header_length(5);
        packet.set_total_length((IPV4 + TCP) as u16);
        packet.set_flags(ipv4::Ipv4Flags::DontFragment);
        packet.set_ttl(64);
        packet.set_next_level_protocol(IpNextHeaderProtocols::Tcp);
        packet.set_source(from.0);
        packet.set_destination(to.0);
        packet.set_checksum(ipv4::checksum(&packet.to_immutable()));
    }
    if let Some(mut packet) = frame.get_mut(ETHERNET + IPV4..).and_then(MutableTcpPacket::new) {
        packet.set_source(from.1);
        packet.set_destination(to.1);
        packet.set_sequence(sequence);
        packet.set_data_offset(5);
        packet.set_flags(flags);
        packet.set_window(64_240);
        packet.set_checksum(tcp::ipv4_checksum(&packet.to_immutable(), &from.0, &to.0));
    }
    frame
}

pub fn syn(macs: (MacAddr, MacAddr), from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Vec<u8> {
    segment(macs, from, to, TcpFlags::SYN, 1)
}

pub fn reset(macs: (MacAddr, MacAddr), from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), sequence: u32) -> Vec<u8> {
    segment(macs, from, to, TcpFlags::RST, sequence)
}

/// What a frame says; `None` if nothing of this.
pub fn read(frame: &[u8]) -> Option<Heard> {
    let ethernet = EthernetPacket::new(frame)?;
    match ethernet.get_ethertype() {
        EtherTypes::Arp => {
            let packet = ArpPacket::new(ethernet.payload())?;
            let by = (packet.get_sender_proto_addr(), packet.get_sender_hw_addr());
            let target = packet.get_target_proto_addr();
            // Announcements come as either.
            let told = packet.get_operation() == ArpOperations::Reply || by.0 == target;
            let asked = Heard::Asked { by, target };
            Some(if told { Heard::Told { address: by.0, mac: by.1, to: target } } else { asked })
        }
        EtherTypes::Ipv4 => {
            let packet = Ipv4Packet::new(ethernet.payload())?;
            if packet.get_next_level_protocol() != IpNextHeaderProtocols::Tcp {
                return None;
            }
            let segment = TcpPacket::new(packet.payload())?;
            let from = (packet.get_source(), segment.get_source());
            let to = (packet.get_destination(), segment.get_destination());
            let (sequence, acknowledged) = (segment.get_sequence(), segment.get_acknowledgement());
            let flags = segment.get_flags();
            if flags & TcpFlags::RST != 0 {
                return Some(Heard::Reset { from, to });
            }
            let both = TcpFlags::SYN | TcpFlags::ACK;
            (flags & both == both).then_some(Heard::Accepted { from, to, sequence, acknowledged })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: (Ipv4Addr, MacAddr) = (Ipv4Addr::new(192, 0, 2, 200), MacAddr(2, 0, 0, 0, 0, 1));
    const B: (Ipv4Addr, MacAddr) = (Ipv4Addr::new(192, 0, 2, 25), MacAddr(2, 0, 0, 0, 0, 2));

    #[test]
    fn questions_answers_and_announcements_are_told_apart() {
        assert_eq!(read(&who_has(A, B.0)), Some(Heard::Asked { by: A, target: B.0 }));
        assert_eq!(read(&is_at(B, A)), Some(Heard::Told { address: B.0, mac: B.1, to: A.0 }));
        assert_eq!(read(&who_has(B, B.0)), Some(Heard::Told { address: B.0, mac: B.1, to: B.0 }));
    }

    #[test]
    fn an_accepted_connection_is_told_from_its_syn_and_from_a_reset() {
        let (from, to) = ((A.0, 1_000), (B.0, 7));
        assert_eq!(read(&syn((A.1, B.1), from, to)), None);
        let accepted = segment((B.1, A.1), to, from, TcpFlags::SYN | TcpFlags::ACK, 9);
        let heard = Heard::Accepted { from: to, to: from, sequence: 9, acknowledged: 0 };
        assert_eq!(read(&accepted), Some(heard));
        assert_eq!(read(&reset((B.1, A.1), to, from, 2)), Some(Heard::Reset { from: to, to: from }));
        assert_eq!(read(&accepted[..40]), None, "a part of a frame");
    }
}
