use model::{
    AllocationPolicy, AttestationMechanism, CustomAllocation, EnrollmentGroupId, Etag,
    ProvisioningStatus, ReprovisionPolicy, Sent, SymmetricKey, SymmetricKeys, Terms,
};

use super::*;
use crate::time;

fn group() -> EnrollmentGroup {
    let key = SymmetricKey::from_bytes(&[7; 32]).expect("a key");
    let keys = SymmetricKeys { primary: key.clone(), secondary: key };
    EnrollmentGroup {
        group_id: EnrollmentGroupId::parse("contoso-group").expect("legal"),
        settings: model::GroupSettings::default(),
        terms: Terms {
            attestation: AttestationMechanism::SymmetricKey(keys),
            iot_edge: Some(false),
            iot_hub_host_name: None,
            initial_twin: None,
            etag: Etag::from_stored("\"13003fea-0000-0300-0000-62d1d5e50000\""),
            provisioning_status: Sent::Value(ProvisioningStatus::Enabled),
            reprovision_policy: Some(ReprovisionPolicy {
                update_hub_assignment: Some(true),
                migrate_device_data: Some(true),
            }),
            created: time::parse("2022-07-05T21:27:16.8123235Z").expect("a time"),
            last_updated: time::parse("2022-07-15T21:02:29.5922255Z").expect("a time"),
            allocation_policy: Some(AllocationPolicy::Custom),
            iot_hubs: Some(vec![
                "hub-a.azure-devices.net".to_owned(),
                "hub-b.azure-devices.net".to_owned(),
            ]),
            custom_allocation: Some(CustomAllocation {
                webhook_url: "https://f.example/api/Trigger?code=hush".to_owned(),
                api_version: "2021-10-01".to_owned(),
            }),
            version: 1,
        },
    }
}

/// The question of D §5.11, word for word.
const GOLDEN: &str = r#"{
  "enrollmentGroup": {
    "enrollmentGroupId": "contoso-group",
    "attestation": { "type": "symmetricKey" },
    "capabilities": { "iotEdge": false },
    "etag": "\"13003fea-0000-0300-0000-62d1d5e50000\"",
    "provisioningStatus": "enabled",
    "reprovisionPolicy": { "updateHubAssignment": true, "migrateDeviceData": true },
    "createdDateTimeUtc": "2022-07-05T21:27:16.8123235Z",
    "lastUpdatedDateTimeUtc": "2022-07-15T21:02:29.5922255Z",
    "allocationPolicy": "custom",
    "iotHubs": [ "hub-a.azure-devices.net", "hub-b.azure-devices.net" ],
    "customAllocationDefinition": { "webhookUrl": "https://f.example/api/Trigger?****", "apiVersion": "2021-10-01" }
  },
  "deviceRuntimeContext": {
    "registrationId": "dev-1",
    "currentIotHubHostName": "hub-a.azure-devices.net",
    "currentDeviceId": "dev-1",
    "symmetricKey": {},
    "payload": { "model": "x" }
  },
  "linkedHubs": [ "hub-a.azure-devices.net", "hub-b.azure-devices.net" ]
}"#;

fn hubs() -> Vec<HubName> {
    let hub = |text: &str| HubName::parse(text).expect("a hub");
    vec![hub("hub-a.azure-devices.net"), hub("hub-b.azure-devices.net")]
}

#[test]
fn a_groups_question_is_the_recorded_one() {
    let (group, hubs) = (group(), hubs());
    let id = RegistrationId::parse("dev-1").expect("legal");
    let device_id = DeviceId::from(&id);
    let payload = json::parse(r#"{"model":"x"}"#).expect("JSON");
    let request = Request {
        enrollment: Enrollment::Group(&group),
        registration_id: &id,
        current: Some((&hubs[0], &device_id)),
        evidence: Evidence::SymmetricKey,
        payload: Some(&payload),
        linked_hubs: &hubs,
    };
    assert_eq!(request_body(&request), json::parse(GOLDEN).expect("JSON"));
}

#[test]
fn a_first_question_about_one_device_has_no_current_hub_and_no_secret() {
    let id = RegistrationId::parse("dev-1").expect("legal");
    let enrollment = IndividualEnrollment {
        registration_id: id.clone(),
        device_id: None,
        optional_device_information: None,
        terms: group().terms,
    };
    let request = Request {
        enrollment: Enrollment::Individual(&enrollment),
        registration_id: &id,
        current: None,
        evidence: Evidence::X509(None),
        payload: None,
        linked_hubs: &hubs(),
    };
    let body = request_body(&request);
    assert_eq!(body.get("individualEnrollment").and_then(|e| e.get("registrationState")), None);
    let context = body.get("deviceRuntimeContext").expect("a context").to_string();
    assert_eq!(context, r#"{"registrationId":"dev-1","x509":{}}"#);
    let text = body.to_string();
    let AttestationMechanism::SymmetricKey(keys) = &enrollment.terms.attestation else {
        panic!("keys");
    };
    assert!(!text.contains(keys.primary.reveal()) && !text.contains("hush"), "{text}");
}

#[test]
fn the_secret_part_of_an_address_is_masked() {
    let check = |url: &str, shown: &str| assert_eq!(mask_query(url), shown);
    check("https://f.example/api", "https://f.example/api");
    check("https://f.example/api?code=x&y=z#a", "https://f.example/api?****");
    check("https://u:p@f.example/api", "https://****@f.example/api");
}

#[test]
fn an_answer_is_read_and_its_nulls_mean_nothing() {
    let check = |body: &str, expected: Result<Answer, &str>| {
        assert_eq!(read_answer(body.as_bytes()), expected.map_err(str::to_owned), "{body}");
    };
    let hub = "hub-a.azure-devices.net".to_owned();
    let bare = Answer { hub, initial_twin: None, payload: None };
    check(r#"{"iotHubHostName":"hub-a.azure-devices.net"}"#, Ok(bare.clone()));
    check(
        r#"{"iotHubHostName":"hub-a.azure-devices.net","initialTwin":null,"payload":null,"x":1}"#,
        Ok(bare.clone()),
    );
    let twin = r#"{"tags":{"deviceType":"toaster"},"properties":{"desired":{"state":"ready"}}}"#;
    check(
        &format!(
            r#"{{"iotHubHostName":"hub-a.azure-devices.net","initialTwin":{twin},"payload":{{"a":1}}}}"#
        ),
        Ok(Answer {
            initial_twin: Some(json::parse(twin).expect("JSON")),
            payload: Some(json::parse(r#"{"a":1}"#).expect("JSON")),
            ..bare
        }),
    );
    check("{}", Err("in its answer, iotHubHostName: is required"));
    check("[]", Err("in its answer, the request body: expected an object, found an array"));
    check(
        r#"{"iotHubHostName":"h.x","payload":"text"}"#,
        Err("in its answer, payload: expected an object, found a string"),
    );
    assert!(read_answer(b"no").expect_err("not JSON").starts_with("its answer is not JSON"));
    assert!(read_answer(&vec![b' '; MAX_ANSWER_BYTES + 1]).is_err());
}

proptest::proptest! {
    #[test]
    fn foreign_answers_never_panic(body: Vec<u8>, url: String) {
        let _ = (read_answer(&body), mask_query(&url));
    }
}
