//! What is in a netlink message that the tables need. Pure.

use std::net::IpAddr;

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{
    AfSpecBridge, BridgeVlanInfoFlags, InfoBridge, InfoData, InfoPortData, InfoVlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};

use crate::config::Mac;
use crate::core::network::{IfIndex, Link, LinkKind};
use crate::os::bridge::PortView;

/// Bridge times come in units of USER_HZ, 1/100 s, on every architecture that lbd runs on.
const MS_PER_TICK: u32 = 10;
/// The bridge's own default, 300 s (IEEE 802.1D), where the message does not say.
const AGEING_MS: u32 = 300_000;

pub(super) enum LinkChange {
    /// All of a link.
    Whole { index: IfIndex, link: Link, filtering: bool },
    /// What a bridge says of one of its ports.
    Port { index: IfIndex, bridge: IfIndex, forwarding: Option<bool>, untagged: Option<u16> },
}

/// What the kernel knows of an address on a link; no `mac`: nothing that it would use.
pub(super) struct Resolution {
    pub address: IpAddr,
    pub link: IfIndex,
    pub mac: Option<Mac>,
    pub permanent: bool,
}

/// Where a bridge sends frames for a MAC; no `port`: up its own stack.
pub(super) struct Forwarding {
    pub bridge: IfIndex,
    pub mac: Mac,
    pub vlan: u16,
    pub port: Option<IfIndex>,
}

pub(super) fn is_of_bridge(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Bridge
}

/// RTM_NEWLINK. `None`: nothing of interest, such as what a bridge says of itself.
pub(super) fn link(message: &LinkMessage) -> Option<LinkChange> {
    match message.header.interface_family {
        AddressFamily::Unspec => Some(whole_link(message)),
        AddressFamily::Bridge => bridge_port(message),
        _ => None,
    }
}

fn whole_link(message: &LinkMessage) -> LinkChange {
    let flags = message.header.flags;
    let running = flags.contains(LinkFlags::Up) && flags.contains(LinkFlags::LowerUp);
    let (mut name, mut link_mac, mut mtu) = (String::new(), Mac::default(), 0);
    let (mut master, mut lower, mut lower_is_elsewhere) = (None, None, false);
    let mut info: &[LinkInfo] = &[];
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name.clone_from(text),
            LinkAttribute::Address(bytes) => link_mac = mac(bytes).unwrap_or_default(),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            LinkAttribute::Controller(index) => master = Some(*index),
            LinkAttribute::Link(index) => lower = Some(*index),
            LinkAttribute::LinkNetNsId(_) => lower_is_elsewhere = true,
            LinkAttribute::LinkInfo(parts) => info = parts,
            _ => {}
        }
    }
    let mut kind = LinkKind::Single;
    let mut filtering = false;
    for part in info {
        match part {
            LinkInfo::Data(InfoData::Bridge(parts)) => {
                let ageing_ms = parts.iter().find_map(ageing_ms).unwrap_or(AGEING_MS);
                kind = LinkKind::Bridge { ageing_ms };
                filtering = parts.iter().any(|part| matches!(part, InfoBridge::VlanFiltering(true)));
            }
            LinkInfo::Data(InfoData::Vlan(parts)) => {
                let id = parts.iter().find_map(|part| if let InfoVlan::Id(id) = part { Some(*id) } else { None });
                if let (Some(lower), Some(id), false) = (lower, id, lower_is_elsewhere) {
                    kind = LinkKind::Vlan { lower, id };
                }
            }
            _ => {}
        }
    }
    // Last: a port is a port, whatever it is made of.
    for part in info {
        if let (LinkInfo::PortData(InfoPortData::BridgePort(parts)), Some(bridge)) = (part, master) {
            kind = LinkKind::BridgePort { bridge, forwarding: PortView::of_info(parts).is_forwarding() };
        }
    }
    LinkChange::Whole { index: message.header.index, link: Link { name, mac: link_mac, mtu, running, kind }, filtering }
}

fn ageing_ms(part: &InfoBridge) -> Option<u32> {
    match part {
        InfoBridge::AgeingTime(ticks) => Some(ticks.saturating_mul(MS_PER_TICK)),
        _ => None,
    }
}

fn bridge_port(message: &LinkMessage) -> Option<LinkChange> {
    let (mut bridge, mut forwarding, mut untagged) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Controller(index) => bridge = Some(*index),
            LinkAttribute::ProtoInfoBridge(parts) => {
                let view = PortView::of_protinfo(parts);
                forwarding = view.state.map(|_| view.is_forwarding());
            }
            LinkAttribute::AfSpecBridge(parts) => untagged = parts.iter().find_map(untagged_vlan),
            _ => {}
        }
    }
    let index = message.header.index;
    // A bridge names itself as its own master.
    let bridge = bridge.filter(|bridge| *bridge != index)?;
    Some(LinkChange::Port { index, bridge, forwarding, untagged })
}

/// The VLAN in which untagged frames come in, if it also goes out untagged.
fn untagged_vlan(part: &AfSpecBridge) -> Option<u16> {
    let both = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
    match part {
        AfSpecBridge::VlanInfo(vlan) if vlan.flags.contains(both) => Some(vlan.vid),
        _ => None,
    }
}

/// The message is about a bridge's (or VXLAN's) forwarding table, not about an address.
pub(super) fn is_forwarding(message: &NeighbourMessage) -> bool {
    message.header.family == AddressFamily::Bridge
}

/// RTM_NEWNEIGH or RTM_DELNEIGH of IPv4 or IPv6. `None`: multicast, broadcast, proxy entries.
pub(super) fn resolution(message: &NeighbourMessage) -> Option<Resolution> {
    let (mut address, mut link_mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some(IpAddr::V4(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some(IpAddr::V6(*ip)),
            NeighbourAttribute::LinkLayerAddress(bytes) => link_mac = unicast_mac(bytes),
            _ => {}
        }
    }
    let address = address.filter(|address| !address.is_multicast())?;
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let state = message.header.state;
    let usable = matches!(
        state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
    );
    let mac = link_mac.filter(|_| usable);
    Some(Resolution { address, link: message.header.ifindex, mac, permanent: state == NeighbourState::Permanent })
}

/// RTM_NEWNEIGH or RTM_DELNEIGH of AF_BRIDGE. `None`: multicast, and what a device
/// itself filters or tunnels by (`self`), which is no bridge's.
pub(super) fn forwarding(message: &NeighbourMessage) -> Option<Forwarding> {
    let (mut bridge, mut link_mac, mut vlan) = (None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Controller(index) => bridge = Some(*index),
            NeighbourAttribute::LinkLayerAddress(bytes) => link_mac = unicast_mac(bytes),
            NeighbourAttribute::Vlan(id) => vlan = *id,
            _ => {}
        }
    }
    // Permanent means local: the MAC is one of the bridge's own.
    let local = message.header.state == NeighbourState::Permanent;
    let port = Some(message.header.ifindex).filter(|_| !local);
    Some(Forwarding { bridge: bridge?, mac: link_mac?, vlan, port })
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

fn unicast_mac(bytes: &[u8]) -> Option<Mac> {
    mac(bytes).filter(|mac| mac.0[0] & 1 == 0 && mac.0 != [0; 6])
}
