//! The four times that the rules of ownership rest on, and the relations between them.

use thiserror::Error;

use super::time::Span;

/// Between the end of a lease and the end of the promise that it rests on: drift of both clocks and the flip itself.
pub const LEASE_MARGIN: Span = Span::from_millis(5);
/// A promise asked for by a planned restart is never longer. A box that has just booted waits for so long, because
/// it may have promised that much before.
pub const EXTENSION_MAX: Span = Span::from_secs(2);
/// An owner by silence makes its lease endless when the peer has been silent for so long since.
pub const SOLO_ENDLESS_AFTER: Span = Span::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// H: between two heartbeats.
    pub heartbeat: Span,
    /// L: a lease, from the time of sending the heartbeat that the peer has answered with a promise.
    pub lease: Span,
    /// D: a peer that has been silent for so long may be dead, and a promise lasts so long.
    pub dead: Span,
    /// Q: between two questions to the peer's data plane.
    pub question: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TimersError {
    #[error("the heartbeat of {0} is not within 5 ms to 10 s")]
    HeartbeatRange(Span),
    #[error("the question interval of {0} is not within 1 ms and a tenth of the dead interval of {1}")]
    QuestionRange(Span, Span),
    #[error("a lease of {lease} is too long for a dead interval of {dead}: it must end 5 ms earlier")]
    LeaseTooLong { lease: Span, dead: Span },
    #[error("a lease of {lease} is too short: the peer's answers to two heartbeats ({needs}) must fit")]
    LeaseTooShort { lease: Span, needs: Span },
    #[error(
        "a dead interval of {dead} is too short for stalls of {stall}, two heartbeats and a path of {path}: {needs}"
    )]
    DeadTooShort { dead: Span, stall: Span, path: Span, needs: Span },
}

impl Timers {
    /// For a daemon with a real-time priority (stalls up to 40 ms).
    pub const DEFAULT: Self = Self::millis(50, 245, 250, 10);
    /// For a daemon without one (stalls up to 172 ms, measured under load).
    pub const RELAXED: Self = Self::millis(50, 395, 400, 10);
    /// For a daemon with a real-time priority and locked memory, and no serial line alone.
    pub const FAST: Self = Self::millis(20, 95, 100, 5);

    const fn millis(heartbeat: u64, lease: u64, dead: u64, question: u64) -> Self {
        Self {
            heartbeat: Span::from_millis(heartbeat),
            lease: Span::from_millis(lease),
            dead: Span::from_millis(dead),
            question: Span::from_millis(question),
        }
    }

    /// Whether one owner can be promised with these times, where a thread stalls for `stall` at most and the
    /// slowest path that may be the only one takes `slowest_path`.
    pub fn check(&self, stall: Span, slowest_path: Span) -> Result<(), TimersError> {
        let Self { heartbeat, lease, dead, question } = *self;
        if heartbeat < Span::from_millis(5) || heartbeat > Span::from_secs(10) {
            return Err(TimersError::HeartbeatRange(heartbeat));
        }
        if question < Span::from_millis(1) || question * 10 > dead {
            return Err(TimersError::QuestionRange(question, dead));
        }
        if lease + LEASE_MARGIN > dead {
            return Err(TimersError::LeaseTooLong { lease, dead });
        }
        let two_answers = heartbeat * 2 + slowest_path * 2;
        if lease < two_answers {
            return Err(TimersError::LeaseTooShort { lease, needs: two_answers });
        }
        let needs = stall + heartbeat * 2 + slowest_path;
        if dead < needs {
            return Err(TimersError::DeadTooShort { dead, stall, path: slowest_path, needs });
        }
        Ok(())
    }

    /// 2D + 2H: how long a peer must be silent that may hold an endless lease.
    pub fn long_silence(&self) -> Span {
        self.dead * 2 + self.heartbeat * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIFO_STALL: Span = Span::from_millis(40);
    const STALL: Span = Span::from_millis(172);
    const SERIAL: Span = Span::from_millis(25);

    #[test]
    fn the_presets_hold_the_relations_they_are_made_for() {
        assert_eq!(Timers::DEFAULT.check(FIFO_STALL, SERIAL), Ok(()));
        assert_eq!(Timers::RELAXED.check(STALL, SERIAL), Ok(()));
        assert_eq!(Timers::FAST.check(FIFO_STALL, Span::from_millis(1)), Ok(()));
    }

    #[test]
    fn the_default_is_too_short_for_a_stalling_daemon_and_a_slow_line() {
        let refused = Timers::DEFAULT.check(STALL, SERIAL);
        assert!(matches!(refused, Err(TimersError::DeadTooShort { .. })), "{refused:?}");
    }

    #[test]
    fn a_lease_may_not_reach_the_end_of_the_promise() {
        let timers = Timers { lease: Span::from_millis(246), ..Timers::DEFAULT };
        let refused = timers.check(FIFO_STALL, SERIAL).expect_err("too long");
        assert_eq!(
            refused.to_string(),
            "a lease of 246 ms is too long for a dead interval of 250 ms: it must end 5 ms earlier"
        );
    }

    #[test]
    fn each_time_has_its_range() {
        let slow_questions = Timers { question: Span::from_millis(26), ..Timers::DEFAULT };
        assert!(matches!(slow_questions.check(FIFO_STALL, SERIAL), Err(TimersError::QuestionRange(..))));
        let slow = Timers { heartbeat: Span::from_millis(120), ..Timers::DEFAULT };
        assert!(matches!(slow.check(Span::ZERO, SERIAL), Err(TimersError::LeaseTooShort { .. })));
        let hasty = Timers { heartbeat: Span::from_millis(1), ..Timers::DEFAULT };
        assert!(matches!(hasty.check(FIFO_STALL, SERIAL), Err(TimersError::HeartbeatRange(_))));
    }
}
