//! What a box serves that does not own any more: everything after a hand-over, what it knows after any other
//! loss. It answers for nothing, and refuses nobody.

use std::time::Duration;

use lbd::config::{Mode, OnFailure};
use lbd::dataplane::lease::boottime_ns;

use super::frame::*;
use super::site::*;

const LONG: Duration = Duration::from_secs(3600);

fn tcp(family: Family, port: u16, flags: u8) -> Frame {
    Frame::tcp(at(client(family, 1), port), at(vip(family, 1), 25), flags)
}

fn reply(family: Family, port: u16, flags: u8) -> Frame {
    Frame::tcp(at(server(family, 1), 25), at(client(family, 1), port), flags).between(server_mac(1), OWN)
}

/// What a frame becomes on its way to the server.
fn forwarded(frame: &Frame, mode: Mode) -> Frame {
    let frame = frame.clone().between(OWN, server_mac(1));
    let family = if frame.src.is_ipv4() { V4 } else { V6 };
    if mode == Mode::Dsr { frame } else { frame.now_to(at(server(family, 1), 25)).hop() }
}

fn returned(frame: &Frame, family: Family) -> Frame {
    frame.clone().between(OWN, ROUTER).now_from(at(vip(family, 1), 25)).hop()
}

/// A site in which client port 4000 has an established connection, and 4001 one in its handshake.
fn site(mode: Mode) -> Site {
    let mut site = Site::new([Pool::tcp("smtp", 25, mode).scheduler(lbd::config::Scheduler::Maglev)]);
    for family in BOTH {
        for port in [4000, 4001] {
            site.send(&tcp(family, port, SYN));
        }
        if mode != Mode::Dsr {
            site.send(&reply(family, 4000, SYN | ACK));
        }
        site.send(&tcp(family, 4000, ACK));
        assert_eq!(site.live("smtp", family, 1), (1, 1));
    }
    site
}

fn who_has() -> Vec<u8> {
    let sender = (ROUTER, [198, 51, 100, 1]);
    let target = ([0; 6], [192, 0, 2, 1]);
    Arp { to: [0xff; 6], from: ROUTER, tag: None, operation: 1, sender, target }.bytes()
}

fn solicitation() -> Frame {
    let std::net::IpAddr::V6(target) = vip(V6, 1) else { panic!() };
    let data = [&target.octets()[..], &[1, 1], &ROUTER].concat();
    Frame::icmp(client(V6, 1), vip(V6, 1), 135, 0, 0, &data).ttl(255)
}

fn ping(family: Family) -> Frame {
    Frame::icmp(client(family, 1), vip(family, 1), if family == V4 { 8 } else { 128 }, 0, 1, b"ping")
}

#[test]
fn after_a_hand_over_everything_to_this_mac_is_served_and_nothing_answered_for_the_addresses() {
    for mode in [Mode::Dsr, Mode::Nat] {
        let mut site = site(mode);
        site.lease().hand_over(LONG);
        site.passes_bytes("who-has", &who_has(), "not-owner");
        site.passes("a solicitation", &solicitation(), "not-owner");
        for family in BOTH {
            for (what, frame) in [
                ("an established connection", tcp(family, 4000, ACK)),
                ("a handshake", tcp(family, 4001, SYN)),
                ("a new connection", tcp(family, 4002, SYN)),
            ] {
                site.sends(what, &frame, "to-server served-late", &forwarded(&frame, mode));
            }
            if mode == Mode::Nat {
                let frame = reply(family, 4000, ACK);
                site.sends("a reply", &frame, "to-client served-late", &returned(&frame, family));
                let frame = reply(family, 4002, SYN | ACK);
                site.sends("that to a new one", &frame, "to-client served-late", &returned(&frame, family));
            }
            assert_eq!(site.send(&ping(family)).counted, ["echo", "served-late"]);
            let stray = tcp(family, 4002, SYN).between(ROUTER, STRANGER);
            site.passes("to another's MAC", &stray, "switched");
        }
        site.assert_counts_are_true();
    }
}

#[test]
fn after_any_other_loss_only_known_flows_are_served() {
    for mode in [Mode::Dsr, Mode::Nat] {
        let mut site = site(mode);
        for by_its_end in [false, true] {
            site.dp.own_alone();
            if by_its_end {
                site.lease().set_until(boottime_ns());
            } else {
                site.lease().drop_lease();
            }
            site.passes_bytes("who-has", &who_has(), "not-owner");
            site.passes("a solicitation", &solicitation(), "not-owner");
            for family in BOTH {
                let (known, begun) = (tcp(family, 4000, ACK), tcp(family, 4001, SYN));
                site.sends("an established connection", &known, "to-server served-late", &forwarded(&known, mode));
                site.sends("a handshake", &begun, "to-server served-late", &forwarded(&begun, mode));
                site.passes("a new connection", &tcp(family, 4002, SYN), "not-owner served-late");
                site.passes("a later packet of an unknown one", &tcp(family, 4002, ACK), "not-owner served-late");
                site.passes("a ping", &ping(family), "not-owner served-late");
                if mode == Mode::Nat {
                    let frame = reply(family, 4000, ACK);
                    site.sends("a reply", &frame, "to-client served-late", &returned(&frame, family));
                    site.passes("a server's of no flow", &reply(family, 4002, SYN | ACK), "other served-late");
                }
            }
        }
        site.assert_counts_are_true();
    }
}

#[test]
fn the_windows_end_and_everything_goes_to_the_kernel() {
    let mut site = site(Mode::Dsr);
    let (known, new) = (tcp(V4, 4000, ACK), tcp(V4, 4002, SYN));
    site.lease().hand_over(Duration::from_millis(40));
    assert_eq!(site.send(&new).counted, ["to-server", "served-late"]);
    std::thread::sleep(Duration::from_millis(41));
    site.passes("after a hand-over", &new, "not-owner");
    site.passes("a known flow", &known, "not-owner");

    // A lease that ended 1.9 s ago: the window of two seconds is open for another tenth.
    site.lease().set_until(boottime_ns() - 1_900_000_000);
    assert_eq!(site.send(&known).counted, ["to-server", "served-late"]);
    std::thread::sleep(Duration::from_millis(101));
    site.passes("two seconds after the end", &known, "not-owner");

    site.lease().drop_lease();
    assert_eq!(site.send(&known).counted, ["to-server", "served-late"]);
    site.lease().stop_serving();
    site.passes("told to stop", &known, "not-owner");
}

#[test]
fn a_box_that_owns_again_is_an_owner_and_its_hand_over_is_over() {
    let mut site = site(Mode::Dsr);
    site.lease().hand_over(LONG);
    site.lease().set_until(boottime_ns() + 1_000_000_000_000);
    assert_eq!(site.send_bytes("who-has", &who_has()).counted, ["arp"]);
    assert_eq!(site.send(&tcp(V4, 4000, ACK)).counted, ["to-server"]);
    site.lease().drop_lease();
    site.passes("lost another way", &tcp(V4, 4009, SYN), "not-owner served-late");
}

#[test]
fn who_serves_without_owning_refuses_nobody() {
    let close = |site: &Site, all: bool| match all {
        true => site.lease().hand_over(LONG),
        false => site.lease().drop_lease(),
    };
    for all in [true, false] {
        let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat), Pool::udp("dns", 53, Mode::Nat)]);
        site.drain("dns", 1);
        close(&site, all);
        for family in BOTH {
            let (c, v) = (client(family, 1), vip(family, 1));
            let udp = Frame::udp(at(c, 9), at(v, 53), b"x");
            for (what, frame) in [
                ("no flow", tcp(family, 4002, ACK)),
                ("a RST of none", tcp(family, 4002, RST)),
                ("no service", Frame::tcp(at(c, 9), at(v, 26), SYN)),
                ("no server", udp.clone()),
                ("another protocol", Frame::raw(c, v, 47, &[0; 24])),
            ] {
                site.passes(what, &frame, "not-owner served-late");
            }
            let long = Frame::udp(at(c, 9), at(v, 53), &[1; 64]).fragments(32);
            site.passes("a later fragment without its first", &long[1], "not-owner");
        }
    }
}

#[test]
fn a_flow_whose_server_this_box_has_lost_is_left_to_the_owner() {
    for on_failure in [OnFailure::Reset, OnFailure::Keep] {
        for all in [true, false] {
            let mut site = Site::new([Pool { on_failure, ..Pool::tcp("smtp", 25, Mode::Dsr) }]);
            site.send(&tcp(V4, 4000, SYN));
            site.send(&tcp(V4, 4000, ACK));
            site.fail("smtp", 1);
            if all {
                site.lease().hand_over(LONG)
            } else {
                site.lease().drop_lease()
            }
            site.passes("its packet", &tcp(V4, 4000, ACK), "not-owner served-late");
            assert_eq!(site.live("smtp", V4, 1), (1, 0), "it is not taken for ended");
            site.dp.own_alone();
            let fate = if on_failure == OnFailure::Reset { "rst-down" } else { "down" };
            assert_eq!(site.send(&tcp(V4, 4000, ACK)).counted, [fate]);
        }
    }
}
