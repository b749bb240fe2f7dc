//! The packets. A value that exists can be sent, up to the sizes and empty lists that
//! [`encode`](super::encode) refuses.

use std::{fmt, num::NonZeroU16};

use bytes::Bytes;
use subtle::ConstantTimeEq;

use super::{BadText, Filter, Kind, Text, Topic, text::MAX_FIELD_BYTES};

/// Tells the packets under way apart; never 0 (MQTT-2.3.1-1).
pub type PacketId = NonZeroU16;

/// A packet of MQTT 3.1.1.
///
/// Acknowledgements hold `None` for the packet identifier 0: no sender of messages may use it, but
/// one vendor's client acknowledges messages of QoS 0 with it. It acknowledges nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// A client asks to connect. By far the largest packet, and the rarest: so it is boxed.
    Connect(Box<Connect>),
    /// A server answers a CONNECT.
    ConnAck(ConnAck),
    /// A message.
    Publish(Publish),
    /// A message of QoS 1 arrived.
    PubAck(Option<PacketId>),
    /// A message of QoS 2 arrived.
    PubRec(Option<PacketId>),
    /// A message of QoS 2 may be passed on.
    PubRel(Option<PacketId>),
    /// A message of QoS 2 is done with.
    PubComp(Option<PacketId>),
    /// A client asks for messages.
    Subscribe(Subscribe),
    /// A server answers a SUBSCRIBE.
    SubAck(SubAck),
    /// A client wants some messages no more.
    Unsubscribe(Unsubscribe),
    /// A server answers an UNSUBSCRIBE.
    UnsubAck(Option<PacketId>),
    /// A client is still there.
    PingReq,
    /// So is the server.
    PingResp,
    /// A client leaves on purpose.
    Disconnect,
}

impl Packet {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Connect(_) => Kind::Connect,
            Self::ConnAck(_) => Kind::ConnAck,
            Self::Publish(_) => Kind::Publish,
            Self::PubAck(_) => Kind::PubAck,
            Self::PubRec(_) => Kind::PubRec,
            Self::PubRel(_) => Kind::PubRel,
            Self::PubComp(_) => Kind::PubComp,
            Self::Subscribe(_) => Kind::Subscribe,
            Self::SubAck(_) => Kind::SubAck,
            Self::Unsubscribe(_) => Kind::Unsubscribe,
            Self::UnsubAck(_) => Kind::UnsubAck,
            Self::PingReq => Kind::PingReq,
            Self::PingResp => Kind::PingResp,
            Self::Disconnect => Kind::Disconnect,
        }
    }
}

/// How surely a message arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Qos {
    /// 0: sent once, and nobody answers.
    AtMostOnce = 0,
    /// 1: sent until acknowledged.
    AtLeastOnce = 1,
    /// 2: acknowledged in two steps. Neither a hub nor provisioning supports it.
    ExactlyOnce = 2,
}

impl Qos {
    pub(super) const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::AtMostOnce,
            1 => Self::AtLeastOnce,
            2 => Self::ExactlyOnce,
            _ => return None,
        })
    }
}

/// A client asks to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Its name. See [`Connect::lacks_client_id`].
    pub client_id: Text,
    /// Whether an earlier session of this name is to be forgotten, and this one when it ends.
    pub clean_session: bool,
    /// How long the client may be silent, in seconds; 0 for any time. The server waits half as
    /// long again.
    pub keep_alive_secs: u16,
    /// What to publish should the connection be lost.
    pub will: Option<Will>,
    /// User name and password.
    pub login: Option<Login>,
}

impl Connect {
    /// Whether the client has no name although it asks for a lasting session: to be answered with
    /// [`ConnectRefusal::IdentifierRejected`] (MQTT-3.1.3-8). A server may refuse empty names
    /// altogether.
    #[must_use]
    pub fn lacks_client_id(&self) -> bool {
        self.client_id.is_empty() && !self.clean_session
    }
}

/// What a client logs in with. There is no password without a user name (MQTT-3.1.2-22).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Who it is.
    pub user_name: Text,
    /// The password; it may be empty.
    pub password: Option<Password>,
}

/// A password: at most 65,535 bytes, of any value. Compared in constant time, never printed. The
/// buffer it was read into is not erased.
#[derive(Clone)]
pub struct Password(Bytes);

impl Password {
    /// A password to be sent.
    ///
    /// # Errors
    /// [`BadText::TooLong`].
    pub fn new(password: impl Into<Bytes>) -> Result<Self, BadText> {
        let password = password.into();
        if password.len() > MAX_FIELD_BYTES {
            return Err(BadText::TooLong(password.len()));
        }
        Ok(Self(password))
    }

    /// The password's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(secret)")
    }
}

/// What a server publishes when a connection is lost. `Debug` tells the length of the payload only.
#[derive(Clone, PartialEq, Eq)]
pub struct Will {
    /// Where to.
    pub topic: Topic,
    /// What: at most 65,535 bytes.
    pub payload: Bytes,
    /// How surely.
    pub qos: Qos,
    /// Whether as the topic's last value.
    pub retain: bool,
}

impl fmt::Debug for Will {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Will")
            .field("topic", &self.topic)
            .field("payload_bytes", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .finish()
    }
}

/// What a server answers to a CONNECT. Only an accepted one can have a session (MQTT-3.2.2-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnAck {
    /// The client is connected.
    Accepted {
        /// Whether the server remembers a session of this client.
        session_present: bool,
    },
    /// It is not, and the connection ends.
    Refused(ConnectRefusal),
}

/// Why a client is not connected, with the codes of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectRefusal {
    /// 1: the protocol level is not supported.
    UnacceptableVersion = 1,
    /// 2: the client identifier is not allowed.
    IdentifierRejected = 2,
    /// 3: not now.
    ServerUnavailable = 3,
    /// 4: user name or password cannot be understood.
    BadLogin = 4,
    /// 5: not this client.
    NotAuthorized = 5,
}

impl ConnectRefusal {
    pub(super) const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::UnacceptableVersion,
            2 => Self::IdentifierRejected,
            3 => Self::ServerUnavailable,
            4 => Self::BadLogin,
            5 => Self::NotAuthorized,
            _ => return None,
        })
    }
}

/// A message. `Debug` tells the length of the payload only.
#[derive(Clone, PartialEq, Eq)]
pub struct Publish {
    /// Where to.
    pub topic: Topic,
    /// What; it may be empty.
    pub payload: Bytes,
    /// How surely, with what that takes.
    pub delivery: Delivery,
    /// To a server: whether to keep it as the topic's last value. To a client: whether it was kept.
    pub retain: bool,
}

impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("topic", &self.topic)
            .field("payload_bytes", &self.payload.len())
            .field("delivery", &self.delivery)
            .field("retain", &self.retain)
            .finish()
    }
}

/// A message's QoS, with the packet identifier and DUP that only QoS 1 and 2 have (MQTT-2.3.1-5,
/// MQTT-3.3.1-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1, to be answered with PUBACK.
    AtLeastOnce {
        /// Names the message until it is acknowledged.
        id: PacketId,
        /// Whether it may have been sent before.
        dup: bool,
    },
    /// QoS 2, to be answered with PUBREC.
    ExactlyOnce {
        /// Names the message until it is done with.
        id: PacketId,
        /// Whether it may have been sent before.
        dup: bool,
    },
}

impl Delivery {
    /// The level alone.
    #[must_use]
    pub const fn qos(self) -> Qos {
        match self {
            Self::AtMostOnce => Qos::AtMostOnce,
            Self::AtLeastOnce { .. } => Qos::AtLeastOnce,
            Self::ExactlyOnce { .. } => Qos::ExactlyOnce,
        }
    }

    /// The packet identifier, if there is one.
    #[must_use]
    pub const fn id(self) -> Option<PacketId> {
        match self {
            Self::AtMostOnce => None,
            Self::AtLeastOnce { id, .. } | Self::ExactlyOnce { id, .. } => Some(id),
        }
    }

    /// Whether the message may have been sent before.
    #[must_use]
    pub const fn dup(self) -> bool {
        match self {
            Self::AtMostOnce => false,
            Self::AtLeastOnce { dup, .. } | Self::ExactlyOnce { dup, .. } => dup,
        }
    }
}

/// A client asks for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Names the request.
    pub id: PacketId,
    /// What for, at least one, each with the highest QoS wanted.
    pub filters: Vec<(Filter, Qos)>,
}

/// A server answers a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// The request's name.
    pub id: Option<PacketId>,
    /// One for each filter, in the request's order; at least one.
    pub grants: Vec<Grant>,
}

/// The answer for one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grant {
    /// Messages come with this QoS at most.
    Granted(Qos),
    /// 128: none come.
    Refused,
}

/// A client wants some messages no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Names the request.
    pub id: PacketId,
    /// Filters as they were asked for, at least one.
    pub filters: Vec<Filter>,
}
