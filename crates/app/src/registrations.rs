//! An operator reads and deletes registration records.

use decide::{manage::audit_view, pending, record};
use model::{
    Caller, Change, ChangeSet, Expect, OperatorRefusal, Page, Precondition, RecordFilter,
    RegistrationId, RegistrationRecord, Usage,
};

use crate::{
    App, Attempt, MAX_ATTEMPTS, No, attempted,
    audit::{self, Deed},
};

impl App {
    /// A registration record.
    ///
    /// # Errors
    /// [`OperatorRefusal::RecordNotFound`], or a fault.
    pub async fn get_record(
        &self,
        id: &RegistrationId,
    ) -> Result<RegistrationRecord, No<OperatorRefusal>> {
        self.store.find_record(id).await?.ok_or(No::Refused(OperatorRefusal::RecordNotFound))
    }

    /// Records that pass the filter, those after `after`, at most `limit`.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn list_records(
        &self,
        filter: &RecordFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RegistrationRecord>, No<OperatorRefusal>> {
        Ok(self.store.list_records(filter, after, limit).await?)
    }

    /// Deletes a record. The device's identity on its hub stays, and the next registration is an
    /// initial one (O §1.11).
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn delete_record(
        &self,
        id: &RegistrationId,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<(), No<OperatorRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let existing = self.store.find_record(id).await?;
            record::delete(existing.as_ref(), precondition).map_err(No::Refused)?;
            let version = existing.as_ref().map_or(0, |record| record.version);
            let deed = Deed {
                action: "registration.delete",
                target: format!("registrations/{id}"),
                before: existing.as_ref().map(audit_view::record),
                ..Deed::default()
            };
            let now = self.clock.now();
            let mut changes = ChangeSet::new()
                .expecting(Expect::Record(id.clone(), version))
                .with(Change::DeleteRecord(id.clone()))
                .with(audit::line(by, now, deed));
            let behind = existing.and_then(|record| pending::left_behind(&record, None, now));
            changes.changes.extend(behind.map(|removal| Change::PutRemoval(Box::new(removal))));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(());
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// How much there is of what limits count.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn usage(&self) -> Result<Usage, No<OperatorRefusal>> {
        Ok(self.store.usage().await?)
    }
}
