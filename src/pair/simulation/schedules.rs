//! The schedules that broke weaker rules, and those that users of other pairs have reported. In all of them box 0 owns
//! and box 1 stands by, unless they say otherwise.

use super::network::{CROSS, LAN, SERIAL};
use super::steps::Step::{self, *};
use super::world::World;
use crate::pair::election::{Alarm, Lease};
use crate::pair::heartbeat::State;
use crate::pair::timers::Timers;

/// What follows from a missed tick or answer, at most: timers, one round trip, and the grain of the measurement.
const SLACK_MS: f64 = 1.0;
const SEEDS: u64 = 25;

fn pair(seed: u64, timers: Timers) -> World {
    let mut world = started(seed, timers, false);
    world.run_ms(4_000);
    if world.owner() == Some(1) {
        world.step(HandOver(1));
    }
    world.run_ms(1_000);
    assert_eq!(world.owner(), Some(0), "seed {seed}");
    assert_eq!(state(&world, 1), State::Standby, "seed {seed}");
    // Somewhere in the rhythm of heartbeats.
    let offset = world.rng.next() % 100_000_000;
    world.run_until(world.now + offset);
    world.watch();
    world
}

/// Both boxes are switched on at once; box 0 has the higher priority.
fn started(seed: u64, timers: Timers, preempt: bool) -> World {
    let mut world = World::new(seed, timers);
    for of in 0..2 {
        if let Some(settings) = world.boxes[of].settings.as_mut() {
            settings.preempt = preempt;
            settings.priority = if of == 0 { 150 } else { 100 };
        }
        world.boxes[of].on = true;
        world.start_at(of, 0);
    }
    world
}

fn state(world: &World, of: usize) -> State {
    world.boxes[of].daemon.as_ref().map(|daemon| daemon.status().state).unwrap_or_default()
}

fn steps(world: &mut World, steps: &[Step]) {
    for step in steps {
        world.step(*step);
    }
}

/// The rules held; one owner, who announced last.
fn holds(world: &World, owner: usize) {
    assert_eq!(world.checker.violation, None);
    assert_eq!(world.owner(), Some(owner), "at {} ms", world.now / 1_000_000);
    assert_eq!(world.checker.announced_by, Some(owner), "the owner announced last");
}

fn never_two(world: &World) {
    assert_eq!(world.checker.splits, 0);
    assert!(world.checker.two_ms(world.now) == 0.0, "two owned for {} ms", world.checker.two_ms(world.now));
}

fn gap_at_most(world: &World, ms: f64) {
    let gap = world.checker.gap_ms(world.now);
    assert!(gap <= ms + SLACK_MS, "nobody owned for {gap} ms, {ms} are allowed");
}

fn for_each_seed(test: impl Fn(u64)) {
    for seed in 0..SEEDS {
        test(seed);
    }
}

fn endless(world: &World, of: usize) -> bool {
    world.boxes[of].plane.lease == Lease::Endless
}

// The gaps that are stated.

fn gap_of(seed: u64, timers: Timers, fault: &[Step], owner: usize) -> f64 {
    let mut world = pair(seed, timers);
    steps(&mut world, fault);
    world.run_ms(4_000);
    holds(&world, owner);
    never_two(&world);
    world.checker.gap_ms(world.now)
}

fn worst_gap(timers: Timers, fault: &[Step], owner: usize) -> f64 {
    (0..200).map(|seed| gap_of(seed, timers, fault, owner)).fold(0.0, f64::max)
}

#[test]
fn nobody_owns_for_no_longer_than_stated() {
    // Milliseconds. The dead interval; the question and its answer; the standby's rhythm of heartbeats.
    let cases: [(&str, Timers, &[Step], usize, f64); 8] = [
        ("power-off", Timers::DEFAULT, &[PowerOff(0)], 1, 250.0),
        ("power-off, relaxed", Timers::RELAXED, &[PowerOff(0)], 1, 400.0),
        ("power-off, fast", Timers::FAST, &[PowerOff(0)], 1, 100.0),
        ("kill", Timers::DEFAULT, &[Kill(0)], 1, 7.0),
        ("hang", Timers::DEFAULT, &[Stop(0)], 1, 7.0),
        ("the standby's power-off", Timers::DEFAULT, &[PowerOff(1)], 0, 55.0),
        ("the standby's kill", Timers::DEFAULT, &[Kill(1)], 0, 55.0),
        ("hand-over", Timers::DEFAULT, &[HandOver(0)], 1, 1.0),
    ];
    for (name, timers, fault, owner, allowed) in cases {
        let gap = worst_gap(timers, fault, owner);
        println!("{name}: nobody owned for {gap:.1} ms at worst, {allowed} are stated");
        assert!(gap <= allowed + SLACK_MS, "{name}: {gap} ms");
    }
}

// The twenty of the model.

#[test]
fn four_heartbeats_lost_and_then_a_hang_leave_one_owner() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(CutAllFrom { from: 0, cut: true });
        world.run_ms(4 * 50);
        steps(&mut world, &[CutAllFrom { from: 0, cut: false }, Stop(0)]);
        world.run_ms(3_000);
        holds(&world, 1);
        never_two(&world);
    });
}

#[test]
fn an_owner_that_is_unheard_one_way_and_then_hangs_leaves_one_owner() {
    for_each_seed(|seed| {
        for dark in [100, 180, 230, 260, 400] {
            let mut world = pair(seed, Timers::DEFAULT);
            world.step(CutAllFrom { from: 0, cut: true });
            world.run_ms(dark);
            world.step(Stop(0));
            world.run_ms(3_000);
            holds(&world, 1);
            never_two(&world);
        }
    });
}

#[test]
fn both_ways_dark_for_215_ms_and_then_a_hang_leave_one_owner() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(CutAll(true));
        world.run_ms(215);
        steps(&mut world, &[CutAll(false), Stop(0)]);
        world.run_ms(3_000);
        holds(&world, 1);
        never_two(&world);
    });
}

#[test]
fn a_standby_that_is_unheard_one_way_goes_on_hearing_the_owner() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(CutAllFrom { from: 1, cut: true });
        world.run_ms(10_000);
        holds(&world, 0);
        never_two(&world);
        assert!(endless(&world, 0));
        let stale = world.boxes[1].daemon.as_ref().map(|daemon| daemon.counters().stale);
        assert_eq!(stale, Some(0), "what echoes nothing young is not stale for that");
        world.step(CutAllFrom { from: 1, cut: false });
        world.run_ms(3_000);
        holds(&world, 0);
        never_two(&world);
    });
}

#[test]
fn a_standby_that_was_paused_claims_nothing_though_its_timers_come_first() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        steps(&mut world, &[TimersFirst { of: 1, first: true }, Stop(1)]);
        world.run_ms(1_000);
        world.step(Continue(1));
        world.run_ms(3_000);
        holds(&world, 0);
        never_two(&world);
    });
}

fn stall_before_endless(plain_writes: bool) -> World {
    let mut world = pair(3, Timers::DEFAULT);
    world.plain_endless = plain_writes;
    // Box 0 hears nobody and is about to own without end; box 1 hears it until it stalls.
    steps(&mut world, &[CutAllFrom { from: 1, cut: true }, LateEndless { of: 0, ms: 900 }]);
    world.run_ms(3_000);
    world
}

#[test]
fn a_stall_between_deciding_and_writing_endless_makes_no_second_owner() {
    let world = stall_before_endless(false);
    assert_eq!(world.checker.violation, None);
    never_two(&world);
    assert!(stall_before_endless(true).checker.violation.is_some(), "the schedule would show it");
}

#[test]
fn an_orphan_of_a_solo_owner_is_told_to_let_go_by_the_peer_that_boots() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(PowerOff(1));
        world.run_ms(3_000);
        assert!(endless(&world, 0));
        steps(&mut world, &[Kill(0), PowerOn(1)]);
        world.run_ms(1_900);
        holds(&world, 0);
        world.run_ms(3_000);
        holds(&world, 1);
        never_two(&world);
        assert!(world.alarmed(1, Alarm::Orphan));
    });
}

#[test]
fn an_owner_that_is_killed_before_its_peer_knows_of_the_endless_lease_is_no_second_owner() {
    for_each_seed(|seed| {
        for ms in [0, 1, 20, 60, 120] {
            let mut world = pair(seed, Timers::DEFAULT);
            world.step(Synced { of: 1, synced: false });
            world.run_ms(ms);
            // The questions are lost: only what was said counts.
            steps(&mut world, &[Kill(0), CutAll(true)]);
            world.run_ms(250);
            if !endless(&world, 0) {
                assert_eq!(world.checker.splits, 0, "its lease has ended");
            }
            steps(&mut world, &[CutAll(false), Synced { of: 1, synced: true }]);
            world.run_ms(5_000);
            holds(&world, 1);
        }
    });
}

#[test]
fn an_unready_peer_that_hears_nothing_waits_until_the_owner_has_noticed() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(Synced { of: 1, synced: false });
        world.run_ms(500);
        assert!(endless(&world, 0), "the peer cannot own, and knows of it");
        world.step(CutAllFrom { from: 0, cut: true });
        world.run_ms(4_000);
        assert_eq!(world.checker.violation, None);
        never_two(&world);
        gap_at_most(&world, 2.0 * 250.0 + 2.0 * 50.0);
        assert_eq!(world.owner(), Some(1), "it is unheard, and the peer may own without its state");
    });
}

#[test]
fn a_box_that_was_paused_for_5_s_and_wakes_to_a_one_way_serial_line_waits() {
    for_each_seed(|seed| {
        for heard in [0, 1] {
            let mut world = pair(seed, Timers::DEFAULT);
            world.step(Stop(1));
            world.run_ms(5_000);
            for path in [CROSS, LAN] {
                steps(&mut world, &[Cut { from: 0, path, cut: true }, Cut { from: 1, path, cut: true }]);
            }
            steps(&mut world, &[Cut { from: 1 - heard, path: SERIAL, cut: true }, Continue(1)]);
            world.run_ms(5_000);
            assert_eq!(world.checker.violation, None);
            never_two(&world);
            assert!(world.owner().is_some());
        }
    });
}

#[test]
fn a_joiner_that_loses_its_first_questions_claims_nothing() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(PowerOff(1));
        world.run_ms(3_000);
        world.step(CutAll(true));
        world.run_ms(50);
        world.step(PowerOn(1));
        world.run_ms(700);
        world.step(CutAll(false));
        world.run_ms(3_000);
        holds(&world, 0);
        never_two(&world);
    });
}

#[test]
fn a_box_that_loses_questions_after_a_pause_claims_nothing() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(Freeze(1));
        world.run_ms(1_000);
        steps(&mut world, &[CutAll(true), Thaw(1)]);
        world.run_ms(300);
        world.step(CutAll(false));
        world.run_ms(3_000);
        holds(&world, 0);
        never_two(&world);
    });
}

#[test]
fn of_two_solo_owners_an_orphaned_younger_one_is_told_to_let_go() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(PowerOff(1));
        world.run_ms(2_000);
        steps(&mut world, &[CutAll(true), PowerOn(1)]);
        world.run_ms(6_000);
        assert!(endless(&world, 0) && endless(&world, 1), "both own, all is cut");
        world.step(Kill(1));
        world.run_ms(2_000);
        world.step(CutAll(false));
        world.run_ms(1_000);
        holds(&world, 0);
    });
}

#[test]
fn an_orphan_is_not_told_to_let_go_while_the_joiner_still_waits() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(PowerOff(1));
        world.run_ms(3_000);
        world.step(Kill(0));
        // Silent for longer than an orphan is waited for, when the joiner begins.
        world.run_ms(4_000);
        world.watch();
        world.step(PowerOn(1));
        world.run_ms(5_000);
        holds(&world, 1);
        never_two(&world);
        gap_at_most(&world, 101.0);
    });
}

#[test]
fn a_joiner_that_has_heard_its_peer_does_not_wait_as_after_a_boot() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(PowerOff(1));
        world.run_ms(3_000);
        world.step(PowerOn(1));
        world.run_ms(600);
        world.watch();
        world.step(PowerOff(0));
        world.run_ms(2_000);
        holds(&world, 1);
        gap_at_most(&world, 250.0);
    });
}

#[test]
fn filtered_heartbeats_make_no_second_owner_where_the_lan_is_fine() {
    for_each_seed(|seed| {
        for hand_over in [false, true] {
            let mut world = pair(seed, Timers::DEFAULT);
            if hand_over {
                world.step(HandOver(0));
                world.run_ms(1_000);
            }
            world.watch();
            world.step(Filter(true));
            world.run_ms(8_000);
            assert_eq!(world.checker.violation, None);
            never_two(&world);
            gap_at_most(&world, 60.0);
            assert!(world.alarmed(0, Alarm::HeartbeatsFiltered) || world.alarmed(1, Alarm::HeartbeatsFiltered));
            let owner = world.owner().expect("one owns");
            world.step(Filter(false));
            world.run_ms(3_000);
            holds(&world, owner);
            never_two(&world);
        }
    });
}

#[test]
fn a_split_whose_older_owner_was_killed_ends_with_one_owner() {
    for_each_seed(|seed| {
        for killed in [0, 1] {
            let mut world = pair(seed, Timers::DEFAULT);
            world.step(CutAll(true));
            world.run_ms(4_000);
            assert!(endless(&world, 0) && endless(&world, 1));
            world.step(Kill(killed));
            world.run_ms(2_000);
            world.step(CutAll(false));
            world.watch();
            world.run_ms(6_000);
            holds(&world, 1 - killed);
            assert!(world.checker.two_ms(world.now) <= 200.0 + SLACK_MS, "{}", world.checker.two_ms(world.now));
        }
    });
}

#[test]
fn a_lost_grant_is_repeated() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        steps(&mut world, &[CutAllFrom { from: 0, cut: true }, HandOver(0)]);
        world.run_ms(120);
        world.step(CutAllFrom { from: 0, cut: false });
        world.run_ms(3_000);
        holds(&world, 1);
        never_two(&world);
        gap_at_most(&world, 120.0 + 50.0);
    });
}

#[test]
fn a_hand_over_to_a_box_that_dies_comes_back() {
    for_each_seed(|seed| {
        for fault in [PowerOff(1), Kill(1), Stop(1)] {
            let mut world = pair(seed, Timers::DEFAULT);
            world.step(HandOver(0));
            world.run_until(world.now + 300_000);
            world.step(fault);
            world.run_ms(3_000);
            holds(&world, 0);
            never_two(&world);
            gap_at_most(&world, 500.0);
        }
    });
}

#[test]
fn a_hand_over_by_a_box_that_dies_is_a_hand_over() {
    for_each_seed(|seed| {
        for fault in [PowerOff(0), Kill(0), Stop(0)] {
            let mut world = pair(seed, Timers::DEFAULT);
            world.step(HandOver(0));
            world.step(fault);
            world.run_ms(3_000);
            holds(&world, 1);
            never_two(&world);
            // It may own by the grant alone until it has been silent for long enough.
            gap_at_most(&world, 55.0);
        }
    });
}

#[test]
fn a_planned_restart_keeps_the_lease_though_the_standby_restarts_too() {
    for_each_seed(|seed| {
        for standby in [Kill(1), PowerOff(1)] {
            let mut world = pair(seed, Timers::DEFAULT);
            world.step(Restart { of: 0, ms: 1_200 });
            world.run_ms(100);
            assert!(world.boxes[0].daemon.is_none(), "it was allowed to exit");
            world.step(standby);
            world.run_ms(100);
            steps(&mut world, &[Start(1), PowerOn(1)]);
            world.run_ms(5_000);
            holds(&world, 0);
            never_two(&world);
            gap_at_most(&world, 0.0);
        }
    });
}

#[test]
fn two_boxes_that_start_at_once_agree() {
    for_each_seed(|seed| {
        for preempt in [false, true] {
            let mut world = started(seed, Timers::DEFAULT, preempt);
            world.watch();
            world.run_ms(1_000);
            let first = world.owner().expect("one owns");
            world.run_ms(59_000);
            // The first stays, or the preferred one gets it once.
            holds(&world, if preempt { 0 } else { first });
            never_two(&world);
            assert!(world.checker.changes <= 1 + u32::from(first == 1 && preempt));
            gap_at_most(&world, 100.0);
        }
    });
}

#[test]
fn overtaken_heartbeats_do_not_count() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        steps(&mut world, &[Jitter { ms: 150 }, HandOver(0)]);
        world.run_ms(3_000);
        steps(&mut world, &[HandOver(1), HandOver(0)]);
        world.run_ms(3_000);
        assert_eq!(world.checker.violation, None);
        never_two(&world);
        let overtaken = world.boxes[0].daemon.as_ref().map(|daemon| daemon.counters().overtaken);
        assert!(overtaken > Some(100), "{overtaken:?}");
    });
}

// What users of other pairs have reported.

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

// Orders and differences.

#[test]
fn maintenance_hands_over_and_takes_no_part() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(Maintenance { of: 0, on: true });
        world.run_ms(2_000);
        holds(&world, 1);
        gap_at_most(&world, 1.0);
        assert!(endless(&world, 1), "its peer cannot own");
        world.step(PowerOff(1));
        world.run_ms(5_000);
        assert_eq!(world.owner(), None);
        world.step(Maintenance { of: 0, on: false });
        world.run_ms(2_000);
        holds(&world, 0);
    });
}

#[test]
fn a_fault_hands_over_and_a_second_one_changes_nothing() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(Fault { of: 0, on: true });
        world.run_ms(1_000);
        holds(&world, 1);
        gap_at_most(&world, 1.0);
        world.step(Fault { of: 1, on: true });
        world.run_ms(5_000);
        holds(&world, 1);
    });
}

#[test]
fn more_healthy_pools_move_the_ownership_once_and_only_when_they_stand() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.run_ms(30_000);
        world.watch();
        // Twice the detection time is 4 s.
        world.step(Pools { of: 0, healthy: 3 });
        world.run_ms(3_500);
        assert_eq!(world.owner(), Some(0));
        world.run_ms(1_000);
        holds(&world, 1);
        gap_at_most(&world, 1.0);
        for round in 0..60 {
            steps(
                &mut world,
                &[Pools { of: 0, healthy: 3 + round % 2 * 3 }, Pools { of: 1, healthy: 3 + (round + 1) % 2 * 3 }],
            );
            world.run_ms(5_000);
        }
        // Five minutes of differences that stand just long enough: held for 30 s each time.
        assert!(world.checker.changes <= 12, "{}", world.checker.changes);
        never_two(&world);
    });
}

#[test]
fn a_virtual_machine_whose_clock_stood_still_owns_for_no_longer_than_a_lease() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(Freeze(0));
        world.run_ms(10_000);
        assert_eq!(world.owner(), Some(1));
        world.step(ThawWithoutClock(0));
        world.watch();
        world.run_ms(3_000);
        let two = world.checker.two_ms(world.now);
        assert!(two <= 245.0 + SLACK_MS, "{two}");
        assert_eq!(world.owner(), Some(1));
    });
}

#[test]
fn a_restart_that_is_not_planned_takes_up_the_lease_where_it_was() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        world.step(Kill(0));
        world.run_ms(60);
        world.step(Start(0));
        world.run_ms(3_000);
        holds(&world, 0);
        never_two(&world);
        gap_at_most(&world, 0.0);
    });
}

#[test]
fn a_serial_line_alone_carries_the_pair() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        for path in [CROSS, LAN] {
            steps(&mut world, &[Cut { from: 0, path, cut: true }, Cut { from: 1, path, cut: true }]);
        }
        world.run_ms(20_000);
        holds(&world, 0);
        never_two(&world);
        gap_at_most(&world, 0.0);
        world.step(HandOver(0));
        world.run_ms(1_000);
        holds(&world, 1);
        gap_at_most(&world, 60.0);
        world.step(PowerOff(1));
        world.run_ms(1_000);
        holds(&world, 0);
        gap_at_most(&world, 250.0 + 20.0);
    });
}

#[test]
fn slow_and_lossy_paths_make_no_second_owner() {
    for_each_seed(|seed| {
        let mut world = pair(seed, Timers::DEFAULT);
        steps(&mut world, &[Loss { percent: 40 }, Duplicate { percent: 30 }, Jitter { ms: 60 }, WallClock]);
        world.run_ms(60_000);
        assert_eq!(world.checker.violation, None);
        never_two(&world);
        steps(&mut world, &[Hold { from: 0, path: SERIAL, ms: 1_500 }, Heal]);
        world.run_ms(3_000);
        let owner = world.owner().expect("one owns");
        holds(&world, owner);
    });
}
