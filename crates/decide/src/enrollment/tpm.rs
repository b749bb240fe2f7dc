//! What an operator's word on a TPM means: its keys, and whether their certificate is demanded.

use attest::{
    chain::{self, Presented},
    tpm::{EndorsementKey, StorageRootKey, check_endorsement, same_key},
};
use model::{
    CertificateDer, Endorsement, EndorsementDraft, OperatorRefusal, Timestamp, TpmDraft,
    TpmIdentity,
};

use super::{bad, write_slots};

/// The TPM of an individual enrollment. Its keys are read here, so that a key no challenge can be
/// made for is refused while somebody is looking, and not when the device comes.
pub(super) fn write(
    kept: Option<&TpmIdentity>,
    draft: TpmDraft,
    now: Timestamp,
) -> Result<TpmIdentity, OperatorRefusal> {
    let TpmDraft { endorsement_key, storage_root_key, endorsement } = draft;
    let key = EndorsementKey::parse(&endorsement_key)
        .map_err(|why| bad(&format!("attestation.tpm.endorsementKey: {why}")))?;
    if let Some(root) = &storage_root_key {
        StorageRootKey::parse(root)
            .map_err(|why| bad(&format!("attestation.tpm.storageRootKey: {why}")))?;
    }
    let same = kept.is_some_and(|kept| same_key(&kept.endorsement_key, &endorsement_key));
    let kept = kept.and_then(|kept| kept.endorsement.as_deref());
    let endorsement = match endorsement {
        EndorsementDraft::Keep => kept.map(|kept| keep(kept, same)),
        EndorsementDraft::Remove => None,
        EndorsementDraft::Demand { roots, certificates } => {
            let kept = kept.map(|kept| &kept.roots);
            let roots = write_slots(kept, roots, "roots")?;
            let endorsement = Endorsement { roots, certificates };
            check_certificates(&endorsement, &key, now)?;
            Some(endorsement)
        }
    };
    let endorsement = endorsement.map(Box::new);
    Ok(TpmIdentity { endorsement_key, storage_root_key, endorsement })
}

/// What is demanded of a TPM stays demanded of the one that takes its place; but the certificates
/// of another key are of no use to it, so it shows its own.
fn keep(kept: &Endorsement, same_key: bool) -> Endorsement {
    let certificates: Vec<CertificateDer> =
        if same_key { kept.certificates.clone() } else { Vec::new() };
    Endorsement { roots: kept.roots.clone(), certificates }
}

/// Certificates that the operator sent are looked at once here, as they will be when the device
/// comes.
fn check_certificates(
    endorsement: &Endorsement,
    key: &EndorsementKey,
    now: Timestamp,
) -> Result<(), OperatorRefusal> {
    if endorsement.certificates.is_empty() {
        return Ok(());
    }
    let roots: Vec<_> = endorsement.roots.iter().collect();
    Presented::parse(&endorsement.certificates, &chain::Limits::default())
        .and_then(|presented| check_endorsement(&presented, key, &roots, now))
        .map_err(|why| bad(&format!("certificates: {why}")))
}
