use bytes::Bytes;

use super::*;
use crate::{
    errors,
    tests::{
        client::Client,
        scene::{DEVICE, HUB, KEY, OTHER_KEY, Scene, scene},
    },
};

/// Attaches the token links of a connection, on handles 0 and 1 of this channel.
pub(crate) async fn attach_token_links(client: &mut Client, channel: u16) {
    client.attach_sender(channel, 0, "$cbs").await;
    client.attach_receiver(channel, 1, "$cbs").await;
    // An answer to each token of a crowd.
    client.give_credit(channel, 1, 10_000).await;
}

/// Shows a token on the token links of this channel: status and description of the answer.
pub(crate) async fn put_token(client: &mut Client, channel: u16, token: &str) -> (i32, String) {
    ask(client, channel, &asking(token)).await
}

/// The request that shows a token.
fn asking(token: &str) -> Message {
    let text = |text: &str| Value::String(text.to_owned());
    Message {
        properties: Some(Box::new(Properties {
            message_id: Some(MessageId::String("m1".to_owned())),
            reply_to: Some("cbs".to_owned()),
            ..Properties::default()
        })),
        application_properties: vec![
            ("operation".to_owned(), text("put-token")),
            ("type".to_owned(), text(TOKEN_TYPE)),
            ("name".to_owned(), text("of no matter")),
        ],
        body: Body::Value(text(token)),
        ..Message::default()
    }
}

async fn ask(client: &mut Client, channel: u16, request: &Message) -> (i32, String) {
    client.send_accepted(channel, 0, request).await;
    answer_to(client, channel, request).await
}

/// Expects an answer to this request, in all that clients look at (H §4.3.3).
async fn answer_to(client: &mut Client, channel: u16, request: &Message) -> (i32, String) {
    let answer = client.receive(channel, 1).await;
    assert_eq!(answer.tag.len(), 16);
    let Message { properties, application_properties, body, .. } = answer.message;
    let asked = request.properties.as_ref().and_then(|of| of.message_id.clone());
    assert_eq!(properties.and_then(|of| of.correlation_id), asked);
    assert_eq!(body, Body::Value(Value::Null));
    match &application_properties[..] {
        [(status, Value::Int(code)), (description, Value::String(text))] => {
            assert_eq!(
                (status.as_str(), description.as_str()),
                ("status-code", "status-description")
            );
            (*code, text.clone())
        }
        other => panic!("{other:?}"),
    }
}

async fn shown(scene: &Scene) -> Client {
    let mut client = scene.connected().await;
    attach_token_links(&mut client, 0).await;
    client
}

#[tokio::test]
async fn an_answer_has_its_requests_id_with_the_type_it_came_with() {
    let scene = scene().await;
    let mut client = shown(&scene).await;
    let ids = [
        MessageId::String("4d6f…".to_owned()),
        MessageId::Ulong(0),
        MessageId::Ulong(u64::MAX),
        MessageId::Uuid([7; 16]),
        MessageId::Binary(Bytes::from_static(b"\xff\x00")),
    ];
    for id in ids {
        let mut request = asking(&scene.token(DEVICE));
        request.properties =
            Some(Box::new(Properties { message_id: Some(id), ..Properties::default() }));
        assert_eq!(ask(&mut client, 0, &request).await, (200, "OK".to_owned()));
    }
    let nameless = Message { properties: None, ..asking(&scene.token(DEVICE)) };
    assert_eq!(ask(&mut client, 0, &nameless).await.0, 200);
    client.close().await;
}

#[tokio::test]
async fn a_token_is_good_when_the_device_could_connect_with_it() {
    let scene = scene().await;
    scene.put_device("off").await;
    scene.rewrite("off", "disabled", (KEY, OTHER_KEY)).await;
    let thumbprint = "A".repeat(64);
    let certified = format!(
        r#"{{"deviceId":"x509","authentication":{{"type":"selfSigned","x509Thumbprint":{{"primaryThumbprint":"{thumbprint}"}}}}}}"#
    );
    scene.put(&certified, model::Precondition::None).await;
    let with_policy = async |policy, resource: &str| scene.policy_token(policy, resource).await;
    let dev1 = format!("{HUB}/devices/{DEVICE}");
    let of = |resource: &str| scene.token_of(resource, KEY, 600, None);
    let cases = [
        (scene.token(DEVICE), 200),
        (scene.token_for(DEVICE, OTHER_KEY, 600), 200),
        (of(&format!("amqps://{HUB}:5671/devices/{DEVICE}")), 200),
        (with_policy("device", &dev1).await, 200),
        (with_policy("device", HUB).await, 200),
        (with_policy("service", HUB).await, 200),
        (with_policy("service", &format!("{HUB}/messages/devicebound")).await, 200),
        (with_policy("iothubowner", &format!("amqps://{HUB}/")).await, 200),
        (scene.token_for(DEVICE, KEY, -1), 401),
        (scene.token_for(DEVICE, "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=", 600), 401),
        (scene.token("nobody"), 401),
        (scene.token("x509"), 401),
        (of(&format!("hub-2.example.test/devices/{DEVICE}")), 401),
        (of(HUB), 401),
        (of("hub"), 401),
        (of(&format!("{HUB}/devices/{}", "x".repeat(200))), 401),
        (with_policy("service", &dev1).await, 401),
        (with_policy("registryRead", HUB).await, 401),
        (scene.token_of(HUB, KEY, 600, Some("device")), 401),
        (scene.token_of(HUB, KEY, 600, Some("nobody")), 401),
        ("SharedAccessSignature sr=x".to_owned(), 401),
        (String::new(), 401),
        // Only who holds the key hears that the device is disabled (H §4.3.3).
        (scene.token("off"), 404),
        (scene.token_for("off", "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=", 600), 401),
        // There is no such module, or it cannot be called so.
        (of(&format!("{HUB}/devices/{DEVICE}/modules/m1")), 401),
        (of(&format!("{HUB}/devices/{DEVICE}/modules/$edgeAgent")), 401),
        (of(&format!("{HUB}/devices/{DEVICE}/modules/m1/twin")), 401),
    ];
    let mut client = shown(&scene).await;
    for (token, expected) in &cases {
        let (status, description) = put_token(&mut client, 0, token).await;
        assert_eq!(status, *expected, "{description}");
        // It says why, and holds nothing of what was shown.
        assert!(!description.is_empty() && !description.contains("sig="), "{description}");
    }
    assert_eq!(scene.app.n_sessions(), 0);
    client.close().await;
}

#[tokio::test]
async fn a_device_that_is_deleted_meanwhile_hears_so_and_a_stranger_does_not() {
    let scene = scene().await;
    let mut client = shown(&scene).await;
    assert_eq!(put_token(&mut client, 0, &scene.token(DEVICE)).await.0, 200);
    scene.delete_device(DEVICE).await;
    assert_eq!(put_token(&mut client, 0, &scene.token(DEVICE)).await.0, 404);
    let mut other = shown(&scene).await;
    assert_eq!(put_token(&mut other, 0, &scene.token(DEVICE)).await.0, 401);
}

#[tokio::test]
async fn what_is_no_token_request_is_told_what_it_is_not() {
    let scene = scene().await;
    let mut client = shown(&scene).await;
    let text = |text: &str| Value::String(text.to_owned());
    let good = asking(&scene.token(DEVICE));
    let with = |name: &str, value: Option<Value>| {
        let mut request = good.clone();
        request.application_properties.retain(|(of, _)| of != name);
        request.application_properties.extend(value.map(|value| (name.to_owned(), value)));
        request
    };
    let of = |body| Message { body, ..good.clone() };
    let token = scene.token(DEVICE).into_bytes();
    let cases = [
        (with("operation", Some(text("get-token"))), 400),
        (with("operation", None), 400),
        (with("operation", Some(Value::Int(1))), 400),
        (with("type", Some(text("jwt"))), 400),
        (with("type", Some(text("servicebus.windows.net:swt"))), 400),
        (with("type", None), 200),
        (with("name", None), 200),
        (of(Body::None), 400),
        (of(Body::Value(Value::Int(1))), 400),
        (of(Body::Value(Value::Binary(Bytes::from_static(b"\xff")))), 400),
        (of(Body::Sequence(Vec::new())), 400),
        (of(Body::Value(Value::Binary(token.clone().into()))), 200),
        (of(Body::Data(vec![token.into()])), 200),
        (of(Body::Value(text(&"x".repeat(8000)))), 401),
    ];
    for (request, expected) in &cases {
        let (status, description) = ask(&mut client, 0, request).await;
        assert_eq!(status, *expected, "{description}");
    }
    let sent = client.send_encoded(0, 0, 0, b"no message").await;
    match client.outcome(0, sent).await {
        Outcome::Rejected(Some(error)) => assert_eq!(error.condition, errors::DECODE),
        other => panic!("{other:?}"),
    }
    assert_eq!(ask(&mut client, 0, &good).await.0, 200);
    client.close().await;
}

#[tokio::test]
async fn requests_are_answered_in_the_order_they_came() {
    let scene = scene().await;
    let mut client = shown(&scene).await;
    let requests: Vec<Message> = (0..10)
        .map(|n| {
            // Every other one is refused without a look into the store.
            let token = if n % 2 == 0 { scene.token(DEVICE) } else { "none".to_owned() };
            let id = Some(MessageId::Ulong(n));
            let properties = Properties { message_id: id, ..Properties::default() };
            Message { properties: Some(Box::new(properties)), ..asking(&token) }
        })
        .collect();
    let mut sent = Vec::new();
    for request in &requests {
        sent.push(client.send(0, 0, request).await);
    }
    for (n, (request, sent)) in requests.iter().zip(sent).enumerate() {
        assert_eq!(client.outcome(0, sent).await, Outcome::Accepted);
        let expected = if n % 2 == 0 { 200 } else { 401 };
        assert_eq!(answer_to(&mut client, 0, request).await.0, expected);
    }
}

#[tokio::test]
async fn a_token_that_is_taken_back_opens_no_more_links() {
    let scene = scene().await;
    let mut client = shown(&scene).await;
    put_token(&mut client, 0, &scene.token(DEVICE)).await;
    client.begin(1).await;
    let address = format!("/devices/{DEVICE}/messages/events");
    client.attach_sender(1, 0, &address).await;
    let delete = |name: &str| {
        let text = |text: &str| Value::String(text.to_owned());
        Message {
            application_properties: vec![
                ("operation".to_owned(), text("delete-token")),
                ("name".to_owned(), text(name)),
            ],
            body: Body::None,
            ..asking("")
        }
    };
    let name = format!("{HUB}%2Fdevices%2F{DEVICE}");
    assert_eq!(ask(&mut client, 0, &delete(&name)).await.0, 200);
    assert_eq!(ask(&mut client, 0, &delete("nonsense")).await.0, 401);
    // What it opened goes on.
    client.send_accepted(1, 0, &Message::default()).await;
    client.detach(1, 0).await;
    let wish = crate::tests::client::Wish::sender(1, 1, &address);
    client.attach_refused(wish, errors::UNAUTHORIZED).await;
}

#[tokio::test]
async fn no_more_devices_than_there_may_be_show_their_tokens() {
    let settings =
        crate::AmqpSettings { max_devices_per_connection: 2, ..crate::AmqpSettings::default() };
    let scene = crate::tests::scene::scene_with(settings).await;
    let mut client = shown(&scene).await;
    for n in 1..=3 {
        let name = format!("d{n}");
        scene.put_device(&name).await;
        assert_eq!(put_token(&mut client, 0, &scene.token(&name)).await.0, 200);
        if n > 1 {
            // The first one has no session, and its token went for the third.
            client.begin(n).await;
            client.attach_sender(n, 0, &format!("/devices/{name}/messages/events")).await;
        }
    }
    assert_eq!(put_token(&mut client, 0, &scene.token("d1")).await.0, 403);
    client.detach(3, 0).await;
    // A round trip, after which the session is over.
    put_token(&mut client, 0, &scene.token("d2")).await;
    assert_eq!(put_token(&mut client, 0, &scene.token("d1")).await.0, 200);
}
