//! The service side of a hub (H §5.8): messages for devices, what became of them, and the link of
//! file notifications, which is silent.
//!
//! A link belongs to the hub that its address names. Each message is let in anew ([`guard`]), and
//! accepted after the commit. What deliberately does not live here: what a message may hold
//! (`decide`), and waiting for devices (`app`).

mod draft;
mod feedback;
mod guard;
mod sends;

use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use app::{No, hub::MessageDraft};
use futures_util::{StreamExt, stream::FuturesUnordered};
use model::{HubRefusal, Timestamp};
use tokio::time::timeout;
use tracing::{error, info};

use self::{
    draft::BadDraft,
    feedback::{FeedbackLink, Mailbox},
    guard::{Checked, Guard},
    sends::{Sends, Target},
};
use crate::{
    address::Address,
    door::chain_of,
    driver::Shared,
    endpoint::{Ask, Attached, DeliveryId, Inbox, Incoming, Line, LinkId, Told},
    errors,
    hub::expired,
    proto::{Outcome, Role, SenderSettle, WireError},
    stream::Place,
};

/// How many links of the service side one connection may have: each that hears of feedback looks at
/// it by itself. Clients have one of a kind.
const MAX_READERS: usize = 16;

/// Answers the service side's links of one connection.
pub(crate) async fn run(shared: Arc<Shared>, mut inbox: Inbox, line: Line) {
    let sends = Sends::new(shared.settings.max_in_flight_events);
    let jobs = FuturesUnordered::new();
    let mut service = Service { shared, line, links: BTreeMap::new(), sends, jobs };
    service.serve(&mut inbox).await;
}

/// Something that is under way; nothing waits for it.
type Job = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What was under way.
enum Done {
    /// A message was put into the queue, or not.
    Sent(Target),
    /// So was one whose sender may not send any more; its link is detached.
    Denied(Target, LinkId),
    /// A link is done with.
    Over(LinkId),
    /// Something was asked.
    Asked,
}

/// The links of one connection.
struct Service {
    shared: Arc<Shared>,
    line: Line,
    links: BTreeMap<LinkId, Link>,
    sends: Sends<Sending>,
    jobs: FuturesUnordered<Job>,
}

struct Link {
    guard: Guard,
    /// When its token is over.
    expires: Timestamp,
    kind: Kind,
}

impl Link {
    /// Whoever tells something there, tells no more.
    fn close(&self) {
        if let Kind::Feedback(mailbox) = &self.kind {
            mailbox.close();
        }
    }
}

enum Kind {
    Messages,
    Feedback(Arc<Mailbox>),
    Files,
}

/// A message for a device, on its way.
struct Sending {
    guard: Guard,
    link: LinkId,
    delivery: DeliveryId,
    is_settled: bool,
    draft: MessageDraft,
    /// It takes room until it is written.
    place: Place,
}

impl Service {
    /// Serves until the last link is gone and what was sent on it is written.
    async fn serve(&mut self, inbox: &mut Inbox) {
        loop {
            self.go_on();
            if self.links.is_empty() && self.jobs.is_empty() {
                // Another link may just have been attached.
                match inbox.try_recv() {
                    Ok(told) => self.hear(told).await,
                    Err(_) => return,
                }
                continue;
            }
            let shared = Arc::clone(&self.shared);
            let next_end = self.links.values().map(|link| link.expires).min();
            tokio::select! {
                biased;
                Some(done) = self.jobs.next(), if !self.jobs.is_empty() => self.take(done),
                told = inbox.recv() => match told {
                    Some(told) => self.hear(told).await,
                    None => return self.leave().await,
                },
                () = until(&shared, next_end) => self.look_at_tokens().await,
            }
        }
    }

    /// The connection is over. What was sent before is written all the same.
    async fn leave(&mut self) {
        for link in std::mem::take(&mut self.links).into_values() {
            link.close();
        }
        while let Some(done) = self.jobs.next().await {
            self.take(done);
            self.go_on();
        }
    }

    /// Begins what may begin.
    fn go_on(&mut self) {
        while let Some((target, send)) = self.sends.begin() {
            let (shared, line) = (Arc::clone(&self.shared), self.line.clone());
            self.jobs.push(Box::pin(send.run(shared, line, target)));
        }
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Sent(target) => self.sends.done(&target),
            Done::Denied(target, link) => {
                self.sends.done(&target);
                self.forget(link);
            }
            Done::Over(link) => self.forget(link),
            Done::Asked => {}
        }
    }

    /// Waits for something, while what is under way goes on: one that waits for a client that does
    /// not read keeps no room from others.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                biased;
                done = what.as_mut() => return done,
                Some(done) = self.jobs.next(), if !self.jobs.is_empty() => {
                    self.take(done);
                    self.go_on();
                }
            }
        }
    }

    /// Asks the driver, in its turn.
    fn ask(&self, ask: Ask) {
        let line = self.line.clone();
        self.jobs.push(Box::pin(async move {
            line.ask(ask).await;
            Done::Asked
        }));
    }

    async fn hear(&mut self, told: Told) {
        match told {
            Told::Attached(attached) => self.attach(&attached).await,
            Told::Message(link, incoming) => self.receive(link, incoming),
            Told::Credit { link, credit, drain } => match self.links.get(&link).map(|l| &l.kind) {
                Some(Kind::Feedback(mailbox)) => mailbox.credit(credit, drain),
                Some(Kind::Files) if drain => self.ask(Ask::Drained(link)),
                Some(Kind::Files | Kind::Messages) | None => {}
            },
            Told::Settled { link, number, outcome } => {
                if let Some(Kind::Feedback(mailbox)) = self.links.get(&link).map(|l| &l.kind) {
                    mailbox.settled(number, outcome);
                }
            }
            Told::Detached(link) => self.forget(link),
        }
    }

    async fn attach(&mut self, attached: &Attached) {
        let link = attached.link;
        let shared = Arc::clone(&self.shared);
        let has_room = self.has_room(&attached.address);
        let admission =
            async { if has_room { admit(shared, attached).await } else { Err(too_many()) } };
        match self.meanwhile(admission).await {
            Ok((guard, expires)) => {
                self.shared.prove();
                let hub = guard.hub();
                info!(
                    tracking_id = self.shared.tracking_id, hub.name = %hub,
                    "a service uses {} of `{hub}`", what_of(&attached.address),
                );
                self.accept(attached, guard, expires).await;
            }
            Err(error) => {
                let line = self.line.clone();
                self.meanwhile(line.ask(Ask::Refuse { link, error })).await;
            }
        }
    }

    /// Whether one more link may be. Those that read take a poll each. Of those that send, one client
    /// attaches one for each message that waits for its first link (`azure-iothub` 1.16.6), and
    /// the connection's own bound is enough.
    fn has_room(&self, address: &Address) -> bool {
        let reads = |kind: &Kind| !matches!(kind, Kind::Messages);
        matches!(address, Address::MessagesDevicebound { .. })
            || self.links.values().filter(|link| reads(&link.kind)).count() < MAX_READERS
    }

    async fn accept(&mut self, attached: &Attached, guard: Guard, expires: Timestamp) {
        let (link, settings) = (attached.link, Arc::clone(&self.shared.settings));
        let (accept, kind) = match &attached.address {
            Address::MessagesDevicebound { .. } => {
                let max_message_bytes = Some(settings.max_message_bytes);
                (Ask::Accept { link, max_message_bytes, window: settings.credit }, Kind::Messages)
            }
            other => {
                let kind = match other {
                    Address::Feedback { .. } => Kind::Feedback(Arc::default()),
                    _ => Kind::Files,
                };
                (Ask::Accept { link, max_message_bytes: None, window: 0 }, kind)
            }
        };
        let line = self.line.clone();
        self.meanwhile(line.ask(accept)).await;
        if let Kind::Feedback(mailbox) = &kind {
            let feedback = FeedbackLink {
                shared: Arc::clone(&self.shared),
                line: self.line.clone(),
                guard: guard.clone(),
                link,
                is_settled: attached.sender_settle == SenderSettle::Settled,
                mailbox: Arc::clone(mailbox),
            };
            self.jobs.push(Box::pin(async move {
                feedback.serve().await;
                Done::Over(link)
            }));
        }
        self.links.insert(link, Link { guard, expires, kind });
    }

    /// Looks at a message. What needs the store is done in its turn.
    fn receive(&mut self, link: LinkId, incoming: Incoming) {
        let Some(Link { guard, kind: Kind::Messages, .. }) = self.links.get(&link) else { return };
        let Incoming { delivery, format, payload, is_settled, place } = incoming;
        let read = match format {
            0 => draft::read(payload, guard.hub(), self.shared.app.now()),
            _ => Err(HubRefusal::NotImplemented("messages come one by one here".to_owned()).into()),
        };
        match read {
            Ok((device_id, draft)) => {
                let target = (guard.hub().clone(), device_id);
                let guard = guard.clone();
                let send = Sending { guard, link, delivery, is_settled, draft, place };
                self.sends.push(target, send);
            }
            Err(bad) => {
                let tracking_id = &self.shared.tracking_id;
                info!(tracking_id, "a message of a service is refused: {bad}");
                let error = match bad {
                    BadDraft::Frame(bad) => WireError::new(errors::DECODE, bad.to_string()),
                    BadDraft::Refused(refusal) => errors::hub_error(&refusal, tracking_id),
                };
                if !is_settled {
                    let outcome = Outcome::Rejected(Some(error));
                    self.ask(Ask::Settle { link, delivery, outcome });
                }
            }
        }
    }

    /// A link is gone. What came on it before is written all the same.
    fn forget(&mut self, link: LinkId) {
        if let Some(link) = self.links.remove(&link) {
            link.close();
        }
    }

    /// Detaches the links whose token is over and was not followed by a newer one.
    async fn look_at_tokens(&mut self) {
        let now = self.shared.app.now();
        let over = self.links.iter().filter(|(_, link)| link.expires <= now);
        let over: Vec<_> = over.map(|(link, of)| (*link, of.guard.clone())).collect();
        for (link, guard) in over {
            let checked = self.meanwhile(guard.check()).await;
            let error = match checked {
                Ok(expires) => {
                    if let Some(link) = self.links.get_mut(&link) {
                        link.expires = expires;
                    }
                    continue;
                }
                Err(no) => error_of(&self.shared, &guard, no, "a service's link is detached"),
            };
            self.forget(link);
            self.ask(Ask::Detach { link, error: Some(error) });
        }
    }
}

impl Sending {
    async fn run(self, shared: Arc<Shared>, line: Line, target: Target) -> Done {
        let Self { guard, link, delivery, is_settled, draft, place } = self;
        let sent = timeout(shared.settings.request_timeout, async {
            if let Err(no) = guard.admit().await {
                return Err((no, true));
            }
            let (hub, device_id) = &target;
            let sent = shared.app.send_message(hub, device_id, draft).await;
            sent.map(drop).map_err(|no| (no, false))
        })
        .await;
        drop(place);
        let outcome = match sent {
            Ok(Ok(())) => Outcome::Accepted,
            Ok(Err((no @ No::Refused(_), true))) if !is_throttled(&no) => {
                let error = error_of(&shared, &guard, no, "a service may send no more");
                line.ask(Ask::Detach { link, error: Some(error) }).await;
                return Done::Denied(target, link);
            }
            Ok(Err((no, _))) => {
                let error = error_of(&shared, &guard, no, "a message is not taken");
                Outcome::Rejected(Some(error))
            }
            Err(_) => {
                let text = "it took too long; whether the message is in the queue is not known";
                let error = errors::tracked(errors::TIMEOUT, text, &shared.tracking_id);
                Outcome::Rejected(Some(error))
            }
        };
        if !is_settled {
            line.ask(Ask::Settle { link, delivery, outcome }).await;
        }
        Done::Sent(target)
    }
}

/// Whether a service may have this link, and until when.
async fn admit(shared: Arc<Shared>, attached: &Attached) -> Result<(Guard, Timestamp), WireError> {
    let (host, path, role): (_, &[&str], _) = match &attached.address {
        Address::MessagesDevicebound { host } => (host, &["messages", "devicebound"], Role::Sender),
        Address::Feedback { host } => {
            (host, &["messages", "serviceBound", "feedback"], Role::Receiver)
        }
        Address::FileNotifications { host } => {
            (host, &["messages", "serviceBound", "filenotifications"], Role::Receiver)
        }
        _ => return Err(WireError::new(errors::NOT_FOUND, "there is no such link")),
    };
    if attached.role != role {
        let text = match role {
            Role::Sender => "services only send here",
            Role::Receiver => "services only receive here",
        };
        return Err(WireError::new(errors::NOT_ALLOWED, text));
    }
    let guard = match Guard::find(&shared, host.as_deref(), path).await {
        Ok(guard) => guard,
        Err(No::Refused(refusal)) => return Err(errors::hub_error(&refusal, &shared.tracking_id)),
        Err(No::Fault(fault)) => return Err(failed(&shared, &fault)),
    };
    let checked: Checked = guard.admit().await;
    match checked {
        Ok(expires) => Ok((guard, expires)),
        Err(no) => Err(error_of(&shared, &guard, no, "a service may not attach")),
    }
}

fn too_many() -> WireError {
    let text = format!("at most {MAX_READERS} links that read share one connection");
    WireError::new(errors::RESOURCE_LIMIT, text)
}

/// What a client is told, and the log of it.
fn error_of(shared: &Shared, guard: &Guard, no: No<HubRefusal>, what: &str) -> WireError {
    let hub = guard.hub();
    match no {
        No::Refused(refusal) => {
            let why = match &refusal {
                HubRefusal::Unauthorized(why) => why.clone(),
                other => other.to_string(),
            };
            info!(tracking_id = shared.tracking_id, hub.name = %hub, "{what} on `{hub}`: {why}");
            errors::hub_error(&refusal, &shared.tracking_id)
        }
        No::Fault(fault) => failed(shared, &fault),
    }
}

fn failed(shared: &Shared, fault: &(dyn std::error::Error + 'static)) -> WireError {
    let (chain, tracking_id) = (chain_of(fault), &shared.tracking_id);
    error!(tracking_id, error = %chain, "the service side failed by our fault: {chain}");
    errors::internal(tracking_id)
}

const fn is_throttled(no: &No<HubRefusal>) -> bool {
    matches!(no, No::Refused(HubRefusal::Throttled(_)))
}

const fn what_of(address: &Address) -> &'static str {
    match address {
        Address::MessagesDevicebound { .. } => "messages to devices",
        Address::Feedback { .. } => "the feedback",
        _ => "the file notifications",
    }
}

async fn until(shared: &Shared, moment: Option<Timestamp>) {
    match moment {
        Some(moment) => expired(&shared.app, moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
