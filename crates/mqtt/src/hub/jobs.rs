//! What a device asked for and the store has not answered yet, in the order it was asked.

use std::future::Future;
use std::pin::Pin;

use app::device::SessionNo;
use futures_util::{FutureExt, StreamExt, stream::FuturesOrdered};

use crate::proto::Packet;

/// One request on its way, and the packets that answer it.
pub(super) type Job<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// What came of a request.
pub(super) type Outcome = Result<Replies, SessionNo>;

/// The packets that answer one request: an acknowledgement, and what was asked for, in this order
/// (D §8, 24).
#[derive(Debug, Default)]
pub(super) struct Replies(pub(super) [Option<Packet>; 2]);

impl Replies {
    /// At most one packet.
    pub(super) fn of(packet: Option<Packet>) -> Self {
        Self([packet, None])
    }
}

/// Requests of one session on their way. They run at once and are answered in the order in which
/// they came, because PUBACKs have to be (MQTT-4.6.0-2).
///
/// Events and acknowledgements do not wait for each other. Every other request is alone from its
/// arrival to its answer: nothing more is read before, so a twin is read after it was reported,
/// and whoever asks for two things gets two answers in order. An idle session holds no memory
/// here.
#[derive(Default)]
pub(super) struct Jobs<'a> {
    running: Option<FuturesOrdered<Job<'a>>>,
    /// Whether the last of them is alone.
    last_is_alone: bool,
}

impl<'a> Jobs<'a> {
    /// Adds a request that may run beside others.
    pub(super) fn push(&mut self, job: Job<'a>) {
        self.running.get_or_insert_default().push_back(job);
    }

    /// Adds a request after which nothing is read until it is answered.
    pub(super) fn push_alone(&mut self, job: Job<'a>) {
        self.push(job);
        self.last_is_alone = true;
    }

    /// How many are on their way.
    pub(super) fn len(&self) -> usize {
        self.running.as_ref().map_or(0, FuturesOrdered::len)
    }

    /// Whether another request may be read.
    pub(super) fn have_room(&self, max: usize) -> bool {
        !self.last_is_alone && self.len() < max.max(1)
    }

    /// What came of the oldest request. Waits until it is there, for ever when there is none;
    /// nothing is lost when this is dropped while it waits.
    pub(super) async fn next(&mut self) -> Outcome {
        if let Some(running) = &mut self.running
            && let Some(outcome) = running.next().await
        {
            if running.is_empty() {
                // The last one is the one that was alone.
                *self = Self::default();
            }
            return outcome;
        }
        std::future::pending().await
    }

    /// What came of the oldest request, if it is there.
    pub(super) fn next_now(&mut self) -> Option<Outcome> {
        self.next().now_or_never()
    }

    /// Waits until nothing is on its way: a device may send and leave at once.
    pub(super) async fn finish(&mut self) -> Result<(), SessionNo> {
        while self.len() > 0 {
            self.next().await?;
        }
        Ok(())
    }
}
