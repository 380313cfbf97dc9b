//! Services, pools, servers, and what is drained.

use prometheus::proto::Metric;

use super::families::{Families, float, sample, service_labels};
use crate::core::admin::AdminState;
use crate::core::control::State;
use crate::core::control::state::{OrderState, PoolState};
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
