//! Composes what faces show, from plan, health and the data plane's counters.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::appliance::Appliance;
use super::control::unix;
use super::drains;
use crate::config::{Check, CheckKind, Config, Member, Mode, Name, Pool, Service};
use crate::core::check::{self, Verdict};
use crate::core::control::State;
use crate::core::control::state::*;
use crate::core::forwarding::{DestKey, ServiceKey};
use crate::core::network::IfIndex;
use crate::core::target;
use crate::dataplane::reasons::REASONS;
use crate::dataplane::{ConnectionCounts, DataPlane, DataPlaneError, Traffic as Counted};
use crate::os::clock;

/// Frames lost after a redirect, by port.
pub type Losses = BTreeMap<IfIndex, u64>;

/// A table fuller than this is told in the warnings, per cent.
const TABLE_ALARM_PERCENT: u64 = 80;

/// What is needed at every turn.
struct Scene<'a> {
    appliance: &'a Appliance,
    connections: BTreeMap<DestKey, ConnectionCounts>,
    traffic: BTreeMap<DestKey, Counted>,
}

pub fn compose(appliance: &Appliance, dataplane: &DataPlane, losses: &Losses) -> Result<State, DataPlaneError> {
    let scene = Scene { appliance, connections: dataplane.connections(), traffic: dataplane.traffic()? };
    let table = table(dataplane, &scene)?;
    let mut warnings: Vec<String> = appliance.alarms.values().cloned().collect();
    if !appliance.begun {
        warnings
            .push("waiting for first probes: nothing is changed before every server has been probed once".to_owned());
    }
    warnings.extend(appliance.plan.problems.iter().map(ToString::to_string));
    if table.entries * 100 >= table.capacity * TABLE_ALARM_PERCENT {
        warnings.push(format!(
            "the connection table holds {} of {} entries; raise `limits.connections`, or look for a flood",
            table.entries, table.capacity
        ));
    }
    let config = &appliance.config;
    Ok(State {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: config.hostname.to_string(),
        role: Role::Active,
        config: ConfigState {
            revision: appliance.revision,
            loaded_at: unix(appliance.configured),
            last_reload_ok: appliance.last_reload_ok,
            last_reload_at: unix(appliance.last_reload),
        },
        started_at: unix(appliance.started),
        uptime_seconds: appliance.started.elapsed().map_or(0, |d| d.as_secs()),
        adopted: dataplane.adopted(),
        services: scene.services(),
        pools: config.pools.iter().map(|(name, pool)| pool_state(config, name, pool)).collect(),
        servers: config
            .servers
            .iter()
            .map(|(name, server)| ServerState {
                name: name.to_string(),
                address: server.address,
                address6: server.address6,
                admin: appliance.admin.of_server(name),
                weight: server.weight,
                max_connections: server.max_connections,
                connections: dataplane.server_connections(name).unwrap_or(0),
            })
            .collect(),
        orders: drains::states(appliance, &scene.connections),
        interfaces: interfaces(appliance, dataplane, losses),
        table,
        packets: REASONS
            .iter()
            .zip(dataplane.reasons()?)
            .map(|((_, verdict, reason, meaning), count)| PacketCount {
                verdict: verdict.name(),
                reason,
                meaning,
                count,
            })
            .collect(),
        warnings,
    })
}

fn pool_state(config: &Config, name: &Name, pool: &Pool) -> PoolState {
    let users = config.virtual_servers.iter().flat_map(|(virtual_server, v)| {
        let services = v.services.iter().filter(|(_, service)| service.pool == *name);
        services.map(move |(service, _)| format!("{virtual_server}/{service}"))
    });
    let Check { kind, interval, timeout, rise, fall, .. } = &pool.check;
    let check = match kind {
        CheckKind::None => "not probed".to_owned(),
        CheckKind::Auto | CheckKind::Tcp => {
            format!("tcp connect every {interval:?}, time-out {timeout:?}, rise {rise}, fall {fall}")
        }
    };
    PoolState {
        name: name.to_string(),
        scheduler: pool.scheduler,
        slow_start_seconds: pool.slow_start.as_secs(),
        check,
        members: pool.members.iter().map(|member| member.server.to_string()).collect(),
        services: users.collect(),
    }
}

fn table(dataplane: &DataPlane, scene: &Scene<'_>) -> Result<TableState, DataPlaneError> {
    let sweeps = dataplane.sweep_statistics();
    Ok(TableState {
        entries: dataplane.entries()?,
        capacity: dataplane.capacity().into(),
        embryonic: scene.connections.values().map(|c| c.pending).sum(),
        embryonic_capacity: dataplane.embryonic_capacity().into(),
        sweep: SweepState {
            completed: sweeps.completed,
            removed: sweeps.removed,
            last_duration_seconds: (sweeps.completed > 0).then_some(sweeps.last_duration.as_secs_f64()),
        },
    })
}

fn interfaces(appliance: &Appliance, dataplane: &DataPlane, losses: &Losses) -> Vec<InterfaceState> {
    let ports = &appliance.plan.state.ports;
    ports
        .iter()
        .map(|(index, port)| InterfaceState {
            name: appliance.network.links.get(index).map_or_else(|| index.to_string(), |link| link.name.clone()),
            mac: port.mac,
            xdp: match dataplane.native(*index) {
                Some(true) => XdpAttachment::Native,
                Some(false) => XdpAttachment::Generic,
                None => XdpAttachment::None,
            },
            forwarding: port.forwarding,
            lost_after_redirect: losses.get(index).copied().unwrap_or(0),
        })
        .collect()
}

impl Scene<'_> {
    fn services(&self) -> Vec<ServiceState> {
        let mut services = Vec::new();
        for (key, planned) in &self.appliance.plan.state.services {
            let virtual_server = self.appliance.config.virtual_servers.get(&key.virtual_server);
            let Some(service) = virtual_server.and_then(|v| v.services.get(&key.service)) else { continue };
            let Some(pool) = self.appliance.config.pools.get(&service.pool) else { continue };
            services.push(ServiceState {
                virtual_server: key.virtual_server.to_string(),
                service: key.service.to_string(),
                family: key.family,
                protocol: planned.protocol,
                addresses: planned.addresses.iter().copied().collect(),
                ports: planned.ports,
                mode: service.mode,
                scheduler: planned.scheduler,
                pool: service.pool.to_string(),
                connections: self.sum(key),
                members: pool.members.iter().map(|member| self.member(key, service, pool, member)).collect(),
            });
        }
        services
    }

    /// Those that have left the pool and still have connections included.
    fn sum(&self, key: &ServiceKey) -> Connections {
        let members = self.connections.iter().filter(|(dest, _)| dest.service == *key);
        members.fold(Connections::default(), |sum, (_, c)| Connections {
            active: sum.active + c.active,
            pending: sum.pending + c.pending,
            total: sum.total + c.total,
        })
    }

    fn member(&self, key: &ServiceKey, service: &Service, pool: &Pool, member: &Member) -> MemberState {
        let appliance = self.appliance;
        let now = clock::now();
        let dest_key = DestKey { service: key.clone(), server: member.server.clone() };
        let standing = appliance.plan.members.get(&dest_key);
        let place = appliance.plan.state.dests.get(&dest_key).and_then(|dest| dest.place.ok());
        let server = appliance.config.servers.get(&member.server);
        let address: Option<IpAddr> = server.and_then(|s| target::address_of(s, key.family));
        let asked = address.and_then(|address| target::target(service, pool, member, address));
        let health = asked.as_ref().and_then(|target| appliance.health.get(target));
        let counts = self.connections.get(&dest_key).copied().unwrap_or_default();
        let traffic = self.traffic.get(&dest_key).copied().unwrap_or_default();
        let planned = appliance.plan.state.services.get(key);
        let effective = planned.and_then(|s| s.schedule.get(&member.server)).map_or(0, |weight| weight.0);
        MemberState {
            server: member.server.to_string(),
            address,
            port: if service.mode == Mode::Dsr { None } else { member.port.or(pool.port) },
            weight: member.weight.or(server.map(|s| s.weight)).unwrap_or(1),
            effective_weight: f64::from(effective) / 1000.0,
            backup: member.backup,
            state: health.map_or(check::State::Unknown, |h| h.state()),
            since_seconds: health.map_or(0, |h| now.since(h.since()).as_secs()),
            admin: appliance.admin.of_member(&service.pool, &member.server),
            scheduled: standing.is_some_and(|s| s.is_scheduled()),
            why: standing.map_or_else(String::new, ToString::to_string),
            check: asked.map(|target| {
                let count = appliance.probes.get(&target);
                let last = health.and_then(|h| h.last());
                CheckState {
                    question: target.question.to_string(),
                    last: last.map(|(_, verdict)| match verdict {
                        Verdict::Success(words) => words.clone(),
                        Verdict::Failure(failure) => failure.words.clone(),
                    }),
                    last_age_seconds: last.map(|(when, _)| now.since(when).as_secs_f64()),
                    last_duration_seconds: count.map(|c| c.last_took.as_secs_f64()),
                    successes: count.map_or(0, |c| c.successes),
                    failures: count.map_or(0, |c| c.failures),
                }
            }),
            mac: place.map(|p| p.mac),
            interface: place.and_then(|p| Some(appliance.network.links.get(&p.port)?.name.clone())),
            vlan: place.map(|p| p.vlan),
            connections: Connections { active: counts.active, pending: counts.pending, total: counts.total },
            traffic: Traffic {
                packets_in: traffic.packets_in,
                bytes_in: traffic.bytes_in,
                packets_out: traffic.packets_out,
                bytes_out: traffic.bytes_out,
            },
        }
    }
}
