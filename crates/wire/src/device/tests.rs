use model::{
    Assignment, AttestFailure, DeviceId, EnrollmentRef, Etag, Failure, HubName, Timestamp,
};

use super::*;

fn operation() -> OperationId {
    OperationId::parse("4.0bdadb0c47c2d6b4.4a081f01-f5f2-4d1c-87c5-af533f1a3958").expect("id")
}

fn record(status: RegistrationStatus) -> RegistrationRecord {
    let id = RegistrationId::parse("dev-1").expect("id");
    let hub = HubName::parse("hub-1.example.net").expect("hub");
    RegistrationRecord {
        created: time::parse("2026-01-31T22:02:50.5163352Z").expect("time"),
        last_updated: time::parse("2026-01-31T22:02:51.0001234Z").expect("time"),
        status,
        assignment: Some(Assignment {
            hub: hub.clone(),
            device_id: DeviceId::from(&id),
            substatus: Substatus::InitialAssignment,
            initial_hub: hub,
        }),
        pending: None,
        failure: Some(Failure {
            code: 400_207,
            message: "Custom allocation failed with status code: 404".to_owned(),
        }),
        payload: Some(Json::empty_object()),
        wrapped_hub_key: None,
        etag: Etag::from_stored("IjZhMDBiYzM4LTAwMDAtMGQwMC0wMDAwLTYzMGZkYTRmMDAwMCI="),
        enrollment: EnrollmentRef::Individual(id.clone()),
        registration_id: id,
        mechanism: AttestationKind::X509,
        operations: vec![],
        version: 1,
    }
}

fn check_status(record: &RegistrationRecord, expected: &str) {
    let answer = operation_status(&operation(), record, ApiVersion::V2019_03_31).to_string();
    let head = r#"{"operationId":"4.0bdadb0c47c2d6b4.4a081f01-f5f2-4d1c-87c5-af533f1a3958","#;
    assert_eq!(answer, format!("{head}{expected}}}"));
}

#[test]
fn an_accepted_registration_is_answered_as_in_the_golden_transcript() {
    assert_eq!(
        accepted(&operation()).to_string(),
        r#"{"operationId":"4.0bdadb0c47c2d6b4.4a081f01-f5f2-4d1c-87c5-af533f1a3958","status":"assigning"}"#
    );
}

#[test]
fn while_work_goes_on_the_state_has_id_and_status_and_nothing_else() {
    check_status(
        &record(RegistrationStatus::Assigning),
        r#""status":"assigning","registrationState":{"registrationId":"dev-1","status":"assigning"}"#,
    );
}

#[test]
fn an_assigned_device_is_told_hub_and_name_in_the_order_of_the_profile() {
    check_status(
        &record(RegistrationStatus::Assigned),
        concat!(
            r#""status":"assigned","registrationState":{"x509":{},"registrationId":"dev-1","#,
            r#""createdDateTimeUtc":"2026-01-31T22:02:50.5163352Z","assignedHub":"hub-1.example.net","#,
            r#""deviceId":"dev-1","status":"assigned","substatus":"initialAssignment","#,
            r#""lastUpdatedDateTimeUtc":"2026-01-31T22:02:51.0001234Z","#,
            r#""etag":"IjZhMDBiYzM4LTAwMDAtMGQwMC0wMDAwLTYzMGZkYTRmMDAwMCI=","payload":{}}"#
        ),
    );
}

#[test]
fn x509_and_payload_are_left_out_where_they_do_not_belong() {
    let mut record = record(RegistrationStatus::Assigned);
    record.mechanism = AttestationKind::SymmetricKey;
    record.payload = Some(Json::from("a payload that is no object"));
    let result = registration_result(&record);
    assert_eq!(result.get("x509"), None);
    assert_eq!(result.get("payload"), None);
}

#[test]
fn a_failed_registration_has_code_and_message_and_no_hub() {
    check_status(
        &record(RegistrationStatus::Failed),
        concat!(
            r#""status":"failed","registrationState":{"registrationId":"dev-1","#,
            r#""createdDateTimeUtc":"2026-01-31T22:02:50.5163352Z","status":"failed","#,
            r#""errorCode":400207,"errorMessage":"Custom allocation failed with status code: 404","#,
            r#""lastUpdatedDateTimeUtc":"2026-01-31T22:02:51.0001234Z","#,
            r#""etag":"IjZhMDBiYzM4LTAwMDAtMGQwMC0wMDAwLTYzMGZkYTRmMDAwMCI="}"#
        ),
    );
}

#[test]
fn a_disabled_registration_shows_no_earlier_assignment() {
    check_status(
        &record(RegistrationStatus::Disabled),
        concat!(
            r#""status":"disabled","registrationState":{"registrationId":"dev-1","#,
            r#""createdDateTimeUtc":"2026-01-31T22:02:50.5163352Z","status":"disabled","#,
            r#""lastUpdatedDateTimeUtc":"2026-01-31T22:02:51.0001234Z","#,
            r#""etag":"IjZhMDBiYzM4LTAwMDAtMGQwMC0wMDAwLTYzMGZkYTRmMDAwMCI="}"#
        ),
    );
}

#[test]
fn the_first_api_version_calls_the_state_by_its_old_name() {
    let record = record(RegistrationStatus::Assigned);
    let answer = operation_status(&operation(), &record, ApiVersion::V2017_08_31Preview);
    assert_eq!(answer.get("registrationStatus"), Some(&registration_result(&record)));
    assert_eq!(answer.get("registrationState"), None);
}

#[test]
fn no_answer_holds_null() {
    for status in [
        RegistrationStatus::Assigning,
        RegistrationStatus::Assigned,
        RegistrationStatus::Failed,
        RegistrationStatus::Disabled,
    ] {
        let answer = operation_status(&operation(), &record(status), ApiVersion::V2026_11_01);
        assert!(!answer.to_string().contains("null"), "{answer}");
    }
}

#[test]
fn a_register_body_is_read_as_each_client_sends_it() {
    let check = |body: &str, id: Option<&str>, payload: Option<&str>| {
        let read = parse_register(body.as_bytes()).expect(body);
        assert_eq!(read.registration_id.as_ref().map(RegistrationId::as_str), id, "{body}");
        assert_eq!(read.payload.map(|json| json.to_string()).as_deref(), payload, "{body}");
        assert_eq!(read.tpm, None, "{body}");
    };
    check("", None, None);
    check(" \r\n", None, None);
    check("{}", None, None);
    check(r#"{"registrationId":"dev-1"}"#, Some("dev-1"), None);
    check(r#"{"registrationId":"Dev:1","payload":null,"tpm":null}"#, Some("Dev:1"), None);
    check(r#"{"payload":"{\"a\":1}"}"#, None, Some(r#""{\"a\":1}""#));
    check(r#"{ "payload" : { "n" : 1.0 }, "new" : [] }"#, None, Some(r#"{"n":1.0}"#));
}

#[test]
fn tpm_keys_and_the_wish_for_a_certificate_are_read() {
    let body = br#"{"tpm":{"endorsementKey":"AToA","storageRootKey":""},"csr":"MIIB"}"#;
    let read = parse_register(body).expect("legal");
    let tpm = TpmKeys {
        endorsement_key: vec![1, 0x3a, 0],
        storage_root_key: None,
        endorsement_certificates: Vec::new(),
    };
    assert_eq!(read.tpm, Some(tpm));
    assert!(read.wants_certificate);
}

#[test]
fn a_bad_register_body_is_refused_with_place_and_reason() {
    let check = |body: &str, text: &str| {
        let refusal = parse_register(body.as_bytes()).expect_err(body);
        assert_eq!(refusal, DeviceRefusal::BadRequest(text.to_owned()));
    };
    check("{", "line 1, column 2: expected a member name in double quotes");
    check("[]", "the request body: expected an object, found an array");
    check(r#"{"registrationId":7}"#, "registrationId: expected a string, found a number");
    check(r#"{"registrationId":"a/b"}"#, "registrationId: character '/' is not allowed in an ID");
    check(r#"{"tpm":{}}"#, "tpm.endorsementKey: is required");
    check(r#"{"tpm":{"endorsementKey":"?"}}"#, "tpm.endorsementKey: expected base64");
    let large = " ".repeat(MAX_BODY_BYTES + 1);
    check(&large, "the JSON text has more than 98304 bytes");
}

fn banned(is_tpm: bool) -> DeviceRefusal {
    DeviceRefusal::Banned { ban: "registration:press-17".to_owned(), is_tpm }
}

/// Every refusal of the device API, with its number and what the device reads.
fn table() -> Vec<(DeviceRefusal, u32, &'static str)> {
    let attest = DeviceRefusal::NotAttested;
    let text = String::new;
    let certificate = "Invalid certificate.";
    vec![
        (DeviceRefusal::UnknownIdScope, 404_000, "ID scope not found."),
        (DeviceRefusal::NotEnrolled, 401_002, "Unauthorized"),
        (DeviceRefusal::TpmNotEnrolled, 404_201, "Enrollment not found."),
        (banned(false), 401_002, "Unauthorized"),
        (banned(true), 404_201, "Enrollment not found."),
        (DeviceRefusal::UnknownOperation, 404_204, "Operation not found."),
        (DeviceRefusal::NotRegistered, 404_203, "Registration not found."),
        (DeviceRefusal::Conflict, 409_203, "Precondition failed."),
        (
            DeviceRefusal::TooManyRegistrations(1_000_000),
            429_002,
            "The service holds as many registrations as it may.",
        ),
        (DeviceRefusal::AddressRefused("10.0.0.1".to_owned()), 401_002, "Unauthorized"),
        (DeviceRefusal::Throttled(7), 429_001, "Too many requests; wait 7 seconds."),
        (DeviceRefusal::BadRequest("why".to_owned()), 400_004, "why"),
        (attest(AttestFailure::NoEvidence), 401_002, "Unauthorized"),
        (attest(AttestFailure::WrongKind), 401_002, "Unauthorized"),
        (attest(AttestFailure::WrongResource), 401_002, "Unauthorized"),
        (attest(AttestFailure::TokenExpired), 401_002, "Unauthorized"),
        (attest(AttestFailure::BadSignature), 401_002, "Unauthorized"),
        (attest(AttestFailure::CommonName(text())), 401_002, "Unauthorized"),
        (attest(AttestFailure::WrongThumbprint), 401_002, certificate),
        (attest(AttestFailure::NotYetValid(text())), 401_002, certificate),
        (attest(AttestFailure::Expired(text())), 401_002, certificate),
        (attest(AttestFailure::BadCertificate(text())), 401_002, certificate),
        (attest(AttestFailure::TooLarge(text())), 401_002, certificate),
        (attest(AttestFailure::BadChain(text())), 401_002, certificate),
        (attest(AttestFailure::Revoked(text())), 401_002, certificate),
        (attest(AttestFailure::StaleCrl(text())), 401_002, certificate),
        (
            attest(AttestFailure::TpmNotChallenged),
            400_004,
            "A TPM proves itself by answering a challenge, over HTTPS or AMQP.",
        ),
        (attest(AttestFailure::BadTpmKey("why".to_owned())), 400_004, "why"),
        (attest(AttestFailure::WrongEndorsementKey), 401_002, "Unauthorized"),
        (attest(AttestFailure::NotEndorsed(text())), 401_002, "Unauthorized"),
    ]
}

#[test]
fn every_refusal_has_its_row_and_its_status_is_its_codes_class() {
    for (refusal, code, message) in table() {
        let row = error_row(&refusal);
        assert_eq!((row.code, row.message.as_str()), (code, message), "{refusal:?}");
        assert_eq!(u32::from(row.status), code / 1000, "{refusal:?}");
    }
}

#[test]
fn who_is_not_enrolled_and_who_proves_nothing_read_the_same() {
    let body = |refusal| crate::error_body(&error_row(&refusal), "t", Timestamp::from_ticks(0));
    assert_eq!(
        body(DeviceRefusal::NotEnrolled),
        body(DeviceRefusal::NotAttested(AttestFailure::BadSignature))
    );
    // Nor does anybody read that there is a ban.
    assert_eq!(body(banned(false)), body(DeviceRefusal::NotEnrolled));
    assert_eq!(body(banned(true)), body(DeviceRefusal::TpmNotEnrolled));
}

proptest::proptest! {
    #[test]
    fn parsing_a_body_never_panics(body: Vec<u8>) {
        let _ = parse_register(&body);
    }
}

#[test]
fn a_tpms_challenge_has_a_key_name_and_no_status() {
    let json = tpm_challenge(&[0, 0x34, 2]).to_string();
    let expected = concat!(
        r#"{"message":"Authorization required, resend request using supplied key","#,
        r#""authenticationKey":"ADQC","keyName":"registration"}"#,
    );
    assert_eq!(json, expected);
}

#[test]
fn a_tpms_key_is_shown_only_with_its_hub() {
    let tpm = |status| {
        let mut record = record(status);
        record.mechanism = AttestationKind::Tpm;
        record.wrapped_hub_key = Some(vec![0, 0x34, 2]);
        registration_result(&record).to_string()
    };
    let shown = tpm(RegistrationStatus::Assigned);
    assert!(
        shown.starts_with(r#"{"tpm":{"authenticationKey":"ADQC"},"registrationId""#),
        "{shown}"
    );
    for status in
        [RegistrationStatus::Assigning, RegistrationStatus::Failed, RegistrationStatus::Disabled]
    {
        assert!(!tpm(status).contains("authenticationKey"), "{status:?}");
    }
}

#[test]
fn an_endorsement_certificate_is_read_from_its_extension_member() {
    let body = br#"{"tpm":{"endorsementKey":"AToA","endorsementCertificates":["MAA="]}}"#;
    let tpm = parse_register(body).expect("legal").tpm.expect("there");
    assert_eq!(tpm.endorsement_certificates, [CertificateDer(vec![0x30, 0])]);
    let many = format!(
        r#"{{"tpm":{{"endorsementKey":"AToA","endorsementCertificates":[{}]}}}}"#,
        [r#""MAA=""#; 11].join(",")
    );
    let not_base64 = r#"{"tpm":{"endorsementKey":"AToA","endorsementCertificates":["-"]}}"#;
    for bad in [many.as_str(), not_base64] {
        let refusal = parse_register(bad.as_bytes()).expect_err(bad);
        assert!(refusal.to_string().contains("tpm.endorsementCertificates"), "{refusal}");
    }
}
