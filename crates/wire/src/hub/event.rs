//! Events of a hub's log as their readers get them, and the texts that say where a reader is.
//!
//! The document is our own. What the hub says of an event is called as in the vendor's endpoint
//! for readers (H §5.5), so that whoever knows that one finds the same names here.

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{AuthMethod, DeviceId, EventSource, Json, MessageProperties, StoredEvent};

use crate::{time, write::Object};

/// One event.
///
/// The body is JSON, digits and order kept, if the message says that it is (`application/json`, in
/// UTF-8 or an encoding not named) and it is; any other is `bodyBase64`. An own property that was
/// sent twice has its last value.
#[must_use]
pub fn event(stored: &StoredEvent) -> Json {
    let StoredEvent { partition, offset, event } = stored;
    let own = own_properties(&event.application);
    let object = Object::new()
        .with("partition", u64::from(*partition))
        .with("sequenceNumber", *offset)
        .with("offset", offset.to_string().as_str())
        .with("enqueuedTime", time::wire(event.enqueued).as_str())
        .with("deviceId", event.device_id.device())
        .with_some("moduleId", event.device_id.module())
        .with("properties", properties(&event.properties))
        .with("applicationProperties", own)
        .with("annotations", annotations(stored));
    let object = match json_body(&event.properties, &event.body) {
        Some(body) => object.with("body", body),
        None => object.with("bodyBase64", STANDARD.encode(&event.body).as_str()),
    };
    object.build()
}

/// The answer to a reader: events, and where to go on.
#[must_use]
pub fn event_page(events: &[StoredEvent], cursor: &str) -> Json {
    Object::new()
        .with("events", Json::Array(events.iter().map(event).collect()))
        .with("cursor", cursor)
        .build()
}

/// What the message says about itself, as far as it says it.
fn properties(properties: &MessageProperties) -> Json {
    let p = properties;
    let object = Object::new()
        .with_some("messageId", p.message_id.as_deref())
        .with_some("correlationId", p.correlation_id.as_deref())
        .with_some("userId", p.user_id.as_deref())
        .with_some("to", p.to.as_deref())
        .with_some("contentType", p.content_type.as_deref())
        .with_some("contentEncoding", p.content_encoding.as_deref())
        .with_some("absoluteExpiryTime", p.expiry.as_deref())
        .with_some("outputName", p.output_name.as_deref());
    // Tracing and edge connections; their names begin with `$.`, so they meet none of the above.
    let Json::Object(mut members) = object.build() else { return Json::empty_object() };
    if let Json::Object(others) = own_properties(&p.other) {
        members.extend(others);
    }
    Json::Object(members)
}

/// What the hub says of the message (H §5.5).
fn annotations(stored: &StoredEvent) -> Json {
    let event = &stored.event;
    let p = &event.properties;
    Object::new()
        .with("iothub-connection-device-id", event.device_id.device())
        .with_some("iothub-connection-module-id", event.device_id.module())
        .with(
            "iothub-connection-auth-method",
            auth_method(event.auth_method, &event.device_id).as_str(),
        )
        .with("iothub-connection-auth-generation-id", event.generation_id.as_str())
        .with("iothub-enqueuedtime", time::wire(event.enqueued).as_str())
        .with("iothub-message-source", source_name(event.source))
        .with_some("iothub-interface-id", p.interface_id.as_deref())
        .with_some("iothub-creation-time-utc", p.creation_time.as_deref())
        .with_some("dt-subject", p.component.as_deref())
        .build()
}

/// JSON text within JSON, as the vendor has it. For certificates it has one type for both kinds
/// (H §5.5, where the list of types is marked as uncertain).
fn auth_method(method: AuthMethod, sender: &DeviceId) -> String {
    let own = sender.module().map_or("device", |_| "module");
    let (scope, kind) = match method {
        AuthMethod::DeviceKey => (own, "sas"),
        AuthMethod::HubPolicy => ("hub", "sas"),
        AuthMethod::Thumbprint | AuthMethod::CertificateAuthority => (own, "x509Certificate"),
    };
    format!(
        r#"{{"scope":"{scope}","type":"{kind}","issuer":"iothub","acceptingIpFilterRule":null}}"#
    )
}

const fn source_name(source: EventSource) -> &'static str {
    match source {
        EventSource::Telemetry => "Telemetry",
    }
}

/// Pairs as an object. A name has its last value, in the place of its first; there may be many
/// names, so they are not compared one by one.
fn own_properties(pairs: &[(String, Option<String>)]) -> Json {
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(pairs.len());
    let mut members: Vec<(String, Json)> = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        let value = value.as_deref().map_or(Json::Null, Json::from);
        let place = *places.entry(name).or_insert(members.len());
        match members.get_mut(place) {
            Some((_, old)) => *old = value,
            None => members.push((name.clone(), value)),
        }
    }
    Json::Object(members)
}

/// The body, if it is JSON and says so.
fn json_body(properties: &MessageProperties, body: &[u8]) -> Option<Json> {
    let kind = properties.content_type.as_deref()?.split(';').next().unwrap_or_default().trim();
    let encoding = properties.content_encoding.as_deref().unwrap_or_default().trim();
    let is_utf8 = ["", "utf-8", "utf8"].iter().any(|name| encoding.eq_ignore_ascii_case(name));
    if !kind.eq_ignore_ascii_case("application/json") || !is_utf8 {
        return None;
    }
    json::parse_bytes(body).ok()
}

#[cfg(test)]
mod tests {
    use model::{DeviceId, Event, Timestamp};

    use super::*;

    fn stored(properties: MessageProperties, body: &[u8]) -> StoredEvent {
        StoredEvent {
            partition: 3,
            offset: 17,
            event: Event {
                device_id: DeviceId::parse("press-17").expect("legal"),
                generation_id: "638".to_owned(),
                auth_method: AuthMethod::DeviceKey,
                source: EventSource::Telemetry,
                enqueued: Timestamp::from_ticks(17_698_885_821_373_215),
                properties,
                application: Vec::new(),
                body: body.to_vec(),
            },
        }
    }

    #[test]
    fn an_event_has_what_the_message_its_sender_and_the_hub_say() {
        let text = |text: &str| Some(text.to_owned());
        let properties = MessageProperties {
            message_id: text("m-1"),
            content_type: text("application/json; charset=utf-8"),
            content_encoding: text("UTF-8"),
            component: text("thermostat"),
            creation_time: text("2026-01-31T19:43:02Z"),
            other: vec![("$.diagid".to_owned(), text("x"))],
            ..MessageProperties::default()
        };
        let mut stored = stored(properties, br#"{"t": 21.50, "big": 12345678901234567890.10}"#);
        stored.event.application = vec![
            ("alert".to_owned(), text("yes")),
            ("bare".to_owned(), None),
            ("alert".to_owned(), text("no")),
        ];
        let expected = concat!(
            r#"{"partition":3,"sequenceNumber":17,"offset":"17","#,
            r#""enqueuedTime":"2026-01-31T19:43:02.1373215Z","deviceId":"press-17","#,
            r#""properties":{"messageId":"m-1","contentType":"application/json; charset=utf-8","#,
            r#""contentEncoding":"UTF-8","$.diagid":"x"},"#,
            r#""applicationProperties":{"alert":"no","bare":null},"#,
            r#""annotations":{"iothub-connection-device-id":"press-17","#,
            r#""iothub-connection-auth-method":"{\"scope\":\"device\",\"type\":\"sas\",\"issuer\":\"iothub\",\"acceptingIpFilterRule\":null}","#,
            r#""iothub-connection-auth-generation-id":"638","#,
            r#""iothub-enqueuedtime":"2026-01-31T19:43:02.1373215Z","#,
            r#""iothub-message-source":"Telemetry","#,
            r#""iothub-creation-time-utc":"2026-01-31T19:43:02Z","dt-subject":"thermostat"},"#,
            r#""body":{"t":21.50,"big":12345678901234567890.10}}"#,
        );
        assert_eq!(event(&stored).to_string(), expected);
    }

    fn check_body(content_type: Option<&str>, encoding: Option<&str>, body: &[u8], expected: &str) {
        let properties = MessageProperties {
            content_type: content_type.map(str::to_owned),
            content_encoding: encoding.map(str::to_owned),
            ..MessageProperties::default()
        };
        let shown = event(&stored(properties, body));
        let shown = match (shown.get("body"), shown.get("bodyBase64")) {
            (Some(body), None) => body.to_string(),
            (None, Some(body)) => format!("base64 {body}"),
            both => panic!("{both:?}"),
        };
        assert_eq!(shown, expected, "{content_type:?} {encoding:?}");
    }

    #[test]
    fn a_body_is_json_only_when_it_says_so_and_is() {
        let json = Some("application/json");
        check_body(json, None, b"[1.0]", "[1.0]");
        check_body(Some("Application/JSON"), Some("utf8"), b"null", "null");
        check_body(json, Some("utf-16"), b"[1]", r#"base64 "WzFd""#);
        check_body(json, None, b"[1", r#"base64 "WzE=""#);
        check_body(json, None, b"", r#"base64 """#);
        check_body(Some("text/plain"), None, b"[1]", r#"base64 "WzFd""#);
        check_body(None, None, b"[1]", r#"base64 "WzFd""#);
        check_body(json, None, b"\xff", r#"base64 "/w==""#);
    }

    #[test]
    fn many_properties_cost_no_more_than_their_number() {
        let pairs: Vec<_> = (0..200_000).map(|n| (format!("{n:x}"), None)).collect();
        let own = own_properties(&pairs);
        assert_eq!(own.as_object().map(<[_]>::len), Some(200_000));
    }
}
