//! What is to be done so that the kernel has the wanted bridge. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::{Interfaces, Mac, Prefix};
use crate::core::gates::Gate;
use crate::core::network::IfIndex;

/// The bridge that the configuration describes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub bridge: String,
    pub mac: Mac,
    /// `None`: a new bridge has no spanning tree, another keeps what it has.
    pub stp: Option<bool>,
    pub ports: BTreeSet<String>,
    /// This box's own.
    pub addresses: BTreeSet<Prefix>,
    /// Ports that a pair opens and blocks.
    pub gated: BTreeSet<String>,
    /// The box is the gateway of servers, by address family.
    pub gateway4: bool,
    pub gateway6: bool,
}

impl Wanted {
    /// `None` where lbd is not to manage the bridge.
    pub fn of(interfaces: &Interfaces) -> Option<Self> {
        let (true, Some(bridge), Some(mac)) = (interfaces.manage, &interfaces.bridge, interfaces.mac) else {
            return None;
        };
        Some(Self {
            bridge: bridge.clone(),
            mac,
            stp: interfaces.stp,
            ports: interfaces.ports.iter().cloned().collect(),
            addresses: interfaces.addresses.iter().copied().collect(),
            gated: interfaces.uplinks.iter().chain(&interfaces.cross_connect).cloned().collect(),
            gateway4: interfaces.inside.iter().any(|prefix| prefix.address.is_ipv4()),
            gateway6: interfaces.inside.iter().any(|prefix| prefix.address.is_ipv6()),
        })
    }
}

/// What lbd has done so far, kept until the next boot. Addresses are not here: the kernel keeps who added them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The bridge whose MAC lbd has fixed. One that merely has the right MAC may lose it when a port joins.
    pub bridge: Option<IfIndex>,
    /// Ports that lbd has put into the bridge.
    pub ports: BTreeSet<String>,
}

/// What the kernel has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub links: BTreeMap<IfIndex, SeenLink>,
    pub addresses: BTreeSet<SeenAddress>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenLink {
    pub name: String,
    pub mac: Mac,
    /// Administratively.
    pub up: bool,
    /// The bridge (or else) that it belongs to.
    pub master: Option<IfIndex>,
    /// It is a bridge, with spanning tree or without.
    pub bridge: Option<bool>,
    /// What its bridge says of it.
    pub port: Option<SeenPort>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenPort {
    /// Its state lets frames in.
    pub lets_in: bool,
    /// Locked, and without learning and flooding: as lbd blocks a port.
    pub held: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenAddress {
    pub link: IfIndex,
    pub prefix: Prefix,
    /// lbd has added it.
    pub ours: bool,
}

/// One thing to ask of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    MakeBridge {
        name: String,
        mac: Mac,
        stp: bool,
    },
    FixMac {
        bridge: IfIndex,
        mac: Mac,
    },
    SetStp {
        bridge: IfIndex,
        on: bool,
    },
    Leave {
        port: IfIndex,
        name: String,
    },
    /// Before a port joins that is to be blocked: it would forward from joining to blocking.
    Down {
        port: IfIndex,
    },
    Join {
        port: IfIndex,
        name: String,
        bridge: IfIndex,
    },
    Block {
        port: IfIndex,
    },
    Unblock {
        port: IfIndex,
    },
    Up {
        link: IfIndex,
    },
    RemoveAddress {
        bridge: IfIndex,
        prefix: Prefix,
    },
    AddAddress {
        bridge: IfIndex,
        prefix: Prefix,
    },
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeBridge { name, mac, .. } => write!(f, "making the bridge {name} with {mac}"),
            Self::FixMac { bridge, mac } => write!(f, "giving the bridge (interface {bridge}) {mac}"),
            Self::SetStp { on: true, .. } => write!(f, "starting spanning tree"),
            Self::SetStp { on: false, .. } => write!(f, "stopping spanning tree"),
            Self::Leave { name, .. } => write!(f, "taking {name} out of the bridge"),
            Self::Down { port } => write!(f, "setting interface {port} down, to block it before it joins"),
            Self::Join { name, .. } => write!(f, "putting {name} into the bridge"),
            Self::Block { port } => write!(f, "blocking interface {port}"),
            Self::Unblock { port } => write!(f, "opening interface {port}"),
            Self::Up { link } => write!(f, "setting interface {link} up"),
            Self::RemoveAddress { prefix, .. } => write!(f, "removing the address {prefix}"),
            Self::AddAddress { prefix, .. } => write!(f, "adding the address {prefix}"),
        }
    }
}

/// What an operator has to decide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    NotABridge { name: String },
    InAnother { port: String, master: String },
    OtherLength { wanted: Prefix, found: Prefix },
    SpanningTree { bridge: String },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotABridge { name } => write!(
                f,
                "there is an interface {name} that is no bridge; rename it (`ip link set {name} name …`), or name another `bridge`"
            ),
            Self::InAnother { port, master } => write!(
                f,
                "{port} belongs to {master}; take it out of there (`ip link set {port} nomaster`), or out of `ports`"
            ),
            Self::OtherLength { wanted, found } => write!(
                f,
                "the bridge has {found} from elsewhere, and so cannot get {wanted}; remove the one or correct the other"
            ),
            Self::SpanningTree { bridge } => write!(
                f,
                "spanning tree runs on {bridge}, so that lbd cannot open and block its uplinks; say stp: false, or stop it where it is started"
            ),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// In the order in which they are to be made.
    pub requests: Vec<Request>,
    pub problems: Vec<Problem>,
}

/// The way from what the kernel has to what is wanted. A bridge that is not there is made first, and alone: the
/// rest follows when it has a number. A port that is not there joins when it appears.
pub fn difference(wanted: &Wanted, gate: &dyn Fn(IfIndex) -> Option<Gate>, seen: &Seen, record: &Record) -> Difference {
    let mut out = Difference::default();
    let Some((bridge, link)) = named(seen, &wanted.bridge) else {
        let stp = wanted.stp.unwrap_or(false);
        out.requests.push(Request::MakeBridge { name: wanted.bridge.clone(), mac: wanted.mac, stp });
        return out;
    };
    let Some(stp) = link.bridge else {
        out.problems.push(Problem::NotABridge { name: wanted.bridge.clone() });
        return out;
    };
    // Before a port joins: until it is fixed, the MAC changes with the ports.
    if link.mac != wanted.mac || record.bridge != Some(bridge) {
        out.requests.push(Request::FixMac { bridge, mac: wanted.mac });
    }
    if let Some(on) = wanted.stp.filter(|on| *on != stp) {
        out.requests.push(Request::SetStp { bridge, on });
    } else if stp && !wanted.gated.is_empty() {
        out.problems.push(Problem::SpanningTree { bridge: wanted.bridge.clone() });
    }
    let ours = seen.links.iter().filter(|(_, port)| port.master == Some(bridge) && record.ports.contains(&port.name));
    for (index, port) in ours.filter(|(_, port)| !wanted.ports.contains(&port.name)) {
        out.requests.push(Request::Leave { port: *index, name: port.name.clone() });
    }
    for name in &wanted.ports {
        if let Some((index, port)) = named(seen, name).filter(|(_, port)| port.bridge.is_none()) {
            ports(wanted, bridge, (index, port), gate(index), seen, record, &mut out);
        }
    }
    if !link.up {
        out.requests.push(Request::Up { link: bridge });
    }
    addresses(wanted, bridge, seen, &mut out);
    out
}

fn named<'a>(seen: &'a Seen, name: &str) -> Option<(IfIndex, &'a SeenLink)> {
    seen.links.iter().find(|(_, link)| link.name == name).map(|(index, link)| (*index, link))
}

fn ports(
    wanted: &Wanted,
    bridge: IfIndex,
    (port, link): (IfIndex, &SeenLink),
    gate: Option<Gate>,
    seen: &Seen,
    record: &Record,
    out: &mut Difference,
) {
    let name = &link.name;
    if link.master != Some(bridge) {
        let stolen = link.master.filter(|_| !record.ports.contains(name));
        if let Some(master) = stolen {
            let master =
                seen.links.get(&master).map_or_else(|| format!("interface {master}"), |link| link.name.clone());
            out.problems.push(Problem::InAnother { port: name.clone(), master });
            return;
        }
        let blocked = gate == Some(Gate::Blocked);
        if blocked && link.up {
            out.requests.push(Request::Down { port });
        }
        out.requests.push(Request::Join { port, name: name.clone(), bridge });
        if blocked {
            out.requests.push(Request::Block { port });
        }
        if blocked || !link.up {
            out.requests.push(Request::Up { link: port });
        }
        return;
    }
    let now = link.port.unwrap_or_default();
    match gate {
        Some(Gate::Blocked) if !now.held || now.lets_in => out.requests.push(Request::Block { port }),
        // What the state of an open port is besides, its carrier decides.
        Some(Gate::Open) if now.held => out.requests.push(Request::Unblock { port }),
        // Left from when it was one that a pair blocks.
        None if now.held && !wanted.gated.contains(name) => out.requests.push(Request::Unblock { port }),
        _ => {}
    }
    if !link.up {
        out.requests.push(Request::Up { link: port });
    }
}

/// Removals first: IPv6 does not take an address twice, with another length.
fn addresses(wanted: &Wanted, bridge: IfIndex, seen: &Seen, out: &mut Difference) {
    let here: Vec<&SeenAddress> = seen.addresses.iter().filter(|address| address.link == bridge).collect();
    for address in here.iter().filter(|address| address.ours && !wanted.addresses.contains(&address.prefix)) {
        out.requests.push(Request::RemoveAddress { bridge, prefix: address.prefix });
    }
    let foreign: BTreeMap<IpAddr, Prefix> =
        here.iter().filter(|address| !address.ours).map(|address| (address.prefix.address, address.prefix)).collect();
    for prefix in &wanted.addresses {
        if here.iter().any(|address| address.prefix == *prefix) {
            continue;
        }
        match foreign.get(&prefix.address) {
            Some(found) => out.problems.push(Problem::OtherLength { wanted: *prefix, found: *found }),
            None => out.requests.push(Request::AddAddress { bridge, prefix: *prefix }),
        }
    }
}

#[cfg(test)]
#[path = "difference_tests.rs"]
mod tests;
