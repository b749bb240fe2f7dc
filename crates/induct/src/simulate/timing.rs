//! How long things took: percentiles of any number of durations, in memory that does not grow.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use model::Json;

/// Durations below this many microseconds are kept exactly.
const N_EXACT: usize = 128;
/// Into how many buckets each doubling above is divided: so a percentile is at most 1/64 too large.
const N_PER_DOUBLING: usize = 64;
/// The longest duration that is told apart from longer ones: 2^36 µs, 19 hours.
const LONGEST_MICROS: u64 = 1 << 36;
const N_BUCKETS: usize = N_EXACT + 30 * N_PER_DOUBLING;

/// Counts durations; many tasks may do so at once.
pub struct Timing {
    buckets: [AtomicU64; N_BUCKETS],
    longest_micros: AtomicU64,
}

/// What durations come to, each in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percentiles {
    /// How many there were.
    pub count: u64,
    /// Half of them took no longer.
    pub p50: u64,
    /// 95 of 100 took no longer.
    pub p95: u64,
    /// 99 of 100 took no longer.
    pub p99: u64,
    /// None took longer.
    pub max: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { buckets: array::from_fn(|_| AtomicU64::new(0)), longest_micros: AtomicU64::new(0) }
    }
}

impl Timing {
    /// Counts a duration.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min(LONGEST_MICROS - 1);
        if let Some(bucket) = self.buckets.get(bucket_of(micros)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.longest_micros.fetch_max(micros, Ordering::Relaxed);
    }

    /// What they come to; nothing when there were none.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        let counts: Vec<u64> = self.buckets.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        let count: u64 = counts.iter().sum();
        let max = self.longest_micros.load(Ordering::Relaxed);
        let percentile = |percent: u64| {
            let rank = (count * percent).div_ceil(100);
            let mut n_passed = 0;
            let found = counts.iter().position(|n| {
                n_passed += n;
                n_passed >= rank
            });
            found.map_or(max, largest_in).min(max)
        };
        (count > 0).then(|| Percentiles {
            count,
            p50: percentile(50),
            p95: percentile(95),
            p99: percentile(99),
            max,
        })
    }
}

impl Percentiles {
    /// As milliseconds.
    #[must_use]
    pub fn json(&self) -> Json {
        let mut json = Json::empty_object();
        json.set("count", Json::from(self.count));
        for (name, micros) in self.named() {
            json.set(name, Json::Number(millis(micros).into()));
        }
        json
    }

    /// The figures with their names.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 4] {
        [("p50", self.p50), ("p95", self.p95), ("p99", self.p99), ("max", self.max)]
    }
}

/// Microseconds as a text of milliseconds.
#[must_use]
pub(super) fn millis(micros: u64) -> String {
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

/// The bucket of a duration.
fn bucket_of(micros: u64) -> usize {
    match usize::try_from(micros) {
        Ok(exact) if exact < N_EXACT => exact,
        _ => {
            // The seven highest bits count.
            let shift = micros.ilog2() - N_PER_DOUBLING.ilog2();
            let above = usize::try_from(micros >> shift).unwrap_or(usize::MAX);
            let doublings = usize::try_from(shift).unwrap_or(usize::MAX) - 1;
            N_EXACT + doublings * N_PER_DOUBLING + above - N_PER_DOUBLING
        }
    }
}

/// The longest duration of a bucket.
fn largest_in(bucket: usize) -> u64 {
    let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    match bucket.checked_sub(N_EXACT) {
        None => wide(bucket),
        Some(beyond) => {
            let shift = beyond / N_PER_DOUBLING + 1;
            let above = beyond % N_PER_DOUBLING + N_PER_DOUBLING;
            ((wide(above) + 1) << shift) - 1
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Option<Percentiles> {
        let timing = Timing::default();
        micros.into_iter().for_each(|micros| timing.record(Duration::from_micros(micros)));
        timing.percentiles()
    }

    #[test]
    fn short_durations_are_exact() {
        let expected = Percentiles { count: 100, p50: 50, p95: 95, p99: 99, max: 100 };
        assert_eq!(of(1..=100), Some(expected));
        assert_eq!(of([]), None);
        assert_eq!(
            of([7]).expect("one").json().to_string(),
            r#"{"count":1,"p50":0.007,"p95":0.007,"p99":0.007,"max":0.007}"#
        );
    }

    #[test]
    fn one_slow_one_in_a_thousand_is_the_maximum_and_no_percentile() {
        let found = of((0..999).map(|_| 100).chain([90_000_000])).expect("many");
        assert_eq!((found.p50, found.p99, found.max), (100, 100, 90_000_000));
    }

    #[test]
    fn what_takes_days_counts_as_the_longest() {
        assert_eq!(of([u64::MAX]).expect("one").max, LONGEST_MICROS - 1);
    }

    proptest! {
        #[test]
        fn a_bucket_is_no_wider_than_a_64th_of_what_is_in_it(micros in 0..LONGEST_MICROS) {
            let bucket = bucket_of(micros);
            prop_assert!(bucket < N_BUCKETS);
            let largest = largest_in(bucket);
            prop_assert!(largest >= micros && largest - micros <= micros / 64, "{largest}");
            prop_assert_eq!(bucket_of(largest), bucket);
        }
    }
}
