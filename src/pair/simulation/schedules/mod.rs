//! Schedules by hand: the gaps that are stated, the schedules that broke weaker rules, those that users of other pairs
//! have reported, and what operators order. In all of them box 0 owns and box 1 stands by, unless they say otherwise.

mod gaps;
mod model;
mod orders;
mod reports;

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
