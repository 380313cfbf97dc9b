//! `lbd lab --tour`: a scripted visit that checks every word that it says.

mod balance;
mod failure;
mod health;
mod maintenance;
mod migration;
mod takeover;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::api::{Api, Member};
use super::customer::{self, Tally, Visit};
use super::error::LabError;
use super::host::Host;
use super::mail::{BALANCER, CLIENT, MailSite, OFFERS, Offer};
use super::servers::Kind;
use super::tell::{Teller, draw};
use super::typist::Typist;

/// What is waited for, such as a server that comes back, has this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections of each balancing scene.
const CROWD: usize = 1_000;
/// A fair spread of [`CROWD`] over two servers: 500 each, give or take six standard deviations of a fair coin.
const FAIR: std::ops::RangeInclusive<usize> = 405..=595;

/// What every scene needs.
struct Stage<'a> {
    lab: &'a mut MailSite,
    teller: &'a mut Teller,
    client: Host,
    api: Api,
    /// At the prompt of the balancer.
    typist: Typist,
}

/// Plays all scenes; true if all that was said is so.
pub async fn tour(lab: &mut MailSite, program: &Path, teller: &mut Teller) -> anyhow::Result<bool> {
    let client = lab.site.host(CLIENT)?.clone();
    let api = Api::new(lab.site.host(BALANCER)?.clone());
    let typist = Typist::log_in(&lab.site, &lab.operator, BALANCER)?;
    let mut stage = Stage { lab, teller, client, api, typist };
    stage.balance().await?;
    stage.stop_a_server().await?;
    stage.break_a_server().await?;
    stage.drain_a_server().await?;
    stage.remove_a_server().await?;
    stage.weigh().await?;
    stage.migrate().await?;
    stage.lab.balancer_runs()?;
    takeover::play(program, stage.teller).await?;
    let (claims, wrong) = (stage.teller.claims(), stage.teller.wrong());
    let took = stage.teller.elapsed().as_secs_f32();
    let verdict = if wrong == 0 { "All of it was so".into() } else { format!("{wrong} of it was NOT so") };
    stage.teller.say(&format!("\n{verdict}: {claims} claims were checked. The visit took {took:.0} s."));
    Ok(wrong == 0)
}

impl Stage<'_> {
    async fn visit(&self, what: &str, visit: Visit) -> anyhow::Result<Tally> {
        let (terminal, all, what) = (self.teller.terminal(), visit.count, what.to_owned());
        Ok(self.client.run(move || customer::visit(visit, move |done| draw(terminal, &what, done, all))).await?)
    }

    /// Until a server gets new connections in all of its services.
    async fn wait_for(&self, server: &str) -> anyhow::Result<()> {
        let up = |members: &[Member]| members.iter().filter(|m| m.server == server).all(|m| m.scheduled);
        self.wait_until(&format!("{server} is not in service"), up).await
    }

    /// Until the members are so; else an error that says what has not come about.
    async fn wait_until(&self, otherwise: &str, so: impl Fn(&[Member]) -> bool) -> anyhow::Result<()> {
        let start = Instant::now();
        while !so(&self.api.members().await?) {
            anyhow::ensure!(start.elapsed() < PATIENCE, "{otherwise} after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Types a command at the balancer's prompt, and shows it with its answer, in which there must be this.
    fn types(&mut self, line: &str, awaited: &str) -> anyhow::Result<()> {
        let exchange = self.typist.types(line)?;
        self.teller.show(&exchange);
        let answered = !exchange.is_refused() && exchange.answer.iter().any(|line| line.contains(awaited));
        self.teller.claim(answered, &format!("the command line takes that, and says {awaited:?}"));
        Ok(())
    }

    /// Changes the balancer's configuration file, and has it loaded.
    async fn reconfigure(&self, text: &str) -> anyhow::Result<()> {
        let path = self.lab.config_file();
        std::fs::write(&path, text).map_err(LabError::file("write", path))?;
        self.api.reload().await
    }

    /// Connections of a service (in both address families) that the balancer counts on a server.
    async fn connections(&self, server: &str, service: &str) -> anyhow::Result<u64> {
        let service = format!("/{service} ");
        let members = self.api.members().await?;
        Ok(members.iter().filter(|m| m.server == server && m.service.contains(&service)).map(|m| m.connections).sum())
    }
}

fn offer_of(kind: Kind) -> anyhow::Result<Offer> {
    OFFERS.into_iter().find(|offer| offer.kind == kind).with_context(|| format!("the lab does not offer {kind}"))
}

/// `pc1 498, pc3 502 in 0.31 s`, with what failed.
fn spread(tally: &Tally) -> String {
    let part = |(name, count): (&String, &usize)| format!("{name} {count}");
    let list = |map: &BTreeMap<String, usize>| map.iter().map(part).collect::<Vec<_>>().join(", ");
    let mut text = format!("{} in {:.2} s", list(&tally.served), tally.took.as_secs_f32());
    if !tally.failed.is_empty() {
        text += &format!("; FAILED: {}", list(&tally.failed));
    }
    text
}
