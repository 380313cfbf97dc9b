//! Which ports of the switch a pair has opened or blocked: the one word on it, read by whoever writes what follows
//! from it (bridge, data plane). Without locks: the thread of a takeover waits for nobody.

use std::sync::atomic::{AtomicU64, Ordering};

use super::network::IfIndex;

/// Ports that can be opened and blocked: uplinks and cross-connects (`config::limits`).
pub const GATES_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Open,
    /// No frame goes in or out through the bridge.
    Blocked,
}

const OPEN: u64 = 1;
const BLOCKED: u64 = 2;

/// A port and its gate in a word; 0 is a free place. Places are never moved, so that a look past all of them sees
/// every port that has one throughout.
#[derive(Debug)]
pub struct Gates {
    slots: [AtomicU64; GATES_MAX],
}

impl Default for Gates {
    fn default() -> Self {
        Self { slots: [const { AtomicU64::new(0) }; GATES_MAX] }
    }
}

fn word(port: IfIndex, gate: Gate) -> u64 {
    let state = match gate {
        Gate::Open => OPEN,
        Gate::Blocked => BLOCKED,
    };
    u64::from(port) << 32 | state
}

fn is_of(word: u64, port: IfIndex) -> bool {
    word != 0 && word >> 32 == u64::from(port)
}

impl Gates {
    /// From now on the port is to be open or blocked. False: there is no room for one more port, and nothing has
    /// changed. Only one thread gives a port its first gate.
    #[must_use]
    pub fn set(&self, port: IfIndex, gate: Gate) -> bool {
        let new = word(port, gate);
        if let Some(slot) = self.slots.iter().find(|slot| is_of(slot.load(Ordering::SeqCst), port)) {
            slot.store(new, Ordering::SeqCst);
            return true;
        }
        self.slots.iter().any(|slot| slot.compare_exchange(0, new, Ordering::SeqCst, Ordering::SeqCst).is_ok())
    }

    /// `None`: nobody has said anything about this port.
    pub fn get(&self, port: IfIndex) -> Option<Gate> {
        let held = self.slots.iter().map(|slot| slot.load(Ordering::SeqCst)).find(|held| is_of(*held, port))?;
        Some(if held & u64::from(u32::MAX) == BLOCKED { Gate::Blocked } else { Gate::Open })
    }

    /// The port is nobody's business any more.
    pub fn forget(&self, port: IfIndex) {
        for slot in &self.slots {
            if is_of(slot.load(Ordering::SeqCst), port) {
                slot.store(0, Ordering::SeqCst);
            }
        }
    }

    /// Calls `write` with the gate of a port until it has not changed meanwhile: what is written last is the latest
    /// word, also when another thread sets it and writes at the same time. Bounded: whoever sets it more often
    /// writes it himself.
    pub fn settle<E>(&self, port: IfIndex, mut write: impl FnMut(Option<Gate>) -> Result<(), E>) -> Result<(), E> {
        const TIMES_MAX: usize = 4;
        for _ in 0..TIMES_MAX {
            let gate = self.get(port);
            write(gate)?;
            if self.get(port) == gate {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits;

    #[test]
    fn there_is_room_for_every_port_that_a_configuration_can_name() {
        const { assert!(limits::UPLINKS_MAX + limits::CROSS_CONNECT_MAX <= GATES_MAX) };
        let gates = Gates::default();
        for port in 1..=GATES_MAX as u32 {
            assert!(gates.set(port, Gate::Blocked));
        }
        assert!(!gates.set(1_000, Gate::Open));
        assert!(gates.set(7, Gate::Open));
        gates.forget(9);
        assert!(gates.set(1_000, Gate::Open));
        assert_eq!(gates.get(7), Some(Gate::Open));
        assert_eq!(gates.get(8), Some(Gate::Blocked));
        assert_eq!(gates.get(9), None);
        assert_eq!(gates.get(1_000), Some(Gate::Open));
    }

    #[test]
    fn the_last_write_is_the_latest_word_though_it_changes_while_it_is_written() {
        let gates = Gates::default();
        assert!(gates.set(3, Gate::Blocked));
        let mut written = Vec::new();
        let done: Result<(), ()> = gates.settle(3, |gate| {
            if written.is_empty() {
                assert!(gates.set(3, Gate::Open));
            }
            written.push(gate);
            Ok(())
        });
        done.unwrap();
        assert_eq!(written, [Some(Gate::Blocked), Some(Gate::Open)]);
    }
}
