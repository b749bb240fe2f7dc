//! What a change means to refusals that are kept.

use model::{Change, RegistrationId};

/// Whose answer a change can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Concern<'a> {
    /// Anybody's.
    Everyone,
    /// That of one registration ID.
    One(&'a RegistrationId),
    /// Nobody's.
    Nobody,
}

/// Without `_`: a new kind of change has to say whom it could admit, or keep out for another
/// reason than before.
pub(super) const fn concern(change: &Change) -> Concern<'_> {
    match change {
        Change::PutIndividual(enrollment) => Concern::One(&enrollment.registration_id),
        Change::DeleteIndividual(id) | Change::DeleteRecord(id) | Change::PutGrounds(id, _) => {
            Concern::One(id)
        }
        Change::PutRecord(record) => Concern::One(&record.registration_id),
        // A token that fitted nothing may be the answer to it.
        Change::PutTpmChallenge(challenge) => Concern::One(&challenge.registration_id),
        Change::PutGroup(_)
        | Change::DeleteGroup(_)
        | Change::PutCaCertificate(_)
        | Change::DeleteCaCertificate(_)
        | Change::PutBan(_)
        | Change::DeleteBan(_)
        | Change::PutCrl(_)
        | Change::ChangeRevoked(_)
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
        | Change::AppendAttempts { .. }
        | Change::PutInstanceSetting { .. } => Concern::Nobody,
    }
}
