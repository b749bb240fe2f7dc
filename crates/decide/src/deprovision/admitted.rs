//! Who would still get in: the walk of a device at the door, over the facts as they will be.

use model::{
    Ban, BanKind, Caller, Change, EnrollmentGroup, EnrollmentGroupId, ProvisioningStatus,
    RegisterFacts, RegistrationId, SharedAct, SharedPart, StillAdmitted, Timestamp,
};

use super::Deed;
use crate::{
    attestation::{AttestSettings, Known},
    ban::InForce,
    simulate::{Hypothesis, admitting, overlay},
};

/// What a plan does that may matter to a device.
#[derive(Debug, Clone, Copy)]
pub struct PlannedActs<'a> {
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
    acts: PlannedActs<'_>,
    settings: &AttestSettings,
    now: Timestamp,
) -> Prospects {
    // A key is looked for where it is kept now: afterwards it may be gone.
    let device = Known::of(facts, &settings.limits);
    let mut after = overlay(facts, &acts.hypotheses(&facts.groups, now));
    let ask = |facts: &RegisterFacts| {
        let Ok(device) = &device else { return StillAdmitted::Unknown };
        admitting(facts, device, settings, now).map_or(StillAdmitted::No, StillAdmitted::By)
    };
    let afterwards = match ask(&after) {
        // Whatever it could prove itself with, its name keeps it out.
        StillAdmitted::Unknown if is_banned_by_name(&after, acts.id, now) => StillAdmitted::No,
        other => other,
    };
    after.bans = Vec::new();
    Prospects { afterwards, without_bans: ask(&after) }
}

fn is_banned_by_name(facts: &RegisterFacts, id: &RegistrationId, now: Timestamp) -> bool {
    InForce::new(&facts.bans, now).on_registration(id, facts.individual.is_some()).is_some()
}

impl PlannedActs<'_> {
    /// The acts as changes of the facts, of which these are the groups.
    fn hypotheses(&self, groups: &[EnrollmentGroup], now: Timestamp) -> Vec<Hypothesis> {
        let shared = self.shared.iter().filter_map(|part| of_shared(&part.act, groups, now));
        let deed = self.deed.changes.changes.iter().filter_map(of_change);
        shared.chain(deed).collect()
    }
}

/// What is written of a device, as far as it may matter to whether it is admitted.
fn of_change(change: &Change) -> Option<Hypothesis> {
    match change {
        Change::PutIndividual(written) => Some(Hypothesis::PutIndividual(written.clone())),
        Change::DeleteIndividual(id) => Some(Hypothesis::DeleteIndividual(id.clone())),
        Change::PutBan(ban) => Some(Hypothesis::PutBan(ban.clone())),
        Change::DeleteBan(key) => Some(Hypothesis::LiftBan(key.clone())),
        // Records, identities and what remote hubs are told admit nobody.
        _ => None,
    }
}

/// What is done to a group or a CA as a whole. A group that is not among these is none that could
/// admit the device.
fn of_shared(act: &SharedAct, groups: &[EnrollmentGroup], now: Timestamp) -> Option<Hypothesis> {
    let switched = |id: &EnrollmentGroupId, status| {
        let group = groups.iter().find(|group| group.group_id == *id)?;
        Some(Hypothesis::switch_group(group, status))
    };
    match act {
        SharedAct::DisableGroup(id, _) => switched(id, ProvisioningStatus::Disabled),
        SharedAct::EnableGroup(id, _) => switched(id, ProvisioningStatus::Enabled),
        SharedAct::DeleteGroup(id, _) => Some(Hypothesis::DeleteGroup(id.clone())),
        SharedAct::SetBan(subject) => Some(Hypothesis::PutBan(Box::new(Ban {
            subject: subject.clone(),
            kind: BanKind::Revoked,
            reason: None,
            by: Caller { policy: String::new(), address: None },
            created: now,
            expires: None,
            receipt: None,
            version: 0,
        }))),
    }
}
