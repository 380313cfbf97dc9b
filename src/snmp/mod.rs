//! The balancer's objects for SNMP: a subagent of the system's `snmpd` (AgentX, RFC 2741).
//!
//! A face on `core::control` like the others. Versions, communities and users of SNMP are the agent's.
//!
//! ```text
//!   snmpd <── AgentX ── agent ── objects ── State, a second old at most
//!                         └── traps ── events
//! ```

mod agent;
mod mib;
mod objects;
mod text;
mod traps;
mod wire;

pub use agent::keep;
pub use text::module;
