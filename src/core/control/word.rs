//! The words by which JSON, metrics and filters know a choice: those of the configuration file.
//! They are stable between releases.

use serde::{Serialize, Serializer};

use crate::config::yaml::choice::Choice;
use crate::config::{LogSeverity, Mac, Mode, Ports, Protocol, Scheduler};
use crate::core::check;
use crate::core::events::Class;
use crate::core::forwarding::Family;

/// A choice that has a word of its own.
pub trait Word: Copy {
    fn word(self) -> &'static str;
}

impl Word for Class {
    fn word(self) -> &'static str {
        Class::word(self)
    }
}

impl Word for LogSeverity {
    fn word(self) -> &'static str {
        LogSeverity::word(self)
    }
}

impl Word for Family {
    fn word(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

impl Word for Protocol {
    fn word(self) -> &'static str {
        Choice::word(self)
    }
}

impl Word for Mode {
    fn word(self) -> &'static str {
        Choice::word(self)
    }
}

impl Word for Scheduler {
    fn word(self) -> &'static str {
        Choice::word(self)
    }
}

impl Word for check::State {
    fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// For `#[serde(serialize_with)]`.
pub fn serialize<T: Word, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.word())
}

/// For `#[serde(serialize_with)]`: `02:00:00:00:00:01`.
pub fn mac<S: Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(mac)
}

/// For `#[serde(serialize_with)]`: a MAC or null.
pub fn maybe_mac<S: Serializer>(mac: &Option<Mac>, serializer: S) -> Result<S::Ok, S::Error> {
    mac.map(|mac| mac.to_string()).serialize(serializer)
}

/// For `#[serde(serialize_with)]`: `25`, or `40000-40999`, always as text.
pub fn ports<S: Serializer>(ports: &Ports, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(ports)
}
