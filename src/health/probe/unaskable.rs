//! Questions that no server can be asked, because what is configured does not fit the protocol.

use super::words::shown;
use crate::core::check::{Failure, FailureKind};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unaskable {
    #[error("method '{0}' is not a word of letters: write GET or HEAD")]
    Method(String),
    #[error("path '{0}' does not begin with '/', or has a blank or a character that must be written as %xx")]
    Path(String),
    #[error("host '{0}' has a blank or a character that no host name has")]
    Host(String),
    #[error("the regular expression of the body cannot be used: {0}")]
    Body(String),
    #[error("'{0}' is no domain name")]
    Query(String),
    #[error("'{0}' is no type of record that can be asked for: write A, AAAA, MX, NS, SOA, TXT or another")]
    Record(String),
    #[error("'{0}' is no answer code: write NOERROR, NXDOMAIN or another")]
    Rcode(String),
    #[error("answer '{answer}' is not the data of a record of type {record}, as in a zone file")]
    Answer { answer: String, record: String },
    #[error("the shared secret is empty: write it on the first line of its file")]
    Secret,
    #[error("the user is {bytes} bytes long; the protocol has room for 1 to {most}")]
    User { bytes: usize, most: usize },
    #[error("the password is {bytes} bytes long; the protocol has room for 1 to {most}")]
    Password { bytes: usize, most: usize },
    #[error("the user or the password has a NUL byte, which the protocol cannot carry")]
    Nul,
}

impl From<Unaskable> for Failure {
    fn from(error: Unaskable) -> Self {
        Self { kind: FailureKind::Local, words: error.to_string() }
    }
}

/// A piece of the configuration, as it can stand in one of these messages.
pub(super) fn quoted(text: &str) -> String {
    shown(text.as_bytes())
}
