//! Nobody who is banned connects, by whatever the identity wants; and who rests on an enrollment
//! that ended does not where that is set.

use model::{
    Anchor, Ban, BanKind, BanSubject, Caller, CertificateDer, EnrollmentRef, Grounds, KnownProof,
    Origin, OriginEntry, PathCertificate,
};

use super::*;

fn described(ca: &Ca) -> EnrolledCertificate {
    attest::certificate::describe(ca.der()).expect("a certificate")
}

fn known(der: &[u8]) -> PathCertificate {
    let described = attest::certificate::describe(der).expect("a certificate");
    attest::certificate::path_certificate(&described)
}

fn ban_of(ca: &Ca) -> BanSubject {
    BanSubject::Ca(Box::new(described(ca)))
}

fn registration(id: &str) -> RegistrationId {
    RegistrationId::parse(id).expect("legal")
}

fn ban(subject: BanSubject, kind: BanKind) -> Ban {
    Ban {
        subject,
        kind,
        reason: None,
        by: Caller { policy: "owner".to_owned(), address: None },
        created: NOW,
        expires: None,
        receipt: None,
        version: 1,
    }
}

/// What `dev1` hears that shows this, when this is banned.
#[track_caller]
fn check(facts: &ConnectFacts, shown: &Shown, subject: BanSubject, is_kept_out: bool) {
    assert!(knock(facts, shown).is_ok(), "without a ban it is let in");
    let key = subject.key();
    let mut facts = facts.clone();
    facts.bans = vec![ban(subject, BanKind::Revoked)];
    let outcome = knock(&facts, shown).map(|_| ());
    let expected = if is_kept_out { Err(ConnectRefusal::Banned(key)) } else { Ok(()) };
    assert_eq!(outcome, expected);
    // When it is over, it is nothing.
    facts.bans[0].expires = Some(NOW);
    assert!(knock(&facts, shown).is_ok(), "a ban that is over");
}

#[test]
fn a_device_id_is_banned_as_the_registration_id_it_could_be() {
    let works = Works::new();
    for (kind, shown) in [
        (AuthenticationKind::Sas, device_token(DEVICE_KEY)),
        (AuthenticationKind::Sas, policy_token(POLICY_KEY)),
        (AuthenticationKind::SelfSigned, certificate(&works.leaf.alone())),
        (AuthenticationKind::CertificateAuthority, certificate(&works.leaf.alone())),
    ] {
        let facts = works.facts(kind);
        check(&facts, &shown, BanSubject::Registration(registration("DEV1")), true);
        check(&facts, &shown, BanSubject::Registration(registration("dev2")), false);
    }
}

#[test]
fn no_device_connects_below_a_banned_ca_whether_it_shows_the_cas_certificate_or_not() {
    let works = Works::new();
    for kind in [AuthenticationKind::SelfSigned, AuthenticationKind::CertificateAuthority] {
        let facts = works.facts(kind);
        for shown in [works.leaf.alone(), works.leaf.chain_with_root()] {
            let shown = certificate(&shown);
            check(&facts, &shown, ban_of(&works.ca), true);
            check(&facts, &shown, BanSubject::by_sha256(known(works.leaf.der()).sha256), true);
            check(&facts, &shown, BanSubject::by_sha1(known(works.leaf.der()).sha1), true);
            // Of the same name, with another key.
            check(&facts, &shown, ban_of(&Ca::root("works")), false);
            check(&facts, &shown, ban_of(&Ca::root("other")), false);
        }
    }
}

/// The registration that `dev1` came from, by a group of this CA.
fn origin(proof: KnownProof, path: &[&[u8]], anchor: &Ca) -> Origin {
    let anchor = Anchor { key: described(anchor).keys.subject_and_key, reference: None };
    Origin {
        registration_id: registration("press-17"),
        taken_from: None,
        others: Vec::new(),
        expects: Vec::new(),
        enrollment: EnrollmentRef::Group(model::EnrollmentGroupId::parse("line-4").expect("legal")),
        ends_sessions: None,
        entry: Some(OriginEntry {
            is_enabled: true,
            ends_sessions: None,
            anchors: Some(vec![anchor]),
        }),
        grounds: Some(Grounds { proof, path: path.iter().map(|der| known(der)).collect() }),
    }
}

#[test]
fn what_a_device_was_provisioned_by_counts_whatever_it_connects_with() {
    let works = Works::new();
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let press = line.leaf("press-17");
    let sent = |chain: Vec<CertificateDer>| KnownProof::Certificates(chain);
    let facts = |proof: KnownProof| {
        let mut facts = works.facts(AuthenticationKind::Sas);
        facts.origin = Some(origin(proof, &[press.der(), line.der()], &line));
        facts
    };
    let token = device_token(DEVICE_KEY);
    let whole = facts(sent(press.chain()));
    check(&whole, &token, BanSubject::Registration(registration("press-17")), true);
    check(&whole, &token, BanSubject::by_sha256(known(press.der()).sha256), true);
    check(&whole, &token, ban_of(&line), true);
    // The root was not known when the device registered.
    check(&whole, &token, ban_of(&root), true);
    check(&whole, &token, ban_of(&Ca::root("root")), false);
    check(&whole, &token, ban_of(&Ca::root("line-4")), false);
    // Without the line's certificate it cannot be told whose signature it bears.
    check(&facts(sent(press.alone())), &token, ban_of(&root), true);
    check(&facts(sent(press.alone())), &token, ban_of(&Ca::root("root")), true);
    let tpm = KnownProof::Tpm {
        endorsement_key: vec![1, 2, 3],
        storage_root_key: Vec::new(),
        endorsement_certificates: Vec::new(),
    };
    let hash = crate::manage::bans::sha256(&[1, 2, 3]);
    check(&facts(tpm.clone()), &token, BanSubject::EndorsementKey(hash), true);
    check(&facts(tpm), &token, BanSubject::EndorsementKey([0; 32]), false);
}

#[test]
fn a_retired_device_connects_once_its_own_enrollment_admitted_it_again() {
    let works = Works::new();
    let line = Ca::root("line-4");
    let check = |enrollment: EnrollmentRef, is_there: bool, is_kept_out: bool| {
        let mut facts = works.facts(AuthenticationKind::Sas);
        let proof = KnownProof::Key { is_primary: true };
        let mut origin = Origin { enrollment, ..origin(proof, &[], &line) };
        origin.entry = origin.entry.filter(|_| is_there);
        facts.origin = Some(origin);
        let subject = BanSubject::Registration(registration("press-17"));
        facts.bans = vec![ban(subject, BanKind::Retired)];
        assert_eq!(knock(&facts, &device_token(DEVICE_KEY)).is_err(), is_kept_out);
    };
    let individual = EnrollmentRef::Individual(registration("press-17"));
    check(individual.clone(), true, false);
    check(individual, false, true);
    let group = EnrollmentRef::Group(model::EnrollmentGroupId::parse("g").expect("legal"));
    check(group.clone(), true, true);
    check(group, false, true);
}

#[test]
fn the_end_of_an_enrollment_keeps_its_devices_out_where_that_is_set() {
    let works = Works::new();
    let line = Ca::root("line-4");
    let press = line.leaf("press-17");
    type Alter = fn(&mut Origin);
    let entries: [(&str, Alter); 3] = [
        ("it is gone", |origin| origin.entry = None),
        ("it is disabled", |origin| {
            origin.entry.as_mut().expect("an entry").is_enabled = false;
        }),
        ("it admits by another CA", |origin| {
            let anchor = Anchor { key: [9; 32], reference: None };
            origin.entry.as_mut().expect("an entry").anchors = Some(vec![anchor]);
        }),
    ];
    // The service's setting, the group's, and what comes of them.
    let settings = [
        (false, None, true),
        (true, None, false),
        (true, Some(false), true),
        (false, Some(true), false),
    ];
    for (by_default, of_group, is_let_in) in settings {
        let mut facts = works.facts(AuthenticationKind::Sas);
        facts.settings.disenroll_ends_sessions = by_default;
        let proof = KnownProof::Certificates(press.alone());
        let mut stands = origin(proof, &[press.der(), line.der()], &line);
        stands.ends_sessions = of_group;
        facts.origin = Some(stands.clone());
        assert!(knock(&facts, &device_token(DEVICE_KEY)).is_ok(), "it stands");
        for (what, end) in entries {
            let mut ended = stands.clone();
            end(&mut ended);
            facts.origin = Some(ended);
            let outcome = knock(&facts, &device_token(DEVICE_KEY));
            let told = matches!(outcome, Err(ConnectRefusal::Disenrolled(_)));
            assert_eq!((outcome.is_ok(), told), (is_let_in, !is_let_in), "{what} {by_default}");
        }
    }
}
