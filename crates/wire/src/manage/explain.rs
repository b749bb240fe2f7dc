//! Why a device is admitted or refused: the question and the answer.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{
    ApiVersion, AttemptAsked, Ban, CertificateDer, DeviceId, EnrollmentRef, HubName, Json,
    OperatorRefusal, Question, RegistrationId, RegistrationRecord, Shows, StoredAttempt,
    SymmetricKey, TpmKeys,
};

use super::{
    attempts::{asked_for, attempt, enrollment},
    ban, read_object, texts,
};
use crate::{
    device::status_word,
    pem,
    read::{Malformed, Members},
    time,
    write::Object,
};

const MEMBERS: [&str; 10] = [
    "registrationId",
    "symmetricKey",
    "certificates",
    "endorsementKey",
    "storageRootKey",
    "endorsementCertificates",
    "hub",
    "deviceId",
    "apiVersion",
    "trackingId",
];

/// Those that say what the device shows; a request has one of them at most.
const SHOWS: [&str; 3] = ["symmetricKey", "certificates", "endorsementKey"];

/// The version that a device is taken to speak unless it is said: what the vendor's present SDKs
/// speak.
const USUAL_VERSION: ApiVersion = ApiVersion::V2021_06_01;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExplainBody {
    /// What would become of a device. `hub` may be a hub's short name still.
    Question(Question),
    /// What became of an attempt, by the tracking ID.
    Attempt(String),
}

/// Parses the body of a `POST`. `hub_named` makes the hub's name of what stands there: its first
/// label may be enough.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected, never what was
/// there: it may be a key.
pub fn parse_explain(
    body: &[u8],
    hub_named: impl FnOnce(&str) -> Option<HubName>,
) -> Result<ExplainBody, OperatorRefusal> {
    read_object(body, &MEMBERS, |body| {
        if let Some(id) = body.text("trackingId")? {
            return match MEMBERS.iter().find(|n| **n != "trackingId" && body.value(n).is_some()) {
                Some(other) => Err(body.wrong(other, "does not go with trackingId")),
                None => Ok(ExplainBody::Attempt(id.to_owned())),
            };
        }
        let shows = shows(body)?;
        let question = match body.text("hub")? {
            Some(hub) => {
                let names = ["registrationId", "apiVersion"];
                if let Some(name) = names.into_iter().find(|name| body.value(name).is_some()) {
                    return Err(body.wrong(name, "does not go with hub"));
                }
                let hub = hub_named(hub).ok_or_else(|| body.wrong("hub", "is no hub's name"))?;
                let id = DeviceId::parse_stored(body.required_string("deviceId")?);
                let device_id = id.map_err(|bad| body.wrong("deviceId", bad.to_string()))?;
                Question::Connect { hub, device_id, shows }
            }
            None => {
                if body.value("deviceId").is_some() {
                    return Err(body.wrong("deviceId", "goes with hub only"));
                }
                let id = body.text("registrationId")?.map(RegistrationId::parse).transpose();
                let registration_id =
                    id.map_err(|bad| body.wrong("registrationId", bad.to_string()))?;
                if registration_id.is_none() && !matches!(shows, Some(Shows::Certificates(_))) {
                    return Err(body.missing("registrationId"));
                }
                let versions = ApiVersion::ALL.map(|(version, text)| (text, version));
                let api_version = body.word("apiVersion", &versions)?.unwrap_or(USUAL_VERSION);
                Question::Register { registration_id, shows, api_version }
            }
        };
        Ok(ExplainBody::Question(question))
    })
}

/// What the device shows.
fn shows(body: &Members<'_>) -> Result<Option<Shows>, Malformed> {
    let given: Vec<&str> = SHOWS.into_iter().filter(|name| body.value(name).is_some()).collect();
    let name = match given.as_slice() {
        [] => None,
        [name] => Some(*name),
        [_, second, ..] => {
            let others = SHOWS.join(", ");
            return Err(body.wrong(second, format!("expected one of {others} at most")));
        }
    };
    if name != Some("endorsementKey") {
        let names = ["storageRootKey", "endorsementCertificates"];
        if let Some(name) = names.into_iter().find(|name| body.value(name).is_some()) {
            return Err(body.wrong(name, "goes with endorsementKey only"));
        }
    }
    let Some(name) = name else { return Ok(None) };
    Ok(Some(match name {
        "symmetricKey" => {
            let key = SymmetricKey::parse(body.required_string(name)?);
            Shows::Key(key.map_err(|bad| body.wrong(name, bad.to_string()))?)
        }
        "certificates" => Shows::Certificates(chain(body, name)?),
        _ => Shows::Tpm(TpmKeys {
            endorsement_key: bytes(body, name)?,
            storage_root_key: match body.value("storageRootKey") {
                Some(_) => Some(bytes(body, "storageRootKey")?),
                None => None,
            },
            endorsement_certificates: match body.value("endorsementCertificates") {
                Some(_) => chain(body, "endorsementCertificates")?,
                None => Vec::new(),
            },
        }),
    }))
}

fn bytes(body: &Members<'_>, name: &str) -> Result<Vec<u8>, Malformed> {
    let text = body.required_string(name)?;
    STANDARD.decode(text.trim()).map_err(|_| body.wrong(name, "expected base64"))
}

fn chain(body: &Members<'_>, name: &str) -> Result<Vec<CertificateDer>, Malformed> {
    let ders = pem::chain(body.required_string(name)?);
    let ders = ders.map_err(|bad| body.wrong(name, bad.to_string()))?;
    Ok(ders.into_iter().map(CertificateDer).collect())
}

/// An answer to the question why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explained<'a> {
    /// What was asked for.
    pub asked: &'a AttemptAsked,
    /// What came of it, one word.
    pub outcome: &'a str,
    /// Whether the device gets what it asks for, as far as that is known.
    pub is_admission: Option<bool>,
    /// What came of it, a sentence.
    pub told: &'a str,
    /// How it was decided, a sentence for each step.
    pub steps: &'a [String],
    /// The entry that decides.
    pub enrollment: Option<&'a EnrollmentRef>,
    /// What to change so that it comes out otherwise.
    pub remedy: Option<&'a str>,
    /// What was taken for granted and what was not looked at.
    pub assumed: &'a [String],
    /// Bans in play.
    pub bans: &'a [Ban],
    /// The device's registration as it stands.
    pub record: Option<&'a RegistrationRecord>,
    /// The attempt, where one was asked about.
    pub attempt: Option<&'a StoredAttempt>,
}

/// An answer to the question why.
#[must_use]
pub fn explanation(explained: &Explained<'_>) -> Json {
    asked_for(Object::new(), explained.asked)
        .with("outcome", explained.outcome)
        .with_some("isAdmission", explained.is_admission)
        .with("told", explained.told)
        .with("steps", texts(explained.steps.iter().map(String::as_str)))
        .with_some("enrollment", explained.enrollment.map(enrollment))
        .with_some("remedy", explained.remedy)
        .with("assumed", texts(explained.assumed.iter().map(String::as_str)))
        .with("bans", Json::Array(explained.bans.iter().map(ban).collect()))
        .with_some("registration", explained.record.map(registration))
        .with_some("attempt", explained.attempt.map(attempt))
        .build()
}

/// Where the device is.
fn registration(record: &RegistrationRecord) -> Json {
    let place = record.assignment.as_ref();
    Object::new()
        .with("registrationId", record.registration_id.as_str())
        .with("status", status_word(record.status))
        .with_some("assignedHub", place.map(|place| place.hub.as_str()))
        .with_some("deviceId", place.map(|place| place.device_id.as_str()))
        .with("enrollment", enrollment(&record.enrollment))
        .with("updated", time::wire(record.last_updated).as_str())
        .build()
}
