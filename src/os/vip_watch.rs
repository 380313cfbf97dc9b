//! Asks the servers' segments who has each virtual IP, and hears who answers that must not.
//!
//! The asking itself teaches nobody anything wrong:
//! - IPv4: an ARP probe (RFC 5227, section 2.1.1) with the sender 0.0.0.0, from which no table learns. The answer
//!   comes to us alone. A Linux server whose arp_ignore is 0 answers it for an address on its loopback.
//! - IPv6: a solicitation from an own address, and never from the unspecified one as in duplicate address detection:
//!   that is answered to *all nodes* with the override flag (RFC 4861, section 7.2.4), and the wrong answer would
//!   take the address away from its owner in every neighbour cache.
//!
//! Listening goes on between the rounds, for requests in a virtual IP's name. What is read at once is bounded; the
//! rest is lost in the kernel's buffer.

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::OsError;
use super::arp::{FrameSender, arp_probe, link_address, solicitation};
use crate::config::Mac;
use crate::core::network::IfIndex;
use crate::core::vip_claims::{Claims, How, VipClaim};

/// From the beginning of a round of questions to that of the next.
const ROUND: Duration = Duration::from_secs(30);
/// From a change of what is asked to the first question.
const SOON: Duration = Duration::from_secs(1);
/// Questions of a round are spread over half of it, not closer than the first nor farther than the second.
const GAP_MIN: Duration = Duration::from_millis(5);
const GAP_MAX: Duration = Duration::from_millis(100);
/// The sockets are read this often, and so many frames of each at most: 2,560 a second.
const READ_EVERY: Duration = Duration::from_millis(100);
const READ_MAX: usize = 256;
/// The kernel's buffer of a socket, bytes: some 300 such frames.
const BUFFER: usize = 256 << 10;
/// All that is looked at lies in the first 128 bytes; longer frames are cut.
const FRAME: usize = 128;

/// Where to ask, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The interface that has addresses there: the bridge, a VLAN interface, or a port by itself.
    pub link: IfIndex,
    /// That interface's own MAC, to which the answers come.
    pub mac: Mac,
    /// An own address on it. Without one nothing is asked by IPv6.
    pub source6: Option<Ipv6Addr>,
    pub vips: BTreeSet<IpAddr>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub segments: Vec<Segment>,
    /// Who may answer: this box's MACs and the peer's. The segments' own are added.
    pub excluded: BTreeSet<Mac>,
}

/// Asks and listens on a task of its own until dropped.
#[derive(Debug)]
pub struct VipWatch {
    wanted: watch::Sender<Wanted>,
    claims: watch::Receiver<BTreeSet<VipClaim>>,
}

impl VipWatch {
    /// In the network namespace of the thread that polls its task, on the current tokio runtime. Needs CAP_NET_RAW.
    pub fn start() -> Result<Self, OsError> {
        let sender = FrameSender::open()?;
        let (wanted, wanted_in) = watch::channel(Wanted::default());
        let (claims_out, claims) = watch::channel(BTreeSet::new());
        tokio::spawn(run(sender, wanted_in, claims_out));
        Ok(Self { wanted, claims })
    }

    /// What is asked from now on; a change begins a new round within a second.
    pub fn set(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|now| {
            let changed = *now != wanted;
            if changed {
                *now = wanted;
            }
            changed
        });
    }

    /// Who speaks for a virtual IP and must not.
    pub fn claims(&self) -> watch::Receiver<BTreeSet<VipClaim>> {
        self.claims.clone()
    }
}

async fn run(sender: FrameSender, mut wanted: watch::Receiver<Wanted>, out: watch::Sender<BTreeSet<VipClaim>>) {
    let mut claims = Claims::default();
    let mut now = Wanted::default();
    let mut ears = Vec::new();
    let mut round = Round::default();
    let mut read_at = Instant::now();
    loop {
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                now = wanted.borrow_and_update().clone();
                claims.retain(|claim| is_bad(&now, claim));
                round = Round::after(Instant::now() + SOON, &now);
                ears = listen(&now);
            }
            () = sleep_until(round.next) => match round.questions.pop() {
                Some((segment, vip)) => {
                    ask(&sender, &now, segment, vip);
                    round.next += round.gap;
                }
                None => {
                    claims.end_round();
                    round = Round::after((round.begun + ROUND).max(Instant::now() + SOON), &now);
                    // Anew, in case an interface has gone and come back.
                    ears = listen(&now);
                }
            },
            () = sleep_until(read_at), if !ears.is_empty() => {
                for claim in ears.iter().flat_map(Ear::hear).filter(|claim| is_bad(&now, claim)) {
                    claims.hear(claim);
                }
                read_at = Instant::now() + READ_EVERY;
            }
        }
        out.send_if_modified(|known| {
            let all = claims.all();
            let changed = *known != all;
            *known = all;
            changed
        });
    }
}

/// It is for an address that is asked for, and not by one who may.
fn is_bad(wanted: &Wanted, claim: &VipClaim) -> bool {
    let own = || wanted.segments.iter().any(|segment| segment.mac == claim.mac);
    wanted.segments.iter().any(|segment| segment.vips.contains(&claim.vip))
        && !wanted.excluded.contains(&claim.mac)
        && !own()
}

/// The questions that are left of a round. When there are none, the next wake-up ends it.
#[derive(Debug)]
struct Round {
    begun: Instant,
    next: Instant,
    gap: Duration,
    /// Index of the segment, and the address.
    questions: Vec<(usize, IpAddr)>,
}

impl Default for Round {
    fn default() -> Self {
        Self::after(Instant::now() + ROUND, &Wanted::default())
    }
}

impl Round {
    fn after(begun: Instant, wanted: &Wanted) -> Self {
        let each = |(index, segment): (usize, &Segment)| segment.vips.iter().map(move |vip| (index, *vip)).collect();
        let questions: Vec<_> = wanted.segments.iter().enumerate().flat_map(|s| -> Vec<_> { each(s) }).collect();
        let count = u32::try_from(questions.len()).unwrap_or(u32::MAX).max(1);
        let gap = (ROUND / 2 / count).clamp(GAP_MIN, GAP_MAX);
        Self { begun, next: begun, gap, questions }
    }
}

fn ask(sender: &FrameSender, wanted: &Wanted, segment: usize, vip: IpAddr) {
    let Some(segment) = wanted.segments.get(segment) else { return };
    let frame = match (vip, segment.source6) {
        (IpAddr::V4(vip), _) => arp_probe(segment.mac, vip),
        (IpAddr::V6(vip), Some(source)) => solicitation(segment.mac, source, vip),
        (IpAddr::V6(_), None) => return,
    };
    if let Err(error) = sender.send(segment.link, &frame) {
        tracing::debug!(%vip, %error, "could not ask who has a virtual address");
    }
}

fn listen(wanted: &Wanted) -> Vec<Ear> {
    let links = wanted.segments.iter().map(|segment| segment.link).collect::<BTreeSet<_>>();
    let both = links.into_iter().flat_map(|link| [Ear::open(link, libc::ETH_P_ARP), Ear::open(link, libc::ETH_P_IPV6)]);
    let opened = both.inspect(|ear| {
        if let Err(error) = ear {
            tracing::debug!(%error, "cannot hear who answers for virtual addresses");
        }
    });
    opened.flatten().collect()
}

/// Hears ARP, or neighbour advertisements, that come in by an interface.
#[derive(Debug)]
struct Ear {
    socket: Socket,
}

impl Ear {
    fn open(link: IfIndex, protocol: i32) -> Result<Self, OsError> {
        let failed = |source| OsError::from_io(format!("listening on interface {link}"), "NET_RAW", source);
        // Protocol 0 hears nothing until it is bound, when the filter is in place (packet(7)).
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        socket.set_recv_buffer_size(BUFFER).map_err(failed)?;
        if protocol == libc::ETH_P_IPV6 {
            socket.attach_filter(&ADVERTISEMENTS).map_err(failed)?;
        }
        let protocol = u16::try_from(protocol).unwrap_or_default();
        socket.bind(&link_address(link, protocol).map_err(failed)?).map_err(failed)?;
        Ok(Self { socket })
    }

    fn hear(&self) -> Vec<VipClaim> {
        let mut claims = Vec::new();
        for _ in 0..READ_MAX {
            let mut buffer = [MaybeUninit::uninit(); FRAME];
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let read = buffer.get(..length.min(FRAME)).unwrap_or_default();
                    // SAFETY: the kernel has written that many bytes, no more than there is room for.
                    let bytes: Vec<u8> = read.iter().map(|byte| unsafe { byte.assume_init() }).collect();
                    claims.extend(claim_of(&bytes));
                }
                // Empty; or the interface has gone, and the next round opens anew.
                Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
                Err(_) => {}
            }
        }
        claims
    }
}

/// Neighbour advertisements: next header 58 at byte 20 of the frame, type 136 at byte 54 (RFC 8200, RFC 4861).
/// In the language of bpf(4): load a byte, go on if it is equal, take all or nothing.
static ADVERTISEMENTS: [SockFilter; 6] = [
    SockFilter::new((libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16, 0, 0, 20),
    SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, 3, 58),
    SockFilter::new((libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16, 0, 0, 54),
    SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, 1, 136),
    SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, FRAME as u32),
    SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0),
];

/// Who says in a frame to have which address: as whoever hears it would believe, not by the frame's own source.
fn claim_of(frame: &[u8]) -> Option<VipClaim> {
    match bytes::<2>(frame, 12)? {
        [0x08, 0x06] => {
            // Ethernet, IPv4, and the lengths of their addresses (RFC 826).
            if bytes::<6>(frame, 14)? != [0, 1, 8, 0, 6, 4] {
                return None;
            }
            let how = match bytes::<2>(frame, 20)? {
                [0, 1] => How::Asks,
                [0, 2] => How::Answers,
                _ => return None,
            };
            let vip = Ipv4Addr::from(bytes::<4>(frame, 28)?).into();
            Some(VipClaim { vip, mac: Mac(bytes(frame, 22)?), how })
        }
        [0x86, 0xdd] => {
            let (next, hops) = (bytes::<1>(frame, 20)?, bytes::<1>(frame, 21)?);
            // A hop limit below 255 has passed a router (RFC 4861, section 7.1.2).
            if (next, hops, bytes::<2>(frame, 54)?) != ([58], [255], [136, 0]) {
                return None;
            }
            let vip = Ipv6Addr::from(bytes::<16>(frame, 62)?).into();
            let mac = target_mac(frame.get(78..)?).or_else(|| bytes(frame, 6))?;
            Some(VipClaim { vip, mac: Mac(mac), how: How::Answers })
        }
        _ => None,
    }
}

/// The target link-layer address among the options of an advertisement (RFC 4861, section 4.6.1).
fn target_mac(mut options: &[u8]) -> Option<[u8; 6]> {
    loop {
        let [kind, units] = bytes::<2>(options, 0)?;
        match (kind, units) {
            (_, 0) => return None,
            (2, _) => return bytes(options, 2),
            _ => options = options.get(usize::from(units) * 8..)?,
        }
    }
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
#[path = "vip_watch_tests.rs"]
mod tests;
