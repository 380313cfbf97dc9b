//! What holds for every site, in whatever state.

use proptest::prelude::*;

use super::fixture::{POOL_SIZE, Site, at, mac, server, v4, v6};
use super::{Plan, Standing};
use crate::config::Scheduler;
use crate::core::admin::AdminState;
use crate::core::check::Verdict;
use crate::core::forwarding::Family;

/// What has become of one server.
#[derive(Clone, Debug)]
struct Fate {
    admin: AdminState,
    down4: bool,
    down6: bool,
    returned: bool,
    no_neighbour: bool,
    no_port: bool,
    no_v6: bool,
    weight: u16,
    backup: bool,
}

fn fate() -> impl Strategy<Value = Fate> {
    let admin = prop_oneof![
        4 => Just(AdminState::Enabled),
        1 => Just(AdminState::Draining),
        1 => Just(AdminState::Disabled),
    ];
    let rarely = || prop::bool::weighted(0.15);
    let bools = (rarely(), rarely(), rarely(), rarely(), rarely(), rarely(), prop::bool::weighted(0.3));
    (admin, bools, 1..=1000_u16).prop_map(|(admin, bools, weight)| {
        let (down4, down6, returned, no_neighbour, no_port, no_v6, backup) = bools;
        Fate { admin, down4, down6, returned, no_neighbour, no_port, no_v6, weight, backup }
    })
}

/// A site of three services, in the state that the fates of its servers lead to.
fn site(fates: &[Fate], scheduler: Scheduler, now: u64) -> Site {
    let mut site = Site::new(fates.len(), 3);
    for (index, fate) in fates.iter().enumerate() {
        site.server_mut(index).weight = fate.weight;
        if fate.no_v6 {
            site.server_mut(index).address6 = None;
        }
        for pool in 0..3 {
            site.pool_mut(pool).scheduler = scheduler;
            for member in site.pool_mut(pool).members.iter_mut().filter(|member| member.server == server(index)) {
                member.backup = fate.backup;
            }
        }
    }
    site.probe_all();
    for (index, fate) in fates.iter().enumerate() {
        if fate.returned {
            site.fail(index);
            site.recover(index);
        }
        for (down, family) in [(fate.down4, Family::V4), (fate.down6, Family::V6)] {
            if down {
                site.probe(index, family, &Verdict::failure(crate::core::check::FailureKind::Refused, "no answer"), 3);
            }
        }
        site.admin.set(&server(index), fate.admin, site.now);
        if fate.no_neighbour {
            site.network.neighbours.remove(&v4(index));
            site.network.neighbours.remove(&v6(index));
        }
        if fate.no_port {
            site.network.fdb.remove(&(mac(index), 0));
        }
    }
    site.now = at(1000 + now);
    site
}

fn sites() -> impl Strategy<Value = (Vec<Fate>, Site)> {
    let scheduler = prop::sample::select(vec![
        Scheduler::Maglev,
        Scheduler::RoundRobin,
        Scheduler::LeastConnections,
        Scheduler::SourceHash,
    ]);
    (prop::collection::vec(fate(), 1..=POOL_SIZE), scheduler, 0..100_u64)
        .prop_map(|(fates, scheduler, now)| (fates.clone(), site(&fates, scheduler, now)))
}

/// May this server get new connections, by the words of the specification.
fn able(fate: &Fate, family: Family) -> bool {
    let (down, missing) = if family == Family::V4 { (fate.down4, false) } else { (fate.down6, fate.no_v6) };
    fate.admin == AdminState::Enabled && !down && !missing && !fate.no_neighbour && !fate.no_port
}

fn schedules(plan: &Plan) -> impl Iterator<Item = (Family, Vec<usize>)> {
    plan.state.services.iter().map(|(key, service)| {
        let index = |name: &crate::config::Name| name.as_str().trim_start_matches("pc").parse().unwrap();
        (key.family, service.schedule.keys().map(index).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equal_inputs_give_equal_plans((_, site) in sites()) {
        prop_assert_eq!(site.plan(), site.clone().plan());
    }

    #[test]
    fn exactly_the_able_primaries_are_scheduled_and_without_any_the_able_backups((fates, site) in sites()) {
        for (family, scheduled) in schedules(&site.plan()) {
            let able = |backup: bool| -> Vec<usize> {
                let chosen = fates.iter().enumerate().filter(|(_, fate)| fate.backup == backup && able(fate, family));
                chosen.map(|(index, _)| index).collect()
            };
            let primaries = able(false);
            prop_assert_eq!(scheduled, if primaries.is_empty() { able(true) } else { primaries });
        }
    }

    #[test]
    fn every_service_appears_in_every_family_with_a_standing_for_every_member((fates, site) in sites()) {
        let plan = site.plan();
        prop_assert_eq!(plan.state.services.len(), 6);
        prop_assert_eq!(plan.members.len(), 6 * fates.len());
        for (key, standing) in &plan.members {
            let scheduled = plan.state.services[&key.service].schedule.get(&key.server);
            prop_assert_eq!(standing.is_scheduled(), scheduled.is_some());
            prop_assert_eq!(matches!(standing, Standing::NoAddress(_)), !plan.state.dests.contains_key(key));
        }
    }

    #[test]
    fn a_destination_is_down_exactly_when_its_server_is_disabled_or_fails((fates, site) in sites()) {
        for (key, dest) in &site.plan().state.dests {
            let fate = &fates[key.server.as_str().trim_start_matches("pc").parse::<usize>().unwrap()];
            let fails = if key.service.family == Family::V4 { fate.down4 } else { fate.down6 };
            prop_assert_eq!(dest.down, fails || fate.admin == AdminState::Disabled);
        }
    }

    #[test]
    fn weights_are_between_a_tenth_and_all_of_what_is_configured((_, site) in sites()) {
        let plan = site.plan();
        for service in plan.state.services.values() {
            for (name, weight) in &service.schedule {
                let full = service.members[name].0;
                prop_assert!(weight.0 >= full / 10 && weight.0 <= full && weight.0 > 0);
            }
        }
        prop_assert!(plan.next.is_none_or(|next| next > site.now));
    }

    #[test]
    fn nothing_changes_before_the_announced_moment((_, site) in sites()) {
        let plan = site.plan();
        let mut later = site.clone();
        let latest = plan.next.unwrap_or(at(1_000_000));
        later.now = crate::core::moment::Moment(latest.0.saturating_sub(std::time::Duration::from_nanos(1)));
        prop_assert_eq!(later.plan().state, plan.state);
    }
}
