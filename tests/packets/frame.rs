//! Frames, built and judged by hand: nothing here is shared with the program under test.
//!
//! A `Frame` is a description; `bytes` is what is on the wire, with checksums summed over the whole
//! message (RFC 1071), where the program only updates them. A frame that is expected is the
//! description of the one that went in, with what should have changed.

use std::net::{IpAddr, SocketAddr};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

pub const HOP_BY_HOP: u8 = 0;
pub const FRAGMENT: u8 = 44;
pub const DESTINATION_OPTIONS: u8 = 60;

#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub to: [u8; 6],
    pub from: [u8; 6],
    /// Tag control information: priority and VLAN.
    pub tag: Option<u16>,
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ttl: u8,
    pub id: u32,
    /// Offset in units of 8 bytes, and whether more fragments follow.
    pub fragment: Option<(u16, bool)>,
    /// IPv4: don't fragment.
    pub df: bool,
    /// IPv4; a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// IPv6: number and body, whose first two bytes (next header, length) are filled in.
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Tcp {
        ports: (u16, u16),
        seq: u32,
        ack: u32,
        flags: u8,
        window: u16,
        data: Vec<u8>,
    },
    Udp {
        ports: (u16, u16),
        /// Without: 0, none was computed.
        summed: bool,
        data: Vec<u8>,
    },
    Icmp {
        kind: u8,
        code: u8,
        rest: u32,
        data: Vec<u8>,
    },
    /// Protocol and what follows the IP header.
    Raw(u8, Vec<u8>),
}

/// The number of a TCP segment that is given no other.
pub const SEQ: u32 = 0x1020_3040;

impl Frame {
    fn ip(src: IpAddr, dst: IpAddr, body: Body) -> Self {
        let (to, from) = (super::site::OWN, super::site::ROUTER);
        Self {
            to,
            from,
            tag: None,
            src,
            dst,
            ttl: 61,
            id: 0x4711,
            fragment: None,
            df: false,
            options: vec![],
            extensions: vec![],
            body,
        }
    }

    pub fn tcp(src: SocketAddr, dst: SocketAddr, flags: u8) -> Self {
        let ports = (src.port(), dst.port());
        let ack = if flags & ACK != 0 { 0x0a0b_0c0d } else { 0 };
        let body = Body::Tcp { ports, seq: SEQ, ack, flags, window: 8192, data: vec![] };
        Self::ip(src.ip(), dst.ip(), body)
    }

    pub fn udp(src: SocketAddr, dst: SocketAddr, data: &[u8]) -> Self {
        let body = Body::Udp { ports: (src.port(), dst.port()), summed: true, data: data.to_vec() };
        Self::ip(src.ip(), dst.ip(), body)
    }

    pub fn icmp(src: IpAddr, dst: IpAddr, kind: u8, code: u8, rest: u32, data: &[u8]) -> Self {
        Self::ip(src, dst, Body::Icmp { kind, code, rest, data: data.to_vec() })
    }

    pub fn raw(src: IpAddr, dst: IpAddr, protocol: u8, data: &[u8]) -> Self {
        Self::ip(src, dst, Body::Raw(protocol, data.to_vec()))
    }

    /// An ICMP error about `quoted`, of which it carries `bytes` bytes from the IP header on.
    pub fn error(src: IpAddr, dst: IpAddr, (kind, code, rest): (u8, u8, u32), quoted: &Frame, bytes: usize) -> Self {
        let mut quote = quoted.bytes()[if quoted.tag.is_some() { 18 } else { 14 }..].to_vec();
        quote.truncate(bytes);
        Self::icmp(src, dst, kind, code, rest, &quote)
    }

    pub fn between(mut self, from: [u8; 6], to: [u8; 6]) -> Self {
        (self.from, self.to) = (from, to);
        self
    }

    pub fn tag(mut self, tag: impl Into<Option<u16>>) -> Self {
        self.tag = tag.into();
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub fn id(mut self, id: u32) -> Self {
        self.id = id;
        self
    }

    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    pub fn extension(mut self, number: u8, body: &[u8]) -> Self {
        self.extensions.push((number, body.to_vec()));
        self
    }

    pub fn window(mut self, size: u16) -> Self {
        if let Body::Tcp { window, .. } = &mut self.body {
            *window = size;
        }
        self
    }

    pub fn seq(mut self, number: u32) -> Self {
        if let Body::Tcp { seq, .. } = &mut self.body {
            *seq = number;
        }
        self
    }

    pub fn ack(mut self, number: u32) -> Self {
        if let Body::Tcp { ack, .. } = &mut self.body {
            *ack = number;
        }
        self
    }

    pub fn data(mut self, bytes: &[u8]) -> Self {
        match &mut self.body {
            Body::Tcp { data, .. } | Body::Udp { data, .. } | Body::Icmp { data, .. } | Body::Raw(_, data) => {
                *data = bytes.to_vec();
            }
        }
        self
    }

    pub fn unsummed(mut self) -> Self {
        if let Body::Udp { summed, .. } = &mut self.body {
            *summed = false;
        }
        self
    }

    /// With another source.
    pub fn now_from(mut self, src: SocketAddr) -> Self {
        self.src = src.ip();
        self.ports_mut().0 = src.port();
        self
    }

    /// With another destination.
    pub fn now_to(mut self, dst: SocketAddr) -> Self {
        self.dst = dst.ip();
        self.ports_mut().1 = dst.port();
        self
    }

    pub fn hop(mut self) -> Self {
        self.ttl -= 1;
        self
    }

    fn ports_mut(&mut self) -> &mut (u16, u16) {
        match &mut self.body {
            Body::Tcp { ports, .. } | Body::Udp { ports, .. } => ports,
            other => panic!("no ports in {other:?}"),
        }
    }

    fn protocol(&self) -> u8 {
        match &self.body {
            Body::Tcp { .. } => 6,
            Body::Udp { .. } => 17,
            Body::Icmp { .. } if self.src.is_ipv4() => 1,
            Body::Icmp { .. } => 58,
            Body::Raw(protocol, _) => *protocol,
        }
    }

    /// What follows the IP headers, checksum included.
    fn layer4(&self) -> Vec<u8> {
        let (mut message, checksum_at) = match &self.body {
            Body::Tcp { ports, seq, ack, flags, window, data } => {
                let mut m = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
                m.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
                m.extend([5 << 4, *flags]);
                m.extend(window.to_be_bytes());
                m.extend([0; 4]);
                m.extend(data);
                (m, Some(16))
            }
            Body::Udp { ports, summed, data } => {
                let length = u16::try_from(8 + data.len()).unwrap();
                let mut m = [ports.0.to_be_bytes(), ports.1.to_be_bytes(), length.to_be_bytes(), [0; 2]].concat();
                m.extend(data);
                (m, summed.then_some(6))
            }
            Body::Icmp { kind, code, rest, data } => {
                let mut m = vec![*kind, *code, 0, 0];
                m.extend(rest.to_be_bytes());
                m.extend(data);
                (m, Some(2))
            }
            Body::Raw(_, data) => (data.clone(), None),
        };
        if let Some(at) = checksum_at {
            let mut checksum = !sum(&[&pseudo(self.src, self.dst, self.protocol(), message.len()), &message]);
            if checksum == 0 && self.protocol() == 17 {
                checksum = 0xffff;
            }
            message[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        message
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut frame = [self.to, self.from].concat();
        if let Some(tag) = self.tag {
            frame.extend([0x81, 0x00]);
            frame.extend(tag.to_be_bytes());
        }
        let message = self.layer4();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                frame.extend([0x08, 0x00]);
                let header = 20 + self.options.len();
                let mut ip = vec![0x40 | u8::try_from(header / 4).unwrap(), 0];
                ip.extend(u16::try_from(header + message.len()).unwrap().to_be_bytes());
                ip.extend(u16::try_from(self.id).unwrap().to_be_bytes());
                let (offset, more) = self.fragment.unwrap_or((0, false));
                ip.extend((offset | u16::from(more) << 13 | u16::from(self.df) << 14).to_be_bytes());
                ip.extend([self.ttl, self.protocol(), 0, 0]);
                ip.extend([src.octets(), dst.octets()].concat());
                ip.extend(&self.options);
                let checksum = !sum(&[&ip]);
                ip[10..12].copy_from_slice(&checksum.to_be_bytes());
                frame.extend(ip);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                frame.extend([0x86, 0xdd]);
                let mut headers = self.extensions.clone();
                if let Some((offset, more)) = self.fragment {
                    let mut body = vec![0, 0];
                    body.extend((offset << 3 | u16::from(more)).to_be_bytes());
                    body.extend(self.id.to_be_bytes());
                    headers.push((FRAGMENT, body));
                }
                let following: Vec<u8> = headers.iter().skip(1).map(|h| h.0).chain([self.protocol()]).collect();
                let first = headers.first().map_or(self.protocol(), |h| h.0);
                let mut chain = vec![];
                for ((number, body), next) in headers.iter().zip(following) {
                    let mut body = body.clone();
                    body[0] = next;
                    if *number != FRAGMENT {
                        body[1] = u8::try_from(body.len() / 8 - 1).unwrap();
                    }
                    chain.extend(body);
                }
                frame.extend([0x60, 0, 0, 0]);
                frame.extend(u16::try_from(chain.len() + message.len()).unwrap().to_be_bytes());
                frame.extend([first, self.ttl]);
                frame.extend([src.octets(), dst.octets()].concat());
                frame.extend(chain);
            }
            mixed => panic!("{mixed:?}"),
        }
        frame.extend(message);
        frame
    }

    /// The same datagram in fragments that carry `size` bytes each, a multiple of 8.
    pub fn fragments(&self, size: usize) -> Vec<Frame> {
        let message = self.layer4();
        let count = message.len().div_ceil(size);
        let cut = |(i, part): (usize, &[u8])| Frame {
            fragment: Some((u16::try_from(i * size / 8).unwrap(), i + 1 < count)),
            body: Body::Raw(self.protocol(), part.to_vec()),
            ..self.clone()
        };
        message.chunks(size).enumerate().map(cut).collect()
    }
}

/// An ARP message for IPv4 over Ethernet (RFC 826), as it is on the wire.
pub struct Arp {
    pub to: [u8; 6],
    pub from: [u8; 6],
    pub tag: Option<u16>,
    pub operation: u16,
    pub sender: ([u8; 6], [u8; 4]),
    pub target: ([u8; 6], [u8; 4]),
}

impl Arp {
    pub fn bytes(&self) -> Vec<u8> {
        let mut frame = [self.to, self.from].concat();
        if let Some(tag) = self.tag {
            frame.extend([0x81, 0x00]);
            frame.extend(tag.to_be_bytes());
        }
        frame.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4]);
        frame.extend(self.operation.to_be_bytes());
        for (mac, ip) in [self.sender, self.target] {
            frame.extend(mac);
            frame.extend(ip);
        }
        frame
    }
}

/// The Internet checksum's sum (RFC 1071), not yet complemented.
pub fn sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut total = 0u64;
    for pair in bytes.chunks(2) {
        total += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap()
}

/// What TCP, UDP and ICMPv6 sum besides the message. ICMP of IPv4 sums nothing.
fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap().to_be_bytes();
    match (src, dst) {
        _ if protocol == 1 => vec![],
        (IpAddr::V4(src), IpAddr::V4(dst)) => [&src.octets()[..], &dst.octets(), &[0, protocol], &length[2..]].concat(),
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            [&src.octets()[..], &dst.octets(), &length, &[0, 0, 0, protocol]].concat()
        }
        mixed => panic!("{mixed:?}"),
    }
}

/// Sums every checksum of a frame that carries IP, and says which is wrong. Of fragments only the IP
/// header's can be judged; see `reassemble`.
pub fn check(frame: &[u8]) -> Result<(), String> {
    let l3 = if frame[12..14] == [0x81, 0x00] { 18 } else { 14 };
    match [frame[l3 - 2], frame[l3 - 1]] {
        [0x08, 0x00] | [0x86, 0xdd] => check_ip(&frame[l3..], true),
        _ => Ok(()),
    }
}

/// `whole`: not a quotation, which may be cut short.
fn check_ip(ip: &[u8], whole: bool) -> Result<(), String> {
    let (src, dst, protocol, message, fragmented): (IpAddr, IpAddr, u8, &[u8], bool) = if ip[0] >> 4 == 4 {
        let header = usize::from(ip[0] & 15) * 4;
        if sum(&[&ip[..header]]) != 0xffff {
            return Err("IPv4 header checksum".into());
        }
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        if whole && total != ip.len() {
            return Err(format!("IPv4 total length {total}, frame has {}", ip.len()));
        }
        let fragmented = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0;
        (quad(&ip[12..]), quad(&ip[16..]), ip[9], &ip[header..], fragmented)
    } else {
        let total = 40 + usize::from(u16::from_be_bytes([ip[4], ip[5]]));
        if whole && total != ip.len() {
            return Err(format!("IPv6 length {total}, frame has {}", ip.len()));
        }
        let (mut next, mut at, mut fragmented) = (ip[6], 40, false);
        while [HOP_BY_HOP, 43, FRAGMENT, DESTINATION_OPTIONS].contains(&next) {
            if next == FRAGMENT {
                fragmented |= u16::from_be_bytes([ip[at + 2], ip[at + 3]]) & 0xfff9 != 0;
            }
            let length = if next == FRAGMENT { 8 } else { usize::from(ip[at + 1]) * 8 + 8 };
            (next, at) = (ip[at], at + length);
        }
        (sixteen(&ip[8..]), sixteen(&ip[24..]), next, &ip[at..], fragmented)
    };
    if !whole || fragmented {
        return Ok(());
    }
    let summed = match protocol {
        17 => message[6..8] != [0, 0],
        6 | 1 | 58 => true,
        _ => false,
    };
    if summed && sum(&[&pseudo(src, dst, protocol, message.len()), message]) != 0xffff {
        return Err(format!("checksum of protocol {protocol}"));
    }
    let error = match protocol {
        1 => [3, 11, 12].contains(&message[0]),
        58 => message[0] < 128,
        _ => false,
    };
    if error {
        return check_ip(&message[8..], false).map_err(|e| format!("quoted packet: {e}"));
    }
    Ok(())
}

fn quad(bytes: &[u8]) -> IpAddr {
    IpAddr::from(<[u8; 4]>::try_from(&bytes[..4]).unwrap())
}

fn sixteen(bytes: &[u8]) -> IpAddr {
    IpAddr::from(<[u8; 16]>::try_from(&bytes[..16]).unwrap())
}

/// Puts untagged fragments, given in order, together as the receiver would: one frame, for `check`.
pub fn reassemble(fragments: &[Vec<u8>]) -> Vec<u8> {
    let first = &fragments[0];
    let v4 = first[12..14] == [0x08, 0x00];
    // The fragment header is the last before the data in what `Frame` builds.
    let header = if v4 { 14 + usize::from(first[14] & 15) * 4 } else { 14 + 40 };
    let (skip, protocol) = if v4 { (0, first[23]) } else { (8, first[header]) };
    let data: Vec<u8> = fragments.iter().flat_map(|f| f[header + skip..].to_vec()).collect();
    let body = Body::Raw(protocol, data);
    let (src, dst) =
        if v4 { (quad(&first[26..]), quad(&first[30..])) } else { (sixteen(&first[22..]), sixteen(&first[38..])) };
    Frame::ip(src, dst, body).bytes()
}

#[test]
fn an_independent_reader_finds_the_built_frames_and_their_checksums_right() {
    use etherparse::{PacketHeaders, PayloadSlice, TransportHeader};
    for (src, dst) in [("198.51.100.7:4000", "192.0.2.25:25"), ("[2001:db8:c::7]:4000", "[2001:db8::25]:25")] {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        for frame in [Frame::tcp(src, dst, SYN).tag(0x6007).data(b"odd"), Frame::udp(src, dst, b"datagram")] {
            let bytes = frame.bytes();
            assert_eq!(check(&bytes), Ok(()));
            let read = PacketHeaders::from_ethernet_slice(&bytes).unwrap();
            let net = read.net.clone().unwrap();
            let (PayloadSlice::Tcp(data) | PayloadSlice::Udp(data)) = read.payload else { panic!("{read:?}") };
            let (ports, found, computed) = match (read.transport.unwrap(), net.ipv4_ref(), net.ipv6_ref()) {
                (TransportHeader::Tcp(t), Some((ip, _)), _) => {
                    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                    ((t.source_port, t.destination_port), t.checksum, t.calc_checksum_ipv4(ip, data).unwrap())
                }
                (TransportHeader::Udp(t), Some((ip, _)), _) => {
                    ((t.source_port, t.destination_port), t.checksum, t.calc_checksum_ipv4(ip, data).unwrap())
                }
                (TransportHeader::Tcp(t), _, Some((ip, _))) => {
                    ((t.source_port, t.destination_port), t.checksum, t.calc_checksum_ipv6(ip, data).unwrap())
                }
                (TransportHeader::Udp(t), _, Some((ip, _))) => {
                    ((t.source_port, t.destination_port), t.checksum, t.calc_checksum_ipv6(ip, data).unwrap())
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(ports, (4000, 25));
            assert_eq!(found, computed);
        }
    }
}

#[test]
fn the_judge_of_checksums_finds_every_flipped_bit() {
    let (src, dst) = ("198.51.100.7:4000".parse().unwrap(), "192.0.2.25:25".parse().unwrap());
    let good = Frame::tcp(src, dst, SYN).bytes();
    // From the addresses on; before them are lengths, whose change is another error.
    for byte in 26..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[byte] ^= 1 << bit;
            assert!(check(&bad).is_err(), "byte {byte} bit {bit}");
        }
    }
}
