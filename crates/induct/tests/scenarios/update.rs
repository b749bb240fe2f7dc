//! Updating an enrollment: everything but its type and its credentials (O §1.7). Each change is
//! read, put back with its etag, read again, and followed by the next registration.

use serde_json::{Value, json};
use testkit::Ca;

use crate::world::{
    Answer, Device, HUBS, Operator, Scene, World,
    enrollments::{
        by_certificate, by_key, group, group_by_ca, group_by_key, individual, primary_key, with,
    },
};

const ID: &str = "press-17";

/// Changes members of an enrollment the way a console does, and checks that reading shows them
/// and that everything else stays, but for what every write moves.
async fn check_update(service: Operator<'_>, path: &str, change: &[(&str, Value)]) {
    let before = service.get(path).await;
    let answer = service
        .edit(path, |body| change.iter().for_each(|(member, value)| body[*member] = value.clone()))
        .await;
    let after = service.get(path).await;
    let mut expected = before.clone();
    for (member, value) in change {
        expected[*member] = value.clone();
    }
    for moves in ["etag", "lastUpdatedDateTimeUtc"] {
        assert_ne!(after[moves], before[moves], "{moves} moves at every write");
        assert_eq!(after[moves], answer[moves]);
        expected[moves] = after[moves].clone();
    }
    assert_eq!(after, expected);
}

/// The individual enrollment of one device with a key, and the device.
async fn key_device(world: &World) -> Device {
    let enrollment = world.service().create(&individual(ID), &by_key(ID)).await;
    Device::with_key(ID, primary_key(&enrollment))
}

#[tokio::test]
async fn every_member_of_an_individual_enrollment_but_type_and_credentials_can_be_updated() {
    let world = Scene::with_hubs(&HUBS).start().await;
    let service = world.service();
    let device = key_device(&world).await;
    let changes = [
        ("deviceId", json!("named")),
        ("optionalDeviceInformation", json!({"rack": [1, 2], "version": 7})),
        ("capabilities", json!({"iotEdge": true})),
        ("initialTwin", json!({"tags": {"line": 4}, "properties": {"desired": {"rate": 1.0}}})),
        ("provisioningStatus", json!("disabled")),
        ("provisioningStatus", json!("enabled")),
        ("reprovisionPolicy", json!({"updateHubAssignment": false, "migrateDeviceData": false})),
        ("allocationPolicy", json!("static")),
        ("iotHubs", json!([HUBS[1]])),
    ];
    for change in changes {
        check_update(service, &individual(ID), &[change]).await;
    }
    let state = device.register(&world).await.assigned();
    assert_eq!((&state["deviceId"], &state["assignedHub"]), (&json!("named"), &json!(HUBS[1])));
    let identity = world.identity(HUBS[1], "named").await.expect("an identity");
    assert_eq!(identity["capabilities"], json!({"iotEdge": true}));
    let twin = world.twin(HUBS[1], "named").await;
    assert_eq!(twin["tags"], json!({"line": 4}));
    assert_eq!(twin["properties"]["desired"]["rate"].to_string(), "1.0");
}

#[tokio::test]
async fn every_member_of_a_group_but_type_and_credentials_can_be_updated() {
    let world = Scene::with_hubs(&HUBS).start().await;
    let service = world.service();
    let ca = Ca::root("Works Root").intermediate("line-4");
    service.create(&group("line-4"), &group_by_ca("line-4", &ca)).await;
    let changes = [
        ("capabilities", json!({"iotEdge": true})),
        ("initialTwin", json!({"tags": {"line": 4}, "properties": {"desired": {"on": true}}})),
        ("provisioningStatus", json!("disabled")),
        ("provisioningStatus", json!("enabled")),
        ("reprovisionPolicy", json!({"updateHubAssignment": true, "migrateDeviceData": false})),
        ("allocationPolicy", json!("hashed")),
        ("iotHubs", json!([HUBS[2]])),
    ];
    for change in changes {
        check_update(service, &group("line-4"), &[change]).await;
    }
    // Put back with `info` instead of its certificate, the group still knows its CA.
    let device = Device::with_certificate(ID, &ca.leaf(ID));
    assert_eq!(device.register(&world).await.assigned()["assignedHub"], HUBS[2]);
    let identity = world.identity(HUBS[2], ID).await.expect("an identity");
    assert_eq!(identity["capabilities"], json!({"iotEdge": true}));
    assert_eq!(world.twin(HUBS[2], ID).await["tags"], json!({"line": 4}));
}

#[tokio::test]
async fn an_update_keeps_keys_and_certificates_that_it_does_not_repeat() {
    let world = Scene::new().start().await;
    let service = world.service();
    let leaf = Ca::root("Works Root").leaf("press-18");
    service.create(&individual("press-18"), &by_certificate("press-18", &leaf)).await;
    let keys = service.create(&group("line-7"), &group_by_key("line-7")).await;
    let devices = [
        (individual(ID), key_device(&world).await),
        (individual("press-18"), Device::with_certificate("press-18", &leaf)),
        (group("line-7"), Device::of_group("press-19", primary_key(&keys))),
    ];
    for (path, device) in &devices {
        let mechanism = async || {
            let path = format!("{path}/attestationmechanism");
            service.send("POST", &path, None, "").await.expect(200)
        };
        let before = mechanism().await;
        let twin = json!({"tags": {}, "properties": {"desired": {}}});
        check_update(service, path, &[("initialTwin", twin)]).await;
        assert_eq!(mechanism().await, before, "{path}");
        device.register(&world).await.assigned();
    }
}

#[tokio::test]
async fn new_device_capabilities_reach_the_identity_with_the_next_registration() {
    let world = Scene::new().start().await;
    let device = key_device(&world).await;
    device.register(&world).await.assigned();
    let edge = async || world.identity(HUBS[0], ID).await.expect("there")["capabilities"].clone();
    assert_eq!(edge().await, json!({"iotEdge": false}));
    let on = ("capabilities", json!({"iotEdge": true}));
    check_update(world.service(), &individual(ID), &[on]).await;
    assert_eq!(edge().await, json!({"iotEdge": false}), "not before the device registers");
    device.register(&world).await.assigned();
    assert_eq!(edge().await, json!({"iotEdge": true}));
}

#[tokio::test]
async fn new_hubs_move_the_device_with_its_next_registration() {
    let world = Scene::with_hubs(&HUBS).start().await;
    let service = world.service();
    let device = key_device(&world).await;
    for hub in HUBS {
        let to = [("allocationPolicy", json!("static")), ("iotHubs", json!([hub]))];
        check_update(service, &individual(ID), &to).await;
        assert_eq!(device.register(&world).await.assigned()["assignedHub"], hub);
        for other in HUBS {
            let is_there = world.identity(other, ID).await.is_some();
            assert_eq!(is_there, other == hub, "on {other} while assigned to {hub}");
        }
    }
    // A single hub in the words of 2018 is a static hub, too (O §1.6).
    service
        .edit(&individual(ID), |body| {
            let body = body.as_object_mut().expect("an object");
            body.remove("allocationPolicy");
            body.remove("iotHubs");
            body.insert("iotHubHostName".to_owned(), json!(HUBS[1]));
        })
        .await;
    assert_eq!(device.register(&world).await.assigned()["assignedHub"], HUBS[1]);
}

#[tokio::test]
async fn a_new_initial_twin_reaches_the_device_only_when_its_data_is_reset() {
    let world = Scene::new().start().await;
    let service = world.service();
    let device = key_device(&world).await;
    device.register(&world).await.assigned();
    let patch = json!({"tags": {"owner": "ana"}}).to_string();
    let twin = world.hub(HUBS[0]).send("PATCH", &format!("/twins/{ID}"), None, patch).await;
    assert_eq!(twin.expect(200)["tags"], json!({"owner": "ana"}));

    let twin = json!({"tags": {"line": 4}, "properties": {"desired": {"rate": 5}}});
    check_update(service, &individual(ID), &[("initialTwin", twin)]).await;
    let state = device.register(&world).await.assigned();
    assert_eq!(state["substatus"], "initialAssignment");
    assert_eq!(world.twin(HUBS[0], ID).await["tags"], json!({"owner": "ana"}));

    let reset = json!({"updateHubAssignment": true, "migrateDeviceData": false});
    check_update(service, &individual(ID), &[("reprovisionPolicy", reset)]).await;
    let state = device.register(&world).await.assigned();
    assert_eq!(state["substatus"], "deviceDataReset");
    let twin = world.twin(HUBS[0], ID).await;
    assert_eq!(twin["tags"], json!({"line": 4}));
    assert_eq!(twin["properties"]["desired"]["rate"], 5);
}

#[tokio::test]
async fn a_static_policy_without_a_hub_fails_the_registration_and_leaves_a_failed_record() {
    let world = Scene::new().start().await;
    let enrollment = with(by_key(ID), "allocationPolicy", json!("static"));
    let enrollment = world.service().create(&individual(ID), &enrollment).await;
    let device = Device::with_key(ID, primary_key(&enrollment));
    let Answer::Settled(state) = device.register(&world).await else {
        panic!("the request itself is fine");
    };
    assert_eq!((&state["status"], &state["errorCode"]), (&json!("failed"), &json!(400_208)));
    assert!(state["errorMessage"].as_str().is_some_and(|text| text.contains("static")), "{state}");
    assert_eq!(world.record(ID).await.expect("a record")["status"], "failed");
    assert_eq!(world.identity(HUBS[0], ID).await, None);

    let to = [("iotHubs", json!([HUBS[0]]))];
    check_update(world.service(), &individual(ID), &to).await;
    let state = device.register(&world).await.assigned();
    assert_eq!(state["substatus"], "initialAssignment");
}

#[tokio::test]
async fn a_hub_that_is_not_linked_may_be_named_and_fails_the_registration() {
    let world = Scene::new().start().await;
    let service = world.service();
    let device = key_device(&world).await;
    let to = [("allocationPolicy", json!("hashed")), ("iotHubs", json!(["hub-9.localhost"]))];
    check_update(service, &individual(ID), &to).await;
    let Answer::Settled(state) = device.register(&world).await else {
        panic!("the request itself is fine");
    };
    assert_eq!((&state["status"], &state["errorCode"]), (&json!("failed"), &json!(400_208)));
    // One of several is enough.
    let to = [("iotHubs", json!(["hub-9.localhost", HUBS[0]]))];
    check_update(service, &individual(ID), &to).await;
    assert_eq!(device.register(&world).await.assigned()["assignedHub"], HUBS[0]);
}

#[tokio::test]
async fn another_type_of_attestation_replaces_the_old_one() {
    let world = Scene::new().start().await;
    let service = world.service();
    let with_key = key_device(&world).await;
    with_key.register(&world).await.assigned();
    let leaf = Ca::root("Works Root").leaf(ID);
    service.replace(&individual(ID), &by_certificate(ID, &leaf)).await;
    let refused = with_key.register(&world).await;
    assert!(matches!(refused, Answer::Refused { code: 401_002, .. }), "{refused:?}");
    let with_certificate = Device::with_certificate(ID, &leaf);
    let state = with_certificate.register(&world).await.assigned();
    assert_eq!(state["substatus"], "initialAssignment");
    let identity = world.identity(HUBS[0], ID).await.expect("an identity");
    assert_eq!(identity["authentication"]["type"], "selfSigned");
    assert_eq!(identity["authentication"]["symmetricKey"]["primaryKey"], Value::Null);
}
