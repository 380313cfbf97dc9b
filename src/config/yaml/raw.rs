//! The structure of the file, and nothing else: what may stand where. The
//! JSON Schema comes from these structs, so their comments are for operators.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_yaml::Spanned;

use super::choice::{CheckWord, UdpLifeKind};
use super::leaf::{Given, Leaf, Named, Placed};
use super::notation::{
    Address4Text, Address6Text, AddressText, InterfaceText, ListenText, MacText, NameText, Number, OneOf, PortText,
    PortsText, PrefixText, Time, YesNo,
};
use crate::config::{Mode, OnFailure, Protocol, Scheduler, XdpMode, limits as l};

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
    pub limits: Given<RawLimits>,
    pub http: Given<RawHttp>,
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
    /// The box's one fixed MAC address; without it the bridge's or the port's own, as found at start.
    pub mac: Given<Leaf<MacText>>,
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
    /// Loopback address and port, until the listener has authentication; port 0 is any free one.
    #[schemars(extend("default" = "127.0.0.1:8080"))]
    pub listen: Given<Leaf<ListenText>>,
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
    /// Names of servers, or maps where a server differs here from what it is elsewhere.
    #[schemars(extend("default" = []))]
    pub members: Given<Vec<RawMember>>,
    /// The servers' port; without it the same as the service's, as it must be in DSR mode and behind a range.
    pub port: Given<Leaf<PortText>>,
    /// How new connections are spread: by consistent hashing of client address and port (maglev), in turn
    /// (round-robin), to the least busy (least-connections), by hashing of the client's address alone (source-hash).
    #[schemars(extend("default" = "maglev"))]
    pub scheduler: Given<Leaf<OneOf<Scheduler>>>,
    /// A server that comes back grows from a tenth of its weight to all of it over this time, 0s to 1h; 0s is off.
    #[schemars(extend("default" = "30s"))]
    pub slow_start: Given<Leaf<Time<{ l::SLOW_START.min }, { l::SLOW_START.max }>>>,
    pub check: Given<RawCheck>,
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
    /// Opens a TCP connection (tcp); does not probe, so that a server is up as long as its MAC is known (none);
    /// or tcp for TCP services with one port, and none for UDP and ranges (auto).
    #[serde(rename = "type")]
    #[schemars(extend("default" = "auto"))]
    pub kind: Given<Leaf<OneOf<CheckWord>>>,
    /// Port to probe instead of the member's own.
    pub port: Given<Leaf<PortText>>,
    /// Time from one probe to the next, 100ms to 1h.
    #[schemars(extend("default" = "2s"))]
    pub interval: Given<Leaf<Time<{ l::CHECK_INTERVAL.min }, { l::CHECK_INTERVAL.max }>>>,
    /// Time for a server to answer, 10ms to the interval. Default: 1s, or the interval where that is shorter.
    pub timeout: Given<Leaf<Time<{ l::CHECK_TIMEOUT.min }, { l::CHECK_TIMEOUT.max }>>>,
    /// Successes in a row until a server counts as up.
    #[schemars(extend("default" = 2))]
    pub rise: Given<Leaf<Count>>,
    /// Failures in a row until a server counts as down.
    #[schemars(extend("default" = 3))]
    pub fall: Given<Leaf<Count>>,
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
#[schemars(rename = "service", extend("required" = ["port", "pool", "mode"]))]
pub struct RawService {
    #[schemars(description = "Transport protocol.", extend("default" = "tcp"))]
    pub protocol: Given<Leaf<OneOf<Protocol>>>,
    /// A number, the name of a service, or a range `first-last`.
    pub port: Given<Leaf<PortsText>>,
    /// Name of the pool that serves it.
    pub pool: Given<Leaf<NameText>>,
    /// How packets reach the servers: MAC rewritten, with the virtual IP on the servers' loopback (dsr); destination
    /// rewritten, with this box as the servers' gateway (nat); source rewritten too, from source-nat (full-nat).
    pub mode: Given<Leaf<OneOf<Mode>>>,
    pub persistence: Given<RawPersistence>,
    pub timeouts: Given<RawTimeouts>,
    pub udp: Given<RawUdp>,
    /// What becomes of a failed server's connections: TCP clients get a reset and UDP flows another server (reset),
    /// or they hang until the server comes back or they time out (keep).
    #[schemars(extend("default" = "reset"))]
    pub on_failure: Given<Leaf<OneOf<OnFailure>>>,
}

/// A client stays with its server. Without this key it does not; with `{}` it does, by the defaults.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "persistence")]
pub struct RawPersistence {
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
