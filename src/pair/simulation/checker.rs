//! What must hold, and what was seen.

use crate::pair::time::Span;

const MS: u64 = 1_000_000;

#[derive(Clone, Debug, Default)]
pub struct Checker {
    /// World time at which a heartbeat last counted, at either box.
    pub through: u64,
    /// Per box: when an answer last told it that the other's data plane owns.
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
    /// Nothing had got through for so long, in either direction.
    pub dark: u64,
    /// An answer had told of an owner so long ago.
    pub told_owned: Option<u64>,
}

impl Checker {
    pub fn decision(&self, who: usize, now: u64) -> Decision {
        Decision {
            dark: now.saturating_sub(self.through),
            told_owned: self.told_owned.get(who).copied().flatten().map(|at| now.saturating_sub(at)),
        }
    }

    /// `who` begins to own while the other owns. Allowed only if for D nothing got through in either direction, and
    /// no question to the owner's data plane was answered.
    pub fn second_owner(&mut self, who: usize, decision: Decision, dead: Span, now: u64) {
        // The peer's clock may be faster by twice the drift.
        let dead = dead.0 - dead.0 / 1_000;
        let dark = decision.dark >= dead;
        let unanswered = decision.told_owned.is_none_or(|told| told >= dead);
        if dark && unanswered {
            self.splits += 1;
        } else {
            self.fail(format!(
                "at {} ms box {who} began to own while the other did; the last heartbeat got through {} ms before, \
                 the last answer {:?} ms before",
                now / MS,
                decision.dark / MS,
                decision.told_owned.map(|told| told / MS)
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
