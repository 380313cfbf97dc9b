//! The way to one server: its queue, its counts, and the task that sends.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::message::{OCTETS_MAX, message};
use super::transport::{Line, TransportError};
use crate::config::{LogServer, LogSeverity, LogTransport};
use crate::core::rate::{Bucket, Rate};
use crate::os::clock;

/// Messages that wait for a server: 2 MiB at most.
const WAITING: usize = 1024;
const _: () = assert!(WAITING * OCTETS_MAX == 2 << 20);
/// What a server gets: in its first second all that the failure of a whole site says.
const RATE: Rate = Rate { burst: 2000, per_second: 200 };
/// Pauses between two attempts to connect: the first, and the longest.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

pub struct Outlet {
    pub server: LogServer,
    pub source: Option<IpAddr>,
    queue: mpsc::Sender<String>,
    bucket: Mutex<Bucket>,
    counts: Arc<Counts>,
    /// None: there was no runtime to send in.
    task: Option<AbortHandle>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    /// More than the rate allows.
    over_rate: AtomicU64,
    /// More than there was room for.
    no_room: AtomicU64,
    /// Not sent although there was a way: a datagram that was refused, or what was queued at the end.
    unsent: AtomicU64,
    connected: AtomicBool,
    /// One is being sent.
    busy: AtomicBool,
    trouble: Mutex<Option<String>>,
}

/// How it stands with a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutletStatus {
    pub server: LogServer,
    /// A datagram can be sent, or a connection is open.
    pub connected: bool,
    /// Since the daemon started, or the server was configured.
    pub sent: u64,
    /// Messages that the server did not get: more than its rate, than the queue has room for, or refused on the way.
    pub lost: u64,
    pub queued: u64,
    /// Why nothing is sent, in words.
    pub trouble: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outlet {
    pub fn start(server: LogServer, source: Option<IpAddr>) -> Arc<Self> {
        let (queue, messages) = mpsc::channel(WAITING);
        let counts = Arc::new(Counts::default());
        let task = tokio::runtime::Handle::try_current().ok().map(|runtime| {
            let courier = Courier { server: server.clone(), source, messages, counts: counts.clone() };
            runtime.spawn(courier.run()).abort_handle()
        });
        let bucket = Mutex::new(Bucket::new(RATE, clock::now()));
        Arc::new(Self { server, source, queue, bucket, counts, task })
    }

    pub fn wants(&self, severity: LogSeverity) -> bool {
        severity <= self.server.severity
    }

    /// Takes what is behind the priority. Waits for nothing: what there is no room for is counted.
    pub fn offer(&self, severity: LogSeverity, body: &str) {
        if !lock(&self.bucket).take(clock::now()) {
            self.counts.over_rate.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.queue.try_send(message(self.server.facility, severity, body)).is_err() {
            self.counts.no_room.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    pub fn is_busy(&self) -> bool {
        self.queued() > 0 || self.counts.busy.load(Ordering::Relaxed)
    }

    pub fn status(&self) -> OutletStatus {
        let counts = &self.counts;
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        OutletStatus {
            server: self.server.clone(),
            connected: counts.connected.load(Ordering::Relaxed),
            sent: count(&counts.sent),
            lost: count(&counts.over_rate) + count(&counts.no_room) + count(&counts.unsent),
            queued: self.queued() as u64,
            trouble: lock(&counts.trouble).clone(),
        }
    }

    /// Nobody wants it any more.
    pub fn end(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The task that sends.
struct Courier {
    server: LogServer,
    source: Option<IpAddr>,
    messages: mpsc::Receiver<String>,
    counts: Arc<Counts>,
}

impl Courier {
    async fn run(mut self) {
        let mut pause = PAUSE_FIRST;
        // One that was on its way when the connection broke.
        let mut left = None;
        loop {
            match Line::open(&self.server, self.source).await {
                Ok(line) => {
                    pause = PAUSE_FIRST;
                    self.connected();
                    let ended = self.carry(line, &mut left).await;
                    self.counts.connected.store(false, Ordering::Relaxed);
                    let Some(error) = ended else { return };
                    self.in_trouble(&error);
                }
                Err(error) => self.in_trouble(&error),
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    /// Sends until the line breaks; `None`: nobody sends any more.
    async fn carry(&mut self, mut line: Line, left: &mut Option<String>) -> Option<TransportError> {
        loop {
            let message = match left.take() {
                Some(message) => message,
                None => tokio::select! {
                    message = self.messages.recv() => message?,
                    error = line.broken() => return Some(error),
                },
            };
            self.counts.busy.store(true, Ordering::Relaxed);
            let sent = line.send(&message).await;
            self.counts.busy.store(false, Ordering::Relaxed);
            match sent {
                Ok(()) => _ = self.counts.sent.fetch_add(1, Ordering::Relaxed),
                // Nobody would know of a datagram whether it came; the next one may.
                Err(error) if self.server.transport == LogTransport::Udp => {
                    self.counts.unsent.fetch_add(1, Ordering::Relaxed);
                    if !error.is_refused() {
                        return Some(error);
                    }
                    self.in_trouble(&error);
                }
                Err(error) => {
                    *left = Some(message);
                    return Some(error);
                }
            }
        }
    }

    fn connected(&self) {
        self.counts.connected.store(true, Ordering::Relaxed);
        if lock(&self.counts.trouble).take().is_some() && self.server.transport != LogTransport::Udp {
            info!("the log goes to {} again", self.told());
        }
    }

    /// Says so once, until it is over or something else.
    fn in_trouble(&self, error: &TransportError) {
        let words = error.to_string();
        if lock(&self.counts.trouble).replace(words.clone()).as_ref() != Some(&words) {
            warn!("the log does not get to {}: {words}", self.told());
        }
    }

    fn told(&self) -> String {
        SocketAddr::new(self.server.address, self.server.port).to_string()
    }
}
