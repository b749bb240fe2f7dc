//! Forgetting plans and receipts: a few items at a time, so that nobody waits long for the writer.
//!
//! Plans and receipts are counted apart: whoever makes plans and never applies them must not push out
//! what tells how suspended devices come back.

use model::{
    Timestamp, Version,
    deprovision::{MAX_KEPT_ITEMS, MAX_OPEN_PLANS, MAX_PLANNED_ITEMS, MAX_RECEIPTS},
};
use rusqlite::{OptionalExtension, Result};

use crate::codec::Db;

/// A plan whose time was over at `?1`, the oldest first.
const EXPIRED: &str = "SELECT id FROM receipts WHERE state IN ('planning', 'planned') \
     AND expires < ?1 ORDER BY created, id LIMIT 1";

/// The oldest plan when there are more than `?1`, or they have more items than `?2`.
const PLAN_TOO_MANY: &str = "SELECT id FROM receipts WHERE state IN ('planning', 'planned') \
     AND ((SELECT COUNT(*) FROM receipts WHERE state IN ('planning', 'planned')) > ?1 \
          OR (SELECT SUM(items) FROM receipts WHERE state IN ('planning', 'planned')) > ?2) \
     ORDER BY created, id LIMIT 1";

/// The receipt that was finished first when there are more than `?1`, or they have more items than
/// `?2` with those that are being worked off.
const RECEIPT_TOO_MANY: &str = "SELECT id FROM receipts WHERE state = 'done' \
     AND ((SELECT COUNT(*) FROM receipts WHERE state = 'done') > ?1 \
          OR (SELECT SUM(items) FROM receipts WHERE state IN ('applying', 'done')) > ?2) \
     ORDER BY finished, id LIMIT 1";

/// Makes a plan `?1` one that nobody can apply and whose time was over at `?2`: its version moves, so
/// that whoever has read it writes no more. Nothing happens to a receipt, or to a plan that is so
/// already.
const CLOSE: &str = "UPDATE receipts SET state = 'planning', expires = ?2 - 1, version = ?3 \
     WHERE id = ?1 AND (state = 'planned' OR (state = 'planning' AND expires >= ?2))";

/// Forgets what is over or too much, at most so many items of it.
pub(crate) fn trim(db: Db<'_>, now: Timestamp, at_most: u64, version: Version) -> Result<()> {
    let mut room = signed(at_most);
    while room > 0 {
        let Some(id) = next(db, now)? else { return Ok(()) };
        db.prepare_cached(CLOSE)?.execute((&id, now.ticks(), version.cast_signed()))?;
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
    let expired =
        db.prepare_cached(EXPIRED)?.query_row([now.ticks()], |row| row.get(0)).optional()?;
    if expired.is_some() {
        return Ok(expired);
    }
    let too_many = [
        (PLAN_TOO_MANY, [MAX_OPEN_PLANS, MAX_PLANNED_ITEMS]),
        (RECEIPT_TOO_MANY, [MAX_RECEIPTS, MAX_KEPT_ITEMS]),
    ];
    for (sql, limits) in too_many {
        let found =
            db.prepare_cached(sql)?.query_row(limits.map(signed), |row| row.get(0)).optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
