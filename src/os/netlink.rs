//! Follows the kernel's links, neighbours and bridge tables, and keeps the
//! entries that the data plane needs from ageing out.
//!
//! ```text
//!   kernel ── groups Link, Neigh ──> events ─┐
//!          ── dump: at start, after an ──────┴> tables ── at most every ──> watch::Receiver
//!             overrun, every 10 s                          20 ms            <Arc<Network>>
//!          <─ NTF_USE ── keeper (set_wanted), learn ─────── Handle
//! ```
//!
//! One task reads events and dumps. While it dumps, events wait in the kernel's
//! receive buffer, and are applied after it: the last word on an entry is the
//! kernel's last word. What does not fit into that buffer ends in ENOBUFS, after
//! which everything is dumped again. There is no queue but that buffer.

mod events;
mod keeper;
mod messages;
mod probe_route;
pub(in crate::os) mod requests;
mod tables;

pub use probe_route::{PROBE_LINK, PROBE_RULE_PRIORITY, PROBE_TABLE, ProbeObstacle, ProbeRoute, Way};

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::events::Events;
use self::requests::Requests;
use self::tables::{Tables, View};
use super::OsError;
use crate::config::Mac;
use crate::core::network::{IfIndex, Network};

/// Shortest time between two dumps, so that a storm that overruns the buffer again
/// and again does not keep the kernel's tables locked.
const DUMP_PAUSE: Duration = Duration::from_millis(100);
/// A snapshot may cost at most one part in this many of one CPU.
const SNAPSHOT_SHARE: u32 = 10;

#[derive(Clone, Debug)]
pub struct Options {
    /// Time from the first event to the snapshot that shows it. 1 ms to 200 ms, default 20 ms: a
    /// storm of events costs fifty snapshots a second, whatever its size.
    pub debounce: Duration,
    /// Everything is dumped anew after this time, against whatever was missed. 1 s to 1 hour, default 10 s.
    pub dump_every: Duration,
    /// Wanted neighbour entries are refreshed this often. 100 ms to 15 s (an entry can turn stale
    /// after 15 s: net.ipv4.neigh.default.base_reachable_time_ms / 2), default 3 s.
    pub refresh_every: Duration,
    /// The kernel's receive buffer for events, bytes. Default 4 MiB, about 5,000 events.
    pub receive_buffer: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(20),
            dump_every: Duration::from_secs(10),
            refresh_every: Duration::from_secs(3),
            receive_buffer: 4 << 20,
        }
    }
}

/// For each wanted address the link that it is on, or why it is on none.
pub type Routes = BTreeMap<IpAddr, Result<IfIndex, NotDirect>>;

/// Why an address has no neighbour entry of its own, in words that an operator can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotDirect {
    /// A gateway's MAC would be taken for the server's.
    Gateway(IpAddr),
    NoRoute,
    /// An address of this box.
    OwnAddress,
    /// Broadcast, multicast or anycast.
    NotUnicast,
    /// The kernel refused; its words.
    Refused(String),
}

impl fmt::Display for NotDirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(gateway) => {
                write!(f, "it is behind the gateway {gateway}; a server must be on a segment of this box")
            }
            Self::NoRoute => {
                write!(f, "there is no route to it; give this box an address in its network, or the server a `link`")
            }
            Self::OwnAddress => write!(f, "it is an address of this box"),
            Self::NotUnicast => write!(f, "it is a broadcast, multicast or anycast address"),
            Self::Refused(why) => write!(f, "{why}"),
        }
    }
}

/// Frames in one direction, as a link's driver has counted them since the link was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    pub packets: u64,
    pub bytes: u64,
    pub errors: u64,
    /// In sending, on veth, also what a redirect lost at a far end without GRO and without XDP.
    pub dropped: u64,
}

/// A link's counters (`ip -s link`, IFLA_STATS64). docs/switch.md says which drivers count what XDP redirects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    pub received: Direction,
    pub sent: Direction,
}

/// Starts to follow the network namespace of the thread that polls this first,
/// on the current tokio runtime; the first snapshot is there when this returns.
///
/// It ends when nobody holds the receiver any more. If it ends before that (the
/// socket failed, which the kernel has no reason to let happen), the receiver's
/// `changed` says so, and the daemon should restart.
pub async fn watch(options: Options) -> Result<(watch::Receiver<Arc<Network>>, Handle), OsError> {
    let events = Events::open(options.receive_buffer)?;
    let requests = Requests::open()?;
    let tables = requests.dump().await?;
    let view = tables.view(&BTreeMap::new());
    let (network_out, network) = watch::channel(Arc::new(view.network.clone()));
    let (view_out, view) = watch::channel(Arc::new(view));
    let (routes_out, routes) = watch::channel(Arc::new(Routes::new()));
    let (wanted, wanted_in) = watch::channel(Vec::new());
    tokio::spawn(keeper::keep(requests.clone(), wanted_in, options.refresh_every, view.clone(), routes_out));
    let overruns = Arc::new(AtomicU64::new(0));
    let now = Instant::now();
    let watcher = Watcher {
        events,
        requests: requests.clone(),
        tables,
        routes: routes.clone(),
        network: network_out,
        view: view_out,
        // The second one soon, for what the first may have skipped: see `Tables::replace`.
        dump_at: now + DUMP_PAUSE,
        dumped: now,
        publish_at: None,
        published: now,
        cost: Duration::ZERO,
        overruns: overruns.clone(),
        options,
    };
    tokio::spawn(watcher.run());
    Ok((network, Handle { requests, wanted: Arc::new(wanted), routes, view, overruns }))
}

/// To ask the kernel for things. Cheap to clone; when the last one is gone, nothing is kept fresh any more.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: Requests,
    wanted: Arc<watch::Sender<Vec<IpAddr>>>,
    routes: watch::Receiver<Arc<Routes>>,
    view: watch::Receiver<Arc<View>>,
    overruns: Arc<AtomicU64>,
}

impl Handle {
    /// The addresses whose neighbour entries are kept fresh from now on, instead of
    /// those before: servers, gateways, the peer. The first round is at once.
    pub fn set_wanted(&self, addresses: Vec<IpAddr>) {
        self.wanted.send_replace(addresses);
    }

    /// What became of each wanted address in the latest round.
    pub fn routes(&self) -> watch::Receiver<Arc<Routes>> {
        self.routes.clone()
    }

    /// Has the kernel resolve or refresh one entry, once; returns the link it is on, which is
    /// found by a route lookup where none is given. Needs CAP_NET_ADMIN.
    pub async fn keep_neighbour(&self, link: Option<IfIndex>, address: IpAddr) -> Result<IfIndex, OsError> {
        let route = keeper::refresh(&self.requests, &self.view, link, address).await?;
        route.map_err(|reason| OsError::NotDirect { address, reason })
    }

    /// Has the bridge learn, or learn again, that `mac` is on `port`, as if a frame had
    /// come in there, tagged with `vlan` (0: untagged). The entry ages as any other, so
    /// repeat this well within the bridge's ageing time. Needs CAP_NET_ADMIN.
    pub async fn learn(&self, mac: Mac, vlan: u16, port: IfIndex) -> Result<(), OsError> {
        let own = {
            let view = self.view.borrow();
            match view.filtering.get(&port) {
                // A bridge that looks at tags files untagged frames under the port's own VLAN;
                // where it has none, it refuses them, and so learns nothing from them.
                Some(0) if vlan == 0 => return Ok(()),
                Some(own) if vlan == 0 => *own,
                Some(_) => vlan,
                // One that does not files all frames under 0.
                None => 0,
            }
        };
        self.requests.learn(mac, own, port).await
    }

    /// How often more events came than the receive buffer holds, so that everything was read anew.
    pub fn overruns(&self) -> u64 {
        self.overruns.load(Ordering::Relaxed)
    }

    /// A link's counters since it was made (`ip -s link`).
    pub async fn counts(&self, link: IfIndex) -> Result<LinkCounts, OsError> {
        self.requests.counts(link).await
    }
}

struct Watcher {
    events: Events,
    requests: Requests,
    tables: Tables,
    routes: watch::Receiver<Arc<Routes>>,
    network: watch::Sender<Arc<Network>>,
    view: watch::Sender<Arc<View>>,
    dump_at: Instant,
    /// When the latest dump ended.
    dumped: Instant,
    /// Something has changed; it shows from then on.
    publish_at: Option<Instant>,
    published: Instant,
    /// What the latest snapshot cost.
    cost: Duration,
    overruns: Arc<AtomicU64>,
    options: Options,
}

impl Watcher {
    async fn run(mut self) {
        let mut routes_end = false;
        loop {
            let publish_at = self.publish_at;
            tokio::select! {
                // In this order, so that no storm of events keeps a snapshot or a dump waiting.
                biased;
                () = self.network.closed() => return,
                () = sleep_until(publish_at.unwrap_or(self.dump_at)), if publish_at.is_some() => self.publish(),
                () = sleep_until(self.dump_at) => self.dump().await,
                changed = self.routes.changed(), if !routes_end => match changed {
                    Ok(()) => self.note_change(),
                    // Nobody wants anything any more; the snapshots go on.
                    Err(_) => routes_end = true,
                },
                received = self.events.receive() => match received {
                    Ok(messages) => {
                        let mut changed = false;
                        for message in messages {
                            changed |= self.tables.apply(&message);
                        }
                        if changed {
                            self.note_change();
                        }
                    }
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                        tracing::debug!("more network events than the buffer holds; reading everything anew");
                        self.overruns.fetch_add(1, Ordering::Relaxed);
                        self.dump_at = self.dump_at.min(self.dumped + DUMP_PAUSE);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        tracing::error!(%error, "the connection to the kernel's network tables has ended");
                        return;
                    }
                },
            }
        }
    }

    fn note_change(&mut self) {
        if self.publish_at.is_none() {
            let earliest = self.published + self.cost * SNAPSHOT_SHARE;
            self.publish_at = Some((Instant::now() + self.options.debounce).max(earliest));
        }
    }

    async fn dump(&mut self) {
        let wait = match self.requests.dump().await {
            Ok(fresh) => {
                let unsure = self.tables.replace(fresh);
                if self.tables.is_full() {
                    tracing::warn!(
                        entries = tables::ENTRIES_MAX,
                        "the bridge or neighbour table is too large to follow; is somebody flooding it with MACs?"
                    );
                }
                self.note_change();
                if unsure { DUMP_PAUSE } else { self.options.dump_every }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot read the kernel's network tables; trying again");
                self.options.dump_every.min(Duration::from_secs(1))
            }
        };
        self.dumped = Instant::now();
        self.dump_at = self.dumped + wait;
    }

    fn publish(&mut self) {
        let started = Instant::now();
        let links =
            self.routes.borrow().iter().filter_map(|(address, link)| Some((*address, link.clone().ok()?))).collect();
        let view = self.tables.view(&links);
        send_if_new(&self.network, &view.network);
        send_if_new(&self.view, &view);
        self.publish_at = None;
        self.published = Instant::now();
        self.cost = self.published - started;
    }
}

fn send_if_new<T: Clone + PartialEq>(to: &watch::Sender<Arc<T>>, value: &T) {
    to.send_if_modified(|now| {
        let new = **now != *value;
        if new {
            *now = Arc::new(value.clone());
        }
        new
    });
}
