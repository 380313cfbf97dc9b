//! The session with the agent: opened, kept, opened anew.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentx::encodings::{ID, SearchRange, Value, VarBind, VarBindList};
use agentx::pdu::{Get, GetBulk, GetNext, Notify, Open, Ping, Register, ResError, Response, Type};
use tokio::io::{AsyncRead, AsyncWrite, WriteHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};
use tracing::{info, warn};

use super::mib::{ROOT, Tree};
use super::objects::tree;
use super::traps;
use super::wire::{self, Pdu};
use crate::config::AgentAddress;
use crate::core::control::Control;
use crate::core::events::Event;
use crate::core::rate::{Bucket, Rate};
use crate::os::clock;

/// How often the configuration is asked which agent is wanted.
const LOOK: Duration = Duration::from_secs(1);
/// Until the agent answers what opens a session.
const ANSWER: Duration = Duration::from_secs(5);
/// Until the next attempt: the first, and the longest.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often the agent is asked whether it is there, and for how long it may say nothing.
const PING: Duration = Duration::from_secs(15);
const SILENCE_MAX: Duration = Duration::from_secs(40);
/// How old the state may be that answers are from.
const FRESH: Duration = Duration::from_secs(1);
/// Objects of one answer, whatever was asked for.
const ANSWER_MAX: usize = 256;
/// Notifications: those of a site that fails, and then few.
const TRAPS: Rate = Rate { burst: 200, per_second: 10 };
/// Messages of the agent that wait.
const WAITING: usize = 16;
/// Parts of an identifier (RFC 2578, 3.5).
const PARTS_MAX: usize = 128;
/// That of RFC 2741, 6.2.3 for who has no opinion; the library's 0 is none that may be.
const PRIORITY: u8 = 127;
/// Seconds after which the agent gives a request up.
const TIMEOUT: Duration = Duration::from_secs(5);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Keeps a session with the agent that the configuration names. Never ends.
pub async fn keep(control: Arc<dyn Control>) {
    let mut pause = PAUSE_FIRST;
    let mut trouble = None;
    loop {
        let Some(address) = wanted(&*control).await else {
            (pause, trouble) = (PAUSE_FIRST, None);
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let session = serve(&control, &address, &mut trouble);
        let ended = tokio::select! {
            ended = session => ended,
            () = until_another(&*control, &address) => continue,
        };
        let Err(error) = ended;
        if trouble.is_none() {
            pause = PAUSE_FIRST;
        }
        let words = error.to_string();
        if trouble.replace(words.clone()).as_ref() != Some(&words) {
            warn!("snmp: no session with the agent at {address}: {words}; tried again");
        }
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(PAUSE_MAX);
    }
}

async fn wanted(control: &dyn Control) -> Option<AgentAddress> {
    Some(control.config().await.ok()?.snmp.as_ref()?.agentx.clone())
}

async fn until_another(control: &dyn Control, address: &AgentAddress) {
    loop {
        tokio::time::sleep(LOOK).await;
        if wanted(control).await.as_ref() != Some(address) {
            return;
        }
    }
}

async fn connect(address: &AgentAddress) -> io::Result<Box<dyn Stream>> {
    Ok(match address {
        AgentAddress::Path(path) => Box::new(UnixStream::connect(path).await?),
        AgentAddress::Tcp(at) => Box::new(TcpStream::connect(at).await?),
    })
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it does not answer")
}

/// A session, until it breaks.
async fn serve(
    control: &Arc<dyn Control>,
    address: &AgentAddress,
    trouble: &mut Option<String>,
) -> Result<std::convert::Infallible, io::Error> {
    let mut stream = timeout(ANSWER, connect(address)).await.map_err(|_| silent())??;
    let id = timeout(ANSWER, open(&mut stream)).await.map_err(|_| silent())??;
    info!("snmp: objects and traps go to the agent at {address}");
    *trouble = None;
    let (mut from, to) = tokio::io::split(stream);
    let (put, mut messages) = mpsc::channel(WAITING);
    // A read that is given up half way would lose what has come: it has a task of its own, which ends with the session.
    let reader = tokio::spawn(async move {
        loop {
            let pdu = wire::read(&mut from).await;
            let ends = pdu.is_err();
            if put.send(pdu).await.is_err() || ends {
                return;
            }
        }
    });
    let _reader = AbortOnDrop(reader.abort_handle());
    let mut session = Session { id, to, control, tree: None, packet: 16 };
    let mut events = control.follow_events();
    let mut traps = Bucket::new(TRAPS, clock::now());
    let mut ping = interval(PING);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            pdu = messages.recv() => {
                heard = Instant::now();
                session.answer(pdu.ok_or(io::ErrorKind::UnexpectedEof)??).await?;
            }
            event = events.recv() => match event {
                Ok(event) => session.tell(&event, &mut traps).await?,
                // They came faster than the agent takes them: the event log has them.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(io::ErrorKind::BrokenPipe.into()),
            },
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE_MAX {
                    return Err(silent());
                }
                session.ping().await?;
            }
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn root() -> io::Result<ID> {
    ID::try_from(ROOT.to_vec())
}

/// Opens a session and registers the subtree; the number of the session.
async fn open(stream: &mut Box<dyn Stream>) -> io::Result<u32> {
    let mut open = Open::new(root()?, "lbd");
    open.timeout = TIMEOUT;
    wire::write(stream, &open.to_bytes()?).await?;
    let session = accepted(stream, "it opens no session").await?;
    let mut register = Register::new(root()?);
    register.header.session_id = session;
    register.header.packet_id = 1;
    register.priority = PRIORITY;
    wire::write(stream, &register.to_bytes()?).await?;
    accepted(stream, "it does not take the objects").await?;
    Ok(session)
}

/// The session of a response without an error.
async fn accepted(stream: &mut Box<dyn Stream>, otherwise: &str) -> io::Result<u32> {
    let pdu = wire::read(stream).await?;
    match pdu.error() {
        Some(0) => Ok(pdu.header.session_id),
        Some(code) => Err(io::Error::other(format!("{otherwise} (error {code} of RFC 2741, 6.2.16)"))),
        None => Err(io::Error::other(otherwise.to_owned())),
    }
}

struct Session<'c> {
    id: u32,
    to: WriteHalf<Box<dyn Stream>>,
    control: &'c Arc<dyn Control>,
    /// What was composed last, and when.
    tree: Option<(Instant, Arc<Tree>)>,
    packet: u32,
}

impl Session<'_> {
    async fn answer(&mut self, pdu: Pdu) -> io::Result<()> {
        let mut response = Response::from_header(&pdu.header);
        match pdu.header.ty {
            Type::Get | Type::GetNext | Type::GetBulk => match self.objects().await {
                Some(tree) => match found(&pdu, &tree) {
                    Ok(found) => response.vb = Some(VarBindList(found)),
                    Err(_) => response.res_error = ResError::ParseError,
                },
                None => response.res_error = ResError::ProcessingError,
            },
            // Nothing can be set: notWritable would be of SNMP, and the library knows AgentX alone.
            Type::TestSet => response.res_error = ResError::RequestDenied,
            Type::Close => return Err(io::Error::other("it has closed the session")),
            // Of pings and notifications; one that was refused is no reason to end.
            _ => return Ok(()),
        }
        wire::write(&mut self.to, &response.to_bytes()?).await
    }

    /// The objects, a second old at most, so that a walk does not compose the state for each step.
    async fn objects(&mut self) -> Option<Arc<Tree>> {
        if let Some((made, tree)) = &self.tree
            && made.elapsed() < FRESH
        {
            return Some(tree.clone());
        }
        let state = self.control.state().await.ok()?;
        let tree = Arc::new(tree(&state));
        self.tree = Some((Instant::now(), tree.clone()));
        Some(tree)
    }

    async fn tell(&mut self, event: &Event, traps: &mut Bucket) -> io::Result<()> {
        let Some(told) = traps::told(event) else { return Ok(()) };
        if !traps.take(clock::now()) {
            return Ok(());
        }
        let mut notify = Notify::new(told);
        notify.header.session_id = self.id;
        notify.header.packet_id = self.next();
        wire::write(&mut self.to, &notify.to_bytes()?).await
    }

    async fn ping(&mut self) -> io::Result<()> {
        let mut ping = Ping::new();
        ping.header.session_id = self.id;
        ping.header.packet_id = self.next();
        wire::write(&mut self.to, &ping.to_bytes()?).await
    }

    fn next(&mut self) -> u32 {
        self.packet = self.packet.wrapping_add(1);
        self.packet
    }
}

/// What a request asks for.
fn found(pdu: &Pdu, tree: &Tree) -> io::Result<Vec<VarBind>> {
    match pdu.header.ty {
        Type::Get => {
            checked(Get::from_bytes(&pdu.bytes)?.sr.0)?.iter().map(|range| Ok(exact(&range.start, tree))).collect()
        }
        Type::GetNext => {
            let ranges = checked(GetNext::from_bytes(&pdu.bytes)?.sr.0)?;
            Ok(ranges.iter().map(|range| next(&range.start, &range.end, tree)).collect())
        }
        _ => {
            let bulk = GetBulk::from_bytes(&pdu.bytes)?;
            let ranges = checked(bulk.sr.0)?;
            Ok(bulk_of(&ranges, bulk.non_repeaters.into(), bulk.max_repetitions.into(), tree))
        }
    }
}

/// Identifiers are repeated in the answer, which the library does not survive for longer ones than there may be.
fn checked(ranges: Vec<SearchRange>) -> io::Result<Vec<SearchRange>> {
    let is_long = |id: &ID| id.to_string().split('.').count() > PARTS_MAX;
    if ranges.len() > ANSWER_MAX || ranges.iter().any(|range| is_long(&range.start)) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(ranges)
}

fn exact(name: &ID, tree: &Tree) -> VarBind {
    let missing = || if has_column(name, tree) { Value::NoSuchInstance } else { Value::NoSuchObject };
    VarBind::new(name.clone(), tree.get(name).cloned().unwrap_or_else(missing))
}

/// Whether there is an instance of what a name is an instance of: its parts up to the column.
fn has_column(name: &ID, tree: &Tree) -> bool {
    let text = name.to_string();
    let column = text.split('.').take(ROOT.len() + 4).collect::<Vec<_>>().join(".");
    if column.split('.').count() < ROOT.len() + 4 {
        return false;
    }
    let Ok(from) = column.parse::<ID>() else { return false };
    tree.range(from..).next().is_some_and(|(id, _)| id.to_string().starts_with(&(column + ".")))
}

/// The first object behind a name, or at it where it says so, and before the end (RFC 2741, 7.2.3.2).
fn next(start: &ID, end: &ID, tree: &Tree) -> VarBind {
    let mut from = tree.range(start.clone()..);
    let found = from.find(|(id, _)| start.include == 1 || *id != start);
    match found.filter(|(id, _)| end.is_null() || *id < end) {
        Some((id, value)) => VarBind::new(id.clone(), value.clone()),
        None => VarBind::new(start.clone(), Value::EndOfMibView),
    }
}

/// RFC 2741, 7.2.3.3; no more than an answer has room for.
fn bulk_of(ranges: &[SearchRange], non_repeaters: usize, repetitions: usize, tree: &Tree) -> Vec<VarBind> {
    let (single, repeated) = ranges.split_at(non_repeaters.min(ranges.len()));
    let mut found: Vec<VarBind> = single.iter().map(|range| next(&range.start, &range.end, tree)).collect();
    let mut starts: Vec<ID> = repeated.iter().map(|range| range.start.clone()).collect();
    for _ in 0..repetitions {
        if starts.is_empty() || found.len() + starts.len() > ANSWER_MAX {
            break;
        }
        for (start, range) in starts.iter_mut().zip(repeated) {
            let one = next(start, &range.end, tree);
            *start = one.name.clone();
            found.push(one);
        }
    }
    found
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
