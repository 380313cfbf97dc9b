//! Packets for whoever asks: puts the tap on the ports, words what it tells, and takes it away again, whatever happens.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::appliance::Appliance;
use super::control::failed;
use super::lock;
use crate::config::Name;
use crate::core::control::capture::*;
use crate::core::control::{Editor, FlowState, OperationError};
use crate::core::network::IfIndex;
use crate::core::pcapng::{self, Packet};
use crate::dataplane::flows::ConnectionReader;
use crate::dataplane::tap::{Passed, Tap, TapFilter};
use crate::dataplane::{DataPlane, TAP_BYTES};

/// While nothing comes.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes that wait until they are handed on.
const PIECE: usize = 64 << 10;
/// Clients whose connections `top` counts, at most: of more, those that come first in the table.
const CLIENTS_MAX: usize = 100_000;

pub struct Captures {
    appliance: Arc<Mutex<Appliance>>,
    dataplane: Arc<Mutex<DataPlane>>,
    dir: PathBuf,
    /// Held while a tap is on the ports: there is one program behind them.
    turn: Mutex<()>,
}

/// Where the pieces go.
enum Sink {
    File(File, PathBuf),
    Channel(mpsc::Sender<CapturePiece>),
}

/// A tap on the ports; taken away when it is dropped.
struct Tapped<'a> {
    tap: Tap,
    dataplane: &'a Mutex<DataPlane>,
    _turn: MutexGuard<'a, ()>,
}

impl Drop for Tapped<'_> {
    fn drop(&mut self) {
        if let Err(error) = lock(self.dataplane).tap(None) {
            warn!("a capture is over, and its program is still on a port, where it tells nothing: {error}");
        }
    }
}

impl Captures {
    pub fn new(appliance: Arc<Mutex<Appliance>>, dataplane: Arc<Mutex<DataPlane>>, dir: PathBuf) -> Self {
        Self { appliance, dataplane, dir, turn: Mutex::new(()) }
    }

    fn tap(&self, filter: &TapFilter) -> Result<Tapped<'_>, OperationError> {
        let turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(OperationError::Unavailable("a capture or a count is under way; one at a time".to_owned()));
            }
        };
        let shared = lock(&self.dataplane).shared_maps().map_err(failed)?;
        let tap = Tap::load(&shared).map_err(failed)?;
        tap.watch(filter).map_err(failed)?;
        let tapped = Tapped { tap, dataplane: &self.dataplane, _turn: turn };
        lock(&self.dataplane).tap(Some(&tapped.tap)).map_err(failed)?;
        Ok(tapped)
    }

    /// The numbers of a service that there is.
    fn services(&self, (virtual_server, service): &(Name, Name)) -> Result<Vec<u32>, OperationError> {
        let numbers = lock(&self.dataplane).service_ids(virtual_server, service);
        if numbers.is_empty() {
            return Err(OperationError::NotThere(format!("there is no service {virtual_server}/{service}")));
        }
        Ok(numbers)
    }

    /// Captures to its end, and puts all that is to be said into `out`. Blocks.
    pub fn capture(&self, by: &Editor, order: &CaptureOrder, out: &mpsc::Sender<CapturePiece>) {
        let piece = match self.try_capture(by, order, out) {
            Ok(report) => CapturePiece::End(report),
            Err(error) => CapturePiece::Failed(error),
        };
        let _ = out.blocking_send(piece);
    }

    fn try_capture(
        &self,
        by: &Editor,
        order: &CaptureOrder,
        out: &mpsc::Sender<CapturePiece>,
    ) -> Result<CaptureReport, OperationError> {
        let filter = TapFilter {
            host: order.host,
            services: order.service.as_ref().map(|service| self.services(service)).transpose()?.unwrap_or_default(),
            port: order.port,
            protocol: order.protocol,
            whole: order.whole,
            frames: true,
            talkers: false,
            time: order.time,
        };
        let content = if order.whole { "with what they contain" } else { "headers only" };
        info!("{} captures packets for {:?} at most, {content}: {}", by.name, order.time, told(order));
        let mut sink = match &order.file {
            Some(name) => self.file(name.as_str())?,
            None => Sink::Channel(out.clone()),
        };
        let ports = self.ports();
        let names: Vec<String> = ports.values().cloned().collect();
        let places: HashMap<IfIndex, u32> = ports.keys().copied().zip(0..).collect();
        let mut buffer = pcapng::head(concat!("lbd ", env!("CARGO_PKG_VERSION")), &names, TAP_BYTES);
        let mut servers = Servers { dataplane: &self.dataplane, known: HashMap::new() };
        let mut tapped = self.tap(&filter)?;
        let end = Instant::now() + order.time;
        let (mut packets, mut bytes) = (0u64, 0u64);
        let ended = loop {
            let over = Instant::now() >= end;
            let mut full = false;
            let taken = tapped.tap.take(|passed| {
                full |= packets >= order.packets.into() || bytes + buffer.len() as u64 >= CAPTURE_BYTES_MAX;
                let Some(interface) = places.get(&passed.ingress).copied().filter(|_| !full) else { return };
                packets += 1;
                let comment = comment(&passed, &mut servers);
                let Passed { at, length, bytes, verdict, .. } = passed;
                let packet = Packet { interface, at, length, bytes, comment: &comment, verdict };
                buffer.extend(pcapng::packet(&packet));
            });
            let ended = match () {
                () if full || packets >= order.packets.into() => Some("as many as were asked for, or as fit"),
                () if over && taken == 0 => Some("the time is over"),
                () if out.is_closed() => Some("nobody takes it any more"),
                () => None,
            };
            if buffer.len() >= PIECE || taken == 0 || ended.is_some() {
                bytes += buffer.len() as u64;
                sink.put(std::mem::take(&mut buffer))?;
            }
            match ended {
                Some(ended) => break ended,
                None if taken == 0 => std::thread::sleep(LOOK),
                None => {}
            }
        };
        let lost = tapped.tap.lost().map_err(failed)?;
        drop(tapped);
        let file = sink.finish()?;
        Ok(CaptureReport { packets, bytes, lost, ended, file })
    }

    /// The ports of the data plane by their numbers.
    fn ports(&self) -> BTreeMap<IfIndex, String> {
        let appliance = lock(&self.appliance);
        let name = |index: &IfIndex| (*index, appliance.network.name_of(*index));
        appliance.plan.state.ports.keys().map(name).collect()
    }

    /// A new file, for root alone; the oldest of too many goes.
    fn file(&self, name: &str) -> Result<Sink, OperationError> {
        let path = self.dir.join(format!("{name}.pcapng"));
        let unwritable = |error: std::io::Error| OperationError::Failed(format!("{}: {error}", path.display()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(unwritable)?;
        let mut old: Vec<_> = fs::read_dir(&self.dir)
            .map_err(unwritable)?
            .filter_map(|entry| Some((entry.as_ref().ok()?.metadata().ok()?.modified().ok()?, entry.ok()?.path())))
            .filter(|(_, other)| *other != path)
            .collect();
        old.sort();
        while old.len() >= CAPTURE_FILES_MAX {
            fs::remove_file(old.remove(0).1).map_err(unwritable)?;
        }
        let _ = fs::remove_file(&path);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(unwritable)?;
        Ok(Sink::File(file, path))
    }

    /// Who uses a service most, counted for a while, or until nobody wants to know any more. Blocks.
    pub fn top(&self, by: &Editor, order: &TopOrder, wanted: impl Fn() -> bool) -> Result<Vec<TopRow>, OperationError> {
        let TopOrder { virtual_server, service, time, rows } = order;
        let services = self.services(&(virtual_server.clone(), service.clone()))?;
        info!("{} counts the packets of the clients of {virtual_server}/{service} for {time:?}", by.name);
        let filter = TapFilter {
            host: None,
            services: services.clone(),
            port: None,
            protocol: None,
            whole: false,
            frames: false,
            talkers: true,
            time: *time,
        };
        let tapped = self.tap(&filter)?;
        let end = Instant::now() + *time;
        while Instant::now() < end && wanted() {
            std::thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        }
        let talkers = tapped.tap.talkers().map_err(failed)?;
        drop(tapped);
        let mut clients = self.connections(&services)?;
        for talker in talkers.iter().filter(|talker| services.contains(&talker.service)) {
            let row = clients.entry(talker.client).or_insert_with(|| row(talker.client));
            row.packets += talker.packets;
            row.bytes += talker.bytes;
        }
        let mut top: Vec<TopRow> = clients.into_values().collect();
        top.sort_by_key(|row| std::cmp::Reverse((row.packets, row.connections, row.client)));
        top.truncate(usize::try_from(*rows).unwrap_or(usize::MAX));
        Ok(top)
    }

    fn connections(&self, services: &[u32]) -> Result<HashMap<IpAddr, TopRow>, OperationError> {
        let mut clients: HashMap<IpAddr, TopRow> = HashMap::new();
        let dests: Vec<u32> = lock(&self.dataplane).dests_of(services);
        let mut reader = ConnectionReader::default();
        while let Some(rows) = lock(&self.dataplane).read_connections(&mut reader).map_err(failed)? {
            let open = rows.iter().filter(|row| row.state != FlowState::Closed && dests.contains(&row.dest));
            for connection in open {
                let client = connection.client.ip();
                if clients.len() < CLIENTS_MAX || clients.contains_key(&client) {
                    clients.entry(client).or_insert_with(|| row(client)).connections += 1;
                }
            }
        }
        Ok(clients)
    }
}

fn row(client: IpAddr) -> TopRow {
    TopRow { client, connections: 0, packets: 0, bytes: 0 }
}

impl Sink {
    fn put(&mut self, bytes: Vec<u8>) -> Result<(), OperationError> {
        match self {
            _ if bytes.is_empty() => Ok(()),
            Self::File(file, path) => {
                file.write_all(&bytes).map_err(|error| OperationError::Failed(format!("{}: {error}", path.display())))
            }
            // Whoever has gone is noticed by the loop.
            Self::Channel(out) => {
                let _ = out.blocking_send(CapturePiece::Bytes(bytes));
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<Option<String>, OperationError> {
        match self {
            Self::File(file, path) => {
                file.sync_all().map_err(failed)?;
                Ok(Some(path.display().to_string()))
            }
            Self::Channel(_) => Ok(None),
        }
    }
}

/// Names of destinations, looked up once.
struct Servers<'a> {
    dataplane: &'a Mutex<DataPlane>,
    known: HashMap<u32, String>,
}

impl Servers<'_> {
    fn name(&mut self, dest: u32) -> &str {
        self.known.entry(dest).or_insert_with(|| {
            let dataplane = lock(self.dataplane);
            let key = dataplane.dest(dest).map(|(key, _)| key);
            key.map_or_else(String::new, |key| {
                format!("{} of {}/{}", key.server, key.service.virtual_server, key.service.service)
            })
        })
    }
}

/// What became of a packet: `forwarded (to-server), pc1 of mx/smtp`.
fn comment(passed: &Passed<'_>, servers: &mut Servers<'_>) -> String {
    let fate = match passed.reason {
        Some((_, verdict, reason, _)) => format!("{} ({reason})", verdict.name()),
        None => "no reason was given".to_owned(),
    };
    let server = passed.dest.map(|dest| servers.name(dest)).unwrap_or_default();
    if server.is_empty() { fate } else { format!("{fate}, {server}") }
}

/// What is captured, for the log.
fn told(order: &CaptureOrder) -> String {
    let parts = [
        order.host.map(|host| format!("host {}/{}", host.address, host.length)),
        order.service.as_ref().map(|(virtual_server, service)| format!("service {virtual_server}/{service}")),
        order.port.map(|port| format!("port {port}")),
        order.protocol.map(|protocol| crate::core::control::word::Word::word(protocol).to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "all".to_owned() } else { parts.join(", ") }
}
