//! What is not for the balancer crosses it: it is a switch, and the servers' gateway.

use std::net::{IpAddr, SocketAddr};

use lbd::lab::Host;
use lbd::lab::customer::{self, Visit};
use lbd::lab::mail::{self, CLIENT, ROUTER};
use lbd::lab::servers::{Kind, http};

use super::stage::{MEMBERSHIPS, Stage, interfaces, services};
use super::transfers::transfer;

/// Fifty conversations: who was spoken to, and as whom the customer was seen.
fn converse(host: &Host, target: SocketAddr) -> (String, Vec<IpAddr>) {
    let tally = host.block_on(move || customer::visit(Visit::new(Kind::Echo, target).times(50), |_| {})).unwrap();
    assert_eq!((tally.served_count(), tally.served.len()), (50, 1), "{target}: {tally:?}");
    (tally.served.into_keys().next().unwrap(), tally.seen_as.into_iter().collect())
}

#[test]
fn the_switch_switches_and_the_gateway_forwards() {
    const SIZE: u64 = 5_000_000;
    let stage = Stage::bare(&mail::plan(3), &[1, 2]);
    let mut stage = stage.balance(&(interfaces(3, "auto") + &services(&[1, 2], "maglev")), 2 * MEMBERSHIPS);
    stage.serve(CLIENT);
    stage.serve(ROUTER);
    let expected = http::bytes_digest(SIZE);
    let router: [IpAddr; 2] = ["10.1.0.254".parse().unwrap(), "fd00:1::254".parse().unwrap()];
    let client: [IpAddr; 2] = ["203.0.113.10".parse().unwrap(), "2001:db8:c::10".parse().unwrap()];
    for v6 in [false, true] {
        let own = |n: u8| -> IpAddr { if v6 { mail::pc_address6(n).into() } else { mail::pc_address(n).into() } };
        let (router, client) = (router[usize::from(v6)], client[usize::from(v6)]);
        // From, to, and the name of who is spoken to: between servers, the router with one, a customer
        // with one by its own address, and a server that sends mail out.
        let talks = [
            ("pc3", own(3), own(1), "pc1"),
            ("pc1", own(1), own(2), "pc2"),
            (ROUTER, router, own(2), "pc2"),
            ("pc1", own(1), router, ROUTER),
            (CLIENT, client, own(1), "pc1"),
            ("pc1", own(1), client, CLIENT),
        ];
        for (from, from_address, to, name) in talks {
            let host = stage.host(from);
            let seen = converse(host, SocketAddr::new(to, 7));
            assert_eq!(seen, (name.to_owned(), vec![from_address]), "{from} to {to}");
            let target = SocketAddr::new(to, 80);
            let (_, down, up) = host.enter(move || transfer(None, target, SIZE)).unwrap().unwrap();
            assert_eq!((&down, &up), (&expected, &expected), "{from} to {to}");
        }
    }
    assert_eq!(stage.count("forwarded/to-server") + stage.count("forwarded/to-client"), 0, "{:?}", stage.counts());
    stage.end(&[]);
}
