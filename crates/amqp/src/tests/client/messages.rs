//! Messages, and what becomes of them.

use std::panic::Location;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;

use super::Client;
use crate::proto::{
    self, Disposition, Frame, Limits, Message, Outcome, Performative, Role, State, Transfer,
    WireError, decode_message, encode_message,
};

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Received {
    /// Its session's number for it.
    pub(crate) delivery_id: u32,
    /// Its tag.
    pub(crate) tag: Bytes,
    /// Whether the door wants to hear nothing of it.
    pub(crate) is_settled: bool,
    /// What it says.
    pub(crate) message: Message,
}

impl Client {
    /// Sends a message unsettled: the session's number for it.
    pub(crate) async fn send(&mut self, channel: u16, handle: u32, message: &Message) -> u32 {
        self.send_encoded(channel, handle, 0, &encode_message(message)).await
    }

    /// Sends an encoded message of this format, unsettled, in frames of at most 4 KiB.
    pub(crate) async fn send_encoded(
        &mut self,
        channel: u16,
        handle: u32,
        format: u32,
        message: &[u8],
    ) -> u32 {
        let (delivery_id, bytes) = self.transfer(channel, handle, format, message);
        self.send_bytes(&bytes).await;
        delivery_id
    }

    /// Sends an encoded message if the door still reads.
    pub(crate) async fn try_send_encoded(&mut self, channel: u16, handle: u32, message: &[u8]) {
        let (_, bytes) = self.transfer(channel, handle, 0, message);
        drop(self.stream.write_all(&bytes).await);
    }

    /// The frames of a message, and its number.
    pub(crate) fn transfer(
        &mut self,
        channel: u16,
        handle: u32,
        format: u32,
        message: &[u8],
    ) -> (u32, BytesMut) {
        let delivery_id = self.count_delivery(channel);
        let transfer = Transfer {
            handle,
            delivery_id: Some(delivery_id),
            delivery_tag: Some(Bytes::copy_from_slice(&delivery_id.to_be_bytes())),
            message_format: Some(format),
            settled: Some(false),
            ..Transfer::default()
        };
        let mut bytes = BytesMut::new();
        let mut n_sent = proto::encode_transfer(channel, &transfer, message, 4096, &mut bytes);
        while n_sent < message.len() {
            let transfer = Transfer { handle, ..Transfer::default() };
            let rest = &message[n_sent..];
            n_sent += proto::encode_transfer(channel, &transfer, rest, 4096, &mut bytes);
        }
        (delivery_id, bytes)
    }

    /// Sends a message, and expects it to be accepted.
    #[track_caller]
    pub(crate) fn send_accepted(
        &mut self,
        channel: u16,
        handle: u32,
        message: &Message,
    ) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            let sent = self.send(channel, handle, message).await;
            let outcome = self.outcome(channel, sent).await;
            assert_eq!(outcome, Outcome::Accepted, "{caller}");
        }
    }

    /// Sends a message, and expects it to be rejected: the error.
    #[track_caller]
    pub(crate) fn send_rejected(
        &mut self,
        channel: u16,
        handle: u32,
        message: &Message,
    ) -> impl Future<Output = WireError> {
        let caller = Location::caller();
        async move {
            let sent = self.send(channel, handle, message).await;
            match self.outcome(channel, sent).await {
                Outcome::Rejected(Some(error)) => error,
                other => panic!("{caller}: expected it to be rejected: {other:?}"),
            }
        }
    }

    /// Expects that the door settles the message of this number, and no other.
    pub(crate) async fn outcome(&mut self, channel: u16, delivery_id: u32) -> Outcome {
        let Frame { channel: on, performative, .. } = self.frame().await;
        match performative {
            Performative::Disposition(Disposition {
                role: Role::Receiver,
                first,
                last,
                settled: true,
                state: Some(State::Outcome(outcome)),
                ..
            }) => {
                assert_eq!((on, first, last.unwrap_or(first)), (channel, delivery_id, delivery_id));
                outcome
            }
            other => panic!("expected a disposition: {other:?}"),
        }
    }

    /// Expects a message on this link, whole.
    #[track_caller]
    pub(crate) fn receive(&mut self, channel: u16, handle: u32) -> impl Future<Output = Received> {
        let caller = Location::caller();
        async move {
            let mut payload = BytesMut::new();
            let mut first = None;
            loop {
                let Frame { channel: on, performative, payload: piece } = self.frame().await;
                let Performative::Transfer(transfer) = performative else {
                    panic!("{caller}: expected a message: {performative:?}")
                };
                assert_eq!((on, transfer.handle), (channel, handle), "{caller}");
                payload.extend_from_slice(&piece);
                let more = transfer.more;
                let first = first.get_or_insert(transfer);
                if !more {
                    let message = decode_message(payload.freeze(), &Limits::SESSION);
                    return Received {
                        delivery_id: first.delivery_id.expect("a delivery-id"),
                        tag: first.delivery_tag.clone().expect("a delivery-tag"),
                        is_settled: first.settled == Some(true),
                        message: message.expect("a message"),
                    };
                }
            }
        }
    }

    /// Settles a message of the door's.
    pub(crate) async fn settle(&mut self, channel: u16, delivery_id: u32, outcome: Outcome) {
        self.dispose(channel, delivery_id, outcome, true).await;
    }

    /// Tells the outcome of a message of the door's, settled or not.
    pub(crate) async fn dispose(
        &mut self,
        channel: u16,
        delivery_id: u32,
        outcome: Outcome,
        settled: bool,
    ) {
        let disposition = Disposition {
            role: Role::Receiver,
            first: delivery_id,
            last: None,
            settled,
            state: Some(State::Outcome(outcome)),
            batchable: false,
        };
        self.put(channel, Performative::Disposition(disposition)).await;
    }

    /// Expects a message on this link, and accepts it.
    #[track_caller]
    pub(crate) fn receive_accepted(
        &mut self,
        channel: u16,
        handle: u32,
    ) -> impl Future<Output = Message> {
        let received = Location::caller();
        async move {
            let Received { delivery_id, is_settled, message, .. } =
                self.receive(channel, handle).await;
            assert!(!is_settled, "{received}");
            self.settle(channel, delivery_id, Outcome::Accepted).await;
            message
        }
    }

    pub(super) fn next_delivery(&self, channel: u16) -> u32 {
        self.next_delivery.iter().find(|(on, _)| *on == channel).map_or(0, |(_, next)| *next)
    }

    pub(crate) fn count_delivery(&mut self, channel: u16) -> u32 {
        match self.next_delivery.iter_mut().find(|(on, _)| *on == channel) {
            Some((_, next)) => {
                *next += 1;
                *next - 1
            }
            None => {
                self.next_delivery.push((channel, 1));
                0
            }
        }
    }
}
