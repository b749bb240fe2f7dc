//! The table of O §2, last row: disabling and deleting the identity in the hub.

use serde_json::json;
use testkit::Ca;

use crate::world::{
    Device, HUBS, Identity, Next, Record, Scene, World,
    check::{Seen, check, check_without_registering},
    enrollments::{by_key, group, group_by_ca, individual, primary_key},
};

const ASSIGNED: Record = Record::With("assigned");
const ID: &str = "press-17";

async fn registered(world: &World) -> (Device, Seen) {
    let enrollment = world.service().create(&individual(ID), &by_key(ID)).await;
    let device = Device::with_key(ID, primary_key(&enrollment));
    let seen = check(world, &device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    (device, seen)
}

#[tokio::test]
async fn an_identity_disabled_in_the_hub_keeps_its_record_and_stays_disabled_when_it_reregisters() {
    let world = Scene::new().start().await;
    let (device, first) = registered(&world).await;
    let hub = world.hub(HUBS[0]);
    let mut identity = first.identity.clone();
    identity["status"] = json!("disabled");
    identity["statusReason"] = json!("stolen");
    hub.replace(&format!("/devices/{ID}"), &identity).await;
    let kept = check_without_registering(&world, ID, ASSIGNED, Identity::Disabled).await;
    assert_eq!(kept.record, first.record);

    let seen = check(&world, &device, Next::Assigned, ASSIGNED, Identity::Disabled).await;
    assert_eq!(seen.identity["statusReason"], "stolen");
    assert_eq!(seen.identity["generationId"], first.identity["generationId"]);

    // Nor does a deleted record open the door again.
    world.service().delete(&format!("/registrations/{ID}")).await;
    check_without_registering(&world, ID, Record::None, Identity::Disabled).await;
    check(&world, &device, Next::Assigned, ASSIGNED, Identity::Disabled).await;
}

#[tokio::test]
async fn an_identity_deleted_in_the_hub_keeps_its_record_and_is_made_anew_when_it_reregisters() {
    let world = Scene::new().start().await;
    let (device, first) = registered(&world).await;
    world.hub(HUBS[0]).delete(&format!("/devices/{ID}")).await;
    let kept = check_without_registering(&world, ID, ASSIGNED, Identity::Gone).await;
    assert_eq!(kept.record, first.record);

    let seen = check(&world, &device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    assert_ne!(seen.identity["generationId"], first.identity["generationId"], "a new device");
    assert_eq!(seen.identity["authentication"], first.identity["authentication"]);
    assert_eq!(seen.record["createdDateTimeUtc"], first.record["createdDateTimeUtc"]);
}

#[tokio::test]
async fn a_device_is_removed_for_good_by_disenrolling_it_and_deleting_its_identity() {
    let world = Scene::new().start().await;
    let (device, _) = registered(&world).await;
    world.service().delete(&individual(ID)).await;
    world.hub(HUBS[0]).delete(&format!("/devices/{ID}")).await;
    check(&world, &device, Next::Unauthorized, Record::None, Identity::Gone).await;
}

#[tokio::test]
async fn a_whole_group_is_removed_in_the_order_of_the_documentation() {
    let world = Scene::new().start().await;
    let service = world.service();
    let ca = Ca::root("Works Root").intermediate("line-4");
    service.create(&group("line-4"), &group_by_ca("line-4", &ca)).await;
    let devices =
        ["press-1", "press-2", "press-3"].map(|id| Device::with_certificate(id, &ca.leaf(id)));
    for device in &devices {
        device.register(&world).await.assigned();
    }
    service.edit(&group("line-4"), |body| body["provisioningStatus"] = json!("disabled")).await;
    for record in service.query("/registrations/line-4/query").await {
        let id = record["registrationId"].as_str().expect("a registration ID");
        let hub = world.hub(record["assignedHub"].as_str().expect("a hub"));
        let path = format!("/devices/{}", record["deviceId"].as_str().expect("a device ID"));
        hub.edit(&path, |identity| identity["status"] = json!("disabled")).await;
        service.delete(&format!("/registrations/{id}")).await;
    }
    service.delete(&group("line-4")).await;
    for device in &devices {
        check(&world, device, Next::Unauthorized, Record::None, Identity::Disabled).await;
    }
}

#[tokio::test]
async fn the_identity_of_an_x509_device_is_self_signed_with_its_leafs_thumbprint() {
    let world = Scene::new().start().await;
    let ca = Ca::root("Works Root").intermediate("line-4");
    world.service().create(&group("line-4"), &group_by_ca("line-4", &ca)).await;
    let leaf = ca.leaf(ID);
    let device = Device::with_certificate(ID, &leaf);
    let seen = check(&world, &device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf.der());
    let thumbprint: String = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    let authentication = &seen.identity["authentication"];
    assert_eq!(authentication["type"], "selfSigned");
    assert_eq!(
        authentication["x509Thumbprint"],
        json!({"primaryThumbprint": thumbprint, "secondaryThumbprint": thumbprint}),
    );
    assert_eq!(seen.state["x509"], json!({}));
}
