//! What the election is told of this box, and what the thread needs to ask and announce: from the daemon's state,
//! anew whenever it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::health;
use super::thread::{Links, Scene};
use crate::config::{Config, Mac, Name};
use crate::core::network::IfIndex;
use crate::daemon::appliance::{Appliance, Basis};
use crate::dataplane::question::QUESTION_ETHERTYPE;
use crate::os::OsError;
use crate::os::asking::Asking;
use crate::os::burst::{Burst, Outlet};
use crate::pair::election::Inputs;
use crate::pair::time::Span;

/// What was told last.
pub struct Watch {
    basis: Basis,
    inputs: Inputs,
    stage: Stage,
    links: Links,
    sockets: Sockets,
}

/// They outlive a scene: machines behind this box come and go, and sockets like these are slow to open and to close.
struct Sockets {
    outlet: Outlet,
    asking: BTreeMap<IfIndex, Arc<Asking>>,
}

/// What a scene is made of.
#[derive(Clone, Default, PartialEq)]
struct Stage {
    ports: Vec<(IfIndex, Mac)>,
    addresses: Vec<IpAddr>,
    ask: Vec<(IfIndex, Mac)>,
    /// Uplinks and cross-connects.
    ways: Vec<IfIndex>,
    /// Machines behind this box's other ports.
    machines: BTreeSet<Mac>,
}

/// What has changed since it was told last.
#[derive(Default)]
pub struct Changes {
    pub inputs: Option<Inputs>,
    pub scene: Option<Scene>,
}

/// So many machines are shown to the others when the way to them has changed; the rest shows itself when it sends.
const MACHINES_MAX: usize = 1_024;

impl Watch {
    /// With what there is to tell first.
    pub fn begin(appliance: &Appliance) -> Result<(Self, Inputs, Scene, Links), OsError> {
        let (inputs, links) = (inputs(appliance, healthy_pools(appliance)), links(appliance));
        let stage = Stage::of(appliance, &links);
        let mut sockets = Sockets { outlet: Outlet::open()?, asking: BTreeMap::new() };
        let scene = stage.scene(&mut sockets)?;
        Ok((Self { basis: appliance.basis(), inputs, stage, links: links.clone(), sockets }, inputs, scene, links))
    }

    /// What has changed since it was told last.
    pub fn changed(&mut self, appliance: &Appliance) -> Result<Changes, OsError> {
        let basis = appliance.basis();
        let same = basis.is_same(&self.basis);
        let healthy_pools = if same { self.inputs.healthy_pools } else { healthy_pools(appliance) };
        let inputs = Some(inputs(appliance, healthy_pools)).filter(|inputs| *inputs != self.inputs);
        let stage = (!same).then(|| Stage::of(appliance, &links(appliance))).filter(|stage| *stage != self.stage);
        let scene = stage.as_ref().map(|stage| stage.scene(&mut self.sockets)).transpose()?;
        self.basis = basis;
        self.inputs = inputs.unwrap_or(self.inputs);
        if let Some(stage) = stage {
            self.stage = stage;
        }
        Ok(Changes { inputs, scene })
    }

    /// The links, if they have changed since they were told last.
    pub fn changed_links(&mut self, appliance: &Appliance) -> Option<Links> {
        let links = links(appliance);
        (links != self.links).then(|| {
            self.links = links.clone();
            links
        })
    }
}

impl Stage {
    fn of(appliance: &Appliance, links: &Links) -> Self {
        let state = &appliance.plan.state;
        let Links { uplinks, cross_connects, .. } = links;
        let ports: Vec<(IfIndex, Mac)> = state.ports.iter().map(|(index, port)| (*index, port.mac)).collect();
        let leads_to_peer = |index: &IfIndex| {
            (uplinks.is_empty() && cross_connects.is_empty())
                || uplinks.contains_key(index)
                || cross_connects.contains_key(index)
        };
        let ask = ports.iter().filter(|(index, _)| leads_to_peer(index)).copied().collect();
        let snat = state.source_nat.iter().map(|source| source.address);
        let inside = state.inside.iter().map(|prefix| prefix.address);
        let addresses: BTreeSet<IpAddr> = state.vips.iter().copied().chain(inside).chain(snat).collect();
        let own_side = |port: &IfIndex| !uplinks.contains_key(port) && !cross_connects.contains_key(port);
        let places = appliance.network.learnt_places().into_iter();
        // Of a tagged network nobody knows here how it leaves by another port.
        let behind = places.filter(|((_, vlan), port)| *vlan == 0 && own_side(port)).map(|((mac, _), _)| mac);
        // This box is one of them: what is for its own addresses goes astray like anything else.
        let shown = appliance.config.interfaces.mac.into_iter().chain(behind.take(MACHINES_MAX));
        let machines = if uplinks.is_empty() { BTreeSet::new() } else { shown.collect() };
        let ways = uplinks.keys().chain(cross_connects.keys()).copied().collect();
        Self { ports, addresses: addresses.into_iter().collect(), ask, ways, machines }
    }

    fn scene(&self, sockets: &mut Sockets) -> Result<Scene, OsError> {
        let outlet = &sockets.outlet;
        let burst = |port: &(IfIndex, Mac)| Ok((port.0, Burst::announcing(outlet, &[*port], &self.addresses)?));
        let showing = |port: &IfIndex| Ok((*port, Burst::showing(outlet, *port, self.machines.iter().copied())?));
        let mut ask = Vec::with_capacity(self.ask.len());
        for (port, own) in &self.ask {
            let socket = match sockets.asking.get(port) {
                Some(open) => open.clone(),
                None => Arc::new(Asking::open(*port, QUESTION_ETHERTYPE)?),
            };
            ask.push((*port, *own, socket));
        }
        sockets.asking = ask.iter().map(|(port, _, socket)| (*port, socket.clone())).collect();
        Ok(Scene {
            machines: self.ways.iter().map(showing).collect::<Result<_, OsError>>()?,
            ask,
            announcements: self.ports.iter().map(burst).collect::<Result<_, OsError>>()?,
        })
    }
}

fn links(appliance: &Appliance) -> Links {
    let interfaces = &appliance.config.interfaces;
    let there = |names: &[String]| appliance.network.carriers(names);
    let peer = appliance.config.pair.as_ref().and_then(|pair| appliance.network.learnt_place(pair.peer_mac));
    // Without a bridge nothing is learnt, and with one port it is known.
    let mut ports = appliance.plan.state.ports.keys().copied();
    let only = ports.next().filter(|_| ports.next().is_none());
    Links {
        uplinks: there(&interfaces.uplinks),
        cross_connects: there(&interfaces.cross_connect),
        to_peer: peer.or(only),
    }
}

/// An uplink is open now.
pub fn uplinks_forward(appliance: &Appliance) -> bool {
    let uplinks = appliance.network.carriers(&appliance.config.interfaces.uplinks);
    uplinks.keys().any(|index| appliance.network.usable(*index).is_ok())
}

/// The servers that may be behind the other box: their way leaves by an uplink or a cross-connect, or there is none.
pub fn behind_peer(appliance: &Appliance) -> BTreeSet<IpAddr> {
    let Links { uplinks, cross_connects, .. } = links(appliance);
    let between = |port: &IfIndex| uplinks.contains_key(port) || cross_connects.contains_key(port);
    let dests = appliance.plan.state.dests.values();
    let behind = dests.filter(|dest| dest.place.as_ref().map_or(true, |place| between(&place.port)));
    behind.map(|dest| dest.address).collect()
}

/// A cross-connect is open now, or would be if it had a carrier.
pub fn crosses(appliance: &Appliance) -> bool {
    let there = appliance.network.carriers(&appliance.config.interfaces.cross_connect);
    there.iter().any(|(index, running)| !running || appliance.network.usable(*index).is_ok())
}

fn inputs(appliance: &Appliance, healthy_pools: u16) -> Inputs {
    let config = &appliance.config;
    let pair = config.pair.as_ref();
    let tracked = pair.map_or(&[] as &[String], |pair| &pair.track);
    let runs = |name: &String| appliance.network.link_named(name).is_some_and(|(_, link)| link.running);
    let any_port = appliance.plan.state.ports.values().any(|port| port.running);
    let gateways = pair.map_or(&[] as &[IpAddr], |pair| &pair.gateways);
    let reached = |address: &IpAddr| appliance.network.neighbours.contains_key(address);
    Inputs {
        // Those two the thread of the stream tells.
        synced: false,
        drained: false,
        fault: !appliance.holds_tables() || !any_port || !tracked.iter().all(runs),
        ready: appliance.begun,
        healthy_pools,
        gateway_seen: gateways.is_empty() || gateways.iter().any(reached),
        busy_magnitude: 0,
        config_revision: appliance.common_revision(),
    }
}

/// Pools with a server that could serve by its health, whatever an operator has ordered: he orders it here, and
/// the other box must not see more in that.
fn healthy_pools(appliance: &Appliance) -> u16 {
    let pool_of = |service: &crate::core::forwarding::ServiceKey| {
        let virtual_server = appliance.config.virtual_servers.get(&service.virtual_server)?;
        Some(virtual_server.services.get(&service.service)?.pool.clone())
    };
    let healthy = appliance.plan.members.iter().filter(|(_, standing)| !health::is_ill(standing));
    let pools: BTreeSet<Name> = healthy.filter_map(|(dest, _)| pool_of(&dest.service)).collect();
    u16::try_from(pools.len()).unwrap_or(u16::MAX)
}

/// The time in which the slowest probe of the configuration finds a failed server.
pub fn detection(config: &Config) -> Span {
    let of = |pool: &crate::config::Pool| pool.check.interval * pool.check.fall.into() + pool.check.timeout;
    let longest = config.pools.values().map(of).max().unwrap_or_default();
    super::span(longest)
}
