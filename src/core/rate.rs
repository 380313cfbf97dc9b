//! How much may be told: so many at once, and so many in a second in the long run.

use std::time::Duration;

use super::moment::Moment;

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// In the long run.
    pub per_second: u32,
}

/// What is left of a burst.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: Rate,
    /// In thousandths.
    left: u64,
    filled: Moment,
}

impl Bucket {
    pub fn new(rate: Rate, now: Moment) -> Self {
        Self { rate, left: u64::from(rate.burst) * 1000, filled: now }
    }

    /// Whether there may be one more.
    pub fn take(&mut self, now: Moment) -> bool {
        let since = now.since(self.filled).min(Duration::from_secs(3600));
        // A thousandth for each thousandth of a second and each one in a second.
        let more = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_mul(self.rate.per_second.into());
        if more > 0 {
            self.left = self.left.saturating_add(more).min(u64::from(self.rate.burst) * 1000);
            self.filled = now;
        }
        let may = self.left >= 1000;
        if may {
            self.left -= 1000;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_through_and_then_so_many_in_a_second() {
        let rate = Rate { burst: 2000, per_second: 200 };
        let begun = Moment(Duration::from_secs(77));
        let mut bucket = Bucket::new(rate, begun);
        assert_eq!((0..2500).filter(|_| bucket.take(begun)).count(), 2000);
        let mut taken = 0;
        for ms in 1..=10_000 {
            taken += (0..3).filter(|_| bucket.take(begun + Duration::from_millis(ms))).count();
        }
        assert_eq!(taken, 2000);
        let later = begun + Duration::from_secs(1 << 40);
        assert_eq!((0..5000).filter(|_| bucket.take(later)).count(), 2000);
    }
}
