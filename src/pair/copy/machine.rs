//! One side of the exchange.

use std::collections::VecDeque;
use std::time::Duration;

use super::document::{DOCUMENT_BYTES_MAX, Document};
use super::held::Held;
use super::revision::{Hash, Revision};
use super::wire::{self, Datagram, PIECE_BYTES, Status, WINDOW, cut};
use crate::core::moment::Moment;

/// What a box holds is told this often, and when it changes.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// Two tellings are so far apart at the least.
const STATUS_PAUSE: Duration = Duration::from_millis(20);
/// A peer that has told nothing for so long is not heard any more.
const SILENT: Duration = Duration::from_secs(4);
/// Pieces that were asked for and have not come for so long are asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// What was refused is tried again: what spoke against it may have gone.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// How this box's configuration and the peer's stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is known of the peer's.
    Unheard,
    Same,
    /// The peer's is one that this has come from; it takes this one.
    Ahead,
    /// The other way round.
    Behind,
    /// This one is newer, but was changed while the box was not the owner: an operator must say so.
    OffDuty,
    /// The peer's is, likewise.
    PeerOffDuty,
    /// Both were changed apart from each other: an operator must say which one counts.
    Conflict,
    /// The peer has not said yet what it makes of this box's latest.
    Settling,
}

/// What the peer said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    pub revision: Revision,
    pub owns: bool,
    pub blank: bool,
    pub too_large: bool,
    /// Version of lbd that it runs; none: it does not say.
    pub release: Option<String>,
}

/// For faces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub standing: Standing,
    pub peer: Option<PeerView>,
    /// Pieces that have come, of how many.
    pub progress: Option<(u32, u32)>,
    /// Why this box does not take what the peer has.
    pub refused: Option<String>,
    /// Why the peer does not take what this box has.
    pub peer_refused: Option<String>,
    /// This box's own is too large to be carried.
    pub too_large: bool,
}

/// A document of the peer that has come whole; to be checked, and either held (`Copier::hold`) or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub document: Document,
    /// What it is to replace: if another is held meanwhile, it is void.
    pub replaces: Revision,
}

pub struct Copier {
    held: Held,
    document: Vec<u8>,
    id: Hash,
    owns: bool,
    peer: Option<(Status, Moment)>,
    /// Datagrams that were asked for: at most `WINDOW`, of this box's document.
    asked: VecDeque<u32>,
    fetch: Option<Fetch>,
    /// A document that has come whole, until it is taken.
    arrived: Option<Arrived>,
    /// What was handed out last, and what became of it.
    offered: Option<Hash>,
    refused: Option<(Hash, String, Moment)>,
    /// An operator has said that this revision of the peer's counts.
    yields_to: Option<Revision>,
    told: Option<Moment>,
    tell_now: bool,
    sequence: u64,
}

/// A document on its way here.
struct Fetch {
    id: Hash,
    bytes: Vec<u8>,
    /// Whether each piece is there.
    there: Vec<bool>,
    missing: usize,
    /// When pieces were asked for last, and how many of those have not come.
    asked: Option<Moment>,
    awaited: u32,
}

impl Copier {
    pub fn new(held: Held) -> Self {
        let document = held.document().encode();
        Self {
            id: Hash::of(&document),
            document,
            held,
            owns: false,
            peer: None,
            asked: VecDeque::new(),
            fetch: None,
            arrived: None,
            offered: None,
            refused: None,
            yields_to: None,
            told: None,
            tell_now: true,
            sequence: 0,
        }
    }

    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Something else is held now, or the same under another number.
    pub fn hold(&mut self, held: Held) {
        if held == self.held {
            return;
        }
        self.held = held;
        self.document = self.held.document().encode();
        self.id = Hash::of(&self.document);
        self.asked.clear();
        self.retry();
        self.yields_to = None;
        self.tell_now = true;
    }

    /// What speaks against a document that was refused may have gone.
    pub fn retry(&mut self) {
        self.fetch = None;
        self.arrived = None;
        self.offered = None;
        self.refused = None;
    }

    pub fn set_owns(&mut self, owns: bool) {
        self.tell_now |= owns != self.owns;
        self.owns = owns;
    }

    /// The document that was handed out is not taken, in words for both sides' operators.
    pub fn refuse(&mut self, words: &str, now: Moment) {
        if let Some(id) = self.offered {
            self.refused = Some((id, cut(words).to_owned(), now));
            self.tell_now = true;
        }
    }

    /// An operator says that the peer's configuration counts. False: the peer is not heard.
    pub fn yield_to_peer(&mut self, now: Moment) -> bool {
        self.yields_to = self.heard(now).map(|peer| peer.revision);
        self.retry();
        self.yields_to.is_some()
    }

    /// The latest revision of a peer that is heard.
    pub fn peer(&self, now: Moment) -> Option<PeerView> {
        let view = |peer: &Status| PeerView {
            revision: peer.revision,
            owns: peer.owns,
            blank: peer.blank,
            too_large: peer.too_large,
            release: peer.release.clone(),
        };
        self.heard(now).map(view)
    }

    fn heard(&self, now: Moment) -> Option<&Status> {
        self.peer.as_ref().filter(|(_, heard)| now.since(*heard) < SILENT).map(|(status, _)| status)
    }

    pub fn standing(&self, now: Moment) -> Standing {
        let Some(peer) = self.heard(now) else { return Standing::Unheard };
        let (mine, theirs) = (&self.held.revision, &peer.revision);
        if mine.hash == theirs.hash {
            // Of two numbers for the same the higher counts, so that the next change is above both.
            return if mine.counter < theirs.counter { Standing::Behind } else { Standing::Same };
        }
        match (self.held.blank, peer.blank) {
            (true, false) => return Standing::Behind,
            (false, true) => return Standing::Ahead,
            _ => {}
        }
        if self.yields_to == Some(*theirs) {
            return Standing::Behind;
        }
        if self.held.lineage.contains(theirs) {
            return if self.held.off_duty { Standing::OffDuty } else { Standing::Ahead };
        }
        match peer.other {
            Some((heard, true)) if heard == *mine && peer.off_duty => Standing::PeerOffDuty,
            Some((heard, true)) if heard == *mine => Standing::Behind,
            Some((heard, false)) if heard == *mine => Standing::Conflict,
            _ => Standing::Settling,
        }
    }

    pub fn report(&self, now: Moment) -> Report {
        let peer = self.heard(now);
        let theirs = peer.and_then(|peer| peer.refused.as_ref()).filter(|(id, _)| *id == self.id);
        let own = self.refused.as_ref().filter(|(id, _, _)| peer.is_some_and(|peer| peer.document == *id));
        let pieces = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let progress = |fetch: &Fetch| (pieces(fetch.there.len() - fetch.missing), pieces(fetch.there.len()));
        Report {
            standing: self.standing(now),
            peer: self.peer(now),
            progress: self.fetch.as_ref().map(progress),
            refused: own.map(|(_, words, _)| words.clone()),
            peer_refused: theirs.map(|(_, words)| words.clone()),
            too_large: self.is_too_large(),
        }
    }

    fn is_too_large(&self) -> bool {
        self.document.len() > DOCUMENT_BYTES_MAX
    }

    /// A document waits to be taken.
    pub fn has_arrived(&self) -> bool {
        self.arrived.is_some()
    }

    /// A document that has come whole, once.
    pub fn take_arrived(&mut self) -> Option<Arrived> {
        self.arrived.take()
    }

    /// Takes a datagram of the peer.
    pub fn hear(&mut self, bytes: &[u8], now: Moment) {
        match wire::datagram(bytes) {
            Some(Datagram::Status(status)) => self.hear_status(status, now),
            Some(Datagram::Want { document, first, bits }) if document == self.id => {
                // The latest question is the whole of it.
                self.asked.clear();
                let wanted = (0..WINDOW).filter(|bit| bits >> bit & 1 == 1);
                self.asked.extend(wanted.filter_map(|bit| first.checked_add(bit)));
            }
            Some(Datagram::Piece { document, number, bytes }) => self.hear_piece(document, number, bytes, now),
            Some(Datagram::Want { .. }) | None => {}
        }
    }

    fn hear_status(&mut self, status: Status, now: Moment) {
        // A late one; or the peer's clock began anew, and the one before is old.
        let late = self
            .peer
            .as_ref()
            .is_some_and(|(last, heard)| status.sequence <= last.sequence && now.since(*heard) < STATUS_EVERY * 2);
        if late {
            return;
        }
        // Whoever does not know the latest is told.
        self.tell_now |= status.other.is_none_or(|(revision, _)| revision != self.held.revision);
        let changed = self.peer.as_ref().is_none_or(|(last, _)| last.revision != status.revision);
        self.tell_now |= changed;
        self.peer = Some((status, now));
        let wanted = self.wanted(now).map(|(id, _)| id);
        if self.fetch.as_ref().is_some_and(|fetch| Some(fetch.id) != wanted) {
            self.fetch = None;
        }
    }

    /// The peer's document that should be fetched, and its length.
    fn wanted(&self, now: Moment) -> Option<(Hash, usize)> {
        let peer = self.heard(now)?;
        let length = usize::try_from(peer.length).ok()?;
        let refused = self.refused.as_ref();
        let is_refused = refused.is_some_and(|(id, _, at)| *id == peer.document && now.since(*at) < REFUSED_FOR);
        let is_offered = self.offered == Some(peer.document) && refused.is_none_or(|(id, _, _)| *id != peer.document);
        let is_possible = self.arrived.is_none() && !peer.too_large && (1..=DOCUMENT_BYTES_MAX).contains(&length);
        let wanted = self.standing(now) == Standing::Behind && is_possible && !is_refused && !is_offered;
        wanted.then_some((peer.document, length))
    }

    fn hear_piece(&mut self, document: Hash, number: u32, bytes: &[u8], now: Moment) {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.id == document) else { return };
        if !fetch.put(number, bytes) || fetch.missing > 0 {
            return;
        }
        let Some(fetch) = self.fetch.take() else { return };
        if Hash::of(&fetch.bytes) != fetch.id {
            // Sealed by the peer, and yet not what it said: begun anew.
            return;
        }
        self.offered = Some(fetch.id);
        match Document::decode(&fetch.bytes) {
            Ok(document) => self.arrived = Some(Arrived { document, replaces: self.held.revision }),
            Err(malformed) => self.refuse(&malformed.to_string(), now),
        }
    }

    /// The next datagram to be sent now, if any.
    pub fn poll(&mut self, now: Moment) -> Option<Vec<u8>> {
        if let Some((id, length)) = self.wanted(now)
            && self.fetch.as_ref().is_none_or(|fetch| fetch.id != id)
        {
            self.fetch = Some(Fetch::new(id, length));
        }
        while let Some(number) = self.asked.pop_front() {
            let at = usize::try_from(number).ok().and_then(|number| number.checked_mul(PIECE_BYTES));
            let rest = at.and_then(|at| self.document.get(at..)).filter(|rest| !rest.is_empty());
            if let Some(rest) = rest.filter(|_| !self.is_too_large()) {
                return Some(wire::piece(self.id, number, rest.get(..PIECE_BYTES).unwrap_or(rest)));
            }
        }
        if let Some(want) = self.fetch.as_mut().and_then(|fetch| fetch.ask(now)) {
            return Some(want);
        }
        let pause = if self.tell_now { STATUS_PAUSE } else { STATUS_EVERY };
        if self.told.is_none_or(|told| now.since(told) >= pause) {
            (self.told, self.tell_now) = (Some(now), false);
            return Some(self.status(now).encode());
        }
        None
    }

    fn status(&mut self, now: Moment) -> Status {
        // Higher than in an earlier life of the daemon, as long as the clock goes on.
        let clock = u64::try_from(now.0.as_nanos()).unwrap_or(u64::MAX);
        self.sequence = clock.max(self.sequence.saturating_add(1));
        let too_large = self.is_too_large();
        let other = self.heard(now).map(|peer| {
            let descends = self.held.lineage.contains(&peer.revision);
            (peer.revision, descends)
        });
        Status {
            sequence: self.sequence,
            owns: self.owns,
            blank: self.held.blank,
            off_duty: self.held.off_duty,
            too_large,
            revision: self.held.revision,
            document: self.id,
            length: if too_large { 0 } else { u32::try_from(self.document.len()).unwrap_or(0) },
            other,
            refused: self.refused.as_ref().map(|(id, words, _)| (*id, words.clone())),
            release: Some(env!("CARGO_PKG_VERSION").to_owned()),
        }
    }
}

impl Fetch {
    /// `length`: 1 to `DOCUMENT_BYTES_MAX`.
    fn new(id: Hash, length: usize) -> Self {
        let pieces = length.div_ceil(PIECE_BYTES);
        Self { id, bytes: vec![0; length], there: vec![false; pieces], missing: pieces, asked: None, awaited: 0 }
    }

    /// False: it is not one that is missing.
    fn put(&mut self, number: u32, bytes: &[u8]) -> bool {
        let Ok(number) = usize::try_from(number) else { return false };
        let Some(there) = self.there.get_mut(number).filter(|there| !**there) else { return false };
        let Some(place) = self.bytes.chunks_mut(PIECE_BYTES).nth(number).filter(|place| place.len() == bytes.len())
        else {
            return false;
        };
        place.copy_from_slice(bytes);
        *there = true;
        self.missing -= 1;
        self.awaited = self.awaited.saturating_sub(1);
        true
    }

    /// Asks for what is missing first, when what was asked for has come, or does not.
    fn ask(&mut self, now: Moment) -> Option<Vec<u8>> {
        if self.awaited > 0 && self.asked.is_some_and(|asked| now.since(asked) < ASK_AGAIN) {
            return None;
        }
        let first = self.there.iter().position(|there| !there)?;
        let window = self.there.get(first..)?.iter().zip(0..WINDOW);
        let bits = window.filter(|(there, _)| !**there).fold(0, |bits, (_, bit)| bits | 1_u64 << bit);
        (self.asked, self.awaited) = (Some(now), bits.count_ones());
        Some(wire::want(self.id, u32::try_from(first).ok()?, bits))
    }
}
