//! Revisions of the configuration, and what they have come from.

use std::fmt;

use sha2::{Digest, Sha256};

/// SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Its first 8 bytes, as heartbeats carry it.
    pub fn word(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// From 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| pair.get(at).and_then(|digit| char::from(*digit).to_digit(16));
            *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}…", self.word())
    }
}

/// One state of the configuration: how many changes led to it, and what it says. The number makes of a change
/// that is taken back a revision of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// 0: of a blank box.
    pub counter: u64,
    pub hash: Hash,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:08x})", self.counter, self.hash.word() >> 32)
    }
}

/// What a revision has come from, the latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(Vec<Revision>);

impl Lineage {
    /// With a box that was away for more changes, an operator must say which side is meant.
    pub const MAX: usize = 256;

    pub fn of(revisions: impl IntoIterator<Item = Revision>) -> Self {
        let mut all: Vec<Revision> = revisions.into_iter().collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.dedup();
        all.truncate(Self::MAX);
        Self(all)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Revision> + '_ {
        self.0.iter().copied()
    }

    /// A box that does not know how it came to what it has (counter 1: its state was lost, or it is old) is known by
    /// what it has alone.
    pub fn contains(&self, revision: &Revision) -> bool {
        self.0.iter().any(|one| one == revision || (revision.counter == 1 && one.hash == revision.hash))
    }

    pub fn with(&self, more: impl IntoIterator<Item = Revision>) -> Self {
        Self::of(self.iter().chain(more))
    }
}
