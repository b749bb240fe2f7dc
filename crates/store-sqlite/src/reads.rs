//! The reads, named after the facts they fetch.

use model::{
    Device, DeviceCounts, DeviceId, EnrollmentGroup, HubName, IndividualEnrollment, MAX_MODULES,
    OrphanFilter, Page, RecordFilter, RegistrationId, RegistrationRecord, Timestamp, Usage,
    Version,
};
use rusqlite::{OptionalExtension, Params, Result};

use crate::{
    codec::{Columns, Db},
    rows::{device, enrollment, record},
};

pub(crate) mod attempts;
pub(crate) mod bans;
pub(crate) mod crls;
pub(crate) mod former;
pub(crate) mod hub;
pub(crate) mod receipt;
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
        RecordFilter::Orphaned(_) if counter(db, "orphaned_registrations")? == 0 => Vec::new(),
        RecordFilter::Orphaned(OrphanFilter { group: None, updated_before }) => {
            let before = ticks_or_ever(*updated_before);
            list(db, record::LIST_ORPHANED, (after, more, before), record::read)?
        }
        RecordFilter::Orphaned(OrphanFilter { group: Some(id), updated_before }) => {
            let key = (after, more, ticks_or_ever(*updated_before), id.key());
            list(db, record::LIST_ORPHANED_OF_GROUP, key, record::read)?
        }
    };
    Ok(page(items, limit, |item| item.registration_id.key()))
}

/// How many records pass the filter.
pub(crate) fn count_records(db: Db<'_>, filter: &RecordFilter) -> Result<u64> {
    let number = |columns: &mut Columns<'_, '_>| columns.take().map(count);
    let counted = match filter {
        RecordFilter::All => return counter(db, "registrations"),
        RecordFilter::Orphaned(OrphanFilter { group: None, updated_before: None }) => {
            return counter(db, "orphaned_registrations");
        }
        RecordFilter::Group(id) => find(db, record::COUNT_OF_GROUP, [id.key()], number)?,
        RecordFilter::Orphaned(OrphanFilter { group: None, updated_before }) => {
            find(db, record::COUNT_ORPHANED, [ticks_or_ever(*updated_before)], number)?
        }
        RecordFilter::Orphaned(OrphanFilter { group: Some(id), updated_before }) => {
            let key = (ticks_or_ever(*updated_before), id.key());
            find(db, record::COUNT_ORPHANED_OF_GROUP, key, number)?
        }
    };
    Ok(counted.unwrap_or_default())
}

/// The moment as rows have it, or one after all that there are.
fn ticks_or_ever(moment: Option<Timestamp>) -> i64 {
    moment.map_or(i64::MAX, Timestamp::ticks)
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

/// The modules of a device.
pub(crate) fn list_modules(db: Db<'_>, hub: &HubName, id: &DeviceId) -> Result<Vec<Device>> {
    let read = |columns: &mut Columns<'_, '_>| device::read(columns).map(|(_, device)| device);
    let (from, to) = device::modules_of(id);
    list(db, device::LIST_MODULES, (hub.as_str(), from, to, MAX_MODULES), read)
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

/// The counters that those who register and connect are decided from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    /// How many bans there are.
    pub(crate) bans: u64,
    pub(crate) bans_version: Version,
    pub(crate) groups_version: Version,
    pub(crate) hubs_version: Version,
    pub(crate) registrations: u64,
}

impl Counters {
    /// Reads them all at once; the caller holds the snapshot.
    pub(crate) fn read(db: Db<'_>) -> Result<Self> {
        let mut counters =
            Self { bans: 0, bans_version: 0, groups_version: 0, hubs_version: 0, registrations: 0 };
        let mut statement = db.prepare_cached(COUNTERS)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let value = count(row.get(1)?);
            match row.get_ref(0)?.as_str()? {
                "bans" => counters.bans = value,
                "bans_version" => counters.bans_version = value,
                "groups_version" => counters.groups_version = value,
                "hubs_version" => counters.hubs_version = value,
                _ => counters.registrations = value,
            }
        }
        Ok(counters)
    }
}

/// Reads the rows of [`Counters`].
pub(crate) const COUNTERS: &str = "SELECT name, value FROM counters WHERE name IN \
     ('bans', 'bans_version', 'groups_version', 'hubs_version', 'registrations')";

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
