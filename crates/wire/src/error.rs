//! The rows of the error tables, and what is refused before any use case is asked.

use model::{Json, Timestamp};

use crate::{time, write::Object};

/// What a refusal is on the wire of the device API and the operator API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorRow {
    /// The HTTP status; always `code / 1000`, on which clients of other transports rely (D §1.7).
    pub status: u16,
    /// `errorCode`
    pub code: u32,
    /// The sentence for whoever asked.
    pub message: String,
}

impl ErrorRow {
    pub(crate) fn new(code: u32, message: impl Into<String>) -> Self {
        // A code has six digits, so its first three always fit.
        Self { status: u16::try_from(code / 1000).unwrap_or(500), code, message: message.into() }
    }
}

/// The error body of both APIs (D §1.7, O §1.13). `info` is left out: we have nothing to put in,
/// and some clients fail on `null`.
#[must_use]
pub fn error_body(row: &ErrorRow, tracking_id: &str, now: Timestamp) -> Json {
    Object::new()
        .with("errorCode", u64::from(row.code))
        .with("trackingId", tracking_id)
        .with("message", row.message.as_str())
        .with("timestampUtc", time::wire(now).as_str())
        .build()
}

/// Why a request is refused before anybody looked at what it wants: the same on every door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestFault {
    /// There is no `api-version` in the query.
    MissingApiVersion,
    /// The `api-version` is none we answer.
    UnsupportedApiVersion,
    /// A path segment or query holds an illegal percent escape or is not UTF-8.
    BadPath,
    /// A header that counts holds an illegal value.
    BadHeader {
        /// Its name.
        name: &'static str,
    },
    /// Nothing is at this path.
    UnknownRoute,
    /// Something is at this path, but not for this method.
    MethodNotAllowed,
    /// The body did not come in time.
    Timeout,
    /// The body is larger than we read.
    TooLarge {
        /// How many bytes we read.
        limit: usize,
    },
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// Too many requests at once.
    Throttled,
    /// Something broke on our side; the log has it under the tracking ID.
    Internal,
    /// The service is starting, stopping or cannot reach its storage.
    Unavailable,
}

impl RequestFault {
    /// Its row in the table of the device API and the operator API.
    ///
    /// Sources give the HTTP statuses; the last three digits of all but 429001 are our own
    /// (O §9 row 1). See `docs/divergences.md`, "error codes".
    #[must_use]
    pub fn row(self) -> ErrorRow {
        let row = ErrorRow::new;
        match self {
            Self::MissingApiVersion => row(400_001, "The query parameter api-version is required."),
            Self::UnsupportedApiVersion => {
                row(400_002, "The api-version is not supported; use 2021-10-01 or another we know.")
            }
            Self::BadPath => row(
                400_003,
                "The path or query holds an illegal percent escape or text that is not UTF-8.",
            ),
            Self::BadHeader { name } => {
                ErrorRow::new(400_005, format!("The header {name} holds an illegal value."))
            }
            Self::UnknownRoute => row(404_000, "There is nothing at this path."),
            Self::MethodNotAllowed => row(405_000, "This path does not answer this method."),
            Self::Timeout => row(408_000, "The request did not arrive in time."),
            Self::TooLarge { limit } => ErrorRow::new(
                413_000,
                format!("The request body is too large; at most {limit} bytes are read."),
            ),
            Self::UnsupportedMediaType => {
                row(415_000, "The body must be sent as Content-Type: application/json.")
            }
            Self::Throttled => row(429_001, "Too many requests; wait a little and try again."),
            Self::Internal => {
                row(500_000, "The service failed; its log has the cause under this tracking ID.")
            }
            Self::Unavailable => row(503_000, "The service is not available; try again shortly."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_fault_has_a_row_whose_status_is_its_codes_class() {
        let faults = [
            RequestFault::MissingApiVersion,
            RequestFault::UnsupportedApiVersion,
            RequestFault::BadPath,
            RequestFault::BadHeader { name: "x-ms-max-item-count" },
            RequestFault::UnknownRoute,
            RequestFault::MethodNotAllowed,
            RequestFault::Timeout,
            RequestFault::TooLarge { limit: 98_304 },
            RequestFault::UnsupportedMediaType,
            RequestFault::Throttled,
            RequestFault::Internal,
            RequestFault::Unavailable,
        ];
        let mut codes: Vec<_> = faults.iter().map(|fault| fault.row().code).collect();
        for fault in faults {
            let row = fault.row();
            assert_eq!(u32::from(row.status), row.code / 1000, "{fault:?}");
            assert!(!row.message.is_empty());
        }
        codes.dedup();
        assert_eq!(codes.len(), faults.len(), "no two faults share a code");
    }

    #[test]
    fn the_error_body_has_the_members_and_order_clients_know() {
        let row = ErrorRow::new(401_002, "Unauthorized");
        let now = Timestamp::from_ticks(17_698_885_821_373_215);
        assert_eq!(
            error_body(&row, "f40da7ba-8c91-4796-8fc3-89e1dfbdbe05", now).to_string(),
            r#"{"errorCode":401002,"trackingId":"f40da7ba-8c91-4796-8fc3-89e1dfbdbe05","message":"Unauthorized","timestampUtc":"2026-01-31T19:43:02.1373215Z"}"#
        );
    }
}
