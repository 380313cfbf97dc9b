//! 802.1Q tags, frame by frame: client and server may each have one or none.

use std::net::IpAddr;

use etherparse::{IpHeaders, PacketBuilder};
use lbd::lab::Plan;
use lbd::lab::mail::BALANCER;

use super::stage::Stage;
use super::wire::{Mac, Wire, mac, tagged};

const OURS: Mac = [2, 0, 0, 0, 1, 1];
const CLIENT_MAC: Mac = [2, 0, 0, 0, 2, 1];
const SERVER_MAC: Mac = [2, 0, 0, 0, 3, 1];
/// VLAN 100 at priority 5, which is kept.
const CLIENT_TCI: u16 = 5 << 13 | 100;
const CLIENT_PRIORITY: u16 = 5 << 13;
const SERVER_VLAN: u16 = 200;

const CONFIG: &str = "
interfaces: {ports: [p1, p2], mac: \"02:00:00:00:01:01\", inside: [10.9.0.1/24, \"fd00:9::1/64\"]}
servers:
  plain: {address: 10.9.0.20, address6: \"fd00:9::20\", link: {mac: \"02:00:00:00:03:01\", port: p2}}
  tagged: {address: 10.9.0.21, address6: \"fd00:9::21\", link: {mac: \"02:00:00:00:03:01\", port: p2, vlan: 200}}
pools:
  plain: {members: [plain], slow-start: 0s, check: {type: none}}
  tagged: {members: [tagged], slow-start: 0s, check: {type: none}}
virtual-servers:
  plain:
    addresses: [192.0.2.20, \"2001:db8::20\"]
    services:
      udp-nat: {protocol: udp, port: 53, pool: plain, mode: nat}
      tcp-nat: {protocol: tcp, port: 53, pool: plain, mode: nat}
      udp-dsr: {protocol: udp, port: 54, pool: plain, mode: dsr}
      tcp-dsr: {protocol: tcp, port: 54, pool: plain, mode: dsr}
  tagged:
    addresses: [192.0.2.21, \"2001:db8::21\"]
    services:
      udp-nat: {protocol: udp, port: 53, pool: tagged, mode: nat}
      tcp-nat: {protocol: tcp, port: 53, pool: tagged, mode: nat}
      udp-dsr: {protocol: udp, port: 54, pool: tagged, mode: dsr}
      tcp-dsr: {protocol: tcp, port: 54, pool: tagged, mode: dsr}
";

/// A packet as this test speaks of it; `frame` writes it out, checksums included.
#[derive(Clone, Copy, Debug)]
struct Packet {
    macs: (Mac, Mac),
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    ttl: u8,
    tcp: bool,
    answer: bool,
}

impl Packet {
    fn frame(&self) -> Vec<u8> {
        let ip = match (self.from.0, self.to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let header =
                    etherparse::Ipv4Header::new(0, self.ttl, etherparse::IpNumber::UDP, from.octets(), to.octets());
                IpHeaders::Ipv4(header.unwrap(), Default::default())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let header = etherparse::Ipv6Header {
                    hop_limit: self.ttl,
                    source: from.octets(),
                    destination: to.octets(),
                    ..Default::default()
                };
                IpHeaders::Ipv6(header, Default::default())
            }
            other => panic!("{other:?}"),
        };
        let builder = PacketBuilder::ethernet2(self.macs.0, self.macs.1).ip(ip);
        let mut frame = Vec::new();
        if self.tcp {
            let tcp = builder.tcp(self.from.1, self.to.1, 1_000, 64_000).syn();
            let tcp = if self.answer { tcp.ack(1_001) } else { tcp };
            tcp.write(&mut frame, &[]).unwrap();
        } else {
            builder.udp(self.from.1, self.to.1).write(&mut frame, b"a question of some length, or its answer").unwrap();
        }
        frame
    }
}

/// Waits for exactly this frame, and shows what came instead.
fn expect(wire: &Wire, what: &str, wanted: &[u8]) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    let mut others = Vec::new();
    while let Some(frame) = wire.receive(deadline) {
        if frame == wanted {
            return;
        }
        others.push(frame);
    }
    panic!("{what}: not\n{wanted:02x?}\nbut\n{others:02x?}");
}

#[test]
fn tags_are_put_on_and_taken_off_as_client_and_server_have_them() {
    let mut plan = Plan::new();
    plan.cable("left:eth0", "lb1:p1").cable("right:eth0", "lb1:p2");
    for host in ["left", "right", BALANCER] {
        // Nobody but the test speaks.
        plan.sysctl(host, "net.ipv6.conf.default.disable_ipv6", "1");
    }
    let stage = Stage::bare(&plan, &[]).balance(CONFIG, 16);
    let left = Wire::open(stage.host("left"), "eth0");
    let right = Wire::open(stage.host("right"), "eth0");
    let mut client_port = 20_000;
    let mut replies = 0;
    for (nat, tcp, v6, client_tci, server_vlan) in variants() {
        client_port += 1;
        let what = format!("nat {nat}, tcp {tcp}, v6 {v6}, client's tag {client_tci:?}, server's {server_vlan:?}");
        let last = if server_vlan.is_some() { 1 } else { 0 };
        let address = |four: String, six: String| -> IpAddr { if v6 { six } else { four }.parse().unwrap() };
        let client = (address("203.0.113.7".into(), "2001:db8:c::7".into()), client_port);
        let vip = (address(format!("192.0.2.2{last}"), format!("2001:db8::2{last}")), if nat { 53 } else { 54 });
        let server = (address(format!("10.9.0.2{last}"), format!("fd00:9::2{last}")), vip.1);

        let question = Packet { macs: (CLIENT_MAC, OURS), from: client, to: vip, ttl: 60, tcp, answer: false };
        left.send(&tagged(&question.frame(), client_tci));
        let (to, ttl) = if nat { (server, 59) } else { (vip, 60) };
        let asked = Packet { macs: (OURS, SERVER_MAC), to, ttl, ..question };
        let priority = client_tci.map_or(0, |_| CLIENT_PRIORITY);
        expect(&right, &what, &tagged(&asked.frame(), server_vlan.map(|vlan| priority | vlan)));
        if nat {
            replies += 1;
            let answer = Packet { macs: (SERVER_MAC, OURS), from: server, to: client, ttl: 60, tcp, answer: true };
            right.send(&tagged(&answer.frame(), server_vlan));
            let answered = Packet { macs: (OURS, CLIENT_MAC), from: vip, ttl: 59, ..answer };
            // The server's own priority was 0.
            expect(&left, &what, &tagged(&answered.frame(), client_tci.map(|tci| tci & 0x0fff)));
        }
    }
    assert_eq!(stage.count("forwarded/to-server"), 32);
    assert_eq!((stage.count("forwarded/to-client"), replies), (16, 16));
    stage.end(&[]);
}

type Variant = (bool, bool, bool, Option<u16>, Option<u16>);

fn variants() -> impl Iterator<Item = Variant> {
    (0..32).map(|n| {
        let bit = |b: u32| n >> b & 1 == 1;
        (bit(0), bit(1), bit(2), bit(3).then_some(CLIENT_TCI), bit(4).then_some(SERVER_VLAN))
    })
}

#[test]
fn a_tagged_question_for_the_virtual_ip_is_answered_with_its_tag() {
    let mut plan = Plan::new();
    plan.cable("left:eth0", "lb1:p1").cable("right:eth0", "lb1:p2");
    let stage = Stage::bare(&plan, &[]).balance(CONFIG, 16);
    let left = Wire::open(stage.host("left"), "eth0");
    for tci in [None, Some(100)] {
        let mut question = [[0xff; 6], CLIENT_MAC].concat();
        question.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
        question.extend([CLIENT_MAC.as_slice(), &[192, 0, 2, 1], &[0; 6], &[192, 0, 2, 20]].concat());
        left.send(&tagged(&question, tci));
        let mut answer = [CLIENT_MAC, mac("02:00:00:00:01:01")].concat();
        answer.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2]);
        answer.extend([OURS.as_slice(), &[192, 0, 2, 20], &CLIENT_MAC, &[192, 0, 2, 1]].concat());
        expect(&left, "an ARP reply", &tagged(&answer, tci));
    }
    stage.end(&[]);
}
