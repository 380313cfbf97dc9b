//! Virtual IPs and the floating inside address are answered for by the data plane, and by nobody else.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use etherparse::PacketBuilder;
use lbd::lab::mail::{self, BALANCER_MAC, CLIENT, ROUTER};
use socket2::{Domain, Protocol, Socket, Type};

use super::stage::{Mode, Stage, ways};
use super::wire::{Mac, Wire, mac};

/// An echo request of 500 bytes and its answer, by the kernel's ping sockets.
fn ping(target: IpAddr) -> std::io::Result<()> {
    let (domain, protocol, request, reply) = if target.is_ipv4() {
        (Domain::IPV4, Protocol::ICMPV4, 8, 0)
    } else {
        (Domain::IPV6, Protocol::ICMPV6, 128, 129)
    };
    let mut socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.connect(&SocketAddr::new(target, 0).into())?;
    let mut message = vec![request, 0, 0, 0, 0, 0, 0, 1];
    message.extend((0..492).map(|n| n as u8));
    socket.send(&message)?;
    let mut answer = [0; 1_024];
    let length = std::io::Read::read(&mut socket, &mut answer)?;
    assert_eq!((length, answer[0]), (message.len(), reply));
    assert_eq!(answer[8..length], message[8..]);
    Ok(())
}

#[test]
fn virtual_ips_and_the_inside_address_answer_ping() {
    let stage = Stage::of(1, "maglev");
    let inside: [IpAddr; 2] = ["10.1.0.1".parse().unwrap(), "fd00:1::1".parse().unwrap()];
    let mut targets: Vec<(&str, IpAddr)> = ways().map(|(mode, v6)| (CLIENT, mode.vip(v6))).collect();
    targets.extend(inside.map(|address| ("pc1", address)));
    for host in [CLIENT, "pc1"] {
        stage.host(host).sysctl("net.ipv4.ping_group_range", "0 2147483647").unwrap();
    }
    let before = stage.count("answered/echo");
    for (host, target) in &targets {
        let target = *target;
        stage.host(host).enter(move || ping(target)).unwrap().unwrap_or_else(|e| panic!("{target}: {e}"));
    }
    assert_eq!(stage.count("answered/echo") - before, targets.len() as u64, "by the data plane");
    let gateway = stage.said("pc1", &["ip", "neigh", "show"]);
    for address in inside {
        let line = gateway.lines().find(|line| line.starts_with(&format!("{address} "))).unwrap();
        assert!(line.contains(BALANCER_MAC), "{line}");
    }
    stage.end(&[]);
}

/// Who-has, as a broadcast (RFC 826).
fn who_has(asker: Mac, asker_address: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = [[0xff; 6], asker].concat();
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(asker);
    frame.extend(asker_address.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// Address and MAC of an ARP reply, which must be from that MAC.
fn arp_reply(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    if frame.len() < 42 || frame[12..14] != [0x08, 0x06] || frame[20..22] != [0, 2] {
        return None;
    }
    assert_eq!(frame[6..12], frame[22..28], "the sender is who it says");
    let address: [u8; 4] = frame[28..32].try_into().unwrap();
    Some((address.into(), frame[22..28].try_into().unwrap()))
}

/// A neighbour solicitation to the target's group (RFC 4861, 4.3).
fn solicitation(asker: Mac, asker_address: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from(b) << 8 | u16::from(c));
    let mut payload = target.octets().to_vec();
    payload.extend([1, 1]);
    payload.extend(asker);
    let builder =
        PacketBuilder::ethernet2(asker, [0x33, 0x33, 0xff, a, b, c]).ipv6(asker_address.octets(), group.octets(), 255);
    let mut frame = Vec::new();
    builder.icmpv6_raw(135, 0, [0; 4]).write(&mut frame, &payload).unwrap();
    frame
}

/// Address and MAC of a solicited advertisement.
fn advertisement(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    if frame.len() < 86 || frame[12..14] != [0x86, 0xdd] || frame[20] != 58 || frame[54] != 136 {
        return None;
    }
    let address: [u8; 16] = frame[62..78].try_into().unwrap();
    Some((address.into(), frame[80..86].try_into().unwrap()))
}

#[test]
fn the_balancer_alone_answers_arp_and_neighbour_discovery() {
    let stage = Stage::of(3, "maglev");
    let wire = Wire::open(stage.host(ROUTER), "lan");
    let asker = stage.mac(ROUTER, "lan");
    let balancer = mac(BALANCER_MAC);
    let mut ours: Vec<IpAddr> = ways().map(|(mode, v6)| mode.vip(v6)).collect();
    ours.extend(["10.1.0.1", "fd00:1::1"].map(|text| text.parse::<IpAddr>().unwrap()));
    ours.extend(mail::SOURCE_NAT);
    // Each PC answers for itself after it would have answered for what was asked before.
    let pcs: Vec<IpAddr> = (1..=3).flat_map(|n| [mail::pc_address(n).into(), mail::pc_address6(n).into()]).collect();
    for target in ours.iter().chain(&pcs) {
        wire.send(&match target {
            IpAddr::V4(target) => who_has(asker, Ipv4Addr::new(10, 1, 0, 254), *target),
            IpAddr::V6(target) => solicitation(asker, "fd00:1::254".parse().unwrap(), *target),
        });
    }
    let mut answers: BTreeMap<IpAddr, Vec<Mac>> = BTreeMap::new();
    while !pcs.iter().all(|pc| answers.contains_key(pc)) {
        let (address, mac) = wire.expect("every PC answers for itself", |f| arp_reply(f).or_else(|| advertisement(f)));
        answers.entry(address).or_default().push(mac);
    }
    for address in ours {
        assert_eq!(answers.get(&address), Some(&vec![balancer]), "{address}: {answers:?}");
    }
    assert!(pcs.iter().all(|pc| !answers[pc].contains(&balancer)), "{answers:?}");
    // A server must not even know how to answer for the virtual IP that is on its loopback.
    for pc in ["pc1", "pc2", "pc3"] {
        let key = "/proc/sys/net/ipv4/conf/all/arp_ignore";
        assert_eq!(stage.said(pc, &["cat", key]).trim(), "1");
        assert!(stage.said(pc, &["ip", "addr", "show", "lo"]).contains(&Mode::Dsr.vip(false).to_string()));
    }
    stage.end(&[]);
}
