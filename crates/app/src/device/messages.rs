//! A device takes its cloud-to-device messages (H §4.2.8).

use decide::hub::message::{self, Next};
use model::{CloudMessage, HubRefusal, MessageEnd, Timestamp};

use super::{DeviceSession, SessionNo};
use crate::{Attempt, MAX_ATTEMPTS, live::LooseEnd};

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
                        self.end(&message, end, now).await?;
                    }
                }
                after = number;
            }
        }
        Err(SessionNo::Refused(HubRefusal::Conflict(id.to_string())))
    }

    /// The message of this number once more: the device gave it back (AMQP's `released` and
    /// `modified`, H §4.3.6). Nothing is held for a device that was sent a message, so giving one
    /// back is no write; that it is sent again is, and counts as ever. `None` when it is gone, or
    /// its time is over, or it was sent as often as it may be: then it ends.
    ///
    /// # Errors
    /// [`SessionNo`].
    pub async fn message_again(&self, number: u64) -> Result<Option<CloudMessage>, SessionNo> {
        for _ in 0..MAX_ATTEMPTS {
            self.check_over()?;
            let Some(message) = self.waiting_message(number).await? else { return Ok(None) };
            let now = self.app.clock.now();
            match message::next(message.clone(), &self.app.settings.hub_limits.messages, now) {
                Next::Deliver(message) => {
                    let set = message::deliver_changes(self.hub(), &message);
                    if let Attempt::Done = self.try_write(set, now).await? {
                        return Ok(Some(*message));
                    }
                }
                Next::End(end) => {
                    if let Attempt::Done = self.end(&message, end, now).await? {
                        return Ok(None);
                    }
                }
            }
        }
        Err(SessionNo::Refused(HubRefusal::Conflict(self.device_id().to_string())))
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
        for _ in 0..MAX_ATTEMPTS {
            self.check_over()?;
            let Some(message) = self.waiting_message(number).await? else { return Ok(()) };
            if let Attempt::Done = self.end(&message, end, self.app.clock.now()).await? {
                return Ok(());
            }
        }
        Err(SessionNo::Refused(HubRefusal::Conflict(self.device_id().to_string())))
    }

    /// One attempt to write that a message ended. Those who read feedback hear of it, as well when
    /// the connection breaks while it is written.
    async fn end(
        &self,
        message: &CloudMessage,
        end: MessageEnd,
        now: Timestamp,
    ) -> Result<Attempt, SessionNo> {
        let (hub, live) = (self.hub(), &self.app.live);
        let generation = self.seat.marks().own.generation_id;
        let set = message::end_changes(hub, message, &generation, end, now);
        if !message.feedback.wants(end) {
            return self.try_write(set, now).await;
        }
        let told_later = live.note_unless_answered(LooseEnd::Feedback(hub.clone()));
        let attempt = self.try_write(set, now).await?;
        if let Attempt::Done = attempt {
            live.feedback_news.announce(hub);
        }
        told_later.answered();
        Ok(attempt)
    }

    /// The message of this number, if it waits.
    async fn waiting_message(&self, number: u64) -> Result<Option<CloudMessage>, SessionNo> {
        let (hub, id, before) = (self.hub(), self.device_id(), number.saturating_sub(1));
        let found = self.app.store.waiting_messages(hub, id, before, 1).await?;
        Ok(found.into_iter().find(|message| message.number == number))
    }
}
