//! The data plane's side of the synchronisation with the peer: what happens to connections comes out (`Capture`),
//! what the peer tells goes in (`Restore`).
//!
//! Both have descriptors of their own. A thread that drives them never waits for whoever holds the `DataPlane`.

mod capture;
mod restore;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::layout::{LOCAL_ID, LOCAL_UDP};
use super::layout::{flow_key, ip_of};
use crate::core::synced::{FlowKey, NameKind, Names};

pub use capture::{Capture, WALK_STEP, Walked};
pub use restore::{Restore, RestoreStatistics};

/// The names of this box's numbers: replaced as a whole when the tables change.
#[derive(Clone, Default)]
pub struct SharedNames(Arc<Mutex<Arc<Names>>>);

impl SharedNames {
    pub fn get(&self) -> Arc<Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, names: Names) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(names);
    }
}

/// Numbers by name, the other way round.
#[derive(Default)]
struct Numbers(HashMap<(NameKind, Arc<str>), u32>);

impl Numbers {
    fn of(names: &Names) -> Self {
        Self(names.iter().map(|name| ((name.kind, name.text), name.number)).collect())
    }

    fn get(&self, kind: NameKind, text: &Arc<str>) -> Option<u32> {
        self.0.get(&(kind, text.clone())).copied()
    }
}

fn key_of(key: &flow_key) -> FlowKey {
    FlowKey {
        client: ip_of(&key.peer),
        client_port: u16::from_be(key.peer_port),
        vip: key.local & LOCAL_ID,
        port: u16::from_be(key.port),
        udp: key.local & LOCAL_UDP != 0,
    }
}

/// Nanoseconds as whole milliseconds.
fn ms(ns: u64) -> u64 {
    ns / 1_000_000
}
