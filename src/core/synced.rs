//! What one balancer tells the other about connections, as plain data: between the data plane, which finds it out
//! or enters it, and `pair::sync`, which carries it.
//!
//! Numbers are the teller's own. What they stand for is told by name (`Names`), because two boxes count differently;
//! a client's place is its MAC and VLAN, never a port.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Mac;

/// By what a connection is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    pub client: IpAddr,
    pub client_port: u16,
    /// Number of a `NameKind::Vip`.
    pub vip: u32,
    pub port: u16,
    pub udp: bool,
}

/// An established connection. Ages are milliseconds before the moment at which it is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub key: FlowKey,
    /// Number of a `NameKind::Dest`.
    pub dest: u32,
    /// `LBD_FLOW_*` of the data plane, the lower seven.
    pub state: u8,
    pub seen_ms: u64,
    pub created_ms: u64,
    /// TCP: the latest acknowledgement of the client, and of the server (0: not known).
    pub last_ack: u32,
    pub server_ack: u32,
    /// Full NAT: number of a `NameKind::Source`, and the port.
    pub source: Option<(u32, u16)>,
    pub client_mac: Mac,
    pub client_vlan: u16,
    /// Steps towards being proven.
    pub progress: u8,
}

/// What has happened to a connection, or to a binding of persistence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new, or known by more than a `Touch` changes.
    Put(Flow),
    /// State, age and acknowledgement of one that was told before.
    Touch { key: FlowKey, state: u8, seen_ms: u64, last_ack: u32 },
    /// It has left the table.
    Gone { key: FlowKey, seen_ms: u64 },
    /// A client is bound to a server.
    Binding(Binding),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Masked as the group says.
    pub client: IpAddr,
    /// Numbers of names.
    pub group: u32,
    pub server: u32,
    pub vip: u32,
    pub seen_ms: u64,
}

impl Change {
    pub fn part(&self) -> u8 {
        match self {
            Self::Put(Flow { key, .. }) | Self::Touch { key, .. } | Self::Gone { key, .. } => part_of(key),
            Self::Binding(binding) => part(binding.client, 0, 0, false),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameKind {
    /// Text: an address.
    Vip,
    /// Text: "mx/smtp/4/pc1 10.1.0.11 25 2": the name, address, port, and mode.
    Dest,
    Server,
    Group,
    /// Text: an address.
    Source,
}

impl NameKind {
    pub const ALL: [Self; 5] = [Self::Vip, Self::Dest, Self::Server, Self::Group, Self::Source];
    /// Longer texts, and larger numbers, are not told.
    pub const TEXT_BYTES_MAX: usize = 255;
    pub const NUMBER_MAX: u32 = 65_535;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub kind: NameKind,
    pub number: u32,
    pub text: Arc<str>,
}

/// What numbers stand for.
#[derive(Clone, Debug, Default)]
pub struct Names {
    by_kind: [Vec<Option<Arc<str>>>; NameKind::ALL.len()],
}

impl Names {
    /// Enters a name, in place of another of the same number. Those beyond the limits are left out.
    pub fn set(&mut self, name: Name) {
        if name.number > NameKind::NUMBER_MAX || name.text.len() > NameKind::TEXT_BYTES_MAX {
            return;
        }
        let Some(list) = self.by_kind.get_mut(name.kind as usize) else { return };
        let index = name.number as usize;
        if list.len() <= index {
            list.resize(index + 1, None);
        }
        if let Some(slot) = list.get_mut(index) {
            *slot = Some(name.text);
        }
    }

    pub fn get(&self, kind: NameKind, number: u32) -> Option<&Arc<str>> {
        self.by_kind.get(kind as usize)?.get(number as usize)?.as_ref()
    }

    pub fn iter(&self) -> impl Iterator<Item = Name> {
        NameKind::ALL.into_iter().zip(&self.by_kind).flat_map(|(kind, list)| {
            let named = (0..).zip(list).filter_map(|(number, text)| Some((number, text.clone()?)));
            named.map(move |(number, text)| Name { kind, number, text })
        })
    }
}

/// Connections fall into 256 parts by a hash, so that what was missed can be told anew without telling all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts(pub [u64; 4]);

impl Parts {
    pub const NONE: Self = Self([0; 4]);
    pub const ALL: Self = Self([u64::MAX; 4]);

    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    pub fn contains(&self, part: u8) -> bool {
        self.0.get(usize::from(part / 64)).is_some_and(|word| word >> (part % 64) & 1 == 1)
    }

    pub fn insert(&mut self, part: u8) {
        if let Some(word) = self.0.get_mut(usize::from(part / 64)) {
            *word |= 1 << (part % 64);
        }
    }

    pub fn add(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

/// The part of a connection.
pub fn part_of(key: &FlowKey) -> u8 {
    part(key.client, key.client_port, key.port, key.udp)
}

/// `sync_part` in `bpf/sync.h`: by nothing that one box alone knows. A test holds the two against each other.
fn part(client: IpAddr, client_port: u16, port: u16, udp: bool) -> u8 {
    const UDP: u32 = 0x0100_0000;
    let bytes = match client {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let mut hash = 0;
    for four in bytes.chunks_exact(4) {
        hash = mix(hash, four.try_into().map_or(0, u32::from_ne_bytes));
    }
    hash = mix(hash, u32::from(client_port.to_be()) << 16 | u32::from(port.to_be()));
    hash = mix(hash, if udp { UDP } else { 0 });
    finish(hash) as u8
}

/// One round of MurmurHash3 (Appleby, public domain), 32 bits.
fn mix(hash: u32, word: u32) -> u32 {
    let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

/// Its finaliser.
fn finish(mut hash: u32) -> u32 {
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// While the teller goes over some parts of its table: what it has mentioned, so that the rest of these parts can
/// be found to be gone. It keeps a hash of 64 bits of each key: two alike would keep an entry that is gone, once
/// in 10^7 tellings of a million connections.
pub struct Mentioned {
    pub parts: Parts,
    seen: std::collections::HashSet<u64>,
    hasher: RandomState,
    limit: usize,
}

impl Mentioned {
    /// At most `limit` keys are remembered; beyond them nothing counts as gone.
    pub fn new(parts: Parts, limit: usize) -> Self {
        Self { parts, seen: std::collections::HashSet::new(), hasher: RandomState::new(), limit }
    }

    pub fn note(&mut self, key: impl Hash) {
        if self.seen.len() <= self.limit {
            self.seen.insert(self.hasher.hash_one(key));
        }
    }

    /// Whether an entry of this part, which was there when the telling began, is gone at its end.
    pub fn is_gone(&self, part: u8, key: impl Hash) -> bool {
        self.parts.contains(part) && self.seen.len() <= self.limit && !self.seen.contains(&self.hasher.hash_one(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_spread_over_all_parts() {
        let mut counts = [0u32; 256];
        for n in 0..65_536u32 {
            let client = IpAddr::from([10, 0, (n >> 8) as u8, n as u8]);
            counts[usize::from(part(client, 1024 + (n % 61) as u16, 25, false))] += 1;
        }
        assert!(counts.iter().all(|n| (150..400).contains(n)), "{counts:?}");
    }

    #[test]
    fn parts_are_a_set() {
        let mut parts = Parts::NONE;
        for part in [0, 63, 64, 255] {
            assert!(!parts.contains(part));
            parts.insert(part);
            assert!(parts.contains(part));
        }
        assert_eq!(parts.len(), 4);
        assert!(!parts.contains(1));
        assert!((0..=255).all(|part| Parts::ALL.contains(part)));
    }

    #[test]
    fn what_is_not_mentioned_is_gone_unless_too_much_was_mentioned() {
        let mut mentioned = Mentioned::new(Parts([1, 0, 0, 0]), 2);
        mentioned.note("a");
        assert!(!mentioned.is_gone(0, "a"));
        assert!(mentioned.is_gone(0, "b"));
        assert!(!mentioned.is_gone(1, "b"), "of another part");
        (0..9).for_each(|n| mentioned.note(n));
        assert!(!mentioned.is_gone(0, "b"));
    }
}
