//! Where clients are: `bpf/clients.h` finds them there.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use super::flows::monotonic_ns;
use super::kernel::SharedArray;
use super::layout::{MAX_CLIENT_PLACES, PORT_BY_MAC, PORT_FORWARDING, Raw, client_place, control, flow, l2};
use super::loader::Maps;
use super::{DataPlane, DataPlaneError};
use crate::config::Mac;
use crate::core::network::IfIndex;

/// The entry for all MACs that are not listed.
const OTHERS: u64 = 0;

impl DataPlane {
    /// Sets on which port each MAC in each VLAN (0: untagged) is, as the bridge has learnt it, and by which port
    /// to answer all others: that towards the gateway. Connections of the peer's that no packet of their client
    /// has shown the way for yet follow at once, and so do those whose client was heard last before the bridge learnt
    /// something else. At most 4,095 MACs are kept, the rest are with the others.
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
                table.scan(MAX_CLIENT_PLACES, |key, place| {
                    held.insert(*key, place.port);
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
        let control = &self.loaded.maps.control;
        let (since, next) = (monotonic_ns(), moves(control).wrapping_add(1));
        let mut any = false;
        for (key, port) in &wanted {
            // What the program has heard meanwhile is newer, unless the bridge has learnt something new as well.
            if held.get(key) != Some(port) {
                table.put(key, &client_place { since, port: *port, r#move: next })?;
                held.insert(*key, *port);
                any = true;
            }
        }
        if any {
            moved(control);
        }
        self.client_places = Some(held);
        Ok(())
    }
}

/// The number of the latest move, as flows keep it.
fn moves(control: &SharedArray<control>) -> u32 {
    control.word(0, offset_of!(control, moves)).map_or(0, |word| word.load(Ordering::Acquire) as u32)
}

/// Has each flow look where its client is, at its next reply: a client or a port is not what it was.
pub fn moved(control: &SharedArray<control>) {
    if let Some(word) = control.word(0, offset_of!(control, moves)) {
        word.fetch_add(1, Ordering::AcqRel);
    }
}

/// By which port a flow's client is reached now, as `port_to_client` in `bpf/clients.h` finds it: where it was heard
/// last, unless its MAC has moved since or that port has blocked. `None`: only the kernel knows a way, if anybody.
pub fn port_to_client(maps: &Maps, flow: &flow) -> Result<Option<IfIndex>, DataPlaneError> {
    let forwards = |port: IfIndex| Ok(maps.ports.get(&port)?.is_some_and(|held| held.flags & PORT_FORWARDING != 0));
    let key = u64::from_bytes(flow.client.bytes()).unwrap_or(OTHERS);
    let place = maps.client_places.get(&key)?;
    let own = (flow.client_port != PORT_BY_MAC).then_some(flow.client_port);
    let newer = place.filter(|place| own.is_none() || place.since > flow.last_seen);
    for port in [newer.map(|place| place.port), own, place.map(|place| place.port)].into_iter().flatten() {
        if forwards(port)? {
            return Ok(Some(port));
        }
    }
    match maps.client_places.get(&OTHERS)? {
        Some(way_out) if forwards(way_out.port)? => Ok(Some(way_out.port)),
        _ => Ok(None),
    }
}

/// `struct l2` as one word.
pub fn word(mac: Mac, vlan: u16) -> u64 {
    u64::from_bytes(l2 { mac: mac.0, vlan }.bytes()).unwrap_or(OTHERS)
}
