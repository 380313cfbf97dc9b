//! Composes what faces show, from plan, health and the data plane's counters.

mod own;
mod pools;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::appliance::Appliance;
use super::control::unix;
use super::drains;
use super::port_counts::PortCounts;
use super::promptness::Promptness;
use crate::config::yaml::choice::Choice;
use crate::config::{Member, Mode, Name, Pool, Service};
use crate::core::check::{self, Outcome, TargetHealth, Verdict};
use crate::core::control::state::*;
use crate::core::control::{LogServerState, LoggingState, Logins, PairState, State};
use crate::core::forwarding::{DestKey, ServiceKey};
use crate::core::moment::Moment;
use crate::core::schedule_probes::{next_in_doubt, next_probe};
use crate::core::target::{self, Target};
use crate::core::vip_claims;
use crate::dataplane::reasons::REASONS;
use crate::dataplane::{ConnectionCounts, DataPlane, DataPlaneError, Traffic as Counted};
use crate::os::netlink::Direction;
use crate::os::{clock, log};

/// A table fuller than this is told in the warnings, per cent.
const TABLE_ALARM_PERCENT: u64 = 80;

/// What is needed at every turn.
struct Scene<'a> {
    appliance: &'a Appliance,
    connections: BTreeMap<DestKey, ConnectionCounts>,
    /// Of each service, those that have left its pool and still have connections included.
    by_service: BTreeMap<ServiceKey, Connections>,
    traffic: BTreeMap<DestKey, Counted>,
}

/// What the daemon keeps about itself.
pub struct OfDaemon<'a> {
    pub promptness: &'a Promptness,
    pub logins: &'a Logins,
}

pub fn compose(
    appliance: &Appliance,
    dataplane: &DataPlane,
    counts: &PortCounts,
    of_daemon: OfDaemon<'_>,
    pair: Option<PairState>,
) -> Result<State, DataPlaneError> {
    let connections = dataplane.connections();
    let by_service = by_service(&connections);
    let scene = Scene { appliance, connections, by_service, traffic: dataplane.traffic()? };
    let table = table(dataplane, &scene)?;
    let mut warnings: Vec<String> = appliance.alarms.values().cloned().collect();
    if !appliance.begun {
        warnings
            .push("waiting for first probes: nothing is changed before every server has been probed once".to_owned());
    }
    warnings.extend(vip_claims::warnings(&appliance.vip_claims, &appliance.plan.state, &appliance.network));
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
        role: if appliance.is_owner() { Role::Active } else { Role::Standby },
        config: ConfigState {
            revision: appliance.revision,
            loaded_at: unix(appliance.configured),
            last_reload_ok: appliance.last_reload_ok,
            last_reload_at: unix(appliance.last_reload),
            unsaved: appliance.is_unsaved(),
        },
        started_at: unix(appliance.started),
        uptime_seconds: appliance.started.elapsed().map_or(0, |d| d.as_secs()),
        adopted: dataplane.adopted(),
        services: scene.services(),
        pools: pools::states(appliance),
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
        interfaces: interfaces(appliance, dataplane, counts),
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
        probes: appliance.health.tallies().iter().map(|(protocol, tally)| own::probe_tally(protocol, tally)).collect(),
        daemon: own::daemon_state(of_daemon.promptness),
        clock: own::clock_state(),
        logins: of_daemon.logins.state(),
        pair,
        logging: logging(appliance),
        http_certificate_ends_at: appliance.http_certificate_ends,
        warnings,
    })
}

fn logging(appliance: &Appliance) -> LoggingState {
    let servers = log::syslog::status().into_iter().map(|outlet| LogServerState {
        address: SocketAddr::new(outlet.server.address, outlet.server.port),
        transport: Choice::word(outlet.server.transport),
        severity: Choice::word(outlet.server.severity),
        connected: outlet.connected,
        sent: outlet.sent,
        lost: outlet.lost,
        queued: outlet.queued,
        trouble: outlet.trouble,
    });
    LoggingState { servers: servers.collect(), events_unwritten: appliance.events.unwritten() }
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
        reset: sweeps.reset,
    })
}

fn interfaces(appliance: &Appliance, dataplane: &DataPlane, counts: &PortCounts) -> Vec<InterfaceState> {
    let ports = &appliance.plan.state.ports;
    let of = |index| counts.by_port.get(index).copied().unwrap_or_default();
    ports
        .iter()
        .map(|(index, port)| InterfaceState {
            index: *index,
            name: appliance.network.name_of(*index),
            mac: port.mac,
            xdp: match dataplane.native(*index) {
                Some(true) => XdpAttachment::Native,
                Some(false) => XdpAttachment::Generic,
                None => XdpAttachment::None,
            },
            forwarding: port.forwarding,
            lost_after_redirect: of(index).lost,
            received: port_traffic(of(index).link.received),
            sent: port_traffic(of(index).link.sent),
            counted_seconds_ago: counts.read.map(|read| clock::now().since(read).as_secs_f64()),
        })
        .collect()
}

fn port_traffic(counted: Direction) -> PortTraffic {
    let Direction { packets, bytes, errors, dropped } = counted;
    PortTraffic { packets, bytes, errors, dropped }
}

fn by_service(connections: &BTreeMap<DestKey, ConnectionCounts>) -> BTreeMap<ServiceKey, Connections> {
    let mut sums: BTreeMap<ServiceKey, Connections> = BTreeMap::new();
    for (dest, counts) in connections {
        // Once for each service, and not for each of its members.
        let sum = match sums.get_mut(&dest.service) {
            Some(sum) => sum,
            None => sums.entry(dest.service.clone()).or_default(),
        };
        sum.active += counts.active;
        sum.pending += counts.pending;
        sum.total += counts.total;
    }
    sums
}

impl Scene<'_> {
    /// Whether one pool stands behind the other.
    fn is_backup(&self, pool: &Name, behind: &Name) -> bool {
        let pool = self.appliance.config.pools.get(pool);
        pool.is_some_and(|pool| pool.backup_pool.as_ref() == Some(behind))
    }

    fn services(&self) -> Vec<ServiceState> {
        let mut services = Vec::new();
        for (key, planned) in &self.appliance.plan.state.services {
            let virtual_server = self.appliance.config.virtual_servers.get(&key.virtual_server);
            let Some(service) = virtual_server.and_then(|v| v.services.get(&key.service)) else { continue };
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
                connections: self.by_service.get(key).copied().unwrap_or_default(),
                members: pools::behind(&self.appliance.config, &service.pool)
                    .flat_map(|(name, pool)| pool.members.iter().map(move |member| (name, pool, member)))
                    .map(|(name, pool, member)| self.member(key, service, (name, pool), member))
                    .collect(),
            });
        }
        services
    }

    fn member(
        &self,
        key: &ServiceKey,
        service: &Service,
        (pool_name, pool): (&Name, &Pool),
        member: &Member,
    ) -> MemberState {
        let appliance = self.appliance;
        let now = clock::now();
        let dest_key = DestKey { service: key.clone(), server: member.server.clone() };
        let standing = appliance.plan.members.get(&dest_key);
        let place = appliance.plan.state.dests.get(&dest_key).and_then(|dest| dest.place.ok());
        let server = appliance.config.servers.get(&member.server);
        let planned = appliance.plan.state.services.get(key);
        let address: Option<IpAddr> = server.and_then(|s| target::address_of(s, key.family));
        let targets = planned.zip(address).map_or_else(Vec::new, |(planned, address)| {
            target::member_targets(service, pool, member, address, &planned.addresses)
        });
        let health = appliance.health.of(&targets, now);
        let counts = self.connections.get(&dest_key).copied().unwrap_or_default();
        let traffic = self.traffic.get(&dest_key).copied().unwrap_or_default();
        let effective = planned.and_then(|s| s.weight_of(&member.server)).map_or(0, |weight| weight.0);
        MemberState {
            server: member.server.to_string(),
            pool: pool_name.to_string(),
            address,
            port: if service.mode == Mode::Dsr { None } else { member.port.or(pool.port) },
            weight: member.weight.or(server.map(|s| s.weight)).unwrap_or(1),
            effective_weight: f64::from(effective) / 1000.0,
            backup: member.backup || self.is_backup(&service.pool, pool_name),
            state: health.as_ref().map_or(check::State::Unknown, |h| h.state),
            since_seconds: health.as_ref().map_or(0, |h| now.since(h.since).as_secs()),
            admin: appliance.admin.of_member(pool_name, &member.server),
            scheduled: standing.is_some_and(|s| s.is_scheduled()),
            why: standing.map_or_else(String::new, ToString::to_string),
            checks: targets.iter().filter_map(|t| Some(check_state(t, appliance.health.get(t)?, now))).collect(),
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

fn check_state(target: &Target, health: &TargetHealth, now: Moment) -> CheckState {
    let last = health.last();
    let seconds = |d: Duration| d.as_secs_f64();
    let told = |outcome: &Outcome| {
        let words = match &outcome.verdict {
            Verdict::Success(words) => words,
            Verdict::Failure(failure) => &failure.words,
        };
        format!("{}: {words}, after {}", target.question.probe.name(), span(outcome.took))
    };
    let ended = last.map_or(now, |(at, _)| at);
    let begun = Moment(ended.0.saturating_sub(last.map_or(Duration::ZERO, |(_, outcome)| outcome.took)));
    let next = if health.in_doubt() { next_in_doubt(target, begun, ended) } else { next_probe(target, ended) };
    let recent = health.recent();
    let certificate_ends_at = last.and_then(|(_, outcome)| outcome.certificate_ends);
    CheckState {
        question: target.question.to_string(),
        state: health.state(),
        since_seconds: now.since(health.since()).as_secs(),
        cause: health.cause().to_owned(),
        last: last.map(|(_, outcome)| told(outcome)),
        last_age_seconds: last.map(|(at, _)| seconds(now.since(at))),
        last_duration_seconds: last.map(|(_, outcome)| seconds(outcome.took)),
        next_seconds: seconds(next.since(now)),
        held_seconds: health.held_until(&target.pace, now).map(|until| until.since(now).as_secs()),
        success_ratio: recent.success_ratio(),
        latency: recent.percentiles([0.5, 0.9, 0.99]).map(|took| {
            let [p50_seconds, p90_seconds, p99_seconds] = took.map(seconds);
            Latency { p50_seconds, p90_seconds, p99_seconds }
        }),
        certificate_days: certificate_ends_at.map(days_until),
        certificate_ends_at,
        successes: health.successes(),
        failures: health.failures().values().sum(),
        failures_by_kind: health.failures().iter().map(|(kind, count)| (kind.word().to_owned(), *count)).collect(),
    }
}

/// A time as an operator reads it: "12 ms", "1.2 s".
fn span(time: Duration) -> String {
    match time.as_micros() {
        0..1_000 => format!("{} µs", time.as_micros()),
        1_000..1_000_000 => format!("{} ms", time.as_millis()),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// Whole days from now until a time of the calendar.
fn days_until(unix_seconds: u64) -> i64 {
    let now = unix(SystemTime::now());
    let seconds = i64::try_from(unix_seconds).unwrap_or(i64::MAX).saturating_sub(i64::try_from(now).unwrap_or(0));
    seconds.div_euclid(86_400)
}
