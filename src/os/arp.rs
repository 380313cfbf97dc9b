//! Announcing an address, and asking who has one: gratuitous ARP and unsolicited neighbour
//! advertisements, ARP probes and solicitations, sent on a given port past the bridge and the host stack.

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::Packet;
use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, MutableArpPacket};
use pnet::packet::ethernet::{EtherType, EtherTypes, MutableEthernetPacket};
use pnet::packet::icmpv6::ndp::{
    MutableNeighborAdvertPacket, MutableNeighborSolicitPacket, NdpOption, NdpOptionTypes, NeighborAdvertFlags,
};
use pnet::packet::icmpv6::{self, Icmpv6Code, Icmpv6Packet, Icmpv6Types};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::util::MacAddr;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, SockFilter, Socket, Type};

use super::OsError;
use crate::config::Mac;
use crate::core::network::IfIndex;

/// Shortest Ethernet frame, bytes, without its check sequence (IEEE 802.3). pnet does not pad.
const FRAME_MIN: usize = 60;
pub(crate) const ETHERNET: usize = 14;
const VLAN_TAG: usize = 4;
const ARP: usize = 28;
pub(crate) const IPV6: usize = 40;
/// A neighbour advertisement or solicitation with one option, a link-layer address.
const ADVERT: usize = 24 + OPTION;
const OPTION: usize = 8;
/// ff02::1 and its MAC (RFC 2464, section 7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: MacAddr = MacAddr(0x33, 0x33, 0, 0, 0, 1);

/// A frame that says that `address` is at `mac`: gratuitous ARP or unsolicited advertisement.
pub fn announcement(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => gratuitous_arp(mac, address),
        IpAddr::V6(address) => unsolicited_na(mac, address),
    }
}

/// An ARP announcement (RFC 5227, section 3; RFC 5944, section 4.6): a broadcast
/// *request* with the address as sender and as target. A request, since it also
/// updates receivers that ignore replies for which they did not ask.
pub fn gratuitous_arp(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    arp_request(mac, address, address)
}

/// Asks who has an address, by an ARP probe (RFC 5227, section 2.1.1): its sender is 0.0.0.0, from which nobody learns.
pub fn arp_probe(mac: Mac, target: Ipv4Addr) -> Vec<u8> {
    arp_request(mac, Ipv4Addr::UNSPECIFIED, target)
}

/// Asks who has an address (RFC 826), and tells that `sender` is at `mac`.
pub fn arp_request(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(mac, MacAddr::broadcast(), EtherTypes::Arp, ARP);
    if let Some(mut arp) = frame.get_mut(ETHERNET..).and_then(MutableArpPacket::new) {
        arp.set_hardware_type(ArpHardwareTypes::Ethernet);
        arp.set_protocol_type(EtherTypes::Ipv4);
        arp.set_hw_addr_len(6);
        arp.set_proto_addr_len(4);
        arp.set_operation(ArpOperations::Request);
        arp.set_sender_hw_addr(mac_addr(mac));
        arp.set_sender_proto_addr(sender);
        // RFC 5227: the target's hardware address is ignored, and should be zero.
        arp.set_target_hw_addr(MacAddr::zero());
        arp.set_target_proto_addr(target);
    }
    frame
}

/// Asks who has an address, by a neighbour solicitation (RFC 4861, section 4.3) from an own one, `source`, to the
/// target's solicited-node group. From the unspecified address nobody learns (RFC 4862, section 5.4.2).
pub fn solicitation(mac: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    // ff02::1:ff00:0/104 (RFC 4291, section 2.7.1), and its MAC.
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    // A source that is unspecified must not name a link-layer address (RFC 4861, section 4.3).
    let length = if source.is_unspecified() { ADVERT - OPTION } else { ADVERT };
    let mut frame = discovery((mac, source), (MacAddr(0x33, 0x33, 0xff, a, b, c), group), length);
    if let Some(mut solicit) = frame.get_mut(ETHERNET + IPV6..).and_then(MutableNeighborSolicitPacket::new) {
        solicit.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
        solicit.set_icmpv6_code(Icmpv6Code(0));
        solicit.set_target_addr(target);
        if length == ADVERT {
            // Option 1 (source link-layer address), length 1 (in units of 8 bytes).
            let option = NdpOption { option_type: NdpOptionTypes::SourceLLAddr, length: 1, data: mac.0.to_vec() };
            solicit.set_options(&[option]);
        }
        if let Some(packet) = Icmpv6Packet::new(solicit.packet()) {
            let checksum = icmpv6::checksum(&packet, &source, &group);
            solicit.set_checksum(checksum);
        }
    }
    frame
}

/// An unsolicited neighbour advertisement (RFC 4861, section 7.2.6) to all
/// nodes, with the override flag, so that an existing entry is replaced. The
/// source is the address itself, which is what the receivers want to know about.
pub fn unsolicited_na(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    advertisement(mac, address, (ALL_NODES, ALL_NODES_MAC), NeighborAdvertFlags::Override)
}

/// The answer to a solicitation from `asker` (RFC 4861, section 7.2.4).
pub fn solicited_na(mac: Mac, address: Ipv6Addr, asker: (Ipv6Addr, Mac)) -> Vec<u8> {
    let flags = NeighborAdvertFlags::Solicited | NeighborAdvertFlags::Override;
    advertisement(mac, address, (asker.0, mac_addr(asker.1)), flags)
}

fn advertisement(mac: Mac, address: Ipv6Addr, to: (Ipv6Addr, MacAddr), flags: u8) -> Vec<u8> {
    let mut frame = discovery((mac, address), (to.1, to.0), ADVERT);
    if let Some(mut advert) = frame.get_mut(ETHERNET + IPV6..).and_then(MutableNeighborAdvertPacket::new) {
        advert.set_icmpv6_type(Icmpv6Types::NeighborAdvert);
        advert.set_icmpv6_code(Icmpv6Code(0));
        advert.set_flags(flags);
        advert.set_target_addr(address);
        // Option 2 (target link-layer address), length 1 (in units of 8 bytes).
        advert.set_options(&[NdpOption { option_type: NdpOptionTypes::TargetLLAddr, length: 1, data: mac.0.to_vec() }]);
        if let Some(packet) = Icmpv6Packet::new(advert.packet()) {
            let checksum = icmpv6::checksum(&packet, &address, &to.0);
            advert.set_checksum(checksum);
        }
    }
    frame
}

/// A frame with room for a message of neighbour discovery of so many bytes.
fn discovery(from: (Mac, Ipv6Addr), to: (MacAddr, Ipv6Addr), length: usize) -> Vec<u8> {
    let mut frame = ethernet(from.0, to.0, EtherTypes::Ipv6, IPV6 + length);
    if let Some(mut ip) = frame.get_mut(ETHERNET..).and_then(MutableIpv6Packet::new) {
        ip.set_version(6);
        ip.set_payload_length(length as u16);
        ip.set_next_header(IpNextHeaderProtocols::Icmpv6);
        // RFC 4861, section 7.1: anything below 255 has passed a router, and is discarded.
        ip.set_hop_limit(255);
        ip.set_source(from.1);
        ip.set_destination(to.1);
    }
    frame
}

/// Puts an 802.1Q tag into an untagged frame: `vlan` 1 to 4094, priority 0.
pub fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(frame.len().min(ETHERNET - 2));
    let mut out = Vec::with_capacity(frame.len() + VLAN_TAG);
    out.extend_from_slice(addresses);
    out.extend_from_slice(&EtherTypes::Vlan.0.to_be_bytes());
    out.extend_from_slice(&(vlan & 0x0fff).to_be_bytes());
    out.extend_from_slice(rest);
    out
}

fn ethernet(mac: Mac, to: MacAddr, kind: EtherType, payload: usize) -> Vec<u8> {
    let mut frame = vec![0; (ETHERNET + payload).max(FRAME_MIN)];
    if let Some(mut header) = MutableEthernetPacket::new(&mut frame) {
        header.set_destination(to);
        header.set_source(mac_addr(mac));
        header.set_ethertype(kind);
    }
    frame
}

fn mac_addr(mac: Mac) -> MacAddr {
    mac.0.into()
}

/// Sends whole frames on any port of the network namespace in which it was opened.
/// It never reads, and the kernel queues nothing for it.
#[derive(Debug)]
pub struct FrameSender {
    socket: Socket,
}

impl FrameSender {
    /// Needs CAP_NET_RAW.
    pub fn open() -> Result<Self, OsError> {
        let failed = |source| OsError::from_io("opening a raw socket (AF_PACKET)", "NET_RAW", source);
        // Protocol 0: receives nothing (packet(7)).
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Self { socket })
    }

    /// Says on `port` that `address` is at `mac`; in VLAN `vlan`, where 0 is untagged.
    pub fn announce(&self, port: IfIndex, vlan: u16, mac: Mac, address: IpAddr) -> Result<(), OsError> {
        let frame = announcement(mac, address);
        if vlan == 0 { self.send(port, &frame) } else { self.send(port, &tagged(&frame, vlan)) }
    }

    /// Sends one frame, from its destination MAC to its payload, as it is. A full
    /// transmit queue is an error, not a wait.
    pub fn send(&self, port: IfIndex, frame: &[u8]) -> Result<(), OsError> {
        let failed = |source| OsError::from_io(format!("sending on interface {port}"), "NET_RAW", source);
        let address = link_address(port, 0).map_err(failed)?;
        let sent = self.socket.send_to(frame, &address).map_err(failed)?;
        if sent == frame.len() { Ok(()) } else { Err(failed(io::ErrorKind::WriteZero.into())) }
    }
}

/// Hears the frames of an EtherType on a port that `filter` lets through (classic BPF, socket(7)), and sends there.
/// Needs CAP_NET_RAW.
pub(crate) fn hear(port: IfIndex, kind: EtherType, filter: &[SockFilter]) -> io::Result<Socket> {
    // Protocol 0: nothing is queued before the filter is in place.
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(Protocol::from(0)))?;
    socket.attach_filter(filter)?;
    socket.bind(&link_address(port, kind.0)?)?;
    Ok(socket)
}

/// `sockaddr_ll` of a port (packet(7)); for SOCK_RAW, sending needs nothing but the index, hearing a protocol
/// (`ETH_P_ARP` and the like).
pub(super) fn link_address(port: IfIndex, protocol: u16) -> io::Result<SockAddr> {
    let index = i32::try_from(port).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `storage` is zeroed memory of the size and alignment of
    // sockaddr_storage, which any sockaddr fits into, and all-zero bytes are a
    // valid sockaddr_ll.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = libc::AF_PACKET as u16;
    link.sll_ifindex = index;
    link.sll_protocol = protocol.to_be();
    // SAFETY: `storage` holds a sockaddr_ll with its family set, and the length is that of one.
    Ok(unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) })
}

#[cfg(test)]
#[path = "arp_tests.rs"]
mod tests;
