//! Asks the targets their questions, each on its own clock; owns sockets and timers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::core::check::{FailureKind, Outcome, Verdict};
use crate::core::moment::Moment;
use crate::core::schedule_probes::{first_probe, next_probe};
use crate::core::target::Target;
use crate::os::clock;

/// One probe's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub target: Target,
    pub outcome: Outcome,
}

/// The running probes.
pub struct Executor {
    tasks: BTreeMap<Target, JoinHandle<()>>,
    answers: mpsc::Sender<Answer>,
}

impl Executor {
    /// `answers` is bounded by the caller: a probe whose answer finds no room waits, and so asks less often.
    pub fn new(answers: mpsc::Sender<Answer>) -> Self {
        Self { tasks: BTreeMap::new(), answers }
    }

    /// Probes exactly these targets from now on; those that stay keep their rhythm.
    pub fn set(&mut self, wanted: &BTreeSet<Target>) {
        self.tasks.retain(|target, task| {
            let keep = wanted.contains(target);
            if !keep {
                task.abort();
            }
            keep
        });
        for target in wanted {
            self.tasks.entry(target.clone()).or_insert_with(|| tokio::spawn(run(target.clone(), self.answers.clone())));
        }
    }
}

impl Executor {
    /// Asks a target before its turn, at this moment.
    pub fn hurry(&mut self, _target: &Target, _at: Moment) {}
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

async fn run(target: Target, answers: mpsc::Sender<Answer>) {
    let mut turn = first_probe(&target, clock::now());
    loop {
        tokio::time::sleep(turn.since(clock::now())).await;
        let begun = clock::now();
        let verdict = ask(&target).await;
        let took = clock::now().since(begun);
        if answers
            .send(Answer { target: target.clone(), outcome: Outcome { verdict, took, certificate_ends: None } })
            .await
            .is_err()
        {
            return; // The daemon stops.
        }
        turn = next_probe(&target, later(turn, clock::now()));
    }
}

fn later(a: Moment, b: Moment) -> Moment {
    a.max(b)
}

async fn ask(target: &Target) -> Verdict {
    match tokio::time::timeout(target.pace.timeout, connect(target.question.address)).await {
        Ok(Ok(())) => Verdict::Success("connection opened".into()),
        Ok(Err(error)) => words(&error),
        Err(_) => Verdict::failure(FailureKind::Timeout, format!("no answer within {:?}", target.pace.timeout)),
    }
}

/// Opens a connection and ends it by RST, so that thousands of probes leave no TIME_WAIT behind.
async fn connect(address: SocketAddr) -> io::Result<()> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

fn words(error: &io::Error) -> Verdict {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Verdict::failure(FailureKind::Refused, "connection refused"),
        io::ErrorKind::HostUnreachable => Verdict::failure(
            FailureKind::Unreachable,
            "no route to host: it does not answer ARP or neighbour discovery",
        ),
        io::ErrorKind::NetworkUnreachable => {
            Verdict::failure(FailureKind::Local, "network unreachable: this box has no route to it")
        }
        _ => Verdict::failure(FailureKind::Local, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Check, Probe};
    use crate::core::target::{Pace, Question};

    fn target(address: SocketAddr, timeout_ms: u64) -> Target {
        let interval = Duration::from_millis(100);
        let timeout = Duration::from_millis(timeout_ms);
        let pace = Pace { interval, timeout, ..Pace::of(&Check::default()) };
        Target { question: Question { address, via: None, probe: Probe::Tcp.into() }, pace }
    }

    #[tokio::test]
    async fn an_open_port_succeeds_and_a_closed_one_says_why() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(ask(&target(address, 1000)).await, Verdict::Success("connection opened".into()));
        drop(listener);
        assert_eq!(ask(&target(address, 1000)).await, Verdict::failure(FailureKind::Refused, "connection refused"));
    }

    #[tokio::test]
    async fn a_target_that_is_no_longer_wanted_is_asked_no_more() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wanted = target(listener.local_addr().unwrap(), 100);
        let (send, mut receive) = mpsc::channel(8);
        let mut executor = Executor::new(send);
        executor.set(&[wanted].into());
        assert_eq!(receive.recv().await.unwrap().outcome.verdict, Verdict::Success("connection opened".into()));
        executor.set(&BTreeSet::new());
        while tokio::time::timeout(Duration::from_millis(50), receive.recv()).await.is_ok() {}
        assert!(tokio::time::timeout(Duration::from_millis(400), receive.recv()).await.is_err());
    }
}
