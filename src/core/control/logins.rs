//! Logins by people, counted by whoever lets them in. Names are in the log; here are only numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use schemars::JsonSchema;
use serde::Serialize;

/// By which door somebody wants in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The command line over SSH.
    Ssh,
    /// The password that makes a user of the command line an administrator.
    Enable,
    /// The HTTP listener.
    Http,
}

impl Door {
    pub const ALL: [Self; 3] = [Self::Ssh, Self::Enable, Self::Http];

    /// For labels; stable between releases.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Enable => "enable",
            Self::Http => "http",
        }
    }
}

/// Since the daemon started. Shared by all who let people in.
#[derive(Debug, Default)]
pub struct Logins([Counts; Door::ALL.len()]);

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl Logins {
    /// Somebody was let in.
    pub fn accepted(&self, door: Door) {
        self.of(door).accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody was not: a wrong password, a key that is not his, a user that there is not.
    pub fn refused(&self, door: Door) {
        self.of(door).refused.fetch_add(1, Ordering::Relaxed);
    }

    pub fn state(&self) -> Vec<LoginState> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Door::ALL
            .into_iter()
            .map(|door| {
                let of = self.of(door);
                LoginState { door: door.word(), accepted: count(&of.accepted), refused: count(&of.refused) }
            })
            .collect()
    }

    fn of(&self, door: Door) -> &Counts {
        let [ssh, enable, http] = &self.0;
        match door {
            Door::Ssh => ssh,
            Door::Enable => enable,
            Door::Http => http,
        }
    }
}

/// Logins by one door, since the daemon started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LoginState {
    /// ssh, enable or http.
    pub door: &'static str,
    pub accepted: u64,
    pub refused: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_door_has_its_own_counts() {
        let logins = Logins::default();
        logins.accepted(Door::Ssh);
        logins.refused(Door::Http);
        logins.refused(Door::Http);
        let told: Vec<_> = logins.state().into_iter().map(|l| (l.door, l.accepted, l.refused)).collect();
        assert_eq!(told, [("ssh", 1, 0), ("enable", 0, 0), ("http", 0, 2)]);
    }
}
