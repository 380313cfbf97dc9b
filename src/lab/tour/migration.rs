//! A staged move: a share of the customers is served by a new pool, and each of them stays where he is.

use super::{Stage, offer_of, spread};
use crate::lab::api::Member;
use crate::lab::customer::{Tally, Visit};
use crate::lab::mail::{self, CUSTOMERS};
use crate::lab::servers::Kind;

/// Share of the customers, in per cent.
const SHARE: usize = 25;
/// Of 200 customers 50 are expected: six standard deviations either way.
const MOVED: std::ops::RangeInclusive<usize> = 13..=87;

impl Stage<'_> {
    pub(super) async fn migrate(&mut self) -> anyhow::Result<()> {
        self.teller.scene(&format!("Migration: {SHARE} % of the mailbox customers move from pc2 to pc4"));
        let before = self.lab.config();
        let old = "  imap:\n    members: [pc2, pc4]\n";
        anyhow::ensure!(before.contains(old), "the lab's configuration has no pool `imap` with pc2 and pc4");
        let new = format!(
            "  imap-new:\n    members: [pc4]\n    slow-start: 0s\n  imap:\n    members: [pc2]\n    migrate: {{to: \
             imap-new, share: {SHARE}%}}\n"
        );
        self.reconfigure(&before.replace(old, &new)).await?;
        // New questions are answered first; until then, for three seconds at most, all stays as it was.
        let moved = |members: &[Member]| {
            members.iter().filter(|m| m.service.contains("/imap ") && m.server == "pc4").all(|m| m.pool == "imap-new")
        };
        self.wait_until("the new pool is not in use", moved).await?;
        self.wait_for("pc4").await?;
        let first = self.one_of_each().await?;
        let moved = first.of("pc4");
        self.teller.claim(
            MOVED.contains(&moved) && first.served_count() == usize::from(CUSTOMERS),
            &format!("one visit from each of {CUSTOMERS} addresses: {}", spread(&first)),
        );
        let again = self.one_of_each().await?;
        self.teller.claim(
            again.of("pc4") == moved && again.failed_count() == 0,
            &format!("the same once more, nobody has changed sides: {}", spread(&again)),
        );
        let mut sides = [0, 0];
        for customer in mail::customers(false).into_iter().step_by(10) {
            let visit = Visit::new(Kind::Imap, offer_of(Kind::Imap)?.address4()).from(vec![customer]).times(10);
            let tally = self.visit("each on his side", visit).await?;
            for (side, server) in sides.iter_mut().zip(["pc2", "pc4"]) {
                *side += usize::from(tally.of(server) == 10);
            }
        }
        let [stayed, went] = sides;
        self.teller.claim(
            stayed + went == 20,
            &format!("20 of them come ten times each: {stayed} are always served by pc2, {went} always by pc4"),
        );
        self.reconfigure(&before).await?;
        self.wait_for("pc4").await
    }

    async fn one_of_each(&self) -> anyhow::Result<Tally> {
        let visit = Visit::new(Kind::Imap, offer_of(Kind::Imap)?.address4());
        self.visit("from everybody", visit.from(mail::customers(false)).times(CUSTOMERS.into())).await
    }
}
