//! Direct methods (H §4.2.9). Time is tokio's and stands still until everything waits.

use std::time::Duration;

use app::device::{Commands, DeviceSession};
use app::live::{Command, MethodAnswer, MethodInvocation};
use model::{Qos, Subscriptions};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::connection::connect_to;
use super::frozen::{DEVICE, frozen};
use super::scene::{HUB, Reply, Scene};

const PATH: &str = "/twins/press-17/methods";

/// A device that takes methods.
async fn listen(scene: &Scene) -> (DeviceSession, Commands) {
    let (session, commands) = scene.connect(DEVICE).await;
    let methods = Some(Qos::AtMostOnce);
    let subscriptions = Subscriptions { methods, ..Subscriptions::default() };
    session.subscribe(subscriptions, false).await.expect("subscribed");
    (session, commands)
}

async fn invoked(commands: &mut Commands) -> MethodInvocation {
    match commands.next().await {
        Command::Method(invocation) => invocation,
        other => panic!("{other:?}"),
    }
}

/// What the envelope in the envelope says (H §2.3).
#[track_caller]
fn check_nested(reply: &Reply, status: u16, number: u32, name: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.header("iothub-errorcode"), name);
    assert_eq!(reply.at("/ExceptionMessage"), "");
    let nested: Value = serde_json::from_str(&reply.text_at("/Message")).expect("JSON in JSON");
    assert_eq!(nested["errorCode"], number, "{nested}");
    assert_eq!(nested["trackingId"], reply.header("x-ms-request-id"));
    assert_eq!(nested["info"], Value::Null);
    assert!(nested["message"].is_string() && nested["timestampUtc"].is_string(), "{nested}");
}

#[tokio::test]
async fn a_method_reaches_its_device_and_the_answer_its_caller() {
    let scene = frozen().await;
    let (_session, mut commands) = listen(&scene).await;
    let body = r#"{"methodName":"set","payload":{"b":1.50,"a":null}}"#;
    let device = async {
        let invocation = invoked(&mut commands).await;
        assert_eq!(invocation.name, "set");
        assert_eq!(invocation.payload, r#"{"b":1.50,"a":null}"#);
        let payload = br#"{"z": 1E5, "y": 12345678901234567890}"#.to_vec();
        invocation.reply.send(MethodAnswer { status: 207, payload }).expect("heard");
    };
    let (reply, ()) = tokio::join!(scene.hub("POST", PATH, body), device);
    let reply = reply.with_status(200);
    assert_eq!(reply.text, r#"{"status":207,"payload":{"z":1E5,"y":12345678901234567890}}"#);
}

#[tokio::test]
async fn a_device_that_is_not_connected_or_takes_no_methods_is_not_online() {
    let scene = frozen().await;
    let body = r#"{"methodName":"reboot"}"#;
    let reply = scene.hub("POST", PATH, body).await;
    check_nested(&reply, 404, 404_103, "DeviceNotOnline");
    let (_session, _commands) = scene.connect(DEVICE).await;
    let reply = scene.hub("POST", PATH, body).await;
    check_nested(&reply, 404, 404_103, "DeviceNotOnline");
    let nobody = scene.hub("POST", "/twins/nobody/methods", body).await;
    nobody.with_name(404, "DeviceNotFound");
}

#[tokio::test]
async fn a_device_may_take_its_time_to_connect_if_the_caller_says_so() {
    let scene = frozen().await;
    let body =
        r#"{"methodName":"reboot","responseTimeoutInSeconds":300,"connectTimeoutInSeconds":300}"#;
    let from = Instant::now();
    let device = async {
        tokio::time::advance(Duration::from_secs(299)).await;
        let (_session, mut commands) = listen(&scene).await;
        let invocation = invoked(&mut commands).await;
        tokio::time::advance(Duration::from_secs(299)).await;
        let answer = MethodAnswer { status: 200, payload: Vec::new() };
        invocation.reply.send(answer).expect("heard");
    };
    let (reply, ()) = tokio::join!(scene.hub("POST", PATH, body), device);
    assert_eq!(reply.with_status(200).text, r#"{"status":200,"payload":null}"#);
    assert!(from.elapsed() >= Duration::from_secs(598));
    // One who never comes is waited for as long as said, and no longer.
    let body = r#"{"methodName":"reboot","connectTimeoutInSeconds":20}"#;
    let from = Instant::now();
    let reply = scene.hub("POST", PATH, body).await;
    check_nested(&reply, 404, 404_103, "DeviceNotOnline");
    assert_eq!(from.elapsed().as_secs(), 20);
}

/// The request as it travels.
fn request(scene: &Scene, body: &str) -> String {
    let (token, n_bytes) = (scene.hub_token("iothubowner"), body.len());
    format!(
        "POST {PATH} HTTP/1.1\r\nHost: {HUB}\r\nAuthorization: {token}\r\n\
         Content-Length: {n_bytes}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_connection_lasts_as_long_as_the_longest_call() {
    let scene = frozen().await;
    let mut line = connect_to(scene.door.clone());
    let body =
        r#"{"methodName":"reboot","responseTimeoutInSeconds":300,"connectTimeoutInSeconds":300}"#;
    line.say(request(&scene, body)).await;
    sleep(Duration::from_secs(299)).await;
    let (_session, mut commands) = listen(&scene).await;
    let invocation = invoked(&mut commands).await;
    sleep(Duration::from_secs(299)).await;
    let answer = MethodAnswer { status: 200, payload: b"7".to_vec() };
    invocation.reply.send(answer).expect("heard");
    line.hear_until(r#"{"status":200,"payload":7}"#).await;
}

#[tokio::test]
async fn shutdown_ends_the_wait_for_a_device_that_cannot_come_any_more() {
    let scene = frozen().await;
    let mut line = connect_to(scene.door.clone());
    let body = r#"{"methodName":"reboot","connectTimeoutInSeconds":30}"#;
    line.say(request(&scene, body)).await;
    sleep(Duration::from_secs(1)).await;
    line.shutdown.send(true).expect("heard");
    let (answer, waited) = line.hear_out().await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("404103"), "{answer}");
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

#[tokio::test]
async fn who_waits_for_a_device_that_does_not_exist_is_told_at_once() {
    let scene = frozen().await;
    let body = r#"{"methodName":"reboot","connectTimeoutInSeconds":30}"#;
    let from = Instant::now();
    scene.hub("POST", "/twins/nobody/methods", body).await.with_name(404, "DeviceNotFound");
    assert_eq!(from.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_device_that_does_not_answer_in_time_is_a_gateway_timeout() {
    let scene = frozen().await;
    let (_session, mut commands) = listen(&scene).await;
    let body = r#"{"methodName":"reboot","responseTimeoutInSeconds":5}"#;
    let from = Instant::now();
    let (reply, invocation) = tokio::join!(scene.hub("POST", PATH, body), invoked(&mut commands));
    check_nested(&reply, 504, 504_101, "GatewayTimeout");
    assert_eq!(from.elapsed().as_secs(), 5);
    assert!(invocation.reply.is_closed(), "nobody waits for a late answer");
}

#[tokio::test]
async fn a_session_that_ends_answers_no_more() {
    let scene = frozen().await;
    let (session, mut commands) = listen(&scene).await;
    let from = Instant::now();
    let device = async {
        drop(invoked(&mut commands).await);
        drop(session);
    };
    let (reply, ()) = tokio::join!(scene.hub("POST", PATH, r#"{"methodName":"reboot"}"#), device);
    check_nested(&reply, 504, 504_101, "GatewayTimeout");
    assert_eq!(from.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_call_that_breaks_a_rule_is_refused_before_any_device_is_asked() {
    let scene = frozen().await;
    let (_session, _commands) = listen(&scene).await;
    let check = async |body: Value, status: u16, name: &str| {
        scene.hub("POST", PATH, &body.to_string()).await.with_name(status, name);
    };
    let bad = "ArgumentInvalid";
    check(json!({}), 400, bad).await;
    check(json!({"methodName": ""}), 400, bad).await;
    check(json!({"methodName": "a/b"}), 400, bad).await;
    check(json!({"methodName": "a", "responseTimeoutInSeconds": 4}), 400, bad).await;
    check(json!({"methodName": "a", "responseTimeoutInSeconds": 301}), 400, bad).await;
    check(json!({"methodName": "a", "connectTimeoutInSeconds": 31}), 400, bad).await;
    check(json!({"methodName": "a", "connectTimeoutInSeconds": -1}), 400, bad).await;
    let large = "x".repeat(128 * 1024);
    check(json!({"methodName": "a", "payload": large}), 413, "MessageTooLarge").await;
    scene.hub("POST", PATH, "{").await.with_name(400, "IotHubFormatError");
}
