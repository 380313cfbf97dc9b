//! Two balancers: one is killed, one hands over, one loses its power, and customers are served.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{PATIENCE, offer_of};
use crate::lab::customer::{self, Attempt, Held, Tally, Visit};
use crate::lab::host::Host;
use crate::lab::mail::CLIENT;
use crate::lab::pair::{BOXES, PairSite};
use crate::lab::servers::Kind;
use crate::lab::tell::Teller;

/// Open connections of each of the two kinds, mail by DSR and mailboxes by NAT.
const OPEN: usize = 200;
/// A customer comes this often.
const PACE: Duration = Duration::from_millis(10);
/// Customers before and after what happens.
const CALM: Duration = Duration::from_millis(700);
/// What this machine, which is the whole site, may add to what is promised.
const SLACK: Duration = Duration::from_millis(300);

/// A handshake that is under way at the very moment of a hand-over is known to the old owner alone.
const HANDSHAKES: usize = 2;

/// The site with its two balancers.
struct Scene<'a> {
    lab: PairSite,
    client: Host,
    teller: &'a mut Teller,
}

/// Builds a site with two balancers, and plays what befalls them.
pub async fn play(program: &Path, teller: &mut Teller) -> anyhow::Result<()> {
    teller.scene("Two balancers: one owns the addresses, the other one is a switch, and ready");
    let mut lab = PairSite::start(program, ["", ""])?;
    lab.let_operator_in()?;
    lab.start_balancer(0)?;
    lab.start_balancer(1)?;
    let begun = Instant::now();
    let owner = lab.settled(PATIENCE).await?;
    teller.say(&format!(
        "   lb1 and lb2 run on a second site like the first; after {:.1} s {} owns, and the other has all it needs.",
        begun.elapsed().as_secs_f32(),
        BOXES[owner]
    ));
    let client = lab.site.host(CLIENT)?.clone();
    let mut scene = Scene { lab, client, teller };
    let held = scene.open().await?;
    let held = scene.kill(owner, held).await?;
    let owner = 1 - owner;
    let held = scene.hand_over(owner, held).await?;
    scene.power_off(1 - owner, held).await
}

impl Scene<'_> {
    async fn open(&mut self) -> anyhow::Result<Vec<Held>> {
        let mut held = Vec::new();
        for kind in [Kind::Smtp, Kind::Imap] {
            let visit = Visit::new(kind, offer_of(kind)?.address4()).times(OPEN);
            held.extend(self.client.run(move || customer::hold(visit)).await?.map_err(anyhow::Error::msg)?);
        }
        Ok(held)
    }

    async fn check(&self, held: Vec<Held>) -> anyhow::Result<(Vec<Held>, Tally)> {
        Ok(self.client.run(move || customer::check(held, Duration::from_secs(5))).await?)
    }

    /// Customers of both kinds come and go, while `act` makes something happen and waits until it is over.
    async fn watch(&mut self, act: impl AsyncFnOnce(&mut PairSite) -> anyhow::Result<()>) -> anyhow::Result<[Seen; 2]> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut watching = Vec::new();
        for kind in [Kind::Smtp, Kind::Imap] {
            let visit = Visit::new(kind, offer_of(kind)?.address4()).times(100_000);
            let (stop, client) = (stop.clone(), self.client.clone());
            watching.push(tokio::spawn(async move { client.run(move || customer::watch(visit, PACE, stop)).await }));
        }
        tokio::time::sleep(CALM).await;
        let result = act(&mut self.lab).await;
        tokio::time::sleep(CALM).await;
        stop.store(true, Ordering::Relaxed);
        let mut seen = [Seen::default(); 2];
        for (seen, attempts) in seen.iter_mut().zip(watching) {
            *seen = Seen::of(&attempts.await??);
        }
        result.map(|()| seen)
    }

    fn claim_silence(&mut self, what: &str, promised: Duration, [mail, mailbox]: [Seen; 2]) {
        let longest = mail.silent.max(mailbox.silent);
        self.teller.claim(
            longest <= promised + SLACK,
            &format!(
                "{what}: from one answer to the next {:.0} ms at most (promised: {:.0} ms); of {} customers {} failed",
                longest.as_secs_f32() * 1e3,
                promised.as_secs_f32() * 1e3,
                mail.count + mailbox.count,
                mail.failed + mailbox.failed
            ),
        );
    }

    async fn kill(&mut self, owner: usize, held: Vec<Held>) -> anyhow::Result<Vec<Held>> {
        let (held, before) = self.check(held).await?;
        let seen = self
            .watch(async |lab| {
                lab.balancer(owner)?.process().kill()?;
                lab.until_owns(1 - owner, PATIENCE).await
            })
            .await?;
        self.claim_silence(
            &format!("{}'s daemon is killed, {} takes over", BOXES[owner], BOXES[1 - owner]),
            Duration::from_millis(100),
            seen,
        );
        let (held, after) = self.check(held).await?;
        self.teller.claim(
            after.failed_count() == 0 && after.served == before.served,
            &format!("the {} connections that were open all live, each with its server", after.served_count()),
        );
        self.lab.start_balancer(owner)?;
        let settled = self.lab.settled(PATIENCE).await?;
        self.teller.claim(
            settled == 1 - owner,
            &format!("{} is started again, is ready, and leaves the addresses where they are", BOXES[owner]),
        );
        Ok(held)
    }

    async fn hand_over(&mut self, owner: usize, held: Vec<Held>) -> anyhow::Result<Vec<Held>> {
        let mut typist = self.lab.log_in(owner)?;
        let mut exchange = None;
        let seen = self
            .watch(async |lab| {
                let told = exchange.insert(typist.types("server switchover")?);
                anyhow::ensure!(!told.is_refused(), "{}: {}", told.line(), told.answer.join(" "));
                lab.until_owns(1 - owner, PATIENCE).await
            })
            .await?;
        if let Some(exchange) = exchange {
            self.teller.show(&exchange);
        }
        let (held, after) = self.check(held).await?;
        let failed = seen[0].failed + seen[1].failed;
        self.teller.claim(
            failed <= HANDSHAKES && after.failed_count() == 0,
            &format!(
                "{} hands over to {}: of {} customers {failed} failed, and all {} open connections live",
                BOXES[owner],
                BOXES[1 - owner],
                seen[0].count + seen[1].count,
                after.served_count()
            ),
        );
        self.lab.settled(PATIENCE).await?;
        Ok(held)
    }

    async fn power_off(&mut self, owner: usize, held: Vec<Held>) -> anyhow::Result<()> {
        let seen = self
            .watch(async |lab| {
                lab.power_off(owner)?;
                lab.until_owns(1 - owner, PATIENCE).await
            })
            .await?;
        self.claim_silence(&format!("{} loses its power", BOXES[owner]), Duration::from_millis(300), seen);
        // Behind each box there are two PCs.
        let left = [["pc1", "pc2"], ["pc3", "pc4"]][1 - owner];
        let (alive, gone): (Vec<_>, Vec<_>) = held.into_iter().partition(|one| left.contains(&one.server.as_str()));
        let count = alive.len();
        let (_, after) = self.check(alive).await?;
        self.teller.claim(
            after.served_count() == count && count > 0,
            &format!(
                "the {count} open connections of {} and {} live; {} were with servers that went along",
                left[0],
                left[1],
                gone.len()
            ),
        );
        Ok(())
    }
}

/// What the customers of one kind lived through.
#[derive(Clone, Copy, Default)]
struct Seen {
    count: usize,
    failed: usize,
    /// The longest time from one good answer to the next.
    silent: Duration,
}

impl Seen {
    fn of(attempts: &[Attempt]) -> Self {
        // Later answers are of those who were still under way when nobody came any more.
        let end = attempts.last().map(|attempt| attempt.started);
        let good = attempts.iter().filter(|attempt| attempt.outcome.is_ok());
        let mut good: Vec<Instant> = good.map(|a| a.ended).filter(|ended| Some(*ended) < end).chain(end).collect();
        good.sort();
        let gaps = good.iter().zip(good.iter().skip(1)).map(|(one, next)| *next - *one);
        let failed = attempts.iter().filter(|attempt| attempt.outcome.is_err()).count();
        Self { count: attempts.len(), failed, silent: gaps.max().unwrap_or(Duration::MAX) }
    }
}
