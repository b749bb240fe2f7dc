//! What a change set means to live sessions.

use model::{
    AccessPolicy, CaCertificate, Change, ChangeSet, DeviceId, DeviceIdentity, HubAccess, HubName,
    PolicyScope,
};

use super::LooseEnd;

/// The writes after which a session may no longer hold.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) identities: Vec<(HubName, Box<DeviceIdentity>)>,
    pub(super) deleted: Vec<(HubName, DeviceId)>,
    /// Those that are not built in any more.
    pub(super) hubs: Vec<HubName>,
    pub(super) policies: Vec<(HubName, String, Option<Box<AccessPolicy>>)>,
    pub(super) ca_certificates: Vec<(String, Option<Box<CaCertificate>>)>,
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
        twins.chain(messages).chain(feedback)
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
                self.ca_certificates.push((ca.name.clone(), Some(ca.clone())));
            }
            Change::DeleteCaCertificate(name) => self.ca_certificates.push((name.clone(), None)),
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
            // An enrollment does not end sessions by itself (O §2, H §4.5.3).
            Change::PutIndividual(_)
            | Change::DeleteIndividual(_)
            | Change::PutGroup(_)
            | Change::DeleteGroup(_)
            | Change::PutRecord(_)
            | Change::DeleteRecord(_)
            // Who may connect from where is asked when a device connects.
            | Change::PutServiceSettings(_)
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
            | Change::PutInstanceSetting { .. } => {}
        }
    }
}
