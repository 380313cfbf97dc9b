//! Whether a port forwards, as the program sees it, written at once and from any thread: past `DataPlane`, which
//! whoever holds it may hold for long.

use std::sync::Arc;

use super::DataPlaneError;
use super::clients;
use super::kernel::{SharedArray, Table};
use super::layout::{self, PORT_FORWARDING};
use super::loader::Maps;
use crate::core::network::IfIndex;

/// The program's two tables of ports, by descriptors of its own.
pub struct PortFlags {
    ports: Table<u32, layout::port>,
    tx_ports: Table<u32, u32>,
    control: Arc<SharedArray<layout::control>>,
}

impl PortFlags {
    pub(super) fn new(maps: &Maps) -> Result<Self, DataPlaneError> {
        let (ports, tx_ports) = (maps.ports.share()?, maps.tx_ports.share()?);
        Ok(Self { ports, tx_ports, control: maps.control.clone() })
    }

    /// From now on the program handles the frames of a port, and sends there, or leaves them to the kernel. False:
    /// the program is not on that port. In the network namespace of the ports only: the kernel looks for the way out
    /// in that of the caller.
    pub fn set(&self, port: IfIndex, forwarding: bool) -> Result<bool, DataPlaneError> {
        let Some(held) = self.ports.get(&port)? else { return Ok(false) };
        let written = write_port(&self.ports, &self.tx_ports, port, held.mac, forwarding);
        clients::moved(&self.control);
        written.map(|()| true)
    }
}

/// The way out before the way in: a packet that comes in may have to leave there. Whoever calls it tells the flows
/// ([`clients::moved`]): clients may have been at that port.
pub(super) fn write_port(
    ports: &Table<u32, layout::port>,
    tx_ports: &Table<u32, u32>,
    index: IfIndex,
    mac: [u8; 6],
    forwarding: bool,
) -> Result<(), DataPlaneError> {
    if forwarding {
        tx_ports.put(&index, &index)?;
    } else {
        tx_ports.delete(&index)?;
    }
    let flags = if forwarding { PORT_FORWARDING } else { 0 };
    ports.put(&index, &layout::port { mac, pad: 0, flags })
}
