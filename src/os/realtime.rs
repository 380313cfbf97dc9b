//! A thread that must not stall: a real-time priority, and memory that is not swapped out.

use std::io;

use nix::sys::mman::{MlockAllFlags, mlockall};

/// Above ordinary threads, below what the kernel itself runs at 50 and more (threaded interrupts).
const PRIORITY: i32 = 40;
/// CAP_IPC_LOCK (linux/capability.h): without it locked memory is limited, and later memory would be refused.
const CAP_IPC_LOCK: u32 = 14;

/// Gives the calling thread SCHED_FIFO and locks the memory of the process, as far as it is allowed. What is not, in
/// words, each with the remedy.
pub fn prepare_thread() -> Vec<String> {
    let mut missing = Vec::new();
    if let Err(error) = take_priority() {
        missing.push(format!(
            "heartbeats have no real-time priority ({error}): under load they may stall for 0.2 s; grant CAP_SYS_NICE, or \
             say `dead: 400ms`"
        ));
    }
    if !has_capability(CAP_IPC_LOCK) {
        missing.push("memory is not locked and may be swapped out; grant CAP_IPC_LOCK".to_owned());
    } else if let Err(error) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE) {
        missing.push(format!("memory is not locked and may be swapped out: {error}"));
    }
    missing
}

/// Whether a thread of this process could be given what [`prepare_thread`] gives it; else what is missing, in words.
pub fn is_allowed() -> Result<(), String> {
    // Tried by a thread that does nothing else: limits and control groups have a say beside the capability.
    let tried = std::thread::spawn(take_priority).join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
    tried.map_err(|error| format!("CAP_SYS_NICE is not granted: {error}"))?;
    if has_capability(CAP_IPC_LOCK) { Ok(()) } else { Err("CAP_IPC_LOCK is not granted".into()) }
}

fn take_priority() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: sched_setscheduler(2) reads the parameter, which lives through the call; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn has_capability(bit: u32) -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    mask >> bit & 1 == 1
}
