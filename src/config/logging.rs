//! Where the log goes besides this box, and who graphs it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Servers that get the log, and the address that it comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logging {
    /// An address of this box, for servers of its family. `None`: as the routes have it.
    pub source: Option<IpAddr>,
    /// No two with the same address.
    pub servers: Vec<LogServer>,
}

/// A syslog server. RFC 5424 is what it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogServer {
    pub address: IpAddr,
    /// Default UDP.
    pub transport: LogTransport,
    /// Default that of the transport.
    pub port: u16,
    /// Default local7, as IOS has it.
    pub facility: Facility,
    /// As bad as this, or worse. Default info.
    pub severity: LogSeverity,
    /// TLS: certificates that the server's chain must lead to, PEM. Always there for TLS.
    pub ca_file: Option<PathBuf>,
    /// TLS: the name that the certificate must have; `None`: the address.
    pub name: Option<String>,
}

impl LogServer {
    /// As a configuration has it that says nothing but the address.
    pub fn new(address: IpAddr) -> Self {
        Self {
            address,
            transport: LogTransport::default(),
            port: LogTransport::default().port(),
            facility: Facility::default(),
            severity: LogSeverity::Info,
            ca_file: None,
            name: None,
        }
    }
}

/// How the log gets to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogTransport {
    /// A datagram for each message (RFC 5426).
    #[default]
    Udp,
    /// A connection, octets counted (RFC 6587, 3.4.1).
    Tcp,
    /// The same in TLS (RFC 5425).
    Tls,
}

impl LogTransport {
    /// The port that is known for it: RFC 5426, 3.3; RFC 3195, 9.2, as IOS takes it for TCP; RFC 5425, 4.1.
    pub const fn port(self) -> u16 {
        match self {
            Self::Udp => 514,
            Self::Tcp => 601,
            Self::Tls => 6514,
        }
    }
}

/// What kind of program speaks (RFC 5424, table 1): those that a box like this may pass for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facility {
    User,
    Daemon,
    Auth,
    /// 0 to 7.
    Local(u8),
}

impl Default for Facility {
    fn default() -> Self {
        Self::Local(7)
    }
}

impl Facility {
    /// The code of RFC 5424, table 1.
    pub const fn code(self) -> u8 {
        match self {
            Self::User => 1,
            Self::Daemon => 3,
            Self::Auth => 4,
            Self::Local(n) => 16 + n % 8,
        }
    }
}

/// How bad it is: those of RFC 5424, table 2, that this program uses. The worse is the lesser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogSeverity {
    Error,
    Warning,
    Notice,
    Info,
    Debug,
}

impl LogSeverity {
    pub const ALL: [Self; 5] = [Self::Error, Self::Warning, Self::Notice, Self::Info, Self::Debug];

    /// The code of RFC 5424, table 2: 3 to 7.
    pub const fn code(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Notice => 5,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl fmt::Display for LogSeverity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The system's SNMP agent, which is given this box's objects (AgentX, RFC 2741).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snmp {
    pub agentx: AgentAddress,
}

/// Where an SNMP agent waits for subagents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentAddress {
    /// A Unix socket.
    Path(PathBuf),
    /// Host and port, on this machine or a network that nobody else is on: the protocol has no authentication.
    Tcp(std::net::SocketAddr),
}

impl fmt::Display for AgentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Tcp(at) => write!(f, "tcp:{at}"),
        }
    }
}
