//! From an open connection to a conversation: what the client speaks, and who it says it is.

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
    AmqpSettings,
    driver::{self, Shared},
    endpoints,
    proto::{BadFrame, ProtocolHeader, SaslFrame},
    sasl::{self, Login, LoginNo},
    stream::{Broken, FrameStream, Terms},
};

/// The AMQP door. Clones are the same door.
#[derive(Clone)]
pub struct AmqpDoor {
    context: Arc<Context>,
}

impl fmt::Debug for AmqpDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpDoor").field("settings", &self.context.settings).finish_non_exhaustive()
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
    /// The name it asked for (SNI), if it said one.
    pub server_name: Option<String>,
}

/// What all connections of a door share.
struct Context {
    app: App,
    settings: Arc<AmqpSettings>,
    terms: Arc<Terms>,
}

impl AmqpDoor {
    /// A door to these use cases.
    #[must_use]
    pub fn new(app: App, settings: AmqpSettings) -> Self {
        let terms = Arc::new(Terms::new(&settings));
        Self { context: Arc::new(Context { app, settings: Arc::new(settings), terms }) }
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
            server_name: connection.server_name,
        };
        self.serve_stream(connection.stream, peer, shutdown)
    }

    /// The same for any stream of bytes, such as that of a WebSocket. Each connection is to have a
    /// task of its own.
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
        // Outside of what follows, so that the future holds the stream once.
        let mut stream = FrameStream::new(stream, Arc::clone(&context.terms));
        async move {
            // Each step is boxed and gone before the next, so that a connection takes no more
            // memory than its conversation needs.
            let met = Box::pin(context.meet(peer, &mut stream, &mut shutdown)).await;
            match met {
                Ok(shared) => {
                    driver::drive(shared, &mut stream, endpoints::start, &mut shutdown).await;
                }
                Err(Ending::Goodbye) => Box::pin(stream.close()).await,
                Err(Ending::Cut) => {}
            }
        }
    }
}

/// How a connection ends before there was a conversation.
enum Ending {
    /// In order: what is queued is sent, and the client has a moment to read it.
    Goodbye,
    /// At once.
    Cut,
}

impl Context {
    /// Finds out what the client speaks, and lets it log in.
    async fn meet<S>(
        &self,
        peer: Peer,
        stream: &mut FrameStream<S>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<Arc<Shared>, Ending>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (address, tracking_id) = (peer.address, self.app.tracking_id());
        let met = tokio::select! {
            biased;
            () = asked_to_stop(shutdown) => return Err(Ending::Goodbye),
            met = self.introduce(&peer, stream, &tracking_id) => met,
        };
        let reason = match met {
            Ok(login) => {
                let (app, settings) = (self.app.clone(), Arc::clone(&self.settings));
                let terms = Arc::clone(&self.terms);
                return Ok(Arc::new(Shared::new(app, settings, terms, peer, login, tracking_id)));
            }
            Err(LoginNo::Refused { outcome, mechanism, reason }) => {
                let reason = one_line(&reason);
                info!(
                    tracking_id, peer.address = %address, amqp.mechanism = mechanism,
                    amqp.outcome = outcome as u8,
                    "refused `{mechanism}` of {address} (SASL {}): {reason}", outcome as u8,
                );
                stream.queue_sasl(&SaslFrame::Outcome(outcome));
                return Err(Ending::Goodbye);
            }
            Err(LoginNo::Broken(Broken::Malformed(bad))) => {
                // The standard wants a header that we speak, and the end (§2.2); where SASL had
                // begun, the end.
                if matches!(bad, BadFrame::NotAmqp) {
                    stream.queue_header(ProtocolHeader::Amqp);
                }
                debug!(peer.address = %address, "cut {address} before its login: {bad}");
                return Err(Ending::Goodbye);
            }
            Err(LoginNo::OtherProtocol(header)) => {
                stream.queue_header(ProtocolHeader::Amqp);
                debug!(peer.address = %address, "cut {address}: it speaks {header:?}");
                return Err(Ending::Goodbye);
            }
            Err(LoginNo::Broken(broken)) => broken.to_string(),
            Err(LoginNo::Cut(why)) => why.to_owned(),
        };
        debug!(peer.address = %address, "cut {address} before its login: {reason}");
        Err(Ending::Cut)
    }

    /// From the first byte to the header of AMQP itself.
    async fn introduce<S>(
        &self,
        peer: &Peer,
        stream: &mut FrameStream<S>,
        tracking_id: &str,
    ) -> Result<Login, LoginNo>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let login = match self.header(stream).await? {
            ProtocolHeader::Amqp => Login::Bare,
            ProtocolHeader::Sasl => {
                let login = sasl::log_in(&self.app, &self.settings, peer, stream, tracking_id);
                let login = Box::pin(login).await?;
                match self.header(stream).await? {
                    ProtocolHeader::Amqp => login,
                    other => return Err(LoginNo::OtherProtocol(other)),
                }
            }
            other => return Err(LoginNo::OtherProtocol(other)),
        };
        stream.queue_header(ProtocolHeader::Amqp);
        Ok(login)
    }

    async fn header<S>(&self, stream: &mut FrameStream<S>) -> Result<ProtocolHeader, LoginNo>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match timeout(self.settings.connect_timeout, stream.read_header()).await {
            Ok(header) => Ok(header?),
            Err(_) => Err(LoginNo::Cut("no protocol header in time")),
        }
    }
}
