//! A drain in the course of time: what is left, when it will be over, and what is to be done then.
//!
//! ```text
//!             ordered                      nothing left for QUIET
//!   enabled ──────────> draining ────────────────────────────────> drained ──> removal, if ordered;
//!      ^                   │  ^                                       │        again every REMOVE_AGAIN
//!      │                   │  └── a connection after all ─────────────┤        while it is refused
//!      │     deadline over │                                          │
//!      │                   v            nothing left for QUIET        │
//!      │                resetting ───────────────────────────────────>┤
//!      │                (again every RESET_AGAIN)                     │
//!      └── enabled, at any time ──────────────────────────────────────┘
//! ```
//!
//! *Left* are the connections that are established (in NAT until both sides have closed or one has
//! reset, in DSR until the client has closed), those in a handshake, and UDP flows until they expire.
//!
//! Nothing here is kept on disk. The orders are (`core::admin`), and whoever begins with them finds the
//! same way: a deadline that has passed while nobody looked is acted upon at the first look.

pub mod projection;

use std::collections::BTreeMap;
use std::time::Duration;

use super::admin::{Admin, AdminState, Order, Subject, Then};
use super::moment::{Moment, UnixTime};
use projection::{Projection, Sample};

/// Between two looks at the counts.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Nothing has been left for so long: a packet that met the tables as they were before the drain has
/// been counted by then.
pub const QUIET: Duration = Duration::from_secs(1);
/// Handshakes under way at the deadline become connections after it: these are reset too.
pub const RESET_AGAIN: Duration = Duration::from_secs(2);
/// Between two attempts to edit the configuration file.
pub const REMOVE_AGAIN: Duration = Duration::from_secs(30);
/// Samples kept of a drain. When there are more, every other one goes: they cover all of it, however
/// long it takes.
const SAMPLES_MAX: usize = 128;

/// What a look at the drains asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The deadline is over: end the connections that are left.
    Reset(Subject),
    /// Nothing is left. Told once, and again if connections came after all.
    Finished(Subject),
    /// Take it out of the configuration.
    Remove(Subject),
}

/// What is known when somebody looks.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub admin: &'a Admin,
    /// Connections left, of every subject with an order; one that is not listed has none.
    pub left: &'a BTreeMap<Subject, u64>,
    pub now: Moment,
    pub calendar: UnixTime,
}

/// All drains under way.
#[derive(Clone, Debug, Default)]
pub struct Drains {
    drains: BTreeMap<Subject, Drain>,
    looked: Option<Moment>,
}

#[derive(Clone, Debug)]
struct Drain {
    since: UnixTime,
    begun: Moment,
    /// As ordered; on the clock that nobody sets.
    deadline: Option<(UnixTime, Moment)>,
    samples: Vec<Sample>,
    /// Least time between two samples that are kept.
    spacing: Duration,
    left: u64,
    empty_since: Option<Moment>,
    finished: bool,
    reset: Option<Moment>,
    removal: Option<Moment>,
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub left: u64,
    /// Nothing is left.
    pub finished: bool,
    /// The deadline is over.
    pub resetting: bool,
    /// Bounded by the deadline.
    pub projection: Projection,
}

impl Drains {
    /// Looks at every drain that is ordered. To be called when the order is in force in the data plane:
    /// nothing is finished that still gets new connections.
    pub fn look(&mut self, view: &View<'_>) -> Vec<Action> {
        self.looked = Some(view.now);
        let ordered = |subject: &Subject| view.admin.of(subject) == AdminState::Draining;
        self.drains.retain(|subject, _| ordered(subject));
        let mut actions = Vec::new();
        for (subject, order) in view.admin.orders().filter(|(subject, _)| ordered(subject)) {
            let left = view.left.get(subject).copied().unwrap_or(0);
            match self.drains.get_mut(subject).filter(|drain| drain.since == order.since) {
                Some(drain) => drain.look(subject, order, left, view, &mut actions),
                None => {
                    let mut drain = Drain::new(order, view);
                    drain.look(subject, order, left, view, &mut actions);
                    self.drains.insert(subject.clone(), drain);
                }
            }
        }
        actions
    }

    /// When to look again though nothing happens; `None`: no drain is under way.
    pub fn next(&self) -> Option<Moment> {
        let looked = self.looked.filter(|_| !self.drains.is_empty())?;
        let deadlines = self.drains.values().filter_map(|drain| Some(drain.deadline?.1));
        deadlines.filter(|deadline| *deadline > looked).chain([looked + LOOK_EVERY]).min()
    }

    /// Whether it has been looked at since it was ordered.
    pub fn knows(&self, subject: &Subject) -> bool {
        self.drains.contains_key(subject)
    }

    pub fn progress(&self, subject: &Subject, now: Moment) -> Option<Progress> {
        let drain = self.drains.get(subject)?;
        let mut samples = drain.samples.clone();
        samples.push(Sample { at: now.since(drain.begun), left: drain.left });
        let projection = projection::project(&samples);
        Some(Progress {
            left: drain.left,
            finished: drain.finished,
            resetting: drain.is_over_time(now) && !drain.finished,
            projection: match drain.deadline {
                Some((_, deadline)) => projection.bounded(deadline.since(now)),
                None => projection,
            },
        })
    }
}

impl Drain {
    fn new(order: &Order, view: &View<'_>) -> Self {
        // A daemon that has been restarted, or a machine: the drain is as old as the calendar says.
        let age = view.calendar.since(order.since);
        let begun = Moment(view.now.0.saturating_sub(age));
        let age = view.now.since(begun);
        let first = Sample { at: Duration::ZERO, left: order.connections_at_begin };
        Self {
            since: order.since,
            begun,
            deadline: None,
            samples: if age < LOOK_EVERY || order.connections_at_begin == 0 { Vec::new() } else { vec![first] },
            spacing: LOOK_EVERY / 2,
            left: order.connections_at_begin,
            empty_since: None,
            finished: false,
            reset: None,
            removal: None,
        }
    }

    fn look(&mut self, subject: &Subject, order: &Order, left: u64, view: &View<'_>, actions: &mut Vec<Action>) {
        self.schedule(order, view);
        self.sample(left, view.now);
        self.left = left;
        if left > 0 {
            (self.empty_since, self.finished) = (None, false);
            if self.is_over_time(view.now) && is_due(self.reset, RESET_AGAIN, view.now) {
                self.reset = Some(view.now);
                actions.push(Action::Reset(subject.clone()));
            }
            return;
        }
        let since = *self.empty_since.get_or_insert(view.now);
        if view.now.since(since) < QUIET {
            return;
        }
        if !self.finished {
            self.finished = true;
            actions.push(Action::Finished(subject.clone()));
        }
        if order.then == Then::Remove && is_due(self.removal, REMOVE_AGAIN, view.now) {
            self.removal = Some(view.now);
            actions.push(Action::Remove(subject.clone()));
        }
    }

    /// Puts the ordered deadline on the clock that nobody sets. It is never farther away than it was
    /// when it was ordered, however wrong the calendar is.
    fn schedule(&mut self, order: &Order, view: &View<'_>) {
        let known = self.deadline.map(|(ordered, _)| ordered);
        if known != order.deadline {
            self.deadline = order.deadline.map(|deadline| {
                let ahead = deadline.since(view.calendar).min(deadline.since(order.since));
                (deadline, view.now + ahead)
            });
            self.reset = None;
        }
        if order.then == Then::Nothing {
            self.removal = None;
        }
    }

    fn is_over_time(&self, now: Moment) -> bool {
        self.deadline.is_some_and(|(_, deadline)| deadline <= now)
    }

    fn sample(&mut self, left: u64, now: Moment) {
        let at = now.since(self.begun);
        if self.samples.last().is_some_and(|last| at.saturating_sub(last.at) < self.spacing) {
            return;
        }
        if self.samples.len() >= SAMPLES_MAX {
            let mut number = 0;
            self.samples.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.spacing = self.spacing.saturating_mul(2);
        }
        self.samples.push(Sample { at, left });
    }
}

/// Not done yet, or done so long ago that it may be done again.
fn is_due(done: Option<Moment>, again: Duration, now: Moment) -> bool {
    done.is_none_or(|done| now.since(done) >= again)
}

#[cfg(test)]
mod tests;
