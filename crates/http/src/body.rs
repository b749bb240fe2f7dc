//! Reads request bodies: of each as much as its endpoint uses, of all together as much as there is
//! room for.
//!
//! Whoever may open a connection may send bodies, long before we know who it is. So what nobody
//! will look at is read and forgotten, and what is kept takes its place in a room that all
//! requests share.

use std::error::Error;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use wire::RequestFault;

use crate::HttpSettings;

/// So much of every body takes no room: what devices and most operators send. With this, requests
/// as they should be do not wait because others fill the room; the number of connections bounds it.
pub(crate) const FREE_BYTES: usize = 4 * 1024;
/// How much of a body beyond the limit is read and forgotten.
const MAX_DISCARDED_BYTES: usize = 16 * 1024 * 1024;
/// How long a client may pause while its body is read and forgotten.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The room for bodies that all connections of a door share.
#[derive(Debug)]
pub(crate) struct Room {
    /// One permit a byte.
    free: Arc<Semaphore>,
    n_bytes: usize,
    /// The largest body.
    max_body_bytes: usize,
    /// How long a body may take, waiting for room included.
    patience: Duration,
}

/// What came of a body. It holds its place in the room until it is dropped.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) body: Result<Bytes, RequestFault>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Received {
    /// A body that was never on a connection, or the reason why there is none.
    pub(crate) const fn of(body: Result<Bytes, RequestFault>) -> Self {
        Self { body, _place: None }
    }

    /// Whether some of it may still be on its way, so that what comes next is no request.
    pub(crate) const fn is_unread(&self) -> bool {
        self.body.is_err()
    }
}

impl Room {
    pub(crate) fn new(settings: &HttpSettings) -> Self {
        let n_bytes = settings.max_body_bytes_in_flight.min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(n_bytes)),
            n_bytes,
            max_body_bytes: settings.max_body_bytes,
            patience: settings.request_timeout,
        }
    }

    /// Reads a body to its end and keeps its first `wanted` bytes. What is declared larger than
    /// any body may be is not kept at all.
    pub(crate) async fn receive<B>(&self, body: B, wanted: usize) -> Received
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let deadline = Instant::now() + self.patience;
        let mut body = pin!(body);
        // An endpoint may want more than others do.
        let limit = self.max_body_bytes.max(wanted);
        let too_large = RequestFault::TooLarge { limit };
        if body.size_hint().lower() > limit as u64 {
            discard(body, deadline).await;
            return Received::of(Err(too_large));
        }
        let (mut kept, mut n_read, mut place) = (BytesMut::new(), 0_usize, None);
        loop {
            let frame = match timeout_at(deadline, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return Received { body: Ok(kept.freeze()), _place: place },
                // It is late, or the connection broke, or the chunks are malformed; of the last
                // two nobody may read the answer.
                Err(_) | Ok(Some(Err(_))) => return Received::of(Err(RequestFault::Timeout)),
            };
            // Trailers say nothing to us.
            let Ok(mut data) = frame.into_data() else { continue };
            n_read = n_read.saturating_add(data.remaining());
            if n_read > limit {
                discard(body, deadline).await;
                return Received::of(Err(too_large));
            }
            let n_more = data.remaining().min(wanted - kept.len());
            if place.is_none() && kept.len() + n_more > FREE_BYTES {
                // All at once: two that had half of the room each, and waited for the other half,
                // would wait for ever.
                let rest = body.size_hint().upper().and_then(|rest| usize::try_from(rest).ok());
                let whole = rest.map_or(wanted, |rest| wanted.min(n_read.saturating_add(rest)));
                place = timeout_at(deadline, self.take(whole)).await.ok().flatten();
                if place.is_none() {
                    discard(body, Instant::now() + self.patience).await;
                    return Received::of(Err(RequestFault::Unavailable));
                }
                kept.reserve(whole - kept.len());
            }
            kept.extend_from_slice(&data.copy_to_bytes(n_more));
        }
    }

    /// How many bytes may still be taken.
    #[cfg(test)]
    pub(crate) fn n_free(&self) -> usize {
        self.free.available_permits()
    }

    /// Waits for a place of this size. One that is larger than the room has it to itself.
    pub(crate) async fn take(&self, n_bytes: usize) -> Option<OwnedSemaphorePermit> {
        let n_permits = u32::try_from(n_bytes.min(self.n_bytes)).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        Arc::clone(&self.free).acquire_many_owned(n_permits).await.ok()
    }
}

/// Reads the rest of a body that is of no use and forgets it, so that a client that writes all of
/// it before it reads sees the answer (RFC 9112 §9.6). One that is larger than that, said or
/// found, stays unread.
async fn discard<B: Body>(mut body: Pin<&mut B>, deadline: Instant) {
    let mut left = MAX_DISCARDED_BYTES;
    if body.size_hint().lower() > left as u64 {
        return;
    }
    // A client that pauses is waiting for the answer.
    let read = async {
        while let Ok(Some(Ok(frame))) = timeout(MAX_PAUSE, body.frame()).await {
            let n_bytes = frame.data_ref().map_or(0, Buf::remaining);
            match left.checked_sub(n_bytes) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Whatever is left then stays unread.
    let _ = timeout_at(deadline, read).await;
}

#[cfg(test)]
mod tests;
