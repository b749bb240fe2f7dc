//! Certificate rolling: two slots, so that old and new overlap (O §2, D §5.3).

use serde_json::{Value, json};
use testkit::{Ca, Credential};

use crate::world::{
    Answer, Device, HUBS, Scene, World,
    enrollments::{
        by_certificate, by_key, group, group_by_ca, individual, primary_key, secondary_key,
    },
};

const ID: &str = "press-17";

fn slot(pem: &str) -> Value {
    json!({"certificate": pem})
}

/// The device is admitted, and its identity carries the thumbprint of what it presented.
async fn check_admitted(world: &World, leaf: &Credential) {
    let device = Device::with_certificate(ID, leaf);
    device.register(world).await.assigned();
    let identity = world.identity(HUBS[0], ID).await.expect("an identity");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf.der());
    let thumbprint: String = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    let shown = &identity["authentication"]["x509Thumbprint"]["primaryThumbprint"];
    assert_eq!(shown, &json!(thumbprint));
}

async fn check_refused(world: &World, leaf: &Credential) {
    match Device::with_certificate(ID, leaf).register(world).await {
        Answer::Refused { code, message } => {
            assert_eq!((code, message.as_str()), (401_002, "Invalid certificate."));
        }
        Answer::Settled(state) => panic!("a certificate that was rolled out: {state}"),
    }
}

#[tokio::test]
async fn an_individual_enrollments_certificate_is_rolled_through_its_secondary_slot() {
    let world = Scene::new().start().await;
    let service = world.service();
    let ca = Ca::root("Works Root");
    let (old, new) = (ca.leaf(ID), ca.leaf(ID));
    service.create(&individual(ID), &by_certificate(ID, &old)).await;
    check_admitted(&world, &old).await;
    check_refused(&world, &new).await;

    let slots = "/attestation/x509/clientCertificates";
    service
        .edit(&individual(ID), |body| {
            let slots = body.pointer_mut(slots).expect("the slots are shown");
            slots["secondary"] = slot(&new.pem());
        })
        .await;
    check_admitted(&world, &old).await;
    check_admitted(&world, &new).await;

    // The new one becomes the primary, and what was left out is gone.
    service
        .edit(&individual(ID), |body| {
            let slots = body.pointer_mut(slots).expect("the slots are shown");
            *slots = json!({"primary": slots["secondary"].clone()});
        })
        .await;
    check_admitted(&world, &new).await;
    check_refused(&world, &old).await;
}

#[tokio::test]
async fn a_groups_ca_is_rolled_through_its_secondary_slot() {
    let world = Scene::new().start().await;
    let service = world.service();
    let root = Ca::root("Works Root");
    let (old, new) = (root.intermediate("line-4 (2025)"), root.intermediate("line-4 (2026)"));
    let (old_leaf, new_leaf) = (old.leaf(ID), new.leaf(ID));
    service.create(&group("line-4"), &group_by_ca("line-4", &old)).await;
    check_admitted(&world, &old_leaf).await;
    let newcomer = Device::with_certificate(ID, &new_leaf).register(&world).await;
    assert!(matches!(newcomer, Answer::Refused { code: 401_002, .. }), "{newcomer:?}");

    let slots = "/attestation/x509/signingCertificates";
    service
        .edit(&group("line-4"), |body| {
            let slots = body.pointer_mut(slots).expect("the slots are shown");
            slots["secondary"] = slot(&new.pem());
        })
        .await;
    check_admitted(&world, &old_leaf).await;
    check_admitted(&world, &new_leaf).await;

    service
        .edit(&group("line-4"), |body| {
            let slots = body.pointer_mut(slots).expect("the slots are shown");
            slots["primary"] = slot(&new.pem());
        })
        .await;
    check_admitted(&world, &new_leaf).await;
    let rolled_out = Device::with_certificate(ID, &old_leaf).register(&world).await;
    assert!(matches!(rolled_out, Answer::Refused { code: 401_002, .. }), "{rolled_out:?}");
}

#[tokio::test]
async fn a_renewed_intermediate_with_the_same_key_admits_the_devices_it_signed_before() {
    let world = Scene::new().start().await;
    let service = world.service();
    let old = Ca::root("line-4");
    let renewed = old.reissued(testkit::Profile::ca("line-4"));
    let leaf = old.leaf(ID);
    service.create(&group("line-4"), &group_by_ca("line-4", &renewed)).await;
    check_admitted(&world, &leaf).await;
}

#[tokio::test]
async fn symmetric_keys_are_rolled_through_the_secondary_slot() {
    let world = Scene::new().start().await;
    let service = world.service();
    let enrollment = service.create(&individual(ID), &by_key(ID)).await;
    let (old, new) = (primary_key(&enrollment).to_owned(), secondary_key(&enrollment).to_owned());
    for key in [&old, &new] {
        Device::with_key(ID, key).register(&world).await.assigned();
    }
    let other = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let keys = json!({"primaryKey": new, "secondaryKey": other});
    service.edit(&individual(ID), |body| body["attestation"]["symmetricKey"] = keys.clone()).await;
    for key in [new.as_str(), other] {
        Device::with_key(ID, key).register(&world).await.assigned();
    }
    let rolled_out = Device::with_key(ID, &old).register(&world).await;
    assert!(matches!(rolled_out, Answer::Refused { code: 401_002, .. }), "{rolled_out:?}");
    let identity = world.identity(HUBS[0], ID).await.expect("an identity");
    assert_eq!(identity["authentication"]["symmetricKey"], keys, "the hub learns the keys");
}
