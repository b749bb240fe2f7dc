//! What an operator may say of TPMs.

use model::{CertificateDer, Endorsement, EndorsementDraft, TpmDraft, TpmIdentity};

use super::*;
use crate::scenes::slots;

fn attestation(
    tpm: &SoftTpm,
    storage_root_key: Option<Vec<u8>>,
    endorsement: EndorsementDraft,
) -> AttestationDraft {
    let endorsement_key = tpm.endorsement_key();
    AttestationDraft::Tpm(TpmDraft { endorsement_key, storage_root_key, endorsement })
}

fn demand(root: &Ca, certificates: Vec<CertificateDer>) -> EndorsementDraft {
    EndorsementDraft::Demand { roots: slots(Some(root.der()), None), certificates }
}

fn written(enrollment: &IndividualEnrollment) -> &TpmIdentity {
    match &enrollment.terms.attestation {
        AttestationMechanism::Tpm(tpm) => tpm,
        other => panic!("{other:?}"),
    }
}

fn endorsement(enrollment: &IndividualEnrollment) -> &Endorsement {
    written(enrollment).endorsement.as_deref().expect("a certificate is demanded")
}

#[test]
fn keys_that_no_challenge_can_be_made_for_are_refused_when_written() {
    let tpm = SoftTpm::from_fixture();
    let check = |change: &dyn Fn(&mut TpmDraft), says: &str| {
        let mut draft = TpmDraft {
            endorsement_key: tpm.endorsement_key(),
            storage_root_key: Some(tpm.storage_root_key()),
            endorsement: EndorsementDraft::Keep,
        };
        change(&mut draft);
        check_refused(put(None, AttestationDraft::Tpm(draft), Precondition::None), says);
    };
    check(
        &|d| d.endorsement_key = vec![1],
        "attestation.tpm.endorsementKey: the endorsement key is cut",
    );
    check(&|d| d.endorsement_key = d.storage_root_key.clone().expect("it"), "attributes");
    check(&|d| d.endorsement_key[3] = 0x23, "an ECC key");
    check(&|d| d.storage_root_key = Some(Vec::new()), "attestation.tpm.storageRootKey");
    check(&|d| d.storage_root_key = Some(d.endorsement_key.clone()), "storageRootKey");
    let both = attestation(&tpm, Some(tpm.storage_root_key()), EndorsementDraft::Keep);
    let made = put(None, both, Precondition::None).expect("both are right");
    assert_eq!(written(&made).storage_root_key, Some(tpm.storage_root_key()));
    assert_eq!(written(&made).endorsement, None);
}

#[test]
fn a_demand_stays_until_it_is_taken_back_and_its_certificates_stay_with_their_key() {
    let (root, tpm, other) = (Ca::root("vendor"), SoftTpm::from_fixture(), SoftTpm::new());
    let issuing = root.intermediate("issuing");
    let chain = tpm.endorsement_chain(&issuing);
    let demanded = attestation(&tpm, None, demand(&root, chain.clone()));
    let made = put(None, demanded, Precondition::None).expect("it holds");
    assert_eq!(endorsement(&made).certificates, chain);
    let update = |attestation| put(Some(&made), attestation, Precondition::Any).expect("updated");
    // A write in the vendor's shape says nothing of it.
    let kept = update(attestation(&tpm, None, EndorsementDraft::Keep));
    assert_eq!(endorsement(&kept), endorsement(&made));
    let replaced = update(attestation(&other, None, EndorsementDraft::Keep));
    assert_eq!(endorsement(&replaced).roots, endorsement(&made).roots);
    assert!(endorsement(&replaced).certificates.is_empty(), "those of another key");
    let removed = update(attestation(&tpm, None, EndorsementDraft::Remove));
    assert_eq!(written(&removed).endorsement, None);
    // Certificates that are not sent again are not kept by a new demand; its roots can be.
    let keep =
        Slots { primary: Some(CertificateDraft::Keep { thumbprint: None }), secondary: None };
    let again = EndorsementDraft::Demand { roots: keep, certificates: Vec::new() };
    let again = update(attestation(&tpm, None, again));
    assert_eq!(endorsement(&again).roots, endorsement(&made).roots);
    assert!(endorsement(&again).certificates.is_empty());
    // What was demanded is gone with the kind.
    let by_keys = update(no_keys());
    let back = attestation(&tpm, None, EndorsementDraft::Keep);
    let back = put(Some(&by_keys), back, Precondition::Any).expect("updated");
    assert_eq!(written(&back).endorsement, None);
}

#[test]
fn certificates_that_do_not_hold_are_refused_when_written() {
    let (root, tpm) = (Ca::root("vendor"), SoftTpm::from_fixture());
    let issuing = root.intermediate("issuing");
    let good = tpm.endorsement_chain(&issuing);
    let check = |endorsement, says: &str| {
        let attestation = attestation(&tpm, None, endorsement);
        check_refused(put(None, attestation, Precondition::None), says);
    };
    let path = "certificates: ";
    check(demand(&Ca::root("vendor"), good.clone()), path);
    check(demand(&root, good[..1].to_vec()), "does not lead to");
    check(demand(&root, SoftTpm::new().endorsement_chain(&issuing)), "another key");
    check(demand(&root, vec![CertificateDer(vec![1, 2, 3])]), path);
    check(demand(&root, vec![good[0].clone(); 20]), path);
    let nowhere = EndorsementDraft::Demand { roots: slots(None, None), certificates: good };
    check(nowhere, "roots needs");
    let junk =
        EndorsementDraft::Demand { roots: slots(Some(b"junk"), None), certificates: Vec::new() };
    check(junk, "roots.primary.certificate");
}

#[test]
fn a_group_stays_in_its_shape() {
    let (root, none, any) = (Ca::root("vendor"), Precondition::None, Precondition::Any);
    let usage = Usage::default();
    let put = |existing: Option<&EnrollmentGroup>, attestation, precondition: &Precondition| {
        let draft = GroupDraft { group_id: name::group("line-4"), draft: draft(attestation) };
        let limits = EnrollmentLimits::default();
        put_group(existing, draft, precondition, &usage, &limits, NOW, &fresh(1))
    };
    let tpms = put(None, issuers(Some(root.der()), None), &none).expect("created");
    let vendors = put(None, no_keys(), &none).expect("created");
    assert_eq!(GroupShape::of(&tpms), GroupShape::Tpm);
    assert_eq!(GroupShape::of(&vendors), GroupShape::Vendor);
    assert!(put(Some(&tpms), issuers(Some(root.der()), None), &any).is_ok());
    let there = "/induct/v1/tpmEnrollmentGroups/line-4 or `induct tpm group`";
    check_refused(put(Some(&tpms), no_keys(), &any), there);
    // It is told where the group is before it is told that there is one.
    check_refused(put(Some(&tpms), no_keys(), &none), there);
    check_refused(put(Some(&tpms), signing(Some(root.der()), None), &any), there);
    let back = "Use /enrollmentGroups/line-4";
    check_refused(put(Some(&vendors), issuers(Some(root.der()), None), &any), back);
    check_refused(GroupShape::Vendor.check(&tpms), there);
    check_refused(GroupShape::Tpm.check(&vendors), back);
    assert_eq!(GroupShape::Vendor.check(&vendors), Ok(()));
    assert_eq!(GroupShape::Tpm.check(&tpms), Ok(()));
}

#[test]
fn a_group_of_tpms_keeps_its_certificates_and_counts_as_a_group_with_certificates() {
    let root = Ca::root("vendor");
    let made = group(issuers(Some(root.der()), None)).expect("created");
    let keep =
        Slots { primary: Some(CertificateDraft::Keep { thumbprint: None }), secondary: None };
    let draft_of =
        |attestation| GroupDraft { group_id: name::group("g"), draft: draft(attestation) };
    let put = |existing: Option<&EnrollmentGroup>, attestation, limits: &EnrollmentLimits| {
        let usage = Usage { x509_groups: 1, ..Usage::default() };
        let precondition = if existing.is_some() { Precondition::Any } else { Precondition::None };
        put_group(existing, draft_of(attestation), &precondition, &usage, limits, NOW, &fresh(2))
    };
    let full = EnrollmentLimits { x509_groups: 1, ..EnrollmentLimits::default() };
    let kept = put(Some(&made), AttestationDraft::TpmIssuer(keep), &full).expect("kept");
    assert_eq!(kept.terms.attestation, made.terms.attestation);
    check_refused(put(None, issuers(Some(root.der()), None), &full), "the limit of 1");
    check_refused(group(issuers(None, None)), "attestation.tpm.issuers needs");
    check_refused(
        group(issuers(Some(b"junk"), None)),
        "attestation.tpm.issuers.primary.certificate",
    );
}
