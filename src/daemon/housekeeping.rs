//! What runs beside the loop: sweeps of the connection tables, resets of what failed servers own, and the MACs
//! that the bridge must not forget.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::lock;
use crate::config::Mac;
use crate::core::network::{IfIndex, Link, LinkKind, Network};
use crate::dataplane::{DataPlane, ResetStep, SeenMac};
use crate::os::arp::FrameSender;
use crate::os::netlink;

/// Between two steps of 2,048 entries: a table of a million is walked over in some five seconds, at a
/// share of one core that `make bench` measures.
pub const STEP_PAUSE: Duration = Duration::from_millis(8);
/// Between two walks: what has expired lingers so long, which is not seen from outside, since the
/// program itself treats an expired entry as none.
pub const WALK_PAUSE: Duration = Duration::from_secs(3);
const EMBRYOS_EVERY: Duration = Duration::from_secs(1);

/// Stops its thread when dropped.
pub struct Sweeper(Arc<AtomicBool>);

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sweeps on a thread of its own: the work is system calls, which would hold up an async thread.
pub fn sweep(dataplane: Arc<Mutex<DataPlane>>) -> Sweeper {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    std::thread::spawn(move || {
        let mut embryos = Instant::now();
        let mut complained = false;
        while !stopped.load(Ordering::Relaxed) {
            let walked = lock(&dataplane).sweep_step();
            let pause = match walked {
                Ok(true) => WALK_PAUSE,
                Ok(false) => STEP_PAUSE,
                Err(error) => {
                    if !complained {
                        warn!("{error}");
                    }
                    complained = true;
                    WALK_PAUSE
                }
            };
            let resume = Instant::now() + pause;
            loop {
                if embryos.elapsed() >= EMBRYOS_EVERY {
                    embryos = Instant::now();
                    if let Err(error) = lock(&dataplane).sweep_embryos() {
                        debug!("{error}");
                    }
                }
                let left = resume.saturating_duration_since(Instant::now());
                if left.is_zero() || stopped.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(left.min(Duration::from_millis(250)));
            }
        }
    });
    Sweeper(stop)
}

/// RSTs sent in a second, at most: well below what a link of 100 Mbit/s carries (148,809 frames).
const RESETS_PER_SECOND: u32 = 50_000;
/// Sent at once. A socket's send buffer holds some 270 short frames (Linux's net.core.wmem_default).
const RESET_BURST: usize = 64;
/// Between two chunks of the table, so that others get at the data plane.
const RESET_PAUSE: Duration = Duration::from_millis(1);
/// Nobody wakes it in vain; should a call be missed, it looks by itself.
const RESET_LOOK: Duration = Duration::from_secs(1);

/// Resets what failed servers own, on a thread of its own. Stops when dropped.
pub struct Resetter {
    stop: Arc<AtomicBool>,
    thread: std::thread::Thread,
}

impl Resetter {
    /// A server may have failed: look at once.
    pub fn wake(&self) {
        self.thread.unpark();
    }
}

impl Drop for Resetter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}

pub fn reset(dataplane: Arc<Mutex<DataPlane>>, sender: FrameSender) -> Resetter {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let handle = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            if !lock(&dataplane).has_resets() {
                std::thread::park_timeout(RESET_LOOK);
                continue;
            }
            let step = lock(&dataplane).reset_step();
            let outcome = match step {
                Ok(ResetStep::Idle) => Ok(()),
                Ok(ResetStep::Batch(batch)) => {
                    send_paced(&sender, &batch.frames, &stopped);
                    if stopped.load(Ordering::Relaxed) {
                        break; // what has not been told is left to the next daemon
                    }
                    lock(&dataplane).reset_done(batch)
                }
                Ok(ResetStep::Finished(servers)) => {
                    for (server, reset) in servers.iter().filter(|(_, r)| r.connections + r.flows > 0) {
                        info!("{server}: {} connections reset, {} UDP flows forgotten", reset.connections, reset.flows);
                    }
                    Ok(())
                }
                Err(error) => Err(error),
            };
            let pause = match outcome {
                Ok(()) => RESET_PAUSE,
                Err(error) => {
                    warn!("connections of a failed server could not be reset, will be tried again: {error}");
                    WALK_PAUSE
                }
            };
            std::thread::sleep(pause);
        }
    });
    Resetter { stop, thread: handle.thread().clone() }
}

/// Sends in bursts. A frame that finds no room is tried once more after the next burst; a client that is not
/// told then is told at its next packet: in NAT it finds no connection, in DSR one that has ended.
fn send_paced(sender: &FrameSender, frames: &[(IfIndex, Vec<u8>)], stopped: &AtomicBool) {
    let fails = |frame: &&(IfIndex, Vec<u8>)| sender.send(frame.0, &frame.1).is_err();
    let mut again: Vec<&(IfIndex, Vec<u8>)> = Vec::new();
    let mut lost = 0;
    for burst in frames.chunks(RESET_BURST) {
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        let begun = Instant::now();
        let failed = burst.iter().filter(fails).collect();
        lost += std::mem::replace(&mut again, failed).into_iter().filter(fails).count();
        let worth = Duration::from_secs(1) * u32::try_from(burst.len()).unwrap_or(u32::MAX) / RESETS_PER_SECOND;
        std::thread::sleep(worth.saturating_sub(begun.elapsed()));
    }
    lost += again.into_iter().filter(fails).count();
    if lost > 0 {
        warn!("{lost} resets could not be sent; those clients are told at their next packet");
    }
}

/// Has the bridge learn again what the data plane took away from it, well within its ageing time.
pub async fn keep_learnt(
    dataplane: Arc<Mutex<DataPlane>>,
    mut network: watch::Receiver<Arc<Network>>,
    os: netlink::Handle,
) {
    let mut taught = Taught::default();
    loop {
        let ageing = ageing(&network.borrow());
        let look = tokio::time::sleep((ageing / 4).clamp(Duration::from_millis(200), Duration::from_secs(10)));
        tokio::pin!(look);
        loop {
            taught.follow(&network.borrow_and_update().links);
            tokio::select! {
                () = &mut look => break,
                changed = network.changed() => if changed.is_err() { return },
            }
        }
        let seen = tokio::task::block_in_place(|| lock(&dataplane).seen_macs());
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                warn!("{error}");
                continue;
            }
        };
        let latest = network.borrow().clone();
        for m in taught.lessons(seen, &latest) {
            match os.learn(m.mac, m.vlan, m.port).await {
                Ok(()) => taught.told(&m),
                Err(error) => debug!("{} could not be kept learnt: {error}", m.mac),
            }
        }
    }
}

/// What the bridge was taught. A MAC that has moved must not be taught back: only what has sent something since the
/// last look counts, by a port that is open, and while no link has changed: frames that came before tell of ways
/// that may be gone.
#[derive(Default)]
struct Taught {
    /// Where each was, and when it was seen there last.
    known: BTreeMap<(Mac, u16), (IfIndex, u64)>,
    links: BTreeMap<IfIndex, Link>,
    /// They have changed since the last look, even if they are as they were then.
    changed: bool,
}

impl Taught {
    fn follow(&mut self, links: &BTreeMap<IfIndex, Link>) {
        if self.links != *links {
            self.links.clone_from(links);
            self.changed = true;
        }
    }

    fn lessons(&mut self, seen: Vec<SeenMac>, network: &Network) -> Vec<SeenMac> {
        self.known.retain(|key, _| seen.iter().any(|m| (m.mac, m.vlan) == *key));
        if std::mem::take(&mut self.changed) {
            seen.iter().for_each(|m| self.told(m));
            return Vec::new();
        }
        let is_news = |m: &SeenMac| self.known.get(&(m.mac, m.vlan)) != Some(&(m.port, m.last_seen));
        seen.into_iter().filter(|m| is_news(m) && is_open(network, m.port)).collect()
    }

    fn told(&mut self, m: &SeenMac) {
        self.known.insert((m.mac, m.vlan), (m.port, m.last_seen));
    }
}

/// A port of a bridge, up and not blocked.
fn is_open(network: &Network, port: IfIndex) -> bool {
    let of_bridge = network.links.get(&port).is_some_and(|link| matches!(link.kind, LinkKind::BridgePort { .. }));
    of_bridge && network.usable(port).is_ok()
}

/// The shortest ageing time of the bridges here; 300 s is the kernel's default.
fn ageing(network: &Network) -> Duration {
    let times = network.links.values().filter_map(|link| match link.kind {
        LinkKind::Bridge { ageing_ms } => Some(Duration::from_millis(ageing_ms.into())),
        _ => None,
    });
    times.filter(|time| !time.is_zero()).min().unwrap_or(Duration::from_secs(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

    fn network(cross_connect_runs: bool) -> Network {
        let port = |name: &str, running| Link {
            name: name.to_owned(),
            mac: MAC,
            mtu: 1_500,
            running,
            kind: LinkKind::BridgePort { bridge: 1, forwarding: true },
        };
        let links = BTreeMap::from([(2, port("up0", true)), (3, port("x0", cross_connect_runs))]);
        Network { links, ..Network::default() }
    }

    fn seen(port: IfIndex, last_seen: u64) -> Vec<SeenMac> {
        vec![SeenMac { mac: MAC, vlan: 0, port, last_seen }]
    }

    /// All that is to be taught is.
    fn look(taught: &mut Taught, seen: Vec<SeenMac>, network: &Network) -> Vec<IfIndex> {
        taught.follow(&network.links);
        let lessons = taught.lessons(seen, network);
        lessons.iter().for_each(|m| taught.told(m));
        lessons.iter().map(|m| m.port).collect()
    }

    #[test]
    fn a_machine_that_sends_is_taught_and_one_that_is_silent_is_not() {
        let (mut taught, network) = (Taught::default(), network(true));
        look(&mut taught, Vec::new(), &network);
        assert_eq!(look(&mut taught, seen(2, 10), &network), [2]);
        assert!(look(&mut taught, seen(2, 10), &network).is_empty());
        assert_eq!(look(&mut taught, seen(2, 20), &network), [2]);
    }

    #[test]
    fn a_machine_is_not_taught_back_to_where_it_was_before_a_link_changed() {
        let mut taught = Taught::default();
        look(&mut taught, Vec::new(), &network(true));
        assert_eq!(look(&mut taught, seen(2, 10), &network(true)), [2]);
        // It was seen there once more while the cross-connect was cut, which is mended before the next look.
        taught.follow(&network(false).links);
        assert!(look(&mut taught, seen(2, 20), &network(true)).is_empty());
        assert!(look(&mut taught, seen(2, 20), &network(true)).is_empty(), "nor later");
        assert_eq!(look(&mut taught, seen(3, 30), &network(true)), [3]);
    }
}
