//! How prompt the daemon is: by how much its timers come late, and how long its loop is busy with one thing.
//!
//! The worst of the last minute is kept and no history: whoever looks every minute or more often misses no hitch.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::lock;
use crate::core::moment::Moment;
use crate::os::clock;

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(100);
/// The minute, in parts that are forgotten one by one.
const PART_SECONDS: u64 = 5;
const PARTS: usize = 13;

/// Shared by who measures and who tells.
#[derive(Debug, Default)]
pub struct Promptness {
    lag: Mutex<Worst>,
    turn: Mutex<Worst>,
}

impl Promptness {
    /// The worst of the last minute.
    pub fn lag(&self) -> Duration {
        lock(&self.lag).of(clock::now())
    }

    /// The longest turn of the loop in the last minute.
    pub fn turn(&self) -> Duration {
        lock(&self.turn).of(clock::now())
    }

    /// A turn of the loop has ended.
    pub fn turned(&self, took: Duration) {
        lock(&self.turn).note(clock::now(), took);
    }
}

/// Measures for ever, on the runtime whose promptness is in question.
pub async fn measure(promptness: Arc<Promptness>) {
    loop {
        let due = clock::now() + TICK;
        tokio::time::sleep(TICK).await;
        let now = clock::now();
        lock(&promptness.lag).note(now, now.since(due));
    }
}

/// The greatest of what was noted in the last minute, five seconds more or less.
#[derive(Debug, Default)]
struct Worst {
    /// Number of the part of time, and the greatest in it.
    parts: [(u64, Duration); PARTS],
}

impl Worst {
    fn note(&mut self, now: Moment, value: Duration) {
        let number = now.0.as_secs() / PART_SECONDS;
        let slot = usize::try_from(number % PARTS as u64).unwrap_or(0);
        if let Some(part) = self.parts.get_mut(slot) {
            let before = if part.0 == number { part.1 } else { Duration::ZERO };
            *part = (number, before.max(value));
        }
    }

    fn of(&self, now: Moment) -> Duration {
        let number = now.0.as_secs() / PART_SECONDS;
        let recent = |part: &&(u64, Duration)| part.0 + PARTS as u64 > number;
        self.parts.iter().filter(recent).map(|part| part.1).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_remembered_for_a_minute_and_forgotten_then() {
        let at = |seconds: u64| Moment(Duration::from_secs(1_000_000 + seconds));
        let ms = Duration::from_millis;
        let mut worst = Worst::default();
        assert_eq!(worst.of(at(0)), Duration::ZERO);
        worst.note(at(0), ms(20));
        worst.note(at(1), ms(5));
        worst.note(at(30), ms(10));
        assert_eq!(worst.of(at(30)), ms(20));
        assert_eq!(worst.of(at(60)), ms(20));
        assert_eq!(worst.of(at(66)), ms(10));
        worst.note(at(66), ms(1));
        assert_eq!(worst.of(at(100)), ms(1));
        assert_eq!(worst.of(at(1_000)), Duration::ZERO);
    }
}
