//! FTP (RFC 959): greeting, and with a login USER and PASS. No data connection is opened.
//!
//! ```text
//!   greeting ─220─> AUTH TLS ─234─> (TLS) USER ─331─> PASS ─230─> success
//!                                          └────230────────────────^
//! ```

use super::Next;
use super::account::{self, Account, sendable};
use super::dialogue::{Awaited, Dialogue, Protocol, not_of_protocol, quit, send};
use super::lines::Lines;
use super::reply::{Replies, Reply, Style};
use crate::config::probe::{FtpProbe, Security};
use crate::core::check::{FailureKind, Verdict};

/// A probe's conversation with an FTP server.
pub type Ftp = Dialogue<Session>;

impl Ftp {
    /// `account` is that of `options.login`.
    pub fn new(options: &FtpProbe, account: Option<Account>) -> Self {
        Self::with(Session {
            auth_tls: matches!(options.security, Security::StartTls(_)),
            account,
            step: Step::Greeting,
            replies: Replies::new(Style::Ftp),
        })
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Greeting,
    AuthTls,
    User,
    Pass,
}

impl Step {
    fn command(self) -> Option<&'static str> {
        match self {
            Self::Greeting => None,
            Self::AuthTls => Some("AUTH TLS"),
            Self::User => Some("USER"),
            Self::Pass => Some("PASS"),
        }
    }
}

#[derive(Debug)]
pub struct Session {
    auth_tls: bool,
    account: Option<Account>,
    step: Step,
    replies: Replies,
}

impl Session {
    fn send(&mut self, step: Step, command: &str, out: &mut Vec<u8>) -> Next {
        self.step = step;
        send(command, out)
    }

    fn answered(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Next {
        match (self.step, reply.code) {
            (Step::Greeting, 220) if self.auth_tls => self.send(Step::AuthTls, "AUTH TLS", out),
            (Step::Greeting, 220) => self.login("220 in the greeting", out),
            (Step::AuthTls, 234) => Next::StartTls,
            (Step::User, 331) => {
                let command = format!("PASS {}", self.account.as_ref().map_or("", |account| &account.password));
                self.send(Step::Pass, &command, out)
            }
            // RFC 959, 5.4: 202 is a password that was superfluous.
            (Step::User, 230) | (Step::Pass, 230 | 202) => {
                let command = self.step.command().unwrap_or_default();
                quit(Verdict::Success(format!("{} after {command}", reply.code)), out)
            }
            _ => self.refused(reply, out),
        }
    }

    fn login(&mut self, success: &str, out: &mut Vec<u8>) -> Next {
        match &self.account {
            Some(account) => {
                let command = format!("USER {}", account.user);
                self.send(Step::User, &command, out)
            }
            None => quit(Verdict::Success(success.into()), out),
        }
    }

    /// Any answer that does not lead on.
    fn refused(&self, reply: &Reply, out: &mut Vec<u8>) -> Next {
        let shown = account::shown(self.account.as_ref(), &reply.text);
        let words = match self.step.command() {
            None => format!("greeting {shown}"),
            Some(command) => format!("{command} answered {shown}"),
        };
        let kind = match (reply.code, self.step) {
            // The server closes by itself: a farewell would come too late.
            (421, _) => return Next::Done(Verdict::failure(FailureKind::Busy, words)),
            // "Service ready in n minutes"
            (120, Step::Greeting) => FailureKind::Busy,
            (400.., Step::AuthTls) => FailureKind::Tls,
            (400..=499, _) => FailureKind::Busy,
            // The server wants ACCT, which no probe has.
            (332 | 500.., Step::User | Step::Pass) => FailureKind::Login,
            (500.., _) => FailureKind::Rejected,
            (..400, _) => return Next::Done(Verdict::failure(FailureKind::Malformed, words)),
        };
        quit(Verdict::failure(kind, words), out)
    }
}

impl Protocol for Session {
    const FAREWELL_IS_ANSWERED_BY_A_LINE: bool = true;

    fn sendable(&self) -> bool {
        self.account.iter().all(|account| sendable(&account.user) && sendable(&account.password))
    }

    fn line(&mut self, line: &[u8], _: &mut Lines, out: &mut Vec<u8>) -> Next {
        match self.replies.line(line) {
            Ok(Some(reply)) => self.answered(&reply, out),
            Ok(None) => Next::Read,
            Err(_) => {
                let shown = account::shown(self.account.as_ref(), line);
                Next::Done(not_of_protocol(&self.awaited(), &shown))
            }
        }
    }

    fn unasked(&self, line: &[u8]) -> bool {
        // "If the service knows it must shut down" (RFC 959, 4.2.2)
        line.starts_with(b"421") || !self.replies.at_start()
    }

    fn secured(&mut self, out: &mut Vec<u8>) -> Next {
        self.login("234 after AUTH TLS", out)
    }

    fn awaited(&self) -> Awaited {
        self.step.command().map_or(Awaited::Greeting, Awaited::answer)
    }
}

#[cfg(test)]
#[path = "ftp_tests.rs"]
mod tests;
