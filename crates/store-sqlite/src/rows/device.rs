//! The rows of devices: identity and twin side by side.
//!
//! What belongs to a device's connections is in the same row, but not written here: see
//! `rows::connection`.

use model::{
    Device, DeviceAuthentication, DeviceId, DeviceIdentity, DeviceStatus, HubName, Metadata,
    Subscriptions, Timestamp, Twin, TwinSection, Version,
};
use rusqlite::Result;
use serde::{Deserialize, Serialize};

use super::connection;
use crate::{
    codec::{Binder, Columns, Db},
    vault::Place,
};

/// The table, as its secrets are bound to it.
const TABLE: &str = "devices";

/// What a registry write writes.
macro_rules! identity_columns {
    () => {
        "generation_id, etag_counter, status, status_reason, status_updated, authentication, \
         primary_key, secondary_key, primary_thumbprint, secondary_thumbprint, iot_edge, \
         device_scope, parent_scopes, identity_version"
    };
}

/// What belongs to an identity and is written by its connections and messages only.
macro_rules! connection_columns {
    () => {
        "connected, connection_state_updated, last_activity, cloud_to_device_messages"
    };
}

macro_rules! twin_columns {
    () => {
        "tags, desired, desired_metadata, desired_version, reported, reported_metadata, \
         reported_version, twin_etag_counter, twin_version_number, twin_version"
    };
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT hub, device_id, ",
            connection_columns!(),
            ", ",
            identity_columns!(),
            ", ",
            twin_columns!(),
            " FROM devices WHERE ",
            $rest
        )
    };
}

/// Reads the device `?2` of the hub `?1`.
pub(crate) const FIND: &str = select!("hub = ?1 AND device_id = ?2");

/// Reads the devices `?1` of all hubs.
pub(crate) const FIND_ON_ANY_HUB: &str =
    select!("device_id = ?1 COLLATE NOCASE ORDER BY hub, device_id");

/// Reads the devices that the registration of the key `?1` had and that no other one has now.
pub(crate) const FIND_FORMER: &str = select!(
    "lower(former_registration) = ?1 AND former_registration IS NOT NULL \
     AND NOT EXISTS (SELECT 1 FROM registration_records AS record \
     WHERE record.hub = devices.hub AND record.device_id = devices.device_id AND record.key <> ?1) \
     ORDER BY hub, device_id"
);

/// Reads `?3` devices of the hub `?1` after the device ID `?2`; no modules, of which each device
/// has few.
pub(crate) const LIST: &str = select!(
    "hub = ?1 AND device_id > ?2 AND instr(device_id, '/') = 0 ORDER BY device_id LIMIT ?3"
);

/// Reads `?4` modules, whose names are between `?2` and `?3`, of the hub `?1`.
pub(crate) const LIST_MODULES: &str =
    select!("hub = ?1 AND device_id > ?2 AND device_id < ?3 ORDER BY device_id LIMIT ?4");

/// Counts modules, whose names are between `?2` and `?3`, of the hub `?1`.
pub(crate) const COUNT_MODULES: &str =
    "SELECT COUNT(*) FROM devices WHERE hub = ?1 AND device_id > ?2 AND device_id < ?3";

/// Deletes modules, whose names are between `?2` and `?3`, of the hub `?1`.
pub(crate) const DELETE_MODULES: &str =
    "DELETE FROM devices WHERE hub = ?1 AND device_id > ?2 AND device_id < ?3";

/// What the names of a device's modules are between: all that begin with its own name and a slash,
/// because the byte after a slash is a `0`.
pub(crate) fn modules_of(id: &DeviceId) -> (String, String) {
    (format!("{}/", id.device()), format!("{}0", id.device()))
}

/// Reads the identity of the device `?2` of the hub `?1`, and what it subscribed to.
pub(crate) const FIND_IDENTITY: &str = concat!(
    "SELECT hub, device_id, ",
    connection_columns!(),
    ", ",
    identity_columns!(),
    ", subscriptions FROM devices WHERE hub = ?1 AND device_id = ?2"
);

/// A new device was never connected, and nothing waits for it.
const INSERT: &str = concat!(
    "INSERT INTO devices (hub, device_id, ",
    identity_columns!(),
    ", ",
    twin_columns!(),
    ", ",
    connection_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, \
     ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, 0, NULL, NULL, 0)"
);

const UPDATE: &str = concat!(
    "UPDATE devices SET (",
    identity_columns!(),
    ", ",
    twin_columns!(),
    ") = (?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, \
     ?21, ?22, ?23, ?24, ?25, ?26) WHERE hub = ?1 AND device_id = ?2"
);

const UPDATE_IDENTITY: &str = concat!(
    "UPDATE devices SET (",
    identity_columns!(),
    ") = (?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
     WHERE hub = ?1 AND device_id = ?2"
);

const UPDATE_TWIN: &str = concat!(
    "UPDATE devices SET (",
    twin_columns!(),
    ") = (?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) WHERE hub = ?1 AND device_id = ?2"
);

/// What of a device is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) disabled: bool,
    pub(crate) connected: bool,
}

impl Counted {
    /// What is counted of an identity once it is written in the place of an old one: writing it
    /// neither connects nor disconnects the device.
    pub(crate) fn after(old: Option<Self>, identity: &DeviceIdentity) -> Self {
        Self {
            disabled: identity.status == DeviceStatus::Disabled,
            connected: old.is_some_and(|old| old.connected),
        }
    }

    /// What is counted of a stored device; `None` when there is no such device.
    pub(crate) fn find(db: Db<'_>, hub: &HubName, id: &DeviceId) -> Result<Option<Self>> {
        let mut statement = db.prepare_cached(
            "SELECT status, connected FROM devices WHERE hub = ?1 AND device_id = ?2",
        )?;
        let mut rows = statement.query([hub.as_str(), id.as_str()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let mut columns = Columns::new(db, row);
        let status: DeviceStatus = columns.word()?;
        Ok(Some(Self { disabled: status == DeviceStatus::Disabled, connected: columns.take()? }))
    }
}

/// Inserts or replaces a device; the caller knows whether it is there.
pub(crate) fn put(
    db: Db<'_>,
    hub: &HubName,
    device: &Device,
    old: Option<Counted>,
    version: Version,
) -> Result<()> {
    let sql = if old.is_some() { UPDATE } else { INSERT };
    let mut statement = db.prepare_cached(sql)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(hub.as_str())?;
    binder.put(device.identity.device_id.as_str())?;
    bind_identity(&mut binder, hub, &device.identity, version)?;
    bind_twin(&mut binder, &device.twin, version)?;
    binder.run()?;
    Ok(())
}

/// Replaces an identity that is there.
pub(crate) fn put_identity(
    db: Db<'_>,
    hub: &HubName,
    identity: &DeviceIdentity,
    version: Version,
) -> Result<()> {
    let mut statement = db.prepare_cached(UPDATE_IDENTITY)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(hub.as_str())?;
    binder.put(identity.device_id.as_str())?;
    bind_identity(&mut binder, hub, identity, version)?;
    binder.run()?;
    Ok(())
}

/// Replaces a twin; returns whether there was one.
pub(crate) fn put_twin(
    db: Db<'_>,
    hub: &HubName,
    id: &DeviceId,
    twin: &Twin,
    version: Version,
) -> Result<bool> {
    let mut statement = db.prepare_cached(UPDATE_TWIN)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(hub.as_str())?;
    binder.put(id.as_str())?;
    bind_twin(&mut binder, twin, version)?;
    Ok(binder.run()? > 0)
}

/// Reads a row of devices.
pub(crate) fn read(columns: &mut Columns<'_, '_>) -> Result<(HubName, Device)> {
    let hub = columns.text(HubName::parse)?;
    let identity = read_identity(columns, &hub)?;
    let twin = read_twin(columns)?;
    Ok((hub, Device { identity, twin }))
}

/// Reads what [`FIND_IDENTITY`] finds.
pub(crate) fn read_with_subscriptions(
    columns: &mut Columns<'_, '_>,
) -> Result<(DeviceIdentity, Option<Subscriptions>)> {
    let hub = columns.text(HubName::parse)?;
    let identity = read_identity(columns, &hub)?;
    let subscriptions = columns.take::<Option<i64>>()?.map(connection::read_subscriptions);
    Ok((identity, subscriptions))
}

fn bind_identity(
    binder: &mut Binder<'_, '_>,
    hub: &HubName,
    identity: &DeviceIdentity,
    version: Version,
) -> Result<()> {
    binder.put(&identity.generation_id)?;
    binder.unsigned(identity.etag_counter)?;
    binder.word(identity.status)?;
    binder.put(&identity.status_reason)?;
    binder.optional_time(identity.status_updated)?;
    let authentication = &identity.authentication;
    binder.word(authentication.kind)?;
    let row = [hub.as_str(), identity.device_id.as_str()];
    binder.keys(Place::new(TABLE, &row), authentication.keys.as_ref())?;
    binder.put(&authentication.primary_thumbprint)?;
    binder.put(&authentication.secondary_thumbprint)?;
    binder.put(identity.iot_edge)?;
    // Only devices have a scope and only modules are managed by somebody; they share a column.
    binder.put(match identity.device_id.module() {
        None => &identity.device_scope,
        Some(_) => &identity.managed_by,
    })?;
    binder.document(&identity.parent_scopes)?;
    binder.unsigned(version)
}

fn read_identity(columns: &mut Columns<'_, '_>, hub: &HubName) -> Result<DeviceIdentity> {
    let device_id = columns.text(DeviceId::parse_stored)?;
    let row = [hub.as_str(), device_id.as_str()];
    let place = Place::new(TABLE, &row);
    let mut identity = DeviceIdentity {
        connected: columns.take()?,
        connection_state_updated: columns.optional_time()?,
        last_activity: columns.optional_time()?,
        cloud_to_device_messages: columns.take()?,
        generation_id: columns.take()?,
        etag_counter: columns.unsigned()?,
        status: columns.word()?,
        status_reason: columns.take()?,
        status_updated: columns.optional_time()?,
        authentication: DeviceAuthentication {
            kind: columns.word()?,
            keys: columns.keys(place)?,
            primary_thumbprint: columns.take()?,
            secondary_thumbprint: columns.take()?,
        },
        iot_edge: columns.take()?,
        device_scope: columns.take()?,
        parent_scopes: columns.document()?,
        managed_by: None,
        version: columns.unsigned()?,
        device_id,
    };
    if identity.device_id.module().is_some() {
        identity.managed_by = identity.device_scope.take();
    }
    Ok(identity)
}

fn bind_twin(binder: &mut Binder<'_, '_>, twin: &Twin, version: Version) -> Result<()> {
    binder.json(&twin.tags)?;
    for section in [&twin.desired, &twin.reported] {
        binder.json(&section.content)?;
        binder.document(&MetadataRow::from(&section.metadata))?;
        binder.unsigned(section.version_number)?;
    }
    binder.unsigned(twin.etag_counter)?;
    binder.unsigned(twin.version_number)?;
    binder.unsigned(version)
}

fn read_twin(columns: &mut Columns<'_, '_>) -> Result<Twin> {
    let section = |columns: &mut Columns<'_, '_>| -> Result<TwinSection> {
        Ok(TwinSection {
            content: columns.json()?,
            metadata: columns.document::<MetadataRow>()?.into(),
            version_number: columns.unsigned()?,
        })
    };
    Ok(Twin {
        tags: columns.json()?,
        desired: section(columns)?,
        reported: section(columns)?,
        etag_counter: columns.unsigned()?,
        version_number: columns.unsigned()?,
        version: columns.unsigned()?,
    })
}

/// The stamps of a node and of those below it. The names are short because there are many.
#[derive(Serialize, Deserialize)]
struct MetadataRow {
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    last_updated: Option<i64>,
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    last_updated_version: Option<u64>,
    #[serde(rename = "m", default, skip_serializing_if = "Vec::is_empty")]
    members: Vec<(String, MetadataRow)>,
}

impl From<&Metadata> for MetadataRow {
    fn from(metadata: &Metadata) -> Self {
        Self {
            last_updated: metadata.last_updated.map(Timestamp::ticks),
            last_updated_version: metadata.last_updated_version,
            members: metadata
                .members
                .iter()
                .map(|(name, below)| (name.clone(), Self::from(below)))
                .collect(),
        }
    }
}

impl From<MetadataRow> for Metadata {
    fn from(row: MetadataRow) -> Self {
        Self {
            last_updated: row.last_updated.map(Timestamp::from_ticks),
            last_updated_version: row.last_updated_version,
            members: row.members.into_iter().map(|(name, below)| (name, below.into())).collect(),
        }
    }
}
