//! Bytes to messages.

use bytes::Bytes;

use super::super::{
    BadFrame, Limits, Value,
    error::BadValue,
    names,
    read::{Budget, Reader},
};
use super::{Body, Header, Message, MessageId, Properties};

type Read<T> = Result<T, BadFrame>;

/// Reads a message from the payloads of its transfers, put together. Nothing at all is a message
/// too: one without any section.
///
/// Data sections are slices of what is given, and keep it alive; all else is copied out. Content
/// type and content encoding may come as strings, though they are symbols, and the keys of
/// application properties as symbols, though they are strings.
///
/// # Errors
/// [`BadFrame`]: a section is illegal, unknown, or where it does not belong; or a limit is passed.
pub fn decode_message(bytes: Bytes, limits: &Limits) -> Result<Message, BadFrame> {
    let budget = Budget::default();
    let mut reader = Reader::new(&bytes, limits, &budget);
    let mut message = Message::default();
    let mut last = 0;
    while !reader.is_empty() {
        let section = reader.descriptor()?.ok_or(BadFrame::Section)?;
        check_order(last, section)?;
        last = section;
        match section {
            names::HEADER => message.header = Some(header(&mut reader)?),
            names::DELIVERY_ANNOTATIONS => {
                message.delivery_annotations = map(&mut reader, "delivery-annotations")?;
            }
            names::MESSAGE_ANNOTATIONS => {
                message.message_annotations = map(&mut reader, "message-annotations")?;
            }
            names::PROPERTIES => message.properties = Some(Box::new(properties(&mut reader)?)),
            names::APPLICATION_PROPERTIES => {
                message.application_properties = application_properties(&mut reader)
                    .map_err(|bad| bad.within("message", "application-properties"))?;
            }
            names::DATA => {
                let data = reader.data().map_err(|bad| bad.within("message", "data"))?;
                let data = bytes.slice_ref(data);
                match &mut message.body {
                    Body::Data(sections) => sections.push(data),
                    body => *body = Body::Data(vec![data]),
                }
            }
            names::AMQP_SEQUENCE => {
                let list = reader.list().map_err(|bad| bad.within("message", "amqp-sequence"))?;
                match &mut message.body {
                    Body::Sequence(sections) => sections.push(list),
                    body => *body = Body::Sequence(vec![list]),
                }
            }
            names::AMQP_VALUE => {
                let value = reader.value().map_err(|bad| bad.within("message", "amqp-value"))?;
                message.body = Body::Value(value);
            }
            _ => message.footer = map(&mut reader, "footer")?,
        }
    }
    Ok(message)
}

/// Reads a batch: a message each of whose data sections is a message itself (H §4.3.6, message
/// format 0x80013700). What stands beside the data sections is not looked at.
///
/// # Errors
/// [`BadFrame`], also for one message of many, and for more messages than the limits allow.
pub fn decode_batch(bytes: Bytes, limits: &Limits) -> Result<Vec<Message>, BadFrame> {
    let Body::Data(sections) = decode_message(bytes, limits)?.body else {
        return Err(BadFrame::NotABatch);
    };
    if sections.len() > limits.batch {
        return Err(BadFrame::Batch { n_messages: sections.len(), limit: limits.batch });
    }
    let mut messages = Vec::with_capacity(sections.len());
    for section in sections {
        messages.push(decode_message(section, limits)?);
    }
    Ok(messages)
}

/// Sections come in the order of their numbers, each once; those of the body that may come many
/// times are all of one kind.
fn check_order(last: u8, section: u8) -> Read<()> {
    let is_known = (names::HEADER..=names::FOOTER).contains(&section);
    let is_body = |number: u8| (names::DATA..=names::AMQP_VALUE).contains(&number);
    let is_again = section == last && matches!(section, names::DATA | names::AMQP_SEQUENCE);
    let is_other_body = section != last && is_body(section) && is_body(last);
    if is_known && !is_other_body && (section > last || is_again) {
        Ok(())
    } else {
        Err(BadFrame::Section)
    }
}

fn header(reader: &mut Reader<'_>) -> Read<Header> {
    let mut fields = reader.fields("header", 5)?;
    let header = Header {
        durable: fields.optional("durable", Reader::boolean)?.unwrap_or_default(),
        priority: fields.optional("priority", Reader::ubyte)?,
        ttl_ms: fields.optional("ttl", Reader::uint)?,
        first_acquirer: fields.optional("first-acquirer", Reader::boolean)?.unwrap_or_default(),
        delivery_count: fields.optional("delivery-count", Reader::uint)?.unwrap_or_default(),
    };
    fields.end()?;
    Ok(header)
}

fn properties(reader: &mut Reader<'_>) -> Read<Properties> {
    let mut fields = reader.fields("properties", 13)?;
    let properties = Properties {
        message_id: fields.optional("message-id", message_id)?,
        user_id: fields.optional("user-id", Reader::binary)?,
        to: fields.optional("to", Reader::text)?,
        subject: fields.optional("subject", Reader::string)?,
        reply_to: fields.optional("reply-to", Reader::text)?,
        correlation_id: fields.optional("correlation-id", message_id)?,
        content_type: fields.optional("content-type", Reader::text)?,
        content_encoding: fields.optional("content-encoding", Reader::text)?,
        absolute_expiry_ms: fields.optional("absolute-expiry-time", Reader::timestamp)?,
        creation_ms: fields.optional("creation-time", Reader::timestamp)?,
        group_id: fields.optional("group-id", Reader::string)?,
        group_sequence: fields.optional("group-sequence", Reader::uint)?,
        reply_to_group_id: fields.optional("reply-to-group-id", Reader::string)?,
    };
    fields.end()?;
    Ok(properties)
}

fn message_id(reader: &mut Reader<'_>) -> Read<MessageId> {
    let constructor = reader.rest().first().copied().unwrap_or_default();
    Ok(match reader.value()? {
        Value::Ulong(number) => MessageId::Ulong(number),
        Value::Uuid(bytes) => MessageId::Uuid(bytes),
        Value::Binary(bytes) => MessageId::Binary(bytes),
        Value::String(text) => MessageId::String(text),
        _ => return Err(BadValue::WrongType(constructor).into()),
    })
}

fn application_properties(reader: &mut Reader<'_>) -> Read<Vec<(String, Value)>> {
    reader
        .map()?
        .into_iter()
        .map(|(name, value)| match name {
            Value::String(name) | Value::Symbol(name) => Ok((name, value)),
            _ => Err(BadValue::Name.into()),
        })
        .collect()
}

fn map(reader: &mut Reader<'_>, section: &'static str) -> Read<super::Pairs> {
    reader.map().map_err(|bad| bad.within("message", section))
}
