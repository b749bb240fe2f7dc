//! A client that keeps the standard's books by itself, and an engine, with frames under way between
//! them for as long as it pleases the test: all messages of both arrive, once, in order and whole,
//! and nobody sends without credit or window.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// How many messages a link carries.
const N_MESSAGES: u64 = 40;

/// A client with some links on which it sends and some on which it receives.
struct Client {
    to_engine: VecDeque<Frame>,
    from_engine: VecDeque<Frame>,
    /// By handle, the same on both sides.
    links: Vec<ClientLink>,
    next_outgoing_id: u32,
    next_delivery_id: u32,
    /// How many transfers the engine allowed.
    remote_window: u32,
    next_incoming_id: u32,
    incoming_left: u32,
    max_piece_bytes: usize,
    unsettled: HashMap<u32, usize>,
}

struct ClientLink {
    is_sender: bool,
    is_attached: bool,
    count: u32,
    credit: u32,
    /// How many messages it sent, or received.
    n_done: u64,
    n_settled: u64,
    /// What of a message has been sent or received.
    begun: Option<(u32, Vec<u8>)>,
}

/// The message of a link by its number: its length differs.
fn message(handle: usize, number: u64) -> Vec<u8> {
    let n_bytes = (number * 131 + handle as u64 * 17) % 1_500;
    (0..n_bytes).map(|at| ((at + number + handle as u64) % 256) as u8).collect()
}

/// How many transfers the client takes before it tells of more.
const CLIENT_WINDOW: u32 = 5;
const CLIENT_CREDIT: u32 = 3;

impl Client {
    fn new(n_links: usize, first_id: u32, max_piece_bytes: usize) -> Self {
        let link = |handle| ClientLink {
            is_sender: handle % 2 == 0,
            is_attached: false,
            count: if handle % 2 == 0 { first_id } else { 0 },
            credit: 0,
            n_done: 0,
            n_settled: 0,
            begun: None,
        };
        let mut client = Self {
            to_engine: VecDeque::new(),
            from_engine: VecDeque::new(),
            links: (0..n_links).map(link).collect(),
            next_outgoing_id: first_id,
            next_delivery_id: first_id,
            remote_window: 0,
            next_incoming_id: first_id,
            incoming_left: CLIENT_WINDOW,
            max_piece_bytes,
            unsettled: HashMap::new(),
        };
        let open = Open { max_frame_size: Some(600), ..Open::default() };
        client.say(Performative::Open(Box::new(open)), Vec::new());
        let begin = Begin {
            next_outgoing_id: first_id,
            incoming_window: CLIENT_WINDOW,
            outgoing_window: 100,
            handle_max: Some(255),
            ..Begin::default()
        };
        client.say(Performative::Begin(Box::new(begin)), Vec::new());
        for handle in 0..n_links {
            let is_sender = client.links[handle].is_sender;
            let attach = Attach {
                role: if is_sender { Role::Sender } else { Role::Receiver },
                initial_delivery_count: is_sender.then_some(first_id),
                receiver_settle: if handle % 4 > 1 {
                    ReceiverSettle::Second
                } else {
                    ReceiverSettle::First
                },
                ..attach(u32::try_from(handle).unwrap())
            };
            client.say(Performative::Attach(Box::new(attach)), Vec::new());
        }
        client
    }

    fn say(&mut self, performative: Performative, payload: Vec<u8>) {
        let payload = Bytes::from(payload);
        self.to_engine.push_back(Frame { channel: 0, performative, payload });
    }

    fn flow(&mut self, handle: Option<usize>) {
        self.incoming_left = CLIENT_WINDOW;
        let link = handle.map(|handle| &self.links[handle]);
        let flow = Flow {
            next_incoming_id: Some(self.next_incoming_id),
            incoming_window: CLIENT_WINDOW,
            next_outgoing_id: self.next_outgoing_id,
            outgoing_window: 100,
            handle: handle.map(|handle| u32::try_from(handle).unwrap()),
            delivery_count: link.map(|link| link.count),
            link_credit: link.map(|link| link.credit),
            ..Flow::default()
        };
        self.say(Performative::Flow(flow), Vec::new());
    }

    /// Sends one piece on a link, if it may.
    fn send(&mut self, handle: usize) -> bool {
        let link = &mut self.links[handle];
        if !link.is_sender || !link.is_attached || self.remote_window == 0 {
            return false;
        }
        let is_first = link.begun.is_none();
        if is_first {
            if link.n_done == N_MESSAGES || link.credit == 0 {
                return false;
            }
            link.credit -= 1;
            link.count = link.count.wrapping_add(1);
            let id = self.next_delivery_id;
            self.next_delivery_id = id.wrapping_add(1);
            self.unsettled.insert(id, handle);
            link.begun = Some((id, message(handle, link.n_done)));
        }
        let (id, mut rest) = link.begun.take().unwrap();
        let piece: Vec<u8> = rest.drain(..rest.len().min(self.max_piece_bytes)).collect();
        let more = !rest.is_empty();
        if more {
            link.begun = Some((id, rest));
        } else {
            link.n_done += 1;
        }
        let transfer = Transfer {
            handle: u32::try_from(handle).unwrap(),
            delivery_id: is_first.then_some(id),
            delivery_tag: is_first.then(|| Bytes::copy_from_slice(&id.to_be_bytes())),
            more,
            ..Transfer::default()
        };
        self.remote_window -= 1;
        self.next_outgoing_id = self.next_outgoing_id.wrapping_add(1);
        self.say(Performative::Transfer(transfer), piece);
        true
    }

    /// Hears one frame, if there is one.
    fn hear(&mut self) -> bool {
        let Some(frame) = self.from_engine.pop_front() else { return false };
        match frame.performative {
            Performative::Open(_) => {}
            Performative::Begin(begin) => {
                self.remote_window = begin.incoming_window;
                self.next_incoming_id = begin.next_outgoing_id;
            }
            Performative::Attach(attach) => {
                let handle = attach.handle as usize;
                let link = &mut self.links[handle];
                link.is_attached = true;
                if !link.is_sender {
                    link.count = attach.initial_delivery_count.unwrap();
                    link.credit = CLIENT_CREDIT;
                    self.flow(Some(handle));
                }
            }
            Performative::Flow(flow) => {
                let n_under_way =
                    self.next_outgoing_id.wrapping_sub(flow.next_incoming_id.unwrap());
                self.remote_window = flow.incoming_window - n_under_way;
                if let Some(handle) = flow.handle {
                    let link = &mut self.links[handle as usize];
                    assert!(link.is_sender);
                    let n_under_way = link.count.wrapping_sub(flow.delivery_count.unwrap());
                    link.credit = flow.link_credit.unwrap() - n_under_way;
                }
            }
            Performative::Transfer(transfer) => self.receive(&transfer, &frame.payload),
            Performative::Disposition(said) => {
                for id in said.first..=said.last.unwrap() {
                    self.told(&said, id);
                }
            }
            other => panic!("{other:?}"),
        }
        true
    }

    fn receive(&mut self, transfer: &Transfer, payload: &[u8]) {
        let handle = transfer.handle as usize;
        self.incoming_left = self.incoming_left.checked_sub(1).expect("beyond the window");
        self.next_incoming_id = self.next_incoming_id.wrapping_add(1);
        let id = transfer.delivery_id.unwrap();
        let link = &mut self.links[handle];
        let (begun_id, bytes) = link.begun.get_or_insert_with(|| {
            link.credit = link.credit.checked_sub(1).expect("without credit");
            link.count = link.count.wrapping_add(1);
            (id, Vec::new())
        });
        assert_eq!(*begun_id, id);
        bytes.extend_from_slice(payload);
        if !transfer.more {
            assert_eq!(*bytes, message(handle, link.n_done), "link {handle}");
            link.n_done += 1;
            link.begun = None;
            let is_second = handle % 4 > 1;
            self.say(said(id, id, !is_second, Some(Outcome::Accepted)), Vec::new());
            if self.links[handle].credit == 0 {
                self.links[handle].credit = CLIENT_CREDIT;
                self.flow(Some(handle));
            }
        }
        if self.incoming_left < 2 {
            self.flow(None);
        }
    }

    fn told(&mut self, said: &Disposition, id: u32) {
        if said.role == Role::Sender {
            // The engine settles what we accepted.
            assert!(said.settled);
            return;
        }
        let handle = self.unsettled.remove(&id).expect("an outcome of what was sent, once");
        assert_eq!(said.state, Some(State::Outcome(Outcome::Accepted)));
        self.links[handle].n_settled += 1;
        // Also on links whose client asks to settle second, as every other two do.
        assert!(said.settled);
    }
}

/// The endpoint of all links.
#[derive(Default)]
struct Endpoint {
    links: HashMap<LinkId, EndpointLink>,
    /// What it has received and not settled.
    inbox: VecDeque<(LinkId, DeliveryId)>,
}

struct EndpointLink {
    handle: usize,
    is_sender: bool,
    n_done: u64,
    n_settled: u64,
}

impl Endpoint {
    fn hear(&mut self, engine: &mut Engine) -> bool {
        let Some(event) = engine.next_event() else { return false };
        match event {
            Event::Opened(_) => {}
            Event::Attached { link, attach } => {
                let is_sender = attach.role == Role::Receiver;
                let handle = attach.handle as usize;
                let known = EndpointLink { handle, is_sender, n_done: 0, n_settled: 0 };
                self.links.insert(link, known);
                engine.accept(link, None, 4);
            }
            Event::Message { link, delivery, payload, is_settled, .. } => {
                assert!(!is_settled);
                let known = self.links.get_mut(&link).unwrap();
                assert_eq!(payload, message(known.handle, known.n_done));
                known.n_done += 1;
                self.inbox.push_back((link, delivery));
            }
            Event::Settled { link, number, outcome } => {
                let known = self.links.get_mut(&link).unwrap();
                assert_eq!((number, outcome), (known.n_settled, Outcome::Accepted));
                known.n_settled += 1;
            }
            Event::Credit { .. } => {}
            other => panic!("{other:?}"),
        }
        true
    }

    /// Sends a message on each link of ours, be there credit or not.
    fn send(&mut self, engine: &mut Engine) -> bool {
        let mut was_any = false;
        for (id, link) in &mut self.links {
            if link.is_sender && link.n_done < N_MESSAGES {
                let bytes = Bytes::from(message(link.handle, link.n_done));
                engine.send(*id, link.n_done, [0; 16], bytes, false).unwrap();
                link.n_done += 1;
                was_any = true;
            }
        }
        was_any
    }
}

/// Plays until nothing happens any more; `dice` say who is next.
fn play(n_links: usize, first_id: u32, max_piece_bytes: usize, dice: &[u8]) {
    let limits = EngineLimits { max_partial_bytes: 100_000, ..limits() };
    let mut engine = Engine::new("here".to_owned(), limits);
    engine.begin_at(first_id);
    let mut client = Client::new(n_links, first_id, max_piece_bytes);
    let mut endpoint = Endpoint::default();
    let mut act = |die: u8| match die % 6 {
        0 => client.hear(),
        1 => client.to_engine.pop_front().is_some_and(|frame| {
            engine.receive(frame).unwrap();
            true
        }),
        2 => {
            let mut bytes = mem::take(engine.output());
            let was_any = !bytes.is_empty();
            while let Decoded::Item(frame) = proto::decode(&mut bytes, &Limits::SESSION).unwrap() {
                client.from_engine.push_back(frame);
            }
            was_any
        }
        3 => endpoint.hear(&mut engine),
        4 => endpoint.inbox.pop_front().is_some_and(|(link, delivery)| {
            engine.settle(link, delivery, Outcome::Accepted);
            true
        }),
        _ if die < 20 => endpoint.send(&mut engine),
        _ => client.send(usize::from(die / 6) % n_links),
    };
    for die in dice {
        act(*die);
    }
    // Everybody in turn, until all is quiet.
    let mut n_idle = 0;
    let mut die = 0_u8;
    while n_idle < 256 {
        n_idle = if act(die) { 0 } else { n_idle + 1 };
        die = die.wrapping_add(1);
    }
    for (handle, link) in client.links.iter().enumerate() {
        assert_eq!(link.n_done, N_MESSAGES, "link {handle}");
        assert!(
            !link.is_sender || link.n_settled == N_MESSAGES,
            "link {handle}: {}",
            link.n_settled
        );
    }
    for link in endpoint.links.values() {
        assert_eq!(link.n_done, N_MESSAGES);
        assert!(!link.is_sender || link.n_settled == N_MESSAGES);
    }
    assert_eq!(endpoint.links.len(), n_links);
    assert_eq!(engine.partial_bytes(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn all_messages_arrive_once_in_order_and_within_credit(
        n_links in 1..7_usize,
        first_id in prop_oneof![Just(0_u32), (u32::MAX - 60)..=u32::MAX, (1_u32 << 31) - 30..(1 << 31)],
        max_piece_bytes in 100..1_600_usize,
        dice in prop::collection::vec(any::<u8>(), 0..3_000),
    ) {
        play(n_links, first_id, max_piece_bytes, &dice);
    }
}
