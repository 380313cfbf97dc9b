//! The lab: the site of the documentation on one machine, made of network namespaces.
//!
//! It is what `lbd lab` shows to a visitor, and the stage of the end-to-end tests.
//!
//! - [`site`] builds any site from a plain description, [`host`] acts inside one machine of it,
//!   [`claim`] sees to it that nothing is left behind, [`process`] that no child survives;
//! - [`mail`] describes the mail cluster and its configuration;
//! - [`pair`] is the same cluster with two balancers;
//! - [`servers`] are small mail servers that name themselves, [`real`] is the site with the true ones;
//! - [`balancer`] runs `lbd` in it;
//! - [`operator`] is its administrator, [`typist`] types for him at its command line, and
//!   [`record`] keeps what he sees for the documentation;
//! - [`customer`] plays the customers and counts who answered;
//! - [`tour`] shows it all, and checks every word that it says.

pub mod api;
pub mod balancer;
pub mod claim;
pub mod command;
pub mod customer;
pub mod error;
pub mod host;
pub mod mail;
pub mod operator;
pub mod pair;
pub mod process;
pub mod real;
mod record;
pub mod servers;
pub mod site;
pub mod tell;
pub mod tour;
pub mod typist;
pub mod window;

pub use command::{LabOptions, run};
pub use error::LabError;
pub use host::Host;
pub use process::Process;
pub use site::{Plan, Site};
