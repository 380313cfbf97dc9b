//! Health: the probes, and what asks them.
pub mod executor;
mod files;
mod lateness;
pub mod probe;
mod reach;
mod timers;
mod tls;
