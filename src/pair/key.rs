//! The pair's pre-shared keys: a file that is the same on both boxes.
//!
//! A line is a key: its number, 1 to 255, and 32 bytes as 64 hexadecimal digits or in base64. The **first** key seals
//! what is sent; **every** key opens what is received. So a key is changed without a gap: append the new one on both
//! boxes, then move it to the top on both, then delete the old one on both. Empty lines, and lines from `#` on, count
//! for nothing.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Most keys in a file: two are in use during a change.
pub const KEYS_MAX: usize = 8;
/// Most bytes of a file.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// The number of a key, which each packet carries in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u8);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A pre-shared key. Overwritten when dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    pub id: KeyId,
    secret: Zeroizing<[u8; KEY_BYTES]>,
}

impl Key {
    pub fn new(id: KeyId, secret: [u8; KEY_BYTES]) -> Self {
        Self { id, secret: Zeroizing::new(secret) }
    }

    pub(super) fn secret(&self) -> &[u8; KEY_BYTES] {
        &self.secret
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The keys of a pair; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    sending: Key,
    others: Vec<Key>,
}

impl Keys {
    pub fn single(key: Key) -> Self {
        Self { sending: key, others: Vec::new() }
    }

    /// The key that seals.
    pub const fn sending(&self) -> &Key {
        &self.sending
    }

    /// The key of that number, if it opens.
    pub fn find(&self, id: KeyId) -> Option<&Key> {
        std::iter::once(&self.sending).chain(&self.others).find(|key| key.id == id)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, others may read it, or a line of it is wrong.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let wrong = |problem| KeyFileError { path: path.to_owned(), problem };
        let text = read(path).map_err(wrong)?;
        Self::parse(&text).map_err(wrong)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// When a line is wrong, or there is none.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default();
            if line.trim().is_empty() {
                continue;
            }
            let key = key(line).map_err(|wrong| Problem::Line { number, wrong })?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(Problem::Line { number, wrong: Wrong::Twice(key.id) });
            }
            if keys.len() == KEYS_MAX {
                return Err(Problem::Line { number, wrong: Wrong::TooMany });
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let sending = keys.next().ok_or(Problem::Empty)?;
        Ok(Self { sending, others: keys.collect() })
    }
}

/// What is wrong with a file of keys, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("pair key file {}: {problem}", path.display())]
pub struct KeyFileError {
    pub path: PathBuf,
    pub problem: Problem,
}

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is not a regular file")]
    NotAFile,
    #[error("has more than {FILE_BYTES_MAX} bytes")]
    TooLong,
    #[error(
        "others may read or write it (mode {mode:04o}); the key may be known to them. chmod 600 it, and change the key if need be"
    )]
    Open { mode: u32 },
    #[error("belongs to user {uid}, who is neither root nor the one that lbd runs as; chown it")]
    Foreign { uid: u32 },
    #[error("is not text (UTF-8)")]
    NotText,
    #[error("has no key in it")]
    Empty,
    #[error("line {number}: {wrong}")]
    Line { number: usize, wrong: Wrong },
}

/// What is wrong with a line. The line itself is not shown: it is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error("a line is a number and a key, with a space between them")]
    Shape,
    #[error("the number of a key is 1 to 255")]
    Id,
    #[error("a key is 64 hexadecimal digits, or 32 bytes in base64")]
    Key,
    #[error("all bytes of the key are the same")]
    Trivial,
    #[error("key {0} is there twice; each key has a number of its own")]
    Twice(KeyId),
    #[error("more than {KEYS_MAX} keys")]
    TooMany,
}

/// A line for the file, with a new key from the kernel's random numbers.
///
/// # Errors
/// When the kernel gives none.
pub fn new_line(id: KeyId) -> Result<Zeroizing<String>, NoRandomNumbers> {
    let mut secret = Zeroizing::new([0; KEY_BYTES]);
    random(secret.as_mut())?;
    let mut line = Zeroizing::new(String::with_capacity(80));
    line.push_str(&id.to_string());
    line.push(' ');
    for byte in *secret {
        line.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    }
    line.push('\n');
    Ok(line)
}

/// The kernel has no random numbers to give.
#[derive(Debug, thiserror::Error)]
#[error("the kernel gives no random numbers: {0}")]
pub struct NoRandomNumbers(getrandom::Error);

pub(super) fn random(bytes: &mut [u8]) -> Result<(), NoRandomNumbers> {
    getrandom::fill(bytes).map_err(NoRandomNumbers)
}

fn read(path: &Path) -> Result<Zeroizing<String>, Problem> {
    // Not blocking: a fifo in its place must not hold up the start. What is judged is what was opened.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(Problem::NotAFile);
    }
    if about.mode() & 0o077 != 0 {
        return Err(Problem::Open { mode: about.mode() & 0o7777 });
    }
    if about.uid() != 0 && about.uid() != nix::unistd::geteuid().as_raw() {
        return Err(Problem::Foreign { uid: about.uid() });
    }
    if about.len() > FILE_BYTES_MAX {
        return Err(Problem::TooLong);
    }
    // As large as it can get, so that no copy of the secret is left behind by growth.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX as usize + 1));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8(std::mem::take(&mut *bytes)).map_err(|wrong| {
        wrong.into_bytes().zeroize();
        Problem::NotText
    })?;
    Ok(Zeroizing::new(text))
}

fn key(line: &str) -> Result<Key, Wrong> {
    let mut words = line.split_whitespace();
    let (Some(id), Some(secret), None) = (words.next(), words.next(), words.next()) else { return Err(Wrong::Shape) };
    let id = id.parse().ok().filter(|id| *id != 0).ok_or(Wrong::Id)?;
    let secret = hexadecimal(secret).or_else(|| base64(secret)).ok_or(Wrong::Key)?;
    if secret.iter().all(|byte| Some(byte) == secret.first()) {
        return Err(Wrong::Trivial);
    }
    Ok(Key { id: KeyId(id), secret })
}

fn hexadecimal(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    if text.len() != 2 * KEY_BYTES {
        return None;
    }
    let mut secret = Zeroizing::new([0; KEY_BYTES]);
    for (byte, digits) in secret.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for digit in digits {
            let value = char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok())?;
            *byte = *byte << 4 | value;
        }
    }
    Some(secret)
}

fn base64(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    let secret: &[u8; KEY_BYTES] = bytes.as_slice().try_into().ok()?;
    Some(Zeroizing::new(*secret))
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
