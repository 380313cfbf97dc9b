//! Slow start: a server that comes back takes a part of its weight at first and grows to all of it.

use std::time::Duration;

use crate::core::forwarding::Weight;
use crate::core::moment::Moment;

/// Steps in which a server grows, of 10 % each: it begins at 10 % and has 100 % after the ninth.
/// Steps and not a slope, because each one makes the service's table anew.
pub const STEPS: u8 = 9;

/// A part of the weight, and how long it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    percent: u8,
    next: Option<Moment>,
}

impl Share {
    pub const FULL: Self = Self { percent: 100, next: None };

    /// The share at `now` of a server that came back at `begun`; `None`: it never was away.
    pub fn of(slow_start: Duration, begun: Option<Moment>, now: Moment) -> Self {
        let Some(begun) = begun else { return Self::FULL };
        let elapsed = now.since(begun);
        if elapsed >= slow_start {
            return Self::FULL;
        }
        let steps = u128::from(STEPS);
        let whole = slow_start.as_nanos();
        let done = elapsed.as_nanos() * steps / whole.max(1);
        // Rounded up, so that at that moment the step has been done.
        let next = (whole * (done + 1)).div_ceil(steps);
        let done = u8::try_from(done).unwrap_or(STEPS).min(STEPS);
        let next = begun + Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX));
        Self { percent: 10 + 10 * done, next: Some(next) }
    }

    /// 10 to 100.
    pub fn percent(self) -> u8 {
        self.percent
    }

    /// When it grows; `None`: it is full.
    pub fn next(self) -> Option<Moment> {
        self.next
    }

    /// This part of a weight, never less than one thousandth.
    pub fn apply(self, full: Weight) -> Weight {
        let part = u64::from(full.0) * u64::from(self.percent) / 100;
        Weight(u32::try_from(part).unwrap_or(full.0).max(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    #[test]
    fn a_server_that_never_was_away_or_has_no_slow_start_has_its_full_weight() {
        assert_eq!(Share::of(Duration::from_secs(30), None, at(0)), Share::FULL);
        assert_eq!(Share::of(Duration::ZERO, Some(at(5)), at(5)), Share::FULL);
    }

    #[test]
    fn in_ninety_seconds_a_server_grows_by_ten_percent_every_ten() {
        let slow = Duration::from_secs(90);
        for (ms, percent, next) in [
            (0, 10, Some(10_000)),
            (9_999, 10, Some(10_000)),
            (10_000, 20, Some(20_000)),
            (45_000, 50, Some(50_000)),
            (89_999, 90, Some(90_000)),
            (90_000, 100, None),
            (900_000, 100, None),
        ] {
            let share = Share::of(slow, Some(at(1_000)), at(1_000 + ms));
            assert_eq!((share.percent(), share.next()), (percent, next.map(|ms: u64| at(1_000 + ms))), "{ms} ms");
        }
        assert_eq!(Share::of(slow, Some(at(0)), at(0)).apply(Weight(1000)), Weight(100));
        assert_eq!(Share::of(slow, Some(at(0)), at(0)).apply(Weight(1)), Weight(1));
    }

    proptest! {
        #[test]
        fn following_the_announced_moments_leads_to_the_full_weight_in_nine_steps(
            slow_ns in 1..3_600_000_000_000_u64, begun_ns in 0..1_000_000_000_000_u64
        ) {
            let slow = Duration::from_nanos(slow_ns);
            let begun = Moment(Duration::from_nanos(begun_ns));
            let mut share = Share::of(slow, Some(begun), begun);
            let mut steps = 0;
            while let Some(next) = share.next() {
                let later = Share::of(slow, Some(begun), next);
                prop_assert!(later.percent() > share.percent());
                share = later;
                steps += 1;
            }
            prop_assert_eq!(share, Share::FULL);
            prop_assert!(steps <= STEPS);
        }

        #[test]
        fn a_share_never_shrinks(slow_ms in 1..3_600_000_u64, a in 0..4_000_000_u64, b in 0..4_000_000_u64) {
            let share = |ms| Share::of(Duration::from_millis(slow_ms), Some(at(0)), at(ms)).percent();
            prop_assert!(share(a.min(b)) <= share(a.max(b)));
        }
    }
}
