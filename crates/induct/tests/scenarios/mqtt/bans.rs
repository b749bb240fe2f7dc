//! A ban outranks every enrollment until it is lifted: whatever it is about, the device is not
//! admitted over HTTPS, its MQTT session ends, and it does not come back by its hub's MQTT door. The
//! other doors are knocked at in `tests/server/deprovision`.

use serde_json::{Value, json};
use testkit::{Ca, Credential};

use super::{
    hub::HUB,
    line::{Line, Way},
    sdk,
};
use crate::world::{
    Device, Identity, Next, Record, Scene, Tls, World,
    check::{check, check_without_registering},
    device::Proof,
    enrollments::{by_certificate, group, group_by_ca, individual},
    within,
};

const ID: &str = "press-17";
const OTHER: &str = "press-18";
const ASSIGNED: Record = Record::With("assigned");
const BANS: &str = "/induct/v1/bans";

/// A device of a group whose CA is below a root, and another one of the same group.
struct Cast {
    root: Ca,
    line: Ca,
    leaf: Credential,
    device: Device,
    other: Device,
}

impl Cast {
    async fn enrolled(world: &World) -> Self {
        let root = Ca::root("Works Root");
        let line = root.intermediate("line-4");
        let leaf = line.leaf(ID);
        let device = Device::with_certificate(ID, &leaf);
        let other = Device::with_certificate(OTHER, &line.leaf(OTHER));
        world.service().create(&group("line-4"), &group_by_ca("line-4", &line)).await;
        Self { root, line, leaf, device, other }
    }
}

async fn dial(world: &World, device: &Device) -> Line {
    let Proof::Certificates(chain, key) = &device.proof else { panic!("it has a certificate") };
    let tls = |tls: Tls| sdk::NODE.tls(tls.credential(chain.clone(), key.clone()));
    Line::new(Way::Tls.open(world, HUB, tls).await)
}

fn hello(device: &Device) -> mqtt::proto::Connect {
    sdk::NODE.hub_connect(HUB, &device.id, None, sdk::TTL_SECS)
}

async fn ban(world: &World, body: &Value) -> Value {
    world.service().send("POST", BANS, None, body.to_string()).await.expect(200)
}

async fn lift(world: &World, name: &str) {
    let path = format!("{BANS}/{}", wire::percent::encode(name));
    world.service().send("DELETE", &path, None, "").await.expect(200);
}

async fn until_disconnected(world: &World, id: &str) {
    let is_connected = async || {
        let identity = world.identity(HUB, id).await;
        identity.is_some_and(|identity| identity["connectionState"] == "Connected")
    };
    within("a disconnected device", async {
        while is_connected().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Bans what `of` says, and lifts the ban; `also` says whether the other device is kept out too.
async fn check_ban(of: impl FnOnce(&Cast) -> Value, also: bool) {
    let world = Scene::new().start().await;
    let cast = Cast::enrolled(&world).await;
    for device in [&cast.device, &cast.other] {
        check(&world, device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    }
    let mut line = dial(&world, &cast.device).await;
    line.connect(hello(&cast.device)).await;
    let mut neighbour = dial(&world, &cast.other).await;
    neighbour.connect(hello(&cast.other)).await;

    let mut body = of(&cast);
    body["reason"] = json!("stolen");
    let set = ban(&world, &body).await;
    assert_eq!(ban(&world, &body).await, set, "again, it changes nothing");
    line.closed().await;
    if also {
        neighbour.closed().await;
        until_disconnected(&world, OTHER).await;
        check(&world, &cast.other, Next::Unauthorized, ASSIGNED, Identity::Enabled).await;
    } else {
        neighbour.ping().await;
    }
    until_disconnected(&world, ID).await;
    check(&world, &cast.device, Next::Unauthorized, ASSIGNED, Identity::Enabled).await;
    dial(&world, &cast.device).await.refused(hello(&cast.device)).await;
    // An enrollment of its own does not help it, nor does another group.
    let own = individual(ID);
    world.service().create(&own, &by_certificate(ID, &cast.leaf)).await;
    world.service().create(&group("works"), &group_by_ca("works", &cast.root)).await;
    check(&world, &cast.device, Next::Unauthorized, ASSIGNED, Identity::Enabled).await;
    world.service().delete(&own).await;
    world.service().delete(&group("line-4")).await;
    check(&world, &cast.device, Next::Unauthorized, Record::None, Identity::Enabled).await;

    lift(&world, set["name"].as_str().expect("a name")).await;
    check(&world, &cast.device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    let mut line = dial(&world, &cast.device).await;
    line.connect(hello(&cast.device)).await;
    line.ping().await;
}

fn thumbprint(der: &[u8]) -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_banned_registration_id_is_kept_out_in_any_letter_case() {
    check_ban(|_| json!({"registrationId": "PRESS-17"}), false).await;
}

#[tokio::test]
async fn a_banned_certificate_is_kept_out_by_its_file_and_by_its_thumbprint() {
    check_ban(|cast| json!({"certificate": cast.leaf.pem()}), false).await;
    check_ban(|cast| json!({"thumbprint": thumbprint(cast.leaf.der())}), false).await;
}

#[tokio::test]
async fn a_banned_ca_keeps_out_all_that_it_issued() {
    check_ban(|cast| json!({"certificate": cast.line.pem()}), true).await;
    check_ban(|cast| json!({"thumbprint": thumbprint(cast.line.der())}), true).await;
}

#[tokio::test]
async fn a_banned_root_keeps_out_those_whose_group_is_of_a_ca_below_it() {
    check_ban(|cast| json!({"certificate": cast.root.pem()}), true).await;
}

#[tokio::test]
async fn a_banned_serial_number_keeps_out_that_certificate_of_that_issuer() {
    let serial = |cast: &Cast| {
        let described = attest::certificate::describe(cast.leaf.der()).expect("a certificate");
        described.info.serial_number
    };
    let by_file = |cast: &Cast| json!({"serialNumber": serial(cast), "issuer": cast.line.pem()});
    check_ban(by_file, false).await;
    let by_thumbprint =
        |cast: &Cast| json!({"serialNumber": serial(cast), "issuer": thumbprint(cast.line.der())});
    check_ban(by_thumbprint, false).await;
}

#[tokio::test]
async fn a_dry_run_bans_nobody() {
    let world = Scene::new().start().await;
    let cast = Cast::enrolled(&world).await;
    check(&world, &cast.device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    let body = json!({"registrationId": ID}).to_string();
    let path = format!("{BANS}?dryRun=true");
    world.service().send("POST", &path, None, body).await.expect(200);
    assert_eq!(world.service().get(BANS).await, json!([]));
    check_without_registering(&world, ID, ASSIGNED, Identity::Enabled).await;
    check(&world, &cast.device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
}
