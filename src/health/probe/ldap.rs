//! LDAP (RFC 4511): a simple bind, anonymous without an account, and an unbind as farewell.
//!
//! The few elements of a bind are read and written here: a library for the whole of ASN.1 weighs more
//! than the server's answer is worth, which is one sequence of three or four elements.

use super::account::Account;
use super::allowance::Allowance;
use super::unaskable::Unaskable;
use super::words::shown;
use super::{Conversation, Next};
use crate::core::check::{Failure, FailureKind, Verdict};

/// Longest answer, bytes. The only long part of one is its diagnostic message, or a list of referrals.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Longest name and password, bytes. The protocol itself has no limit.
const CREDENTIAL_MAX: usize = 1_024;

/// Tags of the elements (RFC 4511, section 4; X.690).
mod tag {
    pub const INTEGER: u8 = 0x02;
    pub const OCTET_STRING: u8 = 0x04;
    pub const ENUMERATED: u8 = 0x0a;
    pub const SEQUENCE: u8 = 0x30;
    pub const BIND_REQUEST: u8 = 0x60;
    pub const BIND_RESPONSE: u8 = 0x61;
    pub const UNBIND_REQUEST: u8 = 0x42;
    pub const EXTENDED_RESPONSE: u8 = 0x78;
    /// The simple choice of a bind's authentication.
    pub const SIMPLE: u8 = 0x80;
}

const VERSION: u8 = 3;
const BIND_ID: u8 = 1;
/// Of what the server says unasked: that it disconnects (RFC 4511, 4.4.1).
const NOTICE_ID: u8 = 0;
/// Message 2, an unbind request.
const UNBIND: [u8; 7] = [tag::SEQUENCE, 5, tag::INTEGER, 1, 2, tag::UNBIND_REQUEST, 0];

/// Result codes (RFC 4511, 4.1.9) that a bind may meet.
const RESULTS: [(u8, &str); 18] = [
    (0, "success"),
    (1, "operationsError"),
    (2, "protocolError"),
    (3, "timeLimitExceeded"),
    (7, "authMethodNotSupported"),
    (8, "strongerAuthRequired"),
    (10, "referral"),
    (11, "adminLimitExceeded"),
    (13, "confidentialityRequired"),
    (14, "saslBindInProgress"),
    (32, "noSuchObject"),
    (34, "invalidDNSyntax"),
    (48, "inappropriateAuthentication"),
    (49, "invalidCredentials"),
    (51, "busy"),
    (52, "unavailable"),
    (53, "unwillingToPerform"),
    (80, "other"),
];

/// One bind and its answer.
pub struct Ldap {
    request: Vec<u8>,
    held: Vec<u8>,
    allowance: Allowance,
}

impl Ldap {
    /// Without an account the bind is anonymous. An account without a password is refused: a server takes
    /// that for an anonymous bind too, and lets anybody in (RFC 4513, 5.1.2).
    pub fn new(login: Option<&Account>) -> Result<Self, Unaskable> {
        let (user, password) = login.map_or(("", ""), |account| (account.user.as_str(), account.password.as_str()));
        if login.is_some() && !(1..=CREDENTIAL_MAX).contains(&user.len()) {
            return Err(Unaskable::User { bytes: user.len(), most: CREDENTIAL_MAX });
        }
        if login.is_some() && !(1..=CREDENTIAL_MAX).contains(&password.len()) {
            return Err(Unaskable::Password { bytes: password.len(), most: CREDENTIAL_MAX });
        }
        Ok(Self { request: bind(user, password), held: Vec::new(), allowance: Allowance::default() })
    }

    /// The verdict, once a message is complete.
    fn judge(&self) -> Option<Verdict> {
        match element(&self.held) {
            Read::Incomplete => None,
            Read::Overlong => {
                let words = format!("an answer that wants to be longer than {} KiB", MESSAGE_BYTES_MAX / 1024);
                Some(Verdict::failure(FailureKind::Overlong, words))
            }
            Read::Element(Element { tag: tag::SEQUENCE, content, .. }) => Some(judge_message(content)),
            Read::Element(_) | Read::Broken => Some(not_a_response()),
        }
    }
}

fn not_a_response() -> Verdict {
    Verdict::failure(FailureKind::Malformed, "the answer is not a bind response")
}

fn judge_message(content: &[u8]) -> Verdict {
    let parts = || {
        let (id, rest) = expect(tag::INTEGER, content)?;
        let (tag, result, _) = any(rest)?;
        let (code, rest) = expect(tag::ENUMERATED, result)?;
        let (_, rest) = expect(tag::OCTET_STRING, rest)?;
        let (diagnostic, _) = expect(tag::OCTET_STRING, rest)?;
        Some((id, tag, code, diagnostic))
    };
    match parts() {
        Some(([BIND_ID], tag::BIND_RESPONSE, [0], _)) => Verdict::Success("bind accepted".into()),
        Some(([BIND_ID], tag::BIND_RESPONSE, [code], diagnostic)) => refusal(*code, diagnostic, ""),
        Some(([NOTICE_ID], tag::EXTENDED_RESPONSE, [code], diagnostic)) => refusal(*code, diagnostic, "disconnected: "),
        _ => not_a_response(),
    }
}

fn refusal(code: u8, diagnostic: &[u8], before: &str) -> Verdict {
    let kind = match code {
        49 => FailureKind::Login,
        51 | 52 => FailureKind::Busy,
        _ => FailureKind::Rejected,
    };
    let named = RESULTS.iter().find(|(known, _)| *known == code);
    let name = named.map_or_else(|| format!("result {code}"), |(_, name)| (*name).to_owned());
    let diagnostic = shown(diagnostic);
    let words = if diagnostic.is_empty() { name } else { format!("{name}: {diagnostic}") };
    Verdict::failure(kind, format!("{before}{words}"))
}

/// What stands at the beginning of some bytes.
enum Read<'a> {
    Incomplete,
    /// Its length is beyond `MESSAGE_BYTES_MAX`.
    Overlong,
    /// No length that LDAP allows: indefinite (RFC 4511, 5.1), or of more than four bytes.
    Broken,
    Element(Element<'a>),
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

/// The first element: its tag, its length in one byte or in up to four that follow, its content (X.690, 8.1).
fn element(bytes: &[u8]) -> Read<'_> {
    let [tag, short, rest @ ..] = bytes else { return Read::Incomplete };
    let (length, rest) = match short {
        0..=0x7f => (usize::from(*short), rest),
        0x81..=0x84 => {
            let size = usize::from(short & 0x7f);
            let Some((length, rest)) = rest.split_at_checked(size) else { return Read::Incomplete };
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return Read::Broken,
    };
    if length > MESSAGE_BYTES_MAX {
        return Read::Overlong;
    }
    match rest.split_at_checked(length) {
        Some((content, rest)) => Read::Element(Element { tag: *tag, content, rest }),
        None => Read::Incomplete,
    }
}

/// An element that must be whole: its tag, its content, and what follows.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    match element(bytes) {
        Read::Element(Element { tag, content, rest }) => Some((tag, content, rest)),
        Read::Incomplete | Read::Overlong | Read::Broken => None,
    }
}

fn expect(wanted: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    any(bytes).filter(|(tag, ..)| *tag == wanted).map(|(_, content, rest)| (content, rest))
}

/// Message 1: version 3, the name, and the password as simple authentication (RFC 4511, 4.2).
fn bind(user: &str, password: &str) -> Vec<u8> {
    let mut request = written(tag::INTEGER, &[VERSION]);
    request.extend(written(tag::OCTET_STRING, user.as_bytes()));
    request.extend(written(tag::SIMPLE, password.as_bytes()));
    let mut message = written(tag::INTEGER, &[BIND_ID]);
    message.extend(written(tag::BIND_REQUEST, &request));
    written(tag::SEQUENCE, &message)
}

/// An element; `content` is at most a few KiB.
fn written(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(content.len()) {
        Ok(length @ 0..=0x7f) => bytes.push(length),
        _ => {
            let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
            bytes.extend([0x82, high, low]);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

impl Conversation for Ldap {
    fn open(&mut self, out: &mut Vec<u8>) -> Next {
        out.extend_from_slice(&self.request);
        Next::Read
    }

    fn received(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Next {
        let bytes = self.allowance.of_stream(bytes);
        self.held.extend_from_slice(bytes);
        let verdict = self.judge().or_else(|| self.allowance.exceeded());
        if verdict.is_some() {
            out.extend_from_slice(&UNBIND);
        }
        verdict.map_or(Next::Read, Next::Done)
    }

    fn closed(&mut self) -> Verdict {
        let words = if self.held.is_empty() { "closed without an answer" } else { "closed within the answer" };
        Verdict::failure(FailureKind::Closed, words)
    }

    fn timed_out(&self) -> Failure {
        let (kind, words) = match self.held.is_empty() {
            true => (FailureKind::Silent, "accepts connections, but no answer to the bind came"),
            false => (FailureKind::Hung, "answer to the bind not complete"),
        };
        Failure { kind, words: words.into() }
    }
}

#[cfg(test)]
#[path = "ldap_tests.rs"]
mod tests;
