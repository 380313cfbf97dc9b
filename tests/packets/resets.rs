//! What a failed server owns is reset at once: the frames, the table after them, and when not.

use std::thread::sleep;
use std::time::Duration;

use lbd::config::{Mode, OnFailure, Timeouts};
use lbd::core::control::FlowState;
use lbd::core::forwarding::Weight;
use lbd::dataplane::flows::Connection;
use lbd::dataplane::{ResetStep, ServerReset};

use super::frame::*;
use super::site::*;

fn reset(connections: u64, flows: u64) -> ServerReset {
    ServerReset { connections, flows, done: true }
}

/// Walks over the table until nothing is left to reset; the frames that would be sent.
fn resets(site: &mut Site) -> Vec<Vec<u8>> {
    resets_with(site, |_| ())
}

/// `meanwhile` happens while the frames are being sent.
fn resets_with(site: &mut Site, meanwhile: impl FnMut(&mut Site)) -> Vec<Vec<u8>> {
    let by_lo = |(port, frame)| {
        assert_eq!(port, LO);
        frame
    };
    site.resets(meanwhile).into_iter().map(by_lo).collect()
}

fn open(site: &Site) -> Vec<Connection> {
    site.connections().into_iter().filter(|connection| connection.state != FlowState::Closed).collect()
}

/// A RST as it is expected, with the frame's padding.
fn rst(from: std::net::SocketAddr, to: std::net::SocketAddr, mac: [u8; 6], seq: u32) -> Vec<u8> {
    let mut frame = Frame::tcp(from, to, RST).between(OWN, mac).seq(seq).ttl(64).id(0).window(0);
    frame.df = from.is_ipv4();
    assert_eq!(check(&frame.bytes()), Ok(()));
    let mut bytes = frame.bytes();
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

fn client_says(site: &mut Site, family: Family, port: u16, flags: u8, ack: u32) {
    let frame = Frame::tcp(at(client(family, 1), 4000), at(vip(family, 1), port), flags).ack(ack).seq(7000);
    assert_eq!(site.send(&frame).counted, ["to-server"]);
}

fn server_says(site: &mut Site, family: Family, port: u16, flags: u8, ack: u32) {
    let frame = Frame::tcp(at(server(family, 1), port), at(client(family, 1), 4000), flags).ack(ack);
    assert_eq!(site.send(&frame.between(server_mac(1), OWN)).counted, ["to-client"]);
}

/// An established connection of client 1 from port 4000, whose latest ACK is 1000 and 2000 of its server.
fn connect(site: &mut Site, mode: Mode, family: Family, port: u16) {
    client_says(site, family, port, SYN, 0);
    if mode == Mode::Nat {
        server_says(site, family, port, SYN | ACK, 1500);
    }
    client_says(site, family, port, ACK, 500);
    if mode == Mode::Nat {
        server_says(site, family, port, ACK, 2000);
    }
    client_says(site, family, port, ACK, 1000);
}

#[test]
fn in_dsr_the_client_gets_a_rst_with_its_latest_ack() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    BOTH.into_iter().for_each(|family| connect(&mut site, Mode::Dsr, family, 25));
    assert!(!site.dp.has_resets());
    site.fail("smtp", 1);
    assert!(site.dp.has_resets());
    let mut frames = resets(&mut site);
    let mut expected = BOTH.map(|f| rst(at(vip(f, 1), 25), at(client(f, 1), 4000), ROUTER, 1000)).to_vec();
    frames.sort();
    expected.sort();
    assert_eq!(frames, expected);
    assert_eq!(site.dp.reset_of(&server_name(1)), Some(reset(2, 0)));
    assert!(open(&site).is_empty() && !site.dp.has_resets());
    site.assert_counts_are_true();
}

/// One that did not believe the reset, for example. Another server may hold an old connection of the same ports.
#[test]
fn in_dsr_what_a_client_still_sends_is_refused_here_and_goes_to_no_other_server() {
    let timeouts = Timeouts { closed: Duration::from_secs(1), ..Timeouts::default() };
    let mut site = Site::new([Pool { timeouts, ..Pool::tcp("smtp", 25, Mode::Dsr) }.servers(1..=2)]);
    let from = |family, port, flags| Frame::tcp(at(client(family, 1), port), at(vip(family, 1), 25), flags).ack(1000);
    let ports = BOTH.map(|family| {
        let port = (4000..4100).find(|port| site.server_for(&from(family, *port, SYN)) == 1).unwrap();
        (0..4).for_each(|_| assert_eq!(site.server_for(&from(family, port, ACK)), 1));
        port
    });
    site.fail("smtp", 1);
    resets(&mut site);
    for (family, port) in BOTH.into_iter().zip(ports) {
        assert_eq!(site.send(&from(family, port, ACK)).counted, ["rst-down"]);
        assert_eq!(site.server_for(&from(family, port, SYN)), 2, "it may come anew at once");
    }
    site.assert_counts_are_true();
    sleep(Duration::from_millis(1_200));
    while !site.dp.sweep_step().unwrap() {}
    assert!(site.connections().iter().all(|c| c.state != FlowState::Closed), "not for ever");
}

/// A RST is a frame like any other, and may be lost.
#[test]
fn in_dsr_a_client_is_refused_again_and_again_whenever_it_was_refused_first() {
    let timeouts = Timeouts { closed: Duration::from_secs(1), ..Timeouts::default() };
    let new = || Site::new([Pool { timeouts: timeouts.clone(), ..Pool::tcp("smtp", 25, Mode::Dsr) }.servers(1..=2)]);
    for family in BOTH {
        let said = |port, flags| Frame::tcp(at(client(family, 1), port), at(vip(family, 1), 25), flags).ack(1000);
        let connect = |site: &mut Site| {
            let port = (4000..4100).find(|port| site.server_for(&said(*port, SYN)) == 1).unwrap();
            (0..4).for_each(|_| assert_eq!(site.server_for(&said(port, ACK)), 1));
            port
        };
        let refused = |site: &mut Site, port, when| {
            assert_eq!(site.send(&said(port, ACK)).counted, ["rst-down"], "{when}");
        };

        let mut site = new();
        let port = connect(&mut site);
        site.fail("smtp", 1);
        refused(&mut site, port, "before the walk");
        resets(&mut site);
        refused(&mut site, port, "after it");
        site.assert_counts_are_true();

        let mut site = new();
        let port = connect(&mut site);
        site.fail("smtp", 1);
        resets_with(&mut site, |site| refused(site, port, "in the walk"));
        refused(&mut site, port, "after it");
        site.assert_counts_are_true();

        let mut site = new();
        let port = connect(&mut site);
        assert_eq!(site.server_for(&said(port, FIN | ACK)), 1);
        site.fail("smtp", 1);
        resets(&mut site);
        refused(&mut site, port, "in the middle of the end");
        site.assert_counts_are_true();
        sleep(Duration::from_millis(1_200));
        while !site.dp.sweep_step().unwrap() {}
        assert!(site.connections().is_empty(), "and then it goes: {:?}", site.connections());

        let mut site = new();
        let port = connect(&mut site);
        sleep(Duration::from_millis(1_200));
        site.fail("smtp", 1);
        refused(&mut site, port, "after a silence longer than closed entries last");
        refused(&mut site, port, "again");
        site.assert_counts_are_true();
    }
}

#[test]
fn in_nat_the_server_gets_one_too_with_its_own() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat)]);
    BOTH.into_iter().for_each(|family| connect(&mut site, Mode::Nat, family, 25));
    site.fail("smtp", 1);
    let mut frames = resets(&mut site);
    let mut expected = BOTH.map(|f| rst(at(vip(f, 1), 25), at(client(f, 1), 4000), ROUTER, 1000)).to_vec();
    expected.extend(BOTH.map(|f| rst(at(client(f, 1), 4000), at(server(f, 1), 25), server_mac(1), 2000)));
    frames.sort();
    expected.sort();
    assert_eq!(frames, expected);
    for family in BOTH {
        // The way back has gone as well.
        let late = Frame::tcp(at(server(family, 1), 25), at(client(family, 1), 4000), ACK).between(server_mac(1), OWN);
        site.passes("the server's side", &late, "other");
    }
    site.assert_counts_are_true();
}

/// It has not been heard since the handshake: what it expects is what the client has sent next.
#[test]
fn a_server_that_never_spoke_after_the_handshake_gets_the_number_that_it_expects() {
    let mut site = Site::new([Pool { server_port: Some(2525), ..Pool::tcp("smtp", 25, Mode::Nat) }]);
    client_says(&mut site, V4, 25, SYN, 0);
    server_says(&mut site, V4, 2525, SYN | ACK, 7000);
    client_says(&mut site, V4, 25, ACK, 500);
    site.fail("smtp", 1);
    let frames = resets(&mut site);
    assert_eq!(
        frames,
        [
            rst(at(vip(V4, 1), 25), at(client(V4, 1), 4000), ROUTER, 500),
            rst(at(client(V4, 1), 4000), at(server(V4, 1), 2525), server_mac(1), 7000)
        ]
    );
}

#[test]
fn in_full_nat_the_server_gets_it_from_the_address_that_it_knows() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::FullNat)]);
    site.source_nat(40_000, 40_000);
    for family in BOTH {
        let ours = at(snat(family), 40_000);
        client_says(&mut site, family, 25, SYN, 0);
        let reply = |flags, ack| {
            let frame = Frame::tcp(at(server(family, 1), 25), ours, flags).ack(ack);
            frame.between(server_mac(1), OWN)
        };
        assert_eq!(site.send(&reply(SYN | ACK, 1500)).counted, ["to-client"]);
        client_says(&mut site, family, 25, ACK, 1000);
        assert_eq!(site.send(&reply(ACK, 2000)).counted, ["to-client"]);
    }
    site.fail("smtp", 1);
    let mut frames = resets(&mut site);
    let mut expected = BOTH.map(|f| rst(at(vip(f, 1), 25), at(client(f, 1), 4000), ROUTER, 1000)).to_vec();
    expected.extend(BOTH.map(|f| rst(at(snat(f), 40_000), at(server(f, 1), 25), server_mac(1), 2000)));
    frames.sort();
    expected.sort();
    assert_eq!(frames, expected);
}

#[test]
fn tags_lead_to_the_client_and_to_the_server() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat)]);
    site.server_vlan(1, 200);
    let there = |flags| Frame::tcp(at(client(V4, 1), 4000), at(vip(V4, 1), 25), flags).tag(0x6064);
    let back = Frame::tcp(at(server(V4, 1), 25), at(client(V4, 1), 4000), SYN | ACK).between(server_mac(1), OWN);
    for frame in [there(SYN), back.tag(200), there(ACK)] {
        site.send(&frame);
    }
    site.fail("smtp", 1);
    let tags: Vec<Vec<u8>> = resets(&mut site).iter().map(|frame| frame[12..16].to_vec()).collect();
    assert_eq!(tags, [[0x81, 0, 0, 100], [0x81, 0, 0, 200]], "a priority of a data packet is not a reset's");
}

#[test]
fn what_has_ended_is_not_reset_again() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat)]);
    connect(&mut site, Mode::Nat, V4, 25);
    server_says(&mut site, V4, 25, FIN | ACK, 2001);
    client_says(&mut site, V4, 25, FIN | ACK, 1001);
    connect(&mut site, Mode::Nat, V6, 25);
    client_says(&mut site, V6, 25, RST, 0);
    site.fail("smtp", 1);
    assert_eq!(resets(&mut site), Vec::<Vec<u8>>::new());
    assert_eq!(site.dp.reset_of(&server_name(1)), Some(reset(0, 0)));
    assert!(site.connections().is_empty(), "but it is removed");
    site.assert_counts_are_true();
}

#[test]
fn udp_flows_are_forgotten_and_scheduled_anew() {
    let mut site = Site::new([Pool::udp("dns", 53, Mode::Dsr).servers(1..=2)]);
    let ask = |n: u16| Frame::udp(at(client(V4, n), 4000), at(vip(V4, 1), 53), b"question");
    for n in 0..20 {
        let first = site.server_for(&ask(n));
        (0..3).for_each(|_| assert_eq!(site.server_for(&ask(n)), first));
    }
    assert_eq!(site.live("dns", V4, 1).0, 10);
    site.fail("dns", 1);
    assert_eq!(resets(&mut site), Vec::<Vec<u8>>::new());
    assert_eq!(site.dp.reset_of(&server_name(1)), Some(reset(0, 10)));
    assert_eq!((site.live("dns", V4, 1).0, site.live("dns", V4, 2).0), (0, 10));
    (0..20).for_each(|n| assert_eq!(site.server_for(&ask(n)), 2));
    site.assert_counts_are_true();
}

#[test]
fn handshakes_of_a_failed_server_stop_to_count_and_begin_anew_elsewhere() {
    for mode in [Mode::Dsr, Mode::Nat] {
        let mut site = Site::new([Pool::tcp("smtp", 25, mode).servers(1..=2)]);
        let syn = |port| Frame::tcp(at(client(V4, 1), port), at(vip(V4, 1), 25), SYN);
        let first: Vec<u8> = (0..20).map(|i| site.server_for(&syn(4000 + i))).collect();
        assert_eq!(site.live("smtp", V4, 1), (0, 10));
        assert_eq!(site.dp.sweep_embryos().unwrap(), 0, "nothing has expired");
        site.fail("smtp", 1);
        assert_eq!(site.dp.sweep_embryos().unwrap(), 10);
        assert_eq!((site.live("smtp", V4, 1), site.live("smtp", V4, 2)), ((0, 0), (0, 10)));
        assert!(first.contains(&1) && (0..20).all(|i| site.server_for(&syn(4000 + i)) == 2));
        assert_eq!(site.live("smtp", V4, 2), (0, 20));
    }
}

#[test]
fn a_service_that_keeps_connections_resets_none_unless_forced() {
    for mode in [Mode::Dsr, Mode::Nat] {
        let mut site = Site::new([Pool { on_failure: OnFailure::Keep, ..Pool::tcp("smtp", 25, mode) }]);
        connect(&mut site, mode, V4, 25);
        site.fail("smtp", 1);
        assert!(!site.dp.has_resets());
        assert_eq!(resets(&mut site), Vec::<Vec<u8>>::new());
        assert_eq!((site.live("smtp", V4, 1).0, site.dp.reset_of(&server_name(1))), (1, None));
        site.dp.force_reset(&server_name(1));
        assert_eq!(resets(&mut site).len(), if mode == Mode::Dsr { 1 } else { 2 });
        assert_eq!((site.live("smtp", V4, 1).0, site.dp.reset_of(&server_name(1))), (0, Some(reset(1, 0))));
        site.assert_counts_are_true();
    }
}

#[test]
fn one_walk_serves_all_services_of_a_server_and_leaves_the_others_alone() {
    let mut site = Site::new((0..10).map(|i| {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        Pool::tcp(names[i], 100 + i as u16, Mode::Dsr).servers(1..=2)
    }));
    for port in 100..110 {
        for from in 0..20 {
            for flags in [SYN, ACK] {
                site.send(&Frame::tcp(at(client(V4, 1), 4000 + from), at(vip(V4, 1), port), flags));
            }
        }
    }
    site.change(|state| {
        for (_, dest) in state.dests.iter_mut().filter(|(key, _)| key.server == server_name(1)) {
            dest.down = true;
        }
        state.services.values_mut().for_each(|service| _ = service.schedule.remove(&server_name(1)));
    });
    let mut finished = vec![];
    let mut frames = 0;
    loop {
        match site.dp.reset_step().unwrap() {
            ResetStep::Idle => break,
            ResetStep::Finished(servers) => finished.extend(servers),
            ResetStep::Batch(batch) => {
                frames += batch.frames.len();
                site.dp.reset_done(batch).unwrap();
            }
        }
    }
    assert_eq!((frames, finished), (100, vec![(server_name(1), reset(100, 0))]), "one walk, told once");
    assert_eq!(site.dp.server_connections(&server_name(2)), Some(100));
    assert_eq!(open(&site).len(), 100);
    site.assert_counts_are_true();
}

#[test]
fn a_server_that_is_back_before_its_turn_keeps_its_connections() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    let up = |site: &mut Site| {
        BOTH.into_iter().for_each(|family| {
            site.dest("smtp", family, 1).down = false;
            site.service("smtp", family).schedule.insert(server_name(1), Weight(1000));
        });
        site.apply();
    };
    connect(&mut site, Mode::Dsr, V4, 25);
    site.fail("smtp", 1);
    up(&mut site);
    assert_eq!(resets(&mut site), Vec::<Vec<u8>>::new());
    assert_eq!(site.live("smtp", V4, 1).0, 1);
    // Too late to unsend, early enough to keep the entry, which the client's own RST will end.
    site.fail("smtp", 1);
    assert_eq!(resets_with(&mut site, up).len(), 1);
    assert_eq!(site.live("smtp", V4, 1).0, 1);
    // And the next failure is another.
    site.fail("smtp", 1);
    assert_eq!(resets(&mut site).len(), 1);
    assert_eq!(site.dp.reset_of(&server_name(1)), Some(reset(1, 0)));
    site.assert_counts_are_true();
}

#[test]
fn a_client_that_comes_again_from_the_same_port_while_it_is_told_keeps_the_new_connection() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr).servers(1..=2)]);
    connect(&mut site, Mode::Dsr, V4, 25);
    site.fail("smtp", 1);
    let frames = resets_with(&mut site, |site| {
        // Its RST ends the old one.
        for (flags, reasons) in [(RST, "drop"), (SYN, "to-server"), (ACK, "to-server")] {
            let outcome = site.send(&Frame::tcp(at(client(V4, 1), 4000), at(vip(V4, 1), 25), flags));
            assert!(reasons == "drop" || outcome.counted == [reasons], "{outcome:?}");
        }
    });
    assert_eq!(frames.len(), 1);
    assert_eq!((site.live("smtp", V4, 1).0, site.live("smtp", V4, 2).0), (0, 1));
    site.assert_counts_are_true();
}

#[test]
fn a_box_that_does_not_own_its_addresses_resets_nothing_until_it_does() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    connect(&mut site, Mode::Dsr, V4, 25);
    site.lease().drop_lease();
    site.fail("smtp", 1);
    assert!(!site.dp.has_resets());
    assert_eq!(resets(&mut site), Vec::<Vec<u8>>::new());
    assert_eq!(site.connections().len(), 1);
    site.dp.own_alone();
    assert!(site.dp.has_resets());
    assert_eq!(resets(&mut site).len(), 1);
}

#[test]
fn a_client_whose_port_is_gone_costs_the_walk_nothing() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat)]);
    connect(&mut site, Mode::Nat, V4, 25);
    site.change(|state| state.ports.get_mut(&LO).unwrap().forwarding = false);
    site.fail("smtp", 1);
    assert_eq!(resets(&mut site), Vec::<Vec<u8>>::new(), "a blocked port is not sent to");
    assert!(site.connections().is_empty());
    assert_eq!(site.dp.reset_of(&server_name(1)), Some(reset(1, 0)));
}
