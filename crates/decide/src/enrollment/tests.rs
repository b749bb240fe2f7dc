use model::{CustomAllocation, Json, ProvisioningStatus, Sent};
use testkit::{Ca, Credential, NOW, Profile, SoftTpm, fresh};

use super::*;
use crate::scenes::{by_tpm, client, draft, issuers, keys, name, signing};

mod tpm;

fn put(
    existing: Option<&IndividualEnrollment>,
    attestation: AttestationDraft,
    precondition: Precondition,
) -> Result<IndividualEnrollment, OperatorRefusal> {
    put_draft(existing, draft(attestation), precondition)
}

fn put_draft(
    existing: Option<&IndividualEnrollment>,
    draft: Draft,
    precondition: Precondition,
) -> Result<IndividualEnrollment, OperatorRefusal> {
    let draft = IndividualDraft {
        registration_id: name::id("press-17"),
        device_id: None,
        optional_device_information: Some(Json::from("anything")),
        draft,
    };
    let limits = EnrollmentLimits::default();
    let seed = existing.map_or(1, |_| 2);
    put_individual(existing, draft, &precondition, &Usage::default(), &limits, NOW, &fresh(seed))
}

fn group(attestation: AttestationDraft) -> Result<EnrollmentGroup, OperatorRefusal> {
    let draft = GroupDraft { group_id: name::group("line-4"), draft: draft(attestation) };
    let limits = EnrollmentLimits::default();
    put_group(None, draft, &Precondition::None, &Usage::default(), &limits, NOW, &fresh(1))
}

fn no_keys() -> AttestationDraft {
    AttestationDraft::SymmetricKey { primary: None, secondary: None }
}

#[test]
fn the_precondition_decides_between_creating_and_replacing() {
    let existing = put(None, no_keys(), Precondition::None).expect("created");
    let etag = Precondition::Tag(existing.terms.etag.as_str().to_owned());
    let stale = || Precondition::Tag("stale".to_owned());
    let check = |existing: Option<&IndividualEnrollment>, precondition, expected| {
        let outcome = put(existing, no_keys(), precondition).map(|_| ());
        assert_eq!(outcome, expected);
    };
    check(None, Precondition::Any, Err(OperatorRefusal::StaleEtag));
    check(None, stale(), Err(OperatorRefusal::StaleEtag));
    check(Some(&existing), Precondition::None, Err(OperatorRefusal::EnrollmentExists));
    check(Some(&existing), stale(), Err(OperatorRefusal::StaleEtag));
    check(Some(&existing), Precondition::Any, Ok(()));
    check(Some(&existing), etag, Ok(()));
}

#[test]
fn keys_are_made_on_creation_and_kept_on_update() {
    let made = put(None, no_keys(), Precondition::None).expect("created");
    let updated = put(Some(&made), no_keys(), Precondition::Any).expect("updated");
    assert_eq!(made.terms.attestation, updated.terms.attestation);
    assert_ne!(made.terms.etag, updated.terms.etag);
    let given = keys(&name::key(1), &name::key(2));
    let replaced = put(Some(&made), given, Precondition::Any).expect("replaced");
    assert_ne!(made.terms.attestation, replaced.terms.attestation);
}

#[test]
fn a_switch_of_type_makes_new_keys() {
    let leaf = Credential::self_signed(Profile::leaf("press-17"));
    let by_certificate =
        put(None, client(Some(leaf.der()), None), Precondition::None).expect("created");
    let switched = put(Some(&by_certificate), no_keys(), Precondition::Any).expect("switched");
    assert!(matches!(switched.terms.attestation, AttestationMechanism::SymmetricKey(_)));
}

fn keep(thumbprint: Option<&str>) -> AttestationDraft {
    let primary = Some(CertificateDraft::Keep { thumbprint: thumbprint.map(str::to_owned) });
    AttestationDraft::X509 {
        client: Some(Slots { primary, secondary: None }),
        signing: None,
        ca_references: None,
    }
}

#[test]
fn a_slot_with_info_alone_keeps_its_certificate_and_a_slot_left_out_loses_it() {
    let (a, b) = (
        Credential::self_signed(Profile::leaf("press-17")),
        Credential::self_signed(Profile::leaf("press-17")),
    );
    let made =
        put(None, client(Some(a.der()), Some(b.der())), Precondition::None).expect("created");
    let AttestationMechanism::X509Client(slots) = &made.terms.attestation else {
        panic!("certificates");
    };
    let secondary = slots.secondary.as_ref().expect("secondary").info.clone();
    for thumbprint in [&secondary.sha256_thumbprint, &secondary.sha1_thumbprint] {
        let kept = put(Some(&made), keep(Some(thumbprint)), Precondition::Any).expect("kept");
        let AttestationMechanism::X509Client(now) = &kept.terms.attestation else {
            panic!("certificates");
        };
        assert_eq!(now.primary.as_ref().map(|c| c.der.as_slice()), Some(b.der()), "moved up");
        assert_eq!(now.secondary, None, "left out");
    }
    let same = put(Some(&made), keep(None), Precondition::Any).expect("kept");
    let AttestationMechanism::X509Client(now) = &same.terms.attestation else {
        panic!("certificates");
    };
    assert_eq!(now.primary, slots.primary);
    check_refused(put(Some(&made), keep(Some("00")), Precondition::Any), "send `certificate`");
    check_refused(put(None, keep(None), Precondition::None), "no stored certificate");
}

fn check_refused<T: std::fmt::Debug>(outcome: Result<T, OperatorRefusal>, says: &str) {
    let refusal = outcome.expect_err("refused");
    assert!(refusal.to_string().contains(says), "{refusal}");
}

#[test]
fn each_family_has_its_mechanisms() {
    let ca = Ca::root("root");
    let leaf = Credential::self_signed(Profile::leaf("press-17"));
    let tpm = || by_tpm(&SoftTpm::from_fixture());
    let issuers = || issuers(Some(ca.der()), None);
    let names = || AttestationDraft::X509 {
        client: None,
        signing: None,
        ca_references: Some(Slots { primary: Some("root-ca".to_owned()), secondary: None }),
    };
    let two_kinds = AttestationDraft::X509 {
        client: None,
        signing: Some(Slots {
            primary: Some(CertificateDraft::Der(ca.der().to_vec())),
            secondary: None,
        }),
        ca_references: Some(Slots { primary: Some("root-ca".to_owned()), secondary: None }),
    };
    assert!(put(None, tpm(), Precondition::None).is_ok());
    check_refused(group(tpm()), "individual");
    check_refused(group(tpm()), "/induct/v1/tpmEnrollmentGroups");
    check_refused(put(None, issuers(), Precondition::None), "enrollment groups");
    assert!(group(issuers()).is_ok());
    check_refused(group(client(Some(leaf.der()), None)), "exactly one of");
    check_refused(group(two_kinds), "exactly one of");
    check_refused(
        put(None, signing(Some(ca.der()), None), Precondition::None),
        "clientCertificates",
    );
    check_refused(put(None, names(), Precondition::None), "clientCertificates");
    assert!(group(names()).is_ok(), "an unknown name is accepted at enrollment time");
    check_refused(group(signing(None, None)), "needs a primary or a secondary");
    check_refused(group(signing(Some(b"junk"), None)), "signingCertificates.primary.certificate");
}

#[test]
fn allocation_rules_are_checked_when_written() {
    let check = |change: &dyn Fn(&mut Draft), says: &str| {
        let mut draft = draft(no_keys());
        change(&mut draft);
        check_refused(put_draft(None, draft, Precondition::None), says);
    };
    check(&|d| d.iot_hubs = Some(vec!["a.b".to_owned()]), "allocationPolicy must be specified");
    check(&|d| d.allocation_policy = Some(AllocationPolicy::Custom), "customAllocationDefinition");
    let webhook = |url: &str, version: &str| {
        Some(CustomAllocation { webhook_url: url.to_owned(), api_version: version.to_owned() })
    };
    check(&|d| d.custom_allocation = webhook("http://x.test", "2021-10-01"), "https://");
    check(&|d| d.custom_allocation = webhook("https://x.test", "2018-04-01"), "2018-09-01");
    let mut hubless = draft(no_keys());
    hubless.allocation_policy = Some(AllocationPolicy::Static);
    assert!(put_draft(None, hubless, Precondition::None).is_ok(), "fails at registration only");
}

#[test]
fn what_was_not_sent_stays_absent_and_creation_time_survives() {
    let made = put(None, no_keys(), Precondition::None).expect("created");
    assert_eq!(made.terms.provisioning_status, Sent::Absent);
    assert!(made.terms.is_enabled());
    let mut nulled = draft(no_keys());
    nulled.provisioning_status = Sent::Null;
    let nulled = put_draft(Some(&made), nulled, Precondition::Any).expect("updated");
    assert_eq!(nulled.terms.provisioning_status, Sent::Null);
    assert!(nulled.terms.is_enabled());
    assert_eq!(nulled.terms.created, made.terms.created);
    let mut off = draft(no_keys());
    off.provisioning_status = Sent::Value(ProvisioningStatus::Disabled);
    assert!(!put_draft(None, off, Precondition::None).expect("created").terms.is_enabled());
}

#[test]
fn limits_count_new_entries_only() {
    let limits = EnrollmentLimits { individuals: 5, x509_groups: 1, symmetric_key_groups: 0 };
    let usage = Usage { individual_enrollments: 5, ..Usage::default() };
    let draft_of = || IndividualDraft {
        registration_id: name::id("press-17"),
        device_id: None,
        optional_device_information: None,
        draft: draft(no_keys()),
    };
    let existing = put(None, no_keys(), Precondition::None).expect("created");
    let full =
        put_individual(None, draft_of(), &Precondition::None, &usage, &limits, NOW, &fresh(1));
    check_refused(full, "the limit of 5 individual enrollments");
    let any = Precondition::Any;
    assert!(
        put_individual(Some(&existing), draft_of(), &any, &usage, &limits, NOW, &fresh(1)).is_ok()
    );
    let group = GroupDraft { group_id: name::group("g"), draft: draft(no_keys()) };
    let none = Precondition::None;
    check_refused(put_group(None, group, &none, &usage, &limits, NOW, &fresh(1)), "the limit of 0");
}

#[test]
fn bulk_modes_map_to_preconditions() {
    use BulkMode::{Create, Delete, Update, UpdateIfMatchEtag};
    let tag = || Precondition::Tag("e".to_owned());
    let check = |mode: BulkMode, etag, exists, expected| {
        let missing = OperatorRefusal::EnrollmentNotFound;
        assert_eq!(
            mode.precondition(etag, exists, missing),
            expected,
            "{mode:?} {etag:?} {exists}"
        );
    };
    check(Create, Some("e"), true, Ok(Precondition::None));
    check(Update, None, true, Ok(Precondition::None));
    check(Update, Some("e"), true, Ok(tag()));
    check(Update, Some("*"), true, Ok(Precondition::Any));
    check(Update, Some("e"), false, Err(OperatorRefusal::EnrollmentNotFound));
    check(UpdateIfMatchEtag, None, true, Err(OperatorRefusal::StaleEtag));
    check(UpdateIfMatchEtag, Some("e"), true, Ok(tag()));
    check(Delete, Some("stale"), true, Ok(Precondition::None));
}

#[test]
fn a_delete_needs_something_to_delete_and_a_fitting_etag() {
    let existing = put(None, no_keys(), Precondition::None).expect("created");
    let check = |terms: Option<&Terms>, precondition: Precondition, expected| {
        let missing = OperatorRefusal::EnrollmentNotFound;
        assert_eq!(delete(terms, &precondition, missing), expected);
    };
    let terms = Some(&existing.terms);
    check(terms, Precondition::None, Ok(()));
    check(terms, Precondition::Any, Ok(()));
    check(terms, Precondition::Tag("x".to_owned()), Err(OperatorRefusal::StaleEtag));
    check(None, Precondition::Any, Err(OperatorRefusal::EnrollmentNotFound));
}

#[test]
fn a_webhook_is_called_by_https_or_on_this_machine() {
    let check = |url: &str, expected: bool| assert_eq!(is_webhook_url(url), expected, "{url}");
    check("https://hooks.example.com/a?code=1", true);
    check("HTTPS://hooks.example.com", true);
    check("http://127.0.0.1:7071/api/Trigger", true);
    check("http://[::1]:7071/", true);
    check("http://localhost/a", true);
    check("http://hooks.example.com/", false);
    check("http://127.0.0.1.example.com/", false);
    check("http://localhost@hooks.example.com/", false);
    check("http://localhost:80@hooks.example.com/", false);
    check("ftp://localhost/", false);
    check("", false);
}
