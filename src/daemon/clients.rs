//! Tells the data plane where clients are: at which port the bridge has learnt each MAC, and by which port all others
//! are answered.

use tracing::warn;

use super::appliance::{Appliance, Basis};
use super::lock;
use crate::core::network::IfIndex;

#[derive(Default)]
pub struct Clients {
    /// Of what they were told last: they follow from nothing else.
    told: Option<Basis>,
}

impl Clients {
    /// Tells what has changed.
    pub fn follow(&mut self, appliance: &Appliance) {
        let basis = appliance.basis();
        if self.told.as_ref().is_some_and(|told| told.is_same(&basis)) {
            return;
        }
        let mut dataplane = lock(&appliance.dataplane);
        match dataplane.set_client_places(&appliance.network.learnt_places(), way_out(appliance)) {
            Ok(()) => self.told = Some(basis),
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
