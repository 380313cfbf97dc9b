//! For how long nobody owns after a fault, at worst.

use super::*;

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
