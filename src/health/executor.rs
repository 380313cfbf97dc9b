//! Asks the targets their questions, on a thread of its own: neither the daemon nor the probes delay each other.
//!
//! ```text
//!   daemon ── set, hurry ──> Orders ──(waker)──> Asker: timers, sockets, conversations
//!      └──────<── answers, in batches, through a bounded channel ──<──┘
//! ```

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use mio::{Poll, Waker};
use tokio::sync::mpsc;

use super::asker::{Asker, WAKE};
use super::lateness::Lateness;
use super::transport::Marked;
use crate::core::check::Outcome;
use crate::core::moment::Moment;
use crate::core::target::Target;

/// One probe's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub target: Arc<Target>,
    pub outcome: Outcome,
}

/// Targets, and how each is reached that is asked at a server behind a virtual address.
pub type Wanted = BTreeMap<Target, Option<Marked>>;

/// How the probing goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub targets: usize,
    /// Probes under way.
    pub under_way: usize,
    /// Probes since the start.
    pub begun: u64,
    /// Probes that were put off since the start, because this box lacked something.
    pub put_off: u64,
    pub lateness: Lateness,
    /// Why probes are being put off, in words for an alarm; `None`: none is.
    pub trouble: Option<String>,
}

/// What the daemon wants of the thread. Bounded by the number of targets.
#[derive(Default)]
pub(super) struct Orders {
    pub wanted: Option<Wanted>,
    pub hurried: BTreeMap<Target, Moment>,
    pub stop: bool,
}

pub(super) struct Shared {
    pub orders: Mutex<Orders>,
    pub stats: Mutex<Stats>,
    pub waker: Arc<Waker>,
}

/// Locks, also after a panic elsewhere: what is inside is always whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The running probes. They end when it is dropped.
pub struct Executor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Executor {
    /// `answers` is bounded by the caller. Batches that find no room wait in the thread; when very many answers wait,
    /// probes are put off. The channel closes when the thread ends, which it does by itself only on a fault.
    pub fn new(answers: mpsc::Sender<Vec<Answer>>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let shared = Arc::new(Shared { orders: Mutex::default(), stats: Mutex::default(), waker });
        let asker = Asker::new(poll, shared.clone(), answers)?;
        let thread = std::thread::Builder::new().name("lbd-probes".into()).spawn(move || asker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Probes exactly these targets from now on; those that stay keep their rhythm. Files with secrets are read anew.
    pub fn set(&self, wanted: Wanted) {
        lock(&self.shared.orders).wanted = Some(wanted);
        self.wake();
    }

    /// Asks a target before its turn, at this moment. One that is being asked, or not wanted, is left alone.
    pub fn hurry(&self, target: &Target, at: Moment) {
        let first = {
            let mut orders = lock(&self.shared.orders);
            orders.hurried.insert(target.clone(), at);
            orders.hurried.len() == 1
        };
        if first {
            self.wake();
        }
    }

    pub fn stats(&self) -> Stats {
        lock(&self.shared.stats).clone()
    }

    fn wake(&self) {
        if let Err(error) = self.shared.waker.wake() {
            tracing::error!("the probes could not be told of a change, they go on as before: {error}");
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        lock(&self.shared.orders).stop = true;
        self.wake();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

#[cfg(test)]
#[path = "executor_tests.rs"]
mod tests;
