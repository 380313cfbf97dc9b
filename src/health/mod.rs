//! Health: the probes, and what asks them.

mod ask;
mod asker;
mod datagram;
pub mod executor;
mod files;
mod lateness;
pub mod probe;
mod reach;
mod stream;
mod timers;
mod tls;
mod transport;
