//! The first commit of a deprovisioning: what is meant as a whole is closed, and from there on it
//! is worked off whatever happens.

use decide::{
    deprovision::{self, Act, SharedFacts},
    manage::audit_view,
};
use model::{
    Ban, Caller, Change, ChangeSet, Closed, DeprovisionState, Deprovisioning, EndedSessions,
    EnrollmentGroup, EnrollmentGroupId, Expect, OperatorRefusal, Receipt, ReceiptId, SharedAct,
    SharedOutcome, SharedPart, Timestamp, Whole,
};
use store::StoreFault;
use tracing::info;

use super::work::Ending;
use crate::{
    App, Attempt, MAX_ATTEMPTS, No, attempted,
    audit::{self, Deed},
    unless_conflict,
};

impl App {
    /// Applies a plan: [`Self::begin_deprovision`], and all that is ours of every device. Applying
    /// it again changes nothing and answers the same receipt. When this is dropped halfway,
    /// [`Self::work_off_deprovisionings`] goes on.
    ///
    /// # Errors
    /// As for [`Self::begin_deprovision`].
    pub async fn deprovision(
        &self,
        id: &ReceiptId,
        by: &Caller,
    ) -> Result<Receipt, No<OperatorRefusal>> {
        self.begin_deprovision(id, by).await?;
        self.go_on_deprovision(id, || true).await
    }

    /// Works on a deprovisioning that was begun until it is done, or nobody wants to wait for it
    /// any more: [`Self::work_off_deprovisionings`] is called for then.
    ///
    /// # Errors
    /// [`OperatorRefusal::ReceiptNotFound`], or a fault.
    pub async fn go_on_deprovision(
        &self,
        id: &ReceiptId,
        is_wanted: impl Fn() -> bool + Send,
    ) -> Result<Receipt, No<OperatorRefusal>> {
        let worked = self.work_on(id, is_wanted).await;
        let receipt = self.deprovisioning(id).await?;
        if receipt.head.state == DeprovisionState::Applying {
            self.deprovisionings.bell.ring();
        }
        worked?;
        Ok(receipt)
    }

    /// Begins to apply a plan: what is meant as a whole, a group or a CA, is closed in one commit,
    /// and the sessions that this ends are waited for. The devices are left to
    /// [`Self::work_off_deprovisionings`], which is called for as soon as that commit is written.
    ///
    /// # Errors
    /// [`OperatorRefusal::ReceiptNotFound`]; [`OperatorRefusal::BadRequest`] for a plan that is not
    /// whole or whose time is over; or a fault.
    pub async fn begin_deprovision(
        &self,
        id: &ReceiptId,
        by: &Caller,
    ) -> Result<Receipt, No<OperatorRefusal>> {
        let _closing = self.deprovisionings.closing.take(id).await;
        for _ in 0..MAX_ATTEMPTS {
            let Receipt { head, counts } = self.deprovisioning(id).await?;
            let now = self.clock.now();
            let bad = |text: String| Err(No::Refused(OperatorRefusal::BadRequest(text)));
            match head.state {
                DeprovisionState::Planned | DeprovisionState::Planning if now > head.expires => {
                    return bad(format!(
                        "the plan {id} is too old to be applied, or gave way to newer ones; make a \
                         new one"
                    ));
                }
                DeprovisionState::Planned => {
                    // What is applied is what was shown.
                    let n_planned = head.totals.n_devices + head.totals.n_unchanged;
                    if counts.items != n_planned {
                        let n = counts.items;
                        return bad(format!(
                            "the plan {id} has {n} of its {n_planned} devices left and cannot be \
                             applied; make a new one"
                        ));
                    }
                }
                DeprovisionState::Planning => {
                    return bad(format!(
                        "the devices of the plan {id} are still being collected, or that was \
                         interrupted; wait, or make a new one"
                    ));
                }
                DeprovisionState::Applying | DeprovisionState::Done => {
                    return self.deprovisioning(id).await;
                }
            }
            if !self.is_as_planned(&head).await? {
                return bad(format!("the group changed since the plan {id}, plan again"));
            }
            if self.try_begin(&head, by, now).await? {
                return self.deprovisioning(id).await;
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// One attempt; false when something has changed.
    async fn try_begin(
        &self,
        head: &Deprovisioning,
        by: &Caller,
        now: Timestamp,
    ) -> Result<bool, No<OperatorRefusal>> {
        let (groups, bans) = self.shared_facts(&head.shared).await?;
        let facts = SharedFacts { groups: &groups, bans: &bans };
        let act =
            Act { intent: head.intent, reason: head.reason.as_deref(), by, receipt: &head.id };
        let (mut changes, shared) =
            deprovision::shared(&head.shared, facts, &act, now, &self.fresh());
        changes.expects.push(Expect::Receipt(head.id.clone(), head.version));
        let mut begun = Deprovisioning {
            state: DeprovisionState::Applying,
            shared,
            applied: Some((by.clone(), now)),
            ..head.clone()
        };
        let lines = audit_lines(&begun, &groups, by, now);
        let ending = Ending::before(self, &changes);
        if ending.may_be_some() {
            begun.sessions = EndedSessions { n: ending.n(), closed: Closed::Waiting };
        }
        let mut written = changes.clone();
        written.changes.push(Change::PutReceipt(Box::new(begun.clone())));
        written.changes.extend(lines);
        if let Attempt::Again = attempted(self.commit(written).await)? {
            return Ok(false);
        }
        let (id, intent) = (&head.id, head.intent);
        info!(receipt.id = %id, "began to {intent:?} the devices of the plan {id}");
        // The devices need not wait for these sessions.
        self.deprovisionings.bell.ring();
        let sessions = ending.wait(self, &changes).await;
        if sessions != begun.sessions {
            self.note_shared_sessions(id, sessions).await?;
        }
        Ok(true)
    }

    /// Whoever waited for the sessions that were ended as a whole is gone, and nobody knows how long
    /// it took; for who has the right to wait for them.
    pub(super) async fn note_unmeasured(&self, id: &ReceiptId) -> Result<(), StoreFault> {
        // It may have been written down until just now.
        let Some(receipt) = self.store.find_receipt(id).await? else { return Ok(()) };
        match receipt.head.sessions.closed.is_waiting() {
            true => {
                let closed = Closed::Unmeasured;
                let sessions = EndedSessions { closed, ..receipt.head.sessions };
                self.note_shared_sessions(id, sessions).await
            }
            false => Ok(()),
        }
    }

    /// Writes down what became of the sessions that were ended as a whole.
    async fn note_shared_sessions(
        &self,
        id: &ReceiptId,
        sessions: EndedSessions,
    ) -> Result<(), StoreFault> {
        for _ in 0..MAX_ATTEMPTS {
            let Some(receipt) = self.store.find_receipt(id).await? else { return Ok(()) };
            let version = receipt.head.version;
            let written = Deprovisioning { sessions, ..receipt.head };
            let changes = ChangeSet::new()
                .expecting(Expect::Receipt(id.clone(), version))
                .with(Change::PutReceipt(Box::new(written)));
            if unless_conflict(self.commit(changes).await)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether the group selected as a whole, if there is one, is as it was planned.
    async fn is_as_planned(&self, head: &Deprovisioning) -> Result<bool, StoreFault> {
        let Some(Whole::Group(id)) = head.selected_by.whole() else { return Ok(true) };
        let group = self.store.find_group(id).await?;
        let cas = match &group {
            Some(group) => self.cas_of(group).await?,
            None => Vec::new(),
        };
        Ok(deprovision::is_as_planned(head, group.as_ref(), &cas))
    }

    async fn shared_facts(
        &self,
        parts: &[SharedPart],
    ) -> Result<(Vec<EnrollmentGroup>, Vec<Ban>), StoreFault> {
        let (mut groups, mut bans) = (Vec::new(), Vec::new());
        for part in parts {
            match &part.act {
                SharedAct::DisableGroup(id, _)
                | SharedAct::DeleteGroup(id, _)
                | SharedAct::EnableGroup(id, _) => {
                    groups.extend(self.store.find_group(id).await?);
                }
                SharedAct::SetBan(subject) => {
                    bans.extend(self.store.find_ban(&subject.key()).await?);
                }
            }
        }
        Ok((groups, bans))
    }
}

/// The lines of the first commit: one for the deprovisioning, one for each thing that is done as a
/// whole.
fn audit_lines(
    begun: &Deprovisioning,
    groups: &[EnrollmentGroup],
    by: &Caller,
    now: Timestamp,
) -> Vec<Change> {
    let receipt = &begun.id;
    let begin = Deed {
        action: "deprovision.apply",
        target: format!("receipts/{receipt}"),
        after: Some(audit_view::deprovisioning(begun)),
        ..Deed::default()
    };
    let mut lines = vec![audit::line(by, now, begin)];
    let view = |id: &EnrollmentGroupId| {
        groups.iter().find(|group| group.group_id == *id).map(audit_view::group)
    };
    for part in &begun.shared {
        let SharedOutcome::Done(etag) = &part.outcome else { continue };
        let etag = etag.as_ref().map(|etag| etag.as_str().to_owned());
        let (action, target, before) = match &part.act {
            SharedAct::DisableGroup(id, _) => {
                ("enrollment-group.disable", format!("enrollmentGroups/{id}"), view(id))
            }
            SharedAct::EnableGroup(id, _) => {
                ("enrollment-group.enable", format!("enrollmentGroups/{id}"), view(id))
            }
            SharedAct::DeleteGroup(id, _) => {
                ("enrollment-group.delete", format!("enrollmentGroups/{id}"), view(id))
            }
            SharedAct::SetBan(subject) => ("ban.set", format!("bans/{}", subject.key()), None),
        };
        let after = Some(audit_view::by_receipt(receipt));
        lines.push(audit::line(by, now, Deed { action, target, before, after, etag }));
    }
    lines
}
