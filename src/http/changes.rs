//! What changes, as it changes: server-sent events (WHATWG HTML, section 9.2).
//!
//! One sampler for all listeners, and none while nobody listens. It asks for the state once a second, compares it with the
//! one before, and tells the parts that are another: of lists whose elements have names those elements, of the rest the
//! whole. Clocks alone (`…_seconds` that only go on) are no change.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{interval, timeout};

use super::problem::Problem;
use crate::access::lock;
use crate::core::control::{Control, OperationError};

/// Between two looks at the state.
const PERIOD: Duration = Duration::from_secs(1);
/// Those who listen at once.
pub const LISTENERS_MAX: usize = 16;
/// Events that wait for a listener; one that is further behind is cut, and comes back with what it knows last.
const WAITING: usize = 16;
/// Events that are kept for those who come back.
const KEPT: usize = 64;
/// Their bytes.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A sign of life, by which both sides see that the other one is there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Lists of the state, and what names an element in each.
const LISTS: &[(&str, &[&str])] = &[
    ("services", &["virtual_server", "service", "family"]),
    ("pools", &["name"]),
    ("servers", &["name"]),
    ("orders", &["server", "pool"]),
    ("interfaces", &["name"]),
    ("packets", &["verdict", "reason"]),
];

/// What only goes on with time.
const CLOCKS: [&str; 14] = [
    "uptime_seconds",
    "since_seconds",
    "last_age_seconds",
    "next_seconds",
    "held_seconds",
    "counted_seconds_ago",
    "peer_answered_seconds",
    // What always moves, and is asked for by who draws it.
    "probes",
    "daemon",
    "clock",
    "lease_seconds",
    "heard_seconds",
    "hears_us_seconds",
    "delay_seconds",
];

/// An event, in the words in which it is sent.
#[derive(Debug)]
struct Told {
    number: u64,
    kind: &'static str,
    text: String,
}

#[derive(Default)]
struct Known {
    /// The latest event's.
    number: u64,
    /// What all of them together have told.
    state: Option<Value>,
    kept: VecDeque<Arc<Told>>,
    bytes: usize,
    is_sampling: bool,
}

/// The sampler, and those who listen to it.
pub struct Changes {
    control: Arc<dyn Control>,
    /// By this an event of another run of the daemon is told from one of this run.
    run: String,
    known: Mutex<Known>,
    out: broadcast::Sender<Arc<Told>>,
    places: Arc<Semaphore>,
    stopping: watch::Receiver<()>,
}

impl Changes {
    pub fn new(control: Arc<dyn Control>, stopping: watch::Receiver<()>) -> Self {
        // Without random numbers everybody gets the whole state anew after a restart, as is right.
        let run = crate::access::token::random().map(|text| text.chars().take(8).collect()).unwrap_or_default();
        let places = Arc::new(Semaphore::new(LISTENERS_MAX));
        Self { control, run, known: Mutex::default(), out: broadcast::Sender::new(WAITING), places, stopping }
    }

    /// The events from now on, or from behind the one that the listener knows last.
    pub async fn listen(self: &Arc<Self>, last: Option<&str>, patience: Duration) -> Result<Response, Problem> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let detail = format!("{LISTENERS_MAX} listen to the changes, which is as many as may; try later");
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        };
        // Of the moment: nobody may have listened for hours.
        let state = timeout(patience, self.control.state()).await;
        let state = state.map_err(|_| OperationError::Unavailable("the daemon does not answer".into()))??;
        let state = serde_json::to_value(&*state).map_err(|error| Problem::internal(error.to_string()))?;
        let listener = self.enter(state, last, place);
        self.sample();
        let events = stream::unfold(listener, Listener::next);
        Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("heartbeat")).into_response())
    }

    fn enter(self: &Arc<Self>, state: Value, last: Option<&str>, place: OwnedSemaphorePermit) -> Listener {
        let mut known = lock(&self.known);
        self.tell(&mut known, state);
        let first = match last.and_then(|last| self.number_of(last)).and_then(|number| known.since(number)) {
            Some(missed) => missed,
            None => {
                let text = known.state.as_ref().map_or_else(String::new, Value::to_string);
                VecDeque::from([Arc::new(Told { number: known.number, kind: "snapshot", text })])
            }
        };
        Listener {
            first,
            rest: self.out.subscribe(),
            changes: self.clone(),
            stopping: self.stopping.clone(),
            _place: place,
        }
    }

    fn number_of(&self, id: &str) -> Option<u64> {
        // The run may have one of its own.
        let (run, number) = id.rsplit_once('-')?;
        (run == self.run).then(|| number.parse().ok())?
    }

    /// Tells what a state says that was not told yet.
    fn tell(&self, known: &mut Known, state: Value) {
        let Some(before) = known.state.replace(state) else { return };
        let Some(difference) = known.state.as_ref().and_then(|now| difference(&before, now)) else { return };
        known.number += 1;
        let told = Arc::new(Told { number: known.number, kind: "state", text: difference.to_string() });
        known.keep(told.clone());
        // Nobody may be listening.
        _ = self.out.send(told);
    }

    /// Looks once a second, until nobody listens any more.
    fn sample(self: &Arc<Self>) {
        if std::mem::replace(&mut lock(&self.known).is_sampling, true) {
            return;
        }
        let changes = self.clone();
        tokio::spawn(async move {
            let mut look = interval(PERIOD);
            look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut stopping = changes.stopping.clone();
            loop {
                tokio::select! {
                    _ = look.tick() => {}
                    _ = stopping.changed() => break,
                }
                {
                    let mut known = lock(&changes.known);
                    if changes.out.receiver_count() == 0 {
                        known.is_sampling = false;
                        return;
                    }
                }
                // What cannot be asked now is asked again.
                let Ok(state) = changes.control.state().await else { continue };
                let Ok(state) = serde_json::to_value(&*state) else { continue };
                changes.tell(&mut lock(&changes.known), state);
            }
        });
    }
}

impl Known {
    fn keep(&mut self, told: Arc<Told>) {
        self.bytes += told.text.len();
        self.kept.push_back(told);
        while self.kept.len() > KEPT || self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.text.len();
        }
    }

    /// The events behind one; `None`: they are not all there any more.
    fn since(&self, number: u64) -> Option<VecDeque<Arc<Told>>> {
        let is_known = number <= self.number;
        let has_next = self.kept.front().is_some_and(|oldest| oldest.number <= number + 1);
        (is_known && (number == self.number || has_next))
            .then(|| self.kept.iter().filter(|told| told.number > number).cloned().collect())
    }
}

/// One who listens, until he goes, or is too far behind.
struct Listener {
    first: VecDeque<Arc<Told>>,
    rest: broadcast::Receiver<Arc<Told>>,
    changes: Arc<Changes>,
    stopping: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        let told = match self.first.pop_front() {
            Some(told) => told,
            None => tokio::select! {
                told = self.rest.recv() => match told {
                    Ok(told) => told,
                    Err(RecvError::Lagged(missed)) => {
                        tracing::debug!("http: who listens to the changes is {missed} behind, and is cut");
                        return None;
                    }
                    Err(RecvError::Closed) => return None,
                },
                _ = self.stopping.changed() => return None,
            },
        };
        let id = format!("{}-{}", self.changes.run, told.number);
        // JSON has no line ends, which is what an event must not have.
        Some((Ok(Event::default().id(id).event(told.kind).data(&told.text)), self))
    }
}

/// What `now` says that `before` does not; `None`: nothing.
fn difference(before: &Value, now: &Value) -> Option<Value> {
    let (before, now) = (before.as_object()?, now.as_object()?);
    let mut changed = Map::new();
    let mut removed = Map::new();
    for (key, value) in now {
        let old = before.get(key).unwrap_or(&Value::Null);
        if is_same(old, value) || CLOCKS.contains(&key.as_str()) {
            continue;
        }
        let names = LISTS.iter().find(|(list, _)| list == key).map(|(_, names)| *names);
        let Some((names, old, new)) = names.and_then(|names| Some((names, old.as_array()?, value.as_array()?))) else {
            changed.insert(key.clone(), value.clone());
            continue;
        };
        let (old_ones, new_ones) = (by_name(old, names), by_name(new, names));
        let is_other = |element: &&Value| {
            let old = old_ones.get(&name_of(element, names).to_string());
            !old.is_some_and(|old| is_same(old, element))
        };
        let other: Vec<Value> = new.iter().filter(is_other).cloned().collect();
        let gone = old.iter().map(|element| name_of(element, names));
        let gone: Vec<Value> = gone.filter(|name| !new_ones.contains_key(&name.to_string())).collect();
        if !other.is_empty() {
            changed.insert(key.clone(), other.into());
        }
        if !gone.is_empty() {
            removed.insert(key.clone(), gone.into());
        }
    }
    if !removed.is_empty() {
        changed.insert("removed".into(), Value::Object(removed));
    }
    (!changed.is_empty()).then_some(Value::Object(changed))
}

fn by_name<'v>(list: &'v [Value], names: &[&str]) -> HashMap<String, &'v Value> {
    list.iter().map(|element| (name_of(element, names).to_string(), element)).collect()
}

fn name_of(element: &Value, names: &[&str]) -> Value {
    let pairs = names.iter().map(|name| ((*name).to_owned(), element.get(name).cloned().unwrap_or(json!(null))));
    Value::Object(pairs.collect())
}

/// Apart from clocks.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| {
                    CLOCKS.contains(&key.as_str()) || other.get(key).is_some_and(|other| is_same(value, other))
                })
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (one, other) => one == other,
    }
}

/// What can be listened to, for the description.
pub fn media_type() -> &'static str {
    "text/event-stream"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_told_by_its_element_and_clocks_are_not() {
        let before = json!({
            "uptime_seconds": 1, "role": "active",
            "pools": [{"name": "a", "n": 1}, {"name": "b", "n": 1}, {"name": "c", "n": 1}],
            "pair": {"since_seconds": 1.0, "owns": true},
        });
        let mut now = before.clone();
        now["uptime_seconds"] = json!(2);
        now["pair"]["since_seconds"] = json!(2.0);
        assert_eq!(difference(&before, &now), None);
        now["pair"]["owns"] = json!(false);
        now["pools"] = json!([{"name": "a", "n": 1}, {"name": "b", "n": 2}, {"name": "d", "n": 1}]);
        let expected = json!({
            "pair": {"since_seconds": 2.0, "owns": false},
            "pools": [{"name": "b", "n": 2}, {"name": "d", "n": 1}],
            "removed": {"pools": [{"name": "c"}]},
        });
        assert_eq!(difference(&before, &now), Some(expected));
    }

    #[test]
    fn whoever_comes_back_is_told_what_he_has_missed_or_everything() {
        let mut known = Known::default();
        for number in 1..=200 {
            known.number = number;
            known.keep(Arc::new(Told { number, kind: "state", text: "{}".into() }));
        }
        let missed = |number| known.since(number).map(|missed| missed.len());
        assert_eq!((missed(200), missed(199), missed(136)), (Some(0), Some(1), Some(KEPT)));
        assert_eq!((missed(135), missed(0), missed(201)), (None, None, None));
        let mut known = Known::default();
        for number in 1..=10 {
            known.keep(Arc::new(Told { number, kind: "state", text: "x".repeat(KEPT_BYTES_MAX / 3) }));
        }
        assert!(known.bytes <= KEPT_BYTES_MAX && known.kept.len() == 3);
    }
}
