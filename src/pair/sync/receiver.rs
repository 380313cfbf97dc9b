//! The receiving side of the stream.

use std::collections::BTreeMap;
use std::time::Duration;

use super::matter::Incoming;
use super::wire::{self, Ack, Datagram, Matter, Record, Records, WINDOW};
use crate::core::moment::Moment;
use crate::core::synced::{Change, Flow, Name, Parts};

/// A session with a lower number is believed only after so much silence of the present one: it is then not a late
/// datagram of an old sender, but a sender whose clock went back.
const SESSION_SILENT: Duration = Duration::from_secs(5);

/// What comes out of the stream, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// The sender begins anew: numbers mean nothing any more, and a telling that was under way will not end.
    Session,
    /// What a number stands for from now on.
    Name(Name),
    /// Ages are as of the call that gave it.
    Change(Change),
    /// The sender tells all connections (this many in its whole table) of these parts.
    Begin { generation: u64, parts: Parts, connections: u64 },
    /// It has: what it has not mentioned since is not there. `told` of them.
    End { generation: u64, parts: Parts, told: u64 },
    /// Orders, configuration or health, whole.
    Matter { matter: Matter, revision: u64, bytes: Vec<u8> },
    /// The sender lives: size of its table, and how far the receiver is behind as it sees it.
    Tick { connections: u64, records_behind: u64, ms_behind: u64 },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStatistics {
    pub datagrams: u64,
    pub records: u64,
    /// Datagrams that had come before.
    pub doubled: u64,
    /// Not of this protocol, of another version, or with a record that cannot be read.
    pub unreadable: u64,
    /// Sessions begun.
    pub sessions: u64,
    /// Times that the whole table was asked for.
    pub asked_again: u64,
}

/// How far the telling of the table has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub told: u64,
    pub of: u64,
}

pub struct Receiver {
    id: u64,
    session: Option<Session>,
    again: u32,
    ack_due: bool,
    statistics: ReceiverStatistics,
}

struct Session {
    number: u64,
    next: u64,
    /// Came early; at most `WINDOW` datagrams.
    held: BTreeMap<u64, Held>,
    heard: Moment,
    matters: [Incoming; Matter::ALL.len()],
    telling: Option<(u64, Parts, Progress)>,
    complete: Parts,
}

struct Held {
    came: Moment,
    delay_ms: u32,
    records: Vec<u8>,
}

impl Receiver {
    /// `id` tells this run of the daemon from all others: a random number, or a counter of starts.
    pub fn new(id: u64) -> Self {
        Self { id, session: None, again: 0, ack_due: false, statistics: ReceiverStatistics::default() }
    }

    /// Takes a datagram of the peer's sender; appends what has become known. What is appended must be put to use
    /// before the next `poll`, whose acknowledgement says that it was.
    pub fn receive(&mut self, bytes: &[u8], now: Moment, out: &mut Vec<Update>) {
        let Some(Datagram::Data { session, sequence, delay_ms, records }) = wire::datagram(bytes) else {
            self.statistics.unreadable += 1;
            return;
        };
        self.statistics.datagrams += 1;
        let current = self.session.as_ref();
        let is_new = current.is_none_or(|s| {
            session > s.number || (session < s.number && now.since(s.heard) >= SESSION_SILENT && sequence == 0)
        });
        if is_new {
            self.session = Some(Session::new(session, now));
            self.statistics.sessions += 1;
            out.push(Update::Session);
        }
        let Some(s) = &mut self.session else { return };
        if session != s.number {
            return;
        }
        s.heard = now;
        self.ack_due = true;
        if sequence < s.next || s.held.contains_key(&sequence) {
            self.statistics.doubled += 1;
            return;
        }
        if sequence - s.next >= WINDOW {
            return;
        }
        s.held.insert(sequence, Held { came: now, delay_ms, records: records.to_vec() });
        while let Some(held) = s.held.remove(&s.next) {
            s.next += 1;
            let late_ms = u64::from(held.delay_ms) + millis(now.since(held.came));
            for record in Records::of(&held.records) {
                match record {
                    Ok(record) => {
                        self.statistics.records += 1;
                        s.take(record, late_ms, out);
                    }
                    Err(wire::Unreadable) => {
                        self.statistics.unreadable += 1;
                        self.statistics.asked_again += 1;
                        self.again = self.again.wrapping_add(1);
                        s.complete = Parts::NONE;
                    }
                }
            }
        }
    }

    /// The acknowledgement that is due.
    pub fn poll(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.ack_due) {
            return None;
        }
        let s = self.session.as_ref()?;
        let mut ack = Ack { session: s.number, receiver: self.id, next: s.next, again: self.again, beyond: [0; 8] };
        for sequence in s.held.keys() {
            let offset = sequence - s.next;
            let word = usize::try_from(offset / 64).ok().and_then(|index| ack.beyond.get_mut(index));
            if let Some(word) = word {
                *word |= 1 << (offset % 64);
            }
        }
        Some(ack.encode())
    }

    /// Asks the sender to tell everything again: something was told that had no place here, and may have one now.
    pub fn ask_again(&mut self) {
        self.again = self.again.wrapping_add(1);
        self.statistics.asked_again += 1;
        self.ack_due = self.session.is_some();
        if let Some(s) = &mut self.session {
            s.complete = Parts::NONE;
        }
    }

    /// Whether the whole table has been told in this session, and nothing is known to be missing.
    pub fn is_complete(&self) -> bool {
        self.session.as_ref().is_some_and(|s| s.complete == Parts::ALL)
    }

    /// Of the telling that is under way.
    pub fn progress(&self) -> Option<Progress> {
        self.session.as_ref()?.telling.map(|(.., progress)| progress)
    }

    /// Since a datagram of the present session has come; `None`: none ever has.
    pub fn silent_for(&self, now: Moment) -> Option<Duration> {
        self.session.as_ref().map(|s| now.since(s.heard))
    }

    pub fn statistics(&self) -> ReceiverStatistics {
        self.statistics
    }
}

impl Session {
    fn new(number: u64, heard: Moment) -> Self {
        Self {
            number,
            next: 0,
            held: BTreeMap::new(),
            heard,
            matters: Default::default(),
            telling: None,
            complete: Parts::NONE,
        }
    }

    fn take(&mut self, record: Record<'_>, late_ms: u64, out: &mut Vec<Update>) {
        match record {
            Record::Change(change) => {
                if let (Change::Put(_), Some((.., progress))) = (&change, &mut self.telling) {
                    progress.told += 1;
                }
                out.push(Update::Change(aged(change, late_ms)));
            }
            Record::Name(name) => out.push(Update::Name(name)),
            Record::Begin { generation, parts, connections } => {
                // Of the part of the table that is told, as many as fall into it by chance.
                let of = connections.saturating_mul(parts.len().into()) / 256;
                self.telling = Some((generation, parts, Progress { told: 0, of }));
                out.push(Update::Begin { generation, parts, connections });
            }
            Record::End { generation, told } => {
                if let Some((begun, parts, _)) = self.telling.take()
                    && begun == generation
                {
                    self.complete.add(&parts);
                    out.push(Update::End { generation, parts, told });
                }
            }
            Record::Matter { matter, revision, length, offset, bytes } => {
                let incoming = self.matters.get_mut(matter as usize - 1);
                if let Some(bytes) = incoming.and_then(|i| i.take(matter, revision, length, offset, bytes)) {
                    out.push(Update::Matter { matter, revision, bytes });
                }
            }
            Record::Tick { connections, records_behind, ms_behind } => {
                out.push(Update::Tick { connections, records_behind, ms_behind });
            }
            Record::Unknown => {}
        }
    }
}

/// The change with ages that count to now.
fn aged(mut change: Change, late_ms: u64) -> Change {
    match &mut change {
        Change::Put(Flow { seen_ms, created_ms, .. }) => {
            *created_ms = created_ms.saturating_add(late_ms);
            *seen_ms = seen_ms.saturating_add(late_ms);
        }
        Change::Touch { seen_ms, .. } | Change::Gone { seen_ms, .. } => *seen_ms = seen_ms.saturating_add(late_ms),
        Change::Binding(binding) => binding.seen_ms = binding.seen_ms.saturating_add(late_ms),
    }
    change
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
