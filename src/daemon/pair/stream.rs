//! The thread that keeps the two boxes' tables alike: what happens to connections here goes to the peer while this box
//! owns, and what the peer tells goes into the tables.
//!
//! It has sockets of its own, at the port behind that of the heartbeats, and an ordinary priority: a flood of
//! connections must delay no heartbeat.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use tokio::sync::mpsc;

use super::health;
use super::thread::{Handle, News};
use crate::core::moment::Moment;
use crate::daemon::sync::{Heard, Hearing, TURN, Telling};
use crate::dataplane::DataPlaneError;
use crate::os::clock;
use crate::pair::copy::{self, Copier};
use crate::pair::key::Keys;
use crate::pair::paths::Arrival;
use crate::pair::paths::udp::{UdpConfig, UdpPath};
use crate::pair::seal::{Channel, Opener, Sealer};
use crate::pair::sync::{Matter, Progress, ReceiverStatistics, Sender, SenderLimits, SenderStatistics};
use crate::pair::time::Instant;
use crate::pair::version::SPOKEN;

/// An owner that has handed over serves on for 10 s, and tells of what it serves; a little longer.
const TELLS_ON: Duration = Duration::from_secs(12);
/// What is not older than this may be under way at any time: it does not keep a hand-over waiting.
const DRAINED_MS: u64 = 100;
/// A stream that was silent for so long says nothing about now: a tick comes every 100 ms.
const SILENT: Duration = Duration::from_secs(1);
/// Datagrams sent in a turn, so that it ends: the sender's own bursts are shorter.
const SENDS_MAX: usize = 512;
/// Datagrams of the configuration sent in a turn.
const COPIES_MAX: usize = 80;
/// Datagrams that are entered at once and then acknowledged: some 2,000 records, or 5 ms. The other side waits for
/// acknowledgements of a window and not of a turn.
const HEARD_AT_ONCE: usize = 64;
/// As often in a turn, so that it ends: two windows.
const ROUNDS_MAX: usize = 16;
/// A window of the stream, with what the kernel counts besides: 512 datagrams.
const QUEUE_BYTES: usize = 2 << 20;
/// Sessions of one ownership: the peer may begin anew so often before numbers meet those of the next one.
const SESSIONS: u64 = 1 << 10;

/// What is known of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StreamReport {
    /// This box tells.
    pub tells: bool,
    pub sender: SenderStatistics,
    pub receiver: ReceiverStatistics,
    pub progress: Option<Progress>,
    /// It holds all that the peer holds.
    pub complete: bool,
    /// Of destinations and addresses that this box has not.
    pub unresolved: u64,
}

/// What the loop shares with the thread.
#[derive(Default)]
pub struct Shared {
    pub owns: AtomicBool,
    /// Revision of the configuration that is in the tables.
    pub settled: AtomicU64,
    /// Orders of the operator, with their revision, to be told.
    pub orders: Mutex<Option<(u64, Vec<u8>)>>,
    /// What this box sees of the servers, with its revision, to be told.
    pub health: Mutex<Option<(u64, Vec<u8>)>>,
    /// How that differs from what the owner sees; of an owner, nothing.
    pub health_differs: Mutex<health::Difference>,
    /// The key file has been read anew.
    pub keys: Mutex<Option<Keys>>,
    pub report: Mutex<StreamReport>,
    pub stop: AtomicBool,
}

pub struct Stream {
    pub telling: Telling,
    pub hearing: Hearing,
    pub sealer: Sealer,
    pub opener: Opener,
    pub paths: Vec<(Channel, UdpPath)>,
    pub copier: Arc<Mutex<Copier>>,
    /// Where the numbers of sessions begin: higher for every life of the daemon, with room for those of this one.
    pub first_session: u64,
    pub handle: Handle,
    pub news: mpsc::Sender<News>,
    pub shared: Arc<Shared>,
}

/// The path of the stream beside a path of heartbeats.
pub fn path(mut config: UdpConfig) -> anyhow::Result<UdpPath> {
    let next = |address: SocketAddr| SocketAddr::new(address.ip(), address.port().saturating_add(1));
    (config.local, config.peer) = (next(config.local), next(config.peer));
    config.queue_bytes = Some(QUEUE_BYTES);
    Ok(UdpPath::new(config)?)
}

pub fn start(mut stream: Stream) -> std::io::Result<()> {
    std::thread::Builder::new().name("lbd-sync".into()).spawn(move || {
        let mut course = Course::default();
        while !stream.shared.stop.load(Ordering::Relaxed) {
            stream.wait(&course);
            stream.turn(&mut course);
        }
    })?;
    Ok(())
}

/// What lasts from turn to turn.
#[derive(Default)]
struct Course {
    tells: bool,
    owned: Option<Moment>,
    ownerships: u64,
    told: Option<(bool, bool)>,
    trouble: Option<String>,
    /// What the loop was told last of the copy of the configuration, and whether one waited for it.
    copy: Option<(copy::Report, bool)>,
    /// The configuration that is in the tables, and what had no place in those before.
    settled: u64,
    unresolved: u64,
    datagram: Vec<u8>,
    body: Vec<u8>,
}

impl Stream {
    fn wait(&self, course: &Course) {
        let fds = self.paths.iter().filter_map(|(_, path)| path.fd());
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd: BorrowedFd<'_>| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let patience = if course.tells { self.telling.patience(clock::now()) } else { TURN };
        // Whatever it says: all are looked at.
        _ = ppoll(&mut fds, Some(TimeSpec::from_duration(patience)), None);
    }

    fn turn(&mut self, course: &mut Course) {
        let now = clock::now();
        let owns = self.shared.owns.load(Ordering::Relaxed);
        if owns {
            course.owned = Some(now);
        }
        let tells = course.owned.is_some_and(|owned| now.since(owned) < TELLS_ON);
        if tells != course.tells {
            course.tells = tells;
            self.telling.capture.listen(tells);
            course.ownerships += 1;
            let session = self.first_session + course.ownerships * SESSIONS;
            // A peer that began anew very often must not find a number again that it has heard.
            let session = session.max(self.telling.sender.session() + 1);
            self.telling.sender = Sender::new(session, SenderLimits::default());
        }
        self.follow_keys();
        self.hearing.restore.set_owner(owns);
        self.follow_tables(course);
        let result = self.hear(course, now).and_then(|()| self.tell(course, now));
        self.copy(course, now);
        let trouble = result.err().map(|error| error.to_string());
        if let Some(words) = &trouble
            && course.trouble != trouble
        {
            _ = self.news.try_send(News::Trouble(words.clone()));
        }
        course.trouble = trouble;
        self.report(course, owns, now);
    }

    fn hear(&mut self, course: &mut Course, now: Moment) -> Result<(), DataPlaneError> {
        for (_, path) in &mut self.paths {
            path.tick(instant(now));
        }
        for _ in 0..ROUNDS_MAX {
            let more = self.hear_some(course, clock::now())?;
            if let Some(acknowledgement) = self.hearing.turn()? {
                self.send(&acknowledgement, course, instant(now));
            }
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// Takes what has come by each path, up to a limit; `false`: nothing is left.
    fn hear_some(&mut self, course: &mut Course, now: Moment) -> Result<bool, DataPlaneError> {
        let Self { telling, hearing, opener, paths, news, copier, .. } = self;
        let mut heard: Vec<Heard> = Vec::new();
        let mut result = Ok(());
        let mut more = false;
        let at = instant(now);
        let body = &mut course.body;
        for (_, path) in paths.iter_mut() {
            more |= path.drain_some(HEARD_AT_ONCE, &mut || at, &mut |arrival, _| {
                let Arrival::Datagram(datagram) = arrival else { return };
                if opener.open(datagram, body).is_ok() {
                    if copy::wire::is_ours(body) {
                        crate::daemon::lock(copier).hear(body, now);
                        return;
                    }
                    // A datagram is of the one kind or the other, and is passed over by whom it is not for.
                    telling.sender.acknowledged(body, now);
                    let heard = hearing.hear(body, now, &mut heard);
                    if result.is_ok() {
                        result = heard;
                    }
                }
            });
        }
        for Heard { matter, revision, bytes } in heard {
            match matter {
                Matter::Admin => _ = news.try_send(News::Orders { revision, bytes }),
                Matter::Health => _ = news.try_send(News::Health { bytes }),
                // It is copied by a protocol of its own.
                Matter::Config => {}
            }
        }
        result.map(|()| more)
    }

    fn tell(&mut self, course: &mut Course, now: Moment) -> Result<(), DataPlaneError> {
        if !course.tells {
            return Ok(());
        }
        if let Ok(mut orders) = self.shared.orders.try_lock()
            && let Some((revision, bytes)) = orders.take()
        {
            self.telling.sender.set_matter(Matter::Admin, revision, &bytes);
        }
        if let Ok(mut health) = self.shared.health.try_lock()
            && let Some((revision, bytes)) = health.take()
        {
            self.telling.sender.set_matter(Matter::Health, revision, &bytes);
        }
        self.telling.turn(now)?;
        for _ in 0..SENDS_MAX {
            let Some(datagram) = self.telling.sender.poll(now) else { break };
            self.send(&datagram, course, instant(now));
        }
        Ok(())
    }

    /// The configuration that both boxes have: what is to be sent of it, and what the loop must know.
    fn copy(&mut self, course: &mut Course, now: Moment) {
        for _ in 0..COPIES_MAX {
            let datagram = crate::daemon::lock(&self.copier).poll(now);
            let Some(datagram) = datagram else { break };
            self.send(&datagram, course, instant(now));
        }
        let (report, arrived) = {
            let copier = crate::daemon::lock(&self.copier);
            (copier.report(now), copier.has_arrived())
        };
        // Once for each change: there must be room for other news.
        let news = (copy::Report { progress: None, ..report }, arrived);
        if course.copy.as_ref() != Some(&news) && self.news.try_send(News::Copy).is_ok() {
            course.copy = Some(news);
        }
    }

    fn follow_keys(&mut self) {
        let Some(keys) = self.shared.keys.try_lock().ok().and_then(|mut keys| keys.take()) else { return };
        self.sealer.set_keys(&keys);
        self.opener.set_keys(keys);
    }

    /// What the peer told of servers that were not in the tables is asked for again when others are.
    fn follow_tables(&mut self, course: &mut Course) {
        let settled = self.shared.settled.load(Ordering::Relaxed);
        if settled == course.settled {
            return;
        }
        let unresolved = self.hearing.restore.statistics().unresolved;
        if unresolved > course.unresolved {
            self.hearing.receiver.ask_again();
        }
        (course.settled, course.unresolved) = (settled, unresolved);
    }

    /// By the first path whose heartbeats come; by all, if none does.
    fn send(&mut self, bytes: &[u8], course: &mut Course, at: Instant) {
        let alive = self.handle.alive();
        let chosen = self.paths.iter().position(|(channel, _)| alive & 1 << channel.number() != 0);
        for (index, (channel, path)) in self.paths.iter_mut().enumerate() {
            if chosen.is_some_and(|chosen| chosen != index) {
                continue;
            }
            let version = SPOKEN.lowest();
            if self.sealer.seal(version, *channel, bytes, &mut course.datagram).is_ok() {
                path.send(&course.datagram, at);
            }
        }
    }

    fn report(&self, course: &mut Course, owns: bool, now: Moment) {
        let receiver = &self.hearing.receiver;
        let fresh = receiver.silent_for(now).is_some_and(|silent| silent < SILENT);
        let complete = receiver.is_complete() && fresh;
        let sender = self.telling.sender.statistics(now);
        let drained = self.telling.sender.is_told() && sender.ms_behind < DRAINED_MS;
        // An owner holds what there is.
        let told = (owns || complete, drained);
        if course.told != Some(told) {
            course.told = Some(told);
            self.handle.tell(|mailbox| mailbox.synced = Some(told));
        }
        if let Ok(mut report) = self.shared.report.try_lock() {
            *report = StreamReport {
                tells: course.tells,
                sender,
                receiver: receiver.statistics(),
                progress: receiver.progress(),
                complete,
                unresolved: self.hearing.restore.statistics().unresolved,
            };
        }
    }
}

fn instant(moment: Moment) -> Instant {
    Instant(u64::try_from(moment.0.as_nanos()).unwrap_or(u64::MAX))
}
