//! What we send on a session: messages, in as many frames as they need, and what comes back of
//! them.

use bytes::Bytes;

use super::{
    AHEAD_BYTES, Event, Full,
    condition::MESSAGE_SIZE_EXCEEDED,
    link::{End, Sending, Waiting},
    session::Session,
    shared::Shared,
    unsettled::{Entry, Mark},
};
use crate::{
    endpoint::MAX_WAITING,
    proto::{
        self, Disposition, Flow, Outcome, Performative, Role, SenderSettle, State, Transfer,
        WireError,
    },
};

/// So much of a condition is kept for each of several deliveries that it is said of.
const MAX_CONDITION_BYTES: usize = 128;

impl Session {
    /// Puts a message behind those that wait on a link.
    pub(super) fn send(
        &mut self,
        handle: u32,
        (number, tag): (u64, [u8; 16]),
        message: Bytes,
        is_settled: bool,
        shared: &mut Shared,
    ) -> Result<(), Full> {
        let Some(link) = self.links.get_mut(&handle) else { return Ok(()) };
        let End::Sending(sending) = &mut link.end else { return Ok(()) };
        if sending.waiting.len() >= MAX_WAITING {
            return Err(Full);
        }
        let (id, longest) = (link.id, sending.max_message_bytes);
        if longest > 0 && u64::try_from(message.len()).is_ok_and(|size_bytes| size_bytes > longest)
        {
            let why =
                format!("The message is longer than the {longest} bytes that the link takes.");
            let error = WireError::new(MESSAGE_SIZE_EXCEEDED, why);
            if is_settled {
                // Nobody would hear that it was not sent.
                self.leave(handle, Some(error), shared);
                shared.events.push_back(Event::Detached(id));
            } else {
                let outcome = Outcome::Rejected(Some(error));
                shared.events.push_back(Event::Settled { link: id, number, outcome });
            }
            return Ok(());
        }
        let is_told = !is_settled;
        let is_settled = match link.sender_settle {
            SenderSettle::Settled => true,
            SenderSettle::Unsettled => false,
            SenderSettle::Mixed => is_settled,
        };
        sending.waiting.push_back(Waiting { number, tag, message, is_settled, is_told });
        self.join_line(handle, shared);
        Ok(())
    }

    /// Lets a link stand in the line of those that have something to send, if it has.
    pub(super) fn join_line(&mut self, handle: u32, shared: &mut Shared) {
        if self.remote_window == 0 {
            return;
        }
        let Some(link) = self.links.get_mut(&handle) else { return };
        if let (End::Sending(sending), None) = (&mut link.end, &link.unanswered)
            && !sending.is_in_line
            && sending.is_ready()
        {
            sending.is_in_line = true;
            shared.line.push_back(link.id);
        }
    }

    /// Sends the first message that waits on a link, which has left the line, or as much of it as
    /// may leave now.
    pub(super) fn send_first(&mut self, handle: u32, shared: &mut Shared) {
        let channel = self.channel();
        let Some(link) = self.links.get_mut(&handle) else { return };
        let (id, ours) = (link.id, link.handle);
        let End::Sending(sending) = &mut link.end else { return };
        sending.is_in_line = false;
        if !sending.is_ready() {
            return;
        }
        let Some(first) = sending.waiting.front() else { return };
        let (mut n_sent, wire) = match sending.begun {
            Some(begun) => begun,
            None => {
                let wire = self.next_delivery_id;
                self.next_delivery_id = wire.wrapping_add(1);
                sending.delivery_count = sending.delivery_count.wrapping_add(1);
                sending.credit -= 1;
                if !first.is_settled {
                    sending.n_unsettled += 1;
                    let mark = if first.is_told { Mark::Nothing } else { Mark::Quiet };
                    self.outgoing.push(Entry { wire, handle, number: first.number, mark });
                }
                (0, wire)
            }
        };
        let transfer = Transfer {
            handle: ours,
            delivery_id: Some(wire),
            delivery_tag: Some(Bytes::copy_from_slice(&first.tag)),
            message_format: Some(0),
            settled: Some(first.is_settled),
            ..Transfer::default()
        };
        let mut is_whole = false;
        while !is_whole && self.remote_window > 0 && shared.out.len() < AHEAD_BYTES {
            let rest = &first.message[n_sent..];
            let max_frame_bytes = shared.max_frame_bytes;
            n_sent +=
                proto::encode_transfer(channel, &transfer, rest, max_frame_bytes, &mut shared.out);
            self.next_outgoing_id = self.next_outgoing_id.wrapping_add(1);
            self.remote_window -= 1;
            is_whole = n_sent == first.message.len();
        }
        if is_whole {
            sending.begun = None;
            if first.is_settled && first.is_told {
                let (number, outcome) = (first.number, Outcome::Accepted);
                shared.events.push_back(Event::Settled { link: id, number, outcome });
            }
            sending.pop();
            if sending.gives_back() {
                sending.give_back();
                self.put_drained(handle, shared);
            }
            self.join_line(handle, shared);
        } else {
            sending.begun = Some((n_sent, wire));
            // With no window left it waits for the next flow.
            if self.remote_window > 0 {
                sending.is_in_line = true;
                shared.line.push_front(id);
            }
        }
    }

    /// The client tells the credit of a link that we send on.
    pub(super) fn heard_credit(&mut self, handle: u32, flow: &Flow, shared: &mut Shared) {
        let Some(link) = self.links.get_mut(&handle) else { return };
        let End::Sending(sending) = &mut link.end else { return };
        let (id, is_answered) = (link.id, link.unanswered.is_none());
        let had = sending.room();
        if let Some(credit) = flow.link_credit {
            sending.hear_credit(flow.delivery_count, credit);
        }
        sending.is_draining = flow.drain;
        sending.is_drained &= flow.drain;
        if !is_answered {
            return;
        }
        let gives_back = sending.gives_back();
        if gives_back {
            sending.give_back();
        }
        let (credit, drain) = (sending.room(), sending.is_draining);
        if credit != had || drain {
            shared.events.push_back(Event::Credit { link: id, credit, drain });
        }
        if gives_back {
            self.put_drained(handle, shared);
        } else if flow.echo {
            self.put_flow(Some(handle), shared);
        }
        self.join_line(handle, shared);
    }

    /// The endpoint has nothing more to send on a link that the client drains.
    pub(super) fn drained(&mut self, handle: u32, shared: &mut Shared) {
        let Some(link) = self.links.get_mut(&handle) else { return };
        let End::Sending(sending) = &mut link.end else { return };
        if !sending.is_draining {
            return;
        }
        sending.is_drained = true;
        if sending.gives_back() {
            sending.give_back();
            self.put_drained(handle, shared);
        }
    }

    /// The client, as a receiver, tells what became of messages of ours.
    pub(super) fn receiver_said(&mut self, said: Disposition, shared: &mut Shared) {
        let outcome = match &said.state {
            Some(State::Outcome(outcome)) => outcome.clone(),
            // Settled without a word: it is not known to have got anywhere.
            _ if said.settled => Outcome::Released,
            // It has a part of it, which ends nothing.
            _ => return,
        };
        let taken = self.outgoing.take_range(said.first, said.last.unwrap_or(said.first));
        let (Some(first), Some(last)) = (taken.first(), taken.last()) else { return };
        if !said.settled {
            // It settles after we have (§2.6.12).
            let answer = Disposition {
                role: Role::Sender,
                first: first.wire,
                last: Some(last.wire),
                settled: true,
                state: said.state,
                batchable: false,
            };
            shared.put(self.channel(), Performative::Disposition(answer));
        }
        let outcome = if taken.len() > 1 { brief(outcome) } else { outcome };
        for entry in taken {
            let Some(link) = self.links.get_mut(&entry.handle) else { continue };
            let id = link.id;
            let End::Sending(sending) = &mut link.end else { continue };
            sending.n_unsettled -= 1;
            if entry.mark != Mark::Quiet {
                let (number, outcome) = (entry.number, outcome.clone());
                shared.events.push_back(Event::Settled { link: id, number, outcome });
            }
            self.join_line(entry.handle, shared);
        }
    }
}

impl Sending {
    fn pop(&mut self) {
        self.waiting.pop_front();
        if self.waiting.is_empty() {
            // A link at rest keeps no memory for what waited when it was busy.
            self.waiting = std::collections::VecDeque::new();
        }
    }
}

/// An outcome that is kept for many deliveries: one frame is not to cost as much as many.
fn brief(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Rejected(Some(mut error)) => {
            let end = error.condition.floor_char_boundary(MAX_CONDITION_BYTES);
            error.condition.truncate(end);
            Outcome::Rejected(Some(WireError {
                condition: error.condition,
                ..WireError::default()
            }))
        }
        other => other,
    }
}
