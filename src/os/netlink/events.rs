//! The socket on which the kernel tells of changes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use crate::os::OsError;

/// The kernel makes no netlink message larger than this (net/netlink/af_netlink.c).
const DATAGRAM_MAX: usize = 64 * 1024;

/// Subscribed to links (with the ports of bridges) and neighbours (with the
/// tables of bridges). Read without rtnetlink's connection, whose queue has no bound.
pub(super) struct Events {
    socket: TokioSocket,
    buffer: Vec<u8>,
    /// One warning about a message that cannot be read is enough.
    warned: bool,
}

impl Events {
    /// Opens it in the current thread's network namespace.
    pub fn open(receive_buffer: usize) -> Result<Self, OsError> {
        let failed = |source| OsError::from_io("listening for network changes (netlink)", "NET_ADMIN", source);
        let mut socket = TokioSocket::new(NETLINK_ROUTE).map_err(failed)?;
        set_receive_buffer(&socket, receive_buffer).map_err(failed)?;
        let groups = [MulticastGroup::Link, MulticastGroup::Neigh];
        let mask = groups.iter().fold(0, |mask, group| mask | 1 << (*group as u32 - 1));
        socket.socket_mut().bind(&SocketAddr::new(0, mask)).map_err(failed)?;
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM_MAX), warned: false })
    }

    /// The messages of the next datagram. ENOBUFS: some were lost. Safe to cancel.
    pub async fn receive(&mut self) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.buffer.clear();
        let from = self.socket.recv_from(&mut self.buffer).await?;
        // Port 0 is the kernel; nobody else has a say in this.
        if from.port_number() != 0 {
            return Ok(Vec::new());
        }
        let mut messages = Vec::new();
        let mut rest = self.buffer.as_slice();
        while let Some((message, after)) = split(rest) {
            rest = after;
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) {
                Ok(NetlinkMessage { payload: NetlinkPayload::InnerMessage(message), .. }) => messages.push(message),
                Ok(_) => {}
                Err(error) if self.warned => tracing::debug!(%error, "a network event cannot be read"),
                Err(error) => {
                    self.warned = true;
                    tracing::warn!(%error, "a network event cannot be read; is this kernel newer than lbd?");
                }
            }
        }
        Ok(messages)
    }
}

/// The first message of a datagram, and the rest.
fn split(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = NetlinkBuffer::new_checked(datagram).ok()?.length() as usize;
    let (message, _) = datagram.split_at_checked(length)?;
    // Messages begin at multiples of four bytes (NLMSG_ALIGN); the last one need not end there.
    let next = length.next_multiple_of(4).min(datagram.len());
    Some((message, datagram.get(next..)?))
}

fn set_receive_buffer(socket: &TokioSocket, bytes: usize) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `socket`, which outlives this function.
    let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    // Past net.core.rmem_max with CAP_NET_ADMIN; without it, as much as one may.
    setsockopt(&fd, sockopt::RcvBufForce, &bytes).or_else(|_| setsockopt(&fd, sockopt::RcvBuf, &bytes))?;
    Ok(())
}
