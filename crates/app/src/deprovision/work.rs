//! Works deprovisionings off, from device to device, and goes on with those that were interrupted.

use std::{sync::Arc, time::Duration};

use futures_util::{
    StreamExt, TryStreamExt,
    future::{self, Either},
    stream,
};
use model::{
    Change, ChangeSet, Closed, DeprovisionItem, DeprovisionState, Deprovisioning, DeviceSubject,
    EndedSessions, Expect, ItemState, PlannedDevice, ReceiptId, RecordFilter, RegistrationRecord,
    Timestamp, Whole,
};
use store::{CommitError, StoreFault};
use tracing::{info, warn};

use super::plan::is_closed;
use crate::{App, live::Seat};

/// How many items are read at a time.
const PAGE: usize = 512;

/// How many devices' sessions are waited for at a time.
const MAX_CLOSING: usize = 256;

/// How many deprovisionings are looked at in one pass.
const MAX_RECEIPTS_AT_ONCE: usize = 64;

/// How long until a deprovisioning is looked at again that somebody else works on, in seconds.
const LOOK_AGAIN_SECS: i64 = 5;

impl App {
    /// Works off the deprovisionings that were begun and are not done, the oldest first; answers
    /// when to come back, if there is reason to. Call it again as well when the bell rings
    /// ([`Self::with_deprovisioning`]).
    ///
    /// # Errors
    /// The store's, when it cannot say what is to be done. What goes wrong with one deprovisioning
    /// is logged and tried again.
    pub async fn work_off_deprovisionings(&self) -> Result<Option<Timestamp>, StoreFault> {
        let later = self.clock.now().plus_secs(LOOK_AGAIN_SECS);
        let mut next = None;
        for id in self.store.applying_receipts(MAX_RECEIPTS_AT_ONCE).await? {
            let Some(_taken) = self.deprovisionings.try_take(&id) else {
                next = Some(later);
                continue;
            };
            if let Err(fault) = self.work_through(&id).await {
                warn!(receipt.id = %id, error = %fault, "could not go on with the deprovisioning {id}; trying again");
                next = Some(later);
            }
        }
        self.trim_receipts().await?;
        Ok(next)
    }

    /// Works on one until it is done; waits while somebody else does.
    pub(super) async fn work_on(&self, id: &ReceiptId) -> Result<(), StoreFault> {
        let _taken = self.deprovisionings.take(id).await;
        self.work_through(id).await
    }

    /// Works on one that nobody else works on.
    async fn work_through(&self, id: &ReceiptId) -> Result<(), StoreFault> {
        loop {
            let Some(receipt) = self.store.find_receipt(id).await? else { return Ok(()) };
            if receipt.head.state != DeprovisionState::Applying {
                return Ok(());
            }
            if receipt.head.sessions.closed.is_waiting() {
                // Whoever waited is gone.
                let closed = Closed::Unmeasured;
                let sessions = EndedSessions { closed, ..receipt.head.sessions };
                self.note_shared_sessions(id, sessions).await?;
                continue;
            }
            let head = &receipt.head;
            let mut after = 0;
            loop {
                let items = self.store.open_receipt_items(id, after, PAGE).await?;
                let Some(last) = items.last() else { break };
                after = last.number;
                self.work_on_items(head, items).await?;
            }
            if after > 0 || self.add_late(head, receipt.counts.items).await? {
                continue;
            }
            if self.finish(head).await? {
                return Ok(());
            }
        }
    }

    async fn work_on_items(
        &self,
        head: &Deprovisioning,
        items: Vec<DeprovisionItem>,
    ) -> Result<(), StoreFault> {
        let settings = &self.deprovisionings.settings;
        let worked: Result<(), StoreFault> = stream::iter(items)
            .map(|item| self.work_on_item(head, item))
            .buffer_unordered(settings.max_at_once.max(1))
            .map_ok(|closing| async move {
                match closing {
                    Some(closing) => self.await_closing(closing).await,
                    None => Ok(()),
                }
            })
            .try_buffer_unordered(MAX_CLOSING)
            .try_collect()
            .await;
        // Remote hubs are told in any case.
        self.remote.bell.ring();
        worked
    }

    /// Adds the devices that joined a group or a CA between the plan and the first commit. There
    /// are none after it: what is meant as a whole is closed.
    async fn add_late(&self, head: &Deprovisioning, n_items: u64) -> Result<bool, StoreFault> {
        if !is_closed(&head.selected_by, head.intent) {
            return Ok(false);
        }
        let (mut after, mut number) = (None::<String>, n_items);
        loop {
            let page = match head.selected_by.whole() {
                Some(Whole::Group(group)) => {
                    let filter = RecordFilter::Group(group.clone());
                    self.store.list_records(&filter, after.as_deref(), PAGE).await?
                }
                Some(Whole::Certificate(key)) => {
                    self.store.records_resting_on(key, after.as_deref(), PAGE).await?
                }
                Some(Whole::Receipt(_)) | None => return Ok(false),
            };
            let mut changes = ChangeSet::new();
            let is_new = |record: &RegistrationRecord| record.last_updated >= head.created;
            for record in page.items.into_iter().filter(is_new) {
                let subject = DeviceSubject::Registration(record.registration_id.clone());
                let there = self.store.find_receipt_item_of(&head.id, &subject.key()).await?;
                if there.is_none() {
                    number += 1;
                    let item = late_item(head, number, subject, &record);
                    let new = Expect::ReceiptItem(head.id.clone(), number, 0);
                    changes = changes.expecting(new).with(Change::PutReceiptItem(Box::new(item)));
                }
            }
            if !changes.changes.is_empty() {
                // Only one of us works on it, and nobody else adds any.
                unless_conflict(self.commit(changes).await)?;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(number > n_items),
            }
        }
    }

    /// All of ours is done; false when something has changed.
    async fn finish(&self, head: &Deprovisioning) -> Result<bool, StoreFault> {
        let now = self.clock.now();
        let done =
            Deprovisioning { state: DeprovisionState::Done, finished: Some(now), ..head.clone() };
        let changes = ChangeSet::new()
            .expecting(Expect::Receipt(head.id.clone(), head.version))
            .with(Change::PutReceipt(Box::new(done)));
        if !unless_conflict(self.commit(changes).await)? {
            return Ok(false);
        }
        let id = &head.id;
        info!(receipt.id = %id, "the deprovisioning {id} is done");
        Ok(true)
    }
}

fn late_item(
    head: &Deprovisioning,
    number: u64,
    subject: DeviceSubject,
    record: &RegistrationRecord,
) -> DeprovisionItem {
    DeprovisionItem {
        receipt: head.id.clone(),
        number,
        subject,
        is_late: true,
        plan: PlannedDevice {
            enrollment: Some(record.enrollment.clone()),
            record: Some(record.status),
            ..PlannedDevice::default()
        },
        state: ItemState::Pending,
        at: None,
        parts: Vec::new(),
        sessions: EndedSessions::default(),
        remote: Vec::new(),
        trouble: None,
        version: 0,
    }
}

/// Whether it was written; false when something had changed.
pub(super) fn unless_conflict(outcome: Result<(), CommitError>) -> Result<bool, StoreFault> {
    match outcome {
        Ok(()) => Ok(true),
        Err(CommitError::Conflict) => Ok(false),
        Err(CommitError::Fault(fault)) => Err(fault),
    }
}

/// The sessions that a commit is about to end.
pub(super) struct Ending {
    seats: Vec<Arc<Seat>>,
    begun: Duration,
}

impl Ending {
    /// Before the commit.
    pub(super) fn before(app: &App, changes: &ChangeSet) -> Self {
        let seats = app.live.concerned(changes);
        Self { seats, begun: app.deprovisionings.stopwatch.elapsed() }
    }

    /// How many sessions may end.
    pub(super) fn n(&self) -> u32 {
        u32::try_from(self.seats.len()).unwrap_or(u32::MAX)
    }

    /// Whether any session may end.
    pub(super) fn may_be_some(&self) -> bool {
        !self.seats.is_empty()
    }

    /// After the commit: waits until the sessions that it ended are gone, but no longer than the
    /// settings say. Those that came between are among them.
    pub(super) async fn wait(mut self, app: &App, changes: &ChangeSet) -> EndedSessions {
        self.seats.extend(app.live.concerned(changes));
        self.seats.retain(|seat| seat.why_ended().is_some());
        self.seats.sort_unstable_by_key(|seat| seat.connection);
        self.seats.dedup_by_key(|seat| seat.connection);
        let n = self.n();
        if n == 0 {
            return EndedSessions::default();
        }
        let all = &app.deprovisionings;
        let are_gone = {
            let gone = async {
                for seat in &self.seats {
                    seat.left().await;
                }
            };
            let gone = std::pin::pin!(gone);
            let patience = all.stopwatch.pause(all.settings.close_wait);
            matches!(future::select(gone, patience).await, Either::Left(_))
        };
        let took = all.stopwatch.elapsed().saturating_sub(self.begun);
        let closed = match are_gone {
            true => Closed::After {
                micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                at: app.clock.now(),
            },
            false => Closed::NotYet,
        };
        EndedSessions { n, closed }
    }
}
