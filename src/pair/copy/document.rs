//! What is carried: a text, its number, and what it has come from.
//!
//! ```text
//! version 1 │ counter 8 │ forebears 2 │ (counter 8 │ SHA-256 of its text 32) … │ text, UTF-8
//! ```

use super::revision::{Hash, Lineage, Revision};
use super::wire::Reader;

const VERSION: u8 = 1;
const REVISION_BYTES: usize = 40;
/// What is larger is neither sent nor taken: the text of the largest file, and its forebears.
pub const DOCUMENT_BYTES_MAX: usize = (4 << 20) + (64 << 10);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub revision: Revision,
    pub lineage: Lineage,
    pub text: String,
}

/// Why a document cannot be read, though it has come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it is of version {0}, which this release does not read: upgrade this box")]
    Version(u8),
    #[error("it is malformed")]
    Format,
}

impl Document {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(11 + Lineage::MAX * REVISION_BYTES + self.text.len());
        out.push(VERSION);
        out.extend(self.revision.counter.to_be_bytes());
        // A lineage has 256 at the most.
        out.extend(u16::try_from(self.lineage.iter().len()).unwrap_or(u16::MAX).to_be_bytes());
        for revision in self.lineage.iter() {
            out.extend(revision.counter.to_be_bytes());
            out.extend(revision.hash.0);
        }
        out.extend(self.text.as_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(bytes);
        match r.u8() {
            Some(VERSION) => {}
            Some(other) => return Err(Malformed::Version(other)),
            None => return Err(Malformed::Format),
        }
        Self::body(r).ok_or(Malformed::Format)
    }

    fn body(mut r: Reader<'_>) -> Option<Self> {
        let (counter, count) = (r.u64()?, r.u16()?);
        let mut revisions = Vec::new();
        for _ in 0..count {
            revisions.push(r.revision()?);
        }
        let text = str::from_utf8(r.0).ok()?.to_owned();
        let revision = Revision { counter, hash: Hash::of(text.as_bytes()) };
        Some(Self { revision, lineage: Lineage::of(revisions), text })
    }
}
