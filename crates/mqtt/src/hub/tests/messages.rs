//! Cloud-to-device messages (H §4.2.8).

use decide::hub::message::MessageDraft;
use model::{FeedbackWish, MessageEnd, MessageProperties};

use super::scene::*;
use crate::proto::{Grant, Packet, Qos};

const MESSAGES: &str = "devices/dev1/messages/devicebound/#";

/// Acknowledges a message and waits until the hub has written it.
async fn acknowledge(client: &mut Client, id: Option<crate::proto::PacketId>) {
    client.send(Packet::PubAck(Some(id.expect("QoS 1")))).await;
    // What is sent behind it is answered behind it.
    client.publish_acked("devices/dev1/messages/events/", "").await;
}

#[tokio::test]
async fn a_message_comes_with_all_it_says_and_is_done_with_when_it_is_acknowledged() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.subscribed(MESSAGES).await;
    let some = |text: &str| Some(text.to_owned());
    let properties = MessageProperties {
        message_id: some("m/1"),
        correlation_id: some("c 2"),
        user_id: some("ana"),
        content_type: some("application/json"),
        content_encoding: some("utf-8"),
        ..MessageProperties::default()
    };
    let application = vec![("k".to_owned(), some("a/b&c")), ("alone".to_owned(), None)];
    let (body, feedback) = (b"{}".to_vec(), FeedbackWish::Full);
    scene.message_of(MessageDraft { properties, application, body, feedback, expires: None }).await;
    let (topic, body, id) = client.message().await;
    assert_eq!(
        topic,
        "devices/dev1/messages/devicebound/%24.mid=m%2F1\
         &%24.to=%2Fdevices%2Fdev1%2Fmessages%2Fdevicebound\
         &%24.ct=application%2Fjson&%24.ce=utf-8&%24.cid=c%202&%24.uid=ana\
         &iothub-ack=full&k=a%2Fb%26c&alone"
    );
    assert_eq!(body, "{}");
    assert_eq!(scene.waiting().await, [("{}".to_owned(), 1)]);
    acknowledge(&mut client, id).await;
    assert_eq!(scene.waiting().await, []);
    let feedback = scene.app.list_feedback(&scene.hub, 10).await.expect("store");
    let [told] = feedback.as_slice() else { panic!("{feedback:?}") };
    assert_eq!((told.message_id.as_str(), told.end), ("m/1", MessageEnd::Success));
}

#[tokio::test]
async fn messages_that_wait_are_sent_when_the_device_subscribes_and_when_it_comes_back() {
    let scene = scene().await;
    scene.message("1").await;
    scene.message("2").await;
    let mut client = scene.connected().await;
    client.hears_nothing().await;
    client.subscribed(MESSAGES).await;
    let (_, body, first) = client.message().await;
    assert_eq!(body, "1");
    assert_eq!(client.message().await.1, "2");
    acknowledge(&mut client, first).await;
    client.vanish().await;
    // The second was not acknowledged: it comes again, without a new subscription.
    let mut client = scene.connected().await;
    let (_, body, second) = client.message().await;
    assert_eq!(body, "2");
    assert_eq!(scene.waiting().await, [("2".to_owned(), 2)]);
    acknowledge(&mut client, second).await;
    assert_eq!(scene.waiting().await, []);
}

#[tokio::test]
async fn a_message_of_qos_0_is_done_with_when_it_is_sent() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    let grants = client.subscribe(&[(MESSAGES, Qos::AtMostOnce)]).await;
    assert_eq!(grants, [Grant::Granted(Qos::AtMostOnce)]);
    for n in 0..30 {
        scene.message(&n.to_string()).await;
    }
    for n in 0..30 {
        let (_, body, id) = client.message().await;
        assert_eq!((body, id), (n.to_string(), None));
    }
    client.leave().await;
    assert_eq!(scene.waiting().await, []);
}

#[tokio::test]
async fn ten_messages_may_wait_for_their_acknowledgement_and_no_more() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.subscribed(MESSAGES).await;
    for n in 0..12 {
        scene.message(&n.to_string()).await;
    }
    let mut ids = Vec::new();
    for n in 0..10 {
        let (_, body, id) = client.message().await;
        assert_eq!(body, n.to_string());
        ids.push(id);
    }
    client.hears_nothing().await;
    assert_eq!(scene.waiting().await.iter().filter(|(_, count)| *count > 0).count(), 10);
    // In any order.
    client.send(Packet::PubAck(ids[7])).await;
    assert_eq!(client.message().await.1, "10");
    client.send(Packet::PubAck(ids[0])).await;
    assert_eq!(client.message().await.1, "11");
    let left: Vec<_> = scene.waiting().await.into_iter().map(|(body, _)| body).collect();
    assert_eq!(left, ["1", "2", "3", "4", "5", "6", "8", "9", "10", "11"]);
}

#[tokio::test]
async fn an_identifier_acknowledges_one_message_once() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.subscribed(MESSAGES).await;
    scene.message("1").await;
    scene.message("2").await;
    let (_, _, first) = client.message().await;
    client.message().await;
    acknowledge(&mut client, first).await;
    acknowledge(&mut client, first).await;
    assert_eq!(scene.waiting().await, [("2".to_owned(), 1)]);
}

#[tokio::test]
async fn a_message_that_was_sent_too_often_or_is_too_old_ends() {
    let scene = scene().await;
    let max = scene.app.settings().hub_limits.messages.max_deliveries;
    scene.message("often").await;
    for n in 1..=max {
        let mut client = scene.connected().await;
        if n == 1 {
            client.subscribed(MESSAGES).await;
        }
        assert_eq!(client.message().await.1, "often");
        client.vanish().await;
    }
    let mut client = scene.connected().await;
    scene.message("fresh").await;
    assert_eq!(client.message().await.1, "fresh");
    assert_eq!(scene.waiting().await, [("fresh".to_owned(), 1)]);
    client.leave().await;
    scene.advance_secs(3601);
    let mut client = scene.connected().await;
    scene.message("newer").await;
    assert_eq!(client.message().await.1, "newer");
    assert_eq!(scene.waiting().await, [("newer".to_owned(), 1)]);
}

#[tokio::test]
async fn who_unsubscribes_hears_no_more_and_loses_nothing() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.subscribed(MESSAGES).await;
    client.unsubscribe(MESSAGES).await;
    scene.message("1").await;
    client.hears_nothing().await;
    client.subscribed(MESSAGES).await;
    assert_eq!(client.message().await.1, "1");
}
