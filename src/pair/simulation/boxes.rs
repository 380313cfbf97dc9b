//! A box: its clock, its data plane, what is pinned, what is on disk, and the daemon.

use crate::pair::election::{Action, Election, Flaw, Inputs, Lease, Settings};
use crate::pair::heartbeat::{BoxId, Incarnation, LeaseLeft};
use crate::pair::time::{Instant, Span};
use crate::pair::timers::Timers;

const MS: u64 = 1_000_000;
/// The data plane obeys an order to let go only if its daemon has shown no life for so long.
const LIFELESS: Span = Span::from_millis(1_500);

/// Started: when the world began, and how fast it goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    zero: u64,
    /// Parts of a million.
    pub drift: i64,
    /// Time that it has stood still (a virtual machine paused with its clock).
    pub stood: u64,
}

impl Clock {
    pub fn new(zero: u64, drift: i64) -> Self {
        Self { zero, drift, stood: 0 }
    }

    /// A machine is up for a while when something interesting happens.
    const OFFSET: u64 = 7_000 * MS;

    pub fn local(&self, world: u64) -> Instant {
        let passed = world.saturating_sub(self.zero + self.stood);
        let drifted = passed as i64 + passed as i64 / 1_000 * self.drift / 1_000;
        Instant(Self::OFFSET + drifted as u64)
    }

    /// A world time at or shortly after a local one.
    pub fn world(&self, local: Instant) -> u64 {
        if local == Instant::NEVER {
            return u64::MAX;
        }
        let passed = local.0.saturating_sub(Self::OFFSET) as i64;
        let undrifted = passed - passed / 1_000 * self.drift / 1_000;
        self.zero + self.stood + undrifted.max(0) as u64
    }
}

/// What the kernel holds. It lives until the power goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct DataPlane {
    pub lease: Lease,
    pub owned_since: Instant,
    pub promised: Instant,
    /// The daemon's last sign of life.
    pub life: Instant,
    /// Planted: "endless" is written whether the box owns or not.
    pub plain_endless: bool,
    /// Renewals are written whether the box owns or not.
    pub plain_renewals: bool,
}

impl DataPlane {
    /// Writes; tells whether the box owns now and did not before.
    pub fn set(&mut self, now: Instant, lease: Lease) -> bool {
        let owned = self.lease.owns(now);
        self.lease = lease;
        let begins = !owned && lease.owns(now);
        if begins {
            self.owned_since = now;
        }
        begins
    }

    pub fn renew(&mut self, now: Instant, end: Instant) -> bool {
        if self.plain_renewals || self.lease.owns(now) { self.set(now, Lease::Until(end)) } else { false }
    }

    pub fn make_endless(&mut self, now: Instant) -> bool {
        if self.plain_endless || self.lease.owns(now) { self.set(now, Lease::Endless) } else { false }
    }

    pub fn answer(&self, now: Instant) -> (LeaseLeft, Span) {
        let left = self.lease.left(now);
        let age = if left == LeaseLeft::None { Span::ZERO } else { now.since(self.owned_since) };
        (left, age)
    }

    pub fn release(&mut self, now: Instant) {
        if now.since(self.life) >= LIFELESS {
            self.lease = Lease::None;
        }
    }
}

/// What came while the daemon could not look.
#[derive(Clone, Copy, Debug)]
pub enum Waiting {
    Heartbeat { path: usize, slot: u32 },
    Answer { path: usize, nonce: u64, from: BoxId, lease: LeaseLeft, age: Span },
    Asked,
}

#[derive(Debug, Default)]
pub struct Machine {
    pub on: bool,
    /// The whole machine stands still; its clock goes on.
    pub frozen: bool,
    pub clock: Clock,
    pub plane: DataPlane,
    pub daemon: Option<Box<Election>>,
    pub stopped: bool,
    /// Since when it is stopped or stands still.
    pub paused_at: u64,
    pub inbox: Vec<Waiting>,
    /// Computed, and not carried out yet.
    pub pending: Vec<Action>,
    pub busy_until: Option<u64>,
    /// The thread may stall for up to so long between computing and doing.
    pub late_writes: u64,
    /// It stalls for so long before it writes the next endless lease.
    pub late_endless: u64,
    pub timers_first: bool,
    /// World time at which a tick is scheduled.
    pub tick_at: u64,
    pub boots: u32,
    pub starts: u32,
    pub inputs: Inputs,
    pub settings: Option<Settings>,
    pub maintenance: bool,
    /// A restart was allowed, and the daemon is about to exit.
    pub exits: u32,
}

impl Machine {
    pub fn now(&self, world: u64) -> Instant {
        self.clock.local(world)
    }

    pub fn owns(&self, world: u64) -> bool {
        self.on && self.plane.lease.owns(self.now(world))
    }

    pub fn start_daemon(&mut self, world: u64, booted: bool, flaw: Option<Flaw>) {
        let Some(mut settings) = self.settings else { return };
        self.starts += 1;
        settings.incarnation = Incarnation { boot: self.boots, start: self.starts };
        settings.booted = booted;
        let now = self.now(world);
        let owned = now.since(self.plane.owned_since);
        let mut election = Election::new(settings, self.inputs, now, self.plane.lease, owned, self.plane.promised);
        if let Some(flaw) = flaw {
            election.plant(flaw);
        }
        self.daemon = Some(Box::new(election));
        self.stopped = false;
        self.inbox.clear();
        self.pending.clear();
        self.busy_until = None;
        self.tick_at = u64::MAX;
    }

    pub fn kill(&mut self) {
        self.daemon = None;
        self.stopped = false;
        self.inbox.clear();
        self.pending.clear();
        self.busy_until = None;
    }

    pub fn runs(&self) -> bool {
        self.on && !self.frozen && !self.stopped && self.busy_until.is_none() && self.daemon.is_some()
    }
}

pub fn settings(id: u64, peer: u64, timers: Timers) -> Settings {
    let mut settings = Settings::new(BoxId(id), BoxId(peer), Incarnation::default(), timers);
    settings.detection = Span::from_secs(2);
    settings.preempt_delay = Span::from_secs(2);
    settings
}

pub fn good_inputs() -> Inputs {
    Inputs {
        synced: true,
        drained: true,
        fault: false,
        ready: true,
        healthy_pools: 5,
        gateway_seen: true,
        busy_magnitude: 5,
        config_revision: 1,
    }
}
