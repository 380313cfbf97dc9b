use proptest::prelude::*;

use super::*;

const HOLD: Duration = Duration::from_secs(30);

fn pace() -> Pace {
    Pace::of(&crate::config::Check { flap_hold: HOLD, ..Default::default() })
}

fn outcome(verdict: Verdict, millis: u64) -> Outcome {
    Outcome { verdict, took: Duration::from_millis(millis), certificate_ends: None }
}

fn success(words: &str) -> Outcome {
    outcome(Verdict::Success(words.into()), 5)
}

fn failure(words: &str) -> Outcome {
    outcome(Verdict::failure(FailureKind::Refused, words), 5)
}

fn at(second: u64) -> Moment {
    Moment(Duration::from_secs(second))
}

fn fails(health: &mut TargetHealth, second: u64) -> Option<Change> {
    health.record(failure("connection refused"), &pace(), at(second))
}

fn succeeds(health: &mut TargetHealth, second: u64) -> Option<Change> {
    health.record(success("250 after EHLO"), &pace(), at(second))
}

#[test]
fn the_first_success_makes_an_unknown_target_up_without_slow_start() {
    let mut health = TargetHealth::new(at(0));
    assert_eq!(health.state(), State::Unknown);
    assert_eq!(succeeds(&mut health, 1), Some(Change { from: State::Unknown, to: State::Up }));
    assert_eq!((health.since(), health.returned()), (at(1), None));
}

#[test]
fn an_unknown_target_is_down_at_the_third_failure_in_a_row_and_not_before() {
    let mut health = TargetHealth::new(at(0));
    assert_eq!((fails(&mut health, 1), fails(&mut health, 2)), (None, None));
    assert_eq!(fails(&mut health, 3), Some(Change { from: State::Unknown, to: State::Down }));
}

#[test]
fn an_up_target_goes_down_at_the_third_failure_in_a_row_and_says_why() {
    let mut health = TargetHealth::new(at(0));
    succeeds(&mut health, 1);
    assert_eq!(fails(&mut health, 2), None);
    assert!(health.in_doubt());
    assert_eq!(fails(&mut health, 3), None);
    assert_eq!(health.since(), at(1));
    assert_eq!(fails(&mut health, 4), Some(Change { from: State::Up, to: State::Down }));
    assert_eq!(health.since(), at(4));
    assert_eq!(health.last(), Some((at(4), &failure("connection refused"))));
    assert_eq!((health.cause(), health.up_until()), ("connection refused", Some(at(4))));
    assert!(!health.in_doubt());
}

#[test]
fn a_success_ends_the_row_of_failures() {
    let mut health = TargetHealth::new(at(0));
    succeeds(&mut health, 1);
    fails(&mut health, 2);
    fails(&mut health, 3);
    assert_eq!(succeeds(&mut health, 4), None);
    fails(&mut health, 5);
    fails(&mut health, 6);
    assert_eq!(health.state(), State::Up);
}

#[test]
fn a_suspect_target_goes_down_at_its_first_failure_and_an_answer_clears_it() {
    let mut health = TargetHealth::new(at(0));
    health.suspect();
    assert!(!health.is_suspect(), "nothing is known of it yet");
    succeeds(&mut health, 1);
    health.suspect();
    assert!(health.is_suspect());
    assert_eq!(succeeds(&mut health, 2), None);
    assert!(!health.is_suspect());
    assert_eq!(fails(&mut health, 3), None, "as any other");
    health.suspect();
    assert_eq!(fails(&mut health, 4), Some(Change { from: State::Up, to: State::Down }));
    health.suspect();
    assert!(!health.is_suspect(), "it is down already");
}

#[test]
fn a_down_target_comes_up_at_the_second_success_in_a_row_and_has_returned() {
    let mut health = TargetHealth::new(at(0));
    for second in 1..4 {
        fails(&mut health, second);
    }
    assert_eq!(succeeds(&mut health, 4), None);
    assert_eq!(succeeds(&mut health, 5), Some(Change { from: State::Down, to: State::Up }));
    assert_eq!(health.returned(), Some(at(5)));
    for second in 6..9 {
        fails(&mut health, second);
    }
    assert_eq!((health.state(), health.returned()), (State::Down, None));
}

proptest! {
    #[test]
    fn a_target_changes_only_after_as_many_contrary_results_in_a_row_as_asked(
        results in proptest::collection::vec(any::<bool>(), 1..200), rise in 1..=10_u8, fall in 1..=10_u8
    ) {
        let mut health = TargetHealth::new(at(0));
        let mut seen: Vec<bool> = Vec::new();
        for (second, good) in results.into_iter().enumerate() {
            let before = health.state();
            let outcome = if good { success("") } else { failure("x") };
            let change = health.record(outcome, &Pace { rise, fall, flap_hold: Duration::ZERO, ..pace() }, at(second as u64));
            seen.push(good);
            let row = seen.iter().rev().take_while(|one| **one == good).count();
            let expected = match before {
                State::Unknown => good || row >= usize::from(fall),
                State::Up => !good && row >= usize::from(fall),
                State::Down => good && row >= usize::from(rise),
            };
            prop_assert_eq!(change.is_some(), expected);
        }
    }
}

/// Down, and up again after two successes, so often; the second at which it last answered.
fn flap(health: &mut TargetHealth, times: usize, from: u64) -> u64 {
    let mut second = from;
    for _ in 0..times {
        (0..3).for_each(|n| _ = fails(health, second + n));
        (3..5).for_each(|n| _ = succeeds(health, second + n));
        second += 5;
    }
    second - 1
}

#[test]
fn a_target_that_goes_down_for_the_third_time_in_five_minutes_is_held_down_until_it_has_answered_for_the_hold() {
    let mut health = TargetHealth::new(at(0));
    succeeds(&mut health, 1);
    let last = flap(&mut health, 2, 10);
    assert_eq!((health.state(), health.held_until(&pace(), at(last))), (State::Up, None));
    let last = flap(&mut health, 1, 100);
    assert_eq!(health.state(), State::Down);
    let until = at(last - 1) + HOLD;
    assert_eq!(health.held_until(&pace(), at(last)), Some(until));
    for second in last + 1..last - 1 + HOLD.as_secs() {
        assert_eq!(succeeds(&mut health, second), None);
    }
    assert_eq!(succeeds(&mut health, last - 1 + HOLD.as_secs()), Some(Change { from: State::Down, to: State::Up }));
}

#[test]
fn a_failure_during_the_hold_begins_it_anew_and_a_further_flap_doubles_it() {
    let mut health = TargetHealth::new(at(0));
    succeeds(&mut health, 1);
    flap(&mut health, 3, 10);
    fails(&mut health, 40);
    assert_eq!(health.held_until(&pace(), at(40)), None);
    succeeds(&mut health, 50);
    assert_eq!(health.held_until(&pace(), at(50)), Some(at(80)));
    for second in 51..=80 {
        succeeds(&mut health, second);
    }
    assert_eq!(health.state(), State::Up);
    flap(&mut health, 1, 90);
    assert_eq!(health.held_until(&pace(), at(95)), Some(at(93 + 60)));
}

#[test]
fn failures_that_lie_five_minutes_apart_are_no_flapping() {
    let mut health = TargetHealth::new(at(0));
    succeeds(&mut health, 1);
    for begin in [10, 320, 630, 940] {
        flap(&mut health, 1, begin);
        assert_eq!(health.state(), State::Up);
    }
}

#[test]
fn an_answer_that_is_slower_than_allowed_is_a_failure_that_says_so() {
    let pace = Pace { slow: Some(Duration::from_millis(500)), fall: 1, ..pace() };
    let mut health = TargetHealth::new(at(0));
    health.record(outcome(Verdict::Success("banner 220".into()), 500), &pace, at(1));
    assert_eq!(health.state(), State::Up);
    health.record(outcome(Verdict::Success("banner 220".into()), 501), &pace, at(2));
    assert_eq!((health.state(), health.cause()), (State::Down, "banner 220, slower than 500ms"));
    assert_eq!(health.failures().get(&FailureKind::Slow), Some(&1));
}

#[test]
fn ratio_and_percentiles_speak_of_the_latest_results() {
    let mut health = TargetHealth::new(at(0));
    assert_eq!((health.recent().success_ratio(), health.recent().percentiles([0.5])), (None, None));
    for millis in 1..=100 {
        health.record(outcome(Verdict::Success(String::new()), millis), &pace(), at(millis));
    }
    // Of 37 to 100, the latest 64.
    assert_eq!(health.recent().percentiles([0.5, 1.0]), Some([68, 100].map(Duration::from_millis)));
    assert_eq!(health.recent().success_ratio(), Some(1.0));
    (0..16).for_each(|n| _ = fails(&mut health, 200 + n));
    assert_eq!(health.recent().success_ratio(), Some(0.75));
}

#[test]
fn every_kind_of_failure_has_a_word_of_its_own() {
    let words: std::collections::BTreeSet<_> = FailureKind::ALL.iter().map(|kind| kind.word()).collect();
    assert_eq!(words.len(), FailureKind::ALL.len());
}
