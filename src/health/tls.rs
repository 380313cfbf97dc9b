//! TLS 1.2 and 1.3 over bytes that somebody else carries, and what is asked of a server's certificate.
//!
//! The handshake accepts any certificate, provided that the server proves that it has its key: whether the
//! certificate will do is judged here afterwards, before a byte of the conversation (and so a password) is sent. Sessions
//! are never resumed, because a resumed one shows no certificate.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, ProtocolVersion,
    RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::probe::words::shown;
use crate::config::probe::TlsOptions;
use crate::core::check::{Failure, FailureKind};

const DAY: u64 = 86_400;

/// What is asked of the server, with the files of it read.
#[derive(Clone, Debug)]
pub struct Asked {
    pub name: Option<ServerName<'static>>,
    /// The chain must lead to one of these.
    pub roots: Option<Arc<RootCertStore>>,
    pub min_days: Option<u16>,
}

impl Asked {
    /// `roots` are those of `options.ca_file`.
    pub fn new(options: &TlsOptions, roots: Option<Arc<RootCertStore>>) -> Result<Self, Failure> {
        let name = options.name.as_ref().map(|name| {
            ServerName::try_from(name.clone())
                .map_err(|_| failure(FailureKind::Local, format!("'{}' is no host name", shown(name.as_bytes()))))
        });
        Ok(Self { name: name.transpose()?, roots, min_days: options.min_days })
    }
}

/// One TLS connection, as a client.
pub struct Tls {
    connection: ClientConnection,
    asked: Asked,
    /// The handshake is over and the certificate will do.
    accepted: Option<Accepted>,
    answered: bool,
}

/// What is known of a connection that will do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Accepted {
    /// Unix time; `None` if the certificate cannot be read, and nothing was asked of it.
    ends: Option<u64>,
    words: String,
}

impl Tls {
    /// `address` stands in for a name where none is asked for; it is not sent.
    pub fn new(asked: Asked, address: IpAddr) -> Result<Self, Failure> {
        let name = asked.name.clone().unwrap_or_else(|| ServerName::IpAddress(address.into()));
        let config =
            config().map_err(|error| failure(FailureKind::Local, format!("TLS cannot be used here: {error}")))?;
        let connection = ClientConnection::new(config, name)
            .map_err(|error| failure(FailureKind::Local, format!("TLS cannot begin: {error}")))?;
        Ok(Self { connection, asked, accepted: None, answered: false })
    }

    /// Bytes from the server; what they say in clear is appended to `plain`. `now` is Unix time.
    pub fn received(&mut self, mut wire: &[u8], plain: &mut Vec<u8>, now: Duration) -> Result<(), Failure> {
        while !wire.is_empty() {
            let first = (!self.answered).then(|| wire.get(..wire.len().min(80)).unwrap_or(wire).to_vec());
            self.answered = true;
            // Nothing is taken after the server's close_notify.
            if matches!(self.connection.read_tls(&mut wire), Ok(0) | Err(_)) {
                return Ok(());
            }
            let state = self.connection.process_new_packets();
            if self.accepted.is_none() && !self.connection.is_handshaking() {
                self.accepted = Some(self.judge(now)?);
            }
            // Up to the end of what could be read; an error comes behind it.
            _ = self.connection.reader().read_to_end(plain);
            if let Err(error) = state {
                return Err(failed(&error, first.as_deref().unwrap_or_default()));
            }
        }
        Ok(())
    }

    fn judge(&self, now: Duration) -> Result<Accepted, Failure> {
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS 1.3",
        };
        let chain = self.connection.peer_certificates().unwrap_or_default();
        let validity = judge(chain, &self.asked, now)?;
        let words =
            validity.map_or_else(|| version.to_owned(), |validity| format!("{version}, {}", validity.words(now)));
        Ok(Accepted { ends: validity.map(|validity| validity.ends), words })
    }

    /// The handshake is over, and the certificate will do.
    pub fn is_open(&self) -> bool {
        self.accepted.is_some()
    }

    /// Version and certificate in words, once open.
    pub fn words(&self) -> Option<&str> {
        self.accepted.as_ref().map(|accepted| accepted.words.as_str())
    }

    /// When the certificate ends, Unix time, once it is known.
    pub fn certificate_ends(&self) -> Option<u64> {
        match &self.accepted {
            Some(accepted) => accepted.ends,
            // It is told also of one that will not do.
            None => validity(self.connection.peer_certificates()?.first()?).map(|validity| validity.ends),
        }
    }

    /// A byte of the handshake came.
    pub fn answered(&self) -> bool {
        self.answered
    }

    /// Takes what is to be sent in clear.
    pub fn send(&mut self, plain: &[u8]) {
        // Its buffer has a limit far above what a conversation says; more would end as a timeout.
        _ = self.connection.writer().write_all(plain);
    }

    /// Says that nothing more will be sent.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
    }

    /// What is to go over the wire now.
    pub fn take(&mut self, wire: &mut Vec<u8>) {
        while self.connection.wants_write() {
            if self.connection.write_tls(wire).is_err() {
                return;
            }
        }
    }
}

fn failure(kind: FailureKind, words: impl Into<String>) -> Failure {
    Failure { kind, words: words.into() }
}

/// `first` is the beginning of the server's first words, if they are among those that could not be read.
fn failed(error: &Error, first: &[u8]) -> Failure {
    let words = match error {
        Error::InvalidMessage(_) if first.first().is_some_and(|byte| (b' '..=b'~').contains(byte)) => {
            format!(
                "no TLS here, the server says '{}'",
                shown(first.split(|byte| *byte == b'\n').next().unwrap_or(first))
            )
        }
        Error::InvalidMessage(_) => "the answer is not TLS".to_owned(),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::ProtocolVersion => "the server speaks neither TLS 1.2 nor 1.3".to_owned(),
            AlertDescription::HandshakeFailure => "no cipher in common with the server".to_owned(),
            AlertDescription::UnrecognisedName => {
                "the server has no certificate for the name that is asked for".to_owned()
            }
            AlertDescription::CertificateRequired => "the server wants a certificate of its client".to_owned(),
            AlertDescription::InternalError => "the server has a fault of its own (alert internal_error)".to_owned(),
            other => format!("the server ended the handshake: alert {other:?}"),
        },
        Error::PeerIncompatible(why) => format!("no version or cipher of TLS in common with the server ({why:?})"),
        Error::InvalidCertificate(why) => {
            format!("the server did not prove that it has its certificate's key ({why:?})")
        }
        other => shown(format!("the handshake failed: {other}").as_bytes()),
    };
    failure(FailureKind::Tls, words)
}

/// From when to when a certificate is valid, Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    begins: u64,
    ends: u64,
}

impl Validity {
    fn words(self, now: Duration) -> String {
        let now = now.as_secs();
        if now > self.ends {
            format!("certificate ended {} ago ({})", days(now - self.ends), date(self.ends))
        } else if now < self.begins {
            format!("certificate is not valid before {}", date(self.begins))
        } else {
            format!("certificate ends in {}", days(self.ends - now))
        }
    }
}

/// When a certificate ends, Unix time.
pub(crate) fn ends(certificate: &CertificateDer<'_>) -> Option<u64> {
    validity(certificate).map(|validity| validity.ends)
}

fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    Some(Validity { begins: seconds(validity.not_before.timestamp()), ends: seconds(validity.not_after.timestamp()) })
}

/// Whether a server's chain will do: its validity, unless nothing is asked and it cannot be read. Dates count
/// only where something is asked: a server that nobody asks for its name may have an old certificate.
fn judge(chain: &[CertificateDer<'_>], asked: &Asked, now: Duration) -> Result<Option<Validity>, Failure> {
    let refused = |words: String| failure(FailureKind::Certificate, words);
    let anything = asked.name.is_some() || asked.roots.is_some() || asked.min_days.is_some();
    let Some((end, others)) = chain.split_first() else {
        return if anything { Err(refused("the server shows no certificate".into())) } else { Ok(None) };
    };
    let Some(validity) = validity(end) else {
        return if anything { Err(refused("the certificate cannot be read".into())) } else { Ok(None) };
    };
    if !anything {
        return Ok(Some(validity));
    }
    let seconds = now.as_secs();
    if seconds > validity.ends || seconds < validity.begins {
        return Err(refused(validity.words(now)));
    }
    let parsed = ParsedCertificate::try_from(end);
    let parsed = parsed.map_err(|error| refused(format!("the certificate cannot be verified: {}", why(&error))))?;
    if let Some(name) = &asked.name {
        verify_server_name(&parsed, name)
            .map_err(|_| refused(format!("certificate is of another name: {}, not {}", names(end), name.to_str())))?;
    }
    if let Some(roots) = &asked.roots {
        let now = UnixTime::since_unix_epoch(now);
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, others, now, algorithms().all)
            .map_err(|error| refused(format!("certificate is not trusted: {}", why(&error))))?;
    }
    match asked.min_days {
        Some(least) if validity.ends - seconds < u64::from(least) * DAY => {
            Err(refused(format!("{} ({}), fewer than {least}", validity.words(now), date(validity.ends))))
        }
        _ => Ok(Some(validity)),
    }
}

fn why(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its issuer is not among those of ca-file, or the server does not send the certificates between".into()
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => "its signature is wrong".into(),
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "a certificate of its chain has ended".into()
        }
        Error::InvalidCertificate(other) => shown(format!("{other:?}").as_bytes()),
        other => shown(other.to_string().as_bytes()),
    }
}

/// Names that a certificate is for, the first few.
fn names(certificate: &CertificateDer<'_>) -> String {
    const SHOWN: usize = 3;
    let mut found = Vec::new();
    if let Ok((_, certificate)) = X509Certificate::from_der(certificate)
        && let Ok(Some(names)) = certificate.subject_alternative_name()
    {
        for name in names.value.general_names.iter().take(SHOWN) {
            if let x509_parser::extensions::GeneralName::DNSName(name) = name {
                found.push((*name).to_owned());
            }
        }
    }
    if found.is_empty() { "no host name at all".into() } else { shown(found.join(", ").as_bytes()) }
}

fn days(seconds: u64) -> String {
    match seconds / DAY {
        0 => "less than a day".into(),
        1 => "1 day".into(),
        days => format!("{days} days"),
    }
}

/// A day of the calendar (UTC) as 2026-11-27, by the algorithm of civil days with years that begin in March.
fn date(unix: u64) -> String {
    let days = unix / DAY + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Accepts any certificate, and verifies that the server has its key.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        lenient(certificate, verify_tls12_signature(message, certificate, signed, algorithms()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        lenient(certificate, verify_tls13_signature(message, certificate, signed, algorithms()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// A certificate that the verifier cannot read at all (of version 1, as old instructions make them) proves
/// nothing either way. It fails in `judge` if anything is asked of it.
fn lenient(
    certificate: &CertificateDer<'_>,
    verified: Result<HandshakeSignatureValid, Error>,
) -> Result<HandshakeSignatureValid, Error> {
    match verified {
        Err(_) if ParsedCertificate::try_from(certificate).is_err() => Ok(HandshakeSignatureValid::assertion()),
        verified => verified,
    }
}

fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider()))
}

fn algorithms() -> &'static WebPkiSupportedAlgorithms {
    &provider().signature_verification_algorithms
}

/// One configuration serves all probes: what they ask differs in the name, and afterwards.
fn config() -> Result<Arc<ClientConfig>, Error> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let mut config = ClientConfig::builder_with_provider(provider().clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(CONFIG.get_or_init(|| Arc::new(config)).clone())
}

/// Random bytes from the kernel; `None` if it has none, which does not happen after boot.
pub fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    provider().secure_random.fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
