//! Questions to a `Config` that more than one room asks, with one answer.

use super::model::{Check, CheckKind, Config, Member, Name, Pool, Protocol, Service};

/// The services that use a pool, as (virtual server, service, what it is).
pub fn services_of<'a>(
    config: &'a Config,
    pool: &'a Name,
) -> impl Iterator<Item = (&'a Name, &'a Name, &'a Service)> + use<'a> {
    config.virtual_servers.iter().flat_map(move |(virtual_name, virtual_server)| {
        virtual_server
            .services
            .iter()
            .filter(move |(_, service)| service.pool == *pool)
            .map(move |(name, service)| (virtual_name, name, service))
    })
}

/// The TCP port at which a member of a pool is probed; `None`: it is not probed.
///
/// The check's own port; else the member's or the pool's, if a TCP service uses the pool; else the
/// one port that all TCP services of the pool have in common.
pub fn probe_port<'a>(
    check: &Check,
    pool: &Pool,
    member: &Member,
    services: impl IntoIterator<Item = &'a Service>,
) -> Option<u16> {
    if check.kind == CheckKind::None {
        return None;
    }
    if check.port.is_some() {
        return check.port;
    }
    let mut tcp = services.into_iter().filter(|service| service.protocol == Protocol::Tcp);
    let first = tcp.next()?;
    if let Some(port) = member.port.or(pool.port) {
        return Some(port);
    }
    (!first.ports.is_range() && tcp.all(|other| other.ports == first.ports)).then_some(first.ports.first)
}
