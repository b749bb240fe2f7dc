//! Device identities of a hub (H §2.4 to §2.10).

use serde_json::{Value, json};

use super::scene::{Ask, HUB, KEY, NOW_TEXT, OTHER_KEY, Reply, Scene, scene};

async fn create(scene: &Scene, id: &str) -> Reply {
    let body = json!({"deviceId": id}).to_string();
    scene
        .hub("PUT", &format!("/devices/{}", wire::percent::encode(id)), &body)
        .await
        .with_status(200)
}

#[tokio::test]
async fn an_identity_is_created_as_recorded() {
    let scene = scene().await;
    let body = r#"{"deviceId":"dev1","authentication":{"symmetricKey":{"primaryKey":null,"secondaryKey":null},"type":"sas"},"status":"enabled"}"#;
    let ask = scene.hub_owner("PUT", "/devices/dev1").header("if-match", "\"\"").json(body);
    let reply = scene.send(ask).await.with_status(200);
    let (generation, etag) = (reply.text_at("/generationId"), reply.text_at("/etag"));
    let key = |name: &str| reply.text_at(&format!("/authentication/symmetricKey/{name}Key"));
    let (primary, secondary) = (key("primary"), key("secondary"));
    assert_eq!((primary.len(), secondary.len()), (44, 44), "32 bytes each");
    assert_eq!(
        reply.text,
        format!(
            r#"{{"deviceId":"dev1","generationId":"{generation}","etag":"{etag}","connectionState":"Disconnected","status":"enabled","statusReason":null,"connectionStateUpdatedTime":"0001-01-01T00:00:00","statusUpdatedTime":"0001-01-01T00:00:00","lastActivityTime":"0001-01-01T00:00:00","cloudToDeviceMessageCount":0,"authentication":{{"symmetricKey":{{"primaryKey":"{primary}","secondaryKey":"{secondary}"}},"x509Thumbprint":{{"primaryThumbprint":null,"secondaryThumbprint":null}},"type":"sas"}},"capabilities":{{"iotEdge":false}}}}"#
        )
    );
    assert_eq!(reply.header("etag"), format!("\"{etag}\""));
    assert_eq!(reply.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(reply.header("vary"), "Origin");
    assert_eq!(reply.header("x-ms-request-id").len(), 36);

    let read = scene.hub("GET", "/devices/dev1", "").await.with_status(200);
    assert_eq!(read.at("/statusUpdatedTime"), "0001-01-01T00:00:00Z");
    assert_eq!(read.header("etag"), format!("\"{etag}\""));
}

/// What a request on an identity with this `If-Match` is answered; `name` of the error or nothing.
async fn check_matrix(method: &str, stands: bool, if_match: Option<&str>, status: u16, name: &str) {
    let scene = scene().await;
    let mut etag = "MTIz".to_owned();
    if stands {
        etag = create(&scene, "dev1").await.text_at("/etag");
    }
    let mut ask = scene.hub_owner(method, "/devices/dev1");
    if method == "PUT" {
        ask = ask.json(r#"{"deviceId":"dev1","etag":"bm9ib2R5","status":"disabled"}"#);
    }
    if let Some(text) = if_match {
        ask = ask.header("if-match", text.replace("TAG", &etag));
    }
    let reply = scene.send(ask).await;
    let what = format!("{method}, stands: {stands}, {if_match:?}: {reply:?}");
    assert_eq!(reply.status, status, "{what}");
    assert_eq!(reply.header("iothub-errorcode"), name, "{what}");
    if !name.is_empty() {
        reply.with_name(status, name);
    }
}

#[tokio::test]
async fn the_precondition_decides_between_creation_and_update() {
    for none in [None, Some(""), Some("\"\"")] {
        check_matrix("PUT", true, none, 409, "DeviceAlreadyExists").await;
        check_matrix("PUT", false, none, 200, "").await;
        check_matrix("DELETE", true, none, 412, "PreconditionFailed").await;
        check_matrix("DELETE", false, none, 404, "DeviceNotFound").await;
    }
    for any in [Some("*"), Some("\"*\"")] {
        check_matrix("PUT", true, any, 200, "").await;
        check_matrix("PUT", false, any, 404, "DeviceNotFound").await;
        check_matrix("DELETE", true, any, 204, "").await;
        check_matrix("DELETE", false, any, 404, "DeviceNotFound").await;
    }
    for tag in [Some("TAG"), Some("\"TAG\"")] {
        check_matrix("PUT", true, tag, 200, "").await;
        check_matrix("PUT", false, tag, 404, "DeviceNotFound").await;
        check_matrix("DELETE", true, tag, 204, "").await;
        check_matrix("DELETE", false, tag, 404, "DeviceNotFound").await;
    }
    check_matrix("PUT", true, Some("\"MTIz\""), 412, "PreconditionFailed").await;
    check_matrix("DELETE", true, Some("MTIz"), 412, "PreconditionFailed").await;
}

#[tokio::test]
async fn refusals_say_what_the_recorded_hub_says() {
    let scene = scene().await;
    create(&scene, "dev1").await;
    let check = async |ask: Ask, status: u16, message: &str| {
        let reply = scene.send(ask).await.with_status(status);
        assert!(reply.text_at("/Message").starts_with(message), "{reply:?}");
    };
    let body = r#"{"deviceId":"dev1"}"#;
    check(
        scene.hub_owner("PUT", "/devices/dev1").json(body),
        409,
        "ErrorCode:DeviceAlreadyExists;A device with ID 'dev1' is already registered.",
    )
    .await;
    check(scene.hub_owner("GET", "/devices/mydevice"), 404, "ErrorCode:DeviceNotFound;mydevice")
        .await;
    check(
        scene.hub_owner("PUT", "/devices/dev1").header("if-match", "\"MTIz\"").json(body),
        412,
        "ErrorCode:PreconditionFailed;Precondition failed: Device version did not match, existingVersion:",
    )
    .await;
    let missing = scene.hub("DELETE", "/devices/dev1", "").await.with_status(412);
    assert!(missing.text_at("/Message").contains("Etag missing"), "{missing:?}");
}

#[tokio::test]
async fn an_update_without_authentication_mints_new_keys_and_one_etag_step() {
    let scene = scene().await;
    let body = format!(
        r#"{{"deviceId":"dev1","statusReason":"new","authentication":{{"symmetricKey":{{"primaryKey":"{KEY}","secondaryKey":"{OTHER_KEY}"}}}}}}"#
    );
    let created = scene.hub("PUT", "/devices/dev1", &body).await.with_status(200);
    assert_eq!(created.at("/authentication/symmetricKey/primaryKey"), KEY);
    let ask = scene.hub_owner("PUT", "/devices/dev1").header("if-match", "\"*\"");
    let updated = scene.send(ask.json(r#"{"deviceId":"dev1","status":"disabled"}"#)).await;
    let updated = updated.with_status(200);
    assert_ne!(updated.at("/authentication/symmetricKey/primaryKey"), KEY);
    assert_ne!(updated.at("/etag"), created.at("/etag"));
    assert_eq!(updated.at("/generationId"), created.at("/generationId"));
    assert_eq!(updated.at("/statusReason"), Value::Null);
    assert_eq!(updated.at("/statusUpdatedTime"), NOW_TEXT);
}

#[tokio::test]
async fn bad_identities_are_refused_by_name_and_nothing_is_written() {
    let scene = scene().await;
    let check = async |path: &str, body: &str, status: u16, name: &str| {
        scene.hub("PUT", path, body).await.with_name(status, name);
    };
    let invalid = "ArgumentInvalid";
    check("/devices/dev1", "", 400, invalid).await;
    check("/devices/dev1", r#"{"deviceId":"dev2"}"#, 400, invalid).await;
    check("/devices/dev1", r#"{"deviceId":"Dev1"}"#, 400, invalid).await;
    check("/devices/dev1", r#"{"deviceId":7}"#, 400, invalid).await;
    check("/devices/dev1", r#"{"deviceId":"dev1""#, 400, "IotHubFormatError").await;
    check("/devices/invalid%2Fname", r#"{"deviceId":"invalid/name"}"#, 400, invalid).await;
    check("/devices/invalid/name", r#"{"deviceId":"invalid/name"}"#, 404, "GenericNotFound").await;
    let long = "x".repeat(129);
    check(&format!("/devices/{long}"), &json!({"deviceId": long}).to_string(), 400, invalid).await;
    for authentication in [
        json!({"type": "faith"}),
        json!({"type": "none"}),
        json!({"symmetricKey": {"primaryKey": "%", "secondaryKey": "%"}}),
        json!({"symmetricKey": {"primaryKey": "AAAA", "secondaryKey": "AAAA"}}),
        json!({"symmetricKey": {"primaryKey": KEY}}),
        json!({"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": "xyz"}}),
    ] {
        let body = json!({"deviceId": "dev1", "authentication": authentication}).to_string();
        check("/devices/dev1", &body, 400, invalid).await;
    }
    assert_eq!(scene.hub("GET", "/devices", "").await.text, "[]");
}

#[tokio::test]
async fn ids_with_special_characters_travel_encoded() {
    let scene = scene().await;
    for id in ["dev@1", "a+b%c", "a?b#c", "x:y*(!)',=$_"] {
        create(&scene, id).await;
        let path = format!("/devices/{}", wire::percent::encode(id));
        let read = scene.hub("GET", &path, "").await.with_status(200);
        assert_eq!(read.at("/deviceId"), id);
    }
}

#[tokio::test]
async fn a_list_has_as_many_devices_as_were_asked_for() {
    let scene = scene().await;
    for n in 0..3 {
        create(&scene, &format!("d{n}")).await;
    }
    let check = async |query: &str, expected: usize| {
        let reply = scene.hub("GET", &format!("/devices{query}"), "").await.with_status(200);
        assert_eq!(reply.json().as_array().map(Vec::len), Some(expected), "{query}");
        assert!(reply.at("/0/authentication/symmetricKey/primaryKey").is_string());
    };
    check("", 3).await;
    check("?top=1000", 3).await;
    check("?top=2", 2).await;
    for top in ["0", "1001", "x", "-1"] {
        scene
            .hub("GET", &format!("/devices?top={top}"), "")
            .await
            .with_name(400, "ArgumentInvalid");
    }
}

#[tokio::test]
async fn many_devices_are_written_at_once() {
    let scene = scene().await;
    let call = async |elements: Value| scene.hub("POST", "/devices", &elements.to_string()).await;
    let created = call(json!([
        {"id": "a", "importMode": "create", "tags": {"n": 1}, "properties": {"desired": {"x": 2}}},
        {"id": "b", "importMode": "create", "status": "disabled"},
    ]));
    let created = created.await.with_status(200);
    assert_eq!(created.text, r#"{"isSuccessful":true,"errors":[],"warnings":[]}"#);
    let twin = scene.hub("GET", "/twins/a", "").await.with_status(200);
    assert_eq!((twin.at("/tags/n"), twin.at("/properties/desired/x")), (json!(1), json!(2)));

    let mixed = call(json!([
        {"id": "a", "importMode": "create"},
        {"id": "b", "importMode": "deleteIfMatchETag", "eTag": "no"},
        {"id": "c"},
    ]));
    let mixed = mixed.await.with_status(400);
    for header in ["iothub-errorcode", "IotHubErrorCode"] {
        assert_eq!(mixed.header(header), "BulkRegistryOperationFailure");
    }
    assert_eq!(mixed.at("/isSuccessful"), false);
    assert_eq!(mixed.at("/errors/0/deviceId"), "a");
    assert_eq!(mixed.at("/errors/0/errorCode"), "DeviceAlreadyExists");
    assert_eq!(mixed.at("/errors/1/errorCode"), "PreconditionFailed");
    assert_eq!(mixed.at("/errors/2"), Value::Null);
    scene.hub("GET", "/devices/c", "").await.with_status(200);

    let deleted = call(json!([{"id": "a", "importMode": "delete", "eTag": "stale"}])).await;
    assert_eq!(deleted.with_status(200).at("/isSuccessful"), true);
    scene.hub("GET", "/devices/a", "").await.with_name(404, "DeviceNotFound");
}

#[tokio::test]
async fn a_bulk_call_that_is_wrong_as_a_whole_does_nothing() {
    let scene = scene().await;
    let check = async |body: Value, status: u16, name: &str| {
        scene.hub("POST", "/devices", &body.to_string()).await.with_name(status, name);
    };
    check(json!([{"id": "a"}, {"id": "a"}]), 400, "DeviceDefinedMultipleTimes").await;
    let many: Vec<_> = (0..101).map(|n| json!({"id": format!("d{n}")})).collect();
    check(json!(many), 413, "TooManyDevices").await;
    check(json!({"id": "a"}), 400, "ArgumentInvalid").await;
    check(json!([{"id": "a"}, {"id": 7}]), 400, "ArgumentInvalid").await;
    check(json!([{"id": "a", "importMode": "upsert"}]), 400, "ArgumentInvalid").await;
    assert_eq!(scene.hub("GET", "/devices", "").await.text, "[]");
}

#[tokio::test]
async fn counts_and_purges_are_answered() {
    let scene = scene().await;
    create(&scene, "a").await;
    scene
        .hub("PUT", "/devices/b", r#"{"deviceId":"b","status":"disabled"}"#)
        .await
        .with_status(200);
    let check = async |method: &str, path: &str, status: u16, text: &str| {
        let reply = scene.hub(method, path, "").await.with_status(status);
        assert!(reply.text.starts_with(text), "{method} {path}: {reply:?}");
    };
    check(
        "GET",
        "/statistics/devices",
        200,
        r#"{"totalDeviceCount":2,"enabledDeviceCount":1,"disabledDeviceCount":1}"#,
    )
    .await;
    check("GET", "/statistics/service", 200, r#"{"connectedDeviceCount":0}"#).await;
    check(
        "DELETE",
        "/devices/a/commands",
        200,
        r#"{"totalMessagesPurged":0,"deviceId":"a","moduleId":null}"#,
    )
    .await;
    check("DELETE", "/devices/c/commands", 404, r#"{"Message":"ErrorCode:DeviceNotFound;c"#).await;
    check("POST", "/jobs/create", 501, r#"{"Message":"ErrorCode:InvalidOperation;"#).await;
}

#[tokio::test]
async fn each_hub_is_its_own_registry() {
    let scene = scene().await;
    create(&scene, "a").await;
    let ask = scene.hub_owner("GET", "/devices/a");
    scene.send(ask.clone().host("HUB-1.example.test:443")).await.with_status(200);
    scene.send(ask.host("hub-2.example.test")).await.with_name(401, "IotHubUnauthorizedAccess");
    assert!(HUB.starts_with("hub-1"));
}

#[tokio::test]
async fn what_a_hub_cannot_route_or_read_has_its_envelope() {
    let scene = scene().await;
    let check = async |ask: Ask, status: u16, name: &str| {
        scene.send(ask).await.with_name(status, name);
    };
    check(scene.hub_owner("GET", "/nowhere"), 404, "GenericNotFound").await;
    check(scene.hub_owner("PATCH", "/devices/a"), 405, "GenericMethodNotAllowed").await;
    let text = scene.hub_owner("PUT", "/devices/a").header("content-type", "text/plain").body("{}");
    check(text, 415, "GenericUnsupportedMediaType").await;
    let large = scene.hub_owner("PUT", "/devices/a").json(vec![b' '; 1024 * 1024 + 1]);
    check(large, 413, "MessageTooLarge").await;
    check(scene.hub_owner("GET", "/devices/%zz"), 400, "ArgumentInvalid").await;
    let allow = scene.hub("PATCH", "/devices/a", "").await;
    assert_eq!(allow.header("allow"), "GET, PUT, DELETE");
}
