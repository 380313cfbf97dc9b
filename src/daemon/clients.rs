//! Tells the data plane where clients are: at which port the bridge has learnt each MAC, and by which port all others
//! are answered.

use std::sync::Arc;

use tracing::warn;

use super::appliance::Appliance;
use super::lock;
use crate::core::network::{IfIndex, Network};

#[derive(Default)]
pub struct Clients {
    /// Of what they were told last: they follow from nothing else. The number of the plan is there for the ports that it has
    /// opened or blocked.
    told: Option<(Arc<Network>, u64, u64)>,
}

impl Clients {
    /// Tells what has changed.
    pub fn follow(&mut self, appliance: &Appliance) {
        let Appliance { network, revision, planned, .. } = appliance;
        let same = |told: &(Arc<Network>, u64, u64)| {
            Arc::ptr_eq(&told.0, network) && (told.1, told.2) == (*revision, *planned)
        };
        if self.told.as_ref().is_some_and(same) {
            return;
        }
        let mut dataplane = lock(&appliance.dataplane);
        match dataplane.set_client_places(&network.learnt_places(), way_out(appliance)) {
            Ok(()) => self.told = Some((network.clone(), *revision, *planned)),
            Err(error) => warn!("where clients are could not be told to the data plane: {error}"),
        }
    }
}

/// The port by which customers are answered whose place is not known: that towards a router.
fn way_out(appliance: &Appliance) -> Option<IfIndex> {
    let network = &appliance.network;
    let gateways = appliance.config.pair.iter().flat_map(|pair| &pair.gateways);
    let known = gateways.filter_map(|address| network.locate(*address).ok()).map(|place| place.port).next();
    let interfaces = &appliance.config.interfaces;
    let usable = |names: &[String]| network.carriers(names).into_keys().find(|port| network.usable(*port).is_ok());
    known.or_else(|| usable(&interfaces.uplinks)).or_else(|| usable(&interfaces.cross_connect))
}
