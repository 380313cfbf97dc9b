//! The lease of the virtual addresses, as the daemon writes it and the program obeys it.
//!
//! ```text
//!            set_until               make_endless (in the kernel, while it owns)
//!   nothing ───────────> until T ───────────────────> endless
//!      ^                 │  ^  │                         │
//!      │ time runs out,  │  └──┘ renew_until             │
//!      │ drop_lease,     │<──────────────────────────────┤ renew_until
//!      │ hand_over       │                               │
//!      └─────────────────┴───────────────────────────────┘ drop_lease, hand_over,
//!                                                          the peer's token (in the kernel)
//! ```
//!
//! All words lie in shared memory and are written whole. A write takes no lock, so that the thread of the
//! heartbeats waits for nobody. There is one writer of the lease at a time: that thread, or before it starts and
//! when there is no pair, the daemon's loop. Times are CLOCK_BOOTTIME nanoseconds.

use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::DataPlaneError;
use super::kernel::{self, SharedArray};
use super::layout::*;
use super::loader::{Earlier, Loaded};
use super::question::PairId;
use super::release::Token;
use crate::config::Mac;
use crate::core::network::IfIndex;

/// XDP's verdict by which `lbd_endless` says that the lease is endless now.
const XDP_PASS: u32 = 2;

/// What this box holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    Nothing,
    /// Until this time, which is to come.
    Until(u64),
    Endless,
}

/// The state of the lease at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// CLOCK_BOOTTIME, as everything here.
    pub now: u64,
    pub lease: Lease,
    /// Since when this box owns without a gap; `None`: it does not own.
    pub owned_since: Option<u64>,
    /// The peer was promised that this box does not own before; 0: never.
    pub promised_until: u64,
    /// When a daemon showed life; 0: never.
    pub alive_at: u64,
    /// Somebody asked about the lease, and was answered; 0: nobody ever.
    pub asked_at: u64,
    /// The armed token was shown and not obeyed, at this time: it has been on the wire, arm another.
    pub token_shown_at: Option<u64>,
}

/// The way to the words of the lease. Cheap to make; every one sees the same words.
pub struct LeaseWriter {
    control: Arc<SharedArray<control>>,
    ownership: Arc<SharedArray<ownership>>,
    endless: OwnedFd,
    earlier: Option<Arc<Earlier>>,
}

impl LeaseWriter {
    pub(super) fn new(loaded: &Loaded) -> Result<Self, DataPlaneError> {
        let endless = loaded.endless.try_clone().map_err(|source| DataPlaneError::Lease { source })?;
        let (control, ownership) = (loaded.maps.control.clone(), loaded.maps.ownership.clone());
        Ok(Self { control, ownership, endless, earlier: loaded.earlier.clone() })
    }

    /// First words of maps that were just made: nothing, or what a data plane of another layout holds, whose
    /// place they will take.
    pub(super) fn begin(&self) {
        // Nobody ends by a token what we are about to replace: the next daemon would not hear of it.
        for half in [0, 8] {
            self.store_beside_earlier(offset_of!(ownership, token) + half, 0);
        }
        let held = self.earlier.as_ref().and_then(|earlier| lease_word(&earlier.control));
        let held = held.map_or(0, |word| word.load(Ordering::Acquire));
        let now = boottime_ns();
        if owns(held, now) {
            // Its age is not known in our words: it counts as young.
            self.store(offset_of!(ownership, owned_since), now);
            if let Some(word) = lease_word(&self.control) {
                word.store(held, Ordering::Release);
            }
        }
    }

    fn word(&self, offset: usize) -> Option<&AtomicU64> {
        self.ownership.word(0, offset)
    }

    fn load(&self, offset: usize) -> u64 {
        self.word(offset).map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn store(&self, offset: usize, value: u64) {
        if let Some(word) = self.word(offset) {
            word.store(value, Ordering::Release);
        }
    }

    fn lease(&self) -> u64 {
        lease_word(&self.control).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Puts a lease in place; what was there.
    fn swap_lease(&self, until: u64) -> u64 {
        self.store_in_earlier(until);
        lease_word(&self.control).map_or(0, |word| word.swap(until, Ordering::AcqRel))
    }

    /// The data plane of another layout serves by its own word.
    fn store_in_earlier(&self, until: u64) {
        if let Some(word) = self.earlier.as_ref().and_then(|earlier| lease_word(&earlier.control)) {
            word.store(until, Ordering::Release);
        }
    }

    fn store_beside_earlier(&self, offset: usize, value: u64) {
        let words = self.earlier.as_ref().and_then(|earlier| earlier.ownership.as_ref());
        if let Some(word) = words.and_then(|words| words.word(0, offset)) {
            word.store(value, Ordering::Release);
        }
    }

    /// What this box holds now, and what is known besides.
    pub fn read(&self) -> Reading {
        let until = self.lease();
        let now = boottime_ns();
        let lease = match until {
            LEASE_ENDLESS => Lease::Endless,
            until if until > now => Lease::Until(until),
            _ => Lease::Nothing,
        };
        let shown = self.load(offset_of!(ownership, token_shown_at));
        Reading {
            now,
            lease,
            owned_since: (lease != Lease::Nothing).then(|| self.load(offset_of!(ownership, owned_since))),
            promised_until: self.load(offset_of!(ownership, promised_until)),
            alive_at: self.load(offset_of!(ownership, alive_at)),
            asked_at: self.load(offset_of!(ownership, asked_at)),
            token_shown_at: (shown != 0).then_some(shown),
        }
    }

    /// This box owns until `until`, whatever it held: for a claim. Computed before it is written, it cannot come
    /// too late: a time that has passed owns nothing. When it runs out, known flows are served on for two seconds.
    pub fn set_until(&self, until: u64) {
        let before = boottime_ns();
        if !owns(self.lease(), before) {
            // First, so that nobody is told of an age that the new ownership does not have.
            self.store(offset_of!(ownership, owned_since), before);
        }
        let until = self.announce_end(until);
        let held = self.swap_lease(until);
        self.owned_from(held, before);
    }

    /// This box, which owns, does so until `until`, later or sooner than before. Refused (`false`) if it owns no
    /// longer: its lease has run out, or the peer has ended it by the token while the daemon was stopped. Show
    /// life first.
    pub fn renew_until(&self, until: u64) -> bool {
        let (held, before) = (self.lease(), boottime_ns());
        if !owns(held, before) {
            return false;
        }
        let Some(word) = lease_word(&self.control) else { return false };
        let until = self.announce_end(until);
        if word.compare_exchange(held, until, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return false;
        }
        self.store_in_earlier(until);
        self.owned_from(held, before);
        true
    }

    /// What comes with a lease that ends: the time thereafter.
    fn announce_end(&self, until: u64) -> u64 {
        let until = until.min(LEASE_ENDLESS - 1);
        self.store(offset_of!(ownership, serve_known_until), until.saturating_add(u64::from(SERVE_KNOWN_NS)));
        self.store(offset_of!(ownership, serve_all_until), 0);
        until
    }

    /// A lease has taken the place of `held`, which this box owned by at `before`: if it ran out in between,
    /// there may have been a gap, and the age begins anew.
    fn owned_from(&self, held: u64, before: u64) {
        let after = boottime_ns();
        if owns(held, before) && !owns(held, after) {
            self.store(offset_of!(ownership, owned_since), after);
        }
    }

    /// This box owns nothing any more. Known flows are served on for two seconds.
    pub fn drop_lease(&self) {
        let known = boottime_ns().saturating_add(u64::from(SERVE_KNOWN_NS));
        self.store(offset_of!(ownership, serve_known_until), known);
        self.store(offset_of!(ownership, serve_all_until), 0);
        self.swap_lease(0);
    }

    /// This box owns nothing any more, because its peer is about to. For `time` it goes on serving whatever is
    /// sent to its MAC, new flows too, and answers no ARP and no neighbour solicitation.
    pub fn hand_over(&self, time: Duration) {
        let until = boottime_ns().saturating_add(nanos(time));
        self.store(offset_of!(ownership, serve_known_until), until);
        self.store(offset_of!(ownership, serve_all_until), until);
        self.swap_lease(0);
    }

    /// A box that does not own serves nothing any more either.
    pub fn stop_serving(&self) {
        self.store(offset_of!(ownership, serve_all_until), 0);
        self.store(offset_of!(ownership, serve_known_until), 0);
    }

    /// Makes the lease endless if this box owns now, in the kernel, next to the clock: a decision that comes to
    /// be carried out after the lease has run out is refused (`false`). So it is while a data plane of another
    /// layout serves, whose lease cannot be changed so. Takes some microseconds.
    pub fn make_endless(&self) -> Result<bool, DataPlaneError> {
        if self.earlier.as_ref().is_some_and(|earlier| earlier.serves.load(Ordering::Acquire)) {
            return Ok(false);
        }
        let frame = [0u8; FRAME_MIN];
        let run = kernel::run(self.endless.as_fd(), &frame, None, 1);
        run.map(|run| run.verdict == XDP_PASS).map_err(|source| DataPlaneError::Lease { source })
    }

    /// Endless, whatever was before: without a pair, or by order. Nobody can end it by a token.
    pub(super) fn own_alone(&self) {
        let now = boottime_ns();
        if !owns(self.lease(), now) {
            self.store(offset_of!(ownership, owned_since), now);
        }
        self.disarm();
        self.set_pair(PairId::NONE, Mac::default());
        self.swap_lease(LEASE_ENDLESS);
    }

    /// Promises the peer not to own before `until`; 0 takes the promise back. A daemon that starts again reads it.
    pub fn promise(&self, until: u64) {
        self.store(offset_of!(ownership, promised_until), until);
    }

    /// The daemon is alive: as often as it sends heartbeats. An endless lease whose daemon showed no life for
    /// 1.5 s can be ended by the token.
    pub fn show_life(&self) {
        let now = boottime_ns();
        self.store(offset_of!(ownership, alive_at), now);
        self.store_beside_earlier(offset_of!(ownership, alive_at), now);
    }

    /// The pair that answers speak of, and the other box of it.
    pub fn set_pair(&self, pair: PairId, peer: Mac) {
        self.store(offset_of!(ownership, pair), pair.0);
        let [a, b, c, d, e, f] = peer.0;
        // A `struct l2`, untagged.
        self.store(offset_of!(ownership, peer), u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]));
    }

    /// For so long packets of connections that this box, when it owns, does not know go to the other one of the pair, by
    /// this port: it owned before, and serves on what it knows. Handshakes that were under way go on there, and what it
    /// had no time to tell of.
    pub fn pass_back(&self, time: Duration, port: IfIndex) {
        self.store(offset_of!(ownership, pass_back_until), 0);
        self.store(offset_of!(ownership, peer_port), port.into());
        self.store(offset_of!(ownership, pass_back_until), boottime_ns().saturating_add(nanos(time)));
    }

    /// Whoever shows this token may end the lease, once. Replaces an earlier one.
    pub fn arm(&self, token: &Token) {
        let [first, second] = token.words();
        self.disarm();
        self.store(offset_of!(ownership, token) + 8, second);
        self.store(offset_of!(ownership, token), first);
    }

    /// No token ends the lease.
    pub fn disarm(&self) {
        self.store(offset_of!(ownership, token), 0);
        self.store(offset_of!(ownership, token) + 8, 0);
        self.store(offset_of!(ownership, token_shown_at), 0);
    }
}

/// Bytes of the frame that a program of no frame is run on.
const FRAME_MIN: usize = 60;

fn lease_word(control: &SharedArray<control>) -> Option<&AtomicU64> {
    control.word(0, offset_of!(control, lease_until))
}

/// As `owns` in `bpf/lease.h`.
pub(super) fn owns(until: u64, now: u64) -> bool {
    until == LEASE_ENDLESS || now < until
}

/// CLOCK_BOOTTIME. A clock that cannot be read shows the end of time: nothing is owned then.
pub fn boottime_ns() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .map(|t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
        .unwrap_or(u64::MAX)
}
