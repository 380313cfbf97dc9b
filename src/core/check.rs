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
//!
//! A target that goes down `FLAP_DOWNS` times within `FLAP_WINDOW` flaps: it is held down until it has
//! answered without a failure for the hold of its pace, twice that after one failure more, and so on. The
//! plan takes such a target all the same when there is no other.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use super::moment::Moment;
use super::target::Pace;

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

/// One probe's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: Verdict,
    /// From the first packet to the verdict.
    pub took: Duration,
    /// When the server's certificate ends, Unix time; `None` without TLS.
    pub certificate_ends: Option<u64>,
}

/// A target went from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub from: State,
    pub to: State,
}

/// A target that has gone down so often within `FLAP_WINDOW` flaps, and is held down.
pub const FLAP_DOWNS: usize = 3;
pub const FLAP_WINDOW: Duration = Duration::from_secs(300);
/// A hold grows by its first length with each further failure in the window, up to this many times it.
const FLAP_HOLDS_MAX: u32 = 8;
/// Results that ratio and percentiles speak of.
pub const RECENT: usize = 64;

/// State, and what led to it.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetHealth {
    state: State,
    since: Moment,
    /// Why it went there, in the words of the result that decided; empty at the beginning.
    cause: String,
    /// Results in a row that speak against the state.
    against: u8,
    /// What it was reached by has failed: its next result decides alone.
    suspect: bool,
    /// When the row of successes that a down target is in began.
    answers_since: Option<Moment>,
    last: Option<(Moment, Outcome)>,
    returned: Option<Moment>,
    /// When it was up last, if it has been and is not now.
    up_until: Option<Moment>,
    /// The latest times that it went from up to down, at most `FLAP_DOWNS + FLAP_HOLDS_MAX`, oldest first.
    downs: VecDeque<Moment>,
    recent: Recent,
    successes: u64,
    failures: BTreeMap<FailureKind, u64>,
}

impl TargetHealth {
    pub fn new(now: Moment) -> Self {
        Self {
            state: State::Unknown,
            since: now,
            cause: String::new(),
            against: 0,
            suspect: false,
            answers_since: None,
            last: None,
            returned: None,
            up_until: None,
            downs: VecDeque::new(),
            recent: Recent::default(),
            successes: 0,
            failures: BTreeMap::new(),
        }
    }

    /// Takes the result of a probe that ended at `now`. `rise` and `fall` count as 1 when 0.
    pub fn record(&mut self, outcome: Outcome, pace: &Pace, now: Moment) -> Option<Change> {
        let outcome = too_slow(outcome, pace);
        let suspect = std::mem::take(&mut self.suspect);
        self.recent.push(&outcome);
        let (to, needed) = match &outcome.verdict {
            Verdict::Success(_) => {
                self.successes += 1;
                self.answers_since.get_or_insert(now);
                (State::Up, pace.rise)
            }
            Verdict::Failure(failure) => {
                *self.failures.entry(failure.kind).or_default() += 1;
                self.answers_since = None;
                (State::Down, pace.fall)
            }
        };
        self.last = Some((now, outcome));
        if to == self.state {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let decides_alone = (self.state, to) == (State::Unknown, State::Up) || suspect && to == State::Down;
        if !decides_alone && self.against < needed {
            return None;
        }
        if to == State::Up && self.held_until(pace, now).is_some() {
            return None;
        }
        let change = Change { from: self.state, to };
        self.returned = (change == Change { from: State::Down, to: State::Up }).then_some(now);
        self.up_until = match change {
            Change { from: State::Up, .. } => Some(now),
            Change { to: State::Up, .. } => None,
            _ => self.up_until,
        };
        if change.from == State::Up {
            self.downs.push_back(now);
            if self.downs.len() > FLAP_DOWNS + FLAP_HOLDS_MAX as usize {
                self.downs.pop_front();
            }
        }
        self.cause = self.last_words().unwrap_or_default().to_owned();
        self.state = to;
        self.since = now;
        self.against = 0;
        Some(change)
    }

    /// What this target was reached by has failed, such as the box behind which it is. If it is up, one failure is
    /// enough from now on, until it answers.
    pub fn suspect(&mut self) {
        self.suspect = self.state == State::Up;
    }

    pub fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// A target that flaps and answers now: until when it is held down, if it goes on answering. `None` also
    /// for one that does not answer.
    pub fn held_until(&self, pace: &Pace, now: Moment) -> Option<Moment> {
        let until = self.answers_since? + self.hold(pace, now)?;
        (self.state == State::Down && now < until).then_some(until)
    }

    /// How long it must answer before it is up again, because it flaps.
    fn hold(&self, pace: &Pace, now: Moment) -> Option<Duration> {
        let recent = self.downs.iter().filter(|down| now.since(**down) <= FLAP_WINDOW).count();
        let times = u32::try_from(recent.checked_sub(FLAP_DOWNS - 1)?).unwrap_or(u32::MAX).min(FLAP_HOLDS_MAX);
        (times > 0 && !pace.flap_hold.is_zero()).then(|| pace.flap_hold * times)
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// When the state began.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// What decided for the state, in words.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// When the target came up, if it has been seen down before: the start of its slow start. A target
    /// that was up at the first look has served before us and needs none.
    pub fn returned(&self) -> Option<Moment> {
        self.returned
    }

    /// When a target that is down was up last; `None` if it never was, or is now.
    pub fn up_until(&self) -> Option<Moment> {
        self.up_until
    }

    /// The latest result, and when it came.
    pub fn last(&self) -> Option<(Moment, &Outcome)> {
        self.last.as_ref().map(|(at, outcome)| (*at, outcome))
    }

    /// The latest result in words.
    pub fn last_words(&self) -> Option<&str> {
        match &self.last.as_ref()?.1.verdict {
            Verdict::Success(words) => Some(words),
            Verdict::Failure(failure) => Some(&failure.words),
        }
    }

    /// The state is being put in question: the latest result speaks against it.
    pub fn in_doubt(&self) -> bool {
        self.against > 0
    }

    /// Since the daemon started.
    pub fn successes(&self) -> u64 {
        self.successes
    }

    /// Since the daemon started, by kind.
    pub fn failures(&self) -> &BTreeMap<FailureKind, u64> {
        &self.failures
    }

    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Goes on under other counts: the state stays, the row begins anew.
    pub(super) fn inherited(&self) -> Self {
        Self { against: 0, suspect: false, ..self.clone() }
    }
}

/// A success that took longer than the check allows is a failure.
fn too_slow(outcome: Outcome, pace: &Pace) -> Outcome {
    match (&outcome.verdict, pace.slow) {
        (Verdict::Success(words), Some(slow)) if outcome.took > slow => {
            let words = format!("{words}, slower than {slow:?}");
            Outcome { verdict: Verdict::failure(FailureKind::Slow, words), ..outcome }
        }
        _ => outcome,
    }
}

/// The latest results, up to `RECENT` of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recent {
    /// Whether they succeeded, the latest in the lowest bit.
    successes: u64,
    count: u32,
    /// Of those that succeeded, microseconds; a ring.
    took: Vec<u32>,
    next: usize,
}

impl Recent {
    fn push(&mut self, outcome: &Outcome) {
        let success = matches!(outcome.verdict, Verdict::Success(_));
        self.successes = self.successes << 1 | u64::from(success);
        self.count = (self.count + 1).min(RECENT as u32);
        if !success {
            return;
        }
        let micros = u32::try_from(outcome.took.as_micros()).unwrap_or(u32::MAX);
        match self.took.get_mut(self.next) {
            Some(slot) => *slot = micros,
            None => self.took.push(micros),
        }
        self.next = (self.next + 1) % RECENT;
    }

    /// Part of the latest results that succeeded, 0 to 1; `None` before the first.
    pub fn success_ratio(&self) -> Option<f64> {
        let mask = if self.count >= u64::BITS { u64::MAX } else { (1_u64 << self.count) - 1 };
        (self.count > 0).then(|| f64::from((self.successes & mask).count_ones()) / f64::from(self.count))
    }

    /// The times that these parts (0 to 1) of the latest successes took at most; `None` before the first.
    pub fn percentiles<const N: usize>(&self, parts: [f64; N]) -> Option<[Duration; N]> {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        let longest = *sorted.last()?;
        Some(parts.map(|part| {
            let rank = (part.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
            let micros = sorted.get(rank.saturating_sub(1)).copied().unwrap_or(longest);
            Duration::from_micros(micros.into())
        }))
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
