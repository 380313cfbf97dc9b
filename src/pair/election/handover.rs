//! Ownership that changes on purpose: hand-over, preemption, maintenance, planned restart.

use super::{Action, Alarm, Command, Election, Lease, SERVE_KNOWN, Serve};
use crate::pair::heartbeat::{Heartbeat, LeaseLeft, State};
use crate::pair::time::{Instant, Span};
use crate::pair::timers::EXTENSION_MAX;

/// The old owner of a hand-over serves everything that still comes to its MAC for so long.
const SERVE_ALL: Span = Span::from_secs(10);
/// A lease of so long must be left when the daemon exits.
const RESTART_NEEDS: Span = Span::from_secs(1);
/// A hand-over that was ordered waits so long for what is streamed to arrive.
const DRAIN_MAX: Span = Span::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub(super) struct HandOver {
    /// Ordered, and until when it waits for the stream to the peer.
    ordered: Option<Instant>,
    /// Granting until then, or until the peer owns.
    granting: Option<Instant>,
    /// No hand-over by itself before.
    hold_until: Instant,
    /// Since when the peer has seen more than we do, while we own.
    peer_better_since: Option<Instant>,
    /// Since when our rank has been better than the owner's.
    better_since: Option<Instant>,
    /// A restart was ordered, then.
    pub leaving: Option<Instant>,
    /// The peer has promised for the time of the restart.
    pub extended: bool,
    /// Heartbeats that we sent since the owner said that its lease is endless.
    endless_heard: u32,
}

impl HandOver {
    pub fn new(now: Instant, hold: Span) -> Self {
        Self {
            ordered: None,
            granting: None,
            hold_until: now + hold,
            peer_better_since: None,
            better_since: None,
            leaving: None,
            extended: false,
            endless_heard: 0,
        }
    }

    pub fn granting(&self) -> bool {
        self.granting.is_some()
    }

    pub fn owner_changed(&mut self, now: Instant, hold: Span) {
        self.hold_until = now + hold;
        self.peer_better_since = None;
        self.better_since = None;
        self.granting = None;
    }
}

impl Election {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::HandOver => {
                if self.owns() && self.peer_could_own() {
                    self.handover.ordered = Some(self.now + DRAIN_MAX);
                } else if self.owns() {
                    self.act(Action::Alarm(Alarm::HandOverImpossible));
                }
            }
            Command::Maintenance(on) => {
                self.maintenance = on;
                if on && self.owns() && !self.peer_could_own() && self.settings.peer.is_some() {
                    // It goes on owning until the peer can.
                    self.act(Action::Alarm(Alarm::HandOverImpossible));
                }
            }
            Command::Restart => {
                self.handover.leaving = Some(self.now);
                self.handover.extended = false;
                self.handover.endless_heard = 0;
                self.send_now = true;
            }
        }
    }

    /// The peer is heard, hears us, and could own well.
    fn peer_could_own(&self) -> bool {
        self.peer_fresh()
            && self.peer_hears_us()
            && self.peer.last.is_some_and(|last| last.ready && !last.owns && last.state == State::Standby)
    }

    /// Hands over if there is a reason and the peer is able to.
    pub(super) fn settle_handover(&mut self) {
        if self.handover.granting.is_some_and(|until| self.now >= until) {
            self.handover.granting = None;
        }
        self.weigh();
        if !self.owns() {
            self.handover.ordered = None;
            return;
        }
        let must = self.inputs.fault || self.maintenance;
        let ordered = self.handover.ordered.is_some();
        let by_itself = self.now >= self.handover.hold_until
            && (self.stood(self.handover.peer_better_since, self.settings.detection * 2) || self.peer_asks_rightly());
        if !(must || ordered || by_itself) || self.solo.is_some() {
            return;
        }
        if !self.peer_could_own() || (!self.inputs.drained && !self.inputs.fault) {
            if self.handover.ordered.is_some_and(|until| self.now >= until || !self.peer_fresh()) {
                self.handover.ordered = None;
                self.act(Action::Alarm(Alarm::HandOverImpossible));
            }
            return;
        }
        self.grant();
    }

    fn grant(&mut self) {
        self.drop_lease();
        self.act(Action::Serve { what: Serve::All, until: self.now + SERVE_ALL });
        self.handover.owner_changed(self.now, self.settings.hold);
        self.handover.ordered = None;
        self.handover.granting = Some(self.now + self.settings.timers.dead);
        self.counters.handed_over += 1;
        self.give_grant();
    }

    /// The peer has not taken the grant up: it may not have come, or named too old a heartbeat.
    pub(super) fn repeat_grant(&mut self, heartbeat: &Heartbeat) {
        if !self.handover.granting() {
            return;
        }
        if heartbeat.owns || self.owns() {
            self.handover.granting = None;
        } else if self.handover.granting.is_some_and(|until| self.now < until) {
            self.give_grant();
            self.send_now = true;
        }
    }

    fn stood(&self, since: Option<Instant>, span: Span) -> bool {
        since.is_some_and(|since| self.now >= since + span)
    }

    /// Compares both boxes by what they see, and notes since when one has been better.
    fn weigh(&mut self) {
        let Some(peer) = self.peer.last.filter(|_| self.peer_fresh()) else {
            self.handover.peer_better_since = None;
            self.handover.better_since = None;
            return;
        };
        let ours = (self.inputs.healthy_pools, self.inputs.gateway_seen);
        let theirs = (peer.pools_healthy, peer.rank.gateway_seen);
        let peer_better = self.owns() && peer.ready && theirs > ours;
        let better = !self.owns()
            && peer.owns
            && self.settings.preempt
            && self.rank().ready
            && ours >= theirs
            && self.settings.priority > peer.rank.priority;
        let now = self.now;
        let note = |since: Option<Instant>, holds: bool| holds.then(|| since.unwrap_or(now));
        self.handover.peer_better_since = note(self.handover.peer_better_since, peer_better);
        self.handover.better_since = note(self.handover.better_since, better);
    }

    /// Preemption is asked for, never taken.
    pub(super) fn wants_ownership(&self) -> bool {
        self.stood(self.handover.better_since, self.settings.preempt_delay)
    }

    fn peer_asks_rightly(&self) -> bool {
        self.peer.last.is_some_and(|last| {
            let ours = (self.inputs.healthy_pools, self.inputs.gateway_seen);
            last.want && (last.pools_healthy, last.rank.gateway_seen) >= ours
        })
    }

    /// An owner that is about to restart asks for a promise of so long.
    pub(super) fn extension_wanted(&self) -> Option<Span> {
        self.handover.leaving.filter(|_| self.owns()).map(|_| EXTENSION_MAX)
    }

    /// A restart may be done when the lease covers it, or when the owner has made its own endless.
    pub(super) fn settle_exit(&mut self) {
        let Some(since) = self.handover.leaving else { return };
        let waited = self.now >= since + self.settings.timers.dead * 2;
        let exit = if self.owns() {
            let alone = self.held == Lease::Endless;
            let covered = self.handover.extended
                && self.held.end(self.now).is_some_and(|end| end.since(self.now) > RESTART_NEEDS);
            if waited && !alone && !covered {
                self.handover.leaving = None;
                self.act(Action::Alarm(Alarm::RestartRefused));
                return;
            }
            alone || covered
        } else {
            if self.peer.last.is_some_and(|last| last.owns && last.lease == LeaseLeft::Endless) {
                self.handover.endless_heard += 1;
            }
            waited || !self.peer.owns() || self.handover.endless_heard > 2
        };
        if exit {
            if self.owns() {
                // In force only if the lease should end while no daemon runs.
                self.act(Action::Serve { what: Serve::Known, until: self.now + EXTENSION_MAX + SERVE_KNOWN });
            }
            self.handover.leaving = None;
            self.act(Action::Exit);
        }
    }
}
