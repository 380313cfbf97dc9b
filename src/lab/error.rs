//! What can go wrong while the lab is built or visited, with what to do about it.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("the lab needs root for its network namespaces: run it with sudo")]
    NotRoot,
    #[error("cannot run {program}: {source} (install the Debian packages iproute2 and ethtool)")]
    NoProgram { program: String, source: io::Error },
    #[error("{program} failed in {place} at {line:?}: {stderr}")]
    Program { program: String, place: String, line: String, stderr: String },
    #[error("cannot {what} {}: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot enter the network of {host}: {source}")]
    Enter { host: String, source: io::Error },
    #[error("there is no host {0:?} in this site")]
    NoHost(String),
    #[error("{0:?} does not name an interface: write host:interface, both without spaces")]
    BadEnd(String),
    #[error("a task inside {0} ended without an answer")]
    NoAnswer(String),
    #[error("{what} did not start: {why}")]
    NotStarted { what: String, why: String },
}

impl LabError {
    /// For `map_err` on file operations.
    pub fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}
