//! How UDP flows live: idle, maximum age, per packet.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use lbd::config::{Mode, Timeouts, UdpLife};

use super::frame::*;
use super::site::*;

fn question(family: Family, port: u16) -> Frame {
    Frame::udp(at(client(family, 1), port), at(vip(family, 1), 1812), b"Access-Request")
}

fn site(mode: Mode, udp: UdpLife, timeouts: Timeouts) -> Site {
    Site::new([Pool { udp, timeouts, ..Pool::udp("radius", 1812, mode).servers(1..=2) }])
}

fn live(site: &Site, family: Family) -> (u64, u64) {
    let (a, b) = (site.live("radius", family, 1), site.live("radius", family, 2));
    (a.0 + b.0, a.1 + b.1)
}

#[test]
fn a_flow_stays_with_its_server_as_long_as_it_is_not_idle() {
    for mode in [Mode::Dsr, Mode::Nat] {
        let mut site = site(mode, UdpLife::Idle, Timeouts::default());
        for family in BOTH {
            let first = site.server_for(&question(family, 5000));
            for _ in 0..5 {
                assert_eq!(site.server_for(&question(family, 5000)), first);
            }
            assert_ne!(site.server_for(&question(family, 5001)), first, "another flow has the next turn");
        }
        site.assert_counts_are_true();
    }
}

#[test]
fn dsr_a_flow_counts_as_active_from_its_third_packet() {
    let mut site = site(Mode::Dsr, UdpLife::Idle, Timeouts::default());
    for family in BOTH {
        for expected in [(0, 1), (0, 1), (1, 0), (1, 0), (1, 0)] {
            site.send(&question(family, 5000));
            assert_eq!(live(&site, family), expected);
        }
    }
    site.assert_counts_are_true();
}

#[test]
fn nat_a_flow_counts_as_active_when_it_goes_on_after_a_reply() {
    let mut site = site(Mode::Nat, UdpLife::Idle, Timeouts::default());
    for family in BOTH {
        let mut n = 0;
        for _ in 0..5 {
            n = site.server_for(&question(family, 5000));
            assert_eq!(live(&site, family), (0, 1), "one side alone proves nothing");
        }
        let reply = Frame::udp(at(server(family, n), 1812), at(client(family, 1), 5000), b"Access-Accept");
        let reply = reply.between(server_mac(n), OWN);
        let expected = reply.clone().now_from(at(vip(family, 1), 1812)).hop().between(OWN, ROUTER);
        site.sends("reply", &reply, "to-client", &expected);
        assert_eq!(live(&site, family), (0, 1));
        site.server_for(&question(family, 5000));
        assert_eq!(live(&site, family), (1, 0));
    }
    site.assert_counts_are_true();
}

#[test]
fn an_idle_flow_is_scheduled_anew() {
    for (mode, packets) in [(Mode::Dsr, 1), (Mode::Dsr, 4), (Mode::Nat, 1)] {
        let mut site = site(mode, UdpLife::Idle, Timeouts { udp: second(), ..Timeouts::default() });
        let first = site.server_for(&question(V4, 5000));
        (1..packets).for_each(|_| assert_eq!(site.server_for(&question(V4, 5000)), first));
        sleep(Duration::from_millis(1100));
        assert_ne!(site.server_for(&question(V4, 5000)), first, "after {packets} packets in {mode:?}");
        site.dp.sweep_embryos().unwrap();
        assert_eq!(live(&site, V4), (0, 1));
        site.assert_counts_are_true();
    }
}

/// A NAS that always sends from one port is otherwise one flow for ever.
#[test]
fn a_flow_that_is_never_idle_is_scheduled_anew_at_its_maximum_age() {
    for (mode, packets) in [(Mode::Dsr, 1), (Mode::Dsr, 4), (Mode::Nat, 1)] {
        let mut site = site(mode, UdpLife::MaxAge(second()), Timeouts::default());
        let first = site.server_for(&question(V4, 5000));
        (1..packets).for_each(|_| assert_eq!(site.server_for(&question(V4, 5000)), first));
        sleep(Duration::from_millis(600));
        assert_eq!(site.server_for(&question(V4, 5000)), first);
        sleep(Duration::from_millis(600));
        assert_ne!(site.server_for(&question(V4, 5000)), first, "after {packets} packets in {mode:?}");
        assert_eq!(live(&site, V4), (0, 1));
        site.assert_counts_are_true();
    }
}

#[test]
fn per_packet_every_datagram_is_scheduled_and_nothing_is_kept() {
    let mut site = site(Mode::Dsr, UdpLife::PerPacket, Timeouts::default());
    for family in BOTH {
        let servers: Vec<u8> = (0..6).map(|_| site.server_for(&question(family, 5000))).collect();
        assert!(servers == [1, 2, 1, 2, 1, 2] || servers == [2, 1, 2, 1, 2, 1], "{servers:?}");
        assert_eq!(live(&site, family), (0, 0));
        assert_eq!(site.counts("radius", family, 1).total, 3);
    }
}

#[test]
fn per_packet_in_nat_the_replies_of_all_servers_find_back() {
    for mode in [Mode::Nat, Mode::FullNat] {
        let mut site = site(mode, UdpLife::PerPacket, Timeouts::default());
        site.source_nat(50000, 50999);
        for family in BOTH {
            let mut answered = BTreeSet::new();
            let mut waiting = vec![];
            for _ in 0..4 {
                let out = site.send(&question(family, 5000)).frame;
                let udp = if family == V4 { 34 } else { 54 };
                let port = u16::from_be_bytes([out[udp], out[udp + 1]]);
                let n = out[5];
                assert_eq!(out[..6], server_mac(n));
                let ours = if mode == Mode::Nat { client(family, 1) } else { snat(family) };
                waiting.push((n, at(ours, port)));
            }
            for (n, ours) in waiting {
                let reply = Frame::udp(at(server(family, n), 1812), ours, b"ok").between(server_mac(n), OWN);
                let (v, c) = (at(vip(family, 1), 1812), at(client(family, 1), 5000));
                let expected = reply.clone().now_from(v).now_to(c).hop().between(OWN, ROUTER);
                site.sends("reply", &reply, "to-client", &expected);
                answered.insert(n);
            }
            assert_eq!(answered.len(), 2);
            assert_eq!(live(&site, family), (0, 0));
        }
        site.assert_counts_are_true();
    }
}

#[test]
fn flows_that_are_kept_end_when_the_service_turns_to_per_packet() {
    let mut site = site(Mode::Dsr, UdpLife::Idle, Timeouts::default());
    (0..4).for_each(|_| drop(site.send(&question(V4, 5000))));
    assert_eq!(live(&site, V4), (1, 0));
    site.service("radius", V4).udp = UdpLife::PerPacket;
    site.apply();
    let servers: BTreeSet<u8> = (0..2).map(|_| site.server_for(&question(V4, 5000))).collect();
    assert_eq!(servers.len(), 2);
    assert_eq!(live(&site, V4), (0, 0));
    site.assert_counts_are_true();
}
