//! A map that never holds more than so many entries.

use std::collections::HashMap;

/// Of how many entries, picked at random, the one that waited longest gives way.
const N_PICKED: usize = 5;

/// What an entry says of itself.
pub(super) trait Entry {
    /// When it was last used, in seconds; the one that waited longest gives way first.
    fn last_used(&self) -> i64;
}

/// Entries by keys that nobody outside can choose. When there are as many as there may be, one of
/// those that waited long gives way to a new one.
#[derive(Debug)]
pub(super) struct Bounded<V> {
    max: usize,
    places: HashMap<u128, usize>,
    entries: Vec<(u128, V)>,
}

impl<V: Entry> Bounded<V> {
    /// At most so many, but at least one.
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(1), places: HashMap::new(), entries: Vec::new() }
    }

    pub(super) fn get_mut(&mut self, key: u128) -> Option<&mut V> {
        let place = *self.places.get(&key)?;
        self.entries.get_mut(place).map(|(_, entry)| entry)
    }

    /// Puts an entry there, in the place of the one of the same key, or of one that gives way.
    pub(super) fn put(&mut self, key: u128, entry: V) {
        if let Some(there) = self.get_mut(key) {
            *there = entry;
            return;
        }
        if self.entries.len() >= self.max
            && let Some(old) = self.longest_unused(key)
        {
            self.remove(old);
        }
        self.places.insert(key, self.entries.len());
        self.entries.push((key, entry));
    }

    pub(super) fn remove(&mut self, key: u128) {
        let Some(place) = self.places.remove(&key) else { return };
        self.entries.swap_remove(place);
        if let Some((moved, _)) = self.entries.get(place) {
            self.places.insert(*moved, place);
        }
    }

    /// The key of the new entry is as good as a die: nobody outside can choose it.
    fn longest_unused(&self, key: u128) -> Option<u128> {
        let n = u128::try_from(self.entries.len()).unwrap_or(u128::MAX).max(1);
        let picked = (0..N_PICKED).filter_map(|i| {
            let place = (key >> (i * 16)) % n;
            self.entries.get(usize::try_from(place).unwrap_or(0))
        });
        picked.min_by_key(|(_, entry)| entry.last_used()).map(|(key, _)| *key)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.places.len(), self.entries.len());
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Entry for i64 {
        fn last_used(&self) -> i64 {
            *self
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map_that_forgets_but_never_makes_up(
            max in 1..8_usize,
            calls in proptest::collection::vec((0..12_u128, any::<i64>(), any::<bool>()), 0..200),
        ) {
            let mut bounded = Bounded::new(max);
            let mut model = HashMap::new();
            for (key, value, removes) in calls {
                if removes {
                    bounded.remove(key);
                    model.remove(&key);
                } else {
                    bounded.put(key, value);
                    model.insert(key, value);
                    prop_assert_eq!(bounded.get_mut(key).copied(), Some(value));
                }
                prop_assert!(bounded.len() <= max);
                for key in 0..12 {
                    let found = bounded.get_mut(key).copied();
                    prop_assert!(found.is_none() || found == model.get(&key).copied());
                }
            }
        }
    }

    #[test]
    fn what_was_just_used_stays_when_others_give_way() {
        let mut bounded = Bounded::new(4);
        for key in 0..4 {
            bounded.put(key, 0);
        }
        bounded.put(100, 9);
        for n in 0..50_u128 {
            bounded.put(1000 + n * 0x0001_0002_0003_0005_0007_u128, 1);
        }
        assert_eq!(bounded.len(), 4);
    }
}
