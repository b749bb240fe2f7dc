//! The conversation on one connection: ties the stream, the engine and the endpoints together.
//!
//! Everything of a connection happens in its own task. What an endpoint asks goes out as soon as
//! the client reads; who does not read is not read from. A panic in an endpoint ends its connection
//! and no other. What deliberately does not live here: who answers which links
//! ([`crate::endpoints`]), and what AMQP demands (`engine`).

mod asks;
mod at_work;
mod clock;
mod inbox;
mod over;
mod shared;

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use model::Timestamp;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::timeout,
};
use tracing::{debug, error, info};

pub(crate) use self::{asks::Line, inbox::Inbox, shared::Shared};
use self::{
    asks::{Asks, EndpointNumber},
    at_work::{AtWork, Panicked},
    clock::{Clock, Due},
    inbox::{Teller, inbox},
    over::Over,
    shared::Crowd,
};
use crate::{
    address::{Address, EndpointKey},
    door::{asked_to_stop, one_line},
    endpoint::{Ask, Attached, Incoming, LinkId, Told},
    engine::{Engine, Event},
    proto::{Attach, Open, Performative, Role, WireError},
    stream::{FrameStream, Standing, Turn},
};

/// What an endpoint has not heard yet may be so much before nothing more is read.
const MAX_UNHEARD: usize = 256;
/// The same while the client has proven nothing.
const MAX_UNHEARD_OF_STRANGER: usize = 32;
/// How many devices a client may speak for before it has proven to be one.
const MAX_DEVICES_OF_STRANGER: usize = 8;
/// How often the links of a client are refused before it has proven anything to a hub: each time
/// leaves a line in the log.
const MAX_REFUSED_OF_STRANGER: u32 = 100;
/// More than so much to be sent, and nothing more is asked for or read.
const MAX_UNSENT_BYTES: usize = 64 * 1024;

/// An endpoint at work.
pub(crate) type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts the endpoint of a kind.
pub(crate) type Start = fn(&EndpointKey, Arc<Shared>, Inbox, Line) -> Running;

/// Converses until the connection is over, and closes it.
pub(crate) async fn drive<S>(
    shared: Arc<Shared>,
    stream: &mut FrameStream<S>,
    start: Start,
    shutdown: &mut watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let began = shared.app.now();
    let mut driver = Driver::new(shared, stream, start);
    let over = tokio::select! {
        biased;
        () = asked_to_stop(shutdown) => Over::Stopping,
        over = driver.run() => over,
    };
    Box::pin(driver.finish(over, began)).await;
}

/// The conversation.
struct Driver<'a, S> {
    shared: Arc<Shared>,
    stream: &'a mut FrameStream<S>,
    engine: Engine,
    start: Start,
    endpoints: HashMap<EndpointNumber, Endpoint>,
    /// Whose each link is.
    links: HashMap<LinkId, EndpointNumber>,
    running: FuturesUnordered<AtWork>,
    asks: Asks,
    n_endpoints_ever: EndpointNumber,
    /// Those that have much to hear.
    behind: Vec<EndpointNumber>,
    standing: Standing,
    crowd: Crowd,
    /// How many of its links were refused before it was known.
    n_refused: u32,
    clock: Clock,
    is_open: bool,
    /// How often something was handed to the stream to be sent.
    n_batches: u64,
    /// The batch with the last cut-off, while it is not sent.
    cut_off_in: Option<u64>,
}

/// Somebody who answers links.
struct Endpoint {
    key: EndpointKey,
    teller: Teller,
}

/// What happened.
enum Happened {
    Asked(EndpointNumber, Ask),
    Ended(EndpointNumber, Result<(), Panicked>),
    Turned(Turn),
    Due(Due),
}

impl<'a, S> Driver<'a, S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn new(shared: Arc<Shared>, stream: &'a mut FrameStream<S>, start: Start) -> Self {
        let standing = Standing::Stranger;
        stream.set_limits(shared.frame_limits(standing));
        let engine = Engine::new(shared.tracking_id.clone(), shared.engine_limits(standing));
        let clock = Clock::new(&shared.settings);
        Self {
            shared,
            stream,
            engine,
            start,
            endpoints: HashMap::new(),
            links: HashMap::new(),
            running: FuturesUnordered::new(),
            asks: Asks::default(),
            n_endpoints_ever: 0,
            behind: Vec::new(),
            standing,
            crowd: Crowd::Small(0),
            n_refused: 0,
            clock,
            is_open: false,
            n_batches: 0,
            cut_off_in: None,
        }
    }

    async fn run(&mut self) -> Over {
        match self.converse().await {
            Ok(never) => match never {},
            Err(over) => over,
        }
    }

    async fn converse(&mut self) -> Result<Infallible, Over> {
        loop {
            self.hand_over_output();
            let happened = poll_fn(|cx| self.poll_next(cx)).await?;
            match happened {
                Happened::Asked(from, ask) => self.obey(from, ask)?,
                Happened::Ended(endpoint, Ok(())) => {
                    // Its last words count.
                    for ask in self.asks.take_all_of(endpoint) {
                        self.obey(endpoint, ask)?;
                    }
                    self.forget(endpoint);
                }
                Happened::Ended(_, Err(Panicked)) => return Err(Over::Panicked),
                Happened::Turned(Turn::Sent) => self.sent(),
                Happened::Turned(Turn::Empty) => self.clock.heard(),
                Happened::Turned(Turn::Frame(frame)) => {
                    self.clock.heard();
                    if let Performative::Begin(_) = frame.performative {
                        self.crowd.grow();
                    }
                    let received = self.engine.receive(*frame);
                    // What came before the violation is as good as ever.
                    self.take_events()?;
                    received.map_err(|violation| Over::Violated(violation.error))?;
                }
                Happened::Due(due) => self.due(due)?,
            }
        }
    }

    /// Hands what is to be sent to the stream, once the stream has sent what it had: so the client
    /// has its time for each batch, and what is slow does not grow.
    fn hand_over_output(&mut self) {
        if !self.stream.is_sending() && !self.engine.output().is_empty() {
            self.stream.queue(std::mem::take(self.engine.output()));
            self.n_batches += 1;
            self.clock.spoke();
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Happened, Over>> {
        self.note_standing();
        // Whoever never pauses has no more time than others. What has come in time is heard.
        if let Poll::Ready(due) = self.clock.poll_due(cx)
            && due != Due::Silent
        {
            return Poll::Ready(Ok(Happened::Due(due)));
        }
        // Then endpoints: what they ask goes out together.
        if let Poll::Ready(Some((number, outcome))) = self.running.poll_next_unpin(cx) {
            return Poll::Ready(Ok(Happened::Ended(number, outcome)));
        }
        self.note_standing();
        let is_read = self.engine.output().len() < MAX_UNSENT_BYTES;
        if let Poll::Ready((from, ask)) = self.asks.poll_next(cx, is_read) {
            return Poll::Ready(Ok(Happened::Asked(from, ask)));
        }
        let may_read = is_read && !self.is_behind() && self.crowd.poll_room(&self.shared, cx);
        let turn = self.stream.poll_turn(cx, may_read);
        self.clock.set_held_up(self.stream.is_held_up());
        if let Poll::Ready(turn) = turn {
            return Poll::Ready(turn.map(Happened::Turned).map_err(Over::from));
        }
        if !may_read {
            // That nothing comes is our doing.
            self.clock.heard();
        }
        Poll::Ready(Ok(Happened::Due(ready!(self.clock.poll_due(cx)))))
    }

    /// Whether an endpoint has too much to hear.
    fn is_behind(&mut self) -> bool {
        let most = match self.standing {
            Standing::Stranger => MAX_UNHEARD_OF_STRANGER,
            Standing::Guest | Standing::Known => MAX_UNHEARD,
        };
        let endpoints = &self.endpoints;
        self.behind.retain(|number| {
            endpoints.get(number).is_some_and(|endpoint| endpoint.teller.n_waiting() >= most)
        });
        !self.behind.is_empty()
    }

    /// An endpoint may have found out who is there.
    fn note_standing(&mut self) {
        let standing = self.shared.standing();
        if standing == self.standing {
            return;
        }
        self.standing = standing;
        self.stream.set_standing(standing);
        self.stream.set_limits(self.shared.frame_limits(standing));
        self.engine.set_limits(self.shared.engine_limits(standing));
        if standing == Standing::Known {
            self.crowd = Crowd::Any;
        }
        self.clock.proven();
        let (address, login) = (self.shared.peer.address, self.shared.login.name());
        debug!(
            tracking_id = self.shared.tracking_id, peer.address = %address, amqp.login = login,
            "the client at {address} is let in ({login})",
        );
    }

    fn take_events(&mut self) -> Result<(), Over> {
        while let Some(event) = self.engine.next_event() {
            match event {
                Event::Opened(open) => self.opened(&open),
                Event::Attached { link, attach } => self.attached(link, attach),
                Event::Message { link, delivery, format, payload, is_settled } => {
                    let place = self.stream.place(payload.len());
                    let incoming = Incoming { delivery, format, payload, is_settled, place };
                    self.tell(link, Told::Message(link, incoming));
                }
                Event::Credit { link, credit, drain } => {
                    self.tell(link, Told::Credit { link, credit, drain });
                }
                Event::Settled { link, number, outcome } => {
                    self.tell(link, Told::Settled { link, number, outcome });
                }
                Event::Detached(link) => {
                    self.tell(link, Told::Detached(link));
                    self.links.remove(&link);
                }
                Event::Closed(error) => return Err(Over::Closed(error)),
            }
        }
        self.stream.set_partial(self.engine.partial_bytes());
        self.clock.set_partial(self.engine.oldest_partial());
        if self.n_refused > MAX_REFUSED_OF_STRANGER && self.standing != Standing::Known {
            return Err(Over::Refused);
        }
        Ok(())
    }

    fn opened(&mut self, open: &Open) {
        if let Some(host) = &open.hostname {
            self.shared.set_hostname(host);
        }
        self.is_open = true;
        self.clock.opened(open.idle_timeout_ms);
        let (address, login) = (self.shared.peer.address, self.shared.login.name());
        let id = one_line(&open.container_id);
        info!(
            tracking_id = self.shared.tracking_id, peer.address = %address,
            amqp.container_id = id, amqp.login = login,
            "`{id}` opened an AMQP connection from {address} ({login})",
        );
    }

    fn attached(&mut self, link: LinkId, attach: Box<Attach>) {
        let Attach { role, sender_settle, source, target, properties, .. } = *attach;
        let terminus = match role {
            Role::Sender => target,
            Role::Receiver => source,
        };
        let text = terminus.and_then(|terminus| terminus.address).unwrap_or_default();
        let address = Address::parse(&text);
        let key = address.endpoint_key();
        if let EndpointKey::None = key {
            let text = format!("There is nothing at the address `{}`.", one_line(&text));
            self.refuse(link, WireError::new("amqp:not-found", text));
            return;
        }
        let number = self.endpoints.iter().find(|(_, there)| there.key == key).map(|(n, _)| *n);
        let number = match number {
            Some(number) => number,
            None if self.is_full(&key) => {
                let text = "There are as many devices on this connection as there may be.";
                self.refuse(link, WireError::new("amqp:resource-limit-exceeded", text));
                return;
            }
            None => self.start(key),
        };
        self.links.insert(link, number);
        let attached = Attached { link, role, address, properties, sender_settle };
        self.tell(link, Told::Attached(Box::new(attached)));
    }

    fn refuse(&mut self, link: LinkId, error: WireError) {
        self.engine.refuse(link, error);
        if self.standing != Standing::Known {
            self.n_refused += 1;
        }
    }

    /// Whether there may be no more of this kind.
    fn is_full(&self, key: &EndpointKey) -> bool {
        let EndpointKey::Device(_) = key else { return false };
        let is_device = |there: &&Endpoint| matches!(there.key, EndpointKey::Device(_));
        let n_devices = self.endpoints.values().filter(is_device).count();
        let most = self.shared.settings.max_devices_per_connection;
        n_devices
            >= match self.standing {
                Standing::Stranger | Standing::Guest => most.min(MAX_DEVICES_OF_STRANGER),
                Standing::Known => most,
            }
    }

    fn start(&mut self, key: EndpointKey) -> EndpointNumber {
        self.n_endpoints_ever += 1;
        let number = self.n_endpoints_ever;
        let (teller, inbox) = inbox();
        let work = (self.start)(&key, Arc::clone(&self.shared), inbox, self.asks.line(number));
        self.running.push(AtWork { number, work });
        self.endpoints.insert(number, Endpoint { key, teller });
        number
    }

    /// Tells the endpoint of a link. Of a link that we have detached nobody wants to hear.
    fn tell(&mut self, link: LinkId, told: Told) {
        let Some(number) = self.links.get(&link) else { return };
        let Some(endpoint) = self.endpoints.get(number) else { return };
        endpoint.teller.tell(told);
        if endpoint.teller.n_waiting() >= MAX_UNHEARD_OF_STRANGER && !self.behind.contains(number) {
            self.behind.push(*number);
        }
    }

    /// An endpoint is done. What it left behind is detached; a link that was attached meanwhile
    /// goes to another of its kind.
    fn forget(&mut self, number: EndpointNumber) {
        let Some(Endpoint { key, teller }) = self.endpoints.remove(&number) else { return };
        let (unheard, has_heard) = teller.unheard();
        let mut fresh = Vec::new();
        if has_heard {
            fresh.extend(unheard.iter().filter_map(|told| match told {
                Told::Attached(attached) => Some(attached.link),
                _ => None,
            }));
        }
        let is_left = |(link, of): (&LinkId, &EndpointNumber)| {
            (*of == number && !fresh.contains(link)).then_some(*link)
        };
        let left: Vec<_> = self.links.iter().filter_map(is_left).collect();
        for link in left {
            self.links.remove(&link);
            let text = "Whoever answered this link is gone.";
            self.engine.detach(link, Some(WireError::new("amqp:link:detach-forced", text)));
        }
        fresh.retain(|link| self.links.contains_key(link));
        if !fresh.is_empty() {
            self.start_anew(key, &fresh, unheard);
        }
    }

    /// Starts an endpoint for links of which the last of its kind did not hear.
    fn start_anew(&mut self, key: EndpointKey, links: &[LinkId], unheard: VecDeque<Told>) {
        let number = self.start(key);
        for link in links {
            self.links.insert(*link, number);
        }
        for told in unheard {
            let link = link_of(&told);
            if links.contains(&link) {
                self.tell(link, told);
            }
        }
    }

    fn obey(&mut self, from: EndpointNumber, ask: Ask) -> Result<(), Over> {
        match ask {
            Ask::Accept { link, max_message_bytes, window } => {
                self.engine.accept(link, max_message_bytes, window);
            }
            Ask::Refuse { link, error } => {
                self.links.remove(&link);
                self.refuse(link, error);
            }
            Ask::Settle { link, delivery, outcome } => self.engine.settle(link, delivery, outcome),
            Ask::Send { link, number, tag, message, is_settled } => {
                if self.engine.send(link, number, tag, message, is_settled).is_err() {
                    let text = "Too many messages wait for credit on this link.";
                    let error = WireError::new("amqp:resource-limit-exceeded", text);
                    self.engine.detach(link, Some(error));
                    self.tell(link, Told::Detached(link));
                    self.links.remove(&link);
                }
            }
            Ask::Drained(link) => self.engine.drained(link),
            Ask::Detach { link, error } => {
                self.links.remove(&link);
                self.engine.detach(link, error);
            }
            Ask::CutOff { links, error } => return self.cut_off(from, &links, error),
        }
        // What an endpoint asks may make room for what waits.
        self.take_events()
    }

    fn cut_off(
        &mut self,
        from: EndpointNumber,
        links: &[LinkId],
        error: WireError,
    ) -> Result<(), Over> {
        for link in links {
            self.links.remove(link);
        }
        let (endpoints, owners) = (&self.endpoints, &self.links);
        let is_token_link = |link: LinkId| {
            let endpoint = owners.get(&link).and_then(|owner| endpoints.get(owner));
            endpoint.is_none_or(|endpoint| endpoint.key == EndpointKey::Cbs)
        };
        let is_last = self.engine.cut_off(links, &error, is_token_link);
        if let Some(Endpoint { key: EndpointKey::Device(id), .. }) = self.endpoints.get(&from) {
            let (address, id) = (self.shared.peer.address, one_line(id));
            debug!(
                tracking_id = self.shared.tracking_id, peer.address = %address, device.id = id,
                "detached all links of `{id}` at {address} with {}", error.condition,
            );
        }
        if is_last {
            return Err(Over::CutOff(error));
        }
        self.cut_off_in = Some(self.n_batches + 1);
        self.clock.cut_off();
        self.take_events()
    }

    /// All that was handed to the stream is sent.
    fn sent(&mut self) {
        self.clock.spoke();
        if self.cut_off_in.is_some_and(|batch| batch <= self.n_batches) {
            self.cut_off_in = None;
            self.clock.cut_off_is_sent();
        }
    }

    fn due(&mut self, due: Due) -> Result<(), Over> {
        match due {
            Due::Heartbeat => {
                if !self.stream.is_sending() && self.engine.output().is_empty() {
                    self.stream.queue_empty();
                }
                self.clock.spoke();
                Ok(())
            }
            Due::Silent => Err(Over::Silent),
            Due::NotOpened => Err(Over::NotOpened),
            Due::NotProven => Err(Over::NotProven),
            Due::NotWhole => Err(Over::NotWhole),
            Due::CutOffUnread => Err(Over::CutOffUnread),
        }
    }

    /// Closes the connection.
    async fn finish(mut self, over: Over, began: Timestamp) {
        self.tell_log(&over, began);
        let asks = std::mem::take(&mut self.asks);
        // Nobody waits for the client any more.
        drop(asks);
        let Self { mut engine, stream, running, endpoints, shared, .. } = self;
        if over.is_departure() {
            // They hear that nothing more comes, and end by themselves.
            drop(endpoints);
            let longest = shared.settings.request_timeout;
            let work = async {
                let mut running = running;
                while running.next().await.is_some() {}
            };
            let goodbye = say_goodbye(&over, &mut engine, stream);
            // Whoever takes longer is dropped.
            let _ = tokio::join!(timeout(longest, work), goodbye);
        } else {
            // In the middle of whatever they do.
            drop((running, endpoints));
            say_goodbye(&over, &mut engine, stream).await;
        }
    }

    fn tell_log(&self, over: &Over, began: Timestamp) {
        let shared = &self.shared;
        let (tracking_id, address) = (&shared.tracking_id, shared.peer.address);
        let ticks = shared.app.now().ticks().saturating_sub(began.ticks());
        let duration_ms = ticks / (Timestamp::TICKS_PER_SECOND / 1000);
        if let Over::Panicked = over {
            error!(tracking_id, peer.address = %address, "an AMQP connection failed: a panic");
        }
        if self.is_open {
            info!(
                tracking_id, peer.address = %address, duration_ms,
                "the AMQP connection from {address} is over: {over}",
            );
        } else {
            debug!(tracking_id, peer.address = %address, "cut {address} before its open: {over}");
        }
    }
}

async fn say_goodbye<S>(over: &Over, engine: &mut Engine, stream: &mut FrameStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(error) = over.goodbye() else { return };
    engine.close(error);
    // Messages that wait for the client are not among it: it closes, or is closed.
    stream.queue(std::mem::take(engine.output()));
    stream.close().await;
}

const fn link_of(told: &Told) -> LinkId {
    match told {
        Told::Attached(attached) => attached.link,
        Told::Message(link, _)
        | Told::Credit { link, .. }
        | Told::Settled { link, .. }
        | Told::Detached(link) => *link,
    }
}

#[cfg(test)]
mod tests;
