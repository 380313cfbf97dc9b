//! Tells of packets as they pass: a variant of the program takes the place of the one that serves, on all ports, for
//! as long as somebody listens. While nobody does, this costs nothing.
//!
//! A daemon that dies meanwhile leaves the variant behind: it serves alike, tells nothing once its time is over, and
//! the next daemon puts its own program in its place as it does anyhow.

use std::mem::size_of;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::DataPlaneError;
use super::flows::monotonic_ns;
use super::layout::*;
use super::reasons::{self, Reason};
use super::variant::{SharedMaps, Tapping};
use crate::config::{Prefix, Protocol};
use crate::core::network::IfIndex;

/// Which packets, and what of them. What is `None` does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapFilter {
    /// Of the source or the destination.
    pub host: Option<Prefix>,
    /// Numbers of a service, in both families; empty: any.
    pub services: Vec<u32>,
    /// Of the source or the destination.
    pub port: Option<u16>,
    pub protocol: Option<Protocol>,
    /// All of a frame, up to `TAP_BYTES`; else up to the end of its headers.
    pub whole: bool,
    /// Frames are told of, one by one.
    pub frames: bool,
    /// Packets and bytes are counted by client.
    pub talkers: bool,
    /// The program stops to tell by itself after this time.
    pub time: Duration,
}

/// A packet that has passed.
#[derive(Clone, Debug)]
pub struct Passed<'a> {
    pub at: SystemTime,
    pub ingress: IfIndex,
    /// What the program returned, XDP_*.
    pub verdict: u32,
    /// `None`: of a reason that this version does not know.
    pub reason: Option<&'static Reason>,
    /// Number of the destination, if a server was found.
    pub dest: Option<u32>,
    /// Of the frame as it came in, in bytes.
    pub length: u32,
    /// Its beginning.
    pub bytes: &'a [u8],
}

/// A client of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Talker {
    pub client: IpAddr,
    /// Number of the service.
    pub service: u32,
    pub packets: u64,
    /// Of whole frames.
    pub bytes: u64,
}

/// The variant, loaded; `DataPlane::tap` puts it on the ports.
pub struct Tap {
    tapping: Tapping,
    /// What the clock of the calendar is ahead of the program's.
    epoch: SystemTime,
}

/// Records taken at a time, so that whoever reads can stop.
const BATCH: usize = 1024;

impl Tap {
    pub fn load(shared: &SharedMaps) -> Result<Self, DataPlaneError> {
        let now = Duration::from_nanos(monotonic_ns());
        Ok(Self { tapping: Tapping::load(shared)?, epoch: SystemTime::now() - now })
    }

    pub(super) fn program(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.tapping.xdp)
    }

    /// From now on these, for the time that the filter says.
    pub fn watch(&self, filter: &TapFilter) -> Result<(), DataPlaneError> {
        let (host, host_mask) = filter.host.map(masked).unwrap_or_default();
        let what = if filter.frames { TAP_FRAMES } else { 0 } | if filter.talkers { TAP_TALKERS } else { 0 };
        let wanted = tap_filter {
            until: monotonic_ns().saturating_add(nanos(filter.time)),
            host,
            host_mask,
            // One alone stands in both places: what is of no service is of none that was asked for.
            services: [0, 1].map(|place| {
                let number = filter.services.get(place).or(filter.services.first());
                number.copied().unwrap_or(DEST_NONE)
            }),
            what,
            port: filter.port.unwrap_or(0).to_be(),
            protocol: filter.protocol.map_or(0, |protocol| protocol_number(protocol) as u8),
            whole: filter.whole.into(),
        };
        self.tapping.filter.put(&0, &wanted)
    }

    /// Hands over what has been told, at most 1,024 packets; how many there were.
    pub fn take(&mut self, mut each: impl FnMut(Passed<'_>)) -> usize {
        let epoch = self.epoch;
        self.tapping.events.consume_bytes(BATCH, |record| {
            let Some(head) = tap_head::from_bytes(record) else { return };
            let bytes = record.get(size_of::<tap_head>()..).unwrap_or_default();
            each(Passed {
                at: epoch + Duration::from_nanos(head.at),
                ingress: head.ingress,
                verdict: head.verdict,
                reason: reasons::REASONS.iter().find(|entry| entry.0.0 == head.fate.reason),
                dest: (head.fate.dest != DEST_NONE).then_some(head.fate.dest),
                length: head.length,
                bytes: bytes.get(..head.captured as usize).unwrap_or(bytes),
            });
        })
    }

    /// Packets that there was no room for.
    pub fn lost(&self) -> Result<u64, DataPlaneError> {
        Ok(self.tapping.lost.get_per_cpu(&0)?.iter().sum())
    }

    /// All clients that were counted, at most `MAX_TALKERS`, in no order.
    pub fn talkers(&self) -> Result<Vec<Talker>, DataPlaneError> {
        let all = self.tapping.talkers.entries_per_cpu()?.into_iter().map(|(key, cpus)| Talker {
            client: ip_of(&key.client),
            service: key.service,
            packets: cpus.iter().map(|cpu| cpu.packets).sum(),
            bytes: cpus.iter().map(|cpu| cpu.bytes).sum(),
        });
        Ok(all.collect())
    }
}

/// A network and its mask, in the form of the tables: IPv4 as ::ffff:a.b.c.d.
fn masked(prefix: Prefix) -> (addr, addr) {
    let bits = u32::from(prefix.length) + if prefix.address.is_ipv4() { 96 } else { 0 };
    let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
    let six = match prefix.address {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    };
    let of = |bits: u128| addr_of(IpAddr::V6(bits.into()));
    (of(u128::from(six) & mask), of(mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_masked_as_the_tables_hold_addresses() {
        let prefix = |text: &str, length| Prefix { address: text.parse().unwrap(), length };
        let bytes = |a: addr| a.bytes().to_vec();
        let (network, mask) = masked(prefix("198.51.100.77", 24));
        assert_eq!(bytes(network)[8..], [0, 0, 0xff, 0xff, 198, 51, 100, 0]);
        assert_eq!(bytes(mask)[8..], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
        let (network, mask) = masked(prefix("2001:db8::7", 128));
        assert_eq!((bytes(network)[15], bytes(mask)), (7, vec![0xff; 16]));
        let (network, mask) = masked(prefix("::", 0));
        assert_eq!((bytes(network), bytes(mask)), (vec![0; 16], vec![0; 16]));
    }
}
