use std::net::Ipv4Addr;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::*;
use crate::pair::time::Span;

/// Two addresses of the loopback device with ports of their own, held by nobody.
fn addresses(host: &str) -> (SocketAddr, SocketAddr) {
    let [one, other] = [0, 0].map(|_| UdpSocket::bind(format!("{host}:0")).unwrap());
    (one.local_addr().unwrap(), other.local_addr().unwrap())
}

fn path(local: SocketAddr, peer: SocketAddr) -> UdpPath {
    UdpPath::new(UdpConfig { local, peer, device: None, queue_bytes: None }).unwrap()
}

fn opened(local: SocketAddr, peer: SocketAddr) -> UdpPath {
    let mut path = path(local, peer);
    path.tick(Instant(0));
    assert!(path.fd().is_some(), "{:?}", path.trouble());
    path
}

fn drained(path: &mut UdpPath) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    path.drain(&mut || Instant(7), &mut |arrival, at| {
        assert_eq!(at, Instant(7));
        let Arrival::Datagram(datagram) = arrival else { panic!("{arrival:?}") };
        found.push(datagram.to_vec());
    });
    found
}

fn wait(path: &UdpPath) {
    let fd = path.fd().unwrap();
    let timeout = PollTimeout::try_from(Duration::from_secs(10)).unwrap();
    assert_eq!(poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout), Ok(1));
}

#[test]
fn datagrams_go_both_ways_over_either_family() {
    for host in ["127.0.0.1", "[::1]"] {
        let (one, other) = addresses(host);
        let (mut one, mut other) = (opened(one, other), opened(other, one));
        assert_eq!(one.send(b"ping", Instant(0)), Sent::Now);
        wait(&other);
        assert_eq!(drained(&mut other), [b"ping"]);
        assert_eq!(other.send(b"pong", Instant(0)), Sent::Now);
        wait(&one);
        assert_eq!(drained(&mut one), [b"pong"]);
        assert!(drained(&mut one).is_empty());
    }
}

#[test]
fn a_drain_reads_all_that_waits() {
    let (one, other) = addresses("127.0.0.1");
    let (mut one, mut other) = (opened(one, other), opened(other, one));
    for number in 0..100_u8 {
        assert_eq!(one.send(&[number], Instant(0)), Sent::Now);
    }
    wait(&other);
    assert_eq!(drained(&mut other), (0..100_u8).map(|number| vec![number]).collect::<Vec<_>>());
}

#[test]
fn a_peer_that_does_not_listen_is_no_error() {
    let (one, other) = addresses("127.0.0.1");
    let mut path = opened(one, other);
    for _ in 0..2 * FAILURES_MAX {
        assert_eq!(path.send(b"anybody?", Instant(0)), Sent::Now);
        assert!(drained(&mut path).is_empty());
    }
    assert_eq!(path.trouble(), None);
}

#[test]
fn datagrams_are_marked_as_network_control() {
    let (one, other) = addresses("127.0.0.1");
    let mut path = opened(one, other);
    assert_eq!(socket2::SockRef::from(path.socket.as_ref().unwrap()).tos_v4().unwrap(), 0xc0);
    let (one, other) = addresses("[::1]");
    let six = opened(one, other);
    assert_eq!(socket2::SockRef::from(six.socket.as_ref().unwrap()).tclass_v6().unwrap(), 0xc0);
    // As they arrive, too.
    path.config.peer = other;
    assert_eq!(path.send(b"x", Instant(0)), Sent::Not, "families do not mix");
}

#[test]
fn a_path_of_bursts_gives_way_to_heartbeats_and_holds_a_window() {
    const QUEUE: usize = 2 << 20;
    for host in ["127.0.0.1", "[::1]"] {
        let (local, peer) = addresses(host);
        let mut path = UdpPath::new(UdpConfig { local, peer, device: None, queue_bytes: Some(QUEUE) }).unwrap();
        path.tick(Instant(0));
        let socket = socket2::SockRef::from(path.socket.as_ref().unwrap());
        let octet = if local.is_ipv4() { socket.tos_v4() } else { socket.tclass_v6() };
        assert_eq!(octet.unwrap(), 0x48);
        assert_eq!(socket.priority().unwrap(), 0);
        // The kernel doubles what it is asked for (socket(7)).
        assert_eq!(socket.recv_buffer_size().unwrap(), 2 * QUEUE);
    }
}

#[test]
fn what_is_beyond_the_limit_of_a_drain_waits_for_the_next() {
    let (one, other) = addresses("127.0.0.1");
    let (mut here, mut there) = (opened(one, other), opened(other, one));
    for n in 0..5 {
        assert_eq!(there.send(&[n], Instant(0)), Sent::Now);
    }
    let mut count = |max| {
        let mut count = 0;
        let more = here.drain_some(max, &mut || Instant(7), &mut |_, _| count += 1);
        (more, count)
    };
    assert_eq!(count(3), (true, 3));
    assert_eq!(count(3), (false, 2));
}

#[test]
fn the_address_need_not_be_there_yet() {
    let local = "192.0.2.77:0".parse().unwrap();
    let mut path = opened(local, "192.0.2.78:9".parse().unwrap());
    assert!(drained(&mut path).is_empty());
}

#[test]
fn a_device_that_is_not_there_is_tried_again_after_a_pause() {
    let local = (Ipv4Addr::LOCALHOST, 0).into();
    let config = UdpConfig { local, peer: local, device: Some("lbd-nodev0".into()), queue_bytes: None };
    let mut path = UdpPath::new(config).unwrap();
    assert_eq!(path.next_deadline(), Some(Instant(0)));
    let now = Instant(5_000_000_000);
    path.tick(now);
    assert!(path.fd().is_none() && path.trouble().is_some());
    assert_eq!(path.send(b"x", now), Sent::Not);
    assert_eq!(path.next_deadline(), Some(now + REOPEN_PAUSE));
    path.config.device = Some("lo".into());
    path.tick(now + REOPEN_PAUSE.saturating_sub(Span(1)));
    assert!(path.fd().is_none());
    path.tick(now + REOPEN_PAUSE);
    assert!(path.fd().is_some() && path.trouble().is_none() && path.next_deadline().is_none());
}

#[test]
fn a_socket_that_fails_again_and_again_is_made_anew() {
    let (local, _) = addresses("127.0.0.1");
    // The kernel refuses port 0.
    let mut path = opened(local, (Ipv4Addr::LOCALHOST, 0).into());
    let now = Instant(1);
    for _ in 0..FAILURES_MAX {
        assert!(path.fd().is_some());
        assert_eq!(path.send(b"x", now), Sent::Not);
        assert!(path.trouble().is_some());
    }
    assert!(path.fd().is_none());
    path.tick(now + REOPEN_PAUSE);
    assert!(path.fd().is_some());
}

#[test]
fn what_is_longer_than_a_message_arrives_longer_than_one() {
    let (one, other) = addresses("127.0.0.1");
    let (mut one, mut other) = (opened(one, other), opened(other, one));
    one.send(&[1; 3_000], Instant(0));
    wait(&other);
    assert_eq!(drained(&mut other), [vec![1; SEALED_BYTES_MAX + 1]]);
}

#[test]
fn families_that_differ_are_refused() {
    let (four, six) = ("192.0.2.1:1".parse().unwrap(), "[2001:db8::1]:1".parse().unwrap());
    let refused = UdpPath::new(UdpConfig { local: four, peer: six, device: None, queue_bytes: None }).unwrap_err();
    assert_eq!(refused.to_string(), "192.0.2.1:1 and [2001:db8::1]:1 are not both IPv4 or both IPv6");
}
