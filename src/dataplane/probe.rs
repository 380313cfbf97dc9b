//! Probes of servers behind a virtual IP: their marks in the program's map, and the program at the egress of
//! the interface to which `os::netlink::ProbeRoute` routes them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use libbpf_rs::{TC_EGRESS, TcHookBuilder};

use super::layout::{l2, probe_place};
use super::{DataPlane, DataPlaneError};
use crate::core::marks::ProbePlace;
use crate::core::network::IfIndex;

/// The filter's number and place. The interface is ours alone, so that a filter there is an earlier daemon's.
const HANDLE: u32 = 1;
const PRIORITY: u32 = 1;

impl DataPlane {
    /// Brings the program's map to these marks. An entry changes as a whole: no frame meets half a place.
    pub fn set_probe_places(&mut self, places: &BTreeMap<u32, ProbePlace>) -> Result<(), DataPlaneError> {
        let table = &self.loaded.maps.probe_places;
        let limit = table.capacity();
        let gone: Vec<u32> = self.probe_places.keys().filter(|mark| !places.contains_key(mark)).copied().collect();
        for mark in gone {
            table.delete(&mark)?;
            self.probe_places.remove(&mark);
        }
        for (mark, place) in places {
            if self.probe_places.get(mark) == Some(place) {
                continue;
            }
            if self.probe_places.len() >= limit as usize && !self.probe_places.contains_key(mark) {
                return Err(DataPlaneError::Full { what: "servers probed behind a virtual address", limit });
            }
            table.put(mark, &value(place))?;
            self.probe_places.insert(*mark, *place);
        }
        Ok(())
    }

    /// The program behind that, to be attached without this data plane and its lock.
    pub fn probe_program(&self) -> Result<ProbeProgram, DataPlaneError> {
        let own = self.loaded.probe.as_fd().try_clone_to_owned();
        own.map(ProbeProgram).map_err(|source| DataPlaneError::AttachProbe { device: 0, source: source.into() })
    }

    /// Puts the program at the egress of the probes' interface, at once in place of that of an earlier daemon.
    /// Call it after `set_probe_places`, and again whenever the interface may have been made anew: what is there
    /// already is replaced by itself. It ends with the interface.
    pub fn attach_probe(&self, device: IfIndex) -> Result<(), DataPlaneError> {
        self.probe_program()?.attach(device)
    }
}

/// The program at the egress of the device by which marked probes leave.
pub struct ProbeProgram(OwnedFd);

impl ProbeProgram {
    /// As `DataPlane::attach_probe`. Waits for the kernel's RTNL lock.
    pub fn attach(&self, device: IfIndex) -> Result<(), DataPlaneError> {
        let failed = |source| DataPlaneError::AttachProbe { device, source };
        let index =
            i32::try_from(device).map_err(|_| failed(std::io::Error::from_raw_os_error(libc::ENODEV).into()))?;
        let mut hook = TcHookBuilder::new(self.0.as_fd())
            .ifindex(index)
            .replace(true)
            .handle(HANDLE)
            .priority(PRIORITY)
            .hook(TC_EGRESS);
        hook.create().map_err(failed)?;
        hook.attach().map_err(failed)?;
        Ok(())
    }
}

fn value(place: &ProbePlace) -> probe_place {
    probe_place {
        to: l2 { mac: place.to.mac.0, vlan: place.to.vlan },
        own: l2 { mac: place.own.0, vlan: 0 },
        egress: place.to.port,
        ..Default::default()
    }
}
