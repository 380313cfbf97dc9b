//! Health: the probes, and what asks them.
pub mod executor;
pub mod probe;
