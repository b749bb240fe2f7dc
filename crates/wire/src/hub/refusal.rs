//! The table of a hub's refusals and its two error envelopes (H §2.3).

use model::{HubRefusal, Json, Timestamp};

use crate::{RequestFault, time, write::Object};

/// The header that carries the error's name on every error.
pub const ERROR_CODE_HEADER: &str = "iothub-errorcode";

/// The second header a failed bulk call needs, or C# throws instead of reading its body.
pub const BULK_ERROR_HEADER: &str = "IotHubErrorCode";

/// The error's name on a failed bulk call, in both headers.
pub const BULK_FAILURE: &str = "BulkRegistryOperationFailure";

/// What a refusal is on the wire of a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubErrorRow {
    /// The HTTP status; always `number / 1000`.
    pub status: u16,
    /// `errorCode` in envelope B.
    pub number: u32,
    /// The name in envelope A and in [`ERROR_CODE_HEADER`]; one that the vendor's C# client knows.
    pub name: &'static str,
    /// What stands after the name.
    pub message: String,
}

impl HubErrorRow {
    fn new(number: u32, name: &'static str, message: impl Into<String>) -> Self {
        // A number has six digits, so its first three always fit.
        let status = u16::try_from(number / 1000).unwrap_or(500);
        Self { status, number, name, message: message.into() }
    }
}

/// The row of a refusal in the hub's table.
#[must_use]
pub fn error_row(refusal: &HubRefusal) -> HubErrorRow {
    let number = match refusal {
        HubRefusal::Unauthorized(_) | HubRefusal::AddressRefused(_) => {
            return HubErrorRow::new(401_002, refusal.name(), "Unauthorized");
        }
        HubRefusal::HubNotFound(_) => 404_000,
        HubRefusal::ArgumentInvalid(_) => 400_004,
        HubRefusal::Format(_) => 400_006,
        HubRefusal::DeviceNotFound(_) => 404_001,
        HubRefusal::ModuleNotFound(_) => 404_010,
        HubRefusal::DeviceExists(_) => 409_001,
        HubRefusal::ModuleExists { .. } => 409_301,
        HubRefusal::TooManyModules { .. } => 413_003,
        HubRefusal::IdentityEtag { .. }
        | HubRefusal::EtagMissing
        | HubRefusal::TwinEtag(_)
        | HubRefusal::Conflict(_) => 412_001,
        HubRefusal::TooManyDevices(_) => 413_002,
        HubRefusal::DeviceDefinedMultipleTimes(_) => 400_011,
        HubRefusal::Throttled(_) => 429_001,
        HubRefusal::DeviceNotOnline(_) => 404_103,
        HubRefusal::MethodTimeout(_) => 504_101,
        HubRefusal::QueueFull { .. } => 403_004,
        HubRefusal::MessageTooLarge(_) => 413_001,
        HubRefusal::NotImplemented(_) => 400_003,
    };
    let message = match refusal {
        // In the words clients look for (H §2.3).
        HubRefusal::DeviceNotOnline(id) => format!(
            "The operation failed because the requested device isn't online or hasn't registered \
             the direct method callback: '{id}'"
        ),
        _ => refusal.to_string(),
    };
    HubErrorRow::new(number, refusal.name(), message)
}

const ARGUMENT_INVALID: &str = "ArgumentInvalid";

/// The row of a request fault in the hub's table.
#[must_use]
pub fn fault_row(fault: RequestFault) -> HubErrorRow {
    let (number, name) = match fault {
        RequestFault::MissingApiVersion | RequestFault::UnsupportedApiVersion => {
            (400_001, "InvalidProtocolVersion")
        }
        RequestFault::BadPath | RequestFault::BadHeader { .. } => (400_004, ARGUMENT_INVALID),
        RequestFault::UnknownRoute => (404_000, "GenericNotFound"),
        RequestFault::MethodNotAllowed => (405_000, "GenericMethodNotAllowed"),
        RequestFault::Timeout => (408_000, "GenericTimeout"),
        RequestFault::TooLarge { .. } => (413_001, "MessageTooLarge"),
        RequestFault::UnsupportedMediaType => (415_000, "GenericUnsupportedMediaType"),
        RequestFault::Throttled => (429_001, "ThrottlingException"),
        RequestFault::Internal => (500_001, "ServerError"),
        RequestFault::Unavailable => (503_001, "ServiceUnavailable"),
    };
    HubErrorRow::new(number, name, fault.row().message)
}

/// Envelope A: registry, twins, queries. The tracking ID loses its dashes.
#[must_use]
pub fn envelope_a(row: &HubErrorRow, tracking_id: &str, now: Timestamp) -> Json {
    let id = tracking_id.replace('-', "");
    let time = time::slashed(now);
    Object::new()
        .with("Message", format!("ErrorCode:{};{}", row.name, row.message).as_str())
        .with("ExceptionMessage", format!("Tracking ID:{id}-G:0-TimeStamp:{time}").as_str())
        .build()
}

/// Envelope B: module conflicts and the device protocols. Its time has no fraction.
#[must_use]
pub fn envelope_b(row: &HubErrorRow, tracking_id: &str, now: Timestamp) -> Json {
    Object::new()
        .with("errorCode", u64::from(row.number))
        .with("trackingId", tracking_id)
        .with("message", row.message.as_str())
        .with("timestampUtc", time::whole_seconds(now).as_str())
        .build()
}

/// Envelope B as a text in envelope A: how direct methods fail (H §2.3).
#[must_use]
pub fn envelope_nested(row: &HubErrorRow, tracking_id: &str, now: Timestamp) -> Json {
    let inner = Object::new()
        .with("errorCode", u64::from(row.number))
        .with("trackingId", tracking_id)
        .with("message", row.message.as_str())
        .with("info", Json::Null)
        .with("timestampUtc", time::wire(now).as_str())
        .build();
    Object::new().with("Message", inner.to_string().as_str()).with("ExceptionMessage", "").build()
}
