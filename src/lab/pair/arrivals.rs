//! Whose frames arrive at the servers: the first segments of customers' connections, with the MAC of the box that sent
//! them there.
//!
//! An owner schedules new connections, and nobody else does. So on the wire of one server, where order is order, the
//! boxes follow each other once at a takeover: a box whose segments come again after the other's has owned beside it.

use std::io;
use std::mem::MaybeUninit;
use std::net::Ipv6Addr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use pnet::packet::Packet;
use pnet::packet::ethernet::{EtherType, EtherTypes, EthernetPacket};
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;
use socket2::SockFilter;

use super::newcomers::{box_of, is_of_one};
use crate::lab::error::LabError;
use crate::lab::site::Site;

const FRAME: usize = 128;

/// The first segments that came to one server from customers.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    pub server: String,
    /// When, and from which box.
    pub seen: Vec<(Instant, usize)>,
}

impl Arrivals {
    /// Segments that came from a box after the other one had followed it.
    pub fn returns(&self) -> usize {
        let first = self.seen.first().map(|(_, from)| *from);
        let rest = self.seen.iter().skip_while(|(_, from)| Some(*from) == first);
        rest.filter(|(_, from)| Some(*from) == first).count()
    }
}

/// A listener at each of some servers.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<Result<io::Result<Arrivals>, LabError>>>,
}

impl Watch {
    pub fn start(site: &Site, servers: &[&str]) -> Result<Self, LabError> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for server in servers {
            let (ended, name) = (stop.clone(), (*server).to_owned());
            threads.push(site.host(server)?.spawn(move || watch(name, &ended)));
        }
        Ok(Self { stop, threads })
    }

    pub fn end(self) -> anyhow::Result<Vec<Arrivals>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in self.threads {
            all.push(thread.join().map_err(|_| LabError::NoAnswer("a server's wire".into()))???);
        }
        Ok(all)
    }
}

fn watch(server: String, stop: &AtomicBool) -> io::Result<Arrivals> {
    let port = nix::net::if_::if_nametoindex("eth0")?;
    let socket = crate::os::arp::hear(port, EtherType(libc::ETH_P_ALL as u16), &first_segments())?;
    let mut arrivals = Arrivals { server, seen: Vec::new() };
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let _ = ppoll(&mut fds, Some(Duration::from_millis(20).into()), None);
        let mut buffer = [MaybeUninit::uninit(); FRAME];
        while let Ok(length) = socket.recv(&mut buffer) {
            let read = buffer.get(..length.min(FRAME)).unwrap_or_default();
            // SAFETY: the kernel has written that many bytes, no more than there is room for.
            let frame: Vec<u8> = read.iter().map(|byte| unsafe { byte.assume_init() }).collect();
            arrivals.seen.extend(of_a_customer(&frame).map(|from| (Instant::now(), from)));
        }
    }
    Ok(arrivals)
}

/// The box that sent a customer's segment; none for what a box itself has to say, such as a probe.
fn of_a_customer(frame: &[u8]) -> Option<usize> {
    let ethernet = EthernetPacket::new(frame)?;
    let customers = match ethernet.get_ethertype() {
        EtherTypes::Ipv4 => {
            let source = Ipv4Packet::new(ethernet.payload())?.get_source();
            is_of_one(source.into()) || source.octets()[..3] == [203, 0, 113]
        }
        EtherTypes::Ipv6 => {
            let source: Ipv6Addr = Ipv6Packet::new(ethernet.payload())?.get_source();
            is_of_one(source.into()) || source.segments()[..3] == [0x2001, 0xdb8, 0xc]
        }
        _ => false,
    };
    customers.then(|| box_of(ethernet.get_source())).flatten()
}

/// Lets TCP segments with SYN and without ACK through, of IPv4 and IPv6 without options (classic BPF, socket(7)).
fn first_segments() -> Vec<SockFilter> {
    let load = |size: u32, at: u32| SockFilter::new((libc::BPF_LD | size | libc::BPF_ABS) as u16, 0, 0, at);
    let equal =
        |to: u32, yes: u8, no: u8| SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, yes, no, to);
    let only = |bits: u32| SockFilter::new((libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16, 0, 0, bits);
    let end = |length: usize| SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, length as u32);
    let (tcp, syn_and_ack, syn) = (6, 0x12, 0x02);
    vec![
        load(libc::BPF_H, 12),
        equal(u32::from(EtherTypes::Ipv4.0), 0, 3),
        load(libc::BPF_B, 14 + 9),
        equal(tcp, 0, 9),
        SockFilter::new((libc::BPF_JMP | libc::BPF_JA) as u16, 0, 0, 5),
        equal(u32::from(EtherTypes::Ipv6.0), 0, 7),
        load(libc::BPF_B, 14 + 6),
        equal(tcp, 0, 5),
        load(libc::BPF_B, 14 + 40 + 13),
        SockFilter::new((libc::BPF_JMP | libc::BPF_JA) as u16, 0, 0, 1),
        load(libc::BPF_B, 14 + 20 + 13),
        only(syn_and_ack),
        equal(syn, 1, 0),
        end(0),
        end(FRAME),
    ]
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn a_box_that_comes_again_after_the_other_one_is_found() {
        let now = Instant::now();
        let arrivals =
            |boxes: &[usize]| Arrivals { server: "pc1".into(), seen: boxes.iter().map(|from| (now, *from)).collect() };
        assert_eq!(arrivals(&[0, 0, 1, 1]).returns(), 0);
        assert_eq!(arrivals(&[0, 1, 0, 1, 0]).returns(), 2);
        assert_eq!(arrivals(&[]).returns(), 0);
    }

    #[test]
    fn the_segments_of_customers_are_told_from_those_of_probes() {
        let frame = |source: &str, server: &str| {
            let macs = ("02:00:00:00:01:02".parse().unwrap(), pnet::util::MacAddr::zero());
            let [source, server]: [IpAddr; 2] = [source, server].map(|text| text.parse().unwrap());
            super::super::frames::syn(macs, (source, 9), (server, 7))
        };
        for (source, expected) in
            [("203.0.113.10", Some(1)), ("192.0.2.200", Some(1)), ("192.0.2.2", None), ("10.1.0.3", None)]
        {
            assert_eq!(of_a_customer(&frame(source, "10.1.0.11")), expected, "{source}");
        }
        for (source, expected) in [("2001:db8:c::10", Some(1)), ("2001:db8::200", Some(1)), ("2001:db8::2", None)] {
            assert_eq!(of_a_customer(&frame(source, "fd00:1::11")), expected, "{source}");
        }
    }
}
