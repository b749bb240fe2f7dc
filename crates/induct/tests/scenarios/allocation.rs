//! Several hubs and their weights: where devices go (D §5.10).

use std::collections::BTreeMap;

use serde_json::json;

use crate::world::{
    Device, HUBS, Scene, World,
    enrollments::{group, group_by_key, primary_key, with},
};

/// How many devices are spread. Which hub each gets depends on its name and the hubs' names
/// alone, so the counts are the same on every run.
const N_DEVICES: usize = 60;

/// Registers the devices of one group and says where they went.
async fn spread(world: &World, enrollment: serde_json::Value) -> BTreeMap<String, String> {
    let keys = world.service().create(&group("line-7"), &enrollment).await;
    reregister(world, primary_key(&keys)).await
}

async fn reregister(world: &World, group_key: &str) -> BTreeMap<String, String> {
    let mut hubs = BTreeMap::new();
    for n in 0..N_DEVICES {
        let id = format!("press-{n}");
        let state = Device::of_group(&id, group_key).register(world).await.assigned();
        hubs.insert(id, state["assignedHub"].as_str().expect("a hub").to_owned());
    }
    hubs
}

fn count(hubs: &BTreeMap<String, String>, hub: &str) -> usize {
    hubs.values().filter(|to| *to == hub).count()
}

#[tokio::test]
async fn devices_spread_evenly_over_hubs_of_equal_weight_and_each_is_on_one_hub_only() {
    let world = Scene::with_hubs(&HUBS).start().await;
    let hubs = spread(&world, group_by_key("line-7")).await;
    for hub in HUBS {
        let n = count(&hubs, hub);
        // A third is 20; four standard deviations of a fair draw are 15.
        assert!((10..=30).contains(&n), "{n} of {N_DEVICES} on {hub}");
        let listed = world.hub(hub).get("/devices").await;
        let listed = listed.as_array().expect("an array");
        assert_eq!(listed.len(), n, "the registry of {hub} has who was sent there");
        for identity in listed {
            let id = identity["deviceId"].as_str().expect("a device ID");
            assert_eq!(hubs[id], hub);
        }
    }
}

#[tokio::test]
async fn a_hub_of_three_times_the_weight_gets_about_three_times_the_devices() {
    let scene = Scene::with_hubs(&[]).hub(HUBS[0], "weight = 3").hub(HUBS[1], "weight = 1");
    let world = scene.start().await;
    let hubs = spread(&world, group_by_key("line-7")).await;
    let heavy = count(&hubs, HUBS[0]);
    // Three quarters are 45; four standard deviations of a fair draw are 13.
    assert!((32..=58).contains(&heavy), "{heavy} of {N_DEVICES} on the heavy hub");
    assert_eq!(heavy + count(&hubs, HUBS[1]), N_DEVICES);
}

#[tokio::test]
async fn a_hub_that_does_not_apply_the_allocation_policy_gets_only_those_who_ask_for_it() {
    let scene = Scene::new().hub(HUBS[1], "apply_allocation_policy = false");
    let world = scene.start().await;
    let hubs = spread(&world, group_by_key("line-7")).await;
    assert_eq!(count(&hubs, HUBS[0]), N_DEVICES);
    let asking = with(group_by_key("line-8"), "allocationPolicy", json!("static"));
    let asking = with(asking, "iotHubs", json!([HUBS[1]]));
    let keys = world.service().create(&group("line-8"), &asking).await;
    let state = Device::of_group("lathe-1", primary_key(&keys)).register(&world).await.assigned();
    assert_eq!(state["assignedHub"], HUBS[1]);
}

#[tokio::test]
async fn a_hub_that_is_added_takes_only_its_own_share_of_the_devices() {
    let mut world = Scene::with_hubs(&HUBS[..2]).start().await;
    let keys = world.service().create(&group("line-7"), &group_by_key("line-7")).await;
    let before = reregister(&world, primary_key(&keys)).await;
    world.restart(Scene::with_hubs(&HUBS)).await;
    let after = reregister(&world, primary_key(&keys)).await;
    let mut n_moved = 0;
    for (id, hub) in &after {
        if before[id] != *hub {
            assert_eq!(hub, HUBS[2], "{id} moved between hubs that were there before");
            n_moved += 1;
        }
    }
    // A third is 20.
    assert!((10..=30).contains(&n_moved), "{n_moved} of {N_DEVICES} moved");
}

#[tokio::test]
async fn the_services_policy_holds_where_an_enrollment_names_none() {
    let scene = Scene::with_hubs(&HUBS[..2]).service("allocation_policy = \"static\"");
    let world = scene.start().await;
    let keys = world.service().create(&group("line-7"), &group_by_key("line-7")).await;
    let device = Device::of_group("press-1", primary_key(&keys));
    let failed = device.register(&world).await.failed();
    assert_eq!(failed["errorCode"], 400_208, "static, and no hub is named: {failed}");
    let own = with(group_by_key("line-8"), "allocationPolicy", json!("hashed"));
    let keys = world.service().create(&group("line-8"), &own).await;
    Device::of_group("press-2", primary_key(&keys)).register(&world).await.assigned();
}

#[tokio::test]
async fn a_webhook_that_cannot_be_reached_fails_with_a_text_that_operator_and_device_see() {
    let world = Scene::new().start().await;
    let custom = with(group_by_key("line-7"), "allocationPolicy", json!("custom"));
    let hook = json!({"webhookUrl": "https://hook.example.test/", "apiVersion": "2021-10-01"});
    let custom = with(custom, "customAllocationDefinition", hook);
    let keys = world.service().create(&group("line-7"), &custom).await;
    let device = Device::of_group("press-1", primary_key(&keys));
    let failed = device.register(&world).await.failed();
    assert_eq!(failed["errorCode"], 400_207);
    let text = failed["errorMessage"].as_str().expect("a text");
    assert!(text.starts_with("Custom allocation failed"), "{text}");
    let record = world.service().get("/registrations/press-1").await;
    assert_eq!((&record["status"], &record["errorCode"]), (&json!("failed"), &json!(400_207)));
    assert_eq!(record["errorMessage"], failed["errorMessage"]);
}
