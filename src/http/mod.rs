//! The HTTP listener: metrics, health, state and the few operations, for scripts and monitoring.
//!
//! A face on `core::control` without logic of its own. docs/http.md describes what it offers. It has no
//! authentication yet, so that it listens on loopback only, and takes requests only from programs that
//! know what they do and not from web pages that a browser on this machine shows (`guard`).
//!
//! ```text
//!  listen ─ at most 64 connections, each with deadlines ─> guard ─> api ─> Control
//!                                                                    ├ query    what was asked for
//!                                                                    ├ orders   about servers and members
//!                                                                    ├ body     what was ordered
//!                                                                    ├ stream   rows as they come
//!                                                                    ├ metrics  State as Prometheus reads it
//!                                                                    └ problem  why not
//! ```
mod api;
mod body;
mod guard;
mod listen;
mod metrics;
mod orders;
mod page;
mod problem;
mod query;
mod stall;
mod stream;

pub use listen::{BindError, bind, serve};

use std::time::Duration;

/// Bounds on what a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once. More wait in the kernel's queue until one ends.
    pub connections: usize,
    /// From the start of a connection, or the end of the request before, to the end of a request's
    /// head; also to the end of its body.
    pub request: Duration,
    /// Until the daemon answers a question, or delivers the next rows of an answer.
    pub answer: Duration,
    /// While a client takes nothing of an answer.
    pub stall: Duration,
    /// Life of a connection; the request that is being answered then has `farewell` left.
    pub connection: Duration,
    /// Until an answer that is under way at the end must be complete.
    pub farewell: Duration,
}

/// Most bytes of a request's head.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most header lines of a request.
pub const HEADERS_MAX: usize = 64;
/// Most bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

impl Default for Limits {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self { connections: 64, request: s(10), answer: s(30), stall: s(30), connection: s(600), farewell: s(5) }
    }
}
