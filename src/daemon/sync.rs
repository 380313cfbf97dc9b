//! Brings the two ends together: what the data plane tells goes to the peer, and what the peer tells into the data
//! plane. No socket and no thread: whoever has them calls `turn`.

use std::time::Duration;

use crate::core::moment::Moment;
use crate::dataplane::DataPlaneError;
use crate::dataplane::sync::{Capture, Restore, WALK_STEP, Walked};
use crate::pair::sync::{Matter, Receiver, Sender, Update, Walk};

/// Events taken in a turn, so that it ends; what is left waits in the ring.
const EVENTS_MAX: usize = 16_384;
/// Between two turns, when nothing comes.
pub const TURN: Duration = Duration::from_millis(5);
/// Between two turns while a walk has room to go on: so long the thread rests after 2,048 entries.
const WALK_TURN: Duration = Duration::from_millis(1);
/// The shortest wait: whatever the sender says, others get the processor, too.
const LEAST: Duration = Duration::from_micros(100);

/// What this box tells.
pub struct Telling {
    pub capture: Capture,
    pub sender: Sender,
    walk: Option<Walk>,
}

impl Telling {
    /// The program begins to tell.
    pub fn new(mut capture: Capture, sender: Sender) -> Self {
        capture.listen(true);
        Self { capture, sender, walk: None }
    }

    /// How long to wait for an acknowledgement before the next turn.
    pub fn patience(&self, now: Moment) -> Duration {
        let walks_on = self.walk.is_some() && self.sender.room() >= WALK_STEP;
        let turn = if walks_on { WALK_TURN } else { TURN };
        self.sender.deadline(now).since(now).clamp(LEAST, turn)
    }

    /// A turn: a step of the walk (one, of 2,048 entries: it must not hold up the changes), then what has happened. Then
    /// `poll` the sender, and wait for as long as `patience` says.
    pub fn turn(&mut self, now: Moment) -> Result<(), DataPlaneError> {
        self.tell_events(now);
        let Self { capture, sender, walk } = self;
        let names = capture.names();
        if sender.wants_walk(now) {
            *walk = Some(sender.begin_walk(capture.entries()?, now));
            capture.begin_walk();
        }
        if let Some(current) = *walk {
            match sender.parts_of(current) {
                None => *walk = None,
                Some(parts) if sender.room() >= WALK_STEP => {
                    let step = capture.walk_step(&parts, |walked| {
                        match walked {
                            Walked::Flow(flow) => sender.walked(current, &flow, &names, now),
                            Walked::Binding(binding) => sender.walked_binding(current, binding, &names, now),
                        };
                    });
                    match step {
                        Ok(true) => {}
                        Ok(false) => {
                            sender.end_walk(current, now);
                            *walk = None;
                        }
                        Err(error) => {
                            sender.abandon_walk(current);
                            *walk = None;
                            return Err(error);
                        }
                    }
                }
                Some(_) => {}
            }
        }
        self.tell_events(now);
        Ok(())
    }

    /// Before a walk reads, so that no old event is told after what it has read; and after what it has read was
    /// told, see `Sender::begin_walk`.
    fn tell_events(&mut self, now: Moment) {
        let Self { capture, sender, .. } = self;
        let names = capture.names();
        capture.drain(EVENTS_MAX, |change, since| {
            sender.tell(&change, &names, Moment(now.0.saturating_sub(since)), now);
        });
        let (parts, events) = capture.take_lost();
        sender.lose(&parts, events);
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.capture.listen(false);
    }
}

/// What this box hears.
pub struct Hearing {
    pub restore: Restore,
    pub receiver: Receiver,
    updates: Vec<Update>,
}

/// Orders, configuration or health of the peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub matter: Matter,
    pub revision: u64,
    pub bytes: Vec<u8>,
}

impl Hearing {
    pub fn new(restore: Restore, receiver: Receiver) -> Self {
        Self { restore, receiver, updates: Vec::new() }
    }

    /// Takes a datagram; appends what it says of other things than connections to `heard`. What it says of those is
    /// in the tables after `turn`. On an error something may be missing there, and all is asked for again.
    pub fn hear(&mut self, datagram: &[u8], now: Moment, heard: &mut Vec<Heard>) -> Result<(), DataPlaneError> {
        self.receiver.receive(datagram, now, &mut self.updates);
        let mut result = Ok(());
        for update in self.updates.drain(..) {
            let entered = match update {
                Update::Change(change) => self.restore.change(&change),
                Update::Begin { parts, .. } => self.restore.begin(parts),
                Update::Session => {
                    self.restore.session();
                    continue;
                }
                Update::Name(name) => {
                    self.restore.name(name);
                    continue;
                }
                Update::End { .. } => {
                    self.restore.end();
                    continue;
                }
                Update::Matter { matter, revision, bytes } => {
                    heard.push(Heard { matter, revision, bytes });
                    continue;
                }
                Update::Tick { .. } => continue,
            };
            result = result.and(entered);
        }
        result.inspect_err(|_| self.receiver.ask_again())
    }

    /// After the datagrams of a turn: all is in the tables, and the acknowledgement to send says so.
    pub fn turn(&mut self) -> Result<Option<Vec<u8>>, DataPlaneError> {
        let entered = self.restore.flush().and_then(|()| self.restore.tidy());
        if let Err(error) = entered {
            self.receiver.ask_again();
            return Err(error);
        }
        Ok(self.receiver.poll())
    }
}
