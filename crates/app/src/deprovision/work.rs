//! Works deprovisionings off, from device to device, and goes on with those that were interrupted.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{
    StreamExt,
    future::{self, Either},
    stream::{self, FuturesUnordered},
};
use model::{
    Change, ChangeSet, Closed, DeprovisionItem, DeprovisionState, Deprovisioning, DeviceSubject,
    EndedSessions, EnrollmentRef, Expect, Page, PlannedDevice, ReceiptId, RecordFilter,
    RegistrationRecord, Timestamp, Whole,
};
use store::StoreFault;
use tracing::{info, warn};

use super::plan::is_closed;
use crate::{App, live::Seat, unless_conflict};

/// How many items are read at a time, and worked on before another deprovisioning may have its turn.
const SLICE: usize = 128;

/// How many records are read at a time.
const PAGE: usize = 512;

/// How many devices' sessions are waited for at a time.
const MAX_CLOSING: usize = 256;

/// How many deprovisionings are worked on side by side.
const MAX_RECEIPTS_AT_ONCE: usize = 64;

/// How long until a deprovisioning is looked at again that somebody else works on, in seconds.
const LOOK_AGAIN_SECS: i64 = 5;

/// How often a device is tried that the store has a fault with, before it is given up.
const MAX_ITEM_FAULTS: u32 = 5;

/// What came of one slice of a deprovisioning.
enum Turn {
    /// There is nothing left to do, or it is gone.
    Done,
    /// There is more to do, with the items after this number; or again from the first one.
    More(u64),
    /// Its devices are done; somebody waits for the sessions that its first commit ended.
    Closing,
    /// As [`Self::More`]; but with some of the items the store had a fault.
    Faulted(u64, StoreFault),
}

/// Where a deprovisioning stands in one pass.
enum Pass {
    /// A slice of it is being worked on.
    Running,
    /// The next slice begins after this number; and the fault that the store had with an item.
    After(u64, Option<StoreFault>),
    /// It is left to the next pass.
    Left,
}

impl App {
    /// Works off the deprovisionings that were begun and are not done, side by side: a small one
    /// does not wait for a large one that was begun before. Answers when to come back, if there is
    /// reason to. Call it again as well when the bell rings ([`Self::with_deprovisioning`]).
    ///
    /// # Errors
    /// The store's, when it cannot say what is to be done. What goes wrong with one deprovisioning
    /// is logged and tried again.
    pub async fn work_off_deprovisionings(&self) -> Result<Option<Timestamp>, StoreFault> {
        let mut passes: HashMap<ReceiptId, Pass> = HashMap::new();
        let mut running = FuturesUnordered::new();
        let mut is_left = false;
        loop {
            // Those that were begun meanwhile as well.
            let limit = MAX_RECEIPTS_AT_ONCE.saturating_add(passes.len());
            for id in self.store.applying_receipts(limit).await? {
                if running.len() >= MAX_RECEIPTS_AT_ONCE {
                    break;
                }
                let pass = passes.entry(id.clone()).or_insert(Pass::After(0, None));
                if let Pass::After(after, fault) = pass {
                    let (after, fault) = (*after, fault.take());
                    *pass = Pass::Running;
                    running.push(self.try_slice(id, after, fault));
                }
            }
            let Some((id, pass)) = running.next().await else { break };
            is_left |= matches!(pass, Pass::Left);
            passes.insert(id, pass);
        }
        self.trim_receipts().await?;
        Ok(is_left.then(|| self.clock.now().plus_secs(LOOK_AGAIN_SECS)))
    }

    /// One slice, unless somebody else works on it.
    async fn try_slice(
        &self,
        id: ReceiptId,
        after: u64,
        earlier: Option<StoreFault>,
    ) -> (ReceiptId, Pass) {
        let Some(_taken) = self.deprovisionings.taken.try_take(&id) else {
            return (id, Pass::Left);
        };
        let pass = match self.work_slice(&id, after).await {
            // It is not listed any more.
            Ok(Turn::Done) => Pass::After(0, None),
            // Once around: items that the store had a fault with are left to the next pass.
            Ok(Turn::More(0)) if earlier.is_some() => Pass::Left,
            Ok(Turn::More(after)) => Pass::After(after, earlier),
            Ok(Turn::Faulted(after, fault)) => {
                warn!(receipt.id = %id, error = %fault, "could not do a device of the deprovisioning {id}; trying again");
                Pass::After(after, Some(fault))
            }
            Ok(Turn::Closing) => Pass::Left,
            Err(fault) => {
                warn!(receipt.id = %id, error = %fault, "could not go on with the deprovisioning {id}; trying again");
                Pass::Left
            }
        };
        (id, pass)
    }

    /// Works on one until it is done, or nobody wants it any more; waits while somebody else does.
    pub(super) async fn work_on(
        &self,
        id: &ReceiptId,
        is_wanted: impl Fn() -> bool + Send,
    ) -> Result<(), StoreFault> {
        let (mut after, mut fault) = (0, None);
        while is_wanted() {
            let turn = {
                let _taken = self.deprovisionings.taken.take(id).await;
                self.work_slice(id, after).await?
            };
            match turn {
                Turn::Done => break,
                Turn::More(0) if fault.is_some() => break,
                Turn::More(next) => after = next,
                Turn::Faulted(next, new) => (after, fault) = (next, fault.or(Some(new))),
                // Until whoever waits has written down what came of it.
                Turn::Closing => drop(self.deprovisionings.closing.take(id).await),
            }
        }
        fault.map_or(Ok(()), Err)
    }

    /// Works on the next items of one that nobody else works on.
    async fn work_slice(&self, id: &ReceiptId, after: u64) -> Result<Turn, StoreFault> {
        let Some(receipt) = self.store.find_receipt(id).await? else { return Ok(Turn::Done) };
        let head = &receipt.head;
        if head.state != DeprovisionState::Applying {
            return Ok(Turn::Done);
        }
        let mut is_closing = false;
        if head.sessions.closed.is_waiting() {
            match self.deprovisionings.closing.try_take(id) {
                None => is_closing = true,
                Some(_nobody_else) => {
                    self.note_unmeasured(id).await?;
                    return Ok(Turn::More(after));
                }
            }
        }
        let items = self.store.open_receipt_items(id, after, SLICE).await?;
        if let Some(last) = items.last().map(|last| last.number) {
            return Ok(match self.work_on_items(head, items).await? {
                None => Turn::More(last),
                Some(fault) => Turn::Faulted(last, fault),
            });
        }
        if after > 0 || self.add_late(head, receipt.counts.items).await? {
            return Ok(Turn::More(0));
        }
        if is_closing {
            return Ok(Turn::Closing);
        }
        Ok(if self.finish(head).await? { Turn::Done } else { Turn::More(0) })
    }

    /// Works on these items, each by itself: a fault that the store has with one of them leaves the
    /// others alone, and the first such fault is answered. When it has one with all of them it is
    /// the store's, and nothing goes on.
    async fn work_on_items(
        &self,
        head: &Deprovisioning,
        items: Vec<DeprovisionItem>,
    ) -> Result<Option<StoreFault>, StoreFault> {
        let n_items = items.len();
        let worked: Vec<(DeprovisionItem, Result<(), StoreFault>)> = stream::iter(items)
            .map(|item| async move {
                let outcome = self.work_on_item(head, item.clone()).await;
                (item, outcome)
            })
            .buffer_unordered(self.deprovisionings.settings.max_at_once.max(1))
            .map(|(item, outcome)| async move {
                let outcome = match outcome {
                    Ok(Some(closing)) => self.await_closing(closing).await,
                    Ok(None) => Ok(()),
                    Err(fault) => Err(fault),
                };
                (item, outcome)
            })
            .buffer_unordered(MAX_CLOSING)
            .collect()
            .await;
        // Remote hubs are told in any case.
        self.remote.bell.ring();
        let mut faults = Vec::new();
        for (item, outcome) in worked {
            let Err(fault) = outcome else {
                self.deprovisionings.forget_fault(&head.id, item.number);
                continue;
            };
            let n_faults = self.deprovisionings.count_fault(&head.id, item.number);
            if n_faults >= MAX_ITEM_FAULTS && self.give_up(&item, &fault).await.unwrap_or(false) {
                self.deprovisionings.forget_fault(&head.id, item.number);
                continue;
            }
            faults.push(fault);
        }
        let is_all = faults.len() == n_items;
        match faults.into_iter().next() {
            Some(fault) if is_all => Err(fault),
            fault => Ok(fault),
        }
    }

    /// Adds the devices that joined a group or a CA between the plan and the first commit, or whose
    /// registration was decided before and written after the plan had looked. There are none after
    /// that commit: what is meant as a whole is closed.
    async fn add_late(&self, head: &Deprovisioning, n_items: u64) -> Result<bool, StoreFault> {
        if !is_closed(&head.selected_by, head.intent) {
            return Ok(false);
        }
        let last = self.last_number(head, n_items).await?;
        let (mut after, mut number) = (None::<String>, last);
        // Those without a record come second, so that nobody is missed whose record is deleted.
        let mut is_former = false;
        loop {
            let (found, next) = match (head.selected_by.whole(), is_former) {
                (Some(Whole::Group(group)), false) => {
                    let filter = RecordFilter::Group(group.clone());
                    by_records(self.store.list_records(&filter, after.as_deref(), PAGE).await?)
                }
                (Some(Whole::Group(group)), true) => {
                    let page = self.store.former_of_group(group, after.as_deref(), PAGE).await?;
                    let enrollment = EnrollmentRef::Group(group.clone());
                    let plan =
                        PlannedDevice { enrollment: Some(enrollment), ..PlannedDevice::default() };
                    let late = |id| (DeviceSubject::Registration(id), plan.clone());
                    (page.items.into_iter().map(late).collect(), page.next)
                }
                (Some(Whole::Certificate(key)), false) => {
                    by_records(self.store.records_resting_on(key, after.as_deref(), PAGE).await?)
                }
                (Some(Whole::Certificate(_)), true) => (Vec::new(), None),
                (Some(Whole::Receipt(_)) | None, _) => return Ok(false),
            };
            let mut changes = ChangeSet::new();
            for (subject, plan) in found {
                let there = self.store.find_receipt_item_of(&head.id, &subject.key()).await?;
                if there.is_none() {
                    number += 1;
                    let item = DeprovisionItem::planned(head.id.clone(), number, subject, plan);
                    let item = DeprovisionItem { is_late: true, ..item };
                    let new = Expect::ReceiptItem(head.id.clone(), number, 0);
                    changes = changes.expecting(new).with(Change::PutReceiptItem(Box::new(item)));
                }
            }
            if !changes.changes.is_empty() {
                // Only one of us works on it, and nobody else adds any: it is not to be expected.
                if !unless_conflict(self.commit(changes).await)? {
                    let why = "somebody else added some at the same time";
                    return Err(StoreFault::new("added devices that came late", why));
                }
            }
            match next {
                Some(next) => after = Some(next),
                None if is_former => return Ok(number > last),
                None => (after, is_former) = (None, true),
            }
        }
    }

    /// The largest number that an item has. There may be fewer items than that.
    async fn last_number(&self, head: &Deprovisioning, n_items: u64) -> Result<u64, StoreFault> {
        let mut last = n_items;
        loop {
            let items = self.store.list_receipt_items(&head.id, None, last, PAGE).await?;
            match items.last() {
                None => return Ok(last),
                Some(item) => last = item.number,
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
        self.deprovisionings.forget_faults(id);
        info!(receipt.id = %id, "the deprovisioning {id} is done");
        Ok(true)
    }
}

/// Devices that may have come late, by their records.
fn by_records(
    page: Page<RegistrationRecord>,
) -> (Vec<(DeviceSubject, PlannedDevice)>, Option<String>) {
    let late = |record: RegistrationRecord| {
        let plan = PlannedDevice {
            enrollment: Some(record.enrollment),
            record: Some(record.status),
            ..PlannedDevice::default()
        };
        (DeviceSubject::Registration(record.registration_id), plan)
    };
    (page.items.into_iter().map(late).collect(), page.next)
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
