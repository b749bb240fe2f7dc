//! Enrollments and groups one by one (O §1.7, §1.8, §1.14, §1.15).

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::{Ca, Credential, Profile, SoftTpm};

use super::scene::{Ask, KEY, NOW_TEXT, OTHER_KEY, Scene, scene, symmetric_enrollment};

/// The simplest group as the vendor's CLI sends it, byte for byte (O §1.14).
const CLI_GROUP: &str = r#"{"enrollmentGroupId":"line-7","attestation":{"type":"symmetricKey","symmetricKey":{}},"capabilities":{"iotEdge":false},
 "initialTwin":{"tags":{},"properties":{"desired":{}}},"reprovisionPolicy":{"updateHubAssignment":true,"migrateDeviceData":true}}"#;

#[tokio::test]
async fn a_group_is_created_as_recorded() {
    let scene = scene().await;
    let reply = scene.operator("PUT", "/enrollmentGroups/line-7", CLI_GROUP).await.with_status(200);
    let key = |name| reply.text_at(&format!("/attestation/symmetricKey/{name}"));
    let (primary, secondary, etag) =
        (key("primaryKey"), key("secondaryKey"), reply.text_at("/etag"));
    assert_eq!(primary.len(), 88);
    assert_ne!(primary, secondary);
    assert_eq!(
        reply.text,
        format!(
            r#"{{"enrollmentGroupId":"line-7","attestation":{{"type":"symmetricKey","symmetricKey":{{"primaryKey":"{primary}","secondaryKey":"{secondary}"}}}},"capabilities":{{"iotEdge":false}},"initialTwin":{{"tags":{{}},"properties":{{"desired":{{}}}}}},"etag":"{etag}","reprovisionPolicy":{{"updateHubAssignment":true,"migrateDeviceData":true}},"createdDateTimeUtc":"{NOW_TEXT}","lastUpdatedDateTimeUtc":"{NOW_TEXT}"}}"#
        )
    );
    assert_eq!(reply.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(reply.header("strict-transport-security"), "max-age=31536000; includeSubDomains");
    assert_eq!(reply.header("etag"), "", "the etag stands in the body only");
    assert_eq!(reply.header("x-content-type-options"), "");
}

/// Of one enrollment, which answers show the member at this pointer: PUT, GET, query item and
/// `attestationmechanism` (O §1.8).
async fn check_shown(scene: &Scene, id: &str, attestation: &str, pointer: &str, shown: [bool; 4]) {
    let (family, name) = match attestation.contains("signing") || attestation.contains("caRef") {
        true => ("enrollmentGroups", "enrollmentGroupId"),
        false => ("enrollments", "registrationId"),
    };
    let body = format!(r#"{{"{name}":"{id}","attestation":{attestation}}}"#);
    let path = format!("/{family}/{id}");
    let put = scene.operator("PUT", &path, &body).await.with_status(200).json();
    let get = scene.operator("GET", &path, "").await.with_status(200).json();
    let items = scene.operator("POST", &format!("/{family}/query"), r#"{"query":"*"}"#).await;
    let items = items.with_status(200).json();
    let item = items.as_array().expect("items").iter().find(|item| item[name] == id);
    let item = item.expect("listed").clone();
    let mechanism =
        scene.operator("POST", &format!("{path}/attestationmechanism"), "").await.with_status(200);
    let in_mechanism = pointer.strip_prefix("/attestation").map(|p| mechanism.at(p) != Value::Null);
    let is_at = |document: &Value| document.pointer(pointer).is_some_and(|v| *v != Value::Null);
    assert_eq!(
        [is_at(&put), is_at(&get), is_at(&item), in_mechanism.unwrap_or(false)],
        shown,
        "{pointer} of {id}"
    );
}

#[tokio::test]
async fn each_answer_shows_what_it_may() {
    let scene = scene().await;
    let pem = |der: &str| der.replace('\n', "\\n");
    let keys = format!(
        r#"{{"type":"symmetricKey","symmetricKey":{{"primaryKey":"{KEY}","secondaryKey":"{OTHER_KEY}"}}}}"#
    );
    let pointer = "/attestation/symmetricKey/primaryKey";
    check_shown(&scene, "key", &keys, pointer, [true, false, false, true]).await;
    check_shown(&scene, "state", &keys, "/registrationState", [false, true, false, false]).await;
    let key = STANDARD.encode(SoftTpm::from_fixture().endorsement_key());
    let tpm = format!(r#"{{"type":"tpm","tpm":{{"endorsementKey":"{key}"}}}}"#);
    check_shown(&scene, "tpm", &tpm, "/attestation/tpm/endorsementKey", [true; 4]).await;
    let leaf = pem(&Credential::self_signed(Profile::leaf("x")).pem());
    let client = format!(
        r#"{{"type":"x509","x509":{{"clientCertificates":{{"primary":{{"certificate":"{leaf}"}}}}}}}}"#
    );
    let slot = "/attestation/x509/clientCertificates/primary";
    check_shown(&scene, "x", &client, &format!("{slot}/certificate"), [false; 4]).await;
    check_shown(&scene, "y", &client, &format!("{slot}/info/sha256Thumbprint"), [true; 4]).await;
    let root = pem(&Ca::root("g").pem());
    let signing = format!(
        r#"{{"type":"x509","x509":{{"signingCertificates":{{"secondary":{{"certificate":"{root}"}}}}}}}}"#
    );
    let slot = "/attestation/x509/signingCertificates/secondary";
    check_shown(&scene, "g", &signing, &format!("{slot}/certificate"), [false; 4]).await;
    check_shown(&scene, "h", &signing, &format!("{slot}/info/subjectName"), [true; 4]).await;
    let references = r#"{"type":"x509","x509":{"caReferences":{"primary":"root"}}}"#;
    let slot = "/attestation/x509/caReferences/primary";
    check_shown(&scene, "r", references, slot, [true; 4]).await;
}

#[tokio::test]
async fn the_registration_state_goes_from_unassigned_to_the_devices_own() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let get = async || scene.operator("GET", "/enrollments/dev-1", "").await.with_status(200);
    assert_eq!(
        get().await.at("/registrationState"),
        json!({"registrationId": "dev-1", "status": "unassigned"})
    );
    scene.send(scene.register("dev-1")).await.with_status(202);
    let state = get().await.at("/registrationState");
    let record = scene.operator("GET", "/registrations/DEV-1", "").await.with_status(200);
    assert_eq!(record.json(), state);
    assert_eq!(record.at("/status"), "assigned");
    assert_eq!(record.at("/deviceId"), "dev-1");
    scene.operator("DELETE", "/registrations/dev-1", "").await.with_status(204);
    scene.operator("GET", "/registrations/dev-1", "").await.with_code(404_203);
}

/// `If-Match` on an enrollment or group (O §1.7): `stands` says whether there is one.
async fn check_precondition(method: &str, stands: bool, if_match: Option<&str>, expected: u32) {
    for (family, name) in
        [("enrollments", "registrationId"), ("enrollmentGroups", "enrollmentGroupId")]
    {
        let scene = scene().await;
        let path = format!("/{family}/a");
        let body =
            format!(r#"{{"{name}":"A","attestation":{{"type":"symmetricKey"}},"etag":"other"}}"#);
        let mut etag = "IjAwIg==".to_owned();
        if stands {
            etag = scene.operator("PUT", &path, &body).await.with_status(200).text_at("/etag");
        }
        let mut ask = scene.owner(method, &path);
        if method == "PUT" {
            ask = ask.json(&body);
        }
        if let Some(text) = if_match {
            ask = ask.header("if-match", text.replace("TAG", &etag));
        }
        let reply = scene.send(ask).await;
        let expected = match (family, expected) {
            ("enrollmentGroups", 409_201) => 409_202,
            ("enrollmentGroups", 404_201) => 404_202,
            _ => expected,
        };
        let what = format!("{method} {family}, stands: {stands}, {if_match:?}");
        if expected < 1000 {
            assert_eq!(u32::from(reply.status), expected, "{what}: {reply:?}");
        } else {
            assert_eq!(reply.at("/errorCode"), expected, "{what}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn writing_asks_for_the_precondition_that_fits() {
    check_precondition("PUT", false, None, 200).await;
    check_precondition("PUT", true, None, 409_201).await;
    check_precondition("PUT", true, Some("TAG"), 200).await;
    check_precondition("PUT", true, Some("\"TAG\""), 200).await;
    check_precondition("PUT", true, Some("*"), 200).await;
    check_precondition("PUT", true, Some("\"*\""), 200).await;
    check_precondition("PUT", true, Some("IjAwIg=="), 412_000).await;
    check_precondition("PUT", false, Some("*"), 412_000).await;
    check_precondition("PUT", false, Some("TAG"), 412_000).await;
    check_precondition("DELETE", true, None, 204).await;
    check_precondition("DELETE", true, Some("*"), 204).await;
    check_precondition("DELETE", true, Some("\"TAG\""), 204).await;
    check_precondition("DELETE", true, Some("IjAwIg=="), 412_000).await;
    check_precondition("DELETE", false, None, 404_201).await;
    check_precondition("DELETE", false, Some("*"), 404_201).await;
    let scene = scene().await;
    scene.enroll("dev-1").await;
    scene.send(scene.register("dev-1")).await.with_status(202);
    let stale = scene.owner("DELETE", "/registrations/dev-1").header("if-match", "\"no\"");
    scene.send(stale).await.with_code(412_000);
}

#[tokio::test]
async fn an_answer_without_content_has_no_content_type() {
    let scene = scene().await;
    scene.enroll("a").await;
    let reply = scene.operator("DELETE", "/enrollments/a", "").await.with_status(204);
    assert_eq!((reply.text.as_str(), reply.header("content-type")), ("", ""));
}

#[tokio::test]
async fn an_update_keeps_the_certificate_it_does_not_repeat_and_the_time_of_creation() {
    let scene = scene().await;
    let pem = Ca::root("g").pem().replace('\n', "\\n");
    let body = format!(
        r#"{{"enrollmentGroupId":"g","attestation":{{"type":"x509","x509":{{"signingCertificates":{{"primary":{{"certificate":"{pem}"}}}}}}}}}}"#
    );
    let created = scene.operator("PUT", "/enrollmentGroups/g", &body).await.with_status(200);
    scene.advance_secs(60);
    let mut round_trip = created.json();
    round_trip["provisioningStatus"] = json!("Disabled");
    let ask = scene.owner("PUT", "/enrollmentGroups/g").header("if-match", "*");
    let updated = scene.send(ask.json(round_trip.to_string())).await.with_status(200);
    assert_eq!(updated.at("/attestation"), created.at("/attestation"));
    assert_eq!(updated.at("/provisioningStatus"), "disabled");
    assert_eq!(updated.at("/createdDateTimeUtc"), NOW_TEXT);
    assert_eq!(updated.at("/lastUpdatedDateTimeUtc"), "2026-01-01T00:01:00.5219817Z");
    assert_ne!(updated.at("/etag"), created.at("/etag"));
}

/// What some client sends is answered with 200, or 204.
async fn check_tolerated(change: impl Fn(Ask) -> Ask, method: &str, path: &str) {
    let scene = scene().await;
    scene.enroll("a:1").await;
    scene.operator("PUT", "/enrollmentGroups/line-7", CLI_GROUP).await.with_status(200);
    let reply = scene.send(change(scene.owner(method, path))).await;
    assert!(matches!(reply.status, 200 | 204), "{method} {path}: {reply:?}");
}

#[tokio::test]
async fn what_the_clients_get_wrong_is_tolerated() {
    let same = |ask: Ask| ask;
    let bulk = |ask: Ask| ask.json(r#"{"enrollments":[],"mode":"updateIfMatchEtag"}"#);
    check_tolerated(bulk, "POST", "/enrollments/").await;
    check_tolerated(same, "POST", "/enrollmentgroups/line-7/attestationmechanism").await;
    check_tolerated(same, "POST", "/EnrollmentGroups/LINE-7/AttestationMechanism/").await;
    check_tolerated(same, "GET", "/enrollments/A%3a1").await;
    check_tolerated(same, "GET", "/enrollments/a%3A1/").await;
    check_tolerated(
        |ask| ask.header("content-type", "application/json; charset=utf-8"),
        "GET",
        "/enrollments/a:1",
    )
    .await;
    check_tolerated(|ask| ask.header("content-type", "text/plain"), "GET", "/enrollments/a:1")
        .await;
    check_tolerated(
        |ask| ask.header("x-ms-client-request-id", "1").header("accept-language", "en-US"),
        "DELETE",
        "/enrollments/a:1",
    )
    .await;
    check_tolerated(same, "POST", "/registrations/line-7/query").await;
    for query in [
        r#"{"query":"SELECT *"}"#,
        r#"{"query":"{'additional_properties': {}, 'query': 'SELECT *'}"}"#,
        r#"{"query":""}"#,
        r#"{"query":"select * from enrollments where x = 'y' group by z"}"#,
        "{}",
    ] {
        check_tolerated(|ask| ask.json(query), "POST", "/enrollments/query").await;
    }
    for content_type in [
        "application/json",
        "Application/JSON;charset=UTF-16",
        "",
        "application/json ; odata=verbose",
    ] {
        check_tolerated(
            |ask| ask.header("content-type", content_type).body(r#"{"query":"*"}"#),
            "POST",
            "/enrollments/query",
        )
        .await;
    }
    check_tolerated(|ask| ask.body(r#"{"query":"*"}"#), "POST", "/enrollmentGroups/query").await;
}

#[tokio::test]
async fn an_enrollment_may_be_called_query() {
    let scene = scene().await;
    scene.enroll("query").await;
    let read = scene.operator("GET", "/enrollments/query", "").await.with_status(200);
    assert_eq!(read.at("/registrationId"), "query");
    let listed = scene.operator("POST", "/enrollments/query", "{}").await.with_status(200);
    assert_eq!(listed.at("/0/registrationId"), "query");
}

#[tokio::test]
async fn every_optional_member_may_be_null_and_none_is_made_up() {
    let scene = scene().await;
    let body = r#"{"registrationId":"a","deviceId":null,"registrationState":null,"optionalDeviceInformation":null,"attestation":{"type":"symmetricKey","tpm":null,"x509":null,"symmetricKey":null},"capabilities":null,"iotHubHostName":null,"initialTwin":null,"etag":null,"provisioningStatus":null,"reprovisionPolicy":null,"createdDateTimeUtc":null,"lastUpdatedDateTimeUtc":null,"allocationPolicy":null,"iotHubs":null,"customAllocationDefinition":null}"#;
    let written = scene.operator("PUT", "/enrollments/a", body).await.with_status(200);
    let names: Vec<_> = written.json().as_object().expect("object").keys().cloned().collect();
    assert_eq!(
        names,
        [
            "registrationId",
            "attestation",
            "etag",
            "provisioningStatus",
            "createdDateTimeUtc",
            "lastUpdatedDateTimeUtc"
        ]
    );
    assert_eq!(written.at("/provisioningStatus"), Value::Null);
}

#[tokio::test]
async fn what_the_operator_wrote_comes_back_word_for_word() {
    let scene = scene().await;
    let twin = r#"{"additional_properties":{"properties":{"desired":{"a":1.0}}},"tags":{"n":1e2}}"#;
    let information = r#"{"additionalProperties":{"b":1,"a":[null]}}"#;
    let body = symmetric_enrollment("Press:17").replacen(
        '{',
        &format!(r#"{{"initialTwin":{twin},"optionalDeviceInformation":{information},"#),
        1,
    );
    scene.operator("PUT", "/enrollments/press%3A17", &body).await.with_status(200);
    let read = scene.operator("GET", "/enrollments/PRESS:17", "").await.with_status(200);
    assert!(read.text.contains(twin) && read.text.contains(information), "{read:?}");
    assert_eq!(read.at("/registrationId"), "Press:17");
}
