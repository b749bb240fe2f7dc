//! What a device shows, made for a question instead of at a door: from a key that an operator
//! knows, from what is kept here, or as a TPM's answer to a challenge that nobody was sent.

use attest::{chain, sas};
use model::{
    AttestFailure, DeviceId, Evidence, HubName, RegistrationId, SasToken, SymmetricKey, Timestamp,
    TpmChallenge,
};

use crate::attestation::{AttestSettings, Shown};

/// For how long the tokens are good, in seconds: they are held against the facts at once.
const LIFE_SECS: i64 = 3600;

/// What a device with this key shows when it registers: a token that it signs at this moment.
#[must_use]
pub fn registering(
    registration_id: &RegistrationId,
    key: &SymmetricKey,
    settings: &AttestSettings,
    now: Timestamp,
) -> Evidence {
    let scope = settings.id_scope.as_str();
    Evidence::Sas(signed(format!("{scope}/registrations/{registration_id}"), key, now))
}

/// What a device or module with this key shows when it connects to a hub.
#[must_use]
pub fn connecting(
    hub: &HubName,
    device_id: &DeviceId,
    key: &SymmetricKey,
    now: Timestamp,
) -> Evidence {
    let mut resource = format!("{hub}/devices/{}", device_id.device());
    if let Some(module) = device_id.module() {
        resource = format!("{resource}/modules/{module}");
    }
    let token = signed(resource, key, now);
    Evidence::Sas(SasToken { key_name: None, ..token })
}

/// The answer of the TPM that can answer this challenge.
#[must_use]
pub fn answering(challenge: TpmChallenge, settings: &AttestSettings, now: Timestamp) -> Evidence {
    let scope = settings.id_scope.as_str();
    let resource = format!("{scope}/registrations/{}", challenge.registration_id);
    let token = signed(resource, &challenge.key, now);
    Evidence::TpmAnswer { challenge: Box::new(challenge), token: Box::new(token) }
}

/// The common name of the leaf in a chain.
///
/// # Errors
/// [`AttestFailure`]: it has none or several, or the chain cannot be read.
pub fn common_name(evidence: &Evidence, limits: &chain::Limits) -> Result<String, AttestFailure> {
    match Shown::parse(evidence, limits)? {
        Shown::X509(presented) => Ok(presented.leaf_common_name()?.to_owned()),
        Shown::Sas(_) | Shown::Tpm(_) | Shown::TpmAnswer(_) | Shown::Nothing => {
            Err(AttestFailure::NoEvidence)
        }
    }
}

fn signed(resource: String, key: &SymmetricKey, now: Timestamp) -> SasToken {
    let expiry_unix_secs = now.unix_secs().saturating_add(LIFE_SECS);
    let expiry_raw = expiry_unix_secs.to_string();
    SasToken {
        signature: sas::sign(key, &resource, &expiry_raw).to_vec(),
        resource_raw: resource.clone(),
        resource,
        expiry_raw,
        expiry_unix_secs,
        key_name: Some("registration".to_owned()),
    }
}
