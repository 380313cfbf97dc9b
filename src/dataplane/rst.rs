//! The frame that tells one end of a TCP connection that it is over, from nothing but what is known of it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::config::Mac;

/// Shortest Ethernet frame, bytes, without its check sequence (IEEE 802.3).
const FRAME_MIN: usize = 60;
const TCP: usize = 20;
const IPPROTO_TCP: u8 = 6;
const TTL: u8 = 64;
const FLAG_RST: u8 = 0x04;
const FLAG_ACK: u8 = 0x10;

/// A RST as it goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rst {
    pub to: Mac,
    /// 0 is untagged.
    pub vlan: u16,
    pub from: Mac,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// The number that the receiver expects next, which is its latest ACK: any other is not believed
    /// (RFC 5961, section 3).
    pub sequence: u32,
}

impl Rst {
    /// `None` if source and destination are of two families.
    pub fn frame(&self) -> Option<Vec<u8>> {
        self.segment(FLAG_RST, self.sequence)
    }

    /// Has the receiver say which number it expects, by one that it has had: it answers with its latest ACK (RFC 9293,
    /// section 3.10.7.4), as to a keep-alive. For when the number that is known may be old.
    pub fn question(&self) -> Option<Vec<u8>> {
        self.segment(FLAG_ACK, self.sequence.wrapping_sub(1))
    }

    fn segment(&self, flags: u8, sequence: u32) -> Option<Vec<u8>> {
        let tcp = (flags, sequence);
        let mut frame = Vec::with_capacity(FRAME_MIN + 18);
        frame.extend_from_slice(&self.to.0);
        frame.extend_from_slice(&self.from.0);
        if self.vlan != 0 {
            frame.extend_from_slice(&[0x81, 0x00]);
            frame.extend_from_slice(&(self.vlan & 0x0fff).to_be_bytes());
        }
        match (self.source, self.destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => self.add_v4(&mut frame, source, destination, tcp),
            (SocketAddr::V6(source), SocketAddr::V6(destination)) => self.add_v6(&mut frame, source, destination, tcp),
            _ => return None,
        }
        if frame.len() < FRAME_MIN {
            frame.resize(FRAME_MIN, 0);
        }
        Some(frame)
    }

    fn add_v4(&self, frame: &mut Vec<u8>, source: SocketAddrV4, destination: SocketAddrV4, tcp: (u8, u32)) {
        let (from, to): (Ipv4Addr, Ipv4Addr) = (*source.ip(), *destination.ip());
        let header = |checksum: u16| {
            let mut bytes = vec![0x45, 0, 0, 40];
            // No identification, because it is never fragmented (RFC 6864, section 4.1).
            bytes.extend_from_slice(&[0, 0, 0x40, 0, TTL, IPPROTO_TCP]);
            bytes.extend_from_slice(&checksum.to_be_bytes());
            bytes.extend_from_slice(&from.octets());
            bytes.extend_from_slice(&to.octets());
            bytes
        };
        let pseudo: Vec<u8> = [&from.octets()[..], &to.octets(), &[0, IPPROTO_TCP, 0, TCP as u8]].concat();
        frame.extend_from_slice(&[0x08, 0x00]);
        frame.extend_from_slice(&header(checksum(&[&header(0)])));
        self.add_tcp(frame, &pseudo, tcp);
    }

    fn add_v6(&self, frame: &mut Vec<u8>, source: SocketAddrV6, destination: SocketAddrV6, tcp: (u8, u32)) {
        let (from, to): (Ipv6Addr, Ipv6Addr) = (*source.ip(), *destination.ip());
        let pseudo: Vec<u8> = [&from.octets()[..], &to.octets(), &[0, 0, 0, TCP as u8, 0, 0, 0, IPPROTO_TCP]].concat();
        frame.extend_from_slice(&[0x86, 0xdd]);
        frame.extend_from_slice(&[0x60, 0, 0, 0, 0, TCP as u8, IPPROTO_TCP, TTL]);
        frame.extend_from_slice(&from.octets());
        frame.extend_from_slice(&to.octets());
        self.add_tcp(frame, &pseudo, tcp);
    }

    fn add_tcp(&self, frame: &mut Vec<u8>, pseudo: &[u8], (flags, sequence): (u8, u32)) {
        let header = |checksum: u16| {
            let mut bytes = Vec::with_capacity(TCP);
            bytes.extend_from_slice(&self.source.port().to_be_bytes());
            bytes.extend_from_slice(&self.destination.port().to_be_bytes());
            bytes.extend_from_slice(&sequence.to_be_bytes());
            // Nothing acknowledged; 5 words of header; no window.
            bytes.extend_from_slice(&[0, 0, 0, 0, 5 << 4, flags, 0, 0]);
            bytes.extend_from_slice(&checksum.to_be_bytes());
            bytes.extend_from_slice(&[0, 0]);
            bytes
        };
        frame.extend_from_slice(&header(checksum(&[pseudo, &header(0)])));
    }
}

/// The Internet checksum (RFC 1071) of parts of even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks_exact(2));
    let mut sum = words.fold(0u32, |sum, pair| match pair {
        [high, low] => sum + u32::from(u16::from_be_bytes([*high, *low])),
        _ => sum,
    });
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use etherparse::{NetHeaders, PacketHeaders, TransportHeader, VlanHeader};
    use proptest::prelude::*;

    use super::*;

    fn rst(source: SocketAddr, destination: SocketAddr, sequence: u32, vlan: u16) -> Rst {
        Rst { to: Mac([2, 0, 0, 0, 0, 0x99]), vlan, from: Mac([2, 0, 0, 0, 0, 1]), source, destination, sequence }
    }

    /// What an independent reader finds in it.
    fn assert_reads_as(rst: &Rst) {
        let frame = rst.frame().unwrap();
        assert!(frame.len() >= FRAME_MIN, "{} bytes", frame.len());
        let read = PacketHeaders::from_ethernet_slice(&frame).unwrap();
        let link = read.link.as_ref().unwrap().clone().ethernet2().unwrap();
        assert_eq!((link.source, link.destination), (rst.from.0, rst.to.0));
        match read.vlan() {
            Some(VlanHeader::Single(tag)) => assert_eq!(tag.vlan_id.value(), rst.vlan),
            None => assert_eq!(rst.vlan, 0),
            other => panic!("{other:?}"),
        }
        let Some(TransportHeader::Tcp(tcp)) = read.transport else { panic!("{:?}", read.transport) };
        assert_eq!((tcp.source_port, tcp.destination_port), (rst.source.port(), rst.destination.port()));
        assert_eq!(tcp.sequence_number, rst.sequence);
        assert!(tcp.rst && !tcp.ack && !tcp.syn && !tcp.fin, "{tcp:?}");
        assert_eq!(read.payload.slice(), b"", "the padding is none of it");
        match read.net.unwrap() {
            NetHeaders::Ipv4(ip, _) => {
                assert_eq!((SocketAddr::from((ip.source, rst.source.port()))), rst.source);
                assert_eq!((SocketAddr::from((ip.destination, rst.destination.port()))), rst.destination);
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                assert!(ip.dont_fragment && ip.time_to_live == 64 && ip.total_len == 40, "{ip:?}");
                assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(&ip, &[]).unwrap());
            }
            NetHeaders::Ipv6(ip, _) => {
                assert_eq!((SocketAddr::from((ip.source, rst.source.port()))), rst.source);
                assert_eq!((SocketAddr::from((ip.destination, rst.destination.port()))), rst.destination);
                assert!(ip.hop_limit == 64 && ip.payload_length == 20, "{ip:?}");
                assert_eq!(tcp.checksum, tcp.calc_checksum_ipv6(&ip, &[]).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn an_independent_reader_finds_the_rst_and_its_checksums_right(
            v6: bool, addresses: [u128; 2], ports: [u16; 2], sequence: u32, vlan in 0..4095u16,
        ) {
            let end = |address: u128, port: u16| if v6 {
                SocketAddr::from((Ipv6Addr::from(address), port))
            } else {
                SocketAddr::from((Ipv4Addr::from(address as u32), port))
            };
            assert_reads_as(&rst(end(addresses[0], ports[0]), end(addresses[1], ports[1]), sequence, vlan));
        }
    }

    #[test]
    fn ends_of_two_families_make_no_frame() {
        let (four, six) = ("192.0.2.25:25".parse().unwrap(), "[2001:db8::25]:25".parse().unwrap());
        assert_eq!(rst(four, six, 1, 0).frame(), None);
    }
}
