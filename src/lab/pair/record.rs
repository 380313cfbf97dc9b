//! What many trials have shown, and whether it is as promised.

use std::collections::BTreeMap;
use std::time::Duration;

use super::BOXES;
use super::trial::{Fault, Sighting};

/// A fault, and whether the pair had its fast timers.
pub type Case = (Fault, bool);

#[derive(Clone, Debug, Default)]
pub struct Record {
    rows: BTreeMap<Case, Vec<Sighting>>,
}

/// `fast power-off`.
pub fn name((fault, fast): Case) -> String {
    if fast { format!("{fault}, fast") } else { fault.to_string() }
}

/// Of the connections lost in a trial, so many are told one by one.
const LOST_SHOWN: usize = 20;

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Segments that may be sent again in a trial beyond those of one in which nothing happens: one lost millisecond would
/// be four, because the open connections alone send so many.
const AGAIN_SLACK: f64 = 2.0;

/// Segments sent again, on average.
fn again(rows: &[Sighting]) -> f64 {
    rows.iter().map(|one| one.sent_again).sum::<u64>() as f64 / rows.len().max(1) as f64
}

/// The time that `percent` of 100 do not exceed (nearest rank); none of nothing.
pub fn percentile(times: &mut [Duration], percent: usize) -> Option<Duration> {
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100).max(1);
    times.get(rank - 1).copied()
}

/// Median, 99th percentile and worst, in milliseconds.
fn spread(times: impl Iterator<Item = Duration>) -> String {
    let mut times: Vec<Duration> = times.collect();
    let [median, p99, worst] =
        [50, 99, 100].map(|percent| percentile(&mut times, percent).map_or("-".into(), |t| format!("{:.0}", ms(t))));
    format!("{median:>6} {p99:>6} {worst:>6}")
}

/// One line on a trial.
pub fn line(sighting: &Sighting) -> String {
    let Sighting { lost, gone, open, came, failed, newcomers, black_holes, refused, .. } = sighting;
    let reset = gone.iter().filter_map(|gone| gone.reset_after).max().unwrap_or_default();
    let mut text = format!(
        "silent {:.0} ms ({}; open ones {:.0} ms; before it {:.0} ms), no answer to ARP or ND for {:.0} ms; of {open} open {} lost, {} went with their \
         servers",
        ms(sighting.silence_new),
        sighting.silent_kind,
        ms(sighting.silence_open),
        ms(sighting.silence_before),
        ms(sighting.unanswered),
        lost.len(),
        gone.len(),
    );
    if !gone.is_empty() {
        text += &format!(" (told within {:.0} ms)", ms(reset));
    }
    text += &format!(
        "; of {came} new {failed} failed; of {newcomers} newcomers {black_holes} in a black hole, {refused} refused; two \
         owners {} + {}, late frames {}; sent again {}",
        sighting.two_owners, sighting.returns, sighting.late_frames, sighting.sent_again
    );
    if sighting.unordered > 0 {
        text += &format!("; the owner changed by itself, {} before the fault", BOXES[sighting.owner.min(1)]);
    }
    if sighting.unheld > 0 {
        text += &format!("; {} were not in the owner's table", sighting.unheld);
    }
    if !lost.is_empty() {
        let some: Vec<_> = lost.iter().take(LOST_SHOWN).collect();
        text += &format!("; lost: {some:?}");
    }
    if !sighting.failures.is_empty() {
        text += &format!("; failed (who, came hundredths of a second after, why): {:?}", sighting.failures);
    }
    let untold: Vec<_> = gone.iter().filter(|gone| gone.reset_after.is_none()).take(LOST_SHOWN).collect();
    if !untold.is_empty() {
        text += &format!("; not told: {untold:?}");
    }
    let unserved: Vec<_> = gone.iter().filter(|gone| gone.back_after.is_none()).take(LOST_SHOWN).collect();
    if !unserved.is_empty() {
        text += &format!("; not served by the other half: {unserved:?}");
    }
    text
}

impl Record {
    pub fn add(&mut self, case: Case, sighting: Sighting) {
        self.rows.entry(case).or_default().push(sighting);
    }

    /// Silence and losses, a line for each fault; then what became of those whose servers were gone.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:16} {:>6} | {:^20} {:>8} | {:^21} | {:>10} {:>6} | {:>6} {:>9} {:>7} {:>10} {:>6} | {:>6}\n",
            "fault",
            "trials",
            "silence, ms",
            "promised",
            "no ARP, ND answer, ms",
            "open",
            "lost",
            "failed",
            "newcomers",
            "refused",
            "black hole",
            "two",
            "again"
        );
        let three = format!("{:>6} {:>6} {:>6}", "median", "p99", "worst");
        text += &format!("{:23} | {three} {:8} | {three} |\n", "", "");
        for (case, rows) in &self.rows {
            let sum = |count: fn(&Sighting) -> usize| rows.iter().map(count).sum::<usize>();
            text += &format!(
                "{:16} {:>6} | {} {:>8.0} | {} | {:>10} {:>6} | {:>6} {:>9} {:>7} {:>10} {:>6} | {:>6}\n",
                name(*case),
                rows.len(),
                spread(rows.iter().map(Sighting::silence)),
                ms(case.0.promised(case.1)),
                spread(rows.iter().map(|one| one.unanswered)),
                sum(|one| one.open - one.gone.len()),
                sum(|one| one.lost.len()),
                sum(|one| one.failed),
                sum(|one| one.newcomers),
                sum(|one| one.refused),
                sum(|one| one.black_holes),
                sum(|one| one.two_owners + one.returns + one.late_frames),
                rows.iter().map(|one| one.sent_again).sum::<u64>(),
            );
        }
        for (case, rows) in &self.rows {
            let gone: Vec<_> = rows.iter().flat_map(|one| &one.gone).collect();
            if gone.is_empty() {
                continue;
            }
            text += &format!(
                "{}: {} connections whose server hung on the dead box: reset after {} ms (median, p99, worst), {} not; served by \
                 the other half after {} ms, {} not\n",
                name(*case),
                gone.len(),
                spread(gone.iter().filter_map(|one| one.reset_after)),
                gone.iter().filter(|one| one.reset_after.is_none()).count(),
                spread(gone.iter().filter_map(|one| one.back_after)),
                gone.iter().filter(|one| one.back_after.is_none()).count(),
            );
        }
        text
    }

    /// The promises that were not kept, in words.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (case, rows) in &self.rows {
            let mut silences: Vec<Duration> = rows.iter().map(Sighting::silence).collect();
            let p99 = percentile(&mut silences, 99).unwrap_or(Duration::MAX);
            let promised = case.0.promised(case.1);
            let mut hold = |kept: bool, words: String| {
                if !kept {
                    broken.push(format!("{}: {words}", name(*case)));
                }
            };
            hold(p99 <= promised, format!("silent for {:.0} ms (p99), promised {:.0} ms", ms(p99), ms(promised)));
            let none = |rows: &[Sighting], count: fn(&Sighting) -> usize| rows.iter().map(count).sum::<usize>();
            for (count, what) in [
                (none(rows, |one| one.lost.len()), "connections were lost that had a path"),
                (none(rows, |one| one.black_holes), "newcomers fell into a black hole"),
                (none(rows, |one| one.two_owners), "ARP questions were answered by two"),
                (none(rows, |one| one.returns), "times an owner came back that had been followed by the other one"),
                (none(rows, |one| one.unheld), "open connections were not in the owner's table"),
                (none(rows, |one| one.unordered), "times the owner changed by itself"),
                (none(rows, |one| one.late_frames), "frames came to servers from a box that owned no longer"),
                (
                    none(rows, |one| one.gone.iter().filter(|gone| gone.back_after.is_none()).count()),
                    "clients of dead servers were not served by the other half",
                ),
                (
                    none(rows, |one| one.gone.iter().filter(|gone| gone.reset_after.is_none()).count()),
                    "connections of dead servers were not reset",
                ),
            ] {
                hold(count == 0, format!("{count} {what}"));
            }
            if case.0 == Fault::HandOver {
                let (again, nothing) =
                    (again(rows), self.rows.get(&(Fault::Nothing, case.1)).map_or(0.0, |rows| again(rows)));
                hold(
                    again <= nothing + AGAIN_SLACK,
                    format!("{again:.1} segments were sent again in a trial, and {nothing:.1} where nothing happened"),
                );
                let failed = none(rows, |one| one.failed);
                hold(failed == 0, format!("{failed} customers were not served"));
            }
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(milliseconds: u64) -> Sighting {
        Sighting { silence_new: Duration::from_millis(milliseconds), ..Sighting::default() }
    }

    #[test]
    fn one_of_a_hundred_may_be_longer_and_two_may_not() {
        let mut record = Record::default();
        for _ in 0..99 {
            record.add((Fault::Kill, false), of(20));
        }
        record.add((Fault::Kill, false), of(500));
        assert_eq!(record.broken(), Vec::<String>::new());
        record.add((Fault::Kill, false), of(500));
        assert_eq!(record.broken(), ["kill: silent for 500 ms (p99), promised 100 ms"]);
    }

    #[test]
    fn the_fast_timers_promise_more() {
        let mut record = Record::default();
        record.add((Fault::PowerOff, false), of(200));
        assert_eq!(record.broken().len(), 0);
        record.add((Fault::PowerOff, true), of(200));
        assert_eq!(record.broken(), ["power-off, fast: silent for 200 ms (p99), promised 150 ms"]);
    }

    #[test]
    fn whatever_must_not_be_is_told() {
        let mut record = Record::default();
        let two = Sighting { two_owners: 1, black_holes: 2, late_frames: 3, returns: 4, sent_again: 5, ..of(1) };
        record.add((Fault::HandOver, false), two);
        assert_eq!(record.broken().len(), 5, "{:?}", record.broken());
    }
}
