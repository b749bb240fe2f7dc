//! A hub's registry, twins, queries, methods, messages and events as requests and answers (H §2 to
//! §5, §7).
//!
//! What is read here is shape and spelling; which keys and thumbprints are legal together, limits
//! of twins and every comparison with what is stored are decisions and live in `decide`.

mod bulk;
mod cursor;
mod device_view;
mod event;
mod identity;
mod message;
mod method;
pub mod query;
mod refusal;
mod statistics;
#[cfg(test)]
mod tests;
mod twin;

use json::Limits;
use model::{HubRefusal, Json, query::Select};

pub use bulk::{BulkFailure, bulk_answer, mode_name, parse_bulk};
pub use cursor::{BadCursor, read_cursor, write_cursor};
pub use device_view::{MAX_REPORT_BYTES, desired_notification, device_twin, parse_reported};
pub use event::{event, event_page};
pub use identity::{Answer, identity, parse_identity, parse_module_identity};
pub(crate) use identity::{kind_name, read_identity, status_name};
pub use message::{
    FEEDBACK_WISHES, MAX_FEEDBACK, MessageBody, feedback, feedback_number, feedback_word,
    message_sent, parse_message,
};
pub use method::{MethodBody, method_answer, parse_method};
pub use refusal::{
    BULK_ERROR_HEADER, BULK_FAILURE, ERROR_CODE_HEADER, HubErrorRow, envelope_a, envelope_b,
    envelope_nested, error_row, fault_row,
};
pub use statistics::{count_row, device_statistics, page_top, purged, service_statistics};
pub use twin::{parse_twin, twin};

use crate::read::Malformed;

/// The largest request body, in bytes (H §2.10).
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// `x-ms-item-type` of a query's answer. Clients compare it exactly (H §7).
#[must_use]
pub const fn item_type(select: &Select) -> &'static str {
    match select {
        Select::All => "Twin",
        Select::Count { .. } | Select::Columns(_) => "Raw",
    }
}

/// Parses a body that must be there and be JSON.
fn parse_body(body: &[u8]) -> Result<Json, HubRefusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(HubRefusal::ArgumentInvalid("the request has no body".to_owned()));
    }
    Limits::DEFAULT
        .with_max_bytes(MAX_BODY_BYTES)
        .parse(body)
        .map_err(|bad| HubRefusal::Format(bad.to_string()))
}

impl From<Malformed> for HubRefusal {
    fn from(malformed: Malformed) -> Self {
        Self::ArgumentInvalid(malformed.to_string())
    }
}
