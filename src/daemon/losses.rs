//! What drivers and links say that they have lost, read on a schedule of its own and remembered.
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
use crate::os::{clock, netlink};

/// Between two readings.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Frames lost after a redirect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    pub by_port: BTreeMap<IfIndex, u64>,
    /// When the reading began: what was lost before it is in it. `None`: there has been none.
    pub read: Option<Moment>,
}

/// Reads until nobody wants to know any more.
pub async fn keep(appliance: Arc<Mutex<Appliance>>, os: netlink::Handle, out: watch::Sender<Losses>) {
    while !out.is_closed() {
        let read = Some(clock::now());
        let by_port = read_all(&appliance, &os).await;
        out.send_replace(Losses { by_port, read });
        tokio::time::sleep(READ_EVERY).await;
    }
}

async fn read_all(appliance: &Mutex<Appliance>, os: &netlink::Handle) -> BTreeMap<IfIndex, u64> {
    let names: Vec<(IfIndex, String)> = tokio::task::block_in_place(|| {
        let appliance = lock(appliance);
        let links = &appliance.network.links;
        appliance.plan.state.ports.keys().filter_map(|i| Some((*i, links.get(i)?.name.clone()))).collect()
    });
    let mut losses = BTreeMap::new();
    for (index, name) in names {
        let sent = os.drops(index).await.map_or(0, |drops| drops.sent);
        let driver = tokio::task::block_in_place(|| {
            let ethtool = Ethtool::open().ok()?;
            xdp_losses(&ethtool.driver(&name).ok()?, &ethtool.statistics(&name).ok()?)
        });
        // The link's count of frames dropped in sending contains those of the driver's XDP counters.
        losses.insert(index, driver.unwrap_or(0).max(sent));
    }
    losses
}
