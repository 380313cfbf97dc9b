//! The command line, in the manner of IOS: what an administrator types, and what he reads.
//!
//! `grammar` knows what may be typed, `commands` has the table of it and the functions behind, `session` brings both
//! together with a line editor and a pager, on any transport. `console` is one: a Unix socket for root on this box; `ssh` is the
//! way in over the network.

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
pub mod session;
pub mod ssh;
mod table;

pub use keys::Input;

use crate::access::lock;
