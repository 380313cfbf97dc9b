//! The pure core: no I/O, and no clock but the one it is handed.
pub mod forwarding;
pub mod network;
