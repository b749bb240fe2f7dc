//! What operators send by mistake: bodies, ids, versions, tokens, headers.

use serde_json::{Value, json};

use super::Victim;
use crate::world::{
    HUBS, Reply,
    enrollments::{by_key, group_by_key, with},
};

/// Puts a body where an enrollment is to be created.
async fn put(victim: &Victim, path: &str, body: impl Into<Vec<u8>>) -> Reply {
    victim.world.service().send("PUT", path, None, body).await
}

/// The body is refused with this code, in a sentence that holds these words.
async fn check_put(victim: &Victim, path: &str, body: &Value, code: u32, words: &str) {
    let message = put(victim, path, body.to_string()).await.refused(code);
    assert!(message.contains(words), "{path} {body}: {message}");
}

#[tokio::test]
async fn malformed_json_is_refused_with_the_place_where_it_breaks() {
    let victim = Victim::new().await;
    let texts: [(&[u8], &str); 9] = [
        (b"", "no body"),
        (b"{", "line 1"),
        (b"{\"registrationId\": \"a\",}", "line 1"),
        (b"{\n \"a\": tru\n}", "line 2"),
        (b"[1, 2", "line 1"),
        (b"{'single': 1}", "line 1"),
        (b"\xff\xfe{\x00", "UTF-8"),
        (b"{} {}", "line 1"),
        (b"{\"a\": \"\\ud800\"}", "surrogate"),
    ];
    for path in ["/enrollments/new", "/enrollmentGroups/new"] {
        for (text, words) in texts {
            let message = put(&victim, path, text).await.refused(400_000);
            let shown = String::from_utf8_lossy(text);
            assert!(message.contains(words), "{shown}: {message}");
        }
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn json_that_nests_too_deep_or_holds_too_much_is_refused() {
    let victim = Victim::new().await;
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let message = put(&victim, "/enrollments/new", deep).await.refused(400_000);
    assert!(message.contains("deeper than"), "{message}");
    let many = format!("[{}1]", "1,".repeat(300_000));
    let message = put(&victim, "/enrollments/new", many).await.refused(400_000);
    assert!(message.contains("more than"), "{message}");
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn wrong_types_are_refused_with_the_members_path_and_what_was_expected() {
    let victim = Victim::new().await;
    let base = || by_key("new");
    let key = |keys: Value| json!({"type": "symmetricKey", "symmetricKey": keys});
    let cases = [
        (json!([]), "expected an object"),
        (json!("text"), "expected an object"),
        (json!({"registrationId": "new"}), "attestation"),
        (json!({"attestation": {"type": "symmetricKey"}}), "registrationId"),
        (with(base(), "registrationId", json!(7)), "registrationId: expected a string"),
        (with(base(), "attestation", json!("key")), "attestation: expected an object"),
        (with(base(), "attestation", json!({})), "attestation.type"),
        (with(base(), "attestation", json!({"type": "magic"})), "attestation.type"),
        (with(base(), "attestation", json!({"type": "none"})), "attestation.type"),
        (with(base(), "attestation", json!({"type": "x509"})), "attestation.x509"),
        (with(base(), "attestation", json!({"type": "tpm"})), "attestation.tpm"),
        (
            with(base(), "attestation", key(json!({"primaryKey": true}))),
            "attestation.symmetricKey.primaryKey: expected a string",
        ),
        (with(base(), "capabilities", json!({"iotEdge": "yes"})), "capabilities.iotEdge"),
        (with(base(), "initialTwin", json!([])), "initialTwin: expected an object"),
        (with(base(), "iotHubs", json!("hub")), "iotHubs: expected an array"),
        (with(base(), "iotHubs", json!([HUBS[0], null])), "iotHubs[1]"),
        (with(base(), "provisioningStatus", json!("perhaps")), "provisioningStatus"),
        (with(base(), "allocationPolicy", json!("dice")), "allocationPolicy"),
        (with(base(), "reprovisionPolicy", json!({"migrateDeviceData": 1})), "reprovisionPolicy"),
        (with(base(), "deviceId", json!("a/b")), "deviceId"),
        (with(base(), "optionalDeviceInformation", json!(3)), "optionalDeviceInformation"),
    ];
    for (body, words) in &cases {
        check_put(&victim, "/enrollments/new", body, 400_000, words).await;
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn rules_between_members_are_refused_in_words() {
    let victim = Victim::new().await;
    let hubs = with(by_key("new"), "iotHubs", json!([HUBS[0]]));
    // This sentence and number were recorded (O §1.12).
    let sentence = "Enrollment allocationPolicy must be specified when iotHubs are specified.";
    check_put(&victim, "/enrollments/new", &hubs, 400_004, sentence).await;
    let custom = with(by_key("new"), "allocationPolicy", json!("custom"));
    check_put(&victim, "/enrollments/new", &custom, 400_000, "customAllocationDefinition").await;
    let webhook = json!({"webhookUrl": "http://plain.test", "apiVersion": "2021-10-01"});
    let plain = with(custom, "customAllocationDefinition", webhook);
    check_put(&victim, "/enrollments/new", &plain, 400_000, "https://").await;
    let tpm = json!({"type": "tpm", "tpm": {"endorsementKey": "AAAA"}});
    let group = with(group_by_key("new"), "attestation", tpm);
    check_put(&victim, "/enrollmentGroups/new", &group, 400_000, "tpm").await;
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn symmetric_keys_that_are_no_base64_or_of_no_legal_length_are_refused_and_not_repeated() {
    let victim = Victim::new().await;
    for key in ["not base64 at all!!", "c2hvcnQ=", "====", &"A".repeat(120), "ÄÖÜÄÖÜÄÖÜÄÖÜÄÖÜÄÖÜ=="]
    {
        for member in ["primaryKey", "secondaryKey"] {
            let mechanism = json!({"type": "symmetricKey", "symmetricKey": {member: key}});
            let body = with(by_key("new"), "attestation", mechanism);
            let reply = put(&victim, "/enrollments/new", body.to_string()).await;
            let message = reply.refused(400_000);
            let path = format!("attestation.symmetricKey.{member}");
            assert!(message.contains(&path), "{message}");
            assert!(!reply.text().contains(key), "a key is never repeated: {message}");
        }
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn ids_that_are_not_legal_or_differ_from_the_path_are_refused() {
    let victim = Victim::new().await;
    let long = "x".repeat(129);
    for id in ["a%20b", "a%2Fb", "%C3%A4", "caf%C3%A9", "dot.", "under_", "%00", &long] {
        let path = format!("/enrollments/{id}");
        let reply = put(&victim, &path, by_key("new").to_string()).await;
        let message = reply.refused(400_004);
        assert!(message.contains("registrationId"), "{id}: {message}");
    }
    for path in ["/enrollments/%zz", "/enrollments/%ff", "/enrollmentGroups/%"] {
        put(&victim, path, by_key("new").to_string()).await.refused(400_003);
    }
    let other = put(&victim, "/enrollments/other", by_key("new").to_string()).await;
    let message = other.expect(400)["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("registrationId"), "{message}");
    let other = put(&victim, "/enrollmentGroups/other", group_by_key("new").to_string()).await;
    let message = other.expect(400)["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("enrollmentGroupId"), "{message}");
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_missing_or_unknown_api_version_is_refused() {
    let victim = Victim::new().await;
    let service = victim.world.service();
    let token = service.token(600);
    let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
    let body = by_key("new").to_string();
    for (query, code) in [
        ("", 400_001),
        ("?api-version=", 400_001),
        ("?other=2021-10-01", 400_001),
        ("?api-version=2099-01-01", 400_002),
        ("?api-version=latest", 400_002),
        ("?api-version=2021-10-01x", 400_002),
    ] {
        let path = format!("/enrollments/new{query}");
        let reply = service.send_raw("PUT", &path, &headers, body.clone()).await;
        assert!(reply.refused(code).contains("api-version"), "{query}");
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn tokens_that_prove_nothing_are_refused_without_an_effect() {
    let victim = Victim::new().await;
    let service = victim.world.service();
    let good = service.token(600);
    let expired = service.token(-600);
    let (head, tail) = good.split_at(good.find("&se=").expect("an expiry"));
    let later = format!("{head}{}", tail.replacen("&se=1", "&se=2", 1));
    let renamed = good.replace("skn=provisioningserviceowner", "skn=nobody");
    let for_hub = victim.world.hub(HUBS[0]).token(600);
    let garbage = "SharedAccessSignature sr=&sig=&se=&skn=".to_owned();
    let bearer = "Bearer eyJhbGciOiJub25lIn0.e30.".to_owned();
    let body = by_key("new").to_string();
    for token in [expired, later, renamed, for_hub, garbage, bearer, "x".repeat(10_000)] {
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        let path = service.versioned("/enrollments/new");
        let reply = service.send_raw("PUT", &path, &headers, body.clone()).await;
        assert_eq!(reply.status, 401, "{token}: {reply:?}");
        reply.refused(401_002);
        let signature = token.split('&').find_map(|member| member.strip_prefix("sig="));
        let signature = signature.filter(|signature| !signature.is_empty());
        assert!(signature.is_none_or(|signature| !reply.text().contains(signature)));
    }
    let headers = [("content-type", "application/json")];
    let path = service.versioned("/enrollments/press-1");
    service.send_raw("DELETE", &path, &headers, "").await.refused(401_002);
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_stale_etag_is_refused_and_changes_nothing() {
    let victim = Victim::new().await;
    let service = victim.world.service();
    for (path, mut body) in [
        ("/enrollments/press-1", service.get("/enrollments/press-1").await),
        ("/enrollmentGroups/line-4", service.get("/enrollmentGroups/line-4").await),
    ] {
        body["provisioningStatus"] = json!("disabled");
        // Somebody else's etag, and none at all.
        for etag in ["IjBhMDBiNzQyIg==", "\"IjBhMDBiNzQyIg==\"", "nonsense"] {
            let reply = service.send("PUT", path, Some(etag), body.to_string()).await;
            assert!(reply.refused(412_000).contains("ETag is invalid"), "{path} {etag}");
            service.send("DELETE", path, Some(etag), "").await.refused(412_000);
        }
        let reply = service.send("PUT", path, None, body.to_string()).await;
        let code = if path.contains("Groups") { 409_202 } else { 409_201 };
        reply.refused(code);
    }
    for etag in ["*", "nonsense"] {
        let reply =
            service.send("PUT", "/enrollments/new", Some(etag), by_key("new").to_string()).await;
        reply.refused(412_000);
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_body_of_the_limit_is_read_and_judged_by_what_it_holds() {
    let victim = Victim::new().await;
    let filler = "x".repeat(1024 * 1024 - 9);
    let body = format!("{{\"a\": \"{filler}\"}}");
    assert_eq!(body.len(), 1024 * 1024);
    let message = put(&victim, "/enrollments/new", body).await.refused(400_000);
    assert!(message.contains("attestation") || message.contains("registrationId"), "{message}");
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn other_content_types_methods_and_paths_are_refused_as_such() {
    let victim = Victim::new().await;
    let service = victim.world.service();
    let token = service.token(600);
    let path = service.versioned("/enrollments/new");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json"] {
        let headers = [("authorization", token.as_str()), ("content-type", kind)];
        let reply = service.send_raw("PUT", &path, &headers, by_key("new").to_string()).await;
        assert!(reply.refused(415_000).contains("application/json"), "{kind}");
    }
    let patch = service.send("PATCH", "/enrollments/press-1", None, "{}").await;
    assert_eq!(patch.header("allow"), "GET, PUT, DELETE");
    patch.refused(405_000);
    service.send("GET", "/nothing/here", None, "").await.refused(404_000);
    // A hub's path on the service's host says where it belongs.
    let message = service.send("GET", "/devices", None, "").await.refused(404_000);
    assert!(message.contains("hub"), "{message}");
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn bulk_calls_of_too_many_or_malformed_items_write_none_of_them() {
    let victim = Victim::new().await;
    let service = victim.world.service();
    let eleven: Vec<_> = (0..11).map(|n| by_key(&format!("new-{n}"))).collect();
    let one_bad = [by_key("new-1"), json!({"registrationId": 7})];
    for body in [
        json!({"enrollments": eleven, "mode": "create"}),
        json!({"enrollments": one_bad, "mode": "create"}),
        json!({"enrollments": [by_key("new-1")], "mode": "conjure"}),
        json!({"enrollments": {"a": 1}, "mode": "create"}),
        json!({"mode": "create"}),
    ] {
        let reply = service.send("POST", "/enrollments", None, body.to_string()).await;
        reply.refused(400_000);
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn query_headers_that_make_no_sense_are_refused() {
    let victim = Victim::new().await;
    let service = victim.world.service();
    let token = service.token(600);
    let path = service.versioned("/enrollments/query");
    let query = json!({"query": "SELECT *"}).to_string();
    for (name, value) in [
        ("x-ms-max-item-count", "many"),
        ("x-ms-max-item-count", "1.5"),
        ("x-ms-continuation", "!!!"),
        ("x-ms-continuation", "bm9uc2Vuc2U="),
    ] {
        let headers = [
            ("authorization", token.as_str()),
            ("content-type", "application/json"),
            (name, value),
        ];
        let reply = service.send_raw("POST", &path, &headers, query.clone()).await;
        assert_eq!(reply.status, 400, "{name}: {value}: {reply:?}");
        let message = reply.json()["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(name), "{message}");
    }
    victim.assert_unharmed().await;
}
