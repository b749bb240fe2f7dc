//! Who is challenged, and with what (D §1.10, §3.3, §5.5).
//!
//! A challenge gives no right: it is a question that only one TPM can answer. Whether the answer
//! admits the device is decided when it registers with it, by [`crate::attestation`], from the
//! facts of that moment.

use attest::{chain, tpm::certificate_key_matches};
use model::{
    AttestFailure, AttestationMechanism, Change, ChangeSet, Decided, DeviceRefusal, Fresh,
    RegisterFacts, RegistrationId, Step, SymmetricKey, TPM_CHALLENGE_LIFE_SECS, Timestamp,
    TpmChallenge, TpmKeys,
};

use crate::{
    attestation::{AttestSettings, Wrapping, parse_chain, would_admit},
    ban,
    record::OPERATION_LIFE_SECS,
    register::Prepared,
};

/// A challenge to a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// What was asked, for whoever will check the answer.
    pub challenge: TpmChallenge,
    /// The activation blob for the device, with the key that it is to sign with (D appendix A).
    pub blob: Vec<u8>,
    /// What to write before the device hears of it; nothing where the store remembers it already.
    /// It expects nothing: see the module.
    pub changes: ChangeSet,
}

/// Decides whether a TPM that shows its keys is challenged: those are whose answer would be looked
/// at, disabled ones included, which hear so only when they have proven who they are.
///
/// The keys are looked at first, so that a device learns what is wrong with them whether or not it
/// is enrolled. After that, whatever is missing, the answer is the same, and nobody can ask by it
/// which IDs are enrolled. Only who knows an enrolled endorsement key hears of its certificate.
///
/// The answer is [`DeviceRefusal::TpmNotEnrolled`] when nothing is enrolled for such a TPM;
/// [`AttestFailure::BadTpmKey`] for keys of another shape; [`AttestFailure::NotEndorsed`] when the
/// enrollment demands a certificate; [`DeviceRefusal::BadRequest`] when neither device nor
/// enrollment knows the storage root key.
#[must_use]
pub fn challenge(
    facts: &RegisterFacts,
    prepared: &Prepared,
    settings: &AttestSettings,
    now: Timestamp,
    fresh: &Fresh,
) -> Decided<Result<Challenge, DeviceRefusal>> {
    let mut steps = Vec::new();
    let answer = decide(facts, prepared, settings, now, fresh, &mut steps);
    Decided { answer, steps }
}

fn decide(
    facts: &RegisterFacts,
    prepared: &Prepared,
    settings: &AttestSettings,
    now: Timestamp,
    fresh: &Fresh,
    steps: &mut Vec<Step>,
) -> Result<Challenge, DeviceRefusal> {
    let id = &prepared.request().registration_id;
    let Some(keys) = prepared.shown().tpm_keys() else {
        return Err(DeviceRefusal::NotAttested(AttestFailure::NoEvidence));
    };
    Wrapping::parse(&keys.endorsement_key, keys.storage_root_key.as_deref())
        .map_err(DeviceRefusal::NotAttested)?;
    let wrapping = would_admit(facts, id, prepared.shown(), settings, now, steps)?;
    let mut asked = question(id, &wrapping, now, fresh)?;
    asked.enrolled_root = enrolled_root(facts) == Some(&asked.storage_root_key);
    let shown = prepared.shown();
    let they_decide = certificates_decide(facts);
    let is_for = |chain| certificate_key_matches(chain, &wrapping.endorsement_key);
    if they_decide || shown.chain().is_some_and(is_for) {
        asked.endorsement_certificates.clone_from(&keys.endorsement_certificates);
        asked.ban_keys = shown.ban_keys();
    }
    if they_decide {
        asked.endorsement_names = shown.ca_names();
    }
    let mut changes = ChangeSet::new();
    match asked_before(facts, &asked, they_decide, now) {
        Some(before) => asked = before.clone(),
        None => changes.changes.push(Change::PutTpmChallenge(Box::new(asked.clone()))),
    }
    let blob = wrap(id, &asked, &wrapping, settings, fresh)?;
    Ok(Challenge { challenge: asked, blob, changes })
}

/// The storage root key that the enrollment of this device holds.
fn enrolled_root(facts: &RegisterFacts) -> Option<&Vec<u8>> {
    match &facts.individual.as_ref()?.terms.attestation {
        AttestationMechanism::Tpm(tpm) => tpm.storage_root_key.as_ref(),
        AttestationMechanism::SymmetricKey(_)
        | AttestationMechanism::X509Client(_)
        | AttestationMechanism::X509Signing(_)
        | AttestationMechanism::X509CaReferences(_)
        | AttestationMechanism::TpmIssuer(_) => None,
    }
}

/// Whether the answer's worth depends on the certificates that the device shows. Elsewhere they are
/// remembered once, and only if they are for its endorsement key, so that it is known what else the
/// TPM could be admitted by: a stranger could fill the store with others.
fn certificates_decide(facts: &RegisterFacts) -> bool {
    match facts.individual.as_ref().map(|enrollment| &enrollment.terms.attestation) {
        Some(AttestationMechanism::Tpm(tpm)) => {
            tpm.endorsement.as_ref().is_some_and(|demanded| demanded.certificates.is_empty())
        }
        _ => true,
    }
}

/// The last challenge of its kind, if it asked the same and has at least half its time left. Then
/// it is put again, wrapped anew, and nothing is written: so a device that asks twice can answer
/// either, and a stranger who shows a TPM's keys, which are public, ends none of its challenges; nor
/// by other certificates where none decides.
fn asked_before<'f>(
    facts: &'f RegisterFacts,
    asked: &TpmChallenge,
    certificates_decide: bool,
    now: Timestamp,
) -> Option<&'f TpmChallenge> {
    let mut waiting = facts.tpm_challenges.iter();
    let last = waiting.find(|last| last.enrolled_root == asked.enrolled_root)?;
    let same = last.registration_id == asked.registration_id
        && last.endorsement_key == asked.endorsement_key
        && last.storage_root_key == asked.storage_root_key
        && (!certificates_decide
            || last.endorsement_certificates == asked.endorsement_certificates);
    (same && now.plus_secs(TPM_CHALLENGE_LIFE_SECS / 2) < last.expires).then_some(last)
}

/// Challenges a TPM on a connection that remembers what it asked (D §3.3). No enrollment is looked
/// at, so nobody learns of any. Gives the challenge and the activation blob for the device.
///
/// # Errors
/// [`AttestFailure::BadTpmKey`] for keys of another shape; [`DeviceRefusal::BadRequest`] without a
/// storage root key.
pub fn pose(
    registration_id: &RegistrationId,
    keys: TpmKeys,
    settings: &AttestSettings,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<(TpmChallenge, Vec<u8>), DeviceRefusal> {
    let wrapping = Wrapping::parse(&keys.endorsement_key, keys.storage_root_key.as_deref())
        .map_err(DeviceRefusal::NotAttested)?;
    let mut asked = question(registration_id, &wrapping, now, fresh)?;
    asked.endorsement_names =
        names_of(&keys, &settings.limits).map_err(DeviceRefusal::NotAttested)?;
    asked.endorsement_certificates = keys.endorsement_certificates;
    let blob = wrap(registration_id, &asked, &wrapping, settings, fresh)?;
    Ok((asked, blob))
}

fn names_of(keys: &TpmKeys, limits: &chain::Limits) -> Result<Vec<[u8; 32]>, AttestFailure> {
    let chain = parse_chain(&keys.endorsement_certificates, limits)?;
    Ok(chain.map(|chain| chain.name_hashes()).unwrap_or_default())
}

/// A new challenge, without any certificates.
fn question(
    registration_id: &RegistrationId,
    wrapping: &Wrapping,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<TpmChallenge, DeviceRefusal> {
    let Some(root) = &wrapping.storage_root_key else {
        let text = "tpm.storageRootKey: is needed, because the enrollment does not hold it";
        return Err(DeviceRefusal::BadRequest(text.to_owned()));
    };
    Ok(TpmChallenge {
        registration_id: registration_id.clone(),
        endorsement_key: wrapping.endorsement_key.bytes().to_vec(),
        storage_root_key: root.bytes().to_vec(),
        enrolled_root: false,
        endorsement_certificates: Vec::new(),
        endorsement_names: Vec::new(),
        ban_keys: vec![ban::of_endorsement_key(wrapping.endorsement_key.bytes())],
        key: SymmetricKey::derived(&fresh.tpm.key),
        expires: now.plus_secs(TPM_CHALLENGE_LIFE_SECS),
    })
}

/// Wraps a challenge's key for the device that asks, in its spelling of its name.
fn wrap(
    registration_id: &RegistrationId,
    challenge: &TpmChallenge,
    wrapping: &Wrapping,
    settings: &AttestSettings,
    fresh: &Fresh,
) -> Result<Vec<u8>, DeviceRefusal> {
    let audience = format!("{}/registrations/{registration_id}", settings.id_scope.as_str());
    wrapping.wrap(&audience, challenge.key.bytes(), fresh).map_err(DeviceRefusal::NotAttested)
}

/// Challenges whose time was over at this moment are of no use to anyone: an operation that began
/// with the last moment's answer can be polled with the same token for a while longer.
#[must_use]
pub fn forgotten_before(now: Timestamp) -> Timestamp {
    now.plus_secs(-OPERATION_LIFE_SECS)
}

#[cfg(test)]
mod tests;
