//! The management API: the audit log.

use serde_json::Value;

use super::scene::{NOW_TEXT, Reply, Scene, scene};

async fn list(scene: &Scene, query: &str) -> Reply {
    scene.operator("GET", &format!("/induct/v1/audit{query}"), "").await
}

fn texts(reply: &Reply, member: &str) -> Vec<String> {
    let lines = reply.json();
    let text = |line: &Value| line[member].as_str().expect("text").to_owned();
    lines.as_array().expect("lines").iter().map(text).collect()
}

/// The lines after those of the first start.
async fn fill(scene: &Scene) {
    scene.advance_secs(60);
    scene.enroll("a").await;
    scene.put_group("line-7").await;
    scene.operator("DELETE", "/enrollments/a", "").await.with_status(204);
    let patch = r#"{"allocationPolicy":"static"}"#;
    scene.operator("PATCH", "/induct/v1/service", patch).await.with_status(200);
}

#[tokio::test]
async fn every_change_is_a_line_that_says_who_from_where_and_what() {
    let scene = scene().await;
    let since = "?since=2026-01-01T00:01:00Z";
    fill(&scene).await;
    let lines = list(&scene, since).await.with_status(200);
    let actions =
        ["enrollment.create", "enrollment-group.create", "enrollment.delete", "service.update"];
    assert_eq!(texts(&lines, "action"), actions);
    assert_eq!(lines.header("x-ms-item-type"), "AuditLine");
    assert_eq!(lines.header("x-ms-continuation"), "");
    for line in lines.json().as_array().expect("lines") {
        assert_eq!(line["policy"], "provisioningserviceowner");
        assert_eq!(line["address"], "127.0.0.1");
        assert_eq!(line["time"], NOW_TEXT.replace("T00:00", "T00:01"));
        assert_eq!(line["hash"].as_str().expect("hash").len(), 64);
    }
    assert_eq!(lines.at("/0/target"), "enrollments/a");
    assert_eq!(lines.at("/0/before"), Value::Null);
    assert_eq!(lines.at("/0/after/registrationId"), "a");
    assert_eq!(lines.at("/2/after"), Value::Null);
    assert_eq!(lines.at("/1/previousHash"), lines.at("/0/hash"), "a chain");
    for key in [super::scene::KEY, super::scene::OTHER_KEY] {
        assert!(!lines.text.contains(key), "{lines:?}");
    }
}

#[tokio::test]
async fn lines_are_found_by_policy_action_target_and_time() {
    let scene = scene().await;
    fill(&scene).await;
    let count = async |query: &str| {
        let reply = list(&scene, query).await.with_status(200);
        reply.json().as_array().expect("lines").len()
    };
    assert_eq!(count("?action=enrollment.").await, 2);
    assert_eq!(count("?action=enrollment.delete").await, 1);
    assert_eq!(count("?target=enrollments%2Fa").await, 2);
    assert_eq!(count("?policy=provisioningserviceowner").await, 4);
    assert_eq!(count("?policy=nobody").await, 0);
    let before = count("?until=2026-01-01T00:01:00Z").await;
    assert_eq!(count("").await, before + 4);
    assert_eq!(count("?since=2026-01-01T00:02:00Z").await, 0);
    for query in ["?since=yesterday", "?until=7", "?top=0", "?top=-1", "?top=many"] {
        let reply = list(&scene, query).await.with_status(400);
        assert_eq!(reply.at("/errorCode"), 400_000);
    }
}

#[tokio::test]
async fn the_log_is_read_page_by_page() {
    let scene = scene().await;
    fill(&scene).await;
    let whole = texts(&list(&scene, "").await, "hash");
    let (mut pages, mut token) = (Vec::new(), String::new());
    loop {
        let ask = scene.owner("GET", "/induct/v1/audit?top=3");
        let page = scene.send(ask.header("x-ms-continuation", &token)).await.with_status(200);
        let hashes = texts(&page, "hash");
        assert!(hashes.len() <= 3);
        pages.extend(hashes);
        token = page.header("x-ms-continuation").to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, whole);
    let enrollments = scene.owner("POST", "/enrollments/query").header("x-ms-max-item-count", "1");
    scene.enroll("a").await;
    scene.enroll("b").await;
    let other = scene.send(enrollments.json("{}")).await.header("x-ms-continuation").to_owned();
    assert!(!other.is_empty());
    for token in [other.as_str(), "nonsense"] {
        let ask = scene.owner("GET", "/induct/v1/audit").header("x-ms-continuation", token);
        scene.send(ask).await.with_status(400);
    }
}

#[tokio::test]
async fn a_whole_log_is_found_whole() {
    let scene = scene().await;
    fill(&scene).await;
    let lines = list(&scene, "").await.json();
    let lines = lines.as_array().expect("lines");
    let last = lines.last().expect("a line");
    let check = scene.operator("GET", "/induct/v1/audit/verify", "").await.with_status(200);
    let expected = format!(
        r#"{{"isWhole":true,"lines":{},"last":{{"number":{},"hash":{}}}}}"#,
        lines.len(),
        last["number"],
        last["hash"],
    );
    assert_eq!(check.text, expected);
}
