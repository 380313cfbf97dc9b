//! The configuration that both boxes have, carried from the one to the other: which side's is newer, and how it comes
//! over whole. Without I/O and clock.
//!
//! ```text
//!   Held (this box's) ──status──> peer        is mine among the forebears of his? → he is ahead, I fetch his
//!                     <──want────             a number of the document, and which pieces of it
//!                     ──pieces───>            whole and right by its hash → `take_arrived`, for the daemon to check
//! ```
//!
//! Every box keeps the revisions that its own has come from. Of two different revisions the newer is the one that has
//! come from the other, however often either was changed; where neither has, both were changed apart from each
//! other, and nobody but an operator can tell which is meant. docs/pair.md tells the whole.

mod document;
mod held;
mod machine;
mod revision;
pub mod wire;

pub use document::{DOCUMENT_BYTES_MAX, Document, Malformed};
pub use held::Held;
pub use machine::{Arrived, Copier, PeerView, Report, Standing};
pub use revision::{Hash, Lineage, Revision};

#[cfg(test)]
mod held_tests;
#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod wire_tests;
