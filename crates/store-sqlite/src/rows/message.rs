//! The rows of messages that wait for devices, and of feedback.

use model::{CloudMessage, DeviceId, Feedback, FeedbackWish, HubName, MessageEnd, Version};
use rusqlite::Result;

use super::{device, properties};
use crate::codec::{Binder, Columns, Db, words};

/// How much feedback of a hub is kept.
const MAX_FEEDBACK: i64 = 10_000;

macro_rules! message_columns {
    ($prefix:literal) => {
        concat!(
            $prefix,
            "device_id, ",
            $prefix,
            "number, ",
            $prefix,
            "enqueued, ",
            $prefix,
            "expires, ",
            $prefix,
            "delivery_count, ",
            $prefix,
            "feedback, ",
            $prefix,
            "properties, ",
            $prefix,
            "body, ",
            $prefix,
            "version"
        )
    };
}

/// Reads `?4` messages of the device `?2` of the hub `?1` after the number `?3`.
pub(crate) const WAITING: &str = concat!(
    "SELECT ",
    message_columns!(""),
    " FROM cloud_messages WHERE hub = ?1 AND device_id = ?2 AND number > ?3 \
     ORDER BY number LIMIT ?4"
);

/// Reads `?2` messages that expired before `?1`, with hub and generation of their devices.
pub(crate) const EXPIRED: &str = concat!(
    "SELECT m.hub, d.generation_id, ",
    message_columns!("m."),
    " FROM cloud_messages AS m JOIN devices AS d ON d.hub = m.hub AND d.device_id = m.device_id \
     WHERE m.expires < ?1 ORDER BY m.expires, m.rowid LIMIT ?2"
);

/// Reads `?2` feedback of the hub `?1`.
pub(crate) const LIST_FEEDBACK: &str = "SELECT number, message_id, status, at, device_id, \
     generation_id FROM feedback WHERE hub = ?1 ORDER BY number LIMIT ?2";

const INSERT: &str = "INSERT INTO cloud_messages (hub, device_id, number, enqueued, expires, \
     delivery_count, feedback, properties, body, version) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

const UPDATE: &str = "UPDATE cloud_messages SET (enqueued, expires, delivery_count, feedback, \
     properties, body, version) = (?4, ?5, ?6, ?7, ?8, ?9, ?10) \
     WHERE hub = ?1 AND device_id = ?2 AND number = ?3";

const DELETE: &str = "DELETE FROM cloud_messages WHERE hub = ?1 AND device_id = ?2 AND number = ?3";

/// Deletes the messages of the device `?2` of the hub `?1`.
pub(crate) const DELETE_ALL: &str = "DELETE FROM cloud_messages WHERE hub = ?1 AND device_id = ?2";

/// Deletes the messages of modules, whose names are between `?2` and `?3`, of the hub `?1`.
pub(crate) const DELETE_OF_MODULES: &str =
    "DELETE FROM cloud_messages WHERE hub = ?1 AND device_id > ?2 AND device_id < ?3";

const COUNT: &str = "UPDATE devices SET cloud_to_device_messages = cloud_to_device_messages + ?3 \
     WHERE hub = ?1 AND device_id = ?2";

const NEXT_MESSAGE: &str = "INSERT INTO message_numbers (hub, last_message, last_feedback) \
     VALUES (?1, 1, 0) ON CONFLICT (hub) DO UPDATE SET last_message = last_message + 1 \
     RETURNING last_message";

const NEXT_FEEDBACK: &str = "INSERT INTO message_numbers (hub, last_message, last_feedback) \
     VALUES (?1, 0, 1) ON CONFLICT (hub) DO UPDATE SET last_feedback = last_feedback + 1 \
     RETURNING last_feedback";

const APPEND_FEEDBACK: &str = "INSERT INTO feedback \
     (hub, number, message_id, status, at, device_id, generation_id) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

const DELETE_FEEDBACK: &str = "DELETE FROM feedback WHERE hub = ?1 AND number <= ?2";

words!(FeedbackWish {
    FeedbackWish::None => "none",
    FeedbackWish::Positive => "positive",
    FeedbackWish::Negative => "negative",
    FeedbackWish::Full => "full",
});

words!(MessageEnd {
    MessageEnd::Success => "success",
    MessageEnd::Expired => "expired",
    MessageEnd::DeliveryCountExceeded => "deliveryCountExceeded",
    MessageEnd::Rejected => "rejected",
    MessageEnd::Purged => "purged",
});

/// Appends a message to its device's queue; returns whether there is such a device.
pub(crate) fn enqueue(
    db: Db<'_>,
    hub: &HubName,
    message: &CloudMessage,
    version: Version,
) -> Result<bool> {
    if !count(db, hub, &message.device_id, 1)? {
        return Ok(false);
    }
    let number = next_number(db, NEXT_MESSAGE, hub)?;
    write(db, INSERT, hub, message, number, version)?;
    Ok(true)
}

/// Replaces a message; returns whether it is there.
pub(crate) fn put(
    db: Db<'_>,
    hub: &HubName,
    message: &CloudMessage,
    version: Version,
) -> Result<bool> {
    write(db, UPDATE, hub, message, message.number.cast_signed(), version)
}

/// Deletes a message, if it is there.
pub(crate) fn delete(db: Db<'_>, hub: &HubName, id: &DeviceId, number: u64) -> Result<()> {
    let key = (hub.as_str(), id.as_str(), number.cast_signed());
    if db.prepare_cached(DELETE)?.execute(key)? > 0 {
        count(db, hub, id, -1)?;
    }
    Ok(())
}

/// Deletes the messages of a device's modules that go with it.
pub(crate) fn delete_of_modules(db: Db<'_>, hub: &HubName, id: &DeviceId) -> Result<()> {
    let (from, to) = device::modules_of(id);
    db.prepare_cached(DELETE_OF_MODULES)?.execute((hub.as_str(), from, to)).map(drop)
}

/// Deletes the messages of a device that goes.
pub(crate) fn delete_all(db: Db<'_>, hub: &HubName, id: &DeviceId) -> Result<()> {
    db.prepare_cached(DELETE_ALL)?.execute([hub.as_str(), id.as_str()]).map(drop)
}

/// Reads a row of messages.
pub(crate) fn read(columns: &mut Columns<'_, '_>) -> Result<CloudMessage> {
    let device_id = columns.text(DeviceId::parse_stored)?;
    let number = columns.unsigned()?;
    let enqueued = columns.time()?;
    let expires = columns.time()?;
    let delivery_count = columns.take()?;
    let feedback = columns.word()?;
    let (properties, application) = properties::read(columns)?;
    Ok(CloudMessage {
        device_id,
        number,
        enqueued,
        expires,
        delivery_count,
        feedback,
        properties,
        application,
        body: columns.take()?,
        version: columns.unsigned()?,
    })
}

/// Reads what [`EXPIRED`] finds.
pub(crate) fn read_expired(
    columns: &mut Columns<'_, '_>,
) -> Result<(HubName, String, CloudMessage)> {
    Ok((columns.text(HubName::parse)?, columns.take()?, read(columns)?))
}

/// Appends feedback and forgets the oldest beyond what is kept.
pub(crate) fn append_feedback(db: Db<'_>, hub: &HubName, feedback: &Feedback) -> Result<()> {
    let number = next_number(db, NEXT_FEEDBACK, hub)?;
    {
        let mut statement = db.prepare_cached(APPEND_FEEDBACK)?;
        let mut binder = Binder::new(db, &mut statement);
        binder.put(hub.as_str())?;
        binder.put(number)?;
        binder.put(&feedback.message_id)?;
        binder.word(feedback.end)?;
        binder.time(feedback.at)?;
        binder.put(feedback.device_id.as_str())?;
        binder.put(&feedback.generation_id)?;
        binder.run()?;
    }
    db.prepare_cached(DELETE_FEEDBACK)?.execute((hub.as_str(), number - MAX_FEEDBACK)).map(drop)
}

/// Deletes feedback up to a number.
pub(crate) fn delete_feedback(db: Db<'_>, hub: &HubName, number: u64) -> Result<()> {
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    db.prepare_cached(DELETE_FEEDBACK)?.execute((hub.as_str(), number)).map(drop)
}

/// Reads a row of feedback.
pub(crate) fn read_feedback(columns: &mut Columns<'_, '_>) -> Result<Feedback> {
    Ok(Feedback {
        number: columns.unsigned()?,
        message_id: columns.take()?,
        end: columns.word()?,
        at: columns.time()?,
        device_id: columns.text(DeviceId::parse_stored)?,
        generation_id: columns.take()?,
    })
}

/// Counts a device's messages up or down; returns whether there is such a device.
fn count(db: Db<'_>, hub: &HubName, id: &DeviceId, by: i64) -> Result<bool> {
    Ok(db.prepare_cached(COUNT)?.execute((hub.as_str(), id.as_str(), by))? > 0)
}

fn next_number(db: Db<'_>, sql: &str, hub: &HubName) -> Result<i64> {
    db.prepare_cached(sql)?.query_row([hub.as_str()], |row| row.get(0))
}

/// Inserts or updates; returns whether a row was written.
fn write(
    db: Db<'_>,
    sql: &str,
    hub: &HubName,
    message: &CloudMessage,
    number: i64,
    version: Version,
) -> Result<bool> {
    let mut statement = db.prepare_cached(sql)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(hub.as_str())?;
    binder.put(message.device_id.as_str())?;
    binder.put(number)?;
    binder.time(message.enqueued)?;
    binder.time(message.expires)?;
    binder.put(message.delivery_count)?;
    binder.word(message.feedback)?;
    properties::bind(&mut binder, &message.properties, &message.application)?;
    binder.put(&message.body)?;
    binder.unsigned(version)?;
    Ok(binder.run()? > 0)
}
