//! Steps of decisions and refusals as documents.

use model::{
    AllocationPolicy, AttestFailure, AttestationKind, DeviceRefusal, EnrollmentGroupId, HubName,
    RegistrationId, Reprovision, Step,
};
use serde::{Deserialize, Serialize};

use crate::codec::Word;

/// What cannot be read back, in words.
type Unreadable = &'static str;

const BAD_STEP: Unreadable = "a step that this release does not know";
const BAD_REFUSAL: Unreadable = "a refusal that this release does not know";

/// A step.
#[derive(Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum StepDocument {
    LookedUpIndividual { registration_id: String, found: bool },
    IndividualDecides { registration_id: String, kind: String },
    LookedUpGroups { kind: String, candidates: usize },
    CertificateWithoutGroup { subject: String },
    CompletedFromStore { subject: String },
    ChainEnded { subject: String },
    GroupDecides { group_id: String, by: String },
    Banned { ban: String },
    CrlOutOfDate { ca: String },
    Attested { by: String },
    AttestationFailed { why: FailureDocument },
    EnrollmentDisabled,
    KeptAssignment { hub: String, rule: String },
    CandidateHubs { hubs: Vec<String> },
    Allocated { policy: String, hub: String },
    NotAllocated { why: String },
    Moved { from: String, to: String, rule: String },
}

/// Why evidence did not do: a name, and what was said of it.
#[derive(Serialize, Deserialize)]
pub(super) struct FailureDocument {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// Why a request was refused.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RefusalDocument {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    is_tpm: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<FailureDocument>,
}

impl StepDocument {
    pub(super) fn of(step: &Step) -> Self {
        let word = |word: &'static str| word.to_owned();
        match step {
            Step::LookedUpIndividual { registration_id, found } => Self::LookedUpIndividual {
                registration_id: registration_id.as_str().to_owned(),
                found: *found,
            },
            Step::IndividualDecides { registration_id, kind } => Self::IndividualDecides {
                registration_id: registration_id.as_str().to_owned(),
                kind: word(kind.word()),
            },
            Step::LookedUpGroups { kind, candidates } => {
                Self::LookedUpGroups { kind: word(kind.word()), candidates: *candidates }
            }
            Step::CertificateWithoutGroup { subject } => {
                Self::CertificateWithoutGroup { subject: subject.clone() }
            }
            Step::CompletedFromStore { subject } => {
                Self::CompletedFromStore { subject: subject.clone() }
            }
            Step::ChainEnded { subject } => Self::ChainEnded { subject: subject.clone() },
            Step::GroupDecides { group_id, by } => {
                Self::GroupDecides { group_id: group_id.as_str().to_owned(), by: by.clone() }
            }
            Step::Banned { ban } => Self::Banned { ban: ban.clone() },
            Step::CrlOutOfDate { ca } => Self::CrlOutOfDate { ca: ca.clone() },
            Step::Attested { by } => Self::Attested { by: by.clone() },
            Step::AttestationFailed(why) => {
                Self::AttestationFailed { why: FailureDocument::of(why) }
            }
            Step::EnrollmentDisabled => Self::EnrollmentDisabled,
            Step::KeptAssignment { hub, rule } => {
                Self::KeptAssignment { hub: hub.to_string(), rule: word(rule.word()) }
            }
            Step::CandidateHubs(hubs) => {
                Self::CandidateHubs { hubs: hubs.iter().map(HubName::to_string).collect() }
            }
            Step::Allocated { policy, hub } => {
                Self::Allocated { policy: word(policy.word()), hub: hub.to_string() }
            }
            Step::NotAllocated { why } => Self::NotAllocated { why: why.clone() },
            Step::Moved { from, to, rule } => {
                Self::Moved { from: from.to_string(), to: to.to_string(), rule: word(rule.word()) }
            }
        }
    }

    pub(super) fn read(self) -> Result<Step, Unreadable> {
        let registration = |text: String| RegistrationId::parse(&text).map_err(|_| BAD_STEP);
        let hub = |text: String| HubName::parse(&text).map_err(|_| BAD_STEP);
        let kind = |text: String| AttestationKind::from_word(&text).ok_or(BAD_STEP);
        let rule = |text: String| Reprovision::from_word(&text).ok_or(BAD_STEP);
        Ok(match self {
            Self::LookedUpIndividual { registration_id, found } => {
                Step::LookedUpIndividual { registration_id: registration(registration_id)?, found }
            }
            Self::IndividualDecides { registration_id, kind: of } => Step::IndividualDecides {
                registration_id: registration(registration_id)?,
                kind: kind(of)?,
            },
            Self::LookedUpGroups { kind: of, candidates } => {
                Step::LookedUpGroups { kind: kind(of)?, candidates }
            }
            Self::CertificateWithoutGroup { subject } => Step::CertificateWithoutGroup { subject },
            Self::CompletedFromStore { subject } => Step::CompletedFromStore { subject },
            Self::ChainEnded { subject } => Step::ChainEnded { subject },
            Self::GroupDecides { group_id, by } => Step::GroupDecides {
                group_id: EnrollmentGroupId::parse(&group_id).map_err(|_| BAD_STEP)?,
                by,
            },
            Self::Banned { ban } => Step::Banned { ban },
            Self::CrlOutOfDate { ca } => Step::CrlOutOfDate { ca },
            Self::Attested { by } => Step::Attested { by },
            Self::AttestationFailed { why } => Step::AttestationFailed(why.read()?),
            Self::EnrollmentDisabled => Step::EnrollmentDisabled,
            Self::KeptAssignment { hub: to, rule: by } => {
                Step::KeptAssignment { hub: hub(to)?, rule: rule(by)? }
            }
            Self::CandidateHubs { hubs } => {
                Step::CandidateHubs(hubs.into_iter().map(hub).collect::<Result<_, _>>()?)
            }
            Self::Allocated { policy, hub: to } => Step::Allocated {
                policy: AllocationPolicy::from_word(&policy).ok_or(BAD_STEP)?,
                hub: hub(to)?,
            },
            Self::NotAllocated { why } => Step::NotAllocated { why },
            Self::Moved { from, to, rule: by } => {
                Step::Moved { from: hub(from)?, to: hub(to)?, rule: rule(by)? }
            }
        })
    }
}

impl FailureDocument {
    fn of(failure: &AttestFailure) -> Self {
        use AttestFailure as F;
        let (name, text) = match failure {
            F::NoEvidence => ("NoEvidence", None),
            F::WrongKind => ("WrongKind", None),
            F::WrongResource => ("WrongResource", None),
            F::TokenExpired => ("TokenExpired", None),
            F::BadSignature => ("BadSignature", None),
            F::CommonName(text) => ("CommonName", Some(text)),
            F::WrongThumbprint => ("WrongThumbprint", None),
            F::NotYetValid(text) => ("NotYetValid", Some(text)),
            F::Expired(text) => ("Expired", Some(text)),
            F::BadCertificate(text) => ("BadCertificate", Some(text)),
            F::TooLarge(text) => ("TooLarge", Some(text)),
            F::BadChain(text) => ("BadChain", Some(text)),
            F::TpmNotChallenged => ("TpmNotChallenged", None),
            F::BadTpmKey(text) => ("BadTpmKey", Some(text)),
            F::WrongEndorsementKey => ("WrongEndorsementKey", None),
            F::Revoked(text) => ("Revoked", Some(text)),
            F::StaleCrl(text) => ("StaleCrl", Some(text)),
            F::NotEndorsed(text) => ("NotEndorsed", Some(text)),
        };
        Self { name: name.to_owned(), text: text.cloned() }
    }

    fn read(self) -> Result<AttestFailure, Unreadable> {
        use AttestFailure as F;
        let text = self.text.unwrap_or_default();
        Ok(match self.name.as_str() {
            "NoEvidence" => F::NoEvidence,
            "WrongKind" => F::WrongKind,
            "WrongResource" => F::WrongResource,
            "TokenExpired" => F::TokenExpired,
            "BadSignature" => F::BadSignature,
            "CommonName" => F::CommonName(text),
            "WrongThumbprint" => F::WrongThumbprint,
            "NotYetValid" => F::NotYetValid(text),
            "Expired" => F::Expired(text),
            "BadCertificate" => F::BadCertificate(text),
            "TooLarge" => F::TooLarge(text),
            "BadChain" => F::BadChain(text),
            "TpmNotChallenged" => F::TpmNotChallenged,
            "BadTpmKey" => F::BadTpmKey(text),
            "WrongEndorsementKey" => F::WrongEndorsementKey,
            "Revoked" => F::Revoked(text),
            "StaleCrl" => F::StaleCrl(text),
            "NotEndorsed" => F::NotEndorsed(text),
            _ => return Err(BAD_REFUSAL),
        })
    }
}

impl RefusalDocument {
    pub(super) fn of(refusal: &DeviceRefusal) -> Self {
        use DeviceRefusal as R;
        let name = model::attempt::refusal_name(refusal).to_owned();
        let plain = Self { name, text: None, number: None, is_tpm: None, why: None };
        match refusal {
            R::NotAttested(why) => Self { why: Some(FailureDocument::of(why)), ..plain },
            R::Banned { ban, is_tpm } => {
                Self { text: Some(ban.clone()), is_tpm: Some(*is_tpm), ..plain }
            }
            R::TooManyRegistrations(limit) => Self { number: Some(*limit), ..plain },
            R::Throttled(secs) => Self { number: Some(u64::from(*secs)), ..plain },
            R::AddressRefused(text) | R::BadRequest(text) => {
                Self { text: Some(text.clone()), ..plain }
            }
            R::UnknownIdScope
            | R::NotEnrolled
            | R::TpmNotEnrolled
            | R::UnknownOperation
            | R::NotRegistered
            | R::Conflict => plain,
        }
    }

    pub(super) fn read(self) -> Result<DeviceRefusal, Unreadable> {
        use DeviceRefusal as R;
        let (text, number) = (self.text.unwrap_or_default(), self.number.unwrap_or_default());
        Ok(match self.name.as_str() {
            "UnknownIdScope" => R::UnknownIdScope,
            "NotEnrolled" => R::NotEnrolled,
            "TpmNotEnrolled" => R::TpmNotEnrolled,
            "NotAttested" => R::NotAttested(self.why.ok_or(BAD_REFUSAL)?.read()?),
            "Banned" => R::Banned { ban: text, is_tpm: self.is_tpm.unwrap_or_default() },
            "UnknownOperation" => R::UnknownOperation,
            "NotRegistered" => R::NotRegistered,
            "Conflict" => R::Conflict,
            "TooManyRegistrations" => R::TooManyRegistrations(number),
            "AddressRefused" => R::AddressRefused(text),
            "Throttled" => R::Throttled(u32::try_from(number).unwrap_or(u32::MAX)),
            "BadRequest" => R::BadRequest(text),
            _ => return Err(BAD_REFUSAL),
        })
    }
}
