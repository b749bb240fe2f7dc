//! The conversation with one device: reads its packets, answers them, and tells it what it
//! subscribed to.

mod tell;

use std::{future::Future, pin::Pin, time::Duration};

use app::{
    device::{Commands, DeviceSession, SessionNo},
    live::{Command, MethodAnswer},
};
use bytes::Bytes;
use futures_util::FutureExt;
use model::{CloudMessage, Qos as Level, Subscriptions};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};
use tracing::{debug, warn};

use super::{
    Over,
    calls::{self, Calls},
    event,
    jobs::{Jobs, Outcome, Replies},
    twin,
    unacked::{Sent, Unacked},
};
use crate::{
    door::Context,
    link::{Link, Place},
    proto::{
        ConnAck, Delivery, Grant, Packet, PacketId, Publish, Qos, SubAck, Subscribe, Unsubscribe,
    },
    topic::{HubFilter, HubRequest},
};

/// The largest payload a device may answer a method with, in bytes: as large as a call's (H §10).
const MAX_ANSWER_BYTES: usize = 128 * 1024;

/// A read of the queue of cloud-to-device messages.
type Pull<'a> = Pin<Box<dyn Future<Output = Pulled> + Send + 'a>>;

/// What came of it. Boxed, because a session that waits for it keeps room for it.
type Pulled = Result<Option<Box<CloudMessage>>, SessionNo>;

/// The conversation. At rest it holds no memory but its own.
pub(super) struct Talk<'a, S> {
    context: &'a Context,
    link: &'a mut Link<S>,
    session: &'a DeviceSession,
    commands: Commands,
    /// How long the device may be silent.
    patience: Duration,
    /// Whether what it subscribes to outlives the connection.
    is_durable: bool,
    jobs: Jobs<'a>,
    calls: Calls,
    unacked: Unacked,
    /// The read of the message queue that is on its way.
    pull: Option<Pull<'a>>,
    /// Whether the queue may hold messages that were not looked at.
    may_have_messages: bool,
    /// The number of the last message sent.
    last_message: u64,
    /// A message of QoS 0 that is done with once it is sent.
    sent_at_most_once: Option<u64>,
}

/// What happened.
enum Happened {
    Job(Outcome),
    Pulled(Pulled),
    Told(Command),
    Read(Packet, Place),
    /// The device may have been silent for too long.
    Late,
}

impl<'a, S> Talk<'a, S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    pub(super) fn new(
        context: &'a Context,
        link: &'a mut Link<S>,
        session: &'a DeviceSession,
        commands: Commands,
        patience: Duration,
        is_durable: bool,
    ) -> Self {
        Self {
            context,
            link,
            session,
            commands,
            patience,
            is_durable,
            jobs: Jobs::default(),
            calls: Calls::default(),
            unacked: Unacked::default(),
            pull: None,
            may_have_messages: true,
            last_message: 0,
            sent_at_most_once: None,
        }
    }

    /// Talks until the device leaves. What it sent before that is written all the same.
    pub(super) async fn run(&mut self) -> Over {
        let over = match self.converse().await {
            Ok(never) => match never {},
            Err(over) => over,
        };
        match self.jobs.finish().await {
            Ok(()) => over,
            Err(no) => no.into(),
        }
    }

    async fn converse(&mut self) -> Result<std::convert::Infallible, Over> {
        let session_present = self.session.was_present();
        self.link.queue(&Packet::ConnAck(ConnAck::Accepted { session_present }))?;
        let mut deadline = Instant::now() + self.patience;
        let mut late = std::pin::pin!(sleep_until(deadline));
        loop {
            self.flush().await?;
            self.after_flush();
            self.pull_messages();
            let has_room = self.has_room();
            let happened = tokio::select! {
                biased;
                outcome = self.jobs.next() => Happened::Job(outcome),
                pulled = pulled(&mut self.pull) => Happened::Pulled(pulled),
                command = self.commands.next() => Happened::Told(command),
                read = self.link.read(), if has_room => {
                    let (packet, place) = read?;
                    Happened::Read(packet, place)
                }
                () = late.as_mut() => Happened::Late,
            };
            match happened {
                Happened::Job(outcome) => self.answer(outcome)?,
                Happened::Pulled(found) => self.send_message(found?)?,
                Happened::Told(command) => self.obey(command)?,
                Happened::Read(packet, place) => {
                    deadline = Instant::now() + self.patience;
                    self.take(packet, place)?;
                }
                Happened::Late if has_room && Instant::now() >= deadline => {
                    return Err(Over::Silent);
                }
                Happened::Late => {
                    // It spoke meanwhile, or we have not listened.
                    if !has_room {
                        deadline = Instant::now() + self.patience;
                    }
                    late.as_mut().reset(deadline);
                }
            }
        }
    }

    /// Waits until all that was queued is sent. Meanwhile what the device asked for is done, and
    /// the room its packets take is given back: whether it reads is nothing to the others.
    async fn flush(&mut self) -> Result<(), Over> {
        loop {
            tokio::select! {
                biased;
                flushed = self.link.flush() => return Ok(flushed?),
                outcome = self.jobs.next() => self.answer(outcome)?,
            }
        }
    }

    /// Whether another packet may be read.
    fn has_room(&self) -> bool {
        self.jobs.have_room(self.context.settings.max_in_flight_events)
    }

    /// Sends the answers that are there, the oldest first.
    fn answer(&mut self, outcome: Outcome) -> Result<(), Over> {
        let mut next = Some(outcome);
        while let Some(outcome) = next {
            for packet in outcome?.0.into_iter().flatten() {
                self.link.queue(&packet)?;
            }
            // Together they may fit in one write.
            next = self.jobs.next_now();
        }
        Ok(())
    }

    /// Looks at a packet. Nothing waits here: what needs the store becomes a job.
    fn take(&mut self, packet: Packet, place: Place) -> Result<(), Over> {
        match packet {
            Packet::Publish(publish) => self.take_publish(publish, place),
            Packet::PubAck(id) => {
                self.take_puback(id);
                Ok(())
            }
            Packet::Subscribe(subscribe) => {
                self.subscribe(subscribe);
                Ok(())
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.unsubscribe(&unsubscribe);
                Ok(())
            }
            Packet::PingReq => Ok(self.link.queue(&Packet::PingResp)?),
            Packet::Disconnect => Err(Over::Disconnected),
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => {
                Err(Over::Misbehaved(format!("it sent {}, out of place", packet.kind())))
            }
        }
    }

    fn take_publish(&mut self, publish: Publish, place: Place) -> Result<(), Over> {
        let Publish { topic, payload, delivery, retain } = publish;
        let ack = match delivery {
            Delivery::AtMostOnce => None,
            Delivery::AtLeastOnce { id, .. } => Some(Packet::PubAck(Some(id))),
            Delivery::ExactlyOnce { .. } => {
                return Err(Over::Misbehaved("it sent a message of QoS 2".to_owned()));
            }
        };
        let session = self.session;
        let context = self.context;
        match HubRequest::of(&topic, session.device_id()) {
            HubRequest::Telemetry { bag } => {
                let draft = event::draft(bag, &payload, retain).map_err(|bad| {
                    Over::Misbehaved(format!("its message's properties are illegal: {bad}"))
                })?;
                self.jobs.push(Box::pin(async move {
                    session.send(draft).await?;
                    // The event takes room until it is written.
                    drop(place);
                    Ok(Replies::of(ack))
                }));
            }
            HubRequest::TwinGet { rid } => {
                let rid = rid.to_owned();
                self.jobs.push_alone(Box::pin(async move {
                    Ok(Replies([ack, twin::get(context, session, &rid).await?]))
                }));
            }
            HubRequest::TwinReport { rid, version } => {
                let rid = rid.to_owned();
                self.jobs.push_alone(Box::pin(async move {
                    let answer = twin::report(context, session, &rid, version, &payload).await?;
                    drop(place);
                    Ok(Replies([ack, answer]))
                }));
            }
            HubRequest::MethodResult { status, rid } => {
                self.take_answer(rid, status, &payload)?;
                self.jobs.push(Box::pin(async move { Ok(Replies::of(ack)) }));
            }
            HubRequest::Other => {
                let topic = crate::door::one_line(&topic);
                return Err(Over::Misbehaved(format!("it sent to `{topic}`")));
            }
        }
        Ok(())
    }

    /// Hands a device's answer to who called its method.
    fn take_answer(&mut self, rid: &str, status: i32, payload: &Bytes) -> Result<(), Over> {
        // What arrives after the cut has no effect (H §4.5.3).
        if let Some(end) = self.session.ended().now_or_never() {
            return Err(Over::Ended(end));
        }
        let Some(number) = calls::read_number(rid) else {
            return Ok(());
        };
        if payload.len() > MAX_ANSWER_BYTES {
            warn!(
                device.id = %self.session.device_id(), size_bytes = payload.len(),
                "`{}` answered a method with more than {MAX_ANSWER_BYTES} bytes, which is no answer",
                self.session.device_id(),
            );
            self.calls.give_up(number);
            return Ok(());
        }
        self.calls.answer(number, MethodAnswer { status, payload: payload.to_vec() });
        Ok(())
    }

    fn take_puback(&mut self, id: Option<PacketId>) {
        if let Some(Sent::Message(number)) = id.and_then(|id| self.unacked.acknowledge(id)) {
            self.complete(number);
        }
    }

    fn complete(&mut self, number: u64) {
        let session = self.session;
        self.jobs.push(Box::pin(async move {
            session.complete(number).await?;
            Ok(Replies::default())
        }));
    }

    fn subscribe(&mut self, subscribe: Subscribe) {
        let mut subscriptions = self.session.subscriptions();
        let mut grants = Vec::with_capacity(subscribe.filters.len());
        for (filter, qos) in &subscribe.filters {
            let slot = HubFilter::parse(filter, self.session.device_id())
                .map(|filter| slot_of(&mut subscriptions, filter));
            grants.push(match slot {
                Some(slot) => {
                    let level = match qos {
                        Qos::AtMostOnce => Level::AtMostOnce,
                        Qos::AtLeastOnce | Qos::ExactlyOnce => Level::AtLeastOnce,
                    };
                    *slot = Some(level);
                    Grant::Granted(qos_of(level))
                }
                None => {
                    debug!(
                        device.id = %self.session.device_id(),
                        "`{}` may not subscribe to `{}`", self.session.device_id(),
                        crate::door::one_line(filter),
                    );
                    Grant::Refused
                }
            });
        }
        let answer = Packet::SubAck(SubAck { id: Some(subscribe.id), grants });
        self.change_subscriptions(subscriptions, answer);
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe) {
        let mut subscriptions = self.session.subscriptions();
        for filter in &unsubscribe.filters {
            if let Some(filter) = HubFilter::parse(filter, self.session.device_id()) {
                *slot_of(&mut subscriptions, filter) = None;
            }
        }
        self.change_subscriptions(subscriptions, Packet::UnsubAck(Some(unsubscribe.id)));
    }

    fn change_subscriptions(&mut self, subscriptions: Subscriptions, answer: Packet) {
        let (session, is_durable) = (self.session, self.is_durable);
        self.jobs.push_alone(Box::pin(async move {
            session.subscribe(subscriptions, is_durable).await?;
            Ok(Replies::of(Some(answer)))
        }));
    }
}

/// What came of the read of the queue; waits for ever when there is none. Nothing is lost when this
/// is dropped while it waits.
async fn pulled(pull: &mut Option<Pull<'_>>) -> Pulled {
    match pull {
        Some(running) => {
            let found = running.await;
            *pull = None;
            found
        }
        None => std::future::pending().await,
    }
}

const fn slot_of(subscriptions: &mut Subscriptions, filter: HubFilter) -> &mut Option<Level> {
    match filter {
        HubFilter::Messages => &mut subscriptions.messages,
        HubFilter::TwinResponses => &mut subscriptions.twin_responses,
        HubFilter::Desired => &mut subscriptions.desired,
        HubFilter::Methods => &mut subscriptions.methods,
    }
}

const fn qos_of(level: Level) -> Qos {
    match level {
        Level::AtMostOnce => Qos::AtMostOnce,
        Level::AtLeastOnce => Qos::AtLeastOnce,
    }
}
