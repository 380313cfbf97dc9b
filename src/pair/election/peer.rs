//! What is known of the peer, and which of its heartbeats count.

use crate::pair::heartbeat::{Heartbeat, Incarnation, LeaseLeft, State};
use crate::pair::time::{Instant, Span, Stamp};
use crate::pair::timers::Timers;

/// Two clocks drift apart by up to 400 parts of a million each: of 10,000 ns by 8.
const DRIFT_PER_10_000: u64 = 8;

/// Whether a heartbeat counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Counts,
    /// A newer one has been heard.
    Overtaken,
    /// It is proved to have been under way for about a dead interval.
    Stale,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peer {
    /// The newest heartbeat that counted.
    pub last: Option<Heartbeat>,
    pub heard: Option<Instant>,
    /// The newest of our own stamps that it has echoed, in this life of ours.
    pub echoed: Option<Instant>,
    /// Until when it may own, as far as it has told, itself or by its data plane.
    pub lease_until: Instant,
    newest: Option<(Incarnation, Stamp)>,
    fastest: Option<Fastest>,
}

/// The heartbeat that was under way for the shortest time. Arrival less stamp is that time plus the (unknown)
/// difference of the clocks.
#[derive(Clone, Copy, Debug)]
struct Fastest {
    arrival_less_stamp: i128,
    at: Instant,
}

/// When a lease of so long is over on our clock too.
pub(super) fn outlasts(now: Instant, left: Span) -> Instant {
    now + left + Span(left.0 / 10_000 * DRIFT_PER_10_000) + Span::from_micros(100)
}

impl Peer {
    pub fn admit(&mut self, heartbeat: &Heartbeat, now: Instant, me: Incarnation, timers: &Timers) -> Admission {
        let this = (heartbeat.incarnation, heartbeat.stamp);
        if self.newest.is_some_and(|newest| this <= newest) {
            return Admission::Overtaken;
        }
        if self.newest.is_some_and(|(incarnation, _)| incarnation.boot != heartbeat.incarnation.boot) {
            // Another boot is another clock.
            self.fastest = None;
        }
        self.newest = Some(this);
        let slower = self.slower_than_fastest(heartbeat.stamp, now);
        let echo = heartbeat.echo.filter(|echo| echo.incarnation == me && echo.stamp.own() <= now);
        let echo_is_old = echo.is_none_or(|echo| now.since(echo.stamp.own()) > timers.dead);
        if echo_is_old && slower + Span::from_millis(5) >= timers.dead {
            return Admission::Stale;
        }
        self.last = Some(*heartbeat);
        self.heard = Some(now);
        self.echoed = self.echoed.max(echo.map(|echo| echo.stamp.own()));
        self.lease_until = match heartbeat.lease {
            LeaseLeft::Finite(left) => outlasts(now, left),
            LeaseLeft::None | LeaseLeft::Endless => now,
        };
        Admission::Counts
    }

    /// By how much this heartbeat was surely slower than the fastest seen, which it becomes if it was not slower.
    fn slower_than_fastest(&mut self, stamp: Stamp, now: Instant) -> Span {
        let arrival_less_stamp = i128::from(now.0) - i128::from(stamp.0);
        let expected = self.fastest.map(|fastest| {
            let drift = now.since(fastest.at).0 / 10_000 * DRIFT_PER_10_000;
            fastest.arrival_less_stamp + i128::from(drift)
        });
        match expected {
            Some(expected) if arrival_less_stamp > expected => {
                Span(u64::try_from(arrival_less_stamp - expected).unwrap_or(u64::MAX))
            }
            _ => {
                self.fastest = Some(Fastest { arrival_less_stamp, at: now });
                Span::ZERO
            }
        }
    }

    pub fn owns(&self) -> bool {
        self.last.is_some_and(|last| last.owns)
    }

    /// It owned without end when it was last heard, or has heard of our ownership since `ours` and owns all the same.
    pub fn surely_owns(&self, ours: Instant) -> bool {
        let last = self.last.filter(|last| last.owns);
        last.is_some_and(|last| {
            (last.solo && last.lease == LeaseLeft::Endless) || self.echoed.is_some_and(|echoed| echoed >= ours)
        })
    }

    /// Alive, and in no state to take over.
    pub fn unfit(&self) -> bool {
        self.last.is_some_and(|last| {
            !last.owns && matches!(last.state, State::Init | State::Fault | State::Maintenance | State::Leaving)
        })
    }

    /// Its last word leaves open that it owns without end: it said so, or it owned without hearing anybody.
    pub fn may_be_endless(&self) -> bool {
        self.last.is_none_or(|last| last.lease == LeaseLeft::Endless || last.solo)
    }
}
