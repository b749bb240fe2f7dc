//! Packets to bytes.

use bytes::{BufMut, BytesMut};
use thiserror::Error;

use super::{
    ConnAck, Connect, Delivery, Grant, Kind, Packet, PacketId, Publish, Qos, head::MAX_BODY_BYTES,
    text::MAX_FIELD_BYTES,
};

/// Why a packet cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unencodable {
    /// Its body has more than 268,435,455 bytes.
    #[error("{kind} with a body of {body_bytes} bytes, 268435455 are possible")]
    TooLong {
        /// The type.
        kind: Kind,
        /// The size of its body, in bytes.
        body_bytes: usize,
    },
    /// A will's payload has more than 65,535 bytes.
    #[error("a will of {0} bytes, 65535 are possible")]
    WillTooLong(usize),
    /// It must name at least one filter or grant and names none.
    #[error("{0} with an empty list")]
    Empty(Kind),
}

/// Appends a packet to a buffer.
///
/// # Errors
/// [`Unencodable`]; the buffer is as it was then.
pub fn encode(packet: &Packet, buffer: &mut BytesMut) -> Result<(), Unencodable> {
    let kind = packet.kind();
    let body_bytes = body_bytes(packet)?;
    if body_bytes > MAX_BODY_BYTES {
        return Err(Unencodable::TooLong { kind, body_bytes });
    }
    let flags = match packet {
        Packet::Publish(publish) => publish_flags(publish),
        _ => kind.fixed_flags(),
    };
    buffer.reserve(5 + body_bytes);
    buffer.put_u8((kind as u8) << 4 | flags);
    put_length(buffer, body_bytes);
    put_body(buffer, packet);
    Ok(())
}

/// The size of what follows the fixed header. It must agree with [`put_body`]; the round trip of
/// the tests would not end otherwise.
fn body_bytes(packet: &Packet) -> Result<usize, Unencodable> {
    let filled = |n: usize| if n == 0 { Err(Unencodable::Empty(packet.kind())) } else { Ok(()) };
    Ok(match packet {
        Packet::Connect(connect) => connect_bytes(connect)?,
        Packet::Publish(publish) => {
            let id_bytes = if publish.delivery.id().is_some() { 2 } else { 0 };
            2 + publish.topic.len() + id_bytes + publish.payload.len()
        }
        Packet::Subscribe(subscribe) => {
            filled(subscribe.filters.len())?;
            2 + subscribe.filters.iter().map(|(filter, _)| 2 + filter.len() + 1).sum::<usize>()
        }
        Packet::SubAck(ack) => {
            filled(ack.grants.len())?;
            2 + ack.grants.len()
        }
        Packet::Unsubscribe(unsubscribe) => {
            filled(unsubscribe.filters.len())?;
            2 + unsubscribe.filters.iter().map(|filter| 2 + filter.len()).sum::<usize>()
        }
        Packet::ConnAck(_)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::UnsubAck(_) => 2,
        Packet::PingReq | Packet::PingResp | Packet::Disconnect => 0,
    })
}

fn connect_bytes(connect: &Connect) -> Result<usize, Unencodable> {
    let fixed_bytes = 2 + 4 + 1 + 1 + 2;
    let will_bytes = match &connect.will {
        None => 0,
        Some(will) if will.payload.len() > MAX_FIELD_BYTES => {
            return Err(Unencodable::WillTooLong(will.payload.len()));
        }
        Some(will) => 2 + will.topic.len() + 2 + will.payload.len(),
    };
    let login_bytes = connect.login.as_ref().map_or(0, |login| {
        let password = login.password.as_ref().map_or(0, |word| 2 + word.as_bytes().len());
        2 + login.user_name.len() + password
    });
    Ok(fixed_bytes + 2 + connect.client_id.len() + will_bytes + login_bytes)
}

fn publish_flags(publish: &Publish) -> u8 {
    let delivery = publish.delivery;
    u8::from(delivery.dup()) << 3 | (delivery.qos() as u8) << 1 | u8::from(publish.retain)
}

fn put_length(buffer: &mut BytesMut, mut length: usize) {
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            buffer.put_u8(low);
            return;
        }
        buffer.put_u8(low | 0x80);
    }
}

fn put_body(buffer: &mut BytesMut, packet: &Packet) {
    match packet {
        Packet::Connect(connect) => put_connect(buffer, connect),
        Packet::ConnAck(ConnAck::Accepted { session_present }) => {
            buffer.put_slice(&[u8::from(*session_present), 0]);
        }
        Packet::ConnAck(ConnAck::Refused(refusal)) => buffer.put_slice(&[0, *refusal as u8]),
        Packet::Publish(publish) => {
            put_field(buffer, publish.topic.as_bytes());
            if let Delivery::AtLeastOnce { id, .. } | Delivery::ExactlyOnce { id, .. } =
                publish.delivery
            {
                buffer.put_u16(id.get());
            }
            buffer.put_slice(&publish.payload);
        }
        Packet::PubAck(id)
        | Packet::PubRec(id)
        | Packet::PubRel(id)
        | Packet::PubComp(id)
        | Packet::UnsubAck(id) => put_id(buffer, *id),
        Packet::Subscribe(subscribe) => {
            buffer.put_u16(subscribe.id.get());
            for (filter, qos) in &subscribe.filters {
                put_field(buffer, filter.as_bytes());
                buffer.put_u8(*qos as u8);
            }
        }
        Packet::SubAck(ack) => {
            put_id(buffer, ack.id);
            for grant in &ack.grants {
                buffer.put_u8(match grant {
                    Grant::Granted(qos) => *qos as u8,
                    Grant::Refused => 0x80,
                });
            }
        }
        Packet::Unsubscribe(unsubscribe) => {
            buffer.put_u16(unsubscribe.id.get());
            for filter in &unsubscribe.filters {
                put_field(buffer, filter.as_bytes());
            }
        }
        Packet::PingReq | Packet::PingResp | Packet::Disconnect => {}
    }
}

fn put_connect(buffer: &mut BytesMut, connect: &Connect) {
    put_field(buffer, b"MQTT");
    buffer.put_u8(4);
    let password = connect.login.as_ref().and_then(|login| login.password.as_ref());
    let will_qos = connect.will.as_ref().map_or(Qos::AtMostOnce, |will| will.qos);
    let flag = |is_set: bool, bit: u8| u8::from(is_set) << bit;
    buffer.put_u8(
        flag(connect.clean_session, 1)
            | flag(connect.will.is_some(), 2)
            | (will_qos as u8) << 3
            | flag(connect.will.as_ref().is_some_and(|will| will.retain), 5)
            | flag(password.is_some(), 6)
            | flag(connect.login.is_some(), 7),
    );
    buffer.put_u16(connect.keep_alive_secs);
    put_field(buffer, connect.client_id.as_bytes());
    if let Some(will) = &connect.will {
        put_field(buffer, will.topic.as_bytes());
        put_field(buffer, &will.payload);
    }
    if let Some(login) = &connect.login {
        put_field(buffer, login.user_name.as_bytes());
    }
    if let Some(password) = password {
        put_field(buffer, password.as_bytes());
    }
}

/// Bytes after their length, at most 65,535 by the types they come from.
fn put_field(buffer: &mut BytesMut, bytes: &[u8]) {
    buffer.put_u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
    buffer.put_slice(bytes);
}

fn put_id(buffer: &mut BytesMut, id: Option<PacketId>) {
    buffer.put_u16(id.map_or(0, PacketId::get));
}
