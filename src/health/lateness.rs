//! How late probes begin: the time from a target's turn to its first packet.

use std::time::Duration;

use crate::core::moment::Moment;

/// Parts into which each doubling is cut: a percentile is at most an eighth too high.
const PARTS_BITS: u32 = 3;
const PARTS: usize = 1 << PARTS_BITS;
/// Up to 2^36 µs, 19 hours.
const BUCKETS: usize = 37 << PARTS_BITS;
/// What is told covers one to two of these.
const WINDOW: Duration = Duration::from_secs(60);

/// Of the probes of the last one to two minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    /// Half of them began within this time of their turn.
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

/// Counts by size, so that a million cost no more room than one.
#[derive(Debug)]
struct Counts {
    buckets: Box<[u64; BUCKETS]>,
    total: u64,
    max: Duration,
}

impl Counts {
    fn new() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), total: 0, max: Duration::ZERO }
    }
}

/// Records the lateness of each probe.
#[derive(Debug)]
pub struct Record {
    now: Counts,
    before: Counts,
    turned: Moment,
}

impl Record {
    pub fn new(now: Moment) -> Self {
        Self { now: Counts::new(), before: Counts::new(), turned: now }
    }

    pub fn add(&mut self, late: Duration, now: Moment) {
        if now.since(self.turned) >= WINDOW {
            self.before = std::mem::replace(&mut self.now, Counts::new());
            self.turned = now;
        }
        if let Some(bucket) = self.now.buckets.get_mut(bucket(late)) {
            *bucket += 1;
        }
        self.now.total += 1;
        self.now.max = self.now.max.max(late);
    }

    pub fn lateness(&self) -> Lateness {
        let max = self.now.max.max(self.before.max);
        Lateness { p50: self.percentile(50).min(max), p99: self.percentile(99).min(max), max }
    }

    /// The upper end of the bucket in which so many percent are reached.
    fn percentile(&self, percent: u64) -> Duration {
        let total = self.now.total + self.before.total;
        let rank = (total * percent).div_ceil(100);
        let mut seen = 0;
        for (index, (now, before)) in self.now.buckets.iter().zip(self.before.buckets.iter()).enumerate() {
            seen += now + before;
            if seen >= rank && seen > 0 {
                return upper_end(index);
            }
        }
        Duration::ZERO
    }
}

/// Exact below `PARTS` µs; above, the highest bits of the number.
fn bucket(late: Duration) -> usize {
    let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
    let doubling = micros.checked_ilog2().unwrap_or(0).saturating_sub(PARTS_BITS);
    let part = usize::try_from(micros >> doubling).unwrap_or(usize::MAX);
    ((doubling as usize) * PARTS + part).min(BUCKETS - 1)
}

fn upper_end(bucket: usize) -> Duration {
    let doubling = (bucket / PARTS).saturating_sub(1);
    let part = bucket - doubling * PARTS;
    Duration::from_micros((((part as u64) + 1) << doubling).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_of_what_was_recorded() {
        let mut record = Record::new(Moment::default());
        assert_eq!(record.lateness(), Lateness::default());
        for ms in 1..=100 {
            record.add(Duration::from_millis(ms), Moment::default());
        }
        let Lateness { p50, p99, max } = record.lateness();
        let near = |found: Duration, true_ms: u64| {
            found >= Duration::from_millis(true_ms) && found <= Duration::from_micros(true_ms * 1125)
        };
        assert!(near(p50, 50) && near(p99, 99), "{p50:?} {p99:?}");
        assert_eq!(max, Duration::from_millis(100));
    }

    #[test]
    fn an_old_stall_is_forgotten_after_two_minutes() {
        let mut record = Record::new(Moment::default());
        record.add(Duration::from_secs(9), Moment::default());
        record.add(Duration::ZERO, Moment(WINDOW));
        assert_eq!(record.lateness().max, Duration::from_secs(9));
        record.add(Duration::ZERO, Moment(WINDOW * 2));
        assert_eq!(record.lateness().max, Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_value_and_is_at_most_an_eighth_wide(micros in 0..1_u64 << 36) {
            let upper = upper_end(bucket(Duration::from_micros(micros))).as_micros() as u64;
            prop_assert!(upper >= micros);
            prop_assert!(upper <= micros + micros / 8);
        }
    }
}
