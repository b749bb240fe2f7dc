//! Messages for devices as services write them (H §5.8).

use app::hub::MessageDraft;
use bytes::Bytes;
use model::{DeviceId, FeedbackWish, HubName, HubRefusal, MessageProperties, Timestamp};
use thiserror::Error;

use crate::{
    address::{Address, DeviceResource},
    content,
    proto::{BadFrame, Limits, Message, MessageId, Properties, Value, decode_message},
};

/// The application property that says what the sender wants to hear.
const ACK: &str = "iothub-ack";

/// Why a message is not one for a device.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum BadDraft {
    /// It cannot be read.
    #[error(transparent)]
    Frame(#[from] BadFrame),
    /// What it says is not what such a message says.
    #[error(transparent)]
    Refused(#[from] HubRefusal),
}

/// Reads a message and for which device of this hub it is. What may be in it is a decision. `now`
/// is what a lifetime counts from.
pub(super) fn read(
    payload: Bytes,
    hub: &HubName,
    now: Timestamp,
) -> Result<(DeviceId, MessageDraft), BadDraft> {
    let message = decode_message(payload, &Limits::SESSION)?;
    let Message { header, properties, application_properties, body, .. } = message;
    let Properties {
        message_id,
        user_id,
        to,
        correlation_id,
        content_type,
        content_encoding,
        absolute_expiry_ms,
        ..
    } = properties.map(|all| *all).unwrap_or_default();
    let device_id = device_of(to.as_deref().unwrap_or_default(), hub)?;
    let lives_ms = header.and_then(|header| header.ttl_ms);
    let expires = match (absolute_expiry_ms, lives_ms) {
        (Some(ms), _) => {
            Some(content::moment(ms).ok_or_else(|| invalid("absolute-expiry-time is no time"))?)
        }
        (None, Some(ms)) => {
            let end = content::millis(now).saturating_add(ms.into());
            Some(content::moment(end).unwrap_or(now))
        }
        (None, None) => None,
    };
    let user_id = user_id
        .map(|bytes| String::from_utf8(bytes.to_vec()).map_err(|_| invalid("user-id is no text")))
        .transpose()?;
    let properties = MessageProperties {
        message_id: id_of(message_id, "message-id is no text")?,
        correlation_id: id_of(correlation_id, "correlation-id is no text")?,
        user_id,
        content_type,
        content_encoding,
        expiry: expires.map(wire::time::wire),
        ..MessageProperties::default()
    };
    let (feedback, application) = application_of(application_properties)?;
    let body = content::body_bytes(body)
        .ok_or_else(|| invalid("the body is neither data nor a text"))?
        .to_vec();
    Ok((device_id, MessageDraft { properties, application, body, feedback, expires }))
}

fn device_of(to: &str, hub: &HubName) -> Result<DeviceId, HubRefusal> {
    match Address::parse(to) {
        Address::Device { host: Some(host), .. } if host != hub.as_str() => {
            Err(invalid("`to` names another hub than the link"))
        }
        Address::Device {
            device_id,
            module_id: None,
            resource: DeviceResource::Devicebound,
            ..
        } => DeviceId::parse(&device_id)
            .map_err(|bad| invalid(format!("the device ID in `to`: {bad}"))),
        Address::Device { module_id: Some(_), .. } => {
            Err(HubRefusal::NotImplemented("modules take no messages here".to_owned()))
        }
        _ => Err(invalid("`to` is /devices/{id}/messages/devicebound")),
    }
}

fn id_of(id: Option<MessageId>, bad: &str) -> Result<Option<String>, HubRefusal> {
    id.map(|id| content::id_text(&id).ok_or_else(|| invalid(bad))).transpose()
}

type Application = Vec<(String, Option<String>)>;

/// What the sender wants to hear, and its own properties.
fn application_of(all: Vec<(String, Value)>) -> Result<(FeedbackWish, Application), HubRefusal> {
    let mut wish = FeedbackWish::default();
    let mut application = Vec::with_capacity(all.len());
    for (name, value) in all {
        if name == ACK {
            wish = wish_of(&value)
                .ok_or_else(|| invalid("iothub-ack is none, positive, negative or full"))?;
            continue;
        }
        let text = match value {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(
                content::described(&other)
                    .ok_or_else(|| invalid("an application property is no simple value"))?,
            ),
        };
        application.push((name, text));
    }
    Ok((wish, application))
}

fn wish_of(value: &Value) -> Option<FeedbackWish> {
    if *value == Value::Null {
        return Some(FeedbackWish::None);
    }
    let text = value.as_text()?;
    let wishes = wire::hub::FEEDBACK_WISHES;
    wishes.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, wish)| *wish)
}

fn invalid(text: impl Into<String>) -> HubRefusal {
    HubRefusal::ArgumentInvalid(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Body, Header, encode_message};

    const NOW: Timestamp = testkit::NOW;

    fn message(properties: Properties) -> Message {
        Message {
            properties: Some(Box::new(properties)),
            body: Body::Data(vec![Bytes::from_static(b"turn left")]),
            ..Message::default()
        }
    }

    fn to_device() -> Properties {
        Properties {
            to: Some("/devices/dev1/messages/devicebound".to_owned()),
            ..Default::default()
        }
    }

    fn hub() -> HubName {
        HubName::parse("hub-1.example.test").expect("legal")
    }

    fn read(message: &Message) -> Result<(DeviceId, MessageDraft), String> {
        super::read(encode_message(message), &hub(), NOW).map_err(|bad| bad.to_string())
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_message_is_read_with_all_it_says() {
        let uuid = content::guid_bytes("00112233-4455-6677-8899-aabbccddeeff").expect("a GUID");
        let sent = Message {
            application_properties: vec![
                ("b".to_owned(), Value::String("2".to_owned())),
                (ACK.to_owned(), Value::String("Full".to_owned())),
                ("a".to_owned(), Value::Int(-1)),
                ("c".to_owned(), Value::Null),
            ],
            ..message(Properties {
                message_id: Some(MessageId::Uuid(uuid)),
                correlation_id: Some(MessageId::Ulong(7)),
                user_id: Some(Bytes::from_static(b"ana")),
                content_type: some("application/json"),
                content_encoding: some("utf-8"),
                absolute_expiry_ms: Some(1_767_229_200_500),
                ..to_device()
            })
        };
        let (device_id, draft) = read(&sent).expect("legal");
        assert_eq!(device_id.as_str(), "dev1");
        let expected = MessageDraft {
            properties: MessageProperties {
                message_id: some("00112233-4455-6677-8899-aabbccddeeff"),
                correlation_id: some("7"),
                user_id: some("ana"),
                content_type: some("application/json"),
                content_encoding: some("utf-8"),
                expiry: some("2026-01-01T01:00:00.5Z"),
                ..MessageProperties::default()
            },
            application: vec![
                ("b".to_owned(), some("2")),
                ("a".to_owned(), some("-1")),
                ("c".to_owned(), None),
            ],
            body: b"turn left".to_vec(),
            feedback: FeedbackWish::Full,
            expires: Some(Timestamp::from_ticks(17_672_292_005_000_000)),
        };
        assert_eq!(draft, expected);
    }

    #[test]
    fn a_lifetime_counts_from_now_unless_an_end_is_named() {
        let expires = |sent: &Message| read(sent).expect("legal").1.expires;
        let header = Some(Header { ttl_ms: Some(2_000), ..Header::default() });
        let living = Message { header, ..message(to_device()) };
        assert_eq!(expires(&living), Some(NOW.plus_secs(2)));
        let properties = Properties { absolute_expiry_ms: Some(0), ..to_device() };
        let both = Message { header, ..message(properties) };
        assert_eq!(expires(&both), Some(Timestamp::from_ticks(0)));
        assert_eq!(expires(&message(to_device())), None);
    }

    #[test]
    fn the_device_is_found_in_every_spelling() {
        let check = |to: &str, expected: Result<&str, &str>| {
            let found = read(&message(Properties { to: some(to), ..Properties::default() }));
            let found = found.map(|(id, _)| id.as_str().to_owned());
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{to}");
        };
        check("/devices/dev1/messages/devicebound", Ok("dev1"));
        check("devices/dev1/messages/deviceBound", Ok("dev1"));
        check("/devices/dev%401/messages/devicebound", Ok("dev@1"));
        check("/devices/dev@1/messages/devicebound", Ok("dev@1"));
        check("amqps://hub-1.example.test/devices/dev1/messages/devicebound", Ok("dev1"));
        let elsewhere = Err("`to` names another hub than the link");
        check("amqps://hub-2.example.test/devices/dev1/messages/devicebound", elsewhere);
        let wrong = Err("`to` is /devices/{id}/messages/devicebound");
        check("", wrong);
        check("/devices/dev1/messages/events", wrong);
        check("/devices//messages/devicebound", wrong);
        let modules = Err("modules take no messages here");
        check("/devices/dev1/modules/m/messages/devicebound", modules);
        assert!(read(&Message::default()).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |sent: Message, expected: &str| {
            assert_eq!(read(&sent), Err(expected.to_owned()));
        };
        let of = |name: &str, value: Value| Message {
            application_properties: vec![(name.to_owned(), value)],
            ..message(to_device())
        };
        let acks = "iothub-ack is none, positive, negative or full";
        check(of(ACK, Value::String("maybe".to_owned())), acks);
        check(of(ACK, Value::Int(1)), acks);
        check(of("a", Value::List(Vec::new())), "an application property is no simple value");
        let binary = || Bytes::from_static(b"\xff");
        let user_id = Some(binary());
        check(message(Properties { user_id, ..to_device() }), "user-id is no text");
        let message_id = Some(MessageId::Binary(binary()));
        check(message(Properties { message_id, ..to_device() }), "message-id is no text");
        let absolute_expiry_ms = Some(i64::MAX);
        let expiry = Properties { absolute_expiry_ms, ..to_device() };
        check(message(expiry), "absolute-expiry-time is no time");
        let body = Body::Value(Value::Map(Vec::new()));
        check(Message { body, ..message(to_device()) }, "the body is neither data nor a text");
        let garbage = super::read(Bytes::from_static(b"\0S"), &hub(), NOW);
        assert!(matches!(garbage, Err(BadDraft::Frame(_))), "{garbage:?}");
    }
}
