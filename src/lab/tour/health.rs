//! A server whose port is open and that serves nobody: three ways to be so, and what the probes say of each.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{CROWD, Stage, offer_of, spread};
use crate::lab::customer::Visit;
use crate::lab::servers::Kind;

/// The machine that has the troubles, and who serves meanwhile.
const SICK: &str = "pc1";
const WELL: &str = "pc3";
/// A few probes.
const WORDS_PATIENCE: Duration = Duration::from_secs(5);

impl Stage<'_> {
    pub(super) async fn break_a_server(&mut self) -> anyhow::Result<()> {
        self.teller.scene("Broken behind an open port: three troubles of pc1's mail server");
        self.lab.server(SICK)?.kill()?;
        self.lab.start_server_that(SICK, &["--too-busy"])?;
        self.is_found("It turns everybody away", "421 4.3.2 pc1.lab.example too busy").await?;
        self.lab.server(SICK)?.kill()?;
        self.lab.start_server(SICK)?;
        self.wait_for(SICK).await?;

        self.lab.server(SICK)?.signal(Signal::SIGSTOP)?;
        self.is_found("It hangs, and the kernel goes on accepting", "no greeting came").await?;
        self.lab.server(SICK)?.signal(Signal::SIGCONT)?;
        self.wait_for(SICK).await?;

        let vip = offer_of(Kind::Smtp)?.address4().ip();
        self.lab.site.ip(SICK, &format!("addr del {vip}/32 dev lo"))?;
        self.is_found("Its loopback loses the virtual address", &format!("its loopback lacks {vip}")).await?;
        self.lab.site.ip(SICK, &format!("addr add {vip}/32 dev lo"))?;
        self.wait_for(SICK).await
    }

    /// What the probe says, as soon as it says why: for that it may have to ask elsewhere, too.
    async fn words(&self, service: &str, reason: &str) -> anyhow::Result<String> {
        let begun = Instant::now();
        loop {
            let members = self.api.members().await?;
            let member = members.into_iter().find(|m| m.server == SICK && m.service == service);
            let words = member.map(|member| member.found).unwrap_or_default();
            if words.contains(reason) || begun.elapsed() > WORDS_PATIENCE {
                return Ok(words);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the mail service (IPv4) has the sick server out; says why in the probe's words, which must name
    /// `reason`; and nobody of the next crowd fails.
    async fn is_found(&mut self, trouble: &str, reason: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        let offer = offer_of(Kind::Smtp)?;
        let service = format!("{}/{} ipv4", offer.virtual_server, offer.service());
        self.wait_until(&format!("{SICK} is still in {service}"), |members| {
            members.iter().filter(|m| m.server == SICK && m.service == service).all(|m| !m.scheduled)
        })
        .await?;
        let found = begun.elapsed();
        let words = self.words(&service, reason).await?;
        let tally = self.visit(trouble, Visit::new(Kind::Smtp, offer.address4()).times(CROWD)).await?;
        self.teller.say(&format!("   {trouble}; found after {:.2} s:", found.as_secs_f32()));
        self.teller.claim(words.contains(reason), &words);
        self.teller.claim(tally.of(WELL) == CROWD, &format!("and nobody is sent there: {}", spread(&tally)));
        Ok(())
    }
}
