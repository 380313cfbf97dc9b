//! IMAP (RFC 9051, RFC 3501): greeting and capabilities, and with a login the mailbox itself, opened read-only.
//!
//! ```text
//!   greeting ─> CAPABILITY ─> STARTTLS ─> (TLS) CAPABILITY ─> LOGIN ─> EXAMINE ─> success
//!      └ PREAUTH: no STARTTLS, no LOGIN
//! ```
//!
//! Steps that are not asked for are left out, CAPABILITY also where the greeting tells it. Of an answer only the
//! first words of each line are read; a literal (`{12}` at the end of a line, then 12 bytes of anything) is skipped
//! by its count. Nothing here needs a parser of the whole grammar, and one would stumble over 8-bit text.

use std::collections::VecDeque;

use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

use super::account::{self, Account};
use super::dialogue::{Awaited, CLOSED_BY_LIMIT, Dialogue, Protocol, not_of_protocol, response_code, send};
use super::lines::Lines;
use super::{Next, words};
use crate::config::probe::{MailboxProbe, Security};
use crate::core::check::{FailureKind, Verdict};

/// Longest argument that is sent as a quoted string; servers have limits to a line.
const QUOTED_MAX: usize = 512;

/// A probe's conversation with an IMAP server.
pub type Imap = Dialogue<Session>;

impl Imap {
    /// `account` is that of `options.login`.
    pub fn new(options: &MailboxProbe, account: Option<Account>) -> Self {
        Self::with(Session {
            starttls: matches!(options.security, Security::StartTls(_)),
            account,
            mailbox: options.mailbox.clone().unwrap_or_else(|| "INBOX".into()),
            step: Step::Greeting,
            commands: 0,
            secured: false,
            logged_in: false,
            offers: None,
            messages: None,
            rest_of_data: false,
            literals: VecDeque::new(),
        })
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Greeting,
    Capability,
    StartTls,
    Login,
    Examine,
}

/// The capabilities that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offers {
    starttls: bool,
    login_disabled: bool,
}

impl Offers {
    fn read(list: &[u8]) -> Self {
        let has = |name: &[u8]| list.split(|byte| *byte == b' ').any(|word| word.eq_ignore_ascii_case(name));
        Self { starttls: has(b"STARTTLS"), login_disabled: has(b"LOGINDISABLED") }
    }
}

#[derive(Debug)]
pub struct Session {
    starttls: bool,
    account: Option<Account>,
    mailbox: String,
    step: Step,
    /// Commands sent; the number of the last is in its tag.
    commands: u8,
    /// By STARTTLS.
    secured: bool,
    /// By PREAUTH or LOGIN.
    logged_in: bool,
    offers: Option<Offers>,
    /// In the mailbox that is opened.
    messages: Option<u64>,
    /// The next line continues untagged data behind a literal.
    rest_of_data: bool,
    /// Parts of the last command that wait until the server asks for them.
    literals: VecDeque<String>,
}

impl Session {
    fn tag(&self) -> String {
        format!("A{}", self.commands)
    }

    fn send(&mut self, step: Step, command: &str, out: &mut Vec<u8>) -> Next {
        self.step = step;
        self.commands = self.commands.saturating_add(1);
        send(&format!("{} {command}", self.tag()), out)
    }

    /// A command with arguments, each quoted, or as a literal that is sent when the server asks for it.
    fn send_with(&mut self, step: Step, command: &str, arguments: &[&str], out: &mut Vec<u8>) -> Next {
        let mut parts = vec![command.to_owned()];
        for argument in arguments {
            let Some(part) = parts.last_mut() else { continue };
            match quoted(argument) {
                Some(quoted) => part.push_str(&format!(" {quoted}")),
                None => {
                    part.push_str(&format!(" {{{}}}", argument.len()));
                    parts.push((*argument).to_owned());
                }
            }
        }
        self.literals = parts.into();
        let first = self.literals.pop_front().unwrap_or_default();
        self.send(step, &first, out)
    }

    /// `* text`
    fn untagged(&mut self, text: &[u8], lines: &mut Lines, out: &mut Vec<u8>) -> Next {
        let (word, rest) = first_word(text);
        if word.eq_ignore_ascii_case(b"BYE") {
            return self.dismissed(text, rest);
        }
        if self.step == Step::Greeting {
            return self.greeted(word, rest, text, out);
        }
        if word.eq_ignore_ascii_case(b"OK") || word.eq_ignore_ascii_case(b"NO") || word.eq_ignore_ascii_case(b"BAD") {
            return Next::Read;
        }
        if word.eq_ignore_ascii_case(b"CAPABILITY") {
            self.offers = Some(Offers::read(rest));
            return Next::Read;
        }
        if self.step == Step::Examine && rest.trim_ascii().eq_ignore_ascii_case(b"EXISTS") {
            self.messages = number(word);
        }
        self.data(text, lines)
    }

    /// Untagged data, up to the end of its line: there a literal can be announced.
    fn data(&mut self, text: &[u8], lines: &mut Lines) -> Next {
        if let Some(count) = literal(text) {
            lines.skip(count);
            self.rest_of_data = true;
        }
        Next::Read
    }

    fn greeted(&mut self, word: &[u8], rest: &[u8], text: &[u8], out: &mut Vec<u8>) -> Next {
        self.logged_in = word.eq_ignore_ascii_case(b"PREAUTH");
        if !self.logged_in && !word.eq_ignore_ascii_case(b"OK") {
            return self.malformed(text);
        }
        if self.logged_in && self.starttls {
            // RFC 9051, 6.2.1: only before the login.
            let words = "STARTTLS is not possible: the greeting is PREAUTH";
            return self.logout(Verdict::failure(FailureKind::Tls, words), out);
        }
        let told = response_code(rest).map(first_word).filter(|(name, _)| name.eq_ignore_ascii_case(b"CAPABILITY"));
        match told {
            Some((_, list)) => self.after_capability(Offers::read(list), out),
            None => self.send(Step::Capability, "CAPABILITY", out),
        }
    }

    /// BYE: the server closes. It is busy or shuts down, unless it was brought to it by what it was asked for.
    fn dismissed(&self, text: &[u8], rest: &[u8]) -> Next {
        // Courier answers LOGIN so when there is no Maildir: "BYE [ALERT] Fatal error: No such file or directory".
        let alert = response_code(rest).is_some_and(|code| code.eq_ignore_ascii_case(b"ALERT"));
        let kind = match self.step {
            Step::Login | Step::Examine if alert => FailureKind::Mailbox,
            _ => FailureKind::Busy,
        };
        Next::Done(Verdict::failure(kind, self.words(text)))
    }

    /// What answers the command.
    fn tagged(&mut self, text: &[u8], out: &mut Vec<u8>) -> Next {
        let (status, rest) = first_word(text);
        if status.eq_ignore_ascii_case(b"OK") && self.literals.is_empty() {
            return self.accepted(text, out);
        }
        if !status.eq_ignore_ascii_case(b"NO") && !status.eq_ignore_ascii_case(b"BAD") {
            return self.malformed(text);
        }
        let kind = match (self.step, response_code(rest)) {
            (Step::StartTls, _) => FailureKind::Tls,
            (_, Some(code)) if is_temporary(code) => FailureKind::Busy,
            (Step::Login, _) => FailureKind::Login,
            (Step::Examine, _) => FailureKind::Mailbox,
            (Step::Greeting | Step::Capability, _) => FailureKind::Rejected,
        };
        let verdict = Verdict::failure(kind, self.words(text));
        match self.literals.is_empty() {
            true => self.logout(verdict, out),
            // The server might take a farewell for the literal.
            false => Next::Done(verdict),
        }
    }

    fn accepted(&mut self, text: &[u8], out: &mut Vec<u8>) -> Next {
        match (self.step, self.offers) {
            (Step::Capability, Some(offers)) => self.after_capability(offers, out),
            (Step::Greeting | Step::Capability, _) => self.malformed(text),
            (Step::StartTls, _) => Next::StartTls,
            (Step::Login, _) => self.examine(out),
            (Step::Examine, _) => {
                let mailbox = words::shown(self.mailbox.as_bytes());
                let success = match self.messages {
                    None => format!("{mailbox} opened"),
                    Some(1) => format!("{mailbox} opened, 1 message"),
                    Some(count) => format!("{mailbox} opened, {count} messages"),
                };
                self.logout(Verdict::Success(success), out)
            }
        }
    }

    fn after_capability(&mut self, offers: Offers, out: &mut Vec<u8>) -> Next {
        if self.starttls && !self.secured {
            return match offers.starttls {
                true => self.send(Step::StartTls, "STARTTLS", out),
                false => self.logout(Verdict::failure(FailureKind::Tls, "STARTTLS not offered"), out),
            };
        }
        let Some(account) = self.account.clone() else {
            let success = match (self.step, self.secured) {
                (Step::Greeting, _) => "OK in the greeting",
                (_, false) => "OK after CAPABILITY",
                (_, true) => "OK after STARTTLS and CAPABILITY",
            };
            return self.logout(Verdict::Success(success.into()), out);
        };
        if self.logged_in {
            return self.examine(out);
        }
        if offers.login_disabled {
            let words = if offers.starttls { "login is disabled without TLS" } else { "login is disabled" };
            return self.logout(Verdict::failure(FailureKind::Login, words), out);
        }
        self.send_with(Step::Login, "LOGIN", &[&account.user, &account.password], out)
    }

    fn examine(&mut self, out: &mut Vec<u8>) -> Next {
        self.logged_in = true;
        let name = mailbox_name(&self.mailbox);
        self.send_with(Step::Examine, "EXAMINE", &[&name], out)
    }

    /// `+ text`: the server asks for the literal that was announced.
    fn continued(&mut self, line: &[u8], out: &mut Vec<u8>) -> Next {
        let Some(part) = self.literals.pop_front() else { return self.malformed(line) };
        send(&part, out)
    }

    fn logout(&mut self, verdict: Verdict, out: &mut Vec<u8>) -> Next {
        self.commands = self.commands.saturating_add(1);
        send(&format!("{} LOGOUT", self.tag()), out);
        Next::Done(verdict)
    }

    fn words(&self, text: &[u8]) -> String {
        let shown = account::shown(self.account.as_ref(), text);
        match self.command() {
            None => format!("greeting {shown}"),
            Some(command) => format!("{command} answered {shown}"),
        }
    }

    fn malformed(&self, line: &[u8]) -> Next {
        Next::Done(not_of_protocol(&self.awaited(), &account::shown(self.account.as_ref(), line)))
    }

    fn command(&self) -> Option<String> {
        match self.step {
            Step::Greeting => None,
            Step::Capability => Some("CAPABILITY".into()),
            Step::StartTls => Some("STARTTLS".into()),
            Step::Login => Some("LOGIN".into()),
            Step::Examine => Some(format!("EXAMINE {}", words::shown(self.mailbox.as_bytes()))),
        }
    }
}

impl Protocol for Session {
    const CLOSED_UNGREETED: &'static str = CLOSED_BY_LIMIT;

    fn sendable(&self) -> bool {
        // Line ends can go into a literal.
        self.account.iter().all(|account| !account.user.contains('\0') && !account.password.contains('\0'))
    }

    fn line(&mut self, line: &[u8], lines: &mut Lines, out: &mut Vec<u8>) -> Next {
        if std::mem::take(&mut self.rest_of_data) {
            return self.data(line, lines);
        }
        let (word, rest) = first_word(line);
        match word {
            b"*" => self.untagged(rest, lines, out),
            b"+" => self.continued(line, out),
            _ if word == self.tag().as_bytes() && self.step != Step::Greeting => self.tagged(rest, out),
            _ => self.malformed(line),
        }
    }

    fn unasked(&self, line: &[u8]) -> bool {
        line.starts_with(b"* ") || self.rest_of_data
    }

    fn secured(&mut self, out: &mut Vec<u8>) -> Next {
        self.secured = true;
        // What was told in clear text could be anybody's (RFC 9051, 6.2.1).
        self.offers = None;
        self.send(Step::Capability, "CAPABILITY", out)
    }

    fn awaited(&self) -> Awaited {
        let hint = if self.step == Step::Examine { ": does the mail store hang?" } else { "" };
        self.command().map_or(Awaited::Greeting, |command| Awaited::Answer { command: command.into(), hint })
    }
}

/// Up to the first space, and what is behind it.
fn first_word(text: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = text.splitn(2, |byte| *byte == b' ');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// RFC 5530: another try may succeed.
fn is_temporary(code: &[u8]) -> bool {
    code.eq_ignore_ascii_case(b"UNAVAILABLE") || code.eq_ignore_ascii_case(b"INUSE")
}

/// The bytes that `{n}`, `{n+}` or `~{n}` at the end of a line announces; more than fits counts as endless.
fn literal(line: &[u8]) -> Option<usize> {
    let inside = line.strip_suffix(b"}")?;
    let start = inside.iter().rposition(|byte| *byte == b'{')?;
    let digits = inside.get(start + 1..)?;
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all_digits.then(|| number(digits).and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX))
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A quoted string (RFC 9051, 4.3), if the text can be one.
fn quoted(text: &str) -> Option<String> {
    let fits = text.len() <= QUOTED_MAX && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    fits.then(|| format!("\"{}\"", account::escaped(text)))
}

/// A mailbox name in the modified UTF-7 of RFC 3501, 5.1.3, which servers of both versions understand.
fn mailbox_name(name: &str) -> String {
    const BASE64: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);
    let mut encoded = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let plain = |c: char| matches!(c, ' '..='~');
        let run = rest.find(|c| plain(c) != plain(first)).unwrap_or(rest.len());
        let (text, behind) = rest.split_at(run);
        if plain(first) {
            encoded.push_str(&text.replace('&', "&-"));
        } else {
            let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            encoded.push_str(&format!("&{}-", BASE64.encode(units)));
        }
        rest = behind;
    }
    encoded
}

#[cfg(test)]
#[path = "imap_tests.rs"]
mod tests;
