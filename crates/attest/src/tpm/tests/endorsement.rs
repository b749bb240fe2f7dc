use model::{AttestFailure, CertificateDer, EnrolledCertificate, Timestamp};
use rcgen::{ExtendedKeyUsagePurpose as Eku, IsCa, KeyUsagePurpose as Ku};
use testkit::{Ca, Credential, KeyKind, NOW, Profile, tpm::endorsement_profile};

use super::*;
use crate::{
    certificate::describe,
    chain::{self, Limits, Presented},
};

fn enrolled(der: &[u8]) -> EnrolledCertificate {
    describe(der).expect("a certificate")
}

fn presented(chain: &[CertificateDer]) -> Presented {
    Presented::parse(chain, &Limits::default()).expect("within limits")
}

/// Checks a chain for the key of the fixtures' TPM against these roots.
#[track_caller]
fn check(chain: &[CertificateDer], roots: &[&Ca], expected: Result<(), &str>) {
    let roots: Vec<_> = roots.iter().map(|root| enrolled(root.der())).collect();
    let roots: Vec<_> = roots.iter().collect();
    let verdict = check_endorsement(&presented(chain), &endorsement_key(&TPM), &roots, NOW);
    assert_eq!(verdict, expected.map_err(|why| AttestFailure::NotEndorsed(why.to_owned())));
}

/// The endorsement key's certificate from this CA, after a changed profile.
fn certificate(ca: &Ca, change: impl FnOnce(Profile) -> Profile) -> Vec<CertificateDer> {
    vec![TPM.endorsement_certificate_after(ca, &change(endorsement_profile()))]
}

const UNKNOWN: &str = "it does not lead to an enrolled certificate of a TPM vendor";

#[test]
fn a_certificate_as_vendors_write_them_leads_to_their_root_or_intermediate() {
    let root = Ca::root("TPM Vendor Root");
    let line = root.intermediate("TPM Vendor Line 4");
    check(&TPM.endorsement_chain(&root), &[&root], Ok(()));
    check(&TPM.endorsement_chain(&line), &[&root], Ok(()));
    check(&TPM.endorsement_chain(&line), &[&line], Ok(()));
    check(&[TPM.endorsement_certificate(&line)], &[&line], Ok(()));
    check(&[TPM.endorsement_certificate(&line)], &[&root], Err(UNKNOWN));
    check(&[TPM.endorsement_certificate(&line)], &[&root, &line], Ok(()));
}

#[test]
fn a_certificate_of_another_implementation_holds() {
    let chain = ["endorsement.der", "issuer.der"].map(|name| CertificateDer(fixture(name)));
    let (root, issuer) = (enrolled(&fixture("root.der")), enrolled(&fixture("issuer.der")));
    let ek = EndorsementKey::parse(&fixture("endorsement-key.tpm2b")).expect("a key");
    let at = |now| check_endorsement(&presented(&chain), &ek, &[&root], now);
    let made = root.info.not_before;
    assert_eq!(at(made.plus_secs(86_400)), Ok(()));
    assert_eq!(at(Timestamp::from_unix_secs(253_402_300_799)), Ok(()), "the end of 9999");
    let early = AttestFailure::NotEndorsed("it is not valid yet".to_owned());
    assert_eq!(at(made.plus_secs(-86_400)), Err(early));
    let leaf = presented(&chain[..1]);
    assert_eq!(check_endorsement(&leaf, &ek, &[&issuer], made.plus_secs(86_400)), Ok(()));
}

#[test]
fn a_certificate_for_another_key_says_nothing_of_this_one() {
    let root = Ca::root("TPM Vendor Root");
    let other = "it is for another key than the TPM's endorsement key";
    check(&SoftTpm::new().endorsement_chain(&root), &[&root], Err(other));
    check(&root.leaf("press-17").alone(), &[&root], Err(other));
    let rsa = root.issue(Profile::leaf("press-17").key(KeyKind::Rsa2048));
    check(&rsa.alone(), &[&root], Err(other));
    // Only the leaf speaks of the key.
    let mut behind = root.leaf("press-17").alone();
    behind.push(TPM.endorsement_certificate(&root));
    check(&behind, &[&root], Err(other));
}

#[test]
fn a_chain_to_no_enrolled_vendor_is_refused() {
    let root = Ca::root("TPM Vendor Root");
    let namesake = Ca::root("TPM Vendor Root");
    let chain = TPM.endorsement_chain(&root);
    check(&chain, &[], Err(UNKNOWN));
    check(&chain, &[&Ca::root("Other Vendor")], Err(UNKNOWN));
    check(&chain, &[&Ca::root("Other Vendor"), &root], Ok(()));
    check(&chain, &[&namesake], Err("its chain does not hold: a signature is wrong"));
    check(&chain, &[&namesake, &root], Ok(()));
}

#[test]
fn an_extended_key_usage_is_that_of_endorsement_keys_or_any() {
    let root = Ca::root("root");
    let ek = || Eku::Other(vec![2, 23, 133, 8, 1]);
    let refused = "its chain does not hold: an extended key usage does not include endorsement keys \
         (2.23.133.8.1)";
    let leaf = |usages: &[Eku]| certificate(&root, |p| p.extended_key_usages(usages));
    check(&leaf(&[]), &[&root], Ok(()));
    check(&leaf(&[Eku::Any]), &[&root], Ok(()));
    check(&leaf(&[Eku::ClientAuth, ek()]), &[&root], Ok(()));
    check(&leaf(&[Eku::ClientAuth]), &[&root], Err(refused));
    check(&leaf(&[Eku::ServerAuth, Eku::ClientAuth]), &[&root], Err(refused));
    // The platform certificate's, one number further.
    check(&leaf(&[Eku::Other(vec![2, 23, 133, 8, 2])]), &[&root], Err(refused));

    let below = |usages: &[Eku]| {
        let line = root.issue_ca(Profile::ca("line-4").extended_key_usages(usages));
        (TPM.endorsement_chain(&line), line)
    };
    for usages in [&[][..], &[Eku::Any], &[ek()]] {
        let (chain, line) = below(usages);
        check(&chain, &[&root], Ok(()));
        check(&chain, &[&line], Ok(()));
    }
    let (chain, line) = below(&[Eku::ClientAuth]);
    check(&chain, &[&root], Err(refused));
    check(
        &chain,
        &[&line],
        Err("its chain does not hold: CN=line-4: its extended key usage does not include \
             endorsement keys (2.23.133.8.1)"),
    );
}

#[test]
fn a_key_usage_allows_the_key_to_be_encrypted_for() {
    let root = Ca::root("root");
    let leaf = |usages: &[Ku]| certificate(&root, |profile| profile.key_usages(usages));
    check(&leaf(&[]), &[&root], Ok(()));
    check(&leaf(&[Ku::KeyEncipherment, Ku::DataEncipherment]), &[&root], Ok(()));
    let refused =
        "its chain does not hold: a certificate: its key usage does not allow key encipherment";
    check(&leaf(&[Ku::DigitalSignature]), &[&root], Err(refused));
}

#[test]
fn validity_counts_for_the_certificate_and_for_all_above_it() {
    let root = Ca::root("root");
    check(&certificate(&root, Profile::expired), &[&root], Err("it has expired"));
    check(&certificate(&root, Profile::not_yet_valid), &[&root], Err("it is not valid yet"));
    let line = root.issue_ca(Profile::ca("line-4").expired());
    let stale = "certificate CN=line-4 has expired";
    check(&TPM.endorsement_chain(&line), &[&root], Err(stale));
    check(&TPM.endorsement_chain(&line), &[&line], Err(stale));
}

#[test]
fn a_ca_certificate_for_the_key_is_none_of_an_endorsement_key() {
    let root = Ca::root("root");
    let ca = certificate(&root, |profile| {
        profile.adjust(|p| p.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained))
    });
    let refused =
        "its chain does not hold: a certificate: a CA certificate cannot be an endorsement key's";
    check(&ca, &[&root], Err(refused));
}

#[test]
fn an_endorsement_certificate_is_no_device_certificate() {
    let root = Ca::root("root");
    let device = |chain: &[CertificateDer]| {
        let nobody = std::collections::HashSet::new();
        chain::validate(&presented(chain), &[], &enrolled(root.der()), &nobody, NOW)
    };
    let bad = |text: &str| Err(AttestFailure::BadChain(text.to_owned()));
    let no_signatures = "a certificate: its key usage does not allow digital signatures";
    assert_eq!(device(&TPM.endorsement_chain(&root)), bad(no_signatures));
    let no_client = "an extended key usage does not include client authentication";
    let signing = certificate(&root, |profile| profile.key_usages(&[Ku::DigitalSignature]));
    assert_eq!(device(&signing), bad(no_client));
    // Nor does “any” count for a device because it counts for an endorsement key.
    let any = Profile::leaf("press-17").extended_key_usages(&[Eku::Any]);
    assert_eq!(device(&root.issue(any).alone()), bad(no_client));
}

#[test]
fn the_key_is_found_under_either_name_of_its_algorithm() {
    const RSA_ENCRYPTION: [u8; 9] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
    let der = TPM.endorsement_certificate(&Ca::root("root")).0;
    let renamed = |last: u8| {
        let at = der.windows(9).position(|w| w == RSA_ENCRYPTION).expect("an RSA key");
        let mut der = der.clone();
        der[at + 8] = last;
        presented(&[CertificateDer(der)])
    };
    let ek = endorsement_key(&TPM);
    assert!(certificate_key_matches(&renamed(1), &ek), "rsaEncryption");
    assert!(certificate_key_matches(&renamed(7), &ek), "id-RSAES-OAEP");
    assert!(!certificate_key_matches(&renamed(10), &ek), "id-RSASSA-PSS, which signs");
    let itself = Credential::self_signed(Profile::leaf("x").key(KeyKind::Rsa2048));
    assert!(!certificate_key_matches(&presented(&itself.alone()), &ek));
}
