//! A device at its hub (H §4.2): sends messages, answers methods, reports to its twin.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use mqtt::proto::{Delivery, Packet, PacketId, Publish, Qos};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Figures, Identity, Network, Trouble,
    carrier::Carrier,
    figures::Open,
    network::{PATIENCE, slow},
    payload::payload,
};
use crate::device_link::{DeviceLink, DeviceLinkError, connect_packet};

/// The api-version devices speak to hubs (H §4.2.1).
const API_VERSION: &str = "2021-04-12";
/// How long a device says it may be silent, in seconds.
const KEEP_ALIVE_SECS: u16 = 240;
/// After how long a silent device shows that it is still there.
const PING_AFTER: Duration = Duration::from_secs(120);
/// How many messages may wait for their acknowledgement; no more are sent while there are so many.
const MAX_UNACKED: usize = 32;
/// How long a device that was told to stop waits for acknowledgements.
const LAST_WORDS: Duration = Duration::from_secs(5);

const METHOD_FILTER: &str = "$iothub/methods/POST/#";
const METHOD_PREFIX: &str = "$iothub/methods/POST/";
const TWIN_FILTER: &str = "$iothub/twin/res/#";
const TWIN_PREFIX: &str = "$iothub/twin/res/";

/// What devices do while they are connected.
#[derive(Debug, Clone, PartialEq)]
pub struct Habits {
    /// How long they wait from one message to the next; nothing is sent without.
    pub interval: Option<Duration>,
    /// How many messages each sends before it leaves; no end without.
    pub n_messages: Option<u64>,
    /// The size of a message; one that would be too small to say anything is larger.
    pub payload_bytes: usize,
    /// Whether messages are acknowledged (QoS 1).
    pub acknowledged: bool,
    /// Whether calls of methods are answered.
    pub answer_methods: bool,
    /// Whether each connection is reported to the twin.
    pub report_twin: bool,
}

impl Default for Habits {
    /// A message a second, acknowledged, and methods answered.
    fn default() -> Self {
        Self {
            interval: Some(Duration::from_secs(1)),
            n_messages: None,
            payload_bytes: 128,
            acknowledged: true,
            answer_methods: true,
            report_twin: false,
        }
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was told to stop.
    Stopped,
    /// It has sent as many messages as it was to.
    Done,
    /// The connection ended from the other side, or broke.
    Lost(Trouble),
}

/// An open session: connected, and nothing asked or sent yet.
pub struct Session {
    link: DeviceLink<Carrier>,
    device_id: Box<str>,
}

impl Session {
    /// Connects a device to its hub.
    ///
    /// # Errors
    /// [`Trouble::Refused`] when the hub does not let it in.
    pub async fn open(
        network: &Network,
        identity: &Identity,
        hub: &str,
        device_id: &str,
    ) -> Result<Self, Trouble> {
        let user_name = format!(
            "{hub}/{device_id}/?api-version={API_VERSION}&DeviceClientType=induct%2Fsimulate"
        );
        let password = identity.token(&format!("{hub}/devices/{device_id}"), None);
        let connect =
            connect_packet(device_id, &user_name, password.as_deref(), true, KEEP_ALIVE_SECS)
                .map_err(DeviceLinkError::from)?;
        let link = network.mqtt(hub, identity, connect).await?;
        Ok(Self { link, device_id: device_id.into() })
    }

    /// Does what devices do until it is done, told to stop (`stop` turns true or loses its sender),
    /// or cut off. `n_sent` counts its messages, over all its sessions; the first one of this
    /// session goes out after `delay`.
    pub async fn run(
        self,
        habits: &Habits,
        figures: &Figures,
        n_sent: &mut u64,
        delay: Duration,
        stop: &mut watch::Receiver<bool>,
    ) -> End {
        let _open = Open::count(figures);
        let now = Instant::now();
        let mut talk = Talk {
            link: self.link,
            device_id: self.device_id,
            habits,
            figures,
            n_sent,
            unacked: VecDeque::new(),
            next_message: habits.interval.map(|_| now + delay),
            last_sent: now,
            pong_due: None,
            stop_at: None,
        };
        match talk.run(stop).await {
            Ok(end) => {
                // Whether the server hears the goodbye changes nothing.
                let _ = timeout(LAST_WORDS, talk.link.send(&Packet::Disconnect)).await;
                end
            }
            Err(trouble) => End::Lost(trouble),
        }
    }
}

/// A conversation with a hub.
struct Talk<'a> {
    link: DeviceLink<Carrier>,
    device_id: Box<str>,
    habits: &'a Habits,
    figures: &'a Figures,
    n_sent: &'a mut u64,
    /// Messages without their acknowledgement, oldest first, and when they were sent.
    unacked: VecDeque<(PacketId, Instant)>,
    next_message: Option<Instant>,
    last_sent: Instant,
    /// When the answer to a PINGREQ has to be there.
    pong_due: Option<Instant>,
    /// When it leaves without acknowledgements, once it was told to stop.
    stop_at: Option<Instant>,
}

/// What happened.
enum Happened {
    Received(Packet),
    ToldToStop,
    /// It is time to do something.
    Woke,
}

impl Talk<'_> {
    async fn run(&mut self, stop: &mut watch::Receiver<bool>) -> Result<End, Trouble> {
        self.prepare().await?;
        loop {
            if self.unacked.is_empty() {
                if self.stop_at.is_some() {
                    return Ok(End::Stopped);
                }
                if self.is_done() {
                    return Ok(End::Done);
                }
            }
            let wake = self.next_wake();
            let happened = tokio::select! {
                biased;
                received = self.link.receive() => Happened::Received(received?),
                _ = stop.wait_for(|stop| *stop), if self.stop_at.is_none() => Happened::ToldToStop,
                () = sleep_until(wake) => Happened::Woke,
            };
            let now = Instant::now();
            match happened {
                Happened::Received(packet) => self.take(packet, now).await?,
                Happened::ToldToStop => self.stop_at = Some(now + LAST_WORDS),
                Happened::Woke => {
                    if self.stop_at.is_some_and(|at| now >= at) {
                        return Ok(End::Stopped);
                    }
                    self.act(now).await?;
                }
            }
        }
    }

    /// Subscribes, and reports that it is here.
    async fn prepare(&mut self) -> Result<(), Trouble> {
        let habits = self.habits;
        let filters: Vec<&str> =
            [(habits.answer_methods, METHOD_FILTER), (habits.report_twin, TWIN_FILTER)]
                .into_iter()
                .filter_map(|(is_wanted, filter)| is_wanted.then_some(filter))
                .collect();
        if !filters.is_empty() {
            let subscribed = timeout(PATIENCE, self.link.subscribe(&filters)).await;
            subscribed.map_err(|_| slow("answer a SUBSCRIBE"))??;
        }
        if habits.report_twin {
            let report = format!("{{\"simulated\":{{\"sent\":{}}}}}", self.n_sent);
            let topic = "$iothub/twin/PATCH/properties/reported/?$rid=1";
            self.publish(topic, report.into(), Qos::AtMostOnce).await?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.habits.n_messages.is_some_and(|n| *self.n_sent >= n)
    }

    /// When there is something to do, if nothing is received before.
    fn next_wake(&self) -> Instant {
        let may_send = self.may_send();
        let due = [
            Some(self.last_sent + PING_AFTER).filter(|_| self.pong_due.is_none()),
            self.next_message.filter(|_| may_send),
            self.pong_due,
            self.stop_at,
        ];
        let earliest = due.into_iter().flatten().min();
        earliest.unwrap_or(self.last_sent + PING_AFTER)
    }

    fn may_send(&self) -> bool {
        self.stop_at.is_none() && !self.is_done() && self.unacked.len() < MAX_UNACKED
    }

    /// Does what is due.
    async fn act(&mut self, now: Instant) -> Result<(), Trouble> {
        if self.pong_due.is_some_and(|due| now >= due) {
            return Err(slow("answer a PINGREQ"));
        }
        if self.may_send()
            && let (Some(interval), Some(due)) = (self.habits.interval, self.next_message)
            && now >= due
        {
            self.send_message().await?;
            // What could not be sent in time is not made up for.
            self.next_message = Some((due + interval).max(now));
        }
        if self.pong_due.is_none() && now >= self.last_sent + PING_AFTER {
            self.send(&Packet::PingReq).await?;
            self.pong_due = Some(Instant::now() + PATIENCE);
        }
        Ok(())
    }

    async fn send_message(&mut self) -> Result<(), Trouble> {
        *self.n_sent += 1;
        let body = payload(*self.n_sent, self.habits.payload_bytes);
        let topic = format!(
            "devices/{}/messages/events/$.ct=application%2Fjson&$.ce=utf-8",
            self.device_id
        );
        let qos = if self.habits.acknowledged { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let started = Instant::now();
        let id = self.publish(&topic, body.into(), qos).await?;
        self.figures.sent.add();
        self.unacked.extend(id.map(|id| (id, started)));
        Ok(())
    }

    async fn take(&mut self, packet: Packet, now: Instant) -> Result<(), Trouble> {
        match packet {
            Packet::PubAck(id) => {
                let place = self.unacked.iter().position(|(sent, _)| Some(*sent) == id);
                if let Some((_, sent)) = place.and_then(|at| self.unacked.remove(at)) {
                    self.figures.acknowledged.add();
                    self.figures.acknowledging.record(now - sent);
                }
                Ok(())
            }
            Packet::PingResp => {
                self.pong_due = None;
                Ok(())
            }
            Packet::Publish(publish) => self.take_message(publish).await,
            other => Err(DeviceLinkError::Unexpected(Box::new(other)).into()),
        }
    }

    async fn take_message(&mut self, message: Publish) -> Result<(), Trouble> {
        let Publish { topic, delivery, .. } = message;
        if let Delivery::AtLeastOnce { id, .. } = delivery {
            self.send(&Packet::PubAck(Some(id))).await?;
        }
        if let Some((name, rid)) = read_call(&topic) {
            let answer = Bytes::from(format!(
                "{{\"device\":\"{}\",\"method\":{},\"sent\":{}}}",
                self.device_id,
                model::Json::from(name),
                self.n_sent
            ));
            let topic = format!("$iothub/methods/res/200/?$rid={rid}");
            self.publish(&topic, answer, Qos::AtMostOnce).await?;
            self.figures.methods.add();
        } else if let Some(answer) = topic.strip_prefix(TWIN_PREFIX) {
            if answer.starts_with('2') {
                self.figures.reports.add();
            } else {
                self.figures.errors.add();
            }
        }
        Ok(())
    }

    async fn publish(
        &mut self,
        topic: &str,
        payload: Bytes,
        qos: Qos,
    ) -> Result<Option<PacketId>, Trouble> {
        let sent = timeout(PATIENCE, self.link.publish(topic, payload, qos)).await;
        let id = sent.map_err(|_| slow("read what is sent"))??;
        self.last_sent = Instant::now();
        Ok(id)
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), Trouble> {
        let sent = timeout(PATIENCE, self.link.send(packet)).await;
        sent.map_err(|_| slow("read what is sent"))??;
        self.last_sent = Instant::now();
        Ok(())
    }
}

/// The method that is called and the name of the call: `$iothub/methods/POST/{name}/?$rid={rid}`.
fn read_call(topic: &str) -> Option<(&str, &str)> {
    topic.strip_prefix(METHOD_PREFIX)?.split_once("/?$rid=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_as_the_hub_writes_it() {
        let topic = mqtt::topic::method_call("set.interval", "17");
        assert_eq!(read_call(&topic), Some(("set.interval", "17")));
        assert_eq!(read_call("$iothub/twin/res/204/?$rid=1"), None);
    }
}
