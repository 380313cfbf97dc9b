//! Where clients are of which only the peer has told.

use std::collections::BTreeMap;

use super::super::layout::{MAX_CLIENT_PLACES, Raw, l2};
use super::super::{DataPlane, DataPlaneError};
use crate::config::Mac;
use crate::core::network::IfIndex;

/// The entry for all MACs that are not listed.
const OTHERS: u64 = 0;

impl DataPlane {
    /// Sets on which port each MAC in each VLAN (0: untagged) is, as the bridge has learnt it, and by which port
    /// to answer all others: that towards the gateway. Connections of the peer's that no packet of their client
    /// has shown the way for yet follow at once. At most 4,095 MACs are kept, the rest are with the others.
    pub fn set_client_places(
        &mut self,
        places: &BTreeMap<(Mac, u16), IfIndex>,
        others: Option<IfIndex>,
    ) -> Result<(), DataPlaneError> {
        let listed = places.iter().take(MAX_CLIENT_PLACES as usize - 1);
        let mut wanted: BTreeMap<u64, IfIndex> = listed.map(|((mac, vlan), port)| (word(*mac, *vlan), *port)).collect();
        wanted.extend(others.map(|port| (OTHERS, port)));
        let table = &self.loaded.maps.client_places;
        let mut held = match self.client_places.take() {
            Some(held) => held,
            // Of an earlier daemon.
            None => {
                let mut held = BTreeMap::new();
                table.scan(MAX_CLIENT_PLACES, |key, port| {
                    held.insert(*key, *port);
                    true
                })?;
                held
            }
        };
        // On an error it is read back by the next call.
        for key in held.keys().copied().filter(|key| !wanted.contains_key(key)).collect::<Vec<_>>() {
            table.delete(&key)?;
            held.remove(&key);
        }
        for (key, port) in &wanted {
            if held.get(key) != Some(port) {
                table.put(key, port)?;
                held.insert(*key, *port);
            }
        }
        self.client_places = Some(held);
        Ok(())
    }
}

/// `struct l2` as one word.
pub fn word(mac: Mac, vlan: u16) -> u64 {
    u64::from_bytes(l2 { mac: mac.0, vlan }.bytes()).unwrap_or(OTHERS)
}
