//! The pair of balancers: what the two say to each other.
pub mod sync;
