//! A sender and a receiver on a bad network: whatever is lost, late, doubled or restarted, the receiver's table is
//! the sender's in the end. One deterministic loop; a failing seed is printed, and `LBD_SYNC_SEED` replays it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;
use std::ops::Bound;
use std::time::Duration;

use super::{Matter, Receiver, Sender, SenderLimits, Update};
use crate::config::Mac;
use crate::core::moment::Moment;
use crate::core::synced::{Binding, Change, Flow, FlowKey, Mentioned, Name, NameKind, Names, Parts, part_of};

/// xorshift64* (Vigna, 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

fn at(ms: u64) -> Moment {
    Moment(Duration::from_millis(ms))
}

/// What is known of a connection, in words that mean the same on both sides.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    dest: String,
    state: u8,
    seen_ms: u64,
    mac: Mac,
}

type Table = BTreeMap<(IpAddr, u16, String), Row>;

/// The teller's table, with a ring of changes that is small.
struct Teller {
    rows: BTreeMap<FlowKey, Flow>,
    bindings: BTreeMap<IpAddr, Binding>,
    ring: Vec<(Change, u64)>,
    missed: Parts,
    missed_count: u64,
    names: Names,
    /// Added to every number: another in each run.
    offset: u32,
    sender: Sender,
    walk: Option<(super::Walk, Option<FlowKey>)>,
}

const RING: usize = 300;
const SERVERS: u32 = 5;

impl Teller {
    fn new(offset: u32, session: u64) -> Self {
        let mut names = Names::default();
        for n in 0..SERVERS {
            let number = offset + n;
            names.set(Name { kind: NameKind::Dest, number, text: format!("mx/smtp/4/pc{n}").into() });
            names.set(Name { kind: NameKind::Server, number, text: format!("pc{n}").into() });
        }
        for n in 0..3 {
            let number = offset + n;
            names.set(Name { kind: NameKind::Vip, number, text: format!("192.0.2.{n}").into() });
            names.set(Name { kind: NameKind::Group, number, text: format!("g/{n}").into() });
        }
        let refresh = Duration::from_secs(2);
        let limits = SenderLimits { queue_bytes: 30_000, walk_bytes: 10_000, refresh, ..Default::default() };
        Self {
            rows: BTreeMap::new(),
            bindings: BTreeMap::new(),
            ring: Vec::new(),
            missed: Parts::NONE,
            missed_count: 0,
            names,
            offset,
            sender: Sender::new(session, limits),
            walk: None,
        }
    }

    /// The daemon starts again: its table stays, under other numbers, and what was in the ring is lost.
    fn restart(&mut self, offset: u32, session: u64) {
        let shift = |number: u32| number - self.offset + offset;
        let mut fresh = Self::new(offset, session);
        for flow in self.rows.values() {
            let key = FlowKey { vip: shift(flow.key.vip), ..flow.key };
            fresh.rows.insert(key, Flow { key, dest: shift(flow.dest), ..*flow });
        }
        for b in self.bindings.values() {
            let (group, server, vip) = (shift(b.group), shift(b.server), shift(b.vip));
            fresh.bindings.insert(b.client, Binding { group, server, vip, ..*b });
        }
        *self = fresh;
    }

    /// `seen_ms` and `created_ms` of rows are moments here; those of the ring are ages.
    fn emit(&mut self, change: Change, now: u64) {
        if self.ring.len() >= RING {
            self.missed.insert(change.part());
            self.missed_count += 1;
        } else {
            self.ring.push((change, now));
        }
    }

    fn act(&mut self, random: &mut Random, now: u64) {
        let n = random.below(3000);
        let key = FlowKey {
            client: IpAddr::from([10, 0, (n >> 8) as u8, n as u8]),
            client_port: 1000,
            vip: self.offset + (n % 3) as u32,
            port: 25,
            udp: n.is_multiple_of(2),
        };
        match self.rows.get_mut(&key) {
            None => {
                let dest = self.offset + random.below(SERVERS.into()) as u32;
                let mac = Mac([2, 0, 0, 0, 0, random.below(4) as u8]);
                let flow = Flow {
                    key,
                    dest,
                    state: 0,
                    seen_ms: now,
                    created_ms: now,
                    last_ack: 1,
                    server_ack: 2,
                    source: None,
                    client_mac: mac,
                    client_vlan: 0,
                    progress: 0,
                };
                self.rows.insert(key, flow);
                self.emit(Change::Put(Flow { seen_ms: 0, created_ms: 0, ..flow }), now);
            }
            Some(flow) => match random.below(5) {
                0 => {
                    let seen_ms = now - flow.seen_ms;
                    self.rows.remove(&key);
                    self.emit(Change::Gone { key, seen_ms }, now);
                }
                1 => {
                    flow.state = flow.state.wrapping_add(1) & 0x7f;
                    flow.seen_ms = now;
                    let (state, last_ack) = (flow.state, flow.last_ack);
                    self.emit(Change::Touch { key, state, seen_ms: 0, last_ack }, now);
                }
                2 => {
                    flow.client_mac = Mac([2, 0, 0, 0, 1, 1]);
                    flow.seen_ms = now;
                    let told = Flow { seen_ms: 0, created_ms: now - flow.created_ms, ..*flow };
                    self.emit(Change::Put(told), now);
                }
                3 => {
                    let binding = Binding {
                        client: key.client,
                        group: self.offset + 1,
                        server: flow.dest,
                        vip: key.vip,
                        seen_ms: now,
                    };
                    self.bindings.insert(key.client, binding);
                    self.emit(Change::Binding(Binding { seen_ms: 0, ..binding }), now);
                }
                // A packet that changes nothing: only the walk tells of it.
                _ => flow.seen_ms = now,
            },
        }
    }

    /// A turn of the driver.
    fn drive(&mut self, random: &mut Random, rate: u64, now: u64) {
        let moment = at(now);
        if self.sender.wants_walk(moment) {
            self.walk = Some((self.sender.begin_walk(self.rows.len() as u64, moment), None));
        }
        if let Some((walk, from)) = self.walk.take() {
            let budget = self.sender.room().min(40);
            let after = from.map_or(Bound::Unbounded, Bound::Excluded);
            let read: Vec<Flow> =
                self.rows.range((after, Bound::Unbounded)).take(budget).map(|(_, flow)| *flow).collect();
            let (count, last) = (read.len(), read.last().map(|flow| flow.key));
            // The table does not stand still between the reading and the telling.
            (0..rate).for_each(|_| self.act(random, now));
            let mut valid = true;
            for flow in read {
                let aged = Flow { seen_ms: now - flow.seen_ms, created_ms: now - flow.created_ms, ..flow };
                valid &= self.sender.walked(walk, &aged, &self.names, moment);
            }
            if !valid {
                self.walk = None;
            } else if budget > 0 && count < budget {
                for b in self.bindings.values() {
                    let told = Binding { seen_ms: now - b.seen_ms, ..*b };
                    self.sender.walked_binding(walk, told, &self.names, moment);
                }
                self.sender.end_walk(walk, moment);
            } else {
                self.walk = Some((walk, last.or(from)));
            }
        }
        // After what the walk has read: see `Sender::begin_walk`.
        for (change, happened) in std::mem::take(&mut self.ring) {
            let late = now - happened;
            let aged = match change {
                Change::Put(f) => Change::Put(Flow { seen_ms: f.seen_ms + late, created_ms: f.created_ms + late, ..f }),
                Change::Touch { key, state, seen_ms, last_ack } => {
                    Change::Touch { key, state, seen_ms: seen_ms + late, last_ack }
                }
                Change::Gone { key, seen_ms } => Change::Gone { key, seen_ms: seen_ms + late },
                Change::Binding(b) => Change::Binding(Binding { seen_ms: b.seen_ms + late, ..b }),
            };
            self.sender.tell(&aged, &self.names, at(happened), moment);
        }
        self.sender.lose(&std::mem::take(&mut self.missed), std::mem::take(&mut self.missed_count));
    }

    fn table(&self) -> Table {
        let text = |kind, number| self.names.get(kind, number).unwrap().to_string();
        let row = |f: &Flow| {
            let dest = text(NameKind::Dest, f.dest);
            Row { dest, state: f.state, seen_ms: f.seen_ms, mac: f.client_mac }
        };
        let rows = self.rows.values();
        rows.map(|f| ((f.key.client, f.key.client_port, text(NameKind::Vip, f.key.vip)), row(f))).collect()
    }
}

/// What the receiver makes of it.
struct Hearer {
    receiver: Receiver,
    names: Names,
    table: Table,
    parts: BTreeMap<(IpAddr, u16, String), u8>,
    bindings: BTreeMap<IpAddr, String>,
    mentioned: Option<Mentioned>,
    config: Option<(u64, Vec<u8>)>,
}

impl Hearer {
    fn new(id: u64) -> Self {
        Self {
            receiver: Receiver::new(id),
            names: Names::default(),
            table: Table::new(),
            parts: BTreeMap::new(),
            bindings: BTreeMap::new(),
            mentioned: None,
            config: None,
        }
    }

    fn key(&self, key: &FlowKey) -> (IpAddr, u16, String) {
        let vip = self.names.get(NameKind::Vip, key.vip).expect("the name comes before its use");
        (key.client, key.client_port, vip.to_string())
    }

    fn hear(&mut self, bytes: &[u8], now: u64) {
        let mut updates = Vec::new();
        self.receiver.receive(bytes, at(now), &mut updates);
        for update in updates {
            match update {
                Update::Session => (self.names, self.mentioned) = (Names::default(), None),
                Update::Name(name) => self.names.set(name),
                Update::Begin { parts, .. } => self.mentioned = Some(Mentioned::new(parts, 1 << 20)),
                Update::End { .. } => {
                    let Some(mentioned) = self.mentioned.take() else { continue };
                    let parts = &self.parts;
                    self.table.retain(|key, _| !mentioned.is_gone(parts[key], key));
                }
                Update::Change(change) => self.change(&change, now),
                Update::Matter { matter: Matter::Config, revision, bytes } => {
                    assert!(self.config.as_ref().is_none_or(|(have, _)| *have <= revision), "an older revision");
                    self.config = Some((revision, bytes));
                }
                Update::Matter { .. } | Update::Tick { .. } => {}
            }
        }
    }

    fn change(&mut self, change: &Change, now: u64) {
        match change {
            Change::Put(f) => {
                let key = self.key(&f.key);
                if let Some(mentioned) = &mut self.mentioned {
                    mentioned.note(&key);
                }
                let dest = self.names.get(NameKind::Dest, f.dest).expect("a name").to_string();
                self.parts.insert(key.clone(), part_of(&f.key));
                let seen_ms = now.saturating_sub(f.seen_ms);
                self.table.insert(key, Row { dest, state: f.state, seen_ms, mac: f.client_mac });
            }
            Change::Touch { key, state, seen_ms, .. } => {
                let key = self.key(key);
                if let Some(row) = self.table.get_mut(&key) {
                    (row.state, row.seen_ms) = (*state, row.seen_ms.max(now.saturating_sub(*seen_ms)));
                }
            }
            Change::Gone { key, .. } => {
                let key = self.key(key);
                self.table.remove(&key);
            }
            Change::Binding(b) => {
                let server = self.names.get(NameKind::Server, b.server).expect("a name").to_string();
                self.bindings.insert(b.client, server);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Network {
    loss: u64,
    doubled: u64,
    delay_ms: u64,
    jitter_ms: u64,
}

#[derive(Debug, Default)]
struct Seen {
    resent: u64,
    doubled: u64,
    left_out: u64,
    restarts: u64,
    sessions: u64,
    partial: u64,
}

/// A datagram under way: when it is due, its number, whether it is the hearer's, and its bytes.
type OnWire = (u64, u64, bool, Vec<u8>);

/// One schedule; what happened in it.
fn run(seed: u64) -> Seen {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let network = Network {
        loss: [0, 1, 10, 30][random.below(4) as usize],
        doubled: random.below(20),
        delay_ms: random.below(20),
        jitter_ms: [0, 2, 40][random.below(3) as usize],
    };
    let mut teller = Teller::new(1, 1 << 20);
    let mut hearer = Hearer::new(1);
    let mut wires: BinaryHeap<Reverse<OnWire>> = BinaryHeap::new();
    let mut count = 0;
    let mut seen = Seen::default();
    let busy_until = 4_000 + random.below(4_000);
    let rate = [1, 5, 60][random.below(3) as usize];
    let (mut tellers, mut hearers, mut revision) = (1, 1, 0);
    let mut quiet = 0;
    let mut now = 0;
    let mut config = Vec::new();
    while quiet < 400 {
        now += 5;
        assert!(now < 300_000, "seed {seed}: no end, {network:?}, {:?}", teller.sender.statistics(at(now)));
        let busy = now < busy_until;
        if busy {
            (0..rate).for_each(|_| teller.act(&mut random, now));
            if random.below(600) == 0 {
                tellers += 1;
                seen.resent += teller.sender.statistics(at(now)).resent;
                teller.restart(1 + 10 * tellers, u64::from(tellers) << 20);
                if revision > 0 {
                    teller.sender.set_matter(Matter::Config, revision, &config);
                }
            }
            if random.below(600) == 0 {
                hearers += 1;
                seen.doubled += hearer.receiver.statistics().doubled;
                // A daemon that starts again keeps the table in the kernel; a box that is replaced has none.
                let mut fresh = Hearer::new(hearers);
                if random.chance(50) {
                    fresh.table = std::mem::take(&mut hearer.table);
                    fresh.parts = std::mem::take(&mut hearer.parts);
                    fresh.bindings = std::mem::take(&mut hearer.bindings);
                }
                hearer = fresh;
            }
            if random.below(400) == 0 {
                revision += 1;
                config = vec![revision as u8; random.below(20_000) as usize];
                assert!(teller.sender.set_matter(Matter::Config, revision, &config));
            }
            if random.below(500) == 0 {
                hearer.receiver.ask_again();
            }
        }
        teller.drive(&mut random, if busy { rate } else { 0 }, now);
        // A line that takes so many datagrams a turn.
        let mut capacity = [3, 40][(seed % 2) as usize];
        let mut send = |random: &mut Random, to_hearer: bool, bytes: Vec<u8>| {
            let copies = if random.chance(network.loss) { 0 } else { 1 + u64::from(random.chance(network.doubled)) };
            for _ in 0..copies {
                count += 1;
                let delay = 1 + network.delay_ms + random.below(network.jitter_ms + 1);
                wires.push(Reverse((now + delay, count, to_hearer, bytes.clone())));
            }
        };
        while capacity > 0 {
            let Some(bytes) = teller.sender.poll(at(now)) else { break };
            assert!(bytes.len() <= 1300, "{} bytes", bytes.len());
            send(&mut random, true, bytes);
            capacity -= 1;
        }
        if let Some(ack) = hearer.receiver.poll() {
            send(&mut random, false, ack);
        }
        while wires.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            let Some(Reverse((_, _, to_hearer, bytes))) = wires.pop() else { break };
            if to_hearer { hearer.hear(&bytes, now) } else { teller.sender.acknowledged(&bytes, at(now)) }
        }
        let statistics = teller.sender.statistics(at(now));
        let still = !busy && teller.sender.is_told() && statistics.records_behind == 0 && hearer.receiver.is_complete();
        quiet = if still { quiet + 1 } else { 0 };
        if teller.walk.is_some_and(|(walk, _)| {
            teller.sender.parts_of(walk).is_some_and(|parts| !parts.is_empty() && parts != Parts::ALL)
        }) {
            seen.partial += 1;
        }
    }
    let told: Table = teller.table();
    let heard = &hearer.table;
    let differing = told.iter().filter(|(key, row)| {
        let other = heard.get(*key);
        // Ages are as good as the way is short; what was used since the last walk is told by the next.
        other.is_none_or(|o| (&o.dest, o.state, o.mac) != (&row.dest, row.state, row.mac))
            || other.is_some_and(|o| o.seen_ms.abs_diff(row.seen_ms) > 70)
    });
    let differing: Vec<_> = differing.map(|(key, row)| (key, row, heard.get(key))).take(3).collect();
    assert!(differing.is_empty(), "seed {seed}: {network:?}: {differing:#?}");
    assert_eq!(told.len(), heard.len(), "seed {seed}: {network:?}");
    for (client, binding) in &teller.bindings {
        let server = teller.names.get(NameKind::Server, binding.server).map(ToString::to_string);
        assert_eq!(hearer.bindings.get(client).cloned(), server, "seed {seed}: the binding of {client}");
    }
    if revision > 0 {
        assert_eq!(hearer.config, Some((revision, config)), "seed {seed}: the configuration");
    }
    let s = teller.sender.statistics(at(now));
    seen.resent += s.resent;
    seen.left_out += s.left_out;
    seen.restarts += s.restarts;
    seen.doubled += hearer.receiver.statistics().doubled;
    seen.sessions += hearer.receiver.statistics().sessions;
    seen
}

#[test]
fn in_the_end_both_tables_are_the_same_whatever_the_network_does() {
    if let Some(seed) = std::env::var("LBD_SYNC_SEED").ok().and_then(|seed| seed.parse().ok()) {
        println!("{:?}", run(seed));
        return;
    }
    let mut all = Seen::default();
    for seed in 0..100 {
        let seen = run(seed);
        all.resent += seen.resent;
        all.doubled += seen.doubled;
        all.left_out += seen.left_out;
        all.restarts += seen.restarts;
        all.sessions += seen.sessions;
        all.partial += seen.partial;
    }
    // The schedules are worth something only if they contain what they are for.
    println!("{all:?}");
    assert!(all.resent > 1000 && all.doubled > 1000, "{all:?}");
    assert!(all.left_out > 1000 && all.restarts > 50 && all.sessions > 150 && all.partial > 50, "{all:?}");
}

fn key(n: u8) -> FlowKey {
    FlowKey { client: IpAddr::from([10, 0, 0, n]), client_port: 1, vip: 1, port: 25, udp: false }
}

fn vip() -> Names {
    let mut names = Names::default();
    names.set(Name { kind: NameKind::Vip, number: 1, text: "192.0.2.1".into() });
    names
}

#[test]
fn a_queue_that_is_full_leaves_out_and_marks_the_parts_and_grows_no_further() {
    let limits = SenderLimits { queue_bytes: 10_000, ..Default::default() };
    let mut sender = Sender::new(1, limits);
    let names = vip();
    for n in 0..100_000u32 {
        let key = FlowKey { client_port: n as u16, ..key((n >> 16) as u8) };
        sender.tell(&Change::Gone { key, seen_ms: 0 }, &names, at(0), at(0));
    }
    let statistics = sender.statistics(at(0));
    assert_eq!(statistics.left_out + statistics.records_behind, 100_000);
    assert!(statistics.records_behind * 12 < 10_000 + 1300, "{statistics:?}");
}

/// Nobody acknowledges: what is under way is bounded, and a datagram is repeated ever more rarely.
#[test]
fn without_a_peer_little_is_sent() {
    let mut sender = Sender::new(1, SenderLimits::default());
    let names = vip();
    let mut sent = 0;
    for ms in 0..60_000u64 {
        sender.tell(&Change::Gone { key: key(ms as u8), seen_ms: 0 }, &names, at(ms), at(ms));
        while sender.poll(at(ms)).is_some() {
            sent += 1;
        }
        assert!(!sender.wants_walk(at(ms)));
    }
    assert!(sent < 32 * 80, "{sent} datagrams in a minute");
}

#[test]
fn ages_are_those_of_the_arrival_although_a_datagram_was_repeated() {
    let mut sender = Sender::new(1, SenderLimits::default());
    let mut receiver = Receiver::new(9);
    sender.tell(&Change::Gone { key: key(1), seen_ms: 100 }, &vip(), at(1000), at(1000));
    let lost = sender.poll(at(1000));
    assert!(lost.is_some());
    let again = (1001..5000).find_map(|ms| sender.poll(at(ms)).map(|bytes| (ms, bytes)));
    let (ms, bytes) = again.expect("it is repeated");
    let mut out = Vec::new();
    receiver.receive(&bytes, at(ms), &mut out);
    let ages: Vec<u64> = out
        .iter()
        .filter_map(|update| match update {
            Update::Change(Change::Gone { seen_ms, .. }) => Some(*seen_ms),
            _ => None,
        })
        .collect();
    assert_eq!(ages, [100 + ms - 1000]);
}

#[test]
fn a_late_datagram_of_an_old_session_changes_nothing_and_a_clock_that_went_back_is_believed_after_silence() {
    let datagram = |session: u64| {
        let mut sender = Sender::new(session, SenderLimits::default());
        sender.poll(at(0)).expect("a tick")
    };
    let mut receiver = Receiver::new(9);
    let mut out = Vec::new();
    receiver.receive(&datagram(5), at(0), &mut out);
    receiver.receive(&datagram(4), at(4999), &mut out);
    assert_eq!(receiver.statistics().sessions, 1);
    receiver.receive(&datagram(6), at(4999), &mut out);
    assert_eq!(receiver.statistics().sessions, 2);
    receiver.receive(&datagram(4), at(9999), &mut out);
    assert_eq!(receiver.statistics().sessions, 3);
}

#[test]
fn the_latest_matter_wins_and_an_older_one_is_refused() {
    let mut sender = Sender::new(1, SenderLimits::default());
    let mut receiver = Receiver::new(9);
    assert!(sender.set_matter(Matter::Config, 3, &[3; 9000]));
    let mut out = Vec::new();
    let first = sender.poll(at(0)).expect("its beginning");
    receiver.receive(&first, at(0), &mut out);
    assert!(!sender.set_matter(Matter::Config, 3, &[4; 9000]), "not newer");
    assert!(!sender.set_matter(Matter::Admin, 1, &vec![0; Matter::Admin.bytes_max() + 1]), "too long");
    assert!(sender.set_matter(Matter::Config, 4, &[4; 5000]));
    assert!(sender.set_matter(Matter::Health, 1, b""), "empty is something");
    while let Some(bytes) = sender.poll(at(1)) {
        receiver.receive(&bytes, at(1), &mut out);
    }
    let matters: Vec<_> = out
        .into_iter()
        .filter_map(|update| match update {
            Update::Matter { matter, revision, bytes } => Some((matter, revision, bytes)),
            _ => None,
        })
        .collect();
    assert_eq!(matters, [(Matter::Health, 1, vec![]), (Matter::Config, 4, vec![4; 5000])]);
}
