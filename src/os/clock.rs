//! The clock that the core is handed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::core::moment::{Moment, UnixTime};

/// CLOCK_BOOTTIME: goes on in suspend, and is never set.
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    Moment(time)
}

/// The calendar, as this machine knows it.
pub fn calendar() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
