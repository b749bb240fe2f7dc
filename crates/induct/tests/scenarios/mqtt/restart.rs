//! A server that is stopped and started again, and devices that come back to it.

use mqtt::proto::Qos;
use serde_json::Value;

use super::{
    hub::{
        HUB, HubDevice, check_desired, check_message, check_method, events, get_twin, send_message,
    },
    line::{Way, connect_with},
    sdk,
};
use crate::world::{Scene, World};

async fn send(line: &mut super::line::Line, id: &str, n: u64) {
    let topic = format!("devices/{id}/messages/events/$.ct=application%2Fjson&$.ce=utf-8");
    line.publish(&topic, n.to_string(), Qos::AtLeastOnce).await;
}

/// Where the events of a device stand, and what is in them.
async fn log(world: &World, id: &str) -> Vec<(u64, u64, Value)> {
    let place = |event: &Value, name: &str| event[name].as_u64().expect("a number");
    let events = events(world, id).await;
    events
        .iter()
        .map(|event| {
            let (partition, offset) = (place(event, "partition"), place(event, "sequenceNumber"));
            (partition, offset, event["body"].clone())
        })
        .collect()
}

#[tokio::test]
async fn subscriptions_messages_and_offsets_survive_a_restart() {
    let mut world = Scene::new().start().await;
    let mut devices = Vec::new();
    for sdk in sdk::ALL {
        for (n, way) in Way::both(sdk).into_iter().enumerate() {
            let device = HubDevice::create(&world, &format!("{}-{n}", sdk.name)).await;
            let (mut line, _) = device.connect(&world, sdk, way).await;
            device.subscribe(&mut line, sdk).await;
            for n in 0..3 {
                send(&mut line, &device.id, n).await;
            }
            devices.push((sdk, way, device, line));
        }
    }
    let mut logs = Vec::new();
    for (_, _, device, _) in &devices {
        let log = log(&world, &device.id).await;
        assert_eq!(log.len(), 3);
        logs.push(log);
    }

    world.restart(Scene::new()).await;
    for ((sdk, way, device, line), before) in devices.into_iter().zip(logs) {
        line.closed().await;
        let id = &device.id;
        let identity = world.identity(HUB, id).await.expect("it is still there");
        assert_eq!(identity["connectionState"], "Disconnected", "{id}");
        // One that waits for the device before it is back.
        send_message(&world, &device, "while you were away").await;
        let (mut line, is_known) = device.connect(&world, sdk, way).await;
        assert!(is_known, "{id}");
        check_message(&mut line, &device, "while you were away").await;
        get_twin(&mut line, sdk, 1).await;
        check_desired(&world, &mut line, &device, 9).await;
        check_method(&world, &mut line, &device).await;
        for n in 3..6 {
            send(&mut line, id, n).await;
        }
        let after = log(&world, id).await;
        assert_eq!(after[..3], before, "{id}: what was kept is as it was");
        let bodies: Vec<_> = after.iter().map(|(_, _, body)| body.as_u64()).collect();
        assert_eq!(bodies, (0..6).map(Some).collect::<Vec<_>>(), "{id}");
        assert!(after.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)), "{id}: {after:?}");
        line.leave().await;
    }
}

#[tokio::test]
async fn a_message_that_was_not_acknowledged_comes_again_after_a_restart() {
    let mut world = Scene::new().start().await;
    let device = HubDevice::create(&world, "press-17").await;
    let (mut line, _) = device.connect(&world, &sdk::PYTHON, Way::Tls).await;
    device.subscribe(&mut line, &sdk::PYTHON).await;
    send_message(&world, &device, "first").await;
    let mqtt::proto::Packet::Publish(first) = line.next().await else { panic!("no message") };
    assert_eq!(first.payload.as_ref(), b"first");
    world.restart(Scene::new()).await;
    let (mut line, is_known) = device.connect(&world, &sdk::PYTHON, Way::Tls).await;
    assert!(is_known);
    check_message(&mut line, &device, "first").await;
    line.ping().await;
    line.leave().await;
    // And not once more.
    world.restart(Scene::new()).await;
    let (mut line, _) = device.connect(&world, &sdk::PYTHON, Way::Tls).await;
    line.ping().await;
    line.leave().await;
}

#[tokio::test]
async fn a_clean_session_is_forgotten_at_once_and_after_a_restart() {
    let mut world = Scene::new().start().await;
    let device = HubDevice::create(&world, "press-17").await;
    let (mut line, _) = device.connect(&world, &sdk::C, Way::Tls).await;
    device.subscribe(&mut line, &sdk::C).await;
    line.leave().await;

    let connect = device.hello(&sdk::C);
    let login = connect.login.expect("a login");
    let password = String::from_utf8(login.password.expect("a token").as_bytes().to_vec());
    let password = password.expect("text");
    let clean = connect_with("press-17", &login.user_name, Some(&password), true, 240);
    let mut line = device.dial(&world, &sdk::C, Way::Tls).await;
    assert!(!line.connect(clean).await, "a clean session finds nothing");
    device.subscribe(&mut line, &sdk::C).await;
    line.leave().await;
    for _ in 0..2 {
        let (mut line, is_known) = device.connect(&world, &sdk::C, Way::Tls).await;
        assert!(!is_known, "and leaves nothing");
        // Nobody listens for the answer, so there is none.
        line.publish("$iothub/twin/GET/?$rid=1", "", Qos::AtLeastOnce).await;
        line.ping().await;
        line.leave().await;
        world.restart(Scene::new()).await;
    }
}
