//! Packets of flows that only the box knows that owned before: the new owner passes them back, and that one serves
//! them.

use std::time::Duration;

use lbd::config::{Mac, Mode, Scheduler};
use lbd::dataplane::question::PairId;

use super::frame::*;
use super::site::*;

const LONG: Duration = Duration::from_secs(3600);
/// The other box of the pair.
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PAIR: PairId = PairId(1);

fn tcp(family: Family, port: u16, flags: u8) -> Frame {
    Frame::tcp(at(client(family, 1), port), at(vip(family, 1), 25), flags)
}

fn reply(family: Family, port: u16, flags: u8) -> Frame {
    Frame::tcp(at(server(family, 1), 25), at(client(family, 1), port), flags).between(server_mac(1), OWN)
}

fn site(mode: Mode) -> Site {
    let site = Site::new([Pool::tcp("smtp", 25, mode).scheduler(Scheduler::Maglev)]);
    site.lease().set_pair(PAIR, Mac(PEER));
    site
}

fn back(frame: &Frame) -> Frame {
    frame.clone().between(OWN, PEER)
}

#[test]
fn a_new_owner_passes_back_what_it_does_not_know_and_schedules_what_begins() {
    for mode in [Mode::Dsr, Mode::Nat] {
        let mut site = site(mode);
        site.lease().pass_back(LONG, LO);
        for family in BOTH {
            for (what, flags) in [("the end of a handshake", ACK), ("an end", FIN | ACK), ("a reset", RST)] {
                let frame = tcp(family, 4000, flags);
                site.sends(what, &frame, "passed-back", &back(&frame));
            }
            if mode == Mode::Nat {
                for (what, flags) in [("a server's answer to a handshake", SYN | ACK), ("its data", ACK)] {
                    let frame = reply(family, 4000, flags);
                    site.sends(what, &frame, "passed-back", &back(&frame));
                }
            }
            // The answer to a probe is not for a client.
            let own = Frame::tcp(at(server(family, 1), 25), at(inside(family), 4000), SYN | ACK);
            site.passes("to this box", &own.between(server_mac(1), OWN), "other");
            assert_eq!(site.send(&tcp(family, 4000, SYN)).counted, ["to-server"]);
            assert_eq!(site.send(&tcp(family, 4000, ACK)).verdict, REDIRECT);
        }
        site.assert_counts_are_true();
    }
}

#[test]
fn what_the_peer_does_not_know_either_is_refused_and_goes_to_and_fro_no_more() {
    let mut site = site(Mode::Nat);
    site.lease().pass_back(LONG, LO);
    for family in BOTH {
        let frame = tcp(family, 4000, ACK).between(PEER, OWN);
        assert_eq!(site.send(&frame).counted, ["rst-no-flow"]);
        site.passes("a server's", &reply(family, 4000, ACK).between(PEER, OWN), "other");
    }
}

#[test]
fn nothing_is_passed_back_after_the_time_or_without_a_way_or_without_a_peer_or_by_a_box_that_does_not_own() {
    let unknown = tcp(V4, 4000, ACK);
    let mut site = site(Mode::Nat);
    assert_eq!(site.send(&unknown).counted, ["rst-no-flow"]);
    site.lease().pass_back(Duration::from_millis(20), LO);
    std::thread::sleep(Duration::from_millis(21));
    assert_eq!(site.send(&unknown).counted, ["rst-no-flow"]);
    site.lease().pass_back(LONG, 0);
    assert_eq!(site.send(&unknown).counted, ["rst-no-flow"]);
    site.lease().pass_back(LONG, LO);
    site.lease().hand_over(LONG);
    assert_eq!(site.send(&unknown).verdict, PASS);
    site.dp.own_alone();
    assert_eq!(site.send(&unknown).counted, ["rst-no-flow"], "alone, it has no peer");
}

/// The frames come with the MAC of the box that passes them on, which is not the way to the client.
#[test]
fn what_was_passed_back_is_served_and_the_client_stays_where_it_was() {
    for mode in [Mode::Dsr, Mode::Nat] {
        let mut site = site(mode);
        for family in BOTH {
            site.send(&tcp(family, 4000, SYN));
        }
        site.lease().hand_over(LONG);
        for family in BOTH {
            if mode == Mode::Nat {
                let answer = reply(family, 4000, SYN | ACK);
                let returned = answer.clone().between(OWN, ROUTER).now_from(at(vip(family, 1), 25)).hop();
                let relayed = answer.between(PEER, OWN);
                site.sends("an answer", &relayed, "to-client served-late", &returned);
            }
            let end = tcp(family, 4000, ACK).between(PEER, OWN);
            let outcome = site.send(&end);
            assert_eq!((outcome.verdict, &outcome.frame[..6]), (REDIRECT, &server_mac(1)[..]), "{outcome:?}");
            let outcome = site.send(&end);
            assert_eq!((outcome.verdict, &outcome.frame[..6]), (REDIRECT, &server_mac(1)[..]), "{outcome:?}");
            if mode == Mode::Nat {
                let data = reply(family, 4000, ACK);
                let returned = data.clone().between(OWN, ROUTER).now_from(at(vip(family, 1), 25)).hop();
                site.sends("data", &data.between(PEER, OWN), "to-client served-late", &returned);
            }
            if mode == Mode::Nat {
                site.drops("what nobody knows", &tcp(family, 4001, RST).between(PEER, OWN), "no-flow served-late");
            }
        }
        site.assert_counts_are_true();
    }
}
