//! Twins, from the operator's side (H §3).

use serde_json::{Value, json};

use super::scene::{NOW_TEXT, Scene, scene};

async fn scene_with_device() -> Scene {
    let scene = scene().await;
    scene.hub("PUT", "/devices/dev1", r#"{"deviceId":"dev1"}"#).await.with_status(200);
    scene
}

#[tokio::test]
async fn a_fresh_twin_is_the_recorded_one() {
    let scene = scene_with_device().await;
    let twin = scene.hub("GET", "/twins/dev1", "").await.with_status(200);
    let device_etag = scene.hub("GET", "/devices/dev1", "").await.text_at("/etag");
    assert_eq!(
        twin.text,
        format!(
            r#"{{"deviceId":"dev1","etag":"AAAAAAAAAAE=","deviceEtag":"{device_etag}","status":"enabled","statusUpdateTime":"0001-01-01T00:00:00Z","connectionState":"Disconnected","lastActivityTime":"0001-01-01T00:00:00Z","cloudToDeviceMessageCount":0,"authenticationType":"sas","x509Thumbprint":{{"primaryThumbprint":null,"secondaryThumbprint":null}},"version":2,"properties":{{"desired":{{"$metadata":{{"$lastUpdated":"{NOW_TEXT}"}},"$version":1}},"reported":{{"$metadata":{{"$lastUpdated":"{NOW_TEXT}"}},"$version":1}}}},"capabilities":{{"iotEdge":false}}}}"#
        )
    );
    assert_eq!(twin.header("etag"), "", "a twin's etag stands in the body only");
}

#[tokio::test]
async fn a_patch_merges_and_a_put_replaces() {
    let scene = scene_with_device().await;
    let patch = r#"{"tags":{"site":"north","n":1.0},"properties":{"desired":{"a":{"b":1,"c":2}}}}"#;
    let first = scene.hub("PATCH", "/twins/dev1", patch).await.with_status(200);
    assert_eq!(first.at("/etag"), "AAAAAAAAAAI=");
    assert!(first.text.contains("1.0"), "numbers stay as they were written");
    let patch =
        r#"{"tags":{"site":null},"properties":{"desired":{"a":{"b":null}},"reported":{"x":1}}}"#;
    let second = scene.hub("PATCH", "/twins/dev1", patch).await.with_status(200);
    assert_eq!(second.at("/tags/site"), Value::Null);
    assert_eq!(second.at("/properties/desired/a"), json!({"c": 2}));
    assert_eq!(second.at("/properties/reported/x"), Value::Null);
    assert_eq!(second.at("/properties/desired/$version"), 3);
    let put = r#"{"properties":{"desired":{"z":1}}}"#;
    let third = scene.hub("PUT", "/twins/dev1", put).await.with_status(200);
    assert_eq!((third.at("/tags"), third.at("/properties/desired/a")), (Value::Null, Value::Null));
    assert_eq!(third.at("/properties/desired/z"), 1);
}

/// A write of a twin with this `If-Match`, `TAG` standing for its own etag.
async fn check_if_match(method: &str, if_match: Option<&str>, status: u16) {
    let scene = scene_with_device().await;
    let mut ask = scene.hub_owner(method, "/twins/dev1").json(r#"{"tags":{"a":1}}"#);
    if let Some(text) = if_match {
        ask = ask.header("if-match", text.replace("TAG", "AAAAAAAAAAE="));
    }
    let reply = scene.send(ask).await;
    assert_eq!(reply.status, status, "{method} {if_match:?}: {reply:?}");
    if status == 412 {
        let reply = reply.with_name(412, "PreconditionFailed");
        assert!(reply.text_at("/Message").contains("ETag mismatch for device ID 'dev1'"));
    }
}

#[tokio::test]
async fn a_twin_is_written_unless_its_own_etag_was_demanded_and_moved() {
    for method in ["PATCH", "PUT"] {
        for good in
            [None, Some(""), Some("\"\""), Some("*"), Some("\"*\""), Some("TAG"), Some("\"TAG\"")]
        {
            check_if_match(method, good, 200).await;
        }
        check_if_match(method, Some("\"AAAAAAAAAAI=\""), 412).await;
    }
}

#[tokio::test]
async fn bad_twins_are_refused_and_leave_the_twin_alone() {
    let scene = scene_with_device().await;
    let before = scene.hub("GET", "/twins/dev1", "").await.text;
    let large = json!({"tags": {"x": {"a": "y".repeat(4000), "b": "y".repeat(4000), "c": "y".repeat(4000)}}});
    for (body, name) in [
        (String::new(), "ArgumentInvalid"),
        ("{".to_owned(), "IotHubFormatError"),
        ("[]".to_owned(), "ArgumentInvalid"),
        (r#"{"tags":7}"#.to_owned(), "ArgumentInvalid"),
        (r#"{"tags":{"a.b":1}}"#.to_owned(), "ArgumentInvalid"),
        (r#"{"properties":{"desired":{"a":[null]}}}"#.to_owned(), "ArgumentInvalid"),
        (r#"{"properties":{"desired":{"a":4503599627370496}}}"#.to_owned(), "ArgumentInvalid"),
        (large.to_string(), "ArgumentInvalid"),
    ] {
        let reply = scene.hub("PATCH", "/twins/dev1", &body).await;
        assert_eq!(reply.header("iothub-errorcode"), name, "{body:.60}: {reply:?}");
        reply.with_name(400, name);
    }
    assert_eq!(scene.hub("GET", "/twins/dev1", "").await.text, before);
    scene.hub("PATCH", "/twins/nobody", "{}").await.with_name(404, "DeviceNotFound");
}
