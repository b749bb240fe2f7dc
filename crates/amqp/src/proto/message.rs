//! Messages: the sections of part 3, §3.2.

use std::fmt;

use bytes::Bytes;

use super::{Pairs, Value};

mod read;
mod write;

pub use read::{decode_batch, decode_message};
pub use write::encode_message;

/// A message, section by section. Absent sections are empty. What it carries is not printed: a
/// body or an application property may hold a token (H §4.3.3, §5.3).
#[derive(Clone, PartialEq, Default)]
pub struct Message {
    /// `header`
    pub header: Option<Header>,
    /// `delivery-annotations`
    pub delivery_annotations: Pairs,
    /// `message-annotations`
    pub message_annotations: Pairs,
    /// `properties`
    pub properties: Option<Box<Properties>>,
    /// `application-properties`
    pub application_properties: Vec<(String, Value)>,
    /// The body.
    pub body: Body,
    /// `footer`
    pub footer: Pairs,
}

/// The body of a message. Its bytes and values are not printed.
#[derive(Clone, PartialEq, Default)]
pub enum Body {
    /// None at all: one client polls with that (D §3.5).
    #[default]
    None,
    /// `data` sections, in order.
    Data(Vec<Bytes>),
    /// `amqp-sequence` sections.
    Sequence(Vec<Vec<Value>>),
    /// An `amqp-value` section.
    Value(Value),
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.application_properties.iter().map(|(name, _)| name).collect();
        f.debug_struct("Message")
            .field("header", &self.header)
            .field("message_annotations", &self.message_annotations)
            .field("properties", &self.properties)
            .field("application_properties", &names)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Data(sections) => {
                let size_bytes: usize = sections.iter().map(Bytes::len).sum();
                write!(f, "Data({} sections, {size_bytes} bytes)", sections.len())
            }
            Self::Sequence(sections) => write!(f, "Sequence({} sections)", sections.len()),
            Self::Value(_) => f.write_str("Value"),
        }
    }
}

/// `header` (§3.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// `durable`
    pub durable: bool,
    /// `priority`; 4 when absent.
    pub priority: Option<u8>,
    /// `ttl`, milliseconds.
    pub ttl_ms: Option<u32>,
    /// `first-acquirer`
    pub first_acquirer: bool,
    /// `delivery-count`
    pub delivery_count: u32,
}

/// `properties` (§3.2.4). Written with all 13 fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Properties {
    /// `message-id`
    pub message_id: Option<MessageId>,
    /// `user-id`
    pub user_id: Option<Bytes>,
    /// `to`
    pub to: Option<String>,
    /// `subject`
    pub subject: Option<String>,
    /// `reply-to`
    pub reply_to: Option<String>,
    /// `correlation-id`
    pub correlation_id: Option<MessageId>,
    /// `content-type`
    pub content_type: Option<String>,
    /// `content-encoding`
    pub content_encoding: Option<String>,
    /// `absolute-expiry-time`, milliseconds since 1970.
    pub absolute_expiry_ms: Option<i64>,
    /// `creation-time`, milliseconds since 1970.
    pub creation_ms: Option<i64>,
    /// `group-id`
    pub group_id: Option<String>,
    /// `group-sequence`
    pub group_sequence: Option<u32>,
    /// `reply-to-group-id`
    pub reply_to_group_id: Option<String>,
}

/// A message's name. Answers carry it with the type it came with (D §8, 39; H §4.3.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MessageId {
    /// `ulong`
    Ulong(u64),
    /// `uuid`
    Uuid([u8; 16]),
    /// `binary`
    Binary(Bytes),
    /// `string`
    String(String),
}
