//! Pools that would have fewer members up than they need (`min-up`), were some taken out by an operator.

use std::collections::BTreeMap;
use std::fmt;

use crate::config::{BelowMin, Name, Pool};
use crate::core::forwarding::ServiceKey;
use crate::core::plan::Standing;

/// A member of a pool as one of the services has it.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    pub pool: &'a Name,
    pub service: &'a ServiceKey,
    pub standing: &'a Standing,
    /// It is to be taken out.
    pub goes: bool,
}

/// What a pool would be left with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    pub pool: Name,
    pub up: usize,
    pub min_up: u16,
    pub then: BelowMin,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, up, min_up, then } = self;
        let then = match then {
            BelowMin::Backup => "call in its backups",
            BelowMin::Hold => "hold members whose probes fail",
            BelowMin::Refuse => "refuse new connections",
        };
        write!(f, "pool {:?} would have {up} of at least {min_up} members up (min-up), and {then}", pool.as_str())
    }
}

/// The pools that lose a member that counts and would be below their minimum, or further below; of several services
/// of one pool the worst counts. What neither counts nor serves (down, drained, idle as a backup) can always go.
pub fn shortages<'a>(pools: &BTreeMap<Name, Pool>, members: impl IntoIterator<Item = Counted<'a>>) -> Vec<Shortage> {
    /// Members that are up: those that stay, and whether any goes.
    type Left = (usize, bool);
    let mut left: BTreeMap<(&Name, &ServiceKey), Left> = BTreeMap::new();
    for Counted { pool, service, standing, goes } in members {
        if matches!(standing, Standing::Scheduled { backup: false, .. } | Standing::TooMany | Standing::Refused { .. })
        {
            let (stay, any_goes) = left.entry((pool, service)).or_default();
            *stay += usize::from(!goes);
            *any_goes |= goes;
        }
    }
    let mut short: BTreeMap<&Name, Shortage> = BTreeMap::new();
    for ((name, _), (up, _)) in left.into_iter().filter(|(_, (_, any_goes))| *any_goes) {
        let Some(Pool { min_up, below_min, .. }) = pools.get(name) else { continue };
        if up < usize::from(*min_up) {
            let found = Shortage { pool: name.clone(), up, min_up: *min_up, then: *below_min };
            let worst = short.entry(name).or_insert_with(|| found.clone());
            worst.up = worst.up.min(up);
        }
    }
    short.into_values().collect()
}

#[cfg(test)]
#[path = "shortage_tests.rs"]
mod tests;
