//! Opens and blocks ports of the switch in one go: the bridge of the kernel, and what the data plane knows of it.

use std::sync::Arc;

use crate::core::gates::{Gate, Gates};
use crate::core::network::IfIndex;
use crate::dataplane::{DataPlane, DataPlaneError, PortFlags};
use crate::os::OsError;
use crate::os::bridge::PortStates;

/// Why a port is not as it was ordered.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error("there are more ports to open and block than lbd keeps")]
    NoRoom,
    #[error(transparent)]
    Bridge(#[from] OsError),
    #[error(transparent)]
    DataPlane(#[from] DataPlaneError),
}

/// For the thread of a takeover: it has descriptors of its own, takes no lock of this process, and waits for nothing
/// but the kernel's lock on the configuration of links. Made in the network namespace of the ports.
pub struct PortGates {
    gates: Arc<Gates>,
    states: PortStates,
    flags: PortFlags,
}

impl PortGates {
    /// `gates` is the one that the data plane uses (`DataPlane::use_gates`).
    pub fn open(gates: Arc<Gates>, dataplane: &DataPlane) -> Result<Self, GateError> {
        Ok(Self { gates, states: PortStates::open()?, flags: dataplane.port_flags()? })
    }

    /// The port is open already, and is to stay so. Nothing is written: had it been blocked meanwhile, the switch's
    /// next reconciliation opens it.
    pub fn found_open(&self, port: IfIndex) -> Result<(), GateError> {
        self.gates.set(port, Gate::Open).then_some(()).ok_or(GateError::NoRoom)
    }

    /// No frame goes through any more. On an error the port counts as blocked all the same: the data plane leaves it
    /// alone, and the switch's next reconciliation tries again.
    pub fn block(&mut self, port: IfIndex) -> Result<(), GateError> {
        if !self.gates.set(port, Gate::Blocked) {
            return Err(GateError::NoRoom);
        }
        let flagged = self.flags.set(port, false);
        self.states.block(port)?;
        flagged?;
        Ok(())
    }

    /// Frames go through: first those that cross the switch, then the data plane's. On an error of the bridge the
    /// port counts as blocked.
    pub fn unblock(&mut self, port: IfIndex) -> Result<(), GateError> {
        if !self.gates.set(port, Gate::Open) {
            return Err(GateError::NoRoom);
        }
        if let Err(error) = self.states.unblock(port) {
            let _ = self.gates.set(port, Gate::Blocked);
            return Err(error.into());
        }
        self.flags.set(port, true)?;
        Ok(())
    }

    /// Forgets what was learnt on a port: another way has been opened, and machines are behind that one now.
    pub fn forget(&mut self, port: IfIndex) -> Result<(), GateError> {
        Ok(self.states.forget(port)?)
    }
}
