use model::{
    BanKind, BanSubject, Caller, Closed, DeprovisionItem, DeprovisionState, Deprovisioning,
    DeviceId, DeviceSubject, EndedSessions, EnrollmentGroupId, EnrollmentRef, Intent, ItemState,
    Part, PlanTotals, PlannedDevice, PlannedIdentity, Receipt, ReceiptCounts, ReceiptId,
    RecordCondition, RegistrationId, RegistrationStatus, RemoteStep, RemoteStepState,
    RemoteStepTask, ReplacedBan, SelectedBy, SelectedCertificate, Selection, SharedAct,
    SharedOutcome, SharedPart, StillAdmitted, Trouble,
};

use super::{super::*, DOCUMENTS, NOW, a_certificate, etag, hub};

const ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

fn receipt_id() -> ReceiptId {
    ReceiptId::parse(ID).expect("an ID")
}

fn by() -> Caller {
    Caller { policy: "owner".to_owned(), address: None }
}

fn device_id() -> DeviceId {
    DeviceId::parse("press-17").expect("an ID")
}

fn registration_id() -> RegistrationId {
    RegistrationId::parse("press-17").expect("an ID")
}

fn group_id() -> EnrollmentGroupId {
    EnrollmentGroupId::parse("line-7").expect("an ID")
}

fn hub_name() -> model::HubName {
    hub(model::HubAccess::BuiltIn).name
}

/// A plan that was just made.
pub(super) fn a_plan() -> Receipt {
    let planned = |act| SharedPart { act, outcome: SharedOutcome::Planned };
    let ca = BanSubject::Ca(Box::new(a_certificate().certificate));
    let head = Deprovisioning {
        id: receipt_id(),
        intent: Intent::Revoke,
        selected_by: SelectedBy { group: Some(group_id()), ..SelectedBy::default() },
        reason: None,
        by: by(),
        created: NOW,
        expires: NOW.plus_secs(60),
        state: DeprovisionState::Planned,
        shared: vec![
            planned(SharedAct::DeleteGroup(group_id(), etag())),
            planned(SharedAct::SetBan(ca)),
            planned(SharedAct::SetBan(BanSubject::by_sha256([7; 32]))),
        ],
        sessions: EndedSessions::default(),
        totals: PlanTotals {
            n_devices: 2,
            identities: vec![(hub_name(), 2)],
            held_off: vec![(group_id(), 1)],
            n_others: 2,
            n_other_sessions: 1,
            others: vec![(group_id(), 1)],
            ..PlanTotals::default()
        },
        applied: None,
        finished: None,
        version: 1,
    };
    Receipt { head, counts: ReceiptCounts { items: 2, pending: 2, ..ReceiptCounts::default() } }
}

/// The receipt of a suspension by every condition there is.
pub(super) fn a_receipt() -> Receipt {
    let plan = a_plan();
    let head = Deprovisioning {
        intent: Intent::Suspend,
        reason: Some("a strike".to_owned()),
        selected_by: SelectedBy {
            n_registration_ids: Some(2),
            group: Some(group_id()),
            hub: Some(hub_name()),
            certificate: Some("sha256:07".to_owned()),
            records: Some(RecordCondition {
                status: Some(RegistrationStatus::Assigned),
                hub: Some(hub_name()),
                enrollment: Some(EnrollmentRef::Individual(registration_id())),
                updated_since: Some(NOW),
                updated_before: Some(NOW),
                orphaned: true,
            }),
            twins: Some("SELECT * FROM devices".to_owned()),
            receipt: Some(receipt_id()),
        },
        state: DeprovisionState::Done,
        shared: vec![
            SharedPart {
                act: SharedAct::DisableGroup(group_id(), etag()),
                outcome: SharedOutcome::Done(Some(etag())),
            },
            SharedPart {
                act: SharedAct::EnableGroup(group_id(), etag()),
                outcome: SharedOutcome::LeftAlone("the group is gone".to_owned()),
            },
        ],
        sessions: EndedSessions { n: 2, closed: Closed::After { micros: 1_500, at: NOW } },
        applied: Some((by(), NOW)),
        finished: Some(NOW),
        ..plan.head
    };
    let counts = ReceiptCounts {
        items: 2,
        done: 2,
        sessions: 1,
        slowest_micros: Some(2_034),
        remote_pending: 1,
        ..ReceiptCounts::default()
    };
    Receipt { head, counts }
}

/// A device whose turn has not come.
pub(super) fn a_waiting_device() -> DeprovisionItem {
    DeprovisionItem {
        receipt: receipt_id(),
        number: 1,
        subject: DeviceSubject::Registration(registration_id()),
        is_late: false,
        plan: PlannedDevice {
            is_unchanged: false,
            enrollment: Some(EnrollmentRef::Group(group_id())),
            has_individual: false,
            record: Some(RegistrationStatus::Assigned),
            identities: vec![PlannedIdentity {
                hub: hub_name(),
                device_id: device_id(),
                is_remote: true,
            }],
            n_sessions: 1,
            bans: vec!["registration:press-17".to_owned()],
            admitted: StillAdmitted::Unknown,
            admitted_without_bans: StillAdmitted::By(EnrollmentRef::Group(group_id())),
        },
        state: ItemState::Pending,
        at: None,
        parts: Vec::new(),
        sessions: EndedSessions::default(),
        remote: Vec::new(),
        trouble: None,
        version: 1,
    }
}

/// Devices to which everything was done that there is.
pub(super) fn devices_that_are_done() -> Vec<DeprovisionItem> {
    let trouble = || Trouble { error: "no route".to_owned(), remedy: "connect it".to_owned() };
    let replaced = ReplacedBan {
        kind: BanKind::Retired,
        reason: Some("sold".to_owned()),
        by: by(),
        created: NOW,
        expires: None,
        receipt: None,
    };
    let step =
        |task, state| RemoteStep { hub: hub_name(), device_id: device_id(), task, state, at: NOW };
    let pending = RemoteStepState::Pending { n_failures: 2, last_error: Some("503".to_owned()) };
    let (hub, device_id) = (hub_name, device_id);
    let done = DeprovisionItem {
        state: ItemState::Done,
        at: Some(NOW),
        parts: vec![
            Part::EnrollmentDisabled { etag: etag() },
            Part::EnrollmentEnabled,
            Part::EnrollmentDeleted,
            Part::RecordDeleted,
            Part::IdentityDisabled {
                hub: hub(),
                device_id: device_id(),
                reason_before: Some("x".to_owned()),
            },
            Part::IdentityEnabled { hub: hub(), device_id: device_id() },
            Part::IdentityDeleted { hub: hub(), device_id: device_id() },
            Part::BanSet { key: "k".to_owned(), replaced: Some(Box::new(replaced)) },
            Part::BanSet { key: "k".to_owned(), replaced: None },
            Part::BanLifted { key: "k".to_owned() },
            Part::LeftAlone { what: "the enrollment".to_owned(), why: "it was written".to_owned() },
        ],
        sessions: EndedSessions { n: 1, closed: Closed::After { micros: 2_034, at: NOW } },
        remote: vec![
            step(RemoteStepTask::Delete, RemoteStepState::Done { changed: true }),
            step(RemoteStepTask::Disable, pending),
            step(RemoteStepTask::Enable, RemoteStepState::Superseded),
            step(RemoteStepTask::Delete, RemoteStepState::Failed(trouble())),
        ],
        ..a_waiting_device()
    };
    let other = |closed| DeprovisionItem {
        subject: DeviceSubject::Identity(device_id()),
        state: ItemState::Failed,
        sessions: EndedSessions { n: 1, closed },
        trouble: Some(trouble()),
        ..a_waiting_device()
    };
    vec![done, other(Closed::Waiting), other(Closed::NotYet), other(Closed::Unmeasured)]
}

fn parse(body: &str) -> Result<DeprovisioningBody, OperatorRefusal> {
    parse_deprovisioning(body.as_bytes(), NOW)
}

fn select(members: &str) -> DeprovisioningBody {
    parse(&format!(r#"{{"select":{{{members}}},"intent":"Retire"}}"#)).expect(members)
}

#[test]
fn a_receipt_says_what_it_comes_to() {
    let told = deprovisioning(&a_receipt());
    let sessions = told.get("sessions").map(ToString::to_string);
    let expected =
        r#"{"ended":3,"closedAfterMs":2.034,"lastClosed":"2026-01-01T00:00:00.5219817Z"}"#;
    assert_eq!(sessions.as_deref(), Some(expected));
    let device = deprovisioned_device(&a_waiting_device());
    let plan = device.get("plan").expect("a plan");
    assert_eq!(plan.get("stillAdmitted"), Some(&Json::from("unknown")));
    assert_eq!(plan.get("admittedBy"), None);
    let by = plan.get("admittedWithoutBansBy").map(ToString::to_string);
    assert_eq!(by.as_deref(), Some(r#"{"group":"line-7"}"#));
}

#[test]
fn a_selection_is_read_as_it_is_meant() {
    let check = |members: &str, expected: Selection| {
        let body = select(members);
        assert_eq!((&body.select, body.intent), (&expected, Intent::Retire), "{members}");
        assert_eq!((body.certificate, body.reason), (None, None), "{members}");
    };
    let none = Selection::default;
    check("", none());
    check(
        r#""registrationIds":["press-17"]"#,
        Selection { registration_ids: Some(vec![registration_id()]), ..none() },
    );
    check(
        r#""group":"line-7","hub":"HUB-1.example.test""#,
        Selection { group: Some(group_id()), hub: Some(hub_name()), ..none() },
    );
    let receipt = Some(receipt_id());
    check(&format!(r#""receipt":"{ID}""#), Selection { receipt, ..none() });
    let certificate = Some(SelectedCertificate::Sha1 { sha1: [0xAB; 20], tbs: None });
    let hex = "ab".repeat(20);
    check(&format!(r#""thumbprint":"{hex}""#), Selection { certificate, ..none() });
    let records = |records| Selection { records: Some(records), ..none() };
    check(
        r#""records":{"status":"assigned","group":"line-7","olderThanSecs":60}"#,
        records(RecordCondition {
            status: Some(RegistrationStatus::Assigned),
            enrollment: Some(EnrollmentRef::Group(group_id())),
            updated_before: Some(NOW.plus_secs(-60)),
            ..RecordCondition::default()
        }),
    );
    check(
        r#""records":{"orphaned":true}"#,
        records(RecordCondition { orphaned: true, ..RecordCondition::default() }),
    );
    let query = "SELECT deviceId FROM devices WHERE tags.line = 4";
    let twins = select(&format!(r#""twins":{{"query":"{query}"}}"#)).select.twins;
    let twins = twins.expect("a condition");
    assert_eq!((twins.text.as_str(), twins.filter.is_some()), (query, true));
    let der = select(r#""certificate":"MAIwAA==""#).certificate;
    assert_eq!(der.as_deref(), Some(&[0x30, 2, 0x30, 0][..]));
}

#[test]
fn what_is_misspelt_or_says_too_little_is_refused_by_its_path() {
    let check = |body: &str, expected: &str| {
        let refused = parse(body).expect_err(body).to_string();
        assert!(refused.contains(expected), "{body}: {refused}");
    };
    check("", "no body");
    check(r#"{"intent":"retire"}"#, "select: is required");
    check(r#"{"select":{}}"#, "intent: is required");
    check(r#"{"select":{},"intent":"delete"}"#, "intent: expected one of suspend, retire");
    check(r#"{"select":{},"intent":"retire","why":"x"}"#, "\"why\" is none of its members");
    let check = |members: &str, expected: &str| {
        check(&format!(r#"{{"select":{{{members}}},"intent":"retire"}}"#), expected);
    };
    check(r#""registrationId":"a""#, "\"registrationId\" is none of its members");
    check(r#""registrationIds":["a","b c"]"#, "select.registrationIds[1]: ");
    check(r#""hub":"hub-1""#, "select.hub: ");
    check(r#""thumbprint":"AB""#, "select.thumbprint: expected 40 or 64 hex digits");
    check(r#""thumbprint":"AB","certificate":"MAIwAA==""#, "send one of them");
    check(r#""certificate":"x""#, "select.certificate: ");
    check(r#""receipt":"X""#, "select.receipt: ");
    check(r#""records":{}"#, "select.records: expected at least one of status");
    check(r#""records":{"orphaned":false}"#, "select.records: expected at least one of");
    check(r#""records":{"olderThanSecs":-1}"#, "select.records.olderThanSecs: ");
    check(r#""records":{"olderThanSecs":1,"updatedBefore":"2026-01-01T00:00:00Z"}"#, "one of them");
    check(r#""records":{"group":"a","enrollment":"b"}"#, "one of them");
    check(r#""records":{"updatedSince":"soon"}"#, "select.records.updatedSince: ");
    let twins = |query: &str| format!(r#""twins":{{"query":"{query}"}}"#);
    check(&twins("SELECT"), "select.twins.query: column ");
    check(&twins("SELECT * FROM devices.modules"), "modules go with their device");
    check(&twins("SELECT COUNT() FROM devices"), "a count selects nobody");
    check(&twins("SELECT TOP 3 * FROM devices"), "TOP is not for selecting");
    let every_one = twins("SELECT * FROM devices");
    check(&every_one, "select.twins.query: has no WHERE");
    select(&format!(r#"{every_one},"hub":"hub-1.example.test""#));
    select(&format!(r#"{every_one},"certificate":"MAIwAA==""#));
}

/// Nothing takes a list, so whoever reads the member complains about it.
#[test]
fn requests_read_every_member_of_their_schema() {
    let draft = |member: &str, value: Json| {
        let mut body = json::parse(r#"{"select":{},"intent":"retire"}"#).expect("JSON");
        body.set(member, value);
        parse(&body.to_string())
    };
    let inner = |within: &str, member: &str| {
        let object = Json::Object(vec![(member.to_owned(), Json::Array(vec![Json::Null]))]);
        match within {
            "DeprovisioningDraft" => draft(member, Json::Array(vec![Json::Null])),
            "DeviceSelection" => draft("select", object),
            "RecordCondition" => {
                draft("select", Json::Object(vec![("records".to_owned(), object)]))
            }
            _ => draft("select", Json::Object(vec![("twins".to_owned(), object)])),
        }
    };
    for name in ["DeprovisioningDraft", "DeviceSelection", "RecordCondition", "TwinCondition"] {
        let schema = DOCUMENTS.iter().find(|one| one.name == name).expect("a schema");
        for member in schema.members {
            let refused = inner(name, member.name).expect_err(member.name).to_string();
            assert!(refused.contains(member.name), "{name}: {refused}");
            assert!(!refused.contains("none of its members"), "{name}: {refused}");
        }
    }
}

#[test]
fn a_place_among_the_devices_of_one_receipt_is_none_among_another_ones() {
    let key = device_key(&receipt_id(), 7);
    assert_eq!(device_number(&receipt_id(), &key), Ok(7));
    let other = ReceiptId::parse("0f").expect("an ID");
    for (id, key) in [(&other, key.as_str()), (&other, "7"), (&other, "0f/x"), (&other, "")] {
        assert!(device_number(id, key).is_err(), "{key}");
    }
    assert_eq!(parse_item_state("Failed"), Ok(ItemState::Failed));
    assert!(parse_item_state("open").is_err());
}

proptest::proptest! {
    #[test]
    fn no_deprovisioning_makes_a_parser_panic(body: Vec<u8>, text: String) {
        let _ = parse_deprovisioning(&body, NOW);
        let _ = parse_item_state(&text);
        let _ = device_number(&receipt_id(), &text);
        for member in ["group", "hub", "thumbprint", "certificate", "receipt"] {
            let select = Json::Object(vec![(member.to_owned(), text.as_str().into())]);
            let body = Json::Object(vec![
                ("select".to_owned(), select),
                ("intent".to_owned(), "revoke".into()),
            ]);
            let _ = parse_deprovisioning(body.to_string().as_bytes(), NOW);
        }
    }
}
