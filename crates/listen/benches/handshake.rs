//! Full mutual TLS handshakes per second through the listener: the bare baseline that registrations
//! are compared with.
//!
//! Each handshake is a new TCP connection over loopback with a P-256 client certificate and no resumption,
//! ended by one byte from the server, so that in TLS 1.3 the server has verified the client before we
//! count. Client and server share the machine's cores.
//!
//! Run with `cargo bench -p induct-listen`.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up should stop")]

use std::net::SocketAddr;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use induct_listen::{Connection, ListenSettings, Listener, ServerCertificate, authority};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// 2025-01-01; the server's certificate is made and verified for this moment.
const NOW_UNIX_SECS: i64 = 1_735_689_600;
const VERSIONS: [&str; 2] = ["TLS 1.3", "TLS 1.2"];

fn main() {
    divan::main();
}

/// One connection after the other: the latency of a handshake.
#[divan::bench(args = VERSIONS)]
fn one_at_a_time(bencher: Bencher<'_, '_>, version: &str) {
    let scene = Scene::new(version);
    bencher.counter(ItemsCount::new(1_u32)).bench(|| scene.shake_hands(1));
}

/// 64 at once, as many as the loopback and both cores carry: the rate.
#[divan::bench(args = VERSIONS)]
fn sixty_four_at_once(bencher: Bencher<'_, '_>, version: &str) {
    let scene = Scene::new(version);
    bencher.counter(ItemsCount::new(64_u32)).bench(|| scene.shake_hands(64));
}

struct Scene {
    runtime: Runtime,
    address: SocketAddr,
    connector: TlsConnector,
    _running: watch::Sender<bool>,
}

impl Scene {
    fn new(version: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let own = authority::create(&["localhost".to_owned()], NOW_UNIX_SECS).unwrap();
        let certificate = ServerCertificate::from_pem(&own.chain_pem, &own.key_pem).unwrap();
        let settings = ListenSettings {
            addresses: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            ..ListenSettings::default()
        };
        let listener = runtime.block_on(Listener::bind(settings, certificate)).unwrap();
        let address = listener.local_addresses()[0];
        let (running, shutdown) = watch::channel(false);
        runtime.spawn(listener.run(say_one_byte, shutdown));
        let connector = TlsConnector::from(Arc::new(client(version, &own.ca_pem)));
        Self { runtime, address, connector, _running: running }
    }

    fn shake_hands(&self, n_at_once: usize) {
        self.runtime.block_on(async {
            let mut clients = JoinSet::new();
            for _ in 0..n_at_once {
                let (connector, address) = (self.connector.clone(), self.address);
                clients.spawn(async move {
                    let stream = TcpStream::connect(address).await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let name = ServerName::try_from("localhost").unwrap();
                    let mut stream = connector.connect(name, stream).await.unwrap();
                    let mut answer = [0; 1];
                    stream.read_exact(&mut answer).await.unwrap();
                });
            }
            while let Some(ended) = clients.join_next().await {
                ended.unwrap();
            }
        });
    }
}

async fn say_one_byte(mut connection: Connection) {
    assert_eq!(connection.client_chain.len(), 1, "the handshake is mutual");
    connection.stream.write_all(b"!").await.unwrap();
    connection.stream.flush().await.unwrap();
    // The client closes; whether it says so first does not matter here.
    let _ = connection.stream.read(&mut [0; 1]).await;
}

fn client(version: &str, ca_pem: &str) -> ClientConfig {
    let version: &SupportedProtocolVersion =
        if version == "TLS 1.3" { &rustls::version::TLS13 } else { &rustls::version::TLS12 };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let device = rcgen::generate_simple_self_signed(["bench-device".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(device.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(FixedClock))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![device.cert.der().clone()], key)
        .unwrap();
    config.resumption = Resumption::disabled();
    config
}

/// The moment the server's certificate was made for.
#[derive(Debug)]
struct FixedClock;

impl rustls::time_provider::TimeProvider for FixedClock {
    fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
        let secs = u64::try_from(NOW_UNIX_SECS).ok()?;
        Some(rustls_pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(secs)))
    }
}
