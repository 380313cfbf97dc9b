//! MySQL and MariaDB: the server's handshake, and a login.
//!
//! ```text
//!   handshake ──> login ──┬──> accepted ──> COM_QUIT
//!       │                 ├──> another method asked for ──> login by that ──> accepted or refused
//!       └──> refused      └──> refused
//! ```
//!
//! A server counts the clients of a host that go away after its handshake, and after `max_connect_errors` (100 by
//! default) of them it blocks the host: "Host is blocked because of many connection errors". A probe that
//! only read the handshake would have the balancer blocked within minutes, and with it the clients behind it, which
//! have its address in full NAT. A refused login does not count (MySQL's table performance_schema.host_cache; tried with
//! MariaDB 10.11 and a limit of 5). Therefore this probe answers always: without an account as the user `lbd-probe`
//! without a password, whose refusal ends the exchange as the protocol wants it, and proves besides that the server
//! gets as far as its table of users. The price is a line in the server's log for each (MariaDB: at `log_warnings`
//! 2, its default; MySQL: at `log_error_verbosity` 3). An account `lbd-probe` without password and rights spares it that,
//! and is needed where a plugin slows down refused logins (connection_control).
//!
//! Two methods are known. mysql_native_password; and caching_sha2_password by its fast way, for which the server must
//! have the password in its cache: after its start the first login must be one over TLS, which a probe does not make.
//! An account without a password needs neither.

use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::account::Account;
use super::allowance::Allowance;
use super::unaskable::Unaskable;
use super::words::shown;
use super::{Conversation, Next};
use crate::core::check::{Failure, FailureKind, Verdict};

/// Longest packet, bytes, without its header. A handshake is below 200, a refusal below 600.
pub const PACKET_BYTES_MAX: usize = 4_096;
/// Length in three bytes, least first, and a number in the sequence.
const HEADER: usize = 4;
/// Longest user and password, bytes. The servers' own limits are lower.
const CREDENTIAL_MAX: usize = 255;
const NOBODY: &str = "lbd-probe";
const NATIVE: &[u8] = b"mysql_native_password";
const CACHING: &[u8] = b"caching_sha2_password";
const COM_QUIT: [u8; 5] = [1, 0, 0, 0, 1];

/// Capabilities (MySQL source, mysql_com.h).
mod capability {
    pub const LONG_PASSWORD: u32 = 1;
    pub const PROTOCOL_41: u32 = 0x200;
    pub const SECURE_CONNECTION: u32 = 0x8000;
    pub const PLUGIN_AUTH: u32 = 0x8_0000;
}

/// utf8mb3_general_ci, which every version knows.
const CHARACTER_SET: u8 = 33;
/// Largest packet that this side takes, as it is told to the server, bytes.
const TOLD_PACKET_MAX: u32 = 1 << 24;

/// Error codes (MySQL source, messages_to_clients.txt): too many connections, of the server, of the user, within
/// the hour; the server shuts down; out of resources.
const BUSY: [u16; 6] = [1040, 1203, 1226, 1053, 1041, 1135];
/// The host is blocked, or not allowed.
const HOST_REFUSED: [u16; 2] = [1129, 1130];
/// Access denied, also to a database; the password has ended; the account is locked; the method is not known.
const LOGIN_REFUSED: [u16; 7] = [1044, 1045, 1251, 1524, 1698, 1862, 3118];

/// What is waited for.
#[derive(Debug)]
enum Stage {
    Handshake,
    /// An answer to the login. A server may ask for another method once, and tell once how it goes on.
    Login {
        nonce: Vec<u8>,
        switched: bool,
        told: bool,
    },
}

/// One handshake and login.
pub struct Mysql {
    login: Option<Account>,
    held: Vec<u8>,
    allowance: Allowance,
    stage: Stage,
    /// As the server calls itself, printable.
    version: String,
}

impl Mysql {
    pub fn new(login: Option<&Account>) -> Result<Self, Unaskable> {
        if let Some(Account { user, password }) = login {
            if !(1..=CREDENTIAL_MAX).contains(&user.len()) {
                return Err(Unaskable::User { bytes: user.len(), most: CREDENTIAL_MAX });
            }
            if password.len() > CREDENTIAL_MAX {
                return Err(Unaskable::Password { bytes: password.len(), most: CREDENTIAL_MAX });
            }
            if user.contains('\0') || password.contains('\0') {
                return Err(Unaskable::Nul);
            }
        }
        Ok(Self {
            login: login.cloned(),
            held: Vec::new(),
            allowance: Allowance::default(),
            stage: Stage::Handshake,
            version: String::new(),
        })
    }

    fn password(&self) -> &[u8] {
        self.login.as_ref().map_or(b"", |account| account.password.as_bytes())
    }

    /// The next complete packet: its number, and its content.
    fn packet(&mut self) -> Result<Option<(u8, Vec<u8>)>, Verdict> {
        let Some((header, rest)) = self.held.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [low, middle, high, number] = *header;
        let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        if length > PACKET_BYTES_MAX {
            return Err(match self.stage {
                Stage::Handshake => no_handshake(),
                Stage::Login { .. } => Verdict::failure(FailureKind::Overlong, "an answer longer than any sound one"),
            });
        }
        let Some(content) = rest.get(..length) else { return Ok(None) };
        let content = content.to_vec();
        self.held.drain(..HEADER + length);
        Ok(Some((number, content)))
    }

    fn read(&mut self, out: &mut Vec<u8>) -> Option<Verdict> {
        // A server sends four packets at most before each of them leads to a verdict.
        loop {
            let (number, packet) = match self.packet() {
                Ok(packet) => packet?,
                Err(verdict) => return Some(verdict),
            };
            let verdict = match self.stage {
                Stage::Handshake => self.handshake(number, &packet, out),
                Stage::Login { .. } => self.answer(number, &packet, out),
            };
            if verdict.is_some() {
                return verdict;
            }
        }
    }

    fn handshake(&mut self, number: u8, packet: &[u8], out: &mut Vec<u8>) -> Option<Verdict> {
        if let [0xff, error @ ..] = packet {
            return Some(Refusal::of(error).map_or_else(no_handshake, |refusal| refusal.before_login()));
        }
        let Some(handshake) = Handshake::of(packet) else { return Some(no_handshake()) };
        self.version = handshake.version();
        if handshake.capabilities & capability::PROTOCOL_41 == 0 {
            let words = format!("handshake of {}, which is older than 4.1", self.version);
            return Some(Verdict::failure(FailureKind::Malformed, words));
        }
        let user = self.login.as_ref().map_or(NOBODY, |account| &account.user);
        // A method that is not known is answered as the native one: the server then asks for what the account
        // needs.
        let plugin = if handshake.plugin == CACHING { CACHING } else { NATIVE };
        let proof = proof(plugin, self.password(), &handshake.nonce).unwrap_or_default();
        append_packet(out, number, &login(user, &proof, plugin, handshake.capabilities));
        self.stage = Stage::Login { nonce: handshake.nonce, switched: false, told: false };
        None
    }

    fn answer(&mut self, number: u8, packet: &[u8], out: &mut Vec<u8>) -> Option<Verdict> {
        let Stage::Login { nonce, switched, told } = &mut self.stage else { return None };
        match packet {
            [0xff, error @ ..] => {
                let Some(refusal) = Refusal::of(error) else { return Some(malformed()) };
                Some(match &self.login {
                    Some(_) => refusal.of_login(),
                    // Nobody was expected to be let in.
                    None => refusal.of_nobody(&self.version),
                })
            }
            [0, ..] => {
                out.extend_from_slice(&COM_QUIT);
                let what = if self.login.is_some() { "login to" } else { "handshake of" };
                Some(Verdict::Success(format!("{what} {}", self.version)))
            }
            [0xfe, request @ ..] if !*switched => {
                *switched = true;
                let (plugin, rest) = until_nul(request).unwrap_or((request, b""));
                *nonce = rest.strip_suffix(b"\0").unwrap_or(rest).to_vec();
                let nonce = nonce.clone();
                let Some(proof) = proof(plugin, self.password(), &nonce) else {
                    return self.cannot(number, plugin, out);
                };
                append_packet(out, number, &proof);
                None
            }
            // caching_sha2_password: the password was in the cache; the result follows.
            [1, 3] if !*told => {
                *told = true;
                None
            }
            // It was not, and is wanted in full.
            [1, 4] if !*told => {
                *told = true;
                self.cannot(number, b"caching_sha2_password in full", out)
            }
            _ => Some(malformed()),
        }
    }

    /// The server asks for what this probe cannot do. The exchange is ended with an empty answer, which the server
    /// refuses: to go away would count as an aborted handshake.
    fn cannot(&self, number: u8, method: &[u8], out: &mut Vec<u8>) -> Option<Verdict> {
        append_packet(out, number, b"");
        let words = || match method.starts_with(CACHING) {
            true => "the password is not in the server's cache, and would need TLS: use mysql_native_password, or \
                     an account without password and rights"
                .to_owned(),
            false => format!("the account wants {}: use mysql_native_password", shown(method)),
        };
        self.login.is_some().then(|| Verdict::failure(FailureKind::Login, words()))
    }
}

fn no_handshake() -> Verdict {
    Verdict::failure(FailureKind::Malformed, "no handshake packet")
}

fn malformed() -> Verdict {
    Verdict::failure(FailureKind::Malformed, "an answer to the login that is none")
}

/// The server's first packet, version 10 (MySQL source, page Protocol::HandshakeV10).
struct Handshake<'a> {
    version: &'a [u8],
    capabilities: u32,
    nonce: Vec<u8>,
    plugin: &'a [u8],
}

impl<'a> Handshake<'a> {
    fn of(packet: &'a [u8]) -> Option<Self> {
        let [10, rest @ ..] = packet else { return None };
        let (version, rest) = until_nul(rest)?;
        // The connection's number; the first part of the nonce; a zero; the lower half of the capabilities.
        let (_, rest) = rest.split_first_chunk::<4>()?;
        let (nonce, rest) = rest.split_first_chunk::<8>()?;
        let (_, rest) = rest.split_first()?;
        let (low, rest) = rest.split_first_chunk::<2>()?;
        let mut handshake =
            Self { version, capabilities: u16::from_le_bytes(*low).into(), nonce: nonce.to_vec(), plugin: b"" };
        if rest.is_empty() {
            return Some(handshake);
        }
        // Character set and status; the upper half; the whole nonce's length; ten bytes that MariaDB uses.
        let (_, rest) = rest.split_first_chunk::<3>()?;
        let (high, rest) = rest.split_first_chunk::<2>()?;
        let (length, rest) = rest.split_first()?;
        let (_, rest) = rest.split_first_chunk::<10>()?;
        handshake.capabilities |= u32::from(u16::from_le_bytes(*high)) << 16;
        let second = usize::from(*length).saturating_sub(nonce.len()).max(13);
        let (second, rest) = rest.split_at_checked(second)?;
        handshake.nonce.extend_from_slice(second.strip_suffix(b"\0").unwrap_or(second));
        if handshake.capabilities & capability::PLUGIN_AUTH != 0 {
            // Some old versions lack the NUL (MySQL bug 59453).
            handshake.plugin = until_nul(rest).map_or(rest, |(plugin, _)| plugin);
        }
        Some(handshake)
    }

    /// MariaDB puts 5.5.5- before its own version, for the sake of old replicas.
    fn version(&self) -> String {
        shown(self.version.strip_prefix(b"5.5.5-").unwrap_or(self.version))
    }
}

/// An error packet, behind its first byte.
struct Refusal {
    code: u16,
    words: String,
}

impl Refusal {
    fn of(error: &[u8]) -> Option<Self> {
        let (code, text) = error.split_first_chunk::<2>()?;
        let code = u16::from_le_bytes(*code);
        // The SQL state is not sent before the handshake.
        let text = match text {
            [b'#', _, _, _, _, _, text @ ..] => text,
            text => text,
        };
        Some(Self { code, words: format!("{code} {}", shown(text)) })
    }

    fn before_login(self) -> Verdict {
        let kind = if BUSY.contains(&self.code) { FailureKind::Busy } else { FailureKind::Rejected };
        Verdict::failure(kind, self.words)
    }

    fn of_login(self) -> Verdict {
        if LOGIN_REFUSED.contains(&self.code) {
            return Verdict::failure(FailureKind::Login, self.words);
        }
        self.before_login()
    }

    fn of_nobody(self, version: &str) -> Verdict {
        if BUSY.contains(&self.code) || HOST_REFUSED.contains(&self.code) {
            return self.before_login();
        }
        Verdict::Success(format!("handshake of {version}"))
    }
}

/// The answer to the handshake (MySQL source, page Protocol::HandshakeResponse41).
fn login(user: &str, proof: &[u8], plugin: &[u8], offered: u32) -> Vec<u8> {
    use capability::{LONG_PASSWORD, PLUGIN_AUTH, PROTOCOL_41, SECURE_CONNECTION};
    let wanted = (LONG_PASSWORD | PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH) & (offered | SECURE_CONNECTION);
    let mut packet = Vec::with_capacity(128);
    packet.extend_from_slice(&wanted.to_le_bytes());
    packet.extend_from_slice(&TOLD_PACKET_MAX.to_le_bytes());
    packet.push(CHARACTER_SET);
    packet.extend_from_slice(&[0; 23]);
    packet.extend_from_slice(user.as_bytes());
    packet.push(0);
    packet.push(u8::try_from(proof.len()).unwrap_or_default());
    packet.extend_from_slice(proof);
    if wanted & PLUGIN_AUTH != 0 {
        packet.extend_from_slice(plugin);
        packet.push(0);
    }
    packet
}

/// What proves the password by a method: nothing, if there is none; `None`: the method is not known.
fn proof(plugin: &[u8], password: &[u8], nonce: &[u8]) -> Option<Vec<u8>> {
    let xor = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| a ^ b).collect();
    match plugin {
        NATIVE | CACHING if password.is_empty() => Some(Vec::new()),
        NATIVE => {
            let once = Sha1::digest(password);
            let mask = Sha1::new().chain_update(nonce).chain_update(Sha1::digest(once)).finalize();
            Some(xor(&once, &mask))
        }
        CACHING => {
            let once = Sha256::digest(password);
            let mask =
                Sha256::new().chain_update(Sha256::digest(Sha256::digest(password))).chain_update(nonce).finalize();
            Some(xor(&once, &mask))
        }
        _ => None,
    }
}

/// Appends a packet that answers number `to`. `content` is shorter than 64 KiB.
fn append_packet(out: &mut Vec<u8>, to: u8, content: &[u8]) {
    let [low, middle] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_le_bytes();
    out.extend_from_slice(&[low, middle, 0, to.wrapping_add(1)]);
    out.extend_from_slice(content);
}

fn until_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

impl Conversation for Mysql {
    fn open(&mut self, _out: &mut Vec<u8>) -> Next {
        Next::Read
    }

    fn received(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Next {
        let bytes = self.allowance.of_stream(bytes);
        self.held.extend_from_slice(bytes);
        self.read(out).or_else(|| self.allowance.exceeded()).map_or(Next::Read, Next::Done)
    }

    fn closed(&mut self) -> Verdict {
        let words = match self.stage {
            Stage::Handshake if self.held.is_empty() => "closed without a handshake",
            Stage::Handshake => "closed within the handshake",
            Stage::Login { .. } => "closed without an answer to the login",
        };
        Verdict::failure(FailureKind::Closed, words)
    }

    fn timed_out(&self) -> Failure {
        let (kind, words) = match self.stage {
            Stage::Handshake if self.held.is_empty() => {
                (FailureKind::Silent, "accepts connections, but no handshake came".into())
            }
            Stage::Handshake => (FailureKind::Hung, "handshake not complete".into()),
            Stage::Login { .. } => {
                (FailureKind::Hung, format!("handshake of {}, no answer to the login", self.version))
            }
        };
        Failure { kind, words }
    }
}

#[cfg(test)]
#[path = "mysql_tests.rs"]
mod tests;
