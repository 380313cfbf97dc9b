//! As large as a box gets: 24 ports, 18 servers.

use lbd::lab::customer::Visit;
use lbd::lab::mail;
use lbd::lab::servers::Kind;

use super::stage::{MEMBERSHIPS, Mode, Stage, interfaces, services};

#[test]
fn eighteen_servers_at_twenty_four_ports_are_all_reached_through_one_virtual_ip() {
    const SERVERS: usize = 18;
    const EACH: usize = 100;
    let servers: Vec<u8> = (1..=18).collect();
    let stage = Stage::bare(&mail::plan(23), &servers);
    let config = interfaces(23, "auto") + &services(&servers, "maglev");
    let stage = stage.balance(&config, SERVERS * MEMBERSHIPS);
    let state = stage.state();
    let ports = state["interfaces"].as_array().unwrap();
    assert_eq!(ports.iter().filter(|port| port["xdp"] == "native").count(), 24, "{ports:?}");
    for (mode, v6) in [(Mode::Dsr, false), (Mode::Nat, true)] {
        let visit = Visit::new(Kind::Echo, mode.at(v6, 7)).times(SERVERS * EACH).from(mail::customers(v6));
        let tally = stage.visit(visit);
        assert_eq!(tally.served.len(), SERVERS, "{tally:?}");
        // Evenly by a hash of addresses and ports: a tenth is its standard deviation.
        assert!(tally.served.values().all(|n| (EACH / 2..=EACH * 3 / 2).contains(n)), "{mode:?} {v6}: {tally:?}");
    }
    stage.end(&[]);
}
