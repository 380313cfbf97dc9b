//! The serial line between two boxes: a pty for each, and between them as much as 115,200 baud carry.
//!
//! A thread passes the bytes. What comes faster than the line carries waits in the pty, as in a UART's buffer; what the other
//! end does not read is lost, as when a UART overruns.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::ttyname;

use crate::core::random::Random;
use crate::lab::error::LabError;

/// Of 115,200 baud, ten bits a byte.
pub const BYTES_PER_SECOND: u64 = 11_520;
/// The relay looks this often.
const TURN: Duration = Duration::from_millis(1);
/// How long a byte takes.
const BYTE_NS: u64 = 1_000_000_000 / BYTES_PER_SECOND;
/// When the relay was held up, it catches up on no more than this.
const CREDIT_MAX_NS: u64 = 20_000_000;

/// What happens to the bytes of either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    None,
    /// A bit of one byte in so many, on average, is another one.
    Flip(u32),
    /// One byte in so many, on average, is gone.
    Drop(u32),
    /// Nothing is passed.
    Stall,
}

/// A line that is laid; its thread ends when it goes.
#[derive(Debug)]
pub struct Line {
    devices: [PathBuf; 2],
    noise: Arc<Mutex<Noise>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    /// With its two devices as links in this directory.
    pub fn lay(dir: &Path) -> Result<Self, LabError> {
        let devices = [dir.join("serial1"), dir.join("serial2")];
        let failed = |error: io::Error| LabError::file("make the serial line", dir)(error);
        let first = end(&devices[0]).map_err(failed)?;
        let second = end(&devices[1]).map_err(failed)?;
        let (noise, stop) = (Arc::new(Mutex::new(Noise::None)), Arc::new(AtomicBool::new(false)));
        let (heard, ended) = (noise.clone(), stop.clone());
        let thread = std::thread::spawn(move || relay([first, second], &heard, &ended));
        Ok(Self { devices, noise, stop, thread: Some(thread) })
    }

    /// The device at box 0 or 1.
    pub fn device(&self, end: usize) -> PathBuf {
        self.devices[end.min(1)].clone()
    }

    pub fn set_noise(&self, noise: Noise) {
        *self.noise.lock().unwrap_or_else(PoisonError::into_inner) = noise;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A relay that has panicked has ended, too.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct End {
    master: File,
    /// Held open: a master whose last slave has closed reads as hung up, and the daemon may come and go.
    _slave: OwnedFd,
    /// What it has sent may be passed, in nanoseconds of bytes.
    credit: u64,
}

fn end(device: &Path) -> io::Result<End> {
    let pty = openpty(None, None)?;
    // Before anybody opens it: a terminal would send an echo of what it is sent.
    let mut modes = tcgetattr(&pty.slave)?;
    cfmakeraw(&mut modes);
    tcsetattr(&pty.slave, SetArg::TCSANOW, &modes)?;
    fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    symlink(ttyname(&pty.slave)?, device)?;
    Ok(End { master: File::from(pty.master), _slave: pty.slave, credit: 0 })
}

fn relay(mut ends: [End; 2], noise: &Mutex<Noise>, stop: &AtomicBool) {
    let mut random = Random::new(1);
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(TURN);
        let elapsed = u64::try_from(last.elapsed().as_nanos()).unwrap_or(u64::MAX);
        last = Instant::now();
        let noise = *noise.lock().unwrap_or_else(PoisonError::into_inner);
        if noise != Noise::Stall {
            let [first, second] = &mut ends;
            pass(first, second, elapsed, noise, &mut random);
            pass(second, first, elapsed, noise, &mut random);
        }
    }
}

/// Passes on what came in and may go out after another `elapsed` nanoseconds.
fn pass(from: &mut End, to: &mut End, elapsed: u64, noise: Noise, random: &mut Random) {
    from.credit = from.credit.saturating_add(elapsed).min(CREDIT_MAX_NS);
    let length = usize::try_from(from.credit / BYTE_NS).unwrap_or(0);
    let mut buffer = [0; 512];
    let Some(room) = buffer.get_mut(..length.min(512)) else { return };
    let Ok(read) = from.master.read(room) else {
        // Nothing waits. An idle line does not catch up on what it could have carried.
        from.credit = from.credit.min(BYTE_NS);
        return;
    };
    from.credit = from.credit.saturating_sub(read as u64 * BYTE_NS);
    let bytes = room.get(..read).unwrap_or_default();
    let passed: Vec<u8> = bytes.iter().filter_map(|byte| spoilt(*byte, noise, random)).collect();
    // What does not fit is lost.
    let _ = to.master.write(&passed);
}

fn spoilt(byte: u8, noise: Noise, random: &mut Random) -> Option<u8> {
    match noise {
        Noise::Flip(one_in) if random.below(one_in as usize) == 0 => Some(byte ^ (1 << random.below(8))),
        Noise::Drop(one_in) if random.below(one_in as usize) == 0 => None,
        _ => Some(byte),
    }
}
