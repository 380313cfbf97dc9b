//! What an object is: its number, its name, its syntax, what it says. From these rows come the answers, and
//! docs/snmp/LBD-MIB.txt, which a test holds against them.

use std::collections::BTreeMap;

use agentx::encodings::{ID, OctetString, Value};

use crate::os::ENTERPRISE;

/// 1.3.6.1.4.1.ENTERPRISE.1: `lbdMIB`.
pub const ROOT: [u32; 8] = [1, 3, 6, 1, 4, 1, ENTERPRISE, 1];
/// Below it: notifications, as RFC 2578, 8.5 wants them, and objects.
pub const NOTIFICATIONS: u32 = 0;
pub const OBJECTS: u32 = 1;

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// UTF-8.
    Text,
    Gauge,
    Counter,
    Truth,
    /// One of these words, by its number.
    Word(&'static [(&'static str, i32)]),
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datum {
    Text(String),
    /// Stays at its maximum where it is more.
    Gauge(u64),
    Counter(u64),
    Truth(bool),
    Word(i32),
}

impl From<Datum> for Value {
    fn from(datum: Datum) -> Self {
        match datum {
            Datum::Text(text) => Self::OctetString(OctetString(text)),
            Datum::Gauge(value) => Self::Gauge32(u32::try_from(value).unwrap_or(u32::MAX)),
            Datum::Counter(value) => Self::Counter64(value),
            // TruthValue of RFC 2579.
            Datum::Truth(truth) => Self::Integer(if truth { 1 } else { 2 }),
            Datum::Word(word) => Self::Integer(word),
        }
    }
}

/// An object of a group, or a column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Object {
    pub name: &'static str,
    pub syntax: Syntax,
    pub says: &'static str,
}

/// Objects that there is one of each of.
pub struct Group<S: 'static> {
    pub number: u32,
    pub name: &'static str,
    pub says: &'static str,
    pub objects: &'static [Object],
    /// A value for each object, `None` where there is none now.
    pub values: fn(&S) -> Vec<Option<Datum>>,
}

/// A table.
pub struct Table<S: 'static> {
    pub number: u32,
    /// Of a row: `lbdServer`.
    pub name: &'static str,
    pub says: &'static str,
    /// What names a row, in this order. They are its first columns.
    pub index: &'static [Object],
    pub columns: &'static [Object],
    pub rows: fn(&S) -> Vec<Row>,
}

/// A row: what names it, and a value for each column that has one.
pub struct Row {
    pub index: Vec<Key>,
    pub values: Vec<Option<Datum>>,
}

/// A part of what names a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// Its length, and each of its octets (RFC 2578, 7.7).
    Text(String),
    Number(u32),
}

/// All objects, in the order in which they are walked.
pub type Tree = BTreeMap<ID, Value>;

/// An identifier below the root; `None`: it has more than the 128 parts that there may be (RFC 2578, 3.5).
pub fn id(parts: &[u32]) -> Option<ID> {
    let all: Vec<u32> = ROOT.iter().chain(parts).copied().collect();
    (all.len() <= 128).then(|| ID::try_from(all).ok()).flatten()
}

pub fn put_group<S>(group: &Group<S>, state: &S, tree: &mut Tree) {
    for (number, value) in (1..).zip((group.values)(state)) {
        if let (Some(id), Some(value)) = (id(&[OBJECTS, group.number, number, 0]), value) {
            tree.insert(id, value.into());
        }
    }
}

pub fn put_table<S>(table: &Table<S>, state: &S, tree: &mut Tree) {
    for row in (table.rows)(state) {
        let mut index = Vec::new();
        for key in &row.index {
            match key {
                Key::Text(text) => {
                    index.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
                    index.extend(text.bytes().map(u32::from));
                }
                Key::Number(number) => index.push(*number),
            }
        }
        // The columns that name the row are not read.
        let first = u32::try_from(table.index.len()).unwrap_or(u32::MAX).saturating_add(1);
        for (number, value) in (first..).zip(row.values) {
            let parts: Vec<u32> = [OBJECTS, table.number, 1, number].into_iter().chain(index.iter().copied()).collect();
            if let (Some(id), Some(value)) = (id(&parts), value) {
                tree.insert(id, value.into());
            }
        }
    }
}
