//! How much of an answer is read.

use super::ANSWER_BYTES_MAX;
use crate::core::check::{FailureKind, Verdict};

/// What a datagram counts besides its content: IPv4 and UDP header, bytes. So a flood of empty ones ends, too.
const DATAGRAM_OVERHEAD: usize = 28;

/// The bytes of one conversation that may still come from the server.
#[derive(Debug)]
pub(super) struct Allowance {
    left: usize,
    exceeded: bool,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: ANSWER_BYTES_MAX, exceeded: false }
    }
}

impl Allowance {
    /// The part of a piece of a stream that may still be read.
    pub fn of_stream<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (read, over) = bytes.split_at(bytes.len().min(self.left));
        self.left -= read.len();
        self.exceeded |= !over.is_empty();
        read
    }

    /// Counts a datagram. It may still be read, however long it is.
    pub fn of_datagram(&mut self, bytes: &[u8]) {
        let size = bytes.len() + DATAGRAM_OVERHEAD;
        self.exceeded |= size > self.left;
        self.left = self.left.saturating_sub(size);
    }

    /// The verdict for a server that sends more, if what was read has led to none.
    pub fn exceeded(&self) -> Option<Verdict> {
        let words = || format!("more than {} KiB, and still no end", ANSWER_BYTES_MAX / 1024);
        self.exceeded.then(|| Verdict::failure(FailureKind::Overlong, words()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_that_is_allowed_is_read_and_no_more() {
        let mut allowance = Allowance::default();
        assert_eq!(allowance.of_stream(&vec![0; ANSWER_BYTES_MAX]).len(), ANSWER_BYTES_MAX);
        assert_eq!(allowance.exceeded(), None);
        assert_eq!(allowance.of_stream(b"x"), b"");
        assert!(allowance.exceeded().is_some());
    }

    #[test]
    fn a_flood_of_empty_datagrams_uses_it_up() {
        let mut allowance = Allowance::default();
        for _ in 0..ANSWER_BYTES_MAX / DATAGRAM_OVERHEAD {
            allowance.of_datagram(b"");
        }
        assert_eq!(allowance.exceeded(), None);
        allowance.of_datagram(b"");
        assert!(allowance.exceeded().is_some());
    }
}
