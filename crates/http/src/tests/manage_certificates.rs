//! The management API: CA certificates and proof of possession (O §3.5).

use serde_json::json;
use testkit::Ca;

use super::scene::{NOW_TEXT, Reply, Scene, scene};

async fn ask(scene: &Scene, method: &str, rest: &str, body: &str) -> Reply {
    scene.operator(method, &format!("/induct/v1/certificates{rest}"), body).await
}

async fn ask_if(scene: &Scene, method: &str, rest: &str, etag: &str, body: &str) -> Reply {
    let ask = scene.owner(method, &format!("/induct/v1/certificates{rest}"));
    scene.send(ask.header("if-match", etag).json(body)).await
}

fn upload(pem: &str) -> String {
    json!({"certificate": pem}).to_string()
}

async fn refer(scene: &Scene, group: &str, name: &str) {
    let body = json!({
        "enrollmentGroupId": group,
        "attestation": {"type": "x509", "x509": {"caReferences": {"primary": name}}},
    });
    let path = format!("/enrollmentGroups/{group}");
    scene.operator("PUT", &path, &body.to_string()).await.with_status(200);
}

#[tokio::test]
async fn a_certificate_is_uploaded_proven_used_and_deleted() {
    let scene = scene().await;
    let ca = Ca::root("factory");
    let put = ask(&scene, "PUT", "/root-1", &upload(&ca.pem())).await.with_status(200);
    let names: Vec<_> = put.json().as_object().expect("object").keys().cloned().collect();
    let expected = [
        "name",
        "subject",
        "issuer",
        "thumbprint",
        "sha256Thumbprint",
        "notBefore",
        "expiry",
        "isVerified",
        "usedBy",
        "etag",
        "created",
        "updated",
    ];
    assert_eq!(names, expected);
    assert_eq!(put.at("/subject"), "CN=factory");
    assert_eq!(put.at("/isVerified"), false);
    assert_eq!(put.at("/created"), NOW_TEXT);
    assert_eq!(put.text_at("/thumbprint").len(), 40);
    assert_eq!(ask(&scene, "GET", "/root-1", "").await.text, put.text);

    refer(&scene, "line-7", "root-1").await;
    let coded = ask(&scene, "POST", "/root-1/generateVerificationCode", "").await;
    let coded = coded.with_status(200);
    let code = coded.text_at("/verificationCode");
    assert_eq!(code.len(), 48);
    assert!(code.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)), "{code}");
    assert_eq!(coded.at("/usedBy"), json!(["line-7"]));
    assert_ne!(coded.at("/etag"), put.at("/etag"), "every step makes a new etag");
    let shown = ask(&scene, "GET", "/root-1", "").await.with_status(200);
    assert!(!shown.text.contains(&code), "{shown:?}");

    let stranger = upload(&Ca::root("factory").leaf(&code).pem());
    ask(&scene, "POST", "/root-1/verify", &stranger).await.with_code(400_010);
    let other = upload(&ca.leaf("another-name").pem());
    ask(&scene, "POST", "/root-1/verify", &other).await.with_code(400_010);
    let proof = upload(&ca.leaf(&code).pem());
    ask_if(&scene, "POST", "/root-1/verify", "b2xk", &proof).await.with_code(412_000);
    let etag = coded.text_at("/etag");
    let verified = ask_if(&scene, "POST", "/root-1/verify", &etag, &proof).await.with_status(200);
    assert_eq!(verified.at("/isVerified"), true);
    // A code is good for one proof.
    ask(&scene, "POST", "/root-1/verify", &proof).await.with_code(400_010);
    let listed = ask(&scene, "GET", "", "").await.with_status(200);
    assert_eq!(listed.at("/0/name"), "root-1");
    assert_eq!(listed.at("/0/usedBy"), json!(["line-7"]));

    let gone = ask(&scene, "DELETE", "/root-1", "").await.with_status(200);
    assert_eq!(gone.text, r#"{"name":"root-1","usedBy":["line-7"]}"#);
    assert_eq!(ask(&scene, "GET", "", "").await.text, "[]");
}

#[tokio::test]
async fn an_upload_may_vouch_for_itself_and_is_replaced_with_its_etag_only() {
    let scene = scene().await;
    let (first, second) = (Ca::root("first"), Ca::root("second"));
    let body = json!({"certificate": first.pem(), "isVerified": true}).to_string();
    let put = ask(&scene, "PUT", "/a%20b", &body).await.with_status(200);
    assert_eq!((put.at("/isVerified"), put.at("/name")), (json!(true), json!("a b")));
    let again = upload(&second.pem());
    ask(&scene, "PUT", "/a%20b", &again).await.with_code(409_207);
    ask_if(&scene, "PUT", "/a%20b", "b2xk", &again).await.with_code(412_000);
    let etag = put.text_at("/etag");
    let replaced = ask_if(&scene, "PUT", "/a%20b", &etag, &again).await.with_status(200);
    assert_eq!(replaced.at("/subject"), "CN=second");
    assert_eq!(replaced.at("/isVerified"), false, "another certificate, another proof");
}

#[tokio::test]
async fn certificates_are_refused_with_a_code_that_says_why() {
    let scene = scene().await;
    let ca = Ca::root("factory");
    for (method, rest, body) in [
        ("GET", "/no", String::new()),
        ("DELETE", "/no", String::new()),
        ("POST", "/no/generateVerificationCode", String::new()),
        ("POST", "/no/verify", upload(&ca.pem())),
    ] {
        ask(&scene, method, rest, &body).await.with_code(404_206);
    }
    ask_if(&scene, "PUT", "/no", "*", &upload(&ca.pem())).await.with_code(404_206);
    for body in [
        "{}".to_owned(),
        upload("nonsense"),
        upload(&ca.key_pem()),
        upload(&ca.leaf("device").pem()),
        json!({"certificate": ca.pem(), "isVerified": "yes"}).to_string(),
    ] {
        ask(&scene, "PUT", "/a", &body).await.with_code(400_000);
    }
    let long = "x".repeat(257);
    ask(&scene, "PUT", &format!("/{long}"), &upload(&ca.pem())).await.with_code(400_000);
    ask(&scene, "PUT", "/a", &upload(&ca.pem())).await.with_status(200);
    ask(&scene, "POST", "/a/verify", &upload(&ca.pem())).await.with_code(400_010);
    for n in 1..25 {
        ask(&scene, "PUT", &format!("/c{n}"), &upload(&ca.pem())).await.with_status(200);
    }
    ask(&scene, "PUT", "/c25", &upload(&ca.pem())).await.with_code(403_001);
}
