//! A heartbeat as bytes.
//!
//! What follows is the body, which is sealed (`seal.rs` has the header). Numbers are big-endian.
//!
//! ```text
//!  byte
//!   0     versions that the sender speaks: lowest (upper four bits), highest (lower four); in every version
//!   1-2   flags, from the lowest bit: 0 owns, 1 solo, 2 ready, 3 grant, 4 want, 5 rank: ready, 6 rank: gateway seen,
//!         7 frozen: gateway seen; then which of the fields below are there: 8 echo, 9 promise, 10 lease is finite,
//!         11 lease is endless (no field), 12 extend, 13 path echo, 14 frozen; 15 uplinks open
//!   3     state: 0 init, 1 standby, 2 claiming, 3 active, 4 fault, 5 maintenance, 6 leaving; highest bit: no
//!         frames could be sent by a cross-connect
//!   4-11  stamp, ns
//!  12-13  rank: healthy pools
//!  14     rank: priority
//!  15-16  pools healthy now
//!  17-24  revision of the configuration
//!         echo         boot counter 4, start counter 4, stamp 8
//!         promise      4, µs, rounded down
//!         lease        4, µs, rounded up
//!         extend       4, µs, rounded up
//!         path echo    low bits of the counter 2, held for 3, in 10 µs
//!         frozen       healthy pools 2, magnitude of busy connections 1, owned for 4, s
//!         later fields of the same version, which are skipped
//! ```
//! Incarnation and sender are in the header; both ranks bear the id of the sender. A time that does not fit is said as
//! all ones: of lease and extend "longer than can be said", of a promise just that long.
//!
//! With every field that can come together, a heartbeat has at most [`HEARTBEAT_BYTES_MAX`] bytes, so that two boxes
//! that beat every 20 ms use less than half of a serial line of 115,200 baud (11,520 bytes a second), framing included.

use super::heartbeat::{BoxId, Echo, FrozenRank, Heartbeat, Incarnation, LeaseLeft, Rank, State};
use super::key::{Key, KeyId, Keys};
use super::seal::{self, Channel, Kind, Opener, Refused, SealError, Sealer};
use super::time::{Span, Stamp};
use super::version::{Negotiation, Versions};

/// Most bytes of a sealed heartbeat.
pub const HEARTBEAT_BYTES_MAX: usize = 108;

/// The newest heartbeat that came by the path that this one takes. Measures the path: both ways' time is what has
/// passed since that one was sent, less `held`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathEcho {
    /// The low bits of its counter.
    pub counter: u16,
    /// Between its arrival and the sending of this one. Up to 167 s in steps of 10 µs, rounded down.
    pub held: Span,
}

/// What a heartbeat says besides the heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    pub versions: Versions,
    pub heartbeat: Heartbeat,
    /// Left out on the wire while the heartbeat has a frozen rank, to keep within the limit.
    pub path_echo: Option<PathEcho>,
}

/// A heartbeat that was sealed by the peer and is seen for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    pub heartbeat: Heartbeat,
    pub path_echo: Option<PathEcho>,
    /// The sender's number of the path.
    pub channel: Channel,
    /// Goes up by one for each heartbeat sent by that path.
    pub counter: u64,
}

/// Between heartbeats and sealed datagrams, both ways.
pub struct Codec {
    sealer: Sealer,
    opener: Opener,
    own: (BoxId, Incarnation),
    peer: BoxId,
    negotiation: Negotiation,
    body: Vec<u8>,
    sealed: Vec<u8>,
}

/// What a [`Codec`] is made from.
#[derive(Clone, Debug)]
pub struct Identity {
    pub own: BoxId,
    pub incarnation: Incarnation,
    pub peer: BoxId,
    /// Lives of the peer before this one are refused. See [`Opener::new`].
    pub peer_floor: Incarnation,
    pub versions: Versions,
}

impl Codec {
    /// There is one in a life of the daemon. See [`Sealer`].
    ///
    /// # Errors
    /// See [`Sealer::new`].
    pub fn new(identity: &Identity, keys: Keys) -> Result<Self, SealError> {
        let Identity { own, incarnation, peer, peer_floor, versions } = *identity;
        Ok(Self {
            sealer: Sealer::new(Kind::Heartbeat, own, incarnation, &keys)?,
            opener: Opener::new(Kind::Heartbeat, own, peer, versions, keys, peer_floor),
            own: (own, incarnation),
            peer,
            negotiation: Negotiation::new(versions),
            body: Vec::new(),
            sealed: Vec::new(),
        })
    }

    /// Seals a heartbeat for one path. Incarnation and ids are those of the identity, whatever the heartbeat says.
    /// Returns the counter and the datagram.
    ///
    /// # Errors
    /// See [`Sealer::seal`].
    pub fn seal(
        &mut self,
        heartbeat: &Heartbeat,
        channel: Channel,
        path_echo: Option<PathEcho>,
    ) -> Result<(u64, &[u8]), SealError> {
        let body = Body { versions: self.negotiation.own(), heartbeat: *heartbeat, path_echo };
        encode(&body, &mut self.body);
        let counter = self.sealer.seal(self.negotiation.version(), channel, &self.body, &mut self.sealed)?;
        Ok((counter, &self.sealed))
    }

    /// Opens a datagram.
    ///
    /// # Errors
    /// When it does not count.
    pub fn open(&mut self, datagram: &[u8]) -> Result<Received, Refused> {
        let envelope = self.opener.open(datagram, &mut self.body)?;
        let body = decode(&self.body, self.peer, envelope.incarnation).ok_or(Refused::Malformed)?;
        self.negotiation.heard(body.versions);
        Ok(Received {
            heartbeat: body.heartbeat,
            path_echo: body.path_echo,
            channel: envelope.channel,
            counter: envelope.counter,
        })
    }

    /// The peer has been silent for the detection time: what answers next may be another release.
    pub const fn peer_silent(&mut self) {
        self.negotiation.forget();
    }

    /// The version that is sealed with now.
    pub fn version(&self) -> u8 {
        self.negotiation.version()
    }

    /// This box and its life.
    pub const fn own(&self) -> (BoxId, Incarnation) {
        self.own
    }

    /// See [`Opener::key_of_peer`].
    pub fn key_of_peer(&self) -> Option<(KeyId, Option<&Key>)> {
        self.opener.key_of_peer()
    }

    /// The key file has been read anew.
    pub fn set_keys(&mut self, keys: Keys) {
        self.sealer.set_keys(&keys);
        self.opener.set_keys(keys);
    }
}

mod flag {
    pub const OWNS: u16 = 1;
    pub const SOLO: u16 = 1 << 1;
    pub const READY: u16 = 1 << 2;
    pub const GRANT: u16 = 1 << 3;
    pub const WANT: u16 = 1 << 4;
    pub const RANK_READY: u16 = 1 << 5;
    pub const RANK_GATEWAY: u16 = 1 << 6;
    pub const FROZEN_GATEWAY: u16 = 1 << 7;
    pub const ECHO: u16 = 1 << 8;
    pub const PROMISE: u16 = 1 << 9;
    pub const LEASE_FINITE: u16 = 1 << 10;
    pub const LEASE_ENDLESS: u16 = 1 << 11;
    pub const EXTEND: u16 = 1 << 12;
    pub const PATH_ECHO: u16 = 1 << 13;
    pub const FROZEN: u16 = 1 << 14;
    pub const UPLINK_OPEN: u16 = 1 << 15;
}

/// Beside the state's number.
const UNCROSSED: u8 = 1 << 7;

/// In the order of their numbers on the wire.
const STATES: [State; 7] =
    [State::Init, State::Standby, State::Claiming, State::Active, State::Fault, State::Maintenance, State::Leaving];

const fn state_number(state: State) -> u8 {
    match state {
        State::Init => 0,
        State::Standby => 1,
        State::Claiming => 2,
        State::Active => 3,
        State::Fault => 4,
        State::Maintenance => 5,
        State::Leaving => 6,
    }
}

/// Nanoseconds in a step of [`PathEcho::held`].
const HELD_STEP_NS: u64 = 10_000;
const HELD_MAX: u32 = (1 << 24) - 1;

/// Replaces `bytes` by the body.
pub fn encode(body: &Body, bytes: &mut Vec<u8>) {
    let heartbeat = &body.heartbeat;
    let path_echo = body.path_echo.filter(|_| heartbeat.frozen.is_none());
    bytes.clear();
    bytes.push(body.versions.to_byte());
    bytes.extend_from_slice(&flags(heartbeat, path_echo.is_some()).to_be_bytes());
    bytes.push(state_number(heartbeat.state) | if heartbeat.crossed { 0 } else { UNCROSSED });
    bytes.extend_from_slice(&heartbeat.stamp.0.to_be_bytes());
    bytes.extend_from_slice(&heartbeat.rank.healthy_pools.to_be_bytes());
    bytes.push(heartbeat.rank.priority);
    bytes.extend_from_slice(&heartbeat.pools_healthy.to_be_bytes());
    bytes.extend_from_slice(&heartbeat.config_revision.to_be_bytes());
    if let Some(echo) = heartbeat.echo {
        bytes.extend_from_slice(&echo.incarnation.boot.to_be_bytes());
        bytes.extend_from_slice(&echo.incarnation.start.to_be_bytes());
        bytes.extend_from_slice(&echo.stamp.0.to_be_bytes());
    }
    if let Some(promise) = heartbeat.promise {
        bytes.extend_from_slice(&micros_down(promise).to_be_bytes());
    }
    if let LeaseLeft::Finite(left) = heartbeat.lease {
        bytes.extend_from_slice(&micros_up(left).to_be_bytes());
    }
    if let Some(extend) = heartbeat.extend {
        bytes.extend_from_slice(&micros_up(extend).to_be_bytes());
    }
    if let Some(echo) = path_echo {
        let held = u32::try_from(echo.held.0 / HELD_STEP_NS).unwrap_or(HELD_MAX).min(HELD_MAX);
        let [_, held @ ..] = held.to_be_bytes();
        bytes.extend_from_slice(&echo.counter.to_be_bytes());
        bytes.extend_from_slice(&held);
    }
    if let Some(frozen) = heartbeat.frozen {
        bytes.extend_from_slice(&frozen.healthy_pools.to_be_bytes());
        bytes.push(frozen.busy_magnitude);
        bytes.extend_from_slice(&frozen.owned_s.to_be_bytes());
    }
}

fn flags(heartbeat: &Heartbeat, path_echo: bool) -> u16 {
    [
        (flag::OWNS, heartbeat.owns),
        (flag::SOLO, heartbeat.solo),
        (flag::READY, heartbeat.ready),
        (flag::GRANT, heartbeat.grant),
        (flag::WANT, heartbeat.want),
        (flag::RANK_READY, heartbeat.rank.ready),
        (flag::RANK_GATEWAY, heartbeat.rank.gateway_seen),
        (flag::FROZEN_GATEWAY, heartbeat.frozen.is_some_and(|frozen| frozen.gateway_seen)),
        (flag::ECHO, heartbeat.echo.is_some()),
        (flag::PROMISE, heartbeat.promise.is_some()),
        (flag::LEASE_FINITE, matches!(heartbeat.lease, LeaseLeft::Finite(_))),
        (flag::LEASE_ENDLESS, heartbeat.lease == LeaseLeft::Endless),
        (flag::EXTEND, heartbeat.extend.is_some()),
        (flag::PATH_ECHO, path_echo),
        (flag::FROZEN, heartbeat.frozen.is_some()),
        (flag::UPLINK_OPEN, heartbeat.uplink_open),
    ]
    .into_iter()
    .fold(0, |flags, (flag, set)| if set { flags | flag } else { flags })
}

/// Reads a body of the sender in that life. `None`: it is too short, or has a value that cannot be.
pub fn decode(bytes: &[u8], sender: BoxId, incarnation: Incarnation) -> Option<Body> {
    let mut fields = Fields(bytes);
    let [versions] = fields.take()?;
    let versions = Versions::from_byte(versions)?;
    let flags = u16::from_be_bytes(fields.take()?);
    let has = |flag: u16| flags & flag != 0;
    let [state] = fields.take()?;
    let crossed = state & UNCROSSED == 0;
    let state = *STATES.get(usize::from(state & !UNCROSSED))?;
    let stamp = Stamp(u64::from_be_bytes(fields.take()?));
    let healthy_pools = u16::from_be_bytes(fields.take()?);
    let [priority] = fields.take()?;
    let pools_healthy = u16::from_be_bytes(fields.take()?);
    let config_revision = u64::from_be_bytes(fields.take()?);
    let echo = if has(flag::ECHO) { Some(fields.echo()?) } else { None };
    // All ones are just that long here: a promise is never taken for longer than it was said.
    let promise = if has(flag::PROMISE) { Some(micros(u32::from_be_bytes(fields.take()?))) } else { None };
    let lease = match (has(flag::LEASE_FINITE), has(flag::LEASE_ENDLESS)) {
        (false, false) => LeaseLeft::None,
        (true, false) => LeaseLeft::Finite(fields.long()?),
        (false, true) => LeaseLeft::Endless,
        (true, true) => return None,
    };
    let extend = if has(flag::EXTEND) { Some(fields.long()?) } else { None };
    let path_echo = if has(flag::PATH_ECHO) { Some(fields.path_echo()?) } else { None };
    let frozen = if has(flag::FROZEN) {
        let healthy_pools = u16::from_be_bytes(fields.take()?);
        let [busy_magnitude] = fields.take()?;
        let owned_s = u32::from_be_bytes(fields.take()?);
        let gateway_seen = has(flag::FROZEN_GATEWAY);
        Some(FrozenRank { healthy_pools, gateway_seen, busy_magnitude, owned_s, id: sender })
    } else {
        None
    };
    let heartbeat = Heartbeat {
        incarnation,
        stamp,
        echo,
        state,
        owns: has(flag::OWNS),
        solo: has(flag::SOLO),
        promise,
        lease,
        ready: has(flag::READY),
        rank: Rank {
            ready: has(flag::RANK_READY),
            healthy_pools,
            gateway_seen: has(flag::RANK_GATEWAY),
            priority,
            id: sender,
        },
        frozen,
        grant: has(flag::GRANT),
        extend,
        want: has(flag::WANT),
        uplink_open: has(flag::UPLINK_OPEN),
        crossed,
        pools_healthy,
        config_revision,
    };
    Some(Body { versions, heartbeat, path_echo })
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn echo(&mut self) -> Option<Echo> {
        let (boot, start) = (u32::from_be_bytes(self.take()?), u32::from_be_bytes(self.take()?));
        let stamp = Stamp(u64::from_be_bytes(self.take()?));
        Some(Echo { incarnation: Incarnation { boot, start }, stamp })
    }

    /// A time that was rounded up.
    fn long(&mut self) -> Option<Span> {
        let value = u32::from_be_bytes(self.take()?);
        Some(if value == u32::MAX { Span(u64::MAX) } else { micros(value) })
    }

    fn path_echo(&mut self) -> Option<PathEcho> {
        let counter = u16::from_be_bytes(self.take()?);
        let [high, middle, low] = self.take()?;
        let held = u32::from_be_bytes([0, high, middle, low]);
        Some(PathEcho { counter, held: Span(u64::from(held) * HELD_STEP_NS) })
    }
}

fn micros(value: u32) -> Span {
    Span::from_micros(u64::from(value))
}

/// For what the receiver relies on.
fn micros_down(span: Span) -> u32 {
    u32::try_from(span.0 / 1_000).unwrap_or(u32::MAX)
}

/// For what the receiver waits for.
fn micros_up(span: Span) -> u32 {
    u32::try_from(span.0.div_ceil(1_000)).unwrap_or(u32::MAX)
}

const _: () = assert!(HEARTBEAT_BYTES_MAX <= seal::SEALED_BYTES_MAX);

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
