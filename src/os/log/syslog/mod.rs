//! The log of this box at syslog servers.
//!
//! ```text
//!   any thread: offer ── severity, rate, room? ──> a queue for each server ── a task each ──> UDP, TCP, TLS
//!                             └─ else counted as lost
//! ```
//!
//! Offering waits for nobody. Reconnecting, and waiting for a server that does not take anything, is the task's.

mod message;
mod outlet;
mod transport;

use std::net::IpAddr;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::EVENT;
use super::words::Spelled;
use crate::config::{LogServer, LogSeverity, Logging};
use crate::core::events::Event;
use message::{Header, Message};
use outlet::Outlet;

pub use outlet::OutletStatus;

/// How often the end looks whether all has been sent.
const LOOK: Duration = Duration::from_millis(10);

struct Hub {
    outlets: RwLock<Arc<[Arc<Outlet>]>>,
    header: RwLock<Arc<Header>>,
}

/// One for the process, as its log is.
static HUB: LazyLock<Hub> =
    LazyLock::new(|| Hub { outlets: RwLock::new(Arc::new([])), header: RwLock::new(Arc::new(Header::new("-"))) });

fn outlets() -> Arc<[Arc<Outlet>]> {
    HUB.outlets.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// From now on the log goes to these servers. One that stays as it is keeps its connection, its queue and its counts.
/// Called within a tokio runtime, whose tasks send.
pub fn configure(logging: &Logging, hostname: &str) {
    *HUB.header.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Header::new(hostname));
    let before = outlets();
    let wanted = |server: &LogServer| {
        let source = logging.source.filter(|source| source.is_ipv4() == server.address.is_ipv4());
        let same = before.iter().find(|outlet| outlet.server == *server && outlet.source == source);
        same.cloned().unwrap_or_else(|| start(server.clone(), source))
    };
    let after: Arc<[Arc<Outlet>]> = logging.servers.iter().map(wanted).collect();
    for gone in before.iter().filter(|outlet| !after.iter().any(|stays| Arc::ptr_eq(stays, outlet))) {
        gone.end();
    }
    *HUB.outlets.write().unwrap_or_else(PoisonError::into_inner) = after;
}

fn start(server: LogServer, source: Option<IpAddr>) -> Arc<Outlet> {
    Outlet::start(server, source)
}

/// How it stands with each server.
pub fn status() -> Vec<OutletStatus> {
    outlets().iter().map(|outlet| outlet.status()).collect()
}

/// Gives what is queued a moment to be sent. Before the daemon ends.
pub async fn drain(patience: Duration) {
    let deadline = Instant::now() + patience;
    while outlets().iter().any(|outlet| outlet.is_busy()) && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
}

/// An event of the event log, with its fields.
pub fn event(event: &Event) {
    offer(event.severity, || Message {
        id: &event.event,
        event: Some(event),
        text: event.text.as_str().into(),
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(event.at_ms),
    });
}

/// Has it sent to the servers that want it. The message is made where there is one.
fn offer<'m>(severity: LogSeverity, make: impl FnOnce() -> Message<'m>) {
    let outlets = outlets();
    let mut wanted = outlets.iter().filter(|outlet| outlet.wants(severity)).peekable();
    if wanted.peek().is_none() {
        return;
    }
    let header = HUB.header.read().unwrap_or_else(PoisonError::into_inner).clone();
    let body: Arc<str> = make().body(&header).into();
    wanted.for_each(|outlet| outlet.offer(severity, &body));
}

/// Takes what is written down.
pub struct Syslog;

pub fn layer() -> Syslog {
    Syslog
}

impl<S: Subscriber> Layer<S> for Syslog {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if metadata.target() == EVENT {
            // It comes by itself, with its fields.
            return;
        }
        let severity = match *metadata.level() {
            Level::ERROR => LogSeverity::Error,
            Level::WARN => LogSeverity::Warning,
            Level::INFO => LogSeverity::Info,
            _ => LogSeverity::Debug,
        };
        offer(severity, || {
            let mut spelled = Spelled { out: String::new(), begun: false, result: Ok(()) };
            event.record(&mut spelled);
            Message { id: "-", event: None, text: spelled.out.into(), at: SystemTime::now() }
        });
    }
}
