//! The command line, in the manner of IOS: what an administrator types, and what he reads.
//!
//! `grammar` knows what may be typed, `commands` has the table of it and the functions behind, `session` brings both
//! together with a line editor and a pager, on any transport. `console` is one: a Unix socket for root on this box; `ssh` is the
//! way in over the network. `auth` says who may.

pub mod auth;
mod commands;
pub mod console;
pub mod editor;
pub mod grammar;
mod keys;
pub mod lines;
pub mod monitor;
pub mod notation;
mod pager;
mod pipe;
pub mod redact;
pub mod secrets;
pub mod session;
pub mod ssh;
mod table;

pub use keys::Input;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic elsewhere: what is counted goes on with what is there.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
