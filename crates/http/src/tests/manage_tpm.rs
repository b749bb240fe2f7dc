//! What Induct adds to attestation by TPM: groups, and certificates that an enrollment demands.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::{Ca, SoftTpm};

use super::scene::{NOW_TEXT, Reply, Scene, scene};

const GROUPS: &str = "/induct/v1/tpmEnrollmentGroups";

fn group(id: &str, vendor: &Ca) -> Value {
    json!({
        "enrollmentGroupId": id,
        "attestation": {
            "type": "tpm",
            "tpm": {"issuers": {"primary": {"certificate": vendor.pem()}}},
        },
    })
}

async fn put_group(scene: &Scene, body: &Value) -> Reply {
    let id = body["enrollmentGroupId"].as_str().expect("an id");
    scene.operator("PUT", &format!("{GROUPS}/{id}"), &body.to_string()).await
}

async fn put_if(scene: &Scene, path: &str, etag: &str, body: &Value) -> Reply {
    scene.send(scene.owner("PUT", path).header("if-match", etag).json(body.to_string())).await
}

fn ids(reply: &Reply) -> Vec<String> {
    let items = reply.json();
    let id = |item: &Value| item["enrollmentGroupId"].as_str().expect("an id").to_owned();
    items.as_array().expect("a list").iter().map(id).collect()
}

#[tokio::test]
async fn a_group_goes_round() {
    let scene = scene().await;
    let (first, second) = (Ca::root("first vendor"), Ca::root("second vendor"));
    let mut body = group("works-tpms", &first);
    body["initialTwin"] = json!({"tags": {"line": 4}});
    let created = put_group(&scene, &body).await.with_status(200);
    assert_eq!(created.at("/createdDateTimeUtc"), NOW_TEXT);
    assert_eq!(created.at("/initialTwin/tags/line"), 4);
    let info = |slot: &str| format!("/attestation/tpm/issuers/{slot}/info/subjectName");
    assert_eq!(created.at(&info("primary")), "CN=first vendor");
    assert!(!created.text.contains("BEGIN CERTIFICATE"));
    let path = format!("{GROUPS}/works-tpms");
    assert_eq!(scene.operator("GET", &path, "").await.with_status(200).text, created.text);
    // In any letter case, as groups are called.
    scene.operator("GET", &format!("{GROUPS}/WORKS-tpms"), "").await.with_status(200);

    put_group(&scene, &body).await.with_code(409_202);
    put_if(&scene, &path, "b2xk", &body).await.with_code(412_000);
    // What was read is written back, with one slot more: the other certificate is kept.
    let mut read = created.json();
    read["attestation"]["tpm"]["issuers"]["secondary"] = json!({"certificate": second.pem()});
    read["provisioningStatus"] = "disabled".into();
    let etag = created.text_at("/etag");
    let updated = put_if(&scene, &path, &etag, &read).await.with_status(200);
    assert_eq!(updated.at(&info("primary")), "CN=first vendor");
    assert_eq!(updated.at(&info("secondary")), "CN=second vendor");
    assert_eq!(updated.at("/provisioningStatus"), "disabled");
    assert_ne!(updated.at("/etag"), created.at("/etag"));

    let delete = scene.owner("DELETE", &path).header("if-match", &etag);
    scene.send(delete).await.with_code(412_000);
    let gone = scene.operator("DELETE", &path, "").await.with_status(204);
    assert_eq!(gone.text, "");
    scene.operator("GET", &path, "").await.with_code(404_202);
    scene.operator("DELETE", &path, "").await.with_code(404_202);
    let audit = scene.operator("GET", "/induct/v1/audit", "").await.with_status(200);
    let target = json!("tpmEnrollmentGroups/works-tpms");
    let lines = audit.json();
    let lines = lines.as_array().expect("lines").iter().filter(|line| line["target"] == target);
    let actions: Vec<_> = lines.map(|line| line["action"].clone()).collect();
    let expected = ["create", "update", "delete"].map(|verb| format!("enrollment-group.{verb}"));
    assert_eq!(actions, expected);
}

#[tokio::test]
async fn a_group_of_tpms_has_settings_too_and_goes_with_its_records_where_it_was_made() {
    let scene = scene().await;
    let vendor = Ca::root("a vendor");
    put_group(&scene, &group("works-tpms", &vendor)).await.with_status(200);
    let settings = "/induct/v1/enrollmentGroups/works-tpms/settings";
    let set = scene.operator("PUT", settings, r#"{"disenrollEndsSessions":true}"#).await;
    set.with_status(200);
    let path = format!("{GROUPS}/works-tpms");
    let read = scene.operator("GET", &path, "").await.with_status(200);
    assert_eq!(read.at("/disenrollEndsSessions"), Value::Null);
    put_if(&scene, &path, &read.text_at("/etag"), &read.json()).await.with_status(200);
    let kept = scene.operator("GET", settings, "").await.with_status(200);
    assert_eq!(kept.at("/disenrollEndsSessions"), true);
    let elsewhere = "/induct/v1/enrollmentGroups/works-tpms?withRecords=true";
    scene.operator("DELETE", elsewhere, "").await.with_code(400_000);
    let gone = scene.operator("DELETE", &format!("{path}?withRecords=true"), "").await;
    let expected = json!({
        "enrollmentGroupId": "works-tpms", "records": 0, "isDryRun": false, "isDone": true,
    });
    assert_eq!(gone.with_status(200).json(), expected);
    scene.operator("GET", settings, "").await.with_code(404_202);
}

#[tokio::test]
async fn what_is_wrong_with_a_group_is_named() {
    let scene = scene().await;
    let vendor = Ca::root("a vendor");
    let check = async |change: &dyn Fn(&mut Value), text: &str| {
        let mut body = group("g", &vendor);
        change(&mut body);
        let path = format!("{GROUPS}/g");
        let refused = scene.operator("PUT", &path, &body.to_string()).await.with_code(400_000);
        let message = refused.text_at("/message");
        assert!(message.contains(text), "{message}");
        assert!(!message.contains("BEGIN"), "{message}");
    };
    let issuers = |body: &mut Value, value: Value| body["attestation"]["tpm"]["issuers"] = value;
    check(&|body| issuers(body, json!({})), "attestation.tpm.issuers needs a primary").await;
    let leaf = vendor.leaf("device").pem();
    check(
        &|body| issuers(body, json!({"primary": {"certificate": "x"}})),
        "attestation.tpm.issuers.primary.certificate",
    )
    .await;
    check(
        &|body| issuers(body, json!({"primary": {"certificate": vendor.key_pem()}})),
        "private key",
    )
    .await;
    check(
        &|body| issuers(body, json!({"primary": {"info": {"sha256Thumbprint": "AB"}}})),
        "attestation.tpm.issuers.primary: no stored",
    )
    .await;
    check(&|body| body["enrollmentGroupId"] = "h".into(), "enrollmentGroupId").await;
    check(&|body| body["attestation"]["type"] = "x509".into(), "attestation.type").await;
    check(&|body| body["provisioningSatus"] = "disabled".into(), "provisioningSatus").await;
    // Any certificate may be kept; only a CA's ever vouches for another.
    let mut odd = group("odd", &vendor);
    odd["attestation"]["tpm"]["issuers"] = json!({"primary": {"certificate": leaf}});
    put_group(&scene, &odd).await.with_status(200);
    scene.operator("GET", &format!("{GROUPS}/a%20b"), "").await.with_status(400);
}

#[tokio::test]
async fn neither_api_shows_writes_or_lists_the_groups_of_the_other() {
    let scene = scene().await;
    let vendor = Ca::root("a vendor");
    put_group(&scene, &group("tpms", &vendor)).await.with_status(200);
    scene.put_group("keys").await;
    let by_key = json!({"enrollmentGroupId": "tpms", "attestation": {"type": "symmetricKey"}});
    let check = async |method: &str, path: &str, body: &Value, words: &[&str]| {
        for etag in [None, Some("*")] {
            let ask = scene.owner(method, path).json(body.to_string());
            let ask = match etag {
                Some(etag) => ask.header("if-match", etag),
                None => ask,
            };
            let refused = scene.send(ask).await.with_code(400_000);
            let message = refused.text_at("/message");
            for word in words {
                assert!(message.contains(word), "{method} {path}: {message}");
            }
        }
    };
    let there = ["extension of Induct", "/induct/v1/tpmEnrollmentGroups/tpms", "induct tpm group"];
    for (method, path) in [
        ("GET", "/enrollmentGroups/tpms"),
        ("PUT", "/enrollmentGroups/tpms"),
        ("DELETE", "/enrollmentGroups/tpms"),
        ("POST", "/enrollmentGroups/tpms/attestationmechanism"),
    ] {
        check(method, path, &by_key, &there).await;
    }
    let back = ["not a group of TPMs", "/enrollmentGroups/keys", "induct enrollment-group"];
    for method in ["GET", "PUT", "DELETE"] {
        check(method, &format!("{GROUPS}/keys"), &group("keys", &vendor), &back).await;
    }
    // In the vendor's own shape a group of TPMs cannot be said, and the answer says where it can.
    let body = group("more", &vendor);
    let refused = scene.operator("PUT", "/enrollmentGroups/more", &body.to_string()).await;
    let refused = refused.with_code(400_000).text_at("/message");
    assert!(refused.contains(GROUPS), "{refused}");
    let tpm = json!({"type": "tpm", "tpm": {"endorsementKey": "AToA"}});
    let body = json!({"enrollmentGroupId": "more", "attestation": tpm}).to_string();
    let refused = scene.operator("PUT", "/enrollmentGroups/more", &body).await;
    let refused = refused.with_code(400_000).text_at("/message");
    assert!(refused.contains(GROUPS), "{refused}");

    let query = scene.operator("POST", "/enrollmentGroups/query", "{}").await.with_status(200);
    assert_eq!(ids(&query), ["keys"]);
    let listed = scene.operator("GET", GROUPS, "").await.with_status(200);
    assert_eq!(ids(&listed), ["tpms"]);
    for mode in ["create", "update", "updateIfMatchETag", "delete"] {
        let mut item = by_key.clone();
        item["etag"] = "*".into();
        let body = json!({"mode": mode, "enrollmentGroups": [item]}).to_string();
        let bulk = scene.operator("POST", "/enrollmentGroups", &body).await.with_status(200);
        assert_eq!(bulk.at("/isSuccessful"), false, "{mode}: {bulk:?}");
        assert_eq!(bulk.at("/errors/0/errorCode"), 400_000, "{mode}: {bulk:?}");
        let why = bulk.text_at("/errors/0/errorStatus");
        assert!(why.contains("/induct/v1/tpmEnrollmentGroups/tpms"), "{mode}: {why}");
    }
    scene.operator("GET", &format!("{GROUPS}/tpms"), "").await.with_status(200);
    scene.operator("GET", "/enrollmentGroups/keys", "").await.with_status(200);
}

#[tokio::test]
async fn groups_are_paged_each_kind_by_itself() {
    let scene = scene().await;
    let vendor = Ca::root("a vendor");
    let tpms: Vec<_> = (0..5).map(|n| format!("g-{n}-tpm")).collect();
    let keys: Vec<_> = (0..5).map(|n| format!("g-{n}-key")).collect();
    for (tpm, key) in tpms.iter().zip(&keys) {
        put_group(&scene, &group(tpm, &vendor)).await.with_status(200);
        scene.put_group(key).await;
    }
    let pages = async |method: &str, path: &str, item_type: &str, size: &str| {
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let ask = scene.owner(method, path).header("x-ms-max-item-count", size);
            let ask = if method == "POST" { ask.json("{}") } else { ask };
            let ask = if token.is_empty() { ask } else { ask.header("x-ms-continuation", &token) };
            let reply = scene.send(ask).await.with_status(200);
            assert_eq!(reply.header("x-ms-item-type"), item_type);
            pages.push(ids(&reply));
            token = reply.header("x-ms-continuation").to_owned();
            if token.is_empty() {
                return pages;
            }
        }
    };
    for (size, n_pages) in [("1", 5), ("2", 3), ("5", 1), ("100", 1)] {
        let found = pages("GET", GROUPS, "TpmEnrollmentGroup", size).await;
        assert_eq!((found.concat(), found.len()), (tpms.clone(), n_pages), "by {size}");
        let found = pages("POST", "/enrollmentGroups/query", "EnrollmentGroup", size).await;
        assert_eq!((found.concat(), found.len()), (keys.clone(), n_pages), "by {size}");
    }
    // A token goes on in its own listing only.
    let ask = scene.owner("GET", GROUPS).header("x-ms-max-item-count", "1");
    let token = scene.send(ask).await.header("x-ms-continuation").to_owned();
    let other = scene.owner("POST", "/enrollmentGroups/query").json("{}");
    scene.send(other.header("x-ms-continuation", &token)).await.with_status(400);
}

#[tokio::test]
async fn a_certificate_is_demanded_shown_kept_and_demanded_no_more() {
    let (scene, tpm) = (scene().await, SoftTpm::from_fixture());
    let vendor = Ca::root("a vendor of TPMs");
    let key = STANDARD.encode(tpm.endorsement_key());
    let enrollment = json!({
        "registrationId": "tpm-1",
        "deviceId": "press-17",
        "optionalDeviceInformation": {"note": 1.0},
        "attestation": {"type": "tpm", "tpm": {"endorsementKey": key}},
        "capabilities": {"iotEdge": true},
        "initialTwin": {"tags": {"line": 4}},
        "provisioningStatus": "enabled",
        "reprovisionPolicy": {"updateHubAssignment": true, "migrateDeviceData": false},
        "allocationPolicy": "hashed",
        "iotHubs": [super::scene::HUB],
    });
    let vendors_path = "/enrollments/tpm-1";
    let put = scene.operator("PUT", vendors_path, &enrollment.to_string()).await.with_status(200);
    let path = "/induct/v1/enrollments/tpm-1/endorsement";
    let nothing = json!({"registrationId": "tpm-1", "etag": put.at("/etag")});
    assert_eq!(scene.operator("GET", path, "").await.with_status(200).json(), nothing);

    let issuer = vendor.intermediate("an issuer");
    let chain: Vec<_> =
        tpm.endorsement_chain(&issuer).iter().map(|der| STANDARD.encode(&der.0)).collect();
    let demand =
        json!({"roots": {"primary": {"certificate": vendor.pem()}}, "certificates": chain});
    put_if(&scene, path, "b2xk", &demand).await.with_code(412_000);
    let etag = put.text_at("/etag");
    let demanded = put_if(&scene, path, &etag, &demand).await.with_status(200);
    assert_eq!(demanded.at("/roots/primary/info/subjectName"), "CN=a vendor of TPMs");
    assert_eq!(demanded.at("/certificates"), json!(chain));
    assert_ne!(demanded.at("/etag"), put.at("/etag"), "it is the enrollment's etag");
    assert_eq!(scene.operator("GET", path, "").await.text, demanded.text);

    // The vendor's document is what it was but for etag and time, and may be written back whole.
    let read = scene.operator("GET", vendors_path, "").await.with_status(200);
    let mut expected = put.json();
    expected["etag"] = demanded.at("/etag");
    expected["registrationState"] = read.at("/registrationState");
    assert_eq!(read.json(), expected);
    let again = put_if(&scene, vendors_path, "*", &enrollment).await.with_status(200);
    let kept = scene.operator("GET", path, "").await.with_status(200);
    assert_eq!(kept.at("/etag"), again.at("/etag"));
    assert_eq!(kept.at("/certificates"), json!(chain));
    assert_eq!(kept.at("/roots"), demanded.at("/roots"));
    // Another TPM in its place has to show its own certificates to the same roots.
    let mut other = enrollment;
    let new_key = STANDARD.encode(SoftTpm::new().endorsement_key());
    other["attestation"]["tpm"]["endorsementKey"] = new_key.into();
    put_if(&scene, vendors_path, "*", &other).await.with_status(200);
    let kept = scene.operator("GET", path, "").await.with_status(200);
    assert_eq!(kept.at("/certificates"), json!([]));
    assert_eq!(kept.at("/roots"), demanded.at("/roots"));

    let stale = scene.owner("DELETE", path).header("if-match", &etag);
    scene.send(stale).await.with_code(412_000);
    for _ in 0..2 {
        scene.operator("DELETE", path, "").await.with_status(204);
    }
    assert_eq!(scene.operator("GET", path, "").await.at("/roots"), Value::Null);
}

#[tokio::test]
async fn a_demand_that_cannot_be_met_is_refused_when_it_is_made() {
    let (scene, tpm, other) = (scene().await, SoftTpm::from_fixture(), SoftTpm::new());
    let (vendor, stranger) = (Ca::root("a vendor"), Ca::root("somebody"));
    let key = STANDARD.encode(tpm.endorsement_key());
    let body = json!({
        "registrationId": "tpm-1",
        "attestation": {"type": "tpm", "tpm": {"endorsementKey": key}},
    });
    scene.operator("PUT", "/enrollments/tpm-1", &body.to_string()).await.with_status(200);
    scene.enroll("by-key").await;
    let path = |id: &str| format!("/induct/v1/enrollments/{id}/endorsement");
    let demand = |certificates: Value| {
        let roots = json!({"primary": {"certificate": vendor.pem()}});
        json!({"roots": roots, "certificates": certificates}).to_string()
    };
    let text = |der: &model::CertificateDer| STANDARD.encode(&der.0);
    let of_other = text(&other.endorsement_certificate(&vendor));
    let by_stranger = text(&tpm.endorsement_certificate(&stranger));
    let right = text(&tpm.endorsement_certificate(&vendor));
    let mut messages = BTreeSet::new();
    for certificates in
        [json!([of_other]), json!([by_stranger]), json!([vendor.pem(), right]), json!(["MAIwAA=="])]
    {
        let refused = scene.operator("PUT", &path("tpm-1"), &demand(certificates)).await;
        let message = refused.with_code(400_000).text_at("/message");
        assert!(message.starts_with("certificates"), "{message}");
        messages.insert(message);
    }
    assert!(messages.len() >= 3, "each says what is wrong: {messages:#?}");
    scene.operator("PUT", &path("tpm-1"), r#"{"roots":{}}"#).await.with_code(400_000);
    scene.operator("PUT", &path("tpm-1"), "{}").await.with_code(400_000);
    for method in ["GET", "PUT", "DELETE"] {
        let ask = async |id: &str| scene.operator(method, &path(id), &demand(json!([]))).await;
        ask("nobody").await.with_code(404_201);
        let refused = ask("by-key").await.with_code(400_000);
        assert!(refused.text_at("/message").contains("does not attest by a TPM"), "{refused:?}");
    }
    scene.operator("PUT", &path("tpm-1"), &demand(json!([right]))).await.with_status(200);
}
