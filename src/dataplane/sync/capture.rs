//! What happens to connections, for the peer: events of the program, and walks over the table.

use std::collections::HashMap;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::DataPlaneError;
use super::super::flows::monotonic_ns;
use super::super::kernel::{RingReader, ScanCursor, SharedArray, Table};
use super::super::layout::*;
use super::super::loader::{Loaded, pair};
use super::super::reset::reverse_key;
use super::{SharedNames, key_of, ms};
use crate::config::Mac;
use crate::core::synced::{Binding, Change, Flow, Names, Parts, part_of};

/// Entries that a walk reads at a time.
pub const WALK_STEP: usize = CHUNK as usize;
const CHUNK: u32 = 2048;
/// A client that has been silent for so long: whether its server speaks on is then looked up, in UDP.
const SILENT_NS: u64 = 1_000_000_000;

/// An entry that a walk has come upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walked {
    Flow(Flow),
    Binding(Binding),
}

/// Reads what happens to the connections of this box. There may be one; a second would take events away from it.
pub struct Capture {
    control: SharedArray<control>,
    ring: RingReader,
    lost: SharedArray<sync_lost>,
    dests: SharedArray<dest>,
    flows: Table<flow_key, flow>,
    rflows: Table<flow_key, rflow>,
    persist: Table<persist_key, persist>,
    reasons: Table<u32, u64>,
    names: SharedNames,
    walk: Walk,
}

#[derive(Default)]
enum Walk {
    #[default]
    Idle,
    Flows(ScanCursor),
    Bindings(ScanCursor),
}

impl Capture {
    pub(in super::super) fn new(loaded: &Loaded, names: SharedNames) -> Result<Self, DataPlaneError> {
        let maps = &loaded.maps;
        Ok(Self {
            control: SharedArray::map(&maps.control_map)?,
            ring: RingReader::map(&maps.sync_events)?,
            lost: SharedArray::map(&maps.sync_lost)?,
            dests: SharedArray::map(&maps.dests_map)?,
            flows: maps.flows.try_clone()?,
            rflows: maps.rflows.try_clone()?,
            persist: maps.persist.try_clone()?,
            reasons: maps.reasons.try_clone()?,
            names,
            walk: Walk::Idle,
        })
    }

    /// Has the program tell what happens, or stop to. What it told before is forgotten: begin with a walk.
    pub fn listen(&mut self, on: bool) {
        let flag = pair(0, u32::MAX);
        if on {
            self.ring.consume(usize::MAX, |_: &sync_entry| {});
            self.take_lost();
        }
        if let Some(word) = self.control.word(0, offset_of!(control, seed)) {
            if on {
                word.fetch_or(flag, Ordering::AcqRel);
            } else {
                word.fetch_and(!flag, Ordering::AcqRel);
            }
        }
    }

    /// Size of the table.
    pub fn entries(&self) -> Result<u64, DataPlaneError> {
        super::super::entries(&self.reasons)
    }

    /// The names of the numbers in what `drain` and `walk` give.
    pub fn names(&self) -> Arc<Names> {
        self.names.get()
    }

    /// Hands over at most `max` events, each with the time since it happened; how many there were. Ages are as of
    /// the call.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(Change, Duration)) -> usize {
        let now = monotonic_ns();
        self.ring.consume(max, |entry: &sync_entry| {
            if let Some(change) = change_of(entry, now) {
                each(change, Duration::from_nanos(now.saturating_sub(entry.at)));
            }
        })
    }

    /// Events for which the ring had no room since the last call: the parts that they were of, and how many.
    pub fn take_lost(&self) -> (Parts, u64) {
        let mut parts = Parts::NONE;
        let take = |offset| self.lost.word(0, offset).map_or(0, |word| word.swap(0, Ordering::AcqRel));
        // The number first: a loss that comes between is counted in the next call, and not missed.
        let events = take(offset_of!(sync_lost, events));
        for (index, word) in parts.0.iter_mut().enumerate() {
            *word = take(offset_of!(sync_lost, part) + 8 * index);
        }
        (parts, events)
    }

    /// Begins a walk over the table.
    pub fn begin_walk(&mut self) {
        self.walk = Walk::Flows(ScanCursor::default());
    }

    /// The next step of the walk, at most 2,048 entries: connections, then bindings if any `parts` are to be told
    /// whole. `false`: it is over. An entry that is there from beginning to end is met.
    pub fn walk_step(&mut self, parts: &Parts, each: impl FnMut(Walked)) -> Result<bool, DataPlaneError> {
        match std::mem::take(&mut self.walk) {
            Walk::Idle => Ok(false),
            Walk::Flows(cursor) => self.walk_flows(cursor, parts, each),
            Walk::Bindings(cursor) => self.walk_bindings(cursor, each),
        }
    }

    fn walk_flows(
        &mut self,
        mut cursor: ScanCursor,
        parts: &Parts,
        mut each: impl FnMut(Walked),
    ) -> Result<bool, DataPlaneError> {
        let Some(rows) = self.flows.scan_chunk(&mut cursor, CHUNK)? else {
            let more = !parts.is_empty();
            self.walk = if more { Walk::Bindings(ScanCursor::default()) } else { Walk::Idle };
            return Ok(more);
        };
        let now = monotonic_ns();
        let mut dests: HashMap<u32, Option<dest>> = HashMap::new();
        for (key, value) in &rows {
            if value.state & FLOW_REMOVED != 0 {
                continue;
            }
            let mut flow = flow_of(key, value, 0, now);
            let is_silent_udp = flow.key.udp && now.saturating_sub(value.last_seen) > SILENT_NS;
            if is_silent_udp || parts.contains(part_of(&flow.key)) {
                let dest = dests.entry(value.dest).or_insert_with(|| self.dests.read(value.dest));
                let back = dest.as_ref().and_then(|dest| reverse_key(key, value, dest));
                if let Some(back) = back
                    && let Some(back) = self.rflows.get(&back)?
                {
                    flow.server_ack = u32::from_be(back.last_ack);
                    flow.seen_ms = flow.seen_ms.min(ms(now.saturating_sub(back.last_seen)));
                }
            }
            each(Walked::Flow(flow));
        }
        self.walk = Walk::Flows(cursor);
        Ok(true)
    }

    fn walk_bindings(&mut self, mut cursor: ScanCursor, mut each: impl FnMut(Walked)) -> Result<bool, DataPlaneError> {
        let Some(rows) = self.persist.scan_chunk(&mut cursor, CHUNK)? else { return Ok(false) };
        let now = monotonic_ns();
        for (key, value) in &rows {
            each(Walked::Binding(Binding {
                client: ip_of(&key.client),
                group: key.group,
                server: value.server,
                vip: value.vip,
                seen_ms: ms(now.saturating_sub(value.last_seen)),
            }));
        }
        self.walk = Walk::Bindings(cursor);
        Ok(true)
    }
}

fn flow_of(key: &flow_key, value: &flow, server_ack: u32, now: u64) -> Flow {
    Flow {
        key: key_of(key),
        dest: value.dest,
        state: (value.state & FLOW_TOLD) as u8,
        seen_ms: ms(now.saturating_sub(value.last_seen)),
        created_ms: ms(now.saturating_sub(value.created)),
        last_ack: u32::from_be(value.last_ack),
        server_ack: u32::from_be(server_ack),
        source: value.snat.checked_sub(1).map(|index| (index.into(), u16::from_be(value.snat_port))),
        client_mac: Mac(value.client.mac),
        client_vlan: value.client.vlan,
        progress: value.progress.min(255) as u8,
    }
}

fn change_of(entry: &sync_entry, now: u64) -> Option<Change> {
    let (key, value) = (&entry.key, &entry.flow);
    let seen_ms = ms(now.saturating_sub(value.last_seen));
    Some(match entry.kind {
        SYNC_PUT => Change::Put(flow_of(key, value, entry.server_ack, now)),
        SYNC_TOUCH => Change::Touch {
            key: key_of(key),
            state: (value.state & FLOW_TOLD) as u8,
            seen_ms,
            last_ack: u32::from_be(value.last_ack),
        },
        SYNC_GONE => Change::Gone { key: key_of(key), seen_ms },
        SYNC_BINDING => Change::Binding(Binding {
            client: ip_of(&key.peer),
            group: key.local,
            server: value.dest,
            vip: value.state,
            seen_ms,
        }),
        _ => return None,
    })
}
