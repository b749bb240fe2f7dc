//! Cloud-to-device messages on a device's receiver link (H §4.3.6).
//!
//! One is taken from the queue when the device has credit for it, and stays there until the device
//! has settled it: accepted it is done with, rejected it is given up, and everything else, the end
//! of the link too, leaves it to be sent again.

use std::{
    collections::BTreeSet,
    future::{Future, pending},
    pin::Pin,
};

use app::{device::SessionNo, live::End};
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use model::CloudMessage;
use tracing::error;

use super::{Context, Outbox};
use crate::{
    content,
    door::chain_of,
    endpoint::{Ask, Attached, LinkId},
    errors,
    proto::{
        Body, Header, Message, MessageId, Outcome, Properties, SenderSettle, Value, encode_message,
    },
};

/// What a look into the queue found, or what came of a message that was settled. Boxed, because a
/// session that waits for it keeps room for it.
pub(super) enum Delivered {
    Found(Result<Option<Box<CloudMessage>>, SessionNo>),
    Ended(Result<(), SessionNo>),
}

type Pull<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Box<CloudMessage>>, SessionNo>> + Send + 'a>>;
type Ending<'a> = Pin<Box<dyn Future<Output = Result<(), SessionNo>> + Send + 'a>>;

/// A device's receiver link and the messages on it. At rest it holds no memory but its own.
#[derive(Default)]
pub(super) struct Messages<'a> {
    link: Option<Receiver>,
    /// The look into the queue that is on its way.
    pull: Option<Pull<'a>>,
    /// Ends of messages that are being written.
    endings: Option<FuturesUnordered<Ending<'a>>>,
    /// Whether the queue may hold messages that were not looked at.
    may_have_more: bool,
    /// The number of the last message taken for the first time.
    last: u64,
    /// Those that were sent and not settled.
    unsettled: BTreeSet<u64>,
    /// Those that the device gave back.
    returned: BTreeSet<u64>,
}

struct Receiver {
    link: LinkId,
    /// How many messages the device takes.
    credit: u32,
    /// Whether it gives up the credit that is not used at once.
    drain: bool,
    /// Whether it wants to settle nothing.
    is_settled: bool,
}

impl<'a> Messages<'a> {
    pub(super) const fn is_attached(&self) -> bool {
        self.link.is_some()
    }

    /// The device attached its receiver link. One that it had is detached for the new one, and
    /// returned.
    pub(super) fn attached(
        &mut self,
        context: Context<'a>,
        attached: &Attached,
        outbox: &mut Outbox,
    ) -> Option<LinkId> {
        let stolen = self.link.take().map(|before| before.link);
        if let Some(link) = stolen {
            let text = "the device attached another link for its messages";
            let error = errors::tracked(errors::STOLEN, text, &context.shared.tracking_id);
            outbox.push_back(Ask::Detach { link, error: Some(error) });
        }
        let link = attached.link;
        let is_settled = attached.sender_settle == SenderSettle::Settled;
        self.begin_again();
        self.link = Some(Receiver { link, credit: 0, drain: false, is_settled });
        outbox.push_back(Ask::Accept { link, max_message_bytes: None, window: 0 });
        stolen
    }

    /// What was sent on the link and not settled waits in the queue, and is sent again on the next.
    pub(super) fn detached(&mut self, link: LinkId) {
        if self.link.as_ref().is_some_and(|of| of.link == link) {
            self.link = None;
            self.begin_again();
        }
    }

    fn begin_again(&mut self) {
        self.pull = None;
        self.unsettled = BTreeSet::new();
        self.returned = BTreeSet::new();
        self.last = 0;
        self.may_have_more = true;
    }

    pub(super) const fn look_again(&mut self) {
        self.may_have_more = true;
    }

    pub(super) fn credit(&mut self, link: LinkId, credit: u32, drain: bool) {
        if let Some(of) = self.link.as_mut().filter(|of| of.link == link) {
            of.credit = credit;
            of.drain = drain;
        }
    }

    /// The device told what became of a message.
    pub(super) fn settled(
        &mut self,
        context: Context<'a>,
        link: LinkId,
        number: u64,
        outcome: &Outcome,
    ) {
        let is_ours = self.link.as_ref().is_some_and(|of| of.link == link);
        if !is_ours || !self.unsettled.remove(&number) {
            return;
        }
        let session = context.session;
        match outcome {
            Outcome::Accepted => self.end(Box::pin(session.complete(number))),
            Outcome::Rejected(_) => self.end(Box::pin(session.reject(number))),
            // It waits for another link.
            Outcome::Modified { undeliverable_here: true, .. } => {}
            Outcome::Released | Outcome::Modified { .. } => {
                self.returned.insert(number);
            }
        }
    }

    fn end(&mut self, ending: Ending<'a>) {
        self.endings.get_or_insert_default().push(ending);
    }

    /// Looks into the queue, if the device takes a message and there may be one.
    pub(super) fn go_on(&mut self, context: Context<'a>, outbox: &mut Outbox) {
        if self.pull.is_some() {
            return;
        }
        let Some(of) = &mut self.link else { return };
        let most = context.shared.settings.max_in_flight_messages.max(1);
        // What is being ended is counted, or a device that settles faster than the store writes
        // would have any number on their way.
        let n_endings = self.endings.as_ref().map_or(0, FuturesUnordered::len);
        let has_room = of.credit > 0 && self.unsettled.len() + n_endings < most;
        let session = context.session;
        if has_room && let Some(number) = self.returned.pop_first() {
            self.pull =
                Some(Box::pin(
                    async move { Ok(session.message_again(number).await?.map(Box::new)) },
                ));
        } else if has_room && self.may_have_more {
            // One that comes while we look is told, and looked for again.
            self.may_have_more = false;
            let after = self.last;
            self.pull =
                Some(Box::pin(async move { Ok(session.next_message(after).await?.map(Box::new)) }));
        } else if of.drain {
            of.drain = false;
            of.credit = 0;
            outbox.push_back(Ask::Drained(of.link));
        }
    }

    /// Whether the end of a message is being written.
    pub(super) const fn is_busy(&self) -> bool {
        self.endings.is_some()
    }

    /// What came of a look into the queue, or of an end. Waits for ever when there is none; nothing
    /// is lost when this is dropped while it waits.
    pub(super) async fn next(&mut self) -> Delivered {
        let (pull, endings) = (&mut self.pull, &mut self.endings);
        tokio::select! {
            biased;
            ended = ended(endings) => Delivered::Ended(ended),
            found = pulled(pull) => Delivered::Found(found),
        }
    }

    /// Sends a message that was found. Returns the link, if it is lost.
    ///
    /// # Errors
    /// The session's end.
    pub(super) fn take(
        &mut self,
        context: Context<'a>,
        delivered: Delivered,
        outbox: &mut Outbox,
    ) -> Result<Option<LinkId>, End> {
        let no = match delivered {
            Delivered::Found(Ok(Some(message))) => {
                self.send(context, *message, outbox);
                return Ok(None);
            }
            Delivered::Found(Ok(None)) | Delivered::Ended(Ok(())) => return Ok(None),
            Delivered::Found(Err(no)) | Delivered::Ended(Err(no)) => no,
        };
        let tracking_id = &context.shared.tracking_id;
        let error = match no {
            SessionNo::Over(end) => return Err(end),
            SessionNo::Refused(refusal) => errors::hub_error(&refusal, tracking_id),
            SessionNo::Fault(fault) => {
                let (chain, session) = (chain_of(&fault), context.session);
                error!(
                    tracking_id, hub.name = %session.hub(), device.id = %session.device_id(),
                    error = %chain, "the message queue failed: {chain}",
                );
                errors::internal(tracking_id)
            }
        };
        // The device attaches anew, and gets anew what it has not settled.
        let lost = self.link.take().map(|of| of.link);
        if let Some(link) = lost {
            outbox.push_back(Ask::Detach { link, error: Some(error) });
            self.begin_again();
        }
        Ok(lost)
    }

    fn send(&mut self, context: Context<'a>, message: CloudMessage, outbox: &mut Outbox) {
        self.may_have_more |= message.number > self.last;
        self.last = self.last.max(message.number);
        // Detached meanwhile: it stays in the queue.
        let Some(of) = &mut self.link else { return };
        of.credit = of.credit.saturating_sub(1);
        let (link, number, is_settled) = (of.link, message.number, of.is_settled);
        outbox.push_back(Ask::Send {
            link,
            number,
            tag: tag_of(&message),
            message: encode(message),
            is_settled,
        });
        if is_settled {
            // Sent at most once, as the device wished.
            self.end(Box::pin(context.session.complete(number)));
        } else {
            self.unsettled.insert(number);
        }
    }
}

async fn pulled(pull: &mut Option<Pull<'_>>) -> Result<Option<Box<CloudMessage>>, SessionNo> {
    let Some(running) = pull else { return pending().await };
    let found = running.await;
    *pull = None;
    found
}

async fn ended(endings: &mut Option<FuturesUnordered<Ending<'_>>>) -> Result<(), SessionNo> {
    if let Some(running) = endings
        && let Some(ended) = running.next().await
    {
        if running.is_empty() {
            *endings = None;
        }
        return ended;
    }
    pending().await
}

/// Another one for each time a message is sent. C#'s client makes a GUID of it (H §4.3.6).
fn tag_of(message: &CloudMessage) -> [u8; 16] {
    (u128::from(message.number) << 32 | u128::from(message.delivery_count)).to_be_bytes()
}

fn encode(message: CloudMessage) -> Bytes {
    let CloudMessage { device_id, delivery_count, feedback, properties, application, body, .. } =
        message;
    let string = |text: String| MessageId::String(text);
    // As text it came, and what is no moment is not sent.
    let expiry = properties.expiry.and_then(|text| wire::time::parse(&text).ok());
    // The same as over MQTT: without what a hub sets itself or only devices send.
    let sent = Properties {
        message_id: properties.message_id.map(string),
        user_id: properties.user_id.map(Bytes::from),
        to: Some(format!("/devices/{device_id}/messages/devicebound")),
        correlation_id: properties.correlation_id.map(string),
        content_type: properties.content_type,
        content_encoding: properties.content_encoding,
        absolute_expiry_ms: expiry.map(content::millis),
        ..Properties::default()
    };
    let wish = wire::hub::feedback_word(feedback)
        .map(|wish| ("iothub-ack".to_owned(), Value::String(wish.to_owned())));
    let own = application
        .into_iter()
        .map(|(name, value)| (name, value.map_or(Value::Null, Value::String)));
    // How often it was sent in vain.
    let delivery_count = delivery_count.saturating_sub(1);
    encode_message(&Message {
        header: Some(Header { delivery_count, ..Header::default() }),
        properties: Some(Box::new(sent)),
        application_properties: wish.into_iter().chain(own).collect(),
        body: Body::Data(vec![body.into()]),
        ..Message::default()
    })
}
