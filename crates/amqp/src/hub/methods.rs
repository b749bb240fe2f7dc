//! Direct methods on a device's pair of method links (H §4.3.5).
//!
//! A device takes methods as long as it has a whole pair. What was called and not answered has no
//! answer when the pair is gone. A call goes out while its caller waits, or not at all: a device
//! that reads again does not do what nobody wants any more.

use std::collections::VecDeque;

use app::{
    device::DeviceSession,
    live::{End, MethodAnswer, MethodInvocation},
};
use bytes::Bytes;
use futures_util::FutureExt;
use tracing::warn;

use super::{
    calls::{Calls, MAX_CALLS},
    pairs::{Pairs, Way},
};
use crate::{
    AmqpSettings, content,
    endpoint::{Ask, Attached, Incoming, LinkId},
    errors,
    proto::{
        Body, Limits, Message, MessageId, Outcome, Properties, Role, Value, WireError,
        decode_message, encode_message,
    },
};

/// The largest payload a device may answer a method with, in bytes: as large as a call's (H §10).
const MAX_ANSWER_BYTES: usize = 128 * 1024;

/// The method's name, in the call's application properties.
const NAME: &str = "IoThub-methodname";
/// The device's status, in the result's.
const STATUS: &str = "IoThub-status";

/// A device's method links and the calls on them.
#[derive(Debug, Default)]
pub(super) struct Methods {
    pairs: Pairs,
    calls: Calls,
    /// Calls, with their correlation IDs, that wait until the device takes messages.
    held: VecDeque<(MethodInvocation, [u8; 16])>,
}

impl Methods {
    /// Whether methods can be called: what the session is subscribed to.
    pub(super) fn takes_calls(&self) -> bool {
        self.pairs.way_to().is_some()
    }

    /// Takes a link in.
    pub(super) fn attach(&mut self, attached: &Attached, settings: &AmqpSettings) -> Ask {
        self.pairs.attach(attached);
        accept(attached, settings)
    }

    /// Forgets a link.
    pub(super) fn detach(&mut self, link: LinkId) {
        self.pairs.detach(link);
        if !self.takes_calls() {
            self.calls.clear();
            self.held = VecDeque::new();
        }
    }

    /// Calls a method on the device, or does so once it takes messages. When that is not possible,
    /// dropping the call tells the caller. `correlation_id` is one that no other call has.
    pub(super) fn call(&mut self, call: MethodInvocation, correlation_id: [u8; 16]) -> Option<Ask> {
        self.held.retain(|(held, _)| !held.reply.is_closed());
        if self.takes_calls() && self.held.len() + self.calls.n_waiting() < MAX_CALLS {
            self.held.push_back((call, correlation_id));
        }
        self.next_call()
    }

    /// The device takes so many messages on this link: the calls that waited for that.
    pub(super) fn credit(&mut self, link: LinkId, credit: u32) -> Vec<Ask> {
        self.pairs.credit(link, credit);
        std::iter::from_fn(|| self.next_call()).collect()
    }

    /// The next call that somebody waits for, if the device takes one.
    fn next_call(&mut self) -> Option<Ask> {
        while let Some((call, correlation_id)) = self.held.pop_front() {
            if call.reply.is_closed() {
                continue;
            }
            let way = self.pairs.way_to()?;
            if !self.pairs.use_credit(way.link) {
                self.held.push_front((call, correlation_id));
                return None;
            }
            if let Some(ask) = self.send(way, call, correlation_id) {
                return Some(ask);
            }
        }
        self.held = VecDeque::new();
        None
    }

    fn send(&mut self, way: Way, call: MethodInvocation, correlation_id: [u8; 16]) -> Option<Ask> {
        let (number, name, payload) = self.calls.begin(call, correlation_id)?;
        let message = Message {
            properties: Some(Box::new(Properties {
                // C's client takes no other type.
                correlation_id: Some(MessageId::Uuid(correlation_id)),
                ..Properties::default()
            })),
            application_properties: vec![(NAME.to_owned(), Value::String(name))],
            // C's client wants a section even when there is nothing in it.
            body: Body::Data(vec![payload.into()]),
            ..Message::default()
        };
        Some(Ask::Send {
            link: way.link,
            number,
            tag: correlation_id,
            message: encode_message(&message),
            is_settled: way.is_settled,
        })
    }

    /// The device told what became of a call; one it did not take will have no answer.
    pub(super) fn settled(&mut self, number: u64, outcome: &Outcome) {
        if *outcome != Outcome::Accepted {
            self.calls.not_taken(number);
        }
    }

    /// Hands a device's result to who called; the outcome of its message.
    ///
    /// # Errors
    /// The session's end: what arrives after the cut has no effect (H §4.5.3).
    pub(super) fn message(
        &mut self,
        session: &DeviceSession,
        incoming: &Incoming,
    ) -> Result<Outcome, End> {
        if let Some(end) = session.ended().now_or_never() {
            return Err(end);
        }
        Ok(match self.take(session, incoming.payload.clone()) {
            Ok(()) => Outcome::Accepted,
            Err(error) => Outcome::Rejected(Some(error)),
        })
    }

    fn take(&mut self, session: &DeviceSession, payload: Bytes) -> Result<(), WireError> {
        let message = decode_message(payload, &Limits::SESSION)
            .map_err(|bad| WireError::new(errors::DECODE, bad.to_string()))?;
        let id = correlation_of(&message)
            .ok_or_else(|| argument("a method's result has its call's correlation-id, a uuid"))?;
        match answer_of(session, message) {
            Ok(answer) => {
                self.calls.answer(&id, answer);
                Ok(())
            }
            Err(error) => {
                self.calls.give_up(&id);
                Err(error)
            }
        }
    }
}

/// The result in a message.
fn answer_of(session: &DeviceSession, message: Message) -> Result<MethodAnswer, WireError> {
    let status = message.application_properties.iter().find(|(name, _)| name == STATUS);
    let status = status.and_then(|(_, value)| content::integer_of(value));
    let status = status
        .and_then(|status| i32::try_from(status).ok())
        .ok_or_else(|| argument("a method's result has `IoThub-status`, an int"))?;
    let payload = content::body_bytes(message.body)
        .ok_or_else(|| argument("a method's result has a body of data"))?;
    if payload.len() > MAX_ANSWER_BYTES {
        warn!(
            device.id = %session.device_id(), size_bytes = payload.len(),
            "`{}` answered a method with more than {MAX_ANSWER_BYTES} bytes, which is no answer",
            session.device_id(),
        );
        let limit = format!("a method's result has at most {MAX_ANSWER_BYTES} bytes");
        return Err(WireError::new(errors::TOO_LARGE, limit));
    }
    Ok(MethodAnswer { status, payload: payload.to_vec() })
}

/// The correlation ID of a result. Clients echo the uuid; as text and as bytes it is the same.
fn correlation_of(message: &Message) -> Option<[u8; 16]> {
    match message.properties.as_ref()?.correlation_id.as_ref()? {
        MessageId::Uuid(bytes) => Some(*bytes),
        MessageId::String(text) => content::guid_bytes(text),
        MessageId::Binary(bytes) => bytes.as_ref().try_into().ok(),
        MessageId::Ulong(_) => None,
    }
}

/// Accepts a link of a pair.
pub(super) fn accept(attached: &Attached, settings: &AmqpSettings) -> Ask {
    let is_sender = attached.role == Role::Sender;
    Ask::Accept {
        link: attached.link,
        max_message_bytes: is_sender.then_some(settings.max_message_bytes),
        window: if is_sender { settings.credit } else { 0 },
    }
}

fn argument(text: &str) -> WireError {
    WireError::new(errors::ARGUMENT, text)
}

#[cfg(test)]
mod tests;
