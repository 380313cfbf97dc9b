//! What is spoken: an explicit list, so that another release of the library offers nothing that nobody has looked at.
//!
//! `tests/ssh/policy.txt` has the same list for ssh-audit, which holds the listener against it.

use std::borrow::Cow;
use std::time::Duration;

use russh::keys::{Algorithm, PrivateKey};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};

/// Hybrid with ML-KEM first, for what is recorded now and read later; finite fields for the hosts of old automation.
const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::DH_G16_SHA512,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];
const CIPHERS: &[cipher::Name] = &[
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];
/// Encrypt, then authenticate: the other order has leaked before.
const MACS: &[mac::Name] = &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM];
/// Compression before the login has been a way in, and a terminal needs none.
const COMPRESSIONS: &[compression::Name] = &[compression::NONE];
/// Of the host key alone: which keys users may have is said by the configuration.
const HOST_KEYS: &[Algorithm] = &[Algorithm::Ed25519];

/// A client that has said nothing for so long is asked whether it is there...
const KEEPALIVE: Duration = Duration::from_secs(30);
/// ...and gone after so many questions.
const KEEPALIVES: usize = 3;
/// Attempts of all kinds: keys that an agent offers count here, and not as wrong passwords.
const ATTEMPTS_OF_ALL_KINDS: usize = 10;
/// An offered key that is none of the user's is refused so late, as is one that belongs to nobody.
const KEY_REFUSED_AFTER: Duration = Duration::from_millis(50);
/// What a client may send before it is told that it was taken. RFC 4254 sets no least.
const WINDOW: u32 = 128 * 1024;
/// RFC 4253, 6.1 wants 32,768 bytes to be taken.
const PACKET: u32 = 32 * 1024;
/// Packets of a channel that wait to be taken.
const QUEUE: usize = 4;

/// The methods by which one may log in.
pub fn methods() -> MethodSet {
    MethodSet::from([MethodKind::PublicKey, MethodKind::Password].as_slice())
}

pub fn config(host_key: PrivateKey) -> Config {
    Config {
        server_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-lbd_", env!("CARGO_PKG_VERSION")))),
        methods: methods(),
        auth_rejection_time: KEY_REFUSED_AFTER,
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: ATTEMPTS_OF_ALL_KINDS,
        keys: vec![host_key],
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: QUEUE,
        preferred: Preferred {
            kex: Cow::Borrowed(KEX),
            key: Cow::Borrowed(HOST_KEYS),
            host_key_certificates: Cow::Borrowed(&[]),
            cipher: Cow::Borrowed(CIPHERS),
            mac: Cow::Borrowed(MACS),
            compression: Cow::Borrowed(COMPRESSIONS),
        },
        // A session that idles is ended by itself, with a word.
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVES,
        nodelay: true,
        ..Config::default()
    }
}
