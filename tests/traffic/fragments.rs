//! Datagrams larger than the MTU, as DNS and RADIUS send them: only the first fragment names the ports.

use std::net::SocketAddr;

use lbd::lab::mail::{self, CLIENT};
use lbd::lab::servers::http;
use lbd::lab::servers::md5::Md5;

use super::stage::{Stage, ways};
use super::transfers::datagrams;

#[test]
fn datagrams_of_four_to_eight_kilobytes_cross_both_ways_in_fragments() {
    const CUSTOMERS: usize = 20;
    let stage = Stage::of(3, "maglev");
    for (mode, v6) in ways() {
        let target = mode.at(v6, 7);
        let customers = mail::customers(v6);
        let servers = stage.host(CLIENT).enter(move || {
            customers.into_iter().take(CUSTOMERS).map(|from| large_datagrams(from, target)).collect::<Vec<_>>()
        });
        let servers = servers.unwrap();
        let differ = servers.iter().any(|server| *server != servers[0]);
        assert!(differ, "{mode:?} {target}: 20 customers, and all at {}", servers[0]);
    }
    stage.end(&[]);
}

/// Five of different sizes from one socket, each answered in full by one server; its name.
fn large_datagrams(from: std::net::IpAddr, target: SocketAddr) -> String {
    let socket = datagrams(Some(from), target);
    let mut servers = Vec::new();
    let (mut sent, mut received) = (Md5::new(), Md5::new());
    let mut buffer = vec![0; 16_384];
    for size in [4_000, 5_001, 6_002, 7_003, 8_000] {
        let datagram: Vec<u8> = (0..size).map(|n| http::byte_at(n as u64 + size as u64)).collect();
        sent.update(&datagram);
        assert_eq!(socket.send(&datagram).unwrap(), size);
        let length = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{size} bytes from {from} to {target}: {e}"));
        received.update(&buffer[length - size..length]);
        servers.push(String::from_utf8_lossy(&buffer[..length - size]).trim().to_owned());
    }
    assert_eq!(sent.hex(), received.hex(), "from {from} to {target}");
    servers.dedup();
    assert_eq!(servers.len(), 1, "one flow, one server: {servers:?}");
    servers.remove(0)
}
