//! Cloud-to-device messages: into the queue, out of it, and what their sender hears (H §4.2.8,
//! §5.8, §10).

use model::{
    Change, ChangeSet, CloudMessage, DeviceId, DeviceIdentity, Expect, Feedback, FeedbackWish,
    Fresh, HubName, HubRefusal, MessageEnd, MessageProperties, Timestamp, pairs_bytes,
};

/// The longest ID of a message, in characters (H §5.8 names none; the vendor's pages say 128).
const MAX_ID_CHARS: usize = 128;

/// The longest address, in characters: that of a device whose ID is as long as can be, with every
/// character percent-encoded, has 414.
const MAX_TO_CHARS: usize = 512;

/// How many properties of its own a message may have.
const MAX_PROPERTIES: usize = 100;

/// What a message's properties may have together, in bytes: with every byte percent-encoded they
/// still fit in an MQTT topic, which ends at 65,535. A message beyond that could never be sent,
/// and would hold up its queue. No source names a limit.
const MAX_PROPERTIES_BYTES: usize = 16 * 1024;

/// What a hub takes and how long it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLimits {
    /// How many messages wait for one device.
    pub max_queue: u32,
    /// The largest message, body and properties together, in bytes.
    pub max_bytes: usize,
    /// How long a message lives that says nothing about it, in seconds.
    pub default_ttl_secs: i64,
    /// How long one may live, in seconds.
    pub max_ttl_secs: i64,
    /// How often one is sent before it is given up.
    pub max_deliveries: u32,
}

impl Default for MessageLimits {
    /// The vendor's figures (H §10).
    fn default() -> Self {
        Self {
            max_queue: 50,
            max_bytes: 64 * 1024,
            default_ttl_secs: 3_600,
            max_ttl_secs: 2 * 86_400,
            max_deliveries: 10,
        }
    }
}

/// A message as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessageDraft {
    /// What the message says about itself.
    pub properties: MessageProperties,
    /// The sender's own properties, in order.
    pub application: Vec<(String, Option<String>)>,
    /// The body.
    pub body: Vec<u8>,
    /// What the sender wants to hear.
    pub feedback: FeedbackWish,
    /// When it is to be given up; `None` for the default.
    pub expires: Option<Timestamp>,
}

/// What happens to a message whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It is sent; its count is one more.
    Deliver(Box<CloudMessage>),
    /// It is over.
    End(MessageEnd),
}

/// Puts a message into a device's queue. A disabled device's messages wait as well: it may be
/// enabled before their time is over.
///
/// # Errors
/// [`HubRefusal::DeviceNotFound`]; [`HubRefusal::MessageTooLarge`];
/// [`HubRefusal::ArgumentInvalid`] for a time that is past or too far, for a name that is empty
/// or too long, and for more properties than a device could be sent.
pub fn enqueue(
    hub: &HubName,
    identity: Option<&DeviceIdentity>,
    id: &DeviceId,
    draft: MessageDraft,
    limits: &MessageLimits,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<(CloudMessage, ChangeSet), HubRefusal> {
    let identity = identity.ok_or_else(|| HubRefusal::DeviceNotFound(id.to_string()))?;
    let MessageDraft { mut properties, application, body, feedback, expires } = draft;
    check_names(&properties, &application)?;
    let expires = expires.unwrap_or_else(|| now.plus_secs(limits.default_ttl_secs));
    if expires <= now {
        return Err(invalid("the message's expiry is in the past"));
    }
    if expires > now.plus_secs(limits.max_ttl_secs) {
        let secs = limits.max_ttl_secs;
        return Err(invalid(format!("a message lives at most {secs} seconds")));
    }
    properties.message_id.get_or_insert_with(|| model::guid(fresh.operation));
    let message = CloudMessage {
        device_id: identity.device_id.clone(),
        number: 0,
        enqueued: now,
        expires,
        delivery_count: 0,
        feedback,
        properties,
        application,
        body,
        version: 0,
    };
    let size = size_bytes(&message);
    if size > limits.max_bytes {
        let limit = limits.max_bytes;
        return Err(HubRefusal::MessageTooLarge(format!(
            "a message has at most {limit} bytes with its properties, this one has {size}"
        )));
    }
    let device_id = message.device_id.clone();
    let changes = ChangeSet::new()
        .expecting(Expect::QueueRoom(hub.clone(), device_id, limits.max_queue))
        .with(Change::EnqueueMessage(hub.clone(), Box::new(message.clone())));
    Ok((message, changes))
}

/// Whether a device's queue takes no more.
#[must_use]
pub fn queue_full(identity: &DeviceIdentity, limits: &MessageLimits) -> Option<HubRefusal> {
    (identity.cloud_to_device_messages >= limits.max_queue).then(|| HubRefusal::QueueFull {
        device: identity.device_id.to_string(),
        limit: limits.max_queue,
    })
}

/// What happens to a message whose turn it is: its time first, then how often it was sent.
#[must_use]
pub fn next(message: CloudMessage, limits: &MessageLimits, now: Timestamp) -> Next {
    if message.expires <= now {
        return Next::End(MessageEnd::Expired);
    }
    if message.delivery_count >= limits.max_deliveries {
        return Next::End(MessageEnd::DeliveryCountExceeded);
    }
    let delivery_count = message.delivery_count.saturating_add(1);
    Next::Deliver(Box::new(CloudMessage { delivery_count, ..message }))
}

/// Writes that a message is being sent, with its count as it is in `message`.
#[must_use]
pub fn deliver_changes(hub: &HubName, message: &CloudMessage) -> ChangeSet {
    ChangeSet::new()
        .expecting(unchanged(hub, message))
        .with(Change::PutMessage(hub.clone(), Box::new(message.clone())))
}

/// Takes a message out of its queue, with feedback for a sender who wants it.
#[must_use]
pub fn end_changes(
    hub: &HubName,
    message: &CloudMessage,
    generation_id: &str,
    end: MessageEnd,
    now: Timestamp,
) -> ChangeSet {
    ended(ChangeSet::new(), hub, message, generation_id, end, now)
}

/// Takes these messages out of their queue: an operator empties it.
#[must_use]
pub fn purge_changes(
    hub: &HubName,
    messages: &[CloudMessage],
    generation_id: &str,
    now: Timestamp,
) -> ChangeSet {
    messages.iter().fold(ChangeSet::new(), |set, message| {
        ended(set, hub, message, generation_id, MessageEnd::Purged, now)
    })
}

fn ended(
    set: ChangeSet,
    hub: &HubName,
    message: &CloudMessage,
    generation_id: &str,
    end: MessageEnd,
    now: Timestamp,
) -> ChangeSet {
    let set = set.expecting(unchanged(hub, message)).with(Change::DeleteMessage(
        hub.clone(),
        message.device_id.clone(),
        message.number,
    ));
    if !message.feedback.wants(end) {
        return set;
    }
    let feedback = Feedback {
        number: 0,
        message_id: message.properties.message_id.clone().unwrap_or_default(),
        end,
        at: now,
        device_id: message.device_id.clone(),
        generation_id: generation_id.to_owned(),
    };
    set.with(Change::AppendFeedback(hub.clone(), Box::new(feedback)))
}

fn unchanged(hub: &HubName, message: &CloudMessage) -> Expect {
    Expect::Message(hub.clone(), message.device_id.clone(), message.number, message.version)
}

/// What a message counts for: its texts and its body.
fn size_bytes(message: &CloudMessage) -> usize {
    properties_bytes(&message.properties, &message.application) + message.body.len()
}

fn properties_bytes(
    properties: &MessageProperties,
    application: &[(String, Option<String>)],
) -> usize {
    properties.size_bytes() + pairs_bytes(application)
}

fn check_names(
    properties: &MessageProperties,
    application: &[(String, Option<String>)],
) -> Result<(), HubRefusal> {
    for (name, text) in properties.named() {
        let most = if name == "to" { MAX_TO_CHARS } else { MAX_ID_CHARS };
        if text.is_empty() || text.chars().count() > most {
            return Err(invalid(format!("{name} has 1 to {most} characters")));
        }
        if text.chars().any(char::is_control) {
            return Err(invalid(format!("{name} has a control character")));
        }
    }
    let n_properties = application.len() + properties.other.len();
    if n_properties > MAX_PROPERTIES {
        return Err(invalid(format!(
            "a message has at most {MAX_PROPERTIES} properties, this one has {n_properties}"
        )));
    }
    if application.iter().any(|(name, _)| name.is_empty() || name.starts_with("$.")) {
        return Err(invalid("a property's name is not empty and does not begin with `$.`"));
    }
    let n_bytes = properties_bytes(properties, application);
    if n_bytes > MAX_PROPERTIES_BYTES {
        return Err(invalid(format!(
            "a message's properties have at most {MAX_PROPERTIES_BYTES} bytes, these have {n_bytes}"
        )));
    }
    Ok(())
}

fn invalid(text: impl Into<String>) -> HubRefusal {
    HubRefusal::ArgumentInvalid(text.into())
}

#[cfg(test)]
mod tests;
