//! Who is logged in: the sessions of this process, each with the number by which it is cleared.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::lock;
use super::session::Who;

/// A session, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub number: usize,
    pub user: String,
    pub from: String,
    pub level: u8,
    /// Since the last key.
    pub idle: Duration,
}

struct Open {
    who: Who,
    level: u8,
    typed: Instant,
    cleared: Arc<Notify>,
}

static OPEN: LazyLock<Mutex<BTreeMap<usize, Open>>> = LazyLock::new(Mutex::default);

fn open() -> MutexGuard<'static, BTreeMap<usize, Open>> {
    lock(&OPEN)
}

/// A session's place among them, until it is dropped.
#[derive(Debug)]
pub struct Ticket {
    number: usize,
    cleared: Arc<Notify>,
}

impl Ticket {
    /// The lowest number that is free.
    pub fn take(who: &Who) -> Self {
        let mut open = open();
        let number = (0..).find(|number| !open.contains_key(number)).unwrap_or_default();
        let cleared = Arc::new(Notify::new());
        let line = Open { level: who.level, who: who.clone(), typed: Instant::now(), cleared: cleared.clone() };
        open.insert(number, line);
        Self { number, cleared }
    }

    /// A key was pressed, at this level.
    pub fn touch(&self, level: u8) {
        if let Some(line) = open().get_mut(&self.number) {
            (line.typed, line.level) = (Instant::now(), level);
        }
    }

    /// Notified when an administrator ends this session.
    pub fn cleared(&self) -> Arc<Notify> {
        self.cleared.clone()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        open().remove(&self.number);
    }
}

/// All of them, by number.
pub fn list() -> Vec<Line> {
    let line = |(number, open): (&usize, &Open)| Line {
        number: *number,
        user: open.who.user.clone(),
        from: open.who.from.clone(),
        level: open.level,
        idle: open.typed.elapsed(),
    };
    open().iter().map(line).collect()
}

/// Ends a session; `false`: there is none of this number.
pub fn clear(number: usize) -> bool {
    open().get(&number).map(|line| line.cleared.notify_one()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_is_listed_until_it_ends_and_can_be_cleared() {
        let who = Who { user: "lines-test".into(), from: "192.0.2.1".into(), level: 1, highest: 15 };
        let ticket = Ticket::take(&who);
        ticket.touch(15);
        let own = |lines: Vec<Line>| lines.into_iter().find(|line| line.user == "lines-test");
        let line = own(list()).unwrap();
        assert_eq!((line.level, line.from.as_str()), (15, "192.0.2.1"));
        let cleared = ticket.cleared();
        assert!(clear(line.number));
        cleared.notified().await;
        drop(ticket);
        assert_eq!(own(list()), None);
    }
}
