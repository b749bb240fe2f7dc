//! Reads of attempts.

use model::{AttemptFilter, StoredAttempt};
use rusqlite::{Result, ToSql};

use super::{list, service::at_most};
use crate::{codec::Db, rows::attempt};

/// The attempts that pass the filter with numbers below `before`, the latest first.
pub(crate) fn list_attempts(
    db: Db<'_>,
    filter: &AttemptFilter,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<StoredAttempt>> {
    let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    let limit = at_most(limit);
    let (sql, compared) = attempt::query(filter);
    let mut values: Vec<&dyn ToSql> = vec![&before, &limit];
    values.extend(compared.as_deref());
    list(db, sql, values.as_slice(), attempt::read)
}
