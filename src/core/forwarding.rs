//! What the data plane shall do, in names and not in map indices: the result
//! of `plan`, and what `dataplane::tables` brings the kernel to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use super::network::{IfIndex, Nowhere, Place};
use crate::config::{
    Mac, Mode, Name, OnFailure, Persistence, Ports, Prefix, Protocol, Scheduler, SourceNat, Timeouts, UdpLife,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// A service of a virtual server in one address family: the unit of scheduling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    pub virtual_server: Name,
    pub service: Name,
    pub family: Family,
}

/// `mx/smtp/4`.
impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.family == Family::V4 { '4' } else { '6' };
        write!(f, "{}/{}/{family}", self.virtual_server, self.service)
    }
}

/// A service's use of one server: what a connection is bound to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestKey {
    pub service: ServiceKey,
    pub server: Name,
}

/// `mx/smtp/4/pc1`.
impl fmt::Display for DestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.server)
    }
}

/// Everything that the data plane shall hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForwardingState {
    pub ports: BTreeMap<IfIndex, Port>,
    /// VIPs; answered for by ARP, neighbour discovery and ping.
    pub vips: BTreeSet<IpAddr>,
    /// Floating inside addresses, answered for likewise; their networks are the servers' own.
    pub inside: BTreeSet<Prefix>,
    pub source_nat: Vec<SourceNat>,
    /// Source addresses of which the peer alone gives ports: here for the connections that it has told of.
    pub source_nat_of_peer: BTreeSet<IpAddr>,
    /// Servers' addresses, by which replies are known.
    pub servers: BTreeMap<Name, ServerEntry>,
    pub services: BTreeMap<ServiceKey, Service>,
    pub dests: BTreeMap<DestKey, Dest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// What this box answers with on this port.
    pub mac: Mac,
    /// Up, with a carrier, and not blocked by its bridge.
    pub forwarding: bool,
    /// Up, and with a carrier, whatever its bridge says: for ports that a pair opens and blocks (`core::gates`).
    pub running: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerEntry {
    pub addresses: BTreeSet<IpAddr>,
    /// Most established connections at once; 0 is no limit.
    pub max_connections: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub addresses: BTreeSet<IpAddr>,
    pub protocol: Protocol,
    pub ports: Ports,
    /// Where the data connections of a client's session go, which began at `ports`: the passive range of
    /// FTP. They follow the session's persistence, also to a server that takes no new clients.
    pub data_ports: Vec<Ports>,
    /// The port from which servers open data connections to clients: 20 for active FTP. In NAT, one
    /// service for each server, port and family: the first by name.
    pub active: Option<u16>,
    pub persistence: Option<Persistence>,
    pub timeouts: Timeouts,
    pub udp: UdpLife,
    pub on_failure: OnFailure,
    pub scheduler: Scheduler,
    /// Everyone who could ever be scheduled, backups included, with the weight of the configuration:
    /// the size of a table follows from it, so that it stays when one fails or is drained.
    pub members: BTreeMap<Name, Weight>,
    /// Who may get new connections now, with the weight of now (slow start included): positive.
    /// In the order of the names, so that equal inputs give equal tables.
    pub schedule: BTreeMap<Name, Weight>,
    pub migration: Option<Migration>,
}

/// Sends some of a service's clients to another pool: always the same ones, and with a larger share those
/// of the smaller one too. The two pools have no server in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Migration {
    /// Of the clients, in hundredths of a per cent: 0 to 10,000. What persistence takes for one client
    /// moves as one.
    pub share: u16,
    /// Clients that move besides, whatever the share. Those of the other family do nothing.
    pub clients: BTreeSet<Prefix>,
    pub scheduler: Scheduler,
    /// As the service's own, of the pool that is moved to.
    pub members: BTreeMap<Name, Weight>,
    /// Likewise. While it is empty, or nobody has room, the service's own pool serves all.
    pub schedule: BTreeMap<Name, Weight>,
}

impl Migration {
    /// Everybody.
    pub const SHARE_MAX: u16 = 10_000;
}

impl Service {
    /// Its share of new connections now, in the one pool or the other; `None`: it gets none.
    pub fn weight_of(&self, server: &Name) -> Option<Weight> {
        let second = || self.migration.as_ref()?.schedule.get(server);
        self.schedule.get(server).or_else(second).copied()
    }

    /// Whether the server gets new connections in this service, in the one pool or the other.
    pub fn schedules(&self, server: &Name) -> bool {
        self.weight_of(server).is_some()
    }
}

/// A share of new connections, in thousandths of a unit of configured weight, so that slow start
/// has steps. 1 to 1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(pub u32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dest {
    pub address: IpAddr,
    /// `None`: the client's destination port is kept.
    pub port: Option<u16>,
    pub mode: Mode,
    pub place: Result<Place, Nowhere>,
    /// Failed or disabled: connections that it still owns are handled as the service's `on_failure` says.
    pub down: bool,
}
