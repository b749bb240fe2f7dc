//! Bytes to packets.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    BadPacket, ConnAck, Connect, ConnectRefusal, Delivery, Filter, Grant, Head, Kind, Login,
    Packet, PacketId, Password, Publish, Qos, SubAck, Subscribe, Text, Topic, Unsubscribe, Will,
};

/// How much a reader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest packet, with its fixed header, in bytes.
    pub packet_bytes: usize,
    /// The most filters of a SUBSCRIBE or UNSUBSCRIBE, or grants of a SUBACK. There are four that
    /// a hub allows.
    pub entries: usize,
}

impl Limits {
    /// For a connection that has not logged in: 16 KiB hold a CONNECT with the longest user name,
    /// a token, and a will of modest size.
    pub const LOGIN: Self = Self { packet_bytes: 16 * 1024, entries: 32 };

    /// For a session: a message of 256 KiB with its properties (H §4.2.6), and 4 KiB for what is
    /// not counted there.
    pub const SESSION: Self = Self { packet_bytes: (256 + 4) * 1024, entries: 32 };
}

/// What stood at the beginning of a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A packet; its bytes are gone from the buffer.
    Packet(Packet),
    /// The beginning of one; the buffer is as it was.
    Incomplete {
        /// How many bytes more are needed at least; never 0.
        missing_bytes: usize,
    },
}

/// Takes one packet off the beginning of a buffer.
///
/// Texts and payloads are slices of the buffer's memory, which lives as long as they do.
///
/// # Errors
/// [`BadPacket`], as early as it can be known. Nothing sensible can follow it: the connection is to
/// be closed.
pub fn decode(buffer: &mut BytesMut, limits: &Limits) -> Result<Decoded, BadPacket> {
    let Some(head) = Head::read(buffer)? else {
        // Each byte so far said that another length byte follows.
        return Ok(Decoded::Incomplete { missing_bytes: if buffer.is_empty() { 2 } else { 1 } });
    };
    let size_bytes = head.packet_bytes();
    if size_bytes > limits.packet_bytes {
        let limit_bytes = limits.packet_bytes;
        return Err(BadPacket::TooLong { kind: head.kind, size_bytes, limit_bytes });
    }
    if buffer.len() < size_bytes {
        return Ok(Decoded::Incomplete { missing_bytes: size_bytes - buffer.len() });
    }
    let mut body = buffer.split_to(size_bytes).freeze();
    body.advance(head.head_bytes);
    let mut reader = Reader { kind: head.kind, rest: body };
    let packet = reader.packet(head.flags, limits)?;
    if !reader.rest.is_empty() {
        return Err(BadPacket::Trailing(head.kind));
    }
    Ok(Decoded::Packet(packet))
}

/// What is left of a body.
struct Reader {
    kind: Kind,
    rest: Bytes,
}

impl Reader {
    fn packet(&mut self, flags: u8, limits: &Limits) -> Result<Packet, BadPacket> {
        Ok(match self.kind {
            Kind::Connect => Packet::Connect(Box::new(self.connect()?)),
            Kind::ConnAck => Packet::ConnAck(self.conn_ack()?),
            Kind::Publish => Packet::Publish(self.publish(flags)?),
            Kind::PubAck => Packet::PubAck(self.acknowledged_id()?),
            Kind::PubRec => Packet::PubRec(self.acknowledged_id()?),
            Kind::PubRel => Packet::PubRel(self.acknowledged_id()?),
            Kind::PubComp => Packet::PubComp(self.acknowledged_id()?),
            Kind::Subscribe => Packet::Subscribe(self.subscribe(limits)?),
            Kind::SubAck => Packet::SubAck(self.sub_ack(limits)?),
            Kind::Unsubscribe => Packet::Unsubscribe(self.unsubscribe(limits)?),
            Kind::UnsubAck => Packet::UnsubAck(self.acknowledged_id()?),
            Kind::PingReq => Packet::PingReq,
            Kind::PingResp => Packet::PingResp,
            Kind::Disconnect => Packet::Disconnect,
        })
    }

    fn connect(&mut self) -> Result<Connect, BadPacket> {
        let name = self.field()?;
        let level = self.byte()?;
        match (&*name, level) {
            (b"MQTT", 4) => {}
            // MQTT 3.1 has another name: a protocol of its own, but the same family.
            (b"MQTT", _) | (b"MQIsdp", 3) => return Err(BadPacket::UnsupportedLevel(level)),
            _ => return Err(BadPacket::ProtocolName),
        }
        let flags = self.byte()?;
        let has = |bit: u8| flags & (1 << bit) != 0;
        if has(0) {
            return Err(BadPacket::ReservedConnectFlag);
        }
        let will_qos = Qos::from_number((flags >> 3) & 0b11).ok_or(BadPacket::QosThree)?;
        let (has_will, will_retain) = (has(2), has(5));
        if !has_will && (will_retain || will_qos != Qos::AtMostOnce) {
            return Err(BadPacket::WillFlags);
        }
        let (has_user_name, has_password) = (has(7), has(6));
        if has_password && !has_user_name {
            return Err(BadPacket::PasswordWithoutUserName);
        }
        let keep_alive_secs = self.number()?;
        let client_id = self.text()?;
        let will = if has_will {
            let topic = self.topic()?;
            let payload = self.field()?;
            Some(Will { topic, payload, qos: will_qos, retain: will_retain })
        } else {
            None
        };
        let login = if has_user_name {
            let user_name = self.text()?;
            let password = if has_password { Some(Password::new(self.field()?)?) } else { None };
            Some(Login { user_name, password })
        } else {
            None
        };
        Ok(Connect { client_id, clean_session: has(1), keep_alive_secs, will, login })
    }

    fn conn_ack(&mut self) -> Result<ConnAck, BadPacket> {
        let (flags, code) = (self.byte()?, self.byte()?);
        if flags > 1 || (flags == 1 && code != 0) {
            return Err(BadPacket::ConnAckFlags);
        }
        if code == 0 {
            return Ok(ConnAck::Accepted { session_present: flags == 1 });
        }
        ConnectRefusal::from_number(code)
            .map(ConnAck::Refused)
            .ok_or(BadPacket::ReturnCode { kind: self.kind, code })
    }

    fn publish(&mut self, flags: u8) -> Result<Publish, BadPacket> {
        let topic = self.topic()?;
        let dup = flags & 0b1000 != 0;
        let delivery = match Qos::from_number((flags >> 1) & 0b11) {
            Some(Qos::AtMostOnce) => Delivery::AtMostOnce,
            Some(Qos::AtLeastOnce) => Delivery::AtLeastOnce { id: self.id()?, dup },
            Some(Qos::ExactlyOnce) => Delivery::ExactlyOnce { id: self.id()?, dup },
            None => return Err(BadPacket::QosThree),
        };
        let payload = self.rest.split_off(0);
        Ok(Publish { topic, payload, delivery, retain: flags & 1 != 0 })
    }

    fn subscribe(&mut self, limits: &Limits) -> Result<Subscribe, BadPacket> {
        let id = self.id()?;
        let filters = self.list(limits, |reader| {
            let filter = Filter::from_text(reader.text()?)?;
            let wanted = reader.byte()?;
            if wanted & !0b11 != 0 {
                return Err(BadPacket::RequestedQosBits);
            }
            Ok((filter, Qos::from_number(wanted).ok_or(BadPacket::QosThree)?))
        })?;
        Ok(Subscribe { id, filters })
    }

    fn sub_ack(&mut self, limits: &Limits) -> Result<SubAck, BadPacket> {
        let id = self.acknowledged_id()?;
        let grants = self.list(limits, |reader| match reader.byte()? {
            0x80 => Ok(Grant::Refused),
            code => Qos::from_number(code)
                .map(Grant::Granted)
                .ok_or(BadPacket::ReturnCode { kind: reader.kind, code }),
        })?;
        Ok(SubAck { id, grants })
    }

    fn unsubscribe(&mut self, limits: &Limits) -> Result<Unsubscribe, BadPacket> {
        let id = self.id()?;
        let filters = self.list(limits, |reader| Ok(Filter::from_text(reader.text()?)?))?;
        Ok(Unsubscribe { id, filters })
    }

    /// All the entries that are left, at least one.
    fn list<T>(
        &mut self,
        limits: &Limits,
        mut entry: impl FnMut(&mut Self) -> Result<T, BadPacket>,
    ) -> Result<Vec<T>, BadPacket> {
        let mut entries = Vec::new();
        while !self.rest.is_empty() {
            if entries.len() == limits.entries {
                return Err(BadPacket::TooMany { kind: self.kind, limit: limits.entries });
            }
            entries.push(entry(self)?);
        }
        if entries.is_empty() { Err(BadPacket::Empty(self.kind)) } else { Ok(entries) }
    }

    fn byte(&mut self) -> Result<u8, BadPacket> {
        self.rest.try_get_u8().map_err(|_| BadPacket::Short(self.kind))
    }

    fn number(&mut self) -> Result<u16, BadPacket> {
        self.rest.try_get_u16().map_err(|_| BadPacket::Short(self.kind))
    }

    fn id(&mut self) -> Result<PacketId, BadPacket> {
        PacketId::new(self.number()?).ok_or(BadPacket::PacketIdZero(self.kind))
    }

    fn acknowledged_id(&mut self) -> Result<Option<PacketId>, BadPacket> {
        Ok(PacketId::new(self.number()?))
    }

    /// Bytes after their length.
    fn field(&mut self) -> Result<Bytes, BadPacket> {
        let size_bytes = usize::from(self.number()?);
        if self.rest.len() < size_bytes {
            return Err(BadPacket::Short(self.kind));
        }
        Ok(self.rest.split_to(size_bytes))
    }

    fn text(&mut self) -> Result<Text, BadPacket> {
        Ok(Text::from_bytes(self.field()?)?)
    }

    fn topic(&mut self) -> Result<Topic, BadPacket> {
        Ok(Topic::from_text(self.text()?)?)
    }
}
