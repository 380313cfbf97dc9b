//! The declarative model: what the operator asked for.
//!
//! `model` is plain data without a notation; `yaml` reads it from a file with
//! the place of every value, `validate` refuses what cannot work.
pub mod model;

pub use model::*;
