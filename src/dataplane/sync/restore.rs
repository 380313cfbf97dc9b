//! What the peer tells of connections, entered into the tables of this box under its own numbers.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::super::DataPlaneError;
use super::super::flows::monotonic_ns;
use super::super::kernel::{self, ScanCursor, Table};
use super::super::layout::*;
use super::super::loader::Loaded;
use super::{Numbers, SharedNames, key_of};
use crate::core::synced::{Change, Flow, FlowKey, Mentioned, Name, NameKind, Names, Parts, part_of};

/// Entries looked at by one step of tidying up.
const CHUNK: u32 = 2048;

/// What became of what the peer has told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreStatistics {
    /// Entered, changed or removed as told.
    pub done: u64,
    /// This box knew better: it has seen the connection itself, and later.
    pub older: u64,
    /// Of connections that are not here. Some are usual: told again after they have gone.
    pub stray: u64,
    /// There was no room in the table.
    pub full: u64,
    /// Of a destination, address or server that this box has not: its configuration is another. When that has
    /// changed, ask the peer to tell all again.
    pub unresolved: u64,
    /// Not mentioned when the peer told all: removed.
    pub forgotten: u64,
}

/// Enters what the peer tells. There may be one: two would mix up their lists.
pub struct Restore {
    program: OwnedFd,
    entries: Table<u32, sync_entry>,
    flows: Table<flow_key, flow>,
    names: SharedNames,
    /// This box's, as last seen, and the other way round.
    own: Arc<Names>,
    numbers: Numbers,
    /// The peer's, and this box's number for each of its own.
    theirs: Names,
    resolved: [Vec<Option<u32>>; NameKind::ALL.len()],
    batch: Vec<sync_entry>,
    owner: bool,
    mentioned: Option<Mentioned>,
    /// When the telling began that `mentioned` is of.
    begun: u64,
    tidying: Option<ScanCursor>,
    statistics: RestoreStatistics,
}

impl Restore {
    pub(in super::super) fn new(loaded: &Loaded, names: SharedNames) -> Result<Self, DataPlaneError> {
        let program = loaded.restore.try_clone().map_err(|source| DataPlaneError::Restore { source })?;
        Ok(Self {
            program,
            entries: loaded.maps.restore_entries.try_clone()?,
            flows: loaded.maps.flows.try_clone()?,
            own: Arc::default(),
            numbers: Numbers::default(),
            names,
            theirs: Names::default(),
            resolved: Default::default(),
            batch: Vec::new(),
            owner: false,
            mentioned: None,
            begun: 0,
            tidying: None,
            statistics: RestoreStatistics::default(),
        })
    }

    /// Whether this box owns its addresses: what it has seen itself then stays, whatever the peer tells.
    pub fn set_owner(&mut self, owner: bool) {
        self.owner = owner;
    }

    /// The peer begins anew: its numbers mean nothing any more.
    pub fn session(&mut self) {
        self.theirs = Names::default();
        self.resolved = Default::default();
        (self.mentioned, self.tidying) = (None, None);
    }

    /// What a number of the peer's stands for.
    pub fn name(&mut self, name: Name) {
        self.follow_names();
        let number = self.numbers.get(name.kind, &name.text);
        self.resolve(&name, number);
        self.theirs.set(name);
    }

    /// Takes a change, with ages as of now. It is in the tables after `flush`, at the latest.
    pub fn change(&mut self, change: &Change) -> Result<(), DataPlaneError> {
        let now = monotonic_ns();
        match self.entry_of(change, now) {
            Some(entry) => {
                if let (Some(mentioned), Change::Put(_)) = (&mut self.mentioned, change) {
                    mentioned.note(entry.key.bytes());
                }
                self.batch.push(entry);
            }
            None => self.statistics.unresolved += 1,
        }
        if self.batch.len() >= RESTORE_MAX as usize { self.flush() } else { Ok(()) }
    }

    /// The peer tells all connections of these parts.
    pub fn begin(&mut self, parts: Parts) -> Result<(), DataPlaneError> {
        while self.tidy()? {}
        self.mentioned = Some(Mentioned::new(parts, self.flows.capacity() as usize));
        self.begun = monotonic_ns();
        Ok(())
    }

    /// It has: what it has not mentioned since is removed, by `tidy`.
    pub fn end(&mut self) {
        if self.mentioned.is_some() {
            self.tidying = Some(ScanCursor::default());
        }
    }

    /// A step of removing what the peer has not mentioned, over at most 2,048 entries; `false`: there is nothing
    /// to do. What this box has seen itself since the telling began stays; if it is the owner, all that it has.
    pub fn tidy(&mut self) -> Result<bool, DataPlaneError> {
        let Some(mut cursor) = self.tidying.take() else { return Ok(false) };
        let Some(mentioned) = self.mentioned.take() else { return Ok(false) };
        self.flush()?;
        let Some(rows) = self.flows.scan_chunk(&mut cursor, CHUNK)? else { return Ok(false) };
        let gone = rows.iter().filter(|(key, _)| mentioned.is_gone(part_of(&key_of(key)), key.bytes()));
        let gone = gone.map(|(key, _)| sync_entry {
            kind: SYNC_GONE,
            key: *key,
            flow: flow { last_seen: self.begun, ..Default::default() },
            ..Default::default()
        });
        self.batch.extend(gone);
        let before = self.statistics;
        self.flush()?;
        self.statistics.forgotten += self.statistics.done - before.done;
        self.statistics = RestoreStatistics { forgotten: self.statistics.forgotten, ..before };
        (self.tidying, self.mentioned) = (Some(cursor), Some(mentioned));
        Ok(true)
    }

    /// Brings what was taken into the tables.
    pub fn flush(&mut self) -> Result<(), DataPlaneError> {
        let batch = std::mem::take(&mut self.batch);
        for entries in batch.chunks(RESTORE_MAX as usize) {
            self.entries.put_first(entries)?;
            let order = restore { count: entries.len() as u32, owner: u32::from(self.owner), ..Default::default() };
            let run = kernel::run(self.program.as_fd(), order.bytes(), None, 1);
            let run = run.map_err(|source| DataPlaneError::Restore { source })?;
            let Some(done) = restore::from_bytes(&run.frame) else { continue };
            let s = &mut self.statistics;
            s.done += u64::from(done.done);
            s.older += u64::from(done.older);
            s.stray += u64::from(done.stray);
            s.full += u64::from(done.full);
            s.unresolved += u64::from(done.nowhere);
        }
        self.batch = batch;
        self.batch.clear();
        Ok(())
    }

    pub fn statistics(&self) -> RestoreStatistics {
        self.statistics
    }

    /// When this box's numbers have changed, those of the peer are resolved anew.
    fn follow_names(&mut self) {
        let own = self.names.get();
        if Arc::ptr_eq(&own, &self.own) {
            return;
        }
        self.numbers = Numbers::of(&own);
        self.own = own;
        let known: Vec<(Name, Option<u32>)> =
            self.theirs.iter().map(|name| (name.clone(), self.numbers.get(name.kind, &name.text))).collect();
        known.iter().for_each(|(name, number)| self.resolve(name, *number));
    }

    fn resolve(&mut self, name: &Name, number: Option<u32>) {
        let Some(list) = self.resolved.get_mut(name.kind as usize) else { return };
        let index = name.number as usize;
        if name.number > NameKind::NUMBER_MAX {
            return;
        }
        if list.len() <= index {
            list.resize(index + 1, None);
        }
        if let Some(slot) = list.get_mut(index) {
            *slot = number;
        }
    }

    fn number(&self, kind: NameKind, theirs: u32) -> Option<u32> {
        *self.resolved.get(kind as usize)?.get(theirs as usize)?
    }

    fn key(&self, key: &FlowKey) -> Option<flow_key> {
        Some(flow_key {
            peer: addr_of(key.client),
            peer_port: key.client_port.to_be(),
            port: key.port.to_be(),
            local: self.number(NameKind::Vip, key.vip)? | if key.udp { LOCAL_UDP } else { 0 },
        })
    }

    fn entry_of(&mut self, change: &Change, now: u64) -> Option<sync_entry> {
        self.follow_names();
        // 0 would be "never".
        let moment = |age_ms: u64| now.saturating_sub(age_ms.saturating_mul(1_000_000)).max(1);
        let mut entry = sync_entry::default();
        match change {
            Change::Put(told) => {
                let Flow { source, client_mac, client_vlan, .. } = *told;
                let (snat, snat_port) = match source {
                    None => (0, 0),
                    Some((number, port)) => (self.number(NameKind::Source, number)? + 1, port),
                };
                entry.kind = SYNC_PUT;
                entry.key = self.key(&told.key)?;
                entry.server_ack = told.server_ack.to_be();
                entry.flow = flow {
                    last_seen: moment(told.seen_ms),
                    created: moment(told.created_ms),
                    dest: self.number(NameKind::Dest, told.dest)?,
                    state: told.state.into(),
                    last_ack: told.last_ack.to_be(),
                    snat_port: snat_port.to_be(),
                    snat: u16::try_from(snat).ok()?,
                    client: l2 { mac: client_mac.0, vlan: client_vlan },
                    client_port: 0,
                    progress: told.progress.into(),
                };
            }
            Change::Touch { key, state, seen_ms, last_ack } => {
                entry.kind = SYNC_TOUCH;
                entry.key = self.key(key)?;
                entry.flow.last_seen = moment(*seen_ms);
                entry.flow.state = (*state).into();
                entry.flow.last_ack = last_ack.to_be();
            }
            Change::Gone { key, seen_ms } => {
                entry.kind = SYNC_GONE;
                entry.key = self.key(key)?;
                entry.flow.last_seen = moment(*seen_ms);
            }
            Change::Binding(told) => {
                entry.kind = SYNC_BINDING;
                entry.key.peer = addr_of(told.client);
                entry.key.local = self.number(NameKind::Group, told.group)?;
                entry.flow.last_seen = moment(told.seen_ms);
                entry.flow.dest = self.number(NameKind::Server, told.server)?;
                entry.flow.state = self.number(NameKind::Vip, told.vip)?;
            }
        }
        Some(entry)
    }
}
