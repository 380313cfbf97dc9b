//! From a question to the way in which it is asked: which transport, which conversation, with which secrets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Duration;

use super::files::Files;
use super::probe::account::Account;
use super::probe::ftp::Ftp;
use super::probe::imap::Imap;
use super::probe::pop3::Pop3;
use super::probe::smtp::Smtp;
use super::stream::{Security, Stream, Talk};
use super::tls;
use super::transport::{Ended, Ready, Scratch, Step};
use crate::config::Probe;
use crate::config::probe::{Login, Security as Wanted, TlsOptions};
use crate::core::check::{Failure, Verdict};
use crate::core::moment::Moment;
use crate::core::target::Question;

/// A probe under way.
pub enum Asking {
    Stream(Stream),
}

impl Asking {
    pub fn fd(&self) -> RawFd {
        match self {
            Self::Stream(stream) => stream.fd(),
        }
    }

    pub fn ready(&mut self, ready: Ready, scratch: &mut Scratch) -> Step {
        match self {
            Self::Stream(stream) => stream.ready(ready, scratch),
        }
    }

    /// When to put the question once more, if it is one that may be lost.
    pub fn again_after(&self, timeout: Duration) -> Option<Duration> {
        match self {
            Self::Stream(_) => None,
        }
    }

    pub fn again(&mut self) {
        match self {
            Self::Stream(_) => {}
        }
    }

    /// The time is up; it was `timeout`.
    pub fn timed_out(&self, timeout: Duration) -> Ended {
        match self {
            Self::Stream(stream) => stream.timed_out(timeout),
        }
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
        if super::reach::is_shortage(&error) { Self::Short(error) } else { Self::Over(super::reach::verdict(&error)) }
    }
}

/// What of a question is made once for all its probes.
pub struct Prepared {
    question: Question,
}

impl Prepared {
    pub fn new(question: &Question) -> Self {
        Self { question: question.clone() }
    }

    /// Begins one probe; its first packet is on its way afterwards.
    pub fn begin(&self, mark: Option<u32>, files: &mut Files, now: Moment) -> Result<Asking, NotBegun> {
        let address = self.question.address;
        let mut with = |files: &mut Files, wanted: &Wanted, talk: Talk| {
            let security = security(wanted, files, now)?;
            stream(address, mark, talk, security)
        };
        match &*self.question.probe {
            Probe::Tcp => stream(address, mark, Talk::Connection, Security::Plain),
            Probe::Tls(options) => {
                stream(address, mark, Talk::Handshake, Security::FromStart(asked(options, files, now)?))
            }
            Probe::Smtp(probe) => {
                let account = account(probe.login.as_ref(), files, now)?;
                with(files, &probe.security, Talk::Conversation(Box::new(Smtp::new(probe, account))))
            }
            Probe::Pop3(probe) => {
                let account = account(probe.login.as_ref(), files, now)?;
                with(files, &probe.security, Talk::Conversation(Box::new(Pop3::new(probe, account))))
            }
            Probe::Imap(probe) => {
                let account = account(probe.login.as_ref(), files, now)?;
                with(files, &probe.security, Talk::Conversation(Box::new(Imap::new(probe, account))))
            }
            Probe::Ftp(probe) => {
                let account = account(probe.login.as_ref(), files, now)?;
                with(files, &probe.security, Talk::Conversation(Box::new(Ftp::new(probe, account))))
            }
            _ => stream(address, mark, Talk::Connection, Security::Plain),
        }
    }
}

fn stream(address: SocketAddr, mark: Option<u32>, talk: Talk, security: Security) -> Result<Asking, NotBegun> {
    Ok(Asking::Stream(Stream::new(address, mark, talk, security)?))
}

fn security(wanted: &Wanted, files: &mut Files, now: Moment) -> Result<Security, Failure> {
    Ok(match wanted {
        Wanted::Plain => Security::Plain,
        Wanted::Tls(options) => Security::FromStart(asked(options, files, now)?),
        Wanted::StartTls(options) => Security::OnDemand(asked(options, files, now)?),
    })
}

fn asked(options: &TlsOptions, files: &mut Files, now: Moment) -> Result<tls::Asked, Failure> {
    let roots = options.ca_file.as_ref().map(|path| files.roots(path, now)).transpose()?;
    tls::Asked::new(options, roots)
}

fn account(login: Option<&Login>, files: &mut Files, now: Moment) -> Result<Option<Account>, Failure> {
    let Some(login) = login else { return Ok(None) };
    let password = files.secret(&login.password_file, now)?;
    Ok(Some(Account { user: login.user.clone(), password }))
}
