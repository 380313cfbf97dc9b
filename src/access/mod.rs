//! Who may: what the two ways in over the network, SSH and HTTP, have in common.
//!
//! `auth` is the seam for who somebody is, `secrets` hashes passwords, `token` makes and compares those of the HTTP interface, `issue` puts
//! one into the configuration, `gate` counts who comes too often or guesses, `listeners` opens what the configuration wants.

pub mod auth;
pub mod gate;
pub mod issue;
pub mod listeners;
pub mod secrets;
pub mod token;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Levels of privilege, each of which may do what the lower ones may. Reads the metrics, and nothing else.
pub const METRICS: u8 = 0;
/// May look.
pub const VIEWER: u8 = 1;
/// May order about servers and the pair, over HTTP.
pub const OPERATOR: u8 = 7;
/// May do everything.
pub const ADMIN: u8 = 15;

static EDITORS: AtomicU64 = AtomicU64::new(0);

/// A number for who may change the configuration, which nobody else has had since the daemon started.
pub fn next_editor() -> u64 {
    EDITORS.fetch_add(1, Ordering::Relaxed) + 1
}

/// Locks, also after a panic elsewhere: what is counted goes on with what is there.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
