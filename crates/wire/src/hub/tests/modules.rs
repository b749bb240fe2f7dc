//! Modules: documents of their own, and their names apart (H §2.8, §3.1, §5.5).

use model::{
    AuthMethod, BulkDevice, Event, EventSource, IdentityDraft, MessageProperties, ModuleId,
    StoredEvent,
};

use super::*;

fn module() -> Device {
    let mut device = device();
    let module = ModuleId::parse("camera").expect("id");
    device.identity.device_id = DeviceId::of_module(&device.identity.device_id, &module);
    device
}

#[test]
fn a_module_has_a_manager_and_no_status() {
    let mut module = module().identity;
    let authentication = concat!(
        r#""authentication":{"symmetricKey":{"#,
        r#""primaryKey":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=","#,
        r#""secondaryKey":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="},"#,
        r#""x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"type":"sas"}}"#
    );
    let check = |module: &DeviceIdentity, manager: &str| {
        assert_eq!(
            identity(module, Answer::Created).to_string(),
            format!(
                r#"{{"moduleId":"camera","managedBy":{manager},"deviceId":"dev1","generationId":"637612875240648717","etag":"NzI3ODk0ODYz","connectionState":"Disconnected","connectionStateUpdatedTime":"0001-01-01T00:00:00","lastActivityTime":"0001-01-01T00:00:00","cloudToDeviceMessageCount":0,{authentication}"#
            )
        );
    };
    check(&module, "null");
    module.managed_by = Some("somebody".to_owned());
    check(&module, r#""somebody""#);
}

#[test]
fn a_modules_twin_names_both_and_has_no_capabilities() {
    let text = twin(&module()).to_string();
    let begins = r#"{"deviceId":"dev1","moduleId":"camera","etag":"AAAAAAAAAAE=","deviceEtag":"#;
    assert!(text.starts_with(begins), "{text}");
    assert!(!text.contains("capabilities") && text.contains(r#""status":"enabled""#), "{text}");
}

fn check_draft(body: &str, expected: Result<IdentityDraft, &str>) {
    let expected = expected.map_err(|text| HubRefusal::ArgumentInvalid(text.to_owned()));
    assert_eq!(parse_module_identity(body.as_bytes()), expected, "{body}");
}

fn draft() -> IdentityDraft {
    IdentityDraft {
        device_id: module().identity.device_id,
        status: None,
        status_reason: None,
        authentication: None,
        iot_edge: None,
        device_scope: None,
        parent_scopes: Vec::new(),
        managed_by: None,
    }
}

#[test]
fn a_module_is_read_from_its_two_names() {
    check_draft(r#"{"deviceId":"dev1","moduleId":"camera"}"#, Ok(draft()));
    // What only a device has is ignored, as everything unknown is.
    check_draft(
        r#"{"moduleId":"camera","deviceId":"dev1","status":"disabled","managedBy":"somebody","capabilities":{"iotEdge":true}}"#,
        Ok(IdentityDraft { managed_by: Some("somebody".to_owned()), ..draft() }),
    );
    check_draft(r#"{"deviceId":"dev1"}"#, Err("moduleId: is required"));
    check_draft(r#"{"moduleId":"camera"}"#, Err("deviceId: is required"));
    let dollar = Err("moduleId: character '$' is not allowed in an ID");
    check_draft(r#"{"deviceId":"dev1","moduleId":"$edgeAgent"}"#, dollar);
    let slash = Err("deviceId: character '/' is not allowed in an ID");
    check_draft(r#"{"deviceId":"dev1/camera","moduleId":"camera"}"#, slash);
}

#[test]
fn a_module_that_says_none_logs_in_with_keys_and_a_device_that_does_is_refused() {
    let body = r#"{"deviceId":"dev1","moduleId":"camera","authentication":{"type":"none"}}"#;
    let kind = parse_module_identity(body.as_bytes()).expect("legal").authentication;
    assert_eq!(kind.and_then(|draft| draft.kind), Some(AuthenticationKind::Sas));
    assert!(parse_identity(body.as_bytes()).is_err());
}

#[test]
fn an_element_of_a_bulk_call_with_a_module_is_about_that() {
    let body = r#"[{"id":"dev1","moduleId":"camera","managedBy":"x"},{"id":"dev1","moduleId":null},{"id":"dev1","moduleId":""}]"#;
    let elements = parse_bulk(body.as_bytes()).expect("legal");
    let names: Vec<_> =
        elements.iter().map(|e: &BulkDevice| e.identity.device_id.as_str()).collect();
    assert_eq!(names, ["dev1/camera", "dev1", "dev1"]);
    assert_eq!(elements[0].identity.managed_by.as_deref(), Some("x"));
    let failure = BulkFailure {
        device_id: "dev1".to_owned(),
        module_id: Some("camera".to_owned()),
        code: "ModuleNotFound".to_owned(),
        status: "dev1/camera".to_owned(),
        mode: ImportMode::Delete,
    };
    let text = bulk_answer(&[failure]).to_string();
    let error = r#"{"deviceId":"dev1","moduleId":"camera","errorCode":"ModuleNotFound","#;
    assert!(text.contains(error), "{text}");
}

#[test]
fn an_event_of_a_module_names_device_and_module_apart() {
    let sent = |device_id: DeviceId, auth_method| {
        let event = Event {
            device_id,
            generation_id: "1".to_owned(),
            auth_method,
            source: EventSource::Telemetry,
            enqueued: Timestamp::from_unix_secs(0),
            properties: MessageProperties::default(),
            application: Vec::new(),
            body: Vec::new(),
        };
        event_text(event)
    };
    let scope = |name: &str| format!(r#"{{\"scope\":\"{name}\",\"type\":\"sas\""#);
    let own = sent(module().identity.device_id, AuthMethod::DeviceKey);
    assert!(own.contains(r#""deviceId":"dev1","moduleId":"camera","#), "{own}");
    let annotations =
        r#""iothub-connection-device-id":"dev1","iothub-connection-module-id":"camera","#;
    assert!(own.contains(annotations) && own.contains(&scope("module")), "{own}");
    let by_policy = sent(module().identity.device_id, AuthMethod::HubPolicy);
    assert!(by_policy.contains(&scope("hub")), "{by_policy}");
    let of_device = sent(device().identity.device_id, AuthMethod::DeviceKey);
    assert!(!of_device.contains("odule") && of_device.contains(&scope("device")), "{of_device}");
}

fn event_text(sent: Event) -> String {
    event(&StoredEvent { partition: 0, offset: 0, event: sent }).to_string()
}
