//! The two kinds of link ends: where a client sends to us, and where we send to it.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
};

use bytes::{Bytes, BytesMut};

use super::{
    condition::{MESSAGE_SIZE_EXCEEDED, RESOURCE_LIMIT_EXCEEDED},
    serial,
};
use crate::{
    endpoint::{DeliveryId, LinkId},
    proto::{
        self, Attach, Outcome, Performative, ReceiverSettle, Role, SenderSettle, Terminus,
        WireError,
    },
};

/// How many messages of ours on one link may wait for the client to settle them. The next ones
/// are not sent, however much credit there is.
pub(super) const MAX_UNSETTLED: u32 = 1_000;

/// More than an answer to an attach takes beside names and addresses.
const ATTACH_BYTES: usize = 256;

/// One link of a session.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    /// Our handle for it.
    pub(super) handle: u32,
    /// Stands for its name, which may be long.
    name: u64,
    /// The role of the client.
    pub(super) role: Role,
    pub(super) sender_settle: SenderSettle,
    pub(super) end: End,
    /// What the answer to its attach repeats; `None` once it is answered.
    pub(super) unanswered: Option<Box<Echo>>,
}

/// Our end of a link.
#[derive(Debug)]
pub(super) enum End {
    /// The client sends.
    Receiving(Receiving),
    /// We send.
    Sending(Sending),
    /// We have detached it, and the client has not yet. What comes meanwhile left it before it
    /// knew, as long as the credit allowed it.
    Left {
        credit: u32,
        /// Whether a delivery is under way.
        is_midway: bool,
    },
}

/// What an attach says that its answer repeats.
#[derive(Debug)]
pub(super) struct Echo {
    attach: Attach,
}

/// Where the client sends to us.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    /// The client's `delivery-count`, as far as we know.
    pub(super) delivery_count: u32,
    /// How many deliveries it may begin now.
    pub(super) credit: u32,
    /// How many may be under way.
    pub(super) window: u32,
    /// How many the endpoint has, or the client is yet to settle.
    pub(super) n_unsettled: u32,
    pub(super) max_message_bytes: u64,
    /// The delivery of which a part has arrived.
    pub(super) partial: Option<Box<Partial>>,
}

/// A delivery of which a part has arrived.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) delivery: DeliveryId,
    pub(super) wire: u32,
    pub(super) tag: Bytes,
    pub(super) format: u32,
    pub(super) is_settled: bool,
    pub(super) bytes: Vec<u8>,
    /// How much of it came, be it kept or not; each transfer counts at least one byte.
    pub(super) n_seen: u64,
    /// Why it will be rejected at its end. Nothing of it is kept then.
    pub(super) refusal: Option<TooMuch>,
}

/// Why a delivery is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooMuch {
    /// It is longer than the link takes.
    Message,
    /// Too much of deliveries that are not whole is kept on this connection.
    Connection,
}

/// Where we send to the client.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// Our `delivery-count`.
    pub(super) delivery_count: u32,
    /// How many deliveries we may begin.
    pub(super) credit: u32,
    /// How many of ours are not settled.
    pub(super) n_unsettled: u32,
    /// The longest message that the client takes; 0 for any.
    pub(super) max_message_bytes: u64,
    /// The client wants what there is at once, and then to have its credit back.
    pub(super) is_draining: bool,
    /// There is nothing more: the client has its credit back once the messages below are sent.
    pub(super) is_drained: bool,
    /// Whether it stands in the line of links that have something to send.
    pub(super) is_in_line: bool,
    /// What waits for credit, or for the window of the session.
    pub(super) waiting: VecDeque<Waiting>,
    /// How much of the first one is sent, and its `delivery-id`.
    pub(super) begun: Option<(usize, u32)>,
}

/// A message that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) tag: [u8; 16],
    pub(super) message: Bytes,
    /// Whether it is sent settled.
    pub(super) is_settled: bool,
    /// Whether the endpoint wants to hear what became of it.
    pub(super) is_told: bool,
}

impl Link {
    pub(super) fn new(id: LinkId, handle: u32, attach: &Attach, answer: Echo) -> Self {
        let end = match attach.role {
            Role::Sender => End::Receiving(Receiving {
                delivery_count: attach.initial_delivery_count.unwrap_or(0),
                ..Receiving::default()
            }),
            Role::Receiver => End::Sending(Sending {
                max_message_bytes: attach.max_message_size.unwrap_or(0),
                ..Sending::default()
            }),
        };
        Self {
            id,
            handle,
            name: name_hash(&attach.name),
            role: attach.role,
            sender_settle: attach.sender_settle,
            end,
            unanswered: Some(Box::new(answer)),
        }
    }

    /// Whether it is the link that another attach names: the same name, from the same end.
    pub(super) fn is_same(&self, attach: &Attach) -> bool {
        self.is_live() && self.role == attach.role && self.name == name_hash(&attach.name)
    }

    pub(super) const fn is_live(&self) -> bool {
        !matches!(self.end, End::Left { .. })
    }

    /// What of it is kept until the client has detached it too. The memory that its partial
    /// delivery held, in bytes, is free again.
    pub(super) fn leave(&mut self) -> usize {
        let freed = self.partial_bytes();
        self.end = match &self.end {
            End::Receiving(receiving) => {
                End::Left { credit: receiving.credit, is_midway: receiving.partial.is_some() }
            }
            End::Sending(_) => End::Left { credit: 0, is_midway: false },
            End::Left { credit, is_midway } => End::Left { credit: *credit, is_midway: *is_midway },
        };
        freed
    }

    /// Its partial delivery, if there is one.
    pub(super) fn partial(&self) -> Option<DeliveryId> {
        match &self.end {
            End::Receiving(receiving) => receiving.partial.as_ref().map(|partial| partial.delivery),
            End::Sending(_) | End::Left { .. } => None,
        }
    }

    /// What its partial delivery holds.
    pub(super) fn partial_bytes(&self) -> usize {
        match &self.end {
            End::Receiving(Receiving { partial: Some(partial), .. }) => partial.bytes.capacity(),
            _ => 0,
        }
    }
}

impl Echo {
    pub(super) fn of(attach: &Attach) -> Self {
        let role = match attach.role {
            Role::Sender => Role::Receiver,
            Role::Receiver => Role::Sender,
        };
        let attach = Attach {
            name: attach.name.clone(),
            handle: 0,
            role,
            sender_settle: attach.sender_settle,
            // Who receives says how (§2.7.3), and we settle at once: some senders ask for the second
            // mode, wait for what is settled and never settle anything (`azure-uamqp-c`).
            receiver_settle: match role {
                Role::Receiver => ReceiverSettle::First,
                Role::Sender => attach.receiver_settle,
            },
            source: Some(attach.source.clone().unwrap_or_default()),
            target: Some(attach.target.clone().unwrap_or_default()),
            // Without meaning for one who receives (§2.7.3), and one client insists on it from one
            // who sends (H §5.4).
            initial_delivery_count: (role == Role::Sender).then_some(0),
            max_message_size: None,
            properties: Vec::new(),
            desired_capabilities: Vec::new(),
        };
        Self { attach }
    }

    /// Whether the answer fits into a frame of the client's size, at least without what may be
    /// left away.
    pub(super) fn fits(&self, max_frame_bytes: usize) -> bool {
        let address = |terminus: &Option<Terminus>| {
            let address = terminus.as_ref().and_then(|terminus| terminus.address.as_ref());
            address.map_or(0, String::len)
        };
        let attach = &self.attach;
        let n_bytes = attach.name.len() + address(&attach.source) + address(&attach.target);
        if n_bytes + ATTACH_BYTES <= max_frame_bytes {
            return true;
        }
        let mut shortest = attach.clone();
        shorten(&mut shortest.source);
        shorten(&mut shortest.target);
        shortest.handle = u32::MAX;
        shortest.max_message_size = Some(u64::MAX);
        let mut bytes = BytesMut::new();
        proto::encode(u16::MAX, &Performative::Attach(Box::new(shortest)), &mut bytes);
        bytes.len() <= max_frame_bytes
    }

    /// The answer to an attach, from our handle.
    pub(super) fn accept(self, handle: u32, max_message_size: Option<u64>) -> Attach {
        Attach { handle, max_message_size, ..self.attach }
    }

    /// The answer to an attach that a detach follows: our own end of the link leads nowhere
    /// (§2.6.3).
    pub(super) fn refuse(self, handle: u32) -> Attach {
        let mut attach = Attach { handle, ..self.attach };
        match attach.role {
            Role::Sender => attach.source = None,
            Role::Receiver => attach.target = None,
        }
        attach
    }
}

/// Leaves of a source or target what no client can do without.
pub(super) fn shorten(terminus: &mut Option<Terminus>) {
    if let Some(terminus) = terminus {
        let address = terminus.address.take();
        *terminus = Terminus { address, ..Terminus::default() };
    }
}

impl Receiving {
    /// The credit to tell the client of, if half of it is used up: as much as fits into the window
    /// beside what is under way.
    pub(super) fn renew_credit(&mut self) -> bool {
        let n_under_way = self.n_unsettled + u32::from(self.partial.is_some());
        let credit = self.window.saturating_sub(n_under_way);
        let is_due = credit.saturating_sub(self.credit) >= self.window.div_ceil(2).max(1);
        if is_due {
            self.credit = credit;
        }
        is_due
    }

    /// Takes over the client's own count, where it has given up credit.
    pub(super) const fn hear_count(&mut self, delivery_count: u32) {
        let n_given_up = serial::distance(self.delivery_count, delivery_count);
        if n_given_up > 0 {
            self.delivery_count = delivery_count;
            self.credit = self.credit.saturating_sub(n_given_up);
        }
    }
}

impl Sending {
    /// How many messages more there is credit for.
    pub(super) fn room(&self) -> u32 {
        let n_waiting = self.waiting.len() - usize::from(self.begun.is_some());
        let n_waiting = u32::try_from(n_waiting).unwrap_or(u32::MAX);
        self.credit.saturating_sub(n_waiting)
    }

    /// Whether a piece of a message may leave, the session's window apart.
    pub(super) fn is_ready(&self) -> bool {
        let may_begin = self.credit > 0 && self.n_unsettled < MAX_UNSETTLED;
        self.begun.is_some() || (may_begin && !self.waiting.is_empty())
    }

    /// Takes over the client's credit, counted from what it had received when it said so (§2.6.7).
    pub(super) const fn hear_credit(&mut self, delivery_count: Option<u32>, link_credit: u32) {
        let heard = match delivery_count {
            Some(count) => count,
            // It has not received our attach yet, which begins with 0.
            None => 0,
        };
        let n_in_flight = serial::distance(heard, self.delivery_count);
        self.credit = link_credit.saturating_sub(n_in_flight);
    }

    /// Whether the time has come to give the client its credit back.
    pub(super) fn gives_back(&self) -> bool {
        self.is_draining
            && self.begun.is_none()
            && (self.credit == 0 || (self.is_drained && self.waiting.is_empty()))
    }

    pub(super) fn give_back(&mut self) {
        self.delivery_count = self.delivery_count.wrapping_add(self.credit);
        self.credit = 0;
        self.is_draining = false;
        self.is_drained = false;
    }
}

impl TooMuch {
    pub(super) fn outcome(self, max_message_bytes: u64) -> Outcome {
        Outcome::Rejected(Some(self.error(max_message_bytes)))
    }

    pub(super) fn error(self, max_message_bytes: u64) -> WireError {
        match self {
            Self::Message => WireError::new(
                MESSAGE_SIZE_EXCEEDED,
                format!("The message is longer than the {max_message_bytes} bytes allowed."),
            ),
            Self::Connection => WireError::new(
                RESOURCE_LIMIT_EXCEEDED,
                "Too many long messages at a time on this connection.",
            ),
        }
    }
}

/// Names may be long and links many, so that a number stands for each. The numbers are 64 bits of
/// a good hash; who finds two names with one number steals a link from nobody but themselves.
fn name_hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
