//! What befalls servers, and how long the balancer takes to see it, with customers under way.
//!
//! Two clocks are read. The balancer's: from the fault until each service of the failed server has it out of its
//! schedule, as its API says. The customers': errands that began after that must succeed, all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::errand::{self, Attempt, Errand};
use super::site::{DETECTION, Mode, OFFERS, Offer, RealSite, Software};
use super::store;
use crate::lab::api::Api;
use crate::lab::mail::{BALANCER, CLIENT};

/// Customers come this often; in both modes and both address families in turn.
const PACE: Duration = Duration::from_millis(50);
/// How often the balancer is asked: so much later than it happened may a change be seen.
const LOOK: Duration = Duration::from_millis(20);
/// What comes on top of what the balancer promises, until the API's answer has been read.
const SLACK: Duration = Duration::from_secs(1);
/// Customers before the fault, and after it was found.
const CALM: Duration = Duration::from_millis(700);
/// A balancer that has not found a fault within this does not find it.
const FIND_PATIENCE: Duration = Duration::from_secs(20);
/// Until a server that is well again is back in all of its services.
const BACK_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// All of its processes are killed: ports are closed.
    Stopped,
    /// All of its processes are stopped (SIGSTOP): ports are open, and nobody speaks.
    Hung,
    /// The machine's mail store is an empty directory.
    StoreGone,
    /// The machine's mail store answers nothing, and whoever touches it waits in the kernel.
    StoreBlocked,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Hung => "hung",
            Self::StoreGone => "mail store gone",
            Self::StoreBlocked => "mail store blocked",
        })
    }
}

/// A trouble, and the kinds of servers of one machine that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    pub software: &'static [Software],
    pub trouble: Trouble,
}

/// Every kind of server is stopped and hung; a mail store hits those that read it.
pub fn all() -> Vec<Fault> {
    let kinds: [&[Software]; 7] = [
        &[Software::EximMx],
        &[Software::EximRelay],
        &[Software::Pop3],
        &[Software::Imap],
        &[Software::Apache],
        &[Software::FreeRadius],
        &[Software::Bind],
    ];
    let each = |trouble| kinds.map(|software| Fault { software, trouble });
    let store: &[Software] = &[Software::Pop3, Software::Imap];
    let both = [Trouble::StoreGone, Trouble::StoreBlocked].map(|trouble| Fault { software: store, trouble });
    each(Trouble::Stopped).into_iter().chain(each(Trouble::Hung)).chain(both).collect()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.software.iter().map(|software| software.title()).collect();
        write!(f, "{}: {}", names.join(" and "), self.trouble)
    }
}

impl Fault {
    fn offers(&self) -> impl Iterator<Item = Offer> {
        OFFERS.into_iter().filter(|offer| self.software.contains(&offer.software))
    }

    /// Where its customers go, by DSR and NAT, IPv4 and IPv6 in turn.
    fn places(&self) -> anyhow::Result<Vec<(Errand, SocketAddr)>> {
        let mut places = Vec::new();
        for (mode, v6) in Mode::ALL.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
            for (service, errand) in self.software.iter().flat_map(|software| Errand::at(*software)) {
                places.push((*errand, Offer::named(service)?.address(mode, v6)));
            }
        }
        Ok(places)
    }

    /// The machine that it befalls, another one every time.
    fn machine(&self, round: usize) -> anyhow::Result<&'static str> {
        let software = self.software.first().context("a fault without a server")?;
        Ok(if round.is_multiple_of(2) { software.machines()[0] } else { software.machines()[1] })
    }
}

/// What was seen of one fault.
#[derive(Clone, Debug, Default)]
pub struct Sighting {
    /// From the fault until it was out, for each service (in each mode and address family) of the server.
    pub found: Vec<Duration>,
    /// Errands that had begun before the fault and failed by it.
    pub under_way: usize,
    /// Errands that began between the fault and the moment when it was found everywhere, and those that failed.
    pub meanwhile: usize,
    pub failed_meanwhile: usize,
    /// Begun after that. None may fail.
    pub served_after: usize,
    pub failed_after: Vec<String>,
    /// Failures before there was any fault. None may be.
    pub failed_before: BTreeMap<String, usize>,
    /// Services that had the server still in their schedule when the patience ended.
    pub missed: Vec<String>,
    /// Services that lost the machine that was well. None may.
    pub innocent: Vec<String>,
}

impl Sighting {
    pub fn worst(&self) -> Duration {
        self.found.iter().max().copied().unwrap_or_default()
    }

    /// As it is promised.
    pub fn holds(&self) -> bool {
        self.missed.is_empty()
            && self.innocent.is_empty()
            && self.failed_before.is_empty()
            && self.failed_after.is_empty()
            && self.served_after > 0
            && !self.found.is_empty()
            && self.worst() <= DETECTION + SLACK
    }
}

impl fmt::Display for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |d: Option<&Duration>| d.copied().unwrap_or_default().as_secs_f32();
        write!(
            f,
            "out of {} services after {:.2} to {:.2} s (promised: {:.1} s); failed: {} under way, {} of {} until then, of {} after that {}",
            self.found.len(),
            seconds(self.found.iter().min()),
            seconds(self.found.iter().max()),
            DETECTION.as_secs_f32(),
            self.under_way,
            self.failed_meanwhile,
            self.meanwhile,
            self.served_after + self.failed_after.len(),
            if self.failed_after.is_empty() { "none".into() } else { format!("{:?}", self.failed_after) },
        )?;
        for (what, list) in [("NOT FOUND at", &self.missed), ("the other machine was OUT of", &self.innocent)] {
            if !list.is_empty() {
                write!(f, "; {what} {}", list.join(", "))?;
            }
        }
        if !self.failed_before.is_empty() {
            write!(f, "; failed BEFORE the fault: {:?}", self.failed_before)?;
        }
        Ok(())
    }
}

/// Lets a fault befall a machine with customers under way, watches, and makes it well again.
pub async fn suffer(site: &mut RealSite, fault: Fault, round: usize) -> anyhow::Result<Sighting> {
    let api = Api::new(site.site.host(BALANCER)?.clone());
    let pc = fault.machine(round)?;
    let (places, client, stop) = (fault.places()?, site.site.host(CLIENT)?.clone(), Arc::new(AtomicBool::new(false)));
    let watching = {
        let stop = stop.clone();
        tokio::spawn(async move { client.run(move || errand::watch(places, PACE, stop)).await })
    };
    tokio::time::sleep(CALM).await;
    let mut sighting = Sighting::default();
    let began = Instant::now();
    let harm = inflict(site, fault, pc)?;
    // A server hangs only when the last of its processes has stopped.
    let complete = if fault.trouble == Trouble::Hung { Instant::now() } else { began };
    look_until_out(&api, fault, pc, complete, &mut sighting).await?;
    let found = Instant::now();
    tokio::time::sleep(CALM).await;
    stop.store(true, Ordering::Relaxed);
    let attempts = watching.await.context("the customers' loop")??;
    judge(&attempts, began, found, &mut sighting);
    harm.heal(site, fault, pc)?;
    wait_until_back(site, &api, fault, pc).await?;
    Ok(sighting)
}

/// Asks until the server is out of all of its services, and writes down when.
async fn look_until_out(
    api: &Api,
    fault: Fault,
    pc: &str,
    since: Instant,
    sighting: &mut Sighting,
) -> anyhow::Result<()> {
    let mut waiting: Option<Vec<String>> = None;
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let affected: Vec<_> = api.members().await?.into_iter().filter(|m| serves(fault, &m.service)).collect();
        let now = since.elapsed();
        let (own, others): (Vec<_>, Vec<_>) = affected.into_iter().partition(|m| m.server == pc);
        for other in others.into_iter().filter(|m| !m.scheduled) {
            if !sighting.innocent.contains(&other.service) {
                sighting.innocent.push(other.service);
            }
        }
        let waiting = waiting.get_or_insert_with(|| own.iter().map(|m| m.service.clone()).collect());
        waiting.retain(|service| {
            let out = own.iter().any(|m| m.service == *service && !m.scheduled);
            if out {
                sighting.found.push(now);
            }
            !out
        });
        if waiting.is_empty() {
            return Ok(());
        }
        if now > FIND_PATIENCE {
            sighting.missed.append(waiting);
            return Ok(());
        }
    }
}

/// `mx-nat/smtp ipv6` is a service of the fault's software.
fn serves(fault: Fault, member: &str) -> bool {
    let path = member.split_once(' ').map_or(member, |(path, _)| path);
    fault.offers().any(|offer| {
        Mode::ALL.into_iter().any(|mode| path == format!("{}/{}", offer.virtual_server(mode), offer.service))
    })
}

fn judge(attempts: &[Attempt], began: Instant, found: Instant, sighting: &mut Sighting) {
    let before = attempts.iter().filter(|a| a.ended < began);
    sighting.failed_before = errand::failures(before);
    let failed = |a: &&Attempt| a.outcome.is_err();
    sighting.under_way = attempts.iter().filter(|a| a.started < began && a.ended >= began).filter(failed).count();
    let meanwhile = attempts.iter().filter(|a| a.started >= began && a.started < found);
    sighting.failed_meanwhile = meanwhile.clone().filter(failed).count();
    sighting.meanwhile = meanwhile.count();
    let after = attempts.iter().filter(|a| a.started >= found);
    sighting.served_after = after.clone().filter(|a| a.outcome.is_ok()).count();
    sighting.failed_after = after
        .filter_map(|a| {
            let late = a.started.saturating_duration_since(found).as_millis();
            let why = a.outcome.as_ref().err()?;
            Some(format!("{why} ({}, who came {late} ms after it was out)", a.target))
        })
        .collect();
}

/// What must be undone.
enum Harm {
    Stopped,
    Hung,
    Store(store::Trouble),
}

fn inflict(site: &mut RealSite, fault: Fault, pc: &str) -> anyhow::Result<Harm> {
    Ok(match fault.trouble {
        Trouble::Stopped => {
            fault.software.iter().try_for_each(|software| site.stop(pc, *software))?;
            Harm::Stopped
        }
        Trouble::Hung => {
            for program in fault.software.iter().flat_map(|software| software.programs()) {
                site.machine(pc)?.program(program)?.freeze()?;
            }
            Harm::Hung
        }
        Trouble::StoreGone => Harm::Store(store::Trouble::moved_away(site.machine(pc)?)?),
        Trouble::StoreBlocked => Harm::Store(store::Trouble::blocked(site.machine(pc)?)?),
    })
}

impl Harm {
    fn heal(self, site: &mut RealSite, fault: Fault, pc: &str) -> anyhow::Result<()> {
        match self {
            Self::Stopped => fault.software.iter().try_for_each(|software| site.start_again(pc, *software))?,
            Self::Hung => {
                for program in fault.software.iter().flat_map(|software| software.programs()) {
                    site.machine(pc)?.program(program)?.thaw();
                }
            }
            Self::Store(trouble) => trouble.end(site.machine(pc)?)?,
        }
        Ok(())
    }
}

async fn wait_until_back(site: &mut RealSite, api: &Api, fault: Fault, pc: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        site.balancer_runs()?;
        let members = api.members().await?;
        let out: Vec<_> = members.into_iter().filter(|m| serves(fault, &m.service) && !m.scheduled).collect();
        if out.is_empty() {
            return Ok(());
        }
        if start.elapsed() > BACK_PATIENCE {
            let out: Vec<_> = out.iter().map(ToString::to_string).collect();
            bail!("{BACK_PATIENCE:?} after {fault} at {pc} has ended, these are still out: {}", out.join("; "));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The detection times of many sightings, by fault.
#[derive(Clone, Debug, Default)]
pub struct Record {
    rows: BTreeMap<Fault, (usize, Vec<Duration>)>,
}

impl Record {
    pub fn add(&mut self, fault: Fault, sighting: &Sighting) {
        let (times, found) = self.rows.entry(fault).or_default();
        *times += 1;
        found.extend(&sighting.found);
    }

    /// A table: how often each fault was made, in how many services it was found, and after how long.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:52} {:>6} {:>8} {:>8} {:>8} {:>9}\n",
            "fault", "times", "services", "median", "worst", "promised"
        );
        for (fault, (times, found)) in &self.rows {
            let mut found = found.clone();
            found.sort_unstable();
            let at = |place: usize| found.get(place).copied().unwrap_or_default().as_secs_f64();
            let (median, worst) = (at(found.len() / 2), at(found.len().saturating_sub(1)));
            text += &format!(
                "{:52} {times:>6} {:>8} {median:>6.2} s {worst:>6.2} s {:>7.1} s\n",
                fault.to_string(),
                found.len(),
                DETECTION.as_secs_f64()
            );
        }
        text
    }
}
