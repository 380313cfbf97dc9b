//! What the active balancer knows of connections, carried to the standby: the protocol, without I/O and clock.
//!
//! ```text
//!   Capture ──changes──> Sender ──datagrams──> (paths, encrypted) ──> Receiver ──updates──> Restore
//!                          ^                                             │
//!                          └──────────────── acknowledgements ───────────┘
//! ```
//!
//! One `Sender` and one `Receiver` make a direction; a box may have both. Datagrams may be lost, doubled, late and out
//! of order; what comes out of the receiver is the stream as it went into the sender, or a new session of it. What
//! has no room in the sender's queue is left out, and the parts of the table that it was of are told anew: the walk
//! over the table that does it is the caller's, paced by `Sender::room`. docs/sync.md tells the whole.

mod matter;
mod receiver;
mod round_trip;
mod sender;
pub mod wire;

#[cfg(test)]
mod pacing_tests;
#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod wire_tests;

pub use receiver::{Progress, Receiver, ReceiverStatistics, Update};
pub use sender::{Lag, Sender, SenderLimits, SenderStatistics, Walk};
pub use wire::Matter;
