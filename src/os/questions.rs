//! Questions to the other box's data plane, and its answers: frames of our own past bridge and host stack.
//!
//! The answers come to ports of a bridge, which takes frames before packet sockets of one protocol are served: the
//! socket is one for all protocols, and a filter in the kernel lets through only ours.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::OsError;
use super::arp::link_address;
use crate::core::network::IfIndex;

/// Frames read in one go: whoever floods the wire does not hold up a heartbeat.
const READS_MAX: usize = 64;
/// Longer than any answer; the rest of a longer frame is cut off.
const FRAME_MAX: usize = 256;

/// A socket that asks on any port, and hears frames of one EtherType on all of them.
#[derive(Debug)]
pub struct Questions {
    socket: Socket,
}

impl Questions {
    /// In the network namespace of the calling thread. Needs CAP_NET_RAW.
    pub fn open(ethertype: u16) -> Result<Self, OsError> {
        Self::try_open(ethertype).map(|socket| Self { socket }).map_err(|source| {
            OsError::from_io("opening a socket for questions to the peer (AF_PACKET)", "NET_RAW", source)
        })
    }

    fn try_open(ethertype: u16) -> io::Result<Socket> {
        // Protocol 0: nothing is queued before the filter is in place.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(Protocol::from(0)))?;
        let load = |size: u32, offset: u32| SockFilter::new((libc::BPF_LD | size | libc::BPF_ABS) as u16, 0, 0, offset);
        // What this box itself sends is no answer (packet type PACKET_OUTGOING).
        let packet_type = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
        socket.attach_filter(&[
            load(libc::BPF_H, 12),
            SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, 3, ethertype.into()),
            load(libc::BPF_B, packet_type),
            SockFilter::new(
                (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
                1,
                0,
                u32::from(libc::PACKET_OUTGOING),
            ),
            SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, FRAME_MAX as u32),
            SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0),
        ])?;
        socket.bind(&link_address(0, libc::ETH_P_ALL as u16)?)?;
        Ok(socket)
    }

    /// Sends a frame; one that a port does not take is lost, as on any wire.
    pub fn send(&self, port: IfIndex, frame: &[u8]) {
        if let Ok(address) = link_address(port, 0) {
            _ = self.socket.send_to(frame, &address);
        }
    }

    /// Hands over what has come.
    pub fn drain(&self, mut take: impl FnMut(&[u8])) {
        for _ in 0..READS_MAX {
            let mut buffer = [MaybeUninit::<u8>::uninit(); FRAME_MAX];
            let Ok(count) = self.socket.recv(&mut buffer) else { return };
            let mut frame = [0; FRAME_MAX];
            for (to, from) in frame.iter_mut().zip(buffer.iter().take(count)) {
                // SAFETY: recv(2) has written the first `count` bytes.
                *to = unsafe { from.assume_init() };
            }
            take(frame.get(..count).unwrap_or_default());
        }
    }
}

impl AsFd for Questions {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
