//! What one box asks the other's data plane about its lease, and what it answers: frames of our own, bytes only.
//!
//! The peer's *program* answers, also when its daemon is dead, on every port that is ours. An answer comes back on
//! the port on which was asked. On a port of a bridge the kernel gives it to packet sockets for all protocols
//! (ETH_P_ALL) only, because the bridge takes the frame before those of one protocol are served; let a socket
//! filter keep the others out.

use std::time::Duration;

use super::layout::{self, *};
use super::release::Token;
use crate::config::Mac;

const ADDRESSES: usize = 12;
const TAG: [u8; 2] = [0x81, 0x00];
/// Priority 7, network control (IEEE 802.1Q, table I-1), and the VLAN.
const TAG_PRIORITY: u16 = 7 << 13;
const VLAN_MASK: u16 = 0x0fff;

/// Which pair a box is of. A number without secrets, from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairId(pub u64);

impl PairId {
    /// The data plane of a box without a pair.
    pub const NONE: Self = Self(0);
}

/// The way of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between {
    pub from: Mac,
    pub to: Mac,
    /// 0 is untagged.
    pub vlan: u16,
}

/// What a box holds of the lease, as its data plane told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Nothing,
    /// The lease ends after this time by itself, counted from the answer's leaving.
    For(Duration),
    Endlessly,
}

/// An answer. Only what comes from the peer's known MAC counts: an answer is not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub way: Between,
    /// Of the data plane that answered, 1 or higher.
    pub version: u8,
    pub nonce: u64,
    pub pair: PairId,
    pub holds: Holds,
    /// Since when it owns without a gap; zero if it does not.
    pub owned_for: Duration,
    /// Since its daemon showed life; since the boot, if none ever did.
    pub silent_for: Duration,
}

/// Asks what the box at `way.to` holds. `nonce`: drawn anew for each question, so that no answer is taken for
/// that to another.
pub fn question(way: Between, pair: PairId, nonce: u64) -> Vec<u8> {
    frame(way, KIND_QUESTION, pair, nonce, [0; 16])
}

/// Shows the token that ends an endless lease whose daemon is dead. Answered as a question is, by what is held
/// afterwards.
pub fn release(way: Between, pair: PairId, nonce: u64, token: &Token) -> Vec<u8> {
    frame(way, KIND_RELEASE, pair, nonce, token.bytes())
}

fn frame(way: Between, kind: u32, pair: PairId, nonce: u64, token: [u8; 16]) -> Vec<u8> {
    let body = layout::question {
        magic: QUESTION_MAGIC.to_be(),
        version: QUESTION_VERSION as u8,
        kind: kind as u8,
        nonce: nonce.to_be(),
        pair: pair.0.to_be(),
        token,
        ..Default::default()
    };
    let mut frame = [way.to.0, way.from.0].concat();
    if way.vlan != 0 {
        frame.extend_from_slice(&TAG);
        frame.extend_from_slice(&(TAG_PRIORITY | way.vlan & VLAN_MASK).to_be_bytes());
    }
    frame.extend_from_slice(&(ETHERTYPE as u16).to_be_bytes());
    frame.extend_from_slice(body.bytes());
    frame
}

/// Reads an answer; `None` for any other frame. `vlan`: of a tag that the kernel took off the frame
/// (PACKET_AUXDATA), which then is in no byte of it; 0 for none.
pub fn parse_answer(frame: &[u8], vlan: u16) -> Option<Answer> {
    let (addresses, mut rest) = frame.split_at_checked(ADDRESSES)?;
    let (to, from) = addresses.split_first_chunk::<6>()?;
    let from = from.first_chunk::<6>()?;
    let mut vlan = vlan & VLAN_MASK;
    if rest.starts_with(&TAG) {
        let tci = rest.get(2..4)?.first_chunk::<2>()?;
        vlan = u16::from_be_bytes(*tci) & VLAN_MASK;
        rest = rest.get(4..)?;
    }
    let (kind, body) = rest.split_first_chunk::<2>()?;
    if u32::from(u16::from_be_bytes(*kind)) != ETHERTYPE {
        return None;
    }
    let q = layout::question::from_bytes(body)?;
    if u32::from_be(q.magic) != QUESTION_MAGIC || q.version == 0 || u32::from(q.kind) != KIND_ANSWER {
        return None;
    }
    let time = |nanoseconds: u64| Duration::from_nanos(u64::from_be(nanoseconds));
    let holds = match u32::from(q.holds) {
        HOLDS_NOTHING => Holds::Nothing,
        HOLDS_UNTIL => Holds::For(time(q.remaining)),
        // What a later version may say is no less than this.
        _ => Holds::Endlessly,
    };
    Some(Answer {
        way: Between { from: Mac(*from), to: Mac(*to), vlan },
        version: q.version,
        nonce: u64::from_be(q.nonce),
        pair: PairId(u64::from_be(q.pair)),
        holds,
        owned_for: time(q.owned_for),
        silent_for: time(q.silent_for),
    })
}

#[cfg(test)]
#[path = "question_tests.rs"]
mod tests;
