//! Devices as they are known from their last admission: would they be admitted as things stand?
//!
//! The walk is the one that a device at the door takes. What is left out is what only a device at
//! the door can show: that it holds the key to its certificate, signs a token in time, or answers a
//! challenge.

use attest::{chain, sas};
use model::{
    AttestFailure, AttestationMechanism, DeviceRefusal, EnrollmentRef, Evidence, Grounds,
    GroupQuery, KnownProof, RegisterFacts, RegisterQuery, RegistrationId, RegistrationRecord, Step,
    SymmetricKey, SymmetricKeys, Timestamp, TpmKeys,
};
use thiserror::Error;

use super::{
    AttestSettings, Attested, Door, Shown,
    bearer::{Asked, Proof},
    besides,
    tpm::Answer,
};

/// A device, and what it is known to be able to prove itself with.
#[derive(Debug)]
pub struct Known {
    registration_id: RegistrationId,
    proof: Provable,
}

#[derive(Debug)]
enum Provable {
    /// A chain, or a TPM's keys.
    Shown(Shown),
    /// A key.
    Key(SymmetricKey),
}

/// Why it is not known what a device could prove itself with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unknown {
    /// It never registered, or its record is gone.
    #[error("the device has no registration record")]
    NotRegistered,
    /// Its record was last written by a release that did not keep this.
    #[error("what the device proved itself with was not kept when it registered")]
    NotKept,
    /// The entry that decided is gone or has other keys, and so has its hub.
    #[error("the key of the device is kept nowhere any more")]
    NoKey,
    /// What it showed is beyond the limits that hold now.
    #[error("what the device showed cannot be read any more: {0}")]
    Unreadable(AttestFailure),
}

impl Known {
    /// Which facts to read for a device with these grounds.
    ///
    /// # Errors
    /// [`Unknown::Unreadable`].
    pub fn query(
        registration_id: &RegistrationId,
        grounds: &Grounds,
        limits: &chain::Limits,
    ) -> Result<RegisterQuery, Unknown> {
        let shown = shown(&grounds.proof, limits)?;
        let mut query = RegisterQuery {
            registration_id: registration_id.clone(),
            groups: match &grounds.proof {
                KnownProof::Key { .. } => GroupQuery::BySymmetricKey,
                KnownProof::Certificates(_) | KnownProof::Tpm { .. } => shown.group_query(),
            },
            ban_keys: shown.ban_keys(),
            ca_names: Vec::new(),
            serials: shown.serials(),
        };
        // Not all of it was shown, where an operator keeps the certificates of a TPM.
        besides::add(&grounds.path, &mut query);
        Ok(query)
    }

    /// The device of these facts. A key is looked for where it is kept: in the entry that decided,
    /// or else in the device's identity on its hub; so this comes before any change is thought of.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn of(facts: &RegisterFacts, limits: &chain::Limits) -> Result<Self, Unknown> {
        let record = facts.record.as_ref().ok_or(Unknown::NotRegistered)?;
        let grounds = facts.grounds.as_ref().ok_or(Unknown::NotKept)?;
        let proof = match &grounds.proof {
            KnownProof::Key { is_primary } => {
                Provable::Key(find_key(facts, record, *is_primary).ok_or(Unknown::NoKey)?)
            }
            KnownProof::Certificates(_) | KnownProof::Tpm { .. } => {
                Provable::Shown(shown(&grounds.proof, limits)?)
            }
        };
        Ok(Self { registration_id: record.registration_id.clone(), proof })
    }

    /// Its name, as it spelled it.
    #[must_use]
    pub const fn registration_id(&self) -> &RegistrationId {
        &self.registration_id
    }

    /// What it would show at a door: its chain, its TPM's keys, or a token of its key. It is the
    /// proof that [`Known::of`] found, with what only the device itself can do taken as done.
    #[must_use]
    pub fn evidence(
        &self,
        grounds: &Grounds,
        settings: &AttestSettings,
        now: Timestamp,
    ) -> Evidence {
        match &self.proof {
            Provable::Key(key) => {
                crate::explain::evidence::registering(&self.registration_id, key, settings, now)
            }
            Provable::Shown(_) => evidence(&grounds.proof),
        }
    }
}

/// What the device would show again.
fn shown(proof: &KnownProof, limits: &chain::Limits) -> Result<Shown, Unknown> {
    Shown::parse(&evidence(proof), limits).map_err(Unknown::Unreadable)
}

/// What it showed, as it came; of a key, nothing.
fn evidence(proof: &KnownProof) -> Evidence {
    match proof {
        KnownProof::Certificates(chain) => Evidence::X509(chain.clone()),
        KnownProof::Key { .. } => Evidence::Nothing,
        KnownProof::Tpm { endorsement_key, storage_root_key, endorsement_certificates } => {
            Evidence::Tpm(TpmKeys {
                endorsement_key: endorsement_key.clone(),
                storage_root_key: Some(storage_root_key.clone()),
                endorsement_certificates: endorsement_certificates.clone(),
            })
        }
    }
}

fn find_key(
    facts: &RegisterFacts,
    record: &RegistrationRecord,
    is_primary: bool,
) -> Option<SymmetricKey> {
    let slot = |keys: &SymmetricKeys| match is_primary {
        true => keys.primary.clone(),
        false => keys.secondary.clone(),
    };
    let of_entry = match &record.enrollment {
        EnrollmentRef::Individual(_) => {
            let terms = facts.individual.as_ref().map(|enrollment| &enrollment.terms);
            terms.and_then(|terms| symmetric(&terms.attestation)).map(slot)
        }
        EnrollmentRef::Group(id) => facts
            .groups
            .iter()
            .find(|group| group.group_id == *id)
            .and_then(|group| symmetric(&group.terms.attestation))
            .map(|keys| sas::derive(&slot(keys), record.registration_id.as_str())),
    };
    let of_identity = || {
        let assignment = record.assignment.as_ref()?;
        let is_its = |(hub, device): &&(_, model::Device)| {
            *hub == assignment.hub && device.identity.device_id == assignment.device_id
        };
        let (_, device) = facts.devices.iter().find(is_its)?;
        device.identity.authentication.keys.as_ref().map(slot)
    };
    of_entry.or_else(of_identity)
}

const fn symmetric(mechanism: &AttestationMechanism) -> Option<&SymmetricKeys> {
    match mechanism {
        AttestationMechanism::SymmetricKey(keys) => Some(keys),
        AttestationMechanism::X509Client(_)
        | AttestationMechanism::X509Signing(_)
        | AttestationMechanism::X509CaReferences(_)
        | AttestationMechanism::Tpm(_)
        | AttestationMechanism::TpmIssuer(_) => None,
    }
}

/// Whether a known device would be admitted, or told that it is disabled: the decision of
/// [`authenticate`](super::authenticate) for a device that can show no more and no less than it
/// showed.
///
/// # Errors
/// As [`authenticate`](super::authenticate).
pub fn known<'a>(
    facts: &'a RegisterFacts,
    known: &Known,
    settings: &AttestSettings,
    now: Timestamp,
    steps: &mut Vec<Step>,
) -> Result<Attested<'a>, DeviceRefusal> {
    let asked = Asked { registration_id: &known.registration_id, settings, now };
    let is_tpm = matches!(known.proof, Provable::Shown(Shown::Tpm(_)));
    let proof = || {
        Ok(match &known.proof {
            Provable::Key(key) => Proof::Key(key),
            Provable::Shown(Shown::Tpm(shown)) => Proof::Tpm(Box::new(shown.tpm(Answer::Known))),
            Provable::Shown(shown) => {
                Proof::of(shown, facts, &asked).map_err(DeviceRefusal::NotAttested)?
            }
        })
    };
    Door { facts, asked, now, is_tpm }.decide(proof, steps)
}
