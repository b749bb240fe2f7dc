//! Excluding one device of a group: a disabled individual enrollment with its registration ID,
//! with the device's certificate or without it (O §2, D §5.1 step 3).

use testkit::Ca;

use crate::world::{
    Answer, Device, Identity, Next, Record, Scene, World,
    check::check,
    enrollments::{
        by_certificate, by_key, disabled, group, group_by_ca, group_by_key, individual, primary_key,
    },
};

const ASSIGNED: Record = Record::With("assigned");
const DISABLED: Record = Record::With("disabled");
const EXCLUDED: &str = "press-17";

/// A group of three devices, registered. The first will be excluded.
struct Line {
    ca: Ca,
    leaf: testkit::Credential,
    devices: Vec<Device>,
}

impl Line {
    async fn of(world: &World) -> Self {
        let ca = Ca::root("Works Root").intermediate("line-4");
        world.service().create(&group("line-4"), &group_by_ca("line-4", &ca)).await;
        let leaf = ca.leaf(EXCLUDED);
        let mut devices = vec![Device::with_certificate(EXCLUDED, &leaf)];
        devices
            .extend(["press-18", "press-19"].map(|id| Device::with_certificate(id, &ca.leaf(id))));
        for device in &devices {
            check(world, device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
        }
        Self { ca, leaf, devices }
    }

    /// The first device is kept out and the others go on; then the exclusion is deleted, and it
    /// is back.
    async fn check_exclusion(&self, world: &World) {
        let (excluded, others) = self.devices.split_first().expect("three devices");
        check(world, excluded, Next::Disabled, DISABLED, Identity::Enabled).await;
        for device in others {
            check(world, device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
        }
        world.service().delete(&individual(EXCLUDED)).await;
        let seen = check(world, excluded, Next::Assigned, ASSIGNED, Identity::Enabled).await;
        let of_group = world.service().query("/registrations/line-4/query").await;
        assert!(of_group.contains(&seen.record), "it is the group's again: {of_group:?}");
        for device in others {
            check(world, device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
        }
    }
}

#[tokio::test]
async fn one_device_of_a_group_is_excluded_with_its_certificate_until_the_exclusion_is_deleted() {
    let world = Scene::new().start().await;
    let line = Line::of(&world).await;
    let exclusion = disabled(by_certificate(EXCLUDED, &line.leaf));
    world.service().create(&individual(EXCLUDED), &exclusion).await;
    line.check_exclusion(&world).await;
}

#[tokio::test]
async fn one_device_of_a_group_is_excluded_without_its_certificate_until_the_exclusion_is_deleted()
{
    let world = Scene::new().start().await;
    let line = Line::of(&world).await;
    world.service().create(&individual(EXCLUDED), &disabled(by_key(EXCLUDED))).await;
    line.check_exclusion(&world).await;
}

#[tokio::test]
async fn an_exclusion_in_another_letter_case_excludes_the_device_all_the_same() {
    let world = Scene::new().start().await;
    let line = Line::of(&world).await;
    world.service().create(&individual("PRESS-17"), &disabled(by_key("PRESS-17"))).await;
    line.check_exclusion(&world).await;
}

#[tokio::test]
async fn an_excluded_device_stays_out_with_a_renewed_certificate() {
    let world = Scene::new().start().await;
    let line = Line::of(&world).await;
    world.service().create(&individual(EXCLUDED), &disabled(by_key(EXCLUDED))).await;
    let renewed = Device::with_certificate(EXCLUDED, &line.ca.leaf(EXCLUDED));
    check(&world, &renewed, Next::Disabled, DISABLED, Identity::Enabled).await;

    // Excluded by its certificate, a new one does not satisfy the entry that decides.
    world.service().delete(&individual(EXCLUDED)).await;
    let exclusion = disabled(by_certificate(EXCLUDED, &line.leaf));
    world.service().create(&individual(EXCLUDED), &exclusion).await;
    let Answer::Refused { code, .. } = renewed.register(&world).await else {
        panic!("the renewed certificate is not the enrolled one");
    };
    assert_eq!(code, 401_002);
}

#[tokio::test]
async fn an_impostor_of_an_excluded_device_learns_nothing_of_the_exclusion() {
    let world = Scene::new().start().await;
    Line::of(&world).await;
    world.service().create(&individual(EXCLUDED), &disabled(by_key(EXCLUDED))).await;
    let foreign = Ca::root("Foreign Root").intermediate("line-4");
    let impostor = Device::with_certificate(EXCLUDED, &foreign.leaf(EXCLUDED));
    check(&world, &impostor, Next::Unauthorized, ASSIGNED, Identity::Enabled).await;
}

#[tokio::test]
async fn one_device_of_a_symmetric_key_group_is_excluded_until_the_exclusion_is_deleted() {
    let world = Scene::new().start().await;
    let service = world.service();
    let line = service.create(&group("line-7"), &group_by_key("line-7")).await;
    let devices = ["press-1", "press-2"].map(|id| Device::of_group(id, primary_key(&line)));
    for device in &devices {
        check(&world, device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    }
    // Its own keys are generated; what the device still holds is the group's derived key, which
    // is no proof to an individual enrollment of the same kind (D §5.6).
    let own = service.create(&individual("press-1"), &disabled(by_key("press-1"))).await;
    check(&world, &devices[0], Next::Unauthorized, ASSIGNED, Identity::Enabled).await;
    check(&world, &devices[1], Next::Assigned, ASSIGNED, Identity::Enabled).await;
    let with_own_key = Device::with_key("press-1", primary_key(&own));
    check(&world, &with_own_key, Next::Disabled, DISABLED, Identity::Enabled).await;
    service.delete(&individual("press-1")).await;
    check(&world, &devices[0], Next::Assigned, ASSIGNED, Identity::Enabled).await;
}
