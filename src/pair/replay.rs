//! The replay window: which of a sender's counters have been seen.
//!
//! A bitmap over the newest counters, as in RFC 6479. Counters above the window are new; below it nobody can tell any
//! more, and they are refused.

/// How far back a late packet may be, in packets of the same sender, kind and channel.
///
/// Wide enough for a burst of sync messages that network queues reorder; heartbeats are never so late.
pub const WINDOW: u64 = WORDS as u64 * 64;
const WORDS: usize = 16;

/// Of one channel of one sender. A counter is accepted once.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// The highest counter accepted; counters begin at 1.
    highest: u64,
    /// A ring: the bit of a counter is at its value modulo [`WINDOW`].
    seen: [u64; WORDS],
}

impl Window {
    /// Whether the counter would be accepted. To be asked before the cost of the seal.
    pub fn is_new(&self, counter: u64) -> bool {
        if counter > self.highest {
            return true;
        }
        let (word, bit) = place(counter);
        counter != 0 && self.highest - counter < WINDOW && self.seen.get(word).is_some_and(|seen| seen & bit == 0)
    }

    /// Notes a counter whose seal was good. False: it had been seen, or is too old to tell.
    pub fn accept(&mut self, counter: u64) -> bool {
        if !self.is_new(counter) {
            return false;
        }
        if counter > self.highest {
            // The bits between were those of counters a whole window ago.
            if counter - self.highest >= WINDOW {
                self.seen = [0; WORDS];
            } else {
                for skipped in self.highest + 1..counter {
                    let (word, bit) = place(skipped);
                    if let Some(seen) = self.seen.get_mut(word) {
                        *seen &= !bit;
                    }
                }
            }
            self.highest = counter;
        }
        let (word, bit) = place(counter);
        if let Some(seen) = self.seen.get_mut(word) {
            *seen |= bit;
        }
        true
    }
}

fn place(counter: u64) -> (usize, u64) {
    let at = counter % WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_counter_is_accepted_once() {
        let mut window = Window::default();
        assert!(window.accept(1) && !window.accept(1) && !window.is_new(1));
        assert!(window.accept(3) && window.accept(2) && !window.accept(2) && !window.accept(3));
    }

    #[test]
    fn zero_is_no_counter() {
        assert!(!Window::default().accept(0));
    }

    #[test]
    fn what_lies_a_window_back_is_refused_and_what_lies_just_within_is_not() {
        let mut window = Window::default();
        assert!(window.accept(WINDOW + 1));
        assert!(!window.accept(1));
        assert!(window.accept(2));
    }

    #[test]
    fn the_greatest_counter_does_not_overflow() {
        let mut window = Window::default();
        assert!(window.accept(u64::MAX) && !window.accept(u64::MAX) && window.accept(u64::MAX - 1));
    }

    proptest! {
        #[test]
        fn it_is_as_a_set_that_forgets_what_is_old(counters in prop::collection::vec(
            prop_oneof![1..40_u64, 1..3 * WINDOW, WINDOW - 2..WINDOW + 3], 1..300)) {
            let (mut window, mut seen) = (Window::default(), BTreeSet::new());
            for counter in counters {
                let highest = seen.last().copied().unwrap_or(0);
                let expected = counter + WINDOW > highest && seen.insert(counter);
                prop_assert_eq!(window.is_new(counter), expected);
                prop_assert_eq!(window.accept(counter), expected, "{}", counter);
            }
        }
    }
}
