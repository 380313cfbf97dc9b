//! Asking who has an address, by ARP or neighbour discovery, on the interface that leads there.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use nix::ifaddrs::getifaddrs;
use pnet::packet::ethernet::EtherTypes;
use socket2::{SockFilter, Socket};

use super::probe::neighbour::{answer, answered, request, timed_out};
use super::transport::{Ready, Scratch, Step};
use crate::config::Mac;
use crate::core::check::{Failure, FailureKind, Verdict};
use crate::core::network::IfIndex;
use crate::os::arp::hear;

/// Frames that are read in one turn of a probe.
const READS: usize = 16;

/// One question who has an address.
pub struct Neighbour {
    socket: Socket,
    address: IpAddr,
    question: Vec<u8>,
}

impl Neighbour {
    /// Asks. `Err` of a failure: the way there is not one on which neighbours are asked.
    pub fn new(address: IpAddr) -> io::Result<Result<Self, Failure>> {
        let Some(way) = Way::to(address)? else {
            let words =
                format!("there is no interface of this box with a MAC on the way to {address}: is it another's?");
            return Ok(Err(Failure { kind: FailureKind::Local, words }));
        };
        let kind = if address.is_ipv4() { EtherTypes::Arp } else { EtherTypes::Ipv6 };
        let socket = hear(way.index, kind, &filter(address))?;
        let neighbour = Self { socket, address, question: request(way.mac, way.from, address) };
        neighbour.send()?;
        Ok(Ok(neighbour))
    }

    fn send(&self) -> io::Result<()> {
        self.socket.send(&self.question).map(|_| ())
    }

    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Asks once more.
    pub fn again(&self) {
        _ = self.send();
    }

    pub fn ready(&mut self, ready: Ready, scratch: &mut Scratch) -> Step {
        if !ready.readable && !ready.error {
            return Step::Wait;
        }
        for _ in 0..READS {
            match self.socket.read(&mut scratch.read) {
                Ok(count) => {
                    if let Some(mac) = answer(scratch.read.get(..count).unwrap_or_default(), self.address) {
                        return Step::over(answered(mac));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Wait,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Step::over(super::reach::verdict(&error)),
            }
        }
        Step::More
    }

    pub fn timed_out(&self) -> Verdict {
        Verdict::Failure(timed_out(self.address))
    }
}

/// Where and as whom one asks.
struct Way {
    index: IfIndex,
    mac: Mac,
    from: IpAddr,
}

impl Way {
    /// The kernel's choice of a source address names the interface, which a packet there would leave by.
    fn to(address: IpAddr) -> io::Result<Option<Self>> {
        let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        // Connecting sends nothing; the port does not matter.
        socket.connect(SocketAddr::new(address, 9))?;
        let from = socket.local_addr()?.ip();
        let all: Vec<_> = getifaddrs()?.collect();
        let has = |storage: nix::sys::socket::SockaddrStorage| match from {
            IpAddr::V4(from) => storage.as_sockaddr_in().is_some_and(|address| address.ip() == from),
            IpAddr::V6(from) => storage.as_sockaddr_in6().is_some_and(|address| address.ip() == from),
        };
        let Some(owner) = all.iter().find(|entry| entry.address.is_some_and(has)) else { return Ok(None) };
        let link = |entry: &&nix::ifaddrs::InterfaceAddress| entry.interface_name == owner.interface_name;
        let link = all.iter().filter(link).find_map(|entry| entry.address.as_ref()?.as_link_addr().copied());
        Ok(link.and_then(|link| {
            let mac = Mac(link.addr().filter(|mac| *mac != [0; 6])?);
            Some(Self { index: u32::try_from(link.ifindex()).ok()?, mac, from })
        }))
    }
}

/// Lets through what answers for an address, so that a socket is not woken by the whole segment's frames: ARP replies
/// of this sender; neighbour advertisements of this target. Offsets are those of an untagged frame.
fn filter(address: IpAddr) -> Vec<SockFilter> {
    const WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    const BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const REPLY: u32 = 2;
    const ICMPV6: u32 = 58;
    const ADVERTISEMENT: u32 = 136;
    let tests: Vec<(u16, u32, u32)> = match address {
        IpAddr::V4(address) => vec![(HALF, 20, REPLY), (WORD, 28, address.to_bits())],
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let target = (0..4_u32).map(|word| (WORD, 62 + 4 * word, (bits >> (96 - 32 * word)) as u32));
            [(BYTE, 20, ICMPV6), (BYTE, 54, ADVERTISEMENT)].into_iter().chain(target).collect()
        }
    };
    let mut program = Vec::new();
    let total = tests.len();
    for (index, (load, offset, value)) in tests.into_iter().enumerate() {
        // Over the tests that are left, two instructions each, and the acceptance.
        let refuse = u8::try_from(2 * (total - index - 1) + 1).unwrap_or(u8::MAX);
        program.push(SockFilter::new(load, 0, 0, offset));
        program.push(SockFilter::new(EQUAL, 0, refuse, value));
    }
    program.push(SockFilter::new(RETURN, 0, 0, u32::from(u16::MAX)));
    program.push(SockFilter::new(RETURN, 0, 0, 0));
    program
}

#[cfg(test)]
#[path = "neighbour_tests.rs"]
mod tests;
