//! One device: everything of ours in one commit, then its sessions.

use decide::{
    deprovision::{self, Act, Deed as Done},
    manage::audit_view,
};
use model::{
    Caller, Change, ChangeSet, Closed, DeprovisionItem, Deprovisioning, DeviceSubject,
    EndedSessions, Expect, Intent, ItemState, Timestamp, Trouble,
};
use store::StoreFault;
use tracing::{error, info};

use super::{facts::Read, work::Ending};
use crate::{
    App, MAX_ATTEMPTS,
    audit::{self, Deed, by_itself},
    unless_conflict,
};

/// Sessions that were ended and are to be waited for.
pub(super) struct Closing {
    item: DeprovisionItem,
    changes: ChangeSet,
    /// `None` when the work was interrupted, and nobody knows when it began.
    ending: Option<Ending>,
}

impl App {
    /// Works on one item that is open.
    pub(super) async fn work_on_item(
        &self,
        head: &Deprovisioning,
        item: DeprovisionItem,
    ) -> Result<Option<Closing>, StoreFault> {
        if item.state != ItemState::Pending {
            // Whoever waited for its sessions is gone.
            return Ok(Some(Closing { item, changes: ChangeSet::new(), ending: None }));
        }
        self.deprovisionings.pace().await;
        let _place = self.deprovisionings.place().await;
        for _ in 0..MAX_ATTEMPTS {
            let read = self
                .read_device(&item.subject, head.intent, head.selected_by.receipt.as_ref())
                .await?;
            let (now, fresh) = (self.clock.now(), self.fresh());
            let itself = by_itself();
            let by = head.applied.as_ref().map_or(&itself, |(by, _)| by);
            let act =
                Act { intent: head.intent, reason: head.reason.as_deref(), by, receipt: &head.id };
            let done = deprovision::device(&read.facts(), &act, item.number, now, &fresh);
            let mut written = DeprovisionItem {
                at: Some(now),
                parts: done.parts.clone(),
                remote: done.remote.clone(),
                ..item.clone()
            };
            if done.is_nothing() {
                written.state = ItemState::Unchanged;
                if self.put_item(&item, written, ChangeSet::new()).await? {
                    return Ok(None);
                }
            } else {
                written.state = ItemState::Done;
                if let Some(closing) = self.do_it(&item, written, done, (head, by, &read)).await? {
                    return Ok(closing.ending.is_some().then_some(closing));
                }
            }
            let current = self.store.find_receipt_item(&head.id, item.number).await?;
            if current.is_none_or(|current| current.state != ItemState::Pending) {
                // Somebody else was faster.
                return Ok(None);
            }
        }
        self.fail(&item, "the device was written by somebody else again and again").await?;
        Ok(None)
    }

    /// Gives up on an item that the store has a fault with again and again: whether that is so now.
    /// One that is waited for, or not as it was, is left alone.
    pub(super) async fn give_up(
        &self,
        item: &DeprovisionItem,
        fault: &StoreFault,
    ) -> Result<bool, StoreFault> {
        let Some(current) = self.store.find_receipt_item(&item.receipt, item.number).await? else {
            return Ok(false);
        };
        if current.state != ItemState::Pending {
            return Ok(false);
        }
        let (subject, receipt) = (item.subject.key(), &item.receipt);
        let cause = fault.source.to_string();
        error!(receipt.id = %receipt, device = %subject, error = %cause, "gave up {subject} of the deprovisioning {receipt}: {fault}");
        self.fail(&current, &format!("the store could not do it: {fault}: {cause}")).await
    }

    /// Nothing of ours is done to the device; false when something has changed.
    async fn fail(&self, item: &DeprovisionItem, error: &str) -> Result<bool, StoreFault> {
        let trouble =
            Trouble { error: error.to_owned(), remedy: "plan and apply it once more".to_owned() };
        let (state, at) = (ItemState::Failed, Some(self.clock.now()));
        let failed = DeprovisionItem { state, at, trouble: Some(trouble), ..item.clone() };
        self.put_item(item, failed, ChangeSet::new()).await
    }

    /// One attempt at all of ours; `None` when something has changed.
    async fn do_it(
        &self,
        item: &DeprovisionItem,
        mut written: DeprovisionItem,
        done: Done,
        (head, by, read): (&Deprovisioning, &Caller, &Read),
    ) -> Result<Option<Closing>, StoreFault> {
        let now = written.at.unwrap_or(head.created);
        let ending = Ending::before(self, &done.changes);
        if ending.may_be_some() {
            written.sessions = EndedSessions { n: ending.n(), closed: Closed::Waiting };
        }
        let mut changes = done.changes.clone();
        changes.changes.push(audit_line(head, by, read, &written, now));
        self.supersede(&done, &mut changes, now).await?;
        if !self.put_item(item, written.clone(), changes).await? {
            return Ok(None);
        }
        let (subject, receipt) = (item.subject.key(), &head.id);
        info!(receipt.id = %receipt, device = %subject, "did what the receipt {receipt} says to {subject}");
        let has_sessions = ending.may_be_some() || !self.live.concerned(&done.changes).is_empty();
        let ending = has_sessions.then_some(ending);
        Ok(Some(Closing { item: written, changes: done.changes, ending }))
    }

    /// Tells the items of earlier deprovisionings that remote hubs are told something else now.
    async fn supersede(
        &self,
        done: &Done,
        changes: &mut ChangeSet,
        now: Timestamp,
    ) -> Result<(), StoreFault> {
        let mut told: Vec<DeprovisionItem> = Vec::new();
        for (to, hub, id) in &done.superseded {
            let is_it =
                |item: &&mut DeprovisionItem| item.receipt == to.receipt && item.number == to.item;
            if let Some(item) = told.iter_mut().find(is_it) {
                deprovision::supersede(&mut item.remote, (hub, id), now);
                continue;
            }
            let found = self.store.find_receipt_item(&to.receipt, to.item).await?;
            if let Some(mut item) = found {
                deprovision::supersede(&mut item.remote, (hub, id), now);
                told.push(item);
            }
        }
        for item in told {
            let version = item.version;
            let expect = Expect::ReceiptItem(item.receipt.clone(), item.number, version);
            changes.expects.push(expect);
            changes.changes.push(Change::PutReceiptItem(Box::new(item)));
        }
        Ok(())
    }

    /// Writes an item, with what was done; false when something has changed.
    async fn put_item(
        &self,
        old: &DeprovisionItem,
        written: DeprovisionItem,
        changes: ChangeSet,
    ) -> Result<bool, StoreFault> {
        let expect = Expect::ReceiptItem(old.receipt.clone(), old.number, old.version);
        let changes = changes.expecting(expect).with(Change::PutReceiptItem(Box::new(written)));
        unless_conflict(self.commit(changes).await)
    }

    /// Waits for the sessions of a device, and writes down what became of them.
    pub(super) async fn await_closing(&self, closing: Closing) -> Result<(), StoreFault> {
        let Closing { item, changes, ending } = closing;
        let sessions = match ending {
            Some(ending) => ending.wait(self, &changes).await,
            None => EndedSessions { closed: Closed::Unmeasured, ..item.sessions },
        };
        if sessions == item.sessions {
            return Ok(());
        }
        for _ in 0..MAX_ATTEMPTS {
            // Remote hubs may have been told meanwhile.
            let current = self.store.find_receipt_item(&item.receipt, item.number).await?;
            let Some(current) = current else { return Ok(()) };
            let written = DeprovisionItem { sessions, ..current.clone() };
            if self.put_item(&current, written, ChangeSet::new()).await? {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn audit_line(
    head: &Deprovisioning,
    by: &Caller,
    read: &Read,
    item: &DeprovisionItem,
    now: Timestamp,
) -> Change {
    let action = match head.intent {
        Intent::Suspend => "device.suspend",
        Intent::Retire => "device.retire",
        Intent::Revoke => "device.revoke",
        Intent::Reinstate => "device.reinstate",
    };
    let target = match &item.subject {
        DeviceSubject::Registration(id) => format!("registrations/{id}"),
        DeviceSubject::Identity(id) => format!("devices/{id}"),
    };
    let facts = read.facts();
    let deed = Deed {
        action,
        target,
        before: Some(audit_view::before_deprovisioning(facts.individual, facts.record)),
        after: Some(audit_view::deprovisioned(item)),
        etag: None,
    };
    audit::line(by, now, deed)
}
