//! Heartbeats over the serial line: beside the others, and alone.

use std::time::{Duration, Instant};

use lbd::lab::mail::ROUTER;
use lbd::lab::pair::PANEL;
use lbd::lab::pair::line::Noise;

use super::stage::{PATIENCE, Stage};

/// Cuts, or mends, all that joins the boxes but the serial line: cross-connect, heartbeat cable, and this box's uplink.
fn cut(stage: &Stage, index: usize, state: &str) {
    let lines: String = ["x1", "x2", "h1", "h2"].map(|end| format!("link set {end} {state}\n")).concat();
    stage.site.site.ip(PANEL, &lines).unwrap();
    let port = ["lan1", "lan2"][index];
    stage.site.site.ip(ROUTER, &format!("link set {port} {state}\n")).unwrap();
}

/// How often the two are asked who owns, and how long it goes on: two dead intervals of a finite lease many times over.
const LOOK: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(4);

#[test]
fn while_the_serial_line_alone_is_left_no_second_box_owns() {
    let stage = Stage::new();
    let owner = stage.settled();
    // A bit of one heartbeat in 20 or so is spoilt on its way.
    stage.site.line.set_noise(Noise::Flip(2_000));
    cut(&stage, 1 - owner, "down");
    let start = Instant::now();
    let (mut looks, mut owned) = (0, 0);
    while start.elapsed() < LONG {
        let other = stage.standing(1 - owner);
        assert!(!other.owns, "after {:?} both own\n{}\n{}", start.elapsed(), stage.log(0), stage.log(1));
        looks += 1;
        owned += usize::from(stage.standing(owner).owns);
        std::thread::sleep(LOOK);
    }
    assert!(looks > 20, "{looks}");
    assert_eq!(owned, looks, "the owner stays\n{}\n{}", stage.log(0), stage.log(1));
    assert!(!stage.standing(1 - owner).ready, "nobody can tell it of connections");
    assert_eq!(stage.who_answers("192.0.2.25"), Some(owner));
    // Without the line, each must suppose that the other one is off: it was the line that kept them apart.
    stage.site.line.set_noise(Noise::Stall);
    stage.until_owns(1 - owner);
    stage.site.line.set_noise(Noise::None);
    cut(&stage, 1 - owner, "up");
    let start = Instant::now();
    while stage.standing(0).owns == stage.standing(1).owns {
        assert!(start.elapsed() < PATIENCE, "{}\n{}", stage.log(0), stage.log(1));
        std::thread::sleep(LOOK);
    }
    stage.settled();
}
