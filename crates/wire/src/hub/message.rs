//! Cloud-to-device messages and feedback (H §2.9, §5.8).
//!
//! The vendor takes messages over AMQP only; the document that is sent over HTTPS is our own.
//! Unknown members are refused, as in all of our own API.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{
    CloudMessage, Feedback, FeedbackWish, HubRefusal, Json, MessageEnd, MessageProperties,
    Timestamp,
};

use super::parse_body;
use crate::{
    manage::members,
    read::{Malformed, Members, type_name},
    time,
    write::Object,
};

/// How much feedback one answer holds at most (H §5.8).
pub const MAX_FEEDBACK: usize = 64;

/// Every member of a message.
const MEMBERS: &[&str] = &[
    "messageId",
    "correlationId",
    "userId",
    "contentType",
    "contentEncoding",
    "expiryTimeUtc",
    "ack",
    "properties",
    "body",
    "bodyText",
    "bodyBase64",
];

/// What feedback may be asked for, by name: `ack`, and `iothub-ack` over MQTT and AMQP (H §5.8).
pub const FEEDBACK_WISHES: &[(&str, FeedbackWish)] = &[
    ("none", FeedbackWish::None),
    ("positive", FeedbackWish::Positive),
    ("negative", FeedbackWish::Negative),
    ("full", FeedbackWish::Full),
];

/// The name of the feedback that was asked for; a message that asked for none says nothing.
#[must_use]
pub fn feedback_word(wish: FeedbackWish) -> Option<&'static str> {
    let named = FEEDBACK_WISHES.iter().find(|(_, named)| *named == wish).map(|(name, _)| *name);
    named.filter(|_| wish != FeedbackWish::None)
}

/// A message as an operator sent it. What may be in it is a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageBody {
    /// What the message says about itself.
    pub properties: MessageProperties,
    /// The sender's own properties, in order.
    pub application: Vec<(String, Option<String>)>,
    /// The body.
    pub body: Vec<u8>,
    /// `ack`
    pub feedback: FeedbackWish,
    /// `expiryTimeUtc`
    pub expires: Option<Timestamp>,
}

/// Parses a message to a device.
///
/// The body is `body` (any JSON but `null`, sent as compact text with its digits kept), `bodyText`
/// or `bodyBase64`, or nothing. A `body` whose content type is not said is `application/json`, and
/// then `utf-8` if that is not said either.
///
/// # Errors
/// [`HubRefusal::Format`] for a body that is not JSON, [`HubRefusal::ArgumentInvalid`] naming the
/// member.
pub fn parse_message(body: &[u8]) -> Result<MessageBody, HubRefusal> {
    let body = parse_body(body)?;
    Ok(read_message(&members(&body, "", MEMBERS)?)?)
}

fn read_message(members: &Members<'_>) -> Result<MessageBody, Malformed> {
    let text = |name| members.string(name).map(|text| text.map(str::to_owned));
    let expires = members
        .string("expiryTimeUtc")?
        .map(|text| {
            time::parse(text).map_err(|bad| members.wrong("expiryTimeUtc", bad.to_string()))
        })
        .transpose()?;
    let mut properties = MessageProperties {
        message_id: text("messageId")?,
        correlation_id: text("correlationId")?,
        user_id: text("userId")?,
        content_type: text("contentType")?,
        content_encoding: text("contentEncoding")?,
        expiry: expires.map(time::wire),
        ..MessageProperties::default()
    };
    if members.value("body").is_some() && properties.content_type.is_none() {
        properties.content_type = Some("application/json".to_owned());
        properties.content_encoding.get_or_insert_with(|| "utf-8".to_owned());
    }
    Ok(MessageBody {
        properties,
        application: own_properties(members)?,
        body: content(members)?,
        feedback: members.word("ack", FEEDBACK_WISHES)?.unwrap_or_default(),
        expires,
    })
}

fn own_properties(members: &Members<'_>) -> Result<Vec<(String, Option<String>)>, Malformed> {
    let Some(own) = members.verbatim_object("properties")? else { return Ok(Vec::new()) };
    let Json::Object(pairs) = own else { return Ok(Vec::new()) };
    let pair = |(name, value): (String, Json)| match value {
        Json::Null => Ok((name, None)),
        Json::String(text) => Ok((name, Some(text))),
        other => {
            let found = type_name(&other);
            Err(members.wrong("properties", format!("its values are strings or null, not {found}")))
        }
    };
    pairs.into_iter().map(pair).collect()
}

fn content(members: &Members<'_>) -> Result<Vec<u8>, Malformed> {
    let json = members.value("body");
    let text = members.string("bodyText")?;
    let encoded = members.string("bodyBase64")?;
    match (json, text, encoded) {
        (None, None, None) => Ok(Vec::new()),
        (Some(json), None, None) => Ok(json.to_string().into_bytes()),
        (None, Some(text), None) => Ok(text.as_bytes().to_vec()),
        (None, None, Some(encoded)) => {
            STANDARD.decode(encoded).map_err(|_| members.wrong("bodyBase64", "is not base64"))
        }
        _ => Err(members.wrong("body", "is one of body, bodyText and bodyBase64")),
    }
}

/// The answer to a message that was put into its queue.
#[must_use]
pub fn message_sent(message: &CloudMessage) -> Json {
    Object::new()
        .with_nullable("messageId", message.properties.message_id.as_deref())
        .with("deviceId", message.device_id.as_str())
        .with("enqueuedTime", time::wire(message.enqueued).as_str())
        .with("expiryTimeUtc", time::wire(message.expires).as_str())
        .build()
}

/// Feedback as services read it, and the token that says it was read. `None` when there is none.
#[must_use]
pub fn feedback(records: &[Feedback]) -> Option<(Json, String)> {
    let token = records.iter().map(|record| record.number).max()?.to_string();
    Some((Json::Array(records.iter().map(feedback_record).collect()), token))
}

fn feedback_record(feedback: &Feedback) -> Json {
    let end = end_name(feedback.end);
    Object::new()
        .with("originalMessageId", feedback.message_id.as_str())
        .with("enqueuedTimeUtc", time::wire(feedback.at).as_str())
        .with("statusCode", end)
        .with("description", end)
        .with("deviceId", feedback.device_id.as_str())
        .with("deviceGenerationId", feedback.generation_id.as_str())
        .build()
}

/// The number of the last feedback that a lock token covers.
///
/// # Errors
/// [`HubRefusal::ArgumentInvalid`] for a text that is no token of ours.
pub fn feedback_number(lock_token: &str) -> Result<u64, HubRefusal> {
    let is_ours = lock_token.bytes().all(|byte| byte.is_ascii_digit());
    lock_token.parse().ok().filter(|_| is_ours).ok_or_else(|| {
        HubRefusal::ArgumentInvalid("the lock token in the path is none of ours".to_owned())
    })
}

const fn end_name(end: MessageEnd) -> &'static str {
    match end {
        MessageEnd::Success => "Success",
        MessageEnd::Expired => "Expired",
        MessageEnd::DeliveryCountExceeded => "DeliveryCountExceeded",
        MessageEnd::Rejected => "Rejected",
        MessageEnd::Purged => "Purged",
    }
}

#[cfg(test)]
mod tests {
    use model::DeviceId;

    use super::*;

    fn parse(body: &str) -> Result<MessageBody, String> {
        parse_message(body.as_bytes()).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_message_is_read_with_all_it_says() {
        let text = |text: &str| Some(text.to_owned());
        let body = concat!(
            r#"{"messageId":"m","correlationId":"c","userId":"u","contentType":"t","#,
            r#""expiryTimeUtc":"2026-01-01T02:00:00+01:00","ack":"Full","#,
            r#""properties":{"b":"2","a":null},"body":{"x": 1.0}}"#,
        );
        let expected = MessageBody {
            properties: MessageProperties {
                message_id: text("m"),
                correlation_id: text("c"),
                user_id: text("u"),
                content_type: text("t"),
                expiry: text("2026-01-01T01:00:00Z"),
                ..MessageProperties::default()
            },
            application: vec![("b".to_owned(), text("2")), ("a".to_owned(), None)],
            body: br#"{"x":1.0}"#.to_vec(),
            feedback: FeedbackWish::Full,
            expires: Some(Timestamp::from_unix_secs(1_767_229_200)),
        };
        assert_eq!(parse(body), Ok(expected));
    }

    #[test]
    fn a_body_comes_as_json_text_or_bytes() {
        let check = |body: &str, content: &[u8], kind: Option<&str>, encoding: Option<&str>| {
            let parsed = parse(body).expect("legal");
            assert_eq!(parsed.body, content, "{body}");
            assert_eq!(parsed.properties.content_type.as_deref(), kind, "{body}");
            assert_eq!(parsed.properties.content_encoding.as_deref(), encoding, "{body}");
        };
        check("{}", b"", None, None);
        check(r#"{"body":null}"#, b"", None, None);
        check(r#"{"body":[1,2]}"#, b"[1,2]", Some("application/json"), Some("utf-8"));
        check(r#"{"body":"x"}"#, b"\"x\"", Some("application/json"), Some("utf-8"));
        check(r#"{"body":1,"contentType":"a/b"}"#, b"1", Some("a/b"), None);
        check(r#"{"bodyText":"x\ny"}"#, b"x\ny", None, None);
        check(r#"{"bodyBase64":"/wA="}"#, b"\xff\0", None, None);
    }

    #[test]
    fn what_is_wrong_is_named_and_never_repeated() {
        let check = |body: &str, expected: &str| assert_eq!(parse(body), Err(expected.to_owned()));
        check(
            r#"{"bodyText":"a","bodyBase64":""}"#,
            "body: is one of body, bodyText and bodyBase64",
        );
        check(r#"{"bodyBase64":"*"}"#, "bodyBase64: is not base64");
        check(
            r#"{"properties":{"a":1}}"#,
            "properties: its values are strings or null, not a number",
        );
        check(r#"{"ack":"maybe"}"#, "ack: expected one of none, positive, negative, full");
        check(
            r#"{"expiryTimeUtc":"soon"}"#,
            "expiryTimeUtc: not a date and time such as 2026-01-31T22:02:50.5163352Z",
        );
        check("", "the request has no body");
        assert!(parse(r#"{"boddy":"x"}"#).expect_err("unknown").contains("\"boddy\""));
    }

    #[test]
    fn feedback_is_the_vendors_document_and_its_token_names_the_last() {
        let record = |number, end| Feedback {
            number,
            message_id: format!("m-{number}"),
            end,
            at: Timestamp::from_unix_secs(1_767_225_600),
            device_id: DeviceId::parse("press-17").expect("legal"),
            generation_id: "638".to_owned(),
        };
        assert_eq!(feedback(&[]), None);
        let records = [record(7, MessageEnd::Success), record(9, MessageEnd::Purged)];
        let (document, token) = feedback(&records).expect("some");
        assert_eq!(
            document.to_string(),
            concat!(
                r#"[{"originalMessageId":"m-7","enqueuedTimeUtc":"2026-01-01T00:00:00Z","#,
                r#""statusCode":"Success","description":"Success","deviceId":"press-17","#,
                r#""deviceGenerationId":"638"},"#,
                r#"{"originalMessageId":"m-9","enqueuedTimeUtc":"2026-01-01T00:00:00Z","#,
                r#""statusCode":"Purged","description":"Purged","deviceId":"press-17","#,
                r#""deviceGenerationId":"638"}]"#,
            )
        );
        assert_eq!(feedback_number(&token), Ok(9));
        for bad in ["", "x", "-1", "+9", "9 ", "99999999999999999999"] {
            assert!(feedback_number(bad).is_err(), "{bad}");
        }
    }
}
