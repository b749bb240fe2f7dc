//! A client's end of a connection: it says exactly what a test wants, and hears every frame.

use amqp::proto::{
    Decoded, Frame, Limits, Performative, ProtocolHeader, SaslFrame, Transfer, decode,
    decode_header, decode_sasl, encode, encode_header, encode_sasl, encode_transfer,
};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::sdk::Sdk;
use crate::world::{
    Stream, Tls, World,
    websocket::{self, Request},
    within,
};

/// The longest frame a client takes.
pub(super) const MAX_FRAME_BYTES: u32 = 65_536;

/// How a client reaches the server.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// AMQP over TLS, port 5671.
    Tls,
    /// AMQP in a WebSocket, port 443.
    WebSocket(Request),
}

impl Way {
    /// Both ways, as this SDK goes them.
    pub(super) fn both(sdk: &Sdk) -> [Self; 2] {
        [Self::Tls, Self::WebSocket(sdk.web_socket)]
    }

    /// Its name, which is part of devices' names.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::WebSocket(_) => "ws",
        }
    }

    /// A connection of this kind: `tls` says with which credential.
    pub(super) async fn open(
        self,
        world: &World,
        host: &str,
        tls: impl FnOnce(Tls) -> Tls,
    ) -> Line {
        let stream: Box<dyn Stream> = match self {
            Self::Tls => Box::new(tls(world.amqp_tls()).stream(host).await),
            Self::WebSocket(request) => {
                let stream = tls(world.tls()).stream(host).await;
                Box::new(websocket::open(stream, host, request).await)
            }
        };
        Line { stream, read: BytesMut::new() }
    }
}

/// An open connection.
pub(super) struct Line {
    stream: Box<dyn Stream>,
    /// Arrived and not looked at yet.
    read: BytesMut,
}

impl Line {
    /// Says which layer comes next, and the server must say the same.
    pub(super) async fn header(&mut self, header: ProtocolHeader) {
        let mut bytes = BytesMut::new();
        encode_header(header, &mut bytes);
        self.write(&bytes).await;
        assert_eq!(self.heard_header().await, header);
    }

    /// The header that the server says.
    pub(super) async fn heard_header(&mut self) -> ProtocolHeader {
        loop {
            if let Some(header) = decode_header(&mut self.read).expect("a header") {
                return header;
            }
            assert!(self.read_more().await, "the server closed instead of a header");
        }
    }

    /// Says a frame of SASL.
    pub(super) async fn say(&mut self, frame: &SaslFrame) {
        let mut bytes = BytesMut::new();
        encode_sasl(frame, &mut bytes);
        self.write(&bytes).await;
    }

    /// The next frame of SASL, and its bytes. None may be longer than the 512 bytes that every
    /// client takes (D §3.3).
    pub(super) async fn heard(&mut self) -> (SaslFrame, Bytes) {
        loop {
            let before = Bytes::copy_from_slice(&self.read);
            let limits = Limits { frame_bytes: 512, ..Limits::SASL };
            match decode_sasl(&mut self.read, &limits).expect("a frame of SASL") {
                Decoded::Item(frame) => {
                    let n_bytes = before.len() - self.read.len();
                    return (frame, before.slice(..n_bytes));
                }
                Decoded::Empty => panic!("an empty frame of SASL"),
                Decoded::Incomplete { .. } => {
                    assert!(self.read_more().await, "the server closed instead of a frame");
                }
            }
        }
    }

    /// Sends a frame on channel 0, where all of a client's frames go.
    pub(super) async fn send(&mut self, performative: Performative) {
        let mut bytes = BytesMut::new();
        encode(0, &performative, &mut bytes);
        self.write(&bytes).await;
    }

    /// Sends a message, in as many frames as it takes.
    pub(super) async fn transfer(&mut self, transfer: &Transfer, mut payload: &[u8]) {
        let mut bytes = BytesMut::new();
        loop {
            let longest = usize::try_from(MAX_FRAME_BYTES).expect("it fits");
            let n_sent = encode_transfer(0, transfer, payload, longest, &mut bytes);
            payload = &payload[n_sent..];
            if payload.is_empty() {
                break;
            }
        }
        self.write(&bytes).await;
    }

    /// The next frame that says something; none is longer than the client takes.
    pub(super) async fn next(&mut self) -> Frame {
        self.find_next().await.expect("the server closed instead of a frame")
    }

    /// The same; nothing when the server has closed the connection.
    pub(super) async fn find_next(&mut self) -> Option<Frame> {
        loop {
            match decode(&mut self.read, &Limits::SESSION).expect("a frame") {
                Decoded::Item(frame) => {
                    return Some(frame);
                }
                Decoded::Empty => {}
                Decoded::Incomplete { .. } => {
                    if !self.read_more().await {
                        assert!(self.read.is_empty(), "half a frame, and then nothing");
                        return None;
                    }
                }
            }
        }
    }

    /// Waits until the server has closed the connection, without another word.
    pub(super) async fn closed(mut self) {
        if self.read_more().await || !self.read.is_empty() {
            panic!("more is said: {:?}", self.read);
        }
    }

    /// Sends bytes.
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        within("a write", write).await.expect("the connection is open");
    }

    /// Whether something came, and not the end.
    async fn read_more(&mut self) -> bool {
        let read = within("a read", self.stream.read_buf(&mut self.read)).await;
        // A server that ends a connection need not say goodbye below TLS.
        read.is_ok_and(|n_bytes| n_bytes > 0)
    }
}
