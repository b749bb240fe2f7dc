//! What a decision leaves behind, for the memory of refusals and of attempts.

use decide::{
    attestation::{AttestSettings, Shown, next_change},
    record::{self, OPERATION_LIFE_SECS},
    register::{Prepared, Settlement},
};
use model::{
    AttemptShown, AttestFailure, Change, DeviceRefusal, OperationId, RegisterFacts,
    RegistrationRecord, RegistrationStatus, Step, Timestamp,
};
use store::Mark;

use super::{Keeping, Told};

/// What is left behind.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Whether anybody wants to know.
    wanted: bool,
    pub(crate) shown: AttemptShown,
    pub(crate) steps: Vec<Step>,
    /// The mark from before the facts were read.
    pub(crate) before: Option<Mark>,
    /// Whether this process wrote the record of this registration since.
    pub(crate) wrote: bool,
    /// Whether the device had a record or an individual enrollment.
    pub(crate) is_known: bool,
    pub(crate) keeping: Option<Keeping>,
    /// What a device that showed a token was refused by, and when that was read.
    pub(crate) facts: Option<(RegisterFacts, Timestamp)>,
}

impl Trace {
    /// One that somebody wants.
    pub(crate) fn wanted() -> Self {
        Self { wanted: true, ..Self::default() }
    }

    /// One that nobody wants.
    pub(crate) fn unwanted() -> Self {
        Self::default()
    }

    /// The evidence is parsed.
    pub(crate) fn prepared(&mut self, prepared: &Prepared) {
        if self.wanted {
            self.shown = shown(prepared.shown());
        }
    }

    /// The facts are about to be read.
    pub(crate) fn reading(&mut self, mark: impl FnOnce() -> Mark) {
        if self.wanted {
            self.before = Some(mark());
        }
    }

    /// The marks from before the facts were read and after what was written.
    pub(crate) fn marks(&self) -> Option<(Mark, Mark)> {
        let before = self.before?;
        Some((before, if self.wrote { before.after_own_commit() } else { before }))
    }

    /// Whether an answer is kept: to a token it is not.
    const fn wants_answer(&self, prepared: &Prepared) -> bool {
        self.wanted && !matches!(prepared.shown(), Shown::Sas(_))
    }

    /// The device is refused.
    pub(crate) fn refused(
        &mut self,
        facts: &RegisterFacts,
        prepared: &Prepared,
        refusal: &DeviceRefusal,
        settings: &AttestSettings,
        now: Timestamp,
    ) {
        self.is_known = is_known(facts);
        if self.wants_answer(prepared) && can_be_kept(refusal) {
            self.keeping = Some(Keeping {
                told: Told::Refused(refusal.clone()),
                until: limit(facts, prepared, settings, now),
            });
        }
    }

    /// The device is told that its enrollment is disabled, by this operation.
    pub(crate) fn disabled(
        &mut self,
        facts: &RegisterFacts,
        prepared: &Prepared,
        operation: &OperationId,
        settings: &AttestSettings,
        now: Timestamp,
    ) {
        if self.wants_answer(prepared) {
            self.keeping = Some(Keeping {
                told: Told::Disabled(operation.clone()),
                until: limit(facts, prepared, settings, now),
            });
        }
    }

    /// The facts by which a device that showed a token was told no, to hold the next token against.
    /// What no such answer looks at is left out: it may be large.
    pub(crate) fn keep_facts(&mut self, facts: RegisterFacts, prepared: &Prepared, now: Timestamp) {
        let is_small = facts.record.as_ref().is_none_or(|record| {
            record.pending.is_none() && record.payload.is_none() && record.wrapped_hub_key.is_none()
        });
        if !(self.wanted && is_small && matches!(prepared.shown(), Shown::Sas(_))) {
            return;
        }
        let mut facts = facts;
        facts.devices = Vec::new();
        if let Some(enrollment) = &mut facts.individual {
            enrollment.optional_device_information = None;
            enrollment.terms.initial_twin = None;
        }
        self.facts = Some((facts, now));
    }

    /// The operation by which this device was told before that its enrollment is disabled, when
    /// nothing has changed since and it can still be polled for long enough: then nothing is
    /// written once more.
    pub(crate) fn told_before(
        &self,
        facts: &RegisterFacts,
        prepared: &Prepared,
        settlement: &Settlement,
        settings: &AttestSettings,
        now: Timestamp,
    ) -> Option<(OperationId, RegistrationRecord)> {
        if !self.wanted || settlement.record.status != RegistrationStatus::Disabled {
            return None;
        }
        // Anything beside the record is news.
        let [Change::PutRecord(_)] = settlement.changes.changes.as_slice() else { return None };
        let (old, new) = (facts.record.as_ref()?, &settlement.record);
        let same = old.status == new.status
            && old.enrollment == new.enrollment
            && old.mechanism == new.mechanism
            && old.assignment == new.assignment
            && old.pending.is_none();
        let operation = old.operations.last()?;
        let is_young =
            operation.started <= now && now < operation.started.plus_secs(OPERATION_LIFE_SECS / 2);
        if !(same && is_young) {
            return None;
        }
        // What it shows now must do for its polls, which are held against the operation's begin.
        let polled = record::poll(facts, prepared, &operation.id, settings, now).ok()?;
        let is_told = polled.status == RegistrationStatus::Disabled;
        is_told.then(|| (operation.id.clone(), old.clone()))
    }
}

/// Whether it is a device that we know; anybody can make up the names of others.
pub(crate) const fn is_known(facts: &RegisterFacts) -> bool {
    facts.record.is_some() || facts.individual.is_some()
}

fn limit(
    facts: &RegisterFacts,
    prepared: &Prepared,
    settings: &AttestSettings,
    now: Timestamp,
) -> Timestamp {
    let never = Timestamp::from_ticks(i64::MAX);
    next_change(facts, prepared.shown(), settings, now).unwrap_or(never)
}

/// What is shown, without any secret.
pub(crate) fn shown(shown: &Shown) -> AttemptShown {
    let leaf = match shown {
        Shown::X509(_) => shown.certificates().into_iter().next(),
        Shown::Sas(_) | Shown::Tpm(_) | Shown::TpmAnswer(_) | Shown::Nothing => None,
    };
    AttemptShown {
        kind: None,
        leaf_sha256: leaf.as_ref().map(|leaf| leaf.sha256),
        leaf_sha1: leaf.as_ref().map(|leaf| leaf.sha1),
        endorsement_key: shown.endorsement_key().map(decide::manage::bans::sha256),
    }
}

/// Whether the answer to the same question stays the same until something is written or
/// [`next_change`].
const fn can_be_kept(refusal: &DeviceRefusal) -> bool {
    match refusal {
        DeviceRefusal::NotEnrolled
        | DeviceRefusal::TpmNotEnrolled
        | DeviceRefusal::Banned { .. } => true,
        DeviceRefusal::NotAttested(failure) => match failure {
            AttestFailure::NoEvidence
            | AttestFailure::WrongKind
            | AttestFailure::WrongResource
            | AttestFailure::BadSignature
            | AttestFailure::CommonName(_)
            | AttestFailure::WrongThumbprint
            | AttestFailure::BadCertificate(_)
            | AttestFailure::TooLarge(_)
            | AttestFailure::BadChain(_)
            | AttestFailure::TpmNotChallenged
            | AttestFailure::BadTpmKey(_)
            | AttestFailure::WrongEndorsementKey
            | AttestFailure::Revoked(_)
            | AttestFailure::NotEndorsed(_) => true,
            // What only time makes right, or wrong.
            AttestFailure::TokenExpired
            | AttestFailure::NotYetValid(_)
            | AttestFailure::Expired(_)
            | AttestFailure::StaleCrl(_) => false,
        },
        // Cheap to say, or of this moment.
        DeviceRefusal::UnknownIdScope
        | DeviceRefusal::UnknownOperation
        | DeviceRefusal::NotRegistered
        | DeviceRefusal::Conflict
        | DeviceRefusal::TooManyRegistrations(_)
        | DeviceRefusal::AddressRefused(_)
        | DeviceRefusal::Throttled(_)
        | DeviceRefusal::BadRequest(_) => false,
    }
}
