//! Marks: whether anything was written since that could change what a device is told when it
//! registers, or who may ask at all.
//!
//! Whoever keeps an answer reads the mark of its registration ID *before* the facts, and keeps the
//! answer with it. While the mark is the same, so is the answer, as far as it depends on what is
//! written. The store moves marks after a change set is durable and before whoever asked for it
//! hears so, no matter who asked, and whether anybody still waits. So who hears that an enrollment
//! is written meets no answer from before, over whichever of the users of one store.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use model::{BanSubject, Change, ChangeSet, RegistrationId, RevokedChange, RevokedStep, ban};

/// How many marks single registration IDs share. Those that share one move together, which costs
/// a decision and nothing else.
const N_SLOTS: usize = 16 * 1024;

/// The marks of a store.
#[derive(Debug)]
pub struct Marks {
    everyone: AtomicU64,
    settings: AtomicU64,
    slots: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// The mark of one registration ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    everyone: u64,
    one: u64,
}

/// The mark of the service's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingsMark(u64);

impl Mark {
    /// The mark after one change set that is about this registration ID alone.
    #[must_use]
    pub const fn after_own_commit(self) -> Self {
        Self { one: self.one.wrapping_add(1), ..self }
    }
}

/// Whose marks a change set moves.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Moves {
    everyone: bool,
    settings: bool,
    /// Each once.
    slots: Vec<usize>,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            everyone: AtomicU64::new(0),
            settings: AtomicU64::new(0),
            slots: (0..N_SLOTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Marks {
    /// The mark of a registration ID. To be read before the facts.
    #[must_use]
    pub fn of(&self, id: &RegistrationId) -> Mark {
        let one = self.slots.get(self.slot(id.key())).map_or(0, |slot| slot.load(SeqCst));
        Mark { everyone: self.everyone.load(SeqCst), one }
    }

    /// The mark of the service's settings. To be read before them.
    #[must_use]
    pub fn of_settings(&self) -> SettingsMark {
        SettingsMark(self.settings.load(SeqCst))
    }

    /// Whose marks a change set moves when it is written.
    #[must_use]
    pub fn moves(&self, changes: &ChangeSet) -> Moves {
        let mut moves = Moves::default();
        for change in &changes.changes {
            match concern(change) {
                Concern::Nobody => {}
                Concern::Everyone => moves.everyone = true,
                Concern::One(key) => moves.slots.push(self.slot(key)),
            }
            moves.settings |= matches!(change, Change::PutServiceSettings(_));
        }
        moves.slots.sort_unstable();
        moves.slots.dedup();
        moves
    }

    /// A change set that moves these is durable.
    pub fn written(&self, moves: &Moves) {
        if moves.everyone {
            self.everyone.fetch_add(1, SeqCst);
        }
        if moves.settings {
            self.settings.fetch_add(1, SeqCst);
        }
        for slot in moves.slots.iter().filter_map(|slot| self.slots.get(*slot)) {
            slot.fetch_add(1, SeqCst);
        }
    }

    /// Nobody can say what was written.
    pub fn anything_written(&self) {
        self.everyone.fetch_add(1, SeqCst);
        self.settings.fetch_add(1, SeqCst);
    }

    /// Of a registration ID's key.
    fn slot(&self, key: &str) -> usize {
        let n = self.hasher.hash_one(key) % (N_SLOTS as u64);
        usize::try_from(n).unwrap_or(0)
    }
}

/// Whose answer a change can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Concern<'a> {
    /// Anybody's.
    Everyone,
    /// That of the registration ID with this key.
    One(&'a str),
    /// Nobody's.
    Nobody,
}

/// Without `_`: a new kind of change has to say whom it could admit, or keep out for another
/// reason than before.
fn concern(change: &Change) -> Concern<'_> {
    match change {
        Change::PutIndividual(enrollment) => Concern::One(enrollment.registration_id.key()),
        Change::DeleteIndividual(id) | Change::DeleteRecord(id) | Change::PutGrounds(id, _) => {
            Concern::One(id.key())
        }
        Change::PutRecord(record) => Concern::One(record.registration_id.key()),
        // A token that fitted nothing may be the answer to it.
        Change::PutTpmChallenge(challenge) => Concern::One(challenge.registration_id.key()),
        Change::PutBan(ban) => match &ban.subject {
            BanSubject::Registration(id) => Concern::One(id.key()),
            // Who shows or rests on these is known when they ask.
            BanSubject::Certificate { .. }
            | BanSubject::CertificateSha1 { .. }
            | BanSubject::Ca(_)
            | BanSubject::Serial { .. }
            | BanSubject::EndorsementKey(_) => Concern::Everyone,
        },
        Change::DeleteBan(key) => match ban::parse_registration_key(key) {
            Some(key) => Concern::One(key),
            None => Concern::Everyone,
        },
        Change::PutGroup(_)
        | Change::DeleteGroup(_)
        | Change::PutCaCertificate(_)
        | Change::DeleteCaCertificate(_)
        | Change::PutCrl(_)
        | Change::ChangeRevoked(RevokedChange {
            step: RevokedStep::Whole | RevokedStep::Last, ..
        })
        | Change::DeleteCrl(_)
        | Change::PutLinkedHub(_)
        | Change::DeleteLinkedHub(_)
        | Change::PutServiceSettings(_) => Concern::Everyone,
        // Only challenges that are over, which are looked at by their time.
        Change::TrimTpmChallenges(_)
        // No refusal of a registration looks into a hub.
        | Change::PutDevice(..)
        | Change::PutIdentity(..)
        | Change::PutTwin(..)
        | Change::DeleteDevice(..)
        | Change::Connect { .. }
        | Change::Disconnect { .. }
        | Change::DisconnectAll { .. }
        | Change::Touch { .. }
        | Change::PutSubscriptions(..)
        | Change::DeleteSubscriptions(..)
        | Change::AppendEvent(..)
        | Change::TrimEvents { .. }
        | Change::EnqueueMessage(..)
        | Change::PutMessage(..)
        | Change::DeleteMessage(..)
        | Change::AppendFeedback(..)
        | Change::DeleteFeedback(..)
        // Who may call at all is asked before.
        | Change::PutPolicy(_)
        | Change::DeletePolicy(..)
        | Change::PutRemoval(_)
        | Change::DeleteRemoval(..)
        | Change::PutReceipt(_)
        | Change::PutReceiptItem(_)
        | Change::TrimReceipts { .. }
        | Change::Audit(_)
        // The last part is about everyone, and no answer that is kept admits anybody.
        | Change::ChangeRevoked(RevokedChange { step: RevokedStep::Part, .. })
        // When a URL is asked next, and what came of it: the list stays.
        | Change::NoteCrlFetch(..)
        | Change::AppendAttempts { .. }
        | Change::PutInstanceSetting { .. } => Concern::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use model::{Ban, BanKind, Caller, Timestamp};

    use super::*;

    fn id(text: &str) -> RegistrationId {
        RegistrationId::parse(text).expect("legal")
    }

    /// Writes one change set; the mark of `press-17` before and after.
    fn check(changes: ChangeSet, expected: impl FnOnce(Mark) -> Mark) {
        let marks = Marks::default();
        let before = marks.of(&id("press-17"));
        let moves = marks.moves(&changes);
        assert_eq!(marks.of(&id("press-17")), before, "nothing is written yet");
        marks.written(&moves);
        assert_eq!(marks.of(&id("press-17")), expected(before));
    }

    #[test]
    fn a_change_set_about_one_device_moves_its_mark_once_in_any_spelling() {
        let deletes = Change::DeleteIndividual(id("PRESS-17"));
        let forgets = Change::DeleteRecord(id("press-17"));
        check(ChangeSet::new().with(deletes).with(forgets), Mark::after_own_commit);
    }

    fn everyone(before: Mark) -> Mark {
        Mark { everyone: before.everyone + 1, ..before }
    }

    fn ban_on(subject: BanSubject) -> Change {
        Change::PutBan(Box::new(Ban {
            subject,
            kind: BanKind::Revoked,
            reason: None,
            by: Caller { policy: "owner".to_owned(), address: None },
            created: Timestamp::from_unix_secs(1),
            expires: None,
            receipt: None,
            version: 0,
        }))
    }

    #[test]
    fn a_change_set_about_groups_lists_or_cas_moves_every_mark() {
        let group = model::EnrollmentGroupId::parse("line-4").expect("legal");
        for change in [
            Change::DeleteGroup(group),
            Change::DeleteCrl([7; 32]),
            Change::DeleteCaCertificate("plant".to_owned()),
        ] {
            check(ChangeSet::new().with(change), everyone);
        }
    }

    #[test]
    fn a_ban_on_a_registration_id_is_about_that_one_alone() {
        let about = |text: &str| {
            let subject = BanSubject::Registration(id(text));
            [Change::DeleteBan(subject.key()), ban_on(subject)]
        };
        for change in about("PRESS-17") {
            check(ChangeSet::new().with(change), Mark::after_own_commit);
        }
        let marks = Marks::default();
        let other = (0..)
            .map(|n| format!("other-{n}"))
            .find(|name| marks.slot(name) != marks.slot("press-17"))
            .expect("one of another slot");
        for change in about(&other) {
            let before = marks.of(&id("press-17"));
            marks.written(&marks.moves(&ChangeSet::new().with(change)));
            assert_eq!(marks.of(&id("press-17")), before);
        }
    }

    #[test]
    fn a_ban_on_what_devices_show_is_about_everyone() {
        for subject in [
            BanSubject::by_sha256([7; 32]),
            BanSubject::by_sha1([7; 20]),
            BanSubject::EndorsementKey([7; 32]),
            BanSubject::Serial {
                issuer: [7; 32],
                issuer_name: String::new(),
                serial: "1".to_owned(),
            },
        ] {
            let lifted = Change::DeleteBan(subject.key());
            check(ChangeSet::new().with(lifted), everyone);
            check(ChangeSet::new().with(ban_on(subject)), everyone);
        }
    }

    #[test]
    fn the_mark_of_the_settings_moves_with_the_settings_only() {
        let marks = Marks::default();
        let moved = |change: Change| {
            let before = marks.of_settings();
            marks.written(&marks.moves(&ChangeSet::new().with(change)));
            marks.of_settings() != before
        };
        assert!(moved(Change::PutServiceSettings(Box::new(crate::first_settings()))));
        assert!(!moved(Change::DeleteCrl([7; 32])));
        assert!(!moved(Change::DeleteIndividual(id("press-17"))));
    }

    #[test]
    fn a_change_set_that_no_registration_reads_moves_nothing() {
        let tidies = Change::TrimTpmChallenges(Timestamp::from_unix_secs(0));
        check(ChangeSet::new().with(tidies), |before| before);
    }

    #[test]
    fn what_nobody_can_say_moves_every_mark() {
        let marks = Marks::default();
        let before = marks.of(&id("press-17"));
        marks.anything_written();
        assert_ne!(marks.of(&id("press-17")), before);
        assert_ne!(marks.of_settings(), Marks::default().of_settings());
    }
}
