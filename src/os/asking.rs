//! Questions to another box's data plane on one port, and the answers: whole frames, whose bytes are others' affair.
//!
//! The socket hears all protocols and a filter keeps all but one EtherType out: on a port of a bridge that blocks,
//! frames are shown to nobody who asks for a single protocol, because the bridge takes them first. That costs a
//! comparison for each frame that the port gives to the kernel; so open it when there is something to ask.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use pnet::packet::ethernet::EtherType;
use socket2::{SockFilter, Socket};

use super::OsError;
use super::arp::{hear, link_address};
use crate::core::network::IfIndex;

/// Longer frames are cut: an answer has 78 bytes with its tag.
const FRAME: usize = 128;
/// Offset of the EtherType. The kernel has taken a VLAN tag off by then.
const KIND_AT: u32 = 12;

#[derive(Debug)]
pub struct Asking {
    port: IfIndex,
    socket: Socket,
}

impl Asking {
    /// In the network namespace of the thread. Needs CAP_NET_RAW.
    pub fn open(port: IfIndex, kind: u16) -> Result<Self, OsError> {
        // In the language of bpf(4): load two bytes; if they are the EtherType, take the beginning, else nothing.
        let filter = [
            SockFilter::new((libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16, 0, 0, KIND_AT),
            SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, 1, u32::from(kind)),
            SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, FRAME as u32),
            SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0),
        ];
        let socket = hear(port, EtherType(libc::ETH_P_ALL as u16), &filter)
            .map_err(|source| OsError::from_io(format!("asking on interface {port}"), "NET_RAW", source))?;
        Ok(Self { port, socket })
    }

    /// Sends one frame as it is, past the bridge. A full queue is an error, not a wait.
    pub fn ask(&self, frame: &[u8]) -> Result<(), OsError> {
        let failed = |source| OsError::from_io(format!("asking on interface {}", self.port), "NET_RAW", source);
        let address = link_address(self.port, 0).map_err(failed)?;
        let sent = self.socket.send_to(frame, &address).map_err(failed)?;
        if sent == frame.len() { Ok(()) } else { Err(failed(io::ErrorKind::WriteZero.into())) }
    }

    /// The next frame of the EtherType, ours included, without its VLAN tag; `None`: none is there.
    pub fn next(&self) -> Result<Option<Vec<u8>>, OsError> {
        let mut buffer = [MaybeUninit::uninit(); FRAME];
        match self.socket.recv(&mut buffer) {
            Ok(length) => {
                let read = buffer.get(..length.min(FRAME)).unwrap_or_default();
                // SAFETY: the kernel has written that many bytes, no more than there is room for.
                Ok(Some(read.iter().map(|byte| unsafe { byte.assume_init() }).collect()))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(source) => Err(OsError::from_io(format!("asking on interface {}", self.port), "NET_RAW", source)),
        }
    }
}

/// Readable when `next` has something.
impl AsFd for Asking {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
