//! Groups by the name of a certificate of the service's own store (O §3.5), and the row of O §2
//! on removing one.

use serde_json::{Value, json};
use testkit::{Ca, Credential, Profile};

use crate::world::{
    Device, Identity, Next, Record, Scene, World,
    check::check,
    device::Proof,
    enrollments::{disabled, group, group_by_ca},
};

const ASSIGNED: Record = Record::With("assigned");
const CERTIFICATE: &str = "/induct/v1/certificates/works-root";

fn group_by_reference(id: &str, name: &str) -> Value {
    json!({
        "enrollmentGroupId": id,
        "attestation": {"type": "x509", "x509": {"caReferences": {"primary": name}}}
    })
}

/// A device that sends its own certificate and none above it.
fn leaf_alone(id: &str, leaf: &Credential) -> Device {
    Device::new(id, Proof::Certificates(vec![leaf.der().to_vec()], leaf.key_der().to_vec()))
}

async fn upload(world: &World, path: &str, ca: &Ca, verified: bool) {
    let body = json!({"certificate": ca.pem(), "isVerified": verified});
    world.service().create(path, &body).await;
}

#[tokio::test]
async fn a_ca_attests_once_possession_is_proven_and_no_more_when_it_is_removed() {
    let world = Scene::new().start().await;
    let service = world.service();
    let root = Ca::root("Works Root");
    let device = Device::with_certificate("press-17", &root.leaf("press-17"));
    upload(&world, CERTIFICATE, &root, false).await;
    service.create(&group("works"), &group_by_reference("works", "works-root")).await;
    check(&world, &device, Next::Unauthorized, Record::None, Identity::Gone).await;

    let path = format!("{CERTIFICATE}/generateVerificationCode");
    let shown = service.send("POST", &path, Some("*"), "").await.expect(200);
    let code = shown["verificationCode"].as_str().expect("a code");
    assert_eq!(code.len(), 48);
    let path = format!("{CERTIFICATE}/verify");
    let stranger = Ca::root("Works Root").issue(Profile::leaf(code));
    let body = json!({"certificate": stranger.pem()}).to_string();
    service.send("POST", &path, Some("*"), body).await.refused(400_010);
    check(&world, &device, Next::Unauthorized, Record::None, Identity::Gone).await;
    let body = json!({"certificate": root.issue(Profile::leaf(code)).pem()}).to_string();
    let verified = service.send("POST", &path, Some("*"), body).await.expect(200);
    assert_eq!(verified["isVerified"], true);
    assert_eq!(verified["usedBy"], json!(["works"]));
    check(&world, &device, Next::Assigned, ASSIGNED, Identity::Enabled).await;

    let removed = service.send("DELETE", CERTIFICATE, Some("*"), "").await.expect(200);
    assert_eq!(removed["usedBy"], json!(["works"]), "the operator hears whom it shuts out");
    let newcomer = Device::with_certificate("press-18", &root.leaf("press-18"));
    check(&world, &newcomer, Next::Unauthorized, Record::None, Identity::Gone).await;
    check(&world, &device, Next::Unauthorized, ASSIGNED, Identity::Enabled).await;
}

#[tokio::test]
async fn a_leaf_alone_is_completed_from_the_store_and_meets_the_disabled_group_on_the_way() {
    let world = Scene::new().start().await;
    let service = world.service();
    let root = Ca::root("Works Root");
    let line = root.intermediate("line-4");
    let leaf = line.leaf("press-17");
    let alone = leaf_alone("press-17", &leaf);
    upload(&world, CERTIFICATE, &root, true).await;
    upload(&world, "/induct/v1/certificates/line-4", &line, true).await;
    service.create(&group("works"), &group_by_reference("works", "works-root")).await;
    check(&world, &alone, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    service.create(&group("line-4"), &disabled(group_by_ca("line-4", &line))).await;
    check(&world, &alone, Next::Disabled, Record::With("disabled"), Identity::Enabled).await;
}
