//! The seal around every message between the two boxes: authenticated encryption that works from the first packet.
//!
//! ```text
//!  byte   in clear, and authenticated
//!   0     magic, 0xb1
//!   1     version of what is inside
//!   2     kind (upper four bits), channel (lower four)
//!   3     number of the pre-shared key
//!   4-9   id of the sender
//!  10-13  its boot counter   ┐ incarnation
//!  14-17  its start counter  ┘
//!  18-25  salt: random, chosen when the sealer was made
//!  26-31  counter: from 1, of this kind and channel
//!  32-    the body, encrypted by ChaCha20-Poly1305 (RFC 8439)
//!  last 16  tag
//! ```
//! Numbers are big-endian. The key is HKDF-SHA256 (RFC 5869) of the pre-shared key, with the salt and, as `info`,
//! [`INFO`], kind, sender and incarnation. The nonce is byte 2, three zeros, and the counter as 64 bits.
//!
//! Why it holds:
//! - *A nonce never serves twice.* A key belongs to one sealer, which counts; a start of the daemon has an incarnation
//!   of its own, and should the counters on disk have gone back, its salt differs.
//! - *Reflection.* The sender is part of the key: a box has no key under which its own packet would open as its peer's.
//! - *Replay* within a life of the sender: a window for each channel. A packet that was carried over to another path
//!   counts there or here, once.
//! - *Replay of an earlier life*: its incarnation is older than the newest whose seal was good, and refused.
//! - *Replay after a restart of the receiver*, which has lost its windows: `floor` refuses lives of the peer older
//!   than the newest that an earlier life of the receiver has known. What remains are packets of the peer's current
//!   life. The first live packet moves the window above them. So they pass only while the peer is silent, each once,
//!   and in the end for no longer than they were recorded. They cannot make an owner: they echo an earlier
//!   incarnation of the receiver, and only an echo of its own stamps, of this life, gives it a lease. Nor does the
//!   peer own by them; they can only keep up a belief that the peer is alive.
//! - *A key that is given away* opens all that was sealed with it: there is no forward secrecy.

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::heartbeat::{BoxId, Incarnation};
use super::key::{self, KEY_BYTES, Key, KeyId, Keys, NoRandomNumbers};
use super::replay::Window;
use super::version::Versions;

const MAGIC: u8 = 0xb1;
const INFO: &[u8] = b"lbd pair seal 1";
const SALT_BYTES: usize = 8;
const HEADER_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const COUNTER_MAX: u64 = (1 << 48) - 1;
const ID_MAX: u64 = (1 << 48) - 1;

/// What the seal adds to a body, in bytes.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;
/// Most bytes of a sealed message: it fits an Ethernet frame with IPv6 and UDP, without fragments.
pub const SEALED_BYTES_MAX: usize = 1_400;
/// Most bytes of a body.
pub const BODY_BYTES_MAX: usize = SEALED_BYTES_MAX - OVERHEAD_BYTES;

/// What is in a message. Each kind has its own sealer and opener, so that threads need not share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Heartbeat = 1,
    Sync = 2,
}

impl Kind {
    /// Of a message that may be anything, to choose the opener.
    pub fn of(datagram: &[u8]) -> Option<Self> {
        match datagram {
            [MAGIC, _, byte, ..] => [Self::Heartbeat, Self::Sync].into_iter().find(|kind| *kind as u8 == byte >> 4),
            _ => None,
        }
    }
}

/// The number of a path as its sender counts them, 0 to 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(u8);

impl Channel {
    pub const COUNT: usize = 16;

    /// `None`: not below 16.
    pub const fn new(number: u8) -> Option<Self> {
        if number < 16 { Some(Self(number)) } else { None }
    }

    pub const fn number(self) -> u8 {
        self.0
    }
}

/// Why a received message does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not of this protocol, kind or pair.
    #[error("not a message of this pair")]
    NotOurs,
    #[error("version {0} of the protocol, which this release does not speak")]
    Version(u8),
    #[error("key {0} is not in the key file")]
    UnknownKey(KeyId),
    #[error("the seal is broken, or made with another key of the same number")]
    BadSeal,
    #[error("seen before, or too late to tell")]
    Replayed,
    #[error("from an earlier life of the peer")]
    OldIncarnation,
    #[error("a message of this box itself")]
    Reflected,
    #[error("well sealed, but malformed")]
    Malformed,
}

impl Refused {
    pub const COUNT: usize = 8;
    /// By [`Self::index`], as labels of metrics.
    pub const NAMES: [&str; Self::COUNT] =
        ["not_ours", "version", "unknown_key", "bad_seal", "replayed", "old_incarnation", "reflected", "malformed"];

    /// Below [`Self::COUNT`].
    pub const fn index(self) -> usize {
        match self {
            Self::NotOurs => 0,
            Self::Version(_) => 1,
            Self::UnknownKey(_) => 2,
            Self::BadSeal => 3,
            Self::Replayed => 4,
            Self::OldIncarnation => 5,
            Self::Reflected => 6,
            Self::Malformed => 7,
        }
    }
}

/// Why a message cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error(transparent)]
    NoRandomNumbers(#[from] NoRandomNumbers),
    #[error("the id of a box has 48 bits, as a MAC address")]
    Id,
    #[error("a body of {0} bytes; {BODY_BYTES_MAX} fit")]
    TooLong(usize),
    #[error("2^48 messages have been sealed in one life")]
    Exhausted,
}

/// Who sends, in which life, with which salt: what the key of a life is made from besides the pre-shared one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    sender: BoxId,
    incarnation: Incarnation,
    salt: [u8; SALT_BYTES],
}

impl Life {
    fn cipher(&self, kind: Kind, key: &Key) -> ChaCha20Poly1305 {
        let sender = self.sender.0.to_be_bytes();
        let (boot, start) = (self.incarnation.boot.to_be_bytes(), self.incarnation.start.to_be_bytes());
        let info: [&[u8]; 5] = [INFO, &[kind as u8], &sender, &boot, &start];
        let key = hkdf(&self.salt, key.secret(), &info.concat());
        ChaCha20Poly1305::new((&*key).into())
    }
}

/// HKDF-SHA256, its first block: as much as a key has.
pub(super) fn hkdf(salt: &[u8], secret: &[u8], info: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
    let extracted = Zeroizing::new(hmac(salt, &[secret]));
    Zeroizing::new(hmac(&*extracted, &[info, &[1]]))
}

/// HMAC-SHA256 of the parts.
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; KEY_BYTES] {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; KEY_BYTES] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// The header, as it is in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    version: u8,
    kind: u8,
    channel: Channel,
    key: KeyId,
    life: Life,
    counter: u64,
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let [_, _, sender @ ..] = self.life.sender.0.to_be_bytes();
        let [_, _, counter @ ..] = self.counter.to_be_bytes();
        let parts: [&[u8]; 6] = [
            &[MAGIC, self.version, self.kind << 4 | self.channel.0, self.key.0],
            &sender,
            &self.life.incarnation.boot.to_be_bytes(),
            &self.life.incarnation.start.to_be_bytes(),
            &self.life.salt,
            &counter,
        ];
        for (byte, value) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *byte = *value;
        }
        bytes
    }

    /// `None`: not of this protocol.
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let ([magic, version, kind_and_channel, key], rest) = bytes.split_first_chunk()?;
        let (sender, rest) = rest.split_first_chunk::<6>()?;
        let (boot, rest) = rest.split_first_chunk()?;
        let (start, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (counter, _) = rest.split_first_chunk::<6>()?;
        let number = |bytes: &[u8; 6]| bytes.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        let incarnation = Incarnation { boot: u32::from_be_bytes(*boot), start: u32::from_be_bytes(*start) };
        (*magic == MAGIC).then(|| Self {
            version: *version,
            kind: kind_and_channel >> 4,
            channel: Channel(kind_and_channel & 15),
            key: KeyId(*key),
            life: Life { sender: BoxId(number(sender)), incarnation, salt: *salt },
            counter: number(counter),
        })
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = Nonce::default();
        let head = [self.kind << 4 | self.channel.0, 0, 0, 0];
        for (byte, value) in nonce.iter_mut().zip(head.into_iter().chain(self.counter.to_be_bytes())) {
            *byte = value;
        }
        nonce
    }
}

/// Seals messages of one kind.
///
/// There is one for a kind in a life of the daemon: another one of the same incarnation has another salt, and the peer
/// refuses what it seals.
pub struct Sealer {
    kind: Kind,
    life: Life,
    key: KeyId,
    cipher: ChaCha20Poly1305,
    /// The last one used, for each channel.
    counters: [u64; Channel::COUNT],
}

impl Sealer {
    /// # Errors
    /// When there are no random numbers for the salt, or the id has more than 48 bits.
    pub fn new(kind: Kind, sender: BoxId, incarnation: Incarnation, keys: &Keys) -> Result<Self, SealError> {
        if sender.0 > ID_MAX {
            return Err(SealError::Id);
        }
        let mut salt = [0; SALT_BYTES];
        key::random(&mut salt)?;
        let life = Life { sender, incarnation, salt };
        let key = keys.sending();
        Ok(Self { kind, life, key: key.id, cipher: life.cipher(kind, key), counters: [0; Channel::COUNT] })
    }

    /// The key file has been read anew. Counters go on: a window of the peer does not care for keys.
    pub fn set_keys(&mut self, keys: &Keys) {
        let key = keys.sending();
        self.key = key.id;
        self.cipher = self.life.cipher(self.kind, key);
    }

    /// Replaces `sealed` by the sealed body. Returns the counter that it bears, 1 being the first of the channel.
    ///
    /// # Errors
    /// When the body is too long, or the counter of the channel is used up.
    pub fn seal(&mut self, version: u8, channel: Channel, body: &[u8], sealed: &mut Vec<u8>) -> Result<u64, SealError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(SealError::TooLong(body.len()));
        }
        let last = self.counters.get_mut(usize::from(channel.0)).ok_or(SealError::Exhausted)?;
        if *last >= COUNTER_MAX {
            return Err(SealError::Exhausted);
        }
        *last += 1;
        let counter = *last;
        let header = Header { version, kind: self.kind as u8, channel, key: self.key, life: self.life, counter };
        let bytes = header.to_bytes();
        sealed.clear();
        sealed.extend_from_slice(&bytes);
        sealed.extend_from_slice(body);
        let text = sealed.get_mut(HEADER_BYTES..).unwrap_or_default();
        // The cipher refuses nothing below 256 GiB.
        let tag = self
            .cipher
            .encrypt_inout_detached(&header.nonce(), &bytes, InOutBuf::from(text))
            .map_err(|_| SealError::TooLong(body.len()))?;
        sealed.extend_from_slice(&tag);
        Ok(counter)
    }
}

/// What the header of a message said whose seal was good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub version: u8,
    pub channel: Channel,
    pub incarnation: Incarnation,
    pub counter: u64,
}

/// Opens messages of one kind from the peer, each once.
pub struct Opener {
    kind: Kind,
    own: BoxId,
    peer: BoxId,
    spoken: Versions,
    keys: Keys,
    floor: Incarnation,
    /// The newest life of the peer, once a seal of it was good.
    current: Option<Current>,
}

struct Current {
    life: Life,
    windows: [Window; Channel::COUNT],
    key: KeyId,
    cipher: ChaCha20Poly1305,
}

impl Opener {
    /// Lives of the peer before `floor` are refused: the newest that an earlier life of this box has known, or zero.
    pub const fn new(kind: Kind, own: BoxId, peer: BoxId, spoken: Versions, keys: Keys, floor: Incarnation) -> Self {
        Self { kind, own, peer, spoken, keys, floor, current: None }
    }

    /// The key that the peer seals with, if one of its packets has counted; its number, if it is not in the file any more.
    pub fn key_of_peer(&self) -> Option<(KeyId, Option<&Key>)> {
        self.current.as_ref().map(|current| (current.key, self.keys.find(current.key)))
    }

    /// The key file has been read anew.
    pub fn set_keys(&mut self, keys: Keys) {
        // Also when the number has stayed: the key may not have. A number that is gone finds no key any more.
        if let Some(current) = &mut self.current
            && let Some(key) = keys.find(current.key)
        {
            current.cipher = current.life.cipher(self.kind, key);
        }
        self.keys = keys;
    }

    /// Opens a message and replaces `body` by its body, which is empty when the message is refused.
    ///
    /// # Errors
    /// When it does not count. Nothing is changed then.
    pub fn open(&mut self, datagram: &[u8], body: &mut Vec<u8>) -> Result<Envelope, Refused> {
        body.clear();
        let (head, rest) = datagram.split_first_chunk::<HEADER_BYTES>().ok_or(Refused::NotOurs)?;
        let (text, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(Refused::NotOurs)?;
        let header = Header::parse(head).ok_or(Refused::NotOurs)?;
        if header.kind != self.kind as u8 || text.len() > BODY_BYTES_MAX {
            return Err(Refused::NotOurs);
        }
        self.judge(&header)?;
        let key = self.keys.find(header.key).ok_or(Refused::UnknownKey(header.key))?;
        let known = self.current.as_ref().filter(|current| current.life == header.life && current.key == key.id);
        let derived = known.is_none().then(|| header.life.cipher(self.kind, key));
        let cipher = derived.as_ref().or(known.map(|current| &current.cipher)).ok_or(Refused::BadSeal)?;
        body.extend_from_slice(text);
        let tag: &Tag = tag.into();
        if cipher.decrypt_inout_detached(&header.nonce(), head, InOutBuf::from(body.as_mut_slice()), tag).is_err() {
            body.clear();
            return Err(Refused::BadSeal);
        }
        self.accept(&header, derived);
        Ok(Envelope {
            version: header.version,
            channel: header.channel,
            incarnation: header.life.incarnation,
            counter: header.counter,
        })
    }

    /// What can be said before the seal is looked at.
    fn judge(&self, header: &Header) -> Result<(), Refused> {
        if header.life.sender == self.own {
            return Err(Refused::Reflected);
        }
        if header.life.sender != self.peer {
            return Err(Refused::NotOurs);
        }
        if !self.spoken.contains(header.version) {
            return Err(Refused::Version(header.version));
        }
        if header.life.incarnation < self.floor {
            return Err(Refused::OldIncarnation);
        }
        let Some(current) = &self.current else {
            return if header.counter == 0 { Err(Refused::Replayed) } else { Ok(()) };
        };
        if header.life.incarnation > current.life.incarnation {
            return if header.counter == 0 { Err(Refused::Replayed) } else { Ok(()) };
        }
        // Another salt under the same number: nobody can tell which of the two is the newer one.
        if header.life != current.life {
            return Err(Refused::OldIncarnation);
        }
        let window = current.windows.get(usize::from(header.channel.0));
        if window.is_some_and(|window| window.is_new(header.counter)) { Ok(()) } else { Err(Refused::Replayed) }
    }

    /// The seal is good. `derived`: the cipher, where it is not the one at hand.
    fn accept(&mut self, header: &Header, derived: Option<ChaCha20Poly1305>) {
        if let Some(cipher) = derived {
            match &mut self.current {
                Some(current) if current.life == header.life => {
                    current.key = header.key;
                    current.cipher = cipher;
                }
                current => {
                    let windows = std::array::from_fn(|_| Window::default());
                    *current = Some(Current { life: header.life, windows, key: header.key, cipher });
                }
            }
        }
        if let Some(current) = &mut self.current
            && let Some(window) = current.windows.get_mut(usize::from(header.channel.0))
        {
            window.accept(header.counter);
        }
    }
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
