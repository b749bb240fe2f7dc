//! Forgetting plans and receipts: a few items at a time, so that nobody waits long for the writer.

use model::{
    Timestamp,
    deprovision::{MAX_KEPT_ITEMS, MAX_OPEN_PLANS, MAX_RECEIPTS},
};
use rusqlite::{OptionalExtension, Result};

use crate::codec::Db;

/// A plan whose time was over at `?1`, the oldest first.
const EXPIRED: &str = "SELECT id FROM receipts WHERE state IN ('planning', 'planned') \
     AND expires < ?1 ORDER BY created, id LIMIT 1";

/// The oldest plan when there are more than `?1`.
const PLAN_TOO_MANY: &str = "SELECT id FROM receipts WHERE state IN ('planning', 'planned') \
     AND (SELECT COUNT(*) FROM receipts WHERE state IN ('planning', 'planned')) > ?1 \
     ORDER BY created, id LIMIT 1";

/// The receipt that was finished first when there are more than `?1`, or more items than `?2`.
const RECEIPT_TOO_MANY: &str = "SELECT id FROM receipts WHERE state = 'done' \
     AND ((SELECT COUNT(*) FROM receipts WHERE state = 'done') > ?1 \
          OR (SELECT SUM(items) FROM receipts) > ?2) \
     ORDER BY finished, id LIMIT 1";

/// Forgets what is over or too much, at most so many items of it.
pub(crate) fn trim(db: Db<'_>, now: Timestamp, at_most: u64) -> Result<()> {
    let mut room = i64::try_from(at_most).unwrap_or(i64::MAX);
    while room > 0 {
        let Some(id) = next(db, now)? else { return Ok(()) };
        let gone = db
            .prepare_cached(
                "DELETE FROM receipt_items WHERE receipt = ?1 AND number IN \
                 (SELECT number FROM receipt_items WHERE receipt = ?1 ORDER BY number LIMIT ?2)",
            )?
            .execute((&id, room))?;
        let gone = i64::try_from(gone).unwrap_or(i64::MAX);
        if gone == room {
            // Those that are left are for the next time; what is kept is counted by them.
            let sql = "UPDATE receipts SET items = items - ?2 WHERE id = ?1";
            return db.prepare_cached(sql)?.execute((&id, gone)).map(drop);
        }
        db.prepare_cached("DELETE FROM receipts WHERE id = ?1")?.execute([&id])?;
        // One without items costs something as well.
        room -= gone.max(1);
    }
    Ok(())
}

fn next(db: Db<'_>, now: Timestamp) -> Result<Option<String>> {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let expired =
        db.prepare_cached(EXPIRED)?.query_row([now.ticks()], |row| row.get(0)).optional()?;
    if expired.is_some() {
        return Ok(expired);
    }
    let plan = db
        .prepare_cached(PLAN_TOO_MANY)?
        .query_row([signed(MAX_OPEN_PLANS)], |row| row.get(0))
        .optional()?;
    if plan.is_some() {
        return Ok(plan);
    }
    db.prepare_cached(RECEIPT_TOO_MANY)?
        .query_row((signed(MAX_RECEIPTS), signed(MAX_KEPT_ITEMS)), |row| row.get(0))
        .optional()
}
