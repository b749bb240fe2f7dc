//! A device and its twin (H §3.5, §4.2.7).

use super::scene::*;
use crate::proto::{Grant, Packet, Qos};

const ANSWERS: &str = "$iothub/twin/res/#";
const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";
const REPORT: &str = "$iothub/twin/PATCH/properties/reported/?$rid=";

async fn listening(scene: &Scene) -> Client {
    let mut client = scene.connected().await;
    client.subscribed(ANSWERS).await;
    client
}

/// Sends a request of QoS 1; the answer's topic and body.
async fn ask(client: &mut Client, topic: &str, body: &str) -> (String, String) {
    client.publish_acked(topic, body).await;
    let (topic, body, id) = client.message().await;
    assert_eq!(id, None, "answers have QoS 0");
    (topic, body)
}

#[tokio::test]
async fn a_device_reads_its_twin_without_tags_and_metadata() {
    let scene = scene().await;
    scene.desire(r#"{"interval":60}"#).await;
    let mut client = listening(&scene).await;
    let (topic, body) = ask(&mut client, "$iothub/twin/GET/?$rid=4b1c", " ").await;
    assert_eq!(topic, "$iothub/twin/res/200/?$rid=4b1c");
    assert_eq!(body, r#"{"desired":{"interval":60,"$version":2},"reported":{"$version":1}}"#);
}

#[tokio::test]
async fn trap_24_the_acknowledgement_comes_before_the_answer_and_the_rid_as_it_was() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    for rid in ["1", "%41", "a-b.c", "00000000-0000-0000-0000-000000000000"] {
        let (topic, _) = ask(&mut client, &format!("$iothub/twin/GET/?$rid={rid}"), "").await;
        assert_eq!(topic, format!("$iothub/twin/res/200/?$rid={rid}"));
    }
    // Of QoS 0 there is no acknowledgement.
    client.publish_once("$iothub/twin/GET/?$rid=0", "").await;
    assert_eq!(client.message().await.0, "$iothub/twin/res/200/?$rid=0");
}

#[tokio::test]
async fn what_is_reported_is_merged_and_read_back() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    let (topic, body) =
        ask(&mut client, &format!("{REPORT}1"), r#"{"a":1.50,"b":{"c":"x"}}"#).await;
    assert_eq!((topic.as_str(), body.as_str()), ("$iothub/twin/res/204/?$rid=1&$version=2", ""));
    let (topic, _) = ask(&mut client, &format!("{REPORT}2"), r#"{"b":{"c":null,"d":2}}"#).await;
    assert_eq!(topic, "$iothub/twin/res/204/?$rid=2&$version=3");
    let (_, body) = ask(&mut client, "$iothub/twin/GET/?$rid=3", "").await;
    assert_eq!(
        body,
        r#"{"desired":{"$version":1},"reported":{"a":1.50,"b":{"d":2},"$version":3}}"#
    );
}

#[tokio::test]
async fn requests_sent_at_once_are_done_in_their_order() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    for n in 0..5 {
        client.publish_once(&format!("{REPORT}{n}"), &format!(r#"{{"n":{n}}}"#)).await;
        client.publish_once(&format!("$iothub/twin/GET/?$rid=g{n}"), "").await;
    }
    for n in 0..5 {
        let (topic, ..) = client.message().await;
        assert_eq!(topic, format!("$iothub/twin/res/204/?$rid={n}&$version={}", n + 2));
        let (topic, body, _) = client.message().await;
        assert_eq!(topic, format!("$iothub/twin/res/200/?$rid=g{n}"));
        assert!(body.contains(&format!(r#""n":{n}"#)), "{body}");
    }
}

#[tokio::test]
async fn a_demanded_version_that_is_not_the_current_one_is_a_412() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    let (topic, _) = ask(&mut client, &format!("{REPORT}1&$version=1"), r#"{"a":1}"#).await;
    assert_eq!(topic, "$iothub/twin/res/204/?$rid=1&$version=2");
    let (topic, body) = ask(&mut client, &format!("{REPORT}2&$version=1"), r#"{"a":2}"#).await;
    assert_eq!(topic, "$iothub/twin/res/412/?$rid=2");
    assert!(body.starts_with(r#"{"errorCode":412001,"trackingId":""#), "{body}");
}

#[tokio::test]
async fn what_cannot_be_a_report_is_a_400_with_a_number_that_node_finds() {
    let scene = scene().await;
    let mut client = listening(&scene).await;
    let deep = format!(r#"{}1{}"#, r#"{"a":"#.repeat(200), "}".repeat(200));
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(5000));
    for bad in ["", "{", "[]", "1", r#"{"a.b":1}"#, "\u{feff}", &deep, &large] {
        let (topic, body) = ask(&mut client, &format!("{REPORT}1"), bad).await;
        assert_eq!(topic, "$iothub/twin/res/400/?$rid=1", "{bad:.40}");
        assert!(body.starts_with(r#"{"errorCode":4000"#), "{bad:.40}: {body}");
        assert!(body.contains(r#""timestampUtc":"2026-01-01T00:00:00Z""#), "{body}");
    }
    let (_, body) = ask(&mut client, "$iothub/twin/GET/?$rid=3", "").await;
    assert_eq!(body, r#"{"desired":{"$version":1},"reported":{"$version":1}}"#);
}

#[tokio::test]
async fn who_does_not_listen_for_answers_gets_none_but_is_heard() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.publish_acked(&format!("{REPORT}1"), r#"{"a":1}"#).await;
    client.hears_nothing().await;
    assert_eq!(scene.device().await.twin.reported.version_number, 2);
}

#[tokio::test]
async fn a_change_of_desired_properties_is_told_with_its_nulls_and_version() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.subscribed(DESIRED).await;
    scene.desire(r#"{"interval":30,"old":null}"#).await;
    let (topic, body, id) = client.message().await;
    assert_eq!(topic, "$iothub/twin/PATCH/properties/desired/?$version=2");
    assert_eq!(body, r#"{"interval":30,"old":null,"$version":2}"#);
    client.send(Packet::PubAck(id)).await;
    assert!(id.is_some(), "QoS 1 was granted");
    scene.desire(r#"{"interval":31}"#).await;
    assert_eq!(client.message().await.1, r#"{"interval":31,"$version":3}"#);
}

#[tokio::test]
async fn a_device_that_never_acknowledges_changes_hears_of_all_of_them() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    client.subscribed(DESIRED).await;
    for n in 0..40 {
        scene.desire(&format!(r#"{{"n":{n}}}"#)).await;
        let (_, body, id) = client.message().await;
        assert_eq!(body, format!(r#"{{"n":{n},"$version":{}}}"#, n + 2));
        assert_eq!(id.is_some(), n < 32, "{n}");
    }
}

#[tokio::test]
async fn a_change_is_not_told_to_who_did_not_ask_or_asks_no_more() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    scene.desire(r#"{"n":1}"#).await;
    client.hears_nothing().await;
    let grants = client.subscribe(&[(DESIRED, Qos::AtMostOnce)]).await;
    assert_eq!(grants, [Grant::Granted(Qos::AtMostOnce)]);
    scene.desire(r#"{"n":2}"#).await;
    assert_eq!(client.message().await.2, None);
    client.unsubscribe(DESIRED).await;
    scene.desire(r#"{"n":3}"#).await;
    client.hears_nothing().await;
}
