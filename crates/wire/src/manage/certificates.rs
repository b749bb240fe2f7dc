//! CA certificates (O §3.5).

use model::{CaCertificate, EnrollmentGroupId, Json, OperatorRefusal};

use super::{read_object, stamped, texts};
use crate::{
    pem,
    read::{Malformed, Members},
    time,
    write::Object,
};

/// A CA certificate as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateBody {
    /// `certificate`, DER.
    pub der: Vec<u8>,
    /// `isVerified`
    pub verified: Option<bool>,
}

/// Parses the body of a `PUT`: PEM text, or base64 of a PEM or DER file.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_certificate(body: &[u8]) -> Result<CertificateBody, OperatorRefusal> {
    read_object(body, &["certificate", "isVerified"], |body| {
        Ok(CertificateBody { der: read_der(body)?, verified: body.bool("isVerified")? })
    })
}

/// Parses the body of a `verify`: the certificate that proves possession, DER.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_proof(body: &[u8]) -> Result<Vec<u8>, OperatorRefusal> {
    read_object(body, &["certificate"], read_der)
}

fn read_der(body: &Members<'_>) -> Result<Vec<u8>, Malformed> {
    let text = body.required_string("certificate")?;
    pem::certificate(text).map_err(|bad| body.wrong("certificate", bad.to_string()))
}

/// Whether an answer shows the open verification code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowCode {
    /// The answer to the call that made it.
    Yes,
    /// Every other.
    No,
}

/// A CA certificate, with the groups that refer to it.
#[must_use]
pub fn certificate(
    certificate: &CaCertificate,
    used_by: &[EnrollmentGroupId],
    show: ShowCode,
) -> Json {
    let info = &certificate.certificate.info;
    let code = match show {
        ShowCode::Yes => certificate.pending_code.as_deref(),
        ShowCode::No => None,
    };
    let object = Object::new()
        .with("name", certificate.name.as_str())
        .with("subject", info.subject_name.as_str())
        .with("issuer", info.issuer_name.as_str())
        .with("thumbprint", info.sha1_thumbprint.as_str())
        .with("sha256Thumbprint", info.sha256_thumbprint.as_str())
        .with("notBefore", time::whole_seconds(info.not_before).as_str())
        .with("expiry", time::whole_seconds(info.not_after).as_str())
        .with("isVerified", certificate.verified)
        .with_some("verificationCode", code)
        .with("usedBy", groups(used_by));
    let (created, updated) = (certificate.created, certificate.last_updated);
    stamped(object, certificate.etag.as_str(), created, updated).build()
}

/// The answer to a `DELETE`: the groups that refer to the certificate, and stop attesting by it.
#[must_use]
pub fn certificate_deleted(name: &str, used_by: &[EnrollmentGroupId]) -> Json {
    Object::new().with("name", name).with("usedBy", groups(used_by)).build()
}

fn groups(ids: &[EnrollmentGroupId]) -> Json {
    texts(ids.iter().map(EnrollmentGroupId::as_str))
}
