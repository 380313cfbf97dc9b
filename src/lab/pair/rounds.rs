//! Whether frames go round: numbered broadcasts are sent, and no machine may hear one twice, nor their sender one of
//! his own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::NEWCOMER;
use crate::lab::error::LabError;
use crate::lab::site::Site;
use crate::os::asking::Asking;

/// For experiments (IEEE 802, the second local experimental EtherType; the first is that of the boxes' questions).
const ETHERTYPE: u16 = 0x88b6;
const EVERY: Duration = Duration::from_millis(1);
/// A socket holds some hundreds of frames.
const LISTEN_EVERY: Duration = Duration::from_millis(20);
/// The shortest frame, without its checksum.
const FRAME: usize = 60;
/// Destination, source, EtherType.
const HEADER: usize = 14;

/// What was sent, and how often each was heard.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    pub sent: u32,
    /// By machine: how often it heard each number.
    pub heard: BTreeMap<String, BTreeMap<u32, u32>>,
}

impl Rounds {
    /// The most often that a machine heard one frame; the sender hears each when it goes out.
    pub fn most(&self) -> u32 {
        self.heard.values().filter_map(|heard| heard.values().max()).max().copied().unwrap_or(0)
    }
}

type Listener = std::thread::JoinHandle<Result<anyhow::Result<BTreeMap<u32, u32>>, LabError>>;

/// One that sends, and listeners at some machines and at the sender's own port.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    sender: std::thread::JoinHandle<Result<anyhow::Result<()>, LabError>>,
    listeners: Vec<(String, Listener)>,
}

impl Watch {
    pub fn start(site: &Site, machines: &[&str]) -> Result<Self, LabError> {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let mut listeners = Vec::new();
        for machine in machines.iter().chain([&NEWCOMER]) {
            let ended = stop.clone();
            listeners.push(((*machine).to_owned(), site.host(machine)?.spawn(move || listen(&ended))));
        }
        let (ended, count) = (stop.clone(), sent.clone());
        let sender = site.host(NEWCOMER)?.spawn(move || send(&ended, &count));
        Ok(Self { stop, sent, sender, listeners })
    }

    pub fn end(self) -> anyhow::Result<Rounds> {
        self.stop.store(true, Ordering::Relaxed);
        let gone = |_| LabError::NoAnswer("a listener for frames that go round".into());
        self.sender.join().map_err(gone)???;
        let mut rounds = Rounds { sent: self.sent.load(Ordering::Relaxed), ..Rounds::default() };
        for (machine, listener) in self.listeners {
            rounds.heard.insert(machine, listener.join().map_err(gone)???);
        }
        Ok(rounds)
    }
}

fn send(stop: &AtomicBool, sent: &AtomicU32) -> anyhow::Result<()> {
    let port = nix::net::if_::if_nametoindex("eth0")?;
    let sender = Asking::open(port, ETHERTYPE)?;
    let mut frame = [0; FRAME];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0x88, 0xb5]);
    frame[12..HEADER].copy_from_slice(&ETHERTYPE.to_be_bytes());
    while !stop.load(Ordering::Relaxed) {
        let number = sent.fetch_add(1, Ordering::Relaxed);
        frame[HEADER..HEADER + 4].copy_from_slice(&number.to_be_bytes());
        sender.ask(&frame)?;
        std::thread::sleep(EVERY);
    }
    Ok(())
}

fn listen(stop: &AtomicBool) -> anyhow::Result<BTreeMap<u32, u32>> {
    let port = nix::net::if_::if_nametoindex("eth0")?;
    let socket = Asking::open(port, ETHERTYPE)?;
    let mut heard = BTreeMap::new();
    loop {
        // Looked at before what is there is read: what is under way when the sending ends is not missed.
        let last = stop.load(Ordering::Relaxed);
        std::thread::sleep(LISTEN_EVERY);
        while let Some(frame) = socket.next()? {
            if let Some(number) = frame.get(HEADER..).and_then(|rest| rest.first_chunk()) {
                *heard.entry(u32::from_be_bytes(*number)).or_insert(0) += 1;
            }
        }
        if last {
            return Ok(heard);
        }
    }
}
