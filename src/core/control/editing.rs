//! The configuration, changed at once by whoever types it; and what keeps two editors apart.
//!
//! What is in force has a revision. A change names the one that it was made of: when somebody else's has come into
//! force meanwhile it is refused, and made anew of what is true now. Whoever fears to lock himself out holds the
//! configuration for a time: nobody else changes it, and unless he confirms it becomes what it was.

use std::time::Duration;

use super::OperationError;
use crate::config::{Refused, Running};

/// Who changes the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Editor {
    /// Number of the session; no two since the daemon started have the same.
    pub session: u64,
    /// For people: `admin from 192.0.2.7`.
    pub name: String,
}

/// What is in force, for whoever wants to change it.
#[derive(Clone, Debug)]
pub struct InForce {
    pub running: Running,
    pub revision: u64,
    /// It says what the file does not.
    pub unsaved: bool,
    /// It becomes what it was, unless this is confirmed.
    pub hold: Option<Hold>,
    /// Why what both boxes of a pair have is not changed here.
    pub elsewhere: Option<String>,
}

/// Somebody holds the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub by: Editor,
    /// Until it becomes what it was.
    pub left: Duration,
}

/// Another configuration.
#[derive(Clone, Debug)]
pub struct Change {
    pub running: Running,
    /// What it was made of.
    pub revision: u64,
    pub by: Editor,
}

/// What is done with the configuration as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigOrder {
    /// It becomes what it is now after this time, unless it is confirmed.
    Hold(Duration),
    /// What is in force shall stay.
    Confirm,
    /// It becomes what it was, now.
    Revert,
    /// The file shall say what is in force.
    Save,
    /// The file shall be in force.
    Load,
}

/// A configuration that was saved once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Counts what was saved.
    pub number: u64,
    /// When another one was saved in its place, Unix time.
    pub until: u64,
}

/// Which of the configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// What the file says.
    Startup,
    /// One that the file said once.
    Archived(u64),
}

/// Why the configuration was not changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration was changed by somebody else meanwhile, and is revision {0} now")]
    Changed(u64),
    #[error("{} holds the configuration for another {} s, and has not confirmed it", .0.by.name, .0.left.as_secs().max(1))]
    Held(Hold),
    #[error("no confirmation is waited for")]
    NotHeld,
    #[error("confirm it first (`configure confirm`), or it would be saved and taken back")]
    NotConfirmed,
    #[error("there is no configuration {0} in the archive")]
    NotArchived(u64),
    #[error("{}", told(.0))]
    Refused(Refused),
    #[error(transparent)]
    Operation(#[from] OperationError),
}

impl From<Refused> for ConfigError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Errors that are told of one line; more help nobody.
const TOLD_MAX: usize = 3;

/// What is wrong, for whoever typed it: without the places in a text that he has not seen.
pub fn told(refused: &Refused) -> String {
    let lines: Vec<String> = refused
        .diagnostics
        .iter()
        .take(TOLD_MAX)
        .map(|one| match &one.help {
            Some(help) => format!("{}; {help}", one.message),
            None => one.message.clone(),
        })
        .collect();
    lines.join("\n")
}
