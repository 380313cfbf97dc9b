//! What servers have done of late, for a glance.

use schemars::JsonSchema;
use serde::Serialize;

/// Points in time, oldest first, and each server at each of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct HistoryState {
    /// Between two points.
    pub step_seconds: u64,
    /// When each point was noted, Unix time.
    pub at: Vec<u64>,
    pub servers: Vec<ServerHistory>,
}

/// A server; as many values as there are points, null where it was not configured yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ServerHistory {
    pub name: String,
    /// Established, over all its services.
    pub connections: Vec<Option<u32>>,
    /// Part of its memberships that a failed probe kept out, 0 to 1.
    pub down: Vec<Option<f64>>,
}
