//! Two owners that meet: one of them lets go.

use super::{Action, Alarm, Election};
use crate::pair::heartbeat::{FrozenRank, Heartbeat};

impl Election {
    /// We own and hear the peer. `owned`: its heartbeat before this one said that it owns.
    pub(super) fn meet(&mut self, heartbeat: &Heartbeat, owned: bool) {
        if !heartbeat.owns {
            let held_on = self.frozen.take().is_some();
            let worth = self.claim.and_then(|claim| self.lease_by(heartbeat, claim));
            if held_on && worth.is_none() {
                // It had let go before: what we held on for was no split any more.
                self.yield_lease();
                self.claim = Some(self.now);
                return;
            }
            if owned {
                // Neighbours may have learnt its MAC last.
                self.announce_again();
            }
            return;
        }
        if self.frozen.is_none() {
            // Both compare the same two values, whatever happens to their inputs meanwhile.
            let owned = self.owned_since.map_or(0, |since| self.now.since(since).as_millis() / 1_000);
            let rank = FrozenRank {
                healthy_pools: self.inputs.healthy_pools,
                gateway_seen: self.inputs.gateway_seen,
                busy_magnitude: self.inputs.busy_magnitude,
                owned_s: u32::try_from(owned).unwrap_or(u32::MAX),
                id: self.settings.id,
            };
            self.frozen = Some((self.now, rank));
            self.act(Action::Alarm(Alarm::TwoOwners));
            self.send_now = true;
        }
        if let (Some((_, ours)), Some(theirs)) = (self.frozen, heartbeat.frozen)
            && theirs > ours
        {
            self.yield_lease();
        }
    }

    /// An owner that hears the other and is not heard cannot win: it yields.
    pub(super) fn settle_split(&mut self) {
        let Some((seen, _)) = self.frozen else { return };
        if !self.owns() || !self.peer.owns() || !self.peer_fresh() {
            self.frozen = None;
        } else if self.now >= seen + self.settings.timers.dead && !self.peer_hears_us() {
            self.yield_lease();
        }
    }
}
