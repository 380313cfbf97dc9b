//! What the kernel knows of the network, as plain data: links, neighbours and
//! the bridge's forwarding table. `os::netlink` fills it; `plan` reads it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::config::Mac;

/// Number of an interface in this network namespace (`ip link`'s first column).
pub type IfIndex = u32;

/// A snapshot of links, neighbours and bridge forwarding table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    pub links: BTreeMap<IfIndex, Link>,
    /// Only entries that the kernel would use now: reachable, stale, delay, probe, permanent.
    pub neighbours: BTreeMap<IpAddr, Neighbour>,
    /// Where the bridge would send a frame for a MAC in a VLAN (0 is untagged).
    pub fdb: BTreeMap<(Mac, u16), IfIndex>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    pub mac: Mac,
    /// Bytes of layer 3.
    pub mtu: u32,
    /// Administratively up, and with a carrier.
    pub running: bool,
    pub kind: LinkKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// An interface by itself.
    Single,
    /// A bridge.
    Bridge {
        /// Time after which an unseen MAC is forgotten, milliseconds.
        ageing_ms: u32,
    },
    /// A port of a bridge.
    BridgePort {
        bridge: IfIndex,
        /// The bridge's state of this port is `forwarding` (as spanning tree or the pair sets it).
        forwarding: bool,
    },
    /// An 802.1Q interface on top of another one.
    Vlan { lower: IfIndex, id: u16 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub link: IfIndex,
    pub mac: Mac,
}

/// Where a machine is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub mac: Mac,
    /// A physical port, never a bridge or a VLAN interface.
    pub port: IfIndex,
    /// 802.1Q identifier, 0 is untagged.
    pub vlan: u16,
}

/// Why a machine has no place, in words that an operator can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nowhere {
    /// The kernel has no usable ARP or neighbour entry.
    NoNeighbour,
    /// The bridge has not learnt on which port the MAC is.
    NoPort,
    /// The port's link is down.
    PortDown,
    /// The port's bridge state is not forwarding.
    PortBlocked,
    /// The way there leaves by an interface that is not one of `interfaces.ports`.
    ForeignPort,
}

impl fmt::Display for Nowhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoNeighbour => "its MAC is not known: it does not answer ARP or neighbour discovery",
            Self::NoPort => "the bridge has not learnt on which port its MAC is",
            Self::PortDown => "the port towards it is missing, down or without carrier",
            Self::PortBlocked => "the port towards it is blocked by the bridge",
            Self::ForeignPort => "the way to it leaves by an interface that is not in `interfaces.ports`",
        })
    }
}

impl Network {
    /// What an interface is called; one that has just gone, by its number.
    pub fn name_of(&self, index: IfIndex) -> String {
        self.links.get(&index).map_or_else(|| index.to_string(), |link| link.name.clone())
    }

    pub fn link_named(&self, name: &str) -> Option<(IfIndex, &Link)> {
        self.links.iter().find(|(_, link)| link.name == name).map(|(index, link)| (*index, link))
    }

    /// Follows an address to MAC, VLAN and physical port: neighbour entry, VLAN interface, bridge.
    pub fn locate(&self, address: IpAddr) -> Result<Place, Nowhere> {
        let neighbour = self.neighbours.get(&address).ok_or(Nowhere::NoNeighbour)?;
        let mut index = neighbour.link;
        let mut vlan = 0;
        if let Some(Link { kind: LinkKind::Vlan { lower, id }, .. }) = self.links.get(&index) {
            (index, vlan) = (*lower, *id);
        }
        if let Some(Link { kind: LinkKind::Bridge { .. }, .. }) = self.links.get(&index) {
            index = *self
                .fdb
                .get(&(neighbour.mac, vlan))
                .or_else(|| self.fdb.get(&(neighbour.mac, 0)))
                .ok_or(Nowhere::NoPort)?;
        }
        self.usable(index)?;
        Ok(Place { mac: neighbour.mac, port: index, vlan })
    }

    /// The links with these names that there are, each with whether it is up and has a carrier.
    pub fn carriers(&self, names: &[String]) -> BTreeMap<IfIndex, bool> {
        let links = names.iter().filter_map(|name| self.link_named(name));
        links.map(|(index, link)| (index, link.running)).collect()
    }

    /// Where a frame for each MAC in each VLAN would leave now, as the bridge has learnt it.
    pub fn learnt_places(&self) -> BTreeMap<(Mac, u16), IfIndex> {
        self.fdb.iter().filter(|(_, port)| self.usable(**port).is_ok()).map(|(mac, port)| (*mac, *port)).collect()
    }

    /// Where an untagged frame for this MAC would leave now, as the bridge has learnt it.
    pub fn learnt_place(&self, mac: Mac) -> Option<IfIndex> {
        self.fdb.get(&(mac, 0)).copied().filter(|port| self.usable(*port).is_ok())
    }

    /// A port over which frames can leave: running, and forwarding where it belongs to a bridge.
    pub fn usable(&self, port: IfIndex) -> Result<(), Nowhere> {
        let link = self.links.get(&port).ok_or(Nowhere::PortDown)?;
        if !link.running {
            return Err(Nowhere::PortDown);
        }
        match link.kind {
            LinkKind::BridgePort { forwarding: false, .. } => Err(Nowhere::PortBlocked),
            _ => Ok(()),
        }
    }
}
