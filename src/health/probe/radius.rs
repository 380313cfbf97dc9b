//! RADIUS (RFC 2865, 2866, 2869, 5997): Status-Server, or the login of a probe user.
//!
//! What is sent is signed with Message-Authenticator, as the first attribute: servers that are guarded against
//! forged answers (CVE-2024-3596) demand it. The answer's authenticator is verified, and its
//! Message-Authenticator if it has one. A server says nothing at all to a client that it does not know, and
//! most say nothing to one with another secret: silence is the usual sign of both.

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};

use super::account::Account;
use super::allowance::Allowance;
use super::unaskable::Unaskable;
use super::words::shown;
use super::{Conversation, Next};
use crate::core::check::{Failure, FailureKind, Verdict};

/// Code, identifier, length and authenticator (RFC 2865, section 3), bytes.
const HEADER: usize = 20;
/// Longest packet (RFC 2865, section 3), bytes.
const PACKET_MAX: usize = 4_096;
/// Longest value of an attribute (RFC 2865, section 5), bytes.
const VALUE_MAX: usize = 253;
/// Longest password (RFC 2865, 5.2), bytes.
const PASSWORD_MAX: usize = 128;
const NAS_NAME: &[u8] = b"lbd-probe";

/// Codes (RFC 2865, section 3; RFC 2866, section 3; RFC 5997, section 3).
mod code {
    pub const ACCESS_REQUEST: u8 = 1;
    pub const ACCESS_ACCEPT: u8 = 2;
    pub const ACCESS_REJECT: u8 = 3;
    pub const ACCOUNTING_RESPONSE: u8 = 5;
    pub const ACCESS_CHALLENGE: u8 = 11;
    pub const STATUS_SERVER: u8 = 12;
}

/// Attributes (RFC 2865, section 5; RFC 2869, 5.14).
mod attribute {
    pub const USER_NAME: u8 = 1;
    pub const USER_PASSWORD: u8 = 2;
    pub const REPLY_MESSAGE: u8 = 18;
    pub const NAS_IDENTIFIER: u8 = 32;
    pub const MESSAGE_AUTHENTICATOR: u8 = 80;
}

/// One request and its answer.
pub struct Radius {
    request: Vec<u8>,
    identifier: u8,
    authenticator: [u8; 16],
    secret: Vec<u8>,
    login: bool,
    allowance: Allowance,
}

impl Radius {
    /// Without a `login` it is Status-Server, which is the only one for an accounting port. `random` are the
    /// request's identifier and authenticator, which must be unpredictable (RFC 2865, section 3).
    pub fn new(secret: &[u8], login: Option<&Account>, random: [u8; 17]) -> Result<Self, Unaskable> {
        let [identifier, authenticator @ ..] = random;
        let request = request(secret, login, identifier, &authenticator)?;
        let secret = secret.to_vec();
        Ok(Self { request, identifier, authenticator, secret, login: login.is_some(), allowance: Allowance::default() })
    }

    fn judge(&self, datagram: &[u8]) -> Option<Verdict> {
        let failure = |kind, words: &str| Some(Verdict::failure(kind, words));
        // Too short, or another request's: passed over (RFC 2865, section 3).
        let (header, _) = datagram.split_first_chunk::<HEADER>()?;
        let [code, identifier, high, low, ..] = *header;
        if identifier != self.identifier {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(packet) = datagram.get(..length).filter(|_| (HEADER..=PACKET_MAX).contains(&length)) else {
            return failure(FailureKind::Malformed, "the answer is shorter than the length that it names");
        };
        if !self.is_signed(packet) {
            return failure(FailureKind::Unsigned, "the answer is not signed: is the shared secret the same?");
        }
        let Some(attributes) = attributes(packet) else {
            return failure(FailureKind::Malformed, "the answer's attributes are not as long as they say");
        };
        if let Some(at) = attributes.iter().find(|a| a.kind == attribute::MESSAGE_AUTHENTICATOR)
            && !self.is_authentic(packet, at)
        {
            let words = "the answer's Message-Authenticator is wrong: is the shared secret the same?";
            return failure(FailureKind::Unsigned, words);
        }
        let message = attributes.iter().find(|a| a.kind == attribute::REPLY_MESSAGE);
        let with_message = |words: &str| match message {
            Some(message) => format!("{words}: {}", shown(message.value)),
            None => words.to_owned(),
        };
        match code {
            code::ACCESS_ACCEPT => Some(Verdict::Success("Access-Accept".into())),
            code::ACCESS_CHALLENGE => Some(Verdict::Success("Access-Challenge".into())),
            code::ACCOUNTING_RESPONSE if !self.login => Some(Verdict::Success("Accounting-Response".into())),
            code::ACCESS_REJECT if self.login => failure(FailureKind::Login, &with_message("Access-Reject")),
            code::ACCESS_REJECT => failure(FailureKind::Rejected, &with_message("Access-Reject to Status-Server")),
            _ => failure(FailureKind::Malformed, &format!("an answer of code {code}")),
        }
    }

    /// The Response Authenticator is the MD5 of the answer with the request's in its place, and the secret
    /// (RFC 2865, section 3).
    fn is_signed(&self, packet: &[u8]) -> bool {
        let [start, received, rest] = parts(packet, 4, 16);
        let mut md5 = Md5::new();
        md5.update(start);
        md5.update(self.authenticator);
        md5.update(rest);
        md5.update(&self.secret);
        md5.finalize().as_slice() == received
    }

    /// Message-Authenticator is computed over the packet with the request's authenticator in place, and itself
    /// as zeros (RFC 3579, 3.2).
    fn is_authentic(&self, packet: &[u8], attribute: &Attribute<'_>) -> bool {
        let [start, received, rest] = parts(packet, attribute.value_at, attribute.value.len());
        let [code, _, attributes] = parts(start, 4, 16);
        let parts = [code, &self.authenticator, attributes, &[0; 16], rest];
        received.len() == 16 && hmac_md5(&self.secret, &parts) == received
    }
}

/// A packet cut before and behind a field. Where it is shorter, parts are empty.
fn parts(packet: &[u8], at: usize, size: usize) -> [&[u8]; 3] {
    let (start, rest) = packet.split_at(at.min(packet.len()));
    let (field, rest) = rest.split_at(size.min(rest.len()));
    [start, field, rest]
}

fn hmac_md5(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    // HMAC takes a key of any length; the empty result would match no signature.
    let Ok(mut mac) = Hmac::<Md5>::new_from_slice(key) else { return [0; 16] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

struct Attribute<'a> {
    kind: u8,
    /// Where its value begins in the packet.
    value_at: usize,
    value: &'a [u8],
}

/// The attributes of a packet (RFC 2865, section 5); `None`: their lengths do not add up.
fn attributes(packet: &[u8]) -> Option<Vec<Attribute<'_>>> {
    let mut found = Vec::new();
    let mut at = HEADER;
    while at < packet.len() {
        let (kind, length) = (*packet.get(at)?, usize::from(*packet.get(at + 1)?));
        let value = packet.get(at + 2..at + length)?;
        found.push(Attribute { kind, value_at: at + 2, value });
        at += length;
    }
    Some(found)
}

fn request(secret: &[u8], login: Option<&Account>, id: u8, authenticator: &[u8; 16]) -> Result<Vec<u8>, Unaskable> {
    if secret.is_empty() {
        return Err(Unaskable::Secret);
    }
    let code = if login.is_some() { code::ACCESS_REQUEST } else { code::STATUS_SERVER };
    let mut packet = vec![code, id, 0, 0];
    packet.extend_from_slice(authenticator);
    let signature_at = packet.len() + 2;
    append(&mut packet, attribute::MESSAGE_AUTHENTICATOR, &[0; 16]);
    if let Some(Account { user, password }) = login {
        if !(1..=VALUE_MAX).contains(&user.len()) {
            return Err(Unaskable::User { bytes: user.len(), most: VALUE_MAX });
        }
        if !(1..=PASSWORD_MAX).contains(&password.len()) {
            return Err(Unaskable::Password { bytes: password.len(), most: PASSWORD_MAX });
        }
        append(&mut packet, attribute::USER_NAME, user.as_bytes());
        append(&mut packet, attribute::USER_PASSWORD, &hidden(password.as_bytes(), secret, authenticator));
    }
    append(&mut packet, attribute::NAS_IDENTIFIER, NAS_NAME);
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    if let Some(field) = packet.get_mut(2..4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    let signature = hmac_md5(secret, &[&packet]);
    if let Some(field) = packet.get_mut(signature_at..signature_at + signature.len()) {
        field.copy_from_slice(&signature);
    }
    Ok(packet)
}

/// `value` is at most `VALUE_MAX` long.
fn append(packet: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let length = u8::try_from(value.len() + 2).unwrap_or(u8::MAX);
    packet.extend_from_slice(&[kind, length]);
    packet.extend_from_slice(value);
}

/// User-Password (RFC 2865, 5.2): in blocks of 16 bytes, each added to the MD5 of the secret and the block
/// before it.
fn hidden(password: &[u8], secret: &[u8], authenticator: &[u8; 16]) -> Vec<u8> {
    let mut hidden: Vec<u8> = Vec::with_capacity(PASSWORD_MAX);
    let mut before = *authenticator;
    for block in password.chunks(before.len()) {
        let mask = Md5::new().chain_update(secret).chain_update(before).finalize();
        let padded = block.iter().chain(std::iter::repeat(&0));
        for ((to, mask), plain) in before.iter_mut().zip(mask).zip(padded) {
            *to = plain ^ mask;
        }
        hidden.extend_from_slice(&before);
    }
    hidden
}

impl Conversation for Radius {
    fn open(&mut self, out: &mut Vec<u8>) -> Next {
        out.extend_from_slice(&self.request);
        Next::Read
    }

    fn received(&mut self, bytes: &[u8], _out: &mut Vec<u8>) -> Next {
        self.allowance.of_datagram(bytes);
        self.judge(bytes).or_else(|| self.allowance.exceeded()).map_or(Next::Read, Next::Done)
    }

    fn closed(&mut self) -> Verdict {
        Verdict::failure(FailureKind::Closed, "closed without an answer")
    }

    fn timed_out(&self) -> Failure {
        let words = match self.login {
            true => "no answer: does the server know this balancer as a client, with this secret?",
            false => {
                "no answer: does the server know this balancer as a client, with this secret, and answer Status-Server?"
            }
        };
        Failure { kind: FailureKind::Timeout, words: words.into() }
    }
}

#[cfg(test)]
#[path = "radius_tests.rs"]
mod tests;
