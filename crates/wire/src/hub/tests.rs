use model::{
    AuthenticationDraft, AuthenticationKind, Device, DeviceAuthentication, DeviceCounts, DeviceId,
    DeviceIdentity, DeviceStatus, HubRefusal, ImportMode, Json, Metadata, SymmetricKey,
    SymmetricKeys, Timestamp, Twin, TwinSection,
};

mod modules;

use super::*;
use crate::{RequestFault, time};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn device() -> Device {
    let key = SymmetricKey::parse(KEY).expect("key");
    let updated = time::parse("2021-07-07T20:45:24.0373517Z").expect("time");
    let section = TwinSection {
        content: Json::empty_object(),
        metadata: Metadata {
            last_updated: Some(updated),
            last_updated_version: None,
            members: vec![],
        },
        version_number: 1,
    };
    Device {
        identity: DeviceIdentity {
            device_id: DeviceId::parse("dev1").expect("id"),
            generation_id: "637612875240648717".to_owned(),
            etag_counter: 727_894_863,
            status: DeviceStatus::Enabled,
            status_reason: None,
            status_updated: None,
            connected: false,
            connection_state_updated: None,
            last_activity: None,
            cloud_to_device_messages: 0,
            authentication: DeviceAuthentication {
                kind: AuthenticationKind::Sas,
                keys: Some(SymmetricKeys { primary: key.clone(), secondary: key }),
                primary_thumbprint: None,
                secondary_thumbprint: None,
            },
            iot_edge: false,
            device_scope: None,
            parent_scopes: vec![],
            managed_by: None,
            version: 1,
        },
        twin: Twin {
            tags: Json::empty_object(),
            desired: section.clone(),
            reported: section,
            etag_counter: 1,
            version_number: 2,
            version: 1,
        },
    }
}

#[test]
fn a_new_identity_is_answered_as_recorded() {
    assert_eq!(
        identity(&device().identity, Answer::Created).to_string(),
        concat!(
            r#"{"deviceId":"dev1","generationId":"637612875240648717","etag":"NzI3ODk0ODYz","#,
            r#""connectionState":"Disconnected","status":"enabled","statusReason":null,"#,
            r#""connectionStateUpdatedTime":"0001-01-01T00:00:00","#,
            r#""statusUpdatedTime":"0001-01-01T00:00:00","lastActivityTime":"0001-01-01T00:00:00","#,
            r#""cloudToDeviceMessageCount":0,"authentication":{"symmetricKey":{"#,
            r#""primaryKey":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=","#,
            r#""secondaryKey":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="},"#,
            r#""x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"type":"sas"},"#,
            r#""capabilities":{"iotEdge":false}}"#
        )
    );
}

#[test]
fn reads_write_moments_that_never_were_with_a_zone_and_real_ones_always_so() {
    let mut device = device().identity;
    device.status_updated = Some(time::parse("2026-01-01T00:00:00.5Z").expect("time"));
    device.authentication.keys = None;
    device.authentication.primary_thumbprint = Some("ab".repeat(20));
    device.device_scope = Some("scope".to_owned());
    device.parent_scopes = vec!["parent".to_owned()];
    let read = identity(&device, Answer::Read);
    let text = |name: &str| read.get(name).map(Json::to_string).unwrap_or_default();
    assert_eq!(text("lastActivityTime"), r#""0001-01-01T00:00:00Z""#);
    assert_eq!(text("statusUpdatedTime"), r#""2026-01-01T00:00:00.5Z""#);
    assert_eq!(
        text("authentication"),
        format!(
            r#"{{"symmetricKey":{{"primaryKey":null,"secondaryKey":null}},"x509Thumbprint":{{"primaryThumbprint":"{}","secondaryThumbprint":null}},"type":"sas"}}"#,
            "ab".repeat(20)
        )
    );
    assert!(read.to_string().ends_with(
        r#""capabilities":{"iotEdge":false},"deviceScope":"scope","parentScopes":["parent"]}"#
    ));
}

#[test]
fn a_fresh_twin_is_answered_as_recorded() {
    assert_eq!(
        twin(&device()).to_string(),
        concat!(
            r#"{"deviceId":"dev1","etag":"AAAAAAAAAAE=","deviceEtag":"NzI3ODk0ODYz","#,
            r#""status":"enabled","statusUpdateTime":"0001-01-01T00:00:00Z","#,
            r#""connectionState":"Disconnected","lastActivityTime":"0001-01-01T00:00:00Z","#,
            r#""cloudToDeviceMessageCount":0,"authenticationType":"sas","#,
            r#""x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"version":2,"#,
            r#""properties":{"desired":{"$metadata":{"$lastUpdated":"2021-07-07T20:45:24.0373517Z"},"#,
            r#""$version":1},"reported":{"$metadata":{"$lastUpdated":"2021-07-07T20:45:24.0373517Z"},"#,
            r#""$version":1}},"capabilities":{"iotEdge":false}}"#
        )
    );
}

#[test]
fn metadata_mirrors_the_content_and_tags_show_when_there_are_some() {
    let mut device = device();
    let at = time::parse("2026-01-01T00:00:00Z").expect("time");
    let stamp =
        |members| Metadata { last_updated: Some(at), last_updated_version: Some(2), members };
    let interval = ("interval".to_owned(), stamp(vec![]));
    device.twin.desired = TwinSection {
        content: json::parse(r#"{"telemetry":{"interval":60}}"#).expect("JSON"),
        metadata: stamp(vec![("telemetry".to_owned(), stamp(vec![interval]))]),
        version_number: 2,
    };
    device.twin.reported.metadata.last_updated = None;
    device.twin.tags = json::parse(r#"{"b":1.0,"a":"x"}"#).expect("JSON");
    device.identity.status_reason = Some("stolen".to_owned());
    let twin = twin(&device);
    let stamp = r#""$lastUpdated":"2026-01-01T00:00:00Z","$lastUpdatedVersion":2"#;
    assert_eq!(
        twin.get("properties").map(Json::to_string),
        Some(format!(
            r#"{{"desired":{{"telemetry":{{"interval":60}},"$metadata":{{{stamp},"telemetry":{{{stamp},"interval":{{{stamp}}}}}}},"$version":2}},"reported":{{"$metadata":{{"$lastUpdated":"0001-01-01T00:00:00Z"}},"$version":1}}}}"#
        ))
    );
    let members: Vec<_> =
        twin.as_object().expect("object").iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(members[3..5], ["status", "statusReason"]);
    assert_eq!(members[11..14], ["version", "tags", "properties"]);
    assert_eq!(twin.get("tags").map(Json::to_string).as_deref(), Some(r#"{"b":1.0,"a":"x"}"#));
}

#[test]
fn an_identity_is_read_as_each_client_sends_it() {
    let read = |body: &str| parse_identity(body.as_bytes()).expect(body);
    let cli = read(
        r#"{"deviceId":"dev1","status":"enabled","authentication":{"symmetricKey":{},"type":"sas"},"capabilities":{"iotEdge":false}}"#,
    );
    assert_eq!(cli.status, Some(DeviceStatus::Enabled));
    assert_eq!(cli.iot_edge, Some(false));
    let nothing = AuthenticationDraft {
        kind: Some(AuthenticationKind::Sas),
        primary_key: None,
        secondary_key: None,
        primary_thumbprint: None,
        secondary_thumbprint: None,
    };
    assert_eq!(cli.authentication, Some(nothing.clone()));
    let python = read(
        r#"{"deviceId":"dev1","etag":"x","authentication":{"type":"sas","symmetricKey":{"primaryKey":null,"secondaryKey":null},"x509Thumbprint":null}}"#,
    );
    assert_eq!(python.authentication, Some(nothing));
    let thumbprint = read(
        r#"{"deviceId":"dev1","status":"DISABLED","statusReason":"lost","authentication":{"type":"selfsigned","x509Thumbprint":{"primaryThumbprint":"AB","secondaryThumbprint":null}}}"#,
    );
    assert_eq!(thumbprint.status, Some(DeviceStatus::Disabled));
    assert_eq!(thumbprint.status_reason.as_deref(), Some("lost"));
    let authentication = thumbprint.authentication.expect("authentication");
    assert_eq!(authentication.kind, Some(AuthenticationKind::SelfSigned));
    assert_eq!(authentication.primary_thumbprint.as_deref(), Some("AB"));
    assert_eq!(read(r#"{"deviceId":"dev1"}"#).authentication, None);
}

#[test]
fn a_bad_identity_is_refused_with_path_and_reason() {
    let check = |body: &str, text: &str| {
        assert_eq!(
            parse_identity(body.as_bytes()),
            Err(HubRefusal::ArgumentInvalid(text.to_owned())),
            "{body}"
        );
    };
    check("", "the request has no body");
    check("[]", "the request body: expected an object, found an array");
    check("{}", "deviceId: is required");
    check(r#"{"deviceId":"a/b"}"#, "deviceId: character '/' is not allowed in an ID");
    check(r#"{"deviceId":"a","status":"asleep"}"#, "status: expected one of enabled, disabled");
    let with =
        |authentication: &str| format!(r#"{{"deviceId":"a","authentication":{authentication}}}"#);
    check(&with(r#"{"type":"none"}"#), "authentication.type: DeviceAuthenticationTypeIsMissing");
    check(
        &with(r#"{"type":"charm"}"#),
        "authentication.type: expected one of sas, selfSigned, certificateAuthority, none",
    );
    check(
        &with(r#"{"symmetricKey":{"primaryKey":"AAAA"}}"#),
        "authentication.symmetricKey.primaryKey: Invalid device key length: a symmetric key must \
         have 16 to 64 bytes, this one has 3",
    );
    check(
        &with(r#"{"symmetricKey":{"secondaryKey":"?"}}"#),
        "authentication.symmetricKey.secondaryKey: a symmetric key must be base64",
    );
    assert_eq!(
        parse_identity(b"{"),
        Err(HubRefusal::Format(
            "line 1, column 2: expected a member name in double quotes".to_owned()
        ))
    );
}

#[test]
fn a_twin_write_keeps_tags_and_desired_and_ignores_the_mirror() {
    let whole = twin(&device()).to_string();
    let sent = parse_twin(whole.as_bytes()).expect("a whole twin");
    assert_eq!(sent.tags, None);
    assert!(sent.desired.is_some_and(|desired| desired.get("$version").is_some()));
    let sent = parse_twin(br#"{"tags":null,"properties":{"desired":null,"reported":7}}"#);
    let sent = sent.expect("legal");
    assert_eq!((sent.tags, sent.desired), (Some(Json::Null), Some(Json::Null)));
    assert_eq!(
        parse_twin(br#"{"tags":[]}"#),
        Err(HubRefusal::ArgumentInvalid(
            "tags: expected an object or null, found an array".to_owned()
        ))
    );
    assert_eq!(
        parse_twin(br#"{"properties":{"desired":"x"}}"#),
        Err(HubRefusal::ArgumentInvalid(
            "properties.desired: expected an object or null, found a string".to_owned()
        ))
    );
}

#[test]
fn bulk_elements_are_read_with_their_other_names() {
    let body = br#"[{"id":"dev1","moduleId":null,"eTag":"x","importMode":"UpdateIfMatchETag",
        "twinETag":"y","tags":{"a":1},"properties":{"desired":{"b":2},"reported":{}},
        "capabilities":{"iotEdge":true},"parentScopes":[]},{"id":"dev2","etag":"z"}]"#;
    let elements = parse_bulk(body).expect("legal");
    let first = &elements[0];
    assert_eq!(first.mode, ImportMode::UpdateIfMatchEtag);
    assert_eq!((first.etag.as_deref(), first.twin_etag.as_deref()), (Some("x"), Some("y")));
    assert_eq!(first.identity.iot_edge, Some(true));
    assert_eq!(first.twin.tags.as_ref().map(Json::to_string).as_deref(), Some(r#"{"a":1}"#));
    assert_eq!(first.twin.desired.as_ref().map(Json::to_string).as_deref(), Some(r#"{"b":2}"#));
    assert_eq!(elements[1].mode, ImportMode::CreateOrUpdate);
    assert_eq!(elements[1].etag.as_deref(), Some("z"), "as `azure-iothub` of npm spells it");
}

#[test]
fn every_bulk_mode_is_read_by_the_name_it_is_written_with() {
    for mode in [
        ImportMode::Create,
        ImportMode::Update,
        ImportMode::UpdateIfMatchEtag,
        ImportMode::Delete,
        ImportMode::DeleteIfMatchEtag,
        ImportMode::CreateOrUpdate,
        ImportMode::CreateOrUpdateIfMatchEtag,
        ImportMode::UpdateTwin,
        ImportMode::UpdateTwinIfMatchEtag,
    ] {
        let body = format!(r#"[{{"id":"a","importMode":"{}"}}]"#, mode_name(mode));
        assert_eq!(parse_bulk(body.as_bytes()).expect("legal")[0].mode, mode);
    }
}

#[test]
fn a_bad_bulk_call_names_the_element() {
    let check = |body: &str, refusal: HubRefusal| {
        assert_eq!(parse_bulk(body.as_bytes()), Err(refusal), "{body}");
    };
    let invalid = |text: &str| HubRefusal::ArgumentInvalid(text.to_owned());
    check("{}", invalid("the request body: expected an array, found an object"));
    check(r#"[{"id":"a"},{"deviceId":"b"}]"#, invalid("[1].id: is required"));
    check(
        r#"[{"id":"a","importMode":"merge"}]"#,
        invalid(
            "[0].importMode: expected one of create, update, updateIfMatchETag, delete, \
             deleteIfMatchETag, createOrUpdate, createOrUpdateIfMatchETag, updateTwin, \
             updateTwinIfMatchETag",
        ),
    );
    check(
        r#"[{"id":"a","moduleId":"$m"}]"#,
        invalid("[0].moduleId: character '$' is not allowed in an ID"),
    );
}

#[test]
fn a_bulk_answer_has_the_shape_that_was_recorded() {
    assert_eq!(bulk_answer(&[]).to_string(), r#"{"isSuccessful":true,"errors":[],"warnings":[]}"#);
    let failure = BulkFailure {
        device_id: "dev1".to_owned(),
        module_id: None,
        code: "DeviceAlreadyExists".to_owned(),
        status: "A device with ID 'dev1' is already registered.".to_owned(),
        mode: ImportMode::Create,
    };
    assert_eq!(
        bulk_answer(&[failure]).to_string(),
        concat!(
            r#"{"isSuccessful":false,"errors":[{"deviceId":"dev1","errorCode":"DeviceAlreadyExists","#,
            r#""errorStatus":"A device with ID 'dev1' is already registered.","operation":"create"}],"#,
            r#""warnings":[]}"#
        )
    );
}

#[test]
fn small_answers_have_the_shape_that_was_recorded() {
    let counts = DeviceCounts { total: 5, enabled: 4, disabled: 1, connected: 2 };
    assert_eq!(
        device_statistics(&counts).to_string(),
        r#"{"totalDeviceCount":5,"enabledDeviceCount":4,"disabledDeviceCount":1}"#
    );
    assert_eq!(service_statistics(&counts).to_string(), r#"{"connectedDeviceCount":2}"#);
    assert_eq!(
        purged(&device().identity.device_id, 0).to_string(),
        r#"{"totalMessagesPurged":0,"deviceId":"dev1","moduleId":null}"#
    );
    assert_eq!(count_row("n", 3).to_string(), r#"{"n":3}"#);
}

#[test]
fn a_listing_holds_1_to_1000_devices() {
    assert_eq!(page_top(None), Ok(1000));
    assert_eq!(page_top(Some("1")), Ok(1));
    for bad in ["0", "1001", "-1", "x", ""] {
        assert!(page_top(Some(bad)).is_err(), "{bad}");
    }
}

/// Every refusal of a hub, with number, name and text.
fn table() -> Vec<(HubRefusal, u32, &'static str, &'static str)> {
    let text = |text: &str| text.to_owned();
    vec![
        (
            HubRefusal::Unauthorized(text("the log's reason")),
            401_002,
            "IotHubUnauthorizedAccess",
            "Unauthorized",
        ),
        (
            HubRefusal::HubNotFound(text("h.x")),
            404_000,
            "IotHubNotFound",
            "no hub is called `h.x` here",
        ),
        (HubRefusal::ArgumentInvalid(text("why")), 400_004, "ArgumentInvalid", "why"),
        (HubRefusal::Format(text("why")), 400_006, "IotHubFormatError", "why"),
        (HubRefusal::DeviceNotFound(text("d")), 404_001, "DeviceNotFound", "d"),
        (HubRefusal::ModuleNotFound(text("m")), 404_010, "ModuleNotFound", "m"),
        (
            HubRefusal::DeviceExists(text("d")),
            409_001,
            "DeviceAlreadyExists",
            "A device with ID 'd' is already registered.",
        ),
        (
            HubRefusal::IdentityEtag { existing: text("1"), given: text("2") },
            412_001,
            "PreconditionFailed",
            "Precondition failed: Device version did not match, existingVersion:1 newVersion:2",
        ),
        (
            HubRefusal::EtagMissing,
            412_001,
            "PreconditionFailed",
            "Precondition failed: Etag missing. Send If-Match with the device's etag or *",
        ),
        (
            HubRefusal::TwinEtag(text("d")),
            412_001,
            "PreconditionFailed",
            "ETag mismatch for device ID 'd'",
        ),
        (
            HubRefusal::Conflict(text("d")),
            412_001,
            "PreconditionFailed",
            "Precondition failed: someone else changed device 'd' at the same time",
        ),
        (
            HubRefusal::TooManyDevices(101),
            413_002,
            "TooManyDevices",
            "at most 100 devices in one call, these are 101",
        ),
        (
            HubRefusal::DeviceDefinedMultipleTimes(text("d")),
            400_011,
            "DeviceDefinedMultipleTimes",
            "device 'd' is there more than once",
        ),
        (
            HubRefusal::ModuleExists { device: text("d"), module: text("m") },
            409_301,
            "ModuleAlreadyExistsOnDevice",
            "Device d already contains Module m.",
        ),
        (
            HubRefusal::TooManyModules { device: text("d"), limit: 50 },
            413_003,
            "TooManyModulesOnDevice",
            "device 'd' has 50 modules, no more are taken",
        ),
        (
            HubRefusal::AddressRefused(text("10.0.0.1")),
            401_002,
            "IotHubUnauthorizedAccess",
            "Unauthorized",
        ),
        (
            HubRefusal::Throttled(7),
            429_001,
            "ThrottlingException",
            "too many requests; wait 7 seconds",
        ),
        (
            HubRefusal::DeviceNotOnline(text("d")),
            404_103,
            "DeviceNotOnline",
            "The operation failed because the requested device isn't online or hasn't registered \
             the direct method callback: 'd'",
        ),
        (
            HubRefusal::MethodTimeout(text("d")),
            504_101,
            "GatewayTimeout",
            "the device 'd' did not answer in time",
        ),
        (
            HubRefusal::QueueFull { device: text("d"), limit: 50 },
            403_004,
            "DeviceMaximumQueueDepthExceeded",
            "50 messages wait for the device 'd', no more are taken",
        ),
        (HubRefusal::MessageTooLarge(text("why")), 413_001, "MessageTooLarge", "why"),
        (HubRefusal::NotImplemented(text("why")), 400_003, "InvalidOperation", "why"),
    ]
}

#[test]
fn every_refusal_has_its_row_and_its_status_is_its_numbers_class() {
    for (refusal, number, name, message) in table() {
        let row = error_row(&refusal);
        assert_eq!((row.number, row.name, row.message.as_str()), (number, name, message));
        assert_eq!(u32::from(row.status), number / 1000, "{refusal:?}");
    }
}

#[test]
fn every_request_fault_keeps_its_status_at_a_hub() {
    for fault in [
        RequestFault::MissingApiVersion,
        RequestFault::UnsupportedApiVersion,
        RequestFault::BadPath,
        RequestFault::BadHeader { name: "If-Match" },
        RequestFault::UnknownRoute,
        RequestFault::MethodNotAllowed,
        RequestFault::Timeout,
        RequestFault::TooLarge { limit: 1 },
        RequestFault::UnsupportedMediaType,
        RequestFault::Throttled,
        RequestFault::Internal,
        RequestFault::Unavailable,
    ] {
        let row = fault_row(fault);
        assert_eq!(row.status, fault.row().status, "{fault:?}");
        assert_eq!(u32::from(row.status), row.number / 1000, "{fault:?}");
    }
}

#[test]
fn the_envelopes_are_those_that_were_recorded() {
    let row = error_row(&HubRefusal::DeviceNotFound("mydevice".to_owned()));
    let now = Timestamp::from_ticks(16_661_262_395_000_001);
    let id = "aeec4c1e-4e91-4a4c-9f40-fdba7be68fa5";
    assert_eq!(
        envelope_a(&row, id, now).to_string(),
        r#"{"Message":"ErrorCode:DeviceNotFound;mydevice","ExceptionMessage":"Tracking ID:aeec4c1e4e914a4c9f40fdba7be68fa5-G:0-TimeStamp:10/18/2022 20:50:39"}"#
    );
    assert_eq!(
        envelope_b(&row, id, now).to_string(),
        r#"{"errorCode":404001,"trackingId":"aeec4c1e-4e91-4a4c-9f40-fdba7be68fa5","message":"mydevice","timestampUtc":"2022-10-18T20:50:39Z"}"#
    );
    assert_eq!(
        envelope_nested(&row, id, now).to_string(),
        r#"{"Message":"{\"errorCode\":404001,\"trackingId\":\"aeec4c1e-4e91-4a4c-9f40-fdba7be68fa5\",\"message\":\"mydevice\",\"info\":null,\"timestampUtc\":\"2022-10-18T20:50:39.5000001Z\"}","ExceptionMessage":""}"#
    );
}

proptest::proptest! {
    #[test]
    fn parsing_a_body_never_panics(body: Vec<u8>) {
        let _ = parse_identity(&body);
        let _ = parse_module_identity(&body);
        let _ = parse_twin(&body);
        let _ = parse_bulk(&body);
        let _ = query::parse_request(&body);
        let _ = parse_method(&body);
        let _ = parse_message(&body);
        let _ = method_answer(200, &body);
    }
}
