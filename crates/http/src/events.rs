//! Readers of a hub's events: a page at once, a page that waits for its first event, or a stream
//! of server-sent events.
//!
//! The endpoint is our own; the vendor's readers speak AMQP. Where to begin is asked with `from` or
//! a `cursor` of an earlier answer; no place is kept here, so a reader is told with each event, or
//! page, where to go on.

mod feed;
mod reader;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use model::{HubName, HubRefusal};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use wire::RequestFault;

use self::feed::Feed;
use self::reader::Reader;
use self::wanted::Wanted;
use crate::answer::Answer;
use crate::call::Call;
use crate::errors::Problem;
use crate::routes::Route;

/// How long a page may wait for its first event.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);
/// Of how many events, and how many bytes of them, one request may look at: a filter that finds
/// little does not read a whole log at once. Whoever gets an empty page asks on.
const MAX_SEEN: (usize, u64) = (10_000, 8 * 1024 * 1024);
/// A page ends with the event that makes it count for more than so many bytes.
const MAX_PAGE_BYTES: u64 = 1024 * 1024;

/// On which host name the request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The provisioning service's.
    Service,
    /// The hub's own.
    Hub,
}

/// Answers a reader of this hub's events, who was let in.
pub(crate) async fn read(
    call: &Call<'_>,
    route: &Route,
    hub: &HubName,
    place: Place,
) -> Result<Answer, Problem<HubRefusal>> {
    let wanted = Wanted::by(call, hub)?;
    // Before anything is read, so that nothing comes in between.
    let news = call.app.event_news(hub);
    let cursor = wanted.start.cursor(call.app, hub).await?;
    let (app, hub) = (call.app.clone(), hub.clone());
    let Wanted { partition, device_id, limit, wait, .. } = wanted;
    let reader = Reader { app, hub, cursor, partition, device_id };
    if wanted.is_stream {
        let feed = Feed::new(call, route, place, reader, news, seat(call)?)?;
        return Ok(Answer::events(feed.into_stream()));
    }
    let _seat = if wait.is_zero() { None } else { Some(seat(call)?) };
    page(call, reader, news, limit, wait).await
}

/// A place among those who wait for events.
fn seat(call: &Call<'_>) -> Result<OwnedSemaphorePermit, RequestFault> {
    Arc::clone(call.event_readers).try_acquire_owned().map_err(|_| RequestFault::Throttled)
}

async fn page(
    call: &Call<'_>,
    mut reader: Reader,
    mut news: tokio::sync::watch::Receiver<u64>,
    limit: usize,
    wait: Duration,
) -> Result<Answer, Problem<HubRefusal>> {
    let deadline = Instant::now() + wait;
    let mut stop = call.stop.clone();
    let (mut events, mut n_bytes) = (Vec::new(), 0_u64);
    let (mut n_seen, mut n_seen_bytes) = (0_usize, 0_u64);
    loop {
        news.mark_unchanged();
        let is_at_end = loop {
            let round = reader
                .read(limit - events.len(), |_, event| {
                    n_bytes = n_bytes.saturating_add(event.event.size_bytes());
                    events.push(event);
                })
                .await?;
            n_seen = n_seen.saturating_add(round.n_seen);
            n_seen_bytes = n_seen_bytes.saturating_add(round.n_bytes);
            let is_full = events.len() >= limit || n_bytes > MAX_PAGE_BYTES;
            if is_full || n_seen >= MAX_SEEN.0 || n_seen_bytes >= MAX_SEEN.1 {
                break false;
            }
            if round.n_seen == 0 {
                break true;
            }
        };
        if !is_at_end || !events.is_empty() {
            break;
        }
        let is_news = tokio::select! {
            changed = news.changed() => changed.is_ok(),
            () = sleep_until(deadline) => false,
            () = stop.asked() => false,
        };
        if !is_news {
            break;
        }
    }
    Ok(Answer::ok(&wire::hub::event_page(&events, &reader.cursor_text()))
        .with("cache-control", "no-store"))
}
