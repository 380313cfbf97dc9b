//! What the protocols by lines have in common: the server greets, and then answers one command after the other.
//!
//! ```text
//!             greeting            answer              answer to STARTTLS
//!   connected ────────> command ───────> command … ──────────────────────> handshake ─open─> command …
//!        │                 │                                                   │
//!        └─────────────────┴── verdict, broken, closed, time is up ────────────┘
//! ```
//!
//! A line that was there before the command that it could answer is an answer to nothing. It is refused, so that
//! a server that sends the same lines to anybody is not taken for one that works.

use std::borrow::Cow;

use super::lines::{Broken, Lines};
use super::{ANSWER_BYTES_MAX, Conversation, LINE_BYTES_MAX, Next, words};
use crate::core::check::{Failure, FailureKind, Verdict};

/// Courier closes the fifth connection from one address without a word (MAXPERIP is 4 by default).
pub(super) const CLOSED_BY_LIMIT: &str =
    "closed before a greeting: a limit of connections per address (Courier: MAXPERIP, MAXDAEMONS)?";

/// What a protocol adds to that: its commands, and how it judges what comes.
pub trait Protocol: Send {
    /// Words for a connection that is closed before a byte has come.
    const CLOSED_UNGREETED: &'static str = "closed before a greeting: a limit of connections, or an access list?";

    /// One line answers the farewell (SMTP, POP3, FTP: QUIT). An IMAP server says BYE first.
    const FAREWELL_IS_ANSWERED_BY_A_LINE: bool = false;

    /// All arguments of commands can be sent.
    fn sendable(&self) -> bool;

    /// A line came, without its end. Commands are appended to `out`; `lines` can be told to skip a literal.
    fn line(&mut self, line: &[u8], lines: &mut Lines, out: &mut Vec<u8>) -> Next;

    /// A line may come without a command: an IMAP server's untagged data, a server that shuts down.
    fn unasked(&self, line: &[u8]) -> bool;

    /// TLS has begun, which `line` asked for.
    fn secured(&mut self, out: &mut Vec<u8>) -> Next;

    fn awaited(&self) -> Awaited;
}

/// What the server is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    Greeting,
    Answer {
        /// The command, without secrets: `PASS`, `EXAMINE INBOX`.
        command: Cow<'static, str>,
        /// Appended to the words when no answer comes.
        hint: &'static str,
    },
}

impl Awaited {
    pub fn answer(command: &'static str) -> Self {
        Self::Answer { command: command.into(), hint: "" }
    }

    fn subject(&self) -> String {
        match self {
            Self::Greeting => "greeting".into(),
            Self::Answer { command, .. } => format!("answer to {command}"),
        }
    }
}

/// One conversation in a protocol by lines.
#[derive(Debug)]
pub struct Dialogue<P> {
    protocol: P,
    lines: Lines,
    /// A byte came since the last command, or since the connection was accepted.
    heard: bool,
    /// The line that has begun did so before the last command.
    part_unasked: bool,
    /// Between the answer that allows TLS and its first byte.
    handshake: bool,
    over: Option<Verdict>,
}

impl<P: Protocol> Dialogue<P> {
    pub(super) fn with(protocol: P) -> Self {
        Self { protocol, lines: Lines::default(), heard: false, part_unasked: false, handshake: false, over: None }
    }

    fn end(&mut self, verdict: Verdict) -> Next {
        self.over = Some(verdict.clone());
        Next::Done(verdict)
    }

    fn broken(&self, broken: Broken) -> Verdict {
        let subject = self.protocol.awaited().subject();
        match broken {
            Broken::Nul => Verdict::failure(FailureKind::Malformed, format!("a NUL byte in the {subject}")),
            Broken::LongLine => {
                Verdict::failure(FailureKind::Overlong, format!("a line over {LINE_BYTES_MAX} bytes in the {subject}"))
            }
            Broken::LongAnswer => {
                Verdict::failure(FailureKind::Overlong, format!("over {ANSWER_BYTES_MAX} bytes up to the {subject}"))
            }
        }
    }
}

impl<P: Protocol> Conversation for Dialogue<P> {
    fn open(&mut self, out: &mut Vec<u8>) -> Next {
        if let Some(verdict) = &self.over {
            return Next::Done(verdict.clone());
        }
        if !self.protocol.sendable() {
            let words = "a line end or NUL in what the probe should send: correct its user, password or address";
            return self.end(Verdict::failure(FailureKind::Local, words));
        }
        if !std::mem::take(&mut self.handshake) {
            return Next::Read;
        }
        self.heard = false;
        match self.protocol.secured(out) {
            Next::Done(verdict) => self.end(verdict),
            next => next,
        }
    }

    fn is_greeted(&self) -> bool {
        true
    }

    fn is_parted(&mut self, bytes: &[u8]) -> bool {
        P::FAREWELL_IS_ANSWERED_BY_A_LINE && bytes.contains(&b'\n')
    }

    fn received(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Next {
        if let Some(verdict) = &self.over {
            return Next::Done(verdict.clone());
        }
        if self.handshake && !bytes.is_empty() {
            return self.end(injected(bytes));
        }
        let mut rest = bytes;
        let mut command_sent = false;
        self.heard |= !bytes.is_empty();
        loop {
            let line = match self.lines.next(&mut rest) {
                Ok(Some(line)) => line,
                Ok(None) => {
                    self.part_unasked &= self.lines.in_part();
                    return Next::Read;
                }
                Err(broken) => {
                    let verdict = self.broken(broken);
                    return self.end(verdict);
                }
            };
            if self.part_unasked && !self.protocol.unasked(&line) {
                let words = format!("{} was there before it was asked for", self.protocol.awaited().subject());
                return self.end(Verdict::failure(FailureKind::Malformed, words));
            }
            let before = out.len();
            match self.protocol.line(&line, &mut self.lines, out) {
                Next::Read => {
                    if out.len() > before {
                        command_sent = true;
                        self.heard = !rest.is_empty();
                    }
                    self.part_unasked = command_sent;
                }
                Next::StartTls if rest.is_empty() => {
                    self.handshake = true;
                    return Next::StartTls;
                }
                Next::StartTls => return self.end(injected(rest)),
                Next::Done(verdict) => return self.end(verdict),
            }
        }
    }

    fn closed(&mut self) -> Verdict {
        if let Some(verdict) = &self.over {
            return verdict.clone();
        }
        let awaited = self.protocol.awaited();
        let verdict = match &awaited {
            _ if self.handshake => Verdict::failure(FailureKind::Tls, "closed instead of the TLS handshake"),
            Awaited::Greeting if !self.heard => Verdict::failure(FailureKind::Closed, P::CLOSED_UNGREETED),
            Awaited::Answer { command, .. } if !self.heard => {
                Verdict::failure(FailureKind::Closed, format!("closed instead of an answer to {command}"))
            }
            _ => Verdict::failure(FailureKind::Closed, format!("closed within the {}", awaited.subject())),
        };
        self.over = Some(verdict.clone());
        verdict
    }

    fn timed_out(&self) -> Failure {
        if let Some(Verdict::Failure(failure)) = &self.over {
            return failure.clone();
        }
        let (kind, words) = match self.protocol.awaited() {
            _ if self.handshake => (FailureKind::Hung, "the TLS handshake does not end".to_owned()),
            Awaited::Greeting if !self.heard => {
                (FailureKind::Silent, "accepts connections, but no greeting came".to_owned())
            }
            Awaited::Greeting => (FailureKind::Hung, "greeting not complete".to_owned()),
            Awaited::Answer { command, hint } if !self.heard => {
                (FailureKind::Hung, format!("no answer to {command}{hint}"))
            }
            Awaited::Answer { command, hint } => (FailureKind::Hung, format!("no complete answer to {command}{hint}")),
        };
        Failure { kind, words }
    }
}

/// What came in clear text behind the answer that allowed TLS would be read as if it had come encrypted
/// (RFC 3207, 6; CVE-2011-0411).
fn injected(bytes: &[u8]) -> Verdict {
    let words = format!("clear text behind the answer that begins TLS: {}", words::shown(first_line(bytes)));
    Verdict::failure(FailureKind::Malformed, words)
}

fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// The verdict on a line that is not of the protocol.
pub(super) fn not_of_protocol(awaited: &Awaited, shown: &str) -> Verdict {
    Verdict::failure(FailureKind::Malformed, format!("{} is not of the protocol: {shown}", awaited.subject()))
}

/// `[CODE arguments] text`: what is in the brackets (RFC 2449, 8; RFC 9051, 7.1).
pub(super) fn response_code(text: &[u8]) -> Option<&[u8]> {
    let inside = text.strip_prefix(b"[")?;
    let end = inside.iter().position(|byte| *byte == b']')?;
    inside.get(..end)
}

/// A command, or what else is a line.
pub(super) fn send(line: &str, out: &mut Vec<u8>) -> Next {
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
    Next::Read
}

/// The end of a conversation with a server that still listens.
pub(super) fn quit(verdict: Verdict, out: &mut Vec<u8>) -> Next {
    send("QUIT", out);
    Next::Done(verdict)
}

#[cfg(test)]
#[path = "dialogue_tests.rs"]
pub(super) mod tests;
