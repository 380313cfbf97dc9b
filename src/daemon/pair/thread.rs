//! The thread of the heartbeats: carries events to the election, and its actions to data plane, paths and ports.
//!
//! ```text
//!   paths (UDP, serial) ──heartbeats──┐                ┌──> paths
//!   answers to questions ─────────────┼──> election ───┼──> lease in the data plane, questions, announcements
//!   inputs and orders of the loop ────┘                └──> status and alarms, for the loop
//! ```
//!
//! It runs on a thread of its own, with a real-time priority where it may have one, and waits for nothing but its
//! sockets: what the daemon's loop has for it lies in a mailbox, which is left alone while somebody else has it.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use tokio::sync::mpsc;

use crate::config::Mac;
use crate::core::network::IfIndex;
use crate::daemon::port_gates::PortGates;
use crate::dataplane::lease::{self, LeaseWriter, boottime_ns};
use crate::dataplane::question::{self, Between, Holds, PairId};
use crate::dataplane::release::{Token, TokenOf};
use crate::os::asking::Asking;
use crate::os::burst::Burst;
use crate::pair::election::{Action, Alarm, Command, Election, Event, Inputs, Lease, PathId, Serve, Settings, Status};
use crate::pair::heartbeat::{BoxId, Heartbeat, Incarnation, LeaseLeft};
use crate::pair::key::{Key, KeyId, Keys};
use crate::pair::paths::Path;
use crate::pair::paths::stats::View;
use crate::pair::time::{Instant, Span};
use crate::pair::uplink::{self, Crossing, Peer, Situation};
use crate::pair::wire::Codec;

/// Orders and the like that wait; more are refused.
const ORDERS_MAX: usize = 16;
/// After the first, announcements of a takeover are repeated so much later each: a frame may be lost, and a router
/// may have been busy.
const ANNOUNCE_AGAIN: [Span; 4] =
    [Span::from_millis(50), Span::from_millis(200), Span::from_millis(1_000), Span::from_millis(2_000)];
/// The same for the machines behind a box: the other one opens its end of the cross-connect when it has heard of an
/// uplink that blocks, which is within a few milliseconds, or two heartbeats if one is lost.
const SHOW_AGAIN: [Span; 6] = [
    Span::from_millis(10),
    Span::from_millis(20),
    Span::from_millis(30),
    Span::from_millis(60),
    Span::from_millis(1_000),
    Span::from_millis(2_000),
];

/// What is sent again, some times over: how much later each time, and which is next.
#[derive(Clone, Copy)]
struct Again {
    times: &'static [Span],
    next: Option<Instant>,
}

impl Again {
    /// Nothing is to be sent.
    const fn never() -> Self {
        Self { times: &[], next: None }
    }

    /// It has been sent now.
    fn begin(times: &'static [Span]) -> Self {
        Self { times, next: times.first().map(|after| now() + *after) }
    }

    fn next(self) -> Option<Instant> {
        self.next
    }

    /// Whether it is to be sent now; the time after that is then the next.
    fn is_due(&mut self) -> bool {
        let due = self.next.is_some_and(|next| now() >= next);
        if due {
            *self = Self::begin(self.times.get(1..).unwrap_or_default());
        }
        due
    }
}

/// The loop reads the status no more often.
const PUBLISH_EVERY: Span = Span::from_millis(20);
/// How often it is tried whether a held cross-connect leads to the other box.
const ASK_ACROSS_EVERY: Span = Span::from_millis(20);
/// Answers read from a port in one go: whoever floods the wire does not hold up a heartbeat.
const ANSWERS_MAX: usize = 64;
/// So long a box that comes to own passes back what it does not know. A box that was killed serves on for 2 s, one that
/// has handed over for longer: a handshake is over by then, or begins again.
const PASS_BACK: Duration = Duration::from_secs(2);
/// Numbers of tokens that are tried in turn: a daemon that saw one on the wire has armed the next.
const TOKENS: u64 = 4;

/// What the daemon's loop knows, and the thread needs.
#[derive(Default)]
pub struct Mailbox {
    pub inputs: Option<Inputs>,
    pub orders: Vec<Command>,
    pub fenced: Option<bool>,
    /// Whether this box holds what the peer holds, and the peer what this one holds.
    pub synced: Option<(bool, bool)>,
    /// Ports to ask on, and to announce on with what.
    pub scene: Option<Scene>,
    /// The one before, for the loop to drop: to close a socket can take longer than a lease.
    retired: Option<Scene>,
    pub links: Option<Links>,
    /// The key file has been read anew.
    pub keys: Option<Keys>,
    pub stop: bool,
}

/// What depends on ports and addresses of now.
pub struct Scene {
    /// Where questions are asked: each with the MAC that this box has there.
    pub ask: Vec<(IfIndex, Mac, Arc<Asking>)>,
    /// One burst for each port.
    pub announcements: Vec<(IfIndex, Burst)>,
    /// The machines behind this box, shown on an uplink or cross-connect: one burst for each.
    pub machines: Vec<(IfIndex, Burst)>,
}

/// What the pair opens and blocks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Links {
    /// Uplinks and cross-connects that are there, each with whether it has a carrier.
    pub uplinks: BTreeMap<IfIndex, bool>,
    pub cross_connects: BTreeMap<IfIndex, bool>,
    /// The port by which the other box is reached.
    pub to_peer: Option<IfIndex>,
}

/// What the thread tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub at: Instant,
    pub status: Status,
    pub paths: Vec<PathReport>,
    pub uplink_open: bool,
    /// When the peer's data plane answered last.
    pub answered: Option<Instant>,
    /// The protocol's version that is spoken with the peer.
    pub version: u8,
    /// The keys that this box and the peer seal with.
    pub keys: (KeyId, Option<KeyId>),
}

/// What is known of a path.
#[derive(Clone, Debug, PartialEq)]
pub struct PathReport {
    pub name: String,
    pub view: View,
    pub trouble: Option<String>,
}

/// News that are not to be missed.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    Alarm(Alarm),
    /// Owning has begun or ended.
    Owns(bool),
    /// The peer has begun another life.
    PeerLives(Incarnation),
    /// The operator's orders, as the peer has them.
    Orders {
        revision: u64,
        bytes: Vec<u8>,
    },
    /// What the peer sees of the servers.
    Health {
        bytes: Vec<u8>,
    },
    /// Something has changed about the configuration that both boxes have.
    Copy,
    /// Run the fence command, and put how it ended into the mailbox.
    Fence,
    /// The restart that was ordered can be done now.
    Exit,
    /// Something did not work, in words.
    Trouble(String),
}

/// The loop's end.
#[derive(Clone)]
pub struct Handle {
    mailbox: Arc<Mutex<Mailbox>>,
    wake: Arc<EventFd>,
    report: Arc<Mutex<Option<Report>>>,
    alive: Arc<AtomicU32>,
}

impl Handle {
    /// Paths on which heartbeats come now: a bit for each, by its number.
    pub fn alive(&self) -> u32 {
        self.alive.load(Ordering::Relaxed)
    }

    /// Puts something into the mailbox.
    pub fn tell(&self, what: impl FnOnce(&mut Mailbox)) {
        let mut mailbox = crate::daemon::lock(&self.mailbox);
        what(&mut mailbox);
        let retired = mailbox.retired.take();
        drop(mailbox);
        drop(retired);
        // A full counter wakes, too.
        _ = self.wake.write(1);
    }

    /// `false`: too many orders wait already.
    pub fn order(&self, command: Command) -> bool {
        let mut taken = false;
        self.tell(|mailbox| {
            taken = mailbox.orders.len() < ORDERS_MAX;
            if taken {
                mailbox.orders.push(command);
            }
        });
        taken
    }

    /// The latest; `None` before the first.
    pub fn report(&self) -> Option<Report> {
        crate::daemon::lock(&self.report).clone()
    }
}

/// All that the thread works with.
pub struct Driver {
    pub settings: Settings,
    pub heartbeat: Span,
    pub lease: LeaseWriter,
    pub codec: Codec,
    /// In the order of their numbers, with their names.
    pub paths: Vec<(String, Path)>,
    pub peer_mac: Mac,
    pub pair: PairId,
    /// That which this box seals with.
    pub key: Key,
    pub gates: PortGates,
    pub news: mpsc::Sender<News>,
}

/// What a daemon finds open when it starts.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub uplink_open: bool,
    pub cross_open: bool,
}

/// Starts the thread with what is known now.
pub fn start(driver: Driver, inputs: Inputs, scene: Scene, links: Links, found: Found) -> std::io::Result<Handle> {
    let mailbox = Arc::new(Mutex::new(Mailbox { scene: Some(scene), links: Some(links), ..Mailbox::default() }));
    let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
    let handle = Handle { mailbox, wake, report: Arc::new(Mutex::new(None)), alive: Arc::default() };
    let own = handle.clone();
    std::thread::Builder::new().name("lbd-pair".into()).spawn(move || {
        let trouble = crate::os::realtime::prepare_thread();
        for words in trouble {
            _ = driver.news.try_send(News::Trouble(words));
        }
        Thread::new(driver, inputs, own, found).run();
    })?;
    Ok(handle)
}

struct Thread {
    driver: Driver,
    election: Election,
    actions: Vec<Action>,
    handle: Handle,
    scene: Option<Scene>,
    links: Links,
    inputs: Inputs,
    uplink_open: bool,
    uplink_since: Instant,
    /// This box's ends of the cross-connects are open.
    cross_open: bool,
    /// Whether a cross-connect has a carrier, and since when.
    carrier: (bool, Instant),
    /// What the peer was told of the cross-connect.
    crossed: bool,
    /// When a question was sent by a held cross-connect last, and when an answer came by it.
    asked_across: Instant,
    answered_across: Option<Instant>,
    listens_since: Instant,
    /// When the data plane was asked last.
    asked: u64,
    /// When the peer's data plane answered last.
    answered: Option<Instant>,
    owned: bool,
    /// The other box has owned since this one did last.
    peer_owned: bool,
    /// What the loop was told of that: nothing yet, after a start.
    told_owned: bool,
    peer_life: Option<Incarnation>,
    /// Announcements of the addresses.
    announcing: Again,
    /// What shows the machines behind this box.
    showing: Again,
    published: Instant,
    /// The number of the token that is armed here, and how many were shown to the peer.
    token: u64,
    releases: u64,
    stop: bool,
}

fn now() -> Instant {
    Instant(boottime_ns())
}

fn held(reading: &lease::Reading) -> Lease {
    match reading.lease {
        lease::Lease::Nothing => Lease::None,
        lease::Lease::Until(end) => Lease::Until(Instant(end)),
        lease::Lease::Endless => Lease::Endless,
    }
}

impl Thread {
    fn new(driver: Driver, inputs: Inputs, handle: Handle, found: Found) -> Self {
        driver.lease.show_life();
        driver.lease.set_pair(driver.pair, driver.peer_mac);
        let reading = driver.lease.read();
        let start = Instant(reading.now);
        let owned = start.since(Instant(reading.owned_since.unwrap_or(reading.now)));
        let promised = Instant(reading.promised_until);
        let election = Election::new(driver.settings, inputs, start, held(&reading), owned, promised);
        let this = Self {
            election,
            actions: Vec::new(),
            handle,
            scene: None,
            links: Links::default(),
            inputs,
            uplink_open: found.uplink_open,
            uplink_since: start,
            cross_open: found.cross_open,
            carrier: (false, start),
            crossed: false,
            asked_across: start,
            answered_across: None,
            listens_since: start,
            asked: reading.asked_at,
            answered: None,
            owned: reading.lease != lease::Lease::Nothing,
            peer_owned: false,
            told_owned: false,
            peer_life: None,
            announcing: Again::never(),
            showing: Again::never(),
            published: Instant(0),
            token: 0,
            releases: 0,
            stop: false,
            driver,
        };
        this.arm();
        this
    }

    fn run(mut self) {
        // Perhaps by the lease of the daemon before.
        self.tell_owned();
        self.read_mailbox();
        self.begin_uplinks();
        while !self.stop {
            self.wait();
            self.driver.lease.show_life();
            self.read_mailbox();
            self.hear();
            self.notice_questions();
            if now() >= self.election.next_deadline() {
                self.event(Event::Tick);
            }
            self.ask_across();
            self.turn_uplinks();
            self.announce_again();
            self.show_again();
            self.publish();
        }
    }

    /// Until something comes, or is due.
    fn wait(&mut self) {
        let mut until = self.election.next_deadline();
        let ask_across = self.is_held().then(|| self.asked_across + ASK_ACROSS_EVERY);
        for next in [self.announcing.next(), self.showing.next(), ask_across].into_iter().flatten() {
            until = until.min(next);
        }
        until = self.driver.paths.iter().filter_map(|(_, path)| path.next_deadline()).fold(until, Instant::min);
        let left = Duration::from_nanos(until.since(now()).0);
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(self.driver.paths.len() + 2);
        fds.push(PollFd::new(self.handle.wake.as_fd(), PollFlags::POLLIN));
        for (_, _, asking) in self.scene.iter().flat_map(|scene| &scene.ask) {
            fds.push(PollFd::new(asking.as_fd(), PollFlags::POLLIN));
        }
        for (_, path) in &self.driver.paths {
            let flags = if path.wants_write() { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
            fds.extend(path.fd().map(|fd| PollFd::new(fd, flags)));
        }
        // Whatever it says: all are looked at.
        _ = ppoll(&mut fds, Some(TimeSpec::from_duration(left)), None);
    }

    fn event(&mut self, event: Event<'_>) {
        let reading = self.driver.lease.read();
        let mut actions = std::mem::take(&mut self.actions);
        self.election.handle(Instant(reading.now), held(&reading), event, &mut actions);
        for action in actions.drain(..) {
            self.carry_out(action);
        }
        self.actions = actions;
        self.owned = self.driver.lease.read().lease != lease::Lease::Nothing;
        self.peer_owned &= !self.owned;
        self.tell_owned();
    }

    /// Where there is no room for the news now, the next event tells them.
    fn tell_owned(&mut self) {
        if self.owned != self.told_owned && self.driver.news.try_send(News::Owns(self.owned)).is_ok() {
            self.told_owned = self.owned;
        }
    }

    fn carry_out(&mut self, action: Action) {
        let lease = &self.driver.lease;
        match action {
            Action::Send(heartbeat) => self.send(&heartbeat),
            Action::SetLease(until) => {
                if !self.owned {
                    self.pass_back();
                }
                lease.set_until(until.0);
            }
            // A lease that has just been lost is not taken anew: the next event shows it to the election.
            Action::Renew(until) => _ = lease.renew_until(until.0),
            Action::MakeEndless => {
                if let Err(error) = lease.make_endless() {
                    self.news(News::Trouble(error.to_string()));
                }
            }
            Action::DropLease => lease.drop_lease(),
            Action::KeepPromise(until) => lease.promise(until.0),
            Action::Serve { what: Serve::All, until } => {
                lease.hand_over(Duration::from_nanos(until.since(now()).0));
            }
            // The data plane does so by itself after any other loss.
            Action::Serve { what: Serve::Known, .. } => {}
            Action::Ask { nonce } => self.ask(|way, pair| question::question(way, pair, nonce)),
            Action::Release { nonce } => {
                let token = self.token_of_peer(self.releases % TOKENS);
                self.releases += 1;
                self.ask(|way, pair| question::release(way, pair, nonce, &token));
            }
            Action::Announce => {
                self.announce();
                self.announcing = Again::begin(&ANNOUNCE_AGAIN);
            }
            Action::Fence => self.news(News::Fence),
            Action::Exit => self.news(News::Exit),
            Action::Alarm(alarm) => self.news(News::Alarm(alarm)),
        }
    }

    /// This box is about to own what the other one has owned: what it does not know of yet is served there, if that
    /// one lives or at least its data plane does.
    fn pass_back(&self) {
        let serves_on = self.peer_owned && matches!(self.peer(now()), Peer::Heard { .. } | Peer::Answers);
        match self.links.to_peer.filter(|_| serves_on) {
            Some(port) => self.driver.lease.pass_back(PASS_BACK, port),
            None => self.driver.lease.pass_back(Duration::ZERO, 0),
        }
    }

    fn news(&self, news: News) {
        // A loop that does not read its news has worse troubles; the status shows the same.
        _ = self.driver.news.try_send(news);
    }

    // Heartbeats.

    fn send(&mut self, heartbeat: &Heartbeat) {
        let heartbeat = Heartbeat { uplink_open: self.uplink_open, crossed: self.is_crossed(), ..*heartbeat };
        for (_, path) in &mut self.driver.paths {
            // It cannot be sealed only when 2^48 have been sent.
            _ = path.send(&mut self.driver.codec, &heartbeat, now());
        }
    }

    fn hear(&mut self) {
        let mut heard = Vec::new();
        let codec = &mut self.driver.codec;
        for (number, (_, path)) in self.driver.paths.iter_mut().enumerate() {
            let id = PathId(u8::try_from(number).unwrap_or(u8::MAX));
            path.tick(now());
            path.drain(codec, &mut now, &mut |received, _| heard.push((id, received.heartbeat)));
        }
        for (path, heartbeat) in &heard {
            self.peer_owned |= heartbeat.owns;
            self.event(Event::Heartbeat { path: *path, heartbeat });
        }
        let mut answers = Vec::new();
        for (port, _, asking) in self.scene.iter().flat_map(|scene| &scene.ask) {
            for _ in 0..ANSWERS_MAX {
                let Ok(Some(frame)) = asking.next() else { break };
                answers.extend(question::parse_answer(&frame, 0).map(|answer| (*port, answer)));
            }
        }
        for (port, answer) in answers {
            if answer.pair != self.driver.pair {
                continue;
            }
            if answer.way.from == self.driver.peer_mac {
                self.answered = Some(now());
                if self.links.cross_connects.contains_key(&port) {
                    self.answered_across = self.answered;
                }
            }
            let lease = match answer.holds {
                Holds::Nothing => LeaseLeft::None,
                Holds::For(time) => LeaseLeft::Finite(span(time)),
                Holds::Endlessly => LeaseLeft::Endless,
            };
            let (nonce, from) = (answer.nonce, box_id(answer.way.from));
            let age = span(answer.owned_for);
            self.event(Event::Answer { path: PathId(0), nonce, from, lease, age });
        }
    }

    // Questions and tokens.

    /// The peer's questions are answered by the data plane; the election must know that they come.
    fn notice_questions(&mut self) {
        let asked = self.driver.lease.read().asked_at;
        if asked != self.asked {
            self.asked = asked;
            self.event(Event::Asked);
        }
    }

    /// On all ports towards the other box but blocked uplinks. A held end of a cross-connect is none of those: who is
    /// there is the other box.
    fn ask(&self, frame: impl Fn(Between, PairId) -> Vec<u8>) {
        self.ask_by(|port| self.uplink_open || !self.links.uplinks.contains_key(&port), frame);
    }

    fn ask_by(&self, by: impl Fn(IfIndex) -> bool, frame: impl Fn(Between, PairId) -> Vec<u8>) {
        for (_, own, asking) in self.scene.iter().flat_map(|scene| &scene.ask).filter(|(port, _, _)| by(*port)) {
            let way = Between { from: *own, to: self.driver.peer_mac, vlan: 0 };
            // What a port does not take is lost, as on any wire.
            _ = asking.ask(&frame(way, self.driver.pair));
        }
    }

    fn arm(&self) {
        let Settings { id, incarnation, .. } = self.driver.settings;
        let number = self.token;
        let of = TokenOf { owner: id.0, boot: incarnation.boot.into(), start: incarnation.start.into(), number };
        self.driver.lease.arm(&Token::new(&self.driver.key.release_key(), &of));
    }

    fn token_of_peer(&self, number: u64) -> Token {
        let status = self.election.status();
        let (boot, start) = status.peer.map_or((0, 0), |peer| (peer.incarnation.boot, peer.incarnation.start));
        let owner = box_id(self.driver.peer_mac).0;
        // It has made its token of the key that it seals with.
        let key = self.driver.codec.key_of_peer().and_then(|(_, key)| key).unwrap_or(&self.driver.key);
        Token::new(&key.release_key(), &TokenOf { owner, boot: boot.into(), start: start.into(), number })
    }

    // Announcements.

    fn announce(&self) {
        for (port, burst) in self.scene.iter().flat_map(|scene| &scene.announcements) {
            if self.may_send_on(*port) {
                burst.send();
            }
        }
    }

    fn announce_again(&mut self) {
        if !self.announcing.is_due() {
            return;
        }
        if self.owned {
            self.announce();
        } else {
            self.announcing = Again::never();
        }
    }

    // The machines behind this box.

    /// To whoever is reached by uplinks and cross-connects that are open: the switches there learn the way. A machine
    /// that only listens would be lost to them until it speaks.
    fn show_machines(&self) {
        for (port, burst) in self.scene.iter().flat_map(|scene| &scene.machines) {
            if self.may_send_on(*port) {
                burst.send();
            }
        }
    }

    fn show_again(&mut self) {
        if self.showing.is_due() {
            self.show_machines();
        }
    }

    // Uplinks and cross-connects.

    /// Frames that are sent past the bridge leave a blocked port, too, and teach the switches a way that is none.
    fn may_send_on(&self, port: IfIndex) -> bool {
        (self.uplink_open || !self.links.uplinks.contains_key(&port))
            && (self.cross_open || !self.links.cross_connects.contains_key(&port))
    }

    /// A cross-connect has a carrier.
    fn has_carrier(&self) -> bool {
        self.links.cross_connects.values().any(|running| *running)
    }

    /// A cross-connect that has a carrier is held.
    fn is_held(&self) -> bool {
        !self.cross_open && self.has_carrier()
    }

    /// Frames would go to the other box by a cross-connect. Of one that is held a carrier does not say so: there may be a
    /// switch on the way that is not ready, and the kernel tells of a carrier up to a second later than it is there.
    fn is_crossed(&self) -> bool {
        let recent =
            |answered: Instant| answered >= self.carrier.1 && now().since(answered) < self.driver.settings.timers.dead;
        self.has_carrier() && (self.cross_open || self.answered_across.is_some_and(recent))
    }

    /// The other box's data plane answers also on a port that its bridge keeps blocked.
    fn ask_across(&mut self) {
        let at = now();
        if !self.is_held() || at < self.asked_across + ASK_ACROSS_EVERY {
            return;
        }
        self.asked_across = at;
        self.ask_by(
            |port| self.links.cross_connects.contains_key(&port),
            |way, pair| question::question(way, pair, at.0),
        );
    }

    /// What is known of the other box.
    fn peer(&self, at: Instant) -> Peer {
        let status = self.election.status();
        let dead = self.driver.settings.timers.dead;
        match status.peer {
            Some(peer) if status.peer_heard.is_some_and(|heard| heard < dead) => {
                Peer::Heard { owns: peer.owns, open: peer.uplink_open, crossed: peer.crossed }
            }
            _ if self.answered.is_some_and(|answered| at.since(answered) < dead) => Peer::Answers,
            _ if at.since(self.listens_since) < dead => Peer::Unknown,
            _ => Peer::Silent,
        }
    }

    /// An uplink that is to block does so before a cross-connect opens: no frame finds a loop, not for a moment.
    fn turn_uplinks(&mut self) {
        if self.links.uplinks.is_empty() {
            return;
        }
        let at = now();
        if self.has_carrier() != self.carrier.0 {
            self.carrier = (self.has_carrier(), at);
        }
        let crossed = self.is_crossed();
        let crossed_turns = std::mem::replace(&mut self.crossed, crossed) != crossed;
        let peer = self.peer(at);
        let situation = Situation {
            owns: self.owned,
            greater: self.driver.settings.id > box_id(self.driver.peer_mac),
            usable: self.links.uplinks.values().any(|running| *running),
            crossed,
            open: self.uplink_open,
            since: at.since(self.uplink_since),
            peer,
        };
        let uplink_open = uplink::should_be_open(situation, self.driver.heartbeat);
        let crossing = Crossing {
            uplink_open,
            carrier: self.carrier.0,
            since: at.since(self.carrier.1),
            crossed,
            open: self.cross_open,
            peer,
        };
        let cross_open = uplink::cross_should_be_open(crossing, self.driver.settings.timers.dead);
        let (uplink_turns, cross_turns) = (uplink_open != self.uplink_open, cross_open != self.cross_open);
        if uplink_turns {
            self.set_uplinks(uplink_open);
            self.uplink_since = at;
        }
        if uplink_turns || crossed_turns {
            // The other box waits for it.
            self.event(Event::Speak);
        }
        if cross_turns {
            self.set_cross_connects(cross_open);
        }
        if uplink_turns || cross_turns {
            self.show_machines();
            self.showing = Again::begin(&SHOW_AGAIN);
        }
        if uplink_turns && uplink_open && self.owned {
            self.carry_out(Action::Announce);
        }
    }

    /// Uplinks that were found open stay so: nobody's way has changed, and what is learnt on the cross-connect is true.
    fn begin_uplinks(&mut self) {
        if self.links.uplinks.is_empty() {
            return;
        }
        self.set_cross_connects(self.cross_open);
        if !self.uplink_open {
            self.set_uplinks(false);
            return;
        }
        for port in self.links.uplinks.keys() {
            if let Err(error) = self.driver.gates.found_open(*port) {
                self.news(News::Trouble(error.to_string()));
            }
        }
    }

    fn set_uplinks(&mut self, open: bool) {
        let ports: Vec<IfIndex> = self.links.uplinks.keys().copied().collect();
        let crossed: Vec<IfIndex> = self.links.cross_connects.keys().copied().collect();
        self.set_gates(&ports, open);
        if open {
            // The routers were on the cross-connect until now; frames to them would go on leaving there.
            for port in crossed {
                if let Err(error) = self.driver.gates.forget(port) {
                    self.news(News::Trouble(error.to_string()));
                }
            }
        }
        self.uplink_open = open;
    }

    fn set_cross_connects(&mut self, open: bool) {
        let ports: Vec<IfIndex> = self.links.cross_connects.keys().copied().collect();
        self.set_gates(&ports, open);
        self.cross_open = open;
    }

    fn set_gates(&mut self, ports: &[IfIndex], open: bool) {
        for port in ports {
            let done = if open { self.driver.gates.unblock(*port) } else { self.driver.gates.block(*port) };
            if let Err(error) = done {
                self.news(News::Trouble(error.to_string()));
            }
        }
    }

    // The loop's end.

    fn read_mailbox(&mut self) {
        _ = self.handle.wake.read();
        // Whoever holds it wakes us when he has let go. To wait for him could be for ever, with our priority.
        let Ok(mut mailbox) = self.handle.mailbox.try_lock() else { return };
        let taken = std::mem::take(&mut *mailbox);
        mailbox.retired = match taken.scene {
            Some(scene) => self.scene.replace(scene),
            None => taken.retired,
        };
        drop(mailbox);
        if let Some(links) = taken.links {
            self.links = links;
        }
        if let Some(keys) = taken.keys {
            self.driver.key = keys.sending().clone();
            self.driver.codec.set_keys(keys);
            // The peer is to know the key before a token is made of it.
            self.event(Event::Speak);
            self.arm();
        }
        let (synced, drained) = taken.synced.unwrap_or((self.inputs.synced, self.inputs.drained));
        let inputs = Inputs { synced, drained, ..taken.inputs.unwrap_or(self.inputs) };
        if inputs != self.inputs {
            self.inputs = inputs;
            self.event(Event::Inputs(inputs));
        }
        for order in taken.orders {
            self.event(Event::Command(order));
        }
        if let Some(ok) = taken.fenced {
            self.event(Event::Fenced { ok });
        }
        self.stop |= taken.stop;
    }

    fn publish(&mut self) {
        let at = now();
        if at.since(self.published) < PUBLISH_EVERY {
            return;
        }
        self.published = at;
        if self.driver.lease.read().token_shown_at.is_some() {
            // It has been on the wire: whoever listened could use it.
            self.token = (self.token + 1) % TOKENS;
            self.arm();
        }
        let status = self.election.status();
        let life = status.peer.map(|peer| peer.incarnation);
        if life != self.peer_life {
            self.peer_life = life;
            if let Some(life) = life {
                self.news(News::PeerLives(life));
            }
        }
        if status.peer_heard.is_none_or(|heard| heard >= self.driver.settings.timers.dead) {
            // It may come back as another release.
            self.driver.codec.peer_silent();
        }
        let dead = self.driver.settings.timers.dead;
        let lives = |path: &Path| path.view().heard.is_some_and(|heard| at.since(heard) < dead);
        let bits = self.driver.paths.iter().filter(|(_, path)| lives(path));
        let alive = bits.fold(0, |bits, (_, path)| bits | 1_u32 << path.channel().number());
        self.handle.alive.store(alive, Ordering::Relaxed);
        let report = Report {
            at,
            status,
            paths: self.driver.paths.iter().map(|(name, path)| PathReport::of(name, path)).collect(),
            uplink_open: self.uplink_open,
            answered: self.answered,
            version: self.driver.codec.version(),
            keys: (self.driver.key.id, self.driver.codec.key_of_peer().map(|(id, _)| id)),
        };
        if let Ok(mut place) = self.handle.report.try_lock() {
            *place = Some(report);
        }
    }
}

impl PathReport {
    fn of(name: &str, path: &Path) -> Self {
        Self { name: name.to_owned(), view: path.view(), trouble: path.trouble().map(str::to_owned) }
    }
}

fn span(time: Duration) -> Span {
    Span(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// A box is known by its one MAC.
pub fn box_id(mac: Mac) -> BoxId {
    BoxId(mac.0.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
