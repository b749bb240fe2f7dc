//! The rows of plans and receipts, and the counts kept beside their items.

use model::{
    DeprovisionItem, DeprovisionState, Deprovisioning, Intent, ItemState, Receipt, ReceiptCounts,
    ReceiptId, Timestamp, Version,
};
use rusqlite::{OptionalExtension, Result};

use crate::codec::{Binder, Columns, Db, words};

mod head;
mod item;
mod trim;

pub(crate) use item::{
    FIND_BY_KEY, FIND_ITEM, LIST_ITEMS, LIST_ITEMS_IN_STATE, LIST_OPEN, read_item,
};
pub(crate) use trim::trim;

macro_rules! receipt_columns {
    () => {
        "id, created, expires, state, finished, document, version, items, pending, unchanged, \
         done, failed, closing, sessions, slowest, last_closed, remote_pending, remote_done, \
         remote_failed"
    };
}

/// Reads the plan or receipt of a name, `?1`.
pub(crate) const FIND: &str =
    concat!("SELECT ", receipt_columns!(), " FROM receipts WHERE id = ?1");

/// Reads the latest `?1` plans and receipts.
pub(crate) const LIST: &str = concat!(
    "SELECT ",
    receipt_columns!(),
    " FROM receipts ORDER BY created DESC, id DESC LIMIT ?1"
);

/// Reads `?3` plans and receipts before the one of the name `?2`, made at `?1`.
pub(crate) const LIST_BEFORE: &str = concat!(
    "SELECT ",
    receipt_columns!(),
    " FROM receipts WHERE (created, id) < (?1, ?2) ORDER BY created DESC, id DESC LIMIT ?3"
);

/// Reads the names of those that are being worked off, the oldest first.
pub(crate) const LIST_APPLYING: &str =
    "SELECT id FROM receipts WHERE state = 'applying' ORDER BY created, id LIMIT ?1";

const PUT: &str = "INSERT INTO receipts (id, created, expires, state, finished, document, version) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET \
     (created, expires, state, finished, document, version) = (?2, ?3, ?4, ?5, ?6, ?7)";

const COUNT: &str = "UPDATE receipts SET items = items + ?2, pending = pending + ?3, \
     unchanged = unchanged + ?4, done = done + ?5, failed = failed + ?6, closing = closing + ?7, \
     sessions = sessions + ?8, remote_pending = remote_pending + ?9, \
     remote_done = remote_done + ?10, remote_failed = remote_failed + ?11, \
     slowest = COALESCE(MAX(slowest, ?12), slowest, ?12), \
     last_closed = COALESCE(MAX(last_closed, ?13), last_closed, ?13) WHERE id = ?1";

words!(Intent {
    Intent::Suspend => "suspend",
    Intent::Retire => "retire",
    Intent::Revoke => "revoke",
    Intent::Reinstate => "reinstate",
});

words!(DeprovisionState {
    DeprovisionState::Planning => "planning",
    DeprovisionState::Planned => "planned",
    DeprovisionState::Applying => "applying",
    DeprovisionState::Done => "done",
});

words!(ItemState {
    ItemState::Pending => "pending",
    ItemState::Unchanged => "unchanged",
    ItemState::Done => "done",
    ItemState::Failed => "failed",
});

/// Inserts or replaces a plan or receipt; its counts stay.
pub(crate) fn put(db: Db<'_>, receipt: &Deprovisioning, version: Version) -> Result<()> {
    let mut statement = db.prepare_cached(PUT)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(receipt.id.as_str())?;
    binder.time(receipt.created)?;
    binder.time(receipt.expires)?;
    binder.word(receipt.state)?;
    binder.optional_time(receipt.finished)?;
    binder.document(&head::HeadRow::from(receipt))?;
    binder.unsigned(version)?;
    binder.run()?;
    Ok(())
}

/// Reads a row of plans and receipts.
pub(crate) fn read(columns: &mut Columns<'_, '_>) -> Result<Receipt> {
    let id = columns.text(ReceiptId::parse)?;
    let (created, expires) = (columns.time()?, columns.time()?);
    let state = columns.word()?;
    let finished = columns.optional_time()?;
    let row: head::HeadRow = columns.document()?;
    let unreadable = |why| columns.unreadable(why);
    let times = head::Times { created, expires, finished };
    let mut head = row.into_model(id, state, times).map_err(unreadable)?;
    head.version = columns.unsigned()?;
    let mut count = || columns.take::<i64>().map(|n| u64::try_from(n).unwrap_or(0));
    let mut counts = ReceiptCounts {
        items: count()?,
        pending: count()?,
        unchanged: count()?,
        done: count()?,
        failed: count()?,
        closing: count()?,
        sessions: count()?,
        ..ReceiptCounts::default()
    };
    counts.slowest_micros = columns.take::<Option<i64>>()?.and_then(|n| u64::try_from(n).ok());
    counts.last_closed = columns.optional_time()?;
    let mut count = || columns.take::<i64>().map(|n| u64::try_from(n).unwrap_or(0));
    counts.remote_pending = count()?;
    counts.remote_done = count()?;
    counts.remote_failed = count()?;
    Ok(Receipt { head, counts })
}

/// Inserts or replaces an item, and counts it. Nothing happens when the plan is not there, or has
/// the same device under another number.
pub(crate) fn put_item(db: Db<'_>, item: &DeprovisionItem, version: Version) -> Result<()> {
    let key = item.subject.key();
    let receipt = item.receipt.as_str();
    if !db.prepare_cached("SELECT 1 FROM receipts WHERE id = ?1")?.exists([receipt])? {
        return Ok(());
    }
    let number = item.number.cast_signed();
    let same: Option<i64> = db
        .prepare_cached("SELECT number FROM receipt_items WHERE receipt = ?1 AND key = ?2")?
        .query_row((receipt, &key), |row| row.get(0))
        .optional()?;
    if same.is_some_and(|same| same != number) {
        return Ok(());
    }
    let mut tally = ItemTally::of(item, 1);
    let old = db
        .prepare_cached(FIND_ITEM)?
        .query_row((receipt, number), |row| read_item(&mut Columns::new(db, row)))
        .optional()?;
    if let Some(old) = &old {
        tally.add(ItemTally::of(old, -1));
    }
    item::put(db, item, &key, version)?;
    tally.write(db, &item.receipt)
}

/// What an item counts for.
#[derive(Debug, Default)]
struct ItemTally {
    items: i64,
    pending: i64,
    unchanged: i64,
    done: i64,
    failed: i64,
    closing: i64,
    sessions: i64,
    remote: [i64; 3],
    slowest: Option<u64>,
    last_closed: Option<Timestamp>,
}

impl ItemTally {
    fn of(item: &DeprovisionItem, by: i64) -> Self {
        use model::{Closed, RemoteStepState as State};
        let mut tally = Self { items: by, ..Self::default() };
        match item.state {
            ItemState::Pending => tally.pending = by,
            ItemState::Unchanged => tally.unchanged = by,
            ItemState::Done => tally.done = by,
            ItemState::Failed => tally.failed = by,
        }
        tally.sessions = by * i64::from(item.sessions.n);
        match item.sessions.closed {
            Closed::Waiting => tally.closing = by,
            Closed::After { micros, at } => {
                (tally.slowest, tally.last_closed) = (Some(micros), Some(at));
            }
            Closed::None | Closed::NotYet | Closed::Unmeasured => {}
        }
        for step in &item.remote {
            let [pending, done, failed] = &mut tally.remote;
            match step.state {
                State::Pending { .. } => *pending += by,
                State::Done { .. } | State::Superseded => *done += by,
                State::Failed(_) => *failed += by,
            }
        }
        tally
    }

    /// Adds what is counted; the largest values stay those of the new item.
    fn add(&mut self, old: Self) {
        self.items += old.items;
        self.pending += old.pending;
        self.unchanged += old.unchanged;
        self.done += old.done;
        self.failed += old.failed;
        self.closing += old.closing;
        self.sessions += old.sessions;
        for (sum, by) in self.remote.iter_mut().zip(old.remote) {
            *sum += by;
        }
    }

    fn write(&self, db: Db<'_>, receipt: &ReceiptId) -> Result<()> {
        let mut statement = db.prepare_cached(COUNT)?;
        let mut binder = Binder::new(db, &mut statement);
        binder.put(receipt.as_str())?;
        let Self { items, pending, unchanged, done, failed, closing, sessions, remote, .. } = self;
        for by in [items, pending, unchanged, done, failed, closing, sessions] {
            binder.put(by)?;
        }
        for by in remote {
            binder.put(by)?;
        }
        binder.put(self.slowest.map(|micros| i64::try_from(micros).unwrap_or(i64::MAX)))?;
        binder.optional_time(self.last_closed)?;
        binder.run()?;
        Ok(())
    }
}
