//! Machines on the balancers' own segment that know nobody: each asks by ARP or neighbour discovery, and connects to the
//! MAC that it was told.
//!
//! ```text
//!   who has the VIP? ──told──> SYN ──SYN-ACK──> served
//!      │ again after 1 s          │ again after 1, 2 s … to the MAC that was told last
//! ```
//!
//! As a host does, a newcomer repeats what is not answered, and follows an announcement of an address that it knows or has
//! asked for. One that is not served in [`PATIENCE`] fell into a black hole. Beside them one asks for each VIP every
//! 5 ms and never learns: two answers to one question are two owners.
//!
//! They are one thread with a raw socket: a kernel's own table of neighbours would know the owner after the first.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use pnet::packet::ethernet::EtherType;
use pnet::util::MacAddr;
use socket2::{SockFilter, Socket};

use super::frames::{self, Heard};
use super::{MACS, NEWCOMER};
use crate::lab::error::LabError;
use crate::lab::mail;
use crate::lab::site::Site;

/// Between two newcomers, at VIPs in turn.
const COME_EVERY: Duration = Duration::from_millis(10);
/// Between two questions of the one that never learns.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// Linux repeats such a question (`retrans_time_ms`), and the first SYN (RFC 6298), after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const SYN_AGAIN: Duration = Duration::from_secs(1);
/// Who is not served by then is in a black hole: three questions, or SYNs after 0, 1 and 3 s.
const PATIENCE: Duration = Duration::from_secs(5);
/// The echo's port.
const PORT: u16 = 7;
/// Of the newcomers, 192.0.2.200 and on, and 2001:db8::200; of the one that asks, 192.0.2.130 and on, and 2001:db8::130:
/// nobody else has them.
const NEWCOMERS: (u8, u8) = (200, 50);
const ASKERS: (u8, u8) = (130, 70);
const FRAME: usize = 128;

/// A newcomer's fate.
#[derive(Clone, Debug)]
pub struct Newcomer {
    pub came: Instant,
    pub vip: IpAddr,
    /// The MAC that it was told last.
    pub told: Option<MacAddr>,
    pub served: Option<Instant>,
    /// Its SYN was answered by a reset: it comes again all the same.
    pub refused: bool,
    address: (IpAddr, u16),
    next: Instant,
    syns: u32,
}

/// A question for a VIP, and who has answered when.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    pub vip: IpAddr,
    asker: IpAddr,
    pub answers: Vec<(Instant, MacAddr)>,
}

/// What they all have seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub newcomers: Vec<Newcomer>,
    pub asked: Vec<Asked>,
}

impl Seen {
    /// Questions that two have answered, with when and by whom.
    pub fn two_owners(&self) -> Vec<&Asked> {
        let two = |asked: &&Asked| asked.answers.iter().any(|one| Some(one.1) != asked.answers.first().map(|a| a.1));
        self.asked.iter().filter(two).collect()
    }

    /// How often one answered again that had been followed by another one.
    pub fn returns(&self) -> usize {
        let mut past: BTreeMap<IpAddr, Vec<MacAddr>> = BTreeMap::new();
        let mut returns = 0;
        for asked in &self.asked {
            let owners = past.entry(asked.vip).or_default();
            for (_, mac) in &asked.answers {
                if owners.last() != Some(mac) {
                    returns += usize::from(owners.contains(mac));
                    owners.push(*mac);
                }
            }
        }
        returns
    }

    /// The longest time without an answer to a question, for any VIP.
    pub fn unanswered(&self) -> Duration {
        let mut since: BTreeMap<IpAddr, Instant> = BTreeMap::new();
        let mut longest = Duration::ZERO;
        for asked in &self.asked {
            let first = *since.entry(asked.vip).or_insert(asked.at);
            longest = longest.max(asked.at.saturating_duration_since(first));
            if !asked.answers.is_empty() {
                since.insert(asked.vip, asked.at);
            }
        }
        longest
    }

    /// Those that were not served within their patience.
    pub fn black_holes(&self) -> Vec<&Newcomer> {
        self.newcomers.iter().filter(|one| one.served.is_none()).collect()
    }
}

/// Which box has this MAC.
pub fn box_of(mac: MacAddr) -> Option<usize> {
    MACS.iter().position(|text| text.parse() == Ok(mac))
}

/// All of them, without I/O: frames and time in, frames out.
#[derive(Debug)]
struct Newcomers {
    own: MacAddr,
    vips: Vec<IpAddr>,
    seen: Seen,
    /// Newcomers below this place are settled.
    settled: usize,
    come_next: Instant,
    ask_next: Instant,
    /// None come any more, nor is asked.
    closed: bool,
}

/// Of the family of `vip`.
fn one_of((first, count): (u8, u8), number: usize, vip: IpAddr) -> IpAddr {
    let last = first.saturating_add((number % usize::from(count.max(1))) as u8);
    if vip.is_ipv4() {
        return Ipv4Addr::new(192, 0, 2, last).into();
    }
    mail::vip6(last).into()
}

impl Newcomers {
    fn new(own: MacAddr, vips: Vec<IpAddr>, now: Instant) -> Self {
        let seen = Seen::default();
        Self { own, vips, seen, settled: 0, come_next: now, ask_next: now, closed: false }
    }

    fn vip(&self, number: usize) -> Option<IpAddr> {
        self.vips.get(number.checked_rem(self.vips.len())?).copied()
    }

    /// All that came are served or have lost their patience.
    fn done(&self, now: Instant) -> bool {
        let waits = |one: &Newcomer| one.served.is_none() && now.saturating_duration_since(one.came) < PATIENCE;
        self.closed && !self.seen.newcomers.iter().skip(self.settled).any(waits)
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        while !self.closed && self.come_next <= now {
            self.come_next += COME_EVERY;
            let number = self.seen.newcomers.len();
            let Some(vip) = self.vip(number) else { break };
            let address = (one_of(NEWCOMERS, number, vip), 20_000 + (number % 40_000) as u16);
            let one =
                Newcomer { came: now, vip, told: None, served: None, refused: false, address, next: now, syns: 0 };
            self.seen.newcomers.push(one);
        }
        while !self.closed && self.ask_next <= now {
            // One that was held up does not catch up: many questions at once would tell no more.
            self.ask_next = now + ASK_EVERY;
            let round = self.seen.asked.len() / self.vips.len().max(1);
            for vip in self.vips.clone() {
                let asker = one_of(ASKERS, round, vip);
                self.seen.asked.push(Asked { at: now, vip, asker, answers: Vec::new() });
                out.push(frames::who_has((asker, self.own), vip));
            }
        }
        let own = self.own;
        for one in self.seen.newcomers.iter_mut().skip(self.settled) {
            let waits = one.served.is_none() && now.saturating_duration_since(one.came) < PATIENCE;
            if waits && one.next <= now {
                out.push(one.act(own, now));
            }
        }
        let over = |one: &Newcomer| now.saturating_duration_since(one.came) >= PATIENCE;
        self.settled += self.seen.newcomers.iter().skip(self.settled).take_while(|one| over(one)).count();
    }

    fn hear(&mut self, frame: &[u8], now: Instant, out: &mut Vec<Vec<u8>>) {
        let own = self.own;
        match frames::read(frame) {
            Some(Heard::Asked { by, target }) if by.1 != own && is_of_one(target) => {
                out.push(frames::is_at((target, own), by));
            }
            Some(Heard::Told { address, mac, to }) if mac != own => {
                let asks = self.seen.asked.iter_mut().rev().take(usize::from(ASKERS.1) * self.vips.len());
                for asked in asks.filter(|asked| asked.vip == address && asked.asker == to) {
                    asked.answers.push((now, mac));
                }
                for one in self.seen.newcomers.iter_mut().skip(self.settled) {
                    let heeds = one.address.0 == to || to == address;
                    if one.vip == address && heeds && one.served.is_none() && one.told != Some(mac) {
                        let first = one.told.replace(mac).is_none();
                        // What waited for the first answer goes at once; a SYN that is repeated goes when it is due.
                        if first {
                            out.push(one.act(own, now));
                        }
                    }
                }
            }
            Some(Heard::Accepted { from, to, acknowledged, .. }) => {
                for one in self.seen.newcomers.iter_mut().skip(self.settled) {
                    if one.address == to && one.vip == from.0 && one.served.is_none() {
                        one.served = Some(now);
                        // The server need not wait for what will never come.
                        out.extend(one.told.map(|mac| frames::reset((own, mac), to, from, acknowledged)));
                    }
                }
            }
            Some(Heard::Reset { from, to }) => {
                let refused = |one: &&mut Newcomer| one.address == to && one.vip == from.0 && one.served.is_none();
                self.seen.newcomers.iter_mut().skip(self.settled).filter(refused).for_each(|one| one.refused = true);
            }
            _ => {}
        }
    }
}

/// Whether a newcomer has this address, or the one that asks.
pub fn is_of_one(address: IpAddr) -> bool {
    let all = |range: (u8, u8)| (0..usize::from(range.1)).map(move |number| one_of(range, number, address));
    all(NEWCOMERS).chain(all(ASKERS)).any(|one| one == address)
}

impl Newcomer {
    /// Asks, or sends its SYN, and notes when it will again.
    fn act(&mut self, own: MacAddr, now: Instant) -> Vec<u8> {
        match self.told {
            None => {
                self.next = now + ASK_AGAIN;
                frames::who_has((self.address.0, own), self.vip)
            }
            Some(mac) => {
                self.next = now + SYN_AGAIN * 2_u32.saturating_pow(self.syns.min(6));
                self.syns += 1;
                frames::syn((own, mac), self.address, (self.vip, PORT))
            }
        }
    }
}

/// The thread; it ends by [`Watch::end`] when the last newcomer is served or has lost its patience.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<io::Result<Seen>, LabError>>,
}

impl Watch {
    /// Newcomers to the echo at these VIPs.
    pub fn start(site: &Site, vips: Vec<IpAddr>) -> Result<Self, LabError> {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let thread = site.host(NEWCOMER)?.spawn(move || watch(vips, &ended));
        Ok(Self { stop, thread })
    }

    pub fn end(self) -> anyhow::Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.join().map_err(|_| LabError::NoAnswer(NEWCOMER.into()))?;
        Ok(seen??)
    }
}

fn watch(vips: Vec<IpAddr>, stop: &AtomicBool) -> io::Result<Seen> {
    let port = nix::net::if_::if_nametoindex("eth0")?;
    let own = own_mac()?;
    let all = [SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, FRAME as u32)];
    let socket = crate::os::arp::hear(port, EtherType(libc::ETH_P_ALL as u16), &all)?;
    let mut newcomers = Newcomers::new(own, vips, Instant::now());
    let mut out = Vec::new();
    loop {
        let now = Instant::now();
        newcomers.closed = stop.load(Ordering::Relaxed);
        if newcomers.done(now) {
            return Ok(newcomers.seen);
        }
        newcomers.tick(now, &mut out);
        send(&socket, &mut out);
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        // Whatever it says: the socket is looked at.
        let _ = ppoll(&mut fds, Some(Duration::from_millis(1).into()), None);
        let mut buffer = [MaybeUninit::uninit(); FRAME];
        while let Ok(length) = socket.recv(&mut buffer) {
            let read = buffer.get(..length.min(FRAME)).unwrap_or_default();
            // SAFETY: the kernel has written that many bytes, no more than there is room for.
            let frame: Vec<u8> = read.iter().map(|byte| unsafe { byte.assume_init() }).collect();
            newcomers.hear(&frame, Instant::now(), &mut out);
            send(&socket, &mut out);
        }
    }
}

/// By the addresses of the thread's network: /sys is that of the process.
fn own_mac() -> io::Result<MacAddr> {
    let of = |address: nix::ifaddrs::InterfaceAddress| {
        let mac = address.address?.as_link_addr()?.addr()?;
        (address.interface_name == "eth0").then_some(MacAddr::from(mac))
    };
    nix::ifaddrs::getifaddrs()?.find_map(of).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn send(socket: &Socket, out: &mut Vec<Vec<u8>>) {
    for frame in out.drain(..) {
        // What a full queue does not take is lost, as on any wire, and repeated.
        let _ = socket.send(&frame);
    }
}

#[cfg(test)]
#[path = "newcomers_tests.rs"]
mod tests;
