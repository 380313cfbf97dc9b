//! Numbers that a seed determines, so that a trial or a schedule can be had again (splitmix64, Steele, Lea and Flood 2014).

use super::hash::{STEP, mix};

#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        let number = mix(self.0);
        self.0 = self.0.wrapping_add(STEP);
        number
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        // The remainder's bias is of no account for a handful of ports or bytes.
        (self.number() as usize).checked_rem(end).unwrap_or(0)
    }

    /// Every order is as likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_orders_again_and_all_orders_come() {
        let orders = |seed| {
            let mut random = Random::new(seed);
            (0..60).map(move |_| {
                let mut items = [1, 2, 3];
                random.shuffle(&mut items);
                items
            })
        };
        assert!(orders(7).eq(orders(7)));
        assert_eq!(orders(7).collect::<std::collections::BTreeSet<_>>().len(), 6);
    }
}
