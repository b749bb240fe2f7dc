//! A device's end of a connection: it says exactly what a test wants, and hears every packet.

use std::collections::VecDeque;

use bytes::Bytes;
use induct::device_link::{DeviceLink, DeviceLinkError, connect_packet};
use mqtt::proto::{
    ConnAck, Connect, ConnectRefusal, Delivery, Filter, Grant, Packet, PacketId, Publish, Qos,
    SubAck, Subscribe, Topic,
};

use super::sdk::Sdk;
use crate::world::{
    Stream, Tls, World,
    websocket::{self, Request},
    within,
};

/// How a device reaches the server.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// MQTT over TLS, port 8883.
    Tls,
    /// MQTT in a WebSocket, port 443.
    WebSocket(Request),
}

impl Way {
    /// Both ways, as this SDK goes them.
    pub(super) fn both(sdk: &Sdk) -> [Self; 2] {
        [Self::Tls, Self::WebSocket(sdk.web_socket)]
    }

    /// A connection of this kind: `tls` says with which credential and which version of TLS.
    pub(super) async fn open(
        self,
        world: &World,
        host: &str,
        tls: impl FnOnce(Tls) -> Tls,
    ) -> Box<dyn Stream> {
        match self {
            Self::Tls => Box::new(tls(world.mqtt_tls()).stream(host).await),
            Self::WebSocket(request) => {
                let stream = tls(world.tls()).stream(host).await;
                Box::new(websocket::open(stream, host, request).await)
            }
        }
    }
}

/// An open connection.
pub(super) struct Line {
    link: DeviceLink<Box<dyn Stream>>,
    last_id: u16,
    /// Arrived while something else was waited for.
    early: VecDeque<Publish>,
}

impl Line {
    /// A connection on which nothing was said yet.
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self { link: DeviceLink::new(stream), last_id: 0, early: VecDeque::new() }
    }

    /// Says CONNECT, and is let in: whether the server remembers a session.
    pub(super) async fn connect(&mut self, connect: Connect) -> bool {
        self.send(Packet::Connect(Box::new(connect))).await;
        match self.next().await {
            Packet::ConnAck(ConnAck::Accepted { session_present }) => session_present,
            other => panic!("{other:?} to a CONNECT"),
        }
    }

    /// Says CONNECT, and is refused with 5 and disconnected.
    pub(super) async fn refused(mut self, connect: Connect) {
        self.send(Packet::Connect(Box::new(connect))).await;
        let refused = Packet::ConnAck(ConnAck::Refused(ConnectRefusal::NotAuthorized));
        assert_eq!(self.rest().await, [refused]);
    }

    /// Subscribes to all of these in one packet, and is granted what it asks for. Nothing else may
    /// arrive before the answer.
    pub(super) async fn subscribe(&mut self, filters: &[&str], qos: Qos) {
        let id = self.next_id();
        let filters: Vec<_> =
            filters.iter().map(|text| (Filter::new(*text).expect("legal"), qos)).collect();
        let grants = vec![Grant::Granted(qos); filters.len()];
        self.send(Packet::Subscribe(Subscribe { id, filters })).await;
        self.expect(Packet::SubAck(SubAck { id: Some(id), grants })).await;
    }

    /// Sends a message; with QoS 1 its acknowledgement must be the very next packet.
    pub(super) async fn publish(&mut self, topic: &str, payload: impl Into<Bytes>, qos: Qos) {
        let id = self.start(topic, payload, qos).await;
        if let Some(id) = id {
            self.expect(Packet::PubAck(Some(id))).await;
        }
    }

    /// Sends a message and waits for nothing.
    pub(super) async fn start(
        &mut self,
        topic: &str,
        payload: impl Into<Bytes>,
        qos: Qos,
    ) -> Option<PacketId> {
        let delivery = match qos {
            Qos::AtMostOnce => Delivery::AtMostOnce,
            Qos::AtLeastOnce => Delivery::AtLeastOnce { id: self.next_id(), dup: false },
            Qos::ExactlyOnce => panic!("nobody sends QoS 2 here"),
        };
        let topic = Topic::new(topic).expect("legal");
        let payload = payload.into();
        self.send(Packet::Publish(Publish { topic, payload, delivery, retain: false })).await;
        delivery.id()
    }

    /// The next message, acknowledged if it wants to be: its topic and its payload.
    pub(super) async fn message(&mut self) -> (String, String) {
        let publish = match self.early.pop_front() {
            Some(publish) => publish,
            None => match self.next().await {
                Packet::Publish(publish) => publish,
                other => panic!("{other:?} instead of a message"),
            },
        };
        assert!(!publish.retain && !publish.delivery.dup(), "{publish:?}");
        if let Some(id) = publish.delivery.id() {
            self.send(Packet::PubAck(Some(id))).await;
        }
        let payload = String::from_utf8(publish.payload.to_vec()).expect("text");
        (publish.topic.as_str().to_owned(), payload)
    }

    /// Asks whether the server is still there. Messages that come first are kept for
    /// [`Self::message`].
    pub(super) async fn ping(&mut self) {
        self.send(Packet::PingReq).await;
        loop {
            match self.next().await {
                Packet::PingResp => return,
                Packet::Publish(publish) => self.early.push_back(publish),
                other => panic!("{other:?} to a PINGREQ"),
            }
        }
    }

    /// Sends a packet.
    pub(super) async fn send(&mut self, packet: Packet) {
        within("a write", self.link.send(&packet)).await.expect("the connection is open");
    }

    /// The next packet.
    pub(super) async fn next(&mut self) -> Packet {
        within("a packet", self.link.receive()).await.expect("a packet")
    }

    /// The next packet, which must be this one.
    #[track_caller]
    pub(super) fn expect(&mut self, expected: Packet) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move { assert_eq!(self.next().await, expected, "expected at {caller}") }
    }

    /// All that is still said until the server ends the connection.
    pub(super) async fn rest(&mut self) -> Vec<Packet> {
        let mut said: Vec<Packet> = self.early.drain(..).map(Packet::Publish).collect();
        loop {
            match within("the end of a connection", self.link.receive()).await {
                Ok(packet) => said.push(packet),
                Err(DeviceLinkError::Closed | DeviceLinkError::Broken(_)) => return said,
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// Waits until the server has ended the connection, without another word.
    pub(super) async fn closed(mut self) {
        assert_eq!(self.rest().await, [], "nothing more is said");
    }

    /// Says goodbye; the server has nothing more to say.
    pub(super) async fn leave(mut self) {
        self.send(Packet::Disconnect).await;
        self.closed().await;
    }

    /// The connection below.
    pub(super) fn into_stream(self) -> Box<dyn Stream> {
        self.link.into_stream()
    }

    /// A name for the next packet.
    pub(super) fn next_id(&mut self) -> PacketId {
        self.last_id += 1;
        PacketId::new(self.last_id).expect("few packets")
    }
}

/// A CONNECT whose texts are legal.
pub(super) fn connect_with(
    client_id: &str,
    user_name: &str,
    password: Option<&str>,
    clean: bool,
    keep_alive_secs: u16,
) -> Connect {
    connect_packet(client_id, user_name, password, clean, keep_alive_secs).expect("legal texts")
}
