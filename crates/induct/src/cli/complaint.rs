//! Why a command about enrollments, records or devices did not do what was asked, for the person
//! who typed it.

use std::fmt;

use model::Json;

use super::Failure;

/// What happened, what is known about it, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// What happened, in a sentence.
    pub(crate) message: String,
    /// Facts worth having: the service's code and tracking ID.
    pub(crate) facts: Vec<String>,
    /// What to do about it.
    pub(crate) remedy: Option<String>,
    /// What scripts are told.
    pub(crate) kind: Kind,
    /// Whether the server said so. Otherwise it may have done what it was asked all the same.
    pub(crate) is_answer: bool,
}

/// Which exit code a complaint ends in (O §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 1
    Failed,
    /// 2: an argument has none of its values.
    Misused,
    /// 3: what was asked for is not there.
    NotFound,
}

impl Complaint {
    /// The command cannot be carried out.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        let (facts, remedy, kind, is_answer) = (Vec::new(), None, Kind::Failed, false);
        Self { message: message.into(), facts, remedy, kind, is_answer }
    }

    /// An argument has a value that is none of its values.
    pub(crate) fn misuse(message: impl Into<String>) -> Self {
        Self { kind: Kind::Misused, ..Self::new(message) }
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// Reads an answer that is an error: the provisioning service's body (O §1.13), or one of the
    /// hub's two (H §2.3). `request` names what was asked.
    #[must_use]
    pub(crate) fn of_answer(status: u16, body: &[u8], request: &str) -> Self {
        let said = json::parse_bytes(body).ok().map(|body| Said::read(&body)).unwrap_or_default();
        let message = match said.message {
            Some(message) => message,
            None => format!("The server answered HTTP {status} without an explanation."),
        };
        // Of these two the message itself says where the path is answered.
        let is_other_server = matches!(said.code.as_deref(), Some("404000" | "GenericNotFound"));
        let remedy = remedy(status, &message).filter(|_| !is_other_server).map(str::to_owned);
        let mut facts = Vec::new();
        match said.code {
            Some(code) => facts.push(format!("HTTP {status}, code {code}, {request}")),
            None => facts.push(format!("HTTP {status}, {request}")),
        }
        if let Some(tracking) = said.tracking {
            facts.push(format!("tracking ID {tracking}"));
        }
        let kind = if status == 404 { Kind::NotFound } else { Kind::Failed };
        Self { message, facts, remedy, kind, is_answer: true }
    }
}

/// The message, and what belongs to it on lines of its own.
impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for line in self.facts.iter().chain(&self.remedy) {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl From<Complaint> for Failure {
    fn from(complaint: Complaint) -> Self {
        let text = complaint.to_string();
        match complaint.kind {
            Kind::Failed => Self::new(text),
            Kind::Misused => Self::Usage(text),
            Kind::NotFound => Self::NotFound(text),
        }
    }
}

/// What to do; `message` tells apart what one status stands for.
fn remedy(status: u16, message: &str) -> Option<&'static str> {
    Some(match status {
        401 if message.contains("may not use this API") => {
            "`induct ip-rule list` and `induct show` on the server's machine say what keeps it out."
        }
        401 => {
            "The key does not fit, or its policy lacks the right for this. \
             `induct connection-string show` prints the owner's; a hub has its own: `--hub NAME`."
        }
        404 => "Check the name; the matching `list` command shows what is there.",
        409 if !message.contains("already") => return None,
        409 => "It exists already. Use `update` to change it, or `delete` it first.",
        412 => {
            "It changed since its etag was read. Read it again with `show`, or leave --etag out to \
             change it whatever its etag is."
        }
        429 => "Too many requests. Wait a moment and try again.",
        500..=599 => "The server's log has the reason under the tracking ID.",
        _ => return None,
    })
}

/// What an error body says.
#[derive(Debug, Default)]
struct Said {
    message: Option<String>,
    code: Option<String>,
    tracking: Option<String>,
}

impl Said {
    fn read(body: &Json) -> Self {
        if let Some(text) = body.get("Message").and_then(Json::as_str) {
            return Self::read_hub(text, body.get("ExceptionMessage").and_then(Json::as_str));
        }
        let text = |name: &str| match body.get(name) {
            Some(Json::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(Json::Number(token)) => Some(token.to_string()),
            _ => None,
        };
        Self { message: text("message"), code: text("errorCode"), tracking: text("trackingId") }
    }

    /// `ErrorCode:Name;text`, or the other envelope as a text; and `Tracking ID:…-TimeStamp:…`.
    fn read_hub(message: &str, exception: Option<&str>) -> Self {
        if message.starts_with('{')
            && let Ok(nested) = json::parse(message)
            && nested.get("message").is_some()
            && nested.get("Message").is_none()
        {
            return Self::read(&nested);
        }
        let tracking = exception
            .and_then(|text| text.strip_prefix("Tracking ID:"))
            .map(|text| text.split("-TimeStamp:").next().unwrap_or(text))
            .map(|text| as_logged(text.split("-G:").next().unwrap_or(text)));
        let Some(rest) = message.strip_prefix("ErrorCode:") else {
            return Self { message: Some(message.to_owned()), code: None, tracking };
        };
        let (code, text) = rest.split_once(';').unwrap_or((rest, ""));
        let message = if text.is_empty() { code.to_owned() } else { format!("{code}: {text}") };
        Self { message: Some(message), code: Some(code.to_owned()), tracking }
    }
}

/// A tracking ID as the log has it: a hub writes the same GUID without its dashes.
fn as_logged(tracking: &str) -> String {
    let is_bare = tracking.len() == 32 && tracking.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_bare {
        return tracking.to_owned();
    }
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &tracking[part]);
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, kind: Kind, first_lines: &str) {
        let complaint = Complaint::of_answer(status, body.as_bytes(), "GET /x");
        assert_eq!(complaint.kind, kind, "{complaint}");
        let shown = complaint.to_string();
        assert!(shown.starts_with(first_lines), "{shown}");
    }

    #[test]
    fn an_error_shows_message_code_and_tracking_id() {
        check(
            404,
            r#"{"errorCode":404201,"trackingId":"d1c3","message":"Enrollment not found."}"#,
            Kind::NotFound,
            "Enrollment not found.\n  HTTP 404, code 404201, GET /x\n  tracking ID d1c3\n",
        );
    }

    #[test]
    fn both_envelopes_of_a_hub_are_read() {
        check(
            404,
            r#"{"Message":"ErrorCode:DeviceNotFound;press-17","ExceptionMessage":"Tracking ID:aeec-G:0-TimeStamp:10/18/2022 20:50:39"}"#,
            Kind::NotFound,
            "DeviceNotFound: press-17\n  HTTP 404, code DeviceNotFound, GET /x\n  tracking ID aeec\n",
        );
        check(
            401,
            r#"{"Message":"{\"errorCode\":401002,\"trackingId\":\"t\",\"message\":\"Unauthorized\"}"}"#,
            Kind::Failed,
            "Unauthorized\n  HTTP 401, code 401002, GET /x\n  tracking ID t\n",
        );
    }

    #[test]
    fn a_hubs_tracking_id_is_shown_as_the_log_has_it() {
        check(
            500,
            r#"{"Message":"ErrorCode:ServerError;","ExceptionMessage":"Tracking ID:f40da7ba8c9147968fc389e1dfbdbe05-G:0-TimeStamp:10/18/2022 20:50:39"}"#,
            Kind::Failed,
            "ServerError\n  HTTP 500, code ServerError, GET /x\n  tracking ID f40da7ba-8c91-4796-8fc3-89e1dfbdbe05\n",
        );
    }

    #[test]
    fn an_answer_that_is_no_json_still_makes_a_sentence() {
        check(
            502,
            "<html>",
            Kind::Failed,
            "The server answered HTTP 502 without an explanation.\n  HTTP 502, GET /x\n",
        );
    }

    #[test]
    fn a_message_within_a_message_within_a_message_ends() {
        let body = r#"{"Message":"{\"Message\":\"{}\"}"}"#;
        check(400, body, Kind::Failed, "{\"Message\":\"{}\"}\n");
    }

    #[test]
    fn what_to_do_fits_what_happened() {
        let remedy = |status, body: &str| {
            Complaint::of_answer(status, body.as_bytes(), "PUT /x").remedy.unwrap_or_default()
        };
        let exists = r#"{"message":"Access policy ci already exists."}"#;
        assert!(remedy(409, exists).starts_with("It exists already."));
        assert_eq!(remedy(409, r#"{"message":"`ci` is the last"}"#), "");
        let kept_out = r#"{"message":"the address 192.0.2.1 may not use this API"}"#;
        assert!(remedy(401, kept_out).starts_with("`induct ip-rule list`"));
        assert!(remedy(401, "{}").starts_with("The key does not fit"));
    }
}
