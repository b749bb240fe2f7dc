//! Messages to bytes, lists with all their fields (H §5.4).

use bytes::{Bytes, BytesMut};

use super::super::{
    Pairs, Value, names,
    write::{
        Writer, put_binary, put_descriptor, put_elements, put_list, put_map, put_map_of, put_value,
    },
};
use super::{Body, Header, Message, MessageId, Properties};

/// Writes a message: each section that there is, and no maps of nothing.
#[must_use]
pub fn encode_message(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    if let Some(header) = &message.header {
        put_list(&mut out, names::HEADER, |fields| write_header(header, fields));
    }
    write_map(names::DELIVERY_ANNOTATIONS, &message.delivery_annotations, &mut out);
    write_map(names::MESSAGE_ANNOTATIONS, &message.message_annotations, &mut out);
    if let Some(properties) = &message.properties {
        put_list(&mut out, names::PROPERTIES, |fields| write_properties(properties, fields));
    }
    write_application_properties(&message.application_properties, &mut out);
    match &message.body {
        Body::None => {}
        Body::Data(sections) => {
            for data in sections {
                put_descriptor(&mut out, names::DATA);
                put_binary(&mut out, data);
            }
        }
        Body::Sequence(sections) => {
            for values in sections {
                put_descriptor(&mut out, names::AMQP_SEQUENCE);
                put_elements(&mut out, values);
            }
        }
        Body::Value(value) => {
            put_descriptor(&mut out, names::AMQP_VALUE);
            put_value(&mut out, value);
        }
    }
    write_map(names::FOOTER, &message.footer, &mut out);
    out.freeze()
}

fn write_map(section: u8, pairs: &Pairs, out: &mut BytesMut) {
    if !pairs.is_empty() {
        put_descriptor(out, section);
        put_map(out, pairs);
    }
}

fn write_application_properties(properties: &[(String, Value)], out: &mut BytesMut) {
    if properties.is_empty() {
        return;
    }
    put_descriptor(out, names::APPLICATION_PROPERTIES);
    put_map_of(out, |writer| {
        for (name, value) in properties {
            writer.string(name);
            writer.value(value);
        }
    });
}

fn write_header(header: &Header, fields: &mut Writer<'_>) {
    fields.boolean(header.durable);
    fields.optional(header.priority, Writer::ubyte);
    fields.optional(header.ttl_ms, Writer::uint);
    fields.boolean(header.first_acquirer);
    fields.uint(header.delivery_count);
}

fn write_properties(properties: &Properties, fields: &mut Writer<'_>) {
    fields.optional(properties.message_id.as_ref(), write_id);
    fields.optional(properties.user_id.as_deref(), Writer::binary);
    fields.optional(properties.to.as_deref(), Writer::string);
    fields.optional(properties.subject.as_deref(), Writer::string);
    fields.optional(properties.reply_to.as_deref(), Writer::string);
    fields.optional(properties.correlation_id.as_ref(), write_id);
    fields.optional(properties.content_type.as_deref(), Writer::symbol);
    fields.optional(properties.content_encoding.as_deref(), Writer::symbol);
    fields.optional(properties.absolute_expiry_ms, Writer::timestamp);
    fields.optional(properties.creation_ms, Writer::timestamp);
    fields.optional(properties.group_id.as_deref(), Writer::string);
    fields.optional(properties.group_sequence, Writer::uint);
    fields.optional(properties.reply_to_group_id.as_deref(), Writer::string);
}

fn write_id(fields: &mut Writer<'_>, id: &MessageId) {
    match id {
        MessageId::Ulong(number) => fields.ulong(*number),
        MessageId::Uuid(bytes) => fields.value(&Value::Uuid(*bytes)),
        MessageId::Binary(bytes) => fields.binary(bytes),
        MessageId::String(text) => fields.string(text),
    }
}
