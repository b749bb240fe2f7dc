//! Cloud-to-device messages and the feedback on them (H §4.2.8, §5.8).

use crate::{DeviceId, MessageProperties, Timestamp, Version};

/// What the sender wants to hear of a message's end: `iothub-ack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FeedbackWish {
    /// `none`: nothing.
    #[default]
    None,
    /// `positive`: when the device took it.
    Positive,
    /// `negative`: when it did not.
    Negative,
    /// `full`: in either case.
    Full,
}

impl FeedbackWish {
    /// Whether this end is to be told.
    #[must_use]
    pub const fn wants(self, end: MessageEnd) -> bool {
        match self {
            Self::None => false,
            Self::Positive => matches!(end, MessageEnd::Success),
            Self::Negative => !matches!(end, MessageEnd::Success),
            Self::Full => true,
        }
    }
}

/// How a message ended: `statusCode` of its feedback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageEnd {
    /// `Success`: the device acknowledged it.
    Success,
    /// `Expired`: its time was over before.
    Expired,
    /// `DeliveryCountExceeded`: it was sent as often as allowed and never acknowledged.
    DeliveryCountExceeded,
    /// `Rejected`: the device refused it. Not possible over MQTT.
    Rejected,
    /// `Purged`: an operator emptied the queue.
    Purged,
}

/// A message that waits for its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudMessage {
    /// For whom.
    pub device_id: DeviceId,
    /// The store's number: grows by one with each message of the hub. 0 before it is enqueued.
    pub number: u64,
    /// When it was enqueued.
    pub enqueued: Timestamp,
    /// After this it is not delivered any more.
    pub expires: Timestamp,
    /// How often it was sent to the device.
    pub delivery_count: u32,
    /// What the sender wants to hear.
    pub feedback: FeedbackWish,
    /// What the message says about itself.
    pub properties: MessageProperties,
    /// The sender's own properties, in order.
    pub application: Vec<(String, Option<String>)>,
    /// The body.
    pub body: Vec<u8>,
    /// The store's version of the row; 0 for one that was never stored.
    pub version: Version,
}

/// What became of a message whose sender wanted to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// The store's number: grows by one with each feedback of the hub. 0 before it is stored.
    pub number: u64,
    /// The message's ID; empty if it had none.
    pub message_id: String,
    /// How it ended.
    pub end: MessageEnd,
    /// When.
    pub at: Timestamp,
    /// For whom it was.
    pub device_id: DeviceId,
    /// The generation of that device.
    pub generation_id: String,
}
