//! What an allocation webhook is asked and answers (D §5.11).
//!
//! The question holds no secret: keys are left out, and the query of the webhook's own address,
//! which often is one, is masked.

use base64::{Engine, engine::general_purpose::STANDARD};
use json::Limits;
use model::{
    CertificateInfo, DeviceId, EnrollmentGroup, HubName, IndividualEnrollment, Json,
    RegistrationId, TpmIdentity,
};

use crate::{
    operator::{self, Show, certificate_info},
    read::Members,
    write::Object,
};

/// The largest answer that is read, in bytes: a twin of the largest size and a payload.
pub const MAX_ANSWER_BYTES: usize = 96 * 1024;

/// What a webhook is asked.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The enrollment that decides.
    pub enrollment: Enrollment<'a>,
    /// Who registers.
    pub registration_id: &'a RegistrationId,
    /// Where the device is now, on re-registration.
    pub current: Option<(&'a HubName, &'a DeviceId)>,
    /// What the device proved itself with.
    pub evidence: Evidence<'a>,
    /// The device's payload, as received.
    pub payload: Option<&'a Json>,
    /// The hubs to choose from.
    pub linked_hubs: &'a [HubName],
}

/// The enrollment that decides.
#[derive(Debug, Clone, Copy)]
pub enum Enrollment<'a> {
    /// An individual enrollment.
    Individual(&'a IndividualEnrollment),
    /// An enrollment group.
    Group(&'a EnrollmentGroup),
}

/// What a device proved itself with.
#[derive(Debug, Clone, Copy)]
pub enum Evidence<'a> {
    /// A key, shown as an empty object.
    SymmetricKey,
    /// The leaf certificate it presented.
    X509(Option<&'a CertificateInfo>),
    /// A TPM's public keys, where they are known.
    Tpm(Option<&'a TpmIdentity>),
}

/// What a webhook answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `iotHubHostName`
    pub hub: String,
    /// `initialTwin`, an object.
    pub initial_twin: Option<Json>,
    /// `payload`, an object.
    pub payload: Option<Json>,
}

/// Writes the question.
#[must_use]
pub fn request_body(request: &Request<'_>) -> Json {
    let enrollment = match request.enrollment {
        Enrollment::Individual(enrollment) => {
            let shown = operator::individual(enrollment, Show::QueryItem);
            Object::new().with("individualEnrollment", masked(shown))
        }
        Enrollment::Group(group) => {
            let shown = operator::group(group, Show::QueryItem);
            Object::new().with("enrollmentGroup", masked(shown))
        }
    };
    let current = request.current;
    let context = Object::new()
        .with("registrationId", request.registration_id.as_str())
        .with_some("currentIotHubHostName", current.map(|(hub, _)| hub.as_str()))
        .with_some("currentDeviceId", current.map(|(_, id)| id.as_str()));
    let context = match request.evidence {
        Evidence::SymmetricKey => context.with("symmetricKey", Object::new()),
        Evidence::X509(info) => context.with("x509", x509(info)),
        Evidence::Tpm(tpm) => context.with("tpm", tpm.map_or_else(Object::new, show_tpm)),
    };
    let context = context.with_some("payload", request.payload.cloned());
    let hubs = request.linked_hubs.iter().map(|hub| Json::from(hub.as_str())).collect();
    enrollment.with("deviceRuntimeContext", context).with("linkedHubs", Json::Array(hubs)).build()
}

/// Reads an answer. Members that are `null` count as absent; unknown ones are ignored.
///
/// # Errors
/// What is wrong, in a sentence for the device and the operator.
pub fn read_answer(body: &[u8]) -> Result<Answer, String> {
    let json = Limits::DEFAULT
        .with_max_bytes(MAX_ANSWER_BYTES)
        .parse(body)
        .map_err(|bad| format!("its answer is not JSON: {bad}"))?;
    let read = || {
        let members = Members::of(&json, "")?;
        let hub = members.text("iotHubHostName")?.ok_or_else(|| members.missing("iotHubHostName"));
        Ok(Answer {
            hub: hub?.to_owned(),
            initial_twin: members.verbatim_object("initialTwin")?,
            payload: members.verbatim_object("payload")?,
        })
    };
    read().map_err(|bad: crate::Malformed| format!("in its answer, {bad}"))
}

/// Masks the query of the webhook's address inside an enrollment.
fn masked(mut enrollment: Json) -> Json {
    let name = "customAllocationDefinition";
    if let Some(mut definition) = enrollment.get(name).cloned() {
        if let Some(url) = definition.get("webhookUrl").and_then(Json::as_str) {
            let url = mask_query(url);
            definition.set("webhookUrl", Json::String(url));
        }
        enrollment.set(name, definition);
    }
    enrollment
}

/// An address with its query masked. User info and fragment have no place in a webhook's address
/// but may be there: they are masked as well.
#[must_use]
pub fn mask_query(url: &str) -> String {
    let (address, rest) = match url.find(['?', '#']) {
        Some(at) => (&url[..at], "?****"),
        None => (url, ""),
    };
    let address = match (address.find("://"), address.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}****{}", &address[..scheme + 3], &address[at..])
        }
        _ => address.to_owned(),
    };
    format!("{address}{rest}")
}

/// Which member holds the details is not recorded anywhere; this is the shape of the service's
/// own model of a client certificate (D §5.11).
fn x509(info: Option<&CertificateInfo>) -> Object {
    match info {
        None => Object::new(),
        Some(info) => {
            let primary = Object::new().with("info", certificate_info(info));
            Object::new().with("clientCertificates", Object::new().with("primary", primary))
        }
    }
}

fn show_tpm(tpm: &TpmIdentity) -> Object {
    let srk = tpm.storage_root_key.as_ref().map(|key| STANDARD.encode(key));
    Object::new()
        .with("endorsementKey", STANDARD.encode(&tpm.endorsement_key).as_str())
        .with_some("storageRootKey", srk.as_deref())
}

#[cfg(test)]
mod tests;
