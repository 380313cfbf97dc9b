//! What the program would do with a packet now: the very program, in a variant that changes nothing, run on a built
//! frame.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use etherparse::PacketBuilder;

use super::DataPlaneError;
use super::kernel;
use super::layout::*;
use super::reasons::{self, Reason};
use super::variant::{DryRun, SharedMaps};
use crate::config::{Mac, Protocol};
use crate::core::network::IfIndex;

/// A packet of a client's to a virtual address, as it may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltPacket {
    pub protocol: Protocol,
    pub client: SocketAddr,
    /// Of the same family.
    pub to: SocketAddr,
    /// TCP: not the first one, but one of a connection that is there.
    pub later: bool,
    /// The port that it comes in by, and what this box answers with on it.
    pub port: IfIndex,
    pub own: Mac,
}

/// By what the server was found; several may apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoundBy {
    /// The connection is in the table.
    Connection,
    /// As the peer has told of it.
    Synced,
    /// Its handshake is under way.
    Handshake,
    /// The client is bound to the server.
    Persistence,
    Scheduler,
    /// The scheduler's consistent hash alone.
    Hash,
    /// In the pool that the service migrates to.
    Migration,
}

const FOUND_BY: [(u32, FoundBy); 7] = [
    (HOW_FLOW, FoundBy::Connection),
    (HOW_SYNCED, FoundBy::Synced),
    (HOW_EMBRYO, FoundBy::Handshake),
    (HOW_BOUND, FoundBy::Persistence),
    (HOW_TABLE, FoundBy::Scheduler),
    (HOW_HASH, FoundBy::Hash),
    (HOW_MIGRATED, FoundBy::Migration),
];

/// What the program would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foretold {
    /// The counter that would move, as in the metrics.
    pub reason: &'static Reason,
    /// Counters of events that would move as well.
    pub events: Vec<&'static Reason>,
    pub found_by: Vec<FoundBy>,
    /// Number of the destination, if a server was found.
    pub dest: Option<u32>,
    /// The frame as it would leave; as it came if it would be passed or dropped.
    pub frame: Vec<u8>,
}

/// The variant that changes nothing, kept for the next question.
pub struct Explainer(DryRun);

impl Explainer {
    pub fn load(shared: &SharedMaps) -> Result<Self, DataPlaneError> {
        DryRun::load(shared).map(Self)
    }

    pub fn explain(&self, packet: &BuiltPacket) -> Result<Foretold, DataPlaneError> {
        self.run(&frame(packet), packet.port)
    }

    /// The same of any frame.
    pub fn run(&self, frame: &[u8], port: IfIndex) -> Result<Foretold, DataPlaneError> {
        self.0.fate.clear_per_cpu(&0)?;
        for entry in reasons::REASONS {
            self.0.reasons.clear_per_cpu(&entry.0.0)?;
        }
        let failed = |source| DataPlaneError::Explain { source };
        let run = kernel::run(self.0.xdp.as_fd(), frame, Some(port), 1).map_err(failed)?;
        let told = self.0.fate.get_per_cpu(&0)?.into_iter().find(|fate| fate.told != 0).unwrap_or_default();
        let mut moved = Vec::new();
        for entry in reasons::REASONS {
            if self.0.reasons.get_per_cpu(&entry.0.0)?.iter().any(|count| *count > 0) {
                moved.push(entry);
            }
        }
        let (events, fates): (Vec<_>, Vec<_>) = moved.into_iter().partition(|entry| entry.1 == reasons::Verdict::Event);
        let given = fates.into_iter().find(|entry: &&Reason| entry.0.0 == told.reason);
        let given = given.ok_or_else(|| failed(std::io::Error::other("the program has given no reason")))?;
        Ok(Foretold {
            reason: given,
            events,
            found_by: FOUND_BY.iter().filter(|(bit, _)| told.how & bit != 0).map(|(_, how)| *how).collect(),
            dest: (told.dest != DEST_NONE).then_some(told.dest),
            frame: run.frame,
        })
    }
}

/// A locally administered MAC that nobody has, as the router's.
const ROUTER: [u8; 6] = [0x02, 0x6c, 0x62, 0x64, 0x00, 0x01];
const TTL: u8 = 64;
const WINDOW: u16 = 65_535;

fn frame(packet: &BuiltPacket) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(ROUTER, packet.own.0);
    let ip = match (packet.client.ip(), packet.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), TTL),
        (from, to) => ethernet.ipv6(six(from), six(to), TTL),
    };
    let mut bytes = Vec::with_capacity(128);
    let (from, to) = (packet.client.port(), packet.to.port());
    let written = match (packet.protocol, packet.later) {
        (Protocol::Udp, _) => ip.udp(from, to).write(&mut bytes, &[0; 8]),
        (Protocol::Tcp, false) => ip.tcp(from, to, 1, WINDOW).syn().write(&mut bytes, &[]),
        (Protocol::Tcp, true) => ip.tcp(from, to, 1, WINDOW).ack(1).write(&mut bytes, &[]),
    };
    // It writes to memory, and what it is given is short.
    debug_assert!(written.is_ok(), "{written:?}");
    bytes
}

fn six(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().octets(),
        IpAddr::V6(six) => six.octets(),
    }
}
