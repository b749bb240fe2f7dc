//! What a device subscribes to, and that it is remembered (H §4.2.4, §4.2.5).

use super::scene::*;
use crate::proto::{ConnAck, Connect, Grant, Packet, Qos};

const MESSAGES: &str = "devices/dev1/messages/devicebound/#";
const TWIN: &str = "$iothub/twin/res/#";
const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";
const METHODS: &str = "$iothub/methods/POST/#";

/// Asks for the twin; whether it comes.
async fn hears_twin(client: &mut Client) -> bool {
    client.publish_acked("$iothub/twin/GET/?$rid=7", " ").await;
    client.send(Packet::PingReq).await;
    match client.packet().await {
        Packet::PingResp => false,
        Packet::Publish(_) => {
            client.expect(Packet::PingResp).await;
            true
        }
        other => panic!("{other:?}"),
    }
}

fn clean(hello: Connect) -> Connect {
    Connect { clean_session: true, ..hello }
}

const fn present(session_present: bool) -> ConnAck {
    ConnAck::Accepted { session_present }
}

#[tokio::test]
async fn each_legal_filter_is_granted_with_qos_1_at_most_and_every_other_refused() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    let once = Grant::Granted(Qos::AtMostOnce);
    let acked = Grant::Granted(Qos::AtLeastOnce);
    for (filter, qos, expected) in [
        (MESSAGES, Qos::AtMostOnce, once),
        (TWIN, Qos::AtLeastOnce, acked),
        (DESIRED, Qos::ExactlyOnce, acked),
        (METHODS, Qos::ExactlyOnce, acked),
        ("#", Qos::AtLeastOnce, Grant::Refused),
        ("devices/#", Qos::AtLeastOnce, Grant::Refused),
        ("devices/+/messages/devicebound/#", Qos::AtLeastOnce, Grant::Refused),
        ("devices/dev10/messages/devicebound/#", Qos::AtLeastOnce, Grant::Refused),
        ("devices/dev1/messages/events/#", Qos::AtLeastOnce, Grant::Refused),
        ("$iothub/#", Qos::AtLeastOnce, Grant::Refused),
        ("$dps/registrations/res/#", Qos::AtLeastOnce, Grant::Refused),
    ] {
        assert_eq!(client.subscribe(&[(filter, qos)]).await, [expected], "{filter}");
    }
}

#[tokio::test]
async fn filters_in_one_packet_are_answered_in_their_order() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    let grants = client
        .subscribe(&[("#", Qos::AtLeastOnce), (TWIN, Qos::AtMostOnce), (TWIN, Qos::AtLeastOnce)])
        .await;
    assert_eq!(
        grants,
        [Grant::Refused, Grant::Granted(Qos::AtMostOnce), Grant::Granted(Qos::AtLeastOnce),]
    );
    assert!(hears_twin(&mut client).await);
}

#[tokio::test]
async fn a_device_that_comes_back_finds_what_it_subscribed_to() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.subscribed(TWIN).await;
    client.leave().await;
    // After a goodbye, after a lost connection, and while the old connection is still there.
    let (answer, mut client) = scene.connect(scene.hello()).await;
    assert_eq!(answer, present(true));
    assert!(hears_twin(&mut client).await);
    client.vanish().await;
    let (answer, first) = scene.connect(scene.hello()).await;
    assert_eq!(answer, present(true));
    let (answer, mut second) = scene.connect(scene.hello()).await;
    assert_eq!(answer, present(true));
    first.expect_cut().await;
    assert!(hears_twin(&mut second).await);
}

#[tokio::test]
async fn a_restart_of_the_server_forgets_no_subscription() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.subscribed(TWIN).await;
    client.subscribed(DESIRED).await;
    client.leave().await;
    let scene = scene.restarted();
    let (answer, mut client) = scene.connect(scene.hello()).await;
    assert_eq!(answer, present(true));
    assert!(hears_twin(&mut client).await);
    scene.desire(r#"{"a":1}"#).await;
    let (topic, ..) = client.message().await;
    assert_eq!(topic, "$iothub/twin/PATCH/properties/desired/?$version=2");
}

#[tokio::test]
async fn a_clean_session_is_forgotten_and_forgets_the_one_before() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.subscribed(TWIN).await;
    client.leave().await;
    let (answer, mut client) = scene.connect(clean(scene.hello())).await;
    assert_eq!(answer, present(false));
    assert!(!hears_twin(&mut client).await);
    client.subscribed(TWIN).await;
    assert!(hears_twin(&mut client).await);
    client.leave().await;
    let (answer, mut client) = scene.connect(scene.hello()).await;
    assert_eq!(answer, present(false));
    assert!(!hears_twin(&mut client).await);
}

#[tokio::test]
async fn what_is_unsubscribed_stays_so() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.subscribed(TWIN).await;
    client.unsubscribe("no/such/filter").await;
    assert!(hears_twin(&mut client).await);
    client.unsubscribe(TWIN).await;
    assert!(!hears_twin(&mut client).await);
    client.leave().await;
    let mut client = scene.connected().await;
    assert!(!hears_twin(&mut client).await);
}

#[tokio::test]
async fn a_device_made_anew_under_its_name_finds_nothing() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.subscribed(TWIN).await;
    client.leave().await;
    scene.delete_device().await;
    scene.put_device(DEVICE).await;
    let (answer, mut client) = scene.connect(scene.hello()).await;
    assert_eq!(answer, present(false));
    assert!(!hears_twin(&mut client).await);
}
