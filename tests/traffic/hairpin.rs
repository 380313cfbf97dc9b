//! Clients on the servers' own segment: a mail server that reads from another pool.

use lbd::lab::customer::{self, Tally, Visit};
use lbd::lab::mail::{self, SOURCE_NAT};
use lbd::lab::servers::Kind;

use super::stage::{MEMBERSHIPS, Mode, Stage, interfaces, services};

fn visit_from(stage: &Stage, host: &str, mode: Mode, v6: bool) -> Tally {
    let visit = Visit::new(Kind::Echo, mode.at(v6, 7)).times(200);
    let tally = stage.host(host).block_on(move || customer::visit(visit, |_| {})).unwrap();
    assert_eq!((tally.served_count(), tally.failed_count()), (200, 0), "{host} {mode:?} {v6}: {tally:?}");
    tally
}

#[test]
fn a_client_on_the_servers_segment_is_served_in_every_mode() {
    let mut plan = mail::plan(3);
    // A machine that is no server of the virtual IP must not have it either.
    plan.ip("pc3", "addr del 192.0.2.25/32 dev lo").ip("pc3", "-6 addr del 2001:db8::25/128 dev lo");
    let stage = Stage::bare(&plan, &[1, 2]);
    let stage = stage.balance(&(interfaces(3, "auto") + &services(&[1, 2], "maglev")), 2 * MEMBERSHIPS);
    for v6 in [false, true] {
        let own = [mail::pc_address(3).into(), mail::pc_address6(3).into()][usize::from(v6)];
        for mode in Mode::ALL {
            let tally = visit_from(&stage, "pc3", mode, v6);
            assert!(tally.of("pc1") > 50 && tally.of("pc2") > 50, "{mode:?} {v6}: {tally:?}");
            // NAT has become full NAT by itself: the server would answer past the balancer.
            let seen = if mode == Mode::Dsr { own } else { SOURCE_NAT[usize::from(v6)] };
            assert_eq!(tally.seen_as, [seen].into(), "{mode:?} {v6}");
        }
    }
    stage.end(&[]);
}

#[test]
fn a_server_that_is_a_client_of_its_own_pool_may_be_served_by_itself() {
    let stage = Stage::of(2, "maglev");
    for (mode, v6) in [(Mode::Nat, false), (Mode::Nat, true), (Mode::FullNat, false), (Mode::FullNat, true)] {
        for (pc, other) in [("pc1", "pc2"), ("pc2", "pc1")] {
            let tally = visit_from(&stage, pc, mode, v6);
            assert!(tally.of(pc) > 50 && tally.of(other) > 50, "{mode:?} {v6} from {pc}: {tally:?}");
        }
    }
    stage.end(&[]);
}
