//! Refusals that are given again: a device that is refused and retries for ever costs little,
//! hears when to ask again, and shows up in a list.
//!
//! An answer is kept for a minute at most, and only where the same question has the same answer:
//!
//! - the evidence is the same to the last byte,
//! - nothing was written since that could change it (see [`store::marks`]),
//! - time alone could not have changed it ([`decide::attestation::next_change`]).
//!
//! A token is signed anew every time. For devices that show one the facts are kept instead of the
//! answer, on the second of these conditions, and every token is held against them: what is spared
//! is reading them again.
//!
//! So a stranger who asks under a device's name is remembered by what the stranger showed, and the
//! device is not refused for it. Everything is bounded and in memory; a restart begins anew.

mod asked;
mod bounded;
mod known;
mod top;
pub(crate) mod trace;

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::{
    ApiVersion, DeviceRefusal, Door, Evidence, OperationId, RegisterFacts, RegisterRequest,
    RegistrationId, Timestamp,
};
use store::{Mark, Marks};

pub use self::top::{RefusedOften, TopRefused};
pub(crate) use self::{
    asked::Asked,
    known::{is_lasting, may_be_a_clock},
};
use self::{
    asked::Keys,
    bounded::{Bounded, Entry},
    top::Top,
};
use crate::App;

/// How many shards the memory has, so that devices do not wait for each other.
const N_SHARDS: usize = 16;

/// How long an answer is kept at most, in seconds.
const MAX_LIFE_SECS: i64 = 60;

/// For how long repetitions are counted with one attempt, in seconds; then another one is written,
/// so that a device that never gives up stays among the attempts that are kept.
const ATTEMPT_LIFE_SECS: i64 = 3600;

/// About how many devices that show tokens the facts are kept, at some 2 KiB each.
const MAX_FACTS: usize = 8192;

/// After so many seconds without a refusal it is as if there had never been one: twice the longest
/// wait.
const FORGOTTEN_AFTER_SECS: i64 = 2 * 3600;

/// What the second refusal in a row asks a device to wait, in seconds; each after that twice as
/// long.
const FIRST_WAIT_SECS: u32 = 5;

/// The longest wait, in seconds.
const LONGEST_WAIT_SECS: u32 = 3600;

/// The longest wait of a device whose clock may be wrong, in seconds: once it has heard of the time
/// it would be admitted.
const LONGEST_WAIT_FOR_A_CLOCK_SECS: u32 = 60;

/// The refusal in a row that asks for at least as long as that: more of them do not count.
const MAX_CLOCK_REFUSALS: u32 = 6;

/// How storms are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StormSettings {
    /// Of how many refused devices is remembered what they were told, at about 500 bytes each. When
    /// there are more, one that has not asked for long is forgotten and is decided about anew. 0
    /// remembers none.
    pub max_remembered: usize,
    /// How many attempts are kept in the store; at least 1.
    pub keep_attempts: u64,
    /// How many attempts may wait to be written, at about 2 KiB each. More are dropped, and counted.
    pub max_waiting_attempts: usize,
}

impl Default for StormSettings {
    fn default() -> Self {
        Self { max_remembered: 100_000, keep_attempts: 100_000, max_waiting_attempts: 4096 }
    }
}

/// A device at a door.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'a> {
    /// What answer and log call the request.
    pub tracking_id: &'a str,
    /// Which door.
    pub door: Door,
    /// From where.
    pub address: IpAddr,
}

/// What a device that wants to be registered says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Introduction<'a> {
    /// Its name.
    pub registration_id: &'a RegistrationId,
    /// The version it speaks, if it came to say so.
    pub api_version: Option<ApiVersion>,
    /// What it showed.
    pub evidence: &'a Evidence,
}

impl<'a> From<&'a RegisterRequest> for Introduction<'a> {
    fn from(request: &'a RegisterRequest) -> Self {
        let RegisterRequest { registration_id, api_version, evidence, payload: _ } = request;
        Self { registration_id, api_version: Some(*api_version), evidence }
    }
}

/// What a device is told again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// No.
    Refused(DeviceRefusal),
    /// Its enrollment is disabled, as a poll of this operation shows.
    Disabled(OperationId),
}

/// A “no” that may be given again.
#[derive(Debug)]
pub(crate) struct Keeping {
    pub(crate) told: Told,
    /// Before this moment.
    pub(crate) until: Timestamp,
}

/// A “no” that was just given.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// Its name, one word.
    pub(crate) name: &'a str,
    /// Its sentence.
    pub(crate) reason: &'a str,
    /// The mark from before its facts were read.
    pub(crate) before: Mark,
    /// The mark after what was written with it.
    pub(crate) after: Mark,
    pub(crate) keeping: Option<Keeping>,
    /// Whether a clock may be what is wrong.
    pub(crate) by_clock: bool,
}

/// How a “no” stands among those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// When to ask again at the earliest, in seconds.
    pub(crate) retry_after_secs: Option<u32>,
    /// The attempt that this one repeats, by its tracking ID.
    pub(crate) repeats: Option<Arc<str>>,
}

/// What is remembered of one who is refused.
#[derive(Debug)]
struct Refused {
    mark: Mark,
    /// How often in a row.
    n: u32,
    last_secs: i64,
    /// The attempt that is written down, and since when it counts.
    attempt: Arc<str>,
    attempt_secs: i64,
    /// The outcome's fingerprint.
    print: u64,
    /// What can be told again, from when to before when.
    kept: Option<(Told, Timestamp, Timestamp)>,
}

/// The facts about a device that shows tokens, without what no refusal looks at.
struct KnownFacts {
    mark: Mark,
    read: Timestamp,
    facts: Arc<RegisterFacts>,
}

impl Entry for KnownFacts {
    fn last_used(&self) -> i64 {
        self.read.unix_secs()
    }
}

impl Entry for Refused {
    fn last_used(&self) -> i64 {
        self.last_secs
    }
}

/// The memory of this process.
pub(crate) struct Refusals {
    keys: Keys,
    marks: Arc<Marks>,
    /// Empty when nothing is remembered.
    shards: Box<[Mutex<Bounded<Refused>>]>,
    facts: Option<Mutex<Bounded<KnownFacts>>>,
    top: Top,
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals").finish_non_exhaustive()
    }
}

impl Refusals {
    /// A memory of what the store with these marks admits or refuses.
    pub(crate) fn new(settings: StormSettings, marks: Arc<Marks>) -> Self {
        let shards: Box<[_]> = match settings.max_remembered {
            0 => Box::default(),
            max => {
                let each = max.div_ceil(N_SHARDS);
                (0..N_SHARDS).map(|_| Mutex::new(Bounded::new(each))).collect()
            }
        };
        let n_facts = settings.max_remembered.min(MAX_FACTS);
        let facts = (n_facts > 0).then(|| Mutex::new(Bounded::new(n_facts)));
        Self { keys: Keys::default(), marks, shards, facts, top: Top::default() }
    }

    pub(crate) fn asked(&self, visit: &Visit<'_>, scope: &str, said: Introduction<'_>) -> Asked {
        self.keys.of_registration(visit, scope, said)
    }

    pub(crate) fn asked_to_connect(
        &self,
        visit: &Visit<'_>,
        hub: &model::HubName,
        device_id: &model::DeviceId,
        registration_id: RegistrationId,
    ) -> Asked {
        self.keys.of_connection(visit, hub, device_id, registration_id)
    }

    /// What an answer to this registration ID is kept with. To be read before the facts.
    pub(crate) fn mark(&self, id: &RegistrationId) -> Mark {
        self.marks.of(id)
    }

    /// What this device was told before and is told again, if that still holds.
    pub(crate) fn again(&self, asked: &Asked, now: Timestamp) -> Option<(Told, Standing)> {
        if !asked.may_be_kept {
            return None;
        }
        let mark = self.mark(&asked.registration_id);
        let mut shard = self.shard(asked.key)?;
        let refused = shard.get_mut(asked.key)?;
        let (told, from, until) = refused.kept.as_ref()?;
        let holds = refused.mark == mark
            && *from <= now
            && now < *until
            && now.unix_secs() < refused.attempt_secs.saturating_add(ATTEMPT_LIFE_SECS);
        if !holds {
            return None;
        }
        let told = told.clone();
        refused.n = refused.n.saturating_add(1);
        refused.last_secs = now.unix_secs();
        let repeats = Some(Arc::clone(&refused.attempt));
        Some((told, Standing { retry_after_secs: wait(refused.n), repeats }))
    }

    /// Remembers a “no” that was just decided.
    pub(crate) fn remember(
        &self,
        asked: &Asked,
        given: Given<'_>,
        tracking_id: &Arc<str>,
        now: Timestamp,
    ) -> Standing {
        let Given { name, reason, before, after, keeping, by_clock } = given;
        let Some(mut shard) = self.shard(asked.key) else {
            return Standing { retry_after_secs: None, repeats: None };
        };
        let print = self.keys.print(name, reason);
        let secs = now.unix_secs();
        let is_within = |since: i64, span: i64| since <= secs && secs < since.saturating_add(span);
        let goes_on = shard.get_mut(asked.key).filter(|refused| {
            refused.mark == before && is_within(refused.last_secs, FORGOTTEN_AFTER_SECS)
        });
        let (n, attempt) = match goes_on {
            None => (1, None),
            Some(refused) => {
                let is_repeated =
                    refused.print == print && is_within(refused.attempt_secs, ATTEMPT_LIFE_SECS);
                let attempt =
                    is_repeated.then(|| (Arc::clone(&refused.attempt), refused.attempt_secs));
                let n = refused.n.saturating_add(1);
                let n = if by_clock { n.min(MAX_CLOCK_REFUSALS.max(refused.n)) } else { n };
                (n, attempt)
            }
        };
        let repeats = attempt.as_ref().map(|(attempt, _)| Arc::clone(attempt));
        let (attempt, attempt_secs) = attempt.unwrap_or_else(|| (Arc::clone(tracking_id), secs));
        let keeping = keeping.filter(|_| asked.may_be_kept);
        let kept = keeping.map(|Keeping { told, until }| {
            let longest = now.plus_secs(MAX_LIFE_SECS);
            (told, now, until.min(longest))
        });
        let last_secs = secs;
        let refused = Refused { mark: after, n, last_secs, attempt, attempt_secs, print, kept };
        shard.put(asked.key, refused);
        let longest = if by_clock { LONGEST_WAIT_FOR_A_CLOCK_SECS } else { LONGEST_WAIT_SECS };
        Standing { retry_after_secs: wait(n).map(|secs| secs.min(longest)), repeats }
    }

    /// The facts about a device that shows a token, if nothing was written since that could change a
    /// refusal, and the mark they are of.
    pub(crate) fn facts(
        &self,
        asked: &Asked,
        now: Timestamp,
    ) -> Option<(Arc<RegisterFacts>, Mark)> {
        let (key, facts) = (asked.facts_key?, self.facts.as_ref()?);
        let mark = self.mark(&asked.registration_id);
        // Whoever panicked with the lock left whole entries behind.
        let mut facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = facts.get_mut(key)?;
        let holds =
            known.mark == mark && known.read <= now && now < known.read.plus_secs(MAX_LIFE_SECS);
        if !holds {
            // They hold keys, which are not to be kept for nothing.
            facts.remove(key);
            return None;
        }
        Some((Arc::clone(&known.facts), mark))
    }

    /// Keeps the facts by which a device that showed a token was refused.
    pub(crate) fn keep_facts(
        &self,
        asked: &Asked,
        facts: RegisterFacts,
        mark: Mark,
        read: Timestamp,
    ) {
        let (Some(key), Some(known)) = (asked.facts_key, &self.facts) else { return };
        let facts = Arc::new(facts);
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.put(key, KnownFacts { mark, read, facts });
    }

    /// The device got what it asked for.
    pub(crate) fn forget(&self, asked: &Asked) {
        if let Some(mut shard) = self.shard(asked.key) {
            shard.remove(asked.key);
        }
    }

    /// Counts who is refused most.
    pub(crate) fn count(&self, asked: &Asked, reason: &str, now: Timestamp) {
        self.top.count(asked.registration_id.key(), asked.address, reason, now);
    }

    fn shard(&self, key: u128) -> Option<MutexGuard<'_, Bounded<Refused>>> {
        // The upper bits pick the shard, the lower ones who gives way in it.
        let n = usize::try_from(key >> 120).unwrap_or(0);
        let shard = self.shards.get(n % self.shards.len().max(1))?;
        // Whoever panicked with the lock left whole entries behind.
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().map_or(0, |shard| shard.len())).sum()
    }
}

/// What the `n`-th refusal in a row asks a device to wait.
fn wait(n: u32) -> Option<u32> {
    let doublings = n.checked_sub(2)?;
    let secs =
        FIRST_WAIT_SECS.checked_shl(doublings).filter(|secs| secs >> doublings == FIRST_WAIT_SECS);
    Some(secs.unwrap_or(LONGEST_WAIT_SECS).min(LONGEST_WAIT_SECS))
}

impl App {
    /// The same, meeting storms otherwise.
    #[must_use]
    pub fn with_storm_settings(self, settings: StormSettings) -> Self {
        Self {
            refusals: Arc::new(Refusals::new(settings, self.store.marks())),
            attempts: Arc::new(crate::attempts::Attempts::new(settings)),
            ..self
        }
    }

    /// Who is refused most since this process began, so many devices and so many addresses. At most
    /// 1,024 of each are counted; the figures say how far they can be trusted.
    #[must_use]
    pub fn top_refused(&self, limit: usize) -> TopRefused {
        self.refusals.top.most(limit)
    }
}

#[cfg(test)]
mod tests;
