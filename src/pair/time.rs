//! Time in the pair: instants of one's own clock, spans, and stamps of somebody's clock.
//!
//! Three types, so that the peer's clock is never taken for one's own.

use std::fmt;
use std::ops::{Add, Mul, Sub};

/// An instant of this box's `CLOCK_BOOTTIME`, in nanoseconds since the machine started.
///
/// The data plane judges leases by the same clock. It goes on while the machine is suspended, and nobody sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

/// A length of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

/// When a heartbeat was sent, in nanoseconds of its *sender's* `CLOCK_BOOTTIME`.
///
/// To be compared with other stamps of the same boot of the same box, and with nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

impl Instant {
    /// Later than anything that happens.
    pub const NEVER: Self = Self(u64::MAX);

    /// Time from `earlier` until this instant; zero when `earlier` is in fact later.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// This instant as a stamp on what is sent now.
    pub const fn stamp(self) -> Stamp {
        Stamp(self.0)
    }
}

impl Stamp {
    /// A stamp of one's *own* that came back as an echo, as an instant of one's own clock.
    pub const fn own(self) -> Instant {
        Instant(self.0)
    }
}

impl Span {
    pub const ZERO: Self = Self(0);

    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1_000_000_000))
    }

    pub const fn from_micros(us: u64) -> Self {
        Self(us.saturating_mul(1_000))
    }

    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add<Span> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::NEVER`].
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Instant {
    type Output = Self;

    /// Saturates at the start of the machine.
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Add for Span {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Mul<u64> for Span {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl fmt::Display for Span {
    /// Milliseconds, or seconds from ten of them on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_millis() {
            ms @ 0..10_000 => write!(f, "{ms} ms"),
            ms => write!(f, "{} s", ms / 1_000),
        }
    }
}
