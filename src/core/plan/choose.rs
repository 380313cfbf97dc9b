//! Who of those who could be scheduled is.
//!
//! Members that are up, as long as there are `min_up` of them (at least one). With fewer, the pool does
//! what it is told:
//!
//! - `backup`: its backups join in;
//! - `hold`: the members that were up last go on although their probes fail, as many as are missing;
//! - `refuse`: nobody is scheduled.
//!
//! If nobody is left (and that is not wanted), the backups stand in, and after them those that answer but
//! are held down because they flap.

use super::{Share, Standing};
use crate::config::{BelowMin, Name, Pool, Scheduler};
use crate::core::forwarding::Weight;
use crate::core::moment::Moment;
use crate::core::scheduler::LEAST_CONNECTIONS_MAX;

/// A member that could be scheduled.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    pub name: &'a Name,
    pub weight: Weight,
    pub share: Share,
    pub rank: Rank,
}

/// How good a candidate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rank {
    Up,
    /// Up, and a backup.
    Backup,
    /// Answers, and is held down.
    Flapping,
    /// Was up when what it was reached by failed, and has not answered since.
    Suspect,
    /// Down, and no backup: until when it was up, and the words of its failure.
    WasUp(Moment, Option<String>),
}

/// Each candidate with its standing, in the order of the names.
pub fn choose<'a>(pool: &Pool, mut candidates: Vec<Candidate<'a>>) -> Vec<(Candidate<'a>, Standing)> {
    candidates.sort_by_key(|candidate| candidate.name);
    let up = candidates.iter().filter(|candidate| candidate.rank == Rank::Up).count();
    let enough = usize::from(pool.min_up.max(1));
    let refuses = up < enough && pool.min_up > 0 && pool.below_min == BelowMin::Refuse;
    let held = if up < enough && pool.below_min == BelowMin::Hold { latest(&candidates, enough - up) } else { vec![] };
    let backups = (up + held.len() == 0 || up < enough && pool.below_min == BelowMin::Backup)
        && candidates.iter().any(|candidate| candidate.rank == Rank::Backup);
    let nobody = up + held.len() == 0 && !backups;
    let most = if pool.scheduler == Scheduler::LeastConnections { LEAST_CONNECTIONS_MAX } else { usize::MAX };
    let mut scheduled = 0;
    let standing = |candidate: &Candidate<'_>| {
        let percent = candidate.share.percent();
        match &candidate.rank {
            Rank::Up | Rank::Backup if refuses => Standing::Refused { up, min_up: pool.min_up },
            Rank::Up => Standing::Scheduled { percent, backup: false },
            Rank::Backup if backups => Standing::Scheduled { percent, backup: true },
            Rank::Backup => Standing::BackupIdle,
            Rank::Flapping | Rank::Suspect if nobody && !refuses => Standing::LastResort,
            Rank::Flapping => Standing::Flapping,
            Rank::Suspect => Standing::Suspect,
            Rank::WasUp(_, words) if held.contains(&candidate.name) => Standing::Held(words.clone()),
            Rank::WasUp(_, words) => Standing::Down(words.clone()),
        }
    };
    let decided: Vec<_> = candidates.iter().map(standing).collect();
    let limited = |standing: Standing| {
        if !standing.is_scheduled() {
            return standing;
        }
        scheduled += 1;
        if scheduled <= most { standing } else { Standing::TooMany }
    };
    let decided: Vec<_> = decided.into_iter().map(limited).collect();
    candidates.into_iter().zip(decided).collect()
}

/// Those that were up last, so many of them.
fn latest<'a>(candidates: &[Candidate<'a>], count: usize) -> Vec<&'a Name> {
    let was_up = |candidate: &Candidate<'a>| match candidate.rank {
        Rank::WasUp(until, _) => Some((std::cmp::Reverse(until), candidate.name)),
        _ => None,
    };
    let mut order: Vec<_> = candidates.iter().filter_map(was_up).collect();
    order.sort_unstable();
    order.into_iter().take(count).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::plan::fixture;

    fn pool(min_up: u16, below_min: BelowMin) -> Pool {
        let config = fixture::config(2, 1);
        Pool { min_up, below_min, ..config.pools[&fixture::pool(0)].clone() }
    }

    /// The standing of each member, in one word.
    fn words(pool: &Pool, ranks: &[Rank]) -> Vec<&'static str> {
        let names: Vec<Name> = (0..ranks.len()).map(fixture::server).collect();
        let share = Share::of(Duration::ZERO, None, Moment::default());
        let candidates = names.iter().zip(ranks);
        let candidates =
            candidates.map(|(name, rank)| Candidate { name, weight: Weight(1000), share, rank: rank.clone() });
        choose(pool, candidates.collect()).iter().map(|(_, standing)| standing.word()).collect()
    }

    fn was_up(second: u64) -> Rank {
        Rank::WasUp(Moment(Duration::from_secs(second)), Some("connection refused".into()))
    }

    #[test]
    fn backups_idle_while_enough_members_are_up_and_join_in_below_the_minimum() {
        let ranks = [Rank::Up, Rank::Up, Rank::Backup];
        assert_eq!(words(&pool(2, BelowMin::Backup), &ranks), ["scheduled", "scheduled", "backup-idle"]);
        let ranks = [Rank::Up, was_up(1), Rank::Backup];
        assert_eq!(words(&pool(2, BelowMin::Backup), &ranks), ["scheduled", "down", "scheduled"]);
        assert_eq!(words(&pool(0, BelowMin::Backup), &ranks), ["scheduled", "down", "backup-idle"]);
    }

    #[test]
    fn a_pool_that_holds_keeps_those_that_were_up_last_as_many_as_are_missing() {
        let ranks = [was_up(7), Rank::Up, was_up(9), was_up(8), Rank::Backup];
        let hold = |min_up| words(&pool(min_up, BelowMin::Hold), &ranks);
        assert_eq!(hold(1), ["down", "scheduled", "down", "down", "backup-idle"]);
        assert_eq!(hold(2), ["down", "scheduled", "held", "down", "backup-idle"]);
        assert_eq!(hold(3), ["down", "scheduled", "held", "held", "backup-idle"]);
        assert_eq!(hold(9), ["held", "scheduled", "held", "held", "backup-idle"]);
    }

    #[test]
    fn a_pool_that_holds_has_its_backups_when_nobody_was_ever_up() {
        assert_eq!(words(&pool(2, BelowMin::Hold), &[Rank::Backup, Rank::Flapping]), ["scheduled", "flapping"]);
    }

    #[test]
    fn a_pool_that_refuses_schedules_nobody_below_the_minimum() {
        let ranks = [Rank::Up, was_up(1), Rank::Backup, Rank::Flapping];
        assert_eq!(words(&pool(2, BelowMin::Refuse), &ranks), ["refused", "down", "refused", "flapping"]);
        assert_eq!(words(&pool(1, BelowMin::Refuse), &ranks), ["scheduled", "down", "backup-idle", "flapping"]);
        assert_eq!(words(&pool(1, BelowMin::Refuse), &ranks[1..]), ["down", "refused", "flapping"]);
        assert_eq!(words(&pool(0, BelowMin::Refuse), &ranks[1..]), ["down", "scheduled", "flapping"]);
    }

    #[test]
    fn what_flaps_is_the_last_resort() {
        assert_eq!(words(&pool(0, BelowMin::Backup), &[was_up(1), Rank::Flapping]), ["down", "last-resort"]);
        let ranks = [was_up(1), Rank::Flapping, Rank::Backup];
        assert_eq!(words(&pool(0, BelowMin::Backup), &ranks), ["down", "flapping", "scheduled"]);
    }

    #[test]
    fn who_is_suspect_gets_connections_only_if_nobody_else_can() {
        let ranks = [Rank::Suspect, Rank::Up, Rank::Suspect];
        assert_eq!(words(&pool(0, BelowMin::Backup), &ranks), ["suspect", "scheduled", "suspect"]);
        let ranks = [Rank::Suspect, was_up(1), Rank::Suspect];
        assert_eq!(words(&pool(0, BelowMin::Backup), &ranks), ["last-resort", "down", "last-resort"]);
    }
}
