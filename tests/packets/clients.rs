//! Where clients are found who wait in silence while the ways to them move: two ports, told apart by their MACs.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread::sleep;

use lbd::config::{Mac, Mode};
use lbd::core::forwarding::Port;
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};

use super::frame::*;
use super::site::*;

/// The other port's MAC.
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// A client that waits, and one that speaks, behind the same router.
const WAITS: u16 = 4000;
const SPEAKS: u16 = 4001;

struct TwoPorts {
    site: Site,
    other: u32,
    family: Family,
}

impl TwoPorts {
    /// Both clients have connections by `lo`, where the bridge has their router.
    fn new(family: Family, mode: Mode) -> Self {
        // The thread of one test: the interface goes with it.
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let made = Command::new("ip").args(["link", "add", "other", "type", "veth", "peer", "name", "end"]).status();
        assert!(made.unwrap().success());
        let other = if_nametoindex("other").unwrap();
        let mut site = Site::new([Pool::tcp("smtp", 25, mode)]);
        site.change(|state| {
            state.ports.insert(other, Port { mac: Mac(OTHER), forwarding: true, running: true });
        });
        let mut this = Self { site, other, family };
        this.learnt(Some(LO), None);
        for port in [WAITS, SPEAKS] {
            this.says(port, LO, SYN);
            if mode == Mode::Nat {
                this.replied_from(port, SYN | ACK);
            }
            this.says(port, LO, ACK);
        }
        this
    }

    fn learnt(&mut self, router: Option<u32>, others: Option<u32>) {
        let places = router.map(|port| ((Mac(ROUTER), 0), port)).into_iter().collect::<BTreeMap<_, _>>();
        self.site.dp.set_client_places(&places, others).unwrap();
    }

    fn forwards(&mut self, port: u32, forwarding: bool) {
        self.site.change(|state| state.ports.get_mut(&port).unwrap().forwarding = forwarding);
    }

    fn own(&self, port: u32) -> [u8; 6] {
        if port == LO { OWN } else { OTHER }
    }

    /// A client's packet comes by this port.
    fn says(&mut self, from: u16, port: u32, flags: u8) {
        self.site.ingress = port;
        let frame = Frame::tcp(at(client(self.family, 1), from), at(vip(self.family, 1), 25), flags).ack(1000);
        assert_eq!(self.site.send(&frame.between(ROUTER, self.own(port))).counted, ["to-server"]);
    }

    /// The server's packet for a client, which comes by a port that forwards.
    fn reply(&mut self, to: u16, flags: u8) -> Outcome {
        let port = if self.site.state.ports[&LO].forwarding { LO } else { self.other };
        self.site.ingress = port;
        let frame = Frame::tcp(at(server(self.family, 1), 25), at(client(self.family, 1), to), flags);
        self.site.send(&frame.between(server_mac(1), self.own(port)))
    }

    /// The port by which the server's packet leaves.
    fn replied_from(&mut self, to: u16, flags: u8) -> u32 {
        let outcome = self.reply(to, flags);
        assert_eq!(outcome.counted, ["to-client"]);
        assert_eq!(outcome.frame[..6], ROUTER);
        let from = &outcome.frame[6..12];
        [LO, self.other].into_iter().find(|port| self.own(*port) == from).unwrap()
    }

    /// The ports by which the clients are told that their server is gone.
    fn reset_by(&mut self) -> Vec<u32> {
        self.site.fail("smtp", 1);
        let frames = self.site.resets(|_| ());
        frames.iter().filter(|(_, frame)| frame[..6] == ROUTER).map(|(port, _)| *port).collect()
    }
}

#[test]
fn whoever_waits_has_moved_with_the_first_neighbour_that_speaks() {
    for family in BOTH {
        let mut ports = TwoPorts::new(family, Mode::Nat);
        let other = ports.other;
        assert_eq!(ports.replied_from(WAITS, ACK), LO);
        sleep(TICK);
        ports.says(SPEAKS, other, ACK);
        assert_eq!(ports.replied_from(SPEAKS, ACK), other);
        assert_eq!(ports.replied_from(WAITS, ACK), other);
        // And back, by a new client this time.
        sleep(TICK);
        ports.says(4002, LO, SYN);
        assert_eq!(ports.replied_from(WAITS, ACK), LO);
        assert_eq!(ports.replied_from(SPEAKS, ACK), LO);
    }
}

#[test]
fn whoever_waits_has_moved_with_what_the_bridge_learns() {
    for family in BOTH {
        let mut ports = TwoPorts::new(family, Mode::Nat);
        let other = ports.other;
        ports.learnt(Some(other), None);
        assert_eq!(ports.replied_from(WAITS, ACK), other);
        // The bridge was wrong, or late.
        ports.says(WAITS, LO, ACK);
        assert_eq!(ports.replied_from(WAITS, ACK), LO);
        assert_eq!(ports.replied_from(SPEAKS, ACK), LO, "who was told of the other port, and waits");
        ports.learnt(Some(other), None);
        assert_eq!(ports.replied_from(WAITS, ACK), LO, "it has not learnt anything since");
        ports.learnt(None, None);
        assert_eq!(ports.replied_from(WAITS, ACK), LO, "nothing is known: where it was heard");
    }
}

#[test]
fn nobody_is_answered_by_a_port_that_has_blocked() {
    for family in BOTH {
        let mut ports = TwoPorts::new(family, Mode::Nat);
        let other = ports.other;
        ports.forwards(LO, false);
        assert_eq!(ports.reply(WAITS, ACK).counted, ["egress"], "there is no other way");
        ports.learnt(None, Some(other));
        assert_eq!(ports.replied_from(WAITS, ACK), other, "the way out");
        ports.forwards(LO, true);
        assert_eq!(ports.replied_from(WAITS, ACK), LO);
        // Where somebody was heard, who is there no more.
        sleep(TICK);
        ports.learnt(Some(LO), None);
        ports.says(SPEAKS, other, ACK);
        ports.forwards(other, false);
        assert_eq!(ports.replied_from(WAITS, ACK), LO);
        ports.learnt(Some(LO), None);
        assert_eq!(ports.replied_from(SPEAKS, ACK), LO);
    }
}

#[test]
fn whoever_has_just_spoken_is_answered_there_whatever_was_heard_or_learnt_before() {
    for family in BOTH {
        let mut ports = TwoPorts::new(family, Mode::Nat);
        let other = ports.other;
        ports.says(SPEAKS, other, ACK);
        sleep(TICK);
        ports.says(WAITS, LO, ACK);
        assert_eq!(ports.replied_from(WAITS, ACK), LO);
        ports.learnt(Some(LO), None);
        ports.learnt(Some(other), None);
        sleep(TICK);
        ports.says(WAITS, LO, ACK);
        assert_eq!(ports.replied_from(WAITS, ACK), LO);
    }
}

/// As in a takeover: the bridge forgets what it has learnt on the cross-connect, and sees none of the frames that the
/// program takes.
#[test]
fn whoever_waits_is_found_while_the_bridge_knows_nothing() {
    for family in BOTH {
        let mut ports = TwoPorts::new(family, Mode::Nat);
        let other = ports.other;
        sleep(TICK);
        ports.says(SPEAKS, other, ACK);
        ports.learnt(None, None);
        assert_eq!(ports.replied_from(WAITS, ACK), other, "what was heard is not forgotten with what was learnt");
        let mut ports = TwoPorts::new(family, Mode::Nat);
        ports.learnt(None, None);
        sleep(TICK);
        ports.says(SPEAKS, other, ACK);
        assert_eq!(ports.replied_from(WAITS, ACK), other, "nor does it need to have been learnt");
    }
}

#[test]
fn a_handshake_that_comes_by_another_port_moves_whoever_waits() {
    for family in BOTH {
        let mut ports = TwoPorts::new(family, Mode::Nat);
        let other = ports.other;
        ports.says(4002, LO, SYN);
        sleep(TICK);
        ports.says(4002, other, SYN);
        assert_eq!(ports.replied_from(WAITS, ACK), other);
    }
}

#[test]
fn an_error_of_a_server_finds_a_client_that_waits() {
    for family in BOTH {
        let mut ports = TwoPorts::new(family, Mode::Nat);
        let other = ports.other;
        ports.says(SPEAKS, other, ACK);
        ports.site.ingress = LO;
        let quoted = Frame::tcp(at(client(family, 1), WAITS), at(server(family, 1), 25), ACK);
        let unreachable = if family == V4 { (3, 3, 0) } else { (1, 4, 0) };
        let error = Frame::error(server(family, 1), client(family, 1), unreachable, &quoted, 28 + 20);
        let outcome = ports.site.send(&error.between(server_mac(1), OWN));
        assert_eq!(outcome.counted, ["icmp-to-client"]);
        assert_eq!(outcome.frame[6..12], OTHER);
    }
}

#[test]
fn a_reset_finds_a_client_that_waits() {
    for mode in [Mode::Nat, Mode::Dsr] {
        for family in BOTH {
            let mut ports = TwoPorts::new(family, mode);
            let other = ports.other;
            assert_eq!(ports.reset_by(), [LO, LO]);
            let mut ports = TwoPorts::new(family, mode);
            assert_eq!(ports.other, other);
            sleep(TICK);
            ports.says(SPEAKS, other, ACK);
            assert_eq!(ports.reset_by(), [other, other], "heard");
            let mut ports = TwoPorts::new(family, mode);
            sleep(TICK);
            ports.learnt(Some(other), None);
            assert_eq!(ports.reset_by(), [other, other], "learnt");
            let mut ports = TwoPorts::new(family, mode);
            ports.learnt(None, Some(other));
            ports.forwards(LO, false);
            assert_eq!(ports.reset_by(), [other, other], "blocked");
        }
    }
}
