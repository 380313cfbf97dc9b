//! What the data plane's tables can hold. Held against first: with more, the
//! other rules are not looked at, so that no file makes them work for long.

use super::services::pools_of;
use super::{Findings, pool};
use crate::config::diagnostic::{Complaint, KeyPath};
use crate::config::limits;
use crate::config::model::{Config, Ports, Scheduler};

pub(super) fn check(config: &Config, findings: &mut Findings) {
    let root = KeyPath::root();
    let interfaces = root.key("interfaces");
    let mut count = |at: KeyPath, what: &str, count: usize, max: usize| {
        if count > max {
            let message = format!("{count} {what} are too many");
            findings.error(at, Complaint::new(message).help(format!("the data plane holds {max}")));
        }
    };
    count(interfaces.key("ports"), "ports", config.interfaces.ports.len(), limits::INTERFACES_MAX);
    count(interfaces.key("inside"), "inside addresses", config.interfaces.inside.len(), limits::INSIDE_MAX);
    let own = config.interfaces.addresses.len();
    count(interfaces.key("addresses"), "own addresses", own, limits::OWN_ADDRESSES_MAX);
    count(interfaces.key("uplinks"), "uplinks", config.interfaces.uplinks.len(), limits::UPLINKS_MAX);
    let cross = config.interfaces.cross_connect.len();
    count(interfaces.key("cross-connect"), "cross-connect ports", cross, limits::CROSS_CONNECT_MAX);
    count(root.key("source-nat"), "entries of `source-nat`", config.source_nat.len(), limits::SOURCE_NAT_MAX);
    count(root.key("servers"), "servers", config.servers.len(), limits::SERVERS_MAX);
    if let Some(pair) = &config.pair {
        count(root.key("pair").key("paths"), "paths", pair.paths.len(), limits::PATHS_MAX);
        count(root.key("pair").key("gateways"), "gateways", pair.gateways.len(), limits::GATEWAYS_MAX);
        count(root.key("pair").key("track"), "tracked ports", pair.track.len(), limits::INTERFACES_MAX);
    }
    for (name, entry) in &config.pools {
        if entry.scheduler == Scheduler::LeastConnections {
            let what = "members of a pool with `least-connections`";
            let max = limits::LEAST_CONNECTIONS_MEMBERS_MAX;
            count(pool(name).key("members"), what, entry.members.len(), max);
        }
    }

    let at = root.key("virtual-servers");
    let (mut addresses, mut services4, mut services6, mut members, mut ports) = (0, 0, 0, 0, 0_u64);
    for entry in config.virtual_servers.values() {
        addresses += entry.addresses.len();
        services4 += if entry.addresses.iter().any(|a| a.is_ipv4()) { entry.services.len() } else { 0 };
        services6 += if entry.addresses.iter().any(|a| a.is_ipv6()) { entry.services.len() } else { 0 };
        for service in entry.services.values() {
            members += pools_of(config, service).iter().map(|used| used.pool.members.len()).sum::<usize>();
            let count = |ports: &Ports| u64::from(ports.last.saturating_sub(ports.first)) + 1;
            let range = count(&service.ports) + service.passive.as_ref().map_or(0, count);
            ports = ports.saturating_add(range.saturating_mul(entry.addresses.len() as u64));
        }
    }
    count(at.clone(), "virtual addresses", addresses, limits::VIRTUAL_ADDRESSES_MAX);
    count(at.clone(), "services with an IPv4 address", services4, limits::SERVICES_MAX);
    count(at.clone(), "services with an IPv6 address", services6, limits::SERVICES_MAX);
    count(at.clone(), "members, summed over the pools of all services,", members, limits::SERVICE_MEMBERS_MAX);
    let ports = usize::try_from(ports).unwrap_or(usize::MAX);
    count(at, "bound ports, counted at each address,", ports, limits::SERVICE_PORTS_MAX);
}
