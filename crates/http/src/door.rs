//! From an open connection to an answered request.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use app::{
    App,
    log::{asked_to_stop, cut_line},
};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header, request::Parts};
use hyper::{body::Body, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use listen::websocket::{BadHandshake, Handshake};
use model::{CertificateDer, HubName, RegistrationId, SimulationLimits, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};
use tracing::{debug, error, info};
use wire::{RequestFault, manage::MAX_DEPROVISIONING_BYTES, pem::MAX_CRL_TEXT_BYTES};

use crate::answer::{Answer, AnswerBody};
use crate::body::{Received, Room};
use crate::call::{Call, Peer, Stop};
use crate::errors;
use crate::routes::{self, Action, DeviceAction, Found, HubAction, ManageAction, Route, Site};
use crate::upgrade::{self, Switch, Switched, Upgrades};
use crate::watchdog::{self, Watchdog, Watched};
use crate::{HttpSettings, device, events, hub, manage, operator};

/// The longest path and query we look at, in bytes. An id has at most 128, encoded three times as
/// many.
const MAX_URI_BYTES: usize = 8 * 1024;
/// How much of a caller's text a log line holds.
const MAX_LOGGED_CHARS: usize = 512;
/// How long a connection that is to end may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// The HTTPS door. Clones are the same door.
#[derive(Clone)]
pub struct HttpDoor {
    app: App,
    settings: Arc<HttpSettings>,
    room: Arc<Room>,
    event_readers: Arc<Semaphore>,
    deprovisionings: Arc<Semaphore>,
    upgrades: Option<Arc<dyn Upgrades>>,
}

impl fmt::Debug for HttpDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpDoor").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl HttpDoor {
    /// A door to these use cases.
    #[must_use]
    pub fn new(app: App, settings: HttpSettings) -> Self {
        let room = Arc::new(Room::new(&settings));
        let n_readers = settings.max_event_readers.min(Semaphore::MAX_PERMITS);
        let event_readers = Arc::new(Semaphore::new(n_readers));
        let deprovisionings = Arc::new(Semaphore::new(manage::MAX_DEPROVISIONINGS_AT_ONCE));
        let settings = Arc::new(settings);
        Self { app, settings, room, event_readers, deprovisionings, upgrades: None }
    }

    /// The same door, serving WebSockets too. Without this a request for one is an ordinary request.
    #[must_use]
    pub fn with_upgrades(self, upgrades: Arc<dyn Upgrades>) -> Self {
        Self { upgrades: Some(upgrades), ..self }
    }

    /// The room for bodies.
    #[cfg(test)]
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// Answers the requests of one connection, one after the other, until either side ends it, a
    /// limit is passed, or `shutdown` turns true or loses its sender (the request at hand is then
    /// answered first); or until one makes a WebSocket of it, which is then served to its end.
    pub async fn serve(&self, connection: listen::Connection, shutdown: watch::Receiver<bool>) {
        let listen::Connection { stream, peer: address, client_chain, .. } = connection;
        let client_chain =
            client_chain.into_iter().map(|der| CertificateDer(der.to_vec())).collect();
        self.serve_stream(stream, Peer { address, client_chain }, shutdown).await;
    }

    pub(crate) async fn serve_stream<S>(
        &self,
        stream: S,
        peer: Peer,
        shutdown: watch::Receiver<bool>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Boxed, so that what HTTP needs is given back before a WebSocket goes on, perhaps for weeks.
        let switched = Box::pin(self.speak_http(stream, &peer, shutdown.clone())).await;
        if let (Some(switched), Some(upgrades)) = (switched, &self.upgrades) {
            switched.serve::<S>(&**upgrades, peer, shutdown).await;
        }
    }

    /// Answers requests until the connection ends, or becomes a WebSocket.
    async fn speak_http<S>(
        &self,
        stream: S,
        peer: &Peer,
        mut shutdown: watch::Receiver<bool>,
    ) -> Option<Switched>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let switch = Switch::default();
        let watchdog = Watchdog::new(&self.settings);
        let io = TokioIo::new(Watched { stream, watchdog: Arc::clone(&watchdog) });
        let stop = Stop::of(shutdown.clone());
        let service = service_fn(|request| {
            let request_guard = watchdog.begin_request();
            let along = Along { peer, switch: &switch, stop: stop.clone() };
            async move {
                let mut response = self.receive(request, along, &request_guard).await;
                response.body_mut().answered(request_guard);
                Ok::<_, Infallible>(response)
            }
        });
        let mut http = http1::Builder::new();
        http.max_headers(self.settings.max_headers)
            .max_header_size(self.settings.max_header_bytes)
            .header_read_timeout(None);
        let mut connection = pin!(http.serve_connection(io, service).with_upgrades());
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(
                            peer.address = %peer.address, error = %error,
                            "connection of {} ended: {error}", peer.address,
                        );
                    }
                    return switch.take();
                }
                () = asked_to_stop(&mut shutdown), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = watchdog.expired() => {
                    debug!(peer.address = %peer.address, "cut {}: it took too long", peer.address);
                    connection.as_mut().graceful_shutdown();
                    // Whatever comes of it, the connection is over.
                    let _ = timeout(GOODBYE, connection).await;
                    return None;
                }
            }
        }
    }

    async fn receive<B>(
        &self,
        mut request: Request<B>,
        along: Along<'_>,
        request_guard: &watchdog::Request,
    ) -> Response<AnswerBody>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let started = self.app.now();
        let Along { peer, switch, stop } = along;
        let handshake = match &self.upgrades {
            Some(upgrades) => upgrade::handshake(&request, &**upgrades),
            None => Handshake::NotAsked,
        };
        let on_upgrade = hyper::upgrade::on(&mut request);
        let (head, body) = request.into_parts();
        if let Handshake::Accepted(accepted) = handshake {
            let tracking_id = self.app.tracking_id();
            let host = host_of(&head.uri, &head.headers);
            let answer = upgrade::accept(&accepted);
            self.tell(&head, "(websocket)", host, &answer, peer, &tracking_id, started);
            let (protocol, host) = (accepted.protocol, host.to_owned());
            switch.set(Switched { on_upgrade, protocol, host });
            return answer.into_response(&tracking_id);
        }
        let mut aim = Aim::of(&head, &self.app).await;
        if let Handshake::Refused(bad) = handshake {
            aim.place = Place::NoWebSocket(bad);
        }
        if let Place::Legal(Found::Route(route, _)) = &aim.place {
            request_guard.may_wait(waiting(route));
        }
        // Whom it is for comes first: what nobody will look at is not kept.
        let body = self.room.receive(body, aim.wanted_bytes(&head, &self.settings)).await;
        self.respond(&head, aim, body, peer, started, stop).await
    }

    /// Answers one request whose body is there. Never fails: every trouble is an answer.
    pub async fn handle(&self, request: Request<Bytes>, peer: &Peer) -> Response<AnswerBody> {
        let started = self.app.now();
        let (head, body) = request.into_parts();
        let aim = Aim::of(&head, &self.app).await;
        let limit = self.settings.max_body_bytes.max(aim.wanted_bytes(&head, &self.settings));
        let body = match body.len() > limit {
            true => Err(RequestFault::TooLarge { limit }),
            false => Ok(body),
        };
        self.respond(&head, aim, Received::of(body), peer, started, Stop::default()).await
    }

    async fn respond(
        &self,
        head: &Parts,
        aim: Aim<'_>,
        received: Received,
        peer: &Peer,
        started: Timestamp,
        stop: Stop,
    ) -> Response<AnswerBody> {
        let tracking_id = self.app.tracking_id();
        let Aim { host, hub, site, segments, place } = aim;
        let mut call = Call {
            app: &self.app,
            settings: &self.settings,
            peer,
            host,
            segments: &segments,
            params: &[],
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
            body: &received.body,
            tracking_id: &tracking_id,
            now: started,
            event_readers: &self.event_readers,
            deprovisionings: &self.deprovisionings,
            stop,
        };
        let (template, answer) = match place {
            Place::TooLong => ("(too long)", errors::uri_too_long(&call, site)),
            Place::Broken(fault) => ("(fault)", errors::our_fault(&call, site, &*fault)),
            Place::NoWebSocket(bad) => {
                ("(websocket)", upgrade::refuse(&call, site, bad, self.upgrades.as_deref()))
            }
            Place::Illegal => {
                ("(illegal)", errors::request_fault(&call, site, RequestFault::BadPath))
            }
            Place::Legal(Found::Route(route, params)) => {
                call.params = &params;
                (route.template, self.answer(&call, route, hub.as_ref()).await)
            }
            Place::Legal(Found::OtherMethods(allowed)) => {
                ("(other method)", errors::other_methods(&call, site, &allowed))
            }
            Place::Legal(Found::OnOtherSite) => {
                ("(other host)", errors::on_other_site(&call, site))
            }
            Place::Legal(Found::Nothing) => {
                ("(none)", errors::request_fault(&call, site, RequestFault::UnknownRoute))
            }
        };
        let answer = match received.is_unread() {
            true => answer.with("connection", "close"),
            false => answer,
        };
        self.tell(head, template, host, &answer, peer, &tracking_id, started);
        answer.into_response(&tracking_id)
    }

    /// Answers by an endpoint, within its time, panics included: the connection goes on.
    async fn answer(&self, call: &Call<'_>, route: &Route, hub: Option<&HubName>) -> Answer {
        let site = if hub.is_some() { Site::Hub } else { Site::Service };
        let answering = async {
            match (route.action, hub) {
                (Action::Health, _) => health(call).await,
                (Action::Device(action), _) => device::answer(call, action).await,
                (Action::Operator(action), _) => operator::answer(call, action, route).await,
                (Action::Manage(action), _) => manage::answer(call, action, route).await,
                (Action::Hub(action), Some(hub)) => hub::answer(call, action, route, hub).await,
                // `routes::find` gives a hub's endpoints on a hub's host only.
                (Action::Hub(_), None) => errors::on_other_site(call, site),
            }
        };
        let caught = AssertUnwindSafe(answering).catch_unwind();
        let patience = self.settings.request_timeout + waiting(route);
        match timeout(patience, caught).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                error!(
                    tracking_id = call.tracking_id,
                    http.route = route.template,
                    "a handler panicked; this is a bug, and the message printed above says where",
                );
                errors::request_fault(call, site, RequestFault::Internal)
            }
            Err(_) => {
                error!(
                    tracking_id = call.tracking_id,
                    http.route = route.template,
                    "no answer within {patience:?}; is the storage stuck?",
                );
                errors::request_fault(call, site, RequestFault::Unavailable)
            }
        }
    }

    /// The one line a request leaves in the log. No headers, no bodies, no raw path.
    #[expect(clippy::too_many_arguments, reason = "a log line has many fields")]
    fn tell(
        &self,
        head: &Parts,
        template: &str,
        host: &str,
        answer: &Answer,
        peer: &Peer,
        tracking_id: &str,
        started: Timestamp,
    ) {
        let (status, method) = (answer.status.as_u16(), &head.method);
        let ticks = self.app.now().ticks().saturating_sub(started.ticks());
        let duration_ms = ticks / (Timestamp::TICKS_PER_SECOND / 1000);
        let trouble = answer.trouble.as_ref();
        let code = trouble.map_or("", |trouble| &trouble.code);
        let why =
            trouble.map(|trouble| format!(": {}", cut_line(&trouble.reason, MAX_LOGGED_CHARS)));
        let why = why.unwrap_or_default();
        let host = cut_line(host, MAX_LOGGED_CHARS);
        info!(
            http.method = %method,
            http.route = template,
            http.host = host,
            http.status = status,
            registration.id = answer.registration_id.as_ref().map(RegistrationId::as_str),
            error.code = code,
            tracking_id,
            duration_ms,
            peer.address = %peer.address,
            "{method} {template} answered {status}{why}",
        );
    }
}

/// What a request comes along with.
struct Along<'c> {
    peer: &'c Peer,
    switch: &'c Switch,
    stop: Stop,
}

/// How long an endpoint may wait for something that is not of our making, in its own time.
const fn waiting(route: &Route) -> Duration {
    match route.action {
        Action::Hub(HubAction::CallMethod) => hub::MAX_METHOD_WAIT,
        Action::Hub(HubAction::ReadEvents) | Action::Manage(ManageAction::ReadEvents) => {
            events::MAX_WAIT
        }
        Action::Manage(ManageAction::PlanDeprovisioning | ManageAction::ApplyDeprovisioning) => {
            manage::MAX_DEPROVISIONING_WAIT
        }
        Action::Manage(ManageAction::Simulate) => {
            Duration::from_secs(SimulationLimits::MOST_SECS.unsigned_abs())
        }
        // Whoever runs the server says how long a fetch may take, up to this.
        Action::Manage(ManageAction::FetchCrl) => Duration::from_secs(240),
        _ => Duration::ZERO,
    }
}

/// What a request's head says it is for.
struct Aim<'h> {
    host: &'h str,
    /// The hub that has this host name.
    hub: Option<HubName>,
    site: Site,
    /// The path's segments, decoded; none of a path that is not [`Place::Legal`].
    segments: Vec<String>,
    place: Place,
}

/// What is at a path.
enum Place {
    /// Nobody looks at a path of that length.
    TooLong,
    /// It cannot be decoded.
    Illegal,
    /// It wants to be a WebSocket, and cannot be one.
    NoWebSocket(BadHandshake),
    /// The storage could not say whose host it is.
    Broken(Box<dyn Error + Send + Sync>),
    /// Perhaps an endpoint.
    Legal(Found),
}

impl<'h> Aim<'h> {
    async fn of(head: &'h Parts, app: &App) -> Self {
        let host = host_of(&head.uri, &head.headers);
        let found = app.find_hub(host).await;
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        let is_too_long = path.len() + query.len() > MAX_URI_BYTES;
        let (hub, segments, place) = match (routes::segments(path), found) {
            (_, found) if is_too_long => (found.unwrap_or_default(), Vec::new(), Place::TooLong),
            (Err(_), found) => (found.unwrap_or_default(), Vec::new(), Place::Illegal),
            // Our health is the same on every host, and the question is asked when things break.
            (Ok(segments), Err(fault)) if segments != ["healthz"] => {
                (None, segments, Place::Broken(Box::new(fault)))
            }
            (Ok(segments), found) => {
                let hub = found.unwrap_or_default();
                let site = site_of(hub.as_ref());
                let found = routes::find(site, &head.method, &segments);
                (hub, segments, Place::Legal(found))
            }
        };
        let site = site_of(hub.as_ref());
        Self { host, hub, site, segments, place }
    }

    /// How much of the body somebody will look at, in bytes.
    fn wanted_bytes(&self, head: &Parts, settings: &HttpSettings) -> usize {
        let Place::Legal(Found::Route(route, _)) = &self.place else { return 0 };
        let of_endpoint = match route.action {
            Action::Health | Action::Device(DeviceAction::OperationStatus) => 0,
            // One byte more says that it is too large.
            Action::Device(DeviceAction::Register | DeviceAction::RegistrationStatus) => {
                wire::device::MAX_BODY_BYTES + 1
            }
            // No endpoint of theirs takes a body with these.
            Action::Operator(_) | Action::Manage(_) | Action::Hub(_)
                if matches!(head.method, Method::GET | Method::DELETE) =>
            {
                0
            }
            // Who shows no token is refused before anybody looks at the body.
            Action::Operator(_) | Action::Manage(_) | Action::Hub(_)
                if !shows_token(&head.headers) =>
            {
                0
            }
            // Bodies that are larger than others may be; the room holds them all the same.
            Action::Manage(ManageAction::ImportCrl) => return MAX_CRL_TEXT_BYTES,
            Action::Manage(ManageAction::PlanDeprovisioning) => {
                return settings.max_body_bytes.max(MAX_DEPROVISIONING_BYTES);
            }
            Action::Operator(_) | Action::Manage(_) | Action::Hub(_) => settings.max_body_bytes,
        };
        of_endpoint.min(settings.max_body_bytes)
    }
}

const fn site_of(hub: Option<&HubName>) -> Site {
    if hub.is_some() { Site::Hub } else { Site::Service }
}

/// Whether there is a token, good or bad.
fn shows_token(headers: &HeaderMap) -> bool {
    let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    text.is_some_and(|text| wire::sas::parse(text).is_ok())
}

/// Whether we can do our work: the storage answers.
async fn health(call: &Call<'_>) -> Answer {
    let status = |text: &str| model::Json::Object(vec![("status".to_owned(), text.into())]);
    match call.app.check_health().await {
        Ok(()) => Answer::ok(&status("ok")),
        Err(fault) => {
            errors::log_fault(call, &fault);
            let code = StatusCode::SERVICE_UNAVAILABLE.as_u16();
            let reason = "the storage does not answer".to_owned();
            Answer::error(code, &status("failing"), String::new(), reason)
        }
    }
}

/// The name the client addressed: of an absolute URI, or else of the `Host` header.
fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    let header = || headers.get(header::HOST).and_then(|value| value.to_str().ok());
    uri.authority().map(|authority| authority.as_str()).or_else(header).unwrap_or_default()
}
