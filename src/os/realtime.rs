//! A thread that must not stall: a real-time priority, and memory that is not swapped out.

use nix::sys::mman::{MlockAllFlags, mlockall};

/// Above ordinary threads, below what the kernel itself runs at 50 and more (threaded interrupts).
const PRIORITY: i32 = 40;
/// CAP_IPC_LOCK (linux/capability.h): without it locked memory is limited, and later memory would be refused.
const CAP_IPC_LOCK: u32 = 14;

/// Gives the calling thread SCHED_FIFO and locks the memory of the process, as far as it is allowed. What is not, in
/// words, each with the remedy.
pub fn prepare_thread() -> Vec<String> {
    let mut missing = Vec::new();
    let parameter = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: sched_setscheduler(2) reads the parameter, which lives through the call; 0 is the calling thread.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &parameter) } != 0 {
        missing.push(format!(
            "heartbeats have no real-time priority ({}): under load they may stall for 0.2 s; grant CAP_SYS_NICE, or \
             say `dead: 400ms`",
            std::io::Error::last_os_error()
        ));
    }
    if !has_capability(CAP_IPC_LOCK) {
        missing.push("memory is not locked and may be swapped out; grant CAP_IPC_LOCK".to_owned());
    } else if let Err(error) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE) {
        missing.push(format!("memory is not locked and may be swapped out: {error}"));
    }
    missing
}

fn has_capability(bit: u32) -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    mask >> bit & 1 == 1
}
