//! Performatives and SASL frames (parts 2, 3 and 5). A `None` is a null on the wire; defaults of the
//! standard are filled in when reading where a field here is no `Option`.

use bytes::Bytes;

use super::Pairs;

mod read;
mod write;

pub(super) use read::{read, read_sasl};
pub(super) use write::{write, write_sasl, write_transfer};

/// What a frame says.
#[derive(Debug, Clone, PartialEq)]
pub enum Performative {
    /// `open`
    Open(Box<Open>),
    /// `begin`
    Begin(Box<Begin>),
    /// `attach`
    Attach(Box<Attach>),
    /// `flow`
    Flow(Flow),
    /// `transfer`; its payload stands in the frame.
    Transfer(Transfer),
    /// `disposition`
    Disposition(Disposition),
    /// `detach`
    Detach(Detach),
    /// `end`
    End(End),
    /// `close`
    Close(Close),
}

/// Opens a connection (§2.7.1).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Open {
    /// `container-id`
    pub container_id: String,
    /// `hostname`
    pub hostname: Option<String>,
    /// `max-frame-size`; absent: 4,294,967,295.
    pub max_frame_size: Option<u32>,
    /// `channel-max`; absent: 65,535.
    pub channel_max: Option<u16>,
    /// `idle-time-out`, milliseconds.
    pub idle_timeout_ms: Option<u32>,
    /// `offered-capabilities`
    pub offered_capabilities: Vec<String>,
    /// `desired-capabilities`
    pub desired_capabilities: Vec<String>,
    /// `properties`
    pub properties: Pairs,
}

/// Begins a session (§2.7.2).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Begin {
    /// `remote-channel`
    pub remote_channel: Option<u16>,
    /// `next-outgoing-id`
    pub next_outgoing_id: u32,
    /// `incoming-window`
    pub incoming_window: u32,
    /// `outgoing-window`
    pub outgoing_window: u32,
    /// `handle-max`; absent: 4,294,967,295.
    pub handle_max: Option<u32>,
    /// `properties`
    pub properties: Pairs,
}

/// Which end of a link whoever attaches it is (§2.8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It sends.
    Sender,
    /// It receives.
    Receiver,
}

/// `sender-settle-mode` (§2.8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SenderSettle {
    /// All deliveries are sent unsettled.
    Unsettled,
    /// All are sent settled.
    Settled,
    /// Both.
    #[default]
    Mixed,
}

/// `receiver-settle-mode` (§2.8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReceiverSettle {
    /// The receiver settles at once.
    #[default]
    First,
    /// It settles after the sender has.
    Second,
}

/// Attaches a link (§2.7.3).
#[derive(Debug, Clone, PartialEq)]
pub struct Attach {
    /// `name`
    pub name: String,
    /// `handle`
    pub handle: u32,
    /// `role`: that of whoever attaches.
    pub role: Role,
    /// `snd-settle-mode`
    pub sender_settle: SenderSettle,
    /// `rcv-settle-mode`
    pub receiver_settle: ReceiverSettle,
    /// `source`
    pub source: Option<Terminus>,
    /// `target`. A coordinator, or anything else that is no target, reads as absent.
    pub target: Option<Terminus>,
    /// `initial-delivery-count`
    pub initial_delivery_count: Option<u32>,
    /// `max-message-size`, bytes.
    pub max_message_size: Option<u64>,
    /// `properties`
    pub properties: Pairs,
    /// `desired-capabilities`
    pub desired_capabilities: Vec<String>,
}

/// A source (§3.5.3).
pub type Source = Terminus;
/// A target (§3.5.4).
pub type Target = Terminus;

/// A source or a target, of which we keep what is echoed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Terminus {
    /// `address`
    pub address: Option<String>,
    /// `durable`
    pub durable: u32,
    /// `expiry-policy`
    pub expiry_policy: Option<String>,
    /// `timeout`, seconds.
    pub timeout_secs: u32,
    /// `dynamic`
    pub dynamic: bool,
    /// `filter`, of a source only.
    pub filter: Pairs,
    /// `capabilities`
    pub capabilities: Vec<String>,
}

/// Tells windows and credit (§2.7.4).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Flow {
    /// `next-incoming-id`
    pub next_incoming_id: Option<u32>,
    /// `incoming-window`
    pub incoming_window: u32,
    /// `next-outgoing-id`
    pub next_outgoing_id: u32,
    /// `outgoing-window`
    pub outgoing_window: u32,
    /// `handle`; absent: about the session alone.
    pub handle: Option<u32>,
    /// `delivery-count`
    pub delivery_count: Option<u32>,
    /// `link-credit`
    pub link_credit: Option<u32>,
    /// `available`
    pub available: Option<u32>,
    /// `drain`
    pub drain: bool,
    /// `echo`
    pub echo: bool,
}

/// A piece of a message (§2.7.5).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transfer {
    /// `handle`
    pub handle: u32,
    /// `delivery-id`
    pub delivery_id: Option<u32>,
    /// `delivery-tag`, at most 32 bytes.
    pub delivery_tag: Option<Bytes>,
    /// `message-format`
    pub message_format: Option<u32>,
    /// `settled`
    pub settled: Option<bool>,
    /// `more`
    pub more: bool,
    /// `rcv-settle-mode`
    pub receiver_settle: Option<ReceiverSettle>,
    /// `state`
    pub state: Option<State>,
    /// `resume`
    pub resume: bool,
    /// `aborted`
    pub aborted: bool,
    /// `batchable`
    pub batchable: bool,
}

/// Tells what became of deliveries (§2.7.6).
#[derive(Debug, Clone, PartialEq)]
pub struct Disposition {
    /// `role`: that of whoever tells.
    pub role: Role,
    /// `first`
    pub first: u32,
    /// `last`; absent: the first alone.
    pub last: Option<u32>,
    /// `settled`
    pub settled: bool,
    /// `state`
    pub state: Option<State>,
    /// `batchable`
    pub batchable: bool,
}

/// The state of a delivery (part 3, §3.4).
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// `received`: a part of it.
    Received {
        /// `section-number`
        section: u32,
        /// `section-offset`
        offset: u64,
    },
    /// Its end.
    Outcome(Outcome),
    /// Another one, such as a transaction's; never looked into.
    Other,
}

/// How a delivery ended (part 3, §3.4).
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// `accepted`
    Accepted,
    /// `rejected`
    Rejected(Option<WireError>),
    /// `released`
    Released,
    /// `modified`
    Modified {
        /// `delivery-failed`
        delivery_failed: bool,
        /// `undeliverable-here`
        undeliverable_here: bool,
    },
}

/// Detaches a link (§2.7.7).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Detach {
    /// `handle`
    pub handle: u32,
    /// `closed`: for good.
    pub closed: bool,
    /// `error`
    pub error: Option<WireError>,
}

/// Ends a session (§2.7.8).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct End {
    /// `error`
    pub error: Option<WireError>,
}

/// Closes a connection (§2.7.9).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Close {
    /// `error`
    pub error: Option<WireError>,
}

/// Why a link, session, connection or delivery ended (§2.8.14). Always written with three fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WireError {
    /// `condition`, such as `amqp:not-found`.
    pub condition: String,
    /// `description`
    pub description: Option<String>,
    /// `info`
    pub info: Pairs,
}

impl WireError {
    /// A condition with a sentence.
    #[must_use]
    pub fn new(condition: &str, description: impl Into<String>) -> Self {
        Self {
            condition: condition.to_owned(),
            description: Some(description.into()),
            info: Vec::new(),
        }
    }
}

/// `sasl-mechanisms` (part 5, §5.3.3.1): always an array (D §8, 36).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SaslMechanisms(pub Vec<String>);

/// `sasl-init` (§5.3.3.2). Not printed: it holds a credential.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SaslInit {
    /// `mechanism`
    pub mechanism: String,
    /// `initial-response`
    pub initial_response: Option<Bytes>,
    /// `hostname`
    pub hostname: Option<String>,
}

impl std::fmt::Debug for SaslInit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SaslInit").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// `sasl-outcome` (§5.3.3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslOutcome {
    /// 0
    Ok,
    /// 1: the credentials are not good.
    Auth,
    /// 2: a fault of ours.
    Sys,
    /// 3: a fault that will not go away.
    SysPerm,
    /// 4: a fault that may go away.
    SysTemp,
}
