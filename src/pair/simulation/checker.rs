//! What must hold, and what was seen.

use crate::pair::time::Span;

const MS: u64 = 1_000_000;

#[derive(Clone, Debug, Default)]
pub struct Checker {
    /// World time at which a heartbeat last counted, at either box.
    pub through: u64,
    /// Until then it was true that nothing had got through for D.
    pub dark_until: Option<u64>,
    /// Per box: when it asked the newest question whose answer told it that the other's data plane owns.
    pub told_owned: [Option<u64>; 2],
    /// Who announced the addresses last: where the neighbours send.
    pub announced_by: Option<usize>,
    pub announcements: u64,
    pub violation: Option<String>,
    /// Times two owners began, in the allowed case.
    pub splits: u32,
    pub owner: Option<usize>,
    /// Changes of the sole owner.
    pub changes: u32,
    /// Nobody owns, since then; and the longest such time since [`Checker::watch_gaps`].
    pub none_since: Option<u64>,
    pub longest_gap: u64,
    /// Two own, since then; and the longest such time.
    pub two_since: Option<u64>,
    pub longest_two: u64,
}

/// What was known when the daemon decided on a write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decision {
    pub at: u64,
    pub told_owned: Option<u64>,
    /// A heartbeat counted in it.
    pub heard: bool,
}

impl Checker {
    pub fn decision(&self, who: usize, now: u64, heard: bool) -> Decision {
        Decision { at: now, told_owned: self.told_owned.get(who).copied().flatten(), heard }
    }

    /// A heartbeat counted, and what follows from it was done.
    pub fn got_through(&mut self, now: u64, dead: Span) {
        self.note_darkness(now, dead);
        self.through = now;
    }

    fn note_darkness(&mut self, now: u64, dead: Span) {
        // The peer's clock may be faster by twice the drift.
        if now - self.through >= dead.0 - dead.0 / 1_000 {
            self.dark_until = Some(now);
        }
    }

    /// `who` begins to own while the other owns. Allowed only if for D nothing got through in either direction, and
    /// no question that it asked in that time was answered by an owner's data plane.
    pub fn second_owner(&mut self, who: usize, decision: Decision, dead: Span, now: u64) {
        self.note_darkness(now, dead);
        let dark = self.dark_until.is_some_and(|until| until >= decision.at);
        let unanswered = decision.told_owned.is_none_or(|asked| asked + dead.0 <= decision.at + dead.0 / 1_000);
        if dark && unanswered {
            self.splits += 1;
        } else {
            let ago = |at: u64| decision.at.saturating_sub(at) / MS;
            self.fail(format!(
                "at {} ms box {who} began to own while the other did, decided {} ms before; the last heartbeat got \
                 through {} ms before that; an answer told of an owner to a question {:?} ms before",
                now / MS,
                (now - decision.at) / MS,
                ago(self.through),
                decision.told_owned.map(ago)
            ));
        }
    }

    pub fn fail(&mut self, words: String) {
        self.violation.get_or_insert(words);
    }

    /// Looks at who owns now.
    pub fn look(&mut self, now: u64, owns: [bool; 2]) {
        let none = !owns[0] && !owns[1];
        let two = owns[0] && owns[1];
        if none {
            self.none_since.get_or_insert(now);
        } else if let Some(since) = self.none_since.take() {
            self.longest_gap = self.longest_gap.max(now - since);
        }
        if two {
            self.two_since.get_or_insert(now);
        } else if let Some(since) = self.two_since.take() {
            self.longest_two = self.longest_two.max(now - since);
        }
        if owns[0] != owns[1] {
            let owner = usize::from(owns[1]);
            if self.owner != Some(owner) {
                self.changes += 1;
                self.owner = Some(owner);
            }
        }
    }

    /// Forgets gaps and changes so far.
    pub fn watch(&mut self, now: u64) {
        self.longest_gap = 0;
        self.longest_two = 0;
        self.changes = 0;
        self.none_since = self.none_since.map(|_| now);
        self.two_since = self.two_since.map(|_| now);
    }

    pub fn gap_ms(&self, now: u64) -> f64 {
        let open = self.none_since.map_or(0, |since| now - since);
        self.longest_gap.max(open) as f64 / 1e6
    }

    pub fn two_ms(&self, now: u64) -> f64 {
        let open = self.two_since.map_or(0, |since| now - since);
        self.longest_two.max(open) as f64 / 1e6
    }
}
