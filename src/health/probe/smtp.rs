//! SMTP (RFC 5321): banner and EHLO, then as far as asked, never into DATA.
//!
//! ```text
//!   banner ─220─> EHLO ─250─> STARTTLS ─220─> (TLS) EHLO ─250─> AUTH ─235─> MAIL ─250─> RCPT ─250─> success
//!                  └500, 502─> HELO
//! ```
//!
//! Steps that are not asked for are left out. A server that refuses one of them temporarily is busy.

use super::Next;
use super::account::{self, Account, sendable};
use super::dialogue::{Awaited, Dialogue, Protocol, not_of_protocol, quit, send};
use super::lines::Lines;
use super::reply::{Replies, Reply, Style};
use crate::config::probe::{Security, SmtpProbe};
use crate::core::check::{FailureKind, Verdict};

/// A probe's conversation with an SMTP server.
pub type Smtp = Dialogue<Session>;

impl Smtp {
    /// `account` is that of `options.login`.
    pub fn new(options: &SmtpProbe, account: Option<Account>) -> Self {
        Self::with(Session {
            helo: options.helo.clone().unwrap_or_else(|| SmtpProbe::HELO_DEFAULT.into()),
            starttls: matches!(options.security, Security::StartTls(_)),
            account,
            sender: options.sender.clone(),
            recipient: options.recipient.clone(),
            step: Step::Banner,
            secured: false,
            offers: Offers::default(),
            replies: Replies::new(Style::Smtp),
        })
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Banner,
    Ehlo,
    Helo,
    StartTls,
    AuthPlain,
    /// AUTH LOGIN asks for the user, then for the password, then answers.
    AuthLoginUser,
    AuthLoginPassword,
    AuthLogin,
    Mail,
    Rcpt,
}

impl Step {
    fn command(self) -> Option<&'static str> {
        match self {
            Self::Banner => None,
            Self::Ehlo => Some("EHLO"),
            Self::Helo => Some("HELO"),
            Self::StartTls => Some("STARTTLS"),
            Self::AuthPlain | Self::AuthLoginUser | Self::AuthLoginPassword | Self::AuthLogin => Some("AUTH"),
            Self::Mail => Some("MAIL"),
            Self::Rcpt => Some("RCPT"),
        }
    }

    fn is_auth(self) -> bool {
        self.command() == Some("AUTH")
    }
}

/// What the answer to EHLO offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Offers {
    starttls: bool,
    auth: bool,
    plain: bool,
    login: bool,
}

impl Offers {
    /// One line of the answer behind the code: keyword and parameters, in any case (RFC 5321, 4.1.1.1).
    fn read(&mut self, line: &[u8]) {
        let mut words = line.split(|byte| *byte == b' ' || *byte == b'=');
        let keyword = words.next().unwrap_or_default();
        if keyword.eq_ignore_ascii_case(b"STARTTLS") {
            self.starttls = true;
        } else if keyword.eq_ignore_ascii_case(b"AUTH") {
            // `AUTH=PLAIN` is how it was written before it was a standard; some servers still say both.
            self.auth = true;
            for mechanism in words {
                self.plain |= mechanism.eq_ignore_ascii_case(b"PLAIN");
                self.login |= mechanism.eq_ignore_ascii_case(b"LOGIN");
            }
        }
    }
}

#[derive(Debug)]
pub struct Session {
    helo: String,
    starttls: bool,
    account: Option<Account>,
    sender: Option<String>,
    recipient: Option<String>,
    step: Step,
    /// By STARTTLS.
    secured: bool,
    offers: Offers,
    replies: Replies,
}

impl Session {
    fn send(&mut self, step: Step, command: &str, out: &mut Vec<u8>) -> Next {
        self.step = step;
        send(command, out)
    }

    fn hello(&mut self, out: &mut Vec<u8>) -> Next {
        self.offers = Offers::default();
        let command = format!("EHLO {}", self.helo);
        self.send(Step::Ehlo, &command, out)
    }

    fn answered(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Next {
        match (self.step, reply.code) {
            (Step::Banner, 220) => self.hello(out),
            (Step::Ehlo, 250) | (Step::Helo, 250) => self.after_hello(reply, out),
            (Step::Ehlo, 500 | 502) => {
                let command = format!("HELO {}", self.helo);
                self.send(Step::Helo, &command, out)
            }
            (Step::StartTls, 220) => Next::StartTls,
            (Step::AuthLoginUser, 334) => {
                let user = self.account.as_ref().map(Account::sasl_login_user).unwrap_or_default();
                self.send(Step::AuthLoginPassword, &user, out)
            }
            (Step::AuthLoginPassword, 334) => {
                let password = self.account.as_ref().map(Account::sasl_login_password).unwrap_or_default();
                self.send(Step::AuthLogin, &password, out)
            }
            (Step::AuthPlain | Step::AuthLogin, 235) => self.after_login(reply, out),
            (Step::Mail, 250) => match self.recipient.clone() {
                Some(recipient) => self.send(Step::Rcpt, &format!("RCPT TO:<{recipient}>"), out),
                None => self.success(reply, out),
            },
            (Step::Rcpt, 250 | 251) => self.success(reply, out),
            _ => self.refused(reply, out),
        }
    }

    fn after_hello(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Next {
        if self.starttls && !self.secured {
            return match self.offers.starttls {
                true => self.send(Step::StartTls, "STARTTLS", out),
                false => quit(Verdict::failure(FailureKind::Tls, "STARTTLS not offered"), out),
            };
        }
        let Some(account) = &self.account else { return self.after_login(reply, out) };
        if self.offers.plain {
            let command = format!("AUTH PLAIN {}", account.sasl_plain());
            return self.send(Step::AuthPlain, &command, out);
        }
        if self.offers.login {
            return self.send(Step::AuthLoginUser, "AUTH LOGIN", out);
        }
        let words = match self.offers {
            Offers { auth: true, .. } => "AUTH offers neither PLAIN nor LOGIN",
            Offers { starttls: true, .. } => "AUTH not offered before STARTTLS",
            _ => "AUTH not offered",
        };
        quit(Verdict::failure(FailureKind::Login, words), out)
    }

    fn after_login(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Next {
        match self.sender.clone() {
            Some(sender) => self.send(Step::Mail, &format!("MAIL FROM:<{sender}>"), out),
            None => self.success(reply, out),
        }
    }

    fn success(&self, reply: &Reply, out: &mut Vec<u8>) -> Next {
        let command = self.step.command().unwrap_or_default();
        let after = if self.secured && matches!(self.step, Step::Ehlo | Step::Helo) { "STARTTLS and " } else { "" };
        quit(Verdict::Success(format!("{} after {after}{command}", reply.code)), out)
    }

    /// Any answer that does not lead on.
    fn refused(&self, reply: &Reply, out: &mut Vec<u8>) -> Next {
        let shown = account::shown(self.account.as_ref(), &reply.text);
        let words = match self.step.command() {
            None => format!("banner {shown}"),
            Some(command) => format!("{command} answered {shown}"),
        };
        let kind = match (reply.code, self.step) {
            // The server closes by itself: a farewell would come too late.
            (421, _) => return Next::Done(Verdict::failure(FailureKind::Busy, words)),
            (400.., Step::StartTls) => FailureKind::Tls,
            (400..=499, _) => FailureKind::Busy,
            (500.., step) if step.is_auth() => FailureKind::Login,
            (500.., _) => FailureKind::Rejected,
            (..400, _) => return Next::Done(Verdict::failure(FailureKind::Malformed, words)),
        };
        let greylisted = self.step == Step::Rcpt && kind == FailureKind::Busy && says_greylisting(&reply.text);
        let hint = if greylisted { " (exempt the probe from greylisting)" } else { "" };
        quit(Verdict::failure(kind, words + hint), out)
    }
}

impl Protocol for Session {
    const FAREWELL_IS_ANSWERED_BY_A_LINE: bool = true;

    fn sendable(&self) -> bool {
        let account = self.account.iter().flat_map(|account| [&account.user, &account.password]);
        account.chain(&self.sender).chain(&self.recipient).chain([&self.helo]).all(|text| sendable(text))
    }

    fn line(&mut self, line: &[u8], _: &mut Lines, out: &mut Vec<u8>) -> Next {
        // The first line of the answer to EHLO is the server's name.
        if self.step == Step::Ehlo && !self.replies.at_start() {
            self.offers.read(line.get(4..).unwrap_or_default());
        }
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
        // A server that shuts down says so at any time (RFC 5321, 3.8).
        line.starts_with(b"421")
    }

    fn secured(&mut self, out: &mut Vec<u8>) -> Next {
        self.secured = true;
        self.hello(out)
    }

    fn awaited(&self) -> Awaited {
        self.step.command().map_or(Awaited::Greeting, Awaited::answer)
    }
}

/// Both spellings; there is no code for it.
fn says_greylisting(text: &[u8]) -> bool {
    text.windows(8).any(|word| word.eq_ignore_ascii_case(b"greylist") || word.eq_ignore_ascii_case(b"graylist"))
}

#[cfg(test)]
#[path = "smtp_tests.rs"]
mod tests;
