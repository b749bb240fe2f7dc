//! Bad input of an operator: each with a clear error, nothing lost, no panic.

use serde_json::json;
use testkit::{Ca, Credential, Profile};

use super::scene::{Ask, KEY, Scene, scene, symmetric_enrollment};

/// A `PUT` of an enrollment that is refused: what stood before stands after. The message holds
/// these words.
async fn check_refused(body: impl AsRef<[u8]>, code: u32, words: &str) {
    check_changed(|_, ask| ask.json(body.as_ref()), code, words).await;
}

async fn check_changed(change: impl Fn(&Scene, Ask) -> Ask, code: u32, words: &str) {
    let scene = scene().await;
    scene.enroll("a").await;
    let before = scene.operator("GET", "/enrollments/a", "").await.text;
    let ask = change(&scene, scene.owner("PUT", "/enrollments/a").header("if-match", "*"));
    let refused = scene.send(ask).await.with_code(code);
    let message = refused.text_at("/message");
    assert!(message.contains(words), "{words:?} in {message:?}");
    assert!(!message.contains(KEY) && !message.contains("PRIVATE KEY"), "{message}");
    assert_eq!(scene.operator("GET", "/enrollments/a", "").await.text, before);
    let listed = scene.operator("POST", "/enrollments/query", "{}").await.with_status(200);
    assert_eq!(listed.json().as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_is_no_json_or_has_wrong_types_is_refused_with_its_place() {
    check_refused("", 400_000, "no body").await;
    check_refused("{", 400_000, "line 1, column 2").await;
    check_refused(b"{\"registrationId\":\"\xff\"}", 400_000, "UTF-8").await;
    check_refused("[".repeat(100_000), 400_000, "deeper").await;
    check_refused("7", 400_000, "expected an object").await;
    check_refused(r#"{"registrationId":"a"}"#, 400_000, "attestation").await;
    check_refused(r#"{"registrationId":7}"#, 400_000, "registrationId: expected a string").await;
    let good = symmetric_enrollment("a");
    let with = |member: &str| good.replacen('{', &format!("{{{member},"), 1);
    check_refused(with(r#""iotHubs":"hub""#), 400_000, "iotHubs: expected an array").await;
    check_refused(with(r#""capabilities":{"iotEdge":1}"#), 400_000, "capabilities.iotEdge").await;
    check_refused(with(r#""provisioningStatus":"maybe""#), 400_000, "enabled, disabled").await;
    check_refused(with(r#""iotHubs":["hub-1.example.test"]"#), 400_004, "allocationPolicy").await;
    check_refused(with(r#""deviceId":"a/b""#), 400_000, "deviceId").await;
}

#[tokio::test]
async fn an_id_that_is_not_the_paths_or_not_legal_is_refused() {
    check_refused(symmetric_enrollment("b"), 400_000, "registrationId").await;
    let scene = scene().await;
    let group = r#"{"enrollmentGroupId":"b","attestation":{"type":"symmetricKey"}}"#;
    scene.operator("PUT", "/enrollmentGroups/a", group).await.with_code(400_000);
    scene.operator("PUT", "/enrollmentGroups/B", group).await.with_status(200);
    for path in
        ["/enrollments/a%2Fb", "/enrollments/a.", "/enrollments/gr%C3%BCn", "/registrations/a%20b"]
    {
        scene.operator("GET", path, "").await.with_code(400_004);
    }
    let long = format!("/enrollments/{}", "x".repeat(129));
    scene.operator("PUT", &long, &symmetric_enrollment("a")).await.with_code(400_004);
    scene.operator("GET", "/enrollments/%zz", "").await.with_code(400_003);
    scene.operator("GET", "/enrollments/%ff", "").await.with_code(400_003);
}

#[tokio::test]
async fn keys_and_certificates_that_are_none_are_refused_and_not_repeated() {
    let keys = |key: &str| {
        json!({"registrationId": "a", "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": key}}}).to_string()
    };
    check_refused(keys("not base64!"), 400_000, "base64").await;
    check_refused(keys("AAAA"), 400_000, "16 to 64 bytes").await;
    let slot = |certificate: &str| {
        json!({"registrationId": "a", "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": certificate}}}}}).to_string()
    };
    let leaf = Credential::self_signed(Profile::leaf("a"));
    let pem = leaf.pem();
    check_refused(slot("nothing"), 400_000, "clientCertificates.primary.certificate").await;
    check_refused(slot(&pem.replace("END", "FIN")), 400_000, "certificate").await;
    check_refused(slot(&format!("{pem}{}", leaf.key_pem())), 400_000, "private key").await;
    check_refused(slot(&leaf.key_pem()), 400_000, "private key").await;
    check_refused(slot("AAAA"), 400_000, "certificate").await;
    let signing = json!({"registrationId": "a", "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": Ca::root("r").pem()}}}}});
    check_refused(signing.to_string(), 400_000, "clientCertificates").await;
}

#[tokio::test]
async fn the_request_itself_is_checked() {
    let body = symmetric_enrollment("a");
    check_changed(
        |_, ask| ask.header("content-type", "text/xml").body(&body),
        415_000,
        "application/json",
    )
    .await;
    check_changed(|_, ask| ask.json(vec![b' '; 1024 * 1024 + 1]), 413_000, "1048576").await;
    check_changed(
        |scene, _| {
            Ask::new("PUT", "/enrollments/a?api-version=2035-01-01")
                .header("authorization", scene.service_token("provisioningserviceowner"))
                .json(&body)
        },
        400_002,
        "2021-10-01",
    )
    .await;
    check_changed(
        |scene, _| {
            Ask::new("PUT", "/enrollments/a")
                .header("authorization", scene.service_token("provisioningserviceowner"))
                .json(&body)
        },
        400_001,
        "api-version",
    )
    .await;
    check_changed(
        |scene, _| scene.owner("PUT", "/enrollments/a").header("if-match", "\"stale\"").json(&body),
        412_000,
        "ETag is invalid",
    )
    .await;
    check_changed(
        |scene, _| scene.owner("PUT", "/enrollments/a").header("if-match", b"\xff").json(&body),
        400_005,
        "if-match",
    )
    .await;
    check_changed(|scene, _| scene.owner("PATCH", "/enrollments/a").json(&body), 405_000, "method")
        .await;
    check_changed(|scene, _| scene.owner("PUT", "/enrolments/a").json(&body), 404_000, "path")
        .await;
}

#[tokio::test]
async fn a_wrong_method_is_answered_with_the_right_ones() {
    let scene = scene().await;
    let check = async |method: &str, path: &str, allow: &str| {
        let reply = scene.send(Ask::new(method, path)).await.with_code(405_000);
        assert_eq!(reply.header("allow"), allow, "{method} {path}");
    };
    check("GET", "/enrollments", "POST").await;
    check("PATCH", "/enrollmentGroups/g", "GET, PUT, DELETE").await;
    check("POST", "/registrations/a", "GET, DELETE").await;
    check("POST", "/healthz", "GET").await;
    check("GET", "/0ne/registrations/a/register", "PUT").await;
}

#[tokio::test]
async fn two_writers_at_once_do_not_lose_each_others_work_unnoticed() {
    let scene = scene().await;
    let etag = scene.enroll("a").await.text_at("/etag");
    let ask = scene.owner("PUT", "/enrollments/a").header("if-match", &etag);
    let ask = ask.json(symmetric_enrollment("a"));
    let (one, other) = tokio::join!(scene.send(ask.clone()), scene.send(ask));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "{one:?} {other:?}");
    let (one, other) = tokio::join!(scene.enroll_anew("b"), scene.enroll_anew("b"));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{one:?} {other:?}");
}
