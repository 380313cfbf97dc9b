//! Frames that are ready, to be sent in one go by whoever has no time to make them: the announcements of a takeover.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::os::fd::AsRawFd;

use super::OsError;
use super::arp::{announcement, link_address};
use crate::config::Mac;
use crate::core::network::IfIndex;

/// Frames a system call takes (UIO_MAXIOV is 1,024).
const CHUNK: usize = 256;

/// What became of a burst.
#[derive(Debug, Default)]
pub struct Sent {
    pub sent: usize,
    /// Not taken by a port: down, gone, or its queue full.
    pub failed: usize,
    /// Why the first of them was not.
    pub error: Option<io::Error>,
}

/// What bursts leave by: a socket that sends whole frames on any port of its network namespace, and hears nothing. Bursts
/// share it, for to close such a socket waits until every CPU has let go of it (`synchronize_net` in the kernel's
/// packet_release): tens of milliseconds on a busy machine, each.
#[derive(Clone, Debug)]
pub struct Outlet(Arc<Socket>);

impl Outlet {
    /// In the network namespace of the thread. Needs CAP_NET_RAW.
    pub fn open() -> Result<Self, OsError> {
        let failed = |source| OsError::from_io("sending frames (AF_PACKET)", "NET_RAW", source);
        // Protocol 0: receives nothing (packet(7)).
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(Protocol::from(0))).map_err(failed)?;
        Ok(Self(Arc::new(socket)))
    }
}

/// Made beforehand; sending takes no lock and makes no memory but a few pages of stack and heap, and never waits.
#[derive(Debug)]
pub struct Burst {
    outlet: Outlet,
    frames: Vec<(SockAddr, Vec<u8>)>,
}

impl Burst {
    /// Frames as they are, each with the port to leave by, in their order.
    pub fn of(outlet: &Outlet, frames: impl IntoIterator<Item = (IfIndex, Vec<u8>)>) -> Result<Self, OsError> {
        let failed = |source| OsError::from_io("preparing frames (AF_PACKET)", "NET_RAW", source);
        let ready = frames.into_iter().map(|(port, frame)| Ok((link_address(port, 0)?, frame)));
        Ok(Self { outlet: outlet.clone(), frames: ready.collect::<io::Result<_>>().map_err(failed)? })
    }

    /// Gratuitous ARP and unsolicited advertisements of every address on every port, each with the MAC that the box
    /// has there. The first address goes out on all ports first, in the order given: routers before servers.
    pub fn announcing(outlet: &Outlet, ports: &[(IfIndex, Mac)], addresses: &[IpAddr]) -> Result<Self, OsError> {
        let pairs = addresses.iter().flat_map(|address| ports.iter().map(move |port| (address, port)));
        Self::of(outlet, pairs.map(|(address, (port, mac))| (*port, announcement(*mac, *address))))
    }

    /// One frame for each of these machines, from its MAC and to all: whoever is behind the port learns that they are
    /// there. The frame is a reverse ARP question (RFC 903), as hypervisors send it for a guest that has moved.
    pub fn showing(outlet: &Outlet, port: IfIndex, machines: impl IntoIterator<Item = Mac>) -> Result<Self, OsError> {
        Self::of(outlet, machines.into_iter().map(|mac| (port, showing(mac))))
    }

    pub fn len(&self) -> usize {
        self.frames.len()
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Sends them all, past bridge and host stack. A frame that a port does not take is counted, and the rest goes on.
    pub fn send(&self) -> Sent {
        let mut outcome = Sent::default();
        for chunk in self.frames.chunks(CHUNK) {
            self.send_chunk(chunk, &mut outcome);
        }
        outcome
    }

    fn send_chunk(&self, chunk: &[(SockAddr, Vec<u8>)], outcome: &mut Sent) {
        let mut parts: Vec<libc::iovec> = chunk
            .iter()
            .map(|(_, frame)| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() })
            .collect();
        let mut headers: Vec<libc::mmsghdr> = Vec::with_capacity(chunk.len());
        for ((address, _), part) in chunk.iter().zip(&mut parts) {
            // SAFETY: all-zero bytes are a valid mmsghdr: null pointers and zero lengths.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = address.len();
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            headers.push(header);
        }
        let mut rest = headers.as_mut_slice();
        while !rest.is_empty() {
            let count = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            // SAFETY: `rest` is `count` headers whose names, vectors and frames live in `chunk` and `parts` through
            // the call; the kernel reads those, and writes msg_len of the headers only.
            let sent = unsafe { libc::sendmmsg(self.outlet.0.as_raw_fd(), rest.as_mut_ptr(), count, 0) };
            // An error is about the first of the rest; later ones end a call early, and are met by the next.
            let done = usize::try_from(sent).unwrap_or(0);
            if done == 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                outcome.failed += 1;
                outcome.error.get_or_insert(error);
            }
            outcome.sent += done;
            rest = rest.get_mut(done.max(1)..).unwrap_or_default();
        }
    }
}

/// Shortest Ethernet frame, without its checksum, in bytes.
const FRAME_MIN: usize = 60;

fn showing(machine: Mac) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_MIN);
    frame.extend([0xff; 6]);
    frame.extend(machine.0);
    // EtherType of reverse ARP; Ethernet and IPv4, their lengths, "request reverse".
    frame.extend([0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]);
    for _ in ["sender", "target"] {
        frame.extend(machine.0);
        frame.extend([0; 4]);
    }
    frame.resize(FRAME_MIN, 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_shown_by_a_frame_of_its_own_that_asks_for_its_own_address() {
        let frame = showing(Mac([2, 0, 0, 0, 0, 7]));
        assert_eq!(frame[..14], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7, 0x80, 0x35]);
        assert_eq!(frame.len(), FRAME_MIN);
        assert_eq!(frame[14..42], [0, 1, 8, 0, 6, 4, 0, 3, 2, 0, 0, 0, 0, 7, 0, 0, 0, 0, 2, 0, 0, 0, 0, 7, 0, 0, 0, 0]);
    }
}
