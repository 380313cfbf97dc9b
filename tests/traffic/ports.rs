//! The counters of the ports contain what the program redirects.

use std::collections::BTreeMap;

use lbd::lab::mail::CLIENT;

use super::stage::{Mode, Stage};
use super::transfers::datagrams;

const DATAGRAMS: u64 = 3_000;
const PAYLOAD: usize = 600;
/// IPv4 and UDP before the payload. The kernel counts what a veth receives without the Ethernet header (eth_type_trans has taken
/// it off by then).
const HEADERS: u64 = 20 + 8;
/// Probes, ARP and neighbour discovery meanwhile, on all ports together; they are a few in a second.
const OTHERS: u64 = 1_500;

/// Received and sent by port: packets, and bytes.
fn counted(stage: &Stage) -> BTreeMap<String, [u64; 4]> {
    let of = |port: &serde_json::Value| {
        let number = |way: &str, what: &str| port[way][what].as_u64().unwrap();
        let counts = [("received", "packets"), ("received", "bytes"), ("sent", "packets"), ("sent", "bytes")];
        (port["name"].as_str().unwrap().to_owned(), counts.map(|(way, what)| number(way, what)))
    };
    stage.ports().iter().map(of).collect()
}

fn frames_are_counted(mode: Mode, xdp: &str) {
    let stage = Stage::bare(&lbd::lab::mail::plan(1), &[1]);
    let config = super::stage::interfaces(1, xdp) + &super::stage::services(&[1], "maglev");
    let stage = stage.balance(&config, super::stage::MEMBERSHIPS);
    let before = counted(&stage);
    let target = mode.at(false, 7);
    let echoed = stage
        .host(CLIENT)
        .enter(move || {
            let socket = datagrams(None, target);
            let mut buffer = [0; 2 * PAYLOAD];
            (0..DATAGRAMS).filter(|_| socket.send(&[7; PAYLOAD]).is_ok() && socket.recv(&mut buffer).is_ok()).count()
        })
        .unwrap();
    assert_eq!(echoed as u64, DATAGRAMS);
    let after = counted(&stage);
    let more = |port: &str, what: usize| after[port][what] - before[port][what];
    // In by the uplink and out by the server's port; in NAT also the way back. In DSR the answer is switched to the router.
    let ways = [("up0", 0), ("p1", 2), ("p1", 0), ("up0", 2)];
    for (port, packets) in ways {
        let (frames, bytes) = (more(port, packets), more(port, packets + 1));
        assert!((DATAGRAMS..DATAGRAMS + OTHERS).contains(&frames), "{mode:?} {xdp} {port}[{packets}]: {frames} frames");
        let least = DATAGRAMS * (PAYLOAD as u64 + HEADERS);
        assert!((least..least + OTHERS * 1_514).contains(&bytes), "{mode:?} {xdp} {port}[{packets}]: {bytes} bytes");
    }
    stage.end(&[]);
}

#[test]
fn what_is_redirected_natively_is_in_the_counters_of_both_ports() {
    frames_are_counted(Mode::Nat, "native");
}

#[test]
fn what_is_redirected_generically_is_in_the_counters_of_both_ports() {
    frames_are_counted(Mode::Nat, "generic");
}
