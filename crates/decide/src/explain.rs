//! Decisions in words: for an operator who asks why a device was admitted or refused.
//!
//! What is told here is told of the steps that the decision itself took, so it never disagrees with
//! it. No text holds a secret or a certificate. What a device hears is not here: that is less, and
//! in `wire`.

pub mod evidence;
mod would;

use model::{
    AllocationPolicy, Attempt, AttemptAsked, AttemptOutcome, AttestFailure, AttestationKind,
    DeviceRefusal, EnrollmentRef, HubName, Reprovision, Step,
};

pub use self::would::{Verdict, would};

/// A decision in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// How it was decided: one sentence for each step, in order.
    pub steps: Vec<String>,
    /// What became of it, a sentence.
    pub outcome: String,
    /// The entry that decided, if one did.
    pub entry: Option<EnrollmentRef>,
    /// What to change so that it comes out otherwise; none where nothing is wrong.
    pub remedy: Option<String>,
}

/// An attempt in words.
#[must_use]
pub fn attempt(attempt: &Attempt) -> Explanation {
    explain(&attempt.asked, &attempt.steps, &attempt.outcome, attempt.enrollment.as_ref())
}

/// A decision in words: what was asked, the steps that were taken and what came of them. The entry
/// that decided is taken from the steps where it is not given.
#[must_use]
pub fn explain(
    asked: &AttemptAsked,
    steps: &[Step],
    outcome: &AttemptOutcome,
    entry: Option<&EnrollmentRef>,
) -> Explanation {
    let entry = entry.cloned().or_else(|| deciding_entry(steps));
    Explanation {
        steps: steps.iter().map(step).collect(),
        outcome: outcome_in_words(asked, outcome),
        remedy: remedy(asked, steps, outcome, entry.as_ref()),
        entry,
    }
}

/// The entry that decided, by the steps: the last one that any of them names. An individual
/// enrollment that is disabled stays the one, whichever group vouched for the device.
#[must_use]
pub fn deciding_entry(steps: &[Step]) -> Option<EnrollmentRef> {
    let individual = steps.iter().find_map(|step| match step {
        Step::IndividualDecides { registration_id, .. } => {
            Some(EnrollmentRef::Individual(registration_id.clone()))
        }
        _ => None,
    });
    individual.or_else(|| {
        steps.iter().rev().find_map(|step| match step {
            Step::GroupDecides { group_id, .. } => Some(EnrollmentRef::Group(group_id.clone())),
            _ => None,
        })
    })
}

/// One step, a sentence.
#[must_use]
pub fn step(step: &Step) -> String {
    match step {
        Step::LookedUpIndividual { registration_id, found: true } => {
            format!("There is an individual enrollment of `{registration_id}`.")
        }
        Step::LookedUpIndividual { registration_id, found: false } => {
            format!("There is no individual enrollment of `{registration_id}`.")
        }
        Step::IndividualDecides { kind, .. } => {
            format!("It decides, whatever groups there are; it wants {}.", wanted(*kind))
        }
        Step::LookedUpGroups { kind, candidates: 0 } => {
            format!("No group for devices with {} comes into question.", shown(*kind))
        }
        Step::LookedUpGroups { kind, candidates: 1 } => {
            format!("One group for devices with {} comes into question.", shown(*kind))
        }
        Step::LookedUpGroups { kind, candidates } => {
            format!("{candidates} groups for devices with {} come into question.", shown(*kind))
        }
        Step::CertificateWithoutGroup { subject } => format!(
            "The CA `{subject}` on the way up the chain has no group; the way goes on to its issuer."
        ),
        Step::CompletedFromStore { subject } => {
            format!(
                "The device did not present `{subject}`; it was taken from the certificates here."
            )
        }
        Step::ChainEnded { subject } => {
            format!("The way up the chain ends at `{subject}`: its issuer is not known here.")
        }
        Step::GroupDecides { group_id, by } => {
            format!("The group `{group_id}` decides, by {by}.")
        }
        Step::Banned { ban } => format!("The ban `{ban}` keeps the device out."),
        Step::CrlOutOfDate { ca } => format!(
            "The revocation list of `{ca}` is out of date; the group admits devices all the same."
        ),
        Step::Attested { by } => format!("The device proved itself by {by}."),
        Step::AttestationFailed(failure) => format!("The proof failed: {failure}."),
        Step::EnrollmentDisabled => "The enrollment that decides is disabled.".to_owned(),
        Step::KeptAssignment { hub, rule } => {
            format!("The device stays on `{hub}`: {}.", reprovision(*rule))
        }
        Step::CandidateHubs(hubs) if hubs.is_empty() => "No hub comes into question.".to_owned(),
        Step::CandidateHubs(hubs) => format!("These hubs come into question: {}.", list(hubs)),
        Step::Allocated { policy, hub } => {
            format!("The policy `{}` chose the hub `{hub}`.", policy_name(*policy))
        }
        Step::NotAllocated { why } => {
            format!("No hub could be given: {}.", why.trim_end_matches('.'))
        }
        Step::Moved { from, to, rule } => {
            format!("The device moves from `{from}` to `{to}`: {}.", reprovision(*rule))
        }
    }
}

fn outcome_in_words(asked: &AttemptAsked, outcome: &AttemptOutcome) -> String {
    let who = who(asked);
    match outcome {
        AttemptOutcome::Assigned { hub, device_id } => {
            format!("{who} was assigned to `{hub}` as `{device_id}`.")
        }
        AttemptOutcome::Assigning { hub, device_id } => format!(
            "{who} is being assigned to `{hub}` as `{device_id}`; that hub is elsewhere and still \
             has to be told."
        ),
        AttemptOutcome::Disabled => {
            format!("{who} proved itself and was told that its enrollment is disabled.")
        }
        AttemptOutcome::Failed(failure) => format!(
            "{who} proved itself and got no hub ({}): {}.",
            failure.code,
            failure.message.trim_end_matches('.')
        ),
        AttemptOutcome::Challenged => {
            format!("{who} showed a TPM's keys and was asked to prove that it holds them.")
        }
        AttemptOutcome::Refused(refusal) => format!("{who} was refused: {refusal}."),
        AttemptOutcome::NotConnected { reason, .. } => {
            format!("{who} was not let in: {}.", reason.trim_end_matches('.'))
        }
        AttemptOutcome::Fault => {
            format!("{who} got no answer: something of the service failed; its log says what.")
        }
    }
}

fn who(asked: &AttemptAsked) -> String {
    match asked {
        AttemptAsked::Register { registration_id, .. } => format!("`{registration_id}`"),
        AttemptAsked::Connect { hub, device_id } => {
            format!("`{device_id}`, on its way to `{hub}`,")
        }
    }
}

fn remedy(
    asked: &AttemptAsked,
    steps: &[Step],
    outcome: &AttemptOutcome,
    entry: Option<&EnrollmentRef>,
) -> Option<String> {
    match outcome {
        AttemptOutcome::Assigned { .. }
        | AttemptOutcome::Assigning { .. }
        | AttemptOutcome::Challenged => None,
        AttemptOutcome::Disabled => Some(format!("Enable {}.", named(entry))),
        AttemptOutcome::Failed(_) => Some(format!(
            "See that a hub is linked which {} may choose, and that its webhook and initial twin, \
             if it has any, are in order.",
            named(entry)
        )),
        AttemptOutcome::Refused(refusal) => refusal_remedy(asked, steps, refusal, entry),
        AttemptOutcome::NotConnected { name, .. } => connection_remedy(name),
        AttemptOutcome::Fault => Some("Look for the tracking ID in the service's log.".to_owned()),
    }
}

fn refusal_remedy(
    asked: &AttemptAsked,
    steps: &[Step],
    refusal: &DeviceRefusal,
    entry: Option<&EnrollmentRef>,
) -> Option<String> {
    let text = match refusal {
        DeviceRefusal::UnknownIdScope => "Give the device this service's ID scope.".to_owned(),
        DeviceRefusal::NotEnrolled => not_enrolled(asked, steps),
        DeviceRefusal::TpmNotEnrolled => match failure_in(steps) {
            Some(failure) => attest_remedy(failure, entry),
            None => format!(
                "Create an individual enrollment of {} with the TPM's endorsement key, or a group \
                 with the certificate of the TPM's vendor.",
                who(asked)
            ),
        },
        DeviceRefusal::NotAttested(failure) => attest_remedy(failure, entry),
        DeviceRefusal::Banned { ban, .. } => ban_remedy(ban),
        DeviceRefusal::UnknownOperation => {
            "The device has to register anew: operations can be polled for an hour.".to_owned()
        }
        DeviceRefusal::NotRegistered => {
            "The device has to register before it can be looked up.".to_owned()
        }
        DeviceRefusal::Conflict => {
            "The device will succeed when it asks again; if it never does, something keeps writing \
             its registration."
                .to_owned()
        }
        DeviceRefusal::TooManyRegistrations(_) => {
            "Delete registration records that nobody needs, orphaned ones first, or raise the \
             limit."
                .to_owned()
        }
        DeviceRefusal::AddressRefused(address) => {
            format!("Change the IP rule that keeps `{address}` out.")
        }
        DeviceRefusal::Throttled(_) => {
            "The device has to wait; see what makes it ask so often.".to_owned()
        }
        DeviceRefusal::BadRequest(_) => {
            "The device's software has to send another request.".to_owned()
        }
    };
    Some(text)
}

fn not_enrolled(asked: &AttemptAsked, steps: &[Step]) -> String {
    let cas: Vec<&str> = steps
        .iter()
        .filter_map(|step| match step {
            Step::CertificateWithoutGroup { subject } => Some(subject.as_str()),
            _ => None,
        })
        .collect();
    let ended = steps.iter().any(|step| matches!(step, Step::ChainEnded { .. }));
    let kind = steps.iter().find_map(|step| match step {
        Step::LookedUpGroups { kind, .. } => Some(*kind),
        _ => None,
    });
    let who = who(asked);
    match kind {
        Some(AttestationKind::X509) if !cas.is_empty() => format!(
            "Create a group for one of these CAs: {}; or an individual enrollment of {who}.",
            cas.iter().map(|subject| format!("`{subject}`")).collect::<Vec<_>>().join(", ")
        ),
        Some(AttestationKind::X509) if ended => format!(
            "Create a group for the CA that signed the device's certificate, or an individual \
             enrollment of {who}."
        ),
        Some(AttestationKind::X509) => format!(
            "No certificate of the device's chain is known here: have the device present the \
             certificates between its own and an enrolled CA's, or enroll the CA that signed it, or \
             {who} itself."
        ),
        Some(AttestationKind::SymmetricKey) => format!(
            "No group has the key that the device's was derived from, by this registration ID: give \
             the device the key of a group for {who}, or enroll it individually."
        ),
        Some(AttestationKind::Tpm) | None => format!("Create an individual enrollment of {who}."),
    }
}

fn failure_in(steps: &[Step]) -> Option<&AttestFailure> {
    steps.iter().rev().find_map(|step| match step {
        Step::AttestationFailed(failure) => Some(failure),
        _ => None,
    })
}

fn attest_remedy(failure: &AttestFailure, entry: Option<&EnrollmentRef>) -> String {
    let entry = named(entry);
    match failure {
        AttestFailure::NoEvidence => {
            "The device has to show a certificate or a token: see that TLS is not ended in front of \
             this service."
                .to_owned()
        }
        AttestFailure::WrongKind => format!(
            "Give the device the kind of credential that {entry} wants, or change what it wants."
        ),
        AttestFailure::WrongResource => {
            "The device has to sign its token for its own registration ID and this ID scope."
                .to_owned()
        }
        AttestFailure::TokenExpired => {
            "Set the device's clock, or have it make a new token.".to_owned()
        }
        AttestFailure::BadSignature => {
            format!("Give the device the primary or the secondary key of {entry}.")
        }
        AttestFailure::CommonName(_) => {
            "Register the device under the common name of its certificate, or issue it one with its \
             registration ID."
                .to_owned()
        }
        AttestFailure::WrongThumbprint => {
            format!("Put the device's present certificate into {entry}, as the secondary if need be.")
        }
        AttestFailure::NotYetValid(_) => {
            "Compare the clocks of the CA and of this service; or wait.".to_owned()
        }
        AttestFailure::Expired(_) => "Issue a new certificate.".to_owned(),
        AttestFailure::BadCertificate(_) | AttestFailure::TooLarge(_) => {
            "Issue a certificate within the rules of RFC 5280 and this service's limits.".to_owned()
        }
        AttestFailure::BadChain(_) => format!(
            "See that the device presents every certificate between its own and the one in {entry}, \
             and that each was signed by the next."
        ),
        AttestFailure::TpmNotChallenged => {
            "The device has to answer the challenge, over HTTPS or AMQP.".to_owned()
        }
        AttestFailure::BadTpmKey(_) => {
            "The TPM has to show RSA keys of 2048 bits, made by the usual templates.".to_owned()
        }
        AttestFailure::WrongEndorsementKey => {
            format!("Put the endorsement key of the TPM that the device has now into {entry}.")
        }
        AttestFailure::NotEndorsed(_) => format!(
            "See that the endorsement key's certificate is there and leads to a certificate in \
             {entry}."
        ),
        AttestFailure::Revoked(_) => {
            "Issue a new certificate; what a CA has revoked stays revoked.".to_owned()
        }
        AttestFailure::StaleCrl(ca) => format!(
            "Import the present revocation list of `{ca}`, or let {entry} admit devices while it is \
             out of date."
        ),
    }
}

fn ban_remedy(ban: &str) -> String {
    format!("Lift the ban `{ban}` if the device is to come back; nothing else undoes it.")
}

/// What to do about a connection that was refused, by the refusal's name as attempts keep it.
fn connection_remedy(name: &str) -> Option<String> {
    let text = match name {
        "UnknownHub" => "Give the device the host name of a hub of this service.",
        "UnknownDevice" => "Let the device register again, or create it in the hub.",
        "DeviceDisabled" => "Enable the device in the hub.",
        "Banned" => "Lift the ban if the device is to come back; nothing else undoes it.",
        "Disenrolled" => {
            "Enable or restore the enrollment that the device was provisioned by and let it register \
             again; or do not let the end of an enrollment end sessions."
        }
        "WrongKind" => "Give the device the kind of credential that its identity wants.",
        "NotAttested" => "Give the device a credential of its identity, or let it register again.",
        "PolicyRefused" => {
            "Give the policy the right DeviceConnect, or the device a key of its own."
        }
        "AddressRefused" => "Change the IP rule that keeps the address out.",
        "Throttled" => "The device has to wait; see what makes it connect so often.",
        "Conflict" => {
            "The device will succeed when it connects again; if it never does, something keeps \
             writing its identity."
        }
        "Overtaken" => {
            "See that no two devices use this identity; a device that asked again itself needs \
             nothing."
        }
        // Of an attempt that was kept by another release.
        _ => return None,
    };
    Some(text.to_owned())
}

fn named(entry: Option<&EnrollmentRef>) -> String {
    match entry {
        Some(EnrollmentRef::Individual(id)) => format!("the individual enrollment of `{id}`"),
        Some(EnrollmentRef::Group(id)) => format!("the group `{id}`"),
        None => "the enrollment".to_owned(),
    }
}

const fn wanted(kind: AttestationKind) -> &'static str {
    match kind {
        AttestationKind::SymmetricKey => "a token signed with one of its keys",
        AttestationKind::X509 => "one of its certificates",
        AttestationKind::Tpm => "its TPM's answer to a challenge",
    }
}

const fn shown(kind: AttestationKind) -> &'static str {
    match kind {
        AttestationKind::SymmetricKey => "keys",
        AttestationKind::X509 => "certificates",
        AttestationKind::Tpm => "TPMs",
    }
}

const fn policy_name(policy: AllocationPolicy) -> &'static str {
    match policy {
        AllocationPolicy::Hashed => "hashed",
        AllocationPolicy::GeoLatency => "geoLatency",
        AllocationPolicy::Static => "static",
        AllocationPolicy::Custom => "custom",
    }
}

const fn reprovision(rule: Reprovision) -> &'static str {
    match rule {
        Reprovision::Never => "its first assignment stands",
        Reprovision::WithData => {
            "its hub is chosen anew at each registration, and its twin moves along"
        }
        Reprovision::WithInitialTwin => {
            "its hub is chosen anew at each registration, and its twin begins anew"
        }
    }
}

fn list(hubs: &[HubName]) -> String {
    hubs.iter().map(|hub| format!("`{hub}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
