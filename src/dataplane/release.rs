//! The token by which a box ends the lease that its peer's dead daemon has left behind.
//!
//! Each daemon arms its data plane with the token of its own incarnation; the peer can make the same one, because
//! it has the pair's key and hears the incarnation in the heartbeats. The program only compares. A token works
//! once: when it is obeyed the program forgets it, a new incarnation arms another, and so does a living daemon
//! when it sees that its token has been shown on the wire (`Reading::token_shown_at`), with the next number.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

/// Says what the key is used for, and in which version.
const LABEL: &[u8] = b"lbd release token 1\0";

/// Whose lease a token ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenOf {
    /// The box that holds the lease, by its number in the pair: a box must not be released by the token that it
    /// sent to the other.
    pub owner: u64,
    /// Its incarnation: boots of the box, and starts of its daemon.
    pub boot: u64,
    pub start: u64,
    /// Of the tokens of this incarnation, from 0 on.
    pub number: u64,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 16]);

impl Token {
    /// HMAC-SHA-256 (RFC 2104) of label and `of`, cut to 128 bits. `key` is one that both boxes have and use for
    /// nothing else.
    pub fn new(key: &[u8; 32], of: &TokenOf) -> Self {
        let mut bytes = [0; 16];
        // A key of any length is one for HMAC.
        if let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(key) {
            hmac.update(LABEL);
            for number in [of.owner, of.boot, of.start, of.number] {
                hmac.update(&number.to_be_bytes());
            }
            for (to, from) in bytes.iter_mut().zip(hmac.finalize().into_bytes()) {
                *to = from;
            }
        }
        Self(bytes)
    }

    /// As it goes over the wire.
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// As the program compares it: the bytes in memory.
    pub(super) fn words(&self) -> [u64; 2] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.0;
        [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])]
    }
}

/// A token is a secret until it is used.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
