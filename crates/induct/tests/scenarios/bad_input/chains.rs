//! Certificates that devices present: expired, of another name, without one, too many, too large.

use rustls_pki_types::{CertificateDer, pem::PemObject};
use testkit::{Ca, Credential, Profile};

use super::Victim;
use crate::world::{
    Device, SERVICE,
    device::Proof,
    enrollments::{by_certificate, group, group_by_ca, individual},
};

const UNAUTHORIZED: &str = "Unauthorized";
const INVALID: &str = "Invalid certificate.";

/// The device is refused with 401002 and this message, and the log has the reason in these words
/// under the tracking ID that the device was given.
async fn check(victim: &Victim, device: &Device, message: &str, reason: &str) {
    let mut connection = device.tls(&victim.world).connect(SERVICE).await;
    let reply = device.start(&victim.world, &mut connection).await;
    assert_eq!(reply.refused(401_002), message, "{reason}");
    let tracking_id = reply.header("x-ms-request-id");
    victim.world.wait_for_log(&[tracking_id, reason]).await;
}

/// The same for a leaf of the victim's group.
async fn check_leaf(victim: &Victim, id: &str, profile: Profile, message: &str, reason: &str) {
    let device = Device::with_certificate(id, &victim.ca.issue(profile));
    check(victim, &device, message, reason).await;
}

#[tokio::test]
async fn an_expired_or_not_yet_valid_leaf_is_refused() {
    let victim = Victim::new().await;
    let leaf = || Profile::leaf("press-3");
    check_leaf(&victim, "press-3", leaf().expired(), INVALID, "has expired").await;
    check_leaf(&victim, "press-3", leaf().not_yet_valid(), INVALID, "is not valid yet").await;
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn an_expired_or_not_yet_valid_ca_is_refused_though_the_leaf_is_fine() {
    let victim = Victim::new().await;
    for (name, profile, reason) in [
        ("old", Profile::ca("old").expired(), "has expired"),
        ("early", Profile::ca("early").not_yet_valid(), "is not valid yet"),
    ] {
        // Enrolled itself, and between the enrolled CA and the leaf.
        let enrolled = Ca::root("Other Root").issue_ca(profile.clone());
        let path = group(name);
        victim.world.service().create(&path, &group_by_ca(name, &enrolled)).await;
        let device = Device::with_certificate("press-3", &enrolled.leaf("press-3"));
        check(&victim, &device, INVALID, reason).await;
        victim.world.service().delete(&path).await;
        let between = victim.ca.issue_ca(profile);
        let device = Device::with_certificate("press-3", &between.leaf("press-3"));
        check(&victim, &device, INVALID, reason).await;
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn an_enrolled_leaf_is_refused_once_it_has_expired() {
    let victim = Victim::new().await;
    let leaf = victim.ca.issue(Profile::leaf("press-3").expired());
    let path = individual("press-3");
    victim.world.service().create(&path, &by_certificate("press-3", &leaf)).await;
    let device = Device::with_certificate("press-3", &leaf);
    check(&victim, &device, INVALID, "has expired").await;
    victim.world.service().delete(&path).await;
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn another_common_name_several_or_none_are_refused() {
    let victim = Victim::new().await;
    let leaf = |names: &[&str]| Profile::leaf("").common_names(names);
    let reason = "common name";
    for names in [&["press-4"][..], &["press-3", "press-4"], &["press-4", "press-3"], &[]] {
        check_leaf(&victim, "press-3", leaf(names), UNAUTHORIZED, reason).await;
    }
    // In the name of a device that is there.
    check_leaf(&victim, "press-2", leaf(&["press-3"]), UNAUTHORIZED, reason).await;
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_leaf_of_a_foreign_ca_of_the_same_name_is_refused() {
    let victim = Victim::new().await;
    let foreign = Ca::root("Works Root").intermediate("line-4");
    let device = Device::with_certificate("press-2", &foreign.leaf("press-2"));
    check(&victim, &device, UNAUTHORIZED, "no enrollment matches").await;
    let own = Credential::self_signed(Profile::leaf("press-2"));
    let device = Device::with_certificate("press-2", &own);
    check(&victim, &device, UNAUTHORIZED, "no enrollment matches").await;
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_leaf_that_signed_another_leaf_admits_nobody() {
    let victim = Victim::new().await;
    let no_ca = victim.ca.issue_ca(Profile::leaf("press-3"));
    let device = Device::with_certificate("press-4", &no_ca.leaf("press-4"));
    check(&victim, &device, INVALID, "CN=press-3: it is not a CA certificate").await;
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_chain_of_a_hundred_certificates_is_refused_with_both_figures_in_the_log() {
    let victim = Victim::new().await;
    let root = Ca::root("Deep Root");
    let top = root.intermediate("ca-1");
    victim.world.service().create(&group("deep"), &group_by_ca("deep", &top)).await;
    let lowest = (2..100).fold(top, |ca, n| ca.intermediate(&format!("ca-{n}")));
    let device = Device::with_certificate("press-3", &lowest.leaf("press-3"));
    let Proof::Certificates(chain, _) = &device.proof else { panic!("a certificate device") };
    assert_eq!(chain.len(), 100);
    let reason = "a chain has at most 10 certificates, this one has 100";
    check(&victim, &device, INVALID, reason).await;
    victim.world.service().delete(&group("deep")).await;
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_ca_with_a_key_of_16384_bits_above_a_leaf_is_refused_with_both_figures_in_the_log() {
    let victim = Victim::new().await;
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/certificates/leaf-rsa16384.pem");
    let huge = CertificateDer::from_pem_file(path).expect("the fixture").to_vec();
    let leaf = victim.ca.leaf("press-3");
    let chain = vec![leaf.der().to_vec(), huge];
    let device = Device::new("press-3", Proof::Certificates(chain, leaf.key_der().to_vec()));
    let reason = "an RSA key has at most 8192 bits, the certificate's has 16384";
    check(&victim, &device, INVALID, reason).await;
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn what_is_no_certificate_above_a_good_leaf_is_refused() {
    let victim = Victim::new().await;
    let leaf = victim.ca.leaf("press-3");
    for junk in [vec![0; 64], vec![0x30, 0x82, 0xff, 0xff], b"hello".to_vec()] {
        let chain = vec![leaf.der().to_vec(), junk];
        let device = Device::new("press-3", Proof::Certificates(chain, leaf.key_der().to_vec()));
        check(&victim, &device, INVALID, "cannot be parsed").await;
    }
    victim.assert_unharmed().await;
}
