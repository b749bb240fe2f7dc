//! Attempts on their way to the store, and back to an operator who asks.
//!
//! No device waits for them. They are written in batches by whoever calls [`App::write_attempts`];
//! when more wait than may, new ones are dropped, and the log says so at most once a minute. What
//! was not written when the process is killed is lost: nothing is decided from attempts.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    iter, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::{
    Attempt, AttemptFilter, AttemptRepeat, Change, ChangeSet, OperatorRefusal, StoredAttempt,
    Timestamp,
};
use store::StoreFault;
use tokio::sync::Notify;
use tracing::warn;

use crate::{App, No, refusals::StormSettings, unless_conflict};

/// How many attempts are written in one change set.
const MAX_BATCH: usize = 512;

/// How often the log says that attempts were dropped, in seconds.
const SAY_EVERY_SECS: i64 = 60;

/// Those that wait to be written.
#[derive(Debug)]
pub(crate) struct Attempts {
    max: usize,
    keep: u64,
    waiting: Mutex<Waiting>,
    arrived: Notify,
    /// Held by the one who writes, so that attempts are written in order.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Of devices that we know.
    known: VecDeque<Numbered>,
    /// Of strangers, who give way to them.
    strangers: VecDeque<Numbered>,
    /// The number of the next one.
    next: u64,
    repeats: HashMap<Arc<str>, AttemptRepeat>,
    n_dropped: u64,
    said: Option<Timestamp>,
}

/// An attempt and its place among all of them, which says in which order they are written.
type Numbered = (u64, Attempt);

impl Waiting {
    fn len(&self) -> usize {
        self.known.len().saturating_add(self.strangers.len())
    }

    fn push(&mut self, attempt: Attempt) {
        let numbered = (self.next, attempt);
        self.next = self.next.saturating_add(1);
        self.queue_of(&numbered).push_back(numbered);
    }

    /// The one that came first of all.
    fn pop(&mut self) -> Option<Numbered> {
        let number = |queue: &VecDeque<Numbered>| queue.front().map(|(number, _)| *number);
        match (number(&self.known), number(&self.strangers)) {
            (Some(known), Some(stranger)) if stranger < known => self.strangers.pop_front(),
            (Some(_), _) => self.known.pop_front(),
            (None, _) => self.strangers.pop_front(),
        }
    }

    /// Takes back one that came before all that wait.
    fn put_back(&mut self, numbered: Numbered) {
        self.queue_of(&numbered).push_front(numbered);
    }

    fn queue_of(&mut self, (_, attempt): &Numbered) -> &mut VecDeque<Numbered> {
        if attempt.is_known { &mut self.known } else { &mut self.strangers }
    }
}

impl Attempts {
    pub(crate) fn new(settings: StormSettings) -> Self {
        Self {
            max: settings.max_waiting_attempts.max(1),
            keep: settings.keep_attempts.max(1),
            waiting: Mutex::default(),
            arrived: Notify::new(),
            writing: tokio::sync::Mutex::new(()),
        }
    }

    /// Takes an attempt in.
    pub(crate) fn push(&self, attempt: Attempt) {
        let mut waiting = self.lock();
        if waiting.len() >= self.max {
            waiting.n_dropped = waiting.n_dropped.saturating_add(1);
            // The last stranger's gives way to that of a device that we know.
            if !attempt.is_known || waiting.strangers.pop_back().is_none() {
                return;
            }
        }
        waiting.push(attempt);
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Takes in that an attempt was repeated.
    pub(crate) fn repeat(&self, attempt: Arc<str>, tracking_id: &str, now: Timestamp) {
        let mut waiting = self.lock();
        if let Some(repeat) = waiting.repeats.get_mut(&attempt) {
            repeat.n = repeat.n.saturating_add(1);
            repeat.last = now.max(repeat.last);
            repeat.last_tracking_id = tracking_id.into();
            return;
        }
        if waiting.repeats.len() >= self.max {
            waiting.n_dropped = waiting.n_dropped.saturating_add(1);
            return;
        }
        let repeat = AttemptRepeat {
            tracking_id: Arc::clone(&attempt),
            n: 1,
            last: now,
            last_tracking_id: tracking_id.into(),
        };
        waiting.repeats.insert(attempt, repeat);
        drop(waiting);
        self.arrived.notify_one();
    }

    /// The next ones to write. A repetition goes no earlier than what it repeats.
    fn take(&self) -> (Vec<Numbered>, Vec<AttemptRepeat>) {
        let mut waiting = self.lock();
        let attempts = iter::from_fn(|| waiting.pop()).take(MAX_BATCH).collect();
        let repeats = match waiting.len() == 0 {
            true => mem::take(&mut waiting.repeats).into_values().collect(),
            false => Vec::new(),
        };
        (attempts, repeats)
    }

    /// Takes back what could not be written, as far as there is room.
    fn put_back(&self, attempts: Vec<Numbered>, repeats: Vec<AttemptRepeat>) {
        let mut waiting = self.lock();
        let room = self.max.saturating_sub(waiting.len());
        let n_lost = attempts.len().saturating_sub(room);
        for numbered in attempts.into_iter().skip(n_lost).rev() {
            waiting.put_back(numbered);
        }
        let mut n_dropped = u64::try_from(n_lost).unwrap_or(u64::MAX);
        for repeat in repeats {
            let has_room = waiting.repeats.len() < self.max;
            match waiting.repeats.entry(Arc::clone(&repeat.tracking_id)) {
                Entry::Occupied(mut later) => {
                    let later = later.get_mut();
                    later.n = later.n.saturating_add(repeat.n);
                }
                Entry::Vacant(entry) if has_room => {
                    entry.insert(repeat);
                }
                Entry::Vacant(_) => n_dropped = n_dropped.saturating_add(1),
            }
        }
        waiting.n_dropped = waiting.n_dropped.saturating_add(n_dropped);
    }

    /// How many were dropped, if it is time to say so.
    fn dropped(&self, now: Timestamp) -> Option<u64> {
        let mut waiting = self.lock();
        let is_time = waiting.said.is_none_or(|said| said.plus_secs(SAY_EVERY_SECS) <= now);
        if waiting.n_dropped == 0 || !is_time {
            return None;
        }
        waiting.said = Some(now);
        Some(mem::take(&mut waiting.n_dropped))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whoever panicked with the lock left whole entries behind.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Waits until there is an attempt to write.
    pub async fn attempt_arrived(&self) {
        self.attempts.arrived.notified().await;
    }

    /// Writes the attempts that wait, in batches, until none does. What cannot be written waits on.
    ///
    /// # Errors
    /// The store's.
    pub async fn write_attempts(&self) -> Result<(), StoreFault> {
        let _turn = self.attempts.writing.lock().await;
        if let Some(n) = self.attempts.dropped(self.clock.now()) {
            warn!(
                n_attempts = n,
                "did not keep {n} attempts of devices, because too many came at once"
            );
        }
        loop {
            let (attempts, repeats) = self.attempts.take();
            if attempts.is_empty() && repeats.is_empty() {
                return Ok(());
            }
            let keep = self.attempts.keep;
            let written = attempts.iter().map(|(_, attempt)| attempt.clone()).collect();
            let counted = repeats.clone();
            let change = Change::AppendAttempts { attempts: written, repeats: counted, keep };
            // It concerns no session and no refusal, so it need not pass the other commits' way.
            // It expects nothing, so no store says that something has changed.
            if let Err(fault) =
                unless_conflict(self.store.commit(ChangeSet::new().with(change)).await)
            {
                self.attempts.put_back(attempts, repeats);
                return Err(fault);
            }
        }
    }

    /// Attempts that pass the filter, the latest first, those with numbers below `before`, at most
    /// `limit`. Those that still wait are written first, so that an attempt that was just made is
    /// found.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn list_attempts(
        &self,
        filter: &AttemptFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<StoredAttempt>, No<OperatorRefusal>> {
        self.write_attempts().await?;
        Ok(self.store.list_attempts(filter, before, limit).await?)
    }
}

#[cfg(test)]
mod tests {
    use model::{
        ApiVersion, AttemptAsked, AttemptOutcome, AttemptShown, DeviceRefusal, Door, RegistrationId,
    };

    use super::*;

    fn attempts(max: usize) -> Attempts {
        Attempts::new(StormSettings { max_waiting_attempts: max, ..StormSettings::default() })
    }

    fn attempt(n: usize) -> Attempt {
        let at = Timestamp::from_unix_secs(0);
        Attempt {
            tracking_id: n.to_string().into(),
            last_tracking_id: None,
            first: at,
            last: at,
            n: 1,
            door: Door::Https,
            address: [192, 0, 2, 7].into(),
            asked: AttemptAsked::Register {
                registration_id: RegistrationId::parse("press-17").expect("legal"),
                api_version: Some(ApiVersion::V2021_06_01),
            },
            shown: AttemptShown::default(),
            outcome: AttemptOutcome::Refused(DeviceRefusal::NotEnrolled),
            enrollment: None,
            steps: Vec::new(),
            is_known: false,
        }
    }

    fn plain(attempts: Vec<Numbered>) -> Vec<Attempt> {
        attempts.into_iter().map(|(_, attempt)| attempt).collect()
    }

    fn taken(attempts: &Attempts) -> Vec<Attempt> {
        plain(attempts.take().0)
    }

    #[test]
    fn attempts_are_written_as_they_came_whoever_made_them_and_whatever_was_put_back() {
        let attempts = attempts(5);
        let nth = |n| Attempt { is_known: n % 3 == 0, ..attempt(n) };
        for n in 0..4 {
            attempts.push(nth(n));
        }
        let (first, repeats) = attempts.take();
        assert_eq!(plain(first.clone()), [nth(0), nth(1), nth(2), nth(3)]);
        attempts.push(nth(4));
        attempts.put_back(first, repeats);
        // There is no more room, and the last stranger's, not the first, gives way.
        attempts.push(nth(5));
        attempts.push(nth(6));
        assert_eq!(taken(&attempts), [nth(0), nth(1), nth(2), nth(3), nth(6)]);
    }

    #[test]
    fn a_known_devices_attempt_takes_the_place_of_a_strangers_when_there_is_no_room() {
        let attempts = attempts(2);
        let known = |n| Attempt { is_known: true, ..attempt(n) };
        attempts.push(attempt(0));
        attempts.push(attempt(1));
        attempts.push(known(2));
        attempts.push(attempt(3));
        attempts.push(known(4));
        // Among themselves those who came first stay.
        attempts.push(known(5));
        assert_eq!(taken(&attempts), [known(2), known(4)]);
        assert_eq!(attempts.dropped(Timestamp::from_unix_secs(0)), Some(4));
    }

    #[test]
    fn no_more_wait_than_may_and_the_log_hears_of_the_rest_once_a_minute() {
        let attempts = attempts(3);
        for n in 0..10 {
            attempts.push(attempt(n));
            attempts.repeat(format!("of {n}").into(), "again", Timestamp::from_unix_secs(0));
        }
        let at = Timestamp::from_unix_secs;
        assert_eq!(attempts.dropped(at(100)), Some(14));
        attempts.push(attempt(10));
        assert_eq!(attempts.dropped(at(159)), None);
        assert_eq!(attempts.dropped(at(160)), Some(1));
        assert_eq!(attempts.dropped(at(300)), None);
        let (taken, repeats) = attempts.take();
        assert_eq!((taken.len(), repeats.len()), (3, 3));
    }

    #[test]
    fn repetitions_are_added_up_and_wait_for_what_they_repeat() {
        let attempts = attempts(2 * MAX_BATCH);
        for n in 0..=MAX_BATCH {
            attempts.push(attempt(n));
        }
        let last = MAX_BATCH.to_string();
        for secs in 1..=5 {
            let at = Timestamp::from_unix_secs(secs);
            attempts.repeat(last.as_str().into(), &format!("again-{secs}"), at);
        }
        let (first, repeats) = attempts.take();
        assert_eq!((first.len(), repeats.len()), (MAX_BATCH, 0));
        let (rest, repeats) = attempts.take();
        assert_eq!(plain(rest), [attempt(MAX_BATCH)]);
        let repeat = AttemptRepeat {
            tracking_id: last.into(),
            n: 5,
            last: Timestamp::from_unix_secs(5),
            last_tracking_id: "again-5".into(),
        };
        assert_eq!(repeats, [repeat]);
    }

    #[test]
    fn what_could_not_be_written_comes_first_the_next_time() {
        let attempts = attempts(3);
        attempts.push(attempt(0));
        attempts.push(attempt(1));
        let (first, repeats) = attempts.take();
        attempts.push(attempt(2));
        attempts.push(attempt(3));
        attempts.put_back(first, repeats);
        // There was room for one of the two, and the later one takes it.
        assert_eq!(taken(&attempts), [attempt(1), attempt(2), attempt(3)]);
    }
}
