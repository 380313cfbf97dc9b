//! What probes behind virtual addresses (direct server return) need of this box: the way that marked packets
//! take, made and kept while there is such a member; and who else answers for these addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tracing::warn;

use super::appliance::Appliance;
use super::lock;
use crate::config::{Mac, Mode};
use crate::core::forwarding::{Family, ForwardingState};
use crate::core::marks::Marked;
use crate::core::network::{IfIndex, Network};
use crate::core::vip_claims;
use crate::dataplane::DataPlane;
use crate::os::netlink::ProbeRoute;
use crate::os::vip_watch::{Segment, VipWatch, Wanted};

/// What somebody has removed is made again within this time.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// A place that changes changes nothing here; what does is looked at so soon.
const SOON: Duration = Duration::from_millis(500);

/// Keeps the way of the probes, and asks who answers, until the daemon ends.
pub async fn keep(
    appliance: Arc<Mutex<Appliance>>,
    dataplane: Arc<Mutex<DataPlane>>,
    route: ProbeRoute,
    watch: VipWatch,
    mut network: watch::Receiver<Arc<Network>>,
    changed: Arc<Notify>,
) {
    let mut claims = watch.claims();
    // By an earlier daemon, perhaps.
    let mut made = true;
    loop {
        let (wanted, state) = {
            let appliance = lock(&appliance);
            (appliance.probed_behind(), appliance.plan.state.clone())
        };
        let seen = network.borrow_and_update().clone();
        let outcome = if wanted.is_empty() && made {
            made = false;
            route.remove().await.map(|()| Default::default()).map_err(|error| error.to_string())
        } else if wanted.is_empty() {
            Ok(Default::default())
        } else {
            made = true;
            ready(&route, &dataplane, &wanted, &state, &seen).await
        };
        {
            let mut appliance = lock(&appliance);
            match outcome {
                Ok((sources, obstacles)) => {
                    appliance.probe_ways_made(sources);
                    appliance.set_alarm("probe-way", obstacles.into_iter().collect::<Vec<_>>().join("; "));
                }
                Err(error) => appliance.set_alarm(
                    "probe-way",
                    format!("servers behind a virtual address (dsr) cannot be probed there: {error}; `check: {{target: server}}` probes their own addresses instead"),
                ),
            }
        }
        let peer = lock(&appliance).config.pair.as_ref().map(|pair| pair.peer_mac);
        watch.set(segments(&route, &state, &seen, peer).await);
        tokio::select! {
            () = changed.notified() => {}
            _ = network.changed() => tokio::time::sleep(SOON).await,
            _ = claims.changed() => {
                let now = claims.borrow_and_update().clone();
                let mut appliance = lock(&appliance);
                for warning in vip_claims::warnings(&now, &appliance.plan.state, &appliance.network) {
                    warn!("{warning}");
                }
                appliance.vip_claims = now;
            }
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

/// Where the probes of each server come from.
type Sources = BTreeMap<Marked, Option<IpAddr>>;

/// Makes the way; the sources, and what keeps the probes from telling the truth all the same, in words.
async fn ready(
    route: &ProbeRoute,
    dataplane: &Mutex<DataPlane>,
    wanted: &BTreeMap<Marked, IpAddr>,
    state: &ForwardingState,
    network: &Network,
) -> Result<(Sources, BTreeSet<String>), String> {
    let words = |error: crate::os::OsError| error.to_string();
    let (mut sources, mut links) = (Sources::new(), BTreeMap::new());
    for (server, address) in wanted {
        let way = route.way_to(*address).await.map_err(words)?;
        sources.insert(server.clone(), way.and_then(|way| way.source));
        links.extend(way.map(|way| (*address, way.link)));
    }
    // A socket that is bound to no source has the first one's of its family.
    let mut of_family: BTreeMap<Family, Option<IpAddr>> = BTreeMap::new();
    for ((_, family), source) in &sources {
        let first = of_family.entry(*family).or_default();
        *first = first.or(*source);
    }
    let device = route.ensure(&of_family).await.map_err(words)?;
    // It waits for the kernel's RTNL lock, whoever needs the data plane must not.
    let attach = || {
        let program = lock(dataplane).probe_program()?;
        program.attach(device)
    };
    tokio::task::block_in_place(attach).map_err(|error| error.to_string())?;
    let mut asked: BTreeSet<(IpAddr, IfIndex)> = BTreeSet::new();
    for (key, dest) in state.dests.iter().filter(|(_, dest)| dest.mode == Mode::Dsr) {
        let (Some(link), Some(service)) = (links.get(&dest.address), state.services.get(&key.service)) else {
            continue;
        };
        asked.extend(service.addresses.iter().map(|vip| (*vip, *link)));
    }
    let mut obstacles = BTreeSet::new();
    for (vip, link) in asked {
        let Some(known) = network.links.get(&link) else { continue };
        if let Some(obstacle) = route.obstacle(vip, (link, &known.name)).await.map_err(words)? {
            obstacles.insert(obstacle.to_string());
        }
    }
    Ok((sources, obstacles))
}

/// Where to ask who has the virtual addresses. Of a pair the other box may.
async fn segments(route: &ProbeRoute, state: &ForwardingState, network: &Network, peer: Option<Mac>) -> Wanted {
    let mut segments = Vec::new();
    for (link, vips) in vip_claims::to_ask(state, network) {
        let Some(known) = network.links.get(&link) else { continue };
        let neighbour = network.neighbours.iter().find(|(address, n)| n.link == link && is_unicast6(address));
        let source6 = match neighbour {
            Some((address, _)) => route.way_to(*address).await.ok().flatten().and_then(|way| way.source),
            None => None,
        };
        let source6 = source6.and_then(|address| if let IpAddr::V6(v6) = address { Some(v6) } else { None });
        segments.push(Segment { link, mac: known.mac, source6, vips });
    }
    let own = network.links.values().map(|link| link.mac);
    let own = own.chain(state.ports.values().map(|port| port.mac));
    Wanted { segments, excluded: own.chain(peer).collect() }
}

fn is_unicast6(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if !v6.is_multicast() && *v6 != Ipv6Addr::UNSPECIFIED && !v6.is_unicast_link_local())
}
