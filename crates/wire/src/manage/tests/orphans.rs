//! Orphans, and what is set on a group beside what the vendor's API shows.

use model::{
    Assignment, AttestationKind, DeviceId, EnrollmentGroup, EnrollmentRef, Failure, GroupSettings,
    RegistrationId, RegistrationRecord, RegistrationStatus, StaleCrl, Substatus,
};

use super::*;

pub(super) fn a_record(status: RegistrationStatus) -> RegistrationRecord {
    let hub = HubName::parse("hub-1.example.test").expect("hub");
    RegistrationRecord {
        registration_id: RegistrationId::parse("press-17").expect("id"),
        created: NOW,
        last_updated: NOW,
        status,
        assignment: Some(Assignment {
            hub: hub.clone(),
            device_id: DeviceId::parse("press-17").expect("id"),
            substatus: Substatus::InitialAssignment,
            initial_hub: hub,
        }),
        pending: None,
        failure: Some(Failure { code: 404_201, message: "no hub".to_owned() }),
        payload: Some(Json::from(7)),
        wrapped_hub_key: None,
        etag: etag(),
        enrollment: EnrollmentRef::Group(EnrollmentGroupId::parse("line-4").expect("id")),
        mechanism: AttestationKind::X509,
        operations: Vec::new(),
        version: 1,
    }
}

pub(super) fn a_group_with_settings() -> EnrollmentGroup {
    let settings =
        GroupSettings { disenroll_ends_sessions: Some(true), stale_crl: Some(StaleCrl::Refuse) };
    EnrollmentGroup { settings, ..tpm::a_group() }
}

#[test]
fn an_orphan_says_whose_it_was_and_then_what_every_record_says() {
    let shown = orphan(&a_record(RegistrationStatus::Assigned)).to_string();
    let state = crate::operator::registration_state(&a_record(RegistrationStatus::Assigned));
    let rest = state.to_string().trim_start_matches('{').to_owned();
    assert_eq!(shown, format!(r#"{{"enrollmentGroupId":"line-4",{rest}"#));
    let own = EnrollmentRef::Individual(RegistrationId::parse("press-17").expect("id"));
    let own = RegistrationRecord { enrollment: own, ..a_record(RegistrationStatus::Assigned) };
    assert_eq!(orphan(&own), state);
}

#[test]
fn group_settings_can_be_sent_back_and_null_leaves_them_to_the_service() {
    for group in [tpm::a_group(), a_group_with_settings()] {
        let answer = group_settings(&group).to_string();
        assert_eq!(parse_group_settings(answer.as_bytes()), Ok(group.settings));
    }
    let check = |body: &str, expected: GroupSettings| {
        assert_eq!(parse_group_settings(body.as_bytes()), Ok(expected), "{body}");
    };
    let nothing = GroupSettings::default();
    check("{}", nothing);
    check(r#"{"disenrollEndsSessions":null,"staleCrl":null}"#, nothing);
    check(
        r#"{"disenrollEndsSessions":false}"#,
        GroupSettings { disenroll_ends_sessions: Some(false), ..nothing },
    );
    check(r#"{"staleCrl":"Admit"}"#, GroupSettings { stale_crl: Some(StaleCrl::Admit), ..nothing });
    for bad in [r#"{"staleCrl":"open"}"#, r#"{"disenrollEndsSession":true}"#, "[]", ""] {
        let refused = parse_group_settings(bad.as_bytes());
        assert!(matches!(refused, Err(OperatorRefusal::BadRequest(_))), "{bad}: {refused:?}");
    }
}

#[test]
fn what_went_is_counted_and_whether_there_is_more() {
    let check = |answer: Json, expected: &str| assert_eq!(answer.to_string(), expected);
    let group = EnrollmentGroupId::parse("line-4").expect("id");
    check(orphan_count(7), r#"{"records":7}"#);
    check(orphans_deleted(250, false, true), r#"{"records":250,"isDryRun":false,"isDone":false}"#);
    check(
        group_deleted(&group, 9, true, false),
        r#"{"enrollmentGroupId":"line-4","records":9,"isDryRun":true,"isDone":true}"#,
    );
}
