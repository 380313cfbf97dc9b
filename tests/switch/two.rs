//! Two boxes and a router that is a switch: a loop, which one blocked port keeps open.

use std::sync::Arc;
use std::time::Duration;

use lbd::core::gates::{Gate, Gates};
use lbd::lab::Site;
use lbd::os::bridge::{PortStates, Record, Wanted};

use super::stage::*;

/// A loop that is closed passes a broadcast on for ever: hundreds of thousands of frames in this time.
const QUIET: Duration = Duration::from_millis(500);
/// What hosts say by themselves, and what a test says.
const FRAMES_MAX: u64 = 500;

struct Two {
    site: Site,
    gates: Arc<Gates>,
    wanted: Wanted,
    record: Record,
    _echoes: Vec<Echo>,
}

/// Both boxes set up; the second one's uplink is blocked from before it joins.
fn two() -> Two {
    let site = site();
    set_up(site.host("lb1").unwrap(), &wanted(LB1, &["up0", "x0", "p1"], "10.1.0.2/24"), &Default::default());
    let lb2 = site.host("lb2").unwrap();
    let gates = Arc::new(Gates::default());
    assert!(gates.set(index(lb2, "up0"), Gate::Blocked));
    let wanted = wanted(LB2, &["up0", "x0", "p1"], "10.1.0.3/24");
    let record = set_up(lb2, &wanted, &gates);
    let echoes = ["router", "pc1", "pc3", "lb1", "lb2"].map(|host| Echo::on(site.host(host).unwrap()));
    Two { site, gates, wanted, record, _echoes: echoes.into() }
}

impl Two {
    /// Everybody reaches everybody, and nothing circles.
    fn all_talk_and_nothing_circles(&self, when: &str) {
        let host = |name| self.site.host(name).unwrap();
        let begun = self.frames();
        let talks_to = [
            ("pc3", ROUTER),
            ("pc1", ROUTER),
            ("pc1", PC3),
            ("pc3", PC1),
            ("router", PC3),
            // The boxes themselves: heartbeats over the LAN, ARP for their own addresses.
            ("lb1", [10, 1, 0, 3].into()),
            ("lb2", [10, 1, 0, 2].into()),
            ("router", [10, 1, 0, 3].into()),
        ];
        for (from, to) in talks_to {
            // Nobody's bridge knows anybody's place from before.
            self.site.ip(from, "neigh flush all").unwrap();
            assert!(talks(host(from), to, PATIENCE), "{when}: {from} does not reach {to}");
        }
        std::thread::sleep(QUIET);
        let frames = self.frames() - begun;
        assert!(frames < FRAMES_MAX, "{when}: {frames} frames, a storm");
    }

    fn frames(&self) -> u64 {
        let router = self.site.host("router").unwrap();
        received(router, "e1") + received(router, "e2") + received(self.site.host("lb2").unwrap(), "x0")
    }

    /// The second box's ports, as a takeover does it.
    fn swap(&self, block: &str, open: &str) {
        let lb2 = self.site.host("lb2").unwrap();
        let (block, open) = (index(lb2, block), index(lb2, open));
        assert!(self.gates.set(block, Gate::Blocked) && self.gates.set(open, Gate::Open));
        lb2.enter(move || {
            let mut states = PortStates::open().unwrap();
            states.block(block).unwrap();
            states.unblock(open).unwrap();
        })
        .unwrap();
    }
}

#[test]
fn a_loop_with_one_blocked_uplink_is_open_and_everybody_reaches_everybody() {
    let two = two();
    two.all_talk_and_nothing_circles("set up");
    // The other way round: the second box's cross-connect blocks in the uplink's place.
    two.swap("x0", "up0");
    two.all_talk_and_nothing_circles("after the swap");
    two.swap("up0", "x0");
    two.all_talk_and_nothing_circles("back");
}

#[test]
fn traffic_that_only_crosses_the_switch_is_back_at_once_after_the_uplink_is_opened() {
    let two = two();
    let host = |name| two.site.host(name).unwrap();
    assert!(talks(host("pc3"), ROUTER, PATIENCE));
    let asked = silence(host("pc3"), ROUTER, Duration::from_millis(1_500));
    std::thread::sleep(Duration::from_millis(500));
    // The first box is gone, power and all.
    two.site.ip("lb1", "link set up0 down\nlink set x0 down\nlink set p1 down").unwrap();
    two.swap("x0", "up0");
    let silence = asked.join().unwrap();
    println!("pc3 did not hear from the router for {silence:?}");
    assert!(silence < Duration::from_millis(300), "{silence:?}");
}

#[test]
fn a_blocked_uplink_whose_cable_is_pulled_and_plugged_in_closes_no_loop_though_no_daemon_runs() {
    let mut two = two();
    assert!(talks(two.site.host("pc3").unwrap(), ROUTER, PATIENCE));
    for _ in 0..3 {
        two.site.ip("router", "link set e2 down").unwrap();
        two.site.ip("router", "link set e2 up").unwrap();
        two.all_talk_and_nothing_circles("held");
    }
    let lb2 = two.site.host("lb2").unwrap();
    let mut record = std::mem::take(&mut two.record);
    let again = bring(lb2, &two.wanted, &two.gates, &mut record);
    assert_eq!(again.done, [format!("blocking interface {}", index(lb2, "up0"))]);
    two.all_talk_and_nothing_circles("blocked again");
}

/// The tests above can fail: with the loop closed, one broadcast circles until it is opened again.
#[test]
fn a_loop_that_is_closed_storms_and_blocking_ends_it() {
    let two = two();
    let lb2 = two.site.host("lb2").unwrap();
    let up0 = index(lb2, "up0");
    let (pc3, begun) = (two.site.host("pc3").unwrap().clone(), two.frames());
    two.site.ip("pc3", "neigh flush all").unwrap();
    // Bounded: closed for a moment, on one thread, whatever happens meanwhile.
    let storm = std::thread::spawn(move || talks(&pc3, ROUTER, Duration::from_millis(100)));
    lb2.enter(move || {
        let mut states = PortStates::open().unwrap();
        states.unblock(up0).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        states.block(up0).unwrap();
    })
    .unwrap();
    storm.join().unwrap();
    let stormed = two.frames() - begun;
    assert!(stormed > 2 * FRAMES_MAX, "only {stormed} frames: these tests would not see a loop");
    two.all_talk_and_nothing_circles("blocked again");
}
