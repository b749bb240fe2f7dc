//! Groups of TPMs, and what is demanded of an endorsement key's certificate.

use model::{
    AttestationDraft, AttestationMechanism, CertificateDer, CertificateDraft, Endorsement,
    EndorsementDraft, EnrollmentGroup, IndividualEnrollment, ProvisioningStatus, RegistrationId,
    Sent, Slots, Terms, TpmIdentity,
};

use super::*;
use crate::operator::{self, Show};

/// DER that could be a certificate, in base64.
const DER: &str = "MAIwAA==";

fn terms(attestation: AttestationMechanism) -> Terms {
    Terms {
        attestation,
        iot_edge: None,
        iot_hub_host_name: None,
        initial_twin: None,
        etag: etag(),
        provisioning_status: Sent::Value(ProvisioningStatus::Disabled),
        reprovision_policy: None,
        created: NOW,
        last_updated: NOW,
        allocation_policy: None,
        iot_hubs: None,
        custom_allocation: None,
        version: 1,
    }
}

fn slots() -> Slots<EnrolledCertificate> {
    Slots { primary: None, secondary: Some(a_certificate().certificate) }
}

pub(super) fn a_group() -> EnrollmentGroup {
    EnrollmentGroup {
        group_id: EnrollmentGroupId::parse("works-tpms").expect("id"),
        terms: terms(AttestationMechanism::TpmIssuer(slots())),
        settings: model::GroupSettings::default(),
    }
}

pub(super) fn demanded() -> Endorsement {
    Endorsement { roots: slots(), certificates: vec![CertificateDer(vec![0x30, 2, 0x30, 0])] }
}

pub(super) fn an_enrollment(endorsement: Option<Endorsement>) -> IndividualEnrollment {
    let tpm = TpmIdentity {
        endorsement_key: vec![1],
        storage_root_key: None,
        endorsement: endorsement.map(Box::new),
    };
    IndividualEnrollment {
        registration_id: RegistrationId::parse("tpm-1").expect("id"),
        device_id: None,
        optional_device_information: None,
        terms: terms(AttestationMechanism::Tpm(tpm)),
    }
}

#[test]
fn a_groups_issuers_are_shown_as_signing_certificates_are() {
    let shown = tpm_group(&a_group());
    let tpm = shown.get("attestation").and_then(|attestation| attestation.get("tpm"));
    let info = tpm.and_then(|tpm| tpm.get("issuers")?.get("secondary")?.get("info")).expect("info");
    assert_eq!(info.get("subjectName").and_then(Json::as_str), Some("CN=root"));
    assert!(shown.to_string().starts_with(
        r#"{"enrollmentGroupId":"works-tpms","attestation":{"type":"tpm","tpm":{"issuers":{"secondary":{"info":"#
    ));
}

#[test]
fn a_group_can_be_written_back_as_it_was_read() {
    let draft = parse_tpm_group(tpm_group(&a_group()).to_string().as_bytes()).expect("legal");
    assert_eq!(draft.group_id, a_group().group_id);
    let thumbprint = Some("CD".repeat(32));
    let kept = Slots { primary: None, secondary: Some(CertificateDraft::Keep { thumbprint }) };
    assert_eq!(draft.draft.attestation, AttestationDraft::TpmIssuer(kept));
    assert_eq!(draft.draft.provisioning_status, Sent::Value(ProvisioningStatus::Disabled));
}

#[test]
fn what_a_group_lacks_or_has_too_much_of_is_named() {
    let check = |body: &str, text: &str| {
        let refused = parse_tpm_group(body.as_bytes()).expect_err(body).to_string();
        assert!(refused.starts_with(text), "{refused}");
    };
    let attested =
        |attestation: &str| format!(r#"{{"enrollmentGroupId":"g","attestation":{attestation}}}"#);
    let issued = |slot: &str| {
        attested(&format!(r#"{{"type":"tpm","tpm":{{"issuers":{{"primary":{slot}}}}}}}"#))
    };
    assert!(parse_tpm_group(issued(&format!(r#"{{"certificate":"{DER}"}}"#)).as_bytes()).is_ok());
    check("", "the request has no body");
    check("{}", "attestation: is required");
    check(&attested("{}"), "attestation.type: is required");
    check(&attested(r#"{"type":"x509"}"#), "attestation.type: expected one of tpm");
    check(&attested(r#"{"type":"tpm"}"#), "attestation.tpm: is required");
    check(&attested(r#"{"type":"tpm","tpm":{}}"#), "attestation.tpm.issuers: is required");
    check(&attested(r#"{"type":"tpm","x509":{}}"#), r#"attestation: "x509" is none of its"#);
    check(
        &attested(r#"{"type":"tpm","tpm":{"endorsementKey":"AToA"}}"#),
        r#"attestation.tpm: "endorsementKey" is none of its members, issuers"#,
    );
    check(&issued("7"), "attestation.tpm.issuers.primary: expected an object");
    check(&issued(r#"{"pem":""}"#), r#"attestation.tpm.issuers.primary: "pem" is none"#);
    check(
        &issued(r#"{"certificate":"-"}"#),
        "attestation.tpm.issuers.primary.certificate: neither PEM nor base64",
    );
    check(
        r#"{"enrollmentGroupId":"g","provisioningSatus":"disabled"}"#,
        r#"the request body: "provisioningSatus" is none of its members"#,
    );
}

#[test]
fn the_vendors_documents_have_no_word_for_either_and_say_where_there_is_one() {
    let plain = operator::individual(&an_enrollment(None), Show::PutAnswer);
    let demanding = operator::individual(&an_enrollment(Some(demanded())), Show::PutAnswer);
    assert_eq!(plain, demanding);
    let body = r#"{"enrollmentGroupId":"g","attestation":{"type":"tpm","tpm":{"issuers":{}}}}"#;
    let refused = operator::parse_group(body.as_bytes()).expect_err("refused").to_string();
    assert!(refused.starts_with("attestation.tpm.issuers: is for groups of TPMs"), "{refused}");
    assert!(refused.contains("/induct/v1/tpmEnrollmentGroups"), "{refused}");
}

#[test]
fn a_demand_names_roots_and_may_bring_the_certificates() {
    let parse = |body: &str| parse_endorsement(body.as_bytes());
    let root = CertificateDraft::Der(vec![0x30, 2, 0x30, 0]);
    let roots = Slots { primary: Some(root), secondary: None };
    let body = |rest: &str| format!(r#"{{"roots":{{"primary":{{"certificate":"{DER}"}}}}{rest}}}"#);
    let demand = |certificates| EndorsementDraft::Demand { roots: roots.clone(), certificates };
    assert_eq!(parse(&body("")), Ok(demand(Vec::new())));
    assert_eq!(parse(&body(r#","certificates":null"#)), Ok(demand(Vec::new())));
    let one = vec![CertificateDer(vec![0x30, 2, 0x30, 0])];
    assert_eq!(parse(&body(&format!(r#","certificates":["{DER}"]"#))), Ok(demand(one)));
    let check = |body: &str, text: &str| {
        let refused = parse(body).expect_err(body).to_string();
        assert!(refused.starts_with(text), "{refused}");
    };
    check("{}", "roots: is required");
    check(r#"{"roots":7}"#, "roots: expected an object");
    check(r#"{"roots":{"third":{}}}"#, r#"roots: "third" is none of its members"#);
    check(&body(r#","etag":"x""#), r#"the request body: "etag" is none of its members"#);
    check(&body(r#","certificates":"x""#), "certificates: expected an array");
    check(&body(r#","certificates":[7]"#), "certificates[0]: expected a string");
    check(&body(&format!(r#","certificates":["{DER}","-"]"#)), "certificates[1]: neither PEM");
    let many = vec![format!(r#""{DER}""#); 11].join(",");
    check(&body(&format!(r#","certificates":[{many}]"#)), "certificates: has more than 10");
}
