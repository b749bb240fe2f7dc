//! An operator writes and reads enrollments.

pub use decide::enrollment::{BulkMode, GroupShape};

use decide::{enrollment, manage::audit_view, pending};
use model::{
    AttestationKind, AttestationMechanism, Caller, Change, ChangeSet, Counted, EnrollmentGroup,
    EnrollmentGroupId, Expect, GroupDraft, IndividualDraft, IndividualEnrollment, IndividualFacts,
    Json, OperatorRefusal, Page, Precondition, RegistrationId, Terms,
};

use crate::{
    App, Attempt, MAX_ATTEMPTS, No, ToWrite, attempted,
    audit::{self, Deed, put_action},
};

/// One item of a bulk call on individual enrollments.
#[derive(Debug, Clone)]
pub enum BulkIndividual {
    /// Write this, by the call's mode.
    Write(Box<IndividualDraft>),
    /// Delete this.
    Delete(RegistrationId),
}

/// One item of a bulk call on groups.
#[derive(Debug, Clone)]
pub enum BulkGroup {
    /// Write this, by the call's mode.
    Write(Box<GroupDraft>),
    /// Delete this.
    Delete(EnrollmentGroupId),
}

impl App {
    /// Creates an individual enrollment, or with a precondition replaces it.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn put_individual(
        &self,
        draft: IndividualDraft,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<IndividualEnrollment, No<OperatorRefusal>> {
        let id = draft.registration_id.clone();
        for _ in 0..MAX_ATTEMPTS {
            let ToWrite { existing, written, now } =
                self.individual_to_write(draft.clone(), precondition).await?;
            let version = existing.as_ref().map_or(0, |enrollment| enrollment.terms.version);
            let before = existing.as_ref().map(|old| (audit_view::individual(old), &old.terms));
            let after = audit_view::individual(&written);
            let action = put_action(existing.is_some(), "enrollment.create", "enrollment.update");
            let deed = put_deed(action, format!("enrollments/{id}"), before, after, &written.terms);
            let mut changes = ChangeSet::new()
                .expecting(Expect::Individual(id.clone(), version))
                .with(Change::PutIndividual(Box::new(written.clone())))
                .with(audit::line(by, now, deed));
            if existing.is_none() {
                let limit = self.settings.quotas.individual_enrollments;
                changes.expects.push(Expect::Room { of: Counted::IndividualEnrollments, limit });
            }
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(written);
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// The individual enrollment as it stands, and what a put would make of it now.
    pub(crate) async fn individual_to_write(
        &self,
        draft: IndividualDraft,
        precondition: &Precondition,
    ) -> Result<ToWrite<IndividualEnrollment>, No<OperatorRefusal>> {
        let existing = self.store.individual_facts(&draft.registration_id).await?.enrollment;
        let usage = self.store.usage().await?;
        let limits = self.enrollment_limits();
        let (old, now, fresh) = (existing.as_ref(), self.clock.now(), self.fresh());
        let written =
            enrollment::put_individual(old, draft, precondition, &usage, &limits, now, &fresh)
                .map_err(No::Refused)?;
        Ok(ToWrite { existing, written, now })
    }

    /// An individual enrollment with its registration record, if the device ever registered.
    ///
    /// # Errors
    /// [`OperatorRefusal::EnrollmentNotFound`], or a fault.
    pub async fn get_individual(
        &self,
        id: &RegistrationId,
    ) -> Result<IndividualFacts, No<OperatorRefusal>> {
        let facts = self.store.individual_facts(id).await?;
        if facts.enrollment.is_none() {
            return Err(No::Refused(OperatorRefusal::EnrollmentNotFound));
        }
        Ok(facts)
    }

    /// Deletes an individual enrollment and its registration record (O §1.11). The device's
    /// identity on its hub stays.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn delete_individual(
        &self,
        id: &RegistrationId,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<(), No<OperatorRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let facts = self.store.individual_facts(id).await?;
            let terms = facts.enrollment.as_ref().map(|enrollment| &enrollment.terms);
            enrollment::delete(terms, precondition, OperatorRefusal::EnrollmentNotFound)
                .map_err(No::Refused)?;
            let version = terms.map_or(0, |terms| terms.version);
            let deed = Deed {
                action: "enrollment.delete",
                target: format!("enrollments/{id}"),
                before: facts.enrollment.as_ref().map(audit_view::individual),
                ..Deed::default()
            };
            let now = self.clock.now();
            let record = facts.record.as_ref();
            let mut changes = ChangeSet::new()
                .expecting(Expect::Individual(id.clone(), version))
                .expecting(Expect::Record(id.clone(), record.map_or(0, |record| record.version)))
                .with(Change::DeleteIndividual(id.clone()))
                .with(Change::DeleteRecord(id.clone()))
                .with(audit::line(by, now, deed));
            let behind = record.and_then(|record| pending::left_behind(record, None, now));
            changes.changes.extend(behind.map(|removal| Change::PutRemoval(Box::new(removal))));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(());
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// Individual enrollments, those after `after`, at most `limit`.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn list_individuals(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<IndividualEnrollment>, No<OperatorRefusal>> {
        Ok(self.store.list_individuals(after, limit).await?)
    }

    /// Works a bulk call off, item by item; good items stay applied (O §1.10). Returns what was
    /// refused.
    ///
    /// # Errors
    /// A fault of the store; items before it stay applied.
    pub async fn bulk_individuals(
        &self,
        mode: BulkMode,
        items: Vec<BulkIndividual>,
        by: &Caller,
    ) -> Result<Vec<(RegistrationId, OperatorRefusal)>, No<OperatorRefusal>> {
        let mut refused = Vec::new();
        for item in items {
            let (id, outcome) = match item {
                BulkIndividual::Delete(id) => {
                    let outcome = self.delete_individual(&id, &Precondition::None, by).await;
                    (id, outcome)
                }
                BulkIndividual::Write(draft) => {
                    let id = draft.registration_id.clone();
                    (id, self.bulk_write_individual(mode, *draft, by).await)
                }
            };
            match outcome {
                Ok(()) => {}
                Err(No::Refused(refusal)) => refused.push((id, refusal)),
                Err(fault @ No::Fault(_)) => return Err(fault),
            }
        }
        Ok(refused)
    }

    async fn bulk_write_individual(
        &self,
        mode: BulkMode,
        draft: IndividualDraft,
        by: &Caller,
    ) -> Result<(), No<OperatorRefusal>> {
        let facts = self.store.individual_facts(&draft.registration_id).await?;
        let precondition = mode
            .precondition(
                draft.draft.etag.as_deref(),
                facts.enrollment.is_some(),
                OperatorRefusal::EnrollmentNotFound,
            )
            .map_err(No::Refused)?;
        self.put_individual(draft, &precondition, by).await.map(drop)
    }

    /// Creates a group, or with a precondition replaces it, if there is none of the other shape:
    /// the draft says which one this is.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn put_group(
        &self,
        draft: GroupDraft,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<EnrollmentGroup, No<OperatorRefusal>> {
        let id = draft.group_id.clone();
        for _ in 0..MAX_ATTEMPTS {
            let ToWrite { existing, written, now } =
                self.group_to_write(draft.clone(), precondition).await?;
            let version = existing.as_ref().map_or(0, |group| group.terms.version);
            let before = existing.as_ref().map(|old| (audit_view::group(old), &old.terms));
            let after = audit_view::group(&written);
            let (create, update) = ("enrollment-group.create", "enrollment-group.update");
            let action = put_action(existing.is_some(), create, update);
            let target = target(GroupShape::of(&written), &id);
            let deed = put_deed(action, target, before, after, &written.terms);
            let mut changes = ChangeSet::new()
                .expecting(Expect::Group(id.clone(), version))
                .with(Change::PutGroup(Box::new(written.clone())))
                .with(audit::line(by, now, deed));
            let kind = written.terms.attestation.kind();
            if existing.as_ref().map(|group| group.terms.attestation.kind()) != Some(kind) {
                let limits = &self.settings.quotas;
                let (of, limit) = match kind {
                    AttestationKind::SymmetricKey => {
                        (Counted::SymmetricKeyGroups, limits.symmetric_key_groups)
                    }
                    AttestationKind::X509 | AttestationKind::Tpm => {
                        (Counted::X509Groups, limits.x509_groups)
                    }
                };
                changes.expects.push(Expect::Room { of, limit });
            }
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(written);
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// The group as it stands, and what a put would make of it now.
    pub(crate) async fn group_to_write(
        &self,
        draft: GroupDraft,
        precondition: &Precondition,
    ) -> Result<ToWrite<EnrollmentGroup>, No<OperatorRefusal>> {
        let existing = self.store.find_group(&draft.group_id).await?;
        let usage = self.store.usage().await?;
        let limits = self.enrollment_limits();
        let (old, now, fresh) = (existing.as_ref(), self.clock.now(), self.fresh());
        let written = enrollment::put_group(old, draft, precondition, &usage, &limits, now, &fresh)
            .map_err(No::Refused)?;
        Ok(ToWrite { existing, written, now })
    }

    /// A group as the vendor's API shows it.
    ///
    /// # Errors
    /// [`OperatorRefusal::GroupNotFound`], or that it is a group of TPMs; or a fault.
    pub async fn get_group(
        &self,
        id: &EnrollmentGroupId,
    ) -> Result<EnrollmentGroup, No<OperatorRefusal>> {
        self.get_group_of(GroupShape::Vendor, id).await
    }

    /// A group of this shape.
    ///
    /// # Errors
    /// [`OperatorRefusal::GroupNotFound`], or that it is of the other shape; or a fault.
    pub async fn get_group_of(
        &self,
        shape: GroupShape,
        id: &EnrollmentGroupId,
    ) -> Result<EnrollmentGroup, No<OperatorRefusal>> {
        let found = self.store.find_group(id).await?;
        let group = found.ok_or(No::Refused(OperatorRefusal::GroupNotFound))?;
        shape.check(&group).map_err(No::Refused)?;
        Ok(group)
    }

    /// Deletes a group that the vendor's API can show. Its registration records stay behind and
    /// still count (O §1.11).
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn delete_group(
        &self,
        id: &EnrollmentGroupId,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<(), No<OperatorRefusal>> {
        self.delete_group_of(GroupShape::Vendor, id, precondition, by).await
    }

    /// Deletes a group of this shape; as [`Self::delete_group`].
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn delete_group_of(
        &self,
        shape: GroupShape,
        id: &EnrollmentGroupId,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<(), No<OperatorRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let existing = self.store.find_group(id).await?;
            if let Some(existing) = &existing {
                shape.check(existing).map_err(No::Refused)?;
            }
            let terms = existing.as_ref().map(|group| &group.terms);
            enrollment::delete(terms, precondition, OperatorRefusal::GroupNotFound)
                .map_err(No::Refused)?;
            let version = terms.map_or(0, |terms| terms.version);
            let deed = Deed {
                action: "enrollment-group.delete",
                target: target(shape, id),
                before: existing.as_ref().map(audit_view::group),
                ..Deed::default()
            };
            let changes = ChangeSet::new()
                .expecting(Expect::Group(id.clone(), version))
                .with(Change::DeleteGroup(id.clone()))
                .with(audit::line(by, self.clock.now(), deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(());
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// Groups that the vendor's API can show, those after `after`, at most `limit`.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn list_groups(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<EnrollmentGroup>, No<OperatorRefusal>> {
        self.list_groups_of(GroupShape::Vendor, after, limit).await
    }

    /// Groups of this shape, those after `after`, at most `limit`. Where there is a next page, there
    /// is something on it.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn list_groups_of(
        &self,
        shape: GroupShape,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<EnrollmentGroup>, No<OperatorRefusal>> {
        let mut items: Vec<EnrollmentGroup> = Vec::new();
        let mut after = after.map(str::to_owned);
        loop {
            let page = self.store.list_groups(after.as_deref(), limit).await?;
            for group in page.items.into_iter().filter(|group| GroupShape::of(group) == shape) {
                if items.len() == limit {
                    let next = items.last().map(|last| last.group_id.key().to_owned());
                    return Ok(Page { items, next });
                }
                items.push(group);
            }
            match page.next {
                // A page of none has nothing after it that could be asked for.
                Some(next) if limit > 0 => after = Some(next),
                _ => return Ok(Page { items, next: None }),
            }
        }
    }

    /// Works a bulk call on groups off; as [`Self::bulk_individuals`].
    ///
    /// # Errors
    /// A fault of the store; items before it stay applied.
    pub async fn bulk_groups(
        &self,
        mode: BulkMode,
        items: Vec<BulkGroup>,
        by: &Caller,
    ) -> Result<Vec<(EnrollmentGroupId, OperatorRefusal)>, No<OperatorRefusal>> {
        let mut refused = Vec::new();
        for item in items {
            let (id, outcome) = match item {
                BulkGroup::Delete(id) => {
                    let outcome = self.delete_group(&id, &Precondition::None, by).await;
                    (id, outcome)
                }
                BulkGroup::Write(draft) => {
                    let id = draft.group_id.clone();
                    (id, self.bulk_write_group(mode, *draft, by).await)
                }
            };
            match outcome {
                Ok(()) => {}
                Err(No::Refused(refusal)) => refused.push((id, refusal)),
                Err(fault @ No::Fault(_)) => return Err(fault),
            }
        }
        Ok(refused)
    }

    async fn bulk_write_group(
        &self,
        mode: BulkMode,
        draft: GroupDraft,
        by: &Caller,
    ) -> Result<(), No<OperatorRefusal>> {
        let existing = self.store.find_group(&draft.group_id).await?;
        let precondition = mode
            .precondition(
                draft.draft.etag.as_deref(),
                existing.is_some(),
                OperatorRefusal::GroupNotFound,
            )
            .map_err(No::Refused)?;
        self.put_group(draft, &precondition, by).await.map(drop)
    }
}

/// What the audit log calls a group.
pub(crate) fn target(shape: GroupShape, id: &EnrollmentGroupId) -> String {
    match shape {
        GroupShape::Vendor => format!("enrollmentGroups/{id}"),
        GroupShape::Tpm => format!("tpmEnrollmentGroups/{id}"),
    }
}

fn put_deed(
    action: &'static str,
    target: String,
    before: Option<(Json, &Terms)>,
    after: Json,
    written: &Terms,
) -> Deed {
    let keys = |terms: &Terms| match &terms.attestation {
        AttestationMechanism::SymmetricKey(keys) => Some(keys.clone()),
        AttestationMechanism::X509Client(_)
        | AttestationMechanism::X509Signing(_)
        | AttestationMechanism::X509CaReferences(_)
        | AttestationMechanism::Tpm(_)
        | AttestationMechanism::TpmIssuer(_) => None,
    };
    let changed = before.as_ref().is_some_and(|(_, old)| keys(old) != keys(written));
    let after = if changed { audit_view::note_new_keys(after) } else { after };
    let etag = Some(written.etag.as_str().to_owned());
    Deed { action, target, before: before.map(|(view, _)| view), after: Some(after), etag }
}
