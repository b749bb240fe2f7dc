//! Attempts: what a device asked of us, what it showed, and what became of it. Kept so that an
//! operator can be told later why a device was admitted or refused.
//!
//! An attempt holds no secret: of the evidence it keeps what it was and its public thumbprints, no
//! token, no signature, no key.

use std::{net::IpAddr, sync::Arc};

use crate::{
    ApiVersion, AttestationKind, ConnectRefusal, DeviceId, DeviceRefusal, EnrollmentRef, Failure,
    HubName, RegistrationId, RegistrationRecord, RegistrationStatus, Step, Timestamp,
};

/// How many steps of a decision are kept with an attempt: more than any decision takes over a
/// chain of legal length.
pub const MAX_KEPT_STEPS: usize = 64;

/// The longest text that is kept in a step or a refusal of an attempt, in characters.
pub const MAX_KEPT_CHARS: usize = 256;

/// By which door a device came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// HTTPS.
    Https,
    /// MQTT, in WebSockets or not.
    Mqtt,
    /// AMQP, in WebSockets or not.
    Amqp,
}

impl Door {
    /// Its name in answers and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Mqtt => "mqtt",
            Self::Amqp => "amqp",
        }
    }
}

/// One attempt; or one and its repetitions, when a device was refused for the same reason again and
/// again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The tracking ID in the (first) answer and in the log.
    pub tracking_id: Arc<str>,
    /// That of the last repetition, if there was one.
    pub last_tracking_id: Option<Arc<str>>,
    /// When.
    pub first: Timestamp,
    /// When it was last repeated; `first` if it was not.
    pub last: Timestamp,
    /// How often, the first time included.
    pub n: u64,
    /// By which door.
    pub door: Door,
    /// From where, without port.
    pub address: IpAddr,
    /// What was asked.
    pub asked: AttemptAsked,
    /// What was shown.
    pub shown: AttemptShown,
    /// What became of it.
    pub outcome: AttemptOutcome,
    /// The enrollment that decided, if it came so far.
    pub enrollment: Option<EnrollmentRef>,
    /// How it was decided, at most [`MAX_KEPT_STEPS`]; empty where nobody looked into it.
    pub steps: Vec<Step>,
    /// Whether the device is one that we know: that has a registration record, an individual
    /// enrollment or an identity. Anybody can make up names of others, so that half of what is kept
    /// is for these.
    pub is_known: bool,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptAsked {
    /// To be registered.
    Register {
        /// The name, as the device spelled it.
        registration_id: RegistrationId,
        /// The version it speaks, if it came to say so.
        api_version: Option<ApiVersion>,
    },
    /// To connect to a hub.
    Connect {
        /// The hub.
        hub: HubName,
        /// The device.
        device_id: DeviceId,
    },
}

impl AttemptAsked {
    /// What the attempts of a device are found by: its name in lower case, so that its
    /// registrations and its connections are found together. A module is found under its device.
    #[must_use]
    pub fn device_key(&self) -> String {
        match self {
            Self::Register { registration_id, .. } => registration_id.key().to_owned(),
            Self::Connect { device_id, .. } => device_id.device().to_ascii_lowercase(),
        }
    }
}

/// What was shown, without any secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct AttemptShown {
    /// Which kind of evidence; none when there was none. A token is counted as a symmetric key's,
    /// also where a TPM answers its challenge with it.
    pub kind: Option<AttestationKind>,
    /// SHA-256 of the leaf's DER.
    pub leaf_sha256: Option<[u8; 32]>,
    /// SHA-1 of the leaf's DER.
    pub leaf_sha1: Option<[u8; 20]>,
    /// SHA-256 of the endorsement key, TPM2B_PUBLIC.
    pub endorsement_key: Option<[u8; 32]>,
}

impl AttemptShown {
    /// Takes over what is known of the certificates and keys; the kind stays.
    pub const fn take_in(&mut self, shown: Self) {
        *self = Self { kind: self.kind, ..shown };
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The device has its hub.
    Assigned {
        /// The hub.
        hub: HubName,
        /// Its name there.
        device_id: DeviceId,
    },
    /// A remote hub is still to be told.
    Assigning {
        /// The hub it goes to.
        hub: HubName,
        /// Its name there.
        device_id: DeviceId,
    },
    /// The enrollment that decided is disabled, and the device was told so.
    Disabled,
    /// The device proved itself, and no hub could be given.
    Failed(Failure),
    /// A TPM was asked to prove itself.
    Challenged,
    /// The registration was refused.
    Refused(DeviceRefusal),
    /// The connection to a hub was refused.
    NotConnected {
        /// The refusal's name.
        name: String,
        /// Its sentence.
        reason: String,
    },
    /// Something of ours failed.
    Fault,
}

impl AttemptOutcome {
    /// What a settled or pending registration is.
    #[must_use]
    pub fn of_record(record: &RegistrationRecord) -> Self {
        let place =
            |assignment: &crate::Assignment| (assignment.hub.clone(), assignment.device_id.clone());
        match (record.status, &record.assignment, &record.pending, &record.failure) {
            (RegistrationStatus::Assigned, Some(assignment), ..) => {
                let (hub, device_id) = place(assignment);
                Self::Assigned { hub, device_id }
            }
            (RegistrationStatus::Assigning, _, Some(pending), _) => {
                let (hub, device_id) = place(&pending.assignment);
                Self::Assigning { hub, device_id }
            }
            (RegistrationStatus::Failed, _, _, Some(failure)) => Self::Failed(failure.clone()),
            (RegistrationStatus::Disabled, ..) => Self::Disabled,
            // No record is written so.
            _ => Self::Fault,
        }
    }

    /// What a connection that was refused is.
    #[must_use]
    pub fn of_connection(refusal: &ConnectRefusal) -> Self {
        let name = match refusal {
            ConnectRefusal::UnknownHub(_) => "UnknownHub",
            ConnectRefusal::UnknownDevice => "UnknownDevice",
            ConnectRefusal::Disabled(_) => "DeviceDisabled",
            ConnectRefusal::Banned(_) => "Banned",
            ConnectRefusal::Disenrolled(_) => "Disenrolled",
            ConnectRefusal::WrongKind(_) => "WrongKind",
            ConnectRefusal::NotAttested(_) => "NotAttested",
            ConnectRefusal::PolicyRefused => "PolicyRefused",
            ConnectRefusal::AddressRefused(_) => "AddressRefused",
            ConnectRefusal::Throttled(_) => "Throttled",
            ConnectRefusal::Conflict => "Conflict",
            ConnectRefusal::Overtaken => "Overtaken",
        };
        Self::NotConnected { name: name.to_owned(), reason: cut(&refusal.to_string()) }
    }

    /// Whether the device got what it asked for, or is on its way to it.
    #[must_use]
    pub const fn is_admission(&self) -> bool {
        matches!(self, Self::Assigned { .. } | Self::Assigning { .. } | Self::Challenged)
    }

    /// A name for it, one word: the refusal's for refusals.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Assigned { .. } => "Assigned",
            Self::Assigning { .. } => "Assigning",
            Self::Disabled => "EnrollmentDisabled",
            Self::Failed(_) => "Failed",
            Self::Challenged => "Challenged",
            Self::Refused(refusal) => refusal_name(refusal),
            Self::NotConnected { name, .. } => name,
            Self::Fault => "Fault",
        }
    }

    /// Why not, as a sentence; nothing for an admission.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Assigned { .. } | Self::Assigning { .. } | Self::Challenged => None,
            Self::Disabled => Some("the enrollment is disabled".to_owned()),
            Self::Failed(failure) => Some(failure.message.clone()),
            Self::Refused(refusal) => Some(refusal.to_string()),
            Self::NotConnected { reason, .. } => Some(reason.clone()),
            Self::Fault => Some("something of the service failed; see its log".to_owned()),
        }
    }
}

/// The name of a device's refusal, one word.
#[must_use]
pub const fn refusal_name(refusal: &DeviceRefusal) -> &'static str {
    match refusal {
        DeviceRefusal::UnknownIdScope => "UnknownIdScope",
        DeviceRefusal::NotEnrolled => "NotEnrolled",
        DeviceRefusal::TpmNotEnrolled => "TpmNotEnrolled",
        DeviceRefusal::NotAttested(_) => "NotAttested",
        DeviceRefusal::Banned { .. } => "Banned",
        DeviceRefusal::UnknownOperation => "UnknownOperation",
        DeviceRefusal::NotRegistered => "NotRegistered",
        DeviceRefusal::Conflict => "Conflict",
        DeviceRefusal::TooManyRegistrations(_) => "TooManyRegistrations",
        DeviceRefusal::AddressRefused(_) => "AddressRefused",
        DeviceRefusal::Throttled(_) => "Throttled",
        DeviceRefusal::BadRequest(_) => "BadRequest",
    }
}

/// A refusal that was given once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRepeat {
    /// The tracking ID of the first time: which attempt it repeats.
    pub tracking_id: Arc<str>,
    /// How often.
    pub n: u64,
    /// When last.
    pub last: Timestamp,
    /// The tracking ID of the last time.
    pub last_tracking_id: Arc<str>,
}

/// An attempt as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAttempt {
    /// Its number: one more than that of the attempt that was written before it.
    pub number: u64,
    /// The attempt.
    pub attempt: Attempt,
}

/// Which attempts to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptFilter {
    /// All.
    All,
    /// The one whose first or last answer had this tracking ID.
    TrackingId(String),
    /// Those of this registration ID or device ID, in any letter case.
    Device(String),
    /// Those whose leaf has this SHA-256 thumbprint.
    Sha256([u8; 32]),
    /// Those whose leaf has this SHA-1 thumbprint.
    Sha1([u8; 20]),
    /// Those of the TPM whose endorsement key has this SHA-256.
    EndorsementKey([u8; 32]),
}

/// Steps as they are kept: no more and no longer than may be, whatever a stranger showed.
#[must_use]
pub fn kept_steps(mut steps: Vec<Step>) -> Vec<Step> {
    steps.truncate(MAX_KEPT_STEPS);
    for step in &mut steps {
        match step {
            Step::CertificateWithoutGroup { subject }
            | Step::CompletedFromStore { subject }
            | Step::ChainEnded { subject } => *subject = cut(subject),
            Step::GroupDecides { by, .. } | Step::Attested { by } => *by = cut(by),
            Step::NotAllocated { why } => *why = cut(why),
            Step::Banned { ban } => *ban = cut(ban),
            Step::CrlOutOfDate { ca } => *ca = cut(ca),
            Step::AttestationFailed(failure) => cut_failure(failure),
            Step::CandidateHubs(hubs) => hubs.truncate(MAX_KEPT_STEPS),
            Step::LookedUpIndividual { .. }
            | Step::IndividualDecides { .. }
            | Step::LookedUpGroups { .. }
            | Step::EnrollmentDisabled
            | Step::KeptAssignment { .. }
            | Step::Allocated { .. }
            | Step::Moved { .. } => {}
        }
    }
    steps
}

/// A refusal as it is kept: no longer than may be.
#[must_use]
pub fn kept_refusal(mut refusal: DeviceRefusal) -> DeviceRefusal {
    match &mut refusal {
        DeviceRefusal::NotAttested(failure) => cut_failure(failure),
        DeviceRefusal::Banned { ban, .. } => *ban = cut(ban),
        DeviceRefusal::AddressRefused(text) | DeviceRefusal::BadRequest(text) => *text = cut(text),
        DeviceRefusal::UnknownIdScope
        | DeviceRefusal::NotEnrolled
        | DeviceRefusal::TpmNotEnrolled
        | DeviceRefusal::UnknownOperation
        | DeviceRefusal::NotRegistered
        | DeviceRefusal::Conflict
        | DeviceRefusal::TooManyRegistrations(_)
        | DeviceRefusal::Throttled(_) => {}
    }
    refusal
}

fn cut_failure(failure: &mut crate::AttestFailure) {
    use crate::AttestFailure as F;
    match failure {
        F::CommonName(text)
        | F::NotYetValid(text)
        | F::Expired(text)
        | F::BadCertificate(text)
        | F::TooLarge(text)
        | F::BadChain(text)
        | F::BadTpmKey(text)
        | F::Revoked(text)
        | F::StaleCrl(text)
        | F::NotEndorsed(text) => *text = cut(text),
        F::NoEvidence
        | F::WrongKind
        | F::WrongResource
        | F::TokenExpired
        | F::BadSignature
        | F::WrongThumbprint
        | F::TpmNotChallenged
        | F::WrongEndorsementKey => {}
    }
}

/// At most [`MAX_KEPT_CHARS`] of a text, without control characters.
fn cut(text: &str) -> String {
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(MAX_KEPT_CHARS).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AttestFailure;

    #[test]
    fn what_a_stranger_wrote_is_kept_within_bounds() {
        let long = "x\n".repeat(10_000);
        let chain = (0..1000).map(|_| Step::ChainEnded { subject: long.clone() });
        let kept = kept_steps(chain.collect());
        assert_eq!(kept.len(), MAX_KEPT_STEPS);
        for step in kept {
            let Step::ChainEnded { subject } = step else { panic!("another step: {step:?}") };
            assert_eq!(subject.chars().count(), MAX_KEPT_CHARS);
            assert!(!subject.contains('\n'));
        }
        let refusal = DeviceRefusal::NotAttested(AttestFailure::BadChain(long));
        assert!(kept_refusal(refusal).to_string().len() < 4 * MAX_KEPT_CHARS);
    }

    #[test]
    fn a_module_is_found_under_its_device_and_case_does_not_matter() {
        let device = DeviceId::parse("Press-17").expect("legal");
        let module = crate::ModuleId::parse("camera").expect("legal");
        let device_id = DeviceId::of_module(&device, &module);
        let hub = HubName::parse("hub-1.localhost").expect("legal");
        assert_eq!(AttemptAsked::Connect { hub, device_id }.device_key(), "press-17");
    }
}
