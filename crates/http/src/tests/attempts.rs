//! Attempts and who is refused most, over the management API.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use testkit::{Ca, ClientStyle, Credential, SoftTpm};

use super::scene::{Ask, KEY, Reply, Scene, scene};

const ATTEMPTS: &str = "/induct/v1/attempts";
const WRONG_KEY: &str = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";

async fn with_key(scene: &Scene, device: &str, key: &str) -> Reply {
    let token = scene.device_token(ClientStyle::Python, device, key);
    let register = Ask::new("PUT", &scene.device_path(device, "/register"));
    scene.send(register.header("authorization", token).json("{}")).await
}

async fn with_chain(scene: &Scene, device: &str, leaf: &Credential) -> Reply {
    let register = Ask::new("PUT", &scene.device_path(device, "/register"));
    scene.send(register.json("{}").chain(leaf.chain())).await
}

async fn listed(scene: &Scene, query: &str) -> Vec<serde_json::Value> {
    let path = format!("{ATTEMPTS}?{query}");
    let reply = scene.operator("GET", &path, "").await.with_status(200);
    reply.json().as_array().expect("a list").clone()
}

#[tokio::test]
async fn attempts_are_found_by_device_certificate_tpm_tracking_id_and_being_refused() {
    let scene = scene().await;
    scene.enroll("press-17").await;
    with_key(&scene, "press-17", KEY).await.with_status(202);
    let refused = with_key(&scene, "Press-17", WRONG_KEY).await.with_status(401);
    let leaf = Ca::root("stranger").leaf("press-18");
    with_chain(&scene, "press-18", &leaf).await.with_status(401);
    let tpm = SoftTpm::from_fixture();
    let key = STANDARD.encode(tpm.endorsement_key());
    let body = json!({"registrationId": "gate-3", "tpm": {
        "endorsementKey": key,
        "storageRootKey": STANDARD.encode(tpm.storage_root_key()),
    }});
    let ask = Ask::new("PUT", &scene.device_path("gate-3", "/register")).json(body.to_string());
    scene.send(ask).await.with_status(404);
    let names = async |query: &str| -> Vec<String> {
        let all = listed(&scene, query).await;
        all.iter().map(|one| one["registrationId"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names("").await, ["gate-3", "press-18", "Press-17", "press-17"]);
    assert_eq!(names("refused=true").await, ["gate-3", "press-18", "Press-17"]);
    assert_eq!(names("device=PRESS-17").await, ["Press-17", "press-17"]);
    assert_eq!(names("device=press-17&refused=true").await, ["Press-17"]);
    let tracking_id = refused.text_at("/trackingId");
    assert_eq!(names(&format!("trackingId={tracking_id}")).await, ["Press-17"]);
    let of_leaf = &listed(&scene, "device=press-18").await[0];
    for name in ["thumbprint", "sha1Thumbprint"] {
        let thumbprint = of_leaf[name].as_str().expect("a thumbprint");
        assert_eq!(names(&format!("thumbprint={thumbprint}")).await, ["press-18"], "{name}");
    }
    assert_eq!((&of_leaf["shown"], &of_leaf["isAdmission"]), (&json!("x509"), &json!(false)));
    let encoded = wire::percent::encode(&key);
    assert_eq!(names(&format!("endorsementKey={encoded}")).await, ["gate-3"]);
    let hash = listed(&scene, "device=gate-3").await[0]["endorsementKeySha256"].clone();
    let hash = hash.as_str().expect("a hash");
    assert_eq!(names(&format!("endorsementKey={hash}")).await, ["gate-3"]);
    for bad in ["thumbprint=x", "endorsementKey=%25", "device=a&trackingId=b", "refused=7"] {
        let path = format!("{ATTEMPTS}?{bad}");
        scene.operator("GET", &path, "").await.with_code(400_000);
    }
}

#[tokio::test]
async fn attempts_come_page_by_page_and_new_ones_do_not_move_them() {
    let scene = scene().await;
    let stranger = Ca::root("stranger");
    for n in 0..5 {
        let device = format!("press-{n}");
        with_chain(&scene, &device, &stranger.leaf(&device)).await.with_status(401);
    }
    let mut seen = Vec::new();
    let mut token = String::new();
    for _ in 0..3 {
        let ask = scene.owner("GET", &format!("{ATTEMPTS}?refused=true"));
        let ask = ask.header("x-ms-max-item-count", "2");
        let ask = match token.is_empty() {
            true => ask,
            false => ask.header("x-ms-continuation", &token),
        };
        let page = scene.send(ask).await.with_status(200);
        assert_eq!(page.header("x-ms-item-type"), "Attempt");
        for one in page.json().as_array().expect("a list") {
            seen.push(one["registrationId"].as_str().expect("a name").to_owned());
        }
        token = page.header("x-ms-continuation").to_owned();
        with_chain(&scene, "late", &stranger.leaf("late")).await.with_status(401);
    }
    assert_eq!(seen, ["press-4", "press-3", "press-2", "press-1", "press-0"]);
    assert_eq!(token, "");
    let elsewhere = scene.owner("GET", ATTEMPTS).header("x-ms-continuation", "AWJ4");
    scene.send(elsewhere).await.with_code(400_000);
}

#[tokio::test]
async fn who_is_refused_most_comes_first_with_the_reason() {
    let scene = scene().await;
    scene.enroll("press-17").await;
    for n in 0..4 {
        with_key(&scene, "press-17", WRONG_KEY).await.with_status(401);
        if n == 0 {
            with_key(&scene, "nobody", WRONG_KEY).await.with_status(401);
        }
    }
    let top = scene.operator("GET", "/induct/v1/topRefused?top=1", "").await.with_status(200);
    assert_eq!(top.at("/devices/0/registrationId"), "press-17");
    assert_eq!((top.at("/devices/0/count"), top.at("/devices/1")), (json!(4), json!(null)));
    assert!(top.text_at("/devices/0/reason").contains("signature"), "{top:?}");
    assert_eq!(top.at("/addresses/0/address"), "127.0.0.1");
    assert_eq!(top.at("/addresses/0/count"), 5);
    for bad in ["0", "1025", "many"] {
        let path = format!("/induct/v1/topRefused?top={bad}");
        scene.operator("GET", &path, "").await.with_code(400_000);
    }
}
