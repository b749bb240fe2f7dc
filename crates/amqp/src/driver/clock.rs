//! When something on a connection is too late, or is due.
//!
//! One timer for all of it, and it is set anew only when it has run out or something nearer comes
//! up.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::{AmqpSettings, endpoint::DeliveryId};

/// No client is told more often that we are there, whatever it asks for.
const MIN_HEARTBEAT: Duration = Duration::from_secs(1);

/// What has become due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The client wants to hear from us.
    Heartbeat,
    /// The client has not been heard for too long.
    Silent,
    /// It has not opened the connection.
    NotOpened,
    /// It has not proven anything.
    NotProven,
    /// A message of it has not become whole.
    NotWhole,
    /// It has not read of a cut-off.
    CutOffUnread,
}

pub(super) struct Clock {
    timer: Pin<Box<Sleep>>,
    settings: Arc<AmqpSettings>,
    /// How often the client wants to hear from us.
    heartbeat: Option<Duration>,
    last_heard: Instant,
    last_spoken: Instant,
    /// Until when the client has to open, or later to prove something; which one it is.
    entrance: Option<(Instant, Due)>,
    /// The oldest message of which more is to come, and since when it is the oldest.
    partial: Option<(DeliveryId, Instant)>,
    /// Since when we do not read for want of room, which is no fault of the client's.
    held_up_since: Option<Instant>,
    cut_off_at: Option<Instant>,
}

impl Clock {
    pub(super) fn new(settings: &Arc<AmqpSettings>) -> Self {
        let now = Instant::now();
        let open_by = now + settings.connect_timeout;
        Self {
            timer: Box::pin(sleep_until(open_by)),
            settings: Arc::clone(settings),
            heartbeat: None,
            last_heard: now,
            last_spoken: now,
            entrance: Some((open_by, Due::NotOpened)),
            partial: None,
            held_up_since: None,
            cut_off_at: None,
        }
    }

    pub(super) fn opened(&mut self, idle_timeout_ms: Option<u32>) {
        // Half of what it allows, so that it hears us in time; 0 allows anything.
        self.heartbeat = idle_timeout_ms
            .filter(|ms| *ms > 0)
            .map(|ms| (Duration::from_millis(ms.into()) / 2).max(MIN_HEARTBEAT));
        if self.entrance.is_some() {
            self.entrance = Some((Instant::now() + self.settings.proof_timeout, Due::NotProven));
        }
        self.nearer();
    }

    pub(super) fn proven(&mut self) {
        self.entrance = None;
    }

    pub(super) fn heard(&mut self) {
        self.last_heard = Instant::now();
    }

    pub(super) fn spoke(&mut self) {
        self.last_spoken = Instant::now();
    }

    /// Tells the oldest message of which more is to come. Each is the oldest some time, so that
    /// none may take for ever, whatever others do.
    pub(super) fn set_partial(&mut self, oldest: Option<DeliveryId>) {
        match (oldest, self.partial) {
            (Some(oldest), Some((known, _))) if oldest == known => {}
            (Some(oldest), _) => {
                self.partial = Some((oldest, Instant::now()));
                self.nearer();
            }
            (None, _) => self.partial = None,
        }
    }

    /// Tells whether we do not read for want of room. Neither silence nor the time of a message
    /// counts meanwhile.
    pub(super) fn set_held_up(&mut self, is_held_up: bool) {
        match (is_held_up, self.held_up_since) {
            (true, None) => self.held_up_since = Some(Instant::now()),
            (false, Some(since)) => {
                self.held_up_since = None;
                self.heard();
                if let Some((_, begun)) = &mut self.partial {
                    *begun += since.elapsed();
                }
                self.nearer();
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    pub(super) fn cut_off(&mut self) {
        if self.cut_off_at.is_none() {
            self.cut_off_at = Some(Instant::now());
            self.nearer();
        }
    }

    pub(super) fn cut_off_is_sent(&mut self) {
        self.cut_off_at = None;
    }

    /// What has become due; each is told as long as nothing is done about it.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let (next, due) = self.next();
            if next <= Instant::now() {
                return Poll::Ready(due);
            }
            self.timer.as_mut().reset(next);
        }
    }

    /// Something may be due before the timer runs out.
    fn nearer(&mut self) {
        let (next, _) = self.next();
        if next < self.timer.deadline() {
            self.timer.as_mut().reset(next);
        }
    }

    /// What is due next.
    fn next(&self) -> (Instant, Due) {
        let settings = &self.settings;
        let after = |since: Instant, longest: Duration| since.checked_add(longest);
        let is_read = self.held_up_since.is_none();
        let patience = settings.idle_timeout.saturating_mul(2);
        let silent = after(self.last_heard, patience).filter(|_| is_read);
        let heartbeat = self.heartbeat.and_then(|every| after(self.last_spoken, every));
        let partial = self.partial.and_then(|(_, since)| after(since, settings.frame_timeout));
        let partial = partial.filter(|_| is_read);
        let unread = self.cut_off_at.and_then(|at| after(at, settings.write_timeout));
        let all = [
            (silent, Due::Silent),
            (heartbeat, Due::Heartbeat),
            (partial, Due::NotWhole),
            (unread, Due::CutOffUnread),
            (self.entrance.map(|(by, _)| by), self.entrance.map_or(Due::NotOpened, |(_, due)| due)),
        ];
        let known = all.into_iter().filter_map(|(at, due)| Some((at?, due)));
        // Without any, once a day is soon enough to look again.
        let far = Instant::now() + Duration::from_secs(24 * 3600);
        known.min_by_key(|(at, _)| *at).unwrap_or((far, Due::Silent))
    }
}
