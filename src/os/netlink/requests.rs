//! Questions and orders to the kernel, one at a time, each with a limit in time.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourHeader, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType, RouteVia};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use tokio::time::timeout;

use super::tables::Tables;
use super::{Direction, LinkCounts, NotDirect};
use crate::config::Mac;
use crate::core::network::IfIndex;
use crate::os::OsError;

/// The kernel answers in microseconds; this ends a wait for an answer that was lost.
const ANSWER: Duration = Duration::from_secs(5);

/// A connection for requests, shared by its clones. It ends with the last of them.
#[derive(Clone, Debug)]
pub(in crate::os) struct Requests {
    handle: rtnetlink::Handle,
}

impl Requests {
    /// Opens it in the current thread's network namespace, on the current tokio runtime.
    pub fn open() -> Result<Self, OsError> {
        let failed = |source| OsError::from_io("opening a netlink socket", "NET_ADMIN", source);
        // Nothing is sent unasked on this socket: it has joined no group.
        let (connection, handle, _unasked) = rtnetlink::new_connection().map_err(failed)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Everything: links, bridge ports, neighbours of both families, bridge tables.
    pub(super) async fn dump(&self) -> Result<Tables, OsError> {
        let mut tables = Tables::default();
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        self.dump_into(&mut tables, RouteNetlinkMessage::GetLink(link)).await?;
        // After the links, which it adds to: which VLAN is a port's own.
        let mut ports = LinkMessage::default();
        ports.header.interface_family = AddressFamily::Bridge;
        ports.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::BrvlanCompressed]));
        self.dump_into(&mut tables, RouteNetlinkMessage::GetLink(ports)).await?;
        for family in [AddressFamily::Inet, AddressFamily::Inet6, AddressFamily::Bridge] {
            let mut neighbours = NeighbourMessage::default();
            neighbours.header.family = family;
            self.dump_into(&mut tables, RouteNetlinkMessage::GetNeighbour(neighbours)).await?;
        }
        Ok(tables)
    }

    async fn dump_into(&self, tables: &mut Tables, question: RouteNetlinkMessage) -> Result<(), OsError> {
        self.ask("reading the kernel's network tables", question, NLM_F_DUMP, |answer| {
            tables.apply(&answer);
        })
        .await
    }

    /// The link over which an address is reached without a gateway.
    pub async fn direct_link(&self, address: IpAddr) -> Result<Result<IfIndex, NotDirect>, OsError> {
        let (family, length) = family(address);
        let header =
            RouteHeader { address_family: family, destination_prefix_length: length, ..RouteHeader::default() };
        let mut question = RouteMessage::default();
        question.header = header;
        question.attributes.push(RouteAttribute::Destination(address.into()));
        let mut found = Err(NotDirect::NoRoute);
        let asked = self
            .ask("looking up a route", RouteNetlinkMessage::GetRoute(question), 0, |answer| {
                if let RouteNetlinkMessage::NewRoute(route) = answer {
                    found = direct(&route);
                }
            })
            .await;
        match asked {
            Ok(()) => Ok(found),
            // What the kernel answers to `unreachable`, `prohibit`, `blackhole` routes and to none.
            Err(OsError::Io { source, .. }) if way::is_none(&source) => Ok(Err(NotDirect::NoRoute)),
            Err(OsError::Privilege { .. }) => Ok(Err(NotDirect::NoRoute)),
            Err(error) => Err(error),
        }
    }

    /// Has the kernel resolve or refresh a neighbour entry, as if a packet were to be sent (NTF_USE,
    /// net/core/neighbour.c): a missing or failed one is asked for at once, a stale one
    /// after delay_first_probe_time (5 s). Not for permanent entries: NTF_USE makes them ordinary ones.
    pub async fn use_neighbour(&self, link: IfIndex, address: IpAddr) -> Result<(), OsError> {
        let mut entry = NeighbourMessage::default();
        entry.header = NeighbourHeader {
            family: family(address).0,
            ifindex: link,
            flags: NeighbourFlags::Use,
            ..NeighbourHeader::default()
        };
        entry.attributes.push(NeighbourAttribute::Destination(address.into()));
        let what = format!("refreshing the neighbour entry of {address}");
        self.order(&what, RouteNetlinkMessage::NewNeighbour(entry)).await
    }

    /// Has the bridge of `port` learn a MAC as if a frame had come in there (net/bridge/br_fdb.c,
    /// NTF_USE calls br_fdb_update): the entry is new, moved or refreshed, and ages as any other.
    /// A port that is not learning or forwarding learns nothing, and that is no error.
    pub async fn learn(&self, mac: Mac, vlan: u16, port: IfIndex) -> Result<(), OsError> {
        let mut entry = NeighbourMessage::default();
        entry.header = NeighbourHeader {
            family: AddressFamily::Bridge,
            ifindex: port,
            // br_fdb_add wants one of permanent, noarp, reachable; with NTF_USE it looks no further.
            state: NeighbourState::Reachable,
            flags: NeighbourFlags::Use | NeighbourFlags::Controller,
            ..NeighbourHeader::default()
        };
        entry.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        if vlan != 0 {
            entry.attributes.push(NeighbourAttribute::Vlan(vlan));
        }
        let what = format!("teaching the bridge that {mac} is on interface {port}");
        self.order(&what, RouteNetlinkMessage::NewNeighbour(entry)).await
    }

    /// A link's counters since it was made (`ip -s link`).
    pub async fn counts(&self, link: IfIndex) -> Result<LinkCounts, OsError> {
        let mut question = LinkMessage::default();
        question.header.index = link;
        let mut counts = LinkCounts::default();
        self.ask("reading a link's counters", RouteNetlinkMessage::GetLink(question), 0, |answer| {
            let RouteNetlinkMessage::NewLink(link) = answer else { return };
            for attribute in link.attributes {
                if let LinkAttribute::Stats64(stats) = attribute {
                    counts.received = Direction {
                        packets: stats.rx_packets,
                        bytes: stats.rx_bytes,
                        errors: stats.rx_errors,
                        dropped: stats.rx_dropped,
                    };
                    counts.sent = Direction {
                        packets: stats.tx_packets,
                        bytes: stats.tx_bytes,
                        errors: stats.tx_errors,
                        dropped: stats.tx_dropped,
                    };
                }
            }
        })
        .await?;
        Ok(counts)
    }

    async fn order(&self, what: &str, order: RouteNetlinkMessage) -> Result<(), OsError> {
        self.ask(what, order, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, |_| {}).await
    }

    /// Sends one request, and hands over what comes back until its end.
    pub(in crate::os) async fn ask(
        &self,
        what: &str,
        message: RouteNetlinkMessage,
        flags: u16,
        mut take: impl FnMut(RouteNetlinkMessage),
    ) -> Result<(), OsError> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let closed = |_| OsError::Closed { what: what.to_owned() };
        let mut answers = self.handle.clone().request(request).map_err(closed)?;
        let exchange = async {
            while let Some(answer) = answers.next().await {
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => take(message),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(OsError::from_io(what, "NET_ADMIN", error.to_io()));
                    }
                    _ => {}
                }
            }
            Ok(())
        };
        let late = |_| OsError::Timeout { what: what.to_owned(), seconds: ANSWER.as_secs() };
        timeout(ANSWER, exchange).await.map_err(late)?
    }
}

/// What an answer to RTM_GETROUTE says of the way.
fn direct(route: &RouteMessage) -> Result<IfIndex, NotDirect> {
    match route.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Err(NotDirect::OwnAddress),
        RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => return Err(NotDirect::NotUnicast),
        _ => return Err(NotDirect::NoRoute),
    }
    let mut link = Err(NotDirect::NoRoute);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => link = Ok(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) | RouteAttribute::Via(RouteVia::Inet(ip)) => {
                return Err(NotDirect::Gateway(IpAddr::V4(*ip)));
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(ip)) | RouteAttribute::Via(RouteVia::Inet6(ip)) => {
                return Err(NotDirect::Gateway(IpAddr::V6(*ip)));
            }
            _ => {}
        }
    }
    link
}

/// Parts of an answer to RTM_GETROUTE.
pub(super) mod way {
    use super::*;

    pub fn is_none(error: &std::io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL))
    }

    /// The interface by which it leaves.
    pub fn link(route: &RouteMessage) -> Option<IfIndex> {
        route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })
    }

    pub fn address(address: &RouteAddress) -> Option<IpAddr> {
        match address {
            RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
            RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
            _ => None,
        }
    }
}

pub(in crate::os) fn family(address: IpAddr) -> (AddressFamily, u8) {
    match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    }
}
