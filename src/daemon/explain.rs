//! Answers why a packet would go where: asks the data plane's variant that changes nothing, and puts its answer into
//! words.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use etherparse::{LinkExtSlice, NetSlice, SlicedPacket, TransportSlice};

use super::appliance::Appliance;
use super::control::failed;
use super::lock;
use crate::config::suggest::did_you_mean;
use crate::config::{Mac, Protocol, Scheduler};
use crate::core::control::explain::{Explanation, Leaving, PacketQuestion};
use crate::core::control::{OperationError, word::Word};
use crate::core::forwarding::{DestKey, Family, ServiceKey};
use crate::core::network::IfIndex;
use crate::dataplane::explain::{BuiltPacket, Explainer, Foretold, FoundBy};
use crate::dataplane::{DataPlane, reasons};

/// Loads the variant at the first question, because most daemons are never asked.
pub struct Explain {
    appliance: Arc<Mutex<Appliance>>,
    dataplane: Arc<Mutex<DataPlane>>,
    explainer: Mutex<Option<Explainer>>,
}

/// What the answer is worded with, as it was when the question was put.
struct Scene {
    packet: BuiltPacket,
    key: ServiceKey,
    scheduler: Scheduler,
    /// Servers that take new connections.
    open: usize,
}

impl Explain {
    pub fn new(appliance: Arc<Mutex<Appliance>>, dataplane: Arc<Mutex<DataPlane>>) -> Self {
        Self { appliance, dataplane, explainer: Mutex::new(None) }
    }

    /// Takes as long as loading a program the first time: not for the loop's thread.
    pub fn answer(&self, question: &PacketQuestion) -> Result<Explanation, OperationError> {
        let scene = scene(&lock(&self.appliance), question)?;
        let mut explainer = lock(&self.explainer);
        let explainer = match &mut *explainer {
            Some(explainer) => explainer,
            none => {
                let shared = lock(&self.dataplane).shared_maps().map_err(failed)?;
                none.insert(Explainer::load(&shared).map_err(failed)?)
            }
        };
        let told = explainer.explain(&scene.packet).map_err(failed)?;
        let appliance = lock(&self.appliance);
        let dataplane = lock(&self.dataplane);
        Ok(words(&appliance, &dataplane, &scene, &told))
    }
}

fn unknown(what: &str, name: &str, known: impl Iterator<Item = String>) -> OperationError {
    let known: Vec<String> = known.collect();
    let guess = did_you_mean(name, known.iter().map(String::as_str));
    let guess = guess.map_or_else(String::new, |guess| format!("; {guess}"));
    OperationError::NotThere(format!("there is no {what} \"{name}\"{guess}"))
}

fn scene(appliance: &Appliance, question: &PacketQuestion) -> Result<Scene, OperationError> {
    let refused = |why: String| Err(OperationError::NotThere(why));
    let PacketQuestion { virtual_server, service, .. } = question;
    let servers = &appliance.config.virtual_servers;
    let Some(configured) = servers.get(virtual_server) else {
        let known = servers.keys().map(ToString::to_string);
        return Err(unknown("virtual server", virtual_server.as_str(), known));
    };
    if !configured.services.contains_key(service) {
        let known = configured.services.keys().map(ToString::to_string);
        return Err(unknown(&format!("service of {virtual_server}"), service.as_str(), known));
    }
    let family = if question.client.is_ipv4() { Family::V4 } else { Family::V6 };
    let key = ServiceKey { virtual_server: virtual_server.clone(), service: service.clone(), family };
    let Some(planned) = appliance.plan.state.services.get(&key) else {
        return refused(format!("{virtual_server}/{service} has no {} address", family.word()));
    };
    let port = question.port.unwrap_or(planned.ports.first);
    let addresses = &planned.addresses;
    let address = match question.address {
        Some(address) if !addresses.contains(&address) => {
            return refused(format!("{address} is no address of {virtual_server}/{service}"));
        }
        Some(address) => address,
        None => match addresses.first() {
            Some(address) => *address,
            None => return refused(format!("{virtual_server}/{service} has no address")),
        },
    };
    let (index, own) = ingress(appliance, question.interface.as_deref())?;
    let packet = BuiltPacket {
        protocol: planned.protocol,
        client: question.client,
        to: SocketAddr::new(address, port),
        later: question.later && planned.protocol == Protocol::Tcp,
        port: index,
        own,
    };
    Ok(Scene { packet, key, scheduler: planned.scheduler, open: planned.schedule.len() })
}

/// The port that customers' packets come in by, and what this box answers with on it.
fn ingress(appliance: &Appliance, wanted: Option<&str>) -> Result<(IfIndex, Mac), OperationError> {
    let ports = &appliance.plan.state.ports;
    let named = |name: &str| {
        let (index, _) = appliance.network.link_named(name)?;
        Some((index, ports.get(&index)?.mac))
    };
    if let Some(name) = wanted {
        let known = ports.keys().filter_map(|index| Some(appliance.network.links.get(index)?.name.clone()));
        return named(name).ok_or_else(|| unknown("port of the data plane", name, known));
    }
    let uplink = appliance.config.interfaces.uplinks.iter().find_map(|name| named(name));
    let any = || ports.iter().map(|(index, port)| (*index, port.mac)).next();
    let nowhere = || OperationError::Failed("the data plane is on no port: nothing can come in".to_owned());
    uplink.or_else(any).ok_or_else(nowhere)
}

fn words(appliance: &Appliance, dataplane: &DataPlane, scene: &Scene, told: &Foretold) -> Explanation {
    let (_, verdict, reason, meaning) = *told.reason;
    let name_of = |index: IfIndex| appliance.network.name_of(index);
    let dest = told.dest.and_then(|id| dataplane.dest(id));
    let BuiltPacket { protocol, client, to, later, port, .. } = scene.packet;
    let kind = match (protocol, later) {
        (Protocol::Udp, _) => "a datagram",
        (Protocol::Tcp, false) => "a first packet (SYN)",
        (Protocol::Tcp, true) => "a later packet (ACK)",
    };
    let egress = match verdict {
        reasons::Verdict::Forwarded => dest.and_then(|(_, egress)| egress),
        reasons::Verdict::Answered => Some(port),
        _ => None,
    };
    // The hash names somebody also where nothing comes of it: in NAT.
    let ways = told.found_by.iter().filter(|how| dest.is_some() || **how != FoundBy::Hash);
    let mut because = ways.map(|how| found(*how, scene)).collect::<Vec<_>>();
    if let Some((key, _)) = dest {
        because.extend(standing(appliance, key));
    } else if reason.ends_with("no-server") {
        because.extend(
            appliance
                .plan
                .members
                .iter()
                .filter(|(key, _)| key.service == scene.key)
                .map(|(key, standing)| format!("{}: {standing}", key.server)),
        );
    }
    Explanation {
        packet: format!("{kind} from {client} to {to}, in by {}", name_of(port)),
        verdict: verdict.name(),
        reason,
        meaning,
        events: told.events.iter().map(|(_, _, name, _)| *name).collect(),
        server: dest.map(|(key, _)| key.server.to_string()),
        because,
        leaves: egress.and_then(|egress| leaving(&told.frame, name_of(egress))),
    }
}

fn standing(appliance: &Appliance, key: &DestKey) -> Option<String> {
    let standing = appliance.plan.members.get(key)?;
    Some(format!("{}: {standing}", key.server))
}

fn found(how: FoundBy, scene: &Scene) -> String {
    match how {
        FoundBy::Connection => "the connection is in the table: it stays where it is".to_owned(),
        FoundBy::Synced => {
            "the other box has told of the connection; its client has not been heard here yet".to_owned()
        }
        FoundBy::Handshake => "its handshake is under way: it stays where it has begun".to_owned(),
        FoundBy::Persistence => "the client is bound to the server by the service's persistence".to_owned(),
        FoundBy::Scheduler => {
            let (scheduler, open) = (scene.scheduler.word(), scene.open);
            let servers = if open == 1 { "1 server takes" } else { &format!("{open} servers take") };
            format!("new, and bound to no server: {scheduler} chose; {servers} new connections")
        }
        FoundBy::Hash => format!(
            "not in the table: by the hash of {} alone, which sends it where its first packet went",
            scene.scheduler.word()
        ),
        FoundBy::Migration => "the client is of those that have migrated to the new pool".to_owned(),
    }
}

/// The frame as it would leave; `None` for one that cannot be read.
fn leaving(frame: &[u8], interface: String) -> Option<Leaving> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let macs = frame.get(..12)?;
    let mac = |from: usize| Some(Mac(macs.get(from..from + 6)?.try_into().ok()?).to_string());
    let vlan = sliced.link_exts.iter().find_map(|ext| match ext {
        LinkExtSlice::Vlan(vlan) => Some(vlan.vlan_identifier().value()),
        _ => None,
    });
    let (source, destination): (IpAddr, IpAddr) = match sliced.net? {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => return None,
    };
    let (from, to) = match sliced.transport? {
        TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port()),
        TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
        _ => return None,
    };
    Some(Leaving {
        interface,
        destination_mac: mac(0)?,
        source_mac: mac(6)?,
        vlan: vlan.unwrap_or(0),
        source: SocketAddr::new(source, from).to_string(),
        destination: SocketAddr::new(destination, to).to_string(),
    })
}
