//! The service side through the whole door, over a real store (H §5.8).

mod access;
mod feedback;
mod messages;

use crate::{
    proto::{Body, Message, MessageId, Properties, Value},
    tests::{
        client::Client,
        scene::{HUB, Scene},
    },
};

const DEVICEBOUND: &str = "/messages/devicebound";
const FEEDBACK: &str = "/messages/serviceBound/feedback";
const FILES: &str = "/messages/serviceBound/filenotifications";

/// The handles of the token links.
const TOKENS_TO_US: u32 = 100;
const TOKENS_FROM_US: u32 = 101;

/// A service that logged in with PLAIN, as C's client does.
async fn service(scene: &Scene) -> Client {
    let token = scene.policy_token("service", HUB).await;
    scene.logged_in("service@sas.root.hub-1", &token).await
}

/// A client with token links, as all others have them.
async fn with_token_links(scene: &Scene) -> Client {
    let mut client = scene.connected().await;
    client.attach_sender(0, TOKENS_TO_US, "$cbs").await;
    client.attach_receiver(0, TOKENS_FROM_US, "$cbs").await;
    client
}

/// Shows a token; the answer's status code.
async fn put_token(client: &mut Client, token: &str) -> i32 {
    let text = |text: &str| Value::String(text.to_owned());
    let request = Message {
        properties: Some(Box::new(Properties {
            message_id: Some(MessageId::Ulong(1)),
            ..Properties::default()
        })),
        application_properties: vec![
            ("operation".to_owned(), text("put-token")),
            ("type".to_owned(), text("servicebus.windows.net:sastoken")),
            ("name".to_owned(), text(HUB)),
        ],
        body: Body::Value(text(token)),
        ..Message::default()
    };
    client.send_accepted(0, TOKENS_TO_US, &request).await;
    let answer = client.receive(0, TOKENS_FROM_US).await.message;
    let status = answer.application_properties.iter().find(|(name, _)| name == "status-code");
    match status {
        Some((_, Value::Int(status))) => *status,
        other => panic!("no status: {other:?}"),
    }
}

/// A message for a device.
fn message(to: &str, body: &str) -> Message {
    Message {
        properties: Some(Box::new(Properties {
            to: Some(format!("/devices/{to}/messages/devicebound")),
            ..Properties::default()
        })),
        body: Body::Data(vec![body.to_owned().into()]),
        ..Message::default()
    }
}
