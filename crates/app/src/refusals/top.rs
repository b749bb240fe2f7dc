//! Who is refused most, in bounded memory.
//!
//! The space-saving sketch: so many counters; who is not among them takes over the smallest one,
//! count included. Whoever was refused more often than all refusals divided by the number of
//! counters is certainly among them, and the count is at most [`RefusedOften::may_be_less_by`]
//! too high.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use model::Timestamp;

/// How many registration IDs and how many addresses are counted.
const N_COUNTERS: usize = 1024;

/// Who is refused most, since a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopRefused {
    /// Devices, by the registration ID they asked under; the one that was refused most comes first.
    pub devices: Vec<RefusedOften>,
    /// Addresses, likewise.
    pub addresses: Vec<RefusedOften>,
}

/// One who is refused again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedOften {
    /// The registration ID in lower case, or the address.
    pub who: String,
    /// How often.
    pub n: u64,
    /// By how much that may be too high, because somebody else was counted before.
    pub may_be_less_by: u64,
    /// When it was first refused.
    pub since: Timestamp,
    /// When it was last refused.
    pub last: Timestamp,
    /// Why it was last refused.
    pub reason: String,
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Top {
    devices: Mutex<Counters>,
    addresses: Mutex<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    places: HashMap<Box<str>, usize>,
    counters: Vec<Counter>,
}

#[derive(Debug)]
struct Counter {
    who: Box<str>,
    n: u64,
    inherited: u64,
    since: Timestamp,
    last: Timestamp,
    reason: Box<str>,
}

impl Top {
    /// Counts a refusal.
    pub(super) fn count(&self, device: &str, address: IpAddr, reason: &str, now: Timestamp) {
        lock(&self.devices).count(device, reason, now);
        lock(&self.addresses).count(&address.to_canonical().to_string(), reason, now);
    }

    pub(super) fn most(&self, limit: usize) -> TopRefused {
        TopRefused {
            devices: lock(&self.devices).most(limit),
            addresses: lock(&self.addresses).most(limit),
        }
    }
}

impl Counters {
    fn count(&mut self, who: &str, reason: &str, now: Timestamp) {
        let place = match self.places.get(who) {
            Some(place) => *place,
            None => self.place_for(who, now),
        };
        let Some(counter) = self.counters.get_mut(place) else { return };
        counter.n = counter.n.saturating_add(1);
        counter.last = now;
        if *counter.reason != *reason {
            counter.reason = reason.into();
        }
    }

    fn place_for(&mut self, who: &str, now: Timestamp) -> usize {
        let new = |n| Counter {
            who: who.into(),
            n,
            inherited: n,
            since: now,
            last: now,
            reason: Box::default(),
        };
        let place = if self.counters.len() < N_COUNTERS {
            self.counters.push(new(0));
            self.counters.len() - 1
        } else {
            let smallest = self.counters.iter().enumerate().min_by_key(|(_, counter)| counter.n);
            let place = smallest.map_or(0, |(place, _)| place);
            if let Some(counter) = self.counters.get_mut(place) {
                self.places.remove(&counter.who);
                *counter = new(counter.n);
            }
            place
        };
        self.places.insert(who.into(), place);
        place
    }

    fn most(&self, limit: usize) -> Vec<RefusedOften> {
        let mut all: Vec<&Counter> = self.counters.iter().collect();
        all.sort_by(|a, b| b.n.cmp(&a.n).then_with(|| a.who.cmp(&b.who)));
        let shown = |counter: &Counter| RefusedOften {
            who: counter.who.to_string(),
            n: counter.n,
            may_be_less_by: counter.inherited,
            since: counter.since,
            last: counter.last,
            reason: counter.reason.to_string(),
        };
        all.into_iter().take(limit).map(shown).collect()
    }
}

fn lock(counters: &Mutex<Counters>) -> MutexGuard<'_, Counters> {
    // Whoever panicked with the lock left whole counters behind.
    counters.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(secs)
    }

    #[test]
    fn the_one_who_is_refused_most_comes_first_with_the_last_reason() {
        let top = Top::default();
        let address = "192.0.2.7".parse().expect("an address");
        for (n, device) in ["a", "b", "b", "c", "b", "a"].iter().zip(0..).map(|(d, n)| (n, d)) {
            top.count(device, address, if n < 4 { "first" } else { "then" }, at(n));
        }
        let most = top.most(2);
        let b = RefusedOften {
            who: "b".to_owned(),
            n: 3,
            may_be_less_by: 0,
            since: at(1),
            last: at(4),
            reason: "then".to_owned(),
        };
        assert_eq!(most.devices[0], b);
        assert_eq!((most.devices.len(), most.devices[1].n), (2, 2));
        assert_eq!((most.addresses.len(), most.addresses[0].n), (1, 6));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn whoever_storms_is_found_among_any_number_of_strangers(
            strangers in proptest::collection::vec(0..100_000_u32, 0..6000),
        ) {
            let mut counters = Counters::default();
            let n_storm = strangers.len() / N_COUNTERS + 1;
            let mut calls: Vec<String> = strangers.iter().map(|n| format!("stranger-{n}")).collect();
            for n in 0..n_storm {
                calls.insert((n * 97) % (calls.len() + 1), "storm".to_owned());
            }
            for call in &calls {
                counters.count(call, "no", at(0));
            }
            prop_assert!(counters.counters.len() <= N_COUNTERS);
            prop_assert_eq!(counters.places.len(), counters.counters.len());
            let found = counters.most(N_COUNTERS).into_iter().find(|one| one.who == "storm");
            let found = found.expect("it is more than its share");
            prop_assert!(found.n >= n_storm as u64);
            prop_assert!(found.n - found.may_be_less_by <= n_storm as u64);
        }
    }
}
