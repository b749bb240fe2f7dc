//! A device takes its cloud-to-device messages (H §4.2.8).

use decide::hub::message::{self, Next};
use model::{CloudMessage, HubRefusal, MessageEnd};

use super::{DeviceSession, SessionNo};
use crate::{Attempt, MAX_ATTEMPTS};

/// How many messages are looked at in one read.
const PAGE: usize = 16;

impl DeviceSession {
    /// The next message to send to the device, after the one of this number (0: from the first).
    /// That it is being sent is written before this returns; ones whose time is over, or that
    /// were sent too often, end on the way.
    ///
    /// # Errors
    /// [`SessionNo`].
    pub async fn next_message(&self, after: u64) -> Result<Option<CloudMessage>, SessionNo> {
        let (hub, id) = (self.hub(), self.device_id());
        let limits = &self.app.settings.hub_limits.messages;
        let mut after = after;
        let mut n_conflicts = 0;
        while n_conflicts < MAX_ATTEMPTS {
            self.check_over()?;
            let waiting = self.app.store.waiting_messages(hub, id, after, PAGE).await?;
            if waiting.is_empty() {
                return Ok(None);
            }
            for message in waiting {
                let number = message.number;
                let now = self.app.clock.now();
                match message::next(message.clone(), limits, now) {
                    Next::Deliver(message) => {
                        let set = message::deliver_changes(hub, &message);
                        if let Attempt::Done = self.try_write(set, now).await? {
                            return Ok(Some(*message));
                        }
                        // It was written meanwhile, by an operator who purged it or by the chore
                        // that ends what is over: look at it again.
                        n_conflicts += 1;
                        break;
                    }
                    Next::End(end) => {
                        let generation = self.seat.mark().generation_id;
                        let set = message::end_changes(hub, &message, &generation, end, now);
                        self.try_write(set, now).await?;
                    }
                }
                after = number;
            }
        }
        Err(SessionNo::Refused(HubRefusal::Conflict(id.to_string())))
    }

    /// The device acknowledged this message. Nothing happens when it is gone.
    ///
    /// # Errors
    /// [`SessionNo`].
    pub async fn complete(&self, number: u64) -> Result<(), SessionNo> {
        self.settle(number, MessageEnd::Success).await
    }

    /// The device refused this message. Nothing happens when it is gone.
    ///
    /// # Errors
    /// [`SessionNo`].
    pub async fn reject(&self, number: u64) -> Result<(), SessionNo> {
        self.settle(number, MessageEnd::Rejected).await
    }

    async fn settle(&self, number: u64, end: MessageEnd) -> Result<(), SessionNo> {
        let (hub, id) = (self.hub(), self.device_id());
        let before = number.saturating_sub(1);
        for _ in 0..MAX_ATTEMPTS {
            self.check_over()?;
            let found = self.app.store.waiting_messages(hub, id, before, 1).await?;
            let Some(message) = found.into_iter().find(|message| message.number == number) else {
                return Ok(());
            };
            let now = self.app.clock.now();
            let generation = self.seat.mark().generation_id;
            let set = message::end_changes(hub, &message, &generation, end, now);
            if let Attempt::Done = self.try_write(set, now).await? {
                return Ok(());
            }
        }
        Err(SessionNo::Refused(HubRefusal::Conflict(id.to_string())))
    }
}
