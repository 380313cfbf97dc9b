//! When each target needs attention next: one moment for each.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::core::moment::Moment;

/// One moment for each of a set of small numbers, and which comes first.
///
/// A moment that is set anew leaves its old entry in the heap, where it is known as dead by not being the one in
/// `set`. Dead entries never outnumber the living three to one.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Moment, u32)>>,
    set: Vec<Option<Moment>>,
    alive: usize,
}

/// So many entries are not worth being tidied.
const TIDY_FROM: usize = 64;

impl Timers {
    /// In place of the moment that `number` had.
    pub fn set(&mut self, number: u32, at: Moment) {
        let index = number as usize;
        if self.set.len() <= index {
            self.set.resize(index + 1, None);
        }
        let Some(slot) = self.set.get_mut(index) else { return };
        if *slot == Some(at) {
            return;
        }
        self.alive += usize::from(slot.is_none());
        *slot = Some(at);
        self.heap.push(Reverse((at, number)));
        if self.heap.len() > TIDY_FROM && self.heap.len() > 4 * self.alive {
            let set = &self.set;
            self.heap.retain(|Reverse((at, number))| set.get(*number as usize) == Some(&Some(*at)));
        }
    }

    pub fn clear(&mut self, number: u32) {
        if self.set.get_mut(number as usize).and_then(Option::take).is_some() {
            self.alive -= 1;
        }
    }

    /// The first moment of all.
    pub fn next(&mut self) -> Option<Moment> {
        while let Some(Reverse((at, number))) = self.heap.peek().copied() {
            if self.set.get(number as usize) == Some(&Some(at)) {
                return Some(at);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes out one whose moment has come, the earliest first.
    pub fn due(&mut self, now: Moment) -> Option<u32> {
        self.next().filter(|at| *at <= now)?;
        let Reverse((_, number)) = self.heap.pop()?;
        self.clear(number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    #[test]
    fn the_earliest_comes_first_and_none_before_its_time() {
        let mut timers = Timers::default();
        timers.set(7, at(30));
        timers.set(2, at(10));
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.due(at(9)), None);
        assert_eq!(timers.due(at(30)), Some(2));
        assert_eq!(timers.due(at(30)), Some(7));
        assert_eq!((timers.due(at(99)), timers.next()), (None, None));
    }

    #[test]
    fn a_moment_that_is_set_over_and_over_takes_no_room() {
        let mut timers = Timers::default();
        for ms in 0..100_000 {
            timers.set(1, at(ms));
        }
        assert!(timers.heap.len() <= TIDY_FROM + 1, "{}", timers.heap.len());
        assert_eq!(timers.due(at(100_000)), Some(1));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Set(u32, u64),
        Clear(u32),
        Due(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0..20_u32, 0..50_u64).prop_map(|(n, ms)| Op::Set(n, ms)),
            (0..20_u32).prop_map(Op::Clear),
            (0..50_u64).prop_map(Op::Due),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_map_of_moments(ops in proptest::collection::vec(op(), 0..400)) {
            let mut timers = Timers::default();
            let mut model: BTreeMap<u32, Moment> = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Set(number, ms) => {
                        timers.set(number, at(ms));
                        model.insert(number, at(ms));
                    }
                    Op::Clear(number) => {
                        timers.clear(number);
                        model.remove(&number);
                    }
                    Op::Due(ms) => {
                        let first = model.iter().map(|(number, at)| (*at, *number)).min();
                        let expected = first.filter(|(first, _)| *first <= at(ms)).map(|(_, number)| number);
                        prop_assert_eq!(timers.due(at(ms)), expected);
                        expected.and_then(|number| model.remove(&number));
                    }
                }
                prop_assert_eq!(timers.next(), model.values().min().copied());
            }
        }
    }
}
