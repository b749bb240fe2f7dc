//! A device that sends as fast as it can, until it is stopped.

use bytes::BytesMut;
use mqtt::proto::{Decoded, Delivery, Limits, Packet, PacketId, Publish, Topic, decode, encode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, split},
    sync::watch,
    task::JoinHandle,
};

use super::line::Line;
use crate::world::within;

/// How much is written at once, in bytes.
const BATCH_BYTES: usize = 8 * 1024;

/// Messages of QoS 1 on their way, numbered from 0; nobody waits for their acknowledgements.
pub(super) struct Flood {
    writer: JoinHandle<()>,
    reader: JoinHandle<()>,
    acknowledged: watch::Receiver<u64>,
}

impl Flood {
    /// Begins to send messages whose payloads are made of their numbers.
    pub(super) fn start(line: Line, topic: &str, payload: fn(u64) -> String) -> Self {
        let topic = Topic::new(topic).expect("legal");
        let (mut from_server, mut to_server) = split(line.into_stream());
        let (counter, acknowledged) = watch::channel(0);
        let writer = tokio::spawn(async move {
            let mut batch = BytesMut::new();
            for n in 0_u64.. {
                let id = u16::try_from(n % 65_535 + 1).ok().and_then(PacketId::new);
                let delivery = Delivery::AtLeastOnce { id: id.expect("not 0"), dup: false };
                let (topic, payload) = (topic.clone(), payload(n).into());
                let publish = Publish { topic, payload, delivery, retain: false };
                encode(&Packet::Publish(publish), &mut batch).expect("legal");
                if batch.len() < BATCH_BYTES {
                    continue;
                }
                let written = to_server.write_all(&batch).await;
                if written.is_err() || to_server.flush().await.is_err() {
                    return;
                }
                batch.clear();
            }
        });
        let reader = tokio::spawn(async move {
            let mut inbox = BytesMut::new();
            loop {
                while let Decoded::Packet(packet) =
                    decode(&mut inbox, &Limits::SESSION).expect("the server speaks MQTT")
                {
                    match packet {
                        Packet::PubAck(Some(_)) => counter.send_modify(|n| *n += 1),
                        Packet::Publish(_) => {}
                        other => panic!("{other:?} to a flood of messages"),
                    }
                }
                if !matches!(from_server.read_buf(&mut inbox).await, Ok(1..)) {
                    return;
                }
            }
        });
        Self { writer, reader, acknowledged }
    }

    /// Waits until so many messages are acknowledged.
    pub(super) async fn acknowledged(&mut self, n: u64) {
        let waited = self.acknowledged.wait_for(|acknowledged| *acknowledged >= n);
        let waited = within("acknowledgements", waited).await;
        drop(waited.expect("the connection is open"));
    }

    /// Waits until the server has ended the connection; how many messages it acknowledged.
    pub(super) async fn ended(self) -> u64 {
        self.reader.await.expect("the reader does not panic");
        let acknowledged = *self.acknowledged.borrow();
        self.writer.abort();
        // Stopped, or it had noticed by itself.
        drop(self.writer.await);
        acknowledged
    }

    /// Stops sending in the middle of it; how many messages were acknowledged.
    pub(super) async fn stop(self) -> u64 {
        self.writer.abort();
        drop(self.writer.await);
        self.reader.abort();
        drop(self.reader.await);
        *self.acknowledged.borrow()
    }
}
