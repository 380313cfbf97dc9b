//! Round robin: a sequence that the data plane repeats, in which each member stands as often as its
//! weight says and its turns are spread evenly (smooth weighted round robin, as of nginx: with weights
//! 5, 1, 1 it is a a b a c a a, not a a a a a b c).
//!
//! Weights in their lowest terms give the exact sequence if it fits into `SLOTS_MAX`. Otherwise turns
//! are apportioned by largest remainder, at least one each: a share then is off by less than one slot
//! in 4,096 (0.024 % of all connections), plus what goes to members that would deserve less than one.

use super::Seat;

/// Longest sequence, in slots, unless there are more members than this: each has one then.
pub const SLOTS_MAX: u64 = 4096;

pub(super) fn slots(seats: &[Seat<'_>]) -> Vec<u32> {
    let turns = turns(&seats.iter().map(|seat| u64::from(seat.weight)).collect::<Vec<_>>());
    let total: i64 = turns.iter().sum();
    let mut credit = vec![0_i64; turns.len()];
    let mut sequence = Vec::new();
    for _ in 0..total {
        // Everyone earns; the richest pays for all and has the turn, the first by name among equals.
        let mut richest: Option<(usize, i64)> = None;
        for (index, (credit, turns)) in credit.iter_mut().zip(&turns).enumerate() {
            *credit += turns;
            if richest.is_none_or(|(_, most)| *credit > most) {
                richest = Some((index, *credit));
            }
        }
        let Some((index, _)) = richest else { break };
        if let Some(credit) = credit.get_mut(index) {
            *credit -= total;
        }
        sequence.push(u32::try_from(index).unwrap_or(u32::MAX));
    }
    sequence
}

/// How often each has a turn in one sequence.
fn turns(weights: &[u64]) -> Vec<i64> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let total: u64 = weights.iter().sum::<u64>() / divisor;
    let count = u64::try_from(weights.len()).unwrap_or(u64::MAX);
    let exact = total <= SLOTS_MAX.max(count);
    let turns = if exact { weights.iter().map(|w| w / divisor).collect() } else { apportion(weights) };
    turns.into_iter().map(|turn| i64::try_from(turn).unwrap_or(i64::MAX)).collect()
}

/// One turn each, the others by largest remainder, so that together they are `SLOTS_MAX`.
fn apportion(weights: &[u64]) -> Vec<u64> {
    let total = weights.iter().sum::<u64>().max(1);
    // A weight is below 2^32 and the slots are 2^12: no overflow.
    let mut turns: Vec<u64> = weights.iter().map(|w| (w * SLOTS_MAX / total).max(1)).collect();
    let given: u64 = turns.iter().sum();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(weights.get(*index).map_or(0, |w| w * SLOTS_MAX % total)));
    for index in order.into_iter().take(usize::try_from(SLOTS_MAX.saturating_sub(given)).unwrap_or(0)) {
        if let Some(turn) = turns.get_mut(index) {
            *turn += 1;
        }
    }
    turns
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
