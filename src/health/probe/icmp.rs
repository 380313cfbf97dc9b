//! ICMP echo (RFC 792, RFC 4443): the packet that is sent, and what a socket hears that answers it.
//!
//! Both kinds of socket serve. A raw one (SOCK_RAW) hears every ICMP packet of the host, with the IP header in IPv4;
//! a ping socket (SOCK_DGRAM, icmp(7)) hears its own answers only, and puts its own identifier into what it sends.
//! Therefore an answer is known by its address, sequence and token, and the identifier only serves to know
//! which echo an error speaks of: routers may quote no more than that (RFC 792).

use std::net::IpAddr;

use pnet::util::checksum;

use crate::core::check::{Failure, FailureKind, Verdict};

/// Type, code, checksum, identifier, sequence: bytes.
const HEADER: usize = 8;
const IPV4_HEADER_MIN: usize = 20;
const IPV6_HEADER: usize = 40;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_ICMPV6: u8 = 58;

/// The numbers of a family.
struct Types {
    request: u8,
    reply: u8,
    unreachable: u8,
    time_exceeded: u8,
}

const V4: Types = Types { request: 8, reply: 0, unreachable: 3, time_exceeded: 11 };
const V6: Types = Types { request: 128, reply: 129, unreachable: 1, time_exceeded: 3 };

/// One echo request and what answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    address: IpAddr,
    identifier: u16,
    sequence: u16,
    token: [u8; 8],
}

impl Echo {
    /// `token` is random, so that no late answer to another echo is taken for one to this.
    pub fn new(address: IpAddr, identifier: u16, sequence: u16, token: [u8; 8]) -> Self {
        Self { address, identifier, sequence, token }
    }

    fn types(&self) -> Types {
        if self.address.is_ipv4() { V4 } else { V6 }
    }

    /// The ICMP message. The checksum of ICMPv6 is left to the kernel, which always computes it (RFC 3542, 3.1).
    pub fn request(&self) -> Vec<u8> {
        let mut packet = vec![self.types().request, 0, 0, 0];
        packet.extend_from_slice(&self.identifier.to_be_bytes());
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&self.token);
        if self.address.is_ipv4() {
            let sum = checksum(&packet, 1);
            if let Some(field) = packet.get_mut(2..4) {
                field.copy_from_slice(&sum.to_be_bytes());
            }
        }
        packet
    }

    /// What a packet, as the socket gives it, means for this echo; `None`: nothing. `from` is its sender.
    pub fn heard(&self, from: IpAddr, packet: &[u8]) -> Option<Verdict> {
        let message = if self.address.is_ipv4() { without_ipv4_header(packet)? } else { packet };
        let ([kind, code, ..], rest) = message.split_first_chunk::<HEADER>()?;
        let types = self.types();
        if *kind == types.reply && *code == 0 {
            let ours = from == self.address && message.get(6..HEADER) == Some(&self.sequence.to_be_bytes());
            return (ours && rest == self.token).then(|| Verdict::Success("echo answered".into()));
        }
        if !(*kind == types.unreachable || *kind == types.time_exceeded) || !self.is_quoted(rest) {
            return None;
        }
        let what = match (*kind == types.unreachable, self.address) {
            (false, _) => "time to live ended on the way".to_owned(),
            (true, IpAddr::V4(_)) => unreachable_v4(*code),
            (true, IpAddr::V6(_)) => unreachable_v6(*code),
        };
        Some(Verdict::failure(FailureKind::Unreachable, format!("{what}, says {from}")))
    }

    /// An error quotes the beginning of the packet that it is about: of ours?
    fn is_quoted(&self, quoted: &[u8]) -> bool {
        let message = match self.address {
            IpAddr::V4(address) => {
                let sound = quoted.get(9) == Some(&PROTOCOL_ICMP) && quoted.get(16..20) == Some(&address.octets());
                without_ipv4_header(quoted).filter(|_| sound)
            }
            IpAddr::V6(address) => {
                let sound = quoted.get(6) == Some(&PROTOCOL_ICMPV6) && quoted.get(24..40) == Some(&address.octets());
                quoted.get(IPV6_HEADER..).filter(|_| sound)
            }
        };
        let ours = || {
            let ([kind, _, _, _, id @ .., s1, s2], _) = message?.split_first_chunk::<HEADER>()?;
            let same = *id == self.identifier.to_be_bytes() && [*s1, *s2] == self.sequence.to_be_bytes();
            Some(*kind == self.types().request && same)
        };
        ours().unwrap_or(false)
    }

    pub fn timed_out(&self) -> Failure {
        Failure { kind: FailureKind::Timeout, words: "no answer to an echo request".into() }
    }
}

/// The message behind the header that a raw socket of IPv4 gives, and a ping socket does not. No ICMP type
/// has the 4 of a header's first byte in its upper half.
fn without_ipv4_header(packet: &[u8]) -> Option<&[u8]> {
    let first = packet.first()?;
    if first >> 4 != 4 {
        return Some(packet);
    }
    packet.get((usize::from(first & 0xf) * 4).max(IPV4_HEADER_MIN)..)
}

/// Codes of RFC 792 and RFC 1812 (5.2.7.1).
fn unreachable_v4(code: u8) -> String {
    match code {
        0 => "network unreachable".into(),
        1 => "host unreachable".into(),
        2 => "protocol unreachable".into(),
        3 => "port unreachable".into(),
        9 | 10 | 13 => "prohibited".into(),
        code => format!("unreachable (code {code})"),
    }
}

/// Codes of RFC 4443 (3.1).
fn unreachable_v6(code: u8) -> String {
    match code {
        0 => "no route".into(),
        1 => "prohibited".into(),
        3 => "address unreachable".into(),
        4 => "port unreachable".into(),
        5 | 6 => "refused by policy".into(),
        code => format!("unreachable (code {code})"),
    }
}

#[cfg(test)]
#[path = "icmp_tests.rs"]
mod tests;
