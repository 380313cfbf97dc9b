//! Faults of the box that owns, and hand-overs.

use std::time::Duration;

use lbd::lab::pair::PANEL;
use lbd::lab::pair::line::Noise;
use lbd::lab::pair::rounds::Watch;
use nix::sys::signal::Signal;

use super::stage::{PACE, Stage, Stream};

const VIPS: [&str; 2] = ["192.0.2.25", "192.0.2.110"];
/// Customers before and after what happens.
const CALM: Duration = Duration::from_millis(1_000);
/// What is promised of silence, besides what the machine of the test adds: it has two cores for all of the site.
const SLACK: Duration = Duration::from_millis(400);

fn tell(what: &str, streams: &[Stream]) {
    for stream in streams {
        println!(
            "{what}: {:28} {} of {} failed, silent for {:?} from {:?} on; {:?}",
            stream.name,
            stream.failed(),
            stream.attempts.len(),
            stream.silence().0,
            stream.silence().1,
            stream.why()
        );
    }
}

fn hold(streams: &[Stream], promised: Duration, stage: &Stage) {
    for stream in streams {
        assert!(
            stream.silence().0 <= promised + SLACK + PACE,
            "{}: silent for {:?}, promised {promised:?}\n{}\n{}",
            stream.name,
            stream.silence().0,
            stage.log(0),
            stage.log(1)
        );
    }
}

#[test]
fn one_box_owns_and_answers_for_every_address_and_the_other_one_is_ready() {
    let stage = Stage::new();
    let owner = stage.settled();
    for vip in VIPS {
        assert_eq!(stage.who_answers(vip), Some(owner), "{vip}");
    }
}

#[test]
fn a_daemon_that_is_killed_loses_the_addresses_to_the_other_box() {
    let mut stage = Stage::new();
    let owner = stage.settled();
    let streams = stage.watch(|stage| {
        std::thread::sleep(CALM);
        stage.kill(owner);
        stage.until_owns(1 - owner);
        std::thread::sleep(CALM);
    });
    tell("killed", &streams);
    hold(&streams, Duration::from_millis(100), &stage);
    for vip in VIPS {
        assert_eq!(stage.who_answers(vip), Some(1 - owner), "{vip}");
    }
    stage.start(owner);
    assert_eq!(stage.settled(), 1 - owner, "the owner stays");
}

#[test]
fn a_daemon_that_hangs_loses_the_addresses_and_does_not_take_them_back_when_it_wakes() {
    let mut stage = Stage::new();
    let owner = stage.settled();
    let streams = stage.watch(|stage| {
        std::thread::sleep(CALM);
        stage.signal(owner, Signal::SIGSTOP);
        stage.until_owns(1 - owner);
        std::thread::sleep(Duration::from_secs(2));
        stage.signal(owner, Signal::SIGCONT);
        std::thread::sleep(CALM);
    });
    tell("hung", &streams);
    hold(&streams, Duration::from_millis(100), &stage);
    assert_eq!(stage.settled(), 1 - owner);
}

#[test]
fn a_box_without_power_is_replaced() {
    let mut stage = Stage::new();
    let owner = stage.settled();
    let streams = stage.watch(|stage| {
        std::thread::sleep(CALM);
        stage.site.power_off(owner).unwrap();
        stage.until_owns(1 - owner);
        std::thread::sleep(CALM * 2);
    });
    tell("power-off", &streams);
    // Half of the servers hang on the dead box: until its probes fail, customers are sent to them, too. Those whose
    // connections are answered are served within the promised time.
    hold(&streams, Duration::from_millis(300), &stage);
}

#[test]
fn hand_overs_are_noticed_by_nobody() {
    const TIMES: usize = 4;
    let mut stage = Stage::new();
    let first = stage.settled();
    let streams = stage.watch(|stage| {
        for time in 0..TIMES {
            std::thread::sleep(CALM);
            let owner = (first + time) % 2;
            stage.hand_over(owner);
            stage.until_owns(1 - owner);
            stage.settled();
        }
        std::thread::sleep(CALM);
    });
    tell("hand-overs", &streams);
    for stream in &streams {
        assert_eq!(stream.failed(), 0, "{}: {:?}\n{}\n{}", stream.name, stream.why(), stage.log(0), stage.log(1));
    }
}

/// Open connections of each kind: mail by DSR, mailboxes by NAT, IPv4 and IPv6.
const OPEN: usize = 100;

/// Connections that are open before `act`, spread over servers on both boxes, all talk after it.
fn none_is_lost(what: &str, act: impl FnOnce(&mut Stage, usize)) {
    let mut stage = Stage::new();
    let owner = stage.settled();
    let held = stage.hold(OPEN);
    let (held, before) = stage.check(held);
    assert_eq!((before.served_count(), before.failed_count()), (4 * OPEN, 0), "{before:?}");
    stage.settled();
    act(&mut stage, owner);
    stage.until_owns(1 - owner);
    let (_, after) = stage.check(held);
    println!("{what}: {after:?}");
    assert_eq!(after.failed_count(), 0, "{what}: {after:?}\n{}\n{}", stage.log(0), stage.log(1));
    assert_eq!(after.served, before.served, "each talks with the server that it had");
}

#[test]
fn open_connections_survive_a_killed_daemon() {
    none_is_lost("killed", Stage::kill);
}

#[test]
fn open_connections_survive_a_hand_over() {
    none_is_lost("hand-over", |stage, owner| stage.hand_over(owner));
}

#[test]
fn open_connections_survive_a_hung_daemon_and_its_waking_up() {
    none_is_lost("hung", |stage, owner| {
        stage.signal(owner, Signal::SIGSTOP);
        stage.until_owns(1 - owner);
        std::thread::sleep(Duration::from_secs(3));
        stage.signal(owner, Signal::SIGCONT);
        std::thread::sleep(CALM);
    });
}

#[test]
fn an_owner_that_is_restarted_goes_on_owning_and_tells_the_other_box_what_comes_then() {
    let mut stage = Stage::new();
    let owner = stage.settled();
    restart(&mut stage, owner);
}

/// A hand-over moves no uplink: the customers of this owner come through the other box.
#[test]
fn an_owner_that_is_restarted_leaves_its_blocked_uplink_blocked() {
    let mut stage = Stage::new();
    let owner = 1 - stage.uplink();
    if stage.settled() != owner {
        stage.hand_over(1 - owner);
        stage.until_owns(owner);
        assert_eq!(stage.settled(), owner);
    }
    restart(&mut stage, owner);
}

/// No customer notices, and the other box is told of connections that come afterwards.
fn restart(stage: &mut Stage, owner: usize) {
    let streams = stage.watch(|stage| {
        std::thread::sleep(CALM);
        stage.site.balancer(owner).unwrap().process().stop().unwrap();
        stage.start(owner);
        assert_eq!(stage.settled(), owner, "{}\n{}", stage.log(0), stage.log(1));
    });
    tell("restarted", &streams);
    for stream in &streams {
        assert_eq!(stream.failed(), 0, "{}: {:?}\n{}", stream.name, stream.why(), stage.log(owner));
    }
    let (held, before) = stage.check(stage.hold(OPEN));
    stage.settled();
    stage.kill(owner);
    stage.until_owns(1 - owner);
    let (_, after) = stage.check(held);
    assert_eq!(after.failed_count(), 0, "{after:?}\n{}\n{}", stage.log(0), stage.log(1));
    assert_eq!(after.served, before.served, "each talks with the server that it had");
}

#[test]
fn a_box_without_power_takes_along_only_the_connections_of_its_own_servers() {
    let mut stage = Stage::new();
    let owner = stage.settled();
    let held = stage.hold(OPEN);
    let (held, before) = stage.check(held);
    stage.settled();
    stage.site.power_off(owner).unwrap();
    stage.until_owns(1 - owner);
    // Behind each box there are two PCs.
    let own = [["pc1", "pc2"], ["pc3", "pc4"]][1 - owner];
    let expected: usize = own.iter().map(|pc| before.of(pc)).sum();
    let (alive, rest): (Vec<_>, Vec<_>) = held.into_iter().partition(|one| own.contains(&one.server.as_str()));
    let (_, after) = stage.check(alive);
    println!("power-off: {after:?}, {} more were with servers that went too", rest.len());
    assert_eq!((after.served_count(), after.failed_count()), (expected, 0), "{after:?}\n{}", stage.log(1 - owner));
    assert!(expected > OPEN, "both boxes' servers had some: {before:?}");
}

#[test]
fn a_box_whose_uplink_is_cut_lets_the_other_one_reach_the_customers() {
    let mut stage = Stage::new();
    stage.settled();
    let port = ["lan1", "lan2"][stage.uplink()];
    let streams = stage.watch(|stage| {
        std::thread::sleep(CALM);
        stage.site.site.ip("router", &format!("link set {port} down")).unwrap();
        std::thread::sleep(CALM * 2);
    });
    tell("uplink cut", &streams);
    hold(&streams, Duration::from_millis(300), &stage);
}

/// Cuts, or mends, everything that joins the boxes: cross-connect, heartbeat cable, serial line, and one uplink at the
/// router.
pub fn cut(stage: &Stage, state: &str) {
    stage.site.line.set_noise(if state == "down" { Noise::Stall } else { Noise::None });
    let lines: String = ["x1", "x2", "h1", "h2"].map(|end| format!("link set {end} {state}\n")).concat();
    stage.site.site.ip(PANEL, &lines).unwrap();
    stage.site.site.ip("router", &format!("link set lan2 {state}\n")).unwrap();
}

#[test]
fn when_all_that_joins_the_boxes_is_cut_both_own_and_one_yields_when_it_is_mended() {
    let stage = Stage::new();
    let owner = stage.settled();
    cut(&stage, "down");
    // Nothing comes through, and nothing is answered: each must suppose that the other one is off.
    stage.until_owns(1 - owner);
    // Its lease rested on the other one's promises: it takes it anew.
    stage.until_owns(owner);
    cut(&stage, "up");
    stage.settled();
    for vip in VIPS {
        assert_eq!(stage.who_answers(vip), Some(stage.settled()), "{vip}");
    }
}

#[test]
fn without_the_cross_connect_both_uplinks_are_open_and_customers_notice_nothing() {
    let mut stage = Stage::new();
    let owner = stage.settled();
    let streams = stage.watch(|stage| {
        std::thread::sleep(CALM);
        stage.site.site.ip(PANEL, "link set x1 down\nlink set x2 down\n").unwrap();
        std::thread::sleep(CALM * 3);
    });
    tell("cross-connect cut", &streams);
    hold(&streams, Duration::from_millis(300), &stage);
    assert_eq!((stage.standing(0).uplink_open, stage.standing(1).uplink_open), (true, true));
    stage.site.site.ip(PANEL, "link set x1 up\nlink set x2 up\n").unwrap();
    assert_eq!(stage.settled(), owner);
    stage.until("one uplink is blocked", |stage| stage.standing(0).uplink_open != stage.standing(1).uplink_open);
}

/// A loop that is closed for some milliseconds only teaches all switches on it wrong places, for minutes.
#[test]
fn no_frame_goes_round_when_a_cross_connect_is_mended() {
    const TIMES: usize = 5;
    let stage = Stage::new();
    let owner = stage.settled();
    for time in 0..TIMES {
        stage.site.site.ip(PANEL, "link set x1 down\nlink set x2 down\n").unwrap();
        stage.until("both uplinks are open", |stage| stage.standing(0).uplink_open && stage.standing(1).uplink_open);
        let rounds = Watch::start(&stage.site.site, &["pc1", "pc3"]).unwrap();
        stage.site.site.ip(PANEL, "link set x1 up\nlink set x2 up\n").unwrap();
        stage.until("one uplink is blocked", |stage| stage.standing(0).uplink_open != stage.standing(1).uplink_open);
        std::thread::sleep(CALM);
        let rounds = rounds.end().unwrap();
        for machine in ["pc1", "pc3"] {
            let (heard, sent) = (rounds.heard[machine].len(), rounds.sent);
            println!("mended, time {time}: {machine} heard {heard} of {sent}, one at most {} times", rounds.most());
            // One was sent each millisecond, at most.
            assert!(sent - heard as u32 <= 300, "{machine} heard {heard} of {sent}");
        }
        assert_eq!(rounds.most(), 1, "times at most that one was heard\n{}\n{}", stage.log(0), stage.log(1));
        assert_eq!(stage.settled(), owner);
    }
}
