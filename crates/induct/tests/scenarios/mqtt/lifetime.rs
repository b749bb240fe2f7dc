//! How sessions at a hub end otherwise: by another connection, a token that expires, silence, or
//! what no device may do (H §4.5, §4.2.5); and what a disabled enrollment does not end.

use bytes::Bytes;
use mqtt::proto::{Delivery, Packet, Publish, Qos, Topic, Will};
use serde_json::json;

use super::{
    hub::{HUB, HubDevice, OTHER_KEY, events},
    line::Way,
    sdk,
};
use crate::world::{
    Device, Scene, World,
    enrollments::{by_key, individual, primary_key},
    within,
};

/// One device for each way, so that a test is the same for both.
async fn on_both_ways(check: impl AsyncFn(&World, Way, &HubDevice)) {
    let world = Scene::new().start().await;
    for (n, way) in Way::both(&sdk::PYTHON).into_iter().enumerate() {
        let device = HubDevice::create(&world, &format!("press-{n}")).await;
        check(&world, way, &device).await;
    }
}

#[tokio::test]
async fn a_second_connection_ends_the_first_and_one_with_a_bad_token_does_not() {
    on_both_ways(async |world, way, device| {
        let (mut first, _) = device.connect(world, &sdk::PYTHON, way).await;
        let key = model::SymmetricKey::parse(OTHER_KEY).expect("a key");
        let bad = sdk::PYTHON.hub_connect(HUB, &device.id, Some(&key), sdk::TTL_SECS);
        device.dial(world, &sdk::PYTHON, way).await.refused(bad).await;
        first.ping().await;
        let (mut second, _) = device.connect(world, &sdk::PYTHON, way).await;
        first.closed().await;
        second.ping().await;
        let identity = world.identity(HUB, &device.id).await.expect("it is there");
        assert_eq!(identity["connectionState"], "Connected", "the later one is what counts");
        second.leave().await;
    })
    .await;
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_a_new_token_opens_another() {
    on_both_ways(async |world, way, device| {
        let mut line = device.dial(world, &sdk::PYTHON, way).await;
        line.connect(sdk::PYTHON.hub_connect(HUB, &device.id, Some(&device.key), 2)).await;
        device.subscribe(&mut line, &sdk::PYTHON).await;
        line.closed().await;
        let (line, is_known) = device.connect(world, &sdk::PYTHON, way).await;
        assert!(is_known, "what it subscribed to outlives the token");
        line.leave().await;
    })
    .await;
}

#[tokio::test]
async fn a_device_that_is_silent_for_longer_than_its_keep_alive_allows_is_closed() {
    on_both_ways(async |world, way, device| {
        let mut line = device.dial(world, &sdk::PYTHON, way).await;
        let mut connect = device.hello(&sdk::PYTHON);
        connect.keep_alive_secs = 1;
        line.connect(connect).await;
        line.closed().await;
    })
    .await;
}

#[tokio::test]
async fn what_no_device_may_send_ends_its_session() {
    on_both_ways(async |world, way, device| {
        let own = format!("devices/{}/messages/events/", device.id);
        let id = mqtt::proto::PacketId::MIN;
        for (topic, delivery) in [
            (own.as_str(), Delivery::ExactlyOnce { id, dup: false }),
            ("devices/press-9/messages/events/", Delivery::AtLeastOnce { id, dup: false }),
            ("$iothub/twin/PATCH/properties/desired/?$rid=1", Delivery::AtMostOnce),
            ("hello", Delivery::AtMostOnce),
        ] {
            let (mut line, _) = device.connect(world, &sdk::PYTHON, way).await;
            let topic = Topic::new(topic).expect("legal");
            let payload = Bytes::from_static(b"1");
            line.send(Packet::Publish(Publish { topic, payload, delivery, retain: false })).await;
            line.closed().await;
        }
        assert_eq!(events(world, &device.id).await, [] as [serde_json::Value; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_will_is_sent_when_the_connection_breaks_and_never_by_who_says_goodbye_or_is_cut_off() {
    on_both_ways(async |world, way, device| {
        let with_will = || {
            let mut connect = device.hello(&sdk::PYTHON);
            let topic = format!("devices/{}/messages/events/", device.id);
            connect.will = Some(Will {
                topic: Topic::new(topic).expect("legal"),
                payload: Bytes::from_static(b"gone"),
                qos: Qos::AtLeastOnce,
                retain: false,
            });
            connect
        };
        let connect = async || {
            let mut line = device.dial(world, &sdk::PYTHON, way).await;
            line.connect(with_will()).await;
            line
        };
        connect().await.leave().await;
        let line = connect().await;
        let hub = world.hub(HUB);
        hub.edit(&device.path(), |body| body["status"] = json!("disabled")).await;
        line.closed().await;
        hub.edit(&device.path(), |body| body["status"] = json!("enabled")).await;
        drop(connect().await);
        // There is no answer to wait for but the event itself.
        let wills = within("a will", async {
            loop {
                let wills = events(world, &device.id).await;
                if !wills.is_empty() {
                    return wills;
                }
            }
        });
        let wills = wills.await;
        assert_eq!(wills.len(), 1, "{wills:?}");
        let expected = json!({"iothub-MessageType": "Will"});
        assert_eq!(wills[0]["applicationProperties"], expected);
    })
    .await;
}

#[tokio::test]
async fn a_disabled_enrollment_ends_no_session_at_the_hub() {
    let world = Scene::new().start().await;
    let service = world.service();
    let enrollment = service.create(&individual("press-17"), &by_key("press-17")).await;
    let key = primary_key(&enrollment);
    Device::with_key("press-17", key).register(&world).await.assigned();
    let key = model::SymmetricKey::parse(key).expect("a key");
    let device = HubDevice { id: "press-17".to_owned(), key };
    for way in Way::both(&sdk::PYTHON) {
        let (mut line, _) = device.connect(&world, &sdk::PYTHON, way).await;
        let path = individual("press-17");
        service.edit(&path, |body| body["provisioningStatus"] = json!("disabled")).await;
        let topic = "devices/press-17/messages/events/";
        line.publish(topic, "still here", Qos::AtLeastOnce).await;
        line.leave().await;
        // Nor does it keep the device out: that is the hub's registry (H §4.5.3, 8).
        let (line, _) = device.connect(&world, &sdk::PYTHON, way).await;
        line.leave().await;
    }
}
