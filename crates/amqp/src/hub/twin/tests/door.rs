//! Twins through the whole door, over a real store.

use bytes::Bytes;
use model::Json;

use crate::{
    proto::{
        self, Body, Message, MessageId, Outcome, Properties, SenderSettle, Value, encode_message,
    },
    tests::{
        client::{Client, Wish},
        scene::{DEVICE, KEY, OTHER_KEY, Scene, scene, text},
    },
};

const TWIN: &str = "/devices/dev1/twin";
const CHANNEL: &str = "com.microsoft:channel-correlation-id";
const REPORTED: &str = "/properties/reported";
const DESIRED: &str = "/notifications/twin/properties/desired";
/// The handles of the device's pair.
const TO_US: u32 = 0;
const TO_IT: u32 = 1;

/// A device that has shown who it is and has no links yet.
async fn device(scene: &Scene) -> Client {
    scene.logged_in("dev1@sas.hub-1", &scene.token(DEVICE)).await
}

/// A device with a pair of twin links, as C's and C#'s clients attach them.
async fn paired(scene: &Scene) -> Client {
    let mut client = device(scene).await;
    client.attach(Wish::sender(0, TO_US, TWIN).with(CHANNEL, "twin:1")).await;
    client.attach(Wish::receiver(0, TO_IT, TWIN).with(CHANNEL, "twin:1")).await;
    client
}

fn asking(operation: &str, resource: Option<&str>, body: &str, id: MessageId) -> Message {
    let symbol = |name: &str| Value::Symbol(name.to_owned());
    let mut annotations = vec![(symbol("operation"), Value::String(operation.to_owned()))];
    annotations
        .extend(resource.map(|resource| (symbol("resource"), Value::String(resource.to_owned()))));
    Message {
        message_annotations: annotations,
        properties: Some(Box::new(Properties {
            correlation_id: Some(id),
            ..Properties::default()
        })),
        body: Body::Data(vec![body.to_owned().into()]),
        ..Message::default()
    }
}

fn called(id: &str) -> MessageId {
    MessageId::String(id.to_owned())
}

fn get(id: &str) -> Message {
    asking("GET", None, " ", called(id))
}

fn report(patch: &str, id: &str) -> Message {
    asking("PATCH", Some(REPORTED), patch, called(id))
}

/// An answer: status, version, body. Everything else in it has to be as clients want it.
#[track_caller]
fn answered(message: Message, id: &MessageId) -> (i32, Option<i64>, String) {
    let Message { message_annotations, properties, body, .. } = message;
    assert_eq!(properties.and_then(|of| of.correlation_id).as_ref(), Some(id));
    let Some(Value::Int(status)) = proto::find(&message_annotations, "status") else {
        panic!("the status is no int: {message_annotations:?}");
    };
    let is_symbol = |(key, _): &(Value, Value)| matches!(key, Value::Symbol(_));
    assert!(message_annotations.iter().all(is_symbol), "C's client takes no other keys");
    let version = proto::find(&message_annotations, "version").map(|version| match version {
        Value::Long(version) => *version,
        other => panic!("the version is no long: {other:?}"),
    });
    (*status, version, body_of(body))
}

#[track_caller]
fn body_of(body: Body) -> String {
    match body {
        Body::Data(sections) if sections.len() == 1 => text(&sections[0]),
        other => panic!("one data section, not {other:?}"),
    }
}

/// Asks, and expects that the message is accepted and the answer comes.
async fn ask(client: &mut Client, message: &Message) -> (i32, Option<i64>, String) {
    client.send_accepted(0, TO_US, message).await;
    let received = client.receive(0, TO_IT).await;
    assert!(received.is_settled, "nobody wants to hear of an answer");
    assert_eq!(received.tag.len(), 16);
    let id = message.properties.as_ref().and_then(|of| of.correlation_id.clone());
    answered(received.message, &id.expect("a correlation-id"))
}

/// A change of desired properties: its version and its text.
async fn changed(client: &mut Client, handle: u32) -> (i64, String) {
    let Message { message_annotations, properties, body, .. } =
        client.receive(0, handle).await.message;
    assert_eq!(properties, None, "a correlation-id would make it an answer");
    let Some(Value::Long(version)) = proto::find(&message_annotations, "version") else {
        panic!("no version: {message_annotations:?}");
    };
    (*version, body_of(body))
}

async fn subscribe(client: &mut Client) {
    let put = asking("PUT", Some(DESIRED), "", called("put"));
    assert_eq!(ask(client, &put).await, (200, None, String::new()));
}

#[tokio::test]
async fn a_device_reads_its_twin_and_the_answer_keeps_the_requests_id_and_its_type() {
    let scene = scene().await;
    scene.desire(DEVICE, r#"{"speed":1.50}"#).await;
    let mut client = paired(&scene).await;
    let expected = r#"{"desired":{"speed":1.50,"$version":2},"reported":{"$version":1}}"#;
    let ids = [
        called("a"),
        MessageId::Ulong(u64::MAX),
        MessageId::Uuid([7; 16]),
        MessageId::Binary(Bytes::from_static(b"\xff")),
    ];
    for id in ids {
        let answer = ask(&mut client, &asking("GET", None, " ", id)).await;
        assert_eq!(answer, (200, None, expected.to_owned()));
    }
    client.close().await;
}

#[tokio::test]
async fn a_report_is_written_before_it_is_answered_with_its_version() {
    let scene = scene().await;
    let mut client = paired(&scene).await;
    let answer = ask(&mut client, &report(r#"{"speed":2}"#, "1")).await;
    assert_eq!(answer, (204, Some(2), String::new()));
    let written = async || scene.device(DEVICE).await.twin.reported.content.to_string();
    assert_eq!(written().await, r#"{"speed":2}"#);
    // Node's client sends it as a text.
    let body = Body::Value(Value::String(r#"{"speed":null,"load":3}"#.to_owned()));
    let answer = ask(&mut client, &Message { body, ..report("", "2") }).await;
    assert_eq!(answer, (204, Some(3), String::new()));
    assert_eq!(written().await, r#"{"load":3}"#);
    client.close().await;
}

#[tokio::test]
async fn requests_are_answered_in_the_order_they_came() {
    let scene = scene().await;
    let mut client = paired(&scene).await;
    for n in 0..10 {
        client.send(0, TO_US, &report(&format!(r#"{{"n":{n}}}"#), "report")).await;
        client.send(0, TO_US, &get("get")).await;
    }
    for n in 0_u32..10 {
        assert_eq!(client.outcome(0, 2 * n).await, Outcome::Accepted);
        let (status, ..) = answered(client.receive(0, TO_IT).await.message, &called("report"));
        assert_eq!(status, 204);
        assert_eq!(client.outcome(0, 2 * n + 1).await, Outcome::Accepted);
        let (_, _, twin) = answered(client.receive(0, TO_IT).await.message, &called("get"));
        assert!(twin.contains(&format!(r#""n":{n},"#)), "{twin}");
    }
    client.close().await;
}

#[tokio::test]
async fn changes_are_told_from_the_subscription_to_its_end() {
    let scene = scene().await;
    let mut client = paired(&scene).await;
    scene.desire(DEVICE, r#"{"early":1}"#).await;
    subscribe(&mut client).await;
    scene.desire(DEVICE, r#"{"a":1,"b":null}"#).await;
    scene.desire(DEVICE, r#"{"a":2}"#).await;
    let text = |version: u32, patch: &str| format!(r#"{{{patch},"$version":{version}}}"#);
    assert_eq!(changed(&mut client, TO_IT).await, (3, text(3, r#""a":1,"b":null"#)));
    assert_eq!(changed(&mut client, TO_IT).await, (4, text(4, r#""a":2"#)));
    let delete = asking("DELETE", Some(DESIRED), "", called("delete"));
    assert_eq!(ask(&mut client, &delete).await, (200, None, String::new()));
    scene.desire(DEVICE, r#"{"late":1}"#).await;
    // The next that comes is an answer.
    assert_eq!(ask(&mut client, &get("after")).await.0, 200);
    client.close().await;
}

#[tokio::test]
async fn who_subscribes_twice_hears_once_and_nobody_without_links() {
    let scene = scene().await;
    let mut client = paired(&scene).await;
    subscribe(&mut client).await;
    subscribe(&mut client).await;
    scene.desire(DEVICE, r#"{"a":1}"#).await;
    changed(&mut client, TO_IT).await;
    // The subscription ends with the link it was asked for on.
    client.detach(0, TO_US).await;
    client.attach(Wish::sender(0, 2, TWIN).with(CHANNEL, "twin:1")).await;
    scene.desire(DEVICE, r#"{"a":2}"#).await;
    client.send_accepted(0, 2, &get("after")).await;
    let answer = answered(client.receive(0, TO_IT).await.message, &called("after"));
    assert_eq!(answer.0, 200);
    client.close().await;
}

#[tokio::test]
async fn an_answer_goes_to_the_pair_that_was_asked_on() {
    let scene = scene().await;
    let mut client = device(&scene).await;
    for (to_us, to_it, name) in [(0, 1, "twin:a"), (2, 3, "twin:b")] {
        client.attach(Wish::receiver(0, to_it, TWIN).with(CHANNEL, name)).await;
        client.attach(Wish::sender(0, to_us, TWIN).with(CHANNEL, name)).await;
    }
    for (to_us, to_it) in [(2, 3), (0, 1)] {
        client.send_accepted(0, to_us, &get("where")).await;
        answered(client.receive(0, to_it).await.message, &called("where"));
    }
    let put = asking("PUT", Some(DESIRED), "", called("put"));
    client.send_accepted(0, 2, &put).await;
    client.receive(0, 3).await;
    scene.desire(DEVICE, r#"{"a":1}"#).await;
    changed(&mut client, 3).await;
    client.send_accepted(0, 0, &put).await;
    client.receive(0, 1).await;
    scene.desire(DEVICE, r#"{"a":2}"#).await;
    assert_eq!(changed(&mut client, 3).await.0, 3);
    assert_eq!(changed(&mut client, 1).await.0, 3);
    client.close().await;
}

#[tokio::test]
async fn a_device_that_names_no_pair_has_one_and_may_insist_on_settling() {
    let scene = scene().await;
    let mut client = device(&scene).await;
    client.attach_sender(0, TO_US, TWIN).await;
    let sender_settle = SenderSettle::Unsettled;
    client.attach(Wish { sender_settle, ..Wish::receiver(0, TO_IT, TWIN) }).await;
    client.send_accepted(0, TO_US, &get("1")).await;
    answered(client.receive_accepted(0, TO_IT).await, &called("1"));
    client.close().await;
}

#[tokio::test]
async fn a_request_without_an_id_is_done_and_not_answered() {
    let scene = scene().await;
    let mut client = paired(&scene).await;
    let silent = Message { properties: None, ..report(r#"{"a":1}"#, "") };
    client.send_accepted(0, TO_US, &silent).await;
    let (_, _, twin) = ask(&mut client, &get("1")).await;
    assert!(twin.contains(r#""reported":{"a":1,"$version":2}"#), "{twin}");
    // With nowhere to answer it is done as well.
    client.detach(0, TO_IT).await;
    client.send_accepted(0, TO_US, &report(r#"{"a":2}"#, "2")).await;
    assert_eq!(scene.device(DEVICE).await.twin.reported.content.to_string(), r#"{"a":2}"#);
    client.close().await;
}

#[tokio::test]
async fn what_is_refused_is_answered_with_the_error_that_every_client_reads() {
    let scene = scene().await;
    let mut client = paired(&scene).await;
    let of_version = |version: i64| {
        let mut message = report(r#"{"a":1}"#, "1");
        message
            .message_annotations
            .push((Value::Symbol("version".to_owned()), Value::Long(version)));
        message
    };
    assert_eq!(ask(&mut client, &of_version(1)).await.0, 204);
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(4097));
    let cases = [
        (report("{", "1"), 400, 400_006),
        (report("[]", "1"), 400, 400_006),
        (report(&long, "1"), 400, 400_004),
        (of_version(1), 412, 412_001),
        (of_version(-1), 400, 400_004),
        (asking("POST", Some(REPORTED), "{}", called("1")), 400, 400_004),
        (asking("PUT", Some(REPORTED), "{}", called("1")), 400, 400_004),
    ];
    for (message, status, number) in cases {
        let (found, version, body) = ask(&mut client, &message).await;
        assert_eq!((found, version), (status, None), "{body}");
        let Ok(Json::Object(members)) = json(&body) else { panic!("no JSON object: {body}") };
        let code = members.iter().find(|(name, _)| name == "errorCode").map(|(_, code)| code);
        assert_eq!(code.map(ToString::to_string), Some(number.to_string()), "{body}");
    }
    client.close().await;
}

fn json(text: &str) -> Result<Json, model::HubRefusal> {
    wire::hub::parse_reported(text.as_bytes())
}

#[tokio::test]
async fn bytes_that_are_no_message_are_rejected_and_the_link_goes_on() {
    let scene = scene().await;
    let mut client = paired(&scene).await;
    let sent = client.send_encoded(0, TO_US, 0, b"\0Sx").await;
    let Outcome::Rejected(Some(error)) = client.outcome(0, sent).await else { panic!("taken") };
    assert_eq!(error.condition, "amqp:decode-error");
    assert_eq!(ask(&mut client, &get("1")).await.0, 200);
    client.close().await;
}

#[tokio::test]
async fn a_fault_of_ours_is_answered_too() {
    let scene = scene().await;
    let mut client = paired(&scene).await;
    scene.break_store();
    let (status, version, body) = ask(&mut client, &report(r#"{"a":1}"#, "1")).await;
    assert_eq!((status, version), (500, None));
    assert!(body.contains(r#""errorCode":500001"#), "{body}");
}

#[tokio::test]
async fn nothing_a_cut_off_device_reports_is_written() {
    let scene = scene().await;
    let mut client = paired(&scene).await;
    assert_eq!(ask(&mut client, &report(r#"{"a":1}"#, "1")).await.0, 204);
    scene.rewrite(DEVICE, "disabled", (KEY, OTHER_KEY)).await;
    // The door may have closed by now.
    let late = encode_message(&report(r#"{"a":2}"#, "2"));
    client.try_send_encoded(0, TO_US, &late).await;
    client.closed().await;
    assert_eq!(scene.device(DEVICE).await.twin.reported.content.to_string(), r#"{"a":1}"#);
}
