//! The clock that the core is handed.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::core::moment::Moment;

/// CLOCK_BOOTTIME: goes on in suspend, and is never set.
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    Moment(time)
}
