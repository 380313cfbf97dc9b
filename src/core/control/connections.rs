//! Established connections, as an operator asks for them: a filter in, chunks of rows out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use super::OperationError;
use super::word::{self, Word};
use crate::config::{Name, Protocol};
use crate::core::forwarding::DestKey;

/// Rows that a face asks for when the operator gives no limit.
pub const LIMIT_DEFAULT: u32 = 1_000;
/// Most rows that can be asked for.
pub const LIMIT_MAX: u32 = 10_000_000;
/// Most rows in one chunk. Several chunks wait for a face that reads slowly: with 512 rows, of some 250 bytes as a row and
/// as a line of text, they stay under a megabyte.
pub const CHUNK_ROWS_MAX: usize = 512;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowState {
    /// DSR: acknowledged, without sustained progress so far.
    Unproven,
    Established,
    /// One side has closed.
    Closing,
    /// Both have, or one has reset; kept for a moment for stragglers.
    Closed,
}

impl FlowState {
    pub const ALL: [Self; 4] = [Self::Unproven, Self::Established, Self::Closing, Self::Closed];
}

impl Word for FlowState {
    fn word(self) -> &'static str {
        match self {
            Self::Unproven => "unproven",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

/// Which connections, and how many at most. What is `None` does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The client's address, IPv4 never written as IPv6.
    pub client: Option<IpAddr>,
    pub virtual_server: Option<Name>,
    pub service: Option<Name>,
    pub server: Option<Name>,
    pub protocol: Option<Protocol>,
    pub state: Option<FlowState>,
    /// Most rows to deliver, 1 to `LIMIT_MAX`.
    pub limit: u32,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            client: None,
            virtual_server: None,
            service: None,
            server: None,
            protocol: None,
            state: None,
            limit: LIMIT_DEFAULT,
        }
    }
}

impl Filter {
    /// Whether the row is one of those asked for; the limit is the walk's to count.
    pub fn matches(&self, row: &ConnectionRow) -> bool {
        fn fits<T: PartialEq>(wanted: Option<&T>, found: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        fits(self.client.as_ref(), &row.client.ip())
            && fits(self.protocol.as_ref(), &row.protocol)
            && fits(self.state.as_ref(), &row.state)
            && fits(self.server.as_ref(), &row.dest.server)
            && fits(self.service.as_ref(), &row.dest.service.service)
            && fits(self.virtual_server.as_ref(), &row.dest.service.virtual_server)
    }
}

/// A part of the answer.
#[derive(Clone, Debug)]
pub enum Chunk {
    /// At most `CHUNK_ROWS_MAX`.
    Rows(Vec<ConnectionRow>),
    /// All have been delivered, or as many as the limit allows.
    End,
    /// The walk cannot go on.
    Failed(OperationError),
}

/// One established connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRow {
    pub client: SocketAddr,
    /// The virtual address and port that the client connected to.
    pub virtual_address: SocketAddr,
    pub protocol: Protocol,
    /// Shared, because a chunk of 2,048 rows has few.
    pub dest: Arc<DestKey>,
    pub state: FlowState,
    /// Since the last packet from the client.
    pub idle: Duration,
    pub age: Duration,
    /// Full NAT: our port towards the server.
    pub source_port: Option<u16>,
}

/// A row as JSON has it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConnectionRow")]
struct Json<'a> {
    client: IpAddr,
    client_port: u16,
    address: IpAddr,
    port: u16,
    #[serde(serialize_with = "word::serialize")]
    #[schemars(with = "String")]
    protocol: Protocol,
    virtual_server: &'a str,
    service: &'a str,
    server: &'a str,
    #[serde(serialize_with = "word::serialize")]
    #[schemars(with = "String")]
    state: FlowState,
    idle_seconds: f64,
    age_seconds: f64,
    source_port: Option<u16>,
}

impl Serialize for ConnectionRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Json {
            client: self.client.ip(),
            client_port: self.client.port(),
            address: self.virtual_address.ip(),
            port: self.virtual_address.port(),
            protocol: self.protocol,
            virtual_server: self.dest.service.virtual_server.as_str(),
            service: self.dest.service.service.as_str(),
            server: self.dest.server.as_str(),
            state: self.state,
            idle_seconds: self.idle.as_secs_f64(),
            age_seconds: self.age.as_secs_f64(),
            source_port: self.source_port,
        }
        .serialize(serializer)
    }
}

impl JsonSchema for ConnectionRow {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Json::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Json::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::forwarding::{Family, ServiceKey};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn row() -> ConnectionRow {
        let service = ServiceKey { virtual_server: name("mail"), service: name("smtp"), family: Family::V6 };
        ConnectionRow {
            client: "[2001:db8::7]:40001".parse().unwrap(),
            virtual_address: "[2001:db8:1::25]:25".parse().unwrap(),
            protocol: Protocol::Tcp,
            dest: Arc::new(DestKey { service, server: name("pc2") }),
            state: FlowState::Established,
            idle: Duration::from_millis(1500),
            age: Duration::from_secs(60),
            source_port: None,
        }
    }

    #[test]
    fn a_row_reads_as_one_flat_object() {
        assert_eq!(
            serde_json::to_string(&row()).unwrap(),
            concat!(
                r#"{"client":"2001:db8::7","client_port":40001,"address":"2001:db8:1::25","port":25,"protocol":"tcp","#,
                r#""virtual_server":"mail","service":"smtp","server":"pc2","state":"established","#,
                r#""idle_seconds":1.5,"age_seconds":60.0,"source_port":null}"#
            )
        );
    }

    #[test]
    fn a_filter_lets_through_what_agrees_in_every_point_and_nothing_else() {
        let row = row();
        assert!(Filter::default().matches(&row));
        let all = Filter {
            client: Some("2001:db8::7".parse().unwrap()),
            virtual_server: Some(name("mail")),
            service: Some(name("smtp")),
            server: Some(name("pc2")),
            protocol: Some(Protocol::Tcp),
            state: Some(FlowState::Established),
            limit: 1,
        };
        assert!(all.matches(&row));
        let but_one = [
            Filter { client: Some("2001:db8::8".parse().unwrap()), ..all.clone() },
            Filter { virtual_server: Some(name("web")), ..all.clone() },
            Filter { service: Some(name("pop3")), ..all.clone() },
            Filter { server: Some(name("pc1")), ..all.clone() },
            Filter { protocol: Some(Protocol::Udp), ..all.clone() },
            Filter { state: Some(FlowState::Closed), ..all },
        ];
        for filter in but_one {
            assert!(!filter.matches(&row), "{filter:?}");
        }
    }
}
