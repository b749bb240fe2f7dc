//! What ends a connection, change by change.

use model::{
    AttestationDraft, BanKind, Caller, CertificateDer, EnrollmentGroupId, Grounds, GroupSettings,
};
use testkit::{Ca, NOW};

use super::*;
use crate::{
    manage::bans::sha256,
    scenes::{World, draft, keys, name, signing},
};

struct Line {
    root: Ca,
    line: Ca,
    leaf: testkit::Credential,
}

fn line() -> Line {
    let root = Ca::root("works root");
    let line = root.intermediate("line 4");
    let leaf = line.leaf("press-17");
    Line { root, line, leaf }
}

fn described(der: &[u8]) -> EnrolledCertificate {
    attest::certificate::describe(der).expect("a certificate")
}

fn id(text: &str) -> RegistrationId {
    RegistrationId::parse(text).expect("an ID")
}

fn group_id(text: &str) -> EnrollmentGroupId {
    EnrollmentGroupId::parse(text).expect("an ID")
}

fn path(certificates: &[&[u8]]) -> Vec<PathCertificate> {
    certificates.iter().map(|der| attest::certificate::path_certificate(&described(der))).collect()
}

impl Line {
    /// The footing of the press's connection; it was provisioned by a group of the line's CA.
    fn footing(&self, ends_sessions: Option<bool>) -> Footing {
        let anchor =
            Anchor { key: described(self.line.der()).keys.subject_and_key, reference: None };
        let origin = Origin {
            registration_id: id("press-17"),
            taken_from: None,
            others: Vec::new(),
            expects: Vec::new(),
            enrollment: EnrollmentRef::Group(group_id("line-4")),
            ends_sessions,
            entry: Some(OriginEntry {
                is_enabled: true,
                ends_sessions,
                anchors: Some(vec![anchor]),
            }),
            grounds: Some(Grounds {
                proof: KnownProof::Certificates(vec![CertificateDer(self.leaf.der().to_vec())]),
                path: path(&[self.leaf.der(), self.line.der()]),
            }),
        };
        Footing::new(Some(&origin), None, &[], &[])
    }
}

fn ban(subject: BanSubject, expires: Option<Timestamp>) -> Ban {
    Ban {
        subject,
        kind: BanKind::Revoked,
        reason: None,
        by: Caller { policy: "owner".to_owned(), address: None },
        created: NOW,
        expires,
        receipt: None,
        version: 0,
    }
}

#[test]
fn a_retired_device_that_was_enrolled_again_is_out_when_that_enrollment_goes() {
    let origin = |is_there: bool| Origin {
        registration_id: id("press-17"),
        taken_from: None,
        others: Vec::new(),
        expects: Vec::new(),
        enrollment: EnrollmentRef::Individual(id("press-17")),
        ends_sessions: None,
        entry: is_there.then_some(OriginEntry {
            is_enabled: true,
            ends_sessions: None,
            anchors: None,
        }),
        grounds: None,
    };
    let subject = BanSubject::Registration(id("press-17"));
    let retired = Ban { kind: BanKind::Retired, ..ban(subject, None) };
    let gone = EnrollmentRef::Individual(id("press-17"));
    let banned = Err(ConnectRefusal::Banned("registration:press-17".to_owned()));
    let mut footing = Footing::new(Some(&origin(true)), None, &[], &[]);
    assert_eq!(footing.still_stands(Change::Ban(&retired), false, NOW), Ok(()));
    assert_eq!(footing.still_stands(Change::Gone(&gone), false, NOW), banned);
    assert_eq!(footing.still_stands(Change::Ban(&retired), false, NOW), banned);
    let mut footing = Footing::new(Some(&origin(false)), None, &[], &[]);
    assert!(footing.keeps_out(&retired, None, &[], NOW));
    assert_eq!(footing.still_stands(Change::Ban(&retired), false, NOW), banned);
    // Without the ban its end is none of the connection's.
    let mut footing = Footing::new(Some(&origin(true)), None, &[], &[]);
    assert_eq!(footing.still_stands(Change::Gone(&gone), false, NOW), Ok(()));
}

/// Whether the connection is found by the ban's keys, and ended by it.
fn check_ban(footing: &Footing, subject: BanSubject, ends: bool) {
    let ban = ban(subject, None);
    let key = ban.subject.key();
    let keys = footing.keys();
    let is_found = keys_of_ban(&ban.subject).iter().any(|key| keys.contains(key));
    let mut held = footing.clone();
    let outcome = held.still_stands(Change::Ban(&ban), false, NOW);
    assert_eq!(outcome.is_err(), ends, "{key}");
    // What is not found cannot be ended.
    assert!(is_found || !ends, "{key}");
}

#[test]
fn a_ban_on_anything_the_connection_rests_on_ends_it_whatever_the_setting_says() {
    let all = line();
    let footing = all.footing(Some(false));
    let leaf = described(all.leaf.der());
    let [on_path, _] = path(&[all.leaf.der(), all.line.der()]).try_into().expect("two");
    check_ban(&footing, BanSubject::Registration(id("PRESS-17")), true);
    check_ban(&footing, BanSubject::Registration(id("press-18")), false);
    check_ban(&footing, BanSubject::by_sha256(on_path.sha256), true);
    check_ban(&footing, BanSubject::by_sha1(on_path.sha1), true);
    check_ban(&footing, BanSubject::by_sha256([7; 32]), false);
    check_ban(&footing, BanSubject::Ca(Box::new(described(all.line.der()))), true);
    // The root is no part of the path, and the path ends below it.
    check_ban(&footing, BanSubject::Ca(Box::new(described(all.root.der()))), true);
    check_ban(&footing, BanSubject::Ca(Box::new(described(Ca::root("other").der()))), false);
    let serial = |serial: &str| BanSubject::Serial {
        issuer: leaf.keys.issuer,
        issuer_name: leaf.info.issuer_name.clone(),
        serial: serial.to_owned(),
    };
    check_ban(&footing, serial(&on_path.serial), true);
    check_ban(&footing, serial("1"), false);
    check_ban(&footing, BanSubject::EndorsementKey([1; 32]), false);
}

#[test]
fn a_ban_that_is_over_ends_nothing() {
    let mut footing = line().footing(None);
    let over = ban(BanSubject::Registration(id("press-17")), Some(NOW));
    assert_eq!(footing.still_stands(Change::Ban(&over), true, NOW), Ok(()));
}

#[test]
fn what_a_device_showed_itself_and_its_name_count_without_an_origin() {
    let shown = path(&[line().leaf.der()]);
    let footing = Footing::new(None, Some(&id("press-17")), &shown, &[]);
    check_ban(&footing, BanSubject::by_sha256(shown[0].sha256), true);
    check_ban(&footing, BanSubject::Registration(id("press-17")), true);
}

#[test]
fn a_tpm_is_found_by_its_endorsement_key() {
    let origin = Origin {
        registration_id: id("tpm-1"),
        taken_from: None,
        others: Vec::new(),
        expects: Vec::new(),
        enrollment: EnrollmentRef::Individual(id("tpm-1")),
        ends_sessions: None,
        entry: None,
        grounds: Some(Grounds {
            proof: KnownProof::Tpm {
                endorsement_key: vec![1, 2, 3],
                storage_root_key: vec![4],
                endorsement_certificates: Vec::new(),
            },
            path: Vec::new(),
        }),
    };
    let footing = Footing::new(Some(&origin), None, &[], &[]);
    check_ban(&footing, BanSubject::EndorsementKey(sha256(&[1, 2, 3])), true);
}

/// The setting of the group and of the service, and whether the session ends with the group.
const SETTINGS: [(Option<bool>, bool, bool); 6] = [
    (None, false, false),
    (None, true, true),
    (Some(true), false, true),
    (Some(true), true, true),
    (Some(false), false, false),
    (Some(false), true, false),
];

#[test]
fn the_end_of_a_group_ends_its_sessions_where_that_is_set() {
    for (of_group, of_service, ends) in SETTINGS {
        let footing = line().footing(of_group);
        let gone = EnrollmentRef::Group(group_id("LINE-4"));
        assert!(footing.keys().contains(&enrollment_key(&gone)));
        let mut held = footing.clone();
        let outcome = held.still_stands(Change::Gone(&gone), of_service, NOW);
        assert_eq!(outcome.is_err(), ends, "{of_group:?} {of_service}");
        let other = EnrollmentRef::Individual(id("line-4"));
        assert_eq!(footing.clone().still_stands(Change::Gone(&other), true, NOW), Ok(()));
    }
}

fn group_of(attestation: AttestationDraft) -> EnrollmentGroup {
    let mut world = World::default();
    world.enroll_group("line-4", draft(attestation));
    world.groups.remove("line-4").expect("enrolled")
}

fn admitting(attestation: AttestationDraft) -> AttestationMechanism {
    group_of(attestation).terms.attestation
}

fn check_group(change: impl FnOnce(&Line, &mut EnrollmentGroup), ends: bool) {
    let line = line();
    let mut group = group_of(signing(Some(line.line.der()), None));
    group.settings = GroupSettings { disenroll_ends_sessions: Some(true), stale_crl: None };
    change(&line, &mut group);
    let outcome = line.footing(None).still_stands(Change::Group(&group), false, NOW);
    assert_eq!(outcome.is_err(), ends, "{outcome:?}");
}

#[test]
fn a_group_that_is_disabled_or_admits_by_other_certificates_ends_its_sessions() {
    use model::{ProvisioningStatus::Disabled, Sent};
    check_group(|_, _| {}, false);
    check_group(|_, group| group.terms.provisioning_status = Sent::Value(Disabled), true);
    let other = Ca::root("other");
    check_group(
        |_, group| group.terms.attestation = admitting(signing(Some(other.der()), None)),
        true,
    );
    // Rolled over: the old one stays in the second slot.
    check_group(
        |line, group| {
            let slots = signing(Some(other.der()), Some(line.line.der()));
            group.terms.attestation = admitting(slots);
        },
        false,
    );
    check_group(
        |_, group| {
            group.terms.provisioning_status = Sent::Value(Disabled);
            group.settings.disenroll_ends_sessions = Some(false);
        },
        false,
    );
    let by_keys = keys(&name::key(1), &name::key(2));
    check_group(|_, group| group.terms.attestation = admitting(by_keys), false);
}

#[test]
fn a_ca_certificate_that_goes_ends_those_that_have_no_other() {
    let all = line();
    let key = described(all.line.der()).keys.subject_and_key;
    let named = |name: &str| Anchor { key, reference: Some(name.to_owned()) };
    let check = |anchors: Vec<Anchor>, is_of: Option<[u8; 32]>, ends: bool| {
        let mut footing = all.footing(Some(true));
        footing.origin.as_mut().expect("one").anchors = Some(anchors);
        assert!(footing.keys().contains(&ca_name_key("line-4-ca")));
        let outcome = footing.still_stands(Change::Ca("line-4-ca", is_of), false, NOW);
        assert_eq!(outcome.is_err(), ends);
    };
    check(vec![named("line-4-ca")], None, true);
    check(vec![named("line-4-ca")], Some([9; 32]), true);
    check(vec![named("line-4-ca")], Some(key), false);
    check(vec![named("line-4-ca"), named("the-same-again")], None, false);
    let other = Anchor { key: [9; 32], reference: Some("other".to_owned()) };
    check(vec![named("line-4-ca"), other], None, true);
}

#[test]
fn a_certificate_on_its_issuers_list_ends_sessions_where_that_is_set() {
    let all = line();
    let [leaf, _] = path(&[all.leaf.der(), all.line.der()]).try_into().expect("two");
    let key = model::ban::serial_key(&leaf.issuer, &leaf.serial);
    for (of_group, of_service, ends) in SETTINGS {
        let mut footing = all.footing(of_group);
        assert!(footing.keys().contains(&key));
        let outcome = footing.still_stands(Change::Revoked(&key), of_service, NOW);
        assert_eq!(outcome.is_err(), ends, "{of_group:?} {of_service}");
    }
    let other = model::ban::serial_key(&leaf.issuer, "1");
    let outcome = all.footing(Some(true)).still_stands(Change::Revoked(&other), true, NOW);
    assert_eq!(outcome, Ok(()));
}
