//! Tokens of the HTTP interface: made at random, shown once, kept as their hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::config::TokenHash;

/// By this, tools that look for secrets in texts find one.
const BEGINNING: &str = "lbd_";
/// 256 bits: nobody finds one by trying.
const RANDOM_BYTES: usize = 32;
/// Longer ones are no tokens.
pub const TOKEN_BYTES_MAX: usize = 128;

/// A new token, and what is kept of it.
pub fn new() -> Result<(Zeroizing<String>, TokenHash), String> {
    let mut random = Zeroizing::new([0; RANDOM_BYTES]);
    getrandom::fill(random.as_mut()).map_err(|error| format!("the kernel gives no random numbers: {error}"))?;
    let token = Zeroizing::new(format!("{BEGINNING}{}", URL_SAFE_NO_PAD.encode(random.as_ref())));
    let hash = hash(&token);
    Ok((token, hash))
}

/// One pass of SHA-256, and not argon2 as of passwords: what slows down guessing is of use where there is something to
/// guess. A token is 256 random bits; whoever has the hash needs 2^255 tries, be they cheap or dear. And it is looked at
/// with each request, where 30 ms of a core would be an attack by itself.
pub fn hash(token: &str) -> TokenHash {
    TokenHash(Sha256::digest(token.as_bytes()).into())
}

/// Whether it is the same, in a time that does not depend on how much of it is.
pub fn is(one: &TokenHash, other: &TokenHash) -> bool {
    one.0.ct_eq(&other.0).into()
}

/// A random text of so many bits as a token has, for cookies and the like.
pub fn random() -> Result<Zeroizing<String>, String> {
    new().map(|(token, _)| Zeroizing::new(token[BEGINNING.len()..].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_own_hash_alone_and_no_two_are_the_same() {
        let (token, kept) = new().unwrap();
        assert!(token.starts_with("lbd_") && token.len() == 47 && token.len() <= TOKEN_BYTES_MAX, "{}", *token);
        assert!(is(&kept, &hash(&token)));
        let (other, of_other) = new().unwrap();
        assert!(*token != *other && !is(&kept, &of_other) && !is(&kept, &hash("")));
        assert_eq!(TokenHash::new(&kept.to_string()).unwrap(), kept);
    }
}
