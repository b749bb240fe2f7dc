//! What happens when two people act at once. Over the embedded store, because the promise is
//! about what is durable.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use decide::{
    manage::DEFAULT_QUOTAS,
    scenes::{self, signing},
};
use induct_app::{App, No, limits::RateSettings};
use model::{
    ApiVersion, Change, ChangeSet, Draft, EnrollmentGroupId, Evidence, GroupDraft, HubName,
    IdentityDraft, IndividualDraft, OperatorRefusal, Precondition, ProvisioningStatus,
    RecordFilter, RegisterRequest, RegistrationId, RegistrationStatus, Sent, SymmetricKey,
    crl::MAX_CRLS,
};
use store::Store as _;
use testkit::{Ca, ClientStyle, DeviceToken, NOW, Revocations};

use crate::{
    gated::At,
    instance::{Instance, SCOPE, by, hub_name, instance_with},
    stage::Stage,
};

fn hub() -> HubName {
    hub_name("hub-1")
}

async fn app() -> (App, Instance) {
    let instance = instance_with(&["hub-1"], DEFAULT_QUOTAS, RateSettings::default()).await;
    (instance.app.clone(), instance)
}

fn key() -> SymmetricKey {
    SymmetricKey::from_bytes(&[7; 32]).unwrap()
}

fn draft(status: ProvisioningStatus) -> Draft {
    let attestation = scenes::keys(&key(), &key());
    Draft { provisioning_status: Sent::Value(status), ..scenes::draft(attestation) }
}

fn group(status: ProvisioningStatus) -> GroupDraft {
    let group_id = EnrollmentGroupId::parse("line-4").unwrap();
    GroupDraft { group_id, draft: draft(status) }
}

fn individual(id: &str, status: ProvisioningStatus) -> IndividualDraft {
    IndividualDraft {
        registration_id: RegistrationId::parse(id).unwrap(),
        device_id: None,
        optional_device_information: None,
        draft: draft(status),
    }
}

fn request(id: &str, key: &SymmetricKey) -> RegisterRequest {
    let token = DeviceToken {
        style: ClientStyle::Python,
        id_scope: SCOPE,
        registration_id: id,
        key,
        expiry_unix_secs: NOW.unix_secs() + 3600,
    };
    RegisterRequest {
        registration_id: RegistrationId::parse(id).unwrap(),
        evidence: Evidence::Sas(token.parsed()),
        payload: None,
        api_version: ApiVersion::V2021_06_01,
    }
}

fn derived(id: &str) -> SymmetricKey {
    testkit::sas::derive_device_key(&key(), id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn once_disabling_a_group_is_acknowledged_no_registration_is_admitted() {
    let (app, _instance) = app().await;
    app.put_group(group(ProvisioningStatus::Enabled), &Precondition::None, &by()).await.unwrap();
    let disabled = Arc::new(AtomicBool::new(false));
    let devices: Vec<_> = (0..8)
        .map(|worker| {
            let (app, disabled) = (app.clone(), Arc::clone(&disabled));
            tokio::spawn(async move {
                let (mut before, mut after) = (0, 0);
                let mut n = 0;
                while after < 20 {
                    n += 1;
                    let id = format!("device-{worker}-{n}");
                    let was_disabled = disabled.load(Ordering::SeqCst);
                    let registered = app.register(SCOPE, request(&id, &derived(&id))).await;
                    let status = registered.expect("settled").record.status;
                    if was_disabled {
                        assert_eq!(status, RegistrationStatus::Disabled, "{id} slipped in");
                        after += 1;
                    } else {
                        before += 1;
                    }
                    assert!(n < 100_000, "the group is never disabled");
                }
                before
            })
        })
        .collect();
    let some_are_in = async {
        loop {
            let page = app.list_records(&RecordFilter::All, None, 50).await.unwrap();
            if page.items.len() == 50 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), some_are_in).await.unwrap();
    app.put_group(group(ProvisioningStatus::Disabled), &Precondition::Any, &by()).await.unwrap();
    disabled.store(true, Ordering::SeqCst);
    let mut admitted_before = 0;
    for device in devices {
        admitted_before += device.await.unwrap();
    }
    assert!(admitted_before >= 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_writers_with_one_etag_one_wins() {
    let (app, _instance) = app().await;
    let made = app
        .put_individual(
            individual("press-17", ProvisioningStatus::Enabled),
            &Precondition::None,
            &by(),
        )
        .await
        .unwrap();
    let etag = Precondition::Tag(made.terms.etag.as_str().to_owned());
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let (app, etag) = (app.clone(), etag.clone());
            tokio::spawn(async move {
                let draft = individual("press-17", ProvisioningStatus::Disabled);
                app.put_individual(draft, &etag, &by()).await
            })
        })
        .collect();
    let mut won = 0;
    for writer in writers {
        match writer.await.unwrap() {
            Ok(_) => won += 1,
            Err(No::Refused(refusal)) => assert_eq!(refusal, OperatorRefusal::StaleEtag),
            Err(No::Fault(fault)) => panic!("{fault:?}"),
        }
    }
    assert_eq!(won, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_creators_of_one_enrollment_one_wins() {
    let (app, _instance) = app().await;
    let creators: Vec<_> = (0..8)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move {
                let draft = individual("press-17", ProvisioningStatus::Enabled);
                app.put_individual(draft, &Precondition::None, &by()).await.is_ok()
            })
        })
        .collect();
    let mut won = 0;
    for creator in creators {
        won += u32::from(creator.await.unwrap());
    }
    assert_eq!(won, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_device_registering_many_times_at_once_ends_with_one_record_and_one_identity() {
    let (app, _instance) = app().await;
    app.put_individual(
        individual("press-17", ProvisioningStatus::Enabled),
        &Precondition::None,
        &by(),
    )
    .await
    .unwrap();
    let knocks: Vec<_> = (0..12)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { app.register(SCOPE, request("press-17", &key())).await })
        })
        .collect();
    for knock in knocks {
        let outcome = knock.await.unwrap();
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    assert_eq!(app.device_counts(&hub()).await.unwrap().total, 1);
    assert_eq!(app.usage().await.unwrap().registrations, 1);
}

#[tokio::test]
async fn a_device_of_the_operators_own_making_is_taken_over_with_its_twin() {
    let (app, _instance) = app().await;
    let id = model::DeviceId::parse("press-17").unwrap();
    let by_hand = IdentityDraft {
        device_id: id.clone(),
        status: None,
        status_reason: None,
        authentication: None,
        iot_edge: None,
        device_scope: None,
        parent_scopes: Vec::new(),
        managed_by: None,
    };
    let made = app.put_identity(&hub(), &by_hand, &Precondition::None, &by()).await.unwrap();
    app.put_individual(
        individual("press-17", ProvisioningStatus::Enabled),
        &Precondition::None,
        &by(),
    )
    .await
    .unwrap();
    app.register(SCOPE, request("press-17", &key())).await.unwrap();
    let device = app.get_device(&hub(), &id).await.unwrap();
    assert_eq!(device.identity.generation_id, made.identity.generation_id);
    assert_eq!(device.identity.authentication.keys.unwrap().primary, key());
    assert_eq!(device.twin.tags, made.twin.tags);
}

#[tokio::test]
async fn another_id_scope_is_unknown() {
    let (app, _instance) = app().await;
    for scope in ["0ne00ABCDEE", "", "a/b"] {
        let outcome = app.register(scope, request("press-17", &key())).await;
        let unknown = model::DeviceRefusal::UnknownIdScope;
        assert!(matches!(outcome, Err(No::Refused(refusal)) if refusal == unknown), "{scope}");
    }
}

/// As many as there may be but one are there, and somebody takes the last place while another one's
/// import is decided and not written.
#[tokio::test]
async fn of_two_importers_of_the_last_list_that_there_is_room_for_one_wins() {
    let stage = Stage::new().await;
    let cas = ["first", "second", "third"].map(Ca::root);
    for (n, ca) in cas.iter().enumerate() {
        let group_id = EnrollmentGroupId::parse(&format!("line-{n}")).unwrap();
        let draft = Draft {
            attestation: signing(Some(ca.der()), None),
            ..draft(ProvisioningStatus::Enabled)
        };
        let draft = GroupDraft { group_id, draft };
        stage.app.put_group(draft, &Precondition::None, &by()).await.unwrap();
    }
    let [first, second, third] = cas.map(|ca| ca.revocation_list(&Revocations::number(1)));
    let imported = stage.app.import_crl(first, &by()).await.unwrap();
    let of_another = |n: usize| {
        let mut crl = imported.crl.clone();
        crl.ca.keys.subject_and_key[..8].copy_from_slice(&n.to_be_bytes());
        Change::PutCrl(Box::new(crl))
    };
    let others = (2..MAX_CRLS).map(of_another).fold(ChangeSet::new(), ChangeSet::with);
    stage.store.commit(others).await.unwrap();
    let mut held = stage.store.hold(At::Asked, |change| matches!(change, Change::PutCrl(_)));
    let slow = {
        let app = stage.app.clone();
        tokio::spawn(async move { app.import_crl(second, &by()).await })
    };
    held.reached().await;
    stage.app.import_crl(third, &by()).await.unwrap();
    held.release();
    let refused = slow.await.unwrap();
    assert!(
        matches!(&refused, Err(No::Refused(OperatorRefusal::QuotaExceeded { limit, .. }))
            if *limit == MAX_CRLS as u64),
        "{refused:?}"
    );
    assert_eq!(stage.store.n_crls().await.unwrap(), MAX_CRLS as u64);
}
