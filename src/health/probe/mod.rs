//! The protocols that a server is probed by: each a state machine without sockets, clock or TLS.
//!
//! ```text
//!                 open                    received, closed
//!   executor ──────────────> Conversation <──────────────── executor
//!                                │
//!                                └─> bytes to send, and `Next`: read on, begin TLS, or a verdict
//! ```
//!
//! The executor owns the transport: it connects, begins TLS when asked, and ends the probe at its timeout.
//! Whatever a server sends, a conversation ends: it keeps a bounded part of what came (`LINE_BYTES_MAX`,
//! `ANSWER_BYTES_MAX`), counts the rest, and gives up when a limit is passed.

pub mod account;
mod allowance;
pub mod dialogue;
pub mod dns;
#[cfg(test)]
mod exercise;
pub mod ftp;
pub mod http;
pub mod icmp;
pub mod imap;
pub mod ldap;
pub mod lines;
pub mod mysql;
pub mod neighbour;
pub mod pop3;
pub mod radius;
pub mod reply;
pub mod script;
pub mod smtp;
pub mod unaskable;
pub mod words;

use crate::core::check::{Failure, Verdict};

/// Longest line of an answer, its end included. RFC 5321 (4.5.3.1.5) allows a server 512 bytes, RFC 9051
/// has no limit, and real greetings stay below 1,000.
pub const LINE_BYTES_MAX: usize = 4_096;
/// Most bytes of one conversation from the server; an HTTP body may be as long.
pub const ANSWER_BYTES_MAX: usize = 128 * 1024;

/// What a conversation wants after each of its steps; bytes that it appended to `out` are sent in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// More of the answer.
    Read,
    /// A TLS handshake; `open` is called again when it is done. What came in clear text behind the
    /// answer that allowed it must have been refused (RFC 3207, 6; CVE-2011-0411).
    StartTls,
    /// The probe is over. What is in `out` is a farewell: it is sent if that is possible, and a short time is
    /// given to the server to answer it or to close, so that its log shows no broken connection.
    Done(Verdict),
}

/// One probe's talk with one server over a stream, or a datagram's question and answer.
pub trait Conversation: Send {
    /// The connection is open (for UDP: bound), or TLS has begun: once, or twice with `StartTls`.
    fn open(&mut self, out: &mut Vec<u8>) -> Next;

    /// The server speaks first: there is nothing to do before a byte of it has come.
    fn is_greeted(&self) -> bool {
        false
    }

    /// Clear text came after the farewell; `true`: it answers it, and the server has nothing more to say.
    fn is_parted(&mut self, _bytes: &[u8]) -> bool {
        false
    }

    /// Bytes came, in pieces of any size; of UDP, one datagram each.
    fn received(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Next;

    /// The server has closed its side before there was a verdict.
    fn closed(&mut self) -> Verdict;

    /// The time is up: what the server was waited for. Silence after the connection was accepted is told
    /// apart from an answer that broke off, and from one that never came to a command that was named.
    fn timed_out(&self) -> Failure;
}
