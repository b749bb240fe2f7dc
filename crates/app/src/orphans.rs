//! Registration records whose enrollment no longer exists: deleted in batches, with the group they
//! belong to, or by themselves when they are old.
//!
//! Deleting a group leaves its records behind, and they go on counting toward the limit (O §1.11).
//! What goes here is the record alone: the device's identity stays on its hub.

use decide::{manage::audit_view, orphans};
use model::{
    Caller, ChangeSet, EnrollmentGroupId, Expect, OperatorRefusal, OrphanFilter, Precondition,
    RecordFilter, RegistrationRecord,
};

use crate::{
    App, Attempt, MAX_ATTEMPTS, No, attempted,
    audit::{self, Deed},
    bans::Wet,
    enrollments::GroupShape,
};

/// How many records go in one change set: few enough that nobody else waits for long.
pub const ORPHAN_BATCH: usize = 250;

/// A batch of records that went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cleared {
    /// How many went; of a dry run, how many would go in all.
    pub n_records: u64,
    /// Where to go on, when there may be more.
    pub next: Option<String>,
}

impl App {
    /// How many orphans there are.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn count_orphans(&self, filter: &OrphanFilter) -> Result<u64, No<OperatorRefusal>> {
        Ok(self.store.count_records(&RecordFilter::Orphaned(filter.clone())).await?)
    }

    /// Deletes the next orphans after `after`, at most `limit` and at most [`ORPHAN_BATCH`], with
    /// one line in the audit log. Their devices' identities stay on their hubs.
    ///
    /// Orphans that are there when the first batch is asked for and still at the last one are gone
    /// after it, whatever else comes and goes.
    ///
    /// # Errors
    /// [`OperatorRefusal::Conflict`], or a fault.
    pub async fn delete_orphans(
        &self,
        filter: &OrphanFilter,
        after: Option<&str>,
        limit: usize,
        wet: Wet,
        by: &Caller,
    ) -> Result<Cleared, No<OperatorRefusal>> {
        if wet == Wet::Dry {
            return Ok(Cleared { n_records: self.count_orphans(filter).await?, next: None });
        }
        let (wanted, limit) =
            (RecordFilter::Orphaned(filter.clone()), limit.clamp(1, ORPHAN_BATCH));
        for _ in 0..MAX_ATTEMPTS {
            let page = self.store.list_records(&wanted, after, limit).await?;
            let changes = orphans::delete(&page.items, self.clock.now());
            let cleared = Cleared { n_records: page.items.len() as u64, next: page.next };
            let done = self.clear(&page.items, changes, "registration.delete-orphans", by).await?;
            if let Attempt::Done = done {
                return Ok(cleared);
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// Deletes a group of this shape and then the first batch of its records: the group first, so
    /// that nobody comes back through it meanwhile. The rest goes with [`Self::delete_orphans`];
    /// so does what is left when the group itself is gone already, which is why this may be asked
    /// again after it broke off.
    ///
    /// # Errors
    /// [`OperatorRefusal::GroupNotFound`] when there is neither the group nor a record of it; other
    /// [`OperatorRefusal`]s, or a fault.
    pub async fn delete_group_with_records(
        &self,
        shape: GroupShape,
        id: &EnrollmentGroupId,
        precondition: &Precondition,
        limit: usize,
        wet: Wet,
        by: &Caller,
    ) -> Result<Cleared, No<OperatorRefusal>> {
        let gone = match self.remove_group(shape, id, precondition, wet, by).await {
            Ok(()) => None,
            Err(No::Refused(missing @ OperatorRefusal::GroupNotFound)) => Some(missing),
            Err(other) => return Err(other),
        };
        let cleared = match wet {
            Wet::Dry => {
                let filter = RecordFilter::Group(id.clone());
                Cleared { n_records: self.store.count_records(&filter).await?, next: None }
            }
            Wet::Done => {
                let filter = OrphanFilter { group: Some(id.clone()), updated_before: None };
                self.delete_orphans(&filter, None, limit, wet, by).await?
            }
        };
        match gone {
            Some(missing) if cleared == Cleared::default() => Err(No::Refused(missing)),
            _ => Ok(cleared),
        }
    }

    /// Deletes a group of this shape, or says whether it would be.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn remove_group(
        &self,
        shape: GroupShape,
        id: &EnrollmentGroupId,
        precondition: &Precondition,
        wet: Wet,
        by: &Caller,
    ) -> Result<(), No<OperatorRefusal>> {
        match wet {
            Wet::Done => self.delete_group_of(shape, id, precondition, by).await,
            Wet::Dry => {
                let group = self.get_group_of(shape, id).await?;
                let missing = OperatorRefusal::GroupNotFound;
                decide::enrollment::delete(Some(&group.terms), precondition, missing)
                    .map_err(No::Refused)
            }
        }
    }

    /// Deletes the next batch of orphans whose devices did not register for so many seconds, on
    /// behalf of the program itself. One that keeps its device from a built-in hub stays
    /// ([`orphans::keeps_out`]).
    ///
    /// # Errors
    /// [`OperatorRefusal::Conflict`] when others write the same records all the time, or a fault.
    pub async fn expire_orphans(
        &self,
        older_than_secs: i64,
        after: Option<&str>,
    ) -> Result<Cleared, No<OperatorRefusal>> {
        let updated_before = Some(self.clock.now().plus_secs(-older_than_secs));
        let wanted = RecordFilter::Orphaned(OrphanFilter { group: None, updated_before });
        for _ in 0..MAX_ATTEMPTS {
            let facts = self.store.service_facts().await?;
            let mut page = self.store.list_records(&wanted, after, ORPHAN_BATCH).await?;
            let ends_sessions = facts.settings.disenroll_ends_sessions;
            page.items.retain(|record| !orphans::keeps_out(record, ends_sessions, &facts.hubs));
            let changes = orphans::delete(&page.items, self.clock.now())
                .expecting(Expect::Hubs(facts.version));
            let cleared = Cleared { n_records: page.items.len() as u64, next: page.next };
            let (action, by) = ("registration.expire-orphans", audit::by_itself());
            if let Attempt::Done = self.clear(&page.items, changes, action, &by).await? {
                return Ok(cleared);
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// Commits what deletes these records, with its line in the audit log.
    async fn clear(
        &self,
        records: &[RegistrationRecord],
        changes: ChangeSet,
        action: &'static str,
        by: &Caller,
    ) -> Result<Attempt, No<OperatorRefusal>> {
        if records.is_empty() {
            return Ok(Attempt::Done);
        }
        let target = "orphans".to_owned();
        let before = Some(audit_view::records(records));
        let deed = Deed { action, target, before, ..Deed::default() };
        attempted(self.commit(changes.with(audit::line(by, self.clock.now(), deed))).await)
    }
}
