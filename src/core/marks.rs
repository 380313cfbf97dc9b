//! Socket marks of probes that must reach one server behind a virtual IP (direct server return).
//!
//! Such a probe is addressed to the VIP, which every server of the pool has. Its mark says which one is
//! meant; the data plane gives the frame that server's MAC (`bpf/probe.h`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::forwarding::{Family, ForwardingState};
use super::moment::Moment;
use super::network::Place;
use super::target::Target;
use crate::config::{Mac, Mode, Name};

/// The upper byte of every such mark, an "L". The rest is a number from 1 to 65,535.
pub const PROBE_MARK: u32 = 0x4c00_0000;
/// What of a mark says that it is one of these. Others that mark packets must leave this byte alone, or use
/// another value in it.
pub const PROBE_MARK_MASK: u32 = 0xff00_0000;
/// A number rests so long before another server gets it: longer than any probe lasts, and than a kernel
/// keeps a closed connection of one (TIME_WAIT, 60 s).
const REST: Duration = Duration::from_secs(600);

/// A server in one address family: what a mark stands for.
pub type Marked = (Name, Family);

/// Which servers must be reached behind a virtual IP.
pub fn wanted<'a>(targets: impl IntoIterator<Item = &'a Target>) -> BTreeSet<Marked> {
    let via = targets.into_iter().filter_map(|target| target.question.via.as_ref());
    via.map(|via| (via.server.clone(), Family::of(via.address))).collect()
}

/// Numbers for servers: stable as long as a server is wanted.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    given: BTreeMap<Marked, u16>,
    /// Given until some moment. A server that comes back gets its number back.
    resting: BTreeMap<u16, (Marked, Moment)>,
    used: BTreeSet<u16>,
    /// The number given last; the search for a free one begins behind it.
    last: u16,
}

impl Marks {
    /// Follows the configuration: these have marks from now on, and no others. Those for which no number is
    /// left (65,535 are in use or rest) have none, and get one in a later call.
    pub fn set(&mut self, wanted: &BTreeSet<Marked>, now: Moment) {
        let gone: Vec<Marked> = self.given.keys().filter(|key| !wanted.contains(*key)).cloned().collect();
        for key in gone {
            if let Some(number) = self.given.remove(&key) {
                self.resting.insert(number, (key, now));
            }
        }
        let back: Vec<u16> =
            self.resting.iter().filter(|(_, (key, _))| wanted.contains(key)).map(|(number, _)| *number).collect();
        for number in back {
            if let Some((key, _)) = self.resting.remove(&number) {
                self.given.insert(key, number);
            }
        }
        let used = &mut self.used;
        self.resting.retain(|number, (_, since)| {
            let rests = now.since(*since) < REST;
            if !rests {
                used.remove(number);
            }
            rests
        });
        for key in wanted {
            if !self.given.contains_key(key) {
                let Some(number) = self.free() else { return };
                self.used.insert(number);
                self.last = number;
                self.given.insert(key.clone(), number);
            }
        }
    }

    /// The first number behind `last` that is not used; 0 is none.
    fn free(&self) -> Option<u16> {
        let behind = (self.last..=u16::MAX).skip(1).chain(1..=self.last);
        behind.into_iter().find(|number| !self.used.contains(number))
    }

    /// The mark (`SO_MARK`) of probes of a server.
    pub fn mark(&self, server: &Name, family: Family) -> Option<u32> {
        self.given.get(&(server.clone(), family)).map(|number| PROBE_MARK | u32::from(*number))
    }

    /// Where the frames with each mark go: the way that the server's customers' frames take. A server whose
    /// place is not known has no entry, and its probes are dropped.
    pub fn places(&self, state: &ForwardingState) -> BTreeMap<u32, ProbePlace> {
        let dests = state.dests.iter().filter(|(_, dest)| dest.mode == Mode::Dsr);
        dests
            .filter_map(|(key, dest)| {
                let mark = self.mark(&key.server, key.service.family)?;
                let to = dest.place.ok()?;
                let own = state.ports.get(&to.port)?.mac;
                Some((mark, ProbePlace { to, own }))
            })
            .collect()
    }
}

/// Where the frames of a probe go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbePlace {
    pub to: Place,
    /// This box's MAC on that port.
    pub own: Mac,
}

#[cfg(test)]
#[path = "marks_tests.rs"]
mod tests;
