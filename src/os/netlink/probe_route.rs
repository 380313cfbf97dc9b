//! The way of probes that must reach one server behind a virtual IP: rule, routes and an interface of their own.
//!
//! ```text
//!   socket with SO_MARK 0x4c……
//!     │ rule 76: fwmark 0x4c000000/0xff000000 lookup 0x4c000000
//!     │ table:   default dev lbd-probe src … hoplimit 1
//!     │          prohibit default metric 4294967295
//!   lbd-probe, egress: bpf/probe.h: MACs and VLAN by the mark, out of the server's port
//! ```
//!
//! - An interface of our own (one end of a veth pair whose other end nobody listens to) and not the bridge or a
//!   port: a route dies with its interface, and here none of the site's can take the probes of all servers along;
//!   nothing of the operator's is touched; and to remove it is to remove route and filter. It has NOARP, so that
//!   the kernel asks nobody for the VIP's MAC.
//! - Hop limit 1: a server that lacks the VIP and routes would send the probe on, to the VIP's owner, whose answer
//!   is a healthy server's. So it answers "time exceeded" instead, and that tells.
//! - The second route: when the first is missing, a probe must fail (EACCES) and not take another table's way.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::requests::{Requests, family, way};
use crate::core::forwarding::Family;
use crate::core::marks::{PROBE_MARK, PROBE_MARK_MASK};
use crate::core::network::IfIndex;
use crate::os::OsError;

/// The interface, and the other end of its cable.
pub const PROBE_LINK: &str = "lbd-probe";
const PROBE_LINK_END: &str = "lbd-probe-end";
/// What `ip link` tells whoever wonders.
const ALIAS: &str = "lbd: probes of servers behind a virtual IP (docs/health.md)";
/// The routing table: the mark's own number, which nobody takes by chance. (0 to 255 are the kernel's and
/// iproute2's; 52 is Tailscale's, 220 strongSwan's, 51820 wg-quick's.)
pub const PROBE_TABLE: u32 = PROBE_MARK;
/// Before all that others are known to use for ways of their own (strongSwan 220, VRF 1000, Tailscale 5210,
/// wg-quick and systemd-networkd 32764): it concerns marked packets alone. The kernel's own, 0, finds this box's
/// addresses.
pub const PROBE_RULE_PRIORITY: u32 = 76;
/// Who has made rule and routes (`proto 76`); not in iproute2's rt_protos.
const PROTOCOL: u8 = 76;
/// Of the route that refuses: behind any other.
const LAST: u32 = u32::MAX;

/// The way to an address as the kernel would send, unmarked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub link: IfIndex,
    /// The own address that it would send from.
    pub source: Option<IpAddr>,
}

/// Why probes of a VIP cannot tell the truth on this box: not the servers' fault, and theirs it would seem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeObstacle {
    /// The VIP is an address of this box.
    OwnAddress { vip: IpAddr },
    /// Another rule, or none of ours, decides where marked packets go.
    OtherWay { vip: IpAddr },
    /// The kernel would drop the servers' answers.
    ReversePath { vip: IpAddr, link: String },
    /// As above, and any check does, because nothing says where the VIP is.
    NoWayBack { vip: IpAddr, link: String },
}

impl fmt::Display for ProbeObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnAddress { vip } => write!(
                f,
                "{vip} is an address of this box, so that probes of its servers (dsr) come here instead: remove it \
                 from the interface (`ip addr show to {vip}`); lbd answers for it without"
            ),
            Self::OtherWay { vip } => write!(
                f,
                "probes of {vip} (dsr) do not leave by {PROBE_LINK}: a rule before priority {PROBE_RULE_PRIORITY} \
                 catches them, or that one is gone (`ip rule`, `ip -6 rule`)"
            ),
            Self::ReversePath { vip, link } => write!(
                f,
                "the kernel drops the answers of servers to probes of {vip} (dsr): they come in by {link}, the route \
                 to {vip} leaves by another interface, and rp_filter is strict. Set net.ipv4.conf.{link}.rp_filter=2"
            ),
            Self::NoWayBack { vip, link } => write!(
                f,
                "the kernel drops the answers of servers to probes of {vip} (dsr): rp_filter is on, and there is no \
                 route to {vip}. Set net.ipv4.conf.all.rp_filter and net.ipv4.conf.{link}.rp_filter to 0, or give \
                 this box a default route"
            ),
        }
    }
}

/// Makes and removes it. Needs CAP_NET_ADMIN.
#[derive(Clone, Debug)]
pub struct ProbeRoute {
    requests: Requests,
}

impl ProbeRoute {
    /// Opens a connection in the current thread's network namespace, on the current tokio runtime.
    pub fn open() -> Result<Self, OsError> {
        Ok(Self { requests: Requests::open()? })
    }

    /// Has interface, rule and routes be there for these families, and for no other; the interface's index, for
    /// `DataPlane::attach_probe`. The address is where probes come from that are not bound to one.
    ///
    /// What is there stays as it is, so that this may be repeated to repair what somebody has removed.
    pub async fn ensure(&self, sources: &BTreeMap<Family, Option<IpAddr>>) -> Result<IfIndex, OsError> {
        let link = match self.link(PROBE_LINK).await? {
            Some(link) => link,
            None => self.make_link().await?,
        };
        for (name, index) in [(PROBE_LINK, Some(link)), (PROBE_LINK_END, self.link(PROBE_LINK_END).await?)] {
            let Some(index) = index else { continue };
            quiet(name)?;
            self.set_up(index).await?;
        }
        for family in [Family::V4, Family::V6] {
            match sources.get(&family) {
                Some(source) => {
                    // The route that refuses comes first: the rule never leads to an empty table.
                    self.add_route(refusal(family)).await?;
                    self.add_route(way_out(family, link, *source)).await?;
                    self.add_rule(family).await?;
                }
                None => self.remove_family(family).await?,
            }
        }
        Ok(link)
    }

    /// Removes all of it; what is not there is as good as removed. No probe must be under way: once the rule is
    /// gone, its packets would take another table's way.
    pub async fn remove(&self) -> Result<(), OsError> {
        if let Some(index) = self.link(PROBE_LINK).await? {
            let mut link = LinkMessage::default();
            link.header.index = index;
            let what = format!("removing {PROBE_LINK}");
            let removed = self.requests.ask(&what, RouteNetlinkMessage::DelLink(link), NLM_F_ACK, |_| {}).await;
            match removed {
                Err(OsError::InterfaceGone { .. }) => {}
                other => other?,
            }
        }
        for family in [Family::V4, Family::V6] {
            self.remove_family(family).await?;
        }
        Ok(())
    }

    /// How the kernel would reach an address; `None`: not at all, or it is this box's own.
    pub async fn way_to(&self, address: IpAddr) -> Result<Option<Way>, OsError> {
        Ok(self.look_up(address, None).await?.filter(|route| route.header.kind == RouteType::Unicast).and_then(
            |route| {
                let source = route.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::PrefSource(source) => way::address(source),
                    _ => None,
                });
                Some(Way { link: way::link(&route)?, source })
            },
        ))
    }

    /// What keeps probes of a VIP from telling the truth, as of now; `servers` is the interface by which answers
    /// come in (that of the bridge, where there is one: `Way::link` of a server's own address).
    pub async fn obstacle(&self, vip: IpAddr, servers: (IfIndex, &str)) -> Result<Option<ProbeObstacle>, OsError> {
        let (link, name) = servers;
        let ours = self.link(PROBE_LINK).await?;
        match self.look_up(vip, Some(PROBE_MARK | 1)).await? {
            Some(route) if route.header.kind == RouteType::Local => {
                return Ok(Some(ProbeObstacle::OwnAddress { vip }));
            }
            Some(route) if ours.is_some() && way::link(&route) == ours => {}
            _ => return Ok(Some(ProbeObstacle::OtherWay { vip })),
        }
        // IPv6 has no such filter in its routing.
        if vip.is_ipv6() {
            return Ok(None);
        }
        // The kernel takes the stricter of both (ip-sysctl.rst). It looks the way back up without a mark: the mark
        // of an answer is 0, whatever src_valid_mark says.
        let check = rp_filter("all")?.max(rp_filter(name)?);
        if check == 0 {
            return Ok(None);
        }
        let link_name = name.to_owned();
        Ok(match self.look_up(vip, None).await?.as_ref().and_then(way::link) {
            None => Some(ProbeObstacle::NoWayBack { vip, link: link_name }),
            Some(back) if check == 1 && back != link => Some(ProbeObstacle::ReversePath { vip, link: link_name }),
            Some(_) => None,
        })
    }

    /// The answer to RTM_GETROUTE; `None`: the kernel refuses to send there.
    async fn look_up(&self, address: IpAddr, mark: Option<u32>) -> Result<Option<RouteMessage>, OsError> {
        let mut question = RouteMessage::default();
        (question.header.address_family, question.header.destination_prefix_length) = family(address);
        question.attributes.push(RouteAttribute::Destination(address.into()));
        question.attributes.extend(mark.map(RouteAttribute::Mark));
        let mut found = None;
        let asked = self
            .requests
            .ask("looking up a route", RouteNetlinkMessage::GetRoute(question), 0, |answer| {
                if let RouteNetlinkMessage::NewRoute(route) = answer {
                    found = Some(route);
                }
            })
            .await;
        match asked {
            Ok(()) => Ok(found),
            Err(OsError::Io { source, .. }) if way::is_none(&source) => Ok(None),
            // What `prohibit` is answered by.
            Err(OsError::Privilege { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An interface of ours by name; an error if somebody else's has the name.
    async fn link(&self, name: &'static str) -> Result<Option<IfIndex>, OsError> {
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let mut found = None;
        let asked = self
            .requests
            .ask(&format!("looking for {name}"), RouteNetlinkMessage::GetLink(question), 0, |answer| {
                if let RouteNetlinkMessage::NewLink(link) = answer {
                    found = Some(link);
                }
            })
            .await;
        match asked {
            Ok(()) => {}
            Err(OsError::InterfaceGone { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        let Some(link) = found else { return Ok(None) };
        let is_veth = link.attributes.iter().any(
            |attribute| matches!(attribute, LinkAttribute::LinkInfo(info) if info.contains(&LinkInfo::Kind(InfoKind::Veth))),
        );
        if is_veth { Ok(Some(link.header.index)) } else { Err(OsError::NameTaken { name }) }
    }

    async fn make_link(&self) -> Result<IfIndex, OsError> {
        let mut end = LinkMessage::default();
        end.attributes.push(LinkAttribute::IfName(PROBE_LINK_END.to_owned()));
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(PROBE_LINK.to_owned()));
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(end))),
        ]));
        let what = format!("making the interface {PROBE_LINK} (a kernel with CONFIG_VETH, `modprobe veth`)");
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.requests.ask(&what, RouteNetlinkMessage::NewLink(link), flags, |_| {}).await?;
        self.link(PROBE_LINK).await?.ok_or(OsError::InterfaceGone { what })
    }

    async fn set_up(&self, index: IfIndex) -> Result<(), OsError> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up | LinkFlags::Noarp;
        link.header.change_mask = LinkFlags::Up | LinkFlags::Noarp;
        link.attributes.push(LinkAttribute::IfAlias(ALIAS.to_owned()));
        let what = format!("setting {PROBE_LINK} up");
        self.requests.ask(&what, RouteNetlinkMessage::SetLink(link), NLM_F_ACK, |_| {}).await
    }

    async fn add_route(&self, route: RouteMessage) -> Result<(), OsError> {
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.requests.ask("routing probes", RouteNetlinkMessage::NewRoute(route), flags, |_| {}).await
    }

    async fn add_rule(&self, family: Family) -> Result<(), OsError> {
        // Without EXCL the kernel would add another one that is equal.
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        let added =
            self.requests.ask("a rule for probes", RouteNetlinkMessage::NewRule(rule(family)), flags, |_| {}).await;
        unless(added, &[libc::EEXIST])
    }

    /// The rule first: while it is there, what it leads to must refuse.
    async fn remove_family(&self, family: Family) -> Result<(), OsError> {
        let ask = |what, message| self.requests.ask(what, message, NLM_F_ACK, |_| {});
        let missing = [libc::ENOENT, libc::ESRCH, libc::ENODEV, libc::EAFNOSUPPORT, libc::EOPNOTSUPP];
        unless(ask("removing the rule for probes", RouteNetlinkMessage::DelRule(rule(family))).await, &missing)?;
        let mut out = RouteMessage::default();
        out.header = header(family);
        out.attributes.push(RouteAttribute::Table(PROBE_TABLE));
        out.header.kind = RouteType::Unicast;
        for route in [out, refusal(family)] {
            unless(ask("removing a route of probes", RouteNetlinkMessage::DelRoute(route)).await, &missing)?;
        }
        Ok(())
    }
}

/// Takes these errors for success.
fn unless(result: Result<(), OsError>, fine: &[i32]) -> Result<(), OsError> {
    match result {
        Err(OsError::Io { source, .. }) if source.raw_os_error().is_some_and(|code| fine.contains(&code)) => Ok(()),
        Err(OsError::InterfaceGone { .. }) if fine.contains(&libc::ENODEV) => Ok(()),
        other => other,
    }
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn header(family: Family) -> rtnetlink::packet_route::route::RouteHeader {
    rtnetlink::packet_route::route::RouteHeader {
        address_family: address_family(family),
        // The number does not fit: it is in an attribute.
        table: 0,
        protocol: RouteProtocol::Other(PROTOCOL),
        scope: RouteScope::Universe,
        ..Default::default()
    }
}

fn way_out(family: Family, link: IfIndex, source: Option<IpAddr>) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header = header(family);
    route.header.kind = RouteType::Unicast;
    if family == Family::V4 {
        route.header.scope = RouteScope::Link;
    }
    route.attributes.push(RouteAttribute::Table(PROBE_TABLE));
    route.attributes.push(RouteAttribute::Oif(link));
    route.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Hoplimit(1)]));
    route.attributes.extend(source.map(|source| RouteAttribute::PrefSource(source.into())));
    route
}

fn refusal(family: Family) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header = header(family);
    route.header.kind = RouteType::Prohibit;
    route.attributes.push(RouteAttribute::Table(PROBE_TABLE));
    route.attributes.push(RouteAttribute::Priority(LAST));
    route
}

fn rule(family: Family) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = address_family(family);
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![
        RuleAttribute::Priority(PROBE_RULE_PRIORITY),
        RuleAttribute::FwMark(PROBE_MARK),
        RuleAttribute::FwMask(PROBE_MARK_MASK),
        RuleAttribute::Table(PROBE_TABLE),
        RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
    ];
    rule
}

/// Before it is up: no addresses of its own, hence no neighbour discovery or multicast reports; IPv6 on, also
/// where new interfaces have it off.
fn quiet(name: &str) -> Result<(), OsError> {
    let on = if name == PROBE_LINK { "0" } else { "1" };
    for (key, value) in [("disable_ipv6", on), ("addr_gen_mode", "1"), ("accept_ra", "0")] {
        set_sysctl(&format!("/proc/sys/net/ipv6/conf/{name}/{key}"), value)?;
    }
    Ok(())
}

/// A kernel without IPv6 has none of these.
fn set_sysctl(path: &str, value: &str) -> Result<(), OsError> {
    if !Path::new(path).exists() || std::fs::read_to_string(path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    std::fs::write(path, value).map_err(|source| OsError::from_io(path, "NET_ADMIN", source))
}

/// 0: not checked, 1: strict, 2: loose (ip-sysctl.rst).
fn rp_filter(name: &str) -> Result<u8, OsError> {
    let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().parse().unwrap_or(0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(OsError::from_io(path, "NET_ADMIN", source)),
    }
}
