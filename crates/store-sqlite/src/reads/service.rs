//! What is known of the service itself: settings, hubs, work that waits, the audit log.

use std::{collections::BTreeSet, sync::Arc};

use model::{
    AuditFilter, AuditLine, DeviceId, EnrollmentRef, HubName, HubSettings, LinkedHub, PendingFacts,
    RegistrationId, RegistrationRecord, RemoteRemoval, ServiceFacts, ServiceSettings, Timestamp,
    Version,
};
use rusqlite::{Result, ToSql};
use store::AuditHead;

use super::{
    Counters,
    bans::{self, BansOn},
    count, counter, crls, find, find_individual, find_record, list,
    register::devices_on_any_hub,
};
use crate::{
    cache::Configured,
    codec::{Columns, Db},
    readers::Reader,
    rows::{audit, enrollment, grounds, hub, record, settings},
};

/// Settings and linked hubs; the caller holds the snapshot.
pub(crate) fn facts(reader: &Reader) -> Result<ServiceFacts> {
    let version = counter(reader.db(), "hubs_version")?;
    let configured = configured(reader, version)?;
    let (settings, hubs) = (configured.settings.clone(), configured.hubs.hubs.clone());
    Ok(ServiceFacts { settings, hubs, version })
}

/// Settings and linked hubs in the version that is that of the snapshot; the caller holds it.
pub(super) fn configured(reader: &Reader, version: Version) -> Result<Arc<Configured>> {
    if let Some(configured) = reader.cache.configured(version) {
        return Ok(configured);
    }
    let db = reader.db();
    let settings = find_settings(db)?;
    let allocation_policy = settings.allocation_policy;
    let hubs = Arc::new(HubSettings { hubs: list_hubs(db)?, allocation_policy });
    let configured = Arc::new(Configured { settings, hubs });
    reader.cache.keep_configured(version, &configured);
    Ok(configured)
}

/// What is known when a pending assignment goes on; the caller holds the snapshot.
pub(crate) fn pending_facts(reader: &Reader, id: &RegistrationId) -> Result<PendingFacts> {
    let db = reader.db();
    let record = find_record(db, id)?;
    let group = match record.as_ref().map(|record| &record.enrollment) {
        Some(EnrollmentRef::Group(id)) => {
            find(db, enrollment::FIND_GROUP, [id.key()], enrollment::read_group)?
        }
        Some(EnrollmentRef::Individual(_)) | None => None,
    };
    let assigned = record.as_ref().and_then(|record| record.assignment.as_ref());
    let pending = record.as_ref().and_then(|record| record.pending.as_deref());
    let ids: BTreeSet<_> = assigned
        .into_iter()
        .chain(pending.map(|pending| &pending.assignment))
        .map(|assignment| assignment.device_id.as_str().to_ascii_lowercase())
        .collect();
    let counters = Counters::read(db)?;
    let hubs = Arc::clone(&configured(reader, counters.hubs_version)?.hubs);
    let (grounds, bans_on) = match &record {
        Some(RegistrationRecord { registration_id, .. }) => {
            let grounds = grounds::find(db, registration_id)?;
            let bans_on = bans::of_registration(db, &counters, registration_id, grounds.as_ref())?;
            (grounds, bans_on)
        }
        None => (None, BansOn::not_asked(&counters)),
    };
    let BansOn { bans, known_cas, expected: bans_expected } = bans_on;
    let crls = crls::of_grounds(db, &[], grounds.as_ref(), &[])?;
    Ok(PendingFacts {
        grounds,
        bans,
        known_cas,
        bans_version: counters.bans_version,
        bans_expected,
        crls,
        devices: devices_on_any_hub(db, &ids)?,
        record,
        individual: find_individual(db, id)?,
        group,
        groups_version: counters.groups_version,
        hubs,
        hubs_version: counters.hubs_version,
    })
}

/// The registrations whose pending assignment is due.
pub(crate) fn due_assignments(
    db: Db<'_>,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<RegistrationId>> {
    let read = |columns: &mut Columns<'_, '_>| columns.text(RegistrationId::parse);
    list(db, record::DUE, (now.ticks(), at_most(limit)), read)
}

/// The removals that are due, so many of each hub; the caller holds the snapshot.
pub(crate) fn due_removals(db: Db<'_>, now: Timestamp, limit: usize) -> Result<Vec<RemoteRemoval>> {
    let mut due = Vec::new();
    let mut last = String::new();
    let name = |columns: &mut Columns<'_, '_>| columns.take::<String>();
    // There are few hubs, and each is found by the index.
    while let Some(hub) = find(db, hub::NEXT_TOLD, [&last], name)? {
        let of = (&hub, now.ticks(), at_most(limit));
        due.extend(list(db, hub::DUE_REMOVALS, of, hub::read_removal)?);
        last = hub;
    }
    Ok(due)
}

/// What a remote hub is to be told about a device.
pub(crate) fn find_removal(
    db: Db<'_>,
    of: &HubName,
    id: &DeviceId,
) -> Result<Option<RemoteRemoval>> {
    find(db, hub::FIND_REMOVAL, [of.as_str(), id.as_str()], hub::read_removal)
}

/// The earliest moment at which something is due; the caller holds the snapshot.
pub(crate) fn next_due(db: Db<'_>) -> Result<Option<Timestamp>> {
    let earliest =
        |sql: &str| find(db, sql, [], |columns| columns.optional_time()).map(Option::flatten);
    let assignment = earliest("SELECT MIN(due) FROM registration_records WHERE due IS NOT NULL")?;
    let removal = earliest("SELECT MIN(due) FROM remote_removals")?;
    Ok(assignment.into_iter().chain(removal).min())
}

/// Lines of the audit log.
pub(crate) fn list_audit(
    db: Db<'_>,
    filter: &AuditFilter,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<AuditLine>> {
    // Without a bound, so that lines with numbers that were never given are seen as well.
    let after = after.map_or(i64::MIN, |after| i64::try_from(after).unwrap_or(i64::MAX));
    let limit = at_most(limit);
    let (sql, values) = audit::query(filter, &after, &limit);
    let values: Vec<(&str, &dyn ToSql)> =
        values.iter().map(|(name, value)| (*name, &**value)).collect();
    list(db, &sql, values.as_slice(), audit::read)
}

/// Where the audit log ends.
pub(crate) fn audit_head(connection: &rusqlite::Connection) -> Result<AuditHead> {
    connection
        .prepare_cached(audit::HEAD)?
        .query_row([], |row| Ok((count(row.get(0)?), row.get(1)?)))
}

/// The settings, or the first ones.
fn find_settings(db: Db<'_>) -> Result<ServiceSettings> {
    let found = find(db, settings::FIND, [], settings::read)?;
    Ok(found.unwrap_or_else(store::first_settings))
}

fn list_hubs(db: Db<'_>) -> Result<Vec<LinkedHub>> {
    list(db, hub::LIST, [], hub::read)
}

pub(super) fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
