//! The other balancer of a pair, and how the two speak with each other. Of one box alone: nothing here is taken over
//! by the other one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::model::{Mac, Name};

#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The one MAC of the other box: whoever else answers questions about ownership is not believed.
    pub peer_mac: Mac,
    /// The key that both share; the file is readable by root alone.
    pub key_file: PathBuf,
    /// The greater should own, if both are equally well. 0 to 255, default 100.
    pub priority: u8,
    /// The box of higher priority takes over so long after it became ready. `None`: the owner stays.
    pub preempt: Option<Duration>,
    /// A heartbeat goes out on every path this often. 20 ms to 1 s, default 50 ms.
    pub heartbeat: Duration,
    /// A peer that has been silent for so long is dead. Five heartbeats at least, to 10 s; default 250 ms.
    pub dead: Duration,
    /// At least one.
    pub paths: BTreeMap<Name, Path>,
    /// Ports without which this box does not want to own.
    pub track: Vec<String>,
    /// A router that an owner must reach; asked by ARP or neighbour discovery. One answer of any is enough.
    pub gateways: Vec<IpAddr>,
    /// A data plane whose daemon is dead keeps the addresses for so long. 2 s (the default) to 1 hour.
    pub orphan_after: Duration,
    pub fence: Option<Fence>,
}

impl Pair {
    pub const PRIORITY_DEFAULT: u8 = 100;
    pub const HEARTBEAT_DEFAULT: Duration = Duration::from_millis(50);
    pub const DEAD_DEFAULT: Duration = Duration::from_millis(250);
    pub const ORPHAN_AFTER_DEFAULT: Duration = Duration::from_secs(2);
    /// Heartbeats that must fit into the dead interval: four may be lost.
    pub const HEARTBEATS_IN_DEAD: u32 = 5;
}

/// A way on which heartbeats go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// UDP between an address of this box and one of the other. State goes by these ways, too.
    Udp {
        local: IpAddr,
        peer: IpAddr,
        /// The same at both ends. Default 7946.
        port: u16,
        /// The interface to use, whatever the routes say.
        interface: Option<String>,
    },
    /// A serial line, raw, 8 bits without parity.
    Serial {
        device: PathBuf,
        /// Default 115,200.
        baud: u32,
    },
}

impl Path {
    pub const PORT_DEFAULT: u16 = 7946;
    pub const BAUD_DEFAULT: u32 = 115_200;
    /// What the kernel and common adapters know.
    pub const BAUDS: [u32; 8] = [9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600];
}

/// Called before a takeover for which every path was cut: switches the other box off, say by a power bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Program and arguments; exit status 0 says that the other box is off.
    pub command: Vec<String>,
    /// Its process group is killed after this. 100 ms to 1 minute, default 5 s.
    pub timeout: Duration,
}

impl Fence {
    pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
}
