//! What a device is told because it subscribed to it: changes of its desired properties, calls of
//! its methods, and messages.

use app::live::{Command, Desired, MethodInvocation};
use bytes::Bytes;
use model::{CloudMessage, Qos as Level};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::warn;

use super::{
    super::{Over, calls, jobs::Replies, message},
    Talk,
};
use crate::{
    proto::{Delivery, Packet, PacketId, Publish, Topic},
    topic,
};

impl<S> Talk<'_, S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    pub(super) fn obey(&mut self, command: Command) -> Result<(), Over> {
        match command {
            Command::Desired(desired) => self.tell_desired(&desired),
            Command::Method(call) => self.call(call),
            Command::Messages => {
                self.may_have_messages = true;
                Ok(())
            }
        }
    }

    fn tell_desired(&mut self, desired: &Desired) -> Result<(), Over> {
        let Some(level) = self.session.subscriptions().desired else {
            return Ok(());
        };
        let id = match level {
            Level::AtMostOnce => None,
            Level::AtLeastOnce => self.unacked.change(),
        };
        let text = wire::hub::desired_notification(&desired.patch, desired.version);
        let topic = Topic::new(topic::desired_changed(desired.version))
            .map_err(|bad| Over::Misbehaved(bad.to_string()))?;
        self.publish(topic, text.into(), id)
    }

    fn call(&mut self, call: MethodInvocation) -> Result<(), Over> {
        if self.session.subscriptions().methods.is_none() {
            // Unsubscribed meanwhile: dropping the call tells the caller.
            return Ok(());
        }
        let Some((number, name, payload)) = self.calls.begin(call) else {
            return Ok(());
        };
        match Topic::new(topic::method_call(&name, &calls::number_text(number))) {
            Ok(topic) => self.publish(topic, payload.into(), None),
            // A name with a wildcard: no device can be told of it (H §4.2.9).
            Err(_) => {
                self.calls.give_up(number);
                Ok(())
            }
        }
    }

    /// Looks into the queue, if there may be messages and the device takes more. A module has none:
    /// what it subscribed to are its inputs, and nobody sends to those (H §4.2.5).
    pub(super) fn pull_messages(&mut self) {
        let settings = &self.context.settings;
        if self.session.device_id().module().is_none()
            && self.pull.is_none()
            && self.may_have_messages
            && self.session.subscriptions().messages.is_some()
            && self.unacked.n_messages() < settings.max_in_flight_messages.max(1)
            && self.has_room()
        {
            // One that comes while we look is told, and looked for again.
            self.may_have_messages = false;
            let (session, after) = (self.session, self.last_message);
            self.pull =
                Some(Box::pin(async move { Ok(session.next_message(after).await?.map(Box::new)) }));
        }
    }

    pub(super) fn send_message(&mut self, found: Option<Box<CloudMessage>>) -> Result<(), Over> {
        let Some(message) = found else {
            return Ok(());
        };
        self.may_have_messages = true;
        let Some(level) = self.session.subscriptions().messages else {
            // Unsubscribed meanwhile: it stays in the queue.
            return Ok(());
        };
        self.last_message = message.number;
        let Some(topic) = message::topic(self.session.device_id(), &message) else {
            warn!(
                device.id = %self.session.device_id(), message.number,
                "a message to `{}` cannot be delivered: its properties are too long for a topic",
                self.session.device_id(),
            );
            let (session, number) = (self.session, message.number);
            self.jobs.push(Box::pin(async move {
                session.reject(number).await?;
                Ok(Replies::default())
            }));
            return Ok(());
        };
        let id = match level {
            Level::AtMostOnce => {
                self.sent_at_most_once = Some(message.number);
                None
            }
            Level::AtLeastOnce => Some(self.unacked.message(message.number)),
        };
        self.publish(topic, message.body.into(), id)
    }

    /// A message of QoS 0 is done with when it was sent.
    pub(super) fn after_flush(&mut self) {
        if let Some(number) = self.sent_at_most_once.take() {
            self.complete(number);
        }
    }

    fn publish(&mut self, topic: Topic, payload: Bytes, id: Option<PacketId>) -> Result<(), Over> {
        let delivery = match id {
            None => Delivery::AtMostOnce,
            Some(id) => Delivery::AtLeastOnce { id, dup: false },
        };
        let publish = Publish { topic, payload, delivery, retain: false };
        Ok(self.link.queue(&Packet::Publish(publish))?)
    }
}
