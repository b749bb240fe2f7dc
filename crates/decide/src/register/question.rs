//! What the operator's webhook is asked, and what it may answer (D §5.11).

use attest::certificate;
use model::{
    AttestationKind, CertificateInfo, CustomAllocation, DeviceId, EnrollmentGroup, Evidence,
    HubName, IndividualEnrollment, Json, RegistrationId,
};

use crate::attestation::Entry;

/// What to ask the operator's webhook (D §5.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Whom to ask.
    pub webhook: CustomAllocation,
    /// The enrollment that decides. It holds secrets: they are not for the webhook.
    pub entry: AskedFor,
    /// Who registers, in the device's spelling.
    pub registration_id: RegistrationId,
    /// Where the device is now, if it is anywhere.
    pub current: Option<(HubName, DeviceId)>,
    /// What the device proved itself with.
    pub proved_by: ProvedBy,
    /// The device's own payload, as received.
    pub payload: Option<Json>,
    /// The hubs the webhook may choose from.
    pub linked_hubs: Vec<HubName>,
}

/// The enrollment a question is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskedFor {
    /// An individual enrollment.
    Individual(Box<IndividualEnrollment>),
    /// An enrollment group.
    Group(Box<EnrollmentGroup>),
}

impl From<Entry<'_>> for AskedFor {
    fn from(entry: Entry<'_>) -> Self {
        match entry {
            Entry::Individual(enrollment) => Self::Individual(Box::new(enrollment.clone())),
            Entry::Group(group) => Self::Group(Box::new(group.clone())),
        }
    }
}

/// What the device proved itself with, as the webhook hears of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProvedBy {
    /// A key; which one is a secret.
    SymmetricKey,
    /// The leaf certificate it presented; absent where it cannot be described.
    X509(Option<Box<CertificateInfo>>),
    /// A TPM.
    Tpm,
}

impl ProvedBy {
    /// What was shown, and accepted as of this kind: a TPM answers with a token as well.
    pub(super) fn of(accepted: AttestationKind, evidence: &Evidence) -> Self {
        match (accepted, evidence) {
            (AttestationKind::X509, Evidence::X509(chain)) => {
                let leaf = chain.first().and_then(|leaf| certificate::describe(&leaf.0).ok());
                Self::X509(leaf.map(|leaf| Box::new(leaf.info)))
            }
            (AttestationKind::X509, _) => Self::X509(None),
            (AttestationKind::Tpm, _) => Self::Tpm,
            (AttestationKind::SymmetricKey, _) => Self::SymmetricKey,
        }
    }
}

/// The webhook's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It chose a hub.
    Hub(Chosen),
    /// It gave none, or none that counts; the sentence is told to the device (D §1.8, 400207).
    Failed(String),
}

/// What the webhook chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The hub, in the webhook's spelling.
    pub hub: String,
    /// A twin to start with, instead of the enrollment's and of any data to migrate.
    pub initial_twin: Option<Json>,
    /// Something for the device; a JSON object.
    pub payload: Option<Json>,
}
