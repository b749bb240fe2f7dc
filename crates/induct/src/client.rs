//! An HTTPS client: for the command line, the demo and the whole-server tests.
//!
//! HTTP/1.1 over TLS 1.2 or 1.3 with a CA of the caller's, optionally with a client certificate,
//! as a device would do it. The connection is kept for the next request. What a request means is
//! not known here.

mod streamed;
mod tls;

use std::{error::Error, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Mutex,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub use streamed::Streamed;
pub use tls::TlsVersions;

/// The largest answer we read unless told otherwise, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Whom to call, whom to trust, who to be.
#[derive(Clone)]
pub struct ClientSettings {
    /// The server's name: asked for in TLS, checked in its certificate, sent as `Host`.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// Where to connect to, whatever the name resolves to.
    pub address: Option<SocketAddr>,
    /// The CAs to trust, PEM.
    pub ca_pem: String,
    /// What the client shows of itself.
    pub identity: Option<Identity>,
    /// The versions of TLS to offer.
    pub versions: TlsVersions,
    /// How long connecting may take, handshake included.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub request_timeout: Duration,
    /// The largest answer to read, in bytes.
    pub max_answer_bytes: usize,
    /// Whether to speak without TLS. For loopback addresses only.
    pub plain: bool,
    /// What is spoken, for ALPN.
    pub protocol: &'static str,
}

/// A client certificate with its private key.
#[derive(Clone)]
pub struct Identity {
    /// The chain, leaf first, PEM.
    pub chain_pem: String,
    /// The leaf's private key, PEM.
    pub key_pem: String,
}

impl ClientSettings {
    /// A client without a certificate, with timeouts that suit a server nearby.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16, ca_pem: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port,
            address: None,
            ca_pem: ca_pem.into(),
            identity: None,
            versions: TlsVersions::Both,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            max_answer_bytes: MAX_ANSWER_BYTES,
            plain: false,
            protocol: "http/1.1",
        }
    }

    /// Connects to this address, whatever the name resolves to.
    #[must_use]
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Shows this certificate.
    #[must_use]
    pub fn with_identity(
        mut self,
        chain_pem: impl Into<String>,
        key_pem: impl Into<String>,
    ) -> Self {
        let (chain_pem, key_pem) = (chain_pem.into(), key_pem.into());
        self.identity = Some(Identity { chain_pem, key_pem });
        self
    }
}

impl ClientSettings {
    /// The configuration of TLS that these settings ask for, for [`Client::sharing`].
    ///
    /// # Errors
    /// [`ClientError`] for CAs and certificates that cannot be used.
    pub fn tls(&self) -> Result<ClientConfig, ClientError> {
        tls::config(self)
    }
}

/// A client of one server. Requests go out one after the other.
pub struct Client {
    settings: ClientSettings,
    name: ServerName<'static>,
    connector: Option<TlsConnector>,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.authority())
    }
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl Response {
    /// The body as JSON; an empty one is `null`.
    ///
    /// # Errors
    /// [`ClientError::NotJson`].
    pub fn json(&self) -> Result<serde_json::Value, ClientError> {
        if self.body.is_empty() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_slice(&self.body).map_err(ClientError::NotJson)
    }

    /// A header's value, if it is there and plain text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why there is no answer. Each says what to do about it.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The server's name is none.
    #[error("`{host}` is neither a DNS name nor an IP address")]
    BadName {
        /// What was given.
        host: String,
    },
    /// There is nothing to trust in the CA text.
    #[error("the CA file holds no usable PEM certificate: {problem}")]
    BadCa {
        /// What is wrong with it.
        problem: String,
    },
    /// The client certificate or its key cannot be used. The key is never repeated.
    #[error("the client certificate cannot be used: {problem}")]
    BadIdentity {
        /// What is wrong with it.
        problem: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: String,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("cannot connect to {server}; is `induct serve` running?")]
    Connect {
        /// Host and port, and the address if it is another.
        server: String,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// The server's certificate is not one to trust.
    #[error(
        "{server} is not trusted: its certificate is for another name, or its CA is not the one \
         given; pass the server's CA with `--ca-file` (Induct's own is `tls/ca.pem` in its data \
         folder)"
    )]
    Untrusted {
        /// Host and port.
        server: String,
        /// The TLS library's answer.
        #[source]
        source: io::Error,
    },
    /// The handshake failed otherwise.
    #[error("cannot agree with {server} on TLS")]
    Handshake {
        /// Host and port.
        server: String,
        /// The TLS library's answer.
        #[source]
        source: io::Error,
    },
    /// The server took too long.
    #[error("{server} did not {what} within {} s", limit.as_secs())]
    Slow {
        /// Host and port.
        server: String,
        /// What it should have done.
        what: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// The connection broke before the answer was complete. The request may have been carried out.
    #[error("the connection to {server} broke before the answer was complete")]
    Broken {
        /// Host and port.
        server: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The request cannot be written.
    #[error("this is no HTTP request")]
    BadRequest(#[source] http::Error),
    /// The answer's body is not JSON.
    #[error("the answer is not JSON; is this an Induct server?")]
    NotJson(#[source] serde_json::Error),
    /// The TLS library refuses its own configuration.
    #[error("TLS could not be set up")]
    Tls(#[source] rustls::Error),
}

impl Client {
    /// A client that connects at its first request.
    ///
    /// # Errors
    /// [`ClientError`] for names, CAs and certificates that cannot be used.
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        let config = match settings.plain {
            true => None,
            false => Some(Arc::new(tls::config(&settings)?)),
        };
        Self::build(settings, config)
    }

    /// A client that takes whom to trust, who to be and what to speak from `config`, which it
    /// shares with others, and the rest from `settings`.
    ///
    /// # Errors
    /// [`ClientError::BadName`].
    pub fn sharing(
        settings: ClientSettings,
        config: Arc<ClientConfig>,
    ) -> Result<Self, ClientError> {
        Self::build(settings, Some(config))
    }

    fn build(
        settings: ClientSettings,
        config: Option<Arc<ClientConfig>>,
    ) -> Result<Self, ClientError> {
        let bare = settings.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare)
            .map_err(|_| ClientError::BadName { host: settings.host.clone() })?;
        let connector = config.map(TlsConnector::from);
        Ok(Self { settings, name, connector, connection: Mutex::new(None) })
    }

    /// Opens a connection of the caller's own: TCP and TLS, and nothing said on it yet.
    ///
    /// # Errors
    /// [`ClientError`]; for a client without TLS as well.
    pub async fn dial(&self) -> Result<TlsStream<TcpStream>, ClientError> {
        let limit = self.settings.connect_timeout;
        let connected = timeout(limit, async {
            let tcp = self
                .connect_tcp()
                .await
                .map_err(|source| ClientError::Connect { server: self.server(), source })?;
            let Some(connector) = &self.connector else {
                let source = io::Error::new(io::ErrorKind::Unsupported, "this client has no TLS");
                return Err(ClientError::Connect { server: self.server(), source });
            };
            let stream = connector.connect(self.name.clone(), tcp).await;
            stream.map_err(|source| self.handshake_failed(source))
        });
        connected.await.unwrap_or_else(|_| {
            Err(ClientError::Slow { server: self.server(), what: "accept a connection", limit })
        })
    }

    /// Host and port as they stand in `Host` and in connection strings: without 443.
    #[must_use]
    pub fn authority(&self) -> String {
        authority(&self.settings.host, self.settings.port)
    }

    /// Sends a request and waits for the whole answer, whatever its status.
    ///
    /// A kept connection that the server closed meanwhile is replaced by a new one, but only while
    /// the request was not sent.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn request(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response, ClientError> {
        let limit = self.settings.request_timeout;
        self.request_within(limit, method, path_and_query, headers, body).await
    }

    /// As [`Self::request`], where the answer may take longer, or less long, than usual.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn request_within(
        &self,
        limit: Duration,
        method: Method,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response, ClientError> {
        let body = body.into();
        let mut kept = self.connection.lock().await;
        if let Some(mut sender) = kept.take()
            && sender.ready().await.is_ok()
        {
            let request = self.compose(&method, path_and_query, headers, body.clone())?;
            match self.exchange(limit, &mut sender, request).await {
                Ok(response) => {
                    *kept = Some(sender);
                    return Ok(response);
                }
                Err(error) if was_not_sent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let request = self.compose(&method, path_and_query, headers, body)?;
        let mut sender = self.connect().await?;
        let response = self.exchange(limit, &mut sender, request).await?;
        *kept = Some(sender);
        Ok(response)
    }

    fn compose(
        &self,
        method: &Method,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path_and_query)
            .header(header::HOST, self.authority())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("induct/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(ClientError::BadRequest)?;
        for (name, value) in headers {
            let name =
                HeaderName::try_from(*name).map_err(|e| ClientError::BadRequest(e.into()))?;
            let value =
                HeaderValue::try_from(*value).map_err(|e| ClientError::BadRequest(e.into()))?;
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }

    async fn exchange(
        &self,
        limit: Duration,
        sender: &mut SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> Result<Response, ClientError> {
        let whole = async {
            let response =
                sender.send_request(request).await.map_err(|error| self.broken(error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, self.settings.max_answer_bytes).collect().await;
            let body = body.map_err(|error| self.broken(error))?.to_bytes();
            Ok(Response { status: parts.status, headers: parts.headers, body })
        };
        timeout(limit, whole).await.unwrap_or_else(|_| {
            Err(ClientError::Slow { server: self.server(), what: "answer", limit })
        })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let limit = self.settings.connect_timeout;
        let connected = timeout(limit, async {
            let tcp = self
                .connect_tcp()
                .await
                .map_err(|source| ClientError::Connect { server: self.server(), source })?;
            let Some(connector) = &self.connector else { return self.speak(tcp).await };
            let stream = connector.connect(self.name.clone(), tcp).await;
            self.speak(stream.map_err(|source| self.handshake_failed(source))?).await
        });
        connected.await.unwrap_or_else(|_| {
            Err(ClientError::Slow { server: self.server(), what: "accept a connection", limit })
        })
    }

    async fn speak<S>(&self, stream: S) -> Result<SendRequest<Full<Bytes>>, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let spoken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = spoken.map_err(|error| self.broken(error))?;
        // Ends with the sender; its errors reach whoever waits for an answer.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn connect_tcp(&self) -> io::Result<TcpStream> {
        let ClientSettings { host, port, address, .. } = &self.settings;
        let port = *port;
        let stream = match address {
            Some(address) => TcpStream::connect(address).await?,
            // RFC 6761 §6.3: these names are this machine, whether or not a resolver says so.
            None if is_local_name(host) => {
                let loopback: [SocketAddr; 2] =
                    [([127, 0, 0, 1], port).into(), ([0, 0, 0, 0, 0, 0, 0, 1], port).into()];
                TcpStream::connect(&loopback[..]).await?
            }
            None => TcpStream::connect((host.trim_matches(['[', ']']), port)).await?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn server(&self) -> String {
        match self.settings.address {
            Some(address) => format!("{} (at {address})", self.authority()),
            None => self.authority(),
        }
    }

    fn broken(&self, source: impl Into<Box<dyn Error + Send + Sync>>) -> ClientError {
        ClientError::Broken { server: self.server(), source: source.into() }
    }

    fn handshake_failed(&self, source: io::Error) -> ClientError {
        let tls = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let server = self.server();
        match tls {
            Some(rustls::Error::InvalidCertificate(_)) => ClientError::Untrusted { server, source },
            _ => ClientError::Handshake { server, source },
        }
    }
}

/// Reads a PEM file for [`ClientSettings`].
///
/// # Errors
/// [`ClientError::File`].
pub fn read_pem(path: &Path) -> Result<String, ClientError> {
    std::fs::read_to_string(path)
        .map_err(|source| ClientError::File { path: path.display().to_string(), source })
}

/// Host and port, without 443.
#[must_use]
pub fn authority(host: &str, port: u16) -> String {
    if port == 443 { host.to_owned() } else { format!("{host}:{port}") }
}

fn is_local_name(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Whether the request is certain not to have left: then it may be sent again.
fn was_not_sent(error: &ClientError) -> bool {
    let ClientError::Broken { source, .. } = error else { return false };
    source.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
}

#[cfg(test)]
mod tests;
