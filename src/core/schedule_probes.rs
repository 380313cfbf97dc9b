//! When a target is probed: on its own clock, so that probes do not bunch.
//!
//! Every target has a phase within its interval, which follows from what is asked and from nothing
//! else: adding a target moves no other one's probes, and a restarted daemon falls into the same
//! rhythm. Probes stand on the grid `phase + k × interval`, so that a late one does not push the next.

use std::time::Duration;

use super::hash::stable_hash;
use super::moment::Moment;
use super::target::Target;

/// At start every target is asked once within this time, because nothing is scheduled until it has
/// answered; the rhythm begins after that.
pub const START_SPREAD: Duration = Duration::from_millis(500);

const SEED: u64 = 0x7072_6f62_6500_0001;

/// A fraction of `span` that is always the same for a target; less than `span`.
fn phase(target: &Target, span: Duration) -> Duration {
    let hash = stable_hash(target.question.to_string().as_bytes(), SEED);
    // 64-bit fixed point: the hash as a fraction of one.
    duration((span.as_nanos().min(u128::from(u64::MAX)) * u128::from(hash)) >> 64)
}

fn duration(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// When a target that appears at `start` is probed first: within `START_SPREAD`, and sooner for a
/// shorter interval.
pub fn first_probe(target: &Target, start: Moment) -> Moment {
    start + phase(target, target.pace.interval.min(START_SPREAD))
}

/// The first moment after `after` at which it is the target's turn.
pub fn next_probe(target: &Target, after: Moment) -> Moment {
    let interval = target.pace.interval.max(Duration::from_millis(1)).as_nanos();
    let phase = phase(target, target.pace.interval).as_nanos();
    let after = after.0.as_nanos();
    let turns = if after < phase { 0 } else { (after - phase) / interval + 1 };
    Moment(duration(phase + turns * interval))
}

/// When a target is probed next whose probe began at `begun`, and whose result, at `ended`, put its state in
/// doubt: after the fast interval, unless its turn comes sooner. A turn that came while the probe waited for
/// its timeout is made up for at once, so that `fall` failures take no longer than as many intervals.
pub fn next_in_doubt(target: &Target, begun: Moment, ended: Moment) -> Moment {
    next_probe(target, begun).min(ended + target.pace.fast_interval).max(ended)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Probe;
    use crate::core::target::{Pace, Question};

    fn target(host: u32, interval_ms: u64) -> Target {
        let address = std::net::Ipv4Addr::from(0x0a01_0000 + host);
        let pace = Pace { interval: Duration::from_millis(interval_ms), ..Pace::of(&crate::config::Check::default()) };
        let question = Question { address: (address, 25).into(), via: None, probe: Probe::Tcp.into() };
        Target { question, pace }
    }

    #[test]
    fn a_target_in_doubt_is_asked_again_after_the_fast_interval_or_at_its_turn() {
        let target = target(1, 2000);
        let turn = next_probe(&target, Moment(Duration::from_secs(100)));
        assert_eq!(next_in_doubt(&target, turn, turn), turn + Duration::from_millis(500));
        let shortly_before = Moment(turn.0 + Duration::from_millis(1900));
        assert_eq!(next_in_doubt(&target, shortly_before, shortly_before), turn + Duration::from_secs(2));
        let behind_its_turn = Moment(turn.0 + Duration::from_millis(2001));
        assert_eq!(next_in_doubt(&target, turn, behind_its_turn), behind_its_turn);
    }

    #[test]
    fn a_thousand_probes_of_two_seconds_are_spread_over_them() {
        let mut tenths = [0_u32; 20];
        for host in 0..1000 {
            let at = next_probe(&target(host, 2000), Moment(Duration::from_secs(100)));
            let within = at.since(Moment(Duration::from_secs(100)));
            assert!(within > Duration::ZERO && within <= Duration::from_secs(2));
            tenths[usize::try_from(within.as_millis() / 100).unwrap().min(19)] += 1;
        }
        // 50 are expected in each tenth; four standard deviations of chance are 28.
        assert!(tenths.iter().all(|count| (22..=78).contains(count)), "{tenths:?}");
    }

    #[test]
    fn the_rhythm_of_a_target_does_not_change_between_releases() {
        assert_eq!(phase(&target(1, 2000), Duration::from_secs(2)), Duration::from_nanos(1_005_251_251));
    }

    proptest! {
        #[test]
        fn turns_come_one_interval_apart_whenever_one_asks(
            host in 0..10_000_u32, interval in 100..3_600_000_u64, now_ms in 0..10_000_000_u64
        ) {
            let target = target(host, interval);
            let now = Moment(Duration::from_millis(now_ms));
            let next = next_probe(&target, now);
            prop_assert!(next > now);
            prop_assert!(next.since(now) <= target.pace.interval);
            prop_assert_eq!(next_probe(&target, next), next + target.pace.interval);
        }

        #[test]
        fn the_first_probe_comes_within_half_a_second_or_one_interval(host in 0..10_000_u32, interval in 100..3_600_000_u64) {
            let target = target(host, interval);
            let start = Moment(Duration::from_secs(7));
            let wait = first_probe(&target, start).since(start);
            prop_assert!(wait < START_SPREAD && wait < target.pace.interval);
        }
    }
}
