//! What a device sends (H §4.3.6): single messages and batches, written in order, accepted once
//! they are written.

use std::{
    collections::VecDeque,
    future::{Future, pending},
    pin::Pin,
};

use app::{
    device::{self, EventDraft, SessionNo},
    live::End,
};
use futures_util::{StreamExt, stream::FuturesOrdered};
use model::MessageProperties;
use tracing::{error, info};

use super::{Context, Outbox};
use crate::{
    content,
    door::chain_of,
    endpoint::{Ask, DeliveryId, Incoming, LinkId},
    errors,
    proto::{
        BadFrame, Limits, Message, Outcome, Properties, Value, WireError, decode_batch,
        decode_message,
    },
    stream::Place,
};

/// `message-format` of a batch: each of its data sections is a message (H §4.3.6).
const BATCH: u32 = 0x8001_3700;

/// What came of one event.
pub(super) type Sent = Result<(), SessionNo>;

type Sending<'a> = Pin<Box<dyn Future<Output = Sent> + Send + 'a>>;

/// The events of a device that are on their way. At rest it holds no memory but its own.
#[derive(Default)]
pub(super) struct Telemetry<'a> {
    /// Those that the store was given. They end in the order they came.
    running: Option<FuturesOrdered<Sending<'a>>>,
    /// Those behind them. The credit of their links bounds how many messages they come from.
    waiting: VecDeque<EventDraft>,
    /// The messages that all of these came in.
    deliveries: VecDeque<Delivery>,
}

/// A message of the device, of which some events are on their way.
struct Delivery {
    link: LinkId,
    /// `None` when the device wants to hear nothing of it.
    delivery: Option<DeliveryId>,
    n_left: usize,
    failed: Option<WireError>,
    /// The room it takes, until it is written.
    _place: Place,
}

impl<'a> Telemetry<'a> {
    pub(super) fn attached(&self, context: Context<'a>, link: LinkId, outbox: &mut Outbox) {
        let settings = &context.shared.settings;
        outbox.push_back(Ask::Accept {
            link,
            max_message_bytes: Some(settings.max_message_bytes),
            window: settings.credit,
        });
    }

    /// Takes a message. One that is no event, or a batch with one that is none, is rejected whole.
    pub(super) fn receive(
        &mut self,
        context: Context<'a>,
        link: LinkId,
        incoming: Incoming,
        outbox: &mut Outbox,
    ) {
        let Incoming { delivery, format, payload, is_settled, place } = incoming;
        let read = match format {
            BATCH => decode_batch(payload, &Limits::SESSION),
            _ => decode_message(payload, &Limits::SESSION).map(|message| vec![message]),
        };
        let drafts = read
            .map_err(|bad| not_read(&bad))
            .and_then(|messages| messages.into_iter().map(draft).collect::<Result<Vec<_>, _>>())
            .and_then(|drafts| {
                let too_large = drafts.iter().find_map(|draft| device::check_size(draft).err());
                let tracking_id = &context.shared.tracking_id;
                too_large.map_or(Ok(drafts), |why| Err(errors::hub_error(&why, tracking_id)))
            });
        let delivery = (!is_settled).then_some(delivery);
        let outcome = match drafts {
            Ok(drafts) if drafts.is_empty() => Outcome::Accepted,
            Ok(drafts) => {
                let n_left = drafts.len();
                let of = Delivery { link, delivery, n_left, failed: None, _place: place };
                self.deliveries.push_back(of);
                self.waiting.extend(drafts);
                return;
            }
            Err(error) => {
                let (id, why) = (context.session.device_id(), error.description.as_deref());
                info!(
                    tracking_id = context.shared.tracking_id, device.id = %id,
                    "`{id}` sent what is no event: {}", why.unwrap_or_default(),
                );
                Outcome::Rejected(Some(error))
            }
        };
        outbox.extend(delivery.map(|delivery| Ask::Settle { link, delivery, outcome }));
    }

    /// Gives the store as many events as may be on their way.
    pub(super) fn go_on(&mut self, context: Context<'a>) {
        if self.waiting.is_empty() {
            return;
        }
        let most = context.shared.settings.max_in_flight_events.max(1);
        let running = self.running.get_or_insert_default();
        while running.len() < most
            && let Some(draft) = self.waiting.pop_front()
        {
            running.push_back(Box::pin(context.session.send(draft)));
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }

    /// Whether something is on its way.
    pub(super) fn is_busy(&self) -> bool {
        !self.deliveries.is_empty()
    }

    /// What came of the oldest event. Waits for ever when there is none; nothing is lost when this
    /// is dropped while it waits.
    pub(super) async fn next(&mut self) -> Sent {
        if let Some(running) = &mut self.running
            && let Some(sent) = running.next().await
        {
            if running.is_empty() {
                self.running = None;
            }
            return sent;
        }
        pending().await
    }

    /// Settles the oldest message, if this was the last of its events.
    ///
    /// # Errors
    /// The session's end.
    pub(super) fn take(
        &mut self,
        context: Context<'a>,
        sent: Sent,
        outbox: &mut Outbox,
    ) -> Result<(), End> {
        let failed = match sent {
            Ok(()) => None,
            Err(SessionNo::Over(end)) => return Err(end),
            Err(SessionNo::Refused(refusal)) => {
                Some(errors::hub_error(&refusal, &context.shared.tracking_id))
            }
            // Perhaps it was written: a device that sends it again is on the safe side.
            Err(SessionNo::Fault(fault)) => {
                let (chain, session) = (chain_of(&fault), context.session);
                error!(
                    tracking_id = context.shared.tracking_id, hub.name = %session.hub(),
                    device.id = %session.device_id(), error = %chain,
                    "an event is lost: {chain}",
                );
                Some(errors::internal(&context.shared.tracking_id))
            }
        };
        let Some(oldest) = self.deliveries.front_mut() else { return Ok(()) };
        oldest.failed = oldest.failed.take().or(failed);
        oldest.n_left = oldest.n_left.saturating_sub(1);
        if oldest.n_left > 0 {
            return Ok(());
        }
        if let Some(Delivery { link, delivery, failed, .. }) = self.deliveries.pop_front() {
            let outcome = failed.map_or(Outcome::Accepted, |error| Outcome::Rejected(Some(error)));
            outbox.extend(delivery.map(|delivery| Ask::Settle { link, delivery, outcome }));
        }
        if self.deliveries.is_empty() {
            self.deliveries = VecDeque::new();
        }
        Ok(())
    }
}

fn not_read(bad: &BadFrame) -> WireError {
    let condition = match bad {
        BadFrame::Batch { .. } => errors::RESOURCE_LIMIT,
        _ => errors::DECODE,
    };
    WireError::new(condition, bad.to_string())
}

fn argument(text: impl Into<String>) -> WireError {
    WireError::new(errors::ARGUMENT, text)
}

/// Which of its outputs a module sends from.
const OUTPUT_NAME: &str = "iothub-outputname";

/// The event that a message is. What the service side reads as text is text from here on.
fn draft(message: Message) -> Result<EventDraft, WireError> {
    let Message { message_annotations, properties, application_properties, body, .. } = message;
    let body = content::body_bytes(body).ok_or_else(|| argument("an event has a body of data"))?;
    let mut kept = MessageProperties::default();
    if let Some(properties) = properties {
        read_properties(&mut kept, *properties)?;
    }
    let annotations = [
        ("iothub-creation-time-utc", &mut kept.creation_time),
        (OUTPUT_NAME, &mut kept.output_name),
        ("iothub-interface-id", &mut kept.interface_id),
        ("dt-subject", &mut kept.component),
    ];
    for (name, slot) in annotations {
        if let Some(value) = content::find(&message_annotations, name) {
            *slot = Some(text(name, value)?);
        }
    }
    let mut application = Vec::with_capacity(application_properties.len());
    for (name, value) in application_properties {
        let value = match value {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(text(&name, &other)?),
        };
        match &*name {
            // Modules name their output among their own properties: NODE, CS and JAVA do.
            OUTPUT_NAME => kept.output_name = value,
            _ => application.push((name, value)),
        }
    }
    Ok(EventDraft { properties: kept, application, body: body.to_vec() })
}

fn read_properties(kept: &mut MessageProperties, from: Properties) -> Result<(), WireError> {
    let id = |name: &str, id| content::id_text(id).ok_or_else(|| no_text(name));
    let moment = |name: &str, ms| {
        let moment = content::moment(ms).ok_or_else(|| no_text(name))?;
        Ok::<_, WireError>(wire::time::wire(moment))
    };
    let user =
        |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).map_err(|_| no_text("user-id"));
    kept.message_id = from.message_id.as_ref().map(|of| id("message-id", of)).transpose()?;
    kept.correlation_id =
        from.correlation_id.as_ref().map(|of| id("correlation-id", of)).transpose()?;
    kept.user_id = from.user_id.map(user).transpose()?;
    kept.to = from.to;
    kept.content_type = from.content_type;
    kept.content_encoding = from.content_encoding;
    kept.expiry =
        from.absolute_expiry_ms.map(|ms| moment("absolute-expiry-time", ms)).transpose()?;
    if let Some(ms) = from.creation_ms {
        kept.creation_time = Some(moment("creation-time", ms)?);
    }
    Ok(())
}

fn text(name: &str, value: &Value) -> Result<String, WireError> {
    content::described(value).ok_or_else(|| no_text(name))
}

fn no_text(name: &str) -> WireError {
    let name = crate::door::one_line(name);
    argument(format!("the property `{name}` has a value that is no text and has none"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::proto::{Body, MessageId};

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn symbol(text: &str) -> Value {
        Value::Symbol(text.to_owned())
    }

    #[test]
    fn each_property_finds_its_place() {
        let properties = Properties {
            message_id: Some(MessageId::Ulong(1)),
            user_id: Some(Bytes::from_static(b"3")),
            to: some("4"),
            subject: some("of no matter"),
            correlation_id: Some(MessageId::Uuid([0x11; 16])),
            content_type: some("5"),
            content_encoding: some("6"),
            absolute_expiry_ms: Some(1_767_225_600_000),
            creation_ms: Some(1_767_225_600_250),
            ..Properties::default()
        };
        let message = Message {
            message_annotations: vec![
                (symbol("iothub-interface-id"), Value::String("7".to_owned())),
                (symbol("dt-subject"), Value::String("8".to_owned())),
                (symbol("iothub-outputname"), symbol("9")),
                (symbol("x-opt-else"), Value::Int(10)),
            ],
            properties: Some(Box::new(properties)),
            body: Body::Data(vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")]),
            ..Message::default()
        };
        let expected = MessageProperties {
            message_id: some("1"),
            correlation_id: some("11111111-1111-1111-1111-111111111111"),
            user_id: some("3"),
            to: some("4"),
            content_type: some("5"),
            content_encoding: some("6"),
            expiry: some("2026-01-01T00:00:00Z"),
            creation_time: some("2026-01-01T00:00:00.25Z"),
            output_name: some("9"),
            interface_id: some("7"),
            component: some("8"),
            other: Vec::new(),
        };
        let draft = draft(message).expect("an event");
        assert_eq!((draft.properties, draft.application), (expected, Vec::new()));
        assert_eq!(draft.body, b"ab");
    }

    #[test]
    fn an_output_is_no_property_of_the_modules_own() {
        let text = |text: &str| Value::String(text.to_owned());
        let own = vec![("k".to_owned(), text("v")), (OUTPUT_NAME.to_owned(), text("out"))];
        let draft = draft(Message { application_properties: own, ..Message::default() });
        let draft = draft.expect("an event");
        assert_eq!(draft.properties.output_name, some("out"));
        assert_eq!(draft.application, [("k".to_owned(), some("v"))]);
    }

    #[test]
    fn a_devices_own_properties_are_text() {
        let own = |value| Message {
            application_properties: vec![("k".to_owned(), value)],
            ..Message::default()
        };
        let check = |value: Value, expected: Option<&str>| {
            let draft = draft(own(value)).expect("an event");
            assert_eq!(draft.application, [("k".to_owned(), expected.map(str::to_owned))]);
        };
        check(Value::String("v".to_owned()), Some("v"));
        check(Value::String(String::new()), Some(""));
        check(Value::Null, None);
        check(Value::Bool(true), Some("true"));
        check(Value::Int(-5), Some("-5"));
        check(Value::Double(1.5), Some("1.5"));
        check(symbol("s"), Some("s"));
        for bad in [Value::List(Vec::new()), Value::Binary(Bytes::from_static(b"\xff"))] {
            let error = draft(own(bad)).expect_err("no text");
            assert_eq!(error.condition, errors::ARGUMENT);
        }
    }

    #[test]
    fn an_event_has_bytes_and_no_structure() {
        let of = |body| draft(Message { body, ..Message::default() });
        assert_eq!(of(Body::None).expect("an event").body, b"");
        let text = Body::Value(Value::String("{}".to_owned()));
        assert_eq!(of(text).expect("an event").body, b"{}");
        assert!(of(Body::Value(Value::Map(Vec::new()))).is_err());
        assert!(of(Body::Sequence(Vec::new())).is_err());
    }
}
