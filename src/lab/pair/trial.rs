//! A fault befalls the pair while customers are served, and what they all see of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::Signal;

use super::crowd::{Crowd, Guests, Loss};
use super::{BEHIND, PANEL, PairSite, arrivals, newcomers};
use crate::core::random::Random;
use crate::lab::LabError;
use crate::lab::customer::{self, Attempt, Visit};
use crate::lab::mail::{CLIENT, ECHOES, OFFERS, Offer, ROUTER};
use crate::lab::servers::Kind;

/// Customers come this often, of each kind.
pub const PACE: Duration = Duration::from_millis(10);
/// After the cables were put in again, until the switches have learnt who is where.
const LEARN: Duration = Duration::from_millis(300);
/// Before the fault.
const CALM: Duration = Duration::from_millis(500);
/// After what follows from it: longer than TCP waits with the second SYN.
const AFTER: Duration = Duration::from_millis(1_200);
/// Until the pair is as it should be, or a box owns.
const PATIENCE: Duration = Duration::from_secs(30);
/// A hung daemon wakes up so long after it was stopped.
const HANGS_FOR: Duration = Duration::from_secs(5);
/// Of one whole visit.
const VISIT_PATIENCE: Duration = Duration::from_secs(2);
/// Each of the open connections that talk does so this often.
const TALK_EVERY: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// None: what the machine of the trial adds by itself.
    Nothing,
    /// The owner's daemon is killed (SIGKILL), and started again.
    Kill,
    /// The owner's daemon is stopped (SIGSTOP), and wakes up 5 s later.
    Hang,
    /// The owner's box loses its power, and boots.
    PowerOff,
    /// The uplink that is open is cut at the router, and mended.
    UplinkCut,
    /// The cross-connect is cut, and mended.
    CrossCut,
    /// The owner is told to hand over.
    HandOver,
}

impl Fault {
    pub const ALL: [Self; 7] =
        [Self::Nothing, Self::Kill, Self::Hang, Self::PowerOff, Self::UplinkCut, Self::CrossCut, Self::HandOver];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Kill => "kill",
            Self::Hang => "hang",
            Self::PowerOff => "power-off",
            Self::UplinkCut => "uplink-cut",
            Self::CrossCut => "cross-cut",
            Self::HandOver => "hand-over",
        }
    }

    /// What is promised of silence, in 99 of 100 cases.
    pub fn promised(self, fast: bool) -> Duration {
        Duration::from_millis(match self {
            Self::Nothing | Self::Kill | Self::Hang | Self::HandOver => 100,
            Self::PowerOff if fast => 150,
            Self::PowerOff | Self::UplinkCut | Self::CrossCut => 300,
        })
    }

    /// The other box owns afterwards.
    fn moves(self) -> bool {
        !matches!(self, Self::Nothing | Self::UplinkCut | Self::CrossCut)
    }

    /// The box that owns afterwards, where this one did before.
    fn leaves(self, owner: usize) -> usize {
        if self.moves() { 1 - owner } else { owner }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|f| f.name() == text).ok_or_else(|| format!("no such fault; there are {}", names()))
    }
}

/// What was seen of one fault.
#[derive(Clone, Debug, Default)]
pub struct Sighting {
    /// The longest time from one good answer to the next: of those who came anew, the worst of each kind.
    pub silence_new: Duration,
    /// The kind of which that was, in words.
    pub silent_kind: String,
    /// The same of the connections that were open and talked.
    pub silence_open: Duration,
    /// The longest of those who came before the fault: what the machine of the trial adds by itself.
    pub silence_before: Duration,
    /// Customers who came anew, and those that were not served.
    pub came: usize,
    pub failed: usize,
    /// Of which kind those were, how long after the fault they had come, in hundredths of a second, and why they failed.
    pub failures: Vec<(String, i64, String)>,
    /// Connections that were open, and those of them that were lost though their server could be reached.
    pub open: usize,
    pub lost: Vec<Lost>,
    /// Those whose server hung on the dead box.
    pub gone: Vec<Gone>,
    /// Newcomers on the balancers' own segment.
    pub newcomers: usize,
    pub black_holes: usize,
    pub refused: usize,
    /// Questions who has a virtual address, those with two answers, and changes back to an owner of before.
    pub questions: usize,
    pub two_owners: usize,
    pub returns: usize,
    /// The longest time in which nobody answered such a question.
    pub unanswered: Duration,
    /// First segments that came to a server from a box that had been followed by the other one.
    pub late_frames: usize,
    /// TCP segments that customers and servers had to send again, from the fault until the last newcomer was served.
    pub sent_again: u64,
    /// The box that owned before the fault.
    pub owner: usize,
    /// Open connections that the owner's table did not have before the fault: they live by the hash alone.
    pub unheld: usize,
    /// Changes of the owner that neither the fault nor anybody's order explains: since the trial before, and in this one
    /// after the fault.
    pub unordered: usize,
}

/// What became of a connection whose server is gone.
#[derive(Clone, Debug)]
pub struct Gone {
    /// Whose connection, and whether it kept silent.
    pub target: SocketAddr,
    pub server: String,
    pub client: Option<SocketAddr>,
    pub silent: bool,
    /// From the fault until its client was told; none if it was still waiting in the end.
    pub reset_after: Option<Duration>,
    pub why: String,
    /// From the fault until its client was served again, and by whom.
    pub served_again: Option<(Duration, String)>,
    /// From the fault until its client was served by the other half of the site.
    pub back_after: Option<Duration>,
}

/// A connection that was lost though there was a way to its server.
#[derive(Clone, Debug)]
pub struct Lost {
    pub target: SocketAddr,
    pub server: String,
    pub silent: bool,
    pub why: String,
    /// Since the fault.
    pub after: Duration,
}

impl Sighting {
    pub fn silence(&self) -> Duration {
        self.silence_new.max(self.silence_open)
    }
}

/// The addresses at which an offer is made.
fn addresses(offers: &[Offer]) -> Vec<SocketAddr> {
    offers.iter().flat_map(|offer| [offer.address4(), offer.address6()]).collect()
}

/// So many connections, to the echo by DSR and NAT, IPv4 and IPv6: a fifth of them silent.
pub fn guests(count: usize) -> Guests {
    let silent = count / 5;
    Guests { targets: addresses(&ECHOES), talking: count - silent, silent, pace: TALK_EVERY }
}

/// Mail by DSR and mailboxes by NAT, IPv4 and IPv6.
fn visits() -> Vec<Visit> {
    let offers = OFFERS.iter().filter(|offer| [Kind::Smtp, Kind::Imap].contains(&offer.kind));
    let visit = |(kind, target)| Visit { timeout: VISIT_PATIENCE, ..Visit::new(kind, target).times(1_000_000) };
    offers.flat_map(|offer| [offer.address4(), offer.address6()].map(|a| (offer.kind, a))).map(visit).collect()
}

/// A pair with customers.
#[derive(Debug)]
pub struct Stage {
    pub crowd: Crowd,
    pub random: Random,
    /// The box that owns, unless it changes by itself.
    owner: usize,
    // Last: it removes what the others stand on.
    pub site: PairSite,
}

impl Stage {
    /// Starts both balancers of a site, and opens so many connections.
    pub async fn set(mut site: PairSite, connections: usize, seed: u64) -> anyhow::Result<Self> {
        for index in [0, 1] {
            site.start_balancer(index)?;
        }
        let owner = site.settled(PATIENCE).await?;
        let crowd = Crowd::gather(site.site.host(CLIENT)?, guests(connections));
        crowd.all_open(PATIENCE * 2).await?;
        Ok(Self { crowd, random: Random::new(seed), owner, site })
    }

    /// Lets a fault befall the pair, watches, and makes all well again.
    pub async fn suffer(&mut self, fault: Fault) -> anyhow::Result<Sighting> {
        self.site.shuffle(&mut self.random)?;
        tokio::time::sleep(LEARN).await;
        let owner = self.well().await?;
        let mut unordered = usize::from(owner != self.owner);
        let unheld = self.unheld(owner).await?;
        self.crowd.note();
        let customers = Customers::start(&self.site)?;
        tokio::time::sleep(CALM).await;
        let before = sent_again(&self.site)?;
        let began = Instant::now();
        self.inflict(fault, owner, began).await?;
        tokio::time::sleep(AFTER).await;
        // Noted before the round in which everybody speaks at once, which is no customers' behaviour.
        let echoes = self.crowd.seen().echoes;
        let silence_open = longest(since(&echoes, began));
        let mut sighting = Sighting { open: self.crowd.count(), silence_open, owner, unheld, ..Sighting::default() };
        customers.end(began, &mut sighting).await?;
        sighting.sent_again = sent_again(&self.site)?.saturating_sub(before);
        self.crowd.everybody_speaks().await?;
        self.heal(fault, owner)?;
        self.owner = self.site.settled(PATIENCE).await?;
        unordered += usize::from(self.owner != fault.leaves(owner));
        sighting.unordered = unordered;
        self.crowd.all_open(PATIENCE).await?;
        judge(self.crowd.seen().losses, fault, owner, began, &mut sighting);
        if !sighting.gone.is_empty() || !sighting.lost.is_empty() {
            self.crowd.reseat();
        }
        Ok(sighting)
    }

    /// Open connections that the owner's table does not have, or has at another server.
    async fn unheld(&self, owner: usize) -> anyhow::Result<usize> {
        let api = self.site.api(owner)?;
        let mut held = BTreeMap::new();
        for service in ECHOES.iter().map(Offer::service) {
            held.extend(api.connections(&service).await?);
        }
        let open = self.crowd.connections();
        Ok(open.iter().filter(|(ends, server)| held.get(*ends) != Some(*server)).count())
    }

    /// Waits until the pair is settled and all connections are open; the owner.
    async fn well(&self) -> anyhow::Result<usize> {
        self.crowd.all_open(PATIENCE).await?;
        self.site.settled(PATIENCE).await
    }

    async fn inflict(&mut self, fault: Fault, owner: usize, began: Instant) -> anyhow::Result<()> {
        let site = &mut self.site;
        match fault {
            Fault::Nothing => {}
            Fault::Kill => {
                site.balancer(owner)?.process().kill()?;
            }
            Fault::Hang => site.balancer(owner)?.process().signal(Signal::SIGSTOP)?,
            Fault::PowerOff => site.power_off(owner)?,
            Fault::UplinkCut => {
                let open = usize::from(site.standing(1).await.uplink_open);
                site.site.ip(ROUTER, &format!("link set lan{} down", open + 1))?;
            }
            Fault::CrossCut => site.site.ip(PANEL, "link set x1 down\nlink set x2 down")?,
            Fault::HandOver => site.api(owner)?.hand_over().await?,
        }
        if fault.moves() {
            site.until_owns(1 - owner, PATIENCE).await?;
        } else {
            tokio::time::sleep(CALM).await;
        }
        if fault == Fault::Hang {
            tokio::time::sleep(HANGS_FOR.saturating_sub(began.elapsed())).await;
            site.balancer(owner)?.process().signal(Signal::SIGCONT)?;
        }
        Ok(())
    }

    fn heal(&mut self, fault: Fault, owner: usize) -> anyhow::Result<()> {
        let site = &mut self.site;
        match fault {
            Fault::Kill => {
                site.start_balancer(owner)?;
            }
            Fault::PowerOff => site.power_on(owner)?,
            Fault::UplinkCut => site.site.ip(ROUTER, "link set lan1 up\nlink set lan2 up")?,
            Fault::CrossCut => site.site.ip(PANEL, "link set x1 up\nlink set x2 up")?,
            Fault::Nothing | Fault::Hang | Fault::HandOver => {}
        }
        Ok(())
    }
}

/// Whose server hung on the dead box is counted apart.
fn judge(losses: Vec<Loss>, fault: Fault, owner: usize, began: Instant, sighting: &mut Sighting) {
    let dead: &[&str] = if fault == Fault::PowerOff { &BEHIND[owner.min(1)] } else { &[] };
    let after = |at: Instant| at.saturating_duration_since(began);
    for loss in losses {
        if !dead.contains(&loss.server.as_str()) {
            let Loss { target, server, silent, at, why, .. } = loss;
            sighting.lost.push(Lost { target, server, silent, why, after: after(at) });
            continue;
        }
        let told = loss.why == "reset" || loss.why == "refused";
        let served_again = loss.back.map(|(at, server)| (after(at), server));
        let back = served_again.as_ref().filter(|(_, server)| !dead.contains(&server.as_str()));
        sighting.gone.push(Gone {
            target: loss.target,
            server: loss.server,
            client: loss.client,
            silent: loss.silent,
            reset_after: told.then(|| after(loss.at)),
            why: loss.why,
            back_after: back.map(|(at, _)| *at),
            served_again,
        });
    }
}

/// Customers under way.
type Watching = tokio::task::JoinHandle<Result<Vec<Attempt>, LabError>>;

/// All who come anew.
struct Customers {
    stop: Arc<AtomicBool>,
    /// Each with what it is of.
    streams: Vec<(String, Watching)>,
    newcomers: newcomers::Watch,
    arrivals: arrivals::Watch,
}

impl Customers {
    fn start(site: &PairSite) -> anyhow::Result<Self> {
        let arrivals = arrivals::Watch::start(&site.site, &BEHIND.concat())?;
        let vips = addresses(&ECHOES).iter().map(SocketAddr::ip).collect();
        let newcomers = newcomers::Watch::start(&site.site, vips)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut streams = Vec::new();
        for visit in visits() {
            let kind = format!("{} {}", visit.kind, if visit.target.is_ipv4() { "ipv4" } else { "ipv6" });
            let (stop, client) = (stop.clone(), site.site.host(CLIENT)?.clone());
            let watch = async move { client.run(move || customer::watch(visit, PACE, stop)).await };
            streams.push((kind, tokio::spawn(watch)));
        }
        Ok(Self { stop, streams, newcomers, arrivals })
    }

    async fn end(self, began: Instant, sighting: &mut Sighting) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for (kind, stream) in self.streams {
            let attempts = stream.await.context("the customers' loop")??;
            sighting.came += attempts.len();
            for attempt in &attempts {
                let Err(why) = &attempt.outcome else { continue };
                let late = attempt.started.saturating_duration_since(began).as_millis();
                let early = began.saturating_duration_since(attempt.started).as_millis();
                let hundredths = (i64::try_from(late).unwrap_or(i64::MAX) - i64::try_from(early).unwrap_or(0)) / 10;
                sighting.failures.push((kind.clone(), hundredths, why.clone()));
            }
            sighting.failed = sighting.failures.len();
            let good = answers(&attempts);
            let silent = longest(since(&good, began));
            sighting.silence_before = sighting.silence_before.max(longest(&until(&good, began)));
            if silent > sighting.silence_new {
                (sighting.silence_new, sighting.silent_kind) = (silent, kind);
            }
        }
        // It waits for the last of them, and has a thread of its own.
        let seen = tokio::task::spawn_blocking(move || self.newcomers.end()).await??;
        sighting.newcomers = seen.newcomers.len();
        sighting.black_holes = seen.black_holes().len();
        sighting.refused = seen.newcomers.iter().filter(|one| one.refused).count();
        sighting.questions = seen.asked.len();
        sighting.two_owners = seen.two_owners().len();
        sighting.returns = seen.returns();
        sighting.unanswered = seen.unanswered();
        sighting.late_frames = self.arrivals.end()?.iter().map(arrivals::Arrivals::returns).sum();
        Ok(())
    }
}

/// Segments that the client and the servers have sent again so far (RetransSegs of RFC 4022).
fn sent_again(site: &PairSite) -> anyhow::Result<u64> {
    let mut sum = 0;
    for host in BEHIND.concat().into_iter().chain([CLIENT]) {
        let text = site.site.host(host)?.enter(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))??;
        let mut tcp = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = (tcp.next().unwrap_or_default(), tcp.next().unwrap_or_default());
        let named = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "RetransSegs");
        sum += named.and_then(|(_, value)| value.parse::<u64>().ok()).context("no RetransSegs")?;
    }
    Ok(sum)
}

/// When good answers came, in order, with when the first came and the last.
fn answers(attempts: &[Attempt]) -> Vec<Instant> {
    let (Some(first), Some(last)) = (attempts.first(), attempts.last()) else { return Vec::new() };
    let good = attempts.iter().filter(|attempt| attempt.outcome.is_ok()).map(|attempt| attempt.ended);
    // Later answers are of those who were still under way when nobody came any more.
    let mut good: Vec<Instant> = good.filter(|ended| *ended < last.started).collect();
    good.extend([first.started, last.started]);
    good.sort();
    good
}

/// From the last one before the fault on.
fn since(times: &[Instant], began: Instant) -> &[Instant] {
    let first = times.partition_point(|time| *time < began).saturating_sub(1);
    times.get(first..).unwrap_or_default()
}

/// Up to the fault.
fn until(times: &[Instant], began: Instant) -> Vec<Instant> {
    times.iter().copied().filter(|time| *time < began).chain([began]).collect()
}

fn longest(times: &[Instant]) -> Duration {
    let gaps = times.iter().zip(times.iter().skip(1)).map(|(one, next)| next.saturating_duration_since(*one));
    gaps.max().unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(milliseconds: &[u64]) -> Vec<Instant> {
        let start = Instant::now();
        milliseconds.iter().map(|ms| start + Duration::from_millis(*ms)).collect()
    }

    #[test]
    fn silence_is_counted_from_the_last_answer_before_the_fault() {
        let times = times(&[0, 200, 210, 260, 270]);
        let began = times[2] + Duration::from_millis(5);
        assert_eq!(longest(since(&times, began)), Duration::from_millis(50));
        assert_eq!(longest(&until(&times, began)), Duration::from_millis(200));
    }

    #[test]
    fn whoever_has_had_no_answer_at_all_was_silent_all_the_time() {
        let ends = times(&[0, 700]);
        let attempt = |at: Instant| Attempt { started: at, ended: at, outcome: Err("reset".into()) };
        let good = answers(&[attempt(ends[0]), attempt(ends[1])]);
        assert_eq!(longest(since(&good, ends[0])), Duration::from_millis(700));
    }

    #[test]
    fn a_connection_of_a_dead_box_is_no_loss_and_must_be_told() {
        let began = Instant::now();
        let loss = |server: &str, why: &str| Loss {
            target: ([192, 0, 2, 25], 7).into(),
            server: server.into(),
            client: None,
            silent: false,
            at: began + Duration::from_millis(40),
            why: why.into(),
            back: Some((began + Duration::from_millis(90), "pc3".into())),
        };
        let mut sighting = Sighting::default();
        judge(
            vec![loss("pc1", "reset"), loss("pc2", "timed out"), loss("pc4", "reset")],
            Fault::PowerOff,
            0,
            began,
            &mut sighting,
        );
        assert_eq!(sighting.lost.len(), 1, "pc4 is behind the other box");
        let told: Vec<_> = sighting.gone.iter().map(|gone| gone.reset_after).collect();
        assert_eq!(told, [Some(Duration::from_millis(40)), None]);
        assert_eq!(sighting.gone[0].back_after, Some(Duration::from_millis(90)));
    }
}
