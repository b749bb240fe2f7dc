//! An event as the vendor's tool prints it (azure-iot-cli-extension, `monitor/parsers`).

use base64::{Engine, engine::general_purpose::STANDARD};
use model::Json;

use super::Kind;
use crate::cli::document::members;

/// An event, its payload read.
pub(super) struct Shown<'a> {
    event: &'a Json,
    payload: Json,
}

impl<'a> Shown<'a> {
    /// Reads the payload; `content_type` stands above what the sender says.
    pub(super) fn new(event: &'a Json, content_type: Option<&str>) -> Self {
        Self { event, payload: payload(event, content_type) }
    }

    /// Everything about it that is to be shown.
    pub(super) fn document(&self, shows: impl Fn(Kind) -> bool) -> Json {
        let mut shown = members([
            ("origin", Json::from(self.text("deviceId"))),
            ("module", Json::from(self.text("moduleId"))),
            ("interface", Json::from(self.annotation("iothub-interface-id"))),
            ("component", Json::from(self.annotation("dt-subject"))),
            ("payload", self.payload.clone()),
        ]);
        let part = |name: &str| self.event.get(name).cloned().unwrap_or_else(Json::empty_object);
        let mut properties = Json::empty_object();
        if shows(Kind::Sys) {
            properties.set("system", in_snake_case(part("properties")));
        }
        if shows(Kind::App) {
            properties.set("application", part("applicationProperties"));
        }
        if properties != Json::empty_object() {
            shown.set("properties", properties);
        }
        if shows(Kind::Anno) {
            let mut annotations = part("annotations");
            for (name, of) in [("sequence-number", "sequenceNumber"), ("offset", "offset")] {
                if let Some(value) = self.event.get(of) {
                    annotations.set(&format!("x-opt-{name}"), value.clone());
                }
            }
            shown.set("annotations", annotations);
        }
        members([("event", shown)])
    }

    /// The event in a line: when, who, what.
    pub(super) fn line(&self) -> String {
        let payload = match &self.payload {
            Json::String(text) => text.replace(char::is_control, " "),
            other => other.to_string(),
        };
        let (device, module) = (self.text("deviceId"), self.text("moduleId"));
        let below = if module.is_empty() { "" } else { "/" };
        format!("{}  {device}{below}{module}  {payload}", self.text("enqueuedTime"))
    }

    fn text(&self, name: &str) -> &str {
        self.event.get(name).and_then(Json::as_str).unwrap_or_default()
    }

    fn annotation(&self, name: &str) -> &str {
        let annotations = self.event.get("annotations");
        annotations.and_then(|all| all.get(name)).and_then(Json::as_str).unwrap_or_default()
    }
}

/// `contentType` as `content_type`: the vendor's tool shows the names of its AMQP library.
fn in_snake_case(object: Json) -> Json {
    let Json::Object(members) = object else { return object };
    let snake = |name: &str| {
        name.chars().fold(String::new(), |mut snake, c| {
            if c.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(c.to_ascii_lowercase());
            snake
        })
    };
    let renamed = members.into_iter().map(|(name, value)| match name.starts_with("$.") {
        true => (name, value),
        false => (snake(&name), value),
    });
    Json::Object(renamed.collect())
}

/// JSON where the sender or `content_type` says so and it is, else text, else base64.
fn payload(event: &Json, content_type: Option<&str>) -> Json {
    if let Some(json) = event.get("body") {
        return json.clone();
    }
    let encoded = event.get("bodyBase64").and_then(Json::as_str).unwrap_or_default();
    let Some(text) = STANDARD.decode(encoded).ok().and_then(|body| String::from_utf8(body).ok())
    else {
        return Json::from(encoded);
    };
    let is_json = content_type.is_some_and(|given| given.to_ascii_lowercase().contains("json"));
    match json::parse(&text) {
        Ok(json) if is_json => json,
        _ => Json::String(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"partition":3,"sequenceNumber":17,"offset":"17",
        "enqueuedTime":"2026-01-31T19:43:02Z","deviceId":"press-17",
        "properties":{"messageId":"m-1","contentType":"application/json","$.diagId":"x"},
        "applicationProperties":{"line":"4","bare":null},
        "annotations":{"iothub-message-source":"Telemetry","dt-subject":"thermostat"},
        "body":{"z":21.50,"a":1}}"#;

    #[track_caller]
    fn check(kinds: &[Kind], expected: &str) {
        let event = json::parse(EVENT).expect("legal");
        let shown = Shown::new(&event, None).document(|kind| kinds.contains(&kind));
        assert_eq!(shown.to_string(), expected);
    }

    #[test]
    fn an_event_alone_is_its_sender_and_its_payload() {
        check(
            &[],
            r#"{"event":{"origin":"press-17","module":"","interface":"","component":"thermostat","payload":{"z":21.50,"a":1}}}"#,
        );
    }

    #[test]
    fn what_was_asked_for_is_beside_it() {
        check(
            &[Kind::Sys, Kind::App, Kind::Anno],
            concat!(
                r#"{"event":{"origin":"press-17","module":"","interface":"","#,
                r#""component":"thermostat","payload":{"z":21.50,"a":1},"properties":{"#,
                r#""system":{"message_id":"m-1","content_type":"application/json","$.diagId":"x"},"#,
                r#""application":{"line":"4","bare":null}},"#,
                r#""annotations":{"iothub-message-source":"Telemetry","dt-subject":"thermostat","#,
                r#""x-opt-sequence-number":17,"x-opt-offset":"17"}}}"#,
            ),
        );
    }

    /// A body of these bytes is shown like this.
    #[track_caller]
    fn check_payload(body: &[u8], content_type: Option<&str>, expected: &str) {
        let event = members([("bodyBase64", Json::String(STANDARD.encode(body)))]);
        assert_eq!(Shown::new(&event, content_type).payload.to_string(), expected);
    }

    #[test]
    fn a_payload_is_json_if_somebody_says_so_else_text_else_base64() {
        check_payload(b"[1.0]", None, r#""[1.0]""#);
        check_payload(b"[1.0]", Some("Application/JSON; charset=utf-8"), "[1.0]");
        check_payload(b"[1.0", Some("application/json"), r#""[1.0""#);
        check_payload(b"\xff\x00", None, r#""/wA=""#);
        check_payload(b"", None, r#""""#);
    }

    #[test]
    fn a_line_stays_one_whatever_a_device_sends() {
        let event = json::parse(r#"{"deviceId":"d","enqueuedTime":"t","bodyBase64":"YQpiG1sy"}"#);
        let event = event.expect("legal");
        assert_eq!(Shown::new(&event, None).line(), "t  d  a b [2");
    }

    #[test]
    fn an_event_of_a_module_names_it() {
        let text = r#"{"deviceId":"d","moduleId":"m","enqueuedTime":"t","bodyBase64":"YQ=="}"#;
        let event = json::parse(text).expect("legal");
        let shown = Shown::new(&event, None);
        assert_eq!(shown.line(), "t  d/m  a");
        let document = shown.document(|_| false).to_string();
        assert!(document.starts_with(r#"{"event":{"origin":"d","module":"m","#), "{document}");
    }
}
