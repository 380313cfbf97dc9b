//! The HTTP listener: metrics, health, state and operations, for scripts, monitoring and the page.
//!
//! A face on `core::control` without logic of its own. docs/http.md describes what it offers. On loopback it speaks plain
//! HTTP, and takes requests only from programs that know what they do and not from web pages that a browser on this
//! machine shows (`guard`). Outside it speaks TLS, with the networks that are configured, and asks who it is.
//!
//! ```text
//!  listen ─ bounded connections, each with deadlines, TLS ─> guard ─> admit ─> a route ─> Control
//!                                                                      │        ├ query   what was asked for
//!          routes  the table: the router and the description           │        ├ orders  about servers and the pair
//!          openapi the description                                     │        ├ body    what was ordered
//!          access, credentials, sessions, login: who asks  ────────────┘        ├ stream  rows as they come
//!                                                                               ├ changes what changes, as it does
//!                                                                               ├ metrics State as Prometheus reads it
//!                                                                               └ problem why not
//! ```
mod access;
mod admit;
mod api;
mod body;
mod changes;
mod config;
pub mod credentials;
mod guard;
mod listen;
mod login;
mod looking;
mod metrics;
mod openapi;
mod orders;
mod page;
mod people;
mod problem;
mod query;
mod route;
mod routes;
mod secrets;
mod sessions;
mod stall;
mod stream;
mod tls;
mod tokens;

pub use changes::LISTENERS_MAX;
pub use listen::{Server, Status};
pub use openapi::document as description;

use std::time::Duration;

use crate::access::auth::DENIED_AFTER;
use crate::access::gate::Limits as GateLimits;

/// Bounds on what a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, by loopback and from outside each. More wait in the kernel's queue until one ends.
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
    /// How long a failed login takes.
    pub denied_after: Duration,
    /// Of connections from outside, and of wrong tokens and passwords from anywhere.
    pub gate: GateLimits,
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
        Self {
            connections: 64,
            request: s(10),
            answer: s(30),
            stall: s(30),
            connection: s(600),
            farewell: s(5),
            denied_after: DENIED_AFTER,
            gate: GateLimits { open: 64, open_of_one: 32, new_in_a_second: 50, ..GateLimits::default() },
        }
    }
}
