//! The conversation with one device: what it does on its links, what the store answers, and what
//! it is told.

use std::{
    collections::{BTreeMap, VecDeque},
    future::{Future, pending},
    pin::Pin,
};

use app::{
    device::{Commands, SessionNo},
    live::{Command, End},
};
use model::{Qos, Subscriptions};
use tracing::{error, info};

use super::{
    Context, LinkKind, Outbox, Over, check_link, host_of,
    messages::{self, Messages},
    methods::Methods,
    telemetry::{self, Telemetry},
    twin::{self, TwinLinks},
    unauthorized,
};
use crate::{
    content,
    door::chain_of,
    endpoint::{Ask, Attached, DeliveryId, Inbox, Incoming, Line, LinkId, Told},
    proto::Outcome,
    stream::Place,
};

/// The conversation. At rest it holds little memory but its own.
pub(super) struct Talk<'a> {
    context: Context<'a>,
    commands: Commands,
    /// Every link of the device, and what it is for.
    links: BTreeMap<LinkId, LinkKind>,
    telemetry: Telemetry<'a>,
    messages: Messages<'a>,
    twin: TwinLinks,
    methods: Methods,
    requests: Requests<'a>,
    outbox: Outbox,
}

/// What happened.
enum Happened {
    Sent(telemetry::Sent),
    Delivered(messages::Delivered),
    Answered(Box<Answered>),
    Command(Command),
    Told(Told),
}

impl<'a> Talk<'a> {
    pub(super) fn new(context: Context<'a>, commands: Commands) -> Self {
        Self {
            context,
            commands,
            links: BTreeMap::new(),
            telemetry: Telemetry::default(),
            messages: Messages::default(),
            twin: TwinLinks::default(),
            methods: Methods::default(),
            requests: Requests::default(),
            outbox: Outbox::new(),
        }
    }

    /// The links that the device still has.
    pub(super) fn into_links(self) -> Vec<LinkId> {
        self.links.into_keys().collect()
    }

    /// Talks until the device leaves. What it sent before that is written all the same.
    pub(super) async fn run(
        &mut self,
        first: Box<Attached>,
        inbox: &mut Inbox,
        line: &Line,
    ) -> Over {
        match self.converse(first, inbox, line).await {
            Ok(over) => over,
            Err(end) => Over::Ended(end),
        }
    }

    async fn converse(
        &mut self,
        first: Box<Attached>,
        inbox: &mut Inbox,
        line: &Line,
    ) -> Result<Over, End> {
        self.attach(first);
        self.settle_down(line).await?;
        let mut over = Over::Left;
        while !self.links.is_empty() {
            let happened = tokio::select! {
                biased;
                sent = self.telemetry.next() => Happened::Sent(sent),
                delivered = self.messages.next() => Happened::Delivered(delivered),
                answered = self.requests.next() => Happened::Answered(answered),
                command = self.commands.next() => Happened::Command(command),
                told = inbox.recv() => match told {
                    Some(told) => Happened::Told(told),
                    None => {
                        over = Over::Gone;
                        break;
                    }
                },
            };
            self.take(happened)?;
            self.settle_down(line).await?;
        }
        while self.telemetry.is_busy() {
            let sent = self.telemetry.next().await;
            self.telemetry.take(self.context, sent, &mut self.outbox)?;
            self.telemetry.go_on(self.context);
        }
        while self.messages.is_busy() {
            let delivered = self.messages.next().await;
            self.messages.take(self.context, delivered, &mut self.outbox)?;
        }
        Ok(over)
    }

    fn take(&mut self, happened: Happened) -> Result<(), End> {
        match happened {
            Happened::Sent(sent) => self.telemetry.take(self.context, sent, &mut self.outbox),
            Happened::Delivered(delivered) => {
                let lost = self.messages.take(self.context, delivered, &mut self.outbox)?;
                if let Some(link) = lost {
                    self.links.remove(&link);
                }
                Ok(())
            }
            Happened::Answered(answered) => self.answer(*answered),
            Happened::Command(command) => {
                self.obey(command);
                Ok(())
            }
            Happened::Told(told) => self.hear(told),
        }
    }

    /// After every event: what may begin begins, and what is to be asked is asked.
    async fn settle_down(&mut self, line: &Line) -> Result<(), End> {
        // Before any answer: who was answered may count on it.
        self.subscribe().await?;
        loop {
            self.telemetry.go_on(self.context);
            self.messages.go_on(self.context, &mut self.outbox);
            let Some(ask) = self.outbox.pop_front() else { break };
            // It may take as long as the client does not read. Meanwhile what the device sent is
            // written, and the room it takes is given back: whether it reads is nothing to others.
            let mut asked = std::pin::pin!(line.ask(ask));
            loop {
                let sent = tokio::select! {
                    biased;
                    () = asked.as_mut() => break,
                    sent = self.telemetry.next() => sent,
                };
                self.telemetry.take(self.context, sent, &mut self.outbox)?;
                self.telemetry.go_on(self.context);
            }
        }
        // At rest there is nothing in it.
        self.outbox = Outbox::new();
        Ok(())
    }

    /// Subscribes to what there are links for. Links live as long as the connection, and so does
    /// this (H §4.2.4 is MQTT's).
    async fn subscribe(&mut self) -> Result<(), End> {
        let subscriptions = Subscriptions {
            messages: self.messages.is_attached().then_some(Qos::AtLeastOnce),
            twin_responses: None,
            desired: self.twin.wants_desired().then_some(Qos::AtMostOnce),
            methods: self.methods.takes_calls().then_some(Qos::AtMostOnce),
        };
        if subscriptions == self.context.session.subscriptions() {
            return Ok(());
        }
        // Boxed, because a session has room for it all of its life.
        match Box::pin(self.context.session.subscribe(subscriptions, false)).await {
            Ok(()) => Ok(()),
            Err(no) => self.complain(no, "what it wants to hear could not be noted"),
        }
    }

    fn hear(&mut self, told: Told) -> Result<(), End> {
        match told {
            Told::Attached(attached) => self.attach(attached),
            Told::Message(link, incoming) => self.receive(link, incoming)?,
            Told::Credit { link, credit, drain } => match self.links.get(&link) {
                Some(LinkKind::Messages) => self.messages.credit(link, credit, drain),
                Some(kind @ (LinkKind::Twin | LinkKind::Methods | LinkKind::Inputs)) => {
                    if *kind == LinkKind::Methods {
                        self.outbox.extend(self.methods.credit(link, credit));
                    }
                    if drain {
                        // Nothing else waits there for credit but what was asked already.
                        self.outbox.push_back(Ask::Drained(link));
                    }
                }
                Some(LinkKind::Events) | None => {}
            },
            Told::Settled { link, number, outcome } => match self.links.get(&link) {
                Some(LinkKind::Messages) => {
                    self.messages.settled(self.context, link, number, &outcome);
                }
                Some(LinkKind::Methods) => self.methods.settled(number, &outcome),
                Some(LinkKind::Twin | LinkKind::Events | LinkKind::Inputs) | None => {}
            },
            Told::Detached(link) => self.detached(link),
        }
        Ok(())
    }

    fn attach(&mut self, attached: Box<Attached>) {
        let link = attached.link;
        let tracking_id = &self.context.shared.tracking_id;
        let kind = match check_link(&attached, tracking_id) {
            Ok((kind, _)) => kind,
            Err(error) => return self.outbox.push_back(Ask::Refuse { link, error }),
        };
        let hub = self.context.session.hub();
        if host_of(&attached).is_some_and(|host| host != hub.as_str()) {
            let error = unauthorized(tracking_id);
            return self.outbox.push_back(Ask::Refuse { link, error });
        }
        self.links.insert(link, kind);
        let (context, outbox) = (self.context, &mut self.outbox);
        match kind {
            LinkKind::Events => self.telemetry.attached(context, link, outbox),
            LinkKind::Inputs => {
                outbox.push_back(Ask::Accept { link, max_message_bytes: None, window: 0 });
            }
            LinkKind::Messages => {
                if let Some(stolen) = self.messages.attached(context, &attached, outbox) {
                    self.links.remove(&stolen);
                }
            }
            LinkKind::Twin => {
                outbox.push_back(self.twin.attach(&attached, &context.shared.settings));
            }
            LinkKind::Methods => {
                outbox.push_back(self.methods.attach(&attached, &context.shared.settings));
            }
        }
    }

    fn receive(&mut self, link: LinkId, incoming: Incoming) -> Result<(), End> {
        let (context, outbox) = (self.context, &mut self.outbox);
        match self.links.get(&link) {
            Some(LinkKind::Events) => {
                self.telemetry.receive(context, link, incoming, outbox);
            }
            Some(LinkKind::Twin) => match twin::request(link, &incoming) {
                Ok(request) => {
                    let Incoming { delivery, is_settled, place, .. } = incoming;
                    let delivery = (!is_settled).then_some(delivery);
                    self.requests.push(context, Asked { link, delivery, place, request });
                }
                Err(error) => {
                    settle(outbox, link, &incoming, Outcome::Rejected(Some(error)));
                }
            },
            Some(LinkKind::Methods) => {
                let outcome = self.methods.message(context.session, &incoming)?;
                settle(outbox, link, &incoming, outcome);
            }
            // The device receives there, or the link is gone.
            Some(LinkKind::Messages | LinkKind::Inputs) | None => {}
        }
        Ok(())
    }

    fn detached(&mut self, link: LinkId) {
        match self.links.remove(&link) {
            Some(LinkKind::Messages) => self.messages.detached(link),
            Some(LinkKind::Twin) => self.twin.detach(link),
            Some(LinkKind::Methods) => self.methods.detach(link),
            Some(LinkKind::Events | LinkKind::Inputs) | None => {}
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Desired(desired) => self.outbox.extend(self.twin.desired(&desired)),
            Command::Method(call) => {
                // Random, so no other call has it.
                let id = content::guid_bytes(&self.context.shared.app.tracking_id());
                let asked = id.and_then(|id| self.methods.call(call, id));
                self.outbox.extend(asked);
            }
            Command::Messages => self.messages.look_again(),
        }
    }

    fn answer(&mut self, answered: Answered) -> Result<(), End> {
        let Answered { asked, answer } = answered;
        let Asked { link, delivery, place, request } = asked;
        drop(place);
        let outcome = Outcome::Accepted;
        self.outbox.extend(delivery.map(|delivery| Ask::Settle { link, delivery, outcome }));
        match answer {
            Ok(answer) => {
                let told = self.twin.answered(request, answer);
                self.outbox.extend(told);
                Ok(())
            }
            Err(no) => self.complain(no, "a twin request could not be answered"),
        }
    }

    /// The end of the session is passed on; everything else concerns one request, and is told to
    /// the log.
    fn complain(&self, no: SessionNo, what: &str) -> Result<(), End> {
        let (shared, session) = (self.context.shared, self.context.session);
        match no {
            SessionNo::Over(end) => return Err(end),
            SessionNo::Refused(refusal) => info!(
                tracking_id = shared.tracking_id, hub.name = %session.hub(),
                device.id = %session.device_id(), "{what}: {refusal}",
            ),
            SessionNo::Fault(fault) => {
                let chain = chain_of(&fault);
                error!(
                    tracking_id = shared.tracking_id, hub.name = %session.hub(),
                    device.id = %session.device_id(), error = %chain, "{what}: {chain}",
                );
            }
        }
        Ok(())
    }
}

fn settle(outbox: &mut Outbox, link: LinkId, incoming: &Incoming, outcome: Outcome) {
    if !incoming.is_settled {
        outbox.push_back(Ask::Settle { link, delivery: incoming.delivery, outcome });
    }
}

/// A request on the device's twin, and the message it came in.
struct Asked {
    link: LinkId,
    /// `None` when the device wants to hear nothing of the message.
    delivery: Option<DeliveryId>,
    /// The room it takes, until it is answered.
    place: Place,
    request: twin::Request,
}

/// A request that is done.
struct Answered {
    asked: Asked,
    answer: Result<twin::Answer, SessionNo>,
}

type Answering<'a> = Pin<Box<dyn Future<Output = Box<Answered>> + Send + 'a>>;

/// Requests of the device that wait for the store: one at a time, so that a twin is read after it
/// was reported, and whoever asks for two things gets two answers in order. The credit of their
/// links bounds how many there are.
#[derive(Default)]
struct Requests<'a> {
    running: Option<Answering<'a>>,
    waiting: VecDeque<Answering<'a>>,
}

impl<'a> Requests<'a> {
    fn push(&mut self, context: Context<'a>, asked: Asked) {
        let answering = Box::pin(async move {
            let answer = twin::answer(context.shared, context.session, &asked.request).await;
            Box::new(Answered { asked, answer })
        });
        match self.running {
            None => self.running = Some(answering),
            Some(_) => self.waiting.push_back(answering),
        }
    }

    /// The oldest, done. Waits for ever when there is none; nothing is lost when this is dropped
    /// while it waits.
    async fn next(&mut self) -> Box<Answered> {
        let Some(running) = &mut self.running else { return pending().await };
        let answered = running.await;
        self.running = self.waiting.pop_front();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        answered
    }
}
