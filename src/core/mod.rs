//! The pure core: no I/O, and no clock but the one it is handed.
pub mod admin;
pub mod check;
pub mod control;
pub mod drain;
pub mod forwarding;
pub mod gates;
pub mod hash;
pub mod marks;
pub mod moment;
pub mod network;
pub mod plan;
pub mod random;
pub mod schedule_probes;
pub mod scheduler;
pub mod synced;
pub mod target;
pub mod vip_claims;
