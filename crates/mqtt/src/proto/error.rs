//! Why bytes are not a packet.

use thiserror::Error;

use super::{BadText, Kind};

/// Why bytes are not a packet of MQTT 3.1.1. Never holds what was sent, apart from single numbers.
///
/// The connection is closed without an answer (MQTT-4.8.0-1), with one exception:
/// [`BadPacket::UnsupportedLevel`] deserves a CONNACK first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadPacket {
    /// A CONNECT of another version of the protocol, by its level: 3 for MQTT 3.1, 5 for MQTT 5.
    /// It is to be answered with CONNACK 1 before the connection is closed (MQTT-3.1.2-2).
    #[error("protocol level {0} is not supported, only 4 (MQTT 3.1.1)")]
    UnsupportedLevel(u8),
    /// A packet type that does not exist: 0 or 15.
    #[error("packet type {0} is reserved")]
    ReservedKind(u8),
    /// Flags in the first byte that this type of packet cannot have (MQTT-2.2.2-2).
    #[error("{kind} with the flags {flags:#06b}")]
    Flags {
        /// The type.
        kind: Kind,
        /// The lower four bits.
        flags: u8,
    },
    /// QoS 3, in a PUBLISH, a will or a SUBSCRIBE (MQTT-3.3.1-4, MQTT-3.1.2-14, MQTT-3-8.3-4).
    #[error("QoS 3 does not exist")]
    QosThree,
    /// A PUBLISH of QoS 0 that says it was sent before (MQTT-3.3.1-2).
    #[error("DUP in a PUBLISH of QoS 0")]
    DupAtMostOnce,
    /// The remaining length goes on after its fourth byte.
    #[error("a remaining length of more than four bytes")]
    LengthBytes,
    /// The packet is longer than whoever reads it allows.
    #[error("{kind} of {size_bytes} bytes, {limit_bytes} are allowed")]
    TooLong {
        /// The type.
        kind: Kind,
        /// The whole packet, in bytes.
        size_bytes: usize,
        /// The most that is allowed, in bytes.
        limit_bytes: usize,
    },
    /// A packet of a fixed size has another.
    #[error("{kind} with a body of {size_bytes} bytes")]
    BodySize {
        /// The type.
        kind: Kind,
        /// What follows the fixed header, in bytes.
        size_bytes: usize,
    },
    /// The packet ends before its last field does.
    #[error("{0} ends too early")]
    Short(Kind),
    /// The packet goes on after its last field.
    #[error("{0} goes on after its last field")]
    Trailing(Kind),
    /// A text, topic or filter is illegal.
    #[error("{0}")]
    Text(#[from] BadText),
    /// A CONNECT of another protocol.
    #[error("CONNECT of another protocol than MQTT")]
    ProtocolName,
    /// The lowest flag of a CONNECT is set (MQTT-3.1.2-3).
    #[error("the reserved flag of CONNECT is set")]
    ReservedConnectFlag,
    /// A CONNECT without a will has a QoS or RETAIN for it (MQTT-3.1.2-13, MQTT-3.1.2-15).
    #[error("CONNECT without a will has flags for one")]
    WillFlags,
    /// A CONNECT has a password and no user name (MQTT-3.1.2-22).
    #[error("CONNECT with a password and without a user name")]
    PasswordWithoutUserName,
    /// The packet identifier is 0 (MQTT-2.3.1-1).
    #[error("{0} with the packet identifier 0")]
    PacketIdZero(Kind),
    /// A packet that must name at least one filter or code names none (MQTT-3.8.3-3,
    /// MQTT-3.10.3-2).
    #[error("{0} with an empty list")]
    Empty(Kind),
    /// More filters than whoever reads it allows.
    #[error("{kind} with more than {limit} entries")]
    TooMany {
        /// The type.
        kind: Kind,
        /// The most that is allowed.
        limit: usize,
    },
    /// Reserved bits of a requested QoS are set (MQTT-3-8.3-4).
    #[error("reserved bits in a requested QoS")]
    RequestedQosBits,
    /// Reserved bits of a CONNACK's flags are set, or a refusal says that a session is present
    /// (MQTT-3.2.2-4).
    #[error("illegal flags in CONNACK")]
    ConnAckFlags,
    /// A return code of CONNACK above 5, or of SUBACK that is not 0, 1, 2 or 128
    /// (MQTT-3.9.3-2).
    #[error("{kind} with the reserved return code {code}")]
    ReturnCode {
        /// The type.
        kind: Kind,
        /// The code.
        code: u8,
    },
}
