//! What a box tells its peer in every heartbeat: plain data, without its form on the wire.

use super::time::{Span, Stamp};

/// Which life of which boot a box is in. Ordered: a later boot is newer, and a later start of the same boot.
///
/// Heartbeats of any but the newest incarnation do not count. Both counters are kept on disk and go up by one
/// at each boot of the machine and each start of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    pub boot: u32,
    pub start: u32,
}

/// The identity of a box, the same for ever: its fixed MAC as a number. The peer's is known from the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BoxId(pub u64);

/// The newest heartbeat of the peer that the sender has, by any path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The peer's incarnation, as the sender heard it.
    pub incarnation: Incarnation,
    pub stamp: Stamp,
}

/// The sender's state, as its machine has it. See `election::Election`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Started; has not yet listened for long enough, or does not hold its peer's state yet.
    #[default]
    Init,
    /// Could take over.
    Standby,
    /// Owns nothing, and asks for the peer's promise.
    Claiming,
    /// Owns the virtual IPs.
    Active,
    /// Something that an owner needs is broken (a tracked interface, its ports, its data plane).
    Fault,
    /// An operator has taken it out.
    Maintenance,
    /// Its daemon is about to be restarted on purpose.
    Leaving,
}

/// How long the sender may own, measured from the stamp of the heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaseLeft {
    /// It owns nothing.
    #[default]
    None,
    /// It owns for so long, unless it renews.
    Finite(Span),
    /// It owns without end, or will as soon as the peer has echoed this.
    Endless,
}

/// Who of two should own: compared from the first field to the last, the greater wins. The derived order is the rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    pub ready: bool,
    /// Pools with at least one healthy server.
    pub healthy_pools: u16,
    /// The gateway answers ARP or ND.
    pub gateway_seen: bool,
    /// Configured; 0 to 255, higher is preferred.
    pub priority: u8,
    pub id: BoxId,
}

/// The rank of an owner that has seen another owner, frozen at that moment so that both compare the same two values.
/// The derived order is the rule; the greater stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrozenRank {
    pub healthy_pools: u16,
    pub gateway_seen: bool,
    /// Connections with traffic in the last second, as a power of two: 0 is none, n is 2^(n-1) and more.
    pub busy_magnitude: u8,
    /// For how long it has owned, in whole seconds.
    pub owned_s: u32,
    pub id: BoxId,
}

/// One heartbeat. Only one with a newer stamp than the newest seen counts, within the newest incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    pub incarnation: Incarnation,
    /// Time of sending on the sender's clock. Strictly growing within an incarnation.
    pub stamp: Stamp,
    /// `None`: it has not heard its peer since it started.
    pub echo: Option<Echo>,
    pub state: State,
    /// The sender's data plane owned at the time of the stamp.
    pub owns: bool,
    /// The sender owns because its peer is silent: without promises.
    pub solo: bool,
    /// The sender will not own for so long after it received the heartbeat that [`Heartbeat::echo`] names.
    /// `None`: nothing is promised on that one.
    pub promise: Option<Span>,
    pub lease: LeaseLeft,
    /// Could own well now: state in sync, health known, ports as they should be.
    pub ready: bool,
    pub rank: Rank,
    /// Set while the sender, an owner, sees another owner.
    pub frozen: Option<FrozenRank>,
    /// Hand-over: the sender has dropped its lease for the peer, and frees it from its promise.
    pub grant: bool,
    /// Asks for a promise of so long instead of the usual, for a planned restart.
    pub extend: Option<Span>,
    /// Asks the owner for a hand-over (preemption, or more healthy pools).
    pub want: bool,
    /// The sender's uplinks are open: of the two, one box's are. See `uplink`.
    pub uplink_open: bool,
    /// The sender could send frames by a cross-connect.
    pub crossed: bool,
    /// Pools healthy as the sender sees them now; [`Rank::healthy_pools`] may be held back for a while.
    pub pools_healthy: u16,
    /// Revision of the configuration in force; the peer's should be the same.
    pub config_revision: u64,
}
