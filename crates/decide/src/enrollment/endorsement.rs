//! What it means to write only what an individual enrollment demands of its TPM's certificate.

use model::{
    AttestationDraft, AttestationMechanism, Draft, EndorsementDraft, IndividualDraft,
    IndividualEnrollment, OperatorRefusal, Precondition, TpmDraft, TpmIdentity,
};

/// An enrollment and its TPM, which alone has something that certificates can be demanded of.
///
/// # Errors
/// [`OperatorRefusal::EnrollmentNotFound`], or that its device attests otherwise.
pub fn tpm_of(
    existing: Option<&IndividualEnrollment>,
) -> Result<(&IndividualEnrollment, &TpmIdentity), OperatorRefusal> {
    let existing = existing.ok_or(OperatorRefusal::EnrollmentNotFound)?;
    match &existing.terms.attestation {
        AttestationMechanism::Tpm(tpm) => Ok((existing, tpm)),
        AttestationMechanism::SymmetricKey(_)
        | AttestationMechanism::X509Client(_)
        | AttestationMechanism::X509Signing(_)
        | AttestationMechanism::X509CaReferences(_)
        | AttestationMechanism::TpmIssuer(_) => Err(OperatorRefusal::BadRequest(format!(
            "The enrollment `{}` does not attest by a TPM, so no certificate of an endorsement key \
             can be demanded of its device.",
            existing.registration_id
        ))),
    }
}

/// The draft that changes what is demanded and nothing else, for
/// [`put_individual`](super::put_individual) with the precondition that it is still the same
/// enrollment.
///
/// # Errors
/// As [`tpm_of`]; [`OperatorRefusal::StaleEtag`].
pub fn demand(
    existing: Option<&IndividualEnrollment>,
    endorsement: EndorsementDraft,
    precondition: &Precondition,
) -> Result<(IndividualDraft, Precondition), OperatorRefusal> {
    let (existing, tpm) = tpm_of(existing)?;
    let terms = &existing.terms;
    match precondition {
        Precondition::Tag(tag) if tag != terms.etag.as_str() => {
            return Err(OperatorRefusal::StaleEtag);
        }
        Precondition::None | Precondition::Any | Precondition::Tag(_) => {}
    }
    let attestation = AttestationDraft::Tpm(TpmDraft {
        endorsement_key: tpm.endorsement_key.clone(),
        storage_root_key: tpm.storage_root_key.clone(),
        endorsement,
    });
    let draft = IndividualDraft {
        registration_id: existing.registration_id.clone(),
        device_id: existing.device_id.clone(),
        optional_device_information: existing.optional_device_information.clone(),
        draft: Draft {
            attestation,
            iot_edge: terms.iot_edge,
            iot_hub_host_name: terms.iot_hub_host_name.clone(),
            initial_twin: terms.initial_twin.clone(),
            etag: None,
            provisioning_status: terms.provisioning_status,
            reprovision_policy: terms.reprovision_policy,
            allocation_policy: terms.allocation_policy,
            iot_hubs: terms.iot_hubs.clone(),
            custom_allocation: terms.custom_allocation.clone(),
        },
    };
    Ok((draft, Precondition::Tag(terms.etag.as_str().to_owned())))
}
