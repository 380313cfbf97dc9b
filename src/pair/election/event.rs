//! What the machine is told, and what it wants done.

use crate::pair::heartbeat::{BoxId, Heartbeat, Incarnation, LeaseLeft, State};
use crate::pair::time::{Instant, Span};
use crate::pair::timers::Timers;

/// The lease as the data plane holds it: it owns while its clock has not reached the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lease {
    #[default]
    None,
    Until(Instant),
    Endless,
}

impl Lease {
    pub fn owns(self, now: Instant) -> bool {
        match self {
            Self::None => false,
            Self::Until(end) => now < end,
            Self::Endless => true,
        }
    }

    /// The end, if it has one that is still to come.
    pub fn end(self, now: Instant) -> Option<Instant> {
        match self {
            Self::Until(end) if now < end => Some(end),
            _ => None,
        }
    }

    pub fn left(self, now: Instant) -> LeaseLeft {
        match self {
            Self::Endless => LeaseLeft::Endless,
            Self::Until(end) if now < end => LeaseLeft::Finite(end.since(now)),
            _ => LeaseLeft::None,
        }
    }
}

/// A heartbeat path, numbered in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u8);

/// What does not change while the daemon runs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub id: BoxId,
    /// `None`: no pair is configured, or this box was told to be alone.
    pub peer: Option<BoxId>,
    pub incarnation: Incarnation,
    pub timers: Timers,
    pub priority: u8,
    /// Asks for ownership when its priority is higher and the peer owns for no better reason.
    pub preempt: bool,
    /// For how long its better rank must have stood before it asks.
    pub preempt_delay: Span,
    /// The time in which a failed server is found: a difference in healthy pools must stand for two of these.
    pub detection: Span,
    /// After any change of ownership no hand-over comes by itself for so long.
    pub hold: Span,
    /// For how long an owner whose daemon seems dead is waited for, before it is told to let go.
    pub orphan_after: Span,
    /// A fence command is configured; for how long its end is waited for.
    pub fence: Option<Span>,
    /// Nothing was pinned: the machine has booted, and a promise given before is forgotten.
    pub booted: bool,
}

impl Settings {
    /// The usual settings of a box with a peer.
    pub fn new(id: BoxId, peer: BoxId, incarnation: Incarnation, timers: Timers) -> Self {
        Self {
            id,
            peer: Some(peer),
            incarnation,
            timers,
            priority: 100,
            preempt: false,
            preempt_delay: Span::from_secs(10),
            detection: Span::from_secs(5),
            hold: Span::from_secs(30),
            orphan_after: Span::from_secs(2),
            fence: None,
            booted: true,
        }
    }
}

/// What the rest of the daemon knows about this box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Holds its peer's state, or has been told by an operator to do without.
    pub synced: bool,
    /// Everything that was streamed to the peer has arrived there: a hand-over loses nothing.
    pub drained: bool,
    /// What an owner needs is broken: tracked interfaces, ports, the data plane.
    pub fault: bool,
    /// All that is asked of a good owner is there. `unready` says why not.
    pub ready: bool,
    pub healthy_pools: u16,
    pub gateway_seen: bool,
    /// See `FrozenRank::busy_magnitude`.
    pub busy_magnitude: u8,
    pub config_revision: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Let the peer own, now.
    HandOver,
    Maintenance(bool),
    /// The daemon is to be restarted: get it so much time. [`Action::Exit`] tells when.
    Restart,
}

#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The machine's own deadline has come. All that lay in the sockets must have been handed over before.
    Tick,
    Heartbeat {
        path: PathId,
        heartbeat: &'a Heartbeat,
    },
    /// The answer of a data plane to [`Action::Ask`].
    Answer {
        path: PathId,
        nonce: u64,
        /// By its MAC.
        from: BoxId,
        lease: LeaseLeft,
        /// For how long it has owned.
        age: Span,
    },
    /// This box's own data plane has answered a question of the peer's.
    Asked,
    /// The driver knows that it was not running for a while.
    Resumed,
    /// What the driver adds to heartbeats has changed: let the peer know now.
    Speak,
    Inputs(Inputs),
    Command(Command),
    /// The fence command has ended, well or not.
    Fenced {
        ok: bool,
    },
}

/// For which frames a box works that no longer owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serve {
    /// Frames of flows that it knows.
    Known,
    /// All frames to its MAC, as if it owned; but it answers no ARP.
    All,
}

/// To be carried out in the order given: a heartbeat speaks of what was done before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// On every path.
    Send(Heartbeat),
    /// Write this end into the data plane: the box begins to own.
    SetLease(Instant),
    /// Write this end, if the box owns still. Between the decision and the write the lease may have run out, and another
    /// box have come to own.
    Renew(Instant),
    /// In one step of the kernel's: endless if the box owns now, else no change.
    MakeEndless,
    DropLease,
    /// Own nothing before this instant, whatever happens; pinned, so that the next daemon knows.
    KeepPromise(Instant),
    /// Ask the peer's data plane, on every Ethernet path.
    Ask {
        nonce: u64,
    },
    /// Tell the peer's data plane to let go, if its daemon shows no life.
    Release {
        nonce: u64,
    },
    /// Gratuitous ARP and unsolicited neighbour advertisements for all that is owned.
    Announce,
    Serve {
        what: Serve,
        until: Instant,
    },
    /// Run the fence command, and tell how it ended.
    Fence,
    /// The restart that was ordered can be done now.
    Exit,
    Alarm(Alarm),
}

/// What an operator should hear of at once. Each is told when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alarm {
    /// No heartbeat came for the dead interval.
    PeerSilent,
    /// It claimed without having heard anything: the peer is off, or every path is cut.
    ClaimedUnheard,
    /// Both own.
    TwoOwners,
    /// The peer's data plane owns without end, and its daemon says nothing.
    Orphan,
    /// The peer's data plane answers, but no heartbeat comes through.
    HeartbeatsFiltered,
    /// Another machine than the peer answered for the virtual IPs.
    Stranger(BoxId),
    /// A hand-over was ordered, and the peer is in no state for it.
    HandOverImpossible,
    /// The peer did not grant time for a restart.
    RestartRefused,
    /// The peer does not hear us.
    PeerDeaf,
    /// The daemon was not running for so long.
    Paused(Span),
    FenceFailed,
    /// The peer runs with another configuration.
    ConfigDiffers,
}

impl Alarm {
    /// One word, for programs; stable between releases.
    pub fn word(self) -> &'static str {
        match self {
            Self::PeerSilent => "peer-silent",
            Self::ClaimedUnheard => "claimed-unheard",
            Self::TwoOwners => "two-owners",
            Self::Orphan => "orphan",
            Self::HeartbeatsFiltered => "heartbeats-filtered",
            Self::Stranger(_) => "stranger",
            Self::HandOverImpossible => "hand-over-impossible",
            Self::RestartRefused => "restart-refused",
            Self::PeerDeaf => "peer-deaf",
            Self::Paused(_) => "paused",
            Self::FenceFailed => "fence-failed",
            Self::ConfigDiffers => "config-differs",
        }
    }

    pub fn words(self) -> String {
        match self {
            Self::PeerSilent => "the peer is silent on every heartbeat path".to_owned(),
            Self::ClaimedUnheard => "took over from a peer that answered nothing: it is off, or every path is cut; \
                                     if it is not off, both own until a path is back"
                .to_owned(),
            Self::TwoOwners => "the peer owns too; one of the two lets go".to_owned(),
            Self::Orphan => "the peer's data plane forwards, but its daemon is dead".to_owned(),
            Self::HeartbeatsFiltered => {
                "the peer answers on the LAN, but no heartbeat comes through: is something filtering?".to_owned()
            }
            Self::Stranger(BoxId(mac)) => format!("the machine {mac:012x} answers for the virtual IPs"),
            Self::HandOverImpossible => "no hand-over: the peer is silent, deaf or not ready".to_owned(),
            Self::RestartRefused => "the peer grants no time for a restart".to_owned(),
            Self::PeerDeaf => "the peer is heard, but does not hear this box".to_owned(),
            Self::Paused(span) => format!("this daemon did not run for {span}"),
            Self::FenceFailed => "the fence command failed; took over all the same".to_owned(),
            Self::ConfigDiffers => "the peer runs with another configuration".to_owned(),
        }
    }
}

/// For displays.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub state: State,
    pub since: Instant,
    pub owns: bool,
    pub solo: bool,
    pub lease: LeaseLeft,
    /// `None`: not heard in this life.
    pub peer_heard: Option<Span>,
    /// The newest heartbeat of the peer that counts.
    pub peer: Option<Heartbeat>,
    /// Age of the newest of our heartbeats that the peer has echoed.
    pub peer_hears_us: Option<Span>,
    /// For how long this box has promised not to own.
    pub promised: Span,
    /// Could take over, or own.
    pub ready: bool,
    pub unready: Option<&'static str>,
    pub counters: Counters,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub sent: u64,
    pub heard: u64,
    /// Not newer than the newest, or of an older incarnation.
    pub overtaken: u64,
    /// Proved to be old.
    pub stale: u64,
    pub questions: u64,
    pub answers: u64,
    pub became_owner: u64,
    pub handed_over: u64,
    pub pauses: u64,
}
