//! How sessions end: cut off, taken over, expired, silent, stopped (H §4.5).

use std::time::Duration;

use listen::websocket::WsStream;
use model::{PolicyScope, Precondition};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    sync::watch,
};

use super::scene::*;
use crate::{
    MqttSettings, Peer,
    proto::{ConnAck, Connect, ConnectRefusal, Packet, encode},
};

const EVENTS: &str = "devices/dev1/messages/events/";
const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";
const NEW_KEY: &str = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=";

/// What an operator does to a device.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Disable,
    Delete,
    DeleteAndMakeAnew,
    ReplaceKeys,
    MakeX509,
}

const DEEDS: [Deed; 5] =
    [Deed::Disable, Deed::Delete, Deed::DeleteAndMakeAnew, Deed::ReplaceKeys, Deed::MakeX509];

async fn act(scene: &Scene, deed: Deed) {
    match deed {
        Deed::Disable => scene.rewrite("disabled", (KEY, OTHER_KEY)).await,
        Deed::Delete => scene.delete_device().await,
        Deed::DeleteAndMakeAnew => {
            scene.delete_device().await;
            scene.put_device(DEVICE).await;
        }
        Deed::ReplaceKeys => scene.rewrite("enabled", (NEW_KEY, OTHER_KEY)).await,
        Deed::MakeX509 => {
            let thumbprint = "A".repeat(64);
            let document = format!(
                r#"{{"deviceId":"{DEVICE}","authentication":{{"type":"selfSigned","x509Thumbprint":{{"primaryThumbprint":"{thumbprint}"}}}}}}"#
            );
            scene.put(&document, Precondition::Any).await;
        }
    }
}

#[tokio::test]
async fn an_idle_session_is_cut_when_the_registry_no_longer_lets_it_in() {
    for deed in DEEDS {
        let scene = scene().await;
        let client = scene.connected().await;
        act(&scene, deed).await;
        client.expect_cut().await;
        assert_eq!(scene.app.n_sessions(), 0, "{deed:?}");
        // With what it has it stays out, except where a new device has the same keys.
        let (answer, _client) = scene.connect(scene.hello()).await;
        let expected = match deed {
            Deed::DeleteAndMakeAnew => ConnAck::Accepted { session_present: false },
            _ => ConnAck::Refused(ConnectRefusal::NotAuthorized),
        };
        assert_eq!(answer, expected, "{deed:?}");
    }
}

#[tokio::test]
async fn what_is_sent_after_the_change_has_no_effect_and_no_acknowledgement() {
    for deed in DEEDS {
        let scene = scene().await;
        let mut client = scene.connected().await;
        client.publish_acked(EVENTS, "before").await;
        act(&scene, deed).await;
        client.publish(EVENTS, "after").await;
        client.publish_once("$iothub/twin/PATCH/properties/reported/?$rid=1", r#"{"a":1}"#).await;
        client.expect_cut().await;
        let bodies = scene.bodies().await;
        // The events of a deleted device may go with it.
        assert!(bodies.iter().all(|body| body == "before"), "{deed:?}: {bodies:?}");
        if !matches!(deed, Deed::Delete) {
            assert_eq!(scene.device().await.twin.reported.version_number, 1, "{deed:?}");
        }
    }
}

#[tokio::test]
async fn of_what_is_sent_during_the_change_just_what_is_acknowledged_is_sure() {
    for deed in DEEDS {
        let scene = scene().await;
        let mut client = scene.connected().await;
        let mut sent = Vec::new();
        for n in 0..16 {
            sent.push(client.publish(EVENTS, &n.to_string()).await);
        }
        act(&scene, deed).await;
        client.publish(EVENTS, "after").await;
        let mut n_acked = 0;
        while let Some(packet) = client.next().await {
            assert_eq!(packet, Packet::PubAck(Some(sent[n_acked])), "{deed:?}");
            n_acked += 1;
        }
        client.over().await;
        let bodies = scene.bodies().await;
        let expected: Vec<_> = (0..bodies.len()).map(|n| n.to_string()).collect();
        assert_eq!(bodies, expected, "{deed:?}");
        assert!(bodies.len() >= n_acked && bodies.len() <= 16, "{deed:?}: {n_acked} acked");
    }
}

#[tokio::test]
async fn a_device_that_does_not_read_is_cut_all_the_same() {
    for deed in DEEDS {
        let scene = scene().await;
        let mut client = scene.open_with(256, Vec::new());
        client.send(Packet::Connect(Box::new(scene.hello()))).await;
        client.expect(Packet::ConnAck(ConnAck::Accepted { session_present: false })).await;
        client.subscribed(DESIRED).await;
        // More than the connection holds: the hub is in the middle of writing.
        let patch = format!(r#"{{"a":"{}"}}"#, "x".repeat(1000));
        scene.desire(&patch).await;
        act(&scene, deed).await;
        client.over().await;
        assert_eq!(scene.app.n_sessions(), 0, "{deed:?}");
    }
}

#[tokio::test]
async fn a_device_that_lets_its_changes_pile_up_is_cut() {
    let scene = scene().await;
    let mut client = scene.open_with(256, Vec::new());
    client.send(Packet::Connect(Box::new(scene.hello()))).await;
    client.expect(Packet::ConnAck(ConnAck::Accepted { session_present: false })).await;
    client.subscribed(DESIRED).await;
    for n in 0..70 {
        scene.desire(&format!(r#"{{"n":{n},"a":"{}"}}"#, "x".repeat(300))).await;
    }
    client.over().await;
    assert_eq!(scene.app.n_sessions(), 0);
}

#[tokio::test]
async fn a_change_that_leaves_the_credential_alone_ends_nothing() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    // The other key, a reason, and the same once more.
    scene.rewrite("enabled", (KEY, NEW_KEY)).await;
    scene.rewrite("enabled", (NEW_KEY, KEY)).await;
    scene.desire(r#"{"a":1}"#).await;
    for n in 0..20 {
        client.publish(EVENTS, &n.to_string()).await;
        if n == 10 {
            scene.rewrite("enabled", (KEY, OTHER_KEY)).await;
        }
    }
    for n in 1..=20 {
        client.expect(Packet::PubAck(crate::proto::PacketId::new(n))).await;
    }
    assert_eq!(scene.events().await.len(), 20);
}

#[tokio::test]
async fn a_session_by_a_policys_key_ends_with_the_key() {
    let scene = scene().await;
    let key = scene.policy_keys("device").await.primary;
    let token = scene.token_of(HUB, key.reveal(), 600, Some("device"));
    let login = Some(login(&user_name(DEVICE), Some(&token)));
    let by_policy = scene.connected_with(Connect { login, ..scene.hello() }).await;
    scene.put_device("dev2").await;
    let own_token = scene.token_for("dev2", KEY, 600);
    let mut by_own_key = scene
        .connected_with(Connect {
            client_id: crate::proto::Text::new("dev2").expect("legal"),
            login: Some(super::scene::login(&user_name("dev2"), Some(&own_token))),
            ..scene.hello()
        })
        .await;
    let scope = PolicyScope::Hub(scene.hub.clone());
    let slot = app::policies::KeySlot::Primary;
    let any = Precondition::Any;
    let rotated = scene.app.rotate_policy_key(&scope, "device", slot, None, &any, &owner()).await;
    rotated.expect("rotated");
    by_policy.expect_cut().await;
    by_own_key.hears_nothing().await;
}

#[tokio::test]
async fn a_second_connection_takes_over_and_the_first_has_no_effect_any_more() {
    let scene = scene().await;
    let mut first = scene.connected().await;
    first.publish_acked(EVENTS, "first").await;
    let mut second = scene.connected().await;
    first.publish(EVENTS, "too late").await;
    first.expect_cut().await;
    second.publish_acked(EVENTS, "second").await;
    assert_eq!(scene.bodies().await, ["first", "second"]);
    assert_eq!(scene.app.n_sessions(), 1);
}

#[tokio::test]
async fn of_many_connections_at_once_one_stays() {
    let scene = scene().await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = scene.open();
        client.send(Packet::Connect(Box::new(scene.hello()))).await;
        clients.push(client);
    }
    let mut n_alive = 0;
    for client in &mut clients {
        client.send(Packet::PingReq).await;
        let mut is_alive = false;
        while let Some(packet) = client.next().await {
            if packet == Packet::PingResp {
                is_alive = true;
                break;
            }
        }
        n_alive += u32::from(is_alive);
    }
    assert!(n_alive >= 1);
    // Whoever answered a ping may have been taken over since; the index knows.
    assert_eq!(scene.app.n_sessions(), 1);
    let mut n_left = 0;
    for mut client in clients {
        client.send(Packet::PingReq).await;
        n_left += u32::from(client.next().await == Some(Packet::PingResp));
    }
    assert_eq!(n_left, 1);
}

#[tokio::test]
async fn a_session_ends_soon_after_its_token() {
    let scene = scene().await;
    let token = scene.token_for(DEVICE, KEY, 30);
    let login = Some(login(&user_name(DEVICE), Some(&token)));
    let hello = Connect { login, keep_alive_secs: 0, ..scene.hello() };
    let mut client = scene.connected_with(hello).await;
    scene.advance_secs(29);
    client.publish_acked(EVENTS, "1").await;
    scene.advance_secs(2);
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    client.expect_cut().await;
    // The session slept by its own clock; beyond that, nothing was waited for.
    assert!(started.elapsed() <= Duration::from_secs(32), "{:?}", started.elapsed());
    assert_eq!(scene.app.n_sessions(), 0);
}

#[tokio::test]
async fn a_token_for_thousands_of_years_is_no_trouble() {
    let scene = scene().await;
    for life_secs in [1_i64 << 33, 1 << 38] {
        let token = scene.token_for(DEVICE, KEY, life_secs);
        let login = Some(login(&user_name(DEVICE), Some(&token)));
        let hello = Connect { login, keep_alive_secs: 0, ..scene.hello() };
        let mut client = scene.connected_with(hello).await;
        client.hears_nothing().await;
        client.leave().await;
    }
}

/// How long a silent device stays connected, and that it leaves its will.
async fn check_silence(keep_alive_secs: u16, expected: Duration) {
    let scene = scene().await;
    let token = scene.token_for(DEVICE, KEY, 86_400);
    let hello = Connect {
        keep_alive_secs,
        will: will(EVENTS, "lost"),
        login: Some(login(&user_name(DEVICE), Some(&token))),
        ..scene.hello()
    };
    let mut client = scene.connected_with(hello).await;
    client.hears_nothing().await;
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    assert_eq!(client.next().await, None);
    let silent = started.elapsed();
    assert!(silent.abs_diff(expected) < Duration::from_secs(1), "{silent:?}");
    tokio::time::resume();
    client.over().await;
    assert_eq!(scene.bodies().await, ["lost"]);
}

#[tokio::test]
async fn a_device_is_lost_after_one_and_a_half_times_its_keep_alive() {
    check_silence(60, Duration::from_secs(90)).await;
}

#[tokio::test]
async fn no_keep_alive_is_longer_than_the_cap() {
    check_silence(0, Duration::from_secs(1767)).await;
    check_silence(u16::MAX, Duration::from_secs(1767)).await;
}

#[tokio::test]
async fn a_ping_keeps_a_device_connected() {
    let scene = scene().await;
    let hello = Connect { keep_alive_secs: 10, ..scene.hello() };
    let mut client = scene.connected_with(hello).await;
    tokio::time::pause();
    for _ in 0..5 {
        tokio::time::advance(Duration::from_secs(14)).await;
        client.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_device_that_reads_nothing_is_given_up() {
    let settings =
        MqttSettings { write_timeout: Duration::from_secs(5), ..MqttSettings::default() };
    let scene = scene_with(settings, app::limits::RateSettings::default()).await;
    let mut client = scene.open_with(64, Vec::new());
    client.send(Packet::Connect(Box::new(scene.hello()))).await;
    client.expect(Packet::ConnAck(ConnAck::Accepted { session_present: false })).await;
    client.subscribed(DESIRED).await;
    scene.desire(&format!(r#"{{"a":"{}"}}"#, "x".repeat(300))).await;
    tokio::time::pause();
    client.over().await;
    assert_eq!(scene.app.n_sessions(), 0);
}

#[tokio::test]
async fn a_server_that_stops_closes_its_sessions() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.publish_acked(EVENTS, "1").await;
    scene.stop();
    client.expect_cut().await;
    assert_eq!(scene.app.n_sessions(), 0);
}

#[tokio::test]
async fn a_device_is_written_as_connected_for_as_long_as_it_is() {
    let scene = scene().await;
    let is_connected = async || scene.device().await.identity.connected;
    assert!(!is_connected().await);
    let client = scene.connected().await;
    assert!(is_connected().await);
    client.vanish().await;
    scene.app.see_off().await;
    assert!(!is_connected().await);
}

/// A frame as clients send them, with a mask that changes nothing.
fn frame(packet: &Packet) -> Vec<u8> {
    let mut payload = bytes::BytesMut::new();
    encode(packet, &mut payload).expect("a packet that can be sent");
    let length = u16::try_from(payload.len()).expect("short");
    let head = match length {
        ..126 => vec![0x82, 0x80 | length as u8],
        _ => [&[0x82, 0x80 | 126][..], &length.to_be_bytes()].concat(),
    };
    [&head[..], &[0; 4], &payload].concat()
}

/// .NET's and the browsers' clients take the end of a WebSocket without a goodbye for a failure.
#[tokio::test]
async fn a_device_that_leaves_its_websocket_is_told_goodbye() {
    let scene = scene().await;
    let (ours, mut client) = duplex(64 * 1024);
    let peer = Peer { address: ([127, 0, 0, 1], 50_000).into(), client_chain: Vec::new() };
    let (_stop, shutdown) = watch::channel(false);
    let stream = WsStream::new(ours, Vec::new());
    let served = tokio::spawn(scene.door.serve_stream(stream, peer, shutdown));
    for packet in [Packet::Connect(Box::new(scene.hello())), Packet::Disconnect] {
        client.write_all(&frame(&packet)).await.expect("sent");
    }
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.expect("to the end");
    let connack: &[u8] = &[0x82, 4, 0x20, 2, 0, 0];
    let goodbye: &[u8] = &[0x88, 2, 0x03, 0xe8];
    assert_eq!(heard, [connack, goodbye].concat());
    drop(client);
    served.await.expect("no panic");
}
