//! The table of O §2, rows of individual enrollments: disable, enable, delete.

use serde_json::json;
use testkit::Ca;

use crate::world::{
    Device, HUBS, Identity, Next, Record, Scene, World,
    check::{Seen, check, check_without_registering},
    enrollments::{
        by_certificate, by_key, disabled, group, group_by_ca, individual, primary_key, with,
    },
};

const ID: &str = "press-17";

/// A device with a symmetric key and its enabled enrollment, registered.
async fn registered(world: &World) -> (Device, Seen) {
    let enrollment = world.service().create(&individual(ID), &by_key(ID)).await;
    let device = Device::with_key(ID, primary_key(&enrollment));
    let record = Record::With("assigned");
    let seen = check(world, &device, Next::Assigned, record, Identity::Enabled).await;
    (device, seen)
}

#[tokio::test]
async fn disabling_an_individual_enrollment_refuses_the_next_registration_and_leaves_the_hub_alone()
{
    let world = Scene::new().start().await;
    let (device, first) = registered(&world).await;
    let service = world.service();
    service.edit(&individual(ID), |body| body["provisioningStatus"] = json!("disabled")).await;

    // The record changes at the next attempt, not at once (O §9 row 11).
    let untouched = Record::With("assigned");
    let seen = check_without_registering(&world, ID, untouched, Identity::Enabled).await;
    assert_eq!((&seen.record, &seen.identity), (&first.record, &first.identity));

    let record = Record::With("disabled");
    let seen = check(&world, &device, Next::Disabled, record, Identity::Enabled).await;
    assert_eq!(seen.identity, first.identity, "disenrolling never touches the hub");
    assert_ne!(seen.record["etag"], first.record["etag"]);
    assert_eq!(seen.record["createdDateTimeUtc"], first.record["createdDateTimeUtc"]);
    let shown = service.get(&individual(ID)).await;
    assert_eq!(shown["provisioningStatus"], "disabled");
    assert_eq!(shown["registrationState"]["status"], "disabled");
}

#[tokio::test]
async fn enabling_a_disabled_individual_enrollment_brings_the_device_back_to_its_identity() {
    let world = Scene::new().start().await;
    let (device, first) = registered(&world).await;
    let service = world.service();
    service.edit(&individual(ID), |body| body["provisioningStatus"] = json!("disabled")).await;
    check(&world, &device, Next::Disabled, Record::With("disabled"), Identity::Enabled).await;
    service.edit(&individual(ID), |body| body["provisioningStatus"] = json!("enabled")).await;
    let record = Record::With("assigned");
    let seen = check(&world, &device, Next::Assigned, record, Identity::Enabled).await;
    assert_eq!(seen.identity, first.identity, "same generation, same keys");
    assert_eq!(seen.state["substatus"], "initialAssignment");
}

#[tokio::test]
async fn a_device_that_never_registered_leaves_a_disabled_record_and_no_identity() {
    let world = Scene::new().start().await;
    let enrollment = world.service().create(&individual(ID), &disabled(by_key(ID))).await;
    let device = Device::with_key(ID, primary_key(&enrollment));
    let unregistered = world.service().get(&individual(ID)).await;
    assert_eq!(
        unregistered["registrationState"],
        json!({"registrationId": ID, "status": "unassigned"}),
    );
    let record = Record::With("disabled");
    check(&world, &device, Next::Disabled, record, Identity::Gone).await;
}

#[tokio::test]
async fn deleting_an_individual_enrollment_refuses_the_device_and_removes_its_record() {
    let world = Scene::new().start().await;
    let (device, first) = registered(&world).await;
    world.service().delete(&individual(ID)).await;
    check_without_registering(&world, ID, Record::None, Identity::Enabled).await;
    let seen = check(&world, &device, Next::Unauthorized, Record::None, Identity::Enabled).await;
    assert_eq!(seen.identity, first.identity, "the identity is kept");
    assert_eq!(world.service().find(&individual(ID)).await, None);
}

#[tokio::test]
async fn deleting_an_individual_enrollment_below_an_enabled_group_readmits_through_the_group() {
    let world = Scene::new().start().await;
    let service = world.service();
    let ca = Ca::root("Works Root").intermediate("line-4");
    let leaf = ca.leaf(ID);
    let device = Device::with_certificate(ID, &leaf);
    service.create(&group("line-4"), &group_by_ca("line-4", &ca)).await;
    let enrollment = with(by_certificate(ID, &leaf), "deviceId", json!(ID));
    service.create(&individual(ID), &enrollment).await;
    let record = Record::With("assigned");
    let first = check(&world, &device, Next::Assigned, record, Identity::Enabled).await;
    assert_eq!(service.query("/registrations/line-4/query").await, [] as [serde_json::Value; 0]);

    service.delete(&individual(ID)).await;
    check_without_registering(&world, ID, Record::None, Identity::Enabled).await;
    let seen = check(&world, &device, Next::Assigned, record, Identity::Enabled).await;
    assert_ne!(
        seen.record["createdDateTimeUtc"], first.record["createdDateTimeUtc"],
        "a new record"
    );
    assert_eq!(seen.state["substatus"], "initialAssignment");
    assert_eq!(seen.identity, first.identity);
    let of_group = service.query("/registrations/line-4/query").await;
    assert_eq!(of_group, [seen.record], "the group's record now");
}

#[tokio::test]
async fn deleting_a_disabled_individual_enrollment_with_no_group_refuses_the_device() {
    let world = Scene::new().start().await;
    let (device, _) = registered(&world).await;
    let service = world.service();
    service.edit(&individual(ID), |body| body["provisioningStatus"] = json!("disabled")).await;
    check(&world, &device, Next::Disabled, Record::With("disabled"), Identity::Enabled).await;
    service.delete(&individual(ID)).await;
    check(&world, &device, Next::Unauthorized, Record::None, Identity::Enabled).await;
}

#[tokio::test]
async fn a_deleted_and_recreated_enrollment_makes_an_initial_assignment_under_its_new_device_id() {
    let world = Scene::new().start().await;
    let service = world.service();
    let named = with(by_key(ID), "deviceId", json!("old-name"));
    let enrollment = service.create(&individual(ID), &named).await;
    let device = Device::with_key(ID, primary_key(&enrollment));
    let state = device.register(&world).await.assigned();
    assert_eq!(state["deviceId"], "old-name");

    service.delete(&individual(ID)).await;
    let enrollment = service.create(&individual(ID), &by_key(ID)).await;
    let device = Device::with_key(ID, primary_key(&enrollment));
    let state = device.register(&world).await.assigned();
    assert_eq!(state["deviceId"], ID);
    assert_eq!(state["substatus"], "initialAssignment");
    assert!(world.identity(HUBS[0], "old-name").await.is_some(), "the old identity stays");
}
