//! The device API: register body, answers, and what a device is told of a refusal (D §0.7, §1).
//!
//! One answer profile suits every client (D §0.7), so api-versions differ in one member name only.

use base64::{Engine, engine::general_purpose::STANDARD};
use json::Limits;
use model::{
    ApiVersion, AttestationKind, CertificateDer, DeviceRefusal, Json, OperationId, RegistrationId,
    RegistrationRecord, RegistrationStatus, Substatus, TpmKeys,
};

use crate::{
    read::{Malformed, Members},
    time,
    write::Object,
};

mod refusal;
#[cfg(test)]
mod tests;

pub use refusal::error_row;

/// The largest register body, in bytes (D §6).
pub const MAX_BODY_BYTES: usize = 96 * 1024;

/// The largest TPM key, in bytes; an RSA-2048 TPM2B_PUBLIC has about 320.
const MAX_TPM_KEY_BYTES: usize = 4 * 1024;
/// The most certificates behind an endorsement key, its own included: as many as of a chain.
pub(crate) const MAX_ENDORSEMENT_CERTIFICATES: usize = 10;

/// What a device says in the body of a register request or of a status look-up (D §1.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegisterBody {
    /// The registration ID, if the body repeats it. That it is the path's is for the door to see.
    pub registration_id: Option<RegistrationId>,
    /// `tpm`
    pub tpm: Option<TpmKeys>,
    /// Whether there is a `csr`: the device wants a certificate issued (D §7.1).
    pub wants_certificate: bool,
    /// The custom payload: any JSON but `null`.
    pub payload: Option<Json>,
}

/// Parses a register body. Nothing at all is fine, unknown members are ignored, `null` counts as
/// absent.
///
/// # Errors
/// [`DeviceRefusal::BadRequest`] naming the member.
pub fn parse_register(body: &[u8]) -> Result<RegisterBody, DeviceRefusal> {
    if body.iter().all(u8::is_ascii_whitespace) && body.len() <= MAX_BODY_BYTES {
        return Ok(RegisterBody::default());
    }
    let body = Limits::DEFAULT
        .with_max_bytes(MAX_BODY_BYTES)
        .parse(body)
        .map_err(|bad| DeviceRefusal::BadRequest(bad.to_string()))?;
    read_register(&body).map_err(|bad| DeviceRefusal::BadRequest(bad.to_string()))
}

fn read_register(body: &Json) -> Result<RegisterBody, Malformed> {
    let body = Members::of(body, "")?;
    let registration_id = body
        .string("registrationId")?
        .map(|text| {
            RegistrationId::parse(text).map_err(|bad| body.wrong("registrationId", bad.to_string()))
        })
        .transpose()?;
    let tpm = match body.object("tpm")? {
        None => None,
        Some(tpm) => Some(TpmKeys {
            endorsement_key: tpm_key(&tpm, "endorsementKey")?
                .ok_or_else(|| tpm.missing("endorsementKey"))?,
            storage_root_key: tpm_key(&tpm, "storageRootKey")?,
            endorsement_certificates: endorsement_certificates(&tpm)?,
        }),
    };
    Ok(RegisterBody {
        registration_id,
        tpm,
        wants_certificate: body.value("csr").is_some(),
        payload: body.value("payload").cloned(),
    })
}

/// A TPM key in base64, of a length a TPM can have.
pub(crate) fn tpm_key(tpm: &Members<'_>, name: &str) -> Result<Option<Vec<u8>>, Malformed> {
    let Some(text) = tpm.text(name)? else { return Ok(None) };
    if text.len() > MAX_TPM_KEY_BYTES * 4 / 3 {
        return Err(tpm.wrong(name, format!("has more than {MAX_TPM_KEY_BYTES} bytes")));
    }
    let key = STANDARD.decode(text).map_err(|_| tpm.wrong(name, "expected base64"))?;
    Ok(Some(key))
}

/// `endorsementCertificates`, **an extension of Induct**: the endorsement key's certificate and those
/// between it and its vendor's, DER in base64.
fn endorsement_certificates(tpm: &Members<'_>) -> Result<Vec<CertificateDer>, Malformed> {
    let name = "endorsementCertificates";
    let Some(listed) = tpm.array(name)? else { return Ok(Vec::new()) };
    if listed.len() > MAX_ENDORSEMENT_CERTIFICATES {
        let most = format!("has more than {MAX_ENDORSEMENT_CERTIFICATES} certificates");
        return Err(tpm.wrong(name, most));
    }
    let one =
        |json: &Json| json.as_str().and_then(|text| STANDARD.decode(text).ok()).map(CertificateDer);
    listed
        .iter()
        .map(|json| {
            one(json).ok_or_else(|| tpm.wrong(name, "expected certificates, DER in base64"))
        })
        .collect()
}

/// The challenge to a TPM (D §1.10): a 401 with this body. It has no `status`, which one client
/// takes for an answer (D §8, 46).
#[must_use]
pub fn tpm_challenge(wrapped_key: &[u8]) -> Json {
    Object::new()
        .with("message", "Authorization required, resend request using supplied key")
        .with("authenticationKey", STANDARD.encode(wrapped_key).as_str())
        .with("keyName", "registration")
        .build()
}

/// The answer to an accepted register request. Never says `assigned`: some clients take 202 and
/// `assigning` only (D §0.7).
#[must_use]
pub fn accepted(operation: &OperationId) -> Json {
    Object::new().with("operationId", operation.as_str()).with("status", "assigning").build()
}

/// The answer to a poll.
#[must_use]
pub fn operation_status(
    operation: &OperationId,
    record: &RegistrationRecord,
    api_version: ApiVersion,
) -> Json {
    // The first public clients read the state under another name (D §0.4).
    let state = match api_version {
        ApiVersion::V2017_08_31Preview => "registrationStatus",
        _ => "registrationState",
    };
    Object::new()
        .with("operationId", operation.as_str())
        .with("status", status_word(record.status))
        .with(state, registration_result(record))
        .build()
}

/// `DeviceRegistrationResult`: the state in an answer to a poll, and the whole answer to a status
/// look-up (D §1.4). No member is ever `null`.
#[must_use]
pub fn registration_result(record: &RegistrationRecord) -> Json {
    let status = status_word(record.status);
    let id = record.registration_id.as_str();
    if record.status == RegistrationStatus::Assigning {
        return Object::new().with("registrationId", id).with("status", status).build();
    }
    let assignment = match record.status {
        RegistrationStatus::Assigned => record.assignment.as_ref(),
        _ => None,
    };
    let failure = match record.status {
        RegistrationStatus::Failed => record.failure.as_ref(),
        _ => None,
    };
    let by_certificate = assignment.is_some() && record.mechanism == AttestationKind::X509;
    // Without it every TPM client fails (D §8, 48).
    let hub_key = assignment.and(record.wrapped_hub_key.as_ref()).map(|wrapped| {
        Object::new().with("authenticationKey", STANDARD.encode(wrapped).as_str()).build()
    });
    // Java takes an object only (D §0.7).
    let payload = record.payload.as_ref().filter(|payload| payload.as_object().is_some());
    Object::new()
        .with_some("x509", by_certificate.then(Json::empty_object))
        .with_some("tpm", hub_key)
        .with("registrationId", id)
        .with("createdDateTimeUtc", time::wire(record.created).as_str())
        .with_some("assignedHub", assignment.map(|to| to.hub.as_str()))
        .with_some("deviceId", assignment.map(|to| to.device_id.as_str()))
        .with("status", status)
        .with_some("substatus", assignment.map(|to| substatus_word(to.substatus)))
        .with_some("errorCode", failure.map(|failure| error_code(failure.code)))
        .with_some("errorMessage", failure.map(|failure| failure.message.as_str()))
        .with("lastUpdatedDateTimeUtc", time::wire(record.last_updated).as_str())
        .with("etag", record.etag.as_str())
        .with_some("payload", assignment.and(payload).cloned())
        .build()
}

pub(crate) fn error_code(code: i32) -> Json {
    Json::Number(code.to_string().into())
}

pub(crate) const fn status_word(status: RegistrationStatus) -> &'static str {
    match status {
        RegistrationStatus::Assigning => "assigning",
        RegistrationStatus::Assigned => "assigned",
        RegistrationStatus::Failed => "failed",
        RegistrationStatus::Disabled => "disabled",
    }
}

pub(crate) const fn substatus_word(substatus: Substatus) -> &'static str {
    match substatus {
        Substatus::InitialAssignment => "initialAssignment",
        Substatus::DeviceDataMigrated => "deviceDataMigrated",
        Substatus::DeviceDataReset => "deviceDataReset",
        Substatus::ReprovisionedToInitialAssignment => "reprovisionedToInitialAssignment",
    }
}
