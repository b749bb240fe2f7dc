//! Why a device is admitted or refused, over the management API.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{PolicyScope, Right};
use serde_json::{Value, json};
use testkit::{Ca, ClientStyle, SoftTpm};

use super::scene::{Ask, HUB, KEY, OTHER_KEY, Reply, Scene, scene};

const EXPLAIN: &str = "/induct/v1/explain";

/// Another key than the enrolled ones.
const WRONG_KEY: &str = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";

async fn explain(scene: &Scene, body: Value) -> Reply {
    scene.operator("POST", EXPLAIN, &body.to_string()).await
}

async fn check(scene: &Scene, body: Value, outcome: &str, is_admission: impl Into<Value>) -> Reply {
    let reply = explain(scene, body).await.with_status(200);
    let told = (reply.at("/outcome"), reply.at("/isAdmission"));
    assert_eq!(told, (outcome.into(), is_admission.into()), "{reply:?}");
    assert!(!reply.text_at("/told").is_empty());
    assert_eq!(reply.at("/remedy").is_string(), reply.at("/isAdmission") != true, "{reply:?}");
    reply
}

async fn put_ca_group(scene: &Scene, id: &str, ca: &Ca) {
    let slots = json!({"primary": {"certificate": ca.pem()}});
    let body = json!({
        "enrollmentGroupId": id,
        "attestation": {"type": "x509", "x509": {"signingCertificates": slots}},
    });
    let path = format!("/enrollmentGroups/{id}");
    scene.operator("PUT", &path, &body.to_string()).await.with_status(200);
}

#[tokio::test]
async fn a_key_is_explained_by_the_entry_that_it_fits_or_does_not() {
    let scene = scene().await;
    scene.enroll("press-17").await;
    let with = |key: &str| json!({"registrationId": "press-17", "symmetricKey": key});
    for (key, slot) in [(KEY, "primary"), (OTHER_KEY, "secondary")] {
        let admitted = check(&scene, with(key), "Assigned", true).await;
        assert_eq!(admitted.at("/enrollment"), json!({"enrollment": "press-17"}));
        let by = format!("The device proved itself by the {slot} key.");
        assert_eq!(admitted.at("/steps/2"), by, "{admitted:?}");
    }
    let refused = check(&scene, with(WRONG_KEY), "NotAttested", false).await;
    let remedy = "Give the device the primary or the secondary key of the individual enrollment of \
                  `press-17`.";
    assert_eq!(refused.at("/remedy"), remedy);
    assert!(!refused.text.contains(&WRONG_KEY[..20]));
    check(&scene, json!({"registrationId": "nobody", "symmetricKey": KEY}), "NotEnrolled", false)
        .await;
    // None of it left anything behind.
    scene.operator("GET", "/registrations/press-17", "").await.with_code(404_203);
    let attempts = scene.operator("GET", "/induct/v1/attempts", "").await.with_status(200);
    assert_eq!(attempts.json(), json!([]));
}

#[tokio::test]
async fn a_chain_is_explained_by_the_group_of_the_ca_that_signed_it() {
    let scene = scene().await;
    let (root, stranger) = (Ca::root("root"), Ca::root("stranger"));
    let issuer = root.intermediate("issuer");
    put_ca_group(&scene, "line-4", &root).await;
    let leaf = issuer.leaf("press-17");
    let body = || json!({"certificates": leaf.chain_pem()});
    let admitted = check(&scene, body(), "Assigned", true).await;
    assert_eq!(admitted.at("/registrationId"), "press-17");
    assert_eq!(admitted.at("/enrollment"), json!({"group": "line-4"}));
    let notes = admitted.at("/assumed").to_string();
    assert!(notes.contains("holds the private key"), "{notes}");
    let unknown = json!({"certificates": stranger.leaf("press-18").chain_pem()});
    let unknown = check(&scene, unknown, "NotEnrolled", false).await;
    assert!(unknown.text_at("/remedy").contains("certificate"), "{unknown:?}");
    let renamed = json!({"certificates": leaf.chain_pem(), "registrationId": "press-18"});
    check(&scene, renamed, "NotAttested", false).await;
    // A ban on the root outranks the group; the answer names it.
    let ban = json!({"certificate": root.pem(), "reason": "key lost"}).to_string();
    let ban = scene.operator("POST", "/induct/v1/bans", &ban).await.with_status(200);
    let banned = check(&scene, body(), "Banned", false).await;
    assert_eq!(banned.at("/bans/0"), ban.json());
    assert!(banned.text_at("/remedy").contains(&ban.text_at("/name")), "{banned:?}");
}

#[tokio::test]
async fn a_disabled_entry_is_named_with_the_remedy() {
    let scene = scene().await;
    let etag = scene.enroll("press-17").await.text_at("/etag");
    scene.send(scene.register("press-17")).await.with_status(202);
    let known = json!({"registrationId": "press-17"});
    let admitted = check(&scene, known.clone(), "Assigned", true).await;
    let place = admitted.at("/registration");
    assert_eq!((&place["status"], &place["deviceId"]), (&json!("assigned"), &json!("press-17")));
    assert!(place["assignedHub"].as_str().is_some_and(|hub| hub.ends_with("example.test")));
    let path = "/enrollments/press-17";
    let mut body = scene.operator("GET", path, "").await.with_status(200).json();
    body["provisioningStatus"] = "disabled".into();
    let put = scene.owner("PUT", path).header("if-match", format!("\"{etag}\""));
    scene.send(put.json(body.to_string())).await.with_status(200);
    let disabled = check(&scene, known, "EnrollmentDisabled", false).await;
    assert_eq!(disabled.at("/remedy"), "Enable the individual enrollment of `press-17`.");
    assert_eq!(disabled.at("/registration/status"), "assigned", "it is where it was");
}

#[tokio::test]
async fn a_device_that_never_came_is_told_by_what_is_enrolled() {
    let scene = scene().await;
    let body = json!({"registrationId": "press-17"});
    let unknown = check(&scene, body.clone(), "NotKnown", Value::Null).await;
    assert!(unknown.text_at("/remedy").starts_with("Ask again with what the device shows"));
    scene.enroll("press-17").await;
    let enrolled = check(&scene, body, "NotKnown", Value::Null).await;
    assert_eq!(enrolled.at("/enrollment"), json!({"enrollment": "press-17"}));
}

#[tokio::test]
async fn a_tpm_is_explained_by_its_endorsement_key() {
    let scene = scene().await;
    let tpm = SoftTpm::from_fixture();
    let key = STANDARD.encode(tpm.endorsement_key());
    let root = STANDARD.encode(tpm.storage_root_key());
    let body = json!({"registrationId": "gate-3", "endorsementKey": key, "storageRootKey": root});
    check(&scene, body.clone(), "TpmNotEnrolled", false).await;
    let enrollment = json!({
        "registrationId": "gate-3",
        "attestation": {"type": "tpm", "tpm": {"endorsementKey": key}},
    });
    scene.operator("PUT", "/enrollments/gate-3", &enrollment.to_string()).await.with_status(200);
    let admitted = check(&scene, body, "Assigned", true).await;
    assert!(admitted.at("/assumed").to_string().contains("answer a challenge"));
    assert_eq!(admitted.at("/enrollment"), json!({"enrollment": "gate-3"}));
    let short = json!({"registrationId": "gate-3", "endorsementKey": key});
    check(&scene, short, "Challenged", true).await;
    // A TPM's key is no key of the enrollment's.
    let other = json!({"registrationId": "gate-3", "symmetricKey": KEY});
    check(&scene, other, "NotAttested", false).await;
}

#[tokio::test]
async fn a_connection_is_explained_by_hub_name_or_its_first_label() {
    let scene = scene().await;
    scene.add_device("press-17").await;
    for hub in ["hub-1", HUB] {
        let body = json!({"hub": hub, "deviceId": "press-17"});
        let admitted = check(&scene, body, "Connected", true).await;
        assert_eq!(admitted.at("/hub"), HUB);
    }
    let wrong = json!({"hub": "hub-1", "deviceId": "press-17", "symmetricKey": WRONG_KEY});
    check(&scene, wrong, "NotAttested", false).await;
    check(&scene, json!({"hub": "hub-2", "deviceId": "press-17"}), "UnknownDevice", false).await;
    explain(&scene, json!({"hub": "hub-9", "deviceId": "press-17"})).await.with_code(400_000);
}

#[tokio::test]
async fn an_attempt_is_explained_by_the_tracking_id_that_the_device_was_given() {
    let scene = scene().await;
    scene.enroll("press-17").await;
    let token = scene.device_token(ClientStyle::Python, "press-17", WRONG_KEY);
    let register = Ask::new("PUT", &scene.device_path("press-17", "/register"));
    let refused = scene.send(register.header("authorization", token).json("{}")).await;
    let tracking_id = refused.with_status(401).text_at("/trackingId");
    let asked = json!({"trackingId": tracking_id});
    let told = check(&scene, asked, "NotAttested", false).await;
    assert_eq!(told.at("/attempt/trackingId"), tracking_id);
    assert_eq!(told.at("/attempt/door"), "https");
    assert!(told.text_at("/told").contains("was refused"), "{told:?}");
    let path = format!("/induct/v1/attempts/{tracking_id}");
    let same = scene.operator("GET", &path, "").await.with_status(200);
    assert_eq!(same.json(), told.json());
    // What would become of it now is the same as what became of it.
    let now = json!({"registrationId": "press-17", "symmetricKey": WRONG_KEY});
    let now = check(&scene, now, "NotAttested", false).await;
    assert_eq!((now.at("/steps"), now.at("/remedy")), (told.at("/steps"), told.at("/remedy")));
    explain(&scene, json!({"trackingId": "nobody"})).await.with_code(404_210);
    scene.operator("GET", "/induct/v1/attempts/nobody", "").await.with_code(404_210);
}

#[tokio::test]
async fn who_may_read_enrollments_may_ask_and_bad_questions_are_refused() {
    let scene = scene().await;
    scene.add_policy(PolicyScope::Service, "reader", &[Right::EnrollmentRead]).await;
    scene.add_policy(PolicyScope::Service, "other", &[Right::RegistrationStatusRead]).await;
    let by = |policy: &str| {
        let ask = Ask::new("POST", EXPLAIN).header("authorization", scene.service_token(policy));
        ask.json(r#"{"registrationId":"a"}"#)
    };
    scene.send(by("reader")).await.with_status(200);
    scene.send(by("other")).await.with_code(401_003);
    for bad in ["", "[", "{}", r#"{"registrationId":"a","symmetricKey":"x"}"#] {
        scene.operator("POST", EXPLAIN, bad).await.with_code(400_000);
    }
}
