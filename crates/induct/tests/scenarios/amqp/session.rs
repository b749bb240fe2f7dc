//! A device's connection to the provisioning service, with the frames its SDK sends and no other
//! (D §3.4 to §3.6).

use amqp::proto::{
    Attach, Begin, Body, Close, Detach, Disposition, End, Flow, Frame, Limits, Message, Open,
    Outcome, Performative, ProtocolHeader, ReceiverSettle, Role, SaslOutcome, SenderSettle, State,
    Terminus, Transfer, Value, WireError, decode_message, encode_message,
};
use bytes::{Bytes, BytesMut};
use serde_json::{Value as Json, json};

use super::{
    line::{Line, MAX_FRAME_BYTES, Way},
    sasl,
    sdk::{Leaves, Sdk},
};
use crate::world::{Device, SERVICE, Tls, World, device::Proof};

/// The handle of the link on which requests are sent.
const SENDER: u32 = 0;
/// The handle of the link on which answers come.
const RECEIVER: u32 = 1;

/// A device that is connected, with both links.
pub(super) struct Session<'a> {
    sdk: &'a Sdk,
    id: String,
    line: Line,
    /// The public keys of its TPM, if it has one, as they stand in a register body.
    tpm: Option<String>,
    /// How many requests it sent.
    n_requests: u32,
    /// How many answers it got.
    n_answers: u32,
    /// The delivery tags of answers.
    tags: Vec<Bytes>,
}

/// How a request ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was accepted, and then answered by this.
    Answered(Json, Option<i32>),
    /// It was rejected.
    Rejected(WireError),
}

/// A connection as far as the device's credential takes it: the next thing to say is `open`.
pub(super) async fn log_in(world: &World, sdk: &Sdk, way: Way, device: &Device) -> Line {
    let mut line = match &device.proof {
        Proof::Key(key) => {
            let mut line = way.open(world, SERVICE, |tls| tls).await;
            let identity = format!("{}/registrations/{}", world.id_scope(), device.id);
            let token = sdk.token(world.id_scope(), &device.id, key);
            let outcome = sasl::plain(&mut line, sdk, &identity, &token).await;
            assert_eq!(outcome, SaslOutcome::Ok, "{} of {}", device.id, sdk.name);
            line
        }
        // Without a word of SASL (D §8, 35).
        Proof::Certificates(chain, key) => {
            let credential = |tls: Tls| tls.credential(chain.clone(), key.clone());
            way.open(world, SERVICE, credential).await
        }
        Proof::Token(_) | Proof::Nothing => panic!("{} has nothing to show", device.id),
    };
    line.header(ProtocolHeader::Amqp).await;
    line
}

impl<'a> Session<'a> {
    /// Connects with a key or certificates and attaches both links.
    pub(super) async fn open(world: &World, sdk: &'a Sdk, way: Way, device: &Device) -> Self {
        let line = log_in(world, sdk, way, device).await;
        Self::begin(world, sdk, line, &device.id).await
    }

    /// Attaches both links on a connection that has logged in.
    pub(super) async fn begin(world: &World, sdk: &'a Sdk, line: Line, id: &str) -> Self {
        Self::begin_at(sdk, line, world.id_scope(), id).await
    }

    /// The same, in this ID scope.
    pub(super) async fn begin_at(sdk: &'a Sdk, line: Line, id_scope: &str, id: &str) -> Self {
        let identity = format!("{id_scope}/registrations/{id}");
        let id = id.to_owned();
        let mut session =
            Self { sdk, id, line, tpm: None, n_requests: 0, n_answers: 0, tags: Vec::new() };
        session.line.send(open(sdk)).await;
        session.line.send(begin()).await;
        let (sender, receiver) =
            (attach(sdk, Role::Sender, &identity), attach(sdk, Role::Receiver, &identity));
        if !sdk.receiver_first {
            session.line.send(Performative::Attach(Box::new(sender.clone()))).await;
            session.line.send(Performative::Attach(Box::new(receiver.clone()))).await;
        }
        session.opened().await;
        if sdk.receiver_first {
            session.line.send(Performative::Attach(Box::new(receiver.clone()))).await;
            session.attached(&receiver).await;
            session.grant().await;
            session.line.send(Performative::Attach(Box::new(sender.clone()))).await;
            session.attached(&sender).await;
        } else {
            session.attached(&sender).await;
            session.attached(&receiver).await;
            session.grant().await;
        }
        session
    }

    /// The same device, which sends its TPM's public keys along where its SDK does.
    pub(super) fn with_tpm(mut self, keys: String) -> Self {
        self.tpm = Some(keys);
        self
    }

    /// Hears the answers to `open` and `begin`.
    async fn opened(&mut self) {
        let frame = self.line.next().await;
        let Performative::Open(open) = frame.performative else { panic!("{frame:?}") };
        assert!(open.max_frame_size.is_none_or(|size| size >= MAX_FRAME_BYTES), "{open:?}");
        assert!(!open.container_id.is_empty(), "{open:?}");
        let frame = self.line.next().await;
        let Performative::Begin(begin) = frame.performative else { panic!("{frame:?}") };
        assert_eq!(begin.remote_channel, Some(0));
    }

    /// Hears that a link is attached, with what the device wrote. The one it sends on gets credit
    /// at once.
    async fn attached(&mut self, ours: &Attach) {
        let frame = self.line.next().await;
        let Performative::Attach(theirs) = frame.performative else { panic!("{frame:?}") };
        assert_eq!(theirs.name, ours.name);
        assert_ne!(theirs.role, ours.role);
        let addresses = |attach: &Attach| {
            let address = |end: &Option<Terminus>| end.as_ref().and_then(|end| end.address.clone());
            (address(&attach.source), address(&attach.target))
        };
        assert_eq!(addresses(&theirs), addresses(ours), "they are echoed");
        if ours.role == Role::Receiver {
            return;
        }
        let frame = self.line.next().await;
        let Performative::Flow(flow) = frame.performative else { panic!("{frame:?}") };
        assert_eq!(flow.handle, Some(theirs.handle));
        assert!(flow.link_credit.is_some_and(|credit| credit > 0), "{flow:?}");
    }

    /// Grants credit for answers.
    async fn grant(&mut self) {
        self.grant_after(self.n_answers).await;
    }

    /// The same on a link that was just attached.
    async fn grant_anew(&mut self) {
        self.grant_after(0).await;
    }

    async fn grant_after(&mut self, n_deliveries: u32) {
        let flow = Flow {
            next_incoming_id: Some(self.n_answers),
            incoming_window: 2048,
            next_outgoing_id: self.n_requests,
            outgoing_window: 2048,
            handle: Some(RECEIVER),
            delivery_count: Some(n_deliveries),
            link_credit: Some(self.sdk.credit),
            ..Flow::default()
        };
        self.line.send(Performative::Flow(flow)).await;
    }

    /// Sends a request and hears how it ends.
    pub(super) async fn ask(&mut self, message: &Message) -> Ended {
        self.start(message).await;
        self.end(message).await
    }

    /// Sends a request.
    pub(super) async fn start(&mut self, message: &Message) {
        let delivery_id = self.n_requests;
        self.n_requests += 1;
        let transfer = Transfer {
            handle: SENDER,
            delivery_id: Some(delivery_id),
            delivery_tag: Some(Bytes::copy_from_slice(&delivery_id.to_be_bytes())),
            message_format: Some(0),
            settled: Some(false),
            ..Transfer::default()
        };
        self.line.transfer(&transfer, &encode_message(message)).await;
    }

    /// Hears how the oldest request without an end ends: first its outcome, then the answer (D
    /// §3.5).
    pub(super) async fn end(&mut self, message: &Message) -> Ended {
        let request = self.n_answers + self.n_rejected();
        let frame = self.next().await;
        let Performative::Disposition(disposition) = frame.performative else {
            panic!("{frame:?} instead of an outcome")
        };
        assert_eq!(disposition.role, Role::Receiver);
        assert!(disposition.settled, "{disposition:?}");
        let (first, last) = (disposition.first, disposition.last.unwrap_or(disposition.first));
        assert_eq!((first, last), (request, request), "{disposition:?}");
        match disposition.state {
            Some(State::Outcome(Outcome::Accepted)) => {}
            Some(State::Outcome(Outcome::Rejected(Some(error)))) => {
                self.tags.push(Bytes::new());
                return Ended::Rejected(error);
            }
            other => panic!("{other:?} as the outcome"),
        }
        let answer = self.answer().await;
        let name = |message: &Message| {
            message.properties.as_ref().and_then(|properties| properties.correlation_id.clone())
        };
        assert_eq!(name(&answer), name(message), "D §8, 39");
        let Body::Data(sections) = &answer.body else { panic!("{:?} as a body", answer.body) };
        assert_eq!(sections.len(), 1, "one data section (D §8, 40)");
        let body = serde_json::from_slice(&sections[0]).expect("every body is JSON");
        let said = |name: &str| {
            let mut found = answer.application_properties.iter().filter(|(known, _)| known == name);
            match found.next() {
                None => None,
                Some((_, Value::Int(secs))) => Some(*secs),
                Some((_, other)) => panic!("{name} is {other:?} (D §8, 42)"),
            }
        };
        assert_eq!(said("retry-after"), said("Retry-After"), "both spellings (D §8, 41)");
        Ended::Answered(body, said(self.sdk.retry_after))
    }

    /// How many requests were rejected so far.
    fn n_rejected(&self) -> u32 {
        let n = self.tags.iter().filter(|tag| tag.is_empty()).count();
        u32::try_from(n).expect("few")
    }

    /// The next answer, whole, which is accepted.
    async fn answer(&mut self) -> Message {
        let mut payload = BytesMut::new();
        let mut id = None;
        loop {
            let Frame { performative, payload: piece, .. } = self.next().await;
            let Performative::Transfer(transfer) = performative else {
                panic!("{performative:?} instead of an answer")
            };
            if id.is_none() {
                id = transfer.delivery_id;
                assert_ne!(transfer.settled, Some(true), "the device settles it");
                let tag = transfer.delivery_tag.expect("a tag");
                assert!(!tag.is_empty() && !self.tags.contains(&tag), "{tag:?}");
                self.tags.push(tag);
            }
            payload.extend_from_slice(&piece);
            if !transfer.more {
                break;
            }
        }
        self.n_answers += 1;
        let disposition = Disposition {
            role: Role::Receiver,
            first: id.expect("an id"),
            last: None,
            settled: true,
            state: Some(State::Outcome(Outcome::Accepted)),
            batchable: false,
        };
        self.line.send(Performative::Disposition(disposition)).await;
        if self.sdk.credit == 1 {
            self.grant().await;
        }
        decode_message(payload.freeze(), &Limits::SESSION).expect("a message")
    }

    /// The next frame but those that only say how much may be sent.
    async fn next(&mut self) -> Frame {
        loop {
            let frame = self.line.next().await;
            if !matches!(frame.performative, Performative::Flow(_)) {
                return frame;
            }
        }
    }

    /// Its next request to register.
    pub(super) fn register_message(&self) -> Message {
        self.sdk.register_message(self.n_requests, &self.id, self.tpm.as_deref())
    }

    /// Registers; the operation.
    pub(super) async fn register(&mut self) -> String {
        let message = self.register_message();
        let Ended::Answered(body, retry_after) = self.ask(&message).await else {
            panic!("{} is refused", self.id)
        };
        assert_eq!(retry_after, Some(3), "{body}");
        let operation = body["operationId"].as_str().expect("an operation").to_owned();
        assert_eq!(body, json!({"operationId": operation, "status": "assigning"}), "D §0.7");
        operation
    }

    /// Polls; the registration state of the settled operation.
    pub(super) async fn poll(&mut self, operation: &str) -> Json {
        let (n, keys) = (self.n_requests, self.tpm.as_deref());
        let message = self.sdk.poll_message(n, &self.id, keys, operation);
        let Ended::Answered(body, retry_after) = self.ask(&message).await else {
            panic!("{} is refused", self.id)
        };
        assert_eq!(retry_after, None, "{body}");
        assert_eq!(body["operationId"], operation);
        let state = body["registrationState"].clone();
        assert_eq!(body["status"], state["status"], "{body}");
        state
    }

    /// Sends a request that is rejected with this condition and this code.
    pub(super) async fn refused(&mut self, message: &Message, condition: &str, code: u32) {
        match self.ask(message).await {
            Ended::Rejected(error) => check_error(&error, condition, code),
            Ended::Answered(body, _) => panic!("{body} instead of {code}"),
        }
    }

    /// Attaches one more link of this role at this address: how it is detached at once.
    pub(super) async fn refused_second(&mut self, role: Role, identity: &str) -> WireError {
        let mut second = attach(self.sdk, role, identity);
        second.name.push_str("-2");
        second.handle += 2;
        self.line.send(Performative::Attach(Box::new(second.clone()))).await;
        let frame = self.next().await;
        let Performative::Attach(theirs) = frame.performative else { panic!("{frame:?}") };
        assert_eq!(theirs.name, second.name);
        let frame = self.next().await;
        let Performative::Detach(theirs) = frame.performative else { panic!("{frame:?}") };
        assert!(theirs.closed);
        let (handle, closed) = (second.handle, true);
        self.line.send(Performative::Detach(Detach { handle, closed, error: None })).await;
        theirs.error.expect("why")
    }

    /// Detaches one of the links, in order.
    pub(super) async fn detach(&mut self, role: Role) {
        let handle = if role == Role::Sender { SENDER } else { RECEIVER };
        self.line.send(Performative::Detach(Detach { handle, closed: true, error: None })).await;
        let frame = self.next().await;
        let Performative::Detach(detach) = frame.performative else { panic!("{frame:?}") };
        assert!(detach.closed && detach.error.is_none(), "{detach:?}");
    }

    /// Attaches one of the links again, for this device.
    pub(super) async fn attach(&mut self, role: Role, id_scope: &str, id: &str) {
        self.id = id.to_owned();
        let ours = attach(self.sdk, role, &format!("{id_scope}/registrations/{id}"));
        self.line.send(Performative::Attach(Box::new(ours.clone()))).await;
        self.attached(&ours).await;
        if role == Role::Receiver {
            self.grant_anew().await;
        }
    }

    /// Leaves as the SDK does. Whatever else the server says is too much.
    pub(super) async fn leave(mut self) {
        match self.sdk.leaves {
            Leaves::LinkByLink => {
                self.detach(Role::Receiver).await;
                self.detach(Role::Sender).await;
            }
            Leaves::SessionFirst => {
                self.line.send(Performative::End(End::default())).await;
                let ended = self.next().await.performative;
                assert_eq!(ended, Performative::End(End::default()));
            }
            Leaves::AtOnce => {}
        }
        self.line.send(Performative::Close(Close::default())).await;
        let closed = self.next().await.performative;
        assert_eq!(closed, Performative::Close(Close::default()));
        self.line.closed().await;
    }
}

/// Attaches the link on which the SDK's device would ask at this address, or is answered; it is
/// attached and detached at once, with this condition and code.
pub(super) async fn refused_link(
    mut line: Line,
    sdk: &Sdk,
    role: Role,
    change: impl FnOnce(&mut Attach),
    identity: &str,
    (condition, code): (&str, u32),
) {
    let mut attach = attach(sdk, role, identity);
    change(&mut attach);
    let name = attach.name.clone();
    for performative in [open(sdk), begin(), Performative::Attach(Box::new(attach))] {
        line.send(performative).await;
    }
    let mut heard = Vec::new();
    let error = loop {
        match line.next().await.performative {
            Performative::Detach(Detach { closed: true, error: Some(error), .. }) => break error,
            other => heard.push(other),
        }
    };
    let [Performative::Open(_), Performative::Begin(_), Performative::Attach(attach)] =
        heard.as_slice()
    else {
        panic!("{heard:?}")
    };
    assert_eq!(attach.name, name);
    check_error(&error, condition, code);
}

/// An error of the provisioning service: this condition, with the JSON of the table, and when to
/// ask again if that is of use.
#[track_caller]
pub(super) fn check_error(error: &WireError, condition: &str, code: u32) {
    let text = error.description.as_deref().expect("a description");
    let body: Json = serde_json::from_str(text).expect("it is JSON (D §8, 43)");
    assert_eq!((error.condition.as_str(), &body["errorCode"]), (condition, &json!(code)), "{body}");
    assert!(body["trackingId"].is_string() && body["message"].is_string(), "{body}");
    assert!(body["timestampUtc"].is_string(), "{body}");
    let says_when: Vec<&Value> = error.info.iter().map(|(name, _)| name).collect();
    match code / 1000 {
        429 | 500 | 503 => {
            let both = ["retry-after", "Retry-After"].map(|name| Value::Symbol(name.to_owned()));
            assert_eq!(says_when, both.iter().collect::<Vec<_>>(), "{error:?}");
            assert!(
                error.info.iter().all(|(_, secs)| matches!(secs, Value::Int(1..))),
                "{error:?}"
            );
        }
        _ => assert_eq!(error.info, [], "{error:?}"),
    }
}

fn open(sdk: &Sdk) -> Performative {
    Performative::Open(Box::new(Open {
        container_id: sdk.container_id.to_owned(),
        hostname: (sdk.hostname)(SERVICE),
        max_frame_size: Some(MAX_FRAME_BYTES),
        channel_max: Some(1),
        idle_timeout_ms: Some(120_000),
        ..Open::default()
    }))
}

fn begin() -> Performative {
    Performative::Begin(Box::new(Begin {
        next_outgoing_id: 0,
        incoming_window: 2048,
        outgoing_window: 2048,
        ..Begin::default()
    }))
}

fn attach(sdk: &Sdk, role: Role, identity: &str) -> Attach {
    let far = Terminus { address: Some((sdk.address)(identity)), ..Terminus::default() };
    let near = |n: usize| Terminus {
        address: sdk.other_end.map(|ends| ends[n].to_owned()),
        ..Terminus::default()
    };
    let (handle, name, source, target, initial_delivery_count) = match role {
        Role::Sender => (SENDER, sdk.link_names[0], near(0), far, Some(0)),
        Role::Receiver => (RECEIVER, sdk.link_names[1], far, near(1), None),
    };
    Attach {
        name: name.to_owned(),
        handle,
        role,
        sender_settle: SenderSettle::default(),
        receiver_settle: ReceiverSettle::First,
        source: Some(source),
        target: Some(target),
        initial_delivery_count,
        max_message_size: sdk.max_message_size.filter(|_| role == Role::Receiver),
        properties: sdk.link_properties(),
        desired_capabilities: Vec::new(),
    }
}
