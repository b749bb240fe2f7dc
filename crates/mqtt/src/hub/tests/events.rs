//! Events: what is stored, and when it is acknowledged (H §4.2.6).

use model::{AuthMethod, EventSource};

use super::scene::*;
use crate::proto::{Connect, Delivery, Grant, Packet, PacketId, Publish, Qos, SubAck, Topic};

const EVENTS: &str = "devices/dev1/messages/events/";

#[tokio::test]
async fn an_event_is_stored_with_all_it_says_before_it_is_acknowledged() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    let bag = "%24.mid=1&%24.ct=application%2Fjson&$.ce=utf-8&k=v&alone&empty=&a%26b=c%3Dd";
    client.publish_acked(&format!("{EVENTS}{bag}"), r#"{"t":21}"#).await;
    let events = scene.events().await;
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(event.device_id.as_str(), DEVICE);
    assert_eq!(event.generation_id, scene.device().await.identity.generation_id);
    assert_eq!((event.auth_method, event.source), (AuthMethod::DeviceKey, EventSource::Telemetry));
    assert_eq!(event.enqueued, NOW);
    assert_eq!(event.properties.message_id.as_deref(), Some("1"));
    assert_eq!(event.properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(event.properties.content_encoding.as_deref(), Some("utf-8"));
    let pairs: Vec<_> = event.application.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
    assert_eq!(
        pairs,
        [("k", Some("v")), ("alone", None), ("empty", Some("")), ("a&b", Some("c=d")),]
    );
    assert_eq!(event.body, br#"{"t":21}"#);
}

#[tokio::test]
async fn an_event_needs_no_slash_no_properties_and_no_body() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.publish_acked("devices/dev1/messages/events", "1").await;
    client.publish_acked("devices/dev1/messages/events/", "2").await;
    client.publish_acked("devices/dev1/messages/events/k=v/", "").await;
    assert_eq!(scene.bodies().await, ["1", "2", ""]);
}

#[tokio::test]
async fn an_event_of_qos_0_is_stored_although_nobody_is_told() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.publish_once(EVENTS, "1").await;
    client.publish_acked(EVENTS, "2").await;
    assert_eq!(scene.bodies().await, ["1", "2"]);
}

#[tokio::test]
async fn a_device_may_send_and_leave_at_once() {
    let scene = scene().await;
    for goes_on_purpose in [true, false] {
        let mut client = scene.connected().await;
        for n in 0..5 {
            client.publish_once(EVENTS, &n.to_string()).await;
        }
        if goes_on_purpose { client.leave().await } else { client.vanish().await }
    }
    assert_eq!(scene.bodies().await, ["0", "1", "2", "3", "4", "0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn many_events_at_once_are_stored_and_acknowledged_in_their_order() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    let mut sent = Vec::new();
    for n in 0..100 {
        sent.push(client.publish(EVENTS, &n.to_string()).await);
    }
    for id in sent {
        client.expect(Packet::PubAck(Some(id))).await;
    }
    let expected: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(scene.bodies().await, expected);
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_requests() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.subscribed("$iothub/twin/res/#").await;
    let first = client.publish(EVENTS, "1").await;
    let get = client.publish("$iothub/twin/GET/?$rid=1", "").await;
    let second = client.publish(EVENTS, "2").await;
    let id = PacketId::new(999).expect("not zero");
    let filters = vec![(crate::proto::Filter::new("#").expect("legal"), Qos::AtLeastOnce)];
    client.send(Packet::Subscribe(crate::proto::Subscribe { id, filters })).await;
    client.expect(Packet::PubAck(Some(first))).await;
    client.expect(Packet::PubAck(Some(get))).await;
    assert!(client.message().await.0.starts_with("$iothub/twin/res/200/"));
    client.expect(Packet::PubAck(Some(second))).await;
    let grants = vec![Grant::Refused];
    client.expect(Packet::SubAck(SubAck { id: Some(id), grants })).await;
}

#[tokio::test]
async fn a_retained_event_says_so() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    let id = client.fresh_id();
    client
        .send(Packet::Publish(Publish {
            topic: Topic::new(EVENTS).expect("legal"),
            payload: "1".into(),
            delivery: Delivery::AtLeastOnce { id, dup: true },
            retain: true,
        }))
        .await;
    client.expect(Packet::PubAck(Some(id))).await;
    let application = &scene.events().await[0].application;
    assert_eq!(application, &[("mqtt-retain".to_owned(), Some("true".to_owned()))]);
}

#[tokio::test]
async fn an_event_of_the_full_size_is_stored_and_one_byte_more_ends_the_connection() {
    let scene = scene().await;
    let topic = format!("{EVENTS}k=v");
    let mut client = scene.connected().await;
    client.publish_acked(&topic, &"x".repeat(262_144 - 2)).await;
    client.publish(&topic, &"x".repeat(262_144 - 1)).await;
    client.expect_cut().await;
    // Far beyond, it is not even read.
    let mut client = scene.connected().await;
    client.publish(&topic, &"x".repeat(1 << 20)).await;
    client.expect_cut().await;
    assert_eq!(scene.events().await.len(), 1);
}

/// What ends a connection, without any effect.
async fn check_ends(packet: impl FnOnce(&Scene) -> Packet) {
    let scene = scene().await;
    let mut client = scene.connected().await;
    let packet = packet(&scene);
    let shown = format!("{packet:?}");
    client.send(packet).await;
    client.publish(EVENTS, "too late").await;
    client.expect_cut().await;
    assert_eq!(scene.events().await, [], "{shown}");
    assert_eq!(scene.app.n_sessions(), 0, "{shown}");
}

#[tokio::test]
async fn a_message_to_any_other_topic_ends_the_connection() {
    for topic in [
        "hello",
        "devices/dev10/messages/events/",
        "devices/dev1/messages/events2/",
        "devices/dev1/modules/m/messages/events/",
        "devices/dev1/messages/devicebound/",
        "$iothub/twin/GET",
        "$iothub/twin/PUT/?$rid=1",
        "$iothub/methods/POST/x/?$rid=1",
        "$dps/registrations/PUT/iotdps-register/?$rid=1",
    ] {
        check_ends(|_| publish(topic, "1", Delivery::AtMostOnce)).await;
    }
}

#[tokio::test]
async fn a_message_of_qos_2_ends_the_connection() {
    let id = PacketId::new(1).expect("not zero");
    check_ends(|_| publish(EVENTS, "1", Delivery::ExactlyOnce { id, dup: false })).await;
}

#[tokio::test]
async fn packets_out_of_place_end_the_connection() {
    let id = PacketId::new(1);
    check_ends(|scene| Packet::Connect(Box::new(scene.hello()))).await;
    for packet in [
        Packet::PubRec(id),
        Packet::PubRel(id),
        Packet::PubComp(id),
        Packet::UnsubAck(id),
        Packet::SubAck(SubAck { id, grants: vec![Grant::Refused] }),
        Packet::PingResp,
    ] {
        check_ends(|_| packet).await;
    }
}

#[tokio::test]
async fn illegal_escapes_in_the_properties_end_the_connection() {
    check_ends(|_| publish("devices/dev1/messages/events/k=%zz", "1", Delivery::AtMostOnce)).await;
}

#[tokio::test]
async fn trap_30_an_acknowledgement_of_nothing_is_tolerated() {
    let scene = scene().await;
    let mut client = scene.connected_with(Connect { keep_alive_secs: 0, ..scene.hello() }).await;
    client.send(Packet::PubAck(None)).await;
    client.send(Packet::PubAck(PacketId::new(77))).await;
    client.hears_nothing().await;
}
