//! What the data plane would do with a packet of a client's now, and why.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Name;

/// A packet that may come, as an operator asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketQuestion {
    /// Its address decides on the family.
    pub client: SocketAddr,
    pub virtual_server: Name,
    pub service: Name,
    /// `None`: the first of the service.
    pub port: Option<u16>,
    /// `None`: the first virtual address of the family.
    pub address: Option<IpAddr>,
    /// TCP: a packet of a connection, not its first one.
    pub later: bool,
    /// The port of the switch that it comes in by; `None`: the first uplink.
    pub interface: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Explanation {
    /// What was asked about, in words.
    pub packet: String,
    /// passed, answered, forwarded, or dropped.
    pub verdict: &'static str,
    /// As in `lbd_packets_total`.
    pub reason: &'static str,
    /// The reason in words.
    pub meaning: &'static str,
    /// What would be counted besides, as in `lbd_events_total`.
    pub events: Vec<&'static str>,
    /// The server that gets it.
    pub server: Option<String>,
    /// How the server was found, and what stands behind it, in sentences.
    pub because: Vec<String>,
    /// How the frame would leave; none when it would not.
    pub leaves: Option<Leaving>,
}

/// A frame on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Leaving {
    /// The port of the switch.
    pub interface: String,
    pub source_mac: String,
    pub destination_mac: String,
    /// 802.1Q identifier; 0 is untagged.
    pub vlan: u16,
    /// Address and port.
    pub source: String,
    pub destination: String,
}
