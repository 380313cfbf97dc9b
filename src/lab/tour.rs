//! `lbd lab --tour`: a scripted visit that checks every word that it says.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::api::Api;
use super::customer::{self, Attempt, Tally, Visit};
use super::host::Host;
use super::mail::{self, BALANCER, CHECK_FALL, CHECK_INTERVAL, CHECK_TIMEOUT, CLIENT, MailSite, OFFERS, Offer};
use super::servers::Kind;
use super::tell::{Teller, draw};

/// A server that comes back has this long until it is in service.
const BACK_PATIENCE: Duration = Duration::from_secs(30);
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
}

/// Plays all scenes; true if all that was said is so.
pub async fn tour(lab: &mut MailSite, teller: &mut Teller) -> anyhow::Result<bool> {
    let client = lab.site.host(CLIENT)?.clone();
    let api = Api::new(lab.site.host(BALANCER)?.clone());
    let mut stage = Stage { lab, teller, client, api };
    stage.balance().await?;
    stage.stop_a_server().await?;
    stage.drain_a_server().await?;
    stage.lab.balancer_runs()?;
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

    async fn balance(&mut self) -> anyhow::Result<()> {
        self.teller.scene(&format!("Balance: {CROWD} customers at every service"));
        for offer in OFFERS {
            for target in [offer.address4(), offer.address6()] {
                self.crowd(offer, target, false).await?;
            }
        }
        self.teller.say(&format!("   Now from {} addresses instead of one:", mail::CUSTOMERS));
        for offer in OFFERS.iter().filter(|offer| [Kind::Smtp, Kind::Imap].contains(&offer.kind)) {
            for target in [offer.address4(), offer.address6()] {
                self.crowd(*offer, target, true).await?;
            }
        }
        Ok(())
    }

    /// One crowd at one address: all served, in fair shares, and seen as the mode promises.
    async fn crowd(&mut self, offer: Offer, target: SocketAddr, many: bool) -> anyhow::Result<()> {
        let mut visit = Visit::new(offer.kind, target).times(CROWD);
        visit.udp = offer.udp;
        if many {
            visit.from = mail::customers(target.is_ipv6());
        }
        let own = visit.from.clone();
        let what = format!("{:8} {:9} {target}", offer.mode, offer.service());
        let tally = self.visit(&what, visit).await?;
        let fair = offer.servers().iter().all(|server| FAIR.contains(&tally.of(server)));
        let seen = seen_as_promised(&tally, offer, target, &own);
        let served = tally.served_count() == CROWD;
        let mut text = format!("{what:44} {}", spread(&tally));
        match tally.seen_as.first() {
            Some(_) if !seen => text += &format!("; but the servers saw {:?}", tally.seen_as),
            Some(one) if tally.seen_as.len() == 1 => text += &format!(", who saw {one}"),
            Some(_) => text += &format!(", who saw {} addresses", tally.seen_as.len()),
            None => {}
        }
        self.teller.claim(served && fair && seen, &text);
        Ok(())
    }

    async fn stop_a_server(&mut self) -> anyhow::Result<()> {
        // What the balancer's configuration promises: probes at this interval, so many in a row, the last one's end.
        let promise = CHECK_INTERVAL * CHECK_FALL + CHECK_TIMEOUT;
        // The time that the tour itself needs to see it: an attempt every 5 ms.
        let limit = promise + Duration::from_millis(100);
        self.teller.scene("A server dies: pc4's programs are killed under way");
        let visit = Visit::new(Kind::Pop3, offer_of(Kind::Pop3)?.address4()).times(4_000);
        let (stop, client) = (Arc::new(AtomicBool::new(false)), self.client.clone());
        let watching = {
            let stop = stop.clone();
            tokio::spawn(
                async move { client.run(move || customer::watch(visit, Duration::from_millis(5), stop)).await },
            )
        };
        tokio::time::sleep(Duration::from_millis(500)).await;
        let killed = Instant::now();
        self.lab.server("pc4")?.kill().context("cannot kill pc4's servers")?;
        tokio::time::sleep(limit + Duration::from_secs(2)).await;
        stop.store(true, Ordering::Relaxed);
        let attempts = watching.await??;
        let (before, after): (Vec<_>, Vec<_>) = attempts.iter().partition(|attempt| attempt.started < killed);
        // A conversation that was going on when the server died may fail, none that was over.
        let hit: Vec<_> = before.iter().filter(|attempt| attempt.outcome.is_err()).collect();
        let under_way = hit.iter().all(|attempt| killed - attempt.started < Duration::from_millis(100));
        let failed: Vec<&&Attempt> = after.iter().filter(|attempt| attempt.outcome.is_err()).collect();
        let out_after = failed.last().map_or(Duration::ZERO, |attempt| attempt.started - killed);
        self.teller.claim(
            out_after <= limit && !after.is_empty(),
            &format!(
                "the last new connection failed {:.2} s after the kill (promised: {:.2} s); {} of {} before that failed",
                out_after.as_secs_f32(),
                promise.as_secs_f32(),
                failed.len(),
                after.iter().filter(|attempt| attempt.started - killed <= out_after).count()
            ),
        );
        self.teller.claim(
            under_way && !before.is_empty(),
            &format!("before, {} were served; {} were under way and hit by it", before.len() - hit.len(), hit.len()),
        );
        let crowd = Visit::new(Kind::Pop3, offer_of(Kind::Pop3)?.address6()).times(CROWD);
        let tally = self.visit("without pc4", crowd).await?;
        self.teller.claim(
            tally.of("pc2") == CROWD,
            &format!("then {CROWD} further customers, and pc2 serves them all: {}", spread(&tally)),
        );

        self.lab.start_server("pc4")?;
        let back = Instant::now();
        self.wait_for("pc4").await?;
        self.teller.say(&format!("   pc4 is started again; up after {:.2} s.", back.elapsed().as_secs_f32()));
        let crowd = Visit::new(Kind::Pop3, offer_of(Kind::Pop3)?.address4()).times(CROWD);
        let tally = self.visit("with pc4 again", crowd).await?;
        let fair = ["pc2", "pc4"].iter().all(|server| FAIR.contains(&tally.of(server)));
        self.teller.claim(fair && tally.failed_count() == 0, &format!("and takes its share again: {}", spread(&tally)));
        Ok(())
    }

    async fn drain_a_server(&mut self) -> anyhow::Result<()> {
        self.teller.scene("Maintenance: pc2 is drained while customers are connected");
        let target = offer_of(Kind::Imap)?.address4();
        let open = Visit::new(Kind::Imap, target).times(200);
        let held = self.client.run(move || customer::hold(open)).await?.map_err(anyhow::Error::msg)?;
        let on_pc2 = held.iter().filter(|one| one.server == "pc2").count();
        self.teller.claim(on_pc2 > 50, &format!("200 mailboxes are open, {on_pc2} of them on pc2"));
        self.api.set_admin("pc2", "draining").await?;
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
        self.api.set_admin("pc2", "enabled").await?;
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

    /// Until a server gets new connections in all of its services.
    async fn wait_for(&self, server: &str) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let members = self.api.members().await?;
            if members.iter().filter(|member| member.server == server).all(|member| member.scheduled) {
                return Ok(());
            }
            anyhow::ensure!(start.elapsed() < BACK_PATIENCE, "{server} is not in service after {BACK_PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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

/// In DSR and NAT the server sees the customer, in full NAT the balancer.
fn seen_as_promised(tally: &Tally, offer: Offer, target: SocketAddr, own: &[IpAddr]) -> bool {
    tally.seen_as.iter().all(|seen| match offer.mode {
        "full-nat" => mail::SOURCE_NAT.contains(seen) && seen.is_ipv4() == target.is_ipv4(),
        _ if own.is_empty() => !mail::SOURCE_NAT.contains(seen),
        _ => own.contains(seen),
    })
}
