//! The last events of each class.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::{Class, Event, Severity, What};
use crate::core::moment::UnixTime;

/// Events of an answer where nothing else was said.
pub const LIMIT_DEFAULT: usize = 100;
/// At most so many: all that there may be.
pub const LIMIT_MAX: usize = 10_000;

/// Which events are wanted. Nothing said: the last of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilter {
    /// Of these classes; empty: of all.
    pub classes: BTreeSet<Class>,
    /// As bad as this, or worse.
    pub severity: Option<Severity>,
    /// Not before this, Unix time in milliseconds.
    pub since_ms: Option<u64>,
    /// With a lesser number: the page before.
    pub before: Option<u64>,
    /// With a greater number: what has come since.
    pub after: Option<u64>,
    /// The last so many, 1 to `LIMIT_MAX`.
    pub limit: usize,
}

impl Default for EventFilter {
    fn default() -> Self {
        let classes = BTreeSet::new();
        Self { classes, severity: None, since_ms: None, before: None, after: None, limit: LIMIT_DEFAULT }
    }
}

impl EventFilter {
    pub fn matches(&self, event: &Event) -> bool {
        (self.classes.is_empty() || self.classes.contains(&event.class))
            && self.severity.is_none_or(|least| event.severity <= least)
            && self.since_ms.is_none_or(|since| event.at_ms >= since)
            && self.before.is_none_or(|before| event.number < before)
            && self.after.is_none_or(|after| event.number > after)
    }
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EventPage {
    /// The oldest first.
    #[serde(serialize_with = "each")]
    #[schemars(with = "Vec<Event>")]
    pub events: Vec<Arc<Event>>,
    /// There are older ones that the filter wants: ask for those `before` the first of these.
    pub more: bool,
}

fn each<S: Serializer>(events: &[Arc<Event>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(events.iter().map(|event| &**event))
}

/// The last events, a ring for each class.
#[derive(Clone, Debug)]
pub struct History {
    rings: [VecDeque<Arc<Event>>; Class::ALL.len()],
    next: u64,
}

impl Default for History {
    fn default() -> Self {
        Self { rings: Default::default(), next: 1 }
    }
}

impl History {
    /// Something happens: it gets the next number.
    pub fn record(&mut self, at: UnixTime, what: &What) -> Arc<Event> {
        let event = Arc::new(Event::new(self.next, at, what));
        self.put(event.clone());
        event
    }

    /// One of an earlier run; the oldest first.
    pub fn restore(&mut self, event: Event) {
        self.put(Arc::new(event));
    }

    fn put(&mut self, event: Arc<Event>) {
        self.next = self.next.max(event.number.saturating_add(1));
        let kept = event.class.kept();
        let ring = &mut self.rings[event.class as usize];
        while ring.len() >= kept {
            ring.pop_front();
        }
        ring.push_back(event);
    }

    /// The last of a class, the oldest first.
    pub fn of(&self, class: Class) -> impl Iterator<Item = &Arc<Event>> {
        self.rings[class as usize].iter()
    }

    /// What a filter wants, the oldest first.
    pub fn page(&self, filter: &EventFilter) -> EventPage {
        let limit = filter.limit.clamp(1, LIMIT_MAX);
        let mut found: Vec<Arc<Event>> =
            self.rings.iter().flatten().filter(|event| filter.matches(event)).cloned().collect();
        found.sort_unstable_by_key(|event| event.number);
        let more = found.len() > limit;
        if filter.after.is_some() {
            // Whoever goes on from where he was wants the next ones first.
            found.truncate(limit);
        } else {
            found.drain(..found.len().saturating_sub(limit));
        }
        EventPage { events: found, more }
    }
}
