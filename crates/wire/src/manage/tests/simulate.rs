//! Changes that are only thought of, as requests and answers.

use model::{
    ChangeDraft, EnrollmentGroupId, Json, ProvisioningStatus, RegistrationId, SimulatedEffect,
    SimulatedEntry, SimulatedUnknown, Simulation, SimulationLimits, SimulationStop,
};

use super::super::{parse_simulation, schema::DOCUMENTS, simulation};

fn group(id: &str) -> SimulatedEntry {
    SimulatedEntry::Group(EnrollmentGroupId::parse(id).expect("id"))
}

pub(super) fn a_simulation() -> Simulation {
    let id = |text: &str| RegistrationId::parse(text).expect("id");
    let moves = SimulatedEffect::Moves { from: group("line-4"), to: group("root-2022") };
    let loses = SimulatedEffect::Loses { was: SimulatedEntry::Own };
    let gains = SimulatedEffect::Gains { by: group("root-2022") };
    let unknown = SimulatedEffect::Unknown(SimulatedUnknown::NotKept);
    Simulation {
        n_devices: 221,
        n_unchanged: 1,
        effects: vec![(moves.clone(), 214), (loses.clone(), 3), (gains, 2), (unknown.clone(), 1)],
        named: vec![(id("press-17"), moves), (id("press-18"), loses), (id("old"), unknown)],
        stopped: Some(SimulationStop::Time),
    }
}

#[test]
fn a_simulation_counts_by_entry_and_names_the_first() {
    let expected = concat!(
        r#"{"lookedAt":221,"unchanged":1,"loses":3,"gains":2,"moves":214,"unknown":1,"#,
        r#""isWhole":false,"stoppedBy":"time","effects":["#,
        r#"{"effect":"moves","from":{"kind":"group","group":"line-4"},"#,
        r#""to":{"kind":"group","group":"root-2022"},"devices":214},"#,
        r#"{"effect":"loses","from":{"kind":"enrollment"},"devices":3},"#,
        r#"{"effect":"gains","to":{"kind":"group","group":"root-2022"},"devices":2},"#,
        r#"{"effect":"unknown","why":"notKept","devices":1}],"devices":["#,
        r#"{"registrationId":"press-17","effect":"moves","from":{"kind":"group","group":"line-4"},"#,
        r#""to":{"kind":"group","group":"root-2022"}},"#,
        r#"{"registrationId":"press-18","effect":"loses","from":{"kind":"enrollment"}},"#,
        r#"{"registrationId":"old","effect":"unknown","why":"notKept"}]}"#,
    );
    assert_eq!(simulation(&a_simulation()).to_string(), expected);
}

#[test]
fn each_change_is_read_as_it_is_meant() {
    let check = |body: &str, expected: &str| {
        let read = parse_simulation(body.as_bytes()).expect(body);
        assert_eq!(read.limits, SimulationLimits::default());
        let found = format!("{:?}", read.change);
        assert!(found.starts_with(expected), "{body}: {found}");
    };
    let key = r#""attestation":{"type":"symmetricKey"}"#;
    check(
        &format!(r#"{{"change":"put","enrollment":{{"registrationId":"a",{key}}}}}"#),
        "PutIndiv",
    );
    check(
        &format!(r#"{{"change":"PUT","enrollmentGroup":{{"enrollmentGroupId":"a",{key}}}}}"#),
        "PutGroup",
    );
    check(r#"{"change":"delete","enrollment":"a"}"#, "DeleteIndividual");
    check(r#"{"change":"disable","enrollment":"a"}"#, "SwitchIndividual");
    check(r#"{"change":"enable","enrollmentGroup":"a"}"#, "SwitchGroup");
    check(r#"{"change":"delete","tpmEnrollmentGroup":"a"}"#, "DeleteGroup");
    check(r#"{"change":"delete","certificate":"a b"}"#, r#"DeleteCertificate("a b")"#);
    let der =
        r#"{"change":"put","certificate":{"name":"n","certificate":"MAIwAA==","isVerified":true}}"#;
    check(der, r#"PutCertificate { name: "n", der: [48, 2, 48, 0], verified: Some(true) }"#);
    check(r#"{"change":"put","ban":{"registrationId":"a"}}"#, "PutBan");
    check(r#"{"change":"lift","ban":"registration:a"}"#, r#"LiftBan("registration:a")"#);
    let read = parse_simulation(br#"{"change":"disable","enrollmentGroup":"a"}"#).expect("legal");
    let ChangeDraft::SwitchGroup(id, status) = read.change else { panic!("{:?}", read.change) };
    assert_eq!((id.as_str(), status), ("a", ProvisioningStatus::Disabled));
    let body = br#"{"change":"delete","enrollment":"a","maxDevices":7,"maxSecs":60,"maxNamed":0}"#;
    let expected = SimulationLimits { max_devices: 7, max_secs: 60, max_named: 0 };
    assert_eq!(parse_simulation(body).expect("legal").limits, expected);
}

#[test]
fn what_is_no_change_is_refused_with_its_place() {
    let check = |body: &str, part: &str| {
        let refused = parse_simulation(body.as_bytes()).expect_err(body).to_string();
        assert!(refused.contains(part), "{body}: {refused}");
    };
    check("", "no body");
    check("{}", "change: is required");
    check(r#"{"change":"rename","enrollment":"a"}"#, "change: expected one of put, delete");
    check(r#"{"change":"delete"}"#, "expected exactly one of enrollment, enrollmentGroup");
    check(r#"{"change":"delete","enrollment":"a","ban":"b"}"#, "expected exactly one of");
    check(r#"{"change":"delete","enrolment":"a"}"#, "enrolment");
    check(r#"{"change":"delete","enrollment":{}}"#, "enrollment: expected");
    check(r#"{"change":"delete","enrollment":"a b"}"#, "registrationId");
    check(r#"{"change":"put","enrollment":"a"}"#, "enrollment: expected the document");
    check(r#"{"change":"put","enrollment":{"registrationId":"a"}}"#, "enrollment.attestation");
    check(r#"{"change":"put","ban":{}}"#, "ban.the request body: expected exactly one of");
    check(r#"{"change":"put","certificate":{"certificate":"MAIwAA=="}}"#, "certificate.name");
    check(r#"{"change":"lift","enrollment":"a"}"#, "change: an enrollment is put");
    check(r#"{"change":"delete","ban":"a"}"#, "change: a ban is put or lifted");
    check(r#"{"change":"disable","certificate":"a"}"#, "change: a certificate is put or deleted");
    for (name, bad) in
        [("maxDevices", "0"), ("maxDevices", "1000001"), ("maxSecs", "61"), ("maxNamed", "1001")]
    {
        let body = format!(r#"{{"change":"delete","enrollment":"a","{name}":{bad}}}"#);
        check(&body, &format!("{name}: expected"));
    }
    check(r#"{"change":"delete","enrollment":"a","maxSecs":"5"}"#, "maxSecs: expected a number");
}

/// What the schema lists is read, and what is read is listed.
#[test]
fn the_schema_of_a_change_lists_its_members() {
    let schema = DOCUMENTS.iter().find(|one| one.name == "SimulationDraft").expect("a schema");
    let listed: Vec<&str> = schema.members.iter().map(|member| member.name).collect();
    let unknown = Json::Object(vec![("colour".to_owned(), Json::from("red"))]);
    let refused = parse_simulation(unknown.to_string().as_bytes()).expect_err("unknown");
    assert!(refused.to_string().contains(&listed.join(", ")), "{refused}");
}
