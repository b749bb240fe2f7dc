mod hostile;
mod links;
mod memory;
mod model;
mod opening;
mod property;
mod receiving;
mod sending;

use super::*;
use crate::proto::{
    self, Decoded, Detach, Disposition, Flow, Limits, ReceiverSettle, Role, SenderSettle, State,
    Terminus, Transfer,
};

impl Engine {
    /// Begins all sessions with other numbers than 0.
    fn begin_at(&mut self, first_outgoing_id: u32) {
        self.shared.first_outgoing_id = first_outgoing_id;
    }

    /// Whether we have closed the connection, and the client perhaps not yet.
    fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Closed)
    }

    fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    fn n_links(&self) -> usize {
        self.shared.links.len()
    }

    fn has_links(&self) -> bool {
        self.n_links() > 0
    }
}

/// An engine with a client that says what the test wants.
struct Scene {
    engine: Engine,
}

fn limits() -> EngineLimits {
    EngineLimits {
        frame_bytes: 65_536,
        channel_max: 99,
        handle_max: 999,
        idle_timeout_ms: Some(120_000),
        max_sessions: 4,
        max_links: 8,
        max_partial_bytes: 3_000,
        max_message_bytes: 2_000,
    }
}

/// A connection that is open, with a session on channel 0.
fn scene() -> Scene {
    Scene::open(limits(), Open::default(), 0)
}

impl Scene {
    fn open(limits: EngineLimits, open: Open, first_outgoing_id: u32) -> Self {
        let mut scene = Self { engine: Engine::new("here".to_owned(), limits) };
        scene.engine.begin_at(first_outgoing_id);
        scene.say(0, Performative::Open(Box::new(open)));
        scene.say(0, begin());
        scene.events();
        scene
    }

    /// The client says something; what it gets to hear.
    fn say(&mut self, channel: u16, performative: Performative) -> Vec<String> {
        self.try_say(channel, performative, b"").expect("a legal frame");
        self.heard()
    }

    fn try_say(
        &mut self,
        channel: u16,
        performative: Performative,
        payload: &'static [u8],
    ) -> Result<(), Violation> {
        let payload = Bytes::from_static(payload);
        self.engine.receive(Frame { channel, performative, payload })
    }

    /// The client sends a piece of a message on channel 0; what it gets to hear.
    fn transfer(&mut self, transfer: Transfer, payload: &[u8]) -> Vec<String> {
        let performative = Performative::Transfer(transfer);
        let payload = Bytes::copy_from_slice(payload);
        self.engine.receive(Frame { channel: 0, performative, payload }).expect("a legal frame");
        self.heard()
    }

    /// What the client hears.
    fn heard(&mut self) -> Vec<String> {
        self.frames().iter().map(show).collect()
    }

    fn frames(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let mut bytes = mem::take(self.engine.output());
            if bytes.is_empty() {
                return frames;
            }
            while let Decoded::Item(frame) =
                proto::decode(&mut bytes, &Limits::SESSION).expect("a frame of ours")
            {
                frames.push(frame);
            }
            assert!(bytes.is_empty());
        }
    }

    fn events(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.engine.next_event() {
            events.push(show_event(&event));
        }
        events
    }

    /// The client attaches a link on a channel, which waits.
    fn attaches(&mut self, channel: u16, attach: Attach) -> LinkId {
        self.say(channel, Performative::Attach(Box::new(attach)));
        match self.engine.next_event() {
            Some(Event::Attached { link, .. }) => link,
            other => panic!("{other:?}"),
        }
    }

    /// A link on channel 0 on which the client sends, with credit for so many.
    fn client_sends(&mut self, attach: Attach, window: u32) -> LinkId {
        let link = self.attaches(0, Attach { role: Role::Sender, ..attach });
        self.engine.accept(link, None, window);
        self.heard();
        link
    }

    /// A link on channel 0 on which we send, with credit for so many.
    fn we_send(&mut self, attach: Attach, credit: u32) -> LinkId {
        let handle = attach.handle;
        let link = self.attaches(0, Attach { role: Role::Receiver, ..attach });
        self.engine.accept(link, None, 0);
        self.say(0, Performative::Flow(Flow { link_credit: Some(credit), ..flow(handle) }));
        self.events();
        link
    }

    /// We send a message of so many bytes, unsettled, by its number.
    fn send(&mut self, link: LinkId, number: u64, n_bytes: usize) -> Result<(), Full> {
        let tag = [u8::try_from(number % 256).unwrap(); 16];
        self.engine.send(link, number, tag, Bytes::from(vec![b'm'; n_bytes]), false)
    }
}

fn begin() -> Performative {
    Performative::Begin(Box::new(Begin {
        next_outgoing_id: 0,
        incoming_window: 5_000,
        outgoing_window: 5_000,
        handle_max: Some(255),
        ..Begin::default()
    }))
}

fn end() -> Performative {
    Performative::End(End::default())
}

/// An attach of a client that sends, with a name of its handle's.
fn attach(handle: u32) -> Attach {
    let there =
        |address: &str| Some(Terminus { address: Some(address.to_owned()), ..Terminus::default() });
    Attach {
        name: format!("link-{handle}"),
        handle,
        role: Role::Sender,
        sender_settle: SenderSettle::Mixed,
        receiver_settle: ReceiverSettle::First,
        source: there("from"),
        target: there("to"),
        initial_delivery_count: Some(0),
        max_message_size: None,
        properties: Vec::new(),
        desired_capabilities: Vec::new(),
    }
}

fn detach(handle: u32) -> Performative {
    Performative::Detach(Detach { handle, closed: true, error: None })
}

/// A flow of a client that has received nothing on a link.
fn flow(handle: u32) -> Flow {
    Flow {
        next_incoming_id: Some(0),
        incoming_window: 5_000,
        handle: Some(handle),
        delivery_count: Some(0),
        ..Flow::default()
    }
}

/// A delivery in one transfer.
fn transfer(handle: u32, id: u32) -> Transfer {
    Transfer {
        handle,
        delivery_id: Some(id),
        delivery_tag: Some(Bytes::copy_from_slice(&id.to_be_bytes())),
        message_format: Some(0),
        ..Transfer::default()
    }
}

/// The first piece of one.
fn first_piece(handle: u32, id: u32) -> Transfer {
    Transfer { more: true, ..transfer(handle, id) }
}

/// Another piece of it.
fn next_piece(handle: u32, more: bool) -> Transfer {
    Transfer { handle, more, ..Transfer::default() }
}

/// What a client says of deliveries of ours.
fn said(first: u32, last: u32, settled: bool, outcome: Option<Outcome>) -> Performative {
    Performative::Disposition(Disposition {
        role: Role::Receiver,
        first,
        last: Some(last),
        settled,
        state: outcome.map(State::Outcome),
        batchable: false,
    })
}

fn not_found() -> WireError {
    WireError::new("amqp:not-found", "No such thing.")
}

/// A frame in short: channel, what it is, and what matters of it.
fn show(frame: &Frame) -> String {
    let error = |error: &Option<WireError>| match error {
        Some(error) => format!(" {}", error.condition),
        None => String::new(),
    };
    let flag = |is: bool, name: &'static str| if is { name } else { "" };
    let what = match &frame.performative {
        Performative::Open(_) => "open".to_owned(),
        Performative::Begin(begin) => format!("begin {}", begin.remote_channel.unwrap()),
        Performative::Attach(attach) => format!(
            "attach {} {}{}{}",
            attach.handle,
            match attach.role {
                Role::Sender => "sender",
                Role::Receiver => "receiver",
            },
            flag(attach.source.is_none(), " without source"),
            flag(attach.target.is_none(), " without target"),
        ),
        Performative::Flow(Flow { handle: None, .. }) => "flow".to_owned(),
        Performative::Flow(flow) => format!(
            "flow {} credit {} from {}{}",
            flow.handle.unwrap(),
            flow.link_credit.unwrap(),
            flow.delivery_count.unwrap(),
            flag(flow.drain, " drain"),
        ),
        Performative::Transfer(transfer) => format!(
            "transfer {} #{} {} bytes{}{}",
            transfer.handle,
            transfer.delivery_id.unwrap(),
            frame.payload.len(),
            flag(transfer.settled == Some(true), " settled"),
            flag(transfer.more, " more"),
        ),
        Performative::Disposition(said) => format!(
            "{} says {}..={}{} {}",
            match said.role {
                Role::Sender => "sender",
                Role::Receiver => "receiver",
            },
            said.first,
            said.last.unwrap(),
            flag(said.settled, " settled"),
            match &said.state {
                Some(State::Outcome(outcome)) => show_outcome(outcome),
                other => format!("{other:?}"),
            },
        ),
        Performative::Detach(detach) => {
            let closed = flag(detach.closed, " closed");
            format!("detach {}{closed}{}", detach.handle, error(&detach.error))
        }
        Performative::End(end) => format!("end{}", error(&end.error)),
        Performative::Close(close) => format!("close{}", error(&close.error)),
    };
    format!("{}: {what}", frame.channel)
}

fn show_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted => "accepted".to_owned(),
        Outcome::Released => "released".to_owned(),
        Outcome::Modified { .. } => "modified".to_owned(),
        Outcome::Rejected(None) => "rejected".to_owned(),
        Outcome::Rejected(Some(error)) => format!("rejected {}", error.condition),
    }
}

fn show_event(event: &Event) -> String {
    match event {
        Event::Opened(_) => "opened".to_owned(),
        Event::Attached { link, .. } => format!("attached {}", link.0),
        Event::Message { link, delivery, payload, is_settled, .. } => format!(
            "message {} on {}, {} bytes{}",
            delivery.0,
            link.0,
            payload.len(),
            if *is_settled { " settled" } else { "" }
        ),
        Event::Credit { link, credit, drain } => {
            format!("credit {credit} on {}{}", link.0, if *drain { " drain" } else { "" })
        }
        Event::Settled { link, number, outcome } => {
            format!("settled {number} on {}: {}", link.0, show_outcome(outcome))
        }
        Event::Detached(link) => format!("detached {}", link.0),
        Event::Closed(_) => "closed".to_owned(),
    }
}
