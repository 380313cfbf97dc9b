//! A question to a `Config` that more than one room asks, with one answer.

use super::model::{CheckKind, Member, Pool, Protocol, Service};

/// The port at which a member of a service's pool is probed, if it is: the check's, else the member's, else
/// the pool's, else the service's (the first of a range).
pub fn probe_port(service: &Service, pool: &Pool, member: &Member) -> u16 {
    pool.check.port.or(member.port).or(pool.port).unwrap_or(service.ports.first)
}

/// Whether a member of a service's pool is probed. `auto` leaves out UDP, and ranges whose servers have no
/// port of their own, unless the check names a port.
pub fn is_probed(service: &Service, pool: &Pool, member: &Member) -> bool {
    let one_port = member.port.or(pool.port).is_some() || !service.ports.is_range();
    match pool.check.kind {
        CheckKind::None => false,
        CheckKind::Probe(_) => true,
        CheckKind::Auto => pool.check.port.is_some() || service.protocol == Protocol::Tcp && one_port,
    }
}
