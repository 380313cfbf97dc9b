//! What operators see: the status, and alarms about things that last.

use super::{Action, Alarm, Election, Status};
use crate::pair::heartbeat::State;
use crate::pair::time::Span;

/// Alarms that have been told and still hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    silent: bool,
    deaf: bool,
    orphan: bool,
    filtered: bool,
    differs: bool,
}

impl Election {
    /// Tells what has begun since the last call. A thing that ends may be told again.
    pub(super) fn tell(&mut self) {
        let fresh = self.peer_fresh();
        let silent = !fresh && self.now.since(self.resumed) >= self.settings.timers.dead;
        let deaf = fresh && !self.peer_hears_us() && self.now.since(self.resumed) >= self.settings.timers.dead * 2;
        let differs = fresh && self.peer.last.is_some_and(|last| last.config_revision != self.inputs.config_revision);
        let now = Told { silent, deaf, orphan: self.sees_orphan(), filtered: self.only_heartbeats_missing(), differs };
        let before = std::mem::replace(&mut self.told, now);
        let news = [
            (before.silent, now.silent, Alarm::PeerSilent),
            (before.deaf, now.deaf, Alarm::PeerDeaf),
            (before.orphan, now.orphan, Alarm::Orphan),
            (before.filtered, now.filtered, Alarm::HeartbeatsFiltered),
            (before.differs, now.differs, Alarm::ConfigDiffers),
        ];
        for (_, _, alarm) in news.into_iter().filter(|(before, now, _)| *now && !before) {
            self.act(Action::Alarm(alarm));
        }
    }

    /// As of the last event.
    pub fn status(&self) -> Status {
        let owns = self.owns();
        let unready = self.unready();
        Status {
            state: self.state,
            since: self.since,
            owns,
            solo: owns && self.solo.is_some(),
            lease: self.held.left(self.now),
            peer_heard: self.peer.heard.map(|heard| self.now.since(heard)),
            peer: self.peer.last,
            peer_hears_us: self.peer.echoed.map(|echoed| self.now.since(echoed)),
            promised: if owns { Span::ZERO } else { self.promise.until.since(self.now) },
            ready: unready.is_none(),
            unready,
            counters: self.counters,
        }
    }

    fn unready(&self) -> Option<&'static str> {
        match self.state {
            _ if self.maintenance => Some("in maintenance"),
            _ if self.inputs.fault => Some("something that an owner needs is broken"),
            State::Leaving => Some("about to be restarted"),
            State::Active => None,
            _ if !self.inputs.synced => Some("does not hold the peer's state yet"),
            _ if self.differs_from_owner() => Some("its configuration is not the owner's"),
            _ if !self.inputs.ready => Some("not all that a good owner needs is there"),
            _ if !self.peer_fresh() => Some("the peer is silent: what it does is not known"),
            _ => None,
        }
    }
}
