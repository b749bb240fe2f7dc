//! The rows of the event log.

use model::{AuthMethod, Event, EventSource, StoredEvent, Timestamp};
use rusqlite::{Error, Result};

use super::properties;
use crate::codec::{Binder, Columns, Db, words};

/// How many of a key's bits are the offset: enough for 300 years at 30,000 events a second.
const OFFSET_BITS: u32 = 48;

const OFFSET_MASK: u64 = (1 << OFFSET_BITS) - 1;

/// How many partitions there can be, of all hubs that ever had an event.
const MAX_PARTITIONS: i64 = (1 << (63 - OFFSET_BITS)) - 1;

const APPEND: &str = "INSERT INTO events (key, enqueued, size_bytes, device_id, generation_id, \
     auth_method, source, properties, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

/// Reads the events of the keys from `?1` to before `?2`, at most `?3`.
pub(crate) const READ: &str = "SELECT key, size_bytes, enqueued, device_id, generation_id, \
     auth_method, source, properties, body FROM events \
     WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3";

/// Reads what decides whether they are trimmed.
pub(crate) const READ_AGES: &str = "SELECT enqueued, size_bytes FROM events \
     WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3";

/// Reads when the event of the key `?1` was taken.
pub(crate) const ENQUEUED: &str = "SELECT enqueued FROM events WHERE key = ?1";

/// Deletes the events of the keys from `?1` to before `?2`.
pub(crate) const DELETE: &str = "DELETE FROM events WHERE key >= ?1 AND key < ?2";

words!(AuthMethod {
    AuthMethod::DeviceKey => "deviceKey",
    AuthMethod::HubPolicy => "hubPolicy",
    AuthMethod::Thumbprint => "thumbprint",
    AuthMethod::CertificateAuthority => "certificateAuthority",
});

words!(EventSource {
    EventSource::Telemetry => "telemetry",
});

/// Where the event of an offset is kept. The partition is told by its row's id.
pub(crate) fn key(partition_id: i64, offset: u64) -> Result<i64> {
    if !(0..=MAX_PARTITIONS).contains(&partition_id) || offset > OFFSET_MASK {
        let full = "the event log has no more room: too many partitions or too many events";
        return Err(Error::ToSqlConversionFailure(full.into()));
    }
    Ok(partition_id << OFFSET_BITS | offset.cast_signed())
}

/// Appends an event.
pub(crate) fn append(
    db: Db<'_>,
    key: i64,
    enqueued: Timestamp,
    size_bytes: u64,
    event: &Event,
) -> Result<()> {
    let mut statement = db.prepare_cached(APPEND)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(key)?;
    binder.time(enqueued)?;
    binder.unsigned(size_bytes)?;
    binder.put(event.device_id.as_str())?;
    binder.put(&event.generation_id)?;
    binder.word(event.auth_method)?;
    binder.word(event.source)?;
    properties::bind(&mut binder, &event.properties, &event.application)?;
    binder.put(&event.body)?;
    binder.run()?;
    Ok(())
}

/// Reads the rest of a row of [`READ`] whose key and size were taken.
pub(crate) fn read(columns: &mut Columns<'_, '_>, partition: u16, key: i64) -> Result<StoredEvent> {
    let enqueued = columns.time()?;
    let device_id = columns.text(model::DeviceId::parse_stored)?;
    let generation_id = columns.take()?;
    let auth_method = columns.word()?;
    let source = columns.word()?;
    let (properties, application) = properties::read(columns)?;
    let event = Event {
        device_id,
        generation_id,
        auth_method,
        source,
        enqueued,
        properties,
        application,
        body: columns.take()?,
    };
    Ok(StoredEvent { partition, offset: key.cast_unsigned() & OFFSET_MASK, event })
}
