//! Reads what the kernel has, and makes the requests.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoBridge, InfoData, InfoKind, InfoPortData,
    LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};

use super::difference::{Difference, Record, Request, Seen, SeenAddress, SeenLink, SeenPort, Wanted, difference};
use super::port_states::{PortStates, PortView};
use crate::config::{Mac, Prefix};
use crate::core::gates::{Gate, Gates};
use crate::core::network::IfIndex;
use crate::os::OsError;
use crate::os::netlink::requests::{Requests, family};

/// Rounds of looking and doing: one makes the bridge, one the rest, one sees that nothing is left; one in reserve
/// for what somebody else has changed meanwhile.
const ROUNDS_MAX: usize = 4;
/// Who added an address (IFA_PROTO, since Linux 5.18; `ip address show` calls it `proto`): lbd. 0 to 3 are the kernel's.
const ADDED_BY_LBD: u8 = 108;

/// What became of a reconciliation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was done, in words.
    pub done: Vec<String>,
    /// What is not as it should be, and what to do about it.
    pub problems: Vec<String>,
}

/// To set up the bridge of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Bridge {
    requests: Requests,
    states: PortStates,
}

impl Bridge {
    /// On the current tokio runtime. Needs CAP_NET_ADMIN to do anything.
    pub fn open() -> Result<Self, OsError> {
        Ok(Self { requests: Requests::open()?, states: PortStates::open()? })
    }

    /// Brings the kernel's bridge to what is wanted; a second time it changes nothing. `keep` writes the record down
    /// before anything is done that it must know of.
    pub async fn reconcile(
        &mut self,
        wanted: &Wanted,
        gates: &Gates,
        record: &mut Record,
        keep: impl Fn(&Record) -> Result<(), String>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for _ in 0..ROUNDS_MAX {
            let seen = match self.seen().await {
                Ok(seen) => seen,
                Err(error) => {
                    outcome.problems = vec![error.to_string()];
                    return outcome;
                }
            };
            let Difference { requests, problems } = difference(wanted, &|port| gates.get(port), &seen, record);
            outcome.problems = problems.iter().map(ToString::to_string).collect();
            if requests.is_empty() {
                break;
            }
            let mut failed = false;
            for request in requests {
                match self.carry_out(&request, wanted, gates, record, &keep).await {
                    Ok(()) => outcome.done.push(request.to_string()),
                    Err(words) => {
                        failed = true;
                        outcome.problems.push(words);
                    }
                }
            }
            if failed {
                break;
            }
        }
        outcome.problems.extend(forward_for_servers(wanted).err());
        outcome
    }

    /// What the kernel has.
    pub async fn seen(&self) -> Result<Seen, OsError> {
        let mut seen = Seen::default();
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        self.requests
            .ask("reading the links", RouteNetlinkMessage::GetLink(question), NLM_F_DUMP, |answer| {
                if let RouteNetlinkMessage::NewLink(link) = answer {
                    seen.links.insert(link.header.index, seen_link(&link));
                }
            })
            .await?;
        let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.requests
            .ask("reading the addresses", question, NLM_F_DUMP, |answer| {
                if let RouteNetlinkMessage::NewAddress(address) = answer {
                    seen.addresses.extend(seen_address(&address));
                }
            })
            .await?;
        Ok(seen)
    }

    async fn carry_out(
        &mut self,
        request: &Request,
        wanted: &Wanted,
        gates: &Gates,
        record: &mut Record,
        keep: &impl Fn(&Record) -> Result<(), String>,
    ) -> Result<(), String> {
        if let Request::Join { name, .. } = request
            && record.ports.insert(name.clone())
        {
            keep(record)?;
        }
        self.ask(request, wanted, gates).await.map_err(|error| error.to_string())?;
        let changed = match request {
            Request::FixMac { bridge, .. } => record.bridge.replace(*bridge) != Some(*bridge),
            Request::Leave { name, .. } => record.ports.remove(name),
            _ => false,
        };
        if changed { keep(record) } else { Ok(()) }
    }

    async fn ask(&mut self, request: &Request, wanted: &Wanted, gates: &Gates) -> Result<(), OsError> {
        let what = request.to_string();
        let (message, flags) = match request {
            Request::MakeBridge { name, mac, stp } => {
                (RouteNetlinkMessage::NewLink(new_bridge(name, *mac, *stp)), NLM_F_CREATE | NLM_F_EXCL)
            }
            Request::FixMac { bridge, mac } => {
                (set(*bridge, |link| link.attributes.push(LinkAttribute::Address(mac.0.to_vec()))), 0)
            }
            Request::SetStp { bridge, on } => {
                (set(*bridge, |link| link.attributes.push(bridge_info(vec![stp_state(*on)]))), 0)
            }
            Request::Leave { port, .. } => (set(*port, |link| link.attributes.push(LinkAttribute::Controller(0))), 0),
            Request::Join { port, bridge, .. } => {
                // Frames of the port's own stack would have another MAC than the box.
                let silent = set(*port, |link| {
                    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
                    link.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]));
                });
                // A kernel without IPv6 has no such mode, and no such frames.
                let _ = self.requests.ask(&what, silent, NLM_F_ACK, |_| {}).await;
                (set(*port, |link| link.attributes.push(LinkAttribute::Controller(*bridge))), 0)
            }
            Request::Up { link } => (flag_up(*link, true), 0),
            Request::Down { port } => (flag_up(*port, false), 0),
            Request::AddAddress { bridge, prefix } => {
                let address = RouteNetlinkMessage::NewAddress(address(*bridge, *prefix, true));
                (address, NLM_F_CREATE | NLM_F_EXCL)
            }
            Request::RemoveAddress { bridge, prefix } => {
                // Else the kernel removes all others of the same network along with the first one.
                let _ = write_sysctl(&["ipv4", "conf", &wanted.bridge, "promote_secondaries"], "1");
                (RouteNetlinkMessage::DelAddress(address(*bridge, *prefix, false)), 0)
            }
            Request::Block { port } | Request::Unblock { port } => {
                let unless_said = matches!(request, Request::Block { .. });
                return gates.settle(*port, |gate| match gate {
                    Some(Gate::Blocked) => self.states.block(*port),
                    Some(Gate::Open) => self.states.unblock(*port),
                    None if unless_said => Ok(()),
                    None => self.states.unblock(*port),
                });
            }
        };
        self.requests.ask(&what, message, NLM_F_ACK | flags, |_| {}).await
    }
}

fn set(link: IfIndex, change: impl FnOnce(&mut LinkMessage)) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = link;
    change(&mut message);
    RouteNetlinkMessage::SetLink(message)
}

fn flag_up(link: IfIndex, up: bool) -> RouteNetlinkMessage {
    set(link, |message| {
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    })
}

fn stp_state(on: bool) -> InfoBridge {
    InfoBridge::StpState(if on { BridgeStpState::KernelStp } else { BridgeStpState::Disabled })
}

fn bridge_info(parts: Vec<InfoBridge>) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(InfoData::Bridge(parts))])
}

fn new_bridge(name: &str, mac: Mac, stp: bool) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    // Snooping withholds multicast from ports behind which nobody has asked for it; neighbour discovery is multicast,
    // and a host that has just moved has asked for nothing yet.
    message.attributes.push(bridge_info(vec![stp_state(stp), InfoBridge::MulticastSnooping(false)]));
    message
}

fn address(link: IfIndex, prefix: Prefix, new: bool) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(prefix.address).0;
    message.header.prefix_len = prefix.length;
    message.header.index = link;
    message.attributes.push(AddressAttribute::Local(prefix.address));
    message.attributes.push(AddressAttribute::Address(prefix.address));
    if new {
        if let IpAddr::V4(v4) = prefix.address
            && (1..=30).contains(&prefix.length)
        {
            let broadcast = Ipv4Addr::from(u32::from(v4) | u32::MAX >> prefix.length);
            message.attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(ADDED_BY_LBD)));
    }
    message
}

fn seen_link(message: &LinkMessage) -> SeenLink {
    let mut link = SeenLink { up: message.header.flags.contains(LinkFlags::Up), ..SeenLink::default() };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().map(Mac).unwrap_or_default(),
            LinkAttribute::Controller(master) => link.master = Some(*master),
            LinkAttribute::LinkInfo(parts) => parts.iter().for_each(|part| match part {
                LinkInfo::Kind(InfoKind::Bridge) => link.bridge = link.bridge.or(Some(false)),
                LinkInfo::Data(InfoData::Bridge(parts)) => {
                    let off = parts.iter().any(|part| *part == stp_state(false));
                    link.bridge = Some(!off);
                }
                LinkInfo::PortData(InfoPortData::BridgePort(parts)) => {
                    let view = PortView::of_info(parts);
                    link.port = Some(SeenPort { lets_in: !view.is_shut(), held: view.is_held() });
                }
                _ => {}
            }),
            _ => {}
        }
    }
    link
}

fn seen_address(message: &AddressMessage) -> Option<SeenAddress> {
    let (mut own, mut other, mut ours) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) => other = Some(*address),
            AddressAttribute::Protocol(protocol) => ours = u8::from(*protocol) == ADDED_BY_LBD,
            _ => {}
        }
    }
    // IPv6 says only the one.
    let prefix = Prefix { address: own.or(other)?, length: message.header.prefix_len };
    Some(SeenAddress { link: message.header.index, prefix, ours })
}

/// The kernel's settings that a gateway of servers needs: that it forwards, and that it does not tell servers of a
/// shorter way, past the balancer. Never taken back: others may rely on them.
fn forward_for_servers(wanted: &Wanted) -> Result<(), String> {
    let mut wrong = BTreeSet::new();
    let mut write = |path: &[&str], value: &str| {
        if let Err(error) = write_sysctl(path, value) {
            wrong.insert(format!(
                "{} cannot be set to {value}: {error}; servers behind NAT reach nobody by themselves until it is",
                path.join(".")
            ));
        }
    };
    if wanted.gateway4 {
        write(&["ipv4", "ip_forward"], "1");
        // One of the two is enough for the kernel to send them.
        write(&["ipv4", "conf", "all", "send_redirects"], "0");
        write(&["ipv4", "conf", &wanted.bridge, "send_redirects"], "0");
    }
    if wanted.gateway6 {
        write(&["ipv6", "conf", "all", "forwarding"], "1");
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into_iter().collect::<Vec<_>>().join("; ")) }
}

/// Writes below `/proc/sys/net`, which is that of the current thread's network namespace, where the value differs.
fn write_sysctl(path: &[&str], value: &str) -> io::Result<()> {
    let file: PathBuf = ["/proc/sys/net"].iter().chain(path).collect();
    if fs::read_to_string(&file)?.trim() == value { Ok(()) } else { fs::write(&file, value) }
}
