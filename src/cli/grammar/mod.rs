//! What may be typed: the table's syntax, compiled; the matcher that finds commands, help and completions in it.

pub mod argument;
pub mod matcher;
pub mod syntax;
