//! Revocation lists, from an operator's hand and from URLs: who is refused, whose session ends, and
//! what becomes of lists that are old, forged, late or lost halfway.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use decide::scenes::{client, draft, signing};
use induct_app::{
    App, No,
    bans::Wet,
    crls::{DEFAULT_EVERY_SECS, Imported, SourceDraft},
    device::Earlier,
    live::End,
    ports::{CrlAnswer, CrlFetcher},
    service::SettingsDraft,
};
use model::{
    ApiVersion, AttestFailure, AuditFilter, Change, ConnectRefusal, Crl, DeviceRefusal,
    EnrollmentGroupId, Evidence, GroupDraft, GroupSettings, IndividualDraft, OperatorRefusal,
    Precondition, RegisterRequest, RegistrationId, RegistrationStatus, RevokedStep, StaleCrl,
};
use store::Store as _;
use testkit::{Ca, NOW, Revocations, certificates::Credential};

use crate::{
    gated::At,
    instance::{SCOPE, by},
    stage::{Connected, Stage, at_once},
};

const DEVICE: &str = "press-17";
const GROUP: &str = "line-4";
const URL: &str = "https://crl.example/line-4.crl";

/// A URL that answers from a list, and then not at all; it remembers with which entity tags it was
/// asked.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<CrlAnswer>>>,
    asked: Arc<Mutex<Vec<Option<String>>>>,
}

#[async_trait]
impl CrlFetcher for Script {
    fn may_ask(&self, url: &str) -> Result<(), String> {
        if url.starts_with("https:") { Ok(()) } else { Err("not allowed here".to_owned()) }
    }

    async fn fetch(&self, _url: &str, entity_tag: Option<&str>) -> CrlAnswer {
        self.asked.lock().unwrap().push(entity_tag.map(str::to_owned));
        let answer = self.answers.lock().unwrap().pop_front();
        answer.unwrap_or_else(|| CrlAnswer::Failed("it cannot be reached".to_owned()))
    }
}

/// A stage with a root, a line's CA that is a group, and a device of it.
struct Scene {
    stage: Stage,
    app: App,
    url: Script,
    root: Ca,
    line: Ca,
    press: Credential,
}

impl Scene {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let url = Script::default();
        let app = stage.app.clone().with_crl_fetcher(url.clone());
        let root = Ca::root("root");
        let line = root.intermediate(GROUP);
        let press = line.leaf(DEVICE);
        let draft = GroupDraft { group_id: group(), draft: draft(signing(Some(line.der()), None)) };
        app.put_group(draft, &Precondition::None, &by()).await.unwrap();
        Self { stage, app, url, root, line, press }
    }

    async fn register(&self) -> Result<RegistrationStatus, No<DeviceRefusal>> {
        let request = RegisterRequest {
            registration_id: RegistrationId::parse(DEVICE).unwrap(),
            evidence: Evidence::X509(self.press.chain()),
            payload: None,
            api_version: ApiVersion::V2021_06_01,
        };
        self.app.register(SCOPE, request).await.map(|registered| registered.record.status)
    }

    /// The device registers, and is refused with a text that holds this, or it is admitted.
    async fn check(&self, expected: Result<(), &str>) {
        match (self.register().await, expected) {
            (Ok(status), Ok(())) => assert_eq!(status, RegistrationStatus::Assigned),
            (Err(No::Refused(refusal)), Err(text)) => {
                assert!(refusal.to_string().contains(text), "{refusal}");
            }
            (outcome, expected) => panic!("{outcome:?} is not {expected:?}"),
        }
    }

    async fn connect(&self) -> Result<Connected, No<ConnectRefusal>> {
        let evidence = Evidence::X509(self.press.chain());
        let connecting = self.stage.connecting(DEVICE, evidence, Earlier::Restored);
        self.app.connect_device(connecting).await
    }

    async fn import(&self, ca: &Ca, list: &Revocations) -> Result<Imported, OperatorRefusal> {
        match self.app.import_crl(ca.revocation_list(list), &by()).await {
            Ok(imported) => Ok(imported),
            Err(No::Refused(refusal)) => Err(refusal),
            Err(No::Fault(fault)) => panic!("{fault:?}"),
        }
    }

    /// The device's certificate is on a list of this number.
    async fn revoke(&self, number: u64) -> Imported {
        let list = Revocations::number(number).with(&self.press);
        self.import(&self.line, &list).await.unwrap()
    }

    async fn follow(&self) -> Crl {
        self.enroll_line().await;
        let draft = SourceDraft { url: URL.to_owned(), every_secs: DEFAULT_EVERY_SECS };
        self.app.follow_crl(GROUP, &draft, &Precondition::None, &by()).await.unwrap()
    }

    /// The line's CA in the service's store, where it has a name.
    async fn enroll_line(&self) {
        let draft = induct_app::ca_certificates::CaDraft {
            name: GROUP.to_owned(),
            der: self.line.der().to_vec(),
            verified: None,
        };
        self.app.put_ca_certificate(&draft, &Precondition::None, &by()).await.unwrap();
    }

    /// What the URL answers next: a list of the line's.
    fn offer(&self, list: &Revocations, entity_tag: Option<&str>) {
        let der = self.line.revocation_list(list);
        let entity_tag = entity_tag.map(str::to_owned);
        self.answer(CrlAnswer::List { der, entity_tag });
    }

    fn answer(&self, answer: CrlAnswer) {
        self.url.answers.lock().unwrap().push_back(answer);
    }

    async fn crl(&self) -> Crl {
        self.app.get_crl(GROUP).await.unwrap()
    }

    async fn set(&self, disenroll_ends_sessions: Option<bool>, stale_crl: Option<StaleCrl>) {
        let settings = GroupSettings { disenroll_ends_sessions, stale_crl };
        let any = Precondition::Any;
        self.app.put_group_settings(&group(), settings, &any, Wet::Done, &by()).await.unwrap();
    }
}

fn group() -> EnrollmentGroupId {
    EnrollmentGroupId::parse(GROUP).unwrap()
}

#[tokio::test]
async fn a_device_is_refused_from_the_moment_its_certificate_is_on_its_cas_list() {
    let scene = Scene::new().await;
    scene.check(Ok(())).await;
    let imported = scene.revoke(1).await;
    assert_eq!((imported.n_added, imported.n_removed), (1, 0));
    scene.check(Err("revoked by its issuer")).await;
    // Also by an entry of its own.
    let individual = IndividualDraft {
        registration_id: RegistrationId::parse(DEVICE).unwrap(),
        device_id: None,
        optional_device_information: None,
        draft: draft(client(Some(scene.press.der()), None)),
    };
    scene.app.put_individual(individual, &Precondition::None, &by()).await.unwrap();
    scene.check(Err("revoked by its issuer")).await;
    // A newer list without it: it was on hold only.
    let imported = scene.import(&scene.line, &Revocations::number(2)).await.unwrap();
    assert_eq!((imported.n_added, imported.n_removed), (0, 1));
    scene.check(Ok(())).await;
}

#[tokio::test]
async fn whoever_rests_on_a_revoked_intermediate_is_refused() {
    let scene = Scene::new().await;
    let list = Revocations::number(1).with(scene.line.as_credential());
    // Nobody here knows the root.
    let refused = scene.import(&scene.root, &list).await.unwrap_err();
    assert!(refused.to_string().contains("is not enrolled here"), "{refused}");
    scene.check(Ok(())).await;
    let root = induct_app::ca_certificates::CaDraft {
        name: "root".to_owned(),
        der: scene.root.der().to_vec(),
        verified: None,
    };
    scene.app.put_ca_certificate(&root, &Precondition::None, &by()).await.unwrap();
    scene.import(&scene.root, &list).await.unwrap();
    scene.check(Err("revoked by its issuer")).await;
    // The list goes on without the certificate in the store.
    scene.app.delete_ca_certificate("root", &Precondition::Any, &by()).await.unwrap();
    scene.check(Err("revoked by its issuer")).await;
    scene.import(&scene.root, &Revocations::number(2)).await.unwrap();
    scene.check(Ok(())).await;
}

#[tokio::test]
async fn a_list_of_a_namesake_or_an_older_one_changes_nothing() {
    let scene = Scene::new().await;
    scene.revoke(8).await;
    let check = async |ca: &Ca, list: &Revocations, text: &str| {
        let refused = scene.import(ca, list).await.unwrap_err();
        assert!(refused.to_string().contains(text), "{refused}");
        scene.check(Err("revoked by its issuer")).await;
    };
    let namesake = Ca::root(GROUP);
    check(&namesake, &Revocations::number(9), "did not sign it").await;
    check(&scene.line, &Revocations::number(7), "its number is 7").await;
    let earlier = Revocations { this_update: NOW.plus_secs(-90_000), ..Revocations::number(9) };
    check(&scene.line, &earlier, "made before that one").await;
    // Only who deletes the list first can go back.
    scene
        .app
        .delete_crl(&scene.app.list_crls().await.unwrap()[0].id(), &Precondition::None, &by())
        .await
        .unwrap();
    scene.check(Ok(())).await;
    scene.import(&scene.line, &Revocations::number(7)).await.unwrap();
}

#[tokio::test]
async fn a_list_that_is_out_of_date_refuses_the_devices_of_groups_that_want_it() {
    let scene = Scene::new().await;
    scene.import(&scene.line, &Revocations::number(1)).await.unwrap();
    scene.set(None, Some(StaleCrl::Refuse)).await;
    scene.check(Ok(())).await;
    scene.stage.clock.advance(7 * 86_400);
    let stale = "the revocation list of CN=line-4 is out of date";
    scene.check(Err(stale)).await;
    assert_eq!(scene.app.count_crls().await.unwrap(), (1, 1));
    for setting in [None, Some(StaleCrl::Admit)] {
        scene.set(None, setting).await;
        scene.check(Ok(())).await;
    }
    scene.set(None, Some(StaleCrl::Refuse)).await;
    let newer = Revocations {
        this_update: NOW.plus_secs(6 * 86_400),
        next_update: NOW.plus_secs(20 * 86_400),
        ..Revocations::number(2)
    };
    scene.import(&scene.line, &newer).await.unwrap();
    scene.check(Ok(())).await;
}

#[tokio::test]
async fn a_revocation_ends_live_sessions_where_disenrolling_does() {
    for (of_service, of_group, ends) in [
        (false, None, false),
        (true, None, true),
        (true, Some(false), false),
        (false, Some(true), true),
    ] {
        let scene = Scene::new().await;
        let draft =
            SettingsDraft { disenroll_ends_sessions: Some(of_service), ..SettingsDraft::default() };
        scene.app.update_service(&draft, &Precondition::None, false, &by()).await.unwrap();
        scene.set(of_group, None).await;
        scene.check(Ok(())).await;
        let (session, _commands) = scene.connect().await.unwrap();
        scene.revoke(1).await;
        let over = at_once(session.ended()).await;
        let what = (of_service, of_group);
        assert_eq!(matches!(over, Some(End::CutOff(_))), ends, "{what:?}: {over:?}");
        let again = scene.connect().await;
        match again {
            Err(No::Refused(ConnectRefusal::Disenrolled(why))) => {
                assert!(ends && why.contains("revoked by its issuer"), "{what:?}: {why}");
            }
            Ok(_) => assert!(!ends, "{what:?}"),
            Err(other) => panic!("{what:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_revocation_that_comes_while_a_device_registers_wins() {
    let scene = Arc::new(Scene::new().await);
    let is_record = |change: &Change| matches!(change, Change::PutRecord(_));
    let mut held = scene.stage.store.hold(At::Asked, is_record);
    let registering = {
        let scene = Arc::clone(&scene);
        tokio::spawn(async move { scene.register().await })
    };
    held.reached().await;
    scene.revoke(1).await;
    held.release();
    let outcome = registering.await.unwrap();
    assert!(
        matches!(&outcome, Err(No::Refused(DeviceRefusal::NotAttested(AttestFailure::Revoked(_))))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_followed_list_is_fetched_when_it_is_due_and_only_then() {
    let scene = Scene::new().await;
    let crl = scene.follow().await;
    assert!(crl.list.is_none() && crl.is_stale(scene.app.now()));
    scene.offer(&Revocations::number(1).with(&scene.press), Some("\"1\""));
    assert_eq!(scene.app.fetch_due_crls().await.unwrap(), 1);
    scene.check(Err("revoked by its issuer")).await;
    assert_eq!(scene.app.fetch_due_crls().await.unwrap(), 0);

    scene.stage.clock.advance(i64::from(DEFAULT_EVERY_SECS) - 60);
    assert_eq!(scene.app.fetch_due_crls().await.unwrap(), 0);
    scene.stage.clock.advance(60);
    scene.answer(CrlAnswer::NotModified);
    assert_eq!(scene.app.fetch_due_crls().await.unwrap(), 1);
    let source = scene.crl().await.source.unwrap();
    assert_eq!((source.n_failures, source.last_error), (0, None));
    scene.check(Err("revoked by its issuer")).await;

    scene.stage.clock.advance(i64::from(DEFAULT_EVERY_SECS));
    scene.offer(&Revocations::number(2), Some("\"2\""));
    scene.app.fetch_due_crls().await.unwrap();
    scene.check(Ok(())).await;
    let asked = scene.url.asked.lock().unwrap().clone();
    assert_eq!(asked, [None, Some("\"1\"".to_owned()), Some("\"1\"".to_owned())]);
    // The log says who brought them.
    let filter = AuditFilter { action: Some("crl.".to_owned()), ..AuditFilter::default() };
    let lines = scene.app.list_audit(&filter, None, 10).await.unwrap();
    let told: Vec<(&str, &str)> =
        lines.iter().map(|l| (l.entry.action.as_str(), l.entry.by.policy.as_str())).collect();
    assert_eq!(told, [("crl.follow", "ana"), ("crl.fetch", "induct"), ("crl.fetch", "induct")]);
}

#[tokio::test]
async fn what_a_url_answers_wrongly_leaves_the_list_that_counts_and_is_asked_again_later() {
    let scene = Scene::new().await;
    scene.follow().await;
    scene.offer(&Revocations::number(8).with(&scene.press), None);
    scene.app.fetch_due_crls().await.unwrap();
    let list = scene.crl().await.list;
    let namesake = Ca::root(GROUP).revocation_list(&Revocations::number(9));
    let whole = scene.line.revocation_list(&Revocations::number(9));
    let cut = whole[..whole.len() / 2].to_vec();
    let lists = |der: Vec<u8>| CrlAnswer::List { der, entity_tag: Some("\"9\"".to_owned()) };
    let older = scene.line.revocation_list(&Revocations::number(7));
    let answers = [
        (lists(older), "older than the list that counts"),
        (lists(namesake), "did not sign it"),
        (lists(cut), "not a DER revocation list"),
        (CrlAnswer::Failed("it answered 503".to_owned()), "503"),
        (CrlAnswer::NotModified, "was not asked"),
    ];
    scene.stage.clock.advance(i64::from(DEFAULT_EVERY_SECS));
    for (n, (answer, text)) in (1..).zip(answers) {
        scene.answer(answer);
        assert_eq!(scene.app.fetch_due_crls().await.unwrap(), 1);
        let crl = scene.crl().await;
        assert_eq!(crl.list, list);
        let source = crl.source.unwrap();
        assert!(source.last_error.as_deref().unwrap().contains(text), "{source:?}");
        assert_eq!((source.n_failures, source.entity_tag), (n, None));
        scene.check(Err("revoked by its issuer")).await;
        // A minute the first time, then twice as long each time.
        let wait = 60 << (n - 1);
        scene.stage.clock.advance(wait - 1);
        assert_eq!(scene.app.fetch_due_crls().await.unwrap(), 0);
        scene.stage.clock.advance(1);
    }
    // An operator need not wait.
    scene.offer(&Revocations::number(9), None);
    let fetched = scene.app.fetch_crl(GROUP).await.unwrap();
    assert_eq!((fetched.n_added, fetched.n_removed), (0, 1));
    assert_eq!(fetched.crl.source.unwrap().n_failures, 0);
    scene.check(Ok(())).await;
}

#[tokio::test]
async fn what_is_lost_between_fetching_and_writing_is_fetched_again() {
    let scene = Scene::new().await;
    let before = scene.follow().await;
    scene.offer(&Revocations::number(1).with(&scene.press), Some("\"1\""));
    scene.stage.store.fail(1);
    assert_eq!(scene.app.fetch_due_crls().await.unwrap(), 1);
    let after = scene.crl().await;
    assert_eq!((after.list, after.source), (None, before.source));
    scene.check(Ok(())).await;
    // It is due still, and asked without an entity tag that nothing stands behind.
    scene.offer(&Revocations::number(1).with(&scene.press), Some("\"1\""));
    assert_eq!(scene.app.fetch_due_crls().await.unwrap(), 1);
    assert_eq!(*scene.url.asked.lock().unwrap(), [None, None]);
    scene.check(Err("revoked by its issuer")).await;
}

#[tokio::test]
async fn an_import_while_a_list_is_fetched_is_not_undone() {
    let scene = Arc::new(Scene::new().await);
    scene.follow().await;
    scene.offer(&Revocations::number(1), None);
    let is_list = |change: &Change| matches!(change, Change::PutCrl(_));
    let mut held = scene.stage.store.hold(At::Asked, is_list);
    let fetching = {
        let scene = Arc::clone(&scene);
        tokio::spawn(async move { scene.app.fetch_due_crls().await })
    };
    held.reached().await;
    scene.revoke(2).await;
    held.release();
    fetching.await.unwrap().unwrap();
    let crl = scene.crl().await;
    assert_eq!(crl.list.unwrap().number.unwrap().to_hex(), "2");
    assert!(crl.source.unwrap().last_error.unwrap().contains("older"));
    scene.check(Err("revoked by its issuer")).await;
}

#[tokio::test]
async fn the_alarm_of_a_list_sounds_once_a_day_while_it_is_out_of_date() {
    let scene = Scene::new().await;
    let sounded = async || scene.app.sound_crl_alarms().await.unwrap();
    assert_eq!(sounded().await, 0);
    scene.import(&scene.line, &Revocations::number(1)).await.unwrap();
    assert_eq!(sounded().await, 0);
    scene.stage.clock.advance(7 * 86_400);
    assert_eq!((sounded().await, sounded().await), (1, 0));
    scene.stage.clock.advance(86_390);
    assert_eq!(sounded().await, 0);
    scene.stage.clock.advance(20);
    assert_eq!(sounded().await, 1);
    let newer = Revocations {
        this_update: NOW.plus_secs(8 * 86_400),
        next_update: NOW.plus_secs(9 * 86_400),
        ..Revocations::number(2)
    };
    scene.import(&scene.line, &newer).await.unwrap();
    assert_eq!(sounded().await, 0);
    scene.stage.clock.advance(2 * 86_400);
    assert_eq!(sounded().await, 1);
}

#[tokio::test]
async fn a_ca_is_named_by_its_id_or_by_its_certificate_in_the_store() {
    let scene = Scene::new().await;
    let draft = SourceDraft { url: URL.to_owned(), every_secs: 60 };
    let follow = async |ca: &str| {
        scene.app.follow_crl(ca, &draft, &Precondition::None, &by()).await.map(|crl| crl.id())
    };
    assert!(matches!(
        follow("line-4").await,
        Err(No::Refused(OperatorRefusal::CaCertificateNotFound(_)))
    ));
    // A group's CA has no name, but an id.
    let known = attest::certificate::describe(scene.line.der()).unwrap();
    let id = model::crl::crl_id(&known.keys.subject_and_key);
    assert_eq!(follow(&id).await.unwrap(), id);
    let stranger = model::crl::crl_id(&[7; 32]);
    assert!(follow(&stranger).await.is_err());
    scene.enroll_line().await;
    assert_eq!(scene.crl().await.id(), id);
    assert_eq!(scene.app.get_crl(&id.to_uppercase()).await.unwrap().id(), id);
    let missing = scene.app.get_crl(&stranger).await;
    assert!(matches!(missing, Err(No::Refused(OperatorRefusal::CrlNotFound(_)))));
    let plain = SourceDraft { url: "http://crl.example/".to_owned(), every_secs: 60 };
    let refused = scene.app.follow_crl(GROUP, &plain, &Precondition::Any, &by()).await;
    assert!(matches!(refused, Err(No::Refused(OperatorRefusal::BadRequest(_)))), "{refused:?}");

    scene.app.unfollow_crl(GROUP, &Precondition::Any, &by()).await.unwrap();
    assert!(scene.app.get_crl(&id).await.is_err(), "nothing ever came");
}

#[tokio::test]
async fn a_hub_lets_no_device_in_by_a_certificate_that_its_ca_revoked() {
    let scene = Scene::new().await;
    let proven = induct_app::ca_certificates::CaDraft {
        name: GROUP.to_owned(),
        der: scene.line.der().to_vec(),
        verified: Some(true),
    };
    scene.app.put_ca_certificate(&proven, &Precondition::None, &by()).await.unwrap();
    let draft = model::IdentityDraft {
        authentication: Some(model::AuthenticationDraft {
            kind: Some(model::AuthenticationKind::CertificateAuthority),
            primary_key: None,
            secondary_key: None,
            primary_thumbprint: None,
            secondary_thumbprint: None,
        }),
        ..crate::stage::keyed(DEVICE, 1)
    };
    scene.stage.put(draft, Precondition::None).await.unwrap();
    drop(scene.connect().await.unwrap());
    scene.revoke(1).await;
    let refused = scene.connect().await.map(drop);
    assert!(
        matches!(
            &refused,
            Err(No::Refused(ConnectRefusal::NotAttested(AttestFailure::Revoked(_))))
        ),
        "{refused:?}"
    );
}

/// What answers are kept with, and what commits are held against.
async fn marks(scene: &Scene) -> (store::Mark, model::Version) {
    let id = RegistrationId::parse(DEVICE).unwrap();
    let request = RegisterRequest {
        registration_id: id.clone(),
        evidence: Evidence::Nothing,
        payload: None,
        api_version: ApiVersion::V2021_06_01,
    };
    let prepared =
        decide::register::Prepared::new(request, &attest::chain::Limits::default()).unwrap();
    let facts = scene.stage.store.register_facts(prepared.query()).await.unwrap();
    (scene.stage.store.marks().of(&id), facts.bans_version)
}

#[tokio::test]
async fn a_fetch_that_brings_nothing_new_has_nobody_decided_about_anew() {
    let scene = Scene::new().await;
    scene.follow().await;
    let list = scene.line.revocation_list(&Revocations::number(1));
    let same = |tag: &str| CrlAnswer::List { der: list.clone(), entity_tag: Some(tag.to_owned()) };
    scene.answer(same("\"1\""));
    scene.app.fetch_crl(GROUP).await.unwrap();
    let before = marks(&scene).await;
    scene.answer(CrlAnswer::NotModified);
    scene.answer(same("\"2\""));
    scene.answer(CrlAnswer::Failed("it cannot be reached".to_owned()));
    for (n_failures, tag) in [(0, "\"1\""), (0, "\"2\""), (1, "\"2\"")] {
        let asked = scene.crl().await.version;
        scene.app.fetch_crl(GROUP).await.unwrap();
        let crl = scene.crl().await;
        assert!(crl.version > asked, "what came of it is written");
        let source = crl.source.unwrap();
        assert_eq!((source.n_failures, source.entity_tag.as_deref()), (n_failures, Some(tag)));
        assert_eq!(marks(&scene).await, before);
    }
    scene.offer(&Revocations::number(2), None);
    scene.app.fetch_crl(GROUP).await.unwrap();
    let after = marks(&scene).await;
    assert!(after.0 != before.0 && after.1 > before.1, "a newer list");
}

/// As many serial numbers as are written in three parts, the device's among them.
fn many(scene: &Scene, number: u64, n: u32) -> Revocations {
    let mut list = Revocations::number(number).with(&scene.press);
    list.serials.extend((0..n).map(|n| [&[0x7F], &n.to_be_bytes()[..]].concat()));
    list
}

#[tokio::test]
async fn a_large_list_is_written_in_parts_and_counts_as_a_whole() {
    let scene = Scene::new().await;
    scene.set(Some(true), None).await;
    scene.check(Ok(())).await;
    let (session, _commands) = scene.connect().await.unwrap();
    let before = marks(&scene).await;
    // The second part is lost.
    scene.stage.store.fail_after(2, false);
    let list = many(&scene, 1, 24_999);
    let der = scene.line.revocation_list(&list);
    assert!(scene.app.import_crl(der.clone(), &by()).await.is_err());
    let id = model::crl::crl_id(
        &attest::certificate::describe(scene.line.der()).unwrap().keys.subject_and_key,
    );
    assert_eq!(scene.app.get_crl(&id).await.unwrap().list, None, "no list counts yet");
    // Whatever is there of it, the next attempt adds the rest, and all hear of all.
    let imported = scene.app.import_crl(der, &by()).await.unwrap();
    assert_eq!(imported.n_added, 15_000);
    assert_eq!(imported.crl.list.as_ref().map(|list| list.n_revoked), Some(25_000));
    assert!(at_once(session.ended()).await.is_some(), "its session ends");
    scene.check(Err("revoked by its issuer")).await;
    assert!(marks(&scene).await.1 > before.1);
    // A small one that takes its place.
    let imported = scene.import(&scene.line, &Revocations::number(2)).await.unwrap();
    assert_eq!((imported.n_added, imported.n_removed), (0, 25_000));
    scene.check(Ok(())).await;
}

#[tokio::test]
async fn a_part_of_a_list_has_nobody_decided_about_anew() {
    let scene = Scene::new().await;
    let list = many(&scene, 1, 10_000);
    let der = scene.line.revocation_list(&list);
    let is_part = |change: &Change| matches!(change, Change::ChangeRevoked(change) if change.step == RevokedStep::Part);
    let is_last = |change: &Change| matches!(change, Change::ChangeRevoked(change) if change.step == RevokedStep::Last);
    let mut first = scene.stage.store.hold(At::Asked, is_part);
    let app = scene.app.clone();
    let importing = tokio::spawn(async move { app.import_crl(der, &by()).await });
    first.reached().await;
    let before = marks(&scene).await;
    let mut last = scene.stage.store.hold(At::Asked, is_last);
    first.release();
    last.reached().await;
    assert_eq!(marks(&scene).await, before);
    last.release();
    assert_eq!(importing.await.unwrap().unwrap().n_added, 10_001);
    let after = marks(&scene).await;
    assert!(after.0 != before.0 && after.1 > before.1);
}
