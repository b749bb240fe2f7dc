use std::collections::HashSet;

use rcgen::{ExtendedKeyUsagePurpose as Eku, KeyUsagePurpose as Ku};
use testkit::{Ca, Credential, KeyKind, NOW, Profile};

use super::*;
use crate::certificate::describe;

mod hostile;
mod walking;

fn enrolled(der: &[u8]) -> EnrolledCertificate {
    describe(der).expect("a certificate")
}

fn ca(ca: &Ca) -> EnrolledCertificate {
    enrolled(ca.der())
}

fn presented(chain: &[CertificateDer]) -> Presented {
    Presented::parse(chain, &Limits::default()).expect("within limits")
}

/// A certificate of `fixtures/certificates`.
fn fixture(name: &str) -> CertificateDer {
    let path = format!("{}/../../fixtures/certificates/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(path).expect("fixture");
    let block = x509_parser::pem::Pem::iter_from_buffer(&text).next().expect("a block");
    CertificateDer(block.expect("PEM").contents)
}

/// Validates a chain up to an anchor, with nothing stored.
#[track_caller]
fn check(chain: &[CertificateDer], anchor: &Ca, expected: Result<(), AttestFailure>) {
    check_stored(chain, &[], anchor, expected);
}

/// Validates a chain up to an anchor, with these CAs stored.
#[track_caller]
fn check_stored(
    chain: &[CertificateDer],
    stored: &[&Ca],
    anchor: &Ca,
    expected: Result<(), AttestFailure>,
) {
    let stored: Vec<_> = stored.iter().map(|one| ca(one)).collect();
    let stored: Vec<_> = stored.iter().collect();
    assert_eq!(validate(&presented(chain), &stored, &ca(anchor), &HashSet::new(), NOW), expected);
}

fn bad_chain(text: &str) -> Result<(), AttestFailure> {
    Err(AttestFailure::BadChain(text.to_owned()))
}

#[test]
fn a_chain_is_valid_up_to_its_root_and_up_to_its_intermediate() {
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let leaf = line.leaf("press-17");
    check(&leaf.chain(), &root, Ok(()));
    check(&leaf.chain(), &line, Ok(()));
    check(&leaf.chain_with_root(), &root, Ok(()));
    check(&leaf.alone(), &line, Ok(()));
    check(&leaf.alone(), &root, bad_chain("an issuer is missing"));
}

#[test]
fn a_chain_of_rsa_keys_is_valid() {
    let root = Ca::create(Profile::ca("root").key(KeyKind::Rsa2048));
    let leaf = root.issue(Profile::leaf("press-17").key(KeyKind::Rsa2048));
    check(&leaf.alone(), &root, Ok(()));
}

#[test]
fn a_leaf_alone_is_completed_from_our_own_store() {
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let cell = line.intermediate("cell-2");
    let leaf = cell.leaf("press-17");
    check_stored(&leaf.alone(), &[&root, &cell, &line], &root, Ok(()));
    check_stored(&leaf.alone(), &[&cell], &root, bad_chain("an issuer is missing"));
}

#[test]
fn the_order_of_the_presented_chain_does_not_matter_but_for_the_leaf() {
    let root = Ca::root("root");
    let leaf = root.intermediate("line-4").intermediate("cell-2").leaf("press-17");
    let mut chain = leaf.chain_with_root();
    chain[1..].reverse();
    check(&chain, &root, Ok(()));
}

#[test]
fn a_namesake_of_the_anchor_does_not_admit_its_devices() {
    let root = Ca::root("root");
    let impostor = Ca::root("root");
    check(&impostor.leaf("press-17").alone(), &root, bad_chain("a signature is wrong"));
    let line = impostor.intermediate("line-4");
    check(&line.leaf("press-17").chain_with_root(), &root, bad_chain("a signature is wrong"));
}

#[test]
fn a_certificate_outside_its_validity_breaks_the_chain_wherever_it_stands() {
    let root = Ca::root("root");
    let expired = |name: &str| Err(AttestFailure::Expired(format!("CN={name}")));
    let early = |name: &str| Err(AttestFailure::NotYetValid(format!("CN={name}")));

    check(&root.issue(Profile::leaf("press").expired()).alone(), &root, expired("press"));
    check(&root.issue(Profile::leaf("press").not_yet_valid()).alone(), &root, early("press"));

    let line = root.issue_ca(Profile::ca("line-4").expired());
    check(&line.leaf("press").chain(), &root, expired("line-4"));
    let line = root.issue_ca(Profile::ca("line-4").not_yet_valid());
    check(&line.leaf("press").chain(), &root, early("line-4"));

    let old = Ca::create(Profile::ca("old").expired());
    check(&old.leaf("press").alone(), &old, expired("old"));
    let new = Ca::create(Profile::ca("new").not_yet_valid());
    check(&new.leaf("press").alone(), &new, early("new"));
}

#[test]
fn validity_includes_its_first_and_last_second() {
    let root = Ca::root("root");
    let (from, until) = (NOW.plus_secs(-10), NOW.plus_secs(10));
    let chain = presented(&root.issue(Profile::leaf("press").valid(from, until)).alone());
    let at = |now| validate(&chain, &[], &ca(&root), &HashSet::new(), now);
    assert_eq!(at(from), Ok(()));
    assert_eq!(at(until), Ok(()));
    assert!(matches!(at(from.plus_secs(-1)), Err(AttestFailure::NotYetValid(_))));
    assert!(matches!(at(until.plus_secs(1)), Err(AttestFailure::Expired(_))));
    let fraction = Timestamp::from_ticks(until.ticks() + Timestamp::TICKS_PER_SECOND / 2);
    assert_eq!(at(fraction), Ok(()));
}

#[test]
fn an_expired_certificate_beside_a_valid_one_of_the_same_ca_does_no_harm() {
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let leaf = line.leaf("press-17");
    let expired = line.reissued(Profile::ca("any").expired());
    let mut chain = leaf.alone();
    chain.push(CertificateDer(expired.der().to_vec()));
    chain.push(CertificateDer(line.der().to_vec()));
    check(&chain, &root, Ok(()));
}

#[test]
fn a_path_length_is_kept_by_intermediates_and_by_the_anchor() {
    let too_long = bad_chain("it is longer than one of its CAs allows");
    let root = Ca::create(Profile::ca("root").path_length(1));
    let line = root.issue_ca(Profile::ca("line-4").path_length(0));
    check(&line.leaf("press").chain(), &root, Ok(()));
    check(&line.intermediate("cell-2").leaf("press").chain(), &root, too_long.clone());

    let root = Ca::create(Profile::ca("root").path_length(0));
    check(&root.leaf("press").alone(), &root, Ok(()));
    check(&root.intermediate("line-4").leaf("press").chain(), &root, too_long);
}

#[test]
fn a_certificate_without_the_ca_flag_signs_nothing() {
    let root = Ca::root("root");
    let posing = root.issue_ca(Profile::leaf("press-1").key_usages(&[]));
    check(
        &posing.leaf("press-17").chain(),
        &root,
        bad_chain("an issuer is missing; left out: CN=press-1: it is not a CA certificate"),
    );
    check(
        &posing.leaf("press-17").alone(),
        &posing,
        bad_chain("CN=press-1: it is not a CA certificate"),
    );
}

#[test]
fn a_ca_whose_key_usage_forbids_signing_signs_nothing() {
    let root = Ca::root("root");
    let line = root.issue_ca(Profile::ca("line-4").key_usages(&[Ku::CrlSign]));
    let reason = "CN=line-4: its key usage does not allow it to sign certificates";
    check(
        &line.leaf("press").chain(),
        &root,
        bad_chain(&format!("an issuer is missing; left out: {reason}")),
    );
    check(&line.leaf("press").alone(), &line, bad_chain(reason));
    let silent = root.issue_ca(Profile::ca("line-5").key_usages(&[]));
    check(&silent.leaf("press").chain(), &root, Ok(()));
}

#[test]
fn a_leaf_for_other_purposes_than_client_authentication_is_refused() {
    let root = Ca::root("root");
    let usages =
        |usages: &[Eku]| root.issue(Profile::leaf("press").extended_key_usages(usages)).alone();
    let refused = bad_chain("an extended key usage does not include client authentication");
    check(&usages(&[]), &root, Ok(()));
    check(&usages(&[Eku::ServerAuth, Eku::ClientAuth]), &root, Ok(()));
    check(&usages(&[Eku::ServerAuth]), &root, refused.clone());
    check(&usages(&[Eku::CodeSigning]), &root, refused.clone());
    let line = root.issue_ca(Profile::ca("line-4").extended_key_usages(&[Eku::ServerAuth]));
    check(&line.leaf("press").chain(), &root, refused);
    check(
        &line.leaf("press").alone(),
        &line,
        bad_chain("CN=line-4: its extended key usage does not include client authentication"),
    );
}

#[test]
fn a_leaf_whose_key_usage_forbids_signatures_is_refused() {
    let root = Ca::root("root");
    let leaf = root.issue(Profile::leaf("press").key_usages(&[Ku::KeyEncipherment]));
    check(
        &leaf.alone(),
        &root,
        bad_chain("CN=press: its key usage does not allow digital signatures"),
    );
    check(&root.issue(Profile::leaf("press").key_usages(&[])).alone(), &root, Ok(()));
}

#[test]
fn an_unknown_critical_extension_makes_a_certificate_unusable_wherever_it_stands() {
    let strange = |profile: Profile| {
        profile.adjust(|params| {
            let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        })
    };
    let reason = "its critical extension 1.2.3.4 is not known";
    let root = Ca::root("root");
    let leaf = root.issue(strange(Profile::leaf("press")));
    check(&leaf.alone(), &root, bad_chain(&format!("CN=press: {reason}")));

    let line = root.issue_ca(strange(Profile::ca("line-4")));
    let left_out = format!("an issuer is missing; left out: CN=line-4: {reason}");
    check(&line.leaf("press").chain(), &root, bad_chain(&left_out));

    let odd_root = Ca::create(strange(Profile::ca("odd")));
    check(&odd_root.leaf("press").alone(), &odd_root, bad_chain(&format!("CN=odd: {reason}")));

    // Beside the path it does no harm.
    let mut chain = root.leaf("press").alone();
    chain.push(CertificateDer(odd_root.der().to_vec()));
    check(&chain, &root, Ok(()));
}

#[test]
fn name_constraints_of_an_anchor_bind_the_leaf() {
    let root = Ca::create(Profile::ca("root").adjust(|params| {
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("works.test".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    }));
    let named = |name: &str| {
        let name = rcgen::SanType::DnsName(name.try_into().expect("a DNS name"));
        root.issue(Profile::leaf("press").adjust(|params| params.subject_alt_names.push(name)))
            .alone()
    };
    check(&named("press.works.test"), &root, Ok(()));
    check(
        &named("press.other.test"),
        &root,
        bad_chain("a name is outside a CA's name constraints"),
    );
}

#[test]
fn a_ca_certificate_is_no_device_certificate() {
    let root = Ca::root("root");
    let refused = bad_chain("CN=line-4: a CA certificate cannot be a device's");
    check(&root.intermediate("line-4").as_credential().alone(), &root, refused.clone());
    let usages = [Ku::KeyCertSign, Ku::DigitalSignature];
    let line = root.issue_ca(Profile::ca("line-4").key_usages(&usages));
    check(&line.as_credential().alone(), &root, refused);
}

#[test]
fn a_self_signed_leaf_is_no_chain() {
    let leaf = Credential::self_signed(Profile::leaf("press-17"));
    check(&leaf.alone(), &Ca::root("root"), bad_chain("an issuer is missing"));
    let itself = enrolled(leaf.der());
    let verdict = validate(&presented(&leaf.alone()), &[&itself], &itself, &HashSet::new(), NOW);
    assert_eq!(verdict, bad_chain("CN=press-17: it is not a CA certificate"));
}

#[test]
fn version_1_and_sha_1_are_refused_each_for_its_own_reason() {
    let anchor = enrolled(&fixture("ca.pem").0);
    let verdict =
        |name: &str| validate(&presented(&[fixture(name)]), &[], &anchor, &HashSet::new(), NOW);
    assert_eq!(verdict("leaf.pem"), Ok(()));
    assert_eq!(
        verdict("leaf-v1.pem"),
        Err(AttestFailure::BadCertificate(
            "CN=press-17: it is not an X.509 version 3 certificate".to_owned()
        ))
    );
    assert_eq!(verdict("leaf-sha1.pem"), bad_chain("a signature algorithm is not accepted"));
}

#[test]
fn a_leaf_needs_exactly_one_common_name() {
    let name = |names: &[&str]| {
        let leaf = Credential::self_signed(Profile::leaf("x").common_names(names));
        presented(&leaf.alone()).leaf_common_name().map(str::to_owned)
    };
    let wrong = |text: &str| Err(AttestFailure::CommonName(text.to_owned()));
    assert_eq!(name(&["press-17"]), Ok("press-17".to_owned()));
    assert_eq!(name(&["press-17", "press-18"]), wrong("the subject has several, 2 of them"));
    assert_eq!(name(&[]), wrong("the subject has none"));
}

#[test]
fn the_leaf_is_matched_with_both_slots_of_an_individual_enrollment() {
    let leaf = Credential::self_signed(Profile::leaf("press-17"));
    let other = Credential::self_signed(Profile::leaf("press-17"));
    let slots = |primary: Option<&Credential>, secondary: Option<&Credential>| Slots {
        primary: primary.map(|one| enrolled(one.der())),
        secondary: secondary.map(|one| enrolled(one.der())),
    };
    let chain = presented(&leaf.alone());
    let check = |slots, expected| assert_eq!(match_thumbprint(&chain, &slots, NOW), expected);
    check(slots(Some(&leaf), None), Ok(Slot::Primary));
    check(slots(Some(&leaf), Some(&leaf)), Ok(Slot::Primary));
    check(slots(Some(&other), Some(&leaf)), Ok(Slot::Secondary));
    check(slots(None, Some(&leaf)), Ok(Slot::Secondary));
    check(slots(Some(&other), Some(&other)), Err(AttestFailure::WrongThumbprint));
    check(slots(None, None), Err(AttestFailure::WrongThumbprint));
}

#[test]
fn a_thumbprint_match_looks_at_the_leafs_validity_and_not_at_the_chain() {
    let check = |leaf: &Credential, expected: Result<Slot, AttestFailure>| {
        let slots = Slots { primary: Some(enrolled(leaf.der())), secondary: None };
        assert_eq!(match_thumbprint(&presented(&leaf.chain()), &slots, NOW), expected);
    };
    let stranger = Ca::create(Profile::ca("stranger").expired()).intermediate("line-4");
    check(&stranger.leaf("press"), Ok(Slot::Primary));
    check(
        &stranger.issue(Profile::leaf("press").expired()),
        Err(AttestFailure::Expired("CN=press".to_owned())),
    );
    check(
        &stranger.issue(Profile::leaf("press").not_yet_valid()),
        Err(AttestFailure::NotYetValid("CN=press".to_owned())),
    );
    let leaf = stranger.leaf("press");
    let stale = Slots {
        primary: Some(enrolled(stranger.issue(Profile::leaf("press").expired()).der())),
        secondary: None,
    };
    let verdict = match_thumbprint(&presented(&leaf.alone()), &stale, NOW);
    assert_eq!(verdict, Err(AttestFailure::WrongThumbprint));
}

#[test]
fn names_and_thumbprint_of_a_chain_are_those_of_its_certificates() {
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let leaf = line.leaf("press-17");
    let chain = presented(&leaf.chain());
    let mut expected =
        vec![ca(&root).keys.subject, ca(&line).keys.subject, enrolled(leaf.der()).keys.subject];
    expected.sort_unstable();
    assert_eq!(chain.name_hashes(), expected);
    assert_eq!(chain.leaf_thumbprint_hex(), enrolled(leaf.der()).info.sha256_thumbprint);
}
