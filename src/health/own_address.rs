//! Why a server does not answer behind a virtual address: its own address is asked beside it.
//!
//! In direct server return a probe goes to the virtual address at the server's MAC. When nothing comes back, the server
//! may be dead, or it may lack that address on its loopback: then it answers at its own.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use super::sockets;
use super::stream;
use super::transport::Ready;
use crate::core::check::{Failure, FailureKind};
use crate::core::target::Via;

/// A target's server is asked so no more often, and what it said is believed for so long.
pub const BELIEVED: Duration = Duration::from_secs(60);

/// What a server does at its own address, on the same port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    Accepts,
    Refuses,
    /// Nothing, or nothing in time.
    Silent,
}

/// A connection attempt to a server's own address.
pub struct Aside(TcpStream);

impl Aside {
    pub fn ask(via: &Via, port: u16) -> io::Result<Self> {
        stream::connect(SocketAddr::new(via.address, port), None, true).map(Self)
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub fn ready(&self, ready: Ready) -> Option<Own> {
        if ready.error {
            let error = self.0.take_error().ok().flatten();
            return Some(error.map_or(Own::Silent, |error| of(&error)));
        }
        ready.writable.then_some(Own::Accepts)
    }

    /// Ends the connection by RST.
    pub fn end(self) {
        sockets::end(&self.0);
    }
}

/// What an error of the attempt says.
pub fn of(error: &io::Error) -> Own {
    if error.kind() == io::ErrorKind::ConnectionRefused { Own::Refuses } else { Own::Silent }
}

/// A failure to connect says something about the virtual address only if the server itself is there.
pub fn is_about_connecting(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Timeout | FailureKind::Refused)
}

/// The failure with what follows from the server's own address.
pub fn explained(failure: Failure, via: &Via, virtual_address: IpAddr, own: Own) -> Failure {
    let Failure { kind, words } = failure;
    let server = &via.server;
    let words = match (kind, own) {
        // A probe has one hop to go: the server's own kernel says that it ended there (ICMP time exceeded), which it
        // does for what it would send on.
        (FailureKind::Unreachable, _) => {
            format!("the loopback of {server} lacks {virtual_address}: being a router, it sends the probe on")
        }
        (FailureKind::Timeout, Own::Accepts) => format!(
            "{words}, while {server} accepts at {}: its loopback lacks {virtual_address}, or a filter drops it",
            via.address
        ),
        (FailureKind::Timeout, Own::Refuses) => format!(
            "{words}, while {server} is alive at {}: its loopback lacks {virtual_address}, or a filter drops it",
            via.address
        ),
        (FailureKind::Refused, Own::Accepts) => {
            format!("{words}, while {server} accepts at {}: it does not listen on {virtual_address}", via.address)
        }
        _ => words,
    };
    Failure { kind, words }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Name;

    fn words(kind: FailureKind, words: &str, own: Own) -> String {
        let via = Via { server: Name::new("pc1").unwrap(), address: [172, 16, 0, 11].into() };
        let failure = Failure { kind, words: words.into() };
        explained(failure, &via, [192, 0, 2, 25].into(), own).words
    }

    #[test]
    fn a_server_that_answers_at_its_own_address_only_is_told_what_it_lacks() {
        let silence = "no answer to the connection attempt within 1 s";
        assert_eq!(
            words(FailureKind::Timeout, silence, Own::Accepts),
            "no answer to the connection attempt within 1 s, while pc1 accepts at 172.16.0.11: its loopback lacks \
             192.0.2.25, or a filter drops it"
        );
        assert_eq!(
            words(FailureKind::Timeout, silence, Own::Refuses),
            "no answer to the connection attempt within 1 s, while pc1 is alive at 172.16.0.11: its loopback lacks \
             192.0.2.25, or a filter drops it"
        );
        assert_eq!(
            words(FailureKind::Unreachable, "no route to host", Own::Silent),
            "the loopback of pc1 lacks 192.0.2.25: being a router, it sends the probe on"
        );
        assert_eq!(
            words(FailureKind::Refused, "connection refused", Own::Accepts),
            "connection refused, while pc1 accepts at 172.16.0.11: it does not listen on 192.0.2.25"
        );
    }

    #[test]
    fn a_server_that_is_silent_everywhere_is_just_silent() {
        assert_eq!(words(FailureKind::Timeout, "no answer", Own::Silent), "no answer");
        assert_eq!(words(FailureKind::Refused, "connection refused", Own::Refuses), "connection refused");
    }
}
