use std::net::Ipv4Addr;

use rtnetlink::packet_core::DefaultNla;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{
    AfSpecBridge, BridgePortState, BridgeVlanInfo, BridgeVlanInfoFlags, InfoBridge, InfoBridgePort, InfoData,
    InfoPortData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkProtoInfoBridge,
};
use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};

use super::*;

const BRIDGE: IfIndex = 10;
const PORT: IfIndex = 1;
const OTHER_PORT: IfIndex = 2;
const SERVER: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SERVER_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn link(index: IfIndex, attributes: Vec<LinkAttribute>) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
    message.attributes = attributes;
    RouteNetlinkMessage::NewLink(message)
}

fn bridge(filtering: bool) -> RouteNetlinkMessage {
    let data = vec![InfoBridge::AgeingTime(400), InfoBridge::VlanFiltering(filtering)];
    link(BRIDGE, vec![LinkAttribute::LinkInfo(vec![LinkInfo::Data(InfoData::Bridge(data))])])
}

fn port(index: IfIndex, state: BridgePortState) -> RouteNetlinkMessage {
    let data = InfoPortData::BridgePort(vec![InfoBridgePort::State(state)]);
    let info = LinkAttribute::LinkInfo(vec![LinkInfo::PortData(data)]);
    link(index, vec![LinkAttribute::Controller(BRIDGE), info])
}

/// What the bridge itself says of a port.
fn port_event(index: IfIndex, state: u8, untagged: u16) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Bridge;
    message.header.index = index;
    let flags = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
    message.attributes = vec![
        LinkAttribute::Controller(BRIDGE),
        LinkAttribute::ProtoInfoBridge(vec![LinkProtoInfoBridge::Other(DefaultNla::new(1, vec![state]))]),
        LinkAttribute::AfSpecBridge(vec![AfSpecBridge::VlanInfo(BridgeVlanInfo { flags, vid: untagged })]),
    ];
    message
}

fn neighbour(address: IpAddr, link: IfIndex, mac: Mac, state: NeighbourState) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.ifindex = link;
    message.header.state = state;
    message.attributes =
        vec![NeighbourAttribute::Destination(address.into()), NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())];
    message
}

fn forwarding(mac: Mac, vlan: u16, port: IfIndex) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = port;
    message.header.state = NeighbourState::Reachable;
    message.attributes =
        vec![NeighbourAttribute::Controller(BRIDGE), NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())];
    if vlan != 0 {
        message.attributes.push(NeighbourAttribute::Vlan(vlan));
    }
    message
}

fn new(message: NeighbourMessage) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewNeighbour(message)
}

fn tables(messages: impl IntoIterator<Item = RouteNetlinkMessage>) -> Tables {
    let mut tables = Tables::default();
    for message in messages {
        tables.apply(&message);
    }
    tables
}

fn network(tables: &Tables) -> Network {
    tables.view(&BTreeMap::new()).network
}

#[test]
fn a_bridge_and_its_port_are_told_by_their_link_messages() {
    let tables = tables([bridge(false), port(PORT, BridgePortState::Forwarding)]);
    let network = network(&tables);
    assert_eq!(network.links[&BRIDGE].kind, LinkKind::Bridge { ageing_ms: 4_000 });
    assert_eq!(network.links[&PORT].kind, LinkKind::BridgePort { bridge: BRIDGE, forwarding: true });
    assert!(network.links[&PORT].running);
}

#[test]
fn a_vlan_interface_is_told_with_what_is_below_it_unless_that_is_in_another_namespace() {
    let data = || LinkAttribute::LinkInfo(vec![LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(7)]))]);
    let near = link(20, vec![LinkAttribute::Link(BRIDGE), data()]);
    let far = link(21, vec![LinkAttribute::Link(BRIDGE), LinkAttribute::LinkNetNsId(0), data()]);
    let network = network(&tables([near, far]));
    assert_eq!(network.links[&20].kind, LinkKind::Vlan { lower: BRIDGE, id: 7 });
    assert_eq!(network.links[&21].kind, LinkKind::Single);
}

#[test]
fn a_change_of_state_that_only_the_bridge_tells_is_taken_in() {
    let mut tables = tables([bridge(false), port(PORT, BridgePortState::Forwarding)]);
    assert!(tables.apply(&RouteNetlinkMessage::NewLink(port_event(PORT, 4, 1))), "blocking");
    assert_eq!(network(&tables).usable(PORT), Err(crate::core::network::Nowhere::PortBlocked));
    assert!(!tables.apply(&RouteNetlinkMessage::NewLink(port_event(PORT, 4, 1))), "the same again is no change");
    assert!(tables.apply(&RouteNetlinkMessage::NewLink(port_event(PORT, 3, 1))), "forwarding");
    assert_eq!(network(&tables).usable(PORT), Ok(()));
}

#[test]
fn a_bridge_that_names_itself_as_its_master_is_still_a_bridge() {
    let mut tables = tables([bridge(false)]);
    assert!(!tables.apply(&RouteNetlinkMessage::NewLink(port_event(BRIDGE, 3, 1))));
    assert_eq!(network(&tables).links[&BRIDGE].kind, LinkKind::Bridge { ageing_ms: 4_000 });
}

#[test]
fn a_port_that_leaves_its_bridge_stays_a_link() {
    let mut tables = tables([bridge(false), port(PORT, BridgePortState::Forwarding)]);
    assert!(tables.apply(&RouteNetlinkMessage::DelLink(port_event(PORT, 0, 1))));
    assert_eq!(network(&tables).links[&PORT].kind, LinkKind::Single);
}

#[test]
fn a_link_that_goes_takes_its_neighbours_and_forwarding_entries_along() {
    let mut tables = tables([
        bridge(false),
        port(PORT, BridgePortState::Forwarding),
        new(forwarding(SERVER, 0, PORT)),
        new(neighbour(SERVER_IP, PORT, SERVER, NeighbourState::Reachable)),
    ]);
    let mut gone = LinkMessage::default();
    gone.header.index = PORT;
    assert!(tables.apply(&RouteNetlinkMessage::DelLink(gone)));
    let network = network(&tables);
    assert!(network.fdb.is_empty() && network.neighbours.is_empty());
    assert_eq!(network.links.len(), 1);
}

#[test]
fn a_neighbour_is_there_while_the_kernel_would_use_its_entry() {
    use NeighbourState::*;
    for (state, usable) in [
        (Reachable, true),
        (Stale, true),
        (Delay, true),
        (Probe, true),
        (Permanent, true),
        (Incomplete, false),
        (Failed, false),
        (Noarp, false),
        (None, false),
    ] {
        let mut tables = tables([new(neighbour(SERVER_IP, PORT, SERVER, Reachable))]);
        tables.apply(&new(neighbour(SERVER_IP, PORT, SERVER, state)));
        assert_eq!(network(&tables).neighbours.contains_key(&SERVER_IP), usable, "{state:?}");
    }
}

#[test]
fn a_neighbour_that_only_changes_between_usable_states_is_no_change() {
    let mut tables = tables([new(neighbour(SERVER_IP, PORT, SERVER, NeighbourState::Reachable))]);
    assert!(!tables.apply(&new(neighbour(SERVER_IP, PORT, SERVER, NeighbourState::Stale))));
    let moved = Mac([2, 0, 0, 0, 0, 9]);
    assert!(tables.apply(&new(neighbour(SERVER_IP, PORT, moved, NeighbourState::Stale))));
    assert_eq!(network(&tables).neighbours[&SERVER_IP].mac, moved);
}

#[test]
fn multicast_broadcast_and_proxy_entries_are_ignored() {
    let group: IpAddr = "224.0.0.22".parse().unwrap();
    let group6: IpAddr = "ff02::1".parse().unwrap();
    let mut proxy = neighbour(SERVER_IP, PORT, SERVER, NeighbourState::Reachable);
    proxy.header.flags = NeighbourFlags::Proxy;
    let tables = tables([
        new(neighbour(group, PORT, SERVER, NeighbourState::Reachable)),
        new(neighbour(group6, PORT, SERVER, NeighbourState::Reachable)),
        new(neighbour(SERVER_IP, PORT, Mac([0xff; 6]), NeighbourState::Reachable)),
        new(forwarding(Mac([0x33, 0x33, 0, 0, 0, 1]), 0, PORT)),
        new(proxy),
    ]);
    assert_eq!(network(&tables), Network::default());
}

#[test]
fn an_address_that_two_links_know_is_taken_from_the_link_of_its_route() {
    let tables = tables([
        new(neighbour(SERVER_IP, PORT, SERVER, NeighbourState::Reachable)),
        new(neighbour(SERVER_IP, OTHER_PORT, SERVER, NeighbourState::Reachable)),
    ]);
    assert_eq!(network(&tables).neighbours[&SERVER_IP].link, PORT);
    let routed = tables.view(&BTreeMap::from([(SERVER_IP, OTHER_PORT)]));
    assert_eq!(routed.network.neighbours[&SERVER_IP].link, OTHER_PORT);
}

#[test]
fn a_forwarding_entry_moves_and_goes_with_its_bridge_alone() {
    let mut tables = tables([bridge(false), new(forwarding(SERVER, 0, PORT))]);
    assert!(tables.apply(&new(forwarding(SERVER, 0, OTHER_PORT))));
    assert_eq!(network(&tables).fdb[&(SERVER, 0)], OTHER_PORT);
    let mut others = forwarding(SERVER, 0, PORT);
    others.attributes[0] = NeighbourAttribute::Controller(BRIDGE + 1);
    assert!(!tables.apply(&RouteNetlinkMessage::DelNeighbour(others)));
    assert!(tables.apply(&RouteNetlinkMessage::DelNeighbour(forwarding(SERVER, 0, OTHER_PORT))));
    assert!(network(&tables).fdb.is_empty());
}

#[test]
fn the_bridges_own_macs_and_what_a_device_filters_by_lead_to_no_port() {
    let mut own = forwarding(SERVER, 0, PORT);
    own.header.state = NeighbourState::Permanent;
    let mut device = forwarding(SERVER, 0, PORT);
    device.header.flags = NeighbourFlags::Own;
    device.attributes.remove(0);
    assert!(network(&tables([bridge(false), new(own), new(device)])).fdb.is_empty());
}

#[test]
fn a_bridge_that_ignores_tags_forwards_by_its_untagged_entries_alone() {
    // `bridge fdb add … use` leaves an entry in VLAN 1 as well, which no frame refreshes or follows.
    let tables = tables([bridge(false), new(forwarding(SERVER, 0, PORT)), new(forwarding(SERVER, 1, OTHER_PORT))]);
    assert_eq!(network(&tables).fdb, BTreeMap::from([((SERVER, 0), PORT)]));
}

#[test]
fn on_a_bridge_that_looks_at_tags_the_ports_own_vlan_is_also_the_untagged_one() {
    let tagged = Mac([2, 0, 0, 0, 0, 7]);
    let tables = tables([
        bridge(true),
        port(PORT, BridgePortState::Forwarding),
        RouteNetlinkMessage::NewLink(port_event(PORT, 3, 5)),
        new(forwarding(SERVER, 5, PORT)),
        new(forwarding(tagged, 6, PORT)),
    ]);
    let view = tables.view(&BTreeMap::new());
    let expected = BTreeMap::from([((SERVER, 0), PORT), ((SERVER, 5), PORT), ((tagged, 6), PORT)]);
    assert_eq!(view.network.fdb, expected);
    assert_eq!(view.filtering, BTreeMap::from([(PORT, 5)]));
}

#[test]
fn an_entry_that_one_dump_lacks_stays_and_goes_when_the_next_lacks_it_too() {
    let full = || {
        tables([
            bridge(false),
            port(PORT, BridgePortState::Forwarding),
            new(forwarding(SERVER, 0, PORT)),
            new(neighbour(SERVER_IP, BRIDGE, SERVER, NeighbourState::Reachable)),
        ])
    };
    let mut tables = full();
    assert!(tables.replace(Tables::default()), "another dump is wanted soon");
    assert_eq!(network(&tables), network(&full()));
    assert!(!tables.replace(Tables::default()));
    assert_eq!(network(&tables), Network::default());

    tables = full();
    tables.replace(Tables::default());
    assert!(!tables.replace(full()), "seen again: nothing is in doubt");
    assert!(tables.replace(Tables::default()), "and doubt begins anew");
    assert_eq!(network(&tables), network(&full()));
}

#[test]
fn an_entry_that_an_event_confirms_is_no_longer_in_doubt() {
    let mut tables = tables([bridge(false), new(forwarding(SERVER, 0, PORT))]);
    tables.replace(Tables::default());
    tables.apply(&new(forwarding(SERVER, 0, PORT)));
    tables.replace(Tables::default());
    assert_eq!(network(&tables).fdb[&(SERVER, 0)], PORT);
}
