//! Single ports, opened and blocked; and announcements in one go.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lbd::config::{Limits, Mac};
use lbd::core::forwarding::{ForwardingState, Port};
use lbd::core::gates::{Gate, Gates};
use lbd::daemon::PortGates;
use lbd::dataplane::DataPlane;
use lbd::dataplane::reasons::{REASONS, Verdict};
use lbd::os::OsError;
use lbd::os::bridge::{PortStates, SeenPort};
use lbd::os::burst::{Burst, Outlet};

use super::stage::*;

fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration, Duration) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 1_000];
    (at(500), at(990), at(1_000))
}

fn port(host: &lbd::lab::Host, name: &str) -> SeenPort {
    seen(host).links.values().find(|link| link.name == name).unwrap().port.unwrap()
}

fn until(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_blocked_port_lets_nothing_through_either_way_until_it_is_opened() {
    let site = site();
    let (lb1, pc1) = (site.host("lb1").unwrap(), site.host("pc1").unwrap());
    set_up(lb1, &wanted(LB1, &["up0", "p1"], "10.1.0.2/24"), &Default::default());
    let _echo = Echo::on(site.host("router").unwrap());
    assert!(talks(pc1, ROUTER, PATIENCE));
    let up0 = index(lb1, "up0");
    let set = |block: bool| {
        lb1.enter(move || {
            let mut states = PortStates::open().unwrap();
            if block { states.block(up0) } else { states.unblock(up0) }.unwrap();
        })
        .unwrap();
    };
    for _ in 0..3 {
        set(true);
        let before = received(site.host("router").unwrap(), "e1");
        assert!(!talks(pc1, ROUTER, BRIEFLY));
        assert_eq!(received(site.host("router").unwrap(), "e1"), before, "nothing leaves");
        set(false);
        assert!(talks(pc1, ROUTER, PATIENCE));
    }
}

#[test]
fn a_blocked_port_whose_carrier_goes_and_returns_stays_shut_though_nobody_is_there() {
    let site = site();
    let (lb1, pc1, router) = (site.host("lb1").unwrap(), site.host("pc1").unwrap(), site.host("router").unwrap());
    let gates = Arc::new(Gates::default());
    let wanted = wanted(LB1, &["up0", "p1"], "10.1.0.2/24");
    let mut record = set_up(lb1, &wanted, &gates);
    let _echo = Echo::on(router);
    assert!(talks(pc1, ROUTER, PATIENCE));
    let up0 = index(lb1, "up0");
    lb1.enter(move || PortStates::open().unwrap().block(up0).unwrap()).unwrap();
    assert_eq!(port(lb1, "up0"), SeenPort { lets_in: false, held: true });
    site.ip("router", "link set e1 down").unwrap();
    until("the bridge has noticed", || said(lb1, "bridge link show dev up0").contains("state disabled"));
    // Blocked once more without a carrier, where no state can be written: no error.
    lb1.enter(move || PortStates::open().unwrap().block(up0).unwrap()).unwrap();
    site.ip("router", "link set e1 up").unwrap();
    // That is the trap: the kernel makes it forward, as soon as it has noticed the carrier.
    until("the kernel has noticed", || port(lb1, "up0") == SeenPort { lets_in: true, held: true });
    assert!(!talks(pc1, ROUTER, BRIEFLY), "the hold keeps it shut");
    // A reconciliation that knows of it shuts it for good.
    assert!(gates.set(up0, Gate::Blocked));
    assert_eq!(bring(lb1, &wanted, &gates, &mut record).done, [format!("blocking interface {up0}")]);
    assert_eq!(port(lb1, "up0"), SeenPort { lets_in: false, held: true });
    assert!(gates.set(up0, Gate::Open));
    bring(lb1, &wanted, &gates, &mut record);
    assert!(talks(pc1, ROUTER, PATIENCE));
}

#[test]
fn what_the_kernel_refuses_is_said_in_words_that_help() {
    let site = site();
    let lb1 = site.host("lb1").unwrap();
    site.ip("lb1", "link add br0 type bridge stp_state 1\nlink set up0 master br0\nlink set br0 up").unwrap();
    let (up0, p1) = (index(lb1, "up0"), index(lb1, "p1"));
    let block = |port| lb1.enter(move || PortStates::open().unwrap().block(port)).unwrap();
    let error = block(up0).unwrap_err();
    assert!(matches!(error, OsError::SpanningTree { .. }), "{error}");
    assert!(error.to_string().contains("`stp: false`"), "{error}");
    assert!(matches!(block(4_000_000).unwrap_err(), OsError::InterfaceGone { .. }));
    assert!(block(p1).is_err(), "p1 belongs to no bridge");
}

#[test]
fn a_port_is_opened_and_blocked_in_less_than_a_millisecond() {
    let site = site();
    let lb1 = site.host("lb1").unwrap();
    set_up(lb1, &wanted(LB1, &["up0", "p1"], "10.1.0.2/24"), &Default::default());
    let up0 = index(lb1, "up0");
    let times = lb1
        .enter(move || {
            let mut states = PortStates::open().unwrap();
            let mut times = (Vec::new(), Vec::new());
            for _ in 0..1_000 {
                let begun = Instant::now();
                states.block(up0).unwrap();
                times.0.push(begun.elapsed());
                let begun = Instant::now();
                states.unblock(up0).unwrap();
                times.1.push(begun.elapsed());
            }
            times
        })
        .unwrap();
    for (what, times) in [("block", times.0), ("unblock", times.1)] {
        let (median, p99, worst) = percentiles(times);
        println!("{what}: median {median:?}, p99 {p99:?}, worst {worst:?} of 1,000");
        assert!(median < Duration::from_millis(1), "{what}: {median:?}");
    }
}

/// How often the program has counted `passed/…`.
fn passed(dataplane: &DataPlane, reason: &str) -> u64 {
    let is_it = |verdict: Verdict, name: &str| matches!(verdict, Verdict::Passed) && name == reason;
    let place = REASONS.iter().position(|(_, verdict, name, _)| is_it(*verdict, name)).unwrap();
    dataplane.reasons().unwrap()[place]
}

#[test]
fn bridge_and_data_plane_follow_a_gate_together_and_an_older_plan_does_not_undo_it() {
    let site = site();
    let lb1 = site.host("lb1").unwrap();
    set_up(lb1, &wanted(LB1, &["up0", "p1"], "10.1.0.2/24"), &Default::default());
    let up0 = index(lb1, "up0");
    let (states, times) = lb1
        .enter(move || {
            let gates = Arc::new(Gates::default());
            let mut dataplane = DataPlane::load(&Limits::default(), None).unwrap();
            dataplane.use_gates(gates.clone());
            let plan = |forwarding| {
                let ports = [(up0, Port { mac: LB1, forwarding, running: true })];
                ForwardingState { ports: BTreeMap::from(ports), ..ForwardingState::default() }
            };
            dataplane.apply_tables(&plan(true)).unwrap();
            let mut both = PortGates::open(gates, &dataplane).unwrap();
            // Without a lease a frame of a port that forwards is passed as nobody's, of another one as the port's.
            let mut states = Vec::new();
            let look = |dataplane: &DataPlane, states: &mut Vec<bool>| {
                let before = passed(dataplane, "port");
                dataplane.run(&[0; 64], up0, 1).unwrap();
                states.push(passed(dataplane, "port") == before);
            };
            look(&dataplane, &mut states);
            both.block(up0).unwrap();
            look(&dataplane, &mut states);
            dataplane.apply_tables(&plan(true)).unwrap();
            look(&dataplane, &mut states);
            both.unblock(up0).unwrap();
            look(&dataplane, &mut states);
            dataplane.apply_tables(&plan(false)).unwrap();
            look(&dataplane, &mut states);
            let mut times = Vec::new();
            for _ in 0..500 {
                both.block(up0).unwrap();
                let begun = Instant::now();
                both.unblock(up0).unwrap();
                times.push(begun.elapsed());
            }
            (states, times)
        })
        .unwrap();
    assert_eq!(states, [true, false, false, true, true]);
    println!("bridge and data plane opened: median, p99, worst {:?}", percentiles(times));
}

#[test]
fn fifty_addresses_are_announced_on_four_ports_in_one_go() {
    let site = site();
    let (lb1, lb2) = (site.host("lb1").unwrap(), site.host("lb2").unwrap());
    let ports: Vec<(u32, Mac)> = ["up0", "x0", "p1"].map(|name| (index(lb1, name), LB1)).into();
    site.ip("lb1", "link add d0 type veth peer name d1\nlink set d0 up\nlink set d1 up").unwrap();
    let ports: Vec<(u32, Mac)> = ports.into_iter().chain([(index(lb1, "d0"), LB1)]).collect();
    let addresses: Vec<IpAddr> = (1..=25_u8)
        .flat_map(|n| {
            let six = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into());
            [IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)), IpAddr::V6(six)]
        })
        .collect();
    let before = received(lb2, "x0");
    let times = lb1
        .enter(move || {
            let burst = Burst::announcing(&Outlet::open().unwrap(), &ports, &addresses).unwrap();
            assert_eq!(burst.len(), 200);
            let mut times = Vec::new();
            for _ in 0..100 {
                let begun = Instant::now();
                let outcome = burst.send();
                times.push(begun.elapsed());
                assert_eq!((outcome.sent, outcome.failed), (200, 0), "{:?}", outcome.error);
            }
            times
        })
        .unwrap();
    assert!(received(lb2, "x0") - before >= 5_000, "all of one port have arrived");
    let (median, p99, worst) = percentiles(times);
    println!("50 addresses x 4 ports: median {median:?}, p99 {p99:?}, worst {worst:?} of 100");
    assert!(median < Duration::from_millis(20), "{median:?}");
}

#[test]
fn a_port_that_is_down_costs_a_burst_only_its_own_frames() {
    let site = site();
    let lb1 = site.host("lb1").unwrap();
    site.ip("lb1", "link set x0 down").unwrap();
    let ports = ["up0", "x0", "p1"].map(|name| (index(lb1, name), LB1));
    let outcome = lb1
        .enter(move || {
            let addresses: Vec<IpAddr> = (1..=50).map(|n| Ipv4Addr::new(192, 0, 2, n).into()).collect();
            Burst::announcing(&Outlet::open().unwrap(), &ports, &addresses).unwrap().send()
        })
        .unwrap();
    assert_eq!((outcome.sent, outcome.failed), (100, 50));
    assert_eq!(outcome.error.unwrap().raw_os_error(), Some(libc::ENETDOWN));
}
