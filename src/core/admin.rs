//! What the operator has ordered at run time: which servers, and which members of pools, are drained or
//! disabled, until when, and what shall become of them.
//!
//! Not part of the configuration, because it is done at three in the morning and undone at five. The
//! daemon keeps it as a JSON file in its state directory (`file`), so that a restart undoes no
//! maintenance. What a drain does in the course of time is in `core::drain`.

mod file;

pub use file::AdminError;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::moment::{Moment, UnixTime};
use crate::config::{Config, Name};

/// What a server is told to do. Of two orders the later in this list is the stronger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    #[default]
    Enabled,
    /// Keeps its connections, gets no new ones.
    Draining,
    /// Treated as failed: its connections are handled as each pool's `on_failure` says.
    Disabled,
}

impl fmt::Display for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Enabled => "enabled",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        })
    }
}

/// What an order is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A machine, in all its pools.
    Server(Name),
    /// A server in one pool.
    Member { pool: Name, server: Name },
}

impl Subject {
    pub fn server(&self) -> &Name {
        match self {
            Self::Server(server) | Self::Member { server, .. } => server,
        }
    }

    /// `None`: all its pools.
    pub fn pool(&self) -> Option<&Name> {
        match self {
            Self::Server(_) => None,
            Self::Member { pool, .. } => Some(pool),
        }
    }

    /// Whether a server's part in a pool belongs to it.
    pub fn covers(&self, pool: &Name, server: &Name) -> bool {
        self.server() == server && self.pool().is_none_or(|own| own == pool)
    }

    /// Whether the configuration has it.
    pub fn is_configured(&self, config: &Config) -> bool {
        match self {
            Self::Server(server) => config.servers.contains_key(server),
            Self::Member { pool, server } => {
                config.pools.get(pool).is_some_and(|pool| pool.members.iter().any(|member| member.server == *server))
            }
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(server) => write!(f, "server {server}"),
            Self::Member { pool, server } => write!(f, "server {server} in pool {pool}"),
        }
    }
}

impl From<&Name> for Subject {
    fn from(server: &Name) -> Self {
        Self::Server(server.clone())
    }
}

/// What shall become of a drained subject when nothing is left on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// It waits to be enabled again.
    #[default]
    Nothing,
    /// It is taken out of the configuration file.
    Remove,
}

/// An order in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Never `Enabled`.
    pub state: AdminState,
    pub since: UnixTime,
    /// When the connections that are left are reset; only of a drain.
    pub deadline: Option<UnixTime>,
    /// Only of a drain.
    pub then: Then,
    /// Connections when it was given.
    pub connections_at_begin: u64,
}

/// The orders in force; what is not mentioned is enabled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Admin {
    orders: BTreeMap<Subject, Order>,
    /// Drains whose deadline is over: what they have left is reset. Not persisted: whoever reads the
    /// orders again finds it out by the clock.
    overdue: BTreeSet<Subject>,
    /// When a subject was last enabled again, for slow start. Not persisted: a restart of the daemon
    /// is no reason to start slowly.
    enabled_at: BTreeMap<Subject, Moment>,
}

impl Admin {
    /// What has been ordered of this very subject. A member may be out though it is enabled itself,
    /// because its server is: see `of_member`.
    pub fn of(&self, subject: &Subject) -> AdminState {
        self.orders.get(subject).map(|order| order.state).unwrap_or_default()
    }

    pub fn of_server(&self, server: &Name) -> AdminState {
        self.of(&server.into())
    }

    /// What a server does in a pool: the stronger of the server's order and the member's own.
    pub fn of_member(&self, pool: &Name, server: &Name) -> AdminState {
        self.of_server(server).max(self.of(&member(pool, server)))
    }

    pub fn order(&self, subject: &Subject) -> Option<&Order> {
        self.orders.get(subject)
    }

    /// All orders in force.
    pub fn orders(&self) -> impl Iterator<Item = (&Subject, &Order)> {
        self.orders.iter()
    }

    /// Gives an order; what was in force before. A drain that is ordered anew takes the new deadline and
    /// the new end, and goes on from where it is.
    pub fn put(&mut self, subject: &Subject, order: Order) -> AdminState {
        let before = self.of(subject);
        if order.state == AdminState::Enabled {
            return before;
        }
        self.enabled_at.remove(subject);
        self.overdue.remove(subject);
        let goes_on = self.orders.get(subject).filter(|old| old.state == order.state);
        let (since, connections_at_begin) = match goes_on {
            Some(old) => (old.since, old.connections_at_begin),
            None => (order.since, order.connections_at_begin),
        };
        self.orders.insert(subject.clone(), Order { since, connections_at_begin, ..order });
        before
    }

    /// Takes the order back, whatever it is; what was in force before. `now` starts the slow start.
    pub fn enable(&mut self, subject: &Subject, now: Moment) -> AdminState {
        let before = self.orders.remove(subject).map(|order| order.state).unwrap_or_default();
        self.overdue.remove(subject);
        if before != AdminState::Enabled {
            self.enabled_at.insert(subject.clone(), now);
        }
        before
    }

    /// The deadline of a drain is over; whether that is new.
    pub fn set_overdue(&mut self, subject: &Subject) -> bool {
        self.of(subject) == AdminState::Draining && self.overdue.insert(subject.clone())
    }

    /// Whether what a server has left in a pool is to be reset.
    pub fn is_overdue(&self, pool: &Name, server: &Name) -> bool {
        self.overdue.contains(&server.into()) || self.overdue.contains(&member(pool, server))
    }

    /// When a server last became able to take connections in a pool by an order, after having been out;
    /// `None` also after a restart.
    pub fn enabled_at(&self, pool: &Name, server: &Name) -> Option<Moment> {
        let own = self.enabled_at.get(&member(pool, server));
        self.enabled_at.get(&server.into()).max(own).copied()
    }

    /// Forgets what is no longer configured; returns whether there was any order about it. For after a
    /// reload: what comes back by a later one comes back enabled.
    pub fn retain_configured(&mut self, config: &Config) -> bool {
        let before = self.orders.len();
        self.orders.retain(|subject, _| subject.is_configured(config));
        self.enabled_at.retain(|subject, _| subject.is_configured(config));
        self.overdue.retain(|subject| subject.is_configured(config));
        self.orders.len() != before
    }

    /// A plain order, for tests of other rooms.
    #[cfg(test)]
    pub fn set(&mut self, subject: impl Into<Subject>, state: AdminState, now: Moment) -> AdminState {
        let subject = subject.into();
        if state == AdminState::Enabled {
            return self.enable(&subject, now);
        }
        let order =
            Order { state, since: UnixTime::default(), deadline: None, then: Then::Nothing, connections_at_begin: 0 };
        self.put(&subject, order)
    }
}

fn member(pool: &Name, server: &Name) -> Subject {
    Subject::Member { pool: pool.clone(), server: server.clone() }
}

#[cfg(test)]
mod tests;
