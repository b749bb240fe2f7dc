//! Direct methods through the whole door, over a real store (H §4.3.5).

use std::time::Duration;

use app::{No, live::MethodAnswer};
use decide::hub::method::MethodCall;
use model::HubRefusal;
use tokio::time::timeout;

use super::*;
use crate::{
    proto::SenderSettle,
    tests::{
        client::{Client, Wish},
        scene::{DEVICE, KEY, OTHER_KEY, Scene, id, scene, text},
    },
};

const METHODS: &str = "/devices/dev1/methods/devicebound";
/// The handles of the device's pair.
const TO_US: u32 = 0;
const TO_IT: u32 = 1;

async fn device(scene: &Scene) -> Client {
    scene.logged_in("dev1@sas.hub-1", &scene.token(DEVICE)).await
}

/// A device that takes methods; Node's client names the pair so.
async fn listening(scene: &Scene) -> Client {
    let mut client = device(scene).await;
    client.attach(named(Wish::sender(0, TO_US, METHODS))).await;
    client.attach(named(Wish::receiver(0, TO_IT, METHODS))).await;
    taken(scene).await;
    client
}

fn named(wish: Wish) -> Wish {
    wish.with("com.microsoft:channel-correlation-id", DEVICE)
}

/// Waits until the hub knows that the device takes methods.
async fn taken(scene: &Scene) {
    let device_id = id(DEVICE);
    let taken = scene.app.until_takes_methods(&scene.hub, &device_id);
    timeout(Duration::from_secs(20), taken).await.expect("it takes methods");
}

/// The next message has to be a call of this method: its correlation-id and its payload.
async fn called(client: &mut Client, name: &str) -> ([u8; 16], String) {
    let received = client.receive(0, TO_IT).await;
    assert!(received.is_settled, "nobody wants to hear of a call");
    read_call(received.message, name)
}

#[track_caller]
fn read_call(message: Message, name: &str) -> ([u8; 16], String) {
    let Message { properties, application_properties, body, .. } = message;
    let expected = [(NAME.to_owned(), Value::String(name.to_owned()))];
    assert_eq!(application_properties, expected);
    let Some(MessageId::Uuid(id)) = properties.and_then(|of| of.correlation_id) else {
        panic!("the correlation-id is no uuid");
    };
    match body {
        Body::Data(sections) if sections.len() == 1 => (id, text(&sections[0])),
        other => panic!("one data section, not {other:?}"),
    }
}

fn result(id: MessageId, status: Value, payload: &str) -> Message {
    Message {
        properties: Some(Box::new(Properties {
            correlation_id: Some(id),
            ..Properties::default()
        })),
        application_properties: vec![(STATUS.to_owned(), status)],
        body: Body::Data(vec![payload.to_owned().into()]),
        ..Message::default()
    }
}

fn answer(status: i32, payload: &str) -> Option<MethodAnswer> {
    Some(MethodAnswer { status, payload: payload.as_bytes().to_vec() })
}

#[tokio::test]
async fn a_call_reaches_the_device_and_its_answer_the_caller() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    let reply = scene.call(DEVICE, "reboot", r#"{"delay":1.50}"#).await;
    let (id, payload) = called(&mut client, "reboot").await;
    assert_eq!(payload, r#"{"delay":1.50}"#);
    let message = result(MessageId::Uuid(id), Value::Int(200), r#"{"ok":true}"#);
    client.send_accepted(0, TO_US, &message).await;
    assert_eq!(reply.wait().await, answer(200, r#"{"ok":true}"#));
    client.close().await;
}

#[tokio::test]
async fn calls_are_answered_in_any_order_and_with_any_integer() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    let statuses = [
        (Value::Long(-2), -2),
        (Value::Ubyte(200), 200),
        (Value::Ulong(404), 404),
        (Value::String("501".to_owned()), 501),
    ];
    let mut calls = Vec::new();
    for _ in &statuses {
        let reply = scene.call(DEVICE, "slow", "null").await;
        calls.push((called(&mut client, "slow").await.0, reply));
    }
    for ((id, reply), (status, expected)) in calls.into_iter().zip(statuses).rev() {
        let message = result(MessageId::Uuid(id), status, "");
        client.send_accepted(0, TO_US, &message).await;
        assert_eq!(reply.wait().await, answer(expected, ""));
    }
    // The same uuid as text and as bytes.
    let as_text = |id: [u8; 16]| MessageId::String(content::guid_text(&id));
    let as_bytes = |id: [u8; 16]| MessageId::Binary(Bytes::copy_from_slice(&id));
    for written in [as_text as fn([u8; 16]) -> MessageId, as_bytes] {
        let reply = scene.call(DEVICE, "slow", "null").await;
        let (id, _) = called(&mut client, "slow").await;
        client.send_accepted(0, TO_US, &result(written(id), Value::Int(1), "1")).await;
        assert_eq!(reply.wait().await, answer(1, "1"));
    }
    client.close().await;
}

#[tokio::test]
async fn a_device_takes_methods_while_it_has_both_links() {
    let scene = scene().await;
    let mut client = device(&scene).await;
    client.attach(named(Wish::receiver(0, TO_IT, METHODS))).await;
    let call = MethodCall {
        name: "reboot".to_owned(),
        payload: "null".to_owned(),
        response_timeout_secs: 30,
        connect_timeout_secs: 0,
    };
    let offline = async || {
        let called = scene.app.call_method(&scene.hub, &id(DEVICE), &call).await;
        matches!(called, Err(No::Refused(HubRefusal::DeviceNotOnline(_))))
    };
    assert!(offline().await);
    client.attach(named(Wish::sender(0, TO_US, METHODS))).await;
    taken(&scene).await;
    let reply = scene.call(DEVICE, "reboot", "null").await;
    let (id, _) = called(&mut client, "reboot").await;
    // Whoever waits when a link goes waits for nothing.
    client.detach(0, TO_IT).await;
    assert_eq!(reply.wait().await, None);
    assert!(offline().await);
    let late = result(MessageId::Uuid(id), Value::Int(200), "");
    client.send_accepted(0, TO_US, &late).await;
    client.close().await;
}

#[tokio::test]
async fn a_caller_hears_when_there_will_be_no_answer() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    let argument = "com.microsoft:argument-error";
    let good = || result(MessageId::Uuid([0; 16]), Value::Int(200), "");
    let large = Body::Data(vec![vec![b'x'; MAX_ANSWER_BYTES + 1].into()]);
    let status = |status| vec![(STATUS.to_owned(), status)];
    let bad = [
        ("amqp:link:message-size-exceeded", Message { body: large, ..good() }),
        (argument, Message { application_properties: Vec::new(), ..good() }),
        (argument, Message { application_properties: status(Value::Long(1 << 40)), ..good() }),
        (argument, Message { application_properties: status(Value::Bool(true)), ..good() }),
        (argument, Message { body: Body::Sequence(vec![vec![Value::Null]]), ..good() }),
    ];
    for (condition, mut message) in bad {
        let reply = scene.call(DEVICE, "reboot", "null").await;
        let (id, _) = called(&mut client, "reboot").await;
        message.properties.as_mut().expect("some").correlation_id = Some(MessageId::Uuid(id));
        let error = client.send_rejected(0, TO_US, &message).await;
        assert_eq!(error.condition, condition, "{error:?}");
        assert_eq!(reply.wait().await, None, "{condition}");
    }
    // It leaves.
    let reply = scene.call(DEVICE, "reboot", "null").await;
    called(&mut client, "reboot").await;
    client.close().await;
    assert_eq!(reply.wait().await, None);
    // It is disabled; what it answers then has no effect.
    let mut client = listening(&scene).await;
    let reply = scene.call(DEVICE, "reboot", "null").await;
    let (id, _) = called(&mut client, "reboot").await;
    scene.rewrite(DEVICE, "disabled", (KEY, OTHER_KEY)).await;
    let late = result(MessageId::Uuid(id), Value::Int(200), "");
    client.try_send_encoded(0, TO_US, &encode_message(&late)).await;
    assert_eq!(reply.wait().await, None);
    client.closed().await;
}

#[tokio::test]
async fn a_call_the_device_does_not_take_has_no_answer() {
    let scene = scene().await;
    let mut client = device(&scene).await;
    client.attach(named(Wish::sender(0, TO_US, METHODS))).await;
    let sender_settle = SenderSettle::Unsettled;
    client.attach(named(Wish { sender_settle, ..Wish::receiver(0, TO_IT, METHODS) })).await;
    taken(&scene).await;
    for outcome in [Outcome::Rejected(None), Outcome::Released] {
        let reply = scene.call(DEVICE, "reboot", "null").await;
        let received = client.receive(0, TO_IT).await;
        assert!(!received.is_settled);
        client.settle(0, received.delivery_id, outcome).await;
        assert_eq!(reply.wait().await, None);
    }
    let reply = scene.call(DEVICE, "reboot", "null").await;
    let (id, _) = read_call(client.receive_accepted(0, TO_IT).await, "reboot");
    client.send_accepted(0, TO_US, &result(MessageId::Uuid(id), Value::Int(200), "")).await;
    assert_eq!(reply.wait().await, answer(200, ""));
    client.close().await;
}

#[tokio::test]
async fn an_answer_to_nothing_is_tolerated_and_one_without_an_id_is_not() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    let stray = result(MessageId::Uuid([9; 16]), Value::Int(200), "1");
    client.send_accepted(0, TO_US, &stray).await;
    let nameless = [
        Message { properties: None, ..stray.clone() },
        result(MessageId::Ulong(1), Value::Int(200), ""),
        result(MessageId::String("reboot".to_owned()), Value::Int(200), ""),
    ];
    for message in nameless {
        let error = client.send_rejected(0, TO_US, &message).await;
        assert_eq!(error.condition, "com.microsoft:argument-error");
    }
    client.close().await;
}

#[tokio::test]
async fn beyond_the_bound_of_calls_the_caller_hears_at_once() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    let mut replies = Vec::new();
    for _ in 0..MAX_CALLS {
        replies.push(scene.call(DEVICE, "slow", "null").await);
        called(&mut client, "slow").await;
    }
    let one_more = scene.call(DEVICE, "slow", "null").await;
    assert_eq!(one_more.wait().await, None);
    client.close().await;
}

#[tokio::test]
async fn a_call_nobody_waits_for_any_more_is_not_carried_out_later() {
    let scene = scene().await;
    let mut client = device(&scene).await;
    client.attach(named(Wish::sender(0, TO_US, METHODS))).await;
    // It takes no messages yet.
    let wish = named(Wish::receiver(0, TO_IT, METHODS));
    client.send_attach(&wish).await;
    client.attached(&wish).await;
    taken(&scene).await;
    let given_up = scene.call(DEVICE, "open", "1").await;
    let reply = scene.call(DEVICE, "open", "2").await;
    drop(given_up);
    client.give_credit(0, TO_IT, 1).await;
    let (id, payload) = called(&mut client, "open").await;
    assert_eq!(payload, "2");
    client.send_accepted(0, TO_US, &result(MessageId::Uuid(id), Value::Int(200), "")).await;
    assert_eq!(reply.wait().await, answer(200, ""));
    // Its credit is used up: the next one waits for more.
    let reply = scene.call(DEVICE, "open", "3").await;
    client.send_flow(0, TO_IT, 1, 5, false).await;
    let (id, payload) = called(&mut client, "open").await;
    assert_eq!(payload, "3");
    client.send_accepted(0, TO_US, &result(MessageId::Uuid(id), Value::Int(200), "")).await;
    assert_eq!(reply.wait().await, answer(200, ""));
    let reply = scene.call(DEVICE, "open", "4").await;
    assert_eq!(called(&mut client, "open").await.1, "4");
    client.close().await;
    assert_eq!(reply.wait().await, None);
}

#[tokio::test]
async fn calls_that_wait_for_a_device_to_read_are_bounded_and_end_with_it() {
    let scene = scene().await;
    let mut client = device(&scene).await;
    client.attach(named(Wish::sender(0, TO_US, METHODS))).await;
    let wish = named(Wish::receiver(0, TO_IT, METHODS));
    client.send_attach(&wish).await;
    client.attached(&wish).await;
    taken(&scene).await;
    let mut replies = Vec::new();
    for _ in 0..MAX_CALLS {
        replies.push(scene.call(DEVICE, "slow", "null").await);
        // The device is told in its turn.
        tokio::task::yield_now().await;
    }
    let one_more = scene.call(DEVICE, "slow", "null").await;
    assert_eq!(one_more.wait().await, None);
    client.detach(0, TO_IT).await;
    for reply in replies {
        assert_eq!(reply.wait().await, None);
    }
    client.close().await;
}
