//! `lbd lab --servers real`: the site with its true software, from Debian packages.
//!
//! - [`site`] says what runs where and behind which virtual IP, and builds it;
//! - [`machine`] is a PC with a file tree of its own, [`program`] and [`keeper`] run a program on it so that
//!   nothing of it survives;
//! - [`exim`], [`courier`], [`apache`], [`freeradius`], [`bind`]: a file for each program;
//! - [`store`] is the mail store, and what can befall it;
//! - [`errand`] is what customers do, [`faults`] what befalls servers meanwhile, [`tour`] shows it all.

pub mod apache;
pub mod bind;
pub mod certificate;
pub mod courier;
pub mod errand;
pub mod exim;
pub mod faults;
pub mod freeradius;
pub mod keeper;
pub mod machine;
pub mod packages;
pub mod program;
pub mod site;
pub mod store;
pub mod tour;

pub use site::RealSite;
