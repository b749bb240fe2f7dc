//! Plans and receipts, and their items.

use model::{DeprovisionItem, ItemState, Page, Receipt, ReceiptId};
use rusqlite::Result;

use super::{find, list, service::at_most};
use crate::{
    codec::{Columns, Db, Word},
    rows::receipt::{
        self, FIND_BY_KEY, FIND_ITEM, LIST_ITEMS, LIST_ITEMS_IN_STATE, LIST_OPEN, read_item,
    },
};

/// The plan or receipt of a name.
pub(crate) fn find_receipt(db: Db<'_>, id: &ReceiptId) -> Result<Option<Receipt>> {
    find(db, receipt::FIND, [id.as_str()], receipt::read)
}

/// A page of plans and receipts, the latest first. The key of one is the moment it was made and
/// its name.
pub(crate) fn list_receipts(
    db: Db<'_>,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<Receipt>> {
    let more = at_most(limit.saturating_add(1));
    let mut items = match after.map(|after| after.split_once('/')) {
        None => list(db, receipt::LIST, [more], receipt::read)?,
        // What is no key has nothing after it.
        Some(None) => Vec::new(),
        Some(Some((created, id))) => match created.parse::<i64>() {
            Err(_) => Vec::new(),
            Ok(created) => list(db, receipt::LIST_BEFORE, (created, id, more), receipt::read)?,
        },
    };
    let has_more = items.len() > limit;
    items.truncate(limit);
    let key = |last: &Receipt| format!("{}/{}", last.head.created.ticks(), last.head.id);
    let next = items.last().filter(|_| has_more).map(key);
    Ok(Page { items, next })
}

/// The names of those that are being worked off, the oldest first.
pub(crate) fn applying(db: Db<'_>, limit: usize) -> Result<Vec<ReceiptId>> {
    let read = |columns: &mut Columns<'_, '_>| columns.text(ReceiptId::parse);
    list(db, receipt::LIST_APPLYING, [at_most(limit)], read)
}

/// Items of a receipt.
pub(crate) fn list_items(
    db: Db<'_>,
    id: &ReceiptId,
    state: Option<ItemState>,
    after: u64,
    limit: usize,
) -> Result<Vec<DeprovisionItem>> {
    let (id, after, limit) = (id.as_str(), after.cast_signed(), at_most(limit));
    match state {
        None => list(db, LIST_ITEMS, (id, after, limit), read_item),
        Some(state) => list(db, LIST_ITEMS_IN_STATE, (id, after, limit, state.word()), read_item),
    }
}

/// Items with which something of ours is still to be done.
pub(crate) fn open_items(
    db: Db<'_>,
    id: &ReceiptId,
    after: u64,
    limit: usize,
) -> Result<Vec<DeprovisionItem>> {
    list(db, LIST_OPEN, (id.as_str(), after.cast_signed(), at_most(limit)), read_item)
}

/// An item by its device.
pub(crate) fn find_by_key(
    db: Db<'_>,
    id: &ReceiptId,
    key: &str,
) -> Result<Option<DeprovisionItem>> {
    find(db, FIND_BY_KEY, (id.as_str(), key), read_item)
}

/// An item by its number.
pub(crate) fn find_item(
    db: Db<'_>,
    id: &ReceiptId,
    number: u64,
) -> Result<Option<DeprovisionItem>> {
    find(db, FIND_ITEM, (id.as_str(), number.cast_signed()), read_item)
}
