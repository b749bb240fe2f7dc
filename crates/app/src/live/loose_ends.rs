//! What is left to do where nobody can wait for the store: a session or a call was dropped.

use std::{
    collections::{BTreeSet, VecDeque},
    future::poll_fn,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use model::{Change, ChangeSet, ConnectRefusal, ConnectionNumber, DeviceId, HubName, Timestamp};
use store::CommitError;
use tokio::sync::Notify;
use tracing::warn;

use super::{Command, End, Live};
use crate::App;

/// How many are taken up at a time.
const MAX_BATCH: usize = 512;

/// How many may wait while the store fails; what is more is dropped and logged.
pub(super) const MAX_WAITING: usize = 65_536;

/// How often those who have ended, and are still to be told so, go before what is left to do.
const MAX_PATIENCE: usize = 1_000;

/// One thing left to do. All but the first were perhaps written by a call that nobody waited for
/// to the end; whether they were shows once the store has written what was given to it later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LooseEnd {
    /// A session is over, and its device is perhaps still written as connected.
    Departed { hub: HubName, device_id: DeviceId, connection: ConnectionNumber, at: Timestamp },
    /// An event was perhaps appended, and readers do not know.
    Event(HubName),
    /// A message was perhaps enqueued, and its device does not know.
    Message(HubName, DeviceId),
    /// A twin was perhaps written, and its device does not know.
    Twin(HubName, DeviceId),
    /// A message perhaps ended, and those who read feedback do not know.
    Feedback(HubName),
    /// A device was perhaps registered anew, and its session rests on what was before.
    Origin(HubName, DeviceId),
}

impl LooseEnd {
    /// The device whose session may rest on what was before.
    const fn origin(&self) -> Option<(&HubName, &DeviceId)> {
        match self {
            Self::Origin(hub, id) => Some((hub, id)),
            Self::Departed { .. }
            | Self::Event(_)
            | Self::Message(..)
            | Self::Twin(..)
            | Self::Feedback(_) => None,
        }
    }
}

/// The loose ends, until [`App::see_off`] takes them up: [`MAX_WAITING`] at the most.
#[derive(Debug, Default)]
pub(crate) struct LooseEnds {
    waiting: Mutex<VecDeque<LooseEnd>>,
    wake: Notify,
}

impl LooseEnds {
    /// # Errors
    /// The loose end, when there is no room for it.
    fn push(&self, end: LooseEnd) -> Result<(), LooseEnd> {
        let mut waiting = self.lock();
        // Events come many in a row, and their readers are told once.
        let is_known = !matches!(end, LooseEnd::Departed { .. }) && waiting.back() == Some(&end);
        if !is_known {
            if waiting.len() >= MAX_WAITING {
                return Err(end);
            }
            waiting.push_back(end);
        }
        drop(waiting);
        self.wake.notify_one();
        Ok(())
    }

    pub(super) fn n_waiting(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<LooseEnd>> {
        // Whoever panicked with the lock left whole entries behind.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Loose ends that are being tied up. Dropped before [`Taken::done`] they wait again, before what
/// came meanwhile.
struct Taken<'a> {
    live: &'a Live,
    ends: Vec<LooseEnd>,
}

impl Taken<'_> {
    fn done(mut self) {
        self.ends.clear();
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.ends.is_empty() {
            return;
        }
        let mut waiting = self.live.loose_ends.lock();
        let room = MAX_WAITING.saturating_sub(waiting.len());
        let no_room = self.ends.split_off(self.ends.len().min(room));
        for end in self.ends.drain(..).rev() {
            waiting.push_front(end);
        }
        drop(waiting);
        self.live.give_up(&no_room);
    }
}

/// See [`Live::note_unless_answered`].
pub(crate) struct UnlessAnswered<'a> {
    live: &'a Live,
    end: Option<LooseEnd>,
}

impl UnlessAnswered<'_> {
    pub(crate) fn answered(mut self) {
        self.end = None;
    }
}

impl Drop for UnlessAnswered<'_> {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            self.live.note(end);
        }
    }
}

impl Live {
    /// Leaves something for [`App::see_off`].
    pub(crate) fn note(&self, end: LooseEnd) {
        if let Err(end) = self.loose_ends.push(end) {
            self.give_up(&[end]);
        }
    }

    /// Notes something if this is dropped before [`UnlessAnswered::answered`].
    pub(crate) const fn note_unless_answered(&self, end: LooseEnd) -> UnlessAnswered<'_> {
        UnlessAnswered { live: self, end: Some(end) }
    }

    fn take(&self) -> Taken<'_> {
        let mut waiting = self.loose_ends.lock();
        let n = waiting.len().min(MAX_BATCH);
        let ends = waiting.drain(..n).collect();
        drop(waiting);
        Taken { live: self, ends }
    }

    /// The store has failed for long, and there is no room for these: everybody is told of what
    /// may have been written, and sessions that perhaps rest on what was before end.
    fn give_up(&self, ends: &[LooseEnd]) {
        if ends.is_empty() {
            return;
        }
        self.tie_up(ends);
        for (hub, id) in ends.iter().filter_map(LooseEnd::origin) {
            for seat in self.find(hub, id).into_iter().chain(self.modules_of(hub, id)) {
                seat.end(End::CutOff(ConnectRefusal::Conflict));
            }
        }
        let n_departed = ends.iter().filter(|end| matches!(end, LooseEnd::Departed { .. })).count();
        if n_departed > 0 {
            warn!(
                n_departed,
                "{n_departed} devices stay written as connected until they come again"
            );
        }
    }
}

impl App {
    /// Waits until there is something for [`Self::see_off`].
    pub async fn departure(&self) {
        self.live.loose_ends.wake.notified().await;
    }

    /// Writes that the devices whose sessions ended are no longer connected, and tells those who
    /// would have been told by calls that were cut short. What cannot be written while the store
    /// fails waits for the next departure.
    pub async fn see_off(&self) {
        loop {
            self.let_the_ended_go_first().await;
            let taken = self.live.take();
            if taken.ends.is_empty() {
                return;
            }
            let changes = taken.ends.iter().filter_map(disconnect).collect();
            // Without any change as well: the store writes in the order it is asked, so what a
            // call that was cut short may have written is written by now.
            let set = ChangeSet { expects: Vec::new(), changes };
            if let Err(CommitError::Fault(fault)) = self.store.commit(set).await {
                let n = taken.ends.len();
                warn!(error = %fault, "could not write that {n} sessions are over");
                return;
            }
            self.live.tie_up(&taken.ends);
            let registered: BTreeSet<_> = taken.ends.iter().filter_map(LooseEnd::origin).collect();
            for (hub, id) in registered {
                self.learn_origin(hub, id).await;
            }
            taken.done();
        }
    }
}

impl App {
    /// While many sessions end at once, their sockets are closed before it is written that they are
    /// gone: who was cut off is to notice, and the record can wait until a batch is full.
    async fn let_the_ended_go_first(&self) {
        for _ in 0..MAX_PATIENCE {
            if !self.live.turns.are_waited_for() || self.live.loose_ends.n_waiting() >= MAX_BATCH {
                return;
            }
            after_you().await;
        }
    }
}

/// Lets whoever else has something to do go first, once.
async fn after_you() {
    let mut has_waited = false;
    poll_fn(|context| {
        if has_waited {
            return Poll::Ready(());
        }
        has_waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Live {
    fn tie_up(&self, ends: &[LooseEnd]) {
        let (mut events, mut feedback) = (BTreeSet::new(), BTreeSet::new());
        for end in ends {
            match end {
                LooseEnd::Departed { .. } | LooseEnd::Origin(..) => {}
                LooseEnd::Event(hub) => {
                    events.insert(hub);
                }
                LooseEnd::Feedback(hub) => {
                    feedback.insert(hub);
                }
                LooseEnd::Message(hub, id) => {
                    if let Some(seat) = self.find(hub, id) {
                        seat.tell(Command::Messages);
                    }
                }
                // What was written is not known any more. The device fetches its twin when it
                // comes back.
                LooseEnd::Twin(hub, id) => {
                    if let Some(seat) = self.find(hub, id) {
                        seat.end(End::TooSlow);
                    }
                }
            }
        }
        for hub in events {
            self.event_news.announce(hub);
        }
        for hub in feedback {
            self.feedback_news.announce(hub);
        }
    }
}

fn disconnect(end: &LooseEnd) -> Option<Change> {
    match end {
        LooseEnd::Departed { hub, device_id, connection, at } => Some(Change::Disconnect {
            hub: hub.clone(),
            device_id: device_id.clone(),
            connection: *connection,
            at: *at,
        }),
        LooseEnd::Event(_)
        | LooseEnd::Message(..)
        | LooseEnd::Twin(..)
        | LooseEnd::Feedback(_)
        | LooseEnd::Origin(..) => None,
    }
}
