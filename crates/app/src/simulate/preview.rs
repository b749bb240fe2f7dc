//! What writes would write, refusals included, without writing it.

use decide::{enrollment, manage::certificates};
use model::{
    CaCertificate, EndorsementDraft, EnrollmentGroup, EnrollmentGroupId, GroupDraft,
    IndividualDraft, IndividualEnrollment, OperatorRefusal, Precondition, RegistrationId,
};

use crate::{App, No, ca_certificates::CaDraft};

impl App {
    /// What [`put_individual`](Self::put_individual) would write.
    ///
    /// # Errors
    /// As it.
    pub async fn preview_individual(
        &self,
        draft: IndividualDraft,
        precondition: &Precondition,
    ) -> Result<IndividualEnrollment, No<OperatorRefusal>> {
        Ok(self.individual_to_write(draft, precondition).await?.written)
    }

    /// What [`put_group`](Self::put_group) would write.
    ///
    /// # Errors
    /// As it.
    pub async fn preview_group(
        &self,
        draft: GroupDraft,
        precondition: &Precondition,
    ) -> Result<EnrollmentGroup, No<OperatorRefusal>> {
        Ok(self.group_to_write(draft, precondition).await?.written)
    }

    /// What [`put_endorsement`](Self::put_endorsement) would write.
    ///
    /// # Errors
    /// As it.
    pub async fn preview_endorsement(
        &self,
        id: &RegistrationId,
        endorsement: EndorsementDraft,
        precondition: &Precondition,
    ) -> Result<IndividualEnrollment, No<OperatorRefusal>> {
        let existing = self.store.individual_facts(id).await?.enrollment;
        let (draft, unchanged) = enrollment::demand(existing.as_ref(), endorsement, precondition)
            .map_err(No::Refused)?;
        match self.preview_individual(draft, &unchanged).await {
            Err(No::Refused(OperatorRefusal::StaleEtag)) => {
                Err(No::Refused(OperatorRefusal::Conflict))
            }
            other => other,
        }
    }

    /// What [`put_ca_certificate`](Self::put_ca_certificate) would write.
    ///
    /// # Errors
    /// As it.
    pub async fn preview_ca_certificate(
        &self,
        draft: &CaDraft,
        precondition: &Precondition,
    ) -> Result<CaCertificate, No<OperatorRefusal>> {
        let putting = self.putting_ca(draft, precondition);
        Ok(self.ca_to_write(&draft.name, putting).await?.1.written)
    }

    /// What [`verify_ca_certificate`](Self::verify_ca_certificate) would write.
    ///
    /// # Errors
    /// As it.
    pub async fn preview_ca_verification(
        &self,
        name: &str,
        proof: &[u8],
        precondition: &Precondition,
    ) -> Result<CaCertificate, No<OperatorRefusal>> {
        let verifying = self.verifying_ca(name, proof, precondition);
        Ok(self.ca_to_write(name, verifying).await?.1.written)
    }

    /// The groups that [`delete_ca_certificate`](Self::delete_ca_certificate) would answer.
    ///
    /// # Errors
    /// As it.
    pub async fn preview_ca_removal(
        &self,
        name: &str,
        precondition: &Precondition,
    ) -> Result<Vec<EnrollmentGroupId>, No<OperatorRefusal>> {
        let existing = self.store.find_ca_certificate(name).await?;
        certificates::delete(existing.as_ref(), name, precondition).map_err(No::Refused)?;
        self.groups_referring_to(name).await
    }
}
