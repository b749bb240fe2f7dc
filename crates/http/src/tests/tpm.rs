//! TPMs at the device endpoint: challenged, answering, admitted (D §1.10, §5.5, §5.8).

use base64::{Engine, engine::general_purpose::STANDARD};
use model::CertificateDer;
use serde_json::{Value, json};
use testkit::{Ca, ClientStyle, Credential, Profile, SoftTpm};

use super::faults::{listen_to_the_log, text};
use super::scene::{Ask, HUB, KEY, Reply, Scene, scene};

/// What a client's body says of its TPM.
fn tpm_body(id: &str, tpm: &SoftTpm) -> Value {
    json!({
        "registrationId": id,
        "tpm": {
            "endorsementKey": STANDARD.encode(tpm.endorsement_key()),
            "storageRootKey": STANDARD.encode(tpm.storage_root_key()),
        },
    })
}

/// The body of one that shows its endorsement key's certificate.
fn with_certificates(mut body: Value, chain: &[CertificateDer]) -> Value {
    let certificates: Vec<_> = chain.iter().map(|der| STANDARD.encode(&der.0)).collect();
    body["tpm"]["endorsementCertificates"] = certificates.into();
    body
}

fn enrollment(id: &str, tpm: &SoftTpm) -> Value {
    let key = STANDARD.encode(tpm.endorsement_key());
    json!({
        "registrationId": id,
        "attestation": {"type": "tpm", "tpm": {"endorsementKey": key}},
    })
}

async fn enroll(scene: &Scene, id: &str, tpm: &SoftTpm) {
    let body = enrollment(id, tpm).to_string();
    scene.operator("PUT", &format!("/enrollments/{id}"), &body).await.with_status(200);
}

fn ask(scene: &Scene, id: &str, body: &Value) -> Ask {
    Ask::new("PUT", &scene.device_path(id, "/register")).json(body.to_string())
}

/// Asks for a challenge: gives the blob.
async fn challenge(scene: &Scene, id: &str, body: &Value) -> Vec<u8> {
    blob(&scene.send(ask(scene, id, body)).await)
}

/// The blob of a challenge, which has to look as clients want it (D §8, traps 46 and 20).
#[track_caller]
fn blob(reply: &Reply) -> Vec<u8> {
    assert_eq!(reply.status, 401, "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(reply.header("www-authenticate"), "");
    let body = reply.json();
    let members: Vec<_> = body.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(members, ["message", "authenticationKey", "keyName"]);
    assert_eq!(body["keyName"], "registration");
    STANDARD.decode(reply.text_at("/authenticationKey")).expect("base64")
}

/// A token by the TPM's present key, in the spelling of these clients with a TPM.
fn token(scene: &Scene, style: ClientStyle, id: &str, tpm: &SoftTpm) -> String {
    let key_name = match style {
        ClientStyle::Java => "",
        _ => "registration",
    };
    let resource = style.resource(&scene.id_scope, id);
    tpm.sas_token(&resource, scene.now().unix_secs() + 3600, Some(key_name))
}

fn answer(scene: &Scene, id: &str, tpm: &SoftTpm) -> Ask {
    // Without `tpm`, as the identity service of the vendor's edge runtime answers (trap 47).
    Ask::new("PUT", &scene.device_path(id, "/register"))
        .header("authorization", token(scene, ClientStyle::NodeTpm, id, tpm))
        .json(json!({"registrationId": id}).to_string())
}

fn poll(scene: &Scene, id: &str, accepted: &Reply, token: &str) -> Ask {
    let operation = accepted.text_at("/operationId");
    Ask::new("GET", &scene.device_path(id, &format!("/operations/{operation}")))
        .header("authorization", token)
}

/// Challenged, answered, accepted.
async fn register(scene: &Scene, id: &str, tpm: &mut SoftTpm, body: &Value) -> Reply {
    let blob = challenge(scene, id, body).await;
    tpm.activate(&blob).expect("for this TPM");
    scene.send(answer(scene, id, tpm)).await
}

/// Registered, and polled with the token that registered it.
async fn settled(scene: &Scene, id: &str, tpm: &mut SoftTpm, body: &Value) -> Reply {
    let accepted = register(scene, id, tpm, body).await.with_status(202);
    let token = token(scene, ClientStyle::NodeTpm, id, tpm);
    scene.send(poll(scene, id, &accepted, &token)).await.with_status(200)
}

/// Takes the key of an `assigned` answer into the TPM, whose earlier key it overwrites.
fn take_hub_key(tpm: &mut SoftTpm, assigned: &Reply) {
    let blob = assigned.text_at("/registrationState/tpm/authenticationKey");
    tpm.activate(&STANDARD.decode(blob).expect("base64")).expect("for this TPM");
}

/// A hub's look at a device: by a token that the TPM signed.
async fn is_taken_by_its_hub(scene: &Scene, assigned: &Reply, tpm: &SoftTpm) -> bool {
    let hub = assigned.text_at("/registrationState/assignedHub");
    let device = assigned.text_at("/registrationState/deviceId");
    let resource = format!("{hub}%2Fdevices%2F{device}");
    let token = tpm.sas_token(&resource, scene.now().unix_secs() + 60, None);
    scene.try_connect(&hub, &device, &token).await
}

#[tokio::test]
async fn a_tpm_is_challenged_answers_and_signs_for_its_hub() {
    let (scene, mut tpm) = (scene().await, SoftTpm::from_fixture());
    let id = tpm.registration_id();
    enroll(&scene, &id, &tpm).await;
    let asked = tpm_body(&id, &tpm);
    let first = challenge(&scene, &id, &asked).await;
    tpm.activate(&first).expect("for this TPM");
    let nonce_key = tpm.key();

    // C, Node, Java and C# say once more what TPM they have; identityd does not.
    for (style, body) in [
        (ClientStyle::C, &asked),
        (ClientStyle::NodeTpm, &asked),
        (ClientStyle::CSharp, &asked),
        (ClientStyle::Java, &asked),
        (ClientStyle::Identityd, &json!({"registrationId": id})),
    ] {
        let token = token(&scene, style, &id, &tpm);
        let ask = ask(&scene, &id, body).header("authorization", &token);
        let accepted = scene.send(ask).await.with_status(202);
        assert_eq!(accepted.at("/status"), "assigning");
        let assigned = scene.send(poll(&scene, &id, &accepted, &token)).await.with_status(200);
        assert_eq!(assigned.at("/status"), "assigned", "{style:?}: {assigned:?}");
        assert_eq!(assigned.at("/registrationState/x509"), Value::Null);
    }

    let assigned = settled(&scene, &id, &mut tpm, &asked).await;
    assert!(!is_taken_by_its_hub(&scene, &assigned, &tpm).await, "by the challenge's key");
    take_hub_key(&mut tpm, &assigned);
    assert_ne!(tpm.key(), nonce_key);
    assert!(is_taken_by_its_hub(&scene, &assigned, &tpm).await);
    // What it registered with is gone from the TPM, and the hub's key does not register.
    scene.send(answer(&scene, &id, &tpm)).await.with_code(401_002);
    let again = settled(&scene, &id, &mut tpm, &asked).await;
    take_hub_key(&mut tpm, &again);
    assert!(is_taken_by_its_hub(&scene, &again, &tpm).await, "registered once more");
}

#[tokio::test]
async fn an_answer_comes_by_any_connection_and_from_anywhere() {
    let (scene, mut tpm) = (scene().await, SoftTpm::from_fixture());
    enroll(&scene, "tpm-1", &tpm).await;
    let gateway = Credential::self_signed(Profile::leaf("gateway"));
    let asked = ask(&scene, "tpm-1", &tpm_body("tpm-1", &tpm));
    // Whatever certificate a gateway shows for the devices behind it: the body says TPM.
    let blob = blob(&scene.send(asked.chain(gateway.chain()).from("192.0.2.1")).await);
    tpm.activate(&blob).expect("for this TPM");
    let answered = answer(&scene, "TPM-1", &tpm).from("198.51.100.2");
    scene.send(answered).await.with_status(202);
}

#[tokio::test]
async fn a_tpm_that_asks_again_answers_whichever_it_likes() {
    let (scene, mut tpm) = (scene().await, SoftTpm::from_fixture());
    enroll(&scene, "tpm-1", &tpm).await;
    let body = tpm_body("tpm-1", &tpm);
    let mut blobs = Vec::new();
    for _ in 0..4 {
        blobs.push(challenge(&scene, "tpm-1", &body).await);
    }
    for blob in &blobs {
        tpm.activate(blob).expect("for this TPM");
        scene.send(answer(&scene, "tpm-1", &tpm)).await.with_status(202);
    }
}

#[tokio::test]
async fn of_challenges_to_several_storage_root_keys_a_third_ends_the_first() {
    let (scene, mut tpm) = (scene().await, SoftTpm::from_fixture());
    enroll(&scene, "tpm-1", &tpm).await;
    let mine = challenge(&scene, "tpm-1", &tpm_body("tpm-1", &tpm)).await;
    tpm.activate(&mine).expect("for this TPM");
    for (n, expected) in [(1, 202), (2, 401)] {
        let mut root = tpm.storage_root_key();
        root[100] ^= n;
        let mut body = tpm_body("tpm-1", &tpm);
        body["tpm"]["storageRootKey"] = STANDARD.encode(root).into();
        challenge(&scene, "tpm-1", &body).await;
        scene.send(answer(&scene, "tpm-1", &tpm)).await.with_status(expected);
    }
}

#[tokio::test]
async fn a_challenge_is_answered_within_the_hour_and_polls_go_on() {
    let (scene, mut tpm) = (scene().await, SoftTpm::from_fixture());
    enroll(&scene, "tpm-1", &tpm).await;
    let blob = challenge(&scene, "tpm-1", &tpm_body("tpm-1", &tpm)).await;
    tpm.activate(&blob).expect("for this TPM");
    scene.advance_secs(3599);
    let token = token(&scene, ClientStyle::NodeTpm, "tpm-1", &tpm);
    let accepted = scene.send(answer(&scene, "tpm-1", &tpm)).await.with_status(202);
    scene.advance_secs(2);
    let late = scene.send(answer(&scene, "tpm-1", &tpm)).await.with_status(401);
    assert_eq!(late.at("/errorCode"), 401_002);
    let assigned = scene.send(poll(&scene, "tpm-1", &accepted, &token)).await.with_status(200);
    take_hub_key(&mut tpm, &assigned);
    assert!(is_taken_by_its_hub(&scene, &assigned, &tpm).await);
}

#[tokio::test]
async fn a_disabled_tpm_hears_so_only_when_it_has_proven_itself() {
    let (scene, mut tpm) = (scene().await, SoftTpm::from_fixture());
    let mut body = enrollment("tpm-1", &tpm);
    body["provisioningStatus"] = "disabled".into();
    scene.operator("PUT", "/enrollments/tpm-1", &body.to_string()).await.with_status(200);
    let body = tpm_body("tpm-1", &tpm);
    let settled = settled(&scene, "tpm-1", &mut tpm, &body).await;
    assert_eq!(settled.at("/status"), "disabled");
    assert_eq!(settled.at("/registrationState/tpm"), Value::Null);
}

/// Which IDs are enrolled, and by what, is nothing that keys of a stranger's making can tell
/// (D appendix D6).
#[tokio::test]
async fn every_tpm_that_is_not_enrolled_hears_the_same() {
    let (scene, tpm, other) = (scene().await, SoftTpm::from_fixture(), SoftTpm::new());
    enroll(&scene, "tpm-1", &tpm).await;
    scene.enroll("by-key").await;
    let leaf = Credential::self_signed(Profile::leaf("by-leaf"));
    let by_leaf = json!({
        "registrationId": "by-leaf",
        "attestation": {
            "type": "x509",
            "x509": {"clientCertificates": {"primary": {"certificate": leaf.pem()}}},
        },
    });
    scene.operator("PUT", "/enrollments/by-leaf", &by_leaf.to_string()).await.with_status(200);
    scene.put_group("line-7").await;
    let stranger = Ca::root("somebody");
    let mut texts = Vec::new();
    for id in ["unknown", "tpm-1", "by-key", "by-leaf"] {
        let bare = tpm_body(id, &other);
        let endorsed = with_certificates(bare.clone(), &other.endorsement_chain(&stranger));
        for body in [bare, endorsed] {
            let refused = scene.send(ask(&scene, id, &body)).await.with_code(404_201);
            texts.push(refused.text_at("/message"));
        }
    }
    texts.dedup();
    assert_eq!(texts, ["Enrollment not found."]);
}

#[tokio::test]
async fn only_the_key_of_an_own_challenge_signs() {
    let (scene, mut tpm) = (scene().await, SoftTpm::from_fixture());
    for id in ["tpm-1", "tpm-2"] {
        enroll(&scene, id, &tpm).await;
    }
    let first = challenge(&scene, "tpm-1", &tpm_body("tpm-1", &tpm)).await;
    let second = challenge(&scene, "tpm-2", &tpm_body("tpm-2", &tpm)).await;
    // A token for the other name, a challenge of the other name, a key of nobody's.
    tpm.activate(&first).expect("for this TPM");
    let for_second = token(&scene, ClientStyle::NodeTpm, "tpm-2", &tpm);
    let path = scene.device_path("tpm-1", "/register");
    let wrong = Ask::new("PUT", &path).header("authorization", for_second).json("{}");
    scene.send(wrong).await.with_code(401_002);
    scene.send(answer(&scene, "tpm-2", &tpm)).await.with_code(401_002);
    let foreign = scene.device_token(ClientStyle::NodeTpm, "tpm-1", KEY);
    let wrong = Ask::new("PUT", &path).header("authorization", foreign).json("{}");
    let refused = scene.send(wrong).await.with_code(401_002);
    // A 401 that is no challenge must not look like one.
    assert_eq!(refused.at("/authenticationKey"), Value::Null);
    let late = tpm.sas_token(
        &ClientStyle::NodeTpm.resource(&scene.id_scope, "tpm-1"),
        scene.now().unix_secs() - 301,
        Some("registration"),
    );
    let wrong = Ask::new("PUT", &path).header("authorization", late).json("{}");
    scene.send(wrong).await.with_code(401_002);
    scene.send(answer(&scene, "tpm-1", &tpm)).await.with_status(202);
    tpm.activate(&second).expect("for this TPM");
    scene.send(answer(&scene, "tpm-2", &tpm)).await.with_status(202);
}

#[tokio::test]
async fn a_blob_is_for_one_tpm_only() {
    let (scene, tpm, mut other) = (scene().await, SoftTpm::from_fixture(), SoftTpm::new());
    enroll(&scene, "tpm-1", &tpm).await;
    let blob = challenge(&scene, "tpm-1", &tpm_body("tpm-1", &tpm)).await;
    other.activate(&blob).expect_err("another TPM");
    // With the right endorsement key and a storage root key of its own it gets no further.
    let mut mixed = tpm_body("tpm-1", &tpm);
    mixed["tpm"]["storageRootKey"] = STANDARD.encode(other.storage_root_key()).into();
    let blob = challenge(&scene, "tpm-1", &mixed).await;
    other.activate(&blob).expect_err("another endorsement key");
}

#[tokio::test]
async fn keys_of_another_shape_are_refused_with_what_is_wrong() {
    let (scene, tpm) = (scene().await, SoftTpm::from_fixture());
    enroll(&scene, "tpm-1", &tpm).await;
    let key = STANDARD.encode(tpm.endorsement_key());
    let check = async |name: &str, value: Value, text: &str| {
        for id in ["tpm-1", "unknown"] {
            let mut body = tpm_body(id, &tpm);
            body["tpm"][name] = value.clone();
            let refused = scene.send(ask(&scene, id, &body)).await.with_code(400_004);
            let message = refused.text_at("/message");
            assert!(message.contains(text), "{message}");
        }
    };
    let ecc = include_bytes!("../../../../fixtures/tpm/swtpm/endorsement-key-ecc.tpm2b");
    check("endorsementKey", STANDARD.encode(ecc).into(), "an ECC key; only RSA-2048").await;
    let root = STANDARD.encode(tpm.storage_root_key());
    check("endorsementKey", root.into(), "attributes are 0x00030472").await;
    check("storageRootKey", key.as_str().into(), "the storage root key's attributes").await;
    check("endorsementKey", "AToA".into(), "is cut off").await;
    check("endorsementKey", Value::Null, "tpm.endorsementKey: is required").await;
    check("endorsementKey", 7.into(), "tpm.endorsementKey: expected a string").await;
    check("endorsementKey", "%".into(), "tpm.endorsementKey: expected base64").await;
    check("endorsementKey", "A".repeat(8000).into(), "tpm.endorsementKey: has more than").await;
    check("storageRootKey", "-".into(), "tpm.storageRootKey: expected base64").await;
    check("endorsementCertificates", json!(["-"]), "tpm.endorsementCertificates").await;
    check("endorsementCertificates", json!(["MAA="]), "endorsement certificates").await;
}

#[tokio::test]
async fn a_storage_root_key_comes_from_the_device_or_from_its_enrollment() {
    let (scene, mut tpm) = (scene().await, SoftTpm::from_fixture());
    enroll(&scene, "tpm-1", &tpm).await;
    let mut without = tpm_body("tpm-1", &tpm);
    without["tpm"]["storageRootKey"] = Value::Null;
    let refused = scene.send(ask(&scene, "tpm-1", &without)).await.with_code(400_004);
    assert!(refused.text_at("/message").contains("tpm.storageRootKey"), "{refused:?}");
    let mut body = enrollment("tpm-2", &tpm);
    body["attestation"]["tpm"]["storageRootKey"] = STANDARD.encode(tpm.storage_root_key()).into();
    scene.operator("PUT", "/enrollments/tpm-2", &body.to_string()).await.with_status(200);
    without["registrationId"] = "tpm-2".into();
    register(&scene, "tpm-2", &mut tpm, &without).await.with_status(202);
}

#[tokio::test]
async fn what_a_demanded_certificate_lacks_is_told_to_who_knows_the_key() {
    let (scene, mut tpm) = (scene().await, SoftTpm::from_fixture());
    let (vendor, stranger) = (Ca::root("a vendor of TPMs"), Ca::root("somebody"));
    enroll(&scene, "tpm-1", &tpm).await;
    let demand = json!({"roots": {"primary": {"certificate": vendor.pem()}}}).to_string();
    let path = "/induct/v1/enrollments/tpm-1/endorsement";
    scene.operator("PUT", path, &demand).await.with_status(200);
    let bare = tpm_body("tpm-1", &tpm);
    let by_stranger = with_certificates(bare.clone(), &tpm.endorsement_chain(&stranger));
    for body in [&bare, &by_stranger] {
        let reply = scene.send(ask(&scene, "tpm-1", body)).await;
        assert_eq!((reply.status, reply.at("/authenticationKey")), (401, Value::Null), "{reply:?}");
    }
    let issuer = vendor.intermediate("an issuer of the vendor's");
    let endorsed = with_certificates(bare, &tpm.endorsement_chain(&issuer));
    let assigned = settled(&scene, "tpm-1", &mut tpm, &endorsed).await;
    assert_eq!(assigned.at("/status"), "assigned");
}

#[tokio::test]
async fn a_group_takes_the_tpms_of_a_vendor_by_the_names_their_keys_give_them() {
    let (scene, mut tpm) = (scene().await, SoftTpm::from_fixture());
    let vendor = Ca::root("a vendor of TPMs");
    let group = json!({
        "enrollmentGroupId": "works-tpms",
        "attestation": {
            "type": "tpm",
            "tpm": {"issuers": {"primary": {"certificate": vendor.pem()}}},
        },
    });
    let path = "/induct/v1/tpmEnrollmentGroups/works-tpms";
    scene.operator("PUT", path, &group.to_string()).await.with_status(200);
    let id = tpm.registration_id();
    let chain = tpm.endorsement_chain(&vendor);
    let named = with_certificates(tpm_body(&id, &tpm), &chain);
    let assigned = settled(&scene, &id, &mut tpm, &named).await;
    take_hub_key(&mut tpm, &assigned);
    assert!(is_taken_by_its_hub(&scene, &assigned, &tpm).await);
    let listed = scene.operator("POST", "/registrations/works-tpms/query", "{}").await;
    let listed = listed.with_status(200);
    assert_eq!(listed.at("/0/registrationId"), id.as_str());
    scene.operator("DELETE", &format!("/registrations/{id}"), "").await.with_status(204);

    let other_name = with_certificates(tpm_body("press-17", &tpm), &chain);
    scene.send(ask(&scene, "press-17", &other_name)).await.with_code(404_201);
    scene.send(ask(&scene, &id, &tpm_body(&id, &tpm))).await.with_code(404_201);
    let stranger = with_certificates(tpm_body(&id, &tpm), &tpm.endorsement_chain(&Ca::root("x")));
    scene.send(ask(&scene, &id, &stranger)).await.with_code(404_201);

    let mut off = group;
    off["provisioningStatus"] = "disabled".into();
    let put = scene.owner("PUT", path).header("if-match", "*").json(off.to_string());
    scene.send(put).await.with_status(200);
    let settled = settled(&scene, &id, &mut tpm, &named).await;
    assert_eq!(settled.at("/status"), "disabled");
}

#[tokio::test]
async fn no_key_is_in_the_log_or_in_what_operators_see() {
    let (scene, mut tpm) = (scene().await, SoftTpm::from_fixture());
    let (lines, guard) = listen_to_the_log();
    enroll(&scene, "tpm-1", &tpm).await;
    let body = tpm_body("tpm-1", &tpm);
    let assigned = settled(&scene, "tpm-1", &mut tpm, &body).await;
    let nonce_key = tpm.key().expect("a key");
    take_hub_key(&mut tpm, &assigned);
    let hub_key = tpm.key().expect("a key");
    let hub = assigned.text_at("/registrationState/assignedHub");
    let mut seen = vec![assigned.text.clone()];
    for path in ["/enrollments/tpm-1", "/registrations/tpm-1", "/induct/v1/audit"] {
        seen.push(scene.operator("GET", path, "").await.with_status(200).text);
    }
    for path in ["/enrollments/tpm-1/attestationmechanism", "/enrollments/query"] {
        seen.push(scene.operator("POST", path, "").await.with_status(200).text);
    }
    drop(guard);
    let log = text(&lines);
    assert!(log.contains("tpm-1"), "{log}");
    seen.push(log);
    for key in [nonce_key, hub_key] {
        let hex: String = key[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let list = format!("{:?}", &key[..8]);
        let forms = [STANDARD.encode(key), hex.to_uppercase(), hex, list];
        for form in forms.iter().map(|form| form.trim_end_matches([']', '='])) {
            assert!(!seen.iter().any(|text| text.contains(form)), "{form} in {seen:#?}");
        }
    }
    // The blob itself is the device's alone; its record does not show it to operators.
    let blob = assigned.text_at("/registrationState/tpm/authenticationKey");
    assert!(!seen[1..].iter().any(|text| text.contains(&blob[..40])));
    // The hub's own API shows the key to whoever may write its registry, as that of any device.
    let identity = scene.send(scene.hub_owner("GET", "/devices/tpm-1").host(&hub)).await;
    if hub == HUB {
        let key = identity.with_status(200).text_at("/authentication/symmetricKey/primaryKey");
        assert_eq!(key, STANDARD.encode(hub_key));
    }
}
