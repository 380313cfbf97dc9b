//! The paths by which heartbeats go: datagrams over the cross-connect and the LAN, and a serial line.
//!
//! A path is always there, also while its device is not: it opens itself again. Nothing here blocks, and nothing
//! queues: a heartbeat that a path cannot take is gone, since a newer one follows.
//!
//! A driver polls [`Path::fd`] for reading, and for writing while [`Path::wants_write`]; sleeps no longer than until
//! [`Path::next_deadline`]; then calls [`Path::tick`] and [`Path::drain`] of every path, whatever woke it, **before**
//! it looks at any timer of the election.
//!
//! A heartbeat arrives when it is *read*. The kernel's own time of arrival is of the wall clock, which is set now and
//! then, and errs on the wrong side: after a pause of this box it would let the peer look silent for as long as the
//! pause was. Read later, it makes a claim later. A heartbeat that is old for having waited elsewhere is known by its
//! stamp, by the election.

pub mod framing;
#[cfg(test)]
mod relay;
pub mod serial;
pub mod stats;
pub mod udp;

use std::os::fd::BorrowedFd;

use self::framing::Damage;
use self::serial::SerialPath;
use self::stats::{Stats, View};
use self::udp::UdpPath;
use super::heartbeat::Heartbeat;
use super::seal::{Channel, SealError};
use super::time::{Instant, Span};
use super::wire::{Codec, Received};

/// Between two attempts to open a path.
pub const REOPEN_PAUSE: Span = Span::from_millis(1_000);

/// What became of a datagram that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The kernel has it.
    Now,
    /// It waits for the line to be free; alone.
    Later,
    /// So it does, in place of an older one, which is gone.
    Instead,
    /// The path is closed, or the kernel did not take it.
    Not,
}

/// Something that was read.
#[derive(Clone, Copy, Debug)]
pub enum Arrival<'a> {
    Datagram(&'a [u8]),
    Damaged(Damage),
}

/// What carries datagrams.
#[derive(Debug)]
pub enum Medium {
    Udp(UdpPath),
    Serial(SerialPath),
}

impl Medium {
    /// To be polled; `None` while it is closed.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Udp(path) => path.fd(),
            Self::Serial(path) => path.fd(),
        }
    }

    /// Whether it is to be polled for writing, too.
    pub const fn wants_write(&self) -> bool {
        match self {
            Self::Udp(_) => false,
            Self::Serial(path) => path.wants_write(),
        }
    }

    /// When [`Self::tick`] has something to do.
    pub const fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Udp(path) => path.next_deadline(),
            Self::Serial(path) => path.next_deadline(),
        }
    }

    /// Does what is due: opens what is closed, writes what waits. To be called whenever the driver wakes.
    pub fn tick(&mut self, now: Instant) {
        match self {
            Self::Udp(path) => path.tick(now),
            Self::Serial(path) => path.tick(now),
        }
    }

    /// Sends a datagram, or drops it.
    pub fn send(&mut self, datagram: &[u8], now: Instant) -> Sent {
        match self {
            Self::Udp(path) => path.send(datagram, now),
            Self::Serial(path) => path.send(datagram, now),
        }
    }

    /// Reads all that waits, up to a bound that is above what the kernel keeps. `clock` is asked for each.
    pub fn drain(&mut self, clock: &mut dyn FnMut() -> Instant, each: &mut dyn FnMut(Arrival<'_>, Instant)) {
        match self {
            Self::Udp(path) => path.drain(clock, each),
            Self::Serial(path) => path.drain(clock, each),
        }
    }

    /// Why it is closed, or did not take what was sent last.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::Udp(path) => path.trouble(),
            Self::Serial(path) => path.trouble(),
        }
    }
}

/// A path with its number and its statistics.
#[derive(Debug)]
pub struct Path {
    channel: Channel,
    medium: Medium,
    stats: Stats,
}

impl Path {
    /// `channel`: its place among this box's paths. The peer's numbers need not agree.
    pub fn new(channel: Channel, medium: Medium) -> Self {
        Self { channel, medium, stats: Stats::default() }
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.medium.fd()
    }

    pub const fn wants_write(&self) -> bool {
        self.medium.wants_write()
    }

    pub const fn next_deadline(&self) -> Option<Instant> {
        self.medium.next_deadline()
    }

    pub fn tick(&mut self, now: Instant) {
        self.medium.tick(now);
    }

    pub const fn channel(&self) -> Channel {
        self.channel
    }

    pub fn view(&self) -> View {
        self.stats.view()
    }

    /// See [`Medium::trouble`].
    pub fn trouble(&self) -> Option<&str> {
        self.medium.trouble()
    }

    /// Seals the heartbeat for this path and sends it.
    ///
    /// # Errors
    /// When it cannot be sealed. See [`Codec::seal`].
    pub fn send(&mut self, codec: &mut Codec, heartbeat: &Heartbeat, now: Instant) -> Result<Sent, SealError> {
        let echo = heartbeat.echo.and_then(|echo| self.stats.path_echo(echo.incarnation, now));
        let (counter, datagram) = codec.seal(heartbeat, self.channel, echo)?;
        let sent = self.medium.send(datagram, now);
        self.stats.sent(counter, now, sent);
        Ok(sent)
    }

    /// Reads all that waits, opens it, and calls `each` with every heartbeat that counts. The rest is counted.
    pub fn drain(
        &mut self,
        codec: &mut Codec,
        clock: &mut dyn FnMut() -> Instant,
        each: &mut dyn FnMut(&Received, Instant),
    ) {
        let stats = &mut self.stats;
        let (_, own) = codec.own();
        self.medium.drain(clock, &mut |arrival, now| {
            let datagram = match arrival {
                Arrival::Datagram(datagram) => datagram,
                Arrival::Damaged(_) => return stats.damaged(),
            };
            match codec.open(datagram) {
                Ok(received) => {
                    stats.received(&received, own, now);
                    each(&received, now);
                }
                Err(refused) => stats.refused(refused),
            }
        });
    }
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
