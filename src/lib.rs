//! `lbd`: a layer-4 load balancer and health checker for the front of a mail cluster.
//!
//! `docs/architecture.md` is the map of this crate.
pub mod access;
pub mod cli;
pub mod config;
pub mod core;
pub mod daemon;
pub mod dataplane;
pub mod files;
#[cfg(test)]
mod golden;
pub mod health;
pub mod http;
pub mod lab;
pub mod nagios;
pub mod os;
pub mod pair;
pub mod snmp;
