//! TPMs of the scene.

use model::{
    AttestationDraft, CertificateDer, DeviceRefusal, EndorsementDraft, Evidence, SasToken,
    SymmetricKey, TpmDraft, TpmKeys,
};
use testkit::{SoftTpm, fresh};

use super::{World, request, slots, token};
use crate::{register::Prepared, tpm};

/// Attestation by this TPM's endorsement key.
#[must_use]
pub fn by_tpm(tpm: &SoftTpm) -> AttestationDraft {
    AttestationDraft::Tpm(TpmDraft {
        endorsement_key: tpm.endorsement_key(),
        storage_root_key: None,
        endorsement: EndorsementDraft::Keep,
    })
}

/// Attestation by TPMs whose endorsement keys these certificates lead to.
#[must_use]
pub fn issuers(primary: Option<&[u8]>, secondary: Option<&[u8]>) -> AttestationDraft {
    AttestationDraft::TpmIssuer(slots(primary, secondary))
}

/// A TPM's keys, and the certificates it shows with them.
#[must_use]
pub fn tpm_keys(tpm: &SoftTpm, endorsement_certificates: Vec<CertificateDer>) -> TpmKeys {
    TpmKeys {
        endorsement_key: tpm.endorsement_key(),
        storage_root_key: Some(tpm.storage_root_key()),
        endorsement_certificates,
    }
}

/// A token that a TPM signs with the key it was last given, valid for an hour.
#[must_use]
pub fn tpm_token(tpm: &SoftTpm, id: &str) -> SasToken {
    let key = SymmetricKey::derived(&tpm.key().expect("the TPM was given a key"));
    match token(id, &key) {
        Evidence::Sas(token) => token,
        other => panic!("no token: {other:?}"),
    }
}

impl World {
    /// Challenges a TPM, and writes what was decided; gives the blob.
    ///
    /// # Errors
    /// What the TPM hears instead.
    pub fn challenge(&mut self, id: &str, keys: TpmKeys) -> Result<Vec<u8>, DeviceRefusal> {
        let settings = self.settings.attest.clone();
        let prepared = Prepared::new(request(id, Evidence::Tpm(keys)), &settings.limits)?;
        let facts = self.facts(&prepared.query());
        self.seed += 1;
        let random = fresh(self.seed);
        let challenge = tpm::challenge(&facts, &prepared, &settings, self.now, &random).answer?;
        self.apply(challenge.changes);
        Ok(challenge.blob)
    }
}
