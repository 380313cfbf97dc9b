//! A serial cable for tests: two ptys, and between them as much as a line of 115,200 baud carries, spoilt as told.
//!
//! It runs on the test's own clock, so that a busy machine changes nothing: only the kernel's work between the two
//! sides of a pty is waited for.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant as Wall};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::unistd::ttyname;

use super::serial::{Bytes, SerialPath};
use crate::pair::time::{Instant, Span};

pub const BYTES_PER_SECOND: u64 = 11_520;
/// How long the kernel may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What happens to the bytes of either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// One bit of every so many bytes, on average, is another one.
    Flip {
        one_in: u64,
    },
    /// One of so many bytes, on average, is gone.
    Drop {
        one_in: u64,
    },
    /// Nothing is read.
    Stall,
}

pub struct Relay {
    folder: PathBuf,
    pub fault: Fault,
    /// Bytes taken from either end since the start.
    pub carried: [u64; 2],
    cable: Option<Cable>,
    random: u64,
}

struct Cable {
    masters: [File; 2],
    /// Per end: taken from it, given to it, in bytes.
    taken: [u64; 2],
    given: [u64; 2],
    /// What the line can carry now, in nanoseconds of bytes.
    credit: [u64; 2],
    time: Instant,
}

impl Relay {
    pub fn new(now: Instant) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("lbd-line-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        let mut relay = Self { folder, fault: Fault::None, carried: [0; 2], cable: None, random: 1 };
        relay.plug(now);
        relay
    }

    /// The device at an end, 0 or 1; the same path each time.
    pub fn device(&self, end: usize) -> PathBuf {
        self.folder.join(["one", "other"][end])
    }

    /// Both devices are gone.
    pub fn hang_up(&mut self) {
        self.cable = None;
        for end in 0..2 {
            fs::remove_file(self.device(end)).unwrap();
        }
    }

    /// And there again.
    pub fn plug(&mut self, now: Instant) {
        let masters = [0, 1].map(|end| {
            let pty = openpty(None, None).unwrap();
            symlink(ttyname(&pty.slave).unwrap(), self.device(end)).unwrap();
            fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
            File::from(pty.master)
        });
        self.cable = Some(Cable { masters, taken: [0; 2], given: [0; 2], credit: [0; 2], time: now });
    }

    /// Noise towards the second end.
    pub fn inject(&mut self, bytes: &[u8]) {
        let cable = self.cable.as_mut().unwrap();
        cable.masters[1].write_all(bytes).unwrap();
        cable.given[1] += bytes.len() as u64;
    }

    /// Passes on what the line carries until `now`. The ends have written so much.
    pub fn pass(&mut self, now: Instant, ends: [Bytes; 2]) {
        let Some(cable) = &mut self.cable else { return };
        let elapsed = now.since(cable.time);
        cable.time = now;
        for (from, to) in [(0, 1), (1, 0)] {
            if self.fault == Fault::Stall {
                continue;
            }
            let byte = 1_000_000_000 / BYTES_PER_SECOND;
            cable.credit[from] += elapsed.0;
            let most = usize::try_from(cable.credit[from] / byte).unwrap().min(2_000);
            let waiting = usize::try_from(ends[from].written.saturating_sub(cable.taken[from])).unwrap();
            let length = most.min(waiting);
            // A line that was idle does not catch up on what it could have carried.
            cable.credit[from] = if length < most { 0 } else { cable.credit[from] - length as u64 * byte };
            let mut bytes = vec![0; length];
            patiently(|| readable(&cable.masters[from]) >= length);
            cable.masters[from].read_exact(&mut bytes).unwrap();
            cable.taken[from] += length as u64;
            self.carried[from] += length as u64;
            let passed = spoilt(&bytes, self.fault, &mut self.random);
            cable.masters[to].write_all(&passed).unwrap();
            cable.given[to] += passed.len() as u64;
        }
    }

    /// Bytes given to an end since it was plugged.
    pub fn given(&self, end: usize) -> u64 {
        self.cable.as_ref().map_or(0, |cable| cable.given[end])
    }

    /// Waits until the kernel has brought to an end what was given to it; `drain` reads it.
    pub fn settle(&self, end: usize, path: &mut SerialPath, mut drain: impl FnMut(&mut SerialPath)) {
        let Some(cable) = &self.cable else { return drain(path) };
        patiently(|| {
            drain(path);
            path.fd().is_none() || path.bytes().read >= cable.given[end]
        });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A step of the test's clock.
pub const STEP: Span = Span::from_millis(1);

fn patiently(mut done: impl FnMut() -> bool) {
    let begin = Wall::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "the kernel does not bring it");
        thread::sleep(Duration::from_micros(20));
    }
}

mod ioctl {
    nix::ioctl_read_bad!(inq, libc::FIONREAD, libc::c_int);
}

fn readable(file: &File) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, to a local that outlives the call; the descriptor is open.
    unsafe { ioctl::inq(file.as_raw_fd(), &raw mut bytes) }.unwrap();
    usize::try_from(bytes).unwrap()
}

fn spoilt(bytes: &[u8], fault: Fault, random: &mut u64) -> Vec<u8> {
    let mut hit = |one_in: u64| {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*random >> 33).is_multiple_of(one_in)
    };
    let spoilt = |byte: &u8| match fault {
        Fault::Flip { one_in } if hit(one_in) => Some(byte ^ 0x10),
        Fault::Drop { one_in } if hit(one_in) => None,
        _ => Some(*byte),
    };
    bytes.iter().filter_map(spoilt).collect()
}
