//! What is known of a path: loss by gaps in the counters, delay by echoes, refusals by kind. Without I/O.

use super::Sent;
use crate::pair::heartbeat::Incarnation;
use crate::pair::seal::{Channel, Refused};
use crate::pair::time::{Instant, Span};
use crate::pair::wire::{PathEcho, Received};

/// Heartbeats that an echo can refer to: 1.28 s of them at 20 ms.
const REMEMBERED: usize = 64;
/// Heartbeats that recent loss is told of.
pub const RECENT: u32 = u128::BITS;

/// Of one path.
#[derive(Clone, Debug)]
pub struct Stats {
    sent: u64,
    not_sent: u64,
    received: u64,
    lost: u64,
    damaged: u64,
    refused: [u64; Refused::COUNT],
    /// A ring by the counter.
    sent_at: [(u64, Instant); REMEMBERED],
    heard: Option<Heard>,
    delay: Option<Delay>,
}

/// What has come in the peer's current life.
#[derive(Clone, Copy, Debug)]
struct Heard {
    incarnation: Incarnation,
    channel: Channel,
    /// The highest counter, and when it came.
    counter: u64,
    arrived: Instant,
    /// A bit for each counter, the highest in the lowest bit: whether it came.
    recent: u128,
    /// How many of those bits mean something.
    known: u32,
    /// The last that came, be it late.
    last: Instant,
}

/// Time on the way: half of both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    pub last: Span,
    pub least: Span,
    /// Moves by an eighth towards each new one.
    pub smoothed: Span,
    /// The mean distance from `smoothed`; moves by a quarter.
    pub jitter: Span,
}

impl Delay {
    const fn first(last: Span) -> Self {
        Self { last, least: last, smoothed: last, jitter: Span::ZERO }
    }

    fn next(self, last: Span) -> Self {
        let distance = Span(last.0.abs_diff(self.smoothed.0));
        Self {
            last,
            least: self.least.min(last),
            smoothed: towards(self.smoothed, last, 8),
            jitter: towards(self.jitter, distance, 4),
        }
    }
}

fn towards(from: Span, to: Span, part: u64) -> Span {
    if to >= from { from + Span((to.0 - from.0) / part) } else { from.saturating_sub(Span((from.0 - to.0) / part)) }
}

/// For the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub sent: u64,
    /// The path did not take them: closed, full, or overtaken by a newer one before the line was free.
    pub not_sent: u64,
    pub received: u64,
    /// Sent by the peer by this path, as its counters tell, and not come (yet).
    pub lost: u64,
    /// Of the last [`RECENT`] that the peer sent, up to the newest that came.
    pub lost_recently_permille: u32,
    /// Frames of a serial line that were none.
    pub damaged: u64,
    /// By [`Refused::index`].
    pub refused: [u64; Refused::COUNT],
    /// When the peer was last heard by this path.
    pub heard: Option<Instant>,
    pub delay: Option<Delay>,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            sent: 0,
            not_sent: 0,
            received: 0,
            lost: 0,
            damaged: 0,
            refused: [0; Refused::COUNT],
            sent_at: [(0, Instant(0)); REMEMBERED],
            heard: None,
            delay: None,
        }
    }
}

impl Stats {
    /// A heartbeat with that counter was given to the path.
    pub fn sent(&mut self, counter: u64, now: Instant, outcome: Sent) {
        match outcome {
            Sent::Now | Sent::Later => self.sent += 1,
            // The one before, which was counted, did not go.
            Sent::Instead | Sent::Not => self.not_sent += 1,
        }
        if let Some(place) = self.sent_at.get_mut(ring(counter)) {
            *place = (counter, now);
        }
    }

    /// The echo to send by this path now to a peer in that life; `None` when that life was not heard by this path.
    pub fn path_echo(&self, peer: Incarnation, now: Instant) -> Option<PathEcho> {
        let heard = self.heard.filter(|heard| heard.incarnation == peer)?;
        Some(PathEcho { counter: low_bits(heard.counter), held: now.since(heard.arrived) })
    }

    /// A heartbeat has come by this path. `own`: the life of this box.
    pub fn received(&mut self, received: &Received, own: Incarnation, arrived: Instant) {
        self.received += 1;
        let heartbeat = &received.heartbeat;
        let same =
            self.heard.filter(|heard| heard.incarnation == heartbeat.incarnation && heard.channel == received.channel);
        let heard = match same {
            Some(heard) => self.follow(heard, received.counter, arrived),
            None => Heard {
                incarnation: heartbeat.incarnation,
                channel: received.channel,
                counter: received.counter,
                arrived,
                recent: 1,
                known: 1,
                last: arrived,
            },
        };
        self.heard = Some(heard);
        // The peer may still echo an earlier life of this box, by whose counters nothing can be told.
        let to_this_life = heartbeat.echo.is_some_and(|echo| echo.incarnation == own);
        if let Some(echo) = received.path_echo.filter(|_| to_this_life) {
            self.measure(echo, arrived);
        }
    }

    fn follow(&mut self, heard: Heard, counter: u64, arrived: Instant) -> Heard {
        if counter > heard.counter {
            let ahead = counter - heard.counter;
            self.lost += ahead - 1;
            let steps = u32::try_from(ahead).unwrap_or(u32::MAX);
            let recent = heard.recent.checked_shl(steps).unwrap_or(0) | 1;
            let known = heard.known.saturating_add(steps).min(RECENT);
            return Heard { counter, arrived, recent, known, last: arrived, ..heard };
        }
        // Late, and once: the seal's window has seen to that. Not below the first, before which nothing was expected.
        let behind = u32::try_from(heard.counter - counter).unwrap_or(u32::MAX);
        let bit = 1_u128.checked_shl(behind).unwrap_or(0);
        if behind < heard.known && heard.recent & bit == 0 {
            self.lost = self.lost.saturating_sub(1);
        }
        let recent = if behind < heard.known { heard.recent | bit } else { heard.recent };
        Heard { recent, last: arrived.max(heard.last), ..heard }
    }

    fn measure(&mut self, echo: PathEcho, arrived: Instant) {
        let place = self.sent_at.iter().find(|(counter, _)| *counter != 0 && low_bits(*counter) == echo.counter);
        let Some((_, sent)) = place else { return };
        let last = Span(arrived.since(*sent).saturating_sub(echo.held).0 / 2);
        self.delay = Some(self.delay.map_or(Delay::first(last), |delay| delay.next(last)));
    }

    pub fn refused(&mut self, refused: Refused) {
        if let Some(count) = self.refused.get_mut(refused.index()) {
            *count += 1;
        }
    }

    /// A frame came damaged.
    pub const fn damaged(&mut self) {
        self.damaged += 1;
    }

    pub fn view(&self) -> View {
        let lost_recently_permille = self.heard.map_or(0, |heard| {
            // Above the known ones no bit is set.
            let missing = heard.known.saturating_sub(heard.recent.count_ones());
            missing * 1_000 / heard.known.max(1)
        });
        View {
            sent: self.sent,
            not_sent: self.not_sent,
            received: self.received,
            lost: self.lost,
            lost_recently_permille,
            damaged: self.damaged,
            refused: self.refused,
            heard: self.heard.map(|heard| heard.last),
            delay: self.delay,
        }
    }
}

const fn ring(counter: u64) -> usize {
    (counter % REMEMBERED as u64) as usize
}

const fn low_bits(counter: u64) -> u16 {
    (counter & 0xffff) as u16
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
