//! The daemon itself, its clock, and what its probes have come to.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::core::control::state::{ClockState, DaemonState, ProbeTally, TimeClass};
use crate::core::tally::{CLASSES, Tally};
use crate::daemon::promptness::Promptness;
use crate::os::process;

pub fn daemon_state(promptness: &Promptness) -> DaemonState {
    let usage = process::usage();
    DaemonState {
        cpu_seconds: usage.cpu.as_secs_f64(),
        resident_bytes: usage.resident_bytes,
        open_files: usage.open_files,
        open_files_max: usage.open_files_max,
        threads: usage.threads,
        lag_seconds: promptness.lag().as_secs_f64(),
        turn_seconds: promptness.turn().as_secs_f64(),
    }
}

pub fn clock_state() -> ClockState {
    let quality = process::clock_quality().ok();
    ClockState {
        unix_seconds: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64()),
        synchronized: quality.map(|quality| quality.synchronized),
        error_max_seconds: quality.map(|quality| quality.error_max.as_secs_f64()),
    }
}

pub fn probe_tally(protocol: &'static str, tally: &Tally) -> ProbeTally {
    let ends = CLASSES.iter().map(|end| Some(end.as_secs_f64())).chain([None]);
    let mut count = 0;
    let took = ends.zip(tally.classes).map(|(up_to_seconds, more)| {
        count += more;
        TimeClass { up_to_seconds, count }
    });
    ProbeTally {
        protocol,
        successes: tally.successes,
        failures_by_kind: tally.failures.iter().map(|(kind, count)| (kind.word(), *count)).collect(),
        took: took.collect(),
        took_seconds: tally.took.as_secs_f64(),
    }
}
