//! The loop: events in the order of their time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::boxes::{Clock, Machine, Waiting, good_inputs, settings};
use super::checker::{Checker, Decision};
use super::network::{Line, PATHS, SERIAL};
use super::rng::Rng;
use crate::pair::election::{Action, Alarm, Event, Flaw, Lease, PathId};
use crate::pair::heartbeat::{BoxId, Heartbeat, LeaseLeft};
use crate::pair::time::{Instant, Span};
use crate::pair::timers::Timers;

pub const MS: u64 = 1_000_000;
/// Heartbeats under way or waiting are remembered in a ring of so many: twenty seconds of them.
const RING: usize = 2_048;
/// A socket holds so many; what comes then is lost.
const INBOX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Arrive {
        to: u8,
        path: u8,
        slot: u32,
    },
    Question {
        to: u8,
        path: u8,
        nonce: u64,
    },
    Answer {
        to: u8,
        path: u8,
        nonce: u64,
        lease: u64,
        age: u64,
    },
    Release {
        to: u8,
    },
    Tick {
        of: u8,
    },
    /// A stall is over: what was computed is carried out.
    Done {
        of: u8,
    },
    Start {
        of: u8,
    },
    Look,
}

pub struct World {
    pub now: u64,
    pub rng: Rng,
    pub boxes: [Machine; 2],
    /// By the box that sends, then by path.
    pub lines: [[Line; PATHS]; 2],
    pub checker: Checker,
    pub timers: Timers,
    pub flaw: Option<Flaw>,
    pub plain_endless: bool,
    pub plain_renewals: bool,
    pub alarms: Vec<(u64, usize, Alarm)>,
    /// Restarts that were allowed come back after so long.
    pub restart_after: u64,
    pub tell: bool,
    queue: BinaryHeap<Reverse<(u64, u64, What)>>,
    order: u64,
    ring: Vec<Heartbeat>,
    next_slot: u32,
    decisions: [Decision; 2],
    scratch: Vec<Action>,
    looking: bool,
}

const ENDLESS: u64 = u64::MAX;

impl World {
    pub fn new(seed: u64, timers: Timers) -> Self {
        let mut rng = Rng::new(seed);
        let mut boxes = [Machine::default(), Machine::default()];
        for (index, each) in boxes.iter_mut().enumerate() {
            let drift = rng.between(0, 800) as i64 - 400;
            each.clock = Clock::new(0, drift);
            each.settings = Some(settings(index as u64 + 1, 2 - index as u64, timers));
            each.inputs = good_inputs();
            each.boots = 1;
        }
        Self {
            now: 0,
            rng,
            boxes,
            lines: Default::default(),
            checker: Checker::default(),
            timers,
            flaw: None,
            plain_endless: false,
            plain_renewals: false,
            alarms: Vec::new(),
            restart_after: 500 * MS,
            tell: std::env::var_os("LBD_TELL").is_some(),
            queue: BinaryHeap::new(),
            order: 0,
            ring: vec![Heartbeat::default(); RING],
            next_slot: 0,
            decisions: Default::default(),
            scratch: Vec::new(),
            looking: false,
        }
    }

    fn push(&mut self, at: u64, what: What) {
        self.order += 1;
        self.queue.push(Reverse((at.max(self.now), self.order, what)));
    }

    /// Runs until a world time in nanoseconds.
    pub fn run_until(&mut self, end: u64) {
        if self.checker.violation.is_some() {
            // What comes after the first violation tells nothing.
            return;
        }
        while let Some(Reverse((at, _, what))) = self.queue.peek().copied()
            && at <= end
        {
            self.queue.pop();
            self.now = at;
            self.happen(what);
            self.checker.look(at, [self.boxes[0].owns(at), self.boxes[1].owns(at)]);
            if self.checker.violation.is_some() {
                return;
            }
        }
        self.now = end;
        self.checker.look(end, [self.boxes[0].owns(end), self.boxes[1].owns(end)]);
    }

    pub fn run_ms(&mut self, ms: u64) {
        self.run_until(self.now + ms * MS);
    }

    /// From now on looks at the owners ten times a millisecond, so that gaps are measured.
    pub fn watch(&mut self) {
        self.checker.watch(self.now);
        if !self.looking {
            self.looking = true;
            self.push(self.now, What::Look);
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Arrive { to, path, slot } => {
                self.receive(usize::from(to), Waiting::Heartbeat { path: usize::from(path), slot });
            }
            What::Question { to, path, nonce } => self.question(usize::from(to), usize::from(path), nonce),
            What::Answer { to, path, nonce, lease, age } => {
                let lease = match lease {
                    0 => LeaseLeft::None,
                    ENDLESS => LeaseLeft::Endless,
                    left => LeaseLeft::Finite(Span(left)),
                };
                let from = BoxId(2 - u64::from(to));
                let path = usize::from(path);
                self.receive(usize::from(to), Waiting::Answer { path, nonce, from, lease, age: Span(age) });
            }
            What::Release { to } => {
                let each = &mut self.boxes[usize::from(to)];
                if each.on && !each.frozen {
                    let now = each.now(self.now);
                    each.plane.release(now);
                }
            }
            What::Tick { of } => self.tick(usize::from(of)),
            What::Done { of } => self.done(usize::from(of)),
            What::Start { of } => self.start(usize::from(of)),
            What::Look => self.push(self.now + MS / 10, What::Look),
        }
    }

    fn receive(&mut self, to: usize, what: Waiting) {
        let each = &mut self.boxes[to];
        if !each.on || each.frozen || each.daemon.is_none() {
            return;
        }
        if each.runs() {
            self.handle_waiting(to, what);
        } else if each.inbox.len() < INBOX {
            each.inbox.push(what);
        }
    }

    fn question(&mut self, to: usize, path: usize, nonce: u64) {
        let each = &mut self.boxes[to];
        if !each.on || each.frozen {
            return;
        }
        let (left, age) = each.plane.answer(each.now(self.now));
        let lease = match left {
            LeaseLeft::None => 0,
            LeaseLeft::Finite(left) => left.0,
            LeaseLeft::Endless => ENDLESS,
        };
        if let Some(at) = self.lines[to][path].arrival(path, self.now, false, &mut self.rng) {
            self.push(at, What::Answer { to: 1 - to as u8, path: path as u8, nonce, lease, age: age.0 });
        }
        self.receive(to, Waiting::Asked);
    }

    fn tick(&mut self, of: usize) {
        let each = &mut self.boxes[of];
        if each.tick_at != self.now {
            return;
        }
        each.tick_at = u64::MAX;
        if !each.runs() {
            return;
        }
        let now = each.clock.local(self.now);
        if each.daemon.as_ref().is_some_and(|daemon| now >= daemon.next_deadline()) {
            self.handle(of, Event::Tick);
        } else {
            self.schedule(of);
        }
    }

    fn schedule(&mut self, of: usize) {
        let each = &mut self.boxes[of];
        let Some(daemon) = each.daemon.as_ref() else { return };
        let at = each.clock.world(daemon.next_deadline()).max(self.now) + 2_000;
        if at < each.tick_at {
            each.tick_at = at;
            self.push(at, What::Tick { of: of as u8 });
        }
    }

    fn handle_waiting(&mut self, of: usize, what: Waiting) {
        match what {
            Waiting::Heartbeat { path, slot } => {
                let heartbeat = self.ring[slot as usize % RING];
                self.handle(of, Event::Heartbeat { path: PathId(path as u8), heartbeat: &heartbeat });
            }
            Waiting::Answer { path, nonce, from, lease, age } => {
                if self.tell {
                    let ms = self.now as f64 / 1e6;
                    println!("{ms:12.3} box {of} is answered {nonce}: {lease:?}, for {age}");
                }
                let asked = self.boxes[of].clock.world(Instant(nonce));
                self.checker.answered(of, asked, lease != LeaseLeft::None, self.now);
                self.handle(of, Event::Answer { path: PathId(path as u8), nonce, from, lease, age });
            }
            Waiting::Asked => self.handle(of, Event::Asked),
        }
    }

    pub fn handle(&mut self, of: usize, event: Event<'_>) {
        let each = &mut self.boxes[of];
        let Some(daemon) = each.daemon.as_mut() else { return };
        let now = each.clock.local(self.now);
        each.plane.life = now;
        let heard = daemon.counters().heard;
        let mut actions = std::mem::take(&mut self.scratch);
        daemon.handle(now, each.plane.lease, event, &mut actions);
        let heard = daemon.counters().heard != heard;
        if heard {
            self.checker.heard.got_through(self.now, self.timers.dead);
        }
        self.decisions[of] = self.checker.decision(of, self.now, heard);
        let stall = if each.late_endless > 0 && actions.contains(&Action::MakeEndless) {
            std::mem::take(&mut each.late_endless)
        } else if each.late_writes > 0 && !actions.is_empty() && self.rng.percent(30) {
            self.rng.next() % each.late_writes
        } else {
            0
        };
        if stall > 0 {
            each.pending.append(&mut actions);
            each.busy_until = Some(self.now + stall);
            self.push(self.now + stall, What::Done { of: of as u8 });
        } else {
            self.carry_out(of, &mut actions);
        }
        actions.clear();
        self.scratch = actions;
        self.schedule(of);
    }

    fn done(&mut self, of: usize) {
        let each = &mut self.boxes[of];
        if each.busy_until != Some(self.now) {
            return;
        }
        if each.stopped || each.frozen {
            // It goes on when the daemon does.
            return;
        }
        each.busy_until = None;
        let mut actions = std::mem::take(&mut each.pending);
        self.carry_out(of, &mut actions);
        self.drain(of);
    }

    /// What waited in the sockets, then the timers; or the other way round.
    pub fn drain(&mut self, of: usize) {
        if self.boxes[of].timers_first && self.boxes[of].runs() {
            self.handle(of, Event::Tick);
        }
        let mut waiting = std::mem::take(&mut self.boxes[of].inbox);
        let mut rest = waiting.drain(..);
        while self.boxes[of].runs()
            && let Some(what) = rest.next()
        {
            self.handle_waiting(of, what);
        }
        let rest: Vec<Waiting> = rest.collect();
        self.boxes[of].inbox.splice(0..0, rest);
        self.boxes[of].tick_at = u64::MAX;
        self.schedule(of);
    }

    /// A daemon that was stopped, or a machine that stood still, goes on.
    pub fn go_on(&mut self, of: usize) {
        let each = &mut self.boxes[of];
        if each.busy_until.is_some() {
            each.busy_until = Some(self.now);
            self.done(of);
        } else {
            self.drain(of);
        }
    }

    fn carry_out(&mut self, of: usize, actions: &mut Vec<Action>) {
        if self.decisions[of].heard {
            self.checker.acted.got_through(self.now, self.timers.dead);
        }
        for action in actions.drain(..) {
            if self.tell {
                self.tell_action(of, &action);
            }
            match action {
                Action::Send(heartbeat) => self.send(of, heartbeat),
                Action::SetLease(end) => self.write(of, Lease::Until(end)),
                Action::Renew(end) => {
                    let each = &mut self.boxes[of];
                    let now = each.now(self.now);
                    each.plane.plain_renewals = self.plain_renewals;
                    let begins = each.plane.renew(now, end);
                    self.written(of, begins);
                }
                Action::DropLease => self.write(of, Lease::None),
                Action::MakeEndless => {
                    let each = &mut self.boxes[of];
                    let now = each.now(self.now);
                    each.plane.plain_endless = self.plain_endless;
                    let begins = each.plane.make_endless(now);
                    self.written(of, begins);
                }
                Action::KeepPromise(until) => self.boxes[of].plane.promised = until,
                Action::Ask { nonce } => {
                    for path in 0..SERIAL {
                        if let Some(at) = self.lines[of][path].arrival(path, self.now, false, &mut self.rng) {
                            self.push(at, What::Question { to: 1 - of as u8, path: path as u8, nonce });
                        }
                    }
                }
                Action::Release { .. } => {
                    for path in 0..SERIAL {
                        if let Some(at) = self.lines[of][path].arrival(path, self.now, false, &mut self.rng) {
                            self.push(at, What::Release { to: 1 - of as u8 });
                        }
                    }
                }
                Action::Announce => {
                    self.checker.announced_by = Some(of);
                    self.checker.announcements += 1;
                }
                Action::Exit => {
                    self.boxes[of].exits += 1;
                    self.push(self.now, What::Start { of: of as u8 });
                }
                Action::Alarm(alarm) => {
                    if self.alarms.len() < 1_000 {
                        self.alarms.push((self.now, of, alarm));
                    }
                }
                Action::Serve { .. } | Action::Fence => {}
            }
        }
    }

    fn tell_action(&self, of: usize, action: &Action) {
        let ms = self.now as f64 / 1e6;
        match action {
            Action::Send(heartbeat) => println!(
                "{ms:12.3} box {of} sends {:?} owns {} solo {} {:?} promise {:?} echo {:?} grant {} extend {}",
                heartbeat.state,
                heartbeat.owns,
                heartbeat.solo,
                heartbeat.lease,
                heartbeat.promise.map(|promise| promise.as_millis()),
                heartbeat.echo.map(|echo| self.boxes[1 - of].clock.world(echo.stamp.own()) / MS),
                heartbeat.grant,
                heartbeat.extend.is_some()
            ),
            Action::KeepPromise(until) => {
                println!("{ms:12.3} box {of} promises until {:.3}", self.boxes[of].clock.world(*until) as f64 / 1e6);
            }
            Action::SetLease(end) | Action::Renew(end) => {
                println!("{ms:12.3} box {of} lease until {:.3}", self.boxes[of].clock.world(*end) as f64 / 1e6);
            }
            other => println!("{ms:12.3} box {of} {other:?}"),
        }
    }

    fn write(&mut self, of: usize, lease: Lease) {
        let each = &mut self.boxes[of];
        let now = each.now(self.now);
        let begins = each.plane.set(now, lease);
        self.written(of, begins);
    }

    fn written(&mut self, of: usize, begins: bool) {
        if begins && self.boxes[1 - of].owns(self.now) {
            let decision = self.decisions[of];
            self.checker.second_owner(of, decision, self.timers.dead, self.now);
        }
    }

    fn send(&mut self, of: usize, heartbeat: Heartbeat) {
        let slot = self.next_slot;
        self.next_slot = self.next_slot.wrapping_add(1);
        self.ring[slot as usize % RING] = heartbeat;
        let to = 1 - of as u8;
        for path in 0..PATHS {
            let copies = 1 + u8::from(self.lines[of][path].duplicates(&mut self.rng));
            for _ in 0..copies {
                if let Some(at) = self.lines[of][path].arrival(path, self.now, true, &mut self.rng) {
                    self.push(at, What::Arrive { to, path: path as u8, slot });
                }
            }
        }
    }

    fn start(&mut self, of: usize) {
        let each = &mut self.boxes[of];
        if !each.on {
            return;
        }
        if each.exits > 0 {
            // It exits, and comes back later.
            each.exits = 0;
            each.kill();
            let at = self.now + self.restart_after;
            self.push(at, What::Start { of: of as u8 });
            return;
        }
        if each.daemon.is_some() {
            return;
        }
        // Nothing pinned is what a boot looks like.
        let booted = each.plane.life == Instant::default();
        each.start_daemon(self.now, booted, self.flaw);
        let maintenance = each.maintenance;
        self.handle(of, Event::Tick);
        if maintenance {
            self.handle(of, Event::Command(crate::pair::election::Command::Maintenance(true)));
        }
    }

    pub fn start_at(&mut self, of: usize, at: u64) {
        self.push(at, What::Start { of: of as u8 });
    }

    /// The only owner.
    pub fn owner(&self) -> Option<usize> {
        match [self.boxes[0].owns(self.now), self.boxes[1].owns(self.now)] {
            [true, false] => Some(0),
            [false, true] => Some(1),
            _ => None,
        }
    }

    pub fn alarmed(&self, of: usize, alarm: Alarm) -> bool {
        self.alarms.iter().any(|(_, who, what)| *who == of && *what == alarm)
    }
}
