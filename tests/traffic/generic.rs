//! Generic XDP, for drivers without their own: slower, and the same.

use lbd::lab::customer::Visit;
use lbd::lab::mail::{self, CLIENT};
use lbd::lab::servers::{Kind, http};

use super::stage::{MEMBERSHIPS, Stage, interfaces, services, ways};
use super::transfers::transfer;

#[test]
fn generic_xdp_balances_in_every_mode() {
    const SIZE: u64 = 3_000_000;
    let stage = Stage::bare(&mail::plan(2), &[1, 2]);
    let stage = stage.balance(&(interfaces(2, "generic") + &services(&[1, 2], "maglev")), 2 * MEMBERSHIPS);
    let state = stage.state();
    assert!(state["interfaces"].as_array().unwrap().iter().all(|port| port["xdp"] == "generic"), "{state}");
    let expected = http::bytes_digest(SIZE);
    for (mode, v6) in ways() {
        let visit = Visit::new(Kind::Echo, mode.at(v6, 7)).times(300).from(mail::customers(v6));
        let tally = stage.visit(visit.clone());
        assert!(tally.of("pc1") > 90 && tally.of("pc2") > 90, "{mode:?} {v6}: {tally:?}");
        stage.visit(visit.by_udp());
        let target = mode.at(v6, 80);
        let (_, down, up) = stage.host(CLIENT).enter(move || transfer(None, target, SIZE)).unwrap().unwrap();
        assert_eq!((&down, &up), (&expected, &expected), "{target}, {mode:?}");
    }
    stage.end(&[]);
}
