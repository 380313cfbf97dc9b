//! The pair, as faces show it, and what an operator may order of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An order about who of the pair owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairOrder {
    /// The other box shall own, now.
    HandOver,
    /// This box shall own nothing, or may again.
    Maintenance(bool),
    /// Of two configurations that were changed apart from each other this one counts, on both boxes.
    TakeConfig(Side),
}

/// One of the two boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// This one.
    Own,
    /// The other one.
    Peer,
}

/// What this box knows of the pair.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PairState {
    /// init, standby, claiming, active, fault, maintenance or leaving.
    pub state: &'static str,
    /// How long it has been in `state`.
    pub since_seconds: f64,
    /// The data plane of this box answers for the virtual addresses.
    pub owns: bool,
    /// It owns because the other box is silent.
    pub alone: bool,
    /// none, finite or endless.
    pub lease: &'static str,
    /// Until a finite lease ends by itself.
    pub lease_seconds: Option<f64>,
    /// It could take over at once, or owns.
    pub ready: bool,
    /// Why not, in words; none if it is.
    pub unready: Option<String>,
    /// None: the other box was not heard since the daemon started.
    pub peer: Option<PeerState>,
    /// How long ago the other box's data plane answered a question; it does so also without its daemon. None: never.
    /// While that box is silent, one that could own or owns asks several times a second.
    pub peer_answered_seconds: Option<f64>,
    /// This box's uplinks are open; of the two boxes', one is.
    pub uplink_open: bool,
    /// Version of the protocol that is spoken with the other box.
    pub protocol: u8,
    /// Version of lbd that the other box runs; none: not heard by the network for 4 s.
    pub peer_release: Option<String>,
    /// Numbers of the keys that this box and the other one seal with; of that one, once it was heard.
    pub key: u8,
    pub peer_key: Option<u8>,
    pub paths: Vec<PathState>,
    pub sync: SyncState,
    pub config: PairConfigState,
    pub health: PairHealthState,
    /// Since the daemon started.
    pub became_owner: u64,
    /// Since the daemon started.
    pub handed_over: u64,
    /// Times that the thread of the heartbeats did not run for a while, since the daemon started.
    pub pauses: u64,
    /// Heartbeats that were proved to be old, since the daemon started.
    pub stale: u64,
}

/// The other box, by its latest heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PeerState {
    pub state: &'static str,
    pub owns: bool,
    pub ready: bool,
    /// How long ago it was heard.
    pub heard_seconds: f64,
    /// Age of the latest heartbeat of this box that it has confirmed; none: it has confirmed none.
    pub hears_us_seconds: Option<f64>,
    pub healthy_pools: u16,
    pub uplink_open: bool,
    /// It has the same configuration, apart from what is of one box alone.
    pub same_config: bool,
}

/// How connections, bindings and orders come to the other box, or from there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct SyncState {
    /// This box tells; else it is told.
    pub tells: bool,
    /// Told: it holds all that the other box holds.
    pub complete: bool,
    /// Told: connections of the telling that is under way, of how many.
    pub progress: Option<[u64; 2]>,
    /// Tells: changes that the other box does not have yet.
    pub behind_records: u64,
    /// Tells: how long the oldest of them has waited.
    pub behind_seconds: f64,
    /// Tells: changes that there was no room for; they were told anew, with their part of the table.
    pub left_out: u64,
    /// Tells: datagrams and bytes sent, since this box owns.
    pub datagrams: u64,
    pub bytes: u64,
    /// Told: changes taken, since the daemon started.
    pub records: u64,
    /// Told: of servers and addresses that this box does not have; its configuration is another.
    pub unresolved: u64,
}

/// How what a box sees of the servers differs from what the owner sees; nothing, of an owner. Members are named
/// `virtual server/service/4 or 6/server`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct PairHealthState {
    /// Members that cannot serve as this box sees them, and can as the owner does.
    pub worse_here: Vec<String>,
    /// The other way round.
    pub worse_there: Vec<String>,
}

/// The configuration that both boxes have, and how this box's stands to the other's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct PairConfigState {
    /// Changes that led to it; 0: of a blank box.
    pub revision: u64,
    /// What it says, as the first 16 hexadecimal digits of a hash.
    pub hash: String,
    /// same; ahead: the other box takes this one's; behind: this box takes the other's; off_duty: this one's is newer, but
    /// was changed while the box did not own; peer_off_duty: the other's, likewise; conflict: both were changed apart
    /// from each other; settling: the other box has not said yet; unheard.
    pub standing: &'static str,
    /// What is not as it should be, in words; none if all is.
    pub trouble: Option<String>,
    /// None: the other box has not told.
    pub peer_revision: Option<u64>,
    pub peer_hash: Option<String>,
    /// Pieces of the other's that have come, of how many; none while none is on its way.
    pub progress: Option<[u32; 2]>,
    /// Taken from the other box, since the daemon started.
    pub copied: u64,
}

/// A way on which heartbeats go.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PathState {
    pub name: String,
    /// Something came in the dead interval.
    pub alive: bool,
    pub sent: u64,
    pub received: u64,
    /// Heartbeats of the other box that did not come this way.
    pub lost: u64,
    /// Messages that were refused: not of this pair, damaged, replayed.
    pub refused: u64,
    /// Half of the latest round trip.
    pub delay_seconds: Option<f64>,
    /// How long ago something came; none: never.
    pub heard_seconds: Option<f64>,
    /// What keeps the path from working, in words.
    pub trouble: Option<String>,
}
