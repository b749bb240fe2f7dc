//! An operator keeps CA certificates and proves that their keys are held (O §3.5).

pub use decide::manage::certificates::CaDraft;

use decide::manage::{
    audit_view,
    certificates::{self, CODE_BYTES},
};
use model::{
    CaCertificate, Caller, Change, ChangeSet, EnrollmentGroupId, Expect, OperatorRefusal,
    Precondition, Timestamp,
};

use crate::{
    App, Attempt, MAX_ATTEMPTS, No, ToWrite, attempted,
    audit::{self, Deed, put_action},
};

/// What is made of a CA certificate, and what the audit log calls that.
type CaDecided = Result<(&'static str, CaCertificate), OperatorRefusal>;

impl App {
    /// All CA certificates, by name.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn list_ca_certificates(&self) -> Result<Vec<CaCertificate>, No<OperatorRefusal>> {
        Ok(self.store.list_ca_certificates().await?)
    }

    /// A CA certificate.
    ///
    /// # Errors
    /// [`OperatorRefusal::CaCertificateNotFound`], or a fault.
    pub async fn get_ca_certificate(
        &self,
        name: &str,
    ) -> Result<CaCertificate, No<OperatorRefusal>> {
        let found = self.store.find_ca_certificate(name).await?;
        found.ok_or_else(|| No::Refused(OperatorRefusal::CaCertificateNotFound(name.to_owned())))
    }

    /// The groups that refer to a CA certificate, whether there is one of that name or not.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn groups_referring_to(
        &self,
        name: &str,
    ) -> Result<Vec<EnrollmentGroupId>, No<OperatorRefusal>> {
        let groups = self.store.groups_referring_to(name).await?;
        Ok(groups.into_iter().map(|group| group.group_id).collect())
    }

    /// Uploads a CA certificate, or with a precondition replaces it.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn put_ca_certificate(
        &self,
        draft: &CaDraft,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<CaCertificate, No<OperatorRefusal>> {
        self.write_ca_certificate(&draft.name, by, self.putting_ca(draft, precondition)).await
    }

    /// How a CA certificate is put.
    pub(crate) fn putting_ca(
        &self,
        draft: &CaDraft,
        precondition: &Precondition,
    ) -> impl Fn(Option<&CaCertificate>, u64, Timestamp) -> CaDecided {
        move |existing, n_certificates, now| {
            let (limit, fresh) = (self.settings.quotas.ca_certificates, self.fresh());
            let written = certificates::put(
                existing,
                draft,
                precondition,
                n_certificates,
                limit,
                now,
                &fresh,
            )?;
            let (create, update) = ("certificate.create", "certificate.update");
            Ok((put_action(existing.is_some(), create, update), written))
        }
    }

    /// Makes a new verification code; the one before is forgotten.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn generate_verification_code(
        &self,
        name: &str,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<CaCertificate, No<OperatorRefusal>> {
        self.write_ca_certificate(name, by, |existing, _, now| {
            let mut random = [0; CODE_BYTES];
            self.entropy.fill(&mut random);
            let fresh = self.fresh();
            certificates::generate_code(existing, name, precondition, &random, now, &fresh)
                .map(|written| ("certificate.generate-code", written))
        })
        .await
    }

    /// Verifies a CA certificate by a proof of possession: a certificate (DER) called like the
    /// verification code.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn verify_ca_certificate(
        &self,
        name: &str,
        proof: &[u8],
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<CaCertificate, No<OperatorRefusal>> {
        self.write_ca_certificate(name, by, self.verifying_ca(name, proof, precondition)).await
    }

    /// How a CA certificate is verified.
    pub(crate) fn verifying_ca(
        &self,
        name: &str,
        proof: &[u8],
        precondition: &Precondition,
    ) -> impl Fn(Option<&CaCertificate>, u64, Timestamp) -> CaDecided {
        move |existing, _, now| {
            certificates::verify(existing, name, proof, precondition, now, &self.fresh())
                .map(|written| ("certificate.verify", written))
        }
    }

    /// Deletes a CA certificate. Returns the groups that refer to it: they stop attesting by it.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn delete_ca_certificate(
        &self,
        name: &str,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<Vec<EnrollmentGroupId>, No<OperatorRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let existing = self.store.find_ca_certificate(name).await?;
            let stored =
                certificates::delete(existing.as_ref(), name, precondition).map_err(No::Refused)?;
            let deed = Deed {
                action: "certificate.delete",
                target: target(name),
                before: Some(audit_view::certificate(stored)),
                ..Deed::default()
            };
            let changes = ChangeSet::new()
                .expecting(Expect::CaCertificate(name.to_owned(), stored.version))
                .with(Change::DeleteCaCertificate(name.to_owned()))
                .with(audit::line(by, self.clock.now(), deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return self.groups_referring_to(name).await;
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// The CA certificate as it stands and what a write would make of it now; and what the audit log
    /// calls that.
    pub(crate) async fn ca_to_write(
        &self,
        name: &str,
        decide: impl Fn(Option<&CaCertificate>, u64, Timestamp) -> CaDecided,
    ) -> Result<(&'static str, ToWrite<CaCertificate>), No<OperatorRefusal>> {
        let existing = self.store.find_ca_certificate(name).await?;
        let n_certificates = self.store.list_ca_certificates().await?.len() as u64;
        let now = self.clock.now();
        let (action, written) =
            decide(existing.as_ref(), n_certificates, now).map_err(No::Refused)?;
        Ok((action, ToWrite { existing, written, now }))
    }

    async fn write_ca_certificate(
        &self,
        name: &str,
        by: &Caller,
        decide: impl Fn(Option<&CaCertificate>, u64, Timestamp) -> CaDecided,
    ) -> Result<CaCertificate, No<OperatorRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let (action, ToWrite { existing, written, now }) =
                self.ca_to_write(name, &decide).await?;
            let deed = Deed {
                action,
                target: target(name),
                before: existing.as_ref().map(audit_view::certificate),
                after: Some(audit_view::certificate(&written)),
                etag: Some(written.etag.as_str().to_owned()),
            };
            let version = existing.as_ref().map_or(0, |stored| stored.version);
            let changes = ChangeSet::new()
                .expecting(Expect::CaCertificate(name.to_owned(), version))
                .with(Change::PutCaCertificate(Box::new(written.clone())))
                .with(audit::line(by, now, deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(written);
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }
}

fn target(name: &str) -> String {
    format!("certificates/{name}")
}
