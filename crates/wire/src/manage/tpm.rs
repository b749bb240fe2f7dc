//! What Induct adds to attestation by TPM: groups of TPMs by the issuers of their endorsement keys'
//! certificates, and certificates that an individual enrollment demands.
//!
//! The vendor's API has no words for either. Its individual enrollments and groups are shown and
//! written in [`operator`](crate::operator), without a trace of this.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{
    AttestationMechanism, CertificateDer, EndorsementDraft, EnrollmentGroup, GroupDraft,
    IndividualEnrollment, Json, OperatorRefusal,
};

use super::read_object;
use crate::{
    device::MAX_ENDORSEMENT_CERTIFICATES,
    operator::{self, Show, read_certificates, read_tpm_group, show_certificates},
    pem,
    read::{Malformed, Members},
    write::Object,
};

/// The members of an enrollment group, those that only answers have included: what was read may be
/// written back.
const GROUP: &[&str] = &[
    "enrollmentGroupId",
    "attestation",
    "capabilities",
    "iotHubHostName",
    "initialTwin",
    "etag",
    "provisioningStatus",
    "reprovisionPolicy",
    "createdDateTimeUtc",
    "lastUpdatedDateTimeUtc",
    "allocationPolicy",
    "iotHubs",
    "customAllocationDefinition",
    "simulation",
];

/// Parses the body of a `PUT` of a group of TPMs.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_tpm_group(body: &[u8]) -> Result<GroupDraft, OperatorRefusal> {
    read_object(body, GROUP, read_tpm_group)
}

/// A group of TPMs: an enrollment group, whose issuers are shown as signing certificates are.
#[must_use]
pub fn tpm_group(group: &EnrollmentGroup) -> Json {
    operator::group(group, Show::Get(None))
}

/// Parses the body of a `PUT` of what is demanded of an endorsement key's certificate.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_endorsement(body: &[u8]) -> Result<EndorsementDraft, OperatorRefusal> {
    read_object(body, &["roots", "certificates"], |body| {
        Ok(EndorsementDraft::Demand {
            roots: read_certificates(body, "roots")?.ok_or_else(|| body.missing("roots"))?,
            certificates: certificates(body)?,
        })
    })
}

fn certificates(body: &Members<'_>) -> Result<Vec<CertificateDer>, Malformed> {
    let name = "certificates";
    let texts = body.strings(name)?.unwrap_or_default();
    if texts.len() > MAX_ENDORSEMENT_CERTIFICATES {
        let most = format!("has more than {MAX_ENDORSEMENT_CERTIFICATES} certificates");
        return Err(body.wrong(name, most));
    }
    let one = |(i, text): (usize, &String)| {
        let bad =
            |bad: pem::BadCertificateText| body.wrong(&format!("{name}[{i}]"), bad.to_string());
        pem::certificate(text).map(CertificateDer).map_err(bad)
    };
    texts.iter().enumerate().map(one).collect()
}

/// What an individual enrollment demands; without a demand there are neither roots nor
/// certificates. The etag is the enrollment's.
#[must_use]
pub fn endorsement(enrollment: &IndividualEnrollment) -> Json {
    let demanded = match &enrollment.terms.attestation {
        AttestationMechanism::Tpm(tpm) => tpm.endorsement.as_deref(),
        AttestationMechanism::SymmetricKey(_)
        | AttestationMechanism::X509Client(_)
        | AttestationMechanism::X509Signing(_)
        | AttestationMechanism::X509CaReferences(_)
        | AttestationMechanism::TpmIssuer(_) => None,
    };
    let certificates = demanded.map(|demanded| {
        let text = |der: &CertificateDer| Json::from(STANDARD.encode(&der.0).as_str());
        Json::Array(demanded.certificates.iter().map(text).collect())
    });
    Object::new()
        .with("registrationId", enrollment.registration_id.as_str())
        .with_some("roots", demanded.map(|demanded| show_certificates(&demanded.roots)))
        .with_some("certificates", certificates)
        .with("etag", enrollment.terms.etag.as_str())
        .build()
}
