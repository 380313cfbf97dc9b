//! The structure of the file, and nothing else: what may stand where. The
//! JSON Schema comes from these structs, so their comments are for operators.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_yaml::Spanned;

use super::choice::{CheckWord, TlsWord, TransportWord, UdpLifeKind};
use super::leaf::{Given, Leaf, Named, Placed, Several};
use super::notation::{
    Address4Text, Address6Text, AddressText, AgentText, ArgumentText, BannerText, DateText, FileText, InterfaceText,
    LineText, ListenText, MacText, NameText, Number, OneOf, PercentText, PortText, PortsText, PrefixText, RcodeText,
    RecordText, SecretText, SshKeyText, StatusText, Time, TokenHashText, YesNo,
};
use crate::config::{
    Aim, BelowMin, Facility, LogSeverity, LogTransport, Mode, OnFailure, Profile, Protocol, Scheduler, XdpMode,
    limits as l,
};

type Weight = Number<{ l::WEIGHT.min }, { l::WEIGHT.max }>;
type Count = Number<{ l::CHECK_COUNT.min }, { l::CHECK_COUNT.max }>;
type FlowTime = Time<{ l::FLOW_TIME.min }, { l::FLOW_TIME.max }>;

/// Configuration of lbd, a layer-4 load balancer. docs/configuration.md explains every key.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "lbd", extend("required" = ["interfaces"]))]
pub struct RawConfig {
    /// Name of this box: in prompts, logs and metrics.
    #[schemars(extend("default" = "lb"))]
    pub hostname: Given<Leaf<NameText>>,
    pub interfaces: Given<RawInterfaces>,
    /// Addresses and ports that full NAT and hairpinned NAT may use as a source.
    #[schemars(extend("default" = []))]
    pub source_nat: Given<Vec<Placed<RawSourceNat>>>,
    pub pair: Given<RawPair>,
    pub limits: Given<RawLimits>,
    pub http: Given<RawHttp>,
    /// Users of the command line by name: who may log in.
    #[schemars(extend("default" = {}, "maxProperties" = l::USERS_MAX))]
    pub users: Given<Named<RawUser>>,
    /// What `enable` asks of users below level 15, as a hash; without it they cannot become administrators.
    pub enable_secret: Given<Leaf<SecretText>>,
    /// Text that is shown before the login. No line may end in `>` or `#`.
    #[schemars(extend("default" = ""))]
    pub banner: Given<Leaf<BannerText>>,
    pub ssh: Given<RawSsh>,
    pub logging: Given<RawLogging>,
    pub snmp: Given<RawSnmp>,
    /// Real servers by name: each is one machine, in any number of pools.
    #[schemars(extend("default" = {}))]
    pub servers: Given<Named<RawServer>>,
    /// Pools by name: the servers that provide one service.
    #[schemars(extend("default" = {}))]
    pub pools: Given<Named<RawPool>>,
    /// Virtual servers by name: what customers connect to.
    #[schemars(extend("default" = {}))]
    pub virtual_servers: Given<Named<RawVirtualServer>>,
}

/// The interfaces that the data plane sits on.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "interfaces", extend("required" = ["ports"]))]
pub struct RawInterfaces {
    /// The bridge that the ports belong to; without it they are single ports.
    pub bridge: Given<Leaf<InterfaceText>>,
    /// Interfaces that face customers and servers.
    #[schemars(extend("minItems" = 1, "maxItems" = l::INTERFACES_MAX, "uniqueItems" = true))]
    pub ports: Given<Vec<Leaf<InterfaceText>>>,
    /// Whether lbd sets the bridge up: makes it, puts the ports into it, gives it MAC and addresses. Wants `bridge` and `mac`.
    #[schemars(extend("default" = false))]
    pub manage: Given<Leaf<YesNo>>,
    /// The box's one fixed MAC address; without it the bridge's or the port's own, as found at start.
    pub mac: Given<Leaf<MacText>>,
    /// This box's own addresses with the length of their network, on a bridge that lbd manages.
    #[schemars(extend("default" = [], "maxItems" = l::OWN_ADDRESSES_MAX))]
    pub addresses: Given<Vec<Leaf<PrefixText>>>,
    /// Spanning tree of the kernel, on a bridge that lbd manages. Without it a bridge that lbd makes has none.
    pub stp: Given<Leaf<YesNo>>,
    /// Ports towards the customers' routers; the pair decides which of them blocks.
    #[schemars(extend("default" = [], "maxItems" = l::UPLINKS_MAX, "uniqueItems" = true))]
    pub uplinks: Given<Vec<Leaf<InterfaceText>>>,
    /// Ports towards the other box of a pair.
    #[schemars(extend("default" = [], "maxItems" = l::CROSS_CONNECT_MAX, "uniqueItems" = true))]
    pub cross_connect: Given<Vec<Leaf<InterfaceText>>>,
    /// Floating inside addresses with the length of their network: the gateway of servers behind NAT.
    #[schemars(extend("default" = [], "maxItems" = l::INSIDE_MAX))]
    pub inside: Given<Vec<Leaf<PrefixText>>>,
    /// How XDP is attached: natively where the driver can and else generically (auto), or only the one or the other.
    #[schemars(extend("default" = "auto"))]
    pub xdp: Given<Leaf<OneOf<XdpMode>>>,
}

/// A source for full NAT.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "source-nat", extend("required" = ["address"]))]
pub struct RawSourceNat {
    /// The address, which the data plane answers for.
    pub address: Given<Leaf<AddressText>>,
    /// Ports that may be used at it.
    #[schemars(extend("default" = "1024-65535"))]
    pub ports: Given<Leaf<PortsText>>,
}

/// The other balancer, and how this box speaks with it. Without it this box is alone.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "pair", extend("required" = ["peer-mac", "key-file", "paths"]))]
pub struct RawPair {
    /// `interfaces.mac` of the other box.
    pub peer_mac: Given<Leaf<MacText>>,
    /// The key that both boxes share; `lbd pair-key` makes one.
    pub key_file: Given<Leaf<FileText>>,
    /// The box with the greater number should own, if both are equally well.
    #[schemars(extend("default" = 100))]
    pub priority: Given<Leaf<Number<{ l::PRIORITY.min }, { l::PRIORITY.max }>>>,
    /// The box of higher priority takes over so long after it became ready; without it the owner stays.
    pub preempt: Given<Leaf<Time<{ l::PREEMPT.min }, { l::PREEMPT.max }>>>,
    /// How often a heartbeat goes out on every path.
    #[schemars(extend("default" = "50ms"))]
    pub heartbeat: Given<Leaf<Time<{ l::HEARTBEAT.min }, { l::HEARTBEAT.max }>>>,
    /// A peer that has been silent for so long is dead; five heartbeats at least.
    #[schemars(extend("default" = "250ms"))]
    pub dead: Given<Leaf<Time<{ l::DEAD.min }, { l::DEAD.max }>>>,
    /// Ways on which heartbeats go, by name.
    #[schemars(extend("minProperties" = 1, "maxProperties" = l::PATHS_MAX))]
    pub paths: Given<Named<RawPath>>,
    /// Ports without which this box does not want to own.
    #[schemars(extend("default" = [], "maxItems" = l::INTERFACES_MAX))]
    pub track: Given<Vec<Leaf<InterfaceText>>>,
    /// Routers of which an owner must reach one, by ARP or neighbour discovery.
    #[schemars(extend("default" = [], "maxItems" = l::GATEWAYS_MAX))]
    pub gateways: Given<Vec<Leaf<AddressText>>>,
    /// A data plane whose daemon is dead keeps the addresses for so long.
    #[schemars(extend("default" = "2s"))]
    pub orphan_after: Given<Leaf<Time<{ l::ORPHAN_AFTER.min }, { l::ORPHAN_AFTER.max }>>>,
    pub fence: Given<RawFence>,
}

/// A way on which heartbeats go: UDP (`local` and `peer`), or a serial line (`device`).
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "path", extend("oneOf" = [{"required": ["local", "peer"]}, {"required": ["device"]}]))]
pub struct RawPath {
    /// UDP: an address of this box.
    pub local: Given<Leaf<AddressText>>,
    /// UDP: an address of the other box.
    pub peer: Given<Leaf<AddressText>>,
    /// UDP: the port, the same at both ends. Default 7946.
    pub port: Given<Leaf<PortText>>,
    /// UDP: the interface to use, whatever the routes say.
    pub interface: Given<Leaf<InterfaceText>>,
    /// Serial: the line.
    pub device: Given<Leaf<FileText>>,
    /// Serial: its speed. Default 115200.
    pub baud: Given<Leaf<Number<0, { u32::MAX }>>>,
}

/// A command that switches the other box off, called before a takeover for which every path was cut.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "fence", extend("required" = ["command"]))]
pub struct RawFence {
    /// Program and arguments; exit status 0 says that the other box is off.
    #[schemars(extend("minItems" = 1, "maxItems" = l::COMMAND_WORDS_MAX))]
    pub command: Given<Vec<Leaf<ArgumentText>>>,
    /// It is killed after this.
    #[schemars(extend("default" = "5s"))]
    pub timeout: Given<Leaf<Time<{ l::FENCE_TIMEOUT.min }, { l::FENCE_TIMEOUT.max }>>>,
}

/// Sizes of the kernel's tables, fixed when the data plane is first loaded.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "limits")]
pub struct RawLimits {
    /// Established connections.
    #[schemars(extend("default" = 262144))]
    pub connections: Given<Leaf<Number<{ l::CONNECTIONS.min }, { l::CONNECTIONS.max }>>>,
    /// Connections in a handshake.
    #[schemars(extend("default" = 65536))]
    pub embryonic: Given<Leaf<Number<{ l::EMBRYONIC.min }, { l::EMBRYONIC.max }>>>,
    /// Clients bound to a server by persistence.
    #[schemars(extend("default" = 65536))]
    pub persistence: Given<Leaf<Number<{ l::PERSISTENCE.min }, { l::PERSISTENCE.max }>>>,
    /// Fragmented datagrams on the way at once.
    #[schemars(extend("default" = 8192))]
    pub fragments: Given<Leaf<Number<{ l::FRAGMENTS.min }, { l::FRAGMENTS.max }>>>,
}

/// The HTTP listener: metrics, health, state.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "http")]
pub struct RawHttp {
    /// An address and port, or several. Loopback speaks plain HTTP; every other address wants `tls` and `allow`. Port 0 is
    /// any free one.
    #[schemars(extend("default" = "127.0.0.1:8080"))]
    pub listen: Given<Several<ListenText>>,
    pub tls: Given<RawHttpTls>,
    /// Networks that may connect to addresses that are not loopback, for anything: `/metrics` and the page too.
    #[schemars(extend("default" = [], "maxItems" = l::HTTP_ALLOW_MAX))]
    pub allow: Given<Vec<Leaf<PrefixText>>>,
    /// Also on loopback every request but `/healthz` wants a token or a login.
    #[schemars(extend("default" = false))]
    pub require_token: Given<Leaf<YesNo>>,
    /// Tokens of programs, by name.
    #[schemars(extend("default" = {}, "maxProperties" = l::TOKENS_MAX))]
    pub tokens: Given<Named<RawToken>>,
}

/// What TLS of the HTTP listener needs. Files that change are read again.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "http-tls", extend("required" = ["certificate", "key"]))]
pub struct RawHttpTls {
    /// File of the certificate, PEM, with those between it and its root behind it.
    pub certificate: Given<Leaf<FileText>>,
    /// File of its private key, PEM.
    pub key: Given<Leaf<FileText>>,
}

/// A token of a program. `lbd token NAME` makes one.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "token", extend("required" = ["hash"]))]
pub struct RawToken {
    /// SHA-256 of the token.
    pub hash: Given<Leaf<TokenHashText>>,
    /// Level of privilege: 0 reads the metrics, 1 looks, 7 orders about servers and the pair, 15 does everything.
    #[schemars(extend("default" = 1))]
    pub level: Given<Leaf<Number<{ l::TOKEN_LEVEL.min }, { l::TOKEN_LEVEL.max }>>>,
    /// The last day on which it is good, in UTC; without it, it does not end.
    pub expires: Given<Leaf<DateText>>,
    /// Networks from which it is good; without any, all.
    #[schemars(extend("default" = [], "maxItems" = l::HTTP_ALLOW_MAX))]
    pub from: Given<Vec<Leaf<PrefixText>>>,
}

/// Somebody who may log in. Without `secret` and `ssh-keys` nobody can as this user.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "user")]
pub struct RawUser {
    /// Level of privilege: 15 may do everything, the others may look.
    #[schemars(extend("default" = 1))]
    pub level: Given<Leaf<Number<{ l::LEVEL.min }, { l::LEVEL.max }>>>,
    /// Hash of the password: argon2id (`lbd secret` makes one) or SHA-512 of crypt(3) (`openssl passwd -6`).
    pub secret: Given<Leaf<SecretText>>,
    /// Public keys, each as the line of its .pub file. Ed25519 and ECDSA.
    #[schemars(extend("default" = [], "maxItems" = l::SSH_KEYS_MAX))]
    pub ssh_keys: Given<Vec<Leaf<SshKeyText>>>,
}

/// The SSH listener of the command line. It is open where there is at least one user.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "ssh")]
pub struct RawSsh {
    /// Whether there is a listener.
    #[schemars(extend("default" = true))]
    pub enabled: Given<Leaf<YesNo>>,
    /// Addresses and ports; `[::]:22` is port 22 at every address, of IPv4 too.
    #[schemars(extend("default" = ["[::]:22"], "minItems" = 1, "maxItems" = l::SSH_LISTEN_MAX))]
    pub listen: Given<Vec<Leaf<ListenText>>>,
    /// From the connection to the login.
    #[schemars(extend("default" = "60s"))]
    pub grace: Given<Leaf<Time<{ l::SSH_GRACE.min }, { l::SSH_GRACE.max }>>>,
    /// Wrong passwords of one connection, after which it is closed.
    #[schemars(extend("default" = 4))]
    pub attempts: Given<Leaf<Number<{ l::SSH_ATTEMPTS.min }, { l::SSH_ATTEMPTS.max }>>>,
    /// A session in which nothing is typed for so long ends; 0s is never.
    #[schemars(extend("default" = "10m"))]
    pub idle: Given<Leaf<Time<{ l::SSH_IDLE.min }, { l::SSH_IDLE.max }>>>,
    /// Networks that may connect; without any, all may.
    #[schemars(extend("default" = [], "maxItems" = l::SSH_ACCESS_MAX))]
    pub access: Given<Vec<Leaf<PrefixText>>>,
    /// Who may be logged in at once; the last place is kept for a user of level 15.
    #[schemars(extend("default" = 16))]
    pub sessions: Given<Leaf<Number<{ l::SSH_SESSIONS.min }, { l::SSH_SESSIONS.max }>>>,
}

/// Where the log goes besides this box.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "logging")]
pub struct RawLogging {
    /// An address of this box that the log comes from, for servers of its family; without it as the routes have it.
    pub source: Given<Leaf<AddressText>>,
    /// Syslog servers.
    #[schemars(extend("default" = [], "maxItems" = l::LOG_SERVERS_MAX))]
    pub servers: Given<Vec<Placed<RawLogServer>>>,
}

/// A syslog server, which gets RFC 5424.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "log-server", extend("required" = ["address"]))]
pub struct RawLogServer {
    /// Its address.
    pub address: Given<Leaf<AddressText>>,
    /// A datagram for each message (udp), a connection with counted octets (tcp), or that in TLS (tls).
    #[schemars(extend("default" = "udp"))]
    pub transport: Given<Leaf<OneOf<LogTransport>>>,
    /// Its port. Default 514 for udp, 601 for tcp, 6514 for tls.
    pub port: Given<Leaf<PortText>>,
    /// What kind of program this box passes for.
    #[schemars(extend("default" = "local7"))]
    pub facility: Given<Leaf<OneOf<Facility>>>,
    /// Messages as bad as this, or worse.
    #[schemars(extend("default" = "info"))]
    pub severity: Given<Leaf<OneOf<LogSeverity>>>,
    /// TLS: file of the certificates that the server's chain must lead to.
    pub ca_file: Given<Leaf<FileText>>,
    /// TLS: the name that the certificate must have; without it the address.
    pub name: Given<Leaf<LineText>>,
}

/// The system's SNMP agent, which is given this box's objects.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "snmp", extend("required" = ["agentx"]))]
pub struct RawSnmp {
    /// Where the agent waits for subagents: the path of a socket, or tcp:ADDRESS:PORT.
    pub agentx: Given<Leaf<AgentText>>,
}

/// A real server. It has `address`, `address6`, or both.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "server", extend("anyOf" = [{"required": ["address"]}, {"required": ["address6"]}]))]
pub struct RawServer {
    /// IPv4 address.
    pub address: Given<Leaf<Address4Text>>,
    /// IPv6 address.
    pub address6: Given<Leaf<Address6Text>>,
    /// Share of new connections; a member of a pool may have its own.
    #[schemars(extend("default" = 1))]
    pub weight: Given<Leaf<Weight>>,
    /// Most established connections at once, over all its pools; 0 is no limit.
    #[schemars(extend("default" = 0))]
    pub max_connections: Given<Leaf<Number<{ l::MAX_CONNECTIONS.min }, { l::MAX_CONNECTIONS.max }>>>,
    pub link: Given<RawLink>,
}

/// Where the server is on the wire, instead of what the kernel's tables say: for a segment on which
/// this box has no address of its own.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "link", extend("required" = ["mac", "port"]))]
pub struct RawLink {
    /// The server's MAC address.
    pub mac: Given<Leaf<MacText>>,
    /// One of `interfaces.ports`.
    pub port: Given<Leaf<InterfaceText>>,
    /// 802.1Q identifier; without it frames are untagged.
    pub vlan: Given<Leaf<Number<{ l::VLAN.min }, { l::VLAN.max }>>>,
}

/// The servers that provide one service.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "pool")]
pub struct RawPool {
    /// The kind of service: brings port, probe, scheduler, persistence and timeouts, each of which can be said here
    /// or in the service instead.
    pub profile: Given<Leaf<OneOf<Profile>>>,
    /// Names of servers, or maps where a server differs here from what it is elsewhere.
    #[schemars(extend("default" = []))]
    pub members: Given<Vec<RawMember>>,
    /// The servers' port; without it the same as the service's, as it must be in DSR mode and behind a range.
    pub port: Given<Leaf<PortText>>,
    /// How new connections are spread: by consistent hashing of client address and port (maglev), in turn
    /// (round-robin), to the least busy (least-connections), by hashing of the client's address alone (source-hash).
    /// Default: the profile's, else maglev.
    pub scheduler: Given<Leaf<OneOf<Scheduler>>>,
    /// A server that comes back grows from a tenth of its weight to all of it over this time, 0s to 1h; 0s is off.
    #[schemars(extend("default" = "30s"))]
    pub slow_start: Given<Leaf<Time<{ l::SLOW_START.min }, { l::SLOW_START.max }>>>,
    pub check: Given<RawCheck>,
    /// Fewer members up than this (backups not counted) is too few.
    #[schemars(extend("default" = 0))]
    pub min_up: Given<Leaf<Number<{ l::MIN_UP.min }, { l::MIN_UP.max }>>>,
    /// What is done about too few: backups join in (backup), those that were up last go on although their probes
    /// fail (hold), or new connections are refused (refuse).
    #[schemars(extend("default" = "backup"))]
    pub below_min: Given<Leaf<OneOf<BelowMin>>>,
    /// A pool whose members are backups of this one.
    pub backup_pool: Given<Leaf<NameText>>,
    /// What becomes of a failed server's connections: TCP connections are reset and UDP flows get another server
    /// (reset), or they hang until the server comes back or they time out (keep).
    #[schemars(extend("default" = "reset"))]
    pub on_failure: Given<Leaf<OneOf<OnFailure>>>,
    pub migrate: Given<RawMigrate>,
}

/// Sends some clients to another pool: a staged move.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "migrate", extend("required" = ["to"]))]
pub struct RawMigrate {
    /// Name of the pool; it has no server in common with this one.
    pub to: Given<Leaf<NameText>>,
    /// So many of the new clients, 0% to 100%, with at most two decimals.
    #[schemars(extend("default" = "0%"))]
    pub share: Given<Leaf<PercentText>>,
    /// And all clients of these networks.
    #[schemars(extend("default" = []))]
    pub clients: Given<Vec<Leaf<PrefixText>>>,
}

/// A member that differs in this pool from what its server is elsewhere.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "member", extend("required" = ["server"]))]
pub struct RawMemberMap {
    /// Name of the server.
    pub server: Given<Leaf<NameText>>,
    /// Port instead of the pool's.
    pub port: Given<Leaf<PortText>>,
    /// Weight instead of the server's.
    pub weight: Given<Leaf<Weight>>,
    /// Takes new connections only while no other member can.
    #[schemars(extend("default" = false))]
    pub backup: Given<Leaf<YesNo>>,
}

/// A member as it is written: a name alone, or a map.
pub struct RawMember {
    /// Where it begins; of a name, the name itself.
    pub place: Spanned<()>,
    pub member: RawMemberMap,
}

impl<'de> Deserialize<'de> for RawMember {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not `untagged`, which would lose the places of what is inside.
        enum Either {
            Name(String),
            Map(Box<RawMemberMap>),
        }

        struct NameOrMap;

        impl<'de> Visitor<'de> for NameOrMap {
            type Value = Either;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("the name of a server, or {server: NAME, …}")
            }

            fn visit_str<E>(self, name: &str) -> Result<Either, E> {
                Ok(Either::Name(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Either, A::Error> {
                RawMemberMap::deserialize(MapAccessDeserializer::new(map)).map(|map| Either::Map(Box::new(map)))
            }
        }

        struct Text(Either);

        impl<'de> Deserialize<'de> for Text {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(NameOrMap).map(Self)
            }
        }

        let Spanned { value: Text(either), referenced, defined } = Spanned::deserialize(deserializer)?;
        let member = match either {
            Either::Map(map) => *map,
            Either::Name(name) => {
                let server = Given(Some(Leaf::new(Spanned::new(name, referenced, defined))));
                RawMemberMap { server, ..RawMemberMap::default() }
            }
        };
        Ok(Self { place: Spanned::new((), referenced, defined), member })
    }
}

impl JsonSchema for RawMember {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "member-or-name".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let name = generator.subschema_for::<Leaf<NameText>>();
        let map = generator.subschema_for::<RawMemberMap>();
        schemars::json_schema!({ "anyOf": [name, map] })
    }
}

/// The probe of a pool's members.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "check")]
pub struct RawCheck {
    /// What is asked: docs/health.md has all of them. Without a profile the default is auto: a TCP connection (tcp)
    /// where the check names a port or a TCP service has one, else nothing (none). With a profile it is the profile's.
    #[serde(rename = "type")]
    pub kind: Given<Leaf<OneOf<CheckWord>>>,
    /// Port to probe instead of the member's own.
    pub port: Given<Leaf<PortText>>,
    /// Where the probes of DSR services go: to each virtual address, at the server's MAC address (auto), or to the
    /// server's own address (server).
    #[schemars(extend("default" = "auto"))]
    pub target: Given<Leaf<OneOf<Aim>>>,
    /// Time from one probe to the next, 100ms to 1h.
    #[schemars(extend("default" = "2s"))]
    pub interval: Given<Leaf<Time<{ l::CHECK_INTERVAL.min }, { l::CHECK_INTERVAL.max }>>>,
    /// Time for a server to answer, 10ms to the interval. Default: 1s, or the interval where that is shorter.
    pub timeout: Given<Leaf<Time<{ l::CHECK_TIMEOUT.min }, { l::CHECK_TIMEOUT.max }>>>,
    /// Time from a result that puts a server in doubt to the next probe, 20ms to the interval. Default: a quarter of
    /// the interval.
    pub fast_interval: Given<Leaf<Time<{ l::CHECK_FAST_INTERVAL.min }, { l::CHECK_FAST_INTERVAL.max }>>>,
    /// An answer that took longer is a failure, 1ms to the timeout. Without it only the timeout counts.
    pub slow: Given<Leaf<Time<{ l::CHECK_SLOW.min }, { l::CHECK_SLOW.max }>>>,
    /// A server that has gone down three times in five minutes is held down until it has answered for so long
    /// without a failure, and twice as long at the next failure; 0s to 1h, 0s is off.
    #[schemars(extend("default" = "30s"))]
    pub flap_hold: Given<Leaf<Time<{ l::FLAP_HOLD.min }, { l::FLAP_HOLD.max }>>>,
    /// Successes in a row until a server counts as up.
    #[schemars(extend("default" = 2))]
    pub rise: Given<Leaf<Count>>,
    /// Failures in a row until a server counts as down.
    #[schemars(extend("default" = 3))]
    pub fall: Given<Leaf<Count>>,
    /// TLS from the first byte (always), by STARTTLS, STLS or AUTH TLS (starttls), or not at all (none).
    /// For smtp, pop3, imap, ftp, http and ldap; the last two have no starttls.
    pub tls: Given<Leaf<OneOf<TlsWord>>>,
    /// Name that is sent as SNI, and that the certificate must have. With TLS.
    pub tls_name: Given<Leaf<LineText>>,
    /// File of PEM certificates that the server's must lead to; without it the chain is not verified. With TLS.
    pub tls_ca_file: Given<Leaf<FileText>>,
    /// The probe fails when the certificate ends in fewer days. With TLS.
    pub min_days: Given<Leaf<Number<{ l::MIN_DAYS.min }, { l::MIN_DAYS.max }>>>,
    /// Name of the probe's account; of ldap, its distinguished name. For smtp, pop3, imap, ftp, radius, ldap, mysql.
    pub user: Given<Leaf<LineText>>,
    /// File whose first line is the account's password.
    pub password_file: Given<Leaf<FileText>>,
    /// File whose first line is the secret shared with the server. For radius, which needs it.
    pub secret_file: Given<Leaf<FileText>>,
    /// Name in EHLO. For smtp; default lbd-probe.invalid.
    pub helo: Given<Leaf<LineText>>,
    /// Address that MAIL FROM is tried with; empty is the null sender. For smtp.
    pub sender: Given<Leaf<LineText>>,
    /// Address that RCPT TO is tried with; nothing is sent. For smtp, with sender.
    pub recipient: Given<Leaf<LineText>>,
    /// Mailbox that is opened after the login, read-only. For imap; default INBOX.
    pub mailbox: Given<Leaf<LineText>>,
    /// Method of the request. For http; default GET.
    pub method: Given<Leaf<LineText>>,
    /// Host field of the request. For http; default the address that is probed.
    pub host: Given<Leaf<LineText>>,
    /// What is requested. For http; default /.
    pub path: Given<Leaf<LineText>>,
    /// Accepted status codes and ranges of them. For http; default [200-399].
    #[schemars(extend("minItems" = 1))]
    pub status: Given<Vec<Leaf<StatusText>>>,
    /// Regular expression that must match in the first 64 KiB of the body. For http.
    pub body: Given<Leaf<LineText>>,
    /// Name that is asked for. For dns; default the root.
    pub query: Given<Leaf<LineText>>,
    /// Type of record that is asked for. For dns; default SOA.
    pub record: Given<Leaf<RecordText>>,
    /// Response code that must come. For dns; default any but SERVFAIL and REFUSED.
    pub rcode: Given<Leaf<RcodeText>>,
    /// Data that one of the records must have, as in a zone file. For dns.
    pub answer: Given<Leaf<LineText>>,
    /// How DNS is asked, udp or tcp. For dns; default udp.
    pub transport: Given<Leaf<OneOf<TransportWord>>>,
    /// Absolute path and arguments of a command in the convention of Nagios plugins; {address}, {port} and {server}
    /// are replaced. For script, which needs it.
    #[schemars(extend("minItems" = 1))]
    pub command: Given<Vec<Leaf<ArgumentText>>>,
}

/// What customers connect to: addresses, and the services behind them.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "virtual-server", extend("required" = ["addresses"]))]
pub struct RawVirtualServer {
    /// Virtual IP addresses, IPv4 and IPv6; each serves all of the services.
    #[schemars(extend("minItems" = 1))]
    pub addresses: Given<Vec<Leaf<AddressText>>>,
    /// Services by name.
    #[schemars(extend("default" = {}))]
    pub services: Given<Named<RawService>>,
}

/// One port, or a range, and the pool behind it.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "service", extend("required" = ["pool", "mode"]))]
pub struct RawService {
    #[schemars(description = "Transport protocol. Default: the profile's, else tcp.")]
    pub protocol: Given<Leaf<OneOf<Protocol>>>,
    /// A number, the name of a service, or a range `first-last`. Default: that of the pool's profile.
    pub port: Given<Leaf<PortsText>>,
    /// Name of the pool that serves it.
    pub pool: Given<Leaf<NameText>>,
    /// How packets reach the servers: MAC rewritten, with the virtual IP on the servers' loopback (dsr); destination
    /// rewritten, with this box as the servers' gateway (nat); source rewritten too, from source-nat (full-nat).
    pub mode: Given<Leaf<OneOf<Mode>>>,
    pub persistence: Given<RawPersistence>,
    pub timeouts: Given<RawTimeouts>,
    pub udp: Given<RawUdp>,
    /// FTP: the range of ports at which the servers await passive data connections. Default: the profile's.
    pub passive: Given<Leaf<PortsText>>,
}

/// A client stays with its server. Without this key it does as the profile says, or not; with `{}` it does.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "persistence")]
pub struct RawPersistence {
    /// Whether it does: false where a profile's persistence is not wanted.
    #[schemars(extend("default" = true))]
    pub enabled: Given<Leaf<YesNo>>,
    /// How long after the client's last new connection, 1s to 24h.
    #[schemars(extend("default" = "5m"))]
    pub timeout: Given<Leaf<FlowTime>>,
    /// IPv4 clients that share this many bits of their address count as one.
    #[schemars(extend("default" = 32))]
    pub prefix4: Given<Leaf<Number<{ l::PREFIX4.min }, { l::PREFIX4.max }>>>,
    /// IPv6 clients that share this many bits of their address count as one.
    #[schemars(extend("default" = 64))]
    pub prefix6: Given<Leaf<Number<{ l::PREFIX6.min }, { l::PREFIX6.max }>>>,
    /// Services of one group, of any virtual server, send a client to the same server.
    pub group: Given<Leaf<NameText>>,
}

/// Idle times after which a flow is forgotten, by its state; 1s to 24h each.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "timeouts")]
pub struct RawTimeouts {
    /// TCP: the handshake is not complete.
    #[schemars(extend("default" = "10s"))]
    pub embryonic: Given<Leaf<FlowTime>>,
    /// TCP in DSR mode: acknowledged, but without sustained progress.
    #[schemars(extend("default" = "60s"))]
    pub unproven: Given<Leaf<FlowTime>>,
    /// TCP: established.
    #[schemars(extend("default" = "40m"))]
    pub established: Given<Leaf<FlowTime>>,
    /// TCP: one side has sent FIN.
    #[schemars(extend("default" = "2m"))]
    pub closing: Given<Leaf<FlowTime>>,
    /// TCP: both sides have sent FIN, or one has sent RST.
    #[schemars(extend("default" = "5s"))]
    pub closed: Given<Leaf<FlowTime>>,
    /// UDP.
    #[schemars(extend("default" = "60s"))]
    pub udp: Given<Leaf<FlowTime>>,
}

/// How long datagrams of one client port go to one server.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "udp")]
pub struct RawUdp {
    /// Until the flow is idle for timeouts.udp (idle); besides, no longer than max-age (max-age); or every datagram
    /// is scheduled anew (per-packet).
    #[schemars(extend("default" = "idle"))]
    pub life: Given<Leaf<OneOf<UdpLifeKind>>>,
    /// Longest life of a flow, 1s to 24h; only with `life: max-age`, which needs it.
    pub max_age: Given<Leaf<FlowTime>>,
}
