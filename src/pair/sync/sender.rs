//! The sending side of the stream: a queue, a window of what is under way, and what was left out.

use std::collections::VecDeque;
use std::time::Duration;

use super::matter::Outgoing;
use super::receiver::millis;
pub use super::round_trip::Lag;
use super::round_trip::RoundTrip;
use super::wire::{self, Ack, DATA_HEADER_BYTES, Datagram, MATTER_HEAD_BYTES, Matter, RECORD_BYTES_MAX, WINDOW};
use crate::core::moment::Moment;
use crate::core::synced::{Binding, Change, Flow, Name, NameKind, Names, Parts};

/// A sign of life when there is nothing to tell.
const TICK: Duration = Duration::from_millis(100);
/// Datagrams under way at the beginning, and at the least: 40 kB, which no LAN and no socket's buffer is too small for.
const WINDOW_LEAST: u64 = 32;
/// After a loss the window grows by one for so many datagrams that have come: by a quarter in a round trip. The
/// line is one's own, and what is lost is lost in a buffer of the other side.
const GROWTH: u64 = 4;
/// A datagram counts as lost when one that was sent so many later has come (RFC 9002, 6.1.1).
const REORDERED_MAX: u64 = 3;
/// Datagrams that are sent one right after the other, and the pause after them: 83 kB take 0.7 ms of a line of 1 Gbit/s,
/// so that whatever comes behind them waits no longer than that, and a socket's usual buffer (208 KiB with what the
/// kernel counts besides) has room for them. Over all that is 64,000 datagrams a second.
const BURST: u64 = 64;
const BURST_PAUSE: Duration = Duration::from_millis(1);
/// What a connection takes in the queue at the most.
const CONNECTION_BYTES: usize = 64;

#[derive(Clone, Copy, Debug)]
pub struct SenderLimits {
    /// Of a datagram, before it is encrypted: 576 to 65,000.
    pub datagram_bytes: usize,
    /// What may wait to be sent; what comes beyond it is left out and told anew later.
    pub queue_bytes: usize,
    /// A walk goes on while less than this waits or is under way: news wait behind it until the receiver has entered
    /// it, 7,000 connections or 14,000 signs of life, in some 25 ms.
    pub walk_bytes: usize,
    /// Between two walks over the table, which tell what is still used: well below `LBD_SYNC_GRACE_S`.
    pub refresh: Duration,
}

impl Default for SenderLimits {
    fn default() -> Self {
        Self { datagram_bytes: 1300, queue_bytes: 8 << 20, walk_bytes: 256 << 10, refresh: Duration::from_secs(15) }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderStatistics {
    pub records: u64,
    pub bytes: u64,
    pub datagrams: u64,
    /// Of them, sent again.
    pub resent: u64,
    /// Changes that had no room in the queue, or in the data plane's ring: told anew, with their parts.
    pub left_out: u64,
    /// Changes of a destination, address or server that has no name: not told.
    pub unnamed: u64,
    /// Sessions begun again because the receiver was another.
    pub restarts: u64,
    /// Times that the receiver asked to be told everything.
    pub asked_again: u64,
    /// Tellings of the table, or of parts of it.
    pub tellings: u64,
    /// Of the telling that is under way, or of the last: connections told.
    pub told: u64,
    /// Not acknowledged yet: records, and for how long the oldest has waited, milliseconds.
    pub records_behind: u64,
    pub ms_behind: u64,
}

/// Names a walk over the table, so that one of an earlier session is known as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk(u64);

struct Packet {
    records: Vec<u8>,
    /// Ages are as of this moment.
    made: Moment,
    /// When the oldest change in it happened; `None`: there is none.
    oldest: Option<Moment>,
    count: u64,
}

struct Flying {
    packet: Packet,
    sequence: u64,
    sent: Moment,
    sends: u32,
    come: bool,
    lost: bool,
}

struct Walking {
    walk: Walk,
    parts: Parts,
    begun: Moment,
    /// Connections that were used since are touched.
    since: Moment,
}

pub struct Sender {
    limits: SenderLimits,
    session: u64,
    next: u64,
    /// The receiver of this session, and how often it has asked for everything.
    peer: Option<(u64, u32)>,
    flying: VecDeque<Flying>,
    flying_bytes: usize,
    ready: VecDeque<Packet>,
    ready_bytes: usize,
    open: Option<Packet>,
    scratch: Vec<u8>,
    announced: Names,
    lost: Parts,
    walks: u64,
    walking: Option<Walking>,
    walked: Option<Moment>,
    connections: u64,
    matters: [Outgoing; Matter::ALL.len()],
    matter_next: bool,
    window: u64,
    /// Datagrams that have come since the window grew.
    come: u64,
    threshold: u64,
    slowed: Moment,
    round_trip: RoundTrip,
    /// The burst that is being sent, or was the last: when it began, and datagrams so far.
    burst: (Moment, u64),
    last_sent: Option<Moment>,
    behind: u64,
    lag: Lag,
    statistics: SenderStatistics,
}

impl Sender {
    /// `session` grows with every start of the daemon; sessions after the first add 1. The lower 20 bits had
    /// better be free for that.
    pub fn new(session: u64, limits: SenderLimits) -> Self {
        Self {
            limits,
            session,
            next: 0,
            peer: None,
            flying: VecDeque::new(),
            flying_bytes: 0,
            ready: VecDeque::new(),
            ready_bytes: 0,
            open: None,
            scratch: Vec::new(),
            announced: Names::default(),
            lost: Parts::ALL,
            walks: 0,
            walking: None,
            walked: None,
            connections: 0,
            matters: Default::default(),
            matter_next: false,
            window: WINDOW_LEAST,
            come: 0,
            threshold: WINDOW,
            slowed: Moment::default(),
            round_trip: RoundTrip::default(),
            burst: (Moment::default(), 0),
            last_sent: None,
            behind: 0,
            lag: Lag::default(),
            statistics: SenderStatistics::default(),
        }
    }

    /// Tells a change that happened at `at`, with ages as of `now`.
    pub fn tell(&mut self, change: &Change, names: &Names, at: Moment, now: Moment) {
        if self.ready_bytes >= self.limits.queue_bytes {
            self.lost.insert(change.part());
            self.statistics.left_out += 1;
            return;
        }
        self.push(change, names, Some(at), now);
    }

    /// Changes of these parts were lost before they came here.
    pub fn lose(&mut self, parts: &Parts, changes: u64) {
        self.lost.add(parts);
        self.statistics.left_out += changes;
    }

    /// Sets orders, configuration or health to be sent; the receiver gets the latest revision, and those between
    /// perhaps not. `false`: it is too long, or not newer than what was set before.
    pub fn set_matter(&mut self, matter: Matter, revision: u64, bytes: &[u8]) -> bool {
        let outgoing = self.matters.get_mut(matter as usize - 1);
        bytes.len() <= matter.bytes_max() && outgoing.is_some_and(|outgoing| outgoing.set(revision, bytes))
    }

    /// Whether the table is to be walked over: something was left out, or it is time to tell what is still used.
    pub fn wants_walk(&self, now: Moment) -> bool {
        let catches_up = !self.lost.is_empty() && self.ready_bytes <= self.limits.queue_bytes / 2;
        let is_due = self.walked.is_none_or(|then| now.since(then) >= self.limits.refresh);
        self.walking.is_none() && self.peer.is_some() && (catches_up || is_due)
    }

    /// A walk begins, over a table of about so many connections. Call it before the first entry is read, and tell
    /// the changes that happened meanwhile after each step: then what is told last is what is true.
    pub fn begin_walk(&mut self, connections: u64, now: Moment) -> Walk {
        self.walks += 1;
        self.connections = connections;
        let walk = Walk(self.walks);
        let parts = std::mem::take(&mut self.lost);
        if !parts.is_empty() {
            self.statistics.tellings += 1;
            self.statistics.told = 0;
            let generation = walk.0;
            self.append(None, 0, now, |out, _| wire::put_begin(out, generation, &parts, connections));
        }
        // A margin for coarse clocks, and for what was read a little before it was told.
        let since = Moment(self.walked.unwrap_or_default().0.saturating_sub(Duration::from_secs(1)));
        self.walking = Some(Walking { walk, parts, begun: now, since });
        walk
    }

    /// Connections that a walk may hand over before it must wait.
    pub fn room(&self) -> usize {
        self.limits.walk_bytes.saturating_sub(self.ready_bytes + self.flying_bytes) / CONNECTION_BYTES
    }

    /// Which connections a walk has to tell whole; `None`: it is of an earlier session, and void.
    pub fn parts_of(&self, walk: Walk) -> Option<Parts> {
        self.walking.as_ref().filter(|walking| walking.walk == walk).map(|walking| walking.parts)
    }

    /// An entry that the walk has come upon, with ages as of `now`; `false`: the walk is void.
    pub fn walked(&mut self, walk: Walk, flow: &Flow, names: &Names, now: Moment) -> bool {
        let Some(walking) = self.walking.as_ref().filter(|walking| walking.walk == walk) else { return false };
        let change = Change::Put(*flow);
        if walking.parts.contains(change.part()) {
            self.statistics.told += 1;
            self.push(&change, names, None, now);
        } else if flow.seen_ms <= millis(now.since(walking.since)) {
            let Flow { key, state, seen_ms, last_ack, .. } = *flow;
            self.push(&Change::Touch { key, state, seen_ms, last_ack }, names, None, now);
        }
        true
    }

    /// As `walked`, a binding.
    pub fn walked_binding(&mut self, walk: Walk, binding: Binding, names: &Names, now: Moment) -> bool {
        let Some(walking) = self.walking.as_ref().filter(|walking| walking.walk == walk) else { return false };
        let change = Change::Binding(binding);
        if walking.parts.contains(change.part()) {
            self.push(&change, names, None, now);
        }
        true
    }

    /// The walk has seen all.
    pub fn end_walk(&mut self, walk: Walk, now: Moment) {
        let Some(walking) = self.walking.take_if(|walking| walking.walk == walk) else { return };
        self.walked = Some(walking.begun);
        if !walking.parts.is_empty() {
            let told = self.statistics.told;
            self.append(None, 0, now, |out, _| wire::put_end(out, walk.0, told));
        }
    }

    /// The walk could not be finished: what it had to tell is told by another.
    pub fn abandon_walk(&mut self, walk: Walk) {
        if let Some(walking) = self.walking.take_if(|walking| walking.walk == walk) {
            self.lost.add(&walking.parts);
        }
    }

    /// Takes an acknowledgement of the peer's receiver.
    pub fn acknowledged(&mut self, bytes: &[u8], now: Moment) {
        let Some(Datagram::Ack(ack)) = wire::datagram(bytes) else { return };
        if ack.session != self.session || ack.next > self.next {
            return;
        }
        match self.peer {
            Some((peer, _)) if peer != ack.receiver => return self.restart(),
            Some((_, asked)) if asked != ack.again => {
                self.statistics.asked_again += 1;
                self.lost = Parts::ALL;
            }
            _ => {}
        }
        self.peer = Some((ack.receiver, ack.again));
        while let Some(flying) = self.flying.pop_front_if(|flying| flying.sequence < ack.next) {
            self.arrived(&flying, now);
            self.flying_bytes = self.flying_bytes.saturating_sub(flying.packet.records.len());
            self.behind = self.behind.saturating_sub(flying.packet.count);
            if let Some(oldest) = flying.packet.oldest {
                self.lag.add(now.since(oldest));
            }
        }
        self.find_lost(&ack, now);
    }

    fn arrived(&mut self, flying: &Flying, now: Moment) {
        if flying.sends == 1 && !flying.come {
            self.round_trip.measured(now.since(flying.sent));
        }
        self.come += 1;
        if self.window < self.threshold || self.come >= GROWTH {
            self.window = (self.window + 1).min(WINDOW);
            self.come = 0;
        }
    }

    fn find_lost(&mut self, ack: &Ack, now: Moment) {
        let has_come = |sequence: u64| sequence.checked_sub(ack.next).is_some_and(|offset| ack.has_come(offset));
        let newest = self.flying.iter().rev().find(|flying| flying.come || has_come(flying.sequence));
        let Some(newest) = newest.map(|flying| flying.sequence) else { return };
        let patience = self.round_trip.usual();
        let mut any = false;
        for flying in &mut self.flying {
            if has_come(flying.sequence) {
                flying.come = true;
                flying.lost = false;
            } else if !flying.come
                && !flying.lost
                && flying.sequence + REORDERED_MAX <= newest
                && now.since(flying.sent) >= patience
            {
                flying.lost = true;
                any = true;
            }
        }
        if any {
            self.slow_down(now);
        }
    }

    fn slow_down(&mut self, now: Moment) {
        if now.since(self.slowed) >= self.round_trip.usual() {
            self.window = (self.window * 3 / 4).max(WINDOW_LEAST);
            self.threshold = self.window;
            self.slowed = now;
        }
    }

    /// The next datagram to send, `None` when there is none now. Call it until then, whenever something was told
    /// or acknowledged, and at `deadline`.
    pub fn poll(&mut self, now: Moment) -> Option<Vec<u8>> {
        self.time_out(now);
        if !self.is_burst_open(now) {
            return None;
        }
        if let Some(flying) = self.flying.iter_mut().find(|flying| flying.lost) {
            flying.lost = false;
            flying.sends = flying.sends.saturating_add(1);
            flying.sent = now;
            self.statistics.resent += 1;
            let (sequence, made) = (flying.sequence, flying.packet.made);
            let bytes = datagram(self.session, sequence, made, &flying.packet.records, now);
            return Some(self.count(bytes, now));
        }
        if self.flying.len() as u64 >= self.window.min(WINDOW) {
            return None;
        }
        if self.last_sent.is_none_or(|then| now.since(then) >= TICK) {
            let (connections, behind, ms) = (self.connections, self.behind, self.ms_behind(now));
            self.append(None, 0, now, |out, _| wire::put_tick(out, connections, behind, ms));
        }
        let packet = self.next_packet(now)?;
        let sequence = self.next;
        self.next += 1;
        let bytes = datagram(self.session, sequence, packet.made, &packet.records, now);
        self.flying_bytes += packet.records.len();
        self.flying.push_back(Flying { packet, sequence, sent: now, sends: 1, come: false, lost: false });
        Some(self.count(bytes, now))
    }

    /// When to call `poll` at the latest, if nothing else happens.
    pub fn deadline(&self, now: Moment) -> Moment {
        let (begun, sent) = self.burst;
        if sent >= BURST && now.since(begun) < BURST_PAUSE {
            return begun + BURST_PAUSE;
        }
        let is_full = self.flying.len() as u64 >= self.window.min(WINDOW);
        let tick = self.last_sent.map_or(now, |then| then + TICK);
        match self.flying.front().map(|flying| flying.sent + self.round_trip.timeout()) {
            Some(lost) if is_full => lost,
            Some(lost) => lost.min(tick),
            None => tick,
        }
        .max(now)
    }

    fn count(&mut self, bytes: Vec<u8>, now: Moment) -> Vec<u8> {
        self.statistics.datagrams += 1;
        self.statistics.bytes += bytes.len() as u64;
        self.last_sent = Some(now);
        self.burst.1 += 1;
        bytes
    }

    fn is_burst_open(&mut self, now: Moment) -> bool {
        if now.since(self.burst.0) >= BURST_PAUSE {
            self.burst = (now, 0);
        }
        self.burst.1 < BURST
    }

    /// Silence is no proof of loss: a receiver that does not get its processor is silent, too, and holds all that was
    /// sent. So the oldest datagram is sent again to ask; after each further silence four times as many.
    fn time_out(&mut self, now: Moment) {
        let timeout = self.round_trip.timeout();
        let over = |flying: &Flying| !flying.come && !flying.lost && now.since(flying.sent) >= timeout;
        if !self.flying.front().is_some_and(over) {
            return;
        }
        let silences = self.round_trip.timed_out();
        let asks = 4_usize.saturating_pow(silences.saturating_sub(1));
        self.flying.iter_mut().filter(|flying| over(flying)).take(asks).for_each(|flying| flying.lost = true);
        if silences > 1 {
            self.slow_down(now);
        }
    }

    /// Matter and changes take turns, so that neither waits for all of the other.
    fn next_packet(&mut self, now: Moment) -> Option<Packet> {
        let has_changes = !self.ready.is_empty() || self.open.is_some();
        let turn = self.matter_next || !has_changes;
        self.matter_next = !self.matter_next;
        if let Some(packet) = turn.then(|| self.matter_packet(now)).flatten() {
            return Some(packet);
        }
        if let Some(packet) = self.ready.pop_front() {
            self.ready_bytes = self.ready_bytes.saturating_sub(packet.records.len());
            return Some(packet);
        }
        self.open.take()
    }

    fn matter_packet(&mut self, now: Moment) -> Option<Packet> {
        let room = self.records_max().saturating_sub(MATTER_HEAD_BYTES);
        let mut records = Vec::new();
        for (matter, outgoing) in Matter::ALL.into_iter().zip(&mut self.matters).rev() {
            if let Some((revision, length, offset, bytes)) = outgoing.piece(room) {
                wire::put_matter(&mut records, matter, revision, length, offset, bytes);
                break;
            }
        }
        (!records.is_empty()).then_some(Packet { records, made: now, oldest: None, count: 0 })
    }

    fn records_max(&self) -> usize {
        self.limits.datagram_bytes.max(576) - DATA_HEADER_BYTES
    }

    fn push(&mut self, change: &Change, names: &Names, at: Option<Moment>, now: Moment) {
        use NameKind::{Dest, Group, Server, Source, Vip};
        let used: [Option<(NameKind, u32)>; 3] = match change {
            Change::Put(f) => [Some((Vip, f.key.vip)), Some((Dest, f.dest)), f.source.map(|(n, _)| (Source, n))],
            Change::Touch { key, .. } | Change::Gone { key, .. } => [Some((Vip, key.vip)), None, None],
            Change::Binding(b) => [Some((Vip, b.vip)), Some((Server, b.server)), Some((Group, b.group))],
        };
        for (kind, number) in used.into_iter().flatten() {
            if !self.announce(kind, number, names, now) {
                self.statistics.unnamed += 1;
                return;
            }
        }
        self.statistics.records += 1;
        self.append(at, 1, now, |out, made| wire::put_change(out, &younger(*change, millis(now.since(made)))));
    }

    /// Tells what a number stands for, unless it was told before.
    fn announce(&mut self, kind: NameKind, number: u32, names: &Names, now: Moment) -> bool {
        let Some(text) = names.get(kind, number) else { return false };
        let known = self.announced.get(kind, number);
        if known.is_some_and(|known| std::sync::Arc::ptr_eq(known, text) || known == text) {
            return true;
        }
        let name = Name { kind, number, text: text.clone() };
        self.append(None, 0, now, |out, _| wire::put_name(out, &name));
        self.announced.set(name);
        true
    }

    /// Adds a record, of at most `RECORD_BYTES_MAX`, to the packet that is being made. `encode` gets the moment as
    /// of which its ages count.
    fn append(&mut self, at: Option<Moment>, count: u64, now: Moment, encode: impl FnOnce(&mut Vec<u8>, Moment)) {
        let room = self.records_max();
        let is_full = |packet: &mut Packet| packet.records.len() + RECORD_BYTES_MAX > room;
        let mut record = std::mem::take(&mut self.scratch);
        record.clear();
        encode(&mut record, self.open.as_ref().map_or(now, |packet| packet.made));
        let packet = self.open.get_or_insert_with(|| Packet { records: Vec::new(), made: now, oldest: None, count: 0 });
        packet.records.extend(&record);
        packet.count += count;
        packet.oldest = match (packet.oldest, at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.behind += count;
        self.scratch = record;
        if let Some(packet) = self.open.take_if(is_full) {
            self.ready_bytes += packet.records.len();
            self.ready.push_back(packet);
        }
    }

    /// Another receiver has taken the place of the first, which knows nothing: all anew.
    fn restart(&mut self) {
        let fresh = Self::new(self.session.wrapping_add(1), self.limits);
        let old = std::mem::replace(self, fresh);
        self.walks = old.walks;
        self.matters = old.matters;
        self.matters.iter_mut().for_each(Outgoing::restart);
        self.lag = old.lag;
        self.statistics = SenderStatistics { restarts: old.statistics.restarts + 1, ..old.statistics };
    }

    fn ms_behind(&self, now: Moment) -> u64 {
        let flying = self.flying.iter().find_map(|flying| flying.packet.oldest);
        let waiting = self.ready.iter().chain(&self.open).find_map(|packet| packet.oldest);
        flying.or(waiting).map_or(0, |oldest| millis(now.since(oldest)))
    }

    /// Whether the receiver has been told the whole table, or is being told for the last time that is known of:
    /// nothing was left out, and no telling is under way.
    pub fn is_told(&self) -> bool {
        self.peer.is_some() && self.lost.is_empty() && self.walking.as_ref().is_none_or(|w| w.parts.is_empty())
    }

    pub fn statistics(&self, now: Moment) -> SenderStatistics {
        SenderStatistics { records_behind: self.behind, ms_behind: self.ms_behind(now), ..self.statistics }
    }

    /// The number of the present session.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// From the change to its acknowledgement, of each datagram the oldest.
    pub fn lag(&self) -> &Lag {
        &self.lag
    }

    /// As `lag`, since the last call.
    pub fn take_lag(&mut self) -> Lag {
        std::mem::take(&mut self.lag)
    }
}

fn datagram(session: u64, sequence: u64, made: Moment, records: &[u8], now: Moment) -> Vec<u8> {
    let delay = u32::try_from(millis(now.since(made))).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(DATA_HEADER_BYTES + records.len());
    bytes.extend(wire::data_header(session, sequence, delay));
    bytes.extend(records);
    bytes
}

/// With ages as of `ms` earlier.
fn younger(mut change: Change, ms: u64) -> Change {
    match &mut change {
        Change::Put(Flow { seen_ms, created_ms, .. }) => {
            *seen_ms = seen_ms.saturating_sub(ms);
            *created_ms = created_ms.saturating_sub(ms);
        }
        Change::Touch { seen_ms, .. } | Change::Gone { seen_ms, .. } => *seen_ms = seen_ms.saturating_sub(ms),
        Change::Binding(binding) => binding.seen_ms = binding.seen_ms.saturating_sub(ms),
    }
    change
}
