//! Services, their members, pools, servers, and what is drained.

use prometheus::proto::Metric;

use super::families::{Families, each_member, flag, float, sample, service_labels};
use crate::core::admin::AdminState;
use crate::core::check;
use crate::core::control::State;
use crate::core::control::state::{CheckState, MemberState, OrderState, PoolState};
use crate::core::control::word::Word;

pub fn services(state: &State, families: &mut Families) {
    let info = state.services.iter().map(|service| {
        let mut labels = service_labels(service).to_vec();
        labels.push(("protocol", service.protocol.word()));
        labels.push(("mode", service.mode.word()));
        labels.push(("scheduler", service.scheduler.word()));
        labels.push(("pool", &service.pool));
        sample(&labels, 1.0)
    });
    families.gauge("lbd_service_info", "How a service is configured, as labels; always 1.", info.collect());

    let members = |value: &dyn Fn(&MemberState) -> Option<f64>| -> Vec<Metric> {
        each_member(state).filter_map(|(labels, member)| Some(sample(&labels, value(member)?))).collect()
    };
    let split = |label: &'static str, values: &dyn Fn(&MemberState) -> Vec<(&'static str, u64)>| -> Vec<Metric> {
        each_member(state)
            .flat_map(|(labels, member)| {
                values(member).into_iter().map(move |(word, value)| {
                    let mut labels = labels.to_vec();
                    labels.push((label, word));
                    sample(&labels, float(value))
                })
            })
            .collect()
    };
    families.gauge(
        "lbd_service_connections_active",
        "Established connections of a service on a server, neither closed nor reset.",
        members(&|member| Some(float(member.connections.active))),
    );
    families.gauge(
        "lbd_service_connections_pending",
        "Connections in a handshake, of a service on a server.",
        members(&|member| Some(float(member.connections.pending))),
    );
    families.counter(
        "lbd_service_connections_scheduled_total",
        "Connections that a service gave to a server, since the data plane was first loaded.",
        members(&|member| Some(float(member.connections.total))),
    );
    families.counter(
        "lbd_service_packets_total",
        "Packets of a service to (in) and from (out) a server. In DSR the server answers past the balancer: none are out.",
        split("direction", &|m| vec![("in", m.traffic.packets_in), ("out", m.traffic.packets_out)]),
    );
    families.counter(
        "lbd_service_bytes_total",
        "Bytes of the packets in lbd_service_packets_total, whole frames.",
        split("direction", &|m| vec![("in", m.traffic.bytes_in), ("out", m.traffic.bytes_out)]),
    );
    families.gauge(
        "lbd_member_up",
        "1 if the server's probe for this service says up; 0 if it says down or has not come back yet.",
        members(&|member| Some(flag(member.state == check::State::Up))),
    );
    families.gauge(
        "lbd_member_draining",
        "1 if the operator drains the server: it keeps its connections and gets no new ones.",
        members(&|member| Some(flag(member.admin == AdminState::Draining))),
    );
    families.gauge(
        "lbd_member_disabled",
        "1 if the operator has disabled the server: it is treated as failed.",
        members(&|member| Some(flag(member.admin == AdminState::Disabled))),
    );
    families.gauge(
        "lbd_member_scheduled",
        "1 if the server gets new connections of this service. /api/v1/state says why or why not.",
        members(&|member| Some(flag(member.scheduled))),
    );
    families.gauge(
        "lbd_member_weight",
        "Share of new connections at this moment: less than configured in slow start, 0 if it gets none.",
        members(&|member| Some(member.effective_weight)),
    );
    families.counter(
        "lbd_member_checks_total",
        "Probes since the daemon started. One that serves several services is counted with each.",
        split("result", &|m| {
            let sum = |of: fn(&CheckState) -> u64| m.checks.iter().map(of).sum();
            vec![("success", sum(|c| c.successes)), ("failure", sum(|c| c.failures))]
        }),
    );
    families.gauge(
        "lbd_member_check_duration_seconds",
        "Time that the latest probe took.",
        members(&|m| m.checks.iter().filter_map(|c| c.last_duration_seconds).reduce(f64::max)),
    );
    families.gauge(
        "lbd_member_flapping",
        "1 while the server answers and is held down because it has failed too often; absent without a probe.",
        members(&|m| Some(flag(m.checks.iter().any(|c| c.held_seconds.is_some()))).filter(|_| !m.checks.is_empty())),
    );
    families.gauge(
        "lbd_member_certificate_expiry_timestamp_seconds",
        "When the certificate that the server showed its probe ends, Unix time; absent without TLS.",
        members(&|m| m.checks.iter().filter_map(|c| c.certificate_ends_at).min().map(float)),
    );
}

pub fn pools(state: &State, families: &mut Families) {
    let pools = |value: &dyn Fn(&PoolState) -> Option<u64>| -> Vec<Metric> {
        let values = state.pools.iter().filter_map(|pool| Some((pool, value(pool)?)));
        values.map(|(pool, value)| sample(&[("pool", &pool.name)], float(value))).collect()
    };
    families.gauge(
        "lbd_pool_members",
        "Members of a pool as configured, backups included.",
        pools(&|pool| Some(pool.members.len() as u64)),
    );
    families.gauge(
        "lbd_pool_members_up",
        "Members, no backups, that can take new connections; in the service of the pool that has fewest. Absent for a \
         pool that only stands behind others.",
        pools(&|pool| pool.members_up),
    );
    families.gauge(
        "lbd_pool_members_scheduled",
        "Members that get new connections, backups that stand in among them; in the service that has fewest.",
        pools(&|pool| pool.members_scheduled),
    );
    families.gauge(
        "lbd_pool_members_minimum",
        "Members that must be up (min-up); with fewer the pool does what its below-min says.",
        pools(&|pool| Some(pool.members_min.into())),
    );
}

pub fn servers(state: &State, families: &mut Families) {
    let active = state.servers.iter().map(|s| sample(&[("server", &s.name)], float(s.connections)));
    families.gauge(
        "lbd_server_connections_active",
        "Established connections of a server, over all its services.",
        active.collect(),
    );
    let limited = state.servers.iter().filter(|s| s.max_connections > 0);
    families.gauge(
        "lbd_server_connections_limit",
        "Most established connections that a server may have; absent where there is no limit.",
        limited.map(|s| sample(&[("server", &s.name)], f64::from(s.max_connections))).collect(),
    );
}

pub fn orders(state: &State, families: &mut Families) {
    let drains = |value: &dyn Fn(&OrderState) -> Option<u64>| -> Vec<Metric> {
        let drains = state.orders.iter().filter(|order| order.admin == AdminState::Draining);
        let labels = |order: &OrderState| (order.server.clone(), order.pool.clone().unwrap_or_default());
        drains
            .filter_map(|order| {
                let (server, pool) = labels(order);
                Some(sample(&[("server", &server), ("pool", &pool)], float(value(order)?)))
            })
            .collect()
    };
    families.gauge(
        "lbd_drain_connections_left",
        "Connections that a drain has left, handshakes and UDP flows included; pool is empty for a drain of the whole server.",
        drains(&|order| Some(order.connections)),
    );
    families.gauge(
        "lbd_drain_connections_at_begin",
        "Connections that there were when the drain was ordered.",
        drains(&|order| Some(order.connections_at_begin)),
    );
    families.gauge(
        "lbd_drain_start_timestamp_seconds",
        "When the drain was ordered, Unix time.",
        drains(&|order| Some(order.since)),
    );
    families.gauge(
        "lbd_drain_deadline_timestamp_seconds",
        "When what is left is reset, Unix time; absent without a deadline.",
        drains(&|order| order.deadline_at),
    );
    families.gauge(
        "lbd_drain_projected_end_timestamp_seconds",
        "When the last connection will probably be gone, Unix time; absent while that cannot be told.",
        drains(&|order| order.end_likely_at),
    );
}
