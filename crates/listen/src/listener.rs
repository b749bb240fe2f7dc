//! From a listening socket to an open connection: accept, limits, handshake, hand-over, shutdown.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::time_provider::DefaultTimeProvider;
use rustls::{CertificateError, ServerConfig};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, error, info, warn};

use crate::certificate::provider;
use crate::proof::AnyChainWithProof;
use crate::sessions::Sessions;
use crate::slots::{Limit, Slots};
use crate::{ListenError, ServerCertificate};

/// The first and the longest pause after the operating system refused to accept (out of descriptors).
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How long, and for how many bytes, a failed handshake waits for the client to read our alert and close.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 64 * 1_024);

/// What is spoken behind a port, as far as TLS tells (ALPN, RFC 7301).
///
/// A client that names no protocol is served on every port, as most devices are. One that names only others is
/// refused in the handshake, with the alert `no_application_protocol`, where the protocol has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Speaks {
    /// HTTP/1.1, and what travels in its WebSockets: `http/1.1`.
    #[default]
    Https,
    /// MQTT: `mqtt`.
    Mqtt,
    /// AMQP 1.0. IANA has no name for it, so whatever a client names is passed over.
    Amqp,
}

impl Speaks {
    const fn alpn(self) -> Option<&'static [u8]> {
        match self {
            Self::Https => Some(b"http/1.1"),
            Self::Mqtt => Some(b"mqtt"),
            Self::Amqp => None,
        }
    }
}

/// Where to listen, and the limits that hold before anything is said on a connection.
#[derive(Debug, Clone)]
pub struct ListenSettings {
    /// The addresses to listen on; port 0 lets the operating system choose one.
    /// `[::]` also takes IPv4 connections where the operating system maps them.
    pub addresses: Vec<SocketAddr>,
    /// How long a TLS handshake may take from accept to the end. Default: 10 seconds.
    pub handshake_timeout: Duration,
    /// How many connections may be open at once, handshakes included. Default: 10,000.
    /// One more is closed at once, without a handshake.
    pub max_connections: usize,
    /// How many connections one source may have open at once: one IPv4 address, or one IPv6 network
    /// of 64 bits. Default: 1,000.
    pub max_connections_per_address: usize,
    /// How long open connections may go on after shutdown was asked for; then they are cut.
    /// Default: 10 seconds.
    pub shutdown_grace: Duration,
}

impl Default for ListenSettings {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            handshake_timeout: Duration::from_secs(10),
            max_connections: 10_000,
            max_connections_per_address: 1_000,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// An open TLS connection: the handshake is done, and nothing has been read from it yet.
pub struct Connection {
    /// The encrypted stream. Boxed: it is above a kilobyte, and every future that it is passed through has a
    /// place for it.
    pub stream: Box<TlsStream<TcpStream>>,
    /// The client's address; an IPv4 client of an IPv6 socket appears with its IPv4 address.
    pub peer: SocketAddr,
    /// The client's certificates as sent, leaf first; empty when it presented none.
    ///
    /// The client holds the leaf's private key. Nothing else is known about any of them: they may be
    /// self-signed, expired, of an unknown issuer, and all but the leaf may be no certificates at all.
    pub client_chain: Vec<CertificateDer<'static>>,
    /// The name the client asked for (SNI), if it said one.
    pub server_name: Option<String>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("n_client_certificates", &self.client_chain.len())
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// Sockets that are bound but do not accept yet: clients wait until [`Listener::run`].
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<(TcpListener, SocketAddr)>,
    porch: Arc<Porch>,
}

/// What every connection passes on its way in.
struct Porch {
    acceptor: TlsAcceptor,
    slots: Arc<Slots>,
    handshake_timeout: Duration,
    shutdown_grace: Duration,
}

impl fmt::Debug for Porch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Porch")
            .field("slots", &self.slots)
            .field("handshake_timeout", &self.handshake_timeout)
            .field("shutdown_grace", &self.shutdown_grace)
            .finish_non_exhaustive()
    }
}

impl Listener {
    /// Binds every address of `settings`, to serve HTTPS with `certificate`.
    ///
    /// # Errors
    /// [`ListenError::NoAddresses`], or [`ListenError::Bind`] with the first address that cannot be had.
    pub async fn bind(
        settings: ListenSettings,
        certificate: ServerCertificate,
    ) -> Result<Self, ListenError> {
        Self::bind_for(Speaks::Https, settings, certificate).await
    }

    /// The same for another protocol. Each listener has its own limits and its own TLS sessions; the
    /// certificate is shared by its clones.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub async fn bind_for(
        speaks: Speaks,
        settings: ListenSettings,
        certificate: ServerCertificate,
    ) -> Result<Self, ListenError> {
        if settings.addresses.is_empty() {
            return Err(ListenError::NoAddresses);
        }
        let mut sockets = Vec::with_capacity(settings.addresses.len());
        for address in settings.addresses {
            let cannot = |source| ListenError::Bind { address, source };
            let socket = TcpListener::bind(address).await.map_err(cannot)?;
            let bound = socket.local_addr().map_err(cannot)?;
            sockets.push((socket, bound));
        }
        let porch = Porch {
            acceptor: TlsAcceptor::from(Arc::new(tls(speaks, certificate)?)),
            slots: Slots::new(settings.max_connections, settings.max_connections_per_address),
            handshake_timeout: settings.handshake_timeout,
            shutdown_grace: settings.shutdown_grace,
        };
        Ok(Self { sockets, porch: Arc::new(porch) })
    }

    /// The addresses we listen on, in the order of the settings, with real ports where 0 was asked.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|(_, address)| *address).collect()
    }

    /// Accepts connections until `shutdown` turns true or its sender is gone, and serves each in a task
    /// of its own by calling `serve` once its handshake is done.
    ///
    /// After shutdown the sockets close at once; open connections may finish until the grace period
    /// ends, and are then cut. `serve` should watch the same signal, or idle connections use up the
    /// whole grace period. Dropping the future cuts everything at once.
    ///
    /// # Panics
    /// When accepting itself panics, which is a bug: a server that goes on without one of its
    /// addresses would only look alive. A panic in `serve` ends no more than its connection.
    pub async fn run<F, Fut>(self, serve: F, shutdown: watch::Receiver<bool>)
    where
        F: Fn(Connection) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        run_loops(self.sockets, self.porch, serve, shutdown).await;
    }
}

/// Runs an accept loop for each source, until all have ended or one has panicked.
async fn run_loops<S, F, Fut>(
    sources: Vec<(S, SocketAddr)>,
    porch: Arc<Porch>,
    serve: F,
    shutdown: watch::Receiver<bool>,
) where
    S: Source,
    F: Fn(Connection) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut loops = JoinSet::new();
    for (source, address) in sources {
        let (porch, serve, shutdown) = (Arc::clone(&porch), serve.clone(), shutdown.clone());
        loops.spawn(async move {
            accept_loop(source, porch, serve, shutdown).await;
            debug!(listen.address = %address, "stopped listening on {address}");
        });
    }
    while let Some(ended) = loops.join_next().await {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Where connections come from. A trait, so that a test can be an operating system in trouble.
pub(crate) trait Source: Send + 'static {
    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Source for TcpListener {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

async fn accept_loop<S, F, Fut>(
    mut source: S,
    porch: Arc<Porch>,
    serve: F,
    mut shutdown: watch::Receiver<bool>,
) where
    S: Source,
    F: Fn(Connection) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut open = JoinSet::new();
    let mut pause = ACCEPT_PAUSE.0;
    loop {
        let accepted = tokio::select! {
            biased;
            // An error means that the sender is gone, which is a shutdown as well.
            _ = shutdown.wait_for(|stop| *stop) => break,
            Some(ended) = open.join_next(), if !open.is_empty() => {
                report(ended);
                continue;
            }
            accepted = source.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = ACCEPT_PAUSE.0;
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                porch.admit(stream, peer, &serve, &mut open);
            }
            Err(error) if concerns_one_connection(&error) => {
                debug!(error = %error, "a connection was gone before it was accepted: {error}");
            }
            Err(error) => {
                warn!(
                    error = %error,
                    "cannot accept connections, next try in {} ms: {error}",
                    pause.as_millis()
                );
                tokio::select! {
                    _ = shutdown.wait_for(|stop| *stop) => break,
                    () = sleep(pause) => pause = ACCEPT_PAUSE.1.min(pause * 2),
                }
            }
        }
    }
    drop(source);
    let finished = timeout(porch.shutdown_grace, async {
        while let Some(ended) = open.join_next().await {
            report(ended);
        }
    });
    if finished.await.is_err() {
        info!(
            n_connections = open.len(),
            "cut {} connections that outlasted the grace period",
            open.len()
        );
        open.shutdown().await;
    }
}

impl Porch {
    /// Starts the connection's task, or closes the connection when there is no place for it.
    fn admit<F, Fut>(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        serve: &F,
        open: &mut JoinSet<()>,
    ) where
        F: Fn(Connection) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        match self.slots.take(peer.ip()) {
            Ok(slot) => {
                let (porch, serve) = (Arc::clone(self), serve.clone());
                open.spawn(async move {
                    let _slot = slot;
                    // Boxed, so that what a handshake needs is given back when it is over.
                    let handshake = Box::pin(porch.shake_hands(stream, peer));
                    if let Some(connection) = handshake.await {
                        drop(porch);
                        serve(connection).await;
                    }
                });
            }
            Err(full) => {
                let limit = match full.which {
                    Limit::Total => "the limit of open connections is reached",
                    Limit::PerSource => "the source has reached its limit of open connections",
                };
                // Under attack one line per connection would drown the log: the 1st, 2nd, 4th, 8th …
                if full.n_refused.is_power_of_two() {
                    warn!(peer.address = %peer, n_refused = full.n_refused, "closed {peer} at once: {limit}");
                } else {
                    debug!(peer.address = %peer, n_refused = full.n_refused, "closed {peer} at once: {limit}");
                }
            }
        }
    }

    /// The open connection, or `None` when the handshake failed or took too long.
    async fn shake_hands(&self, stream: TcpStream, peer: SocketAddr) -> Option<Connection> {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(peer.address = %peer, error = %error, "cannot set TCP_NODELAY for {peer}: {error}");
        }
        let handshake = self.acceptor.accept(stream).into_fallible();
        match timeout(self.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => Some(Connection::new(stream, peer)),
            Ok(Err((error, stream))) => {
                let reason = reason(&error);
                debug!(peer.address = %peer, "TLS handshake with {peer} failed: {reason}");
                linger(stream).await;
                None
            }
            Err(_) => {
                debug!(
                    peer.address = %peer,
                    "TLS handshake with {peer} cut: not finished after {} ms",
                    self.handshake_timeout.as_millis()
                );
                None
            }
        }
    }
}

impl Connection {
    fn new(stream: TlsStream<TcpStream>, peer: SocketAddr) -> Self {
        let (_, tls) = stream.get_ref();
        let client_chain = tls.peer_certificates().unwrap_or_default().to_vec();
        let server_name = tls.server_name().map(ToOwned::to_owned);
        Self { stream: Box::new(stream), peer, client_chain, server_name }
    }
}

/// Why a handshake failed, in words; rustls shows our own reasons only as a `Debug` dump.
fn reason(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    match tls {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(ours))) => ours.to_string(),
        _ => error.to_string(),
    }
}

/// Lets the client read the alert that says why its handshake failed.
///
/// Closing a socket with unread bytes resets the connection, and the reset may overtake the alert.
async fn linger(mut stream: TcpStream) {
    let (longest, mut budget_bytes) = LINGER;
    let read_to_end = async {
        stream.shutdown().await?;
        let mut rest = [0; 4_096];
        loop {
            match stream.read(&mut rest).await? {
                0 => return Ok(()),
                n => budget_bytes = budget_bytes.saturating_sub(n),
            }
            if budget_bytes == 0 {
                return Ok::<(), io::Error>(());
            }
        }
    };
    // Whatever comes of it, the connection is over.
    let _ = timeout(longest, read_to_end).await;
}

/// Errors of `accept` that say something about the connection, not about us.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// A panic in a connection's task is a bug of whoever serves it; the others go on.
fn report(ended: Result<(), JoinError>) {
    match ended {
        Err(error) if error.is_panic() => {
            error!(error = %error, "a connection's task panicked; the connection is closed");
        }
        _ => {}
    }
}

fn tls(speaks: Speaks, certificate: ServerCertificate) -> Result<ServerConfig, ListenError> {
    let provider = provider();
    let clock = Arc::new(DefaultTimeProvider);
    let verifier = AnyChainWithProof::new(&provider);
    let mut config = ServerConfig::builder_with_details(provider, Arc::clone(&clock) as _)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(ListenError::Tls)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(certificate.clone()));
    config.alpn_protocols = speaks.alpn().map(<[u8]>::to_vec).into_iter().collect();
    config.session_storage = Arc::new(Sessions::new(certificate, clock));
    // A device opens one connection at a time, so one ticket is enough; rustls would send two.
    config.send_tls13_tickets = 1;
    Ok(config)
}

#[cfg(test)]
mod tests;
