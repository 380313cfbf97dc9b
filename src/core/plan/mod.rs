//! What the data plane shall do, from what the operator asked for and what is true now.
//!
//! `plan` is a function: equal inputs give equal plans, in whatever order things happened. Whoever
//! calls it does so whenever an input changes, and at `Plan::next`. Who owns the VIPs is no input: the
//! data plane's lease decides that, and a standby holds the same state, ready.
//!
//! Who gets new connections: the members of the pool that have an address of the family, are enabled
//! and up (or not probed), and whose place on the wire is known; backups only while no other member
//! can (`choose` has the rules of pools with too few members). `Standing` says for each member which of
//! these it is.
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
mod choose;
mod ports;
mod slow_start;
mod standing;

use choose::{Candidate, Rank, choose};
pub use ports::Problem;
pub use slow_start::{STEPS as SLOW_START_STEPS, Share};
pub use standing::Standing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::admin::{Admin, AdminState};
use super::check::State;
use super::forwarding::{Dest, DestKey, Family, ForwardingState, Migration, ServerEntry, Service, ServiceKey, Weight};
use super::moment::Moment;
use super::network::{Network, Nowhere, Place};
use super::target::{Health, address_of, by_family, member_targets};
use crate::config::{self, Config, Member, Mode, Name, Pool, Server, SourceNat};

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
    let scene = Scene { inputs, places, key: &key, service, addresses: &addresses };
    let side = scene.side(&service.pool, pool, plan);
    let migration = pool.migrate.as_ref().and_then(|migrate| {
        let to = inputs.config.pools.get(&migrate.to)?;
        let side = scene.side(&migrate.to, to, plan);
        Some(Migration {
            share: migrate.share,
            clients: migrate.clients.iter().copied().collect(),
            scheduler: to.scheduler,
            members: side.members,
            schedule: side.schedule,
        })
    });
    let service = Service {
        addresses,
        protocol: service.protocol,
        ports: service.ports,
        data_ports: service.passive.into_iter().collect(),
        // RFC 959, 3.2: beside the control port.
        active: service.passive.and_then(|_| service.ports.first.checked_sub(1)),
        persistence: service.persistence.clone(),
        timeouts: service.timeouts.clone(),
        udp: service.udp,
        on_failure: pool.on_failure,
        scheduler: pool.scheduler,
        members: side.members,
        schedule: side.schedule,
        migration,
    };
    plan.state.services.insert(key, service);
}

/// What a pool gives to a service.
struct Side {
    /// Everyone who could ever be scheduled.
    members: BTreeMap<Name, Weight>,
    /// Who is, with the weight of now.
    schedule: BTreeMap<Name, Weight>,
}

/// A service in one address family, while it is planned.
struct Scene<'a> {
    inputs: &'a Inputs<'a>,
    places: &'a Places<'a>,
    key: &'a ServiceKey,
    service: &'a config::Service,
    addresses: &'a BTreeSet<IpAddr>,
}

impl Scene<'_> {
    /// The destinations and the schedule of a pool's members, those of its backup pool behind them.
    fn side(&self, name: &Name, pool: &Pool, plan: &mut Plan) -> Side {
        let config = self.inputs.config;
        let backup_pool = pool.backup_pool.as_ref().and_then(|name| Some((name, config.pools.get(name)?)));
        let own = pool.members.iter().map(|member| (name, pool, member, member.backup));
        let others = backup_pool.into_iter();
        let others = others.flat_map(|(name, pool)| pool.members.iter().map(move |m| (name, pool, m, true)));
        let mut members = BTreeMap::new();
        let mut candidates = Vec::new();
        for (name, pool, member, backup) in own.chain(others) {
            let Some(server) = config.servers.get(&member.server) else { continue };
            let weight = full_weight(member, server);
            if let Some(candidate) = self.member((name, pool), member, backup, weight, plan) {
                candidates.push(candidate);
            }
            if self.places.contains_key(&(&member.server, self.key.family)) {
                members.insert(member.server.clone(), weight);
            }
        }
        let mut schedule = BTreeMap::new();
        for (candidate, standing) in choose(pool, candidates) {
            let dest_key = self.dest_key(candidate.name);
            if standing.is_scheduled() {
                schedule.insert(candidate.name.clone(), candidate.share.apply(candidate.weight));
                plan.next = plan.next.into_iter().chain(candidate.share.next()).min();
                if let Some(dest) = plan.state.dests.get_mut(&dest_key) {
                    // It serves, whatever its probe says: its connections are not reset.
                    dest.down = false;
                }
            }
            plan.members.insert(dest_key, standing);
        }
        Side { members, schedule }
    }

    fn dest_key(&self, server: &Name) -> DestKey {
        DestKey { service: self.key.clone(), server: server.clone() }
    }

    /// Enters a member's destination and, if it cannot be scheduled in any case, its standing; else it is a
    /// candidate.
    fn member<'m>(
        &self,
        (pool_name, pool): (&Name, &Pool),
        member: &'m Member,
        backup: bool,
        weight: Weight,
        plan: &mut Plan,
    ) -> Option<Candidate<'m>> {
        let Inputs { health, admin, now, .. } = *self.inputs;
        let dest_key = self.dest_key(&member.server);
        let Some((address, place)) = self.places.get(&(&member.server, self.key.family)) else {
            plan.members.insert(dest_key, Standing::NoAddress(self.key.family));
            return None;
        };
        let ordered = admin.of_member(pool_name, &member.server);
        let targets = member_targets(self.service, pool, member, *address, self.addresses);
        let health = health.of(&targets, now);
        let state = health.as_ref().map(|health| health.state);
        let suspect = health.as_ref().is_some_and(|health| health.suspect);
        let dest = Dest {
            address: *address,
            // Direct server return changes nothing above layer 2.
            port: if self.service.mode == Mode::Dsr { None } else { member.port.or(pool.port) },
            mode: self.service.mode,
            place: *place,
            down: ordered == AdminState::Disabled
                || state == Some(State::Down)
                || admin.is_overdue(pool_name, &member.server),
        };
        plan.state.dests.insert(dest_key.clone(), dest);
        let failure = || health.as_ref().and_then(|health| health.failure.clone());
        let rank = match (ordered, state, place) {
            (AdminState::Disabled, ..) => Err(Standing::Disabled),
            (AdminState::Enabled, Some(State::Down), Ok(_)) => {
                let health = health.as_ref();
                match health.map(|health| (health.held_until, health.up_until)) {
                    Some((Some(_), _)) => Ok(Rank::Flapping),
                    Some((None, Some(up_until))) if !backup => Ok(Rank::WasUp(up_until, failure())),
                    _ => Err(Standing::Down(failure())),
                }
            }
            (_, Some(State::Down), _) => Err(Standing::Down(failure())),
            (AdminState::Draining, ..) => Err(Standing::Draining),
            (_, Some(State::Unknown), _) => Err(Standing::Unprobed),
            (.., Err(nowhere)) => Err(Standing::NoPlace(*nowhere)),
            (AdminState::Enabled, Some(State::Up), Ok(_)) if suspect => Ok(Rank::Suspect),
            (AdminState::Enabled, None | Some(State::Up), Ok(_)) if backup => Ok(Rank::Backup),
            (AdminState::Enabled, None | Some(State::Up), Ok(_)) => Ok(Rank::Up),
        };
        match rank {
            Ok(rank) => {
                let returned = health.and_then(|health| health.returned);
                let begun = returned.max(admin.enabled_at(pool_name, &member.server));
                let share = Share::of(pool.slow_start, begun, now);
                Some(Candidate { name: &member.server, weight, share, rank })
            }
            Err(standing) => {
                plan.members.insert(dest_key, standing);
                None
            }
        }
    }
}

fn full_weight(member: &Member, server: &Server) -> Weight {
    Weight(u32::from(member.weight.unwrap_or(server.weight).max(1)) * 1000)
}

#[cfg(test)]
pub mod fixture;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
