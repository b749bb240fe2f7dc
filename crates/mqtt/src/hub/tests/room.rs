//! The memory that devices share, and those who take more than their part of it.

use std::time::Duration;

use app::limits::RateSettings;
use tokio::time::{Instant, timeout};

use super::scene::*;
use crate::{
    MqttSettings,
    proto::{ConnAck, Connect, Packet, PacketId, Text},
};

const EVENTS: &str = "devices/dev1/messages/events/";

/// Whoever connects for provisioning has proven nothing yet: the token may be anything.
#[tokio::test]
async fn clients_that_proved_nothing_keep_no_device_from_sending() {
    let settings = MqttSettings { room_bytes: 400_000, ..MqttSettings::default() };
    let scene = scene_with(settings, RateSettings::default()).await;
    let token = scene.token_of("0ne00000001/registrations/x", OTHER_KEY, 600, None);
    let hello = Connect {
        client_id: Text::new("x").expect("legal"),
        login: Some(login("0ne00000001/registrations/x/api-version=2019-03-31", Some(&token))),
        ..scene.hello()
    };
    let mut strangers = Vec::new();
    for _ in 0..8 {
        let mut stranger = scene.connected_with(hello.clone()).await;
        // A PUBLISH of 120,000 bytes, of which nothing comes.
        stranger.send_raw(&[0x30, 0xc0, 0xa9, 0x07]).await;
        strangers.push(stranger);
    }
    let mut device = scene.connected().await;
    device.publish_acked(EVENTS, "small").await;
    let large = "x".repeat(100_000);
    // The strangers' packets are late after a minute, and give up their room then.
    let sent = timeout(Duration::from_secs(20), device.publish_acked(EVENTS, &large)).await;
    assert!(sent.is_ok(), "the event waits for strangers");
    assert_eq!(scene.bodies().await, ["small", &large]);
}

/// Its events are written all the same, and nothing of them is kept until it reads.
#[tokio::test]
async fn a_device_that_does_not_read_gives_its_room_back() {
    // How many events are on their way when the first acknowledgement is stuck is for chance.
    for _ in 0..6 {
        check_room_of_a_deaf_device().await;
    }
}

async fn check_room_of_a_deaf_device() {
    const PIPE_BYTES: usize = 64 * 1024;
    let scene = scene().await;
    let n_free = || scene.door.context().terms().n_free();
    let all = n_free();
    let mut client = scene.open_with(PIPE_BYTES, Vec::new());
    client.send(Packet::Connect(Box::new(scene.hello()))).await;
    client.expect(Packet::ConnAck(ConnAck::Accepted { session_present: false })).await;
    // From here on not even an acknowledgement fits into the connection.
    for _ in 0..PIPE_BYTES / 2 {
        client.send(Packet::PingReq).await;
    }
    let body = "x".repeat(8_000);
    for _ in 0..8 {
        client.publish(EVENTS, &body).await;
    }
    let began = Instant::now();
    while scene.bodies().await.is_empty() || n_free() < all {
        // Well before a device that does not read is given up.
        assert!(began.elapsed() < Duration::from_secs(15), "{} of {all} are free", n_free());
        tokio::task::yield_now().await;
    }
    for _ in 0..PIPE_BYTES / 2 {
        client.expect(Packet::PingResp).await;
    }
    for n in 1..=8 {
        client.expect(Packet::PubAck(PacketId::new(n))).await;
    }
    client.leave().await;
}
