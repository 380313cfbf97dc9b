use proptest::prelude::*;

use super::*;
use crate::pair::heartbeat::{Echo, Heartbeat};
use crate::pair::time::Stamp;

const PEER: Incarnation = Incarnation { boot: 5, start: 1 };
const OWN: Incarnation = Incarnation { boot: 2, start: 7 };

fn at(ms: u64) -> Instant {
    Instant(ms.saturating_mul(1_000_000))
}

fn heartbeat(incarnation: Incarnation, counter: u64) -> Received {
    let echo = Some(Echo { incarnation: OWN, stamp: Stamp(0) });
    let channel = Channel::new(1).unwrap();
    Received { heartbeat: Heartbeat { incarnation, echo, ..Heartbeat::default() }, path_echo: None, channel, counter }
}

fn after(counters: impl IntoIterator<Item = u64>) -> Stats {
    let mut stats = Stats::default();
    for counter in counters {
        stats.received(&heartbeat(PEER, counter), OWN, at(counter));
    }
    stats
}

fn echoed(stats: &mut Stats, counter: u16, held: Span, arrived: Instant) {
    let path_echo = Some(PathEcho { counter, held });
    stats.received(&Received { path_echo, ..heartbeat(PEER, 1) }, OWN, arrived);
}

#[test]
fn gaps_in_the_counters_are_losses() {
    let view = after([10, 11, 14, 15]).view();
    assert_eq!((view.received, view.lost, view.lost_recently_permille), (4, 2, 333));
    assert_eq!(view.heard, Some(at(15)));
}

#[test]
fn what_comes_late_was_not_lost() {
    let view = after([10, 13, 12, 11]).view();
    assert_eq!((view.received, view.lost, view.lost_recently_permille), (4, 0, 0));
}

#[test]
fn what_was_sent_before_the_first_that_came_was_not_expected() {
    let view = after([1_000, 999, 998]).view();
    assert_eq!((view.received, view.lost, view.lost_recently_permille), (3, 0, 0));
}

#[test]
fn a_new_life_of_the_peer_and_another_path_begin_anew() {
    let mut stats = after([10, 12]);
    let next = Incarnation { start: 2, ..PEER };
    stats.received(&heartbeat(next, 1), OWN, at(20));
    stats.received(&heartbeat(next, 2), OWN, at(21));
    let other = Received { channel: Channel::new(2).unwrap(), ..heartbeat(next, 900) };
    stats.received(&other, OWN, at(22));
    let view = stats.view();
    assert_eq!((view.received, view.lost, view.lost_recently_permille), (5, 1, 0));
}

#[test]
fn recent_loss_forgets_what_is_long_ago() {
    let view = after([1].into_iter().chain(65..=128)).view();
    assert_eq!((view.lost, view.lost_recently_permille), (63, 63 * 1_000 / 128));
    let view = after([1].into_iter().chain(65..=300)).view();
    assert_eq!((view.lost, view.lost_recently_permille), (63, 0));
    let view = after([1, 5_000]).view();
    assert_eq!((view.lost, view.lost_recently_permille), (4_998, 127 * 1_000 / 128));
    let view = after([1, u64::MAX]).view();
    assert_eq!(view.lost, u64::MAX - 2);
}

#[test]
fn delay_is_half_of_what_passed_less_what_the_peer_held_it() {
    let mut stats = Stats::default();
    stats.sent(7, at(100), Sent::Now);
    echoed(&mut stats, 7, Span::from_millis(30), at(134));
    let two = Span::from_millis(2);
    assert_eq!(stats.view().delay, Some(Delay { last: two, least: two, smoothed: two, jitter: Span::ZERO }));
    stats.sent(8, at(150), Sent::Now);
    echoed(&mut stats, 8, Span::ZERO, at(170));
    let delay = stats.view().delay.unwrap();
    assert_eq!((delay.last, delay.least), (Span::from_millis(10), two));
    assert_eq!((delay.smoothed, delay.jitter), (Span::from_millis(3), two));
}

#[test]
fn an_echo_of_what_is_forgotten_or_was_never_sent_measures_nothing() {
    let mut stats = Stats::default();
    echoed(&mut stats, 0, Span::ZERO, at(1));
    assert_eq!(stats.view().delay, None, "nothing was sent");
    for counter in 1..=REMEMBERED as u64 + 1 {
        stats.sent(counter, at(counter), Sent::Now);
    }
    echoed(&mut stats, 1, Span::ZERO, at(200));
    assert_eq!(stats.view().delay, None);
    echoed(&mut stats, 2, Span::ZERO, at(202));
    assert_eq!(stats.view().delay.map(|delay| delay.last), Some(Span::from_millis(100)));
    echoed(&mut stats, 3, Span::from_millis(900), at(203));
    assert_eq!(stats.view().delay.map(|delay| delay.last), Some(Span::ZERO), "never below nothing");
}

#[test]
fn an_echo_to_an_earlier_life_of_this_box_measures_nothing() {
    let mut stats = Stats::default();
    stats.sent(7, at(100), Sent::Now);
    let mut received = heartbeat(PEER, 1);
    received.path_echo = Some(PathEcho { counter: 7, held: Span::ZERO });
    stats.received(&received, Incarnation { start: 8, ..OWN }, at(110));
    assert_eq!(stats.view().delay, None);
    received.heartbeat.echo = None;
    stats.received(&received, OWN, at(110));
    assert_eq!(stats.view().delay, None);
}

#[test]
fn the_newest_that_came_is_echoed_with_how_long_it_was_held() {
    let mut stats = after([0x1_0005, 0x1_0009, 0x1_0007]);
    let now = at(0x1_0009 + 40);
    assert_eq!(stats.path_echo(PEER, now), Some(PathEcho { counter: 9, held: Span::from_millis(40) }));
    let next = Incarnation { start: 2, ..PEER };
    assert_eq!(stats.path_echo(next, now), None, "not yet heard by this path in its new life");
    stats.received(&heartbeat(next, 1), OWN, now);
    assert_eq!(stats.path_echo(next, now), Some(PathEcho { counter: 1, held: Span::ZERO }));
}

#[test]
fn what_the_path_did_not_take_is_told_apart() {
    let mut stats = Stats::default();
    for (counter, outcome) in (1..).zip([Sent::Now, Sent::Later, Sent::Instead, Sent::Not]) {
        stats.sent(counter, at(0), outcome);
    }
    stats.refused(Refused::BadSeal);
    stats.refused(Refused::Version(9));
    stats.damaged();
    let view = stats.view();
    assert_eq!((view.sent, view.not_sent, view.damaged), (2, 2, 1));
    assert_eq!(view.refused, [0, 1, 0, 1, 0, 0, 0, 0]);
}

proptest! {
    #[test]
    fn lost_and_received_are_as_many_as_were_sent_since_the_first(
        fates in prop::collection::vec(any::<(bool, u8)>(), 2..200)) {
        // Each is delayed by less than a place in the history; the first and the last come, in order.
        let last = fates.len() as u64;
        let mut arrivals: Vec<(u64, u64)> = (1..=last)
            .zip(fates)
            .filter(|(counter, (comes, _))| *comes || *counter == 1 || *counter == last)
            .map(|(counter, (_, late))| (counter + u64::from(late % 100), counter))
            .filter(|(_, counter)| *counter != 1 && *counter != last)
            .collect();
        arrivals.sort_unstable();
        let counters: Vec<u64> = [1].into_iter().chain(arrivals.into_iter().map(|(_, counter)| counter)).chain([last]).collect();
        let view = after(counters.iter().copied()).view();
        prop_assert_eq!(view.received, counters.len() as u64);
        prop_assert_eq!(view.received + view.lost, last);
    }
}
