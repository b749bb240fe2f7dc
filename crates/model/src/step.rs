//! The path of a decision: which entries were looked at, which matched, which rule decided.

use crate::{
    AllocationPolicy, AttestFailure, AttestationKind, EnrollmentGroupId, HubName, RegistrationId,
    Reprovision,
};

/// An answer, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided<T> {
    /// The answer.
    pub answer: T,
    /// The steps to it, in order.
    pub steps: Vec<Step>,
}

/// One step of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The individual enrollments were looked up by registration ID.
    LookedUpIndividual {
        /// The ID.
        registration_id: RegistrationId,
        /// Whether there is one.
        found: bool,
    },
    /// An individual enrollment decides, whatever its type.
    IndividualDecides {
        /// Its ID.
        registration_id: RegistrationId,
        /// What it wants.
        kind: AttestationKind,
    },
    /// The groups were asked, so many of them.
    LookedUpGroups {
        /// By which kind of evidence.
        kind: AttestationKind,
        /// How many came into question.
        candidates: usize,
    },
    /// A certificate of the chain belongs to no group; the walk goes on to its issuer.
    CertificateWithoutGroup {
        /// Its subject.
        subject: String,
    },
    /// A certificate of the chain was not presented and was taken from our own store.
    CompletedFromStore {
        /// Its subject.
        subject: String,
    },
    /// The walk ended without a group.
    ChainEnded {
        /// The subject of the last certificate reached.
        subject: String,
    },
    /// A group decides.
    GroupDecides {
        /// Its ID.
        group_id: EnrollmentGroupId,
        /// What of it matched: a certificate's subject, or which key.
        by: String,
    },
    /// A ban keeps the device out.
    Banned {
        /// The ban's key.
        ban: String,
    },
    /// The revocation list of a CA that the device rests on is out of date, which is let pass.
    CrlOutOfDate {
        /// The CA's name.
        ca: String,
    },
    /// The evidence satisfied the mechanism.
    Attested {
        /// By what: a thumbprint, a chain, a key slot.
        by: String,
    },
    /// The evidence did not satisfy the mechanism.
    AttestationFailed(AttestFailure),
    /// The enrollment that decides is disabled.
    EnrollmentDisabled,
    /// An earlier assignment stands.
    KeptAssignment {
        /// The hub.
        hub: HubName,
        /// By which rule.
        rule: Reprovision,
    },
    /// These hubs came into question.
    CandidateHubs(Vec<HubName>),
    /// A hub was chosen.
    Allocated {
        /// The policy applied.
        policy: AllocationPolicy,
        /// The hub.
        hub: HubName,
    },
    /// No hub could be chosen.
    NotAllocated {
        /// Why, in words.
        why: String,
    },
    /// The device moves between hubs.
    Moved {
        /// From there.
        from: HubName,
        /// To here.
        to: HubName,
        /// With or without its data.
        rule: Reprovision,
    },
}
