//! The datagrams. They go the way of the stream of connections, under the same seal, and are told apart by their kind.
//!
//! ```text
//! status  version 1 │ kind 1 = 16 │ flags 1 │ sequence 8 │ revision 40 │ document 32 │ its length 4 │
//!         flag 8: the other side's revision as heard 40 │ flag 32: document that was refused 32 │ length 2 │ why │
//!         flag 128: length 1 │ release of lbd
//! want    version 1 │ kind 1 = 17 │ document 32 │ first 4 │ bits 8
//! piece   version 1 │ kind 1 = 18 │ document 32 │ number 4 │ 1 to 1,200 bytes
//! ```
//!
//! A revision is its counter (8) and the SHA-256 of its text (32), a document the SHA-256 of what is carried. Flags: 1 owns,
//! 2 blank, 4 changed off duty, 8 the other side was heard, 16 its revision is one that this one has come from, 32
//! refuses, 64 too large to be carried, 128 says its release. What follows in a later release is skipped.

use super::revision::{Hash, Revision};

const VERSION: u8 = 1;
const STATUS: u8 = 16;
const WANT: u8 = 17;
const PIECE: u8 = 18;

/// Bytes of a document in a piece; the last may have fewer.
pub const PIECE_BYTES: usize = 1_200;
/// Pieces that are asked for at once.
pub const WINDOW: u32 = 64;
/// Why something was refused, at the most.
pub const WORDS_BYTES_MAX: usize = 600;

const OWNS: u8 = 1;
const BLANK: u8 = 2;
const OFF_DUTY: u8 = 4;
const HEARD: u8 = 8;
const DESCENDS: u8 = 16;
const REFUSES: u8 = 32;
const TOO_LARGE: u8 = 64;
const RELEASE: u8 = 128;

/// Of the name of a release, at the most; longer ones are not said.
pub const RELEASE_BYTES_MAX: usize = 32;

/// What a box says of what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Higher in every later one.
    pub sequence: u64,
    pub owns: bool,
    pub blank: bool,
    pub off_duty: bool,
    pub too_large: bool,
    pub revision: Revision,
    pub document: Hash,
    pub length: u32,
    /// The other side's revision as heard last, and whether this one has come from it.
    pub other: Option<(Revision, bool)>,
    /// A document of the other side, and why it was not taken.
    pub refused: Option<(Hash, String)>,
    /// Version of lbd that the sender runs.
    pub release: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    Status(Status),
    /// Pieces `first + n` for each bit `n` that is set.
    Want {
        document: Hash,
        first: u32,
        bits: u64,
    },
    Piece {
        document: Hash,
        number: u32,
        bytes: &'a [u8],
    },
}

/// Whether a datagram is of this protocol, and not of the stream of connections.
pub fn is_ours(bytes: &[u8]) -> bool {
    matches!(bytes, [VERSION, STATUS | WANT | PIECE, ..])
}

fn put_revision(out: &mut Vec<u8>, revision: &Revision) {
    out.extend(revision.counter.to_be_bytes());
    out.extend(revision.hash.0);
}

/// As much of a text as fits, whole characters.
pub fn cut(words: &str) -> &str {
    words.get(..words.floor_char_boundary(WORDS_BYTES_MAX)).unwrap_or_default()
}

impl Status {
    pub fn encode(&self) -> Vec<u8> {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = flag(self.owns, OWNS)
            | flag(self.blank, BLANK)
            | flag(self.off_duty, OFF_DUTY)
            | flag(self.other.is_some(), HEARD)
            | flag(self.other.is_some_and(|(_, descends)| descends), DESCENDS)
            | flag(self.refused.is_some(), REFUSES)
            | flag(self.too_large, TOO_LARGE)
            | flag(self.said_release().is_some(), RELEASE);
        let mut out = vec![VERSION, STATUS, flags];
        out.extend(self.sequence.to_be_bytes());
        put_revision(&mut out, &self.revision);
        out.extend(self.document.0);
        out.extend(self.length.to_be_bytes());
        if let Some((other, _)) = &self.other {
            put_revision(&mut out, other);
        }
        if let Some((document, words)) = &self.refused {
            let words = cut(words);
            out.extend(document.0);
            out.extend(u16::try_from(words.len()).unwrap_or(0).to_be_bytes());
            out.extend(words.as_bytes());
        }
        if let Some((length, release)) = self.said_release() {
            out.push(length);
            out.extend(release.as_bytes());
        }
        out
    }

    fn said_release(&self) -> Option<(u8, &str)> {
        let release = self.release.as_deref().filter(|release| release.len() <= RELEASE_BYTES_MAX)?;
        Some((u8::try_from(release.len()).ok()?, release))
    }
}

pub fn want(document: Hash, first: u32, bits: u64) -> Vec<u8> {
    let mut out = vec![VERSION, WANT];
    out.extend(document.0);
    out.extend(first.to_be_bytes());
    out.extend(bits.to_be_bytes());
    out
}

/// `bytes`: `PIECE_BYTES` at the most.
pub fn piece(document: Hash, number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![VERSION, PIECE];
    out.extend(document.0);
    out.extend(number.to_be_bytes());
    out.extend(bytes);
    out
}

/// `None`: not of this protocol, or malformed.
pub fn datagram(bytes: &[u8]) -> Option<Datagram<'_>> {
    let mut r = Reader(bytes);
    if r.u8()? != VERSION {
        return None;
    }
    match r.u8()? {
        STATUS => status(r).map(Datagram::Status),
        WANT => Some(Datagram::Want { document: r.hash()?, first: r.u32()?, bits: r.u64()? }),
        PIECE => {
            let (document, number) = (r.hash()?, r.u32()?);
            let is_right = (1..=PIECE_BYTES).contains(&r.0.len());
            is_right.then_some(Datagram::Piece { document, number, bytes: r.0 })
        }
        _ => None,
    }
}

fn status(mut r: Reader<'_>) -> Option<Status> {
    let flags = r.u8()?;
    let is = |bit: u8| flags & bit != 0;
    let (sequence, revision, document, length) = (r.u64()?, r.revision()?, r.hash()?, r.u32()?);
    let other = if is(HEARD) { Some((r.revision()?, is(DESCENDS))) } else { None };
    let refused = if is(REFUSES) {
        let document = r.hash()?;
        let length = usize::from(r.u16()?);
        if length > WORDS_BYTES_MAX {
            return None;
        }
        Some((document, shown(r.take(length)?)?))
    } else {
        None
    };
    let release = if is(RELEASE) {
        let length = usize::from(r.u8()?);
        if length > RELEASE_BYTES_MAX {
            return None;
        }
        Some(shown(r.take(length)?)?)
    } else {
        None
    };
    Some(Status {
        sequence,
        owns: is(OWNS),
        blank: is(BLANK),
        off_duty: is(OFF_DUTY),
        too_large: is(TOO_LARGE),
        revision,
        document,
        length,
        other,
        refused,
        release,
    })
}

/// For people: no line breaks, no control characters.
fn shown(bytes: &[u8]) -> Option<String> {
    let words = str::from_utf8(bytes).ok()?;
    Some(words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn hash(&mut self) -> Option<Hash> {
        self.array().map(Hash)
    }

    pub fn revision(&mut self) -> Option<Revision> {
        Some(Revision { counter: self.u64()?, hash: self.hash()? })
    }
}
