//! What is probed, and what is known of it.
//!
//! A target is a question (kind of probe, address, port) and the pace at which it is asked. One target
//! serves every pool that asks the same thing at the same pace. Pools that want different paces get a
//! target each, although the packets look alike: so that a pool's `fall: 5` means five whatever a
//! neighbour's says, and no pool is taken out by another one's impatience.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::check::{Change, Outcome, State, TargetHealth, Verdict};
use super::forwarding::Family;
use super::moment::Moment;
use super::tally::Tally;
use crate::config::resolve::{is_probed, probe_port};
use crate::config::{Aim, Check, CheckKind, Config, Member, Mode, Name, Pool, Probe, Server, Service, VirtualServer};

/// What is asked, and where: one probe's worth.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// A server's own address, or a virtual one.
    pub address: SocketAddr,
    /// The server that the frames go to, when `address` is a virtual one (direct server return).
    pub via: Option<Via>,
    pub probe: Arc<Probe>,
}

/// A server whose loopback is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Via {
    pub server: Name,
    /// Its own address, of the family of the virtual one.
    pub address: IpAddr,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.probe.name(), self.address)?;
        match &self.via {
            Some(via) => write!(f, " at {}", via.server),
            None => Ok(()),
        }
    }
}

/// Name of the server that a question is about; its address, if the configuration has no such server any more.
pub fn server_asked(config: &Config, question: &Question) -> String {
    let address = question.address.ip();
    let has = |server: &Server| [Family::V4, Family::V6].iter().any(|f| address_of(server, *f) == Some(address));
    let by_address = || config.servers.iter().find(|(_, server)| has(server)).map(|(name, _)| name);
    let name = question.via.as_ref().map(|via| &via.server).or_else(by_address);
    name.map_or_else(|| address.to_string(), ToString::to_string)
}

/// How often to ask, how long to wait, how often to be told. As in `config::Check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pace {
    pub interval: Duration,
    pub fast_interval: Duration,
    pub timeout: Duration,
    pub slow: Option<Duration>,
    pub rise: u8,
    pub fall: u8,
    pub flap_hold: Duration,
}

impl Pace {
    pub fn of(check: &Check) -> Self {
        Self {
            interval: check.interval,
            fast_interval: check.fast_interval,
            timeout: check.timeout,
            slow: check.slow,
            rise: check.rise,
            fall: check.fall,
            flap_hold: check.flap_hold,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    pub question: Question,
    pub pace: Pace,
}

/// A server's address of a family.
pub fn address_of(server: &Server, family: Family) -> Option<IpAddr> {
    match family {
        Family::V4 => server.address.map(IpAddr::V4),
        Family::V6 => server.address6.map(IpAddr::V6),
    }
}

/// The probe of a member of a service, if there is one.
fn probe_of(service: &Service, pool: &Pool, member: &Member) -> Option<Arc<Probe>> {
    let probe = match &pool.check.kind {
        CheckKind::Probe(probe) => probe,
        CheckKind::Auto | CheckKind::None => &TCP,
    };
    is_probed(service, pool, member).then(|| probe.clone())
}

static TCP: LazyLock<Arc<Probe>> = LazyLock::new(|| Arc::new(Probe::Tcp));

/// What to probe for a member of a service at `address`, its server's own; nothing: it is not probed.
/// `addresses` are the service's virtual ones, of the same family.
///
/// In DSR each of these is asked for, at the server's MAC: it serves only if it has them all. Neither ARP
/// nor a command can be asked so. The port is the check's, else the member's, else the pool's, else the
/// service's (the first of a range); DSR changes no ports, so that only the check's may differ there.
pub fn member_targets(
    service: &Service,
    pool: &Pool,
    member: &Member,
    address: IpAddr,
    addresses: &BTreeSet<IpAddr>,
) -> Vec<Target> {
    let Some(probe) = probe_of(service, pool, member) else { return Vec::new() };
    let pace = Pace::of(&pool.check);
    let port = probe_port(service, pool, member);
    let target = |at: IpAddr, via| {
        let question = Question { address: SocketAddr::new(at, port), via, probe: probe.clone() };
        Target { question, pace }
    };
    let own_only = matches!(*probe, Probe::Arp | Probe::Script(_));
    if service.mode == Mode::Dsr && pool.check.aim == Aim::Auto && !own_only {
        let via = || Some(Via { server: member.server.clone(), address });
        addresses.iter().map(|virtual_address| target(*virtual_address, via())).collect()
    } else {
        vec![target(address, None)]
    }
}

/// Everything that the configuration wants probed: each member of each service, in each family in
/// which the service has an address.
pub fn targets(config: &Config) -> BTreeSet<Target> {
    let mut found = BTreeSet::new();
    for virtual_server in config.virtual_servers.values() {
        let families = by_family(virtual_server);
        for service in virtual_server.services.values() {
            for pool in pools_of(config, service) {
                for member in &pool.members {
                    let Some(server) = config.servers.get(&member.server) else { continue };
                    for (family, addresses) in &families {
                        let Some(own) = address_of(server, *family) else { continue };
                        found.extend(member_targets(service, pool, member, own, addresses));
                    }
                }
            }
        }
    }
    found
}

/// The pools whose members may serve a service: its own, the one that clients are migrated to, and the
/// backups of each.
pub fn pools_of<'a>(config: &'a Config, service: &Service) -> Vec<&'a Pool> {
    let named = |name: &Option<Name>| name.as_ref().and_then(|name| config.pools.get(name));
    let own = config.pools.get(&service.pool);
    let migrated = own.and_then(|pool| config.pools.get(&pool.migrate.as_ref()?.to));
    let sides = || own.into_iter().chain(migrated);
    sides().chain(sides().filter_map(|pool| named(&pool.backup_pool))).collect()
}

/// The addresses of a virtual server, by family.
pub fn by_family(virtual_server: &VirtualServer) -> BTreeMap<Family, BTreeSet<IpAddr>> {
    let mut families: BTreeMap<Family, BTreeSet<IpAddr>> = BTreeMap::new();
    for address in &virtual_server.addresses {
        families.entry(Family::of(*address)).or_default().insert(*address);
    }
    families
}

/// What all the targets of a member say together: it is up when each of them is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberHealth {
    pub state: State,
    /// When the latest change of one of them was.
    pub since: Moment,
    /// It was up, what it was reached by has failed, and it has not answered since.
    pub suspect: bool,
    /// Why it is down, in words; `None` also when what is down has succeeded last.
    pub failure: Option<String>,
    /// It answers, and is held down because it flaps, until then.
    pub held_until: Option<Moment>,
    /// When it was up last, if it is down and was up before.
    pub up_until: Option<Moment>,
    /// When it came back.
    pub returned: Option<Moment>,
}

/// The health of all targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    targets: BTreeMap<Target, TargetHealth>,
    /// By the protocol of the probe.
    tallies: BTreeMap<&'static str, Tally>,
}

impl Health {
    pub fn new(wanted: &BTreeSet<Target>, now: Moment) -> Self {
        let mut health = Self::default();
        health.retarget(wanted, now);
        health
    }

    /// Follows a changed configuration. A target that is asked at another pace than before inherits
    /// what is known, so that editing an interval takes no server out.
    pub fn retarget(&mut self, wanted: &BTreeSet<Target>, now: Moment) {
        let old = std::mem::take(&mut self.targets);
        let mut by_question: BTreeMap<&Question, &TargetHealth> = BTreeMap::new();
        for (target, health) in &old {
            // Among several paces, the one decided last has the freshest view.
            let best = by_question.entry(&target.question).or_insert(health);
            if best.state() == State::Unknown || (health.state() != State::Unknown && health.since() > best.since()) {
                *best = health;
            }
        }
        for target in wanted {
            let health = match (old.get(target), by_question.get(&target.question)) {
                (Some(same), _) => same.clone(),
                (None, Some(other)) => other.inherited(),
                (None, None) => TargetHealth::new(now),
            };
            self.targets.insert(target.clone(), health);
        }
    }

    /// Takes a probe's result, and tells the target's health after it and whether that has changed. `None`: the target is
    /// no longer wanted, and the result is ignored.
    pub fn record(
        &mut self,
        target: &Target,
        outcome: Outcome,
        now: Moment,
    ) -> Option<(&TargetHealth, Option<Change>)> {
        let health = self.targets.get_mut(target)?;
        let change = health.record(outcome, &target.pace, now);
        if let Some((_, outcome)) = health.last() {
            self.tallies.entry(target.question.probe.name()).or_default().add(outcome);
        }
        Some((health, change))
    }

    /// What these targets are reached by has failed; tells those that are to be asked now.
    pub fn suspect(&mut self, is_one: impl Fn(&Question) -> bool) -> Vec<Target> {
        let mut suspects = Vec::new();
        for (target, health) in self.targets.iter_mut().filter(|(target, _)| is_one(&target.question)) {
            health.suspect();
            if health.is_suspect() {
                suspects.push(target.clone());
            }
        }
        suspects
    }

    /// The health of a member that is asked these questions, as of `now`; `None`: it is not probed.
    pub fn of(&self, targets: &[Target], now: Moment) -> Option<MemberHealth> {
        let each = || targets.iter().filter_map(|target| Some((target, self.get(target)?)));
        if targets.is_empty() {
            return None;
        }
        let asked = each().count() == targets.len();
        let down: Vec<_> = each().filter(|(_, health)| health.state() == State::Down).collect();
        let state = if !down.is_empty() {
            State::Down
        } else if asked && each().all(|(_, health)| health.state() == State::Up) {
            State::Up
        } else {
            State::Unknown
        };
        let held: Option<Vec<Moment>> =
            down.iter().map(|(target, health)| health.held_until(&target.pace, now)).collect();
        let failure = |(_, health): &(&Target, &TargetHealth)| match &health.last()?.1.verdict {
            Verdict::Failure(failure) => Some(failure.words.clone()),
            Verdict::Success(_) => None,
        };
        Some(MemberHealth {
            state,
            suspect: each().any(|(_, health)| health.is_suspect()),
            since: each().map(|(_, health)| health.since()).max().unwrap_or_default(),
            failure: down.iter().find_map(failure),
            held_until: held.and_then(|held| held.into_iter().max()),
            up_until: down.iter().map(|(_, health)| health.up_until()).min().flatten(),
            returned: each().filter_map(|(_, health)| health.returned()).max(),
        })
    }

    pub fn get(&self, target: &Target) -> Option<&TargetHealth> {
        self.targets.get(target)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Target, &TargetHealth)> {
        self.targets.iter()
    }

    /// What all probes have come to, by their protocol.
    pub fn tallies(&self) -> &BTreeMap<&'static str, Tally> {
        &self.tallies
    }

    /// Every target has answered or failed once. Until then a daemon that adopts a running data plane
    /// does well to leave its tables alone, because an unknown target is not scheduled.
    pub fn decided(&self) -> bool {
        self.targets.values().all(|health| health.last().is_some())
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
