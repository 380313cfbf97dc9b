//! Maglev's consistent hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
//! Balancer", NSDI 2016, section 3.4), with weights.
//!
//! Every member has an order of preference over the slots, which follows from its name; members take
//! turns, and in a turn take the first free slot that they prefer. When one leaves, mostly its own
//! slots change hands.
//!
//! The paper's turns go round; ours go by weight: the next turn is of the member with the smallest
//! `(2 × taken + 1) / weight` (Webster's method), so that at every moment each has within about a slot
//! of what its weight is worth, and equal weights give the paper's order. Everyone's first turn comes
//! before anyone's second, so that no member that is scheduled goes without a slot.
//!
//! The order of preference of a name never changes between releases (`golden` in the tests): the two
//! boxes of a pair, and the old and the new daemon, agree without talking.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};

use super::Seat;
use crate::config::Name;
use crate::core::forwarding::Weight;
use crate::core::hash::stable_hash;

/// Primes, each four times the one before: a pool's table seldom changes its size, which would move
/// nearly every slot, and is at most four times as large as need be. 4 bytes a slot: 1 KB to 256 KB.
pub const SIZES: [u32; 5] = [251, 1021, 4093, 16381, 65537];

/// Slots that the lightest member shall have: its share is then within about 1 % of what it should be.
pub const SLOTS_PER_MEMBER: u64 = 100;

const SEED_OFFSET: u64 = 0x6d61_676c_6576_0001;
const SEED_SKIP: u64 = 0x6d61_676c_6576_0002;
const FREE: u32 = u32::MAX;

/// Number of slots for a pool: the smallest of `SIZES` that gives the lightest member
/// `SLOTS_PER_MEMBER`, else the largest.
///
/// With equal weights: up to 2 members 251, 10 members 1,021, 40 members 4,093, 163 members 16,381,
/// above 65,537. `full` decides; `now` stands in when it is empty.
pub fn size(full: &BTreeMap<Name, Weight>, now: &BTreeMap<Name, Weight>) -> u32 {
    let weights = if full.is_empty() { now } else { full };
    let positive = || weights.values().map(|weight| u64::from(weight.0)).filter(|weight| *weight > 0);
    let lightest = positive().min().unwrap_or(1);
    let needed = positive().sum::<u64>().saturating_mul(SLOTS_PER_MEMBER).div_ceil(lightest);
    let [.., largest] = SIZES;
    SIZES.into_iter().find(|size| u64::from(*size) >= needed).unwrap_or(largest)
}

/// The table: for each of `size` slots (a prime) the index of its seat. Empty without seats.
pub(super) fn slots(seats: &[Seat<'_>], size: u32) -> Vec<u32> {
    let mut turns: BinaryHeap<Reverse<Turn>> =
        (0..).zip(seats).map(|(member, seat)| Reverse(Turn::first(member, seat, size))).collect();
    if turns.is_empty() {
        return Vec::new();
    }
    let mut table = vec![FREE; usize::try_from(size).unwrap_or(0)];
    for _ in 0..size {
        // The heap sorts the member back in at the end of the round, when `next` is dropped.
        let Some(mut next) = turns.peek_mut() else { break };
        next.0.take(&mut table);
    }
    table
}

/// Whose turn it is, and how far down its preferences it has come.
#[derive(Debug)]
struct Turn {
    member: u32,
    weight: u32,
    taken: u32,
    position: u32,
    skip: u32,
    size: u32,
}

impl Turn {
    fn first(member: u32, seat: &Seat<'_>, size: u32) -> Self {
        let hash = |seed, modulus: u32| {
            let rest = stable_hash(seat.name.as_bytes(), seed) % u64::from(modulus.max(1));
            u32::try_from(rest).unwrap_or(0)
        };
        let position = hash(SEED_OFFSET, size);
        // Between 1 and size - 1: coprime to a prime size, so that every slot is visited.
        let skip = hash(SEED_SKIP, size.saturating_sub(1)) + 1;
        Self { member, weight: seat.weight.max(1), taken: 0, position, skip, size }
    }

    /// Takes the first free slot that this member prefers.
    fn take(&mut self, table: &mut [u32]) {
        self.taken += 1;
        for _ in 0..self.size {
            let slot = usize::try_from(self.position).ok().and_then(|position| table.get_mut(position));
            self.position += self.skip;
            if self.position >= self.size {
                self.position -= self.size;
            }
            if let Some(free @ &mut FREE) = slot {
                *free = self.member;
                return;
            }
        }
    }

    fn numerator(&self) -> u64 {
        if self.taken == 0 { 0 } else { 2 * u64::from(self.taken) + 1 }
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        // a/b < c/d as a × d < c × b; a numerator is below 2^18, a weight below 2^32.
        let own = self.numerator() * u64::from(other.weight);
        let others = other.numerator() * u64::from(self.weight);
        own.cmp(&others).then(self.member.cmp(&other.member))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Turn {}
