//! Direct methods (H §4.2.9).

use app::{No, live::MethodAnswer};
use decide::hub::method::MethodCall;
use model::HubRefusal;

use super::scene::*;
use crate::proto::Packet;

const METHODS: &str = "$iothub/methods/POST/#";

async fn listening(scene: &Scene) -> Client {
    let mut client = scene.connected().await;
    client.subscribed(METHODS).await;
    client
}

/// The next packet has to be a call of this method; its rid and payload.
async fn called(client: &mut Client, name: &str) -> (String, String) {
    let (topic, payload, id) = client.message().await;
    assert_eq!(id, None, "calls have QoS 0");
    let rid = topic
        .strip_prefix(&format!("$iothub/methods/POST/{name}/?$rid="))
        .unwrap_or_else(|| panic!("{topic}"));
    (rid.to_owned(), payload)
}

fn answer(status: i32, payload: &str) -> Option<MethodAnswer> {
    Some(MethodAnswer { status, payload: payload.as_bytes().to_vec() })
}

#[tokio::test]
async fn a_call_reaches_the_device_and_its_answer_the_caller() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    let reply = scene.call("reboot", r#"{"delay":1.50}"#).await;
    let (rid, payload) = called(&mut client, "reboot").await;
    assert_eq!(payload, r#"{"delay":1.50}"#);
    client.publish_acked(&format!("$iothub/methods/res/200/?$rid={rid}"), r#"{"ok":true}"#).await;
    assert_eq!(reply.wait().await, answer(200, r#"{"ok":true}"#));
}

#[tokio::test]
async fn calls_are_answered_in_any_order_and_without_a_payload() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    let first = scene.call("first", "null").await;
    let second = scene.call("second", "null").await;
    let (first_rid, _) = called(&mut client, "first").await;
    let (second_rid, _) = called(&mut client, "second").await;
    client.publish_once(&format!("$iothub/methods/res/-2/?$rid={second_rid}"), "").await;
    client.publish_once(&format!("$iothub/methods/res/404/?$rid={first_rid}"), "x").await;
    assert_eq!(second.wait().await, answer(-2, ""));
    assert_eq!(first.wait().await, answer(404, "x"));
}

#[tokio::test]
async fn an_answer_to_nothing_is_tolerated() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    for rid in ["1", "ffffffff", "nothex"] {
        client.publish_acked(&format!("$iothub/methods/res/200/?$rid={rid}"), "1").await;
    }
    client.hears_nothing().await;
}

#[tokio::test]
async fn a_caller_hears_when_there_will_be_no_answer() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    // It leaves, is disabled, or answers more than an answer may hold.
    let reply = scene.call("reboot", "null").await;
    called(&mut client, "reboot").await;
    client.leave().await;
    assert_eq!(reply.wait().await, None);
    let mut client = scene.connected().await;
    let reply = scene.call("reboot", "null").await;
    let (rid, _) = called(&mut client, "reboot").await;
    let large = "x".repeat(128 * 1024 + 1);
    client.publish_acked(&format!("$iothub/methods/res/200/?$rid={rid}"), &large).await;
    assert_eq!(reply.wait().await, None);
    let reply = scene.call("reboot", "null").await;
    let (rid, _) = called(&mut client, "reboot").await;
    scene.rewrite("disabled", (KEY, OTHER_KEY)).await;
    client.publish(&format!("$iothub/methods/res/200/?$rid={rid}"), "1").await;
    assert_eq!(reply.wait().await, None);
    client.expect_cut().await;
}

#[tokio::test]
async fn a_method_no_topic_can_name_has_no_answer() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    let reply = scene.call("a+b", "null").await;
    assert_eq!(reply.wait().await, None);
    client.hears_nothing().await;
}

#[tokio::test]
async fn beyond_the_bound_of_calls_the_caller_hears_at_once() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    let mut replies = Vec::new();
    for _ in 0..100 {
        replies.push(scene.call("slow", "null").await);
        called(&mut client, "slow").await;
    }
    let one_more = scene.call("slow", "null").await;
    assert_eq!(one_more.wait().await, None);
    client.hears_nothing().await;
}

#[tokio::test]
async fn who_does_not_listen_for_methods_is_not_online() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    let call = MethodCall {
        name: "reboot".to_owned(),
        payload: "null".to_owned(),
        response_timeout_secs: 30,
        connect_timeout_secs: 0,
    };
    let called = scene.app.call_method(&scene.hub, &id(DEVICE), &call).await;
    assert!(matches!(called, Err(No::Refused(HubRefusal::DeviceNotOnline(_)))), "{called:?}");
    client.send(Packet::PingReq).await;
    client.expect(Packet::PingResp).await;
}
