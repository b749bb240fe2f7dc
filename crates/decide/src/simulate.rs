//! What a change would mean for known devices: who would no longer be admitted, who would be, and
//! through which entry.
//!
//! Nothing is predicted by rules of its own. The facts are made as they would be after the change
//! ([`overlay`]), and the question that is decided for every device at the door is asked of both
//! ([`attestation::known`]).

use std::sync::Arc;

use attest::{certificate, chain};
use model::{
    Ban, CaCertificate, EnrolledCertificate, EnrollmentGroup, EnrollmentGroupId, EnrollmentRef,
    Grounds, GroupQuery, IndividualEnrollment, ProvisioningStatus, RegisterFacts, RegisterQuery,
    RegistrationId, Timestamp,
};

use crate::attestation::{self, AttestSettings, Known, Unknown};

/// A change that is only thought of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hypothesis {
    /// The individual enrollment is put, whatever is there.
    PutIndividual(Box<IndividualEnrollment>),
    /// The individual enrollment is deleted.
    DeleteIndividual(RegistrationId),
    /// The group is put, whatever is there. See [`overlay`] on the certificates that it refers to.
    PutGroup(Box<EnrollmentGroup>),
    /// The group is deleted.
    DeleteGroup(EnrollmentGroupId),
    /// The CA certificate is put into the service's store, whatever is there of its name. See
    /// [`overlay`] on the groups that refer to it.
    PutCaCertificate(Box<CaCertificate>),
    /// The CA certificate of this name is deleted from the service's store.
    DeleteCaCertificate(String),
    /// The ban is set.
    PutBan(Box<Ban>),
    /// The ban of this key is lifted.
    LiftBan(String),
}

impl Hypothesis {
    /// That the individual enrollment is switched on or off.
    #[must_use]
    pub fn switch_individual(of: &IndividualEnrollment, status: ProvisioningStatus) -> Self {
        let terms = of.terms.switched(status);
        Self::PutIndividual(Box::new(IndividualEnrollment { terms, ..of.clone() }))
    }

    /// That the group is switched on or off.
    #[must_use]
    pub fn switch_group(of: &EnrollmentGroup, status: ProvisioningStatus) -> Self {
        let terms = of.terms.switched(status);
        Self::PutGroup(Box::new(EnrollmentGroup { terms, ..of.clone() }))
    }
}

/// What a change means for one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It is admitted by the same entry as before, or is not admitted either way.
    Unchanged,
    /// It is no longer admitted.
    Loses {
        /// By what it was.
        was: EnrollmentRef,
    },
    /// It is admitted, and was not.
    Gains {
        /// By what.
        by: EnrollmentRef,
    },
    /// It is admitted by another entry: it comes back through that one.
    Moves {
        /// By what it was.
        from: EnrollmentRef,
        /// By what it is.
        to: EnrollmentRef,
    },
    /// It cannot be told, because it is not known what the device could prove itself with.
    Unknown(Unknown),
}

/// Which facts to read for a device with these grounds, so that these changes can be thought of:
/// what they put may lead to other certificates and bans of ours.
///
/// # Errors
/// [`Unknown::Unreadable`].
pub fn query(
    registration_id: &RegistrationId,
    grounds: &Grounds,
    changes: &[Hypothesis],
    limits: &chain::Limits,
) -> Result<RegisterQuery, Unknown> {
    let mut query = Known::query(registration_id, grounds, limits)?;
    for certificate in changes.iter().flat_map(certificates_put) {
        if let GroupQuery::ByCa { subjects } = &mut query.groups {
            subjects.extend([certificate.keys.subject, certificate.keys.issuer]);
        }
        let known = certificate::path_certificate(certificate);
        query.ban_keys.extend(known.ban_keys());
        query.serials.push((known.issuer, known.serial));
    }
    Ok(query)
}

/// The CA certificates that a change brings.
fn certificates_put(change: &Hypothesis) -> Vec<&EnrolledCertificate> {
    match change {
        Hypothesis::PutGroup(group) => group.terms.attestation.own_certificates().collect(),
        Hypothesis::PutCaCertificate(ca) => vec![&ca.certificate],
        Hypothesis::PutIndividual(_)
        | Hypothesis::DeleteIndividual(_)
        | Hypothesis::DeleteGroup(_)
        | Hypothesis::DeleteCaCertificate(_)
        | Hypothesis::PutBan(_)
        | Hypothesis::LiftBan(_) => Vec::new(),
    }
}

/// What these changes, one after the other, mean for the device of these facts.
#[must_use]
pub fn effect(
    facts: &RegisterFacts,
    changes: &[Hypothesis],
    settings: &AttestSettings,
    now: Timestamp,
) -> Effect {
    // Before anything changes: its key may be in the entry that goes away.
    let device = match Known::of(facts, &settings.limits) {
        Ok(device) => device,
        Err(unknown) => return Effect::Unknown(unknown),
    };
    let before = admitting(facts, &device, settings, now);
    let after = admitting(&overlay(facts, changes), &device, settings, now);
    match (before, after) {
        (None, None) => Effect::Unchanged,
        (Some(was), None) => Effect::Loses { was },
        (None, Some(by)) => Effect::Gains { by },
        (Some(from), Some(to)) if is_same(&from, &to) => Effect::Unchanged,
        (Some(from), Some(to)) => Effect::Moves { from, to },
    }
}

/// The entry that admits a device: one that is disabled does not.
pub(crate) fn admitting(
    facts: &RegisterFacts,
    device: &Known,
    settings: &AttestSettings,
    now: Timestamp,
) -> Option<EnrollmentRef> {
    let attested = attestation::known(facts, device, settings, now, &mut Vec::new()).ok()?;
    attested.terms().is_enabled().then(|| attested.enrollment())
}

/// The facts as they would be after these changes, one after the other.
///
/// Of groups and CA certificates a superset of what a store would find may be there: the walk looks
/// at names and keys itself. What refers to another thing by its name must come with it, though. Who
/// thinks of a group that refers to CA certificates puts these as well, as they stand; who thinks of
/// a CA certificate under a new name puts the groups that refer to that name.
#[must_use]
pub fn overlay(facts: &RegisterFacts, changes: &[Hypothesis]) -> RegisterFacts {
    let mut after = facts.clone();
    let device = facts.record.as_ref().map(|record| &record.registration_id);
    for change in changes {
        match change {
            Hypothesis::PutIndividual(put) => {
                if is_of(&put.registration_id, device, &after) {
                    after.individual = Some((**put).clone());
                }
            }
            Hypothesis::DeleteIndividual(id) => {
                if is_of(id, device, &after) {
                    after.individual = None;
                }
            }
            Hypothesis::PutGroup(put) => {
                let groups = Arc::make_mut(&mut after.groups);
                groups.retain(|group| group.group_id.key() != put.group_id.key());
                groups.push((**put).clone());
                groups.sort_by(|a, b| a.group_id.key().cmp(b.group_id.key()));
            }
            Hypothesis::DeleteGroup(id) => {
                Arc::make_mut(&mut after.groups).retain(|group| group.group_id.key() != id.key());
            }
            Hypothesis::PutCaCertificate(put) => {
                let cas = Arc::make_mut(&mut after.ca_certificates);
                cas.retain(|ca| ca.name != put.name);
                cas.push((**put).clone());
                cas.sort_by(|a, b| a.name.cmp(&b.name));
            }
            Hypothesis::DeleteCaCertificate(name) => {
                Arc::make_mut(&mut after.ca_certificates).retain(|ca| ca.name != *name);
            }
            Hypothesis::PutBan(put) => {
                let key = put.subject.key();
                after.bans.retain(|ban| ban.subject.key() != key);
                after.bans.push((**put).clone());
                after.bans.sort_by_key(|ban| ban.subject.key());
            }
            Hypothesis::LiftBan(key) => after.bans.retain(|ban| ban.subject.key() != *key),
        }
    }
    after
}

/// Whether an individual enrollment of this ID is that of the device.
fn is_of(id: &RegistrationId, device: Option<&RegistrationId>, facts: &RegisterFacts) -> bool {
    let enrolled = facts.individual.as_ref().map(|enrollment| &enrollment.registration_id);
    device.or(enrolled).is_some_and(|known| known.key() == id.key())
}

fn is_same(a: &EnrollmentRef, b: &EnrollmentRef) -> bool {
    match (a, b) {
        (EnrollmentRef::Individual(a), EnrollmentRef::Individual(b)) => a.key() == b.key(),
        (EnrollmentRef::Group(a), EnrollmentRef::Group(b)) => a.key() == b.key(),
        (EnrollmentRef::Individual(_), EnrollmentRef::Group(_))
        | (EnrollmentRef::Group(_), EnrollmentRef::Individual(_)) => false,
    }
}

#[cfg(test)]
mod tests;
