//! Times of the way to the receiver and back.

use std::time::Duration;

/// Smoothed round trip and its variation (RFC 9002, 5.3), and the time after which silence means loss.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
    /// Timeouts in a row.
    silent: u32,
}

const FIRST: Duration = Duration::from_millis(50);
const TIMEOUT_LEAST: Duration = Duration::from_millis(20);
const TIMEOUT_MOST: Duration = Duration::from_secs(1);

impl RoundTrip {
    pub fn measured(&mut self, latest: Duration) {
        self.silent = 0;
        match self.smoothed {
            None => (self.smoothed, self.variation) = (Some(latest), latest / 2),
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(latest)) / 4;
                self.smoothed = Some((smoothed * 7 + latest) / 8);
            }
        }
    }

    /// How many times in a row it has been silent for too long.
    pub fn timed_out(&mut self) -> u32 {
        self.silent = (self.silent + 1).min(8);
        self.silent
    }

    pub fn usual(&self) -> Duration {
        self.smoothed.unwrap_or(FIRST)
    }

    pub fn timeout(&self) -> Duration {
        let patience = (self.usual() + 4 * self.variation).max(TIMEOUT_LEAST);
        patience.saturating_mul(1 << self.silent).min(TIMEOUT_MOST)
    }
}

/// How long changes took, in classes of which each is a quarter larger than the one before it, or less.
#[derive(Clone, Debug)]
pub struct Lag {
    counts: [u64; Self::CLASSES],
    max: Duration,
}

impl Default for Lag {
    fn default() -> Self {
        Self { counts: [0; Self::CLASSES], max: Duration::ZERO }
    }
}

impl Lag {
    const CLASSES: usize = 4 * 40;

    pub fn add(&mut self, lag: Duration) {
        let us = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX).max(4);
        let octave = us.ilog2();
        let class = 4 * (octave as usize - 2) + (us >> (octave - 2) & 3) as usize;
        if let Some(count) = self.counts.get_mut(class.min(Self::CLASSES - 1)) {
            *count += 1;
        }
        self.max = self.max.max(lag);
    }

    /// Counts all that another has counted.
    pub fn add_all(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.max = self.max.max(other.max);
    }

    /// So many of a hundred took no longer than this (the upper end of their class); zero if none was counted.
    pub fn percentile(&self, percent: u64) -> Duration {
        let all: u64 = self.counts.iter().sum();
        let wanted = (all * percent).div_ceil(100);
        let mut passed = 0;
        for (class, count) in self.counts.iter().enumerate() {
            passed += count;
            if *count > 0 && passed >= wanted {
                let upper = (5 + class as u64 % 4) << (class / 4);
                return Duration::from_micros(upper).min(self.max);
            }
        }
        Duration::ZERO
    }

    pub fn max(&self) -> Duration {
        self.max
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_at_most_a_quarter_too_large_and_never_too_small() {
        for us in [4u64, 5, 7, 100, 999, 1000, 123_456, 60_000_000] {
            let mut lag = Lag::default();
            lag.add(Duration::from_micros(us));
            lag.add(Duration::from_secs(3600));
            let median = lag.percentile(50).as_micros() as u64;
            assert!(median >= us && median <= us + us / 4 + 1, "{us}: {median}");
            assert_eq!(lag.percentile(100), Duration::from_secs(3600));
        }
        assert_eq!(Lag::default().percentile(50), Duration::ZERO);
    }

    #[test]
    fn patience_doubles_with_each_timeout_up_to_a_second() {
        let mut trip = RoundTrip::default();
        trip.measured(Duration::from_millis(4));
        let first = trip.timeout();
        assert_eq!(first, TIMEOUT_LEAST);
        trip.timed_out();
        assert_eq!(trip.timeout(), 2 * first);
        (0..20).for_each(|_| _ = trip.timed_out());
        assert_eq!(trip.timeout(), TIMEOUT_MOST);
        trip.measured(Duration::from_millis(4));
        assert_eq!(trip.timeout(), first);
    }
}
