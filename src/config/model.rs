//! `Config`: what the operator asked for, as plain data.
//!
//! Nothing here knows YAML, the kernel or a clock. A `Config` that exists has
//! passed `validate`: names resolve, addresses do not overlap, numbers are in
//! range, so that its readers need no second check.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::http::Http;
use super::logging::{Logging, Snmp};
use super::pair::Pair;
use super::probe::Probe;
use super::profile::Profile;
use super::users::{Secret, Ssh, User};

/// Name of an object: 1 to 32 of `[A-Za-z0-9._-]`, so that it prints in every
/// notation (YAML, CLI prompt, metric label) without quoting. A copy is cheap: names are in every key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Longest name, in bytes.
    pub const LENGTH_MAX: usize = 32;

    /// Checks the rule of names; says what is wrong with a bad one.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a name cannot be empty".into());
        }
        if text.len() > Self::LENGTH_MAX {
            return Err(format!("{text:?} is {} bytes long; a name has at most {}", text.len(), Self::LENGTH_MAX));
        }
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c))) {
            Some(c) => Err(format!("{c:?} cannot stand in a name; use letters, digits, '.', '_' and '-'")),
            None => Ok(Self(text.into())),
        }
    }

    /// Name of a box that was given none.
    pub fn of_a_box() -> Self {
        Self("lb".into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// An Ethernet address, `02:00:00:00:00:01`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An address with the length of its network's prefix, `10.1.0.1/24`. The host bits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    pub address: IpAddr,
    /// 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub length: u8,
}

impl Prefix {
    /// One address alone.
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether an address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let ((own, length), (other, other_length)) = (bits(self.address), bits(address));
        let host_bits = length - u32::from(self.length).min(length);
        length == other_length && own.checked_shr(host_bits) == other.checked_shr(host_bits)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// An inclusive range of ports; a single port has `first == last`. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    pub first: u16,
    pub last: u16,
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl Ports {
    pub fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }
    pub fn is_range(&self) -> bool {
        self.first != self.last
    }
    /// 1 to 65,535.
    pub fn count(&self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// How a packet reaches the real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Direct server return: only the MACs are rewritten; the server has the VIP on its loopback.
    Dsr,
    /// Destination rewritten; the server's gateway is the floating inside address.
    Nat,
    /// Source rewritten too, from `source-nat`; for servers whose gateway is elsewhere.
    FullNat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheduler {
    /// Consistent hashing of the client's address and port (Eisenbud et al., NSDI 2016).
    #[default]
    Maglev,
    RoundRobin,
    LeastConnections,
    /// Consistent hashing of the client's address alone.
    SourceHash,
}

/// Everything that the operator asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub hostname: Name,
    pub interfaces: Interfaces,
    pub source_nat: Vec<SourceNat>,
    /// The other balancer; `None`: this box is alone.
    pub pair: Option<Pair>,
    pub limits: Limits,
    pub http: Http,
    /// Who may log in.
    pub users: BTreeMap<Name, User>,
    /// What `enable` asks for.
    pub enable_secret: Option<Secret>,
    /// Shown before the login; empty: nothing is.
    pub banner: String,
    pub ssh: Ssh,
    pub logging: Logging,
    /// `None`: no agent is asked to take this box's objects.
    pub snmp: Option<Snmp>,
    pub servers: BTreeMap<Name, Server>,
    pub pools: BTreeMap<Name, Pool>,
    pub virtual_servers: BTreeMap<Name, VirtualServer>,
}

/// The ports that the data plane sits on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interfaces {
    /// The bridge that the ports belong to; `None` when they are single ports.
    pub bridge: Option<String>,
    /// Interface names, as the kernel has them (1 to 15 bytes).
    pub ports: Vec<String>,
    /// lbd sets the bridge up itself; then `bridge` and `mac` are there. Otherwise somebody else has made it.
    pub manage: bool,
    /// The box's one fixed MAC. Without it: the bridge's or the port's own, as found at start.
    pub mac: Option<Mac>,
    /// This box's own addresses on a managed bridge.
    pub addresses: Vec<Prefix>,
    /// Spanning tree of the kernel on a managed bridge. `None`: a bridge that lbd makes has none, another is left
    /// as it is. Never true together with `uplinks`.
    pub stp: Option<bool>,
    /// Ports towards the customers' routers; one of them blocks where two boxes make a loop. Among `ports`.
    pub uplinks: Vec<String>,
    /// Ports towards the other box of a pair. Among `ports`, and not among `uplinks`.
    pub cross_connect: Vec<String>,
    /// Floating inside addresses: the gateway of NAT servers, answered for by the data plane.
    /// Their networks are the servers' own segments, whose clients need full NAT (hairpin).
    pub inside: Vec<Prefix>,
    /// Native XDP where the driver can, else generic.
    pub xdp: XdpMode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    #[default]
    Auto,
    Native,
    Generic,
}

/// A range of ports at an address that full NAT may use as a source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceNat {
    pub address: IpAddr,
    /// Default 1024-65535.
    pub ports: Ports,
}

impl SourceNat {
    pub const PORTS_DEFAULT: Ports = Ports { first: 1024, last: 65535 };
}

/// Sizes of the kernel's tables, fixed when the data plane is first loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Established connections. 1,024 to 16,777,216; default 262,144.
    pub connections: u32,
    /// Connections in a handshake. 1,024 to 1,048,576; default 65,536.
    pub embryonic: u32,
    /// Clients bound to a server by persistence. 1,024 to 4,194,304; default 65,536.
    pub persistence: u32,
    /// Fragmented datagrams on the way at once. 256 to 262,144; default 8,192.
    pub fragments: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 262_144, embryonic: 65_536, persistence: 65_536, fragments: 8_192 }
    }
}

/// A real server: one machine, in any number of pools.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    pub address: Option<Ipv4Addr>,
    pub address6: Option<Ipv6Addr>,
    /// Share of new connections, 1 to 1,000; default 1. A member may have its own.
    pub weight: u16,
    /// Most established connections at once, over all its pools; 0 (the default) is no limit.
    pub max_connections: u32,
    /// Where the server is on the wire, instead of what the kernel's tables say: for a segment on
    /// which this box has no address of its own. `port` names one of `interfaces.ports`.
    pub link: Option<Link>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    pub mac: Mac,
    pub port: String,
    /// 802.1Q identifier, 1 to 4094; `None` is untagged.
    pub vlan: Option<u16>,
}

/// The servers that provide one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Where what is not said of the pool and of its services comes from. Everything below and in the services
    /// is resolved already: the profile only matters to whoever writes the configuration down again.
    pub profile: Option<Profile>,
    pub members: Vec<Member>,
    /// The servers' port; `None`: the same as the service's, as it must be for DSR and for ranges.
    pub port: Option<u16>,
    pub scheduler: Scheduler,
    /// A server that comes back grows from a tenth of its weight to all of it over this time; zero is off.
    /// 0 to 1 hour, default 30 s.
    pub slow_start: Duration,
    pub check: Check,
    /// Fewer members up than this (backups not counted) is too few, 0 to 1,000; default 0.
    pub min_up: u16,
    /// What is done about too few.
    pub below_min: BelowMin,
    /// A pool whose members are backups of this one, behind its own.
    pub backup_pool: Option<Name>,
    /// What becomes of a failed server's connections.
    pub on_failure: OnFailure,
    /// Clients that are sent to another pool.
    pub migrate: Option<Migrate>,
}

impl Pool {
    pub const SLOW_START_DEFAULT: Duration = Duration::from_secs(30);
}

/// What a pool does when fewer members are up than `min_up`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BelowMin {
    /// Backups join in, those of `backup_pool` too.
    #[default]
    Backup,
    /// The members that were up last go on taking connections although their probes fail, as many as are
    /// missing: rather a part of the customers served badly than one server that all of them push over.
    Hold,
    /// New connections are refused: rather some customers told to come back than all served too slowly.
    Refuse,
}

/// A staged move of clients to another pool. Both ways of choosing may be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrate {
    pub to: Name,
    /// Of new clients, in hundredths of a per cent: 0 to 10,000.
    pub share: u16,
    /// Clients of these networks.
    pub clients: Vec<Prefix>,
}

impl Migrate {
    pub const SHARE_MAX: u16 = 10_000;
}

#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub server: Name,
    /// Instead of the pool's.
    pub port: Option<u16>,
    /// Instead of the server's.
    pub weight: Option<u16>,
    /// Takes new connections only while no other member can.
    pub backup: bool,
}

/// The probe of a pool's members.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub kind: CheckKind,
    /// Port to probe instead of the member's own.
    pub port: Option<u16>,
    /// In DSR, where the probe goes.
    pub aim: Aim,
    /// 100 ms to 1 hour, default 2 s.
    pub interval: Duration,
    /// Time from one result to the next probe while a server is in doubt: its latest result speaks against
    /// its state. 20 ms to `interval`; default a quarter of the interval.
    pub fast_interval: Duration,
    /// 10 ms to `interval`; default 1 s, or the interval where that is shorter.
    pub timeout: Duration,
    /// An answer that took longer counts as a failure. 1 ms to `timeout`; `None`: only the timeout counts.
    pub slow: Option<Duration>,
    /// Successes in a row until a server counts as up, 1 to 10, default 2.
    pub rise: u8,
    /// Failures in a row until it counts as down, 1 to 10, default 3.
    pub fall: u8,
    /// A server that flaps is held down until it has answered for so long without a failure. 0 (off) to
    /// 1 hour, default 30 s.
    pub flap_hold: Duration,
}

impl Check {
    pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(2);
    pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
    pub const FLAP_HOLD_DEFAULT: Duration = Duration::from_secs(30);

    /// The fast interval of a check that says none: a quarter of the interval, in whole milliseconds.
    pub fn fast_interval_of(interval: Duration) -> Duration {
        Duration::from_millis(u64::try_from(interval.as_millis() / 4).unwrap_or(u64::MAX))
    }
}

impl Default for Check {
    fn default() -> Self {
        Self {
            kind: CheckKind::Auto,
            port: None,
            aim: Aim::Auto,
            interval: Self::INTERVAL_DEFAULT,
            fast_interval: Self::fast_interval_of(Self::INTERVAL_DEFAULT),
            timeout: Self::TIMEOUT_DEFAULT,
            slow: None,
            rise: 2,
            fall: 3,
            flap_hold: Self::FLAP_HOLD_DEFAULT,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CheckKind {
    /// `Tcp` where the check names a port, or a TCP service has one port at the member; else `None`.
    #[default]
    Auto,
    /// Not probed: up as long as its MAC is known.
    None,
    /// This one. Shared, because every target of the pool holds it.
    Probe(Arc<Probe>),
}

impl CheckKind {
    /// A TCP connection can be opened.
    pub fn tcp() -> Self {
        Self::Probe(Arc::new(Probe::Tcp))
    }
}

/// Where the probes of a DSR service go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aim {
    /// DSR: to each virtual address, at the server's MAC, as a customer's packets do. Else to the server.
    #[default]
    Auto,
    /// To the server's own address, which proves less.
    Server,
}

/// What customers connect to: addresses and the services behind them.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualServer {
    pub addresses: Vec<IpAddr>,
    pub services: BTreeMap<Name, Service>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub protocol: Protocol,
    pub ports: Ports,
    pub pool: Name,
    pub mode: Mode,
    pub persistence: Option<Persistence>,
    pub timeouts: Timeouts,
    pub udp: UdpLife,
    /// FTP: the ports at which servers await passive data connections. Served like `ports`.
    pub passive: Option<Ports>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// TCP: the client's next packet is answered by RST. UDP: scheduled anew.
    #[default]
    Reset,
    /// Left to hang until the server comes back or the flow times out.
    Keep,
}

/// A client stays with its server.
#[derive(Clone, Debug, PartialEq)]
pub struct Persistence {
    /// Since the client's last new connection. 1 s to 24 h, default 5 min.
    pub timeout: Duration,
    /// Clients of one prefix count as one. 1 to 32, default 32.
    pub prefix4: u8,
    /// 1 to 128, default 64: a household's IPv6 network.
    pub prefix6: u8,
    /// Services of one group (of any virtual server) send a client to the same server.
    pub group: Option<Name>,
}

impl Default for Persistence {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(300), prefix4: 32, prefix6: 64, group: None }
    }
}

/// Idle times after which a flow is forgotten, by its state. 1 s to 24 h each.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// Handshake not complete. Default 10 s.
    pub embryonic: Duration,
    /// DSR: acknowledged, but without sustained progress. Default 60 s.
    pub unproven: Duration,
    /// Default 40 min: longer than the 29 min after which an IMAP client repeats IDLE (RFC 2177).
    pub established: Duration,
    /// One side has sent FIN. Default 2 min.
    pub closing: Duration,
    /// Both sides have sent FIN, or one RST. Default 5 s.
    pub closed: Duration,
    /// A UDP flow. Default 60 s.
    pub udp: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self { embryonic: s(10), unproven: s(60), established: s(2400), closing: s(120), closed: s(5), udp: s(60) }
    }
}

/// How long datagrams of one client port go to one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UdpLife {
    /// Until the flow is idle for `timeouts.udp`.
    #[default]
    Idle,
    /// Besides, no longer than this after it began. 1 s to 24 h.
    MaxAge(Duration),
    /// Every datagram is scheduled anew.
    PerPacket,
}
