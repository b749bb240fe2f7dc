//! The rows of the audit log, which are only ever appended.

use std::net::IpAddr;

use model::{AuditEntry, AuditFilter, AuditLine, Caller, Json};
use rusqlite::{Result, ToSql};
use store::AuditHead;

use crate::codec::{Binder, Columns, Db, parse_json};

macro_rules! audit_columns {
    () => {
        "number, at, policy, address, action, target, before, after, etag, previous, hash"
    };
}

/// Reads where the log ends.
pub(crate) const HEAD: &str = "SELECT number, hash FROM audit_head WHERE id = 1";

const APPEND: &str = concat!(
    "INSERT INTO audit_lines (",
    audit_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
);

/// Appends a line.
pub(crate) fn append(db: Db<'_>, line: &AuditLine) -> Result<()> {
    let AuditLine { number, entry, previous, hash } = line;
    let mut statement = db.prepare_cached(APPEND)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.unsigned(*number)?;
    binder.time(entry.at)?;
    binder.put(&entry.by.policy)?;
    binder.put(entry.by.address.map(|address| address.to_string()))?;
    binder.put(&entry.action)?;
    binder.put(&entry.target)?;
    binder.optional_json(entry.before.as_ref())?;
    binder.optional_json(entry.after.as_ref())?;
    binder.put(&entry.etag)?;
    binder.put(previous)?;
    binder.put(hash)?;
    binder.run()?;
    Ok(())
}

/// Writes where the log ends.
pub(crate) fn put_head(connection: &rusqlite::Connection, (number, hash): AuditHead) -> Result<()> {
    let sql = "UPDATE audit_head SET number = ?1, hash = ?2 WHERE id = 1";
    connection.prepare_cached(sql)?.execute((number.cast_signed(), hash)).map(drop)
}

/// Reads a row of the audit log. What somebody made unreadable by hand is read as something else
/// than was written, so that following the chain finds it, instead of as a failure of the store.
pub(crate) fn read(columns: &mut Columns<'_, '_>) -> Result<AuditLine> {
    Ok(AuditLine {
        number: columns.unsigned()?,
        entry: AuditEntry {
            at: columns.time()?,
            by: Caller {
                policy: columns.take()?,
                address: columns
                    .optional_text(|text| Ok::<_, String>(text.parse::<IpAddr>().ok()))?
                    .flatten(),
            },
            action: columns.take()?,
            target: columns.take()?,
            before: columns.optional_text(json)?,
            after: columns.optional_text(json)?,
            etag: columns.take()?,
        },
        previous: hash(columns)?,
        hash: hash(columns)?,
    })
}

fn json(text: &str) -> Result<Json> {
    Ok(parse_json(text).unwrap_or_else(|_| Json::String(text.to_owned())))
}

fn hash(columns: &mut Columns<'_, '_>) -> Result<[u8; 32]> {
    Ok(columns.take::<Vec<u8>>()?.try_into().unwrap_or_default())
}

/// Values by the names of their parameters.
type Named<'a> = Vec<(&'static str, Box<dyn ToSql + 'a>)>;

/// A query for the lines after `after` that pass the filter, at most `limit`.
pub(crate) fn query<'a>(
    filter: &'a AuditFilter,
    after: &'a i64,
    limit: &'a i64,
) -> (String, Named<'a>) {
    let AuditFilter { policy, action, target, since, until } = filter;
    let mut sql =
        concat!("SELECT ", audit_columns!(), " FROM audit_lines WHERE number > :after").to_owned();
    let mut values: Named<'a> = vec![(":after", Box::new(after)), (":limit", Box::new(limit))];
    let mut and = |condition: &str, name, value: Option<Box<dyn ToSql + 'a>>| {
        if let Some(value) = value {
            sql.push_str(" AND ");
            sql.push_str(condition);
            values.push((name, value));
        }
    };
    let text =
        |text: &'a Option<String>| text.as_ref().map(|text| Box::new(text) as Box<dyn ToSql>);
    let ticks = |at: Option<model::Timestamp>| at.map(|at| Box::new(at.ticks()) as Box<dyn ToSql>);
    and("policy = :policy", ":policy", text(policy));
    // Compared by bytes, whatever wildcards the text holds.
    and(
        "substr(CAST(action AS BLOB), 1, length(CAST(:action AS BLOB))) = CAST(:action AS BLOB)",
        ":action",
        text(action),
    );
    and("target = :target", ":target", text(target));
    and("at >= :since", ":since", ticks(*since));
    and("at < :until", ":until", ticks(*until));
    sql.push_str(" ORDER BY number LIMIT :limit");
    (sql, values)
}
