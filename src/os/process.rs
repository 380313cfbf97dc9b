//! What the kernel says of this process, and of the machine's clock.

use std::io;
use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};

/// What this process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Of all its threads, in user and kernel mode, since it started.
    pub cpu: Duration,
    /// Physical memory, bytes. proc_pid_status(5), VmRSS.
    pub resident_bytes: u64,
    pub open_files: u64,
    /// Most files that it may have open.
    pub open_files_max: u64,
    pub threads: u64,
}

/// Reads it now; what cannot be read (no /proc) is 0.
pub fn usage() -> Usage {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    Usage {
        cpu: getrusage(UsageWho::RUSAGE_SELF).map_or(Duration::ZERO, |usage| {
            let time = |value: nix::sys::time::TimeVal| {
                let micros = u64::try_from(value.tv_usec()).unwrap_or(0);
                Duration::from_secs(u64::try_from(value.tv_sec()).unwrap_or(0)) + Duration::from_micros(micros)
            };
            time(usage.user_time()) + time(usage.system_time())
        }),
        resident_bytes: field("VmRSS:") * 1024,
        // One of them is the directory that is being read.
        open_files: std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count().saturating_sub(1) as u64),
        open_files_max: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft),
        threads: field("Threads:"),
    }
}

/// How well the kernel believes the machine's clock to be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockQuality {
    /// Something (chrony, ntpd, systemd-timesyncd) keeps it.
    pub synchronized: bool,
    /// How far it may be off at most, as far as that is known.
    pub error_max: Duration,
}

/// Asks the kernel, adjtimex(2). Needs no privilege, and changes nothing.
pub fn clock_quality() -> io::Result<ClockQuality> {
    // SAFETY: timex is plain data, for which all-zero bytes are valid; `modes` 0 only reads.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a valid timex that outlives the call.
    let state = unsafe { libc::adjtimex(&mut timex) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ClockQuality {
        synchronized: timex.status & libc::STA_UNSYNC == 0 && state != libc::TIME_ERROR,
        error_max: Duration::from_micros(u64::try_from(timex.maxerror).unwrap_or(0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something_of_everything() {
        let before = usage();
        assert!(before.resident_bytes > 1 << 20 && before.threads > 0, "{before:?}");
        assert!(before.open_files_max >= before.open_files, "{before:?}");
        let held: Vec<_> = (0..20).map(|_| std::fs::File::open("/proc/self/status").unwrap()).collect();
        // Others of this process may close files meanwhile.
        assert!(usage().open_files >= 20, "{held:?}");
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(50) {}
        assert!(usage().cpu > before.cpu);
    }

    #[test]
    fn the_kernel_tells_how_the_clock_is_kept() {
        clock_quality().unwrap();
    }
}
