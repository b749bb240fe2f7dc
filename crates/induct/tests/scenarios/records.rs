//! Registration records: listing a group's, deleting them, and what orphans cost (O §1.11).

use serde_json::{Value, json};
use testkit::Ca;
use tokio::task::JoinSet;

use crate::world::{
    Device, HUBS, Identity, Next, Record, SERVICE, Scene,
    check::{check, check_without_registering},
    enrollments::{by_key, group, group_by_ca, group_by_key, individual, primary_key, with},
};

const ASSIGNED: Record = Record::With("assigned");

#[tokio::test]
async fn a_groups_registrations_name_the_hub_and_identity_of_each_device() {
    let world = Scene::with_hubs(&HUBS).start().await;
    let service = world.service();
    let ca = Ca::root("Works Root").intermediate("line-4");
    service.create(&group("line-4"), &group_by_ca("line-4", &ca)).await;
    let keys = service.create(&group("line-7"), &group_by_key("line-7")).await;
    let other = Device::of_group("lathe-1", primary_key(&keys));
    other.register(&world).await.assigned();
    let ids: Vec<String> = (0..12).map(|n| format!("press-{n}")).collect();
    for id in &ids {
        Device::with_certificate(id, &ca.leaf(id)).register(&world).await.assigned();
    }

    let mut listed = Vec::new();
    for record in service.query("/registrations/line-4/query").await {
        let id = record["registrationId"].as_str().expect("a registration ID").to_owned();
        let hub = record["assignedHub"].as_str().expect("a hub");
        let device_id = record["deviceId"].as_str().expect("a device ID");
        let identity = world.identity(hub, device_id).await.expect("an identity on that hub");
        assert_eq!(identity["authentication"]["type"], "selfSigned");
        for elsewhere in HUBS.iter().filter(|elsewhere| **elsewhere != hub) {
            assert_eq!(world.identity(elsewhere, device_id).await, None, "{id} on {elsewhere}");
        }
        assert_eq!(world.record(&id).await, Some(record));
        listed.push(id);
    }
    listed.sort_unstable();
    let mut expected = ids;
    expected.sort_unstable();
    assert_eq!(listed, expected, "each of the group's devices, and none of another group");
}

#[tokio::test]
async fn a_page_of_registrations_goes_on_where_the_last_one_ended_though_records_come_and_go() {
    let world = Scene::new().start().await;
    let service = world.service();
    let keys = service.create(&group("line-7"), &group_by_key("line-7")).await;
    let register = async |id: &str| {
        Device::of_group(id, primary_key(&keys)).register(&world).await.assigned();
    };
    for n in 0..6 {
        register(&format!("press-{n}")).await;
    }
    let page = async |continuation: &str| {
        let token = service.token(600);
        let headers = [
            ("authorization", token.as_str()),
            ("content-type", "application/json"),
            ("x-ms-max-item-count", "2"),
            ("x-ms-continuation", continuation),
        ];
        let n = if continuation.is_empty() { 3 } else { 4 };
        let path = service.versioned("/registrations/line-7/query");
        let reply = service.send_raw("POST", &path, &headers[..n], "").await;
        assert_eq!(reply.header("x-ms-item-type"), "DeviceRegistration");
        let items = reply.expect(200);
        let id = |item: &Value| item["registrationId"].as_str().unwrap_or_default().to_owned();
        let ids: Vec<_> = items.as_array().expect("an array").iter().map(id).collect();
        (ids, reply.header("x-ms-continuation").to_owned())
    };
    let (mut seen, mut continuation) = page("").await;
    assert_eq!(seen.len(), 2);
    // One that was shown goes away, and one comes that nobody asked for.
    service.delete(&format!("/registrations/{}", seen[0])).await;
    assert_eq!(world.record(&seen[0]).await, None);
    register("press-99").await;
    while !continuation.is_empty() {
        let (ids, next) = page(&continuation).await;
        assert!(ids.len() <= 2, "{ids:?}");
        seen.extend(ids);
        continuation = next;
    }
    seen.retain(|id| id != "press-99");
    seen.sort_unstable();
    let all: Vec<_> = (0..6).map(|n| format!("press-{n}")).collect();
    assert_eq!(seen, all, "each exactly once");
}

#[tokio::test]
async fn orphaned_records_count_against_the_limit_until_they_are_removed() {
    let world = Scene::new().limits("registrations = 2").start().await;
    let service = world.service();
    let old = service.create(&group("line-7"), &group_by_key("line-7")).await;
    let orphans = ["press-1", "press-2"].map(|id| Device::of_group(id, primary_key(&old)));
    for device in &orphans {
        check(&world, device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    }
    // Who has a record registers again at the limit.
    check(&world, &orphans[0], Next::Assigned, ASSIGNED, Identity::Enabled).await;
    service.delete(&group("line-7")).await;

    let new = service.create(&group("line-8"), &group_by_key("line-8")).await;
    let newcomer = Device::of_group("press-3", primary_key(&new));
    check(&world, &newcomer, Next::Full, Record::None, Identity::Gone).await;

    // The group is gone, and its records can still be listed by its name and removed.
    let orphaned = service.query("/registrations/line-7/query").await;
    assert_eq!(orphaned.len(), 2, "{orphaned:?}");
    service.delete("/registrations/press-1").await;
    check_without_registering(&world, "press-1", Record::None, Identity::Enabled).await;
    check(&world, &newcomer, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    assert_eq!(service.query("/registrations/line-7/query").await.len(), 1);
}

/// The limit is compared at the commit, not only when the facts are read (D §6).
#[tokio::test]
async fn the_limit_holds_among_registrations_that_are_under_way_together() {
    const LIMIT: usize = 5;
    let world = Scene::new().limits(&format!("registrations = {LIMIT}")).start().await;
    let keys = world.service().create(&group("line-7"), &group_by_key("line-7")).await;
    let mut racing = JoinSet::new();
    for n in 0..4 * LIMIT {
        let device = Device::of_group(&format!("press-{n}"), primary_key(&keys));
        let scope = world.id_scope().to_owned();
        let mut connection = world.tls().connect(SERVICE).await;
        racing.spawn(async move {
            device.send(&mut connection, &scope, "PUT", "/register", "{}").await
        });
    }
    let (accepted, refused): (Vec<_>, Vec<_>) =
        racing.join_all().await.into_iter().partition(|reply| reply.status == 202);
    assert_eq!(accepted.len(), LIMIT);
    for reply in &refused {
        reply.refused(429_002);
    }
    let records = world.service().query("/registrations/line-7/query").await;
    assert_eq!(records.len(), accepted.len());
    let latecomer = Device::of_group("press-late", primary_key(&keys));
    check(&world, &latecomer, Next::Full, Record::None, Identity::Gone).await;
}

#[tokio::test]
async fn a_deleted_record_makes_the_next_registration_an_initial_assignment() {
    let world = Scene::new().start().await;
    let service = world.service();
    let never = json!({"updateHubAssignment": false, "migrateDeviceData": false});
    let enrollment = with(by_key("press-17"), "reprovisionPolicy", never);
    let enrollment = service.create(&individual("press-17"), &enrollment).await;
    let device = Device::with_key("press-17", primary_key(&enrollment));
    let first = check(&world, &device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    service.delete("/registrations/press-17").await;
    let kept = check_without_registering(&world, "press-17", Record::None, Identity::Enabled).await;
    assert_eq!(kept.identity, first.identity, "deleting a record revokes nothing");
    let seen = check(&world, &device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    assert_eq!(seen.state["substatus"], "initialAssignment");
    assert_ne!(seen.record["createdDateTimeUtc"], first.record["createdDateTimeUtc"]);
    assert_eq!(seen.identity, first.identity);
}

#[tokio::test]
async fn a_changed_device_id_takes_effect_when_the_record_is_deleted_and_the_old_identity_stays() {
    let world = Scene::new().start().await;
    let service = world.service();
    let enrollment = service.create(&individual("press-17"), &by_key("press-17")).await;
    let device = Device::with_key("press-17", primary_key(&enrollment));
    assert_eq!(device.register(&world).await.assigned()["deviceId"], "press-17");
    service.edit(&individual("press-17"), |body| body["deviceId"] = json!("renamed")).await;
    assert_eq!(device.register(&world).await.assigned()["deviceId"], "press-17");
    assert_eq!(world.identity(HUBS[0], "renamed").await, None);

    service.delete("/registrations/press-17").await;
    assert_eq!(device.register(&world).await.assigned()["deviceId"], "renamed");
    assert!(world.identity(HUBS[0], "renamed").await.is_some());
    assert!(world.identity(HUBS[0], "press-17").await.is_some(), "the old hub device stays");
}

#[tokio::test]
async fn a_record_is_deleted_with_its_etag_and_not_with_an_older_one() {
    let world = Scene::new().start().await;
    let service = world.service();
    let enrollment = service.create(&individual("press-17"), &by_key("press-17")).await;
    let device = Device::with_key("press-17", primary_key(&enrollment));
    let old = device.register(&world).await.assigned()["etag"].clone();
    let new = device.register(&world).await.assigned()["etag"].clone();
    assert_ne!(old, new, "every registration is a new version");
    let path = "/registrations/press-17";
    let stale = service.send("DELETE", path, old.as_str(), "").await;
    assert_eq!(stale.status, 412);
    stale.refused(412_000);
    assert_eq!(service.send("DELETE", path, new.as_str(), "").await.status, 204);
    service.send("DELETE", path, None, "").await.refused(404_203);
    service.send("GET", path, None, "").await.refused(404_203);
}
