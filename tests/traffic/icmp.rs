//! ICMP errors reach the one whom they are about: path MTU discovery works, and a refusal is heard.

use std::net::IpAddr;

use lbd::lab::customer::Visit;
use lbd::lab::mail::{self, CLIENT, ROUTER, SOURCE_NAT};
use lbd::lab::servers::{Kind, http};

use super::stage::{CLOSED, Mode, Stage, ways};
use super::transfers::{datagrams, transfer};

const PCS: [&str; 3] = ["pc1", "pc2", "pc3"];

/// The path MTU that a PC has learnt towards an address; none if nobody told it of any.
fn learnt_mtu(stage: &Stage, pc: &str, from: Option<IpAddr>, to: IpAddr) -> Option<u32> {
    let to = to.to_string();
    let from = from.map(|from| from.to_string());
    let mut command = vec!["ip", "route", "get", &to];
    command.extend(from.iter().flat_map(|from| ["from", from.as_str()]));
    let text = stage.said(pc, &command);
    let (_, rest) = text.split_once(" mtu ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[test]
fn the_right_server_learns_the_path_mtu_and_the_transfer_goes_on() {
    const SIZE: u64 = 300_000;
    let stage = Stage::of(3, "round-robin");
    for pc in PCS {
        // Nothing but the ICMP error can tell the server.
        assert_eq!(stage.said(pc, &["cat", "/proc/sys/net/ipv4/tcp_mtu_probing"]).trim(), "0");
    }
    let expected = http::bytes_digest(SIZE);
    let mut numbers = 0..;
    for (mode, v6) in ways() {
        let mtu = if mode == Mode::Nat { 1_400 } else { 1_280 };
        // In full NAT all customers are one address to the server, which learns once.
        let customers = if mode == Mode::FullNat { 1 } else { 6 };
        for number in numbers.by_ref().take(customers) {
            // A customer behind a narrow link. The router has it as the MTU of a route: were it the
            // interface's, the customer's kernel could not send to it either.
            let customer = mail::customers(v6)[number];
            let (family, length) = if v6 { ("-6 ", 128) } else { ("", 32) };
            let route = format!("{family}route add {customer}/{length} dev cust mtu lock {mtu}\n");
            stage.site.ip(ROUTER, &route).unwrap();
            let target = mode.at(v6, 80);
            let result = stage.host(CLIENT).enter(move || transfer(Some(customer), target, SIZE)).unwrap();
            let (server, down, up) = result.unwrap_or_else(|e| panic!("{mode:?} {customer} from {target}: {e}"));
            assert_eq!((&down, &up), (&expected, &expected), "{mode:?} {customer} from {target}");
            let (from, to) = match mode {
                Mode::Dsr => (Some(mode.vip(v6)), customer),
                Mode::Nat => (None, customer),
                Mode::FullNat => (None, SOURCE_NAT[usize::from(v6)]),
            };
            for pc in PCS {
                let wanted = (pc == server).then_some(mtu);
                let learnt = learnt_mtu(&stage, pc, from, to);
                assert_eq!(learnt, wanted, "{mode:?}: {pc} towards {to}, served by {server}");
            }
        }
    }
    assert!(stage.count("forwarded/icmp-to-server") >= 26, "{:?}", stage.counts());
    stage.end(&[]);
}

#[test]
fn a_port_that_a_server_has_closed_is_refused_to_the_client() {
    let stage = Stage::of(2, "maglev");
    for (mode, v6) in ways() {
        let target = mode.at(v6, CLOSED);
        let answer = stage.host(CLIENT).enter(move || {
            let socket = datagrams(None, target);
            socket.send(b"anybody?").unwrap();
            socket.recv(&mut [0; 64])
        });
        let error = answer.unwrap().expect_err("nobody listens");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{mode:?} {target}: {error}");
    }
    assert_eq!(stage.count("forwarded/icmp-to-client"), 4, "in DSR the server tells the client by itself");
    // And what is open is as before.
    for (mode, v6) in ways() {
        stage.visit(Visit::new(Kind::Echo, mode.at(v6, 7)).by_udp().times(20));
    }
    stage.end(&[]);
}
