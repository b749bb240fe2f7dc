//! Topics of a hub (H §4.2.5 to §4.2.9), as one device or module may use them.

use std::fmt::Write as _;

use model::DeviceId;

use super::{bag, query};

const TWIN_GET: &str = "$iothub/twin/GET/?";
const TWIN_REPORT: &str = "$iothub/twin/PATCH/properties/reported/?";
const METHOD_RESULT: &str = "$iothub/methods/res/";

/// What a PUBLISH of a device asks for, by its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubRequest<'a> {
    /// To take an event.
    Telemetry {
        /// Its properties as they were written, see [`bag::decode`]; often empty.
        bag: &'a str,
    },
    /// To be sent its twin.
    TwinGet {
        /// Names the request in the answer, byte for byte; never empty, at most
        /// [`MAX_RID_BYTES`](super::MAX_RID_BYTES).
        rid: &'a str,
    },
    /// To change its reported properties.
    TwinReport {
        /// Names the request in the answer, byte for byte; never empty, at most
        /// [`MAX_RID_BYTES`](super::MAX_RID_BYTES).
        rid: &'a str,
        /// Only if they have this version.
        version: Option<u64>,
    },
    /// To pass on what one of its methods gave.
    MethodResult {
        /// What the method says, in its own terms.
        status: i32,
        /// Names the call, as we named it.
        rid: &'a str,
    },
    /// Nothing a device may send to (or a topic above with a part missing or illegal, such as a
    /// `$version` that is no number): the connection is to be closed (H §4.2.5).
    Other,
}

impl<'a> HubRequest<'a> {
    /// Reads the topic of a PUBLISH that this device sent.
    #[must_use]
    pub fn of(topic: &'a str, device_id: &DeviceId) -> Self {
        Self::find(topic, device_id).unwrap_or(Self::Other)
    }

    fn find(topic: &'a str, device_id: &DeviceId) -> Option<Self> {
        if let Some(bag) = telemetry(topic, device_id) {
            return Some(Self::Telemetry { bag });
        }
        if let Some(query) = query::strip(topic, TWIN_GET) {
            return Some(Self::TwinGet { rid: query::rid(query)? });
        }
        if let Some(query) = query::strip(topic, TWIN_REPORT) {
            let version = match query::raw(query, "$version") {
                Some(text) => Some(text.parse().ok()?),
                None => None,
            };
            return Some(Self::TwinReport { rid: query::rid(query)?, version });
        }
        let (status, query) = query::strip(topic, METHOD_RESULT)?.split_once("/?")?;
        Some(Self::MethodResult { status: status.parse().ok()?, rid: query::rid(query)? })
    }
}

/// The bag of `devices/{id}/messages/events/{bag}`, for a module of
/// `devices/{id}/modules/{id}/messages/events/{bag}`. The slash before it may be missing when it is
/// empty, and one may follow it (H §4.2.6).
fn telemetry<'a>(topic: &'a str, device_id: &DeviceId) -> Option<&'a str> {
    let rest = query::strip(own(topic, device_id)?, "/messages/events")?;
    if rest.is_empty() {
        return Some(rest);
    }
    let bag = rest.strip_prefix('/')?;
    Some(bag.strip_suffix('/').unwrap_or(bag))
}

/// The rest of a text after `devices/{id}`, for a module after `devices/{id}/modules/{id}`. What is
/// a device's own is no module's, and the other way round.
fn own<'a>(text: &'a str, device_id: &DeviceId) -> Option<&'a str> {
    let rest = query::strip(text, "devices/")?.strip_prefix(device_id.device())?;
    match device_id.module() {
        None => Some(rest),
        Some(module) => query::strip(rest, "/modules/")?.strip_prefix(module),
    }
}

/// The filters that a device or a module may subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HubFilter {
    /// `devices/{id}/messages/devicebound/#`: messages from the cloud. A module takes its inputs
    /// instead, `devices/{id}/modules/{id}/inputs/#`, which some write
    /// `devices/{id}/modules/{id}/#`.
    Messages,
    /// `$iothub/twin/res/#`: answers to what it asks of its twin.
    TwinResponses,
    /// `$iothub/twin/PATCH/properties/desired/#`: changes of its desired properties.
    Desired,
    /// `$iothub/methods/POST/#`: calls of its methods.
    Methods,
}

impl HubFilter {
    /// Every filter.
    pub const ALL: [Self; 4] = [Self::Messages, Self::TwinResponses, Self::Desired, Self::Methods];

    /// Reads a filter that this device asks for; `None` for any that is not legal.
    #[must_use]
    pub fn parse(text: &str, device_id: &DeviceId) -> Option<Self> {
        let fixed = |filter: &Self| match filter {
            Self::TwinResponses => text.eq_ignore_ascii_case("$iothub/twin/res/#"),
            Self::Desired => text.eq_ignore_ascii_case("$iothub/twin/PATCH/properties/desired/#"),
            Self::Methods => text.eq_ignore_ascii_case("$iothub/methods/POST/#"),
            Self::Messages => own(text, device_id).is_some_and(|rest| match device_id.module() {
                None => rest.eq_ignore_ascii_case("/messages/devicebound/#"),
                Some(_) => rest == "/#" || rest.eq_ignore_ascii_case("/inputs/#"),
            }),
        };
        Self::ALL.into_iter().find(fixed)
    }

    /// The filter as this device writes it.
    #[must_use]
    pub fn text(self, device_id: &DeviceId) -> String {
        match self {
            Self::Messages => match device_id.module() {
                None => format!("devices/{device_id}/messages/devicebound/#"),
                Some(module) => {
                    format!("devices/{}/modules/{module}/inputs/#", device_id.device())
                }
            },
            Self::TwinResponses => "$iothub/twin/res/#".to_owned(),
            Self::Desired => "$iothub/twin/PATCH/properties/desired/#".to_owned(),
            Self::Methods => "$iothub/methods/POST/#".to_owned(),
        }
    }
}

/// The topic of an answer to what a device asked of its twin, with the version its reported
/// properties have now. One client takes `$rid` in this place only (H §4.2.7).
#[must_use]
pub fn twin_response(status: u16, rid: &str, version: Option<u64>) -> String {
    let mut topic = format!("$iothub/twin/res/{status}/?$rid={rid}");
    if let Some(version) = version {
        // Writing to a `String` cannot fail.
        let _ = write!(topic, "&$version={version}");
    }
    topic
}

/// The topic that tells of changed desired properties, which now have this version.
#[must_use]
pub fn desired_changed(version: u64) -> String {
    format!("$iothub/twin/PATCH/properties/desired/?$version={version}")
}

/// The topic of a call of a method. The name stands there as it is, because clients do not decode
/// it: one with a slash or a wildcard cannot be called.
#[must_use]
pub fn method_call(name: &str, rid: &str) -> String {
    format!("$iothub/methods/POST/{name}/?$rid={rid}")
}

/// The topic of a message to a device, with all its properties. Slashes in them are escaped:
/// clients look for the bag in the fifth segment (H §4.2.8).
#[must_use]
pub fn devicebound(device_id: &DeviceId, properties: &[(String, Option<String>)]) -> String {
    format!("devices/{device_id}/messages/devicebound/{}", bag::encode(properties))
}

#[cfg(test)]
mod tests {
    use model::ModuleId;
    use proptest::prelude::*;

    use super::{super::MAX_RID_BYTES, *};
    use crate::proto::{Filter, Topic};

    fn device() -> DeviceId {
        DeviceId::parse("Press-17").expect("an ID")
    }

    fn module() -> DeviceId {
        DeviceId::of_module(&device(), &ModuleId::parse("Eye.1").expect("an ID"))
    }

    #[track_caller]
    fn check(topic: &str, request: HubRequest<'_>) {
        assert_eq!(HubRequest::of(topic, &device()), request, "{topic}");
    }

    #[test]
    fn each_clients_telemetry_is_understood() {
        for (topic, bag) in [
            ("devices/Press-17/messages/events/", ""),
            ("devices/Press-17/messages/events", ""),
            ("devices/Press-17/messages/events/a=b&c", "a=b&c"),
            ("devices/Press-17/messages/events/$.on=out/", "$.on=out"),
            ("devices/Press-17/messages/events/%24.ct=a%2Fb", "%24.ct=a%2Fb"),
            ("devices/Press-17/messages/events/a=/b", "a=/b"),
            ("Devices/Press-17/Messages/EVENTS/a", "a"),
        ] {
            check(topic, HubRequest::Telemetry { bag });
        }
    }

    #[test]
    fn each_clients_twin_requests_and_method_results_are_understood() {
        check("$iothub/twin/GET/?$rid=e4a3-b1", HubRequest::TwinGet { rid: "e4a3-b1" });
        check("$IOTHUB/Twin/get/?%24rid=1", HubRequest::TwinGet { rid: "1" });
        check(
            "$iothub/twin/PATCH/properties/reported/?$rid=7",
            HubRequest::TwinReport { rid: "7", version: None },
        );
        check(
            "$iothub/twin/PATCH/properties/reported/?$version=9&$rid=%41",
            HubRequest::TwinReport { rid: "%41", version: Some(9) },
        );
        check(
            "$iothub/methods/res/200/?$rid=1f",
            HubRequest::MethodResult { status: 200, rid: "1f" },
        );
        check("$iothub/methods/res/-1/?$rid=1", HubRequest::MethodResult { status: -1, rid: "1" });
    }

    #[test]
    fn a_module_has_topics_of_its_own_and_none_of_its_device() {
        let of = |topic| HubRequest::of(topic, &module());
        for (topic, bag) in [
            ("devices/Press-17/modules/Eye.1/messages/events/", ""),
            ("devices/Press-17/modules/Eye.1/messages/events", ""),
            ("devices/Press-17/modules/Eye.1/messages/events/a=b&c", "a=b&c"),
            ("devices/Press-17/modules/Eye.1/messages/events/$.on=out/", "$.on=out"),
            ("Devices/Press-17/Modules/Eye.1/Messages/EVENTS/a", "a"),
        ] {
            assert_eq!(of(topic), HubRequest::Telemetry { bag }, "{topic}");
        }
        assert_eq!(of("$iothub/twin/GET/?$rid=1"), HubRequest::TwinGet { rid: "1" });
        for topic in [
            "devices/Press-17/messages/events/",
            "devices/Press-17/Eye.1/messages/events/",
            "devices/Press-17/modules/Eye.10/messages/events/",
            "devices/Press-17/modules/eye.1/messages/events/",
            "devices/Press-17/modules//messages/events/",
            "devices/Press-18/modules/Eye.1/messages/events/",
            "devices/Press-17/modules/Eye.1/inputs/in/",
            "devices/Press-17/modules/Eye.1/modules/Eye.1/messages/events/",
        ] {
            assert_eq!(of(topic), HubRequest::Other, "{topic}");
        }
    }

    #[test]
    fn a_device_may_not_send_to_other_topics() {
        let long = "r".repeat(MAX_RID_BYTES + 1);
        for topic in [
            "",
            "hello",
            "devices",
            "devices/press-17/messages/events/",
            "devices/Press-18/messages/events/",
            "devices/Press-17x/messages/events/",
            "devices/Press-17/messages/eventsx",
            "devices/Press-17/messages/devicebound/",
            "devices/Press-17/modules/m/messages/events/",
            "$iothub/twin/GET/",
            "$iothub/twin/GET/?",
            "$iothub/twin/GET/?$rid=",
            "$iothub/twin/GET?$rid=1",
            "$iothub/twin/PATCH/properties/reported/?$version=1",
            "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=x",
            "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=",
            "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=18446744073709551616",
            "$iothub/twin/PATCH/properties/desired/?$rid=1",
            "$iothub/twin/res/200/?$rid=1",
            "$iothub/methods/res/ok/?$rid=1",
            "$iothub/methods/res/99999999999/?$rid=1",
            "$iothub/methods/res/200?$rid=1",
            "$iothub/methods/res/200/",
            "$iothub/methods/POST/reboot/?$rid=1",
            "$dps/registrations/PUT/iotdps-register/?$rid=1",
            &format!("$iothub/twin/GET/?$rid={long}"),
        ] {
            check(topic, HubRequest::Other);
        }
    }

    #[test]
    fn every_legal_filter_is_read_as_it_is_written() {
        for filter in HubFilter::ALL {
            let text = filter.text(&device());
            assert!(Filter::new(text.clone()).is_ok(), "{text}");
            assert_eq!(HubFilter::parse(&text, &device()), Some(filter), "{text}");
        }
        let spelled = "Devices/Press-17/Messages/DeviceBound/#";
        assert_eq!(HubFilter::parse(spelled, &device()), Some(HubFilter::Messages));
        let spelled = "$iothub/Twin/Res/#";
        assert_eq!(HubFilter::parse(spelled, &device()), Some(HubFilter::TwinResponses));
    }

    #[test]
    fn a_module_subscribes_to_its_inputs_and_not_to_messages_of_its_device() {
        for filter in HubFilter::ALL {
            let text = filter.text(&module());
            assert!(Filter::new(text.clone()).is_ok(), "{text}");
            assert_eq!(HubFilter::parse(&text, &module()), Some(filter), "{text}");
        }
        for text in ["devices/Press-17/modules/Eye.1/#", "Devices/Press-17/Modules/Eye.1/Inputs/#"]
        {
            assert_eq!(HubFilter::parse(text, &module()), Some(HubFilter::Messages), "{text}");
            assert_eq!(HubFilter::parse(text, &device()), None, "{text}");
        }
        for text in [
            "devices/Press-17/#",
            "devices/Press-17/modules/#",
            "devices/Press-17/modules/+/inputs/#",
            "devices/Press-17/modules/Eye.10/#",
            "devices/Press-17/modules/Eye.1/inputs/in/#",
            "devices/Press-17/messages/devicebound/#",
        ] {
            assert_eq!(HubFilter::parse(text, &module()), None, "{text}");
        }
    }

    #[test]
    fn other_filters_are_not_legal() {
        for text in [
            "#",
            "$iothub/#",
            "$iothub/twin/res",
            "$iothub/twin/res/",
            "$iothub/twin/res/+",
            "$iothub/twin/PATCH/properties/reported/#",
            "$iothub/methods/POST/reboot",
            "devices/press-17/messages/devicebound/#",
            "devices/Press-18/messages/devicebound/#",
            "devices/+/messages/devicebound/#",
            "devices/Press-17/messages/#",
            "devices/Press-17/messages/events/#",
            "$dps/registrations/res/#",
        ] {
            assert_eq!(HubFilter::parse(text, &device()), None, "{text}");
        }
    }

    #[test]
    fn what_is_sent_is_spelled_as_the_sources_spell_it() {
        let some = |text: &str| Some(text.to_owned());
        let properties = [
            ("$.mid".to_owned(), some("m 1")),
            ("$.to".to_owned(), some("/devices/Press-17/messages/devicebound")),
            ("iothub-ack".to_owned(), some("full")),
            ("alone".to_owned(), None),
        ];
        for (topic, expected) in [
            (twin_response(200, "a-1", None), "$iothub/twin/res/200/?$rid=a-1"),
            (twin_response(204, "%41", Some(7)), "$iothub/twin/res/204/?$rid=%41&$version=7"),
            (desired_changed(12), "$iothub/twin/PATCH/properties/desired/?$version=12"),
            (method_call("reboot", "1f"), "$iothub/methods/POST/reboot/?$rid=1f"),
            (devicebound(&device(), &[]), "devices/Press-17/messages/devicebound/"),
            (
                devicebound(&device(), &properties),
                "devices/Press-17/messages/devicebound/%24.mid=m%201\
                 &%24.to=%2Fdevices%2FPress-17%2Fmessages%2Fdevicebound&iothub-ack=full&alone",
            ),
        ] {
            assert_eq!(topic, expected);
            assert!(Topic::new(topic).is_ok(), "{expected}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            prefix in prop::sample::select(vec![
                "", TWIN_GET, TWIN_REPORT, METHOD_RESULT, "devices/Press-17/messages/events/",
                "devices/Press-17/modules/Eye.1/",
            ]),
            tail in "[$rid=&%?/version0-9\\PC]{0,60}",
        ) {
            let topic = format!("{prefix}{tail}");
            for id in [device(), module()] {
                let _ = HubRequest::of(&topic, &id);
                let _ = HubFilter::parse(&topic, &id);
            }
        }

        #[test]
        fn a_message_is_in_the_fifth_segment_whatever_its_properties(
            properties in prop::collection::vec(("\\PC{1,9}", prop::option::of("\\PC{0,9}")), 0..5),
        ) {
            let topic = devicebound(&device(), &properties);
            let segments: Vec<_> = topic.split('/').collect();
            prop_assert_eq!(segments.len(), 5);
            prop_assert_eq!(bag::decode(segments[4]), Ok(properties));
            prop_assert!(Topic::new(topic.clone()).is_ok());
        }
    }
}
