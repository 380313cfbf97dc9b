use std::net::Ipv6Addr;

use super::*;
use pnet::packet::Packet;
use pnet::packet::ethernet::{EtherTypes, EthernetPacket};
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;
use pnet::packet::tcp::{TcpFlags, TcpPacket};

const VIPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 25)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x25))];
const OWN: MacAddr = MacAddr(2, 0, 0, 0, 9, 9);
const A: MacAddr = MacAddr(2, 0, 0, 0, 1, 1);
const B: MacAddr = MacAddr(2, 0, 0, 0, 1, 2);

/// A network in which boxes answer as told, and accept what comes to their MAC as told.
struct Net {
    newcomers: Newcomers,
    now: Instant,
    answer: Vec<MacAddr>,
    accept: Vec<MacAddr>,
}

impl Net {
    fn new() -> Self {
        let now = Instant::now();
        Self { newcomers: Newcomers::new(OWN, VIPS.to_vec(), now), now, answer: vec![A], accept: vec![A] }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(1);
            let mut out = Vec::new();
            self.newcomers.tick(self.now, &mut out);
            while let Some(frame) = out.pop() {
                self.carry(&frame, &mut out);
            }
        }
    }

    fn carry(&mut self, frame: &[u8], out: &mut Vec<Vec<u8>>) {
        if let Some(Heard::Asked { by, target }) = frames::read(frame) {
            for mac in self.answer.clone() {
                self.newcomers.hear(&frames::is_at((target, mac), by), self.now, out);
            }
        }
        let to = EthernetPacket::new(frame).unwrap().get_destination();
        if let Some((from, vip)) = syn_of(frame).filter(|_| self.accept.contains(&to)) {
            let both = TcpFlags::SYN | TcpFlags::ACK;
            let reply = frames::segment((to, OWN), vip, from, both, 5);
            self.newcomers.hear(&reply, self.now, out);
        }
    }

    fn end(mut self) -> Seen {
        self.newcomers.closed = true;
        self.run(PATIENCE + Duration::from_secs(1));
        assert!(self.newcomers.done(self.now));
        self.newcomers.seen
    }
}

type End = (IpAddr, u16);

/// From where to where, if it is a SYN.
fn syn_of(frame: &[u8]) -> Option<(End, End)> {
    let ethernet = EthernetPacket::new(frame)?;
    let (from, to, segment) = match ethernet.get_ethertype() {
        EtherTypes::Ipv4 => {
            let packet = Ipv4Packet::new(ethernet.payload())?;
            (packet.get_source().into(), packet.get_destination().into(), packet.payload().to_vec())
        }
        EtherTypes::Ipv6 => {
            let packet = Ipv6Packet::new(ethernet.payload())?;
            (packet.get_source().into(), packet.get_destination().into(), packet.payload().to_vec())
        }
        _ => return None,
    };
    let segment = TcpPacket::new(&segment).filter(|segment| segment.get_flags() == TcpFlags::SYN)?;
    Some(((from, segment.get_source()), (to, segment.get_destination())))
}

#[test]
fn with_one_owner_all_are_served_and_nothing_is_found() {
    let mut net = Net::new();
    net.run(Duration::from_secs(2));
    let seen = net.end();
    for vip in VIPS {
        let of_it = seen.newcomers.iter().filter(|one| one.vip == vip).count();
        assert!(of_it >= 99 && seen.asked.iter().any(|asked| asked.vip == vip), "{vip}: {of_it}");
    }
    assert!(seen.newcomers.len() >= 198, "{}", seen.newcomers.len());
    assert_eq!((seen.black_holes().len(), seen.two_owners().len(), seen.returns()), (0, 0, 0));
    assert!(seen.unanswered() < Duration::from_millis(20));
}

#[test]
fn two_owners_at_once_are_found_and_an_owner_that_comes_back() {
    let mut net = Net::new();
    net.run(Duration::from_millis(100));
    net.answer = vec![A, B];
    net.run(Duration::from_millis(50));
    net.answer = vec![B];
    net.run(Duration::from_millis(50));
    net.answer = vec![A];
    net.run(Duration::from_millis(50));
    let seen = net.end();
    assert!((16..=24).contains(&seen.two_owners().len()), "{}", seen.two_owners().len());
    assert!(seen.returns() >= 2 * VIPS.len(), "{}", seen.returns());
}

#[test]
fn a_dead_box_that_answers_for_its_address_is_a_black_hole() {
    let mut net = Net::new();
    net.run(Duration::from_millis(100));
    net.accept = vec![B];
    net.run(Duration::from_millis(100));
    let seen = net.end();
    assert!((8..=12).contains(&seen.black_holes().len()), "{}", seen.black_holes().len());
}

#[test]
fn who_was_told_of_the_dead_one_is_served_after_an_announcement() {
    let mut net = Net::new();
    net.accept = vec![B];
    net.run(Duration::from_millis(100));
    let mut out = Vec::new();
    for vip in VIPS {
        net.newcomers.hear(&crate::os::arp::announcement(crate::config::Mac(B.octets()), vip), net.now, &mut out);
    }
    net.answer = vec![B];
    let seen = net.end();
    assert_eq!(seen.black_holes().len(), 0, "the repeated SYN went to the new owner");
}

#[test]
fn a_time_without_any_owner_is_measured() {
    let mut net = Net::new();
    net.run(Duration::from_millis(100));
    net.answer = vec![];
    net.run(Duration::from_millis(300));
    net.answer = vec![B];
    net.accept = vec![B];
    net.run(Duration::from_millis(100));
    let seen = net.end();
    let unanswered = seen.unanswered();
    assert!((295..=315).contains(&unanswered.as_millis()), "{unanswered:?}");
    assert_eq!(seen.black_holes().len(), 0, "they ask again");
}
