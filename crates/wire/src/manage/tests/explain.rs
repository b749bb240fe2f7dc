//! Questions, explanations and attempts.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{
    ApiVersion, Assignment, Attempt, AttemptAsked, AttemptFilter, AttemptOutcome, AttemptShown,
    AttestationKind, Ban, BanKind, BanSubject, ConnectRefusal, DeviceId, Door, EnrollmentRef,
    Question, RegistrationId, RegistrationRecord, Shows, StoredAttempt, Substatus, TpmKeys,
};

use super::{super::*, KEY, NOW, etag, hub};
use crate::manage::schema::DOCUMENTS;

fn id() -> RegistrationId {
    RegistrationId::parse("press-17").expect("legal")
}

fn asked() -> AttemptAsked {
    AttemptAsked::Register { registration_id: id(), api_version: Some(ApiVersion::V2021_06_01) }
}

fn group() -> EnrollmentRef {
    EnrollmentRef::Group(model::EnrollmentGroupId::parse("line-4").expect("legal"))
}

fn place() -> (model::HubName, DeviceId) {
    (hub(model::HubAccess::BuiltIn).name, DeviceId::parse("press-17").expect("legal"))
}

pub(super) fn an_attempt() -> StoredAttempt {
    let (hub, device_id) = place();
    let attempt = Attempt {
        tracking_id: "t-1".into(),
        last_tracking_id: None,
        first: NOW,
        last: NOW,
        n: 1,
        door: Door::Https,
        address: [192, 0, 2, 7].into(),
        asked: asked(),
        shown: AttemptShown {
            kind: Some(AttestationKind::X509),
            leaf_sha256: Some([0xab; 32]),
            leaf_sha1: Some([0xcd; 20]),
            endorsement_key: Some([0xef; 32]),
        },
        outcome: AttemptOutcome::Assigned { hub, device_id },
        enrollment: Some(group()),
        steps: Vec::new(),
        is_known: true,
    };
    StoredAttempt { number: 7, attempt }
}

pub(super) fn a_refused_connection() -> StoredAttempt {
    let (hub, device_id) = place();
    let StoredAttempt { number, attempt } = an_attempt();
    let attempt = Attempt {
        last_tracking_id: Some("t-9".into()),
        n: 3,
        asked: AttemptAsked::Connect { hub, device_id },
        shown: AttemptShown::default(),
        outcome: AttemptOutcome::of_connection(&ConnectRefusal::UnknownDevice),
        enrollment: None,
        ..attempt
    };
    StoredAttempt { number, attempt }
}

pub(super) fn top() -> Json {
    let one = RefusedOften {
        who: "press-17",
        n: 3,
        may_be_less_by: 1,
        since: NOW,
        last: NOW,
        reason: "no enrollment matches",
    };
    top_refused([one], [RefusedOften { who: "192.0.2.7", ..one }])
}

fn a_bare_one(asked: &AttemptAsked) -> Explained<'_> {
    Explained {
        asked,
        outcome: "NotKnown",
        is_admission: None,
        told: "It depends.",
        steps: &[],
        enrollment: None,
        remedy: None,
        assumed: &[],
        bans: &[],
        record: None,
        attempt: None,
    }
}

pub(super) fn bare() -> Json {
    explanation(&a_bare_one(&asked()))
}

pub(super) fn full() -> Json {
    let (hub, device_id) = place();
    let asked = AttemptAsked::Connect { hub: hub.clone(), device_id: device_id.clone() };
    let record = RegistrationRecord {
        registration_id: id(),
        enrollment: group(),
        mechanism: AttestationKind::X509,
        status: model::RegistrationStatus::Assigned,
        assignment: Some(Assignment {
            initial_hub: hub.clone(),
            hub,
            device_id,
            substatus: Substatus::InitialAssignment,
        }),
        pending: None,
        failure: None,
        payload: None,
        wrapped_hub_key: None,
        operations: Vec::new(),
        etag: etag(),
        created: NOW,
        last_updated: NOW,
        version: 1,
    };
    let ban = Ban {
        subject: BanSubject::Registration(id()),
        kind: BanKind::Revoked,
        reason: Some("stolen".to_owned()),
        by: model::Caller { policy: "ana".to_owned(), address: None },
        created: NOW,
        expires: None,
        receipt: None,
        version: 1,
    };
    explanation(&Explained {
        outcome: "Banned",
        is_admission: Some(false),
        steps: &["One.".to_owned(), "Two.".to_owned()],
        enrollment: Some(&group()),
        remedy: Some("Lift it."),
        assumed: &["That.".to_owned()],
        bans: &[ban],
        record: Some(&record),
        attempt: Some(&an_attempt()),
        ..a_bare_one(&asked)
    })
}

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAIwAA==\n-----END CERTIFICATE-----\n";

fn parse(body: &str) -> Result<ExplainBody, OperatorRefusal> {
    parse_explain(body.as_bytes(), |text| match text {
        "hub-1" => Some(place().0),
        other => model::HubName::parse(other).ok(),
    })
}

#[test]
fn a_question_is_read_as_it_is_meant() {
    let check = |body: Json, expected: Question| {
        assert_eq!(parse(&body.to_string()), Ok(ExplainBody::Question(expected)), "{body}");
    };
    let body = |members: &[(&str, &str)]| {
        let members = members.iter().map(|(name, text)| ((*name).to_owned(), Json::from(*text)));
        Json::Object(members.collect())
    };
    let register = |shows| Question::Register {
        registration_id: Some(id()),
        shows,
        api_version: ApiVersion::V2021_06_01,
    };
    let me = ("registrationId", "press-17");
    check(body(&[me]), register(None));
    let key = model::SymmetricKey::parse(KEY).expect("legal");
    check(body(&[me, ("symmetricKey", KEY)]), register(Some(Shows::Key(key))));
    let one = || model::CertificateDer(vec![0x30, 2, 0x30, 0]);
    let chain = format!("{PEM}{PEM}");
    let expected = register(Some(Shows::Certificates(vec![one(), one()])));
    check(body(&[me, ("certificates", &chain)]), expected);
    let old = Question::Register {
        registration_id: None,
        shows: Some(Shows::Certificates(vec![one()])),
        api_version: ApiVersion::V2018_04_01,
    };
    check(body(&[("certificates", "MAIwAA=="), ("apiVersion", "2018-04-01")]), old);
    let tpm = TpmKeys {
        endorsement_key: vec![1, 2, 3],
        storage_root_key: Some(vec![4]),
        endorsement_certificates: vec![one()],
    };
    let members = [
        me,
        ("endorsementKey", "AQID"),
        ("storageRootKey", "BA=="),
        ("endorsementCertificates", PEM),
    ];
    check(body(&members), register(Some(Shows::Tpm(tpm))));
    let (hub, device_id) = place();
    let connect = Question::Connect { hub, device_id, shows: None };
    check(body(&[("hub", "hub-1"), ("deviceId", "press-17")]), connect);
    let attempt = parse(r#"{"trackingId":"t-1"}"#);
    assert_eq!(attempt, Ok(ExplainBody::Attempt("t-1".to_owned())));
}

#[test]
fn a_question_that_cannot_be_meant_is_refused_without_saying_the_key() {
    let check = |body: &str, expected: &str| {
        let refusal = parse(body).expect_err(body).to_string();
        assert!(refusal.contains(expected), "{body}: {refusal}");
        assert!(!refusal.contains("hunter2"), "{refusal}");
    };
    check("{}", "registrationId: is required");
    check(r#"{"symmetricKey":"aHVudGVyMmh1bnRlcjJodW50ZXIy"}"#, "registrationId: is required");
    check(r#"{"registrationId":"a","symmetricKey":"hunter2"}"#, "symmetricKey: ");
    check(r#"{"registrationId":"a b"}"#, "registrationId: ");
    check(r#"{"registrationId":"a","key":"hunter2"}"#, "is none of its members");
    check(r#"{"registrationId":"a","certificates":"%"}"#, "certificates: ");
    let both = r#"{"registrationId":"a","certificates":"x","symmetricKey":"hunter2"}"#;
    check(both, "expected one of symmetricKey, certificates, endorsementKey");
    check(r#"{"registrationId":"a","storageRootKey":"BA=="}"#, "goes with endorsementKey only");
    check(r#"{"registrationId":"a","deviceId":"b"}"#, "deviceId: goes with hub only");
    check(r#"{"hub":"hub-1"}"#, "deviceId: is required");
    check(r#"{"hub":"hub-2","deviceId":"a"}"#, "hub: is no hub's name");
    check(r#"{"hub":"hub-1","deviceId":"a","registrationId":"a"}"#, "does not go with hub");
    check(r#"{"trackingId":"t","registrationId":"a"}"#, "does not go with trackingId");
    check(r#"{"registrationId":"a","apiVersion":"1999"}"#, "apiVersion: expected one of");
    let private = "-----BEGIN PRIVATE KEY-----\\nhunter2\\n-----END PRIVATE KEY-----";
    let body = format!(r#"{{"registrationId":"a","certificates":"{private}"}}"#);
    check(&body, "private key");
}

#[test]
fn a_question_and_its_schema_have_the_same_members() {
    let schema = DOCUMENTS.iter().find(|one| one.name == "ExplainDraft").expect("a schema");
    for member in schema.members {
        let refusal = parse(&format!(r#"{{"{}":[]}}"#, member.name)).expect_err("no list");
        assert!(!refusal.to_string().contains("is none of its members"), "{refusal}");
    }
}

#[test]
fn what_a_device_showed_prints_as_a_placeholder() {
    let body = format!(r#"{{"registrationId":"press-17","symmetricKey":"{KEY}"}}"#);
    let told = format!("{:?}", parse(&body).expect("legal"));
    assert!(!told.contains(&KEY[..12]) && told.contains("secret"), "{told}");
}

#[test]
fn attempts_are_looked_for_by_one_thing_at_a_time() {
    let check = |asked: AttemptsAsked<'_>, expected: Result<AttemptFilter, &str>| {
        let found = parse_attempts_asked(asked, |key| [key.len() as u8; 32]);
        match expected {
            Ok(filter) => assert_eq!(found, Ok(filter)),
            Err(text) => assert!(found.expect_err(text).to_string().contains(text)),
        }
    };
    let none = AttemptsAsked::default();
    check(none, Ok(AttemptFilter::All));
    let device = AttemptsAsked { device: Some("Press-17"), ..none };
    check(device, Ok(AttemptFilter::Device("Press-17".to_owned())));
    let sha1 = "AB:".repeat(20);
    check(AttemptsAsked { thumbprint: Some(&sha1), ..none }, Ok(AttemptFilter::Sha1([0xab; 20])));
    let bad = AttemptsAsked { thumbprint: Some("AB"), ..none };
    check(bad, Err("thumbprint: expected 40 or 64 hex digits"));
    let key = STANDARD.encode([1, 2, 3]);
    check(
        AttemptsAsked { endorsement_key: Some(&key), ..none },
        Ok(AttemptFilter::EndorsementKey([3; 32])),
    );
    let hash = "0A".repeat(32);
    check(
        AttemptsAsked { endorsement_key: Some(&hash), ..none },
        Ok(AttemptFilter::EndorsementKey([10; 32])),
    );
    check(AttemptsAsked { endorsement_key: Some("%"), ..none }, Err("endorsementKey: expected"));
    check(AttemptsAsked { tracking_id: Some("t"), ..device }, Err("expected one of trackingId"));
    let long = "x".repeat(257);
    check(AttemptsAsked { tracking_id: Some(&long), ..none }, Err("more than 256 bytes"));
}
