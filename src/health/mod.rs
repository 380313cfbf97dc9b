//! Health: the probes, and what asks them.

mod ask;
mod asker;
mod command;
mod datagram;
pub mod executor;
mod files;
mod lateness;
mod neighbour;
mod own_address;
pub mod probe;
mod reach;
mod sockets;
mod stream;
mod timers;
pub(crate) mod tls;
pub mod transport;
