//! `POST /devices/query` (H §7).

use serde_json::json;

use super::scene::{Reply, Scene, scene};

async fn scene_with_devices(n: usize) -> Scene {
    let scene = scene().await;
    for chunk in (0..n).collect::<Vec<_>>().chunks(100) {
        let elements: Vec<_> = chunk
            .iter()
            .map(|n| json!({"id": format!("d{n:03}"), "importMode": "create", "tags": {"even": n % 2 == 0}}))
            .collect();
        let body = json!(elements).to_string();
        scene.hub("POST", "/devices", &body).await.with_status(200);
    }
    scene
}

async fn ask(scene: &Scene, query: &str, size: &str, token: &str) -> Reply {
    let body = json!({ "query": query }).to_string();
    let mut ask = scene.hub_owner("POST", "/devices/query").json(body);
    if !size.is_empty() {
        ask = ask.header("x-ms-max-item-count", size);
    }
    if !token.is_empty() {
        ask = ask.header("x-ms-continuation", token);
    }
    scene.send(ask).await
}

/// The sizes of the pages of a query.
async fn check(scene: &Scene, query: &str, size: &str, item_type: &str, pages: &[usize]) {
    let (mut sizes, mut token) = (Vec::new(), String::new());
    loop {
        let reply = ask(scene, query, size, &token).await.with_status(200);
        assert_eq!(reply.header("x-ms-item-type"), item_type, "{query}");
        sizes.push(reply.json().as_array().expect("rows").len());
        token = reply.header("x-ms-continuation").to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(sizes, pages, "{query} by {size}");
}

#[tokio::test]
async fn a_query_answers_page_by_page() {
    let scene = scene_with_devices(150).await;
    check(&scene, "SELECT * FROM devices", "", "Twin", &[100, 50]).await;
    check(&scene, "SELECT * FROM devices", "75", "Twin", &[75, 75]).await;
    check(&scene, "select * from devices where tags.even = true", "50", "Twin", &[50, 25]).await;
    check(&scene, "SELECT TOP 7 * FROM devices", "3", "Twin", &[3, 3, 1]).await;
    check(&scene, "SELECT deviceId FROM devices", "1000", "Raw", &[150]).await;
    check(&scene, "SELECT COUNT() AS n FROM devices", "", "Raw", &[1]).await;
    let count =
        ask(&scene, "SELECT COUNT() AS n FROM devices WHERE tags.even = true", "", "").await;
    assert_eq!(count.text, r#"[{"n":75}]"#);
}

#[tokio::test]
async fn a_projection_has_canonical_names() {
    let scene = scene_with_devices(1).await;
    let reply = ask(&scene, "SELECT DeviceId, Status FROM devices", "", "").await.with_status(200);
    assert_eq!(reply.text, r#"[{"deviceId":"d000","status":"enabled"}]"#);
}

#[tokio::test]
async fn bad_queries_are_refused_as_the_hub_refuses_them() {
    let scene = scene_with_devices(1).await;
    for query in ["", "SELECT", "DROP devices", "SELECT * FROM devices GROUP BY x"] {
        let reply = ask(&scene, query, "", "").await.with_name(400, "ArgumentInvalid");
        let message = reply.text_at("/Message");
        assert!(message.starts_with("ErrorCode:ArgumentInvalid;BadRequest"), "{query}: {message}");
    }
    scene.hub("POST", "/devices/query", "").await.with_name(400, "ArgumentInvalid");
    scene.hub("POST", "/devices/query", "{").await.with_name(400, "IotHubFormatError");
    ask(&scene, "SELECT * FROM devices", "x", "").await.with_name(400, "ArgumentInvalid");
    ask(&scene, "SELECT * FROM devices", "", "x").await.with_name(400, "ArgumentInvalid");
}
