//! Schedulers: from who may get new connections, and at what weight, to the table by which the data
//! plane chooses.
//!
//! One file a scheduler; a new one is a file here, a variant of `config::Scheduler` with its arm in
//! `table`, and its way of reading the table in the data plane. A table depends on names and weights
//! alone: not on the order of a configuration file, not on numbers that the data plane hands out.
mod least_connections;
pub mod maglev;
mod round_robin;
mod source_hash;

pub use least_connections::ENTRIES_MAX as LEAST_CONNECTIONS_MAX;
pub use round_robin::SLOTS_MAX as ROUND_ROBIN_MAX;

use std::collections::BTreeMap;

use super::forwarding::{Service, Weight};
use crate::config::{Name, Scheduler};

/// A scheduling table. `T` names a member: as it comes, by `&Name`; `map` puts the data plane's number there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<T> {
    pub scheduler: Scheduler,
    /// In the order of their names.
    pub members: Vec<T>,
    pub entries: Entries,
}

/// What the data plane looks at for a new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entries {
    /// A member per slot, as its index in `members`: by hash (Maglev, source hash) or in turn (round
    /// robin). Empty when nobody can be scheduled.
    Slots(Vec<u32>),
    /// The weight of each of `members`, in their order (least connections).
    Weights(Vec<Weight>),
}

impl<T> Table<T> {
    /// The same table with other names for its members.
    pub fn map<U>(self, name: impl FnMut(T) -> U) -> Table<U> {
        Table {
            scheduler: self.scheduler,
            members: self.members.into_iter().map(name).collect(),
            entries: self.entries,
        }
    }

    /// The slots of `Entries::Slots` with their members; nothing for `Entries::Weights`.
    pub fn slots(&self) -> impl Iterator<Item = &T> {
        let slots = match &self.entries {
            Entries::Slots(slots) => slots.as_slice(),
            Entries::Weights(_) => &[],
        };
        slots.iter().filter_map(|index| self.members.get(usize::try_from(*index).ok()?))
    }

    /// The pairs of `Entries::Weights`; nothing for `Entries::Slots`.
    pub fn weights(&self) -> impl Iterator<Item = (&T, Weight)> {
        let weights = match &self.entries {
            Entries::Slots(_) => &[],
            Entries::Weights(weights) => weights.as_slice(),
        };
        self.members.iter().zip(weights.iter().copied())
    }
}

/// Someone who takes a share of the slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat<'a> {
    name: &'a str,
    /// Positive.
    weight: u32,
}

/// The table of a service as it is planned.
pub fn table(service: &Service) -> Table<&Name> {
    build(service.scheduler, &service.members, &service.schedule)
}

/// `full` are all members that could ever be scheduled, with the weights of the configuration, and
/// `now` those that are, with the weights of now. Maglev's size follows from `full`, so that a server
/// that fails, drains or starts slowly changes no more than its share.
pub fn build<'a>(
    scheduler: Scheduler,
    full: &BTreeMap<Name, Weight>,
    now: &'a BTreeMap<Name, Weight>,
) -> Table<&'a Name> {
    let mut members: Vec<&Name> = now.iter().filter(|(_, weight)| weight.0 > 0).map(|(name, _)| name).collect();
    if scheduler == Scheduler::LeastConnections {
        members.truncate(LEAST_CONNECTIONS_MAX);
    }
    let seats: Vec<Seat<'_>> =
        members.iter().filter_map(|name| Some(Seat { name: name.as_str(), weight: now.get(*name)?.0 })).collect();
    let entries = match scheduler {
        Scheduler::Maglev => Entries::Slots(maglev::slots(&seats, maglev::size(full, now))),
        Scheduler::SourceHash => Entries::Slots(source_hash::slots(&seats, maglev::size(full, now))),
        Scheduler::RoundRobin => Entries::Slots(round_robin::slots(&seats)),
        Scheduler::LeastConnections => Entries::Weights(least_connections::weights(&seats)),
    };
    Table { scheduler, members, entries }
}

#[cfg(test)]
mod tests;
