//! The reference transcript of a device's life (H §4.6), packet by packet.

use super::scene::*;
use crate::proto::{ConnAck, ConnectRefusal};

#[tokio::test]
async fn a_devices_life_goes_as_the_reference_says() {
    let scene = scene().await;
    scene.desire(r#"{"interval":60}"#).await;
    let (answer, mut client) = scene.connect(scene.hello()).await;
    assert_eq!(answer, ConnAck::Accepted { session_present: false });
    client.subscribed("$iothub/twin/res/#").await;
    client.publish_acked("$iothub/twin/GET/?$rid=4b1c", " ").await;
    let (topic, body, _) = client.message().await;
    assert_eq!(topic, "$iothub/twin/res/200/?$rid=4b1c");
    assert_eq!(body, r#"{"desired":{"interval":60,"$version":2},"reported":{"$version":1}}"#);
    client.subscribed("$iothub/twin/PATCH/properties/desired/#").await;
    let event = "devices/dev1/messages/events/%24.mid=1&%24.ct=application%2Fjson&%24.ce=utf-8&k=v";
    client.publish_acked(event, r#"{"t":21}"#).await;
    scene.desire(r#"{"interval":30}"#).await;
    let (topic, body, _) = client.message().await;
    assert_eq!(topic, "$iothub/twin/PATCH/properties/desired/?$version=3");
    assert_eq!(body, r#"{"interval":30,"$version":3}"#);
    // The SDK renews its token: another connection, and no SUBSCRIBE.
    client.leave().await;
    scene.advance_secs(500);
    let (answer, mut client) = scene.connect(scene.hello()).await;
    assert_eq!(answer, ConnAck::Accepted { session_present: true });
    client.publish_acked("$iothub/twin/GET/?$rid=4b1d", " ").await;
    let (topic, body, _) = client.message().await;
    assert_eq!(topic, "$iothub/twin/res/200/?$rid=4b1d");
    assert_eq!(body, r#"{"desired":{"interval":30,"$version":3},"reported":{"$version":1}}"#);
    scene.rewrite("disabled", (KEY, OTHER_KEY)).await;
    client.expect_cut().await;
    let refused = ConnAck::Refused(ConnectRefusal::NotAuthorized);
    let (answer, client) = scene.connect(scene.hello()).await;
    assert_eq!(answer, refused);
    client.expect_cut().await;
    scene.delete_device().await;
    let (answer, client) = scene.connect(scene.hello()).await;
    assert_eq!(answer, refused);
    client.expect_cut().await;
    assert_eq!(scene.bodies().await, [r#"{"t":21}"#]);
}
