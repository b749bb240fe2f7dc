//! Token buckets, bounded in number.
//!
//! A bucket is one moment: when it will be full again. Until then it lacks tokens in proportion.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use model::Timestamp;

use super::Rate;

/// Buckets by key.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    max: usize,
    /// When each will be full again, in ticks.
    full_at: HashMap<K, i64>,
    /// The same, the one that is full first in front.
    by_time: BTreeSet<(i64, K)>,
}

impl<K: Clone + Eq + Hash + Ord> Buckets<K> {
    /// At most so many, but at least one.
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(1), full_at: HashMap::new(), by_time: BTreeSet::new() }
    }

    /// Takes a token, or says after how many seconds there is one.
    ///
    /// When there are as many buckets as there may be, the one that has been full for longest
    /// goes, which loses nothing; when none is full, the one that is nearest to it.
    pub(super) fn take(&mut self, key: K, rate: Rate, now: Timestamp) -> Result<(), u32> {
        let now = now.ticks();
        let (n, secs) = (i64::from(rate.n.max(1)), i64::from(rate.per_secs.max(1)));
        let period = secs * Timestamp::TICKS_PER_SECOND;
        let known = self.full_at.get(&key).copied();
        // A clock that was put back must not shut anyone out for longer than the period.
        let full_at = known.unwrap_or(now).clamp(now, now.saturating_add(period));
        let then = full_at.saturating_add(period / n);
        let missing = then.saturating_sub(now) - period;
        if missing > 0 {
            let secs = missing.div_euclid(Timestamp::TICKS_PER_SECOND)
                + i64::from(missing.rem_euclid(Timestamp::TICKS_PER_SECOND) > 0);
            return Err(u32::try_from(secs).unwrap_or(u32::MAX));
        }
        match known {
            Some(old) => drop(self.by_time.remove(&(old, key.clone()))),
            None if self.full_at.len() >= self.max => {
                if let Some((_, oldest)) = self.by_time.pop_first() {
                    self.full_at.remove(&oldest);
                }
            }
            None => {}
        }
        self.by_time.insert((then, key.clone()));
        self.full_at.insert(key, then);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.full_at.len(), self.by_time.len());
        self.full_at.len()
    }
}
