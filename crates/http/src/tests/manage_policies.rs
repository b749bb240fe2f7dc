//! The management API: shared access policies (O §1.5, §3.3).

use model::SymmetricKey;
use serde_json::json;

use super::scene::{Ask, HUB, KEY, NOW_TEXT, OTHER_KEY, Reply, SERVICE, Scene, scene};

const OWNER: &str = "provisioningserviceowner";

async fn ask(scene: &Scene, method: &str, rest: &str, body: &str) -> Reply {
    scene.operator(method, &format!("/induct/v1/policies{rest}"), body).await
}

async fn ask_if(scene: &Scene, method: &str, rest: &str, etag: &str, body: &str) -> Reply {
    let ask = scene.owner(method, &format!("/induct/v1/policies{rest}"));
    scene.send(ask.header("if-match", etag).json(body)).await
}

/// Whether a key of a policy opens the service.
async fn opens(scene: &Scene, policy: &str, key: &str) -> bool {
    let key = SymmetricKey::parse(key).expect("key");
    let token = scene.token(SERVICE, policy, &key);
    let path = "/enrollments/nobody?api-version=2021-10-01";
    let reply = scene.send(Ask::new("GET", path).header("authorization", token)).await;
    reply.status == 404
}

async fn keys(scene: &Scene, policy: &str) -> (String, String) {
    let reply = ask(scene, "POST", &format!("/{policy}/listkeys"), "").await.with_status(200);
    (reply.text_at("/primaryKey"), reply.text_at("/secondaryKey"))
}

#[tokio::test]
async fn a_policy_shows_its_keys_where_they_are_asked_for_and_nowhere_else() {
    let scene = scene().await;
    let body = json!({"rights": "EnrollmentRead", "primaryKey": KEY, "secondaryKey": OTHER_KEY});
    let put = ask(&scene, "PUT", "/reader", &body.to_string()).await.with_status(200);
    let etag = put.text_at("/etag");
    assert_eq!(
        put.text,
        format!(
            r#"{{"keyName":"reader","rights":"EnrollmentRead","etag":"{etag}","created":"{NOW_TEXT}","updated":"{NOW_TEXT}"}}"#
        )
    );
    let shown = ask(&scene, "GET", "/reader", "").await.with_status(200);
    assert_eq!(shown.text, put.text);
    let listed = ask(&scene, "GET", "", "").await.with_status(200);
    assert_eq!(listed.at("/0/keyName"), OWNER);
    assert_eq!(listed.at("/0/rights"), "ServiceConfig, DeviceConnect, EnrollmentWrite");
    assert_eq!(listed.at("/1/keyName"), "reader");
    let audit = scene.operator("GET", "/induct/v1/audit", "").await.with_status(200);
    let rotated = ask(&scene, "POST", "/reader/rotate", r#"{"key":"primary"}"#).await;
    let (primary, secondary) = keys(&scene, "reader").await;
    for reply in [put, shown, listed, audit, rotated.with_status(200)] {
        for key in [KEY, OTHER_KEY, &primary, &secondary] {
            assert!(!reply.text.contains(key), "{reply:?}");
        }
    }
    assert_ne!(primary, KEY);
    assert_eq!(secondary, OTHER_KEY);
    let with_keys = ask(&scene, "POST", "/reader/listkeys", "").await;
    assert_eq!(with_keys.at("/rights"), "EnrollmentRead");
}

#[tokio::test]
async fn rights_are_taken_as_text_or_list_and_shown_collapsed() {
    let scene = scene().await;
    for rights in [
        json!("EnrollmentWrite, EnrollmentRead, ServiceConfig"),
        json!(["serviceconfig", "RegistrationStatusRead", "EnrollmentWrite"]),
    ] {
        let body = json!({"rights": rights}).to_string();
        let put = ask(&scene, "PUT", "/p", &body).await.with_status(200);
        assert_eq!(put.at("/rights"), "ServiceConfig, EnrollmentWrite");
        ask(&scene, "DELETE", "/p", "").await.with_status(204);
    }
    for body in [
        json!({}),
        json!({"rights": ""}),
        json!({"rights": "Everything"}),
        json!({"rights": "RegistryRead"}),
        json!({"rights": "EnrollmentRead", "primaryKey": "c2hvcnQ="}),
    ] {
        ask(&scene, "PUT", "/p", &body.to_string()).await.with_code(400_000);
    }
}

#[tokio::test]
async fn a_rotated_key_stops_opening_while_the_other_goes_on() {
    let scene = scene().await;
    let body = r#"{"rights":"EnrollmentRead"}"#;
    ask(&scene, "PUT", "/reader", body).await.with_status(200);
    let (primary, secondary) = keys(&scene, "reader").await;
    assert!(opens(&scene, "reader", &primary).await && opens(&scene, "reader", &secondary).await);
    ask(&scene, "POST", "/reader/rotate", r#"{"key":"secondary"}"#).await.with_status(200);
    assert!(opens(&scene, "reader", &primary).await);
    assert!(!opens(&scene, "reader", &secondary).await);
    let given = json!({"key": "primary", "value": KEY}).to_string();
    ask(&scene, "POST", "/reader/rotate", &given).await.with_status(200);
    assert!(!opens(&scene, "reader", &primary).await);
    assert!(opens(&scene, "reader", KEY).await);
    ask(&scene, "POST", "/reader/rotate", "{}").await.with_code(400_000);
    ask_if(&scene, "POST", "/reader/rotate", "b2xk", &given).await.with_code(412_000);
}

#[tokio::test]
async fn policies_are_refused_with_a_code_that_says_why() {
    let scene = scene().await;
    let reader = r#"{"rights":"EnrollmentRead"}"#;
    ask(&scene, "GET", "/no", "").await.with_code(404_207);
    ask(&scene, "DELETE", "/no", "").await.with_code(404_207);
    ask(&scene, "POST", "/no/listkeys", "").await.with_code(404_207);
    ask(&scene, "POST", "/no/rotate", r#"{"key":"primary"}"#).await.with_code(404_207);
    ask_if(&scene, "PUT", "/no", "*", reader).await.with_code(404_207);
    ask(&scene, "PUT", "/a%3Bb", reader).await.with_code(400_000);
    ask(&scene, "PUT", "/a", reader).await.with_status(200);
    ask(&scene, "PUT", "/a", reader).await.with_code(409_208);
    ask_if(&scene, "PUT", "/a", "b2xk", reader).await.with_code(412_000);
    ask_if(&scene, "DELETE", "/a", "b2xk", "").await.with_code(412_000);
    // Someone must be able to manage the service.
    ask(&scene, "DELETE", &format!("/{OWNER}"), "").await.with_code(409_209);
    ask_if(&scene, "PUT", &format!("/{OWNER}"), "*", reader).await.with_code(409_209);
    let owner = r#"{"rights":"ServiceConfig, EnrollmentWrite"}"#;
    ask(&scene, "PUT", "/second", owner).await.with_status(200);
    ask(&scene, "DELETE", &format!("/{OWNER}"), "").await.with_status(204);
}

#[tokio::test]
async fn a_hubs_policies_are_managed_with_the_services() {
    let scene = scene().await;
    let listed = ask(&scene, "GET", &format!("?hub={HUB}"), "").await.with_status(200);
    assert_eq!(listed.json().as_array().expect("policies").len(), 5);
    let path = format!("/reader?hub={HUB}");
    let body = json!({"rights": "RegistryRead", "primaryKey": KEY}).to_string();
    ask(&scene, "PUT", &path, &body).await.with_status(200);
    let key = SymmetricKey::parse(KEY).expect("key");
    let token = scene.token(HUB, "reader", &key);
    let devices = Ask::new("GET", "/devices").host(HUB).header("authorization", token);
    scene.send(devices).await.with_status(200);
    ask(&scene, "GET", "/reader", "").await.with_code(404_207);
    ask(&scene, "PUT", &path, r#"{"rights":"EnrollmentRead"}"#).await.with_code(409_208);
    ask_if(&scene, "PUT", &path, "*", r#"{"rights":"EnrollmentRead"}"#).await.with_code(400_000);
    ask(&scene, "GET", "?hub=hub-9.example.test", "").await.with_code(404_205);
}
