//! Requests and answers of provisioning as messages (D §3.5, §3.6). No links, no waiting.

use bytes::Bytes;
use model::Json;

use crate::{
    errors::{RETRY_AFTER, seconds},
    proto::{
        Body, Limits, Message, MessageId, Pairs, Properties, Value, decode_message, encode_message,
    },
};

/// Which of the operations a message asks for.
const OPERATION_TYPE: &str = "iotdps-operation-type";
/// The operation that is polled.
const OPERATION_ID: &str = "iotdps-operation-id";
/// Where a link says which version of the protocol it speaks.
const API_VERSION: &str = "com.microsoft:api-version";

/// What a message asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The message's name, to be said with the answer (D §8, 39).
    pub(super) correlation_id: Option<MessageId>,
    /// What it asks for, or why nobody can tell.
    pub(super) asked: Result<Asked, &'static str>,
}

/// The operations.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To be registered, with this body.
    Register(Bytes),
    /// Where the operation of this ID stands. What else a device sends along is of no interest:
    /// one sends its registration once more, others a word or nothing (D §3.5).
    Poll(String),
    /// Where its registration stands, with this body.
    LookUp(Bytes),
}

impl Request {
    /// Reads a message.
    pub(super) fn read(format: u32, payload: Bytes) -> Self {
        let nameless = |why| Self { correlation_id: None, asked: Err(why) };
        if format != 0 {
            return nameless("the message has a format other than 0");
        }
        match decode_message(payload, &Limits::STRANGER) {
            Ok(message) => Self::of(message),
            Err(_) => nameless("the message is no AMQP message"),
        }
    }

    fn of(message: Message) -> Self {
        let asked = asked(&message);
        let correlation_id = message.properties.and_then(|properties| properties.correlation_id);
        Self { correlation_id, asked }
    }
}

impl Asked {
    /// For the log.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Register(_) => "register",
            Self::Poll(_) => "poll",
            Self::LookUp(_) => "look-up",
        }
    }
}

fn asked(message: &Message) -> Result<Asked, &'static str> {
    match property(message, OPERATION_TYPE) {
        Some("iotdps-register") => body(&message.body).map(Asked::Register),
        Some("iotdps-get-operationstatus") => match property(message, OPERATION_ID) {
            Some(id) => Ok(Asked::Poll(id.to_owned())),
            None => Err("the application property `iotdps-operation-id` is missing"),
        },
        Some("iotdps-get-registration") => body(&message.body).map(Asked::LookUp),
        Some(_) => Err("the application property `iotdps-operation-type` names no operation"),
        None => Err("the application property `iotdps-operation-type` is missing"),
    }
}

fn property<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    let (_, value) = message.application_properties.iter().find(|(known, _)| known == name)?;
    text(value)
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) | Value::Symbol(text) => Some(text),
        _ => None,
    }
}

/// The body's bytes: data sections as they follow each other, or the text or binary of a value.
fn body(body: &Body) -> Result<Bytes, &'static str> {
    match body {
        Body::None | Body::Value(Value::Null) => Ok(Bytes::new()),
        Body::Data(sections) => Ok(match sections.as_slice() {
            [one] => one.clone(),
            several => Bytes::from(several.concat()),
        }),
        Body::Value(Value::String(text)) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Body::Value(Value::Binary(bytes)) => Ok(bytes.clone()),
        Body::Value(_) | Body::Sequence(_) => Err("the body is neither data nor text"),
    }
}

/// The version that a link speaks; `None` when it does not say.
pub(super) fn api_version(properties: &Pairs) -> Option<&str> {
    let (_, value) = properties.iter().find(|(name, _)| text(name) == Some(API_VERSION))?;
    // A version of another type is one that we do not know.
    Some(text(value).unwrap_or("of another type than text"))
}

/// An answer: one data section, with the name of its request in its type (D §8, 39 to 42).
pub(super) fn answer(
    body: &Json,
    correlation_id: Option<MessageId>,
    retry_after_secs: Option<u32>,
) -> Bytes {
    let properties = correlation_id
        .map(|id| Box::new(Properties { correlation_id: Some(id), ..Properties::default() }));
    let application_properties = match retry_after_secs {
        None => Vec::new(),
        Some(secs) => RETRY_AFTER.map(|name| (name.to_owned(), seconds(secs))).into(),
    };
    encode_message(&Message {
        properties,
        application_properties,
        body: Body::Data(vec![Bytes::from(body.to_string())]),
        ..Message::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTER: &str = "iotdps-register";
    const POLL: &str = "iotdps-get-operationstatus";

    fn string(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    fn message(properties: &[(&str, &str)], body: Body) -> Message {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), string(value));
        let application_properties = properties.iter().map(pair).collect();
        Message { application_properties, body, ..Message::default() }
    }

    #[track_caller]
    fn check(message: Message, expected: Result<Asked, &'static str>) {
        let read = Request::read(0, encode_message(&message));
        assert_eq!(read, Request { correlation_id: None, asked: expected }, "{message:?}");
    }

    /// A register request with this body.
    #[track_caller]
    fn check_register(body: Body, expected: &str) {
        let expected = Bytes::copy_from_slice(expected.as_bytes());
        check(message(&[(OPERATION_TYPE, REGISTER)], body), Ok(Asked::Register(expected)));
    }

    fn data(sections: &[&'static str]) -> Body {
        Body::Data(sections.iter().map(|text| Bytes::from_static(text.as_bytes())).collect())
    }

    #[test]
    fn register_has_a_body_of_any_shape_or_none() {
        check_register(data(&["{}"]), "{}");
        check_register(data(&[""]), "");
        check_register(data(&["{", "}"]), "{}");
        check_register(Body::None, "");
        check_register(Body::Value(Value::Null), "");
        check_register(Body::Value(string("{}")), "{}");
        check_register(Body::Value(Value::Binary(Bytes::from_static(b"{}"))), "{}");
    }

    #[test]
    fn a_poll_is_its_operation_whatever_comes_along() {
        let bodies = [
            Body::None,
            data(&[r#"{"registrationId":"a"}"#]),
            data(&[""]),
            Body::Value(string("")),
            Body::Value(string(POLL)),
            Body::Value(Value::List(Vec::new())),
            Body::Sequence(vec![Vec::new()]),
        ];
        for body in bodies {
            let poll = message(&[(OPERATION_TYPE, POLL), (OPERATION_ID, "5.a")], body);
            check(poll, Ok(Asked::Poll("5.a".to_owned())));
        }
    }

    #[test]
    fn a_look_up_is_an_operation_of_its_own() {
        let look_up = message(&[(OPERATION_TYPE, "iotdps-get-registration")], data(&["{}"]));
        check(look_up, Ok(Asked::LookUp(Bytes::from_static(b"{}"))));
    }

    #[test]
    fn what_asks_for_nothing_is_told_why() {
        let none = "the application property `iotdps-operation-type` is missing";
        check(message(&[], data(&["{}"])), Err(none));
        let mut number = message(&[], data(&["{}"]));
        number.application_properties.push((OPERATION_TYPE.to_owned(), Value::Int(1)));
        check(number, Err(none));
        let unknown = "the application property `iotdps-operation-type` names no operation";
        check(message(&[(OPERATION_TYPE, "IOTDPS-REGISTER")], Body::None), Err(unknown));
        let nameless = "the application property `iotdps-operation-id` is missing";
        check(message(&[(OPERATION_TYPE, POLL)], Body::None), Err(nameless));
        let register = |body| message(&[(OPERATION_TYPE, REGISTER)], body);
        let shape = Err("the body is neither data nor text");
        check(register(Body::Value(Value::Int(1))), shape);
        check(
            register(Body::Sequence(vec![vec![Value::Null]])),
            Err("the body is neither data nor text"),
        );
        let garbage = Request::read(0, Bytes::from_static(b"\x00\x53\x75"));
        assert_eq!(garbage.asked, Err("the message is no AMQP message"));
        let batch = Request::read(0x8001_3700, encode_message(&register(Body::None)));
        assert_eq!(batch.asked, Err("the message has a format other than 0"));
    }

    #[test]
    fn a_request_is_answered_under_its_name_in_its_type_and_a_nameless_one_under_none() {
        let ids = [
            Some(MessageId::String("4b1c".to_owned())),
            Some(MessageId::Uuid([7; 16])),
            Some(MessageId::Ulong(7)),
            Some(MessageId::Binary(Bytes::from_static(b"\x00\xff"))),
            None,
        ];
        for id in ids {
            let properties = Properties { correlation_id: id.clone(), ..Properties::default() };
            let mut register = message(&[(OPERATION_TYPE, REGISTER)], Body::None);
            register.properties = Some(Box::new(properties));
            let request = Request::read(0, encode_message(&register));
            let answer = answer(&Json::Null, request.correlation_id, None);
            let answer = decode_message(answer, &Limits::STRANGER).expect("ours");
            assert_eq!(answer.properties.and_then(|properties| properties.correlation_id), id);
        }
    }

    #[test]
    fn an_answer_is_one_data_section_and_says_in_ints_when_to_ask_again() {
        let answer = answer(&Json::Null, None, Some(3));
        let answer = decode_message(answer, &Limits::STRANGER).expect("ours");
        let both = ["retry-after", "Retry-After"].map(|name| (name.to_owned(), Value::Int(3)));
        assert_eq!(answer.application_properties, both);
        assert_eq!(answer.body, data(&["null"]));
    }

    #[test]
    fn a_link_says_its_version_as_text_of_either_type() {
        let symbol = |text: &str| Value::Symbol(text.to_owned());
        #[track_caller]
        fn check(name: Value, value: Value, expected: Option<&str>) {
            let pairs = vec![(Value::Symbol("x".to_owned()), Value::Null), (name, value)];
            assert_eq!(api_version(&pairs), expected, "{pairs:?}");
        }
        check(symbol(API_VERSION), string("2019-03-31"), Some("2019-03-31"));
        check(string(API_VERSION), symbol("2019-03-31"), Some("2019-03-31"));
        check(symbol(API_VERSION), Value::Int(1), Some("of another type than text"));
        check(symbol("com.microsoft:client-version"), string("2019-03-31"), None);
    }
}
