//! The clock that the core is handed.

use std::ops::Add;
use std::time::Duration;

/// A point in time: the time since an arbitrary fixed start, on a clock that never goes back.
///
/// The daemon fills it from `CLOCK_BOOTTIME`, which goes on while a machine sleeps; a test counts
/// from zero. It means nothing in another boot, so it is never written to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Duration);

impl Moment {
    /// Time from `earlier` until this moment; zero when `earlier` is in fact later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Saturates at the end of time, some 584 billion years away.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// A point on the calendar: the time since 1970-01-01 00:00 UTC.
///
/// For what must outlive a boot, and for what people are told. It may jump when somebody sets the
/// clock; nothing that runs is timed by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub Duration);

impl UnixTime {
    /// As it is kept on disk.
    pub fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whole seconds, as a state tells it.
    pub fn as_secs(self) -> u64 {
        self.0.as_secs()
    }

    /// Time from `earlier` until this one; zero when `earlier` is in fact later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for UnixTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_run_backwards() {
        let early = Moment(Duration::from_secs(1));
        let late = early + Duration::from_secs(2);
        assert_eq!(late.since(early), Duration::from_secs(2));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(Moment(Duration::MAX) + Duration::from_secs(1), Moment(Duration::MAX));
    }
}
