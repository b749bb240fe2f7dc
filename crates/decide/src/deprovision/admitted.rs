//! Who would still get in: the walk of a device at the door, over the facts as they will be.

use std::sync::Arc;

use model::{
    Ban, BanKind, Caller, Change, ChangeSet, EnrollmentGroupId, ProvisioningStatus, RegisterFacts,
    RegistrationId, Sent, SharedAct, SharedPart, StillAdmitted, Timestamp,
};

use super::Deed;
use crate::{
    attestation::{AttestSettings, Known, known},
    ban::InForce,
};

/// What a plan would make of the facts.
#[derive(Debug, Clone, Copy)]
pub struct Hypothesis<'a> {
    /// The device.
    pub id: &'a RegistrationId,
    /// What is done to the device.
    pub deed: &'a Deed,
    /// What is done to groups and CAs as a whole.
    pub shared: &'a [SharedPart],
}

/// Whether a device would still be admitted afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prospects {
    /// As things will stand.
    pub afterwards: StillAdmitted,
    /// Were it not for the bans: which entry they hold it off from.
    pub without_bans: StillAdmitted,
}

/// Asks whether a device would still be admitted, by whatever it proved itself with last.
#[must_use]
pub fn prospects(
    facts: &RegisterFacts,
    hypothesis: Hypothesis<'_>,
    settings: &AttestSettings,
    now: Timestamp,
) -> Prospects {
    // A key is looked for where it is kept now: afterwards it may be gone.
    let device = Known::of(facts, &settings.limits);
    let mut after = facts.clone();
    for part in hypothesis.shared {
        apply_shared(&mut after, part, now);
    }
    apply(&mut after, &hypothesis.deed.changes);
    let ask = |facts: &RegisterFacts| {
        let Ok(device) = &device else { return StillAdmitted::Unknown };
        match known(facts, device, settings, now, &mut Vec::new()) {
            Ok(attested) if attested.terms().is_enabled() => {
                StillAdmitted::By(attested.enrollment())
            }
            Ok(_) | Err(_) => StillAdmitted::No,
        }
    };
    let afterwards = match ask(&after) {
        // Whatever it could prove itself with, its name keeps it out.
        StillAdmitted::Unknown if is_banned_by_name(&after, hypothesis.id, now) => {
            StillAdmitted::No
        }
        other => other,
    };
    after.bans = Vec::new();
    Prospects { afterwards, without_bans: ask(&after) }
}

fn is_banned_by_name(facts: &RegisterFacts, id: &RegistrationId, now: Timestamp) -> bool {
    InForce::new(&facts.bans, now).on_registration(id, facts.individual.is_some()).is_some()
}

/// The facts of a device after its change set.
fn apply(facts: &mut RegisterFacts, changes: &ChangeSet) {
    for change in &changes.changes {
        match change {
            Change::PutIndividual(written) => facts.individual = Some((**written).clone()),
            Change::DeleteIndividual(_) => facts.individual = None,
            Change::DeleteRecord(_) => (facts.record, facts.grounds) = (None, None),
            Change::PutBan(ban) => put_ban(facts, (**ban).clone()),
            Change::DeleteBan(key) => facts.bans.retain(|ban| ban.subject.key() != *key),
            // Identities and what remote hubs are told admit nobody.
            _ => {}
        }
    }
}

/// The facts of a device after something was done to a group or a CA as a whole.
fn apply_shared(facts: &mut RegisterFacts, part: &SharedPart, now: Timestamp) {
    let switch = |facts: &mut RegisterFacts, id: &EnrollmentGroupId, status| {
        for group in Arc::make_mut(&mut facts.groups) {
            if group.group_id == *id {
                group.terms.provisioning_status = Sent::Value(status);
            }
        }
    };
    match &part.act {
        SharedAct::DisableGroup(id, _) => switch(facts, id, ProvisioningStatus::Disabled),
        SharedAct::EnableGroup(id, _) => switch(facts, id, ProvisioningStatus::Enabled),
        SharedAct::DeleteGroup(id, _) => {
            Arc::make_mut(&mut facts.groups).retain(|group| group.group_id != *id);
        }
        SharedAct::SetBan(subject) => put_ban(
            facts,
            Ban {
                subject: subject.clone(),
                kind: BanKind::Revoked,
                reason: None,
                by: Caller { policy: String::new(), address: None },
                created: now,
                expires: None,
                receipt: None,
                version: 0,
            },
        ),
    }
}

fn put_ban(facts: &mut RegisterFacts, ban: Ban) {
    let key = ban.subject.key();
    facts.bans.retain(|old| old.subject.key() != key);
    facts.bans.push(ban);
}
