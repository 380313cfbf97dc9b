//! Silence: when nothing is heard of the peer, its data plane is asked; what the answers, or their lack, allow.

use super::peer::outlasts;
use super::{ANNOUNCE_SOLO_EVERY, Action, Alarm, Election, Flaw, Serve};
use crate::pair::heartbeat::{BoxId, LeaseLeft};
use crate::pair::time::{Instant, Span};
use crate::pair::timers::{EXTENSION_MAX, SOLO_ENDLESS_AFTER};

/// Questions that must have stayed unanswered: usually; when the peer may own without end; when it surely did.
const UNANSWERED: u32 = 3;
const UNANSWERED_LONG: u32 = 20;
const UNANSWERED_ENDLESS: u32 = 60;
/// Where nothing is in a hurry, questions are so far apart: of a solo owner, and about an endless lease.
const ASK_SLOWLY: Span = Span::from_millis(100);
/// Between two orders to let go.
const RELEASE_EVERY: Span = Span::from_secs(1);
/// Ages of ownership that differ by less are taken for equal: the answer was under way.
const SAME_AGE: Span = Span::from_millis(50);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Questions {
    last: Option<Instant>,
    /// Sent since the last answer, or since the silence began.
    unanswered: u32,
    /// The newest question that was answered.
    answered: Option<Instant>,
    /// An answer in this silence said that the peer owns: when it came.
    owned: Option<Instant>,
    /// The first of the answers in a row that said "without end".
    endless_since: Option<Instant>,
    /// When the newest answer came, if it said that the peer does not own.
    free: Option<Instant>,
    /// An endless lease has ended: what that means may still be under way.
    not_before: Instant,
    released: Option<Instant>,
    /// The last question of the peer to our data plane.
    pub asked: Option<Instant>,
    /// Since when all that time alone decides allows a claim.
    due_since: Option<Instant>,
    fence: Fence,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fence {
    #[default]
    Idle,
    Running(Instant),
    Done,
}

impl Questions {
    /// A new silence: what was asked and answered in the last one counts no more.
    pub fn begin_anew(&mut self) {
        *self = Self { asked: self.asked, released: self.released, ..Self::default() };
    }
}

impl Election {
    /// From when on silence counts.
    fn silent_since(&self) -> Instant {
        self.peer.heard.map_or(self.resumed, |heard| heard.max(self.resumed))
    }

    /// How long the silence must be, and how many questions unanswered.
    fn silence_needed(&self) -> (Span, u32) {
        let timers = &self.settings.timers;
        let heard_since_pause = self.peer.heard.is_some_and(|heard| heard >= self.resumed);
        if (heard_since_pause || self.flawed(Flaw::NoWaitAfterPause))
            && !self.peer.may_be_endless()
            && !self.taken_for_owner()
        {
            (timers.dead, UNANSWERED)
        } else {
            (timers.long_silence(), UNANSWERED_LONG)
        }
    }

    /// The peer may have heard late that we own, and hold on to its own lease while ranks are compared.
    fn taken_for_owner(&self) -> bool {
        self.yielded.is_some_and(|yielded| self.peer.echoed.is_none_or(|echoed| echoed < yielded))
    }

    /// When time alone would allow a claim by silence (rules 7 and 8).
    fn due(&self) -> Instant {
        let timers = &self.settings.timers;
        let after_silence = self.silent_since() + self.silence_needed().0;
        let after_pause =
            if self.flawed(Flaw::NoWaitAfterPause) { Instant::default() } else { self.resumed + timers.dead * 2 };
        let after_boot = if self.settings.booted && self.peer.heard.is_none() {
            self.born + timers.dead * 2 + EXTENSION_MAX
        } else {
            Instant::default()
        };
        let known = self.peer.lease_until.max(self.promise.until).max(self.questions.not_before);
        after_silence.max(after_pause).max(after_boot).max(known)
    }

    fn asks_as_claimer(&self) -> bool {
        !self.owns() && self.may_own()
    }

    fn next_question(&self) -> Option<Instant> {
        let timers = &self.settings.timers;
        if self.owns() {
            self.solo?;
            return Some(self.questions.last.map_or(self.now, |last| last + ASK_SLOWLY));
        }
        if !self.asks_as_claimer() {
            return None;
        }
        let begin = self.silent_since() + timers.dead.saturating_sub(timers.question * 3);
        let step = if self.questions.endless_since.is_some() && self.questions.unanswered == 0 {
            ASK_SLOWLY
        } else {
            timers.question
        };
        Some(self.questions.last.map_or(begin, |last| (last + step).max(begin)))
    }

    /// Rules 9 and 11: the next question, if it is time for it.
    pub(super) fn settle_questions(&mut self) {
        if self.next_question().is_some_and(|at| at <= self.now) {
            self.ask();
        }
    }

    fn ask(&mut self) {
        // The time of sending is a nonce that needs no memory: no two questions are sent at one time.
        let nonce = self.now.0;
        self.questions.last = Some(self.now);
        self.questions.unanswered = self.questions.unanswered.saturating_add(1);
        self.counters.questions += 1;
        self.act(Action::Ask { nonce });
    }

    pub(super) fn answered(&mut self, nonce: u64, from: BoxId, lease: LeaseLeft, age: Span) {
        if self.settings.peer != Some(from) {
            self.act(Action::Alarm(Alarm::Stranger(from)));
            return;
        }
        let sent = Instant(nonce);
        // What was asked before this silence, or before a pause, says nothing about it.
        if sent > self.now || sent < self.born || (!self.owns() && sent < self.silent_since()) {
            return;
        }
        // Nor does an answer that a newer one has overtaken.
        if self.questions.answered.is_some_and(|newest| sent < newest) {
            return;
        }
        self.questions.answered = Some(sent);
        let news = self.questions.owned.is_none();
        self.counters.answers += 1;
        self.questions.unanswered = 0;
        self.questions.free = None;
        match lease {
            LeaseLeft::None => {
                // As of the sending: later it may have claimed.
                self.questions.free = Some(sent);
                self.questions.owned = None;
                if self.questions.endless_since.take().is_some() {
                    // An owner by silence that has just heard us lets go too, to own again by our promise.
                    self.questions.not_before = self.now + self.settings.timers.question * 3;
                    if self.owns() {
                        self.announce_again();
                    }
                }
            }
            LeaseLeft::Finite(left) => {
                self.questions.owned = Some(self.now);
                self.questions.endless_since = None;
                self.peer.lease_until = self.peer.lease_until.max(outlasts(self.now, left));
            }
            LeaseLeft::Endless => {
                self.questions.owned = Some(self.now);
                self.questions.endless_since.get_or_insert(self.now);
            }
        }
        if lease == LeaseLeft::None {
            return;
        }
        if self.owns() && self.solo.is_some() {
            self.other_owner(lease, age, news);
        } else if !self.owns() && self.claim.is_some() {
            // What the peer would promise now it would promise to one that has lost.
            self.void_claim();
        }
    }

    /// Rule 11. Two own, no heartbeat comes through, yet the data planes answer: the younger yields.
    fn other_owner(&mut self, lease: LeaseLeft, age: Span, news: bool) {
        if news {
            self.act(Action::Alarm(Alarm::TwoOwners));
        }
        let ours = self.owned_since.map_or(Span::ZERO, |since| self.now.since(since));
        let close = ours.saturating_sub(age).max(age.saturating_sub(ours)) < SAME_AGE;
        let younger = if close { self.settings.peer > Some(self.settings.id) } else { ours < age };
        if younger {
            self.yield_lease();
            // What it has just learnt is the first word of the silence that begins.
            self.questions.owned = Some(self.now);
            self.questions.endless_since = (lease == LeaseLeft::Endless).then_some(self.now);
        } else {
            // Its daemon yields by itself, if it lives.
            self.questions.endless_since.get_or_insert(self.now);
            self.release_peer();
        }
    }

    fn release_peer(&mut self) {
        if self.questions.released.is_none_or(|released| self.now >= released + RELEASE_EVERY) {
            self.questions.released = Some(self.now);
            self.act(Action::Release { nonce: self.now.0 });
        }
    }

    /// Rules 7, 8 and 10: claims when the silence is long enough and the questions have said enough.
    pub(super) fn settle_silence(&mut self) {
        if !self.asks_as_claimer() || self.now < self.due() {
            self.questions.due_since = None;
            return;
        }
        let due_since = *self.questions.due_since.get_or_insert(self.now);
        let timers = self.settings.timers;
        if let Some(since) = self.questions.endless_since {
            let silent_long = self.now >= self.silent_since() + self.settings.orphan_after;
            let owned_lately = self.questions.unanswered == 0;
            if owned_lately && silent_long && self.now > since {
                self.release_peer();
            }
        }
        let free = self.questions.free.is_some_and(|sent| self.now.since(sent) <= timers.question * 2);
        if !(free || self.unheard() || self.flawed(Flaw::ClaimWithoutQuestion)) {
            return;
        }
        // The peer asks too: its daemon lives, and one of the two must wait. Not for ever.
        let peer_asks = self.questions.asked.is_some_and(|asked| self.now.since(asked) <= timers.question * 4);
        let peer_first = self.settings.peer > Some(self.settings.id);
        if peer_asks && peer_first && self.now.since(due_since) < timers.dead * 2 {
            return;
        }
        if !free && !self.fenced_or_no_fence() {
            return;
        }
        self.claim_by_silence(free);
    }

    /// Enough questions have stayed unanswered, for long enough.
    fn unheard(&self) -> bool {
        let timers = &self.settings.timers;
        let needed = if self.questions.endless_since.is_some() { UNANSWERED_ENDLESS } else { self.silence_needed().1 };
        // The newest question has had no time to be answered.
        let newest = u32::from(self.questions.last.is_some_and(|last| self.now < last + timers.question));
        let silent = self.questions.owned.is_none_or(|owned| self.now >= owned + timers.dead);
        silent && self.questions.unanswered.saturating_sub(newest) >= needed
    }

    fn claim_by_silence(&mut self, free: bool) {
        if !free {
            self.act(Action::Alarm(Alarm::ClaimedUnheard));
        }
        self.claim = Some(self.now);
        self.solo = Some(self.now);
        self.own_until(self.now + self.settings.timers.lease);
        self.questions.begin_anew();
    }

    /// Rule 3: renews step by step, then for good; ends when the peer is heard.
    pub(super) fn settle_solo(&mut self) {
        let Some(since) = self.solo else { return };
        if !self.owns() {
            return;
        }
        if self.peer.heard.is_some_and(|heard| heard > since) {
            self.end_solo(since);
            return;
        }
        if self.held != super::Lease::Endless && self.heartbeat_due() {
            if self.now >= since + SOLO_ENDLESS_AFTER {
                self.held = super::Lease::Endless;
                self.act(Action::MakeEndless);
            } else {
                self.set_lease(self.now + self.settings.timers.lease);
            }
        }
        if self.now >= self.announced + ANNOUNCE_SOLO_EVERY {
            self.announce();
        }
    }

    /// The peer is heard. If it has not heard us, it may be about to claim by silence itself: only what it promises
    /// is worth a lease. To have that takes one round trip, in which we serve as if we owned.
    fn end_solo(&mut self, since: Instant) {
        self.solo = None;
        let worth = self.peer.last.zip(self.claim).and_then(|(last, claim)| self.lease_by(&last, claim));
        // Where two surely own already, the lower of the two lets go, and there is an owner all the time.
        let split = self.peer.surely_owns(since).then(|| self.now + self.settings.timers.lease);
        if let Some(end) = worth.or(split) {
            self.set_lease(end);
            self.announce_again();
            return;
        }
        self.yield_lease();
        self.act(Action::Serve { what: Serve::All, until: self.now + self.settings.timers.lease });
        match self.peer.last.filter(|last| last.owns) {
            Some(last) => self.consider_promise(&last),
            None => self.claim = Some(self.now),
        }
    }

    fn fenced_or_no_fence(&mut self) -> bool {
        let Some(timeout) = self.settings.fence else { return true };
        match self.questions.fence {
            Fence::Done => true,
            Fence::Idle => {
                self.questions.fence = Fence::Running(self.now);
                self.act(Action::Fence);
                false
            }
            Fence::Running(since) if self.now >= since + timeout => {
                self.fenced(false);
                true
            }
            Fence::Running(_) => false,
        }
    }

    pub(super) fn fenced(&mut self, ok: bool) {
        if matches!(self.questions.fence, Fence::Running(_)) {
            self.questions.fence = Fence::Done;
            if !ok {
                self.act(Action::Alarm(Alarm::FenceFailed));
            }
        }
    }

    /// The next instant at which silence may make a difference.
    pub(super) fn next_of_silence(&self) -> Option<Instant> {
        let question = self.next_question().map(|at| at.max(Instant(self.now.0 + 1)));
        let due = Some(self.due()).filter(|due| self.asks_as_claimer() && *due > self.now);
        [question, due].into_iter().flatten().min()
    }

    /// The peer's data plane owns without end, and nothing is heard of its daemon.
    pub(super) fn sees_orphan(&self) -> bool {
        self.questions.endless_since.is_some() && self.now >= self.silent_since() + self.settings.timers.dead * 4
    }

    /// Its data plane has answered in this silence.
    pub(super) fn only_heartbeats_missing(&self) -> bool {
        self.questions.released.is_some_and(|released| {
            self.questions.endless_since.is_some_and(|since| since < released)
                && self.now >= released + RELEASE_EVERY.saturating_sub(ASK_SLOWLY)
        })
    }
}
