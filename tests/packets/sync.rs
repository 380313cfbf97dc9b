//! Connections of one data plane, told to another that counts differently: the next packet of the client, or of the
//! server, passes there as it would have here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use lbd::config::{Mac, Mode, Persistence, Timeouts};
use lbd::core::moment::Moment;
use lbd::core::synced::{Change, FlowKey, Parts, part_of};
use lbd::daemon::sync::{Hearing, Telling};
use lbd::dataplane::ResetStep;
use lbd::pair::sync::{Receiver, Sender, SenderLimits};

use super::frame::*;
use super::full_nat::ends_of;
use super::site::*;

/// Another router, in a VLAN.
const OTHER_ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0x98];

/// Two balancers, of which `a` tells `b`.
struct Pair {
    a: Site,
    b: Site,
    telling: Telling,
    hearing: Hearing,
    now: u64,
}

/// What `b` has besides and before, so that its numbers are others.
fn other_numbers() -> Vec<Pool> {
    let extra = Pool { vip: 9, ..Pool::tcp("aaa", 7, Mode::Nat).servers(5..=7) };
    let persistent = Pool { vip: 8, persistence: Some(Persistence::default()), ..Pool::tcp("aab", 8, Mode::Dsr) };
    vec![extra, persistent]
}

impl Pair {
    fn new(pools: impl IntoIterator<Item = Pool> + Clone, sources: Option<(u16, u16)>) -> Self {
        let mut a = Site::new(pools.clone());
        let mut b = Site::new(other_numbers().into_iter().chain(pools));
        if let Some((first, last)) = sources {
            a.source_nat(first, last);
            // The other half of the pool.
            b.source_nat(last + 1, last + 1);
        }
        let telling = Telling::new(a.dp.capture().unwrap(), Sender::new(1, SenderLimits::default()));
        let hearing = Hearing::new(b.dp.restore().unwrap(), Receiver::new(1));
        let mut pair = Self { a, b, telling, hearing, now: 0 };
        pair.client_is_at(Some(LO));
        pair.carry();
        pair
    }

    fn client_is_at(&mut self, port: Option<u32>) {
        self.b.dp.set_client_places(&BTreeMap::new(), port).unwrap();
    }

    /// Turns until everything has been told.
    fn carry(&mut self) {
        for _ in 0..10_000 {
            self.now += 5;
            let now = Moment(Duration::from_millis(self.now));
            self.telling.turn(now).unwrap();
            let mut heard = Vec::new();
            while let Some(datagram) = self.telling.sender.poll(now) {
                self.hearing.hear(&datagram, now, &mut heard).unwrap();
            }
            if let Some(ack) = self.hearing.turn().unwrap() {
                self.telling.sender.acknowledged(&ack, now);
            }
            let behind = self.telling.sender.statistics(now).records_behind;
            if behind == 0 && self.telling.sender.is_told() && self.hearing.receiver.is_complete() {
                while self.hearing.restore.tidy().unwrap() {}
                return;
            }
        }
        panic!("not told: {:?}", self.telling.sender.statistics(Moment::default()));
    }

    fn assert_counts_are_true(&self) {
        self.a.assert_counts_are_true();
        self.b.assert_counts_are_true();
    }
}

/// A connection's ends, and how its packets look at the server.
#[derive(Clone, Copy)]
struct Ends {
    client: SocketAddr,
    vip: SocketAddr,
    server: SocketAddr,
    /// As the server sees the client.
    source: SocketAddr,
    mode: Mode,
}

impl Ends {
    fn new(family: Family, mode: Mode, port: u16, server_port: u16) -> Self {
        let client = at(client(family, 1), 4000);
        let (vip, server) = (at(vip(family, 1), port), at(server(family, 1), server_port));
        Self { client, vip, server, source: client, mode }
    }

    /// A frame of the client's, as it arrives at the server.
    fn there(&self, site: &mut Site, what: &str, frame: &Frame) {
        let expected = match self.mode {
            Mode::Dsr => frame.clone().between(OWN, server_mac(1)).tag(None),
            _ => frame.clone().now_from(self.source).now_to(self.server).hop().between(OWN, server_mac(1)).tag(None),
        };
        site.sends(what, frame, "to-server", &expected);
    }

    /// A frame of the server's, as it arrives at the client's router.
    fn back(&self, site: &mut Site, what: &str, frame: Frame, router: [u8; 6], tag: Option<u16>) {
        let frame = frame.between(server_mac(1), OWN);
        let expected = frame.clone().now_from(self.vip).now_to(self.client).hop().between(OWN, router).tag(tag);
        site.sends(what, &frame, "to-client", &expected);
    }

    fn tcp(&self, flags: u8) -> Frame {
        Frame::tcp(self.client, self.vip, flags)
    }

    fn tcp_back(&self, flags: u8) -> Frame {
        Frame::tcp(self.server, self.source, flags)
    }

    /// Establishes it; in full NAT it learns which source it got.
    fn connect(&mut self, site: &mut Site) {
        let outcome = site.send(&self.tcp(SYN));
        assert_eq!(outcome.counted, ["to-server"]);
        if self.mode != Mode::Dsr {
            self.source = ends_of(&outcome.frame).0;
            self.back(site, "SYN ACK", self.tcp_back(SYN | ACK), ROUTER, None);
        }
        for ack in 1..=4 {
            self.there(site, "ACK", &self.tcp(ACK).ack(ack));
        }
    }
}

fn pool(mode: Mode) -> Pool {
    Pool { server_port: (mode != Mode::Dsr).then_some(2525), ..Pool::tcp("smtp", 25, mode) }
}

const MODES: [Mode; 3] = [Mode::Dsr, Mode::Nat, Mode::FullNat];

fn ends(family: Family, mode: Mode) -> Ends {
    Ends::new(family, mode, 25, if mode == Mode::Dsr { 25 } else { 2525 })
}

#[test]
fn the_next_packet_of_either_side_passes_at_the_other_balancer() {
    for mode in MODES {
        for family in BOTH {
            let mut pair = Pair::new([pool(mode)], Some((40_000, 40_999)));
            let mut ends = ends(family, mode);
            ends.connect(&mut pair.a);
            pair.carry();
            assert_eq!(pair.b.live("smtp", family, 1), (1, 0), "{mode:?}");
            if mode != Mode::Dsr {
                // The server speaks first: nobody has heard the client here.
                ends.back(&mut pair.b, "first, the server", ends.tcp_back(ACK).data(b"* 1 EXISTS\r\n"), ROUTER, None);
            }
            ends.there(&mut pair.b, "the client", &ends.tcp(ACK).data(b"NOOP\r\n"));
            if mode != Mode::Dsr {
                ends.back(&mut pair.b, "its answer", ends.tcp_back(ACK).data(b"OK\r\n"), ROUTER, None);
            }
            let moved = ends.tcp(ACK).between(OTHER_ROUTER, OWN).tag(7);
            ends.there(&mut pair.b, "by another router", &moved);
            if mode != Mode::Dsr {
                ends.back(&mut pair.b, "back by that router", ends.tcp_back(ACK), OTHER_ROUTER, Some(7));
                ends.back(&mut pair.b, "the server's FIN", ends.tcp_back(FIN | ACK), OTHER_ROUTER, Some(7));
            }
            ends.there(&mut pair.b, "the client's FIN", &ends.tcp(FIN | ACK).between(OTHER_ROUTER, OWN).tag(7));
            assert_eq!(pair.b.live("smtp", family, 1), (0, 0), "{mode:?}: it has ended");
            pair.assert_counts_are_true();
        }
    }
}

#[test]
fn a_connection_that_was_there_before_the_peer_came_is_told_too() {
    for mode in MODES {
        for family in BOTH {
            let mut a = Site::new([pool(mode)]);
            a.source_nat(40_000, 40_999);
            let mut ends = ends(family, mode);
            ends.connect(&mut a);
            let mut b = Site::new(other_numbers().into_iter().chain([pool(mode)]));
            b.source_nat(41_000, 41_000);
            b.dp.set_client_places(&BTreeMap::new(), Some(LO)).unwrap();
            let telling = Telling::new(a.dp.capture().unwrap(), Sender::new(1, SenderLimits::default()));
            let hearing = Hearing::new(b.dp.restore().unwrap(), Receiver::new(1));
            let mut pair = Pair { a, b, telling, hearing, now: 0 };
            pair.carry();
            if mode != Mode::Dsr {
                ends.back(&mut pair.b, "the server", ends.tcp_back(ACK), ROUTER, None);
            }
            ends.there(&mut pair.b, "the client", &ends.tcp(ACK));
            pair.b.assert_counts_are_true();
        }
    }
}

/// The place of the client's router, at the balancer that has not heard it.
#[test]
fn replies_leave_where_the_bridge_has_the_routers_mac_else_by_the_way_out_else_by_the_kernel() {
    let mut pair = Pair::new([pool(Mode::Nat)], None);
    for family in BOTH {
        let mut ends = ends(family, Mode::Nat);
        ends.connect(&mut pair.a);
        pair.carry();
        let reply = ends.tcp_back(ACK).between(server_mac(1), OWN);
        let places = |vlan: u16, port: u32| BTreeMap::from([((Mac(ROUTER), vlan), port)]);
        let translated = reply.clone().now_from(ends.vip).hop();
        for (what, places, others, verdict) in [
            ("the bridge knows", places(0, LO), None, "to-client"),
            ("it knows, and there is a way out", places(0, LO), Some(77), "to-client"),
            ("it knows another VLAN's", places(7, LO), None, "opened"),
            ("a way out", BTreeMap::new(), Some(LO), "to-client"),
            ("a port that is gone, and a way out", places(0, 77), Some(LO), "to-client"),
            ("a port that is gone", places(0, 77), Some(78), "opened"),
            ("nothing", BTreeMap::new(), None, "opened"),
        ] {
            pair.b.dp.set_client_places(&places, others).unwrap();
            let outcome = pair.b.send_bytes(what, &reply.bytes());
            assert_eq!(outcome.counted, [verdict], "{what}");
            let sent = translated.clone();
            let expected = if verdict == "opened" { sent } else { sent.between(OWN, ROUTER) };
            assert_eq!(outcome.frame, expected.bytes(), "{what}");
        }
        pair.b.change(|state| state.ports.get_mut(&LO).unwrap().forwarding = true);
    }
}

#[test]
fn datagrams_of_a_flow_stay_with_its_server_at_the_other_balancer() {
    for mode in [Mode::Nat, Mode::FullNat] {
        for family in BOTH {
            let dns = Pool { server_port: Some(5353), ..Pool::udp("dns", 53, mode).servers(1..=1) };
            let mut pair = Pair::new([dns], Some((40_000, 40_999)));
            let mut ends = Ends::new(family, mode, 53, 5353);
            let question = Frame::udp(ends.client, ends.vip, b"question");
            let outcome = pair.a.send(&question);
            ends.source = ends_of(&outcome.frame).0;
            let answer = Frame::udp(ends.server, ends.source, b"answer");
            ends.back(&mut pair.a, "an answer", answer.clone(), ROUTER, None);
            ends.there(&mut pair.a, "another question", &question);
            pair.carry();
            ends.back(&mut pair.b, "a late answer", answer, ROUTER, None);
            ends.there(&mut pair.b, "a third", &question);
            assert_eq!(pair.b.live("dns", family, 1), (1, 0));
            pair.b.assert_counts_are_true();
        }
    }
}

#[test]
fn the_end_of_a_connection_is_told_step_by_step() {
    use lbd::core::control::FlowState::{Closed, Closing, Established};
    for family in BOTH {
        let mut pair = Pair::new([pool(Mode::Nat)], None);
        let mut ends = ends(family, Mode::Nat);
        ends.connect(&mut pair.a);
        let states = |pair: &mut Pair| {
            pair.carry();
            pair.assert_counts_are_true();
            let state = |site: &Site| site.connections().first().map(|c| c.state);
            assert_eq!(state(&pair.a), state(&pair.b));
            (state(&pair.b), pair.b.live("smtp", family, 1).0)
        };
        assert_eq!(states(&mut pair), (Some(Established), 1));
        ends.back(&mut pair.a, "FIN", ends.tcp_back(FIN | ACK), ROUTER, None);
        assert_eq!(states(&mut pair), (Some(Closing), 1));
        ends.there(&mut pair.a, "FIN", &ends.tcp(FIN | ACK));
        assert_eq!(states(&mut pair), (Some(Closed), 0));
        // The same client port again: the old entry goes, another comes.
        ends.connect(&mut pair.a);
        assert_eq!(states(&mut pair), (Some(Established), 1));
        ends.there(&mut pair.a, "RST", &ends.tcp(RST));
        assert_eq!(states(&mut pair), (Some(Closed), 0));
        // It was not the client's.
        ends.there(&mut pair.a, "ACK", &ends.tcp(ACK).ack(77));
        assert_eq!(states(&mut pair).1, 1);
        pair.a.cut(&Site::key("smtp", family, 1));
        assert_eq!(states(&mut pair), (None, 0));
        // NAT leaves nothing behind by which the server's port would be taken.
        ends.connect(&mut pair.b);
    }
}

#[test]
fn a_client_stays_with_its_server_at_the_other_balancer() {
    let persistent = |name: &'static str, port| Pool {
        persistence: Some(Persistence { prefix4: 24, prefix6: 48, ..Persistence::default() }),
        ..Pool::tcp(name, port, Mode::Dsr).servers(1..=3)
    };
    // One that was bound before the peer came, the others after.
    for early in [true, false] {
        let pools = [persistent("pop3", 110), persistent("imap", 143)];
        let mut pair = Pair::new(pools, None);
        for family in BOTH {
            let frame = |n: u16, port: u16, flags: u8| {
                Frame::tcp(at(client(family, n * 256), 4000 + n), at(vip(family, 1), port), flags)
            };
            if early {
                pair.telling.capture.listen(false);
            }
            let servers: Vec<u8> = (1..8)
                .map(|n| {
                    let server = pair.a.server_for(&frame(n, 110, SYN));
                    assert_eq!(pair.a.server_for(&frame(n, 110, ACK)), server);
                    server
                })
                .collect();
            if early {
                pair.telling.capture.listen(true);
                pair.telling.sender.lose(&Parts::ALL, 0);
            }
            pair.carry();
            let there: Vec<u8> = (1..8).map(|n| pair.b.server_for(&frame(n, 110, SYN).seq(9))).collect();
            assert_eq!(there, servers, "early: {early}, {family:?}");
        }
    }
}

#[test]
fn what_this_box_has_seen_later_stays() {
    for family in BOTH {
        let mut pair = Pair::new([pool(Mode::Nat)], None);
        let mut ends = ends(family, Mode::Nat);
        ends.connect(&mut pair.a);
        pair.carry();
        sleep(Duration::from_millis(20));
        ends.there(&mut pair.b, "the client, here", &ends.tcp(ACK));
        let key = Site::key("smtp", family, 1);
        pair.a.cut(&key);
        pair.carry();
        assert_eq!(pair.b.live("smtp", family, 1), (1, 0), "it was used here since");
        assert_eq!(pair.hearing.restore.statistics().older, 1);
        // An owner keeps even what the peer says to have seen later.
        pair.hearing.restore.set_owner(true);
        sleep(Duration::from_millis(20));
        ends.connect(&mut pair.a);
        ends.there(&mut pair.a, "FIN", &ends.tcp(FIN | ACK));
        pair.carry();
        assert_eq!(pair.b.live("smtp", family, 1), (1, 0));
        pair.hearing.restore.set_owner(false);
        pair.telling.sender.lose(&Parts::ALL, 0);
        pair.carry();
        let state = pair.b.connections().first().map(|c| c.state);
        assert_eq!(state, Some(lbd::core::control::FlowState::Closing), "a standby follows");
        pair.b.assert_counts_are_true();
    }
}

#[test]
fn what_the_peer_does_not_have_goes_when_it_tells_all_and_an_owner_keeps_its_own() {
    for owner in [true, false] {
        let mut pair = Pair::new([pool(Mode::Nat)], None);
        let [mut here, mut there] = BOTH.map(|family| ends(family, Mode::Nat));
        here.connect(&mut pair.b);
        there.connect(&mut pair.a);
        pair.carry();
        // Its end is not told.
        pair.telling.capture.listen(false);
        pair.a.cut(&Site::key("smtp", V6, 1));
        pair.telling.capture.listen(true);
        sleep(Duration::from_millis(20));
        pair.hearing.restore.set_owner(owner);
        pair.telling.sender.lose(&Parts::ALL, 0);
        pair.carry();
        assert_eq!(pair.b.live("smtp", V4, 1).0, u64::from(owner), "of this box");
        assert_eq!(pair.b.live("smtp", V6, 1).0, 0, "of the peer");
        assert_eq!(pair.hearing.restore.statistics().forgotten, if owner { 1 } else { 2 });
        pair.b.assert_counts_are_true();
    }
}

#[test]
fn a_collision_with_a_forgotten_connection_gives_way() {
    let second = Pool { vip: 2, server_port: Some(2525), ..Pool::tcp("second", 25, Mode::Nat) };
    for family in BOTH {
        let mut pair = Pair::new([pool(Mode::Nat), second.clone()], None);
        // The same client port at the same server, of which only one can be.
        let mut old = ends(family, Mode::Nat);
        old.vip = at(vip(family, 2), 25);
        old.connect(&mut pair.b);
        sleep(Duration::from_millis(20));
        let mut new = ends(family, Mode::Nat);
        new.connect(&mut pair.a);
        pair.carry();
        assert_eq!((pair.b.live("second", family, 1).0, pair.b.live("smtp", family, 1).0), (0, 1));
        new.back(&mut pair.b, "the server", new.tcp_back(ACK), ROUTER, None);
        pair.b.assert_counts_are_true();
    }
}

#[test]
fn what_is_not_configured_here_is_counted_and_comes_when_it_is() {
    let mut pair = Pair::new([pool(Mode::Nat)], None);
    pair.a.add(&Pool { vip: 2, ..Pool::tcp("new", 80, Mode::Nat) });
    for family in BOTH {
        let mut ends = Ends::new(family, Mode::Nat, 80, 80);
        ends.vip = at(vip(family, 2), 80);
        ends.connect(&mut pair.a);
        pair.carry();
        assert!(pair.b.connections().is_empty());
        assert!(pair.hearing.restore.statistics().unresolved > 0);
    }
    pair.b.add(&Pool { vip: 2, ..Pool::tcp("new", 80, Mode::Nat) });
    pair.hearing.receiver.ask_again();
    pair.carry();
    for family in BOTH {
        assert_eq!(pair.b.live("new", family, 1), (1, 0));
    }
    pair.b.assert_counts_are_true();
}

/// The source pool is split by addresses: the peer's half is here for what it has told.
#[test]
fn a_source_address_of_the_peers_half_serves_its_connections_and_no_new_ones() {
    for family in BOTH {
        let mut pair = Pair::new([pool(Mode::FullNat)], Some((40_000, 40_999)));
        pair.b.change(|state| {
            state.source_nat.clear();
            state.source_nat_of_peer = BOTH.map(snat).into();
        });
        let mut ends = ends(family, Mode::FullNat);
        ends.connect(&mut pair.a);
        pair.carry();
        ends.back(&mut pair.b, "the server", ends.tcp_back(ACK), ROUTER, None);
        ends.there(&mut pair.b, "the client", &ends.tcp(ACK));
        let new = Frame::tcp(at(client(family, 2), 4000), ends.vip, SYN);
        pair.b.drops("a new one", &new, "source-nat-exhausted");
    }
}

#[test]
fn a_connection_of_the_peers_outlives_its_timeout_by_the_time_between_two_tellings() {
    let short = Timeouts { established: second(), unproven: second(), ..Timeouts::default() };
    for family in BOTH {
        let mut pair = Pair::new([Pool { timeouts: short.clone(), ..pool(Mode::Nat) }], None);
        let mut ends = ends(family, Mode::Nat);
        ends.connect(&mut pair.a);
        pair.carry();
        sleep(Duration::from_millis(1200));
        while !pair.b.dp.sweep_step().unwrap() {}
        ends.there(&mut pair.b, "the client", &ends.tcp(ACK));
        sleep(Duration::from_millis(1200));
        let outcome = pair.b.send(&ends.tcp(ACK));
        assert_eq!(outcome.counted, ["rst-no-flow"], "once heard here, it lives as long as any other");
    }
}

#[test]
fn what_a_failed_server_owned_at_the_peer_is_reset_here() {
    let mut pair = Pair::new([pool(Mode::Nat)], None);
    for family in BOTH {
        let mut ends = ends(family, Mode::Nat);
        ends.connect(&mut pair.a);
        ends.there(&mut pair.a, "more", &ends.tcp(ACK).ack(4711));
    }
    // The latest acknowledgement is told by a walk.
    pair.telling.sender.lose(&Parts::ALL, 0);
    pair.carry();
    pair.b.fail("smtp", 1);
    let mut frames = vec![];
    loop {
        match pair.b.dp.reset_step().unwrap() {
            ResetStep::Idle => break,
            ResetStep::Finished(_) => {}
            ResetStep::Batch(batch) => {
                frames.extend(batch.frames.clone());
                pair.b.dp.reset_done(batch).unwrap();
            }
        }
    }
    let to_clients: Vec<_> = frames.iter().filter(|(port, frame)| *port == LO && frame[..6] == ROUTER).collect();
    // The number may be an old one: each is asked for the number that it expects, too.
    assert_eq!(to_clients.len(), 4, "{frames:02x?}");
    for (_, frame) in to_clients {
        let tcp = if frame[12] == 0x08 { 34 } else { 54 };
        assert_eq!(check(&frame[..tcp + 20]), Ok(()), "without the padding");
        let (sequence, flags) = (u32::from_be_bytes(frame[tcp + 4..tcp + 8].try_into().unwrap()), frame[tcp + 13]);
        assert!([(4711, RST), (4710, ACK)].contains(&(sequence, flags)), "{frame:02x?}");
    }
    pair.b.assert_counts_are_true();
}

/// What is known here of its ACK is old, so that it does not believe the reset, and answers the question.
#[test]
fn a_client_that_answers_the_question_in_dsr_is_told_with_its_own_number() {
    let mut pair = Pair::new([Pool::tcp("smtp", 25, Mode::Dsr).servers(1..=2)], None);
    let from = |family, port, flags| Frame::tcp(at(client(family, 1), port), at(vip(family, 1), 25), flags);
    let ports = BOTH.map(|family| {
        let port = (4000..4100).find(|port| pair.a.server_for(&from(family, *port, SYN)) == 1).unwrap();
        (1..=4).for_each(|ack| assert_eq!(pair.a.server_for(&from(family, port, ACK).ack(ack)), 1));
        port
    });
    pair.carry();
    pair.b.fail("smtp", 1);
    loop {
        match pair.b.dp.reset_step().unwrap() {
            ResetStep::Idle => break,
            ResetStep::Finished(_) => {}
            ResetStep::Batch(batch) => pair.b.dp.reset_done(batch).unwrap(),
        }
    }
    for (family, port) in BOTH.into_iter().zip(ports) {
        let answer = pair.b.send(&from(family, port, ACK).ack(4711));
        assert_eq!(answer.counted, ["rst-down"]);
        let tcp = if family == V4 { 34 } else { 54 };
        assert_eq!(u32::from_be_bytes(answer.frame[tcp + 4..tcp + 8].try_into().unwrap()), 4711);
    }
    pair.b.assert_counts_are_true();
}

/// The ring is full: the connections concerned are told all the same, and only their parts.
#[test]
fn an_overflow_is_counted_and_made_good() {
    let mut pair = Pair::new([pool(Mode::Nat)], None);
    for family in BOTH {
        let mut ends = ends(family, Mode::Nat);
        ends.connect(&mut pair.a);
        pair.carry();
        // A client that comes by two routers in turn: each change is an event.
        let frames = [ROUTER, OTHER_ROUTER].map(|mac| ends.tcp(ACK).between(mac, OWN).bytes());
        for _ in 0..50_000 {
            for frame in &frames {
                pair.a.dp.run(frame, LO, 1).unwrap();
            }
        }
        pair.a.flood([]);
        ends.back(&mut pair.a, "the latest router's", ends.tcp_back(ACK), OTHER_ROUTER, None);
        let before = pair.telling.sender.statistics(Moment::default());
        let key = FlowKey {
            client: ends.client.ip(),
            client_port: ends.client.port(),
            vip: 0,
            port: ends.vip.port(),
            udp: false,
        };
        let (parts, events) = pair.telling.capture.take_lost();
        assert!(events > 10_000, "{events}");
        assert_eq!(parts.len(), 1);
        assert!(parts.contains(part_of(&key)), "the program and the daemon agree on the part");
        pair.telling.sender.lose(&parts, events);
        pair.carry();
        let after = pair.telling.sender.statistics(Moment::default());
        assert_eq!(after.left_out - before.left_out, events);
        assert_eq!(after.tellings - before.tellings, 1);
        ends.back(&mut pair.b, "the server", ends.tcp_back(ACK), OTHER_ROUTER, None);
    }
}

#[test]
fn nobody_who_listens_is_told_nothing() {
    let mut site = Site::new([pool(Mode::Nat)]);
    let mut capture = site.dp.capture().unwrap();
    let mut ends = ends(V4, Mode::Nat);
    ends.connect(&mut site);
    let count = |capture: &mut lbd::dataplane::sync::Capture| capture.drain(usize::MAX, |_, _| {});
    assert_eq!(count(&mut capture), 0);
    capture.listen(true);
    // Its end is news of now, however long it was idle.
    sleep(Duration::from_millis(1_200));
    site.cut(&Site::key("smtp", V4, 1));
    let mut changes = vec![];
    capture.drain(usize::MAX, |change, since| changes.push((change, since)));
    assert!(matches!(changes[..], [(Change::Gone { .. }, since)] if since < second()), "{changes:?}");
    capture.listen(false);
    ends.connect(&mut site);
    assert_eq!(count(&mut capture), 0);
}
