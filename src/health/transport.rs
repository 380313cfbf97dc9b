//! What the ways of asking (stream, datagram, command) have in common.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::Socket;

use crate::core::check::Verdict;

/// How a probe reaches one server behind a virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The socket's (SO_MARK).
    pub mark: u32,
    /// This box's address on the server's segment; `None`: the kernel's choice, which is one for all segments.
    pub source: Option<IpAddr>,
}

impl Marked {
    /// Before the socket is connected.
    pub fn prepare(self, socket: &Socket) -> io::Result<()> {
        socket.set_mark(self.mark)?;
        if let Some(source) = self.source {
            // The port is chosen with the connection, so that thousands of probes find one.
            setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        Ok(())
    }
}

/// What the kernel says of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ready {
    pub readable: bool,
    pub writable: bool,
    /// The other side will send nothing more.
    pub closed: bool,
    pub error: bool,
}

impl From<&mio::event::Event> for Ready {
    fn from(event: &mio::event::Event) -> Self {
        Self {
            readable: event.is_readable(),
            writable: event.is_writable(),
            closed: event.is_read_closed(),
            error: event.is_error(),
        }
    }
}

/// Where a probe stands.
#[derive(Debug)]
pub enum Step {
    Wait,
    /// There is more to read than fits into one turn: others come first.
    More,
    Over(Ended),
}

impl Step {
    pub fn over(verdict: Verdict) -> Self {
        Self::Over(Ended { verdict, certificate_ends: None, farewell: false })
    }
}

/// How a probe ended.
#[derive(Debug)]
pub struct Ended {
    pub verdict: Verdict,
    /// When the server's certificate ends, Unix time.
    pub certificate_ends: Option<u64>,
    /// A farewell is on its way, and the server is given a short time to close first.
    pub farewell: bool,
}

/// Buffers that all probes share, one after the other.
pub struct Scratch {
    pub read: Box<[u8]>,
    pub plain: Vec<u8>,
    pub out: Vec<u8>,
    pub wire: Vec<u8>,
}

/// The longest datagram there is.
const READ_BYTES: usize = 65_536;

impl Default for Scratch {
    fn default() -> Self {
        Self { read: vec![0; READ_BYTES].into(), plain: Vec::new(), out: Vec::new(), wire: Vec::new() }
    }
}

/// "1 s", "1.5 s", "200 ms".
pub fn brief(time: Duration) -> String {
    let ms = time.as_millis();
    if ms >= 1000 && ms.is_multiple_of(100) { format!("{} s", ms as f64 / 1000.0) } else { format!("{ms} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_an_operator_writes_them() {
        let told = [200, 1000, 1500, 1234].map(|ms| brief(Duration::from_millis(ms)));
        assert_eq!(told, ["200 ms", "1 s", "1.5 s", "1234 ms"]);
    }
}
