//! What became of messages, told on a service's feedback link (H §5.8).
//!
//! Records go out together: when there are as many as one message holds, or when the oldest has
//! waited for a while. One message is under way at a time. When it was taken its records are
//! forgotten, and until then they are in the store: whoever else reads the feedback of this hub
//! gets them too. What a service gives back it is sent again.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use app::No;
use model::{Feedback, HubRefusal, Timestamp};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tracing::{error, info};

use super::guard::Guard;
use crate::{
    content,
    door::chain_of,
    driver::Shared,
    endpoint::{Ask, Line, LinkId},
    errors,
    proto::{Body, Message, Outcome, Properties, Value, encode_message},
};

/// How long a record waits for others (H §5.8). Also, how long we wait for a store that failed.
const FLUSH_AFTER: Duration = Duration::from_secs(15);

/// The content type that C#'s client demands.
const CONTENT_TYPE: &str = "application/vnd.microsoft.iothub.feedback.json";
/// The annotation that C#'s client reads.
const ENQUEUED: &str = "iothub-enqueuedtime";

/// What happened on the link and was not looked at yet.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// As it was told last.
    credit: Option<(u32, bool)>,
    /// What became of the message of this number. One is under way at a time.
    settled: Option<(u64, Outcome)>,
    is_closed: bool,
}

impl Mailbox {
    pub(super) fn credit(&self, credit: u32, drain: bool) {
        self.lock().credit = Some((credit, drain));
        self.changed.notify_one();
    }

    pub(super) fn settled(&self, number: u64, outcome: Outcome) {
        self.lock().settled = Some((number, outcome));
        self.changed.notify_one();
    }

    /// The link is gone.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A feedback link.
pub(super) struct FeedbackLink {
    pub(super) shared: Arc<Shared>,
    pub(super) line: Line,
    pub(super) guard: Guard,
    pub(super) link: LinkId,
    /// Whether the service wants to hear and not to tell.
    pub(super) is_settled: bool,
    pub(super) mailbox: Arc<Mailbox>,
}

/// How far a link has come.
#[derive(Debug, Default)]
struct Progress {
    credit: u32,
    drain: bool,
    /// The message that is under way, and the last record in it.
    under_way: Option<(u64, u64)>,
    last_number: u64,
    /// When what there is goes out, however little it is.
    due: Option<Instant>,
}

/// The service may not read any more, and the link is detached.
struct Denied;

impl FeedbackLink {
    /// Tells what there is to tell, until the link is gone.
    pub(super) async fn serve(self) {
        let mut news = self.shared.app.feedback_news(self.guard.hub());
        let mut progress = Progress::default();
        loop {
            // Before the look: what comes after it is news.
            news.borrow_and_update();
            let State { credit, settled, is_closed } = std::mem::take(&mut *self.mailbox.lock());
            if is_closed {
                return;
            }
            if let Some((credit, drain)) = credit {
                (progress.credit, progress.drain) = (credit, drain);
            }
            if let Some((number, outcome)) = settled
                && self.settle(&mut progress, number, &outcome).await.is_err()
            {
                return;
            }
            let may_send = progress.credit > 0 && progress.under_way.is_none();
            if may_send && self.look(&mut progress).await.is_err() {
                return;
            }
            let may_send = may_send && progress.under_way.is_none();
            tokio::select! {
                () = self.mailbox.changed.notified() => {}
                // The sender lives as long as somebody listens.
                _ = news.changed(), if may_send => {}
                () = until(progress.due), if may_send => {}
            }
        }
    }

    /// Looks at what there is, and sends it if it is time.
    async fn look(&self, progress: &mut Progress) -> Result<(), Denied> {
        let hub = self.guard.hub();
        let records = match self.shared.app.list_feedback(hub, wire::hub::MAX_FEEDBACK).await {
            Ok(records) => records,
            Err(no) => {
                self.complain(&no, "feedback cannot be read");
                progress.due = Some(Instant::now() + FLUSH_AFTER);
                return Ok(());
            }
        };
        let Some((oldest, last)) = records.first().zip(records.last()) else {
            progress.due = None;
            self.drained(progress).await;
            return Ok(());
        };
        let now = self.shared.app.now();
        let due = *progress.due.get_or_insert_with(|| Instant::now() + patience(oldest.at, now));
        let is_full = records.len() >= wire::hub::MAX_FEEDBACK;
        if !is_full && !progress.drain && Instant::now() < due {
            return Ok(());
        }
        match self.guard.admit().await {
            Ok(_) => {}
            Err(No::Refused(HubRefusal::Throttled(secs))) => {
                progress.due = Some(Instant::now() + Duration::from_secs(secs.into()));
                self.drained(progress).await;
                return Ok(());
            }
            Err(No::Refused(refusal)) => return Err(self.deny(&refusal).await),
            Err(no) => {
                self.complain(&no, "a service cannot be looked at");
                progress.due = Some(Instant::now() + FLUSH_AFTER);
                return Ok(());
            }
        }
        progress.due = None;
        self.send(progress, &records, last.number, now).await;
        self.drained(progress).await;
        Ok(())
    }

    async fn send(&self, progress: &mut Progress, records: &[Feedback], last: u64, now: Timestamp) {
        let Some((document, _)) = wire::hub::feedback(records) else { return };
        progress.last_number += 1;
        progress.credit -= 1;
        let number = progress.last_number;
        let (link, is_settled) = (self.link, self.is_settled);
        let hub = self.guard.hub();
        let message = Message {
            message_annotations: vec![(
                Value::Symbol(ENQUEUED.to_owned()),
                Value::Timestamp(content::millis(now)),
            )],
            properties: Some(Box::new(Properties {
                // C#'s client fails without one.
                user_id: Some(hub.as_str().to_owned().into()),
                content_type: Some(CONTENT_TYPE.to_owned()),
                ..Properties::default()
            })),
            body: Body::Data(vec![document.to_string().into()]),
            ..Message::default()
        };
        // One client makes a GUID of it and finds the message by that.
        let tag = (u128::from(last) << 64 | u128::from(number)).to_be_bytes();
        let message = encode_message(&message);
        self.line.ask(Ask::Send { link, number, tag, message, is_settled }).await;
        if is_settled {
            self.forget(last).await;
        } else {
            progress.under_way = Some((number, last));
        }
    }

    /// The service may not read any more: its link is detached.
    async fn deny(&self, refusal: &HubRefusal) -> Denied {
        let hub = self.guard.hub();
        info!(
            tracking_id = self.shared.tracking_id, hub.name = %hub,
            "a service may not read the feedback of `{hub}` any more",
        );
        let error = errors::hub_error(refusal, &self.shared.tracking_id);
        self.line.ask(Ask::Detach { link: self.link, error: Some(error) }).await;
        Denied
    }

    /// The service told what became of a message. From one who may not read any more it has no
    /// effect: what it was told is told to the next.
    async fn settle(
        &self,
        progress: &mut Progress,
        number: u64,
        outcome: &Outcome,
    ) -> Result<(), Denied> {
        let Some((_, last)) = progress.under_way.take_if(|(under_way, _)| *under_way == number)
        else {
            return Ok(());
        };
        match outcome {
            // Who refuses it does not want it again.
            Outcome::Accepted | Outcome::Rejected(_) => match self.guard.check().await {
                Ok(_) => self.forget(last).await,
                Err(No::Refused(refusal)) => return Err(self.deny(&refusal).await),
                Err(no) => self.complain(&no, "feedback that was read will be told again"),
            },
            Outcome::Released | Outcome::Modified { .. } => progress.due = Some(Instant::now()),
        }
        Ok(())
    }

    async fn forget(&self, last: u64) {
        if let Err(no) = self.shared.app.forget_feedback(self.guard.hub(), last).await {
            self.complain(&no, "feedback that was read will be told again");
        }
    }

    /// Gives up credit that is not used, if the service wants that.
    async fn drained(&self, progress: &mut Progress) {
        if progress.drain {
            (progress.credit, progress.drain) = (0, false);
            self.line.ask(Ask::Drained(self.link)).await;
        }
    }

    fn complain(&self, no: &No<HubRefusal>, what: &str) {
        let (hub, chain) = (self.guard.hub(), chain_of(no));
        error!(
            tracking_id = self.shared.tracking_id, hub.name = %hub, error = %chain,
            "{what} on `{hub}`: {chain}",
        );
    }
}

/// How much longer a record of this age waits for others.
fn patience(at: Timestamp, now: Timestamp) -> Duration {
    // A tick is 100 nanoseconds. One from the future waits from now on.
    let age = u64::try_from(now.ticks().saturating_sub(at.ticks())).unwrap_or(0);
    FLUSH_AFTER.saturating_sub(Duration::from_nanos(age.saturating_mul(100)))
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_waits_no_longer_than_it_has_to() {
        let now = testkit::NOW;
        let check = |age_secs: i64, left_secs: u64| {
            let left = patience(now.plus_secs(-age_secs), now);
            assert_eq!(left, Duration::from_secs(left_secs), "{age_secs}");
        };
        check(0, 15);
        check(10, 5);
        check(15, 0);
        check(1_000_000, 0);
        check(-1_000_000, 15);
    }
}
