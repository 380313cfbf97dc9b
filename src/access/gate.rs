//! Which connections are let in before anybody has logged in. No I/O, no clock of its own.
//!
//! Counted per source: an IPv4 address, or the /64 of an IPv6 one, of which one machine may have as many as it likes.
//! What is counted of a source says nothing of a user: whoever guesses passwords locks out himself and nobody else.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// What may be, of connections without a login.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// At once, of all sources.
    pub open: usize,
    /// At once, of one source.
    pub open_of_one: usize,
    /// New ones of a source in a second: a key exchange costs us more than it costs who asks for it (DHEat,
    /// CVE-2002-20001; ssh-audit wants less than 20).
    pub new_in_a_second: u32,
    /// So many failed logins of a source...
    pub failures: usize,
    /// ...within this time...
    pub within: Duration,
    /// ...block it for so long.
    pub block: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open: 10,
            open_of_one: 4,
            new_in_a_second: 10,
            failures: 10,
            within: Duration::from_secs(120),
            block: Duration::from_secs(300),
        }
    }
}

/// Sources that are remembered. With all of them busy a new one has to wait.
const SOURCES_MAX: usize = 4_096;
const SECOND: Duration = Duration::from_secs(1);

/// Why not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It may be let in a moment later.
    Busy,
    /// Too many logins of this source have failed.
    Blocked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
            v4 => v4,
        })
    }
}

#[derive(Debug)]
struct Record {
    open: usize,
    /// New connections since then.
    since: Instant,
    new: u32,
    failures: Vec<Instant>,
    blocked_until: Option<Instant>,
}

#[derive(Debug, Default)]
pub struct Gate {
    limits: Limits,
    open: usize,
    sources: HashMap<Source, Record>,
}

impl Gate {
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// A connection is there, and counts from now on until [`Self::settled`].
    pub fn admit(&mut self, address: IpAddr, now: Instant) -> Result<(), Refused> {
        if self.is_blocked(address, now) {
            return Err(Refused::Blocked);
        }
        if self.open >= self.limits.open {
            return Err(Refused::Busy);
        }
        let limits = self.limits;
        let record = self.record(address, now).ok_or(Refused::Busy)?;
        if now.duration_since(record.since) >= SECOND {
            (record.since, record.new) = (now, 0);
        }
        if record.open >= limits.open_of_one || record.new >= limits.new_in_a_second {
            return Err(Refused::Busy);
        }
        record.new += 1;
        record.open += 1;
        self.open += 1;
        Ok(())
    }

    /// It has logged in, or is gone.
    pub fn settled(&mut self, address: IpAddr) {
        self.open = self.open.saturating_sub(1);
        if let Some(record) = self.sources.get_mut(&address.into()) {
            record.open = record.open.saturating_sub(1);
        }
    }

    pub fn is_blocked(&self, address: IpAddr, now: Instant) -> bool {
        let record = self.sources.get(&address.into());
        record.and_then(|record| record.blocked_until).is_some_and(|until| now < until)
    }

    /// A login has failed; whether that blocks its source.
    pub fn failed(&mut self, address: IpAddr, now: Instant) -> bool {
        let limits = self.limits;
        let Some(record) = self.record(address, now) else { return false };
        record.failures.retain(|failure| now.duration_since(*failure) < limits.within);
        record.failures.push(now);
        let is_blocked = record.failures.len() >= limits.failures;
        if is_blocked {
            record.failures.clear();
            record.blocked_until = Some(now + limits.block);
        }
        is_blocked
    }

    fn record(&mut self, address: IpAddr, now: Instant) -> Option<&mut Record> {
        let source = Source::from(address);
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            let within = self.limits.within;
            self.sources.retain(|_, record| {
                record.open > 0
                    || record.blocked_until.is_some_and(|until| now < until)
                    || now.duration_since(record.since) < SECOND
                    || record.failures.iter().any(|failure| now.duration_since(*failure) < within)
            });
            if self.sources.len() >= SOURCES_MAX {
                return None;
            }
        }
        let new = Record { open: 0, since: now, new: 0, failures: Vec::new(), blocked_until: None };
        Some(self.sources.entry(source).or_insert(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a00_0000 + n).into()
    }

    #[test]
    fn one_source_leaves_room_for_others_and_all_have_an_end() {
        let now = Instant::now();
        let mut gate = Gate::default();
        for _ in 0..4 {
            assert_eq!(gate.admit(address(1), now), Ok(()));
        }
        assert_eq!(gate.admit(address(1), now), Err(Refused::Busy));
        assert_eq!(gate.admit("::ffff:10.0.0.1".parse().unwrap(), now), Err(Refused::Busy), "it is the same");
        for n in 2..8 {
            assert_eq!(gate.admit(address(n), now), Ok(()));
        }
        assert_eq!(gate.admit(address(9), now), Err(Refused::Busy), "10 in all");
        gate.settled(address(1));
        assert_eq!(gate.admit(address(9), now), Ok(()));
    }

    #[test]
    fn a_source_that_comes_too_often_waits_for_the_next_second() {
        let now = Instant::now();
        let mut gate = Gate::default();
        let mut come = |at: Instant| {
            let admitted = gate.admit(address(1), at);
            if admitted.is_ok() {
                gate.settled(address(1));
            }
            admitted
        };
        assert!((0..10).all(|_| come(now).is_ok()));
        assert_eq!(come(now), Err(Refused::Busy));
        assert_eq!(come(now + SECOND), Ok(()));
    }

    #[test]
    fn ten_failures_block_the_source_for_five_minutes_and_nobody_else() {
        let now = Instant::now();
        let mut gate = Gate::default();
        let host = |n: u64| IpAddr::from(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n)));
        assert!((0..9).all(|n| !gate.failed(host(n), now)));
        assert!(gate.failed(host(99), now), "they are of one network");
        assert_eq!(gate.admit(host(1), now), Err(Refused::Blocked));
        assert_eq!(gate.admit(address(1), now), Ok(()));
        let later = now + Duration::from_secs(300);
        assert_eq!(gate.admit(host(1), later), Ok(()));
        assert!(!gate.failed(host(1), later), "it begins anew");
        // Few at a time never add up.
        assert!((0..100).all(|n| !gate.failed(address(2), now + Duration::from_secs(n * 15))));
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let now = Instant::now();
        let mut gate = Gate::default();
        for n in 0..2 * SOURCES_MAX as u32 {
            gate.failed(address(n), now);
        }
        assert_eq!(gate.sources.len(), SOURCES_MAX);
        assert_eq!(gate.admit(address(0), now), Ok(()), "who is known");
        let later = now + Duration::from_secs(200);
        assert_eq!(gate.admit(address(u32::from(u16::MAX)), later), Ok(()), "old ones have made room");
        assert!(gate.sources.len() < 10);
    }
}
