//! What the client sends on a session: messages, in as many frames as it likes, and what it hears
//! of them.

use bytes::Bytes;

use super::{
    Event,
    condition::{
        Broken, ERRANT_LINK, INVALID_FIELD, NOT_ALLOWED, NOT_IMPLEMENTED, TRANSFER_LIMIT_EXCEEDED,
        WINDOW_VIOLATION,
    },
    link::{End, Partial, Receiving, TooMuch},
    serial,
    session::{Session, no_link},
    shared::Shared,
    unsettled::{Entry, Mark},
};
use crate::{
    endpoint::DeliveryId,
    proto::{Disposition, Outcome, Performative, Role, State, Transfer, WireError},
};

/// A message that is too long is passed over and rejected at its end, as the vendor does
/// (H §4.3.6). One that is so many times too long takes its link with it.
const PATIENCE: u64 = 4;

/// What a transfer led to.
enum Step {
    /// More of the delivery is to come, or it was given up.
    Nothing,
    Whole(Whole),
    /// The delivery cannot be taken.
    TooMuch {
        wire: u32,
        is_settled: bool,
        why: TooMuch,
    },
    /// The link is to be detached.
    Detach(WireError),
    /// The session is to be ended.
    End(Broken),
}

/// A message that has arrived.
struct Whole {
    delivery: DeliveryId,
    wire: u32,
    format: u32,
    payload: Bytes,
    is_settled: bool,
}

impl Session {
    /// A piece of a message arrives.
    pub(super) fn transferred(
        &mut self,
        transfer: Transfer,
        payload: Bytes,
        shared: &mut Shared,
    ) -> Result<(), Broken> {
        if !self.count_transfer() {
            let why = "More transfers than the session's window.";
            return Err(Broken::session(WINDOW_VIOLATION, why));
        }
        let handle = transfer.handle;
        let goes_on = transfer.more && !transfer.aborted;
        let link = self.links.get_mut(&handle).ok_or_else(|| no_link(handle))?;
        let id = link.id;
        let is_answered = link.unanswered.is_none();
        let step = match &mut link.end {
            End::Left { credit, is_midway } => {
                pass_over(credit, is_midway, goes_on)?;
                self.renew_window(shared);
                return Ok(());
            }
            End::Sending(_) => {
                let why = "A transfer on a link whose receiver sends it.";
                Step::Detach(WireError::new(NOT_ALLOWED, why))
            }
            End::Receiving(receiving) => {
                let held = receiving.partial.as_ref().map_or(0, |partial| partial.bytes.capacity());
                let before = receiving.partial.as_ref().map(|partial| partial.delivery);
                let room = shared.limits.max_partial_bytes.saturating_sub(shared.partial_bytes);
                let numbers = Numbers {
                    latest: &mut self.last_delivery,
                    oldest_unsettled: self.incoming.oldest(),
                    n_ever: &mut shared.n_deliveries_ever,
                };
                let step = match receiving.delivery_of(&transfer, is_answered, numbers) {
                    Ok(delivery) => receiving.take(delivery, &transfer, payload, room + held),
                    Err(step) => step,
                };
                let holds =
                    receiving.partial.as_ref().map_or(0, |partial| partial.bytes.capacity());
                shared.partial_bytes = shared.partial_bytes - held + holds;
                let after = receiving.partial.as_ref().map(|partial| partial.delivery);
                if before != after {
                    if let Some(whole) = before {
                        shared.partials.remove(&whole);
                    }
                    shared.partials.extend(after);
                }
                step
            }
        };
        match step {
            Step::Nothing => {}
            Step::Whole(whole) => self.arrived(handle, whole, shared),
            Step::TooMuch { wire, is_settled, why } => {
                self.reject(handle, wire, is_settled, why, shared);
            }
            Step::Detach(error) => {
                self.leave(handle, Some(error), shared);
                shared.events.push_back(Event::Detached(id));
                if let Some(link) = self.links.get_mut(&handle)
                    && let End::Left { is_midway, .. } = &mut link.end
                {
                    *is_midway = goes_on;
                }
            }
            Step::End(broken) => return Err(broken),
        }
        self.renew_credit(handle, shared);
        self.renew_window(shared);
        Ok(())
    }

    fn arrived(&mut self, handle: u32, whole: Whole, shared: &mut Shared) {
        let Some(link) = self.links.get_mut(&handle) else { return };
        let End::Receiving(receiving) = &mut link.end else { return };
        let Whole { delivery, wire, format, payload, is_settled } = whole;
        if !is_settled {
            receiving.n_unsettled += 1;
            self.incoming.insert(Entry { wire, handle, number: delivery.0, mark: Mark::Nothing });
        }
        let link = link.id;
        shared.events.push_back(Event::Message { link, delivery, format, payload, is_settled });
    }

    /// Rejects a message of which nothing is kept.
    fn reject(
        &mut self,
        handle: u32,
        wire: u32,
        is_settled: bool,
        why: TooMuch,
        shared: &mut Shared,
    ) {
        let Some(link) = self.links.get_mut(&handle) else { return };
        let End::Receiving(receiving) = &link.end else { return };
        let (id, longest) = (link.id, receiving.max_message_bytes);
        if is_settled {
            // It would not hear of it otherwise.
            self.leave(handle, Some(why.error(longest)), shared);
            shared.events.push_back(Event::Detached(id));
        } else {
            self.put_outcome(wire, true, why.outcome(longest), shared);
        }
    }

    /// Settles a message of the client's, or tells it what it may settle.
    pub(super) fn settle(
        &mut self,
        handle: u32,
        delivery: DeliveryId,
        outcome: Outcome,
        shared: &mut Shared,
    ) {
        let Some(entry) = self.incoming.find(delivery.0) else { return };
        if entry.handle != handle {
            return;
        }
        let wire = entry.wire;
        self.incoming.take(delivery.0);
        self.put_outcome(wire, true, outcome, shared);
        self.settled(handle, shared);
    }

    /// The client, as a sender, settles messages of its own.
    pub(super) fn sender_said(&mut self, said: &Disposition, shared: &mut Shared) {
        if !said.settled {
            return;
        }
        for entry in self.incoming.take_range(said.first, said.last.unwrap_or(said.first)) {
            self.settled(entry.handle, shared);
        }
    }

    /// One delivery less is under way on a link.
    fn settled(&mut self, handle: u32, shared: &mut Shared) {
        if let Some(link) = self.links.get_mut(&handle)
            && let End::Receiving(receiving) = &mut link.end
        {
            receiving.n_unsettled -= 1;
            self.renew_credit(handle, shared);
        }
    }

    fn renew_credit(&mut self, handle: u32, shared: &mut Shared) {
        if let Some(link) = self.links.get_mut(&handle)
            && let End::Receiving(receiving) = &mut link.end
            && receiving.renew_credit()
        {
            self.put_flow(Some(handle), shared);
        }
    }

    fn put_outcome(&self, wire: u32, settled: bool, outcome: Outcome, shared: &mut Shared) {
        let disposition = Disposition {
            role: Role::Receiver,
            first: wire,
            last: Some(wire),
            settled,
            state: Some(State::Outcome(outcome)),
            batchable: false,
        };
        shared.put(self.channel(), Performative::Disposition(disposition));
    }
}

/// How the deliveries of a session, and of its connection, are numbered.
struct Numbers<'a> {
    /// The client's latest `delivery-id`.
    latest: &'a mut Option<u32>,
    oldest_unsettled: Option<u32>,
    /// How many deliveries this connection has seen: the number of each.
    n_ever: &'a mut u64,
}

impl Receiving {
    /// The delivery that a transfer is a piece of: the one that is under way, or a new one.
    fn delivery_of(
        &mut self,
        transfer: &Transfer,
        is_answered: bool,
        numbers: Numbers<'_>,
    ) -> Result<Partial, Step> {
        let detach = |condition, why: &str| Err(Step::Detach(WireError::new(condition, why)));
        if transfer.resume {
            return detach(NOT_IMPLEMENTED, "Deliveries are not resumed.");
        }
        if let Some(partial) = &self.partial
            && !partial.goes_on_with(transfer)
        {
            return detach(NOT_ALLOWED, "A delivery that becomes another one in its middle.");
        }
        if let Some(partial) = self.partial.take() {
            return Ok(*partial);
        }
        if !is_answered || self.credit == 0 {
            return detach(TRANSFER_LIMIT_EXCEEDED, "A delivery without credit for it.");
        }
        let Some(wire) = transfer.delivery_id else {
            return detach(INVALID_FIELD, "A delivery without `delivery-id`.");
        };
        let Some(tag) = &transfer.delivery_tag else {
            return detach(INVALID_FIELD, "A delivery without `delivery-tag`.");
        };
        let delivery = numbers.begin(wire).map_err(Step::End)?;
        self.delivery_count = self.delivery_count.wrapping_add(1);
        self.credit -= 1;
        Ok(Partial {
            delivery,
            wire,
            tag: tag.clone(),
            format: transfer.message_format.unwrap_or(0),
            is_settled: false,
            bytes: Vec::new(),
            n_seen: 0,
            refusal: None,
        })
    }

    /// Takes a piece of a delivery. All partial deliveries together may grow so that this one
    /// occupies `room` bytes.
    fn take(
        &mut self,
        mut delivery: Partial,
        transfer: &Transfer,
        payload: Bytes,
        room: usize,
    ) -> Step {
        if transfer.aborted {
            return Step::Nothing;
        }
        delivery.is_settled |= transfer.settled.unwrap_or(false);
        let is_kept = transfer.more || delivery.n_seen > 0;
        delivery.see(&payload, is_kept, self.max_message_bytes, room);
        if delivery.n_seen > self.max_message_bytes.saturating_mul(PATIENCE) && transfer.more {
            return Step::Detach(TooMuch::Message.error(self.max_message_bytes));
        }
        if transfer.more {
            self.partial = Some(Box::new(delivery));
            return Step::Nothing;
        }
        let Partial { delivery, wire, format, is_settled, bytes, refusal, .. } = delivery;
        if let Some(why) = refusal {
            return Step::TooMuch { wire, is_settled, why };
        }
        // What came in one piece stays where it is.
        let payload = if is_kept { bytes.into() } else { payload };
        Step::Whole(Whole { delivery, wire, format, payload, is_settled })
    }
}

impl Numbers<'_> {
    /// Holds the number of a new delivery against those before it. They ascend; one client leaves
    /// some out.
    fn begin(self, wire: u32) -> Result<DeliveryId, Broken> {
        let ascends = self.latest.is_none_or(|latest| serial::is_before(latest, wire))
            && self.oldest_unsettled.is_none_or(|oldest| serial::is_before(oldest, wire));
        if !ascends {
            return Err(Broken::session(NOT_ALLOWED, "A `delivery-id` that was used already."));
        }
        *self.latest = Some(wire);
        *self.n_ever += 1;
        Ok(DeliveryId(*self.n_ever))
    }
}

impl Partial {
    /// Whether a transfer says nothing else of the delivery than those before it.
    fn goes_on_with(&self, transfer: &Transfer) -> bool {
        transfer.delivery_id.is_none_or(|id| id == self.wire)
            && transfer.delivery_tag.as_ref().is_none_or(|tag| *tag == self.tag)
            && transfer.message_format.is_none_or(|format| format == self.format)
    }

    /// Counts a piece of the message, and keeps it if more pieces are to follow or came before,
    /// unless there is too much of it.
    fn see(&mut self, payload: &[u8], is_kept: bool, max_message_bytes: u64, room: usize) {
        let n_more = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        self.n_seen = self.n_seen.saturating_add(n_more.max(1));
        if self.refusal.is_some() {
            return;
        }
        let size_bytes = self.bytes.len() + payload.len();
        self.refusal = if u64::try_from(size_bytes).is_ok_and(|size| size > max_message_bytes) {
            Some(TooMuch::Message)
        } else if is_kept && size_bytes > room {
            Some(TooMuch::Connection)
        } else {
            None
        };
        if !is_kept {
            return;
        }
        if self.refusal.is_some() {
            self.bytes = Vec::new();
            return;
        }
        if size_bytes > self.bytes.capacity() {
            // Twice as much each time, as long as that is allowed.
            let longest = usize::try_from(max_message_bytes).unwrap_or(usize::MAX);
            let wanted = size_bytes.max(self.bytes.capacity() * 2).min(longest.min(room));
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(payload);
    }
}

/// Passes over a transfer on a link that we have detached. What its credit allowed may have left
/// before the client knew; more than that did not (§2.6.5).
fn pass_over(credit: &mut u32, is_midway: &mut bool, goes_on: bool) -> Result<(), Broken> {
    if !*is_midway {
        *credit = credit.checked_sub(1).ok_or_else(|| {
            Broken::session(ERRANT_LINK, "A delivery on a link that was detached.")
        })?;
    }
    *is_midway = goes_on;
    Ok(())
}
