//! How fast the stream goes, on a good line: in bursts that hold up nothing, through pauses of the other side without
//! saying all twice, and with news in the midst of a telling.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::{Receiver, Sender, SenderLimits, Update, Walk};
use crate::config::Mac;
use crate::core::moment::Moment;
use crate::core::synced::{Change, Flow, FlowKey, Name, NameKind, Names};

/// The line's way in one direction, ms.
const DELAY_MS: u64 = 1;
/// What a walk reads at once.
const STEP: u32 = 2048;

fn at(ms: u64) -> Moment {
    Moment(Duration::from_millis(ms))
}

fn flow(number: u32) -> Flow {
    let [_, a, b, c] = number.to_be_bytes();
    Flow {
        key: FlowKey { client: IpAddr::from([10, a, b, c]), client_port: 1, vip: 1, port: 25, udp: false },
        dest: 1,
        state: 0,
        seen_ms: 0,
        created_ms: 0,
        last_ack: 1,
        server_ack: 1,
        source: None,
        client_mac: Mac([2, 0, 0, 0, 0, 1]),
        client_vlan: 0,
        progress: 0,
    }
}

/// A table that is told over a line that loses nothing by itself.
struct Line {
    now: u64,
    sender: Sender,
    receiver: Receiver,
    names: Names,
    /// Connections of the table, and which the walk reads next.
    table: u32,
    walk: Option<(Walk, u32)>,
    to_receiver: VecDeque<(u64, Vec<u8>)>,
    to_sender: VecDeque<(u64, Vec<u8>)>,
    /// Datagrams of this step.
    burst: u64,
    /// Datagrams that the receiver enters in a millisecond.
    enters: usize,
    /// Connections told, telling by telling.
    put: u32,
    ends: Vec<u32>,
    sessions: u32,
}

impl Line {
    fn new(table: u32) -> Self {
        let mut names = Names::default();
        names.set(Name { kind: NameKind::Vip, number: 1, text: "192.0.2.1".into() });
        names.set(Name { kind: NameKind::Dest, number: 1, text: "mx/smtp/4/pc1".into() });
        Self {
            now: 1000,
            sender: Sender::new(1, SenderLimits::default()),
            receiver: Receiver::new(1),
            names,
            table,
            walk: None,
            to_receiver: VecDeque::new(),
            to_sender: VecDeque::new(),
            burst: 0,
            enters: usize::MAX,
            put: 0,
            ends: Vec::new(),
            sessions: 0,
        }
    }

    /// A millisecond; `hears`: whether the receiver gets its processor in it.
    fn step(&mut self, hears: bool) {
        self.now += 1;
        let now = at(self.now);
        while let Some((_, ack)) = self.to_sender.pop_front_if(|(due, _)| *due <= self.now) {
            self.sender.acknowledged(&ack, now);
        }
        if self.sender.wants_walk(now) {
            self.walk = Some((self.sender.begin_walk(self.table.into(), now), 0));
        }
        if let Some((walk, next)) = self.walk
            && self.sender.room() >= STEP as usize
        {
            let end = self.table.min(next + STEP);
            let told = (next..end).all(|number| self.sender.walked(walk, &flow(number), &self.names, now));
            self.walk = (told && end < self.table).then_some((walk, end));
            if told && end == self.table {
                self.sender.end_walk(walk, now);
            }
        }
        self.burst = 0;
        while let Some(datagram) = self.sender.poll(now) {
            self.burst += 1;
            self.to_receiver.push_back((self.now + DELAY_MS, datagram));
        }
        if !hears {
            return;
        }
        let mut updates = Vec::new();
        let mut taken = 0;
        while taken < self.enters
            && let Some((_, datagram)) = self.to_receiver.pop_front_if(|(due, _)| *due <= self.now)
        {
            self.receiver.receive(&datagram, now, &mut updates);
            taken += 1;
            if taken % 64 == 0 {
                self.acknowledge();
            }
        }
        self.acknowledge();
        for update in updates {
            match update {
                Update::Session => self.sessions += 1,
                Update::Begin { .. } => self.put = 0,
                Update::Change(Change::Put(_)) => self.put += 1,
                Update::End { .. } => self.ends.push(self.put),
                _ => {}
            }
        }
    }

    fn acknowledge(&mut self) {
        let ack = self.receiver.poll();
        self.to_sender.extend(ack.map(|ack| (self.now + DELAY_MS, ack)));
    }

    /// Until the table is told; milliseconds.
    fn tell(&mut self) -> u64 {
        let begin = self.now;
        while !self.receiver.is_complete() {
            self.step(true);
            assert!(self.now < begin + 60_000, "no end: {:?}", self.sender.statistics(at(self.now)));
        }
        self.now - begin
    }

    fn resent(&self) -> u64 {
        self.sender.statistics(at(self.now)).resent
    }
}

#[test]
fn no_more_than_a_burst_leaves_in_a_millisecond_and_a_telling_is_fast_all_the_same() {
    let mut line = Line::new(200_000);
    let (mut most, mut steps) = (0, 0);
    while !line.receiver.is_complete() {
        line.step(true);
        most = line.burst.max(most);
        steps += 1;
        assert!(steps < 5_000);
    }
    assert_eq!(most, 64);
    assert_eq!(line.ends, [200_000]);
    // A step of the walk in a millisecond would take 98.
    assert!(steps < 200, "{steps} ms");
    assert_eq!(line.resent(), 0);
}

#[test]
fn a_receiver_that_does_not_get_its_processor_is_asked_and_not_told_everything_twice() {
    let mut line = Line::new(400_000);
    for n in 0..2_000 {
        // Every 100 ms it is gone for 45, more than twice what silence may last.
        line.step(n % 100 < 55);
    }
    assert!(line.receiver.is_complete());
    let statistics = line.sender.statistics(at(line.now));
    assert!(statistics.resent > 0, "it was never silent");
    assert!(statistics.resent < 40, "two in each of 20 pauses: {statistics:?}");
}

#[test]
fn a_whole_window_that_was_lost_is_there_again_within_a_second() {
    let mut line = Line::new(200_000);
    while line.put == 0 || line.to_receiver.len() < 100 {
        line.step(line.now.is_multiple_of(10));
        assert!(line.now < 10_000, "the window does not open");
    }
    let lost = line.to_receiver.len();
    line.to_receiver.clear();
    line.to_sender.clear();
    let begin = line.now;
    while line.resent() < lost as u64 {
        line.step(true);
        assert!(line.now - begin < 1_000, "{} of {lost} were sent again", line.resent());
    }
    line.tell();
    assert_eq!(line.ends, [200_000]);
}

#[test]
fn news_do_not_wait_for_the_end_of_a_telling() {
    let mut line = Line::new(400_000);
    // 600 connections a millisecond: less than the walk could read, and the line carry.
    line.enters = 16;
    let mut longest = Duration::ZERO;
    while !line.receiver.is_complete() {
        line.step(true);
        let now = at(line.now);
        let gone = Change::Gone { key: flow(line.now as u32).key, seen_ms: 0 };
        line.sender.tell(&gone, &line.names, now, now);
        longest = longest.max(line.sender.lag().max());
    }
    assert!(line.sender.lag().count() > 100);
    assert!(longest < Duration::from_millis(40), "{longest:?}");
}

#[test]
fn a_standby_that_started_again_is_told_all_anew_and_one_that_did_not_is_not() {
    let mut line = Line::new(50_000);
    line.tell();
    (0..1_000).for_each(|_| line.step(true));
    assert_eq!((line.ends.clone(), line.sessions), (vec![50_000], 1));
    line.receiver = Receiver::new(2);
    line.tell();
    (0..1_000).for_each(|_| line.step(true));
    assert_eq!((line.ends.clone(), line.sessions), (vec![50_000, 50_000], 3), "the old session is heard once more");
    assert_eq!(line.sender.statistics(at(line.now)).restarts, 1);
}

#[test]
fn a_sender_that_waits_for_its_deadline_is_never_asked_in_vain() {
    let mut line = Line::new(100_000);
    for n in 0..3_000u64 {
        // Silence of the receiver for good after a second: a full window, and ever longer pauses.
        line.step(n < 1_000);
        let now = at(line.now);
        assert!(line.sender.poll(now).is_none());
        assert!(line.sender.deadline(now) > now, "it would be asked again at once, at {n} ms");
    }
}
