//! Customers who stay and talk: every line comes back with its checksum, or the connection counts as lost.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use lbd::lab::customer::{self, Attempt, Visit};
use lbd::lab::servers::Kind;
use lbd::lab::servers::md5::hex_digest;
use lbd::lab::{Host, LabError};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use super::stage::{PATIENCE, address};

/// Between a customer's sentences.
pub const PACE: Duration = Duration::from_millis(250);
/// For an answer; a retransmission or two are no loss of the connection.
const ANSWER: Duration = Duration::from_secs(8);

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    rounds: Vec<AtomicU64>,
    lost: Mutex<BTreeMap<usize, String>>,
}

/// Connections that are open and in use.
pub struct Talkers {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<(), LabError>>,
    /// Who answered each connection.
    pub servers: Vec<String>,
}

impl Talkers {
    /// Opens so many, all of which must succeed, from the client's addresses in `from` in turn.
    pub fn open(host: &Host, target: &str, count: usize, from: &[IpAddr]) -> Self {
        Self::open_at_pace(host, target, count, from, PACE)
    }

    pub fn open_at_pace(host: &Host, target: &str, count: usize, from: &[IpAddr], pace: Duration) -> Self {
        let rounds = (0..count).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared { rounds, ..Shared::default() });
        let (told, heard) = mpsc::channel();
        let (target, from, theirs) = (address(target), from.to_vec(), shared.clone());
        let thread = host.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let source = |n: usize| from.get(n % from.len().max(1)).copied();
                let opening = stream::iter(0..count).map(|n| connect(target, source(n))).buffered(32);
                let opened: Result<Vec<_>, String> = opening.collect::<Vec<_>>().await.into_iter().collect();
                let opened = match opened {
                    Ok(opened) => opened,
                    Err(why) => return told.send(Err(why)).unwrap(),
                };
                told.send(Ok(opened.iter().map(|(server, _)| server.clone()).collect())).unwrap();
                let talks = opened.into_iter().enumerate().map(|(n, (_, stream))| {
                    let shared = theirs.clone();
                    async move {
                        if let Err(why) = talk(n, stream, &shared, pace).await {
                            shared.lost.lock().unwrap().insert(n, why);
                        }
                    }
                });
                futures_util::future::join_all(talks).await;
            });
        });
        let servers = heard.recv().unwrap().unwrap_or_else(|why| panic!("{target}: {why}"));
        Self { shared, thread, servers }
    }

    /// How many a server has answered.
    pub fn on(&self, server: &str) -> usize {
        self.servers.iter().filter(|s| *s == server).count()
    }

    /// The numbers of those.
    pub fn those_on(&self, server: &str) -> Vec<usize> {
        (0..self.servers.len()).filter(|n| self.servers[*n] == server).collect()
    }

    /// Those lost until now, and how.
    pub fn lost(&self) -> BTreeMap<usize, String> {
        self.shared.lost.lock().unwrap().clone()
    }

    pub fn none_is_lost(&self) {
        let lost: Vec<_> = self.lost().into_iter().map(|(n, why)| (self.servers[n].clone(), why)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }

    /// Waits until everyone who is not lost has been answered once more, to something said after this call.
    pub fn all_talk(&self) {
        let rounds = |n: usize| self.shared.rounds[n].load(Ordering::Acquire);
        let before: Vec<u64> = (0..self.servers.len()).map(rounds).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lost = self.lost();
            // Two more: the first may have been on its way.
            let silent = (0..before.len()).filter(|n| rounds(*n) < before[*n] + 2 && !lost.contains_key(n)).count();
            if silent == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{silent} connections have fallen silent");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everyone talks, nobody is lost, all say goodbye.
    pub fn end(self) {
        self.all_talk();
        self.none_is_lost();
        let lost = self.finish();
        assert!(lost.is_empty(), "lost at the end: {lost:?}");
    }

    /// Those who are left say goodbye; those lost, and how.
    pub fn finish(self) -> BTreeMap<usize, String> {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.join().unwrap().unwrap();
        let lost = self.shared.lost.lock().unwrap();
        lost.clone()
    }
}

type Opened = (String, BufReader<TcpStream>);

async fn connect(target: SocketAddr, source: Option<IpAddr>) -> Result<Opened, String> {
    let work = async {
        let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = source {
            socket.bind(SocketAddr::from((source, 0)))?;
        }
        let stream = socket.connect(target).await?;
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let server = line.split(' ').next().unwrap_or_default().to_owned();
        Ok::<_, std::io::Error>((server, stream))
    };
    let result = tokio::time::timeout(ANSWER, work).await.map_err(|_| "no connection in time".to_owned())?;
    result
        .map_err(|e| format!("no connection: {e}"))
        .and_then(|opened| if opened.0.is_empty() { Err("closed before the greeting".into()) } else { Ok(opened) })
}

async fn talk(n: usize, mut stream: BufReader<TcpStream>, shared: &Shared, pace: Duration) -> Result<(), String> {
    let mut round = 0;
    while !shared.stop.load(Ordering::Acquire) {
        round += 1;
        let said = format!("customer {n} says {round}");
        let turn = async {
            stream.write_all(format!("{said}\n").as_bytes()).await?;
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            Ok::<_, std::io::Error>(line)
        };
        let heard = tokio::time::timeout(ANSWER, turn).await.map_err(|_| "no answer".to_owned())?;
        let heard = heard.map_err(|e| match e.kind() {
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => "reset".to_owned(),
            _ => e.to_string(),
        })?;
        match heard.trim_end() {
            "" => return Err("closed".into()),
            line if line != format!("{} {said}", hex_digest(said.as_bytes())) => return Err(format!("{said}: {line}")),
            _ => shared.rounds[n].fetch_add(1, Ordering::AcqRel),
        };
        tokio::time::sleep(pace).await;
    }
    let mut rest = String::new();
    let bye = async {
        stream.shutdown().await?;
        stream.read_line(&mut rest).await
    };
    let ended = tokio::time::timeout(ANSWER, bye).await.map_err(|_| "no goodbye".to_owned())?;
    ended.map(|_| ()).map_err(|e| format!("goodbye: {e}"))
}

/// New customers at a steady pace, each with one connection to its end.
pub struct Newcomers {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Attempt>, LabError>>,
}

impl Newcomers {
    pub fn start(host: &Host, target: &str, pace: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut visit = Visit::new(Kind::Echo, address(target)).times(100_000);
        visit.timeout = ANSWER;
        let (theirs, here) = (stop.clone(), host.clone());
        let thread = std::thread::spawn(move || here.block_on(move || customer::watch(visit, pace, theirs)));
        Self { stop, thread }
    }

    /// No more come; who was served by whom, or why not.
    pub fn end(self) -> Vec<Attempt> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap()
    }

    /// As above; all were served. How many by each.
    pub fn end_all_served(self) -> BTreeMap<String, usize> {
        let mut served = BTreeMap::new();
        for attempt in self.end() {
            *served.entry(attempt.outcome.unwrap()).or_default() += 1;
        }
        served
    }
}
