//! What the driver of a connection tells an endpoint of it, and what an endpoint asks of the driver.
//!
//! An endpoint answers the links of one kind on one connection: those of provisioning, the token
//! links (`$cbs`), those of one device, those of the service side. Each is one future that the
//! connection's own task polls, so many devices on one connection wait for each other only for the
//! bytes of that connection. What deliberately does not live here: frames, windows, channels.

use bytes::Bytes;

use crate::{
    address::Address,
    proto::{Outcome, Pairs, Role, SenderSettle, WireError},
    stream::Place,
};

pub(crate) use crate::driver::{Inbox, Line};

/// A link, for the life of its connection. No other link gets its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u32);

/// A message of the client's that is not settled yet; unique on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct DeliveryId(pub(crate) u64);

/// What the client did on a link of the endpoint.
#[derive(Debug)]
pub(crate) enum Told {
    /// It attached a link, which waits for [`Ask::Accept`] or [`Ask::Refuse`].
    Attached(Box<Attached>),
    /// It sent a message, whole.
    Message(LinkId, Incoming),
    /// It takes so many more messages on a link of ours that sends. Told at every change.
    Credit {
        /// The link.
        link: LinkId,
        /// How many, counting from now.
        credit: u32,
        /// Whether it wants what there is at once, and gives up the rest.
        drain: bool,
    },
    /// It told what became of a message of ours.
    Settled {
        /// The link.
        link: LinkId,
        /// As the endpoint called the message.
        number: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// The link is gone: the client detached it, or ended its session. The driver has answered.
    Detached(LinkId),
}

/// A link that the client attaches.
#[derive(Debug)]
pub(crate) struct Attached {
    /// The link.
    pub(crate) link: LinkId,
    /// The role of the client.
    pub(crate) role: Role,
    /// Where it leads: the target of a client that sends, the source of one that receives.
    pub(crate) address: Address,
    /// Its properties.
    pub(crate) properties: Pairs,
    /// How the client's messages are settled.
    pub(crate) sender_settle: SenderSettle,
}

/// A message of the client's.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Its name in [`Ask::Settle`].
    pub(crate) delivery: DeliveryId,
    /// Its `message-format`: 0, or 0x80013700 for a batch (H §4.3.6).
    pub(crate) format: u32,
    /// The message, encoded.
    pub(crate) payload: Bytes,
    /// Whether the client wants to hear nothing of it.
    pub(crate) is_settled: bool,
    /// The room it takes, given back when this is dropped.
    pub(crate) place: Place,
}

/// What an endpoint wants done.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Attach the link. Source and target are echoed.
    Accept {
        /// The link.
        link: LinkId,
        /// The longest message it takes, in bytes.
        max_message_bytes: Option<u64>,
        /// How many messages of a client that sends may be under way; credit is given anew as
        /// they are settled. 0 for a client that receives.
        window: u32,
    },
    /// Attach the link as the standard wants and detach it at once, with this error.
    Refuse {
        /// The link.
        link: LinkId,
        /// Why.
        error: WireError,
    },
    /// Settle a message of the client's. Nothing happens when its link is gone.
    Settle {
        /// Its link.
        link: LinkId,
        /// The message.
        delivery: DeliveryId,
        /// What became of it.
        outcome: Outcome,
    },
    /// Send a message. Beyond the link's credit it waits; at most [`MAX_WAITING`] may wait on a
    /// link, one more detaches it with `amqp:resource-limit-exceeded`.
    Send {
        /// The link.
        link: LinkId,
        /// The endpoint's name for it, in [`Told::Settled`].
        number: u64,
        /// 16 bytes: one client makes a GUID of them (H §4.3.6).
        tag: [u8; 16],
        /// The message, encoded.
        message: Bytes,
        /// Whether nothing is to be heard of it.
        is_settled: bool,
    },
    /// Answer a `drain`: the credit of this link is used up.
    Drained(LinkId),
    /// Detach a link, for good.
    Detach {
        /// The link.
        link: LinkId,
        /// Why.
        error: Option<WireError>,
    },
    /// The device is cut off (H §4.5.3): detach these links with the error, end each of their
    /// sessions that no other link is on with the same, and close the connection with it when no
    /// link but token links is left on it. What was queued for these links is dropped.
    CutOff {
        /// The links.
        links: Vec<LinkId>,
        /// Why.
        error: WireError,
    },
}

/// How many messages may wait for credit on one link.
pub(crate) const MAX_WAITING: usize = 100;
