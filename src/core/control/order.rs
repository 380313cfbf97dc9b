//! Orders about servers and members, what became of them, and why they were not carried out.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::core::admin::{AdminState, Then};

/// An order as an operator writes it: its names may name nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub server: String,
    /// `None`: the server in all its pools.
    pub pool: Option<String>,
    pub action: Action,
    /// Also if a service is left without any member that takes new connections, or a pool with fewer up than its
    /// `min-up`; and removes what still has connections, which ends them.
    pub force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Takes new connections again. Cancels a drain at any time.
    Enable,
    /// No new connections. Ordered again it takes the new deadline and the new end.
    Drain {
        /// What is left after this time is reset.
        deadline: Option<Duration>,
        then: Then,
    },
    /// Treated as failed.
    Disable,
    /// Out of the configuration file, which is then loaded. Only of what has been drained, unless by force.
    Remove,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OrderReport {
    pub server: String,
    /// None: the order is about the server in all its pools.
    pub pool: Option<String>,
    /// The state before.
    #[schemars(with = "String")]
    pub before: AdminState,
    /// The state now; of what has been removed, the last.
    #[schemars(with = "String")]
    pub state: AdminState,
    /// Connections left now, handshakes and UDP flows included.
    pub connections: u64,
    /// Connections that the order has ended.
    pub cut: u64,
    /// When what is left will be reset, Unix time.
    pub deadline_at: Option<u64>,
    #[schemars(with = "String")]
    pub then: Then,
    /// It is no longer in the configuration.
    pub removed: bool,
    /// What the operator should know of it.
    pub notes: Vec<String>,
}
