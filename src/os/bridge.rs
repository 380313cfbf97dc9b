//! The bridge of this box, as the configuration wants it: made, kept, its ports opened and blocked.
//!
//! ```text
//!   Wanted (configuration) ─┐
//!   Seen (kernel) ──────────┼─> difference ── Requests, in a safe order ──> kernel ──> Seen: until nothing is left
//!   Record (what lbd did) ──┘        └─ Problems, in words
//! ```
//!
//! `difference` is pure. What lbd has not set up it leaves alone: other ports of the bridge, other addresses, and all
//! else of the bridge. docs/switch.md has the whole story.

mod difference;
mod kernel;
mod port_states;

pub use difference::{Difference, Problem, Record, Request, Wanted, difference};
pub use difference::{Seen, SeenAddress, SeenLink, SeenPort};
pub use kernel::{Bridge, Outcome};
pub use port_states::PortStates;

pub(super) use port_states::PortView;
