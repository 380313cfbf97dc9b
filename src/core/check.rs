//! The health of one target, from the results of its probes.
//!
//! ```text
//!                 success                       fall failures in a row
//!   ┌─────────┐ ───────────> ┌────┐ ───────────────────────────────────> ┌──────┐
//!   │ unknown │              │ up │                                      │ down │
//!   └─────────┘              └────┘ <─────────────────────────────────── └──────┘
//!        │                              rise successes in a row              ^
//!        └───────────────────────────────────────────────────────────────────┘
//!                             fall failures in a row
//! ```
//!
//! The first success decides alone, so that a start takes one probe and not `rise` of them. A failure
//! never does: an unknown target gets no new connections anyhow, and to be down means that those which a
//! daemon has taken over are reset. A result that agrees with the state ends the row of those that did not.

use std::fmt;

use super::moment::Moment;

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// With what the server said, in words: "250 after EHLO".
    Success(String),
    Failure(Failure),
}

impl Verdict {
    /// A failure of a kind, in words that an operator reads.
    pub fn failure(kind: FailureKind, words: impl Into<String>) -> Self {
        Self::Failure(Failure { kind, words: words.into() })
    }
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For counting and filtering.
    pub kind: FailureKind,
    /// Without the protocol's name and the time it took, which are told beside it: "banner 421 too busy".
    /// One line, printable, at most 200 characters.
    pub words: String,
}

/// The kinds of failure: few, and stable between releases, because metrics are labelled by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// The connection was refused: nothing listens.
    Refused,
    /// The server does not answer ARP or neighbour discovery, or a router says that it cannot be reached.
    Unreachable,
    /// No answer at all within the timeout: neither to the connection attempt nor to a datagram.
    Timeout,
    /// The connection was accepted, and not a byte came: a half-open listener.
    Silent,
    /// The answer came, later than the check's `slow` allows.
    Slow,
    /// The conversation began and then stopped: a login that hangs.
    Hung,
    /// The server closed the connection before it was through.
    Closed,
    /// A temporary refusal: "421 too busy", "try again later".
    Busy,
    /// A permanent refusal.
    Rejected,
    /// The probe's account was refused.
    Login,
    /// The mailbox cannot be opened.
    Mailbox,
    /// The answer is not of the protocol.
    Malformed,
    /// A line or an answer is longer than any sound one.
    Overlong,
    /// The TLS handshake failed, or TLS is not offered.
    Tls,
    /// The certificate is of another name, not trusted, has ended or ends too soon.
    Certificate,
    /// The answer is another one than was asked for: status, body, record.
    Mismatch,
    /// The answer is not signed with the shared secret.
    Unsigned,
    /// The command said so.
    Script,
    /// The probe could not be made on this box: a file that cannot be read, no more sockets.
    Local,
}

impl FailureKind {
    pub const ALL: [Self; 19] = [
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::Silent,
        Self::Slow,
        Self::Hung,
        Self::Closed,
        Self::Busy,
        Self::Rejected,
        Self::Login,
        Self::Mailbox,
        Self::Malformed,
        Self::Overlong,
        Self::Tls,
        Self::Certificate,
        Self::Mismatch,
        Self::Unsigned,
        Self::Script,
        Self::Local,
    ];

    /// One word, for labels and filters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::Hung => "hung",
            Self::Closed => "closed",
            Self::Busy => "busy",
            Self::Rejected => "rejected",
            Self::Login => "login",
            Self::Mailbox => "mailbox",
            Self::Malformed => "malformed",
            Self::Overlong => "overlong",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::Mismatch => "mismatch",
            Self::Unsigned => "unsigned",
            Self::Script => "script",
            Self::Local => "local",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// No probe has come back yet.
    #[default]
    Unknown,
    Up,
    Down,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// A target went from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub from: State,
    pub to: State,
}

/// State, and what led to it.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetHealth {
    state: State,
    since: Moment,
    /// Results in a row that speak against the state; less than rise or fall.
    against: u8,
    last: Option<(Moment, Verdict)>,
    returned: Option<Moment>,
}

impl TargetHealth {
    pub fn new(now: Moment) -> Self {
        Self { state: State::Unknown, since: now, against: 0, last: None, returned: None }
    }

    /// Takes the result of a probe that ended at `now`. `rise` and `fall` count as 1 when 0.
    pub fn record(&mut self, verdict: Verdict, rise: u8, fall: u8, now: Moment) -> Option<Change> {
        let (to, needed) = match verdict {
            Verdict::Success(_) => (State::Up, rise),
            Verdict::Failure(_) => (State::Down, fall),
        };
        self.last = Some((now, verdict));
        if to == self.state {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let decides_alone = (self.state, to) == (State::Unknown, State::Up);
        if !decides_alone && self.against < needed {
            return None;
        }
        let change = Change { from: self.state, to };
        self.returned = (change == Change { from: State::Down, to: State::Up }).then_some(now);
        self.state = to;
        self.since = now;
        self.against = 0;
        Some(change)
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// When the state began.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// When the target came up, if it has been seen down before: the start of its slow start. A target
    /// that was up at the first look has served before us and needs none.
    pub fn returned(&self) -> Option<Moment> {
        self.returned
    }

    /// The latest result, and when it came.
    pub fn last(&self) -> Option<(Moment, &Verdict)> {
        self.last.as_ref().map(|(at, verdict)| (*at, verdict))
    }

    /// The state is being put in question: the latest result speaks against it.
    pub fn in_doubt(&self) -> bool {
        self.against > 0
    }

    /// Goes on under other counts: the state stays, the row begins anew.
    pub(super) fn inherited(&self) -> Self {
        Self { against: 0, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const RISE: u8 = 2;
    const FALL: u8 = 3;

    fn at(second: u64) -> Moment {
        Moment(Duration::from_secs(second))
    }

    fn fails(health: &mut TargetHealth, second: u64) -> Option<Change> {
        health.record(Verdict::failure(FailureKind::Refused, "connection refused"), RISE, FALL, at(second))
    }

    fn succeeds(health: &mut TargetHealth, second: u64) -> Option<Change> {
        health.record(Verdict::Success(String::new()), RISE, FALL, at(second))
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
        assert_eq!(health.last(), Some((at(4), &Verdict::failure(FailureKind::Refused, "connection refused"))));
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
                let verdict = if good { Verdict::Success(String::new()) } else { Verdict::failure(FailureKind::Refused, "x") };
                let change = health.record(verdict, rise, fall, at(second as u64));
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
}
