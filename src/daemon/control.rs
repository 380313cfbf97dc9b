//! The appliance behind the seam that faces see: state as it is when asked, and operations.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{broadcast, mpsc, watch};

use super::appliance::Appliance;
use super::capture::Captures;
use super::drains::Course;
use super::events::Events;
use super::explain::Explain;
use super::history::History;
use super::lock;
use super::pair::Access;
use super::port_counts::PortCounts;
use super::promptness::Promptness;
use super::state;
use crate::config::{Config, Protocol};
use crate::core::control::pair::Side;
use crate::core::control::{
    CHUNK_ROWS_MAX, CaptureOrder, CapturePiece, Change, Chunk, ConfigError, ConfigOrder, ConnectionRow, Control,
    Editor, Explanation, Filter, HistoryState, InForce, Logins, OperationError, Order, OrderReport, PacketQuestion,
    PairOrder, ReloadError, ReloadReport, Saved, State, TopOrder, TopRow, Which,
};
use crate::core::events::{Event, EventFilter, EventPage, What};
use crate::core::forwarding::DestKey;
use crate::dataplane::flows::{Connection, ConnectionReader};
use crate::dataplane::{DataPlane, DataPlaneError};

/// For the connections of a server that is removed by force. At 50,000 resets in a second, a full table of the
/// default size takes half of it.
const RESET_PATIENCE: Duration = Duration::from_secs(10);
const RESET_LOOK: Duration = Duration::from_millis(20);
/// Chunks of connections on their way to a face.
const CHUNKS: usize = 2;

/// What tasks of the daemon see and count, for the state.
pub struct Observed {
    pub port_counts: watch::Receiver<PortCounts>,
    pub promptness: Arc<Promptness>,
    pub history: Arc<Mutex<History>>,
}

pub struct ApplianceControl {
    appliance: Arc<Mutex<Appliance>>,
    dataplane: Arc<Mutex<DataPlane>>,
    observed: Observed,
    logins: Logins,
    /// Wakes the loop when an operation has changed an input of the plan.
    kick: mpsc::Sender<()>,
    /// None: this box is alone.
    pair: Option<Access>,
    events: Events,
    explain: Arc<Explain>,
    captures: Arc<Captures>,
}

pub(super) fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

pub(super) fn failed(error: impl std::fmt::Display) -> OperationError {
    OperationError::Failed(error.to_string())
}

impl ApplianceControl {
    pub fn new(
        appliance: Arc<Mutex<Appliance>>,
        dataplane: Arc<Mutex<DataPlane>>,
        observed: Observed,
        kick: mpsc::Sender<()>,
        pair: Option<Access>,
        state_dir: &Path,
    ) -> Self {
        let events = lock(&appliance).events.clone();
        let explain = Arc::new(Explain::new(appliance.clone(), dataplane.clone()));
        let captures = Captures::new(appliance.clone(), dataplane.clone(), state_dir.join("captures"));
        Self {
            appliance,
            dataplane,
            observed,
            logins: Logins::default(),
            kick,
            pair,
            events,
            explain,
            captures: Arc::new(captures),
        }
    }
}

impl Control for ApplianceControl {
    fn state(&self) -> BoxFuture<'_, Result<Arc<State>, OperationError>> {
        async {
            // A copy: the sender must not wait until the state is made.
            let counts = self.observed.port_counts.borrow().clone();
            tokio::task::block_in_place(|| {
                let appliance = lock(&self.appliance);
                let dataplane = lock(&self.dataplane);
                let pair = self.pair.as_ref().and_then(|pair| pair.state(&appliance));
                let of_daemon = state::OfDaemon { promptness: &self.observed.promptness, logins: &self.logins };
                state::compose(&appliance, &dataplane, &counts, of_daemon, pair).map(Arc::new).map_err(failed)
            })
        }
        .boxed()
    }

    fn history(&self) -> BoxFuture<'_, Result<HistoryState, OperationError>> {
        async { Ok(lock(&self.observed.history).state()) }.boxed()
    }

    fn logins(&self) -> &Logins {
        &self.logins
    }

    fn config(&self) -> BoxFuture<'_, Result<Arc<Config>, OperationError>> {
        async { Ok(Arc::new(tokio::task::block_in_place(|| lock(&self.appliance).config.clone()))) }.boxed()
    }

    fn running(&self) -> BoxFuture<'_, Result<InForce, OperationError>> {
        async { Ok(tokio::task::block_in_place(|| lock(&self.appliance).in_force())) }.boxed()
    }

    fn configure(&self, change: Change) -> BoxFuture<'_, Result<ReloadReport, ConfigError>> {
        async {
            let result = tokio::task::block_in_place(|| lock(&self.appliance).configure(change));
            // The loop brings the data plane there, once for all lines that come together.
            let _ = self.kick.try_send(());
            result
        }
        .boxed()
    }

    fn config_order(&self, by: Editor, order: ConfigOrder) -> BoxFuture<'_, Result<Vec<String>, ConfigError>> {
        async move {
            let result = tokio::task::block_in_place(|| lock(&self.appliance).config_order(&by, order));
            let _ = self.kick.try_send(());
            result
        }
        .boxed()
    }

    fn on_disk(&self, which: Which) -> BoxFuture<'_, Result<Arc<Config>, ConfigError>> {
        async move { tokio::task::block_in_place(|| lock(&self.appliance).on_disk(which)) }.boxed()
    }

    fn archive(&self) -> BoxFuture<'_, Result<Vec<Saved>, ConfigError>> {
        async { tokio::task::block_in_place(|| lock(&self.appliance).archived()) }.boxed()
    }

    fn order(&self, order: Order) -> BoxFuture<'_, Result<OrderReport, OperationError>> {
        async move {
            let course = tokio::task::block_in_place(|| lock(&self.appliance).carry_out(&order));
            let _ = self.kick.try_send(());
            let (subject, report) = match course? {
                Course::Done(report) => return Ok(report),
                Course::Resetting { subject, report } => (subject, report),
            };
            let deadline = tokio::time::Instant::now() + RESET_PATIENCE;
            while !tokio::task::block_in_place(|| lock(&self.appliance).is_reset(subject.server())) {
                if tokio::time::Instant::now() >= deadline {
                    let why = format!(
                        "its {} connections are still being reset; it is removed when none is left",
                        report.cut
                    );
                    return Err(OperationError::NotRemoved { server: order.server, why });
                }
                tokio::time::sleep(RESET_LOOK).await;
            }
            let result = tokio::task::block_in_place(|| lock(&self.appliance).finish_removal(&subject, report));
            let _ = self.kick.try_send(());
            result
        }
        .boxed()
    }

    fn pair_order(&self, order: PairOrder) -> BoxFuture<'_, Result<(), OperationError>> {
        async move {
            let pair = self.pair.as_ref().ok_or(OperationError::NoPair)?;
            self.events.record(What::PairOrder { order: words(order).to_owned() });
            if let PairOrder::TakeConfig(side) = order {
                tokio::task::block_in_place(|| lock(&self.appliance).choose_config(side))?;
                let _ = self.kick.try_send(());
                return Ok(());
            }
            pair.order(order)
        }
        .boxed()
    }

    fn explain(&self, question: PacketQuestion) -> BoxFuture<'_, Result<Explanation, OperationError>> {
        let explain = self.explain.clone();
        async move { tokio::task::spawn_blocking(move || explain.answer(&question)).await.map_err(failed)? }.boxed()
    }

    fn capture(
        &self,
        by: Editor,
        order: CaptureOrder,
    ) -> BoxFuture<'_, Result<mpsc::Receiver<CapturePiece>, OperationError>> {
        let (out, pieces) = mpsc::channel(CHUNKS);
        let captures = self.captures.clone();
        // Ends by itself when the reader has gone.
        tokio::task::spawn_blocking(move || captures.capture(&by, &order, &out));
        async { Ok(pieces) }.boxed()
    }

    fn top(&self, by: Editor, order: TopOrder) -> BoxFuture<'_, Result<Vec<TopRow>, OperationError>> {
        let (out, rows) = tokio::sync::oneshot::channel();
        let captures = self.captures.clone();
        tokio::task::spawn_blocking(move || {
            let top = captures.top(&by, &order, || !out.is_closed());
            let _ = out.send(top);
        });
        async { rows.await.map_err(failed)? }.boxed()
    }

    fn reload(&self) -> BoxFuture<'_, Result<ReloadReport, ReloadError>> {
        async {
            let result = tokio::task::block_in_place(|| {
                let mut appliance = lock(&self.appliance);
                let report = appliance.reload()?;
                appliance.settle().map_err(failed)?;
                Ok(report)
            });
            let _ = self.kick.try_send(());
            result
        }
        .boxed()
    }

    fn connections(&self, filter: Filter) -> BoxFuture<'_, Result<mpsc::Receiver<Chunk>, OperationError>> {
        let (out, rows) = mpsc::channel(CHUNKS);
        let dataplane = self.dataplane.clone();
        // Stops by itself when the reader has gone: sending fails then.
        tokio::task::spawn_blocking(move || {
            let end = match walk(&dataplane, &filter, &out) {
                Ok(()) => Chunk::End,
                Err(error) => Chunk::Failed(failed(error)),
            };
            let _ = out.blocking_send(end);
        });
        async { Ok(rows) }.boxed()
    }

    fn events(&self, filter: EventFilter) -> BoxFuture<'_, Result<EventPage, OperationError>> {
        async move { Ok(tokio::task::block_in_place(|| self.events.page(&filter))) }.boxed()
    }

    fn follow_events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.follow()
    }

    fn happened(&self, what: What) {
        self.events.record(what);
    }
}

fn words(order: PairOrder) -> &'static str {
    match order {
        PairOrder::HandOver => "the other box shall own",
        PairOrder::Maintenance(true) => "this box shall own nothing",
        PairOrder::Maintenance(false) => "this box may own again",
        PairOrder::TakeConfig(Side::Own) => "the configuration of this box counts",
        PairOrder::TakeConfig(Side::Peer) => "the configuration of the other box counts",
    }
}

/// Hands on the rows that the filter wants, a chunk at a time; the data plane is not held between chunks.
fn walk(dataplane: &Mutex<DataPlane>, filter: &Filter, out: &mpsc::Sender<Chunk>) -> Result<(), DataPlaneError> {
    let mut reader = ConnectionReader::default();
    let mut left = filter.limit as usize;
    while left > 0 {
        let rows: Vec<ConnectionRow> = {
            let dataplane = lock(dataplane);
            let Some(read) = dataplane.read_connections(&mut reader)? else { break };
            let names = Names::new(&dataplane);
            read.iter().filter_map(|c| names.row(c)).filter(|row| filter.matches(row)).take(left).collect()
        };
        left -= rows.len();
        // A filter that finds nothing for long must still notice that its reader has gone.
        if out.is_closed() {
            return Ok(());
        }
        for chunk in rows.chunks(CHUNK_ROWS_MAX) {
            if out.blocking_send(Chunk::Rows(chunk.to_vec())).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The names behind the numbers of the connection table.
struct Names {
    dests: HashMap<u32, Arc<DestKey>>,
    vips: HashMap<u32, IpAddr>,
}

impl Names {
    fn new(dataplane: &DataPlane) -> Self {
        let dests = dataplane.dests().map(|(key, id)| (id, Arc::new(key.clone()))).collect();
        Self { dests, vips: dataplane.vips().map(|(ip, id)| (id, ip)).collect() }
    }

    /// `None` for what has been forgotten since the row was read.
    fn row(&self, c: &Connection) -> Option<ConnectionRow> {
        Some(ConnectionRow {
            client: c.client,
            virtual_address: SocketAddr::new(*self.vips.get(&c.vip)?, c.port),
            protocol: if c.udp { Protocol::Udp } else { Protocol::Tcp },
            dest: self.dests.get(&c.dest)?.clone(),
            state: c.state,
            idle: c.idle,
            age: c.age,
            source_port: c.source_port,
        })
    }
}
