//! What a change set means to live sessions.

use decide::hub::cause;
use model::{
    AccessPolicy, Ban, CaCertificate, Change, ChangeSet, DeviceId, DeviceIdentity, EnrollmentGroup,
    EnrollmentRef, HubAccess, HubName, IndividualEnrollment, PolicyScope, RevokedChange,
    RevokedStep, ban::serial_key, crl::serial_hex,
};

use super::LooseEnd;

/// A write to something that sessions rest on besides their identity and credential.
#[derive(Debug)]
pub(super) enum Cause {
    Individual(Box<IndividualEnrollment>),
    Group(Box<EnrollmentGroup>),
    Gone(EnrollmentRef),
    Ca(String, Option<[u8; 32]>),
    Ban(Box<Ban>),
    /// The certificates of these serial numbers were revoked by their issuer.
    Revoked(RevokedChange),
}

impl Cause {
    /// The keys under which the sessions are found that it may end.
    pub(super) fn keys(&self) -> Vec<String> {
        match self {
            Self::Individual(individual) => {
                let id = individual.registration_id.clone();
                vec![cause::enrollment_key(&EnrollmentRef::Individual(id))]
            }
            Self::Group(group) => {
                vec![cause::enrollment_key(&EnrollmentRef::Group(group.group_id.clone()))]
            }
            Self::Gone(enrollment) => vec![cause::enrollment_key(enrollment)],
            Self::Ca(name, _) => vec![cause::ca_name_key(name)],
            Self::Ban(ban) => cause::keys_of_ban(&ban.subject),
            // One after the other: there may be a million.
            Self::Revoked(_) => Vec::new(),
        }
    }

    /// The certificates that were revoked, by the keys under which sessions are found.
    pub(super) fn revoked(&self) -> impl Iterator<Item = String> {
        let revoked = match self {
            Self::Revoked(change) => Some(change),
            _ => None,
        };
        revoked.into_iter().flat_map(|change| {
            let key = |serial: &[u8]| serial_key(&change.issuer, &serial_hex(serial));
            change.added.iter().map(key)
        })
    }

    /// As sessions are held against it; nothing for [`Self::revoked`].
    pub(super) fn change(&self) -> Option<cause::Change<'_>> {
        Some(match self {
            Self::Individual(individual) => cause::Change::Individual(individual),
            Self::Group(group) => cause::Change::Group(group),
            Self::Gone(enrollment) => cause::Change::Gone(enrollment),
            Self::Ca(name, is_of) => cause::Change::Ca(name, *is_of),
            Self::Ban(ban) => cause::Change::Ban(ban),
            Self::Revoked(_) => return None,
        })
    }
}

/// The writes after which a session may no longer hold.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) identities: Vec<(HubName, Box<DeviceIdentity>)>,
    pub(super) deleted: Vec<(HubName, DeviceId)>,
    /// Those that are not built in any more.
    pub(super) hubs: Vec<HubName>,
    pub(super) policies: Vec<(HubName, String, Option<Box<AccessPolicy>>)>,
    pub(super) ca_certificates: Vec<(String, Option<Box<CaCertificate>>)>,
    /// What sessions rest on besides.
    pub(super) causes: Vec<Cause>,
    /// Devices whose registration was written: it may rest on something else now.
    pub(super) records: Vec<(HubName, DeviceId)>,
    /// What the service says of sessions whose enrollment ends, if that was written.
    pub(super) disenroll_ends_sessions: Option<bool>,
    /// Twins that were written by an operator.
    twins: Vec<(HubName, DeviceId)>,
    /// Devices for which a message was enqueued.
    messages: Vec<(HubName, DeviceId)>,
    /// Hubs that have feedback on messages.
    pub(super) feedback: Vec<HubName>,
}

impl Touched {
    pub(super) fn by(changes: &ChangeSet) -> Self {
        let mut touched = Self::default();
        for change in &changes.changes {
            touched.take_in(change);
        }
        touched
    }

    /// What is to be told later when it is not known whether this was written.
    pub(super) fn loose_ends(&self) -> impl Iterator<Item = LooseEnd> {
        let twins = self.twins.iter().map(|(hub, id)| LooseEnd::Twin(hub.clone(), id.clone()));
        let messages =
            self.messages.iter().map(|(hub, id)| LooseEnd::Message(hub.clone(), id.clone()));
        let feedback = self.feedback.iter().map(|hub| LooseEnd::Feedback(hub.clone()));
        let records = self.records.iter();
        let origins = records.map(|(hub, id)| LooseEnd::Origin(hub.clone(), id.clone()));
        twins.chain(messages).chain(feedback).chain(origins)
    }

    /// Without `_`: a new kind of change has to say what it means to live sessions.
    fn take_in(&mut self, change: &Change) {
        match change {
            Change::PutDevice(hub, device) => {
                self.identities.push((hub.clone(), Box::new(device.identity.clone())));
            }
            Change::PutIdentity(hub, identity) => {
                self.identities.push((hub.clone(), identity.clone()));
            }
            Change::DeleteDevice(hub, id) => self.deleted.push((hub.clone(), id.clone())),
            Change::DeleteLinkedHub(name) => self.hubs.push(name.clone()),
            Change::PutLinkedHub(hub) => {
                if hub.access != HubAccess::BuiltIn {
                    self.hubs.push(hub.name.clone());
                }
            }
            Change::PutPolicy(policy) => {
                if let PolicyScope::Hub(hub) = &policy.scope {
                    let (name, policy) = (policy.name.clone(), Some(policy.clone()));
                    self.policies.push((hub.clone(), name, policy));
                }
            }
            Change::DeletePolicy(scope, name) => {
                if let PolicyScope::Hub(hub) = scope {
                    self.policies.push((hub.clone(), name.clone(), None));
                }
            }
            Change::PutCaCertificate(ca) => {
                let is_of = ca.verified.then_some(ca.certificate.keys.subject_and_key);
                self.causes.push(Cause::Ca(ca.name.clone(), is_of));
                self.ca_certificates.push((ca.name.clone(), Some(ca.clone())));
            }
            Change::DeleteCaCertificate(name) => {
                self.causes.push(Cause::Ca(name.clone(), None));
                self.ca_certificates.push((name.clone(), None));
            }
            Change::PutIndividual(enrollment) => {
                self.causes.push(Cause::Individual(enrollment.clone()));
            }
            Change::DeleteIndividual(id) => {
                self.causes.push(Cause::Gone(EnrollmentRef::Individual(id.clone())));
            }
            Change::PutGroup(group) => self.causes.push(Cause::Group(group.clone())),
            Change::DeleteGroup(id) => {
                self.causes.push(Cause::Gone(EnrollmentRef::Group(id.clone())));
            }
            Change::ChangeRevoked(change) => {
                // What is written in parts is told as a whole, with the list.
                if change.step != RevokedStep::Part {
                    self.causes.push(Cause::Revoked(change.clone()));
                }
            }
            Change::PutBan(ban) => self.causes.push(Cause::Ban(ban.clone())),
            // Who may connect from where is asked when a device connects.
            Change::PutServiceSettings(settings) => {
                self.disenroll_ends_sessions = Some(settings.disenroll_ends_sessions);
            }
            Change::PutRecord(record) => {
                let assigned = record.assignment.as_ref();
                self.records.extend(assigned.map(|a| (a.hub.clone(), a.device_id.clone())));
            }
            Change::PutTwin(hub, id, _) => self.twins.push((hub.clone(), id.clone())),
            Change::EnqueueMessage(hub, message) => {
                self.messages.push((hub.clone(), message.device_id.clone()));
            }
            Change::AppendFeedback(hub, _) => {
                // A purge writes one for each message.
                if self.feedback.last() != Some(hub) {
                    self.feedback.push(hub.clone());
                }
            }
            // Whom a lifted ban was about was let go of already.
            Change::DeleteBan(_)
            | Change::PutGrounds(..)
            | Change::PutCrl(_)
            | Change::NoteCrlFetch(..)
            | Change::DeleteCrl(_)
            | Change::PutReceipt(_)
            | Change::PutReceiptItem(_)
            | Change::TrimReceipts { .. }
            | Change::DeleteRecord(_)
            | Change::Connect { .. }
            | Change::Disconnect { .. }
            | Change::DisconnectAll { .. }
            | Change::Touch { .. }
            | Change::PutSubscriptions(..)
            | Change::DeleteSubscriptions(..)
            | Change::AppendEvent(..)
            | Change::TrimEvents { .. }
            | Change::PutMessage(..)
            | Change::DeleteMessage(..)
            | Change::DeleteFeedback(..)
            | Change::PutTpmChallenge(_)
            | Change::TrimTpmChallenges(_)
            | Change::PutRemoval(_)
            | Change::DeleteRemoval(..)
            | Change::Audit(_)
            | Change::AppendAttempts { .. }
            | Change::PutInstanceSetting { .. } => {}
        }
    }
}
