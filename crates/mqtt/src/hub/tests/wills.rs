//! Wills: what a hub writes for a device that was lost (H §4.2.5).

use super::scene::*;
use crate::proto::{Connect, Delivery, PacketId};

const EVENTS: &str = "devices/dev1/messages/events/";

fn with_will(scene: &Scene, topic: &str) -> Connect {
    Connect { will: will(topic, "lost"), ..scene.hello() }
}

async fn connected(scene: &Scene) -> Client {
    scene.connected_with(with_will(scene, &format!("{EVENTS}k=v"))).await
}

#[tokio::test]
async fn a_lost_connection_leaves_the_will_with_its_mark() {
    let scene = scene().await;
    let mut client = connected(&scene).await;
    client.publish_acked(EVENTS, "1").await;
    client.vanish().await;
    let events = scene.events().await;
    assert_eq!(scene.bodies().await, ["1", "lost"]);
    let pairs: Vec<_> =
        events[1].application.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
    assert_eq!(pairs, [("k", Some("v")), ("iothub-MessageType", Some("Will"))]);
}

#[tokio::test]
async fn a_device_that_misbehaves_leaves_its_will() {
    let scene = scene().await;
    let mut client = connected(&scene).await;
    let id = PacketId::new(1).expect("not zero");
    client.send(publish(EVENTS, "1", Delivery::ExactlyOnce { id, dup: false })).await;
    client.expect_cut().await;
    assert_eq!(scene.bodies().await, ["lost"]);
}

#[tokio::test]
async fn a_device_that_leaves_on_purpose_leaves_no_will() {
    let scene = scene().await;
    connected(&scene).await.leave().await;
    assert_eq!(scene.events().await, []);
}

#[tokio::test]
async fn a_device_that_is_cut_off_leaves_no_will() {
    let scene = scene().await;
    let client = connected(&scene).await;
    scene.rewrite("disabled", (KEY, OTHER_KEY)).await;
    client.expect_cut().await;
    assert_eq!(scene.events().await, []);
}

#[tokio::test]
async fn a_device_that_is_back_already_leaves_no_will() {
    let scene = scene().await;
    let old = connected(&scene).await;
    let mut new = scene.connected().await;
    old.expect_cut().await;
    new.hears_nothing().await;
    assert_eq!(scene.events().await, []);
}

#[tokio::test]
async fn a_server_that_stops_leaves_no_wills() {
    let scene = scene().await;
    let client = connected(&scene).await;
    scene.stop();
    client.expect_cut().await;
    assert_eq!(scene.events().await, []);
}

#[tokio::test]
async fn a_will_for_a_topic_that_is_not_its_own_is_ignored() {
    let scene = scene().await;
    for topic in ["devices/dev10/messages/events/", "hello", "devices/dev1/messages/events/%zz"] {
        let client = scene.connected_with(with_will(&scene, topic)).await;
        client.vanish().await;
    }
    assert_eq!(scene.events().await, []);
}
