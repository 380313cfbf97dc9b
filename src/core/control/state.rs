//! What is true now, as an operator sees it. Times on the calendar are Unix time in seconds.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::Serialize;

use super::logging::LoggingState;
use super::logins::LoginState;
use super::pair::PairState;
use super::word::{self, Word};
use crate::config::{Mac, Mode, Ports, Protocol, Scheduler};
use crate::core::admin::{AdminState, Then};
use crate::core::check;
use crate::core::forwarding::Family;

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct State {
    /// Version of the program.
    pub version: String,
    pub hostname: String,
    pub role: Role,
    pub config: ConfigState,
    /// When the daemon started, Unix time.
    pub started_at: u64,
    pub uptime_seconds: u64,
    /// Whether the daemon took over a data plane that was running already.
    pub adopted: bool,
    /// One for each service and address family.
    pub services: Vec<ServiceState>,
    pub pools: Vec<PoolState>,
    pub servers: Vec<ServerState>,
    /// What is drained or disabled by order.
    pub orders: Vec<OrderState>,
    pub interfaces: Vec<InterfaceState>,
    pub table: TableState,
    /// What became of the packets, by reason; in the order in which the data plane decides.
    pub packets: Vec<PacketCount>,
    /// What all probes have come to, by protocol.
    pub probes: Vec<ProbeTally>,
    /// The daemon itself.
    pub daemon: DaemonState,
    pub clock: ClockState,
    /// Logins by people, one entry for each door.
    pub logins: Vec<LoginState>,
    /// None: this box is alone.
    pub pair: Option<PairState>,
    pub logging: LoggingState,
    /// When the certificate of the HTTP listener ends, Unix time; none without TLS.
    pub http_certificate_ends_at: Option<u64>,
    /// What an operator should look at, in words.
    pub warnings: Vec<String>,
}

/// What this box does in the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It owns the virtual addresses.
    Active,
    /// It is a switch, and ready.
    Standby,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConfigState {
    /// Counts the configurations that came into force since the daemon started, from 1.
    pub revision: u64,
    /// When the one in force was loaded, Unix time.
    pub loaded_at: u64,
    /// Whether the latest attempt to load one succeeded.
    pub last_reload_ok: bool,
    /// When the latest attempt was made, Unix time.
    pub last_reload_at: u64,
    /// What is in force is not what the file says.
    pub unsaved: bool,
}

/// A service of a virtual server, in one address family.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ServiceState {
    pub virtual_server: String,
    pub service: String,
    #[serde(serialize_with = "word::serialize")]
    #[schemars(with = "String")]
    pub family: Family,
    #[serde(serialize_with = "word::serialize")]
    #[schemars(with = "String")]
    pub protocol: Protocol,
    pub addresses: Vec<IpAddr>,
    /// A port or a range, `40000-40999`.
    #[serde(serialize_with = "word::ports")]
    #[schemars(with = "String")]
    pub ports: Ports,
    #[serde(serialize_with = "word::serialize")]
    #[schemars(with = "String")]
    pub mode: Mode,
    #[serde(serialize_with = "word::serialize")]
    #[schemars(with = "String")]
    pub scheduler: Scheduler,
    pub pool: String,
    /// Sum over the members, those that have left the pool and still have connections included.
    pub connections: Connections,
    /// Those of the pools behind its own one, too.
    pub members: Vec<MemberState>,
}

/// A server in a service.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MemberState {
    pub server: String,
    /// The service's own pool, its `backup-pool`, or the one that clients migrate to.
    pub pool: String,
    /// None when the server has no address of the family.
    pub address: Option<IpAddr>,
    /// None: the client's destination port is kept.
    pub port: Option<u16>,
    /// Share of new connections as configured.
    pub weight: u16,
    /// Share at this moment: less in slow start, 0 when it gets none.
    pub effective_weight: f64,
    pub backup: bool,
    /// What the probe says: up, down, or unknown.
    #[serde(serialize_with = "word::serialize")]
    #[schemars(with = "String")]
    pub state: check::State,
    /// How long it has been in `state`.
    pub since_seconds: u64,
    #[schemars(with = "String")]
    pub admin: AdminState,
    /// Whether it gets new connections.
    pub scheduled: bool,
    /// Why it does or does not, in words.
    pub why: String,
    /// One for each virtual address in DSR; empty when it is not probed.
    pub checks: Vec<CheckState>,
    /// Where it is on the wire, as far as known.
    #[serde(serialize_with = "word::maybe_mac")]
    #[schemars(with = "Option<String>")]
    pub mac: Option<Mac>,
    /// The port towards it.
    pub interface: Option<String>,
    /// 802.1Q identifier, 0 is untagged.
    pub vlan: Option<u16>,
    pub connections: Connections,
    pub traffic: Traffic,
}

/// A probe of a member. One probe may serve several members; it is then told with each.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CheckState {
    /// What is asked, `smtp 10.1.0.2:25`, or in DSR `smtp 192.0.2.25:25 at pc1`.
    pub question: String,
    /// up, down, or unknown.
    #[serde(serialize_with = "word::serialize")]
    #[schemars(with = "String")]
    pub state: check::State,
    /// How long it has been in `state`.
    pub since_seconds: u64,
    /// The result that brought it there, in words; empty before the first.
    pub cause: String,
    /// The latest result in words, `smtp: banner 421 too busy, after 12 ms`; none before the first.
    pub last: Option<String>,
    /// How long ago it came.
    pub last_age_seconds: Option<f64>,
    /// How long the latest probe took.
    pub last_duration_seconds: Option<f64>,
    /// When the next probe is due, from now.
    pub next_seconds: f64,
    /// It flaps: it answers now, and is held down for so much longer.
    pub held_seconds: Option<u64>,
    /// Part of the latest 64 results that succeeded, 0 to 1.
    pub success_ratio: Option<f64>,
    /// Of the latest 64 successes.
    pub latency: Option<Latency>,
    /// Days until the server's certificate ends, negative when it has; none without TLS.
    pub certificate_days: Option<i64>,
    /// When it ends, Unix time.
    pub certificate_ends_at: Option<u64>,
    /// Since the daemon started.
    pub successes: u64,
    /// Since the daemon started.
    pub failures: u64,
    /// The failures by kind.
    pub failures_by_kind: BTreeMap<String, u64>,
}

/// Percentiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Latency {
    pub p50_seconds: f64,
    pub p90_seconds: f64,
    pub p99_seconds: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Connections {
    /// Established, neither closed nor reset.
    pub active: u64,
    /// In a handshake.
    pub pending: u64,
    /// Scheduled since the data plane was first loaded.
    pub total: u64,
}

/// Since the data plane was first loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Traffic {
    /// From clients to the server.
    pub packets_in: u64,
    /// Bytes of whole frames.
    pub bytes_in: u64,
    /// From the server to clients; seen in NAT only.
    pub packets_out: u64,
    pub bytes_out: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PoolState {
    pub name: String,
    #[serde(serialize_with = "word::serialize")]
    #[schemars(with = "String")]
    pub scheduler: Scheduler,
    pub slow_start_seconds: u64,
    /// How its members are probed, in words.
    pub check: String,
    /// Names of its servers.
    pub members: Vec<String>,
    /// The services that use it, as `virtual-server/service`; also as a pool behind their own one.
    pub services: Vec<String>,
    /// Members that can take new connections and are no backups; of several services whose own pool this is, in the one
    /// that has fewest. None: it is the own pool of no service.
    pub members_up: Option<u64>,
    /// Members that get new connections, backups among them; likewise.
    pub members_scheduled: Option<u64>,
    /// Members that must be up (`min-up`); 0 and 1 are the same.
    pub members_min: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ServerState {
    pub name: String,
    pub address: Option<Ipv4Addr>,
    pub address6: Option<Ipv6Addr>,
    pub weight: u16,
    #[schemars(with = "String")]
    pub admin: AdminState,
    /// Most established connections at once; 0 is no limit.
    pub max_connections: u32,
    /// Established connections, over all its services.
    pub connections: u64,
}

/// An order in force. One for a server and one for its part in a pool may be in force at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OrderState {
    pub server: String,
    /// None: the server in all its pools.
    pub pool: Option<String>,
    /// draining or disabled.
    #[schemars(with = "String")]
    pub admin: AdminState,
    /// When it was ordered, Unix time.
    pub since: u64,
    /// Connections then.
    pub connections_at_begin: u64,
    /// Connections left: established, in a handshake, and UDP flows.
    pub connections: u64,
    /// A drain that has nothing left.
    pub finished: bool,
    /// When what is left is reset, Unix time.
    pub deadline_at: Option<u64>,
    #[schemars(with = "String")]
    pub then: Then,
    /// Unix time before which the last connection will not be gone, with 90 %; none while unknown.
    pub end_earliest_at: Option<u64>,
    /// Unix time before or after which it will be gone, equally likely; none while unknown.
    pub end_likely_at: Option<u64>,
    /// Unix time after which it will be gone, with 90 %; none while unknown, or weeks away.
    pub end_latest_at: Option<u64>,
    /// A connection whose client is silent for so long is forgotten: the longest of its services.
    pub idle_timeout_seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct InterfaceState {
    pub name: String,
    /// The kernel's number of it.
    pub index: u32,
    /// What this box answers with on it.
    #[serde(serialize_with = "word::mac")]
    #[schemars(with = "String")]
    pub mac: Mac,
    pub xdp: XdpAttachment,
    /// Whether it is up and its bridge lets it forward.
    pub forwarding: bool,
    /// Frames that the driver or the map lost after the program had sent them on.
    pub lost_after_redirect: u64,
    /// As the kernel counts for the link, since it was made.
    pub received: PortTraffic,
    pub sent: PortTraffic,
    /// Age of these numbers; none before they have been read for the first time. The kernel is asked every second, and may
    /// let its answer wait while interfaces come and go.
    pub counted_seconds_ago: Option<f64>,
}

/// Frames of a port in one direction, switched and balanced ones alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PortTraffic {
    pub packets: u64,
    pub bytes: u64,
    /// Damaged, or not sent because of the medium.
    pub errors: u64,
    /// Sound, and dropped for want of room.
    pub dropped: u64,
}

/// How the program sits on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum XdpAttachment {
    /// In the driver.
    Native,
    /// In the kernel's stack, slower.
    Generic,
    /// Not at all.
    None,
}

impl Word for XdpAttachment {
    fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::None => "none",
        }
    }
}

impl Word for Role {
    fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
        }
    }
}

/// The connection table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct TableState {
    /// Established connections, closed ones that wait for stragglers included.
    pub entries: u64,
    /// Most established connections that fit.
    pub capacity: u64,
    /// Connections in a handshake.
    pub embryonic: u64,
    pub embryonic_capacity: u64,
    pub sweep: SweepState,
    /// Connections that were forgotten because their server failed, was disabled or removed, since the daemon started.
    pub reset: u64,
}

/// The walk that removes expired connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct SweepState {
    /// Complete walks since the daemon started.
    pub completed: u64,
    /// Connections removed since the daemon started.
    pub removed: u64,
    /// Time that the latest complete walk took; none before the first.
    pub last_duration_seconds: Option<f64>,
}

/// Packets that met one fate for one reason, since the data plane was first loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PacketCount {
    /// passed, answered, forwarded, dropped, or event.
    pub verdict: &'static str,
    pub reason: &'static str,
    /// The reason in words.
    pub meaning: &'static str,
    pub count: u64,
}

/// What all probes of one protocol have come to, since the daemon started.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ProbeTally {
    /// smtp, tcp, and so on: the type of the check.
    pub protocol: &'static str,
    pub successes: u64,
    pub failures_by_kind: BTreeMap<&'static str, u64>,
    /// Successes by the time that they took, in growing classes.
    pub took: Vec<TimeClass>,
    /// Sum over the successes.
    pub took_seconds: f64,
}

/// How many took up to so long.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TimeClass {
    /// None: any time.
    pub up_to_seconds: Option<f64>,
    /// Those of the classes before included.
    pub count: u64,
}

/// What the daemon uses, and how prompt it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct DaemonState {
    /// Processor time, since the daemon started.
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub open_files: u64,
    pub open_files_max: u64,
    pub threads: u64,
    /// By how much a timer came late at most, in the last minute.
    pub lag_seconds: f64,
    /// How long the loop that turns events into plans took for one turn at most, in the last minute.
    pub turn_seconds: f64,
}

/// The calendar of this box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ClockState {
    /// Unix time, with a fraction.
    pub unix_seconds: f64,
    /// Something keeps the clock (adjtimex(2)); none: the kernel does not say.
    pub synchronized: Option<bool>,
    /// How far it may be off at most, as the kernel believes.
    pub error_max_seconds: Option<f64>,
}
