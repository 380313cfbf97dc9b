//! Services of several ports, whose servers may call back: FTP's passive and active data connections.

use lbd::config::{Mode, Persistence, Ports, Scheduler};
use lbd::core::forwarding::Weight;

use super::frame::*;
use super::site::*;

const PASSIVE: Ports = Ports { first: 50_000, last: 50_099 };
const CONTROL: u16 = 4000;

fn ftp(mode: Mode) -> Pool {
    Pool {
        data_ports: vec![PASSIVE],
        active: Some(20),
        persistence: Some(Persistence::default()),
        ..Pool::tcp("ftp", 21, mode).servers(1..=3)
    }
}

fn from_client(family: Family, n: u16, port: u16, to: u16, flags: u8) -> Frame {
    Frame::tcp(at(client(family, n), port), at(vip(family, 1), to), flags)
}

/// The session's control connection; the server's number.
fn login(site: &mut Site, family: Family, n: u16) -> u8 {
    let server = site.server_for(&from_client(family, n, CONTROL, 21, SYN));
    let nat = site.dest("ftp", family, server).mode != Mode::Dsr;
    if nat {
        let reply = Frame::tcp(at(super::site::server(family, server), 21), at(client(family, n), CONTROL), SYN | ACK);
        assert_eq!(site.send(&reply.between(server_mac(server), OWN)).counted, ["to-client"]);
    }
    assert_eq!(site.server_for(&from_client(family, n, CONTROL, 21, ACK)), server);
    server
}

fn drain(site: &mut Site, n: u8) {
    site.drain("ftp", n);
}

#[test]
fn passive_data_goes_to_the_session_s_server_also_while_that_drains() {
    for mode in [Mode::Dsr, Mode::Nat] {
        let mut site = Site::new([ftp(mode)]);
        for family in BOTH {
            for n in 0..6 {
                let server = login(&mut site, family, n);
                for port in [50_000, 50_042, 50_099] {
                    assert_eq!(site.server_for(&from_client(family, n, 4001, port, SYN)), server, "{mode:?} {port}");
                }
            }
            let server = login(&mut site, family, 7);
            drain(&mut site, server);
            assert_eq!(site.server_for(&from_client(family, 7, 4002, 50_001, SYN)), server, "the session lives on");
            let again = site.server_for(&from_client(family, 7, 4003, 21, SYN));
            assert_ne!(again, server, "a new session begins elsewhere");
            for n in 1..=3 {
                site.service("ftp", family).schedule.insert(server_name(n), Weight(1000));
            }
            site.apply();
        }
        let outside = from_client(V4, 1, 4000, 50_100, SYN);
        assert_eq!(site.send(&outside).counted, ["rst-no-service"]);
    }
}

/// The server's SYN goes past us: the first that we see is the client's answer.
#[test]
fn in_dsr_a_client_s_answer_to_an_active_server_reaches_it_and_is_tracked() {
    for scheduler in [Scheduler::RoundRobin, Scheduler::Maglev] {
        let mut site = Site::new([ftp(Mode::Dsr).scheduler(scheduler)]);
        for family in BOTH {
            for n in 0..6 {
                let server = login(&mut site, family, n);
                let active = site.live("ftp", family, server).0;
                for flags in [SYN | ACK, SYN | ACK, ACK, ACK] {
                    let frame = from_client(family, n, 4001, 20, flags);
                    let expected = frame.clone().between(OWN, server_mac(server));
                    site.sends("a packet of the data connection", &frame, "to-server", &expected);
                }
                assert_eq!(site.live("ftp", family, server).0, active + 1, "it counts");
                drain(&mut site, server);
                site.send(&from_client(family, n, 4001, 20, FIN | ACK));
                assert_eq!(site.live("ftp", family, server).0, active);
                let next = from_client(family, n, 4002, 20, SYN | ACK);
                assert_eq!(site.server_for(&next), server, "while it drains, too");
                for family in BOTH {
                    site.service("ftp", family).schedule.insert(server_name(server), Weight(1000));
                }
                site.apply();
            }
        }
        site.assert_counts_are_true();
    }
}

#[test]
fn source_hash_without_persistence_binds_active_data_as_well() {
    let mut site = Site::new([Pool { persistence: None, ..ftp(Mode::Dsr).scheduler(Scheduler::SourceHash) }]);
    for family in BOTH {
        for n in 0..20 {
            let server = login(&mut site, family, n);
            assert_eq!(site.server_for(&from_client(family, n, 4001, 50_007, SYN)), server);
            assert_eq!(site.server_for(&from_client(family, n, 4002, 20, SYN | ACK)), server);
        }
    }
}

#[test]
fn a_client_s_syn_ack_to_another_port_is_no_beginning() {
    let mut site = Site::new([ftp(Mode::Dsr), Pool::tcp("smtp", 25, Mode::Dsr).scheduler(Scheduler::Maglev)]);
    let frame = Frame::tcp(at(client(V4, 1), 4000), at(vip(V4, 1), 25), SYN | ACK);
    assert_eq!(site.send(&frame).counted, ["hashed"]);
    assert_eq!(site.live("smtp", V4, 1), (0, 0));
    let frame = from_client(V4, 9, 4000, 20, SYN | ACK);
    assert_eq!(site.send(&frame).counted, ["rst-no-flow"], "nor that of a client without a session");
}

/// One exchange of an active data connection in NAT, from the server's SYN on.
fn active_data(site: &mut Site, family: Family, n: u16, server: u8, port: u16) {
    let theirs = at(super::site::server(family, server), 20);
    let (ours, client) = (at(vip(family, 1), 20), at(client(family, n), port));
    let back = |flags| Frame::tcp(theirs, client, flags).between(server_mac(server), OWN);
    for what in ["SYN", "SYN again"] {
        let outcome = site.send(&back(SYN));
        assert_eq!((outcome.verdict, outcome.counted), (PASS, vec!["opened"]), "{what}: the kernel routes it");
        assert_eq!(outcome.frame, back(SYN).now_from(ours).hop().bytes(), "{what}");
        assert_eq!(check(&outcome.frame), Ok(()));
    }
    let there = |flags| Frame::tcp(client, ours, flags);
    let from_client = |site: &mut Site, flags| {
        let expected = there(flags).now_to(theirs).hop().between(OWN, server_mac(server));
        site.sends("from the client", &there(flags), "to-server", &expected);
    };
    let from_server = |site: &mut Site, flags| {
        let expected = back(flags).now_from(ours).hop().between(OWN, ROUTER);
        site.sends("from the server", &back(flags), "to-client", &expected);
    };
    let before = site.live("ftp", family, server).0;
    from_client(site, SYN | ACK);
    from_server(site, ACK);
    assert_eq!(site.live("ftp", family, server), (before, 1));
    from_server(site, ACK);
    from_client(site, ACK);
    assert_eq!(site.live("ftp", family, server), (before + 1, 0), "established, and counted");
    from_server(site, FIN | ACK);
    from_client(site, FIN | ACK);
    from_server(site, ACK);
    assert_eq!(site.live("ftp", family, server), (before, 0));
}

#[test]
fn in_nat_a_server_opens_a_connection_in_the_name_of_the_virtual_address() {
    let mut site = Site::new([ftp(Mode::Nat)]);
    for family in BOTH {
        let server = login(&mut site, family, 1);
        active_data(&mut site, family, 1, server, 4001);
        active_data(&mut site, family, 1, server, 4002);
        // The same port again, though the entry of the first lingers.
        active_data(&mut site, family, 1, server, 4001);
        drain(&mut site, server);
        active_data(&mut site, family, 1, server, 4003);
    }
    site.assert_counts_are_true();
}

#[test]
fn of_several_virtual_addresses_it_is_the_one_that_the_client_uses() {
    let mut site = Site::new([ftp(Mode::Nat).servers([1])]);
    site.change(|state| {
        for (key, service) in &mut state.services {
            service.addresses.insert(vip(key.family, 9));
            service.addresses.insert(vip(key.family, 5));
        }
        BOTH.into_iter().for_each(|family| state.vips.extend([vip(family, 9), vip(family, 5)]));
    });
    let opened_from = |site: &mut Site, n: u16| {
        let back = Frame::tcp(at(server(V4, 1), 20), at(client(V4, n), 4001), SYN).between(server_mac(1), OWN);
        let outcome = site.send(&back);
        assert_eq!(outcome.counted, ["opened"]);
        outcome.frame[26..30].to_vec()
    };
    for (n, address) in [(1, 9), (2, 5), (3, 1)] {
        site.send(&Frame::tcp(at(client(V4, n), CONTROL), at(vip(V4, address), 21), SYN));
        assert_eq!(opened_from(&mut site, n), [192, 0, 2, address]);
    }
    assert_eq!(opened_from(&mut site, 4), [192, 0, 2, 1], "a client that is bound nowhere: the first");
}

#[test]
fn only_servers_of_the_service_that_are_up_may_open_and_only_from_its_port() {
    let opens =
        |n: u8, port| Frame::tcp(at(server(V4, n), port), at(client(V4, 1), 4001), SYN).between(server_mac(n), OWN);
    let mut site = Site::new([ftp(Mode::Nat), Pool::tcp("smtp", 25, Mode::Nat).servers([5])]);
    site.passes("another port", &opens(1, 2020), "other");
    site.passes("a server of another service", &opens(5, 20), "other");
    site.passes("a stranger", &Frame { src: client(V4, 3), ..opens(1, 20) }, "other");
    for flags in [SYN | ACK, ACK, RST, FIN] {
        let frame = Frame::tcp(at(server(V4, 1), 20), at(client(V4, 1), 4001), flags).between(server_mac(1), OWN);
        site.passes("no beginning", &frame, "other");
    }
    site.fail("ftp", 1);
    site.passes("a server that is down", &opens(1, 20), "other");
    assert_eq!(site.send(&opens(2, 20)).counted, ["opened"]);
    // The service gives it up.
    BOTH.into_iter().for_each(|family| site.service("ftp", family).active = None);
    site.apply();
    site.passes("no active data any more", &opens(3, 20), "other");
    for mode in [Mode::Dsr, Mode::FullNat] {
        let mut site = Site::new([ftp(mode)]);
        site.passes("the server's own business", &opens(1, 20), "other");
    }
}

#[test]
fn a_server_that_opens_without_end_costs_handshakes_and_nothing_else() {
    let mut site = Site::new([ftp(Mode::Nat).servers([1])]);
    login(&mut site, V4, 1);
    let frames = (0..20_000u32).map(|i| {
        let to = at(client(V4, (i % 500) as u16), 1024 + (i / 500) as u16 * 7);
        Frame::tcp(at(server(V4, 1), 20), to, SYN).between(server_mac(1), OWN)
    });
    let moved = site.flood(frames);
    assert_eq!(moved["opened"], 20_000);
    assert!(moved["embryo-evicted"] > 1000, "{moved:?}");
    assert_eq!(site.live("ftp", V4, 1).0, 1);
    assert!(site.live("ftp", V4, 1).1 <= u64::from(site.dp.embryonic_capacity()) * 2);
    let frame = from_client(V4, 1, CONTROL, 21, ACK);
    assert_eq!(site.send(&frame).counted, ["to-server"], "the session lives on");
    site.assert_counts_are_true();
}
