//! Devices that are refused and ask again: what they are told, and what is kept of it.

mod memory;

use std::{
    net::IpAddr,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use decide::scenes::{draft, keys, name, signing};
use induct_app::{
    App, No,
    bans::Wet,
    refusals::StormSettings,
    visits::{TurnedAway, Visit},
};
use model::{
    ApiVersion, Attempt, AttemptFilter, AttemptOutcome, AttestFailure, AttestationDraft,
    AttestationKind, Ban, ConnectRefusal, DeviceRefusal, Door, EnrollmentGroupId, EnrollmentRef,
    Evidence, GroupDraft, IndividualDraft, OperationId, Precondition, ProvisioningStatus,
    RegisterRequest, RegistrationId, RegistrationStatus, Sent, Step, SymmetricKey,
    ban::{BanDraft, SubjectDraft},
};
use testkit::{Ca, ClientStyle, DeviceToken, NOW, certificates::Credential};

use crate::{
    instance::{SCOPE, by},
    stage::{Stage, token},
};

const DEVICE: &str = "press-17";

/// CAs and leaves: made once, because that takes longest.
struct Papers {
    cas: [Ca; 2],
    /// Of [`DEVICE`], by each of the CAs.
    leaves: [Credential; 2],
}

fn papers() -> &'static Papers {
    static PAPERS: OnceLock<Papers> = OnceLock::new();
    PAPERS.get_or_init(|| {
        let cas = [Ca::root("maker"), Ca::root("stranger")];
        let leaves = [cas[0].leaf(DEVICE), cas[1].leaf(DEVICE)];
        Papers { cas, leaves }
    })
}

fn id(text: &str) -> RegistrationId {
    RegistrationId::parse(text).unwrap()
}

fn request(device: &str, evidence: Evidence) -> RegisterRequest {
    RegisterRequest {
        registration_id: id(device),
        evidence,
        payload: None,
        api_version: ApiVersion::V2021_06_01,
    }
}

/// A token that ends so many seconds after the beginning.
fn signed(device: &str, key: &SymmetricKey, secs: i64) -> Evidence {
    let token = DeviceToken {
        style: ClientStyle::Python,
        id_scope: SCOPE,
        registration_id: device,
        key,
        expiry_unix_secs: NOW.unix_secs() + secs,
    };
    Evidence::Sas(token.parsed())
}

fn derived(device: &str) -> SymmetricKey {
    testkit::sas::derive_device_key(&name::key(1), device)
}

/// A device at the door, with a new tracking ID each time.
async fn ask_from(
    app: &App,
    address: [u8; 4],
    device: &str,
    evidence: Evidence,
) -> Result<OperationId, TurnedAway> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let tracking_id = format!("t-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let address = IpAddr::from(address);
    let visit = Visit { tracking_id: &tracking_id, door: Door::Https, address };
    app.register_from(&visit, SCOPE, request(device, evidence)).await
}

async fn ask(app: &App, device: &str, evidence: Evidence) -> Result<OperationId, TurnedAway> {
    ask_from(app, [192, 0, 2, 7], device, evidence).await
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, TurnedAway>) -> (DeviceRefusal, Option<u32>) {
    match outcome {
        Err(TurnedAway { no: No::Refused(refusal), retry_after_secs }) => {
            (refusal, retry_after_secs)
        }
        other => panic!("not refused: {other:?}"),
    }
}

async fn refused(app: &App, device: &str, evidence: Evidence) -> (DeviceRefusal, Option<u32>) {
    refusal(ask(app, device, evidence).await)
}

async fn enroll(app: &App, device: &str, attestation: AttestationDraft, enabled: bool) {
    let status = match enabled {
        true => ProvisioningStatus::Enabled,
        false => ProvisioningStatus::Disabled,
    };
    let mut draft = draft(attestation);
    draft.provisioning_status = Sent::Value(status);
    let registration_id = id(device);
    let precondition = match app.get_individual(&registration_id).await {
        Ok(_) => Precondition::Any,
        Err(_) => Precondition::None,
    };
    let draft = IndividualDraft {
        registration_id,
        device_id: None,
        optional_device_information: None,
        draft,
    };
    app.put_individual(draft, &precondition, &by()).await.unwrap();
}

async fn enroll_group(app: &App, group: &str, attestation: AttestationDraft, enabled: bool) {
    let mut draft = draft(attestation);
    if !enabled {
        draft.provisioning_status = Sent::Value(ProvisioningStatus::Disabled);
    }
    let group_id = EnrollmentGroupId::parse(group).unwrap();
    let precondition = match app.get_group(&group_id).await {
        Ok(_) => Precondition::Any,
        Err(_) => Precondition::None,
    };
    app.put_group(GroupDraft { group_id, draft }, &precondition, &by()).await.unwrap();
}

async fn ban(app: &App, subject: SubjectDraft, secs: Option<i64>) -> Ban {
    let expires = secs.map(|secs| app.now().plus_secs(secs));
    let draft = BanDraft { subject, reason: None, expires };
    app.put_ban(&draft, Wet::Done, &by()).await.unwrap()
}

fn own_keys() -> AttestationDraft {
    keys(&name::key(3), &name::key(4))
}

async fn attempts(app: &App) -> Vec<Attempt> {
    let found = app.list_attempts(&AttemptFilter::All, None, 1000).await.unwrap();
    found.into_iter().map(|stored| stored.attempt).collect()
}

#[tokio::test]
async fn a_device_that_is_refused_again_hears_to_wait_twice_as_long_each_time() {
    let stage = Stage::new().await;
    let leaf = || Evidence::X509(papers().leaves[1].chain());
    let mut waits = Vec::new();
    for _ in 0..14 {
        waits.push(refused(&stage.app, DEVICE, leaf()).await);
    }
    assert!(waits.iter().all(|(refusal, _)| *refusal == DeviceRefusal::NotEnrolled));
    let secs: Vec<_> = waits.into_iter().map(|(_, secs)| secs).collect();
    let some = [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600].map(Some);
    assert_eq!(secs[0], None);
    assert_eq!(secs[1..], some);
}

#[tokio::test]
async fn the_wait_grows_over_minutes_and_for_tokens_that_are_signed_anew() {
    let stage = Stage::new().await;
    enroll(&stage.app, DEVICE, own_keys(), true).await;
    let mut secs = Vec::new();
    for n in 0..5 {
        let wrong = signed(DEVICE, &name::key(9), 3600 + n);
        let (why, wait) = refused(&stage.app, DEVICE, wrong).await;
        assert_eq!(why, DeviceRefusal::NotAttested(AttestFailure::BadSignature));
        secs.push(wait);
        stage.clock.advance(100);
    }
    assert_eq!(secs, [None, Some(5), Some(10), Some(20), Some(40)]);
}

#[tokio::test]
async fn a_repaired_device_is_admitted_at_once_and_begins_anew_when_it_breaks_again() {
    let stage = Stage::new().await;
    let own = || signed(DEVICE, &name::key(3), 3600);
    for _ in 0..5 {
        refused(&stage.app, DEVICE, own()).await;
    }
    enroll(&stage.app, DEVICE, own_keys(), true).await;
    ask(&stage.app, DEVICE, own()).await.unwrap();
    stage.app.delete_individual(&id(DEVICE), &Precondition::Any, &by()).await.unwrap();
    assert_eq!(refused(&stage.app, DEVICE, own()).await.1, None);
    // A change that does not repair it lets it begin anew as well.
    assert_eq!(refused(&stage.app, DEVICE, own()).await.1, Some(5));
    enroll_group(&stage.app, "others", signing(Some(papers().cas[0].der()), None), true).await;
    assert_eq!(refused(&stage.app, DEVICE, own()).await.1, None);
}

#[tokio::test]
async fn a_stranger_who_asks_under_a_name_does_not_get_its_device_refused_or_delayed() {
    let stage = Stage::new().await;
    let app = &stage.app;
    enroll_group(app, "line-4", signing(Some(papers().cas[0].der()), None), true).await;
    enroll(app, "keyed", own_keys(), true).await;
    for n in 0..20 {
        refused(app, DEVICE, Evidence::X509(papers().leaves[1].chain())).await;
        refused(app, DEVICE, signed(DEVICE, &name::key(9), 3600)).await;
        refused(app, DEVICE, Evidence::Nothing).await;
        refused(app, "keyed", signed("keyed", &name::key(9), 3600)).await;
        ask(app, DEVICE, Evidence::X509(papers().leaves[0].chain())).await.unwrap();
        ask(app, "keyed", signed("keyed", &name::key(3), 3600 + n)).await.unwrap();
    }
    // Nor does a token of the same name whose signature alone is wrong speak for the right one.
    let Evidence::Sas(mut forged) = signed("keyed", &name::key(3), 9000) else { unreachable!() };
    forged.signature[0] ^= 1;
    refused(app, "keyed", Evidence::Sas(forged)).await;
    ask(app, "keyed", signed("keyed", &name::key(3), 9000)).await.unwrap();
}

#[tokio::test]
async fn a_disabled_device_is_told_so_again_without_another_write() {
    let stage = Stage::new().await;
    let app = &stage.app;
    enroll(app, DEVICE, own_keys(), false).await;
    let own = |n: i64| signed(DEVICE, &name::key(3), 3600 + n);
    let first = ask(app, DEVICE, own(0)).await.unwrap();
    let etag = app.get_record(&id(DEVICE)).await.unwrap().etag;
    for n in 0..40 {
        // Also with a token that was signed anew, and when the memory has forgotten.
        assert_eq!(ask(app, DEVICE, own(n)).await.unwrap(), first);
        let polled = app.operation_status(SCOPE, request(DEVICE, own(n)), &first).await.unwrap();
        assert_eq!(polled.status, RegistrationStatus::Disabled);
        stage.clock.advance(40);
    }
    assert_eq!(app.get_record(&id(DEVICE)).await.unwrap().etag, etag);
    // It is told another one before the first cannot be polled any more.
    stage.clock.advance(600);
    assert_ne!(ask(app, DEVICE, own(0)).await.unwrap(), first);
    enroll(app, DEVICE, own_keys(), true).await;
    let assigned = ask(app, DEVICE, own(0)).await.unwrap();
    let polled = app.operation_status(SCOPE, request(DEVICE, own(0)), &assigned).await.unwrap();
    assert_eq!(polled.status, RegistrationStatus::Assigned);
}

#[tokio::test]
async fn a_ban_that_is_over_by_itself_is_over_for_the_memory_as_well() {
    let stage = Stage::new().await;
    let app = &stage.app;
    let leaf = || Evidence::X509(papers().leaves[0].chain());
    enroll_group(app, "line-4", signing(Some(papers().cas[0].der()), None), true).await;
    let subjects = [
        SubjectDraft::Registration(id(DEVICE)),
        SubjectDraft::Certificate(papers().cas[0].der().to_vec()),
    ];
    for subject in subjects {
        ban(app, subject, Some(20)).await;
        for _ in 0..3 {
            let (why, _) = refused(app, DEVICE, leaf()).await;
            assert!(matches!(why, DeviceRefusal::Banned { .. }), "{why:?}");
            stage.clock.advance(5);
        }
        stage.clock.advance(5);
        ask(app, DEVICE, leaf()).await.unwrap();
    }
}

#[tokio::test]
async fn repeated_refusals_are_one_attempt_with_a_count() {
    let stage = Stage::new().await;
    let app = &stage.app;
    let leaf = || Evidence::X509(papers().leaves[1].chain());
    for _ in 0..7 {
        refused(app, DEVICE, leaf()).await;
        stage.clock.advance(30);
    }
    let found = attempts(app).await;
    let [one] = &found[..] else { panic!("one attempt: {found:#?}") };
    assert_eq!(one.n, 7);
    assert_eq!(one.outcome, AttemptOutcome::Refused(DeviceRefusal::NotEnrolled));
    assert_eq!(one.shown.kind, Some(AttestationKind::X509));
    assert!(one.shown.leaf_sha256.is_some() && one.shown.leaf_sha1.is_some());
    assert!(matches!(one.steps.last(), Some(Step::LookedUpGroups { .. })), "{:?}", one.steps);
    assert!(one.first.plus_secs(179) < one.last);
    let last = one.last_tracking_id.clone().unwrap();
    let by_last = AttemptFilter::TrackingId(last.to_string());
    assert_eq!(app.list_attempts(&by_last, None, 10).await.unwrap().len(), 1);
    // From elsewhere, or for another reason, it is another one.
    refusal(ask_from(app, [198, 51, 100, 1], DEVICE, leaf()).await);
    refused(app, DEVICE, Evidence::Nothing).await;
    assert_eq!(attempts(app).await.len(), 3);
}

#[tokio::test]
async fn admissions_are_kept_with_the_entry_that_decided_and_no_secret() {
    let stage = Stage::new().await;
    let app = &stage.app;
    enroll_group(app, "line-4", keys(&name::key(1), &name::key(2)), true).await;
    ask(app, DEVICE, signed(DEVICE, &derived(DEVICE), 3600)).await.unwrap();
    let found = attempts(app).await;
    let [one] = &found[..] else { panic!("one attempt: {found:#?}") };
    let group = EnrollmentGroupId::parse("line-4").unwrap();
    assert_eq!(one.enrollment, Some(EnrollmentRef::Group(group)));
    assert!(matches!(&one.outcome, AttemptOutcome::Assigned { hub, .. } if *hub == stage.hub));
    let Evidence::Sas(token) = signed(DEVICE, &derived(DEVICE), 3600) else { unreachable!() };
    let told = format!("{found:?}");
    for secret in [derived(DEVICE).reveal(), name::key(1).reveal()] {
        assert!(!told.contains(secret));
    }
    assert!(!told.contains(&token.resource_raw), "not even what the token was for");
}

#[tokio::test]
async fn refused_connections_to_a_hub_are_kept() {
    let stage = Stage::with_device("dev1").await;
    let address = IpAddr::from([192, 0, 2, 7]);
    for n in 0..3 {
        let tracking_id = format!("c-{n}");
        let visit = Visit { tracking_id: &tracking_id, door: Door::Mqtt, address };
        let wrong = token("dev1", &name::key(9), None);
        let connecting = stage.connecting_forgotten("dev1", wrong);
        let refused = stage.app.connect_device_from(&visit, connecting).await;
        assert!(matches!(refused, Err(No::Refused(ConnectRefusal::NotAttested(_)))), "{refused:?}");
    }
    let found = attempts(&stage.app).await;
    let [one] = &found[..] else { panic!("one attempt: {found:#?}") };
    assert_eq!((one.n, one.door), (3, Door::Mqtt));
    assert!(
        matches!(&one.outcome, AttemptOutcome::NotConnected { name, .. } if name == "NotAttested")
    );
    let of_device = AttemptFilter::Device("DEV1".to_owned());
    assert_eq!(stage.app.list_attempts(&of_device, None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn who_is_refused_most_comes_first() {
    let stage = Stage::new().await;
    let app = &stage.app;
    for _ in 0..9 {
        refused(app, "Storm", Evidence::Nothing).await;
    }
    for n in 0..5 {
        refusal(ask_from(app, [198, 51, 100, n], "calm", Evidence::Nothing).await);
    }
    let top = app.top_refused(1);
    assert_eq!((top.devices[0].who.as_str(), top.devices[0].n), ("storm", 9));
    assert_eq!((top.addresses[0].who.as_str(), top.addresses[0].n), ("192.0.2.7", 9));
    assert!(top.devices[0].reason.contains("neither certificate nor token"));
    assert_eq!(top.devices.len(), 1);
}

#[tokio::test]
async fn one_that_remembers_nothing_still_keeps_attempts() {
    let stage = Stage::new().await;
    let settings = StormSettings { max_remembered: 0, ..StormSettings::default() };
    let app = stage.app.clone().with_storm_settings(settings);
    for _ in 0..3 {
        assert_eq!(refused(&app, DEVICE, Evidence::Nothing).await.1, None);
    }
    assert_eq!(attempts(&app).await.len(), 3);
}
