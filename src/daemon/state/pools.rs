//! Pools, and how many of their members can and do serve.

use std::collections::BTreeMap;

use crate::config::{Check, CheckKind, Config, Name, Pool};
use crate::core::control::state::PoolState;
use crate::core::forwarding::DestKey;
use crate::core::plan::Standing;
use crate::daemon::appliance::Appliance;

pub fn states(appliance: &Appliance) -> Vec<PoolState> {
    let config = &appliance.config;
    let (mut users, counted) = (users(config), own_pool_standings(appliance));
    let states = config.pools.iter().map(|(name, pool)| PoolState {
        name: name.to_string(),
        scheduler: pool.scheduler,
        slow_start_seconds: pool.slow_start.as_secs(),
        check: check(&pool.check),
        members: pool.members.iter().map(|member| member.server.to_string()).collect(),
        services: users.remove(name).unwrap_or_default(),
        members_up: counted.get(name).map(|counted| counted.up),
        members_scheduled: counted.get(name).map(|counted| counted.scheduled),
        members_min: pool.min_up,
    });
    states.collect()
}

/// The services that may send clients to each pool, as `virtual-server/service`.
fn users(config: &Config) -> BTreeMap<&Name, Vec<String>> {
    let mut users: BTreeMap<&Name, Vec<String>> = BTreeMap::new();
    for (virtual_server, v) in &config.virtual_servers {
        for (name, service) in &v.services {
            for (pool, _) in behind(config, &service.pool) {
                let of_pool = users.entry(pool).or_default();
                let user = format!("{virtual_server}/{name}");
                if of_pool.last() != Some(&user) {
                    of_pool.push(user);
                }
            }
        }
    }
    users
}

/// How members are probed, in words.
fn check(check: &Check) -> String {
    let Check { interval, timeout, rise, fall, .. } = check;
    let pace = format!("every {interval:?}, time-out {timeout:?}, rise {rise}, fall {fall}");
    match &check.kind {
        CheckKind::None => "not probed".to_owned(),
        CheckKind::Auto => format!("tcp {pace}"),
        CheckKind::Probe(probe) => format!("{} {pace}", probe.name()),
    }
}

/// Members of a pool as one service has them.
#[derive(Clone, Copy, Default)]
struct CountedMembers {
    up: u64,
    scheduled: u64,
}

/// How many members each pool has that can and that do take connections, in the service of its own that has fewest.
fn own_pool_standings(appliance: &Appliance) -> BTreeMap<&Name, CountedMembers> {
    let config = &appliance.config;
    let mut pools: BTreeMap<&Name, CountedMembers> = BTreeMap::new();
    for key in appliance.plan.state.services.keys() {
        let service = config.virtual_servers.get(&key.virtual_server).and_then(|v| v.services.get(&key.service));
        let Some((name, pool)) = service.and_then(|service| config.pools.get_key_value(&service.pool)) else {
            continue;
        };
        let mut counted = CountedMembers::default();
        for member in &pool.members {
            let dest = DestKey { service: key.clone(), server: member.server.clone() };
            let Some(standing) = appliance.plan.members.get(&dest) else { continue };
            counted.up += u64::from(matches!(
                standing,
                Standing::Scheduled { backup: false, .. } | Standing::TooMany | Standing::Refused { .. }
            ));
            counted.scheduled += u64::from(standing.is_scheduled());
        }
        let least = pools.entry(name).or_insert(counted);
        least.up = least.up.min(counted.up);
        least.scheduled = least.scheduled.min(counted.scheduled);
    }
    pools
}

/// The pools that a service with this pool may send its clients to: itself, the one behind it, and the one that
/// clients migrate to.
pub fn behind<'a>(config: &'a Config, pool: &'a Name) -> impl Iterator<Item = (&'a Name, &'a Pool)> {
    let own = config.pools.get(pool);
    let backup = own.and_then(|own| own.backup_pool.as_ref());
    let new = own.and_then(|own| Some(&own.migrate.as_ref()?.to));
    let names = std::iter::once(pool).chain(backup).chain(new);
    names.filter_map(|name| config.pools.get_key_value(name))
}
