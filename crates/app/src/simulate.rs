//! What a change would mean for the devices that are known, before anybody makes it: who is no
//! longer admitted, who is, and who comes back through which entry.
//!
//! What is decided for each is `decide`'s ([`simulate::effect`]). Here is only which devices are
//! asked about, and that it comes to an end: page by page, each device in a snapshot of its own,
//! so many devices and so long. What is written meanwhile may or may not be seen.

mod devices;
mod draft;
mod preview;

use std::collections::HashMap;

pub use decide::simulate::Hypothesis;

use decide::{
    attestation::Unknown,
    simulate::{self, Effect},
};
use model::{
    Grounds, OperatorRefusal, RegisterFacts, RegisterQuery, RegistrationId, RegistrationRecord,
    SimulatedEffect, SimulatedEntry, SimulatedUnknown, Simulation, SimulationLimits,
    SimulationStop, Timestamp,
};
use store::StoreFault;

use self::devices::Provable;
use crate::{App, MAX_ATTEMPTS, No};

/// How many simulations may run at once.
pub(crate) const MAX_AT_ONCE: usize = 4;
/// After how many seconds to ask again when as many run.
const ASK_AGAIN_SECS: u32 = 2;
/// How many records are read at once.
const PAGE: usize = 200;

impl App {
    /// What these changes, one after the other, would mean for the devices that are known. Nothing
    /// is written.
    ///
    /// Devices that rest on what changes are asked about first, then all others for which something
    /// may change: so one that stops early has seen those that matter most.
    ///
    /// # Errors
    /// [`OperatorRefusal::Throttled`] when [`MAX_AT_ONCE`] of them run, or a fault.
    pub async fn simulate(
        &self,
        changes: &[Hypothesis],
        limits: &SimulationLimits,
    ) -> Result<Simulation, No<OperatorRefusal>> {
        let Ok(_place) = self.simulations.try_acquire() else {
            return Err(No::Refused(OperatorRefusal::Throttled(ASK_AGAIN_SECS)));
        };
        let until = self.clock.now().plus_secs(limits.max_secs);
        let changes = self.with_what_they_refer_to(changes).await?;
        let sources = self.sources(&changes).await?;
        let mut seen = devices::Seen::new(sources.len());
        let mut tally =
            Tally { limits: *limits, until, told: Simulation::default(), n: HashMap::new() };
        for source in &sources {
            let mut after: Option<String> = None;
            loop {
                let page = self.records_of(source, after.as_deref()).await?;
                for record in &page.items {
                    if !seen.is_new(record) {
                        continue;
                    }
                    if tally.stops(self.clock.now()) {
                        return Ok(tally.end());
                    }
                    let effect = self.effect_on(record, source.concerns(), &changes).await?;
                    tally.count(&record.registration_id, effect);
                }
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        Ok(tally.end())
    }

    /// What the changes mean for the device of a record; nothing when it is gone.
    async fn effect_on(
        &self,
        record: &RegistrationRecord,
        concerned: Option<Provable>,
        changes: &[Hypothesis],
    ) -> Result<Option<Effect>, StoreFault> {
        if concerned.is_some_and(|concerned| concerned != Provable::of(record)) {
            return Ok(Some(Effect::Unchanged));
        }
        let id = &record.registration_id;
        let settings = &self.settings.register.attest;
        let query = |grounds: &Grounds| simulate::query(id, grounds, changes, &settings.limits);
        Ok(match self.facts_of_known(id, query).await? {
            Ok(facts) => Some(simulate::effect(&facts, changes, settings, self.clock.now())),
            Err(Unknown::NotRegistered) => None,
            Err(unknown) => Some(Effect::Unknown(unknown)),
        })
    }

    /// What is known of a device that was admitted before, read by what its last admission rests on.
    pub(crate) async fn facts_of_known(
        &self,
        id: &RegistrationId,
        query: impl Fn(&Grounds) -> Result<RegisterQuery, Unknown>,
    ) -> Result<Result<RegisterFacts, Unknown>, StoreFault> {
        let mut n_attempts = 0;
        loop {
            n_attempts += 1;
            let Some(grounds) = self.store.find_grounds(id).await? else {
                let is_there = self.store.find_record(id).await?.is_some();
                return Ok(Err(if is_there { Unknown::NotKept } else { Unknown::NotRegistered }));
            };
            let query = match query(&grounds) {
                Ok(query) => query,
                Err(unknown) => return Ok(Err(unknown)),
            };
            let facts = self.store.register_facts(query).await?;
            if facts.record.is_none() {
                return Ok(Err(Unknown::NotRegistered));
            }
            // What was asked for fits what was found; else the device registered in between.
            if facts.grounds.as_ref() == Some(&grounds) || n_attempts == MAX_ATTEMPTS {
                return Ok(Ok(facts));
            }
        }
    }
}

/// What came of it so far.
struct Tally {
    limits: SimulationLimits,
    until: Timestamp,
    told: Simulation,
    n: HashMap<SimulatedEffect, u64>,
}

impl Tally {
    /// Whether there is another device, and it is not to be looked at.
    fn stops(&mut self, now: Timestamp) -> bool {
        self.told.stopped = if self.told.n_devices >= self.limits.max_devices {
            Some(SimulationStop::Devices)
        } else if now > self.until {
            Some(SimulationStop::Time)
        } else {
            None
        };
        self.told.stopped.is_some()
    }

    fn count(&mut self, id: &RegistrationId, effect: Option<Effect>) {
        let Some(effect) = effect.map(|effect| told(&effect)) else { return };
        self.told.n_devices += 1;
        let Some(effect) = effect else {
            self.told.n_unchanged += 1;
            return;
        };
        if self.told.named.len() < self.limits.max_named {
            self.told.named.push((id.clone(), effect.clone()));
        }
        *self.n.entry(effect).or_default() += 1;
    }

    fn end(self) -> Simulation {
        let mut effects: Vec<_> = self.n.into_iter().collect();
        // In one order, whatever the order of the hashes.
        effects.sort_by_cached_key(|(effect, n)| (u64::MAX - n, place(effect)));
        Simulation { effects, ..self.told }
    }
}

/// Where an effect stands among those as frequent.
fn place(effect: &SimulatedEffect) -> (u8, String, String) {
    let name = |entry: &SimulatedEntry| match entry {
        SimulatedEntry::Own => String::new(),
        SimulatedEntry::Group(id) => id.key().to_owned(),
    };
    match effect {
        SimulatedEffect::Moves { from, to } => (0, name(from), name(to)),
        SimulatedEffect::Gains { by } => (1, name(by), String::new()),
        SimulatedEffect::Loses { was } => (2, name(was), String::new()),
        SimulatedEffect::Unknown(why) => (3, format!("{why:?}"), String::new()),
    }
}

/// An effect as it is told; nothing where nothing changes.
fn told(effect: &Effect) -> Option<SimulatedEffect> {
    Some(match effect {
        Effect::Unchanged => return None,
        Effect::Loses { was } => SimulatedEffect::Loses { was: was.into() },
        Effect::Gains { by } => SimulatedEffect::Gains { by: by.into() },
        Effect::Moves { from, to } => SimulatedEffect::Moves { from: from.into(), to: to.into() },
        Effect::Unknown(why) => SimulatedEffect::Unknown(match why {
            // That there is no record was seen before.
            Unknown::NotRegistered | Unknown::NotKept => SimulatedUnknown::NotKept,
            Unknown::NoKey => SimulatedUnknown::NoKey,
            Unknown::Unreadable(_) => SimulatedUnknown::Unreadable,
        }),
    })
}
