//! The fixed header: which packet comes, and how long it is, from its first two to five bytes.

use std::fmt;

use super::BadPacket;

/// The largest remaining length that four bytes can tell.
pub(super) const MAX_BODY_BYTES: usize = 268_435_455;

/// The types of packets, with the numbers they have on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A client asks to connect.
    Connect = 1,
    /// A server answers.
    ConnAck = 2,
    /// A message.
    Publish = 3,
    /// A message of QoS 1 arrived.
    PubAck = 4,
    /// A message of QoS 2 arrived.
    PubRec = 5,
    /// A message of QoS 2 may be passed on.
    PubRel = 6,
    /// A message of QoS 2 is done with.
    PubComp = 7,
    /// A client asks for messages.
    Subscribe = 8,
    /// A server answers.
    SubAck = 9,
    /// A client wants some no more.
    Unsubscribe = 10,
    /// A server answers.
    UnsubAck = 11,
    /// A client is still there.
    PingReq = 12,
    /// So is the server.
    PingResp = 13,
    /// A client leaves on purpose.
    Disconnect = 14,
}

/// The fixed header of a packet. Its type, its flags and, where only one is possible, its length
/// are legal together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What comes.
    pub kind: Kind,
    /// The size of the fixed header itself, in bytes: 2 to 5.
    pub head_bytes: usize,
    /// The remaining length: what follows the fixed header, in bytes; at most 268,435,455.
    pub body_bytes: usize,
    pub(super) flags: u8,
}

impl Head {
    /// Reads a fixed header from the first bytes of a packet; `None` when there are not enough of
    /// them yet. So a packet that is too long can be refused before any of it is read.
    ///
    /// # Errors
    /// [`BadPacket`] as early as it can be known: a reserved type or flag from the first byte.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, BadPacket> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let kind = Kind::from_number(first >> 4).ok_or(BadPacket::ReservedKind(first >> 4))?;
        let flags = first & 0x0f;
        check_flags(kind, flags)?;
        let mut body_bytes = 0;
        for at in 0..4 {
            let Some(&byte) = rest.get(at) else {
                return Ok(None);
            };
            body_bytes |= usize::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return match kind.only_body_bytes() {
                    Some(only) if only != body_bytes => {
                        Err(BadPacket::BodySize { kind, size_bytes: body_bytes })
                    }
                    _ => Ok(Some(Self { kind, head_bytes: at + 2, body_bytes, flags })),
                };
            }
        }
        Err(BadPacket::LengthBytes)
    }

    /// The size of the whole packet, in bytes.
    #[must_use]
    pub const fn packet_bytes(&self) -> usize {
        self.head_bytes + self.body_bytes
    }
}

impl Kind {
    const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            _ => return None,
        })
    }

    /// The flags of all packets of this type; those of PUBLISH vary and are not asked for here.
    pub(super) const fn fixed_flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    /// The size of the body, where only one is possible.
    const fn only_body_bytes(self) -> Option<usize> {
        match self {
            Self::ConnAck
            | Self::PubAck
            | Self::PubRec
            | Self::PubRel
            | Self::PubComp
            | Self::UnsubAck => Some(2),
            Self::PingReq | Self::PingResp | Self::Disconnect => Some(0),
            Self::Connect | Self::Publish | Self::Subscribe | Self::SubAck | Self::Unsubscribe => {
                None
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
        })
    }
}

fn check_flags(kind: Kind, flags: u8) -> Result<(), BadPacket> {
    if kind != Kind::Publish {
        return if flags == kind.fixed_flags() {
            Ok(())
        } else {
            Err(BadPacket::Flags { kind, flags })
        };
    }
    match ((flags >> 1) & 0b11, flags & 0b1000 != 0) {
        (3, _) => Err(BadPacket::QosThree),
        (0, true) => Err(BadPacket::DupAtMostOnce),
        _ => Ok(()),
    }
}
