//! The log at other places than this box, as faces show it.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;

/// Where the log goes, and what was lost on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LoggingState {
    pub servers: Vec<LogServerState>,
    /// Events that are not in the file of events, since the daemon started: it could not be written, or not fast enough.
    pub events_unwritten: u64,
}

/// A syslog server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LogServerState {
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// udp, tcp or tls.
    pub transport: &'static str,
    /// It gets what is as bad as this, or worse.
    pub severity: &'static str,
    /// A connection is open; of UDP, a datagram can be sent.
    pub connected: bool,
    /// Messages since the daemon started, or the server was configured.
    pub sent: u64,
    /// Messages that it did not get: more than its rate, than its queue has room for, or refused on the way.
    pub lost: u64,
    /// Messages that wait.
    pub queued: u64,
    /// Why nothing is sent, in words.
    pub trouble: Option<String>,
}
