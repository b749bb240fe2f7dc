//! What is known of connected devices: their identities, the event log, messages and feedback.

use model::{
    AccessPolicy, CloudMessage, ConnectFacts, ConnectQuery, DeviceId, EventPosition, Feedback,
    HubAccess, HubName, LinkedHub, PartitionState, PolicyScope, StoredEvent, Subscriptions,
    Timestamp,
};
use rusqlite::Result;

use super::{
    Counters,
    bans::{self, BansOn},
    crls, find, list,
    service::{at_most, configured},
};
use crate::{
    codec::{Columns, Db},
    readers::Reader,
    rows::{certificate, connection, device, event, message, policy},
};

macro_rules! partition_columns {
    () => {
        "SELECT id, number, first_offset, next_offset, last_enqueued, size_bytes \
         FROM event_partitions WHERE hub = ?1"
    };
}

const PARTITIONS: &str = concat!(partition_columns!(), " ORDER BY number");

const PARTITION: &str = concat!(partition_columns!(), " AND number = ?2");

/// What is known when a device connects; the caller holds the snapshot.
pub(crate) fn connect_facts(reader: &Reader, query: &ConnectQuery) -> Result<ConnectFacts> {
    let db = reader.db();
    let counters = Counters::read(db)?;
    let configured = configured(reader, counters.hubs_version)?;
    let is_asked = |hub: &LinkedHub| hub.name.as_str() == query.hub.as_str();
    let linked = configured.hubs.hubs.iter().find(|hub| is_asked(hub));
    let key = [query.hub.as_str(), query.device_id.as_str()];
    let found = find(db, device::FIND_IDENTITY, key, device::read_with_subscriptions)?;
    let (identity, subscriptions) = found.unzip();
    let mut ca_certificates = Vec::new();
    if query.with_ca_certificates {
        ca_certificates = list(db, certificate::LIST_CA, [], certificate::read_ca)?;
        ca_certificates.retain(|certificate| certificate.verified);
    }
    let parent = match query.device_id.parent() {
        None => None,
        Some(parent) => {
            let key = [query.hub.as_str(), parent.as_str()];
            find(db, device::FIND_IDENTITY, key, device::read_with_subscriptions)?
        }
    };
    let origin = bans::origin(db, &query.hub, &query.device_id)?;
    let grounds = origin.as_ref().and_then(|origin| origin.grounds.as_ref());
    let crls = crls::of_grounds(db, &query.serials, grounds, &ca_certificates)?;
    let BansOn { bans, known_cas, expected: bans_expected } =
        bans::of_connection(db, &counters, query, origin.as_ref(), &ca_certificates)?;
    Ok(ConnectFacts {
        bans,
        known_cas,
        bans_version: counters.bans_version,
        bans_expected,
        crls,
        origin,
        assigned: bans::assigned(db, &query.hub, &query.device_id)?,
        hub_is_built_in: linked.is_some_and(|hub| hub.access == HubAccess::BuiltIn),
        identity,
        parent: parent.map(|(identity, _)| identity),
        subscriptions: subscriptions.flatten(),
        policy: match &query.policy {
            Some(name) => find_hub_policy(db, &query.hub, name)?,
            None => None,
        },
        ca_certificates,
        settings: configured.settings.clone(),
        hubs_version: counters.hubs_version,
    })
}

/// What a device subscribed to.
pub(crate) fn find_subscriptions(
    db: Db<'_>,
    hub: &HubName,
    id: &DeviceId,
) -> Result<Option<Subscriptions>> {
    let key = [hub.as_str(), id.as_str()];
    let found = find(db, connection::SUBSCRIPTIONS, key, |columns| columns.take::<Option<i64>>())?;
    Ok(found.flatten().map(connection::read_subscriptions))
}

/// Events of a partition; the caller holds the snapshot.
pub(crate) fn read_events(
    db: Db<'_>,
    hub: &HubName,
    partition: u16,
    from: EventPosition,
    limit: usize,
    max_bytes: u64,
) -> Result<Vec<StoredEvent>> {
    let found = find(db, PARTITION, (hub.as_str(), partition), read_partition)?;
    let Some((id, state)) = found else { return Ok(Vec::new()) };
    let first = match from {
        EventPosition::Offset(offset) => offset.clamp(state.first_offset, state.next_offset),
        EventPosition::Enqueued(at) => first_enqueued(db, id, &state, at)?,
    };
    let keys = (event::key(id, first)?, event::key(id, state.next_offset)?);
    let mut statement = db.prepare_cached(event::READ)?;
    let mut rows = statement.query((keys.0, keys.1, at_most(limit)))?;
    let mut events = Vec::new();
    let mut left = max_bytes;
    while let Some(row) = rows.next()? {
        let mut columns = Columns::new(db, row);
        let (key, size_bytes) = (columns.take()?, columns.unsigned()?);
        // The body of one too many is not even looked at.
        match left.checked_sub(size_bytes) {
            None if !events.is_empty() => break,
            rest => left = rest.unwrap_or(0),
        }
        events.push(event::read(&mut columns, partition, key)?);
    }
    Ok(events)
}

/// The offset of the first event that was taken at a moment or later: by halving, because an
/// event is never taken before the one it follows.
fn first_enqueued(db: Db<'_>, id: i64, state: &PartitionState, at: Timestamp) -> Result<u64> {
    let mut statement = db.prepare_cached(event::ENQUEUED)?;
    let (mut from, mut to) = (state.first_offset, state.next_offset);
    while from < to {
        let middle = from + (to - from) / 2;
        let enqueued = statement.query_row([event::key(id, middle)?], |row| row.get(0))?;
        if Timestamp::from_ticks(enqueued) < at {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    Ok(from)
}

/// The partitions of a hub's log.
pub(crate) fn event_partitions(db: Db<'_>, hub: &HubName) -> Result<Vec<PartitionState>> {
    list(db, PARTITIONS, [hub.as_str()], |columns| read_partition(columns).map(|(_, state)| state))
}

/// Messages that wait for a device.
pub(crate) fn waiting_messages(
    db: Db<'_>,
    hub: &HubName,
    id: &DeviceId,
    after: u64,
    limit: usize,
) -> Result<Vec<CloudMessage>> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let key = (hub.as_str(), id.as_str(), after, at_most(limit));
    list(db, message::WAITING, key, message::read)
}

/// Messages whose time was over before.
pub(crate) fn expired_messages(
    db: Db<'_>,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<(HubName, String, CloudMessage)>> {
    list(db, message::EXPIRED, (now.ticks(), at_most(limit)), message::read_expired)
}

/// A hub's feedback.
pub(crate) fn list_feedback(db: Db<'_>, hub: &HubName, limit: usize) -> Result<Vec<Feedback>> {
    list(db, message::LIST_FEEDBACK, (hub.as_str(), at_most(limit)), message::read_feedback)
}

fn find_hub_policy(db: Db<'_>, hub: &HubName, name: &str) -> Result<Option<AccessPolicy>> {
    let scope = PolicyScope::Hub(hub.clone());
    find(db, policy::FIND, [policy::scope(&scope), name], policy::read)
}

fn read_partition(columns: &mut Columns<'_, '_>) -> Result<(i64, PartitionState)> {
    let id = columns.take()?;
    let state = PartitionState {
        partition: columns.take()?,
        first_offset: columns.unsigned()?,
        next_offset: columns.unsigned()?,
        last_enqueued: Some(columns.time()?),
        size_bytes: columns.unsigned()?,
    };
    Ok((id, state))
}
