//! A question to a `Config` that more than one room asks, with one answer.

use super::model::{CheckKind, Member, Pool, Protocol, Service};

/// The TCP port at which a member of a service's pool is probed; `None`: it is not probed.
///
/// The check's port, else the member's, else the pool's, else the service's (the first of a range).
/// `auto` leaves out UDP, and ranges whose servers have no port of their own.
pub fn probe_port(service: &Service, pool: &Pool, member: &Member) -> Option<u16> {
    let own = member.port.or(pool.port);
    let asked = match pool.check.kind {
        CheckKind::None => false,
        CheckKind::Tcp => true,
        CheckKind::Auto => service.protocol == Protocol::Tcp && (own.is_some() || !service.ports.is_range()),
    };
    asked.then(|| pool.check.port.or(own).unwrap_or(service.ports.first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing;
    use crate::core::target::{Question, target};

    #[test]
    fn the_reader_and_the_plan_agree_on_what_is_probed() {
        let mut compared = [0, 0];
        for config in (0..200).map(|seed| testing::config(seed, 6)) {
            for service in config.virtual_servers.values().flat_map(|entry| entry.services.values()) {
                let pool = &config.pools[&service.pool];
                for member in &pool.members {
                    let planned = target(service, pool, member, [10, 0, 0, 1].into());
                    let port = planned.map(|target| match target.question {
                        Question::Tcp(address) => address.port(),
                    });
                    assert_eq!(probe_port(service, pool, member), port);
                    compared[usize::from(port.is_some())] += 1;
                }
            }
        }
        assert!(compared.iter().all(|count| *count > 50), "{compared:?}");
    }
}
