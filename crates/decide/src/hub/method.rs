//! Direct methods: what an operator may ask of a device (H §4.2.9).

use model::{HubRefusal, Json};

/// The longest name of a method, in characters.
pub const MAX_NAME_CHARS: usize = 100;

/// The largest payload, in bytes (H §10).
pub const MAX_PAYLOAD_BYTES: usize = 128 * 1024;

/// How long an answer may take, in seconds: the default, and the bounds (H §4.2.9).
pub const RESPONSE_TIMEOUT_SECS: (u64, u64, u64) = (30, 5, 300);

/// How long a device may take to connect, at most, in seconds; the default is 0 (H §4.2.9).
pub const MAX_CONNECT_TIMEOUT_SECS: u64 = 300;

/// A method call as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MethodDraft {
    /// `methodName`
    pub name: String,
    /// `payload`; absent and `null` are told apart.
    pub payload: Option<Json>,
    /// `responseTimeoutInSeconds`
    pub response_timeout_secs: Option<u64>,
    /// `connectTimeoutInSeconds`
    pub connect_timeout_secs: Option<u64>,
}

/// A method call that may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodCall {
    /// The method's name.
    pub name: String,
    /// The payload as compact JSON text; `null` when none was sent, because clients parse it.
    pub payload: String,
    /// How long the device may take to answer, in seconds.
    pub response_timeout_secs: u64,
    /// How long the device may take to connect, in seconds.
    pub connect_timeout_secs: u64,
}

/// Checks a method call.
///
/// # Errors
/// [`HubRefusal::ArgumentInvalid`] for a name that is empty, too long or has a character that no
/// topic can carry, and for times beyond their bounds; [`HubRefusal::MessageTooLarge`] for the payload.
pub fn check(draft: MethodDraft) -> Result<MethodCall, HubRefusal> {
    let MethodDraft { name, payload, response_timeout_secs, connect_timeout_secs } = draft;
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS {
        return Err(invalid(format!("methodName has 1 to {MAX_NAME_CHARS} characters")));
    }
    // The name stands in a topic as it is: these would end it there, or make it a filter; and `%`
    // is decoded by some clients and not by others.
    if name.chars().any(|c| "/#+?%".contains(c) || c.is_control()) {
        return Err(invalid("methodName has no control characters and none of `/ # + ? %`"));
    }
    let (default, least, most) = RESPONSE_TIMEOUT_SECS;
    let response = response_timeout_secs.unwrap_or(default);
    if !(least..=most).contains(&response) {
        return Err(invalid(format!("responseTimeoutInSeconds is from {least} to {most}")));
    }
    let connect = connect_timeout_secs.unwrap_or(0);
    if connect > MAX_CONNECT_TIMEOUT_SECS {
        let most = MAX_CONNECT_TIMEOUT_SECS;
        return Err(invalid(format!("connectTimeoutInSeconds is from 0 to {most}")));
    }
    if connect > response {
        return Err(invalid("connectTimeoutInSeconds is not larger than responseTimeoutInSeconds"));
    }
    let payload = payload.unwrap_or(Json::Null).to_string();
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(HubRefusal::MessageTooLarge(format!(
            "a payload has at most {MAX_PAYLOAD_BYTES} bytes, this one has {}",
            payload.len()
        )));
    }
    Ok(MethodCall { name, payload, response_timeout_secs: response, connect_timeout_secs: connect })
}

fn invalid(text: impl Into<String>) -> HubRefusal {
    HubRefusal::ArgumentInvalid(text.into())
}

#[cfg(test)]
mod tests;
