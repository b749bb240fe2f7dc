//! TLS and HTTP/1.1, as a client: with or without a certificate, in either version of TLS.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::within;

/// How to reach the server.
#[derive(Clone)]
pub(crate) struct Tls {
    address: SocketAddr,
    roots: Arc<RootCertStore>,
    versions: Vec<&'static SupportedProtocolVersion>,
    credential: Option<(Vec<Vec<u8>>, Vec<u8>)>,
}

impl Tls {
    /// A client that trusts this CA and shows no certificate.
    pub(super) fn new(address: SocketAddr, ca_pem: &str) -> Self {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("a certificate");
        roots.add(ca).expect("a CA certificate");
        let versions = rustls::DEFAULT_VERSIONS.to_vec();
        Self { address, roots: Arc::new(roots), versions, credential: None }
    }

    /// The same, to another door.
    pub(super) fn at(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// The same, speaking this version of TLS only.
    pub(crate) fn version(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    /// The same, with these certificates, leaf first, and the leaf's key in PKCS#8.
    pub(crate) fn credential(mut self, chain: Vec<Vec<u8>>, key: Vec<u8>) -> Self {
        self.credential = Some((chain, key));
        self
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A TLS connection on which nothing has been said.
    pub(crate) async fn stream(&self, host: &str) -> TlsStream<TcpStream> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .expect("the provider knows these versions")
            .with_root_certificates(Arc::clone(&self.roots));
        let config = match &self.credential {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
                let key = PrivateKeyDer::try_from(key.clone()).expect("a private key");
                config.with_client_auth_cert(chain, key).expect("a certificate and its key")
            }
        };
        let name = ServerName::try_from(host.to_owned()).expect("a host name");
        let connector = TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(self.address).await.expect("the server listens");
        within("a TLS handshake", connector.connect(name, stream)).await.expect("a handshake")
    }

    /// An HTTP connection.
    pub(crate) async fn connect(&self, host: &str) -> Connection {
        let stream = self.stream(host).await;
        let version = stream.get_ref().1.protocol_version().expect("the handshake is done");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        // It ends with the connection, in error or not; who waits for an answer is told.
        let driver = tokio::spawn(async move { drop(connection.await) });
        let host = format!("{host}:{}", self.address.port());
        Connection { sender, host, version, driver }
    }
}

/// An HTTP/1.1 connection that is kept open between requests.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    /// The version of TLS that was agreed on.
    pub(crate) version: rustls::ProtocolVersion,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Waits until the server has closed the connection.
    pub(crate) async fn closed(self) {
        self.driver.await.expect("the connection does not panic");
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body)).expect("a request that can be written");
        within("a free connection", self.sender.ready()).await.expect("the connection is open");
        let answer = within(&format!("{method} {path}"), self.sender.send_request(request)).await;
        let (head, body) = answer.expect("the server answers").into_parts();
        let body = within("a body", body.collect()).await.expect("the whole body").to_bytes();
        Reply { status: head.status.as_u16(), headers: head.headers, body }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// A header's text; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body's text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, which must be JSON and say so.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json; charset=utf-8", "{self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|bad| panic!("{bad}: {self:?}"))
    }

    /// The JSON of an answer with this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// An error of the provisioning service: this code, the status that belongs to it, and the
    /// members that every error has (D §1.7, O §1.13). Returns its message.
    #[track_caller]
    pub(crate) fn refused(&self, code: u32) -> String {
        let body = self.json();
        assert_eq!(body["errorCode"], code, "{self:?}");
        assert_eq!(u32::from(self.status), code / 1000, "{self:?}");
        assert_eq!(self.header("x-ms-error-code"), code.to_string(), "{self:?}");
        let tracking_id = body["trackingId"].as_str().expect("a tracking ID");
        assert!(!tracking_id.is_empty());
        assert_eq!(self.header("x-ms-request-id"), tracking_id, "{self:?}");
        assert!(body["timestampUtc"].as_str().is_some_and(|time| time.ends_with('Z')), "{self:?}");
        let message = body["message"].as_str().expect("a message");
        assert!(!message.is_empty(), "{self:?}");
        message.to_owned()
    }
}
