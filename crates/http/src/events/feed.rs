//! Events as they come, as server-sent events (HTML Living Standard, “Server-sent events”).
//!
//! Each event is one message: its data is the event on one line, its ID the place to go on after
//! it. A message without data only moves that place. The stream ends with its reader's access:
//! that is looked at again every so often, so a token that expires or a policy that changes ends
//! it soon after.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use app::{App, No, log::chain_of};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::header::AUTHORIZATION;
use model::{HubName, HubRefusal, OperatorRefusal, Right, SasToken, StoredEvent};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info};
use wire::RequestFault;

use super::{Place, reader::Reader};
use crate::call::{Call, Stop};
use crate::errors::Problem;
use crate::routes::Route;

/// How often a reader hears that we are there, at least, and its access is looked at.
const BEAT: Duration = Duration::from_secs(15);
/// How many events are read at a time.
const N_EVENTS: usize = 64;
/// How long a client waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 1000;

/// One reader's stream.
pub(super) struct Feed {
    reader: Reader,
    news: watch::Receiver<u64>,
    access: Access,
    stop: Stop,
    /// Events on their way out, each with the place after it.
    waiting: VecDeque<(StoredEvent, String)>,
    /// The last place the reader was told.
    told: Option<String>,
    beat: Instant,
    n_sent: u64,
    tracking_id: String,
    _seat: OwnedSemaphorePermit,
}

impl Feed {
    pub(super) fn new(
        call: &Call<'_>,
        route: &Route,
        place: Place,
        reader: Reader,
        news: watch::Receiver<u64>,
        seat: OwnedSemaphorePermit,
    ) -> Result<Self, Problem<HubRefusal>> {
        let access = Access::of(call, route, place, &reader.hub)?;
        let beat = Instant::now() + access.beat();
        Ok(Self {
            reader,
            news,
            access,
            stop: call.stop.clone(),
            waiting: VecDeque::new(),
            told: None,
            beat,
            n_sent: 0,
            tracking_id: call.tracking_id.to_owned(),
            _seat: seat,
        })
    }

    /// The pieces of the answer. The next one is made when the one before is on its way.
    pub(super) fn into_stream(self) -> BoxStream<'static, Bytes> {
        stream::unfold(self, |mut feed| async { Some((feed.next().await?, feed)) }).boxed()
    }

    async fn next(&mut self) -> Option<Bytes> {
        if self.told.is_none() {
            let place = self.reader.cursor_text();
            let piece = format!("retry: {RETRY_MS}\nid: {place}\n\n");
            self.told = Some(place);
            return Some(piece.into());
        }
        loop {
            if self.stop.is_asked() {
                return self.end("the server stops");
            }
            if Instant::now() >= self.beat {
                return self.tell_beat().await;
            }
            if let Some((event, place)) = self.waiting.pop_front() {
                self.n_sent += 1;
                // JSON has no line breaks: they are escaped in strings, and we print none between.
                let piece = format!("id: {place}\ndata: {}\n\n", wire::hub::event(&event));
                self.told = Some(place);
                return Some(piece.into());
            }
            self.news.mark_unchanged();
            let (waiting, hub) = (&mut self.waiting, self.reader.hub.clone());
            let read = self.reader.read(N_EVENTS, |cursor, event| {
                waiting.push_back((event, wire::hub::write_cursor(&hub, &cursor.next)));
            });
            match read.await {
                Ok(round) if round.n_seen > 0 => continue,
                Ok(_) => {}
                Err(no) => return self.fail(no),
            }
            tokio::select! {
                changed = self.news.changed() => {
                    if changed.is_err() {
                        return self.end("no news come any more");
                    }
                }
                () = sleep_until(self.beat) => {}
                () = self.stop.asked() => {}
            }
        }
    }

    /// Says that we are there, and where to go on if that moved without an event of the reader's.
    async fn tell_beat(&mut self) -> Option<Bytes> {
        match self.access.is_granted(&self.reader.app, &self.reader.hub).await {
            Ok(true) => {}
            Ok(false) => return self.end("the reader has no access any more"),
            Err(fault) => return self.fail(fault),
        }
        self.beat = Instant::now() + self.access.beat();
        let place = self.reader.cursor_text();
        // Events that wait still say their own places, and this one is after them.
        if !self.waiting.is_empty() || self.told.as_ref() == Some(&place) {
            return Some(Bytes::from_static(b": beat\n\n"));
        }
        let piece = format!(": beat\nid: {place}\n\n");
        self.told = Some(place);
        Some(piece.into())
    }

    fn end(&self, why: &str) -> Option<Bytes> {
        let (hub, n_sent) = (&self.reader.hub, self.n_sent);
        info!(
            tracking_id = self.tracking_id, hub.name = %hub, n_sent,
            "a stream of events of `{hub}` ended after {n_sent}: {why}",
        );
        None
    }

    fn fail(&self, no: No<HubRefusal>) -> Option<Bytes> {
        match no {
            No::Refused(refusal) => self.end(&refusal.to_string()),
            No::Fault(fault) => {
                let chain = chain_of(&fault);
                error!(
                    tracking_id = self.tracking_id, error = %chain,
                    "a stream of events failed by our fault: {chain}",
                );
                None
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        debug!(tracking_id = self.tracking_id, n_sent = self.n_sent, "a stream of events is over");
    }
}

/// Why a reader was let in, to be asked again.
struct Access {
    app: App,
    token: SasToken,
    right: Right,
    place: Place,
    /// The host name that was addressed.
    host: String,
    /// The path's segments, decoded.
    segments: Vec<String>,
    address: IpAddr,
}

impl Access {
    fn of(
        call: &Call<'_>,
        route: &Route,
        place: Place,
        hub: &HubName,
    ) -> Result<Self, Problem<HubRefusal>> {
        let unauthorized = || {
            let why = format!("no token for the events of {hub}");
            Problem::Refused(HubRefusal::Unauthorized(why))
        };
        let text = call.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = text.and_then(|text| wire::sas::parse(text).ok()).ok_or_else(unauthorized)?;
        Ok(Self {
            app: call.app.clone(),
            token,
            right: route.right.ok_or(Problem::Request(RequestFault::UnknownRoute))?,
            place,
            host: call.host.to_owned(),
            segments: call.segments.to_vec(),
            address: call.peer.address.ip(),
        })
    }

    /// When to look again: soon after the token expires, or else with the next beat.
    fn beat(&self) -> Duration {
        let skew = self.app.settings().register.attest.clock_skew_secs;
        let expiry = self.token.expiry_unix_secs.saturating_add(skew);
        let left = expiry.saturating_sub(self.app.now().unix_secs()).saturating_add(1);
        BEAT.min(Duration::from_secs(u64::try_from(left).unwrap_or(1).max(1)))
    }

    /// Whether the reader would be let in now.
    async fn is_granted(&self, app: &App, hub: &HubName) -> Result<bool, No<HubRefusal>> {
        let is_there = app.find_hub(hub.as_str()).await?.is_some();
        let granted = match self.place {
            Place::Hub => self.by_hub(hub).await,
            Place::Service => self.by_service().await.map_err(|no| match no {
                No::Refused(refusal) => No::Refused(HubRefusal::Unauthorized(refusal.to_string())),
                No::Fault(fault) => No::Fault(fault),
            }),
        };
        match granted {
            Ok(()) => Ok(is_there),
            Err(No::Refused(_)) => Ok(false),
            Err(No::Fault(fault)) => Err(No::Fault(fault)),
        }
    }

    async fn by_hub(&self, hub: &HubName) -> Result<(), No<HubRefusal>> {
        match self.app.admit_to_hub(self.address).await {
            // It asks for nothing new.
            Ok(()) | Err(No::Refused(HubRefusal::Throttled(_))) => {}
            Err(no) => return Err(no),
        }
        let Self { token, segments, right, address, .. } = self;
        self.app.authorize_hub(hub, token, segments, *right, *address).await.map(drop)
    }

    async fn by_service(&self) -> Result<(), No<OperatorRefusal>> {
        match self.app.admit_operator(self.address).await {
            Ok(()) | Err(No::Refused(OperatorRefusal::Throttled(_))) => {}
            Err(no) => return Err(no),
        }
        let Self { token, host, segments, right, address, .. } = self;
        self.app.authorize_service(token, host, segments, *right, *address).await.map(drop)
    }
}
