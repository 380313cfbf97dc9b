//! The ports that the data plane sits on, as the machine has them.

use std::collections::BTreeMap;
use std::fmt;

use crate::config::{Interfaces, Mac};
use crate::core::forwarding::Port;
use crate::core::network::{IfIndex, Link, LinkKind, Network};

/// What of the configuration does not fit the machine. None stops the rest from working.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    NoSuchPort {
        port: String,
    },
    NoSuchBridge {
        bridge: String,
    },
    /// There is an interface of that name, and it is not a bridge.
    NotABridge {
        bridge: String,
    },
    /// `interfaces.bridge` is given, and the port does not belong to it.
    NotInBridge {
        port: String,
        bridge: String,
    },
    /// A bridge or a VLAN interface is given as a port: packets are taken at the ports below it.
    NotAPort {
        port: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchPort { port } => write!(f, "there is no interface {port:?}; it is used when it appears"),
            Self::NoSuchBridge { bridge } => {
                write!(f, "there is no bridge {bridge:?}; until it appears each port answers with its own MAC")
            }
            Self::NotABridge { bridge } => write!(f, "{bridge:?} is not a bridge"),
            Self::NotInBridge { port, bridge } => {
                write!(f, "{port:?} is not a port of {bridge:?}: `ip link set {port} master {bridge}` makes it one")
            }
            Self::NotAPort { port } => {
                write!(f, "{port:?} is a bridge or a VLAN interface: name the physical ports below it")
            }
        }
    }
}

/// The configured ports that exist, and what is wrong with the others. The MAC that the box answers
/// with is the configured one, else the bridge's, else the port's own.
pub(super) fn ports(interfaces: &Interfaces, network: &Network) -> (BTreeMap<IfIndex, Port>, Vec<Problem>) {
    let mut problems = Vec::new();
    let bridge = interfaces.bridge.as_ref().and_then(|name| {
        let bridge = name.clone();
        match network.link_named(name) {
            Some((index, link)) if matches!(link.kind, LinkKind::Bridge { .. }) => return Some((index, name, link)),
            Some(_) => problems.push(Problem::NotABridge { bridge }),
            None => problems.push(Problem::NoSuchBridge { bridge }),
        }
        None
    });
    let mut ports = BTreeMap::new();
    for name in &interfaces.ports {
        let port = name.clone();
        let Some((index, link)) = network.link_named(name) else {
            problems.push(Problem::NoSuchPort { port });
            continue;
        };
        if matches!(link.kind, LinkKind::Bridge { .. } | LinkKind::Vlan { .. }) {
            problems.push(Problem::NotAPort { port });
            continue;
        }
        if let Some((bridge_index, bridge, _)) = bridge
            && !matches!(link.kind, LinkKind::BridgePort { bridge, .. } if bridge == bridge_index)
        {
            problems.push(Problem::NotInBridge { port, bridge: bridge.clone() });
        }
        let mac = interfaces.mac.or(bridge.map(|(.., link)| link.mac)).unwrap_or_else(|| own_mac(link, network));
        ports.insert(index, Port { mac, forwarding: network.usable(index).is_ok(), running: link.running });
    }
    (ports, problems)
}

/// Frames for the host come to a bridge's MAC on the ports of the bridge, also of one that the
/// configuration does not name.
fn own_mac(link: &Link, network: &Network) -> Mac {
    match link.kind {
        LinkKind::BridgePort { bridge, .. } => network.links.get(&bridge).map_or(link.mac, |bridge| bridge.mac),
        _ => link.mac,
    }
}
