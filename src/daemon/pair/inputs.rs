//! What the election is told of this box, and what the thread needs to ask and announce: from the daemon's state,
//! anew whenever it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::thread::Scene;
use crate::config::{Config, Interfaces, Mac, Name, yaml};
use crate::core::network::{IfIndex, Network};
use crate::core::plan::Standing;
use crate::daemon::appliance::Appliance;
use crate::dataplane::question::QUESTION_ETHERTYPE;
use crate::os::OsError;
use crate::os::asking::Asking;
use crate::os::burst::Burst;
use crate::pair::election::Inputs;
use crate::pair::time::Span;

/// What was told last.
#[derive(Default)]
pub struct Watch {
    inputs: Inputs,
    stage: Stage,
}

/// What a scene is made of.
#[derive(Clone, Default, PartialEq)]
struct Stage {
    ports: Vec<(IfIndex, Mac)>,
    addresses: Vec<IpAddr>,
    ask: Vec<(IfIndex, Mac)>,
    uplinks: BTreeMap<IfIndex, bool>,
    cross_connects: BTreeMap<IfIndex, bool>,
    /// Machines behind this box's other ports.
    machines: BTreeSet<Mac>,
}

/// So many machines are shown to the others when the way to them has changed; the rest shows itself when it sends.
const MACHINES_MAX: usize = 1_024;

impl Watch {
    pub fn first(&mut self, appliance: &Appliance) -> Result<(Inputs, Scene), OsError> {
        self.inputs = inputs(appliance);
        self.stage = Stage::of(appliance);
        Ok((self.inputs, self.stage.scene()?))
    }

    /// What has changed since it was told last.
    pub fn changed(&mut self, appliance: &Appliance) -> Result<(Option<Inputs>, Option<Scene>), OsError> {
        let inputs = Some(inputs(appliance)).filter(|inputs| *inputs != self.inputs);
        let stage = Some(Stage::of(appliance)).filter(|stage| *stage != self.stage);
        let scene = stage.as_ref().map(Stage::scene).transpose()?;
        self.inputs = inputs.unwrap_or(self.inputs);
        if let Some(stage) = stage {
            self.stage = stage;
        }
        Ok((inputs, scene))
    }
}

impl Stage {
    fn of(appliance: &Appliance) -> Self {
        let state = &appliance.plan.state;
        let interfaces = &appliance.config.interfaces;
        let links = |names: &[String]| carriers(&appliance.network, names);
        let (uplinks, cross_connects) = (links(&interfaces.uplinks), links(&interfaces.cross_connect));
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
        let machines = if uplinks.is_empty() { BTreeSet::new() } else { behind.take(MACHINES_MAX).collect() };
        Self { ports, addresses: addresses.into_iter().collect(), ask, uplinks, cross_connects, machines }
    }

    fn scene(&self) -> Result<Scene, OsError> {
        let burst = |port: &(IfIndex, Mac)| Ok((port.0, Burst::announcing(&[*port], &self.addresses)?));
        let asking = |(port, own): &(IfIndex, Mac)| Ok((*port, *own, Asking::open(*port, QUESTION_ETHERTYPE)?));
        let showing = |port: &IfIndex| Ok((*port, Burst::showing(*port, self.machines.iter().copied())?));
        let ways = self.uplinks.keys().chain(self.cross_connects.keys());
        Ok(Scene {
            machines: ways.map(showing).collect::<Result<_, OsError>>()?,
            ask: self.ask.iter().map(asking).collect::<Result<_, OsError>>()?,
            announcements: self.ports.iter().map(burst).collect::<Result<_, OsError>>()?,
            uplinks: self.uplinks.clone(),
            cross_connects: self.cross_connects.clone(),
        })
    }
}

/// The port by which customers are answered whose place is not known: that towards a router.
pub fn way_out(appliance: &Appliance) -> Option<IfIndex> {
    let network = &appliance.network;
    let gateways = appliance.config.pair.iter().flat_map(|pair| &pair.gateways);
    let known = gateways.filter_map(|address| network.locate(*address).ok()).map(|place| place.port).next();
    let interfaces = &appliance.config.interfaces;
    let usable = |names: &[String]| carriers(network, names).into_keys().find(|port| network.usable(*port).is_ok());
    known.or_else(|| usable(&interfaces.uplinks)).or_else(|| usable(&interfaces.cross_connect))
}

/// An uplink is open now.
pub fn uplinks_forward(appliance: &Appliance) -> bool {
    let uplinks = carriers(&appliance.network, &appliance.config.interfaces.uplinks);
    uplinks.keys().any(|index| appliance.network.usable(*index).is_ok())
}

/// The ports with these names that there are, each with whether it is up and has a carrier.
fn carriers(network: &Network, names: &[String]) -> BTreeMap<IfIndex, bool> {
    let links = names.iter().filter_map(|name| network.link_named(name));
    links.map(|(index, link)| (index, link.running)).collect()
}

fn inputs(appliance: &Appliance) -> Inputs {
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
        healthy_pools: healthy_pools(appliance),
        gateway_seen: gateways.is_empty() || gateways.iter().any(reached),
        busy_magnitude: 0,
        config_revision: shared_revision(config),
    }
}

/// Pools with a server that could serve by its health, whatever an operator has ordered: he orders it here, and
/// the other box must not see more in that.
fn healthy_pools(appliance: &Appliance) -> u16 {
    let ill = |standing: &Standing| {
        matches!(
            standing,
            Standing::Down(_)
                | Standing::Unprobed
                | Standing::NoPlace(_)
                | Standing::NoAddress(_)
                | Standing::Held(_)
                | Standing::Flapping
                | Standing::LastResort
        )
    };
    let pool_of = |service: &crate::core::forwarding::ServiceKey| {
        let virtual_server = appliance.config.virtual_servers.get(&service.virtual_server)?;
        Some(virtual_server.services.get(&service.service)?.pool.clone())
    };
    let healthy = appliance.plan.members.iter().filter(|(_, standing)| !ill(standing));
    let pools: BTreeSet<Name> = healthy.filter_map(|(dest, _)| pool_of(&dest.service)).collect();
    u16::try_from(pools.len()).unwrap_or(u16::MAX)
}

/// A number that two boxes have in common exactly if they agree on all that is not of one box alone.
pub(super) fn shared_revision(config: &Config) -> u64 {
    let shared = Config {
        hostname: Name::of_a_box(),
        interfaces: Interfaces { inside: config.interfaces.inside.clone(), ..Interfaces::default() },
        pair: None,
        limits: Default::default(),
        http: Default::default(),
        ..config.clone()
    };
    // The same in every release that writes the same text.
    let [a, b, c, d, e, f, g, h, ..] = Sha256::digest(yaml::to_yaml(&shared)).0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The time in which the slowest probe of the configuration finds a failed server.
pub fn detection(config: &Config) -> Span {
    let of = |pool: &crate::config::Pool| pool.check.interval * pool.check.fall.into() + pool.check.timeout;
    let longest = config.pools.values().map(of).max().unwrap_or_default();
    super::span(longest)
}
