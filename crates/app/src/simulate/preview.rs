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
        let existing = self.store.individual_facts(&draft.registration_id).await?.enrollment;
        let usage = self.store.usage().await?;
        enrollment::put_individual(
            existing.as_ref(),
            draft,
            precondition,
            &usage,
            &self.enrollment_limits(),
            self.clock.now(),
            &self.fresh(),
        )
        .map_err(No::Refused)
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
        let existing = self.store.find_group(&draft.group_id).await?;
        let usage = self.store.usage().await?;
        enrollment::put_group(
            existing.as_ref(),
            draft,
            precondition,
            &usage,
            &self.enrollment_limits(),
            self.clock.now(),
            &self.fresh(),
        )
        .map_err(No::Refused)
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
        let existing = self.store.find_ca_certificate(&draft.name).await?;
        let n_certificates = self.store.list_ca_certificates().await?.len() as u64;
        let (limit, fresh) = (self.settings.quotas.ca_certificates, self.fresh());
        let now = self.clock.now();
        certificates::put(
            existing.as_ref(),
            draft,
            precondition,
            n_certificates,
            limit,
            now,
            &fresh,
        )
        .map_err(No::Refused)
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
        let existing = self.store.find_ca_certificate(name).await?;
        let (now, fresh) = (self.clock.now(), self.fresh());
        certificates::verify(existing.as_ref(), name, proof, precondition, now, &fresh)
            .map_err(No::Refused)
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
