//! Promises: what is given to an owner or claimer, and the lease that rests on what the peer gives.

use super::{Action, Election};
use crate::pair::heartbeat::{Heartbeat, Incarnation, LeaseLeft, State};
use crate::pair::time::{Instant, Span};
use crate::pair::timers::{EXTENSION_MAX, LEASE_MARGIN};

/// Our own promise not to own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Promise {
    pub until: Instant,
    /// The part of it that belongs to a grant: the peer may take it up though it says now that it owns nothing.
    firm_until: Instant,
    /// What is said with the echo of the peer's newest heartbeat.
    pub given: Option<Span>,
    /// Given in this life. One that a former daemon gave ends early only for a heartbeat that answers ours.
    ours: bool,
}

impl Promise {
    pub fn adopted(until: Instant) -> Self {
        Self { until, ..Self::default() }
    }

    pub fn forget_given(&mut self) {
        self.given = None;
    }
}

impl Election {
    /// Rule 1. Promises if the peer owns or has the better claim; lets go of a promise that has lost its object.
    pub(super) fn consider_promise(&mut self, heartbeat: &Heartbeat) {
        let claims = heartbeat.state == State::Claiming;
        let ours_is_better = self.claim.is_some() && !heartbeat.owns && self.rank() > heartbeat.rank;
        if self.owns() || !(heartbeat.owns || claims) || ours_is_better {
            self.promise.given = None;
            // At the time of its stamp the peer neither owned nor claimed: no lease can rest on what was promised
            // on older stamps.
            if !heartbeat.owns
                && !claims
                && (self.promise.ours || heartbeat_answers(heartbeat, self.settings.incarnation))
            {
                self.release_promise();
            }
            return;
        }
        let length = heartbeat.extend.map_or(self.settings.timers.dead, |extension| extension.min(EXTENSION_MAX));
        self.give_promise(length.max(self.settings.timers.dead));
        self.send_now = true;
    }

    /// Promises from now on, on the newest heartbeat of the peer. The caller sends it.
    fn give_promise(&mut self, length: Span) {
        self.void_claim();
        self.promise.until = self.promise.until.max(self.now + length);
        self.promise.given = Some(length);
        self.promise.ours = true;
        self.act(Action::KeepPromise(self.promise.until));
    }

    /// A promise that the peer may take up as a grant, whatever it said last.
    pub(super) fn give_grant(&mut self) {
        let length = self.settings.timers.dead;
        self.give_promise(length);
        self.promise.firm_until = self.promise.firm_until.max(self.now + length);
    }

    fn release_promise(&mut self) {
        let until = self.promise.firm_until.max(self.now);
        if self.promise.until > until {
            self.promise.until = until;
            self.act(Action::KeepPromise(until));
        }
    }

    /// Rule 2. A lease from the stamp that came back with a promise, if the claim is no younger.
    pub(super) fn use_promise(&mut self, heartbeat: &Heartbeat) {
        let Some(claim) = self.claim else { return };
        let Some(end) = self.lease_by(heartbeat, claim) else { return };
        let renews = match self.held.left(self.now) {
            LeaseLeft::Endless => false,
            LeaseLeft::None | LeaseLeft::Finite(_) => self.held.end(self.now).is_none_or(|held| end > held),
        };
        if renews && self.promise.until <= self.now {
            self.own_until(end);
        }
        if heartbeat.promise.is_some_and(|length| length >= EXTENSION_MAX) {
            self.handover.extended = true;
        }
    }

    /// A grant is a promise that also frees from our own.
    pub(super) fn take_grant(&mut self, heartbeat: &Heartbeat) {
        if !heartbeat.grant || self.owns() || !self.may_own() {
            return;
        }
        let Some(end) = self.lease_by(heartbeat, self.voided) else { return };
        self.claim = heartbeat.echo.map(|echo| echo.stamp.own());
        self.promise.until = self.now;
        self.promise.firm_until = self.now;
        self.act(Action::KeepPromise(self.now));
        self.own_until(end);
    }

    /// The end of the lease that this heartbeat's promise is good for; `None` if it is good for nothing.
    pub(super) fn lease_by(&self, heartbeat: &Heartbeat, not_before: Instant) -> Option<Instant> {
        let promised = heartbeat.promise?;
        let echo = heartbeat.echo.filter(|echo| echo.incarnation == self.settings.incarnation)?;
        let sent = echo.stamp.own();
        if sent < not_before || sent > self.now {
            return None;
        }
        let usable = promised.saturating_sub(LEASE_MARGIN);
        let length = match self.extension_wanted() {
            Some(_) => usable.min(EXTENSION_MAX),
            None => usable.min(self.settings.timers.lease),
        };
        Some(sent + length).filter(|end| *end > self.now)
    }

    /// Rule 6. Nobody owns, and the peer is heard: ask for its promise.
    pub(super) fn settle_claim(&mut self) {
        if self.owns() {
            return;
        }
        if !self.may_own() {
            if self.claim.is_some() {
                self.void_claim();
            }
            return;
        }
        let nobody_owns = self.peer.last.is_some_and(|last| !last.owns && last.lease == LeaseLeft::None);
        if self.claim.is_some() || !self.peer_fresh() || !nobody_owns || self.promise.until > self.now {
            return;
        }
        // One that does not hold its peer's state leaves it to the peer, if that could own.
        let peer_could = self.peer.last.is_some_and(|last| last.state == State::Standby);
        if self.inputs.synced || !peer_could {
            self.claim = Some(self.now);
            self.promise.given = None;
        }
    }

    /// Back to a lease that ends. The peer waits long for one whose last word was "endless", but not longer.
    fn end_endless(&mut self) {
        let timers = &self.settings.timers;
        let peer_waits = self.peer.echoed.map(|echoed| echoed + timers.long_silence().saturating_sub(LEASE_MARGIN));
        let end = (self.now + timers.lease).min(peer_waits.unwrap_or(self.now));
        if end > self.now {
            self.set_lease(end);
        } else {
            self.drop_lease();
        }
    }

    /// Rule 4. While the peer is in no state to own, a lease that ends helps nobody.
    pub(super) fn settle_endless(&mut self) {
        if !self.owns() {
            return;
        }
        self.want_endless = self.solo.is_none() && self.peer_fresh() && self.peer_hears_us() && self.peer.unfit();
        if self.want_endless {
            let echoed = self.endless_said.is_some_and(|said| self.peer.echoed.is_some_and(|echoed| echoed >= said));
            if echoed && self.held != super::Lease::Endless {
                self.held = super::Lease::Endless;
                self.act(Action::MakeEndless);
            }
        } else {
            self.endless_said = None;
            if self.held == super::Lease::Endless && self.solo.is_none() {
                self.end_endless();
            }
        }
    }
}

fn heartbeat_answers(heartbeat: &Heartbeat, me: Incarnation) -> bool {
    heartbeat.echo.is_some_and(|echo| echo.incarnation == me)
}
