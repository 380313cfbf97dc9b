//! POP3 (RFC 1939): greeting and capabilities (RFC 2449), and with a login the mailbox itself.
//!
//! ```text
//!   greeting ─> CAPA ─> STLS ─> (TLS) CAPA ─> USER ─> PASS ─> STAT ─> success
//! ```
//!
//! Steps that are not asked for are left out. STAT is what opens the mailbox for certain: some servers do so at
//! PASS, others not before they are asked for what is in it.

use super::Next;
use super::account::{self, Account, sendable};
use super::dialogue::{Awaited, CLOSED_BY_LIMIT, Dialogue, Protocol, not_of_protocol, quit, response_code, send};
use super::lines::Lines;
use crate::config::probe::{MailboxProbe, Security};
use crate::core::check::{FailureKind, Verdict};

/// A probe's conversation with a POP3 server.
pub type Pop3 = Dialogue<Session>;

impl Pop3 {
    /// `account` is that of `options.login`.
    pub fn new(options: &MailboxProbe, account: Option<Account>) -> Self {
        Self::with(Session {
            stls: matches!(options.security, Security::StartTls(_)),
            account,
            step: Step::Greeting,
            secured: false,
            stls_offered: false,
        })
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Greeting,
    Capa,
    /// CAPA was accepted: the lines up to the dot.
    CapaList,
    Stls,
    User,
    Pass,
    Stat,
}

impl Step {
    fn command(self) -> Option<&'static str> {
        match self {
            Self::Greeting => None,
            Self::Capa | Self::CapaList => Some("CAPA"),
            Self::Stls => Some("STLS"),
            Self::User => Some("USER"),
            Self::Pass => Some("PASS"),
            Self::Stat => Some("STAT"),
        }
    }
}

#[derive(Debug)]
pub struct Session {
    stls: bool,
    account: Option<Account>,
    step: Step,
    /// By STLS.
    secured: bool,
    stls_offered: bool,
}

impl Session {
    fn send(&mut self, step: Step, command: &str, out: &mut Vec<u8>) -> Next {
        self.step = step;
        send(command, out)
    }

    fn capa(&mut self, out: &mut Vec<u8>) -> Next {
        self.send(Step::Capa, "CAPA", out)
    }

    /// `+OK`, with the text behind it.
    fn accepted(&mut self, line: &[u8], text: &[u8], out: &mut Vec<u8>) -> Next {
        match self.step {
            Step::Greeting => self.capa(out),
            Step::Capa => {
                self.step = Step::CapaList;
                Next::Read
            }
            Step::CapaList => self.malformed(line),
            Step::Stls => Next::StartTls,
            Step::User => {
                let command = format!("PASS {}", self.account.as_ref().map_or("", |account| &account.password));
                self.send(Step::Pass, &command, out)
            }
            Step::Pass => self.send(Step::Stat, "STAT", out),
            Step::Stat => match messages(text) {
                Some(1) => quit(Verdict::Success("mailbox opened, 1 message".into()), out),
                Some(count) => quit(Verdict::Success(format!("mailbox opened, {count} messages")), out),
                None => self.malformed(line),
            },
        }
    }

    /// `-ERR`, with the text behind it.
    fn refused(&mut self, line: &[u8], text: &[u8], out: &mut Vec<u8>) -> Next {
        let code = response_code(text);
        let kind = match self.step {
            // An extension: whoever does not have it refuses it.
            Step::Capa => return self.after_capa("greeting, without CAPA", out),
            Step::CapaList => return self.malformed(line),
            Step::Stls => FailureKind::Tls,
            _ if is_temporary(code, text) => FailureKind::Busy,
            Step::Greeting => FailureKind::Rejected,
            Step::User | Step::Pass => match code {
                Some(code) if code.eq_ignore_ascii_case(b"SYS/PERM") => FailureKind::Mailbox,
                // Courier opens the Maildir at PASS and has no codes: "chdir Maildir failed".
                None if says(text, b"chdir ") || says(text, b"maildir") => FailureKind::Mailbox,
                _ => FailureKind::Login,
            },
            Step::Stat => FailureKind::Mailbox,
        };
        let shown = account::shown(self.account.as_ref(), line);
        match self.step.command() {
            // The server closes by itself.
            None => Next::Done(Verdict::failure(kind, format!("greeting {shown}"))),
            Some(command) => quit(Verdict::failure(kind, format!("{command} answered {shown}")), out),
        }
    }

    /// Capabilities are known, or that there are none.
    fn after_capa(&mut self, success: &str, out: &mut Vec<u8>) -> Next {
        if self.stls && !self.secured {
            return match self.stls_offered {
                true => self.send(Step::Stls, "STLS", out),
                false => quit(Verdict::failure(FailureKind::Tls, "STLS not offered"), out),
            };
        }
        match &self.account {
            Some(account) => {
                let command = format!("USER {}", account.user);
                self.send(Step::User, &command, out)
            }
            None => quit(Verdict::Success(format!("+OK after {success}")), out),
        }
    }

    fn malformed(&self, line: &[u8]) -> Next {
        Next::Done(not_of_protocol(&self.awaited(), &account::shown(self.account.as_ref(), line)))
    }
}

impl Protocol for Session {
    const CLOSED_UNGREETED: &'static str = CLOSED_BY_LIMIT;
    const FAREWELL_IS_ANSWERED_BY_A_LINE: bool = true;

    fn sendable(&self) -> bool {
        self.account.iter().all(|account| sendable(&account.user) && sendable(&account.password))
    }

    fn line(&mut self, line: &[u8], _: &mut Lines, out: &mut Vec<u8>) -> Next {
        if self.step == Step::CapaList {
            if line == b"." {
                return self.after_capa(if self.secured { "STLS and CAPA" } else { "CAPA" }, out);
            }
            self.stls_offered |= line.trim_ascii().eq_ignore_ascii_case(b"STLS");
            return Next::Read;
        }
        match status(line) {
            Some((true, text)) => self.accepted(line, text, out),
            Some((false, text)) => self.refused(line, text, out),
            None => self.malformed(line),
        }
    }

    fn unasked(&self, _: &[u8]) -> bool {
        false
    }

    fn secured(&mut self, out: &mut Vec<u8>) -> Next {
        self.secured = true;
        self.capa(out)
    }

    fn awaited(&self) -> Awaited {
        match self.step.command() {
            None => Awaited::Greeting,
            Some("STAT") => Awaited::Answer { command: "STAT".into(), hint: ": does the mail store hang?" },
            Some(command) => Awaited::answer(command),
        }
    }
}

/// Whether it was `+OK`, and the text; `None`: neither that nor `-ERR`.
fn status(line: &[u8]) -> Option<(bool, &[u8])> {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (word, text) = line.split_at_checked(end)?;
    match () {
        () if word.eq_ignore_ascii_case(b"+OK") => Some((true, text.trim_ascii())),
        () if word.eq_ignore_ascii_case(b"-ERR") => Some((false, text.trim_ascii())),
        () => None,
    }
}

/// RFC 3206 has SYS/TEMP, RFC 2449 the others. Courier has no codes, and says "temporary problem".
fn is_temporary(code: Option<&[u8]>, text: &[u8]) -> bool {
    const CODES: [&[u8]; 3] = [b"SYS/TEMP", b"IN-USE", b"LOGIN-DELAY"];
    match code {
        Some(code) => CODES.iter().any(|temporary| code.eq_ignore_ascii_case(temporary)),
        None => says(text, b"temporar"),
    }
}

fn says(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

/// The first number of the answer to STAT.
fn messages(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text.split(|byte| *byte == b' ').next()?).ok()?.parse().ok()
}

#[cfg(test)]
#[path = "pop3_tests.rs"]
mod tests;
