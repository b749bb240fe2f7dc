//! The table of O §2, rows of enrollment groups: disable, enable, delete.

use serde_json::json;
use testkit::Ca;

use crate::world::{
    Device, HUBS, Identity, Next, Record, Scene, World,
    check::{check, check_without_registering},
    enrollments::{
        by_certificate, by_key, disabled, group, group_by_ca, group_by_key, individual, primary_key,
    },
};

const ASSIGNED: Record = Record::With("assigned");
const DISABLED: Record = Record::With("disabled");

/// A root, a group on an intermediate below it, and two devices of the group, registered.
struct Line {
    root: Ca,
    ca: Ca,
    devices: [Device; 2],
}

impl Line {
    async fn of(world: &World) -> Self {
        let root = Ca::root("Works Root");
        let ca = root.intermediate("line-4");
        let devices = ["press-17", "press-18"].map(|id| Device::with_certificate(id, &ca.leaf(id)));
        world.service().create(&group("line-4"), &group_by_ca("line-4", &ca)).await;
        for device in &devices {
            check(world, device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
        }
        Self { root, ca, devices }
    }
}

#[tokio::test]
async fn disabling_a_group_refuses_every_device_but_those_with_their_own_enabled_enrollment() {
    let world = Scene::new().start().await;
    let line = Line::of(&world).await;
    let service = world.service();
    let own = line.ca.leaf("press-19");
    service.create(&individual("press-19"), &by_certificate("press-19", &own)).await;
    service.edit(&group("line-4"), |body| body["provisioningStatus"] = json!("disabled")).await;

    for device in &line.devices {
        check(&world, device, Next::Disabled, DISABLED, Identity::Enabled).await;
    }
    let own = Device::with_certificate("press-19", &own);
    check(&world, &own, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    let newcomer = Device::with_certificate("press-20", &line.ca.leaf("press-20"));
    check(&world, &newcomer, Next::Disabled, DISABLED, Identity::Gone).await;

    service.edit(&group("line-4"), |body| body["provisioningStatus"] = json!("enabled")).await;
    for device in line.devices.iter().chain([&newcomer]) {
        check(&world, device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    }
}

#[tokio::test]
async fn disabling_a_symmetric_key_group_refuses_every_device_but_those_with_their_own_enrollment()
{
    let world = Scene::new().start().await;
    let service = world.service();
    let line = service.create(&group("line-7"), &group_by_key("line-7")).await;
    let device = Device::of_group("press-1", primary_key(&line));
    check(&world, &device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    let own = service.create(&individual("press-2"), &by_key("press-2")).await;
    let own = Device::with_key("press-2", primary_key(&own));

    service.edit(&group("line-7"), |body| body["provisioningStatus"] = json!("disabled")).await;
    check(&world, &device, Next::Disabled, DISABLED, Identity::Enabled).await;
    check(&world, &own, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    service.edit(&group("line-7"), |body| body["provisioningStatus"] = json!("enabled")).await;
    check(&world, &device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
}

#[tokio::test]
async fn a_disabled_group_decides_even_below_an_enabled_group_of_a_higher_ca() {
    let world = Scene::new().start().await;
    let line = Line::of(&world).await;
    let service = world.service();
    service.create(&group("works"), &group_by_ca("works", &line.root)).await;
    service.edit(&group("line-4"), |body| body["provisioningStatus"] = json!("disabled")).await;
    for device in &line.devices {
        check(&world, device, Next::Disabled, DISABLED, Identity::Enabled).await;
    }
}

#[tokio::test]
async fn deleting_a_group_below_an_enabled_group_of_a_higher_ca_lets_its_devices_come_back() {
    let world = Scene::new().start().await;
    let line = Line::of(&world).await;
    let service = world.service();
    service.create(&group("works"), &group_by_ca("works", &line.root)).await;
    service.delete(&group("line-4")).await;
    for device in &line.devices {
        let id = &device.id;
        let kept = check_without_registering(&world, id, ASSIGNED, Identity::Enabled).await;
        let seen = check(&world, device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
        assert_eq!(seen.identity, kept.identity);
    }
    let now = service.query("/registrations/works/query").await;
    assert_eq!(now.len(), 2, "the records are the higher group's: {now:?}");
}

#[tokio::test]
async fn deleting_a_group_below_a_disabled_group_of_a_higher_ca_keeps_its_devices_out() {
    let world = Scene::new().start().await;
    let line = Line::of(&world).await;
    let service = world.service();
    service.create(&group("works"), &disabled(group_by_ca("works", &line.root))).await;
    service.delete(&group("line-4")).await;
    for device in &line.devices {
        check(&world, device, Next::Disabled, DISABLED, Identity::Enabled).await;
    }
}

#[tokio::test]
async fn deleting_the_only_group_refuses_its_devices_and_orphans_their_records() {
    let world = Scene::new().start().await;
    let line = Line::of(&world).await;
    world.service().delete(&group("line-4")).await;
    for device in &line.devices {
        check(&world, device, Next::Unauthorized, ASSIGNED, Identity::Enabled).await;
    }
    assert_eq!(world.service().find(&group("line-4")).await, None);
}

#[tokio::test]
async fn a_group_made_anew_on_the_same_ca_takes_the_orphans_back() {
    let world = Scene::new().start().await;
    let line = Line::of(&world).await;
    let service = world.service();
    service.delete(&group("line-4")).await;
    service.create(&group("line-5"), &group_by_ca("line-5", &line.ca)).await;
    for device in &line.devices {
        let before = world.identity(HUBS[0], &device.id).await;
        let seen = check(&world, device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
        assert_eq!(Some(seen.identity), before);
    }
    assert_eq!(service.query("/registrations/line-5/query").await.len(), 2);
}

#[tokio::test]
async fn a_group_that_refers_to_a_ca_certificate_that_is_not_there_admits_nobody() {
    let world = Scene::new().start().await;
    let line = Line::of(&world).await;
    let service = world.service();
    service.delete(&group("line-4")).await;
    let names = json!({"primary": "line-4-ca", "secondary": "line-4-ca-2"});
    let attestation = json!({"type": "x509", "x509": {"caReferences": names}});
    let by_name = json!({"enrollmentGroupId": "line-6", "attestation": attestation});
    let shown = service.create(&group("line-6"), &by_name).await;
    assert_eq!(shown["attestation"], attestation, "references are shown");
    for device in &line.devices {
        check(&world, device, Next::Unauthorized, ASSIGNED, Identity::Enabled).await;
    }
}
