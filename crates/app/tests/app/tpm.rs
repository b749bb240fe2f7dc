//! TPMs over the embedded store: challenged by one request, answering with another.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use decide::{
    manage::DEFAULT_QUOTAS,
    scenes::{by_tpm, draft, issuers, keys, name, tpm_keys, tpm_token},
};
use induct_app::{
    App, No,
    device::HubLimits,
    enrollments::{BulkGroup, BulkMode, GroupShape},
    limits::RateSettings,
    ports::{Clock, NoAllocationHook},
};
use model::{
    ApiVersion, AttestFailure, AttestationDraft, AuditFilter, CertificateDer, DeviceRefusal,
    EnrollmentGroupId, Evidence, GroupDraft, GroupQuery, IndividualDraft, OperatorRefusal,
    Precondition, ProvisioningStatus, RegisterQuery, RegisterRequest, RegistrationId,
    RegistrationStatus, Sent, TPM_CHALLENGE_LIFE_SECS, Timestamp, TpmKeys,
};
use testkit::{Ca, SoftTpm};

use crate::instance::{CountingEntropy, Instance, SCOPE, by, instance, open, settings};

/// Moves on when told to.
struct ClockAt(AtomicI64);

impl Clock for ClockAt {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_secs(self.0.load(Ordering::SeqCst))
    }
}

fn request(id: &str, evidence: Evidence) -> RegisterRequest {
    RegisterRequest {
        registration_id: RegistrationId::parse(id).unwrap(),
        evidence,
        payload: None,
        api_version: ApiVersion::V2021_06_01,
    }
}

fn shows(id: &str, keys: TpmKeys) -> RegisterRequest {
    request(id, Evidence::Tpm(keys))
}

fn signs(id: &str, tpm: &SoftTpm) -> RegisterRequest {
    request(id, Evidence::Sas(tpm_token(tpm, id)))
}

async fn enroll(app: &App, id: &str, attestation: AttestationDraft, enabled: bool) {
    let mut draft = draft(attestation);
    if !enabled {
        draft.provisioning_status = Sent::Value(ProvisioningStatus::Disabled);
    }
    let draft = IndividualDraft {
        registration_id: RegistrationId::parse(id).unwrap(),
        device_id: None,
        optional_device_information: None,
        draft,
    };
    app.put_individual(draft, &Precondition::None, &by()).await.unwrap();
}

async fn replace_group(app: &App, id: &str, attestation: AttestationDraft) -> Result<(), String> {
    let group_id = EnrollmentGroupId::parse(id).unwrap();
    let group = GroupDraft { group_id, draft: draft(attestation) };
    match app.put_group(group, &Precondition::Any, &by()).await {
        Ok(_) => Ok(()),
        Err(No::Refused(refusal)) => Err(refusal.to_string()),
        Err(No::Fault(fault)) => panic!("{fault}"),
    }
}

async fn create_group(app: &App, id: &str, attestation: AttestationDraft) {
    let group_id = EnrollmentGroupId::parse(id).unwrap();
    let group = GroupDraft { group_id, draft: draft(attestation) };
    app.put_group(group, &Precondition::None, &by()).await.unwrap();
}

fn by_keys() -> AttestationDraft {
    keys(&name::key(1), &name::key(2))
}

#[tokio::test]
async fn a_challenge_is_durable_before_the_device_hears_of_it_and_any_process_takes_the_answer() {
    let Instance { app, store, entropy, clock, .. } = &instance().await;
    let mut tpm = SoftTpm::from_fixture();
    enroll(app, "tpm-1", by_tpm(&tpm), true).await;
    let blob = app.challenge_tpm(SCOPE, shows("tpm-1", tpm_keys(&tpm, Vec::new()))).await.unwrap();
    tpm.activate(&blob).unwrap();
    // Another process that knows nothing but the store.
    let settings = settings(DEFAULT_QUOTAS, RateSettings::default(), HubLimits::default());
    let another = App::new(
        Arc::clone(store),
        Arc::clone(clock) as _,
        Arc::clone(entropy) as _,
        Arc::new(NoAllocationHook),
        settings,
    );
    let registered = another.register(SCOPE, signs("tpm-1", &tpm)).await.unwrap();
    assert_eq!(registered.record.status, RegistrationStatus::Assigned);
    let polled = app.operation_status(SCOPE, signs("tpm-1", &tpm), &registered.operation).await;
    let wrapped = polled.unwrap().wrapped_hub_key.expect("the key for its hub");
    let assigned = registered.record.assignment.unwrap();
    tpm.activate(&wrapped).unwrap();
    let device = store.find_device(&assigned.hub, &assigned.device_id).await.unwrap().unwrap();
    let on_hub = device.identity.authentication.keys.unwrap().primary;
    assert_eq!(Some(on_hub.bytes()), tpm.key().as_ref().map(<[u8; 32]>::as_slice));
    // With the hub's key it cannot poll any more: it has overwritten the other.
    let late = app.operation_status(SCOPE, signs("tpm-1", &tpm), &registered.operation).await;
    let bad = DeviceRefusal::NotAttested(AttestFailure::BadSignature);
    assert!(matches!(&late, Err(No::Refused(refusal)) if *refusal == bad), "{late:?}");
}

#[tokio::test]
async fn who_is_not_challenged_leaves_nothing_behind() {
    let Instance { app, store, .. } = &instance().await;
    let tpm = SoftTpm::from_fixture();
    enroll(app, "key-1", by_keys(), true).await;
    let check = async |scope: &str, id: &str, expected: DeviceRefusal| {
        let refused = app.challenge_tpm(scope, shows(id, tpm_keys(&tpm, Vec::new()))).await;
        assert!(matches!(&refused, Err(No::Refused(why)) if *why == expected), "{refused:?}");
        let registration_id = RegistrationId::parse(id).unwrap();
        let query = RegisterQuery {
            registration_id,
            groups: GroupQuery::None,
            ban_keys: Vec::new(),
            ca_names: Vec::new(),
            serials: Vec::new(),
        };
        assert!(store.register_facts(query).await.unwrap().tpm_challenges.is_empty());
    };
    check(SCOPE, "tpm-1", DeviceRefusal::TpmNotEnrolled).await;
    check(SCOPE, "key-1", DeviceRefusal::TpmNotEnrolled).await;
    check("0ne00FFFFFF", "tpm-1", DeviceRefusal::UnknownIdScope).await;
    check("nonsense", "tpm-1", DeviceRefusal::UnknownIdScope).await;
}

#[tokio::test]
async fn a_connection_asks_without_the_store_and_checks_the_answer_itself() {
    let Instance { app, .. } = &instance().await;
    let mut tpm = SoftTpm::from_fixture();
    let id = RegistrationId::parse("tpm-1").unwrap();
    // Nobody is enrolled, and nobody learns of it.
    let (challenge, blob) = app.challenge_tpm_here(&id, tpm_keys(&tpm, Vec::new())).unwrap();
    tpm.activate(&blob).unwrap();
    let token = tpm_token(&tpm, "tpm-1");
    assert_eq!(app.check_tpm_answer(&challenge, &token, SCOPE), Ok(()));
    let check = |token, scope, expected| {
        assert_eq!(app.check_tpm_answer(&challenge, &token, scope), Err(expected));
    };
    check(token.clone(), "0ne00FFFFFF", AttestFailure::WrongResource);
    check(tpm_token(&tpm, "tpm-2"), SCOPE, AttestFailure::WrongResource);
    let mut unsigned = token.clone();
    unsigned.signature[0] ^= 1;
    check(unsigned, SCOPE, AttestFailure::BadSignature);
    let answer = || Evidence::TpmAnswer {
        challenge: Box::new(challenge.clone()),
        token: Box::new(token.clone()),
    };
    let elsewhere = app.register("0ne00FFFFFF", request("tpm-1", answer())).await;
    assert!(matches!(elsewhere, Err(No::Refused(DeviceRefusal::UnknownIdScope))), "{elsewhere:?}");
    let unknown = app.register(SCOPE, request("tpm-1", answer())).await;
    assert!(matches!(unknown, Err(No::Refused(DeviceRefusal::TpmNotEnrolled))), "{unknown:?}");
    enroll(app, "tpm-1", by_tpm(&tpm), true).await;
    let registered = app.register(SCOPE, request("tpm-1", answer())).await.unwrap();
    assert_eq!(registered.record.status, RegistrationStatus::Assigned);
    let polled = app.operation_status(SCOPE, request("tpm-1", answer()), &registered.operation);
    assert!(polled.await.unwrap().wrapped_hub_key.is_some());
}

#[tokio::test]
async fn a_tpm_of_a_group_registers_by_its_vendors_word() {
    let Instance { app, store, .. } = &instance().await;
    let vendor = Ca::root("vendor root");
    let issuing = vendor.intermediate("vendor issuing CA");
    create_group(app, "vendor", issuers(Some(vendor.der()), None)).await;
    create_group(app, "keys", by_keys()).await;
    let mut tpm = SoftTpm::from_fixture();
    let id = tpm.registration_id();
    let chain = tpm.endorsement_chain(&issuing);
    let shown = |chain: Vec<CertificateDer>| shows(&id, tpm_keys(&tpm, chain));
    let unendorsed = app.challenge_tpm(SCOPE, shown(Vec::new())).await;
    assert!(matches!(unendorsed, Err(No::Refused(DeviceRefusal::TpmNotEnrolled))));
    let blob = app.challenge_tpm(SCOPE, shown(chain)).await.unwrap();
    tpm.activate(&blob).unwrap();
    let registered = app.register(SCOPE, signs(&id, &tpm)).await.unwrap();
    assert_eq!(registered.record.status, RegistrationStatus::Assigned);
    let wrapped = registered.record.wrapped_hub_key.unwrap();
    tpm.clone().activate(&wrapped).unwrap();
    // A new certificate of the vendor's, found through the challenge's names as well.
    let group_id = EnrollmentGroupId::parse("vendor").unwrap();
    app.delete_group_of(GroupShape::Tpm, &group_id, &Precondition::Any, &by()).await.unwrap();
    let gone = app.register(SCOPE, signs(&id, &tpm)).await;
    assert!(matches!(gone, Err(No::Refused(DeviceRefusal::TpmNotEnrolled))), "{gone:?}");
    create_group(app, "another", issuers(None, Some(issuing.der()))).await;
    assert!(app.register(SCOPE, signs(&id, &tpm)).await.is_ok());
    assert_eq!(store.usage().await.unwrap().x509_groups, 1);
}

#[tokio::test]
async fn challenges_are_forgotten_when_nobody_can_use_them_any_more() {
    let entropy = Arc::new(CountingEntropy::default());
    let (_folder, store) = open(&["hub-1"], &entropy).await;
    let clock = Arc::new(ClockAt(AtomicI64::new(testkit::NOW.unix_secs())));
    let settings = settings(DEFAULT_QUOTAS, RateSettings::default(), HubLimits::default());
    let (under, time) = (Arc::clone(&store), Arc::clone(&clock));
    let app = App::new(under, time, entropy, Arc::new(NoAllocationHook), settings);
    let tpm = SoftTpm::from_fixture();
    enroll(&app, "tpm-1", by_tpm(&tpm), false).await;
    app.challenge_tpm(SCOPE, shows("tpm-1", tpm_keys(&tpm, Vec::new()))).await.unwrap();
    let waiting = async || {
        let registration_id = RegistrationId::parse("tpm-1").unwrap();
        let query = RegisterQuery {
            registration_id,
            groups: GroupQuery::None,
            ban_keys: Vec::new(),
            ca_names: Vec::new(),
            serials: Vec::new(),
        };
        store.register_facts(query).await.unwrap().tpm_challenges.len()
    };
    let check = async |advance: i64, expected: usize| {
        clock.0.fetch_add(advance, Ordering::SeqCst);
        app.end_expired_challenges().await.unwrap();
        assert_eq!(waiting().await, expected);
    };
    check(0, 1).await;
    check(TPM_CHALLENGE_LIFE_SECS, 1).await;
    // An operation that began at the last moment is polled with it.
    check(3590, 1).await;
    check(20, 0).await;
}

#[tokio::test]
async fn the_vendors_api_leaves_groups_of_tpms_alone() {
    let Instance { app, store, .. } = &instance().await;
    let ca = Ca::root("vendor");
    let of_tpms = || issuers(Some(ca.der()), None);
    create_group(app, "line-4", of_tpms()).await;
    create_group(app, "line-5", by_keys()).await;
    let id = |text: &str| EnrollmentGroupId::parse(text).unwrap();
    let any = &Precondition::Any;
    let there = "/induct/v1/tpmEnrollmentGroups/line-4 or `induct tpm group`";
    let says = |outcome: Result<(), No<OperatorRefusal>>, expected: &str| match outcome {
        Err(No::Refused(refusal)) => {
            assert!(refusal.to_string().contains(expected), "{refusal}");
        }
        other => panic!("{other:?}"),
    };
    says(app.get_group(&id("line-4")).await.map(drop), there);
    says(app.delete_group(&id("line-4"), any, &by()).await, there);
    let refused = replace_group(app, "line-4", by_keys()).await.unwrap_err();
    assert!(refused.contains(there), "{refused}");
    let delete = vec![BulkGroup::Delete(id("line-4"))];
    let refused = app.bulk_groups(BulkMode::Delete, delete, &by()).await.unwrap();
    assert!(matches!(&refused[..], [(_, why)] if why.to_string().contains(there)), "{refused:?}");
    // Nor does the other API touch the vendor's.
    let back = "Use /enrollmentGroups/line-5";
    says(app.get_group_of(GroupShape::Tpm, &id("line-5")).await.map(drop), back);
    says(app.delete_group_of(GroupShape::Tpm, &id("line-5"), any, &by()).await, back);
    let refused = replace_group(app, "line-5", of_tpms()).await.unwrap_err();
    assert!(refused.contains(back), "{refused}");
    assert!(app.get_group(&id("line-5")).await.is_ok());
    assert!(app.get_group_of(GroupShape::Tpm, &id("line-4")).await.is_ok());
    assert_eq!(replace_group(app, "line-4", of_tpms()).await, Ok(()));
    app.delete_group_of(GroupShape::Tpm, &id("line-4"), any, &by()).await.unwrap();
    let missing = app.get_group_of(GroupShape::Tpm, &id("line-4")).await;
    assert!(matches!(missing, Err(No::Refused(OperatorRefusal::GroupNotFound))));
    let filter = AuditFilter {
        target: Some("tpmEnrollmentGroups/line-4".to_owned()),
        ..AuditFilter::default()
    };
    let lines = store.list_audit(&filter, None, 100).await.unwrap();
    let actions: Vec<&str> = lines.iter().map(|line| line.entry.action.as_str()).collect();
    let expected =
        ["enrollment-group.create", "enrollment-group.update", "enrollment-group.delete"];
    assert_eq!(actions, expected);
}

#[tokio::test]
async fn pages_of_groups_hold_one_shape_without_gap_or_empty_page() {
    let Instance { app, .. } = &instance().await;
    let ca = Ca::root("vendor");
    // Which of them are groups of TPMs: runs longer than a page, at the beginning, within, at the
    // end.
    let shapes = "TTTVVTVTTTTTTVVVTTT";
    for (n, shape) in shapes.chars().enumerate() {
        let attestation = if shape == 'T' { issuers(Some(ca.der()), None) } else { by_keys() };
        create_group(app, &format!("g-{n:02}"), attestation).await;
    }
    for (shape, letter) in [(GroupShape::Vendor, 'V'), (GroupShape::Tpm, 'T')] {
        let expected: Vec<String> = shapes
            .chars()
            .enumerate()
            .filter(|(_, of)| *of == letter)
            .map(|(n, _)| format!("g-{n:02}"))
            .collect();
        for limit in 1..=20 {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = app.list_groups_of(shape, after.as_deref(), limit).await.unwrap();
                assert!(!page.items.is_empty() && page.items.len() <= limit);
                let full = page.items.len() == limit;
                found.extend(page.items.iter().map(|group| group.group_id.as_str().to_owned()));
                after = page.next;
                if after.is_none() {
                    break;
                }
                assert!(full, "only the last page has room");
            }
            assert_eq!(found, expected, "{shape:?} by {limit}");
        }
        let beyond = app.list_groups_of(shape, Some("g-99"), 5).await.unwrap();
        assert!(beyond.items.is_empty() && beyond.next.is_none());
    }
    let vendors = app.list_groups(None, 100).await.unwrap();
    assert_eq!(vendors.items.len(), 6);
}
