//! Messages to devices, and what became of them (H §2.9, §5.8).

use app::device::{Commands, DeviceSession};
use app::live::Command;
use model::{Qos, Subscriptions};
use serde_json::json;

use super::scene::{Ask, HUB, NOW_TEXT, Scene, scene};

const PATH: &str = "/induct/v1/devices/dev1/messages";

async fn scene_with_device() -> Scene {
    let scene = scene().await;
    scene.add_device("dev1").await;
    scene
}

/// A device that takes messages.
async fn listen(scene: &Scene) -> (DeviceSession, Commands) {
    let (session, commands) = scene.connect("dev1").await;
    let messages = Some(Qos::AtLeastOnce);
    let subscriptions = Subscriptions { messages, ..Subscriptions::default() };
    session.subscribe(subscriptions, true).await.expect("subscribed");
    (session, commands)
}

#[tokio::test]
async fn a_message_waits_for_its_device_and_arrives_as_it_was_sent() {
    let scene = scene_with_device().await;
    let body = r#"{"messageId":"m-1","correlationId":"c","ack":"full","properties":{"b":"2","a":null},"body":{"t": 1.50}}"#;
    let sent = scene.hub("POST", PATH, body).await.with_status(201);
    assert_eq!(
        sent.text,
        format!(
            r#"{{"messageId":"m-1","deviceId":"dev1","enqueuedTime":"{NOW_TEXT}","expiryTimeUtc":"2026-01-01T01:00:00.5219817Z"}}"#
        )
    );
    for path in ["/devices/dev1", "/twins/dev1"] {
        let count = scene.hub("GET", path, "").await.at("/cloudToDeviceMessageCount");
        assert_eq!(count, 1, "{path}");
    }
    let (session, mut commands) = listen(&scene).await;
    assert!(matches!(commands.next().await, Command::Messages));
    let message = session.next_message(0).await.expect("store").expect("a message");
    assert_eq!(message.body, br#"{"t":1.50}"#);
    assert_eq!(message.properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(message.properties.correlation_id.as_deref(), Some("c"));
    let own = [("b".to_owned(), Some("2".to_owned())), ("a".to_owned(), None)];
    assert_eq!(message.application, own);
    session.complete(message.number).await.expect("completed");
    let count = scene.hub("GET", "/devices/dev1", "").await.at("/cloudToDeviceMessageCount");
    assert_eq!(count, 0);
}

#[tokio::test]
async fn the_services_operator_sends_to_any_built_in_hub() {
    let scene = scene_with_device().await;
    let path = |hub: &str| format!("/induct/v1/hubs/{hub}/devices/dev1/messages");
    let sent = scene.operator("POST", &path(HUB), r#"{"bodyText":"x"}"#).await.with_status(201);
    // One who names no ID gets one.
    assert_eq!(sent.text_at("/messageId").len(), 36);
    let (session, _commands) = listen(&scene).await;
    let message = session.next_message(0).await.expect("store").expect("a message");
    assert_eq!(message.body, b"x");
    for hub in ["hub-9.example.test", "no%20hub"] {
        scene.operator("POST", &path(hub), "{}").await.with_code(404_000);
    }
    let nobody = format!("/induct/v1/hubs/{HUB}/devices/nobody/messages");
    scene.operator("POST", &nobody, "{}").await.with_code(404_001);
    scene.operator("POST", &path(HUB), r#"{"ack":"no"}"#).await.with_code(400_004);
    scene.operator("POST", &path(HUB), "{").await.with_code(400_006);
}

#[tokio::test]
async fn a_message_that_breaks_a_rule_is_refused() {
    let scene = scene_with_device().await;
    let check = async |body: serde_json::Value, status: u16, name: &str| {
        scene.hub("POST", PATH, &body.to_string()).await.with_name(status, name);
    };
    check(json!({"expiryTimeUtc": "2025-12-31T23:59:59Z"}), 400, "ArgumentInvalid").await;
    check(json!({"expiryTimeUtc": "2026-01-03T00:00:01Z"}), 400, "ArgumentInvalid").await;
    check(json!({"properties": {"$.ct": "x"}}), 400, "ArgumentInvalid").await;
    check(json!({"bodyText": "x".repeat(64 * 1024 + 1)}), 413, "MessageTooLarge").await;
    check(json!({"bodytext": "x"}), 400, "ArgumentInvalid").await;
    scene.hub("POST", PATH, "").await.with_name(400, "ArgumentInvalid");
    let nobody = scene.hub("POST", "/induct/v1/devices/nobody/messages", "{}").await;
    nobody.with_name(404, "DeviceNotFound");
}

#[tokio::test]
async fn a_queue_takes_fifty_and_can_be_emptied() {
    let scene = scene_with_device().await;
    for _ in 0..50 {
        scene.hub("POST", PATH, r#"{"ack":"negative"}"#).await.with_status(201);
    }
    let full = scene.hub("POST", PATH, "{}").await;
    full.with_name(403, "DeviceMaximumQueueDepthExceeded");
    let purged = scene.hub("DELETE", "/devices/dev1/commands", "").await.with_status(200);
    assert_eq!(purged.text, r#"{"totalMessagesPurged":50,"deviceId":"dev1","moduleId":null}"#);
    scene.hub("POST", PATH, "{}").await.with_status(201);
    let feedback = scene.hub("GET", FEEDBACK, "").await.with_status(200);
    assert_eq!(feedback.json().as_array().map(Vec::len), Some(50));
    assert_eq!(feedback.at("/49/statusCode"), "Purged");
}

const FEEDBACK: &str = "/messages/serviceBound/feedback";

#[tokio::test]
async fn feedback_is_told_until_it_is_completed() {
    let scene = scene_with_device().await;
    let none = scene.hub("GET", FEEDBACK, "").await.with_status(204);
    assert_eq!((none.text.as_str(), none.header("etag")), ("", ""));
    let (session, _commands) = listen(&scene).await;
    for n in 1..=70 {
        let body = format!(r#"{{"messageId":"m-{n}","ack":"positive"}}"#);
        if n > 1 {
            session.complete(next_number(&session).await).await.expect("completed");
        }
        scene.hub("POST", PATH, &body).await.with_status(201);
    }
    session.complete(next_number(&session).await).await.expect("completed");
    let first = scene.hub("GET", FEEDBACK, "").await.with_status(200);
    let records = first.json().as_array().cloned().expect("an array");
    assert_eq!(records.len(), 64);
    let generation = scene.hub("GET", "/devices/dev1", "").await.text_at("/generationId");
    assert_eq!(
        records[0],
        json!({
            "originalMessageId": "m-1", "enqueuedTimeUtc": NOW_TEXT, "statusCode": "Success",
            "description": "Success", "deviceId": "dev1", "deviceGenerationId": generation,
        })
    );
    // Whoever gives up, or does nothing, gets the same again.
    let token = first.header("etag").trim_matches('"').to_owned();
    scene.hub("POST", &format!("{FEEDBACK}/{token}/abandon"), "").await.with_status(204);
    assert_eq!(scene.hub("GET", FEEDBACK, "").await.text, first.text);
    scene.hub("DELETE", &format!("{FEEDBACK}/{token}"), "").await.with_status(204);
    let rest = scene.hub("GET", FEEDBACK, "").await.with_status(200);
    assert_eq!(rest.json().as_array().map(Vec::len), Some(6));
    assert_eq!(rest.at("/0/originalMessageId"), "m-65");
    // Completed once more, by one who is late, it forgets nothing.
    scene.hub("DELETE", &format!("{FEEDBACK}/{token}"), "").await.with_status(204);
    assert_eq!(scene.hub("GET", FEEDBACK, "").await.text, rest.text);
    for (method, bad) in [("DELETE", "x"), ("DELETE", "-1"), ("POST", "x/abandon")] {
        let refused = scene.hub(method, &format!("{FEEDBACK}/{bad}"), "").await;
        refused.with_name(400, "ArgumentInvalid");
    }
}

async fn next_number(session: &DeviceSession) -> u64 {
    session.next_message(0).await.expect("store").expect("a message").number
}

#[tokio::test]
async fn a_connected_device_is_shown_as_connected_and_counted() {
    let scene = scene_with_device().await;
    let at = async |path: &str, pointer: &str| scene.hub("GET", path, "").await.at(pointer);
    assert_eq!(at("/devices/dev1", "/connectionState").await, "Disconnected");
    let (_session, _commands) = scene.connect("dev1").await;
    for path in ["/devices/dev1", "/twins/dev1"] {
        assert_eq!(at(path, "/connectionState").await, "Connected", "{path}");
        assert_eq!(at(path, "/lastActivityTime").await, NOW_TEXT, "{path}");
    }
    assert_eq!(at("/devices/dev1", "/connectionStateUpdatedTime").await, NOW_TEXT);
    assert_eq!(at("/statistics/service", "/connectedDeviceCount").await, 1);
}

#[tokio::test]
async fn a_token_for_one_device_sends_to_no_other() {
    let scene = scene_with_device().await;
    let resource = format!("{HUB}/induct/v1/devices/dev1");
    let key = &scene.hub_owner_key();
    let ask = |id: &str| {
        Ask::new("POST", &format!("/induct/v1/devices/{id}/messages"))
            .host(HUB)
            .header("authorization", scene.token(&resource, "iothubowner", key))
            .json("{}")
    };
    scene.send(ask("dev1")).await.with_status(201);
    scene.send(ask("dev2")).await.with_name(401, "IotHubUnauthorizedAccess");
}
