//! One session: its windows, and the links on it (§2.5, §2.6).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Event,
    condition::{
        Broken, FRAMING_ERROR, HANDLE_IN_USE, NOT_ALLOWED, RESOURCE_LIMIT_EXCEEDED, STOLEN,
        UNATTACHED_HANDLE,
    },
    link::{Echo, End, Link},
    serial,
    shared::Shared,
    unsettled::Unsettled,
};
use crate::proto::{Attach, Begin, Detach, Disposition, Flow, Performative, Role, WireError};

/// How many transfers a client may send before it hears that there is room for more. It hears so
/// when half of them came: the credit of links is what holds clients back.
pub(super) const SESSION_WINDOW: u32 = 2048;
/// What we say of how much we may send. Nothing depends on it.
const OUTGOING_WINDOW: u32 = 65_535;
/// A session that neither side has ended.
#[derive(Debug)]
pub(super) struct Session {
    /// The client's channel and ours.
    channels: (u16, u16),
    peer_handle_max: u32,
    /// The links, by the client's handles.
    pub(super) links: BTreeMap<u32, Box<Link>>,
    /// Our handles in use.
    handles: BTreeSet<u32>,

    next_incoming_id: u32,
    /// How many transfers the client may still send.
    incoming_left: u32,
    /// The client's latest `delivery-id`.
    pub(super) last_delivery: Option<u32>,
    /// What the client sent, by the numbers of [`crate::endpoint::DeliveryId`].
    pub(super) incoming: Unsettled,

    pub(super) next_outgoing_id: u32,
    /// How many transfers we may still send.
    pub(super) remote_window: u32,
    pub(super) next_delivery_id: u32,
    /// What we sent.
    pub(super) outgoing: Unsettled,
}

impl Session {
    /// Answers a begin.
    pub(super) fn begin(channels: (u16, u16), begin: &Begin, shared: &mut Shared) -> Self {
        let (theirs, ours) = channels;
        let first = shared.first_outgoing_id;
        let answer = Begin {
            remote_channel: Some(theirs),
            next_outgoing_id: first,
            incoming_window: SESSION_WINDOW,
            outgoing_window: OUTGOING_WINDOW,
            handle_max: Some(shared.limits.handle_max),
            ..Begin::default()
        };
        shared.put(ours, Performative::Begin(Box::new(answer)));
        Self {
            channels,
            peer_handle_max: begin.handle_max.unwrap_or(u32::MAX),
            links: BTreeMap::new(),
            handles: BTreeSet::new(),
            next_incoming_id: begin.next_outgoing_id,
            incoming_left: SESSION_WINDOW,
            last_delivery: None,
            incoming: Unsettled::default(),
            next_outgoing_id: first,
            remote_window: begin.incoming_window,
            next_delivery_id: first,
            outgoing: Unsettled::default(),
        }
    }

    /// Our channel.
    pub(super) const fn channel(&self) -> u16 {
        self.channels.1
    }

    /// The client's.
    pub(super) const fn peer_channel(&self) -> u16 {
        self.channels.0
    }

    /// Whether any link is on it that neither side has detached.
    pub(super) fn has_links(&self) -> bool {
        self.links.values().any(|link| link.is_live())
    }

    /// The client attaches a link.
    pub(super) fn attached(
        &mut self,
        attach: Box<Attach>,
        shared: &mut Shared,
    ) -> Result<(), Broken> {
        let handle = attach.handle;
        let handle_max = shared.limits.handle_max;
        if handle > handle_max {
            let why = format!("Handle {handle} is above `handle-max`, {handle_max}.");
            return Err(Broken::connection(FRAMING_ERROR, why));
        }
        if self.links.contains_key(&handle) {
            let why = format!("Handle {handle} is in use.");
            return Err(Broken::session(HANDLE_IN_USE, why));
        }
        let limit = shared.limits.max_links;
        if shared.n_handles >= limit.saturating_mul(2) {
            let why = format!("More than {limit} links.");
            return Err(Broken::connection(RESOURCE_LIMIT_EXCEEDED, why));
        }
        let answer = Echo::of(&attach);
        if !answer.fits(shared.max_frame_bytes) {
            let why = "The answer to an attach is longer than `max-frame-size`.";
            return Err(Broken::connection(RESOURCE_LIMIT_EXCEEDED, why));
        }
        let Some(ours) = self.free_handle(handle) else {
            let why = format!("More links than `handle-max`, {}.", self.peer_handle_max);
            return Err(Broken::session(NOT_ALLOWED, why));
        };
        self.steal(&attach, shared);
        let id = shared.next_link()?;
        let is_one_more = shared.links.len() >= limit;
        self.handles.insert(ours);
        self.links.insert(handle, Box::new(Link::new(id, ours, &attach, answer)));
        shared.n_handles += 1;
        shared.links.insert(id, (self.peer_channel(), handle));
        if is_one_more {
            let why = format!("More than {limit} links.");
            self.leave(handle, Some(WireError::new(RESOURCE_LIMIT_EXCEEDED, why)), shared);
        } else {
            shared.events.push_back(Event::Attached { link: id, attach });
        }
        Ok(())
    }

    /// Detaches the link that another attach names, too. Names are those of a session here: one
    /// client uses the same ones for all its devices (H §4.3.4).
    fn steal(&mut self, attach: &Attach, shared: &mut Shared) {
        let same = self.links.iter().find(|(_, link)| link.is_same(attach));
        let Some((id, handle)) = same.map(|(handle, link)| (link.id, *handle)) else { return };
        let why = "Another link of this name was attached.";
        self.leave(handle, Some(WireError::new(STOLEN, why)), shared);
        shared.events.push_back(Event::Detached(id));
    }

    /// A handle for our side of a link: the client's own, if that may be, or the first one.
    fn free_handle(&self, theirs: u32) -> Option<u32> {
        if theirs <= self.peer_handle_max && !self.handles.contains(&theirs) {
            return Some(theirs);
        }
        let mut free = 0;
        for handle in &self.handles {
            if *handle != free {
                break;
            }
            free = free.checked_add(1)?;
        }
        (free <= self.peer_handle_max).then_some(free)
    }

    /// Answers an attach.
    pub(super) fn accept(
        &mut self,
        handle: u32,
        max_message_bytes: Option<u64>,
        window: u32,
        shared: &mut Shared,
    ) {
        let Some(link) = self.links.get_mut(&handle) else { return };
        let Some(echo) = link.unanswered.take() else { return };
        let limit = shared.limits.max_message_bytes;
        let max_message_bytes = match &mut link.end {
            End::Receiving(receiving) => {
                let longest = max_message_bytes.filter(|longest| *longest > 0);
                let max_message_bytes = longest.unwrap_or(limit).min(limit);
                receiving.max_message_bytes = max_message_bytes;
                receiving.window = window;
                receiving.credit = window;
                Some(max_message_bytes)
            }
            End::Sending(_) | End::Left { .. } => max_message_bytes,
        };
        let (id, ours) = (link.id, link.handle);
        let answer = echo.accept(ours, max_message_bytes);
        shared.put(self.channel(), Performative::Attach(Box::new(answer)));
        let Some(link) = self.links.get_mut(&handle) else { return };
        match &mut link.end {
            End::Receiving(_) if window > 0 => self.put_flow(Some(handle), shared),
            End::Sending(sending) => {
                // Its credit may have come with its attach.
                let gives_back = sending.gives_back();
                if gives_back {
                    sending.give_back();
                }
                let (credit, drain) = (sending.room(), sending.is_draining);
                if credit > 0 || drain {
                    shared.events.push_back(Event::Credit { link: id, credit, drain });
                }
                if gives_back {
                    self.put_drained(handle, shared);
                }
                self.join_line(handle, shared);
            }
            End::Receiving(_) | End::Left { .. } => {}
        }
    }

    /// The client detaches a link, or answers that we did.
    pub(super) fn detached(&mut self, detach: Detach, shared: &mut Shared) -> Result<(), Broken> {
        let Detach { handle, closed, .. } = detach;
        let Some(mut link) = self.links.remove(&handle) else { return Err(no_link(handle)) };
        self.handles.remove(&link.handle);
        shared.n_handles -= 1;
        if link.is_live() {
            if let Some(echo) = link.unanswered.take() {
                let answer = echo.refuse(link.handle);
                shared.put(self.channel(), Performative::Attach(Box::new(answer)));
            }
            let answer = Detach { handle: link.handle, closed, error: None };
            shared.put(self.channel(), Performative::Detach(answer));
            shared.events.push_back(Event::Detached(link.id));
            self.forget_deliveries(handle, &mut link, shared);
        }
        Ok(())
    }

    /// Detaches a link from our side.
    pub(super) fn leave(&mut self, handle: u32, error: Option<WireError>, shared: &mut Shared) {
        let Some(mut link) = self.links.remove(&handle) else { return };
        if link.is_live() {
            if let Some(echo) = link.unanswered.take() {
                let answer = echo.refuse(link.handle);
                shared.put(self.channel(), Performative::Attach(Box::new(answer)));
            }
            let detach = Detach { handle: link.handle, closed: true, error };
            shared.put(self.channel(), Performative::Detach(detach));
            self.forget_deliveries(handle, &mut link, shared);
        }
        self.links.insert(handle, link);
    }

    /// Forgets what a link had under way, and that it is live.
    fn forget_deliveries(&mut self, handle: u32, link: &mut Link, shared: &mut Shared) {
        shared.links.remove(&link.id);
        match &link.end {
            End::Receiving(receiving) if receiving.n_unsettled > 0 => self.incoming.forget(handle),
            End::Sending(sending) => {
                if sending.n_unsettled > 0 {
                    self.outgoing.forget(handle);
                }
                if sending.is_in_line {
                    shared.line.retain(|waiting| *waiting != link.id);
                }
            }
            End::Receiving(_) | End::Left { .. } => {}
        }
        if let Some(partial) = link.partial() {
            shared.partials.remove(&partial);
        }
        shared.partial_bytes -= link.leave();
    }

    /// Forgets all links: the session is over.
    pub(super) fn forget(&self, shared: &mut Shared) {
        shared.n_handles -= self.links.len();
        for link in self.links.values().filter(|link| link.is_live()) {
            shared.links.remove(&link.id);
            if let Some(partial) = link.partial() {
                shared.partials.remove(&partial);
            }
            shared.partial_bytes -= link.partial_bytes();
            shared.events.push_back(Event::Detached(link.id));
        }
        let links = &shared.links;
        shared.line.retain(|link| links.contains_key(link));
    }

    /// The client tells its windows, and perhaps the credit of a link.
    pub(super) fn flowed(&mut self, flow: &Flow, shared: &mut Shared) -> Result<(), Broken> {
        self.next_incoming_id = flow.next_outgoing_id;
        // Before it has our begin, the client does not know where we began (§2.5.6).
        let received = flow.next_incoming_id.unwrap_or(shared.first_outgoing_id);
        let n_in_flight = serial::distance(received, self.next_outgoing_id);
        let was_shut = self.remote_window == 0;
        self.remote_window = flow.incoming_window.saturating_sub(n_in_flight);
        if was_shut && self.remote_window > 0 {
            let handles: Vec<u32> = self.links.keys().copied().collect();
            for handle in handles {
                self.join_line(handle, shared);
            }
        }
        let Some(handle) = flow.handle else {
            if flow.echo {
                self.put_flow(None, shared);
            }
            return Ok(());
        };
        let link = self.links.get_mut(&handle).ok_or_else(|| no_link(handle))?;
        let is_answered = link.unanswered.is_none();
        match &mut link.end {
            // It left before the client knew.
            End::Left { .. } => return Ok(()),
            End::Receiving(receiving) => {
                if let Some(delivery_count) = flow.delivery_count {
                    receiving.hear_count(delivery_count);
                }
                if is_answered && (receiving.renew_credit() || flow.echo) {
                    self.put_flow(Some(handle), shared);
                }
            }
            End::Sending(_) => self.heard_credit(handle, flow, shared),
        }
        Ok(())
    }

    /// The client tells what became of deliveries.
    pub(super) fn disposed(
        &mut self,
        said: Disposition,
        shared: &mut Shared,
    ) -> Result<(), Broken> {
        match said.role {
            Role::Receiver => self.receiver_said(said, shared),
            Role::Sender => self.sender_said(&said, shared),
        }
        Ok(())
    }

    /// Counts a transfer of the client's; `false` if there is no window for it.
    pub(super) fn count_transfer(&mut self) -> bool {
        self.next_incoming_id = self.next_incoming_id.wrapping_add(1);
        match self.incoming_left.checked_sub(1) {
            Some(left) => {
                self.incoming_left = left;
                true
            }
            None => false,
        }
    }

    /// Tells the client that its transfers came, when it is time to.
    pub(super) fn renew_window(&mut self, shared: &mut Shared) {
        if self.incoming_left <= SESSION_WINDOW / 2 {
            self.put_flow(None, shared);
        }
    }

    /// Sends a flow, with the state of a link or that of the session alone.
    pub(super) fn put_flow(&mut self, handle: Option<u32>, shared: &mut Shared) {
        self.incoming_left = SESSION_WINDOW;
        let flow = self.flow(handle);
        shared.put(self.channel(), Performative::Flow(flow));
    }

    /// Tells the client that it has its credit back.
    pub(super) fn put_drained(&mut self, handle: u32, shared: &mut Shared) {
        self.incoming_left = SESSION_WINDOW;
        let flow = Flow { drain: true, ..self.flow(Some(handle)) };
        shared.put(self.channel(), Performative::Flow(flow));
    }

    pub(super) fn flow(&self, handle: Option<u32>) -> Flow {
        let mut flow = Flow {
            next_incoming_id: Some(self.next_incoming_id),
            incoming_window: self.incoming_left,
            next_outgoing_id: self.next_outgoing_id,
            outgoing_window: OUTGOING_WINDOW,
            ..Flow::default()
        };
        let Some(link) = handle.and_then(|handle| self.links.get(&handle)) else { return flow };
        let (delivery_count, credit, available) = match &link.end {
            End::Receiving(receiving) => (receiving.delivery_count, receiving.credit, 0),
            End::Sending(sending) => {
                flow.drain = sending.is_draining;
                let n_waiting = u32::try_from(sending.waiting.len()).unwrap_or(u32::MAX);
                (sending.delivery_count, sending.credit, n_waiting)
            }
            // Nobody asks for it.
            End::Left { .. } => return flow,
        };
        flow.handle = Some(link.handle);
        flow.delivery_count = Some(delivery_count);
        flow.link_credit = Some(credit);
        flow.available = Some(available);
        flow
    }
}

pub(super) fn no_link(handle: u32) -> Broken {
    Broken::session(UNATTACHED_HANDLE, format!("No link has handle {handle}."))
}

#[cfg(test)]
impl Session {
    /// As if the client had sent as many transfers as it may.
    pub(super) const fn use_up_window(&mut self) {
        self.incoming_left = 0;
    }
}
