//! From a question to the way in which it is asked: which transport, which conversation, with which secrets.

use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use mio::{Interest, Token};

use super::command::{Finished, Running};
use super::datagram::{Datagram, Kind};
use super::files::Files;
use super::neighbour::Neighbour;
use super::probe::account::Account;
use super::probe::dns::{self, Dns};
use super::probe::ftp::Ftp;
use super::probe::http::{self, Http};
use super::probe::icmp::Echo;
use super::probe::imap::Imap;
use super::probe::ldap::Ldap;
use super::probe::mysql::Mysql;
use super::probe::pop3::Pop3;
use super::probe::radius::Radius;
use super::probe::script::arguments;
use super::probe::smtp::Smtp;
use super::probe::{Conversation, Next};
use super::reach;
use super::sockets::Sockets;
use super::stream::{Security, Stream, Talk};
use super::tls;
use super::transport::{Ended, Marked, Ready, Scratch, Step};
use crate::config::Probe;
use crate::config::probe::{Login, Security as Wanted, TlsOptions};
use crate::core::check::{Failure, FailureKind, Verdict};
use crate::core::moment::Moment;
use crate::core::target::Question;

/// A probe under way.
pub enum Asking {
    Stream(Box<Stream>),
    Datagram(Datagram),
    Neighbour(Neighbour),
    Command(Running),
}

/// Datagrams are sent once more after this part of the timeout: a network may lose one, and one is not a failure.
const DATAGRAM_AGAIN_PART: u32 = 3;
/// The rest of the timeout is left to the server's own address.
const ASIDE_PART: u32 = 2;

impl Asking {
    /// `None`: there is no socket to wait for.
    pub fn fd(&self) -> Option<RawFd> {
        match self {
            Self::Stream(stream) => Some(stream.fd()),
            Self::Datagram(datagram) => Some(datagram.fd()),
            Self::Neighbour(neighbour) => Some(neighbour.fd()),
            Self::Command(_) => None,
        }
    }

    /// A datagram is sent at once, or lost.
    pub fn interest(&self) -> Interest {
        match self {
            Self::Stream(stream) => stream.interest(),
            _ => Interest::READABLE,
        }
    }

    /// The poll knows its socket from an earlier probe.
    pub fn is_known(&self) -> bool {
        matches!(self, Self::Stream(stream) if stream.is_used())
    }

    /// The poll has to be told its `interest` anew.
    pub fn lacks_room(&mut self) -> bool {
        match self {
            Self::Stream(stream) => stream.lacks_room(),
            Self::Datagram(_) | Self::Neighbour(_) | Self::Command(_) => false,
        }
    }

    pub fn ready(&mut self, ready: Ready, scratch: &mut Scratch) -> Step {
        match self {
            Self::Stream(stream) => stream.ready(ready, scratch),
            Self::Datagram(datagram) => datagram.ready(ready, scratch),
            Self::Neighbour(neighbour) => neighbour.ready(ready, scratch),
            Self::Command(_) => Step::Wait,
        }
    }

    /// Ends it without a farewell.
    pub fn end(self, idle: &mut Sockets) {
        if let Self::Stream(stream) = self {
            stream.abort(idle);
        }
    }

    /// When to do something about an answer that does not come: a datagram is sent once more; of a server behind a virtual
    /// address that answers no connection attempt, its own address is asked.
    pub fn again_after(&self, timeout: Duration) -> Option<Duration> {
        match self {
            Self::Datagram(_) | Self::Neighbour(_) => Some(timeout / DATAGRAM_AGAIN_PART),
            Self::Stream(_) => Some(timeout / ASIDE_PART),
            Self::Command(_) => None,
        }
    }

    /// Not a word has been exchanged yet.
    pub fn is_connecting(&self) -> bool {
        matches!(self, Self::Stream(stream) if stream.is_connecting())
    }

    pub fn again(&self) {
        match self {
            Self::Datagram(datagram) => datagram.again(),
            Self::Neighbour(neighbour) => neighbour.again(),
            Self::Stream(_) | Self::Command(_) => {}
        }
    }

    /// The time is up; it was `timeout`.
    pub fn timed_out(&self, timeout: Duration) -> Ended {
        let verdict = match self {
            Self::Stream(stream) => return stream.timed_out(timeout),
            Self::Datagram(datagram) => datagram.timed_out(),
            Self::Neighbour(neighbour) => neighbour.timed_out(),
            Self::Command(running) => Verdict::Failure(running.timed_out()),
        };
        Ended { verdict, certificate_ends: None, farewell: false }
    }
}

/// Why a probe does not begin.
pub enum NotBegun {
    /// It is over already.
    Over(Verdict),
    /// This box lacks something.
    Short(io::Error),
}

impl From<Failure> for NotBegun {
    fn from(failure: Failure) -> Self {
        Self::Over(Verdict::Failure(failure))
    }
}

impl From<io::Error> for NotBegun {
    fn from(error: io::Error) -> Self {
        if reach::is_shortage(&error) { Self::Short(error) } else { Self::Over(reach::verdict(&error)) }
    }
}

/// What of a question is made once for all its probes.
pub struct Prepared {
    question: Question,
    made: Made,
}

enum Made {
    Nothing,
    Http(Arc<http::Request>),
    Dns(Arc<dns::Question>),
    /// It cannot be asked at all.
    Unaskable(Failure),
}

/// What a probe needs besides its question.
pub struct Means<'a> {
    /// Of the socket (SO_MARK).
    pub marked: Option<Marked>,
    pub files: &'a mut Files,
    /// Which may be used again.
    pub idle: &'a mut Sockets,
    pub now: Moment,
    /// Comes back with a command's end.
    pub token: Token,
    pub finished: &'a Finished,
}

impl Prepared {
    pub fn new(question: &Question) -> Self {
        let made = match &*question.probe {
            Probe::Http(probe) => http::Request::new(probe, question.address).map(|made| Made::Http(made.into())),
            Probe::Dns(probe) => dns::Question::new(probe).map(|made| Made::Dns(made.into())),
            _ => Ok(Made::Nothing),
        };
        let made = made.unwrap_or_else(|error| Made::Unaskable(error.into()));
        Self { question: question.clone(), made }
    }

    pub fn is_command(&self) -> bool {
        matches!(*self.question.probe, Probe::Script(_))
    }

    /// Begins one probe; its first packet is on its way afterwards.
    pub fn begin(&self, means: &mut Means<'_>) -> Result<Asking, NotBegun> {
        match (&*self.question.probe, &self.made) {
            (_, Made::Unaskable(failure)) => Err(failure.clone().into()),
            (Probe::Tcp, _) => self.stream(means, Talk::Connection, &Wanted::Plain),
            (Probe::Tls(options), _) => self.stream(means, Talk::Handshake, &Wanted::Tls(options.clone())),
            (Probe::Smtp(probe), _) => {
                let talk = Smtp::new(probe, account(probe.login.as_ref(), means)?);
                self.talk(means, talk, &probe.security)
            }
            (Probe::Pop3(probe), _) => {
                let talk = Pop3::new(probe, account(probe.login.as_ref(), means)?);
                self.talk(means, talk, &probe.security)
            }
            (Probe::Imap(probe), _) => {
                let talk = Imap::new(probe, account(probe.login.as_ref(), means)?);
                self.talk(means, talk, &probe.security)
            }
            (Probe::Ftp(probe), _) => {
                let talk = Ftp::new(probe, account(probe.login.as_ref(), means)?);
                self.talk(means, talk, &probe.security)
            }
            (Probe::Http(probe), Made::Http(request)) => self.talk(means, Http::new(request.clone()), &probe.security),
            (Probe::Ldap(probe), _) => {
                let account = account(probe.login.as_ref(), means)?;
                self.talk(means, Ldap::new(account.as_ref()).map_err(Failure::from)?, &probe.security)
            }
            (Probe::Mysql(probe), _) => {
                let account = account(probe.login.as_ref(), means)?;
                self.talk(means, Mysql::new(account.as_ref()).map_err(Failure::from)?, &Wanted::Plain)
            }
            (Probe::Dns(probe), Made::Dns(question)) => {
                let talk = Dns::new(question.clone(), u16::from_ne_bytes(random()?));
                if probe.tcp { self.talk(means, talk, &Wanted::Plain) } else { self.datagram(means, Kind::Udp, talk) }
            }
            (Probe::Radius(probe), _) => {
                let secret = means.files.secret(&probe.secret_file, means.now)?;
                let account = account(probe.login.as_ref(), means)?;
                let talk = Radius::new(secret.as_bytes(), account.as_ref(), random()?).map_err(Failure::from)?;
                self.datagram(means, Kind::Udp, talk)
            }
            (Probe::Icmp, _) => {
                let identifier = u16::from_ne_bytes(random()?);
                let address = self.question.address.ip();
                let echo = Echo::new(address, identifier, u16::from_ne_bytes(random()?), random()?);
                self.datagram(means, Kind::Icmp, Ping { echo, address })
            }
            (Probe::Arp, _) => Ok(Asking::Neighbour(Neighbour::new(self.question.address.ip())??)),
            (Probe::Script(probe), _) => {
                let command = arguments(&probe.command, &self.question);
                Ok(Asking::Command(Running::start(command, means.token, means.finished)?))
            }
            (Probe::Http(_) | Probe::Dns(_), _) => {
                let words = "the question was made for another probe; reload the configuration".to_owned();
                Err(Failure { kind: FailureKind::Local, words }.into())
            }
        }
    }

    fn talk(
        &self,
        means: &mut Means<'_>,
        talk: impl Conversation + 'static,
        security: &Wanted,
    ) -> Result<Asking, NotBegun> {
        self.stream(means, Talk::Conversation(Box::new(talk)), security)
    }

    fn stream(&self, means: &mut Means<'_>, talk: Talk, security: &Wanted) -> Result<Asking, NotBegun> {
        let security = match security {
            Wanted::Plain => Security::Plain,
            Wanted::Tls(options) => Security::FromStart(asked(options, means)?),
            Wanted::StartTls(options) => Security::OnDemand(asked(options, means)?),
        };
        let stream = Stream::new(self.question.address, means.marked, talk, security, means.idle);
        Ok(Asking::Stream(Box::new(stream.map_err(|error| self.not_begun(error))?)))
    }

    /// What forbids a packet to a virtual address is the end of the table of such probes, when their way is gone.
    fn not_begun(&self, error: io::Error) -> NotBegun {
        if self.question.via.is_some() && reach::is_forbidden(&error) { NotBegun::Short(error) } else { error.into() }
    }

    fn datagram(
        &self,
        means: &mut Means<'_>,
        kind: Kind,
        talk: impl Conversation + 'static,
    ) -> Result<Asking, NotBegun> {
        let begun = Datagram::new(kind, self.question.address, means.marked, Box::new(talk));
        begun.map_err(|error| self.not_begun(error))?.map(Asking::Datagram).map_err(NotBegun::Over)
    }
}

fn asked(options: &TlsOptions, means: &mut Means<'_>) -> Result<tls::Asked, Failure> {
    let roots = options.ca_file.as_ref().map(|path| means.files.roots(path, means.now)).transpose()?;
    tls::Asked::new(options, roots)
}

fn account(login: Option<&Login>, means: &mut Means<'_>) -> Result<Option<Account>, Failure> {
    let Some(login) = login else { return Ok(None) };
    let password = means.files.secret(&login.password_file, means.now)?;
    Ok(Some(Account { user: login.user.clone(), password }))
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let none = || Failure { kind: FailureKind::Local, words: "the kernel gives no random bytes".into() };
    tls::random().ok_or_else(none)
}

/// An echo request and its answer, as a conversation on a raw socket that hears one address.
struct Ping {
    echo: Echo,
    address: IpAddr,
}

impl Conversation for Ping {
    fn open(&mut self, out: &mut Vec<u8>) -> Next {
        out.extend(self.echo.request());
        Next::Read
    }

    fn received(&mut self, bytes: &[u8], _out: &mut Vec<u8>) -> Next {
        self.echo.heard(self.address, bytes).map_or(Next::Read, Next::Done)
    }

    fn closed(&mut self) -> Verdict {
        Verdict::Failure(self.timed_out())
    }

    fn timed_out(&self) -> Failure {
        self.echo.timed_out()
    }
}
