//! The frames by which the benches measure: what the program makes of one must not spoil the next.

#[path = "../bench/common.rs"]
mod common;

use common::{ACK, Case, From, IN_TURN, Order, Programs, Target, fates, limits, site};
use lbd::config::{Mac, Mode, Timeouts};
use lbd::core::forwarding::Family;
use lbd::dataplane::DataPlane;

const LO: u32 = 1;
const KNOWN: u32 = 64;

#[test]
fn a_refused_packet_whose_answer_is_shorter_does_not_spoil_those_after_it() {
    for family in [Family::V4, Family::V6] {
        let case = Case { mode: Mode::Nat, family };
        let mut plane = DataPlane::load(&limits(1024), None).unwrap();
        plane.apply_tables(&site(LO, LO, Mac([2, 0, 0, 0, 0, 11]), &Timeouts::default()).unwrap()).unwrap();
        plane.own_alone();
        let mut programs = Programs::load().unwrap();
        programs.aim_at(&plane).unwrap();
        programs.establish(&plane, case, LO, KNOWN).unwrap();
        let before = plane.reasons().unwrap();
        // Of twice as many as there are; the refused ones first.
        programs
            .order(Order {
                case,
                from: From::Client,
                flags: ACK,
                ack: 9,
                flows: 2 * KNOWN,
                first: KNOWN,
                step: IN_TURN,
            })
            .unwrap();
        programs.run(Target::Lbd, LO, 2 * KNOWN).unwrap();
        let met = fates(&before, &plane.reasons().unwrap());
        assert_eq!(met, [("to-server", u64::from(KNOWN)), ("rst-no-flow", u64::from(KNOWN))], "{family:?}");
    }
}
