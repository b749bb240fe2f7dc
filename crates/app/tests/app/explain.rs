//! Explanations: what is said would become of a device is what becomes of it, and saying so writes
//! nothing.

use std::{
    net::IpAddr,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use decide::{
    explain::Verdict,
    scenes::{by_tpm, client, draft, issuers, keys, name, signing, tpm_keys, tpm_token},
};
use induct_app::{App, No, bans::Wet, enrollments::GroupShape, explain::Explained, visits::Visit};
use model::{
    ApiVersion, AttemptFilter, AttemptOutcome, AttestFailure, AttestationDraft, CertificateDer,
    DeviceRefusal, Door, EnrollmentGroupId, EnrollmentRef, Evidence, GroupDraft, IndividualDraft,
    OperatorRefusal, Precondition, ProvisioningStatus, Question, RegisterRequest, RegistrationId,
    Sent, Shows, SymmetricKey, TpmKeys,
    ban::{BanDraft, SubjectDraft, registration_key},
};
use proptest::prelude::*;
use store::Store;
use testkit::{Ca, ClientStyle, DeviceToken, NOW, Profile, SoftTpm, certificates::Credential};

use crate::{
    instance::{SCOPE, by, hub_name},
    stage::{Stage, id as device_id},
};

const DEVICE: &str = "Press-17";

/// CAs, leaves and a TPM: made once, because that takes longest.
struct Papers {
    maker: Ca,
    own: Credential,
    stranger: Credential,
    tpm: SoftTpm,
    endorsed: Vec<CertificateDer>,
}

fn papers() -> &'static Papers {
    static PAPERS: OnceLock<Papers> = OnceLock::new();
    PAPERS.get_or_init(|| {
        let (maker, stranger) = (Ca::root("maker"), Ca::root("stranger"));
        let tpm = SoftTpm::from_fixture();
        Papers {
            own: maker.leaf(DEVICE),
            stranger: stranger.leaf(DEVICE),
            endorsed: tpm.endorsement_chain(&maker),
            tpm,
            maker,
        }
    })
}

fn id(text: &str) -> RegistrationId {
    RegistrationId::parse(text).unwrap()
}

fn derived(seed: u8) -> SymmetricKey {
    testkit::sas::derive_device_key(&name::key(seed), DEVICE)
}

/// What a device shows.
#[derive(Debug, Clone, Copy)]
enum Shown {
    OwnKey,
    GroupKey,
    WrongKey,
    Leaf,
    StrangersLeaf,
    Tpm,
    EndorsedTpm,
}

impl Shown {
    fn as_told(self) -> Shows {
        let papers = papers();
        match self {
            Self::OwnKey => Shows::Key(name::key(4)),
            Self::GroupKey => Shows::Key(derived(1)),
            Self::WrongKey => Shows::Key(name::key(9)),
            Self::Leaf => Shows::Certificates(papers.own.chain()),
            Self::StrangersLeaf => Shows::Certificates(papers.stranger.chain()),
            Self::Tpm => Shows::Tpm(tpm_keys(&papers.tpm, Vec::new())),
            Self::EndorsedTpm => Shows::Tpm(tpm_keys(&papers.tpm, papers.endorsed.clone())),
        }
    }
}

fn token(key: &SymmetricKey) -> Evidence {
    token_of(DEVICE, key)
}

fn token_of(registration_id: &str, key: &SymmetricKey) -> Evidence {
    let token = DeviceToken {
        style: ClientStyle::Python,
        id_scope: SCOPE,
        registration_id,
        key,
        expiry_unix_secs: NOW.unix_secs() + 3600,
    };
    Evidence::Sas(token.parsed())
}

/// The device at the door, as it is in life; gives the tracking ID of the last answer.
async fn ask(app: &App, shown: Shown) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let next = || format!("t-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let request = |evidence| RegisterRequest {
        registration_id: id(DEVICE),
        evidence,
        payload: None,
        api_version: ApiVersion::V2021_06_01,
    };
    let address = IpAddr::from([192, 0, 2, 7]);
    let tracking_id = next();
    let visit = Visit { tracking_id: &tracking_id, door: Door::Https, address };
    let keys: TpmKeys = match shown.as_told() {
        Shows::Key(key) => {
            let _ = app.register_from(&visit, SCOPE, request(token(&key))).await;
            return tracking_id;
        }
        Shows::Certificates(chain) => {
            let _ = app.register_from(&visit, SCOPE, request(Evidence::X509(chain))).await;
            return tracking_id;
        }
        Shows::Tpm(keys) => keys,
    };
    let challenged = app.challenge_tpm_from(&visit, SCOPE, request(Evidence::Tpm(keys))).await;
    let Ok(blob) = challenged else { return tracking_id };
    let mut tpm = papers().tpm.clone();
    tpm.activate(&blob).unwrap();
    let answer = next();
    let visit = Visit { tracking_id: &answer, door: Door::Https, address };
    let evidence = Evidence::Sas(tpm_token(&tpm, DEVICE));
    let _ = app.register_from(&visit, SCOPE, request(evidence)).await;
    answer
}

fn question(shows: Option<Shows>) -> Question {
    Question::Register {
        registration_id: Some(id(DEVICE)),
        shows,
        api_version: ApiVersion::V2021_06_01,
    }
}

/// An explanation, whose store refuses to write anything.
async fn explained(stage: &Stage, question: Question) -> Explained {
    stage.store.fail(1);
    let explained = stage.app.explain(question).await.unwrap();
    assert!(stage.store.fails_next(), "something was written");
    explained
}

/// What an operator does.
#[derive(Debug, Clone, Copy)]
enum Act {
    Individual(By, bool),
    DeleteIndividual,
    Group(By, bool),
    DeleteGroup(By),
    Ban(Subject),
    Lift(Subject),
    DeleteRecord,
    /// The device comes, and it is compared.
    Ask(Shown),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Keys,
    Certificates,
    Tpm,
}

impl By {
    const fn group(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Certificates => "certificates",
            Self::Tpm => "tpms",
        }
    }

    fn individual(self) -> AttestationDraft {
        match self {
            Self::Keys => keys(&name::key(3), &name::key(4)),
            Self::Certificates => client(Some(papers().own.der()), None),
            Self::Tpm => by_tpm(&papers().tpm),
        }
    }

    fn of_group(self) -> AttestationDraft {
        let maker = Some(papers().maker.der());
        match self {
            Self::Keys => keys(&name::key(1), &name::key(2)),
            Self::Certificates => signing(maker, None),
            Self::Tpm => issuers(maker, None),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Subject {
    Device,
    Maker,
    Leaf,
    Tpm,
}

impl Subject {
    fn draft(self) -> SubjectDraft {
        match self {
            Self::Device => SubjectDraft::Registration(id(DEVICE)),
            Self::Maker => SubjectDraft::Certificate(papers().maker.der().to_vec()),
            Self::Leaf => SubjectDraft::Certificate(papers().own.der().to_vec()),
            Self::Tpm => SubjectDraft::EndorsementKey(papers().tpm.endorsement_key()),
        }
    }
}

fn act() -> impl Strategy<Value = Act> {
    let by = || prop_oneof![Just(By::Keys), Just(By::Certificates), Just(By::Tpm)];
    let subject = || {
        prop_oneof![
            3 => Just(Subject::Device),
            1 => Just(Subject::Maker),
            1 => Just(Subject::Leaf),
            1 => Just(Subject::Tpm),
        ]
    };
    let shown = prop_oneof![
        Just(Shown::OwnKey),
        Just(Shown::GroupKey),
        Just(Shown::WrongKey),
        Just(Shown::Leaf),
        Just(Shown::StrangersLeaf),
        Just(Shown::Tpm),
        Just(Shown::EndorsedTpm),
    ];
    prop_oneof![
        3 => (by(), any::<bool>()).prop_map(|(by, enabled)| Act::Individual(by, enabled)),
        2 => Just(Act::DeleteIndividual),
        4 => (by(), any::<bool>()).prop_map(|(by, enabled)| Act::Group(by, enabled)),
        1 => by().prop_map(Act::DeleteGroup),
        1 => subject().prop_map(Act::Ban),
        2 => subject().prop_map(Act::Lift),
        1 => Just(Act::DeleteRecord),
        9 => shown.prop_map(Act::Ask),
    ]
}

async fn enroll(app: &App, attestation: AttestationDraft, enabled: bool) {
    let mut draft = draft(attestation);
    draft.provisioning_status = Sent::Value(switch(enabled));
    let precondition = match app.get_individual(&id(DEVICE)).await {
        Ok(_) => Precondition::Any,
        Err(_) => Precondition::None,
    };
    let draft = IndividualDraft {
        registration_id: id(DEVICE),
        device_id: None,
        optional_device_information: None,
        draft,
    };
    app.put_individual(draft, &precondition, &by()).await.unwrap();
}

async fn enroll_group(stage: &Stage, group: &str, attestation: AttestationDraft, enabled: bool) {
    let mut draft = draft(attestation);
    draft.provisioning_status = Sent::Value(switch(enabled));
    let group_id = EnrollmentGroupId::parse(group).unwrap();
    let precondition = match stage.store.find_group(&group_id).await.unwrap() {
        Some(_) => Precondition::Any,
        None => Precondition::None,
    };
    stage.app.put_group(GroupDraft { group_id, draft }, &precondition, &by()).await.unwrap();
}

const fn switch(enabled: bool) -> ProvisioningStatus {
    match enabled {
        true => ProvisioningStatus::Enabled,
        false => ProvisioningStatus::Disabled,
    }
}

async fn ban(app: &App, subject: SubjectDraft) -> String {
    let draft = BanDraft { subject, reason: None, expires: None };
    app.put_ban(&draft, Wet::Done, &by()).await.unwrap().subject.key()
}

async fn perform(stage: &Stage, act: Act) -> Result<(), TestCaseError> {
    let app = &stage.app;
    match act {
        Act::Individual(by, enabled) => enroll(app, by.individual(), enabled).await,
        Act::DeleteIndividual => {
            let _ = app.delete_individual(&id(DEVICE), &Precondition::Any, &by()).await;
        }
        Act::Group(by, enabled) => enroll_group(stage, by.group(), by.of_group(), enabled).await,
        Act::DeleteGroup(which) => {
            let group = EnrollmentGroupId::parse(which.group()).unwrap();
            let shape = match which {
                By::Keys | By::Certificates => GroupShape::Vendor,
                By::Tpm => GroupShape::Tpm,
            };
            let _ = app.remove_group(shape, &group, &Precondition::Any, Wet::Done, &by()).await;
        }
        Act::Ban(subject) => drop(ban(app, subject.draft()).await),
        Act::Lift(subject) => {
            // Setting it again tells its key.
            let key = ban(app, subject.draft()).await;
            app.lift_ban(&key, Wet::Done, &by()).await.unwrap();
        }
        Act::DeleteRecord => {
            let _ = app.delete_record(&id(DEVICE), &Precondition::Any, &by()).await;
        }
        Act::Ask(shown) => compare(stage, shown).await?,
    }
    Ok(())
}

/// What is said, and what then happens.
async fn compare(stage: &Stage, shown: Shown) -> Result<(), TestCaseError> {
    let said = explained(stage, question(Some(shown.as_told()))).await;
    let tracking_id = ask(&stage.app, shown).await;
    let kept = stage.app.explain_attempt(&tracking_id).await.unwrap();
    prop_assert_eq!(&said.verdict, &kept.verdict, "{:?}", shown);
    prop_assert_eq!(&said.told.entry, &kept.told.entry, "{:?}", shown);
    prop_assert_eq!(said.verdict.is_admission(), kept.verdict.is_admission());
    prop_assert_eq!(&said.told.remedy, &kept.told.remedy, "{:?}", shown);
    if said.verdict.is_admission() == Some(true) {
        prop_assert_eq!(&said.told.remedy, &None);
        // From now on it is known what the device shows, without anybody saying so.
        let again = explained(stage, question(Some(shown.as_told()))).await;
        let known = explained(stage, question(None)).await;
        prop_assert_eq!(&known.verdict, &again.verdict, "{:?}", shown);
        prop_assert_eq!(&known.told.steps, &again.told.steps, "{:?}", shown);
        prop_assert_eq!(&known.told.entry, &again.told.entry, "{:?}", shown);
    } else {
        prop_assert!(said.told.remedy.is_some(), "nothing to change: {:?}", said);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_explained_is_what_happens_by_the_same_entry_and_nothing_is_written(
        acts in proptest::collection::vec(act(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let stage = Stage::new().await;
            for act in &acts {
                perform(&stage, *act).await?;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}

fn refused(explained: &Explained) -> &DeviceRefusal {
    match &explained.verdict {
        Verdict::Attempt(AttemptOutcome::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_device_of_which_nothing_is_known_is_told_by_what_is_enrolled() {
    let stage = Stage::new().await;
    let unknown = explained(&stage, question(None)).await;
    assert!(matches!(unknown.verdict, Verdict::Open { .. }), "{unknown:?}");
    assert_eq!(unknown.verdict.is_admission(), None);
    assert_eq!(unknown.told.steps, ["There is no individual enrollment of `Press-17`."]);
    enroll(&stage.app, By::Keys.individual(), false).await;
    let disabled = explained(&stage, question(None)).await;
    assert_eq!(disabled.told.entry, Some(EnrollmentRef::Individual(id(DEVICE))));
    assert!(disabled.told.steps[1].contains("it wants a token"), "{disabled:?}");
    let remedy = "Enable the individual enrollment of `Press-17`.";
    assert_eq!(disabled.told.remedy.as_deref(), Some(remedy));
    let key = ban(&stage.app, Subject::Device.draft()).await;
    let banned = explained(&stage, question(None)).await;
    assert!(matches!(refused(&banned), DeviceRefusal::Banned { ban, .. } if *ban == key));
    assert_eq!(banned.bans.len(), 1);
}

#[tokio::test]
async fn the_answer_says_what_was_taken_for_granted_and_which_bans_are_in_play() {
    let stage = Stage::new().await;
    enroll_group(&stage, "line-4", By::Certificates.of_group(), true).await;
    let chain = || Some(Shows::Certificates(papers().own.chain()));
    let nameless = Question::Register {
        registration_id: None,
        shows: chain(),
        api_version: ApiVersion::V2021_06_01,
    };
    let admitted = explained(&stage, nameless).await;
    assert_eq!(admitted.verdict.name(), "Assigned");
    assert!(admitted.assumed.iter().any(|note| note.contains("private key")), "{admitted:?}");
    assert_eq!((admitted.bans.len(), admitted.record.is_some()), (0, false));
    let of_ca = ban(&stage.app, Subject::Maker.draft()).await;
    let of_leaf = ban(&stage.app, Subject::Leaf.draft()).await;
    let banned = explained(&stage, question(chain())).await;
    let keys: Vec<_> = banned.bans.iter().map(|ban| ban.subject.key()).collect();
    assert!(keys.contains(&of_leaf), "{keys:?}");
    stage.app.lift_ban(&of_leaf, Wet::Done, &by()).await.unwrap();
    let banned = explained(&stage, question(chain())).await;
    let keys: Vec<_> = banned.bans.iter().map(|ban| ban.subject.key()).collect();
    assert_eq!(keys, [of_ca.as_str()], "the CA's, which the path leads to");
    assert!(banned.told.remedy.unwrap().contains(&of_ca));
}

#[tokio::test]
async fn a_certificate_that_says_no_name_needs_one_and_one_that_cannot_be_read_is_refused() {
    let stage = Stage::new().await;
    let broken = || Some(Shows::Certificates(vec![CertificateDer(vec![0x30, 0])]));
    let nameless = Question::Register {
        registration_id: None,
        shows: broken(),
        api_version: ApiVersion::V2021_06_01,
    };
    let check = async |question: Question, expected: &str| match stage.app.explain(question).await {
        Err(No::Refused(OperatorRefusal::BadRequest(text))) => assert_eq!(text, expected),
        other => panic!("{other:?}"),
    };
    check(
        nameless,
        "certificate: a certificate cannot be parsed: it is not a DER certificate: it ends too early; \
         say the registrationId",
    )
    .await;
    let of_leaf = |profile: Profile| Question::Register {
        registration_id: None,
        shows: Some(Shows::Certificates(papers().maker.issue(profile).chain())),
        api_version: ApiVersion::V2021_06_01,
    };
    check(
        of_leaf(Profile::leaf("press 17")),
        "certificate: its common name is no registration ID, character ' ' is not allowed in an \
         ID; say one",
    )
    .await;
    check(
        of_leaf(Profile::leaf("press-17").common_names(&[])),
        "certificate: the certificate's common name is not the registration ID: the subject has \
         none; say the registrationId",
    )
    .await;
    let said = explained(&stage, question(broken())).await;
    assert!(matches!(refused(&said), DeviceRefusal::NotAttested(AttestFailure::BadCertificate(_))));
}

#[tokio::test]
async fn without_its_storage_root_key_a_tpm_is_told_whether_it_is_challenged() {
    let stage = Stage::new().await;
    let shows = || {
        let keys = tpm_keys(&papers().tpm, Vec::new());
        Some(Shows::Tpm(TpmKeys { storage_root_key: None, ..keys }))
    };
    let stranger = explained(&stage, question(shows())).await;
    assert_eq!(*refused(&stranger), DeviceRefusal::TpmNotEnrolled);
    enroll(&stage.app, By::Tpm.individual(), true).await;
    let challenged = explained(&stage, question(shows())).await;
    assert_eq!(challenged.verdict.name(), "Challenged");
    assert_eq!(challenged.told.entry, Some(EnrollmentRef::Individual(id(DEVICE))));
    enroll(&stage.app, By::Tpm.individual(), false).await;
    let disabled = explained(&stage, question(shows())).await;
    assert_eq!(disabled.verdict, Verdict::Attempt(AttemptOutcome::Disabled));
}

#[tokio::test]
async fn a_connection_is_explained_by_the_device_s_identity_and_begins_no_session() {
    let stage = Stage::with_device("press-17").await;
    let connect = |hub: &str, shows| Question::Connect {
        hub: hub_name(hub),
        device_id: device_id("press-17"),
        shows,
    };
    let check = async |question, name: &str, step: &str| {
        let said = explained(&stage, question).await;
        assert_eq!(said.verdict.name(), name, "{said:?}");
        assert!(said.told.steps.iter().any(|told| told.contains(step)), "{said:?}");
        assert_eq!(said.told.remedy.is_some(), said.verdict.is_admission() == Some(false));
        said
    };
    check(connect("hub-1", None), "Connected", "is enabled and wants a token").await;
    let own = Some(Shows::Key(name::key(1)));
    check(connect("hub-1", own), "Connected", "has an identity").await;
    let wrong = Some(Shows::Key(name::key(9)));
    check(connect("hub-1", wrong), "NotAttested", "has an identity").await;
    check(connect("hub-9", None), "UnknownHub", "is no built-in hub").await;
    assert!(!stage.is_connected("press-17").await);
    let key = ban(&stage.app, SubjectDraft::Registration(id("press-17"))).await;
    assert_eq!(key, registration_key(&id("press-17")));
    let banned = check(connect("hub-1", None), "Banned", &key).await;
    assert_eq!(banned.bans.len(), 1);
    stage.app.lift_ban(&key, Wet::Done, &by()).await.unwrap();
    stage.disable("press-17").await;
    check(connect("hub-1", None), "DeviceDisabled", "is disabled").await;
    stage.delete("press-17").await;
    check(connect("hub-1", None), "UnknownDevice", "has no identity").await;
}

#[tokio::test]
async fn the_bans_on_every_registration_of_an_identity_are_told_of_its_connection() {
    let stage = Stage::new().await;
    let key = name::key(3);
    for registration in ["spare-1", "spare-2", DEVICE] {
        let individual = IndividualDraft {
            registration_id: id(registration),
            device_id: Some(device_id(DEVICE)),
            optional_device_information: None,
            draft: draft(keys(&key, &name::key(4))),
        };
        stage.app.put_individual(individual, &Precondition::None, &by()).await.unwrap();
        let request = RegisterRequest {
            registration_id: id(registration),
            evidence: token_of(registration, &key),
            payload: None,
            api_version: ApiVersion::V2021_06_01,
        };
        stage.app.register(SCOPE, request).await.unwrap();
    }
    let mut expected = Vec::new();
    for registration in ["spare-1", "spare-2"] {
        expected.push(ban(&stage.app, SubjectDraft::Registration(id(registration))).await);
    }
    let question =
        Question::Connect { hub: hub_name("hub-1"), device_id: device_id(DEVICE), shows: None };
    let said = explained(&stage, question).await;
    assert_eq!(said.verdict.name(), "Banned");
    let told: Vec<String> = said.bans.iter().map(|ban| ban.subject.key()).collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn refused_attempts_are_found_among_many_that_were_not() {
    let stage = Stage::new().await;
    let app = &stage.app;
    enroll(app, By::Keys.individual(), true).await;
    for n in 0..20 {
        ask(app, if n % 10 == 0 { Shown::WrongKey } else { Shown::OwnKey }).await;
    }
    let mut before = None;
    let (mut n_refused, mut n_pages) = (0, 0);
    loop {
        let page = app.page_of_attempts(&AttemptFilter::All, true, before, 1).await.unwrap();
        assert!(page.items.iter().all(|one| !one.attempt.outcome.is_admission()));
        assert!(page.items.len() <= 1);
        (n_refused, n_pages) = (n_refused + page.items.len(), n_pages + 1);
        match page.next {
            None => break,
            next => before = next,
        }
    }
    assert_eq!(n_refused, 2, "in {n_pages} pages");
    let all = app.page_of_attempts(&AttemptFilter::All, false, None, 20).await.unwrap();
    assert_eq!((all.items.len(), all.next), (20, None));
    let unknown = app.explain_attempt("no-such").await;
    let expected = OperatorRefusal::AttemptNotFound("no-such".to_owned());
    assert!(matches!(unknown, Err(No::Refused(refusal)) if refusal == expected));
}
