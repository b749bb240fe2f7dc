use model::{
    Assignment, AttestationDraft, AttestationKind, AttestationMechanism, BadId, CaKeys,
    CertificateDraft, CertificateInfo, DeviceId, EnrolledCertificate, EnrollmentGroup,
    EnrollmentGroupId, EnrollmentRef, Etag, HubName, IndividualEnrollment, Json, OperatorRefusal,
    ProvisioningStatus, RegistrationId, RegistrationRecord, RegistrationStatus, ReprovisionPolicy,
    Sent, Slots, Substatus, SymmetricKey, SymmetricKeys, Terms, TpmIdentity,
};

use super::*;
use crate::time;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The body that the vendor's CLI sends for the simplest `enrollment-group create` (O §1.14).
const CLI_GROUP: &str = r#"{"enrollmentGroupId":"line-7","attestation":{"type":"symmetricKey","symmetricKey":{}},"capabilities":{"iotEdge":false},
 "initialTwin":{"tags":{},"properties":{"desired":{}}},"reprovisionPolicy":{"updateHubAssignment":true,"migrateDeviceData":true}}"#;

fn keys() -> SymmetricKeys {
    let key = SymmetricKey::parse(KEY).expect("key");
    SymmetricKeys { primary: key.clone(), secondary: key }
}

fn certificate() -> EnrolledCertificate {
    EnrolledCertificate {
        der: vec![0x30],
        info: CertificateInfo {
            subject_name: "CN=press-17".to_owned(),
            sha1_thumbprint: "AB".repeat(20),
            sha256_thumbprint: "CD".repeat(32),
            issuer_name: "CN=root".to_owned(),
            not_before: time::parse("2026-01-01T00:00:00Z").expect("time"),
            not_after: time::parse("2027-01-01T00:00:00Z").expect("time"),
            serial_number: "0A".to_owned(),
            version: 3,
        },
        keys: CaKeys { subject: [0; 32], issuer: [0; 32], subject_and_key: [0; 32] },
    }
}

/// Terms with nothing but what is required.
fn terms(attestation: AttestationMechanism) -> Terms {
    let created = time::parse("2026-01-01T10:00:00.5219817Z").expect("time");
    Terms {
        attestation,
        iot_edge: None,
        iot_hub_host_name: None,
        initial_twin: None,
        etag: Etag::from_stored("IjBhMDA1MzQzLTAwMDAtMDgwMC0wMDAwLTY0NjgwMWZkMDAwMCI="),
        provisioning_status: Sent::Absent,
        reprovision_policy: None,
        created,
        last_updated: created,
        allocation_policy: None,
        iot_hubs: None,
        custom_allocation: None,
        version: 1,
    }
}

fn enrollment(terms: Terms) -> IndividualEnrollment {
    IndividualEnrollment {
        registration_id: RegistrationId::parse("press-17").expect("id"),
        device_id: None,
        optional_device_information: None,
        terms,
    }
}

fn record() -> RegistrationRecord {
    let id = RegistrationId::parse("press-17").expect("id");
    let hub = HubName::parse("hub-1.example.net").expect("hub");
    RegistrationRecord {
        created: time::parse("2026-01-31T22:02:50.5Z").expect("time"),
        last_updated: time::parse("2026-01-31T22:02:51Z").expect("time"),
        status: RegistrationStatus::Assigned,
        assignment: Some(Assignment {
            hub: hub.clone(),
            device_id: DeviceId::from(&id),
            substatus: Substatus::DeviceDataMigrated,
            initial_hub: hub,
        }),
        pending: None,
        failure: None,
        payload: None,
        wrapped_hub_key: None,
        etag: Etag::from_stored("Ingi"),
        enrollment: EnrollmentRef::Individual(id.clone()),
        registration_id: id,
        mechanism: AttestationKind::SymmetricKey,
        operations: vec![],
        version: 1,
    }
}

/// The body is refused with this text.
fn check_refused(body: &str, text: &str) {
    let refusal = parse_individual(body.as_bytes()).expect_err(body);
    assert_eq!(refusal, OperatorRefusal::BadRequest(text.to_owned()), "{body}");
}

/// An individual enrollment with this attestation is refused with this text.
fn check_attestation_refused(attestation: &str, text: &str) {
    check_refused(&format!(r#"{{"registrationId":"a","attestation":{attestation}}}"#), text);
}

fn attestation_of(attestation: &str) -> AttestationDraft {
    let body = format!(r#"{{"registrationId":"a","attestation":{attestation}}}"#);
    parse_individual(body.as_bytes()).expect(attestation).draft.attestation
}

#[test]
fn the_worked_exchange_is_answered_member_by_member() {
    let sent = parse_group(CLI_GROUP.as_bytes()).expect("the CLI's body");
    assert_eq!(
        sent.draft.attestation,
        AttestationDraft::SymmetricKey { primary: None, secondary: None }
    );
    assert_eq!(sent.draft.provisioning_status, Sent::Absent);
    let stored = EnrollmentGroup {
        settings: model::GroupSettings::default(),
        group_id: sent.group_id,
        terms: Terms {
            iot_edge: sent.draft.iot_edge,
            initial_twin: sent.draft.initial_twin,
            reprovision_policy: sent.draft.reprovision_policy,
            ..terms(AttestationMechanism::SymmetricKey(keys()))
        },
    };
    assert_eq!(
        group(&stored, Show::PutAnswer).to_string(),
        concat!(
            r#"{"enrollmentGroupId":"line-7","attestation":{"type":"symmetricKey","symmetricKey":"#,
            r#"{"primaryKey":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=","#,
            r#""secondaryKey":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}},"#,
            r#""capabilities":{"iotEdge":false},"initialTwin":{"tags":{},"properties":{"desired":{}}},"#,
            r#""etag":"IjBhMDA1MzQzLTAwMDAtMDgwMC0wMDAwLTY0NjgwMWZkMDAwMCI=","#,
            r#""reprovisionPolicy":{"updateHubAssignment":true,"migrateDeviceData":true},"#,
            r#""createdDateTimeUtc":"2026-01-01T10:00:00.5219817Z","#,
            r#""lastUpdatedDateTimeUtc":"2026-01-01T10:00:00.5219817Z"}"#
        )
    );
}

#[test]
fn members_come_in_the_order_of_real_answers_and_words_in_their_canonical_case() {
    let body = r#"{"registrationId":"Press-17","deviceId":"p17","registrationState":{"status":"assigned"},
        "optionalDeviceInformation":{"additionalProperties":{"n":1.0}},
        "attestation":{"type":"SYMMETRICKEY","symmetricKey":{"primaryKey":"","secondaryKey":null}},
        "capabilities":{"iotEdge":true},"iotHubHostName":"hub-1.example.net",
        "initialTwin":{"tags":{"b":1,"a":[]}},"etag":"Ingi","provisioningStatus":"Disabled",
        "reprovisionPolicy":{"updateHubAssignment":false,"migrateDeviceData":null},
        "createdDateTimeUtc":"whenever","allocationPolicy":"GEOLATENCY","iotHubs":["a.b"],
        "customAllocationDefinition":{"webhookUrl":"https://x","apiVersion":"2019-03-31"},"new":1}"#;
    let sent = parse_individual(body.as_bytes()).expect("legal");
    assert_eq!(sent.draft.etag.as_deref(), Some("Ingi"));
    let stored = IndividualEnrollment {
        registration_id: sent.registration_id,
        device_id: sent.device_id,
        optional_device_information: sent.optional_device_information,
        terms: Terms {
            iot_edge: sent.draft.iot_edge,
            iot_hub_host_name: sent.draft.iot_hub_host_name,
            initial_twin: sent.draft.initial_twin,
            provisioning_status: sent.draft.provisioning_status,
            reprovision_policy: sent.draft.reprovision_policy,
            allocation_policy: sent.draft.allocation_policy,
            iot_hubs: sent.draft.iot_hubs,
            custom_allocation: sent.draft.custom_allocation,
            ..terms(AttestationMechanism::SymmetricKey(keys()))
        },
    };
    let record = record();
    assert_eq!(
        individual(&stored, Show::Get(Some(&record))).to_string(),
        concat!(
            r#"{"registrationId":"Press-17","deviceId":"p17","registrationState":{"#,
            r#""registrationId":"press-17","createdDateTimeUtc":"2026-01-31T22:02:50.5Z","#,
            r#""assignedHub":"hub-1.example.net","deviceId":"press-17","status":"assigned","#,
            r#""substatus":"deviceDataMigrated","lastUpdatedDateTimeUtc":"2026-01-31T22:02:51Z","#,
            r#""etag":"Ingi"},"optionalDeviceInformation":{"additionalProperties":{"n":1.0}},"#,
            r#""attestation":{"type":"symmetricKey"},"capabilities":{"iotEdge":true},"#,
            r#""iotHubHostName":"hub-1.example.net","initialTwin":{"tags":{"b":1,"a":[]}},"#,
            r#""etag":"IjBhMDA1MzQzLTAwMDAtMDgwMC0wMDAwLTY0NjgwMWZkMDAwMCI=","#,
            r#""provisioningStatus":"disabled","reprovisionPolicy":{"updateHubAssignment":false},"#,
            r#""createdDateTimeUtc":"2026-01-01T10:00:00.5219817Z","#,
            r#""lastUpdatedDateTimeUtc":"2026-01-01T10:00:00.5219817Z","allocationPolicy":"geoLatency","#,
            r#""iotHubs":["a.b"],"customAllocationDefinition":{"webhookUrl":"https://x","#,
            r#""apiVersion":"2019-03-31"}}"#
        )
    );
}

#[test]
fn keys_show_in_put_answers_and_attestationmechanism_and_nowhere_else() {
    let enrollment = enrollment(terms(AttestationMechanism::SymmetricKey(keys())));
    let record = record();
    let shows_keys = |json: &Json| json.to_string().contains(KEY);
    assert!(shows_keys(&individual(&enrollment, Show::PutAnswer)));
    assert!(shows_keys(&attestation_mechanism(&enrollment.terms.attestation)));
    for show in [Show::Get(None), Show::Get(Some(&record)), Show::QueryItem] {
        let shown = individual(&enrollment, show);
        assert!(!shows_keys(&shown));
        assert_eq!(
            shown.get("attestation").map(Json::to_string).as_deref(),
            Some(r#"{"type":"symmetricKey"}"#)
        );
    }
}

#[test]
fn the_registration_state_shows_on_get_only_and_is_unassigned_without_a_record() {
    let enrollment = enrollment(terms(AttestationMechanism::SymmetricKey(keys())));
    let state = |show| individual(&enrollment, show).get("registrationState").map(Json::to_string);
    assert_eq!(state(Show::PutAnswer), None);
    assert_eq!(state(Show::QueryItem), None);
    assert_eq!(
        state(Show::Get(None)).as_deref(),
        Some(r#"{"registrationId":"press-17","status":"unassigned"}"#)
    );
    let group = EnrollmentGroup {
        group_id: EnrollmentGroupId::parse("g").expect("id"),
        terms: enrollment.terms.clone(),
        settings: model::GroupSettings::default(),
    };
    assert_eq!(super::group(&group, Show::Get(None)).get("registrationState"), None);
}

#[test]
fn certificates_show_as_info_and_never_as_themselves() {
    let slots = Slots { primary: Some(certificate()), secondary: None };
    let info = concat!(
        r#"{"info":{"subjectName":"CN=press-17","sha1Thumbprint":"ABABABABABABABABABABABABABABABABABABABAB","#,
        r#""sha256Thumbprint":"CDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCD","#,
        r#""issuerName":"CN=root","notBeforeUtc":"2026-01-01T00:00:00Z","#,
        r#""notAfterUtc":"2027-01-01T00:00:00Z","serialNumber":"0A","version":3}}"#
    );
    assert_eq!(
        attestation_mechanism(&AttestationMechanism::X509Client(slots.clone())).to_string(),
        format!(r#"{{"type":"x509","x509":{{"clientCertificates":{{"primary":{info}}}}}}}"#)
    );
    assert_eq!(
        attestation_mechanism(&AttestationMechanism::X509Signing(slots)).to_string(),
        format!(r#"{{"type":"x509","x509":{{"signingCertificates":{{"primary":{info}}}}}}}"#)
    );
}

#[test]
fn ca_references_and_tpm_keys_show_everywhere() {
    let references = Slots { primary: Some("root-1".to_owned()), secondary: None };
    let mechanism = AttestationMechanism::X509CaReferences(references);
    assert_eq!(
        individual(&enrollment(terms(mechanism)), Show::QueryItem)
            .get("attestation")
            .map(Json::to_string)
            .as_deref(),
        Some(r#"{"type":"x509","x509":{"caReferences":{"primary":"root-1"}}}"#)
    );
    let tpm = TpmIdentity {
        endorsement_key: vec![1, 0x3a, 0],
        storage_root_key: None,
        endorsement: None,
    };
    assert_eq!(
        attestation_mechanism(&AttestationMechanism::Tpm(tpm)).to_string(),
        r#"{"type":"tpm","tpm":{"endorsementKey":"AToA"}}"#
    );
}

#[test]
fn an_explicit_null_status_is_echoed_and_an_absent_one_stays_absent() {
    let check = |member: &str, expected: Sent<ProvisioningStatus>, shown: Option<Json>| {
        let body =
            format!(r#"{{"registrationId":"a","attestation":{{"type":"symmetricKey"}}{member}}}"#);
        let draft = parse_individual(body.as_bytes()).expect(member).draft;
        assert_eq!(draft.provisioning_status, expected);
        let mut terms = terms(AttestationMechanism::SymmetricKey(keys()));
        terms.provisioning_status = expected;
        let answer = individual(&enrollment(terms), Show::QueryItem);
        assert_eq!(answer.get("provisioningStatus"), shown.as_ref());
    };
    check("", Sent::Absent, None);
    check(r#","provisioningStatus":null"#, Sent::Null, Some(Json::Null));
    check(
        r#","provisioningStatus":"ENABLED""#,
        Sent::Value(ProvisioningStatus::Enabled),
        Some(Json::from("enabled")),
    );
}

#[test]
fn null_is_accepted_for_every_optional_member() {
    let body = r#"{"registrationId":"a","deviceId":null,"registrationState":null,
        "optionalDeviceInformation":null,"attestation":{"type":"symmetricKey","tpm":null,
        "x509":null,"symmetricKey":null},"capabilities":null,"iotHubHostName":null,
        "initialTwin":null,"etag":null,"provisioningStatus":null,"reprovisionPolicy":null,
        "createdDateTimeUtc":null,"lastUpdatedDateTimeUtc":null,"allocationPolicy":null,
        "iotHubs":null,"customAllocationDefinition":null}"#;
    let sent = parse_individual(body.as_bytes()).expect("legal");
    assert_eq!(sent.device_id, None);
    assert_eq!(sent.draft.reprovision_policy, None);
    assert_eq!(sent.draft.iot_hubs, None);
}

#[test]
fn given_keys_and_policies_are_read() {
    let key = SymmetricKey::parse(KEY).ok();
    assert_eq!(
        attestation_of(&format!(
            r#"{{"type":"symmetricKey","symmetricKey":{{"primaryKey":"{KEY}"}}}}"#
        )),
        AttestationDraft::SymmetricKey { primary: key, secondary: None }
    );
    let sent = parse_group(CLI_GROUP.as_bytes()).expect("legal");
    let policy =
        ReprovisionPolicy { update_hub_assignment: Some(true), migrate_device_data: Some(true) };
    assert_eq!(sent.draft.reprovision_policy, Some(policy));
}

#[test]
fn a_slot_with_info_only_keeps_the_certificate_it_names() {
    let keep = |thumbprint: Option<&str>| {
        Some(CertificateDraft::Keep { thumbprint: thumbprint.map(str::to_owned) })
    };
    let check = |primary: &str, expected: Option<CertificateDraft>| {
        let sent = attestation_of(&format!(
            r#"{{"type":"x509","x509":{{"signingCertificates":{{"primary":{primary}}}}}}}"#
        ));
        let slots = Slots { primary: expected, secondary: None };
        let draft =
            AttestationDraft::X509 { client: None, signing: Some(slots), ca_references: None };
        assert_eq!(sent, draft, "{primary}");
    };
    check(r#"{"info":{"sha1Thumbprint":"aa","sha256Thumbprint":"bb"}}"#, keep(Some("BB")));
    check(r#"{"certificate":null,"info":{"sha1Thumbprint":"aa"}}"#, keep(Some("AA")));
    check(r#"{"certificate":"","info":{"version":3}}"#, keep(None));
    check("{}", None);
    check("null", None);
}

#[test]
fn a_wrong_type_is_refused_with_path_and_expectation() {
    check_refused("", "the request has no body");
    check_refused("{", "line 1, column 2: expected a member name in double quotes");
    check_refused("7", "the request body: expected an object, found a number");
    check_refused("{}", "registrationId: is required");
    check_refused(r#"{"registrationId":"a"}"#, "attestation: is required");
    check_refused(
        r#"{"registrationId":"a."}"#,
        "registrationId: an ID must end in a letter, a digit or `-`, not in '.'",
    );
    let with = |member: &str| {
        format!(r#"{{"registrationId":"a","attestation":{{"type":"symmetricKey"}},{member}}}"#)
    };
    check_refused(&with(r#""deviceId":"a/b""#), "deviceId: character '/' is not allowed in an ID");
    check_refused(
        &with(r#""capabilities":{"iotEdge":"yes"}"#),
        "capabilities.iotEdge: expected true or false, found a string",
    );
    check_refused(&with(r#""initialTwin":[]"#), "initialTwin: expected an object, found an array");
    check_refused(
        &with(r#""allocationPolicy":"nearest""#),
        "allocationPolicy: expected one of hashed, geoLatency, static, custom",
    );
    check_refused(&with(r#""iotHubs":["a",7]"#), "iotHubs[1]: expected a string, found a number");
    check_refused(
        &with(r#""customAllocationDefinition":{"webhookUrl":"https://x"}"#),
        "customAllocationDefinition.apiVersion: is required",
    );
}

#[test]
fn a_bad_attestation_is_refused_and_its_secrets_not_repeated() {
    check_attestation_refused("{}", "attestation.type: is required");
    check_attestation_refused(
        r#"{"type":"none"}"#,
        "attestation.type: none attests nothing; use symmetricKey, x509 or tpm",
    );
    check_attestation_refused(
        r#"{"type":"faith"}"#,
        "attestation.type: expected one of symmetricKey, x509, tpm, none",
    );
    check_attestation_refused(r#"{"type":"x509"}"#, "attestation.x509: is required");
    check_attestation_refused(
        r#"{"type":"tpm","tpm":{}}"#,
        "attestation.tpm.endorsementKey: is required",
    );
    check_attestation_refused(
        r#"{"type":"symmetricKey","symmetricKey":{"primaryKey":"hush!"}}"#,
        "attestation.symmetricKey.primaryKey: a symmetric key must be base64",
    );
    check_attestation_refused(
        r#"{"type":"x509","x509":{"clientCertificates":{"primary":{"certificate":12}}}}"#,
        "attestation.x509.clientCertificates.primary.certificate: expected a string, found a number",
    );
    check_attestation_refused(
        r#"{"type":"x509","x509":{"clientCertificates":{"secondary":{"certificate":"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"}}}}"#,
        "attestation.x509.clientCertificates.secondary.certificate: this holds a private key; \
         send the certificate only. The key has left its place, so consider it known and replace it",
    );
}

#[test]
fn ids_of_paths_are_refused_with_a_bounded_echo() {
    let long = "x".repeat(500);
    let refusal = registration_id(&long).expect_err("too long");
    let OperatorRefusal::BadId { id, source, .. } = refusal else { panic!("{refusal:?}") };
    assert_eq!((id.len(), source), (160, BadId::TooLong(500)));
    assert!(group_id("a b").is_err());
    assert!(group_id("line-4").is_ok());
}

#[test]
fn any_query_text_is_taken_and_only_broken_json_refused() {
    for body in ["", "  ", r#"{"query":"SELECT *"}"#, r#"{"query":7}"#, "[]"] {
        assert_eq!(check_query(body.as_bytes()), Ok(()), "{body}");
    }
    assert!(check_query(b"{'query': 'SELECT *'}").is_err());
}

#[test]
fn a_bulk_call_holds_drafts_or_bare_ids() {
    let item = r#"{"registrationId":"a","attestation":{"type":"symmetricKey"},"etag":"x"}"#;
    let parse = |mode: &str, items: &str| {
        let body = format!(r#"{{"enrollments":[{items}],"mode":"{mode}"}}"#);
        parse_bulk_individuals(body.as_bytes())
    };
    let Ok(Bulk::Create(drafts)) = parse("create", item) else { panic!("create") };
    assert_eq!(drafts[0].draft.etag.as_deref(), Some("x"));
    assert!(matches!(parse("Update", item), Ok(Bulk::Update(_))));
    assert!(matches!(parse("updateIfMatchETag", item), Ok(Bulk::UpdateIfMatchEtag(_))));
    assert!(matches!(parse("updateIfMatchEtag", item), Ok(Bulk::UpdateIfMatchEtag(_))));
    let Ok(Bulk::Delete(ids)) = parse("delete", r#"{"registrationId":"a"}"#) else {
        panic!("delete")
    };
    assert_eq!(ids[0].as_str(), "a");
}

#[test]
fn a_bad_bulk_call_names_the_item() {
    let check = |body: &str, text: &str| {
        let refusal = parse_bulk_groups(body.as_bytes()).expect_err(body);
        assert_eq!(refusal, OperatorRefusal::BadRequest(text.to_owned()));
    };
    check(r#"{"enrollmentGroups":[]}"#, "mode: is required");
    check(
        r#"{"enrollmentGroups":[],"mode":"upsert"}"#,
        "mode: expected one of create, update, updateIfMatchETag, delete",
    );
    check(r#"{"enrollments":[],"mode":"create"}"#, "enrollmentGroups: is required");
    check(
        r#"{"enrollmentGroups":[{"enrollmentGroupId":"a","attestation":{"type":"symmetricKey"}},{"enrollmentGroupId":"b"}],"mode":"create"}"#,
        "enrollmentGroups[1].attestation: is required",
    );
    let eleven = [r#"{"enrollmentGroupId":"a"}"#; 11].join(",");
    check(
        &format!(r#"{{"enrollmentGroups":[{eleven}],"mode":"delete"}}"#),
        "enrollmentGroups: at most 10 items, these are 11",
    );
}

#[test]
fn a_bulk_answer_lists_the_refused_items_as_recorded() {
    let id = RegistrationId::parse("a").expect("id");
    assert_eq!(
        bulk_answer_individuals(&[(id, OperatorRefusal::EnrollmentExists)]).to_string(),
        r#"{"errors":[{"registrationId":"a","errorCode":409201,"errorStatus":"Enrollment already exists."}],"isSuccessful":false}"#
    );
    let id = EnrollmentGroupId::parse("g").expect("id");
    assert_eq!(
        bulk_answer_groups(&[(id, OperatorRefusal::GroupExists)]).to_string(),
        r#"{"errors":[{"enrollmentGroupId":"g","errorCode":409202,"errorStatus":"EnrollmentGroup already exists."}],"isSuccessful":false}"#
    );
    assert_eq!(bulk_answer_groups(&[]).to_string(), r#"{"errors":[],"isSuccessful":true}"#);
}

#[test]
fn every_refusal_has_its_row_and_its_status_is_its_codes_class() {
    let text = |text: &str| text.to_owned();
    let table = [
        (OperatorRefusal::Unauthenticated(text("x")), 401_002, "Unauthorized: x"),
        (
            OperatorRefusal::Forbidden { policy: text("reader"), right: "EnrollmentWrite" },
            401_003,
            "Unauthorized: the policy `reader` lacks the right EnrollmentWrite.",
        ),
        (
            OperatorRefusal::BadId {
                what: "registrationId",
                id: text("a/"),
                source: BadId::Character('/'),
            },
            400_004,
            "registrationId \"a/\" is not legal: character '/' is not allowed in an ID",
        ),
        (OperatorRefusal::BadRequest(text("why")), 400_000, "why"),
        (
            OperatorRefusal::HubsWithoutPolicy,
            400_004,
            "Enrollment allocationPolicy must be specified when iotHubs are specified.",
        ),
        (OperatorRefusal::EnrollmentNotFound, 404_201, "Enrollment not found."),
        (OperatorRefusal::GroupNotFound, 404_202, "EnrollmentGroup not found."),
        (OperatorRefusal::RecordNotFound, 404_203, "Registration not found."),
        (OperatorRefusal::EnrollmentExists, 409_201, "Enrollment already exists."),
        (OperatorRefusal::GroupExists, 409_202, "EnrollmentGroup already exists."),
        (OperatorRefusal::StaleEtag, 412_000, "Precondition failed: ETag is invalid."),
        (
            OperatorRefusal::Conflict,
            409_203,
            "someone else changed it at the same time; read it and try again",
        ),
        (
            OperatorRefusal::QuotaExceeded { what: "enrollment groups", limit: 100 },
            403_001,
            "the limit of 100 enrollment groups is reached",
        ),
    ];
    for (refusal, code, message) in table {
        let row = error_row(&refusal);
        assert_eq!((row.code, row.message.as_str()), (code, message));
        assert_eq!(u32::from(row.status), code / 1000, "{refusal:?}");
    }
}

proptest::proptest! {
    #[test]
    fn parsing_a_body_never_panics(body: Vec<u8>) {
        let _ = parse_individual(&body);
        let _ = parse_bulk_groups(&body);
    }

    #[test]
    fn parsing_members_of_any_text_never_panics(kind: String, text: String) {
        let text = Json::from(text.as_str());
        let kind = Json::from(kind.as_str());
        let body = format!(
            r#"{{"registrationId":{text},"deviceId":{text},"attestation":{{"type":"x509","x509":{{"clientCertificates":{{"primary":{{"certificate":{text}}}}}}}}},"allocationPolicy":{kind}}}"#
        );
        let _ = parse_individual(body.as_bytes());
    }
}
