//! A client that says exactly what a test wants, and reads frame by frame.
//!
//! It keeps just the numbers that a client must keep. What the door sends and the test does
//! not expect fails the test; flows are passed over, because when they
//! come is nobody's business but the engine's.

mod links;
mod login;
mod messages;

use std::{panic::Location, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
    time::timeout,
};

pub(crate) use self::{links::Wish, messages::Received};
use crate::proto::{
    self, Begin, Close, Decoded, Flow, Frame, Limits, Open, Performative, ProtocolHeader, WireError,
};

/// Longer than anything here takes, also by a clock that is turned forward; a test that waits so
/// long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// How many messages the client takes on a link that receives, unless a test says otherwise.
const CREDIT: u32 = 100;
/// The windows of its sessions.
const WINDOW: u32 = 10_000;

/// A client of the door.
pub(crate) struct Client {
    stream: DuplexStream,
    received: BytesMut,
    /// The door's side; `None` once it was waited for.
    served: Option<JoinHandle<()>>,
    /// The next delivery of each session, by channel.
    next_delivery: Vec<(u16, u32)>,
}

impl Client {
    pub(crate) fn new(stream: DuplexStream, served: JoinHandle<()>) -> Self {
        let served = Some(served);
        Self { stream, received: BytesMut::new(), served, next_delivery: Vec::new() }
    }

    // Bytes.

    /// Sends bytes.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the door reads");
    }

    /// Whether the door takes these bytes within a second of its clock.
    pub(crate) async fn can_send(&mut self, bytes: &[u8]) -> bool {
        let longest = Duration::from_secs(1);
        matches!(timeout(longest, self.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Reads some more bytes; false at the end of the stream.
    async fn fill(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
        matches!(read.expect("something comes in time"), Ok(n_bytes) if n_bytes > 0)
    }

    /// Reads at most so many bytes, and forgets them; false at the end of the stream.
    pub(crate) async fn read_some(&mut self, n_bytes: usize) -> bool {
        let mut bytes = vec![0; n_bytes];
        matches!(self.stream.read(&mut bytes).await, Ok(n_bytes) if n_bytes > 0)
    }

    /// All bytes until the end of the stream.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.received).to_vec()
    }

    // The connection.

    /// Exchanges headers and opens, without a host name.
    pub(crate) async fn connect(&mut self) -> Open {
        self.connect_to(None).await
    }

    /// Exchanges headers and opens.
    pub(crate) async fn connect_to(&mut self, hostname: Option<&str>) -> Open {
        self.header(ProtocolHeader::Amqp).await;
        self.open(Open { hostname: hostname.map(str::to_owned), ..open() }).await
    }

    /// Opens, and expects the door's open.
    pub(crate) async fn open(&mut self, open: Open) -> Open {
        self.put(0, Performative::Open(Box::new(open))).await;
        match self.frame().await.performative {
            Performative::Open(open) => *open,
            other => panic!("expected an open: {other:?}"),
        }
    }

    /// Begins a session on this channel, and expects the door's begin.
    pub(crate) async fn begin(&mut self, channel: u16) -> Begin {
        self.put(channel, Performative::Begin(Box::new(begin()))).await;
        match self.frame().await.performative {
            Performative::Begin(begin) => {
                assert_eq!(begin.remote_channel, Some(channel));
                *begin
            }
            other => panic!("expected a begin: {other:?}"),
        }
    }

    /// Closes, expects the door's close, and that its work is over without a panic.
    pub(crate) async fn close(mut self) {
        self.put(0, Performative::Close(Close::default())).await;
        let error = self.closed().await;
        assert_eq!(error, None);
        self.over().await;
    }

    /// Reads until the door closes, whatever comes before: the error of its close.
    pub(crate) async fn closed(&mut self) -> Option<WireError> {
        loop {
            if let Performative::Close(close) = self.frame().await.performative {
                return close.error;
            }
        }
    }

    /// Expects that the door closes the connection with this condition, and all that is left on
    /// it before; and that nothing else comes.
    pub(crate) async fn expect_closed(mut self, condition: &str) {
        let error = self.expect_close().await.expect("an error");
        assert_eq!(error.condition, condition, "{error:?}");
        self.over().await;
    }

    /// Expects a close, and before it detaches and ends with the same error, or with what a forced
    /// end is to links.
    pub(crate) async fn expect_close(&mut self) -> Option<WireError> {
        let mut errors = Vec::new();
        loop {
            match self.frame().await.performative {
                Performative::Detach(detach) => errors.push(detach.error),
                Performative::End(end) => errors.push(end.error),
                Performative::Close(Close { error }) => {
                    let mut of_links = error.clone();
                    if let Some(forced) = &mut of_links
                        && forced.condition == "amqp:connection:forced"
                    {
                        "amqp:link:detach-forced".clone_into(&mut forced.condition);
                    }
                    assert!(errors.iter().all(|before| *before == of_links), "{errors:?}");
                    return error;
                }
                other => panic!("expected a close: {other:?}"),
            }
        }
    }

    /// Reads to the end of the stream, and waits until the door's work is over without a panic.
    pub(crate) async fn over(mut self) {
        assert_eq!(self.rest().await, b"", "nothing comes after the end");
        self.drop_stream().await;
    }

    /// Goes without a word, and waits until the door's work is over without a panic.
    pub(crate) async fn vanish(mut self) {
        self.drop_stream().await;
    }

    /// Waits until the door gives the connection up, without reading.
    pub(crate) async fn given_up(mut self) {
        let served = self.served.take().expect("waited for once");
        let served = timeout(PATIENCE, served).await.expect("the door ends in time");
        served.expect("the door did not panic");
    }

    async fn drop_stream(&mut self) {
        let (other, _) = tokio::io::duplex(1);
        drop(std::mem::replace(&mut self.stream, other));
        let served = self.served.take().expect("waited for once");
        let served = timeout(PATIENCE, served).await.expect("the door ends in time");
        served.expect("the door did not panic");
    }

    // Frames.

    /// Sends a frame without payload.
    pub(crate) async fn put(&mut self, channel: u16, performative: Performative) {
        let mut bytes = BytesMut::new();
        proto::encode(channel, &performative, &mut bytes);
        self.send_bytes(&bytes).await;
    }

    /// The next frame that is no flow, empty ones passed over; fails at the end of the stream.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> impl Future<Output = Frame> {
        let caller = Location::caller();
        async move {
            match self.next_frame().await {
                Some(frame) => frame,
                None => panic!("{caller}: the door closed the stream"),
            }
        }
    }

    /// The next frame that is no flow; `None` at the end of the stream.
    pub(crate) async fn next_frame(&mut self) -> Option<Frame> {
        loop {
            let frame = self.next_of_any_kind().await?;
            if !matches!(frame.performative, Performative::Flow(_)) {
                return Some(frame);
            }
        }
    }

    /// The next flow; anything else before it fails.
    pub(crate) async fn flow(&mut self) -> Flow {
        match self.next_of_any_kind().await.map(|frame| frame.performative) {
            Some(Performative::Flow(flow)) => flow,
            other => panic!("expected a flow: {other:?}"),
        }
    }

    async fn next_of_any_kind(&mut self) -> Option<Frame> {
        loop {
            match proto::decode(&mut self.received, &Limits::SESSION).expect("a frame") {
                Decoded::Item(frame) => return Some(frame),
                Decoded::Empty => {}
                Decoded::Incomplete { .. } => {
                    if !self.fill().await {
                        return None;
                    }
                }
            }
        }
    }

    /// The next frame that says only that the door is there.
    pub(crate) async fn heartbeat(&mut self) {
        loop {
            match proto::decode(&mut self.received, &Limits::SESSION).expect("a frame") {
                Decoded::Empty => return,
                Decoded::Item(frame) => panic!("expected an empty frame: {frame:?}"),
                Decoded::Incomplete { .. } => {
                    assert!(self.fill().await, "the door closed the stream");
                }
            }
        }
    }

    /// Says that the client is there.
    pub(crate) async fn send_heartbeat(&mut self) {
        let mut bytes = BytesMut::new();
        proto::encode_empty(&mut bytes);
        self.send_bytes(&bytes).await;
    }
}

/// An open as most clients send it.
pub(crate) fn open() -> Open {
    Open {
        container_id: "a client".to_owned(),
        max_frame_size: Some(64 * 1024),
        channel_max: Some(u16::MAX),
        ..Open::default()
    }
}

/// A begin as most clients send it.
pub(crate) fn begin() -> Begin {
    Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: WINDOW,
        outgoing_window: WINDOW,
        handle_max: None,
        properties: Vec::new(),
    }
}
