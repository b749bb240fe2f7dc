//! Which remote hubs are told something just now, and which are left alone for a while: one that is
//! down would otherwise be asked about each device of its backlog.
//!
//! Only this process knows; after a start, one failure tells anew.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use decide::pending::{self, RemoteFailure};
use model::{Fresh, HubName, Timestamp};

/// All hubs.
#[derive(Debug)]
pub(super) struct Resting {
    /// How many devices one hub is told of at a time.
    max_at_once: usize,
    hubs: Mutex<HashMap<HubName, Hub>>,
}

#[derive(Debug, Default)]
struct Hub {
    n_at_once: usize,
    /// How often it failed in a row.
    n_failures: u32,
    /// Until when it is left alone.
    until: Option<Timestamp>,
}

/// The right to tell a hub of one device.
pub(super) struct Place<'a> {
    all: &'a Resting,
    hub: HubName,
}

impl Resting {
    pub(super) fn new(max_at_once: usize) -> Self {
        Self { max_at_once, hubs: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<HubName, Hub>> {
        // Nothing panics while it is held.
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, unless the hub is left alone or told of enough devices. One that failed is tried
    /// with one device first.
    pub(super) fn place(&self, hub: &HubName, now: Timestamp) -> Option<Place<'_>> {
        let mut hubs = self.lock();
        let entry = hubs.entry(hub.clone()).or_default();
        let room = if entry.n_failures == 0 { self.max_at_once } else { 1 };
        if entry.n_at_once >= room || entry.until.is_some_and(|until| now < until) {
            return None;
        }
        entry.n_at_once += 1;
        Some(Place { all: self, hub: hub.clone() })
    }
}

impl Place<'_> {
    /// Takes note of what the hub said: whether it is well again.
    pub(super) fn note<T>(
        &self,
        said: &Result<T, RemoteFailure>,
        now: Timestamp,
        fresh: &Fresh,
    ) -> bool {
        let mut hubs = self.all.lock();
        let Some(hub) = hubs.get_mut(&self.hub) else { return false };
        let had_failed = hub.n_failures > 0;
        match said {
            Err(failure) if is_the_hubs(failure) => {
                // Those that were asked at the same time fail together.
                if hub.until.is_none_or(|until| until <= now) {
                    hub.until = Some(pending::back_off(hub.n_failures, failure, now, fresh));
                    hub.n_failures = hub.n_failures.saturating_add(1);
                }
            }
            Ok(_) | Err(_) => (hub.n_failures, hub.until) = (0, None),
        }
        had_failed && hub.n_failures == 0
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut hubs = self.all.lock();
        if let Some(hub) = hubs.get_mut(&self.hub) {
            hub.n_at_once -= 1;
            if hub.n_at_once == 0 && hub.n_failures == 0 {
                hubs.remove(&self.hub);
            }
        }
    }
}

/// Whether a failure is about the hub rather than about one device.
const fn is_the_hubs(failure: &RemoteFailure) -> bool {
    match failure {
        RemoteFailure::Transient { .. } | RemoteFailure::Unauthorized(_) => true,
        RemoteFailure::Refused(..) | RemoteFailure::NotFound => false,
    }
}

#[cfg(test)]
mod tests {
    use testkit::{NOW, fresh};

    use super::*;

    fn hub(name: &str) -> HubName {
        HubName::parse(name).unwrap()
    }

    fn down() -> Result<(), RemoteFailure> {
        Err(RemoteFailure::transient("down"))
    }

    #[test]
    fn a_hub_that_fails_is_left_alone_and_then_tried_with_one_device() {
        let all = Resting::new(3);
        let (far, near) = (hub("far.test"), hub("near.test"));
        let places: Vec<_> = (0..3).map(|_| all.place(&far, NOW).unwrap()).collect();
        assert!(all.place(&far, NOW).is_none(), "as many as may be");
        let other = all.place(&near, NOW).unwrap();
        for place in &places {
            assert!(!place.note(&down(), NOW, &fresh(1)));
        }
        assert!(!other.note(&Ok(()), NOW, &fresh(1)));
        drop((places, other));
        assert!(all.place(&near, NOW).is_some());
        assert!(all.place(&far, NOW).is_none());
        // They failed once: two seconds at most.
        let later = NOW.plus_secs(2);
        let probe = all.place(&far, later).unwrap();
        assert!(all.place(&far, later).is_none(), "one at a time");
        assert!(!probe.note(&down(), later, &fresh(2)));
        drop(probe);
        assert!(all.place(&far, later.plus_secs(1)).is_none(), "the second time it is longer");
        let probe = all.place(&far, later.plus_secs(4)).unwrap();
        assert!(probe.note(&Ok(()), later, &fresh(3)), "it is well again");
        let second = all.place(&far, later).unwrap();
        drop((probe, second));
        assert!(all.lock().is_empty(), "nothing is kept of hubs that are well");
    }

    #[test]
    fn what_a_hub_refuses_of_one_device_is_no_reason_to_leave_it_alone() {
        let all = Resting::new(1);
        let far = hub("far.test");
        for failure in [RemoteFailure::Refused(409, "no".to_owned()), RemoteFailure::NotFound] {
            let place = all.place(&far, NOW).unwrap();
            assert!(!place.note::<()>(&Err(failure), NOW, &fresh(1)));
            drop(place);
            assert!(all.place(&far, NOW).is_some());
        }
    }
}
