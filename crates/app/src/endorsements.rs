//! An operator demands a certificate of a TPM's endorsement key, by one of its vendors.
//!
//! **An extension of Induct**: what is demanded is part of the individual enrollment, but the
//! vendor's API has no words for it, so it is read and written apart from the rest.

use decide::enrollment;
use model::{
    Caller, EndorsementDraft, IndividualEnrollment, OperatorRefusal, Precondition, RegistrationId,
};

use crate::{App, MAX_ATTEMPTS, No};

impl App {
    /// An individual enrollment by TPM, with what is demanded of its certificate.
    ///
    /// # Errors
    /// [`OperatorRefusal::EnrollmentNotFound`], or that its device attests otherwise; or a fault.
    pub async fn get_tpm_individual(
        &self,
        id: &RegistrationId,
    ) -> Result<IndividualEnrollment, No<OperatorRefusal>> {
        let found = self.store.individual_facts(id).await?.enrollment;
        let (found, _) = enrollment::tpm_of(found.as_ref()).map_err(No::Refused)?;
        Ok(found.clone())
    }

    /// Writes what is demanded and leaves the rest of the enrollment as it is. The precondition is
    /// about the enrollment, whose etag changes; without one, what is demanded is replaced
    /// whatever it was.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn put_endorsement(
        &self,
        id: &RegistrationId,
        endorsement: EndorsementDraft,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<IndividualEnrollment, No<OperatorRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let existing = self.store.individual_facts(id).await?.enrollment;
            let (draft, unchanged) =
                enrollment::demand(existing.as_ref(), endorsement.clone(), precondition)
                    .map_err(No::Refused)?;
            match self.put_individual(draft, &unchanged, by).await {
                // Written or deleted since it was read: look again.
                Err(No::Refused(OperatorRefusal::StaleEtag)) => {}
                other => return other,
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }
}
