//! The table of a hub's refusals (H §4.3.7).

use app::live::End;
use model::{ConnectRefusal, HubRefusal};

use super::{
    ARGUMENT, INTERNAL, LOCKED, NOT_FOUND, NOT_IMPLEMENTED, RESOURCE_LIMIT, STOLEN, THROTTLED,
    TIMEOUT, TOO_LARGE, UNAUTHORIZED,
};
use crate::proto::{Value, WireError};

/// Where clients look for the tracking ID of an error.
const TRACKING_ID: &str = "com.microsoft:tracking-id";

/// An error that the log can be searched by.
pub(crate) fn tracked(condition: &str, text: impl Into<String>, tracking_id: &str) -> WireError {
    let info = (Value::Symbol(TRACKING_ID.to_owned()), Value::String(tracking_id.to_owned()));
    WireError { info: vec![info], ..WireError::new(condition, text) }
}

/// A refusal of what was asked of a hub.
pub(crate) fn hub_error(refusal: &HubRefusal, tracking_id: &str) -> WireError {
    let text = match refusal {
        // Why is for the log: who proves nothing learns nothing.
        HubRefusal::Unauthorized(_) | HubRefusal::AddressRefused(_) => "Unauthorized".to_owned(),
        other => other.to_string(),
    };
    tracked(hub_condition(refusal), text, tracking_id)
}

/// The condition of a refusal of a hub.
const fn hub_condition(refusal: &HubRefusal) -> &'static str {
    match refusal {
        HubRefusal::Unauthorized(_) | HubRefusal::AddressRefused(_) => UNAUTHORIZED,
        HubRefusal::HubNotFound(_)
        | HubRefusal::DeviceNotFound(_)
        | HubRefusal::ModuleNotFound(_)
        | HubRefusal::DeviceNotOnline(_) => NOT_FOUND,
        HubRefusal::ArgumentInvalid(_)
        | HubRefusal::Format(_)
        | HubRefusal::TooManyDevices(_)
        | HubRefusal::DeviceDefinedMultipleTimes(_) => ARGUMENT,
        HubRefusal::DeviceExists(_) | HubRefusal::ModuleExists { .. } => {
            "com.microsoft:device-already-exists"
        }
        HubRefusal::IdentityEtag { .. } | HubRefusal::EtagMissing | HubRefusal::TwinEtag(_) => {
            "com.microsoft:precondition-failed"
        }
        HubRefusal::Conflict(_) => LOCKED,
        HubRefusal::Throttled(_) => THROTTLED,
        HubRefusal::MethodTimeout(_) => TIMEOUT,
        HubRefusal::QueueFull { .. } | HubRefusal::TooManyModules { .. } => RESOURCE_LIMIT,
        HubRefusal::MessageTooLarge(_) => TOO_LARGE,
        HubRefusal::NotImplemented(_) => NOT_IMPLEMENTED,
    }
}

/// Why a device may not connect. Who has proven nothing hears no more than that (H §4.2.3). Who
/// `was_accepted` on this connection before, or holds the credential, hears of a device that is
/// deleted or disabled (H §4.5.3).
pub(crate) fn connect_error(
    refusal: &ConnectRefusal,
    was_accepted: bool,
    tracking_id: &str,
) -> WireError {
    let (condition, text) = match refusal {
        ConnectRefusal::UnknownDevice if was_accepted => (NOT_FOUND, "there is no such device"),
        ConnectRefusal::Disabled(_) => (NOT_FOUND, "the device is disabled"),
        // Why is for the operator and the log: to the device it is as if it were disabled.
        ConnectRefusal::Banned(_) | ConnectRefusal::Disenrolled(_) if was_accepted => {
            (NOT_FOUND, "the device is disabled")
        }
        ConnectRefusal::UnknownHub(_)
        | ConnectRefusal::UnknownDevice
        | ConnectRefusal::Banned(_)
        | ConnectRefusal::Disenrolled(_)
        | ConnectRefusal::WrongKind(_)
        | ConnectRefusal::NotAttested(_)
        | ConnectRefusal::PolicyRefused
        | ConnectRefusal::AddressRefused(_) => (UNAUTHORIZED, "Unauthorized"),
        ConnectRefusal::Throttled(_) => (THROTTLED, "too many requests; wait"),
        ConnectRefusal::Conflict => (LOCKED, "the device was changed meanwhile"),
        ConnectRefusal::Overtaken => (STOLEN, "the device opened another connection"),
    };
    tracked(condition, text, tracking_id)
}

/// Why an open session is over (H §4.5.1, §4.5.3). The device was let in before, so it hears what
/// became of it.
pub(crate) fn end_error(end: &End, tracking_id: &str) -> WireError {
    match end {
        End::CutOff(ConnectRefusal::UnknownHub(_)) => {
            tracked(NOT_FOUND, "there is no such hub", tracking_id)
        }
        End::CutOff(refusal) => connect_error(refusal, true, tracking_id),
        End::TakenOver => connect_error(&ConnectRefusal::Overtaken, true, tracking_id),
        End::TooSlow => {
            let text = "the device does not read what it is sent";
            tracked(RESOURCE_LIMIT, text, tracking_id)
        }
    }
}

/// A token or certificate is over (H §4.5.2).
pub(crate) fn expired(tracking_id: &str) -> WireError {
    tracked(UNAUTHORIZED, "the token or certificate has expired", tracking_id)
}

/// A fault of ours. The log has its causes, under the tracking ID.
pub(crate) fn internal(tracking_id: &str) -> WireError {
    tracked(INTERNAL, "something of ours failed", tracking_id)
}

#[cfg(test)]
mod tests {
    use model::AttestFailure;

    use super::*;

    #[track_caller]
    fn check_end(end: &End, condition: &str) {
        let error = end_error(end, "t-1");
        assert_eq!(error.condition, condition, "{end:?}");
        let id = Value::String("t-1".to_owned());
        assert_eq!(error.info, [(Value::Symbol(TRACKING_ID.to_owned()), id)]);
    }

    #[test]
    fn a_session_that_ends_is_told_why() {
        let reason = Some("the operator's own words".to_owned());
        check_end(&End::CutOff(ConnectRefusal::Disabled(reason.clone())), "amqp:not-found");
        check_end(&End::CutOff(ConnectRefusal::UnknownDevice), "amqp:not-found");
        check_end(&End::CutOff(ConnectRefusal::Banned("b".to_owned())), "amqp:not-found");
        check_end(&End::CutOff(ConnectRefusal::Disenrolled("d".to_owned())), "amqp:not-found");
        check_end(&End::CutOff(ConnectRefusal::UnknownHub("h".to_owned())), "amqp:not-found");
        let failed = ConnectRefusal::NotAttested(AttestFailure::BadSignature);
        check_end(&End::CutOff(failed), "amqp:unauthorized-access");
        let kind = ConnectRefusal::WrongKind("a certificate");
        check_end(&End::CutOff(kind), "amqp:unauthorized-access");
        check_end(&End::CutOff(ConnectRefusal::PolicyRefused), "amqp:unauthorized-access");
        check_end(&End::TakenOver, "amqp:link:stolen");
        check_end(&End::TooSlow, "amqp:resource-limit-exceeded");
        // The operator's reason is for the operator.
        let error = end_error(&End::CutOff(ConnectRefusal::Disabled(reason)), "t-1");
        assert_eq!(error.description.as_deref(), Some("the device is disabled"));
    }

    #[test]
    fn who_was_never_let_in_does_not_hear_whether_there_is_a_device() {
        let unknown = connect_error(&ConnectRefusal::UnknownDevice, false, "t-1");
        let banned = ConnectRefusal::Banned("the operator's own words".to_owned());
        assert_eq!(unknown, connect_error(&banned, false, "t-1"));
        let failed = ConnectRefusal::NotAttested(AttestFailure::BadSignature);
        assert_eq!(unknown, connect_error(&failed, false, "t-1"));
        assert_eq!(unknown.condition, "amqp:unauthorized-access");
    }
}
