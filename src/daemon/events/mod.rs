//! The event log: what has happened is remembered, written down, and told to whoever follows.
//!
//! Recording waits for nobody: the file has a thread and a queue of its own, followers that are slow miss some, and are
//! told how many.

mod disk;

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::broadcast;
use tracing::{error, info, warn};

use super::lock;
use crate::core::events::{Event, EventFilter, EventPage, History, Severity, What};
use crate::os::{clock, log};
use disk::Disk;

/// Events that wait for a follower.
const WAITING: usize = 256;

/// The log, for everybody who has something to record in it, or wants to know.
#[derive(Clone)]
pub struct Events(Arc<Inner>);

struct Inner {
    history: Mutex<History>,
    new: broadcast::Sender<Arc<Event>>,
    disk: Disk,
}

impl Events {
    /// With what earlier runs have left below the state directory. What cannot be read or written is told in the log, and
    /// ends nothing: the events of this run are there.
    pub fn open(state_dir: &Path) -> Self {
        let (history, disk) = Disk::open(&state_dir.join("events"));
        Self(Arc::new(Inner { history: Mutex::new(history), new: broadcast::Sender::new(WAITING), disk }))
    }

    /// Something has happened, now.
    pub fn record(&self, what: What) {
        let inner = &self.0;
        let event = {
            // Under the lock: numbers are in the order of the file and of the followers.
            let mut history = lock(&inner.history);
            let event = history.record(clock::calendar(), &what);
            inner.disk.put(event.clone());
            // Nobody may follow.
            _ = inner.new.send(event.clone());
            event
        };
        write_down(&event);
    }

    pub fn page(&self, filter: &EventFilter) -> EventPage {
        lock(&self.0.history).page(filter)
    }

    /// The events from now on.
    pub fn follow(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.new.subscribe()
    }

    /// Events that are not in the file, since the daemon started: it was full, or too slow.
    pub fn unwritten(&self) -> u64 {
        self.0.disk.lost()
    }

    /// What was recorded is in the file, if that can be had in a moment. Before the daemon ends.
    pub fn flush(&self) {
        self.0.disk.flush();
    }
}

/// The line in the log. Syslog gets the fields from the event itself, the journal from the line.
fn write_down(event: &Event) {
    let (class, name, text) = (event.class.word(), event.event.as_str(), event.text.as_str());
    let fields = serde_json::to_string(&event.fields).unwrap_or_default();
    match event.severity {
        Severity::Error => {
            error!(target: log::EVENT, event_class = class, event_name = name, event_fields = fields, "{text}");
        }
        Severity::Warning => {
            warn!(target: log::EVENT, event_class = class, event_name = name, event_fields = fields, "{text}");
        }
        _ => info!(target: log::EVENT, event_class = class, event_name = name, event_fields = fields, "{text}"),
    }
    log::syslog::event(event);
}
