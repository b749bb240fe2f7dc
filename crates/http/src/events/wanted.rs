//! What a reader asks for.

use std::time::Duration;

use app::hub::{EventCursor, EventStart};
use app::{App, No};
use http::header::ACCEPT;
use model::{DeviceId, HubName, HubRefusal};

use super::MAX_WAIT;
use crate::call::Call;
use crate::errors::Problem;

/// How many events a page has, unless it is said, and at most.
const PAGE: (usize, usize) = (100, 1000);

/// What a reader asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) start: Start,
    /// Only this partition.
    pub(super) partition: Option<u16>,
    /// Only this device.
    pub(super) device_id: Option<DeviceId>,
    /// How many events a page has at most.
    pub(super) limit: usize,
    /// How long a page waits for its first event.
    pub(super) wait: Duration,
    /// Server-sent events instead of a page.
    pub(super) is_stream: bool,
}

/// Where a reader begins.
#[derive(Debug)]
pub(super) enum Start {
    From(EventStart),
    Cursor(EventCursor),
}

impl Start {
    pub(super) async fn cursor(
        self,
        app: &App,
        hub: &HubName,
    ) -> Result<EventCursor, No<HubRefusal>> {
        match self {
            Self::Cursor(cursor) => Ok(cursor),
            Self::From(start) => app.event_cursor(hub, start).await,
        }
    }
}

impl Wanted {
    pub(super) fn by(call: &Call<'_>, hub: &HubName) -> Result<Self, Problem<HubRefusal>> {
        let asked = |name| call.query(name).map(|text| text.filter(|text| !text.is_empty()));
        let is_stream = accepts_stream(call);
        let from = match asked("from")?.as_deref() {
            None | Some("latest") => EventStart::Latest,
            Some("earliest") => EventStart::Earliest,
            Some(text) => EventStart::Enqueued(wire::time::parse(text).map_err(|bad| {
                invalid(format!("from: expected earliest, latest or a time; {bad}"))
            })?),
        };
        // A client of streams connects again with the same query, and says in the header how far it
        // came.
        let last = if is_stream { call.header("last-event-id")? } else { None };
        let last = last.filter(|text| !text.is_empty()).map(str::to_owned);
        let start = match last.or(asked("cursor")?) {
            None => Start::From(from),
            Some(text) => {
                let next = wire::hub::read_cursor(hub, &text).map_err(HubRefusal::from)?;
                Start::Cursor(EventCursor { next })
            }
        };
        let partition = match asked("partition")? {
            None => None,
            Some(text) => {
                Some(number(&text).and_then(|n| u16::try_from(n).ok()).ok_or_else(|| {
                    invalid("partition: expected the number of a partition".to_owned())
                })?)
            }
        };
        let device_id = match asked("deviceId")? {
            None => None,
            Some(text) => {
                Some(DeviceId::parse(&text).map_err(|bad| invalid(format!("deviceId: {bad}")))?)
            }
        };
        let (default, most) = PAGE;
        let limit = match asked("limit")? {
            None => default,
            Some(text) => number(&text)
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| (1..=most).contains(n))
                .ok_or_else(|| invalid(format!("limit: expected a number from 1 to {most}")))?,
        };
        let most = MAX_WAIT.as_secs();
        let wait = match asked("wait")? {
            None => 0,
            Some(text) => number(&text)
                .filter(|secs| *secs <= most)
                .ok_or_else(|| invalid(format!("wait: expected seconds from 0 to {most}")))?,
        };
        let wait = Duration::from_secs(wait);
        Ok(Self { start, partition, device_id, limit, wait, is_stream })
    }
}

/// Whether one of the types that the client accepts is that of server-sent events.
fn accepts_stream(call: &Call<'_>) -> bool {
    let texts = call.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = texts.flat_map(|text| text.split(','));
    types.any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/event-stream")
    })
}

/// Digits, and nothing else.
fn number(text: &str) -> Option<u64> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}

fn invalid(text: String) -> Problem<HubRefusal> {
    HubRefusal::ArgumentInvalid(text).into()
}
