//! What a client is told of a “no”: condition, description and info (D §3.6, H §4.3.7).
//!
//! One table for each kind of refusal, each without `_`, so that a new refusal asks for its row.
//! Descriptions never hold secrets. Those of provisioning are the JSON of `wire`'s table, because
//! one client reads them as that and takes anything else for a broken server (D §8, 43).

mod hub;

use model::{AttestFailure, DeviceRefusal, Timestamp};
use wire::ErrorRow;

pub(crate) use self::hub::{connect_error, end_error, expired, hub_error, internal, tracked};
use crate::proto::{Value, WireError};

/// The client may not do this, or has not shown that it may.
pub(crate) const UNAUTHORIZED: &str = "amqp:unauthorized-access";
/// What it asks for does not exist.
pub(crate) const NOT_FOUND: &str = "amqp:not-found";
/// Somebody else changed it meanwhile.
pub(crate) const PRECONDITION_FAILED: &str = "amqp:precondition-failed";
/// There is no room for it.
pub(crate) const RESOURCE_LIMIT: &str = "amqp:resource-limit-exceeded";
/// A fault of ours. One client sends its request again (D §3.6).
pub(crate) const INTERNAL: &str = "amqp:internal-error";
/// The request is malformed.
pub(crate) const ARGUMENT: &str = "com.microsoft:argument-error";
/// It asks too often. One client waits and asks again (D §3.6).
pub(crate) const THROTTLED: &str = "com.microsoft:device-container-throttled";

/// Bytes that are no message.
pub(crate) const DECODE: &str = "amqp:decode-error";
/// A message that is longer than it may be.
pub(crate) const TOO_LARGE: &str = "amqp:link:message-size-exceeded";
/// The device has another connection, and reconnecting from this one is no use at once.
pub(crate) const STOLEN: &str = "amqp:link:stolen";
/// It is used the wrong way.
pub(crate) const NOT_ALLOWED: &str = "amqp:not-allowed";
/// It is not built.
pub(crate) const NOT_IMPLEMENTED: &str = "amqp:not-implemented";
/// Somebody else is just at it; asking again helps.
pub(crate) const LOCKED: &str = "amqp:resource-locked";
/// Somebody else did not answer in time.
pub(crate) const TIMEOUT: &str = "com.microsoft:timeout";

/// The condition of a refusal of the provisioning service (D §3.6).
pub(crate) const fn device_condition(refusal: &DeviceRefusal) -> &'static str {
    match refusal {
        DeviceRefusal::UnknownIdScope
        | DeviceRefusal::TpmNotEnrolled
        | DeviceRefusal::Banned { is_tpm: true, .. }
        | DeviceRefusal::UnknownOperation
        | DeviceRefusal::NotRegistered => NOT_FOUND,
        DeviceRefusal::NotEnrolled
        | DeviceRefusal::Banned { is_tpm: false, .. }
        | DeviceRefusal::AddressRefused(_) => UNAUTHORIZED,
        DeviceRefusal::NotAttested(failure) => attest_condition(failure),
        DeviceRefusal::Conflict => PRECONDITION_FAILED,
        DeviceRefusal::TooManyRegistrations(_) => RESOURCE_LIMIT,
        DeviceRefusal::Throttled(_) => THROTTLED,
        DeviceRefusal::BadRequest(_) => ARGUMENT,
    }
}

/// As its row in `wire` has it: what says nothing about an enrollment is a malformed request.
const fn attest_condition(failure: &AttestFailure) -> &'static str {
    match failure {
        AttestFailure::NoEvidence
        | AttestFailure::WrongKind
        | AttestFailure::WrongResource
        | AttestFailure::TokenExpired
        | AttestFailure::BadSignature
        | AttestFailure::CommonName(_)
        | AttestFailure::WrongThumbprint
        | AttestFailure::NotYetValid(_)
        | AttestFailure::Expired(_)
        | AttestFailure::BadCertificate(_)
        | AttestFailure::TooLarge(_)
        | AttestFailure::BadChain(_)
        | AttestFailure::WrongEndorsementKey
        | AttestFailure::Revoked(_)
        | AttestFailure::StaleCrl(_)
        | AttestFailure::NotEndorsed(_) => UNAUTHORIZED,
        AttestFailure::TpmNotChallenged | AttestFailure::BadTpmKey(_) => ARGUMENT,
    }
}

/// An error of the provisioning service: its row as JSON, and when to ask again in both spellings
/// that clients look for (D §3.6).
pub(crate) fn provisioning_error(
    condition: &str,
    row: &ErrorRow,
    retry_after_secs: Option<u32>,
    tracking_id: &str,
    now: Timestamp,
) -> WireError {
    let mut error = WireError::new(condition, wire::error_body(row, tracking_id, now).to_string());
    if let Some(secs) = retry_after_secs {
        let both = RETRY_AFTER.map(|name| (Value::Symbol(name.to_owned()), seconds(secs)));
        error.info = both.into();
    }
    error
}

/// When to ask again: C#'s SDK knows the second spelling alone, all others the first (D §8, 41).
pub(crate) const RETRY_AFTER: [&str; 2] = ["retry-after", "Retry-After"];

/// Seconds as an `int`: C's SDK reads no other number (D §8, 42).
pub(crate) fn seconds(secs: u32) -> Value {
    Value::Int(i32::try_from(secs).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The class of a refusal's row and its condition say the same.
    #[track_caller]
    fn check(refusal: DeviceRefusal, condition: &str, status: u16) {
        assert_eq!(device_condition(&refusal), condition, "{refusal:?}");
        assert_eq!(wire::device::error_row(&refusal).status, status, "{refusal:?}");
    }

    #[test]
    fn conditions_say_what_the_rows_say() {
        let not_attested = DeviceRefusal::NotAttested;
        let text = String::new;
        check(DeviceRefusal::UnknownIdScope, NOT_FOUND, 404);
        check(DeviceRefusal::TpmNotEnrolled, NOT_FOUND, 404);
        check(DeviceRefusal::UnknownOperation, NOT_FOUND, 404);
        check(DeviceRefusal::NotRegistered, NOT_FOUND, 404);
        check(DeviceRefusal::NotEnrolled, UNAUTHORIZED, 401);
        // As if nothing had matched.
        check(DeviceRefusal::Banned { ban: text(), is_tpm: false }, UNAUTHORIZED, 401);
        check(DeviceRefusal::Banned { ban: text(), is_tpm: true }, NOT_FOUND, 404);
        check(DeviceRefusal::AddressRefused(text()), UNAUTHORIZED, 401);
        check(not_attested(AttestFailure::NoEvidence), UNAUTHORIZED, 401);
        check(not_attested(AttestFailure::BadSignature), UNAUTHORIZED, 401);
        check(not_attested(AttestFailure::BadChain(text())), UNAUTHORIZED, 401);
        check(not_attested(AttestFailure::WrongEndorsementKey), UNAUTHORIZED, 401);
        check(not_attested(AttestFailure::TpmNotChallenged), ARGUMENT, 400);
        check(not_attested(AttestFailure::BadTpmKey(text())), ARGUMENT, 400);
        check(DeviceRefusal::Conflict, PRECONDITION_FAILED, 409);
        check(DeviceRefusal::TooManyRegistrations(1), RESOURCE_LIMIT, 429);
        check(DeviceRefusal::Throttled(1), THROTTLED, 429);
        check(DeviceRefusal::BadRequest(text()), ARGUMENT, 400);
    }

    #[test]
    fn an_error_of_provisioning_is_json_and_says_when_to_ask_again_in_both_spellings() {
        let row = wire::device::error_row(&DeviceRefusal::Throttled(7));
        let error = provisioning_error(THROTTLED, &row, Some(7), "t-1", Timestamp::from_ticks(0));
        let names: Vec<&Value> = error.info.iter().map(|(name, _)| name).collect();
        let symbol = |text: &str| Value::Symbol(text.to_owned());
        assert_eq!(names, [&symbol("retry-after"), &symbol("Retry-After")]);
        assert!(error.info.iter().all(|(_, value)| *value == Value::Int(7)));
        let description = error.description.expect("the JSON");
        for member in [r#""errorCode":429001"#, r#""trackingId":"t-1""#, r#""message":"#] {
            assert!(description.contains(member), "{description}");
        }
        let none = provisioning_error(NOT_FOUND, &row, None, "t-1", Timestamp::from_ticks(0));
        assert_eq!(none.info, []);
    }
}
