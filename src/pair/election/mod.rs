//! Who of the pair owns: one state machine for election and lease, without I/O and without a clock.
//!
//! ```text
//!                    holds the peer's state              nobody owns: asks the peer
//!        ┌────── init ──────────────────────> standby ────────────────────────────> claiming
//!        │         │                          ^  │  ^   <──────────────────────────   │  ^
//!  start │         │ peer silent, and its     │  │  │    the peer owns, or has the    │  │
//!        │         │ data plane too           │  │  │    better claim: promises       │  │ lease over:
//!        │         v                          │  │  │                                 │  │ no echo came
//!        └──> (lease adopted) ──> active <────┼──┘  │ silent; or granted    promised  v  │
//!                                   ^ │       │     └───────────────────────> active ─────┘
//!                                   │ └───────┘ hand-over (grant); the other of two owners is better
//!                                   └── all of these but init also go to, and come back from:
//!                                       fault (an input), maintenance (a command), leaving (a restart)
//! ```
//!
//! The lease is what owning is. The data plane holds it and judges every packet by it; this machine only says how
//! long it shall be. It rests on one of:
//! - a *promise*: the peer has echoed one of our heartbeats and will not own for a while (`promise.rs`),
//! - *silence*: nothing was heard of the peer, and its data plane does not own (`silence.rs`),
//! - a *grant* of the peer, in a hand-over (`handover.rs`).
//!
//! `split.rs` has what happens when two owners meet. The rules and why they are so: `docs/high-availability.md`.
//!
//! # Driving it
//! A thread calls [`Election::handle`] with what happens, and with [`Event::Tick`] at [`Election::next_deadline`],
//! and carries out the actions in their order. Before every call it marks its life in the data plane and reads the
//! lease there. Before a tick it empties its sockets.

mod event;
mod handover;
mod peer;
mod promise;
mod silence;
mod split;
mod status;

#[cfg(test)]
mod election_tests;

pub use event::{Action, Alarm, Command, Counters, Event, Inputs, Lease, PathId, Serve, Settings, Status};

use crate::pair::heartbeat::{Echo, FrozenRank, Heartbeat, LeaseLeft, Rank, State};
use crate::pair::time::{Instant, Span};
use crate::pair::timers::SOLO_ENDLESS_AFTER;
use handover::HandOver;
use peer::{Admission, Peer};
use promise::Promise;
use silence::Questions;
use status::Told;

/// A box that has lost its lease serves the flows that it knows for so long: most gaps are shorter.
const SERVE_KNOWN: Span = Span::from_secs(2);
/// A solo owner cannot see whether another announced itself meanwhile: it announces again so often.
const ANNOUNCE_SOLO_EVERY: Span = Span::from_secs(5);

/// Faults that the simulation must find. Outside of tests there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    LeaseFromSending,
    NoWaitAfterPause,
    ClaimWithoutQuestion,
    NoSecondAnnouncement,
}

/// One box's half of the pair.
#[derive(Clone, Debug)]
pub struct Election {
    settings: Settings,
    inputs: Inputs,
    /// Of the call under way, and the lease as it will be after the actions so far.
    now: Instant,
    held: Lease,
    actions: Vec<Action>,
    deadline: Instant,

    born: Instant,
    /// The end of the newest pause of our own; the start, if there was none.
    resumed: Instant,
    state: State,
    since: Instant,
    owned_since: Option<Instant>,
    maintenance: bool,
    last_sent: Option<Instant>,
    send_now: bool,
    announced: Instant,

    peer: Peer,
    /// Echoes of stamps from here on renew the lease. `None`: no claim.
    claim: Option<Instant>,
    /// When a claim ended last. What was promised or granted on older stamps is void.
    voided: Instant,
    /// Owner by silence, since then.
    solo: Option<Instant>,
    /// Let go as an owner by silence. Until the peer has heard of it, it may take us for an owner still.
    yielded: Option<Instant>,
    want_endless: bool,
    /// The first heartbeat that said "endless" to a peer in no state to own.
    endless_said: Option<Instant>,
    promise: Promise,
    questions: Questions,
    frozen: Option<(Instant, FrozenRank)>,
    handover: HandOver,
    told: Told,
    counters: Counters,
    #[cfg(test)]
    flaw: Option<Flaw>,
}

impl Election {
    /// Begins, or goes on where another daemon of this boot stopped: with the lease that the data plane holds, since
    /// when it owns, and the promise that was pinned (an instant that has passed: none).
    pub fn new(settings: Settings, inputs: Inputs, now: Instant, held: Lease, owned: Span, promised: Instant) -> Self {
        let owns = held.owns(now);
        Self {
            settings,
            inputs,
            now,
            held,
            actions: Vec::new(),
            deadline: now,
            born: now,
            resumed: now,
            state: if owns { State::Active } else { State::Init },
            since: now,
            owned_since: owns.then(|| now - owned),
            maintenance: false,
            last_sent: None,
            send_now: false,
            announced: now,
            peer: Peer::default(),
            claim: owns.then_some(now),
            voided: now,
            solo: (held == Lease::Endless).then_some(now),
            yielded: None,
            want_endless: false,
            endless_said: None,
            promise: Promise::adopted(promised),
            questions: Questions::default(),
            frozen: None,
            handover: HandOver::new(now, settings.hold),
            told: Told::default(),
            counters: Counters::default(),
            #[cfg(test)]
            flaw: None,
        }
    }

    /// Takes notice of one event. `held` is the lease as the data plane holds it now. Actions are appended.
    pub fn handle(&mut self, now: Instant, held: Lease, event: Event<'_>, actions: &mut Vec<Action>) {
        self.now = self.now.max(now);
        self.held = held;
        std::mem::swap(&mut self.actions, actions);
        if self.settings.peer.is_some() {
            self.notice_pause(matches!(event, Event::Resumed));
            self.notice_loss();
            self.take(event);
            self.settle();
        } else {
            self.take(event);
            self.settle_alone();
        }
        std::mem::swap(&mut self.actions, actions);
    }

    /// When to call with [`Event::Tick`], if nothing happens before.
    pub fn next_deadline(&self) -> Instant {
        self.deadline
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Tick | Event::Resumed => {}
            Event::Speak => self.send_now = true,
            Event::Heartbeat { path: _, heartbeat } => self.hear(heartbeat),
            Event::Answer { path: _, nonce, from, lease, age } => self.answered(nonce, from, lease, age),
            Event::Asked => self.questions.asked = Some(self.now),
            Event::Inputs(inputs) => self.inputs = inputs,
            Event::Command(command) => self.command(command),
            Event::Fenced { ok } => self.fenced(ok),
        }
    }

    /// A gap in our own running: what was heard before it says nothing about now.
    fn notice_pause(&mut self, told: bool) {
        let late = self.now.since(self.deadline);
        if !told && late <= self.settings.timers.heartbeat * 2 {
            return;
        }
        self.counters.pauses += 1;
        self.act(Action::Alarm(Alarm::Paused(late)));
        if self.flawed(Flaw::NoWaitAfterPause) {
            return;
        }
        self.resumed = self.now;
        self.questions.begin_anew();
    }

    /// The lease has ended since the last call: it ran out, or the data plane was told to let go.
    fn notice_loss(&mut self) {
        if self.owned_since.is_some() && !self.held.owns(self.now) {
            self.act(Action::Serve { what: Serve::Known, until: self.now + SERVE_KNOWN });
            self.yielded = self.solo.map(|_| self.now).or(self.yielded);
            self.no_longer_owner();
        }
    }

    fn hear(&mut self, heartbeat: &Heartbeat) {
        let before = self.peer.last;
        let was_silent = !self.peer_fresh();
        match self.peer.admit(heartbeat, self.now, self.settings.incarnation, &self.settings.timers) {
            Admission::Overtaken => {
                self.counters.overtaken += 1;
                return;
            }
            Admission::Stale => {
                self.counters.stale += 1;
                return;
            }
            Admission::Counts => self.counters.heard += 1,
        }
        self.questions.begin_anew();
        if self.owns() {
            if was_silent {
                // It may have owned while it was not heard.
                self.announce_again();
            }
            self.meet(heartbeat, before.is_some_and(|before| before.owns));
        }
        self.consider_promise(heartbeat);
        self.use_promise(heartbeat);
        self.take_grant(heartbeat);
        self.repeat_grant(heartbeat);
    }

    /// All that follows from the state as it is now.
    fn settle(&mut self) {
        self.settle_split();
        self.settle_endless();
        self.settle_handover();
        self.settle_claim();
        self.settle_questions();
        self.settle_silence();
        self.settle_solo();
        self.enter(self.right_state());
        self.tell();
        if self.send_now || self.heartbeat_due() {
            self.send();
        }
        self.settle_exit();
        self.deadline = self.deadline_from_now();
    }

    /// No pair: the lease has no end, unless an operator wants nothing owned.
    fn settle_alone(&mut self) {
        let wants = !self.maintenance;
        if !wants && self.owns() {
            self.drop_lease();
        } else if wants && self.held != Lease::Endless {
            if !self.owns() {
                self.own_until(self.now + self.settings.timers.lease);
            }
            self.held = Lease::Endless;
            self.act(Action::MakeEndless);
        }
        if self.handover.leaving.take().is_some() {
            self.act(Action::Exit);
        }
        self.enter(self.right_state());
        self.deadline = self.now + SOLO_ENDLESS_AFTER;
    }

    fn right_state(&self) -> State {
        if self.owns() {
            State::Active
        } else if self.maintenance {
            State::Maintenance
        } else if self.handover.leaving.is_some() {
            State::Leaving
        } else if self.inputs.fault {
            State::Fault
        } else if self.claim.is_some() {
            State::Claiming
        } else if self.inputs.synced {
            State::Standby
        } else {
            State::Init
        }
    }

    fn enter(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            self.since = self.now;
            // A change is told at once.
            self.send_now = true;
        }
    }

    fn deadline_from_now(&self) -> Instant {
        let heartbeat = self.last_sent.map_or(self.now, |sent| sent + self.heartbeat_interval());
        let promised = Some(self.promise.until).filter(|until| *until > self.now);
        let others = [self.held.end(self.now), promised, self.next_of_silence()];
        others.into_iter().flatten().fold(heartbeat, Instant::min)
    }

    /// One that answers an owner's heartbeats sends one of its own only when there was nothing to answer.
    fn heartbeat_interval(&self) -> Span {
        let interval = self.settings.timers.heartbeat;
        if self.promise.given.is_some() { Span(interval.0 / 2 * 3) } else { interval }
    }

    fn heartbeat_due(&self) -> bool {
        self.last_sent.is_none_or(|sent| self.now >= sent + self.heartbeat_interval())
    }

    // What the rules are made of.

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn owns(&self) -> bool {
        self.held.owns(self.now)
    }

    /// May own at all.
    fn may_own(&self) -> bool {
        !self.inputs.fault && !self.maintenance && self.handover.leaving.is_none()
    }

    /// Heard within the dead interval, and not before a pause of our own.
    fn peer_fresh(&self) -> bool {
        self.peer.heard.is_some_and(|heard| heard >= self.resumed && self.now.since(heard) < self.settings.timers.dead)
    }

    fn peer_hears_us(&self) -> bool {
        self.peer.echoed.is_some_and(|echoed| self.now.since(echoed) < self.settings.timers.dead)
    }

    fn rank(&self) -> Rank {
        Rank {
            ready: self.inputs.ready && self.inputs.synced && self.may_own() && !self.differs_from_owner(),
            healthy_pools: self.inputs.healthy_pools,
            gateway_seen: self.inputs.gateway_seen,
            priority: self.settings.priority,
            id: self.settings.id,
        }
    }

    /// The peer owns, and has another configuration: it is not to hand over to this box. When it is gone, this box
    /// serves by what it has all the same.
    fn differs_from_owner(&self) -> bool {
        let owner = self.peer.last.filter(|last| last.owns && !self.owns() && self.peer_fresh());
        owner.is_some_and(|owner| owner.config_revision != self.inputs.config_revision)
    }

    fn set_lease(&mut self, end: Instant) {
        let owns = self.held.owns(self.now);
        self.held = Lease::Until(end);
        self.act(if owns { Action::Renew(end) } else { Action::SetLease(end) });
    }

    /// Renews, or begins to own.
    fn own_until(&mut self, end: Instant) {
        self.set_lease(end);
        if self.owned_since.is_none() {
            self.owned_since = Some(self.now);
            self.counters.became_owner += 1;
            self.handover.owner_changed(self.now, self.settings.hold);
            self.promise.forget_given();
            self.announce();
            self.send_now = true;
        }
    }

    fn drop_lease(&mut self) {
        self.held = Lease::None;
        self.act(Action::DropLease);
        self.void_claim();
        self.no_longer_owner();
        self.send_now = true;
    }

    /// Lets go because of another owner, or because there may be one.
    fn yield_lease(&mut self) {
        self.drop_lease();
        self.yielded = Some(self.now);
    }

    fn no_longer_owner(&mut self) {
        self.owned_since = None;
        self.solo = None;
        self.frozen = None;
        self.want_endless = false;
        self.endless_said = None;
        self.questions.begin_anew();
    }

    fn void_claim(&mut self) {
        self.claim = None;
        self.voided = self.now;
    }

    fn announce(&mut self) {
        self.announced = self.now;
        self.act(Action::Announce);
    }

    fn announce_again(&mut self) {
        if !self.flawed(Flaw::NoSecondAnnouncement) {
            self.announce();
        }
    }

    fn send(&mut self) {
        // A stamp is strictly newer than the last one's, whatever the clock's grain.
        let stamp = self.last_sent.map_or(self.now, |sent| self.now.max(Instant(sent.0 + 1)));
        if self.want_endless && self.endless_said.is_none() {
            self.endless_said = Some(stamp);
        }
        let heard = self.peer.last.map(|last| Echo { incarnation: last.incarnation, stamp: last.stamp });
        let heartbeat = Heartbeat {
            // Whoever sends it knows these two.
            uplink_open: false,
            crossed: false,
            incarnation: self.settings.incarnation,
            stamp: stamp.stamp(),
            echo: heard,
            state: self.state,
            owns: self.owns(),
            solo: self.owns() && self.solo.is_some(),
            promise: self.promise.given,
            lease: if self.want_endless { LeaseLeft::Endless } else { self.held.left(self.now) },
            ready: self.rank().ready,
            rank: self.rank(),
            frozen: self.frozen.map(|(_, rank)| rank),
            grant: self.handover.granting(),
            extend: self.extension_wanted(),
            want: self.wants_ownership(),
            pools_healthy: self.inputs.healthy_pools,
            config_revision: self.inputs.config_revision,
        };
        self.last_sent = Some(stamp);
        self.send_now = false;
        self.counters.sent += 1;
        self.act(Action::Send(heartbeat));
        if self.flawed(Flaw::LeaseFromSending) && self.owns() && self.solo.is_none() && self.peer_fresh() {
            self.set_lease(stamp + self.settings.timers.lease);
        }
    }

    #[cfg(test)]
    fn flawed(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    #[cfg(not(test))]
    const fn flawed(&self, _: Flaw) -> bool {
        false
    }

    #[cfg(test)]
    pub(crate) fn plant(&mut self, flaw: Flaw) {
        self.flaw = Some(flaw);
    }
}
