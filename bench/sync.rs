//! What it costs to tell a standby of a million connections in use, with 50,000 new ones a second, and how far
//! behind it is.
//!
//! `cargo bench --bench sync [-- RATE …]`, as root; RATE: new connections a second, 50000. Two data planes in this
//! process; the two sides are threads that do what the daemon's `lbd-sync` does, sealing included, and talk by UDP over
//! loopback. A third thread plays the customers and servers, a fourth is the daemon's sweep of the active side.

#[path = "common.rs"]
mod common;

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use common::{ACK, Case, FIN, From, IN_TURN, Order, Programs, SYN, Target, established, fates};
use lbd::config::{Limits, Mac, Mode, Timeouts};
use lbd::core::forwarding::Family;
use lbd::core::moment::Moment;
use lbd::daemon::sync::{Hearing, TURN, Telling};
use lbd::daemon::{STEP_PAUSE, WALK_PAUSE};
use lbd::dataplane::DataPlane;
use lbd::dataplane::sync::RestoreStatistics;
use lbd::pair::heartbeat::{BoxId, Incarnation};
use lbd::pair::key::{Key, KeyId, Keys};
use lbd::pair::seal::{Channel, Kind, Opener, Sealer};
use lbd::pair::sync::{Lag, Receiver, Sender, SenderLimits, SenderStatistics};
use lbd::pair::version::SPOKEN;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

const FLOWS: u32 = 1_048_576;
const NUMBERS: u32 = 1 << 24;
const PORT: u32 = 1;
const SERVER_MAC: Mac = Mac([2, 0, 0, 0, 0, 11]);
/// New connections a second.
const RATE: u32 = 50_000;
const BEAT: Duration = Duration::from_millis(20);
/// A connection lasts so many beats.
const LIFE_BEATS: u32 = 50;
const STEADY: Duration = Duration::from_secs(20);
const BEATS: u32 = (STEADY.as_millis() / BEAT.as_millis()) as u32;
/// When the standby hangs.
const HANG_FROM: Duration = Duration::from_secs(5);
const HANG_TO: Duration = Duration::from_secs(10);
/// In this time each of the million sends a packet.
const IN_USE: Duration = Duration::from_secs(10);
/// As in `daemon/pair/stream.rs`.
const HEARD_AT_ONCE: usize = 64;
const ROUNDS_MAX: usize = 16;
const SENDS_MAX: usize = 512;
const QUEUE_BYTES: usize = 2 << 20;

#[derive(Default)]
struct Side {
    /// Processor time of its thread, microseconds.
    busy: AtomicU64,
    stop: AtomicBool,
    hangs: AtomicBool,
    complete: AtomicBool,
}

#[derive(Clone, Default)]
struct Told {
    statistics: SenderStatistics,
    is_told: bool,
    lag: Lag,
}

fn main() -> Result<()> {
    println!("{}\n", common::machine()?);
    let rates = std::env::args().skip(1).filter_map(|word| word.parse().ok());
    let mut rates: Vec<u32> = rates.collect();
    if rates.is_empty() {
        rates.push(RATE);
    }
    let case = Case { mode: Mode::Nat, family: Family::V4 };
    let timeouts = Timeouts { closed: Duration::from_secs(2), ..Timeouts::default() };
    let make = || -> Result<DataPlane> {
        // Twice the room for handshakes of the other benches: with theirs, one in a million is now and then evicted.
        let limits = Limits { embryonic: 2_097_152, ..common::limits(3 * FLOWS) };
        let mut plane = DataPlane::load(&limits, None)?;
        plane.apply_tables(&common::site(PORT, PORT, SERVER_MAC, &timeouts)?)?;
        Ok(plane)
    };
    let (active, standby) = (make()?, make()?);
    active.own_alone();
    let mut programs = Programs::load()?;
    programs.aim_at(&active)?;
    programs.establish(&active, case, PORT, FLOWS)?;

    let [ours, theirs] = [UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?];
    ours.connect(theirs.local_addr()?)?;
    theirs.connect(ours.local_addr()?)?;
    for socket in [&ours, &theirs] {
        socket.set_nonblocking(true)?;
        setsockopt(socket, RcvBufForce, &QUEUE_BYTES).context("a larger buffer (root?)")?;
    }
    let (capture, restore) = (active.capture()?, standby.restore()?);
    let active = Arc::new(Mutex::new(active));
    let [tells, hears] = [Arc::new(Side::default()), Arc::new(Side::default())];
    let told = Arc::new(Mutex::new(Told::default()));
    let heard = Arc::new(Mutex::new(RestoreStatistics::default()));

    let begin = Instant::now();
    let teller = {
        let (side, told) = (tells.clone(), told.clone());
        let telling = Telling::new(capture, Sender::new(1 << 20, SenderLimits::default()));
        let line = Line::new(ours, 1)?;
        thread::spawn(move || tell(telling, line, &side, &told))
    };
    let hearer = {
        let (side, heard) = (hears.clone(), heard.clone());
        let (hearing, line) = (Hearing::new(restore, Receiver::new(1)), Line::new(theirs, 2)?);
        thread::spawn(move || hear(hearing, line, &side, &heard))
    };
    let complete = wait(Duration::from_secs(120), || hears.complete.load(Ordering::Acquire));
    let took = begin.elapsed();
    ensure!(complete, "the table was not told in 120 s: {:?}", lock(&told).statistics);
    let bulk = lock(&told).statistics;
    let there = established(&standby, case)?;
    ensure!(there == u64::from(FLOWS), "of {FLOWS} connections {there} arrived: {:?}", lock(&heard));
    let share = |busy: u64, of: Duration| busy as f64 / of.as_micros() as f64 * 100.0;
    println!("| the table, told to a standby that joins | |\n|---|--:|");
    println!("| connections | {FLOWS} |");
    println!("| time, s | {:.1} |", took.as_secs_f64());
    println!("| bytes a connection | {:.1} |", bulk.bytes as f64 / f64::from(FLOWS));
    println!("| datagrams sent again | {} of {} |", bulk.resent, bulk.datagrams);
    println!("| MB/s | {:.1} |", bulk.bytes as f64 / took.as_secs_f64() / 1e6);
    println!("| of a processor, active side | {:.0} % |", share(tells.busy.load(Ordering::Acquire), took));
    println!("| of a processor, standby | {:.0} % |\n", share(hears.busy.load(Ordering::Acquire), took));

    let sweeping = Arc::new(AtomicBool::new(true));
    let sweeper = {
        let (active, sweeping) = (active.clone(), sweeping.clone());
        thread::spawn(move || -> Result<()> {
            while sweeping.load(Ordering::Acquire) {
                let done = lock(&active).sweep_step()?;
                sleep(if done { WALK_PAUSE } else { STEP_PAUSE });
            }
            Ok(())
        })
    };
    let mut columns = Vec::new();
    let mut first = FLOWS;
    // The last once more, while the standby hangs.
    let hanging = rates.last().map(|rate| (*rate, true));
    for (rate, hang) in rates.into_iter().map(|rate| (rate, false)).chain(hanging) {
        let course = Course { case, rate, hang, first };
        first += course.made();
        let before = lock(&told).clone();
        let restored = *lock(&heard);
        let busy = [&tells, &hears].map(|side| side.busy.load(Ordering::Acquire));
        lock(&told).lag.clear();
        let begin = Instant::now();
        let reasons = lock(&active).reasons()?;
        let Done { frames, making, worst } = customers(&mut programs, course, |at| {
            hears.hangs.store(course.hang && (HANG_FROM..HANG_TO).contains(&at), Ordering::Release);
            lock(&told).statistics.ms_behind
        })?;
        let met = fates(&reasons, &lock(&active).reasons()?);
        let took = begin.elapsed();
        let after = lock(&told).clone();
        let used = [&tells, &hears].map(|side| side.busy.load(Ordering::Acquire));
        // A frame that the program aborts has no fate.
        ensure!(met.iter().map(|(_, n)| n).sum::<u64>() == frames, "{frames} frames met {met:?}");
        let lag = after.lag;
        let rest = Instant::now();
        let is_at_rest = wait(Duration::from_secs(60), || {
            let told = lock(&told);
            told.is_told && told.statistics.records_behind == 0
        });
        ensure!(is_at_rest, "no rest: {:?}", lock(&told).statistics);
        let rest = rest.elapsed();
        let restored_now = *lock(&heard);
        let refused: u64 =
            met.iter().filter(|(name, _)| !["to-server", "to-client"].contains(name)).map(|(_, n)| n).sum();
        let (s, b) = (after.statistics, before.statistics);
        let (bytes, seconds) = ((s.bytes - b.bytes) as f64, took.as_secs_f64());
        let ms = |lag: Duration| format!("{:.0}", lag.as_secs_f64() * 1e3);
        columns.push(vec![
            ("new connections a second, meant", rate.to_string()),
            ("new connections a second", format!("{:.0}", f64::from(course.made()) / making.as_secs_f64())),
            ("standby hangs for, s", if hang { (HANG_TO - HANG_FROM).as_secs().to_string() } else { String::new() }),
            ("packets refused", refused.to_string()),
            ("records a second", format!("{:.0}", (s.records - b.records) as f64 / seconds)),
            ("MB/s", format!("{:.2}", bytes / seconds / 1e6)),
            ("bytes a record", format!("{:.1}", bytes / (s.records - b.records) as f64)),
            ("bytes a new connection, all else included", format!("{:.0}", bytes / f64::from(course.made()))),
            ("of a processor, active side", format!("{:.0} %", share(used[0] - busy[0], took))),
            ("of a processor, standby", format!("{:.0} %", share(used[1] - busy[1], took))),
            ("lag, median, ms", ms(lag.percentile(50))),
            ("lag, p99, ms", ms(lag.percentile(99))),
            ("lag, longest, ms", ms(lag.max())),
            ("longest `ms_behind` seen", worst.to_string()),
            ("changes left out, and told anew", (s.left_out - b.left_out).to_string()),
            ("all is told so long after the end, ms", ms(rest)),
            ("datagrams sent again", format!("{} of {}", s.resent - b.resent, s.datagrams - b.datagrams)),
            ("not entered: older, stray, no room", {
                let (now, then) = (restored_now, restored);
                format!("{}, {}, {}", now.older - then.older, now.stray - then.stray, now.full - then.full)
            }),
        ]);
    }
    sweeping.store(false, Ordering::Release);
    sweeper.join().map_err(|_| anyhow!("the sweeper has died"))??;
    // What is swept last is told, too; then the tables are held against each other.
    let rest = wait(Duration::from_secs(60), || lock(&told).statistics.records_behind == 0 && lock(&told).is_told);
    ensure!(rest, "no rest: {:?}", lock(&told).statistics);
    sleep(Duration::from_millis(200));
    let sides = [established(&lock(&active), case)?, established(&standby, case)?];
    let entries = [lock(&active).entries()?, standby.entries()?];
    for side in [&tells, &hears] {
        side.stop.store(true, Ordering::Release);
    }
    teller.join().map_err(|_| anyhow!("the telling side has died"))??;
    hearer.join().map_err(|_| anyhow!("the hearing side has died"))??;
    ensure!(sides[0] == sides[1] && entries[0] == entries[1], "the tables differ: {sides:?}, {entries:?}");

    println!("| {} s with {FLOWS} in use, and new ones | {}", STEADY.as_secs(), " |".repeat(columns.len()));
    println!("|---|{}", "--:|".repeat(columns.len()));
    for row in 0..columns.first().map_or(0, Vec::len) {
        let cells: Vec<&str> = columns.iter().filter_map(|column| Some(column.get(row)?.1.as_str())).collect();
        println!("| {} | {} |", columns.first().and_then(|c| c.get(row)).map_or("", |c| c.0), cells.join(" | "));
    }
    println!("\nAt the end the same {} active connections, and {} entries, are on both sides.", sides[0], entries[0]);
    Ok(())
}

/// New connections for a while.
#[derive(Clone, Copy)]
struct Course {
    case: Case,
    /// A second.
    rate: u32,
    /// Whether the standby hangs meanwhile.
    hang: bool,
    /// Number of the first.
    first: u32,
}

/// What came of it.
struct Done {
    frames: u64,
    /// Time in which connections were made.
    making: Duration,
    /// The longest time behind that was told.
    worst: u64,
}

impl Course {
    fn per_beat(self) -> u32 {
        self.rate * BEAT.as_millis() as u32 / 1000
    }

    fn made(self) -> u32 {
        self.per_beat() * BEATS
    }
}

/// New connections at the rate, that live for a second, beside the million. `each` beat is told the time, and tells how
/// far behind the standby is, ms.
fn customers(programs: &mut Programs, course: Course, each: impl Fn(Duration) -> u64) -> Result<Done> {
    let per_beat = course.per_beat();
    let in_use = (u64::from(FLOWS) * BEAT.as_millis() as u64 / IN_USE.as_millis() as u64) as u32;
    let (mut frames, mut worst, mut making) = (0, 0, Duration::ZERO);
    let begin = Instant::now();
    for beat in 0..BEATS + LIFE_BEATS {
        let mut send = |from, flags, ack, first: u32, count: u32| -> Result<()> {
            programs.order(Order { case: course.case, from, flags, ack, flows: NUMBERS, first, step: IN_TURN })?;
            frames += u64::from(count);
            programs.run(Target::Lbd, PORT, count).map(drop)
        };
        if beat < BEATS {
            let first = course.first + beat * per_beat;
            send(From::Client, SYN, 0, first, per_beat)?;
            send(From::Server, SYN | ACK, 1, first, per_beat)?;
            send(From::Client, ACK, 1, first, per_beat)?;
            let first = (beat * in_use) % FLOWS;
            send(From::Client, ACK, beat, first, in_use.min(FLOWS - first))?;
        }
        if let Some(old) = beat.checked_sub(LIFE_BEATS) {
            let first = course.first + old * per_beat;
            send(From::Server, FIN | ACK, 2, first, per_beat)?;
            send(From::Client, FIN | ACK, 2, first, per_beat)?;
        }
        worst = worst.max(each(begin.elapsed()));
        let next = begin + BEAT * (beat + 1);
        sleep(next.saturating_duration_since(Instant::now()));
        if beat + 1 == BEATS {
            making = begin.elapsed();
        }
    }
    Ok(Done { frames, making, worst })
}

/// A socket with its seals, as the daemon has.
struct Line {
    socket: UdpSocket,
    sealer: Sealer,
    opener: Opener,
    channel: Channel,
    came: Vec<u8>,
    body: Vec<u8>,
    sealed: Vec<u8>,
}

impl Line {
    fn new(socket: UdpSocket, own: u64) -> Result<Self> {
        let keys = Keys::single(Key::new(KeyId(1), [7; 32]));
        let life = Incarnation { boot: 1, start: 1 };
        let floor = Incarnation { boot: 0, start: 0 };
        Ok(Self {
            socket,
            sealer: Sealer::new(Kind::Sync, BoxId(own), life, &keys)?,
            opener: Opener::new(Kind::Sync, BoxId(own), BoxId(3 - own), SPOKEN, keys, floor),
            channel: Channel::new(0).context("a channel")?,
            came: vec![0; 2048],
            body: Vec::new(),
            sealed: Vec::new(),
        })
    }

    fn wait(&self, patience: Duration) {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(patience)), None);
    }

    /// The next datagram that has come.
    fn receive(&mut self) -> Option<&[u8]> {
        loop {
            let length = self.socket.recv(&mut self.came).ok()?;
            if self.opener.open(self.came.get(..length)?, &mut self.body).is_ok() {
                return Some(&self.body);
            }
        }
    }

    fn send(&mut self, body: &[u8]) -> Result<()> {
        self.sealer.seal(SPOKEN.lowest(), self.channel, body, &mut self.sealed)?;
        // A full buffer is a loss like any other.
        let _ = self.socket.send(&self.sealed);
        Ok(())
    }
}

fn tell(mut telling: Telling, mut line: Line, side: &Side, told: &Mutex<Told>) -> Result<()> {
    while !side.stop.load(Ordering::Acquire) {
        line.wait(telling.patience(boottime()?));
        let now = boottime()?;
        while let Some(ack) = line.receive() {
            telling.sender.acknowledged(ack, now);
        }
        telling.turn(now)?;
        for _ in 0..SENDS_MAX {
            let Some(datagram) = telling.sender.poll(now) else { break };
            line.send(&datagram)?;
        }
        side.busy.store(busy()?, Ordering::Release);
        let lags = telling.sender.take_lag();
        let mut told = lock(told);
        told.lag.add_all(&lags);
        (told.statistics, told.is_told) = (telling.sender.statistics(now), telling.sender.is_told());
    }
    Ok(())
}

fn hear(mut hearing: Hearing, mut line: Line, side: &Side, heard: &Mutex<RestoreStatistics>) -> Result<()> {
    let mut matters = Vec::new();
    while !side.stop.load(Ordering::Acquire) {
        line.wait(TURN);
        if side.hangs.load(Ordering::Acquire) {
            sleep(TURN);
            continue;
        }
        for _ in 0..ROUNDS_MAX {
            let now = boottime()?;
            let mut taken = 0;
            while taken < HEARD_AT_ONCE
                && let Some(datagram) = line.receive()
            {
                hearing.hear(datagram, now, &mut matters)?;
                taken += 1;
            }
            if let Some(ack) = hearing.turn()? {
                line.send(&ack)?;
            }
            if taken < HEARD_AT_ONCE {
                break;
            }
        }
        *lock(heard) = hearing.restore.statistics();
        side.busy.store(busy()?, Ordering::Release);
        side.complete.store(hearing.receiver.is_complete(), Ordering::Release);
    }
    Ok(())
}

fn wait(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < limit {
        if done() {
            return true;
        }
        sleep(Duration::from_millis(2));
    }
    false
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn boottime() -> Result<Moment> {
    Ok(Moment(clock_gettime(ClockId::CLOCK_BOOTTIME)?.into()))
}

fn busy() -> Result<u64> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?).as_micros() as u64)
}
