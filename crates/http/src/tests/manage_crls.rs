//! The management API: revocation lists.

use model::RegistrationId;
use serde_json::json;
use testkit::{Ca, Revocations, certificates::pem};

use super::scene::{Ask, Reply, Scene, scene};

async fn ask(scene: &Scene, method: &str, rest: &str, body: &str) -> Reply {
    scene.operator(method, &format!("/induct/v1/crls{rest}"), body).await
}

async fn import(scene: &Scene, kind: &str, file: impl AsRef<[u8]>) -> Reply {
    let ask = scene.owner("PUT", "/induct/v1/crls").header("content-type", kind).body(file);
    scene.send(ask).await
}

/// A scene with a group of this CA's devices.
async fn scene_with(ca: &Ca) -> Scene {
    let scene = scene().await;
    let signing = json!({"signingCertificates": {"primary": {"certificate": ca.pem()}}});
    let body = json!({
        "enrollmentGroupId": "line-4",
        "attestation": {"type": "x509", "x509": signing},
    });
    scene.operator("PUT", "/enrollmentGroups/line-4", &body.to_string()).await.with_status(200);
    scene
}

async fn register(scene: &Scene, ca: &Ca) -> Reply {
    let id = RegistrationId::parse("press-17").expect("legal");
    let body = json!({"registrationId": id.as_str()}).to_string();
    let path = scene.device_path(id.as_str(), "/register");
    let ask = Ask::new("PUT", &path).chain(ca.leaf(id.as_str()).chain()).json(body);
    scene.send(ask).await
}

#[tokio::test]
async fn a_list_is_taken_in_as_der_or_pem_shown_and_deleted() {
    let ca = Ca::root("plant");
    let scene = scene_with(&ca).await;
    assert_eq!(ask(&scene, "GET", "", "").await.text, "[]");
    let leaf = ca.leaf("press-17");
    let first = Revocations { serials: vec![vec![1], vec![2]], ..Revocations::number(7) };
    let taken = import(&scene, "application/pkix-crl", ca.revocation_list(&first)).await;
    let taken = taken.with_status(200);
    let names: Vec<_> = taken.json().as_object().expect("object").keys().cloned().collect();
    let expected = [
        "id",
        "ca",
        "caSha256Thumbprint",
        "isStale",
        "number",
        "thisUpdate",
        "nextUpdate",
        "revoked",
        "takenIn",
        "sha256",
        "newlyRevoked",
        "noLongerRevoked",
        "etag",
        "created",
        "updated",
    ];
    assert_eq!(names, expected);
    assert_eq!((taken.at("/ca"), taken.at("/number")), (json!("CN=plant"), json!("7")));
    assert_eq!((taken.at("/revoked"), taken.at("/isStale")), (json!(2), json!(false)));

    let second = Revocations { serials: vec![vec![1]], ..Revocations::number(8) }.with(&leaf);
    let text = pem("X509 CRL", &ca.revocation_list(&second));
    let taken = import(&scene, "application/x-pem-file", &text).await.with_status(200);
    assert_eq!((taken.at("/newlyRevoked"), taken.at("/noLongerRevoked")), (json!(1), json!(1)));
    // The same one again is no change.
    let again = import(&scene, "text/plain", &text).await.with_status(200);
    assert_eq!((again.at("/newlyRevoked"), again.at("/etag")), (json!(0), taken.at("/etag")));

    let id = taken.text_at("/id");
    let listed = ask(&scene, "GET", "", "").await.with_status(200);
    assert_eq!((listed.at("/0/id"), listed.at("/1")), (json!(id), json!(null)));
    ask(&scene, "GET", &format!("/{id}"), "").await.with_status(200);
    let usage = scene.operator("GET", "/induct/v1/usage", "").await;
    assert_eq!(usage.at("/revocationLists/current"), 1);
    assert_eq!(usage.at("/staleRevocationLists/current"), 0);

    let other = scene.owner("DELETE", &format!("/induct/v1/crls/{id}")).header("if-match", "b2xk");
    scene.send(other).await.with_code(412_000);
    ask(&scene, "DELETE", &format!("/{id}"), "").await.with_status(204);
    for method in ["GET", "DELETE"] {
        ask(&scene, method, &format!("/{id}"), "").await.with_code(404_211);
    }
}

#[tokio::test]
async fn what_is_no_list_of_a_known_ca_is_refused_with_its_reason() {
    let ca = Ca::root("plant");
    let scene = scene_with(&ca).await;
    let check = async |file: &[u8], words: &str| {
        let refused = import(&scene, "application/pkix-crl", file).await.with_code(400_000);
        let message = refused.text_at("/message");
        assert!(message.contains(words), "{words:?} in {message:?}");
        assert_eq!(ask(&scene, "GET", "", "").await.text, "[]");
    };
    check(b"", "empty").await;
    check(b"{}", "neither DER nor PEM").await;
    check(&[0x30, 0x00], "not a DER revocation list").await;
    check(ca.der(), "revocation list").await;
    check(ca.pem().as_bytes(), "neither DER nor PEM").await;
    let stranger = Ca::root("elsewhere").revocation_list(&Revocations::default());
    check(&stranger, "`CN=elsewhere` is not enrolled here").await;
    let namesake = Ca::root("plant").revocation_list(&Revocations::default());
    check(&namesake, "did not sign it").await;
    import(&scene, "application/pkix-crl", ca.revocation_list(&Revocations::number(9)))
        .await
        .with_status(200);
    let older = ca.revocation_list(&Revocations::number(8));
    let refused = import(&scene, "application/pkix-crl", older).await.with_code(400_000);
    assert!(refused.text_at("/message").contains("its number is 8, and that one's 9"));
}

#[tokio::test]
async fn a_list_may_be_larger_than_any_other_body_and_no_larger_than_that() {
    let ca = Ca::root("plant");
    let scene = scene_with(&ca).await;
    let serials = (0..60_000_u32).map(|n| [&[0x40; 12][..], &n.to_be_bytes()].concat());
    let large = Revocations { serials: serials.collect(), ..Revocations::number(1) };
    let file = ca.revocation_list(&large);
    assert!(file.len() > 1024 * 1024, "{}", file.len());
    let taken = import(&scene, "application/pkix-crl", &file).await.with_status(200);
    assert_eq!(taken.at("/revoked"), 60_000);
    let too_large = vec![0x30; wire::pem::MAX_CRL_TEXT_BYTES + 1];
    let refused = import(&scene, "application/pkix-crl", &too_large).await;
    assert_eq!(refused.status, 413, "{refused:?}");
    // Other endpoints take no more than before.
    let body = scene.owner("PUT", "/induct/v1/certificates/a").json(vec![b' '; 2 * 1024 * 1024]);
    assert_eq!(scene.send(body).await.status, 413);
}

#[tokio::test]
async fn a_revoked_device_hears_no_more_than_any_other_that_proves_nothing() {
    let ca = Ca::root("plant");
    let scene = scene_with(&ca).await;
    let leaf = ca.leaf("press-17");
    let id = "press-17";
    let send = async || {
        let body = json!({"registrationId": id}).to_string();
        let path = scene.device_path(id, "/register");
        scene.send(Ask::new("PUT", &path).chain(leaf.chain()).json(body)).await
    };
    send().await.with_status(202);
    let list = ca.revocation_list(&Revocations::number(1).with(&leaf));
    import(&scene, "application/pkix-crl", list).await.with_status(200);
    let refused = send().await;
    assert_eq!(refused.status, 401, "{refused:?}");
    assert!(!refused.text.contains("revoked"), "{refused:?}");
    // Another certificate of the device's is as good as before.
    register(&scene, &ca).await.with_status(202);
}

#[tokio::test]
async fn a_source_is_kept_with_the_list_and_needs_a_ca_that_is_known() {
    let ca = Ca::root("plant");
    let scene = scene_with(&ca).await;
    let list = ca.revocation_list(&Revocations::number(1));
    let id = import(&scene, "application/pkix-crl", list).await.text_at("/id");
    let source = format!("/{id}/source");
    // This process fetches none, and says so.
    let body = r#"{"url":"https://crl.example/plant.crl","everySecs":3600}"#;
    let refused = ask(&scene, "PUT", &source, body).await.with_code(400_000);
    assert!(refused.text_at("/message").contains("fetches no revocation lists"));
    ask(&scene, "PUT", &source, r#"{"url":7}"#).await.with_code(400_000);
    ask(&scene, "DELETE", &source, "").await.with_code(404_211);
    ask(&scene, "POST", &format!("/{id}/fetch"), "").await.with_code(404_211);
    ask(&scene, "POST", "/nobody/fetch", "").await.with_code(404_211);
}

/// A list of `CN=Fixture CA` (fixtures/crls).
fn fixture(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/crls");
    std::fs::read(folder.join(name)).expect("a fixture")
}

#[tokio::test]
async fn a_list_that_would_be_taken_for_more_than_it_says_is_refused_in_clear_words() {
    let scene = scene().await;
    let pem = String::from_utf8(fixture("ca.pem")).expect("PEM");
    let body = json!({"certificate": pem});
    let path = "/induct/v1/certificates/fixture";
    scene.operator("PUT", path, &body.to_string()).await.with_status(200);
    for (name, words) in [
        ("delta.crl", "delta list, which only says what changed"),
        ("indirect.crl", "indirect list, which speaks for several CAs"),
        ("reasons.crl", "covers some reasons for a revocation only"),
        ("attributes.crl", "about attribute certificates"),
        ("unknown.crl", "its critical extension"),
        ("takes-back.crl", "takes a revocation back"),
        ("sha1.crl", "algorithm that is not accepted"),
    ] {
        let refused = import(&scene, "application/pkix-crl", fixture(name)).await;
        let message = refused.with_code(400_000).text_at("/message");
        assert!(message.contains(words), "{name}: {message}");
    }
    let mut forged = fixture("complete.crl");
    *forged.last_mut().expect("a signature") ^= 1;
    let refused = import(&scene, "application/pkix-crl", forged).await.with_code(400_000);
    assert!(refused.text_at("/message").contains("did not sign it"), "{refused:?}");
    assert_eq!(ask(&scene, "GET", "", "").await.text, "[]");
    let taken = import(&scene, "application/pkix-crl", fixture("complete.crl")).await;
    assert_eq!(taken.with_status(200).at("/newlyRevoked"), 2);
}

#[tokio::test]
async fn a_list_that_goes_out_of_date_is_counted_and_each_group_says_what_that_means() {
    let ca = Ca::root("plant");
    let scene = scene_with(&ca).await;
    let next_update = scene.now().plus_secs(600);
    let list = Revocations { next_update, ..Revocations::number(1) };
    import(&scene, "application/pkix-crl", ca.revocation_list(&list)).await.with_status(200);
    let set = async |to: serde_json::Value| {
        let body = json!({"staleCrl": to}).to_string();
        let path = "/induct/v1/enrollmentGroups/line-4/settings";
        let put = scene.owner("PUT", path).header("if-match", "*").json(body);
        scene.send(put).await.with_status(200);
    };
    let check = async |n_stale: u64, status: u16| {
        let usage = scene.operator("GET", "/induct/v1/usage", "").await;
        assert_eq!(usage.at("/staleRevocationLists/current"), n_stale);
        assert_eq!(ask(&scene, "GET", "", "").await.at("/0/isStale"), n_stale == 1);
        register(&scene, &ca).await.with_status(status);
    };
    set(json!("refuse")).await;
    check(0, 202).await;
    scene.advance_secs(601);
    check(1, 401).await;
    set(json!("admit")).await;
    check(1, 202).await;
    set(json!("refuse")).await;
    check(1, 401).await;
    // Nothing is said: as the vendor's service, which looks at no list.
    set(json!(null)).await;
    check(1, 202).await;
    set(json!("refuse")).await;
    let newer = Revocations {
        this_update: scene.now(),
        next_update: scene.now().plus_secs(600),
        ..Revocations::number(2)
    };
    import(&scene, "application/pkix-crl", ca.revocation_list(&newer)).await.with_status(200);
    check(0, 202).await;
}
