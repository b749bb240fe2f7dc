//! The device's side of a connection: says exactly what it is told to.

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
};

use super::scene::text;
use crate::proto::{
    self, Decoded, Delivery, Filter, Grant, Limits, Packet, PacketId, Publish, Qos, SubAck,
    Subscribe, Topic, Unsubscribe,
};

/// The device's side of a connection.
pub(super) struct Client {
    stream: DuplexStream,
    received: BytesMut,
    served: JoinHandle<()>,
    last_id: u16,
}

impl Client {
    /// The client of a connection that this task serves.
    pub(super) fn new(stream: DuplexStream, served: JoinHandle<()>) -> Self {
        Self { stream, received: BytesMut::new(), served, last_id: 0 }
    }

    /// Sends a packet. One that the hub no longer reads is lost.
    pub(super) async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        proto::encode(&packet, &mut bytes).expect("legal");
        let _ = self.stream.write_all(&bytes).await;
    }

    /// Sends bytes, whatever they are.
    pub(super) async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("read");
    }

    /// The next packet; `None` when the hub closed the connection.
    pub(super) async fn next(&mut self) -> Option<Packet> {
        loop {
            match proto::decode(&mut self.received, &Limits::SESSION).expect("legal packets") {
                Decoded::Packet(packet) => return Some(packet),
                Decoded::Incomplete { .. } => {
                    if self.stream.read_buf(&mut self.received).await.unwrap_or(0) == 0 {
                        return None;
                    }
                }
            }
        }
    }

    pub(super) async fn packet(&mut self) -> Packet {
        self.next().await.expect("a packet, and not the end")
    }

    /// The next packet has to be this one.
    pub(super) async fn expect(&mut self, expected: Packet) {
        assert_eq!(self.next().await, Some(expected));
    }

    /// The next packet has to be a message; its topic, body and packet identifier.
    pub(super) async fn message(&mut self) -> (String, String, Option<PacketId>) {
        match self.packet().await {
            Packet::Publish(publish) => {
                assert!(!publish.retain && !publish.delivery.dup(), "{publish:?}");
                let id = publish.delivery.id();
                (publish.topic.to_string(), text(&publish.payload), id)
            }
            other => panic!("{other:?}"),
        }
    }

    /// The hub says nothing but the answer to a ping.
    pub(super) async fn hears_nothing(&mut self) {
        self.send(Packet::PingReq).await;
        self.expect(Packet::PingResp).await;
    }

    /// The hub closes the connection and says nothing before, and the session is over.
    pub(super) async fn expect_cut(mut self) {
        assert_eq!(self.next().await, None);
        drop(self.stream);
        self.served.await.expect("no panic");
    }

    /// Closes the connection without a word, and waits until the hub noticed.
    pub(super) async fn vanish(self) {
        drop(self.stream);
        self.served.await.expect("no panic");
    }

    /// Leaves on purpose, and waits until the hub noticed.
    pub(super) async fn leave(mut self) {
        self.send(Packet::Disconnect).await;
        self.expect_cut().await;
    }

    /// Waits until the hub is done with the connection, without reading.
    pub(super) async fn over(self) {
        self.served.await.expect("no panic");
    }

    pub(super) fn fresh_id(&mut self) -> PacketId {
        self.last_id += 1;
        PacketId::new(self.last_id).expect("not zero")
    }

    /// Sends a message of QoS 1 and does not wait.
    pub(super) async fn publish(&mut self, topic: &str, body: &str) -> PacketId {
        let id = self.fresh_id();
        self.send(publish(topic, body, Delivery::AtLeastOnce { id, dup: false })).await;
        id
    }

    /// Sends a message of QoS 0.
    pub(super) async fn publish_once(&mut self, topic: &str, body: &str) {
        self.send(publish(topic, body, Delivery::AtMostOnce)).await;
    }

    /// Sends a message of QoS 1, which the hub acknowledges.
    pub(super) async fn publish_acked(&mut self, topic: &str, body: &str) {
        let id = self.publish(topic, body).await;
        self.expect(Packet::PubAck(Some(id))).await;
    }

    /// Subscribes; the grants.
    pub(super) async fn subscribe(&mut self, filters: &[(&str, Qos)]) -> Vec<Grant> {
        let id = self.fresh_id();
        let filters = filters
            .iter()
            .map(|(filter, qos)| (Filter::new(*filter).expect("legal"), *qos))
            .collect();
        self.send(Packet::Subscribe(Subscribe { id, filters })).await;
        match self.packet().await {
            Packet::SubAck(SubAck { id: answered, grants }) if answered == Some(id) => grants,
            other => panic!("{other:?}"),
        }
    }

    /// Subscribes to one filter with QoS 1, which is granted.
    pub(super) async fn subscribed(&mut self, filter: &str) {
        let grants = self.subscribe(&[(filter, Qos::AtLeastOnce)]).await;
        assert_eq!(grants, [Grant::Granted(Qos::AtLeastOnce)]);
    }

    pub(super) async fn unsubscribe(&mut self, filter: &str) {
        let id = self.fresh_id();
        let filters = vec![Filter::new(filter).expect("legal")];
        self.send(Packet::Unsubscribe(Unsubscribe { id, filters })).await;
        self.expect(Packet::UnsubAck(Some(id))).await;
    }
}

/// A message that is not retained.
pub(super) fn publish(topic: &str, body: &str, delivery: Delivery) -> Packet {
    let topic = Topic::new(topic).expect("legal");
    Packet::Publish(Publish { topic, payload: body.to_owned().into(), delivery, retain: false })
}
