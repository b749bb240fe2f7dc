use model::{
    AccessPolicy, AllocationPolicy, AuditEntry, AuditLine, AuthMethod, CaCertificate, CaKeys,
    Caller, CertificateInfo, CloudMessage, DeviceId, EnrolledCertificate, EnrollmentGroupId, Etag,
    Event, EventSource, FeedbackWish, HubAccess, HubName, HubRefusal, IpAction, IpTarget, Json,
    LinkedHub, MessageProperties, OperatorRefusal, PolicyScope, Quotas, RegistrationStatus,
    RemoteAccess, Right, Rights, ServiceSettings, StoredEvent, SymmetricKey, SymmetricKeys,
    Timestamp, Usage,
};

use super::{
    schema::{DOCUMENTS, Shape},
    *,
};

mod crls;
mod deprovisionings;
mod explain;
mod orphans;
mod simulate;
mod tpm;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const NOW: Timestamp = Timestamp::from_ticks(17_672_256_005_219_817);

fn etag() -> Etag {
    Etag::from_stored("IjAwMDAi")
}

fn key() -> SymmetricKey {
    SymmetricKey::parse(KEY).expect("key")
}

fn hub(access: HubAccess) -> LinkedHub {
    LinkedHub {
        name: HubName::parse("hub-1.example.test").expect("hub"),
        access,
        weight: 3,
        apply_allocation_policy: true,
        declared: false,
        etag: etag(),
        created: NOW,
        last_updated: NOW,
        version: 7,
    }
}

fn remote(port: Option<u16>) -> LinkedHub {
    hub(HubAccess::Remote(RemoteAccess { port, policy: "owner".to_owned(), key: key() }))
}

fn a_certificate() -> CaCertificate {
    CaCertificate {
        name: "root-1".to_owned(),
        certificate: EnrolledCertificate {
            der: vec![0x30],
            info: CertificateInfo {
                subject_name: "CN=root".to_owned(),
                sha1_thumbprint: "AB".repeat(20),
                sha256_thumbprint: "CD".repeat(32),
                issuer_name: "CN=root".to_owned(),
                not_before: NOW,
                not_after: NOW,
                serial_number: "0A".to_owned(),
                version: 3,
            },
            keys: CaKeys { subject: [0; 32], issuer: [0; 32], subject_and_key: [0; 32] },
        },
        verified: false,
        pending_code: Some("0F".repeat(24)),
        etag: etag(),
        created: NOW,
        last_updated: NOW,
        version: 1,
    }
}

fn a_policy() -> AccessPolicy {
    AccessPolicy {
        scope: PolicyScope::Service,
        name: "owner".to_owned(),
        keys: SymmetricKeys { primary: key(), secondary: key() },
        rights: Rights::of(&[Right::EnrollmentWrite, Right::ServiceConfig, Right::EnrollmentRead]),
        etag: etag(),
        created: NOW,
        last_updated: NOW,
        version: 1,
    }
}

fn settings() -> ServiceSettings {
    ServiceSettings {
        allocation_policy: AllocationPolicy::GeoLatency,
        operator_api_on_loopback_only: true,
        disenroll_ends_sessions: false,
        ip_rules: parse_ip_rules(RULES.as_bytes()).expect("rules"),
        etag: etag(),
        last_updated: NOW,
    }
}

const RULES: &str = r#"[{"filterName":"office","action":"Accept","ipMask":"198.51.100.0/24","target":"serviceApi"},{"filterName":"rest","action":"Reject","ipMask":"::/0","target":"all"}]"#;

fn an_audit_line() -> AuditLine {
    AuditLine {
        number: 2,
        entry: AuditEntry {
            at: NOW,
            by: Caller { policy: "owner".to_owned(), address: Some([10, 0, 0, 1].into()) },
            action: "policy.update".to_owned(),
            target: "policies/reader".to_owned(),
            before: Some(Json::empty_object()),
            after: Some(Json::empty_object()),
            etag: Some("x".to_owned()),
        },
        previous: [1; 32],
        hash: [0xfe; 32],
    }
}

fn an_event(body: &str) -> StoredEvent {
    let properties = MessageProperties {
        content_type: Some("application/json".to_owned()),
        ..MessageProperties::default()
    };
    let event = Event {
        device_id: DeviceId::parse("press-17").expect("id"),
        generation_id: "638".to_owned(),
        auth_method: AuthMethod::DeviceKey,
        source: EventSource::Telemetry,
        enqueued: NOW,
        properties,
        application: Vec::new(),
        body: body.as_bytes().to_vec(),
    };
    StoredEvent { partition: 1, offset: 2, event }
}

fn a_message() -> CloudMessage {
    CloudMessage {
        device_id: DeviceId::parse("press-17").expect("id"),
        number: 1,
        enqueued: NOW,
        expires: NOW,
        delivery_count: 0,
        feedback: FeedbackWish::None,
        properties: MessageProperties {
            message_id: Some("m".to_owned()),
            ..MessageProperties::default()
        },
        application: Vec::new(),
        body: Vec::new(),
        version: 0,
    }
}

fn hub_error(envelope: fn(&crate::hub::HubErrorRow, &str, Timestamp) -> Json) -> Json {
    let row = crate::hub::error_row(&HubRefusal::DeviceNotOnline("press-17".to_owned()));
    envelope(&row, "id", NOW)
}

/// An answer has the members its schema says: none besides, all required, in order.
#[track_caller]
fn check_schema(name: &str, answer: &Json) {
    let document = DOCUMENTS.iter().find(|one| one.name == name).expect("a schema");
    let members = answer.as_object().expect("an object");
    let mut schema = document.members.iter();
    for (name, value) in members {
        let found = schema.by_ref().find(|member| {
            assert!(member.name == name || !member.required, "{} is missing", member.name);
            member.name == name
        });
        let member =
            found.unwrap_or_else(|| panic!("{name} is not in the schema, or out of order"));
        check_shape(&member.shape, value);
    }
    assert!(schema.all(|member| !member.required), "a member at the end is missing: {answer}");
}

#[track_caller]
fn check_shape(shape: &Shape, value: &Json) {
    match (shape, value) {
        (Shape::Text, Json::String(_))
        | (Shape::Flag, Json::Bool(_))
        | (Shape::Count, Json::Number(_))
        | (Shape::Anything, Json::Object(_)) => {}
        (Shape::Measure, Json::Number(digits)) => drop(digits.parse::<f64>().expect("a number")),
        (Shape::Moment, Json::String(text)) => drop(time::parse(text).expect("a moment")),
        (Shape::Word(words), Json::String(text)) => assert!(words.contains(&text.as_str())),
        (Shape::Value, _) => {}
        (Shape::Document(name), document) => check_schema(name, document),
        (Shape::List(shape), Json::Array(items)) => {
            items.iter().for_each(|item| check_shape(shape, item));
        }
        (Shape::OrNull(_), Json::Null) => {}
        (Shape::OrNull(shape), value) => check_shape(shape, value),
        (Shape::Either(_), _) => panic!("no answer has several shapes"),
        (shape, value) => panic!("{value} is no {shape:?}"),
    }
}

fn every_answer() -> Vec<(&'static str, Json)> {
    let group = [EnrollmentGroupId::parse("line-7").expect("id")];
    let quotas = Quotas {
        registrations: 1,
        individual_enrollments: 2,
        x509_groups: 3,
        symmetric_key_groups: 4,
        ca_certificates: 5,
        linked_hubs: 6,
    };
    let name = hub(HubAccess::BuiltIn).name;
    let missed = HubUnlinked { n_devices: 1, n_individuals: 2, n_groups: 3, looked_at_all: true };
    let counted = Counted { ca_certificates: 1, linked_hubs: 2, crls: 3, stale_crls: 4 };
    let broken = Some((2, "it was changed".to_owned()));
    let mut answers = vec![
        ("Service", service(&settings(), "0ne00ABCDEF", &["dps.example.test".to_owned()])),
        ("LinkedHub", linked_hub(&hub(HubAccess::BuiltIn))),
        ("LinkedHub", linked_hub(&remote(Some(8443)))),
        ("LinkedHubRemoved", hub_unlinked(&name, missed)),
        ("LinkedHubProbe", hub_probe(&name, HubProbe::Healthy)),
        ("LinkedHubProbe", hub_probe(&name, HubProbe::Unreachable("no route"))),
        ("Certificate", certificate(&a_certificate(), &group, ShowCode::No)),
        ("Certificate", certificate(&a_certificate(), &[], ShowCode::Yes)),
        ("CertificateRemoved", certificate_deleted("root-1", &group)),
        ("Policy", policy(&a_policy())),
        ("PolicyWithKeys", policy_with_keys(&a_policy())),
        ("UsageReport", usage(&Usage::default(), counted, &quotas)),
        ("AuditLine", audit_line(&an_audit_line())),
        ("AuditCheck", audit_check(&AuditCheck { n_lines: 2, head: (2, [1; 32]), broken })),
        ("AuditCheck", audit_check(&AuditCheck { n_lines: 0, head: (0, [0; 32]), broken: None })),
        ("EventPage", crate::hub::event_page(&[an_event("[1]"), an_event("[")], "AQ")),
        ("MessageSent", crate::hub::message_sent(&a_message())),
        ("TpmEnrollmentGroup", tpm_group(&tpm::a_group())),
        ("GroupSettings", group_settings(&tpm::a_group())),
        ("GroupSettings", group_settings(&orphans::a_group_with_settings())),
        ("GroupRemoved", group_deleted(&group[0], 250, false, true)),
        ("Orphan", orphan(&orphans::a_record(RegistrationStatus::Assigned))),
        ("Orphan", orphan(&orphans::a_record(RegistrationStatus::Failed))),
        ("Crl", crl(&crls::a_list(), NOW)),
        ("Crl", crl(&crls::a_followed_url(), NOW)),
        ("Crl", crl_taken(&crls::a_list(), RevokedCounts { n_added: 1, n_removed: 2 }, NOW)),
        ("OrphanCount", orphan_count(7)),
        ("OrphansRemoved", orphans_deleted(7, true, false)),
        ("Explanation", explain::bare()),
        ("Explanation", explain::full()),
        ("Attempt", attempt(&explain::an_attempt())),
        ("Attempt", attempt(&explain::a_refused_connection())),
        ("TopRefused", explain::top()),
        ("Simulation", simulation(&simulate::a_simulation())),
        (
            "GroupRemoved",
            with_simulation(group_deleted(&group[0], 2, true, true), &simulate::a_simulation()),
        ),
        ("Endorsement", endorsement(&tpm::an_enrollment(None))),
        ("Endorsement", endorsement(&tpm::an_enrollment(Some(tpm::demanded())))),
        ("HubError", hub_error(crate::hub::envelope_a)),
        ("HubError", hub_error(crate::hub::envelope_nested)),
        ("Error", crate::error_body(&crate::ErrorRow::new(404_205, "no"), "id", NOW)),
    ];
    answers.extend([
        ("Deprovisioning", deprovisioning(&deprovisionings::a_plan())),
        ("Deprovisioning", deprovisioning(&deprovisionings::a_receipt())),
        ("DeprovisionedDevice", deprovisioned_device(&deprovisionings::a_waiting_device())),
    ]);
    let done = deprovisionings::devices_that_are_done();
    answers.extend(done.iter().map(|item| ("DeprovisionedDevice", deprovisioned_device(item))));
    if let Json::Array(rules) = ip_rules(&settings().ip_rules) {
        answers.extend(rules.into_iter().map(|rule| ("IpRule", rule)));
    }
    answers
}

#[test]
fn answers_have_the_members_of_their_schema_in_that_order() {
    for (name, answer) in every_answer() {
        check_schema(name, &answer);
    }
}

#[test]
fn no_answer_but_that_with_keys_holds_a_key() {
    for (name, answer) in every_answer() {
        assert_eq!(answer.to_string().contains(KEY), name == "PolicyWithKeys", "{answer}");
    }
    let shown = linked_hub(&remote(Some(8443))).to_string();
    let masked = "HostName=hub-1.example.test:8443;SharedAccessKeyName=owner;SharedAccessKey=****";
    assert!(shown.contains(masked), "{shown}");
}

#[test]
fn the_verification_code_is_shown_by_the_call_that_makes_it_only() {
    let code = "0F".repeat(24);
    for (show, shown) in [(ShowCode::Yes, true), (ShowCode::No, false)] {
        let answer = certificate(&a_certificate(), &[], show).to_string();
        assert_eq!(answer.contains(&code), shown, "{answer}");
    }
}

#[test]
fn answers_are_the_recorded_ones() {
    let check = |answer: Json, expected: &str| assert_eq!(answer.to_string(), expected);
    check(
        service(&settings(), "0ne00ABCDEF", &["dps.example.test".to_owned()]),
        r#"{"allocationPolicy":"geoLatency","operatorApiOnLoopbackOnly":true,"disenrollEndsSessions":false,"idScope":"0ne00ABCDEF","hosts":["dps.example.test"],"etag":"IjAwMDAi","updated":"2026-01-01T00:00:00.5219817Z"}"#,
    );
    check(ip_rules(&settings().ip_rules), RULES);
    check(
        linked_hub(&remote(None)),
        r#"{"name":"hub-1.example.test","builtIn":false,"connectionString":"HostName=hub-1.example.test;SharedAccessKeyName=owner;SharedAccessKey=****","allocationWeight":3,"applyAllocationPolicy":true,"declared":false,"etag":"IjAwMDAi","created":"2026-01-01T00:00:00.5219817Z","updated":"2026-01-01T00:00:00.5219817Z"}"#,
    );
    check(
        policy(&a_policy()),
        r#"{"keyName":"owner","rights":"ServiceConfig, EnrollmentWrite","etag":"IjAwMDAi","created":"2026-01-01T00:00:00.5219817Z","updated":"2026-01-01T00:00:00.5219817Z"}"#,
    );
}

#[test]
fn a_hubs_own_answer_can_be_sent_back_and_keeps_its_key() {
    let hub = remote(Some(8443));
    let answer = linked_hub(&hub).to_string();
    let body = parse_linked_hub(&hub.name, answer.as_bytes()).expect("legal");
    let access = AccessBody::Remote { port: Some(8443), policy: "owner".to_owned(), key: None };
    let expected = HubBody { access, weight: Some(3), apply_allocation_policy: Some(true) };
    assert_eq!(body, expected);
}

#[test]
fn where_a_hub_is_says_its_connection_string_or_nothing() {
    let name = HubName::parse("hub-1.example.test").expect("hub");
    let parse = |body: &str| parse_linked_hub(&name, body.as_bytes());
    assert_eq!(parse("{}").expect("legal").access, AccessBody::Absent);
    assert_eq!(parse(r#"{"builtIn":true}"#).expect("legal").access, AccessBody::BuiltIn);
    let text = |rest: &str| {
        format!(r#"{{"connectionString":"SharedAccessKeyName=o;SharedAccessKey={KEY};{rest}"}}"#)
    };
    let access = parse(&text("HostName=HUB-1.example.test:443")).expect("legal").access;
    assert_eq!(access, AccessBody::Remote { port: None, policy: "o".to_owned(), key: Some(key()) });
    let check = |body: &str, part: &str| {
        let refused = parse(body).expect_err(body).to_string();
        assert!(refused.contains(part) && !refused.contains(KEY), "{refused}");
    };
    check(&text("HostName=hub-2.example.test"), "does not match");
    check(&text("HostName=hub-1.example.test:0"), "port");
    check(&text("HostName=hub-1.example.test:x"), "port");
    check(r#"{"builtIn":false}"#, "connectionString");
    check(r#"{"builtIn":true,"connectionString":"x"}"#, "builtIn");
    check(r#"{"name":"hub-2.example.test"}"#, "name");
    check(r#"{"allocationWeight":-1}"#, "allocationWeight");
    check(r#"{"allocationWeight":"1"}"#, "allocationWeight");
    check(r#"{"alocationWeight":1}"#, "alocationWeight");
    check("[]", "object");
    check("", "no body");
}

#[test]
fn a_networks_bits_beyond_its_prefix_are_refused_with_what_was_meant() {
    let parse = |mask: &str| {
        let body = format!(r#"[{{"filterName":"a","action":"reject","ipMask":"{mask}"}}]"#);
        parse_ip_rules(body.as_bytes())
    };
    for (mask, address, prefix) in [
        ("10.0.0.0/8", "10.0.0.0", 8),
        ("10.1.2.3", "10.1.2.3", 32),
        ("0.0.0.0/0", "0.0.0.0", 0),
        ("2001:db8::/32", "2001:db8::", 32),
        ("::1", "::1", 128),
        ("::/0", "::", 0),
    ] {
        let rule = parse(mask).expect("legal").remove(0);
        assert_eq!(rule.network.address, address.parse::<std::net::IpAddr>().expect("address"));
        assert_eq!(rule.network.prefix, prefix, "{mask}");
        assert_eq!((rule.action, rule.target), (IpAction::Reject, IpTarget::All));
    }
    let check = |mask: &str, part: &str| {
        let refused = parse(mask).expect_err(mask).to_string();
        assert!(refused.starts_with("[0].ipMask: ") && refused.contains(part), "{refused}");
    };
    check("10.1.2.3/8", "10.0.0.0/8");
    check("2001:db8::1/32", "2001:db8::/32");
    check("10.0.0.0/33", "0 to 32");
    check("10.0.0.0/+8", "0 to 32");
    check("::/129", "0 to 128");
    check("10.0.0.0/", "0 to 32");
    check("office", "10.0.0.0/8");
    check("", "10.0.0.0/8");
}

#[test]
fn rights_are_a_text_or_a_list_in_any_case() {
    let parse = |rights: &str| {
        let body = format!(r#"{{"rights":{rights}}}"#);
        parse_policy("p", body.as_bytes()).map(|body| rights_text(body.rights))
    };
    let both = "ServiceConfig, EnrollmentWrite";
    for rights in [
        r#""ServiceConfig, EnrollmentWrite""#,
        r#""enrollmentwrite,enrollmentread,SERVICECONFIG""#,
        r#"["EnrollmentWrite","RegistrationStatusRead","ServiceConfig"]"#,
    ] {
        assert_eq!(parse(rights).expect(rights), both, "{rights}");
    }
    for bad in [r#""Everything""#, "[1]", "null", "7"] {
        assert!(matches!(parse(bad), Err(OperatorRefusal::BadRequest(_))), "{bad}");
    }
    let short = format!(r#"{{"rights":"ServiceConfig","primaryKey":"{}"}}"#, &KEY[..8]);
    let refused = parse_policy("p", short.as_bytes()).expect_err("short").to_string();
    assert!(refused.starts_with("primaryKey: ") && !refused.contains(&KEY[..8]), "{refused}");
}

#[test]
fn a_rotation_names_its_key() {
    let parse = |body: &str| parse_rotation(body.as_bytes());
    assert_eq!(parse(r#"{"key":"Primary"}"#), Ok((RotatedKey::Primary, None)));
    let given = format!(r#"{{"key":"secondary","value":"{KEY}"}}"#);
    assert_eq!(parse(&given), Ok((RotatedKey::Secondary, Some(key()))));
    for bad in ["{}", r#"{"key":"third"}"#, r#"{"key":null}"#] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn each_refusal_has_a_code_of_its_own_and_the_status_is_its_class() {
    let text = || "x".to_owned();
    let rows = [
        (OperatorRefusal::NotProven(text()), 400_010),
        (OperatorRefusal::WouldLockOut(text()), 400_011),
        (OperatorRefusal::AddressRefused(text()), 401_002),
        (OperatorRefusal::HubNotLinked(text()), 404_205),
        (OperatorRefusal::CaCertificateNotFound(text()), 404_206),
        (OperatorRefusal::PolicyNotFound(text()), 404_207),
        (OperatorRefusal::BanNotFound(text()), 404_208),
        (OperatorRefusal::ReceiptNotFound(text()), 404_209),
        (OperatorRefusal::AttemptNotFound(text()), 404_210),
        (OperatorRefusal::CrlNotFound(text()), 404_211),
        (OperatorRefusal::HubLinked(text()), 409_205),
        (OperatorRefusal::HubDeclared(text()), 409_206),
        (OperatorRefusal::CaCertificateExists(text()), 409_207),
        (OperatorRefusal::PolicyExists(text()), 409_208),
        (OperatorRefusal::LastOwner(text()), 409_209),
        (OperatorRefusal::Throttled(7), 429_001),
    ];
    for (refusal, code) in rows {
        let row = crate::operator::error_row(&refusal);
        assert_eq!((row.code, u32::from(row.status)), (code, code / 1000), "{refusal:?}");
        assert!(!row.message.is_empty());
    }
    // Who is kept out is not told that there are rules.
    let kept_out = OperatorRefusal::AddressRefused("10.0.0.1".to_owned());
    let message = crate::operator::error_row(&kept_out).message;
    assert!(!message.contains("10.0.0.1") && !message.contains("rule"), "{message}");
}

/// What each request body may have, by its schema, is read; the tests above say how.
#[test]
fn requests_read_every_member_of_their_schema() {
    type Parse = fn(&[u8]) -> Option<OperatorRefusal>;
    let hub = |body: &[u8]| {
        let name = HubName::parse("hub-1.example.test").expect("hub");
        parse_linked_hub(&name, body).err()
    };
    let parsers: [(&str, &str, Parse); 7] = [
        ("ServiceChange", "{}", |body| parse_service(body).err()),
        ("GroupSettingsDraft", "{}", |body| parse_group_settings(body).err()),
        ("LinkedHubDraft", "{}", hub),
        ("CertificateDraft", r#"{"certificate":"MAIwAA=="}"#, |body| parse_certificate(body).err()),
        ("CertificateProof", r#"{"certificate":"MAIwAA=="}"#, |body| parse_proof(body).err()),
        ("PolicyDraft", r#"{"rights":"DeviceConnect"}"#, |body| parse_policy("p", body).err()),
        ("PolicyRotation", r#"{"key":"primary"}"#, |body| parse_rotation(body).err()),
    ];
    for (document, legal, parse) in parsers {
        assert_eq!(parse(legal.as_bytes()), None, "{document}");
        let schema = DOCUMENTS.iter().find(|one| one.name == document).expect("a schema");
        for member in schema.members {
            let mut body = json::parse(legal).expect("JSON");
            // Nothing takes an object, so whoever reads the member complains about it.
            body.set(member.name, Json::empty_object());
            let refused = parse(body.to_string().as_bytes()).expect("refused").to_string();
            assert!(refused.starts_with(&format!("{}: ", member.name)), "{document}: {refused}");
            body.remove(member.name);
            assert_eq!(parse(body.to_string().as_bytes()).is_some(), member.required, "{body}");
        }
    }
}

/// A message may have an object where its schema allows anything.
#[test]
fn a_message_reads_every_member_of_its_schema() {
    let schema = DOCUMENTS.iter().find(|one| one.name == "MessageDraft").expect("a schema");
    for member in schema.members {
        assert!(!member.required, "{member:?}");
        let body = Json::Object(vec![(member.name.to_owned(), Json::from(7))]);
        let parsed = crate::hub::parse_message(body.to_string().as_bytes());
        match (member.shape, parsed) {
            (Shape::Value, parsed) => assert_eq!(parsed.expect("legal").body, b"7"),
            (_, Err(HubRefusal::ArgumentInvalid(text))) => {
                assert!(text.starts_with(&format!("{}: expected", member.name)), "{text}");
            }
            (_, other) => panic!("{}: {other:?}", member.name),
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_body_makes_a_parser_panic(body: Vec<u8>, text: String) {
        let name = HubName::parse("hub-1.example.test").expect("hub");
        let _ = parse_service(&body);
        let _ = parse_group_settings(&body);
        let _ = parse_ip_rules(&body);
        let _ = parse_linked_hub(&name, &body);
        let _ = parse_certificate(&body);
        let _ = parse_tpm_group(&body);
        let _ = parse_simulation(&body);
        let _ = parse_explain(&body, |hub| HubName::parse(hub).ok());
        let _ = parse_endorsement(&body);
        let _ = parse_policy("p", &body);
        let _ = parse_rotation(&body);
        let rule = Json::Array(vec![Json::Object(vec![
            ("filterName".to_owned(), "a".into()),
            ("action".to_owned(), "Accept".into()),
            ("ipMask".to_owned(), text.as_str().into()),
        ])]);
        let _ = parse_ip_rules(rule.to_string().as_bytes());
    }
}
