//! Heartbeats as UDP datagrams between two fixed addresses.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Arrival, REOPEN_PAUSE, Sent};
use crate::pair::seal::SEALED_BYTES_MAX;
use crate::pair::time::Instant;

/// DSCP CS6, network control (RFC 4594, 3.2), in its place in the octet.
const CS6: u32 = 48 << 2;
/// DSCP AF21, low-latency data (RFC 4594, 4.7), likewise.
const AF21: u32 = 18 << 2;
/// `TC_PRIO_INTERACTIVE`: goes first in the queue of a device, and is the highest that needs no privilege.
const PRIORITY: u32 = 6;
/// Most datagrams that are read at once. The kernel's default buffer holds below 300 that small.
const DRAINED_MAX: usize = 1_024;
/// So many failures in a row, and the socket is made anew: its device may have been.
const FAILURES_MAX: u32 = 20;

/// Between which addresses, and by which device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpConfig {
    /// Of this box; need not be there yet.
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// Nothing goes or comes by another one.
    pub device: Option<String>,
    /// Bytes that may wait to be read, for a path on which bursts come, and which gives way to heartbeats; `None`: the
    /// kernel's default, for heartbeats.
    pub queue_bytes: Option<usize>,
}

/// The two addresses are not of the same family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{local} and {peer} are not both IPv4 or both IPv6")]
pub struct Families {
    pub local: SocketAddr,
    pub peer: SocketAddr,
}

/// A path over UDP.
///
/// The socket is not connected: that would need a route at once, and would refuse a peer that answers from another
/// address. Who sent a datagram is known by its seal.
#[derive(Debug)]
pub struct UdpPath {
    config: UdpConfig,
    socket: Option<UdpSocket>,
    open_at: Option<Instant>,
    failures: u32,
    trouble: Option<String>,
}

impl UdpPath {
    /// Closed; the first [`Self::tick`] opens it.
    ///
    /// # Errors
    /// When the families of the addresses differ.
    pub fn new(config: UdpConfig) -> Result<Self, Families> {
        let UdpConfig { local, peer, .. } = config;
        if local.is_ipv4() != peer.is_ipv4() {
            return Err(Families { local, peer });
        }
        Ok(Self { config, socket: None, open_at: Some(Instant(0)), failures: 0, trouble: None })
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    pub const fn next_deadline(&self) -> Option<Instant> {
        self.open_at
    }

    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    pub fn tick(&mut self, now: Instant) {
        if self.open_at.is_none_or(|at| now < at) {
            return;
        }
        match open(&self.config) {
            Ok(socket) => {
                (self.socket, self.open_at, self.failures, self.trouble) = (Some(socket), None, 0, None);
            }
            Err(error) => self.close(&error, now),
        }
    }

    fn close(&mut self, error: &io::Error, now: Instant) {
        self.socket = None;
        self.open_at = Some(now + REOPEN_PAUSE);
        self.trouble = Some(error.to_string());
    }

    pub fn send(&mut self, datagram: &[u8], now: Instant) -> Sent {
        let Some(socket) = &self.socket else { return Sent::Not };
        match socket.send_to(datagram, self.config.peer) {
            Ok(_) => {
                (self.failures, self.trouble) = (0, None);
                Sent::Now
            }
            Err(error) => {
                self.failures += 1;
                if self.failures >= FAILURES_MAX {
                    self.close(&error, now);
                } else {
                    self.trouble = Some(error.to_string());
                }
                Sent::Not
            }
        }
    }

    pub fn drain(&mut self, clock: &mut dyn FnMut() -> Instant, each: &mut dyn FnMut(Arrival<'_>, Instant)) {
        self.drain_some(DRAINED_MAX, clock, each);
    }

    /// As `drain`, at most so many datagrams; `false`: there are none left.
    pub fn drain_some(
        &mut self,
        max: usize,
        clock: &mut dyn FnMut() -> Instant,
        each: &mut dyn FnMut(Arrival<'_>, Instant),
    ) -> bool {
        let Some(socket) = &self.socket else { return false };
        // One byte more than the longest message: what is cut off is no message either.
        let mut buffer = [0; SEALED_BYTES_MAX + 1];
        for _ in 0..max {
            match socket.recv_from(&mut buffer) {
                Ok((length, _)) => each(Arrival::Datagram(buffer.get(..length).unwrap_or_default()), clock()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // Interrupted, or a late error of something sent, which the reading has taken away.
                Err(_) => {}
            }
        }
        true
    }
}

fn open(config: &UdpConfig) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(config.local), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Binding does not wait for the address: it may come with its interface, which may come later.
    // What comes in bursts must not go before heartbeats, nor among them.
    let bursts = config.queue_bytes.is_some();
    let octet = if bursts { AF21 } else { CS6 };
    if config.local.is_ipv4() {
        socket.set_tos_v4(octet)?;
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(octet)?;
        socket.set_freebind_v6(true)?;
    }
    // After the octet, which sets a priority of its own.
    socket.set_priority(if bursts { 0 } else { PRIORITY })?;
    if let Some(device) = &config.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if let Some(bytes) = config.queue_bytes {
        // Above what the kernel allows to anybody (net.core.rmem_max); with less it works, too.
        _ = setsockopt(&socket, sockopt::RcvBufForce, &bytes);
    }
    socket.bind(&config.local.into())?;
    Ok(socket.into())
}

#[cfg(test)]
#[path = "udp_tests.rs"]
mod tests;
