//! Two sides, a network between them that loses, doubles and reorders, and daemons that check and keep.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::core::moment::Moment;
use crate::core::random::Random;

const TURN: Duration = Duration::from_millis(5);

/// Chance out of a seed.
struct Dice(Random);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0.number() % end
    }
}

/// What the network does to each datagram, in per cent.
#[derive(Clone, Copy, Default)]
struct Faults {
    lost: u64,
    doubled: u64,
    late: u64,
    cut: bool,
}

struct Side {
    copier: Copier,
    /// `None`: the daemon is off; what it keeps is there.
    kept: Held,
    runs: bool,
    owns: bool,
    /// Its daemon takes nothing that says this.
    refuses: Option<&'static str>,
    taken: usize,
}

struct World {
    sides: [Side; 2],
    now: Moment,
    dice: Dice,
    faults: Faults,
    /// Due, to whom, what.
    flying: Vec<(Moment, usize, Vec<u8>)>,
    changes: u64,
    made: BTreeSet<Revision>,
    sent: usize,
}

fn text(words: &str) -> String {
    format!("# {words}\n")
}

fn full(words: &str) -> Held {
    Held::first(text(words), false)
}

fn blank() -> Held {
    Held::first(text("blank"), true)
}

impl World {
    fn new(held: [Held; 2], seed: u64) -> Self {
        let made = held.iter().filter(|held| !held.blank).map(|held| held.revision).collect();
        let side = |held: Held, owns| Side {
            copier: Copier::new(held.clone()),
            kept: held,
            runs: true,
            owns,
            refuses: None,
            taken: 0,
        };
        let [one, two] = held;
        Self {
            sides: [side(one, true), side(two, false)],
            now: Moment(Duration::from_secs(100)),
            dice: Dice(Random::new(seed)),
            faults: Faults::default(),
            flying: Vec::new(),
            changes: 0,
            made,
            sent: 0,
        }
    }

    /// Both hold the same, and it has gone through.
    fn pair() -> Self {
        let mut world = Self::new([full("first"), full("first")], 1);
        world.run(Duration::from_secs(2));
        assert_eq!(world.standings(), [Standing::Same; 2]);
        world
    }

    fn keep(&mut self, index: usize, held: Held) {
        let side = &mut self.sides[index];
        side.kept = held.clone();
        if side.runs {
            side.copier.hold(held);
        }
    }

    /// An operator changes the configuration of a box.
    fn change(&mut self, index: usize, words: &str) -> Revision {
        let held = self.sides[index].kept.changed(text(words), false, !self.sides[index].owns);
        let revision = held.revision;
        self.made.insert(revision);
        self.keep(index, held);
        revision
    }

    fn own(&mut self, owner: usize) {
        for (index, side) in self.sides.iter_mut().enumerate() {
            side.owns = index == owner;
            side.copier.set_owns(side.owns);
        }
    }

    fn stop(&mut self, index: usize) {
        self.sides[index].runs = false;
    }

    fn start(&mut self, index: usize) {
        let side = &mut self.sides[index];
        side.copier = Copier::new(side.kept.clone());
        side.copier.set_owns(side.owns);
        side.runs = true;
    }

    /// What the daemon does with the machine's news.
    fn attend(&mut self, index: usize) {
        let now = self.now;
        let side = &mut self.sides[index];
        if let Some(Arrived { document, replaces }) = side.copier.take_arrived() {
            assert_eq!(replaces, side.kept.revision);
            if let Some(words) = side.refuses.filter(|words| document.text.contains(*words)) {
                side.copier.refuse(&format!("{words} cannot be here"), now);
            } else {
                let blank = document.text == text("blank");
                side.taken += 1;
                let held = side.kept.replaced(&document, blank);
                self.keep(index, held);
            }
        }
        let side = &self.sides[index];
        if side.kept.off_duty && (side.owns || side.copier.standing(now) == Standing::Same) {
            let held = Held { off_duty: false, ..side.kept.clone() };
            self.keep(index, held);
        }
    }

    fn turn(&mut self) {
        self.now = self.now + TURN;
        let now = self.now;
        self.flying.sort_by_key(|(due, _, _)| *due);
        let due = self.flying.partition_point(|(due, _, _)| *due <= now);
        for (_, to, bytes) in self.flying.drain(..due).collect::<Vec<_>>() {
            if self.sides[to].runs {
                self.sides[to].copier.hear(&bytes, now);
            }
        }
        for index in 0..2 {
            if !self.sides[index].runs {
                continue;
            }
            self.attend(index);
            while let Some(bytes) = self.sides[index].copier.poll(now) {
                assert!(wire::is_ours(&bytes) && bytes.len() <= 1_352, "{} bytes", bytes.len());
                self.sent += 1;
                if self.faults.cut || self.dice.below(100) < self.faults.lost {
                    continue;
                }
                let copies = 1 + u64::from(self.dice.below(100) < self.faults.doubled);
                for _ in 0..copies {
                    let late = if self.dice.below(100) < self.faults.late { self.dice.below(300) } else { 0 };
                    let due = now + Duration::from_millis(1 + late);
                    self.flying.push((due, 1 - index, bytes.clone()));
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.turn();
        }
    }

    fn standings(&self) -> [Standing; 2] {
        [0, 1].map(|index| self.sides[index].copier.standing(self.now))
    }

    fn says(&self, index: usize) -> &str {
        self.sides[index].kept.text.trim_start_matches("# ").trim_end()
    }
}

const SOON: Duration = Duration::from_secs(3);

#[test]
fn a_change_on_the_owner_reaches_the_other_box() {
    let mut world = World::pair();
    let revision = world.change(0, "second");
    world.run(Duration::from_millis(200));
    assert_eq!((world.says(1), world.sides[1].kept.revision), ("second", revision));
    assert_eq!(world.standings(), [Standing::Same; 2]);
    assert_eq!(revision.counter, 2);
}

#[test]
fn a_large_configuration_comes_whole_through_a_bad_network() {
    let mut world = World::pair();
    world.faults = Faults { lost: 20, doubled: 20, late: 20, cut: false };
    let large = "x".repeat(900_000);
    world.change(0, &large);
    world.run(Duration::from_secs(20));
    assert_eq!(world.says(1), large);
    assert_eq!(world.sides[1].taken, 1, "once, and not in parts");
}

#[test]
fn a_stale_box_that_comes_back_takes_what_was_changed_meanwhile() {
    let mut world = World::pair();
    world.stop(1);
    for n in 0..20 {
        world.change(0, &format!("change {n}"));
    }
    world.run(SOON);
    world.start(1);
    world.run(SOON);
    assert_eq!((world.says(0), world.says(1)), ("change 19", "change 19"));
}

#[test]
fn a_stale_box_that_owns_when_the_other_comes_back_takes_what_is_newer() {
    let mut world = World::pair();
    world.stop(1);
    world.change(0, "newer");
    world.stop(0);
    world.own(1);
    world.start(1);
    world.run(SOON);
    world.start(0);
    world.run(SOON);
    assert_eq!((world.says(0), world.says(1)), ("newer", "newer"));
}

#[test]
fn a_stale_box_wins_not_even_with_a_higher_counter() {
    let mut world = World::pair();
    // An old disk is put in, and changed three times; the newer one was changed once.
    world.stop(1);
    let newer = world.change(0, "newer");
    world.sides[1].kept.off_duty = false;
    for n in 0..3 {
        world.sides[1].owns = true;
        world.change(1, &format!("stale {n}"));
    }
    assert!(world.sides[1].kept.revision.counter > newer.counter);
    world.sides[1].owns = false;
    world.start(1);
    world.run(SOON);
    assert_eq!(world.standings(), [Standing::Conflict; 2]);
    assert_eq!((world.says(0), world.says(1)), ("newer", "stale 2"), "nothing is overwritten");
}

#[test]
fn a_box_that_has_lost_its_memory_is_known_by_what_it_has() {
    let mut world = World::pair();
    world.change(0, "second");
    world.run(SOON);
    world.stop(1);
    world.change(0, "third");
    world.change(0, "fourth");
    // Its state directory is gone, its file is the second.
    world.sides[1].kept = full("second");
    world.start(1);
    world.run(SOON);
    assert_eq!(world.says(1), "fourth");
}

#[test]
fn a_change_that_is_taken_back_is_a_change() {
    let mut world = World::pair();
    world.change(0, "second");
    world.run(SOON);
    world.change(0, "first");
    world.run(SOON);
    assert_eq!((world.says(0), world.says(1)), ("first", "first"));
    assert_eq!(world.sides[1].kept.revision.counter, 3);
}

#[test]
fn a_blank_box_is_filled_and_never_wins() {
    for (counter, owner) in [(0, 0), (900, 0), (0, 1), (900, 1)] {
        let mut empty = blank();
        empty.revision.counter = counter;
        let mut world = World::new([full("first"), empty], 1);
        world.own(owner);
        world.run(SOON);
        assert_eq!((world.says(0), world.says(1)), ("first", "first"), "counter {counter}, owner {owner}");
    }
    let mut world = World::new([blank(), blank()], 1);
    world.run(SOON);
    assert_eq!(world.standings(), [Standing::Same; 2]);
    world.change(0, "first");
    world.run(SOON);
    assert_eq!(world.says(1), "first");
}

#[test]
fn what_both_were_changed_to_apart_from_each_other_is_told_and_an_operator_decides() {
    for winner in [0, 1] {
        for by_yielding in [false, true] {
            let mut world = World::pair();
            world.faults.cut = true;
            world.change(0, "of lb1");
            world.own(1);
            world.change(1, "of lb2");
            world.run(SOON * 2);
            world.faults.cut = false;
            world.run(SOON);
            assert_eq!(world.standings(), [Standing::Conflict; 2]);
            assert_eq!((world.says(0), world.says(1)), ("of lb1", "of lb2"));
            let now = world.now;
            if by_yielding {
                assert!(world.sides[1 - winner].copier.yield_to_peer(now));
            } else {
                let other = world.sides[winner].copier.peer(now).unwrap().revision;
                let held = world.sides[winner].kept.preferred_to(other);
                world.keep(winner, held);
            }
            world.run(SOON);
            let expected = ["of lb1", "of lb2"][winner];
            assert_eq!((world.says(0), world.says(1)), (expected, expected));
            assert_eq!(world.standings(), [Standing::Same; 2]);
            // And life goes on.
            world.change(1, "later");
            world.run(SOON);
            assert_eq!((world.says(0), world.says(1)), ("later", "later"));
        }
    }
}

#[test]
fn a_change_on_the_standby_does_not_go_to_the_owner_by_itself() {
    let mut world = World::pair();
    world.change(1, "of the standby");
    world.run(SOON);
    assert_eq!(world.standings(), [Standing::PeerOffDuty, Standing::OffDuty]);
    assert_eq!((world.says(0), world.says(1)), ("first", "of the standby"));
    // It comes into force where its box owns.
    world.own(1);
    world.run(SOON);
    assert_eq!((world.says(0), world.says(1)), ("of the standby", "of the standby"));
}

#[test]
fn a_change_on_the_standby_can_be_given_up_for_the_owners() {
    let mut world = World::pair();
    world.change(1, "of the standby");
    world.run(SOON);
    let now = world.now;
    assert!(world.sides[1].copier.yield_to_peer(now));
    world.run(SOON);
    assert_eq!((world.says(0), world.says(1)), ("first", "first"));
    assert_eq!(world.standings(), [Standing::Same; 2]);
}

#[test]
fn what_a_box_refuses_is_known_on_both_sides_and_tried_again() {
    let mut world = World::pair();
    world.sides[1].refuses = Some("port eth9");
    world.change(0, "port eth9");
    world.run(SOON);
    let reports = [0, 1].map(|index| world.sides[index].copier.report(world.now));
    assert_eq!(reports[0].peer_refused.as_deref(), Some("port eth9 cannot be here"));
    assert_eq!(reports[1].refused.as_deref(), Some("port eth9 cannot be here"));
    assert_eq!((reports[0].standing, reports[1].standing), (Standing::Ahead, Standing::Behind));
    assert_eq!(world.says(1), "first");
    world.sides[1].refuses = None;
    world.run(Duration::from_secs(12));
    assert_eq!(world.says(1), "port eth9");
    assert_eq!(world.sides[0].copier.report(world.now).peer_refused, None);
}

#[test]
fn a_refused_change_is_followed_by_one_that_fits() {
    let mut world = World::pair();
    world.sides[1].refuses = Some("port eth9");
    world.change(0, "port eth9");
    world.run(SOON);
    world.change(0, "port eth1");
    world.run(Duration::from_millis(500));
    assert_eq!(world.says(1), "port eth1");
}

#[test]
fn what_is_too_large_is_not_sent_and_told_on_both_sides() {
    let mut world = World::pair();
    let large = "x".repeat(DOCUMENT_BYTES_MAX);
    world.change(0, &large);
    let before = world.sent;
    world.run(SOON);
    assert!(world.sent - before < 20, "{} datagrams", world.sent - before);
    assert!(world.sides[0].copier.report(world.now).too_large);
    assert!(world.sides[1].copier.peer(world.now).unwrap().too_large);
    assert_eq!(world.says(1), "first");
}

#[test]
fn two_boxes_that_have_the_same_are_quiet() {
    let mut world = World::pair();
    let before = world.sent;
    world.run(Duration::from_secs(60));
    assert!(world.sent - before <= 122, "{} datagrams in a minute", world.sent - before);
}

#[test]
fn a_restart_in_the_middle_of_a_copy_begins_it_anew() {
    for index in [0, 1] {
        let mut world = World::pair();
        let large = "x".repeat(3_000_000);
        world.change(0, &large);
        world.run(Duration::from_millis(100));
        let (there, of) = world.sides[1].copier.report(world.now).progress.unwrap();
        assert!(0 < there && there < of, "{there} of {of}");
        world.stop(index);
        world.run(Duration::from_secs(1));
        world.start(index);
        world.run(SOON);
        assert_eq!(world.says(1), large);
    }
}

#[test]
fn a_peer_whose_clock_began_anew_is_heard() {
    let mut world = World::pair();
    world.stop(0);
    world.run(SOON);
    world.start(0);
    world.change(0, "after a boot");
    // Its sequence numbers are those of its clock; here the other side has heard later ones.
    let late = wire::Status {
        sequence: u64::MAX,
        owns: true,
        blank: false,
        off_duty: false,
        too_large: false,
        revision: full("first").revision,
        document: Hash([0; 32]),
        length: 1,
        other: None,
        refused: None,
        release: None,
    };
    let now = world.now;
    world.sides[1].copier.hear(&late.encode(), now);
    world.run(Duration::from_secs(6));
    assert_eq!(world.says(1), "after a boot");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Changes on either side, cuts, takeovers, restarts: afterwards both have the same and every change is among
    /// what that has come from, or both say that an operator must decide.
    #[test]
    fn no_change_is_lost_in_silence(seed: u64) {
        let mut dice = Dice(Random::new(seed));
        let second = if dice.below(4) == 0 { blank() } else { full("first") };
        let mut world = World::new([full("first"), second], seed);
        for _ in 0..30 {
            let index = usize::from(dice.below(2) == 0);
            match dice.below(8) {
                0..=1 => {
                    world.changes += 1;
                    // Now and then back to what it was, or the same on both sides.
                    let words = format!("change {}", dice.below(4) * (world.changes % 5));
                    if words != world.says(index) {
                        world.change(index, &words);
                    }
                }
                2 => world.faults.cut = dice.below(2) == 0,
                3 => {
                    world.faults.lost = dice.below(50);
                    world.faults.doubled = dice.below(50);
                    world.faults.late = dice.below(50);
                }
                4 => world.stop(index),
                5 => world.start(index),
                6 => world.own(index),
                _ => {}
            }
            world.run(Duration::from_millis(dice.below(1_500)));
        }
        world.faults = Faults::default();
        for index in 0..2 {
            world.start(index);
        }
        world.run(Duration::from_secs(15));
        match world.standings() {
            [Standing::Same, Standing::Same] => {
                let [one, two] = [&world.sides[0].kept, &world.sides[1].kept];
                prop_assert_eq!(&one.text, &two.text);
                prop_assert_eq!(one.revision, two.revision);
                let known = one.lineage.with(two.lineage.iter()).with([one.revision]);
                let hashes: BTreeSet<Hash> = known.iter().map(|revision| revision.hash).collect();
                for revision in &world.made {
                    prop_assert!(hashes.contains(&revision.hash), "{} is nowhere", revision);
                }
            }
            [Standing::Conflict, Standing::Conflict]
            | [Standing::OffDuty, Standing::PeerOffDuty]
            | [Standing::PeerOffDuty, Standing::OffDuty] => {}
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
