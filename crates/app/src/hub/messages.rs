//! An operator sends messages to devices, and hears what became of them (H §2.9, §5.8).

use decide::hub::message::{self, MessageDraft};
use model::{
    Caller, Change, ChangeSet, CloudMessage, DeviceId, Feedback, HubName, HubRefusal, Json,
    MessageEnd,
};
use store::{CommitError, StoreFault};
use tokio::sync::watch;
use tracing::warn;

use crate::{
    App, Attempt, MAX_ATTEMPTS, No, attempted,
    audit::{self, Deed},
    live::Command,
};

/// How many messages a purge or the chore takes at a time.
const BATCH: usize = 50;

impl App {
    /// Puts a message into a device's queue. Durable when this returns; a connected device that
    /// listens gets it at once.
    ///
    /// # Errors
    /// [`HubRefusal`], or a fault.
    pub async fn send_message(
        &self,
        hub: &HubName,
        id: &DeviceId,
        draft: MessageDraft,
    ) -> Result<CloudMessage, No<HubRefusal>> {
        let limits = &self.settings.hub_limits.messages;
        for _ in 0..MAX_ATTEMPTS {
            let device = self.store.find_device(hub, id).await?;
            let identity = device.as_ref().map(|device| &device.identity);
            if let Some(full) = identity.and_then(|found| message::queue_full(found, limits)) {
                return Err(No::Refused(full));
            }
            let (now, fresh) = (self.clock.now(), self.fresh());
            let (message, changes) =
                message::enqueue(hub, identity, id, draft.clone(), limits, now, &fresh)
                    .map_err(No::Refused)?;
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                if let Some(seat) = self.live.find(hub, id) {
                    seat.tell(Command::Messages);
                }
                return Ok(message);
            }
        }
        Err(No::Refused(HubRefusal::Conflict(id.to_string())))
    }

    /// Empties a device's queue; says how many messages were in it.
    ///
    /// # Errors
    /// [`HubRefusal`], or a fault.
    pub async fn purge_messages(
        &self,
        hub: &HubName,
        id: &DeviceId,
        by: &Caller,
    ) -> Result<u64, No<HubRefusal>> {
        let device = self.get_device(hub, id).await?;
        let generation = &device.identity.generation_id;
        let mut n_purged = 0;
        let mut n_conflicts = 0;
        while n_conflicts < MAX_ATTEMPTS {
            let waiting = self.store.waiting_messages(hub, id, 0, BATCH).await?;
            if waiting.is_empty() {
                return Ok(n_purged);
            }
            let n = u64::try_from(waiting.len()).unwrap_or(u64::MAX);
            let now = self.clock.now();
            let deed = Deed {
                action: "device.purge-messages",
                target: format!("hubs/{hub}/devices/{id}"),
                before: Some(Json::Object(vec![("nMessages".to_owned(), Json::from(n))])),
                ..Deed::default()
            };
            let changes = message::purge_changes(hub, &waiting, generation, now)
                .with(audit::line(by, now, deed));
            match attempted(self.commit(changes).await)? {
                Attempt::Done => n_purged += n,
                Attempt::Again => {
                    n_conflicts += 1;
                    continue;
                }
            }
            if waiting.len() < BATCH {
                // What is enqueued from here on is none of what there was.
                return Ok(n_purged);
            }
        }
        Err(No::Refused(HubRefusal::Conflict(id.to_string())))
    }

    /// The oldest feedback of a hub, at most `limit`.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn list_feedback(
        &self,
        hub: &HubName,
        limit: usize,
    ) -> Result<Vec<Feedback>, No<HubRefusal>> {
        Ok(self.store.list_feedback(hub, limit).await?)
    }

    /// Changes whenever there is new feedback of this hub. Ask for it before listing, so that
    /// nothing is missed.
    #[must_use]
    pub fn feedback_news(&self, hub: &HubName) -> watch::Receiver<u64> {
        self.live.feedback_news.subscribe(hub)
    }

    /// Forgets a hub's feedback up to this number: somebody read it.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn forget_feedback(&self, hub: &HubName, up_to: u64) -> Result<(), No<HubRefusal>> {
        let changes = ChangeSet::new().with(Change::DeleteFeedback(hub.clone(), up_to));
        match self.commit(changes).await {
            Ok(()) | Err(CommitError::Conflict) => Ok(()),
            Err(CommitError::Fault(fault)) => Err(No::Fault(fault)),
        }
    }

    /// Ends the messages whose time is over, of devices that never came for them; says how many.
    ///
    /// # Errors
    /// The store's.
    pub async fn end_expired_messages(&self) -> Result<usize, StoreFault> {
        let mut n_ended = 0;
        loop {
            let now = self.clock.now();
            let expired = self.store.expired_messages(now, BATCH).await?;
            let n = expired.len();
            let mut n_done = 0;
            for (hub, generation, message) in expired {
                let end = MessageEnd::Expired;
                let changes = message::end_changes(&hub, &message, &generation, end, now);
                match self.commit(changes).await {
                    Ok(()) => n_done += 1,
                    // Its device took it, or it is being sent right now.
                    Err(CommitError::Conflict) => {}
                    Err(CommitError::Fault(fault)) => {
                        warn!(error = %fault, "could not end an expired message");
                        return Err(fault);
                    }
                }
            }
            n_ended += n_done;
            if n < BATCH || n_done == 0 {
                return Ok(n_ended);
            }
        }
    }
}
