//! The paths between the boxes.

use super::rng::Rng;

pub const CROSS: usize = 0;
pub const LAN: usize = 1;
pub const SERIAL: usize = 2;
pub const PATHS: usize = 3;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// One direction of one path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    pub cut: bool,
    /// Heartbeats are dropped, questions pass.
    pub filtered: bool,
    pub loss_percent: u64,
    pub duplicate_percent: u64,
    /// Added at random up to this, each packet by itself: they overtake each other.
    pub jitter: u64,
    /// Added to all.
    pub delay: u64,
    /// Nothing arrives before this instant; then all of it does.
    pub held_until: u64,
    /// A serial line delivers in order.
    last_arrival: u64,
}

impl Line {
    /// When a packet sent now arrives; `None` if it does not.
    pub fn arrival(&mut self, path: usize, now: u64, heartbeat: bool, rng: &mut Rng) -> Option<u64> {
        if self.cut || (heartbeat && self.filtered) || (self.loss_percent > 0 && rng.percent(self.loss_percent)) {
            return None;
        }
        let usual = match path {
            CROSS => 40 * US + rng.next() % (60 * US),
            LAN => 80 * US + rng.next() % (200 * US),
            _ => 12 * MS + rng.next() % (6 * MS),
        };
        let jitter = if self.jitter > 0 { rng.next() % self.jitter } else { 0 };
        let mut at = (now + usual + self.delay + jitter).max(self.held_until);
        if path == SERIAL {
            at = at.max(self.last_arrival + 5 * MS);
            self.last_arrival = at;
        }
        Some(at)
    }

    pub fn duplicates(&self, rng: &mut Rng) -> bool {
        self.duplicate_percent > 0 && rng.percent(self.duplicate_percent)
    }

    pub fn heal(&mut self) {
        *self = Self { last_arrival: self.last_arrival, ..Self::default() };
    }
}
