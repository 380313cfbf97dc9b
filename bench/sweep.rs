//! What the sweep over a million established connections costs, in processor time.
//!
//! `cargo bench --bench sweep`, as root.

#[path = "common.rs"]
mod common;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use common::{Case, Programs, established, quartiles};
use lbd::config::{Mac, Mode, Timeouts};
use lbd::core::forwarding::Family;
use lbd::daemon::{STEP_PAUSE, WALK_PAUSE};
use lbd::dataplane::DataPlane;
use nix::time::{ClockId, clock_gettime};

const FLOWS: u32 = 1_048_576;
const WALKS: usize = 7;
const PORT: u32 = 1;
const SERVER_MAC: Mac = Mac([2, 0, 0, 0, 0, 11]);

/// One walk over the table.
struct Walk {
    steps: u32,
    /// Processor time of this thread, program runs in the kernel included.
    busy: Duration,
    /// The longest step, wall clock: so long the daemon may wait for the data plane.
    longest: Duration,
}

impl Walk {
    /// Of one processor, at the daemon's pace.
    fn share(&self) -> f64 {
        let pauses = STEP_PAUSE * self.steps + WALK_PAUSE;
        self.busy.as_secs_f64() / (self.busy + pauses).as_secs_f64()
    }
}

fn main() -> Result<()> {
    println!("{}\n", common::machine()?);
    println!(
        "| walk over 1 M connections | processor time, ms | per step of 2,048, µs | longest step, ms | takes, s | share of a processor | removed per s of it |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    let mut programs = Programs::load()?;
    for mode in [Mode::Dsr, Mode::Nat] {
        let case = Case { mode, family: Family::V4 };
        let mut plane = DataPlane::load(&common::limits(FLOWS), None)?;
        plane.apply_tables(&common::site(PORT, PORT, SERVER_MAC, &Timeouts::default())?)?;
        plane.own_alone();
        programs.aim_at(&plane)?;
        programs.establish(&plane, case, PORT, FLOWS)?;

        let walks = (0..WALKS).map(|_| walk(&mut plane)).collect::<Result<Vec<_>>>()?;
        ensure!(established(&plane, case)? == u64::from(FLOWS), "a connection that has not expired was removed");
        print(&format!("{}, none expired", case.name()), &walks, None);

        let at_once = Duration::from_nanos(1);
        let over = Timeouts { unproven: at_once, established: at_once, ..Timeouts::default() };
        plane.apply_tables(&common::site(PORT, PORT, SERVER_MAC, &over)?)?;
        let last = walk(&mut plane)?;
        let removed = u64::from(FLOWS) - established(&plane, case)?;
        ensure!(removed == u64::from(FLOWS), "of {FLOWS} expired connections {removed} were removed");
        print(&format!("{}, all expired", case.name()), &[last], Some(removed));
    }
    Ok(())
}

fn walk(plane: &mut DataPlane) -> Result<Walk> {
    let begin = busy()?;
    let (mut steps, mut longest) = (0, Duration::ZERO);
    loop {
        let start = Instant::now();
        let done = plane.sweep_step()?;
        longest = longest.max(start.elapsed());
        if done {
            return Ok(Walk { steps, busy: busy()? - begin, longest });
        }
        steps += 1;
    }
}

fn busy() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn print(what: &str, walks: &[Walk], removed: Option<u64>) {
    let median = |of: fn(&Walk) -> f64| quartiles(walks.iter().map(of).collect())[1];
    let busy = median(|w| w.busy.as_secs_f64());
    let step = median(|w| w.busy.as_secs_f64() / f64::from(w.steps));
    let longest = median(|w| w.longest.as_secs_f64());
    let takes = median(|w| (w.busy + STEP_PAUSE * w.steps).as_secs_f64());
    let share = median(Walk::share);
    let rate = removed.map_or(String::new(), |n| format!("{:.2} M", n as f64 / busy / 1e6));
    println!(
        "| {what} | {:.0} | {:.0} | {:.1} | {takes:.1} | {:.1} % | {rate} |",
        busy * 1e3,
        step * 1e6,
        longest * 1e3,
        share * 100.0
    );
}
