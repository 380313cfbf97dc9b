//! What has happened, for whoever asks afterwards: health, takeovers, orders, configurations, logins, alarms.
//!
//! ```text
//!   What (typed, where it happens) ──> Event (number, time, class, severity, fields, words) ──> History (a ring each class)
//!                                          │                                                      │
//!                                          └─> who follows: syslog, traps, streams                 └─> who asks: CLI, API
//! ```
//!
//! An `Event` carries its class, its severity and its words along, so that one that an older or a newer release has
//! written is read as it was. No I/O here, and no clock.

mod history;
pub mod seen;
mod what;

pub use crate::config::LogSeverity as Severity;
pub use history::{EventFilter, EventPage, History, LIMIT_DEFAULT, LIMIT_MAX};
pub use what::{Described, What};

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::moment::UnixTime;

/// Characters that are kept of the words of an event.
pub const TEXT_MAX: usize = 600;
/// Characters that are kept of a field.
pub const FIELD_MAX: usize = 240;

/// What an event is about. Each class has a ring of its own: a storm in one pushes nothing out of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Servers answer, or do not; services have nobody left.
    Health,
    /// Who owns the virtual addresses, and the paths between the two boxes.
    Pair,
    /// Ports of the data plane come and go.
    Link,
    /// Operators' orders about servers and members, and what became of them.
    Order,
    /// Another configuration is in force, or was saved.
    Config,
    /// Somebody has logged in, or has gone.
    Login,
    /// Somebody was not let in: apart from the logins, because anybody may cause these.
    Denied,
    /// Something that an operator should look at has begun or ended.
    Alarm,
    /// The daemon has started or stops.
    Daemon,
}

impl Class {
    pub const ALL: [Self; 9] = [
        Self::Health,
        Self::Pair,
        Self::Link,
        Self::Order,
        Self::Config,
        Self::Login,
        Self::Denied,
        Self::Alarm,
        Self::Daemon,
    ];

    /// Events that are kept of this class.
    pub const fn kept(self) -> usize {
        match self {
            Self::Health => 2000,
            Self::Daemon => 200,
            _ => 500,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Pair => "pair",
            Self::Link => "link",
            Self::Order => "order",
            Self::Config => "config",
            Self::Login => "login",
            Self::Denied => "denied",
            Self::Alarm => "alarm",
            Self::Daemon => "daemon",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A word that is no class of events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no class of events; there are {}", Class::ALL.map(Class::word).join(", "))]
pub struct NoSuchClass {
    pub word: String,
}

impl FromStr for Class {
    type Err = NoSuchClass;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|class| class.word() == word).ok_or_else(|| NoSuchClass { word: word.to_owned() })
    }
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Grows with each event, over restarts too.
    pub number: u64,
    /// When, Unix time in milliseconds.
    pub at_ms: u64,
    pub class: Class,
    pub severity: Severity,
    /// What it is, in a word that is stable between releases: `check-down`.
    pub event: String,
    /// What it is about, by name.
    pub fields: BTreeMap<String, String>,
    /// The same in words, in one line.
    pub text: String,
}

impl Event {
    /// Of something that happens now. Words and fields are cut to their limits, and in one line.
    pub fn new(number: u64, at: UnixTime, what: &What) -> Self {
        let fields = what.fields().into_iter();
        Self {
            number,
            at_ms: at.as_millis(),
            class: what.class(),
            severity: what.severity(),
            event: what.name().to_owned(),
            fields: fields.map(|(name, value)| (name.to_owned(), tame(&value, FIELD_MAX))).collect(),
            text: tame(&what.to_string(), TEXT_MAX),
        }
    }

    /// A line of a file, without its end.
    pub fn to_line(&self) -> String {
        // Maps of strings have nothing that JSON could not say.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// `None`: it is no event that this release understands, or only a part of one.
    pub fn from_line(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

/// Without what steers a terminal or ends a line, and no longer than may be: what is in an event may come from anybody.
fn tame(text: &str, most: usize) -> String {
    let mut tame: String = text
        .trim_end()
        .chars()
        .take(most)
        .map(|c| match c {
            '\n' | '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect();
    if text.trim_end().chars().nth(most).is_some() {
        tame.push('…');
    }
    tame
}

#[cfg(test)]
mod tests;
