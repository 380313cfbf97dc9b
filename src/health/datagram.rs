//! A question and its answer in datagrams: UDP, and ICMP.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::probe::{Conversation, Next};
use super::reach;
use super::transport::{Marked, Ready, Scratch, Step};
use crate::core::check::{FailureKind, Verdict};

/// Datagrams that are read in one turn of a probe.
const READS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Udp,
    /// Echo requests on a raw socket, which needs CAP_NET_RAW: the other kind (ping sockets) is closed to all by
    /// default (icmp(7), ping_group_range).
    Icmp,
}

/// One probe by datagrams.
pub struct Datagram {
    socket: Socket,
    talk: Box<dyn Conversation>,
    /// The latest question, which is sent once more: a network may lose one.
    question: Vec<u8>,
}

impl Datagram {
    /// Sends the question. `Err` of a verdict: it is over already.
    pub fn new(
        kind: Kind,
        address: SocketAddr,
        marked: Option<Marked>,
        mut talk: Box<dyn Conversation>,
    ) -> io::Result<Result<Self, Verdict>> {
        let (of, protocol) = match (kind, address.is_ipv4()) {
            (Kind::Udp, _) => (Type::DGRAM, Protocol::UDP),
            (Kind::Icmp, true) => (Type::RAW, Protocol::ICMPV4),
            (Kind::Icmp, false) => (Type::RAW, Protocol::ICMPV6),
        };
        let socket = Socket::new(Domain::for_address(address), of.nonblocking(), Some(protocol))?;
        if let Some(marked) = marked {
            marked.prepare(&socket)?;
        }
        // Connected: the kernel takes in only what comes from there, and reports its refusals.
        let mut peer = address;
        if kind == Kind::Icmp {
            peer.set_port(0);
        }
        socket.connect(&peer.into())?;
        let mut question = Vec::new();
        if let Next::Done(verdict) = talk.open(&mut question) {
            return Ok(Err(verdict));
        }
        let datagram = Self { socket, talk, question };
        datagram.send()?;
        Ok(Ok(datagram))
    }

    fn send(&self) -> io::Result<()> {
        if self.question.is_empty() {
            return Ok(());
        }
        self.socket.send_with_flags(&self.question, libc::MSG_NOSIGNAL).map(|_| ())
    }

    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Asks once more; an error shows in what is read.
    pub fn again(&self) {
        _ = self.send();
    }

    pub fn ready(&mut self, ready: Ready, scratch: &mut Scratch) -> Step {
        if !ready.readable && !ready.error {
            return Step::Wait;
        }
        for _ in 0..READS {
            let count = match self.socket.read(&mut scratch.read) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Wait,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Step::over(reach::verdict(&error)),
            };
            scratch.out.clear();
            match self.talk.received(scratch.read.get(..count).unwrap_or_default(), &mut scratch.out) {
                Next::Done(verdict) => return Step::over(verdict),
                Next::StartTls => {
                    return Step::over(Verdict::failure(FailureKind::Local, "TLS is asked for over datagrams"));
                }
                Next::Read => {}
            }
            if !scratch.out.is_empty() {
                self.question.clone_from(&scratch.out);
                _ = self.send();
            }
        }
        Step::More
    }

    pub fn timed_out(&self) -> Verdict {
        Verdict::Failure(self.talk.timed_out())
    }
}
