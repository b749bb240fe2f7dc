//! The state of one connection of AMQP 1.0 (part 2): its sessions, links, windows, credit and
//! deliveries.
//!
//! An [`Engine`] is told the frames that arrive and what the endpoints want; it says what happened
//! ([`Event`]) and what is to be sent. It is always the one that answers: connections, sessions and
//! links are opened by clients. What deliberately does not live here: sockets, timers, what
//! addresses and messages mean.
//!
//! What one frame can cost is bounded: by the frame's own size, and by what is attached and not
//! settled, which [`EngineLimits`] bound.

mod condition;
mod link;
mod receiving;
mod sending;
mod serial;
mod session;
mod shared;
mod unsettled;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
};

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use self::{
    condition::{
        Broken, CONNECTION_FORCED, DETACH_FORCED, FRAMING_ERROR, ILLEGAL_STATE, INVALID_FIELD,
        NOT_ALLOWED, RESOURCE_LIMIT_EXCEEDED,
    },
    session::Session,
    shared::Shared,
};
use crate::{
    endpoint::{DeliveryId, LinkId},
    proto::{Attach, Begin, Close, End, Frame, Open, Outcome, Performative, WireError},
};

/// So much is encoded ahead of what is sent. The rest waits as it is.
const AHEAD_BYTES: usize = 64 * 1024;
/// No frame of ours is longer, whatever the client allows.
const MAX_SENT_FRAME_BYTES: usize = 64 * 1024;
/// The smallest maximum for a frame that the standard allows (§2.7.1).
const MIN_FRAME_BYTES: u32 = 512;

/// How much of everything a client may have. `frame_bytes`, `channel_max`, `handle_max` and
/// `idle_timeout_ms` are announced in our open and begins; what is announced is not to be lowered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineLimits {
    /// The longest frame we take, in bytes; whoever decodes them sees to it.
    pub(crate) frame_bytes: u32,
    /// The highest channel of a client.
    pub(crate) channel_max: u16,
    /// The highest handle of a client.
    pub(crate) handle_max: u32,
    /// After so many milliseconds without a frame we close the connection; whoever has a clock sees
    /// to it.
    pub(crate) idle_timeout_ms: Option<u32>,
    /// The most sessions. One more is ended at once, and a client that goes on, up to twice as
    /// many, is disconnected.
    pub(crate) max_sessions: usize,
    /// The most links of all sessions. As with sessions.
    pub(crate) max_links: usize,
    /// What all deliveries together may occupy that are not whole yet, in bytes. At least
    /// `max_message_bytes`, or no message of that size in several frames is taken.
    pub(crate) max_partial_bytes: usize,
    /// The longest message on any link, in bytes.
    pub(crate) max_message_bytes: u64,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The client opened the connection. It is answered already.
    Opened(Box<Open>),
    /// It attaches a link, which waits for [`Engine::accept`] or [`Engine::refuse`].
    Attached { link: LinkId, attach: Box<Attach> },
    /// It sent a message, whole.
    Message {
        link: LinkId,
        delivery: DeliveryId,
        /// `message-format`
        format: u32,
        payload: Bytes,
        /// Nothing is to be said of it; [`Engine::settle`] does nothing.
        is_settled: bool,
    },
    /// The link takes so many more messages, those apart that wait already.
    Credit {
        link: LinkId,
        credit: u32,
        /// The client wants what there is, and then [`Engine::drained`].
        drain: bool,
    },
    /// A message of ours has its outcome.
    Settled { link: LinkId, number: u64, outcome: Outcome },
    /// The link is gone, and the client has its answer. What it sent before came before.
    Detached(LinkId),
    /// The client closed the connection, or answered our close. Nothing comes after.
    Closed(Option<WireError>),
}

/// The client broke the standard so that the connection is to be closed.
#[derive(Debug, Error)]
#[error("{}: {}", .error.condition, .error.description.as_deref().unwrap_or_default())]
pub(crate) struct Violation {
    /// What to close it with.
    pub(crate) error: WireError,
}

/// As many messages wait on a link as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too many messages wait for credit")]
pub(crate) struct Full;

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Engine {
    container_id: String,
    phase: Phase,
    /// Our open is sent.
    is_open_sent: bool,
    /// The client's highest channel.
    peer_channel_max: u16,
    /// By the client's channel.
    sessions: BTreeMap<u16, Slot>,
    /// Our channels in use.
    channels: BTreeSet<u16>,
    shared: Shared,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing came yet.
    Start,
    Open,
    /// Our close is sent, the client's is not here.
    Closing,
    Closed,
}

/// A session of the client's.
#[derive(Debug)]
enum Slot {
    Live(Box<Session>),
    /// We have ended it, and the client has not yet. What comes meanwhile left it before it knew.
    Ended {
        /// Our channel.
        channel: u16,
    },
}

impl Engine {
    /// A connection on which nothing was said.
    pub(crate) fn new(container_id: String, limits: EngineLimits) -> Self {
        Self {
            container_id,
            phase: Phase::Start,
            is_open_sent: false,
            peer_channel_max: 0,
            sessions: BTreeMap::new(),
            channels: BTreeSet::new(),
            shared: Shared::new(limits),
        }
    }

    /// From now on other limits hold; for what is there already, none is lowered.
    pub(crate) fn set_limits(&mut self, limits: EngineLimits) {
        self.shared.limits = limits;
    }

    /// Takes a frame of the client's. What follows from it is in [`Self::next_event`] and
    /// [`Self::output`]; both are to be emptied before the next frame, for a bound on what waits.
    ///
    /// # Errors
    /// [`Violation`]; the connection is to be closed with its error.
    pub(crate) fn receive(&mut self, frame: Frame) -> Result<(), Violation> {
        let Frame { channel, performative, payload } = frame;
        let was = match (self.phase, performative) {
            (Phase::Closed, _) => Ok(()),
            (Phase::Closing, Performative::Close(close)) => {
                self.closed(close.error);
                Ok(())
            }
            // It left before the client knew.
            (Phase::Closing, _) => Ok(()),
            (Phase::Start, Performative::Open(open)) => self.opened(open),
            (Phase::Start, _) => {
                Err(Broken::connection(ILLEGAL_STATE, "The connection is not open."))
            }
            (Phase::Open, performative) => self.heard(channel, performative, payload),
        };
        match was {
            Ok(()) => Ok(()),
            Err(Broken::Connection(error)) => Err(Violation { error }),
            Err(Broken::Session(error)) => {
                self.end_session(channel, Some(error));
                Ok(())
            }
        }
    }

    /// What happened next.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        // That a message left may be an event, too.
        self.send_waiting();
        let event = self.shared.events.pop_front();
        if self.shared.events.is_empty() {
            // A connection at rest keeps no memory for it.
            self.shared.events = VecDeque::new();
        }
        event
    }

    /// The frames to be sent, for the caller to take away, buffer and all. There may be more as
    /// soon as these are taken; messages wait outside of them and cost less there. That they leave
    /// may lead to events.
    pub(crate) fn output(&mut self) -> &mut BytesMut {
        self.send_waiting();
        &mut self.shared.out
    }

    /// Accepts a link: the answer repeats its source and target, and a client that sends gets
    /// credit. Without `max_message_bytes` the connection's own limit holds. Nothing happens if the
    /// link is answered or gone.
    pub(crate) fn accept(&mut self, link: LinkId, max_message_bytes: Option<u64>, window: u32) {
        if let Some((session, shared, handle)) = self.find(link) {
            session.accept(handle, max_message_bytes, window, shared);
        }
    }

    /// Refuses a link: the standard wants it attached and detached at once (§2.6.3).
    pub(crate) fn refuse(&mut self, link: LinkId, error: WireError) {
        self.detach(link, Some(error));
    }

    /// Settles a message of the client's. Nothing happens if it or its link is gone.
    pub(crate) fn settle(&mut self, link: LinkId, delivery: DeliveryId, outcome: Outcome) {
        if let Some((session, shared, handle)) = self.find(link) {
            session.settle(handle, delivery, outcome, shared);
        }
    }

    /// Sends a message, or lets it wait for credit. `number` comes back in [`Event::Settled`]. On a
    /// link that is gone nothing happens. A client that wants all messages settled gets them so,
    /// and they count as accepted once they are sent.
    ///
    /// # Errors
    /// [`Full`] when [`crate::endpoint::MAX_WAITING`] wait; the message is dropped.
    pub(crate) fn send(
        &mut self,
        link: LinkId,
        number: u64,
        tag: [u8; 16],
        message: Bytes,
        is_settled: bool,
    ) -> Result<(), Full> {
        match self.find(link) {
            Some((session, shared, handle)) => {
                session.send(handle, (number, tag), message, is_settled, shared)
            }
            None => Ok(()),
        }
    }

    /// Answers a drain: once what waits is sent, the client has the rest of its credit back.
    pub(crate) fn drained(&mut self, link: LinkId) {
        if let Some((session, shared, handle)) = self.find(link) {
            session.drained(handle, shared);
        }
    }

    /// Detaches a link, for good. What was queued for it is dropped, and no event tells of it.
    pub(crate) fn detach(&mut self, link: LinkId, error: Option<WireError>) {
        if let Some((session, shared, handle)) = self.find(link) {
            session.leave(handle, error, shared);
            shared.forget_events(&[link]);
        }
    }

    /// Detaches links with an error and ends their sessions, where no other link is on them, with
    /// the same. What was queued for the links is dropped, and no event tells of them. Returns
    /// whether no link but token links is left, so that the connection is to be closed.
    pub(crate) fn cut_off(
        &mut self,
        links: &[LinkId],
        error: &WireError,
        is_token_link: impl Fn(LinkId) -> bool,
    ) -> bool {
        let mut channels = BTreeSet::new();
        for link in links {
            if let Some((session, shared, handle)) = self.find(*link) {
                channels.insert(session.peer_channel());
                session.leave(handle, Some(error.clone()), shared);
            }
        }
        self.shared.forget_events(links);
        for channel in channels {
            let is_over = match self.sessions.get(&channel) {
                Some(Slot::Live(session)) => !session.has_links(),
                _ => false,
            };
            if is_over {
                self.end_session(channel, Some(error.clone()));
            }
        }
        self.shared.links.keys().all(|link| is_token_link(*link))
    }

    /// Closes the connection. What the client sends from now on is ignored, until its own close,
    /// and no event tells of anything else.
    pub(crate) fn close(&mut self, error: Option<WireError>) {
        if matches!(self.phase, Phase::Closing | Phase::Closed) {
            return;
        }
        self.send_open();
        self.wind_up(error.as_ref());
        self.shared.put(0, Performative::Close(Close { error }));
        self.forget_all();
        self.shared.events.clear();
        self.phase = Phase::Closing;
    }

    /// Detaches every link and ends every session. A close says as much, but one client asks for
    /// both again when it hears of it, and waits 45 seconds for answers that a closed connection
    /// has no more (`azure-iot-amqp-base` 2.5.3).
    ///
    /// The first error it hears is what it goes by, and of a forced end it comes back only when its
    /// links were (H §4.3.7).
    fn wind_up(&mut self, error: Option<&WireError>) {
        let of_links = error.cloned().map(|mut error| {
            if error.condition == CONNECTION_FORCED {
                DETACH_FORCED.clone_into(&mut error.condition);
            }
            error
        });
        let links: Vec<LinkId> = self.shared.links.keys().copied().collect();
        for link in links {
            self.detach(link, of_links.clone());
        }
        let channels: Vec<u16> = self.sessions.keys().copied().collect();
        for channel in channels {
            if let Some(Slot::Live(_)) = self.sessions.get(&channel) {
                self.end_session(channel, of_links.clone());
            }
        }
    }

    /// What the client's deliveries occupy that are not whole yet, in bytes.
    pub(crate) const fn partial_bytes(&self) -> usize {
        self.shared.partial_bytes
    }

    /// The oldest of the client's deliveries that are not whole yet.
    pub(crate) fn oldest_partial(&self) -> Option<DeliveryId> {
        self.shared.partials.first().copied()
    }

    fn opened(&mut self, open: Box<Open>) -> Result<(), Broken> {
        let max_frame_bytes = open.max_frame_size.unwrap_or(u32::MAX);
        if max_frame_bytes < MIN_FRAME_BYTES {
            let why = format!("The field `max-frame-size` is less than {MIN_FRAME_BYTES}.");
            return Err(Broken::connection(INVALID_FIELD, why));
        }
        let max_frame_bytes = usize::try_from(max_frame_bytes).unwrap_or(usize::MAX);
        self.shared.max_frame_bytes = max_frame_bytes.min(MAX_SENT_FRAME_BYTES);
        self.peer_channel_max = open.channel_max.unwrap_or(u16::MAX);
        self.send_open();
        self.phase = Phase::Open;
        self.shared.events.push_back(Event::Opened(open));
        Ok(())
    }

    /// Even a connection that is refused is opened first (§2.4.1).
    fn send_open(&mut self) {
        if mem::replace(&mut self.is_open_sent, true) {
            return;
        }
        let limits = &self.shared.limits;
        let open = Open {
            container_id: self.container_id.clone(),
            max_frame_size: Some(limits.frame_bytes),
            channel_max: Some(limits.channel_max),
            idle_timeout_ms: limits.idle_timeout_ms,
            ..Open::default()
        };
        self.shared.put(0, Performative::Open(Box::new(open)));
    }

    /// A frame on a connection that is open.
    fn heard(
        &mut self,
        channel: u16,
        performative: Performative,
        payload: Bytes,
    ) -> Result<(), Broken> {
        let channel_max = self.shared.limits.channel_max;
        if channel > channel_max {
            let why = format!("Channel {channel} is above `channel-max`, {channel_max}.");
            return Err(Broken::connection(FRAMING_ERROR, why));
        }
        match performative {
            Performative::Open(_) => {
                return Err(Broken::connection(ILLEGAL_STATE, "The connection is open already."));
            }
            Performative::Close(close) => {
                self.shared.put(0, Performative::Close(Close::default()));
                self.closed(close.error);
                return Ok(());
            }
            Performative::Begin(begin) => return self.begun(channel, &begin),
            Performative::End(_) => return self.ended(channel),
            _ => {}
        }
        let shared = &mut self.shared;
        let session = match self.sessions.get_mut(&channel) {
            Some(Slot::Live(session)) => session,
            // It left before the client knew.
            Some(Slot::Ended { .. }) => return Ok(()),
            None => return Err(no_session(channel)),
        };
        match performative {
            Performative::Attach(attach) => session.attached(attach, shared),
            Performative::Flow(flow) => session.flowed(&flow, shared),
            Performative::Transfer(transfer) => session.transferred(transfer, payload, shared),
            Performative::Disposition(said) => session.disposed(said, shared),
            Performative::Detach(detach) => session.detached(detach, shared),
            // Dealt with above.
            Performative::Open(_)
            | Performative::Begin(_)
            | Performative::End(_)
            | Performative::Close(_) => Ok(()),
        }
    }

    fn begun(&mut self, channel: u16, begin: &Begin) -> Result<(), Broken> {
        if self.sessions.contains_key(&channel) {
            let why = format!("A session is on channel {channel} already.");
            return Err(Broken::connection(ILLEGAL_STATE, why));
        }
        if begin.remote_channel.is_some() {
            let why = "A begin that answers none of ours.";
            return Err(Broken::connection(NOT_ALLOWED, why));
        }
        let limit = self.shared.limits.max_sessions;
        if self.sessions.len() >= limit.saturating_mul(2) {
            let why = format!("More than {limit} sessions.");
            return Err(Broken::connection(RESOURCE_LIMIT_EXCEEDED, why));
        }
        let ours = self.free_channel(channel).ok_or_else(|| {
            let why = format!("More sessions than `channel-max`, {}.", self.peer_channel_max);
            Broken::connection(NOT_ALLOWED, why)
        })?;
        let is_one_more = self.sessions.len() >= limit;
        self.channels.insert(ours);
        let session = Session::begin((channel, ours), begin, &mut self.shared);
        self.sessions.insert(channel, Slot::Live(Box::new(session)));
        if is_one_more {
            let why = format!("More than {limit} sessions.");
            return Err(Broken::session(RESOURCE_LIMIT_EXCEEDED, why));
        }
        Ok(())
    }

    /// A channel for our side of a session: the client's own, if that may be, or the first one.
    fn free_channel(&self, theirs: u16) -> Option<u16> {
        if theirs <= self.peer_channel_max && !self.channels.contains(&theirs) {
            return Some(theirs);
        }
        let mut free = 0;
        for channel in &self.channels {
            if *channel != free {
                break;
            }
            free = free.checked_add(1)?;
        }
        (free <= self.peer_channel_max).then_some(free)
    }

    fn ended(&mut self, channel: u16) -> Result<(), Broken> {
        let ours = match self.sessions.remove(&channel) {
            Some(Slot::Live(session)) => {
                let ours = session.channel();
                session.forget(&mut self.shared);
                self.shared.put(ours, Performative::End(End::default()));
                ours
            }
            Some(Slot::Ended { channel }) => channel,
            None => return Err(no_session(channel)),
        };
        self.channels.remove(&ours);
        Ok(())
    }

    /// Ends a session from our side.
    fn end_session(&mut self, channel: u16, error: Option<WireError>) {
        let Some(slot) = self.sessions.get_mut(&channel) else { return };
        if let Slot::Live(session) = slot {
            let ours = session.channel();
            let Slot::Live(session) = mem::replace(slot, Slot::Ended { channel: ours }) else {
                return;
            };
            session.forget(&mut self.shared);
            self.shared.put(ours, Performative::End(End { error }));
        }
    }

    fn closed(&mut self, error: Option<WireError>) {
        self.forget_all();
        self.phase = Phase::Closed;
        self.shared.events.push_back(Event::Closed(error));
    }

    /// Forgets sessions and links. That the connection is over says that they are.
    fn forget_all(&mut self) {
        self.sessions = BTreeMap::new();
        self.channels = BTreeSet::new();
        self.shared.links = BTreeMap::new();
        self.shared.line = VecDeque::new();
        self.shared.n_handles = 0;
        self.shared.partial_bytes = 0;
        self.shared.partials = BTreeSet::new();
    }

    /// Encodes messages that wait, while little is encoded.
    fn send_waiting(&mut self) {
        while self.shared.out.len() < AHEAD_BYTES {
            let Some(link) = self.shared.line.pop_front() else {
                self.shared.line = VecDeque::new();
                return;
            };
            if let Some((session, shared, handle)) = self.find(link) {
                session.send_first(handle, shared);
            }
        }
    }

    /// A live link: its session, and the client's handle for it.
    fn find(&mut self, link: LinkId) -> Option<(&mut Session, &mut Shared, u32)> {
        let (channel, handle) = *self.shared.links.get(&link)?;
        match self.sessions.get_mut(&channel)? {
            Slot::Live(session) => Some((session, &mut self.shared, handle)),
            Slot::Ended { .. } => None,
        }
    }
}

fn no_session(channel: u16) -> Broken {
    Broken::connection(NOT_ALLOWED, format!("No session is on channel {channel}."))
}

#[cfg(test)]
mod tests;
