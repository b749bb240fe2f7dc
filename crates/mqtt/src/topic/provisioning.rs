//! Topics of provisioning (D §2.2 to §2.4).

use super::query;

/// The one filter a device may subscribe to. Each gets its own answers only, although no name of
/// a device stands in it.
pub const RESPONSE_FILTER: &str = "$dps/registrations/res/#";

const REGISTER: &str = "$dps/registrations/PUT/iotdps-register/?";
const POLL: &str = "$dps/registrations/GET/iotdps-get-operationstatus/?";

/// What a device asks for. `rid` names its request: it is echoed byte for byte as it was written,
/// and several requests at once may have the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProvisioningRequest {
    /// To be registered.
    Register {
        /// `$rid`, never empty, at most [`MAX_RID_BYTES`](super::MAX_RID_BYTES).
        rid: String,
    },
    /// What became of it.
    Poll {
        /// `$rid`, never empty, at most [`MAX_RID_BYTES`](super::MAX_RID_BYTES).
        rid: String,
        /// `operationId`, decoded; empty if there is none, and as it was written if an escape in
        /// it is illegal. Neither is an operation that exists.
        operation_id: String,
    },
}

impl ProvisioningRequest {
    /// `$rid`, as it was written.
    #[must_use]
    pub fn rid(&self) -> &str {
        match self {
            Self::Register { rid } | Self::Poll { rid, .. } => rid,
        }
    }
}

/// Reads the topic of a PUBLISH; `None` for one that is no request, or that has no `$rid` to
/// answer it by.
#[must_use]
pub fn provisioning_request(topic: &str) -> Option<ProvisioningRequest> {
    if let Some(query) = query::strip(topic, REGISTER) {
        return Some(ProvisioningRequest::Register { rid: query::rid(query)?.to_owned() });
    }
    let query = query::strip(topic, POLL)?;
    let rid = query::rid(query)?.to_owned();
    let operation_id = query::raw(query, "operationId").unwrap_or_default();
    Some(ProvisioningRequest::Poll { rid, operation_id: query::decoded(operation_id).into_owned() })
}

/// The topic of an answer: `$rid` comes first and `retry-after` (in whole seconds) last, as all
/// clients find them there (D §2.4).
#[must_use]
pub fn provisioning_response(status: u16, rid: &str, retry_after_secs: Option<u32>) -> String {
    let answer = format!("$dps/registrations/res/{status}/?$rid={rid}");
    match retry_after_secs {
        Some(secs) => format!("{answer}&retry-after={secs}"),
        None => answer,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::MAX_RID_BYTES, *};

    fn register(rid: &str) -> Option<ProvisioningRequest> {
        Some(ProvisioningRequest::Register { rid: rid.to_owned() })
    }

    fn poll(rid: &str, operation_id: &str) -> Option<ProvisioningRequest> {
        let (rid, operation_id) = (rid.to_owned(), operation_id.to_owned());
        Some(ProvisioningRequest::Poll { rid, operation_id })
    }

    #[test]
    fn each_clients_requests_are_understood() {
        let guid = "e4a3b1b2-43f5-4a3e-8d4e-0f2f6c6a0c11";
        for (topic, request) in [
            ("$dps/registrations/PUT/iotdps-register/?$rid=1".to_owned(), register("1")),
            (format!("$dps/registrations/PUT/iotdps-register/?$rid={guid}"), register(guid)),
            ("$DPS/Registrations/put/IotDps-Register/?$rid=1".to_owned(), register("1")),
            ("$dps/registrations/PUT/iotdps-register/?a=b&%24rid=1&c".to_owned(), register("1")),
            (
                "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=4.0b.a-1"
                    .to_owned(),
                poll("2", "4.0b.a-1"),
            ),
            (
                "$dps/registrations/GET/iotdps-get-operationstatus/?operationId=4%2e0b&$rid=2"
                    .to_owned(),
                poll("2", "4.0b"),
            ),
        ] {
            assert_eq!(provisioning_request(&topic), request, "{topic}");
        }
    }

    #[test]
    fn a_rid_stays_as_it_was_written() {
        for rid in ["%41%zz", "a=b", "$", "é/?"] {
            let topic = format!("$dps/registrations/PUT/iotdps-register/?$rid={rid}");
            assert_eq!(provisioning_request(&topic), register(rid));
        }
    }

    #[test]
    fn a_poll_for_no_operation_is_still_one_to_answer() {
        let topic = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2";
        assert_eq!(provisioning_request(topic), poll("2", ""));
        let topic = format!("{topic}&operationId=%4");
        assert_eq!(provisioning_request(&topic), poll("2", "%4"));
    }

    #[test]
    fn other_topics_are_no_requests() {
        let long = "r".repeat(MAX_RID_BYTES + 1);
        for topic in [
            "",
            "$dps",
            "$dps/registrations/PUT/iotdps-register/",
            "$dps/registrations/PUT/iotdps-register/?",
            "$dps/registrations/PUT/iotdps-register/?$rid=",
            "$dps/registrations/PUT/iotdps-register/?rid=1",
            "$dps/registrations/PUT/iotdps-register?$rid=1",
            "$dps/registrations/PUT/iotdps-get-operationstatus/?$rid=1",
            "$dps/registrations/GET/iotdps-get-operationstatus/?operationId=1",
            "$dps/registrations/res/200/?$rid=1",
            "$iothub/twin/GET/?$rid=1",
            &format!("$dps/registrations/PUT/iotdps-register/?$rid={long}"),
        ] {
            assert_eq!(provisioning_request(topic), None, "{topic}");
        }
    }

    #[test]
    fn answers_are_where_all_clients_look_for_them() {
        for (status, rid, retry_after_secs, topic) in [
            (202, "1", Some(3), "$dps/registrations/res/202/?$rid=1&retry-after=3"),
            (200, "%41", None, "$dps/registrations/res/200/?$rid=%41"),
        ] {
            assert_eq!(provisioning_response(status, rid, retry_after_secs), topic);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(tail in "[$rid=&%?/a-f0-9\\PC]{0,60}") {
            let _ = provisioning_request(&tail);
            for prefix in [REGISTER, POLL] {
                let topic = format!("{prefix}{tail}");
                if let Some(request) = provisioning_request(&topic) {
                    prop_assert!(topic.contains(request.rid()));
                }
            }
        }
    }
}
