//! What `show ip ssh` says of the listener of this process.

use std::sync::{LazyLock, Mutex};

use crate::access::listeners::Listening;
use crate::cli::lock;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// `SHA256:…` of the host key; `None`: there is no listener in this process.
    pub fingerprint: Option<String>,
    pub listening: Vec<Listening>,
}

static STATUS: LazyLock<Mutex<Status>> = LazyLock::new(Mutex::default);

pub fn get() -> Status {
    lock(&STATUS).clone()
}

pub(super) fn set(status: Status) {
    *lock(&STATUS) = status;
}
