//! The connection table, as the daemon sees it: reading, sweeping, counting.
//!
//! Together with `bpf/flows.h` the only place that knows how connections are kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::DataPlaneError;
use super::kernel::{self, ScanCursor};
use super::layout::*;
use super::loader::Loaded;
use super::tables::Used;
use crate::core::control::FlowState;

/// Entries read from the kernel at a time.
pub const CHUNK: u32 = 2048;
/// Sets of the embryonic table swept by one run: below a millisecond.
const SETS_PER_RUN: u32 = 4096;

/// One established connection.
#[derive(Clone, Debug)]
pub struct Connection {
    pub client: SocketAddr,
    pub vip: u32,
    pub port: u16,
    pub udp: bool,
    pub dest: u32,
    pub state: FlowState,
    /// Since the last packet from the client.
    pub idle: Duration,
    pub age: Duration,
    /// Full NAT: our port towards the server.
    pub source_port: Option<u16>,
}

/// How far a flow has come, by its state bits.
fn state_of(bits: u32) -> FlowState {
    const FIN: u32 = FLOW_CLIENT_FIN | FLOW_SERVER_FIN;
    const RST: u32 = FLOW_CLIENT_RST | FLOW_SERVER_RST;
    match bits {
        s if s & RST != 0 || s & FIN == FIN => FlowState::Closed,
        s if s & FIN != 0 => FlowState::Closing,
        s if s & FLOW_PROVEN == 0 => FlowState::Unproven,
        _ => FlowState::Established,
    }
}

/// CLOCK_MONOTONIC, as the program sees it. The coarse clock that it uses is behind by up to a tick.
pub fn monotonic_ns() -> u64 {
    read_clock(ClockId::CLOCK_MONOTONIC)
}

/// The very clock that the program uses, for times that are compared with its own to the tick.
pub fn coarse_monotonic_ns() -> u64 {
    read_clock(ClockId::CLOCK_MONOTONIC_COARSE)
}

fn read_clock(clock: ClockId) -> u64 {
    clock_gettime(clock).map(|t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64).unwrap_or(0)
}

fn connection(key: &flow_key, flow: &flow, now: u64) -> Connection {
    let since = |then: u64| Duration::from_nanos(now.saturating_sub(then));
    Connection {
        client: SocketAddr::new(ip_of(&key.peer), u16::from_be(key.peer_port)),
        vip: key.local & LOCAL_ID,
        port: u16::from_be(key.port),
        udp: key.local & LOCAL_UDP != 0,
        dest: flow.dest,
        state: state_of(flow.state),
        idle: since(flow.last_seen),
        age: since(flow.created),
        source_port: (flow.snat != 0).then(|| u16::from_be(flow.snat_port)),
    }
}

/// Reads the table a chunk at a time, for whoever passes it on as it comes.
#[derive(Default)]
pub struct ConnectionReader(ScanCursor);

impl ConnectionReader {
    /// The next connections, at most 2,048; `None` at the end.
    pub fn next(&mut self, loaded: &Loaded) -> Result<Option<Vec<Connection>>, DataPlaneError> {
        let now = monotonic_ns();
        let chunk = loaded.maps.flows.scan_chunk(&mut self.0, CHUNK)?;
        Ok(chunk.map(|rows| rows.iter().map(|(key, flow)| connection(key, flow, now)).collect()))
    }
}

/// Walks over all established connections in steps, removes those that have expired, and finds out what
/// the living refer to.
pub struct Sweep {
    cursor: ScanCursor,
    used: Used,
    expiry: BTreeMap<u32, Expiry>,
    /// What `Tables::begin_sweep` gave.
    pub epoch: u64,
    pub begun: Instant,
    pub removed: u64,
}

/// What one step of a sweep came to.
pub enum SweepStep {
    More,
    /// The whole table has been walked over.
    Done(Used),
}

impl Sweep {
    /// `expiry` by number of destination; one that is not listed is judged by the program alone.
    pub fn new(epoch: u64, expiry: BTreeMap<u32, Expiry>) -> Self {
        let begun = Instant::now();
        Self { cursor: ScanCursor::default(), used: Used::default(), expiry, epoch, begun, removed: 0 }
    }

    /// The next 2,048 entries.
    pub fn step(&mut self, loaded: &Loaded) -> Result<SweepStep, DataPlaneError> {
        let Some(rows) = loaded.maps.flows.scan_chunk(&mut self.cursor, CHUNK)? else {
            return Ok(SweepStep::Done(std::mem::take(&mut self.used)));
        };
        let now = monotonic_ns();
        let mut suspects = Vec::new();
        for (key, flow) in &rows {
            self.used.dests.insert(flow.dest);
            self.used.vips.insert(key.local & LOCAL_ID);
            if flow.snat != 0 {
                self.used.snats.insert(u32::from(flow.snat) - 1);
            }
            let idle = now.saturating_sub(flow.last_seen);
            if self.expiry.get(&flow.dest).is_none_or(|expiry| idle > expiry.of(key, flow)) {
                suspects.push(*key);
            }
        }
        self.removed += u64::from(reap(loaded, &suspects, REAP_EXPIRED)?);
        Ok(SweepStep::More)
    }
}

/// Idle times of a service, nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    pub unproven: u64,
    pub established: u64,
    pub closing: u64,
    pub closed: u64,
    pub udp: u64,
}

impl Expiry {
    fn of(&self, key: &flow_key, flow: &flow) -> u64 {
        if key.local & LOCAL_UDP != 0 {
            return self.udp;
        }
        match state_of(flow.state) {
            FlowState::Unproven => self.unproven,
            FlowState::Established => self.established,
            FlowState::Closing => self.closing,
            FlowState::Closed => self.closed,
        }
    }
}

/// Has the program remove those of the listed connections that `force` (`REAP_EXPIRED`, …) says; how many.
pub fn reap(loaded: &Loaded, keys: &[flow_key], force: u32) -> Result<u32, DataPlaneError> {
    let mut removed = 0;
    for chunk in keys.chunks(REAP_MAX as usize) {
        loaded.maps.reap_keys.put_first(chunk)?;
        let order = work { first: 0, count: chunk.len() as u32, force, ..Default::default() };
        removed += run_work(loaded.reap.as_fd(), order)?;
    }
    Ok(removed)
}

/// Clears expired embryos, so that they no longer count as pending; how many.
pub fn sweep_embryos(loaded: &Loaded) -> Result<u32, DataPlaneError> {
    let mut removed = 0;
    for first in (0..loaded.maps.embryo_sets).step_by(SETS_PER_RUN as usize) {
        let count = SETS_PER_RUN.min(loaded.maps.embryo_sets - first);
        removed += run_work(loaded.sweep_embryos.as_fd(), work { first, count, ..Default::default() })?;
    }
    Ok(removed)
}

fn run_work(program: std::os::fd::BorrowedFd<'_>, order: work) -> Result<u32, DataPlaneError> {
    let run = kernel::run(program, order.bytes(), None, 1).map_err(|source| DataPlaneError::Sweep { source })?;
    Ok(work::from_bytes(&run.frame).map_or(0, |answer| answer.done))
}

/// Number of entries in a table, by walking over it: for tests that hold the counts against the truth.
pub fn count_active(loaded: &Loaded) -> Result<BTreeMap<u32, u64>, DataPlaneError> {
    let mut counts = BTreeMap::new();
    loaded.maps.flows.scan(CHUNK, |_, flow| {
        if flow.state & FLOW_CLOSED == 0 {
            *counts.entry(flow.dest).or_insert(0) += 1;
        }
        true
    })?;
    Ok(counts)
}
