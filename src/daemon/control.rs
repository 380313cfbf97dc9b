//! The appliance behind the seam that faces see: state as it is when asked, and operations.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::appliance::Appliance;
use super::lock;
use super::state::{self, Losses};
use crate::config::{Name, Protocol};
use crate::core::admin::AdminState;
use crate::core::control::{
    AdminReport, CHUNK_ROWS_MAX, Chunk, ConnectionRow, Control, Filter, OperationError, ReloadError, ReloadReport,
    State,
};
use crate::core::forwarding::DestKey;
use crate::core::network::IfIndex;
use crate::dataplane::flows::{Connection, ConnectionReader};
use crate::dataplane::{DataPlane, DataPlaneError};
use crate::os::ethtool::{Ethtool, xdp_losses};
use crate::os::netlink;

/// Chunks of connections on their way to a face.
const CHUNKS: usize = 2;

pub struct ApplianceControl {
    appliance: Arc<Mutex<Appliance>>,
    dataplane: Arc<Mutex<DataPlane>>,
    os: netlink::Handle,
    /// Wakes the loop when an operation has changed an input of the plan.
    kick: mpsc::Sender<()>,
}

pub(super) fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// As much of what an operator wrote as can be a name.
fn cut(text: &str) -> &str {
    text.char_indices().nth(Name::LENGTH_MAX).map_or(text, |(end, _)| &text[..end])
}

fn failed(error: impl std::fmt::Display) -> OperationError {
    OperationError::Failed(error.to_string())
}

impl ApplianceControl {
    pub fn new(
        appliance: Arc<Mutex<Appliance>>,
        dataplane: Arc<Mutex<DataPlane>>,
        os: netlink::Handle,
        kick: mpsc::Sender<()>,
    ) -> Self {
        Self { appliance, dataplane, os, kick }
    }

    /// What drivers and links say that they have lost, by port.
    async fn losses(&self) -> Losses {
        let names: Vec<(IfIndex, String)> = {
            let appliance = lock(&self.appliance);
            let links = &appliance.network.links;
            appliance.plan.state.ports.keys().filter_map(|i| Some((*i, links.get(i)?.name.clone()))).collect()
        };
        let mut losses = BTreeMap::new();
        for (index, name) in names {
            let sent = self.os.drops(index).await.map_or(0, |drops| drops.sent);
            let driver = tokio::task::block_in_place(|| {
                let ethtool = Ethtool::open().ok()?;
                xdp_losses(&ethtool.driver(&name).ok()?, &ethtool.statistics(&name).ok()?)
            });
            // The link's count of frames dropped in sending contains those of the driver's XDP counters.
            losses.insert(index, driver.unwrap_or(0).max(sent));
        }
        losses
    }

    fn order(&self, server: &str, state: AdminState, force: bool) -> Result<AdminReport, OperationError> {
        let mut appliance = lock(&self.appliance);
        let unknown = || OperationError::NoSuchServer {
            name: server.to_owned(),
            suggestion: crate::config::suggest::nearest(cut(server), appliance.config.servers.keys().map(Name::as_str))
                .map(str::to_owned),
        };
        let name = Name::new(server).map_err(|_| unknown())?;
        if !appliance.config.servers.contains_key(&name) {
            return Err(unknown());
        }
        if state != AdminState::Enabled && !force {
            let empty = appliance.left_empty_without(&name);
            if !empty.is_empty() {
                let mut services: Vec<String> =
                    empty.iter().map(|key| format!("{}/{}", key.service.virtual_server, key.service.service)).collect();
                services.dedup();
                return Err(OperationError::LastMember { server: server.to_owned(), services });
            }
        }
        let before = appliance.set_admin(&name, state).map_err(|e| failed(format!("{e:#}")))?;
        // At once, so that no new connection meets the old plan after our answer.
        appliance.settle().map_err(failed)?;
        let connections = lock(&self.dataplane).server_connections(&name).unwrap_or(0);
        Ok(AdminReport { server: server.to_owned(), before, state, connections })
    }
}

impl Control for ApplianceControl {
    fn state(&self) -> BoxFuture<'_, Result<Arc<State>, OperationError>> {
        async {
            let losses = self.losses().await;
            tokio::task::block_in_place(|| {
                let appliance = lock(&self.appliance);
                let dataplane = lock(&self.dataplane);
                state::compose(&appliance, &dataplane, &losses).map(Arc::new).map_err(failed)
            })
        }
        .boxed()
    }

    fn set_admin<'a>(
        &'a self,
        server: &'a str,
        state: AdminState,
        force: bool,
    ) -> BoxFuture<'a, Result<AdminReport, OperationError>> {
        async move {
            let result = tokio::task::block_in_place(|| self.order(server, state, force));
            let _ = self.kick.try_send(());
            result
        }
        .boxed()
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
