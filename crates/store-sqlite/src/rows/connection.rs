//! What of a device's row belongs to its connections: written by these statements and no others.

use model::{ConnectionNumber, DeviceId, HubName, IdentityMark, Qos, Subscriptions, Timestamp};
use rusqlite::{OptionalExtension, Result};

use crate::codec::{Binder, Db};

const CONNECT: &str = "UPDATE devices SET connected = 1, connection_state_updated = ?3, \
     last_activity = ?3, connection = ?4 WHERE hub = ?1 AND device_id = ?2";

const DISCONNECT: &str = "UPDATE devices SET connected = 0, connection_state_updated = ?3, \
     connection = 0 WHERE hub = ?1 AND device_id = ?2 AND connection = ?4 AND connected = 1";

/// Ends all connections. `connected = 1` as in the index of those that are.
pub(crate) const DISCONNECT_ALL: &str = "UPDATE devices SET connected = 0, connection_state_updated = ?1, \
     connection = 0 WHERE connected = 1";

/// How many are connected, of each hub that has any; modules are not counted.
pub(crate) const COUNT_CONNECTED: &str = "SELECT hub, COUNT(*) FILTER (WHERE instr(device_id, '/') = 0) FROM devices \
     WHERE connected = 1 GROUP BY hub";

const TOUCH: &str = "UPDATE devices SET last_activity = ?3 WHERE hub = ?1 AND device_id = ?2";

const PUT_SUBSCRIPTIONS: &str =
    "UPDATE devices SET subscriptions = ?3 WHERE hub = ?1 AND device_id = ?2";

const MARK: &str = "SELECT generation_id, etag_counter FROM devices \
     WHERE hub = ?1 AND device_id = ?2";

const CONNECTION: &str = "SELECT connection FROM devices WHERE hub = ?1 AND device_id = ?2";

/// Gives a device a connection; returns whether there is such a device.
pub(crate) fn connect(
    db: Db<'_>,
    hub: &HubName,
    id: &DeviceId,
    connection: ConnectionNumber,
    at: Timestamp,
) -> Result<bool> {
    run(db, CONNECT, hub, id, |binder| {
        binder.time(at)?;
        binder.unsigned(connection)
    })
}

/// Ends a device's connection; returns whether it was the device's.
pub(crate) fn disconnect(
    db: Db<'_>,
    hub: &HubName,
    id: &DeviceId,
    connection: ConnectionNumber,
    at: Timestamp,
) -> Result<bool> {
    run(db, DISCONNECT, hub, id, |binder| {
        binder.time(at)?;
        binder.unsigned(connection)
    })
}

/// Ends all connections; returns how many there were of each hub.
pub(crate) fn disconnect_all(db: Db<'_>, at: Timestamp) -> Result<Vec<(HubName, i64)>> {
    let counts = crate::reads::list(db, COUNT_CONNECTED, [], |columns| {
        Ok((columns.text(HubName::parse)?, columns.take()?))
    })?;
    if !counts.is_empty() {
        db.prepare_cached(DISCONNECT_ALL)?.execute([at.ticks()])?;
    }
    Ok(counts)
}

/// Remembers that a device did something.
pub(crate) fn touch(db: Db<'_>, hub: &HubName, id: &DeviceId, at: Timestamp) -> Result<()> {
    run(db, TOUCH, hub, id, |binder| binder.time(at)).map(drop)
}

/// Reads what the device `?2` of the hub `?1` subscribed to.
pub(crate) const SUBSCRIPTIONS: &str =
    "SELECT subscriptions FROM devices WHERE hub = ?1 AND device_id = ?2";

/// Replaces what a device subscribed to; returns whether there is such a device.
pub(crate) fn put_subscriptions(
    db: Db<'_>,
    hub: &HubName,
    id: &DeviceId,
    subscriptions: Option<Subscriptions>,
) -> Result<bool> {
    run(db, PUT_SUBSCRIPTIONS, hub, id, |binder| binder.put(subscriptions.map(write_subscriptions)))
}

/// Whether there is an identity of this mark.
pub(crate) fn has_mark(
    db: Db<'_>,
    hub: &HubName,
    id: &DeviceId,
    mark: &IdentityMark,
) -> Result<bool> {
    let mut statement = db.prepare_cached(MARK)?;
    let mut rows = statement.query([hub.as_str(), id.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(false) };
    Ok(row.get_ref(0)?.as_str()? == &*mark.generation_id
        && row.get::<_, i64>(1)?.cast_unsigned() == mark.etag_counter)
}

/// The device's connection; 0 while it has none or there is no such device.
pub(crate) fn find(db: Db<'_>, hub: &HubName, id: &DeviceId) -> Result<ConnectionNumber> {
    let found: Option<i64> = db
        .prepare_cached(CONNECTION)?
        .query_row([hub.as_str(), id.as_str()], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or(0).cast_unsigned())
}

/// Two bits for each filter, as the migration says.
fn write_subscriptions(subscriptions: Subscriptions) -> i64 {
    let Subscriptions { messages, twin_responses, desired, methods } = subscriptions;
    [desired, methods, twin_responses, messages].into_iter().fold(0, |bits, qos| {
        let two = match qos {
            None => 0,
            Some(Qos::AtMostOnce) => 1,
            Some(Qos::AtLeastOnce) => 2,
        };
        bits << 2 | two
    })
}

/// What [`write_subscriptions`] wrote.
pub(crate) fn read_subscriptions(bits: i64) -> Subscriptions {
    let at = |n: u32| match bits >> (2 * n) & 3 {
        1 => Some(Qos::AtMostOnce),
        2 => Some(Qos::AtLeastOnce),
        _ => None,
    };
    Subscriptions { desired: at(3), methods: at(2), twin_responses: at(1), messages: at(0) }
}

/// Runs a statement whose first parameters are hub and device; returns whether it changed a row.
fn run(
    db: Db<'_>,
    sql: &str,
    hub: &HubName,
    id: &DeviceId,
    bind: impl FnOnce(&mut Binder<'_, '_>) -> Result<()>,
) -> Result<bool> {
    let mut statement = db.prepare_cached(sql)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(hub.as_str())?;
    binder.put(id.as_str())?;
    bind(&mut binder)?;
    Ok(binder.run()? > 0)
}
