//! Passwords: hashed before they are kept, and held against their hashes without keeping others waiting.

use std::sync::{Arc, LazyLock};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::config::Secret;

/// Memory in KiB and passes: the second of OWASP's equal choices (Password Storage Cheat Sheet), some 30 ms of one core.
const MEMORY: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// Logins that are looked at, at once: a flood of them must leave a core to probes and forwarding.
const AT_ONCE: usize = 1;
/// Longer ones are no passwords, and cost time.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_ONCE)));

/// What is held against the password of a user who is not there, so that he takes as long as one who is.
static NOBODY: LazyLock<Option<Secret>> = LazyLock::new(|| hash("nobody has this password").ok());

/// The hash of a password, with a salt of its own.
pub fn hash(password: &str) -> Result<Secret, String> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(format!("a password has 1 to {PASSWORD_BYTES_MAX} bytes"));
    }
    if Secret::new(password).is_ok() {
        return Err("that is a hash already: say `secret 9` before it".into());
    }
    let params = Params::new(MEMORY, PASSES, 1, None).map_err(|error| error.to_string())?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon.hash_password(password.as_bytes()).map_err(|error| error.to_string())?;
    Secret::new(&hash.to_string())
}

/// Whether a password is that of a secret. Of none it is not, after as long.
pub async fn is(secret: Option<Secret>, password: &str) -> bool {
    if password.len() > PASSWORD_BYTES_MAX {
        return false;
    }
    let password = Zeroizing::new(password.to_owned());
    let Ok(place) = PLACES.clone().acquire_owned().await else { return false };
    let work = move || {
        // Kept until it is done, also when nobody waits for it any more.
        let _place = place;
        match secret {
            Some(secret) => secret.is(&password),
            None => {
                let _ = NOBODY.as_ref().map(|nobody| nobody.is(&password));
                false
            }
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_its_own_hash_alone() {
        let secret = hash("swordfish").unwrap();
        assert!(secret.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", secret.as_str());
        assert_ne!(secret, hash("swordfish").unwrap(), "each has a salt");
        assert!(is(Some(secret.clone()), "swordfish").await);
        assert!(!is(Some(secret.clone()), "Swordfish").await && !is(Some(secret), "").await);
        assert!(!is(None, "nobody has this password").await);
    }

    #[test]
    fn a_hash_is_not_hashed_again_and_nothing_is_no_password() {
        let secret = hash("x").unwrap();
        assert!(hash(secret.as_str()).unwrap_err().contains("secret 9"));
        assert!(hash("").is_err() && hash(&"x".repeat(2_000)).is_err());
    }
}
