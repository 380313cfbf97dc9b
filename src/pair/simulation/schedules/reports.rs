//! What users of other pairs have reported.

use super::*;

#[test]
fn after_a_split_the_box_that_goes_on_owning_announces_again() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(CutAll(true));
        world.run_ms(3_000);
        assert_eq!(world.checker.splits, 1);
        let before = world.checker.announcements;
        world.step(CutAll(false));
        world.watch();
        world.run_ms(1_000);
        assert_eq!(world.checker.violation, None);
        let owner = world.owner().expect("one of the two");
        holds(&world, owner);
        assert!(world.checker.announcements > before);
        gap_at_most(&world, 0.0);
        let two = world.checker.two_ms(world.now);
        assert!(two <= 2.0 * 50.0 + SLACK_MS, "over in two heartbeats: {two}");
    });
}

#[test]
fn the_box_with_more_healthy_pools_wins_after_a_split() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        steps(&mut world, &[CutAll(true), Pools { of: 0, healthy: 1 }]);
        world.run_ms(4_000);
        world.step(CutAll(false));
        world.run_ms(1_000);
        holds(&world, 1);
    });
}

#[test]
fn a_reboot_with_preemption_brings_no_second_owner_and_one_way_back() {
    for_each_seed(|seed| {
        let mut world = started(seed, Timers::DEFAULT, true);
        world.run_ms(5_000);
        world.step(PowerOff(0));
        world.run_ms(5_000);
        assert_eq!(world.owner(), Some(1));
        world.watch();
        world.step(PowerOn(0));
        world.run_ms(60_000);
        holds(&world, 0);
        never_two(&world);
        assert_eq!(world.checker.changes, 1);
        // The solo owner asks the peer that comes back for its promise: one round trip.
        gap_at_most(&world, 5.0);
    });
}

#[test]
fn without_preemption_a_box_that_comes_back_stands_by() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(PowerOff(0));
        world.run_ms(5_000);
        world.step(PowerOn(0));
        world.run_ms(60_000);
        holds(&world, 1);
        never_two(&world);
    });
}

#[test]
fn a_restart_in_the_middle_of_a_hand_over_leaves_one_owner() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        steps(&mut world, &[HandOver(0), Kill(0), Start(0)]);
        world.run_ms(20);
        steps(&mut world, &[Kill(1), Start(1)]);
        world.run_ms(5_000);
        assert_eq!(world.checker.violation, None);
        never_two(&world);
        assert!(world.owner().is_some());
    });
}

#[test]
fn a_box_that_comes_back_owns_nothing_before_it_holds_its_peers_state() {
    for_each_seed(|seed| {
        let mut world = started(seed, Timers::DEFAULT, true);
        world.run_ms(5_000);
        world.step(PowerOff(0));
        world.run_ms(3_000);
        steps(&mut world, &[Synced { of: 0, synced: false }, PowerOn(0)]);
        world.run_ms(60_000);
        holds(&world, 1);
        assert_eq!(state(&world, 0), State::Init);
        world.step(Synced { of: 0, synced: true });
        world.run_ms(60_000);
        holds(&world, 0);
        never_two(&world);
    });
}

#[test]
fn a_box_without_its_peers_state_owns_when_the_peer_is_gone() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        steps(&mut world, &[Synced { of: 1, synced: false }]);
        world.run_ms(1_000);
        world.step(PowerOff(0));
        world.run_ms(2_000);
        holds(&world, 1);
        // The last word was an endless lease.
        gap_at_most(&world, 2.0 * 250.0 + 2.0 * 50.0);
    });
}
