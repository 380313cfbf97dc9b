//! What the kernel has said so far, message by message, and the snapshot that
//! follows from it. Pure: netlink messages in, plain data out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rtnetlink::packet_route::RouteNetlinkMessage;

use super::messages::{self, Forwarding, LinkChange, Resolution};
use crate::config::Mac;
use crate::core::network::{IfIndex, Link, LinkKind, Neighbour, Network};

/// Most entries of each table that are kept. The kernel's own neighbour table is
/// bounded (net.ipv4.neigh.default.gc_thresh3, 1,024 by default), its bridge
/// table is not: a flood of source MACs must not fill our memory as well.
pub(super) const ENTRIES_MAX: usize = 262_144;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    mac: Mac,
    permanent: bool,
}

/// The kernel's tables. FDB entries are kept by bridge, so that one bridge's
/// deletion does not touch another's entry.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tables {
    links: BTreeMap<IfIndex, Link>,
    /// Bridges that look at VLAN tags.
    filtering: BTreeSet<IfIndex>,
    /// For each port of a bridge, the VLAN that untagged frames belong to both ways.
    untagged: BTreeMap<IfIndex, u16>,
    neighbours: BTreeMap<(IpAddr, IfIndex), Entry>,
    fdb: BTreeMap<(IfIndex, Mac, u16), IfIndex>,
    /// Not seen in the last dump; see [`Tables::replace`].
    missed: BTreeSet<Key>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Link(IfIndex),
    Neighbour(IpAddr, IfIndex),
    Forwarding(IfIndex, Mac, u16),
}

/// A snapshot, and what only this room needs to know besides.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    pub network: Network,
    /// Ports of bridges that look at VLAN tags, with the VLAN of untagged frames (0: they are refused).
    pub filtering: BTreeMap<IfIndex, u16>,
    /// Neighbours that an operator has set: they need no refreshing, and must not be touched.
    pub permanent: BTreeSet<(IpAddr, IfIndex)>,
}

impl Tables {
    /// Takes in one message; true when something changed that a snapshot shows.
    pub fn apply(&mut self, message: &RouteNetlinkMessage) -> bool {
        match message {
            RouteNetlinkMessage::NewLink(link) => match messages::link(link) {
                Some(LinkChange::Whole { index, link, filtering }) => self.set_link(index, link, filtering),
                Some(LinkChange::Port { index, bridge, forwarding, untagged }) => {
                    self.set_port(index, bridge, forwarding, untagged)
                }
                None => false,
            },
            RouteNetlinkMessage::DelLink(link) if messages::is_of_bridge(link) => self.leave_bridge(link.header.index),
            RouteNetlinkMessage::DelLink(link) => self.remove_link(link.header.index),
            RouteNetlinkMessage::NewNeighbour(entry) if messages::is_forwarding(entry) => {
                messages::forwarding(entry).is_some_and(|entry| self.set_forwarding(entry))
            }
            RouteNetlinkMessage::DelNeighbour(entry) if messages::is_forwarding(entry) => messages::forwarding(entry)
                .is_some_and(|entry| self.remove(Key::Forwarding(entry.bridge, entry.mac, entry.vlan))),
            RouteNetlinkMessage::NewNeighbour(entry) => {
                messages::resolution(entry).is_some_and(|entry| self.set_neighbour(entry))
            }
            RouteNetlinkMessage::DelNeighbour(entry) => {
                messages::resolution(entry).is_some_and(|entry| self.remove(Key::Neighbour(entry.address, entry.link)))
            }
            _ => false,
        }
    }

    fn set_link(&mut self, index: IfIndex, link: Link, filtering: bool) -> bool {
        self.missed.remove(&Key::Link(index));
        let toggled = if filtering { self.filtering.insert(index) } else { self.filtering.remove(&index) };
        if !matches!(link.kind, LinkKind::BridgePort { .. }) {
            self.untagged.remove(&index);
        }
        if self.links.get(&index) == Some(&link) || !has_room(&self.links, &index) {
            return toggled;
        }
        self.links.insert(index, link);
        true
    }

    fn set_port(&mut self, index: IfIndex, bridge: IfIndex, forwarding: Option<bool>, untagged: Option<u16>) -> bool {
        let Some(link) = self.links.get_mut(&index) else { return false };
        let before = match link.kind {
            LinkKind::BridgePort { forwarding, .. } => forwarding,
            _ => false,
        };
        let kind = LinkKind::BridgePort { bridge, forwarding: forwarding.unwrap_or(before) };
        let changed = link.kind != kind;
        link.kind = kind;
        let before = match untagged {
            Some(vlan) => self.untagged.insert(index, vlan),
            None => self.untagged.remove(&index),
        };
        changed || before != untagged
    }

    fn leave_bridge(&mut self, index: IfIndex) -> bool {
        self.untagged.remove(&index);
        match self.links.get_mut(&index) {
            Some(link) if matches!(link.kind, LinkKind::BridgePort { .. }) => {
                link.kind = LinkKind::Single;
                true
            }
            _ => false,
        }
    }

    fn remove_link(&mut self, index: IfIndex) -> bool {
        self.filtering.remove(&index);
        self.untagged.remove(&index);
        // The kernel announces the end of these as well; without the link they mean nothing already.
        self.neighbours.retain(|(_, link), _| *link != index);
        self.fdb.retain(|(bridge, ..), port| *bridge != index && *port != index);
        self.remove(Key::Link(index))
    }

    fn set_neighbour(&mut self, entry: Resolution) -> bool {
        let key = (entry.address, entry.link);
        let Some(mac) = entry.mac else { return self.remove(Key::Neighbour(entry.address, entry.link)) };
        self.missed.remove(&Key::Neighbour(entry.address, entry.link));
        let entry = Entry { mac, permanent: entry.permanent };
        has_room(&self.neighbours, &key) && self.neighbours.insert(key, entry) != Some(entry)
    }

    fn set_forwarding(&mut self, entry: Forwarding) -> bool {
        let key = (entry.bridge, entry.mac, entry.vlan);
        let Some(port) = entry.port else { return self.remove(Key::Forwarding(entry.bridge, entry.mac, entry.vlan)) };
        self.missed.remove(&Key::Forwarding(entry.bridge, entry.mac, entry.vlan));
        has_room(&self.fdb, &key) && self.fdb.insert(key, port) != Some(port)
    }

    fn remove(&mut self, key: Key) -> bool {
        self.missed.remove(&key);
        match key {
            Key::Link(index) => self.links.remove(&index).is_some(),
            Key::Neighbour(address, link) => self.neighbours.remove(&(address, link)).is_some(),
            Key::Forwarding(bridge, mac, vlan) => self.fdb.remove(&(bridge, mac, vlan)).is_some(),
        }
    }

    /// Puts the result of a dump in the place of what was known.
    ///
    /// A dump comes in parts, and the kernel walks its tables by position: what is
    /// removed between two parts can hide an entry that is still there. So an entry
    /// that a dump lacks goes only when the next dump lacks it, too. True: there are
    /// such entries, and another dump soon will settle it.
    pub fn replace(&mut self, mut fresh: Tables) -> bool {
        let old = std::mem::take(self);
        let mut missed = BTreeSet::new();
        let mut keep = |key: Key| !old.missed.contains(&key) && missed.insert(key);
        for (index, link) in old.links {
            if !fresh.links.contains_key(&index) && keep(Key::Link(index)) {
                fresh.links.insert(index, link);
                if old.filtering.contains(&index) {
                    fresh.filtering.insert(index);
                }
                if let Some(vlan) = old.untagged.get(&index) {
                    fresh.untagged.insert(index, *vlan);
                }
            }
        }
        for ((address, link), entry) in old.neighbours {
            if !fresh.neighbours.contains_key(&(address, link)) && keep(Key::Neighbour(address, link)) {
                fresh.neighbours.insert((address, link), entry);
            }
        }
        for ((bridge, mac, vlan), port) in old.fdb {
            if !fresh.fdb.contains_key(&(bridge, mac, vlan)) && keep(Key::Forwarding(bridge, mac, vlan)) {
                fresh.fdb.insert((bridge, mac, vlan), port);
            }
        }
        fresh.missed = missed;
        *self = fresh;
        !self.missed.is_empty()
    }

    /// A table has reached its bound: what comes now is not kept.
    pub fn is_full(&self) -> bool {
        self.links.len().max(self.neighbours.len()).max(self.fdb.len()) >= ENTRIES_MAX
    }

    /// The snapshot. An address that several links know is taken from the link that
    /// `routes` names, else from the one with the lowest number.
    pub fn view(&self, routes: &BTreeMap<IpAddr, IfIndex>) -> View {
        let mut network = Network { links: self.links.clone(), ..Network::default() };
        let mut permanent = BTreeSet::new();
        for ((address, link), entry) in &self.neighbours {
            if entry.permanent {
                permanent.insert((*address, *link));
            }
            let here = Neighbour { link: *link, mac: entry.mac };
            let chosen = network.neighbours.entry(*address).or_insert(here);
            if routes.get(address) == Some(link) {
                *chosen = here;
            }
        }
        for ((bridge, mac, vlan), port) in &self.fdb {
            if !self.filtering.contains(bridge) {
                // Without VLAN filtering a bridge looks up and learns in VLAN 0 alone.
                if *vlan == 0 {
                    network.fdb.entry((*mac, 0)).or_insert(*port);
                }
            } else if *vlan != 0 {
                network.fdb.entry((*mac, *vlan)).or_insert(*port);
                if self.untagged.get(port) == Some(vlan) {
                    network.fdb.entry((*mac, 0)).or_insert(*port);
                }
            }
        }
        View { network, filtering: self.filtering_ports(), permanent }
    }

    fn filtering_ports(&self) -> BTreeMap<IfIndex, u16> {
        let vlan = |index| self.untagged.get(index).copied().unwrap_or(0);
        let ports = self.links.iter().filter_map(|(index, link)| match link.kind {
            LinkKind::BridgePort { bridge, .. } if self.filtering.contains(&bridge) => Some((*index, vlan(index))),
            _ => None,
        });
        ports.collect()
    }
}

fn has_room<K: Ord, V>(table: &BTreeMap<K, V>, key: &K) -> bool {
    table.len() < ENTRIES_MAX || table.contains_key(key)
}

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
