//! Events: what devices tell a hub (H §4.2.6, §5.5), and where they stand in its log.

use crate::{DeviceId, Timestamp};

/// What a message says about itself, beside its body and its sender's own properties
/// (H §4.2.6). Every text is kept as it came; none is interpreted here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessageProperties {
    /// `$.mid`
    pub message_id: Option<String>,
    /// `$.cid`
    pub correlation_id: Option<String>,
    /// `$.uid`
    pub user_id: Option<String>,
    /// `$.to`
    pub to: Option<String>,
    /// `$.ct`
    pub content_type: Option<String>,
    /// `$.ce`
    pub content_encoding: Option<String>,
    /// `$.exp`
    pub expiry: Option<String>,
    /// `$.ctime`
    pub creation_time: Option<String>,
    /// `$.on`
    pub output_name: Option<String>,
    /// `$.ifid`
    pub interface_id: Option<String>,
    /// `$.sub`, a component's name (Plug and Play).
    pub component: Option<String>,
    /// Other keys that begin with `$.`, in order: tracing and edge connections.
    pub other: Vec<(String, Option<String>)>,
}

impl MessageProperties {
    /// Those that have a name of their own and are there, by the names operators know them by.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        // Taken apart, so that a new property is not forgotten.
        let Self {
            message_id,
            correlation_id,
            user_id,
            to,
            content_type,
            content_encoding,
            expiry,
            creation_time,
            output_name,
            interface_id,
            component,
            other: _,
        } = self;
        [
            ("messageId", message_id),
            ("correlationId", correlation_id),
            ("userId", user_id),
            ("to", to),
            ("contentType", content_type),
            ("contentEncoding", content_encoding),
            ("expiryTimeUtc", expiry),
            ("creationTimeUtc", creation_time),
            ("outputName", output_name),
            ("interfaceId", interface_id),
            ("component", component),
        ]
        .into_iter()
        .filter_map(|(name, text)| text.as_deref().map(|text| (name, text)))
    }

    /// The bytes of all their texts.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.named().map(|(_, text)| text.len()).sum::<usize>() + pairs_bytes(&self.other)
    }
}

/// The bytes of a message's own properties.
#[must_use]
pub fn pairs_bytes(pairs: &[(String, Option<String>)]) -> usize {
    pairs.iter().map(|(k, v)| k.len() + v.as_ref().map_or(0, String::len)).sum()
}

/// Where an event comes from: `iothub-message-source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventSource {
    /// A device sent it: `Telemetry`.
    Telemetry,
}

/// How the sender was logged in: the `type` of `iothub-connection-auth-method` (H §5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthMethod {
    /// With a token of its own key.
    DeviceKey,
    /// With a token of one of the hub's policies.
    HubPolicy,
    /// With a certificate whose thumbprint is in its identity.
    Thumbprint,
    /// With a certificate of an enrolled CA.
    CertificateAuthority,
}

/// One event, as it is appended to a hub's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Who sent it.
    pub device_id: DeviceId,
    /// The sender's generation.
    pub generation_id: String,
    /// How the sender was logged in.
    pub auth_method: AuthMethod,
    /// Where it comes from.
    pub source: EventSource,
    /// When the hub took it. Within a partition the log never goes back in time: the store takes
    /// the last event's moment where this one is earlier.
    pub enqueued: Timestamp,
    /// What the message says about itself.
    pub properties: MessageProperties,
    /// The sender's own properties, in the order sent; a key without `=` has no value.
    pub application: Vec<(String, Option<String>)>,
    /// The body, of any bytes.
    pub body: Vec<u8>,
}

impl Event {
    /// What the event counts for in the log's size, in bytes: body, properties, and 256 for what
    /// surrounds them.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let bytes =
            256 + self.body.len() + self.properties.size_bytes() + pairs_bytes(&self.application);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// An event in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its partition, from 0.
    pub partition: u16,
    /// Its place in the partition: grows by one with each event, from 0, and never goes back, even
    /// when all events were trimmed. It is the sequence number as well.
    pub offset: u64,
    /// The event.
    pub event: Event,
}

/// Where to begin reading a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventPosition {
    /// The first event of this offset or a later one.
    Offset(u64),
    /// The first event taken at this moment or later.
    Enqueued(Timestamp),
}

/// A partition of a hub's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionState {
    /// Its number, from 0.
    pub partition: u16,
    /// The offset of the oldest event still there; equal to `next_offset` when there is none.
    pub first_offset: u64,
    /// The offset the next event will have.
    pub next_offset: u64,
    /// When the last event was taken, trimmed or not; `None` when there never was one.
    pub last_enqueued: Option<Timestamp>,
    /// What its events count for, see [`Event::size_bytes`].
    pub size_bytes: u64,
}
