//! The reads, named after the facts they fetch.

use model::{
    Device, DeviceCounts, DeviceId, EnrollmentGroup, HubName, IndividualEnrollment, Page,
    RecordFilter, RegistrationId, RegistrationRecord, Usage,
};
use rusqlite::{OptionalExtension, Params, Result};

use crate::{
    codec::{Columns, Db},
    rows::{device, enrollment, record},
};

pub(crate) mod hub;
pub(crate) mod register;
pub(crate) mod service;

/// The individual enrollment of an ID.
pub(crate) fn find_individual(
    db: Db<'_>,
    id: &RegistrationId,
) -> Result<Option<IndividualEnrollment>> {
    find(db, enrollment::FIND_INDIVIDUAL, [id.key()], enrollment::read_individual)
}

/// The record of an ID.
pub(crate) fn find_record(db: Db<'_>, id: &RegistrationId) -> Result<Option<RegistrationRecord>> {
    find(db, record::FIND, [id.key()], record::read)
}

/// A device of a hub.
pub(crate) fn find_device(db: Db<'_>, hub: &HubName, id: &DeviceId) -> Result<Option<Device>> {
    let read = |columns: &mut Columns<'_, '_>| device::read(columns).map(|(_, device)| device);
    find(db, device::FIND, [hub.as_str(), id.as_str()], read)
}

/// A page of individual enrollments.
pub(crate) fn list_individuals(
    db: Db<'_>,
    after: &str,
    limit: usize,
) -> Result<Page<IndividualEnrollment>> {
    let sql = enrollment::LIST_INDIVIDUALS;
    let items = list(db, sql, (after, one_more(limit)), enrollment::read_individual)?;
    Ok(page(items, limit, |item| item.registration_id.key()))
}

/// A page of groups.
pub(crate) fn list_groups(db: Db<'_>, after: &str, limit: usize) -> Result<Page<EnrollmentGroup>> {
    let sql = enrollment::LIST_GROUPS;
    let items = list(db, sql, (after, one_more(limit)), enrollment::read_group)?;
    Ok(page(items, limit, |item| item.group_id.key()))
}

/// A page of records.
pub(crate) fn list_records(
    db: Db<'_>,
    filter: &RecordFilter,
    after: &str,
    limit: usize,
) -> Result<Page<RegistrationRecord>> {
    let more = one_more(limit);
    let items = match filter {
        RecordFilter::All => list(db, record::LIST, (after, more), record::read)?,
        RecordFilter::Group(id) => {
            list(db, record::LIST_OF_GROUP, (after, more, id.key()), record::read)?
        }
        // Looking for none among a million would take a second.
        RecordFilter::Orphaned if counter(db, "orphaned_registrations")? == 0 => Vec::new(),
        RecordFilter::Orphaned => list(db, record::LIST_ORPHANED, (after, more), record::read)?,
    };
    Ok(page(items, limit, |item| item.registration_id.key()))
}

/// A page of a hub's devices.
pub(crate) fn list_devices(
    db: Db<'_>,
    hub: &HubName,
    after: &str,
    limit: usize,
) -> Result<Page<Device>> {
    let read = |columns: &mut Columns<'_, '_>| device::read(columns).map(|(_, device)| device);
    let items = list(db, device::LIST, (hub.as_str(), after, one_more(limit)), read)?;
    Ok(page(items, limit, |item| item.identity.device_id.as_str()))
}

/// How many devices a hub has.
pub(crate) fn device_counts(db: Db<'_>, hub: &HubName) -> Result<DeviceCounts> {
    let sql = "SELECT total, disabled, connected FROM device_counts WHERE hub = ?1";
    let counts = find(db, sql, [hub.as_str()], |columns| {
        let (total, disabled) = (count(columns.take()?), count(columns.take()?));
        let enabled = total.saturating_sub(disabled);
        Ok(DeviceCounts { total, enabled, disabled, connected: count(columns.take()?) })
    })?;
    Ok(counts.unwrap_or_default())
}

/// How much there is of what limits count.
pub(crate) fn usage(db: Db<'_>) -> Result<Usage> {
    Ok(Usage {
        individual_enrollments: counter(db, "individual_enrollments")?,
        x509_groups: counter(db, "x509_groups")?,
        symmetric_key_groups: counter(db, "symmetric_key_groups")?,
        registrations: counter(db, "registrations")?,
        orphaned_registrations: counter(db, "orphaned_registrations")?,
    })
}

/// Reads at most one row.
pub(crate) fn find<T>(
    db: Db<'_>,
    sql: &str,
    key: impl Params,
    read: impl FnOnce(&mut Columns<'_, '_>) -> Result<T>,
) -> Result<Option<T>> {
    db.prepare_cached(sql)?.query_row(key, |row| read(&mut Columns::new(db, row))).optional()
}

/// Reads all rows.
pub(crate) fn list<T>(
    db: Db<'_>,
    sql: &str,
    key: impl Params,
    mut read: impl FnMut(&mut Columns<'_, '_>) -> Result<T>,
) -> Result<Vec<T>> {
    db.prepare_cached(sql)?.query_map(key, |row| read(&mut Columns::new(db, row)))?.collect()
}

fn counter(db: Db<'_>, name: &str) -> Result<u64> {
    db.prepare_cached("SELECT value FROM counters WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .map(count)
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// One row more than asked for tells whether there are more.
fn one_more(limit: usize) -> i64 {
    i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX)
}

fn page<T>(mut items: Vec<T>, limit: usize, key: impl Fn(&T) -> &str) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|item| key(item).to_owned());
    Page { items, next }
}
