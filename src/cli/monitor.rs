//! What the daemon writes down: as it happens, for whoever has said `terminal monitor`, and the last of it, for
//! `show logging`.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tokio::sync::broadcast;

/// Lines that are kept.
const KEPT: usize = 500;
/// Bytes that are kept of a line.
const LINE_MAX: usize = 1024;
/// Lines that wait for a terminal; beyond, it is told how many it has missed.
const WAITING: usize = 128;

struct Log {
    last: Mutex<VecDeque<Arc<str>>>,
    new: broadcast::Sender<Arc<str>>,
}

static LOG: LazyLock<Log> = LazyLock::new(|| Log { last: Mutex::default(), new: broadcast::Sender::new(WAITING) });

/// Where the log is written to, an event with each call.
pub struct Writer;

/// As `tracing_subscriber` wants it.
pub fn writer() -> Writer {
    Writer
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in String::from_utf8_lossy(bytes).lines() {
            keep(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn keep(line: &str) {
    // Of somebody who connects may come what steers a terminal.
    let line: String = line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(LINE_MAX).collect();
    let line: Arc<str> = line.into();
    let mut last = LOG.last.lock().unwrap_or_else(PoisonError::into_inner);
    if last.len() == KEPT {
        last.pop_front();
    }
    last.push_back(line.clone());
    // Nobody may be looking.
    _ = LOG.new.send(line);
}

/// The last lines, the oldest first.
pub fn last() -> Vec<Arc<str>> {
    LOG.last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// The lines from now on.
pub fn follow() -> broadcast::Receiver<Arc<str>> {
    LOG.new.subscribe()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_are_kept_followed_and_cannot_steer_a_terminal() {
        let mut follower = follow();
        writer().write_all(b"one \x1b[2J\ntwo\n").unwrap();
        assert_eq!(&*follower.try_recv().unwrap(), "one \u{fffd}[2J");
        assert_eq!(&*follower.try_recv().unwrap(), "two");
        let last = last();
        assert_eq!(last.iter().rev().take(2).map(|line| &**line).collect::<Vec<_>>(), ["two", "one \u{fffd}[2J"]);
        for _ in 0..2 * KEPT {
            keep("more");
        }
        assert_eq!(super::last().len(), KEPT);
        assert!(matches!(follower.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
    }
}
