//! Orders of operators, differences between the boxes, and bad paths.

use super::*;

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
