use super::*;
use crate::config::{Ports, Protocol};
use crate::core::check::FailureKind;
use crate::core::plan::fixture;

fn parts(config: &Config) -> (Service, Pool) {
    let mut service = config.virtual_servers[&fixture::virtual_server(0)].services[&fixture::service(0)].clone();
    service.mode = Mode::Nat;
    let pool = config.pools[&service.pool].clone();
    (service, pool)
}

fn question(service: &Service, pool: &Pool) -> Option<Question> {
    let addresses = ["192.0.2.25".parse().unwrap()].into();
    let mut targets = member_targets(service, pool, &pool.members[0], "10.1.0.1".parse().unwrap(), &addresses);
    assert!(targets.len() <= 1);
    targets.pop().map(|t| t.question)
}

fn success() -> Outcome {
    Outcome { verdict: Verdict::Success(String::new()), took: Duration::ZERO, certificate_ends: None }
}

fn tcp(text: &str) -> Option<Question> {
    Some(Question { address: text.parse().unwrap(), via: None, probe: Probe::Tcp.into() })
}

#[test]
fn the_probed_port_is_the_checks_else_the_members_else_the_pools_else_the_services() {
    let (mut service, mut pool) = parts(&fixture::config(2, 1));
    service.ports = Ports::single(25);
    assert_eq!(question(&service, &pool), tcp("10.1.0.1:25"));
    pool.port = Some(2525);
    assert_eq!(question(&service, &pool), tcp("10.1.0.1:2525"));
    pool.members[0].port = Some(2526);
    assert_eq!(question(&service, &pool), tcp("10.1.0.1:2526"));
    pool.check.port = Some(99);
    assert_eq!(question(&service, &pool), tcp("10.1.0.1:99"));
}

#[test]
fn auto_probes_one_tcp_port_and_neither_udp_nor_a_range() {
    let (mut service, mut pool) = parts(&fixture::config(2, 1));
    service.ports = Ports { first: 50_000, last: 50_999 };
    assert_eq!(question(&service, &pool), None);
    pool.check.kind = CheckKind::tcp();
    assert_eq!(question(&service, &pool), tcp("10.1.0.1:50000"));
    pool.check.kind = CheckKind::None;
    assert_eq!(question(&service, &pool), None);
    pool.check.kind = CheckKind::Auto;
    service.ports = Ports::single(53);
    service.protocol = Protocol::Udp;
    assert_eq!(question(&service, &pool), None);
}

#[test]
fn pools_that_ask_the_same_share_a_target_and_another_pace_is_another_target() {
    let mut config = fixture::config(2, 1);
    let first = config.virtual_servers[&fixture::virtual_server(0)].clone();
    let count = targets(&config).len();
    // Two servers, two families.
    assert_eq!(count, 4);
    let mut second = first.clone();
    second.addresses = vec!["192.0.2.200".parse().unwrap(), "2001:db8::200".parse().unwrap()];
    let other_pool = crate::config::Name::new("other").unwrap();
    for service in second.services.values_mut() {
        service.pool = other_pool.clone();
    }
    fixture::set_mode(&mut config, Mode::Nat);
    second.services.values_mut().for_each(|service| service.mode = Mode::Nat);
    let mut pool = config.pools.values().next().unwrap().clone();
    config.pools.insert(other_pool.clone(), pool.clone());
    config.virtual_servers.insert(crate::config::Name::new("again").unwrap(), second);
    assert_eq!(targets(&config).len(), count);
    pool.check.fall = 5;
    config.pools.insert(other_pool, pool);
    assert_eq!(targets(&config).len(), 2 * count);
}

#[test]
fn a_target_at_a_new_pace_inherits_what_is_known_and_a_new_one_starts_unknown() {
    let at = |s| Moment(Duration::from_secs(s));
    let mut config = fixture::config(2, 1);
    let old = targets(&config);
    let mut health = Health::new(&old, at(0));
    assert!(!health.decided());
    for target in &old {
        health.record(target, success(), at(1));
    }
    assert!(health.decided());
    for pool in config.pools.values_mut() {
        pool.check.interval = Duration::from_secs(5);
    }
    let new = targets(&config);
    health.retarget(&new, at(2));
    assert!(health.iter().all(|(_, one)| one.state() == State::Up && one.since() == at(1)));
    assert_eq!(health.iter().count(), new.len());
    // A late result of the old pace is no one's.
    assert_eq!(health.record(old.first().unwrap(), success(), at(3)), None);
    assert_eq!(health.get(old.first().unwrap()), None);

    health.retarget(&targets(&fixture::config(3, 1)), at(4));
    assert_eq!(health.iter().filter(|(_, one)| one.state() == State::Unknown).count(), 2);
}

#[test]
fn in_dsr_every_virtual_address_is_asked_for_at_the_servers_mac_by_the_services_port() {
    let (mut service, mut pool) = parts(&fixture::config(2, 1));
    service.mode = Mode::Dsr;
    let own: IpAddr = "10.1.0.1".parse().unwrap();
    let addresses: BTreeSet<IpAddr> = ["192.0.2.25", "192.0.2.26"].map(|a| a.parse().unwrap()).into();
    let member = pool.members[0].clone();
    let asked = member_targets(&service, &pool, &member, own, &addresses);
    let via = Some(Via { server: member.server.clone(), address: own });
    let expected = addresses.iter().map(|address| (SocketAddr::new(*address, 25), via.clone()));
    assert_eq!(
        asked.iter().map(|t| (t.question.address, t.question.via.clone())).collect::<Vec<_>>(),
        expected.collect::<Vec<_>>()
    );
    assert_eq!(asked[0].question.to_string(), format!("tcp 192.0.2.25:25 at {}", member.server));
    pool.check.aim = Aim::Server;
    let asked = member_targets(&service, &pool, &member, own, &addresses);
    assert_eq!(asked.iter().map(|t| (t.question.address.ip(), &t.question.via)).collect::<Vec<_>>(), [(own, &None)]);
    pool.check.aim = Aim::Auto;
    pool.check.kind = CheckKind::Probe(Probe::Arp.into());
    assert_eq!(member_targets(&service, &pool, &member, own, &addresses)[0].question.address.ip(), own);
}

#[test]
fn a_member_is_up_when_each_of_its_targets_is_and_down_when_one_is() {
    let at = |s| Moment(Duration::from_secs(s));
    let (mut service, pool) = parts(&fixture::config(2, 1));
    service.mode = Mode::Dsr;
    let addresses: BTreeSet<IpAddr> = ["192.0.2.25", "192.0.2.26"].map(|a| a.parse().unwrap()).into();
    let asked = member_targets(&service, &pool, &pool.members[0], "10.1.0.1".parse().unwrap(), &addresses);
    let mut health = Health::new(&asked.iter().cloned().collect(), at(0));
    assert_eq!(health.of(&[], at(0)), None);
    let state = |health: &Health| health.of(&asked, at(9)).unwrap().state;
    assert_eq!(state(&health), State::Unknown);
    health.record(&asked[0], success(), at(1));
    assert_eq!(state(&health), State::Unknown);
    health.record(&asked[1], success(), at(2));
    assert_eq!(state(&health), State::Up);
    let refused = Outcome { verdict: Verdict::failure(FailureKind::Refused, "connection refused"), ..success() };
    (3..6).for_each(|second| _ = health.record(&asked[1], refused.clone(), at(second)));
    let member = health.of(&asked, at(9)).unwrap();
    assert_eq!((member.state, member.failure.as_deref()), (State::Down, Some("connection refused")));
    assert_eq!((member.since, member.up_until), (at(5), Some(at(5))));
}
