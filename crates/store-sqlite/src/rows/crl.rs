//! The rows of revocation lists, and of the serial numbers on them.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Crl, CrlFacts, CrlList, CrlNumber, CrlSource, EnrolledCertificate, Etag, RevokedChange,
    Serials, Timestamp, Version, crl::Serial,
};
use rusqlite::{OptionalExtension, Result};

use super::certificate::CertificateRow;
use crate::{
    codec::{Binder, Columns, Db},
    reads,
};

macro_rules! crl_columns {
    () => {
        "subject_and_key, subject, ca, sha256, number, scope, this_update, next_update, revoked, \
         taken_in, url, every_secs, entity_tag, due, last_success, last_error, failures, etag, \
         created, last_updated, version"
    };
}

/// Reads the list of the CA `?1`.
pub(crate) const FIND: &str =
    concat!("SELECT ", crl_columns!(), " FROM crls WHERE subject_and_key = ?1");

/// Reads all lists.
pub(crate) const LIST: &str =
    concat!("SELECT ", crl_columns!(), " FROM crls ORDER BY subject_and_key");

/// Counts the lists. There are few ([`model::crl::MAX_CRLS`]), so no counter is kept of them.
const COUNT: &str = "SELECT count(*) FROM crls";

/// Reads the CAs of at most `?2` lists whose URL is to be asked at `?1`.
pub(crate) const DUE: &str = "SELECT subject_and_key FROM crls \
     WHERE due IS NOT NULL AND due <= ?1 ORDER BY due LIMIT ?2";

/// Reads what devices are held against, of the lists of CAs whose name is in the list `?1`.
pub(crate) const BY_SUBJECTS: &str = "SELECT id, ca, sha256 IS NOT NULL, this_update, next_update \
     FROM crls WHERE subject IN (SELECT unhex(value) FROM json_each(?1))";

/// Reads the CAs of lists that have the name `?1`.
pub(crate) const CAS_CALLED: &str = "SELECT ca FROM crls WHERE subject = ?1";

/// Whether the list `?1` has the serial number `?2`.
pub(crate) const HAS: &str = "SELECT 1 FROM crl_entries WHERE crl = ?1 AND serial = ?2";

/// Reads the serial numbers of the list of the CA `?1`, in the order of their bytes.
pub(crate) const SERIALS: &str = "SELECT serial FROM crl_entries \
     WHERE crl = (SELECT id FROM crls WHERE subject_and_key = ?1) ORDER BY serial";

/// Reads the version of the list of the CA `?1`.
pub(crate) const VERSION: &str = "SELECT version FROM crls WHERE subject_and_key = ?1";

const ID: &str = "SELECT id FROM crls WHERE subject_and_key = ?1";

const PUT: &str = concat!(
    "INSERT INTO crls (",
    crl_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, \
     ?19, ?20, ?21) \
     ON CONFLICT (subject_and_key) DO UPDATE SET subject = excluded.subject, ca = excluded.ca, \
     sha256 = excluded.sha256, number = excluded.number, scope = excluded.scope, \
     this_update = excluded.this_update, next_update = excluded.next_update, \
     revoked = excluded.revoked, taken_in = excluded.taken_in, url = excluded.url, \
     every_secs = excluded.every_secs, entity_tag = excluded.entity_tag, due = excluded.due, \
     last_success = excluded.last_success, last_error = excluded.last_error, \
     failures = excluded.failures, etag = excluded.etag, created = excluded.created, \
     last_updated = excluded.last_updated, version = excluded.version"
);

const NOTE_FETCH: &str = "UPDATE crls SET url = ?2, every_secs = ?3, entity_tag = ?4, due = ?5, \
     last_success = ?6, last_error = ?7, failures = ?8, version = ?9 WHERE subject_and_key = ?1";

/// How many CAs are followed from list to list: more than the longest chain has.
const MAX_CAS: usize = 4096;

/// How many lists there are, those among them that a change set of the same transaction wrote.
pub(crate) fn count(db: Db<'_>) -> Result<u64> {
    let n: i64 = db.prepare_cached(COUNT)?.query_row([], |row| row.get(0))?;
    Ok(n.cast_unsigned())
}

/// Inserts or replaces what is known of a list; its serial numbers stay.
pub(crate) fn put(db: Db<'_>, crl: &Crl, version: Version) -> Result<()> {
    let mut statement = db.prepare_cached(PUT)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(crl.ca.keys.subject_and_key)?;
    binder.put(crl.ca.keys.subject)?;
    binder.document(&CertificateRow::from(&crl.ca))?;
    let list = crl.list.as_ref();
    binder.put(list.map(|list| list.sha256))?;
    binder.put(list.and_then(|list| list.number.as_ref()).map(CrlNumber::to_hex))?;
    binder.put(list.and_then(|list| list.scope))?;
    binder.optional_time(list.map(|list| list.this_update))?;
    binder.optional_time(list.and_then(|list| list.next_update))?;
    binder.unsigned(list.map_or(0, |list| list.n_revoked))?;
    binder.optional_time(list.map(|list| list.taken_in))?;
    let source = crl.source.as_ref();
    binder.put(source.map(|source| &source.url))?;
    binder.put(source.map(|source| source.every_secs))?;
    binder.put(source.and_then(|source| source.entity_tag.as_ref()))?;
    binder.optional_time(source.map(|source| source.due))?;
    binder.optional_time(source.and_then(|source| source.last_success))?;
    binder.put(source.and_then(|source| source.last_error.as_ref()))?;
    binder.put(source.map_or(0, |source| source.n_failures))?;
    binder.put(crl.etag.as_str())?;
    binder.time(crl.created)?;
    binder.time(crl.last_updated)?;
    binder.unsigned(version)?;
    binder.run()?;
    Ok(())
}

/// Writes what came of asking the URL of a list; says whether there is such a list.
pub(crate) fn note_fetch(
    db: Db<'_>,
    ca: &[u8; 32],
    source: &CrlSource,
    version: Version,
) -> Result<bool> {
    let mut statement = db.prepare_cached(NOTE_FETCH)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(ca)?;
    binder.put(&source.url)?;
    binder.put(source.every_secs)?;
    binder.put(&source.entity_tag)?;
    binder.time(source.due)?;
    binder.optional_time(source.last_success)?;
    binder.put(&source.last_error)?;
    binder.put(source.n_failures)?;
    binder.unsigned(version)?;
    Ok(binder.run()? > 0)
}

/// Changes the serial numbers of a list; says whether there is such a list.
pub(crate) fn change(db: Db<'_>, change: &RevokedChange) -> Result<bool> {
    let id: Option<i64> =
        db.prepare_cached(ID)?.query_row([change.ca], |row| row.get(0)).optional()?;
    let Some(id) = id else { return Ok(false) };
    let mut delete = db.prepare_cached("DELETE FROM crl_entries WHERE crl = ?1 AND serial = ?2")?;
    for serial in change.removed.iter() {
        delete.execute((id, serial))?;
    }
    let mut insert =
        db.prepare_cached("INSERT OR IGNORE INTO crl_entries (crl, serial) VALUES (?1, ?2)")?;
    for serial in change.added.iter() {
        insert.execute((id, serial))?;
    }
    Ok(true)
}

/// Deletes a list with its serial numbers; says whether there was one.
pub(crate) fn delete(db: Db<'_>, ca: &[u8; 32]) -> Result<bool> {
    let entries = "DELETE FROM crl_entries \
         WHERE crl = (SELECT id FROM crls WHERE subject_and_key = ?1)";
    db.prepare_cached(entries)?.execute([ca])?;
    Ok(db.prepare_cached("DELETE FROM crls WHERE subject_and_key = ?1")?.execute([ca])? > 0)
}

/// Reads a row of lists.
pub(crate) fn read(columns: &mut Columns<'_, '_>) -> Result<Crl> {
    // The hashes are the CA's, which comes next.
    let _: [Vec<u8>; 2] = [columns.take()?, columns.take()?];
    let ca = read_ca(columns)?;
    let sha256: Option<[u8; 32]> = columns.take()?;
    let number = columns.optional_text(|text| CrlNumber::from_hex(text).ok_or("no hex"))?;
    let scope: Option<[u8; 32]> = columns.take()?;
    let (this_update, next_update) = (columns.optional_time()?, columns.optional_time()?);
    let (n_revoked, taken_in) = (columns.unsigned()?, columns.optional_time()?);
    let list = match (sha256, this_update, taken_in) {
        (Some(sha256), Some(this_update), Some(taken_in)) => {
            Some(CrlList { sha256, number, scope, this_update, next_update, n_revoked, taken_in })
        }
        _ => None,
    };
    let (url, every_secs) = (columns.take()?, columns.take::<Option<u32>>()?);
    let (entity_tag, due) = (columns.take()?, columns.optional_time()?);
    let (last_success, last_error) = (columns.optional_time()?, columns.take()?);
    let n_failures = columns.take()?;
    let source = match (url, every_secs, due) {
        (Some(url), Some(every_secs), Some(due)) => Some(CrlSource {
            url,
            every_secs,
            entity_tag,
            due,
            last_success,
            last_error,
            n_failures,
        }),
        _ => None,
    };
    Ok(Crl {
        ca,
        list,
        source,
        etag: columns.text(|text| Ok::<_, String>(Etag::from_stored(text)))?,
        created: columns.time()?,
        last_updated: columns.time()?,
        version: columns.unsigned()?,
    })
}

/// Whether there is any list.
pub(crate) fn are_any(db: Db<'_>) -> Result<bool> {
    db.prepare_cached("SELECT 1 FROM crls")?.exists([])
}

/// Reads the CA of a list.
pub(crate) fn read_ca(columns: &mut Columns<'_, '_>) -> Result<EnrolledCertificate> {
    let ca: CertificateRow = columns.document()?;
    ca.into_model().map_err(|why| columns.unreadable(why))
}

/// The serial numbers of a CA's list.
pub(crate) fn serials(db: Db<'_>, ca: &[u8; 32]) -> Result<Serials> {
    let mut statement = db.prepare_cached(SERIALS)?;
    let mut rows = statement.query([ca])?;
    let mut serials = Serials::default();
    while let Some(row) = rows.next()? {
        serials.push_last(row.get_ref(0)?.as_blob()?);
    }
    Ok(serials)
}

/// The lists of the issuers of these certificates, and of those of the lists' CAs, each with what it
/// revokes of them; the caller holds the snapshot.
pub(crate) fn facts(
    db: Db<'_>,
    asked: impl IntoIterator<Item = ([u8; 32], String)>,
) -> Result<Vec<CrlFacts>> {
    let mut by_issuer: BTreeMap<[u8; 32], BTreeSet<String>> = BTreeMap::new();
    for (issuer, serial) in asked {
        by_issuer.entry(issuer).or_default().insert(serial);
    }
    // The CA of a list may be a certificate on a path that nobody else knows.
    let mut at: Vec<[u8; 32]> = by_issuer.keys().copied().collect();
    let mut found: BTreeMap<[u8; 32], Vec<Row>> = BTreeMap::new();
    while !at.is_empty() {
        found.extend(at.iter().map(|issuer| (*issuer, Vec::new())));
        let mut issuers: BTreeSet<[u8; 32]> = BTreeSet::new();
        for row in reads::list(db, BY_SUBJECTS, [reads::bans::hex_list(&at)?], read_row)? {
            let Row { ca, .. } = &row;
            let serial = Serial::from_hex(&ca.info.serial_number).map(|serial| serial.to_hex());
            let serials = by_issuer.entry(ca.keys.issuer).or_default();
            serials.extend(serial);
            if !found.contains_key(&ca.keys.issuer) && found.len() + issuers.len() < MAX_CAS {
                issuers.insert(ca.keys.issuer);
            }
            found.entry(ca.keys.subject).or_default().push(row);
        }
        at = issuers.into_iter().collect();
    }
    let mut has = db.prepare_cached(HAS)?;
    let mut facts = Vec::new();
    for (issuer, rows) in found {
        let serials = by_issuer.get(&issuer);
        for Row { id, ca, end } in rows {
            let mut revoked = Vec::new();
            for serial in serials.into_iter().flatten() {
                let Some(bytes) = Serial::from_hex(serial) else { continue };
                if has.exists((id, bytes.bytes()))? {
                    revoked.push(serial.clone());
                }
            }
            facts.push(CrlFacts { ca, end, revoked });
        }
    }
    Ok(facts)
}

/// What devices are held against.
struct Row {
    id: i64,
    ca: EnrolledCertificate,
    end: Option<Timestamp>,
}

fn read_row(columns: &mut Columns<'_, '_>) -> Result<Row> {
    let (id, ca) = (columns.take()?, read_ca(columns)?);
    let is_there: bool = columns.take()?;
    let (this_update, next_update) = (columns.optional_time()?, columns.optional_time()?);
    let end = this_update.filter(|_| is_there).map(|made| model::crl::end(made, next_update));
    Ok(Row { id, ca, end })
}
