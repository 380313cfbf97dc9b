//! What the site's customers do, whole: send a mail, log in and look into the mailbox, read the page, ask.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::AsyncWriteExt;

use super::exim::DOMAIN;
use super::site::Software;
use super::store::{ALICE, CAROL};
use crate::lab::customer::{self, Conversation, Visit};
use crate::lab::servers::Kind;

/// A customer gives up after this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Errands under way at once; further customers do not come.
const AT_ONCE_MAX: usize = 400;
/// Lines of one answer.
const LINES_MAX: usize = 1_000;

/// What one customer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Sends a mail.
    Mail,
    /// Logs in and counts his mail by POP3.
    Pop3,
    /// Logs in and opens his mailbox by IMAP.
    Imap,
    /// Reads the page, or is answered by DNS or RADIUS; by UDP if so told.
    Ask(Kind, bool),
}

impl Errand {
    /// What its customers do with this kind of server, and at which service.
    pub fn at(software: Software) -> &'static [(&'static str, Self)] {
        match software {
            Software::EximMx => &[("smtp", Self::Mail)],
            Software::EximRelay => &[("relay", Self::Mail)],
            Software::Pop3 => &[("pop3", Self::Pop3)],
            Software::Imap => &[("imap", Self::Imap)],
            Software::Apache => &[("http", Self::Ask(Kind::Http, false))],
            Software::FreeRadius => &[("radius-auth", Self::Ask(Kind::Radius, true))],
            Software::Bind => &[("dns", Self::Ask(Kind::Dns, true)), ("dns-tcp", Self::Ask(Kind::Dns, false))],
        }
    }

    /// Does it once; or why it could not be done.
    pub async fn run(self, target: SocketAddr, number: usize) -> Result<(), String> {
        let kind = match self {
            Self::Mail => Kind::Smtp,
            Self::Pop3 => Kind::Pop3,
            Self::Imap => Kind::Imap,
            Self::Ask(kind, _) => kind,
        };
        let mut visit = Visit::new(kind, target);
        visit.timeout = PATIENCE;
        let steps = match self {
            Self::Mail => send(),
            Self::Pop3 => read_by_pop3(),
            Self::Imap => read_by_imap(),
            Self::Ask(_, udp) => {
                visit.udp = udp;
                return customer::converse(&visit, number).await.map(drop);
            }
        };
        let talk = async {
            let mut stream = customer::connect(&visit, number).await?;
            for (say, expect) in steps {
                stream.write_all(say.as_bytes()).await?;
                answered(kind, &mut stream, expect).await?;
            }
            Ok(())
        };
        in_time(talk).await.map_err(|error| customer::why(&error))
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// What is said, and how the answer to it begins.
type Steps = Vec<(String, &'static str)>;

fn send() -> Steps {
    let to = format!("{}@{DOMAIN}", CAROL.user);
    let mail = format!("From: customer@example.org\r\nTo: {to}\r\nSubject: hello\r\n\r\nHow are you?\r\n.\r\n");
    vec![
        (String::new(), "220"),
        ("EHLO client.example.org\r\n".into(), "250"),
        ("MAIL FROM:<customer@example.org>\r\n".into(), "250"),
        (format!("RCPT TO:<{to}>\r\n"), "250"),
        ("DATA\r\n".into(), "354"),
        (mail, "250"),
        ("QUIT\r\n".into(), "221"),
    ]
}

fn read_by_pop3() -> Steps {
    vec![
        (String::new(), "+OK"),
        (format!("USER {}\r\n", ALICE.user), "+OK"),
        (format!("PASS {}\r\n", ALICE.password), "+OK"),
        ("STAT\r\n".into(), "+OK"),
        ("QUIT\r\n".into(), "+OK"),
    ]
}

fn read_by_imap() -> Steps {
    vec![
        (String::new(), "* OK"),
        (format!("a LOGIN {} {}\r\n", ALICE.user, ALICE.password), "a OK"),
        ("a SELECT INBOX\r\n".into(), "a OK"),
        ("a LOGOUT\r\n".into(), "a OK"),
    ]
}

/// Reads an answer to its last line, which must begin as expected.
async fn answered(kind: Kind, stream: &mut Conversation, expect: &str) -> io::Result<()> {
    for _ in 0..LINES_MAX {
        let line = customer::line(stream).await?;
        let more = match kind {
            // RFC 5321, 4.2.1.
            Kind::Smtp => line.get(3..4) == Some("-"),
            // Untagged, except for the greeting, which is all that there is.
            Kind::Imap => line.starts_with("* ") && expect != "* OK",
            _ => false,
        };
        if !more {
            return if line.starts_with(expect) { Ok(()) } else { Err(customer::nonsense(&line)) };
        }
    }
    Err(io::Error::other("an answer without end"))
}

/// One try of a [`watch`].
#[derive(Clone, Debug)]
pub struct Attempt {
    pub started: Instant,
    pub ended: Instant,
    pub target: SocketAddr,
    pub outcome: Result<(), String>,
}

/// Customers come at a steady pace, at each place in turn, whatever becomes of each, until `stop`.
pub async fn watch(places: Vec<(Errand, SocketAddr)>, pace: Duration, stop: Arc<AtomicBool>) -> Vec<Attempt> {
    let mut ticks = tokio::time::interval(pace);
    let mut running = FuturesUnordered::new();
    let mut attempts = Vec::new();
    let mut turns = places.iter().cycle().enumerate();
    loop {
        tokio::select! {
            Some(attempt) = running.next(), if !running.is_empty() => attempts.push(attempt),
            _ = ticks.tick() => {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                if running.len() < AT_ONCE_MAX
                    && let Some((number, (errand, target))) = turns.next()
                {
                    running.push(attempt(*errand, *target, number));
                }
            }
        }
    }
    attempts.extend(running.collect::<Vec<_>>().await);
    attempts.sort_by_key(|attempt| attempt.started);
    attempts
}

async fn attempt(errand: Errand, target: SocketAddr, number: usize) -> Attempt {
    let started = Instant::now();
    let outcome = errand.run(target, number).await;
    Attempt { started, ended: Instant::now(), target, outcome }
}

/// What went wrong, counted by words.
pub fn failures<'a>(attempts: impl Iterator<Item = &'a Attempt>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for why in attempts.filter_map(|attempt| attempt.outcome.as_ref().err()) {
        *counts.entry(why.clone()).or_default() += 1;
    }
    counts
}
