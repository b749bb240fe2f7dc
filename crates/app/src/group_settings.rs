//! An operator sets on a group what the vendor's API has no words for.
//!
//! **An extension of Induct**: what is set is part of the group, of whichever shape, and stays
//! when the vendor's API replaces it.

use decide::{enrollment, manage::audit_view};
use model::{
    Caller, Change, ChangeSet, EnrollmentGroup, EnrollmentGroupId, Expect, GroupSettings,
    OperatorRefusal, Precondition,
};

use crate::{
    App, Attempt, MAX_ATTEMPTS, No, attempted,
    audit::{self, Deed},
    bans::Wet,
    enrollments::{GroupShape, target},
};

impl App {
    /// A group of either shape, with its settings.
    ///
    /// # Errors
    /// [`OperatorRefusal::GroupNotFound`], or a fault.
    pub async fn get_group_settings(
        &self,
        id: &EnrollmentGroupId,
    ) -> Result<EnrollmentGroup, No<OperatorRefusal>> {
        self.store.find_group(id).await?.ok_or(No::Refused(OperatorRefusal::GroupNotFound))
    }

    /// Replaces a group's settings and leaves the rest of it as it is. The precondition is about
    /// the group, whose etag changes; without one, the settings are replaced whatever they were.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn put_group_settings(
        &self,
        id: &EnrollmentGroupId,
        settings: GroupSettings,
        precondition: &Precondition,
        wet: Wet,
        by: &Caller,
    ) -> Result<EnrollmentGroup, No<OperatorRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let existing = self.store.find_group(id).await?;
            let (now, fresh) = (self.clock.now(), self.fresh());
            let old = existing.as_ref();
            let written = enrollment::put_settings(old, settings, precondition, now, &fresh)
                .map_err(No::Refused)?;
            if wet == Wet::Dry {
                return Ok(written);
            }
            let deed = Deed {
                action: "enrollment-group.settings",
                target: target(GroupShape::of(&written), id),
                before: old.map(|group| audit_view::group_settings(&group.settings)),
                after: Some(audit_view::group_settings(&written.settings)),
                etag: Some(written.terms.etag.as_str().to_owned()),
            };
            let version = old.map_or(0, |group| group.terms.version);
            let changes = ChangeSet::new()
                .expecting(Expect::Group(id.clone(), version))
                .with(Change::PutGroup(Box::new(written.clone())))
                .with(audit::line(by, now, deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(written);
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }
}
