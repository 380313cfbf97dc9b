//! The customers' side: opens connections, reads who answers, and counts.
//!
//! Every function opens its sockets in the network of the thread that it runs on; [`super::Host::run`]
//! takes it to the client's. A failure is a figure here and never tried again behind the caller's back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::real::store::ALICE;
use super::servers::{Kind, dns, radius};

/// Longest line, and largest page, that a customer reads.
const REPLY_MAX: u64 = 64 * 1024;

/// What a customer does, and how often.
#[derive(Clone, Debug)]
pub struct Visit {
    pub kind: Kind,
    /// By UDP; RADIUS has nothing else.
    pub udp: bool,
    pub target: SocketAddr,
    /// How many connections (or datagrams) altogether.
    pub count: usize,
    /// How many of them at the same time, at least 1.
    pub at_once: usize,
    /// Own addresses, taken in turn; empty: the kernel's choice.
    pub from: Vec<IpAddr>,
    /// Of one whole conversation.
    pub timeout: Duration,
}

impl Visit {
    /// One by TCP, or UDP for RADIUS, within five seconds.
    pub fn new(kind: Kind, target: SocketAddr) -> Self {
        let timeout = Duration::from_secs(5);
        Self { kind, udp: kind == Kind::Radius, target, count: 1, at_once: 64, from: Vec::new(), timeout }
    }

    pub fn times(self, count: usize) -> Self {
        Self { count, ..self }
    }

    pub fn by_udp(self) -> Self {
        Self { udp: true, ..self }
    }

    pub fn from(self, from: Vec<IpAddr>) -> Self {
        Self { from, ..self }
    }

    fn source(&self, number: usize) -> Option<IpAddr> {
        self.from.get(number.checked_rem(self.from.len())?).copied()
    }
}

/// Who answered, and as whom the server saw the customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub server: String,
    /// `None` where the protocol does not tell.
    pub seen_as: Option<IpAddr>,
}

/// The figures of a visit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Conversations that were had to their end, by server.
    pub served: BTreeMap<String, usize>,
    /// The others, by what went wrong.
    pub failed: BTreeMap<String, usize>,
    pub seen_as: BTreeSet<IpAddr>,
    /// From the first connection to the last.
    pub took: Duration,
    /// Of a single conversation that succeeded.
    pub median: Duration,
    pub slowest: Duration,
}

impl Tally {
    pub fn served_count(&self) -> usize {
        self.served.values().sum()
    }

    pub fn failed_count(&self) -> usize {
        self.failed.values().sum()
    }

    pub fn of(&self, server: &str) -> usize {
        self.served.get(server).copied().unwrap_or(0)
    }

    fn add(&mut self, outcome: &Result<Answer, String>) {
        match outcome {
            Ok(answer) => {
                *self.served.entry(answer.server.clone()).or_default() += 1;
                self.seen_as.extend(answer.seen_as);
            }
            Err(why) => *self.failed.entry(why.clone()).or_default() += 1,
        }
    }
}

/// Visits as often as asked. `progress` hears the number of conversations that are over.
pub async fn visit(visit: Visit, mut progress: impl FnMut(usize)) -> Tally {
    let mut tally = Tally::default();
    let mut times = Vec::with_capacity(visit.count);
    let start = Instant::now();
    let mut numbers = 0..visit.count;
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < visit.at_once.max(1) {
            let Some(number) = numbers.next() else { break };
            running.push(timed(&visit, number));
        }
        let Some((took, outcome)) = running.next().await else { break };
        tally.add(&outcome);
        if outcome.is_ok() {
            times.push(took);
        }
        progress(tally.served_count() + tally.failed_count());
    }
    tally.took = start.elapsed();
    times.sort_unstable();
    tally.median = times.get(times.len() / 2).copied().unwrap_or_default();
    tally.slowest = times.last().copied().unwrap_or_default();
    tally
}

async fn timed(visit: &Visit, number: usize) -> (Duration, Result<Answer, String>) {
    let start = Instant::now();
    let outcome = converse(visit, number).await;
    (start.elapsed(), outcome)
}

/// A whole conversation, or why there was none.
pub(super) async fn converse(visit: &Visit, number: usize) -> Result<Answer, String> {
    let conversation = async {
        if visit.udp {
            return ask(visit, number).await;
        }
        let mut stream = connect(visit, number).await?;
        let answer = greet(visit.kind, &mut stream).await?;
        part(visit.kind, &mut stream).await?;
        Ok(answer)
    };
    let timeout = tokio::time::timeout(visit.timeout, conversation);
    timeout.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|e| why(&e))
}

/// A few words that are the same for the same reason, so that failures can be counted by it.
pub(crate) fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset".into(),
        io::ErrorKind::TimedOut => "timed out".into(),
        io::ErrorKind::UnexpectedEof => "closed early".into(),
        _ => error.to_string(),
    }
}

pub(super) type Conversation = BufReader<TcpStream>;

pub(super) async fn connect(visit: &Visit, number: usize) -> io::Result<Conversation> {
    let socket = if visit.target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = visit.source(number) {
        socket.bind(SocketAddr::from((source, 0)))?;
    }
    let stream = socket.connect(visit.target).await?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

pub(super) fn nonsense(line: &str) -> io::Error {
    io::Error::other(format!("an answer that is no greeting: {line:?}"))
}

pub(super) async fn line(stream: &mut Conversation) -> io::Result<String> {
    let mut line = String::new();
    stream.take(REPLY_MAX).read_line(&mut line).await?;
    if !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

/// Reads the greeting, or what takes its place.
async fn greet(kind: Kind, stream: &mut Conversation) -> io::Result<Answer> {
    let (line, status) = match kind {
        Kind::Smtp => (line(stream).await?, "220 "),
        Kind::Pop3 => (line(stream).await?, "+OK "),
        Kind::Imap => (line(stream).await?, "* OK "),
        Kind::Echo => (line(stream).await?, ""),
        Kind::Http => {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n").await?;
            (page(stream).await?, "")
        }
        Kind::Dns => {
            let query = dns::whoami(1);
            stream.write_all(&[&(query.len() as u16).to_be_bytes(), query.as_slice()].concat()).await?;
            let mut reply = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut reply).await?;
            (dns::text_of(&reply, 1).ok_or_else(|| nonsense("DNS"))?, "")
        }
        Kind::Radius => return Err(io::Error::other("RADIUS has no TCP")),
    };
    let rest = line.strip_prefix(status).ok_or_else(|| nonsense(&line))?;
    let server = rest.split(['.', ' ']).next().filter(|s| !s.is_empty()).ok_or_else(|| nonsense(&line))?;
    let seen_as = rest.rsplit(' ').next().and_then(|word| word.parse().ok());
    Ok(Answer { server: server.to_owned(), seen_as })
}

/// Reads a page; what stands behind "Served by" in it.
async fn page(stream: &mut Conversation) -> io::Result<String> {
    let status = line(stream).await?;
    if status != "HTTP/1.1 200 OK" {
        return Err(nonsense(&status));
    }
    let mut length = 0;
    loop {
        let header = line(stream).await?;
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("Content-Length: ") {
            length = value.parse::<u64>().ok().filter(|n| *n <= REPLY_MAX).ok_or_else(|| nonsense(&header))?;
        }
    }
    let mut text = String::new();
    stream.take(length).read_to_string(&mut text).await?;
    let words = text.split_once("Served by ").and_then(|(_, rest)| rest.split_once("</h1>"));
    Ok(words.ok_or_else(|| nonsense(&text))?.0.replace(',', ""))
}

/// Takes leave, and waits until the server has taken it too.
async fn part(kind: Kind, stream: &mut Conversation) -> io::Result<()> {
    let bye: &[u8] = match kind {
        Kind::Smtp | Kind::Pop3 => b"QUIT\r\n",
        Kind::Imap => b"a LOGOUT\r\n",
        Kind::Http | Kind::Echo | Kind::Dns | Kind::Radius => b"",
    };
    if bye.is_empty() {
        stream.shutdown().await?;
    } else {
        stream.write_all(bye).await?;
    }
    let mut rest = Vec::new();
    stream.take(REPLY_MAX).read_to_end(&mut rest).await?;
    if !bye.is_empty() && rest.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// One datagram, one answer, from a socket of its own.
async fn ask(visit: &Visit, number: usize) -> io::Result<Answer> {
    let any: IpAddr = if visit.target.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind(SocketAddr::from((visit.source(number).unwrap_or(any), 0))).await?;
    // Connected: an answer from any other address is not taken.
    socket.connect(visit.target).await?;
    let id = number as u16;
    let mut authenticator = [0; 16];
    for (to, from) in authenticator.iter_mut().zip((number as u64).to_be_bytes()) {
        *to = from;
    }
    let question = match visit.kind {
        Kind::Dns => dns::whoami(id),
        Kind::Radius => radius::access_request(id as u8, &authenticator, ALICE.user, ALICE.password),
        _ => id.to_string().into_bytes(),
    };
    socket.send(&question).await?;
    let mut buffer = vec![0; 2_048];
    let length = socket.recv(&mut buffer).await?;
    let reply = buffer.get(..length).unwrap_or_default();
    let server = match visit.kind {
        Kind::Dns => dns::text_of(reply, id),
        Kind::Radius => radius::reply_message(reply, &authenticator),
        _ => reply.strip_suffix(question.as_slice()).map(|name| String::from_utf8_lossy(name).trim().to_owned()),
    };
    Ok(Answer { server: server.ok_or_else(|| nonsense("a datagram"))?, seen_as: None })
}

/// A connection that is kept open.
#[derive(Debug)]
pub struct Held {
    pub server: String,
    kind: Kind,
    stream: std::net::TcpStream,
}

/// Opens connections and keeps them, after their greeting.
pub async fn hold(visit: Visit) -> Result<Vec<Held>, String> {
    let mut held = Vec::with_capacity(visit.count);
    for number in 0..visit.count {
        let one = async {
            let mut stream = connect(&visit, number).await?;
            let answer = greet(visit.kind, &mut stream).await?;
            Ok(Held { server: answer.server, kind: visit.kind, stream: stream.into_inner().into_std()? })
        };
        let result: io::Result<Held> =
            tokio::time::timeout(visit.timeout, one).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        held.push(result.map_err(|e| format!("connection {} of {}: {}", number + 1, visit.count, why(&e)))?);
    }
    Ok(held)
}

/// Says something on each and waits for the answer: those that live, and the figures.
/// Mail and web connections and the echo can be held; DNS and RADIUS cannot.
pub async fn check(held: Vec<Held>, timeout: Duration) -> (Vec<Held>, Tally) {
    let start = Instant::now();
    let mut tally = Tally::default();
    let mut alive = Vec::with_capacity(held.len());
    for one in held {
        let (server, kind) = (one.server, one.kind);
        let talk = async {
            let mut stream = BufReader::new(TcpStream::from_std(one.stream)?);
            let (say, expect): (&[u8], &str) = match kind {
                Kind::Smtp => (b"NOOP\r\n", "250"),
                Kind::Pop3 => (b"NOOP\r\n", "+OK"),
                Kind::Imap => (b"a NOOP\r\n", "a OK"),
                Kind::Echo => (b"hello\r\n", "5d41402abc4b2a76b9719d911017c592 hello"),
                Kind::Http => (b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n", ""),
                Kind::Dns | Kind::Radius => return Err(io::Error::other("not a kind that can be held")),
            };
            stream.write_all(say).await?;
            let reply = if kind == Kind::Http { page(&mut stream).await? } else { line(&mut stream).await? };
            if !reply.starts_with(expect) {
                return Err(nonsense(&reply));
            }
            stream.into_inner().into_std()
        };
        let result = tokio::time::timeout(timeout, talk).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        tally.add(&result.as_ref().map_err(why).map(|_| Answer { server: server.clone(), seen_as: None }));
        if let Ok(stream) = result {
            alive.push(Held { server, kind, stream });
        }
    }
    tally.took = start.elapsed();
    (alive, tally)
}

/// One try of a [`watch`].
#[derive(Clone, Debug)]
pub struct Attempt {
    pub started: Instant,
    pub ended: Instant,
    /// The server's name, or why there was no conversation.
    pub outcome: Result<String, String>,
}

/// Visits at a steady pace, whatever becomes of each, until `stop` or `visit.count` of them.
pub async fn watch(visit: Visit, pace: Duration, stop: Arc<AtomicBool>) -> Vec<Attempt> {
    let mut ticks = tokio::time::interval(pace);
    let mut running = FuturesUnordered::new();
    let mut attempts = Vec::new();
    let mut numbers = 0..visit.count;
    loop {
        tokio::select! {
            Some(attempt) = running.next(), if !running.is_empty() => attempts.push(attempt),
            _ = ticks.tick() => match numbers.next().filter(|_| !stop.load(Ordering::Relaxed)) {
                Some(number) => running.push(attempt(&visit, number)),
                None => break,
            },
        }
    }
    attempts.extend(running.collect::<Vec<_>>().await);
    attempts.sort_by_key(|attempt| attempt.started);
    attempts
}

async fn attempt(visit: &Visit, number: usize) -> Attempt {
    let started = Instant::now();
    let outcome = converse(visit, number).await.map(|answer| answer.server);
    Attempt { started, ended: Instant::now(), outcome }
}
