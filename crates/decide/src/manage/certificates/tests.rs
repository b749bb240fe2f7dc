use testkit::{Ca, NOW, Profile, fresh};

use super::*;

fn draft(ca: &Ca, verified: Option<bool>) -> CaDraft {
    CaDraft { name: "works".to_owned(), der: ca.der().to_vec(), verified }
}

fn put_one(
    existing: Option<&CaCertificate>,
    draft: &CaDraft,
    precondition: &Precondition,
) -> Result<CaCertificate, OperatorRefusal> {
    put(existing, draft, precondition, 24, 25, NOW, &fresh(existing.map_or(1, |_| 2)))
}

fn created(ca: &Ca, verified: Option<bool>) -> CaCertificate {
    put_one(None, &draft(ca, verified), &Precondition::None).expect("created")
}

#[test]
fn a_put_creates_without_a_precondition_and_replaces_with_one() {
    let ca = Ca::root("Works CA");
    let stored = created(&ca, None);
    let right = Precondition::Tag(stored.etag.as_str().to_owned());
    let stale = Precondition::Tag("old".to_owned());
    let name = || "works".to_owned();
    let check = |existing, precondition, expected: Result<(), OperatorRefusal>| {
        let outcome = put_one(existing, &draft(&ca, None), precondition);
        assert_eq!(outcome.map(|_| ()), expected);
    };
    check(None, &Precondition::Any, Err(OperatorRefusal::CaCertificateNotFound(name())));
    check(Some(&stored), &Precondition::None, Err(OperatorRefusal::CaCertificateExists(name())));
    check(Some(&stored), &stale, Err(OperatorRefusal::StaleEtag));
    check(Some(&stored), &right, Ok(()));
    check(Some(&stored), &Precondition::Any, Ok(()));
}

#[test]
fn an_upload_is_verified_if_it_says_so_and_another_certificate_is_not() {
    let (ca, other) = (Ca::root("Works CA"), Ca::root("Other CA"));
    assert!(!created(&ca, None).verified);
    let stored = created(&ca, Some(true));
    assert!(stored.verified);
    let verified = |draft: CaDraft| {
        put_one(Some(&stored), &draft, &Precondition::Any).expect("replaced").verified
    };
    assert!(verified(draft(&ca, None)), "the same certificate stays verified");
    assert!(!verified(draft(&other, None)), "another certificate proves itself anew");
    assert!(!verified(draft(&ca, Some(false))));
}

#[test]
fn only_a_ca_certificate_with_a_name_of_at_most_256_characters_is_taken() {
    let ca = Ca::root("Works CA");
    let check = |draft: CaDraft, legal: bool| {
        let outcome = put_one(None, &draft, &Precondition::None);
        assert_eq!(outcome.is_ok(), legal, "{outcome:?}");
    };
    let named = |name: String| CaDraft { name, ..draft(&ca, None) };
    check(named("ü".repeat(256)), true);
    check(named("x".repeat(257)), false);
    check(named(String::new()), false);
    check(named("a\nb".to_owned()), false);
    let leaf = ca.leaf("press-17").der().to_vec();
    check(CaDraft { der: leaf, ..draft(&ca, None) }, false);
    check(CaDraft { der: b"nonsense".to_vec(), ..draft(&ca, None) }, false);
}

#[test]
fn the_limit_counts_new_certificates_only() {
    let ca = Ca::root("Works CA");
    let stored = created(&ca, None);
    let full = |existing, precondition| {
        put(existing, &draft(&ca, None), precondition, 25, 25, NOW, &fresh(3)).map(|_| ())
    };
    let limit = OperatorRefusal::QuotaExceeded { what: "CA certificates", limit: 25 };
    assert_eq!(full(None, &Precondition::None), Err(limit));
    assert_eq!(full(Some(&stored), &Precondition::Any), Ok(()));
}

#[test]
fn possession_is_proven_with_the_latest_code_once() {
    let ca = Ca::root("Works CA");
    let stored = created(&ca, None);
    let code_of = |stored: &CaCertificate, random: u8| {
        let random = [random; CODE_BYTES];
        generate_code(Some(stored), "works", &Precondition::None, &random, NOW, &fresh(4))
            .expect("a code")
    };
    let prove = |stored: &CaCertificate, code: &str| {
        let proof = ca.issue(Profile::leaf(code));
        verify(Some(stored), "works", proof.der(), &Precondition::None, NOW, &fresh(5))
    };
    let is_unproven = |outcome: Result<CaCertificate, OperatorRefusal>| {
        assert!(matches!(outcome, Err(OperatorRefusal::NotProven(_))), "{outcome:?}");
    };
    is_unproven(prove(&stored, "no code yet"));
    let first = code_of(&stored, 0xab);
    let first_code = first.pending_code.clone().expect("a code");
    assert_eq!(first_code, "AB".repeat(24));
    assert_ne!(first.etag, stored.etag);
    let second = code_of(&first, 0xcd);
    is_unproven(prove(&second, &first_code));
    let proven = prove(&second, &"CD".repeat(24)).expect("proven");
    assert!(proven.verified);
    assert_eq!(proven.pending_code, None);
    assert_ne!(proven.etag, second.etag);
    is_unproven(prove(&proven, &"CD".repeat(24)));
}

#[test]
fn every_step_heeds_a_precondition_and_needs_the_certificate() {
    let stored = created(&Ca::root("Works CA"), None);
    let stale = Precondition::Tag("old".to_owned());
    let code = |existing, precondition| {
        generate_code(existing, "works", precondition, &[1; CODE_BYTES], NOW, &fresh(6)).map(|_| ())
    };
    let missing = || Err(OperatorRefusal::CaCertificateNotFound("works".to_owned()));
    assert_eq!(code(None, &Precondition::None), missing());
    assert_eq!(code(Some(&stored), &stale), Err(OperatorRefusal::StaleEtag));
    assert_eq!(delete(None, "works", &Precondition::None).map(|_| ()), missing());
    let deleted = delete(Some(&stored), "works", &stale).map(|_| ());
    assert_eq!(deleted, Err(OperatorRefusal::StaleEtag));
    assert!(delete(Some(&stored), "works", &Precondition::None).is_ok());
}
