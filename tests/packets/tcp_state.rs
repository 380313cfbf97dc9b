//! The life of a TCP connection as far as the balancer sees it: one direction in DSR, both in NAT.

use std::thread::sleep;
use std::time::Duration;

use FlowState::{Closed, Closing, Established, Unproven};
use lbd::config::{Mode, Timeouts};
use lbd::core::control::FlowState;

use super::frame::*;
use super::site::*;

fn from_client(family: Family, flags: u8) -> Frame {
    Frame::tcp(at(client(family, 1), 4000), at(vip(family, 1), 25), flags)
}

fn from_server(family: Family, flags: u8) -> Frame {
    Frame::tcp(at(server(family, 1), 25), at(client(family, 1), 4000), flags).between(server_mac(1), OWN)
}

fn states(site: &Site) -> Vec<FlowState> {
    site.connections().into_iter().map(|connection| connection.state).collect()
}

/// A step, and what the tables hold after it: (active, pending) and the entry's state.
type Step = (&'static str, Frame, (u64, u64), Option<FlowState>);

fn play(mode: Mode, story: impl Fn(Family) -> Vec<Step>) {
    for family in BOTH {
        let mut site = Site::new([Pool::tcp("smtp", 25, mode)]);
        for (what, frame, live, state) in story(family) {
            let outcome = site.send_bytes(what, &frame.bytes());
            assert_eq!(outcome.verdict, REDIRECT, "{what} in {family:?}: {outcome:?}");
            assert_eq!(site.live("smtp", family, 1), live, "{what} in {family:?}");
            assert_eq!(states(&site), Vec::from_iter(state), "{what} in {family:?}");
            site.assert_counts_are_true();
        }
    }
}

#[test]
fn dsr_a_connection_is_established_by_its_ack_and_proven_by_progress() {
    play(Mode::Dsr, |f| {
        vec![
            ("SYN", from_client(f, SYN), (0, 1), None),
            ("SYN again", from_client(f, SYN), (0, 1), None),
            ("ACK", from_client(f, ACK).ack(100), (1, 0), Some(Unproven)),
            ("data without progress", from_client(f, ACK).ack(100).data(b"x"), (1, 0), Some(Unproven)),
            ("first advance", from_client(f, ACK).ack(200), (1, 0), Some(Unproven)),
            ("second advance", from_client(f, ACK).ack(300), (1, 0), Some(Unproven)),
            ("the same again", from_client(f, ACK).ack(300), (1, 0), Some(Unproven)),
            ("third advance", from_client(f, ACK).ack(400), (1, 0), Some(Established)),
            ("FIN", from_client(f, FIN | ACK).ack(500), (0, 0), Some(Closing)),
            ("the last ACK", from_client(f, ACK).ack(501), (0, 0), Some(Closing)),
        ]
    });
}

#[test]
fn dsr_a_reset_ends_a_connection_and_a_handshake() {
    play(Mode::Dsr, |f| {
        vec![
            ("SYN", from_client(f, SYN), (0, 1), None),
            ("RST in the handshake", from_client(f, RST).seq(SEQ + 1), (0, 0), None),
            ("SYN", from_client(f, SYN), (0, 1), None),
            ("ACK", from_client(f, ACK), (1, 0), Some(Unproven)),
            ("RST", from_client(f, RST), (0, 0), Some(Closed)),
        ]
    });
}

/// A server still holds a connection of the same ports, whose keepalive comes while the client waits for another server.
#[test]
fn a_reset_that_a_client_answers_a_stray_segment_with_ends_no_handshake() {
    for mode in [Mode::Dsr, Mode::Nat] {
        play(mode, |f| {
            let mut steps = vec![
                ("SYN", from_client(f, SYN), (0, 1), None),
                ("RST with the stray's number", from_client(f, RST).seq(SEQ + 7_000), (0, 1), None),
                ("SYN of a new attempt", from_client(f, SYN).seq(9), (0, 1), None),
                ("RST of the first attempt", from_client(f, RST).seq(SEQ + 1), (0, 1), None),
            ];
            if mode == Mode::Nat {
                steps.push(("SYN-ACK", from_server(f, SYN | ACK), (0, 1), None));
            }
            let open = if mode == Mode::Nat { Established } else { Unproven };
            steps.push(("ACK", from_client(f, ACK).seq(10), (1, 0), Some(open)));
            steps
        });
    }
}

#[test]
fn nat_a_connection_is_established_only_after_the_server_has_answered() {
    play(Mode::Nat, |f| {
        vec![
            ("SYN", from_client(f, SYN), (0, 1), None),
            ("an ACK that answers nothing", from_client(f, ACK), (0, 1), None),
            ("data that answers nothing", from_client(f, ACK).data(b"x"), (0, 1), None),
            ("SYN ACK", from_server(f, SYN | ACK), (0, 1), None),
            ("SYN again", from_client(f, SYN), (0, 1), None),
            ("ACK", from_client(f, ACK), (1, 0), Some(Established)),
            ("the server's FIN", from_server(f, FIN | ACK), (1, 0), Some(Closing)),
            ("data after it", from_client(f, ACK).data(b"x"), (1, 0), Some(Closing)),
            ("the client's FIN", from_client(f, FIN | ACK), (0, 0), Some(Closed)),
            ("the last ACK", from_server(f, ACK), (0, 0), Some(Closed)),
        ]
    });
}

#[test]
fn nat_the_client_may_close_first() {
    play(Mode::Nat, |f| {
        vec![
            ("SYN", from_client(f, SYN), (0, 1), None),
            ("SYN ACK", from_server(f, SYN | ACK), (0, 1), None),
            ("ACK and FIN at once", from_client(f, FIN | ACK), (1, 0), Some(Closing)),
            ("data from the server", from_server(f, ACK).data(b"x"), (1, 0), Some(Closing)),
            ("the server's FIN", from_server(f, FIN | ACK), (0, 0), Some(Closed)),
            ("the client's last ACK", from_client(f, ACK), (0, 0), Some(Closed)),
        ]
    });
}

#[test]
fn nat_either_side_can_reset() {
    let opened = |f| {
        vec![
            ("SYN", from_client(f, SYN), (0, 1), None),
            ("SYN ACK", from_server(f, SYN | ACK), (0, 1), None),
            ("ACK", from_client(f, ACK), (1, 0), Some(Established)),
        ]
    };
    play(Mode::Nat, |f| [opened(f), vec![("client", from_client(f, RST), (0, 0), Some(Closed))]].concat());
    play(Mode::Nat, |f| [opened(f), vec![("server", from_server(f, RST), (0, 0), Some(Closed))]].concat());
    play(Mode::Nat, |f| {
        vec![
            ("SYN", from_client(f, SYN), (0, 1), None),
            ("refused by the server", from_server(f, RST | ACK), (0, 0), None),
            ("SYN", from_client(f, SYN), (0, 1), None),
            ("given up by the client", from_client(f, RST).seq(SEQ + 1), (0, 0), None),
        ]
    });
}

#[test]
fn a_client_that_is_heard_after_its_rst_was_not_reset_and_proves_itself_anew() {
    play(Mode::Dsr, |f| {
        vec![
            ("SYN", from_client(f, SYN), (0, 1), None),
            ("ACK", from_client(f, ACK).ack(1), (1, 0), Some(Unproven)),
            ("a forged RST", from_client(f, RST), (0, 0), Some(Closed)),
            ("data", from_client(f, ACK).ack(2).data(b"x"), (1, 0), Some(Unproven)),
            ("progress", from_client(f, ACK).ack(3), (1, 0), Some(Unproven)),
            ("progress", from_client(f, ACK).ack(4), (1, 0), Some(Established)),
        ]
    });
}

#[test]
fn what_is_over_for_another_reason_does_not_come_back_after_a_rst() {
    play(Mode::Dsr, |f| {
        vec![
            ("SYN", from_client(f, SYN), (0, 1), None),
            ("ACK", from_client(f, ACK), (1, 0), Some(Unproven)),
            ("FIN", from_client(f, FIN | ACK), (0, 0), Some(Closing)),
            ("RST", from_client(f, RST), (0, 0), Some(Closed)),
            ("an ACK that was late", from_client(f, ACK), (0, 0), Some(Closed)),
        ]
    });
    play(Mode::Nat, |f| {
        vec![
            ("SYN", from_client(f, SYN), (0, 1), None),
            ("SYN ACK", from_server(f, SYN | ACK), (0, 1), None),
            ("ACK", from_client(f, ACK), (1, 0), Some(Established)),
            ("the server's RST", from_server(f, RST), (0, 0), Some(Closed)),
            ("the client's RST", from_client(f, RST), (0, 0), Some(Closed)),
            ("an ACK that was late", from_client(f, ACK), (0, 0), Some(Closed)),
        ]
    });
}

#[test]
fn a_new_connection_may_follow_from_the_port_of_an_ended_one() {
    for (mode, end) in [(Mode::Dsr, FIN | ACK), (Mode::Dsr, RST), (Mode::Nat, FIN | ACK), (Mode::Nat, RST)] {
        let mut site = Site::new([Pool::tcp("smtp", 25, mode)]);
        for family in BOTH {
            let open = |site: &mut Site| {
                site.send(&from_client(family, SYN));
                if mode == Mode::Nat {
                    site.send(&from_server(family, SYN | ACK));
                }
                site.send(&from_client(family, ACK));
            };
            open(&mut site);
            assert_eq!(site.live("smtp", family, 1), (1, 0));
            site.send(&from_client(family, end));
            open(&mut site);
            assert_eq!(site.live("smtp", family, 1), (1, 0));
            assert_eq!(site.counts("smtp", family, 1).total, 2);
            site.send(&from_client(family, SYN));
            assert_eq!(
                site.counts("smtp", family, 1).total,
                2,
                "a SYN into a living connection is the server's matter"
            );
        }
        site.assert_counts_are_true();
    }
}

#[test]
fn idle_connections_are_forgotten_by_the_time_of_their_state() {
    let short = |set: fn(&mut Timeouts)| {
        let mut timeouts = Timeouts::default();
        set(&mut timeouts);
        timeouts
    };
    // One destination a case; of each, the timeout of the state that it is left in is short.
    type Case = (&'static str, Mode, fn(&mut Timeouts), &'static [u8], &'static [u8]);
    let cases: [Case; 6] = [
        ("embryonic", Mode::Dsr, |t| t.embryonic = second(), &[SYN], &[]),
        ("unproven", Mode::Dsr, |t| t.unproven = second(), &[SYN, ACK], &[]),
        ("established", Mode::Nat, |t| t.established = second(), &[SYN], &[ACK]),
        ("closing", Mode::Dsr, |t| t.closing = second(), &[SYN, ACK, FIN | ACK], &[]),
        ("closing-nat", Mode::Nat, |t| t.closing = second(), &[SYN], &[ACK, FIN | ACK]),
        ("closed", Mode::Nat, |t| t.closed = second(), &[SYN], &[ACK, RST]),
    ];
    let mut site = Site::empty();
    let keeps = Pool { timeouts: Timeouts::default(), vip: 9, ..Pool::tcp("keeps", 25, Mode::Dsr) };
    site.add(&keeps);
    for (i, (name, mode, set, ..)) in cases.iter().enumerate() {
        let vip = u8::try_from(i + 1).unwrap();
        site.add(&Pool { vip, timeouts: short(*set), ..Pool::tcp(name, 25, *mode) });
    }
    let play = |site: &mut Site, vip_number: u8, port: u16, before: &[u8], after: &[u8]| {
        let (c, v, s) = (at(client(V4, 1), port), at(vip(V4, vip_number), 25), at(server(V4, 1), 25));
        before.iter().for_each(|flags| drop(site.send(&Frame::tcp(c, v, *flags))));
        if !after.is_empty() {
            site.send(&Frame::tcp(s, c, SYN | ACK).between(server_mac(1), OWN));
        }
        after.iter().for_each(|flags| drop(site.send(&Frame::tcp(c, v, *flags))));
    };
    play(&mut site, 9, 4009, &[SYN, ACK], &[]);
    for (i, (.., before, after)) in cases.iter().enumerate() {
        play(&mut site, u8::try_from(i + 1).unwrap(), 4000 + u16::try_from(i).unwrap(), before, after);
    }
    assert_eq!(states(&site).len(), 6);
    assert_eq!(site.dp.sweep_embryos().unwrap(), 0, "not yet");
    while !site.dp.sweep_step().unwrap() {}
    assert_eq!(states(&site).len(), 6, "not yet");

    sleep(Duration::from_millis(1100));
    assert_eq!(site.live("embryonic", V4, 1), (0, 1));
    assert_eq!(site.dp.sweep_embryos().unwrap(), 1);
    while !site.dp.sweep_step().unwrap() {}
    for (name, ..) in cases {
        assert_eq!(site.live(name, V4, 1), (0, 0), "{name}");
    }
    assert_eq!(site.live("keeps", V4, 1), (1, 0));
    assert_eq!(states(&site).len(), 1);
    site.assert_counts_are_true();
}

#[test]
fn an_idle_connection_is_over_for_its_next_packet_even_before_the_sweep() {
    let timeouts = Timeouts { established: second(), unproven: second(), ..Timeouts::default() };
    let mut site = Site::new([Pool { timeouts, ..Pool::tcp("smtp", 25, Mode::Nat) }]);
    for family in BOTH {
        site.send(&from_client(family, SYN));
        site.send(&from_server(family, SYN | ACK));
        site.send(&from_client(family, ACK));
    }
    sleep(Duration::from_millis(600));
    site.send(&from_server(V6, ACK));
    sleep(Duration::from_millis(600));
    assert_eq!(site.send(&from_client(V4, ACK)).counted, ["rst-no-flow"]);
    assert_eq!(site.live("smtp", V4, 1), (0, 0));
    assert_eq!(site.send(&from_client(V6, ACK)).counted, ["to-server"], "in NAT the server's packets count too");
    assert_eq!(site.live("smtp", V6, 1), (1, 0));
    site.assert_counts_are_true();
}

#[test]
fn a_connection_that_is_cut_is_gone_and_its_next_packet_is_reset() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat)]);
    for family in BOTH {
        site.send(&from_client(family, SYN));
        site.send(&from_server(family, SYN | ACK));
        site.send(&from_client(family, ACK));
        assert_eq!(site.cut(&Site::key("smtp", family, 1)), 1);
        assert_eq!(site.live("smtp", family, 1), (0, 0));
        assert_eq!(site.send(&from_client(family, ACK)).counted, ["rst-no-flow"]);
        site.passes("the server's side", &from_server(family, ACK), "other");
    }
    site.assert_counts_are_true();
}
