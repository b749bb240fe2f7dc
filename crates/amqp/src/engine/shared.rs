//! What all sessions of a connection have in common: what is to be sent and told, and how much
//! there may be.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::BytesMut;

use super::{
    EngineLimits, Event, MIN_FRAME_BYTES,
    condition::{Broken, RESOURCE_LIMIT_EXCEEDED},
    link::shorten as shorten_terminus,
};
use crate::{
    endpoint::{DeliveryId, LinkId},
    proto::{self, Close, Detach, End, Outcome, Performative, State, WireError},
};

/// What the sessions of a connection share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: EngineLimits,
    pub(super) out: BytesMut,
    /// The longest frame we send.
    pub(super) max_frame_bytes: usize,
    pub(super) events: VecDeque<Event>,
    /// The channel and handle of each live link.
    pub(super) links: BTreeMap<LinkId, (u16, u32)>,
    /// Those and the ones that the client is yet to detach.
    pub(super) n_handles: usize,
    /// What deliveries occupy that are not whole.
    pub(super) partial_bytes: usize,
    /// Those deliveries.
    pub(super) partials: BTreeSet<DeliveryId>,
    /// Links that have something to send.
    pub(super) line: VecDeque<LinkId>,
    pub(super) n_links_ever: u32,
    pub(super) n_deliveries_ever: u64,
    /// The first `transfer-id` and `delivery-id` of a session.
    pub(super) first_outgoing_id: u32,
}

impl Shared {
    pub(super) fn new(limits: EngineLimits) -> Self {
        Self {
            limits,
            out: BytesMut::new(),
            max_frame_bytes: MIN_FRAME_BYTES as usize,
            events: VecDeque::new(),
            links: BTreeMap::new(),
            n_handles: 0,
            partial_bytes: 0,
            partials: BTreeSet::new(),
            line: VecDeque::new(),
            n_links_ever: 0,
            n_deliveries_ever: 0,
            first_outgoing_id: 0,
        }
    }

    /// Writes a frame. One that is longer than the client takes goes without what is not needed.
    pub(super) fn put(&mut self, channel: u16, mut performative: Performative) {
        let start = self.out.len();
        proto::encode(channel, &performative, &mut self.out);
        if self.out.len() - start <= self.max_frame_bytes {
            return;
        }
        match &mut performative {
            Performative::Attach(attach) => {
                shorten_terminus(&mut attach.source);
                shorten_terminus(&mut attach.target);
            }
            Performative::Disposition(disposition) => {
                if let Some(State::Outcome(Outcome::Rejected(Some(error)))) = &mut disposition.state
                {
                    shorten(error);
                }
            }
            Performative::Detach(Detach { error: Some(error), .. })
            | Performative::End(End { error: Some(error) })
            | Performative::Close(Close { error: Some(error) }) => shorten(error),
            // These are short.
            _ => return,
        }
        self.out.truncate(start);
        proto::encode(channel, &performative, &mut self.out);
    }

    /// A number for a link that no other ever had.
    pub(super) fn next_link(&mut self) -> Result<LinkId, Broken> {
        let link = LinkId(self.n_links_ever);
        self.n_links_ever = self.n_links_ever.checked_add(1).ok_or_else(|| {
            Broken::connection(RESOURCE_LIMIT_EXCEEDED, "Too many links on this connection.")
        })?;
        Ok(link)
    }

    pub(super) fn forget_events(&mut self, links: &[LinkId]) {
        self.events.retain(|event| match event {
            Event::Attached { link, .. }
            | Event::Message { link, .. }
            | Event::Credit { link, .. }
            | Event::Settled { link, .. }
            | Event::Detached(link) => !links.contains(link),
            Event::Opened(_) | Event::Closed(_) => true,
        });
    }
}

/// Leaves of an error what no client can do without.
fn shorten(error: &mut WireError) {
    error.description = None;
    error.info = Vec::new();
}
