//! Epochs: whether anything was written since that could admit whom we refused.
//!
//! A refusal that is kept holds for the epoch that was read *before* its facts were. Every commit
//! that could change an answer moves an epoch after it is durable and before whoever asked for it
//! hears so. So who hears that an enrollment is written meets no refusal from before.
//!
//! A commit whose outcome is unknown, because nobody waited for it or the store failed, may still be
//! written at any moment. Until a later commit of this process was acknowledged, which the store
//! writes after it, no epoch is sure and nothing is kept.
//!
//! This is one process's knowledge. With several processes over one store, the epochs must come
//! from the store.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use model::{Change, ChangeSet, RegistrationId};

use super::touched::{Concern, concern};

/// How many epochs single registration IDs share. Those that share one forget together, which
/// costs a decision and nothing else.
const N_SLOTS: usize = 16 * 1024;

/// The epochs.
#[derive(Debug)]
pub(super) struct Epochs {
    everyone: AtomicU64,
    slots: Box<[AtomicU64]>,
    hasher: RandomState,
    /// How many commits were begun.
    begun: AtomicU64,
    /// A commit of unknown outcome is among the first so many; 0 for none.
    unknown: AtomicU64,
}

/// The epoch of one registration ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch {
    everyone: u64,
    one: u64,
    is_sure: bool,
}

impl Epoch {
    /// Whether what was decided in it may be kept.
    pub(crate) const fn is_sure(self) -> bool {
        self.is_sure
    }

    /// The epoch after one commit that concerns this registration ID alone.
    pub(crate) const fn after_own_commit(self) -> Self {
        Self { one: self.one.wrapping_add(1), ..self }
    }
}

/// Whom a change set concerns.
#[derive(Debug, Default)]
pub(crate) struct Concerned {
    everyone: bool,
    slots: Vec<usize>,
    /// How many commits were begun with this one.
    begun: u64,
}

impl Concerned {
    fn nobody(&self) -> bool {
        !self.everyone && self.slots.is_empty()
    }
}

impl Default for Epochs {
    fn default() -> Self {
        Self {
            everyone: AtomicU64::new(0),
            slots: (0..N_SLOTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            begun: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
        }
    }
}

impl Epochs {
    /// The epoch of a registration ID. To be read before the facts.
    pub(super) fn of(&self, id: &RegistrationId) -> Epoch {
        let one = self.slots.get(self.slot(id)).map_or(0, |slot| slot.load(SeqCst));
        let everyone = self.everyone.load(SeqCst);
        // Last: who sees an epoch that an unknown outcome moved, sees the unknown outcome as well.
        Epoch { everyone, one, is_sure: self.unknown.load(SeqCst) == 0 }
    }

    /// A commit begins.
    pub(super) fn begin(&self, changes: &ChangeSet) -> Concerned {
        let mut concerned = Concerned::default();
        for change in &changes.changes {
            self.take_in(&mut concerned, change);
        }
        concerned.slots.sort_unstable();
        concerned.slots.dedup();
        concerned.begun = self.begun.fetch_add(1, SeqCst) + 1;
        concerned
    }

    fn take_in(&self, concerned: &mut Concerned, change: &Change) {
        match concern(change) {
            Concern::Nobody => {}
            Concern::Everyone => concerned.everyone = true,
            Concern::One(id) => concerned.slots.push(self.slot(id)),
        }
    }

    /// The commit is durable.
    pub(super) fn written(&self, concerned: &Concerned) {
        self.move_on(concerned);
        let unknown = self.unknown.load(SeqCst);
        if unknown != 0 && concerned.begun > unknown {
            self.everyone.fetch_add(1, SeqCst);
            // Should there be another unknown outcome by now, it is not this commit that ends it.
            let _ = self.unknown.compare_exchange(unknown, 0, SeqCst, SeqCst);
        }
    }

    /// The commit may be written at any moment, or never.
    pub(super) fn unknown(&self, concerned: &Concerned) {
        if concerned.nobody() {
            return;
        }
        self.unknown.fetch_max(self.begun.load(SeqCst), SeqCst);
        self.move_on(concerned);
    }

    fn move_on(&self, concerned: &Concerned) {
        if concerned.everyone {
            self.everyone.fetch_add(1, SeqCst);
        }
        for slot in concerned.slots.iter().filter_map(|slot| self.slots.get(*slot)) {
            slot.fetch_add(1, SeqCst);
        }
    }

    fn slot(&self, id: &RegistrationId) -> usize {
        let n = self.hasher.hash_one(id.key()) % (N_SLOTS as u64);
        usize::try_from(n).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> RegistrationId {
        RegistrationId::parse(text).expect("legal")
    }

    fn deletes(name: &str) -> ChangeSet {
        ChangeSet::new().with(Change::DeleteIndividual(id(name)))
    }

    #[test]
    fn a_write_about_one_device_moves_its_epoch_in_any_spelling() {
        let epochs = Epochs::default();
        let before = epochs.of(&id("press-17"));
        epochs.written(&epochs.begin(&deletes("PRESS-17")));
        assert_eq!(epochs.of(&id("press-17")), before.after_own_commit());
    }

    #[test]
    fn a_write_about_groups_moves_every_epoch() {
        let epochs = Epochs::default();
        let before = epochs.of(&id("press-17"));
        let group = model::EnrollmentGroupId::parse("line-4").expect("legal");
        epochs.written(&epochs.begin(&ChangeSet::new().with(Change::DeleteGroup(group))));
        assert_ne!(epochs.of(&id("press-17")), before);
    }

    #[test]
    fn a_write_that_concerns_nobody_moves_nothing() {
        let epochs = Epochs::default();
        let before = epochs.of(&id("press-17"));
        let tidies = Change::TrimTpmChallenges(model::Timestamp::from_unix_secs(0));
        epochs.unknown(&epochs.begin(&ChangeSet::new().with(tidies)));
        assert_eq!(epochs.of(&id("press-17")), before);
    }

    #[test]
    fn after_an_unknown_outcome_nothing_is_sure_until_a_later_commit_is_acknowledged() {
        let epochs = Epochs::default();
        let earlier = epochs.begin(&deletes("a"));
        let lost = epochs.begin(&deletes("b"));
        let meanwhile = epochs.begin(&deletes("c"));
        epochs.unknown(&lost);
        assert!(!epochs.of(&id("d")).is_sure());
        // Both were begun before it was known: the store may have written them first.
        epochs.written(&earlier);
        epochs.written(&meanwhile);
        assert!(!epochs.of(&id("d")).is_sure());
        let before = epochs.of(&id("d"));
        epochs.written(&epochs.begin(&deletes("e")));
        let after = epochs.of(&id("d"));
        assert!(after.is_sure());
        assert_ne!(after.everyone, before.everyone, "what was written at last is a change");
    }
}
