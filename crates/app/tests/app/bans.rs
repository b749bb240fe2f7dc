//! Bans and the ends of enrollments hold at every door, whatever is deleted, enrolled or registered in
//! between: who is kept out does not come in by another way, and who is connected does not stay.

use decide::scenes::{client, draft, keys, signing, slots, token, tpm_keys, tpm_token};
use induct_app::{
    No,
    bans::Wet,
    ca_certificates::CaDraft,
    device::{DeviceSession, Earlier},
    service::SettingsDraft,
};
use model::{
    ApiVersion, Assignment, AttestationDraft, AttestationKind, AuthenticationDraft,
    AuthenticationKind, Change, ChangeSet, ConnectRefusal, DeviceRefusal, Draft, EndorsementDraft,
    EnrollmentGroupId, EnrollmentRef, Etag, Evidence, Grounds, GroupDraft, GroupSettings,
    IdentityDraft, IndividualDraft, KnownProof, Precondition, ProvisioningStatus, RegisterRequest,
    RegistrationId, RegistrationRecord, RegistrationStatus, Sent, Substatus, Timestamp, TpmDraft,
    ban::{BanDraft, SubjectDraft},
};
use store::Store as _;
use testkit::{Ca, Credential, NOW, Revocations, SoftTpm};

use crate::{
    gated::At,
    instance::{SCOPE, by},
    stage::{Stage, at_once, id, key, keyed},
};

const DEVICE: &str = "press-17";

fn registration(text: &str) -> RegistrationId {
    RegistrationId::parse(text).unwrap()
}

fn line_4() -> EnrollmentGroupId {
    EnrollmentGroupId::parse("line-4").unwrap()
}

pub(crate) async fn ban(stage: &Stage, subject: SubjectDraft) {
    ban_until(stage, subject, None).await;
}

async fn ban_until(stage: &Stage, subject: SubjectDraft, expires: Option<Timestamp>) {
    let draft = BanDraft { subject, reason: None, expires };
    stage.app.put_ban(&draft, Wet::Done, &by()).await.unwrap();
}

pub(crate) fn certificate(of: &Ca) -> SubjectDraft {
    SubjectDraft::Certificate(of.der().to_vec())
}

async fn put_group(stage: &Stage, id: &str, draft: Draft, precondition: Precondition) {
    let draft = GroupDraft { group_id: EnrollmentGroupId::parse(id).unwrap(), draft };
    stage.app.put_group(draft, &precondition, &by()).await.unwrap();
}

pub(crate) async fn group_of(stage: &Stage, ca: &Ca) {
    put_group(stage, "line-4", draft(signing(Some(ca.der()), None)), Precondition::None).await;
}

async fn group_ends_sessions(stage: &Stage) {
    let settings = GroupSettings { disenroll_ends_sessions: Some(true), stale_crl: None };
    let any = Precondition::Any;
    stage.app.put_group_settings(&line_4(), settings, &any, Wet::Done, &by()).await.unwrap();
}

async fn service_ends_sessions(stage: &Stage) {
    let draft = SettingsDraft { disenroll_ends_sessions: Some(true), ..SettingsDraft::default() };
    stage.app.update_service(&draft, &Precondition::None, false, &by()).await.unwrap();
}

async fn enroll(stage: &Stage, id: &str, draft: Draft, device_id: Option<&str>) {
    let individual = IndividualDraft {
        registration_id: registration(id),
        device_id: device_id.map(crate::stage::id),
        optional_device_information: None,
        draft,
    };
    let precondition = match stage.app.get_individual(&registration(id)).await {
        Ok(_) => Precondition::Any,
        Err(_) => Precondition::None,
    };
    stage.app.put_individual(individual, &precondition, &by()).await.unwrap();
}

fn disabled(draft: Draft) -> Draft {
    Draft { provisioning_status: Sent::Value(ProvisioningStatus::Disabled), ..draft }
}

pub(crate) async fn register_as(
    stage: &Stage,
    id: &str,
    evidence: Evidence,
) -> Result<RegistrationStatus, No<DeviceRefusal>> {
    let request = RegisterRequest {
        registration_id: registration(id),
        evidence,
        payload: None,
        api_version: ApiVersion::V2021_06_01,
    };
    stage.app.register(SCOPE, request).await.map(|registered| registered.record.status)
}

pub(crate) async fn register(
    stage: &Stage,
    evidence: Evidence,
) -> Result<RegistrationStatus, No<DeviceRefusal>> {
    register_as(stage, DEVICE, evidence).await
}

async fn connect(stage: &Stage, evidence: Evidence) -> Result<DeviceSession, No<ConnectRefusal>> {
    let connecting = stage.connecting(DEVICE, evidence, Earlier::Forgotten);
    stage.app.connect_device(connecting).await.map(|(session, _commands)| session)
}

async fn is_kept_off(stage: &Stage, evidence: Evidence) -> bool {
    connect(stage, evidence).await.is_err()
}

pub(crate) fn alone(press: &Credential) -> Evidence {
    Evidence::X509(press.alone())
}

async fn has_ended(session: &DeviceSession) -> bool {
    at_once(session.ended()).await.is_some()
}

/// The group's CA is below the banned one, of which nothing else is enrolled.
#[tokio::test]
async fn a_banned_root_above_the_groups_ca_keeps_a_device_off_the_hub_that_shows_its_leaf_alone() {
    let stage = Stage::new().await;
    let root = Ca::root("root");
    let line = root.intermediate("line");
    let press = line.leaf(DEVICE);
    group_of(&stage, &line).await;
    register(&stage, alone(&press)).await.unwrap();
    let session = connect(&stage, alone(&press)).await.unwrap();
    // Of the same name, with another key: the group's certificate tells whose signature it bears.
    ban(&stage, certificate(&Ca::root("root"))).await;
    assert!(has_ended(&session).await, "by its name");
    let session = connect(&stage, alone(&press)).await.unwrap();
    ban(&stage, certificate(&root)).await;
    assert!(has_ended(&session).await);
    assert!(register(&stage, alone(&press)).await.is_err());
    assert!(is_kept_off(&stage, alone(&press)).await);
}

/// What leads up to the banned CA was enrolled after the device registered.
#[tokio::test]
async fn a_banned_root_is_found_through_cas_that_were_enrolled_since() {
    let stage = Stage::new().await;
    let root = Ca::root("root");
    let works = root.intermediate("works");
    let line = works.intermediate("line");
    let press = line.leaf(DEVICE);
    group_of(&stage, &line).await;
    register(&stage, alone(&press)).await.unwrap();
    ban(&stage, certificate(&root)).await;
    drop(connect(&stage, alone(&press)).await.unwrap());
    let of_works = draft(signing(Some(works.der()), None));
    put_group(&stage, "works", of_works, Precondition::None).await;
    assert!(is_kept_off(&stage, alone(&press)).await);
    assert!(register(&stage, alone(&press)).await.is_err());
}

/// An operator made the identity; no registration tells what is above its leaf.
#[tokio::test]
async fn an_identity_made_by_hand_is_kept_off_by_a_root_above_a_groups_ca() {
    let stage = Stage::new().await;
    let root = Ca::root("root");
    let line = root.intermediate("line");
    let press = line.leaf(DEVICE);
    group_of(&stage, &line).await;
    let mut identity = keyed(DEVICE, 1);
    let leaf = attest::certificate::describe(press.der()).unwrap();
    identity.authentication = Some(AuthenticationDraft {
        kind: Some(AuthenticationKind::SelfSigned),
        primary_key: None,
        secondary_key: None,
        primary_thumbprint: Some(leaf.info.sha256_thumbprint),
        secondary_thumbprint: None,
    });
    stage.put(identity, Precondition::None).await.unwrap();
    drop(connect(&stage, alone(&press)).await.unwrap());
    ban(&stage, certificate(&root)).await;
    assert!(is_kept_off(&stage, alone(&press)).await);
}

/// The name of the banned CA is on another certificate that the device shows as well.
#[tokio::test]
async fn a_namesake_that_a_device_shows_does_not_keep_its_session() {
    let stage = Stage::new().await;
    let root = Ca::root("root");
    let line = root.intermediate("line");
    let press = line.leaf(DEVICE);
    put_ca(&stage, &line, Some(true)).await;
    stage.put(by_ca(DEVICE), Precondition::None).await.unwrap();
    let mut shown = press.chain();
    shown.extend(Ca::root("root").leaf("x").chain_with_root().pop());
    let session = connect(&stage, Evidence::X509(shown)).await.unwrap();
    ban(&stage, certificate(&root)).await;
    assert!(has_ended(&session).await);
}

/// What is banned is known by what the registration kept alone.
#[tokio::test]
async fn deleting_the_record_of_a_banned_tpm_does_not_let_it_back_to_its_hub() {
    let stage = Stage::with_device(DEVICE).await;
    let record = RegistrationRecord {
        registration_id: registration(DEVICE),
        created: NOW,
        last_updated: NOW,
        status: RegistrationStatus::Assigned,
        assignment: Some(Assignment {
            hub: stage.hub.clone(),
            device_id: id(DEVICE),
            substatus: Substatus::InitialAssignment,
            initial_hub: stage.hub.clone(),
        }),
        pending: None,
        failure: None,
        payload: None,
        wrapped_hub_key: None,
        etag: Etag::from_random([0; 16]),
        enrollment: EnrollmentRef::Individual(registration(DEVICE)),
        mechanism: AttestationKind::Tpm,
        operations: Vec::new(),
        version: 0,
    };
    let grounds = Grounds {
        proof: KnownProof::Tpm {
            endorsement_key: vec![7; 316],
            storage_root_key: vec![8; 316],
            endorsement_certificates: Vec::new(),
        },
        path: Vec::new(),
    };
    let set = ChangeSet::new()
        .with(Change::PutRecord(Box::new(record)))
        .with(Change::PutGrounds(registration(DEVICE), Box::new(grounds)));
    stage.store.commit(set).await.unwrap();
    drop(stage.connect(DEVICE, 1).await.unwrap());
    let delete = async || {
        let none = Precondition::None;
        stage.app.delete_record(&registration(DEVICE), &none, &by()).await.unwrap();
    };
    delete().await;
    drop(stage.connect(DEVICE, 1).await.unwrap());
    ban(&stage, SubjectDraft::EndorsementKey(vec![7; 316])).await;
    assert!(stage.connect(DEVICE, 1).await.is_err());
}

/// The anchors of the enrollment are held against the path, which the record's deletion leaves.
#[tokio::test]
async fn deleting_the_record_does_not_make_the_path_forgotten_that_a_group_no_longer_admits() {
    let stage = Stage::new().await;
    let line = Ca::root("line");
    let press = line.leaf(DEVICE);
    group_of(&stage, &line).await;
    service_ends_sessions(&stage).await;
    register(&stage, alone(&press)).await.unwrap();
    let none = Precondition::None;
    stage.app.delete_record(&registration(DEVICE), &none, &by()).await.unwrap();
    let session = connect(&stage, alone(&press)).await.unwrap();
    let other = draft(signing(Some(Ca::root("other").der()), None));
    put_group(&stage, "line-4", other, Precondition::Any).await;
    assert!(has_ended(&session).await);
    assert!(is_kept_off(&stage, alone(&press)).await);
}

/// The chain is the operator's; the device shows none.
#[tokio::test]
async fn a_banned_or_revoked_certificate_that_an_enrollment_keeps_keeps_its_tpm_out() {
    for is_banned in [true, false] {
        let stage = Stage::new().await;
        let tpm = SoftTpm::from_fixture();
        let root = Ca::root("root");
        let between = root.intermediate("between");
        let chain = tpm.endorsement_chain(&between);
        let endorsement = EndorsementDraft::Demand {
            roots: slots(Some(root.der()), None),
            certificates: chain.clone(),
        };
        let by_tpm = AttestationDraft::Tpm(TpmDraft {
            endorsement_key: tpm.endorsement_key(),
            storage_root_key: None,
            endorsement,
        });
        enroll(&stage, DEVICE, draft(by_tpm), None).await;
        let challenge = async || {
            let shows = RegisterRequest {
                registration_id: registration(DEVICE),
                evidence: Evidence::Tpm(tpm_keys(&tpm, Vec::new())),
                payload: None,
                api_version: ApiVersion::V2021_06_01,
            };
            stage.app.challenge_tpm(SCOPE, shows).await
        };
        // One that was challenged before is refused with its answer.
        let mut waiting = tpm.clone();
        waiting.activate(&challenge().await.unwrap()).unwrap();
        if is_banned {
            ban(&stage, certificate(&between)).await;
        } else {
            put_ca(&stage, &between, None).await;
            let serial = attest::certificate::describe(&chain[0].0).unwrap().info.serial_number;
            let mut list = Revocations::number(1);
            let byte = |at: usize| u8::from_str_radix(&serial[at..at + 2], 16).unwrap();
            list.serials.push((0..serial.len()).step_by(2).map(byte).collect());
            stage.app.import_crl(between.revocation_list(&list), &by()).await.unwrap();
        }
        assert!(challenge().await.is_err(), "{is_banned}");
        let answer = Evidence::Sas(tpm_token(&waiting, DEVICE));
        assert!(register(&stage, answer).await.is_err(), "{is_banned}");
    }
}

/// What a worker sees of an assignment that is under way.
#[tokio::test]
async fn a_pending_assignment_sees_the_ban_on_a_root_above_the_groups_ca() {
    let stage = Stage::new().await;
    let root = Ca::root("root");
    let line = root.intermediate("line");
    group_of(&stage, &line).await;
    register(&stage, alone(&line.leaf(DEVICE))).await.unwrap();
    ban(&stage, certificate(&root)).await;
    let facts = stage.store.pending_facts(&registration(DEVICE)).await.unwrap();
    let root = attest::certificate::thumbprint_sha256(root.der());
    let rests_on = &facts.grounds.as_ref().unwrap().path;
    assert!(rests_on.iter().all(|one| one.sha256 != root));
    assert_eq!((facts.bans.len(), facts.known_cas.len()), (1, 1));
}

/// The record is written, and the device does not wait for the answer.
#[tokio::test]
async fn a_session_learns_what_it_rests_on_when_nobody_waits_for_the_registration() {
    for hangs_up in [None, Some(At::Queued), Some(At::Written)] {
        let stage = Stage::new().await;
        let line = Ca::root("line");
        let press = line.leaf(DEVICE);
        group_of(&stage, &line).await;
        service_ends_sessions(&stage).await;
        register(&stage, alone(&press)).await.unwrap();
        let session = connect(&stage, alone(&press)).await.unwrap();
        enroll(&stage, DEVICE, draft(client(Some(press.der()), None)), None).await;
        if let Some(at) = hangs_up {
            let is_record = |change: &Change| matches!(change, Change::PutRecord(_));
            let mut held = stage.store.hold(at, is_record);
            {
                let mut registering = std::pin::pin!(register(&stage, alone(&press)));
                tokio::select! {
                    biased;
                    () = held.reached() => {}
                    _ = &mut registering => panic!("held up"),
                }
            }
            held.release();
            stage.app.departure().await;
            stage.app.see_off().await;
        } else {
            register(&stage, alone(&press)).await.unwrap();
        }
        assert!(!has_ended(&session).await, "{hangs_up:?}");
        let none = Precondition::None;
        stage.app.delete_individual(&registration(DEVICE), &none, &by()).await.unwrap();
        assert!(has_ended(&session).await, "{hangs_up:?}");
    }
}

/// It is excluded by a disabled enrollment of its own, which says nothing of sessions itself.
#[tokio::test]
async fn an_excluded_device_that_registers_and_hears_disabled_loses_its_session() {
    for by_service in [true, false] {
        let stage = Stage::new().await;
        let line = Ca::root("line");
        let press = line.leaf(DEVICE);
        group_of(&stage, &line).await;
        match by_service {
            true => service_ends_sessions(&stage).await,
            false => group_ends_sessions(&stage).await,
        }
        register(&stage, alone(&press)).await.unwrap();
        let session = connect(&stage, alone(&press)).await.unwrap();
        let other = Ca::root("x").leaf(DEVICE);
        for shut in [client(Some(press.der()), None), keys(&key(1), &key(2))] {
            enroll(&stage, DEVICE, disabled(draft(shut)), None).await;
            let status = register(&stage, alone(&press)).await.unwrap();
            assert_eq!(status, RegistrationStatus::Disabled);
            assert!(has_ended(&session).await, "{by_service}");
            assert!(is_kept_off(&stage, alone(&press)).await, "{by_service}");
        }
        // Enabled again it comes back, and goes with its enrollment as with the group before.
        enroll(&stage, DEVICE, draft(client(Some(press.der()), None)), None).await;
        let session = connect(&stage, alone(&press)).await.unwrap();
        enroll(&stage, DEVICE, draft(client(Some(other.der()), None)), None).await;
        assert!(has_ended(&session).await, "{by_service}");
    }
}

/// The setting is off: nobody loses anything, and a ban counts all the same.
#[tokio::test]
async fn a_session_goes_on_with_what_its_device_was_registered_by_last() {
    let stage = Stage::new().await;
    let root = Ca::root("root");
    let line = root.intermediate("line");
    let (old, new) = (Ca::root("old").leaf(DEVICE), line.leaf(DEVICE));
    enroll(&stage, DEVICE, draft(client(Some(old.der()), Some(new.der()))), None).await;
    register(&stage, alone(&old)).await.unwrap();
    let session = connect(&stage, alone(&old)).await.unwrap();
    register(&stage, alone(&new)).await.unwrap();
    assert!(!has_ended(&session).await);
    ban(&stage, SubjectDraft::Certificate(new.der().to_vec())).await;
    assert!(has_ended(&session).await);
}

/// A ban that is set while a device registers, and connects, is no ban that was set before.
#[tokio::test]
async fn a_ban_that_is_over_ends_no_session() {
    let stage = Stage::new().await;
    let line = Ca::root("line");
    let press = line.leaf(DEVICE);
    group_of(&stage, &line).await;
    let subject = SubjectDraft::Registration(registration(DEVICE));
    ban_until(&stage, subject, Some(NOW.plus_secs(10))).await;
    stage.clock.advance(60);
    register(&stage, alone(&press)).await.unwrap();
    let session = connect(&stage, alone(&press)).await.unwrap();
    register(&stage, alone(&press)).await.unwrap();
    assert!(!has_ended(&session).await);
}

/// Two enrollments give one device ID; the banned one's record is the older one.
#[tokio::test]
async fn a_banned_registration_is_kept_off_the_hub_whoever_else_has_its_device_id() {
    let stage = Stage::new().await;
    let by = |seed| draft(keys(&key(seed), &key(seed)));
    enroll(&stage, "reg-1", by(1), Some("shared")).await;
    enroll(&stage, "reg-2", by(2), Some("shared")).await;
    let register = async |id: &'static str, seed| {
        register_as(&stage, id, token(id, &key(seed))).await.unwrap()
    };
    register("reg-1", 1).await;
    register("reg-2", 2).await;
    enroll(&stage, "reg-1", disabled(by(1)), Some("shared")).await;
    stage.clock.advance(5);
    register("reg-1", 1).await;
    let (session, _commands) = stage.connect("shared", 2).await.unwrap();
    ban(&stage, SubjectDraft::Registration(registration("reg-2"))).await;
    assert!(has_ended(&session).await);
    assert!(stage.connect("shared", 2).await.is_err());
}

/// Its certificate is what it logs in with; no enrollment is behind it, and no setting is asked.
#[tokio::test]
async fn a_session_by_a_ca_ends_when_its_certificate_is_revoked() {
    let stage = Stage::new().await;
    let line = Ca::root("line");
    let (press, other) = (line.leaf(DEVICE), line.leaf("press-18"));
    put_ca(&stage, &line, Some(true)).await;
    stage.put(by_ca(DEVICE), Precondition::None).await.unwrap();
    let session = connect(&stage, alone(&press)).await.unwrap();
    let list = Revocations::number(1).with(&other);
    stage.app.import_crl(line.revocation_list(&list), &by()).await.unwrap();
    assert!(!has_ended(&session).await);
    let list = Revocations::number(2).with(&other).with(&press);
    stage.app.import_crl(line.revocation_list(&list), &by()).await.unwrap();
    assert!(has_ended(&session).await);
    assert!(is_kept_off(&stage, alone(&press)).await);
}

/// What a device may be decided from is written between its facts and its place.
#[tokio::test]
async fn whatever_changes_while_a_device_connects_counts() {
    for deed in 0..4 {
        let stage = Stage::new().await;
        let line = Ca::root("line");
        let press = line.leaf(DEVICE);
        group_of(&stage, &line).await;
        register(&stage, alone(&press)).await.unwrap();
        let mut held = stage.store.hold(At::FactsRead, |_| true);
        let connecting = stage.connecting(DEVICE, alone(&press), Earlier::Forgotten);
        let app = stage.app.clone();
        let task = tokio::spawn(async move { app.connect_device(connecting).await });
        held.reached().await;
        match deed {
            0 => {
                group_ends_sessions(&stage).await;
                let shut = disabled(draft(signing(Some(line.der()), None)));
                put_group(&stage, "line-4", shut, Precondition::Any).await;
            }
            1 => {
                group_ends_sessions(&stage).await;
                stage.app.delete_group(&line_4(), &Precondition::Any, &by()).await.unwrap();
            }
            2 => {
                service_ends_sessions(&stage).await;
                let other = draft(signing(Some(Ca::root("other").der()), None));
                put_group(&stage, "line-4", other, Precondition::Any).await;
            }
            _ => {
                group_ends_sessions(&stage).await;
                let shut = disabled(draft(client(Some(press.der()), None)));
                enroll(&stage, DEVICE, shut, None).await;
                register(&stage, alone(&press)).await.unwrap();
            }
        }
        held.release();
        assert!(task.await.unwrap().is_err(), "{deed}");
    }
}

async fn put_ca(stage: &Stage, ca: &Ca, verified: Option<bool>) {
    let ca = CaDraft { name: "works".to_owned(), der: ca.der().to_vec(), verified };
    stage.app.put_ca_certificate(&ca, &Precondition::None, &by()).await.unwrap();
}

/// An identity that logs in by a CA.
fn by_ca(device: &str) -> IdentityDraft {
    let authentication = AuthenticationDraft {
        kind: Some(AuthenticationKind::CertificateAuthority),
        primary_key: None,
        secondary_key: None,
        primary_thumbprint: None,
        secondary_thumbprint: None,
    };
    IdentityDraft { authentication: Some(authentication), ..keyed(device, 1) }
}
