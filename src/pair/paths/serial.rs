//! Heartbeats over a serial line between the two boxes (a null-modem cable).
//!
//! Eight bits, no parity, one stop bit, no flow control of any kind: a byte takes ten bit times, and nobody can hold up
//! the writer. At most half of the line is used: after a frame the line stays idle for as long as the frame took. What
//! is to be sent meanwhile waits, alone: a newer datagram takes its place, so that a slow line carries new ones only.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::sys::termios::{
    BaudRate, ControlFlags, FlushArg, SetArg, SpecialCharacterIndices, cfmakeraw, cfsetspeed, tcflush, tcgetattr,
    tcsetattr,
};

use super::framing::{self, Deframer};
use super::{Arrival, REOPEN_PAUSE, Sent};
use crate::pair::time::{Instant, Span};
use crate::pair::wire::HEARTBEAT_BYTES_MAX;

/// Most bytes that are read at once: above what the kernel keeps for a line.
const DRAINED_BYTES_MAX: usize = 128 * 1024;
/// Bits on the line for a byte: start, eight, stop.
const BITS_PER_BYTE: u64 = 10;

/// A line and its speed in baud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialConfig {
    pub device: PathBuf,
    pub baud: u32,
}

/// The speeds that a line can have.
pub const SPEEDS: [u32; 12] =
    [9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600, 1_000_000, 1_500_000, 2_000_000, 3_000_000];

/// The speed is none of [`SPEEDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a serial line of {0} baud; known speeds are {SPEEDS:?}")]
pub struct UnknownSpeed(pub u32);

/// The shortest time between heartbeats that leaves half of the line free: 19.6 ms at 115,200 baud.
pub const fn shortest_interval(baud: u32) -> Span {
    Span(line_time(HEARTBEAT_BYTES_MAX + framing::OVERHEAD_BYTES, baud).0.saturating_mul(2))
}

/// How long so many bytes take.
const fn line_time(bytes: usize, baud: u32) -> Span {
    let baud = if baud == 0 { 1 } else { baud as u64 };
    Span((bytes as u64).saturating_mul(BITS_PER_BYTE * 1_000_000_000) / baud)
}

/// A path over a serial line.
#[derive(Debug)]
pub struct SerialPath {
    config: SerialConfig,
    speed: BaudRate,
    line: Option<Line>,
    open_at: Option<Instant>,
    trouble: Option<String>,
    deframer: Deframer,
}

/// While it is open.
#[derive(Debug)]
struct Line {
    port: Port,
    /// What the kernel has not yet taken of a frame. It is finished first: half a frame would spoil the next one.
    unwritten: Vec<u8>,
    /// A frame that waits for the line to be free.
    waiting: Option<Vec<u8>>,
    free_at: Instant,
    /// Bytes that went and came since it was opened.
    bytes: Bytes,
}

/// Bytes of a line, framing and noise included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    pub written: u64,
    pub read: u64,
}

impl SerialPath {
    /// Closed; the first [`Self::tick`] opens it.
    ///
    /// # Errors
    /// When the speed is unknown.
    pub fn new(config: SerialConfig) -> Result<Self, UnknownSpeed> {
        let speed = speed(config.baud).ok_or(UnknownSpeed(config.baud))?;
        let (line, open_at, trouble) = (None, Some(Instant(0)), None);
        Ok(Self { config, speed, line, open_at, trouble, deframer: Deframer::default() })
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.line.as_ref().map(|line| line.port.0.as_fd())
    }

    /// True while the kernel has taken a frame in part.
    pub const fn wants_write(&self) -> bool {
        match &self.line {
            Some(line) => !line.unwritten.is_empty(),
            None => false,
        }
    }

    pub const fn next_deadline(&self) -> Option<Instant> {
        match &self.line {
            // With a frame unwritten it is the descriptor that wakes.
            Some(line) if line.waiting.is_some() && line.unwritten.is_empty() => Some(line.free_at),
            Some(_) => None,
            None => self.open_at,
        }
    }

    /// Since the line was opened; zero while it is not.
    pub fn bytes(&self) -> Bytes {
        self.line.as_ref().map(|line| line.bytes).unwrap_or_default()
    }

    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    pub fn tick(&mut self, now: Instant) {
        if self.line.is_some() {
            return self.flush(now);
        }
        if self.open_at.is_none_or(|at| now < at) {
            return;
        }
        match Port::open(&self.config, self.speed) {
            Ok(port) => {
                self.deframer.clear();
                self.line =
                    Some(Line { port, unwritten: Vec::new(), waiting: None, free_at: now, bytes: Bytes::default() });
                (self.open_at, self.trouble) = (None, None);
            }
            Err(error) => self.close(&error, now),
        }
    }

    fn close(&mut self, error: &io::Error, now: Instant) {
        self.line = None;
        self.open_at = Some(now + REOPEN_PAUSE);
        self.trouble = Some(error.to_string());
    }

    pub fn send(&mut self, datagram: &[u8], now: Instant) -> Sent {
        // What has become due goes first.
        self.flush(now);
        let Some(line) = &mut self.line else { return Sent::Not };
        let mut frame = Vec::with_capacity(datagram.len() + framing::OVERHEAD_BYTES);
        framing::frame(datagram, &mut frame);
        if frame.is_empty() {
            return Sent::Not;
        }
        let replaced = line.waiting.replace(frame).is_some();
        self.flush(now);
        match &self.line {
            _ if replaced => Sent::Instead,
            None => Sent::Not,
            Some(line) if line.waiting.is_some() => Sent::Later,
            Some(_) => Sent::Now,
        }
    }

    /// Writes what waits and may go.
    fn flush(&mut self, now: Instant) {
        let Some(line) = &mut self.line else { return };
        if let Err(error) = line.flush(self.config.baud, now) {
            self.close(&error, now);
        }
    }

    pub fn drain(&mut self, clock: &mut dyn FnMut() -> Instant, each: &mut dyn FnMut(Arrival<'_>, Instant)) {
        let Some(line) = &mut self.line else { return };
        let mut buffer = [0; 1_024];
        for _ in 0..DRAINED_BYTES_MAX / buffer.len() {
            let error = match line.port.0.read(&mut buffer) {
                Ok(0) => io::Error::new(ErrorKind::UnexpectedEof, "the line was hung up"),
                Ok(length) => {
                    line.bytes.read += length as u64;
                    self.deframer.feed(buffer.get(..length).unwrap_or_default(), |frame| match frame {
                        Ok(datagram) => each(Arrival::Datagram(datagram), clock()),
                        Err(damage) => each(Arrival::Damaged(damage), clock()),
                    });
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            return self.close(&error, clock());
        }
    }
}

impl Line {
    fn flush(&mut self, baud: u32, now: Instant) -> io::Result<()> {
        if self.unwritten.is_empty() {
            if self.waiting.is_none() || now < self.free_at {
                return Ok(());
            }
            // What the driver has not yet put on the line would make this frame late without telling.
            let queued = self.port.queued();
            if queued > 0 {
                self.free_at = now + line_time(queued, baud);
                return Ok(());
            }
            self.unwritten = self.waiting.take().unwrap_or_default();
        }
        while !self.unwritten.is_empty() {
            match self.port.0.write(&self.unwritten) {
                Ok(0) => break,
                Ok(written) => {
                    self.unwritten.drain(..written.min(self.unwritten.len()));
                    self.bytes.written += written as u64;
                    self.free_at = self.free_at.max(now) + line_time(written, baud) * 2;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// An open serial port.
#[derive(Debug)]
struct Port(File);

impl Port {
    fn open(config: &SerialConfig, speed: BaudRate) -> io::Result<Self> {
        // Not blocking: else the open waits for a carrier that a null-modem cable may not have.
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
        let port = Self(OpenOptions::new().read(true).write(true).custom_flags(flags).open(&config.device)?);
        let mut settings = tcgetattr(&port.0)?;
        cfmakeraw(&mut settings);
        settings.control_flags |= ControlFlags::CLOCAL | ControlFlags::CREAD;
        settings.control_flags -= ControlFlags::CSTOPB | ControlFlags::CRTSCTS | ControlFlags::HUPCL;
        // With a minimum of one, a read that finds nothing is told from the end.
        for (index, value) in [(SpecialCharacterIndices::VMIN, 1), (SpecialCharacterIndices::VTIME, 0)] {
            if let Some(place) = settings.control_chars.get_mut(index as usize) {
                *place = value;
            }
        }
        cfsetspeed(&mut settings, speed)?;
        tcsetattr(&port.0, SetArg::TCSANOW, &settings)?;
        // What has gathered while nobody read is old.
        tcflush(&port.0, FlushArg::TCIOFLUSH)?;
        Ok(port)
    }

    /// Bytes that the driver has yet to send; zero where it cannot tell.
    fn queued(&self) -> usize {
        let mut bytes: libc::c_int = 0;
        // SAFETY: TIOCOUTQ writes one int, to a local that outlives the call; the descriptor is open.
        match unsafe { ioctl::outq(self.0.as_raw_fd(), &raw mut bytes) } {
            Ok(_) => usize::try_from(bytes).unwrap_or_default(),
            Err(_) => 0,
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // Otherwise closing waits, up to 30 s, for what a stalled line does not take.
        let _ = tcflush(&self.0, FlushArg::TCOFLUSH);
    }
}

mod ioctl {
    nix::ioctl_read_bad!(outq, libc::TIOCOUTQ, libc::c_int);
}

const fn speed(baud: u32) -> Option<BaudRate> {
    Some(match baud {
        9_600 => BaudRate::B9600,
        19_200 => BaudRate::B19200,
        38_400 => BaudRate::B38400,
        57_600 => BaudRate::B57600,
        115_200 => BaudRate::B115200,
        230_400 => BaudRate::B230400,
        460_800 => BaudRate::B460800,
        921_600 => BaudRate::B921600,
        1_000_000 => BaudRate::B1000000,
        1_500_000 => BaudRate::B1500000,
        2_000_000 => BaudRate::B2000000,
        3_000_000 => BaudRate::B3000000,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "serial_tests.rs"]
mod tests;
