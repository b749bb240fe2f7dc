//! `POST /devices/query` (H §7).

use app::hub::{QueryCursor, Rows};
use model::{HubName, HubRefusal, Json};
use wire::continuation::{self, BadContinuation, Collection};
use wire::hub as api;

use super::Outcome;
use crate::answer::Answer;
use crate::call::Call;

pub(super) async fn run(call: &Call<'_>, hub: &HubName) -> Outcome {
    let query = api::query::parse_request(call.body()?)?;
    let cursor = match call.header("x-ms-continuation")?.filter(|token| !token.is_empty()) {
        None => None,
        Some(token) => Some(read_cursor(token).map_err(HubRefusal::from)?),
    };
    let page_size = call.page_size()?;
    let page = call.app.query_devices(hub, &query, cursor.as_ref(), page_size).await?;
    let rows = match page.rows {
        Rows::Twins(devices) => devices.iter().map(api::twin).collect(),
        Rows::Raw(rows) => rows,
    };
    let answer =
        Answer::ok(&Json::Array(rows)).with("x-ms-item-type", api::item_type(&query.select));
    Ok(match page.next {
        // One client goes on as long as the header is there at all (H §7).
        None => answer,
        Some(cursor) => answer.with("x-ms-continuation", &write_cursor(&cursor)),
    })
}

/// The rest of `TOP` and the device to go on after; a device ID may hold anything but a slash.
fn write_cursor(cursor: &QueryCursor) -> String {
    let remaining = cursor.remaining.map(|n| n.to_string()).unwrap_or_default();
    continuation::encode(Collection::Devices, &format!("{remaining}/{}", cursor.after))
}

fn read_cursor(token: &str) -> Result<QueryCursor, BadContinuation> {
    let key = continuation::decode(Collection::Devices, token)?;
    let (remaining, after) = key.split_once('/').ok_or(BadContinuation)?;
    let remaining = match remaining {
        "" => None,
        digits => Some(digits.parse().map_err(|_| BadContinuation)?),
    };
    Ok(QueryCursor { after: after.to_owned(), remaining })
}
