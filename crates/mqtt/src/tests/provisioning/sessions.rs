//! What holds for a session, whatever it asks for: subscriptions, keep-alive, and how it ends.

use std::time::Duration;

use tokio::time::Instant;

use super::super::scene::{Scene, at_least_once, id, publish, scene, subscribe, unsubscribe};
use super::{
    ACCEPTED, POLL, QOS_0, REGISTER, RESPONSES, ask, connected, connected_by, granted, member,
    sub_ack, subscribed,
};
use crate::proto::{Connect, Delivery, Filter, Grant, Packet, Qos, Subscribe};

/// Trap 25.
#[tokio::test]
async fn a_session_that_was_to_last_is_never_present() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    for _ in 0..2 {
        let connect = Connect { clean_session: false, ..scene.connect("dev-1") };
        let mut client = connected_by(&scene, connect).await;
        client.send([subscribe(1, RESPONSES, Qos::AtLeastOnce)]).await;
        client.expect(granted(1, Qos::AtLeastOnce)).await;
        client.leave().await;
    }
    // Nor is the subscription: nothing comes but the answer to the PINGREQ.
    let connect = Connect { clean_session: false, ..scene.connect("dev-1") };
    let mut client = connected_by(&scene, connect).await;
    client.send([publish(&format!("{REGISTER}1"), "", QOS_0), Packet::PingReq]).await;
    client.expect(Packet::PingResp).await;
    client.leave().await;
}

/// Trap 29.
#[tokio::test]
async fn a_client_without_keep_alive_is_not_dropped_for_minutes() {
    check_patience(0, 300_000).await;
}

#[tokio::test]
async fn a_client_that_is_silent_for_longer_than_its_keep_alive_is_dropped() {
    check_patience(60, 90_000).await;
    check_patience(u16::MAX, 1_767_000).await;
}

async fn check_patience(keep_alive_secs: u16, patience_ms: u64) {
    let scene = scene().await;
    let connect = Connect { keep_alive_secs, ..scene.connect("dev-1") };
    let mut client = connected_by(&scene, connect).await;
    tokio::time::pause();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(patience_ms - 1)).await;
        client.send([Packet::PingReq]).await;
        client.expect(Packet::PingResp).await;
    }
    let silent = Instant::now();
    client.expect_end().await;
    assert_eq!(silent.elapsed().as_secs(), patience_ms / 1000);
    tokio::time::resume();
}

/// Trap 30.
#[tokio::test]
async fn acknowledgements_of_what_was_never_sent_are_tolerated() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let mut client = subscribed(&scene, "dev-1", Qos::AtMostOnce).await;
    client.send([Packet::PubAck(None), Packet::PubAck(Some(id(77)))]).await;
    ask(&mut client, &format!("{REGISTER}1"), "", 202, Some(3)).await;
    client.send([Packet::PubAck(None), Packet::PingReq]).await;
    client.expect(Packet::PingResp).await;
    client.leave().await;
}

#[tokio::test]
async fn only_the_one_filter_is_granted_and_never_with_qos_2() {
    let scene = scene().await;
    let mut client = connected(&scene, "dev-1").await;
    for (asked, qos) in [
        (Qos::ExactlyOnce, Qos::AtLeastOnce),
        (Qos::AtLeastOnce, Qos::AtLeastOnce),
        (Qos::AtMostOnce, Qos::AtMostOnce),
    ] {
        client.send([subscribe(5, RESPONSES, asked)]).await;
        client.expect(granted(5, qos)).await;
    }
    let filters = ["#", "$dps/#", "$dps/registrations/res/202/#", RESPONSES, "$dps/+/res/#"];
    let filters = filters.map(|filter| (Filter::new(filter).expect("a filter"), Qos::AtMostOnce));
    client.send([Packet::Subscribe(Subscribe { id: id(6), filters: filters.to_vec() })]).await;
    let no = Grant::Refused;
    client.expect(sub_ack(6, &[no, no, no, Grant::Granted(Qos::AtMostOnce), no])).await;
    client.leave().await;
}

#[tokio::test]
async fn answers_come_with_the_qos_that_was_granted_last_and_not_without() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let register = |n: u16| publish(&format!("{REGISTER}{n}"), "", at_least_once(n));
    // Registered before it is subscribed: nobody is told.
    let mut client = connected(&scene, "dev-1").await;
    client.send([register(1), Packet::PingReq]).await;
    client.expect(Packet::PubAck(Some(id(1)))).await;
    client.expect(Packet::PingResp).await;
    for (n, qos, delivery) in [
        (2, Qos::AtMostOnce, QOS_0),
        (3, Qos::AtLeastOnce, at_least_once(1)),
        (4, Qos::ExactlyOnce, at_least_once(2)),
    ] {
        client.send([subscribe(n, RESPONSES, qos), register(n)]).await;
        client.expect(granted(n, qos.min(Qos::AtLeastOnce))).await;
        client.expect(Packet::PubAck(Some(id(n)))).await;
        assert_eq!(client.expect_message().await.2, delivery);
    }
    client.send([unsubscribe(5, "other"), register(6)]).await;
    client.expect(Packet::UnsubAck(Some(id(5)))).await;
    client.expect(Packet::PubAck(Some(id(6)))).await;
    assert_eq!(client.expect_message().await.2, at_least_once(3));
    // Node unsubscribes before it leaves, and waits for the answer.
    client.send([unsubscribe(7, RESPONSES), register(8), Packet::PingReq]).await;
    client.expect(Packet::UnsubAck(Some(id(7)))).await;
    client.expect(Packet::PubAck(Some(id(8)))).await;
    client.expect(Packet::PingResp).await;
    client.leave().await;
}

/// Sends a packet that ends the session; nothing is answered.
async fn check_ends(scene: &Scene, packet: Packet) {
    let mut client = subscribed(scene, "dev-1", Qos::AtLeastOnce).await;
    client.link.queue(&packet).expect("a packet that can be sent");
    // The end may come before the whole of a large one is sent.
    drop(client.link.flush().await);
    client.expect_end().await;
}

/// D §2.3, §2.7.
#[tokio::test]
async fn what_no_client_may_send_ends_the_session() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let twice = Delivery::ExactlyOnce { id: id(1), dup: false };
    check_ends(&scene, publish(&format!("{REGISTER}1"), "", twice)).await;
    for topic in [
        "devices/dev-1/messages/events/",
        "$dps/registrations/PUT/iotdps-register",
        "$dps/registrations/PUT/iotdps-register/",
        "$dps/registrations/PUT/iotdps-register/?rid=1",
        "$dps/registrations/GET/iotdps-get-registration/?$rid=1",
        "$dps/registrations/GET/iotdps-get-operationstatus/?operationId=1",
        "$dps/registrations/res/200/?$rid=1",
    ] {
        check_ends(&scene, publish(topic, "", QOS_0)).await;
    }
    check_ends(&scene, Packet::Connect(Box::new(scene.connect("dev-1")))).await;
    check_ends(&scene, Packet::PubRel(Some(id(1)))).await;
    check_ends(&scene, Packet::PingResp).await;
    check_ends(&scene, ACCEPTED).await;
    check_ends(&scene, publish(&format!("{REGISTER}1"), vec![b' '; 128 * 1024], QOS_0)).await;
}

/// A will is asked for by no client; it is ignored (D §2.1).
#[tokio::test]
async fn a_retained_request_is_a_request_and_a_will_is_none() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let will = crate::proto::Will {
        topic: crate::proto::Topic::new(format!("{REGISTER}1")).expect("a topic"),
        payload: bytes::Bytes::new(),
        qos: Qos::AtMostOnce,
        retain: false,
    };
    let connect = Connect { will: Some(will), ..scene.connect("dev-1") };
    let mut client = connected_by(&scene, connect).await;
    client.send([subscribe(1, RESPONSES, Qos::AtMostOnce)]).await;
    client.expect(granted(1, Qos::AtMostOnce)).await;
    let Packet::Publish(mut register) = publish(&format!("{REGISTER}1"), "", QOS_0) else {
        unreachable!("it was made as one")
    };
    register.retain = true;
    client.send([Packet::Publish(register)]).await;
    assert!(client.expect_message().await.0.contains("/res/202/"));
    client.leave().await;
}

#[tokio::test]
async fn the_room_of_a_large_payload_is_given_back() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let n_free = scene.door.context().terms().n_free();
    let payload = format!(r#"{{"payload":{{"a":"{}"}}}}"#, "x".repeat(60_000));
    let mut client = subscribed(&scene, "dev-1", Qos::AtMostOnce).await;
    for n in 0..3 {
        ask(&mut client, &format!("{REGISTER}{n}"), &payload, 202, Some(3)).await;
    }
    client.leave().await;
    assert_eq!(scene.door.context().terms().n_free(), n_free);
}

/// Nobody has proven anything yet, so nobody may have us keep a megabyte.
#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_not_read_from() {
    let scene = scene().await;
    let mut client = scene.open_of(512, Vec::new());
    client.send([Packet::Connect(Box::new(scene.connect("dev-1")))]).await;
    client.expect(ACCEPTED).await;
    tokio::time::pause();
    let mut n_pings = 0;
    // One packet at a time, without reading any answer.
    while client.ping_without_reading().await {
        n_pings += 1;
        assert!(n_pings < 8192, "the answers pile up");
    }
    assert!(n_pings > 256, "the pipe alone holds as many");
    tokio::time::resume();
}

#[tokio::test]
async fn a_restart_leaves_operations_that_can_be_polled() {
    let mut scene = scene().await;
    scene.enroll("dev-1").await;
    let mut client = subscribed(&scene, "dev-1", Qos::AtLeastOnce).await;
    let accepted = ask(&mut client, &format!("{REGISTER}1"), "", 202, Some(3)).await;
    let operation = member(&accepted, "operationId").to_owned();
    scene.restart();
    client.expect_end().await;
    let mut client = subscribed(&scene, "dev-1", Qos::AtLeastOnce).await;
    ask(&mut client, &format!("{POLL}1&operationId={operation}"), "", 200, None).await;
    client.leave().await;
}
