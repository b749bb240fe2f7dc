//! What the tests play with: a running listener, and clients with all sorts of credentials.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair,
    PublicKeyData, SignatureAlgorithm,
};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::authority::{self, OwnCertificates};
use crate::certificate::provider;
use crate::{Connection, ListenSettings, Listener, ServerCertificate, Speaks};

/// 2025-01-01: the moment all server certificates of the tests are made and verified for.
pub(crate) const NOW: i64 = 1_735_689_600;
/// Longer than any test takes; what waits for something that must happen gives up after it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The TLS versions every claim must hold for.
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];

/// A CA with a server certificate for `localhost` and `127.0.0.1`, made once per run.
pub(crate) fn own() -> &'static OwnCertificates {
    static OWN: OnceLock<OwnCertificates> = OnceLock::new();
    OWN.get_or_init(|| authority::create(&names(), NOW).unwrap())
}

pub(crate) fn names() -> Vec<String> {
    vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
}

pub(crate) fn server_certificate() -> ServerCertificate {
    ServerCertificate::from_pem(&own().chain_pem, &own().key_pem).unwrap()
}

/// A listener on a loopback port that greets each connection with `!` and waits for its end.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) running: JoinHandle<()>,
    seen: mpsc::UnboundedReceiver<Seen>,
}

/// What the server knew of a connection when it was handed over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) server_name: Option<String>,
    pub(crate) alpn: Option<Vec<u8>>,
    pub(crate) version: Option<ProtocolVersion>,
    pub(crate) peer: IpAddr,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(ListenSettings::default(), server_certificate()).await
    }

    pub(crate) async fn start_with(
        settings: ListenSettings,
        certificate: ServerCertificate,
    ) -> Self {
        Self::start_for(Speaks::Https, settings, certificate).await
    }

    pub(crate) async fn start_for(
        speaks: Speaks,
        mut settings: ListenSettings,
        certificate: ServerCertificate,
    ) -> Self {
        settings.addresses = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let listener = Listener::bind_for(speaks, settings, certificate).await.unwrap();
        let address = listener.local_addresses()[0];
        let (stop, shutdown) = watch::channel(false);
        let (tell, seen) = mpsc::unbounded_channel();
        let running = tokio::spawn(listener.run(move |c| greet(c, tell.clone()), shutdown));
        Self { address, stop, running, seen }
    }

    /// What the server saw of the next connection it was handed.
    pub(crate) async fn seen(&mut self) -> Seen {
        tokio::time::timeout(PATIENCE, self.seen.recv()).await.unwrap().unwrap()
    }

    /// Whether no connection was handed over (that has not been asked for yet).
    pub(crate) fn saw_nothing(&mut self) -> bool {
        self.seen.try_recv().is_err()
    }
}

async fn greet(mut connection: Connection, tell: mpsc::UnboundedSender<Seen>) {
    let (_, tls) = connection.stream.get_ref();
    let seen = Seen {
        alpn: tls.alpn_protocol().map(<[u8]>::to_vec),
        version: tls.protocol_version(),
        chain: connection.client_chain,
        server_name: connection.server_name,
        peer: connection.peer.ip(),
    };
    let _ = tell.send(seen);
    connection.stream.write_all(b"!").await.unwrap();
    connection.stream.flush().await.unwrap();
    let _ = connection.stream.read(&mut [0; 1]).await;
}

/// A TLS client that trusts [`own`]'s CA.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) config: ClientConfig,
    pub(crate) name: &'static str,
    /// The address the client connects from.
    pub(crate) from: IpAddr,
}

/// What the client knew after the handshake and the server's greeting.
pub(crate) struct Visit {
    pub(crate) kind: HandshakeKind,
    pub(crate) server_chain: Vec<CertificateDer<'static>>,
    /// Keeps the connection open.
    pub(crate) _stream: tokio_rustls::client::TlsStream<TcpStream>,
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(version: &'static SupportedProtocolVersion, shown: Shown) -> Self {
        Self::with_provider(provider(), version, shown)
    }

    pub(crate) fn with_provider(
        provider: Arc<CryptoProvider>,
        version: &'static SupportedProtocolVersion,
        shown: Shown,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(own().ca_pem.as_bytes()).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(TestClock))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(shown));
        config.resumption = Resumption::disabled();
        Self { config, name: "localhost", from: IpAddr::from([127, 0, 0, 1]) }
    }

    pub(crate) fn resuming(mut self) -> Self {
        self.config.resumption = Resumption::in_memory_sessions(8);
        self
    }

    /// Connects, shakes hands and reads the greeting; the error is what the TLS library says.
    pub(crate) async fn visit(&self, server: SocketAddr) -> Result<Visit, String> {
        tokio::time::timeout(PATIENCE, self.visit_at_leisure(server)).await.unwrap()
    }

    async fn visit_at_leisure(&self, server: SocketAddr) -> Result<Visit, String> {
        let says = |error: std::io::Error| error.to_string();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(self.from, 0)).unwrap();
        let stream = socket.connect(server).await.map_err(says)?;
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        let name = ServerName::try_from(self.name).unwrap();
        let mut stream = connector.connect(name, stream).await.map_err(says)?;
        let mut greeting = [0; 1];
        stream.read_exact(&mut greeting).await.map_err(says)?;
        assert_eq!(&greeting, b"!");
        let (_, tls) = stream.get_ref();
        let kind = tls.handshake_kind().unwrap();
        let server_chain = tls.peer_certificates().unwrap_or_default().to_vec();
        Ok(Visit { kind, server_chain, _stream: stream })
    }
}

#[derive(Debug)]
struct TestClock;

impl TimeProvider for TestClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(NOW).unwrap())))
    }
}

/// A server's request for a certificate: how many issuers it names, and which signatures it takes.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) n_hints: usize,
    pub(crate) schemes: Vec<SignatureScheme>,
}

/// What a client shows when asked for a certificate, right or wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    pub(crate) credentials: Option<Arc<CertifiedKey>>,
    /// What the server asked for, once it has.
    pub(crate) asked: Arc<Mutex<Option<Asked>>>,
}

impl Shown {
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// Shows `chain` and signs with `key`, whether or not they belong together.
    pub(crate) fn chain(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Self {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = provider().key_provider.load_private_key(key).unwrap();
        Self { credentials: Some(Arc::new(CertifiedKey::new(chain, key))), ..Self::default() }
    }

    pub(crate) fn chain_der(&self) -> Vec<CertificateDer<'static>> {
        self.credentials.as_ref().map(|shown| shown.cert.clone()).unwrap_or_default()
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let asked = Asked { n_hints: hints.len(), schemes: schemes.to_vec() };
        *self.asked.lock().unwrap() = Some(asked);
        self.credentials.clone()
    }

    fn has_certs(&self) -> bool {
        self.credentials.is_some()
    }
}

/// The parameters of a device's leaf with the common name `device`.
pub(crate) fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "device");
    params
}

/// A self-signed leaf with a new key of this kind.
pub(crate) fn self_signed(algorithm: &'static SignatureAlgorithm) -> Shown {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let leaf = leaf_params().self_signed(&key).unwrap();
    Shown::chain(vec![leaf.der().clone()], &key)
}

/// A self-signed P-256 leaf that ended in 1990.
pub(crate) fn expired() -> Shown {
    let mut params = leaf_params();
    params.not_before = OffsetDateTime::from_unix_timestamp(0).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(631_152_000).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = params.self_signed(&key).unwrap();
    Shown::chain(vec![leaf.der().clone()], &key)
}

/// The parameters of a leaf with a critical extension that nobody knows.
pub(crate) fn strange_params() -> CertificateParams {
    let mut params = leaf_params();
    let mut strange = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
    strange.set_criticality(true);
    params.custom_extensions.push(strange);
    params
}

/// A leaf below `n - 1` CA certificates, each issued by the next, the last by itself.
pub(crate) fn issued_chain(n: usize) -> Shown {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let mut chain = vec![params.self_signed(&key).unwrap().der().clone()];
    let mut issuer = Issuer::new(params, key);
    for level in 1..n - 1 {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("ca-{level}"));
        let key = KeyPair::generate().unwrap();
        chain.push(params.signed_by(&key, &issuer).unwrap().der().clone());
        issuer = Issuer::new(params, key);
    }
    let key = KeyPair::generate().unwrap();
    chain.push(leaf_params().signed_by(&key, &issuer).unwrap().der().clone());
    chain.reverse();
    Shown::chain(chain, &key)
}

/// An RSA public key of this many bits that nobody holds the private key of.
pub(crate) struct HugeRsaKey {
    der: Vec<u8>,
}

impl HugeRsaKey {
    pub(crate) fn new(bits: usize) -> Self {
        let integer = |bytes: &[u8]| tagged(0x02, bytes);
        // An odd number with its highest bit set; the zero in front keeps it positive.
        let modulus = [vec![0], vec![0xff; bits / 8]].concat();
        let der = tagged(0x30, &[integer(&modulus), integer(&[1, 0, 1])].concat());
        Self { der }
    }
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    let head = match length {
        0..=127 => vec![tag, content.len().to_le_bytes()[0]],
        _ => [vec![tag, 0x82], length.to_be_bytes().to_vec()].concat(),
    };
    [head, content.to_vec()].concat()
}

impl PublicKeyData for HugeRsaKey {
    fn der_bytes(&self) -> &[u8] {
        &self.der
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}
