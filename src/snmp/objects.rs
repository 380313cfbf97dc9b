//! The objects of this box: which there are, and how they come from the state.

use std::collections::{BTreeMap, BTreeSet};

use super::mib::{Datum, Group, Key, Object, Row, Syntax, Table, Tree, put_group, put_table};
use crate::core::admin::AdminState;
use crate::core::check;
use crate::core::control::State;
use crate::core::control::state::{MemberState, Role, ServiceState, XdpAttachment};
use crate::core::control::word::Word;
use crate::core::forwarding::Family;

use Syntax::{Counter, Gauge, Text, Truth};

const FAMILY: Syntax = Syntax::Word(&[("ipv4", 4), ("ipv6", 6)]);
const HEALTH: Syntax = Syntax::Word(&[("unknown", 1), ("up", 2), ("down", 3)]);
const ADMIN: Syntax = Syntax::Word(&[("enabled", 1), ("draining", 2), ("disabled", 3)]);
const ROLE: Syntax = Syntax::Word(&[("active", 1), ("standby", 2)]);
const XDP: Syntax = Syntax::Word(&[("native", 1), ("generic", 2), ("none", 3)]);

const fn object(name: &'static str, syntax: Syntax, says: &'static str) -> Object {
    Object { name, syntax, says }
}

/// Everything, as it is walked.
pub fn tree(state: &State) -> Tree {
    let mut tree = Tree::new();
    GROUPS.iter().for_each(|group| put_group(group, state, &mut tree));
    TABLES.iter().for_each(|table| put_table(table, state, &mut tree));
    tree
}

pub const GROUPS: &[Group<State>] = &[
    Group {
        number: 1,
        name: "lbdSystem",
        says: "This box.",
        objects: &[
            object("lbdVersion", Text, "Version of the program."),
            object("lbdHostname", Text, "Name of this box in its configuration."),
            object("lbdRole", ROLE, "active: it owns the virtual addresses; standby: it is a switch, and ready."),
            object("lbdUptime", Gauge, "Seconds since the daemon started; the data plane may be older."),
            object("lbdWarnings", Gauge, "How many things an operator should look at."),
            object("lbdConfigRevision", Gauge, "Configurations that came into force since the daemon started."),
            object("lbdConfigUnsaved", Truth, "What is in force is not what the file says."),
            object("lbdConfigRefused", Truth, "The latest attempt to load a configuration failed."),
            object("lbdLogLost", Counter, "Messages that a syslog server did not get."),
        ],
        values: |state| {
            let config = &state.config;
            let role = if state.role == Role::Active { 1 } else { 2 };
            vec![
                text(&state.version),
                text(&state.hostname),
                Some(Datum::Word(role)),
                Some(Datum::Gauge(state.uptime_seconds)),
                Some(Datum::Gauge(state.warnings.len() as u64)),
                Some(Datum::Gauge(config.revision)),
                Some(Datum::Truth(config.unsaved)),
                Some(Datum::Truth(!config.last_reload_ok)),
                Some(Datum::Counter(state.logging.servers.iter().map(|server| server.lost).sum())),
            ]
        },
    },
    Group {
        number: 2,
        name: "lbdConnections",
        says: "The connection table.",
        objects: &[
            object("lbdConnectionsEstablished", Gauge, "Connections in the table."),
            object("lbdConnectionsCapacity", Gauge, "Connections that fit."),
            object("lbdConnectionsEmbryonic", Gauge, "Connections in a handshake."),
            object("lbdConnectionsEmbryonicCapacity", Gauge, "Connections in a handshake that fit."),
        ],
        values: |state| {
            let table = &state.table;
            let all = [table.entries, table.capacity, table.embryonic, table.embryonic_capacity];
            all.map(|value| Some(Datum::Gauge(value))).to_vec()
        },
    },
    Group {
        number: 3,
        name: "lbdPair",
        says: "The pair; nothing of a box that is alone.",
        objects: &[
            object("lbdPairState", Text, "init, standby, claiming, active, fault, maintenance or leaving."),
            object("lbdPairOwns", Truth, "The data plane of this box answers for the virtual addresses."),
            object("lbdPairAlone", Truth, "It owns because the other box is silent."),
            object("lbdPairReady", Truth, "This box could take over at once, or owns."),
            object(
                "lbdPairPeerState",
                Text,
                "State of the other box, by its latest heartbeat; nothing before it was heard.",
            ),
            object("lbdPairPeerReady", Truth, "The other box could take over, by its latest heartbeat."),
            object(
                "lbdPairConfigStanding",
                Text,
                "How this box's configuration stands to the other's; same is as it should be.",
            ),
            object("lbdPairBecameOwner", Counter, "Times that this box became the owner since the daemon started."),
            object("lbdPairHandedOver", Counter, "Times that it handed over since the daemon started."),
        ],
        values: |state| {
            let Some(pair) = &state.pair else { return Vec::new() };
            vec![
                text(pair.state),
                Some(Datum::Truth(pair.owns)),
                Some(Datum::Truth(pair.alone)),
                Some(Datum::Truth(pair.ready)),
                pair.peer.as_ref().and_then(|peer| text(peer.state)),
                pair.peer.as_ref().map(|peer| Datum::Truth(peer.ready)),
                text(pair.config.standing),
                Some(Datum::Counter(pair.became_owner)),
                Some(Datum::Counter(pair.handed_over)),
            ]
        },
    },
];

pub const TABLES: &[Table<State>] = &[
    Table {
        number: 4,
        name: "lbdPath",
        says: "Ways of heartbeats to the other box.",
        index: &[object("lbdPathName", Text, "Name of the path.")],
        columns: &[
            object("lbdPathAlive", Truth, "Something came in the dead interval."),
            object("lbdPathSent", Counter, "Heartbeats sent."),
            object("lbdPathReceived", Counter, "Heartbeats received."),
            object("lbdPathLost", Counter, "Heartbeats of the other box that did not come this way."),
            object("lbdPathRefused", Counter, "Messages that were refused: not of this pair, damaged, replayed."),
            object("lbdPathDelay", Gauge, "Half of the latest round trip, in microseconds."),
        ],
        rows: paths,
    },
    Table {
        number: 5,
        name: "lbdService",
        says: "Services of virtual servers, one for each address family.",
        index: &[
            object("lbdServiceVirtual", Text, "Name of the virtual server."),
            object("lbdServiceName", Text, "Name of the service."),
            object("lbdServiceFamily", FAMILY, "Address family."),
        ],
        columns: &[
            object("lbdServiceAddresses", Text, "Virtual addresses of the family."),
            object("lbdServiceProtocol", Text, "tcp or udp."),
            object("lbdServicePorts", Text, "A port, or a range of ports."),
            object("lbdServiceMode", Text, "How packets reach the servers: dsr, nat or full-nat."),
            object("lbdServicePool", Text, "Name of the pool."),
            object("lbdServiceMembers", Gauge, "Members, those of pools behind its own one included."),
            object("lbdServiceMembersServing", Gauge, "Members that get new connections."),
            object("lbdServiceConnections", Gauge, "Established connections."),
            object("lbdServicePending", Gauge, "Connections in a handshake."),
            object(
                "lbdServiceConnectionsTotal",
                Counter,
                "Connections scheduled since the data plane was first loaded.",
            ),
        ],
        rows: |state| state.services.iter().map(service).collect(),
    },
    Table {
        number: 6,
        name: "lbdMember",
        says: "Servers in services.",
        index: &[
            object("lbdMemberVirtual", Text, "Name of the virtual server."),
            object("lbdMemberService", Text, "Name of the service."),
            object("lbdMemberFamily", FAMILY, "Address family."),
            object("lbdMemberServer", Text, "Name of the server."),
        ],
        columns: &[
            object("lbdMemberPool", Text, "Pool by which it is a member."),
            object("lbdMemberHealth", HEALTH, "What the probe says."),
            object("lbdMemberHealthAge", Gauge, "Seconds since it says so."),
            object("lbdMemberAdmin", ADMIN, "What the operator has ordered."),
            object("lbdMemberServing", Truth, "It gets new connections."),
            object("lbdMemberWhy", Text, "Why it does or does not, in words."),
            object("lbdMemberWeight", Gauge, "Share of new connections as configured."),
            object("lbdMemberEffectiveWeight", Gauge, "Share at this moment, in thousandths."),
            object("lbdMemberConnections", Gauge, "Established connections."),
            object("lbdMemberPending", Gauge, "Connections in a handshake."),
            object(
                "lbdMemberConnectionsTotal",
                Counter,
                "Connections scheduled since the data plane was first loaded.",
            ),
            object("lbdMemberPacketsIn", Counter, "Packets from clients."),
            object("lbdMemberBytesIn", Counter, "Bytes of these, of whole frames."),
            object("lbdMemberPacketsOut", Counter, "Packets to clients; seen in NAT only."),
            object("lbdMemberBytesOut", Counter, "Bytes of these, of whole frames."),
        ],
        rows: |state| state.services.iter().flat_map(members).collect(),
    },
    Table {
        number: 7,
        name: "lbdPool",
        says: "Pools.",
        index: &[object("lbdPoolName", Text, "Name of the pool.")],
        columns: &[
            object("lbdPoolScheduler", Text, "How a server is chosen."),
            object("lbdPoolMembers", Gauge, "Members."),
            object("lbdPoolMembersServing", Gauge, "Members that get new connections in at least one service."),
            object("lbdPoolServices", Text, "Services that use it."),
            object("lbdPoolCheck", Text, "How its members are probed, in words."),
        ],
        rows: pools,
    },
    Table {
        number: 8,
        name: "lbdServer",
        says: "Real servers.",
        index: &[object("lbdServerName", Text, "Name of the server.")],
        columns: &[
            object("lbdServerAddress", Text, "IPv4 address."),
            object("lbdServerAddress6", Text, "IPv6 address."),
            object("lbdServerAdmin", ADMIN, "What the operator has ordered, in all its pools."),
            object("lbdServerWeight", Gauge, "Share of new connections."),
            object("lbdServerConnectionsMax", Gauge, "Most established connections at once; 0 is no limit."),
            object("lbdServerConnections", Gauge, "Established connections, over all its services."),
        ],
        rows: |state| {
            let row = |server: &crate::core::control::state::ServerState| Row {
                index: vec![Key::Text(server.name.clone())],
                values: vec![
                    server.address.and_then(|address| text(&address.to_string())),
                    server.address6.and_then(|address| text(&address.to_string())),
                    Some(admin(server.admin)),
                    Some(Datum::Gauge(server.weight.into())),
                    Some(Datum::Gauge(server.max_connections.into())),
                    Some(Datum::Gauge(server.connections)),
                ],
            };
            state.servers.iter().map(row).collect()
        },
    },
    Table {
        number: 9,
        name: "lbdPort",
        says: "Ports of the data plane.",
        index: &[object("lbdPortName", Text, "Name of the interface.")],
        columns: &[
            object("lbdPortForwards", Truth, "It is up, and its bridge lets it forward."),
            object("lbdPortXdp", XDP, "How the program sits on it."),
            object("lbdPortLost", Counter, "Frames that were lost after the program had sent them on."),
            object("lbdPortIfIndex", Gauge, "Number of the interface, as in IF-MIB."),
            object("lbdPortPacketsIn", Counter, "Frames received, switched and balanced ones alike."),
            object("lbdPortBytesIn", Counter, "Bytes of these."),
            object("lbdPortErrorsIn", Counter, "Damaged frames."),
            object("lbdPortDroppedIn", Counter, "Sound frames that were dropped for want of room."),
            object("lbdPortPacketsOut", Counter, "Frames sent, switched and balanced ones alike."),
            object("lbdPortBytesOut", Counter, "Bytes of these."),
            object("lbdPortErrorsOut", Counter, "Frames that were not sent because of the medium."),
            object("lbdPortDroppedOut", Counter, "Frames that were dropped for want of room."),
        ],
        rows: |state| {
            let row = |port: &crate::core::control::state::InterfaceState| Row {
                index: vec![Key::Text(port.name.clone())],
                values: vec![
                    Some(Datum::Truth(port.forwarding)),
                    Some(Datum::Word(match port.xdp {
                        XdpAttachment::Native => 1,
                        XdpAttachment::Generic => 2,
                        XdpAttachment::None => 3,
                    })),
                    Some(Datum::Counter(port.lost_after_redirect)),
                    Some(Datum::Gauge(port.index.into())),
                    Some(Datum::Counter(port.received.packets)),
                    Some(Datum::Counter(port.received.bytes)),
                    Some(Datum::Counter(port.received.errors)),
                    Some(Datum::Counter(port.received.dropped)),
                    Some(Datum::Counter(port.sent.packets)),
                    Some(Datum::Counter(port.sent.bytes)),
                    Some(Datum::Counter(port.sent.errors)),
                    Some(Datum::Counter(port.sent.dropped)),
                ],
            };
            state.interfaces.iter().map(row).collect()
        },
    },
    Table {
        number: 10,
        name: "lbdPackets",
        says: "What became of packets, by reason.",
        index: &[object("lbdPacketsReason", Text, "Word of the reason, as in the metrics.")],
        columns: &[
            object("lbdPacketsVerdict", Text, "passed, answered, forwarded, dropped or event."),
            object("lbdPacketsMeaning", Text, "The reason in words."),
            object("lbdPacketsCount", Counter, "Packets since the data plane was first loaded."),
        ],
        rows: |state| {
            let row = |packets: &crate::core::control::state::PacketCount| Row {
                index: vec![Key::Text(packets.reason.to_owned())],
                values: vec![text(packets.verdict), text(packets.meaning), Some(Datum::Counter(packets.count))],
            };
            state.packets.iter().map(row).collect()
        },
    },
];

fn text(text: &str) -> Option<Datum> {
    Some(Datum::Text(text.to_owned()))
}

fn admin(state: AdminState) -> Datum {
    Datum::Word(match state {
        AdminState::Enabled => 1,
        AdminState::Draining => 2,
        AdminState::Disabled => 3,
    })
}

fn family(family: Family) -> Key {
    Key::Number(match family {
        Family::V4 => 4,
        Family::V6 => 6,
    })
}

fn paths(state: &State) -> Vec<Row> {
    let row = |path: &crate::core::control::PathState| Row {
        index: vec![Key::Text(path.name.clone())],
        values: vec![
            Some(Datum::Truth(path.alive)),
            Some(Datum::Counter(path.sent)),
            Some(Datum::Counter(path.received)),
            Some(Datum::Counter(path.lost)),
            Some(Datum::Counter(path.refused)),
            path.delay_seconds.map(|seconds| Datum::Gauge((seconds.max(0.0) * 1e6) as u64)),
        ],
    };
    state.pair.iter().flat_map(|pair| &pair.paths).map(row).collect()
}

fn service(service: &ServiceState) -> Row {
    let addresses: Vec<String> = service.addresses.iter().map(ToString::to_string).collect();
    let serving = service.members.iter().filter(|member| member.scheduled).count();
    Row {
        index: vec![
            Key::Text(service.virtual_server.clone()),
            Key::Text(service.service.clone()),
            family(service.family),
        ],
        values: vec![
            text(&addresses.join(" ")),
            text(service.protocol.word()),
            text(&service.ports.to_string()),
            text(service.mode.word()),
            text(&service.pool),
            Some(Datum::Gauge(service.members.len() as u64)),
            Some(Datum::Gauge(serving as u64)),
            Some(Datum::Gauge(service.connections.active)),
            Some(Datum::Gauge(service.connections.pending)),
            Some(Datum::Counter(service.connections.total)),
        ],
    }
}

/// A server that is in several pools of a service has one row: the data plane knows it once.
fn members(service: &ServiceState) -> Vec<Row> {
    let mut seen = BTreeSet::new();
    let members = service.members.iter().filter(|member| seen.insert(member.server.as_str()));
    members.map(|one| member(service, one)).collect()
}

fn member(service: &ServiceState, member: &MemberState) -> Row {
    let health = match member.state {
        check::State::Unknown => 1,
        check::State::Up => 2,
        check::State::Down => 3,
    };
    let (connections, traffic) = (&member.connections, &member.traffic);
    Row {
        index: vec![
            Key::Text(service.virtual_server.clone()),
            Key::Text(service.service.clone()),
            family(service.family),
            Key::Text(member.server.clone()),
        ],
        values: vec![
            text(&member.pool),
            Some(Datum::Word(health)),
            Some(Datum::Gauge(member.since_seconds)),
            Some(admin(member.admin)),
            Some(Datum::Truth(member.scheduled)),
            text(&member.why),
            Some(Datum::Gauge(member.weight.into())),
            Some(Datum::Gauge((member.effective_weight.max(0.0) * 1000.0) as u64)),
            Some(Datum::Gauge(connections.active)),
            Some(Datum::Gauge(connections.pending)),
            Some(Datum::Counter(connections.total)),
            Some(Datum::Counter(traffic.packets_in)),
            Some(Datum::Counter(traffic.bytes_in)),
            Some(Datum::Counter(traffic.packets_out)),
            Some(Datum::Counter(traffic.bytes_out)),
        ],
    }
}

fn pools(state: &State) -> Vec<Row> {
    let mut serving: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for member in state.services.iter().flat_map(|service| &service.members).filter(|member| member.scheduled) {
        serving.entry(&member.pool).or_default().insert(&member.server);
    }
    let row = |pool: &crate::core::control::state::PoolState| Row {
        index: vec![Key::Text(pool.name.clone())],
        values: vec![
            text(pool.scheduler.word()),
            Some(Datum::Gauge(pool.members.len() as u64)),
            Some(Datum::Gauge(serving.get(pool.name.as_str()).map_or(0, BTreeSet::len) as u64)),
            text(&pool.services.join(" ")),
            text(&pool.check),
        ],
    };
    state.pools.iter().map(row).collect()
}
