//! A serial cable for tests: two ptys, and a thread between them that passes as much as a line of 115,200 baud, and
//! spoils it as told.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::unistd::ttyname;

const BYTES_PER_SECOND: f64 = 11_520.0;

/// What happens to the bytes of either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// One bit of every so many bytes, on average, is another one.
    Flip {
        one_in: u32,
    },
    /// One of so many bytes, on average, is gone.
    Drop {
        one_in: u32,
    },
    /// Nothing is read.
    Stall,
}

pub struct Relay {
    folder: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    fault: Mutex<Fault>,
    inject: Mutex<Vec<u8>>,
    carried: AtomicU64,
    over: AtomicBool,
}

impl Relay {
    pub fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("lbd-line-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        let shared = Shared {
            fault: Mutex::new(Fault::None),
            inject: Mutex::default(),
            carried: AtomicU64::new(0),
            over: AtomicBool::new(false),
        };
        let mut relay = Self { folder, shared: Arc::new(shared), thread: None };
        relay.restart();
        relay
    }

    /// The device at one end; the same path after a restart.
    pub fn one(&self) -> PathBuf {
        self.folder.join("one")
    }

    pub fn other(&self) -> PathBuf {
        self.folder.join("other")
    }

    pub fn fault(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// Noise towards the other end.
    pub fn inject(&self, bytes: &[u8]) {
        self.shared.inject.lock().unwrap().extend_from_slice(bytes);
    }

    /// Bytes taken from one end so far.
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }

    /// Both devices are gone.
    pub fn hang_up(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        fs::remove_file(self.one()).unwrap();
        fs::remove_file(self.other()).unwrap();
    }

    /// And there again.
    pub fn restart(&mut self) {
        let ends = [self.one(), self.other()].map(|path| {
            let pty = openpty(None, None).unwrap();
            symlink(ttyname(&pty.slave).unwrap(), path).unwrap();
            fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
            File::from(pty.master)
        });
        self.shared.over.store(false, Ordering::Relaxed);
        let shared = Arc::clone(&self.shared);
        self.thread = Some(thread::spawn(move || carry(ends, &shared)));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.hang_up();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn carry([mut one, mut other]: [File; 2], shared: &Shared) {
    let (mut begin, mut given) = (Instant::now(), [0.0; 2]);
    let mut random = 1;
    while !shared.over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(1));
        let noise = std::mem::take(&mut *shared.inject.lock().unwrap());
        let _ = other.write(&noise);
        let fault = *shared.fault.lock().unwrap();
        let due = begin.elapsed().as_secs_f64() * BYTES_PER_SECOND;
        if fault == Fault::Stall {
            (begin, given) = (Instant::now(), [0.0; 2]);
            continue;
        }
        let carried = pass(&mut one, &mut other, due, &mut given[0], fault, &mut random);
        shared.carried.fetch_add(carried as u64, Ordering::Relaxed);
        pass(&mut other, &mut one, due, &mut given[1], fault, &mut random);
    }
}

/// Passes on what the line could have carried: `due` bytes since the begin, of which `given` are given. How many it took.
fn pass(from: &mut File, to: &mut File, due: f64, given: &mut f64, fault: Fault, random: &mut u64) -> usize {
    let mut buffer = [0; 1_024];
    let most = ((due - *given).max(0.0) as usize).min(buffer.len());
    if most == 0 {
        return 0;
    }
    // An error: nothing is there, or nobody has the other end open.
    let length = from.read(&mut buffer[..most]).unwrap_or(0);
    // A line that was idle does not catch up on what it could have carried.
    *given = if length < most { due } else { *given + length as f64 };
    let mut hit = |one_in: u32| {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*random >> 33) % u64::from(one_in) == 0
    };
    let passed: Vec<u8> = buffer[..length]
        .iter()
        .filter_map(|byte| match fault {
            Fault::Flip { one_in } if hit(one_in) => Some(byte ^ 0x10),
            Fault::Drop { one_in } if hit(one_in) => None,
            _ => Some(*byte),
        })
        .collect();
    // What does not fit is lost, as in a receiver that overruns.
    let _ = to.write(&passed);
    length
}
