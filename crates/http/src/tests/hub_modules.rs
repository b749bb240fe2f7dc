//! Modules of devices: identities, twins, methods, events (H §2.8, §3.1).

use app::device::EventDraft;
use serde_json::{Value, json};

use super::scene::{KEY, OTHER_KEY, Reply, Scene, scene};

const PATH: &str = "/devices/a/modules/m";

/// A scene with the device `a`.
async fn with_device() -> Scene {
    let scene = scene().await;
    scene.hub("PUT", "/devices/a", r#"{"deviceId":"a"}"#).await.with_status(200);
    scene
}

async fn create(scene: &Scene, module: &str) -> Reply {
    let body = json!({"deviceId": "a", "moduleId": module}).to_string();
    scene.hub("PUT", &format!("/devices/a/modules/{module}"), &body).await.with_status(200)
}

#[tokio::test]
async fn a_module_is_created_read_replaced_and_deleted() {
    let scene = with_device().await;
    let body = json!({
        "deviceId": "a", "moduleId": "m", "managedBy": "somebody",
        "authentication": {"type": "none", "symmetricKey": {"primaryKey": KEY, "secondaryKey": OTHER_KEY}},
    });
    let made = scene.hub("PUT", PATH, &body.to_string()).await.with_status(200);
    let (generation, etag) = (made.text_at("/generationId"), made.text_at("/etag"));
    assert_eq!(
        made.text,
        format!(
            r#"{{"moduleId":"m","managedBy":"somebody","deviceId":"a","generationId":"{generation}","etag":"{etag}","connectionState":"Disconnected","connectionStateUpdatedTime":"0001-01-01T00:00:00","lastActivityTime":"0001-01-01T00:00:00","cloudToDeviceMessageCount":0,"authentication":{{"symmetricKey":{{"primaryKey":"{KEY}","secondaryKey":"{OTHER_KEY}"}},"x509Thumbprint":{{"primaryThumbprint":null,"secondaryThumbprint":null}},"type":"sas"}}}}"#
        )
    );
    // As recorded, modules carry no etag in a header (H §2.1).
    assert_eq!(made.header("etag"), "");
    let read = scene.hub("GET", PATH, "").await.with_status(200);
    assert_eq!(read.at("/managedBy"), "somebody");
    assert_eq!(read.header("etag"), "");

    let again = json!({"deviceId": "a", "moduleId": "m"}).to_string();
    let conflict = scene.hub("PUT", PATH, &again).await;
    assert_eq!((conflict.status, conflict.at("/errorCode")), (409, json!(409_301)), "{conflict:?}");
    assert_eq!(conflict.header("iothub-errorcode"), "ModuleAlreadyExistsOnDevice");
    let ask = scene.hub_owner("PUT", PATH).header("if-match", "\"*\"").json(&again);
    let replaced = scene.send(ask).await.with_status(200);
    assert_ne!(replaced.text_at("/etag"), etag);
    assert_eq!(replaced.at("/managedBy"), Value::Null);

    scene.hub("DELETE", PATH, "").await.with_name(412, "PreconditionFailed");
    let ask = scene.hub_owner("DELETE", PATH).header("if-match", format!("\"{etag}\""));
    scene.send(ask).await.with_name(412, "PreconditionFailed");
    let ask = scene.hub_owner("DELETE", PATH).header("if-match", "*");
    scene.send(ask).await.with_status(204);
    scene.hub("GET", PATH, "").await.with_name(404, "ModuleNotFound");
}

#[tokio::test]
async fn a_devices_modules_are_listed_and_no_others() {
    let scene = with_device().await;
    scene.hub("PUT", "/devices/b", r#"{"deviceId":"b"}"#).await.with_status(200);
    assert_eq!(scene.hub("GET", "/devices/a/modules", "").await.with_status(200).text, "[]");
    create(&scene, "m2").await;
    create(&scene, "m1").await;
    let list = scene.hub("GET", "/devices/a/modules", "").await.with_status(200);
    assert_eq!((list.at("/0/moduleId"), list.at("/1/moduleId")), (json!("m1"), json!("m2")));
    assert_eq!(list.at("/2"), Value::Null);
    assert_eq!(scene.hub("GET", "/devices/b/modules", "").await.with_status(200).text, "[]");
    scene.hub("GET", "/devices/c/modules", "").await.with_name(404, "DeviceNotFound");
    let devices = scene.hub("GET", "/devices", "").await.with_status(200);
    assert_eq!((devices.at("/1/deviceId"), devices.at("/2")), (json!("b"), Value::Null));
}

#[tokio::test]
async fn a_module_that_cannot_be_is_refused() {
    let scene = with_device().await;
    let check = async |path: &str, body: Value, status: u16, name: &str| {
        scene.hub("PUT", path, &body.to_string()).await.with_name(status, name);
    };
    let of = |device: &str, module: &str| json!({"deviceId": device, "moduleId": module});
    check(PATH, of("a", "M"), 400, "ArgumentInvalid").await;
    check(PATH, of("b", "m"), 400, "ArgumentInvalid").await;
    check(PATH, json!({"deviceId": "a"}), 400, "ArgumentInvalid").await;
    check("/devices/c/modules/m", of("c", "m"), 404, "DeviceNotFound").await;
    check("/devices/a/modules/$edgeAgent", of("a", "$edgeAgent"), 400, "ArgumentInvalid").await;
    check("/devices/a/modules/x%2Fy", of("a", "x/y"), 400, "ArgumentInvalid").await;
    scene.hub("GET", "/devices/a%2Fm", "").await.with_name(400, "ArgumentInvalid");
    scene.hub("PUT", PATH, "").await.with_name(400, "ArgumentInvalid");
    assert_eq!(scene.hub("GET", "/devices/a/modules", "").await.text, "[]");
}

#[tokio::test]
async fn a_modules_twin_is_its_own() {
    let scene = with_device().await;
    let path = "/twins/a/modules/m";
    let missing = scene.hub("GET", path, "").await.with_name(404, "DeviceNotFound");
    assert!(missing.text_at("/Message").ends_with(";a"), "{missing:?}");
    create(&scene, "m").await;
    let fresh = scene.hub("GET", path, "").await.with_status(200);
    assert_eq!((fresh.at("/deviceId"), fresh.at("/moduleId")), (json!("a"), json!("m")));
    assert_eq!((fresh.at("/version"), fresh.at("/capabilities")), (json!(2), Value::Null));
    assert_eq!(fresh.header("etag"), "");
    let patch = r#"{"tags":{"lens":"wide"},"properties":{"desired":{"zoom":2}}}"#;
    let patched = scene.hub("PATCH", path, patch).await.with_status(200);
    assert_eq!(patched.at("/properties/desired/zoom"), 2);
    let replaced = scene.hub("PUT", path, r#"{"tags":{"lens":"long"}}"#).await.with_status(200);
    assert_eq!(replaced.at("/tags/lens"), "long");
    assert_eq!(replaced.at("/properties/desired/zoom"), Value::Null);
    let ask = scene.hub_owner("PATCH", path).header("if-match", "\"AAAAAAAAAAE=\"").json("{}");
    scene.send(ask).await.with_name(412, "PreconditionFailed");
    assert_eq!(scene.hub("GET", "/twins/a", "").await.at("/tags"), Value::Null);
    let query = r#"{"query":"SELECT * FROM devices.modules"}"#;
    scene.hub("POST", "/devices/query", query).await.with_name(400, "InvalidOperation");
}

#[tokio::test]
async fn a_bulk_call_names_the_modules_it_could_not_write() {
    let scene = with_device().await;
    let elements = json!([
        {"id": "a", "moduleId": "m", "importMode": "create", "managedBy": "x"},
        {"id": "a", "moduleId": "m", "importMode": "create"},
    ]);
    scene
        .hub("POST", "/devices", &elements.to_string())
        .await
        .with_name(400, "DeviceDefinedMultipleTimes");
    let elements = json!([
        {"id": "a", "moduleId": "m", "importMode": "create", "managedBy": "x"},
        {"id": "c", "moduleId": "m", "importMode": "create"},
        {"id": "a", "moduleId": "n", "importMode": "delete"},
    ]);
    let reply = scene.hub("POST", "/devices", &elements.to_string()).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    let at = |pointer: &str| reply.at(pointer);
    assert_eq!((at("/errors/0/deviceId"), at("/errors/0/moduleId")), (json!("c"), json!("m")));
    assert_eq!(at("/errors/0/errorCode"), "DeviceNotFound");
    assert_eq!(
        (at("/errors/1/moduleId"), at("/errors/1/errorCode")),
        (json!("n"), json!("ModuleNotFound"))
    );
    assert_eq!(scene.hub("GET", PATH, "").await.with_status(200).at("/managedBy"), "x");
}

#[tokio::test]
async fn a_method_of_a_module_that_is_not_connected_is_not_online() {
    let scene = with_device().await;
    let path = "/twins/a/modules/m/methods";
    let body = r#"{"methodName":"reboot"}"#;
    scene.hub("POST", path, body).await.with_name(404, "ModuleNotFound");
    create(&scene, "m").await;
    let reply = scene.hub("POST", path, body).await;
    assert_eq!((reply.status, reply.header("iothub-errorcode")), (404, "DeviceNotOnline"));
}

#[tokio::test]
async fn what_a_module_sends_is_read_with_its_device() {
    let scene = with_device().await;
    create(&scene, "m").await;
    let (session, _commands) = scene.connect("a/m").await;
    let connected = scene.hub("GET", PATH, "").await.with_status(200);
    assert_eq!(connected.at("/connectionState"), "Connected");
    let draft = EventDraft { body: b"click".to_vec(), ..EventDraft::default() };
    session.send(draft).await.expect("sent");
    let page = scene.hub("GET", "/induct/v1/events?from=earliest&deviceId=a", "").await;
    let page = page.with_status(200);
    let names = (page.at("/events/0/deviceId"), page.at("/events/0/moduleId"));
    assert_eq!(names, (json!("a"), json!("m")));
    let annotations = page.at("/events/0/annotations");
    assert_eq!(annotations["iothub-connection-device-id"], "a");
    assert_eq!(annotations["iothub-connection-module-id"], "m");
    let counts = scene.hub("GET", "/statistics/service", "").await;
    assert_eq!(counts.text, r#"{"connectedDeviceCount":0}"#);
}
