//! The switch: brings the bridge to what the configuration says, and keeps it there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use super::appliance::Appliance;
use super::lock;
use crate::config::Interfaces;
use crate::core::gates::{Gate, Gates};
use crate::core::network::{IfIndex, Link, Network};
use crate::files;
use crate::os::bridge::{Bridge, Outcome, Record, Wanted};

/// Addresses are not watched: what somebody has removed is added again within this time.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// After something was done: whoever undoes it at once is not fought a thousand times a second.
const PAUSE: Duration = Duration::from_millis(100);

pub struct Switch {
    bridge: Bridge,
    gates: Arc<Gates>,
    record: Record,
    path: PathBuf,
    /// Ports that a pair opens and blocks, with the numbers that they had last.
    known: BTreeMap<String, IfIndex>,
    /// What uplinks are until the pair has said something.
    uplinks_at_first: Option<Gate>,
}

impl Switch {
    /// The record of what lbd has set up is in the run directory: a boot forgets both. `uplinks_at_first`: the gate of
    /// uplinks of which nobody has said anything, from before they join the bridge.
    pub fn open(run_dir: &Path, gates: Arc<Gates>, uplinks_at_first: Option<Gate>) -> anyhow::Result<Self> {
        let path = run_dir.join("switch.json");
        let record = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                warn!("{}: {error}; ports that lbd has put into the bridge stay there", path.display());
                Record::default()
            }),
            Err(_) => Record::default(),
        };
        Ok(Self { bridge: Bridge::open()?, gates, record, path, known: BTreeMap::new(), uplinks_at_first })
    }

    /// Brings the bridge to what is wanted; nothing where lbd is not to manage it.
    pub async fn bring(&mut self, interfaces: &Interfaces) -> Outcome {
        let Some(wanted) = Wanted::of(interfaces) else { return Outcome::default() };
        match self.bridge.seen().await {
            Ok(seen) => {
                let first = |name: &String| self.uplinks_at_first.filter(|_| interfaces.uplinks.contains(name));
                let named = seen.links.iter().map(|(index, link)| (&link.name, *index));
                for (name, index) in named.filter(|(name, _)| wanted.gated.contains(*name)) {
                    follow(&self.gates, &mut self.known, name, index, first(name));
                }
            }
            Err(error) => return Outcome { problems: vec![error.to_string()], ..Outcome::default() },
        }
        let path = self.path.clone();
        let keep = |record: &Record| {
            let bytes = serde_json::to_vec(record).map_err(|error| error.to_string())?;
            tokio::task::block_in_place(|| files::replace(&path, &bytes, None)).map_err(|error| format!("{error:#}"))
        };
        let outcome = self.bridge.reconcile(&wanted, &self.gates, &mut self.record, keep).await;
        if !outcome.done.is_empty() {
            info!("the switch: {}", outcome.done.join(", "));
        }
        outcome
    }
}

/// Notes the number of a port. One that has come again has another number, and the gate that it had; one that is new
/// has its first gate, if there is to be one.
fn follow(gates: &Gates, known: &mut BTreeMap<String, IfIndex>, name: &str, index: IfIndex, first: Option<Gate>) {
    // One that was gone has kept its number here, by which it is followed when it returns.
    let before = known.insert(name.to_owned(), index).filter(|before| *before != index);
    let gate = before.and_then(|before| gates.get(before)).or(first);
    if gates.get(index).is_none()
        && let Some(gate) = gate
        && !gates.set(index, gate)
    {
        warn!("{name} can be neither opened nor blocked: there are more such ports than lbd keeps");
    }
    if let Some(before) = before {
        gates.forget(before);
    }
}

/// Keeps the switch as it should be, until the daemon ends: after a reload, when a link changes, and now and then.
pub async fn keep(
    mut switch: Switch,
    appliance: Arc<Mutex<Appliance>>,
    mut network: watch::Receiver<Arc<Network>>,
    reconfigured: Arc<Notify>,
) {
    loop {
        let interfaces = lock(&appliance).config.interfaces.clone();
        let links = network.borrow_and_update().links.clone();
        let outcome = switch.bring(&interfaces).await;
        let problems = outcome.problems.join("; ");
        let words = if problems.is_empty() { problems } else { format!("the switch is not as configured: {problems}") };
        lock(&appliance).set_alarm("switch", words);
        if !outcome.done.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
        tokio::select! {
            () = reconfigured.notified() => {}
            changed = changed(&mut network, &links) => if !changed { return },
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

/// Waits until the links are others; false when the watcher has ended.
async fn changed(network: &mut watch::Receiver<Arc<Network>>, links: &BTreeMap<IfIndex, Link>) -> bool {
    network.wait_for(|now| now.links != *links).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_comes_again_with_another_number_has_the_gate_that_it_had() {
        let (gates, mut known) = (Gates::default(), BTreeMap::new());
        follow(&gates, &mut known, "eth1", 4, Some(Gate::Blocked));
        assert_eq!(gates.get(4), Some(Gate::Blocked));
        assert!(gates.set(4, Gate::Open));
        follow(&gates, &mut known, "eth1", 4, Some(Gate::Blocked));
        assert_eq!(gates.get(4), Some(Gate::Open), "the pair has said something");
        follow(&gates, &mut known, "eth1", 9, Some(Gate::Blocked));
        assert_eq!((gates.get(4), gates.get(9)), (None, Some(Gate::Open)));
    }

    #[test]
    fn a_port_of_which_nobody_says_anything_has_no_gate() {
        let (gates, mut known) = (Gates::default(), BTreeMap::new());
        follow(&gates, &mut known, "eth6", 4, None);
        assert_eq!(gates.get(4), None);
    }
}
