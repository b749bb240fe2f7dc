//! Bans, as claims: whom they keep out, by which door, and how nobody gets around them.

mod chains;
pub(crate) mod doors;

use model::{
    AttestationDraft, BanKind, BanSubject, CertificateDer, DeviceRefusal, EnrolledCertificate,
    Evidence, IndividualDraft, RegisterRequest, RegistrationStatus, SymmetricKey,
};
use testkit::{Ca, Credential, SoftTpm};

use super::*;
use crate::{
    register::Decision,
    scenes::{
        World, by_tpm, chain, client, draft, issuers, keys, name, request, signing, token,
        tpm_keys, tpm_token,
    },
};

/// What a device hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Assigned,
    Disabled,
    Banned,
    Refused(DeviceRefusal),
}

fn refused(refusal: DeviceRefusal) -> Heard {
    match refusal {
        DeviceRefusal::Banned { .. } => Heard::Banned,
        other => Heard::Refused(other),
    }
}

fn heard(decision: Decision) -> Heard {
    match decision {
        Decision::Refuse(refusal) => refused(refusal),
        Decision::Settle(settlement) => match settlement.record.status {
            RegistrationStatus::Assigned => Heard::Assigned,
            RegistrationStatus::Disabled => Heard::Disabled,
            other => panic!("{other:?}"),
        },
        Decision::Ask(question) => panic!("{question:?}"),
    }
}

fn ca(ca: &Ca) -> EnrolledCertificate {
    attest::certificate::describe(ca.der()).expect("a certificate")
}

fn ban_on(of: &Ca) -> BanSubject {
    BanSubject::Ca(Box::new(ca(of)))
}

fn der(ca: &Ca) -> CertificateDer {
    CertificateDer(ca.der().to_vec())
}

fn registration(id: &str) -> BanSubject {
    BanSubject::Registration(name::id(id))
}

/// The bans that are about one certificate.
fn bans_on_certificate(certificate: &Credential) -> Vec<BanSubject> {
    let described = attest::certificate::describe(certificate.der()).expect("a certificate");
    let known = attest::certificate::path_certificate(&described);
    vec![
        BanSubject::by_sha256(known.sha256),
        BanSubject::by_sha1(known.sha1),
        BanSubject::Serial {
            issuer: known.issuer,
            issuer_name: described.info.issuer_name,
            serial: known.serial,
        },
    ]
}

fn endorsement_key_of(tpm: &SoftTpm) -> BanSubject {
    BanSubject::EndorsementKey(sha256(&tpm.endorsement_key()))
}

fn by_key(id: &str, key: &SymmetricKey) -> RegisterRequest {
    request(id, token(id, key))
}

/// The one check: once the subject is banned, the device is told as much as a stranger; when the ban
/// is lifted, it is back.
fn check(world: &mut World, knocks: impl Fn(&mut World) -> Heard, subject: BanSubject) {
    assert_eq!(knocks(world), Heard::Assigned, "before {subject:?}");
    for kind in [BanKind::Suspended, BanKind::Revoked] {
        world.ban(subject.clone(), kind);
        assert_eq!(knocks(world), Heard::Banned, "{kind:?} {subject:?}");
        world.lift(&subject);
        assert_eq!(knocks(world), Heard::Assigned, "after {subject:?}");
    }
}

#[test]
fn a_ban_outranks_an_individual_enrollment_by_key() {
    let mut world = World::default();
    world.enroll("press-17", draft(keys(&name::key(1), &name::key(2))));
    let knocks = |world: &mut World| heard(world.register(by_key("press-17", &name::key(1))));
    check(&mut world, knocks, registration("PRESS-17"));
}

#[test]
fn a_ban_outranks_a_group_by_derived_keys() {
    let mut world = World::default();
    world.enroll_group("line-4", draft(keys(&name::key(1), &name::key(2))));
    let derived = attest::sas::derive(&name::key(1), "press-17");
    let knocks = |world: &mut World| heard(world.register(by_key("press-17", &derived)));
    check(&mut world, knocks, registration("press-17"));
}

#[test]
fn a_ban_on_any_certificate_of_the_path_outranks_groups_and_individual_enrollments() {
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let device = line.leaf("press-17");
    let mut subjects = vec![registration("press-17"), ban_on(&line), ban_on(&root)];
    subjects.extend(bans_on_certificate(&device));
    subjects.extend(bans_on_certificate(line.as_credential()));
    let entries: [(&str, AttestationDraft); 3] = [
        ("", signing(Some(line.der()), None)),
        ("", signing(Some(root.der()), None)),
        ("press-17", client(Some(device.der()), None)),
    ];
    for (individual, entry) in entries {
        let mut world = World::default();
        match individual {
            "" => world.enroll_group("line-4", draft(entry)),
            id => world.enroll(id, draft(entry)),
        }
        for subject in &subjects {
            let knocks = |world: &mut World| {
                heard(world.register(request("press-17", chain(device.chain()))))
            };
            check(&mut world, knocks, subject.clone());
        }
    }
}

#[test]
fn a_certificate_that_a_device_only_shows_counts_as_well() {
    let mut world = World::default();
    let (root, other) = (Ca::root("root"), Ca::root("other"));
    let device = root.leaf("press-17");
    world.enroll_group("line-4", draft(signing(Some(root.der()), None)));
    let sent = [device.chain(), vec![der(&other)]].concat();
    let knocks =
        |world: &mut World| heard(world.register(request("press-17", chain(sent.clone()))));
    check(&mut world, knocks, ban_on(&other));
}

#[test]
fn a_retired_device_is_back_with_an_individual_enrollment_and_with_nothing_else() {
    let root = Ca::root("root");
    let device = root.leaf("press-17");
    let mut world = World::default();
    world.enroll_group("line-4", draft(signing(Some(root.der()), None)));
    let knocks =
        |world: &mut World| heard(world.register(request("press-17", chain(device.chain()))));
    world.ban(registration("press-17"), BanKind::Retired);
    assert_eq!(knocks(&mut world), Heard::Banned);
    world.enroll_group("line-5", draft(signing(Some(root.der()), None)));
    assert_eq!(knocks(&mut world), Heard::Banned);
    world.enroll("press-17", draft(client(Some(device.der()), None)));
    assert_eq!(knocks(&mut world), Heard::Assigned);
    world.disenroll("press-17");
    assert_eq!(knocks(&mut world), Heard::Banned);
    // Of a revoked device no enrollment makes anything.
    world.enroll("press-17", draft(client(Some(device.der()), None)));
    world.ban(registration("press-17"), BanKind::Revoked);
    assert_eq!(knocks(&mut world), Heard::Banned);
    // What retires a device's name says nothing of its certificate.
    world.lift(&registration("press-17"));
    let leaf = bans_on_certificate(&device).remove(0);
    world.ban(leaf, BanKind::Retired);
    assert_eq!(knocks(&mut world), Heard::Banned);
}

#[test]
fn a_ban_is_over_when_its_time_is() {
    let mut world = World::default();
    world.enroll("press-17", draft(keys(&name::key(1), &name::key(2))));
    world.ban(registration("press-17"), BanKind::Suspended);
    let expires = world.now.plus_secs(60);
    world.bans.values_mut().for_each(|ban| ban.expires = Some(expires));
    let knocks = |world: &mut World| heard(world.register(by_key("press-17", &name::key(1))));
    assert_eq!(knocks(&mut world), Heard::Banned);
    world.now = expires;
    assert_eq!(knocks(&mut world), Heard::Assigned);
}

#[test]
fn a_disabled_entry_of_another_kind_does_not_hide_a_ban() {
    let root = Ca::root("root");
    let device = root.leaf("press-17");
    let mut world = World::default();
    world.enroll_group("line-4", draft(signing(Some(root.der()), None)));
    let mut off = draft(keys(&name::key(1), &name::key(2)));
    off.provisioning_status = model::Sent::Value(model::ProvisioningStatus::Disabled);
    world.enroll_as(IndividualDraft {
        registration_id: name::id("press-17"),
        device_id: None,
        optional_device_information: None,
        draft: off,
    });
    let knocks =
        |world: &mut World| heard(world.register(request("press-17", chain(device.chain()))));
    assert_eq!(knocks(&mut world), Heard::Disabled);
    world.ban(ban_on(&root), BanKind::Revoked);
    assert_eq!(knocks(&mut world), Heard::Banned);
}

/// A TPM registers over HTTPS.
fn tpm_knocks(
    world: &mut World,
    tpm: &SoftTpm,
    id: &str,
    certificates: Vec<CertificateDer>,
) -> Heard {
    let mut tpm = tpm.clone();
    match world.challenge(id, tpm_keys(&tpm, certificates)) {
        Err(refusal) => refused(refusal),
        Ok(blob) => {
            tpm.activate(&blob).expect("the blob is for this TPM");
            heard(world.register(request(id, Evidence::Sas(tpm_token(&tpm, id)))))
        }
    }
}

#[test]
fn a_banned_tpm_is_not_challenged_and_its_answer_does_not_count() {
    let tpm = SoftTpm::from_fixture();
    let vendor = Ca::root("TPM vendor root");
    let issuing = vendor.intermediate("TPM vendor issuing CA");
    let id = tpm.registration_id();
    let certificate = tpm.endorsement_chain(&issuing);
    let path = bans_on_path(&certificate);
    let subjects = || {
        let mut subjects = vec![registration(&id), endorsement_key_of(&tpm)];
        subjects.extend([ban_on(&issuing), ban_on(&vendor)]);
        subjects.extend(path.iter().cloned());
        subjects
    };
    let mut by_group = World::default();
    by_group.enroll_group("tpms", draft(issuers(Some(vendor.der()), None)));
    for subject in subjects() {
        let knocks = |world: &mut World| tpm_knocks(world, &tpm, &id, certificate.clone());
        check(&mut by_group, knocks, subject.clone());
        // Banned between question and answer: only the challenge says who answers.
        let mut waiting = tpm.clone();
        let keys = tpm_keys(&tpm, certificate.clone());
        let blob = by_group.challenge(&id, keys).expect("challenged");
        waiting.activate(&blob).expect("for this TPM");
        by_group.ban(subject.clone(), BanKind::Revoked);
        let answer = request(&id, Evidence::Sas(tpm_token(&waiting, &id)));
        assert_eq!(heard(by_group.register(answer)), Heard::Banned, "{subject:?}");
        by_group.lift(&subject);
    }
    let mut alone = World::default();
    alone.enroll(&id, draft(by_tpm(&tpm)));
    for subject in [registration(&id), endorsement_key_of(&tpm)] {
        check(&mut alone, |world| tpm_knocks(world, &tpm, &id, Vec::new()), subject);
    }
}

fn bans_on_path(certificates: &[CertificateDer]) -> Vec<BanSubject> {
    let leaf = certificates.first().expect("a chain");
    let described = attest::certificate::describe(&leaf.0).expect("a certificate");
    let known = attest::certificate::path_certificate(&described);
    vec![
        BanSubject::by_sha256(known.sha256),
        BanSubject::by_sha1(known.sha1),
        BanSubject::Serial {
            issuer: known.issuer,
            issuer_name: described.info.issuer_name,
            serial: known.serial,
        },
    ]
}

#[test]
fn what_a_challenge_remembers_finds_the_bans_on_its_tpm() {
    let tpm = SoftTpm::from_fixture();
    let vendor = Ca::root("TPM vendor root");
    let id = tpm.registration_id();
    let mut world = World::default();
    world.enroll_group("tpms", draft(issuers(Some(vendor.der()), None)));
    let certificates = tpm.endorsement_chain(&vendor);
    world.challenge(&id, tpm_keys(&tpm, certificates.clone())).expect("challenged");
    let [challenge] = &world.tpm_challenges.values().next().expect("one")[..] else {
        panic!("one challenge")
    };
    let mut subjects = bans_on_path(&certificates);
    subjects.extend([endorsement_key_of(&tpm), ban_on(&vendor)]);
    for subject in subjects {
        let by_name = matches!(subject, BanSubject::Ca(_));
        assert!(by_name || challenge.ban_keys.contains(&subject.key()), "{subject:?}");
    }
}

#[test]
fn whoever_is_banned_meanwhile_is_not_let_in() {
    let mut world = World::default();
    world.enroll("press-17", draft(keys(&name::key(1), &name::key(2))));
    let knock = by_key("press-17", &name::key(1));
    let limits = world.settings.attest.limits;
    let prepared = crate::register::Prepared::new(knock, &limits).expect("parses");
    let facts = world.facts(&prepared.query());
    let random = testkit::fresh(1);
    let decided = crate::register::register(&facts, &prepared, &world.settings, world.now, &random);
    let Decision::Settle(settlement) = decided.answer else { panic!("{:?}", decided.answer) };
    world.ban(registration("press-18"), BanKind::Suspended);
    assert!(world.commit(settlement.changes).is_err());
    assert!(world.records.is_empty());
}
