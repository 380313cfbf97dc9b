//! What is probed, and what is known of it.
//!
//! A target is a question (kind of probe, address, port) and the pace at which it is asked. One target
//! serves every pool that asks the same thing at the same pace. Pools that want different paces get a
//! target each, although the packets look alike: so that a pool's `fall: 5` means five whatever a
//! neighbour's says, and no pool is taken out by another one's impatience.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::check::{Change, State, TargetHealth, Verdict};
use super::forwarding::Family;
use super::moment::Moment;
use crate::config::{CheckKind, Config, Member, Pool, Protocol, Server, Service};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// Does a TCP connection open?
    Tcp(SocketAddr),
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp {address}"),
        }
    }
}

/// How often to ask, how long to wait, how often to be told. As in `config::Check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pace {
    pub interval: Duration,
    pub timeout: Duration,
    pub rise: u8,
    pub fall: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// What to probe for a member of a service at `address`; `None`: it is not probed.
///
/// The port is the check's, else the member's, else the pool's, else the service's (the first of a
/// range).
pub fn target(service: &Service, pool: &Pool, member: &Member, address: IpAddr) -> Option<Target> {
    let own = member.port.or(pool.port);
    let check = &pool.check;
    let ask = match check.kind {
        CheckKind::None => false,
        CheckKind::Tcp => true,
        CheckKind::Auto => service.protocol == Protocol::Tcp && (own.is_some() || !service.ports.is_range()),
    };
    let port = check.port.or(own).unwrap_or(service.ports.first);
    let pace = Pace { interval: check.interval, timeout: check.timeout, rise: check.rise, fall: check.fall };
    ask.then(|| Target { question: Question::Tcp(SocketAddr::new(address, port)), pace })
}

/// Everything that the configuration wants probed: each member of each service, in each family in
/// which the service has an address.
pub fn targets(config: &Config) -> BTreeSet<Target> {
    let mut found = BTreeSet::new();
    for virtual_server in config.virtual_servers.values() {
        let families: BTreeSet<Family> = virtual_server.addresses.iter().map(|a| Family::of(*a)).collect();
        for service in virtual_server.services.values() {
            let Some(pool) = config.pools.get(&service.pool) else { continue };
            for member in &pool.members {
                let Some(server) = config.servers.get(&member.server) else { continue };
                let addresses = families.iter().filter_map(|family| address_of(server, *family));
                found.extend(addresses.filter_map(|address| target(service, pool, member, address)));
            }
        }
    }
    found
}

/// The health of all targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    targets: BTreeMap<Target, TargetHealth>,
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
        let mut by_question: BTreeMap<Question, &TargetHealth> = BTreeMap::new();
        for (target, health) in &old {
            // Among several paces, the one decided last has the freshest view.
            let best = by_question.entry(target.question).or_insert(health);
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
            self.targets.insert(*target, health);
        }
    }

    /// Takes a probe's result. One for a target that is no longer wanted is ignored.
    pub fn record(&mut self, target: &Target, verdict: Verdict, now: Moment) -> Option<Change> {
        self.targets.get_mut(target)?.record(verdict, target.pace.rise, target.pace.fall, now)
    }

    pub fn get(&self, target: &Target) -> Option<&TargetHealth> {
        self.targets.get(target)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Target, &TargetHealth)> {
        self.targets.iter()
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
