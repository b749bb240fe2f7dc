//! Certificates: thumbprints, and chains to the CAs of the service's store.

use testkit::Profile;

use super::*;

const DAY: i64 = 86_400;

/// Until the end of the last second of 2099-12-30, as the test CA writes its certificates.
const END_OF_VALIDITY: i64 = 4_102_358_401;

fn thumbprint_facts(primary: Option<&str>, secondary: Option<&str>) -> ConnectFacts {
    let mut facts = Works::new().facts(AuthenticationKind::SelfSigned);
    let authentication = &mut facts.identity.as_mut().expect("an identity").authentication;
    authentication.primary_thumbprint = primary.map(str::to_owned);
    authentication.secondary_thumbprint = secondary.map(str::to_owned);
    facts
}

fn self_signed(profile: Profile) -> Shows {
    Shows::self_signed(profile)
}

#[test]
fn a_thumbprint_is_found_in_both_slots_in_both_sizes_and_any_letter_case() {
    let leaf = self_signed(Profile::leaf("dev1"));
    let shown = certificate(&leaf.alone());
    let sha1 = attest::certificate::thumbprint_sha1(leaf.der());
    let sha256 = attest::certificate::thumbprint_sha256(leaf.der());
    let stranger = hex(&[7; 32]);
    let expected = Credential::Thumbprint { sha1, sha256 };
    for upper in [hex(&sha1), hex(&sha256)] {
        let mixed: String = upper
            .char_indices()
            .map(|(i, c)| if i % 2 == 0 { c.to_ascii_lowercase() } else { c })
            .collect();
        for enrolled in [upper.to_ascii_lowercase(), upper, mixed] {
            for (primary, secondary) in [
                (Some(enrolled.as_str()), None),
                (None, Some(enrolled.as_str())),
                (Some(stranger.as_str()), Some(enrolled.as_str())),
                (Some(enrolled.as_str()), Some(stranger.as_str())),
            ] {
                let admission = knock(&thumbprint_facts(primary, secondary), &shown);
                let credential = admission.map(|admission| admission.credential);
                assert_eq!(credential, Ok(expected.clone()), "{primary:?}, {secondary:?}");
            }
        }
    }
}

#[test]
fn a_text_that_is_not_the_whole_thumbprint_matches_nothing() {
    let leaf = self_signed(Profile::leaf("dev1"));
    let shown = certificate(&leaf.alone());
    let sha256 = hex(&attest::certificate::thumbprint_sha256(leaf.der()));
    let sha1 = hex(&attest::certificate::thumbprint_sha1(leaf.der()));
    let other = self_signed(Profile::leaf("dev1"));
    let others = hex(&attest::certificate::thumbprint_sha256(other.der()));
    let wrong = Err(not_attested(AttestFailure::WrongThumbprint));
    let texts = [
        String::new(),
        sha256[..40].to_owned(),
        sha256[..63].to_owned(),
        format!("{sha256}0"),
        format!("{sha1}{}", &sha256[40..]),
        sha1[..39].to_owned(),
        "ö".repeat(20),
        "ö".repeat(32),
        others,
    ];
    for text in &texts {
        let facts = thumbprint_facts(Some(text), Some(text));
        assert_eq!(knock(&facts, &shown), wrong, "{text:?}");
    }
    assert_eq!(knock(&thumbprint_facts(None, None), &shown), wrong);
}

#[test]
fn for_a_thumbprint_neither_name_nor_issuer_of_the_certificate_matters() {
    let ca = Ca::root("anybody");
    for leaf in [
        self_signed(Profile::leaf("somebody else")),
        self_signed(Profile::leaf("x").common_names(&[])),
        self_signed(Profile::leaf("x").common_names(&["dev1", "dev2"])),
        ca.leaf("dev9"),
    ] {
        let thumbprint = hex(&attest::certificate::thumbprint_sha256(leaf.der()));
        let facts = thumbprint_facts(Some(&thumbprint), None);
        assert!(knock(&facts, &certificate(&leaf.chain())).is_ok());
    }
}

#[test]
fn for_a_thumbprint_only_the_leaf_counts() {
    let works = Works::new();
    let leaf = self_signed(Profile::leaf("dev1"));
    // The enrolled certificate is public: anyone can send it behind a leaf of their own.
    let mut chain = leaf.alone();
    chain.extend(works.leaf.alone());
    let answer = knock(&works.facts(AuthenticationKind::SelfSigned), &certificate(&chain));
    assert_eq!(answer, Err(not_attested(AttestFailure::WrongThumbprint)));
}

#[test]
fn an_enrolled_leaf_outside_its_validity_is_refused() {
    let check = |profile: Profile, expected: Result<(), AttestFailure>| {
        let leaf = self_signed(profile);
        let thumbprint = hex(&attest::certificate::thumbprint_sha256(leaf.der()));
        let facts = thumbprint_facts(None, Some(&thumbprint));
        let answer = knock(&facts, &certificate(&leaf.alone())).map(|_| ());
        assert_eq!(answer, expected.map_err(not_attested));
    };
    let name = || "CN=dev1".to_owned();
    check(Profile::leaf("dev1"), Ok(()));
    check(Profile::leaf("dev1").expired(), Err(AttestFailure::Expired(name())));
    check(Profile::leaf("dev1").not_yet_valid(), Err(AttestFailure::NotYetValid(name())));
}

/// The last second of a validity belongs to it: whoever is admitted then has what is left of it.
#[test]
fn a_connection_ends_with_the_certificate_it_rests_on() {
    let end = NOW.plus_secs(DAY);
    let half = |at: Timestamp| Timestamp::from_ticks(at.ticks() + 5_000_000);
    let ca = Ca::root("works");
    let leaf = ca.issue(Profile::leaf("dev1").valid(NOW, end));
    let shown = certificate(&leaf.chain());
    let thumbprint = hex(&attest::certificate::thumbprint_sha256(leaf.der()));
    let mut by_ca = Works::new().facts(AuthenticationKind::CertificateAuthority);
    by_ca.ca_certificates = vec![stored("works", ca.der())];
    for facts in [thumbprint_facts(Some(&thumbprint), None), by_ca] {
        for now in [NOW, end, half(end)] {
            let admission = knock_at(&facts, &shown, now).expect("within its validity");
            assert_eq!(admission.expires, end.plus_secs(1));
            assert!(admission.expires > now, "no connection is over when it begins");
        }
        for now in [NOW.plus_secs(-1), end.plus_secs(1)] {
            assert!(knock_at(&facts, &shown, now).is_err(), "{now:?}");
        }
    }
}

#[test]
fn a_connection_ends_with_its_ca_certificate_if_that_is_earlier() {
    let end = NOW.plus_secs(DAY);
    let ca = Ca::create(Profile::ca("works").valid(NOW, end));
    let shown = certificate(&ca.leaf("dev1").chain());
    let facts = ca_facts(vec![stored("works", ca.der())]);
    let expires = knock(&facts, &shown).map(|admission| admission.expires);
    assert_eq!(expires, Ok(end.plus_secs(1)));
    let forever = Ca::root("works");
    let facts = ca_facts(vec![stored("works", forever.der())]);
    let admission = knock(&facts, &certificate(&forever.leaf("dev1").chain()));
    let expires = admission.map(|admission| admission.expires.unix_secs());
    assert_eq!(expires, Ok(END_OF_VALIDITY));
}

fn ca_facts(ca_certificates: Vec<CaCertificate>) -> ConnectFacts {
    let facts = Works::new().facts(AuthenticationKind::CertificateAuthority);
    ConnectFacts { ca_certificates, ..facts }
}

fn unverified(ca: CaCertificate) -> CaCertificate {
    CaCertificate { verified: false, ..ca }
}

/// Checks which CA, if any, lets this chain in as `dev1`.
fn check(ours: Vec<CaCertificate>, chain: &[model::CertificateDer], expected: Option<&str>) {
    let facts = ca_facts(ours);
    let answer = knock(&facts, &certificate(chain));
    let rests_on = match &answer {
        Ok(Admission { credential: Credential::CertificateAuthority { name, sha256 }, .. }) => {
            let ca =
                facts.ca_certificates.iter().find(|ca| *ca.name == **name).expect("one of ours");
            assert!(ca.verified, "an unverified CA attests nothing");
            assert_eq!(*sha256, attest::certificate::thumbprint_sha256(&ca.certificate.der));
            Some(&**name)
        }
        Ok(other) => panic!("{other:?}"),
        Err(ConnectRefusal::NotAttested(_)) => None,
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(rests_on, expected, "{answer:?}");
}

#[test]
fn a_chain_to_a_verified_ca_is_admitted_wherever_the_ca_stands() {
    let root = Ca::root("root");
    let line = root.intermediate("line");
    let leaf = line.leaf("dev1");
    let (root_ours, line_ours) = (|| stored("root", root.der()), || stored("line", line.der()));
    check(vec![root_ours()], &leaf.chain(), Some("root"));
    check(vec![root_ours()], &leaf.chain_with_root(), Some("root"));
    check(vec![line_ours()], &leaf.chain(), Some("line"));
    check(vec![line_ours()], &leaf.alone(), Some("line"));
    // The nearest one counts.
    check(vec![root_ours(), line_ours()], &leaf.chain(), Some("line"));
    check(vec![root_ours(), unverified(line_ours())], &leaf.chain(), Some("root"));
    // One that is not verified does not fill a gap either.
    check(vec![root_ours(), unverified(line_ours())], &leaf.alone(), None);
    check(vec![root_ours()], &leaf.alone(), None);
}

#[test]
fn no_unverified_missing_or_other_ca_admits() {
    let ca = Ca::root("works");
    let chain = ca.leaf("dev1").chain_with_root();
    check(vec![], &chain, None);
    check(vec![unverified(stored("works", ca.der()))], &chain, None);
    check(vec![stored("other", Ca::root("other").der())], &chain, None);
    // Another CA of the same name.
    check(vec![stored("works", Ca::root("works").der())], &chain, None);
    check(vec![stored("works", ca.der())], &chain, Some("works"));
}

#[test]
fn the_only_common_name_is_the_device_id_exactly() {
    let ca = Ca::root("works");
    let facts = ca_facts(vec![stored("works", ca.der())]);
    let profile = |names: &[&str]| Profile::leaf("x").common_names(names);
    let no_cn = |text: &str| Err(not_attested(AttestFailure::CommonName(text.to_owned())));
    let check = |names: &[&str], expected: Result<(), ConnectRefusal>| {
        let chain = ca.issue(profile(names)).chain();
        assert_eq!(knock(&facts, &certificate(&chain)).map(|_| ()), expected, "{names:?}");
    };
    check(&["dev1"], Ok(()));
    check(&["dev10"], no_cn("it is \"dev10\""));
    check(&["DEV1"], no_cn("it is \"DEV1\""));
    check(&["dev1 "], no_cn("it is \"dev1 \""));
    check(&["dev1/module"], no_cn("it is \"dev1/module\""));
    check(&["dev1\0"], no_cn("it is \"dev1\\0\""));
    check(&[], no_cn("the subject has none"));
    check(&["dev1", "dev2"], no_cn("the subject has several, 2 of them"));
    check(&["dev2", "dev1"], no_cn("the subject has several, 2 of them"));
    check(&["dev1", "dev1"], no_cn("the subject has several, 2 of them"));
}

#[test]
fn a_long_name_is_cut_in_the_refusal() {
    let ca = Ca::root("works");
    let facts = ca_facts(vec![stored("works", ca.der())]);
    let answer = knock(&facts, &certificate(&ca.leaf(&"x".repeat(5_000)).chain()));
    let expected = AttestFailure::CommonName(format!("it is {:?}", "x".repeat(128)));
    assert_eq!(answer, Err(not_attested(expected)));
}

#[test]
fn forged_copies_of_a_ca_admit_nobody() {
    let root = Ca::root("root");
    let line = root.intermediate("line");
    let ours = || vec![stored("root", root.der()), stored("line", line.der())];
    // The same names, other keys.
    let forged_root = Ca::root("root");
    let forged_line = forged_root.intermediate("line");
    let leaf = forged_line.leaf("dev1");
    check(ours(), &leaf.alone(), None);
    check(ours(), &leaf.chain_with_root(), None);
    // The true certificates stand behind a leaf they did not sign.
    let mut chain = leaf.alone();
    chain.extend([line.der(), root.der()].map(|der| model::CertificateDer(der.to_vec())));
    check(ours(), &chain, None);
    // Between the forged and the true ones.
    let mut chain = leaf.chain();
    chain.extend([line.der(), root.der()].map(|der| model::CertificateDer(der.to_vec())));
    check(ours(), &chain, None);
    // A leaf that signs itself under the CA's name.
    let own = Ca::create(Profile::leaf("dev1"));
    check(ours(), &own.as_credential().alone(), None);
    // A true one is still found among forged copies.
    let mut chain = line.leaf("dev1").alone();
    chain.extend(
        [forged_line.der(), forged_root.der(), line.der()]
            .map(|der| model::CertificateDer(der.to_vec())),
    );
    check(ours(), &chain, Some("line"));
}

#[test]
fn a_devices_certificate_does_not_sign_for_another() {
    let root = Ca::root("works");
    let ours = || vec![stored("works", root.der())];
    let device = root.issue_ca(Profile::leaf("dev2"));
    check(ours(), &device.leaf("dev1").chain_with_root(), None);
    // Nor does a CA below one that allows none below it, and a CA is no device.
    let narrow = Ca::create(Profile::ca("narrow").path_length(0));
    let below = narrow.intermediate("below");
    check(vec![stored("narrow", narrow.der())], &below.leaf("dev1").chain(), None);
    check(vec![stored("narrow", narrow.der())], &narrow.leaf("dev1").chain(), Some("narrow"));
    check(ours(), &root.intermediate("dev1").as_credential().chain(), None);
}

#[test]
fn certificates_outside_their_validity_are_refused_wherever_they_stand() {
    let root = Ca::root("works");
    let ours = || vec![stored("works", root.der())];
    check(ours(), &root.issue(Profile::leaf("dev1").expired()).chain(), None);
    check(ours(), &root.issue(Profile::leaf("dev1").not_yet_valid()).chain(), None);
    check(ours(), &root.issue_ca(Profile::ca("line").expired()).leaf("dev1").chain(), None);
    for profile in [Profile::ca("works").expired(), Profile::ca("works").not_yet_valid()] {
        let ca = Ca::create(profile);
        check(vec![stored("works", ca.der())], &ca.leaf("dev1").chain(), None);
    }
}

#[test]
fn a_reissued_ca_goes_on_under_whichever_certificate_is_valid() {
    let old = Ca::create(Profile::ca("works").expired());
    let new = old.reissued(Profile::ca("works"));
    let chain = new.leaf("dev1").chain();
    check(vec![stored("old", old.der()), stored("new", new.der())], &chain, Some("new"));
    check(vec![stored("old", old.der())], &new.leaf("dev1").chain_with_root(), None);
    let unproven = unverified(stored("new", new.der()));
    check(vec![stored("old", old.der()), unproven], &chain, None);
}
