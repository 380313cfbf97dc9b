//! Configuration, orders and health: larger than a datagram, and only the latest counts.

use std::sync::Arc;

use super::wire::Matter;

/// What is to be sent of one kind.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    latest: Option<(u64, Arc<[u8]>)>,
    /// Sent so far; all: there is nothing to do.
    offset: usize,
    whole: bool,
}

impl Outgoing {
    /// Replaces what was to be sent, unless it is older; whether it did.
    pub fn set(&mut self, revision: u64, bytes: &[u8]) -> bool {
        if self.latest.as_ref().is_some_and(|(have, _)| *have >= revision) {
            return false;
        }
        self.latest = Some((revision, bytes.into()));
        self.restart();
        true
    }

    /// From the beginning, for another session.
    pub fn restart(&mut self) {
        self.offset = 0;
        self.whole = self.latest.is_none();
    }

    pub fn is_waiting(&self) -> bool {
        self.latest.is_some() && !self.whole
    }

    /// The next piece of at most `room` bytes: revision, length of all, offset, bytes.
    pub fn piece(&mut self, room: usize) -> Option<(u64, usize, usize, &[u8])> {
        if !self.is_waiting() {
            return None;
        }
        let (revision, bytes) = self.latest.as_ref()?;
        let offset = self.offset;
        let end = bytes.len().min(offset.saturating_add(room));
        let piece = bytes.get(offset..end)?;
        if piece.is_empty() && !bytes.is_empty() {
            return None;
        }
        self.offset = end;
        self.whole = end == bytes.len();
        Some((*revision, bytes.len(), offset, piece))
    }
}

/// What has come of one kind.
#[derive(Clone, Debug, Default)]
pub struct Incoming {
    revision: u64,
    length: usize,
    bytes: Vec<u8>,
}

impl Incoming {
    /// Takes a piece; all of it when this was the last. A piece that does not follow on the one before is refused:
    /// the stream is in order, so that its sender has begun with a later revision, or is wrong.
    pub fn take(&mut self, matter: Matter, revision: u64, length: u64, offset: u64, bytes: &[u8]) -> Option<Vec<u8>> {
        let length = usize::try_from(length).ok().filter(|length| *length <= matter.bytes_max())?;
        if offset == 0 {
            *self = Self { revision, length, bytes: Vec::new() };
        }
        let follows = revision == self.revision && length == self.length && offset == self.bytes.len() as u64;
        if !follows || bytes.len() > length - self.bytes.len() {
            *self = Self::default();
            return None;
        }
        self.bytes.extend(bytes);
        if self.bytes.len() < length {
            return None;
        }
        Some(std::mem::take(self).bytes)
    }
}
