//! The data plane: the XDP program, its tables, and what the daemon does with them.
//!
//! `DataPlane` is all that other rooms see. docs/dataplane.md describes the maps.

mod clients;
pub mod explain;
pub mod flows;
mod ids;
mod kernel;
mod layout;
pub mod lease;
mod loader;
mod port_flags;
mod probe;
pub mod question;
pub mod reasons;
pub mod release;
mod reset;
mod rst;
pub mod sync;
mod tables;
pub mod tap;
mod variant;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::config::{Limits, Mac, Name, OnFailure, XdpMode};
use crate::core::forwarding::{DestKey, ForwardingState};
use crate::core::gates::Gates;
use crate::core::marks::ProbePlace;
use crate::core::network::IfIndex;

use flows::{Expiry, Sweep, SweepStep};
use lease::LeaseWriter;
use loader::{Attachments, Loaded};
use reasons::REASONS;
use reset::Resets;
use sync::{Capture, Restore, SharedNames};
use tables::Tables;

pub use kernel::Run;
pub use layout::TAP_BYTES;
pub use port_flags::PortFlags;
pub use probe::ProbeProgram;
pub use reset::{ResetBatch, ResetStep, ServerReset};
pub use variant::SharedMaps;

/// What can go wrong at the kernel boundary, in words that an operator can act on.
#[derive(Debug, thiserror::Error)]
pub enum DataPlaneError {
    #[error(
        "the XDP program cannot be loaded: {source:#}. It needs root (CAP_BPF, CAP_NET_ADMIN) and Linux 5.18 or newer \
         with CONFIG_BPF_SYSCALL, CONFIG_BPF_JIT and CONFIG_XDP_SOCKETS; this is {kernel}"
    )]
    Load { kernel: String, source: libbpf_rs::Error },
    #[error("the map `{map}` of the data plane cannot be used ({doing}): {source}")]
    Map { map: String, doing: &'static str, source: libbpf_rs::Error },
    #[error("the map `{map}` of the data plane cannot be mapped into memory: {errno}")]
    Share { map: String, errno: nix::Error },
    #[error(
        "the pinned object {path} of a running data plane cannot be taken over: {source:#}. `lbd stop` removes it, and ends its connections"
    )]
    Adopt { path: PathBuf, source: libbpf_rs::Error },
    #[error("{path}: {source}. The data plane is pinned there; it must be on a bpffs that root can write")]
    PinDir { path: PathBuf, source: io::Error },
    #[error(
        "{path} would have to be mounted in a private mount namespace, and the running data plane would die with it. \
         Mount it beforehand (`mkdir -p {path} && mount -t bpf bpf {path}`), or enter the network namespace with \
         `nsenter --net=…` instead of `ip netns exec`"
    )]
    PrivateMounts { path: PathBuf },
    #[error(
        "XDP cannot be attached to {port}: {source}. Another XDP program on it, or a larger MTU than the driver allows?"
    )]
    Attach { port: String, source: io::Error },
    #[error(
        "the program for probes of DSR servers cannot be attached to interface {device}: {source:#}. The kernel needs \
         CONFIG_NET_SCH_INGRESS (clsact) and CONFIG_NET_CLS_BPF; until then these probes fail"
    )]
    AttachProbe { device: IfIndex, source: libbpf_rs::Error },
    #[error("the data plane has no room for more {what}: it holds {limit}")]
    Full { what: &'static str, limit: u32 },
    #[error("the program that makes the lease endless cannot be run: {source}")]
    Lease { source: io::Error },
    #[error("the connection table cannot be swept: {source}")]
    Sweep { source: io::Error },
    #[error("what the peer tells of connections cannot be entered: {source}")]
    Restore { source: io::Error },
    #[error("the program cannot be asked what it would do: {source}")]
    Explain { source: io::Error },
    #[error("no random numbers for the seed of the hashes: {source}")]
    Random { source: io::Error },
}

impl DataPlaneError {
    fn load(source: libbpf_rs::Error) -> Self {
        let kernel = nix::sys::utsname::uname()
            .map(|u| format!("Linux {}", u.release().to_string_lossy()))
            .unwrap_or_else(|_| "an unknown kernel".into());
        Self::Load { kernel, source }
    }
}

/// Live connections of a destination or a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ConnectionCounts {
    /// Established, neither closed nor reset.
    pub active: u64,
    /// In a handshake.
    pub pending: u64,
    /// Scheduled since the data plane was first loaded.
    pub total: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    pub packets_in: u64,
    pub bytes_in: u64,
    /// Seen in NAT only.
    pub packets_out: u64,
    pub bytes_out: u64,
}

/// The walks over the table of established connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct SweepStatistics {
    /// Complete walks since the daemon started.
    pub completed: u64,
    /// Connections removed by them.
    pub removed: u64,
    /// Connections and flows forgotten because their destination was down.
    pub reset: u64,
    /// Of the latest complete walk, its pauses included.
    pub last_duration: std::time::Duration,
}

/// A MAC whose frames the data plane took away from the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenMac {
    pub mac: Mac,
    pub vlan: u16,
    pub port: IfIndex,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub last_seen: u64,
}

/// The data plane of this box, running or just made.
pub struct DataPlane {
    loaded: Loaded,
    lease: LeaseWriter,
    tables: Tables,
    attachments: Attachments,
    sweep: Option<Sweep>,
    sweeps: SweepStatistics,
    expiry: BTreeMap<DestKey, Expiry>,
    /// As the program's map has them.
    probe_places: BTreeMap<u32, ProbePlace>,
    resets: Resets,
    /// As the program's map has them; `None`: not read yet.
    client_places: Option<BTreeMap<u64, IfIndex>>,
    names: SharedNames,
}

impl DataPlane {
    /// Loads the program; below `pin_dir` (made a bpffs if it is none) everything is pinned, and what an
    /// earlier daemon left there is taken over with its connections.
    pub fn load(limits: &Limits, pin_dir: Option<&Path>) -> Result<Self, DataPlaneError> {
        libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Warn, |level, text| {
            tracing::debug!(target: "libbpf", ?level, "{}", text.trim_end());
        })));
        if let Some(dir) = pin_dir {
            loader::prepare_pin_dir(dir)?;
        }
        let loaded = loader::load(limits, pin_dir)?;
        let mut attachments = Attachments::new(pin_dir);
        attachments.adopt(loaded.adopted.then_some(loaded.xdp.as_fd()))?;
        let tables = if loaded.adopted { Tables::adopt(&loaded.maps)? } else { Tables::default() };
        let lease = LeaseWriter::new(&loaded)?;
        if !loaded.adopted {
            lease.begin();
        }
        Ok(Self {
            loaded,
            lease,
            tables,
            attachments,
            sweep: None,
            sweeps: SweepStatistics::default(),
            expiry: BTreeMap::new(),
            probe_places: BTreeMap::new(),
            resets: Resets::default(),
            client_places: None,
            names: SharedNames::default(),
        })
    }

    /// For whoever tells the peer what happens to connections; one at a time.
    pub fn capture(&self) -> Result<Capture, DataPlaneError> {
        self.names.set(self.tables.sync_names());
        Capture::new(&self.loaded, self.names.clone())
    }

    /// For whoever enters what the peer tells; one at a time.
    pub fn restore(&self) -> Result<Restore, DataPlaneError> {
        self.names.set(self.tables.sync_names());
        Restore::new(&self.loaded, self.names.clone())
    }

    /// Whether an earlier daemon's state was taken over.
    pub fn adopted(&self) -> bool {
        self.loaded.adopted
    }

    /// What the operator should know of the start.
    pub fn notes(&self) -> &[String] {
        &self.loaded.notes
    }

    /// Brings the tables, then the ports, to `state`.
    pub fn apply(
        &mut self,
        state: &ForwardingState,
        names: &BTreeMap<IfIndex, String>,
        xdp: XdpMode,
    ) -> Result<Vec<String>, DataPlaneError> {
        self.apply_tables(state)?;
        let ports: Vec<(IfIndex, String)> = state
            .ports
            .keys()
            .map(|index| (*index, names.get(index).cloned().unwrap_or_else(|| index.to_string())))
            .collect();
        let notes = self.attachments.set(self.loaded.xdp.as_fd(), &ports, xdp)?;
        if let Some(earlier) = &self.loaded.earlier {
            earlier.serves.store(false, Ordering::Release);
        }
        Ok(notes)
    }

    /// Brings the tables to `state`, and leaves the ports alone (tests, benches).
    pub fn apply_tables(&mut self, state: &ForwardingState) -> Result<(), DataPlaneError> {
        let applied = self.tables.apply(&self.loaded.maps, state);
        self.names.set(self.tables.sync_names());
        applied?;
        for key in state.dests.keys() {
            if let Some(service) = state.services.get(&key.service) {
                let t = &service.timeouts;
                let expiry = Expiry {
                    unproven: layout::nanos(t.unproven),
                    established: layout::nanos(t.established),
                    closing: layout::nanos(t.closing),
                    closed: layout::nanos(t.closed),
                    udp: layout::nanos(t.udp),
                };
                self.expiry.insert(key.clone(), expiry);
            }
        }
        let failed = state.dests.iter().filter(|(key, dest)| {
            let service = state.services.get(&key.service);
            dest.down && service.is_some_and(|service| service.on_failure == OnFailure::Reset)
        });
        let failed = failed.filter_map(|(key, dest)| Some((self.tables.dest_id(key, dest)?, key.server.clone())));
        self.resets.observe(failed.collect(), |server| self.tables.server_id(server).is_some());
        Ok(())
    }

    /// The lease, for a thread that must not wait for this data plane. A lease that was taken over is what it
    /// was; a data plane that was just made owns nothing.
    pub fn lease_writer(&self) -> Result<LeaseWriter, DataPlaneError> {
        LeaseWriter::new(&self.loaded)
    }

    /// There is no pair, or this box is told that it is alone: it owns its addresses without end, whatever was
    /// agreed with a peer.
    pub fn own_alone(&self) {
        self.lease.own_alone();
    }

    /// The word on ports that a pair opens and blocks is this one from now on: what `apply` writes of such a port
    /// follows the gate and not the plan, which may be older.
    pub fn use_gates(&mut self, gates: Arc<Gates>) {
        self.tables.use_gates(gates);
    }

    /// To have ports forward or not, past this structure and its lock.
    pub fn port_flags(&self) -> Result<PortFlags, DataPlaneError> {
        PortFlags::new(&self.loaded.maps)
    }

    /// Whether the program is on a port: natively (`true`) or generically.
    pub fn native(&self, port: IfIndex) -> Option<bool> {
        self.attachments.native(port)
    }

    /// Counts of all destinations, those that only drain included.
    pub fn connections(&self) -> BTreeMap<DestKey, ConnectionCounts> {
        self.tables.dests().filter_map(|(key, id)| Some((key.clone(), self.loaded.maps.conns.read(id)?))).fold(
            BTreeMap::new(),
            |mut sums: BTreeMap<DestKey, ConnectionCounts>, (key, c)| {
                let sum = sums.entry(key).or_default();
                sum.active += c.active;
                sum.pending += c.pending;
                sum.total += c.total;
                sums
            },
        )
    }

    /// Established connections of a server, over all its services.
    pub fn server_connections(&self, server: &Name) -> Option<u64> {
        Some(self.loaded.maps.server_conns.read(self.tables.server_id(server)?)?.active)
    }

    /// Packets and bytes of every destination.
    pub fn traffic(&self) -> Result<BTreeMap<DestKey, Traffic>, DataPlaneError> {
        let mut result: BTreeMap<DestKey, Traffic> = BTreeMap::new();
        for (key, id) in self.tables.dests() {
            let sum: &mut Traffic = result.entry(key.clone()).or_default();
            for t in self.loaded.maps.traffic.get_per_cpu(&id)? {
                sum.packets_in += t.packets_in;
                sum.bytes_in += t.bytes_in;
                sum.packets_out += t.packets_out;
                sum.bytes_out += t.bytes_out;
            }
        }
        Ok(result)
    }

    /// The counter of each entry of `reasons::REASONS`, in its order.
    pub fn reasons(&self) -> Result<Vec<u64>, DataPlaneError> {
        REASONS.iter().map(|(reason, ..)| Ok(self.loaded.maps.reasons.get_per_cpu(&reason.0)?.iter().sum())).collect()
    }

    /// Most established connections that the table can hold.
    pub fn capacity(&self) -> u32 {
        self.loaded.maps.flows.capacity()
    }

    /// The next connections (at most 2,048) of a walk over the table; `None` at the end.
    pub fn read_connections(
        &self,
        reader: &mut flows::ConnectionReader,
    ) -> Result<Option<Vec<flows::Connection>>, DataPlaneError> {
        reader.next(&self.loaded)
    }

    /// All maps, for variants of the program: without holding this.
    pub fn shared_maps(&self) -> Result<SharedMaps, DataPlaneError> {
        self.loaded.shared.try_clone()
    }

    /// Puts a tap in the place of the program, on all ports, or takes it away again (`None`). A port that comes in
    /// between has no tap.
    pub fn tap(&self, tap: Option<&tap::Tap>) -> Result<(), DataPlaneError> {
        self.attachments.replace(tap.map_or(self.loaded.xdp.as_fd(), tap::Tap::program))
    }

    /// The numbers of a service, in all families.
    pub fn service_ids(&self, virtual_server: &Name, service: &Name) -> Vec<u32> {
        self.tables.service_ids(virtual_server, service)
    }

    /// The numbers of all destinations of services, by their numbers.
    pub fn dests_of(&self, services: &[u32]) -> Vec<u32> {
        let ids = self.tables.dests().map(|(_, id)| id);
        ids.filter(|id| self.loaded.maps.dests.read(*id).is_some_and(|dest| services.contains(&dest.service))).collect()
    }

    /// Which destination a number stands for, and by which port it is reached.
    pub fn dest(&self, id: u32) -> Option<(&DestKey, Option<IfIndex>)> {
        let egress = self.loaded.maps.dests.read(id).map(|dest| dest.egress).filter(|egress| *egress != 0);
        Some((self.tables.dest_of(id)?, egress))
    }

    /// Destinations with their numbers in connection rows, those that only drain included.
    pub fn dests(&self) -> impl Iterator<Item = (&DestKey, u32)> {
        self.tables.dests()
    }

    /// Virtual addresses with their numbers in connection rows.
    pub fn vips(&self) -> impl Iterator<Item = (IpAddr, u32)> {
        self.tables.vips()
    }

    /// One step of the sweep over established connections, at most 2,048 entries. `true`: the walk is
    /// complete; numbers that nothing refers to any more were freed, and the next step begins anew.
    pub fn sweep_step(&mut self) -> Result<bool, DataPlaneError> {
        let mut sweep = match self.sweep.take() {
            Some(sweep) => sweep,
            None => {
                let expiry = self.tables.dests().filter_map(|(key, id)| Some((id, *self.expiry.get(key)?))).collect();
                Sweep::new(self.tables.begin_sweep(), expiry)
            }
        };
        match sweep.step(&self.loaded)? {
            SweepStep::More => {
                self.sweep = Some(sweep);
                Ok(false)
            }
            SweepStep::Done(used) => {
                if self.tables.collect(&self.loaded.maps, sweep.epoch, &used)? {
                    self.names.set(self.tables.sync_names());
                }
                self.sweeps.completed += 1;
                self.sweeps.removed += sweep.removed;
                self.sweeps.last_duration = sweep.begun.elapsed();
                let numbered: BTreeSet<&DestKey> = self.tables.dests().map(|(key, _)| key).collect();
                self.expiry.retain(|key, _| numbered.contains(key));
                Ok(true)
            }
        }
    }

    /// Whether there is something for `reset_step`: a destination has gone down, and its service resets what
    /// it owned.
    pub fn has_resets(&self) -> bool {
        self.resets.is_wanted() && reset::owns(&self.loaded)
    }

    /// The next step of ending what failed destinations own. The frames of a batch are to be sent without
    /// holding the data plane, which then wants to hear of it: `reset_done`.
    pub fn reset_step(&mut self) -> Result<ResetStep, DataPlaneError> {
        if !reset::owns(&self.loaded) {
            self.resets.abandon();
            return Ok(ResetStep::Idle);
        }
        self.resets.step(&self.loaded, &self.tables).inspect_err(|_| self.resets.abandon())
    }

    /// The frames of a batch have been sent: its entries go.
    pub fn reset_done(&mut self, batch: ResetBatch) -> Result<(), DataPlaneError> {
        let gone = self.resets.done(&self.loaded, batch).inspect_err(|_| self.resets.abandon())?;
        self.sweeps.reset += u64::from(gone);
        Ok(())
    }

    /// How far the reset of a server's connections has come, the latest; `None` if there was none.
    pub fn reset_of(&self, server: &Name) -> Option<ServerReset> {
        self.resets.of(server)
    }

    /// Resets what a server owns that is down (disabled), whatever its services' `on_failure` says: for a
    /// removal by force. `reset_of` tells how many were cut.
    pub fn force_reset(&mut self, server: &Name) {
        let own = self.tables.dests().filter(|(key, _)| key.server == *server);
        let ids: Vec<u32> = own.map(|(_, id)| id).collect();
        ids.into_iter().for_each(|id| self.resets.want(id, server.clone()));
    }

    pub fn sweep_statistics(&self) -> SweepStatistics {
        self.sweeps
    }

    /// Entries of the table of established connections now, those that linger after their end included.
    pub fn entries(&self) -> Result<u64, DataPlaneError> {
        entries(&self.loaded.maps.reasons)
    }

    /// Most connections in a handshake that the embryonic table can hold.
    pub fn embryonic_capacity(&self) -> u32 {
        self.loaded.maps.embryo_sets * layout::EMBRYO_WAYS / 2
    }

    /// Clears expired handshakes; how many.
    pub fn sweep_embryos(&self) -> Result<u32, DataPlaneError> {
        flows::sweep_embryos(&self.loaded)
    }

    /// MACs that the bridge did not see because their frames were taken away.
    pub fn seen_macs(&self) -> Result<Vec<SeenMac>, DataPlaneError> {
        let mut seen: BTreeMap<(Mac, u16), SeenMac> = BTreeMap::new();
        for slot in 0..layout::MAX_SEEN_MACS {
            for m in self.loaded.maps.seen_macs.get_per_cpu(&slot)? {
                if m.last_seen == 0 {
                    continue;
                }
                let mac = Mac(m.l2.mac);
                let entry = SeenMac { mac, vlan: m.l2.vlan, port: m.port, last_seen: m.last_seen };
                let newest = seen.entry((mac, m.l2.vlan)).or_insert(entry);
                if newest.last_seen < m.last_seen {
                    *newest = entry;
                }
            }
        }
        Ok(seen.into_values().collect())
    }

    /// Established connections per destination by walking over the table: for tests that hold the counts
    /// against the truth.
    pub fn count_by_walk(&self) -> Result<BTreeMap<DestKey, u64>, DataPlaneError> {
        let mut sums = BTreeMap::new();
        for (id, n) in flows::count_active(&self.loaded)? {
            if let Some(key) = self.tables.dest_of(id) {
                *sums.entry(key.clone()).or_insert(0) += n;
            }
        }
        Ok(sums)
    }

    /// The program itself, for whoever runs it otherwise than on ports (benches).
    pub fn program(&self) -> std::os::fd::BorrowedFd<'_> {
        self.loaded.xdp.as_fd()
    }

    /// Runs the program on a frame as if it had come in by `ingress`; what it changes in the tables stays.
    pub fn run(&self, frame: &[u8], ingress: IfIndex, repeat: u32) -> io::Result<Run> {
        kernel::run(self.loaded.xdp.as_fd(), frame, Some(ingress), repeat)
    }
}

/// A data plane of this boot is there, whoever made it.
pub fn is_pinned(pin_dir: &Path) -> bool {
    pin_dir.join("control").exists()
}

/// Ends a data plane that runs on without a daemon: unpins everything, which detaches the program.
pub fn stop(pin_dir: &Path) -> Result<(), DataPlaneError> {
    loader::remove_all(pin_dir)
}

/// Entries of the table of established connections, by the counters.
fn entries(reasons: &kernel::Table<u32, u64>) -> Result<u64, DataPlaneError> {
    let sum =
        |reason: layout::reason| -> Result<u64, DataPlaneError> { Ok(reasons.get_per_cpu(&reason.0)?.iter().sum()) };
    let entered = sum(layout::reason::REASON_FLOW_ENTERED)?;
    Ok(entered.saturating_sub(sum(layout::reason::REASON_FLOW_REMOVED)?))
}
