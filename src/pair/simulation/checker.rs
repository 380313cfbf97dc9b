//! What must hold, and what was seen.

use crate::pair::time::Span;

const MS: u64 = 1_000_000;

/// Times in which no heartbeat got through, in either direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Darkness {
    last: u64,
    /// Until then it was true that nothing had got through for D.
    until: Option<u64>,
}

impl Darkness {
    pub fn got_through(&mut self, now: u64, dead: Span) {
        self.look(now, dead);
        self.last = now;
    }

    fn look(&mut self, now: u64, dead: Span) {
        // The peer's clock may be faster by twice the drift.
        if now - self.last >= dead.0 - dead.0 / 1_000 {
            self.until = Some(now);
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Checker {
    /// Heartbeats that were heard; and those that were acted upon, which is later in a thread that stalls.
    pub heard: Darkness,
    pub acted: Darkness,
    /// Per box: since when it runs again, after a pause that it must have noticed. A silence of its own making is no
    /// darkness.
    pub resumed: [u64; 2],
    /// Per box: the newest question that was answered, and whether the answer told of an owner.
    pub told: [Option<(u64, bool)>; 2],
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
        let told = self.told.get(who).copied().flatten();
        Decision { at: now, told_owned: told.filter(|(_, owned)| *owned).map(|(asked, _)| asked), heard }
    }

    /// An answer came to a question that was asked at `asked`.
    pub fn answered(&mut self, who: usize, asked: u64, owned: bool, now: u64) {
        let newer = self.told[who].is_none_or(|(newest, _)| asked >= newest);
        // One that was asked before a reboot has another clock's time.
        if newer && asked <= now {
            self.told[who] = Some((asked, owned));
        }
    }

    /// `who` begins to own while the other owns. Allowed only if, between the decision and its execution, it was true
    /// that for D nothing had got through in either direction, and that no question asked in that time had been
    /// answered by an owner's data plane. A pause of its own does not count, nor does a darkness that was over long ago.
    pub fn second_owner(&mut self, who: usize, decision: Decision, dead: Span, now: u64) {
        self.heard.look(now, dead);
        self.acted.look(now, dead);
        let dark = self.heard.until.max(self.acted.until);
        let dark = dark.is_some_and(|until| until >= decision.at && until + dead.0 >= now);
        let resumed = self.resumed[who];
        let awake = resumed > decision.at || decision.at - resumed >= dead.0;
        let unanswered = decision.told_owned.is_none_or(|asked| asked + dead.0 <= decision.at + dead.0 / 1_000);
        // A lease that ends has ended by then, however late it is written.
        let timely = now - decision.at < dead.0;
        if dark && awake && timely && unanswered {
            self.splits += 1;
        } else {
            let ago = |at: u64| decision.at.saturating_sub(at) / MS;
            self.fail(format!(
                "at {} ms box {who} began to own while the other did, decided {} ms before; the last heartbeat got \
                 through {} ms before that; an answer told of an owner to a question {:?} ms before; it was awake for {} ms",
                now / MS,
                (now - decision.at) / MS,
                ago(self.heard.last),
                decision.told_owned.map(ago),
                ago(resumed)
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
