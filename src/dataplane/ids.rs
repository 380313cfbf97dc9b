//! Numbers for names: stable while anything in the kernel may still refer to them.

use std::collections::{BTreeMap, BTreeSet};

/// Hands out the numbers `0..limit` to keys, the lowest free one first.
///
/// A key that is no longer wanted is *retired*: it keeps its number until whoever counts the references
/// says that there are none, and gets it back if it is wanted again meanwhile.
#[derive(Debug)]
pub struct Ids<K> {
    by_key: BTreeMap<K, u32>,
    /// With the epoch in which each was retired.
    retired: BTreeMap<K, u64>,
    used: BTreeSet<u32>,
    limit: u32,
}

impl<K: Ord + Clone> Ids<K> {
    pub fn new(limit: u32) -> Self {
        Self { by_key: BTreeMap::new(), retired: BTreeMap::new(), used: BTreeSet::new(), limit }
    }

    /// Takes over a number that an earlier daemon gave.
    pub fn adopt(&mut self, key: K, id: u32) {
        if self.used.insert(id) {
            self.by_key.insert(key, id);
        }
    }

    /// The number of a key, a new one if it has none; `None` when all are taken.
    pub fn claim(&mut self, key: &K) -> Option<u32> {
        self.retired.remove(key);
        if let Some(id) = self.by_key.get(key) {
            return Some(*id);
        }
        let id = first_free(&self.used, self.limit)?;
        self.used.insert(id);
        self.by_key.insert(key.clone(), id);
        Some(id)
    }

    pub fn get(&self, key: &K) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// Retires all keys but those wanted, in `epoch`; returns the newly retired.
    pub fn retire_all_but(&mut self, epoch: u64, wanted: impl Fn(&K) -> bool) -> Vec<(K, u32)> {
        let gone: Vec<(K, u32)> = self
            .by_key
            .iter()
            .filter(|(key, _)| !wanted(key) && !self.retired.contains_key(*key))
            .map(|(key, id)| (key.clone(), *id))
            .collect();
        self.retired.extend(gone.iter().map(|(key, _)| (key.clone(), epoch)));
        gone
    }

    /// Those that had been retired before `epoch` began.
    pub fn retired_before(&self, epoch: u64) -> Vec<(K, u32)> {
        let old = self.retired.iter().filter(|(_, since)| **since < epoch);
        old.filter_map(|(key, _)| Some((key.clone(), self.get(key)?))).collect()
    }

    /// Frees the number of a retired key; nothing refers to it any more.
    pub fn free(&mut self, key: &K) {
        if self.retired.remove(key).is_some()
            && let Some(id) = self.by_key.remove(key)
        {
            self.used.remove(&id);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, u32)> {
        self.by_key.iter().map(|(key, id)| (key, *id))
    }
}

fn first_free(used: &BTreeSet<u32>, limit: u32) -> Option<u32> {
    let mut candidate = 0;
    for id in used {
        if *id > candidate {
            break;
        }
        candidate = id.checked_add(1)?;
    }
    (candidate < limit).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_key_keeps_its_number_until_it_is_freed() {
        let mut ids = Ids::new(4);
        assert_eq!(ids.claim(&"a"), Some(0));
        assert_eq!(ids.claim(&"b"), Some(1));
        assert_eq!(ids.retire_all_but(1, |key| *key == "b"), [("a", 0)]);
        assert_eq!(ids.claim(&"c"), Some(2), "the number of a retired key is not given to another");
        assert_eq!(ids.claim(&"a"), Some(0), "a key that comes back gets its number back");
        assert!(ids.retired_before(9).is_empty());
        ids.retire_all_but(2, |key| *key != "a");
        assert!(ids.retired_before(2).is_empty(), "what is retired during an epoch is not of those before it");
        assert_eq!(ids.retired_before(3), [("a", 0)]);
        ids.free(&"a");
        assert_eq!(ids.claim(&"d"), Some(0), "the lowest free number comes first");
    }

    #[test]
    fn when_all_numbers_are_taken_a_claim_fails() {
        let mut ids = Ids::new(1);
        assert_eq!(ids.claim(&1), Some(0));
        assert_eq!(ids.claim(&2), None);
    }

    #[test]
    fn an_adopted_number_is_not_given_again() {
        let mut ids = Ids::new(4);
        ids.adopt("x", 1);
        assert_eq!(ids.claim(&"y"), Some(0));
        assert_eq!(ids.claim(&"z"), Some(2));
        assert_eq!(ids.get(&"x"), Some(1));
    }
}
