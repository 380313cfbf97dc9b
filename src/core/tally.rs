//! What all probes of one protocol have come to since the daemon started.
//!
//! Counted over all servers and never taken back, so that a server that leaves the configuration does not make a counter
//! step back.

use std::collections::BTreeMap;
use std::time::Duration;

use super::check::{FailureKind, Outcome, Verdict};

/// Upper ends of the classes of time, inclusive: from what a server on the same segment needs to the longest usual
/// time-out. What took longer is in a class of its own.
pub const CLASSES: [Duration; 12] = {
    const fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }
    [
        us(250),
        us(500),
        us(1_000),
        us(2_500),
        us(5_000),
        us(10_000),
        us(25_000),
        us(100_000),
        us(250_000),
        us(1_000_000),
        us(2_500_000),
        us(10_000_000),
    ]
};

/// Results by reason, and how long the successes took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub successes: u64,
    pub failures: BTreeMap<FailureKind, u64>,
    /// Successes by the class of time that they fall into; the last is of those beyond all classes.
    pub classes: [u64; CLASSES.len() + 1],
    /// Of the successes.
    pub took: Duration,
}

impl Tally {
    pub fn add(&mut self, outcome: &Outcome) {
        match &outcome.verdict {
            Verdict::Failure(failure) => *self.failures.entry(failure.kind).or_default() += 1,
            Verdict::Success(_) => {
                self.successes += 1;
                self.took = self.took.saturating_add(outcome.took);
                let class = CLASSES.partition_point(|end| *end < outcome.took);
                if let Some(count) = self.classes.get_mut(class) {
                    *count += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn success(took: Duration) -> Outcome {
        Outcome { verdict: Verdict::Success(String::new()), took, certificate_ends: None }
    }

    #[test]
    fn a_class_holds_its_upper_end_and_what_is_beyond_all_is_not_lost() {
        let mut tally = Tally::default();
        for took in [CLASSES[0], CLASSES[0] + Duration::from_nanos(1), CLASSES[11], CLASSES[11] * 2] {
            tally.add(&success(took));
        }
        assert_eq!((tally.classes[0], tally.classes[1], tally.classes[11], tally.classes[12]), (1, 1, 1, 1));
        assert_eq!(tally.classes.iter().sum::<u64>(), tally.successes);
    }

    #[test]
    fn a_failure_counts_by_its_kind_and_takes_no_time() {
        let mut tally = Tally::default();
        let verdict = Verdict::failure(FailureKind::Timeout, "no answer");
        tally.add(&Outcome { verdict, took: Duration::from_secs(1), certificate_ends: None });
        assert_eq!((tally.successes, tally.failures[&FailureKind::Timeout], tally.took), (0, 1, Duration::ZERO));
    }

    #[test]
    fn the_classes_grow() {
        assert!(CLASSES.is_sorted());
    }
}
