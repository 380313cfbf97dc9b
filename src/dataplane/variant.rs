//! The program loaded once more on the same maps, with another constant: what a variant does otherwise is decided
//! when it is loaded, and the program that serves has none of it.

use std::os::fd::{AsFd, OwnedFd};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapHandle};

use super::DataPlaneError;
use super::kernel::{RingReader, Table};
use super::layout::*;

/// Maps that only variants have; the program that serves is loaded without them.
pub const OF_VARIANTS: [&str; 6] = ["fate", "tap_filter", "tapped", "tap_lost", "tap_events", "talkers"];
/// What a variant that changes nothing has of its own, because the program writes there without asking.
const OF_DRY_RUN: [&str; 6] = ["packet", "scratch", "reasons", "traffic", "seen_macs", "fate"];

/// All maps of a loaded data plane, by descriptors of their own.
pub struct SharedMaps(Vec<(String, MapHandle)>);

impl SharedMaps {
    pub fn of(object: &libbpf_rs::Object) -> Result<Self, libbpf_rs::Error> {
        let maps = object.maps().filter(|map| {
            let name = map.name().to_string_lossy();
            // A map that is not made has a descriptor all the same, of nothing.
            !is_internal(&name) && !OF_VARIANTS.contains(&&*name)
        });
        let named = maps.map(|map| Ok((map.name().to_string_lossy().into_owned(), MapHandle::try_from(&map)?)));
        named.collect::<Result<_, _>>().map(Self)
    }

    /// The same by other descriptors, for whoever uses them without holding the data plane.
    pub fn try_clone(&self) -> Result<Self, DataPlaneError> {
        let copies = self.0.iter().map(|(name, map)| Ok((name.clone(), MapHandle::try_from(map)?)));
        copies.collect::<Result<_, _>>().map(Self).map_err(DataPlaneError::load)
    }

    /// The contents of all maps, raw: for tests of what changes nothing.
    #[doc(hidden)]
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MapHandle)> {
        self.0.iter().map(|(name, map)| (name.as_str(), map))
    }
}

/// The constants and variables of the program itself.
pub fn is_internal(name: &str) -> bool {
    name.starts_with('.') || name.contains(".rodata") || name.contains(".bss")
}

/// Changes nothing, whatever it is run on. Attached nowhere.
pub struct DryRun {
    pub xdp: OwnedFd,
    pub fate: Table<u32, fate>,
    /// Its own counters.
    pub reasons: Table<u32, u64>,
}

impl DryRun {
    pub fn load(shared: &SharedMaps) -> Result<Self, DataPlaneError> {
        load(shared, VARIANT_EXPLAIN, &OF_DRY_RUN, |skel| {
            Ok(Self {
                xdp: skel.progs.lbd_xdp.as_fd().try_clone_to_owned()?,
                fate: Table::new(MapHandle::try_from(&skel.maps.fate)?),
                reasons: Table::new(MapHandle::try_from(&skel.maps.reasons)?),
            })
        })
    }
}

/// Serves as the program does, and tells of packets that a filter wants. Attached nowhere so far.
pub struct Tapping {
    pub xdp: OwnedFd,
    pub filter: Table<u32, tap_filter>,
    pub events: RingReader,
    pub lost: Table<u32, u64>,
    pub talkers: Table<talker_key, talker>,
}

impl Tapping {
    pub fn load(shared: &SharedMaps) -> Result<Self, DataPlaneError> {
        let (xdp, filter, events, lost, talkers) = load(shared, VARIANT_CAPTURE, &OF_VARIANTS, |skel| {
            Ok((
                skel.progs.lbd_xdp.as_fd().try_clone_to_owned()?,
                MapHandle::try_from(&skel.maps.tap_filter)?,
                MapHandle::try_from(&skel.maps.tap_events)?,
                MapHandle::try_from(&skel.maps.tap_lost)?,
                MapHandle::try_from(&skel.maps.talkers)?,
            ))
        })?;
        let events = RingReader::map(&events)?;
        Ok(Self { xdp, filter: Table::new(filter), events, lost: Table::new(lost), talkers: Table::new(talkers) })
    }
}

/// `own`: the maps that are made for it; all others are the data plane's.
fn load<T>(
    shared: &SharedMaps,
    variant: u32,
    own: &[&str],
    take: impl FnOnce(&LbdSkel<'_>) -> Result<T, libbpf_rs::Error>,
) -> Result<T, DataPlaneError> {
    let load = || {
        let mut object = std::mem::MaybeUninit::uninit();
        let mut open = LbdSkelBuilder::default().open(&mut object)?;
        if let Some(constants) = open.maps.rodata_data.as_deref_mut() {
            constants.lbd_variant = variant;
        }
        for mut program in open.open_object_mut().progs_mut() {
            let serves = program.name() == "lbd_xdp";
            program.set_autoload(serves);
        }
        for mut map in open.open_object_mut().maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            let original = shared.iter().find(|(other, _)| *other == name);
            match (original, own.contains(&name.as_str())) {
                (Some((_, original)), true) => map.set_max_entries(original.max_entries())?,
                (Some((_, original)), false) => map.reuse_fd(original.as_fd())?,
                (None, wanted) if OF_VARIANTS.contains(&name.as_str()) => map.set_autocreate(wanted)?,
                (None, _) => {}
            }
        }
        take(&open.load()?)
    };
    load().map_err(DataPlaneError::load)
}
