//! From an open connection to a session: who asks to connect, and to which of the two services.

use std::{fmt, net::SocketAddr, sync::Arc};

pub(crate) use app::log::{asked_to_stop, chain_of, one_line};

use app::App;
use model::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::timeout,
};
use tracing::{debug, info};

use crate::{
    MqttSettings, hub,
    link::{Broken, Link, Place, Terms},
    proto::{BadPacket, ConnAck, Connect, ConnectRefusal, Limits, Packet},
    provisioning,
    topic::UserName,
};

/// The MQTT door. Clones are the same door.
#[derive(Clone)]
pub struct MqttDoor {
    context: Arc<Context>,
}

impl fmt::Debug for MqttDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttDoor").field("settings", &self.context.settings).finish_non_exhaustive()
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The client certificates it presented, leaf first; it holds the leaf's key. Empty when it
    /// presented none.
    pub client_chain: Vec<CertificateDer>,
}

/// What all sessions of a door share.
pub(crate) struct Context {
    pub(crate) app: App,
    pub(crate) settings: MqttSettings,
    terms: Arc<Terms>,
}

/// Who asks to connect. A session takes from it what it needs and drops the rest: the password, the
/// chain, and the buffer of the CONNECT.
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    pub(crate) connect: Box<Connect>,
    pub(crate) tracking_id: String,
    /// The room of the CONNECT, for as long as it is kept.
    _place: Place,
    /// Which service it asks, for the log.
    service: &'static str,
}

/// How a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With this answer to the CONNECT, in order.
    Refused(ConnectRefusal),
    /// In order: what is queued is sent, and the client has a moment to read it.
    Goodbye,
    /// At once, whatever was still to be sent.
    Cut,
}

impl MqttDoor {
    /// A door to these use cases.
    #[must_use]
    pub fn new(app: App, settings: MqttSettings) -> Self {
        let terms = Arc::new(Terms::new(&settings));
        Self { context: Arc::new(Context { app, settings, terms }) }
    }

    /// Serves one connection until either side ends it, a limit is passed, or `shutdown` turns true
    /// or loses its sender.
    pub fn serve(
        &self,
        connection: listen::Connection,
        shutdown: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let chain = &connection.client_chain;
        let peer = Peer {
            address: connection.peer,
            client_chain: chain.iter().map(|der| CertificateDer(der.to_vec())).collect(),
        };
        self.serve_stream(connection.stream, peer, shutdown)
    }

    /// The same for any stream of bytes, such as that of a WebSocket. A panic goes to the caller:
    /// each connection is to have a task of its own.
    pub fn serve_stream<S>(
        &self,
        stream: S,
        peer: Peer,
        mut shutdown: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let context = Arc::clone(&self.context);
        let limits = Limits { packet_bytes: context.settings.max_connect_bytes, ..Limits::LOGIN };
        // Outside of what follows, so that the future holds the stream once.
        let mut link = Link::new(stream, Arc::clone(&context.terms), limits);
        async move {
            match context.serve(&mut link, peer, &mut shutdown).await {
                Ending::Refused(code) => {
                    // The answer is the first thing that is queued, so there is room for it.
                    if link.queue(&Packet::ConnAck(ConnAck::Refused(code))).is_ok() {
                        link.close().await;
                    }
                }
                Ending::Goodbye => link.close().await,
                Ending::Cut => {}
            }
        }
    }

    /// What the sessions share.
    #[cfg(test)]
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }
}

impl Context {
    /// What the links share.
    #[cfg(test)]
    pub(crate) fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    async fn serve<S>(
        &self,
        link: &mut Link<S>,
        peer: Peer,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Ending
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        // Each step is boxed and gone before the next, so that a connection takes no more memory
        // than its kind of session needs.
        match Box::pin(self.meet(link, peer, shutdown)).await {
            Ok(Met { caller, user: UserName::Provisioning(user) }) => {
                Box::pin(provisioning::serve(self, link, caller, user, shutdown)).await
            }
            Ok(Met { caller, user: UserName::Hub(user) }) => {
                Box::pin(hub::serve(self, link, caller, user, shutdown)).await
            }
            Err(ending) => ending,
        }
    }

    /// Waits for the CONNECT.
    async fn meet<S>(
        &self,
        link: &mut Link<S>,
        peer: Peer,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<Met, Ending>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let first = tokio::select! {
            biased;
            () = asked_to_stop(shutdown) => return Err(Ending::Goodbye),
            first = timeout(self.settings.connect_timeout, link.read()) => first,
        };
        let address = peer.address;
        let (connect, place) = match first {
            Ok(Ok((Packet::Connect(connect), place))) => (connect, place),
            Ok(Ok((other, _place))) => {
                let kind = other.kind();
                debug!(peer.address = %address, "cut {address}: {kind} before CONNECT");
                return Err(Ending::Cut);
            }
            Ok(Err(Broken::Malformed(bad @ BadPacket::UnsupportedLevel(_)))) => {
                info!(
                    tracking_id = self.app.tracking_id(), peer.address = %address,
                    "refused CONNECT of {address} (CONNACK 1): {bad}",
                );
                return Err(Ending::Refused(ConnectRefusal::UnacceptableVersion));
            }
            Ok(Err(broken)) => {
                debug!(peer.address = %address, "cut {address} before CONNECT: {broken}");
                return Err(Ending::Cut);
            }
            Err(_) => {
                debug!(peer.address = %address, "cut {address}: no CONNECT in time");
                return Err(Ending::Cut);
            }
        };
        let tracking_id = self.app.tracking_id();
        let service = "provisioning";
        let mut caller = Caller { peer, connect, tracking_id, _place: place, service };
        match caller.user_name() {
            Ok(user) => {
                if let UserName::Hub(_) = user {
                    caller.service = "hub";
                }
                Ok(Met { caller, user })
            }
            Err(Unnamed { asks_hub: true, reason }) => {
                caller.service = "hub";
                // A hub never says anything else of an identity (H §4.2.3).
                Err(caller.refuse(ConnectRefusal::NotAuthorized, &reason))
            }
            Err(Unnamed { asks_hub: false, reason }) => {
                Err(caller.refuse(ConnectRefusal::BadLogin, &reason))
            }
        }
    }
}

/// Who asks to connect, and to what.
struct Met {
    caller: Caller,
    user: UserName,
}

/// A user name that says nothing, or is none.
struct Unnamed {
    /// Whether it begins with a host name all the same.
    asks_hub: bool,
    reason: String,
}

impl Caller {
    fn user_name(&self) -> Result<UserName, Unnamed> {
        let Some(login) = &self.connect.login else {
            return Err(Unnamed { asks_hub: false, reason: "there is no user name".to_owned() });
        };
        UserName::parse(&login.user_name).map_err(|bad| Unnamed {
            asks_hub: login.user_name.split('/').next().is_some_and(|first| first.contains('.')),
            reason: format!("the user name is illegal: {bad}"),
        })
    }

    /// The password; an empty one counts as none (H §4.2.1). `Some(None)` is no text.
    pub(crate) fn password(&self) -> Option<Option<&str>> {
        let password = self.connect.login.as_ref()?.password.as_ref()?.as_bytes();
        (!password.is_empty()).then(|| std::str::from_utf8(password).ok())
    }

    /// Tells the log that the client is connected.
    pub(crate) fn accepted(&self) {
        let (address, service) = (self.peer.address, self.service);
        let id = one_line(&self.connect.client_id);
        info!(
            tracking_id = self.tracking_id, peer.address = %address, mqtt.client_id = id,
            mqtt.service = service,
            "accepted CONNECT of `{id}` to {service} from {address}",
        );
    }

    /// Tells the log why the client is not connected. The client is told no more than the code.
    #[must_use]
    pub(crate) fn refuse(&self, code: ConnectRefusal, reason: &dyn fmt::Display) -> Ending {
        let (address, service) = (self.peer.address, self.service);
        let id = one_line(&self.connect.client_id);
        let reason = one_line(&reason.to_string());
        info!(
            tracking_id = self.tracking_id, peer.address = %address, mqtt.client_id = id,
            mqtt.service = service, mqtt.connack = code as u8,
            "refused CONNECT of `{id}` to {service} from {address} (CONNACK {}): {reason}",
            code as u8,
        );
        Ending::Refused(code)
    }
}

#[cfg(test)]
mod tests;
