//! Deprovisioning: what becomes of one device, in one change set, and what its hubs elsewhere are
//! told.
//!
//! Each act is decided from the facts of the moment, never from the plan: the plan tells an
//! operator what to expect, and the facts may have moved since. What is so already is not written
//! again, so that doing it twice changes nothing. What deliberately does not live here: which
//! devices are meant (`app::deprovision` collects them) and when they are worked on.

use model::{
    AttestationMechanism, Ban, BanSubject, Caller, Change, ChangeSet, DeprovisionItem, Device,
    DeviceId, DeviceIdentity, DeviceStatus, DeviceSubject, EnrollmentRef, Etag, Expect, Former,
    Fresh, Grounds, HubName, IndividualEnrollment, Intent, KnownProof, LinkedHub, Part,
    PlannedDevice, PlannedIdentity, ProvisioningStatus, ReceiptId, RegistrationRecord,
    RemoteRemoval, RemoteStep, RemoteStepState, ReportTo, StillAdmitted, Timestamp, Version,
};

mod admitted;
mod bans;
mod reinstate;
mod remote;
mod selected;
mod shared;

pub use admitted::{PlannedActs, Prospects, prospects};
pub use remote::{remote_targets, settle_step, step_failed, supersede};
pub use selected::{check, is_selected, selected_by};
pub use shared::{SharedFacts, is_as_planned, plan_shared, shared};

/// The longest status reason a hub keeps (H §2.4), in characters.
const MAX_STATUS_REASON_CHARS: usize = 128;

/// What an operator wants, and in whose name it is done.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// What is to become of the device.
    pub intent: Intent,
    /// Why, in the operator's words.
    pub reason: Option<&'a str>,
    /// Who applied the plan.
    pub by: &'a Caller,
    /// The deprovisioning.
    pub receipt: &'a ReceiptId,
}

/// What is known of a device when it is deprovisioned, in one snapshot.
#[derive(Debug, Clone)]
pub struct DeviceFacts<'a> {
    /// Whom it is about.
    pub subject: &'a DeviceSubject,
    /// Its individual enrollment.
    pub individual: Option<&'a IndividualEnrollment>,
    /// Its record.
    pub record: Option<&'a RegistrationRecord>,
    /// What its last admission rests on.
    pub grounds: Option<&'a Grounds>,
    /// The bans that are there of those [`wanted_ban_keys`] names. Some may be over.
    pub bans: &'a [Ban],
    /// Its identities on built-in hubs, without modules, those among them that its record says
    /// nothing of any more.
    pub devices: &'a [(HubName, Device)],
    /// The identities that it had before, by records that are gone or have other ones now.
    pub formers: &'a [Former],
    /// The linked hubs.
    pub hubs: &'a [LinkedHub],
    /// The version of the set of linked hubs.
    pub hubs_version: Version,
    /// What remote hubs are to be told about it by now.
    pub removals: &'a [RemoteRemoval],
    /// To reinstate it: the item that suspended it.
    pub suspended: Option<&'a DeprovisionItem>,
    /// Of the deprovisioning that set the ban on its registration ID: the item, which says what
    /// remote hubs were told.
    pub told: Option<&'a DeprovisionItem>,
}

impl DeviceFacts<'_> {
    /// Whether nothing is known of it but its name, which may be mistyped.
    #[must_use]
    pub fn is_known_nowhere(&self) -> bool {
        self.individual.is_none()
            && self.record.is_none()
            && self.devices.is_empty()
            && self.formers.is_empty()
            && self.suspended.is_none()
            && !self.bans.iter().any(|ban| ban.subject.key() == self.subject.key())
    }

    /// Whether it proves itself with a symmetric key, as far as that is known: whoever has it may
    /// come under any name that the key is good for.
    #[must_use]
    pub fn is_by_key(&self) -> bool {
        let by_proof = |grounds: &Grounds| matches!(grounds.proof, KnownProof::Key { .. });
        let by_terms = |one: &IndividualEnrollment| {
            matches!(one.terms.attestation, AttestationMechanism::SymmetricKey(_))
        };
        self.grounds.is_some_and(by_proof) || self.individual.is_some_and(by_terms)
    }
}

/// What is done to a device: all of ours in one change set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deed {
    /// What to write, and the versions it was decided from.
    pub changes: ChangeSet,
    /// What that comes to.
    pub parts: Vec<Part>,
    /// What remote hubs are told; the change set records it.
    pub remote: Vec<RemoteStep>,
    /// What remote hubs were to be told for an earlier deprovisioning and now are not.
    pub superseded: Vec<(ReportTo, HubName, DeviceId)>,
}

impl Deed {
    /// Whether there is nothing to do: the device is in that state already.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.changes.changes.is_empty()
    }
}

/// The keys of the bans that matter when this is done to a device, beside those that
/// [`RegisterQuery::ban_keys`](model::RegisterQuery::ban_keys) of its grounds names.
#[must_use]
pub fn wanted_ban_keys(
    subject: &DeviceSubject,
    individual: Option<&IndividualEnrollment>,
    grounds: Option<&Grounds>,
) -> Vec<String> {
    bans::subjects(Intent::Revoke, subject, individual, grounds)
        .iter()
        .map(BanSubject::key)
        .collect()
}

/// Decides what is done to one device. `item` is its number in the receipt, which hears what
/// remote hubs say.
#[must_use]
pub fn device(
    facts: &DeviceFacts<'_>,
    act: &Act<'_>,
    item: u64,
    now: Timestamp,
    fresh: &Fresh,
) -> Deed {
    let mut doing = Doing { facts, act, item, now, fresh, deed: Deed::default() };
    match act.intent {
        Intent::Suspend => doing.suspend(),
        Intent::Retire | Intent::Revoke => doing.remove(),
        Intent::Reinstate => doing.reinstate(),
    }
    if !doing.deed.is_nothing() {
        doing.expect_facts();
    }
    doing.deed
}

/// What a plan says of a device: the deed as it would be done now.
#[must_use]
pub fn planned(
    facts: &DeviceFacts<'_>,
    deed: &Deed,
    n_sessions: u32,
    prospects: Prospects,
) -> PlannedDevice {
    let of_record = facts.record.map(|record| record.enrollment.clone());
    let of_individual =
        || facts.individual.map(|one| EnrollmentRef::Individual(one.registration_id.clone()));
    let of_former = || facts.formers.last().map(|former| former.enrollment.clone());
    let mut identities = Vec::new();
    let mut bans = Vec::new();
    for part in &deed.parts {
        match part {
            Part::IdentityDisabled { hub, device_id, .. }
            | Part::IdentityEnabled { hub, device_id }
            | Part::IdentityDeleted { hub, device_id } => identities.push(PlannedIdentity {
                hub: hub.clone(),
                device_id: device_id.clone(),
                is_remote: false,
            }),
            Part::BanSet { key, .. } | Part::BanLifted { key } => bans.push(key.clone()),
            Part::EnrollmentDisabled { .. }
            | Part::EnrollmentEnabled
            | Part::EnrollmentDeleted
            | Part::RecordDeleted
            | Part::LeftAlone { .. } => {}
        }
    }
    identities.extend(deed.remote.iter().map(|step| PlannedIdentity {
        hub: step.hub.clone(),
        device_id: step.device_id.clone(),
        is_remote: true,
    }));
    PlannedDevice {
        is_unchanged: deed.is_nothing(),
        enrollment: of_record.or_else(of_individual).or_else(of_former),
        has_individual: facts.individual.is_some(),
        record: facts.record.map(|record| record.status),
        identities,
        n_sessions,
        bans,
        admitted: prospects.afterwards,
        admitted_without_bans: prospects.without_bans,
    }
}

/// What a suspension writes as an identity's status reason: it tells later that it was us.
#[must_use]
pub fn status_reason(receipt: &ReceiptId, reason: Option<&str>) -> String {
    let mark = mark(receipt);
    let text = reason.map_or_else(|| mark.clone(), |reason| format!("{mark}: {reason}"));
    text.chars().take(MAX_STATUS_REASON_CHARS).collect()
}

/// What the status reasons of a suspension begin with.
fn mark(receipt: &ReceiptId) -> String {
    format!("suspended ({receipt})")
}

struct Doing<'f, 'a> {
    facts: &'f DeviceFacts<'a>,
    act: &'f Act<'a>,
    item: u64,
    now: Timestamp,
    fresh: &'f Fresh,
    deed: Deed,
}

impl Doing<'_, '_> {
    fn suspend(&mut self) {
        self.set_bans();
        if let Some(enrollment) = self.facts.individual.filter(|one| one.terms.is_enabled()) {
            let etag = self.switch_enrollment(enrollment, ProvisioningStatus::Disabled);
            self.deed.parts.push(Part::EnrollmentDisabled { etag });
        }
        let reason = status_reason(self.act.receipt, self.act.reason);
        for (hub, device) in self.facts.devices {
            let identity = &device.identity;
            if identity.status == DeviceStatus::Enabled {
                self.switch_identity(hub, identity, DeviceStatus::Disabled, Some(reason.clone()));
                self.deed.parts.push(Part::IdentityDisabled {
                    hub: hub.clone(),
                    device_id: identity.device_id.clone(),
                    reason_before: identity.status_reason.clone(),
                });
            }
        }
        self.tell_all_hubs();
    }

    /// Retires or revokes.
    fn remove(&mut self) {
        self.set_bans();
        if let Some(enrollment) = self.facts.individual {
            self.change(Change::DeleteIndividual(enrollment.registration_id.clone()));
            self.deed.parts.push(Part::EnrollmentDeleted);
        }
        if let Some(record) = self.facts.record {
            self.change(Change::DeleteRecord(record.registration_id.clone()));
            self.deed.parts.push(Part::RecordDeleted);
        }
        for (hub, device) in self.facts.devices {
            let id = &device.identity.device_id;
            // The twin may be written all the while, by the device; it goes with the identity.
            let version = device.identity.version;
            self.expect(Expect::Identity(hub.clone(), id.clone(), version));
            self.change(Change::DeleteDevice(hub.clone(), id.clone()));
            let (hub, device_id) = (hub.clone(), id.clone());
            self.deed.parts.push(Part::IdentityDeleted { hub, device_id });
        }
        self.tell_all_hubs();
    }

    /// Writes an individual enrollment with its switch turned.
    fn switch_enrollment(
        &mut self,
        enrollment: &IndividualEnrollment,
        status: ProvisioningStatus,
    ) -> Etag {
        let etag = Etag::from_random(self.fresh.etag);
        let terms = enrollment.terms.switched_at(status, self.now, etag.clone());
        let written = IndividualEnrollment { terms, ..enrollment.clone() };
        self.change(Change::PutIndividual(Box::new(written)));
        etag
    }

    /// Writes an identity with its switch turned.
    fn switch_identity(
        &mut self,
        hub: &HubName,
        identity: &DeviceIdentity,
        status: DeviceStatus,
        status_reason: Option<String>,
    ) {
        let written = DeviceIdentity {
            status,
            status_reason,
            status_updated: Some(self.now),
            etag_counter: identity.etag_counter.saturating_add(1),
            ..identity.clone()
        };
        let id = identity.device_id.clone();
        self.expect(Expect::Identity(hub.clone(), id, identity.version));
        self.change(Change::PutIdentity(hub.clone(), Box::new(written)));
    }

    /// Demands that what decided still stands: an enrollment that was made meanwhile, or a hub
    /// that was linked, has its part in it.
    fn expect_facts(&mut self) {
        self.expect(Expect::Hubs(self.facts.hubs_version));
        if let DeviceSubject::Registration(id) = self.facts.subject {
            let individual = self.facts.individual.map_or(0, |one| one.terms.version);
            let record = self.facts.record.map_or(0, |record| record.version);
            self.expect(Expect::Individual(id.clone(), individual));
            self.expect(Expect::Record(id.clone(), record));
        }
    }

    fn expect(&mut self, expect: Expect) {
        self.deed.changes.expects.push(expect);
    }

    fn change(&mut self, change: Change) {
        self.deed.changes.changes.push(change);
    }
}

/// Whether a step on a remote hub is still to be done.
const fn is_pending(step: &RemoteStep) -> bool {
    matches!(step.state, RemoteStepState::Pending { .. })
}

/// What is not known of a device that has no registration ID.
#[must_use]
pub const fn without_prospects() -> Prospects {
    Prospects { afterwards: StillAdmitted::No, without_bans: StillAdmitted::No }
}

#[cfg(test)]
mod tests;
