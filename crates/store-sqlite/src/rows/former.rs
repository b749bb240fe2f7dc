//! Identities whose record is gone, or has another identity now: with the identity itself, and for
//! hubs elsewhere in a table of their own.

use model::{DeviceId, EnrollmentRef, HubName, RegistrationId, RegistrationRecord};
use rusqlite::{OptionalExtension, Result};

use super::{grounds, record};
use crate::codec::{Columns, Db};

/// A remote hub, the name there, and the enrollment that decided.
pub(crate) type FormerRemote = (HubName, DeviceId, EnrollmentRef);

/// Reads by which enrollment and registration the identity `?2` of the hub `?1` was assigned before.
pub(crate) const OWNER: &str = "SELECT former_kind, former_enrollment, former_registration \
     FROM devices WHERE hub = ?1 AND device_id = ?2 AND former_kind IS NOT NULL";

/// Reads the identities on hubs elsewhere that the registration of the key `?1` had.
pub(crate) const REMOTES: &str = "SELECT hub, device_id, enrollment_kind, enrollment_id, \
     registration_id FROM former_remotes WHERE key = ?1 ORDER BY hub, device_id";

/// The IDs of `?3` registrations without a record after the key `?2`, by their keys, whose
/// identities came from the group of the key `?1` and are nobody else's now.
pub(crate) const OF_GROUP: &str = "SELECT lower(former_registration), MIN(former_registration) \
     FROM devices WHERE former_kind = 'group' AND lower(former_enrollment) = ?1 \
     AND lower(former_registration) > ?2 \
     AND NOT EXISTS (SELECT 1 FROM registration_records AS record \
       WHERE record.key = lower(devices.former_registration)) \
     AND NOT EXISTS (SELECT 1 FROM registration_records AS record \
       WHERE record.hub = devices.hub AND record.device_id = devices.device_id) \
     GROUP BY lower(former_registration) ORDER BY lower(former_registration) LIMIT ?3";

/// The same on hubs elsewhere.
pub(crate) const REMOTES_OF_GROUP: &str = "SELECT key, MIN(registration_id) \
     FROM former_remotes AS former WHERE enrollment_kind = 'group' AND enrollment_key = ?1 \
     AND key > ?2 \
     AND NOT EXISTS (SELECT 1 FROM registration_records AS record WHERE record.key = former.key) \
     GROUP BY key ORDER BY key LIMIT ?3";

/// Keeps what the record that is about to go, or to get another identity, rests on.
pub(crate) fn remember(db: Db<'_>, id: &RegistrationId) -> Result<()> {
    let key = [id.key()];
    let before: Vec<String> = db
        .prepare_cached(
            "SELECT lower(devices.former_registration) FROM registration_records AS record \
             JOIN devices ON devices.hub = record.hub AND devices.device_id = record.device_id \
             WHERE record.key = ?1 AND devices.former_registration IS NOT NULL",
        )?
        .query_map(key, |row| row.get(0))?
        .collect::<Result<_>>()?;
    db.prepare_cached(
        "UPDATE devices SET (former_kind, former_enrollment, former_registration, \
         former_taken_from) = (record.enrollment_kind, record.enrollment_id, \
         record.registration_id, record.taken_from) \
         FROM registration_records AS record WHERE record.key = ?1 \
         AND devices.hub = record.hub AND devices.device_id = record.device_id",
    )?
    .execute(key)?;
    for key in before {
        grounds::forget_unneeded(db, &key)?;
    }
    db.prepare_cached(
        "INSERT OR REPLACE INTO former_remotes (hub, device_id, key, registration_id, \
         enrollment_kind, enrollment_key, enrollment_id) \
         SELECT hub, device_id, key, registration_id, enrollment_kind, enrollment_key, \
         enrollment_id FROM registration_records AS record WHERE key = ?1 AND hub IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM linked_hubs WHERE name = record.hub AND kind = 'builtIn')",
    )?
    .execute(key)?;
    Ok(())
}

/// The key of the registration that an identity came from, whose record is gone.
pub(crate) fn key_of(db: Db<'_>, hub: &HubName, id: &DeviceId) -> Result<Option<String>> {
    let found: Option<Option<String>> = db
        .prepare_cached(
            "SELECT lower(former_registration) FROM devices WHERE hub = ?1 AND device_id = ?2",
        )?
        .query_row([hub.as_str(), id.as_str()], |row| row.get(0))
        .optional()?;
    Ok(found.flatten())
}

/// Keeps where the record that is about to go was being assigned to: its identity may be there.
pub(crate) fn remember_pending(db: Db<'_>, id: &RegistrationId) -> Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO former_remotes (hub, device_id, key, registration_id, \
         enrollment_kind, enrollment_key, enrollment_id) \
         SELECT pending ->> '$.hub', pending ->> '$.device_id', key, registration_id, \
         enrollment_kind, enrollment_key, enrollment_id FROM registration_records \
         WHERE key = ?1 AND pending IS NOT NULL AND NOT EXISTS (SELECT 1 FROM linked_hubs \
         WHERE name = pending ->> '$.hub' AND kind = 'builtIn')",
    )?
    .execute([id.key()])
    .map(drop)
}

/// A record has these identities now, or is about to.
pub(crate) fn forget_of(db: Db<'_>, record: &RegistrationRecord) -> Result<()> {
    let pending = record.pending.as_deref().map(|pending| &pending.assignment);
    for assignment in record.assignment.iter().chain(pending) {
        forget(db, &assignment.hub, &assignment.device_id)?;
    }
    Ok(())
}

/// What a hub was to be told is over. If it was to delete the identity and is still linked, there is
/// none any more.
pub(crate) fn told(db: Db<'_>, hub: &HubName, id: &DeviceId) -> Result<()> {
    let is_deleted = db
        .prepare_cached(
            "SELECT 1 FROM remote_removals WHERE hub = ?1 AND device_id = ?2 AND task = 'delete' \
             AND EXISTS (SELECT 1 FROM linked_hubs WHERE name = ?1)",
        )?
        .exists([hub.as_str(), id.as_str()])?;
    if is_deleted { forget(db, hub, id) } else { Ok(()) }
}

fn forget(db: Db<'_>, hub: &HubName, id: &DeviceId) -> Result<()> {
    db.prepare_cached("DELETE FROM former_remotes WHERE hub = ?1 AND device_id = ?2")?
        .execute([hub.as_str(), id.as_str()])
        .map(drop)
}

/// Reads what [`REMOTES`] finds.
pub(crate) fn read_remote(columns: &mut Columns<'_, '_>) -> Result<FormerRemote> {
    let hub = columns.text(HubName::parse)?;
    let device_id = columns.text(DeviceId::parse)?;
    let (_, enrollment) = record::read_owner(columns)?;
    Ok((hub, device_id, enrollment))
}
