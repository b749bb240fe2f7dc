//! What a second registration changes when the hubs have changed meanwhile: the reprovision
//! policies (D §5.9), across a restart of the server.

use serde_json::{Value, json};

use crate::world::{
    Device, HUBS, SERVICE, Scene, World,
    device::accepted,
    enrollments::{by_key, individual, primary_key, with},
};

const OLD: &str = HUBS[0];
const NEW: &str = HUBS[1];

/// Both hubs, and the service sends everybody to this one.
fn sending_to(hub: &str) -> Scene {
    [OLD, NEW].iter().fold(Scene::with_hubs(&[]), |scene, host| {
        scene.hub(host, &format!("apply_allocation_policy = {}", *host == hub))
    })
}

/// A device on the old hub with tags of its own, whose enrollment has this policy and an initial
/// twin with other tags.
async fn enrolled(world: &World, id: &str, policy: Value) -> Device {
    let enrollment = with(by_key(id), "initialTwin", json!({"tags": {"from": "enrollment"}}));
    let enrollment = with(enrollment, "reprovisionPolicy", policy);
    let enrollment = world.service().create(&individual(id), &enrollment).await;
    let device = Device::with_key(id, primary_key(&enrollment));
    assert_eq!(device.register(world).await.assigned()["assignedHub"], OLD);
    let patch = json!({"tags": {"from": "operator"}, "properties": {"desired": {"rate": 5}}});
    let twin = world.hub(OLD).send("PATCH", &format!("/twins/{id}"), None, patch.to_string()).await;
    assert_eq!(twin.expect(200)["tags"]["from"], "operator");
    device
}

fn never() -> Value {
    json!({"updateHubAssignment": false, "migrateDeviceData": false})
}

fn migrate() -> Value {
    json!({"updateHubAssignment": true, "migrateDeviceData": true})
}

fn reset() -> Value {
    json!({"updateHubAssignment": true, "migrateDeviceData": false})
}

/// The device is on this hub and on no other, with tags from there.
async fn check_on(world: &World, id: &str, hub: &str, tags_from: &str) {
    let other = if hub == OLD { NEW } else { OLD };
    assert!(world.identity(hub, id).await.is_some(), "{id} is on {hub}");
    assert_eq!(world.identity(other, id).await, None, "{id} is not on {other}");
    assert_eq!(world.twin(hub, id).await["tags"], json!({"from": tags_from}), "{id}");
}

#[tokio::test]
async fn never_keeps_the_hub_and_the_data() {
    let mut world = sending_to(OLD).start().await;
    let device = enrolled(&world, "press-1", never()).await;
    world.restart(sending_to(NEW)).await;
    let state = device.register(&world).await.assigned();
    assert_eq!(state["assignedHub"], OLD);
    assert_eq!(state["substatus"], "initialAssignment");
    check_on(&world, "press-1", OLD, "operator").await;
}

#[tokio::test]
async fn migrate_takes_the_data_to_the_new_hub_and_back() {
    let mut world = sending_to(OLD).start().await;
    let device = enrolled(&world, "press-1", migrate()).await;
    world.restart(sending_to(NEW)).await;
    let state = device.register(&world).await.assigned();
    assert_eq!(state["assignedHub"], NEW);
    assert_eq!(state["substatus"], "deviceDataMigrated");
    check_on(&world, "press-1", NEW, "operator").await;
    let twin = world.twin(NEW, "press-1").await;
    assert_eq!(twin["properties"]["desired"]["rate"], 5);

    world.restart(sending_to(OLD)).await;
    let state = device.register(&world).await.assigned();
    assert_eq!(state["assignedHub"], OLD);
    assert_eq!(state["substatus"], "reprovisionedToInitialAssignment");
    check_on(&world, "press-1", OLD, "operator").await;
}

#[tokio::test]
async fn reset_begins_on_the_new_hub_with_the_initial_twin() {
    let mut world = sending_to(OLD).start().await;
    let device = enrolled(&world, "press-1", reset()).await;
    world.restart(sending_to(NEW)).await;
    let state = device.register(&world).await.assigned();
    assert_eq!(state["assignedHub"], NEW);
    assert_eq!(state["substatus"], "deviceDataReset");
    check_on(&world, "press-1", NEW, "enrollment").await;
    let twin = world.twin(NEW, "press-1").await;
    assert_eq!(twin["properties"]["desired"].get("rate"), None, "{twin}");
}

#[tokio::test]
async fn a_device_whose_hub_was_unlinked_moves_with_its_data() {
    let mut world = Scene::with_hubs(&[OLD]).start().await;
    let device = enrolled(&world, "press-1", migrate()).await;
    world.restart(Scene::with_hubs(&[NEW])).await;
    let state = device.register(&world).await.assigned();
    assert_eq!(state["assignedHub"], NEW);
    assert_eq!(world.twin(NEW, "press-1").await["tags"], json!({"from": "operator"}));
}

#[tokio::test]
async fn without_a_policy_old_api_versions_keep_their_hub_and_newer_ones_follow_the_enrollment() {
    let world = Scene::with_hubs(&[OLD, NEW]).start().await;
    let service = world.service();
    for (id, api_version, expected) in [
        ("press-1", "2017-08-31-preview", OLD),
        ("press-2", "2018-04-01", OLD),
        ("press-3", "2018-11-01", NEW),
        ("press-4", "2019-03-31", NEW),
        ("press-5", "2021-06-01", NEW),
    ] {
        let enrollment = with(by_key(id), "allocationPolicy", json!("static"));
        let enrollment = with(enrollment, "iotHubs", json!([OLD]));
        let enrollment = service.create(&individual(id), &enrollment).await;
        let device = Device::with_key(id, primary_key(&enrollment));
        assert_eq!(device.register(&world).await.assigned()["assignedHub"], OLD);
        service.edit(&individual(id), |body| body["iotHubs"] = json!([NEW])).await;

        let device = device.speaking(api_version);
        let mut connection = world.tls().connect(SERVICE).await;
        let operation = accepted(&device.start(&world, &mut connection).await);
        let body = device.poll(&world, &mut connection, &operation).await.expect(200);
        let member = match api_version {
            "2017-08-31-preview" => "registrationStatus",
            _ => "registrationState",
        };
        assert_eq!(body[member]["assignedHub"], expected, "{api_version}: {body}");

        // A policy that is set always wins over the age of the client.
        service.edit(&individual(id), |body| body["reprovisionPolicy"] = migrate()).await;
        let operation = accepted(&device.start(&world, &mut connection).await);
        let body = device.poll(&world, &mut connection, &operation).await.expect(200);
        assert_eq!(body[member]["assignedHub"], NEW, "{api_version}: {body}");
    }
}
