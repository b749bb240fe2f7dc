//! An operator configures the service: allocation, networking; and looks how full it is.

pub use decide::manage::settings::SettingsDraft;

use decide::manage::{audit_view, settings};
use model::{
    Caller, Change, ChangeSet, Expect, OperatorRefusal, Precondition, Quotas, ServiceFacts,
    ServiceSettings, Timestamp, Usage,
};

use crate::{
    App, Attempt, MAX_ATTEMPTS, No, attempted,
    audit::{self, Deed},
};

/// How much there is of what limits count, and how much there may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// Enrollments and records.
    pub usage: Usage,
    /// CA certificates.
    pub ca_certificates: u64,
    /// Linked hubs.
    pub linked_hubs: u64,
    /// Revocation lists.
    pub crls: u64,
    /// Those of them that are out of date.
    pub stale_crls: u64,
    /// How much there may be.
    pub quotas: Quotas,
}

impl App {
    /// The service's settings.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn service_settings(&self) -> Result<ServiceSettings, No<OperatorRefusal>> {
        Ok(self.store.service_facts().await?.settings)
    }

    /// Changes the service's settings. What would keep the caller out of the operator API needs
    /// `force`.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn update_service(
        &self,
        draft: &SettingsDraft,
        precondition: &Precondition,
        force: bool,
        by: &Caller,
    ) -> Result<ServiceSettings, No<OperatorRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let (facts, written, now) =
                self.service_to_write(draft, precondition, force, by).await?;
            let deed = Deed {
                action: draft.action(),
                target: "service".to_owned(),
                before: Some(audit_view::settings(&facts.settings)),
                after: Some(audit_view::settings(&written)),
                etag: Some(written.etag.as_str().to_owned()),
            };
            let changes = ChangeSet::new()
                .expecting(Expect::Hubs(facts.version))
                .with(Change::PutServiceSettings(Box::new(written.clone())))
                .with(audit::line(by, now, deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(written);
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// What [`Self::update_service`] would make of the settings; nothing is written.
    ///
    /// # Errors
    /// As for the change itself.
    pub async fn preview_service(
        &self,
        draft: &SettingsDraft,
        precondition: &Precondition,
        force: bool,
        by: &Caller,
    ) -> Result<ServiceSettings, No<OperatorRefusal>> {
        Ok(self.service_to_write(draft, precondition, force, by).await?.1)
    }

    /// The settings as they stand, what a change would make of them, and the moment it is decided.
    async fn service_to_write(
        &self,
        draft: &SettingsDraft,
        precondition: &Precondition,
        force: bool,
        by: &Caller,
    ) -> Result<(ServiceFacts, ServiceSettings, Timestamp), No<OperatorRefusal>> {
        let facts = self.store.service_facts().await?;
        let (old, now, fresh) = (&facts.settings, self.clock.now(), self.fresh());
        let written = settings::put(old, draft.clone(), precondition, by, force, now, &fresh)
            .map_err(No::Refused)?;
        Ok((facts, written, now))
    }

    /// How much there is of what limits count, beside the limits (D §6).
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn usage_report(&self) -> Result<UsageReport, No<OperatorRefusal>> {
        let (crls, stale_crls) = self.count_crls().await?;
        Ok(UsageReport {
            usage: self.store.usage().await?,
            ca_certificates: self.store.list_ca_certificates().await?.len() as u64,
            linked_hubs: self.store.service_facts().await?.hubs.len() as u64,
            crls,
            stale_crls,
            quotas: self.settings.quotas.clone(),
        })
    }
}
