//! Which API can show and write a group.

use model::{AttestationDraft, AttestationMechanism, EnrollmentGroup, OperatorRefusal};

/// Groups of TPMs are an extension that the vendor's API has no words for. There such a group is
/// left out of listings; to read, replace or delete one by its name is refused, because what was
/// put in its place would not be what was there. The API for these groups refuses all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupShape {
    /// As the vendor's API knows them: X.509 and symmetric keys.
    Vendor,
    /// Of TPMs, by the issuers of their endorsement keys' certificates.
    Tpm,
}

impl GroupShape {
    /// The shape of a group.
    #[must_use]
    pub const fn of(group: &EnrollmentGroup) -> Self {
        match &group.terms.attestation {
            AttestationMechanism::TpmIssuer(_) => Self::Tpm,
            AttestationMechanism::SymmetricKey(_)
            | AttestationMechanism::X509Client(_)
            | AttestationMechanism::X509Signing(_)
            | AttestationMechanism::X509CaReferences(_)
            | AttestationMechanism::Tpm(_) => Self::Vendor,
        }
    }

    /// The shape of what is to be written.
    #[must_use]
    pub const fn of_draft(draft: &AttestationDraft) -> Self {
        match draft {
            AttestationDraft::TpmIssuer(_) => Self::Tpm,
            AttestationDraft::SymmetricKey { .. }
            | AttestationDraft::X509 { .. }
            | AttestationDraft::Tpm(_) => Self::Vendor,
        }
    }

    /// Checks that a group can be seen and written in this shape.
    ///
    /// # Errors
    /// [`OperatorRefusal::BadRequest`] says where the group is to be found.
    pub fn check(self, group: &EnrollmentGroup) -> Result<(), OperatorRefusal> {
        let id = &group.group_id;
        match (self, Self::of(group)) {
            (Self::Vendor, Self::Vendor) | (Self::Tpm, Self::Tpm) => Ok(()),
            (Self::Vendor, Self::Tpm) => Err(OperatorRefusal::BadRequest(format!(
                "The enrollment group `{id}` is a group of TPMs, an extension of Induct that this \
                 API cannot show. Use /induct/v1/tpmEnrollmentGroups/{id} or `induct tpm group`."
            ))),
            (Self::Tpm, Self::Vendor) => Err(OperatorRefusal::BadRequest(format!(
                "The enrollment group `{id}` is not a group of TPMs. Use /enrollmentGroups/{id} or \
                 `induct enrollment-group`."
            ))),
        }
    }
}
