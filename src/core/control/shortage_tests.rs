use super::*;
use crate::config::Config;
use crate::core::forwarding::Family;
use crate::core::plan::fixture;

const UP: Standing = Standing::Scheduled { percent: 100, backup: false };

fn config(min_up: u16, below_min: BelowMin) -> Config {
    let mut config = fixture::config(3, 1);
    let pool = config.pools.get_mut(&fixture::pool(0)).unwrap();
    (pool.min_up, pool.below_min) = (min_up, below_min);
    config
}

fn key(family: Family) -> ServiceKey {
    ServiceKey { virtual_server: fixture::virtual_server(0), service: fixture::service(0), family }
}

/// What the pool would be left with; the members of one service, of which some go.
fn told(config: &Config, members: &[(&Standing, bool)]) -> Vec<String> {
    let (pool, service) = (fixture::pool(0), key(Family::V4));
    let members =
        members.iter().map(|(standing, goes)| Counted { pool: &pool, service: &service, standing, goes: *goes });
    shortages(&config.pools, members).iter().map(Shortage::to_string).collect()
}

#[test]
fn one_that_leaves_its_pool_below_the_minimum_is_told_with_what_the_pool_does_then() {
    for (below_min, then) in [
        (BelowMin::Backup, "call in its backups"),
        (BelowMin::Hold, "hold members whose probes fail"),
        (BelowMin::Refuse, "refuse new connections"),
    ] {
        let told = told(&config(2, below_min), &[(&UP, true), (&UP, false)]);
        let pool = fixture::pool(0);
        let words = format!("pool {:?} would have 1 of at least 2 members up (min-up), and {then}", pool.as_str());
        assert_eq!(told, [words]);
    }
}

#[test]
fn one_that_leaves_enough_may_go() {
    assert!(told(&config(2, BelowMin::Refuse), &[(&UP, true), (&UP, false), (&UP, false)]).is_empty());
    assert!(told(&config(0, BelowMin::Backup), &[(&UP, true)]).is_empty());
}

#[test]
fn one_that_does_not_count_may_go_though_its_pool_is_short() {
    let idle = Standing::BackupIdle;
    let standing_in = Standing::Scheduled { percent: 100, backup: true };
    for standing in [&Standing::Down(None), &Standing::Draining, &idle, &standing_in] {
        assert!(told(&config(2, BelowMin::Refuse), &[(standing, true), (&UP, false)]).is_empty(), "{standing:?}");
    }
}

#[test]
fn others_that_do_not_count_are_no_replacement() {
    for standing in [&Standing::Down(None), &Standing::Draining, &Standing::BackupIdle, &Standing::Held(None)] {
        assert_eq!(told(&config(1, BelowMin::Hold), &[(&UP, true), (standing, false)]).len(), 1, "{standing:?}");
    }
}

#[test]
fn the_service_that_is_left_with_least_counts() {
    let (config, pool) = (config(2, BelowMin::Refuse), fixture::pool(0));
    let (four, six) = (key(Family::V4), key(Family::V6));
    let down = Standing::Down(None);
    let members = [(&four, &UP, true), (&four, &UP, false), (&six, &UP, true), (&six, &down, false)];
    let members = members.map(|(service, standing, goes)| Counted { pool: &pool, service, standing, goes });
    let found = shortages(&config.pools, members);
    assert_eq!(found, [Shortage { pool: pool.clone(), up: 0, min_up: 2, then: BelowMin::Refuse }]);
}
