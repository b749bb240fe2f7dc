//! Direct methods (H §4.2.9).

use model::{HubRefusal, Json};

use super::parse_body;
use crate::{
    read::{Malformed, Members},
    write::Object,
};

/// A method call as it was sent. Bounds and defaults are decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodBody {
    /// `methodName`
    pub name: String,
    /// `payload`; absent and `null` are told apart.
    pub payload: Option<Json>,
    /// `responseTimeoutInSeconds`
    pub response_timeout_secs: Option<u64>,
    /// `connectTimeoutInSeconds`
    pub connect_timeout_secs: Option<u64>,
}

/// Parses the body of a method call. Members we do not know are ignored (H §2.1).
///
/// # Errors
/// [`HubRefusal::Format`] for a body that is not JSON, [`HubRefusal::ArgumentInvalid`] naming the
/// member.
pub fn parse_method(body: &[u8]) -> Result<MethodBody, HubRefusal> {
    let body = parse_body(body)?;
    let members = Members::of(&body, "")?;
    Ok(MethodBody {
        name: members.required_string("methodName")?.to_owned(),
        payload: members.raw("payload").cloned(),
        response_timeout_secs: seconds(&members, "responseTimeoutInSeconds")?,
        connect_timeout_secs: seconds(&members, "connectTimeoutInSeconds")?,
    })
}

fn seconds(members: &Members<'_>, name: &str) -> Result<Option<u64>, Malformed> {
    let wrong = || members.wrong(name, "expected a whole number of seconds from 0");
    match members.value(name) {
        None => Ok(None),
        Some(Json::Number(digits)) => digits.parse().map(Some).map_err(|_| wrong()),
        Some(_) => Err(wrong()),
    }
}

/// The answer to a method call that the device answered.
///
/// The device's JSON keeps its digits and order. No payload is `null`; one that is not JSON
/// becomes a string, with U+FFFD for what is not UTF-8. (No source says what the vendor makes of
/// that; its clients fail on a body that is not JSON.)
#[must_use]
pub fn method_answer(status: i32, payload: &[u8]) -> Json {
    let payload = match json::parse_bytes(payload) {
        Ok(json) => json,
        Err(_) if payload.iter().all(u8::is_ascii_whitespace) => Json::Null,
        Err(_) => Json::String(String::from_utf8_lossy(payload).into_owned()),
    };
    Object::new()
        .with("status", Json::Number(status.to_string().into()))
        .with("payload", payload)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Result<MethodBody, &str>) {
        let parsed = parse_method(body.as_bytes()).map_err(|refusal| match refusal {
            HubRefusal::ArgumentInvalid(text) => text,
            other => panic!("{other:?}"),
        });
        assert_eq!(parsed, expected.map_err(str::to_owned), "{body}");
    }

    #[test]
    fn a_call_is_read_with_null_and_absent_payloads_told_apart() {
        let bare = MethodBody {
            name: "reboot".to_owned(),
            payload: None,
            response_timeout_secs: None,
            connect_timeout_secs: None,
        };
        check(r#"{"methodName":"reboot"}"#, Ok(bare.clone()));
        check(
            r#"{"methodName":"reboot","payload":null,"responseTimeoutInSeconds":null,"more":1}"#,
            Ok(MethodBody { payload: Some(Json::Null), ..bare.clone() }),
        );
        check(
            r#"{"methodName":"reboot","payload":[1.0],"responseTimeoutInSeconds":5,"connectTimeoutInSeconds":0}"#,
            Ok(MethodBody {
                payload: Some(json::parse("[1.0]").expect("JSON")),
                response_timeout_secs: Some(5),
                connect_timeout_secs: Some(0),
                ..bare
            }),
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("{}", Err("methodName: is required"));
        check("[]", Err("the request body: expected an object, found an array"));
        check("", Err("the request has no body"));
        let whole = "expected a whole number of seconds from 0";
        for bad in ["-1", "1.5", "\"5\"", "1e3", "99999999999999999999"] {
            let body = format!(r#"{{"methodName":"a","connectTimeoutInSeconds":{bad}}}"#);
            check(&body, Err(&format!("connectTimeoutInSeconds: {whole}")));
        }
        assert!(matches!(parse_method(b"{"), Err(HubRefusal::Format(_))));
    }

    #[test]
    fn a_devices_answer_keeps_its_digits_and_is_json_whatever_it_was() {
        let check = |payload: &[u8], expected: &str| {
            let expected = format!(r#"{{"status":-3,"payload":{expected}}}"#);
            assert_eq!(method_answer(-3, payload).to_string(), expected);
        };
        check(br#"{"b":1.10, "a":1E5}"#, r#"{"b":1.10,"a":1E5}"#);
        check(b"", "null");
        check(b" \n", "null");
        check(b"null", "null");
        check(b"\"x\"", "\"x\"");
        check(b"done", "\"done\"");
        check(b"{\"a\":", r#""{\"a\":""#);
        check(b"\xffa", "\"\u{fffd}a\"");
    }
}
