//! Events: what a hub takes from its devices, into which partition it puts them, and how long it
//! keeps them (H §4.2.6, §5.5).

use model::{
    AuthMethod, Change, ChangeSet, DeviceId, Event, EventSource, HubName, HubRefusal,
    MessageProperties, PartitionState, Timestamp, pairs_bytes,
};

/// The largest event, body and properties together, in bytes (H §4.2.6).
pub const MAX_EVENT_BYTES: u64 = 256 * 1024;

/// What a device sends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventDraft {
    /// What the message says about itself.
    pub properties: MessageProperties,
    /// The sender's own properties, in order.
    pub application: Vec<(String, Option<String>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// How much of its events a hub keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// For how long, in seconds.
    pub max_age_secs: i64,
    /// How much each partition may count for, see [`Event::size_bytes`].
    pub max_partition_bytes: u64,
    /// How many events of each partition go in one change set.
    pub batch: u64,
}

impl Default for Retention {
    /// A day, the least the vendor keeps (H §10), and 256 MiB a partition.
    fn default() -> Self {
        Self { max_age_secs: 86_400, max_partition_bytes: 256 * 1024 * 1024, batch: 1_000 }
    }
}

/// The partition a device's events go to, those of its modules with them: always the same one, so
/// that they keep their order.
///
/// FNV-1a of 64 bits over the ID's bytes, modulo the number of partitions. Never change it: the
/// events of one device would stand in two partitions.
#[must_use]
pub fn partition(device_id: &DeviceId, n_partitions: u16) -> u16 {
    let hash = device_id.device().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The rest of a division by a u16 is one.
    u16::try_from(hash % u64::from(n_partitions.max(1))).unwrap_or_default()
}

/// The event that this device sends.
///
/// # Errors
/// [`HubRefusal::MessageTooLarge`] beyond [`MAX_EVENT_BYTES`].
pub fn sent(
    generation_id: &str,
    device_id: &DeviceId,
    auth_method: AuthMethod,
    draft: EventDraft,
    now: Timestamp,
) -> Result<Event, HubRefusal> {
    check_size(&draft)?;
    Ok(Event {
        device_id: device_id.clone(),
        generation_id: generation_id.to_owned(),
        auth_method,
        source: EventSource::Telemetry,
        enqueued: now,
        properties: draft.properties,
        application: draft.application,
        body: draft.body,
    })
}

/// Whether an event is no larger than one may be. [`sent`] asks too; who takes several at once
/// asks before it takes the first.
///
/// # Errors
/// [`HubRefusal::MessageTooLarge`] beyond [`MAX_EVENT_BYTES`].
pub fn check_size(draft: &EventDraft) -> Result<(), HubRefusal> {
    let EventDraft { properties, application, body } = draft;
    let size = properties.size_bytes() + pairs_bytes(application) + body.len();
    if u64::try_from(size).is_ok_and(|size| size <= MAX_EVENT_BYTES) {
        return Ok(());
    }
    Err(HubRefusal::MessageTooLarge(format!(
        "an event has at most {MAX_EVENT_BYTES} bytes with its properties, this one has {size}"
    )))
}

/// The event that a lost connection's will becomes (H §4.2.5). Its mark replaces a property of
/// that name which the device sent itself.
#[must_use]
pub fn will(draft: EventDraft) -> EventDraft {
    with(draft, "iothub-MessageType", "Will")
}

/// The event that a retained message becomes (H §4.2.5). Its mark replaces a property of that
/// name which the device sent itself.
#[must_use]
pub fn retained(draft: EventDraft) -> EventDraft {
    with(draft, "mqtt-retain", "true")
}

fn with(mut draft: EventDraft, name: &str, value: &str) -> EventDraft {
    draft.application.retain(|(sent, _)| sent != name);
    draft.application.push((name.to_owned(), Some(value.to_owned())));
    draft
}

/// One step of keeping a hub's log within its bounds; `None` when it is empty. Whether a step
/// deleted anything shows in the partitions' first offsets after it.
#[must_use]
pub fn trim(
    hub: &HubName,
    partitions: &[PartitionState],
    retention: &Retention,
    now: Timestamp,
) -> Option<ChangeSet> {
    let is_empty = |state: &PartitionState| state.first_offset >= state.next_offset;
    if partitions.iter().all(is_empty) {
        return None;
    }
    Some(ChangeSet::new().with(Change::TrimEvents {
        hub: hub.clone(),
        // A negative age would trim what is yet to come.
        before: now.plus_secs(retention.max_age_secs.max(0).saturating_neg()),
        max_partition_bytes: retention.max_partition_bytes,
        // Steps of no events would let the log grow for ever.
        at_most: retention.batch.max(1),
    }))
}

#[cfg(test)]
mod tests;
