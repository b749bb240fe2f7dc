//! The reads, named after the facts they fetch.

use model::{
    Device, DeviceCounts, DeviceId, EnrollmentGroup, HubName, IndividualEnrollment, Page,
    RecordFilter, RegistrationId, RegistrationRecord, Usage,
};
use rusqlite::{Connection, OptionalExtension, Params, Result, Row};

use crate::rows::{device, enrollment, record};

pub(crate) mod register;

/// The individual enrollment of an ID.
pub(crate) fn find_individual(
    connection: &Connection,
    id: &RegistrationId,
) -> Result<Option<IndividualEnrollment>> {
    find(connection, enrollment::FIND_INDIVIDUAL, [id.key()], enrollment::read_individual)
}

/// The record of an ID.
pub(crate) fn find_record(
    connection: &Connection,
    id: &RegistrationId,
) -> Result<Option<RegistrationRecord>> {
    find(connection, record::FIND, [id.key()], record::read)
}

/// A device of a hub.
pub(crate) fn find_device(
    connection: &Connection,
    hub: &HubName,
    id: &DeviceId,
) -> Result<Option<Device>> {
    let read = |row: &Row<'_>| device::read(row).map(|(_, device)| device);
    find(connection, device::FIND, [hub.as_str(), id.as_str()], read)
}

/// A page of individual enrollments.
pub(crate) fn list_individuals(
    connection: &Connection,
    after: &str,
    limit: usize,
) -> Result<Page<IndividualEnrollment>> {
    let sql = enrollment::LIST_INDIVIDUALS;
    let items = list(connection, sql, (after, one_more(limit)), enrollment::read_individual)?;
    Ok(page(items, limit, |item| item.registration_id.key()))
}

/// A page of groups.
pub(crate) fn list_groups(
    connection: &Connection,
    after: &str,
    limit: usize,
) -> Result<Page<EnrollmentGroup>> {
    let sql = enrollment::LIST_GROUPS;
    let items = list(connection, sql, (after, one_more(limit)), enrollment::read_group)?;
    Ok(page(items, limit, |item| item.group_id.key()))
}

/// A page of records.
pub(crate) fn list_records(
    connection: &Connection,
    filter: &RecordFilter,
    after: &str,
    limit: usize,
) -> Result<Page<RegistrationRecord>> {
    let more = one_more(limit);
    let items = match filter {
        RecordFilter::All => list(connection, record::LIST, (after, more), record::read)?,
        RecordFilter::Group(id) => {
            list(connection, record::LIST_OF_GROUP, (after, more, id.key()), record::read)?
        }
        // Looking for none among a million would take a second.
        RecordFilter::Orphaned if counter(connection, "orphaned_registrations")? == 0 => Vec::new(),
        RecordFilter::Orphaned => {
            list(connection, record::LIST_ORPHANED, (after, more), record::read)?
        }
    };
    Ok(page(items, limit, |item| item.registration_id.key()))
}

/// A page of a hub's devices.
pub(crate) fn list_devices(
    connection: &Connection,
    hub: &HubName,
    after: &str,
    limit: usize,
) -> Result<Page<Device>> {
    let read = |row: &Row<'_>| device::read(row).map(|(_, device)| device);
    let items = list(connection, device::LIST, (hub.as_str(), after, one_more(limit)), read)?;
    Ok(page(items, limit, |item| item.identity.device_id.as_str()))
}

/// How many devices a hub has.
pub(crate) fn device_counts(connection: &Connection, hub: &HubName) -> Result<DeviceCounts> {
    let sql = "SELECT total, disabled, connected FROM device_counts WHERE hub = ?1";
    let counts = find(connection, sql, [hub.as_str()], |row| {
        let (total, disabled) = (count(row.get(0)?), count(row.get(1)?));
        let enabled = total.saturating_sub(disabled);
        Ok(DeviceCounts { total, enabled, disabled, connected: count(row.get(2)?) })
    })?;
    Ok(counts.unwrap_or_default())
}

/// How much there is of what limits count.
pub(crate) fn usage(connection: &Connection) -> Result<Usage> {
    Ok(Usage {
        individual_enrollments: counter(connection, "individual_enrollments")?,
        x509_groups: counter(connection, "x509_groups")?,
        symmetric_key_groups: counter(connection, "symmetric_key_groups")?,
        registrations: counter(connection, "registrations")?,
        orphaned_registrations: counter(connection, "orphaned_registrations")?,
    })
}

/// Reads at most one row.
pub(crate) fn find<T>(
    connection: &Connection,
    sql: &str,
    key: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    connection.prepare_cached(sql)?.query_row(key, read).optional()
}

/// Reads all rows.
pub(crate) fn list<T>(
    connection: &Connection,
    sql: &str,
    key: impl Params,
    read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map(key, read)?.collect()
}

fn counter(connection: &Connection, name: &str) -> Result<u64> {
    connection
        .prepare_cached("SELECT value FROM counters WHERE name = ?1")?
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
