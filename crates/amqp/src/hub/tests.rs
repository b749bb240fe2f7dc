//! Devices on a hub, through the whole door and over a real store.

mod connect;
mod crowd;
mod ends;
mod memory;
mod messages;
mod modules;
mod renewal;
mod telemetry;

use std::time::Duration;

use crate::{
    cbs::tests::{attach_token_links, put_token},
    proto::{Body, Message},
    tests::{
        client::Client,
        scene::{DEVICE, Scene},
    },
};

/// The session of the tests' device; the token links are on session 0.
const CHANNEL: u16 = 1;

fn events(id: &str) -> String {
    format!("/devices/{id}/messages/events")
}

fn devicebound(id: &str) -> String {
    format!("/devices/{id}/messages/devicebound")
}

fn body(text: &str) -> Message {
    Message { body: Body::Data(vec![text.to_owned().into()]), ..Message::default() }
}

/// A client that has token links on session 0, showed a token of [`DEVICE`] and began session
/// [`CHANNEL`].
async fn shown(scene: &Scene) -> Client {
    let token = scene.token(DEVICE);
    shown_with(scene, &token).await
}

async fn shown_with(scene: &Scene, token: &str) -> Client {
    let mut client = scene.connected().await;
    attach_token_links(&mut client, 0).await;
    assert_eq!(put_token(&mut client, 0, token).await, (200, "OK".to_owned()));
    client.begin(CHANNEL).await;
    client
}

/// The same with an open link that sends, on handle 0.
async fn sending(scene: &Scene) -> Client {
    let mut client = shown(scene).await;
    client.attach_sender(CHANNEL, 0, &events(DEVICE)).await;
    client
}

/// Waits until no device is connected: what was on its way is written then.
async fn all_left(scene: &Scene, client: &mut Client) {
    for _ in 0..1000 {
        if scene.app.n_sessions() == 0 {
            return;
        }
        // As long as a look into the store takes.
        put_token(client, 0, &scene.token(DEVICE)).await;
    }
    panic!("the session goes on");
}

/// Lets so many seconds pass, for the hub's clock and for its timers.
async fn pass(scene: &Scene, secs: u32) {
    scene.advance_secs(secs.into());
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(secs.into())).await;
    tokio::time::resume();
}
