//! What it costs to tell a standby of a million connections in use, with 50,000 new ones a second, and how far
//! behind it is.
//!
//! `cargo bench --bench sync`, as root. Two data planes in this process; the two sides are threads that talk by UDP
//! over loopback, in the clear: encryption is not in these figures. A third thread plays the customers and servers.

#[path = "common.rs"]
mod common;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use common::{ACK, Case, FIN, From, IN_TURN, Order, Programs, SYN, Target, established, fates};
use lbd::config::{Limits, Mac, Mode, Timeouts};
use lbd::core::forwarding::Family;
use lbd::core::moment::Moment;
use lbd::daemon::sync::{Hearing, Telling};
use lbd::daemon::{STEP_PAUSE, WALK_PAUSE};
use lbd::dataplane::DataPlane;
use lbd::dataplane::sync::RestoreStatistics;
use lbd::pair::sync::{Lag, Receiver, Sender, SenderLimits, SenderStatistics};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
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
/// In this time each of the million sends a packet.
const IN_USE: Duration = Duration::from_secs(10);
/// A side looks so often for what there is to do.
const TURN: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Side {
    /// Processor time of its thread, microseconds.
    busy: AtomicU64,
    stop: AtomicBool,
    complete: AtomicBool,
}

#[derive(Clone, Copy, Default)]
struct Told {
    statistics: SenderStatistics,
    is_told: bool,
}

fn main() -> Result<()> {
    println!("{}\n", common::machine()?);
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
        setsockopt(socket, RcvBufForce, &(4 << 20)).context("a larger buffer (root?)")?;
    }
    let (capture, restore) = (active.capture()?, standby.restore()?);
    let active = Arc::new(Mutex::new(active));
    let [tells, hears] = [Arc::new(Side::default()), Arc::new(Side::default())];
    let told = Arc::new(Mutex::new(Told::default()));
    let heard = Arc::new(Mutex::new(RestoreStatistics::default()));

    let begin = Instant::now();
    let teller = {
        let (side, told) = (tells.clone(), told.clone());
        thread::spawn(move || {
            tell(Telling::new(capture, Sender::new(1 << 20, SenderLimits::default())), &ours, &side, &told)
        })
    };
    let hearer = {
        let (side, heard) = (hears.clone(), heard.clone());
        thread::spawn(move || hear(Hearing::new(restore, Receiver::new(1)), &theirs, &side, &heard))
    };
    let complete = wait(Duration::from_secs(120), || hears.complete.load(Ordering::Acquire));
    let took = begin.elapsed();
    ensure!(complete, "the table was not told in 120 s: {:?}", lock(&told).statistics);
    let bulk = lock(&told).statistics;
    let there = established(&standby, case)?;
    ensure!(there == u64::from(FLOWS), "of {FLOWS} connections {there} arrived: {:?}", lock(&heard));
    let share = |busy: &AtomicU64, of: Duration| busy.load(Ordering::Acquire) as f64 / of.as_micros() as f64 * 100.0;
    println!("| the table, told to a standby that joins | |\n|---|--:|");
    println!("| connections | {FLOWS} |");
    println!("| time, s | {:.1} |", took.as_secs_f64());
    println!("| bytes a connection | {:.1} |", bulk.bytes as f64 / f64::from(FLOWS));
    println!("| datagrams sent again | {} of {} |", bulk.resent, bulk.datagrams);
    println!("| MB/s | {:.1} |", bulk.bytes as f64 / took.as_secs_f64() / 1e6);
    println!("| of a processor, active side | {:.0} % |", share(&tells.busy, took));
    println!("| of a processor, standby | {:.0} % |\n", share(&hears.busy, took));

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
    let before = *lock(&told);
    let restored = *lock(&heard);
    let busy = [&tells, &hears].map(|side| side.busy.load(Ordering::Acquire));
    let begin = Instant::now();
    let reasons = lock(&active).reasons()?;
    let made = customers(&mut programs, case);
    let met = fates(&reasons, &lock(&active).reasons()?);
    let made = made.with_context(|| format!("packets met {met:?}"))?;
    let took = begin.elapsed();
    let after = *lock(&told);
    let used = [&tells, &hears].map(|side| side.busy.load(Ordering::Acquire));
    // Let it come to rest, then hold the tables against each other.
    sweeping.store(false, Ordering::Release);
    sweeper.join().map_err(|_| anyhow!("the sweeper has died"))??;
    let rest = wait(Duration::from_secs(60), || {
        let told = *lock(&told);
        told.is_told && told.statistics.records_behind == 0
    });
    ensure!(rest, "no rest: {:?}", lock(&told).statistics);
    sleep(Duration::from_millis(200));
    let sides = [established(&lock(&active), case)?, established(&standby, case)?];
    let entries = [lock(&active).entries()?, standby.entries()?];
    let restored_now = *lock(&heard);
    for side in [&tells, &hears] {
        side.stop.store(true, Ordering::Release);
    }
    let lag = teller.join().map_err(|_| anyhow!("the telling side has died"))??;
    hearer.join().map_err(|_| anyhow!("the hearing side has died"))??;
    ensure!(sides[0] == sides[1] && entries[0] == entries[1], "the tables differ: {sides:?}, {entries:?}");

    let (s, b) = (after.statistics, before.statistics);
    let bytes = (s.bytes - b.bytes) as f64;
    let seconds = took.as_secs_f64();
    println!("| {:.0} s with {made} new connections, a million in use | |\n|---|--:|", seconds);
    println!("| new connections a second | {:.0} |", f64::from(made) / seconds);
    println!("| records a second | {:.0} |", (s.records - b.records) as f64 / seconds);
    println!("| MB/s | {:.2} |", bytes / seconds / 1e6);
    println!("| bytes a record | {:.1} |", bytes / (s.records - b.records) as f64);
    println!(
        "| bytes a new connection, from beginning to end and all else included | {:.0} |",
        bytes / f64::from(made)
    );
    println!("| of a processor, active side | {:.1} % |", (used[0] - busy[0]) as f64 / took.as_micros() as f64 * 100.0);
    println!("| of a processor, standby | {:.1} % |", (used[1] - busy[1]) as f64 / took.as_micros() as f64 * 100.0);
    for (name, percent) in [("median", 50), ("p99", 99)] {
        println!("| lag, {name}, ms | {:.1} |", lag.percentile(percent).as_secs_f64() * 1e3);
    }
    println!("| lag, longest, ms | {:.1} |", lag.max().as_secs_f64() * 1e3);
    println!("| changes left out, and told anew | {} |", s.left_out - b.left_out);
    println!("| datagrams sent again | {} of {} |", s.resent - b.resent, s.datagrams - b.datagrams);
    println!(
        "| not entered: older, stray | {}, {} |",
        restored_now.older - restored.older,
        restored_now.stray - restored.stray
    );
    println!("| connections at the end, both sides | {} |", sides[0]);
    Ok(())
}

/// New connections at the rate, that live for a second, beside the million; how many there were.
fn customers(programs: &mut Programs, case: Case) -> Result<u32> {
    let per_beat = RATE * BEAT.as_millis() as u32 / 1000;
    let in_use = (u64::from(FLOWS) * BEAT.as_millis() as u64 / IN_USE.as_millis() as u64) as u32;
    let beats = (STEADY.as_millis() / BEAT.as_millis()) as u32;
    let begin = Instant::now();
    for beat in 0..beats + LIFE_BEATS {
        let mut send = |from, flags, ack, first: u32, count| -> Result<()> {
            programs.order(Order { case, from, flags, ack, flows: NUMBERS, first, step: IN_TURN })?;
            programs.run(Target::Lbd, PORT, count).map(drop)
        };
        if beat < beats {
            let first = FLOWS + beat * per_beat;
            send(From::Client, SYN, 0, first, per_beat)?;
            send(From::Server, SYN | ACK, 1, first, per_beat)?;
            send(From::Client, ACK, 1, first, per_beat)?;
            let first = (beat * in_use) % FLOWS;
            send(From::Client, ACK, beat, first, in_use.min(FLOWS - first))?;
        }
        if let Some(old) = beat.checked_sub(LIFE_BEATS) {
            let first = FLOWS + old * per_beat;
            send(From::Server, FIN | ACK, 2, first, per_beat)?;
            send(From::Client, FIN | ACK, 2, first, per_beat)?;
        }
        let next = begin + BEAT * (beat + 1);
        sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(beats * per_beat)
}

fn tell(mut telling: Telling, socket: &UdpSocket, side: &Side, told: &Mutex<Told>) -> Result<Lag> {
    let mut buffer = [0; 2048];
    while !side.stop.load(Ordering::Acquire) {
        let now = boottime()?;
        while let Ok(length) = socket.recv(&mut buffer) {
            telling.sender.acknowledged(buffer.get(..length).context("a length")?, now);
        }
        telling.turn(u64::from(FLOWS), now)?;
        while let Some(datagram) = telling.sender.poll(now) {
            // A full buffer is a loss like any other.
            let _ = socket.send(&datagram);
        }
        side.busy.store(busy()?, Ordering::Release);
        *lock(told) = Told { statistics: telling.sender.statistics(now), is_told: telling.sender.is_told() };
        sleep(TURN);
    }
    // Of changes only: what a walk tells has no moment at which it happened.
    Ok(telling.sender.lag().clone())
}

fn hear(mut hearing: Hearing, socket: &UdpSocket, side: &Side, heard: &Mutex<RestoreStatistics>) -> Result<()> {
    let mut buffer = [0; 2048];
    let mut matters = Vec::new();
    while !side.stop.load(Ordering::Acquire) {
        let now = boottime()?;
        while let Ok(length) = socket.recv(&mut buffer) {
            hearing.hear(buffer.get(..length).context("a length")?, now, &mut matters)?;
        }
        if let Some(ack) = hearing.turn()? {
            let _ = socket.send(&ack);
        }
        *lock(heard) = hearing.restore.statistics();
        side.busy.store(busy()?, Ordering::Release);
        side.complete.store(hearing.receiver.is_complete(), Ordering::Release);
        sleep(Duration::from_millis(1));
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
