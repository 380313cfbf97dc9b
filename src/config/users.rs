//! Who may log in, and how the way in over the network behaves: plain data.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordVerifier};
use russh::keys::ssh_key;
use sha_crypt::ShaCrypt;

use super::limits;
use super::model::Prefix;

/// Somebody who may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// 1 shows, 15 changes; those between are as 1, until commands have levels of their own.
    pub level: u8,
    /// Without it nobody gets in as this user by a password.
    pub secret: Option<Secret>,
    pub ssh_keys: Vec<SshKey>,
}

impl User {
    pub const LEVEL_DEFAULT: u8 = 1;
}

impl Default for User {
    fn default() -> Self {
        Self { level: Self::LEVEL_DEFAULT, secret: None, ssh_keys: Vec::new() }
    }
}

/// The hash of a password: argon2id as a PHC string, or SHA-512 as crypt(3) has it. Never the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Most memory of a hash, in KiB: whoever could set it could end the daemon by a login.
const MEMORY_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 8;
/// Ten times crypt(3)'s default would be 50,000; more only keeps logins waiting.
const ROUNDS_MAX: u32 = 500_000;
/// A PHC string has about 100 bytes, one of crypt(3) up to 120.
const SECRET_BYTES_MAX: usize = 256;

impl Secret {
    /// Takes a hash; says what is wrong with a text that is none, and never shows it: it may be a password.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > SECRET_BYTES_MAX {
            return Err(format!("a hash has at most {SECRET_BYTES_MAX} bytes"));
        }
        if text.starts_with("$argon2id$") {
            let hash = PasswordHash::new(text).map_err(|error| format!("no argon2id hash: {error}"))?;
            let params = Params::try_from(&hash).map_err(|error| format!("no argon2id hash: {error}"))?;
            if hash.salt.is_none() || hash.hash.is_none() {
                return Err("the argon2id hash lacks its salt or its end".into());
            }
            if params.m_cost() > MEMORY_MAX || params.t_cost() > PASSES_MAX || params.p_cost() > LANES_MAX {
                return Err(format!(
                    "the argon2id hash costs more than a login may: m={MEMORY_MAX},t={PASSES_MAX},p={LANES_MAX} at most"
                ));
            }
        } else if let Some(rest) = text.strip_prefix("$6$") {
            let mut fields: Vec<&str> = rest.split('$').collect();
            if let Some(rounds) = fields.first().and_then(|first| first.strip_prefix("rounds=")) {
                if !rounds.parse::<u32>().is_ok_and(|rounds| (1_000..=ROUNDS_MAX).contains(&rounds)) {
                    return Err(format!(
                        "the SHA-512 hash has too few or too many rounds; 1000 to {ROUNDS_MAX} may be"
                    ));
                }
                fields.remove(0);
            }
            let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte));
            let [salt, hash] = fields.as_slice() else {
                return Err("no SHA-512 hash: it is written $6$SALT$HASH".into());
            };
            if !(1..=16).contains(&salt.len()) || hash.len() != 86 || !plain(salt) || !plain(hash) {
                return Err("no SHA-512 hash: it has a salt of 1 to 16 characters, and 86 more".into());
            }
        } else {
            return Err("no hash of a password: it begins with $argon2id$ or $6$".into());
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a password is the one. Takes as long as the hash was made to take: not for a thread that others wait for.
    pub fn is(&self, password: &str) -> bool {
        if self.0.starts_with("$6$") {
            return ShaCrypt::SHA512.verify_password(password.as_bytes(), self.0.as_str()).is_ok();
        }
        // What the hash says of itself counts, not what is said here.
        Argon2::new(Algorithm::Argon2id, Default::default(), Params::default())
            .verify_password(password.as_bytes(), self.0.as_str())
            .is_ok()
    }
}

/// Logs and panics must not have it.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A public key that lets a user in, as a line of `authorized_keys` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshKey(ssh_key::PublicKey);

/// Longest comment of a key, in bytes.
const COMMENT_BYTES_MAX: usize = 128;

impl SshKey {
    /// Takes a line; says what is wrong with one that cannot be taken, and what to do.
    pub fn new(text: &str) -> Result<Self, String> {
        let kind = text.split_whitespace().next().unwrap_or_default();
        match kind {
            "ssh-ed25519" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521" => {}
            "ssh-rsa" | "rsa-sha2-256" | "rsa-sha2-512" => {
                return Err(
                    "RSA keys are not taken (docs/ssh.md says why); `ssh-keygen -t ed25519` makes one that is".into()
                );
            }
            "ssh-dss" => return Err("DSA keys are broken; `ssh-keygen -t ed25519` makes one that is taken".into()),
            _ => {
                return Err(
                    "no public key: a line such as ssh-ed25519 AAAAC3… admin@desk, from the file that ends in .pub"
                        .into(),
                );
            }
        }
        let key = ssh_key::PublicKey::from_openssh(text).map_err(|error| {
            format!("the {kind} key cannot be read ({error}); copy the whole line of the .pub file")
        })?;
        let comment =
            std::str::from_utf8(key.comment().as_bytes()).map_err(|_| "the comment of the key is not UTF-8")?;
        if comment.len() > COMMENT_BYTES_MAX || comment.chars().any(char::is_control) {
            return Err(format!("the comment of a key is one line of at most {COMMENT_BYTES_MAX} bytes"));
        }
        Ok(Self(key))
    }

    pub fn key_data(&self) -> &ssh_key::public::KeyData {
        self.0.key_data()
    }

    /// `SHA256:…`
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(ssh_key::HashAlg::Sha256).to_string()
    }
}

impl fmt::Display for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It came from a text, and so can be one.
        f.write_str(self.0.to_openssh().unwrap_or_default().trim_end())
    }
}

/// The SSH listener. It is open where there is at least one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    pub enabled: bool,
    /// 1 to 16. Default: port 22 at every address.
    pub listen: Vec<SocketAddr>,
    /// From the connection to the login. 5 s to 10 minutes, default 60 s.
    pub grace: Duration,
    /// Wrong passwords of one connection, 1 to 10, default 4.
    pub attempts: u8,
    /// A session in which nothing is typed for so long ends. 0 (never) to 7 days, default 10 minutes.
    pub idle: Duration,
    /// Networks that may connect; empty: all.
    pub access: Vec<Prefix>,
    /// Logged in at once, 1 to 64, default 16; the last place is for an administrator.
    pub sessions: u8,
}

impl Ssh {
    pub const PORT: u16 = 22;
    pub const GRACE_DEFAULT: Duration = Duration::from_secs(60);
    pub const IDLE_DEFAULT: Duration = Duration::from_secs(600);

    /// The addresses to listen at, for these users.
    pub fn listens(&self, has_users: bool) -> &[SocketAddr] {
        if self.enabled && has_users { &self.listen } else { &[] }
    }

    /// Whether the access list lets an address in. One that maps IPv4 into IPv6 is the IPv4 one.
    pub fn lets_in(&self, address: std::net::IpAddr) -> bool {
        let address = address.to_canonical();
        self.access.is_empty() || self.access.iter().any(|prefix| prefix.contains(address))
    }
}

impl Default for Ssh {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, Self::PORT))],
            grace: Self::GRACE_DEFAULT,
            attempts: 4,
            idle: Self::IDLE_DEFAULT,
            access: Vec::new(),
            sessions: 16,
        }
    }
}

/// What is wrong with a text that is shown before the login; an empty one is none.
pub fn check_banner(text: &str) -> Result<(), (&'static str, &'static str)> {
    if text.len() > limits::BANNER_BYTES_MAX {
        return Err(("the banner is too long", "at most 2,000 bytes can stand here"));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(("the banner has a control character", "printable text can stand here, in lines"));
    }
    if text.lines().any(|line| line.trim_end().ends_with(['>', '#'])) {
        return Err((
            "a line of the banner ends in `>` or `#`",
            "programs that log in take such a line for the prompt; end it otherwise",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl passwd -6 -salt 0123456789abcdef secret`
    const SHA512: &str =
        "$6$0123456789abcdef$8CGkKDSyVpVlVNcs5PssRw/Tb8EgfecuA6D/zsRQFumJaU.s8KgTWWc2HfgkB7h2n1qIKiJFeSyUFrwvhILXy.";
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBswk1BTN5+Ml1L4mQLT3KwpIEkdEC6c9OzXRG4+u2vX";

    #[test]
    fn what_is_no_hash_is_refused_and_never_shown() {
        for text in ["", "swordfish", "$1$a$b", "$5$a$b", "$6$", "$6$salt$short", "$argon2i$v=19$m=8,t=1,p=1$AAAA$AAAA"]
        {
            let error = Secret::new(text).unwrap_err();
            assert!(text.is_empty() || !error.contains(text) || text == "$6$", "{error}");
        }
        let dear = "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHRzb21l$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert!(Secret::new(dear).unwrap_err().contains("costs more"));
        assert!(Secret::new(&SHA512.replace("$6$", "$6$rounds=900000000$")).unwrap_err().contains("rounds"));
        assert!(!format!("{:?}", Secret::new(SHA512).unwrap()).contains("0123"));
    }

    #[test]
    fn a_key_that_is_not_taken_says_what_to_do() {
        assert!(SshKey::new("ssh-rsa AAAA me").unwrap_err().contains("ssh-keygen -t ed25519"));
        assert!(SshKey::new("hello").unwrap_err().contains(".pub"));
        assert!(SshKey::new(&KEY[..60]).unwrap_err().contains("whole line"));
        let key = SshKey::new(&format!("{KEY} admin at the desk\n")).unwrap();
        assert_eq!(key.to_string(), format!("{KEY} admin at the desk"));
        assert!(key.fingerprint().starts_with("SHA256:"));
    }

    #[test]
    fn the_access_list_knows_ipv4_that_came_by_an_ipv6_socket() {
        let access = vec![Prefix { address: "192.0.2.0".parse().unwrap(), length: 24 }];
        let ssh = Ssh { access, ..Ssh::default() };
        assert!(ssh.lets_in("::ffff:192.0.2.7".parse().unwrap()) && ssh.lets_in("192.0.2.9".parse().unwrap()));
        assert!(!ssh.lets_in("192.0.3.1".parse().unwrap()) && !ssh.lets_in("2001:db8::1".parse().unwrap()));
        assert!(Ssh::default().lets_in("2001:db8::1".parse().unwrap()));
    }
}
