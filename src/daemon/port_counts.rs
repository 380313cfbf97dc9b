//! What links and drivers have counted and lost, read on a schedule of its own and remembered.
//!
//! Both questions (RTM_GETLINK, the ethtool ioctl) wait for the kernel's RTNL lock, which whoever makes or removes
//! interfaces and network namespaces may hold for seconds. Whoever asks the daemon for its state is not to wait for that:
//! he gets the latest reading, and its age.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::appliance::Appliance;
use super::lock;
use crate::core::moment::Moment;
use crate::core::network::IfIndex;
use crate::os::ethtool::{Ethtool, xdp_losses};
use crate::os::netlink::LinkCounts;
use crate::os::{clock, netlink};

/// Between two readings.
const READ_EVERY: Duration = Duration::from_secs(1);

/// What the ports have counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortCounts {
    pub by_port: BTreeMap<IfIndex, Counts>,
    /// When the reading began: what happened before it is in it. `None`: there has been none.
    pub read: Option<Moment>,
}

/// Of one port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub link: LinkCounts,
    /// Frames lost after a redirect.
    pub lost: u64,
}

/// Reads until nobody wants to know any more.
pub async fn keep(appliance: Arc<Mutex<Appliance>>, os: netlink::Handle, out: watch::Sender<PortCounts>) {
    let mut by_port = BTreeMap::new();
    while !out.is_closed() {
        let read = Some(clock::now());
        by_port = read_all(&appliance, &os, &by_port).await;
        out.send_replace(PortCounts { by_port: by_port.clone(), read });
        tokio::time::sleep(READ_EVERY).await;
    }
}

/// A port that the kernel does not tell of now keeps what it told last: its counters do not step back.
async fn read_all(
    appliance: &Mutex<Appliance>,
    os: &netlink::Handle,
    before: &BTreeMap<IfIndex, Counts>,
) -> BTreeMap<IfIndex, Counts> {
    let names: Vec<(IfIndex, String)> = tokio::task::block_in_place(|| {
        let appliance = lock(appliance);
        let links = &appliance.network.links;
        appliance.plan.state.ports.keys().filter_map(|i| Some((*i, links.get(i)?.name.clone()))).collect()
    });
    let mut counts = BTreeMap::new();
    for (index, name) in names {
        let Ok(link) = os.counts(index).await else {
            counts.extend(before.get(&index).map(|before| (index, *before)));
            continue;
        };
        let driver = tokio::task::block_in_place(|| {
            let ethtool = Ethtool::open().ok()?;
            xdp_losses(&ethtool.driver(&name).ok()?, &ethtool.statistics(&name).ok()?)
        });
        // The link's count of frames dropped in sending contains those of the driver's XDP counters.
        counts.insert(index, Counts { link, lost: driver.unwrap_or(0).max(link.sent.dropped) });
    }
    counts
}
