//! Servers are taken out, brought back, weighted and removed, and customers do not notice.

use std::time::{Duration, Instant};

use super::{CROWD, FAIR, Stage, offer_of, spread};
use crate::lab::customer::{self, Visit};
use crate::lab::mail;
use crate::lab::servers::Kind;

impl Stage<'_> {
    pub(super) async fn drain_a_server(&mut self) -> anyhow::Result<()> {
        self.teller.scene("Maintenance: pc2 is drained while customers are connected");
        let target = offer_of(Kind::Imap)?.address4();
        let open = Visit::new(Kind::Imap, target).times(200);
        let held = self.client.run(move || customer::hold(open)).await?.map_err(anyhow::Error::msg)?;
        let on_pc2 = held.iter().filter(|one| one.server == "pc2").count();
        self.teller.claim(on_pc2 > 50, &format!("200 mailboxes are open, {on_pc2} of them on pc2"));
        self.types("server drain pc2", "pc2: enabled -> draining")?;
        let told = Instant::now();
        let crowd = Visit::new(Kind::Imap, target).times(CROWD);
        let tally = self.visit("while pc2 drains", crowd).await?;
        self.teller.claim(
            tally.of("pc2") == 0 && tally.failed_count() == 0,
            &format!("{CROWD} new customers, none comes to pc2: {}", spread(&tally)),
        );
        let (held, alive) = self.client.run(move || customer::check(held, Duration::from_secs(5))).await?;
        self.teller.claim(
            alive.failed_count() == 0 && alive.of("pc2") == on_pc2,
            &format!(
                "{:.1} s after the order all {} open mailboxes live, {} of them on pc2, {} broken",
                told.elapsed().as_secs_f32(),
                alive.served_count(),
                alive.of("pc2"),
                alive.failed_count()
            ),
        );
        let counted: u64 = self.connections("pc2", "imap").await?;
        self.teller.claim(
            counted == on_pc2 as u64,
            &format!("the balancer itself counts {counted} mailbox connections on pc2"),
        );
        self.types("show server drain", "draining")?;
        self.types("server enable pc2", "pc2: draining -> enabled")?;
        let crowd = Visit::new(Kind::Imap, target).times(CROWD);
        let tally = self.visit("with pc2 again", crowd).await?;
        let fair = ["pc2", "pc4"].iter().all(|server| FAIR.contains(&tally.of(server)));
        self.teller
            .claim(fair && tally.failed_count() == 0, &format!("pc2 is back and takes its share: {}", spread(&tally)));
        let (_, alive) = self.client.run(move || customer::check(held, Duration::from_secs(5))).await?;
        self.teller.claim(
            alive.served_count() == 200 && alive.failed_count() == 0,
            &format!("and the same {} open mailboxes have noticed nothing", alive.served_count()),
        );
        Ok(())
    }

    /// A drain with a deadline and a removal at its end.
    pub(super) async fn remove_a_server(&mut self) -> anyhow::Result<()> {
        const DEADLINE: Duration = Duration::from_secs(2);
        self.teller.scene("Removal: pc4 is drained for two seconds, and taken out of the configuration");
        let target = offer_of(Kind::Imap)?.address4();
        let open = Visit::new(Kind::Imap, target).times(100);
        let held = self.client.run(move || customer::hold(open)).await?.map_err(anyhow::Error::msg)?;
        let on_pc4 = held.iter().filter(|one| one.server == "pc4").count();
        self.types("server drain pc4 deadline 2s remove", "pc4: enabled -> draining")?;
        let told = Instant::now();
        let (held, alive) = self.client.run(move || customer::check(held, Duration::from_secs(5))).await?;
        self.teller.claim(
            alive.failed_count() == 0 && on_pc4 > 10,
            &format!("100 mailboxes are open, {on_pc4} of them on pc4; after the order {} live", alive.served_count()),
        );
        self.wait_until("pc4 is still there", |members| members.iter().all(|member| member.server != "pc4")).await?;
        let took = told.elapsed();
        let (_, alive) = self.client.run(move || customer::check(held, Duration::from_secs(5))).await?;
        // The deadline, and what follows: drains are looked at each second, and emptied tables too.
        self.teller.claim(
            alive.of("pc4") == 0 && alive.served_count() == 100 - on_pc4 && took < DEADLINE + Duration::from_secs(4),
            &format!(
                "{:.1} s after the order those {} were reset and pc4 is gone; the other {} have noticed nothing",
                took.as_secs_f32(),
                alive.failed_count(),
                alive.served_count()
            ),
        );
        let text = std::fs::read_to_string(self.lab.config_file())?;
        self.types("show server real", "pc2")?;
        let comment = self.lab.config().lines().next().unwrap_or_default().to_owned();
        self.teller.claim(
            !text.contains("pc4") && text.contains(&comment),
            "the configuration file names pc4 nowhere, and has kept its comment",
        );
        let crowd = Visit::new(Kind::Imap, target).times(CROWD);
        let tally = self.visit("without pc4", crowd).await?;
        self.teller.claim(tally.of("pc2") == CROWD, &format!("{CROWD} new customers: {}", spread(&tally)));
        self.reconfigure(&self.lab.config()).await?;
        self.wait_for("pc4").await?;
        self.teller.say("   pc4 is put back into the file, and is in service again.");
        Ok(())
    }

    /// Weights change while traffic flows.
    pub(super) async fn weigh(&mut self) -> anyhow::Result<()> {
        /// 750 are expected; six standard deviations either way.
        const THREE_QUARTERS: std::ops::RangeInclusive<usize> = 668..=832;
        self.teller.scene("Weights: pc4 becomes three times as strong as pc2");
        let before = self.lab.config();
        let address = format!("  pc4: {{address: {}, ", mail::pc_address(4));
        anyhow::ensure!(before.contains(&address), "the lab's configuration has no server pc4");
        self.reconfigure(&before.replace(&address, &format!("{address}weight: 3, "))).await?;
        let crowd = Visit::new(Kind::Imap, offer_of(Kind::Imap)?.address4()).times(CROWD);
        let tally = self.visit("with other weights", crowd).await?;
        self.teller.claim(
            THREE_QUARTERS.contains(&tally.of("pc4")) && tally.failed_count() == 0,
            &format!("{CROWD} customers: {}", spread(&tally)),
        );
        self.reconfigure(&before).await
    }
}
