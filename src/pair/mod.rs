//! The pair: two balancers, one of them the owner of the virtual IPs.
//!
//! `docs/high-availability.md` has the rules of ownership and what they promise.
pub mod copy;
pub mod election;
pub mod heartbeat;
pub mod key;
pub mod paths;
pub mod replay;
pub mod seal;
pub mod sync;
pub mod time;
pub mod timers;
pub mod uplink;
pub mod version;
pub mod wire;

#[cfg(test)]
mod simulation;
