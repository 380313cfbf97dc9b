//! The thread that asks: which target when, and what comes of it.
//!
//! ```text
//!            its turn              verdict without farewell
//!   ┌──────┐ ──────────> ┌───────┐ ─────────────────────────> ┌──────┐
//!   │ idle │             │ asked │                            │ idle │
//!   └──────┘ <──┐        └───────┘ ──────────> ┌─────────┐ ──>└──────┘
//!               │ put off                 │    │ parting │ the server answers or closes, or 500 ms, or its next turn
//!               └─ no socket, no room     │    └─────────┘
//!                                         └ verdict with farewell
//! ```
//!
//! A target has one timer: what it means follows from where the target stands. A target that is still being asked at
//! its next turn is not asked twice: that turn is left out.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::{error, info, warn};

use super::ask::{Asking, Means, NotBegun, Prepared};
use super::command::{self, Finished};
use super::executor::{Answer, Orders, Shared, Stats, Wanted, lock};
use super::files::Files;
use super::lateness::Record;
use super::own_address::{self, Aside, BELIEVED, Own, explained, is_about_connecting};
use super::reach;
use super::sockets::Sockets;
use super::stream::Stream;
use super::timers::Timers;
use super::transport::{Ended, Marked, Ready, Scratch, Step};
use crate::core::check::{Outcome, Verdict};
use crate::core::moment::Moment;
use crate::core::schedule_probes::{first_probe, next_probe};
use crate::core::target::Target;
use crate::os::clock;

/// The waker's token; no slot has it.
pub(super) const WAKE: Token = Token(usize::MAX);

/// Probes under way at once. Each is a socket with what belongs to it, some 10 KiB in the kernel.
const UNDER_WAY_MAX: usize = 16_384;
/// Open files that are left to the rest of the daemon, where the process may have many.
const FILES_LEFT: usize = 1024;
/// Probes that begin before those under way are looked at again.
const BEGIN_BATCH: usize = 64;
/// Probes whose turns come within this time begin together: so their servers, and this thread, are woken for several at
/// a time, which is a good part of what ten thousand probes cost. One by itself begins up to that much later.
const TOGETHER: Duration = Duration::from_millis(5);
/// Events that are taken from the kernel at once.
const EVENTS: usize = 1024;
/// Answers are handed over at the latest after this time: so the daemon wakes a hundred times a second at most,
/// however many targets there are.
const HAND_OVER: Duration = Duration::from_millis(10);
/// More than these wait for the daemon: nothing new is asked until it has taken them.
const ANSWERS_MAX: usize = 16_384;
/// A probe that could not begin is tried again after this time.
const PUT_OFF: Duration = Duration::from_millis(100);
/// An alarm about such probes stays so long after the last one.
const TROUBLE: Duration = Duration::from_secs(10);
/// What has just begun is looked at after this time at the latest; what is not over then gets a timer.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// A server is given so long to answer a farewell, or to close.
const PARTING: Duration = Duration::from_millis(500);
/// The statistics are at most so old.
const STATS_EVERY: Duration = Duration::from_millis(500);

/// One target.
struct Slot {
    target: Arc<Target>,
    prepared: Prepared,
    marked: Option<Marked>,
    /// One of its turns; all others are a whole number of intervals away.
    grid: Moment,
    /// When it is asked next.
    turn: Moment,
    /// Of its latest socket.
    generation: u32,
    /// Its latest command, as long as it is there.
    command: Weak<()>,
    /// What its server does at its own address, if that has been asked because it fails at a virtual one.
    own: Option<(Moment, Own)>,
    stands: Stands,
}

impl Slot {
    /// The failure with what is known of the server's own address.
    fn explained(&self, verdict: Verdict, now: Moment) -> Verdict {
        match (verdict, &self.target.question.via, self.own) {
            (Verdict::Failure(failure), Some(via), own) => {
                let own = own.filter(|(at, _)| now.since(*at) < BELIEVED).map_or(Own::Silent, |(_, own)| own);
                Verdict::Failure(explained(failure, via, self.target.question.address.ip(), own))
            }
            (verdict, ..) => verdict,
        }
    }

    /// Its server's own address should be asked.
    fn wants_aside(&self, now: Moment) -> bool {
        self.target.question.via.is_some() && self.own.is_none_or(|(at, _)| now.since(at) >= BELIEVED)
    }
}

enum Stands {
    Idle,
    Asked {
        asking: Asking,
        begun: Moment,
        /// When the question is put once more, if it is one of those that are.
        again: Option<Moment>,
        ends: Moment,
        /// The server's own address is being asked.
        aside: Option<Aside>,
        /// The verdict that waits for it, and the time that it took.
        held: Option<(Ended, Duration)>,
    },
    Parting(Box<Stream>),
}

/// See the module's documentation.
pub(super) struct Asker {
    poll: Poll,
    shared: Arc<Shared>,
    answers: mpsc::Sender<Vec<Answer>>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    numbers: BTreeMap<Arc<Target>, u32>,
    timers: Timers,
    /// What is due waits until then.
    turns_next: Moment,
    /// Those that have begun since the last look at the sockets: most of them are over at the next one, and need no
    /// timer for what happens if not.
    begun: Vec<u32>,
    files: Files,
    /// Without a connection, for the next one.
    idle: Sockets,
    finished: Finished,
    commands: Vec<Weak<()>>,
    scratch: Scratch,
    /// Waits for the daemon.
    ready: Vec<Answer>,
    hand_over: Moment,
    /// Those that have more to read.
    more: Vec<u32>,
    /// Counts sockets, so that an event of one that is gone is not taken for its successor's.
    generation: u32,
    sockets: usize,
    sockets_max: usize,
    stats: Stats,
    told: Moment,
    lateness: Record,
    trouble_until: Moment,
    /// Nothing begins before, because something has just lacked.
    short_until: Moment,
}

impl Asker {
    pub fn new(poll: Poll, shared: Arc<Shared>, answers: mpsc::Sender<Vec<Answer>>) -> io::Result<Self> {
        let now = clock::now();
        Ok(Self {
            poll,
            answers,
            slots: Vec::new(),
            free: Vec::new(),
            numbers: BTreeMap::new(),
            timers: Timers::default(),
            turns_next: now,
            begun: Vec::new(),
            files: Files::default(),
            idle: Sockets::default(),
            finished: Finished::new(shared.waker.clone()),
            commands: Vec::new(),
            shared,
            scratch: Scratch::default(),
            ready: Vec::new(),
            hand_over: now,
            more: Vec::new(),
            generation: 0,
            sockets: 0,
            sockets_max: sockets_max()?,
            stats: Stats::default(),
            told: now,
            lateness: Record::new(now),
            trouble_until: now,
            short_until: now,
        })
    }

    pub fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let orders = std::mem::take(&mut *lock(&self.shared.orders));
            if orders.stop {
                return self.stop();
            }
            self.obey(orders);
            self.take_turns();
            for number in std::mem::take(&mut self.more) {
                self.ready(number, Ready { readable: true, ..Ready::default() });
            }
            if !self.hand_over() {
                return;
            }
            self.tell();
            let wait = self.wait();
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                error!("probing ends: the kernel gives no events of sockets: {error}");
                return;
            }
            for (token, verdict) in self.finished.take() {
                if let Some((number, false)) = self.number(token) {
                    self.command_ended(number, verdict);
                }
            }
            for event in &events {
                match self.number(event.token()) {
                    Some((number, false)) => self.ready(number, event.into()),
                    Some((number, true)) => self.aside_ready(number, event.into()),
                    None => {}
                }
            }
            self.time_begun();
        }
    }

    /// What is due, if it is not to wait for what is due soon.
    fn take_turns(&mut self) {
        let now = clock::now();
        if now < self.turns_next {
            return;
        }
        for _ in 0..BEGIN_BATCH {
            let Some(number) = self.timers.due(now) else {
                self.turns_next = now + TOGETHER;
                return;
            };
            self.due(number);
        }
    }

    /// Of those that have begun, the ones that are still being asked get their timer.
    fn time_begun(&mut self) {
        let mut begun = std::mem::take(&mut self.begun);
        for number in begun.drain(..) {
            if let Some(Some(Slot { stands: Stands::Asked { again, ends, .. }, .. })) = self.slots.get(number as usize)
            {
                self.timers.set(number, (*ends).min(again.unwrap_or(*ends)));
            }
        }
        self.begun = begun;
    }

    /// Commands are given their time to end; they go with their groups.
    fn stop(mut self) {
        self.slots.clear();
        let until = clock::now() + command::ENDED_WITHIN;
        while running(&self.commands) > 0 && clock::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How long nothing needs to be done.
    fn wait(&mut self) -> Duration {
        if !self.more.is_empty() {
            return Duration::ZERO;
        }
        let next = self.timers.next().unwrap_or(Moment(Duration::MAX)).max(self.turns_next);
        let next = if self.ready.is_empty() { next } else { next.min(self.hand_over) };
        let most = if self.begun.is_empty() { STATS_EVERY } else { FIRST_LOOK };
        next.since(clock::now()).min(most)
    }

    fn obey(&mut self, orders: Orders) {
        let now = clock::now();
        if let Some(wanted) = orders.wanted {
            self.set(wanted, now);
        }
        for (target, at) in orders.hurried {
            let Some(number) = self.numbers.get(&target).copied() else { continue };
            let Some(Some(slot)) = self.slots.get_mut(number as usize) else { continue };
            if !matches!(slot.stands, Stands::Asked { .. }) && at < slot.turn {
                slot.turn = at;
                // One that is parting is cut short if need be.
                self.timers.set(number, at);
            }
        }
    }

    fn set(&mut self, wanted: Wanted, now: Moment) {
        self.files.clear();
        let gone: Vec<u32> =
            self.numbers.iter().filter(|(target, _)| !wanted.contains_key(&***target)).map(|(_, n)| *n).collect();
        for number in gone {
            self.timers.clear(number);
            self.end(number);
            if let Some(slot) = self.slots.get_mut(number as usize).and_then(Option::take) {
                self.numbers.remove(&slot.target);
                self.free.push(number);
            }
        }
        for (target, marked) in wanted {
            if let Some(number) = self.numbers.get(&target) {
                if let Some(Some(slot)) = self.slots.get_mut(*number as usize) {
                    slot.marked = marked;
                }
                continue;
            }
            let number = match self.free.pop() {
                Some(number) => number,
                None => {
                    let Some(number) = u32::try_from(self.slots.len()).ok().filter(|number| *number < ASIDE) else {
                        return;
                    };
                    self.slots.push(None);
                    number
                }
            };
            let target = Arc::new(target);
            let turn = first_probe(&target, now);
            let slot = Slot {
                prepared: Prepared::new(&target.question),
                marked,
                grid: next_probe(&target, now),
                turn,
                generation: self.generation,
                command: Weak::new(),
                own: None,
                stands: Stands::Idle,
                target: target.clone(),
            };
            if let Some(place) = self.slots.get_mut(number as usize) {
                *place = Some(slot);
                self.numbers.insert(target, number);
                self.timers.set(number, turn);
            }
        }
        self.stats.targets = self.numbers.len();
    }

    /// The moment of a target has come.
    fn due(&mut self, number: u32) {
        let now = clock::now();
        let Some(Some(slot)) = self.slots.get_mut(number as usize) else { return };
        match &mut slot.stands {
            Stands::Idle => self.begin(number, now),
            Stands::Asked { asking, again, ends, held, .. } => {
                let ends = *ends;
                if now < ends {
                    let again_now = again.take_if(|again| *again <= now).is_some();
                    self.timers.set(number, ends.min(again.unwrap_or(ends)));
                    if again_now && asking.is_connecting() {
                        self.ask_aside(number, now);
                    } else if again_now {
                        asking.again();
                    }
                } else if let Some((ended, took)) = held.take() {
                    self.ended(number, ended, took);
                } else {
                    let timeout = slot.target.pace.timeout;
                    let ended = asking.timed_out(timeout);
                    self.ended(number, ended, timeout);
                }
            }
            Stands::Parting(_) => {
                let turn = slot.turn;
                self.end(number);
                if turn <= now { self.begin(number, now) } else { self.timers.set(number, turn) }
            }
        }
    }

    fn begin(&mut self, number: u32, now: Moment) {
        let Some(Some(slot)) = self.slots.get_mut(number as usize) else { return };
        if now < self.short_until {
            self.stats.put_off += 1;
            self.timers.set(number, self.short_until);
            return;
        }
        let trouble = match (&slot.target.question.via, slot.marked) {
            _ if self.ready.len() >= ANSWERS_MAX => {
                Some("the daemon does not take the answers of probes; see its log".to_owned())
            }
            _ if self.sockets >= self.sockets_max => Some(format!(
                "{} probes are under way, which is as many as may be; raise LimitNOFILE (ulimit -n), or ask less often",
                self.sockets
            )),
            _ if slot.prepared.is_command() && running(&self.commands) >= command::RUNNING_MAX => Some(format!(
                "{} commands run at once, which is as many as may be; ask less often",
                command::RUNNING_MAX
            )),
            (Some(via), None) => {
                Some(format!("{} cannot be asked behind a virtual address: there is no socket mark for it", via.server))
            }
            _ => None,
        };
        if let Some(trouble) = trouble {
            return self.put_off(number, now, trouble);
        }
        if slot.command.upgrade().is_some() {
            let outcome = Outcome { verdict: command::stuck(), took: Duration::ZERO, certificate_ends: None };
            return self.answer(number, outcome);
        }
        let late = now.since(slot.turn);
        self.generation = self.generation.wrapping_add(1);
        slot.generation = self.generation;
        let token = token(number, self.generation);
        let mut means = Means {
            marked: slot.marked,
            files: &mut self.files,
            idle: &mut self.idle,
            now,
            token,
            finished: &self.finished,
        };
        let begun = slot.prepared.begin(&mut means).and_then(|asking| {
            if let Some(fd) = asking.fd() {
                let (mut socket, registry) = (SourceFd(&fd), self.poll.registry());
                if asking.is_known() {
                    registry.reregister(&mut socket, token, asking.interest())?;
                } else {
                    registry.register(&mut socket, token, asking.interest())?;
                }
            }
            Ok(asking)
        });
        match begun {
            Ok(asking) => {
                if let Asking::Command(running) = &asking {
                    slot.command = running.alive();
                    self.commands.retain(|command| command.upgrade().is_some());
                    self.commands.push(running.alive());
                }
                let ends = now + slot.target.pace.timeout;
                let again = asking.again_after(slot.target.pace.timeout).map(|after| now + after);
                slot.stands = Stands::Asked { asking, begun: now, again, ends, aside: None, held: None };
                self.sockets += 1;
                self.begun.push(number);
            }
            Err(NotBegun::Over(verdict)) => {
                self.answer(number, Outcome { verdict, took: clock::now().since(now), certificate_ends: None });
            }
            Err(NotBegun::Short(error)) => {
                self.short_until = now + PUT_OFF;
                return self.put_off(number, now, reach::shortage(&error));
            }
        }
        self.lateness.add(late, now);
        self.stats.begun += 1;
    }

    /// A probe that this box cannot make now says nothing about the server: it is tried again soon.
    fn put_off(&mut self, number: u32, now: Moment, trouble: String) {
        self.stats.put_off += 1;
        self.trouble_until = now + TROUBLE;
        if self.stats.trouble.is_none() {
            warn!("probes are put off: {trouble}");
        }
        self.stats.trouble = Some(trouble);
        self.timers.set(number, now + PUT_OFF);
    }

    /// Its socket has something to say.
    fn ready(&mut self, number: u32, ready: Ready) {
        let Some(Some(slot)) = self.slots.get_mut(number as usize) else { return };
        match &mut slot.stands {
            Stands::Idle => {}
            Stands::Asked { held: Some(_), .. } => {}
            Stands::Asked { asking, begun, .. } => match asking.ready(ready, &mut self.scratch) {
                Step::Wait => {
                    if asking.lacks_room()
                        && let Some(fd) = asking.fd()
                    {
                        // Should that fail, the probe ends at its timeout.
                        let token = token(number, slot.generation);
                        _ = self.poll.registry().reregister(&mut SourceFd(&fd), token, asking.interest());
                    }
                }
                Step::More => self.more.push(number),
                Step::Over(ended) => {
                    let now = clock::now();
                    let took = now.since(*begun);
                    let explicable =
                        matches!(&ended.verdict, Verdict::Failure(failure) if is_about_connecting(failure));
                    if explicable && asking.is_connecting() && slot.wants_aside(now) {
                        self.hold(number, ended, took, now);
                    } else {
                        self.ended(number, ended, took);
                    }
                }
            },
            Stands::Parting(stream) => {
                if stream.parted(ready, &mut self.scratch) {
                    let turn = slot.turn;
                    self.end(number);
                    self.timers.set(number, turn);
                }
            }
        }
    }

    /// A verdict waits until the server's own address has been asked, at most to the end of its timeout.
    fn hold(&mut self, number: u32, ended: Ended, took: Duration, now: Moment) {
        if let Some(Some(Slot { stands: Stands::Asked { held, .. }, .. })) = self.slots.get_mut(number as usize) {
            *held = Some((ended, took));
            self.ask_aside(number, now);
        }
    }

    fn ask_aside(&mut self, number: u32, now: Moment) {
        let Some(Some(slot)) = self.slots.get_mut(number as usize) else { return };
        if !slot.wants_aside(now) {
            return;
        }
        let Some(via) = &slot.target.question.via else { return };
        let asked = Aside::ask(via, slot.target.question.address.port()).and_then(|aside| {
            let token = token(number | ASIDE, slot.generation);
            self.poll.registry().register(&mut SourceFd(&aside.fd()), token, Interest::WRITABLE)?;
            Ok(aside)
        });
        match asked {
            Ok(asked) => {
                if let Stands::Asked { aside, .. } = &mut slot.stands {
                    *aside = Some(asked);
                    self.sockets += 1;
                }
            }
            Err(error) => self.know_own(number, own_address::of(&error), now),
        }
    }

    /// What the server's own address does is known.
    fn know_own(&mut self, number: u32, own: Own, now: Moment) {
        let Some(Some(slot)) = self.slots.get_mut(number as usize) else { return };
        slot.own = Some((now, own));
        let Stands::Asked { aside, held, .. } = &mut slot.stands else { return };
        if let Some(aside) = aside.take() {
            aside.end();
            self.sockets -= 1;
        }
        if let Some((ended, took)) = held.take() {
            self.ended(number, ended, took);
        }
    }

    fn aside_ready(&mut self, number: u32, ready: Ready) {
        let Some(Some(slot)) = self.slots.get_mut(number as usize) else { return };
        if let Stands::Asked { aside: Some(aside), .. } = &slot.stands
            && let Some(own) = aside.ready(ready)
        {
            self.know_own(number, own, clock::now());
        }
    }

    fn ended(&mut self, number: u32, ended: Ended, took: Duration) {
        let Ended { verdict, certificate_ends, farewell } = ended;
        let now = clock::now();
        let Some(Some(slot)) = self.slots.get_mut(number as usize) else { return };
        let Stands::Asked { asking, aside, .. } = std::mem::replace(&mut slot.stands, Stands::Idle) else { return };
        if let Some(aside) = aside {
            // It had half of the timeout.
            slot.own = Some((now, Own::Silent));
            aside.end();
            self.sockets -= 1;
        }
        let verdict = if asking.is_connecting() { slot.explained(verdict, now) } else { verdict };
        match asking {
            Asking::Stream(stream) if farewell => slot.stands = Stands::Parting(stream),
            asking => {
                asking.end(&mut self.idle);
                self.sockets -= 1;
            }
        }
        self.answer(number, Outcome { verdict, took, certificate_ends });
    }

    /// Has an answer for the daemon; the target's next turn is set.
    fn answer(&mut self, number: u32, outcome: Outcome) {
        let now = clock::now();
        let Some(Some(slot)) = self.slots.get_mut(number as usize) else { return };
        slot.turn = turn_after(slot.grid, slot.target.pace.interval, slot.turn.max(now));
        let parting = matches!(slot.stands, Stands::Parting(_));
        self.timers.set(number, if parting { slot.turn.min(now + PARTING) } else { slot.turn });
        if self.ready.is_empty() {
            self.hand_over = now + HAND_OVER;
        }
        self.ready.push(Answer { target: slot.target.clone(), outcome });
    }

    /// Ends what a target is at, without an answer.
    fn end(&mut self, number: u32) {
        let Some(Some(slot)) = self.slots.get_mut(number as usize) else { return };
        match std::mem::replace(&mut slot.stands, Stands::Idle) {
            Stands::Idle => return,
            Stands::Parting(stream) => stream.abort(&mut self.idle),
            Stands::Asked { asking, aside, .. } => {
                asking.end(&mut self.idle);
                if let Some(aside) = aside {
                    aside.end();
                    self.sockets -= 1;
                }
            }
        }
        self.sockets -= 1;
    }

    /// Gives the daemon what is ready; `false`: there is no daemon any more.
    fn hand_over(&mut self) -> bool {
        let now = clock::now();
        if self.ready.is_empty() || now < self.hand_over {
            return true;
        }
        match self.answers.try_send(std::mem::take(&mut self.ready)) {
            Ok(()) => true,
            Err(TrySendError::Full(ready)) => {
                self.ready = ready;
                self.hand_over = now + HAND_OVER;
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }

    /// Brings the statistics up to date.
    fn tell(&mut self) {
        let now = clock::now();
        if now.since(self.told) < STATS_EVERY {
            return;
        }
        self.told = now;
        if now >= self.trouble_until && self.stats.trouble.take().is_some() {
            info!("probes are no longer put off");
        }
        self.stats.under_way = self.sockets;
        self.stats.lateness = self.lateness.lateness();
        self.stats.clone_into(&mut lock(&self.shared.stats));
    }

    /// Whom an event is for, unless its socket is gone; and whether it is of the socket to a server's own address.
    fn number(&self, token: Token) -> Option<(u32, bool)> {
        let (number, generation) = ((token.0 & NUMBER_MASK) as u32, (token.0 >> NUMBER_BITS) as u32);
        let (number, aside) = (number & !ASIDE, number & ASIDE != 0);
        let slot = self.slots.get(number as usize)?.as_ref()?;
        (slot.generation == generation).then_some((number, aside))
    }

    fn command_ended(&mut self, number: u32, verdict: Verdict) {
        let Some(Some(Slot { stands: Stands::Asked { begun, .. }, .. })) = self.slots.get(number as usize) else {
            return;
        };
        let took = clock::now().since(*begun);
        self.ended(number, Ended { verdict, certificate_ends: None, farewell: false }, took);
    }
}

/// Commands that are still there.
fn running(commands: &[Weak<()>]) -> usize {
    commands.iter().filter(|command| command.strong_count() > 0).count()
}

const NUMBER_BITS: u32 = 32;
/// In a number: the socket to the server's own address.
const ASIDE: u32 = 1 << 31;
const NUMBER_MASK: usize = (1 << NUMBER_BITS) - 1;

/// Tokens have 64 bits on all machines that the data plane runs on.
fn token(number: u32, generation: u32) -> Token {
    Token((generation as usize) << NUMBER_BITS | number as usize)
}

/// The first turn after a moment, on the grid of a target's turns.
fn turn_after(grid: Moment, interval: Duration, after: Moment) -> Moment {
    let interval = interval.max(Duration::from_millis(1));
    if after < grid {
        return grid;
    }
    let passed = after.since(grid).as_nanos() % interval.as_nanos();
    after + interval.saturating_sub(Duration::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX)))
}

/// How many probes may be under way at once. The limit of open files is raised as far as it goes, and some are
/// left to the rest of the daemon.
fn sockets_max() -> io::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(limit.saturating_sub(FILES_LEFT).max(limit / 2).min(UNDER_WAY_MAX))
}
