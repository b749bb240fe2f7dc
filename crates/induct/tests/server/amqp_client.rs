//! A client's end of an AMQP connection, for tests and benches of a whole server: many devices on
//! one connection, each in a session of its own, and one pair of token links for all of them
//! (H §4.3.3).
//!
//! It keeps the numbers that a client must keep and nothing more; what is said is the caller's
//! business. Like most clients it has a few messages under way at a time, which is less than the
//! credit it is granted, so flows are passed over. `benches/` includes this file as well.
#![allow(dead_code, reason = "tests and benches each use their share of it")]

use std::{collections::HashMap, ops::RangeInclusive};

use amqp::proto::{
    Attach, Begin, Body, Decoded, Detach, Disposition, End, Flow, Frame, Limits, Message,
    MessageId, Open, Outcome, Performative, Properties, ProtocolHeader, ReceiverSettle, Role,
    SaslFrame, SaslInit, SaslOutcome, SenderSettle, State, Terminus, Transfer, Value, WireError,
    decode, decode_header, decode_message, decode_sasl, encode, encode_header, encode_message,
    encode_sasl, encode_transfer,
};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The session of the token links; device `n` of a connection is on channel `n + 1`.
pub(crate) const TOKENS: u16 = 0;
/// The link on which a device, or whoever shows a token, sends.
pub(crate) const SENDER: u32 = 0;
/// The link on which it receives.
pub(crate) const RECEIVER: u32 = 1;
/// How many messages it takes before it has settled any.
const CREDIT: u32 = 1_000;
const WINDOW: u32 = 100_000;
/// The longest frame it takes and sends.
const MAX_FRAME_BYTES: u32 = 65_536;
/// How much is read at a time.
const READ_BYTES: usize = 4 * 1024;

/// A client on an open stream.
pub(crate) struct AmqpClient<S> {
    stream: S,
    received: BytesMut,
    /// Our channel for each of the server's.
    channels: HashMap<u16, u16>,
    /// Our handle for each of the server's, by our channel.
    handles: HashMap<(u16, u32), u32>,
    /// How many messages each session sent.
    n_sent: HashMap<u16, u32>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> AmqpClient<S> {
    /// A client on whose stream nothing was said yet.
    pub(crate) fn new(stream: S) -> Self {
        let (channels, handles, n_sent) = Default::default();
        Self { stream, received: BytesMut::new(), channels, handles, n_sent }
    }

    /// Logs in by this mechanism, opens the connection to this host, and begins the session of the
    /// token links without them.
    pub(crate) async fn open(
        stream: S,
        host: &str,
        mechanism: &str,
        response: Option<String>,
    ) -> Self {
        let mut client = Self::new(stream);
        client.say_header(ProtocolHeader::Sasl).await;
        client.heard_sasl().await;
        client.say_init(mechanism, response.map(Bytes::from)).await;
        assert_eq!(client.heard_sasl().await, SaslFrame::Outcome(SaslOutcome::Ok));
        client.say_header(ProtocolHeader::Amqp).await;
        let open = Open {
            container_id: "a gateway".to_owned(),
            hostname: Some(host.to_owned()),
            max_frame_size: Some(MAX_FRAME_BYTES),
            channel_max: Some(u16::MAX),
            idle_timeout_ms: Some(240_000),
            ..Open::default()
        };
        client.put(0, Performative::Open(Box::new(open))).await;
        let frame = client.heard().await;
        assert!(matches!(frame.performative, Performative::Open(_)), "{frame:?}");
        client.begin(TOKENS).await;
        client
    }

    /// The same with token links, for devices with tokens.
    pub(crate) async fn open_for_tokens(stream: S, host: &str) -> Self {
        let mut client = Self::open(stream, host, "MSSBCBS", None).await;
        for (handle, role) in [(SENDER, Role::Sender), (RECEIVER, Role::Receiver)] {
            client.attach(TOKENS, handle, role, "$cbs").await.expect("token links");
        }
        client
    }

    /// Says a header and hears the same.
    pub(crate) async fn say_header(&mut self, header: ProtocolHeader) {
        let mut bytes = BytesMut::new();
        encode_header(header, &mut bytes);
        self.write(&bytes).await;
        loop {
            if let Some(heard) = decode_header(&mut self.received).expect("a header") {
                assert_eq!(heard, header);
                return;
            }
            assert!(self.read_more().await, "the server closed instead of a header");
        }
    }

    /// Says which mechanism of SASL it is.
    pub(crate) async fn say_init(&mut self, mechanism: &str, response: Option<Bytes>) {
        let (mechanism, hostname) = (mechanism.to_owned(), None);
        self.say_sasl(&SaslFrame::Init(SaslInit {
            mechanism,
            initial_response: response,
            hostname,
        }))
        .await;
    }

    /// Says a frame of SASL.
    pub(crate) async fn say_sasl(&mut self, frame: &SaslFrame) {
        let mut bytes = BytesMut::new();
        encode_sasl(frame, &mut bytes);
        self.write(&bytes).await;
    }

    /// The next frame of SASL.
    pub(crate) async fn heard_sasl(&mut self) -> SaslFrame {
        loop {
            if let Decoded::Item(frame) =
                decode_sasl(&mut self.received, &Limits::SASL).expect("a frame of SASL")
            {
                return frame;
            }
            assert!(self.read_more().await, "the server closed instead of a frame of SASL");
        }
    }

    /// Begins a session.
    pub(crate) async fn begin(&mut self, channel: u16) {
        let begin = Begin {
            incoming_window: WINDOW,
            outgoing_window: WINDOW,
            handle_max: Some(7),
            ..Begin::default()
        };
        self.put(channel, Performative::Begin(Box::new(begin))).await;
        // Its channel is known from now on.
        let frame = self.heard().await;
        assert!(matches!(frame.performative, Performative::Begin(_)), "{frame:?}");
        assert_eq!(frame.channel, channel);
        self.n_sent.insert(channel, 0);
    }

    /// Attaches a link, and gives credit on one that receives. Nothing else may be under way.
    ///
    /// # Errors
    /// Why the server refused it.
    pub(crate) async fn attach(
        &mut self,
        channel: u16,
        handle: u32,
        role: Role,
        address: &str,
    ) -> Result<(), WireError> {
        self.attach_with(channel, handle, role, address, Vec::new()).await
    }

    /// The same, with properties of the link.
    ///
    /// # Errors
    /// Why the server refused it.
    pub(crate) async fn attach_with(
        &mut self,
        channel: u16,
        handle: u32,
        role: Role,
        address: &str,
        properties: Vec<(Value, Value)>,
    ) -> Result<(), WireError> {
        let there = Some(Terminus { address: Some(address.to_owned()), ..Terminus::default() });
        let (source, target) = match role {
            Role::Sender => (Some(Terminus::default()), there),
            Role::Receiver => (there, Some(Terminus::default())),
        };
        let attach = Attach {
            name: format!("{handle} of {channel}"),
            handle,
            role,
            sender_settle: SenderSettle::Unsettled,
            receiver_settle: ReceiverSettle::First,
            source,
            target,
            initial_delivery_count: (role == Role::Sender).then_some(0),
            max_message_size: None,
            properties,
            desired_capabilities: Vec::new(),
        };
        self.put(channel, Performative::Attach(Box::new(attach))).await;
        let frame = self.heard().await;
        let Performative::Attach(theirs) = frame.performative else { panic!("{frame:?}") };
        let end = if role == Role::Sender { theirs.target } else { theirs.source };
        if end.is_none_or(|end| end.address.is_none()) {
            let frame = self.heard().await;
            let Performative::Detach(detach) = frame.performative else { panic!("{frame:?}") };
            let ours = Detach { handle, closed: true, error: None };
            self.put(channel, Performative::Detach(ours)).await;
            return Err(detach.error.expect("a refused link says why"));
        }
        if role == Role::Receiver {
            let flow = Flow {
                next_incoming_id: Some(0),
                incoming_window: WINDOW,
                outgoing_window: WINDOW,
                handle: Some(handle),
                delivery_count: Some(0),
                link_credit: Some(CREDIT),
                ..Flow::default()
            };
            self.put(channel, Performative::Flow(flow)).await;
        }
        Ok(())
    }

    /// Shows a token on the token links: the status it is answered with. Nothing else may be under
    /// way.
    pub(crate) async fn put_token(&mut self, token: &str) -> i32 {
        let text = |text: &str| Value::String(text.to_owned());
        let request = Message {
            properties: Some(Box::new(Properties {
                message_id: Some(MessageId::Ulong(1)),
                reply_to: Some("cbs".to_owned()),
                ..Properties::default()
            })),
            application_properties: vec![
                ("operation".to_owned(), text("put-token")),
                ("type".to_owned(), text("servicebus.windows.net:sastoken")),
                ("name".to_owned(), text("whoever it is for")),
            ],
            body: Body::Value(text(token)),
            ..Message::default()
        };
        let sent = self.send(TOKENS, SENDER, &encode_message(&request)).await;
        let frame = self.heard().await;
        assert_eq!(accepted(&frame), Some((TOKENS, sent..=sent)), "{frame:?}");
        let frame = self.heard().await;
        let answer = self.take_message(frame).await.1;
        let status = answer.application_properties.iter().find(|(name, _)| name == "status-code");
        match status {
            Some((_, Value::Int(status))) => *status,
            other => panic!("{other:?} as the answer to a token"),
        }
    }

    /// Shows a device's token, begins its session on this channel, and attaches the link on which
    /// it sends events.
    pub(crate) async fn join(&mut self, channel: u16, id: &str, token: &str) {
        assert_eq!(self.put_token(token).await, 200, "{id}");
        self.begin(channel).await;
        self.attach_events(channel, id).await.expect("let in");
    }

    /// Attaches the link on which a device sends events.
    ///
    /// # Errors
    /// Why the server refused it.
    pub(crate) async fn attach_events(&mut self, channel: u16, id: &str) -> Result<(), WireError> {
        let address = format!("/devices/{id}/messages/events");
        self.attach(channel, SENDER, Role::Sender, &address).await
    }

    /// Attaches the link on which a device receives messages.
    ///
    /// # Errors
    /// Why the server refused it.
    pub(crate) async fn attach_messages(
        &mut self,
        channel: u16,
        id: &str,
    ) -> Result<(), WireError> {
        let address = format!("/devices/{id}/messages/devicebound");
        self.attach(channel, RECEIVER, Role::Receiver, &address).await
    }

    /// Sends an encoded message that is to be acknowledged: its session's number for it.
    pub(crate) async fn send(&mut self, channel: u16, handle: u32, message: &[u8]) -> u32 {
        self.try_send(channel, handle, message).await.expect("the connection is open")
    }

    /// The same; nothing when the connection is broken.
    pub(crate) async fn try_send(
        &mut self,
        channel: u16,
        handle: u32,
        message: &[u8],
    ) -> Option<u32> {
        let n_sent = self.n_sent.get_mut(&channel).expect("a session");
        let number = *n_sent;
        *n_sent += 1;
        let transfer = Transfer {
            handle,
            delivery_id: Some(number),
            delivery_tag: Some(Bytes::copy_from_slice(&number.to_be_bytes())),
            message_format: Some(0),
            settled: Some(false),
            ..Transfer::default()
        };
        let mut bytes = BytesMut::new();
        let longest = usize::try_from(MAX_FRAME_BYTES).expect("it fits");
        let n_taken = encode_transfer(channel, &transfer, message, longest, &mut bytes);
        assert_eq!(n_taken, message.len(), "a message of one frame");
        self.try_write(&bytes).await.then_some(number)
    }

    /// How many messages a session sent so far.
    pub(crate) fn n_sent(&self, channel: u16) -> u32 {
        *self.n_sent.get(&channel).expect("a session")
    }

    /// Reads a message that begins with this frame, and accepts it: its channel, and what it says.
    pub(crate) async fn take_message(&mut self, first: Frame) -> (u16, Message) {
        let Frame { channel, performative, payload } = first;
        let Performative::Transfer(transfer) = performative else {
            panic!("{performative:?} instead of a message")
        };
        assert!(!transfer.more, "a message of one frame");
        let disposition = Disposition {
            role: Role::Receiver,
            first: transfer.delivery_id.expect("a number"),
            last: None,
            settled: true,
            state: Some(State::Outcome(Outcome::Accepted)),
            batchable: false,
        };
        self.put(channel, Performative::Disposition(disposition)).await;
        (channel, decode_message(payload, &Limits::SESSION).expect("a message"))
    }

    /// Says that a session that the server has ended is over.
    pub(crate) async fn end(&mut self, channel: u16) {
        self.put(channel, Performative::End(End::default())).await;
    }

    /// Sends a frame without payload.
    pub(crate) async fn put(&mut self, channel: u16, performative: Performative) {
        let mut bytes = BytesMut::new();
        encode(channel, &performative, &mut bytes);
        self.write(&bytes).await;
    }

    /// The next frame, with our numbers for its channel and its handle, but no flow.
    pub(crate) async fn heard(&mut self) -> Frame {
        self.find_heard().await.expect("the server closed the connection")
    }

    /// The same; nothing when the connection is over. Nothing is lost when this is dropped halfway.
    pub(crate) async fn find_heard(&mut self) -> Option<Frame> {
        loop {
            match decode(&mut self.received, &Limits::SESSION).expect("a frame") {
                Decoded::Item(Frame { performative: Performative::Flow(_), .. })
                | Decoded::Empty => {}
                Decoded::Item(mut frame) => {
                    if self.received.is_empty() {
                        // A client that waits holds no buffer.
                        self.received = BytesMut::new();
                    }
                    self.translate(&mut frame);
                    return Some(frame);
                }
                Decoded::Incomplete { .. } => {
                    if !self.read_more().await {
                        return None;
                    }
                }
            }
        }
    }

    fn translate(&mut self, frame: &mut Frame) {
        let theirs = frame.channel;
        match &mut frame.performative {
            Performative::Open(_) | Performative::Close(_) => return,
            Performative::Begin(begin) => {
                self.channels.insert(theirs, begin.remote_channel.expect("an answer"));
            }
            _ => {}
        }
        frame.channel = *self.channels.get(&theirs).expect("a session of ours");
        let channel = frame.channel;
        let ours = |theirs: &u32| *self.handles.get(&(channel, *theirs)).expect("a link of ours");
        match &mut frame.performative {
            Performative::Attach(attach) => {
                let ours = attach.name.split(' ').next().and_then(|ours| ours.parse().ok());
                self.handles.insert((channel, attach.handle), ours.expect("a name of ours"));
            }
            Performative::Transfer(transfer) => transfer.handle = ours(&transfer.handle),
            Performative::Detach(detach) => detach.handle = ours(&detach.handle),
            _ => {}
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        assert!(self.try_write(bytes).await, "the connection is open");
    }

    async fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Whether something came, and not the end.
    async fn read_more(&mut self) -> bool {
        self.received.reserve(READ_BYTES);
        // A server that is killed says no goodbye below TLS.
        self.stream.read_buf(&mut self.received).await.is_ok_and(|n_bytes| n_bytes > 0)
    }
}

/// The channel and the numbers of the messages that a frame says are accepted.
pub(crate) fn accepted(frame: &Frame) -> Option<(u16, RangeInclusive<u32>)> {
    match &frame.performative {
        Performative::Disposition(Disposition {
            role: Role::Receiver,
            first,
            last,
            settled: true,
            state: Some(State::Outcome(Outcome::Accepted)),
            ..
        }) => Some((frame.channel, *first..=last.unwrap_or(*first))),
        _ => None,
    }
}

/// An event whose body is JSON, encoded.
pub(crate) fn json_event(body: impl Into<Bytes>) -> Bytes {
    let properties = Properties {
        content_type: Some("application/json".to_owned()),
        content_encoding: Some("utf-8".to_owned()),
        ..Properties::default()
    };
    let properties = Some(Box::new(properties));
    event_with(properties, body.into())
}

/// An event of these bytes, encoded.
pub(crate) fn event(body: impl Into<Bytes>) -> Bytes {
    event_with(None, body.into())
}

fn event_with(properties: Option<Box<Properties>>, body: Bytes) -> Bytes {
    encode_message(&Message { properties, body: Body::Data(vec![body]), ..Message::default() })
}
