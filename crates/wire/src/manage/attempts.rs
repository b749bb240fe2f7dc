//! What devices asked for and what became of it: attempts, and who is refused most.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{
    ApiVersion, Attempt, AttemptAsked, AttemptFilter, AttemptOutcome, AttestationKind,
    EnrollmentRef, Json, OperatorRefusal, StoredAttempt, Timestamp, ban::Thumbprint, hex,
};

use crate::{continuation::BadContinuation, time, write::Object};

/// The longest device ID or tracking ID that attempts are looked for by, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// Which attempts are looked for, as the members of a query have it; at most one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttemptsAsked<'a> {
    /// `trackingId`
    pub tracking_id: Option<&'a str>,
    /// `device`
    pub device: Option<&'a str>,
    /// `thumbprint`
    pub thumbprint: Option<&'a str>,
    /// `endorsementKey`
    pub endorsement_key: Option<&'a str>,
}

/// Reads which attempts are looked for. An endorsement key is TPM2B_PUBLIC in base64, which `sha256`
/// makes the hash of, or that hash in hex, as answers have it.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member and what was expected.
pub fn parse_attempts_asked(
    asked: AttemptsAsked<'_>,
    sha256: impl FnOnce(&[u8]) -> [u8; 32],
) -> Result<AttemptFilter, OperatorRefusal> {
    let AttemptsAsked { tracking_id, device, thumbprint, endorsement_key } = asked;
    let bad = |text: &str| OperatorRefusal::BadRequest(text.to_owned());
    let named = |name: &str, text: &str| match text.len() <= MAX_NAME_BYTES {
        true => Ok(text.to_owned()),
        false => Err(bad(&format!("{name}: has more than {MAX_NAME_BYTES} bytes"))),
    };
    match (tracking_id, device, thumbprint, endorsement_key) {
        (None, None, None, None) => Ok(AttemptFilter::All),
        (Some(id), None, None, None) => Ok(AttemptFilter::TrackingId(named("trackingId", id)?)),
        (None, Some(device), None, None) => Ok(AttemptFilter::Device(named("device", device)?)),
        (None, None, Some(text), None) => match Thumbprint::parse(text) {
            Some(Thumbprint::Sha1(bytes)) => Ok(AttemptFilter::Sha1(bytes)),
            Some(Thumbprint::Sha256(bytes)) => Ok(AttemptFilter::Sha256(bytes)),
            None => Err(bad("thumbprint: expected 40 or 64 hex digits")),
        },
        (None, None, None, Some(text)) => {
            if let Some(Thumbprint::Sha256(bytes)) = Thumbprint::parse(text) {
                return Ok(AttemptFilter::EndorsementKey(bytes));
            }
            let key = STANDARD.decode(text.trim()).ok().filter(|key| !key.is_empty());
            match key {
                Some(key) => Ok(AttemptFilter::EndorsementKey(sha256(&key))),
                None => Err(bad("endorsementKey: expected base64, or SHA-256 in hex")),
            }
        }
        _ => Err(bad("expected one of trackingId, device, thumbprint, endorsementKey at most")),
    }
}

/// The attempt's number that a continuation token holds.
///
/// # Errors
/// [`BadContinuation`]
pub fn attempt_number(key: &str) -> Result<u64, BadContinuation> {
    key.parse().map_err(|_| BadContinuation)
}

/// An attempt.
#[must_use]
pub fn attempt(stored: &StoredAttempt) -> Json {
    let Attempt { first, last, n, door, address, asked, shown, outcome, .. } = &stored.attempt;
    let head = Object::new()
        .with("trackingId", &*stored.attempt.tracking_id)
        .with_some("lastTrackingId", stored.attempt.last_tracking_id.as_deref())
        .with("first", time::wire(*first).as_str())
        .with("last", time::wire(*last).as_str())
        .with("count", *n)
        .with("door", door.name())
        .with("address", address.to_string().as_str());
    let (hub, device_id) = match outcome {
        AttemptOutcome::Assigned { hub, device_id }
        | AttemptOutcome::Assigning { hub, device_id } => (Some(hub), Some(device_id)),
        _ => (None, None),
    };
    asked_for(head, asked)
        .with_some("shown", shown.kind.map(kind))
        .with_some("thumbprint", shown.leaf_sha256.map(|bytes| hex::upper(&bytes)).as_deref())
        .with_some("sha1Thumbprint", shown.leaf_sha1.map(|bytes| hex::upper(&bytes)).as_deref())
        .with_some(
            "endorsementKeySha256",
            shown.endorsement_key.map(|bytes| hex::upper(&bytes)).as_deref(),
        )
        .with("outcome", outcome.name())
        .with("isAdmission", outcome.is_admission())
        .with_some("reason", outcome.reason().as_deref())
        .with_some("assignedHub", hub.map(model::HubName::as_str))
        .with_some("assignedDeviceId", device_id.map(model::DeviceId::as_str))
        .with_some("enrollment", stored.attempt.enrollment.as_ref().map(enrollment))
        .build()
}

/// What was asked for: the members that say who, and where to.
pub(super) fn asked_for(object: Object, asked: &AttemptAsked) -> Object {
    match asked {
        AttemptAsked::Register { registration_id, api_version } => object
            .with("asked", "register")
            .with("registrationId", registration_id.as_str())
            .with_some("apiVersion", api_version.and_then(version)),
        AttemptAsked::Connect { hub, device_id } => object
            .with("asked", "connect")
            .with("hub", hub.as_str())
            .with("deviceId", device_id.as_str()),
    }
}

/// An enrollment by its name, which says whether it is a group.
pub(super) fn enrollment(enrollment: &EnrollmentRef) -> Json {
    match enrollment {
        EnrollmentRef::Group(id) => Object::new().with("group", id.as_str()).build(),
        EnrollmentRef::Individual(id) => Object::new().with("enrollment", id.as_str()).build(),
    }
}

fn version(version: ApiVersion) -> Option<&'static str> {
    ApiVersion::ALL.iter().find(|(one, _)| *one == version).map(|(_, text)| *text)
}

const fn kind(kind: AttestationKind) -> &'static str {
    match kind {
        AttestationKind::SymmetricKey => "symmetricKey",
        AttestationKind::X509 => "x509",
        AttestationKind::Tpm => "tpm",
    }
}

/// One who is refused again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedOften<'a> {
    /// The registration ID in lower case, or the address.
    pub who: &'a str,
    /// How often.
    pub n: u64,
    /// By how much that may be too high.
    pub may_be_less_by: u64,
    /// When it was first refused.
    pub since: Timestamp,
    /// When it was last refused.
    pub last: Timestamp,
    /// Why it was last refused.
    pub reason: &'a str,
}

/// Who is refused most: devices and addresses, each the one first that is refused most.
#[must_use]
pub fn top_refused<'a>(
    devices: impl IntoIterator<Item = RefusedOften<'a>>,
    addresses: impl IntoIterator<Item = RefusedOften<'a>>,
) -> Json {
    let list = |name, all: Vec<RefusedOften<'a>>| {
        Json::Array(all.into_iter().map(|one| refused_often(name, &one)).collect())
    };
    Object::new()
        .with("devices", list("registrationId", devices.into_iter().collect()))
        .with("addresses", list("address", addresses.into_iter().collect()))
        .build()
}

fn refused_often(name: &str, one: &RefusedOften<'_>) -> Json {
    Object::new()
        .with(name, one.who)
        .with("count", one.n)
        .with("mayBeLessBy", one.may_be_less_by)
        .with("since", time::wire(one.since).as_str())
        .with("last", time::wire(one.last).as_str())
        .with("reason", one.reason)
        .build()
}
