//! `lbd`: a layer-4 load balancer and health checker for the front of a mail cluster.
//!
//! `docs/architecture.md` is the map of this crate.
pub mod config;
pub mod core;
pub mod dataplane;
pub mod os;
