//! A user name, topic, filter or property bag from anyone: understood or refused, never a panic.
//! What is echoed stood in it, and what is read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::DeviceId;
use mqtt::{
    proto::{Filter, Topic},
    topic::{self, HubFilter, HubRequest, MAX_RID_BYTES, UserName, bag},
};

fuzz_target!(|text: &str| {
    match UserName::parse(text) {
        Ok(UserName::Provisioning(user)) => {
            let start = format!("{}/registrations/{}", user.id_scope, user.registration_id);
            assert!(text.to_ascii_lowercase().starts_with(&start.to_ascii_lowercase()));
        }
        Ok(UserName::Hub(user)) => {
            assert!(text.to_ascii_lowercase().starts_with(&user.host));
            assert!(text.contains(&user.device_id) && !user.device_id.contains('/'));
        }
        Err(_) => {}
    }

    let properties = bag::decode(text);
    if let Ok(properties) = &properties {
        assert_eq!(bag::decode(&bag::encode(properties)).as_ref(), Ok(properties));
    }

    let device_id = DeviceId::parse("press-17").expect("an ID");
    if let Some(filter) = HubFilter::parse(text, &device_id) {
        assert!(filter.text(&device_id).eq_ignore_ascii_case(text));
        assert!(Filter::new(text).is_ok());
    }

    // As packets bring them: topics without wildcards, which answers must be as well.
    if Topic::new(text).is_err() {
        return;
    }
    if let Some(request) = topic::provisioning_request(text) {
        let rid = request.rid();
        assert!((1..=MAX_RID_BYTES).contains(&rid.len()) && text.contains(rid));
        assert!(Topic::new(topic::provisioning_response(202, rid, Some(3))).is_ok());
    }
    match HubRequest::of(text, &device_id) {
        HubRequest::Telemetry { bag } => assert!(text.contains(bag)),
        HubRequest::TwinGet { rid } | HubRequest::TwinReport { rid, .. } => {
            assert!(Topic::new(topic::twin_response(200, rid, Some(1))).is_ok());
        }
        HubRequest::MethodResult { rid, .. } => assert!(text.contains(rid)),
        HubRequest::Other => {}
    }
});
