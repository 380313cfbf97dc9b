//! russh 0.65.1 as it was published, with one match arm more; build.rs says which, and why.

// Upstream's code is held to upstream's rules.
#![allow(warnings, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/russh/lib_inner.rs"));
