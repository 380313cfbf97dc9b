//! A conversation over TCP, with TLS from the beginning or from where it asks for it.
//!
//! ```text
//!   connecting ──> (TLS handshake) ──> talking ──> over ──> parting: the farewell is sent, and answered ──> ended by RST
//!                        ^                │          └────────────────────────────────────────────────────────^
//!                        └── STARTTLS ────┘
//! ```
//!
//! A connection is ended by RST: thousands of probes leave no TIME_WAIT behind, on neither side. One with a farewell is so
//! only when the server has answered that, or has closed: it has nothing more to send or to read then.
//!
//! Where the server speaks first, its greeting says that the connection is open: the poll does not tell of that before.
//!
//! Where the next packet is ours in any case (the RST of a probe that wants a connection and no more, or TLS from the
//! beginning), the handshake's last ACK waits for it: a packet less for each side, and a server that is only asked for
//! a connection need not make one for its program.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::Interest;
use socket2::{SockRef, Socket};

use super::probe::{Conversation, Next};
use super::reach;
use super::sockets::{self, Sockets};
use super::tls::{self, Tls};
use super::transport::{Ended, Marked, Ready, Scratch, Step, brief};
use crate::core::check::{Failure, FailureKind, Verdict};

/// Reads in one turn of a probe.
const READS: usize = 4;
/// Bytes of one probe from the server, TLS included; four times what a conversation may be. Also what stays
/// below TLS, such as empty records, comes to an end here.
const WIRE_BYTES_MAX: usize = 512 * 1024;

/// What is done with the connection.
pub enum Talk {
    /// That it opens is enough.
    Connection,
    /// A TLS handshake is enough.
    Handshake,
    Conversation(Box<dyn Conversation>),
}

/// TLS in a conversation.
pub enum Security {
    Plain,
    FromStart(tls::Asked),
    OnDemand(tls::Asked),
}

/// One probe over TCP.
pub struct Stream {
    socket: TcpStream,
    address: SocketAddr,
    /// The socket has been used before.
    used: bool,
    /// The socket may be used again.
    usable: bool,
    connected: bool,
    talk: Talk,
    security: Security,
    tls: Option<Box<Tls>>,
    /// The poll tells of what can be read only.
    listens: bool,
    /// What the kernel had no room for.
    unsent: Vec<u8>,
    received: usize,
}

/// Begins to connect. `ours_is_next`: the server is not waited for once the connection is open.
pub fn connect(address: SocketAddr, marked: Option<Marked>, ours_is_next: bool) -> io::Result<TcpStream> {
    begin(sockets::new(address)?, address, marked, ours_is_next)
}

fn begin(socket: Socket, address: SocketAddr, marked: Option<Marked>, ours_is_next: bool) -> io::Result<TcpStream> {
    // The kernel forgets this with the connection.
    if ours_is_next {
        socket.set_tcp_quickack(false)?;
    }
    if let Some(marked) = marked {
        marked.prepare(&socket)?;
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

impl Stream {
    pub fn new(
        address: SocketAddr,
        marked: Option<Marked>,
        talk: Talk,
        security: Security,
        idle: &mut Sockets,
    ) -> io::Result<Self> {
        let plain = matches!(security, Security::Plain);
        let listens = plain && matches!(&talk, Talk::Conversation(talk) if talk.is_greeted());
        let ours_is_next = matches!(talk, Talk::Connection) || matches!(security, Security::FromStart(_));
        // Mark and source address stay with a socket.
        let usable = marked.is_none();
        let idle = if usable { idle.take(address) } else { None };
        let used = idle.is_some();
        let socket = idle.map_or_else(|| sockets::new(address), Ok)?;
        Ok(Self {
            socket: begin(socket, address, marked, ours_is_next)?,
            address,
            used,
            usable,
            connected: false,
            talk,
            security,
            tls: None,
            listens,
            unsent: Vec::new(),
            received: 0,
        })
    }

    /// The poll knows the socket from an earlier probe.
    pub fn is_used(&self) -> bool {
        self.used
    }

    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub fn is_connecting(&self) -> bool {
        !(self.connected || self.listens && self.socket.peer_addr().is_ok())
    }

    /// What the poll has to tell.
    pub fn interest(&self) -> Interest {
        if self.listens { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE }
    }

    /// Something is left to be sent, and the poll would not tell when there is room: its `interest` is another now.
    pub fn lacks_room(&mut self) -> bool {
        let lacks = self.listens && !self.unsent.is_empty();
        self.listens &= !lacks;
        lacks
    }

    pub fn ready(&mut self, ready: Ready, scratch: &mut Scratch) -> Step {
        let step = self.go_on(ready, scratch);
        match step {
            Ok(None) => Step::Wait,
            Ok(Some(Stop::More)) => Step::More,
            Ok(Some(Stop::Done { verdict, farewell })) => {
                let certificate_ends = self.certificate_ends();
                Step::Over(Ended { verdict, certificate_ends, farewell })
            }
            Err(failure) => Step::Over(Ended {
                verdict: Verdict::Failure(failure),
                certificate_ends: self.certificate_ends(),
                farewell: false,
            }),
        }
    }

    fn certificate_ends(&self) -> Option<u64> {
        self.tls.as_ref().and_then(|tls| tls.certificate_ends())
    }

    fn go_on(&mut self, ready: Ready, scratch: &mut Scratch) -> Result<Option<Stop>, Failure> {
        if !self.connected {
            if ready.error
                && let Ok(Some(error)) = self.socket.take_error()
            {
                return Ok(Some(Stop::failed(&error)));
            }
            let greeted = self.listens && (ready.readable || ready.closed);
            if !ready.writable && !greeted {
                return Ok(None);
            }
            self.connected = true;
            if let Some(stop) = self.opened(scratch)? {
                return Ok(Some(stop));
            }
        } else if ready.writable && !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            self.send(&unsent);
        }
        if ready.readable || ready.closed || ready.error { self.read(ready, scratch) } else { Ok(None) }
    }

    fn opened(&mut self, scratch: &mut Scratch) -> Result<Option<Stop>, Failure> {
        match std::mem::replace(&mut self.security, Security::Plain) {
            Security::FromStart(asked) => self.begin_tls(asked, scratch).map(|()| None),
            other => {
                self.security = other;
                self.open_talk(scratch)
            }
        }
    }

    fn open_talk(&mut self, scratch: &mut Scratch) -> Result<Option<Stop>, Failure> {
        let success = |words: &str| Stop::Done { verdict: Verdict::Success(words.into()), farewell: false };
        match &mut self.talk {
            Talk::Connection => Ok(Some(success("connection opened"))),
            Talk::Handshake => {
                Ok(Some(success(self.tls.as_ref().and_then(|tls| tls.words()).unwrap_or("handshake complete"))))
            }
            Talk::Conversation(talk) => {
                scratch.out.clear();
                let next = talk.open(&mut scratch.out);
                self.follow(next, scratch)
            }
        }
    }

    fn begin_tls(&mut self, asked: tls::Asked, scratch: &mut Scratch) -> Result<(), Failure> {
        let tls = self.tls.insert(Box::new(Tls::new(asked, self.address.ip())?));
        scratch.wire.clear();
        tls.take(&mut scratch.wire);
        self.send(&scratch.wire);
        Ok(())
    }

    /// Sends what a conversation has put into `scratch.out`, and does what it wants next.
    fn follow(&mut self, next: Next, scratch: &mut Scratch) -> Result<Option<Stop>, Failure> {
        let farewell = matches!(next, Next::Done(_)) && !scratch.out.is_empty();
        match &mut self.tls {
            Some(tls) => {
                tls.send(&scratch.out);
                if farewell {
                    tls.close();
                }
                scratch.wire.clear();
                tls.take(&mut scratch.wire);
                self.send(&scratch.wire);
            }
            None => self.send(&scratch.out),
        }
        match next {
            Next::Read => Ok(None),
            Next::Done(verdict) => Ok(Some(Stop::Done { verdict, farewell })),
            Next::StartTls => match std::mem::replace(&mut self.security, Security::Plain) {
                Security::OnDemand(asked) => self.begin_tls(asked, scratch).map(|()| None),
                Security::Plain | Security::FromStart(_) => Err(Failure {
                    kind: FailureKind::Local,
                    words: "TLS is asked for where it is not configured".into(),
                }),
            },
        }
    }

    /// An error here shows again in the next read, where what came before it is seen first.
    fn send(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let sent = if self.unsent.is_empty() {
            SockRef::from(&self.socket).send_with_flags(bytes, libc::MSG_NOSIGNAL).unwrap_or(0)
        } else {
            0
        };
        self.unsent.extend_from_slice(bytes.get(sent..).unwrap_or_default());
    }

    fn read(&mut self, ready: Ready, scratch: &mut Scratch) -> Result<Option<Stop>, Failure> {
        for _ in 0..READS {
            let count = match self.socket.read(&mut scratch.read) {
                Ok(0) => return Ok(Some(self.closed())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if reach::is_closed(&error) => return Ok(Some(self.closed())),
                Err(error) => return Ok(Some(Stop::failed(&error))),
            };
            self.received = self.received.saturating_add(count);
            if let Some(stop) = self.arrived(count, scratch)? {
                return Ok(Some(stop));
            }
            if self.received > WIRE_BYTES_MAX {
                let words = format!("more than {} KiB, and still no end", WIRE_BYTES_MAX / 1024);
                return Err(Failure { kind: FailureKind::Overlong, words });
            }
            // Less than there was room for is all that there was; only an end is still to be seen.
            if count < scratch.read.len() && !ready.closed && !ready.error {
                return Ok(None);
            }
        }
        Ok(Some(Stop::More))
    }

    /// The first `count` bytes of `scratch.read` came.
    fn arrived(&mut self, count: usize, scratch: &mut Scratch) -> Result<Option<Stop>, Failure> {
        let Some(tls) = &mut self.tls else {
            let Talk::Conversation(talk) = &mut self.talk else { return Ok(None) };
            scratch.out.clear();
            let next = talk.received(scratch.read.get(..count).unwrap_or_default(), &mut scratch.out);
            return self.follow(next, scratch);
        };
        let was_open = tls.is_open();
        scratch.plain.clear();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let result = tls.received(scratch.read.get(..count).unwrap_or_default(), &mut scratch.plain, now);
        // The rest of a handshake, or an alert that says why not.
        scratch.wire.clear();
        tls.take(&mut scratch.wire);
        let open = tls.is_open();
        self.send(&scratch.wire);
        if open
            && !was_open
            && let Some(stop) = self.open_talk(scratch)?
        {
            return Ok(Some(stop));
        }
        if !scratch.plain.is_empty()
            && let Talk::Conversation(talk) = &mut self.talk
        {
            scratch.out.clear();
            let next = talk.received(&scratch.plain, &mut scratch.out);
            if let Some(stop) = self.follow(next, scratch)? {
                return Ok(Some(stop));
            }
        }
        result.map(|()| None)
    }

    fn closed(&mut self) -> Stop {
        let in_handshake = self.tls.as_ref().is_some_and(|tls| !tls.is_open());
        let verdict = match &mut self.talk {
            _ if in_handshake => {
                Verdict::failure(FailureKind::Tls, "the server closed the connection during the TLS handshake")
            }
            Talk::Conversation(talk) => talk.closed(),
            Talk::Connection | Talk::Handshake => Verdict::failure(FailureKind::Closed, "closed at once"),
        };
        Stop::Done { verdict, farewell: false }
    }

    /// The time is up; it was `timeout`.
    pub fn timed_out(&self, timeout: Duration) -> Ended {
        let failure = |kind, words: String| Failure { kind, words };
        let failure = match (&self.tls, &self.talk) {
            _ if self.is_connecting() => {
                let words = format!("no answer to the connection attempt within {}", brief(timeout));
                failure(FailureKind::Timeout, words)
            }
            (Some(tls), _) if !tls.is_open() && tls.answered() => {
                failure(FailureKind::Hung, "the TLS handshake began and was not completed".into())
            }
            (Some(tls), _) if !tls.is_open() => {
                failure(FailureKind::Silent, "accepts connections, but does not answer the TLS handshake".into())
            }
            (_, Talk::Conversation(talk)) => talk.timed_out(),
            (_, Talk::Connection | Talk::Handshake) => failure(FailureKind::Hung, "not through in time".into()),
        };
        Ended { verdict: Verdict::Failure(failure), certificate_ends: self.certificate_ends(), farewell: false }
    }

    /// While the farewell is on its way; `true`: the server has answered it, or closed, and the connection can end.
    pub fn parted(&mut self, ready: Ready, scratch: &mut Scratch) -> bool {
        if ready.writable && !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            self.send(&unsent);
        }
        for _ in 0..READS {
            match self.socket.read(&mut scratch.read) {
                Ok(count) if count > 0 => {
                    self.received = self.received.saturating_add(count);
                    if self.tls.is_none()
                        && let Talk::Conversation(talk) = &mut self.talk
                        && talk.is_parted(scratch.read.get(..count).unwrap_or_default())
                    {
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                _ => return true,
            }
            if self.received > WIRE_BYTES_MAX {
                return true;
            }
            if !ready.closed && !ready.error {
                return false;
            }
        }
        false
    }

    /// Ends the connection by RST; the socket waits among `idle` for the next one, if it can.
    pub fn abort(self, idle: &mut Sockets) {
        match (!self.is_connecting(), self.usable) {
            (true, true) => idle.put(self.address, self.socket),
            (true, false) => sockets::end(&self.socket),
            (false, _) => {}
        }
    }
}

/// Why a probe does not wait for the next event.
enum Stop {
    More,
    Done { verdict: Verdict, farewell: bool },
}

impl Stop {
    fn failed(error: &io::Error) -> Self {
        Self::Done { verdict: reach::verdict(error), farewell: false }
    }
}
