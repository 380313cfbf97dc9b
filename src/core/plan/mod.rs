//! What the data plane shall do, from what the operator asked for and what is true now.
//!
//! `plan` is a function: equal inputs give equal plans, in whatever order things happened. Whoever
//! calls it does so whenever an input changes, and at `Plan::next`. Who owns the VIPs is no input: the
//! data plane's lease decides that, and a standby holds the same state, ready.
//!
//! Who gets new connections: the members of the pool that have an address of the family, are enabled
//! and up (or not probed), and whose place on the wire is known; backups only while no other member
//! can. `Standing` says for each member which of these it is.
//!
//! # What leaves the configuration
//!
//! A plan knows the configuration of now only; the tables layer compares it with what the kernel holds.
//! - A member that has left its pool, or a server that has left the configuration, is drained: the
//!   tables layer takes it out of the scheduling table and keeps its destination, with the last place
//!   known, until no connection is counted on it.
//! - A destination whose address, port or mode has changed is such a leaver and a newcomer: the old one
//!   is kept for its connections under its old number, the new one gets another number.
//! - A service or a VIP that has left is gone at once with its destinations: the operator has said that
//!   nobody shall be served there.
mod ports;
mod slow_start;
mod standing;

pub use ports::Problem;
pub use slow_start::{STEPS as SLOW_START_STEPS, Share};
pub use standing::Standing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::admin::{Admin, AdminState};
use super::check::{State, Verdict};
use super::forwarding::{Dest, DestKey, Family, ForwardingState, ServerEntry, Service, ServiceKey, Weight};
use super::moment::Moment;
use super::network::{Network, Nowhere, Place};
use super::scheduler::LEAST_CONNECTIONS_MAX;
use super::target::{Health, address_of, target};
use crate::config::{self, Config, Member, Mode, Name, Scheduler, Server, SourceNat, VirtualServer};

/// All that a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub config: &'a Config,
    pub health: &'a Health,
    pub admin: &'a Admin,
    pub network: &'a Network,
    pub now: Moment,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub state: ForwardingState,
    /// Why each member is or is not scheduled: every member of every service, also one that has no
    /// destination because it has no address of the family.
    pub members: BTreeMap<DestKey, Standing>,
    /// What of the configuration does not fit this machine now.
    pub problems: Vec<Problem>,
    /// When the plan changes although no input does: the next step of a slow start.
    pub next: Option<Moment>,
}

pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let Inputs { config, network, .. } = *inputs;
    let (ports, problems) = ports::ports(&config.interfaces, network);
    let mut plan = Plan { problems, ..Plan::default() };
    plan.state = ForwardingState {
        ports,
        vips: config.virtual_servers.values().flat_map(|v| &v.addresses).copied().collect(),
        inside: config.interfaces.inside.iter().copied().collect(),
        source_nat: source_nat(config),
        servers: config.servers.iter().map(|(name, server)| (name.clone(), server_entry(server))).collect(),
        ..ForwardingState::default()
    };
    let places = places(inputs, &plan.state);
    for (name, virtual_server) in &config.virtual_servers {
        for (service_name, service) in &virtual_server.services {
            for (family, addresses) in by_family(virtual_server) {
                let key = ServiceKey { virtual_server: name.clone(), service: service_name.clone(), family };
                plan_service(inputs, &places, key, service, addresses, &mut plan);
            }
        }
    }
    plan
}

/// Sources of full NAT. A family without any has its floating inside addresses, so that a client on the
/// servers' own segment is answered through the balancer without the operator's thinking of it.
fn source_nat(config: &Config) -> Vec<SourceNat> {
    let mut sources = config.source_nat.clone();
    for family in [Family::V4, Family::V6] {
        if config.source_nat.iter().any(|source| Family::of(source.address) == family) {
            continue;
        }
        let inside = config.interfaces.inside.iter().map(|prefix| prefix.address);
        let own = inside.filter(|address| Family::of(*address) == family);
        sources.extend(own.map(|address| SourceNat { address, ports: SourceNat::PORTS_DEFAULT }));
    }
    sources
}

fn server_entry(server: &Server) -> ServerEntry {
    let addresses = [Family::V4, Family::V6].iter().filter_map(|family| address_of(server, *family)).collect();
    ServerEntry { addresses, max_connections: server.max_connections }
}

fn by_family(virtual_server: &VirtualServer) -> BTreeMap<Family, BTreeSet<IpAddr>> {
    let mut families: BTreeMap<Family, BTreeSet<IpAddr>> = BTreeMap::new();
    for address in &virtual_server.addresses {
        families.entry(Family::of(*address)).or_default().insert(*address);
    }
    families
}

/// Where each server is, by each of its addresses.
type Places<'a> = BTreeMap<(&'a Name, Family), (IpAddr, Result<Place, Nowhere>)>;

fn places<'a>(inputs: &Inputs<'a>, state: &ForwardingState) -> Places<'a> {
    let mut places = BTreeMap::new();
    for (name, server) in &inputs.config.servers {
        for family in [Family::V4, Family::V6] {
            let Some(address) = address_of(server, family) else { continue };
            let place = match &server.link {
                Some(link) => linked(link, inputs.network),
                None => inputs.network.locate(address),
            };
            // A frame can leave only by a port that the data plane sits on.
            let place = place.and_then(|p| state.ports.contains_key(&p.port).then_some(p).ok_or(Nowhere::ForeignPort));
            places.insert((name, family), (address, place));
        }
    }
    places
}

/// The place that the configuration states.
fn linked(link: &config::Link, network: &Network) -> Result<Place, Nowhere> {
    let (port, _) = network.link_named(&link.port).ok_or(Nowhere::PortDown)?;
    network.usable(port)?;
    Ok(Place { mac: link.mac, port, vlan: link.vlan.unwrap_or(0) })
}

fn plan_service(
    inputs: &Inputs<'_>,
    places: &Places<'_>,
    key: ServiceKey,
    service: &config::Service,
    addresses: BTreeSet<IpAddr>,
    plan: &mut Plan,
) {
    let Some(pool) = inputs.config.pools.get(&service.pool) else { return };
    let mut members = BTreeMap::new();
    let mut candidates = Vec::new();
    for member in &pool.members {
        let Some(server) = inputs.config.servers.get(&member.server) else { continue };
        let dest_key = DestKey { service: key.clone(), server: member.server.clone() };
        let Some((address, place)) = places.get(&(&member.server, key.family)) else {
            plan.members.insert(dest_key, Standing::NoAddress(key.family));
            continue;
        };
        let weight = full_weight(member, server);
        let admin = inputs.admin.of_member(&service.pool, &member.server);
        let target = target(service, pool, member, *address);
        let health = target.as_ref().map(|target| inputs.health.get(target));
        let state = health.map(|health| health.map_or(State::Unknown, |h| h.state()));
        let standing = match (admin, state, place) {
            (AdminState::Disabled, ..) => Some(Standing::Disabled),
            (_, Some(State::Down), _) => Some(Standing::Down(failure(health))),
            (AdminState::Draining, ..) => Some(Standing::Draining),
            (_, Some(State::Unknown), _) => Some(Standing::Unprobed),
            (.., Err(nowhere)) => Some(Standing::NoPlace(*nowhere)),
            (AdminState::Enabled, None | Some(State::Up), Ok(_)) => None,
        };
        let dest = Dest {
            address: *address,
            // Direct server return changes nothing above layer 2.
            port: if service.mode == Mode::Dsr { None } else { member.port.or(pool.port) },
            mode: service.mode,
            place: *place,
            down: admin == AdminState::Disabled || state == Some(State::Down),
        };
        match standing {
            Some(standing) => _ = plan.members.insert(dest_key.clone(), standing),
            None => {
                let returned = health.flatten().and_then(|health| health.returned());
                let begun = returned.max(inputs.admin.enabled_at(&service.pool, &member.server));
                let share = Share::of(pool.slow_start, begun, inputs.now);
                candidates.push(Candidate { name: &member.server, weight, share, backup: member.backup });
            }
        }
        members.insert(member.server.clone(), weight);
        plan.state.dests.insert(dest_key, dest);
    }
    let schedule = schedule(&key, pool.scheduler, candidates, plan);
    let service = Service {
        addresses,
        protocol: service.protocol,
        ports: service.ports,
        persistence: service.persistence.clone(),
        timeouts: service.timeouts.clone(),
        udp: service.udp,
        on_failure: service.on_failure,
        scheduler: pool.scheduler,
        members,
        schedule,
    };
    plan.state.services.insert(key, service);
}

fn full_weight(member: &Member, server: &Server) -> Weight {
    Weight(u32::from(member.weight.unwrap_or(server.weight).max(1)) * 1000)
}

/// The words of the last failure; the probe that came last may already have been a success.
fn failure(health: Option<Option<&super::check::TargetHealth>>) -> Option<String> {
    match health.flatten()?.last()?.1 {
        Verdict::Failure(failure) => Some(failure.words.clone()),
        Verdict::Success(_) => None,
    }
}

/// A member that could be scheduled.
struct Candidate<'a> {
    name: &'a Name,
    weight: Weight,
    share: Share,
    backup: bool,
}

/// Chooses among those who could be scheduled, and enters their standing.
fn schedule(
    key: &ServiceKey,
    scheduler: Scheduler,
    mut candidates: Vec<Candidate<'_>>,
    plan: &mut Plan,
) -> BTreeMap<Name, Weight> {
    candidates.sort_by_key(|candidate| candidate.name);
    let primaries = candidates.iter().any(|candidate| !candidate.backup);
    let most = if scheduler == Scheduler::LeastConnections { LEAST_CONNECTIONS_MAX } else { usize::MAX };
    let mut schedule = BTreeMap::new();
    for Candidate { name, weight, share, backup } in candidates {
        let standing = if backup && primaries {
            Standing::BackupIdle
        } else if schedule.len() >= most {
            Standing::TooMany
        } else {
            schedule.insert(name.clone(), share.apply(weight));
            plan.next = plan.next.into_iter().chain(share.next()).min();
            Standing::Scheduled { percent: share.percent(), backup }
        };
        plan.members.insert(DestKey { service: key.clone(), server: name.clone() }, standing);
    }
    schedule
}

#[cfg(test)]
pub mod fixture;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
