//! Where clients are: `bpf/clients.h` finds them there.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use super::flows::coarse_monotonic_ns;
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
    /// something else. At most 4,095 MACs are kept, the rest are with the others. What the program has heard of a MAC
    /// stands until the bridge learns something new of it, or that port forwards no more.
    pub fn set_client_places(
        &mut self,
        places: &BTreeMap<(Mac, u16), IfIndex>,
        others: Option<IfIndex>,
    ) -> Result<(), DataPlaneError> {
        let listed = places.iter().take(MAX_CLIENT_PLACES as usize - 1);
        let mut wanted: BTreeMap<u64, IfIndex> = listed.map(|((mac, vlan), port)| (word(*mac, *vlan), *port)).collect();
        wanted.extend(others.map(|port| (OTHERS, port)));
        let maps = &self.loaded.maps;
        let mut any = false;
        let written = write(maps, &wanted, self.client_places.take(), &mut any);
        // After the places, and whatever became of the rest: whoever has looked before looks again.
        if any {
            moved(&maps.control);
        }
        written?;
        self.client_places = Some(wanted);
        Ok(())
    }
}

/// Brings the table to what is wanted. `told`: what was wanted last; none, of an earlier daemon or after an error:
/// then what the table holds counts as told. `any`: something was written.
fn write(
    maps: &Maps,
    wanted: &BTreeMap<u64, IfIndex>,
    told: Option<BTreeMap<u64, IfIndex>>,
    any: &mut bool,
) -> Result<(), DataPlaneError> {
    let table = &maps.client_places;
    let mut held = BTreeMap::new();
    table.scan(MAX_CLIENT_PLACES, |key, place| {
        held.insert(*key, place.port);
        true
    })?;
    let was_told = |key: &u64| match &told {
        Some(told) => told.get(key).copied(),
        None => wanted.get(key).or(held.get(key)).copied(),
    };
    let is_full =
        held.keys().filter(|key| !wanted.contains_key(*key)).count() + wanted.len() > MAX_CLIENT_PLACES as usize;
    for (key, port) in held.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
        // One that the program has heard elsewhere meanwhile stays: the bridge does not see what the program takes.
        if is_full || was_told(key) == Some(*port) || open_port(maps, *port)?.is_none() {
            *any = true;
            table.delete(key)?;
        }
    }
    let since = coarse_monotonic_ns();
    for (key, port) in wanted {
        let stands = match held.get(key) {
            Some(held) => was_told(key) == Some(*port) && (held == port || open_port(maps, *held)?.is_some()),
            None => false,
        };
        if !stands {
            *any = true;
            table.put(key, &client_place { since, port: *port, pad: 0 })?;
        }
    }
    Ok(())
}

/// The MAC of a port that forwards.
fn open_port(maps: &Maps, port: IfIndex) -> Result<Option<Mac>, DataPlaneError> {
    Ok(maps.ports.get(&port)?.filter(|held| held.flags & PORT_FORWARDING != 0).map(|held| Mac(held.mac)))
}

/// Has each flow look where its client is, at its next reply: a client or a port is not what it was.
pub fn moved(control: &SharedArray<control>) {
    if let Some(word) = control.word(0, offset_of!(control, moves)) {
        word.fetch_add(1, Ordering::AcqRel);
    }
}

/// By which port a flow's client is reached now, and from which MAC, by the rule of `port_to_client` in
/// `bpf/clients.h`: where its MAC has come since its latest packet; else where that came; else where its MAC is; else
/// the way out to all others. The first of them that forwards; `None`: only the kernel knows a way, if anybody.
pub fn port_to_client(maps: &Maps, flow: &flow) -> Result<Option<(IfIndex, Mac)>, DataPlaneError> {
    if flow.client_port == 0 {
        return Ok(None); // no packet of the client has come
    }
    let key = u64::from_bytes(flow.client.bytes()).unwrap_or(OTHERS);
    let place = maps.client_places.get(&key)?;
    let own = (flow.client_port != PORT_BY_MAC).then_some(flow.client_port);
    let newer = place.filter(|place| own.is_none() || place.since >= flow.last_seen);
    let others = maps.client_places.get(&OTHERS)?;
    let at = |place: Option<client_place>| place.map(|place| place.port);
    for port in [at(newer), own, at(place), at(others)].into_iter().flatten() {
        if let Some(mac) = open_port(maps, port)? {
            return Ok(Some((port, mac)));
        }
    }
    Ok(None)
}

/// `struct l2` as one word.
pub fn word(mac: Mac, vlan: u16) -> u64 {
    u64::from_bytes(l2 { mac: mac.0, vlan }.bytes()).unwrap_or(OTHERS)
}
